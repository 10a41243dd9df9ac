/* SPDX-License-Identifier: Apache-2.0
 * report: what the loops know of their connections: each loop is asked to copy its own.
 */
#include <semaphore.h>

#include "common/clock.h"
#include "server/rpc/conn.h"
#include "server/rpc/rpcserver_priv.h"

struct ask {
    struct job job;
    const struct loop *loop;
    struct rpcserver_conn *out;
    unsigned max, n;
    sem_t done;
};

/* On the loop's thread. */
static void answer(struct job *job)
{
    struct ask *a = container_of(job, struct ask, job);
    uint64_t now = clock_mono_ms();

    list_for_each(it, &a->loop->conns) {
        const struct conn *c = list_entry(it, struct conn, all);

        if (a->n < a->max)
            a->out[a->n] = (struct rpcserver_conn){
                .id = c->id,
                .peer = c->peer,
                .age_ms = now - c->since,
                .requests = c->requests,
                .rx_bytes = c->rx_bytes,
                .tx_bytes = c->tx_bytes,
                .inflight = c->inflight,
                .queued = __atomic_load_n(&c->out_bytes, __ATOMIC_RELAXED),
            };
        a->n++;
    }
    sem_post(&a->done);
}

unsigned rpcserver_conns(struct rpcserver *s, struct rpcserver_conn *out, unsigned max)
{
    unsigned total = 0;

    for (unsigned i = 0; i < s->nloops; i++) {
        unsigned used = total < max ? total : max;
        struct ask a = {.loop = &s->loops[i], .out = out + used, .max = max - used};

        a.job.run = answer;
        list_init(&a.job.node);
        sem_init(&a.done, 0, 0);
        loop_post(&s->loops[i], &a.job);
        while (sem_wait(&a.done) != 0)
            ;
        sem_destroy(&a.done);
        total += a.n;
    }
    return total;
}

unsigned rpcserver_count(const struct rpcserver *s, unsigned *max)
{
    *max = rpcserver_limit(s, max_conns);
    return __atomic_load_n(&s->nconns, __ATOMIC_RELAXED);
}
