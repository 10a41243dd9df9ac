/* SPDX-License-Identifier: Apache-2.0
 * volume_attr: attributes, holds and extended attributes of inodes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "common/clock.h"
#include "server/store/volume_int.h"

int volume_getattr(struct volume *v, struct store_call *call, uint64_t ino, uint32_t gen,
                   struct vattr *out)
{
    struct inode *in;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    do
        r = inode_get(v, call, ino, &in);
    while (r == RETRY);
    if (r == 0 && gen && in->a.gen != gen)
        r = -ESTALE;
    if (r == 0)
        *out = in->a;
    vol_leave(v);
    return r;
}

/* Cuts or extends; the caller has waited for busy slots beyond the new end. */
static void set_size(struct inode *in, uint64_t size)
{
    struct volume *v = in->vol;

    if (size < in->a.size) {
        slots_zero(in, size, UINT64_MAX - SLOT_SIZE);
        if (size < in->data_end) {
            struct rowop *op = rowop_new(OP_PUNCH, in->a.ino, NULL, 0, NULL, 0);
            op->off = size;
            op->len = UINT64_MAX;
            op->in = in;
            in->punch_txg = in->data_txg = v->open->n;
            in->data_end = size;
            txg_add(v, op);
        }
    }
    in->a.size = in->psize = size;
    in->data_txg = v->open->n;
}

static int setattr_locked(struct volume *v, struct store_call *call, uint64_t ino,
                          const struct vset *set, struct vattr *out)
{
    struct timespec now;
    struct inode *in;
    bool sized = set->mask & VSET_SIZE;
    int r = vol_admit(v, call, CHANGE_FREE);

    if (r)
        return r;
    r = inode_get(v, call, ino, &in);
    if (r)
        return r;
    if (sized) {
        if (in->a.type != IT_REG)
            return in->a.type == IT_DIR ? -EISDIR : -EINVAL;
        if (set->size > STORE_FILE_MAX)
            return -EFBIG;
        if (set->size < in->a.size) {
            /* from the start of the edge slot: an encoded tail must not come back */
            r = slots_idle_in(v, call, in, set->size & ~(uint64_t)(SLOT_SIZE - 1),
                              UINT64_MAX - SLOT_SIZE);
            if (r)
                return r;
        }
    }
    if (set->mask == 0) {
        if (out)
            *out = in->a;
        return 0;
    }
    now = clock_wall();
    if (sized) {
        set_size(in, set->size);
        in->a.mtime = now;
    }
    if (set->mask & VSET_MODE)
        in->a.mode = set->mode & 07777;
    if (set->mask & VSET_UID)
        in->a.uid = set->uid;
    if (set->mask & VSET_GID)
        in->a.gid = set->gid;
    if (set->mask & (VSET_ATIME | VSET_ATIME_NOW))
        in->a.atime = set->mask & VSET_ATIME ? set->atime : now;
    if (set->mask & (VSET_MTIME | VSET_MTIME_NOW))
        in->a.mtime = set->mask & VSET_MTIME ? set->mtime : now;
    if (set->mask & VSET_BTIME)
        in->a.btime = set->btime;
    inode_changed(in, now, false);
    inode_recalc_used(in);
    if (out)
        *out = in->a;
    call_note(call, v, v->open->n);
    return 0;
}

int volume_setattr(struct volume *v, struct store_call *call, uint64_t ino, const struct vset *set,
                   struct vattr *out)
{
    int r = vol_enter_change(v, call);

