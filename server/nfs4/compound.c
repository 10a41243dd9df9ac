/* SPDX-License-Identifier: Apache-2.0
 * compound: the core that runs operations one after the other.
 *
 * Invariants
 *  1. req->out holds the RPC header, the COMPOUND4res head and c->numres whole results; status and count in
 *     the head are written at the end (finish_reply).
 *  2. The limit of req->out is always ERROR_ROOM below what the reply may have, so that one error result
 *     fits after anything else.
 *  3. An operation with OPF_CHANGES only runs if its result is sure to fit.
 *  4. What SEQUENCE or the 4.0 reply cache began is ended exactly once: by settle(), when the reply is known
 *     and durable, or by compound_finish() without a reply.
 */
#include "server/nfs4/compound.h"

#include <errno.h>
#include <rpc/rpc.h>
#include <string.h>

#include "common/list.h"
#include "server/nfs4/account.h"
#include "server/nfs4/drc.h"
#include "server/nfs4/op_io.h"
#include "server/state/user.h"

#define ERROR_ROOM 16u /* operation, status, the empty bitmap of SETATTR, rounded up */
#define SCRATCH_LIMIT (2u << 20)

/* --- for handlers --- */

void *compound_scratch(struct compound *c, size_t size)
{
    return arena_alloc(&c->scratch, size);
}

size_t compound_room(const struct compound *c)
{
    size_t left = xdrout_left(c->req->out);

    return left > 8 ? left - 8 : 0; /* operation and status */
}

void compound_set_cur(struct compound *c, struct vobj *o, const struct access *acc)
{
    vobj_release(&c->cur.obj);
    c->cur = (struct compound_fh){.set = true, .obj = *o, .acc = *acc};
    *o = (struct vobj){0};
}

nfsstat4 compound_name(const xslice *name)
{
    if (!name->len)
        return NFS4ERR_INVAL;
    if (memchr(name->data, 0, name->len) || memchr(name->data, '/', name->len))
        return NFS4ERR_BADCHAR;
    if (name->data[0] == '.' && (name->len == 1 || (name->len == 2 && name->data[1] == '.')))
        return NFS4ERR_BADNAME;
    if (name->len > STORE_NAME_MAX)
        return NFS4ERR_NAMETOOLONG;
    return NFS4_OK;
}

uint64_t compound_client(const struct compound *c)
{
    return c->session ? session_client(c->session) : 0;
}

struct file_key compound_key(const struct vobj *o)
{
    return (struct file_key){.volume = o->vol ? volume_id(o->vol) : 0, .ino = o->ino};
}

static nfsstat4 stateid_in(const struct compound *c, const struct compound_fh *fh, stateid4 *sid)
{
    static const char zero[12];

    if (c->minor == 0 || sid->seqid != 1 || memcmp(sid->other, zero, sizeof(zero)) != 0)
        return NFS4_OK;
    if (!fh->set || !fh->has_stateid)
        return NFS4ERR_BAD_STATEID;
    *sid = fh->stateid;
    return NFS4_OK;
}

nfsstat4 compound_stateid_in(struct compound *c, stateid4 *sid)
{
    return stateid_in(c, &c->cur, sid);
}

nfsstat4 compound_stateid_in_saved(struct compound *c, stateid4 *sid)
{
    return stateid_in(c, &c->saved, sid);
}

void compound_stateid_out(struct compound *c, const stateid4 *sid)
{
    c->cur.has_stateid = true;
    c->cur.stateid = *sid;
}

change_info4 compound_cinfo(const struct dir_change *dc)
{
    return (change_info4){.atomic = TRUE, .before = dc->before, .after = dc->after};
}

/* --- the reply --- */

static void limit_reply(struct compound *c, size_t max)
{
    xdrout_set_limit(c->req->out, max > ERROR_ROOM ? max - ERROR_ROOM : 0);
}

static nfsstat4 too_big(const struct compound *c)
{
    if (c->minor == 0)
        return NFS4ERR_RESOURCE;
    return c->no_cache_room ? NFS4ERR_REP_TOO_BIG_TO_CACHE : NFS4ERR_REP_TOO_BIG;
}

static bool put_u32(struct xdrout *o, uint32_t v)
{
    return xdr_uint32_t(xdrout_xdr(o), &v);
}

/* A result that is only a status. The room for it is kept free (invariant 2). */
static void put_error(struct compound *c, uint32_t opnum, nfsstat4 status)
{
    struct xdrout *o = c->req->out;
    size_t limit = xdrout_len(o) + xdrout_left(o);
    bool ok;

    xdrout_set_limit(o, limit + ERROR_ROOM);
    ok = put_u32(o, opnum) && put_u32(o, status);
    if (opnum == OP_SETATTR)
        ok = ok && put_u32(o, 0);
    xdrout_set_limit(o, limit);
    c->status = status;
    if (ok) /* only memory could be lacking: then the status stands without a result */
        c->numres++;
}

