/* SPDX-License-Identifier: Apache-2.0
 * pack_read: reads records through a bounded cache of descriptors.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/log.h"
#include "server/store/pack_impl.h"

void pack_reader_init(struct pack_reader *r)
{
    pthread_mutex_init(&r->lock, NULL);
}

void pack_reader_release(struct pack_reader *r)
{
    for (unsigned i = 0; i < PACK_FDS; i++)
        if (r->fds[i].pack)
            close(r->fds[i].fd);
    pthread_mutex_destroy(&r->lock);
}

static struct pack_fd *find_locked(struct pack_reader *r, uint32_t pack, bool direct)
{
    for (unsigned i = 0; i < PACK_FDS; i++)
        if (r->fds[i].pack == pack && r->fds[i].direct == direct && !r->fds[i].doomed)
            return &r->fds[i];
    return NULL;
}

/* A free entry, if need be by closing the one that was unused longest; NULL if all are in use. */
static struct pack_fd *slot_locked(struct pack_reader *r)
{
    struct pack_fd *best = NULL;

    for (unsigned i = 0; i < PACK_FDS; i++) {
        struct pack_fd *f = &r->fds[i];
        if (f->pack == 0)
            return f;
        if (f->refs == 0 && (!best || f->used < best->used))
            best = f;
    }
    if (best) {
        close(best->fd);
        best->pack = 0;
    }
    return best;
}

/* A descriptor of the pack. *entry is the cache's entry to give back, NULL: close the descriptor. */
static int fd_get(struct packset *ps, uint32_t pack, bool direct, struct pack_fd **entry)
{
    struct pack_reader *r = &ps->reader;
    char path[PACK_PATH_MAX];

    pthread_mutex_lock(&r->lock);
    struct pack_fd *f = find_locked(r, pack, direct);
    uint64_t deletes = r->deletes;
    if (f) {
        f->refs++;
        f->used = ++r->stamp;
    }
    pthread_mutex_unlock(&r->lock);
    *entry = f;
    if (f)
        return f->fd;

    pack_path(path, pack);
    int fd = openat(ps->dirfd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | (direct ? O_DIRECT : 0));
    if (fd < 0)
        return -errno;
    pthread_mutex_lock(&r->lock);
    f = find_locked(r, pack, direct) || deletes != r->deletes ? NULL : slot_locked(r);
    if (f)
        *f = (struct pack_fd){.pack = pack, .direct = direct, .fd = fd, .refs = 1, .used = ++r->stamp};
    pthread_mutex_unlock(&r->lock);
    *entry = f;
    return fd;
}

static void fd_put(struct packset *ps, int fd, struct pack_fd *f)
{
    if (!f) {
        close(fd);
        return;
    }
    pthread_mutex_lock(&ps->reader.lock);
    if (--f->refs == 0 && f->doomed) {
        close(f->fd);
        *f = (struct pack_fd){0};
    }
    pthread_mutex_unlock(&ps->reader.lock);
}

void pack_reader_forget(struct pack_reader *r, uint32_t pack)
{
    pthread_mutex_lock(&r->lock);
    r->deletes++;
    for (int direct = 0; direct < 2; direct++) {
        struct pack_fd *f = find_locked(r, pack, direct);
        if (f && f->refs) {
            f->doomed = true;
        } else if (f) {
            close(f->fd);
            *f = (struct pack_fd){0};
        }
    }
    pthread_mutex_unlock(&r->lock);
}

/* Damage is logged once per record, as far as the last PACK_LOGGED go. */
static int damaged(struct packset *ps, const struct chunk *c, const char *what)
{
    struct pack_reader *r = &ps->reader;
    bool known = false;

    pthread_mutex_lock(&r->lock);
    for (unsigned i = 0; i < PACK_LOGGED; i++)
        known |= r->logged[i].pack == c->pack && r->logged[i].off == c->pack_off;
    if (!known) {
        r->logged[r->next_logged].pack = c->pack;
        r->logged[r->next_logged].off = c->pack_off;
        r->next_logged = (r->next_logged + 1) % PACK_LOGGED;
    }
    pthread_mutex_unlock(&r->lock);
    if (!known)
        log_error("%s: pack %u, offset %llu, chunk %llu: %s", ps->label, c->pack,
                  (unsigned long long)c->pack_off, (unsigned long long)c->id, what);
    return -EUCLEAN;
}

