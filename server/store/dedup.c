/* SPDX-License-Identifier: Apache-2.0
 * dedup: runs of at least DEDUP_MIN bytes that the volume has already are not stored again.
 *
 * A hash of the run leads to places (inode, offset) that once had such bytes: first those of the last changes, in memory,
 * then those in the index's table `dedup`. If one of them still has the very same bytes, an OP_CLONE from there takes
 * the place of the OP_MAP, and no chunk is written.
 *
 * D1 What the table and the memory say are hints: the bytes are compared, with what a read of that place gives. A hint
 *    that is lost, old or wrong costs a chunk or a look, nothing else. So the journal does not carry them, and repair drops what
 *    it does not like.
 * D2 The op is added while its source still has these bytes in the order of all ops: same_holds is asked under the lock under
 *    which it is added. It says that between the comparison and now nothing changed the slot (slot.changes), and that
 *    nothing of it is dirty; what was published before comes before this op (volume_clone.c, C1). Applying, replaying, and
 *    who frees the source's chunks later are then as for any clone: no chunk is ever named but by an extent.
 * D3 The comparison is with memory if the source's pages are there. Else with the chunk as stored, its checksum
 *    verified, and only if all that was published for that slot is in the index (T4), as for loading it.
 * D4 The source is held meanwhile (opsref of the slot and its inode), so that it stays the same object.
 * D5 A row belongs to a chunk and goes with it: there are no more rows than chunks. It is written by the op that maps or
 *    clones the run, so it names the place that has it last.
 */
#include "server/store/dedup.h"

#include <stdlib.h>
#include <xxhash.h>

#include "common/fault.h"

#define RECENT     4096u /* places of the last changes that are remembered */
#define CANDIDATES 4

struct dedup_recent {
    uint64_t hash, ino, off;
};

uint64_t dedup_hash_bits = UINT64_MAX;
void (*dedup_found)(void);

uint64_t dedup_hash(const void *data, uint32_t len)
{
    uint64_t h = XXH3_64bits_withSeed(data, len, len) & dedup_hash_bits;

    return h ? h : 1;
}

void dedup_note(struct volume *v, uint64_t hash, uint64_t ino, uint64_t off)
{
    if (!v->recent)
        v->recent = vol_alloc(RECENT * sizeof(*v->recent));
    v->recent[hash % RECENT] = (struct dedup_recent){hash, ino, off};
}

bool same_holds(const struct same *m)
{
    const struct slot *s = m->src;

    return s->changes == m->changes && s->busy == SLOT_IDLE && !s->dirty && !s->in->dead;
}

void same_release(struct same *m)
{
    if (!m->src)
        return;
    m->src->in->opsref--;
    m->src->opsref--;
    cache_account(m->src);
    m->src = NULL;
}

/* The candidate's slot, held, if it could be the one. Lock held, may be dropped before. */
static bool hold(struct volume *v, const struct index_place *p, const struct slot *dst, uint32_t len, struct same *m)
{
    struct store_call call = {.may_block = true};
    struct inode *in;
    int r;

    if (p->off % SLOT_SIZE + len > SLOT_SIZE)
        return false;
    do
        r = inode_get(v, &call, p->ino, &in);
    while (r == RETRY);
    if (r < 0 || in->a.type != IT_REG || p->off >= in->data_end)
        return false;
    *m = (struct same){.src = slot_get(in, p->off / SLOT_SIZE), .ino = p->ino, .off = p->off};
    m->changes = m->src->changes;
    if (m->src == dst || !same_holds(m)) {
        m->src = NULL;
        return false;
    }
    in->opsref++;
    m->src->opsref++;
    cache_account(m->src);
    return true;
}

/* D3, from the disk. Lock not held. */
static bool equal_stored(struct volume *v, const struct same *m, const void *data, uint32_t len)
{
    unsigned char *scratch = scratch_get();
    struct index_extent x[2];
    int r = fault_point("dedup.compare");

    if (r == 0)
        r = index_get_extents(v->ix, m->ino, m->off, len, x, 2);
    if (r != 1 || x->off > m->off || x->off + x->len < m->off + len || x->chunk_off + x->len > x->chunk.len ||
        x->chunk.len > SLOT_SIZE || x->chunk.stored_len > CHUNK_BOUND)
        return false;
    r = x->chunk.pack ? packset_read(v->ps, &x->chunk, scratch) : index_read_blob(v->ix, &x->chunk, scratch);
    if (r >= 0)
        r = chunk_decode(&x->chunk, scratch, SCRATCH_DECODED(scratch));
    return r >= 0 && memcmp(SCRATCH_DECODED(scratch) + x->chunk_off + (m->off - x->off), data, len) == 0;
}

/* Has the candidate these bytes? Lock held, dropped meanwhile. */
static bool equal(struct volume *v, const struct same *m, const void *data, uint32_t len)
{
    struct slot *s = m->src;
    uint32_t at = (uint32_t)(m->off - slot_start(s)), pages = pages_touched(at, at + len);
    struct buf *b = s->buf;
    bool same;

    if (b && b->pages * STORE_PAGE >= at + len && (s->valid & pages) == pages) {
        s->busy = SLOT_LOADING; /* writers wait for these microseconds */
        pthread_mutex_unlock(&v->lock);
        same = memcmp(b->data + at, data, len) == 0;
        pthread_mutex_lock(&v->lock);
        slot_idle(s);
        return same;
    }
    if (s->txg > v->committed || s->in->punch_txg > v->committed)
        return false;
    pthread_mutex_unlock(&v->lock);
    same = equal_stored(v, m, data, len);
    pthread_mutex_lock(&v->lock);
    return same;
}

static bool try_place(struct volume *v, const struct index_place *p, const struct slot *dst, const void *data,
                      uint32_t len, struct same *out)
{
    if (!hold(v, p, dst, len, out))
        return false;
    if (equal(v, out, data, len) && same_holds(out))
        return true;
    same_release(out);
    return false;
}

bool dedup_find(struct volume *v, uint64_t hash, const struct slot *dst, const void *data, uint32_t len,
                struct same *out)
{
    const struct dedup_recent *rc;
    struct index_place p[CANDIDATES];
    bool found = false;
    int n = 0;

    pthread_mutex_lock(&v->lock);
    rc = v->recent ? &v->recent[hash % RECENT] : NULL;
    if (rc && rc->hash == hash)
        found = try_place(v, &(struct index_place){rc->ino, rc->off}, dst, data, len, out);
    pthread_mutex_unlock(&v->lock);
    if (!found && fault_point("dedup.find") == 0)
        n = index_find_dedup(v->ix, hash, p, CANDIDATES);
    for (int i = 0; i < n && !found; i++) {
        pthread_mutex_lock(&v->lock);
        found = try_place(v, &p[i], dst, data, len, out);
        pthread_mutex_unlock(&v->lock);
    }
    if (found && dedup_found)
        dedup_found();
    return found;
}
