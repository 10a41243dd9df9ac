/* SPDX-License-Identifier: Apache-2.0
 * repack: a sweep over the extents, in the order of inodes and offsets, that finds
 *   - slots in more than MERGE_OVER pieces that are cold: they become one chunk;
 *   - chunks of which at most half is used, because the rest was overwritten or punched: what is used becomes a chunk;
 *   - small cold files, one after the other: up to GROUP_BYTES of them share one chunk, which takes less room
 *     compressed together, and one record.
 *
 * R1 The pieces are read from committed state, and the new chunk, which has their bytes one after the other, is
 *    appended. Then one OP_REPACK in the order of all other ops points the extents to it, if each of them is still
 *    what it was; else nothing happens, and the new chunk is dead bytes. So nobody is waited for or kept
 *    waiting, and nothing in memory changes.
 * R2 Contents, holes and used bytes of files stay as they are.
 * R3 Only chunks are replaced that have no references but those of the pieces, and that no snapshot holds: otherwise they
 *    would stay beside the new one.
 * R4 Cold is what has not been written for AGE_MS: chunk ids grow, so it is enough to remember one.
 * R5 A sweep begins after as many small changes as are worth it, so that looking costs a few microseconds for each; and once
 *    more for what was not cold, when nothing is younger than what is.
 * R6 What a rebuild relies on (rebuild.c): of two records with a place, the one with the higher chunk id has the later
 *    content of the bytes that both have. Copies keep the id of what they copy (move.h); a write gets its id when it is
 *    encoded, and those of a slot one after the other. What is put together here is older than its record: so it
 *    gets its id at a moment when no write of the slot has an id and is not in the index, and only if the index, asked
 *    after that moment, still has the pieces. What is written later has a higher id, and all that came before a lower one.
 */
#include "server/store/repack.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"

#define WINDOW       1024u /* extents looked at in a step */
#define SLOT_MOST    256u  /* a slot in more pieces than this is left alone */
#define MERGE_OVER   8u
#define TRIM_MIN     16384u
#define SMALL        4096u  /* a small file has at most this */
#define GROUP_BYTES  16384u
#define GROUP_LEAST  4u /* files */
#define STEP_BYTES   (1u << 20)
#define AGE_MS       10000u
#define SWEEP_LEAST  64u /* small changes; and a 16th of the extents that there were */

struct repack {
    struct volume *vol;
    uint64_t ino, off;   /* where the sweep goes on; 0: none under way */
    uint64_t swept;      /* extents it saw so far */
    uint64_t extents;    /* of the last whole one */
    uint64_t pieces;     /* volume.pieces when it began */
    bool left_hot;       /* it met what was not cold yet */
    bool again;          /* the last one did */
    uint64_t old_id, new_id, new_ms; /* chunks below old_id are cold; those below new_id will be AGE_MS after new_ms */
    struct index_swept win[WINDOW], now[WINDOW];
    bool done[WINDOW];
    int n;
    struct index_piece job[WINDOW];
    const struct chunk *chunks[WINDOW];
    unsigned njob;
    uint32_t job_bytes;
    uint64_t written;
    uint64_t sweeps, txg;
    unsigned char *buf; /* SLOT_SIZE */
};

struct repack *repack_new(struct volume *v)
{
    struct repack *rp = vol_alloc(sizeof(*rp));

    rp->vol = v;
    rp->old_id = rp->new_id = v->next_chunk;
    rp->new_ms = clock_mono_ms();
    rp->buf = vol_alloc(SLOT_SIZE);
    rp->again = true; /* what was left before the volume was opened */
    return rp;
}

void repack_free(struct repack *rp)
{
    if (!rp)
        return;
    free(rp->buf);
    free(rp);
}

static void age(struct repack *rp)
{
    uint64_t now = clock_mono_ms();

    if (now < rp->new_ms + AGE_MS)
        return;
    rp->old_id = rp->new_id;
    rp->new_id = rp->vol->next_chunk;
    rp->new_ms = now;
}

uint64_t repack_sweeps(const struct repack *rp)
{
    return rp->sweeps;
}

