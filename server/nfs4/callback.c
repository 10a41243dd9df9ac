/* SPDX-License-Identifier: Apache-2.0
 * callback: encodes CB_COMPOUND calls, sends them, decodes the answers.
 *
 * What comes back is a client's: every length is checked, and anything odd is -EBADMSG, as if nothing had come.
 * The hub outlives the state layer: an answer that comes after nfs4_callbacks_stop() finds no state.
 */
#include "server/nfs4/callback.h"

#include <errno.h>
#include <pthread.h>
#include <rpc/rpc.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "proto/nfs4_gen.h"
#include "server/rpc/rpcserver.h"
#include "server/state/callback.h"

#define CALL_MAX 4096u

struct cb_hub {
    pthread_mutex_t lock;
    struct state *state; /* NULL: stopped */
    struct rpcserver *rpc;
    unsigned refs;
    uint32_t next_xid; /* atomic */
    struct oncrpc_program none; /* what the server answers on connections of its own */
};

/* One callback under way. */
struct sending {
    struct cb_hub *hub;
    struct callback *cb;
};

static void hub_unref(struct cb_hub *h)
{
    if (__atomic_sub_fetch(&h->refs, 1, __ATOMIC_ACQ_REL))
        return;
    pthread_mutex_destroy(&h->lock);
    free(h);
}

/* --- encoding --- */

static bool put(struct xdrout *o, uint32_t v)
{
    return xdr_uint32_t(xdrout_xdr(o), &v);
}

static bool put_cred(struct xdrout *o, const struct callback *cb)
{
    bool ok;

    if (cb->uid == UINT32_MAX)
        return put(o, AUTH_NONE) && put(o, 0) && put(o, AUTH_NONE) && put(o, 0);
    ok = put(o, AUTH_SYS) && put(o, 28) && put(o, 0); /* stamp */
    ok = ok && put(o, 6) && xdrout_put_raw(o, "volnfs\0", 8);
    ok = ok && put(o, cb->uid) && put(o, cb->gid) && put(o, 0);
    return ok && put(o, AUTH_NONE) && put(o, 0);
}

static bool put_header(struct xdrout *o, const struct callback *cb, uint32_t xid)
{
    return put(o, xid) && put(o, CALL) && put(o, RPC_MSG_VERSION) && put(o, cb->program) &&
           put(o, NFS4_CB_VERSION) &&
           put(o, cb->kind == CALLBACK_NULL ? CB_NULL_PROC : CB_COMPOUND_PROC) && put_cred(o, cb);
}

static bool put_sequence(struct xdrout *o, const struct callback *cb)
{
    CB_SEQUENCE4args a = {
        .csa_sequenceid = cb->sequence,
        .csa_slotid = cb->slot,
        .csa_highest_slotid = cb->highest,
        .csa_cachethis = FALSE,
    };

    memcpy(a.csa_sessionid, cb->session, SESSION_ID_SIZE);
    return put(o, OP_CB_SEQUENCE) && xdr_CB_SEQUENCE4args(xdrout_xdr(o), &a);
}

static bool put_operation(struct xdrout *o, struct callback *cb)
{
    xhandle fh = {cb->fh_len, cb->fh};
    CB_RECALL4args recall = {.stateid = cb->stateid, .truncate = FALSE, .fh = fh};
    CB_GETATTR4args getattr = {.fh = fh};
    CB_NOTIFY_LOCK4args notify = {.cnla_fh = fh};
    CB_OFFLOAD4args offload = {.coa_fh = fh, .coa_stateid = cb->stateid};
    write_response4 *wr = &offload.coa_offload_info.offload_info4_u.coa_resok4;

    switch (cb->kind) {
    case CALLBACK_RECALL:
        return put(o, OP_CB_RECALL) && xdr_CB_RECALL4args(xdrout_xdr(o), &recall);
    case CALLBACK_GETATTR:
        xbitmap_set(&getattr.attr_request, FATTR4_CHANGE);
        xbitmap_set(&getattr.attr_request, FATTR4_SIZE);
        return put(o, OP_CB_GETATTR) && xdr_CB_GETATTR4args(xdrout_xdr(o), &getattr);
    case CALLBACK_NOTIFY_LOCK:
        notify.cnla_lock_owner.clientid = cb->clientid;
        notify.cnla_lock_owner.owner = (xopaque){(uint32_t)cb->owner_len, cb->owner};
        return put(o, OP_CB_NOTIFY_LOCK) && xdr_CB_NOTIFY_LOCK4args(xdrout_xdr(o), &notify);
    case CALLBACK_OFFLOAD:
        offload.coa_offload_info.coa_status = cb->status;
        if (cb->status == NFS4_OK) {
            wr->wr_count = cb->count;
            wr->wr_committed = UNSTABLE4;
            memcpy(wr->wr_writeverf, cb->verf, sizeof cb->verf);
        } else {
            offload.coa_offload_info.offload_info4_u.coa_bytes_copied = cb->count;
        }
        return put(o, OP_CB_OFFLOAD) && xdr_CB_OFFLOAD4args(xdrout_xdr(o), &offload);
    default:
        return false;
    }
}

