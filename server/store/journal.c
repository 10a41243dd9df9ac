/* SPDX-License-Identifier: Apache-2.0
 * journal: the ring file. Positions (head, tail) count bytes since the journal was emptied and never wrap; the place
 * of a position in the file is HEADERS + position % size. journal.h has the rules J1 to J5.
 */
#include "server/store/journal.h"
#include "server/store/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fault.h"
#include "common/log.h"

#define NAME     "journal"
#define NAME_NEW "journal.new"
#define HEADERS  (2 * JOURNAL_BLOCK)
#define VERSION  1u
#define FILL     (1u << 20) /* zeros written at once */

#define BUF_FIRST      (64u << 10)
#define BUF_LARGE      (1u << 20) /* a larger buffer goes */
#define BUF_SMALL_USES 64u        /* after so many small records */

#define HEADER_MAGIC "VNFSJRNL"
#define HEADER_SUMMED 56
#define RECORD_MAGIC 0x4352564au /* "JVRC" */
#define RECORD_HEADER 64
#define RECORD_SUMMED 32

struct header {
    uint64_t epoch, size, tail_lsn, tail_off, seq;
};

struct journal {
    int fd;
    bool readonly;
    char *label;
    uint64_t epoch, size; /* of h; change in journal_reset only, size with the lock: others may ask for it */
    struct header h;      /* as on the disk; release and reset write it */
    uint64_t next_lsn; /* writer; release when empty */
    unsigned char *buf; /* writer; aligned */
    size_t buf_size;
    unsigned small; /* records in a row that needed an eighth of it or less */
    unsigned char *hbuf; /* one aligned block for headers */
    pthread_mutex_t lock; /* head, tail, size */
    uint64_t head, tail;
    int failed; /* writer */
};

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> 8 * i);
}

static void put64(unsigned char *p, uint64_t v)
{
    put32(p, (uint32_t)v);
    put32(p + 4, (uint32_t)(v >> 32));
}

