/* SPDX-License-Identifier: Apache-2.0
 * volume_io: bytes of files: read, write, commit, punch, allocate, seek.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "server/store/dedup.h"

#define IO_MAX     (2u << 20)
#define RELIEF_MS       5u
#define RELIEF_EARLY_MS 100u
#define RA_HITS    2u
#define RA_NEAR    16u /* times the length of a read */
#define SLOTS_MAX  (IO_MAX / SLOT_SIZE + 1)

static int get_file(struct volume *v, const struct store_call *call, uint64_t ino, struct inode **in)
{
    int r = inode_get(v, call, ino, in);

    if (r)
        return r;
    if ((*in)->a.type == IT_DIR)
        return -EISDIR;
    return (*in)->a.type == IT_REG ? 0 : -EINVAL;
}

/* --- reading --- */

static void add_piece(struct volume_read *out, struct buf *b, void *p, size_t len, void *zero)
{
    if (!b && out->niov && !out->ref[out->niov - 1])
        ; /* zeros after zeros: one longer piece of the zero area */
    else {
        out->iov[out->niov].iov_base = b ? p : zero;
        out->iov[out->niov].iov_len = 0;
        out->ref[out->niov++] = b;
        if (b)
            atomic_fetch_add(&b->refs, 1);
    }
    out->iov[out->niov - 1].iov_len += len;
    out->len += len;
}

/* Reads [a, b) of a slot that may be absent (all zero). false: no room or a bad page; out has what fits. */
static bool read_slot(struct volume *v, const struct slot *s, uint32_t a, uint32_t b,
                      struct volume_read *out)
{
    uint32_t end = s && s->buf ? s->buf->pages * STORE_PAGE : 0;
    uint32_t bad = s ? s->bad & pages_touched(a, b) : 0;
    bool whole = true;

    if (bad) {
        uint32_t first = (uint32_t)__builtin_ctz(bad) * STORE_PAGE;
        if (first <= a)
            return false;
        b = first;
        whole = false;
    }
    if (a < end) {
        uint32_t to = b < end ? b : end;
        if (out->niov == VOLUME_READ_IOV)
            return false;
        add_piece(out, s->buf, s->buf->data + a, to - a, NULL);
        a = to;
    }
    if (a < b) {
        if (out->niov == VOLUME_READ_IOV && out->ref[out->niov - 1])
            return false;
        add_piece(out, NULL, NULL, b - a, v->e->zero);
    }
    return whole;
}

/* Makes sure the pages of [off, off + len) are known. */
static int read_prepare(struct volume *v, const struct store_call *call, struct inode *in,
                        uint64_t off, size_t len)
{
    uint64_t first = off / SLOT_SIZE, last = (off + len - 1) / SLOT_SIZE;
    struct slot *load = NULL;

    for (uint64_t i = first; i <= last; i++) {
        uint64_t start = i * SLOT_SIZE;
        uint32_t a = off > start ? (uint32_t)(off - start) : 0;
        uint32_t b = off + len - start < SLOT_SIZE ? (uint32_t)(off + len - start) : SLOT_SIZE;
        struct slot *s;

        if (start >= in->data_end && !slot_find(in, i))
            continue; /* P2: zeros */
        s = slot_find(in, i);
        if (s && !(pages_touched(a, b) & ~(s->valid | s->bad)))
            continue;
        if (!call->may_block)
            return -EAGAIN;
        if (in->punch_txg > v->committed)
            return txg_wait_locked(v, call, in->punch_txg);
        s = slot_get(in, i);
        if (!load)
            load = s;
        else if (s->busy == SLOT_IDLE)
            engine_queue(v->e, v, in->a.ino, i, WORK_LOAD);
    }
    if (!load)
        return 0;
    return load->busy == SLOT_IDLE ? slot_load(load, in->ra_hits >= RA_HITS) : slot_wait(v, call);
}

/* RA_HITS reads in order start it; their slots and those up to READAHEAD beyond are read by the workers. A client that
 * has several reads under way does not send them quite in order, and each may come here twice: what is near counts as
 * in order, and only what is new as progress. */
static void read_ahead(struct volume *v, struct inode *in, uint64_t off, uint64_t end)
{
    uint64_t most = v->e->cache_size / 8 < READAHEAD ? v->e->cache_size / 8 : READAHEAD;
    uint64_t near = RA_NEAR * (end - off), to, i;

    if (off > in->ra_next + near || off + near < in->ra_next) {
        in->ra_hits = off == 0;
        in->ra_done = 0;
        in->ra_next = end;
        return;
    }
    if (end <= in->ra_next)
        return;
    in->ra_hits++;
    in->ra_next = end;
    if (in->ra_hits < RA_HITS || in->punch_txg > v->committed)
        return;
    to = end + most < in->data_end ? end + most : in->data_end;
    i = (off > in->ra_done ? off : in->ra_done) / SLOT_SIZE;
    if (to <= i * SLOT_SIZE || (to < in->data_end && to - i * SLOT_SIZE < most / 4))
        return;
    for (; i * SLOT_SIZE < to; i++)
        if (!slot_find(in, i))
            engine_queue(v->e, v, in->a.ino, i, WORK_LOAD);
    in->ra_done = i * SLOT_SIZE;
}

