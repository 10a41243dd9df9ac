/* SPDX-License-Identifier: Apache-2.0
 * grace: the time after a restart in which only reclaims are granted (RFC 8881 section 8.4.2, RFC 7530 section
 * 9.6.2). It begins when some client may reclaim, and ends when each of them has said that it is
 * done (4.1: RECLAIM_COMPLETE; 4.0: the third request for something new) or the time is up.
 */
#ifndef VOLNFS_STATE_GRACE_H
#define VOLNFS_STATE_GRACE_H

#include "server/state/state.h"

/* May the client open in this way now? reclaim: CLAIM_PREVIOUS. NFS4_OK, NFS4ERR_GRACE, NFS4ERR_NO_GRACE,
 * NFS4ERR_RECLAIM_BAD, or the error of an unknown client. */
nfsstat4 grace_check(struct state *s, uint32_t minor, uint64_t clientid, bool reclaim);

#endif
