/* SPDX-License-Identifier: Apache-2.0
 * gc: one thread takes the steps of compact, repack, later and scrub for all volumes, and keeps their shares of memory.
 *
 * It takes one step for one volume after another and then sleeps as long as the pace asks for: the more of
 * the packs is dead, the faster; while nobody changes the volume, at a rate of its own.
 */
#include "server/store/gc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/priority.h"
#include "server/store/compact.h"
#include "server/store/later.h"
#include "server/store/repack.h"
#include "server/store/scrub.h"

#define IDLE_MS      1000u /* between looks for something to do */
#define WAIT_MS      50u /* for a commit */
#define RELEASE_MS   1u  /* between pieces of a removed pack; */
#define RELEASE_LATE_MS 10u /* while somebody waits for the disk */
#define TROUBLE_MS   10000u
#define QUIET_MS     2000u        /* without a change the volume is quiet: */
#define QUIET_RATE   (128u << 20) /* bytes per second then */
#define BUSY_RATE    (16u << 20)  /* else, */
#define BUSY_RATE_2  (64u << 20)  /* from 1.5 times the live bytes on; from 1.8 times on there is no limit */
#define BUSY_PAUSE   15u          /* a step is followed by a pause of so many times what it took, */
#define QUIET_PAUSE  1u
#define PAUSE_MOST   5000u        /* but of this at most: a step may take long because the machine or the disk stood still */
#define LOOK_SHARE   50u          /* looking takes at most 1/50 of the time */
#define LOOK_MOST    60000u
#define WRITERS_KIB  49152u       /* all pages that SQLite keeps for writers of changing volumes together, */
#define READERS_KIB  3072u        /* and for each one of the up to 8 readers of all volumes, */
#define WRITER_MIN   512u         /* but of each volume at least these */
#define READER_MIN   128u
#define FREE_MS      30000u       /* without changes, the pages of a volume go */
#define SHRINK_PAGES 256u
#define TRIM_STEPS   256u
#define TRIM_TURNS   64u
#define SLACK        1u           /* packs full of dead bytes that nobody minds while the volume changes */

struct gc {
    struct volume *vol;
    struct list link;     /* engine.gc_list */
    uint64_t due;         /* ms; with engine.qlock */
    pthread_mutex_t lock; /* one step at a time; all below */
    uint64_t done;        /* what was committed when a look at the quiet volume found nothing to do */
    uint64_t shrunk;      /* the same, when the index had no pages to give back */
    uint64_t cache_ms;    /* when the index's caches were looked after */
    bool freed_pages;     /* since the volume is idle */
    atomic_bool active;   /* changed in the last FREE_MS */
    atomic_uint_fast64_t rest; /* 1 + what was committed when a step of the quiet volume found nothing to do */
    uint64_t look_ms;     /* not before */
    uint64_t step_ms;     /* the next step, unless it is woken */
    uint64_t txg, own;    /* what was committed at the last step; txgs that only we made, about */
    uint64_t changed_ms;  /* when others changed something */
    struct compact *compact;
    struct repack *repack;
    struct later *later;
    struct scrub *scrub;
    unsigned turn;        /* whose the last step was */
};

/* --- steps --- */

static uint64_t at_most(uint64_t ms, uint64_t most)
{
    return ms < most ? ms : most;
}

/* The pause after a step that began at t0 (ns) and wrote so many bytes. Where these are small pieces it is the processor that
 * others want. */
