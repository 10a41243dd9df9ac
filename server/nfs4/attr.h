/* SPDX-License-Identifier: Apache-2.0
 * attr: fattr4 (RFC 8881 section 5): which attributes there are, their encoding and decoding.
 */
#ifndef VOLNFS_NFS4_ATTR_H
#define VOLNFS_NFS4_ATTR_H

#include "proto/nfs4_gen.h"
#include "server/nfs4/fh.h"
#include "server/vfs/vfs.h"

/* The attributes that exist in a minor version, and what can be set. */
void attr_supported(uint32_t minor, xbitmap *out);
void attr_settable(uint32_t minor, xbitmap *out);   /* by SETATTR, and by CREATE and OPEN but for EXCLUSIVE4_1 */
void attr_exclcreat(uint32_t minor, xbitmap *out);  /* by OPEN with EXCLUSIVE4_1 (suppattr_exclcreat) */

/* Enough for all attributes of one object. */
#define ATTR_BYTES_MAX 1024
/* What attributes are made of; what is not asked for need not be there. */
struct attr_source {
    uint32_t minor;
    uint32_t lease;
    const uint8_t *handle_key;
    struct fh_parts fh;
    struct vfs_attr va;
    struct vfs_stat st;     /* needed if attr_needs_stat() */
    nfsstat4 rdattr_error;
    bool only_error;        /* the attributes could not be had: rdattr_error is all there is */
};
bool attr_needs_stat(const xbitmap *want);
/* Encodes those of `want` that exist into buf (at least ATTR_BYTES_MAX), sets *got, returns the length. */
size_t attr_encode(const struct attr_source *s, const xbitmap *want, xbitmap *got, char *buf);

/* Attributes from the network, to set or to compare. Decodes a and checks the values: NFS4ERR_BADXDR
 * (length not right), ATTRNOTSUPP (not an attribute of this minor version; an ACL that is no mode), INVAL (read-only, a mode out of range,
 * nanoseconds too many, both mode and mode_umask, an empty owner), BADOWNER. The mask of set says what to change; `applied`
 * is the bitmap to return once it is done. allowed: attr_settable() or attr_exclcreat(). */
nfsstat4 attr_decode_set(uint32_t minor, const xbitmap *allowed, const fattr4 *a, struct vset *set,
                         xbitmap *applied);

/* VERIFY and NVERIFY: compares a with what `s` encodes. NFS4ERR_SAME, NFS4ERR_NOT_SAME, or an error:
 * ATTRNOTSUPP, INVAL (rdattr_error and write-only attributes cannot be compared), BADXDR. */
nfsstat4 attr_compare(const struct attr_source *s, const fattr4 *a);
/* Whether a is just FATTR4_SIZE, and its value. */
bool attr_is_size(const fattr4 *a, uint64_t *size);

struct compound;
/* Fills s for the object o (gets attributes and, if wanted, the file system's figures). -errno. */
int attr_source_of(struct compound *c, const struct vobj *o, const xbitmap *want, struct attr_source *s);

#endif
