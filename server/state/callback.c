/* SPDX-License-Identifier: Apache-2.0
 * callback: the way to a client, and what is on it.
 *
 * 1. 4.1+: a callback needs a connection that is bound to the back channel of one of the client's sessions,
 *    and a slot of that session. A slot's sequence moves on when an answer came; without one, the next
 *    callback uses the same sequence on another connection.
 * 2. A connection that fails or stays silent is no longer used for callbacks: SEQUENCE then says so to the
 *    client, which binds one anew.
 * 3. 4.0: the server connects to the address of SETCLIENTID. CB_NULL has to succeed before the first
 *    delegation is granted. Later failures show in RENEW.
 * 4. What is to be told waits in the client (to_recall) and in state.notify, not here: a callback that fails is
 *    thrown away and made again.
 */
#include "server/state/callback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/state/internal.h"

/* A callback with what it holds. */
struct call {
    struct callback cb;
    struct trash trash;
    struct conn_entry *conn; /* 4.1+ */
    char owner[];
};

void state_set_callbacks(struct state *s, const struct callback_ops *ops, void *ctx)
{
    st_lock(s);
    s->cb_ops = ops;
    s->cb_ctx = ctx;
    st_unlock(s);
}

/* --- ways --- */

static struct conn_entry *session_way(const struct session *se)
{
    if (se->back_fault || !se->back.max_slots)
        return NULL;
    list_for_each (it, &se->conns) {
        struct conn_entry *ce = list_entry(it, struct conn_entry, node);

        if (ce->c.back && ce->c.ref)
            return ce;
    }
    return NULL;
}

bool cb_path_locked(const struct client *cl)
{
    if (!cl->minor)
        return cl->cb.path == CB40_UP;
    list_for_each (it, &cl->sessions)
        if (session_way(session_of_node(it)))
            return true;
    return false;
}

/* A session with a way and a free slot. */
static struct session *free_slot(const struct client *cl, struct conn_entry **ce, unsigned *slot)
{
    list_for_each (it, &cl->sessions) {
        struct session *se = session_of_node(it);

        *ce = session_way(se);
        for (*slot = 0; *ce && *slot < se->back.max_slots && *slot < CB_SLOTS_MAX; ++*slot)
            if (!se->cb_slots[*slot].busy)
                return se;
    }
    return NULL;
}

/* --- sending --- */

static void call_send(struct state *s, struct trash *t)
{
    struct call *call = container_of(t, struct call, trash);
    struct callback_result none = {.err = -ENOTCONN};
    const struct callback_ops *ops;
    void *ctx;

    st_lock(s);
    ops = s->cb_ops;
    ctx = s->cb_ctx;
    st_unlock(s);
    if (ops)
        ops->send(ctx, &call->cb);
    else
        callback_done(s, &call->cb, &none);
}

/* A call to the client, over a way that is free now; NULL: there is none. */
static struct call *call_new_locked(struct state *s, struct client *cl, enum callback_kind kind,
                                    size_t owner_len)
{
    unsigned slot, wait = s->conf.lease_seconds / 2;
    struct conn_entry *ce = NULL;
    struct session *se = NULL;
    struct call *call;

    if (!s->cb_ops)
        return NULL;
    if (cl->minor ? !(se = free_slot(cl, &ce, &slot)) : cl->cb.to.ss_family == AF_UNSPEC)
        return NULL;
    call = calloc(1, sizeof *call + owner_len + 1);
    if (!call)
        return NULL;
    call->trash.run = call_send;
    call->cb.kind = kind;
    call->cb.clientid = cl->id;
    call->cb.timeout_ms = 1000 * (wait < 1 ? 1 : wait > 10 ? 10 : wait);
    if (se) {
        se->cb_slots[slot].busy = true;
        ce->refs++;
        call->conn = ce;
        call->cb.conn = ce->c.ref;
        call->cb.minor = se->minor;
        call->cb.program = se->cb_program;
        call->cb.uid = se->cb_uid;
        call->cb.gid = se->cb_gid;
        memcpy(call->cb.session, se->id, SESSION_ID_SIZE);
        call->cb.slot = slot;
        call->cb.sequence = se->cb_slots[slot].sequence + 1;
        call->cb.highest = (se->back.max_slots < CB_SLOTS_MAX ? se->back.max_slots : CB_SLOTS_MAX) - 1;
    } else {
        call->cb.conn = cl->cb.conn;
        call->cb.put_conn = cl->cb.put_conn;
        cl->cb.conn = NULL; /* one at a time over it; others make their own */
        call->cb.program = cl->cb.program;
        call->cb.addr = cl->cb.to;
        call->cb.ident = cl->cb.ident;
    }
    st_trash(s, &call->trash);
    return call;
}

