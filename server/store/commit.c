/* SPDX-License-Identifier: Apache-2.0
 * commit: closed txgs become durable: a record in the journal each, written by the commit thread, or by the thread of a
 * request that nobody else would wait beside. txg.c has the rules (T2, T3, T5 to T8).
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/priority.h"
#include "server/store/journal.h"
#include "server/store/record.h"

#define AWAKE_MS        1000u   /* after a commit, sleep at most TXG_AGE_MS at a time */
#define GATHER_NS       500000u /* wait no longer for a group to become about as large as the last one */
#define QUEUE_ROWS_MAX  50000u  /* not applied yet: then commits wait */
#define QUEUE_BYTES_MAX (64u << 20)
#define HERE_NS         1000000u /* commits of requests' own threads take no longer on average, */
#define HERE_BYTES      (256u << 10) /* and are no larger */
#define HERE_ROWS       500u
#define HERE_ROW        512u /* bytes of a row and its inode in a record: about the most, with a long name */
#define JOURNAL_GROWTH  8u
#define JOURNAL_SPACE   16u /* the journal takes no more than this part of the free space */

/* --- making it durable --- */

/* Waits until the apply thread has taken all there is. Lock held. */
static void drain(struct volume *v)
{
    while ((!list_empty(&v->queue) || v->applying) && !v->failed) {
        txg_want_committed(v, v->committing->n - 1);
        pthread_cond_signal(&v->apply_cond);
        vol_wait(v, 0);
    }
}

/* The commit before the first: makes the journal, unless it cannot be. Lock not held. */
static void make_journal(struct volume *v, uint64_t lsn)
{
    uint32_t size = v->journal_max < JOURNAL_SIZE_FIRST ? v->journal_max : JOURNAL_SIZE_FIRST;
    struct journal *j = NULL;
    int r = 0;

    v->journal_tried = true;
    if (vol_space_now(v) < JOURNAL_SPACE * (uint64_t)size)
        return;
    r = journal_create(v->dirfd, size, lsn);
    if (r == 0)
        r = journal_open(v->dirfd, v->label, false, &j);
    if (r == 0)
        r = journal_reset(j, 0, lsn);
    if (r < 0) {
        log_warn("%s: no journal (%s): each commit goes to the index", v->label, strerrordesc_np(-r));
        journal_close(j);
        return;
    }
    pthread_mutex_lock(&v->lock);
    v->journal = j;
    pthread_mutex_unlock(&v->lock);
}

/* The ring was too small for what came: makes it larger, if it may be. True: try again. Lock not held. */
static bool grow_journal(struct volume *v, uint64_t lsn, size_t len)
{
    uint64_t size = journal_size(v->journal), to = size;

    do
        to *= JOURNAL_GROWTH;
    while (to < v->journal_max && to < 2 * (uint64_t)len);
    to = to < v->journal_max ? to : v->journal_max;
    if (to <= size || vol_space_now(v) < JOURNAL_SPACE * to)
        return false;
    pthread_mutex_lock(&v->lock);
    drain(v);
    pthread_mutex_unlock(&v->lock);
    if (v->failed)
        return false;
    if (journal_reset(v->journal, (uint32_t)to, lsn) < 0) {
        v->journal_max = (uint32_t)size; /* no more tries */
        return false;
    }
    return true;
}

/* Waits until the apply thread has come on. Lock not held. */
static int wait_applied(struct volume *v, uint64_t n)
{
    pthread_mutex_lock(&v->lock);
    txg_want_committed(v, n - 1);
    pthread_cond_signal(&v->apply_cond);
    if (!v->failed && (!list_empty(&v->queue) || v->applying))
        vol_wait(v, 0);
    pthread_mutex_unlock(&v->lock);
    return v->failed ? -EIO : 0;
}

/* Then it is applied in small batches, which cost more: time to make it larger. */
static bool ring_nearly_full(struct journal *j)
{
    return journal_used(j) > journal_size(j) / 4 * 3;
}

/* Puts the txg into the journal: t->journalled says whether. Lock not held. */
static int write_record(struct volume *v, struct txg *t)
{
    size_t len;
    int r = 0;

    if (!v->journal && !v->journal_tried)
        make_journal(v, t->n);
    if (!v->journal)
        return 0;
    len = record_size(t);
    if (ring_nearly_full(v->journal))
        (void)grow_journal(v, t->n, len);
    while (r == 0) {
        if (len > JOURNAL_SIZE_MAX / 2)
            return 0;
        record_put(t, journal_buf(v->journal, len));
        r = journal_write(v->journal, t->n, len, &t->journal_end);
        if (r == 0) {
            t->journalled = true;
            return 0;
        }
        if (r != -ENOSPC && r != -E2BIG)
            return r;
        if (!grow_journal(v, t->n, len)) {
            if (r == -E2BIG)
                return v->failed ? -EIO : 0;
            r = wait_applied(v, t->n);
            continue;
        }
        r = 0;
    }
    return r;
}