static nfsstat4 put_result(struct compound *c, nfsstat4 status)
{
    struct xdrout *o = c->req->out;
    size_t pos = xdrout_len(o);

    memcpy(c->res, &status, sizeof(status));
    if (put_u32(o, c->opnum) && c->row->res(xdrout_xdr(o), c->res)) {
        c->status = status;
        c->numres++;
    } else {
        if (status == NFS4_OK)
            io_drop_result(c->opnum, c->res);
        xdrout_truncate(o, pos);
        put_error(c, c->opnum, too_big(c));
    }
    return c->status;
}

static void finish_reply(struct compound *c)
{
    xdrout_patch(c->req->out, c->head_pos, (uint32_t)c->status);
    xdrout_patch(c->req->out, c->numres_pos, c->numres);
}

/* --- the end --- */

/* The reply is what it is: lets the session or the reply cache keep it (invariant 4). */
static void settle(struct compound *c, const struct xdrout *out)
{
    if (out) {
        account_end(c);
        user_request_more(c->user, xdrout_len(out));
        c->user_bytes += c->user ? xdrout_len(out) : 0;
    }
    if (c->session) {
        session_done(c->session, c->slot, out, c->head_pos);
        c->session = NULL;
        c->slot = NULL;
    }
    if (c->drc) {
        drc_end(c->srv->drc, c->drc, out, c->head_pos);
        c->drc = NULL;
    }
}

static void drop_user(struct compound *c)
{
    if (c->user)
        user_request_end(state_users(c->srv->state), c->user, c->user_bytes);
    c->user = NULL;
    c->user_id = 0;
    c->user_bytes = 0;
}

/* The compound is one of the requests to the volumes of whoever it is at. Only the operations that begin with a handle
 * or go down from the root are refused: all of them may say NFS4ERR_DELAY, and no 4.0 owner's turn is at stake. */
static nfsstat4 count_user(struct compound *c)
{
    uint64_t id;

    if (c->opnum != OP_PUTFH && c->opnum != OP_LOOKUP)
        return NFS4_OK;
    id = vobj_user(&c->cur.obj);
    if (!id || id == c->user_id)
        return NFS4_OK;
    drop_user(c);
    if (!access_conn_user(c, id) || !user_request(state_users(c->srv->state), id, c->req->body_len, &c->user))
        return NFS4ERR_DELAY;
    c->user_id = id;
    c->user_bytes = c->req->body_len;
    return NFS4_OK;
}

static void compound_finish(struct request *req)
{
    struct compound *c = req->priv;

    settle(c, NULL);
    drop_user(c);
    vobj_release(&c->cur.obj);
    vobj_release(&c->saved.obj);
    access_end(c);
    store_call_release(&c->call);
    arena_release(&c->scratch);
}

/* The changes are lost: the first that was made gets an error, what came after it is cut off. */
static void cut_reply(struct compound *c, int err)
{
    if (!c->change.set)
        return;
    xdrout_truncate(c->req->out, c->change.pos);
    c->numres = c->change.index;
    put_error(c, c->change.opnum, err == -ESTALE ? NFS4ERR_STALE : NFS4ERR_IO);
    finish_reply(c);
}

/* On a commit thread or a loop's: memory only. */
static void durable(struct volume_waiter *w, int err)
{
    struct compound *c = container_of(w, struct compound, waiter);
    struct request *req = c->req;

    if (err)
        cut_reply(c, err);
    settle(c, req->out);
    request_complete(req);
}

/* On this thread, a loop's that has nothing else to do. Others may have to do it all the same: then the call is still pending. */
static void commit_here(struct compound *c)
{
    request_stay_awake(c->req, true);
    volume_call_commit(&c->call);
    request_stay_awake(c->req, false);
}

/* On a loop's thread that has looked at all there is. If nobody there waits for anything but this it commits all of it by
 * itself; that saves the way to the commit thread and back. */
static bool commit_late(struct request *req)
{
    struct compound *c = req->priv;
    bool done = false;

    if (request_all_late(req) && volume_call_pending(&c->call)) {
        commit_here(c);
        done = !volume_call_pending(&c->call);
    }
    volume_call_wait_async(&c->call, &c->waiter);
    return done;
}

static enum req_result end_compound(struct compound *c)
{
    int err;

    finish_reply(c);
    if (volume_call_pending(&c->call) && request_alone(c->req))
        commit_here(c);
    if (volume_call_pending(&c->call)) {
        c->waiter.done = durable;
        if (!c->req->may_block) {
            request_late(c->req, commit_late);
            return REQ_PARKED;
        }
        volume_call_wait_async(&c->call, &c->waiter);
        return REQ_PARKED;
    }
    /* Not pending also means: was pending and failed. */
    err = volume_call_wait(&c->call);
    if (err)
        cut_reply(c, err);
    settle(c, c->req->out);
    return REQ_DONE;
}