static int read_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                       size_t len, struct volume_read *out)
{
    struct inode *in;
    uint64_t end;
    int r = get_file(v, call, ino, &in);

    if (r)
        return r;
    if (off >= in->a.size || len == 0) {
        out->eof = off >= in->a.size;
        return 0;
    }
    if (len > in->a.size - off)
        len = in->a.size - off;
    end = off + len;
    read_ahead(v, in, off, end);
    r = read_prepare(v, call, in, off, len);
    if (r)
        return r;
    atomic_fetch_add_explicit(&v->e->slot_reads, (end - 1) / SLOT_SIZE - off / SLOT_SIZE + 1,
                              memory_order_relaxed);
    for (uint64_t at = off; at < end;) {
        uint64_t start = at & ~(uint64_t)(SLOT_SIZE - 1);
        uint64_t to = start + SLOT_SIZE < end ? start + SLOT_SIZE : end;
        struct slot *s = slot_find(in, at / SLOT_SIZE);

        if (s)
            s->ref = true;
        if (!read_slot(v, s, (uint32_t)(at - start), (uint32_t)(to - start), out))
            break;
        at = to;
    }
    if (out->len == 0)
        return -EUCLEAN;
    out->eof = off + out->len >= in->a.size;
    return 0;
}

int volume_read(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off, size_t len,
                struct volume_read *out)
{
    int r = vol_enter(v);

    out->len = 0;
    out->niov = 0;
    out->eof = false;
    if (r < 0)
        return r;
    if (len > IO_MAX)
        len = IO_MAX;
    do
        r = read_locked(v, call, ino, off, len, out);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

void volume_read_release(struct volume_read *r)
{
    for (int i = 0; i < r->niov; i++)
        buf_unref(r->ref[i]);
    r->niov = 0;
    r->len = 0;
}

/* --- writing --- */

/* Memory for dirty data is bounded: over a quarter of the cache, all is made to go to the disk and into the index; over
 * half of it, writers wait for that. */
static int write_throttle(struct volume *v, const struct store_call *call)
{
    uint64_t now;
    bool wait = v->e->pinned > v->e->cache_size / 2;

    if (v->e->pinned <= v->e->cache_size / 4 || v->pinned <= (1u << 20))
        return 0;
    if (wait && v->flush_err)
        return v->flush_err;
    now = clock_mono_ms();
    if (now >= v->relief_ms) { /* looks at all that is dirty: not for each write */
        v->relief_ms = now + (wait ? RELIEF_MS : RELIEF_EARLY_MS);
        volume_flush_old(v, UINT64_MAX);
        volume_publish_preps(v, UINT64_MAX);
        txg_want_committed(v, txg_last(v));
    }
    if (!wait)
        return 0;
    if (!call->may_block)
        return -EAGAIN;
    vol_wait(v, 20);
    return RETRY;
}

static int check_quota(struct volume *v, const struct inode *in, uint64_t new_size, uint64_t bytes)
{
    uint64_t used = in->cused + in->pend + bytes;

    if (!v->props.quota_bytes)
        return 0;
    if (used > new_size)
        used = new_size;
    if (used <= in->a.used)
        return 0;
    return (int64_t)v->logical + v->extra + (int64_t)(used - in->a.used) >
                   (int64_t)v->props.quota_bytes
               ? -EDQUOT
               : 0;
}

/* The slots of one write. */
struct wslots {
    struct slot *s[SLOTS_MAX];
    uint32_t a[SLOTS_MAX], b[SLOTS_MAX];
    unsigned n;
};

/* Finds the slots, with the pages that are partly overwritten in memory. No effect that shows. */
static int write_prepare(struct volume *v, const struct store_call *call, struct inode *in,
                         uint64_t off, size_t len, struct wslots *w)
{
    w->n = 0;
    for (uint64_t i = off / SLOT_SIZE; i <= (off + len - 1) / SLOT_SIZE; i++) {
        uint64_t start = i * SLOT_SIZE;
        uint32_t a = off > start ? (uint32_t)(off - start) : 0;
        uint32_t b = off + len - start < SLOT_SIZE ? (uint32_t)(off + len - start) : SLOT_SIZE;
        uint32_t partial = pages_touched(a, b) & ~pages_covered(a, b);
        struct slot *s = slot_get(in, i);

        if (s->busy != SLOT_IDLE)
            return slot_wait(v, call);
        if (partial & s->bad)
            return -EUCLEAN;
        if (partial & ~s->valid) {
            if (!call->may_block)
                return -EAGAIN;
            if (in->punch_txg > v->committed)
                return txg_wait_locked(v, call, in->punch_txg);
            return slot_load(s, false);
        }
        w->s[w->n] = s;
        w->a[w->n] = a;
        w->b[w->n++] = b;
    }
    return 0;
}

static void write_copy(struct wslots *w, const unsigned char *data)
{
    for (unsigned i = 0; i < w->n; i++) {
        memcpy(w->s[i]->buf->data + w->a[i], data, w->b[i] - w->a[i]);
        data += w->b[i] - w->a[i];
    }
}

/* Makes the written slots durable with the open txg. They are busy and stay so until the end. */
static int write_stable(struct volume *v, struct wslots *w, bool blob)
{
    struct same same[SLOTS_MAX] = {{0}};
    int r = 0;

    for (unsigned i = 0; i < w->n && r == 0; i++)
        r = slot_encode(w->s[i], blob, &same[i]);
    for (unsigned i = 0; i < w->n && r == 0; i++) {
        struct slot *s = w->s[i];
        if (!same[i].src || same_holds(&same[i]))
            continue;
        same_release(&same[i]);
        rowop_drop_list(v, s->prep);
        s->prep = NULL;
        r = slot_encode(s, blob, NULL);
        i = UINT_MAX; /* the lock was dropped: ask the others again */
    }
    for (unsigned i = 0; i < w->n; i++) {
        struct slot *s = w->s[i];
        same_release(&same[i]);
        if (s->in->dead || r < 0) {
            rowop_drop_list(v, s->prep);
            s->prep = NULL;
            if (s->in->dead)
                slot_undirty(s, s->dirty);
        } else {
            slot_publish(s);
        }
        slot_idle(s);
    }
    return r;
}

static int write_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                        const void *data, size_t len, bool stable, const uint64_t *expect_size,
                        struct vattr *attr)
{
    struct wslots w;
    struct inode *in;
    uint64_t end = off + len;
    int r = vol_admit(v, call, CHANGE_DATA);

