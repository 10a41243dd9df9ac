/* SPDX-License-Identifier: Apache-2.0
 * op_attr: GETATTR SETATTR ACCESS VERIFY NVERIFY.
 */
#include "server/nfs4/attr.h"
#include "server/nfs4/ops.h"
#include "server/state/deleg.h"

nfsstat4 op_getattr(struct compound *c, GETATTR4args *args, GETATTR4res *res)
{
    fattr4 *out = &res->GETATTR4res_u.resok4.obj_attributes;
    struct deleg_attrs held;
    struct attr_source s;
    nfsstat4 st;
    char *buf;
    int err;

    if (xbitmap_has(&args->attr_request, FATTR4_TIME_ACCESS_SET) ||
        xbitmap_has(&args->attr_request, FATTR4_TIME_MODIFY_SET))
        return NFS4ERR_INVAL; /* these can only be set */
    st = deleg_ask(c, &args->attr_request, &held);
    if (st != NFS4_OK)
        return st;
    err = attr_source_of(c, &c->cur.obj, &args->attr_request, &s);
    if (err)
        return nfs4_status(err);
    if (held.modified)
        s.va.a.size = held.size < STORE_FILE_MAX ? held.size : STORE_FILE_MAX;
    buf = compound_scratch(c, ATTR_BYTES_MAX);
    if (!buf)
        return NFS4ERR_DELAY;
    out->attr_vals.len = (uint32_t)attr_encode(&s, &args->attr_request, &out->attrmask, buf);
    out->attr_vals.data = buf;
    return NFS4_OK;
}

/* The part of SETATTR that asks the state layer: a new size is a write, anything else a change. */
static nfsstat4 setattr_state(struct compound *c, SETATTR4args *args, const struct vset *set, bool *by_open)
{
    struct file_key key = compound_key(&c->cur.obj);
    struct state_io io = {0};
    nfsstat4 st;

    if (c->cur.obj.kind != VOBJ_FILE)
        return NFS4_OK;
    if (!(set->mask & VSET_SIZE))
        return state_check_change(c->srv->state, compound_client(c), &key);
    st = compound_stateid_in(c, &args->stateid);
    if (st == NFS4_OK)
        st = state_check_io(c->srv->state, c->minor, compound_client(c), &key, &args->stateid,
                            STATE_WRITE, &io);
    *by_open = state_io_by_open(&io, c->cred.uid);
    return st;
}

nfsstat4 op_setattr(struct compound *c, SETATTR4args *args, SETATTR4res *res)
{
    xbitmap allowed, applied;
    struct vset set;
    bool by_open = false;
    nfsstat4 st;

    attr_settable(c->minor, &allowed);
    xbitmap_clear(&allowed, FATTR4_MODE_UMASK); /* RFC 8275 section 5: only when creating */
    st = attr_decode_set(c->minor, &allowed, &args->obj_attributes, &set, &applied);
    if (st == NFS4_OK)
        st = setattr_state(c, args, &set, &by_open);
    if (st == NFS4_OK)
        st = nfs4_status(vfs_setattr(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, &set, by_open, NULL));
    if (st == NFS4_OK)
        res->attrsset = applied;
    return st;
}

/* What each bit of ACCESS means for a directory and for other objects; 0 = has no meaning there. */
static const struct {
    uint32_t bit;
    unsigned dir, file;
} access_bits[] = {
    {ACCESS4_READ, VMAY_READ, VMAY_READ},     {ACCESS4_LOOKUP, VMAY_EXEC, 0},
    {ACCESS4_MODIFY, VMAY_WRITE, VMAY_WRITE}, {ACCESS4_EXTEND, VMAY_WRITE, VMAY_WRITE},
    {ACCESS4_DELETE, VMAY_WRITE, 0},          {ACCESS4_EXECUTE, 0, VMAY_EXEC},
    {ACCESS4_XAREAD, VMAY_READ, VMAY_READ},   {ACCESS4_XAWRITE, VMAY_WRITE, VMAY_WRITE},
    {ACCESS4_XALIST, VMAY_READ, VMAY_READ},
};
#define NACCESS (sizeof(access_bits) / sizeof(access_bits[0]))

nfsstat4 op_access(struct compound *c, ACCESS4args *args, ACCESS4res *res)
{
    ACCESS4resok *ok = &res->ACCESS4res_u.resok4;
    uint32_t known = c->minor >= 2 ? 0x1ff : 0x3f;
    unsigned got = 0;
    struct vfs_attr va;
    int err;

    if (args->access & ~known)
        return NFS4ERR_INVAL;
    err = vfs_getattr(c->srv->vfs, &c->call, &c->cur.obj, &va);
    if (!err)
        err = vfs_access(c->srv->vfs, &c->call, &c->cur.obj, &c->cred,
                         VMAY_EXEC | VMAY_WRITE | VMAY_READ, &got);
    if (err)
        return nfs4_status(err);
    if (!access_may_write(c))
        got &= ~(unsigned)VMAY_WRITE;
    for (size_t i = 0; i < NACCESS; i++) {
        unsigned need = va.a.type == IT_DIR ? access_bits[i].dir : access_bits[i].file;

        if (!(args->access & access_bits[i].bit) || !need)
            continue;
        ok->supported |= access_bits[i].bit;
        if ((got & need) == need)
            ok->access |= access_bits[i].bit;
    }
    return NFS4_OK;
}

static nfsstat4 compare(struct compound *c, const fattr4 *a)
{
    struct attr_source s;
    int err = attr_source_of(c, &c->cur.obj, &a->attrmask, &s);

    return err ? nfs4_status(err) : attr_compare(&s, a);
}

nfsstat4 op_verify(struct compound *c, VERIFY4args *args, VERIFY4res *res)
{
    nfsstat4 st = compare(c, &args->obj_attributes);

    if (st == NFS4_BLOCK)
        return st;
    c->verified_size = st == NFS4ERR_SAME && attr_is_size(&args->obj_attributes, &c->verify_size);
    return st == NFS4ERR_SAME ? NFS4_OK : st;
}

nfsstat4 op_nverify(struct compound *c, NVERIFY4args *args, NVERIFY4res *res)
{
    nfsstat4 st = compare(c, &args->obj_attributes);

    return st == NFS4ERR_NOT_SAME ? NFS4_OK : st;
}
