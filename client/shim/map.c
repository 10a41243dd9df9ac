/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmap of volume files: which parts of memory show which file (the bytes are store.c's).
 *
 * A mapping is a real mapping of a file of the kernel's that holds the bytes, so that what lies beyond the end,
 * mprotect, mremap, madvise and fork behave as everywhere. Private mappings of small files get a memfd of their own;
 * all others share the run's store of the file, so that ten processes that map one model fetch and hold it once.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "client/shim/lazy.h"
#include "client/shim/map_int.h"

#define MAP_SMALL (4u << 20) /* private mappings of smaller files are copies */
#define MAP_LEAVE 4          /* this part of the run directory's file system stays free */

static struct {
    struct vlock lock;
    struct region *first;
    struct nfs_fh failed; /* of this file something that was cut off could not be written back: fsync tells */
    int error;
} maps;

int map_regions;
uintptr_t map_low, map_high;

/* A memfd with the file's bytes: all of a small file, else the part that is mapped. */
static int map_copy(struct ofd *ofd, const struct nfs_attr *attr, uint64_t from, uint64_t to)
{
    long fd = sys2(SYS_memfd_create, "volume", 1 /* MFD_CLOEXEC */), at, err;
    uint64_t size = attr->size;

    if (fd < 0)
        return (int)fd;
    if (size <= MAP_SMALL) {
        from = 0;
        to = size;
    }
    if (to > size)
        to = size;
    err = sys2(SYS_ftruncate, fd, size);
    if (err == 0 && from < to) {
        at = sys6(SYS_mmap, 0, (long)(to - from), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (long)from);
        err = map_failed(at) ? at : 0;
        if (err == 0) {
            ssize_t n = to - from <= 65536 ? ahead_read(ofd, (uint8_t *)at, to - from, from) : 0;

            if (n >= 0 && (uint64_t)n < to - from)
                n = nfs_read_whole(shim.client, &ofd->fh, (uint8_t *)at + n, to - from - (uint64_t)n, from + (uint64_t)n);
            err = n < 0 ? n : 0;
            sys2(SYS_munmap, at, to - from);
        }
    }
    if (err != 0) {
        sys1(SYS_close, fd);
        return (int)err;
    }
    return (int)fd;
}

/* The same file through a descriptor that cannot write. */
static long map_read_only(int fd)
{
    char path[32];

    fd_path(path, fd);
    return sys3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
}

/* What is only read is there already: page tables are filled at once. */
static long map_flags(const long a[6])
{
    return a[2] & PROT_WRITE ? a[3] : a[3] | MAP_POPULATE;
}

/* For looks without a lock: never too narrow for a mapping that stays. */
static void bounds_locked(void)
{
    uintptr_t low = UINTPTR_MAX, high = 0;

    for (const struct region *r = maps.first; r != NULL; r = r->next) {
        uintptr_t at = (uintptr_t)r->at;

        low = at < low ? at : low;
        high = at + r->size > high ? at + r->size : high;
    }
    __atomic_store_n(&map_high, high > map_high ? high : map_high, __ATOMIC_RELEASE);
    __atomic_store_n(&map_low, low, __ATOMIC_RELEASE);
    __atomic_store_n(&map_high, high, __ATOMIC_RELEASE);
}

bool region_add_locked(uint8_t *at, size_t size, uint64_t offset, struct store *store, bool writable)
{
    struct region *r = heap_zalloc(1, sizeof(*r));

    if (r == NULL)
        return false;
    *r = (struct region){maps.first, at, size, offset, store, writable};
    maps.first = r;
    map_regions++;
    bounds_locked();
    store_ref(store);
    return true;
}

struct region *region_find_locked(const uint8_t *at)
{
    struct region *r;

    for (r = maps.first; r != NULL && (at < r->at || at >= r->at + r->size); r = r->next)
        ;
    return r;
}

void regions_cut_locked(uint8_t *from, uint8_t *to)
{
    for (struct region **at = &maps.first, *r; (r = *at) != NULL;) {
        uint8_t *end = r->at + r->size, *low = r->at > from ? r->at : from, *high = end < to ? end : to;
        struct store *store = r->store;
        int err;

        if (low >= high) {
            at = &r->next;
            continue;
        }
        err = r->writable ? store_sync(store, r->offset + (uint64_t)(low - r->at), r->offset + (uint64_t)(high - r->at)) : 0;
        if (err != 0) {
            maps.failed = *store_fh(store);
            maps.error = err;
        }
        if (high < end) /* the tail lives on (if memory fails, unwatched: it is written back with the store) */
            region_add_locked(high, (size_t)(end - high), r->offset + (uint64_t)(high - r->at), store, r->writable);
        if (low > r->at) {
            r->size = (size_t)(low - r->at);
            at = *at == r ? &r->next : at;
            continue;
        }
        while (*at != r)
            at = &(*at)->next;
        *at = r->next;
        map_regions--;
        heap_free(r);
        store_unref(store);
    }
    bounds_locked();
}

void maps_cut_locked(uint8_t *from, uint8_t *to)
{
    regions_cut_locked(from, to);
    if (lazy_count != 0)
        lazy_cut(from, to);
}

void map_lock(void)
{
    vlock_lock(&maps.lock);
}

void map_unlock(void)
{
    vlock_unlock(&maps.lock);
}

int map_keep(uint8_t *from, uint8_t *to)
{
    int err;

    vlock_lock(&maps.lock);
    err = lazy_keep(from, to, true);
    vlock_unlock(&maps.lock);
    return err;
}

/* lazy: filled where it is touched; store may be NULL then. */
static long map_lazy(const long a[6], struct ofd *ofd, const struct nfs_attr *attr, struct store *store, bool writable)
{
    size_t size = map_round((size_t)a[1]);
    long at;

    if (writable) {
        at = store_fill(store, 0, 0, true); /* a writer, from now on */
        if (at != 0)
            return at;
        lazy_share(&ofd->fh, store);
    }
    if (a[3] & MAP_FIXED)
        maps_cut_locked((uint8_t *)a[0], (uint8_t *)a[0] + size);
    at = lazy_map(a, &ofd->fh, attr, store, writable);
    if (writable && !map_failed(at) && !region_add_locked((uint8_t *)at, size, (uint64_t)a[5], store, true)) {
        lazy_cut((uint8_t *)at, (uint8_t *)at + size);
        sys2(SYS_munmap, at, size);
        return -ENOMEM;
    }
    return at;
}

static long map_store(const long a[6], struct ofd *ofd, const struct nfs_attr *attr, bool writable)
{
    size_t size = map_round((size_t)a[1]);
    bool lazy = lazy_wanted(a, attr, writable);
    struct store *store;
    long at, fd = -1, err;

    vlock_lock(&maps.lock);
    err = store_get(&ofd->fh, attr, &store);
    if (err == -ENOSPC && lazy && !writable)
        store = NULL; /* no room to keep anything */
    else if (err != 0)
        goto out;
    if (lazy) {
        err = map_lazy(a, ofd, attr, store, writable);
        goto out_ref;
    }
    err = store_spare(store, (uint64_t)a[5], (uint64_t)a[5] + size, MAP_LEAVE)
              ? store_fill(store, (uint64_t)a[5], (uint64_t)a[5] + size, writable)
              : -ENOSPC;
    if (err == 0 && writable)
        lazy_share(&ofd->fh, store);
    if (err == 0 && !writable) {
        fd = map_read_only(store_fd(store));
        err = fd < 0 ? fd : 0;
    }
    if (err != 0)
        goto out_ref;
    if (a[3] & MAP_FIXED)
        maps_cut_locked((uint8_t *)a[0], (uint8_t *)a[0] + size);
    at = sys6(SYS_mmap, a[0], a[1], a[2], map_flags(a), writable ? store_fd(store) : fd, a[5]);
    err = at;
    if (!map_failed(at) && !region_add_locked((uint8_t *)at, size, (uint64_t)a[5], store, writable)) {
        sys2(SYS_munmap, at, a[1]);
        err = -ENOMEM;
    }
    if (fd >= 0)
        sys1(SYS_close, fd);
out_ref:
    if (store != NULL)
        store_unref(store);
out:
    vlock_unlock(&maps.lock);
    return err;
}

static long map_private(const long a[6], struct ofd *ofd, const struct nfs_attr *attr)
{
    uint64_t end;
    long at, fd;

    if (__builtin_add_overflow((uint64_t)a[5], (uint64_t)a[1], &end))
        return -EOVERFLOW;
    fd = map_copy(ofd, attr, (uint64_t)a[5], end);
    if (fd < 0)
        return fd;
    if ((a[3] & MAP_FIXED) && map_regions != 0) {
        vlock_lock(&maps.lock);
        maps_cut_locked((uint8_t *)a[0], (uint8_t *)a[0] + map_round((size_t)a[1]));
        vlock_unlock(&maps.lock);
    }
    if ((a[3] & MAP_TYPE) != MAP_PRIVATE) {
        long only = map_read_only((int)fd);

        sys1(SYS_close, fd);
        if (only < 0)
            return only;
        fd = only;
    }
    at = sys6(SYS_mmap, a[0], a[1], a[2], map_flags(a), fd, a[5]);
    sys1(SYS_close, fd);
    return at;
}

long sc_mmap(const long a[6])
{
    struct ofd *ofd;
    struct nfs_attr attr;
    int type = (int)a[3] & MAP_TYPE, mode, err;
    bool writable;
    long ret;

    if ((a[3] & MAP_ANONYMOUS) || (ofd = ofd_get((int)a[4])) == NULL) {
        if ((a[3] & MAP_FIXED) && !shim_is_vfork_child() && (a[0] & (long)(MAP_PAGE - 1)) == 0) {
            vlock_lock(&maps.lock);
            maps_cut_locked((uint8_t *)a[0], (uint8_t *)a[0] + map_round((size_t)a[1]));
            vlock_unlock(&maps.lock);
        }
        return shim_pass(SYS_mmap, a);
    }
    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_REG)
        return -ENODEV;
    if (a[1] == 0 || a[5] < 0 || (a[5] & (long)(MAP_PAGE - 1)) || (size_t)a[1] > (1ul << 46))
        return -EINVAL;
    if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
        return -EINVAL;
    mode = (int)(ofd->flags & O_ACCMODE);
    if (mode == O_WRONLY || (type != MAP_PRIVATE && mode == O_RDONLY && (a[2] & PROT_WRITE)))
        return -EACCES;
    writable = type != MAP_PRIVATE && mode == O_RDWR;
    err = file_attr(ofd, &attr, true);
    if (err != 0)
        return err;
    if (type == MAP_PRIVATE && attr.size < MAP_SMALL && map_regions == 0)
        return map_private(a, ofd, &attr);
    ret = map_store(a, ofd, &attr, writable);
    if (ret == -ENOSPC && !writable)
        return map_private(a, ofd, &attr); /* no room for all in the run's folder: a copy in plain memory */
    return ret == -ENOSPC ? -ENOMEM : ret;
}

