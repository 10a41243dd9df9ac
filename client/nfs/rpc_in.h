/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The incoming half of a connection: a stream of bytes becomes ONC RPC replies (RFC 5531, 10 and 11).
 *
 * A long reply whose call says where its bytes belong (rpc_call.place) is received right there: the kernel's copy is the
 * only one. All others are received as a whole, fragments joined.
 *
 * Invariants:
 *  1. No message is longer than RPC_MESSAGE_MAX, whatever the server says; no more than that is allocated.
 *  2. What is delivered begins with a record mark and a reply's head that is as long as it says.
 *  3. A place is written to only between rpc_in_expect and the delivery of that call's reply, or rpc_in_reset.
 *
 * Everything under the lock of the connection.
 */
#ifndef CLIENT_NFS_RPC_IN_H
#define CLIENT_NFS_RPC_IN_H

#include <poll.h>

#include "client/nfs/rpc.h"

#define RPC_MESSAGE_MAX (RPC_MAX_IO + 4096)
#define RPC_IN_BUF 2048 /* messages up to this length need no memory of their own */
#define RPC_IN_LOOK 640 /* a reply's head, its verifier at its longest, and what place() wants to see */

struct rpc_in {
    struct rpc_call *calls; /* those with a place, not yet answered */
    uint8_t buf[RPC_IN_BUF] __attribute__((aligned(8)));
    size_t start, end; /* of what was received into it and not yet used */
    uint8_t *to;       /* where the next bytes go, not through buf, */
    size_t left;       /* so many of them; */
    size_t fill;       /* then these are thrown away */
    struct rpc_call *call; /* whose place that is; before it came: */
    uint8_t look[RPC_IN_LOOK] __attribute__((aligned(8)));
    size_t nlook;
    uint8_t *msg; /* or a message that is put together: record mark and `size` bytes in all, as far as is known */
    size_t size;
    bool more; /* fragments of it follow */
    size_t low; /* SO_RCVLOWAT, 0: as it was */
    bool slow; /* is left at 1 */
};

/* Takes in what has arrived on fd, as far as it is here, but stops after a long message. Each message goes to deliver,
 * which may write to it; negative ends the connection. 0, or -1: the connection is of no use any more. */
int rpc_in_serve(struct rpc_in *in, int fd, int (*deliver)(void *arg, uint8_t *msg, size_t size), void *arg);

/* Around every poll of fd for POLLIN, which may last ms: the rest of a long message is cheaper to receive at once, so
 * fd is ready (SO_RCVLOWAT) when all of it is here; until the network takes too long to bring it, or the socket has no
 * room for it (before Linux 4.18). before: how long to poll instead. after: what poll returned; may add POLLIN. */
int rpc_in_before_poll(struct rpc_in *in, int fd, int ms);
void rpc_in_after_poll(struct rpc_in *in, int n, struct pollfd *p);

/* The call (xid, place) is about to be sent; and is done. */
void rpc_in_expect(struct rpc_in *in, struct rpc_call *call);
void rpc_in_forget(struct rpc_in *in, const struct rpc_call *call);

/* The connection is gone, and whatever had come of a message. The calls stay. */
void rpc_in_reset(struct rpc_in *in);

#endif