bool repack_later(const struct repack *rp)
{
    return rp->ino || rp->again;
}

void repack_rested(struct repack *rp)
{
    rp->again = false;
}

uint64_t repack_txg(const struct repack *rp)
{
    return rp->txg;
}

bool repack_due(struct repack *rp, bool quiet, bool all)
{
    struct volume *v = rp->vol;
    uint64_t pieces, most = rp->extents / 16;

    age(rp);
    if (rp->ino)
        return true;
    pthread_mutex_lock(&v->lock);
    pieces = v->pieces;
    pthread_mutex_unlock(&v->lock);
    if (!(all && (pieces != rp->pieces || rp->again)) && !(rp->again && quiet && rp->old_id == v->next_chunk) &&
        pieces < rp->pieces + (most > SWEEP_LEAST ? most : SWEEP_LEAST))
        return false;
    rp->pieces = pieces;
    rp->ino = STORE_ROOT_INO;
    rp->off = rp->swept = 0;
    rp->left_hot = false;
    return true;
}

/* --- jobs --- */

static void job_add(struct repack *rp, int i)
{
    rp->job[rp->njob] = rp->win[i].p;
    rp->chunks[rp->njob++] = &rp->win[i].chunk;
    rp->job_bytes += rp->win[i].p.len;
    rp->done[i] = true;
}

static void job_drop(struct repack *rp)
{
    rp->njob = 0;
    rp->job_bytes = 0;
}

/* Puts the bytes of the job's pieces together. -ENOENT: a chunk is gone; -EUCLEAN. */
static int job_read(struct repack *rp)
{
    struct volume *v = rp->vol;
    unsigned char *scratch = scratch_get();
    uint64_t have = 0;
    uint32_t at = 0;

    for (unsigned i = 0; i < rp->njob; i++) {
        const struct chunk *c = rp->chunks[i];
        int r = 0;
        if (c->id != have) {
            r = c->pack ? packset_read(v->ps, c, scratch) : index_read_blob(v->ix, c, scratch);
            if (r >= 0)
                r = chunk_decode(c, scratch, SCRATCH_DECODED(scratch));
        }
        if (r < 0)
            return r;
        have = c->id;
        memcpy(rp->buf + at, SCRATCH_DECODED(scratch) + rp->job[i].chunk_off, rp->job[i].len);
        at += rp->job[i].len;
    }
    return 0;
}

/* Gives the chunk of a job that has a place its id (R6): 0 if it is not the moment, or the pieces have changed. */
static int job_settled(struct repack *rp, uint64_t *id)
{
    struct volume *v = rp->vol;
    const struct index_piece *p = rp->job;
    struct inode *in;
    struct slot *s;
    bool moment;
    int n;

    pthread_mutex_lock(&v->lock);
    in = inode_find(v, p->ino);
    s = in ? slot_find(in, p->off / SLOT_SIZE) : NULL;
    moment = !s || slot_evictable(s);
    *id = atomic_fetch_add(&v->next_chunk, 1); /* if it is not: so that it is long enough before another sweep (repack_due) */
    pthread_mutex_unlock(&v->lock);
    if (!moment) {
        rp->left_hot = true;
        *id = 0;
        return 0;
    }
    n = index_sweep(v->ix, p->ino, p->off, rp->now, rp->njob);
    if (n < 0)
        return n;
    for (unsigned i = 0; i < rp->njob; i++)
        if (i >= (unsigned)n || rp->now[i].p.ino != p[i].ino || rp->now[i].p.off != p[i].off ||
            rp->now[i].p.len != p[i].len || rp->now[i].p.chunk != p[i].chunk || rp->now[i].p.chunk_off != p[i].chunk_off)
            *id = 0;
    return 0;
}

