/* SPDX-License-Identifier: Apache-2.0
 * offload: copies that go on after COPY was answered (RFC 7862 sections 4 and 15.2, 15.8, 15.9, 16.1).
 *
 * A copy is
 *   COPYING -> DONE    all bytes are copied, or it failed; its client is then told by CB_OFFLOAD until it answers
 *   DONE    -> gone    the client answered, is gone, or cannot be told for ten minutes
 *   any     -> gone    OFFLOAD_CANCEL, or the server stops
 * 1. One thread copies for all, a piece of each copy in turn; it starts with the first copy. A piece is read and written
 *    like a READ and an unstable WRITE with the stateids of the COPY, which are checked again for each, as is the
 *    grant: a copy ends when its files are closed, its client's state is gone, or the client may not reach the files now.
 * 2. What is told has the write verifier of the start: if what was written got lost meanwhile, COMMIT shows it.
 * 3. A copy is known by a stateid of its own, to its client only, and not after a restart.
 * 4. A client has at most OFFLOADS_CLIENT copies, all clients OFFLOADS_MAX. The lock of the table is a leaf: it is not
 *    held while anything is copied or told.
 */
#ifndef VOLNFS_NFS4_OFFLOAD_H
#define VOLNFS_NFS4_OFFLOAD_H

#include "proto/nfs4_gen.h"
#include "server/nfs4/fh.h"
#include "server/nfs4/server.h"

#define OFFLOADS_MAX    128
#define OFFLOADS_CLIENT 16

struct offloads;

struct offload_request {
    uint64_t client;
    uint32_t minor;
    const struct vobj *src, *dst;
    const struct fh_parts *fh; /* how the client calls dst */
    const struct vcred *cred;
    const struct grant_rule *rule; /* that says who this is; NULL: none */
    const struct sockaddr_storage *peer; /* the client, for grants */
    stateid4 src_stateid, dst_stateid; /* not special ones of a compound */
    uint64_t soff, doff, count;
    verifier4 verf; /* of dst's volume, before */
};
/* Takes a copy on; *id is what it is known by. False: there are too many, or no memory: copy at once instead. */
bool offload_start(struct nfs4_server *srv, const struct offload_request *r, stateid4 *id);

/* OFFLOAD_STATUS. NFS4ERR_BAD_STATEID: the client has no such copy. *status is valid if *complete. */
nfsstat4 offload_status(struct nfs4_server *srv, uint64_t client, const stateid4 *id, uint64_t *done, bool *complete,
                        nfsstat4 *status);
/* OFFLOAD_CANCEL; blocks while a piece of this copy is being copied. Afterwards nothing more is written. */
nfsstat4 offload_cancel(struct nfs4_server *srv, uint64_t client, const stateid4 *id);

/* What nfs4_server_release() does: ends the thread and forgets all copies. NULL is fine. */
void offloads_free(struct offloads *o);

#endif
