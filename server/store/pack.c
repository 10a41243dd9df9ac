/* SPDX-License-Identifier: Apache-2.0
 * pack: appends chunk records to packs, syncs and seals them, and deletes dead packs.
 *
 * P1 A record is never overwritten by another: a range is reserved under the lock and filled outside it; only a
 *    range whose write failed may be reserved again (unreserve_locked). The way to the file: pack_stage.c.
 * P2 A pack in which a write or a sync failed takes no more records (pack_retire).
 * P3 packset_sync returns 0 only if each record whose append returned 0 before is on the disk, with the
 *    directory entries that lead to it. After a failed fdatasync the kernel may have dropped the dirty
 *    pages and marked them clean, so a later success means nothing: the error sticks to the set.
 * P4 The directory and footer are written after the last append to a pack ended (packset_sync).
 */
#include "server/store/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/files.h"
#include "server/store/pack_impl.h"

#define HINT_BYTES (2u << 20) /* start write-out each time so much more was appended */

/* --- creating a pack --- */

int pack_write_all(int fd, const struct iovec *iov, int niov, uint64_t off)
{
    struct iovec v[3];
    int first = 0;

    memcpy(v, iov, sizeof(*iov) * (size_t)niov);
    while (first < niov) {
        ssize_t n = pwritev(fd, v + first, niov - first, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n ? -errno : -EIO;
        off += (uint64_t)n;
        while (first < niov && (size_t)n >= v[first].iov_len)
            n -= (ssize_t)v[first++].iov_len;
        if (first < niov) {
            v[first].iov_base = (char *)v[first].iov_base + n;
            v[first].iov_len -= (size_t)n;
        }
    }
    return 0;
}

static void pack_out_free(struct pack_out *p)
{
    if (!p)
        return;
    pack_stages_release(p);
    if (p->fd >= 0)
        close(p->fd);
    free(p->dir);
    free(p);
}

/* Makes the next pack's file and its header. */
static int pack_create_locked(struct packset *ps, struct pack_out **out)
{
    struct pack_out *p = calloc(1, sizeof(*p));
    char path[PACK_PATH_MAX], folder[3];
    uint8_t header[PACK_HEADER];
    int rc = fault_point("pack.create");

    if (!p)
        return -ENOMEM;
    p->fd = -1;
    list_init(&p->node);
    list_init(&p->stages);
    if (rc)
        goto out;
    do {
        if (ps->next == 0 || ps->next == UINT32_MAX) {
            rc = -ENOSPC; /* 2^32 packs of 64 MiB were used up */
            goto out;
        }
        p->pack = ps->next;
        pack_path(path, p->pack);
        memcpy(folder, path, 2);
        folder[2] = 0;
        if (mkdirat(ps->dirfd, folder, 0700) && errno != EEXIST) {
            rc = -errno;
            goto out;
        }
        p->fd = openat(ps->dirfd, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    } while (p->fd < 0 && errno == EEXIST && ++ps->next);
    if (p->fd < 0) {
        rc = -errno;
        goto out;
    }
    pack_put_file_header(header, p->pack);
    rc = pack_write_all(p->fd, &(struct iovec){header, sizeof(header)}, 1, 0);
    p->most = ps->size;
    p->step = ps->bulk ? ps->size : 0;
    if (!rc)
        rc = pack_stages_init(p, header, sizeof(header));
    if (rc) {
        unlinkat(ps->dirfd, path, 0);
        goto out;
    }
    p->tail = p->hinted = PACK_HEADER;
    ps->next++;
    ps->bytes += PACK_HEADER;
    *out = p;
    p = NULL;
out:
    pack_out_free(p);
    return rc;
}

/* --- appending --- */

struct pack_out *pack_out_find_locked(struct packset *ps, uint32_t pack)
{
    if (ps->cur && ps->cur->pack == pack)
        return ps->cur;
    list_for_each(it, &ps->retired) {
        struct pack_out *p = list_entry(it, struct pack_out, node);
        if (p->pack == pack)
            return p;
    }
    return NULL;
}

void pack_retire_locked(struct packset *ps, struct pack_out *p)
{
    if (ps->cur != p)
        return;
    ps->cur = NULL;
    list_add_tail(&ps->retired, &p->node);
}

/* Ends a reservation whose write failed. A full disk with nobody behind gives the range back, since no
 * record was ever there; otherwise a gap is left and the pack takes no more (P2). */
static void unreserve_locked(struct packset *ps, struct pack_out *p, uint64_t at, uint64_t size,
                             int rc)
{
    if ((rc != -ENOSPC && rc != -EDQUOT) || p->tail != at + size) {
        pack_retire_locked(ps, p);
        return;
    }
    p->tail = at;
    if (p->hinted > at)
        p->hinted = at;
    ps->bytes -= size;
}

/* Reserves size bytes in the current pack or a new one, and a place in its directory. */
static int reserve_locked(struct packset *ps, uint64_t size, struct pack_out **out, uint64_t *off,
                          struct pack_stage *st[2])
{
    struct pack_out *p;

    while (ps->cur && ps->cur->hold)
        pthread_cond_wait(&ps->cond, &ps->lock);
    p = ps->cur;
    if (p && p->tail + size > ps->size) {
        pack_retire_locked(ps, p);
        ps->bulk = true;
        p = NULL;
    }
    if (!p) {
        int rc = pack_create_locked(ps, &p);
        if (rc)
            return rc;
        ps->cur = p;
    }
    if (p->count + p->inflight >= p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 1024;
        uint8_t *dir = realloc(p->dir, cap * PACK_DIR_ENTRY);
        if (!dir)
            return -ENOMEM;
        p->dir = dir;
        p->cap = cap;
    }
    *off = p->tail;
    if (p->staged) {
        int rc = pack_stage_reserve_locked(p, size, st);
        if (rc)
            return rc;
    } else {
        p->tail += size;
    }
    p->inflight++;
    ps->bytes += size;
    *out = p;
    return 0;
}

/* Writes a record to its place past the stages, and starts write-out now and then. */
static int write_through(struct packset *ps, struct pack_out *p, uint64_t at, uint64_t size, struct iovec iov[3])
{
    uint64_t hint_from = 0, hint_len = 0;
    int rc = fault_point("pack.write");

    if (!rc)
        rc = pack_write_all(p->fd, iov, iov[2].iov_len ? 3 : 2, at);
    pthread_mutex_lock(&ps->lock);
    if (rc) {
        unreserve_locked(ps, p, at, size, rc);
    } else if (p->tail - p->hinted >= HINT_BYTES) {
        hint_from = p->hinted;
        hint_len = p->tail - p->hinted;
        p->hinted = p->tail;
    }
    pthread_mutex_unlock(&ps->lock);
    if (hint_len)
        sync_file_range(p->fd, (off_t)hint_from, (off_t)hint_len, SYNC_FILE_RANGE_WRITE);
    return rc;
}

/* Copies a record to its place in the stages; one that failed leaves zeros. */
static int write_staged(struct packset *ps, struct pack_out *p, uint64_t at, uint64_t size, const struct iovec iov[3],
                        struct pack_stage *const st[2])
{
    int rc = fault_point("pack.write");

    if (rc)
        pack_stage_copy(st, at, NULL, size);
    for (uint64_t to = at, i = 0; !rc && i < 3; i++)
        to = pack_stage_copy(st, to, iov[i].iov_base, iov[i].iov_len);
    if (rc) {
        pthread_mutex_lock(&ps->lock);
        pack_retire_locked(ps, p);
        pthread_mutex_unlock(&ps->lock);
    }
    return rc;
}

int packset_append(struct packset *ps, struct chunk *c, uint64_t ino, uint64_t off,
                   const void *payload)
{
    static const uint8_t zero[PACK_ALIGN];
    uint8_t header[PACK_HEADER];
    struct pack_stage *st[2];
    struct pack_out *p = NULL;
    uint64_t at = 0;

    if (c->len == 0 || c->len > SLOT_SIZE || c->stored_len == 0 || c->stored_len > CHUNK_BOUND)
        return -EINVAL;
    uint64_t len = PACK_HEADER + (uint64_t)c->stored_len, size = pack_align(len);
    pthread_mutex_lock(&ps->lock);
    int rc = reserve_locked(ps, size, &p, &at, st);
    pthread_mutex_unlock(&ps->lock);
    if (rc)
        return rc;

    struct pack_record r = {.chunk = *c, .ino = ino, .off = off};
    r.chunk.pack = p->pack;
    r.chunk.pack_off = at;
    pack_put_record(header, &r);
    struct iovec iov[3] = {{header, sizeof(header)},
                           {(void *)payload, c->stored_len},
                           {(void *)zero, size - len}};
    rc = p->staged ? write_staged(ps, p, at, size, iov, st) : write_through(ps, p, at, size, iov);

    pthread_mutex_lock(&ps->lock);
    if (!rc) {
        pack_put_dir_entry(p->dir + p->count++ * PACK_DIR_ENTRY, c->id, (uint32_t)at,
                           c->stored_len);
        p->written++;
    }
    if (p->staged)
        pack_stage_filled_locked(ps, p, st, at, size);
    p->inflight--;
    pthread_mutex_unlock(&ps->lock);
    if (rc) {
        log_error("%s: pack %u: appending at %llu: %s", ps->label, r.chunk.pack,
                  (unsigned long long)at, strerror(-rc));
        return rc;
    }
    c->pack = r.chunk.pack;
    c->pack_off = at;
    return 0;
}

/* --- syncing and sealing --- */

static int dir_compare(const void *a, const void *b)
{
    uint32_t x = pack_dir_entry_off(a), y = pack_dir_entry_off(b);

    return x < y ? -1 : x > y;
}

/* Writes directory and footer. A failure (disk full) only leaves the pack without them. */
static void pack_seal(struct packset *ps, struct pack_out *p)
{
    uint8_t footer[PACK_HEADER];
    size_t len = p->count * PACK_DIR_ENTRY;

    /* What was reserved beyond the records, and the zeros of the last block, go. */
    if (ftruncate(p->fd, (off_t)p->tail) || p->count == 0)
        return;
    pack_cached(p);
    qsort(p->dir, p->count, PACK_DIR_ENTRY, dir_compare);
    pack_put_footer(footer, &(struct pack_footer){.pack = p->pack,
                                                  .count = (uint32_t)p->count,
                                                  .dir_off = p->tail,
                                                  .dir_sum = XXH3_64bits(p->dir, len)});
    struct iovec iov[2] = {{p->dir, len}, {footer, sizeof(footer)}};
    if (pack_write_all(p->fd, iov, 2, p->tail)) {
        if (ftruncate(p->fd, (off_t)p->tail))
            log_warn("%s: pack %u: neither sealed nor cut back", ps->label, p->pack);
        return;
    }
    pthread_mutex_lock(&ps->lock);
    ps->bytes += len + sizeof(footer);
    pthread_mutex_unlock(&ps->lock);
}

/* Syncs one pack up to what was written when the caller looked. */
static int pack_sync(struct packset *ps, struct pack_out *p)
{
    int rc = fault_point("pack.sync");

    if (!rc && fdatasync(p->fd))
        rc = -errno;
    if (!rc && !p->named) {
        char path[PACK_PATH_MAX];
        pack_path(path, p->pack);
        path[2] = 0;
        rc = dir_sync(ps->dirfd, path);
        if (!rc && fsync(ps->dirfd))
            rc = -errno;
        p->named = !rc;
    }
    if (rc)
        log_error("%s: pack %u: sync: %s; what was written since the last one may be lost",
                  ps->label, p->pack, strerror(-rc));
    return rc;
}

/* Takes one retired pack through its last writes, sync and seal; frees it if nobody uses it any more. *it: its place in
 * the list, moved on. */
static int sync_retired(struct packset *ps, struct list **it)
{
    struct pack_out *p = list_entry(*it, struct pack_out, node);

    pthread_mutex_lock(&ps->lock);
    uint64_t written = p->written;
    int rc = pack_flush_locked(ps, p);
    bool done = p->inflight == 0;
    *it = (*it)->next;
    if (done)
        list_del(&p->node); /* readers need it no more: all is in the file */
    pthread_mutex_unlock(&ps->lock);
    if (!rc && done)
        pack_seal(ps, p);
    if (!rc && (done || written != p->synced))
        rc = pack_sync(ps, p);
    if (!rc)
        p->synced = written;
    if (done)
        pack_out_free(p);
    return rc;
}

static int sync_current(struct packset *ps, struct pack_out *p)
{
    pthread_mutex_lock(&ps->lock);
    uint64_t written = p->written;
    int rc = written != p->synced ? pack_flush_locked(ps, p) : 0;
    pthread_mutex_unlock(&ps->lock);
    if (!rc && written != p->synced)
        rc = pack_sync(ps, p);
    if (!rc)
        p->synced = written;
    return rc;
}

int packset_sync(struct packset *ps)
{
    pthread_mutex_lock(&ps->sync_lock);
    /* Only this function frees packs, so those found now stay valid: one that fills up meanwhile is found in the retired
     * list by the next call, and here still as `cur`. */
    pthread_mutex_lock(&ps->lock);
    struct pack_out *cur = ps->cur;
    unsigned n = 0;
    list_for_each(r, &ps->retired)
        n++;
    struct list *it = ps->retired.next;
    int rc = ps->sync_err;
    pthread_mutex_unlock(&ps->lock);

    while (n--) {
        int err = sync_retired(ps, &it);
        if (err && !rc)
            rc = err;
    }
    if (cur) {
        int err = sync_current(ps, cur);
        if (err && !rc)
            rc = err;
    }
    pthread_mutex_lock(&ps->lock);
    if (rc && !ps->sync_err) {
        ps->sync_err = rc;
        if (cur)
            pack_retire_locked(ps, cur);
    }
    pthread_mutex_unlock(&ps->lock);
    pthread_mutex_unlock(&ps->sync_lock);
    return rc;
}

/* --- the set --- */

static int add_found(void *arg, uint32_t pack, uint64_t size)
{
    struct packset *ps = arg;

    ps->bytes += size;
    if (pack >= ps->next)
        ps->next = pack + 1;
    return 0;
}

int packset_open(const char *dir, const char *label, uint32_t next_pack, struct packset **out)
{
    struct packset *ps = calloc(1, sizeof(*ps));
    int rc = 0;

    if (!ps)
        return -ENOMEM;
    ps->dirfd = -1;
    pthread_mutex_init(&ps->sync_lock, NULL);
    pthread_mutex_init(&ps->lock, NULL);
    pthread_cond_init(&ps->cond, NULL);
    list_init(&ps->retired);
    pack_reader_init(&ps->reader);
    ps->next = next_pack ? next_pack : 1;
    ps->size = PACK_SIZE;
    ps->label = strdup(label);
    ps->path = strdup(dir);
    if (!ps->label || !ps->path) {
        rc = -ENOMEM;
        goto out;
    }
    if (mkdir(dir, 0700) && errno != EEXIST) {
        rc = -errno;
        goto out;
    }
    ps->dirfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (ps->dirfd < 0) {
        rc = -errno;
        goto out;
    }
    rc = dir_sync(ps->dirfd, ".."); /* the folder may be new */
    if (!rc)
        rc = pack_list(dir, add_found, ps);
    if (rc)
        goto out;
    *out = ps;
    ps = NULL;
out:
    if (ps)
        packset_close(ps);
    return rc;
}

void packset_close(struct packset *ps)
{
    if (!ps)
        return;
    if (ps->dirfd >= 0)
        packset_sync(ps);
    if (ps->cur && ps->cur->staged && ftruncate(ps->cur->fd, (off_t)ps->cur->tail))
        log_warn("%s: pack %u: not cut to its length", ps->label, ps->cur->pack);
    pack_out_free(ps->cur);
    list_for_each_safe(it, &ps->retired)
        pack_out_free(list_entry(it, struct pack_out, node));
    pack_reader_release(&ps->reader);
    if (ps->dirfd >= 0)
        close(ps->dirfd);
    pthread_mutex_destroy(&ps->sync_lock);
    pthread_mutex_destroy(&ps->lock);
    pthread_cond_destroy(&ps->cond);
    free(ps->label);
    free(ps->path);
    free(ps);
}

int packset_delete(struct packset *ps, uint32_t pack, struct release *r)
{
    struct release own = RELEASE_NONE;
    char path[PACK_PATH_MAX];
    struct stat st;

    pthread_mutex_lock(&ps->lock);
    bool busy = pack_out_find_locked(ps, pack);
    pthread_mutex_unlock(&ps->lock);
    if (busy)
        return -EBUSY;
    int rc = fault_point("pack.delete");
    if (rc)
        return rc;
    pack_path(path, pack);
    if (fstatat(ps->dirfd, path, &st, AT_SYMLINK_NOFOLLOW))
        st.st_size = 0;
    rc = release_unlink(ps->dirfd, path, r ? r : &own);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    release_all(&own);
    pack_reader_forget(&ps->reader, pack);
    pthread_mutex_lock(&ps->lock);
    uint64_t size = (uint64_t)st.st_size;
    ps->bytes -= size < ps->bytes ? size : ps->bytes;
    pthread_mutex_unlock(&ps->lock);
    return 0;
}

uint32_t packset_current(struct packset *ps)
{
    pthread_mutex_lock(&ps->lock);
    uint32_t pack = ps->cur ? ps->cur->pack : 0;
    pthread_mutex_unlock(&ps->lock);
    return pack;
}

void packset_retire(struct packset *ps, uint32_t pack)
{
    pthread_mutex_lock(&ps->lock);
    if (ps->cur && ps->cur->pack == pack)
        pack_retire_locked(ps, ps->cur);
    pthread_mutex_unlock(&ps->lock);
}

uint64_t packset_open_bytes(struct packset *ps, uint32_t pack)
{
    pthread_mutex_lock(&ps->lock);
    uint64_t bytes = ps->cur && ps->cur->pack == pack ? ps->cur->tail : 0;
    pthread_mutex_unlock(&ps->lock);
    return bytes;
}

uint32_t packset_next(struct packset *ps)
{
    pthread_mutex_lock(&ps->lock);
    uint32_t next = ps->next;
    pthread_mutex_unlock(&ps->lock);
    return next;
}

void packset_set_size(struct packset *ps, uint64_t size)
{
    ps->size = size;
}

uint64_t packset_bytes(struct packset *ps)
{
    pthread_mutex_lock(&ps->lock);
    uint64_t bytes = ps->bytes;
    pthread_mutex_unlock(&ps->lock);
    return bytes;
}