/* Does the job and leaves none. What was damaged or is gone by now, or is being written, is left alone. */
static int job_run(struct repack *rp)
{
    struct volume *v = rp->vol;
    struct chunk c = {0};
    const void *payload;
    struct rowop *op;
    uint64_t id = 0;
    uint32_t low;
    bool one = true; /* run of bytes of a file: then the record can say where it belongs */
    int level, r;

    for (unsigned i = 1; i < rp->njob; i++)
        one = one && rp->job[i].ino == rp->job[0].ino &&
              rp->job[i].off == rp->job[i - 1].off + rp->job[i - 1].len;
    r = one ? job_settled(rp, &id) : 0;
    if (r == 0 && one && !id) {
        job_drop(rp);
        return 0;
    }
    if (r == 0)
        r = job_read(rp);
    if (r < 0) {
        job_drop(rp);
        return r == -ENOENT || r == -EUCLEAN ? 0 : r;
    }
    pthread_mutex_lock(&v->lock);
    level = v->props.codec == VOLUME_RAW ? 0 : v->props.level;
    if (level && v->props.recompress > level)
        level = v->props.recompress;
    low = packref_here(v);
    pthread_mutex_unlock(&v->lock);
    r = chunk_encode(rp->buf, rp->job_bytes, level, scratch_get(), &c, &payload);
    c.id = one ? id : atomic_fetch_add(&v->next_chunk, 1);
    if (r == 0)
        r = fault_point("repack.append");
    if (r == 0)
        r = packset_append(v->ps, &c, one ? rp->job[0].ino : 0, one ? rp->job[0].off : 0, payload);
    if (r == 0)
        r = fault_point("repack.record");
    pthread_mutex_lock(&v->lock);
    if (r == 0) {
        op = rowop_new(OP_REPACK, rp->job[0].ino, NULL, 0, rp->job, rp->njob * sizeof(*rp->job));
        op->chunk = c;
        packref_get(v, c.pack);
        txg_add(v, op);
        v->open->rows += 2 * rp->njob;
        rp->written += c.stored_len;
        rp->txg = v->open->n;
    }
    packref_put(v, low);
    pthread_mutex_unlock(&v->lock);
    job_drop(rp);
    return r;
}

/* --- finding --- */

static bool cold(const struct repack *rp, int i, bool all)
{
    return all || rp->win[i].p.chunk < rp->old_id;
}

/* The window's rows [i, end) are one slot's: its end; 0 if the window ends in it. */
static int slot_end(const struct repack *rp, int i, bool last)
{
    int j = i;

    while (j < rp->n && rp->win[j].p.ino == rp->win[i].p.ino &&
           rp->win[j].p.off / SLOT_SIZE == rp->win[i].p.off / SLOT_SIZE)
        j++;
    return j == rp->n && !last ? 0 : j;
}

/* How many rows in [i, end) name row i's chunk, and how many of its bytes they use. */
static uint64_t count_uses(const struct repack *rp, int i, int end, uint32_t *used)
{
    uint64_t n = 0;

    *used = 0;
    for (int k = i; k < end; k++)
        if (rp->win[k].p.chunk == rp->win[i].p.chunk) {
            n++;
            *used += rp->win[k].p.len;
        }
    return n;
}

/* Can all of the slot be replaced? R3. */
static bool all_ours(const struct repack *rp, int i, int end)
{
    for (int k = i; k < end; k++) {
        uint64_t n = 0;
        for (int m = i; m < end; m++)
            n += rp->win[m].p.chunk == rp->win[k].p.chunk;
        if (n != rp->win[k].refs || !rp->win[k].fresh)
            return false;
    }
    return true;
}

/* A chunk of a slot that is used for half or less: each run of what is used becomes a chunk, which can say where it belongs. */
static int trim(struct repack *rp, int i, int end)
{
    int r = 0;

    for (int k = i; k < end && r == 0; k++) {
        uint64_t id = rp->win[k].p.chunk;
        uint32_t used;
        if (rp->done[k] || rp->win[k].chunk.len < TRIM_MIN || !rp->win[k].fresh ||
            count_uses(rp, k, end, &used) != rp->win[k].refs || used > rp->win[k].chunk.len / 2)
            continue;
        for (int m = k; m < end && r == 0; m++) {
            if (rp->win[m].p.chunk != id)
                continue;
            job_add(rp, m);
            if (m + 1 == end || rp->win[m + 1].p.chunk != id || rp->win[m + 1].p.off != rp->win[m].p.off + rp->win[m].p.len)
                r = job_run(rp);
        }
    }
    return r;
}

