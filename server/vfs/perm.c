/* SPDX-License-Identifier: Apache-2.0
 * perm: the POSIX rules (see perm.h).
 */
#include "server/vfs/perm.h"

#include <errno.h>

enum { MODE_SUID = 04000, MODE_SGID = 02000, MODE_STICKY = 01000 };

bool perm_in_group(const struct vcred *c, uint32_t gid)
{
    if (c->gid == gid)
        return true;
    for (unsigned i = 0; i < c->ngroups; i++)
        if (c->groups[i] == gid)
            return true;
    return false;
}

bool perm_is_owner(const struct vattr *a, const struct vcred *c)
{
    return c->uid == 0 || c->uid == a->uid;
}

int vfs_check(const struct vattr *a, const struct vcred *c, unsigned may)
{
    unsigned granted;
    may &= VMAY_EXEC | VMAY_WRITE | VMAY_READ;
    if (c->uid == 0) {
        /* Root passes everything, but a file that nobody may execute is not a program. */
        bool no_exec = a->type != IT_DIR && !(a->mode & 0111);
        granted = no_exec ? VMAY_READ | VMAY_WRITE : VMAY_READ | VMAY_WRITE | VMAY_EXEC;
    } else if (c->uid == a->uid) {
        granted = a->mode >> 6 & 7;
    } else if (perm_in_group(c, a->gid)) {
        granted = a->mode >> 3 & 7;
    } else {
        granted = a->mode & 7;
    }
    return may & ~granted ? -EACCES : 0;
}

int perm_sticky(const struct vattr *dir, const struct vattr *child, const struct vcred *c)
{
    if (!(dir->mode & MODE_STICKY) || perm_is_owner(dir, c) || perm_is_owner(child, c))
        return 0;
    return -EPERM;
}

uint32_t perm_drop_suid(uint32_t mode)
{
    mode &= ~(uint32_t)MODE_SUID;
    if (mode & 0010)
        mode &= ~(uint32_t)MODE_SGID;
    return mode;
}

/* chown: root may all; the owner may keep the user and choose among the own groups. */
static int check_chown(const struct vattr *a, const struct vcred *c, const struct vset *in)
{
    if (c->uid == 0 || !(in->mask & (VSET_UID | VSET_GID)))
        return 0;
    if (c->uid != a->uid)
        return -EPERM;
    if (in->mask & VSET_UID && in->uid != a->uid)
        return -EPERM;
    if (in->mask & VSET_GID && in->gid != a->gid && !perm_in_group(c, in->gid))
        return -EPERM;
    return 0;
}

static int check_times(const struct vattr *a, const struct vcred *c, const struct vset *in)
{
    if (perm_is_owner(a, c))
        return 0;
    if (in->mask & (VSET_ATIME | VSET_MTIME | VSET_BTIME))
        return -EPERM;
    if (in->mask & (VSET_ATIME_NOW | VSET_MTIME_NOW))
        return vfs_check(a, c, VMAY_WRITE);
    return 0;
}

int perm_setattr(const struct vattr *a, const struct vcred *c, const struct vset *in, bool by_open,
                 struct vset *out)
{
    int err = 0;
    struct vset set = *in;
    set.mask &= ~(uint32_t)VSET_VERF; /* only a create stores one */
    if (set.mask & VSET_PERM) {
        set.mask ^= VSET_PERM | VSET_MODE;
        set.mode = (a->mode & 07000) | (set.mode & 0777);
    }
    if (set.mask & VSET_MODE && !perm_is_owner(a, c))
        return -EPERM;
    if ((err = check_chown(a, c, &set)) || (err = check_times(a, c, &set)))
        return err;
    if (set.mask & VSET_SIZE && !by_open && !perm_is_owner(a, c) && (err = vfs_check(a, c, VMAY_WRITE)))
        return err;

    if (set.mask & VSET_MODE) {
        uint32_t group = set.mask & VSET_GID ? set.gid : a->gid;
        set.mode &= 07777;
        if (c->uid != 0 && a->type != IT_DIR && !perm_in_group(c, group))
            set.mode &= ~(uint32_t)MODE_SGID;
    } else if (a->type != IT_DIR) {
        bool drop = set.mask & (VSET_UID | VSET_GID) || (set.mask & VSET_SIZE && c->uid != 0);
        uint32_t mode = perm_drop_suid(a->mode);
        if (drop && mode != a->mode) {
            set.mask |= VSET_MODE;
            set.mode = mode;
        }
    }
    *out = set;
    return 0;
}

int perm_new_inode(const struct vattr *dir, const struct vcred *c, enum inode_type type,
                   const struct vset *in, struct vset *out)
{
    struct vset set = *in;
    uint32_t gid = dir->mode & MODE_SGID ? dir->gid : c->gid;
    if (set.mask & VSET_PERM)
        set.mask ^= VSET_PERM | VSET_MODE;
    if (!(set.mask & VSET_MODE))
        set.mode = type == IT_DIR || type == IT_LNK ? 0777 : 0666;
    set.mode &= 07777;
    if (c->uid != 0) {
        if (set.mask & VSET_UID && set.uid != c->uid)
            return -EPERM;
        if (set.mask & VSET_GID && set.gid != gid && !perm_in_group(c, set.gid))
            return -EPERM;
    }
    if (!(set.mask & VSET_UID))
        set.uid = c->uid;
    if (!(set.mask & VSET_GID))
        set.gid = gid;
    if (type == IT_DIR)
        set.mode |= dir->mode & MODE_SGID;
    else if (c->uid != 0 && !perm_in_group(c, set.gid))
        set.mode &= ~(uint32_t)MODE_SGID;
    set.mask |= VSET_MODE | VSET_UID | VSET_GID;
    *out = set;
    return 0;
}
