/* SPDX-License-Identifier: Apache-2.0
 * xfer: copies one file.
 *
 *   create .NAME.volnfs-part -> segments -> length -> (checksums) -> attributes -> rename to NAME
 *
 * 1. A reader of NAME sees the old file or the whole new one. What is under the new name is durable at the server.
 * 2. While it is a part, its access time is the source's modification time: so it is known later which version of the
 *    source it is a part of.
 * 3. A write into segment k begins only when segments up to k - WINDOW are complete and durable. So a part that ends
 *    within segment k has all of those (xfer_resume), however it came to end there; what is not there yet
 *    at the end of the file only makes it go back further.
 * 4. A segment is durable when its COMMIT answers with the verifier that all its writes had; otherwise the server was
 *    restarted in between, and the segment is written again.
 * 5. Zeros are not written, 1 MiB at a time: the part is new, or was made by these rules, and has holes there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "client/cli/copy.h"
#include "client/cli/progress.h"

#define BLOCK   ((size_t)1 << 20)
#define BUFFER  (4 * BLOCK)  /* read and written at once: in parallel pieces */
#define SEGMENT (16 * BLOCK) /* a multiple of BUFFER */
#define WINDOW  3            /* segments of a file under way at once */
#define TRIES   10           /* of a segment, when the server is restarted again and again */

enum seg_state { SEG_TODO, SEG_BUSY, SEG_DONE };

struct xfer {
    pthread_mutex_t lock;
    pthread_cond_t change;
    int refs;
    struct copy *c;
    struct side_dir *from;
    const char *name;
    struct side_file in, out;
    uint64_t size, high; /* high: the end of what was written */
    uint64_t segs, next, complete; /* all below complete are done */
    uint8_t *state;
    XXH64_hash_t *hash;  /* with verify: of the source's segments, where hashed[] says so */
    bool *hashed;
    int busy;
    int err;
    bool read_failed; /* err is the source's */
};

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* The name of the part: it must fit, and the same name must give the same part. */
static void part_name(const char *name, char *out, size_t size)
{
    if (snprintf(out, size, ".%s.volnfs-part", name) >= (int)size)
        snprintf(out, size, ".%016llx.volnfs-part", (unsigned long long)XXH3_64bits(name, strlen(name)));
}

static bool all_zero(const uint8_t *buf, size_t size)
{
    return !buf[0] && !memcmp(buf, buf + 1, size - 1);
}

static size_t smaller(uint64_t a, uint64_t b)
{
    return (size_t)(a < b ? a : b);
}

/* Writes what is not zero of one buffer. *verf: of the segment so far, if *wrote. */
static int put_buffer(struct xfer *x, const uint8_t *buf, size_t size, uint64_t at, uint64_t *verf, bool *wrote,
                      bool *lost)
{
    bool sync = x->size <= BLOCK;
    size_t from = 0, to;
    while (from < size) {
        uint64_t now = 0;
        int err;
        size_t part = smaller(BLOCK, size - from);
        if (all_zero(buf + from, part)) {
            from += part;
            continue;
        }
        for (to = from + part; to < size; to += part) {
            part = smaller(BLOCK, size - to);
            if (all_zero(buf + to, part))
                break;
        }
        err = x->out.ops->write(&x->out, buf + from, to - from, at + from, sync, &now);
        if (err)
            return err;
        if (*wrote && now != *verf)
            *lost = true;
        *wrote = true;
        *verf = now;
        pthread_mutex_lock(&x->lock);
        if (at + to > x->high)
            x->high = at + to;
        pthread_mutex_unlock(&x->lock);
        from = to;
    }
    return 0;
}

/* Reads one buffer of the source, which must be there in full. */
static int get_buffer(struct xfer *x, uint8_t *buf, size_t size, uint64_t at)
{
    ssize_t n;
    if (x->in.ops->data(&x->in, at) >= at + size) {
        memset(buf, 0, size);
        return 0;
    }
    n = x->in.ops->read(&x->in, buf, size, at);
    if (n < 0)
        return (int)n;
    return (size_t)n == size ? 0 : COPY_CHANGED;
}

