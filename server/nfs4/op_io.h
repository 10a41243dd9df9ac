/* SPDX-License-Identifier: Apache-2.0
 * op_io: what the reading and writing operations of all minor versions share.
 */
#ifndef VOLNFS_NFS4_OP_IO_H
#define VOLNFS_NFS4_OP_IO_H

#include "server/nfs4/compound.h"

/* Checks the stateid (resolving the current one) for I/O on the current object; *by_open: no permission check is
 * needed. */
nfsstat4 io_check(struct compound *c, stateid4 *sid, enum state_access want, bool *by_open);
/* For operations that use the volume directly, on a filehandle of a file in a volume: io_check, and what vfs_read and
 * vfs_write would check and do: the generation (with the attributes, into va), the type, permissions; before
 * a change setuid and setgid go. */
nfsstat4 io_file_check(struct compound *c, struct compound_fh *fh, stateid4 *sid, enum state_access want,
                       struct vfs_attr *va, bool *by_open);
/* As nfs4_status, for an operation that wants a regular file. */
nfsstat4 io_status(const struct compound *c, int err);
void io_write_verifier(const struct compound *c, verifier4 out);
/* Reads from the current object into a payload that releases itself. -errno. */
int io_read(struct compound *c, bool by_open, uint64_t off, size_t len, xpayload *out, bool *eof);
/* Releases the payloads of a good result that did not fit into the reply. Does nothing for other operations. */
void io_drop_result(uint32_t opnum, void *res);

#endif