static bool send_recall(struct state *s, struct deleg *d)
{
    struct call *call = call_new_locked(s, d->st.client, CALLBACK_RECALL, 0);

    if (!call)
        return false;
    stid_fill(s, &d->st, &call->cb.stateid);
    call->cb.fh_len = d->fh_len;
    memcpy(call->cb.fh, d->fh, d->fh_len);
    d->sent_at = clock_mono_ms();
    d->sending = true;
    return true;
}

bool cb_getattr_locked(struct state *s, struct deleg *d)
{
    struct call *call = call_new_locked(s, d->st.client, CALLBACK_GETATTR, 0);

    if (!call)
        return false;
    stid_fill(s, &d->st, &call->cb.stateid);
    call->cb.fh_len = d->fh_len;
    memcpy(call->cb.fh, d->fh, d->fh_len);
    return true;
}

static bool send_notify(struct state *s, struct lock_wait *w)
{
    struct call *call = call_new_locked(s, w->client, CALLBACK_NOTIFY_LOCK, w->owner_len);

    if (!call)
        return false;
    memcpy(call->owner, w->owner, w->owner_len);
    call->cb.owner = call->owner;
    call->cb.owner_len = w->owner_len;
    call->cb.fh_len = w->fh_len;
    memcpy(call->cb.fh, w->fh, w->fh_len);
    return true;
}

int callback_offload(struct state *s, const struct callback_offload *c)
{
    struct client *cl;
    struct call *call;

    st_lock(s);
    cl = client_find_locked(s, c->client, true);
    call = cl && cl->minor ? call_new_locked(s, cl, CALLBACK_OFFLOAD, 0) : NULL;
    if (call) {
        call->cb.stateid = c->id;
        call->cb.fh_len = c->fh_len < sizeof call->cb.fh ? c->fh_len : sizeof call->cb.fh;
        memcpy(call->cb.fh, c->fh, call->cb.fh_len);
        call->cb.status = c->status;
        call->cb.count = c->count;
        memcpy(call->cb.verf, c->verf, sizeof call->cb.verf);
        call->cb.told = c->told;
        call->cb.arg = c->arg;
        call->cb.key = c->key;
    }
    st_unlock(s); /* sends it */
    return !cl ? -ENOENT : call ? 0 : -EAGAIN;
}

bool callback_way(struct state *s, uint64_t client)
{
    const struct client *cl;
    bool way;

    st_lock(s);
    cl = client_find_locked(s, client, true);
    way = cl && s->cb_ops && cb_path_locked(cl);
    st_unlock(s);
    return way;
}

/* Calls of a 4.0 client that are under way at once; each has a connection. */
#define CALLS40_MAX 4

void cb_pump_locked(struct state *s, struct client *cl)
{
    if (!list_empty(&cl->to_recall)) {
        list_for_each_safe (it, &cl->to_recall) {
            struct deleg *d = list_entry(it, struct deleg, in_to_recall);

            if (!cl->minor && cl->cb.calls >= CALLS40_MAX)
                break;
            if (!send_recall(s, d))
                break;
            if (!cl->minor)
                cl->cb.calls++;
            list_del(&d->in_to_recall);
        }
    }
    list_for_each_safe (it, &s->notify) {
        struct lock_wait *w = list_entry(it, struct lock_wait, in_notify);

        if (w->client != cl)
            continue;
        if (!send_notify(s, w))
            break;
        list_del(&w->in_notify);
    }
}

