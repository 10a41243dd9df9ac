/* SPDX-License-Identifier: Apache-2.0
 * apply: durable txgs go into the index, many in one transaction, behind the replies' back.
 *
 *   A1 Txgs are applied in order, each batch in one SQLite transaction with meta.txg = its last (I1). Ops go first, in
 *      their order, but maps slot by slot (fold.h), as far as no other op on extents is between them; inode rows once per batch, as the last image says, with `used` as what the row had and what the
 *      batch's ops made of it. So a replay, which begins from the rows alone, comes to the same.
 *      A txg that makes a snapshot ends its batch: the tree that snap_pin fixes then is as of that txg.
 *   A2 Payloads that came along in a txg are compressed, and appended to a pack, which is synced before the transaction
 *      commits.
 *      Where they are is nobody's business but the chunk's row's, so a replay may put them elsewhere. Without a
 *      journal that would be a second sync per commit: then they stay in the index as blobs, until tend moves them.
 *   A3 Only after the commit (synchronous = FULL) is the journal's space released, and what the txgs changed unpinned:
 *      whatever is not in memory is what the index says.
 *   A4 A txg that is not journalled is durable when it is applied; the commit thread waits for that before it
 *      closes the next.
 *
 * -ENOSPC repeats a batch each second for ever if it is journalled (nothing is lost, names and data are refused,
 * freeing goes on), else ENOSPC_TRIES times; any other error ends the volume's writing life.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/priority.h"
#include "server/store/fold.h"
#include "server/store/journal.h"

#pragma GCC diagnostic error "-Wswitch"

#define ENOSPC_TRIES 10
#define BATCH_TXGS   4096u
#define IDLE_MS      2000u /* without changes: blobs move */
#define ASIDE_OPS    16u   /* are applied between engine_step_aside */

unsigned apply_age_ms = 500;

/* What a batch does to one inode. */
struct touched {
    struct hnode hn;
    uint64_t ino;
    struct inode *in;        /* NULL in a replay */
    const struct vattr *row; /* to put at the end, or NULL */
    int64_t used;            /* change of it */
};
struct batch {
    struct volume *vol;
    unsigned nops;
    bool aside; /* in the apply thread */
    struct htab touched;
    struct fold maps; /* not applied yet */
    struct index_delta delta;
    struct index_meta meta;
    uint64_t reaped, blob_bytes;
    bool to_packs, appended;
    uint32_t low; /* packref held while appending, 0: none */
};

static struct touched *touch(struct batch *b, uint64_t ino, struct inode *in)
{
    uint64_t h = htab_hash_u64(ino);
    struct touched *t;

    for (struct hnode *n = htab_first(&b->touched, h); n; n = htab_next(n, h)) {
        t = container_of(n, struct touched, hn);
        if (t->ino == ino) {
            t->in = t->in ? t->in : in;
            return t;
        }
    }
    t = vol_alloc(sizeof(*t));
    t->ino = ino;
    t->in = in;
    htab_add(&b->touched, &t->hn, h);
    return t;
}

static struct batch *batch_new(struct volume *v)
{
    struct batch *b = vol_alloc(sizeof(*b));

    b->vol = v;
    b->meta = v->disk_meta;
    if (htab_init(&b->touched, 64))
        abort();
    return b;
}

void batch_free(struct batch *b)
{
    struct hnode *n, *next;

    if (!b)
        return;
    for (n = htab_iter(&b->touched, NULL); n; n = next) {
        next = htab_iter(&b->touched, n);
        free(container_of(n, struct touched, hn));
    }
    htab_release(&b->touched);
    fold_release(&b->maps);
    free(b);
}

/* --- ops --- */

static int apply_reap(struct batch *b, struct rowop *op)
{
    struct index *ix = b->vol->ix;
    struct index_delta d = {0};
    struct touched *t = touch(b, op->ino, op->in);
    int r = 0;

    op->reaped = false;
    if (op->attr.type == IT_REG)
        r = index_punch(ix, op->ino, 0, UINT64_MAX, op->max, &d);
    b->delta.logical += d.logical;
    b->delta.stored += d.stored;
    b->delta.held += d.held;
    t->used += d.logical;
    if (r < 0)
        return r;
    if (r > 0) { /* more to do in a later txg */
        t->row = &op->attr;
        return 0;
    }
    op->reaped = true;
    t->row = NULL;
    b->reaped++;
    r = index_del_inode(ix, op->ino);
    if (r == 0 && op->max)
        r = index_del_orphan(ix, op->ino);
    return r;
}

