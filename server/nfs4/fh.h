/* SPDX-License-Identifier: Apache-2.0
 * fh: file handles. Big-endian, of one of two forms:
 *   0  format        1  kind: 0 root, 1 user, 2 inode, 3 tokens     2  zero (2 bytes)
 *   4  generation                      8  volume id, or the user's id       16 inode
 *   format 1: 24 MAC
 *   format 2: 24 snapshot       32 grant       40 MAC
 * Format 2 is for what has a snapshot or a grant, format 1 for all others: an object has one handle only. The MAC is
 * SipHash-2-4 of all before it with the store's key: it makes a handle unforgeable; one is only ever had from this
 * server, which checked the way to it, under the grant that it names.
 */
#ifndef VOLNFS_NFS4_FH_H
#define VOLNFS_NFS4_FH_H

#include "proto/nfs4_gen.h"
#include "server/store/snap.h"
#include "server/vfs/vfs.h"

#define FH_SIZE_MAX 48

struct fh_parts {
    enum vobj_kind kind;
    uint64_t user, volume, ino;
    uint32_t gen;
    uint64_t snap;  /* 0: the live volume */
    uint64_t grant; /* 0: what the client's address may reach */
};
/* The parts of a handle of an object. */
void fh_parts_of(const struct vobj *o, struct fh_parts *p);
/* The volume_id of the volume or snapshot. */
void fh_set_volume(struct fh_parts *p, uint64_t id);
uint64_t fh_volume(const struct fh_parts *p);
/* Returns the length. */
uint32_t fh_encode(const uint8_t key[16], const struct fh_parts *p, char out[FH_SIZE_MAX]);
/* NFS4ERR_BADHANDLE unless it is a handle this server made. */
nfsstat4 fh_decode(const uint8_t key[16], const xhandle *h, struct fh_parts *p);

#endif
