/* SPDX-License-Identifier: Apache-2.0
 * worker: a pool of threads for what may block. What is queued is bounded by those who queue: requests by
 * the cap of requests under way of each connection.
 */
#ifndef VOLNFS_RPC_WORKER_H
#define VOLNFS_RPC_WORKER_H

#include "common/list.h"

/* Something to run on another thread; embedded in what it is about, which run gives back by itself. */
struct job {
    struct list node;
    void (*run)(struct job *job);
};

struct worker_pool;
/* -errno. The threads start at once. */
int worker_pool_new(unsigned threads, struct worker_pool **out);
void worker_submit(struct worker_pool *p, struct job *job);
/* Runs what is queued, then ends the threads. A job submitted from now on runs on the submitting thread. */
void worker_pool_stop(struct worker_pool *p);
/* After worker_pool_stop. Accepts NULL. */
void worker_pool_free(struct worker_pool *p);

#endif