static int apply_map(struct batch *b, const struct txg *t, const struct rowop *op, struct index_delta *d)
{
    const struct volume_props *props = &t->meta.props;
    const void *payload = rowop_payload(op);
    struct volume *v = b->vol;
    struct chunk c = op->chunk;
    int r = 0;

    if (c.pack)
        return index_map(v->ix, op->ino, op->off, &c, NULL, d);
    if (c.codec == CHUNK_RAW && props->codec != VOLUME_RAW)
        r = chunk_encode(payload, c.len, props->level, scratch_get(), &c, &payload);
    if (r < 0)
        return r;
    if (b->to_packs) {
        r = packset_append(v->ps, &c, op->ino, op->off, payload);
        if (r < 0)
            return r;
        b->appended = true;
        return index_map(v->ix, op->ino, op->off, &c, NULL, d);
    }
    b->blob_bytes += c.stored_len;
    return index_map(v->ix, op->ino, op->off, &c, payload, d);
}

static int apply_repack(struct index *ix, const struct rowop *op, struct index_delta *d)
{
    struct index_piece *p = vol_alloc(op->dlen); /* the op's payload is not aligned */
    int r;

    memcpy(p, rowop_payload(op), op->dlen);
    r = index_repack(ix, p, op->dlen / sizeof(*p), &op->chunk, d);
    free(p);
    return r < 0 ? r : 0;
}

static int apply_op(struct batch *b, struct txg *t, struct rowop *op)
{
    struct index *ix = b->vol->ix;
    struct index_delta d = {0};
    int r = 0;

    if (b->aside && b->nops++ % ASIDE_OPS == 0)
        engine_step_aside(b->vol->e);
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
        return index_put_xattr(ix, op->ino, op->name, op->nlen, rowop_payload(op), op->dlen);
    case OP_DEL_XATTR:
        return index_del_xattr(ix, op->ino, op->name, op->nlen);
    case OP_REAP:
        return apply_reap(b, op);
    case OP_MOVE:
        r = index_replace_payload(ix, &op->chunk, (uint32_t)op->src, op->src_off, &d);
        r = r < 0 ? r : 0;
        break;
    case OP_REPACK:
        r = apply_repack(ix, op, &d);
        break;
    case OP_SNAP:
    case OP_SNAP_FREE:
        r = snap_apply(ix, t, op, &d);
        break;
    case OP_MAP:
        r = apply_map(b, t, op, &d);
        break;
    case OP_PUNCH:
        r = index_punch(ix, op->ino, op->off, op->len, 0, &d);
        break;
    case OP_CLONE:
        r = index_clone(ix, op->src, op->src_off, op->ino, op->off, op->len, &d);
        break;
    }
    if (r >= 0 && op->hash)
        r = index_put_dedup(ix, op->hash, op->ino, op->off, (uint32_t)op->len);
    b->delta.logical += d.logical;
    b->delta.stored += d.stored;
    b->delta.held += d.held;
    if (d.logical)
        touch(b, op->ino, op->in)->used += d.logical;
    return r;
}

/* --- a batch --- */

static int apply_fold(void *arg, struct txg *t, struct rowop *op)
{
    return apply_op(arg, t, op);
}

/* Is the op none of extents and chunks? Then it does not matter whether maps before it come after it. */
static bool beside_maps(enum op_type type)
{
    return type == OP_PUT_DIRENT || type == OP_DEL_DIRENT || type == OP_SYMLINK || type == OP_PUT_ORPHAN ||
           type == OP_PUT_XATTR || type == OP_DEL_XATTR;
}

static int apply_one(struct batch *b, struct txg *t)
{
    int r = 0;

    for (struct rowop *op = t->first; op && r >= 0; op = op->next) {
        if (op->type == OP_MAP) {
            fold_add(&b->maps, t, op);
            continue;
        }
        if (!beside_maps(op->type))
            r = fold_run(&b->maps, apply_fold, b);
        if (r == 0)
            r = apply_op(b, t, op);
    }
    for (size_t i = 0; i < t->nimgs; i++) /* not after a reap: nothing dirties what is dead */
        touch(b, t->imgs[i].a.ino, t->imgs[i].in)->row = &t->imgs[i].a;
    b->meta.files += t->created;
    b->meta.next_ino = t->meta.next_ino;
    b->meta.next_gen = t->meta.next_gen;
    b->meta.next_chunk = t->meta.next_chunk;
    b->meta.snap_seq = t->meta.snap_seq;
    b->meta.props = t->meta.props;
    b->meta.txg = t->n;
    return r;
}

static int put_rows(struct batch *b)
{
    int r = 0;

    for (struct hnode *n = htab_iter(&b->touched, NULL); n && r == 0; n = htab_iter(&b->touched, n)) {
        struct touched *t = container_of(n, struct touched, hn);
        struct vattr a, old;

        if (!t->row)
            continue;
        a = *t->row;
        if (t->in) {
            a.used = t->in->cused;
        } else { /* a reader does not see this transaction: that is the row as it was */
            r = index_get_inode(b->vol->ix, t->ino, &old);
            a.used = r == 0 ? old.used : 0;
            r = r == -ENOENT ? 0 : r;
        }
        a.used += (uint64_t)t->used;
        if (r == 0)
            r = index_put_inode(b->vol->ix, &a);
    }
    return r;
}