    if (r < 0)
        return r;
    do
        r = setattr_locked(v, call, ino, set, out);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

int volume_hold(struct volume *v, struct store_call *call, uint64_t ino)
{
    struct inode *in;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    do
        r = inode_get(v, call, ino, &in);
    while (r == RETRY);
    if (r == 0)
        in->holds++;
    vol_leave(v);
    return r;
}

void volume_release(struct volume *v, uint64_t ino)
{
    struct inode *in;

    if (vol_enter(v) < 0)
        return;
    in = inode_find(v, ino);
    if (in && !in->loading && in->holds && --in->holds == 0 && in->a.nlink == 0 && !in->dead &&
        !v->failed && !v->parent)
        inode_kill(in);
    vol_leave(v);
}

/* --- extended attributes: in the index; a read waits for the inode's last change of them --- */

static bool xname_ok(const char *name, size_t len)
{
    return len >= 1 && len <= STORE_XATTR_NAME_MAX && !memchr(name, 0, len);
}

/* The inode with its xattrs committed. */
static int xattr_settle(struct volume *v, struct store_call *call, uint64_t ino, struct inode **in)
{
    int r = inode_get(v, call, ino, in);

    if (r || (*in)->noxattr)
        return r;
    if (!call->may_block)
        return -EAGAIN;
    return txg_wait_locked(v, call, (*in)->xattr_txg);
}

int volume_getxattr(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                    size_t len, void *buf, size_t size)
{
    struct inode *in;
    int r;

    if (!xname_ok(name, len))
        return -EINVAL;
    r = vol_enter(v);
    if (r < 0)
        return r;
    do
        r = xattr_settle(v, call, ino, &in);
    while (r == RETRY);
    if (r == 0 && in->noxattr) {
        r = -ENODATA;
    } else if (r == 0) {
        pthread_mutex_unlock(&v->lock);
        r = index_get_xattr(v->ix, ino, name, len, buf, size);
        pthread_mutex_lock(&v->lock);
    }
    vol_leave(v);
    return r;
}

/* Whether the xattr exists: 0 or -ENODATA, or RETRY and errors. The lock may have been dropped, but
 * with 0 and -ENODATA nothing has changed since. */
static int xattr_exists(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                        size_t len, struct inode **out)
{
    struct inode *in;
    uint64_t change;
    int r = xattr_settle(v, call, ino, &in);

    if (r)
        return r;
    *out = in;
    if (in->noxattr)
        return -ENODATA;
    change = in->a.change;
    in->opsref++;
    pthread_mutex_unlock(&v->lock);
    r = index_get_xattr(v->ix, ino, name, len, NULL, 0);
    pthread_mutex_lock(&v->lock);
    in->opsref--;
    if (in->dead || in->a.change != change || in->xattr_txg > v->committed)
        return RETRY;
    return r > 0 ? 0 : r;
}

static void xattr_changed(struct volume *v, struct store_call *call, struct inode *in,
                          struct rowop *op, struct dir_change *change)
{
    uint64_t before = in->a.change;

    in->noxattr = false;
    in->xattr_txg = v->open->n;
    txg_add(v, op);
    inode_changed(in, clock_wall(), false);
    if (change)
        *change = (struct dir_change){before, in->a.change};
    call_note(call, v, v->open->n);
}

static int setxattr_locked(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                           size_t len, const void *val, size_t size, int flags,
                           struct dir_change *change)
{
    struct inode *in;
    int r = vol_admit(v, call, CHANGE_NAMES);

    if (r)
        return r;
    if (flags & (XATTR_CREATE | XATTR_REPLACE)) {
        r = xattr_exists(v, call, ino, name, len, &in);
        if (r == 0 && (flags & XATTR_CREATE))
            return -EEXIST;
        if (r == -ENODATA && !(flags & XATTR_REPLACE))
            r = 0;
    } else {
        r = inode_get(v, call, ino, &in);
    }
    if (r)
        return r;
    xattr_changed(v, call, in, rowop_new(OP_PUT_XATTR, ino, name, len, size ? val : "", size), change);
    return 0;
}

int volume_setxattr(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                    size_t len, const void *val, size_t size, int flags, struct dir_change *change)
{
    int r;

    if (!xname_ok(name, len))
        return -EINVAL;
    if (size > STORE_XATTR_SIZE_MAX)
        return -E2BIG;
    r = vol_enter_change(v, call);
    if (r < 0)
        return r;
    do
        r = setxattr_locked(v, call, ino, name, len, val, size, flags, change);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

static int removexattr_locked(struct volume *v, struct store_call *call, uint64_t ino,
                              const char *name, size_t len, struct dir_change *change)
{
    struct inode *in;
    int r = vol_admit(v, call, CHANGE_FREE);

    if (r)
        return r;
    r = xattr_exists(v, call, ino, name, len, &in);
    if (r)
        return r;
    xattr_changed(v, call, in, rowop_new(OP_DEL_XATTR, ino, name, len, NULL, 0), change);
    return 0;
}

int volume_removexattr(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                       size_t len, struct dir_change *change)
{
    int r;

    if (!xname_ok(name, len))
        return -EINVAL;
    r = vol_enter_change(v, call);
    if (r < 0)
        return r;
    do
        r = removexattr_locked(v, call, ino, name, len, change);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

int volume_listxattr(struct volume *v, struct store_call *call, uint64_t ino, uint64_t after,
                     bool (*fn)(void *arg, uint64_t cookie, const char *name, size_t len), void *arg,
                     bool *eof)
{
    struct inode *in;
    int r = vol_enter(v);

    *eof = false;
    if (r < 0)
        return r;
    do
        r = xattr_settle(v, call, ino, &in);
    while (r == RETRY);
    if (r == 0 && in->noxattr) {
        *eof = true;
    } else if (r == 0) {
        pthread_mutex_unlock(&v->lock);
        r = index_list_xattr(v->ix, ino, after, fn, arg, eof);
        pthread_mutex_lock(&v->lock);
    }
    vol_leave(v);
    return r < 0 ? r : 0;
}
