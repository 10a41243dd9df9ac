/* SPDX-License-Identifier: Apache-2.0
 * slot: the 128 KiB ranges of files that are in memory.
 *
 * A page of a slot is unknown, valid, or valid and dirty. A slot is in states that exclude each other:
 *
 *   idle ---write (large)---> COPYING --> idle        volume_write.c
 *   idle ---slot_load-------> LOADING --> idle        load.c; and dedup.c, while it compares
 *   idle ---slot_encode-----> FLUSHING -> idle, with prep (encoded, in a pack)   flush.c
 *   prep ---slot_publish----> clean, pinned until the txg is committed
 *   prep ---a write---------> dirty (what is in the pack is dead bytes)
 *
 * While a slot is busy nobody else changes its pages or its dirty and valid maps; valid pages may be
 * read all the time.
 *   P1 Bytes at and beyond the end of the file are zero in valid pages.
 *   P2 Nothing is mapped at or beyond inode.data_end, neither in the index nor by txgs on their way:
 *      pages there are valid (zeros) from the start.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

static uint64_t slot_hash(uint64_t ino, uint64_t idx)
{
    return htab_hash_u64(ino * 0x9e3779b97f4a7c15ULL + idx);
}

struct slot *slot_find(struct inode *in, uint64_t idx)
{
    struct volume *v = in->vol;
    uint64_t h = slot_hash(in->a.ino, idx);

    for (struct hnode *n = htab_first(&v->slots, h); n; n = htab_next(n, h)) {
        struct slot *s = container_of(n, struct slot, hn);
        if (s->in == in && s->idx == idx)
            return s;
    }
    return NULL;
}

struct slot *slot_get(struct inode *in, uint64_t idx)
{
    struct slot *s = slot_find(in, idx);
    uint64_t start = idx * SLOT_SIZE;

    if (s) {
        s->ref = true;
        return s;
    }
    s = vol_alloc(sizeof(*s));
    s->in = in;
    s->idx = idx;
    list_init(&s->lru);
    list_init(&s->dlink);
    list_init(&s->vdlink);
    if (start >= in->data_end)
        s->valid = UINT32_MAX;
    else if (in->data_end - start < SLOT_SIZE)
        s->valid = ~pages_touched(0, (uint32_t)(in->data_end - start));
    htab_add(&in->vol->slots, &s->hn, slot_hash(in->a.ino, idx));
    list_add_tail(&in->slots, &s->link);
    cache_add(in->vol->e, s);
    return s;
}

bool slot_evictable(const struct slot *s)
{
    return s->busy == SLOT_IDLE && !s->dirty && !s->opsref && s->txg <= s->in->vol->committed;
}

void slot_free(struct slot *s)
{
    struct volume *v = s->in->vol;

    rowop_drop_list(v, s->prep);
    htab_del(&v->slots, &s->hn);
    list_del(&s->link);
    list_del(&s->dlink);
    list_del(&s->vdlink);
    buf_unref(s->buf);
    free(s);
}

void slot_grow(struct slot *s, uint32_t pages, uint32_t cover)
{
    struct engine *e = s->in->vol->e;
    struct buf *old = s->buf, *b;
    uint32_t have = old ? old->pages : 0;

    if (have >= pages)
        return;
    b = buf_get(e, pages);
    for (uint32_t p = 0; p < b->pages; p++) {
        uint32_t bit = 1u << p;
        if (!(s->valid & bit) || (cover & bit))
            continue;
        if (p < have)
            memcpy(b->data + p * STORE_PAGE, old->data + p * STORE_PAGE, STORE_PAGE);
        else
            memset(b->data + p * STORE_PAGE, 0, STORE_PAGE);
    }
    s->buf = b;
    buf_unref(old);
    cache_account(s);
    cache_make_room(e, s->in->vol);
}

void slot_dirty(struct slot *s, uint32_t mask)
{
    struct inode *in = s->in;
    struct volume *v = in->vol;
    uint32_t fresh = mask & ~s->dirty;

    if (!s->dirty && mask) {
        s->dirty_ms = clock_mono_ms();
        s->wseq = in->wseq;
        if (list_empty(&v->dirty))
            txg_kick(v, s->dirty_ms + FLUSH_AGE_MS);
        list_add_tail(&in->dirty, &s->dlink);
        list_add_tail(&v->dirty, &s->vdlink);
    }
    s->valid |= mask;
    s->bad &= ~mask;
    s->dirty |= mask;
    s->changes++;
    in->pend += (uint64_t)__builtin_popcount(fresh) * STORE_PAGE;
    cache_account(s);
}

void slot_undirty(struct slot *s, uint32_t mask)
{
    uint32_t gone = s->dirty & mask;

    if (!gone)
        return;
    s->dirty &= ~gone;
    s->in->pend -= (uint64_t)__builtin_popcount(gone) * STORE_PAGE;
    if (!s->dirty) {
        list_del(&s->dlink);
        list_del(&s->vdlink);
    }
    cache_account(s);
}

void slot_drop_prep(struct slot *s)
{
    struct volume *v = s->in->vol;

    if (!s->prep)
        return;
    v->prep_bytes -= s->prep_len;
    s->prep_len = 0;
    rowop_drop_list(v, s->prep);
    s->prep = NULL;
}

int slot_wait(struct volume *v, const struct store_call *call)
{
    if (!call->may_block)
        return -EAGAIN;
    vol_wait(v, 0);
    return RETRY;
}

void slot_idle(struct slot *s)
{
    s->busy = SLOT_IDLE;
    vol_wake(s->in->vol);
}

/* Calls fn for the cached slots that touch [from, to), whichever way is shorter. */
static void each_slot(struct inode *in, uint64_t from, uint64_t to,
                      void (*fn)(struct slot *s, void *arg), void *arg)
{
    if (from >= to)
        return;
    if ((to - from) / SLOT_SIZE < 64) {
        for (uint64_t i = from / SLOT_SIZE; i <= (to - 1) / SLOT_SIZE; i++) {
            struct slot *s = slot_find(in, i);
            if (s)
                fn(s, arg);
        }
        return;
    }
    list_for_each_safe(it, &in->slots) {
        struct slot *s = list_entry(it, struct slot, link);
        if (slot_start(s) < to && slot_start(s) + SLOT_SIZE > from)
            fn(s, arg);
    }
}