static int put_meta(struct batch *b)
{
    struct index_meta *m = &b->meta;

    m->logical += (uint64_t)b->delta.logical;
    m->stored += (uint64_t)b->delta.stored;
    m->held += (uint64_t)b->delta.held;
    m->files -= b->reaped;
    m->next_pack = packset_next(b->vol->ps);
    return index_put_meta(b->vol->ix, m);
}

int batch_apply(struct volume *v, struct txg *const *t, size_t n, struct batch **out)
{
    struct batch *b = *out = batch_new(v);
    int r = fault_point("apply.begin");

    b->to_packs = v->journal != NULL;
    b->aside = v->applying; /* not in a replay: its thread has other things to do afterwards, and starts threads */
    if (r == 0)
        r = index_begin(v->ix);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n && r >= 0; i++)
        r = apply_one(b, t[i]);
    if (r >= 0)
        r = fold_run(&b->maps, apply_fold, b);
    if (r >= 0)
        r = put_rows(b);
    if (r >= 0 && b->appended)
        r = packset_sync(v->ps);
    if (r >= 0)
        r = put_meta(b);
    if (r >= 0)
        r = fault_point("apply.applied");
    if (r < 0) {
        index_rollback(v->ix);
        return r;
    }
    r = index_commit(v->ix);
    if (r < 0)
        return r;
    v->disk_meta = b->meta;
    (void)fault_point("apply.committed");
    if (t[n - 1]->snap)
        snap_pin(v, t[n - 1]);
    return 0;
}

static void finish_op(struct volume *v, struct txg *t, struct rowop *op)
{
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
        return;
    op->in->opsref--;
    if (op->pend) {
        op->in->pend -= op->pend;
        inode_recalc_used(op->in);
    }
    if (op->type != OP_REAP)
        return;
    if (op->reaped) { /* nobody will ask for the tombstone: it may go first */
        list_del(&op->in->lru);
        list_add_tail(&v->inode_lru, &op->in->lru);
    } else {
        list_add_tail(&v->reap, &op->in->reap_link);
    }
}

void batch_finish(struct volume *v, struct batch *b, struct txg *const *t, size_t n)
{
    v->logical += (uint64_t)b->delta.logical;
    v->stored += (uint64_t)b->delta.stored;
    v->held += (uint64_t)b->delta.held;
    v->files -= b->reaped;
    v->committed = t[n - 1]->n;
    if (v->durable < v->committed)
        v->durable = (uint64_t)v->committed;
    v->blob_bytes += b->blob_bytes;
    if (b->blob_bytes)
        v->blob_stuck = false;
    v->idle_ms = clock_mono_ms();
    for (struct hnode *h = htab_iter(&b->touched, NULL); h; h = htab_iter(&b->touched, h)) {
        struct touched *c = container_of(h, struct touched, hn);
        if (!c->in || !c->used)
            continue;
        v->extra -= c->used; /* cused grows; reported use is recomputed */
        c->in->cused += (uint64_t)c->used;
        inode_recalc_used(c->in);
    }
    for (size_t i = 0; i < n; i++) {
        v->wal_debt += t[i]->rows + 4;
        for (size_t k = 0; k < t[i]->nimgs; k++)
            t[i]->imgs[k].in->opsref--;
        for (struct rowop *op = t[i]->first; op; op = op->next)
            finish_op(v, t[i], op);
    }
    v->wal_debt += b->blob_bytes / STORE_PAGE;
    vol_space(v, true);
    if (!list_empty(&v->reap) || snap_due(v))
        txg_kick(v, 0);
    vol_wake(v);
}

/* --- the apply thread --- */

