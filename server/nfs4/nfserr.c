/* SPDX-License-Identifier: Apache-2.0
 * nfserr: the only table from errno to nfsstat4.
 */
#include <errno.h>

#include "server/nfs4/compound.h"

nfsstat4 nfs4_status(int err)
{
    static const struct {
        int err;
        nfsstat4 status;
    } table[] = {
        {EAGAIN, NFS4_BLOCK},
        {ENOENT, NFS4ERR_NOENT},
        {EACCES, NFS4ERR_ACCESS},
        {EPERM, NFS4ERR_PERM},
        {EEXIST, NFS4ERR_EXIST},
        {ESTALE, NFS4ERR_STALE},
        {ENOTDIR, NFS4ERR_NOTDIR},
        {EISDIR, NFS4ERR_ISDIR},
        {EINVAL, NFS4ERR_INVAL},
        {ENOTEMPTY, NFS4ERR_NOTEMPTY},
        {ENAMETOOLONG, NFS4ERR_NAMETOOLONG},
        {EXDEV, NFS4ERR_XDEV},
        {EFBIG, NFS4ERR_FBIG},
        {EOVERFLOW, NFS4ERR_FBIG},
        {ENOSPC, NFS4ERR_NOSPC},
        {EDQUOT, NFS4ERR_DQUOT},
        {EROFS, NFS4ERR_ROFS},
        {EMLINK, NFS4ERR_MLINK},
        {ENXIO, NFS4ERR_NXIO},
        {ENODATA, NFS4ERR_NOXATTR},
        {E2BIG, NFS4ERR_XATTR2BIG},
        {ERANGE, NFS4ERR_TOOSMALL},
        {ELOOP, NFS4ERR_SYMLINK},
        {EOPNOTSUPP, NFS4ERR_NOTSUPP},
        {ENOSYS, NFS4ERR_NOTSUPP},
        {EBUSY, NFS4ERR_DELAY},
        {ENOMEM, NFS4ERR_DELAY},
        {EIO, NFS4ERR_IO},
        {EUCLEAN, NFS4ERR_IO}, /* damaged data: logged where it was found */
    };

    if (err >= 0)
        return NFS4_OK;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (table[i].err == -err)
            return table[i].status;
    return NFS4ERR_SERVERFAULT;
}