    if (r)
        return r;
    r = get_file(v, call, ino, &in);
    if (r)
        return r;
    if (expect_size && *expect_size != in->a.size)
        return -ESTALE;
    if (off > STORE_FILE_MAX || end > STORE_FILE_MAX)
        return -EFBIG;
    if (len == 0) {
        if (attr)
            *attr = in->a;
        return 0;
    }
    if (stable && len > BLOB_TOTAL_MAX && !call->may_block)
        return -EAGAIN;
    r = write_throttle(v, call);
    if (r)
        return r;
    r = check_quota(v, in, end > in->a.size ? end : in->a.size, len + STORE_PAGE);
    if (r)
        return vol_over_quota(v, call);
    r = write_prepare(v, call, in, off, len, &w);
    if (r)
        return r;

    for (unsigned i = 0; i < w.n; i++)
        w.s[i]->busy = SLOT_COPYING;
    for (unsigned i = 0; i < w.n; i++) {
        const struct buf *before = w.s[i]->buf;
        uint32_t covered = pages_covered(w.a[i], w.b[i]);
        slot_drop_prep(w.s[i]);
        slot_grow(w.s[i], (w.b[i] + STORE_PAGE - 1) / STORE_PAGE, covered);
        if (w.s[i]->buf != before)
            w.s[i]->valid &= ~covered; /* what the new buffer had in it is nobody's to read */
    }
    if (len > COPY_LOCKED_MAX) {
        pthread_mutex_unlock(&v->lock);
        write_copy(&w, data);
        pthread_mutex_lock(&v->lock);
    } else {
        write_copy(&w, data);
    }
    if (in->dead) {
        for (unsigned i = 0; i < w.n; i++)
            slot_idle(w.s[i]);
        slots_discard(in);
        return -ESTALE;
    }
    in->wseq++;
    if (end > in->a.size)
        in->a.size = end;
    for (unsigned i = 0; i < w.n; i++)
        slot_dirty(w.s[i], pages_touched(w.a[i], w.b[i]));
    inode_bump(in);
    in->a.mtime = in->a.ctime = clock_wall();
    inode_recalc_used(in);
    if (stable) {
        in->opsref++;
        r = write_stable(v, &w, len <= BLOB_TOTAL_MAX);
        in->opsref--;
        if (r == 0)
            call_note(call, v, v->open->n);
    } else {
        for (unsigned i = 0; i < w.n; i++) {
            struct slot *s = w.s[i];
            slot_idle(s);
            if (s->dirty == UINT32_MAX && !s->queued) {
                s->queued = true;
                engine_queue(v->e, v, ino, s->idx, WORK_PREP);
            }
        }
    }
    if (attr)
        *attr = in->a;
    return r;
}

