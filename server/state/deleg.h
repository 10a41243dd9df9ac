/* SPDX-License-Identifier: Apache-2.0
 * deleg: delegations (RFC 7530 section 10.4, RFC 8881 section 10.4). They are granted by open_grant() and
 * recalled by what conflicts.
 *
 * A delegation is
 *   HELD      -> RECALLED  something conflicts: CB_RECALL goes out, whoever conflicts gets NFS4ERR_DELAY
 *   RECALLED  -> returned  by DELEGRETURN (also from HELD)
 *   RECALLED  -> REVOKED   a lease time without DELEGRETURN and without a WRITE by its stateid
 *   REVOKED   -> gone      by FREE_STATEID (4.1+), with the client (4.0)
 * The delegation of a client that is silent, and did not answer CB_RECALL, does not wait for that: the client goes
 * with all it holds, as with opens.
 */
#ifndef VOLNFS_STATE_DELEG_H
#define VOLNFS_STATE_DELEG_H

#include "server/state/openstate.h"

/* DELEGRETURN. */
nfsstat4 deleg_return(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                      const stateid4 *sid);

/* Recalls all delegations of files whose volume is `volume` in the bits of mask (mask 0: of all files). */
void deleg_recall(struct state *s, uint64_t volume, uint64_t mask);
/* As deleg_recall, and waits until they came back or were revoked, at most two lease times. False: some did not. Blocks. */
bool deleg_recall_wait(struct state *s, uint64_t volume, uint64_t mask);

/* What the holder of a write delegation says of the file. */
struct deleg_attrs {
    bool modified; /* it holds changes that the server does not know */
    uint64_t size;
};
/* True if somebody may hold a write delegation: otherwise deleg_getattr need not be called. No lock. */
bool deleg_any_write(const struct state *s);
/* CB_GETATTR for a GETATTR of client (0: unknown) over connection conn. NFS4_OK with `modified` false if nobody else
 * holds a write delegation. Waits for the answer for at most a second; NFS4ERR_DELAY if it takes longer: the
 * delegation is then recalled. STATE_BLOCK. */
nfsstat4 deleg_getattr(struct state *s, uint64_t client, const struct file_key *f, bool may_block,
                       struct deleg_attrs *out);

#endif
