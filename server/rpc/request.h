/* SPDX-License-Identifier: Apache-2.0
 * request: one ONC RPC call on its way through the server.
 *
 * Life: the connection's loop decodes the header (RFC 5531) and calls the program's dispatch with
 * may_block false. Dispatch encodes into req->out and returns
 *   REQ_DONE   the reply is complete; the loop sends it.
 *   REQ_BLOCK  the call has to wait for a disk or a lock: the loop hands the request to a worker thread,
 *              which calls dispatch again with may_block true; req->priv carries what was done so far.
 *   REQ_PARKED somebody will call request_complete(req) later, from any thread; nothing may touch the
 *              request after parking it.
 *   REQ_DROP   no reply and the connection is closed (only for what cannot be answered).
 * A worker may return all but REQ_BLOCK. While a request is in flight its connection may go away: the
 * reply is then thrown away, and everything else happens as usual. req->finish (if set) is called exactly
 * once, after the reply was handed to the socket layer or thrown away, from any thread, before the
 * request is freed.
 */
#ifndef VOLNFS_RPC_REQUEST_H
#define VOLNFS_RPC_REQUEST_H

#include <sys/socket.h>

#include "common/arena.h"
#include "proto/xdrbuf.h"
#include "proto/xdrout.h"

#define CRED_GROUPS_MAX 16 /* RFC 5531 appendix A */
enum cred_flavor { CRED_NONE, CRED_SYS };
struct cred {
    enum cred_flavor flavor;
    uint32_t uid, gid; /* of CRED_NONE: 65534 */
    unsigned ngroups;
    uint32_t groups[CRED_GROUPS_MAX];
    char machine[256]; /* AUTH_SYS machine name, NUL-terminated; a label, not an authority */
};

enum req_result { REQ_DONE, REQ_BLOCK, REQ_PARKED, REQ_DROP };

struct conn;
struct request {
    struct conn *conn;
    uint32_t xid, prog, vers, proc;
    struct cred cred;
    XDR in;              /* positioned at the arguments; views stay valid until the request is freed */
    const char *body;    /* the whole record, from the xid on */
    size_t body_len;
    struct xdrout *out;  /* the reply header is already encoded; results follow */
    size_t out_start;    /* length of the reply header */
    struct arena arena;  /* goes with the request; 256 KiB limit */
    bool may_block;
    void *priv;          /* the program's */
    void (*finish)(struct request *req);
};

/* A program served on a port. dispatch: see above. An unknown procedure: return REQ_DONE after
 * request_reject(req, PROC_UNAVAIL). */
struct oncrpc_program {
    uint32_t prog, vers_min, vers_max;
    enum req_result (*dispatch)(struct request *req, void *arg);
    void *arg;
    /* A connection of this listener closed; conn_id will not come again. May be NULL. */
    void (*conn_closed)(uint64_t conn_id, void *arg);
    /* Gets what is in a connection's slot, if it is not NULL, when its memory goes; from any thread. May be NULL. */
    void (*slot_free)(void *slot);
};

/* Replaces the reply by an accepted reply with that accept_stat (GARBAGE_ARGS, PROC_UNAVAIL, …). */
void request_reject(struct request *req, uint32_t accept_stat);
/* Finishes a parked request; the request is gone for the caller. */
void request_complete(struct request *req);
/* As request_complete, but the connection is closed instead of a reply sent. */
void request_drop(struct request *req);

/* On a loop thread, after dispatch decided to return REQ_PARKED: run gets the request on this thread, once all that has
 * come to the loop is looked at. true: it took a costly step for all that are late; then those to come wait for each
 * other for a while. */
void request_late(struct request *req, bool (*run)(struct request *req));
/* While the first run of several is called: the loop has nothing else to do. All its requests are late ones, and only one
 * connection has asked since the last time. */
bool request_all_late(const struct request *req);

/* Facts about the request's connection. */
uint64_t request_conn_id(const struct request *req); /* unique in this process */
void request_peer(const struct request *req, struct sockaddr_storage *ss);
/* A pointer of the program's own on the connection, NULL at first. Only for dispatch with may_block false: then one
 * thread at a time gets there. */
void **request_conn_slot(struct request *req);
/* On a loop thread: for some time one connection has asked its loop for one thing after another, and this is the only
 * request there: while it is worked on the loop has nothing else to do. */
bool request_alone(const struct request *req);
/* Then, or when it is late with all others, before it waits for the disk on this thread: lets it be woken without delay (awake.h).
 * false: afterwards. */
void request_stay_awake(struct request *req, bool on);
/* The most bytes a reply and a call may have (1 MiB + headers). */
#define REQUEST_REPLY_MAX (1048576u + 65536u)
#define REQUEST_CALL_MAX  (1048576u + 65536u)

/* --- calls from the server to a client over the client's connection (NFSv4.1 back channel) --- */

struct conn_ref; /* keeps the memory of a connection, not the socket */
/* A reference of the caller's, to be given back by conn_ref_put; both from any thread. */
struct conn_ref *request_conn_ref(struct request *req);
void conn_ref_put(struct conn_ref *cr); /* NULL is nothing */
/* The connection's request_conn_id. */
uint64_t conn_ref_id(const struct conn_ref *cr);
/* Sends a whole RPC call message (encoded in call, taken over; xid must be its first word) and has
 * done(arg, 0, reply body from the xid on, len) called when the reply comes, or done(arg, -errno, NULL, 0)
 * on close or after timeout_ms. done runs on a loop thread: no blocking. -EPIPE: closed already. */
int conn_call(struct conn_ref *cr, struct xdrout *call, uint32_t xid, unsigned timeout_ms,
              void (*done)(void *arg, int err, const void *reply, size_t len), void *arg);

#endif