int volume_write(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                 const void *data, size_t len, bool stable, const uint64_t *expect_size,
                 struct vattr *attr)
{
    int r;

    if (len > IO_MAX)
        return -EINVAL;
    r = vol_enter_change(v, call);
    if (r < 0)
        return r;
    do
        r = write_locked(v, call, ino, off, data, len, stable, expect_size, attr);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

static int commit_locked(struct volume *v, struct store_call *call, uint64_t ino)
{
    struct inode *in;
    int r = get_file(v, call, ino, &in);

    if (r)
        return r;
    if (v->failed)
        return list_empty(&in->dirty) && in->data_txg <= v->durable ? 0 : -EIO;
    if (!list_empty(&in->dirty)) {
        r = inode_flush(v, call, in);
        if (r < 0)
            return r;
        r = inode_get(v, call, ino, &in);
        if (r)
            return r;
    }
    if (in->data_txg > v->durable)
        call_note(call, v, in->data_txg);
    return 0;
}

int volume_commit(struct volume *v, struct store_call *call, uint64_t ino)
{
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = commit_locked(v, call, ino);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

/* --- holes --- */

static int punch_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                        uint64_t end)
{
    struct inode *in;
    struct rowop *op;
    int r = vol_admit(v, call, CHANGE_FREE);

    if (r)
        return r;
    r = get_file(v, call, ino, &in);
    if (r)
        return r;
    if (end > in->a.size)
        end = in->a.size;
    if (off >= end)
        return 0;
    r = slots_idle_in(v, call, in, off, end);
    if (r)
        return r;
    slots_zero(in, off, end);
    if (end > in->psize)
        in->psize = end; /* dirty pages that would have brought the size along may be gone */
    if (off < in->data_end) {
        op = rowop_new(OP_PUNCH, ino, NULL, 0, NULL, 0);
        op->off = off;
        op->len = end - off;
        op->in = in;
        in->punch_txg = in->data_txg = v->open->n;
        txg_add(v, op);
    }
    inode_changed(in, clock_wall(), true);
    inode_recalc_used(in);
    call_note(call, v, v->open->n);
    return 0;
}

int volume_punch(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off, uint64_t len)
{
    uint64_t end = len > STORE_FILE_MAX || off > STORE_FILE_MAX ? STORE_FILE_MAX : off + len;
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = punch_locked(v, call, ino, off, end);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

static int allocate_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                           uint64_t len)
{
    struct inode *in;
    int r = vol_admit(v, call, CHANGE_DATA);

    if (r)
        return r;
    r = get_file(v, call, ino, &in);
    if (r)
        return r;
    if (off > STORE_FILE_MAX || len > STORE_FILE_MAX - off)
        return -EFBIG;
    r = check_quota(v, in, off + len > in->a.size ? off + len : in->a.size, len);
    if (r)
        return vol_over_quota(v, call);
    if (vol_space(v, true) < v->reserve + v->e->pinned ||
        vol_space(v, false) - v->reserve - v->e->pinned < len)
        return -ENOSPC;
    if (off + len > in->a.size)
        in->a.size = in->psize = off + len;
    inode_changed(in, clock_wall(), true);
    inode_recalc_used(in);
    call_note(call, v, v->open->n);
    return 0;
}

int volume_allocate(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                    uint64_t len)
{
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = allocate_locked(v, call, ino, off, len);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

/* The index knows where data is once everything of the file is in it. */
static int seek_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                       bool want_data, uint64_t *out)
{
    struct inode *in;
    uint64_t size;
    int r = get_file(v, call, ino, &in);

    if (r)
        return r;
    if (off >= in->a.size)
        return -ENXIO;
    if (!call->may_block)
        return -EAGAIN;
    if (!list_empty(&in->dirty)) {
        r = v->failed ? -EIO : inode_flush(v, call, in);
        return r < 0 ? r : RETRY;
    }
    r = txg_wait_locked(v, call, in->data_txg);
    if (r)
        return r;
    size = in->a.size;
    pthread_mutex_unlock(&v->lock);
    r = index_seek(v->ix, ino, off, size, want_data, out);
    pthread_mutex_lock(&v->lock);
    if (r == -ENXIO && !want_data) {
        *out = size;
        r = 0;
    }
    return r;
}

int volume_seek(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off, bool want_data,
                uint64_t *out)
{
    int r = vol_enter(v);

    if (r < 0)
        return r;
    do
        r = seek_locked(v, call, ino, off, want_data, out);
    while (r == RETRY);
    vol_leave(v);
    return r;
}
