/* SPDX-License-Identifier: Apache-2.0
 * pool: threads that take jobs from a bounded queue (see pool.h).
 */
#include "client/cli/pool.h"

#include <pthread.h>
#include <stdlib.h>

#include "client/cli/cli.h"
#include "client/cli/remote.h"

struct pool_job {
    struct pool_job *next;
    void (*run)(void *arg);
    void *arg;
};

struct pool {
    pthread_mutex_t lock;
    pthread_cond_t work, room;
    struct pool_job *first, **last;
    unsigned queued, limit, busy, n;
    bool end;
    pthread_t threads[];
};

static void *pool_thread(void *arg)
{
    struct pool *p = arg;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        struct pool_job *job = p->first;
        if (!job) {
            if (p->end && !p->busy)
                break;
            pthread_cond_wait(&p->work, &p->lock);
            continue;
        }
        p->first = job->next;
        if (!p->first)
            p->last = &p->first;
        p->queued--;
        p->busy++;
        pthread_cond_signal(&p->room);
        pthread_mutex_unlock(&p->lock);
        job->run(job->arg);
        free(job);
        pthread_mutex_lock(&p->lock);
        p->busy--;
        if (p->end && !p->busy)
            pthread_cond_broadcast(&p->work);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

struct pool *pool_new(unsigned n, unsigned limit)
{
    struct pool *p = need(calloc(1, sizeof(*p) + n * sizeof(p->threads[0])));
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->room, NULL);
    p->last = &p->first;
    p->limit = limit;
    while (p->n < n && !pthread_create(&p->threads[p->n], NULL, pool_thread, p))
        p->n++;
    if (!p->n) {
        cli_fail("cannot start a thread");
        exit(1);
    }
    return p;
}

static struct pool_job *pool_job(void (*run)(void *arg), void *arg)
{
    struct pool_job *job = need(malloc(sizeof(*job)));
    *job = (struct pool_job){.run = run, .arg = arg};
    return job;
}

void pool_add(struct pool *p, void (*run)(void *arg), void *arg)
{
    struct pool_job *job = pool_job(run, arg);
    pthread_mutex_lock(&p->lock);
    while (p->queued >= p->limit)
        pthread_cond_wait(&p->room, &p->lock);
    *p->last = job;
    p->last = &job->next;
    p->queued++;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

void pool_add_first(struct pool *p, void (*run)(void *arg), void *arg)
{
    struct pool_job *job = pool_job(run, arg);
    pthread_mutex_lock(&p->lock);
    job->next = p->first;
    p->first = job;
    if (!job->next)
        p->last = &job->next;
    p->queued++;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

void pool_finish(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->end = true;
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->lock);
    for (unsigned i = 0; i < p->n; i++)
        pthread_join(p->threads[i], NULL);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->room);
    free(p);
}
