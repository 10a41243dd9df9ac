/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of a mapped volume file: read from the server, written back to it. */
#include "client/shim/store_int.h"

#include <errno.h>
#include <string.h>
#include <sys/vfs.h>

#include "client/nfs/rpc.h"

#define STORE_DEPTH 12         /* reads of RPC_MAX_IO under way */
#define STORE_BACK (8ul << 20) /* written back at once */
#define STORE_CROSS_MS 30000   /* what took longer crosses nothing */

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

/* May bytes at..at+size, of granules that are there, be looked at or written to? Where the file was cut, a look makes pages,
 * and where there is no room for them it would be a SIGBUS. */
static bool store_there(struct store *s, uint64_t at, size_t size, bool write)
{
    size += at % STORE_PAGE;
    at -= at % STORE_PAGE;
    return !s->info->holes ||
           sys3(SYS_madvise, s->bytes + at, size, write ? 23 : 22 /* MADV_POPULATE_WRITE, MADV_POPULATE_READ */) != -EFAULT;
}

/* As page_hash of a page of zeros, without looking at one: a look makes the store's file larger. */
static uint64_t zero_hash(void)
{
    static const uint8_t zeros[STORE_PAGE];
    static uint64_t hash;

    if (hash == 0)
        hash = page_hash(zeros);
    return hash;
}

/* The file ends at `at`, or did, and what lies behind it in its page is zeros, here as at the server. What was written before
 * it and is not at the server stays to be found. */
static void store_end_locked(struct store *s, uint64_t at)
{
    uint64_t page = at / STORE_PAGE, start = page * STORE_PAGE;
    uint8_t copy[STORE_PAGE];
    bool clean;

    if (at == start || !bit_get(s->hashed, at / STORE_GRAIN) || !store_there(s, start, STORE_PAGE, true))
        return;
    memcpy(copy, s->bytes + start, STORE_PAGE); /* it may change under our eyes */
    clean = page_hash(copy) == s->hashes[page];
    memset(copy + (at - start), 0, STORE_PAGE - (at - start));
    memset(s->bytes + at, 0, STORE_PAGE - (at - start));
    s->hashes[page] = page_hash(copy) ^ !clean;
}

/* What is cut off and comes again is zeros, here as at the server. Granules that are there stay: somebody may have them
 * mapped, and write to them when the file is longer again. */
static void store_size_locked(struct store *s, uint64_t size)
{
    uint64_t old = s->info->size;

    if (size == old || store_map(s, size > old ? size : old) != 0)
        return;
    store_end_locked(s, size < old ? size : old);
    if (sys2(SYS_ftruncate, s->fd, size) != 0)
        return;
    s->info->size = size;
    if (size < old)
        s->info->holes = 1;
    for (uint64_t page = (old + STORE_PAGE - 1) / STORE_PAGE; page * STORE_PAGE < size; page++) {
        uint64_t g = page * STORE_PAGE / STORE_GRAIN;

        if (bit_get(s->hashed, g))
            s->hashes[page] = zero_hash();
        else
            page = (g + 1) * (STORE_GRAIN / STORE_PAGE) - 1; /* nothing known of this granule */
    }
}

/* Longer than we knew: not by zeros, it may be. What is left of before a cut is read again, unless somebody may write
 * to it. */
static void store_grown_locked(struct store *s, uint64_t size)
{
    uint64_t old = s->info->size;

    if (store_map(s, size) != 0)
        return;
    for (uint64_t g = (old + STORE_GRAIN - 1) / STORE_GRAIN; g * STORE_GRAIN < size; g++)
        if (!bit_get(s->hashed, g))
            bit_clear(s->filled, g);
    store_size_locked(s, size);
}

int store_refresh_locked(struct store *s, const struct nfs_attr *attr)
{
    int err = store_map(s, s->info->size);

    if (err != 0)
        return err;
    if (attr->change == s->info->change && attr->size == s->info->size)
        return 0;
    if (attr->size > s->info->size)
        store_grown_locked(s, attr->size);
    else if (attr->size < s->info->size)
        store_size_locked(s, attr->size);
    if (attr->change != s->info->change && s->info->writers == 0) {
        for (uint64_t g = 0; g * STORE_GRAIN < attr->size; g++) {
            size_t size = attr->size - g * STORE_GRAIN < STORE_GRAIN ? attr->size - g * STORE_GRAIN : STORE_GRAIN;
            ssize_t n;

            if (!bit_get(s->filled, g))
                continue;
            bit_clear(s->hashed, g);
            if (!store_there(s, g * STORE_GRAIN, size, true)) {
                bit_clear(s->filled, g);
                continue;
            }
            n = nfs_read_whole(shim.client, &s->fh, s->bytes + g * STORE_GRAIN, size, g * STORE_GRAIN);
            if (n < 0)
                return (int)n;
        }
    }
    s->info->change = attr->change;
    return 0;
}

