/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Locks: fcntl's belong to this process and go when it closes any descriptor of the file; OFD locks and flock belong
 * to the open file description and are kept in its record. All become byte-range locks at the server, so they
 * exclude kernel clients. What was written is made durable and visible before a lock is given back, and what is
 * cached is dropped when one is taken.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "client/shim/shim.h"

#define LOCK_HASH 64

/* This process's fcntl locks on one file. */
struct plock {
    struct plock *next;
    struct nfs_fh fh;
    struct vlock lock;
    struct nfs_locker locker;
};

static struct {
    struct vlock lock;
    struct plock *hash[LOCK_HASH];
    int count;
} plocks;

static struct plock *plock_get(const struct nfs_fh *fh, bool make)
{
    unsigned i = file_slot(fh) % LOCK_HASH;
    struct plock *p;

    vlock_lock(&plocks.lock);
    for (p = plocks.hash[i]; p != NULL && !nfs_fh_same(&p->fh, fh); p = p->next)
        ;
    if (p == NULL && make && (p = heap_zalloc(1, sizeof(*p))) != NULL) {
        p->fh = *fh;
        p->next = plocks.hash[i];
        plocks.hash[i] = p;
        plocks.count++;
    }
    vlock_unlock(&plocks.lock);
    return p;
}

void lock_closed(const struct nfs_fh *fh)
{
    struct plock *p;

    if (plocks.count == 0 || (p = plock_get(fh, false)) == NULL)
        return;
    vlock_lock(&p->lock);
    if (p->locker.open.valid)
        nfs_lock_end(shim.client, &p->locker, fh);
    vlock_unlock(&p->lock);
}

void lock_exit(void)
{
    for (unsigned i = 0; i < LOCK_HASH; i++)
        for (struct plock *p = plocks.hash[i]; p != NULL; p = p->next)
            lock_closed(&p->fh);
}

void lock_last_close(struct ofd *ofd)
{
    if (ofd->locker.open.valid)
        nfs_lock_end(shim.client, &ofd->locker, &ofd->fh);
}

void lock_after_fork(void)
{
    /* fcntl locks are not inherited. */
    memset(&plocks, 0, sizeof(plocks));
}

/* NFS opens by name: where is the file now? */
static int lock_place(const struct ofd *ofd, struct vpath *vp)
{
    int err = path_resolve(AT_FDCWD, ofd->path, VP_PARENT, vp);

    return err != 0 ? err : vp->kind == VP_MISSING && vp->mount != NULL ? 0 : -ENOENT;
}

static int lock_take(struct ofd *ofd, struct nfs_locker *locker, unsigned access, int type, uint64_t offset,
                     uint64_t length, bool wait)
{
    struct vpath *vp = heap_alloc(sizeof(*vp));
    int err;

    if (vp == NULL)
        return -ENOMEM;
    err = lock_place(ofd, vp);
    if (err == 0)
        err = nfs_lock(shim.client, locker, &vp->dir, vp->name, &ofd->fh, access,
                       type == F_RDLCK ? NFS_LOCK_READ : NFS_LOCK_WRITE, offset, length, wait);
    if (err == -ENOENT || err == -ESTALE) {
        shim_say("%s: no longer has this name, so it cannot be locked", ofd->path);
        err = -ENOLCK;
    }
    if (err == 0)
        file_drop_cache(&ofd->fh);
    heap_free(vp);
    return err;
}

static int lock_give(struct ofd *ofd, struct nfs_locker *locker, uint64_t offset, uint64_t length)
{
    if (!locker->valid)
        return 0;
    map_file_closing(&ofd->fh);
    vnode_flush(&ofd->fh, false);
    return nfs_unlock(shim.client, locker, &ofd->fh, offset, length);
}

