/* SPDX-License-Identifier: Apache-2.0
 * loop: one event loop thread with its connections. Everything here is touched by that thread only, but
 * for the inbox, through which other threads hand it jobs.
 */
#ifndef VOLNFS_RPC_LOOP_H
#define VOLNFS_RPC_LOOP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"
#include "server/rpc/worker.h"

struct awake;
struct rbuf;
struct rpcserver;

/* What an epoll event's pointer points to: the first member of struct conn and struct listener. */
enum source { SOURCE_INBOX, SOURCE_CONN, SOURCE_LISTENER };

struct loop {
    enum source source; /* SOURCE_INBOX: of its own eventfd */
    struct rpcserver *server;
    int epfd, evfd;
    pthread_t thread;
    bool started;

    struct list conns; /* all open ones */
    struct list again; /* have input that was not looked at: unpaused, or out of turn */
    struct list dirty; /* have output to send */
    struct list timed; /* have something that times out */
    struct list starved; /* wait for memory for a large record */
    struct list dead;  /* closed in this turn; late events may still point to them */
    uint64_t next_tick;
    unsigned spins; /* more times that waiting awake may fail before it is given up */
    struct awake *awake; /* NULL: processors sleep when they like */
    struct rbuf *spare; /* a small buffer with room from spare_at on; may be NULL */
    size_t spare_at;
    struct list free_requests;
    unsigned nfree_requests;
    unsigned requests; /* under way; read by others */
    uint64_t asked;    /* the connection that the last one came from */
    unsigned alone;    /* so many in a row came from it while no other was under way or received */
    struct list late;  /* jobs for when there is nothing else to do */
    unsigned nlate, late_most; /* how many; how many there are lately */
    uint64_t late_since; /* ns, the first of them */
    uint64_t late_ns;  /* what running them takes, with a costly step; 0: there is none */
    bool late_cost;    /* there was one */
    bool many;         /* since the late jobs ran last, more than one connection asked */
    bool all_late;     /* that was not so when the late jobs began to run, and they were for all requests */
    size_t out_bytes;  /* of all its connections; atomic */
    size_t rx_held;    /* of all its connections */
    size_t large_bytes; /* of all large receive buffers, those of unfinished records too */
    bool closed_all;   /* read by others */

    pthread_mutex_t lock; /* of the inbox */
    struct list inbox;
    unsigned waking; /* threads that have filled the inbox and still use evfd; atomic */
};

/* 0 or -errno; loop_release in either case. */
int loop_init(struct loop *l, struct rpcserver *server);
/* Starts the thread. -errno of pthread_create. */
int loop_start(struct loop *l);
/* After the thread has ended, or was never started: waits for those who still wake it, and runs what is left in the
 * inbox. */
void loop_release(struct loop *l);
/* Runs job on the loop's thread: now, when that is this thread. */
void loop_post(struct loop *l, struct job *job);
/* On the loop's thread: runs job before it waits for events the next time. */
void loop_late(struct loop *l, struct job *job);
/* Makes the thread look at the server's flags. */
void loop_wake(struct loop *l);
/* The calling thread is l's. */
bool loop_is_current(const struct loop *l);

#endif
