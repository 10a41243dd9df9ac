/* SPDX-License-Identifier: Apache-2.0
 * attr: which attributes exist in which minor version, where their values come from, comparing.
 */
#include "server/nfs4/attr.h"

#include <string.h>

#include "server/nfs4/compound.h"

enum {
    GET = 1,      /* can be asked for */
    SET = 2,      /* can be set */
    EXCL = 4,     /* can be set in an EXCLUSIVE4_1 create */
    STATFS = 8,   /* needs vfs_statfs */
};
static const struct {
    uint8_t attr, minor, flags;
} table[] = {
    {FATTR4_SUPPORTED_ATTRS, 0, GET},
    {FATTR4_TYPE, 0, GET},
    {FATTR4_FH_EXPIRE_TYPE, 0, GET},
    {FATTR4_CHANGE, 0, GET},
    {FATTR4_SIZE, 0, GET | SET | EXCL},
    {FATTR4_LINK_SUPPORT, 0, GET},
    {FATTR4_SYMLINK_SUPPORT, 0, GET},
    {FATTR4_NAMED_ATTR, 0, GET},
    {FATTR4_FSID, 0, GET},
    {FATTR4_UNIQUE_HANDLES, 0, GET},
    {FATTR4_LEASE_TIME, 0, GET},
    {FATTR4_RDATTR_ERROR, 0, GET},
    {FATTR4_ACL, 0, GET | SET | EXCL},
    {FATTR4_ACLSUPPORT, 0, GET},
    {FATTR4_CANSETTIME, 0, GET},
    {FATTR4_CASE_INSENSITIVE, 0, GET},
    {FATTR4_CASE_PRESERVING, 0, GET},
    {FATTR4_CHOWN_RESTRICTED, 0, GET},
    {FATTR4_FILEHANDLE, 0, GET},
    {FATTR4_FILEID, 0, GET},
    {FATTR4_FILES_AVAIL, 0, GET | STATFS},
    {FATTR4_FILES_FREE, 0, GET | STATFS},
    {FATTR4_FILES_TOTAL, 0, GET | STATFS},
    {FATTR4_HOMOGENEOUS, 0, GET},
    {FATTR4_MAXFILESIZE, 0, GET},
    {FATTR4_MAXLINK, 0, GET},
    {FATTR4_MAXNAME, 0, GET},
    {FATTR4_MAXREAD, 0, GET},
    {FATTR4_MAXWRITE, 0, GET},
    {FATTR4_MODE, 0, GET | SET | EXCL},
    {FATTR4_NO_TRUNC, 0, GET},
    {FATTR4_NUMLINKS, 0, GET},
    {FATTR4_OWNER, 0, GET | SET | EXCL},
    {FATTR4_OWNER_GROUP, 0, GET | SET | EXCL},
    {FATTR4_QUOTA_AVAIL_HARD, 0, GET | STATFS},
    {FATTR4_QUOTA_AVAIL_SOFT, 0, GET | STATFS},
    {FATTR4_QUOTA_USED, 0, GET | STATFS},
    {FATTR4_RAWDEV, 0, GET},
    {FATTR4_SPACE_AVAIL, 0, GET | STATFS},
    {FATTR4_SPACE_FREE, 0, GET | STATFS},
    {FATTR4_SPACE_TOTAL, 0, GET | STATFS},
    {FATTR4_SPACE_USED, 0, GET},
    {FATTR4_TIME_ACCESS, 0, GET},
    {FATTR4_TIME_ACCESS_SET, 0, SET | EXCL},
    {FATTR4_TIME_CREATE, 0, GET | SET | EXCL},
    {FATTR4_TIME_DELTA, 0, GET},
    {FATTR4_TIME_METADATA, 0, GET},
    {FATTR4_TIME_MODIFY, 0, GET},
    {FATTR4_TIME_MODIFY_SET, 0, SET | EXCL},
    {FATTR4_MOUNTED_ON_FILEID, 0, GET},
    {FATTR4_FS_LAYOUT_TYPES, 1, GET},
    {FATTR4_SUPPATTR_EXCLCREAT, 1, GET},
    {FATTR4_CLONE_BLKSIZE, 2, GET},
    {FATTR4_CHANGE_ATTR_TYPE, 2, GET},
    {FATTR4_MODE_UMASK, 2, SET | EXCL},
    {FATTR4_XATTR_SUPPORT, 2, GET},
    {FATTR4_OPEN_ARGUMENTS, 2, GET},
};
#define NATTRS (sizeof(table) / sizeof(table[0]))

static void collect(uint32_t minor, unsigned flags, xbitmap *out)
{
    memset(out, 0, sizeof(*out));
    for (size_t i = 0; i < NATTRS; i++)
        if (table[i].minor <= minor && (table[i].flags & flags))
            xbitmap_set(out, table[i].attr);
}

void attr_supported(uint32_t minor, xbitmap *out)
{
    collect(minor, GET | SET, out);
}

void attr_settable(uint32_t minor, xbitmap *out)
{
    collect(minor, SET, out);
}

void attr_exclcreat(uint32_t minor, xbitmap *out)
{
    collect(minor, EXCL, out);
}

bool attr_needs_stat(const xbitmap *want)
{
    for (size_t i = 0; i < NATTRS; i++)
        if ((table[i].flags & STATFS) && xbitmap_has(want, table[i].attr))
            return true;
    return false;
}

int attr_source_of(struct compound *c, const struct vobj *o, const xbitmap *want, struct attr_source *s)
{
    int err;

    memset(s, 0, sizeof(*s));
    s->minor = c->minor;
    s->lease = c->srv->state ? state_lease_seconds(c->srv->state) : 0;
    s->handle_key = c->srv->handle_key;
    fh_parts_of(o, &s->fh);
    s->fh.grant = c->cur.acc.grant;
    err = vfs_getattr(c->srv->vfs, &c->call, o, &s->va);
    if (!err && !o->vol && c->view && !c->cur.acc.rule)
        s->va.a.nlink = 1; /* how many there are that the client does not see is not told */
    if (!err && attr_needs_stat(want))
        err = vfs_statfs(c->srv->vfs, &c->call, o, &s->st);
    return err;
}

nfsstat4 attr_compare(const struct attr_source *s, const fattr4 *a)
{
    char buf[ATTR_BYTES_MAX];
    xbitmap readable, got;
    size_t len;

    collect(s->minor, GET | SET, &readable);
    for (int i = 0; i < 3; i++)
        if (a->attrmask.w[i] & ~readable.w[i])
            return NFS4ERR_ATTRNOTSUPP;
    if (a->attrmask.more)
        return NFS4ERR_ATTRNOTSUPP;
    collect(s->minor, GET, &readable);
    xbitmap_clear(&readable, FATTR4_RDATTR_ERROR);
    for (int i = 0; i < 3; i++)
        if (a->attrmask.w[i] & ~readable.w[i])
            return NFS4ERR_INVAL;
    len = attr_encode(s, &a->attrmask, &got, buf);
    if (len != a->attr_vals.len || memcmp(buf, a->attr_vals.data, len) != 0)
        return NFS4ERR_NOT_SAME;
    return NFS4ERR_SAME;
}

bool attr_is_size(const fattr4 *a, uint64_t *size)
{
    const uint8_t *p = (const uint8_t *)a->attr_vals.data;

    if (a->attrmask.w[0] != 1u << FATTR4_SIZE || a->attrmask.w[1] || a->attrmask.w[2] ||
        a->attrmask.more || a->attr_vals.len != 8)
        return false;
    *size = 0;
    for (int i = 0; i < 8; i++)
        *size = *size << 8 | p[i];
    return true;
}
