/* SPDX-License-Identifier: Apache-2.0
 * session: NFSv4.1 sessions, their slots and the reply cache (RFC 8881 sections 2.10, 18.36, 18.46).
 *
 * A compound's way: the SEQUENCE handler calls session_sequence(), which gives a referenced session and a
 * slot in c->session and c->slot. The compound core then
 *  1. asks session_replay(): non-NULL = the reply is exactly these bytes, no operation runs;
 *  2. keeps the reply within session_limits();
 *  3. calls session_done() exactly once, when the reply is complete and durable and BEFORE it is handed to
 *     the connection (a client may use the slot again the moment it has the reply): in the loop before
 *     returning REQ_DONE, or in the durability callback before request_complete(). It keeps the reply for
 *     replays, frees the slot and drops the session reference; both pointers are dead afterwards.
 * A slot between session_sequence() and session_done() is in progress: a retransmission meanwhile gets
 * NFS4ERR_DELAY. All functions are safe from any thread and none blocks on a disk.
 */
#ifndef VOLNFS_STATE_SESSION_H
#define VOLNFS_STATE_SESSION_H

#include "proto/nfs4_gen.h"
#include "proto/xdrout.h"
#include "server/state/state.h"

struct state;
struct session;
struct session_slot;

#define SESSION_ID_SIZE   16
#define SESSION_SLOTS_MAX 64
#define SESSION_CACHE_MAX 8192 /* bytes of a kept reply */
#define SESSION_CONNS_MAX 64   /* connections bound to one session */

/* --- for the compound core --- */

struct session_limits {
    uint32_t max_reply;  /* whole RPC reply in bytes; more: NFS4ERR_REP_TOO_BIG */
    uint32_t max_cached; /* whole RPC reply when `cache`; more: NFS4ERR_REP_TOO_BIG_TO_CACHE */
    uint32_t max_ops;    /* operations in a compound (SEQUENCE checked this already) */
    bool cache;          /* sa_cachethis */
};
void session_limits(const struct session *se, const struct session_slot *slot, struct session_limits *l);
/* The kept COMPOUND4res of a retransmitted request, or NULL if the request is a new one. Valid until
 * session_done. */
const void *session_replay(const struct session_slot *slot, size_t *len);
/* See above. out, from: the COMPOUND4res are the bytes of out from position `from` on (after the RPC
 * header); out NULL: the request is dropped without a reply (a retransmission then gets
 * NFS4ERR_RETRY_UNCACHED_REP). */
void session_done(struct session *se, struct session_slot *slot, const struct xdrout *out, size_t from);
/* The client of the session. */
uint64_t session_client(const struct session *se);
/* A connection closed: it is no longer bound to any session. */
void state_conn_closed(struct state *s, uint64_t conn_id);

/* --- for op_session.c --- */

/* A connection as the session keeps it: put(ref) is called once when it is unbound. */
struct session_conn {
    uint64_t id;
    void *ref; /* NULL = cannot carry callbacks */
    void (*put)(void *ref);
    bool back; /* bound to the back channel */
};

struct session_attrs {
    uint32_t max_request, max_reply, max_cached, max_ops, max_slots;
};
struct session_create {
    uint64_t clientid;
    uint8_t from[CLIENT_FROM]; /* as in client.h */
    bool granted;
    uint32_t sequence, flags; /* flags: in and out */
    struct session_attrs fore, back; /* in and out */
    uint32_t minor; /* of the requests: callbacks have the same */
    uint32_t cb_program;
    uint32_t cb_uid, cb_gid; /* AUTH_SYS identity for callbacks; UINT32_MAX = AUTH_NONE */
    uint8_t id[SESSION_ID_SIZE]; /* out */
};
/* CREATE_SESSION with its one-slot replay cache; confirms the client. NFS4ERR_CLID_INUSE: the client id is another
 * principal's or never came from there, and conn is bound to none of its sessions. conn is taken over when the result
 * is NFS4_OK and *made is set, otherwise it stays the caller's. */
nfsstat4 session_create(struct state *s, const char *principal, struct session_create *a,
                        const struct session_conn *conn, bool *made);

struct session_sequence {
    uint8_t id[SESSION_ID_SIZE];
    uint32_t sequence, slot, highest;
    bool cache;
    uint32_t nops;        /* of the compound */
    size_t request_bytes; /* of the whole call */
    uint64_t digest;      /* of the rest of the compound and who sent it: tells a false retry */
    uint64_t conn_id;
    uint32_t out_highest, out_target, out_flags;
};
/* SEQUENCE. *bind is set when the connection is not bound yet: the caller may then make a reference and call
 * session_bind(). */
nfsstat4 session_sequence(struct state *s, struct session_sequence *a, struct session **se,
                          struct session_slot **slot, bool *bind);
/* Binds a connection (taken over in every case); binding again changes `back` to conn->back if `explicit`. */
void session_bind(struct session *se, const struct session_conn *conn, bool explicit);
/* A reference to the session with that id, or NULL. */
struct session *session_get(struct state *s, const uint8_t id[SESSION_ID_SIZE]);
void session_put(struct session *se);
/* DESTROY_SESSION; own: the session the compound itself runs in, or NULL. NFS4ERR_DELAY while other requests are
 * in progress. */
nfsstat4 session_destroy(struct state *s, const uint8_t id[SESSION_ID_SIZE], const struct session *own);
/* BACKCHANNEL_CTL. */
void session_set_callback(struct session *se, uint32_t program, uint32_t uid, uint32_t gid);

#endif
