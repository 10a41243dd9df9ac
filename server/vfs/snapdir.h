/* SPDX-License-Identifier: Apache-2.0
 * snapdir: snapshots in the tree: alice/mydata@name beside the volumes, and the directory .snapshots in
 * the root of each volume. Both lead to the root directory of the snapshot, which is a file system of its
 * own (fsid), read-only. READDIR shows neither the names with '@' nor, unless the volume's property snapdir
 * is set, .snapshots.
 */
#ifndef VOLNFS_VFS_SNAPDIR_H
#define VOLNFS_VFS_SNAPDIR_H

#include "server/store/snap.h"
#include "server/vfs/namespace.h"

#define SNAPDIR_NAME   ".snapshots"
#define SNAPDIR_COOKIE 3 /* of .snapshots in the root: before those of the store */

/* Is it .snapshots in the root of a live volume? */
bool snapdir_is_name(const struct vobj *dir, const char *name, size_t len);
/* The directory of a volume as an object. */
void snapdir_object(struct volume *vol, struct vobj *out);

/* vfs.h's functions for an object of VOBJ_SNAPDIR. Nothing can be changed in it. */
int snapdir_getattr(const struct vobj *o, struct vfs_attr *out);
int snapdir_lookup(struct store_call *call, const struct vobj *dir, const char *name, size_t len,
                   struct vobj *out, struct vfs_attr *attr);
int snapdir_readdir(struct store_call *call, const struct vobj *dir, uint64_t after, unsigned max,
                    bool (*fn)(void *arg, const struct vfs_dirent *de), void *arg, bool *eof);

/* The root directory of a snapshot. -ENOENT, -EAGAIN. attr may be NULL. */
int snapdir_root(struct store_call *call, struct volume *vol, uint64_t id, struct vobj *out,
                 struct vfs_attr *attr);

#endif
