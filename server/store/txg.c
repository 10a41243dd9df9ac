/* SPDX-License-Identifier: Apache-2.0
 * txg: transaction groups: many operations' row changes, one durable commit.
 *
 *   open --close_txg--> committing --apply_txg, finish_txg--> committed (volume.committed = n)
 *
 * T1 Operations add to the open txg under the volume lock only, so closing it under that lock is a
 *    consistent cut: no operation is half in it.
 * T2 At most one txg is committing. Its ops are applied in the order they were added; inode rows last,
 *    each once, as they were at the close, with `used` corrected by what its extents did.
 * T3 If a map names a pack, packset_sync comes before index_begin: no committed row names bytes that are
 *    not on the disk.
 * T4 What a txg changed stays pinned in memory (txg > committed, opsref) until finish_txg; so anything
 *    that is not in memory is what the index's committed state says.
 * T5 Waiters of txg n run after the commit of n, never before the commits of all lower ones.
 * T6 -ENOSPC from applying repeats the same txg each second for ENOSPC_TRIES; any other error, or no
 *    space after that, ends the volume's writing life (txg_fail): waiters get -EIO, changes -EROFS, the
 *    write verifier changes; what is in memory can still be read.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"

#define ENOSPC_TRIES 10
#define AWAKE_MS     1000u   /* after a commit, sleep at most TXG_AGE_MS at a time */
#define GATHER_NS    500000u /* wait no longer for a group to become about as large as the last one */

struct rowop *rowop_new(enum op_type type, uint64_t ino, const void *name, size_t nlen, const void *data,
                        size_t dlen)
{
    struct rowop *op = vol_alloc(sizeof(*op) + nlen + 1);

    op->type = type;
    op->ino = ino;
    op->nlen = nlen;
    op->name = (char *)op->data;
    if (nlen)
        memcpy(op->data, name, nlen);
    if (data) {
        op->dlen = dlen;
        struct rowop *p = realloc(op, sizeof(*op) + nlen + 1 + dlen);
        if (!p)
            abort();
        op = p;
        op->name = (char *)op->data;
        memcpy(op->data + nlen + 1, data, dlen);
    }
    return op;
}

static const void *op_payload(const struct rowop *op)
{
    return op->data + op->nlen + 1;
}

void packref_get(struct volume *v, uint32_t pack)
{
    for (size_t i = 0; i < v->npackrefs; i++)
        if (v->packrefs[i].pack == pack) {
            v->packrefs[i].count++;
            return;
        }
    if (v->npackrefs == v->cappackrefs) {
        v->cappackrefs = v->cappackrefs ? 2 * v->cappackrefs : 16;
        v->packrefs = realloc(v->packrefs, v->cappackrefs * sizeof(*v->packrefs));
        if (!v->packrefs)
            abort();
    }
    v->packrefs[v->npackrefs++] = (struct packref){pack, 1};
}

uint32_t packs_settled(struct volume *v)
{
    uint32_t low = packset_current(v->ps);

    if (!low)
        low = packset_next(v->ps);
    for (size_t i = 0; i < v->npackrefs; i++)
        if (v->packrefs[i].pack < low)
            low = v->packrefs[i].pack;
    return low;
}

void packref_put(struct volume *v, uint32_t pack)
{
    for (size_t i = 0; i < v->npackrefs; i++)
        if (v->packrefs[i].pack == pack) {
            if (--v->packrefs[i].count == 0)
                v->packrefs[i] = v->packrefs[--v->npackrefs];
            return;
        }
}

void rowop_drop_list(struct volume *v, struct rowop *op)
{
    while (op) {
        struct rowop *next = op->next;
        if (op->chunk.pack)
            packref_put(v, op->chunk.pack);
        free(op);
        op = next;
    }
}

struct txg *txg_new(uint64_t n)
{
    struct txg *t = vol_alloc(sizeof(*t));

    t->n = n;
    t->tail = &t->first;
    list_init(&t->dirty);
    return t;
}

void txg_free(struct volume *v, struct txg *t)
{
    if (!t)
        return;
    rowop_drop_list(v, t->first);
    snap_drop_request(t);
    list_for_each_safe(it, &t->dirty) {
        list_del(it);
    }
    free(t->imgs);
    free(t);
}

