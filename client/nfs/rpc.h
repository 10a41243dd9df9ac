/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections to one server, carrying NFSv4.0 compounds as bytes. The only module that knows libnfs.
 *
 * A call is submitted and later waited for; any number may be under way on any number of threads. There is no
 * thread of ours: a waiting thread serves its connection for everybody (leader), the others sleep (followers).
 * A lost connection is made again inside rpc_wait and the call is sent again; `resent` then tells the caller that
 * the server may have carried it out twice. After fork the child gets connections of its own.
 */
#ifndef CLIENT_NFS_RPC_H
#define CLIENT_NFS_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define RPC_PARTS 3
#define RPC_CONNS 4 /* connections per server and process at most */

/* Largest READ and WRITE: libnfs refuses replies above 1 MiB + 4096. */
#define RPC_MAX_IO (1u << 20)

#define RPC_ANY (-1)

struct rpc_server;
struct rpc_conn;

/* One call. The caller fills the first part and keeps everything alive until it is waited for. */
struct rpc_call {
    struct iovec out[RPC_PARTS]; /* COMPOUND4args in XDR, in pieces; copied when submitted */
    int nout;
    int lane; /* which connection: any number from 0, calls of one lane share one (with others); or RPC_ANY, an idle one */
    /* Looks at the reply (COMPOUND4res in XDR), in whichever thread received it, under the connection's lock: it
     * copies what it needs and calls nothing of this module. Its return value becomes `error`. */
    int (*take)(struct rpc_call *call, const uint8_t *reply, size_t size);
    void *arg;
    /* NULL, or where the bytes of a long reply belong: sees its beginning, `have` of `size` bytes, and returns how many of
     * them stand before a run of *run bytes that (but for the filling to 4) ends the reply and is received at *to; take
     * gets what stands before it, then. Or 0: take gets it all. Where and under what as take. */
    size_t (*place)(struct rpc_call *call, const uint8_t *reply, size_t have, size_t size, uint8_t **to, size_t *run);

    /* Set by this module. */
    int error;   /* 0, what take returned, or -EIO / -EACCES / -ETIMEDOUT ... */
    int done;    /* futex word */
    bool lost;   /* the connection went away before the reply */
    bool resent; /* sent more than once */
    struct rpc_conn *conn;
    uint32_t xid;
    size_t placed; /* of the reply that take sees: so many bytes were received where they belong; 0: it sees all */
    struct rpc_call *next; /* rpc_in.h */
};

/* A server at a numeric address; no connection is made yet. soft_ms: give up with -EIO after so long without the
 * server (0: never). 0, -EINVAL (address), -ENOMEM. */
int rpc_server_open(struct rpc_server **out, const char *host, unsigned port, unsigned soft_ms);

/* Drops the connections; no call may be under way. */
void rpc_server_close(struct rpc_server *server);

/* Sends a call. Errors are found by rpc_wait. */
void rpc_submit(struct rpc_server *server, struct rpc_call *call);

/* Waits for a submitted call; returns its error. */
int rpc_wait(struct rpc_server *server, struct rpc_call *call);

/* True when the call's reply is here; does not block, but takes in what has arrived. */
bool rpc_poll(struct rpc_server *server, struct rpc_call *call);

/* Grows whenever a connection was lost: the server may have been restarted, and what it had not made durable be gone. */
unsigned rpc_losses(void);

/* True when a connection on which nothing is under way was found closed; it is counted as lost. Does not block. */
bool rpc_closed(struct rpc_server *server);

/* True for a descriptor of ours: the program must not close it. Safe anywhere. */
bool rpc_owns_fd(int fd);

/* Other descriptors that the program must not close. False: there are too many, and this one is not kept. */
bool rpc_fd_keep(int fd);
void rpc_fd_release(int fd);

/* In the child after fork: forgets the parent's connections without touching them on the wire. */
void rpc_after_fork(struct rpc_server *server);

/* While waiting longer than this many milliseconds, `rpc_idle_hook` (if set) is called now and then without any
 * lock held; a non-zero return makes the wait end with that error. The shim lets signals in there. */
extern int (*rpc_idle_hook)(void);

/* Called as often, and when rpc_submit cannot get rid of its bytes: nothing has come from the server since then, on any connection of this
 * process (monotonic ms). And with 0 when something has, after it was called otherwise. Any thread, no lock held. */
extern void (*rpc_silent_hook)(uint64_t since);

#endif
