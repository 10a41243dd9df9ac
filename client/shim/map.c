/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmap of volume files.
 *
 * A private mapping (and a shared one that can't be written) is anonymous memory filled with parallel reads. A
 * writable shared mapping is a file in the run directory that all processes of the run map, filled by the first
 * (who holds its flock alone) and compared with a copy to find what to write back at msync, munmap, fsync and exit.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>

#include "client/shim/shim.h"

#define MAP_PAGE 4096ul

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

static long map_private(const long a[6], struct ofd *ofd)
{
    long flags = (a[3] & ~(long)(MAP_SHARED | MAP_PRIVATE | MAP_SHARED_VALIDATE)) | MAP_PRIVATE | MAP_ANONYMOUS;
    size_t size = (size_t)a[1];
    long at = sys6(SYS_mmap, a[0], a[1], PROT_READ | PROT_WRITE, flags, -1, 0);
    struct nfs_attr attr;
    int err;

    if (map_failed(at))
        return at;
    err = file_attr(ofd, &attr, true);
    if (err == 0 && (uint64_t)a[5] < attr.size) {
        if (size > attr.size - (uint64_t)a[5])
            size = attr.size - (uint64_t)a[5];
        err = map_fill(&ofd->fh, (uint8_t *)at, size, (uint64_t)a[5]);
    }
    if (err == 0 && (int)a[2] != (PROT_READ | PROT_WRITE))
        err = (int)sys3(SYS_mprotect, at, a[1], a[2]);
    if (err != 0) {
        sys2(SYS_munmap, at, a[1]);
        return err;
    }
    return at;
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

/* The run's file for fh, filled at least up to end. */
static int map_store(struct ofd *ofd, uint64_t end)
{
    char name[320];
    struct stat st;
    uint8_t *part;
    long fd, err;
    uint64_t from;

    map_name(name, &ofd->fh);
    fd = sys3(SYS_open, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return (int)fd;
    end = (end + MAP_PAGE - 1) & ~(MAP_PAGE - 1);
    err = sys2(SYS_flock, fd, LOCK_EX | LOCK_NB);
    if (err == 0)
        err = sys2(SYS_ftruncate, fd, 0); /* nobody maps it: what it holds is old */
    else
        err = 0;
    if (err == 0)
        err = sys2(SYS_fstat, fd, &st);
    from = err == 0 ? (uint64_t)st.st_size : 0;
    if (err == 0 && from < end)
        err = sys2(SYS_ftruncate, fd, (long)end);
    if (err == 0 && from < end) {
        long at = sys6(SYS_mmap, 0, (long)(end - from), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (long)from);

        part = (uint8_t *)at;
        err = map_failed(at) ? at : map_fill(&ofd->fh, part, end - from, from);
        if (!map_failed(at))
            sys2(SYS_munmap, part, end - from);
    }
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

    if ((flags & MAP_ANONYMOUS) || (ofd = ofd_get((int)a[4])) == NULL)
        return shim_pass(SYS_mmap, a);
    if (ofd->flags & O_PATH)
        return -EBADF;
    if (ofd->type != NFS_REG)
        return -ENODEV;
    if (a[1] == 0 || (a[5] & (long)(MAP_PAGE - 1)))
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
    return any ? err : shim_pass(SYS_msync, a);
}

static void region_free(struct region *r)
{
    sys2(SYS_munmap, r->shadow, r->size);
    sys1(SYS_close, r->fd);
    heap_free(r);
}

/* A region that is unmapped in part stays on the list as what is left of it at either end. */
long sc_munmap(const long a[6])
{
    uint8_t *from = (uint8_t *)a[0], *to = from + (((size_t)a[1] + MAP_PAGE - 1) & ~(MAP_PAGE - 1));

    if (maps.first == NULL)
        return shim_pass(SYS_munmap, a);
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
        if (from > r->at) /* the tail goes (and what lies behind a hole is synced by the next msync no more) */
            r->size = (size_t)(from - r->at);
        else {
            size_t cut = (size_t)(to - r->at);

            memmove(r->shadow, r->shadow + cut, r->size - cut);
            r->at += cut;
            r->offset += cut;
            r->size -= cut;
        }
        at = &r->next;
    }
    vlock_unlock(&maps.lock);
    return shim_pass(SYS_munmap, a);
}

long sc_mremap(const long a[6])
{
    uint8_t *from = (uint8_t *)a[0];

    for (struct region *r = maps.first; r != NULL; r = r->next)
        if (from < r->at + r->size && from + a[1] > r->at) {
            shim_say("mremap of a shared mapping of a volume file is not served");
            return -ENOMEM;
        }
    return shim_pass(SYS_mremap, a);
}
