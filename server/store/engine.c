/* SPDX-License-Identifier: Apache-2.0
 * engine: the threads and the cache budget that all volumes of a server share.
 *
 * Workers take flushes before read-ahead. One more thread checkpoints the WALs of volumes that wrote
 * much, so that no reply waits for it.
 */
#include "server/store/volume.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/priority.h"
#include "server/store/gc.h"
#include "server/store/journal.h"

#define ASIDE_NS 5000000u /* after the last commit of such a thread */
#define WORKERS_WAITING 2u /* workers more than cores, because some wait for the disk */
#define QUEUE_MAX 512u /* read-ahead beyond this is dropped */

static void *worker_main(void *arg)
{
    struct engine *e = arg;

    pthread_setname_np(pthread_self(), "store worker");
    pthread_mutex_lock(&e->qlock);
    for (;;) {
        struct work *w = list_first(&e->queue[0], struct work, link);
        if (!w)
            w = list_first(&e->queue[1], struct work, link);
        if (!w) {
            if (e->stop)
                break;
            pthread_cond_wait(&e->qcond, &e->qlock);
            continue;
        }
        list_del(&w->link);
        e->nqueued--;
        if (w->kind != WORK_LOAD)
            atomic_fetch_sub(&e->nflush, 1);
        pthread_mutex_unlock(&e->qlock);
        slot_work(w->vol, w->ino, w->idx, w->kind);
        free(w);
        pthread_mutex_lock(&e->qlock);
    }
    pthread_mutex_unlock(&e->qlock);
    chunk_thread_release();
    return NULL;
}

void engine_queue(struct engine *e, struct volume *v, uint64_t ino, uint64_t idx, enum work_kind kind)
{
    struct work *w;

    pthread_mutex_lock(&e->qlock);
    if (kind == WORK_LOAD && e->nqueued >= QUEUE_MAX) {
        pthread_mutex_unlock(&e->qlock);
        return;
    }
    w = vol_alloc(sizeof(*w));
    w->vol = v;
    w->ino = ino;
    w->idx = idx;
    w->kind = kind;
    v->work++;
    list_add_tail(&e->queue[kind == WORK_LOAD], &w->link);
    e->nqueued++;
    if (kind != WORK_LOAD)
        atomic_fetch_add(&e->nflush, 1);
    pthread_cond_signal(&e->qcond);
    pthread_mutex_unlock(&e->qlock);
}

static void *checkpoint_main(void *arg)
{
    struct engine *e = arg;

    pthread_setname_np(pthread_self(), "checkpoint");
    priority_set(PRIORITY_BACKGROUND);
    pthread_mutex_lock(&e->qlock);
    while (!e->stop) {
        struct volume *v = list_first(&e->ckpt, struct volume, ckpt_link);
        int r;
        if (!v) {
            pthread_cond_wait(&e->ckpt_cond, &e->qlock);
            continue;
        }
        list_del(&v->ckpt_link);
        e->ckpt_now = v;
        pthread_mutex_unlock(&e->qlock);
        engine_step_aside(e);
        r = index_checkpoint(v->ix);
        if (r < 0 && r != -EBUSY && r != -EAGAIN)
            log_warn("%s: cannot checkpoint the index: %s", v->label, strerrordesc_np(-r));
        pthread_mutex_lock(&e->qlock);
        e->ckpt_now = NULL;
        pthread_cond_broadcast(&e->ckpt_done);
    }
    pthread_mutex_unlock(&e->qlock);
    return NULL;
}

bool engine_is_here(const struct engine *e)
{
    uint64_t at = atomic_load_explicit(&e->here_at, memory_order_relaxed);

    return at && clock_mono_ns() - at < ASIDE_NS;
}

void engine_step_aside(const struct engine *e)
{
    if (engine_is_here(e))
        priority_avoid(atomic_load_explicit(&e->here_cpu, memory_order_relaxed));
    else
        priority_avoid(-1);
}

void engine_here(struct engine *e)
{
    uint64_t at = atomic_load_explicit(&e->here_at, memory_order_relaxed), now = clock_mono_ns();
    int cpu = sched_getcpu();

    if (at && now - at < ENGINE_HERE_NS && cpu != atomic_load_explicit(&e->here_cpu, memory_order_relaxed))
        return;
    atomic_store_explicit(&e->here_cpu, cpu, memory_order_relaxed);
    atomic_store_explicit(&e->here_at, now, memory_order_relaxed);
}

