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

#include "client/nfs/call.h"
#include "client/shim/shim.h"

#define LOCK_HASH 64
#define LOCK_PAUSE_MS 64      /* between tries of a waiting lock */
#define LOCK_REAP_MS 300      /* between looks for killed holders, before a lock is refused */
#define LOCK_REAP_WAIT_MS 700 /* and while it waits */

/* This process's fcntl locks on one file. */
struct plock {
    struct plock *next;
    struct nfs_fh fh;
    struct rlock lock;
    struct hold *hold; /* NULL: none taken */
};

static struct {
    struct vlock lock;
    struct plock *hash[LOCK_HASH];
    int count;
} plocks;

/* Where locks are written down, and whom they belong to. */
struct lock_slot {
    struct rlock *lock; /* over what follows */
    struct plock *plock;
    struct ofd *ofd; /* when there is no plock */
    bool whole;      /* flock */
};

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

int lock_proc(void)
{
    int row;

    if (__atomic_load_n(&shim.proc, __ATOMIC_ACQUIRE) != -1 || shim_is_vfork_child())
        return shim.proc;
    vlock_lock(&plocks.lock);
    if (shim.proc == -1) {
        row = hold_attach(&shim.run->holds);
        if (row >= 0)
            nfs_client_set_self(shim.client, &shim.run->holds.proc[row].self);
        else
            shim_say("no row for this process: locks it leaves behind last until the run ends");
        __atomic_store_n(&shim.proc, row >= 0 ? row : -2, __ATOMIC_RELEASE);
    }
    vlock_unlock(&plocks.lock);
    return shim.proc;
}

void lock_start(void)
{
    struct hold_table *table = &shim.run->holds;

    shim.proc = -1;
    if (table->procs == 0)
        return;
    /* There is something to inherit. fcntl's locks outlive an exec. */
    if (lock_proc() < 0)
        return;
    for (uint32_t i = 0; i < table->top && i < HOLD_ROWS; i++) {
        struct hold *hold = &table->rows[i];
        struct plock *p;

        if (hold->state == 1 && hold->kind == HOLD_PROC && hold->proc == shim.proc &&
            (p = plock_get(&hold->fh, true)) != NULL)
            p->hold = hold;
    }
}

void lock_closed(const struct nfs_fh *fh)
{
    struct plock *p;

    if (plocks.count == 0 || (p = plock_get(fh, false)) == NULL)
        return;
    rlock_lock(&p->lock);
    if (p->hold != NULL)
        hold_end(&shim.run->holds, shim.client, p->hold, false);
    p->hold = NULL;
    rlock_unlock(&p->lock);
}

void lock_exit(void)
{
    for (unsigned i = 0; i < LOCK_HASH; i++)
        for (struct plock *p = plocks.hash[i]; p != NULL; p = p->next)
            lock_closed(&p->fh);
    if (shim.proc >= 0) {
        int proc = shim.proc;

        /* The row may be another process's next; threads that still run open with owners of ours alone. */
        shim.proc = -2;
        nfs_client_set_self(shim.client, &shim.client->alone);
        hold_detach(&shim.run->holds, proc);
    }
    shim.proc = -2;
}

/* The row of a description's locks; NULL when it has none. */
static struct hold *lock_ofd_hold(const struct ofd *ofd)
{
    struct hold *hold = ofd->hold == 0 ? NULL : &shim.run->holds.rows[(ofd->hold - 1) % HOLD_ROWS];

    return hold != NULL && hold->state == 1 && hold->kind == HOLD_OFD && hold->ofd == ofd->id ? hold : NULL;
}

void lock_last_close(struct ofd *ofd)
{
    struct hold *hold = lock_ofd_hold(ofd);

    if (hold != NULL)
        hold_end(&shim.run->holds, shim.client, hold, false);
    ofd->hold = 0;
}

void lock_after_fork(void)
{
    /* fcntl locks are not inherited. */
    memset(&plocks, 0, sizeof(plocks));
    if (shim.proc != -1) {
        shim.proc = -1;
        lock_proc();
    }
}

static struct hold *slot_hold(const struct lock_slot *slot, bool make)
{
    struct hold *hold = slot->plock != NULL ? slot->plock->hold : lock_ofd_hold(slot->ofd);

