/* SPDX-License-Identifier: Apache-2.0
 * rpcserver: event loops, listeners and workers that carry struct request (request.h).
 */
#ifndef VOLNFS_RPC_RPCSERVER_H
#define VOLNFS_RPC_RPCSERVER_H

#include "server/rpc/request.h"

struct rpcserver;
struct rpcserver_conf {
    unsigned loops;           /* event loop threads; 0 = number of cores */
    unsigned workers;         /* threads for requests that block; 0 = 8 */
    unsigned max_conns;       /* further connections are closed at accept; 0 = 10000 */
    unsigned max_peer_conns;  /* as max_conns, of one address; 0 = half of max_conns */
    unsigned max_inflight;    /* requests of one connection under way before it is not read; 0 = 256 */
    unsigned max_peer_inflight; /* of all from one address: beyond, each connection gets one at a time; 0 = 4096 */
    size_t max_out;           /* bytes queued to one connection before it is not read; 0 = 8 MiB */
    /* Bytes queued to all connections, and receive memory that requests of all hold. Beyond either, each
     * connection gets one request at a time; 0 = 256 MiB, but 32 MiB for each loop */
    size_t max_memory;
    /* How long a record may take to arrive, and a reply to be taken; 0 = 60 s. Where memory is scarce (max_memory),
     * who sends slower than SLOW_SPEED for SLOW_SEND_MS, or reads so for SLOW_READ_MS, is cut off, too. */
    unsigned slow_ms;
    bool stay_awake; /* where that helps (awake.h) */
};
#define SLOW_SPEED   65536u /* bytes a second */
#define SLOW_SEND_MS 2000u
#define SLOW_READ_MS 10000u
int rpcserver_new(const struct rpcserver_conf *conf, struct rpcserver **out);
#define RPCSERVER_LISTENERS_MAX 33u
/* Listens on "ADDR:PORT" ("[::1]:2049" for IPv6, ":2049" for every address) or, when addr begins with
 * '/', on a Unix socket of mode 0666 (an old socket file is replaced). prog is borrowed.
 * -errno, with a log line that says what to do; -EBUSY, without: started, or RPCSERVER_LISTENERS_MAX are there. */
int rpcserver_listen(struct rpcserver *s, const char *addr, const struct oncrpc_program *prog);
/* The same in two steps, so that rights to bind can be given up in between: a TCP socket that listens, or -errno after
 * a log line; and serving on it, which takes fd over in any case. */
int rpcserver_bind(const char *addr);
int rpcserver_listen_fd(struct rpcserver *s, int fd, const struct oncrpc_program *prog);
/* Changes the limits of a running server: those in conf but loops, workers and max_memory. */
void rpcserver_set_limits(struct rpcserver *s, const struct rpcserver_conf *conf);
/* The port a listener really has (for ":0"), n in the order of rpcserver_listen. */
int rpcserver_port(const struct rpcserver *s, unsigned n);
int rpcserver_start(struct rpcserver *s);
/* Stops accepting and reading, lets requests in flight finish for at most drain_ms, closes. */
void rpcserver_stop(struct rpcserver *s, unsigned drain_ms);
void rpcserver_free(struct rpcserver *s);
/* Connects to a client (NFSv4.0 callbacks); *out is the caller's reference for conn_call(). Never waits: calls
 * go out when the connection stands, and fail when it does not come to that. prog answers what the peer calls;
 * borrowed. -errno. */
int rpcserver_connect(struct rpcserver *s, const struct sockaddr_storage *addr,
                      const struct oncrpc_program *prog, struct conn_ref **out);
/* Runs fn(arg) on a worker thread (expiry scans, purges). */
int rpcserver_run(struct rpcserver *s, void (*fn)(void *arg), void *arg);
/* What is known of the connections, for the operator's eyes. */
struct rpcserver_conn {
    uint64_t id;
    struct sockaddr_storage peer; /* AF_UNSPEC or AF_UNIX: a Unix socket's */
    uint64_t age_ms;
    uint64_t requests, rx_bytes, tx_bytes;
    unsigned inflight;
    size_t queued; /* bytes that wait to be sent */
};
/* Copies what there is of them, at most max, into out; returns how many there are. Waits for the loops, so not on a
 * loop's thread; only between rpcserver_start and rpcserver_stop. */
unsigned rpcserver_conns(struct rpcserver *s, struct rpcserver_conn *out, unsigned max);
/* How many there are, and how many there may be. */
unsigned rpcserver_count(const struct rpcserver *s, unsigned *max);
/* Peer credentials of a Unix socket request: 0 or -ENOTCONN. */
int request_peer_ids(const struct request *req, uint32_t *uid, uint32_t *gid);

#endif
