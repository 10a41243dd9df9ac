/* SPDX-License-Identifier: Apache-2.0
 * op_lock: LOCK LOCKT LOCKU RELEASE_LOCKOWNER (RFC 7530 sections 16.10 to 16.12 and 16.37, RFC 8881 sections
 * 18.10 to 18.12). A blocking lock type is tried like the others: the client asks again, in 4.1+ when it is
 * told to.
 */
#include <stddef.h>
#include <string.h>

#include "server/nfs4/fh.h"
#include "server/nfs4/ops.h"
#include "server/state/openstate.h"

static nfsstat4 lock_type(nfs_lock_type4 type, bool *write)
{
    *write = type == WRITE_LT || type == WRITEW_LT;
    return type >= READ_LT && type <= WRITEW_LT ? NFS4_OK : NFS4ERR_INVAL;
}

/* Locks are for regular files. */
static nfsstat4 check_object(struct compound *c)
{
    struct vfs_attr va;
    int err;

    if (c->cur.obj.kind != VOBJ_FILE)
        return NFS4ERR_ISDIR;
    err = vfs_getattr(c->srv->vfs, &c->call, &c->cur.obj, &va);
    if (err < 0)
        return nfs4_status(err);
    return va.a.type == IT_REG ? NFS4_OK : va.a.type == IT_DIR ? NFS4ERR_ISDIR : NFS4ERR_INVAL;
}

static nfsstat4 fill_denied(struct compound *c, const struct lock_denied *d, LOCK4denied *out)
{
    char *owner = compound_scratch(c, d->owner_len + 1);

    if (!owner)
        return c->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    memcpy(owner, d->owner, d->owner_len);
    out->offset = d->offset;
    out->length = d->length;
    out->locktype = d->write ? WRITE_LT : READ_LT;
    out->owner.clientid = d->clientid;
    out->owner.owner = (xopaque){.len = d->owner_len, .data = owner};
    return NFS4ERR_DENIED;
}

/* What is kept of a 4.0 LOCK for a repetition: as far as the status needs it, for there are many owners. */
struct kept {
    stateid4 stateid;
    struct lock_denied denied;
};

static size_t kept_size(const struct kept *kept, nfsstat4 status)
{
    if (status == NFS4ERR_DENIED)
        return offsetof(struct kept, denied.owner) + kept->denied.owner_len;
    return status ? 0 : sizeof kept->stateid;
}

static nfsstat4 run_lock(struct compound *c, LOCK4args *args, struct lock_request *r)
{
    bool new_owner = args->locker.new_lock_owner;
    char *fh = compound_scratch(c, FH_SIZE_MAX);
    struct fh_parts parts;
    open_to_lock_owner4 *n = &args->locker.locker4_u.open_owner;
    nfsstat4 status;

    status = lock_type(args->locktype, &r->write);
    if (!status)
        status = check_object(c);
    if (status)
        return status;
    r->minor = c->minor;
    r->client = compound_client(c);
    r->file = compound_key(&c->cur.obj);
    r->new_owner = new_owner;
    r->reclaim = args->reclaim;
    r->wait = c->minor && fh && (args->locktype == READW_LT || args->locktype == WRITEW_LT);
    if (r->wait) {
        access_fh_parts(&c->cur, &parts);
        r->fh = fh;
        r->fh_len = fh_encode(c->srv->handle_key, &parts, fh);
    }
    r->offset = args->offset;
    r->length = args->length;
    if (new_owner) {
        r->stateid = n->open_stateid;
        r->clientid = n->lock_owner.clientid;
        r->owner = n->lock_owner.owner.data;
        r->owner_len = n->lock_owner.owner.len;
        r->lock_seqid = n->lock_seqid;
    } else {
        r->stateid = args->locker.locker4_u.lock_owner.lock_stateid;
    }
    status = compound_stateid_in(c, &r->stateid);
    return status ? status : lock_set(c->srv->state, r, c->call.may_block);
}

/* Begins a 4.0 request of the owner whose seqid it carries. */
static nfsstat4 begin_lock(struct compound *c, const LOCK4args *args, struct owner_call *oc)
{
    const open_to_lock_owner4 *n = &args->locker.locker4_u.open_owner;
    const exist_lock_owner4 *e = &args->locker.locker4_u.lock_owner;

    if (args->locker.new_lock_owner)
        return owner_begin_stateid(c->srv->state, &n->open_stateid, OWNER_OPEN, OP_LOCK, n->open_seqid,
                                   c->call.may_block, oc);
    return owner_begin_stateid(c->srv->state, &e->lock_stateid, OWNER_LOCK, OP_LOCK, e->lock_seqid,
                               c->call.may_block, oc);
}

