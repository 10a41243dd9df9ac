/* SPDX-License-Identifier: Apache-2.0
 * attr_decode: attributes to set, from the wire.
 */
#include <string.h>

#include "server/nfs4/acl.h"
#include "server/nfs4/attr.h"

/* S_IFMT bits that some clients leave in a mode are not worth an error. */
#define MODE_BITS  07777u
#define MODE_OTHER (~(MODE_BITS | 0170000u))

/* A decimal number below 2^32 - 1, which would mean "no change" to chown. */
static bool parse_id(const xslice *s, uint32_t *id)
{
    uint64_t v = 0;

    if (!s->len || s->len > 10)
        return false;
    for (uint32_t i = 0; i < s->len; i++) {
        if (s->data[i] < '0' || s->data[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s->data[i] - '0');
    }
    if (v >= UINT32_MAX)
        return false;
    *id = (uint32_t)v;
    return true;
}

static nfsstat4 get_id(XDR *x, uint32_t *id)
{
    xopaque s;

    if (!xdr_xopaque(x, &s))
        return NFS4ERR_BADXDR;
    if (!s.len)
        return NFS4ERR_INVAL; /* not a name at all */
    return parse_id(&s, id) ? NFS4_OK : NFS4ERR_BADOWNER;
}

static nfsstat4 get_time(XDR *x, struct timespec *t)
{
    nfstime4 v;

    if (!xdr_nfstime4(x, &v))
        return NFS4ERR_BADXDR;
    if (v.nseconds >= 1000000000u)
        return NFS4ERR_INVAL;
    t->tv_sec = (time_t)v.seconds;
    t->tv_nsec = (long)v.nseconds;
    return NFS4_OK;
}

/* settime4: the client's time or the server's. */
static nfsstat4 get_settime(XDR *x, struct timespec *t, bool *now)
{
    uint32_t how;

    if (!xdr_uint32_t(x, &how) || how > SET_TO_CLIENT_TIME4)
        return NFS4ERR_BADXDR;
    *now = how == SET_TO_SERVER_TIME4;
    return *now ? NFS4_OK : get_time(x, t);
}

static nfsstat4 get_mode(XDR *x, uint32_t *mode)
{
    if (!xdr_uint32_t(x, mode))
        return NFS4ERR_BADXDR;
    if (*mode & MODE_OTHER)
        return NFS4ERR_INVAL;
    *mode &= MODE_BITS;
    return NFS4_OK;
}

/* A mode beside an ACL gives the bits that the ACL has none for (RFC 8881 section 6.4.1.3). The ACL came first. */
static void use_mode(struct vset *set, uint32_t mode)
{
    if (set->mask & VSET_PERM)
        mode = (mode & ~0777u) | set->mode;
    set->mode = mode;
    set->mask = (set->mask & ~(uint32_t)VSET_PERM) | VSET_MODE;
}

static nfsstat4 get_attr(XDR *x, unsigned attr, struct vset *set)
{
    nfsstat4 st = NFS4_OK;
    uint32_t mode = 0, umask_bits = 0;
    bool now = false;

    switch (attr) {
    case FATTR4_SIZE:
        if (!xdr_uint64_t(x, &set->size))
            return NFS4ERR_BADXDR;
        set->mask |= VSET_SIZE;
        break;
    case FATTR4_ACL:
        st = acl_to_mode(x, &set->mode);
        set->mask |= VSET_PERM;
        break;
    case FATTR4_MODE:
        st = get_mode(x, &mode);
        use_mode(set, mode);
        break;
    case FATTR4_MODE_UMASK:
        st = get_mode(x, &mode);
        if (st == NFS4_OK)
            st = get_mode(x, &umask_bits);
        use_mode(set, mode & ~(umask_bits & 0777u));
        break;
    case FATTR4_OWNER:
        st = get_id(x, &set->uid);
        set->mask |= VSET_UID;
        break;
    case FATTR4_OWNER_GROUP:
        st = get_id(x, &set->gid);
        set->mask |= VSET_GID;
        break;
    case FATTR4_TIME_ACCESS_SET:
        st = get_settime(x, &set->atime, &now);
        set->mask |= now ? VSET_ATIME_NOW : VSET_ATIME;
        break;
    case FATTR4_TIME_MODIFY_SET:
        st = get_settime(x, &set->mtime, &now);
        set->mask |= now ? VSET_MTIME_NOW : VSET_MTIME;
        break;
    case FATTR4_TIME_CREATE:
        st = get_time(x, &set->btime);
        set->mask |= VSET_BTIME;
        break;
    default: /* attr_settable() and this function disagree */
        return NFS4ERR_SERVERFAULT;
    }
    return st;
}

static nfsstat4 check_mask(uint32_t minor, const xbitmap *allowed, const xbitmap *mask)
{
    xbitmap exist;

    attr_supported(minor, &exist);
    if (mask->more)
        return NFS4ERR_ATTRNOTSUPP;
    for (int i = 0; i < 3; i++)
        if (mask->w[i] & ~exist.w[i])
            return NFS4ERR_ATTRNOTSUPP;
    for (int i = 0; i < 3; i++)
        if (mask->w[i] & ~allowed->w[i])
            return NFS4ERR_INVAL;
    if (xbitmap_has(mask, FATTR4_MODE) && xbitmap_has(mask, FATTR4_MODE_UMASK))
        return NFS4ERR_INVAL;
    return NFS4_OK;
}

nfsstat4 attr_decode_set(uint32_t minor, const xbitmap *allowed, const fattr4 *a, struct vset *set,
                         xbitmap *applied)
{
    nfsstat4 st = check_mask(minor, allowed, &a->attrmask);
    XDR x;

    memset(set, 0, sizeof(*set));
    memset(applied, 0, sizeof(*applied));
    if (st != NFS4_OK)
        return st;
    xdrin_init(&x, a->attr_vals.data, a->attr_vals.len);
    for (unsigned i = 0; i < 3; i++)
        for (uint32_t bits = a->attrmask.w[i]; bits; bits &= bits - 1) {
            st = get_attr(&x, i * 32 + (unsigned)__builtin_ctz(bits), set);
            if (st != NFS4_OK)
                return st;
        }
    if (xdrin_left(&x))
        return NFS4ERR_BADXDR;
    *applied = a->attrmask;
    return NFS4_OK;
}
