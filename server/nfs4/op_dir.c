/* SPDX-License-Identifier: Apache-2.0
 * op_dir: CREATE REMOVE RENAME LINK READLINK.
 *
 * Before a name goes away the state layer is asked about the file behind it (delegations). Somebody may
 * put another file under the name in between; then that one loses its name without the question, which is no
 * more than a client that acts a moment later would see.
 */
#include <errno.h>
#include <string.h>

#include "server/nfs4/attr.h"
#include "server/nfs4/ops.h"

/* --- CREATE --- */

static nfsstat4 create_type(const createtype4 *t, struct vfs_create *a)
{
    const xname *link = &t->createtype4_u.linkdata;

    switch (t->type) {
    case NF4DIR:
        a->type = IT_DIR;
        return NFS4_OK;
    case NF4SOCK:
        a->type = IT_SOCK;
        return NFS4_OK;
    case NF4FIFO:
        a->type = IT_FIFO;
        return NFS4_OK;
    case NF4BLK:
    case NF4CHR:
        a->type = t->type == NF4BLK ? IT_BLK : IT_CHR;
        a->rdev_major = t->createtype4_u.devdata.specdata1;
        a->rdev_minor = t->createtype4_u.devdata.specdata2;
        return NFS4_OK;
    case NF4LNK:
        a->type = IT_LNK;
        a->target = link->data;
        a->target_len = link->len;
        if (!link->len)
            return NFS4ERR_INVAL;
        if (link->len > STORE_SYMLINK_MAX)
            return NFS4ERR_NAMETOOLONG;
        return memchr(link->data, 0, link->len) ? NFS4ERR_BADCHAR : NFS4_OK;
    default: /* regular files are made by OPEN */
        return NFS4ERR_BADTYPE;
    }
}

nfsstat4 op_create(struct compound *c, CREATE4args *args, CREATE4res *res)
{
    struct vfs_create a = {.name = args->objname.data, .len = args->objname.len, .excl = true};
    CREATE4resok *ok = &res->CREATE4res_u.resok4;
    struct dir_change dc = {0};
    struct vfs_attr va;
    struct vobj o = {0};
    xbitmap allowed;
    bool created;
    nfsstat4 st = create_type(&args->objtype, &a);

    attr_settable(c->minor, &allowed);
    xbitmap_clear(&allowed, FATTR4_SIZE);
    if (st == NFS4_OK)
        st = compound_name(&args->objname);
    if (st == NFS4_OK)
        st = attr_decode_set(c->minor, &allowed, &args->createattrs, &a.set, &ok->attrset);
    if (st != NFS4_OK)
        return st;
    st = nfs4_status(
        vfs_create(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, &a, &o, &va, &created, &dc));
    if (st == NFS4_OK) {
        struct access acc;

        ok->cinfo = compound_cinfo(&dc);
        /* It was made: from here on waiting is right, and hardly ever needed. */
        c->call.may_block = true;
        st = nfs4_status(access_from_cur(c, &o, &acc));
        c->call.may_block = c->req->may_block;
        if (st == NFS4_OK)
            compound_set_cur(c, &o, &acc);
    }
    vobj_release(&o);
    return st;
}

/* --- REMOVE, RENAME, LINK --- */

/* Asks the state layer about the file called name; a name that does not exist is fine if missing_ok. */
static nfsstat4 check_name(struct compound *c, const struct vobj *dir, const xname *name, bool missing_ok)
{
    struct vobj o = {0};
    struct file_key key;
    nfsstat4 st = NFS4_OK;
    int err = vfs_lookup(c->srv->vfs, &c->call, dir, &c->cred, name->data, name->len, &o, NULL);

    if (err == -ENOENT && missing_ok)
        return NFS4_OK;
    if (err)
        return nfs4_status(err);
    if (o.kind == VOBJ_FILE) {
        key = compound_key(&o);
        st = state_check_change(c->srv->state, compound_client(c), &key);
    }
    vobj_release(&o);
    return st;
}

nfsstat4 op_remove(struct compound *c, REMOVE4args *args, REMOVE4res *res)
{
    const xname *n = &args->target;
    struct dir_change dc = {0};
    nfsstat4 st = compound_name(n);

    if (st == NFS4_OK)
        st = check_name(c, &c->cur.obj, n, false);
    if (st == NFS4_OK)
        st = nfs4_status(vfs_remove(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, n->data, n->len, NULL,
                                    NULL, &dc));
    if (st == NFS4_OK)
        res->REMOVE4res_u.resok4.cinfo = compound_cinfo(&dc);
    return st;
}

nfsstat4 op_rename(struct compound *c, RENAME4args *args, RENAME4res *res)
{
    const xname *from = &args->oldname, *to = &args->newname;
    RENAME4resok *ok = &res->RENAME4res_u.resok4;
    struct dir_change sdc = {0}, ddc = {0};
    nfsstat4 st = compound_name(from);

    if (st == NFS4_OK)
        st = compound_name(to);
    if (st == NFS4_OK)
        st = check_name(c, &c->saved.obj, from, false);
    if (st == NFS4_OK)
        st = check_name(c, &c->cur.obj, to, true);
    if (st == NFS4_OK)
        st = nfs4_status(vfs_rename(c->srv->vfs, &c->call, &c->saved.obj, from->data, from->len,
                                    &c->cur.obj, to->data, to->len, &c->cred, NULL, NULL, &sdc, &ddc));
    if (st == NFS4_OK) {
        ok->source_cinfo = compound_cinfo(&sdc);
        ok->target_cinfo = compound_cinfo(&ddc);
    }
    return st;
}

nfsstat4 op_link(struct compound *c, LINK4args *args, LINK4res *res)
{
    const xname *n = &args->newname;
    struct file_key key = compound_key(&c->saved.obj);
    struct dir_change dc = {0};
    nfsstat4 st = compound_name(n);

    if (st == NFS4_OK && c->saved.obj.kind != VOBJ_FILE)
        st = NFS4ERR_ISDIR;
    if (st == NFS4_OK)
        st = state_check_change(c->srv->state, compound_client(c), &key);
    if (st == NFS4_OK)
        st = nfs4_status(vfs_link(c->srv->vfs, &c->call, &c->saved.obj, &c->cur.obj, &c->cred, n->data,
                                  n->len, &dc));
    if (st == NFS4_OK)
        res->LINK4res_u.resok4.cinfo = compound_cinfo(&dc);
    return st;
}

nfsstat4 op_readlink(struct compound *c, void *args, READLINK4res *res)
{
    char *buf = compound_scratch(c, STORE_SYMLINK_MAX + 1);
    int n;

    if (!buf)
        return NFS4ERR_DELAY;
    n = vfs_readlink(c->srv->vfs, &c->call, &c->cur.obj, buf);
    if (n == -EINVAL && c->minor > 0)
        return NFS4ERR_WRONG_TYPE;
    if (n < 0)
        return nfs4_status(n);
    res->READLINK4res_u.resok4.link = (xname){(uint32_t)n, buf};
    return NFS4_OK;
}
