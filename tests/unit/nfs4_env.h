/* SPDX-License-Identifier: Apache-2.0
 * nfs4_env: a server without sockets: a temporary store with the volume alice/v, the state layer, and requests
 * that are dispatched by hand. Stands in for librpc.
 */
#ifndef VOLNFS_TESTS_UNIT_NFS4_ENV_H
#define VOLNFS_TESTS_UNIT_NFS4_ENV_H

#include "server/nfs4/compound.h"

struct env {
    char dir[64];
    struct statedb *db;
    struct engine *engine;
    struct nfs4_server srv;
};
/* Aborts the program when something fails. */
void env_open(struct env *e);
void env_close(struct env *e);

/* A compound under construction: the COMPOUND4args bytes. */
struct call_buf {
    struct xdrout *o;
    size_t count_pos;
    unsigned ops;
    uint32_t uid;
};
void call_begin(struct call_buf *b, uint32_t minor, const char *tag);
/* Appends an operation; args may be NULL. */
void call_op(struct call_buf *b, uint32_t op, xdrproc_t codec, void *args);
/* The bytes so far (malloc); b can go on. */
char *call_bytes(struct call_buf *b, size_t *len);
void call_end(struct call_buf *b);

/* A reply: the COMPOUND4res. */
struct reply {
    enum req_result result;
    bool rejected; /* request_reject was called */
    uint32_t reject_stat;
    char *bytes;
    size_t len;
    XDR x;      /* after the head */
    nfsstat4 status;
    uint32_t numres;
};
/* Runs the body (copied to memory of exactly its size) as a call of uid, waits for it. reply_release after. */
void env_run(struct env *e, const char *body, size_t len, uint32_t uid, struct reply *r);
/* call_bytes, env_run, call_end. */
void env_call(struct env *e, struct call_buf *b, struct reply *r);
/* Reads the next result's operation and status. false: the reply ends. */
bool reply_next(struct reply *r, uint32_t *op, nfsstat4 *status);
void reply_release(struct reply *r);

#endif
