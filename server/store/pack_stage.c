/* SPDX-License-Identifier: Apache-2.0
 * pack_stage: records gather in memory and reach their pack in large aligned writes past the page cache.
 *
 * A stage is a window of the pack: STAGE_SIZE bytes from a multiple of PACK_BLOCK on. Appenders copy their records into it
 * side by side. Who fills its last byte writes it; pack_flush writes what there is of it.
 *
 * S1 What is reserved has its place in the file system already (make_space), so a write that was put off does not
 *    find the disk full: -ENOSPC comes from the append, with nothing changed.
 * S2 A stage is written by one thread at a time (busy), a pack is flushed by one at a time (flushing). Only whole blocks
 *    are written: the last one of a flush is a copy, filled up with zeros (edge), and is written again, with the same
 *    bytes in front, when there is more.
 * S3 pack_flush waits for the copies under way and lets no new ones begin until they ended (hold), so what it writes
 *    has no gap: after a crash the records found in the pack are a prefix of those appended.
 * S4 A stage goes when it is in the file. Of one that a flush left incomplete only the edge stays: a pack that rests has
 *    no stage.
 * S5 A failed write is told by each later pack_flush, and the pack takes no more records.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/hugemap.h"
#include "common/log.h"
#include "common/pool.h"
#include "server/store/pack_impl.h"

#define SPACE_STEP  (2u << 20)  /* of the file, made sure of at a time, at first */
#define SPACE_SHARE 64u         /* never more than SPACE_STEP, but for this part of what is free on the disk */
#define POOLED_MAX  16u         /* windows kept, of all packs; with STAGE_SIZE a power of two */
#define CACHED_STEP (64u << 10) /* where O_DIRECT is refused: larger writes into the page cache are slower */

/* --- memory of windows --- */

/* The first POOLED_MAX are cut from one mapping and kept; what is needed beyond them comes and goes. */
static struct {
    pthread_mutex_t lock;
    void *free[POOLED_MAX];
    unsigned n, cut;
    uint8_t *base;
} windows = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void *window_get(void)
{
    void *p = NULL;

    pthread_mutex_lock(&windows.lock);
    if (POOL_KEEPS && !windows.base)
        windows.base = hugemap_new(POOLED_MAX * STAGE_SIZE);
    if (windows.n)
        p = windows.free[--windows.n];
    else if (windows.base && windows.cut < POOLED_MAX)
        p = windows.base + windows.cut++ * STAGE_SIZE;
    pthread_mutex_unlock(&windows.lock);
    return p ? p : aligned_alloc(PACK_BLOCK, STAGE_SIZE);
}

static void window_put(void *p)
{
    uint8_t *at = p;
    bool keep;

    pthread_mutex_lock(&windows.lock);
    keep = windows.base && at >= windows.base && at < windows.base + POOLED_MAX * STAGE_SIZE;
    if (keep)
        windows.free[windows.n++] = p;
    pthread_mutex_unlock(&windows.lock);
    if (!keep)
        free(p);
}

static void stage_free(struct pack_stage *st)
{
    list_del(&st->node);
    window_put(st->data);
    free(st);
}


void pack_stages_release(struct pack_out *p)
{
    list_for_each_safe(it, &p->stages)
        stage_free(list_entry(it, struct pack_stage, node));
    free(p->edge);
    p->edge = NULL;
}

void pack_cached(struct pack_out *p)
{
    int flags = fcntl(p->fd, F_GETFL);

    if (p->direct && flags >= 0)
        (void)fcntl(p->fd, F_SETFL, flags & ~O_DIRECT);
    p->direct = false;
}

/* --- reserving --- */

/* How much more of the file to reserve: twice as much each time, since reserving waits for all writes under way, and
 * appenders wait for it. So little data keeps little space: at most twice as much as itself. A pack after one that was
 * filled up has all of it from the start. */
static uint64_t space_step(struct pack_out *p)
{
    uint64_t step = p->step < SPACE_STEP ? SPACE_STEP : p->step, share;
    struct statvfs st;

    p->step = step * 2;
    if (step > p->most - p->space)
        step = p->most - p->space;
    if (step <= SPACE_STEP || fstatvfs(p->fd, &st))
        return step < SPACE_STEP ? step : SPACE_STEP;
    share = (uint64_t)st.f_bavail * st.f_frsize / SPACE_SHARE;
    return step <= share ? step : SPACE_STEP;
}