/* One segment, until it is durable. */
static int copy_segment(struct xfer *x, uint64_t seg, uint8_t *buf, bool *read_failed)
{
    uint64_t start = seg * SEGMENT, end = start + smaller(SEGMENT, x->size - start), verf, now;
    XXH3_state_t *hash = x->hash ? need(XXH3_createState()) : NULL;
    int err = 0;
    for (int n = 0; n < TRIES; n++) {
        bool wrote = false, lost = false;
        verf = now = 0;
        if (hash)
            XXH3_64bits_reset(hash);
        for (uint64_t at = start; at < end; at += BUFFER) {
            size_t size = smaller(BUFFER, end - at);
            err = get_buffer(x, buf, size, at);
            *read_failed = err != 0;
            if (err)
                goto out;
            if (hash)
                XXH3_64bits_update(hash, buf, size);
            err = put_buffer(x, buf, size, at, &verf, &wrote, &lost);
            if (err)
                goto out;
            progress_bytes(x->c->progress, (int64_t)size);
        }
        if (!wrote || x->size <= BLOCK)
            goto done;
        err = x->out.ops->commit(&x->out, &now);
        if (err)
            goto out;
        if (!lost && now == verf)
            goto done;
        progress_bytes(x->c->progress, -(int64_t)(end - start));
    }
    err = -EIO;
    goto out;
done:
    if (hash) {
        x->hash[seg] = XXH3_64bits_digest(hash);
        x->hashed[seg] = true;
    }
out:
    if (hash)
        XXH3_freeState(hash);
    return err;
}

/* Works on segments until there are none left to begin. Several threads at once. */
static void xfer_work(struct xfer *x)
{
    uint8_t *buf = need(malloc(smaller(BUFFER, x->size ? x->size : 1)));
    pthread_mutex_lock(&x->lock);
    while (!x->err && x->next < x->segs) {
        uint64_t seg = x->next;
        bool read_failed = false;
        int err;
        if (seg >= x->complete + WINDOW) {
            pthread_cond_wait(&x->change, &x->lock);
            continue;
        }
        x->next++;
        x->busy++;
        x->state[seg] = SEG_BUSY;
        pthread_mutex_unlock(&x->lock);
        err = copy_segment(x, seg, buf, &read_failed);
        pthread_mutex_lock(&x->lock);
        x->busy--;
        if (!err)
            x->state[seg] = SEG_DONE;
        else if (!x->err) {
            x->err = err;
            x->read_failed = read_failed;
        }
        while (x->complete < x->segs && x->state[x->complete] == SEG_DONE)
            x->complete++;
        pthread_cond_broadcast(&x->change);
    }
    pthread_mutex_unlock(&x->lock);
    free(buf);
}

static void xfer_unref(struct xfer *x)
{
    if (__atomic_sub_fetch(&x->refs, 1, __ATOMIC_ACQ_REL))
        return;
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->change);
    free(x->state);
    free(x->hash);
    free(x->hashed);
    free(x);
}

/* A thread that has nothing else to do helps. It may come when all is over: then the files are not touched. */
static void xfer_help(void *arg)
{
    struct xfer *x = arg;
    xfer_work(x);
    xfer_unref(x);
}

/* All segments from x->next on. */
static int xfer_segments(struct xfer *x)
{
    uint64_t first = x->next; /* helpers take it on */
    for (uint64_t n = 1; n < WINDOW && first + n < x->segs && n < x->c->jobs; n++) {
        __atomic_add_fetch(&x->refs, 1, __ATOMIC_RELAXED);
        pool_add_first(x->c->pool, xfer_help, x);
    }
    xfer_work(x);
    pthread_mutex_lock(&x->lock);
    while (x->busy)
        pthread_cond_wait(&x->change, &x->lock);
    x->next = x->segs;
    pthread_mutex_unlock(&x->lock);
    return x->err;
}

