/* SPDX-License-Identifier: Apache-2.0
 * compound: runs the operations of one COMPOUND (RFC 7530 section 15.2, RFC 8881 section 16.2) one after
 * the other: decode one operation's arguments, find its row in optable, check the reply budget, run it,
 * encode its result.
 *
 * An operation's handler gets its decoded arguments and fills its zeroed result; it returns the nfsstat4,
 * and the core stores it as the result's first word, which is the status in every result type. It may return
 * NFS4_BLOCK when the store said -EAGAIN and c->call.may_block is false, provided nothing was changed yet:
 * the compound then goes on in a worker thread, calling the same handler with the same arguments again (the
 * result zeroed again). From then on, until the end of the compound, may_block is true and NFS4_BLOCK is a
 * bug. Whatever waits for a disk (statedb too) must ask for that.
 *
 * Memory: decoded arguments are views into the request and need no freeing, even after an error. What a
 * result points to comes from compound_scratch() (gone after the result is encoded), from the request's
 * arena (gone with the request), or is static. Nobody calls xdr_free.
 *
 * Durability: the reply is parked until everything in c->call is durable. If the store then says that the
 * changes are lost, the reply is cut at the first operation that changed something and says NFS4ERR_IO
 * there; a lost change is never reported as done.
 */
#ifndef VOLNFS_NFS4_COMPOUND_H
#define VOLNFS_NFS4_COMPOUND_H

#include "proto/nfs4_gen.h"
#include "server/nfs4/access.h"
#include "server/nfs4/server.h"
#include "server/rpc/request.h"
#include "server/state/session.h"
#include "server/state/state.h"
#include "server/vfs/vfs.h"

#define NFS4_BLOCK ((nfsstat4)0x7ffffffe)
#define NFS4_MAX_OPS 128 /* per 4.0 compound; more: NFS4ERR_RESOURCE. In a session, SEQUENCE checks. */
#define NFS4_MAX_IO  1048576u /* maxread, maxwrite */

struct drc_entry;

/* A current or saved filehandle with its stateid (RFC 8881 section 16.2.3.1.2). */
struct compound_fh {
    bool set;
    struct vobj obj;
    struct access acc;
    bool has_stateid;
    stateid4 stateid;
};

#define COMPOUND_ARGS_MAX 1024
#define COMPOUND_RES_MAX  1024
struct compound {
    struct nfs4_server *srv;
    struct request *req;
    struct store_call call;
    struct grant_view *view; /* what the client may reach; NULL: everything */
    struct vcred cred;       /* of this operation: as the current filehandle's grant has it */
    uint32_t groups[CRED_GROUPS_MAX]; /* cred's, when they are not the request's */
    uint32_t minor;
    unsigned op_index, op_count;
    struct compound_fh cur, saved;
    /* 4.1+: set by SEQUENCE; NULL outside a session. Owned by state: released by session_done(). */
    struct session *session;
    struct session_slot *slot;
    /* For atomic appends: a VERIFY of only the size succeeded on the current object just before. */
    bool verified_size;
    uint64_t verify_size;
    void *state_priv; /* the state-bearing operations' own, e.g. a 4.0 owner whose seqid is held */

    /* The core's. */
    const struct op_row *row; /* of the operation being run */
    uint32_t opnum;
    size_t head_pos;          /* of the COMPOUND4res in req->out */
    size_t numres_pos;
    unsigned numres;
    nfsstat4 status;          /* of the last operation */
    nfsstat4 refused;         /* see OPF_OWNER */
    bool resumed;             /* continue with c->row, already decoded */
    bool no_cache_room;       /* the limit in force is that of the reply cache */
    struct { /* the first operation that changed something */
        bool set;
        size_t pos;
        unsigned index;
        uint32_t opnum;
    } change;
    struct user *user; /* for whom it counts as a request */
    uint64_t user_id;
    size_t user_bytes; /* that count for it */
    struct drc_entry *drc;
    struct volume_waiter waiter;
    struct { /* account.c's */
        uint64_t t0, volume, grant, rd, wr;
        unsigned class;
    } account;
    struct arena scratch;
    char args[COMPOUND_ARGS_MAX] __attribute__((aligned(16)));
    char res[COMPOUND_RES_MAX] __attribute__((aligned(16)));
};