/* struct flock's range as offset and length. */
static int lock_range(struct ofd *ofd, const struct flock *fl, uint64_t *offset, uint64_t *length)
{
    int64_t start = fl->l_start, len = fl->l_len, base = 0;
    struct nfs_attr attr;
    int err;

    switch (fl->l_whence) {
    case SEEK_SET:
        break;
    case SEEK_CUR:
        base = ofd->offset;
        break;
    case SEEK_END:
        err = file_attr(ofd, &attr, true);
        if (err != 0)
            return err;
        base = (int64_t)attr.size;
        break;
    default:
        return -EINVAL;
    }
    if (__builtin_add_overflow(start, base, &start))
        return -EOVERFLOW;
    if (len < 0) {
        start += len;
        len = -len;
    }
    if (start < 0)
        return -EINVAL;
    *offset = (uint64_t)start;
    *length = len == 0 ? UINT64_MAX : (uint64_t)len;
    return 0;
}

long lock_fcntl(struct ofd *ofd, int cmd, void *arg) SHIM_HIDDEN;
long lock_fcntl(struct ofd *ofd, int cmd, void *arg)
{
    bool ofd_owned = cmd == F_OFD_GETLK || cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW;
    bool wait = cmd == F_SETLKW || cmd == F_OFD_SETLKW;
    struct flock *fl = arg;
    struct nfs_locker *locker;
    struct plock *p = NULL;
    uint64_t offset, length;
    int err;

    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_REG || (ofd_owned && fl->l_pid != 0))
        return -EINVAL;
    err = lock_range(ofd, fl, &offset, &length);
    if (err != 0)
        return err;
    if (ofd_owned) {
        locker = &ofd->locker;
    } else {
        p = plock_get(&ofd->fh, true);
        if (p == NULL)
            return -ENOLCK;
        locker = &p->locker;
        vlock_lock(&p->lock);
    }
    if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
        enum nfs_lock_type type = fl->l_type == F_RDLCK ? NFS_LOCK_READ : NFS_LOCK_WRITE;

        err = nfs_lock_test(shim.client, locker, &ofd->fh, &type, &offset, &length);
        if (err == 0) {
            fl->l_type = F_UNLCK;
        } else if (err == 1) {
            fl->l_type = type == NFS_LOCK_READ ? F_RDLCK : F_WRLCK;
            fl->l_whence = SEEK_SET;
            fl->l_start = (off_t)offset;
            fl->l_len = length == UINT64_MAX ? 0 : (off_t)length;
            fl->l_pid = -1;
            err = 0;
        }
    } else if (fl->l_type == F_UNLCK) {
        err = lock_give(ofd, locker, offset, length);
    } else if (fl->l_type != F_RDLCK && fl->l_type != F_WRLCK) {
        err = -EINVAL;
    } else if ((fl->l_type == F_RDLCK && (ofd->flags & O_ACCMODE) == O_WRONLY) ||
               (fl->l_type == F_WRLCK && (ofd->flags & O_ACCMODE) == O_RDONLY)) {
        err = -EBADF;
    } else {
        err = lock_take(ofd, locker, (ofd->flags & O_ACCMODE) + 1, fl->l_type, offset, length, wait);
    }
    if (p != NULL)
        vlock_unlock(&p->lock);
    return err;
}

long sc_flock(const long a[6])
{
    struct ofd *ofd = ofd_get((int)a[0]);
    int op = (int)a[1], err;

    if (ofd == NULL)
        return shim_pass(SYS_flock, a);
    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_REG) {
        shim_say("%s: flock of a directory is not served", ofd->path);
        return -ENOLCK;
    }
    switch (op & ~LOCK_NB) {
    case LOCK_UN:
        return lock_give(ofd, &ofd->locker, 0, UINT64_MAX);
    case LOCK_SH:
    case LOCK_EX:
        /* flock does not ask how the file was opened; an exclusive lock at the server wants it open for writing. */
        err = lock_take(ofd, &ofd->locker, 3, (op & ~LOCK_NB) == LOCK_SH ? F_RDLCK : F_WRLCK, 0, UINT64_MAX,
                        !(op & LOCK_NB));
        if ((err == -EACCES || err == -EROFS) && (op & ~LOCK_NB) == LOCK_SH)
            err = lock_take(ofd, &ofd->locker, 1, F_RDLCK, 0, UINT64_MAX, !(op & LOCK_NB));
        return err;
    default:
        return -EINVAL;
    }
}