static int hash_segment(struct side_file *file, uint64_t size, uint64_t seg, uint8_t *buf, XXH64_hash_t *out)
{
    uint64_t start = seg * SEGMENT, end = start + smaller(SEGMENT, size - start);
    XXH3_state_t *hash = need(XXH3_createState());
    int err = 0;
    XXH3_64bits_reset(hash);
    for (uint64_t at = start; at < end && !err; at += BUFFER) {
        size_t want = smaller(BUFFER, end - at);
        ssize_t n = file->ops->read(file, buf, want, at);
        err = n < 0 ? (int)n : (size_t)n != want ? COPY_CHANGED : 0;
        if (!err)
            XXH3_64bits_update(hash, buf, want);
    }
    *out = XXH3_64bits_digest(hash);
    XXH3_freeState(hash);
    return err;
}

/* Reads the copy again (and the source where that has not been done yet). */
static int xfer_verify(struct xfer *x, bool *read_failed)
{
    uint8_t *buf = need(malloc(smaller(BUFFER, x->size ? x->size : 1)));
    int err = 0;
    for (uint64_t seg = 0; seg < x->segs && !err; seg++) {
        XXH64_hash_t there = 0;
        if (!x->hashed[seg])
            err = hash_segment(&x->in, x->size, seg, buf, &x->hash[seg]);
        *read_failed = err != 0;
        if (!err)
            err = hash_segment(&x->out, x->size, seg, buf, &there);
        if (err == COPY_CHANGED && !*read_failed)
            err = COPY_DIFFERS; /* shorter than it was made */
        if (!err && there != x->hash[seg])
            err = COPY_DIFFERS;
    }
    free(buf);
    return err;
}

static struct xfer *xfer_new(struct copy *c, struct side_dir *from, const char *name)
{
    struct xfer *x = need(calloc(1, sizeof(*x)));
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->change, NULL);
    x->refs = 1;
    x->c = c;
    x->from = from;
    x->name = name;
    return x;
}

static void xfer_plan(struct xfer *x, uint64_t size)
{
    x->size = size;
    x->segs = (size + SEGMENT - 1) / SEGMENT;
    x->state = need(calloc(x->segs + 1, 1));
    if (x->c->verify) {
        x->hash = need(calloc(x->segs + 1, sizeof(*x->hash)));
        x->hashed = need(calloc(x->segs + 1, sizeof(*x->hashed)));
    }
}

/* The machine was started after that moment: what was written locally before may not have reached the disk. */
static bool before_boot(const struct timespec *when)
{
    struct timespec now, up;
    clock_gettime(CLOCK_REALTIME, &now);
    clock_gettime(CLOCK_BOOTTIME, &up);
    return when->tv_sec <= now.tv_sec - up.tv_sec;
}

/* Opens the part that is there, if it is one of this version of the source, and skips what it has. */
static bool xfer_resume(struct xfer *x, struct side_dir *to, const char *part, const struct nfs_attr *source)
{
    struct nfs_attr attr;
    uint64_t seg;
    if (!x->c->resume || x->size <= SEGMENT || to->ops->open(to, part, true, &x->out, &attr))
        return false;
    if (!same_time(&attr.atime, &source->mtime) || attr.size > x->size ||
        (to->ops == &side_local && before_boot(&attr.mtime))) {
        x->out.ops->close(&x->out);
        return false;
    }
    seg = attr.size ? (attr.size - 1) / SEGMENT : 0;
    seg = seg >= WINDOW ? seg - WINDOW + 1 : 0;
    memset(x->state, SEG_DONE, seg);
    x->next = x->complete = seg;
    x->high = attr.size;
    progress_skipped(x->c->progress, seg * SEGMENT);
    return true;
}

/* A new part in place of any old one. */
static int xfer_create(struct xfer *x, struct side_dir *to, const char *part, const struct nfs_attr *source,
                       uint32_t mode)
{
    struct nfs_setattr set = {.valid = NFS_SET_MODE, .mode = mode & 0777, .atime = source->mtime};
    int err;
    if (x->size > SEGMENT) { /* may be resumed */
        set.valid |= NFS_SET_ATIME;
        set.mode |= 0600;
    }
    for (int n = 0; n < 3; n++) {
        struct nfs_attr attr;
        struct side_file old = {0};
        err = to->ops->create(to, part, &set, &x->out);
        if (err != -EEXIST)
            return err == -EBUSY ? COPY_TAKEN : err;
        err = to->ops->open(to, part, true, &old, &attr);
        if (err == -EBUSY)
            return COPY_TAKEN;
        if (!err)
            old.ops->close(&old);
        err = to->ops->remove(to, part);
        if (err && err != -ENOENT)
            return err;
    }
    return COPY_TAKEN;
}

