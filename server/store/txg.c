/* SPDX-License-Identifier: Apache-2.0
 * txg: transaction groups: many operations' row changes, one durable record in the journal.
 *
 *   open --txg_close--> committing --write_record, enqueue--> durable, queued --apply.c--> in the index
 *
 * T1 Operations add to the open txg under the volume lock only, so closing it under that lock is a
 *    consistent cut: no operation is half in it.
 * T2 At most one txg is committing. Records are written, and txgs applied, in the order they were closed; inode images
 *    are as they were at the close.
 * T3 If an op names a pack, packset_sync comes before the record: no record, and no row, names bytes that are
 *    not on the disk.
 * T4 What a txg changed stays pinned in memory (txg > committed, opsref) until it is in the index; so anything
 *    that is not in memory is what the index's committed state says.
 * T5 Waiters of txg n run after n is durable, never before all lower ones are.
 * T6 What cannot be made durable ends the volume's writing life (txg_fail): waiters get -EIO, changes -EROFS, the
 *    write verifier changes; what is in memory can still be read. No space for the index: apply.c.
 * T7 A txg that does not fit the journal, or all of them when there is none, go to the index at once (A4).
 * T8 The commit thread waits when the apply thread is behind: the ring is full, or QUEUE_ROWS_MAX, QUEUE_BYTES_MAX, or the
 *    txgs of all volumes take too much memory (cache.c, M2). Then
 *    the open txg grows until it is large, and changes wait (vol_admit).
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

struct rowop *rowop_new(enum op_type type, uint64_t ino, const void *name, size_t nlen, const void *data,
                        size_t dlen)
{
    struct rowop *op = malloc(sizeof(*op) + nlen + 1 + dlen);

    if (!op)
        abort();
    memset(op, 0, sizeof(*op));
    op->type = type;
    op->ino = ino;
    op->nlen = nlen;
    op->dlen = dlen;
    op->name = (char *)op->data;
    if (nlen)
        memcpy(op->data, name, nlen);
    op->data[nlen] = 0;
    if (dlen)
        memcpy(op->data + nlen + 1, data, dlen);
    return op;
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

/* The pack that the next record goes to, or a lower one. */
static uint32_t pack_here(const struct volume *v)
{
    uint32_t pack = packset_current(v->ps);

    return pack ? pack : packset_next(v->ps);
}

uint32_t packref_here(struct volume *v)
{
    uint32_t pack = pack_here(v);

    packref_get(v, pack);
    return pack;
}

uint32_t packs_settled(struct volume *v)
{
    uint32_t low = pack_here(v);

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
        if (v && op->chunk.pack)
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
    list_init(&t->link);
    list_init(&t->dirty);
    return t;
}

void txg_free(struct volume *v, struct txg *t)
{
    if (!t)
        return;
    rowop_drop_list(v, t->first);
    if (t->cost) {
        atomic_fetch_sub(&v->e->ops, t->cost);
        atomic_fetch_sub(&v->e->bytes, t->cost);
    }
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

bool txg_large(const struct txg *t)
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
    t->blob_bytes += op->nlen + op->dlen;
    if (op->chunk.pack)
        t->packs = true;
    v->pieces += (op->type == OP_MAP && op->len < SLOT_SIZE / 2) || op->type == OP_PUNCH || op->type == OP_REAP;
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

void txg_want_committed(struct volume *v, uint64_t n)
{
    txg_want(v, n);
    if (n > v->want_committed) {
        v->want_committed = n;
        pthread_cond_signal(&v->apply_cond);
    }
}

int txg_wait_locked(struct volume *v, const struct store_call *call, uint64_t n)
{
    if (n <= v->committed)
        return 0;
    if (v->failed)
        return vol_failed(v, -EIO);
    if (!call->may_block)
        return -EAGAIN;
    txg_want_committed(v, n);
    vol_wait(v, 0);
    return RETRY;
}

/* --- closing --- */

static void fill_meta(struct volume *v, struct txg *t)
{
    t->meta = (struct index_meta){
        .next_ino = v->next_ino,
        .next_chunk = v->next_chunk,
        .next_gen = v->next_gen,
        .next_pack = packset_next(v->ps),
        .txg = t->n,
        .snap_seq = v->snap_seq,
        .props = v->props,
    };
}

struct txg *txg_close(struct volume *v)
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
        list_del(&in->reap_link);
        txg_add(v, op);
        txg_want_committed(v, t->n); /* there is more to do behind it */
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
    }
    t->cost = t->blob_bytes + t->rows * sizeof(struct rowop) + t->nimgs * sizeof(*t->imgs);
    atomic_fetch_add(&v->e->ops, t->cost);
    atomic_fetch_add(&v->e->bytes, t->cost);
    fill_meta(v, t);
    v->committing = t;
    v->open = txg_new(t->n + 1);
    return t;
}
