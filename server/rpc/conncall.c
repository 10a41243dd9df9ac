/* SPDX-License-Identifier: Apache-2.0
 * conncall: calls from the server to a client. A call lives until it is answered (or failed) and is out of
 * the output queue: whichever comes last frees it.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "server/rpc/conn.h"

struct conn_call {
    struct outmsg out;
    struct job job;
    struct list pending; /* in conn.calls */
    struct conn *conn;   /* a reference */
    uint32_t xid;
    unsigned timeout_ms;
    uint64_t deadline;
    bool queued, waiting;
    void (*done)(void *arg, int err, const void *reply, size_t len);
    void *arg;
};

struct conn_ref *request_conn_ref(struct request *req)
{
    __atomic_add_fetch(&req->conn->refs, 1, __ATOMIC_RELAXED);
    return (struct conn_ref *)req->conn;
}

void conn_ref_put(struct conn_ref *cr)
{
    if (cr)
        conn_unref((struct conn *)cr);
}

uint64_t conn_ref_id(const struct conn_ref *cr)
{
    return ((const struct conn *)cr)->id;
}

static void call_settle(struct conn_call *call)
{
    if (call->queued || call->waiting)
        return;
    xdrout_free(call->out.body);
    conn_unref(call->conn);
    free(call);
}

static void call_finish(struct conn_call *call, int err, const void *reply, size_t len)
{
    struct conn *c = call->conn;

    list_del(&call->pending);
    __atomic_sub_fetch(&c->ncalls, 1, __ATOMIC_RELAXED);
    call->done(call->arg, err, reply, len);
    call->waiting = false;
    call_settle(call);
}

static void call_gone(struct outmsg *m)
{
    struct conn_call *call = container_of(m, struct conn_call, out);

    call->queued = false;
    call_settle(call);
}

static void call_job(struct job *job)
{
    struct conn_call *call = container_of(job, struct conn_call, job);
    struct conn *c = call->conn;

    call->waiting = true;
    if (c->closed) {
        call_finish(call, -EPIPE, NULL, 0);
        return;
    }
    call->deadline = clock_mono_ms() + call->timeout_ms;
    list_add_tail(&c->calls, &call->pending);
    call->queued = true;
    conn_queue(c, &call->out);
    conn_update_timed(c);
}

int conn_call(struct conn_ref *cr, struct xdrout *body, uint32_t xid, unsigned timeout_ms,
              void (*done)(void *arg, int err, const void *reply, size_t len), void *arg)
{
    struct conn *c = (struct conn *)cr;
    struct conn_call *call = NULL;
    int err = -EPIPE;

    if (__atomic_load_n(&c->closed, __ATOMIC_ACQUIRE))
        goto fail;
    err = -EAGAIN;
    if (__atomic_load_n(&c->ncalls, __ATOMIC_RELAXED) >= CONN_CALLS_MAX)
        goto fail;
    err = -ENOMEM;
    call = calloc(1, sizeof(*call));
    if (!call)
        goto fail;
    call->out.body = body;
    call->out.gone = call_gone;
    call->job.run = call_job;
    list_init(&call->job.node);
    list_init(&call->pending);
    call->conn = c;
    call->xid = xid;
    call->timeout_ms = timeout_ms;
    call->done = done;
    call->arg = arg;
    __atomic_add_fetch(&c->refs, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&c->ncalls, 1, __ATOMIC_RELAXED);
    loop_post(c->loop, &call->job);
    return 0;
fail:
    xdrout_free(body);
    return err;
}

void conncall_reply(struct conn *c, uint32_t xid, const char *body, size_t len)
{
    list_for_each(it, &c->calls) {
        struct conn_call *call = list_entry(it, struct conn_call, pending);

        if (call->xid == xid) {
            call_finish(call, 0, body, len);
            return;
        }
    }
}

void conncall_fail_all(struct conn *c, int err)
{
    struct conn_call *call;

    while ((call = list_first(&c->calls, struct conn_call, pending)))
        call_finish(call, err, NULL, 0);
}

void conncall_tick(struct conn *c, uint64_t now)
{
    struct list late;

    list_init(&late);
    list_for_each_safe(it, &c->calls) {
        struct conn_call *call = list_entry(it, struct conn_call, pending);

        if (now >= call->deadline) {
            list_del(&call->pending);
            list_add_tail(&late, &call->pending);
        }
    }
    for (struct conn_call *call; (call = list_first(&late, struct conn_call, pending));)
        call_finish(call, -ETIMEDOUT, NULL, 0);
}
