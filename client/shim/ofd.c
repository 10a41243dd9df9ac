/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Descriptors: an open volume file is an O_PATH descriptor of a memfd that holds the open file description.
 *
 * So dup, fork, exec and SCM_RIGHTS work by themselves and everybody shares one offset; a call that we missed fails
 * with EBADF. The memfd is named volnfs-ID; /proc/self/fd tells it apart from others, and reopening it there
 * gives the record to map. Mappings are kept per process by ID. refs counts descriptors over all processes as far as
 * open, dup, close, fork and exit tell; killed processes never give theirs back.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "client/door/door.h"
#include "client/nfs/rpc.h"
#include "client/shim/shim.h"

#define OFD_MAGIC 0x766f6664u
#define OFD_HASH 1024
#define OFD_HIGH 896 /* below the usual limit of 1024 */

_Static_assert(sizeof(struct ofd) <= OFD_SIZE, "the record fits its memfd");

uint8_t fd_state[SHIM_FDS];

/*
 * A record mapped into this process. refs: one while any descriptor here is known to be it, one per call that uses it:
 * a thread may close a descriptor that another reads from. The mapping goes with the last; the ofd_map
 * itself is used again and never freed, so that a look at a stale one is harmless.
 */
struct ofd_map {
    struct ofd_map *next;
    uint64_t id;
    struct ofd *ofd;
    int here; /* descriptors of this process that are known to be this; under the lock */
    int refs;
    bool mine;     /* made here */
    bool closed;   /* by its last descriptor, and may be used again */
    uint32_t made; /* door_made when it was made */
    struct spare spare; /* with its descriptor, when it was one before or is to be one */
};

static struct {
    struct vlock lock;
    struct ofd_map *hash[OFD_HASH];
    struct ofd_map *byfd[SHIM_FDS];
    struct ofd_map *spare;
} ofds;

/* What the calls under way in this thread use (more than one when a signal's handler runs in a wait). */
#define OFD_USED 16
static __thread struct {
    struct ofd_map *map[OFD_USED];
    unsigned n;
} used __attribute__((tls_model("initial-exec")));