static uint32_t get32(const unsigned char *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const unsigned char *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static size_t round_up(size_t n)
{
    return (n + JOURNAL_BLOCK - 1) & ~(size_t)(JOURNAL_BLOCK - 1);
}

static void *aligned(size_t size)
{
    void *p = aligned_alloc(JOURNAL_BLOCK, size);

    if (!p)
        abort(); /* as everywhere in the store: memory exhaustion ends the process */
    memset(p, 0, size);
    return p;
}

/* --- the file --- */

/* Opens for writing without page cache if the file system has that. */
static int open_file(int dirfd, const char *name, int flags)
{
    int fd = openat(dirfd, name, flags | O_DIRECT | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 && errno == EINVAL)
        fd = openat(dirfd, name, flags | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd < 0 ? -errno : fd;
}

static int write_at(int fd, const unsigned char *p, size_t len, uint64_t off)
{
    while (len) {
        ssize_t n = pwrite(fd, p, len, (off_t)off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL) { /* blocks larger than ours, or direct I/O is for show */
            int fl = fcntl(fd, F_GETFL);
            if (fl >= 0 && (fl & O_DIRECT) && fcntl(fd, F_SETFL, fl & ~O_DIRECT) == 0)
                continue;
        }
        if (n <= 0)
            return n ? -errno : -EIO;
        p += n;
        len -= (size_t)n;
        off += (uint64_t)n;
        if (n % JOURNAL_BLOCK) { /* the rest is not aligned any more */
            int fl = fcntl(fd, F_GETFL);
            if (fl >= 0 && (fl & O_DIRECT))
                (void)fcntl(fd, F_SETFL, fl & ~O_DIRECT);
        }
    }
    return 0;
}

static int read_at(int fd, unsigned char *p, size_t len, uint64_t off)
{
    ssize_t n = read_full(fd, p, len, off);

    return n < 0 ? (int)n : (size_t)n == len ? 0 : -EIO;
}

/* Zeros in [from, to) of the file; allocated, so that a record's write changes nothing but data. */
static int fill(int fd, uint64_t from, uint64_t to)
{
    unsigned char *zero = aligned(FILL);
    int r = fault_point("journal.fill");

    while (r == 0 && from < to) {
        size_t n = to - from < FILL ? (size_t)(to - from) : FILL;
        r = write_at(fd, zero, n, from);
        from += n;
    }
    free(zero);
    return r;
}

/* --- headers --- */

static void put_header(unsigned char *b, const struct header *h)
{
    memset(b, 0, JOURNAL_BLOCK);
    memcpy(b, HEADER_MAGIC, 8);
    put32(b + 8, VERSION);
    put64(b + 16, h->epoch);
    put64(b + 24, h->size);
    put64(b + 32, h->tail_lsn);
    put64(b + 40, h->tail_off);
    put64(b + 48, h->seq);
    put64(b + HEADER_SUMMED, XXH3_64bits(b, HEADER_SUMMED));
}

/* 0, -ENOTSUP, or -EUCLEAN if it is none. */
static int get_header(const unsigned char *b, struct header *h)
{
    if (memcmp(b, HEADER_MAGIC, 8) != 0 || get64(b + HEADER_SUMMED) != XXH3_64bits(b, HEADER_SUMMED))
        return -EUCLEAN;
    if (get32(b + 8) > VERSION)
        return -ENOTSUP;
    *h = (struct header){.epoch = get64(b + 16), .size = get64(b + 24), .tail_lsn = get64(b + 32),
                         .tail_off = get64(b + 40), .seq = get64(b + 48)};
    if (h->size < JOURNAL_SIZE_MIN || h->size > JOURNAL_SIZE_MAX || h->size % JOURNAL_BLOCK ||
        h->tail_off >= h->size || h->tail_off % JOURNAL_BLOCK || h->tail_lsn == 0)
        return -EUCLEAN;
    return 0;
}

/* Puts h on the disk as the newest header. */
static int write_header(int fd, unsigned char *block, struct header *h)
{
    int r = fault_point("journal.header");

    h->seq++;
    put_header(block, h);
    return r ? r : write_at(fd, block, JOURNAL_BLOCK, h->seq % 2 * JOURNAL_BLOCK);
}

static int read_header(int fd, unsigned char *block, struct header *out)
{
    struct header h[2];
    int r[2];
    struct stat st;

    for (int i = 0; i < 2; i++) {
        r[i] = read_at(fd, block, JOURNAL_BLOCK, (uint64_t)i * JOURNAL_BLOCK);
        if (r[i] == 0)
            r[i] = get_header(block, &h[i]);
    }
    if (r[0] == -ENOTSUP || r[1] == -ENOTSUP)
        return -ENOTSUP;
    if (r[0] && r[1])
        return -EUCLEAN;
    *out = r[1] || (r[0] == 0 && h[0].seq > h[1].seq) ? h[0] : h[1];
    if (fstat(fd, &st))
        return -errno;
    return (uint64_t)st.st_size < HEADERS + out->size ? -EUCLEAN : 0;
}

/* --- life --- */

int journal_create(int dirfd, uint32_t size, uint64_t next_lsn)
{
    struct header h = {.epoch = 1, .size = size, .tail_lsn = next_lsn};
    unsigned char *block = aligned(JOURNAL_BLOCK);
    int fd = -1, r = 0;

    if (size < JOURNAL_SIZE_MIN || size > JOURNAL_SIZE_MAX || size % JOURNAL_BLOCK || next_lsn == 0) {
        r = -EINVAL;
        goto out;
    }
    if (faccessat(dirfd, NAME, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        r = -EEXIST;
        goto out;
    }
    fd = open_file(dirfd, NAME_NEW, O_WRONLY | O_CREAT | O_TRUNC);
    if (fd < 0) {
        r = fd;
        goto out;
    }
    r = fill(fd, 0, HEADERS + size);
    if (r == 0)
        r = write_header(fd, block, &h);
    if (r == 0 && fsync(fd))
        r = -errno;
    if (r == 0 && renameat(dirfd, NAME_NEW, dirfd, NAME))
        r = -errno;
    if (r)
        unlinkat(dirfd, NAME_NEW, 0);
    else if (fsync(dirfd))
        r = -errno;
out:
    if (fd >= 0)
        close(fd);
    free(block);
    return r;
}

int journal_open(int dirfd, const char *label, bool readonly, struct journal **out)
{
    struct journal *j;
    unsigned char *block = aligned(JOURNAL_BLOCK);
    struct header h;
    int r = 0, fd = openat(dirfd, NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        r = -errno;
    if (r == 0)
        r = read_header(fd, block, &h);
    if (r == -EUCLEAN)
        log_error("%s: the journal has no sane header", label);
    if (r == 0 && !readonly) {
        close(fd);
        fd = open_file(dirfd, NAME, O_RDWR | O_DSYNC);
        r = fd < 0 ? fd : 0;
    }
    if (r) {
        if (fd >= 0)
            close(fd);
        free(block);
        return r;
    }
    j = calloc(1, sizeof(*j));
    if (!j || !(j->label = strdup(label)))
        abort();
    j->fd = fd;
    j->readonly = readonly;
    j->h = h;
    j->epoch = h.epoch;
    j->size = h.size;
    j->hbuf = block;
    j->head = j->tail = h.tail_off;
    j->next_lsn = h.tail_lsn;
    if (!readonly)
        j->failed = -EBADF; /* until journal_reset: the head is not known */
    pthread_mutex_init(&j->lock, NULL);
    *out = j;
    return 0;
}

void journal_close(struct journal *j)
{
    if (!j)
        return;
    close(j->fd);
    pthread_mutex_destroy(&j->lock);
    free(j->hbuf);
    free(j->buf);
    free(j->label);
    free(j);
}

int journal_reset(struct journal *j, uint32_t size, uint64_t next_lsn)
{
    struct header h = j->h;
    int r = 0;

    if (size == 0)
        size = (uint32_t)j->h.size;
    if (size < JOURNAL_SIZE_MIN || size > JOURNAL_SIZE_MAX || size % JOURNAL_BLOCK || next_lsn == 0)
        return -EINVAL;
    if (size > h.size) {
        r = fill(j->fd, HEADERS + h.size, HEADERS + (uint64_t)size);
        if (r) {
            if (ftruncate(j->fd, (off_t)(HEADERS + h.size)))
                log_warn("%s: cannot cut the journal back to its size", j->label);
            return r;
        }
    }
    h.epoch++;
    h.size = size;
    h.tail_lsn = next_lsn;
    h.tail_off = 0;
    r = write_header(j->fd, j->hbuf, &h);
    if (r) {
        j->failed = r;
        return r;
    }
    if (size < j->h.size && ftruncate(j->fd, (off_t)(HEADERS + (uint64_t)size)))
        log_warn("%s: cannot shorten the journal", j->label);
    j->h = h;
    j->epoch = h.epoch;
    j->next_lsn = next_lsn;
    j->failed = 0;
    pthread_mutex_lock(&j->lock);
    j->size = h.size;
    j->head = j->tail = 0;
    pthread_mutex_unlock(&j->lock);
    return 0;
}

/* --- reading --- */

struct walk {
    struct journal *j;
    unsigned char *buf;
    size_t buf_size;
};

/* Is record lsn at off? Its payload is in w->buf then. 1, 0, -EIO. */
static int read_record(struct walk *w, uint64_t lsn, uint64_t off, size_t *len)
{
    struct journal *j = w->j;
    unsigned char *b = w->buf;
    uint64_t n;
    size_t all;
    int r = read_at(j->fd, b, JOURNAL_BLOCK, HEADERS + off);

    if (r)
        return r;
    n = get64(b + 24);
    if (get32(b) != RECORD_MAGIC || get32(b + 4) != VERSION || get64(b + 8) != j->epoch ||
        get64(b + 16) != lsn || n == 0 || n > j->size)
        return 0;
    all = round_up(RECORD_HEADER + (size_t)n);
    if (all > j->size - off)
        return 0;
    if (all > w->buf_size) {
        unsigned char *p = aligned(all);
        memcpy(p, b, JOURNAL_BLOCK);
        free(b);
        w->buf = b = p;
        w->buf_size = all;
    }
    if (all > JOURNAL_BLOCK)
        r = read_at(j->fd, b + JOURNAL_BLOCK, all - JOURNAL_BLOCK, HEADERS + off + JOURNAL_BLOCK);
    if (r)
        return r;
    *len = (size_t)n;
    return get64(b + RECORD_SUMMED) ==
           XXH3_64bits_withSeed(b + RECORD_HEADER, (size_t)n, XXH3_64bits(b, RECORD_SUMMED));
}

int journal_walk(struct journal *j, int (*fn)(void *arg, uint64_t lsn, const void *payload, size_t len), void *arg)
{
    struct walk w = {j, aligned(JOURNAL_BLOCK), JOURNAL_BLOCK};
    uint64_t off = j->h.tail_off;
    int r = 0;

    for (uint64_t lsn = j->h.tail_lsn;; lsn++) {
        size_t len = 0;
        r = read_record(&w, lsn, off, &len);
        if (r == 0 && off != 0) { /* it did not fit before the end */
            off = 0;
            r = read_record(&w, lsn, off, &len);
        }
        if (r <= 0)
            break;
        r = fn(arg, lsn, w.buf + RECORD_HEADER, len);
        if (r)
            break;
        off = (off + round_up(RECORD_HEADER + len)) % j->size;
    }
    free(w.buf);
    if (r < 0)
        log_error("%s: reading the journal: %s", j->label, strerrordesc_np(-r));
    return r;
}

/* --- writing --- */

void *journal_buf(struct journal *j, size_t len)
{
    size_t all = round_up(RECORD_HEADER + len);

    j->small = j->buf_size > BUF_LARGE && all <= j->buf_size / 8 ? j->small + 1 : 0;
    if (all > j->buf_size || j->small >= BUF_SMALL_USES) {
        size_t size = j->buf_size && !j->small ? j->buf_size : BUF_FIRST;
        while (size < all)
            size *= 2;
        free(j->buf);
        j->small = 0;
        j->buf = aligned(size);
        j->buf_size = size;
    }
    return j->buf + RECORD_HEADER;
}

/* The position for a record of `all` bytes. Lock held. */
static int place(struct journal *j, size_t all, uint64_t *at)
{
    uint64_t rem = j->size - j->head % j->size;

    *at = all > rem ? j->head + rem : j->head;
    if (j->head == j->tail)
        return 0;
    return *at + all - j->tail > j->size ? -ENOSPC : 0;
}

int journal_write(struct journal *j, uint64_t lsn, size_t len, uint64_t *end)
{
    unsigned char *b = j->buf;
    size_t all = round_up(RECORD_HEADER + len);
    uint64_t at = 0;
    int r = j->failed;

    if (r)
        return r;
    if (all > j->size)
        return -E2BIG;
    if (lsn != j->next_lsn || len == 0 || all > j->buf_size)
        return -EINVAL;
    pthread_mutex_lock(&j->lock);
    r = place(j, all, &at);
    if (r == 0 && j->head == j->tail)
        j->tail = at;
    pthread_mutex_unlock(&j->lock);
    if (r)
        return r;
    memset(b, 0, RECORD_HEADER);
    put32(b, RECORD_MAGIC);
    put32(b + 4, VERSION);
    put64(b + 8, j->epoch);
    put64(b + 16, lsn);
    put64(b + 24, len);
    put64(b + RECORD_SUMMED,
          XXH3_64bits_withSeed(b + RECORD_HEADER, len, XXH3_64bits(b, RECORD_SUMMED)));
    memset(b + RECORD_HEADER + len, 0, all - RECORD_HEADER - len);
    r = fault_point("journal.write");
    if (r == 0)
        r = write_at(j->fd, b, all, HEADERS + at % j->size);
    if (r == 0)
        r = fault_point("journal.written");
    if (r) {
        j->failed = r;
        return r;
    }
    pthread_mutex_lock(&j->lock);
    j->head = at + all;
    j->next_lsn = lsn + 1;
    pthread_mutex_unlock(&j->lock);
    *end = at + all;
    return 0;
}

int journal_release(struct journal *j, uint64_t lsn, uint64_t end)
{
    struct header h = j->h;
    int r;

    h.tail_lsn = lsn + 1;
    pthread_mutex_lock(&j->lock);
    if (end == 0) {
        end = j->head;
        j->next_lsn = lsn + 1;
    }
    pthread_mutex_unlock(&j->lock);
    h.tail_off = end % h.size;
    r = write_header(j->fd, j->hbuf, &h);
    if (r)
        return r;
    j->h = h;
    pthread_mutex_lock(&j->lock);
    if (j->tail < end)
        j->tail = end;
    pthread_mutex_unlock(&j->lock);
    return 0;
}

uint32_t journal_size(struct journal *j)
{
    uint32_t n;

    pthread_mutex_lock(&j->lock);
    n = (uint32_t)j->size;
    pthread_mutex_unlock(&j->lock);
    return n;
}

uint64_t journal_used(struct journal *j)
{
    uint64_t n;

    pthread_mutex_lock(&j->lock);
    n = j->head - j->tail;
    pthread_mutex_unlock(&j->lock);
    return n;
}
