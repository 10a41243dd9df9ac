/* SPDX-License-Identifier: Apache-2.0
 * op_open: OPEN (RFC 7530 section 16.16, RFC 8881 section 18.16).
 *
 * The steps of an OPEN, in this order so that nothing has changed whenever NFS4_BLOCK is returned:
 *  1. the owner's turn (4.0), 2. arguments, claim and grace, 3. the client's record on disk, 4. the object, made if
 *  need be, 5. its type and permissions, 6. hold and share reservation, 7. truncation.
 * A file that was made in step 4 cannot conflict in step 6: nobody else knows it. An existing one is
 * truncated only where blocking is allowed.
 */
#include <errno.h>
#include <string.h>

#include "server/nfs4/attr.h"
#include "server/nfs4/ops.h"
#include "server/state/grace.h"
#include "server/state/openstate.h"

/* What is kept of a 4.0 OPEN for a repetition: the result, and the object that becomes current. */
struct kept {
    OPEN4resok ok;
    struct fh_parts obj;
    uint64_t mark; /* of what it changed: a repetition is answered after that is durable, too */
};

struct opening {
    struct compound *c;
    OPEN4args *args;
    struct open_request req;
    struct owner_call oc;
    struct vobj obj;
    struct access acc; /* of obj */
    struct vfs_attr attr;
    struct vset set;
    xbitmap applied;
    char fh[FH_SIZE_MAX];
    uint64_t verf;
    bool create, created, exclusive, truncate;
    struct dir_change dc;
    uint32_t rflags;
};

/* --- step 2 --- */

nfsstat4 open_check_shares(uint32_t minor, uint32_t access, uint32_t deny)
{
    uint32_t want = access & ~(uint32_t)OPEN4_SHARE_ACCESS_BOTH;
    uint32_t flags = OPEN4_SHARE_ACCESS_WANT_SIGNAL_DELEG_WHEN_RESRC_AVAIL |
                     OPEN4_SHARE_ACCESS_WANT_PUSH_DELEG_WHEN_UNCONTENDED;

    if (minor >= 2) /* wishes that we do not grant */
        flags |= OPEN4_SHARE_ACCESS_WANT_DELEG_TIMESTAMPS | OPEN4_SHARE_ACCESS_WANT_OPEN_XOR_DELEGATION;
    if (!(access & OPEN4_SHARE_ACCESS_BOTH) || deny > OPEN4_SHARE_DENY_BOTH)
        return NFS4ERR_INVAL;
    if (minor == 0)
        return want ? NFS4ERR_INVAL : NFS4_OK;
    if ((want & ~(flags | OPEN4_SHARE_ACCESS_WANT_DELEG_MASK)) ||
        (want & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK) > OPEN4_SHARE_ACCESS_WANT_CANCEL)
        return NFS4ERR_INVAL;
    return NFS4_OK;
}

/* The name that the claim opens; NULL: the current object itself. */
static const xname *claim_name(const struct opening *o)
{
    const open_claim4 *c = &o->args->claim;

    switch (c->claim) {
    case CLAIM_NULL:
        return &c->open_claim4_u.file;
    case CLAIM_DELEGATE_CUR:
        return &c->open_claim4_u.delegate_cur_info.file;
    default:
        return NULL;
    }
}

static nfsstat4 check_claim(struct opening *o)
{
    open_claim4 *claim = &o->args->claim;
    bool v40 = o->c->minor == 0;

    switch (claim->claim) {
    case CLAIM_NULL:
        return compound_name(&claim->open_claim4_u.file);
    case CLAIM_PREVIOUS:
        return o->create ? NFS4ERR_INVAL : NFS4_OK;
    case CLAIM_FH:
        return v40 || o->create ? NFS4ERR_INVAL : NFS4_OK;
    case CLAIM_DELEGATE_CUR:
        o->req.cur = &claim->open_claim4_u.delegate_cur_info.delegate_stateid;
        return o->create ? NFS4ERR_INVAL : compound_name(&claim->open_claim4_u.delegate_cur_info.file);
    case CLAIM_DELEG_CUR_FH:
        o->req.cur = &claim->open_claim4_u.oc_delegate_stateid;
        return v40 || o->create ? NFS4ERR_INVAL
                                : compound_stateid_in(o->c, &claim->open_claim4_u.oc_delegate_stateid);
    case CLAIM_DELEGATE_PREV:
        return NFS4ERR_NOTSUPP;
    case CLAIM_DELEG_PREV_FH:
        return v40 ? NFS4ERR_INVAL : NFS4ERR_NOTSUPP;
    default:
        return NFS4ERR_INVAL;
    }
}

