/* SPDX-License-Identifier: Apache-2.0
 * volume_clone: a range of one file becomes a range of another by sharing chunks.
 *
 * One OP_CLONE in the open txg does it, when that is applied (T2): so what it copies is what the index says of the
 * source after all ops before it. Therefore, when it is added,
 *   C1 nothing in the source's range is dirty in memory: it was published before, into this txg or an older one;
 *   C2 nothing in the destination's range is dirty or busy: its pages are forgotten and punch_txg makes
 *      everybody who wants to read them wait for the commit;
 *   C3 pages that are partly in the destination's range are forgotten as well, which C2 makes right.
 * Until the commit the length counts as if all of it were data (rowop.pend).
 */
#include <errno.h>

#include "common/clock.h"
#include "server/store/volume_int.h"

#define FLUSHES_MAX 8 /* of files that are written all the time, before the caller is told to come back */

struct clone {
    uint64_t src, soff, dst, doff, len;
    unsigned flushes;
};

static int get_regular(struct volume *v, const struct store_call *call, uint64_t ino, struct inode **in)
{
    int r = inode_get(v, call, ino, in);

    if (r == 0 && (*in)->a.type != IT_REG)
        r = (*in)->a.type == IT_DIR ? -EISDIR : -EINVAL;
    return r;
}

static int check_ranges(const struct clone *c, const struct inode *src, const struct inode *dst)
{
    if (c->len > VOLUME_CLONE_MAX || c->soff > src->a.size || c->len > src->a.size - c->soff)
        return -EINVAL;
    if (c->soff % VOLUME_CLONE_BLOCK || c->doff % VOLUME_CLONE_BLOCK)
        return -EINVAL;
    if (c->doff > STORE_FILE_MAX || c->len > STORE_FILE_MAX - c->doff)
        return -EFBIG;
    if (c->len % VOLUME_CLONE_BLOCK &&
        (c->soff + c->len != src->a.size || c->doff + c->len < dst->a.size))
        return -EINVAL;
    if (src == dst && c->soff < c->doff + c->len && c->doff < c->soff + c->len)
        return -EINVAL;
    return 0;
}

/* C1 and C2 for one of the files: 0, or RETRY after it had to let go of the lock. */
static int settle(struct volume *v, struct store_call *call, struct inode *in, uint64_t from, uint64_t to,
                  unsigned *flushes)
{
    int r = slots_idle_in(v, call, in, from, to);

    if (r || !slots_dirty_in(in, from, to))
        return r;
    if (!call->may_block)
        return -EAGAIN;
    if ((*flushes)++ >= FLUSHES_MAX)
        return -EBUSY;
    r = inode_flush(v, call, in);
    return r < 0 ? r : RETRY;
}

static int check_quota(struct volume *v, const struct inode *dst, uint64_t len)
{
    if (!v->props.quota_bytes)
        return 0;
    return (int64_t)v->logical + v->extra + (int64_t)len > (int64_t)v->props.quota_bytes ? -EDQUOT : 0;
}

static void add_op(struct volume *v, const struct clone *c, struct inode *dst)
{
    uint64_t end = c->doff + c->len;
    struct rowop *op = rowop_new(OP_CLONE, c->dst, NULL, 0, NULL, 0);

    op->off = c->doff;
    op->len = c->len;
    op->src = c->src;
    op->src_off = c->soff;
    op->in = dst;
    op->pend = c->len;
    dst->pend += c->len;
    slots_forget(dst, c->doff, end);
    if (end > dst->data_end)
        dst->data_end = end;
    dst->punch_txg = dst->data_txg = v->open->n;
    txg_add(v, op);
}

static int clone_locked(struct volume *v, struct store_call *call, struct clone *c, struct vattr *attr)
{
    struct inode *src, *dst;
    uint64_t end = c->doff + c->len;
    int r = vol_admit(v, call, CHANGE_DATA);

    if (r)
        return r;
    r = get_regular(v, call, c->src, &src);
    if (r)
        return r;
    r = get_regular(v, call, c->dst, &dst);
    if (r)
        return r;
    r = check_ranges(c, src, dst);
    if (r)
        return r;
    if (c->len == 0) {
        if (attr)
            *attr = dst->a;
        return 0;
    }
    r = check_quota(v, dst, c->len);
    if (r)
        return vol_over_quota(v, call);
    r = settle(v, call, src, c->soff, c->soff + c->len, &c->flushes);
    if (r)
        return r;
    r = settle(v, call, dst, c->doff, end, &c->flushes);
    if (r)
        return r;
    add_op(v, c, dst);
    if (end > dst->a.size)
        dst->a.size = end;
    if (end > dst->psize)
        dst->psize = end;
    inode_changed(dst, clock_wall(), true);
    inode_recalc_used(dst);
    call_note(call, v, v->open->n);
    if (attr)
        *attr = dst->a;
    return 0;
}

int volume_clone(struct volume *v, struct store_call *call, uint64_t src, uint64_t soff, uint64_t dst,
                 uint64_t doff, uint64_t len, struct vattr *attr)
{
    struct clone c = {.src = src, .soff = soff, .dst = dst, .doff = doff, .len = len};
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = clone_locked(v, call, &c, attr);
    while (r == RETRY);
    vol_leave(v);
    return r;
}
