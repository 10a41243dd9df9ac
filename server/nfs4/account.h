/* SPDX-License-Identifier: Apache-2.0
 * account: tells metrics what compounds do, and writes the line per operation of --debug=ops.
 */
#ifndef VOLNFS_NFS4_ACCOUNT_H
#define VOLNFS_NFS4_ACCOUNT_H

#include "server/nfs4/compound.h"

/* The compound arrived. */
void account_begin(struct compound *c);
/* Bytes of files in the result of the operation that just ran; before it is encoded. */
void account_bytes(struct compound *c, nfsstat4 status);
/* The operation is in the reply, with this status. */
void account_op(struct compound *c, nfsstat4 status);
/* The reply is complete and durable. Does nothing the second time. */
void account_end(struct compound *c);

#endif