/* One row per operation. */
enum {
    OPF_NEED_FH = 1,   /* NFS4ERR_NOFILEHANDLE without a current filehandle */
    OPF_NEED_SAVED = 2,
    OPF_CHANGES = 4,   /* changes something: must be able to tell its reply, so its reply bound is exact */
    OPF_NO_SESSION = 8,/* may be first or only in a 4.1 compound without SEQUENCE */
    OPF_NEED_FILE = 16,/* the object must be in a volume (not the pseudo tree): else NFS4ERR_ROFS/ISDIR */
    OPF_KEEP_VERIFY = 32, /* leaves verified_size as it is */
    /* What a grant has to allow on the current filehandle (and on the saved one if OPF_NEED_SAVED): to read unless */
    OPF_ANY_GRANT = 64,   /* nothing: it only gives back what the client has */
    OPF_ON_WAY = 128,     /* to go through to a folder */
    OPF_WRITES = 256,     /* to write */
    OPF_WRITES_SAVED = 512, /* to write, on the saved one too */
    /* In 4.0 it is a request of an owner, which counts also when it is refused (RFC 7530 section 9.1.7): the handler runs
     * with c->refused set, takes the owner's turn and answers that. */
    OPF_OWNER = 1024,
};
struct op_row {
    const char *name;
    uint8_t minor_min, minor_max; /* in which minor versions it exists; others: NFS4ERR_OP_ILLEGAL */
    uint16_t flags;
    bool notsupp;                 /* known, answered NFS4ERR_NOTSUPP after decoding nothing */
    xdrproc_t args, res;          /* codecs; NULL = void */
    uint16_t args_size, res_size; /* of the C types; at most COMPOUND_ARGS_MAX/RES_MAX */
    nfsstat4 (*run)(struct compound *c, void *args, void *res);
    uint32_t reply_bound;         /* bytes of a result at most, beyond payloads that the handler bounds */
};
const struct op_row *optable_find(uint32_t op);

/* Runs (or goes on with) the COMPOUND in req. */
enum req_result compound_dispatch(struct request *req, struct nfs4_server *srv);

/* --- for handlers --- */

/* Zeroed memory that lives until the operation's result is encoded; NULL: answer NFS4ERR_RESOURCE (4.0) or
 * NFS4ERR_DELAY. */
void *compound_scratch(struct compound *c, size_t size);
/* Bytes an operation's result body may still have; a little less than the room there is, so that an error of
 * the next operation fits. */
size_t compound_room(const struct compound *c);
/* Makes o (taken over, o is empty afterwards) the current object with this access; its stateid is forgotten. */
void compound_set_cur(struct compound *c, struct vobj *o, const struct access *acc);
/* Checks a component name: NFS4ERR_INVAL (empty), BADNAME ("." and ".."), BADCHAR ('/' or NUL),
 * NAMETOOLONG, or NFS4_OK. */
nfsstat4 compound_name(const xslice *name);
/* The client of the session, 0 outside one. */
uint64_t compound_client(const struct compound *c);
/* Who an object in a volume is for the state layer. */
struct file_key compound_key(const struct vobj *o);
/* In 4.1+: replaces the special "current stateid" (seqid 1, other 0) by the current (or saved)
 * filehandle's; NFS4ERR_BAD_STATEID if there is none. Repeating it changes nothing. */
nfsstat4 compound_stateid_in(struct compound *c, stateid4 *sid);
nfsstat4 compound_stateid_in_saved(struct compound *c, stateid4 *sid);
/* An operation returned this stateid: it becomes the current one. */
void compound_stateid_out(struct compound *c, const stateid4 *sid);
/* change_info4 of a directory change. */
change_info4 compound_cinfo(const struct dir_change *dc);

/* The errno of the layers below to the protocol's status: the only such table (nfserr.c). -EAGAIN gives
 * NFS4_BLOCK. 0 and positive values give NFS4_OK. */
nfsstat4 nfs4_status(int err);
#define nfs4_blocked(err) ((err) == -EAGAIN)

#endif