/* What the client says of delegations (RFC 8881 18.16.3). */
static void read_wants(struct opening *o)
{
    struct open_request *r = &o->req;
    open_delegation_type4 before = o->args->claim.open_claim4_u.delegate_type;

    switch (o->c->minor ? o->args->share_access & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK : 0) {
    case OPEN4_SHARE_ACCESS_WANT_ANY_DELEG:
        r->want_write = true;
        /* fall through */
    case OPEN4_SHARE_ACCESS_WANT_READ_DELEG:
        r->want_read = true;
        break;
    case OPEN4_SHARE_ACCESS_WANT_WRITE_DELEG:
        r->want_write = true;
        break;
    case OPEN4_SHARE_ACCESS_WANT_NO_DELEG:
    case OPEN4_SHARE_ACCESS_WANT_CANCEL:
        r->want_none = true;
        break;
    }
    r->prev_read = r->reclaim && before == OPEN_DELEGATE_READ;
    r->prev_write = r->reclaim && before == OPEN_DELEGATE_WRITE;
}

static uint64_t verifier_of(const char *v)
{
    uint64_t n;

    memcpy(&n, v, 8);
    return n ? n : 1; /* 0 means that there is none */
}

static nfsstat4 check_how(struct opening *o)
{
    createhow4 *how = &o->args->openhow.openflag4_u.how;
    uint32_t minor = o->c->minor;
    nfsstat4 status = NFS4_OK;
    xbitmap allowed;

    if (o->args->openhow.opentype > OPEN4_CREATE)
        return NFS4ERR_INVAL;
    if (!o->create)
        return NFS4_OK;
    switch (how->mode) {
    case UNCHECKED4:
    case GUARDED4:
        attr_settable(minor, &allowed);
        status = attr_decode_set(minor, &allowed, &how->createhow4_u.createattrs, &o->set, &o->applied);
        break;
    case EXCLUSIVE4:
        o->exclusive = true;
        o->verf = verifier_of(how->createhow4_u.createverf);
        /* Until the client's SETATTR says more, the file is its owner's only. */
        o->set.mask = VSET_MODE;
        o->set.mode = 0600;
        break;
    case EXCLUSIVE4_1:
        if (minor == 0)
            return NFS4ERR_INVAL;
        o->exclusive = true;
        o->verf = verifier_of(how->createhow4_u.ch_createboth.cva_verf);
        attr_exclcreat(minor, &allowed);
        status = attr_decode_set(minor, &allowed, &how->createhow4_u.ch_createboth.cva_attrs, &o->set,
                                 &o->applied);
        break;
    default:
        return NFS4ERR_INVAL;
    }
    if (o->exclusive) {
        /* A Linux verifier is a tick count and a process id, the same in clients that booted as one image. */
        o->verf ^= client_mark(o->c->srv->state, o->req.clientid);
        o->verf += o->verf == 0;
        o->set.mask |= VSET_VERF;
        o->set.create_verf = o->verf;
    }
    return status;
}

/* --- step 4 --- */

static nfsstat4 type_status(const struct opening *o)
{
    switch (o->attr.a.type) {
    case IT_REG:
        return NFS4_OK;
    case IT_DIR:
        return NFS4ERR_ISDIR;
    case IT_LNK:
        return NFS4ERR_SYMLINK;
    default:
        return o->c->minor ? NFS4ERR_WRONG_TYPE : NFS4ERR_SYMLINK;
    }
}

static nfsstat4 by_handle(struct opening *o)
{
    vobj_copy(&o->obj, &o->c->cur.obj);
    return nfs4_status(vfs_getattr(o->c->srv->vfs, &o->c->call, &o->obj, &o->attr));
}

