/* SPDX-License-Identifier: Apache-2.0
 * fh: file handles. A handle is FH_SIZE bytes, big-endian:
 *   0  format (1)          1  kind: 0 root, 1 user, 2 inode     2  zero (2 bytes)
 *   4  generation          8  volume id, or the user's id       16 inode
 *   24 SipHash-2-4 of bytes 0..23 with the store's key
 * The MAC makes a handle unforgeable: one is only ever had from this server, which checked the way to it.
 */
#ifndef VOLNFS_NFS4_FH_H
#define VOLNFS_NFS4_FH_H

#include "proto/nfs4_gen.h"
#include "server/vfs/vfs.h"

#define FH_SIZE 32

struct fh_parts {
    enum vobj_kind kind;
    uint64_t user, volume, ino;
    uint32_t gen;
};
/* The parts of a handle of an object. */
void fh_parts_of(const struct vobj *o, struct fh_parts *p);
void fh_encode(const uint8_t key[16], const struct fh_parts *p, char out[FH_SIZE]);
/* NFS4ERR_BADHANDLE unless it is a handle this server made. */
nfsstat4 fh_decode(const uint8_t key[16], const xhandle *h, struct fh_parts *p);

#endif