static bool same_chunk(const struct chunk *a, const struct chunk *b)
{
    return a->id == b->id && a->pack == b->pack && a->pack_off == b->pack_off &&
           a->stored_len == b->stored_len && a->len == b->len && a->codec == b->codec &&
           a->checksum == b->checksum;
}

/* Reads header and payload; returns bytes read, at most all. */
static ssize_t read_record(int fd, const struct chunk *c, uint8_t *header, void *buf)
{
    size_t want = PACK_HEADER + (size_t)c->stored_len, got = 0;

    while (got < want) {
        struct iovec iov[2] = {{header + got, got < PACK_HEADER ? PACK_HEADER - got : 0},
                               {buf, c->stored_len}};
        if (got >= PACK_HEADER) {
            iov[0] = (struct iovec){(char *)buf + (got - PACK_HEADER), want - got};
            iov[1].iov_len = 0;
        }
        ssize_t n = preadv(fd, iov, iov[1].iov_len ? 2 : 1, (off_t)(c->pack_off + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static bool possible(const struct chunk *c)
{
    return c->pack != 0 && c->pack_off >= PACK_HEADER && c->pack_off <= PACK_FILE_MAX && c->stored_len != 0 &&
           c->stored_len <= CHUNK_BOUND;
}

/* A pack that was removed since it was opened gets shorter (release.h). */
static bool has_no_name(int fd)
{
    struct stat st;

    return fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* Reads and checks all but the payload's checksum. */
static int read_checked(struct packset *ps, const struct chunk *c, void *buf, struct pack_record *rec)
{
    uint8_t header[PACK_HEADER];
    struct pack_fd *entry;

    if (!possible(c))
        return damaged(ps, c, "impossible place or length");
    pack_settle(ps, c);
    int fd = fd_get(ps, c->pack, false, &entry);
    if (fd < 0) {
        if (fd != -ENOENT)
            log_error("%s: pack %u: open: %s", ps->label, c->pack, strerror(-fd));
        return fd;
    }
    ssize_t n = read_record(fd, c, header, buf);
    bool removed = n >= 0 && (size_t)n < PACK_HEADER + (size_t)c->stored_len && has_no_name(fd);
    fd_put(ps, fd, entry);
    if (n < 0) {
        log_error("%s: pack %u, offset %llu: read: %s", ps->label, c->pack,
                  (unsigned long long)c->pack_off, strerror((int)-n));
        return (int)n;
    }
    if (removed)
        return -ENOENT;
    if ((size_t)n < PACK_HEADER + (size_t)c->stored_len)
        return damaged(ps, c, "the pack ends inside the record");
    if (!pack_get_record(header, rec))
        return damaged(ps, c, "damaged record header");
    if (!same_chunk(&rec->chunk, c))
        return damaged(ps, c, "the record is another one than the index says");
    return 0;
}

int packset_read(struct packset *ps, const struct chunk *c, void *buf)
{
    struct pack_record r;

    return read_checked(ps, c, buf, &r);
}

int packset_read_past(struct packset *ps, const struct chunk *c, void *window, const void **payload)
{
    uint64_t from = c->pack_off & ~(uint64_t)(PACK_BLOCK - 1);
    size_t skip = (size_t)(c->pack_off - from), want = skip + PACK_HEADER + c->stored_len;
    uint8_t *header = (uint8_t *)window + skip;
    struct pack_fd *entry;
    struct pack_record r;
    ssize_t n = -1;
    int fd;

    if (possible(c)) {
        pack_settle(ps, c);
        fd = fd_get(ps, c->pack, true, &entry);
        if (fd >= 0) {
            n = pread(fd, window, (want + PACK_BLOCK - 1) & ~(size_t)(PACK_BLOCK - 1), (off_t)from);
            fd_put(ps, fd, entry);
        }
    }
    if (n >= (ssize_t)want && pack_get_record(header, &r) && same_chunk(&r.chunk, c)) {
        *payload = header + PACK_HEADER;
        return 0;
    }
    *payload = window;
    return packset_read(ps, c, window);
}

int packset_read_record(struct packset *ps, const struct chunk *c, void *buf, uint64_t *ino, uint64_t *off)
{
    struct pack_record r;
    int rc = read_checked(ps, c, buf, &r);

    if (rc)
        return rc;
    if (XXH3_64bits(buf, c->stored_len) != c->checksum)
        return damaged(ps, c, "damaged payload");
    *ino = r.ino;
    *off = r.off;
    return 0;
}