void engine_checkpoint_later(struct engine *e, struct volume *v)
{
    pthread_mutex_lock(&e->qlock);
    if (list_empty(&v->ckpt_link)) {
        list_add_tail(&e->ckpt, &v->ckpt_link);
        pthread_cond_signal(&e->ckpt_cond);
    }
    pthread_mutex_unlock(&e->qlock);
}

void engine_checkpoint_cancel(struct engine *e, struct volume *v)
{
    pthread_mutex_lock(&e->qlock);
    list_del(&v->ckpt_link);
    while (e->ckpt_now == v)
        pthread_cond_wait(&e->ckpt_done, &e->qlock);
    pthread_mutex_unlock(&e->qlock);
}

int engine_new(const struct engine_conf *conf, struct engine **out)
{
    struct engine *e = vol_alloc(sizeof(*e));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned want;
    int r;

    e->cache_size = conf->cache_size < (16u << 20) ? 16u << 20 : conf->cache_size;
    e->pack_size = conf->pack_size && conf->pack_size < PACK_SIZE ? conf->pack_size : PACK_SIZE;
    e->journal_size = conf->journal_size ? conf->journal_size : JOURNAL_SIZE_DEFAULT;
    e->journal_size &= ~(JOURNAL_BLOCK - 1);
    if (e->journal_size < JOURNAL_SIZE_MIN)
        e->journal_size = JOURNAL_SIZE_MIN;
    e->epoch = conf->epoch ? conf->epoch : 1;
    want = conf->workers ? conf->workers : (unsigned)(cores > 0 ? cores : 1) + WORKERS_WAITING;
    e->inode_limit = e->cache_size / 8192;
    e->dent_limit = e->cache_size / 4096;
    pthread_mutex_init(&e->lock, NULL);
    pthread_mutex_init(&e->buf_lock, NULL);
    pthread_mutex_init(&e->qlock, NULL);
    pthread_cond_init(&e->qcond, NULL);
    pthread_cond_init(&e->ckpt_cond, NULL);
    pthread_cond_init(&e->ckpt_done, NULL);
    list_init(&e->lru);
    list_init(&e->queue[0]);
    list_init(&e->queue[1]);
    list_init(&e->ckpt);
    /* Never written, so all of it is the kernel's one zero page. */
    e->zero = mmap(NULL, 2u << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (e->zero == MAP_FAILED) {
        free(e);
        return -ENOMEM;
    }
    e->threads = vol_alloc(want * sizeof(pthread_t));
    r = -pthread_create(&e->ckpt_thread, NULL, checkpoint_main, e);
    e->has_ckpt = r == 0;
    if (r == 0)
        r = gc_start(e);
    for (unsigned i = 0; r == 0 && i < want; i++) {
        r = -pthread_create(&e->threads[i], NULL, worker_main, e);
        e->nworkers += r == 0;
    }
    if (r < 0) {
        engine_free(e);
        return r;
    }
    *out = e;
    return 0;
}

void engine_get_stat(struct engine *e, struct engine_stat *out)
{
    *out = (struct engine_stat){
        .cache_size = e->cache_size,
        .cache_used = atomic_load(&e->bytes),
        .cache_pinned = atomic_load(&e->pinned),
        .slot_reads = atomic_load(&e->slot_reads),
        .slot_loads = atomic_load(&e->slot_loads),
        .commits = atomic_load(&e->commits),
        .commit_us = atomic_load(&e->commit_us),
        .deduped = atomic_load(&e->deduped),
        .hurried = atomic_load(&e->hurried),
    };
}

void engine_free(struct engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->qlock);
    e->stop = true;
    pthread_cond_broadcast(&e->qcond);
    pthread_cond_broadcast(&e->ckpt_cond);
    pthread_cond_broadcast(&e->gc_cond);
    pthread_mutex_unlock(&e->qlock);
    for (unsigned i = 0; i < e->nworkers; i++)
        pthread_join(e->threads[i], NULL);
    if (e->has_ckpt)
        pthread_join(e->ckpt_thread, NULL);
    gc_stop(e);
    buf_release_all(e);
    munmap(e->zero, 2u << 20);
    pthread_mutex_destroy(&e->lock);
    pthread_mutex_destroy(&e->buf_lock);
    pthread_mutex_destroy(&e->qlock);
    pthread_cond_destroy(&e->qcond);
    pthread_cond_destroy(&e->ckpt_cond);
    pthread_cond_destroy(&e->ckpt_done);
    free(e->threads);
    free(e);
}
