/* SPDX-License-Identifier: Apache-2.0
 * request: from a record to a reply. A call is allocated and freed on its connection's loop thread, from the
 * loop's own free list, with an arena that keeps its block, so that a steady stream allocates nothing.
 *
 *   record -> RUNNING on the loop -> REQ_DONE ----------------------------> queued -> sent -> freed
 *                                 -> REQ_BLOCK -> worker -> (inbox) ------>
 *                                 -> REQ_PARKED -> request_complete ------>
 * With the connection closed "queued" and "sent" fall away.
 */
#include "server/rpc/request.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/pool.h"
#include "server/rpc/awake.h"
#include "server/rpc/conn.h"
#include "server/rpc/rpcmsg.h"
#include "server/rpc/rpcserver_priv.h"

#define ARENA_MAX     (256u * 1024u)
#define ALONE_MIN     8u /* requests in a row */
#define POOLED_MAX    (POOL_KEEPS ? 512u : 0u) /* free requests a loop keeps, 5 KiB each */

struct call {
    struct request req;
    struct rbuf *rb;
    size_t rx_held;
    struct outmsg out;
    struct job job;
    bool (*late)(struct request *req);
};

static struct call *call_of(struct request *req)
{
    return container_of(req, struct call, req);
}

static struct call *call_new(struct conn *c)
{
    struct loop *l = c->loop;
    struct call *call = list_first(&l->free_requests, struct call, job.node);

    if (call) {
        list_del(&call->job.node);
        l->nfree_requests--;
    } else {
        call = malloc(sizeof(*call));
        if (!call)
            return NULL;
        arena_init(&call->req.arena, ARENA_MAX);
        list_init(&call->job.node);
    }
    call->req.out = xdrout_new(REQUEST_REPLY_MAX);
    if (!call->req.out) {
        arena_release(&call->req.arena);
        free(call);
        return NULL;
    }
    call->req.conn = c;
    call->req.out_start = 0;
    call->req.may_block = false;
    call->req.priv = NULL;
    call->req.finish = NULL;
    call->out.counted = false;
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    c->inflight++;
    __atomic_add_fetch(&c->entry->inflight, 1, __ATOMIC_RELAXED);
    c->requests++;
    l->alone = l->requests == 0 && l->asked == c->id && c->rd == c->wr ? l->alone + 1 : 0;
    l->many |= l->asked != c->id;
    l->asked = c->id;
    __atomic_store_n(&l->requests, l->requests + 1, __ATOMIC_RELEASE);
    return call;
}

/* On the loop's thread. */
static void call_free(struct call *call)
{
    struct conn *c = call->req.conn;
    struct loop *l = c->loop;

    if (call->req.finish)
        call->req.finish(&call->req);
    xdrout_free(call->req.out);
    rbuf_unref(call->rb);
    if (l->nfree_requests + 1 <= POOLED_MAX) { /* may be 0 */
        arena_reset(&call->req.arena);
        list_add(&l->free_requests, &call->job.node);
        l->nfree_requests++;
    } else {
        arena_release(&call->req.arena);
    }
    c->inflight--;
    __atomic_sub_fetch(&c->entry->inflight, 1, __ATOMIC_RELAXED);
    c->rx_held -= call->rx_held;
    l->rx_held -= call->rx_held;
    if (list_empty(&call->job.node))
        free(call);
    __atomic_store_n(&l->requests, l->requests - 1, __ATOMIC_RELEASE);
    conn_eased(c);
    conn_unref(c);
}

void request_free_pool(struct loop *l)
{
    list_for_each_safe(it, &l->free_requests) {
        struct call *call = list_entry(it, struct call, job.node);

        arena_release(&call->req.arena);
        free(call);
    }
    list_init(&l->free_requests);
    l->nfree_requests = 0;
}

static void reply_gone(struct outmsg *m)
{
    call_free(container_of(m, struct call, out));
}

