/* SPDX-License-Identifier: Apache-2.0
 * pseudo: the directories above the volumes: the root with the users, and each user with the volumes.
 * Only what the credentials' view shows is there. Who has a grant to create may make things in them; with that a
 * volume is removed and renamed by its owner. The functions are vfs.h's, for a dir of VOBJ_ROOT, VOBJ_USER,
 * VOBJ_TOKENS or VOBJ_SNAPDIR (which snapdir.c serves).
 */
#ifndef VOLNFS_VFS_PSEUDO_H
#define VOLNFS_VFS_PSEUDO_H

#include "server/store/snap.h"
#include "server/vfs/namespace.h"

/* File ids within fsid 0: 1 is the root, 2 the directory of tokens, then even numbers are users and odd ones volumes
 * (what the root of a volume is mounted on). */
#define PSEUDO_TOKENS_FILEID 2
static inline uint64_t pseudo_user_fileid(uint64_t user)
{
    return (user << 1) + 2;
}
/* Within a volume: the directory of its snapshots, and above that what the roots of these are mounted on. No inode
 * has so high a number. */
#define PSEUDO_SNAPDIR_FILEID (UINT64_C(1) << 62)
/* volume: a volume_id. */
static inline uint64_t pseudo_volume_fileid(uint64_t volume)
{
    uint64_t snap = snap_id(volume);

    return snap ? PSEUDO_SNAPDIR_FILEID + snap : (volume << 1) + 3;
}
/* Cookies 0..7 mean something else to clients; entries are in the order of their ids. */
#define PSEUDO_COOKIE_BASE 8

int pseudo_getattr(struct vfs *v, const struct vobj *o, struct vfs_attr *out);
int pseudo_lookup(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const char *name, size_t len, struct vobj *out, struct vfs_attr *attr);
int pseudo_create(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const struct vfs_create *a, struct vobj *out, struct vfs_attr *attr, bool *created,
                  struct dir_change *dc);
int pseudo_remove(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const char *name, size_t len, struct dir_change *dc);
int pseudo_rename(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const char *sname, size_t slen, const char *dname, size_t dlen,
                  struct dir_change *dc);
int pseudo_readdir(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                   uint64_t after, unsigned max, bool (*fn)(void *arg, const struct vfs_dirent *de), void *arg,
                   bool *eof);
/* What is above the root of a volume, its user, or of a snapshot, .snapshots. -ESTALE. */
int pseudo_parent_of_volume(struct vfs *v, struct volume *vol, struct vobj *out);

/* The root directory of n as an object (and its attributes, if attr is not NULL). */
int pseudo_volume_root(struct vfs *v, struct store_call *call, struct nvol *n, struct vobj *out,
                       struct vfs_attr *attr);

#endif
