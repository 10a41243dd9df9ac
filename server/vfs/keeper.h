/* SPDX-License-Identifier: Apache-2.0
 * keeper: the thread that closes volumes nobody uses and removes the folders of destroyed ones.
 *
 * An open volume costs memory, descriptors and two threads, so it is only open while it is used:
 *   K1 A volume is closed under its nvol.life: whoever wants it meanwhile waits for that, and opens it again.
 *   K2 It is taken out of nvol.vol with vfs.lock held exclusively, and only if nobody has a reference to it then
 *      (volume_unused), nor has asked for it since its last look; new references come from nvol.vol alone. So nobody is
 *      inside, no file of it is held open, and no request sees a volume that is closing.
 *   K3 All changes are in the index before (volume_settle), so closing it takes a moment; and what clients may tell an
 *      open volume from its successor by, the write verifier, is carried over. If closing fails it is not.
 *   K4 What READDIR of a user, lists and metrics want of a closed volume is kept (nvol.peek), or read from its folder: they
 *      open nothing.
 *   K5 A destroyed volume out of which a clone is still being made has no name and lets nobody in, but it is open, and its
 *      folder in its place, until that is done: then the keeper ends it. After a crash the folder belongs to no volume, and goes.
 */
#ifndef VOLNFS_VFS_KEEPER_H
#define VOLNFS_VFS_KEEPER_H

#include "server/vfs/namespace.h"

/* After the tables are read, and before anybody is served. 0 or -errno. */
int keeper_start(struct vfs *v);
/* Leaves what it is removing to the next start. Harmless if it was not started. */
void keeper_stop(struct vfs *v);
/* A folder was moved aside (trash.h) and is to be removed. */
void keeper_remove(struct vfs *v, uint64_t id);
/* A volume was destroyed: ends it (vol, NULL if it was not open; the reference goes over), moves its folder aside and removes that. At
 * once, but for the contents of the folder; if a snapshot of it is being cloned, when that is done. */
void keeper_end(struct vfs *v, uint64_t id, struct volume *vol);
/* With as many volumes open as may be: closes the one that was not used longest, if there is one that can be. Any thread,
 * which may hold nvol.life of a volume that is not open. Blocks. */
void keeper_make_room(struct vfs *v);
/* Adds what counts from an opening on. */
void keeper_add_counters(struct volume_stat *to, const struct volume_stat *from);
/* What is known of n: its open volume, with a reference, which does not count as use; else *out. may_block false: -EAGAIN
 * unless that is at hand. Else errors as of volume_peek: open it. */
int keeper_look(struct vfs *v, struct nvol *n, bool may_block, struct volume **vol, struct volume_peek *out);

#endif