static struct xdrout *encode(struct callback *cb, uint32_t xid)
{
    CB_COMPOUND4args_head head = {
        .minorversion = cb->minor, .callback_ident = cb->ident, .numops = cb->minor ? 2 : 1};
    struct xdrout *o = xdrout_new(CALL_MAX);
    bool ok;

    if (!o)
        return NULL;
    ok = put_header(o, cb, xid);
    if (ok && cb->kind != CALLBACK_NULL) {
        ok = xdr_CB_COMPOUND4args_head(xdrout_xdr(o), &head);
        ok = ok && (!cb->minor || put_sequence(o, cb)) && put_operation(o, cb);
    }
    if (!ok) {
        xdrout_free(o);
        return NULL;
    }
    return o;
}

/* --- decoding --- */

static bool get(XDR *x, uint32_t *v)
{
    return xdr_uint32_t(x, v);
}

/* The header of an accepted, successful reply; 0 or -errno. */
static int get_header(XDR *x)
{
    uint32_t xid, type, stat, flavor, len;

    if (!get(x, &xid) || !get(x, &type) || type != REPLY || !get(x, &stat))
        return -EBADMSG;
    if (stat != MSG_ACCEPTED)
        return -EACCES;
    if (!get(x, &flavor) || !get(x, &len) || len > MAX_AUTH_BYTES)
        return -EBADMSG;
    for (uint32_t i = 0; i < len; i += 4)
        if (!get(x, &flavor))
            return -EBADMSG;
    if (!get(x, &stat))
        return -EBADMSG;
    return stat == SUCCESS ? 0 : -EPROTONOSUPPORT;
}

/* CHANGE and SIZE come first; what else a client adds unasked is ignored. */
static bool get_attrs(XDR *x, struct callback_result *r)
{
    fattr4 a = {0};
    uint64_t v[2] = {0};
    XDR in;

    if (!xdr_fattr4(x, &a) || a.attr_vals.len < 16 || !xbitmap_has(&a.attrmask, FATTR4_CHANGE) ||
        !xbitmap_has(&a.attrmask, FATTR4_SIZE) || (a.attrmask.w[0] & ((1u << FATTR4_CHANGE) - 1)))
        return false;
    xdrin_init(&in, a.attr_vals.data, a.attr_vals.len);
    if (!xdr_uint64_t(&in, &v[0]) || !xdr_uint64_t(&in, &v[1]))
        return false;
    r->has_attrs = true;
    r->change = v[0];
    r->size = v[1];
    return true;
}

static int get_results(XDR *x, const struct callback *cb, struct callback_result *r)
{
    CB_COMPOUND4res_head head = {0};
    CB_SEQUENCE4res seq = {0};
    uint32_t op, status;

    if (!xdr_CB_COMPOUND4res_head(x, &head))
        return -EBADMSG;
    if (cb->minor) {
        if (!head.numres) {
            r->seq_status = head.status ? head.status : NFS4ERR_SERVERFAULT;
            return 0;
        }
        if (!get(x, &op) || op != OP_CB_SEQUENCE || !xdr_CB_SEQUENCE4res(x, &seq))
            return -EBADMSG;
        r->seq_status = seq.csr_status;
        if (seq.csr_status)
            return 0;
    }
    r->status = head.status;
    if (head.numres < (cb->minor ? 2u : 1u)) {
        r->status = head.status ? head.status : NFS4ERR_SERVERFAULT;
        return 0;
    }
    if (!get(x, &op) || !get(x, &status))
        return -EBADMSG;
    r->status = status;
    if (cb->kind == CALLBACK_GETATTR && !status && !get_attrs(x, r))
        return -EBADMSG;
    return 0;
}

