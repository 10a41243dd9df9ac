/* SPDX-License-Identifier: Apache-2.0
 * acl: a mode seen as an ACL and back (RFC 7530 section 6, RFC 8881 section 6).
 *
 * 1. The mode decides; an ACL is another way to write its nine permission bits. Nothing else is stored.
 * 2. What is given says of every requester what the mode says: OWNER@, GROUP@ and EVERYONE@ are allowed their
 *    bits, and DENY entries stand before those of whom the mode gives less than the entries after them would.
 * 3. What is set is taken if it says exactly what some mode says, and refused otherwise (acl_to_mode). So nobody is
 *    let think that a right was given or taken which was not.
 * 4. Rights that a mode has no bit for are what they always are: attributes and ACL may be read by everybody and
 *    changed by the owner.
 */
#ifndef VOLNFS_NFS4_ACL_H
#define VOLNFS_NFS4_ACL_H

#include <stdbool.h>

#include "proto/nfs4_gen.h"

/* What is given has at most five entries: two each of OWNER@ and GROUP@, one of EVERYONE@. */
#define ACL_BYTES_MAX (4 + 4 * 24 + 28)

/* Writes the ACL of mode's permission bits as on the wire into buf (ACL_BYTES_MAX); its length. dir: of a directory. */
size_t acl_of_mode(uint32_t mode, bool dir, char *buf);

/* Takes an ACL from x. NFS4_OK: *mode (0 to 0777) is the only mode that says the same. NFS4ERR_BADXDR; INVAL (no such
 * kind of entry, an empty name); ATTRNOTSUPP: no mode says this, or it has AUDIT or ALARM entries, or inheritance
 * (RFC 8881 section 6.2.1). An entry of another name is taken if it neither gives nor takes anything. */
nfsstat4 acl_to_mode(XDR *x, uint32_t *mode);

#endif
