/* SPDX-License-Identifier: Apache-2.0
 * gc: space in packs is reclaimed: by removing packs without live bytes and copying out those with few.
 *
 *   look (look_at_packs) --a victim--> copying (copy_batch, many) --> waiting for the commit --> look
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
 *
 * The thread takes one step for one volume after another and then sleeps as long as the pace asks for: the more of
 * the packs is dead, the faster; while nobody changes the volume, at a rate of its own.
 */
#include "server/store/gc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/store/later.h"
#include "server/store/move.h"
#include "server/store/repack.h"
#include "server/store/scrub.h"

#define IDLE_MS      1000u /* between looks for something to do */
#define WAIT_MS      50u   /* for a commit */
#define TROUBLE_MS   10000u
#define BATCH_BYTES  (1u << 20)
#define BATCH_CHUNKS 256u
#define QUIET_MS     2000u        /* without a change the volume is quiet: */
#define QUIET_RATE   (128u << 20) /* bytes per second then */
#define BUSY_RATE    (16u << 20)  /* else, */
#define BUSY_RATE_2  (64u << 20)  /* from 1.5 times the live bytes on; from 1.8 times on there is no limit */
#define BUSY_PAUSE   15u          /* a step is followed by a pause of so many times what it took, */
#define QUIET_PAUSE  1u
#define LOOK_SHARE   50u          /* looking takes at most 1/50 of the time */
#define WRITERS_KIB  49152u       /* all pages that SQLite keeps for writers of changing volumes together, */
#define READERS_KIB  3072u        /* and for each one of the up to 8 readers of all volumes, */
#define WRITER_MIN   512u         /* but of each volume at least these */
#define READER_MIN   128u
#define FREE_MS      30000u       /* without changes, the pages of a volume go */
#define SHRINK_PAGES 256u
#define TRIM_STEPS   256u
#define TRIM_TURNS   64u
#define SLACK        1u           /* packs full of dead bytes that nobody minds while the volume changes; */
#define QUIET_SLACK  (1u << 20)   /* when it is quiet, so many bytes and a quarter of the live ones */

struct gc {
    struct volume *vol;
    struct list link;     /* engine.gc_list */
    uint64_t due;         /* ms; with engine.qlock */
    pthread_mutex_t lock; /* one step at a time; all below */
    uint64_t done;        /* what was committed when a look at the quiet volume found nothing to do */
    uint64_t cache_ms;    /* when the index's caches were looked after */
    bool freed_pages;     /* since the volume is idle */
    atomic_bool active;   /* changed in the last FREE_MS */
    atomic_uint_fast64_t rest; /* 1 + what was committed when a step of the quiet volume found nothing to do */
    uint64_t look_ms;     /* not before */
    uint64_t shrunk;      /* the same, when the index had no pages to give back */
    uint64_t live, size;  /* of settled packs at the last look */
    uint64_t txg, own;    /* what was committed at the last step; txgs that only we made, about */
    uint64_t changed_ms;  /* when others changed something */
    atomic_uint victim;   /* 0: none */
    struct pack_entry *entries;
    size_t count, pos;
    uint64_t wait;        /* txg with the last of the victim's moves */
    struct repack *repack;
    struct later *later;
    struct scrub *scrub;
    unsigned turn;        /* whose the last step was */
    uint32_t *skip;       /* victims that could not be emptied */
    size_t nskip;
    atomic_uint_fast64_t copied, freed, packs;
};

/* --- looking --- */

