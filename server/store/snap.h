/* SPDX-License-Identifier: Apache-2.0
 * snap: snapshots of a volume: its tree and bytes at one moment, for reading.
 *
 * DIR/snapshots/<id, 16 hexadecimal digits>.db has a copy of the tables of names, inodes and extents;
 * chunks are shared with the volume (index.h, S1 to S5, says how long they stay).
 *
 *   N1 A snapshot holds everything that was acknowledged before snap_create was called, unstable writes
 *      included: they are published first. It is a consistent cut: it is taken between two txgs.
 *   N2 Its row enters the index as the last op of a txg (txg_close). When that txg is in the index, and before
 *      anything else is applied, a read transaction fixes the tree (snap_pin); the thread that called
 *      snap_create copies from there, while writers go on. So nobody waits but for that txg.
 *   N3 The row's state is SNAP_CREATING until the copy is complete, synced and named; a later txg makes it
 *      SNAP_READY, and then snap_create returns. A row that is still SNAP_CREATING when the volume is opened
 *      is of a snapshot that nobody was told of: it is destroyed.
 *   N4 Destroying makes the row SNAP_DESTROYING, without a name, in one txg; when that is durable,
 *      snap_destroy returns. The chunks that only this snapshot held are freed FREE_CHUNKS at a time by following
 *      txgs (OP_SNAP_FREE), the last of which deletes the row. A crash in between goes on where it was.
 *   N5 A file in snapshots/ that belongs to no SNAP_READY row is removed when the volume is opened.
 *
 * Reading: snap_open gives a struct volume like any other, read-only, without a commit thread. It has its own
 * inodes, names and slots in the engine's caches, reads its tree from the snapshot's database and chunks
 * through the shared tables and packs. Destroying a snapshot that is open takes it away from its users: their calls get
 * -ESTALE.
 */
#ifndef VOLNFS_STORE_SNAP_H
#define VOLNFS_STORE_SNAP_H

#include "server/store/volume.h"

struct snap_info {
    uint64_t id; /* ascending in the volume, never used again */
    char name[STORE_SNAP_NAME_MAX + 1];
    int64_t created;                 /* seconds since 1970 */
    uint64_t files, logical, stored; /* as in volume_stat, of the volume when the snapshot was made */
};

/* 0, or -EINVAL: not 1..STORE_SNAP_NAME_MAX letters, digits, '.', '_', '-', ':', the first a letter or digit. */
int snap_check_name(const char *name, size_t len);
/* Makes a snapshot; durable on return. Blocks, for as long as the copy takes; one at a time per volume, others wait.
 * id may be NULL. -EINVAL, -EEXIST, -ENOSPC, -EROFS (v is a snapshot, or failed), -ESTALE. */
int snap_create(struct volume *v, const char *name, uint64_t *id);
/* -ENOENT; -EBUSY: it is just being made, or cloned. Durable on return. Blocks. */
int snap_destroy(struct volume *v, const char *name);
/* -ENOENT, -EEXIST, -EINVAL, -EBUSY. Durable on return. Blocks. */
int snap_rename(struct volume *v, const char *name, const char *to);
/* The one with that name. -ENOENT. Never blocks. */
int snap_find(struct volume *v, const char *name, size_t len, struct snap_info *out);
/* Those that are ready, with an id above `after`, ascending; at most max; returns the count. Never blocks. */
int snap_list(struct volume *v, uint64_t after, struct snap_info *out, unsigned max);
/* What READDIR of them shows as change attribute and time of change. */
uint64_t snap_list_change(struct volume *v, struct timespec *mtime);

/* The snapshot as a volume, with a reference. Its volume_id is snap_volume_id(volume_id(v), id). Closed with v, or
 * when it is destroyed, or when many others are opened and nobody has a reference. -ESTALE: there is none with
 * that id. -EAGAIN: it has to be opened first and may_block is false. -EUCLEAN. */
int snap_open(struct volume *v, uint64_t id, bool may_block, struct volume **out);

/* Makes dir (must not exist) with a volume that has what the snapshot has and can be written, durably. They share packs, by
 * hard links; everything else is the clone's own. It has the snapshot's properties, but readonly, and no
 * snapshots. v goes on meanwhile; the snapshot cannot be destroyed. After a failure dir may be there in part. -ENOENT, -EEXIST
 * (dir), -ENOSPC, -EMLINK, -EUCLEAN, -EBUSY (volume_bar_clones). Blocks. */
int snap_clone(struct volume *v, const char *name, const char *dir);
/* Makes the volume in dir, which must have been closed without an error, what the snapshot has: names, attributes, bytes.
 * All snapshots stay, younger ones too. Inode numbers are the snapshot's; no change attribute is one that was seen
 * before. One transaction: after a crash it has happened or not. epoch: of the store. -ENOENT, -EBUSY: the volume is
 * open. -EUCLEAN. Blocks. */
int snap_rollback(const char *dir, const char *label, const char *name, uint64_t epoch);

/* Ids of volumes and snapshots in one number: what file systems, files and handles are told apart by. */
#define SNAP_ID_SHIFT 40
#define SNAP_ID_MAX   ((UINT64_C(1) << 23) - 1) /* so many snapshots of a volume; then -ENOSPC */
static inline uint64_t snap_volume_id(uint64_t volume, uint64_t snap)
{
    return volume | snap << SNAP_ID_SHIFT;
}
static inline uint64_t snap_base_id(uint64_t id)
{
    return id & ((UINT64_C(1) << SNAP_ID_SHIFT) - 1);
}
static inline uint64_t snap_id(uint64_t id)
{
    return id >> SNAP_ID_SHIFT;
}

#endif