    if (hold != NULL || !make)
        return hold;
    agent_start();
    hold = hold_new(&shim.run->holds, slot->plock != NULL ? HOLD_PROC : HOLD_OFD, lock_proc(),
                    slot->plock != NULL ? 0 : slot->ofd->id, slot->plock != NULL ? &slot->plock->fh : &slot->ofd->fh);
    if (hold == NULL)
        shim_say("more files are locked in this run than there is room for (%d)", HOLD_ROWS);
    else if (slot->plock != NULL)
        slot->plock->hold = hold;
    else
        slot->ofd->hold = (uint32_t)(hold - shim.run->holds.rows) + 1;
    return hold;
}

struct vlock lock_opening;

/* The row's own open at the server, with an owner that no other row uses for this file. */
static int lock_open(struct ofd *ofd, struct hold *hold, unsigned access)
{
    struct nfs_client as = *shim.client;
    char name[NFS_NAME_MAX + 1];
    struct nfs_fh dir;
    int err = place_opened(ofd, &dir, name);

    for (int n = 0;; n++) {
        if (err == 0) {
            vlock_lock(&lock_opening);
            hold->proc = lock_proc();
            as.avoid = hold_owners(&shim.run->holds, hold->proc, &ofd->fh);
            err = nfs_lock_open(&as, &hold->locker, &dir, name, &ofd->fh, access);
            vlock_unlock(&lock_opening);
        }
        /* Renamed, or another file has the name. */
        if ((err != -ENOENT && err != -ESTALE && err != -EISDIR && err != -ELOOP && err != -EINVAL) || n >= 3)
            return err;
        err = place_find(ofd, &dir, name);
        if (err != 0)
            return err;
    }
}

/* Whether a flock can only be the run's own affair: nobody else comes by a file without a name, and a directory
 * cannot be locked in NFS. */
static bool lock_is_local(struct ofd *ofd, const struct hold *hold)
{
    struct nfs_attr attr;

    if (ofd->type == NFS_DIR)
        return true;
    return !hold->locker.valid && nfs_getattr(shim.client, &ofd->fh, &attr) == 0 && attr.nlink == 0;
}

int lock_check(const struct ofd *ofd)
{
    struct plock *p = plocks.count != 0 ? plock_get(&ofd->fh, false) : NULL;
    struct hold *hold = p != NULL && p->hold != NULL ? p->hold : ofd->hold != 0 ? lock_ofd_hold(ofd) : NULL;

    return hold == NULL ? 0 : nfs_lock_check(shim.client, &hold->locker);
}

/* One try. */
static int lock_try(struct ofd *ofd, const struct lock_slot *slot, unsigned access, int type, uint64_t offset,
                    uint64_t length, bool wait)
{
    struct nfs_client as = *shim.client;
    struct hold *hold;
    int err = 0;

    rlock_lock(slot->lock);
    hold = slot_hold(slot, true);
    if (hold == NULL)
        err = -ENOLCK;
    if (err == 0 && hold->locker.lost)
        err = -EIO;
    for (int n = 0; err == 0; n++) {
        if (!hold->locker.open.valid)
            err = ofd->type == NFS_DIR ? -ENOENT : lock_open(ofd, hold, access);
        if (err == -ENOENT && slot->whole && lock_is_local(ofd, hold)) {
            err = hold_flock(&shim.run->holds, hold, type == F_WRLCK);
            break;
        }
        if (err != 0)
            break;
        if (hold->proc >= 0)
            as.self = &shim.run->holds.proc[hold->proc].self;
        err = nfs_lock(&as, &hold->locker, &ofd->fh, type == F_RDLCK ? NFS_LOCK_READ : NFS_LOCK_WRITE, offset, length,
                       wait);
        if (err != -EBADF || n > 5)
            break;
        err = 0; /* the open was lost, and no lock with it */
    }
    rlock_unlock(slot->lock);
    return err;
}

/*
 * Takes a lock. Nothing of ours is locked while it waits: another thread may have to give back what the holder waits
 * for. A holder in this run that was killed is cleared away first.
 */