struct pack_info {
    uint32_t pack;
    uint64_t live, size;
};
struct look {
    struct pack_info *p;
    size_t count, cap, next;
    uint32_t below;
    uint64_t live, size;
    uint32_t dead[64], rowless[64];
    unsigned ndead, nrowless;
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

/* Files come in ascending order, as the rows did. */
static int note_file(void *arg, uint32_t pack, uint64_t size)
{
    struct look *k = arg;

    if (pack >= k->below)
        return 1;
    while (k->next < k->count && k->p[k->next].pack < pack)
        k->next++;
    if (k->next < k->count && k->p[k->next].pack == pack)
        k->p[k->next].size = size;
    else if (k->nrowless < sizeof(k->rowless) / sizeof(*k->rowless))
        k->rowless[k->nrowless++] = pack;
    k->size += size;
    return 0;
}

static char *packs_dir(const struct volume *v)
{
    char *dir;

    if (asprintf(&dir, "%s/packs", v->dir) < 0)
        abort();
    return dir;
}

static void remove_pack(struct volume *v, uint32_t pack)
{
    int r = fault_point("gc.unlink");
    uint64_t before = packset_bytes(v->ps), after;

    if (r == 0)
        r = packset_delete(v->ps, pack);
    after = packset_bytes(v->ps);
    if (r == 0) {
        atomic_fetch_add(&v->gc->packs, 1);
        atomic_fetch_add(&v->gc->freed, before > after ? before - after : 0);
    } else if (r != -ENOENT && r != -EBUSY) { /* it has no row any more: the next look finds it */
        log_warn("%s: cannot remove pack %u: %s", v->label, pack, strerrordesc_np(-r));
    }
}

/* G3. */
static int remove_dead(struct volume *v, const struct look *k)
{
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
        remove_pack(v, k->dead[i]);
    return r;
}

/* Removes a pack that has no row, unless the index does name something in it: then its counters are wrong. */
static void remove_rowless(struct volume *v, const char *dir, uint32_t pack)
{
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
        remove_pack(v, pack);
}

static bool skipped(const struct gc *g, uint32_t pack)
{
    for (size_t i = 0; i < g->nskip; i++)
        if (g->skip[i] == pack)
            return true;
    return false;
}

static void skip(struct gc *g, uint32_t pack)
{
    g->skip = realloc(g->skip, (g->nskip + 1) * sizeof(*g->skip));
    if (!g->skip)
        abort();
    g->skip[g->nskip++] = pack;
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
static uint32_t choose(struct gc *g, const struct look *k, bool quiet)
{
    struct volume *v = g->vol;
    uint64_t space = copy_space(v);
    bool hard = quiet && too_much(k->size, k->live);
    const struct pack_info *best = NULL;

    for (size_t i = 0; i < k->count; i++) {
        const struct pack_info *p = &k->p[i];
        if (!p->live || !p->size || p->live > space || skipped(g, p->pack))
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
static int end_open_pack(struct gc *g)
{
    struct volume *v = g->vol;
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

/* Removes what is dead and chooses a victim. *idle: there was nothing to do. Milliseconds until the next step, or
 * -errno. */
static int look_at_packs(struct gc *g, bool quiet, bool *idle)
{
    struct volume *v = g->vol;
    char *dir = packs_dir(v);
    struct look k = {0};
    uint64_t t0 = clock_mono_ms(), seen;
    int n, r = quiet ? end_open_pack(g) : 0;

    if (r < 0)
        goto out;
    pthread_mutex_lock(&v->lock);
    k.below = packs_settled(v);
    seen = v->committed;
    pthread_mutex_unlock(&v->lock);
    r = index_list_packs(v->ix, note_row, &k);
    if (r == 0)
        r = pack_list(dir, note_file, &k);
    if (r < 0)
        goto out;
    g->live = k.live;
    g->size = k.size;
    r = k.ndead ? remove_dead(v, &k) : 0;
    for (unsigned i = 0; i < k.nrowless && r >= 0; i++)
        remove_rowless(v, dir, k.rowless[i]);
    if (r < 0)
        goto out;
    g->victim = choose(g, &k, quiet);
    *idle = !g->victim && !k.ndead;
    if (*idle) {
        g->done = quiet ? seen : 0;
        r = (int)(IDLE_MS + LOOK_SHARE * (clock_mono_ms() - t0));
        g->look_ms = t0 + (uint64_t)r;
    }
    if (!g->victim)
        goto out;
    n = pack_entries(dir, g->victim, &g->entries);
    if (n < 0) {
        log_warn("%s: cannot compact pack %u: %s", v->label, g->victim, strerrordesc_np(-n));
        skip(g, g->victim);
        g->victim = 0;
    }
    g->count = n > 0 ? (size_t)n : 0;
    g->pos = 0;
out:
    free(k.p);
    free(dir);
    return r;
}

/* --- copying --- */

/* Copies one record if its chunk is in use. */
static int copy_one(struct gc *g, const struct pack_entry *e, struct moves *m)
{
    struct volume *v = g->vol;
    unsigned char *buf = scratch_get();
    const void *payload;
    uint64_t ino, off;
    struct chunk old, c;
    int r = index_find_chunk(v->ix, e->id, &old);

    if (r == -ENOENT || (r == 0 && (old.pack != g->victim || old.pack_off != e->off)))
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
static int copy_batch(struct gc *g)
{
    struct moves m;
    uint64_t txg;
    int r = 0;

    moves_begin(&m, g->vol);
    while (r == 0 && g->pos < g->count && m.n < BATCH_CHUNKS && m.bytes < BATCH_BYTES)
        r = copy_one(g, &g->entries[g->pos++], &m);
    if (r == 0)
        r = fault_point("gc.record");
    txg = moves_end(&m, r == 0);
    if (g->wait < txg) {
        g->wait = txg;
        g->own++;
    }
    if (r < 0)
        return r;
    atomic_fetch_add(&g->copied, m.bytes);
    return (int)m.bytes;
}

static void end_victim(struct gc *g)
{
    free(g->entries);
    g->entries = NULL;
    g->count = g->pos = 0;
    g->victim = 0;
}

/* All records are copied and the moves committed: is the pack empty? */
static int finish_victim(struct gc *g)
{
    struct pack_info p = {.pack = g->victim};
    int r = index_list_packs(g->vol->ix, note_pack, &p);

    if (r < 0)
        return r;
    if (p.live) {
        log_warn("%s: pack %u could not be emptied: %llu bytes stay in it", g->vol->label, p.pack,
                 (unsigned long long)p.live);
        skip(g, p.pack);
    }
    end_victim(g);
    return 0;
}

/* --- steps --- */

/* The pause after a step that began at t0 (ns) and wrote so many bytes. Where these are small pieces it is the processor that
 * others want. */
static unsigned pace(const struct gc *g, bool quiet, uint64_t bytes, uint64_t t0)
{
    uint64_t rate = quiet ? QUIET_RATE : BUSY_RATE, slack = SLACK * g->vol->e->pack_size;
    uint64_t pause = (clock_mono_ns() - t0) / 1000000u * (quiet ? QUIET_PAUSE : BUSY_PAUSE);

    if (g->size * 5 > g->live * 9 + slack * 5)
        return 0;
    if (!quiet && g->size * 2 > g->live * 3 + slack * 2)
        rate = BUSY_RATE_2;
    return (unsigned)(bytes * 1000 / rate > pause ? bytes * 1000 / rate : pause);
}

/* Did others than ourselves leave the volume alone? */
static bool is_quiet(struct gc *g, uint64_t committed)
{
    uint64_t now = clock_mono_ms(), more = committed - g->txg;

    g->txg = committed;
    if (more > g->own) {
        g->changed_ms = now;
        g->own = 0;
    } else {
        g->own -= more;
    }
    return now >= g->changed_ms + QUIET_MS;
}

/* Is there anything of what is done between looks at packs? */
static bool more_due(struct gc *g, bool quiet, bool all)
{
    return repack_due(g->repack, quiet, all) || (quiet && later_due(g->later));
}

/* One step: milliseconds until the next, or -errno. *idle: there is nothing to do. hard: as if the volume were quiet.
 * all: repack what is not cold, too. g->lock is held. */
static int step(struct gc *g, bool hard, bool all, bool *idle)
{
    struct volume *v = g->vol;
    uint64_t t0 = clock_mono_ns(), before;
    bool quiet, large, failed;
    int r;

    *idle = false;
    g->rest = 0;
    pthread_mutex_lock(&v->lock);
    quiet = is_quiet(g, v->committed) || hard;
    failed = v->failed;
    large = v->nospace || (v->committing && (v->open->rows > TXG_ROWS_MAX || v->open->blob_bytes > TXG_BLOB_MAX));
    pthread_mutex_unlock(&v->lock);
    if (failed || large) {
        *idle = failed;
        return failed ? (int)TROUBLE_MS : (int)WAIT_MS;
    }
    g->turn = (g->turn + 1) % 3;
    if (g->turn == 1 && repack_due(g->repack, quiet, all)) {
        before = repack_txg(g->repack);
        r = repack_step(g->repack, all);
        g->own += repack_txg(g->repack) != before;
        return r < 0 ? r : (int)pace(g, quiet, (uint64_t)r, t0) + 1;
    }
    if (g->turn == 0 && quiet && later_due(g->later)) {
        before = later_txg(g->later);
        r = later_step(g->later);
        g->own += later_txg(g->later) != before;
        return r < 0 ? r : (int)pace(g, quiet, (uint64_t)r, t0) + 1;
    }
    if (g->turn == 2 && !hard && scrub_running(g->scrub)) {
        r = scrub_step(g->scrub);
        return r < 0 ? r : (int)((uint64_t)r * 1000 / (quiet ? QUIET_RATE : BUSY_RATE));
    }
    if (!g->victim && g->done == v->committed) {
        r = g->shrunk == g->done ? 0 : index_shrink(v->ix, SHRINK_PAGES);
        if (r == 0)
            g->shrunk = g->done;
        *idle = r == 0 && !more_due(g, quiet, all);
        g->rest = *idle && quiet && !repack_later(g->repack) && !scrub_running(g->scrub) ? g->done + 1 : 0;
        return r < 0 ? r : *idle ? (int)IDLE_MS : 1;
    }
    if (!g->victim && !hard && clock_mono_ms() < g->look_ms) {
        *idle = true;
        return more_due(g, quiet, all) ? 1 : (int)WAIT_MS;
    }
    if (!g->victim) {
        r = look_at_packs(g, quiet, idle);
        if (r > 0 && more_due(g, quiet, all)) {
            *idle = false;
            r = 1;
        }
        return r;
    }
    if (g->pos < g->count) {
        r = copy_batch(g);
        if (r < 0) /* the rest stays for another time */
            end_victim(g);
        return r < 0 ? r : (int)pace(g, quiet, (uint64_t)r, t0);
    }
    if (g->wait > v->committed)
        return (int)WAIT_MS;
    return finish_victim(g);
}

/* Inodes and names beyond the volume's share go, also if nobody uses it any more. */
static void share_names(struct volume *v)
{
    struct engine *e = v->e;
    size_t inodes = cache_share(e, e->inode_limit), dents = cache_share(e, e->dent_limit);

    for (unsigned i = 0; i < TRIM_TURNS; i++) {
        bool over;
        pthread_mutex_lock(&v->lock);
        inode_evict(v, inodes, TRIM_STEPS);
        dent_evict(v, dents, TRIM_STEPS);
        over = v->ninodes > inodes || v->ndents > dents;
        pthread_mutex_unlock(&v->lock);
        if (!over)
            break;
    }
}

/* SQLite's pages are not in the cache budget, so there are few of them: a share for each volume. Looked after once a
 * second. g->lock is held. */
static void share_memory(struct gc *g)
{
    struct engine *e = g->vol->e;
    uint64_t now = clock_mono_ms();
    unsigned volumes = 0, active = 0, w, r;
    bool idle;

    if (now < g->cache_ms + IDLE_MS)
        return;
    g->cache_ms = now;
    share_names(g->vol);
    g->active = now < g->changed_ms + FREE_MS;
    pthread_mutex_lock(&e->qlock);
    list_for_each(it, &e->gc_list) {
        volumes++;
        active += list_entry(it, struct gc, link)->active;
    }
    pthread_mutex_unlock(&e->qlock);
    w = WRITERS_KIB / (active ? active : 1);
    r = READERS_KIB / (volumes ? volumes : 1);
    idle = !g->active && !g->freed_pages;
    g->freed_pages = !g->active;
    index_set_cache(g->vol->ix, w > WRITER_MIN ? w : WRITER_MIN, r > READER_MIN ? r : READER_MIN, idle);
}

static unsigned step_paced(struct volume *v)
{
    struct gc *g = v->gc;
    bool idle;
    int r;

    if (pthread_mutex_trylock(&g->lock) != 0)
        return IDLE_MS; /* volume_gc is at it */
    share_memory(g);
    r = step(g, false, false, &idle);
    if (idle && r > 0 && scrub_running(g->scrub))
        r = 1;
    pthread_mutex_unlock(&g->lock);
    if (r < 0 && r != -ENOSPC)
        log_warn("%s: compaction: %s", v->label, strerrordesc_np(-r));
    return r < 0 ? TROUBLE_MS : (unsigned)r;
}

static uint64_t last_txg(const struct gc *g)
{
    uint64_t a = repack_txg(g->repack), b = later_txg(g->later);

    return a > b ? a : b;
}

int volume_gc(struct volume *v)
{
    struct gc *g;
    uint64_t all, sweeps;
    bool idle = false, again = false;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    g = v->gc;
    if (!g) {
        vol_leave(v);
        return -EROFS;
    }
    all = txg_last(v); /* what is not in the index yet holds its packs */
    while (v->committed < all && !v->failed && !v->closing) {
        txg_want_committed(v, all);
        vol_wait(v, WAIT_MS);
    }
    pthread_mutex_unlock(&v->lock);
    pthread_mutex_lock(&g->lock);
    sweeps = repack_sweeps(g->repack);
    for (;;) {
        pthread_mutex_lock(&v->lock);
        if (v->closing || v->failed)
            r = v->closing ? -ESTALE : -EIO;
        else if (g->wait > v->committed && g->pos == g->count) {
            txg_want_committed(v, g->wait);
            vol_wait(v, WAIT_MS);
        }
        while (idle && last_txg(g) > v->committed && !v->closing && !v->failed) {
            txg_want_committed(v, last_txg(g));
            vol_wait(v, WAIT_MS);
            again = true;
        }
        pthread_mutex_unlock(&v->lock);
        if (r < 0 || (idle && !again))
            break;
        again = false;
        r = step(g, true, repack_sweeps(g->repack) < sweeps + 2, &idle);
        if (r < 0)
            break;
    }
    pthread_mutex_unlock(&g->lock);
    pthread_mutex_lock(&v->lock);
    vol_leave(v);
    return r < 0 ? r : 0;
}

/* --- the thread --- */

static void wait_until(struct engine *e, uint64_t ms)
{
    uint64_t now = clock_mono_ms();
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts); /* clock_mono_ms may be ahead of it in tests */
    ms = ms > now ? ms - now : 1;
    ts.tv_sec += (time_t)(ms / 1000);
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    ts.tv_sec += ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&e->gc_cond, &e->qlock, &ts);
}

static void *gc_main(void *arg)
{
    struct engine *e = arg;

    pthread_mutex_lock(&e->qlock);
    while (!e->stop) {
        struct gc *first = NULL;
        unsigned ms;
        list_for_each(it, &e->gc_list) {
            struct gc *g = list_entry(it, struct gc, link);
            if (!first || g->due < first->due)
                first = g;
        }
        if (!first) {
            pthread_cond_wait(&e->gc_cond, &e->qlock);
            continue;
        }
        if (first->due > clock_mono_ms()) {
            wait_until(e, first->due);
            continue;
        }
        e->gc_now = first->vol;
        pthread_mutex_unlock(&e->qlock);
        ms = step_paced(first->vol);
        pthread_mutex_lock(&e->qlock);
        first->due = clock_mono_ms() + ms;
        e->gc_now = NULL;
        pthread_cond_broadcast(&e->gc_done);
    }
    pthread_mutex_unlock(&e->qlock);
    chunk_thread_release();
    return NULL;
}

int gc_start(struct engine *e)
{
    pthread_condattr_t ca;
    int r;

    list_init(&e->gc_list);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&e->gc_cond, &ca);
    pthread_cond_init(&e->gc_done, NULL);
    pthread_condattr_destroy(&ca);
    r = -pthread_create(&e->gc_thread, NULL, gc_main, e);
    e->has_gc = r == 0;
    return r;
}

void gc_stop(struct engine *e)
{
    if (!e->has_gc)
        return;
    pthread_join(e->gc_thread, NULL);
    pthread_cond_destroy(&e->gc_cond);
    pthread_cond_destroy(&e->gc_done);
}

void gc_attach(struct volume *v)
{
    struct gc *g = vol_alloc(sizeof(*g));

    g->vol = v;
    g->due = clock_mono_ms() + IDLE_MS;
    g->txg = v->committed;
    g->changed_ms = clock_mono_ms();
    g->active = true;
    g->repack = repack_new(v);
    g->later = later_new(v);
    g->scrub = scrub_new(v);
    pthread_mutex_init(&g->lock, NULL);
    v->gc = g;
    pthread_mutex_lock(&v->e->qlock);
    list_add_tail(&v->e->gc_list, &g->link);
    pthread_cond_signal(&v->e->gc_cond);
    pthread_mutex_unlock(&v->e->qlock);
}

void gc_detach(struct volume *v)
{
    struct engine *e = v->e;
    struct gc *g = v->gc;

    if (!g)
        return;
    pthread_mutex_lock(&e->qlock);
    list_del(&g->link);
    while (e->gc_now == v)
        pthread_cond_wait(&e->gc_done, &e->qlock);
    pthread_mutex_unlock(&e->qlock);
}

struct scrub *gc_scrub(struct volume *v)
{
    return v->gc ? v->gc->scrub : NULL;
}

void gc_wake(struct volume *v)
{
    pthread_mutex_lock(&v->e->qlock);
    if (v->gc)
        v->gc->due = 0;
    pthread_cond_signal(&v->e->gc_cond);
    pthread_mutex_unlock(&v->e->qlock);
}

bool gc_at_rest(struct volume *v)
{
    return v->gc && v->gc->rest == v->committed + 1;
}

void gc_rested(struct volume *v)
{
    pthread_mutex_lock(&v->gc->lock);
    repack_rested(v->gc->repack);
    pthread_mutex_unlock(&v->gc->lock);
}

void gc_free(struct gc *g)
{
    if (!g)
        return;
    end_victim(g);
    repack_free(g->repack);
    later_free(g->later);
    scrub_free(g->scrub);
    free(g->skip);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

void gc_stat(struct volume *v, struct volume_stat *st)
{
    const struct gc *g = v->gc;

    if (!g) /* a snapshot */
        return;
    st->gc_copied = g->copied;
    st->gc_freed = g->freed;
    st->gc_packs = g->packs;
    st->gc_busy = g->victim != 0;
}
