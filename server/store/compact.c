/* SPDX-License-Identifier: Apache-2.0
 * compact: packs without live bytes are removed, those with few are copied out.
 *
 *   look (compact_look) --a victim--> copying (compact_step, many) --> waiting for the commit --> look
 *
 * G1 Only settled packs are touched: those below every pack that is being appended to or that something not
 *    committed may refer to (packs_settled; appenders and uncommitted ops hold packrefs). What the index says of
 *    such a pack's live bytes, read after that, is all there is. The open pack of a quiet volume is ended when much of it
 *    is dead, so that it settles.
 * G2 A copy is a record appended to the current pack; the chunk's row moves by an OP_MOVE in the order of all other
 *    ops, and only if the chunk still is where it was copied from. Whoever freed or moved it meanwhile has won, and
 *    the copy is dead bytes. Like every op with a pack it is committed after that pack's sync (T3).
 * G3 A pack's file is unlinked after the commit that deleted its row, which is only deleted without live bytes; or,
 *    of a pack that has no row (all that was appended to it was thrown away before it was committed), after its
 *    records were looked up and none is in use. A reader that looked a chunk up before reads on from its open
 *    file, or gets -ENOENT and looks it up again.
 * G4 Payloads are verified before they are copied. What is damaged stays where it is, and so does its pack.
 * G5 Copying never takes the disk's last space: a victim's live bytes must fit into what is free beyond what
 *    names may use. Data of users stops long before (vol_admit), so there is room to copy on a full disk.
 */
#include "server/store/compact.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/files.h"
#include "server/store/move.h"

#define BATCH_BYTES  (1u << 20)
#define BATCH_CHUNKS 256u
/* Dead packs lose their rows at once; their files go one by one, and each little by little (release.h), unless there are so
 * many, or only so little is free. */
#define MANY_DEAD    32u
#define DOOMED_MAX   64u
#define MUCH_SPACE   (UINT64_C(8) << 30)
#define QUIET_SLACK  (1u << 20) /* bytes that nobody minds in a quiet volume, beside a quarter of the live ones */

struct compact {
    struct volume *vol;
    uint64_t live, size; /* of settled packs at the last look */
    atomic_uint victim;  /* 0: none */
    struct pack_entry *entries;
    size_t count, pos;
    uint64_t txg;   /* the last with moves of ours */
    struct release release; /* of a pack that was removed */
    uint32_t doomed[DOOMED_MAX]; /* packs without rows that are next */
    unsigned ndoomed;
    uint32_t *skip; /* victims that could not be emptied */
    size_t nskip;
    atomic_uint_fast64_t copied, freed, packs;
};

struct compact *compact_new(struct volume *v)
{
    struct compact *cp = vol_alloc(sizeof(*cp));

    cp->vol = v;
    cp->release = (struct release)RELEASE_NONE;
    return cp;
}

static void end_victim(struct compact *cp)
{
    free(cp->entries);
    cp->entries = NULL;
    cp->count = cp->pos = 0;
    cp->victim = 0;
}

void compact_free(struct compact *cp)
{
    if (!cp)
        return;
    end_victim(cp);
    release_all(&cp->release);
    free(cp->skip);
    free(cp);
}

/* --- looking --- */

struct pack_info {
    uint32_t pack;
    uint64_t live, size;
};
struct look {
    const struct compact *cp;
    struct pack_info *p;
    size_t count, cap, next;
    uint32_t below;
    uint64_t live, size;
    uint32_t dead[DOOMED_MAX], rowless[64];
    unsigned ndead, nrowless;
    uint64_t dead_size;
};

static bool note_row(void *arg, uint32_t pack, uint64_t live)
{
    struct look *k = arg;

    if (pack >= k->below)
        return false;
    if (k->count == k->cap) {
        k->cap = k->cap ? 2 * k->cap : 256;
        k->p = realloc(k->p, k->cap * sizeof(*k->p));
        if (!k->p)
            abort();
    }
    k->p[k->count++] = (struct pack_info){pack, live, 0};
    k->live += live;
    if (live == 0 && k->ndead < sizeof(k->dead) / sizeof(*k->dead))
        k->dead[k->ndead++] = pack;
    return true;
}

static bool is_doomed(const struct compact *cp, uint32_t pack)
{
    for (unsigned i = 0; i < cp->ndoomed; i++)
        if (cp->doomed[i] == pack)
            return true;
    return false;
}

/* Files come in ascending order, as the rows did. */
static int note_file(void *arg, uint32_t pack, uint64_t size)
{
    struct look *k = arg;

    if (pack >= k->below)
        return 1;
    while (k->next < k->count && k->p[k->next].pack < pack)
        k->next++;
    if (k->next < k->count && k->p[k->next].pack == pack) {
        k->p[k->next].size = size;
        k->dead_size += k->p[k->next].live ? 0 : size;
    } else {
        k->dead_size += size;
        if (!is_doomed(k->cp, pack) && k->nrowless < sizeof(k->rowless) / sizeof(*k->rowless))
            k->rowless[k->nrowless++] = pack;
    }
    k->size += size;
    return 0;
}