static unsigned pace(const struct gc *g, bool quiet, uint64_t bytes, uint64_t t0)
{
    uint64_t rate = quiet ? QUIET_RATE : BUSY_RATE, slack = SLACK * g->vol->e->pack_size, live, size;
    uint64_t pause = at_most((clock_mono_ns() - t0) / 1000000u * (quiet ? QUIET_PAUSE : BUSY_PAUSE), PAUSE_MOST);

    compact_size(g->compact, &live, &size);
    if (size * 5 > live * 9 + slack * 5)
        return 0;
    if (!quiet && size * 2 > live * 3 + slack * 2)
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

/* A step with the victim: milliseconds until the next, or -errno. */
static int step_compact(struct gc *g, bool quiet, uint64_t t0)
{
    uint64_t before = compact_txg(g->compact);
    int r;

    if (compact_waits(g->compact) > g->vol->committed)
        return (int)WAIT_MS;
    r = compact_step(g->compact);
    g->own += compact_txg(g->compact) != before;
    return r < 0 ? r : (int)pace(g, quiet, (uint64_t)r, t0);
}

/* Looks for a victim. 0: there was something to do; else milliseconds until the next look, or -errno. */
static int step_look(struct gc *g, bool quiet, bool gently)
{
    uint64_t t0 = clock_mono_ms(), seen, took, ms;
    int r = compact_look(g->compact, quiet, gently, &seen);

    if (r < 0 || r == 1)
        return r < 0 ? r : 0;
    took = clock_mono_ms() - t0;
    ms = IDLE_MS + at_most(LOOK_SHARE * took, LOOK_MOST);
    g->done = quiet ? seen : 0;
    g->look_ms = t0 + took + ms;
    return (int)ms;
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
    if (compact_busy(g->compact))
        return step_compact(g, quiet, t0);
    if (g->done == v->committed) {
        r = g->shrunk == g->done ? 0 : index_shrink(v->ix, SHRINK_PAGES);
        if (r == 0)
            g->shrunk = g->done;
        *idle = r == 0 && !more_due(g, quiet, all);
        g->rest = *idle && quiet && !repack_later(g->repack) && !scrub_running(g->scrub) ? g->done + 1 : 0;
        return r < 0 ? r : *idle ? (int)IDLE_MS : 1;
    }
    if (!hard && clock_mono_ms() < g->look_ms) {
        *idle = true;
        return more_due(g, quiet, all) ? 1 : (int)WAIT_MS;
    }
    r = step_look(g, quiet, !hard);
    *idle = r > 0 && !more_due(g, quiet, all);
    return r > 0 && !*idle ? 1 : r;
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

/* Milliseconds until the next step. */
static unsigned step_logged(struct gc *g)
{
    bool idle;
    int r = step(g, false, false, &idle);

    if (idle && r > 0 && scrub_running(g->scrub))
        r = 1;
    if (r < 0 && r != -ENOSPC)
        log_warn("%s: compaction: %s", g->vol->label, strerrordesc_np(-r));
    return r < 0 ? TROUBLE_MS : (unsigned)r;
}

/* Milliseconds until the next turn. woken: a step is due, whatever its pace. */
static unsigned turn(struct gc *g, bool woken)
{
    uint64_t now, ms;
    bool more;

    if (pthread_mutex_trylock(&g->lock) != 0)
        return IDLE_MS; /* volume_gc is at it */
    share_memory(g);
    if (woken || clock_mono_ms() >= g->step_ms) {
        ms = step_logged(g);
        g->step_ms = clock_mono_ms() + ms;
    }
    more = compact_release(g->compact);
    now = clock_mono_ms();
    ms = g->step_ms > now ? g->step_ms - now : 0;
    pthread_mutex_unlock(&g->lock);
    return (unsigned)(more ? at_most(ms, engine_is_here(g->vol->e) ? RELEASE_LATE_MS : RELEASE_MS) : ms);
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
        else if (compact_waits(g->compact) > v->committed) {
            txg_want_committed(v, compact_waits(g->compact));
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
    compact_release_all(g->compact);
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

    pthread_setname_np(pthread_self(), "gc");
    priority_set(PRIORITY_BACKGROUND);
    pthread_mutex_lock(&e->qlock);
    while (!e->stop) {
        struct gc *first = NULL;
        unsigned ms;
        bool woken;
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
        woken = first->due == 0;
        pthread_mutex_unlock(&e->qlock);
        engine_step_aside(e);
        ms = turn(first, woken);
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
    g->compact = compact_new(v);
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

void gc_finish(struct volume *v)
{
    if (!v->gc) /* a snapshot */
        return;
    pthread_mutex_lock(&v->gc->lock);
    compact_release_all(v->gc->compact);
    pthread_mutex_unlock(&v->gc->lock);
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
    compact_free(g->compact);
    repack_free(g->repack);
    later_free(g->later);
    scrub_free(g->scrub);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

void gc_stat(struct volume *v, struct volume_stat *st)
{
    if (v->gc) /* not a snapshot */
        compact_stat(v->gc->compact, st);
}