static nfsstat4 by_name(struct opening *o)
{
    const xname *name = claim_name(o);
    struct compound *c = o->c;
    struct vfs_attr dir;
    int err;

    err = vfs_getattr(c->srv->vfs, &c->call, &c->cur.obj, &dir);
    if (!err)
        err = vfs_lookup(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, name->data, name->len, &o->obj,
                         &o->attr);
    o->dc.before = o->dc.after = err ? 0 : dir.a.change;
    return nfs4_status(err);
}

/* On the way to a folder there are only the directories that lead there. */
static nfsstat4 on_way(struct opening *o)
{
    const xname *name = claim_name(o);
    struct vobj obj = {0};
    struct access acc;
    nfsstat4 status = name ? access_lookup(o->c, name, &obj, &acc) : NFS4ERR_ISDIR;

    vobj_release(&obj);
    if (status == NFS4ERR_NOENT && o->create)
        return NFS4ERR_ACCESS;
    return status ? status : NFS4ERR_ISDIR;
}

/* Without the right to write a file that exists is opened, and none is made. */
static nfsstat4 by_no_creation(struct opening *o)
{
    const createhow4 *how = &o->args->openhow.openflag4_u.how;
    nfsstat4 status = by_name(o);

    if (status == NFS4ERR_NOENT)
        return NFS4ERR_ROFS;
    if (status)
        return status;
    if (how->mode != UNCHECKED4)
        return NFS4ERR_EXIST;
    o->truncate = (o->set.mask & VSET_SIZE) && o->set.size == 0;
    memset(&o->applied, 0, sizeof o->applied);
    return NFS4_OK;
}

static nfsstat4 by_creation(struct opening *o)
{
    const createhow4 *how = &o->args->openhow.openflag4_u.how;
    const xname *name = &o->args->claim.open_claim4_u.file;
    struct compound *c = o->c;
    struct vfs_create vc = {
        .name = name->data,
        .len = name->len,
        .type = IT_REG,
        .set = o->set,
        .excl = how->mode != UNCHECKED4,
    };
    int err = vfs_create(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, &vc, &o->obj, &o->attr, &o->created,
                         &o->dc);

    if (err == -EEXIST) {
        if (o->exclusive && o->attr.a.type == IT_REG && o->attr.a.create_verf == o->verf) {
            /* This very request made it before (RFC 8881 18.16.3). */
            o->created = true;
            return NFS4_OK;
        }
        return vc.excl || type_status(o) == NFS4_OK ? NFS4ERR_EXIST : type_status(o);
    }
    if (err < 0)
        return nfs4_status(err);
    if (!o->created) { /* of the attributes only a size of 0 applies to a file that exists */
        o->truncate = (o->set.mask & VSET_SIZE) && o->set.size == 0;
        memset(&o->applied, 0, sizeof o->applied);
        if (o->truncate)
            xbitmap_set(&o->applied, FATTR4_SIZE);
    }
    return NFS4_OK;
}

/* --- step 5 --- */

static nfsstat4 check_rights(struct opening *o)
{
    struct compound *c = o->c;
    struct volume_props props;
    unsigned want = 0, got;
    nfsstat4 status = type_status(o);
    int err;

    if (status)
        return status;
    if (o->obj.kind != VOBJ_FILE)
        return NFS4ERR_ISDIR;
    if ((o->req.access & SHARE_WRITE) || o->truncate) {
        volume_get_props(o->obj.vol, &props);
        if (props.readonly || !access_may_write(c))
            return NFS4ERR_ROFS;
    }
    if (o->created || o->req.reclaim)
        return NFS4_OK;
    if (o->req.access & SHARE_READ)
        want |= VMAY_READ;
    if ((o->req.access & SHARE_WRITE) || o->truncate)
        want |= VMAY_WRITE;
    err = vfs_access(c->srv->vfs, &c->call, &o->obj, &c->cred, want | VMAY_EXEC, &got);
    if (err < 0)
        return nfs4_status(err);
    if (got & VMAY_EXEC) /* a program that may be run has to be read for that (RFC 8881 18.16.4) */
        got |= VMAY_READ;
    return (got & want) == want ? NFS4_OK : NFS4ERR_ACCESS;
}

/* --- steps 6 and 7 --- */