/* The file's length grows with it, not with each write: writes that make a file longer take turns. */
static int make_space(struct pack_out *p, uint64_t end)
{
    uint64_t to;
    int rc;

    if (end <= p->space)
        return 0;
    rc = fault_point("pack.space");
    if (rc)
        return rc;
    to = p->space + space_step(p);
    if (to < end || fallocate(p->fd, 0, (off_t)p->space, (off_t)(to - p->space))) {
        to = (end + PACK_BLOCK - 1) & ~(uint64_t)(PACK_BLOCK - 1);
        if (fallocate(p->fd, 0, (off_t)p->space, (off_t)(to - p->space)))
            return -errno;
    }
    p->space = to;
    return 0;
}

int pack_stages_init(struct pack_out *p, const uint8_t *edge, uint32_t len)
{
    int rc = make_space(p, len), flags = fcntl(p->fd, F_GETFL);

    if (rc == -ENOSPC || rc == -EDQUOT)
        return rc;
    if (rc)
        return 0; /* no fallocate here (S1): each append writes by itself */
    p->edge = aligned_alloc(PACK_BLOCK, PACK_BLOCK);
    if (!p->edge)
        return -ENOMEM;
    memcpy(p->edge, edge, len);
    p->staged = true;
    p->direct = flags >= 0 && fcntl(p->fd, F_SETFL, flags | O_DIRECT) == 0;
    return 0;
}

/* A window from base on; one that begins before the end of the pack takes the edge along. */
static struct pack_stage *stage_add(struct pack_out *p, uint64_t base)
{
    struct pack_stage *st = calloc(1, sizeof(*st));

    if (!st || !(st->data = window_get())) {
        free(st);
        return NULL;
    }
    list_init(&st->node);
    st->base = base;
    if (base < p->tail) {
        st->filled = st->flushed = (uint32_t)(p->tail - base);
        memcpy(st->data, p->edge, st->filled);
    }
    list_add_tail(&p->stages, &st->node);
    return st;
}

int pack_stage_reserve_locked(struct pack_out *p, uint64_t size, struct pack_stage *st[2])
{
    uint64_t at = p->tail, end = at + size;
    int rc = make_space(p, end);

    if (rc)
        return rc;
    st[0] = st[1] = NULL;
    list_for_each(it, &p->stages) {
        struct pack_stage *s = list_entry(it, struct pack_stage, node);
        if (s->base + STAGE_SIZE > at) /* the last one; full ones before it may be on their way */
            st[0] = s;
    }
    if (!st[0] && !(st[0] = stage_add(p, at & ~(uint64_t)(PACK_BLOCK - 1))))
        return -ENOMEM;
    if (st[0]->base + STAGE_SIZE < end && !(st[1] = stage_add(p, st[0]->base + STAGE_SIZE)))
        return -ENOMEM;
    p->tail = end;
    p->copying++;
    return 0;
}

/* --- filling --- */

uint64_t pack_stage_copy(struct pack_stage *const st[2], uint64_t at, const void *data, size_t len)
{
    const uint8_t *from = data;

    while (len) {
        struct pack_stage *s = st[at >= st[0]->base + STAGE_SIZE];
        size_t room = (size_t)(s->base + STAGE_SIZE - at), n = len < room ? len : room;

        if (data) {
            memcpy(s->data + (at - s->base), from, n);
            from += n;
        } else {
            memset(s->data + (at - s->base), 0, n);
        }
        at += n;
        len -= n;
    }
    return at;
}

/* --- writing --- */

/* Writes a stage's whole blocks from start on, and the edge if len does not end a block. A stage that is not busy. Lock
 * held, dropped meanwhile. */
static void stage_write_locked(struct packset *ps, struct pack_out *p, struct pack_stage *st, uint32_t len)
{
    uint32_t from = st->start, whole = len & ~(PACK_BLOCK - 1);
    bool more = true;
    int rc;

    st->busy = true;
    pthread_mutex_unlock(&ps->lock);
    rc = fault_point("pack.flush");
    while (rc == 0 && more) {
        uint32_t n = p->direct || whole - from < CACHED_STEP ? whole - from : CACHED_STEP;
        struct iovec iov[2] = {{st->data + from, n}, {p->edge, PACK_BLOCK}};

        more = from + n < whole;
        rc = pack_write_all(p->fd, iov + (n == 0), (n != 0) + (!more && whole < len), st->base + from);
        if (rc == -EINVAL && p->direct) { /* this file system wants it otherwise */
            pack_cached(p);
            rc = 0;
            more = true;
            continue;
        }
        from += n;
    }
    if (rc)
        log_error("%s: pack %u: writing at %llu: %s; what was appended there is lost", ps->label, p->pack,
                  (unsigned long long)st->base, strerror(-rc));
    else if (!p->direct)
        sync_file_range(p->fd, (off_t)(st->base + st->start), len - st->start, SYNC_FILE_RANGE_WRITE);
    pthread_mutex_lock(&ps->lock);
    if (rc && !p->err) {
        p->err = rc;
        pack_retire_locked(ps, p);
    }
    st->start = whole;
    st->flushed = len;
    st->busy = false;
    pthread_cond_broadcast(&ps->cond);
}