static int lock_take(struct ofd *ofd, const struct lock_slot *slot, unsigned access, int type, uint64_t offset,
                     uint64_t length, bool wait)
{
    unsigned pause = 1;
    int err;

    for (bool looked = false;;) {
        err = lock_try(ofd, slot, access, type, offset, length, wait);
        if (err != -EAGAIN)
            break;
        if (!looked) {
            looked = true;
            hold_reap(&shim.run->holds, shim.client, LOCK_REAP_MS);
            continue;
        }
        if (!wait)
            break;
        sys_sleep_ms(pause);
        if (pause < LOCK_PAUSE_MS)
            pause *= 2;
        else
            hold_reap(&shim.run->holds, shim.client, LOCK_REAP_WAIT_MS);
        err = shim_signals();
        if (err != 0)
            break;
    }
    if (err == -ENOENT || err == -ESTALE) {
        shim_say("%s: its name in the volume is no longer known, so it cannot be locked", ofd->path);
        err = -ENOLCK;
    }
    if (err == 0)
        file_drop_cache(&ofd->fh);
    return err;
}

static int lock_give(struct ofd *ofd, const struct lock_slot *slot, uint64_t offset, uint64_t length)
{
    struct nfs_client as = *shim.client;
    struct hold *hold;
    int err = 0;

    map_file_closing(&ofd->fh);
    vnode_flush(&ofd->fh, false);
    rlock_lock(slot->lock);
    hold = slot_hold(slot, false);
    if (hold != NULL)
        hold->local = 0;
    if (hold != NULL && (hold->locker.valid || hold->locker.lost))
        err = nfs_unlock(&as, &hold->locker, &ofd->fh, offset, length);
    rlock_unlock(slot->lock);
    return err;
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
    struct lock_slot slot = {&ofd->locking, NULL, ofd, false};
    uint64_t offset, length;
    int err;

    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_REG || (ofd_owned && fl->l_pid != 0))
        return -EINVAL;
    err = lock_range(ofd, fl, &offset, &length);
    if (err != 0)
        return err;
    if (!ofd_owned) {
        slot.plock = plock_get(&ofd->fh, true);
        if (slot.plock == NULL)
            return -ENOLCK;
        slot.lock = &slot.plock->lock;
    }
    if (cmd == F_GETLK || cmd == F_OFD_GETLK) {
        static const struct nfs_locker nobody;
        struct hold *hold;
        enum nfs_lock_type type = fl->l_type == F_RDLCK ? NFS_LOCK_READ : NFS_LOCK_WRITE;

        hold_reap(&shim.run->holds, shim.client, LOCK_REAP_MS);
        rlock_lock(slot.lock);
        hold = slot_hold(&slot, false);
        err = nfs_lock_test(shim.client, hold != NULL ? &hold->locker : &nobody, &ofd->fh, &type, &offset, &length);
        rlock_unlock(slot.lock);
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
        err = lock_give(ofd, &slot, offset, length);
    } else if (fl->l_type != F_RDLCK && fl->l_type != F_WRLCK) {
        err = -EINVAL;
    } else if ((fl->l_type == F_RDLCK && (ofd->flags & O_ACCMODE) == O_WRONLY) ||
               (fl->l_type == F_WRLCK && (ofd->flags & O_ACCMODE) == O_RDONLY)) {
        err = -EBADF;
    } else {
        err = lock_take(ofd, &slot, (ofd->flags & O_ACCMODE) + 1, fl->l_type, offset, length, wait);
    }
    return err;
}

long sc_flock(const long a[6])
{
    struct ofd *ofd = ofd_get((int)a[0]);
    struct lock_slot slot = {NULL, NULL, ofd, true};
    int op = (int)a[1], err;

    if (ofd == NULL)
        return shim_pass(SYS_flock, a);
    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->fh.size == 0)
        return -ENOLCK; /* the directory that the volumes seem to lie in */
    slot.lock = &ofd->locking;
    switch (op & ~LOCK_NB) {
    case LOCK_UN:
        return lock_give(ofd, &slot, 0, UINT64_MAX);
    case LOCK_SH:
    case LOCK_EX:
        /* flock does not ask how the file was opened; an exclusive lock at the server wants it open for writing. */
        err = lock_take(ofd, &slot, 3, (op & ~LOCK_NB) == LOCK_SH ? F_RDLCK : F_WRLCK, 0, UINT64_MAX,
                        !(op & LOCK_NB));
        if ((err == -EACCES || err == -EROFS) && (op & ~LOCK_NB) == LOCK_SH)
            err = lock_take(ofd, &slot, 1, F_RDLCK, 0, UINT64_MAX, !(op & LOCK_NB));
        return err;
    default:
        return -EINVAL;
    }
}
