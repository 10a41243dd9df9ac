/* SPDX-License-Identifier: Apache-2.0
 * rpcserver_priv: what the files of this folder share of struct rpcserver.
 */
#ifndef VOLNFS_RPC_RPCSERVER_PRIV_H
#define VOLNFS_RPC_RPCSERVER_PRIV_H

#include "server/rpc/listener.h"
#include "server/rpc/loop.h"
#include "server/rpc/peer.h"
#include "server/rpc/rpcserver.h"
#include "server/rpc/worker.h"

/* How far the server is on its way down; loops look at it when they are woken. */
enum server_phase {
    PHASE_RUN,
    PHASE_DRAIN, /* nothing is accepted or read */
    PHASE_CLOSE, /* connections are closed */
    PHASE_QUIT,  /* loop threads end */
};

struct rpcserver {
    struct rpcserver_conf conf; /* with the defaults filled in; limits are atomic */
    struct peer_table peers;
    size_t loop_memory;         /* each loop's part of conf.max_memory */
    enum server_phase phase;    /* atomic */
    unsigned nconns;            /* atomic */
    unsigned next_loop;         /* atomic: whose turn it is to get a connection */
    int reserve_fd;             /* given up for a moment to refuse a connection when descriptors run out */
    bool started;
    unsigned nlisteners;
    struct listener listeners[RPCSERVER_LISTENERS_MAX];
    struct worker_pool *workers;
    unsigned nloops;
    struct loop *loops;
};

/* A limit of s->conf. */
#define rpcserver_limit(s, name) __atomic_load_n(&(s)->conf.name, __ATOMIC_RELAXED)

static inline enum server_phase rpcserver_phase(const struct rpcserver *s)
{
    return __atomic_load_n(&s->phase, __ATOMIC_ACQUIRE);
}

#endif
