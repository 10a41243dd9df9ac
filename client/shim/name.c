/* SPDX-License-Identifier: Apache-2.0 */
/* Making, removing and renaming. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "client/shim/shim.h"

#ifndef AT_REMOVEDIR
#define AT_REMOVEDIR 0x200
#endif
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#endif

/* The place for a new name, which must be free. 1: the kernel's business. */
static int name_free(int dirfd, const char *path, struct vpath *vp, bool dir)
{
    int err = path_resolve(dirfd, path, 0, vp);

    if (err != 0)
        return err;
    if (vp->kind == VP_LOCAL)
        return 1;
    if (vp->kind != VP_MISSING)
        return -EEXIST;
    if (vp->mount == NULL)
        return -EACCES;
    if (vp->links) /* only a dangling link with a slash behind it is followed here */
        return -EEXIST;
    if (vp->slash && !dir)
        return -ENOENT;
    return vp->mount->readonly ? -EROFS : 0;
}

static long mkdir_at(long nr, const long a[6], int d, int i, int dirfd, mode_t mode)
{
    struct nfs_attr attr;
    struct nfs_fh fh;
    struct vpath vp;
    int err = name_free(dirfd, (const char *)a[i], &vp, true);

    if (err == 1)
        return path_pass(nr, a, d, i, &vp);
    if (err == 0)
        err = nfs_mkdir(shim.client, &vp.dir, vp.name, mode & 01777 & ~shim_umask, &fh, &attr);
    return vol_error(err);
}

long sc_mkdir(const long a[6])
{
    return mkdir_at(SYS_mkdir, a, -1, 0, AT_FDCWD, (mode_t)a[1]);
}

long sc_mkdirat(const long a[6])
{
    return mkdir_at(SYS_mkdirat, a, 0, 1, (int)a[0], (mode_t)a[2]);
}

static long remove_at(long nr, const long a[6], int d, int i, int dirfd, bool dir)
{
    const char *path = (const char *)a[i];
    size_t len = path != NULL ? strlen(path) : 0;
    struct vpath vp;
    int err;

    if (dir && (strcmp(path, ".") == 0 || (len > 1 && strcmp(path + len - 2, "/.") == 0))) {
        err = path_resolve(dirfd, path, 0, &vp);
        return err != 0 ? err : vp.kind == VP_LOCAL ? path_pass(nr, a, d, i, &vp) : -EINVAL;
    }
    err = path_resolve(dirfd, path, 0, &vp);
    if (err != 0)
        return err;
    switch (vp.kind) {
    case VP_LOCAL:
        return path_pass(nr, a, d, i, &vp);
    case VP_MISSING:
        return -ENOENT;
    case VP_TOP:
        return dir ? -EBUSY : -EISDIR;
    default:
        break;
    }
    if (vp.is_root)
        return dir ? -EBUSY : -EISDIR;
    if (vp.links) /* a link with a slash behind it: the link is no directory */
        return -ENOTDIR;
    if (dir != (vp.attr.type == NFS_DIR))
        return dir ? -ENOTDIR : -EISDIR;
    if (vp.mount->readonly)
        return -EROFS;
    if (!dir)
        place_keep(&vp);
    err = nfs_remove(shim.client, &vp.dir, vp.name);
    if (err == 0) {
        path_forget();
        file_changed(&vp.fh);
        if (dir)
            cwd_removed(vp.path);
    }
    return vol_error(err);
}

long sc_rmdir(const long a[6])
{
    return remove_at(SYS_rmdir, a, -1, 0, AT_FDCWD, true);
}

long sc_unlink(const long a[6])
{
    return remove_at(SYS_unlink, a, -1, 0, AT_FDCWD, false);
}

long sc_unlinkat(const long a[6])
{
    if ((int)a[2] & ~AT_REMOVEDIR)
        return -EINVAL;
    return remove_at(SYS_unlinkat, a, 0, 1, (int)a[0], ((int)a[2] & AT_REMOVEDIR) != 0);
}

/* Both ends of a rename or link. 0: both are ours; 1: both the kernel's (passed on with *ret). */
static int name_pair(long nr, const long a[6], int d1, int i1, int d2, int i2, unsigned flags1, struct vpath *from,
                     struct vpath *to, long *ret)
{
    bool deep = shim_deep;
    int err = ((const char *)a[i1])[0] == 0 || ((const char *)a[i2])[0] == 0 ? -ENOENT : 0;

