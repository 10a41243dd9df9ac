/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Write-behind: what this process has written to a file and the server has not yet made durable.
 *
 * A write is copied into a chunk and sent at once, unstable, without waiting for the answer; up to VNODE_FLIGHT bytes
 * are under way. Chunks stay until COMMIT returns the verifier they were written under; if the server was
 * restarted in between they are written again. flush (close, fsync, exit) waits, commits and reports the
 * first error; a write reports it earlier when it is known. While much is written, a COMMIT of what is answered by then is
 * under way beside the writes (commit_start), so that they wait only when the server makes less durable than it takes.
 *
 * A chunk goes: sent -> answered (settle, in order) -> committed and freed (commit_finish, flush).
 *
 * Chunks go over several connections, so the server may carry them out in any order: one that overlaps another is
 * sent when that is answered, and when one must be written again after a restart so must all that came after it.
 * A write is answered before it returns when others of the run have the file open: they may look at once.
 *
 * Where there is no room, waiting for close is too late: shells and destructors do not look at what it says. After a write to a volume
 * that ended with ENOSPC, EDQUOT or EIO all writes of the run to it are durable before they return, and tell their errors themselves,
 * until one works when VNODE_CAREFUL seconds have passed since the last error. What a write told is told once more by the next flush
 * (owed), and keeps no later write from being tried.
 */
#include <errno.h>
#include <string.h>

#include "client/nfs/call.h"
#include "client/shim/shim.h"

#define VNODE_HASH 256
#define VNODE_CAREFUL 10         /* seconds */
#define VNODE_FLIGHT (8u << 20) /* bytes sent and not answered */
#define VNODE_CALLS 256         /* and in so many calls */
#define VNODE_KEEP (64u << 20)  /* bytes sent and not committed */
#define VNODE_COMMIT (16u << 20) /* so many that are answered are worth a COMMIT */

struct chunk {
    struct chunk *next;
    struct rpc_call rpc;
    struct nfs_enc enc;
    uint8_t head[256], tail[4];
    uint8_t *data;
    uint32_t size, status, have;
    uint64_t offset, verf;
};

struct vnode {
    struct vnode *next;
    int users;
    struct vlock lock;
    struct nfs_fh fh;
    struct chunk *first, **last; /* in the order written */
    struct chunk *open;          /* the first that is not settled; all after it are not either */
    struct chunk *settled;       /* the last before it, if there is one */
    size_t flight, kept;         /* bytes sent and not settled, settled */
    struct nfs_commit *commit;   /* under way */
    struct chunk *covered;       /* and it tells of all chunks up to this one */
    unsigned calls; /* under way */
    uint32_t mount;
    int error; /* the first that nobody was told */
    int owed;  /* told by a write, and still to be told by a flush */
    unsigned losses; /* rpc_losses when it had nothing unfinished */
    uint64_t end; /* appends: where the end was last seen */
};

static struct {
    struct vlock lock;
    struct vnode *hash[VNODE_HASH];
} vnodes;

