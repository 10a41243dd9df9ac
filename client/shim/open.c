/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, closing and duplicating descriptors. */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "client/nfs/rpc.h"
#include "client/shim/shim.h"

#define OPEN_KEPT (O_ACCMODE | O_APPEND | O_NONBLOCK | O_SYNC | O_DSYNC | O_DIRECTORY | O_PATH | O_CLOEXEC | O_NOATIME)

/* Of a file that is opened for reading, so much comes with the open. */
#define OPEN_FIRST (32u << 10)

uint32_t shim_umask = 022;

int vol_error(int err)
{
    return err;
}

long sc_umask(const long a[6])
{
    long old = sys1(SYS_umask, a[0]);

    if (!shim_is_vfork_child())
        shim_umask = (uint32_t)a[0] & 0777;
    return old;
}

static int open_want(int flags)
{
    switch (flags & O_ACCMODE) {
    case O_RDONLY:
        return R_OK;
    case O_WRONLY:
        return W_OK;
    default:
        return R_OK | W_OK;
    }
}

/* Makes the descriptor for what was found or created. */
static long open_done(const struct vpath *vp, int flags, int low)
{
    struct ofd *init = heap_zalloc(1, sizeof(*init));
    long fd;

    if (init == NULL)
        return -ENOMEM;
    init->flags = (uint32_t)(flags & OPEN_KEPT);
    if (vp->kind == VP_TOP) {
        init->type = NFS_DIR;
        init->attr.type = NFS_DIR;
    } else {
        init->type = vp->attr.type;
        init->mount = (uint32_t)(vp->mount - shim.run->mounts);
        init->fh = vp->fh;
        if (!vp->is_root && vp->name[0] != 0)
            init->dir = vp->dir;
        init->attr = vp->attr;
        init->attr_gen = file_gen(&vp->fh);
        init->attr_ms = vp->seen == file_changes() ? sys_now_ms() : 0;
    }
    strcpy(init->path, vp->path);
    fd = ofd_new(init, low, NULL);
    heap_free(init);
    return fd;
}

/*
 * The server's ACCESS gave no right to write: because of the file's mode, or because the volume or a grant is read only,
 * which ACCESS does not tell and OPEN does.
 */
static long open_refused(const struct vpath *vp, int want)
{
    struct nfs_open open = {0};
    struct nfs_attr attr;
    struct nfs_fh fh;
    int err;

    if (!(want & W_OK) || vp->attr.type != NFS_REG || vp->is_root || vp->name[0] == 0)
        return -EACCES;
    err = nfs_open_file(shim.client, &vp->dir, vp->name, 2, NFS_CREATE_NO, NULL, &fh, &attr, &open);
    if (err == 0)
        nfs_close_file(shim.client, &fh, &open);
    return err == -EROFS ? -EROFS : -EACCES;
}

static long open_existing(struct vpath *vp, int flags, int low)
{
    int want = open_want(flags), have;
    struct nfs_first *first;
    uint32_t gen = file_gen(&vp->fh);

    if (vp->attr.type == NFS_LNK) /* only without following */
        return flags & O_PATH ? open_done(vp, flags, low) : -ELOOP;
    if ((flags & O_DIRECTORY) && vp->attr.type != NFS_DIR)
        return -ENOTDIR;
    if (flags & O_PATH)
        return open_done(vp, flags, low);
    if (vp->attr.type == NFS_DIR && ((want & W_OK) || (flags & O_CREAT)))
        return -EISDIR;
    if (vp->attr.type != NFS_DIR && vp->attr.type != NFS_REG) {
        shim_say("%s: devices, sockets and pipes in a volume cannot be opened", vp->path);
        return -ENXIO;
    }
    if (vp->mount->readonly && ((want & W_OK) || (flags & O_TRUNC)))
        return -EROFS;
    if (flags & O_TRUNC)
        want |= W_OK;
    first = vp->first;
    if (first != NULL && first->have >= 0 && !(vp->attr.type == NFS_REG && vnode_dirty(&vp->fh))) {
        have = first->have & want;
    } else {
        first = NULL;
        if (vp->attr.type == NFS_REG)
            vnode_drain(&vp->fh); /* our own bytes count */
        vp->seen = file_changes();
        have = nfs_access(shim.client, &vp->fh, want, &vp->attr);
        if (have < 0)
            return vol_error(have);
    }
    if (have != want)
        return open_refused(vp, want);
    if ((flags & O_TRUNC) && vp->attr.type == NFS_REG && vp->attr.size > 0) {
        struct nfs_setattr set = {.valid = NFS_SET_SIZE};
        int err;

        vnode_drain(&vp->fh);
        err = nfs_setattr(shim.client, &vp->fh, &set, &vp->attr);
        vnode_truncated(&vp->fh);
        file_changed(&vp->fh);
        if (err == 0)
            map_cut(&vp->fh, 0);
        vp->seen = file_changes();
        if (err != 0)
            return vol_error(err);
    }
    if (vp->attr.type == NFS_REG) {
        if (first != NULL && first->size > 0 && (want & R_OK) && vp->seen == file_changes())
            ahead_feed(&vp->fh, vp->attr.change, gen, first->buf, first->size);
        else
            ahead_opened(&vp->fh, vp->attr.change);
    }
    return open_done(vp, flags, low);
}