/* The reply is complete. On the loop's thread. */
static void call_reply(struct call *call)
{
    if (call->req.conn->closed) {
        conn_uncount_out(call->req.conn, &call->out);
        call_free(call);
        return;
    }
    call->out.body = call->req.out;
    call->out.gone = reply_gone;
    conn_queue(call->req.conn, &call->out);
}

static void complete_job(struct job *job)
{
    call_reply(container_of(job, struct call, job));
}

static void drop_job(struct job *job)
{
    struct call *call = container_of(job, struct call, job);
    struct conn *c = call->req.conn;

    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    call_free(call);
    conn_close(c);
    conn_unref(c);
}

void request_complete(struct request *req)
{
    struct call *call = call_of(req);

    call->out.body = req->out;
    conn_count_out(req->conn, &call->out);
    call->job.run = complete_job;
    loop_post(req->conn->loop, &call->job);
}

void request_drop(struct request *req)
{
    struct call *call = call_of(req);

    call->job.run = drop_job;
    loop_post(req->conn->loop, &call->job);
}

static bool output_is_full(const struct conn *c)
{
    return conn_out_full(c) && !__atomic_load_n(&c->closed, __ATOMIC_RELAXED);
}

static void worker_run(struct job *job);

static void call_to_worker(struct call *call)
{
    call->job.run = worker_run;
    worker_submit(call->req.conn->server->workers, &call->job);
}

/* On the loop's thread: a worker found the output full. */
static void hold_job(struct job *job)
{
    struct call *call = container_of(job, struct call, job);

    if (output_is_full(call->req.conn))
        list_add_tail(&call->req.conn->held, &call->job.node);
    else
        call_to_worker(call);
}

void request_release_held(struct conn *c)
{
    struct call *call;

    while ((call = list_first(&c->held, struct call, job.node))) {
        list_del(&call->job.node);
        call_to_worker(call);
    }
}

/* On a worker thread. */
static void worker_run(struct job *job)
{
    struct call *call = container_of(job, struct call, job);
    struct request *req = &call->req;
    const struct oncrpc_program *prog = req->conn->prog;

    if (output_is_full(req->conn)) {
        call->job.run = hold_job;
        loop_post(req->conn->loop, &call->job);
        return;
    }
    req->may_block = true;
    switch (prog->dispatch(req, prog->arg)) {
    case REQ_DONE:
        request_complete(req);
        break;
    case REQ_PARKED:
        break;
    case REQ_BLOCK:
        log_error("program %u asked to block a second time", req->prog);
        /* fall through */
    case REQ_DROP:
        request_drop(req);
        break;
    }
}

/* false: close the connection. */
static bool call_dispatch(struct call *call)
{
    const struct oncrpc_program *prog = call->req.conn->prog;
    struct request *req = &call->req;

    switch (prog->dispatch(req, prog->arg)) {
    case REQ_DONE:
        call_reply(call);
        return true;
    case REQ_BLOCK:
        call_to_worker(call);
        return true;
    case REQ_PARKED:
        return true; /* it may be gone already */
    case REQ_DROP:
        break;
    }
    call_free(call);
    return false;
}

/* Encodes the header that verdict asks for; true: the call is to be dispatched. */
static bool put_header(struct call *call, enum rpcmsg_verdict verdict, const struct rpcmsg_head *head)
{
    const struct oncrpc_program *prog = call->req.conn->prog;
    XDR *x = xdrout_xdr(call->req.out);
    uint32_t stat = SUCCESS;

    if (verdict == RPCMSG_VERSION)
        return rpcmsg_put_version_mismatch(x, head->xid) && false;
    if (verdict == RPCMSG_AUTH)
        return rpcmsg_put_auth_error(x, head->xid, head->auth_stat) && false;
    if (head->prog != prog->prog)
        stat = PROG_UNAVAIL;
    else if (head->vers < prog->vers_min || head->vers > prog->vers_max)
        stat = PROG_MISMATCH;
    rpcmsg_put_accepted(x, head->xid, stat, prog->vers_min, prog->vers_max);
    return stat == SUCCESS;
}

