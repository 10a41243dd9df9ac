/* SPDX-License-Identifier: Apache-2.0
 * op_fh: PUTFH PUTROOTFH PUTPUBFH GETFH SAVEFH RESTOREFH LOOKUP LOOKUPP SECINFO SECINFO_NO_NAME.
 */
#include <errno.h>

#include "server/nfs4/fh.h"
#include "server/nfs4/ops.h"

nfsstat4 op_putfh(struct compound *c, PUTFH4args *args, PUTFH4res *res)
{
    struct compound_fh fh = {0};
    struct fh_parts p;
    nfsstat4 st = fh_decode(c->srv->handle_key, &args->object, &p);

    if (st == NFS4_OK)
        st = access_object(c, &p, &fh);
    if (st == NFS4_OK)
        compound_set_cur(c, &fh.obj, &fh.acc);
    return st;
}

nfsstat4 op_putrootfh(struct compound *c, void *args, PUTROOTFH4res *res)
{
    struct vobj o = {0};
    struct access acc;

    vfs_root(c->srv->vfs, &o);
    (void)access_of(c, &o, 0, &acc); /* of the root it cannot fail */
    compound_set_cur(c, &o, &acc);
    return NFS4_OK;
}

nfsstat4 op_putpubfh(struct compound *c, void *args, PUTPUBFH4res *res)
{
    return op_putrootfh(c, args, NULL);
}

nfsstat4 op_getfh(struct compound *c, void *args, GETFH4res *res)
{
    char *fh = compound_scratch(c, FH_SIZE_MAX);
    struct fh_parts p;

    if (!fh)
        return NFS4ERR_DELAY;
    access_fh_parts(&c->cur, &p);
    res->GETFH4res_u.resok4.object = (xhandle){fh_encode(c->srv->handle_key, &p, fh), fh};
    return NFS4_OK;
}

static void copy_fh(struct compound_fh *to, const struct compound_fh *from)
{
    vobj_copy(&to->obj, &from->obj);
    to->set = from->set;
    to->acc = from->acc;
    to->has_stateid = from->has_stateid;
    to->stateid = from->stateid;
}

nfsstat4 op_savefh(struct compound *c, void *args, SAVEFH4res *res)
{
    copy_fh(&c->saved, &c->cur);
    return NFS4_OK;
}

nfsstat4 op_restorefh(struct compound *c, void *args, RESTOREFH4res *res)
{
    copy_fh(&c->cur, &c->saved);
    return NFS4_OK;
}

/* -ENOTDIR tells too little: a symbolic link has a status of its own. */
static nfsstat4 not_a_directory(struct compound *c)
{
    struct vfs_attr va;
    int err = vfs_getattr(c->srv->vfs, &c->call, &c->cur.obj, &va);

    if (err)
        return nfs4_status(err);
    return va.a.type == IT_LNK ? NFS4ERR_SYMLINK : NFS4ERR_NOTDIR;
}

static nfsstat4 lookup(struct compound *c, const xname *name, struct vobj *out, struct access *acc)
{
    nfsstat4 st = compound_name(name);

    if (st == NFS4_OK)
        st = access_lookup(c, name, out, acc);
    return st == NFS4ERR_NOTDIR ? not_a_directory(c) : st;
}

static nfsstat4 lookup_parent(struct compound *c, struct vobj *out, struct access *acc)
{
    nfsstat4 st = access_lookup_parent(c, out, acc);

    return st == NFS4ERR_NOTDIR ? not_a_directory(c) : st;
}

nfsstat4 op_lookup(struct compound *c, LOOKUP4args *args, LOOKUP4res *res)
{
    struct vobj o = {0};
    struct access acc;
    nfsstat4 st = lookup(c, &args->objname, &o, &acc);

    if (st == NFS4_OK)
        compound_set_cur(c, &o, &acc);
    return st;
}

nfsstat4 op_lookupp(struct compound *c, void *args, LOOKUPP4res *res)
{
    struct vobj o = {0};
    struct access acc;
    nfsstat4 st = lookup_parent(c, &o, &acc);

    if (st == NFS4_OK)
        compound_set_cur(c, &o, &acc);
    return st;
}

/* The answer is the same everywhere. In 4.1 the current filehandle is used up (RFC 8881 section 18.29.3). */
static nfsstat4 flavors(struct compound *c, SECINFO4res *res)
{
    static uint32_t offered[] = {1}; /* AUTH_SYS */

    res->SECINFO4res_u.resok4.flavors.flavors_len = 1;
    res->SECINFO4res_u.resok4.flavors.flavors_val = offered;
    if (c->minor > 0) {
        vobj_release(&c->cur.obj);
        c->cur = (struct compound_fh){0};
    }
    return NFS4_OK;
}

nfsstat4 op_secinfo(struct compound *c, SECINFO4args *args, SECINFO4res *res)
{
    struct vobj o = {0};
    struct access acc;
    nfsstat4 st = lookup(c, &args->name, &o, &acc);

    vobj_release(&o);
    return st == NFS4_OK ? flavors(c, res) : st;
}

nfsstat4 op_secinfo_no_name(struct compound *c, SECINFO_NO_NAME4args *args, SECINFO_NO_NAME4res *res)
{
    struct vobj o = {0};
    struct access acc;
    nfsstat4 st;

    switch (args->style) {
    case SECINFO_STYLE4_CURRENT_FH:
        return flavors(c, res);
    case SECINFO_STYLE4_PARENT:
        st = lookup_parent(c, &o, &acc);
        vobj_release(&o);
        return st == NFS4_OK ? flavors(c, res) : st;
    }
    return NFS4ERR_BADXDR;
}
