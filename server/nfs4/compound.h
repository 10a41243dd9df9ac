/* SPDX-License-Identifier: Apache-2.0
 * compound: runs the operations of one COMPOUND (RFC 7530 section 15.2, RFC 8881 section 16.2) one after
 * the other: decode one operation's arguments, find its row in optable, check the reply budget, run it,
 * encode its result.
 *
 * An operation's handler gets its decoded arguments and fills its zeroed result; it returns the nfsstat4
 * (and sets res->status where the type has one). It may return NFS4_BLOCK when the store said -EAGAIN and
 * c->call.may_block is false, provided nothing was changed yet: the compound then goes on in a worker
 * thread, calling the same handler with the same arguments again (the result zeroed again). From then on,
 * until the end of the compound, may_block is true and NFS4_BLOCK is a bug.
 */
#ifndef VOLNFS_NFS4_COMPOUND_H
#define VOLNFS_NFS4_COMPOUND_H

#include "proto/nfs4_gen.h"
#include "server/rpc/request.h"
#include "server/vfs/vfs.h"

#define NFS4_BLOCK ((nfsstat4)0x7ffffffe)
#define NFS4_MAX_OPS 128 /* per compound; more: NFS4ERR_RESOURCE (4.0), NFS4ERR_TOO_MANY_OPS */

struct nfs4_server; /* nfs4/server.h: vfs, state, handle key */
struct session;     /* state/ */
struct session_slot;

/* A current or saved filehandle with its stateid (RFC 8881 section 16.2.3.1.2). */
struct compound_fh {
    bool set;
    struct vobj obj;
    bool has_stateid;
    stateid4 stateid;
};

struct compound {
    struct nfs4_server *srv;
    struct request *req;
    struct store_call call;
    struct vcred cred;
    uint32_t minor;
    unsigned op_index, op_count;
    struct compound_fh cur, saved;
    /* 4.1+: set by SEQUENCE; NULL outside a session. Owned by state: released by the finish step. */
    struct session *session;
    struct session_slot *slot;
    /* For atomic appends: a VERIFY of only the size succeeded on the current object just before. */
    bool verified_size;
    uint64_t verify_size;
    void *state_priv; /* the state-bearing operations' own, e.g. a 4.0 owner whose seqid is held */
};

/* One row per operation. */
enum {
    OPF_NEED_FH = 1,   /* NFS4ERR_NOFILEHANDLE without a current filehandle */
    OPF_NEED_SAVED = 2,
    OPF_CHANGES = 4,   /* changes something: must be able to tell its reply, so its reply bound is exact */
    OPF_NO_SESSION = 8,/* may be first or only in a 4.1 compound without SEQUENCE */
    OPF_NEED_FILE = 16,/* the object must be in a volume (not the pseudo tree): else NFS4ERR_ROFS/ISDIR */
};
struct op_row {
    const char *name;
    uint8_t minor_min, minor_max; /* in which minor versions it exists; others: NFS4ERR_OP_ILLEGAL */
    uint8_t flags;
    bool notsupp;                 /* known, answered NFS4ERR_NOTSUPP after decoding nothing */
    xdrproc_t args, res;          /* codecs; NULL = void */
    size_t args_size, res_size;   /* of the C types; at most COMPOUND_ARGS_MAX/RES_MAX */
    nfsstat4 (*run)(struct compound *c, void *args, void *res);
    uint32_t reply_bound;         /* bytes of a result at most, beyond payloads that the handler bounds */
};
const struct op_row *optable_find(uint32_t op);

/* The errno of the layers below to the protocol's status: the only such table (nfserr.c). -EAGAIN gives
 * NFS4_BLOCK. */
nfsstat4 nfs4_status(int err);
#define nfs4_blocked(err) ((err) == -EAGAIN)

#endif