static long open_missing(struct vpath *vp, int flags, mode_t mode, int low)
{
    struct nfs_setattr set = {.valid = NFS_SET_MODE, .mode = mode & 07777 & ~shim_umask};
    struct nfs_open open = {0};
    int err;

    if (!(flags & O_CREAT))
        return -ENOENT;
    if (vp->slash)
        return -EISDIR;
    if (vp->mount == NULL)
        return -EACCES; /* beside the volumes */
    if (vp->mount->readonly)
        return -EROFS;
    err = nfs_open_file(shim.client, &vp->dir, vp->name, (unsigned)open_want(flags) >> 1 ? 3 : 1,
                        flags & O_EXCL ? NFS_CREATE_EXCL : NFS_CREATE_YES, &set, &vp->fh, &vp->attr, &open);
    if (err != 0)
        return vol_error(err);
    nfs_close_file(shim.client, &vp->fh, &open);
    vp->kind = VP_FILE;
    return open_done(vp, flags, low);
}

long open_vpath(struct vpath *vp, int flags, mode_t mode, int low)
{
    switch (vp->kind) {
    case VP_TOP:
        if ((flags & O_CREAT) && !(flags & O_DIRECTORY))
            return -EISDIR;
        return open_want(flags) & W_OK && !(flags & O_PATH) ? -EISDIR : open_done(vp, flags, low);
    case VP_MISSING:
        return open_missing(vp, flags, mode, low);
    default:
        if ((flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
            return -EEXIST;
        return open_existing(vp, flags, low);
    }
}

/*
 * O_TMPFILE in the directory vp: a file is made under a name of ours and that removed at once; an open at the server keeps it (place_keep).
 * Only with O_EXCL, by which the program says that it will not give it a name later: a server need not link what has
 * none, and who is refused here makes a named file.
 */
static long open_unnamed(struct vpath *vp, int flags, mode_t mode)
{
    static const char digits[] = "0123456789abcdefghijklmnopqrstuv";
    struct nfs_attr attr;
    uint64_t random = 0;
    size_t len;
    long fd;

    if (!(open_want(flags) & W_OK))
        return -EINVAL;
    if (vp->kind == VP_MISSING)
        return -ENOENT;
    if (vp->kind == VP_FILE && vp->attr.type != NFS_DIR)
        return -ENOTDIR;
    if (!(flags & O_EXCL) || vp->kind == VP_TOP) {
        shim_say("%s: O_TMPFILE without O_EXCL is not served", vp->path);
        return -EOPNOTSUPP;
    }
    len = strlen(vp->path);
    if (len + 32 > SHIM_PATH)
        return -ENAMETOOLONG;
    vp->dir = vp->fh;
    vp->is_root = vp->slash = false;
    memcpy(vp->name, ".volnfs-tmp-", 13);
    sys3(SYS_getrandom, &random, sizeof(random), 0);
    for (size_t at = 12; at < 25; at++, random >>= 5)
        vp->name[at] = at < 24 ? digits[random & 31] : 0;
    vp->path[len] = '/';
    strcpy(vp->path + len + 1, vp->name);
    vp->kind = VP_MISSING;
    fd = open_missing(vp, (flags & ~O_TMPFILE) | O_CREAT | O_EXCL, mode, 0);
    if (fd < 0)
        return fd;
    place_keep(vp);
    if (nfs_remove(shim.client, &vp->dir, vp->name) == 0 && nfs_getattr(shim.client, &vp->fh, &attr) == 0)
        return fd;
    shim_say("%s: the server does not keep a removed file", vp->path);
    ofd_close((int)fd);
    return -EOPNOTSUPP;
}

static long open_at(long nr, const long a[6], int d, int i, int flags, mode_t mode)
{
    int dirfd = d >= 0 ? (int)a[d] : AT_FDCWD, err;
    bool follow = !(flags & O_NOFOLLOW) && (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
    unsigned how = follow ? VP_FOLLOW | VP_FIRST : VP_FIRST;
    struct nfs_first first = {0};
    struct vpath vp;
    long fd;

    if (flags & O_PATH) {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        how &= ~(unsigned)VP_FIRST;
    } else if ((flags & O_ACCMODE) != O_WRONLY && !(flags & (O_DIRECTORY | O_TRUNC | O_EXCL))) {
        first.buf = heap_alloc(OPEN_FIRST);
        first.room = first.buf != NULL ? OPEN_FIRST : 0;
    }
    vp.first = &first;
    for (int n = 0;; n++) {
        err = path_resolve(dirfd, (const char *)a[i], how, &vp);
        if (err != 0 || vp.kind == VP_LOCAL) {
            fd = err != 0 ? err : path_pass(nr, a, d, i, &vp);
            break;
        }
        if ((flags & O_TMPFILE) == O_TMPFILE) {
            fd = open_unnamed(&vp, flags, mode);
            break;
        }
        fd = open_vpath(&vp, flags, mode, 0);
        /* Created by somebody else since we looked, or a directory handle that went stale. */
        if ((fd != -EEXIST || (flags & O_EXCL)) && fd != -ESTALE)
            break;
        if (n >= 5)
            break;
        path_forget();
    }
    heap_free(first.buf);
    return fd;
}

long sc_open(const long a[6])
{
    return open_at(SYS_open, a, -1, 0, (int)a[1], (mode_t)a[2]);
}

long sc_creat(const long a[6])
{
    long b[6] = {a[0], O_CREAT | O_WRONLY | O_TRUNC, a[1]};

    return open_at(SYS_open, b, -1, 0, (int)b[1], (mode_t)b[2]);
}

long sc_openat(const long a[6])
{
    return open_at(SYS_openat, a, 0, 1, (int)a[2], (mode_t)a[3]);
}

long sc_openat2(const long a[6])
{
    const struct open_how *how = (const struct open_how *)a[2];
    struct vpath vp;
    int err;

    if ((size_t)a[3] < sizeof(*how))
        return -EINVAL;
    if (how->mode != 0 && !(how->flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY))))
        return -EINVAL;
    if (how->resolve == 0)
        return open_at(SYS_openat2, a, 0, 1, (int)how->flags, (mode_t)how->mode);
    err = path_resolve((int)a[0], (const char *)a[1], VP_FOLLOW, &vp);
    if (err != 0)
        return err;
    if (vp.kind == VP_LOCAL)
        return shim_pass(SYS_openat2, a); /* unchanged: the restrictions are the kernel's to judge */
    shim_say("%s: openat2 with resolve flags is not served", vp.path);
    return -ENOSYS;
}

long sc_close(const long a[6])
{
    int fd = (int)a[0];

    if (rpc_owns_fd(fd)) /* a vfork child needs it too: what its parent wrote is made durable before exec */
        return -EBADF;
    if (shim_is_vfork_child() || ofd_get(fd) == NULL) {
        if (fd >= 0 && fd < SHIM_FDS && !shim_is_vfork_child() && fd_state[fd] != FD_CLOSING)
            fd_state[fd] = FD_UNKNOWN;
        return shim_pass(SYS_close, a);
    }
    return ofd_close(fd);
}

bool shim_alone(void)
{
    struct stat st;

    return sys2(SYS_stat, "/proc/self/task", &st) != 0 || st.st_nlink <= 3;
}

/* What is noted of descriptors holds for all threads. */
long sc_unshare(const long a[6])
{
    if (!(a[0] & CLONE_FILES) || shim_alone())
        return shim_pass(SYS_unshare, a);
    shim_say("unshare: the threads of a process must have the same descriptors");
    return -EINVAL;
}

long sc_close_range(const long a[6])
{
    unsigned first = (unsigned)a[0], last = (unsigned)a[1], flags = (unsigned)a[2], from = first;
    bool child = shim_is_vfork_child();
    long ret;

    if ((flags & ~CLOSE_RANGE_UNSHARE) != 0 || first > last) /* CLOSE_RANGE_CLOEXEC too */
        return shim_pass(SYS_close_range, a);
    if (flags != 0 && !shim_alone())
        return -EINVAL;
    if (!child)
        ofd_find_all();
    for (unsigned fd = first; fd <= last && fd < SHIM_FDS; fd++) {
        if (rpc_owns_fd((int)fd)) {
            if (fd > from)
                sys3(SYS_close_range, from, fd - 1, flags);
            from = fd + 1;
            continue;
        }
        if (child)
            continue; /* its table is its own; what is noted is the parent's */
        if (fd_state[fd] == FD_OURS)
            ofd_forget((int)fd, true);
        else if (fd_state[fd] == FD_LOCAL)
            fd_state[fd] = FD_UNKNOWN;
    }
    ret = from <= last ? sys3(SYS_close_range, from, last, flags) : 0;
    for (unsigned fd = first; fd <= last && fd < SHIM_FDS; fd++)
        if (fd_state[fd] == FD_CLOSING)
            fd_closed((int)fd);
    return ret;
}

/* A descriptor number that was just made from old. */
static long dup_made(int old, long made)
{
    struct ofd *ofd;

    if (made < 0 || shim_is_vfork_child())
        return made;
    ofd = ofd_get(old);
    fd_new((int)made);
    if (ofd != NULL && ofd_get((int)made) != NULL)
        __atomic_add_fetch(&ofd->refs, 1, __ATOMIC_ACQ_REL);
    return made;
}

long sc_dup(const long a[6])
{
    return dup_made((int)a[0], sys1(SYS_dup, a[0]));
}

static long dup_to(int old, int to, long flags, bool three)
{
    if (rpc_owns_fd(to))
        return -EBUSY;
    if (sys2(SYS_fcntl, old, F_GETFD) < 0)
        return -EBADF;
    if (old == to)
        return three ? -EINVAL : to;
    if (!shim_is_vfork_child())
        ofd_forget(to, false);
    else if (to >= 0 && to < SHIM_FDS && fd_state[to] == FD_LOCAL)
        fd_state[to] = FD_UNKNOWN;
    return dup_made(old, sys3(SYS_dup3, old, to, flags));
}

long sc_dup2(const long a[6])
{
    return dup_to((int)a[0], (int)a[1], 0, false);
}

long sc_dup3(const long a[6])
{
    return dup_to((int)a[0], (int)a[1], (int)a[2], true);
}

long lock_fcntl(struct ofd *ofd, int cmd, void *arg) SHIM_HIDDEN;

long sc_fcntl(const long a[6])
{
    struct ofd *ofd = ofd_get((int)a[0]);
    const uint32_t settable = O_APPEND | O_NONBLOCK | O_NOATIME | O_DIRECT;

    if (ofd == NULL)
        return shim_pass(SYS_fcntl, a);
    switch ((int)a[1]) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
        return dup_made((int)a[0], sys3(SYS_fcntl, a[0], a[1], a[2]));
    case F_GETFD:
    case F_SETFD:
        return sys3(SYS_fcntl, a[0], a[1], a[2]);
    case F_GETFL:
        return (long)(ofd->flags & ~(uint32_t)O_CLOEXEC) | (ofd->flags & O_PATH ? 0 : 0100000); /* O_LARGEFILE */
    case F_SETFL:
        if (ofd->flags & O_PATH)
            return -EBADF;
        ofd->flags = (ofd->flags & ~settable) | ((uint32_t)a[2] & settable);
        return 0;
    case F_GETLK:
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_GETLK:
    case F_OFD_SETLK:
    case F_OFD_SETLKW:
        return lock_fcntl(ofd, (int)a[1], (void *)a[2]);
    case F_GETLEASE:
        return F_UNLCK;
    case F_SETLEASE:
        return -EAGAIN;
    case F_GETOWN:
        return 0;
    default:
        return -EINVAL;
    }
}