    if (err == 0)
        err = path_resolve(d1 >= 0 ? (int)a[d1] : AT_FDCWD, (const char *)a[i1], flags1, from);
    if (err == 0)
        err = path_resolve(d2 >= 0 ? (int)a[d2] : AT_FDCWD, (const char *)a[i2], 0, to);
    if (err != 0)
        return err;
    if (from->kind == VP_LOCAL && to->kind == VP_LOCAL) {
        if (from->path[0] == 0 && to->path[0] == 0) {
            *ret = shim_pass(nr, a);
        } else {
            /* Rare: a path that only looked like ours. Made here, since two paths must live. */
            long b[6];

            memcpy(b, a, sizeof(b));
            if (from->path[0] != 0) {
                b[i1] = SYS_ARG(from->path);
                if (d1 >= 0)
                    b[d1] = AT_FDCWD;
            }
            if (to->path[0] != 0) {
                b[i2] = SYS_ARG(to->path);
                if (d2 >= 0)
                    b[d2] = AT_FDCWD;
            }
            *ret = sys6(nr, b[0], b[1], b[2], b[3], b[4], b[5]);
        }
        return 1;
    }
    if ((from->kind == VP_LOCAL) != (to->kind == VP_LOCAL) && !deep) {
        /* A local link may lead to where the other one is. */
        shim_deep = 1;
        return name_pair(nr, a, d1, i1, d2, i2, flags1, from, to, ret);
    }
    if (from->kind == VP_MISSING)
        return -ENOENT;
    if (from->kind != to->kind && (from->kind == VP_LOCAL || to->kind == VP_LOCAL))
        return -EXDEV;
    if (from->kind == VP_TOP || to->kind == VP_TOP)
        return -EBUSY;
    if (to->kind == VP_MISSING && to->mount == NULL)
        return -EACCES;
    if (from->mount != to->mount)
        return -EXDEV;
    return from->mount->readonly ? -EROFS : 0;
}

/* Does the path end in "." or ".."? */
static bool name_dots(const char *path)
{
    size_t len = strlen(path);

    while (len > 1 && path[len - 1] == '/')
        len--;
    return (len >= 1 && path[len - 1] == '.' && (len == 1 || path[len - 2] == '/')) ||
           (len >= 2 && path[len - 1] == '.' && path[len - 2] == '.' && (len == 2 || path[len - 3] == '/'));
}

static bool name_inside(const char *path, const char *top)
{
    size_t len = strlen(top);

    return strncmp(path, top, len) == 0 && path[len] == '/';
}

/* RENAME replaces; LINK does not, whoever comes in between. Directories cannot be linked: an empty one that appears since
 * we looked is replaced. */
static int rename_noreplace(const struct vpath *from, const struct vpath *to)
{
    int err = nfs_link(shim.client, &from->fh, &to->dir, to->name);

    if (err != 0)
        return err;
    err = nfs_remove(shim.client, &from->dir, from->name);
    if (err != 0 && err != -ENOENT) {
        nfs_remove(shim.client, &to->dir, to->name);
        return err;
    }
    return 0;
}

static long rename_at(long nr, const long a[6], int d1, int i1, int d2, int i2, unsigned flags)
{
    struct vpath *from = heap_alloc(2 * sizeof(*from)), *to = from + 1;
    long ret = 0;

    if (from == NULL)
        return -ENOMEM;
    {
        long passed = 0;
        int err = name_pair(nr, a, d1, i1, d2, i2, 0, from, to, &passed);

        if (err == 1) {
            ret = passed;
            goto out;
        }
        ret = err;
    }
    if (ret != 0)
        goto out;
    ret = -EBUSY;
    if (from->is_root || to->is_root || name_dots((const char *)a[i1]) || name_dots((const char *)a[i2]))
        goto out;
    ret = -EINVAL;
    if (flags & ~(unsigned)RENAME_NOREPLACE) {
        shim_say("renameat2 flags %x are not served", flags);
        goto out;
    }
    if (name_inside(to->path, from->path))
        goto out;
    if (to->kind == VP_FILE) {
        ret = -EEXIST;
        if (flags & RENAME_NOREPLACE)
            goto out;
        ret = 0;
        if (nfs_fh_same(&from->fh, &to->fh))
            goto out; /* two names of one file: nothing happens */
        ret = -ENOTDIR;
        if (from->attr.type == NFS_DIR && to->attr.type != NFS_DIR)
            goto out;
        ret = -EISDIR;
        if (from->attr.type != NFS_DIR && to->attr.type == NFS_DIR)
            goto out;
        place_keep(to);
    } else if (to->slash && from->attr.type != NFS_DIR) {
        ret = -ENOTDIR;
        goto out;
    }
    if ((flags & RENAME_NOREPLACE) && from->attr.type != NFS_DIR)
        ret = rename_noreplace(from, to);
    else
        ret = nfs_rename(shim.client, &from->fh, &from->dir, from->name, &to->dir, to->name);
    if (ret == 0) {
        path_forget();
        file_changed(&from->fh);
        if (from->attr.type == NFS_REG)
            place_moved(&from->fh, &to->dir, to->name);
        if (from->attr.type == NFS_DIR)
            cwd_moved(from->path, to->path);
        if (to->kind == VP_FILE)
            file_changed(&to->fh);
    }
    ret = vol_error((int)ret);
out:
    heap_free(from);
    return ret;
}