void txg_kick(struct volume *v, uint64_t due)
{
    if (v->commit_sleep <= due)
        return;
    v->commit_sleep = 0;
    pthread_cond_signal(&v->commit_cond);
}

void txg_touch(struct volume *v)
{
    if (v->open->nonempty)
        return;
    v->open->nonempty = true;
    v->open->t0 = clock_mono_ms();
    txg_kick(v, v->open->t0 + TXG_AGE_MS);
}

static bool txg_large(const struct txg *t)
{
    return t->rows > TXG_ROWS_MAX || t->blob_bytes > TXG_BLOB_MAX;
}

void txg_add(struct volume *v, struct rowop *op)
{
    struct txg *t = v->open;

    op->next = NULL;
    *t->tail = op;
    t->tail = &op->next;
    t->rows += 1 + (op->type == OP_CLONE ? (unsigned)(op->len / SLOT_SIZE) : 0);
    if (op->in)
        op->in->opsref++;
    if (op->slot)
        op->slot->opsref++;
    if (op->chunk.pack)
        t->packs = true;
    else if (op->type == OP_MAP)
        t->blob_bytes += op->chunk.stored_len;
    txg_touch(v);
    if (txg_large(t))
        txg_kick(v, 0);
}

void txg_want(struct volume *v, uint64_t n)
{
    if (n > v->want) {
        v->want = n;
        txg_kick(v, 0);
    }
}

int txg_wait_locked(struct volume *v, const struct store_call *call, uint64_t n)
{
    if (n <= v->committed)
        return 0;
    if (v->failed)
        return -EIO;
    if (!call->may_block)
        return -EAGAIN;
    txg_want(v, n);
    vol_wait(v, 0);
    return RETRY;
}

/* --- closing and applying --- */

static void fill_meta(struct volume *v, struct txg *t)
{
    t->meta = (struct index_meta){
        .next_ino = v->next_ino,
        .next_chunk = v->next_chunk,
        .next_gen = v->next_gen,
        .next_pack = packset_next(v->ps),
        .txg = t->n,
        .files = v->files,
        .logical = v->logical,
        .stored = v->stored,
        .held = v->held,
        .snap_seq = v->snap_seq,
        .props = v->props,
    };
}

/* Takes the open txg; the images of its inodes are made here. Volume lock held. */
static struct txg *close_txg(struct volume *v)
{
    struct txg *t = v->open;
    size_t n = 0;

    list_for_each(it, &v->reap) {
        struct inode *in = list_entry(it, struct inode, reap_link);
        struct rowop *op;
        if (in->dirty_row || in->txg > v->committed)
            continue; /* its row goes first, in a txg before */
        op = rowop_new(OP_REAP, in->a.ino, NULL, 0, NULL, 0);
        op->in = in;
        op->max = REAP_EXTENTS;
        op->attr = in->a;
        op->attr.used = in->cused;
        list_del(&in->reap_link);
        txg_add(v, op);
        break;
    }
    snap_close_txg(v, t);
    list_for_each(it, &t->dirty) {
        n++;
    }
    t->imgs = vol_alloc((n ? n : 1) * sizeof(*t->imgs));
    list_for_each_safe(it, &t->dirty) {
        struct inode *in = list_entry(it, struct inode, dirty_link);
        struct tximg *g;

        list_del(&in->dirty_link);
        in->dirty_row = false;
        if (in->nosave)
            continue;
        g = &t->imgs[t->nimgs++];
        g->in = in;
        g->a = in->a;
        g->a.size = in->psize;
        in->opsref++;
        in->img = g;
    }
    fill_meta(v, t);
    v->committing = t;
    v->open = txg_new(t->n + 1);
    return t;
}

static int apply_reap(struct index *ix, struct txg *t, struct rowop *op)
{
    struct index_delta d = {0};
    int r = 0;

    op->reaped = false;
    if (op->attr.type == IT_REG)
        r = index_punch(ix, op->ino, 0, UINT64_MAX, op->max, &d);
    t->delta.logical += d.logical;
    t->delta.stored += d.stored;
    t->delta.held += d.held;
    op->len = (uint64_t)d.logical;
    if (r < 0)
        return r;
    if (r > 0) { /* more to do in a later txg */
        struct vattr a = op->attr;
        a.used += (uint64_t)d.logical;
        return index_put_inode(ix, &a);
    }
    op->reaped = true;
    t->reaped++;
    r = index_del_inode(ix, op->ino);
    if (r == 0 && op->max)
        r = index_del_orphan(ix, op->ino);
    return r;
}