/* --- 4.0 connections --- */

struct conn40 {
    struct trash trash;
    void *conn;
    void (*put)(void *conn);
};

static void conn40_run(struct state *s, struct trash *t)
{
    struct conn40 *c = container_of(t, struct conn40, trash);

    c->put(c->conn);
    free(c);
}

static void conn40_put_locked(struct state *s, void *conn, void (*put)(void *conn))
{
    struct conn40 *c = conn ? malloc(sizeof *c) : NULL;

    if (!c) /* without memory the reference is lost: a few bytes, once */
        return;
    *c = (struct conn40){{.run = conn40_run}, conn, put};
    st_trash(s, &c->trash);
}

void cb_drop40_locked(struct state *s, struct client *cl)
{
    conn40_put_locked(s, cl->cb.conn, cl->cb.put_conn);
    cl->cb.conn = NULL;
}

void cb_probe40_locked(struct state *s, struct client *cl)
{
    cl->cb.path = CB40_UNKNOWN;
    if (!s->conf.delegations || cl->cb.calls >= CALLS40_MAX)
        return;
    if (call_new_locked(s, cl, CALLBACK_NULL, 0))
        cl->cb.calls++;
}

static void done40_locked(struct state *s, struct client *cl, struct callback *cb, int err)
{
    void *conn = cb->new_conn ? cb->new_conn : cb->conn;

    if (cb->new_conn && cb->conn)
        conn40_put_locked(s, cb->conn, cb->put_conn);
    if (!cl || err || cl->cb.conn || memcmp(&cl->cb.to, &cb->addr, sizeof cb->addr)) {
        conn40_put_locked(s, conn, cb->put_conn);
    } else {
        cl->cb.conn = conn;
        cl->cb.put_conn = cb->put_conn;
    }
    if (!cl)
        return;
    if (cl->cb.calls)
        cl->cb.calls--;
    if (!memcmp(&cl->cb.to, &cb->addr, sizeof cb->addr)) /* else: of an address before this one */
        cl->cb.path = err ? CB40_DOWN : CB40_UP;
}

/* --- 4.1 slots --- */

static void done41_locked(struct state *s, struct call *call, const struct callback_result *r)
{
    struct session *se = session_find_locked(s, call->cb.session);
    struct cb_slot *slot = se ? &se->cb_slots[call->cb.slot] : NULL;

    if (r->err && call->conn->c.back) {
        log_debug(LOG_STATE, "callbacks to client %llx fail: %s", (unsigned long long)call->cb.clientid,
                  strerror(-r->err));
        call->conn->c.back = false;
    }
    conn_unref_locked(s, call->conn);
    if (!slot)
        return;
    slot->busy = false;
    if (r->err)
        return;
    switch (r->seq_status) {
    case NFS4_OK:
    case NFS4ERR_RETRY_UNCACHED_REP: /* it had reached the client before its connection broke */
    case NFS4ERR_SEQ_FALSE_RETRY:
        slot->sequence = call->cb.sequence;
        break;
    case NFS4ERR_DELAY:
        break;
    case NFS4ERR_SEQ_MISORDERED:
        if (call->cb.sequence != 1) {
            slot->sequence = 0;
            break;
        }
        /* fall through */
    default:
        se->back_fault = true;
    }
}

void callback_done(struct state *s, struct callback *cb, const struct callback_result *r)
{
    struct call *call = container_of(cb, struct call, cb);
    struct client *cl;

    st_lock(s);
    cl = client_find_locked(s, cb->clientid, true);
    if (call->conn)
        done41_locked(s, call, r);
    else
        done40_locked(s, cl, cb, r->err);
    if (cl) {
        if (cb->kind == CALLBACK_RECALL || cb->kind == CALLBACK_GETATTR)
            deleg_answered_locked(s, cl, cb, r);
        if (!r->err)
            cb_pump_locked(s, cl);
    }
    st_unlock(s);
    if (cb->told)
        cb->told(cb->arg, cb->key, !r->err && !r->seq_status && r->status != NFS4ERR_DELAY);
    free(call);
}
