/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmap of volume files.
 *
 * A private mapping (and a shared one that can't be written) is memory of its own filled with parallel reads. A
 * writable shared mapping is a file in the run directory that all processes of the run map, filled by the first
 * (who holds its flock alone) and compared with a copy to find what to write back at msync, munmap, fsync and exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "client/shim/shim.h"

#define MAP_PAGE 4096ul
#define MAP_FD_LOW 800

static void regions_cut(uint8_t *from, size_t size);

struct region {
    struct region *next;
    uint8_t *at, *shadow; /* shadow: as last known at the server */
    size_t size;
    uint64_t offset;
    struct nfs_fh fh;
    int fd; /* of the run's file; keeps its shared flock */
};

static struct {
    struct vlock lock;
    struct region *first;
} maps;

int map_regions;

/* The part of [offset, offset + size) that a region holds: its length, *skip bytes into the range. */
static size_t region_part(const struct region *r, const struct nfs_fh *fh, uint64_t offset, size_t size, size_t *skip)
{
    uint64_t from = offset > r->offset ? offset : r->offset;
    uint64_t to = offset + size < r->offset + r->size ? offset + size : r->offset + r->size;

    if (from >= to || !nfs_fh_same(&r->fh, fh))
        return 0;
    *skip = (size_t)(from - offset);
    return (size_t)(to - from);
}

void map_overlay(const struct nfs_fh *fh, uint8_t *data, size_t size, uint64_t offset)
{
    size_t skip, part;

    if (!map_regions)
        return;
    vlock_lock(&maps.lock);
    for (struct region *r = maps.first; r != NULL; r = r->next)
        if ((part = region_part(r, fh, offset, size, &skip)) > 0)
            sys4(SYS_pread64, r->fd, data + skip, part, (long)(offset + skip));
    vlock_unlock(&maps.lock);
}

void map_wrote(const struct nfs_fh *fh, const uint8_t *data, size_t size, uint64_t offset)
{
    size_t skip, part;

    if (!map_regions)
        return;
    vlock_lock(&maps.lock);
    for (struct region *r = maps.first; r != NULL; r = r->next)
        if ((part = region_part(r, fh, offset, size, &skip)) > 0) {
            sys4(SYS_pwrite64, r->fd, data + skip, part, (long)(offset + skip));
            memcpy(r->shadow + (offset + skip - r->offset), data + skip, part);
        }
    vlock_unlock(&maps.lock);
}

void map_cut(const struct nfs_fh *fh, uint64_t size)
{
    struct stat st;

    if (!map_regions)
        return;
    vlock_lock(&maps.lock);
    for (struct region *r = maps.first; r != NULL; r = r->next)
        if (nfs_fh_same(&r->fh, fh) && sys2(SYS_fstat, r->fd, &st) == 0 && (uint64_t)st.st_size > size) {
            sys2(SYS_ftruncate, r->fd, (long)size); /* there and back: what was behind becomes zeros */
            sys2(SYS_ftruncate, r->fd, st.st_size);
            if (size < r->offset + r->size) {
                size_t keep = size > r->offset ? (size_t)(size - r->offset) : 0;

                memset(r->shadow + keep, 0, r->size - keep);
            }
        }
    vlock_unlock(&maps.lock);
}

static bool map_failed(long at)
{
    return at < 0 && at > -4096;
}

/* Reads the file's bytes into memory; what lies beyond the end stays zero. */
static int map_fill(const struct nfs_fh *fh, uint8_t *to, size_t size, uint64_t offset)
{
    ssize_t n;

    vnode_drain(fh);
    n = nfs_read(shim.client, fh, to, size, offset, NULL);
    return n < 0 ? (int)n : 0;
}

/* The memory behind a private mapping: a file without a name that ends where the data ends, so that what lies behind
 * is SIGBUS, and the kernel does the rest (MADV_DONTNEED, mremap, mprotect). */
static int map_copy(struct ofd *ofd, uint64_t offset, size_t size, bool writable)
{
    struct nfs_attr attr;
    char path[32];
    size_t have = 0;
    long fd, at, again;
    int err = file_attr(ofd, &attr, true);

    if (err != 0)
        return err;
    if (offset < attr.size)
        have = attr.size - offset < size ? (size_t)(attr.size - offset) : size;
    fd = sys2(SYS_memfd_create, "volnfs-map", MFD_CLOEXEC);
    if (fd < 0)
        return (int)fd;
    err = (int)sys2(SYS_ftruncate, fd, (long)have);
    if (err == 0 && have > 0) {
        at = sys6(SYS_mmap, 0, (long)have, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
        err = map_failed(at) ? (int)at : map_fill(&ofd->fh, (uint8_t *)at, have, offset);
        if (err == 0)
            map_overlay(&ofd->fh, (uint8_t *)at, have, offset);
        if (!map_failed(at))
            sys2(SYS_munmap, at, have);
    }
    if (err == 0 && !writable) {
        fd_path(path, (int)fd);
        again = sys3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
        if (again >= 0) {
            sys1(SYS_close, fd);
            fd = again;
        }
    }
    if (err != 0) {
        sys1(SYS_close, fd);
        return err;
    }
    return (int)fd;
}

static long map_private(const long a[6], struct ofd *ofd)
{
    int fd = map_copy(ofd, (uint64_t)a[5], (size_t)a[1], (a[3] & MAP_TYPE) == MAP_PRIVATE);
    long at;

    if (fd < 0)
        return fd;
    at = sys6(SYS_mmap, a[0], a[1], a[2], a[2] & PROT_WRITE ? a[3] : a[3] | MAP_POPULATE, fd, 0);
    sys1(SYS_close, fd);
    return at;
}

/* Out of the way of the program's numbers. */
static int map_fd_up(int fd)
{
    long high = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, MAP_FD_LOW);

    if (high < 0)
        return fd;
    sys1(SYS_close, fd);
    return (int)high;
}

static void map_name(char *to, const struct nfs_fh *fh)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t h[2] = {0xcbf29ce484222325u, 0x84222325cbf29ce4u};

    for (uint32_t i = 0; i < fh->size; i++) {
        h[0] = (h[0] ^ fh->data[i]) * 0x100000001b3u;
        h[1] = (h[1] + fh->data[i]) * 0x9e3779b97f4a7c15u ^ h[1] >> 29;
    }
    memcpy(to, shim.dir, shim.dir_len);
    memcpy(to + shim.dir_len, "/map-", 5);
    for (int i = 0; i < 32; i++)
        to[shim.dir_len + 5 + i] = digits[h[i / 16] >> (60 - i % 16 * 4) & 15];
    to[shim.dir_len + 37] = 0;
}

