/* SPDX-License-Identifier: Apache-2.0
 * volume_write: bytes into files: write and commit.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "common/clock.h"
#include "server/store/dedup.h"

#define RELIEF_EARLY_MS 100u
#define SLOTS_MAX       (VOLUME_IO_MAX / SLOT_SIZE + 1)

/* Memory for dirty data is bounded: over a quarter of the cache, all is made to go to the disk and into the index; over
 * half of it, writers wait for that. */
static int write_throttle(struct volume *v, const struct store_call *call)
{
    bool wait = v->e->pinned > v->e->cache_size / 2;

    if (v->e->pinned <= v->e->cache_size / 4 || v->pinned <= (1u << 20))
        return 0;
    if (wait && v->flush_err)
        return v->flush_err;
    vol_relieve(v, wait ? RELIEF_MS : RELIEF_EARLY_MS);
    if (!wait)
        return 0;
    if (!call->may_block)
        return -EAGAIN;
    vol_wait(v, 20);
    return RETRY;
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
    r = inode_get_file(v, call, ino, &in);
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
    r = vol_quota(v, in, end > in->a.size ? end : in->a.size, len + STORE_PAGE);
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

    if (len > VOLUME_IO_MAX)
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
    int r = inode_get_file(v, call, ino, &in);

    if (r)
        return r;
    if (v->failed)
        return list_empty(&in->dirty) && in->data_txg <= v->durable ? 0 : vol_failed(v, -EIO);
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