nfsstat4 op_lock(struct compound *c, LOCK4args *args, LOCK4res *res)
{
    struct lock_request *r = compound_scratch(c, sizeof *r);
    struct kept *kept = compound_scratch(c, sizeof *kept);
    struct owner_call oc = {0};
    nfsstat4 status;

    if (!r || !kept)
        return c->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    if (c->minor == 0) {
        status = begin_lock(c, args, &oc);
        if (status)
            return status;
    }
    if (c->refused) {
        status = c->refused;
    } else if (oc.replay) {
        status = oc.status;
        if (oc.reply_len && oc.reply_len <= sizeof *kept)
            memcpy(kept, oc.reply, oc.reply_len);
    } else {
        status = run_lock(c, args, r);
        kept->stateid = r->stateid;
        if (status == NFS4ERR_DENIED)
            kept->denied = r->denied;
    }
    if (c->minor == 0)
        owner_end(c->srv->state, &oc, status, kept, kept_size(kept, status));
    if (status == NFS4ERR_DENIED)
        return fill_denied(c, &kept->denied, &res->LOCK4res_u.denied);
    if (status)
        return status;
    res->LOCK4res_u.resok4.lock_stateid = kept->stateid;
    compound_stateid_out(c, &kept->stateid);
    return NFS4_OK;
}

nfsstat4 op_lockt(struct compound *c, LOCKT4args *args, LOCKT4res *res)
{
    struct lock_request *r = compound_scratch(c, sizeof *r);
    nfsstat4 status;

    if (!r)
        return c->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    status = lock_type(args->locktype, &r->write);
    if (!status)
        status = check_object(c);
    if (status)
        return status;
    r->minor = c->minor;
    r->client = compound_client(c);
    r->file = compound_key(&c->cur.obj);
    r->clientid = args->owner.clientid;
    r->owner = args->owner.owner.data;
    r->owner_len = args->owner.owner.len;
    r->offset = args->offset;
    r->length = args->length;
    status = lock_test(c->srv->state, r, c->call.may_block);
    return status == NFS4ERR_DENIED ? fill_denied(c, &r->denied, &res->LOCKT4res_u.denied) : status;
}

static nfsstat4 run_locku(struct compound *c, LOCKU4args *args, struct lock_request *r)
{
    nfsstat4 status = lock_type(args->locktype, &r->write);

    if (status)
        return status;
    if (c->cur.obj.kind != VOBJ_FILE)
        return NFS4ERR_BAD_STATEID;
    r->minor = c->minor;
    r->client = compound_client(c);
    r->file = compound_key(&c->cur.obj);
    r->stateid = args->lock_stateid;
    r->offset = args->offset;
    r->length = args->length;
    status = compound_stateid_in(c, &r->stateid);
    return status ? status : lock_unset(c->srv->state, r);
}

nfsstat4 op_locku(struct compound *c, LOCKU4args *args, LOCKU4res *res)
{
    struct lock_request *r = compound_scratch(c, sizeof *r);
    struct owner_call oc = {0};
    stateid4 sid = {0};
    nfsstat4 status;

    if (!r)
        return c->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    if (c->minor == 0) {
        status = owner_begin_stateid(c->srv->state, &args->lock_stateid, OWNER_LOCK, OP_LOCKU, args->seqid,
                                     c->call.may_block, &oc);
        if (status)
            return status;
    }
    if (c->refused) {
        status = c->refused;
    } else if (oc.replay) {
        status = oc.status;
        if (oc.reply_len == sizeof sid)
            memcpy(&sid, oc.reply, sizeof sid);
    } else {
        status = run_locku(c, args, r);
        sid = r->stateid;
    }
    if (c->minor == 0)
        owner_end(c->srv->state, &oc, status, &sid, status ? 0 : sizeof sid);
    if (status)
        return status;
    res->LOCKU4res_u.lock_stateid = sid;
    compound_stateid_out(c, &sid);
    return NFS4_OK;
}

nfsstat4 op_release_lockowner(struct compound *c, RELEASE_LOCKOWNER4args *args, RELEASE_LOCKOWNER4res *res)
{
    return lock_release_owner(c->srv->state, args->lock_owner.clientid, args->lock_owner.owner.data,
                              args->lock_owner.owner.len);
}
