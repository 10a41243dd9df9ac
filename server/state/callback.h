/* SPDX-License-Identifier: Apache-2.0
 * callback: what the state layer asks of clients, and the border to nfs4/, which carries it: over a connection of
 * the client's session in 4.1+ (RFC 8881 section 2.10.3.1), over one that the server makes in 4.0 (RFC 7530
 * section 10.2.1).
 *
 * Life: the state layer fills in a struct callback and calls send() without its lock; send() never blocks, and
 * exactly one callback_done() follows, from any thread, also from within send(). callback_done() frees it.
 */
#ifndef VOLNFS_STATE_CALLBACK_H
#define VOLNFS_STATE_CALLBACK_H

#include <sys/socket.h>

#include "server/state/session.h"
#include "server/state/state.h"

#define CALLBACK_FH_MAX 64

enum callback_kind {
    CALLBACK_NULL,
    CALLBACK_RECALL,
    CALLBACK_GETATTR,
    CALLBACK_NOTIFY_LOCK,
    CALLBACK_OFFLOAD,
};
struct callback {
    enum callback_kind kind;
    /* Where to. */
    uint32_t minor, program;
    uint32_t uid, gid; /* of the AUTH_SYS credential; uid UINT32_MAX: AUTH_NONE */
    void *conn;        /* a session_conn's ref, or (4.0) what send() left in new_conn before; NULL: connect */
    struct sockaddr_storage addr; /* 4.0: where to connect to */
    uint32_t ident;               /* 4.0 */
    uint8_t session[SESSION_ID_SIZE];
    uint32_t slot, sequence, highest; /* 4.1+ */
    unsigned timeout_ms;
    /* What about. */
    char fh[CALLBACK_FH_MAX];
    uint32_t fh_len;
    stateid4 stateid;  /* RECALL, OFFLOAD; of GETATTR, too, though it is not sent */
    uint64_t clientid; /* whose client; also NOTIFY_LOCK's owner */
    const void *owner; /* NOTIFY_LOCK */
    size_t owner_len;
    nfsstat4 status;   /* OFFLOAD */
    uint64_t count;
    verifier4 verf;
    void (*told)(void *arg, uint64_t key, bool answered);
    void *arg;
    uint64_t key;
    /* Out: a connection that send() made; taken over by callback_done(). */
    void *new_conn;
    void (*put_conn)(void *conn);
};
struct callback_result {
    int err;              /* -errno: no answer came */
    nfsstat4 seq_status;  /* of CB_SEQUENCE; NFS4_OK in 4.0 */
    nfsstat4 status;      /* of the operation */
    bool has_attrs;       /* GETATTR */
    uint64_t change, size;
};
struct callback_ops {
    void (*send)(void *ctx, struct callback *cb);
};
/* NULL: no callbacks from now on. Before requests come. */
void state_set_callbacks(struct state *s, const struct callback_ops *ops, void *ctx);
void callback_done(struct state *s, struct callback *cb, const struct callback_result *r);

/* How a copy that went on after its COPY was answered has ended: CB_OFFLOAD. */
struct callback_offload {
    uint64_t client;
    stateid4 id;
    const char *fh; /* copied */
    uint32_t fh_len;
    nfsstat4 status;
    uint64_t count;
    verifier4 verf;
    /* Called once when something was sent, from any thread and without locks, also from within callback_offload():
     * answered is whether the client did. */
    void (*told)(void *arg, uint64_t key, bool answered);
    void *arg;
    uint64_t key;
};
/* 0: it is sent, or is about to be. -EAGAIN: there is no way or slot now, and told is not called. -ENOENT: there is
 * no such client any more. */
int callback_offload(struct state *s, const struct callback_offload *c);
/* May the client be called back, as far as is known? */
bool callback_way(struct state *s, uint64_t client);

#endif
