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

/* Is this process among those with fcntl locks? -1: not looked yet, an exec keeps them. */
static int lock_any = -1;

/* What tells this process from others, as of its first lock. */
static struct {
    struct vlock lock;
    int32_t pid;
    uint64_t start, space;
} lock_me;

/* The number after the last ')' and skip more words of /proc/self/stat. */
static uint64_t lock_stat_word(const char *text, int skip)
{
    const char *at = strrchr(text, ')');
    uint64_t value = 0;

    if (at == NULL)
        return 0;
    for (at++; *at != 0 && skip > 0; at++)
        skip -= *at == ' ';
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    return value;
}

static void lock_know_me(void)
{
    char text[512] = "";
    struct stat st;
    int32_t pid = (int32_t)sys0(SYS_getpid);
    long fd, n;

    if (lock_me.pid == pid)
        return;
    lock_me.space = sys4(SYS_newfstatat, AT_FDCWD, "/proc/self/ns/pid", &st, 0) == 0 ? st.st_ino : 0;
    fd = sys3(SYS_open, "/proc/self/stat", O_RDONLY | O_CLOEXEC, 0);
    n = fd >= 0 ? sys3(SYS_read, fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        sys1(SYS_close, fd);
    text[n > 0 ? n : 0] = 0;
    lock_me.start = lock_stat_word(text, 20);
    lock_me.pid = pid;
}

static bool row_mine(const struct run_lock *row)
{
    return __atomic_load_n(&row->used, __ATOMIC_ACQUIRE) == 2 && row->ofd == 0 && row->pid == lock_me.pid &&
           row->start == lock_me.start && row->space == lock_me.space;
}

static struct run_lock *row_new(const struct nfs_fh *fh, uint64_t ofd)
{
    for (unsigned i = 0; i < SHIM_LOCKS; i++) {
        struct run_lock *row = &shim.run->locks[i];
        int32_t zero = 0;

        if (row->used != 0 ||
            !__atomic_compare_exchange_n(&row->used, &zero, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            continue;
        row->pid = lock_me.pid;
        row->start = lock_me.start;
        row->space = lock_me.space;
        row->ofd = ofd;
        row->fh = *fh;
        memset(&row->locker, 0, sizeof(row->locker));
        __atomic_store_n(&row->used, 2, __ATOMIC_RELEASE);
        return row;
    }
    return NULL;
}

/* This process's fcntl locks on a file. */
static struct run_lock *plock_get(const struct nfs_fh *fh, bool make)
{
    struct run_lock *row = NULL;

    if (lock_any == 0 && !make)
        return NULL;
    vlock_lock(&lock_me.lock);
    lock_know_me();
    for (unsigned i = 0; i < SHIM_LOCKS && row == NULL; i++)
        if (row_mine(&shim.run->locks[i])) {
            lock_any = 1;
            if (nfs_fh_same(&shim.run->locks[i].fh, fh))
                row = &shim.run->locks[i];
        }
    if (lock_any < 0)
        lock_any = 0;
    if (row == NULL && make) {
        row = row_new(fh, 0);
        if (row != NULL)
            lock_any = 1;
    }
    vlock_unlock(&lock_me.lock);
    return row;
}

void lock_closed(const struct nfs_fh *fh)
{
    struct run_lock *row;

    if (shim_is_vfork_child() || (row = plock_get(fh, false)) == NULL)
        return;
    nfs_lock_end(shim.client, &row->locker, fh);
    __atomic_store_n(&row->used, 0, __ATOMIC_RELEASE);
}

void lock_exit(void)
{
    if (lock_any == 0 || shim_is_vfork_child())
        return;
    lock_know_me();
    for (unsigned i = 0; i < SHIM_LOCKS; i++)
        if (row_mine(&shim.run->locks[i]))
            lock_closed(&shim.run->locks[i].fh);
}

void lock_last_close(struct ofd *ofd)
{
    if (ofd->locker.open.valid)
        nfs_lock_end(shim.client, &ofd->locker, &ofd->fh);
    if (ofd->lock_row != 0)
        __atomic_store_n(&shim.run->locks[(ofd->lock_row - 1) % SHIM_LOCKS].used, 0, __ATOMIC_RELEASE);
    ofd->lock_row = 0;
}

/* Keeps the run's copy of an open's locker, for the day when nobody is left to close it. */
static void lock_note(struct ofd *ofd)
{
    struct run_lock *row;

    lock_know_me();
    if (ofd->lock_row == 0) {
        row = row_new(&ofd->fh, ofd->id);
        if (row == NULL)
            return;
        ofd->lock_row = (uint32_t)(row - shim.run->locks) + 1;
    }
    row = &shim.run->locks[(ofd->lock_row - 1) % SHIM_LOCKS];
    if (row->ofd != ofd->id)
        return;
    row->pid = lock_me.pid;
    row->start = lock_me.start;
    row->space = lock_me.space;
    row->locker = ofd->locker;
}

void lock_after_fork(void)
{
    /* fcntl locks are not inherited. */
    lock_any = 0;
    memset(&lock_me, 0, sizeof(lock_me));
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
    struct run_lock *row;
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
        row = plock_get(&ofd->fh, true);
        if (row == NULL)
            return -ENOLCK;
        locker = &row->locker;
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
    if (ofd_owned)
        lock_note(ofd);
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
        err = lock_give(ofd, &ofd->locker, 0, UINT64_MAX);
        lock_note(ofd);
        return err;
    case LOCK_SH:
    case LOCK_EX:
        /* flock does not ask how the file was opened; an exclusive lock at the server wants it open for writing. */
        err = lock_take(ofd, &ofd->locker, 3, (op & ~LOCK_NB) == LOCK_SH ? F_RDLCK : F_WRLCK, 0, UINT64_MAX,
                        !(op & LOCK_NB));
        if ((err == -EACCES || err == -EROFS) && (op & ~LOCK_NB) == LOCK_SH)
            err = lock_take(ofd, &ofd->locker, 1, F_RDLCK, 0, UINT64_MAX, !(op & LOCK_NB));
        lock_note(ofd);
        return err;
    default:
        return -EINVAL;
    }
}
