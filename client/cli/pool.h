/* SPDX-License-Identifier: Apache-2.0
 * pool: threads that take jobs from a bounded queue.
 */
#ifndef VOLNFS_CLI_POOL_H
#define VOLNFS_CLI_POOL_H

#include <stdbool.h>

struct pool;

/* Starts n threads; the queue holds at most limit jobs. Ends the program when it cannot. */
struct pool *pool_new(unsigned n, unsigned limit);
/* Adds a job; waits while the queue is full. Not for jobs to call. */
void pool_add(struct pool *p, void (*run)(void *arg), void *arg);
/* Adds a job in front of the others, full or not. Jobs may call it. */
void pool_add_first(struct pool *p, void (*run)(void *arg), void *arg);
/* Waits until every job is done, ends the threads and frees p. */
void pool_finish(struct pool *p);

#endif
