/* SPDX-License-Identifier: Apache-2.0
 * conn: one connection: cuts records out of its stream, has them answered, sends the replies.
 *
 * All of it runs on the thread of the connection's loop, but where said. References keep the memory: one of
 * the loop until the connection is closed, one of each request under way, and those of conn_ref.
 *
 * Nothing is read while (conn_full) a limit is reached: requests under way, bytes to be sent, receive
 * memory in use. When all connections of the loop together have too much of the latter two, only those that
 * have none go on; so each waits for nothing but its own. Whoever brings one of these down calls conn_eased,
 * which puts the connection on the loop's list `again`.
 *
 * A record of which a part is here holds memory until the rest comes: large ones take no more than the loop's share of
 * max_memory; whoever needs more waits on the loop's list `starved` until there is some, and whoever is slow then is
 * cut off (conn_tick).
 */
#ifndef VOLNFS_RPC_CONN_H
#define VOLNFS_RPC_CONN_H

#include "common/list.h"
#include "server/rpc/loop.h"
#include "server/rpc/rbuf.h"
#include "server/rpc/request.h"

#define CONN_RX_MAX    (64u << 20) /* receive memory that requests of one connection may hold */
#define CONN_CALLS_MAX 256u    /* back channel calls waiting for their reply */
#define CONN_LAST_FRAGMENT 0x80000000u /* in a record mark (RFC 5531 section 11); the rest of it is the length */

/* A message on its way out. */
struct outmsg {
    struct list node;
    struct xdrout *body;
    uint32_t mark;       /* record mark, as it goes over the wire */
    size_t sent, total;  /* bytes, with the mark */
    bool counted;        /* conn_count_out was called for it */
    void (*gone)(struct outmsg *m); /* it was sent, or the connection is closed */
};

struct conn {
    enum source source;
    int fd;
    unsigned refs; /* atomic */
    bool closed;   /* atomic for reading: conn_call looks from any thread */
    uint64_t id;
    struct loop *loop;
    struct rpcserver *server;
    const struct oncrpc_program *prog;

    struct list all, again, dirty, timed, starved; /* in the loop's lists of these names */
    struct peer *entry; /* the peer, with all its connections */

    struct rbuf *rb; /* what was received: rd..wr is not looked at yet */
    size_t rd, wr;
    struct rbuf *record; /* fragments of the record so far, when it has more than one */
    size_t record_len;
    uint64_t record_since; /* when the unfinished record began; 0: none */
    bool readable, hup, paused, large;

    struct list out;
    size_t out_bytes; /* atomic */
    uint64_t out_since; /* when the first message in `out` became that; 0: none waits */
    bool want_out;

    unsigned inflight;
    size_t rx_held;
    struct list held;  /* requests that wait for output to drain before a worker runs them */
    struct list calls; /* back channel calls waiting for their reply */
    unsigned ncalls;   /* atomic */

    uint64_t since; /* ms, when it came */
    uint64_t requests, rx_bytes, tx_bytes; /* in all; tx_bytes: what the socket took */

    struct sockaddr_storage peer;
    void *slot; /* the program's */
    bool has_ids;
    uint32_t uid, gid;
};

/* Takes fd over (also when it fails) and hands the connection to one of the server's loops. */
int conn_new(struct rpcserver *server, const struct oncrpc_program *prog, int fd,
             const struct sockaddr_storage *peer);
/* As conn_new, from any thread, also for a socket that still connects; *ref is the caller's reference. */
int conn_new_ref(struct rpcserver *server, const struct oncrpc_program *prog, int fd,
                 const struct sockaddr_storage *peer, struct conn **ref);
void conn_unref(struct conn *c); /* any thread */
void conn_event(struct conn *c, uint32_t events);
/* Sends what is queued, as far as the socket takes it. */
void conn_flush(struct conn *c);
/* Queues m, which has body and gone set. The connection must be open. */
void conn_queue(struct conn *c, struct outmsg *m);
void conn_eased(struct conn *c);
/* A limit is reached: nothing is read (see above). */
bool conn_full(const struct conn *c);
/* Too much waits to be sent. Any thread. */
bool conn_out_full(const struct conn *c);
/* Counts m, whose body is complete, as waiting; and no more, if it will not be queued. Any thread: what workers
 * have finished counts before the loop has seen it. */
void conn_count_out(struct conn *c, struct outmsg *m);
void conn_uncount_out(struct conn *c, struct outmsg *m);
void conn_close(struct conn *c);
/* Closes it if it is too slow. */
void conn_tick(struct conn *c, uint64_t now);
/* It waited for memory: it may try again. */
void conn_feed(struct conn *c);
/* Keeps the connection in the loop's list `timed` while it has something that times out. */
void conn_update_timed(struct conn *c);

/* conn_recv.c: goes on reading, as far as there is something and conn_full allows. */
void conn_resume(struct conn *c);

/* conncall.c: a reply from the client came; all calls fail; those whose time is up fail. */
void conncall_reply(struct conn *c, uint32_t xid, const char *body, size_t len);
void conncall_fail_all(struct conn *c, int err);
void conncall_tick(struct conn *c, uint64_t now);

/* request.c: handles a record of len bytes at body, which lies in rb. Takes a reference if it needs one.
 * false: the connection must be closed. */
bool request_record(struct conn *c, struct rbuf *rb, const char *body, size_t len);
/* The requests held back go to the workers. */
void request_release_held(struct conn *c);
/* Frees the pooled requests of a loop. */
void request_free_pool(struct loop *l);

#endif