static void region_clip(const struct region *r, const uint8_t *from, const uint8_t *to, uint64_t *low, uint64_t *high)
{
    const uint8_t *start = r->at > from ? r->at : from, *end = r->at + r->size < to ? r->at + r->size : to;

    *low = *high = 0;
    if (start >= end)
        return;
    *low = r->offset + (uint64_t)(start - r->at);
    *high = r->offset + (uint64_t)(end - r->at);
}

static long map_sync_locked(const uint8_t *from, const uint8_t *to, const struct nfs_fh *fh)
{
    long err = 0, one;

    for (struct region *r = maps.first; r != NULL; r = r->next) {
        uint64_t low, high;

        region_clip(r, from, to, &low, &high);
        if (low >= high || !r->writable || (fh != NULL && !nfs_fh_same(store_fh(r->store), fh)))
            continue;
        one = store_sync(r->store, low, high);
        if (one != 0 && err == 0)
            err = one;
    }
    return err;
}

void map_save(void)
{
    map_sync_locked(NULL, (const uint8_t *)UINTPTR_MAX, NULL);
}

long map_sync_all(void)
{
    long err;

    if (map_regions == 0)
        return 0;
    vlock_lock(&maps.lock);
    err = map_sync_locked(NULL, (const uint8_t *)UINTPTR_MAX, NULL);
    vlock_unlock(&maps.lock);
    return err;
}