static int apply_op(struct index *ix, struct txg *t, struct rowop *op)
{
    struct index_delta d = {0};
    int r = 0;

    switch (op->type) {
    case OP_PUT_DIRENT:
        return index_put_dirent(ix, op->ino, op->off, op->name, op->nlen, op->len);
    case OP_DEL_DIRENT:
        return index_del_dirent(ix, op->ino, op->off);
    case OP_SYMLINK:
        return index_put_symlink(ix, op->ino, op->name, op->nlen);
    case OP_PUT_ORPHAN:
        return index_put_orphan(ix, op->ino);
    case OP_PUT_XATTR:
        return index_put_xattr(ix, op->ino, op->name, op->nlen, op_payload(op), op->dlen);
    case OP_DEL_XATTR:
        return index_del_xattr(ix, op->ino, op->name, op->nlen);
    case OP_REAP:
        return apply_reap(ix, t, op);
    case OP_SNAP:
    case OP_SNAP_FREE:
        r = snap_apply(ix, t, op, &d);
        break;
    case OP_MAP:
        r = index_map(ix, op->ino, op->off, &op->chunk, op->chunk.pack ? NULL : op_payload(op), &d);
        break;
    case OP_PUNCH:
        r = index_punch(ix, op->ino, op->off, op->len, 0, &d);
        break;
    case OP_CLONE:
        r = index_clone(ix, op->src, op->src_off, op->ino, op->off, op->len, &d);
        break;
    case OP_MOVE:
        r = index_replace_payload(ix, &op->chunk, (uint32_t)op->src, op->src_off, &d);
        break;
    }
    t->delta.logical += d.logical;
    t->delta.stored += d.stored;
    t->delta.held += d.held;
    if (op->in && op->in->img)
        op->in->img->used += d.logical;
    return r;
}

/* One try at making the txg durable. No lock held. */
static int apply_txg(struct volume *v, struct txg *t)
{
    int r = fault_point("txg.close");

    t->delta = (struct index_delta){0};
    t->reaped = 0;
    for (size_t i = 0; i < t->nimgs; i++)
        t->imgs[i].used = 0;
    if (r == 0 && t->packs)
        r = packset_sync(v->ps);
    if (r < 0)
        return r;
    r = index_begin(v->ix);
    if (r < 0)
        return r;
    for (struct rowop *op = t->first; op && r >= 0; op = op->next)
        r = apply_op(v->ix, t, op);
    for (size_t i = 0; i < t->nimgs && r >= 0; i++) {
        struct vattr a = t->imgs[i].a;
        a.used = t->imgs[i].in->cused + (uint64_t)t->imgs[i].used;
        r = index_put_inode(v->ix, &a);
    }
    if (r >= 0) {
        struct index_meta m = t->meta;
        m.logical += (uint64_t)t->delta.logical;
        m.stored += (uint64_t)t->delta.stored;
        m.held += (uint64_t)t->delta.held;
        m.files -= t->reaped;
        r = index_put_meta(v->ix, &m);
        if (r >= 0)
            v->disk_meta = m;
    }
    if (r >= 0)
        r = fault_point("txg.applied");
    if (r < 0) {
        index_rollback(v->ix);
        return r;
    }
    r = index_commit(v->ix);
    if (r == 0)
        (void)fault_point("txg.committed");
    if (r == 0 && t->snap)
        snap_pin(v, t);
    return r;
}