static void remove_pack(struct compact *cp, uint32_t pack)
{
    struct volume *v = cp->vol;
    int r = fault_point("gc.unlink");
    uint64_t before = packset_bytes(v->ps), after;

    release_all(&cp->release);
    if (r == 0)
        r = packset_delete(v->ps, pack, &cp->release);
    after = packset_bytes(v->ps);
    if (r == 0) {
        atomic_fetch_add(&cp->packs, 1);
        atomic_fetch_add(&cp->freed, before > after ? before - after : 0);
    } else if (r != -ENOENT && r != -EBUSY) { /* it has no row any more: the next look finds it */
        log_warn("%s: cannot remove pack %u: %s", v->label, pack, strerrordesc_np(-r));
    }
}

bool compact_release(struct compact *cp)
{
    if (release_some(&cp->release))
        return true;
    if (!cp->ndoomed)
        return false;
    remove_pack(cp, cp->doomed[--cp->ndoomed]);
    return true;
}

void compact_release_all(struct compact *cp)
{
    while (compact_release(cp))
        ;
}

/* G3. */
static int remove_dead(struct compact *cp, const struct look *k)
{
    struct volume *v = cp->vol;
    int r = index_begin(v->ix);

    if (r < 0)
        return r;
    for (unsigned i = 0; i < k->ndead && r >= 0; i++)
        r = index_del_pack(v->ix, k->dead[i]);
    if (r < 0)
        index_rollback(v->ix);
    else
        r = index_commit(v->ix);
    for (unsigned i = 0; i < k->ndead && r >= 0; i++)
        cp->doomed[cp->ndoomed++] = k->dead[i];
    return r;
}

/* Removes a pack that has no row, unless the index does name something in it: then its counters are wrong. */
static void remove_rowless(struct compact *cp, const char *dir, uint32_t pack)
{
    struct volume *v = cp->vol;
    struct pack_entry *e = NULL;
    int n = pack_entries(dir, pack, &e);
    bool used = n < 0 && n != -EUCLEAN;

    for (int i = 0; i < n && !used; i++) {
        struct chunk c;
        int r = index_find_chunk(v->ix, e[i].id, &c);
        used = (r < 0 && r != -ENOENT) || (r == 0 && c.pack == pack);
    }
    free(e);
    if (used)
        log_warn("%s: pack %u is not in the index's table of packs, but in use", v->label, pack);
    else
        remove_pack(cp, pack);
}

static bool skipped(const struct compact *cp, uint32_t pack)
{
    for (size_t i = 0; i < cp->nskip; i++)
        if (cp->skip[i] == pack)
            return true;
    return false;
}

static void skip(struct compact *cp, uint32_t pack)
{
    cp->skip = realloc(cp->skip, (cp->nskip + 1) * sizeof(*cp->skip));
    if (!cp->skip)
        abort();
    cp->skip[cp->nskip++] = pack;
}

/* What may be copied on this disk (G5). */
static uint64_t copy_space(struct volume *v)
{
    uint64_t space, keep;

    pthread_mutex_lock(&v->lock);
    space = vol_space(v, true);
    keep = v->reserve / 4;
    pthread_mutex_unlock(&v->lock);
    return space > keep ? space - keep : 0;
}

/* In a quiet volume: is there more dead than is worth bearing? */
static bool too_much(uint64_t size, uint64_t live)
{
    return size > live + live / 4 + QUIET_SLACK;
}

/* The pack with the smallest live part if that is worth copying: less than half; in a quiet volume of which too much is
 * dead, less than three quarters. */
static uint32_t choose(struct compact *cp, const struct look *k, bool quiet)
{
    struct volume *v = cp->vol;
    uint64_t space = copy_space(v);
    bool hard = quiet && too_much(k->size, k->live);
    const struct pack_info *best = NULL;

    for (size_t i = 0; i < k->count; i++) {
        const struct pack_info *p = &k->p[i];
        if (!p->live || !p->size || p->live > space || skipped(cp, p->pack))
            continue;
        if (hard ? p->live * 4 >= p->size * 3 : p->live * 2 >= p->size)
            continue;
        if (!best || p->live * best->size < best->live * p->size)
            best = p;
    }
    return best ? best->pack : 0;
}

static bool note_pack(void *arg, uint32_t pack, uint64_t live)
{
    struct pack_info *p = arg;

    if (pack == p->pack)
        p->live = live;
    return pack < p->pack;
}

/* The pack that is open for appending is nobody's victim (G1). Of a quiet volume it may hold most of what is dead: then
 * it is ended, unless something not committed refers to it. */
static int end_open_pack(struct compact *cp)
{
    struct volume *v = cp->vol;
    struct pack_info p = {.pack = packset_current(v->ps)};
    bool used = false;
    int r;

    p.size = p.pack ? packset_open_bytes(v->ps, p.pack) : 0;
    if (!p.size)
        return 0;
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < v->npackrefs; i++)
        used |= v->packrefs[i].pack == p.pack;
    pthread_mutex_unlock(&v->lock);
    r = used ? 0 : index_list_packs(v->ix, note_pack, &p);
    if (used || r < 0 || !too_much(p.size, p.live))
        return r;
    packset_retire(v->ps, p.pack);
    return packset_sync(v->ps);
}