/* 0 or -ENOSPC: there is no room for the hashes, a page of them for a granule. */
static int store_hash_locked(struct store *s, uint64_t from, uint64_t to)
{
    for (uint64_t g = from / STORE_GRAIN; g * STORE_GRAIN < to; g++) {
        uint64_t end = (g + 1) * STORE_GRAIN < s->info->size ? (g + 1) * STORE_GRAIN : s->info->size;

        if (bit_get(s->hashed, g))
            continue;
        if (sys3(SYS_madvise, &s->hashes[g * (STORE_GRAIN / STORE_PAGE)], STORE_PAGE, 23 /* MADV_POPULATE_WRITE */) == -EFAULT)
            return -ENOSPC;
        for (uint64_t at = g * STORE_GRAIN; at < end; at += STORE_PAGE)
            s->hashes[at / STORE_PAGE] = page_hash(s->bytes + at);
        bit_set(s->hashed, g);
    }
    return 0;
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
            n = nfs_read_whole(shim.client, &s->fh, s->bytes + done + n, want - (size_t)n, done + (uint64_t)n);
        if (n < 0 && err == 0)
            err = (int)n;
        done += want;
    }
    return err;
}

int store_fill(struct store *s, uint64_t from, uint64_t to, bool writable)
{
    uint64_t size;
    int err;

    if (s->bytes == NULL)
        return -EIO;
    rlock_lock(&s->info->lock);
    size = s->info->size;
    err = store_map(s, size);
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
        if (err != 0) { /* what it took of the room goes back */
            sys4(SYS_fallocate, s->fd, 3 /* FALLOC_FL_PUNCH_HOLE, KEEP_SIZE */, at,
                 ((end + STORE_PAGE - 1) & ~(STORE_PAGE - 1)) - at);
            break;
        }
        for (uint64_t g = at / STORE_GRAIN; g * STORE_GRAIN < end; g++)
            bit_set(s->filled, g);
        at = (end + STORE_GRAIN - 1) & ~(STORE_GRAIN - 1);
    }
    if (err == 0 && writable) {
        if (!s->writable) {
            s->writable = true;
            __atomic_add_fetch(&s->info->writers, 1, __ATOMIC_ACQ_REL);
            __atomic_add_fetch(&shim.run->writers, 1, __ATOMIC_ACQ_REL);
        }
        err = store_hash_locked(s, from, to);
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

bool store_spare(const struct store *s, uint64_t from, uint64_t to, unsigned parts)
{
    struct statfs fs;
    uint64_t size = 0;

    if (s->bytes == NULL)
        return false;
    for (uint64_t g = from / STORE_GRAIN; g * STORE_GRAIN < to && g * STORE_GRAIN < s->info->size; g++)
        size += bit_get(s->filled, g) ? 0 : STORE_GRAIN;
    if (size == 0)
        return true;
    for (int i = 0; i < 2; i++) {
        if (sys2(SYS_fstatfs, s->fd, &fs) != 0)
            return false;
        if (fs.f_blocks == 0 || (uint64_t)fs.f_bavail > fs.f_blocks / parts + size / (uint64_t)fs.f_bsize) /* 0: no limit */
            return true;
        if (i == 0)
            store_sweep();
    }
    return false;
}

uint64_t store_size(const struct store *s)
{
    return s->bytes != NULL ? s->info->size : 0;
}

void store_grown(struct store *s, uint64_t size)
{
    if (s->bytes == NULL)
        return;
    rlock_lock(&s->info->lock);
    if (size > s->info->size)
        store_grown_locked(s, size);
    rlock_unlock(&s->info->lock);
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

    for (; end < to && end - at < STORE_BACK && bit_get(s->hashed, end / STORE_GRAIN); end += STORE_PAGE) {
        uint64_t hash;

        if (!store_there(s, end, STORE_PAGE, false))
            break;
        memcpy(copy + (end - at), s->bytes + end, STORE_PAGE); /* it may change under our eyes */
        hash = page_hash(copy + (end - at));
        if (hash == s->hashes[end / STORE_PAGE])
            break;
        s->hashes[end / STORE_PAGE] = hash ^ 1; /* still to be written, should we end here */
    }
    if (end == at)
        return at + STORE_PAGE;
    *err = nfs_getattr(shim.client, &s->fh, &attr);
    limit = end < s->info->size ? end : s->info->size;
    if (*err == 0 && limit > attr.size)
        limit = attr.size; /* a mapping does not make the file longer */
    if (*err == 0 && limit > at) {
        s->info->back_ms = sys_now_ms();
        *err = nfs_write(shim.client, &s->fh, copy, limit - at, at, true, NULL);
        s->info->back_ms = sys_now_ms();
        file_changed(&s->fh);
    }
    for (uint64_t p = at; p < end && *err == 0; p += STORE_PAGE)
        s->hashes[p / STORE_PAGE] ^= 1;
    return end;
}

int store_sync(struct store *s, uint64_t from, uint64_t to)
{
    uint8_t *copy;
    bool any = false;
    int ret;

    if (s->bytes == NULL || !s->writable)
        return 0;
    copy = heap_alloc(STORE_BACK);
    if (copy == NULL)
        return -ENOMEM;
    rlock_lock(&s->info->lock);
    from &= ~(STORE_PAGE - 1);
    if (to > s->info->size)
        to = s->info->size;
    ret = store_map(s, s->info->size);
    if (ret != 0)
        to = 0;
    while (from < to) {
        int err = 0;

        if (!bit_get(s->hashed, from / STORE_GRAIN)) {
            from = (from / STORE_GRAIN + 1) * STORE_GRAIN;
            continue;
        }
        if (!store_there(s, from, STORE_PAGE, false) || page_hash(s->bytes + from) == s->hashes[from / STORE_PAGE]) {
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
    uint64_t limit;

    if (s->bytes == NULL)
        return;
    if (s->info->size >= s->capacity) {
        rlock_lock(&s->info->lock);
        store_map(s, s->info->size);
        rlock_unlock(&s->info->lock);
    }
    limit = s->info->size < s->capacity ? s->info->size : s->capacity;
    while (size > 0 && offset < limit) {
        uint64_t end = (offset / STORE_GRAIN + 1) * STORE_GRAIN;
        size_t part;

        if (end > limit)
            end = limit;
        part = end - offset < size ? (size_t)(end - offset) : size;
        if (bit_get(s->filled, offset / STORE_GRAIN) && store_there(s, offset, part, false))
            memcpy(to, s->bytes + offset, part);
        to += part;
        offset += part;
        size -= part;
    }
}

void store_write(struct store *s, const void *from, size_t size, uint64_t offset)
{
    const uint8_t *data = from;
    bool crossed;

    if (s->bytes == NULL)
        return;
    rlock_lock(&s->info->lock);
    /* A page that was written back while the write was on its way may have put the older bytes over it: once more. */
    crossed = s->info->back_ms != 0 && sys_now_ms() - s->info->back_ms < STORE_CROSS_MS;
    if (offset + size > s->info->size)
        store_size_locked(s, offset + size);
    else
        store_map(s, s->info->size);
    while (size > 0 && offset + size <= s->info->size && offset + size <= s->capacity) {
        uint64_t page = offset / STORE_PAGE, g = offset / STORE_GRAIN;
        size_t part = STORE_PAGE - offset % STORE_PAGE;
        uint8_t copy[STORE_PAGE];
        bool clean;

        if (part > size)
            part = size;
        if (bit_get(s->filled, g) && store_there(s, offset, part, true)) {
            memcpy(copy, s->bytes + page * STORE_PAGE, STORE_PAGE); /* it may change under our eyes */
            clean = bit_get(s->hashed, g) && s->hashes[page] == page_hash(copy);
            memcpy(copy + offset % STORE_PAGE, data, part);
            memcpy(s->bytes + offset, copy + offset % STORE_PAGE, part);
            if (clean)
                s->hashes[page] = page_hash(copy) ^ crossed;
        }
        data += part;
        offset += part;
        size -= part;
    }
    rlock_unlock(&s->info->lock);
}

void store_resize(struct store *s, uint64_t size)
{
    if (s->bytes == NULL)
        return;
    rlock_lock(&s->info->lock);
    store_size_locked(s, size);
    rlock_unlock(&s->info->lock);
}
