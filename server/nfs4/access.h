/* SPDX-License-Identifier: Apache-2.0
 * access: grants on the way of a request: what the client may do under each filehandle, and as whom.
 *
 *  1. Each current and saved filehandle has its struct access, found when it is set: by PUTFH from the client's address
 *     and the grant that the handle names, by LOOKUP and the like from the directory's.
 *  2. One place (access_check, before each operation) refuses what that does not allow, whatever else the operation
 *     checks: NFS4ERR_ACCESS without a right, NFS4ERR_ROFS for a change without the right to write, NFS4ERR_XDEV for
 *     operations between handles that name different grants or map users differently. PUTFH itself succeeds for every handle of this server (RFC 8881
 *     has no NFS4ERR_ACCESS there, and NFS4ERR_STALE would make clients drop files that a new grant brings back).
 *  3. One place (access_cred, before each operation) maps users as the grant of the current filehandle says.
 *  4. Handles under a grant on a folder are refused when they are of a directory that is not below it now. A file's handle
 *     says nothing of its directory: who had it from below the folder keeps it when the file is moved away.
 */
#ifndef VOLNFS_NFS4_ACCESS_H
#define VOLNFS_NFS4_ACCESS_H

#include "proto/nfs4_gen.h"
#include "server/grant/grant.h"
#include "server/vfs/vfs.h"

struct compound;
struct compound_fh;
struct fh_parts;

struct access {
    enum grant_level level;
    uint64_t grant;                /* that handles carry; 0: none */
    const struct grant_rule *rule; /* the view's; NULL: none counts, or the pseudo tree shows what is below */
    enum grant_squash squash;
    uint32_t uid, gid;             /* whom squash makes of users */
};

/* Brings the connection's view up to date and gives the compound a reference to it. -ENOMEM. */
int access_begin(struct compound *c);
void access_end(struct compound *c);
/* Counts the connection as one of this user. False: the limit is reached. */
bool access_conn_user(struct compound *c, uint64_t user);
/* For oncrpc_program.slot_free. */
void access_slot_free(void *slot);

/* What there is for the client at o, reached under a grant (0: none). -EAGAIN, -errno. No access is 0 and GRANT_NOTHING. */
int access_of(struct compound *c, const struct vobj *o, uint64_t grant, struct access *out);
/* The same for what an operation found or made from the current filehandle. */
int access_from_cur(struct compound *c, const struct vobj *o, struct access *out);
/* The object of a handle (fh must be empty; it gets a reference). */
nfsstat4 access_object(struct compound *c, const struct fh_parts *p, struct compound_fh *fh);

/* Before an operation runs. */
nfsstat4 access_check(const struct compound *c);
void access_cred(struct compound *c);
/* Whether the current filehandle's object may be changed; in the pseudo tree: whether names may be made there. */
bool access_may_write(const struct compound *c);
/* The parts of a filehandle. */
void access_fh_parts(const struct compound_fh *fh, struct fh_parts *out);

/* LOOKUP in the directory of tokens, and on the way to folders. */
nfsstat4 access_lookup(struct compound *c, const xslice *name, struct vobj *out, struct access *acc);
/* LOOKUPP: NFS4ERR_NOENT at the object of the handle's grant. */
nfsstat4 access_lookup_parent(struct compound *c, struct vobj *out, struct access *acc);
/* On the way to folders: the i-th name that leads there from the current directory, as a path whose first len bytes are
 * the name. 0; 1: none for this i; -ENOENT: no more; -EAGAIN, -errno. *rule: if the name is the folder itself, else NULL. */
int access_way(struct compound *c, unsigned i, const char **name, size_t *len, const struct grant_rule **rule);

#endif