static nfsstat4 reserve(struct opening *o)
{
    struct compound *c = o->c;
    bool may_block = c->call.may_block;
    struct vfs_hold *hold = NULL;
    struct fh_parts fh;
    nfsstat4 status;
    int err;

    if (o->truncate && o->attr.a.size && !may_block)
        return NFS4_BLOCK;
    if (o->created) /* something changed: from here on waiting is right, and hardly ever needed */
        c->call.may_block = true;
    err = vfs_hold_new(c->srv->vfs, &c->call, &o->obj, &hold);
    if (err < 0) {
        status = nfs4_status(err);
        goto out;
    }
    o->req.file = compound_key(&o->obj);
    o->req.user = vobj_user(&o->obj);
    o->req.truncate = o->truncate;
    o->req.change = o->attr.a.change;
    fh_parts_of(&o->obj, &fh);
    fh.grant = c->cur.acc.grant;
    o->req.fh = o->fh;
    o->req.fh_len = fh_encode(c->srv->handle_key, &fh, o->fh);
    o->req.hold = hold;
    status = open_grant(c->srv->state, &o->req, c->call.may_block);
    vfs_hold_drop(o->req.hold); /* unless the open took it */
    o->req.hold = NULL;
out:
    c->call.may_block = may_block;
    return status;
}

static nfsstat4 truncate_file(struct opening *o)
{
    struct vset set = {.mask = VSET_SIZE, .size = 0};
    struct compound *c = o->c;
    nfsstat4 status;

    if (!o->truncate)
        return NFS4_OK;
    status = nfs4_status(vfs_setattr(c->srv->vfs, &c->call, &o->obj, &c->cred, &set, true, NULL));
    if (status)
        open_undo(c->srv->state, &o->req);
    return status;
}

/* --- the result --- */

/* Why there is no delegation, if the client said something about it (RFC 8881 18.16.3). */
static void no_delegation(const struct opening *o, open_delegation4 *d)
{
    uint32_t want = o->args->share_access & OPEN4_SHARE_ACCESS_WANT_DELEG_MASK;
    open_none_delegation4 *why = &d->open_delegation4_u.od_whynone;

    d->delegation_type = OPEN_DELEGATE_NONE;
    if (o->c->minor == 0 || want == OPEN4_SHARE_ACCESS_WANT_NO_PREFERENCE)
        return;
    d->delegation_type = OPEN_DELEGATE_NONE_EXT;
    if (want == OPEN4_SHARE_ACCESS_WANT_NO_DELEG) {
        why->ond_why = WND4_NOT_WANTED;
    } else if (want == OPEN4_SHARE_ACCESS_WANT_CANCEL) {
        why->ond_why = WND4_CANCELLED;
    } else if (o->req.deleg_contended) {
        why->ond_why = WND4_CONTENTION;
        why->open_none_delegation4_u.ond_server_will_push_deleg = FALSE;
    } else {
        why->ond_why = WND4_RESOURCE;
        why->open_none_delegation4_u.ond_server_will_signal_avail = FALSE;
    }
}

static void delegation(const struct opening *o, open_delegation4 *d)
{
    /* Nobody but the opener may take the delegation's word for permissions: everybody else asks with ACCESS. */
    nfsace4 nobody = {.type = ACE4_ACCESS_ALLOWED_ACE_TYPE};

    if (o->req.deleg == DELEG_READ) {
        d->delegation_type = OPEN_DELEGATE_READ;
        d->open_delegation4_u.read =
            (open_read_delegation4){.stateid = o->req.deleg_stateid, .permissions = nobody};
    } else if (o->req.deleg == DELEG_WRITE) {
        d->delegation_type = OPEN_DELEGATE_WRITE;
        d->open_delegation4_u.write = (open_write_delegation4){
            .stateid = o->req.deleg_stateid, .permissions = nobody, .space_limit.limitby = NFS_LIMIT_SIZE};
        d->open_delegation4_u.write.space_limit.nfs_space_limit4_u.filesize = UINT64_MAX;
    } else {
        no_delegation(o, d);
    }
}

static void fill(const struct opening *o, OPEN4resok *ok)
{
    ok->stateid = o->req.stateid;
    ok->cinfo = compound_cinfo(&o->dc);
    ok->rflags = o->rflags;
    ok->attrset = o->applied;
    delegation(o, &ok->delegation);
}