/* The whole result is this kept one. */
static enum req_result replay(struct compound *c, const void *bytes, size_t len)
{
    struct xdrout *o = c->req->out;
    bool ok;

    xdrout_truncate(o, c->head_pos);
    xdrout_set_limit(o, REQUEST_REPLY_MAX);
    ok = xdrout_put_raw(o, bytes, len);
    settle(c, ok ? o : NULL);
    return ok ? REQ_DONE : REQ_DROP;
}

/* --- one operation --- */

/* Where an operation may stand in a compound (RFC 8881 section 2.10.6 and the operations' own). */
static nfsstat4 check_place(const struct compound *c)
{
    if (c->minor == 0)
        return NFS4_OK;
    if (c->opnum == OP_SEQUENCE)
        return c->op_index ? NFS4ERR_SEQUENCE_POS : NFS4_OK;
    if (c->session)
        return NFS4_OK;
    if (!(c->row->flags & OPF_NO_SESSION))
        return NFS4ERR_OP_NOT_IN_SESSION;
    return c->op_count > 1 ? NFS4ERR_NOT_ONLY_OP : NFS4_OK;
}

static nfsstat4 check_handles(const struct compound *c)
{
    unsigned flags = c->row->flags;

    if ((flags & OPF_NEED_FH) && !c->cur.set)
        return NFS4ERR_NOFILEHANDLE;
    if ((flags & OPF_NEED_SAVED) && !c->saved.set)
        return c->opnum == OP_RESTOREFH && c->minor == 0 ? NFS4ERR_RESTOREFH : NFS4ERR_NOFILEHANDLE;
    if ((flags & OPF_NEED_FILE) && c->cur.obj.kind != VOBJ_FILE)
        return NFS4ERR_ISDIR; /* the pseudo tree is all directories */
    return NFS4_OK;
}

/* Everything before an operation runs; anything but NFS4_OK becomes its result. */
static nfsstat4 prepare_op(struct compound *c)
{
    XDR *in = &c->req->in;
    nfsstat4 st;

    c->row = NULL;
    if (!xdr_uint32_t(in, &c->opnum)) {
        c->opnum = OP_ILLEGAL;
        return NFS4ERR_BADXDR;
    }
    c->row = optable_find(c->opnum);
    if (!c->row || c->minor < c->row->minor_min) {
        c->opnum = OP_ILLEGAL;
        return NFS4ERR_OP_ILLEGAL;
    }
    st = check_place(c);
    if (st != NFS4_OK)
        return st;
    if (c->row->notsupp || c->minor > c->row->minor_max)
        return NFS4ERR_NOTSUPP;
    if (c->row->args) {
        memset(c->args, 0, c->row->args_size);
        if (!c->row->args(in, c->args))
            return NFS4ERR_BADXDR;
    }
    st = check_handles(c);
    if (st == NFS4_OK)
        st = access_check(c);
    c->refused = st;
    if (st != NFS4_OK && !(c->minor == 0 && (c->row->flags & OPF_OWNER) && c->cur.set))
        return st;
    access_cred(c);
    if ((c->row->flags & OPF_CHANGES) && xdrout_left(c->req->out) < 8 + c->row->reply_bound)
        return too_big(c);
    if (!(c->row->flags & OPF_KEEP_VERIFY))
        c->verified_size = false;
    return NFS4_OK;
}

/* After a good SEQUENCE: a replay ends everything, else the session's limits hold from here on. */
static bool session_begin(struct compound *c, enum req_result *res)
{
    struct session_limits l;
    size_t len = 0, max;
    const void *kept = session_replay(c->slot, &len);

    if (kept) {
        *res = replay(c, kept, len);
        return false;
    }
    session_limits(c->session, c->slot, &l);
    max = l.max_reply < REQUEST_REPLY_MAX ? l.max_reply : REQUEST_REPLY_MAX;
    if (l.cache && l.max_cached < max) {
        max = l.max_cached;
        c->no_cache_room = true;
    }
    limit_reply(c, max);
    return true;
}

/* 4.0: has this request been executed before, over a connection that broke? */
static bool drc_check(struct compound *c, nfsstat4 *st, enum req_result *res)
{
    struct drc_reply kept;

    if (c->minor != 0 || c->drc || !c->srv->drc || !(c->row->flags & OPF_CHANGES))
        return true;
    switch (drc_begin(c->srv->drc, c->req, &c->drc, &kept)) {
    case DRC_NEW:
        return true;
    case DRC_BUSY:
        *st = NFS4ERR_DELAY;
        return true;
    case DRC_REPLAY:
        *res = replay(c, kept.bytes, kept.len);
        drc_reply_release(&kept);
        return false;
    }
    return true;
}