/* A hole at the end of the file was not written. */
static int xfer_length(struct xfer *x)
{
    struct nfs_setattr length = {.valid = NFS_SET_SIZE, .size = x->size};
    return x->high == x->size ? 0 : x->out.ops->set(&x->out, &length, NULL);
}

/* Gives the part its attributes, and tells whether its size came out right. */
static int xfer_attributes(struct xfer *x, const struct nfs_attr *source)
{
    struct nfs_setattr set;
    struct nfs_attr attr = {0};
    int err;
    copy_attributes(x->c, source, &set);
    err = x->out.ops->set(&x->out, &set, &attr);
    if (!err && attr.size != x->size)
        err = -EIO;
    return err;
}

/* With resume: whether a complete copy is there already. */
static bool xfer_there(struct xfer *x, struct side_dir *to, const char *to_name, const struct nfs_attr *source)
{
    struct nfs_attr attr;
    bool read_failed;
    int err;
    if (!x->c->resume || to->ops->stat(to, to_name, &attr) || attr.type != NFS_REG || attr.size != source->size ||
        !same_time(&attr.mtime, &source->mtime))
        return false;
    if (x->c->verify) {
        if (to->ops->open(to, to_name, false, &x->out, &attr))
            return false;
        err = xfer_verify(x, &read_failed);
        memset(x->hashed, 0, x->segs * sizeof(*x->hashed));
        x->out.ops->close(&x->out);
        if (err)
            return false;
    }
    progress_skipped(x->c->progress, source->size);
    return true;
}

/* From a part with everything in it to the file. */
static int xfer_end(struct xfer *x, struct side_dir *to, const char *part, const char *to_name,
                    const struct nfs_attr *source, bool *read_failed)
{
    struct nfs_attr attr;
    int err = x->in.ops->get(&x->in, &attr);
    *read_failed = true;
    if (!err && (attr.size != source->size || !same_time(&attr.mtime, &source->mtime)))
        err = COPY_CHANGED;
    if (err)
        return err;
    *read_failed = false;
    err = xfer_length(x);
    if (!err && x->c->verify)
        err = xfer_verify(x, read_failed);
    if (!err)
        err = xfer_attributes(x, source);
    if (!err)
        err = x->out.ops->rename(&x->out, part, to_name);
    return err == -ESTALE ? COPY_TAKEN : err;
}

void xfer_file(struct copy *c, struct side_dir *from, const char *name, const struct nfs_attr *attr,
               struct side_dir *to, const char *to_name)
{
    struct xfer *x = xfer_new(c, from, name);
    struct nfs_attr source;
    struct nfs_setattr set;
    char part[NFS_NAME_MAX + 1];
    bool read_failed = false;
    int err = from->ops->open(from, name, false, &x->in, &source);
    if (err) {
        copy_fail(c, "cannot open", from, name, err);
        goto out;
    }
    xfer_plan(x, source.size);
    if (xfer_there(x, to, to_name, &source))
        goto out_in;
    part_name(to_name, part, sizeof(part));
    copy_attributes(c, &source, &set);
    if (!xfer_resume(x, to, part, &source)) {
        err = xfer_create(x, to, part, &source, set.mode);
        if (err) {
            copy_fail(c, "cannot make", to, to_name, err);
            goto out_in;
        }
    }
    err = xfer_segments(x);
    if (err)
        read_failed = x->read_failed;
    else
        err = xfer_end(x, to, part, to_name, &source, &read_failed);
    if (err == COPY_CHANGED || err == COPY_DIFFERS || (err && x->size <= SEGMENT && err != COPY_TAKEN))
        (void)to->ops->remove(to, part); /* nothing to go on with */
    x->out.ops->close(&x->out);
    if (err && read_failed)
        copy_fail(c, "cannot copy", from, name, err);
    else if (err)
        copy_fail(c, "cannot write", to, to_name, err);
out_in:
    x->in.ops->close(&x->in);
out:
    xfer_unref(x);
}