static void note_busy(struct slot *s, void *arg)
{
    if (s->busy != SLOT_IDLE)
        *(bool *)arg = true;
}

int slots_idle_in(struct volume *v, const struct store_call *call, struct inode *in, uint64_t from,
                  uint64_t to)
{
    bool busy = false;

    each_slot(in, from, to, note_busy, &busy);
    return busy ? slot_wait(v, call) : 0;
}

struct range {
    uint64_t from, to;
};

static void zero_one(struct slot *s, void *arg)
{
    const struct range *g = arg;
    uint64_t start = slot_start(s);
    uint32_t a = g->from > start ? (uint32_t)(g->from - start) : 0;
    uint32_t b = g->to - start < SLOT_SIZE ? (uint32_t)(g->to - start) : SLOT_SIZE;
    uint32_t touched = pages_touched(a, b), covered = pages_covered(a, b);

    slot_drop_prep(s);
    slot_undirty(s, covered);
    if (covered == UINT32_MAX) {
        buf_unref(s->buf);
        s->buf = NULL;
        cache_account(s);
    }
    for (uint32_t p = 0; s->buf && p < s->buf->pages; p++) {
        uint32_t lo = p * STORE_PAGE, hi = lo + STORE_PAGE;
        if (!(touched & 1u << p) || !((s->valid | covered) & 1u << p))
            continue;
        lo = lo < a ? a : lo;
        hi = hi > b ? b : hi;
        memset(s->buf->data + lo, 0, hi - lo);
    }
    s->valid |= covered;
    s->bad &= ~covered;
    s->changes++;
    s->txg = s->in->vol->open->n; /* the punch goes into it */
}

void slots_zero(struct inode *in, uint64_t from, uint64_t to)
{
    struct range g = {from, to};

    each_slot(in, from, to, zero_one, &g);
}

/* The pages of the slot that a range touches. */
static uint32_t range_pages(const struct slot *s, const struct range *g)
{
    uint64_t start = slot_start(s);
    uint32_t a = g->from > start ? (uint32_t)(g->from - start) : 0;
    uint32_t b = g->to - start < SLOT_SIZE ? (uint32_t)(g->to - start) : SLOT_SIZE;

    return pages_touched(a, b);
}

static void forget_one(struct slot *s, void *arg)
{
    uint32_t touched = range_pages(s, arg);

    s->valid &= ~touched;
    s->bad &= ~touched;
    s->changes++;
    if (!s->valid) {
        buf_unref(s->buf);
        s->buf = NULL;
        cache_account(s);
    }
}

void slots_forget(struct inode *in, uint64_t from, uint64_t to)
{
    struct range g = {from, to};

    each_slot(in, from, to, forget_one, &g);
}

struct dirty_query {
    struct range g;
    bool found;
};

static void dirty_one(struct slot *s, void *arg)
{
    struct dirty_query *q = arg;

    if (s->dirty & range_pages(s, &q->g))
        q->found = true;
}

bool slots_dirty_in(struct inode *in, uint64_t from, uint64_t to)
{
    struct dirty_query q = {{from, to}, false};

    each_slot(in, from, to, dirty_one, &q);
    return q.found;
}

void slots_discard(struct inode *in)
{
    struct volume *v = in->vol;

    list_for_each_safe(it, &in->slots) {
        struct slot *s = list_entry(it, struct slot, link);
        if (s->busy != SLOT_IDLE)
            continue;
        slot_drop_prep(s);
        slot_undirty(s, s->dirty);
        if (s->opsref) {
            buf_unref(s->buf);
            s->buf = NULL;
            s->valid = UINT32_MAX;
            cache_account(s);
        } else {
            cache_del(v->e, s);
            slot_free(s);
        }
    }
}