int map_file_sync(const struct nfs_fh *fh)
{
    int err;

    vlock_lock(&maps.lock);
    err = (int)map_sync_locked(NULL, (const uint8_t *)UINTPTR_MAX, fh);
    if (maps.error != 0 && nfs_fh_same(&maps.failed, fh)) {
        err = err != 0 ? err : maps.error;
        maps.error = 0;
    }
    vlock_unlock(&maps.lock);
    return err;
}

void map_file_closing(const struct nfs_fh *fh)
{
    if (map_regions == 0)
        return;
    vlock_lock(&maps.lock);
    map_sync_locked(NULL, (const uint8_t *)UINTPTR_MAX, fh);
    vlock_unlock(&maps.lock);
}

long sc_msync(const long a[6])
{
    long err;

    vlock_lock(&maps.lock);
    err = map_sync_locked((const uint8_t *)a[0], (const uint8_t *)a[0] + map_round((size_t)a[1]), NULL);
    vlock_unlock(&maps.lock);
    return err != 0 ? err : shim_pass(SYS_msync, a); /* the kernel tells of holes and bad flags */
}

long sc_munmap(const long a[6])
{
    if (!shim_is_vfork_child() && (a[0] & (long)(MAP_PAGE - 1)) == 0) {
        vlock_lock(&maps.lock);
        maps_cut_locked((uint8_t *)a[0], (uint8_t *)a[0] + map_round((size_t)a[1]));
        vlock_unlock(&maps.lock);
    }
    return shim_pass(SYS_munmap, a);
}