/* --- calls --- */

static void finish(struct sending *sd, const struct callback_result *r)
{
    struct cb_hub *h = sd->hub;

    pthread_mutex_lock(&h->lock);
    /* The state layer goes only after h->state is NULL, for which the lock is needed: it is there. */
    if (h->state)
        callback_done(h->state, sd->cb, r);
    pthread_mutex_unlock(&h->lock);
    hub_unref(h);
    free(sd);
}

static void answered(void *arg, int err, const void *reply, size_t len)
{
    struct callback_result r = {.err = err};
    struct sending *sd = arg;
    XDR x;

    if (!err) {
        xdrin_init(&x, reply, len);
        r.err = get_header(&x);
        if (!r.err && sd->cb->kind != CALLBACK_NULL)
            r.err = get_results(&x, sd->cb, &r);
    }
    finish(sd, &r);
}

static void put_conn(void *conn)
{
    conn_ref_put(conn);
}

/* As soon as conn_call() took a call, the answer may be there and cb and its sending gone. */
static void send_callback(void *ctx, struct callback *cb)
{
    struct conn_ref *conn = cb->conn;
    bool own = cb->minor == 0; /* a connection of the server's own */
    struct callback_result r = {.err = -ENOMEM};
    struct sending *sd = malloc(sizeof *sd);
    struct cb_hub *h = ctx;
    struct conn_ref *made = NULL;
    struct xdrout *o;
    uint32_t xid;
    int err = -EPIPE;

    if (!sd) {
        callback_done(h->state, cb, &r);
        return;
    }
    __atomic_add_fetch(&h->refs, 1, __ATOMIC_RELAXED);
    *sd = (struct sending){h, cb};
    xid = __atomic_add_fetch(&h->next_xid, 1, __ATOMIC_RELAXED);
    o = encode(cb, xid);
    if (!o) {
        finish(sd, &r);
        return;
    }
    cb->put_conn = put_conn;
    if (conn) {
        err = conn_call(conn, o, xid, cb->timeout_ms, answered, sd);
        if (!err)
            return;
    }
    if (own && (!conn || err == -EPIPE)) { /* none yet, or it was closed */
        if (conn)
            o = encode(cb, xid);
        err = !o ? -ENOMEM : rpcserver_connect(h->rpc, &cb->addr, &h->none, &made);
        cb->new_conn = made;
        if (err)
            xdrout_free(o);
        else
            err = conn_call(made, o, xid, cb->timeout_ms, answered, sd);
    }
    if (err) {
        r.err = err;
        finish(sd, &r);
    }
}

static const struct callback_ops ops = {.send = send_callback};

static enum req_result no_program(struct request *req, void *arg)
{
    request_reject(req, PROG_UNAVAIL);
    return REQ_DONE;
}

int nfs4_callbacks_start(struct nfs4_server *srv, struct rpcserver *rpc)
{
    struct cb_hub *h = calloc(1, sizeof *h);

    if (!h)
        return -ENOMEM;
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    /* callback_done() may send the next callback, which may fail at once. */
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&h->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    h->state = srv->state;
    h->rpc = rpc;
    h->refs = 1;
    h->next_xid = (uint32_t)clock_random64();
    h->none = (struct oncrpc_program){.vers_min = 1, .vers_max = 1, .dispatch = no_program};
    srv->callbacks = h;
    state_set_callbacks(srv->state, &ops, h);
    return 0;
}

void nfs4_callbacks_stop(struct nfs4_server *srv)
{
    struct cb_hub *h = srv->callbacks;

    if (!h)
        return;
    state_set_callbacks(srv->state, NULL, NULL);
    pthread_mutex_lock(&h->lock);
    h->state = NULL;
    pthread_mutex_unlock(&h->lock);
    srv->callbacks = NULL;
    hub_unref(h);
}