int compact_look(struct compact *cp, bool quiet, bool gently, uint64_t *seen)
{
    struct volume *v = cp->vol;
    char *dir = path_join(v->dir, "packs");
    struct look k = {.cp = cp};
    bool hurry;
    int n, r = quiet ? end_open_pack(cp) : 0;

    if (r < 0)
        goto out;
    pthread_mutex_lock(&v->lock);
    k.below = packs_settled(v);
    *seen = v->committed;
    pthread_mutex_unlock(&v->lock);
    r = index_list_packs(v->ix, note_row, &k);
    if (r == 0)
        r = pack_list(dir, note_file, &k);
    if (r < 0)
        goto out;
    cp->live = k.live;
    cp->size = k.size - k.dead_size;
    hurry = !gently || cp->ndoomed + k.ndead >= MANY_DEAD || copy_space(v) <= MUCH_SPACE;
    if (hurry)
        compact_release_all(cp);
    r = k.ndead ? remove_dead(cp, &k) : 0;
    for (unsigned i = 0; i < k.nrowless && r >= 0; i++)
        remove_rowless(cp, dir, k.rowless[i]);
    if (hurry)
        compact_release_all(cp);
    if (r < 0)
        goto out;
    cp->victim = choose(cp, &k, quiet);
    r = cp->victim || k.ndead;
    if (!cp->victim)
        goto out;
    n = pack_entries(dir, cp->victim, &cp->entries);
    if (n < 0) {
        log_warn("%s: cannot compact pack %u: %s", v->label, cp->victim, strerrordesc_np(-n));
        skip(cp, cp->victim);
        cp->victim = 0;
    }
    cp->count = n > 0 ? (size_t)n : 0;
    cp->pos = 0;
out:
    free(k.p);
    free(dir);
    return r;
}

/* --- copying --- */

/* Copies one record if its chunk is in use. */
static int copy_one(struct compact *cp, const struct pack_entry *e, struct moves *m)
{
    struct volume *v = cp->vol;
    unsigned char *buf = scratch_get();
    const void *payload;
    uint64_t ino, off;
    struct chunk old, c;
    int r = index_find_chunk(v->ix, e->id, &old);

    if (r == -ENOENT || (r == 0 && (old.pack != cp->victim || old.pack_off != e->off)))
        return 0;
    if (r < 0)
        return r;
    if (packset_read_record(v->ps, &old, buf, &ino, &off) < 0)
        return 0; /* logged; G4 */
    c = old;
    moves_form(m, &c, buf, &payload);
    r = fault_point("gc.copy");
    return r < 0 ? r : moves_add(m, &old, c, payload, ino, off);
}

/* Copies up to a batch and puts the moves into the open txg. Bytes copied, or -errno. */
static int copy_batch(struct compact *cp)
{
    struct moves m;
    uint64_t txg;
    int r = 0;

    moves_begin(&m, cp->vol);
    while (r == 0 && cp->pos < cp->count && m.n < BATCH_CHUNKS && m.bytes < BATCH_BYTES)
        r = copy_one(cp, &cp->entries[cp->pos++], &m);
    if (r == 0)
        r = fault_point("gc.record");
    txg = moves_end(&m, r == 0);
    if (cp->txg < txg)
        cp->txg = txg;
    if (r < 0)
        return r;
    atomic_fetch_add(&cp->copied, m.bytes);
    return (int)m.bytes;
}

/* All records are copied and the moves committed: is the pack empty? */
static int finish_victim(struct compact *cp)
{
    struct pack_info p = {.pack = cp->victim};
    int r = index_list_packs(cp->vol->ix, note_pack, &p);

    if (r < 0)
        return r;
    if (p.live) {
        log_warn("%s: pack %u could not be emptied: %llu bytes stay in it", cp->vol->label, p.pack,
                 (unsigned long long)p.live);
        skip(cp, p.pack);
    }
    end_victim(cp);
    return 0;
}

int compact_step(struct compact *cp)
{
    int r;

    if (cp->pos == cp->count)
        return finish_victim(cp);
    r = copy_batch(cp);
    if (r < 0) /* the rest stays for another time */
        end_victim(cp);
    return r;
}

bool compact_busy(const struct compact *cp)
{
    return cp->victim != 0;
}

uint64_t compact_waits(const struct compact *cp)
{
    return cp->pos == cp->count ? cp->txg : 0;
}

uint64_t compact_txg(const struct compact *cp)
{
    return cp->txg;
}

void compact_size(const struct compact *cp, uint64_t *live, uint64_t *size)
{
    *live = cp->live;
    *size = cp->size;
}

void compact_stat(const struct compact *cp, struct volume_stat *st)
{
    st->gc_copied = cp->copied;
    st->gc_freed = cp->freed;
    st->gc_packs = cp->packs;
    st->gc_busy = compact_busy(cp);
}
