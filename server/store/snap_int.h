/* SPDX-License-Identifier: Apache-2.0
 * snap_int: what the files about snapshots share.
 */
#ifndef VOLNFS_STORE_SNAP_INT_H
#define VOLNFS_STORE_SNAP_INT_H

#include "server/store/snap.h"
#include "server/store/volume_int.h"

/* The snapshot's file; malloc'ed. */
char *snap_path(const struct volume *v, uint64_t id, const char *suffix);
/* Puts the snapshot's row into the open txg. Lock held. */
void snap_put_row(struct volume *v, struct snap *s);

/* May so many bytes be written for a snapshot, a clone or a way back? Not from what is kept free for the indexes of all
 * volumes: half of that stays, or of what is under way already a quarter. dir: on the disk. 0; -ENOSPC; -errno. */
int snap_room(const char *dir, uint64_t bytes, bool under_way);

/* --- the list: snap_list.c. Lock held; found ones are borrowed --- */

struct snap *snap_find_id(struct volume *v, uint64_t id);
/* Ready or not. */
struct snap *snap_find_any(struct volume *v, const char *name, size_t len);
/* One that is ready. */
struct snap *snap_find_name(struct volume *v, const char *name);
/* The newest. */
struct snap *snap_list_add(struct volume *v, const struct index_snap *row);
void snap_list_del(struct snap *s);

/* --- snap_open.c --- */

/* Ends a snapshot's volume and drops a reference to it: its users get -ESTALE from now on. NULL is fine. No
 * lock held. */
void snap_shut(struct volume *c);

#endif
