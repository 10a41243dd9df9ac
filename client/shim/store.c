/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a mapped volume file. */
#include "client/shim/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "client/nfs/rpc.h"

#define STORE_PAGE 4096ul
#define STORE_GRAIN (2ul << 20)
#define STORE_DEPTH 12         /* reads of RPC_MAX_IO under way */
#define STORE_BACK (8ul << 20) /* written back at once */
#define STORE_MAGIC 0x766d6170u
#define INFO_BITS (64u << 10) /* bytes per map of granules: files up to 1 TiB */
#define INFO_HASHES (4096 + 2 * INFO_BITS)

struct info {
    uint32_t magic;
    int32_t writers; /* processes with writable mappings */
    struct rlock lock;
    uint64_t size, change;
};

struct store {
    struct store *next;
    int refs;
    int fd, info_fd;
    struct nfs_fh fh;
    struct info *info;
    uint8_t *filled, *hashed;
    uint64_t *hashes;
    uint8_t *bytes;    /* all of the file, mapped for us */
    uint64_t capacity; /* how much bytes and hashes cover */
    bool writable;     /* counted among the writers */
    bool forked;
};

static struct store *stores; /* under the caller's lock */

static bool store_failed(long at)
{
    return at < 0 && at > -4096;
}

static bool bit_get(const uint8_t *map, uint64_t i)
{
    return map[i / 8] >> (i % 8) & 1;
}

static void bit_set(uint8_t *map, uint64_t i)
{
    __atomic_fetch_or(&map[i / 8], (uint8_t)(1u << (i % 8)), __ATOMIC_RELEASE);
}

static void bit_clear(uint8_t *map, uint64_t i)
{
    __atomic_fetch_and(&map[i / 8], (uint8_t) ~(1u << (i % 8)), __ATOMIC_RELEASE);
}