unsigned file_slot(const struct nfs_fh *fh)
{
    uint64_t h = 0xcbf29ce484222325u;
    uint32_t i = 0;

    for (; i + 8 <= fh->size; i += 8) {
        uint64_t word;

        memcpy(&word, fh->data + i, 8);
        h = (h ^ word) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    for (; i < fh->size; i++)
        h = (h ^ fh->data[i]) * 0x100000001b3u;
    return (unsigned)((h ^ h >> 32) % SHIM_SLOTS);
}

uint32_t file_gen(const struct nfs_fh *fh)
{
    return __atomic_load_n(&shim.run->gens[file_slot(fh)], __ATOMIC_ACQUIRE);
}

void file_changed(const struct nfs_fh *fh)
{
    __atomic_add_fetch(&shim.run->gens[file_slot(fh)], 1, __ATOMIC_ACQ_REL);
    __atomic_add_fetch(&shim.run->changes, 1, __ATOMIC_ACQ_REL);
}

uint32_t file_changes(void)
{
    return __atomic_load_n(&shim.run->changes, __ATOMIC_ACQUIRE);
}

static struct vnode *vnode_get(const struct nfs_fh *fh, bool make)
{
    unsigned slot = file_slot(fh) % VNODE_HASH;
    struct vnode *v;

    vlock_lock(&vnodes.lock);
    for (v = vnodes.hash[slot]; v != NULL && !nfs_fh_same(&v->fh, fh); v = v->next)
        ;
    if (v == NULL && make && (v = heap_zalloc(1, sizeof(*v))) != NULL) {
        v->fh = *fh;
        v->last = &v->first;
        v->next = vnodes.hash[slot];
        vnodes.hash[slot] = v;
    }
    if (v != NULL)
        v->users++;
    vlock_unlock(&vnodes.lock);
    return v;
}

static void vnode_put(struct vnode *v)
{
    struct vnode **at;

    vlock_lock(&vnodes.lock);
    if (--v->users == 0 && v->first == NULL && v->error == 0 && v->owed == 0) {
        for (at = &vnodes.hash[file_slot(&v->fh) % VNODE_HASH]; *at != v; at = &(*at)->next)
            ;
        *at = v->next;
        heap_free(v);
    }
    vlock_unlock(&vnodes.lock);
}

/* 0: writes to the volume need not wait; else the second, never 0, until which they do. */
static uint32_t *vnode_careful(const struct vnode *v)
{
    return &shim.run->careful[v->mount];
}

static uint32_t vnode_second(void)
{
    return (uint32_t)(sys_now_ms() / 1000);
}

static void vnode_trouble(struct vnode *v, int err)
{
    if (err == -ENOSPC || err == -EDQUOT || err == -EIO)
        __atomic_store_n(vnode_careful(v), (vnode_second() + VNODE_CAREFUL) | 1, __ATOMIC_RELAXED);
}

static void vnode_worked(struct vnode *v, uint32_t until)
{
    if ((int32_t)(vnode_second() - until) >= 0)
        __atomic_compare_exchange_n(vnode_careful(v), &until, 0, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
}

static void vnode_failed(struct vnode *v, int err)
{
    if (err == 0)
        return;
    vnode_trouble(v, err);
    if (v->error == 0)
        v->error = err;
}

static int chunk_take(struct rpc_call *rpc, const uint8_t *reply, size_t size)
{
    struct chunk *chunk = rpc->arg;
    struct nfs_dec dec;

    dec_start(&dec, reply, size);
    chunk->status = dec_op(&dec, NFS_OP_PUTFH);
    if (chunk->status == NFS_OK)
        chunk->status = dec_op(&dec, NFS_OP_WRITE);
    if (chunk->status == NFS_OK) {
        chunk->have = dec_u32(&dec);
        dec_u32(&dec);
        chunk->verf = dec_u64(&dec);
    }
    return dec.bad || chunk->have > chunk->size ? -EIO : 0;
}

static void chunk_free(struct chunk *chunk)
{
    heap_free(chunk->data);
    heap_free(chunk);
}

static struct chunk *chunk_new(const struct nfs_fh *fh, uint32_t size, uint64_t offset)
{
    static const struct nfs_stateid anonymous;
    struct chunk *chunk = heap_zalloc(1, sizeof(*chunk));

    if (chunk == NULL)
        return NULL;
    chunk->data = heap_alloc(size);
    if (chunk->data == NULL) {
        heap_free(chunk);
        return NULL;
    }
    chunk->size = size;
    chunk->offset = offset;
    enc_start(&chunk->enc, chunk->head, sizeof(chunk->head));
    enc_putfh(&chunk->enc, fh);
    enc_op(&chunk->enc, NFS_OP_WRITE);
    enc_stateid(&chunk->enc, &anonymous);
    enc_u64(&chunk->enc, offset);
    enc_u32(&chunk->enc, 0); /* UNSTABLE4 */
    enc_u32(&chunk->enc, size);
    enc_finish(&chunk->enc);
    chunk->rpc.out[0] = (struct iovec){chunk->head, chunk->enc.pos};
    chunk->rpc.out[1] = (struct iovec){chunk->data, size};
    chunk->rpc.out[2] = (struct iovec){chunk->tail, -size & 3};
    chunk->rpc.nout = 3;
    chunk->rpc.take = chunk_take;
    chunk->rpc.arg = chunk;
    return chunk;
}

/* Whether another description of the file is open in the run, or this one in several processes. */
static bool vnode_shared(const struct nfs_fh *fh, const struct ofd *ofd)
{
    return __atomic_load_n(&shim.run->opens[file_slot(fh)], __ATOMIC_RELAXED) > 1 ||
           (ofd != NULL && __atomic_load_n(&ofd->refs, __ATOMIC_RELAXED) > 1);
}

/* Waits for one chunk's answer and deals with it. */
static void chunk_settle(struct vnode *v, struct chunk *chunk)
{
    int err;

    for (unsigned n = 0;; n++) {
        err = rpc_wait(shim.client->server, &chunk->rpc);
        if (err != 0 || (chunk->status != NFS_ERR_DELAY && chunk->status != NFS_ERR_GRACE))
            break;
        if ((err = call_pause(n)) != 0)
            break;
        rpc_submit(shim.client->server, &chunk->rpc);
    }
    if (err == 0)
        err = nfs_errno(chunk->status);
    if (err == 0 && chunk->have < chunk->size)
        err = nfs_write(shim.client, &v->fh, chunk->data, chunk->size, chunk->offset, false, &chunk->verf);
    v->flight -= chunk->size;
    v->calls--;
    if (vnode_shared(&v->fh, NULL))
        file_changed(&v->fh); /* who opened it meanwhile may have seen what was before */
    v->kept += chunk->size;
    vnode_failed(v, err);
}

/* Settles the oldest that is not. */
static void vnode_settle_one(struct vnode *v)
{
    chunk_settle(v, v->open);
    v->settled = v->open;
    v->open = v->open->next;
}

/* Settles, oldest first, until no more than limit bytes are under way. */
static void vnode_settle_locked(struct vnode *v, size_t limit)
{
    while (v->open != NULL && v->flight > limit)
        vnode_settle_one(v);
}

/* Settles what is under way to any of these bytes, and what was sent before that. */
static void vnode_settle_range(struct vnode *v, uint64_t offset, uint64_t size)
{
    unsigned n = 0, upto = 0;

    for (struct chunk *chunk = v->open; chunk != NULL; chunk = chunk->next) {
        n++;
        if (chunk->offset < offset + size && offset < chunk->offset + chunk->size)
            upto = n;
    }
    while (upto-- > 0)
        vnode_settle_one(v);
}

/* Takes in answers that are here already. */
static void vnode_look_locked(struct vnode *v)
{
    while (v->open != NULL && rpc_poll(shim.client->server, &v->open->rpc))
        vnode_settle_one(v);
}

static void vnode_commit_start(struct vnode *v)
{
    v->commit = nfs_commit_start(shim.client, &v->fh);
    v->covered = v->settled;
}

/* Frees what is durable by the COMMIT under way. False: it is not all that it should be; vnode_commit_locked is due. */
static bool vnode_commit_finish(struct vnode *v)
{
    struct chunk *chunk, *behind = v->covered->next;
    uint64_t verf = 0;
    int err = nfs_commit_finish(shim.client, v->commit, &verf);

    v->commit = NULL;
    vnode_failed(v, err);
    for (chunk = v->first; err == 0 && chunk != behind; chunk = chunk->next)
        if (chunk->verf != verf)
            err = -EAGAIN; /* the server was restarted */
    if (err != 0)
        return false;
    if (v->settled == v->covered)
        v->settled = NULL;
    while ((chunk = v->first) != behind) {
        v->first = chunk->next;
        v->kept -= chunk->size;
        chunk_free(chunk);
    }
    if (v->first == NULL)
        v->last = &v->first;
    return true;
}

static int vnode_commit_locked(struct vnode *v)
{
    struct chunk *chunk;
    uint64_t verf = 0;
    bool again = false;
    int err = 0;

    if (v->commit != NULL)
        vnode_commit_finish(v);
    vnode_settle_locked(v, 0);
    if (v->first != NULL && v->error == 0)
        err = nfs_commit(shim.client, &v->fh, &verf);
    while ((chunk = v->first) != NULL) {
        again |= chunk->verf != verf;
        if (again && err == 0 && v->error == 0)
            err = nfs_write(shim.client, &v->fh, chunk->data, chunk->size, chunk->offset, true, NULL);
        v->first = chunk->next;
        chunk_free(chunk);
    }
    v->last = &v->first;
    v->settled = NULL;
    v->kept = v->flight = 0;
    vnode_failed(v, err);
    return v->error;
}

/* Before `size` more bytes are written: a COMMIT is under way when it is time, and no more than VNODE_KEEP is kept. */
static void vnode_commit_beside(struct vnode *v, uint32_t size)
{
    bool full = v->kept + v->flight + size > VNODE_KEEP;

    if (v->commit != NULL && (full || nfs_commit_here(shim.client, v->commit)) && !vnode_commit_finish(v))
        vnode_commit_locked(v);
    if (v->commit != NULL || v->error != 0)
        return;
    if (v->kept + v->flight + size > VNODE_KEEP) /* there was no memory for a call */
        vnode_commit_locked(v);
    else if (v->kept >= VNODE_COMMIT)
        vnode_commit_start(v);
}

static void iov_copy(uint8_t *to, size_t size, const struct iovec **iov, size_t *skip)
{
    while (size > 0) {
        size_t part = (*iov)->iov_len - *skip;

        if (part > size)
            part = size;
        memcpy(to, (const uint8_t *)(*iov)->iov_base + *skip, part);
        to += part;
        size -= part;
        *skip += part;
        if (*skip == (*iov)->iov_len) {
            (*iov)++;
            *skip = 0;
        }
    }
}

static long vnode_append_locked(struct vnode *v, const struct iovec *iov, int n, size_t total, uint64_t *end)
{
    uint8_t *all = NULL;
    const void *data = iov[0].iov_base;
    size_t skip = 0;
    ssize_t done;

    vnode_commit_locked(v); /* our own earlier bytes come first */
    if (n > 1) {
        all = heap_alloc(total);
        if (all == NULL)
            return -ENOMEM;
        iov_copy(all, total, &iov, &skip);
        data = all;
    }
    done = nfs_append(shim.client, &v->fh, data, total, &v->end);
    heap_free(all);
    *end = v->end;
    return done;
}

/* The end of a write that has to be durable, since one failed a moment ago. 0, or the error, which no write tells again. */
static int vnode_written_now(struct vnode *v, uint32_t until)
{
    int err = vnode_commit_locked(v);

    if (err == 0)
        vnode_worked(v, until);
    else
        v->owed = err;
    v->error = 0;
    return err;
}

long vnode_write(struct ofd *ofd, const struct iovec *iov, int n, uint64_t offset, bool append, uint64_t *end)
{
    size_t total = 0, done = 0, skip = 0;
    struct vnode *v;
    uint32_t until;
    long ret = lock_check(ofd);

    if (ret != 0)
        return ret;
    while (n > 0 && iov[0].iov_len == 0) {
        iov++;
        n--;
    }
    for (int i = 0; i < n; i++) {
        if (iov[i].iov_len > (size_t)0x7ffff000 || total + iov[i].iov_len > (size_t)0x7ffff000)
            return -EINVAL;
        total += iov[i].iov_len;
    }
    if (total == 0)
        return 0;
    v = vnode_get(&ofd->fh, true);
    if (v == NULL)
        return -ENOMEM;
    vlock_lock(&v->lock);
    v->mount = ofd->mount;
    if (append) {
        if (v->end == 0)
            v->end = ofd->attr.size;
        ret = vnode_append_locked(v, iov, n, total, end);
        until = __atomic_load_n(vnode_careful(v), __ATOMIC_RELAXED);
        if (ret < 0)
            vnode_trouble(v, (int)ret);
        else if (until != 0)
            vnode_worked(v, until);
        goto out;
    }
    while (done < total) {
        uint32_t size = (uint32_t)(total - done < RPC_MAX_IO ? total - done : RPC_MAX_IO);
        struct chunk *chunk;

        if (v->flight + size > VNODE_FLIGHT)
            vnode_settle_locked(v, VNODE_FLIGHT - size);
        else
            vnode_look_locked(v);
        while (v->calls >= VNODE_CALLS)
            vnode_settle_one(v);
        vnode_settle_range(v, offset + done, size);
        vnode_commit_beside(v, size);
        if (v->error != 0)
            break;
        chunk = chunk_new(&v->fh, size, offset + done);
        if (chunk == NULL) {
            ret = -ENOMEM;
            break;
        }
        iov_copy(chunk->data, size, &iov, &skip);
        chunk->rpc.lane = call_lane(shim.client);
        if (v->first == NULL)
            v->losses = rpc_losses();
        *v->last = chunk;
        v->last = &chunk->next;
        if (v->open == NULL)
            v->open = chunk;
        v->flight += size;
        v->calls++;
        rpc_submit(shim.client->server, &chunk->rpc);
        done += size;
    }
    *end = offset + done;
    if (vnode_shared(&ofd->fh, ofd))
        vnode_settle_locked(v, 0);
    until = __atomic_load_n(vnode_careful(v), __ATOMIC_RELAXED);
    if (until != 0 && (done > 0 || v->error != 0) && (ret = vnode_written_now(v, until)) != 0)
        goto out;
    if (done > 0)
        ret = (long)done;
    else if (v->error != 0)
        ret = v->error;
out:
    vlock_unlock(&v->lock);
    vnode_put(v);
    file_changed(&ofd->fh);
    return ret;
}

int vnode_drain(const struct nfs_fh *fh)
{
    struct vnode *v = vnode_get(fh, false);

    if (v == NULL)
        return 0;
    vlock_lock(&v->lock);
    vnode_settle_locked(v, 0);
    /* A server that was restarted has forgotten what was not committed: what is read next must not lack it. */
    if (v->first != NULL && v->losses != rpc_losses())
        vnode_commit_locked(v);
    vlock_unlock(&v->lock);
    vnode_put(v);
    return 0;
}

int vnode_flush(const struct nfs_fh *fh, bool sync)
{
    struct vnode *v = vnode_get(fh, false);
    int err;

    if (v == NULL) {
        uint64_t verf;

        return sync ? nfs_commit(shim.client, fh, &verf) : 0;
    }
    vlock_lock(&v->lock);
    err = vnode_commit_locked(v);
    if (err == 0)
        err = v->owed;
    v->error = v->owed = 0;
    v->end = 0;
    vlock_unlock(&v->lock);
    vnode_put(v);
    heap_trim();
    return err;
}

bool vnode_dirty(const struct nfs_fh *fh)
{
    struct vnode *v = vnode_get(fh, false);
    bool dirty;

    if (v == NULL)
        return false;
    dirty = v->first != NULL;
    vnode_put(v);
    return dirty;
}

void vnode_truncated(const struct nfs_fh *fh)
{
    struct vnode *v = vnode_get(fh, false);

    if (v == NULL)
        return;
    vlock_lock(&v->lock);
    v->end = 0;
    vlock_unlock(&v->lock);
    vnode_put(v);
}

void vnode_flush_all(void)
{
    for (unsigned i = 0; i < VNODE_HASH; i++) {
        struct vnode *v;

        vlock_lock(&vnodes.lock);
        for (v = vnodes.hash[i]; v != NULL; v = v->next) {
            if (v->first == NULL)
                continue;
            v->users++;
            vlock_unlock(&vnodes.lock);
            vlock_lock(&v->lock);
            vnode_commit_locked(v);
            vlock_unlock(&v->lock);
            vlock_lock(&vnodes.lock);
            v->users--;
        }
        vlock_unlock(&vnodes.lock);
    }
}

void vnode_after_fork(void)
{
    /* What the parent wrote it also finishes. */
    memset(&vnodes, 0, sizeof(vnodes));
}