/* Makes the run's file reach to end (a page boundary), filled. */
static long map_extend(int fd, const struct nfs_fh *fh, uint64_t end)
{
    struct stat st;
    uint64_t from;
    long err = sys2(SYS_fstat, fd, &st), at;

    from = err == 0 ? (uint64_t)st.st_size : end;
    if (from >= end)
        return err;
    err = sys2(SYS_ftruncate, fd, (long)end);
    if (err != 0)
        return err;
    at = sys6(SYS_mmap, 0, (long)(end - from), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (long)from);
    if (map_failed(at))
        return at;
    err = map_fill(fh, (uint8_t *)at, end - from, from);
    sys2(SYS_munmap, at, end - from);
    return err;
}

/* The run's file for fh, filled at least up to end. */
static int map_store(struct ofd *ofd, uint64_t end)
{
    char name[320];
    long fd, err;

    map_name(name, &ofd->fh);
    fd = sys3(SYS_open, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return (int)fd;
    fd = map_fd_up((int)fd);
    err = sys2(SYS_flock, fd, LOCK_EX | LOCK_NB);
    if (err == 0)
        err = sys2(SYS_ftruncate, fd, 0); /* nobody maps it: what it holds is old */
    else
        err = 0;
    if (err == 0)
        err = map_extend((int)fd, &ofd->fh, (end + MAP_PAGE - 1) & ~(MAP_PAGE - 1));
    if (err == 0)
        err = sys2(SYS_flock, fd, LOCK_SH);
    if (err != 0) {
        sys1(SYS_close, fd);
        return (int)err;
    }
    return (int)fd;
}

static long map_shared(const long a[6], struct ofd *ofd)
{
    struct region *r = heap_zalloc(1, sizeof(*r));
    size_t size = ((size_t)a[1] + MAP_PAGE - 1) & ~(MAP_PAGE - 1);
    long at, shadow;
    int fd;

    if (r == NULL)
        return -ENOMEM;
    fd = map_store(ofd, (uint64_t)a[5] + size);
    if (fd < 0) {
        heap_free(r);
        return fd;
    }
    at = sys6(SYS_mmap, a[0], a[1], a[2], a[3], fd, a[5]);
    shadow = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map_failed(at) || map_failed(shadow)) {
        if (!map_failed(at))
            sys2(SYS_munmap, at, a[1]);
        sys1(SYS_close, fd);
        heap_free(r);
        return map_failed(at) ? at : shadow;
    }
    sys4(SYS_pread64, fd, shadow, size, a[5]);
    r->at = (uint8_t *)at;
    r->shadow = (uint8_t *)shadow;
    r->size = size;
    r->offset = (uint64_t)a[5];
    r->fh = ofd->fh;
    r->fd = fd;
    vlock_lock(&maps.lock);
    r->next = maps.first;
    maps.first = r;
    map_regions++;
    vlock_unlock(&maps.lock);
    return at;
}

