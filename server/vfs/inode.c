/* SPDX-License-Identifier: Apache-2.0
 * inode: objects and their attributes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#include "server/vfs/perm.h"
#include "server/vfs/pseudo.h"

void vobj_copy(struct vobj *dst, const struct vobj *src)
{
    struct vobj o = *src;
    if (o.vol)
        volume_ref(o.vol);
    vobj_release(dst);
    *dst = o;
}

void vobj_release(struct vobj *o)
{
    if (o->vol)
        volume_unref(o->vol);
    memset(o, 0, sizeof(*o));
}

uint64_t vobj_user(const struct vobj *o)
{
    return o->kind == VOBJ_USER ? o->user : o->vol ? volume_user(o->vol) : 0;
}

bool vobj_same(const struct vobj *a, const struct vobj *b)
{
    if (a->kind != b->kind)
        return false;
    switch (a->kind) {
    case VOBJ_USER:
        return a->user == b->user;
    case VOBJ_SNAPDIR:
        return volume_id(a->vol) == volume_id(b->vol);
    case VOBJ_FILE:
        return volume_id(a->vol) == volume_id(b->vol) && a->ino == b->ino &&
               (a->gen == b->gen || !a->gen || !b->gen);
    default:
        return true;
    }
}

void vfs_root(struct vfs *v, struct vobj *out)
{
    vobj_release(out);
    out->kind = VOBJ_ROOT;
}

int vfs_object(struct vfs *v, struct store_call *call, uint64_t user, uint64_t volume, uint64_t ino,
               uint32_t gen, struct vobj *out)
{
    int err = 0;
    struct nvol *n = NULL;
    struct volume *vol = NULL;
    struct vobj o = {0};
    if (!volume) {
        struct vfs_attr attr;
        o.kind = user ? VOBJ_USER : VOBJ_ROOT;
        o.user = user;
        if ((err = pseudo_getattr(v, &o, &attr)))
            return err;
    } else {
        if ((err = ns_vol_get(v, snap_base_id(volume), &n)))
            return err;
        err = ns_vol_open(v, n, call->may_block, &vol);
        ns_vol_put(n);
        if (!err && snap_id(volume)) {
            struct volume *live = vol;
            vol = NULL;
            err = snap_open(live, snap_id(volume), call->may_block, &vol);
            volume_unref(live);
        }
        if (err)
            return err;
        o = (struct vobj){.kind = ino ? VOBJ_FILE : VOBJ_SNAPDIR, .vol = vol, .ino = ino, .gen = gen};
    }
    vobj_release(out);
    *out = o;
    return 0;
}

/* The tree's part of an inode's attributes. */
static void tree_attr(const struct vobj *o, struct vfs_attr *out)
{
    out->fsid = volume_id(o->vol);
    out->mounted_on_fileid =
        out->a.ino == STORE_ROOT_INO ? pseudo_volume_fileid(out->fsid) : out->a.ino;
}

int vfs_getattr(struct vfs *v, struct store_call *call, const struct vobj *o, struct vfs_attr *out)
{
    int err;
    if (o->kind == VOBJ_NONE)
        return -ESTALE;
    if (o->kind != VOBJ_FILE)
        return pseudo_getattr(v, o, out);
    err = volume_getattr(o->vol, call, o->ino, o->gen, &out->a);
    if (!err)
        tree_attr(o, out);
    return err;
}

int vfs_statfs(struct vfs *v, struct store_call *call, const struct vobj *o, struct vfs_stat *out)
{
    memset(out, 0, sizeof(*out));
    if (o->vol) {
        struct volume_stat st;
        volume_stat(o->vol, &st);
        out->total_bytes = st.total_bytes;
        out->free_bytes = out->avail_bytes = st.avail_bytes;
        out->total_files = st.total_files;
        out->free_files = out->avail_files = st.avail_files;
    } else {
        struct statvfs fs;
        if (statvfs(v->store, &fs))
            return -errno;
        out->total_bytes = (uint64_t)fs.f_blocks * fs.f_frsize;
        out->free_bytes = (uint64_t)fs.f_bfree * fs.f_frsize;
        out->avail_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
        out->total_files = fs.f_files;
        out->free_files = fs.f_ffree;
        out->avail_files = fs.f_favail;
    }
    return 0;
}

static bool is_readonly(struct volume *vol)
{
    struct volume_props props;
    volume_get_props(vol, &props);
    return props.readonly;
}

int vfs_access(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
               unsigned want, unsigned *got)
{
    struct vfs_attr attr;
    int err = vfs_getattr(v, call, o, &attr);
    *got = 0;
    if (err)
        return err;
    if (o->kind == VOBJ_SNAPDIR) {
        *got = want & (VMAY_EXEC | VMAY_READ);
        return 0;
    }
    if (o->kind != VOBJ_FILE) { /* everybody may make users and volumes */
        *got = want & (VMAY_EXEC | VMAY_WRITE | VMAY_READ);
        return 0;
    }
    for (unsigned may = VMAY_EXEC; may <= VMAY_READ; may <<= 1)
        if (want & may && !vfs_check(&attr.a, c, may))
            *got |= may;
    if (*got & VMAY_WRITE &&
        (attr.a.type == IT_REG || attr.a.type == IT_DIR || attr.a.type == IT_LNK) &&
        is_readonly(o->vol))
        *got &= ~(unsigned)VMAY_WRITE;
    return 0;
}

int vfs_setattr(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
                const struct vset *set, bool by_open, struct vfs_attr *out)
{
    struct vfs_attr attr;
    struct vset real;
    int err = vfs_getattr(v, call, o, &attr);
    if (err)
        return err;
    if (o->kind != VOBJ_FILE) {
        if (set->mask)
            return c->uid ? -EPERM : -EROFS; /* the pseudo tree's attributes are the server's */
        goto done;
    }
    if (set->mask & VSET_SIZE && attr.a.type != IT_REG)
        return attr.a.type == IT_DIR ? -EISDIR : -EINVAL;
    if ((err = perm_setattr(&attr.a, c, set, by_open, &real)))
        return err;
    if (!real.mask)
        goto done;
    if (is_readonly(o->vol))
        return -EROFS;
    if ((err = volume_setattr(o->vol, call, o->ino, &real, &attr.a)))
        return err;
    tree_attr(o, &attr);
done:
    if (out)
        *out = attr;
    return 0;
}

int vfs_readlink(struct vfs *v, struct store_call *call, const struct vobj *o, char *buf)
{
    return o->kind == VOBJ_FILE ? volume_readlink(o->vol, call, o->ino, buf) : -EINVAL;
}

/* --- holds --- */

struct vfs_hold {
    struct volume *vol;
    uint64_t ino;
};

int vfs_hold_new(struct vfs *v, struct store_call *call, const struct vobj *o, struct vfs_hold **out)
{
    int err;
    struct vfs_hold *h;
    if (o->kind != VOBJ_FILE)
        return -EISDIR;
    h = malloc(sizeof(*h));
    if (!h)
        return -ENOMEM;
    err = volume_hold(o->vol, call, o->ino);
    if (err) {
        free(h);
        return err;
    }
    h->vol = volume_ref(o->vol);
    h->ino = o->ino;
    *out = h;
    return 0;
}

void vfs_hold_leave(struct vfs_hold *h)
{
    if (!h)
        return;
    volume_unref(h->vol);
    free(h);
}

void vfs_hold_drop(struct vfs_hold *h)
{
    if (!h)
        return;
    volume_release(h->vol, h->ino);
    volume_unref(h->vol);
    free(h);
}
