/* SPDX-License-Identifier: Apache-2.0 */
/* One compound from encoder to decoder, and the client record: what the other files of client/nfs share. */
#ifndef CLIENT_NFS_CALL_H
#define CLIENT_NFS_CALL_H

#include "client/nfs/file.h"
#include "client/nfs/rpc.h"

struct nfs_client {
    struct rpc_server *server;
    struct nfs_shared *shared;
    struct nfs_shared own; /* when not shared with other processes */
    nfs_recover_fn recover; /* may be NULL */
    void *recover_arg;
    struct nfs_self *self;
    struct nfs_self alone; /* when it is of no interest to other processes */
    uint32_t avoid; /* bit per owner: not for opens made through this record */
    uint32_t lane;
};

/* A synchronous compound. About 5 KiB: on the stack is fine. */
struct nfs_call {
    struct rpc_call rpc;
    struct nfs_enc enc;
    struct nfs_dec dec;
    uint32_t main;    /* ops up to and including the one that must not run twice; 0: all may */
    bool once;        /* no retry of DELAY and GRACE */
    uint8_t *reply;   /* NULL until there is one */
    uint8_t buf[2560];
    uint8_t room[2560];
};

/* Starts encoding. */
void call_start(struct nfs_call *call);

/* Marks the operation just encoded as the one that must not be repeated once it succeeded. */
static inline void call_mark(struct nfs_call *call)
{
    call->main = call->enc.ops;
}

/* Sends, waits, retries DELAY and GRACE; then call->dec stands before the first result. 0 or a negative errno of
 * the transport. Always followed by call_end. */
int call_run(struct nfs_client *client, struct nfs_call *call);
/* Its two halves: sends (0 or -ENAMETOOLONG: nothing was sent), and the rest. */
int call_begin(struct nfs_client *client, struct nfs_call *call);
int call_await(struct nfs_client *client, struct nfs_call *call);
/* call_run for a compound that begins with PUTFH: also reads that result, and returns its errno. */
int call_run_on(struct nfs_client *client, struct nfs_call *call);
void call_end(struct nfs_call *call);

/* The usual way to read a result: its errno. */
int call_op(struct nfs_call *call, enum nfs_op op);

/* -EIO when the decoder ran into nonsense, else err. */
int call_check(const struct nfs_call *call, int err);

/* Any lane, in turn. */
int call_lane(struct nfs_client *client);

/* The client id, made at the server if need be, and its epoch. */
int state_get(struct nfs_client *client, uint64_t *clientid, uint32_t *epoch);

/* Tells what a status means for the client id of that epoch: true when it was lost and the request, built anew,
 * may work with the next. */
bool state_lost(struct nfs_client *client, uint32_t status, uint32_t epoch);

/* Whether a request with this outcome used up its sequence number (RFC 7530 section 9.1.7). */
bool state_seqid_used(uint32_t status);

/* Fills in the owner's name as the server sees it. */
void state_enc_owner(struct nfs_client *client, struct nfs_enc *enc, char kind, uint64_t name);

/* A fresh number, never the same twice in this client. */
uint64_t state_new_name(struct nfs_client *client);

/* Inside of OPEN: the owner's turn, and what its results mean. */
void owner_fresh(struct nfs_client *client, struct nfs_owner *owner, uint32_t epoch);
void owner_result(struct nfs_owner *owner, int err, uint32_t status);
void open_result(struct nfs_dec *dec, struct nfs_open *open, uint32_t *flags);
int open_confirm(struct nfs_client *client, struct nfs_owner *owner, const struct nfs_fh *fh, struct nfs_open *open,
                 uint32_t *status);
#define OPEN_CONFIRM_FLAG 2u

/* Empties a locker but for its lock. */
void locker_clear(struct nfs_locker *locker);

/* Waits before the n-th retry, for longer each time; rpc_idle_hook has its turn. 0, or its error. */
int call_pause(unsigned n);

#endif