long sc_mmap(const long a[6])
{
    struct ofd *ofd;
    int prot = (int)a[2], flags = (int)a[3], mode;

    if ((flags & MAP_FIXED) && map_regions)
        regions_cut((uint8_t *)a[0], (size_t)a[1]); /* what was there is gone */
    if ((flags & MAP_ANONYMOUS) || (ofd = ofd_get((int)a[4])) == NULL)
        return shim_pass(SYS_mmap, a);
    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_REG)
        return -ENODEV;
    if (a[1] == 0 || (a[5] & (long)(MAP_PAGE - 1)) || (flags & MAP_TYPE) == 0)
        return -EINVAL;
    mode = (int)(ofd->flags & O_ACCMODE);
    if (mode == O_WRONLY)
        return -EACCES;
    if ((flags & MAP_TYPE) == MAP_PRIVATE || mode == O_RDONLY) {
        if ((flags & MAP_TYPE) != MAP_PRIVATE && (prot & PROT_WRITE))
            return -EACCES;
        return map_private(a, ofd);
    }
    return map_shared(a, ofd);
}

/* Writes back the pages of a region that differ from the shadow, in runs. */
static long region_sync(struct region *r)
{
    struct nfs_attr attr;
    size_t limit = r->size;
    long err = 0, done;

    if (nfs_getattr(shim.client, &r->fh, &attr) != 0)
        return -EIO;
    if (attr.size <= r->offset)
        return 0;
    if (limit > attr.size - r->offset)
        limit = attr.size - r->offset; /* a mapping does not make the file longer */
    for (size_t at = 0; at < limit;) {
        size_t run = at;

        while (run < limit && run - at < (1u << 20)) {
            size_t part = limit - run < MAP_PAGE ? limit - run : MAP_PAGE;

            if (memcmp(r->at + run, r->shadow + run, part) == 0)
                break;
            memcpy(r->shadow + run, r->at + run, part);
            run += part;
        }
        if (run > at) {
            done = nfs_write(shim.client, &r->fh, r->shadow + at, run - at, r->offset + at, true, NULL);
            if (done < (long)(run - at) && err == 0)
                err = done < 0 ? done : -EIO;
            file_changed(&r->fh);
            at = run;
        } else {
            at += MAP_PAGE;
        }
    }
    return err;
}

long map_sync_all(void)
{
    long err = 0, one;

    vlock_lock(&maps.lock);
    for (struct region *r = maps.first; r != NULL; r = r->next) {
        one = region_sync(r);
        if (one != 0 && err == 0)
            err = one;
    }
    vlock_unlock(&maps.lock);
    return err;
}

void map_file_closing(const struct nfs_fh *fh)
{
    if (maps.first == NULL)
        return;
    vlock_lock(&maps.lock);
    for (struct region *r = maps.first; r != NULL; r = r->next)
        if (nfs_fh_same(&r->fh, fh))
            region_sync(r);
    vlock_unlock(&maps.lock);
}

long sc_msync(const long a[6])
{
    uint8_t *from = (uint8_t *)a[0], *to = from + a[1];
    long err = 0, one;
    bool any = false;

    vlock_lock(&maps.lock);
    for (struct region *r = maps.first; r != NULL; r = r->next) {
        if (r->at >= to || r->at + r->size <= from)
            continue;
        any = true;
        one = region_sync(r);
        if (one != 0 && err == 0)
            err = one;
    }
    vlock_unlock(&maps.lock);
    return any && err != 0 ? err : shim_pass(SYS_msync, a);
}

