/* SPDX-License-Identifier: Apache-2.0
 * op_xattr: GETXATTR SETXATTR LISTXATTRS REMOVEXATTR (RFC 8276). Names come without the "user." prefix. The
 * pseudo tree has none.
 */
#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "server/nfs4/ops.h"

#define LIST_MAX   65536u /* bytes of names in one answer */
#define NAMES_MAX  8192u  /* the bound in proto/nfs4.x */
#define LIST_FIXED 16u    /* cookie, count, eof */

static nfsstat4 check_key(const xname *k)
{
    if (!k->len)
        return NFS4ERR_INVAL;
    if (memchr(k->data, 0, k->len))
        return NFS4ERR_BADCHAR;
    return k->len > STORE_XATTR_NAME_MAX ? NFS4ERR_NAMETOOLONG : NFS4_OK;
}

/* The object exists, is of a kind that has extended attributes, and the caller may. */
static nfsstat4 check_object(struct compound *c, unsigned may)
{
    struct vfs_attr va;
    int err = vfs_getattr(c->srv->vfs, &c->call, &c->cur.obj, &va);

    if (!err)
        err = vfs_check(&va.a, &c->cred, may);
    if (err)
        return nfs4_status(err);
    if (c->cur.obj.kind != VOBJ_FILE)
        return may == VMAY_WRITE ? NFS4ERR_ROFS : NFS4ERR_NOXATTR;
    if (va.a.type != IT_REG && va.a.type != IT_DIR)
        return may == VMAY_WRITE ? NFS4ERR_PERM : NFS4ERR_NOXATTR;
    return NFS4_OK;
}

static nfsstat4 check_change(struct compound *c)
{
    struct file_key key = compound_key(&c->cur.obj);
    nfsstat4 st = check_object(c, VMAY_WRITE);

    return st == NFS4_OK ? state_check_change(c->srv->state, compound_client(c), &key) : st;
}

nfsstat4 op_getxattr(struct compound *c, GETXATTR4args *args, GETXATTR4res *res)
{
    const xname *k = &args->gxa_name;
    nfsstat4 st = check_key(k);
    char *buf;
    int n;

    if (st == NFS4_OK)
        st = check_object(c, VMAY_READ);
    if (st != NFS4_OK)
        return st;
    buf = compound_scratch(c, STORE_XATTR_SIZE_MAX);
    if (!buf)
        return NFS4ERR_DELAY;
    n = volume_getxattr(c->cur.obj.vol, &c->call, c->cur.obj.ino, k->data, k->len, buf,
                        STORE_XATTR_SIZE_MAX);
    if (n < 0)
        return nfs4_status(n);
    res->GETXATTR4res_u.gxr_value = (xattrvals){(uint32_t)n, buf};
    return NFS4_OK;
}

nfsstat4 op_setxattr(struct compound *c, SETXATTR4args *args, SETXATTR4res *res)
{
    const xname *k = &args->sxa_key;
    const xattrvals *v = &args->sxa_value;
    struct dir_change dc = {0};
    nfsstat4 st = check_key(k);
    int flags = 0;

    if (args->sxa_option == SETXATTR4_CREATE)
        flags = XATTR_CREATE;
    else if (args->sxa_option == SETXATTR4_REPLACE)
        flags = XATTR_REPLACE;
    else if (args->sxa_option != SETXATTR4_EITHER)
        return NFS4ERR_INVAL;
    if (st == NFS4_OK && v->len > STORE_XATTR_SIZE_MAX)
        st = NFS4ERR_XATTR2BIG;
    if (st == NFS4_OK)
        st = check_change(c);
    if (st == NFS4_OK)
        st = nfs4_status(volume_setxattr(c->cur.obj.vol, &c->call, c->cur.obj.ino, k->data, k->len,
                                         v->data, v->len, flags, &dc));
    if (st == NFS4_OK)
        res->SETXATTR4res_u.sxr_info = compound_cinfo(&dc);
    return st;
}

nfsstat4 op_removexattr(struct compound *c, REMOVEXATTR4args *args, REMOVEXATTR4res *res)
{
    const xname *k = &args->rxa_name;
    struct dir_change dc = {0};
    nfsstat4 st = check_key(k);

    if (st == NFS4_OK)
        st = check_change(c);
    if (st == NFS4_OK)
        st = nfs4_status(volume_removexattr(c->cur.obj.vol, &c->call, c->cur.obj.ino, k->data, k->len, &dc));
    if (st == NFS4_OK)
        res->REMOVEXATTR4res_u.rxr_info = compound_cinfo(&dc);
    return st;
}

/* --- LISTXATTRS --- */

struct names {
    struct compound *c;
    xname *v;
    uint32_t n;
    size_t len, max; /* bytes on the wire */
    uint64_t cookie;
    bool full;
    bool failed;
};

static bool add_name(void *arg, uint64_t cookie, const char *name, size_t len)
{
    struct names *l = arg;
    size_t need = 4 + ((len + 3) & ~(size_t)3);
    char *copy;

    if (need > l->max - l->len || l->n == l->max / 8 || l->n == NAMES_MAX) {
        l->full = true;
        return false;
    }
    copy = compound_scratch(l->c, len ? len : 1);
    if (!copy) {
        l->failed = true;
        return false;
    }
    memcpy(copy, name, len);
    l->v[l->n++] = (xname){(uint32_t)len, copy};
    l->len += need;
    l->cookie = cookie;
    return true;
}

nfsstat4 op_listxattrs(struct compound *c, LISTXATTRS4args *args, LISTXATTRS4res *res)
{
    LISTXATTRS4resok *ok = &res->LISTXATTRS4res_u.lxr_value;
    size_t room = compound_room(c);
    struct names l = {.c = c, .cookie = args->lxa_cookie};
    bool eof = true;
    nfsstat4 st = check_object(c, VMAY_READ);
    int err;

    if (st == NFS4ERR_NOXATTR) {
        ok->lxr_eof = TRUE;
        return NFS4_OK;
    }
    if (st != NFS4_OK)
        return st;
    if (args->lxa_maxcount < room)
        room = args->lxa_maxcount;
    if (room < LIST_FIXED)
        return NFS4ERR_TOOSMALL;
    room -= LIST_FIXED;
    l.max = room < LIST_MAX ? room : LIST_MAX;
    l.v = compound_scratch(c, (l.max / 8 + 1) * sizeof(*l.v));
    if (!l.v)
        return NFS4ERR_DELAY;
    err = volume_listxattr(c->cur.obj.vol, &c->call, c->cur.obj.ino, args->lxa_cookie, add_name, &l, &eof);
    if (err < 0)
        return nfs4_status(err);
    if (l.failed)
        return NFS4ERR_DELAY;
    if (l.full && !l.n)
        return NFS4ERR_TOOSMALL;
    ok->lxr_cookie = l.cookie;
    ok->lxr_names.lxr_names_len = l.n;
    ok->lxr_names.lxr_names_val = l.v;
    ok->lxr_eof = eof && !l.full;
    return NFS4_OK;
}