/* Everything in t is durable: unpin it. Volume lock held. */
static void finish_txg(struct volume *v, struct txg *t)
{
    v->logical += (uint64_t)t->delta.logical;
    v->stored += (uint64_t)t->delta.stored;
    v->held += (uint64_t)t->delta.held;
    v->files -= t->reaped;
    v->committed = t->n;
    v->committing = NULL;
    v->blob_bytes += t->blob_bytes;
    if (t->blob_bytes)
        v->blob_stuck = false;
    v->idle_ms = clock_mono_ms();
    v->wal_debt += t->rows + t->blob_bytes / STORE_PAGE + 4;
    for (size_t i = 0; i < t->nimgs; i++) {
        struct inode *in = t->imgs[i].in;
        in->img = NULL;
        in->opsref--;
        v->extra -= t->imgs[i].used; /* cused grows; reported use is recomputed below */
        in->cused += (uint64_t)t->imgs[i].used;
        inode_recalc_used(in);
    }
    for (struct rowop *op = t->first; op; op = op->next) {
        if (op->chunk.pack) {
            packref_put(v, op->chunk.pack);
            op->chunk.pack = 0; /* so that the op can be freed without the lock */
        }
        if (op->slot) {
            op->slot->opsref--;
            cache_account(op->slot);
        }
        if (op->type == OP_SNAP || op->type == OP_SNAP_FREE)
            snap_finish(v, t, op);
        if (!op->in)
            continue;
        op->in->opsref--;
        if (op->pend) {
            op->in->pend -= op->pend;
            inode_recalc_used(op->in);
        }
        if (op->type != OP_REAP)
            continue;
        v->extra -= (int64_t)op->len;
        op->in->cused += op->len;
        if (op->reaped) { /* nobody will ask for the tombstone: it may go first */
            list_del(&op->in->lru);
            list_add_tail(&v->inode_lru, &op->in->lru);
        } else {
            list_add_tail(&v->reap, &op->in->reap_link);
        }
    }
    vol_space(v, true);
    vol_wake(v);
}

void txg_fail(struct volume *v, int err)
{
    if (v->failed)
        return;
    log_error("%s: cannot make changes durable (%s); the volume is read-only until it is reopened",
              v->label, strerrordesc_np(-err));
    v->failed = err;
    v->verifier ^= clock_random64() | 1;
    vol_wake(v);
    pthread_cond_signal(&v->commit_cond);
}

/* --- the commit thread --- */

/* Milliseconds until the thread has something to do without being asked; 0: nothing in sight. Starts
 * what is due. */
static unsigned tend(struct volume *v, uint64_t now)
{
    uint64_t due = UINT64_MAX;

    if (v->open->nonempty)
        due = v->open->t0 + TXG_AGE_MS;
    if (!list_empty(&v->dirty)) {
        struct slot *s = list_first(&v->dirty, struct slot, vdlink);
        volume_flush_old(v, now > FLUSH_AGE_MS ? now - FLUSH_AGE_MS : 0);
        if (v->prep_bytes)
            volume_publish_preps(v, now > PREP_AGE_MS ? now - PREP_AGE_MS : 0);
        s = list_first(&v->dirty, struct slot, vdlink);
        if (s) {
            uint64_t t = now + PREP_AGE_MS / 2;
            due = t < due ? t : due;
        }
        if (v->open->nonempty && v->open->t0 + TXG_AGE_MS < due)
            due = v->open->t0 + TXG_AGE_MS;
    }
    if (v->blob_bytes >= BLOB_IDLE_BYTES && !v->blob_stuck) {
        uint64_t t = v->blob_bytes > BLOB_MOVE_BYTES ? now : v->idle_ms + 2000;
        due = t < due ? t : due;
    }
    /* Soon after a change the next one is likely: then a sleep that is short anyway needs no wake-up. */
    if (now < v->idle_ms + AWAKE_MS && now + TXG_AGE_MS < due)
        due = now + TXG_AGE_MS;
    if (due == UINT64_MAX)
        return 0;
    return due <= now ? 1 : (unsigned)(due - now);
}

static bool reap_due(struct volume *v)
{
    list_for_each(it, &v->reap) {
        struct inode *in = list_entry(it, struct inode, reap_link);
        if (!in->dirty_row && in->txg <= v->committed)
            return true;
    }
    return false;
}

/* The clock of condition variables; clock_mono_ns may be ahead of it in tests. */
static uint64_t cond_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* Waits until a signal, or until t on that clock. */
static int commit_wait_until(struct volume *v, uint64_t t)
{
    struct timespec ts = {.tv_sec = (time_t)(t / 1000000000u), .tv_nsec = (long)(t % 1000000000u)};

    return pthread_cond_timedwait(&v->commit_cond, &v->lock, &ts);
}