long sc_mprotect(const long a[6])
{
    uint8_t *from = (uint8_t *)a[0], *to = from + map_round((size_t)a[1]);
    bool done = false;
    int err = 0;

    if (((size_t)a[0] & (MAP_PAGE - 1)) == 0 && !shim_is_vfork_child()) {
        vlock_lock(&maps.lock);
        if (lazy_in(from, to)) {
            if ((a[2] & PROT_WRITE) && lazy_shared(from, to))
                err = -EACCES;
            else if ((a[2] & ~(PROT_READ | PROT_WRITE)) == 0 && lazy_stored(from, to))
                done = true;
            else
                err = lazy_keep(from, to, true);
            if (err == 0)
                lazy_protect(from, to, (int)a[2]);
        }
        vlock_unlock(&maps.lock);
    }
    if (done)
        return 0;
    return err != 0 ? err == -EACCES ? err : -ENOMEM : shim_pass(SYS_mprotect, a);
}

long sc_madvise(const long a[6])
{
    uint8_t *from = (uint8_t *)a[0], *to = from + map_round((size_t)a[1]);
    bool ours = false;
    long ret = 0;

    if (((size_t)a[0] & (MAP_PAGE - 1)) != 0 || shim_is_vfork_child())
        return shim_pass(SYS_madvise, a);
    vlock_lock(&maps.lock);
    if (lazy_in(from, to)) {
        if (a[2] == MADV_POPULATE_READ || a[2] == MADV_POPULATE_WRITE || (a[2] == MADV_REMOVE && lazy_writable(from, to)))
            ret = lazy_keep(from, to, true) != 0 ? -EFAULT : 0;
        else
            ours = lazy_advise(from, to, (int)a[2], &ret);
    }
    vlock_unlock(&maps.lock);
    return ours || ret != 0 ? ret : shim_pass(SYS_madvise, a);
}

/* mlock, mlock2. */
long sc_mlock(const long a[6])
{
    uint8_t *from = (uint8_t *)((size_t)a[0] & ~(MAP_PAGE - 1));

    if (!shim_is_vfork_child() && map_keep(from, (uint8_t *)a[0] + map_round((size_t)a[1])) != 0)
        return -ENOMEM;
    return shim_pass_same(a);
}

/* The store that this process may have written to through memory, or NULL. */
static struct store *map_of(const struct nfs_fh *fh, bool writable)
{
    for (struct region *r = maps.first; r != NULL; r = r->next)
        if ((r->writable || !writable) && nfs_fh_same(store_fh(r->store), fh))
            return r->store;
    return NULL;
}

void map_overlay(const struct nfs_fh *fh, uint8_t *data, size_t size, uint64_t offset)
{
    struct store *store;

    if (map_regions == 0)
        return;
    vlock_lock(&maps.lock);
    store = map_of(fh, true);
    if (store != NULL)
        store_read(store, data, size, offset);
    vlock_unlock(&maps.lock);
}

void map_wrote(const struct nfs_fh *fh, const uint8_t *data, size_t size, uint64_t offset)
{
    struct store *store;

    if (map_regions == 0)
        return;
    vlock_lock(&maps.lock);
    if (lazy_has(fh)) {
        vlock_unlock(&maps.lock);
        vnode_drain(fh); /* what is fetched from now on has it */
        vlock_lock(&maps.lock);
    }
    store = map_of(fh, false);
    if (store == NULL)
        store = lazy_store(fh);
    if (store != NULL)
        store_write(store, data, size, offset);
    if (lazy_count != 0)
        lazy_wrote(fh, offset, offset + size);
    vlock_unlock(&maps.lock);
}

void map_cut(const struct nfs_fh *fh, uint64_t size)
{
    struct store *store;

    if (map_regions == 0)
        return;
    vlock_lock(&maps.lock);
    store = map_of(fh, false);
    if (store == NULL)
        store = lazy_store(fh);
    if (store != NULL)
        store_resize(store, size);
    if (lazy_count != 0)
        lazy_resized(fh, size);
    vlock_unlock(&maps.lock);
}

void map_exit(void)
{
    if (map_regions == 0)
        return;
    vlock_lock(&maps.lock);
    regions_cut_locked(NULL, (uint8_t *)UINTPTR_MAX);
    lazy_exit();
    vlock_unlock(&maps.lock);
}

static void map_forked(void)
{
    for (struct region *r = maps.first; r != NULL; r = r->next)
        store_forked(r->store);
}

void map_before_fork(void)
{
    map_forked();
    lazy_before_fork();
}

void map_exec(bool back)
{
    if (map_regions == 0 || shim_is_vfork_child())
        return;
    vlock_lock(&maps.lock);
    store_exec(back);
    vlock_unlock(&maps.lock);
}

void map_after_fork(bool child, bool announced)
{
    if (child) {
        memset(&maps.lock, 0, sizeof(maps.lock));
        map_forked();
        store_child();
    }
    lazy_after_fork(child, announced);
}