void pack_stage_filled_locked(struct packset *ps, struct pack_out *p, struct pack_stage *const st[2], uint64_t at,
                              uint64_t size)
{
    bool mine[2] = {false, false};

    if (--p->copying == 0 && p->hold)
        pthread_cond_broadcast(&ps->cond);
    for (int i = 0; i < 2 && size; i++) {
        uint64_t room = st[i]->base + STAGE_SIZE - at, n = size < room ? size : room;

        st[i]->filled += (uint32_t)n;
        st[i]->full = mine[i] = st[i]->filled == STAGE_SIZE;
        at += n;
        size -= n;
    }
    for (int i = 0; i < 2; i++) { /* one that is not mine may be gone as soon as the lock is dropped */
        if (!mine[i])
            continue;
        while (st[i]->busy)
            pthread_cond_wait(&ps->cond, &ps->lock);
        stage_write_locked(ps, p, st[i], STAGE_SIZE);
        stage_free(st[i]);
    }
}

/* The first stage with bytes below end that the file does not have. */
static struct pack_stage *unwritten(const struct pack_out *p, uint64_t end)
{
    list_for_each(it, &p->stages) {
        struct pack_stage *st = list_entry(it, struct pack_stage, node);
        if (st->base < end && (st->full || st->base + st->flushed < end))
            return st;
    }
    return NULL;
}

/* The bytes of the last block before the end, as a block. Nobody copies. */
static void keep_edge(struct pack_out *p, uint64_t end)
{
    uint32_t len = (uint32_t)(end & (PACK_BLOCK - 1));

    list_for_each(it, &p->stages) {
        const struct pack_stage *st = list_entry(it, struct pack_stage, node);
        if (!len || end <= st->base || end >= st->base + STAGE_SIZE)
            continue;
        memcpy(p->edge, st->data + (end - st->base - len), len);
        memset(p->edge + len, 0, PACK_BLOCK - len);
    }
}

int pack_flush_locked(struct packset *ps, struct pack_out *p)
{
    struct pack_stage *st;
    uint64_t end;

    while (p->flushing)
        pthread_cond_wait(&ps->cond, &ps->lock);
    if (list_empty(&p->stages))
        return p->err;
    p->flushing = p->hold = true;
    while (p->copying)
        pthread_cond_wait(&ps->cond, &ps->lock);
    end = p->tail;
    keep_edge(p, end);
    p->hold = false;
    pthread_cond_broadcast(&ps->cond);
    while ((st = unwritten(p, end))) {
        if (st->full || st->busy) /* who filled it writes it */
            pthread_cond_wait(&ps->cond, &ps->lock);
        else
            stage_write_locked(ps, p, st, end - st->base < STAGE_SIZE ? (uint32_t)(end - st->base) : STAGE_SIZE);
    }
    st = list_first(&p->stages, struct pack_stage, node);
    if (p->tail == end && st && !p->copying && !st->busy) /* the last one, and nothing came since: S4 */
        stage_free(st);
    p->flushing = false;
    pthread_cond_broadcast(&ps->cond);
    return p->err;
}

void pack_settle(struct packset *ps, const struct chunk *c)
{
    uint64_t end = c->pack_off + PACK_HEADER + c->stored_len;
    struct pack_out *p;

    pthread_mutex_lock(&ps->lock);
    p = pack_out_find_locked(ps, c->pack);
    if (p && c->pack_off < p->tail && unwritten(p, end < p->tail ? end : p->tail)) {
        p->inflight++; /* stays */
        (void)pack_flush_locked(ps, p); /* the reader sees what came of it */
        p->inflight--;
    }
    pthread_mutex_unlock(&ps->lock);
}