/* Waits for something to do, at most ms (0: no bound). */
static void commit_wait(struct volume *v, unsigned ms)
{
    v->commit_sleep = ms ? clock_mono_ms() + ms : UINT64_MAX;
    if (ms)
        (void)commit_wait_until(v, cond_ns() + (uint64_t)ms * 1000000u);
    else
        pthread_cond_wait(&v->commit_cond, &v->lock);
    v->commit_sleep = 0;
}

/* The requests that the last commit released are likely to be followed by as many: a group of all of them
 * costs one commit, where going on with the first to come would make the others wait for a second one. */
static void gather(struct volume *v)
{
    uint64_t most = v->commit_ns / 4 < GATHER_NS ? v->commit_ns / 4 : GATHER_NS;
    uint64_t end = cond_ns() + most;

    v->gathering = true;
    while (!v->stop && !v->failed && v->nwaiters < v->group && !txg_large(v->open))
        if (commit_wait_until(v, end) == ETIMEDOUT)
            break;
    v->gathering = false;
}

static void commit_one(struct volume *v)
{
    uint64_t t0 = clock_mono_ns();
    struct txg *t = close_txg(v);
    int r = 0;

    for (unsigned i = 0; i < ENOSPC_TRIES; i++) {
        pthread_mutex_unlock(&v->lock);
        r = apply_txg(v, t);
        pthread_mutex_lock(&v->lock);
        if (r != -ENOSPC || v->stop)
            break;
        if (!v->nospace)
            log_warn("%s: no space to commit; trying again", v->label);
        v->nospace = true;
        commit_wait(v, 1000);
    }
    v->nospace = false;
    if (r < 0) {
        txg_fail(v, r); /* v->committing stays: its inodes and slots are pinned for good */
        return;
    }
    finish_txg(v, t);
    v->commit_ns = clock_mono_ns() - t0;
    log_debug(LOG_STORE, "%s: commit=%llu rows=%u us=%llu", v->label, (unsigned long long)t->n, t->rows,
              (unsigned long long)v->commit_ns / 1000);
    atomic_fetch_add_explicit(&v->e->commits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->e->commit_us, v->commit_ns / 1000, memory_order_relaxed);
    v->group = v->nwaiters - v->nwaiters / 4;
    call_run_waiters(v);
    pthread_mutex_unlock(&v->lock);
    txg_free(v, t);
    pthread_mutex_lock(&v->lock);
    if (v->wal_debt >= WAL_DEBT) {
        v->wal_debt = 0;
        engine_checkpoint_later(v->e, v);
    }
}

void *txg_main(void *arg)
{
    struct volume *v = arg;

    pthread_mutex_lock(&v->lock);
    while (!v->failed) {
        uint64_t now = clock_mono_ms();
        struct txg *t = v->open;
        unsigned ms;

        if (reap_due(v) || snap_due(v))
            txg_touch(v);
        if (t->nonempty && v->want >= t->n && v->nwaiters < v->group)
            gather(v);
        if (t->nonempty && (v->stop || v->want >= t->n || txg_large(t) || now >= t->t0 + TXG_AGE_MS)) {
            commit_one(v);
            continue;
        }
        if (v->stop)
            break;
        if (v->want < t->n && v->blob_bytes >= BLOB_IDLE_BYTES && !v->blob_stuck &&
            (v->blob_bytes > BLOB_MOVE_BYTES || now >= v->idle_ms + 2000)) {
            pthread_mutex_unlock(&v->lock);
            tend_move_blobs(v);
            pthread_mutex_lock(&v->lock);
            continue;
        }
        ms = tend(v, now);
        if (v->want >= v->open->n && v->open->nonempty)
            continue;
        commit_wait(v, ms);
    }
    call_run_waiters(v);
    while (v->failed && !v->stop) {
        call_run_waiters(v);
        if (!v->waiters && !v->stop)
            pthread_cond_wait(&v->commit_cond, &v->lock);
    }
    call_run_waiters(v);
    pthread_mutex_unlock(&v->lock);
    chunk_thread_release();
    return NULL;
}