static int one_slot(struct repack *rp, int i, int end, bool all)
{
    bool is_cold = true;

    if (end - i > (int)SLOT_MOST)
        return 0;
    for (int k = i; k < end; k++)
        is_cold &= cold(rp, k, all);
    if (end - i > (int)MERGE_OVER && !is_cold)
        rp->left_hot = true;
    if (end - i > (int)MERGE_OVER && is_cold && all_ours(rp, i, end)) {
        for (int k = i; k < end; k++)
            job_add(rp, k);
        return job_run(rp);
    }
    return trim(rp, i, end);
}

/* Adds a small file that is to share a chunk: if it is alone in its chunk; or if it is one of those that share one of
 * which most is not used any more: then all of those. */
static void add_small(struct repack *rp, int i, bool all)
{
    const struct index_swept *s = &rp->win[i];
    uint32_t used;

    if (!s->fresh || !cold(rp, i, all)) {
        rp->left_hot |= s->fresh;
        return;
    }
    if (s->refs == 1 && s->chunk.len <= SMALL) {
        job_add(rp, i);
        return;
    }
    if (s->chunk.len > GROUP_BYTES || count_uses(rp, i, rp->n, &used) != s->refs || used > s->chunk.len / 2)
        return;
    for (int k = i; k < rp->n; k++)
        if (rp->win[k].p.chunk == s->p.chunk && !rp->done[k])
            job_add(rp, k);
}

static bool is_small(const struct repack *rp, int i, int end)
{
    return end == i + 1 && rp->win[i].p.off == 0 && rp->win[i].p.len <= SMALL;
}

/* Goes through the window. The row to go on with, or -errno. */
static int sweep_window(struct repack *rp, bool last, bool all)
{
    int i = 0, group = 0, r = 0; /* group: the first row of the group being collected */

    job_drop(rp);
    while (i < rp->n && r == 0) {
        int end = slot_end(rp, i, last);
        if (end == 0)
            break;
        if (rp->written >= STEP_BYTES)
            break;
        if (!rp->done[i] && is_small(rp, i, end)) {
            if (!rp->njob)
                group = i;
            add_small(rp, i, all);
            if (rp->job_bytes + SMALL > GROUP_BYTES)
                r = job_run(rp);
        } else if (!rp->done[i]) {
            if (rp->njob >= GROUP_LEAST) /* a large file ends the group */
                r = job_run(rp);
            job_drop(rp);
            if (r == 0)
                r = one_slot(rp, i, end, all);
        }
        i = end;
    }
    if (r < 0)
        return r;
    if (rp->njob && !last && group > 0 && i == rp->n) /* the next window begins with the group */
        i = group;
    else if (rp->njob >= GROUP_LEAST)
        r = job_run(rp);
    job_drop(rp);
    return r < 0 ? r : i;
}

int repack_step(struct repack *rp, bool all)
{
    struct volume *v = rp->vol;
    bool last;
    int at;

    rp->n = index_sweep(v->ix, rp->ino, rp->off, rp->win, WINDOW);
    if (rp->n < 0)
        return rp->n;
    last = rp->n < (int)WINDOW;
    memset(rp->done, 0, sizeof(rp->done));
    rp->written = 0;
    at = sweep_window(rp, last, all);
    if (at < 0) {
        rp->ino = 0; /* another time */
        return at;
    }
    if (at == 0 && !last) /* one slot in more pieces than a window has */
        at = rp->n;
    rp->swept += (uint64_t)at;
    if (last && at == rp->n) {
        rp->ino = 0;
        rp->extents = rp->swept;
        rp->sweeps++;
        rp->again = rp->left_hot;
    } else if (at == rp->n) {
        rp->ino = rp->win[at - 1].p.ino;
        rp->off = rp->win[at - 1].p.off + 1;
    } else {
        rp->ino = rp->win[at].p.ino;
        rp->off = rp->win[at].p.off;
    }
    return (int)rp->written;
}