long sc_rename(const long a[6])
{
    return rename_at(SYS_rename, a, -1, 0, -1, 1, 0);
}

long sc_renameat(const long a[6])
{
    return rename_at(SYS_renameat, a, 0, 1, 2, 3, 0);
}

long sc_renameat2(const long a[6])
{
    return rename_at(SYS_renameat2, a, 0, 1, 2, 3, (unsigned)a[4]);
}

static long link_at(long nr, const long a[6], int d1, int i1, int d2, int i2, int flags)
{
    struct vpath *from = heap_alloc(2 * sizeof(*from)), *to = from + 1;
    struct ofd *ofd;
    long ret = flags & ~(AT_EMPTY_PATH | AT_SYMLINK_FOLLOW) ? -EINVAL : 0, passed = 0;

    if (from == NULL)
        return -ENOMEM;
    if (ret != 0)
        goto out;
    if ((flags & AT_EMPTY_PATH) && ((const char *)a[i1])[0] == 0 && (ofd = ofd_get((int)a[d1])) != NULL) {
        ret = path_resolve((int)a[d2], (const char *)a[i2], 0, to);
        if (ret == 0 && (to->kind == VP_LOCAL || to->mount != ofd_mount(ofd)))
            ret = -EXDEV;
        from->fh = ofd->fh;
        from->attr.type = ofd->type;
    } else {
        int err = name_pair(nr, a, d1, i1, d2, i2, flags & AT_SYMLINK_FOLLOW ? VP_FOLLOW : 0, from, to, &passed);

        if (err == 1) {
            ret = passed;
            goto out;
        }
        ret = err;
    }
    if (ret != 0)
        goto out;
    if (to->kind != VP_MISSING)
        ret = -EEXIST;
    else if (to->slash)
        ret = -ENOENT;
    else if (from->attr.type == NFS_DIR)
        ret = -EPERM;
    else
        ret = vol_error(nfs_link(shim.client, &from->fh, &to->dir, to->name));
    file_changed(&from->fh);
out:
    heap_free(from);
    return ret;
}

long sc_link(const long a[6])
{
    return link_at(SYS_link, a, -1, 0, -1, 1, 0);
}

long sc_linkat(const long a[6])
{
    return link_at(SYS_linkat, a, 0, 1, 2, 3, (int)a[4]);
}

static long symlink_at(long nr, const long a[6], int d, int i, int dirfd)
{
    struct vpath vp;
    int err = name_free(dirfd, (const char *)a[i], &vp, false);

    if (err == 1)
        return path_pass(nr, a, d, i, &vp);
    if (err == 0)
        err = nfs_symlink(shim.client, &vp.dir, vp.name, (const char *)a[0]);
    return vol_error(err);
}

long sc_symlink(const long a[6])
{
    return symlink_at(SYS_symlink, a, -1, 1, AT_FDCWD);
}

long sc_symlinkat(const long a[6])
{
    return symlink_at(SYS_symlinkat, a, 1, 2, (int)a[1]);
}

static long mknod_at(long nr, const long a[6], int d, int i, int dirfd, mode_t mode, dev_t dev)
{
    struct nfs_setattr set = {.valid = NFS_SET_MODE, .mode = mode & 07777 & ~shim_umask};
    struct nfs_open open = {0};
    struct nfs_attr attr;
    struct nfs_fh fh;
    struct vpath vp;
    uint32_t type = 0;
    int err = name_free(dirfd, (const char *)a[i], &vp, false);

    if (err == 1)
        return path_pass(nr, a, d, i, &vp);
    if (err != 0)
        return err;
    switch (mode & S_IFMT) {
    case 0:
    case S_IFREG:
        err = nfs_open_file(shim.client, &vp.dir, vp.name, 1, NFS_CREATE_EXCL, &set, &fh, &attr, &open);
        if (err == 0)
            nfs_close_file(shim.client, &fh, &open);
        return vol_error(err);
    case S_IFIFO:
        type = NFS_FIFO;
        break;
    case S_IFSOCK:
        type = NFS_SOCK;
        break;
    case S_IFBLK:
        type = NFS_BLK;
        break;
    case S_IFCHR:
        type = NFS_CHR;
        break;
    case S_IFDIR:
        return -EPERM;
    default:
        return -EINVAL;
    }
    return vol_error(nfs_mknod(shim.client, &vp.dir, vp.name, type, set.mode, major(dev), minor(dev)));
}

long sc_mknod(const long a[6])
{
    return mknod_at(SYS_mknod, a, -1, 0, AT_FDCWD, (mode_t)a[1], (dev_t)a[2]);
}

long sc_mknodat(const long a[6])
{
    return mknod_at(SYS_mknodat, a, 0, 1, (int)a[0], (mode_t)a[2], (dev_t)a[3]);
}