/* The clock of condition variables; clock_mono_ns may be ahead of it in tests. */
static void apply_wait(struct volume *v, unsigned ms)
{
    struct timespec ts;

    if (!ms) {
        pthread_cond_wait(&v->apply_cond, &v->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_sec += ms / 1000;
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts.tv_nsec >= 1000000000) {
        ts.tv_sec++;
        ts.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&v->apply_cond, &v->lock, &ts);
}

/* Takes what makes a batch off the queue's head into t; the count. Lock held. */
static size_t take_batch(struct volume *v, struct txg **t)
{
    uint64_t bytes = 0;
    unsigned rows = 0;
    size_t n = 0;

    list_for_each_safe(it, &v->queue) {
        struct txg *x = list_entry(it, struct txg, link);
        if (n == BATCH_TXGS || (n && (rows + x->rows > TXG_ROWS_MAX || bytes + x->blob_bytes > 4 * TXG_BLOB_MAX)))
            break;
        list_del(&x->link);
        rows += x->rows;
        bytes += x->blob_bytes;
        v->queue_rows -= x->rows;
        v->queue_bytes -= x->blob_bytes;
        t[n++] = x;
        if (x->snap)
            break;
    }
    return n;
}

static void put_back(struct volume *v, struct txg **t, size_t n)
{
    while (n--) { /* nobody unpins these: their inodes and slots stay */
        v->queue_rows += t[n]->rows;
        v->queue_bytes += t[n]->blob_bytes;
        list_add(&v->queue, &t[n]->link);
    }
}

/* Releases the journal's space; after an error of that the volume ends. Lock not held. */
static int release(struct volume *v, struct txg *const *t, size_t n)
{
    const struct txg *last = t[n - 1];

    return v->journal ? journal_release(v->journal, last->n, last->journalled ? last->journal_end : 0) : 0;
}

/* 0, or an error after which nothing more is applied. */
static int apply_some(struct volume *v, struct txg **t)
{
    size_t n = take_batch(v, t);
    bool journalled = t[n - 1]->journalled;
    struct batch *b = NULL;
    uint32_t low = packref_here(v);
    int r;

    v->applying = true;
    for (unsigned i = 0;; i++) {
        pthread_mutex_unlock(&v->lock);
        batch_free(b);
        r = batch_apply(v, t, n, &b);
        pthread_mutex_lock(&v->lock);
        if (r != -ENOSPC || v->apply_stop || (!journalled && i + 1 >= ENOSPC_TRIES))
            break;
        if (!v->nospace)
            log_warn("%s: no space for the index; trying again", v->label);
        v->nospace = true;
        engine_checkpoint_later(v->e, v); /* then what the WAL has on the disk can be used again */
        apply_wait(v, 1000);
        if (v->failed)
            break;
    }
    v->nospace = false;
    packref_put(v, low);
    if (r < 0) {
        put_back(v, t, n);
        v->applying = false;
        if (r != -ENOSPC || !journalled || !v->apply_stop) /* then the next open does it */
            txg_fail(v, r);
        batch_free(b);
        return r;
    }
    batch_finish(v, b, t, n);
    pthread_mutex_unlock(&v->lock);
    r = release(v, t, n);
    for (size_t i = 0; i < n; i++)
        txg_free(v, t[i]);
    batch_free(b);
    pthread_mutex_lock(&v->lock);
    v->applying = false;
    vol_wake(v);
    if (r < 0)
        txg_fail(v, r);
    if (v->wal_debt >= WAL_DEBT) {
        v->wal_debt = 0;
        engine_checkpoint_later(v->e, v);
    }
    return r;
}

/* Is it time to apply? Else *ms is when (0: nothing is queued). Lock held. */
static bool apply_due(struct volume *v, uint64_t now, unsigned *ms)
{
    const struct txg *first = list_first(&v->queue, struct txg, link);
    uint64_t due;

    *ms = 0;
    if (!first)
        return false;
    if (v->apply_stop || v->want_committed > v->committed || !first->journalled ||
        v->queue_rows >= APPLY_ROWS || v->queue_bytes >= APPLY_BYTES ||
        (v->journal && journal_used(v->journal) > journal_size(v->journal) / 2))
        return true;
    due = first->t0 + apply_age_ms;
    if (now >= due)
        return true;
    *ms = (unsigned)(due - now);
    return false;
}

static bool blobs_due(const struct volume *v, uint64_t now)
{
    return v->blob_bytes >= BLOB_IDLE_BYTES && !v->blob_stuck &&
           (v->blob_bytes > BLOB_MOVE_BYTES || now >= v->idle_ms + IDLE_MS);
}

void *apply_main(void *arg)
{
    struct volume *v = arg;
    struct txg **t = vol_alloc(BATCH_TXGS * sizeof(*t));

    pthread_setname_np(pthread_self(), "apply");
    priority_set(PRIORITY_BACKGROUND);
    pthread_mutex_lock(&v->lock);
    while (!v->failed) {
        uint64_t now = clock_mono_ms();
        unsigned ms;

        if (apply_due(v, now, &ms)) {
            if (apply_some(v, t) < 0)
                break;
            continue;
        }
        if (v->apply_stop)
            break;
        if (blobs_due(v, now)) {
            pthread_mutex_unlock(&v->lock);
            engine_step_aside(v->e);
            tend_move_blobs(v);
            pthread_mutex_lock(&v->lock);
            continue;
        }
        if (v->blob_bytes >= BLOB_IDLE_BYTES && !v->blob_stuck && (!ms || ms > IDLE_MS))
            ms = IDLE_MS;
        apply_wait(v, ms);
    }
    while (!v->apply_stop)
        apply_wait(v, 0);
    pthread_mutex_unlock(&v->lock);
    free(t);
    chunk_thread_release();
    return NULL;
}