/* Hands a txg to the apply thread; its own commit is what waiters wait for if it is not journalled. Lock held. */
static int enqueue(struct volume *v, struct txg *t)
{
    uint64_t n = t->n;
    bool journalled = t->journalled;

    t->t0 = clock_mono_ms();
    v->queue_rows += t->rows;
    v->queue_bytes += t->blob_bytes;
    list_add_tail(&v->queue, &t->link);
    v->committing = NULL;
    v->idle_ms = t->t0;
    if (journalled)
        v->durable = n;
    else if (n > v->want_committed)
        v->want_committed = n; /* at once, however young those before it are */
    if (!journalled || list_first(&v->queue, struct txg, link) == t || v->want_committed > v->committed ||
        v->queue_rows >= APPLY_ROWS || v->queue_bytes >= APPLY_BYTES ||
        journal_used(v->journal) > journal_size(v->journal) / 2)
        pthread_cond_signal(&v->apply_cond);
    while (!journalled && (v->committed < n || v->applying) && !v->failed)
        vol_wait(v, 0);
    vol_wake(v);
    return v->failed ? -EIO : 0;
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
    pthread_cond_signal(&v->apply_cond);
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
    struct txg *t = txg_close(v);
    int r;

    while (!v->failed && v->journal &&
           (v->queue_rows > QUEUE_ROWS_MAX || v->queue_bytes > QUEUE_BYTES_MAX ||
            (cache_ops_over(v->e) && (!list_empty(&v->queue) || v->applying)))) {
        txg_want_committed(v, t->n - 1);
        vol_wait(v, 0);
    }
    pthread_mutex_unlock(&v->lock);
    r = fault_point("txg.close");
    if (r == 0 && t->packs)
        r = packset_sync(v->ps);
    if (r == 0)
        r = write_record(v, t);
    pthread_mutex_lock(&v->lock);
    if (r == 0)
        r = enqueue(v, t);
    if (r < 0) {
        txg_fail(v, r); /* v->committing, if it is still that, stays: its inodes and slots are pinned for good */
        return;
    }
    v->commit_ns = clock_mono_ns() - t0;
    log_debug(LOG_STORE, "%s: commit=%llu rows=%u us=%llu", v->label, (unsigned long long)t->n, t->rows,
              (unsigned long long)v->commit_ns / 1000);
    atomic_fetch_add_explicit(&v->e->commits, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&v->e->commit_us, v->commit_ns / 1000, memory_order_relaxed);
    v->group = v->nwaiters - v->nwaiters / 4;
    call_run_waiters(v);
}

/* The ring has room for the open txg, wherever that comes to lie in it: else it would be drained, and made larger. Volume
 * lock held. */
static bool ring_has_room(struct volume *v)
{
    const struct txg *t = v->open;
    uint64_t room = journal_size(v->journal) - journal_used(v->journal);

    return !ring_nearly_full(v->journal) && 2 * (t->blob_bytes + (uint64_t)t->rows * HERE_ROW) <= room;
}

void txg_commit_here(struct volume *v, uint64_t n)
{
    const struct txg *t = v->open;
    uint64_t before = v->durable;

    /* A disk that was slow gets another chance when it is quick for the commit thread. Just to try now and then would keep all
     * who are served by this thread waiting for it. */
    if (v->here_ns > HERE_NS) {
        v->here_ns += v->commit_ns / 64 - v->here_ns / 64;
        return;
    }
    if (t->n != n || v->committing || v->waiters || v->failed || v->stop || !v->journal || t->packs || t->snap ||
        v->snap_request || t->blob_bytes > HERE_BYTES || t->rows > HERE_ROWS || v->queue_rows > QUEUE_ROWS_MAX / 2 ||
        v->queue_bytes > QUEUE_BYTES_MAX / 4 * 3 || cache_ops_over(v->e) || !ring_has_room(v))
        return;
    commit_one(v);
    engine_here(v->e);
    if (v->durable > before)
        v->here_ns += v->commit_ns / 8 - v->here_ns / 8;
    if (v->want >= v->open->n || v->stop || v->failed) /* asked for meanwhile */
        pthread_cond_signal(&v->commit_cond);
}

void *txg_main(void *arg)
{
    struct volume *v = arg;

    pthread_setname_np(pthread_self(), "commit");
    priority_set(PRIORITY_QUICK);
    pthread_mutex_lock(&v->lock);
    while (!v->failed) {
        uint64_t now = clock_mono_ms();
        struct txg *t = v->open;
        unsigned ms;

        if (v->committing) { /* in another thread: txg_commit_here */
            commit_wait(v, 1);
            continue;
        }
        if (reap_due(v) || snap_due(v))
            txg_touch(v);
        if (t->nonempty && v->want >= t->n && v->nwaiters < v->group) {
            gather(v);
            if (v->committing) /* another thread was faster */
                continue;
            t = v->open;
        }
        if (t->nonempty && (v->stop || v->want >= t->n || txg_large(t) || now >= t->t0 + TXG_AGE_MS)) {
            commit_one(v);
            continue;
        }
        if (v->stop)
            break;
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