static enum req_result run(struct compound *c)
{
    enum req_result result;

    for (; c->op_index < c->op_count; c->op_index++) {
        nfsstat4 st = NFS4_OK;

        if (!c->resumed) {
            st = prepare_op(c);
            if (st == NFS4_OK && !drc_check(c, &st, &result))
                return result;
        }
        c->resumed = false;
        if (st != NFS4_OK) {
            put_error(c, c->opnum, st);
            account_op(c, st);
            break;
        }

        size_t pos = xdrout_len(c->req->out);
        unsigned deps = c->call.ndeps;
        memset(c->res, 0, c->row->res_size);
        st = c->row->run(c, c->args, c->res);
        if (st == NFS4_BLOCK && !c->call.may_block) {
            c->resumed = true;
            return REQ_BLOCK;
        }
        if (st == NFS4_BLOCK)
            st = NFS4ERR_DELAY;
        if (st == NFS4_OK && c->srv->state)
            st = count_user(c);
        if (!c->change.set && ((c->row->flags & OPF_CHANGES) || c->call.ndeps > deps)) {
            c->change.set = true;
            c->change.pos = pos;
            c->change.index = c->op_index;
            c->change.opnum = c->opnum;
        }
        if (c->opnum == OP_SEQUENCE && st == NFS4_OK && !session_begin(c, &result))
            return result;
        account_bytes(c, st);
        st = put_result(c, st);
        account_op(c, st);
        if (c->scratch.used) {
            arena_release(&c->scratch);
            arena_init(&c->scratch, SCRATCH_LIMIT);
        }
        if (st != NFS4_OK)
            break;
    }
    return end_compound(c);
}

/* --- the beginning --- */

/* RFC 3629, as far as a tag needs it: overlong forms and surrogates are not UTF-8 either. */
static bool utf8_ok(const char *s, size_t len)
{
    const uint8_t *p = (const uint8_t *)s, *end = p + len;

    while (p < end) {
        uint32_t cp, min;
        int more;

        if (*p < 0x80) {
            p++;
            continue;
        }
        if ((*p & 0xe0) == 0xc0) {
            cp = *p & 0x1f, more = 1, min = 0x80;
        } else if ((*p & 0xf0) == 0xe0) {
            cp = *p & 0x0f, more = 2, min = 0x800;
        } else if ((*p & 0xf8) == 0xf0) {
            cp = *p & 0x07, more = 3, min = 0x10000;
        } else {
            return false;
        }
        p++;
        for (; more; more--, p++) {
            if (p == end || (*p & 0xc0) != 0x80)
                return false;
            cp = cp << 6 | (*p & 0x3f);
        }
        if (cp < min || cp > 0x10ffff || (cp >= 0xd800 && cp <= 0xdfff))
            return false;
    }
    return true;
}

enum req_result compound_dispatch(struct request *req, struct nfs4_server *srv)
{
    struct compound *c = req->priv;
    COMPOUND4args_head head = {0};
    COMPOUND4res_head res = {0};

    if (c) {
        c->call.may_block = req->may_block;
        return run(c);
    }
    if (!xdr_COMPOUND4args_head(&req->in, &head)) {
        request_reject(req, GARBAGE_ARGS);
        return REQ_DONE;
    }
    c = arena_alloc(&req->arena, sizeof(*c));
    if (!c)
        return REQ_DROP;
    c->srv = srv;
    c->req = req;
    c->minor = head.minorversion;
    c->op_count = head.numops;
    store_call_init(&c->call, req->may_block);
    arena_init(&c->scratch, SCRATCH_LIMIT);
    account_begin(c);

    c->head_pos = xdrout_len(req->out);
    res.tag = head.tag;
    limit_reply(c, REQUEST_REPLY_MAX);
    if (!xdr_COMPOUND4res_head(xdrout_xdr(req->out), &res))
        return REQ_DROP;
    c->numres_pos = xdrout_len(req->out) - 4;
    req->priv = c;
    req->finish = compound_finish;
    if (access_begin(c))
        return REQ_DROP;
    access_cred(c);

    if (c->minor > 2)
        c->status = NFS4ERR_MINOR_VERS_MISMATCH;
    else if (!utf8_ok(head.tag.data, head.tag.len))
        c->status = NFS4ERR_INVAL;
    else if (c->minor == 0 && c->op_count > NFS4_MAX_OPS)
        c->status = NFS4ERR_RESOURCE;
    if (c->status != NFS4_OK) {
        finish_reply(c);
        return REQ_DONE;
    }
    return run(c);
}
