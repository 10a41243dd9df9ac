/* SPDX-License-Identifier: Apache-2.0
 * later: passes over the chunks with flag 1, by id, until a pass finds nothing it can do.
 *
 * L1 Who stores a chunk raw because there is no time (flush.c) says so in its row, with the op that makes it. So what is
 *    to be done is known after a crash, and found without a look at other chunks (an index has those with the flag).
 * L2 A chunk that got smaller is moved as gc moves it: appended, and an OP_MOVE, which has an effect only if the chunk is
 *    still where it was read. The flag goes with it. Who moves it otherwise keeps the flag or compresses it (moves_form).
 * L3 A chunk that does not get smaller just loses the flag, in a transaction of its own: that is no change of any file, and
 *    to lose it twice does no harm.
 * L4 A chunk that cannot be read is left alone, flag and all; scrub tells of it. Then a pass ends with chunks left, and
 *    the next one begins when more come, or the volume is opened again.
 */
#include "server/store/later.h"

#include <errno.h>
#include <stdlib.h>

#include "common/fault.h"
#include "server/store/move.h"

#define BATCH      64u
#define STEP_BYTES (1u << 20)

struct later {
    struct volume *vol;
    uint64_t cursor;  /* the last chunk of this pass that was looked at */
    uint64_t seen;    /* volume.hurried when it began */
    uint64_t txg;
    bool passing, did; /* in a pass; which did something */
    bool look;        /* there may be some */
};

struct later *later_new(struct volume *v)
{
    struct later *l = vol_alloc(sizeof(*l));

    l->vol = v;
    l->look = true;
    return l;
}

void later_free(struct later *l)
{
    free(l);
}

uint64_t later_txg(const struct later *l)
{
    return l->txg;
}

bool later_due(struct later *l)
{
    struct volume *v = l->vol;
    bool due;

    pthread_mutex_lock(&v->lock);
    if (!l->passing && v->hurried != l->seen)
        l->look = true;
    due = l->passing || (l->look && l->txg <= v->committed);
    due = due && v->props.codec != VOLUME_RAW && !v->props.readonly && !v->failed && vol_space(v, false) > v->reserve;
    pthread_mutex_unlock(&v->lock);
    return due;
}

/* Chunks that do not get smaller. */
struct plain {
    uint64_t id[BATCH];
    unsigned n;
};

static int compress(const struct chunk *old, struct moves *m, struct plain *plain)
{
    unsigned char *buf = scratch_get();
    struct chunk c = *old;
    const void *payload;
    uint64_t ino, off;
    int r;

    if (!old->pack || packset_read_record(m->vol->ps, old, buf, &ino, &off) < 0)
        return 0; /* in the index still, its turn comes when it has moved; L4 */
    moves_form(m, &c, buf, &payload);
    if (c.later) { /* it is what it was */
        plain->id[plain->n++] = c.id;
        return 0;
    }
    r = fault_point("later.append");
    return r < 0 ? r : moves_add(m, old, c, payload, ino, off);
}

/* L3. */
static int clear(struct later *l, const uint64_t *ids, unsigned n)
{
    struct index *ix = l->vol->ix;
    int r = index_begin(ix);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < n && r >= 0; i++)
        r = index_clear_later(ix, ids[i]);
    if (r >= 0)
        r = fault_point("later.clear");
    if (r < 0)
        index_rollback(ix);
    else
        r = index_commit(ix);
    return r;
}

int later_step(struct later *l)
{
    struct volume *v = l->vol;
    struct plain plain = {.n = 0};
    struct moves m;
    uint64_t bytes = 0, txg;
    struct chunk c[BATCH];
    int n, r;

    pthread_mutex_lock(&v->lock);
    if (!l->passing) {
        l->seen = v->hurried;
        l->passing = true;
        l->did = false;
        l->cursor = 0;
    }
    pthread_mutex_unlock(&v->lock);
    moves_begin(&m, v);
    n = index_next_later(v->ix, l->cursor, c, BATCH);
    r = n < 0 ? n : 0;
    for (int i = 0; i < n && r == 0 && bytes < STEP_BYTES; i++) {
        r = compress(&c[i], &m, &plain);
        l->cursor = c[i].id;
        bytes += c[i].len;
    }
    if (r == 0)
        r = fault_point("later.record");
    txg = moves_end(&m, r == 0); /* L2 */
    if (txg)
        l->txg = txg;
    if (r == 0 && plain.n)
        r = clear(l, plain.id, plain.n);
    l->did = l->did || txg || plain.n;
    if (n <= 0 || r < 0) {
        l->passing = false;
        l->look = r < 0 || l->did; /* what was moved meanwhile, or came */
    }
    return r < 0 ? r : (int)bytes;
}
