/* SPDX-License-Identifier: Apache-2.0
 * volume_hole: where files have no data: punch, allocate, seek.
 */
#include <errno.h>

#include "common/clock.h"
#include "server/store/volume_int.h"

static int punch_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                        uint64_t end)
{
    struct inode *in;
    struct rowop *op;
    int r = vol_admit(v, call, CHANGE_FREE);

    if (r)
        return r;
    r = inode_get_file(v, call, ino, &in);
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
    r = inode_get_file(v, call, ino, &in);
    if (r)
        return r;
    if (off > STORE_FILE_MAX || len > STORE_FILE_MAX - off)
        return -EFBIG;
    r = vol_quota(v, in, off + len > in->a.size ? off + len : in->a.size, len);
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
    int r = inode_get_file(v, call, ino, &in);

    if (r)
        return r;
    if (off >= in->a.size)
        return -ENXIO;
    if (!call->may_block)
        return -EAGAIN;
    if (!list_empty(&in->dirty)) {
        r = v->failed ? vol_failed(v, -EIO) : inode_flush(v, call, in);
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