static bool ofd_map_ref(struct ofd_map *map)
{
    int refs = __atomic_load_n(&map->refs, __ATOMIC_RELAXED);

    while (refs > 0)
        if (__atomic_compare_exchange_n(&map->refs, &refs, refs + 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
    return false;
}

static void ofd_map_put_locked(struct ofd_map *map)
{
    if (__atomic_sub_fetch(&map->refs, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    if (!map->closed || !spare_put(&map->spare)) {
        sys2(SYS_munmap, map->ofd, OFD_SIZE);
        spare_end(&map->spare);
    }
    map->ofd = NULL;
    map->next = ofds.spare;
    ofds.spare = map;
}

/* The call uses what it holds a reference of until it ends. */
static struct ofd *ofd_use(struct ofd_map *map)
{
    for (unsigned i = 0; i < used.n; i++)
        if (used.map[i] == map) {
            __atomic_sub_fetch(&map->refs, 1, __ATOMIC_RELAXED);
            return map->ofd;
        }
    if (used.n < OFD_USED)
        used.map[used.n++] = map;
    return map->ofd; /* with too many at once the mapping is never undone: harmless */
}

unsigned ofd_using(void)
{
    return used.n;
}

void ofd_used(unsigned mark)
{
    while (used.n > mark) {
        struct ofd_map *map = used.map[--used.n];
        int refs = __atomic_load_n(&map->refs, __ATOMIC_RELAXED);

        while (refs > 1 && !__atomic_compare_exchange_n(&map->refs, &refs, refs - 1, false, __ATOMIC_RELEASE,
                                                        __ATOMIC_RELAXED))
            ;
        if (refs > 1)
            continue;
        vlock_lock(&ofds.lock);
        ofd_map_put_locked(map);
        vlock_unlock(&ofds.lock);
    }
}

static void ofd_name(char *to, uint64_t id)
{
    static const char digits[] = "0123456789abcdef";

    memcpy(to, "volnfs-", 7);
    for (int i = 15; i >= 0; i--, id >>= 4)
        to[7 + i] = digits[id & 15];
    to[23] = 0;
}

void fd_path(char *to, int fd)
{
    char digits[12];
    int n = 0;

    memcpy(to, "/proc/self/fd/", 14);
    do {
        digits[n++] = (char)('0' + fd % 10);
        fd /= 10;
    } while (fd != 0);
    for (int i = 0; i < n; i++)
        to[14 + i] = digits[n - 1 - i];
    to[14 + n] = 0;
}

static struct ofd *ofd_mmap(int fd)
{
    long at = sys6(SYS_mmap, 0, OFD_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return at < 0 && at > -4096 ? NULL : (struct ofd *)at;
}

static struct ofd_map *ofd_find_locked(uint64_t id)
{
    struct ofd_map *map = ofds.hash[id % OFD_HASH];

    while (map != NULL && map->id != id)
        map = map->next;
    return map;
}

static struct ofd_map *ofd_add_locked(uint64_t id, struct ofd *ofd)
{
    struct ofd_map *map = ofds.spare;

    if (map != NULL)
        ofds.spare = map->next;
    else if ((map = heap_zalloc(1, sizeof(*map))) == NULL)
        return NULL;
    map->here = 0;
    map->mine = map->closed = false;
    map->spare = (struct spare){.ofd = ofd, .id = id, .keep = -1};
    __atomic_store_n(&map->refs, 1, __ATOMIC_RELEASE);
    map->id = id;
    map->ofd = ofd;
    map->next = ofds.hash[id % OFD_HASH];
    ofds.hash[id % OFD_HASH] = map;
    return map;
}

/* Takes fd out of the tables; the mapping goes when this process has no descriptor of it left. */
static void ofd_unnote_locked(int fd)
{
    struct ofd_map *map = ofds.byfd[fd], **at;

    fd_state[fd] = FD_UNKNOWN;
    __atomic_store_n(&ofds.byfd[fd], NULL, __ATOMIC_RELEASE);
    if (map == NULL || --map->here > 0)
        return;
    for (at = &ofds.hash[map->id % OFD_HASH]; *at != map; at = &(*at)->next)
        ;
    *at = map->next;
    ofd_map_put_locked(map);
}

static void ofd_note_locked(int fd, struct ofd_map *map)
{
    if (fd >= SHIM_FDS || shim_is_vfork_child())
        return;
    if (ofds.byfd[fd] != map) {
        if (ofds.byfd[fd] != NULL)
            ofd_unnote_locked(fd); /* closed behind our back */
        map->here++;
        __atomic_store_n(&ofds.byfd[fd], map, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&fd_state[fd], FD_OURS, __ATOMIC_RELEASE);
}

struct ofd *ofd_get(int fd)
{
    char path[32], target[64];
    struct ofd_map *map = NULL;
    struct ofd *ofd;
    uint64_t id;
    long n, again;

    if (fd < 0)
        return NULL;
    if (fd < SHIM_FDS && !shim_is_vfork_child() && __atomic_load_n(&fd_state[fd], __ATOMIC_ACQUIRE) == FD_OURS) {
        map = __atomic_load_n(&ofds.byfd[fd], __ATOMIC_ACQUIRE);
        if (map != NULL && ofd_map_ref(map)) {
            if (__atomic_load_n(&ofds.byfd[fd], __ATOMIC_ACQUIRE) == map)
                return ofd_use(map);
            vlock_lock(&ofds.lock); /* closed at this moment */
            ofd_map_put_locked(map);
            vlock_unlock(&ofds.lock);
        }
        map = NULL;
    }
    n = sys2(SYS_fcntl, fd, F_GETFL);
    if (n < 0 || !(n & O_PATH))
        return NULL;
    fd_path(path, fd);
    n = sys3(SYS_readlink, path, target, sizeof(target) - 1);
    id = hold_ofd_id(target, n);
    if (id == 0)
        goto local;
    lock_proc();
    vlock_lock(&ofds.lock);
    /* Another thread may have closed it since, or be about to; and the number may be something else's by now. */
    if ((fd < SHIM_FDS && !shim_is_vfork_child() && fd_state[fd] == FD_CLOSING) ||
        hold_ofd_id(target, sys3(SYS_readlink, path, target, sizeof(target) - 1)) != id) {
        vlock_unlock(&ofds.lock);
        return NULL;
    }
    map = ofd_find_locked(id);
    if (map == NULL) {
        again = sys3(SYS_open, path, O_RDWR | O_CLOEXEC, 0);
        ofd = again < 0 ? NULL : ofd_mmap((int)again);
        if (again >= 0)
            sys1(SYS_close, again);
        if (ofd != NULL)
            __atomic_store_n(&ofd->loose, 1, __ATOMIC_SEQ_CST);
        if (ofd != NULL && (ofd->magic != OFD_MAGIC || ofd->id != id ||
                            hold_ofd_id(target, sys3(SYS_readlink, path, target, sizeof(target) - 1)) != id)) {
            sys2(SYS_munmap, ofd, OFD_SIZE);
            ofd = NULL;
        }
        map = ofd == NULL ? NULL : ofd_add_locked(id, ofd);
    }
    if (map != NULL) {
        ofd_note_locked(fd, map);
        ofd_map_ref(map);
    }
    vlock_unlock(&ofds.lock);
    return map == NULL ? NULL : ofd_use(map);

local:
    /* Not noted as local: a walk by names may start from an O_PATH descriptor of "/". */
    return NULL;
}

/* Duplicates fd to a number out of the program's way. */
static int ofd_high = OFD_HIGH;

static long ofd_move_high(int fd)
{
    long moved = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, ofd_high);

    if (moved == -EINVAL && ofd_high > 0) {
        struct rlimit limit = {0};

        sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
        ofd_high = limit.rlim_cur > 256 && limit.rlim_cur <= INT_MAX ? (int)limit.rlim_cur - 128 : 0;
        moved = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, ofd_high);
    }
    return moved;
}

/* An empty record's memfd, at a high number: another thread of the program may use a number that it has just closed, and
 * must not come upon a record. */
static long ofd_memfd(uint64_t id)
{
    char name[32];
    long mem, moved, err;

    ofd_name(name, id);
    mem = sys2(SYS_memfd_create, name, MFD_CLOEXEC);
    if (mem < 0)
        return mem;
    moved = ofd_move_high((int)mem);
    if (moved >= 0) {
        sys1(SYS_close, mem);
        mem = moved;
        sys2(SYS_ftruncate, mem, 0); /* in case it was written to */
    }
    err = sys2(SYS_ftruncate, mem, OFD_SIZE);
    if (err < 0)
        sys1(SYS_close, mem);
    return err < 0 ? err : mem;
}

int ofd_peek(const char *link, struct ofd *copy)
{
    char target[64];
    uint64_t id = hold_ofd_id(target, sys3(SYS_readlink, link, target, sizeof(target) - 1));
    long fd, n;

    if (id == 0)
        return -ENOENT;
    fd = sys3(SYS_open, link, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return (int)fd;
    n = sys4(SYS_pread64, fd, copy, sizeof(*copy), 0);
    sys1(SYS_close, fd);
    copy->path[SHIM_PATH - 1] = 0;
    return n == sizeof(*copy) && copy->magic == OFD_MAGIC && copy->id == id && copy->mount < SHIM_MOUNTS &&
                   copy->fh.size <= sizeof(copy->fh.data)
               ? 0
               : -EACCES;
}

/* A new memfd, its mapping and an O_PATH descriptor of it. */
static long ofd_make(struct spare *new, int flags, int low)
{
    static uint64_t count;
    char path[32];
    uint64_t id;
    long mem, fd;

    do {
        id = 0;
        if (sys3(SYS_getrandom, &id, sizeof(id), 0) != sizeof(id))
            id = sys_now_ms() << 20 ^ (uint64_t)sys0(SYS_gettid) << 8 ^ __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
    } while (id == 0);
    mem = ofd_memfd(id);
    if (mem < 0)
        return mem;
    *new = (struct spare){.ofd = ofd_mmap((int)mem), .id = id, .keep = -1};
    if (new->ofd == NULL) {
        sys1(SYS_close, mem);
        return -ENOMEM;
    }
    fd_path(path, (int)mem);
    fd = sys3(SYS_open, path, O_PATH | (flags & O_CLOEXEC), 0);
    sys1(SYS_close, mem);
    if (fd >= 0 && fd < low) {
        long moved = sys3(SYS_fcntl, fd, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, low);

        sys1(SYS_close, fd);
        fd = moved;
    }
    if (fd < 0)
        spare_drop(new);
    return fd;
}

int ofd_new(const struct ofd *init, int low, struct ofd **out)
{
    uint32_t made = __atomic_load_n(&door_made, __ATOMIC_ACQUIRE); /* before there is a descriptor to inherit */
    struct ofd_map *map;
    struct spare new;
    struct ofd *ofd;
    long fd = -ENOENT;

    if (!shim_is_vfork_child())
        fd = spare_take(&new, (int)init->flags, low);
    if (fd == -ENOENT)
        fd = ofd_make(&new, (int)init->flags, low);
    if (fd < 0)
        return (int)fd;
    ofd = new.ofd;
    memcpy(ofd, init, offsetof(struct ofd, path));
    strcpy(ofd->path, init->path);
    ofd->magic = OFD_MAGIC;
    ofd->id = new.id;
    ofd->refs = 1;
    ofd->holder = 0;
    ofd->hold = 0;
    ofd->loose = 0;
    memset(&ofd->locking, 0, sizeof(ofd->locking));
    vlock_lock(&ofds.lock);
    map = ofd_add_locked(new.id, ofd);
    if (map != NULL) {
        map->spare = new;
        map->mine = true;
        map->made = made;
        ofd_note_locked((int)fd, map);
        ofd_map_ref(map);
    }
    vlock_unlock(&ofds.lock);
    if (map == NULL) {
        spare_drop(&new);
        sys1(SYS_close, fd);
        return -ENOMEM;
    }
    ofd_use(map);
    __atomic_add_fetch(&shim.run->opens[file_slot(&init->fh)], 1, __ATOMIC_RELAXED);
    if (out != NULL)
        *out = ofd;
    return (int)fd;
}

bool ofd_is(int fd)
{
    unsigned mark = ofd_using();
    bool is = ofd_get(fd) != NULL;

    ofd_used(mark);
    return is;
}

struct mount *ofd_mount(const struct ofd *ofd)
{
    return &shim.run->mounts[ofd->mount % SHIM_MOUNTS];
}

#define OFD_WAITED 0x40000000 /* in holder: somebody sleeps */

void ofd_lock(struct ofd *ofd)
{
    int32_t me = (int32_t)sys0(SYS_gettid), zero = 0, holder;

    while (!__atomic_compare_exchange_n(&ofd->holder, &zero, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
        holder = zero;
        zero = 0;
        if ((holder & ~OFD_WAITED) == me)
            return; /* a handler that runs in the middle of it */
        if (!(holder & OFD_WAITED) &&
            !__atomic_compare_exchange_n(&ofd->holder, &holder, holder | OFD_WAITED, false, __ATOMIC_RELAXED,
                                         __ATOMIC_RELAXED))
            continue;
        holder |= OFD_WAITED;
        sys_futex_wait(&ofd->holder, holder, 100);
        if (sys_alive(holder & ~OFD_WAITED, NULL) == 0)
            __atomic_compare_exchange_n(&ofd->holder, &holder, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    }
}

void ofd_unlock(struct ofd *ofd)
{
    if (__atomic_exchange_n(&ofd->holder, 0, __ATOMIC_RELEASE) & OFD_WAITED)
        sys_futex_wake(&ofd->holder);
}

/* The one of several threads that close a descriptor at once who really does. */
static bool ofd_unnote(int fd, const struct ofd *ofd, bool closing)
{
    bool mine;

    if (fd >= SHIM_FDS || shim_is_vfork_child())
        return true;
    vlock_lock(&ofds.lock);
    mine = ofds.byfd[fd] != NULL && ofds.byfd[fd]->ofd == ofd;
    if (mine) {
        ofd_unnote_locked(fd);
        if (closing)
            __atomic_store_n(&fd_state[fd], FD_CLOSING, __ATOMIC_RELEASE);
    }
    vlock_unlock(&ofds.lock);
    return mine;
}

void fd_closed(int fd)
{
    uint8_t closing = FD_CLOSING;

    if (fd >= 0 && fd < SHIM_FDS && !shim_is_vfork_child())
        __atomic_compare_exchange_n(&fd_state[fd], &closing, FD_UNKNOWN, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
}

void fd_new(int fd)
{
    if (fd >= SHIM_FDS || shim_is_vfork_child())
        return;
    vlock_lock(&ofds.lock);
    ofd_unnote_locked(fd);
    vlock_unlock(&ofds.lock);
}

void ofd_forget(int fd, bool closing)
{
    unsigned mark = ofd_using();
    struct ofd *ofd;

    if (fd < 0 || (fd < SHIM_FDS && fd_state[fd] == FD_LOCAL)) {
        if (fd >= 0)
            fd_state[fd] = FD_UNKNOWN;
        return;
    }
    ofd = ofd_get(fd);
    if (ofd == NULL) {
        if (fd < SHIM_FDS)
            fd_state[fd] = FD_UNKNOWN;
        return;
    }
    if (ofd->type == NFS_REG) {
        vnode_flush(&ofd->fh, false);
        lock_closed(&ofd->fh);
    }
    if (ofd_unnote(fd, ofd, closing) && __atomic_sub_fetch(&ofd->refs, 1, __ATOMIC_ACQ_REL) == 0) {
        lock_last_close(ofd);
        __atomic_sub_fetch(&shim.run->opens[file_slot(&ofd->fh)], 1, __ATOMIC_RELAXED);
        place_closed(&ofd->fh);
    }
    if (ofd->type == NFS_REG)
        ahead_closed(&ofd->fh);
    ofd_used(mark);
}

/* The use of a record that is about to be closed, if it may be used again. */
static struct ofd_map *ofd_spare(const struct ofd *ofd)
{
    if (shim_is_vfork_child() || !shim.counts || __atomic_load_n(&ofd->refs, __ATOMIC_ACQUIRE) != 1)
        return NULL;
    for (unsigned i = 0; i < used.n; i++)
        if (used.map[i]->ofd == ofd)
            return used.map[i]->mine && used.map[i]->made == __atomic_load_n(&door_made, __ATOMIC_RELAXED)
                       ? used.map[i]
                       : NULL;
    return NULL;
}

long ofd_close(int fd)
{
    struct ofd *ofd = ofd_get(fd);
    struct ofd_map *map = ofd != NULL ? ofd_spare(ofd) : NULL;
    long err = 0, ret;

    if (ofd != NULL && ofd->type == NFS_REG)
        err = vnode_flush(&ofd->fh, false);
    if (map != NULL && !spare_begin(&map->spare, fd, ofd_high))
        map = NULL;
    ofd_forget(fd, true);
    ret = sys1(SYS_close, fd);
    fd_closed(fd);
    if (map != NULL && ret == 0 && map->here == 0 && __atomic_load_n(&ofd->refs, __ATOMIC_ACQUIRE) == 0 &&
        __atomic_load_n(&ofd->loose, __ATOMIC_SEQ_CST) == 0 &&
        map->made == __atomic_load_n(&door_made, __ATOMIC_RELAXED))
        map->closed = true;
    return ret < 0 ? ret : err;
}

void ofd_each(void (*fn)(int fd, struct ofd *ofd, void *arg), void *arg)
{
    struct ofd_map *map;

    for (int fd = 0; fd < SHIM_FDS; fd++)
        if (fd_state[fd] == FD_OURS && (map = __atomic_load_n(&ofds.byfd[fd], __ATOMIC_ACQUIRE)) != NULL)
            fn(fd, map->ofd, arg);
}

static void ofd_ref_one(int fd, struct ofd *ofd, void *arg)
{
    __atomic_store_n(&ofd->loose, 1, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&ofd->refs, 1, __ATOMIC_ACQ_REL);
}

void ofd_fork(enum ofd_fork when)
{
    switch (when) {
    case OFD_FORK_BEGIN:
        vlock_lock(&ofds.lock); /* nobody opens or closes until the child is made */
        ofd_each(ofd_ref_one, NULL);
        break;
    case OFD_FORK_PARENT:
        vlock_unlock(&ofds.lock);
        break;
    case OFD_FORK_CHILD:
        memset(&ofds.lock, 0, sizeof(ofds.lock));
        break;
    case OFD_FORK_UNSEEN:
        memset(&ofds.lock, 0, sizeof(ofds.lock));
        ofd_find_all();
        ofd_each(ofd_ref_one, NULL);
        break;
    }
}
