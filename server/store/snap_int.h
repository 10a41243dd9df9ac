/* SPDX-License-Identifier: Apache-2.0
 * snap_int: what the files about snapshots share.
 */
#ifndef VOLNFS_STORE_SNAP_INT_H
#define VOLNFS_STORE_SNAP_INT_H

#include "server/store/snap.h"
#include "server/store/volume_int.h"

/* The snapshot's file; malloc'ed. */
char *snap_path(const struct volume *v, uint64_t id, const char *suffix);
/* Lock held. */
struct snap *snap_find_id(struct volume *v, uint64_t id);
/* One that is ready. */
struct snap *snap_find_name(struct volume *v, const char *name);
/* Waits until all of the open txg is in the index. Lock held. */
int vol_settle(struct volume *v);
/* Ends a snapshot's volume and drops a reference to it: its users get -ESTALE from now on. NULL is fine. No
 * lock held. */
void snap_shut(struct volume *c);

#endif
