/* SPDX-License-Identifier: Apache-2.0
 * perm: who may do what to an inode: the POSIX rules, as functions of attributes and credentials only.
 */
#ifndef VOLNFS_VFS_PERM_H
#define VOLNFS_VFS_PERM_H

#include "server/vfs/vfs.h"

bool perm_in_group(const struct vcred *c, uint32_t gid);
/* True for uid 0 and the owner of a. */
bool perm_is_owner(const struct vattr *a, const struct vcred *c);
/* May c take the name of child out of dir (sticky bit)? 0 or -EPERM. dir is writable already. */
int perm_sticky(const struct vattr *dir, const struct vattr *child, const struct vcred *c);
/* Is c allowed to make these changes to an inode with attributes a? out: what is really to be set
 * (setuid and setgid dropped where POSIX wants it). A new size without an open (by_open) is the owner's as writing is:
 * who opened the file before its mode forbade it goes on; clients check before a truncate by name. -EPERM, -EACCES. */
int perm_setattr(const struct vattr *a, const struct vcred *c, const struct vset *in, bool by_open,
                 struct vset *out);
/* The attributes of a new inode in dir. -EPERM: an owner or group that c may not give. */
int perm_new_inode(const struct vattr *dir, const struct vcred *c, enum inode_type type,
                   const struct vset *in, struct vset *out);
/* The mode left when an ordinary user changes the data of a file: setuid goes; setgid too if the group
 * may execute (without that bit it once meant mandatory locking). */
uint32_t perm_drop_suid(uint32_t mode);

#endif