/* Not against anybody: two versions of one page must differ, by chance, but for one in 2^64. */
static uint64_t page_hash(const void *page)
{
    uint64_t lane[4] = {0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u, 0x27d4eb2f165667c5u};
    uint64_t hash = 0;

    for (size_t i = 0; i < STORE_PAGE; i += sizeof(lane)) {
        uint64_t word[4];

        memcpy(word, (const uint8_t *)page + i, sizeof(word));
        for (int k = 0; k < 4; k++) {
            lane[k] = (lane[k] ^ word[k]) * 0x9fb21c651e98df25u;
            lane[k] ^= lane[k] >> 29;
        }
    }
    for (int k = 0; k < 4; k++) {
        hash = (hash ^ lane[k]) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

static void store_name(char *to, const struct nfs_fh *fh)
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

static long store_open(const char *name)
{
    long fd = sys3(SYS_open, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600), high;

    if (fd < 0)
        return fd;
    high = sys3(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 128); /* out of the way of programs that count on low numbers */
    if (high >= 0) {
        sys1(SYS_close, fd);
        fd = high;
    }
    return fd;
}

static void store_unmap(struct store *s)
{
    if (s->bytes != NULL)
        sys2(SYS_munmap, s->bytes, s->capacity);
    if (s->info != NULL)
        sys2(SYS_munmap, s->info, INFO_HASHES + s->capacity / STORE_PAGE * 8);
    s->bytes = NULL;
    s->info = NULL;
}

/* Maps room for a file of size bytes. */
static int store_map(struct store *s, uint64_t size)
{
    uint64_t capacity = (size + STORE_GRAIN) & ~(STORE_GRAIN - 1);
    size_t info_size = INFO_HASHES + capacity / STORE_PAGE * 8;
    struct stat st;
    long at;

    if (capacity / STORE_GRAIN > INFO_BITS * 8ul)
        return -EFBIG;
    if (s->info != NULL && s->capacity >= capacity)
        return 0;
    store_unmap(s);
    if (sys2(SYS_fstat, s->info_fd, &st) != 0)
        return -EIO;
    if ((uint64_t)st.st_size < info_size && (at = sys2(SYS_ftruncate, s->info_fd, info_size)) != 0)
        return (int)at;
    s->capacity = capacity;
    at = sys6(SYS_mmap, 0, (long)info_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->info_fd, 0);
    if (store_failed(at))
        return (int)at;
    s->info = (struct info *)at;
    s->filled = (uint8_t *)at + 4096;
    s->hashed = s->filled + INFO_BITS;
    s->hashes = (uint64_t *)((uint8_t *)at + INFO_HASHES);
    at = sys6(SYS_mmap, 0, (long)capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, s->fd, 0);
    if (store_failed(at))
        return (int)at;
    s->bytes = (uint8_t *)at;
    return 0;
}

static void store_close(struct store *s)
{
    store_unmap(s);
    if (s->fd >= 0)
        sys1(SYS_close, s->fd);
    if (s->info_fd >= 0)
        sys1(SYS_close, s->info_fd);
    s->fd = s->info_fd = -1;
}

/* Alone: a new store. */
static int store_begin(struct store *s, const struct nfs_attr *attr)
{
    long err = sys2(SYS_ftruncate, s->info_fd, 0);

    if (err == 0)
        err = sys2(SYS_ftruncate, s->fd, 0);
    if (err == 0)
        err = sys2(SYS_ftruncate, s->fd, attr->size);
    if (err == 0)
        err = store_map(s, attr->size);
    if (err != 0)
        return (int)err;
    s->info->size = attr->size;
    s->info->change = attr->change;
    __atomic_store_n(&s->info->magic, STORE_MAGIC, __ATOMIC_RELEASE);
    return 0;
}

/* Opens the files and gets hold of them: alone, then new; or with others. */
static int store_hold(struct store *s, const struct nfs_attr *attr)
{
    char name[320];
    struct stat st;
    long err;

    for (int n = 0; n < 1000; n++) {
        store_name(name, &s->fh);
        s->fd = (int)store_open(name);
        if (s->fd < 0)
            return s->fd;
        memcpy(name + strlen(name), ".i", 3);
        s->info_fd = (int)store_open(name);
        if (s->info_fd < 0)
            return s->info_fd;
        if (sys2(SYS_flock, s->fd, LOCK_EX | LOCK_NB) == 0 && (err = store_begin(s, attr)) != 0)
            return (int)err;
        err = sys2(SYS_flock, s->fd, LOCK_SH);
        if (err == 0)
            err = sys2(SYS_fstat, s->fd, &st);
        if (err == 0)
            err = store_map(s, attr->size);
        if (err != 0)
            return (int)err;
        /* Before we had the lock, the last holder may have removed what we opened, or be the last no longer. */
        if (st.st_nlink > 0 && __atomic_load_n(&s->info->magic, __ATOMIC_ACQUIRE) == STORE_MAGIC)
            return 0;
        store_close(s);
    }
    return -EIO;
}

static void store_free(struct store *s, bool empty)
{
    struct store **at;

    for (at = &stores; *at != NULL && *at != s; at = &(*at)->next)
        ;
    if (*at == s)
        *at = s->next;
    if (empty && !s->forked && s->info != NULL && sys2(SYS_flock, s->fd, LOCK_EX | LOCK_NB) == 0) {
        char name[320];

        /* Only the names go: a thread that still looks at the memory may do so. */
        __atomic_store_n(&s->info->magic, 0, __ATOMIC_RELEASE);
        store_name(name, &s->fh);
        sys1(SYS_unlink, name);
        memcpy(name + strlen(name), ".i", 3);
        sys1(SYS_unlink, name);
    }
    rpc_fd_release(s->fd);
    rpc_fd_release(s->info_fd);
    store_close(s);
    heap_free(s);
}

static void store_size_locked(struct store *s, uint64_t size)
{
    uint64_t old = s->info->size, page;

    if (size == old || sys2(SYS_ftruncate, s->fd, size) != 0)
        return;
    s->info->size = size;
    if (store_map(s, size) != 0)
        return;
    if (size < old) {
        page = size / STORE_PAGE;
        if (size % STORE_PAGE != 0 && bit_get(s->hashed, size / STORE_GRAIN))
            s->hashes[page] = page_hash(s->bytes + page * STORE_PAGE);
        for (uint64_t g = (size + STORE_GRAIN - 1) / STORE_GRAIN; g * STORE_GRAIN < old; g++) {
            bit_clear(s->filled, g);
            bit_clear(s->hashed, g);
        }
        return;
    }
    /* Longer: zeros, here as at the server. The last page may have been written to beyond the old end. */
    for (page = old / STORE_PAGE; page * STORE_PAGE < size; page++) {
        uint64_t g = page * STORE_PAGE / STORE_GRAIN;

        if (!bit_get(s->filled, g) && page * STORE_PAGE >= old && page * STORE_PAGE % STORE_GRAIN == 0) {
            page += STORE_GRAIN / STORE_PAGE - 1; /* nothing known of this granule: read when it is mapped */
            continue;
        }
        if (bit_get(s->hashed, g))
            s->hashes[page] = page_hash(s->bytes + page * STORE_PAGE);
    }
}

/* Somebody else changed the file: what is here is read again, unless what is mapped may be newer. */
static int store_refresh_locked(struct store *s, const struct nfs_attr *attr)
{
    if (attr->change == s->info->change && attr->size == s->info->size)
        return 0;
    if (attr->size != s->info->size)
        store_size_locked(s, attr->size);
    if (attr->change != s->info->change && s->info->writers == 0) {
        for (uint64_t g = 0; g * STORE_GRAIN < attr->size; g++) {
            size_t size = attr->size - g * STORE_GRAIN < STORE_GRAIN ? attr->size - g * STORE_GRAIN : STORE_GRAIN;
            ssize_t n;

            if (!bit_get(s->filled, g))
                continue;
            bit_clear(s->hashed, g);
            n = nfs_read(shim.client, &s->fh, s->bytes + g * STORE_GRAIN, size, g * STORE_GRAIN, NULL);
            if (n < 0)
                return (int)n;
        }
    }
    s->info->change = attr->change;
    return 0;
}

int store_get(const struct nfs_fh *fh, const struct nfs_attr *attr, struct store **out)
{
    struct store *s;
    int err = 0;

    for (s = stores; s != NULL && !nfs_fh_same(&s->fh, fh); s = s->next)
        ;
    if (s == NULL) {
        s = heap_zalloc(1, sizeof(*s));
        if (s == NULL)
            return -ENOMEM;
        s->fh = *fh;
        s->fd = s->info_fd = -1;
        err = store_hold(s, attr);
        if (err != 0) {
            store_free(s, false);
            return err;
        }
        rpc_fd_keep(s->fd);
        rpc_fd_keep(s->info_fd);
        s->next = stores;
        stores = s;
    }
    s->refs++;
    rlock_lock(&s->info->lock);
    err = store_refresh_locked(s, attr);
    if (s->info != NULL)
        rlock_unlock(&s->info->lock);
    if (err == 0 && s->bytes == NULL)
        err = -ENOMEM;
    if (err != 0) {
        store_unref(s);
        return err;
    }
    *out = s;
    return 0;
}

void store_ref(struct store *s)
{
    s->refs++;
}

void store_unref(struct store *s)
{
    if (--s->refs > 0)
        return;
    if (s->writable) {
        store_sync(s, 0, UINT64_MAX);
        if (s->info != NULL)
            __atomic_sub_fetch(&s->info->writers, 1, __ATOMIC_ACQ_REL);
    }
    store_free(s, true);
}

int store_fd(const struct store *s)
{
    return s->fd;
}

const struct nfs_fh *store_fh(const struct store *s)
{
    return &s->fh;
}

static void store_hash_locked(struct store *s, uint64_t from, uint64_t to)
{
    for (uint64_t g = from / STORE_GRAIN; g * STORE_GRAIN < to; g++) {
        uint64_t end = (g + 1) * STORE_GRAIN < s->info->size ? (g + 1) * STORE_GRAIN : s->info->size;

        if (bit_get(s->hashed, g))
            continue;
        for (uint64_t at = g * STORE_GRAIN; at < end; at += STORE_PAGE)
            s->hashes[at / STORE_PAGE] = page_hash(s->bytes + at);
        bit_set(s->hashed, g);
    }
}

/* The pages are had before they are written to: where there is no room for them, that would be a SIGBUS. */
static int store_room(struct store *s, uint64_t at, size_t size)
{
    long err = sys3(SYS_madvise, s->bytes + at, size, 23 /* MADV_POPULATE_WRITE */);

    if (err == -EINVAL) /* before Linux 5.14 */
        err = sys4(SYS_fallocate, s->fd, 1 /* FALLOC_FL_KEEP_SIZE */, at, size);
    return err == -EFAULT ? -ENOSPC : err == -EOPNOTSUPP ? 0 : (int)err;
}

/* Reads from the server, many pieces under way; pages are made while the server is busy. */
static int store_load(struct store *s, uint64_t from, uint64_t to)
{
    struct nfs_ahead *calls[STORE_DEPTH];
    uint64_t sent = from, done = from;
    int err = 0;

    while (done < to) {
        size_t want = to - done < RPC_MAX_IO ? (size_t)(to - done) : RPC_MAX_IO;
        ssize_t n;

        while (err == 0 && sent < to && sent - done < (uint64_t)STORE_DEPTH * RPC_MAX_IO) {
            size_t size = to - sent < RPC_MAX_IO ? (size_t)(to - sent) : RPC_MAX_IO;
            unsigned i = (unsigned)(sent / RPC_MAX_IO);

            err = store_room(s, sent, size);
            if (err != 0)
                break;
            calls[i % STORE_DEPTH] =
                nfs_read_start(shim.client, &s->fh, s->bytes + sent, size, sent, (int)(i & 0xffff));
            if (calls[i % STORE_DEPTH] == NULL)
                err = -ENOMEM;
            else
                sent += size;
        }
        if (done >= sent)
            break;
        n = nfs_read_finish(shim.client, calls[done / RPC_MAX_IO % STORE_DEPTH]);
        if (n >= 0 && (size_t)n < want) /* the rest, unless the file ends here by now */
            n = nfs_read(shim.client, &s->fh, s->bytes + done + n, want - (size_t)n, done + (uint64_t)n, NULL);
        if (n < 0 && err == 0)
            err = (int)n;
        done += want;
    }
    return err;
}

int store_fill(struct store *s, uint64_t from, uint64_t to, bool writable)
{
    uint64_t size;
    int err = 0;

    if (s->bytes == NULL)
        return -EIO;
    rlock_lock(&s->info->lock);
    size = s->info->size;
    if (to > size)
        to = size;
    for (uint64_t at = from & ~(STORE_GRAIN - 1); at < to && err == 0;) {
        uint64_t end = at;

        if (bit_get(s->filled, at / STORE_GRAIN)) {
            at += STORE_GRAIN;
            continue;
        }
        while (end < to && !bit_get(s->filled, end / STORE_GRAIN))
            end += STORE_GRAIN;
        if (end > size)
            end = size;
        err = store_load(s, at, end);
        if (err != 0)
            break;
        for (uint64_t g = at / STORE_GRAIN; g * STORE_GRAIN < end; g++)
            bit_set(s->filled, g);
        at = (end + STORE_GRAIN - 1) & ~(STORE_GRAIN - 1);
    }
    if (err == 0 && writable) {
        if (!s->writable) {
            s->writable = true;
            s->info->writers++;
        }
        store_hash_locked(s, from, to);
    }
    rlock_unlock(&s->info->lock);
    return err;
}

bool store_filled(const struct store *s, uint64_t from, uint64_t to)
{
    if (s->bytes == NULL)
        return false;
    for (uint64_t g = from / STORE_GRAIN; g * STORE_GRAIN < to && g * STORE_GRAIN < s->info->size; g++)
        if (bit_get(s->filled, g))
            return true;
    return false;
}

bool store_spare(const struct store *s, uint64_t from, uint64_t to)
{
    struct statfs fs;
    uint64_t size = 0;

    if (s->bytes == NULL || sys2(SYS_fstatfs, s->fd, &fs) != 0)
        return false;
    for (uint64_t g = from / STORE_GRAIN; g * STORE_GRAIN < to && g * STORE_GRAIN < s->info->size; g++)
        size += bit_get(s->filled, g) ? 0 : STORE_GRAIN;
    if (size == 0)
        return true;
    return fs.f_blocks == 0 || (uint64_t)fs.f_bavail > fs.f_blocks / 4 + size / (uint64_t)fs.f_bsize; /* 0: no limit */
}

bool store_written(const struct store *s)
{
    return s->info != NULL && s->info->writers > 0;
}

/* Writes back one stretch of changed pages from `at` on; returns where it ends. */
static uint64_t store_back_locked(struct store *s, uint8_t *copy, uint64_t at, uint64_t to, int *err)
{
    uint64_t end = at, limit;
    struct nfs_attr attr;
    ssize_t n;

    for (; end < to && end - at < STORE_BACK && bit_get(s->hashed, end / STORE_GRAIN); end += STORE_PAGE) {
        uint64_t hash;

        memcpy(copy + (end - at), s->bytes + end, STORE_PAGE); /* it may change under our eyes */
        hash = page_hash(copy + (end - at));
        if (hash == s->hashes[end / STORE_PAGE])
            break;
        s->hashes[end / STORE_PAGE] = hash;
    }
    if (end == at)
        return at + STORE_PAGE;
    *err = nfs_getattr(shim.client, &s->fh, &attr);
    limit = end < s->info->size ? end : s->info->size;
    if (*err == 0 && limit > attr.size)
        limit = attr.size; /* a mapping does not make the file longer */
    if (*err == 0 && limit > at) {
        n = nfs_write(shim.client, &s->fh, copy, limit - at, at, true, NULL);
        *err = n < 0 ? (int)n : n < (ssize_t)(limit - at) ? -EIO : 0;
        file_changed(&s->fh);
    }
    if (*err != 0)
        for (uint64_t p = at; p < end; p += STORE_PAGE)
            s->hashes[p / STORE_PAGE] ^= 1; /* still to be written */
    return end;
}

int store_sync(struct store *s, uint64_t from, uint64_t to)
{
    uint8_t *copy;
    bool any = false;
    int ret = 0;

    if (s->bytes == NULL || !s->writable)
        return 0;
    copy = heap_alloc(STORE_BACK);
    if (copy == NULL)
        return -ENOMEM;
    rlock_lock(&s->info->lock);
    from &= ~(STORE_PAGE - 1);
    if (to > s->info->size)
        to = s->info->size;
    while (from < to) {
        int err = 0;

        if (!bit_get(s->hashed, from / STORE_GRAIN)) {
            from = (from / STORE_GRAIN + 1) * STORE_GRAIN;
            continue;
        }
        if (page_hash(s->bytes + from) == s->hashes[from / STORE_PAGE]) {
            from += STORE_PAGE;
            continue;
        }
        any = true;
        from = store_back_locked(s, copy, from, to, &err);
        if (err != 0 && ret == 0)
            ret = err;
    }
    if (any) {
        struct nfs_attr attr;

        if (nfs_getattr(shim.client, &s->fh, &attr) == 0)
            s->info->change = attr.change;
    }
    rlock_unlock(&s->info->lock);
    heap_free(copy);
    return ret;
}

void store_read(struct store *s, uint8_t *to, size_t size, uint64_t offset)
{
    while (s->bytes != NULL && size > 0 && offset < s->info->size) {
        uint64_t end = (offset / STORE_GRAIN + 1) * STORE_GRAIN;
        size_t part;

        if (end > s->info->size)
            end = s->info->size;
        part = end - offset < size ? (size_t)(end - offset) : size;
        if (bit_get(s->filled, offset / STORE_GRAIN))
            memcpy(to, s->bytes + offset, part);
        to += part;
        offset += part;
        size -= part;
    }
}

void store_write(struct store *s, const void *from, size_t size, uint64_t offset)
{
    const uint8_t *data = from;

    if (s->bytes == NULL)
        return;
    rlock_lock(&s->info->lock);
    if (offset + size > s->info->size)
        store_size_locked(s, offset + size);
    while (size > 0 && s->bytes != NULL && offset + size <= s->info->size) {
        uint64_t page = offset / STORE_PAGE, g = offset / STORE_GRAIN;
        size_t part = STORE_PAGE - offset % STORE_PAGE;
        bool clean;

        if (part > size)
            part = size;
        if (bit_get(s->filled, g)) {
            clean = bit_get(s->hashed, g) && s->hashes[page] == page_hash(s->bytes + page * STORE_PAGE);
            memcpy(s->bytes + offset, data, part);
            if (clean)
                s->hashes[page] = page_hash(s->bytes + page * STORE_PAGE);
        }
        data += part;
        offset += part;
        size -= part;
    }
    if (s->info != NULL)
        rlock_unlock(&s->info->lock);
}

void store_resize(struct store *s, uint64_t size)
{
    if (s->bytes == NULL)
        return;
    rlock_lock(&s->info->lock);
    store_size_locked(s, size);
    if (s->info != NULL)
        rlock_unlock(&s->info->lock);
}

void store_forked(struct store *s)
{
    s->forked = true;
}