static nfsstat4 run_open(struct opening *o, OPEN4resok *ok)
{
    struct compound *c = o->c;
    bool may_block = c->call.may_block;
    nfsstat4 status;

    o->create = o->args->openhow.opentype == OPEN4_CREATE;
    o->req.access = o->args->share_access & OPEN4_SHARE_ACCESS_BOTH;
    o->req.deny = o->args->share_deny;
    o->req.reclaim = o->args->claim.claim == CLAIM_PREVIOUS;
    status = open_check_shares(c->minor, o->args->share_access, o->args->share_deny);
    if (!status)
        status = check_claim(o);
    read_wants(o);
    if (!status)
        status = check_how(o);
    if (!status)
        status = grace_check(c->srv->state, c->minor, o->req.clientid, o->req.reclaim);
    if (!status && !c->minor)
        client_heard40(c->srv->state, o->req.clientid, request_conn_id(c->req));
    if (!status)
        status = client_record(c->srv->state, o->req.clientid, may_block);
    if (!status)
        status = c->cur.acc.level == GRANT_WAY ? on_way(o)
                 : !claim_name(o)            ? by_handle(o)
                 : !o->create                ? by_name(o)
                 : c->cur.acc.level < GRANT_WRITE ? by_no_creation(o)
                                             : by_creation(o);
    if (!status)
        status = check_rights(o);
    if (!status)
        status = reserve(o);
    if (!status)
        status = truncate_file(o);
    if (status)
        return status;
    o->rflags = OPEN4_RESULT_LOCKTYPE_POSIX;
    if (c->minor)
        o->rflags |= OPEN4_RESULT_PRESERVE_UNLINKED;
    if (o->req.notify)
        o->rflags |= OPEN4_RESULT_MAY_NOTIFY_LOCK;
    if (o->oc.fresh)
        o->rflags |= OPEN4_RESULT_CONFIRM;
    fill(o, ok);
    return NFS4_OK;
}

/* A repeated 4.0 OPEN: the result of the first time, and its object becomes current again. */
static nfsstat4 replay_open(struct opening *o, struct kept *kept)
{
    struct compound_fh fh = {0};
    struct compound *c = o->c;
    nfsstat4 status;

    if (o->oc.status)
        return o->oc.status;
    if (o->oc.reply_len != sizeof *kept)
        return NFS4ERR_SERVERFAULT;
    memcpy(kept, o->oc.reply, sizeof *kept);
    status = access_object(c, &kept->obj, &fh);
    o->obj = fh.obj;
    o->acc = fh.acc;
    if (!status && kept->mark && o->obj.vol)
        volume_call_after(&c->call, o->obj.vol, kept->mark);
    return status;
}

nfsstat4 op_open(struct compound *c, OPEN4args *args, OPEN4res *res)
{
    struct opening *o = compound_scratch(c, sizeof *o);
    struct kept *kept = compound_scratch(c, sizeof *kept);
    nfsstat4 status;

    if (!o || !kept)
        return c->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    o->c = c;
    o->args = args;
    o->req.minor = c->minor;
    o->req.clientid = c->minor ? compound_client(c) : args->owner.clientid;
    o->req.uid = c->cred.uid;
    o->req.owner = args->owner.owner.data;
    o->req.owner_len = args->owner.owner.len;
    if (c->minor == 0) {
        status = owner_begin(c->srv->state, args->owner.clientid, args->owner.owner.data,
                             args->owner.owner.len, OP_OPEN, args->seqid, c->call.may_block, &o->oc);
        if (status)
            return status;
        o->req.oc = &o->oc;
    }
    if (c->refused) {
        status = c->refused;
    } else if (o->oc.replay) {
        status = replay_open(o, kept);
    } else {
        status = run_open(o, &kept->ok);
        if (!status) {
            fh_parts_of(&o->obj, &kept->obj);
            kept->obj.grant = c->cur.acc.grant;
            o->acc = c->cur.acc; /* a file in the directory */
            kept->mark = o->obj.vol ? volume_call_mark(&c->call, o->obj.vol) : 0;
        }
    }
    if (c->minor == 0)
        owner_end(c->srv->state, &o->oc, status, kept, status ? 0 : sizeof *kept);
    if (!status) {
        res->OPEN4res_u.resok4 = kept->ok;
        compound_set_cur(c, &o->obj, &o->acc);
        compound_stateid_out(c, &kept->ok.stateid);
    }
    vobj_release(&o->obj);
    return status;
}