static void region_free(struct region *r)
{
    sys2(SYS_munmap, r->shadow, r->size);
    sys1(SYS_close, r->fd);
    heap_free(r);
}

/* What lies behind a hole becomes a region of its own. */
static struct region *region_split(struct region *r, uint8_t *at)
{
    struct region *tail = heap_zalloc(1, sizeof(*tail));
    size_t cut = (size_t)(at - r->at);
    long fd, shadow;

    if (tail == NULL)
        return NULL;
    fd = sys3(SYS_fcntl, r->fd, F_DUPFD_CLOEXEC, MAP_FD_LOW);
    shadow = sys6(SYS_mmap, 0, (long)(r->size - cut), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || map_failed(shadow)) {
        if (fd >= 0)
            sys1(SYS_close, fd);
        if (!map_failed(shadow))
            sys2(SYS_munmap, shadow, r->size - cut);
        heap_free(tail);
        return NULL;
    }
    *tail = *r;
    tail->at = at;
    tail->size = r->size - cut;
    tail->offset = r->offset + cut;
    tail->shadow = (uint8_t *)shadow;
    tail->fd = (int)fd;
    memcpy(tail->shadow, r->shadow + cut, tail->size);
    r->next = tail;
    map_regions++;
    return tail;
}

/* Takes memory out of the regions: a region that goes in part stays as what is left at either end. */
static void regions_cut(uint8_t *from, size_t size)
{
    uint8_t *to = from + ((size + MAP_PAGE - 1) & ~(MAP_PAGE - 1));

    vlock_lock(&maps.lock);
    for (struct region **at = &maps.first, *r; (r = *at) != NULL;) {
        if (r->at >= to || r->at + r->size <= from) {
            at = &r->next;
            continue;
        }
        region_sync(r);
        if (from <= r->at && to >= r->at + r->size) {
            *at = r->next;
            map_regions--;
            region_free(r);
            continue;
        }
        if (from > r->at) {
            if (to < r->at + r->size && region_split(r, to) == NULL)
                shim_say("no memory to keep track of a split mapping: what is written behind the hole is lost");
            r->size = (size_t)(from - r->at);
        } else {
            size_t cut = (size_t)(to - r->at);

            memmove(r->shadow, r->shadow + cut, r->size - cut);
            r->at += cut;
            r->offset += cut;
            r->size -= cut;
        }
        at = &r->next;
    }
    vlock_unlock(&maps.lock);
}

long sc_munmap(const long a[6])
{
    regions_cut((uint8_t *)a[0], (size_t)a[1]);
    return shim_pass(SYS_munmap, a);
}

/* The whole of a region becomes longer, shorter or moves. */
static long region_remap(struct region *r, const long a[6])
{
    size_t size = ((size_t)a[2] + MAP_PAGE - 1) & ~(MAP_PAGE - 1), keep = size < r->size ? size : r->size;
    long err = region_sync(r), shadow, at;

    if (err == 0 && size > r->size)
        err = map_extend(r->fd, &r->fh, r->offset + size);
    if (err != 0)
        return err;
    shadow = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map_failed(shadow))
        return shadow;
    at = sys5(SYS_mremap, a[0], a[1], a[2], a[3], a[4]);
    if (map_failed(at)) {
        sys2(SYS_munmap, shadow, size);
        return at;
    }
    memcpy((uint8_t *)shadow, r->shadow, keep);
    if (size > keep)
        sys4(SYS_pread64, r->fd, shadow + (long)keep, size - keep, (long)(r->offset + keep));
    sys2(SYS_munmap, r->shadow, r->size);
    r->at = (uint8_t *)at;
    r->shadow = (uint8_t *)shadow;
    r->size = size;
    return at;
}

long sc_mremap(const long a[6])
{
    uint8_t *from = (uint8_t *)a[0];
    size_t size = ((size_t)a[1] + MAP_PAGE - 1) & ~(MAP_PAGE - 1);
    long ret = 1;

    vlock_lock(&maps.lock);
    for (struct region *r = maps.first; r != NULL && ret == 1; r = r->next) {
        if (from == r->at && size == r->size && a[2] != 0) {
            ret = region_remap(r, a);
        } else if (from < r->at + r->size && from + size > r->at) {
            shim_say("mremap of a part of a shared mapping of a volume file is not served");
            ret = -ENOMEM;
        }
    }
    vlock_unlock(&maps.lock);
    return ret == 1 ? shim_pass(SYS_mremap, a) : ret;
}