bool request_record(struct conn *c, struct rbuf *rb, const char *body, size_t len)
{
    enum rpcmsg_verdict verdict;
    struct rpcmsg_head head;
    struct call *call;
    uint32_t type;

    /* Replies of the back channel need no call. */
    if (len >= 8) {
        memcpy(&type, body + 4, 4);
        if (ntohl(type) == REPLY) {
            memcpy(&head.xid, body, 4);
            conncall_reply(c, ntohl(head.xid), body, len);
            return true;
        }
    }
    call = call_new(c);
    if (!call) {
        log_warn("out of memory: a connection is closed");
        return false;
    }
    call->rb = rbuf_ref(rb);
    call->rx_held = rb->large ? rb->cap : 0;
    c->rx_held += call->rx_held;
    c->loop->rx_held += call->rx_held;
    call->req.body = body;
    call->req.body_len = len;
    xdrin_init(&call->req.in, body, len);
    verdict = rpcmsg_decode(&call->req.in, &head, &call->req.cred);
    if (verdict == RPCMSG_GARBAGE || verdict == RPCMSG_REPLY) {
        log_debug(LOG_RPC, "connection %llu: not an RPC message", (unsigned long long)c->id);
        call_free(call);
        return false;
    }
    call->req.xid = head.xid;
    call->req.prog = head.prog;
    call->req.vers = head.vers;
    call->req.proc = head.proc;
    if (!put_header(call, verdict, &head)) {
        call_reply(call);
        return true;
    }
    call->req.out_start = xdrout_len(call->req.out);
    log_debug(LOG_RPC, "conn=%llu xid=%08x program=%u version=%u procedure=%u uid=%u bytes=%zu",
              (unsigned long long)c->id, head.xid, head.prog, head.vers, head.proc, call->req.cred.uid, len);
    return call_dispatch(call);
}

void request_reject(struct request *req, uint32_t accept_stat)
{
    const struct oncrpc_program *prog = req->conn->prog;

    xdrout_truncate(req->out, 0);
    xdrout_set_limit(req->out, REQUEST_REPLY_MAX);
    rpcmsg_put_accepted(xdrout_xdr(req->out), req->xid, accept_stat, prog->vers_min, prog->vers_max);
}

bool request_alone(const struct request *req)
{
    return !req->may_block && req->conn->loop->alone >= ALONE_MIN && req->conn->loop->requests == 1;
}

void request_stay_awake(struct request *req, bool on)
{
    struct awake *a = req->conn->loop->awake;

    if (on)
        awake_keep(a);
    else
        awake_rest(a);
}

static void late_job(struct job *job)
{
    struct call *call = container_of(job, struct call, job);
    struct loop *l = call->req.conn->loop; /* the call may be gone afterwards */

    if (call->late(&call->req))
        l->late_cost = true;
}

void request_late(struct request *req, bool (*run)(struct request *req))
{
    struct call *call = call_of(req);

    call->late = run;
    call->job.run = late_job;
    loop_late(req->conn->loop, &call->job);
}

bool request_all_late(const struct request *req)
{
    return req->conn->loop->all_late;
}

uint64_t request_conn_id(const struct request *req)
{
    return req->conn->id;
}

void **request_conn_slot(struct request *req)
{
    return &req->conn->slot;
}

void request_peer(const struct request *req, struct sockaddr_storage *ss)
{
    *ss = req->conn->peer;
}

int request_peer_ids(const struct request *req, uint32_t *uid, uint32_t *gid)
{
    if (!req->conn->has_ids)
        return -ENOTCONN;
    *uid = req->conn->uid;
    *gid = req->conn->gid;
    return 0;
}
