/* SPDX-License-Identifier: Apache-2.0
 * worker: one queue, one condition; a signal is sent only when a thread waits.
 */
#include "server/rpc/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

struct worker_pool {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    struct list jobs; /* these: under lock */
    unsigned idle;
    bool stop;
    unsigned nthreads;
    pthread_t threads[];
};

static void *worker_main(void *arg)
{
    struct worker_pool *p = arg;

    pthread_setname_np(pthread_self(), "rpc worker");
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct job *job = list_first(&p->jobs, struct job, node);

        if (job) {
            list_del(&job->node);
            pthread_mutex_unlock(&p->lock);
            job->run(job);
            pthread_mutex_lock(&p->lock);
        } else if (p->stop) {
            break;
        } else {
            p->idle++;
            pthread_cond_wait(&p->cond, &p->lock);
            p->idle--;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

int worker_pool_new(unsigned threads, struct worker_pool **out)
{
    struct worker_pool *p = calloc(1, sizeof(*p) + threads * sizeof(p->threads[0]));

    if (!p)
        return -ENOMEM;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->cond, NULL);
    list_init(&p->jobs);
    for (; p->nthreads < threads; p->nthreads++) {
        int err = pthread_create(&p->threads[p->nthreads], NULL, worker_main, p);

        if (err) {
            worker_pool_stop(p);
            worker_pool_free(p);
            return -err;
        }
    }
    *out = p;
    return 0;
}

void worker_submit(struct worker_pool *p, struct job *job)
{
    bool wake, stop;

    pthread_mutex_lock(&p->lock);
    stop = p->stop;
    wake = !stop && p->idle > 0;
    if (!stop)
        list_add_tail(&p->jobs, &job->node);
    pthread_mutex_unlock(&p->lock);
    if (stop)
        job->run(job);
    else if (wake)
        pthread_cond_signal(&p->cond);
}

void worker_pool_stop(struct worker_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_mutex_unlock(&p->lock);
    pthread_cond_broadcast(&p->cond);
    for (; p->nthreads; p->nthreads--)
        pthread_join(p->threads[p->nthreads - 1], NULL);
}

void worker_pool_free(struct worker_pool *p)
{
    if (!p)
        return;
    pthread_cond_destroy(&p->cond);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
