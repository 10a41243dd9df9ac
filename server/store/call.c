/* SPDX-License-Identifier: Apache-2.0
 * call: which changes a request depends on, and waiting until they are durable.
 */
#include <errno.h>

#include "server/store/volume_int.h"

void store_call_init(struct store_call *call, bool may_block)
{
    call->may_block = may_block;
    call->ndeps = 0;
}

void store_call_release(struct store_call *call)
{
    for (unsigned i = 0; i < call->ndeps; i++)
        volume_unref(call->deps[i].vol);
    call->ndeps = 0;
}

void call_note(struct store_call *call, struct volume *v, uint64_t n)
{
    for (unsigned i = 0; i < call->ndeps; i++)
        if (call->deps[i].vol == v) {
            if (n > call->deps[i].txg)
                call->deps[i].txg = n;
            return;
        }
    if (call->ndeps == STORE_CALL_DEPS)
        return; /* vol_enter_change made room */
    call->deps[call->ndeps].vol = volume_ref(v);
    call->deps[call->ndeps++].txg = n;
}

uint64_t volume_call_mark(const struct store_call *call, const struct volume *v)
{
    for (unsigned i = 0; i < call->ndeps; i++)
        if (call->deps[i].vol == v)
            return call->deps[i].txg;
    return 0;
}

void volume_call_after(struct store_call *call, struct volume *v, uint64_t mark)
{
    call_note(call, v, mark);
}

bool volume_call_pending(const struct store_call *call)
{
    for (unsigned i = 0; i < call->ndeps; i++)
        if (call->deps[i].txg > call->deps[i].vol->durable)
            return true;
    return false;
}

/* Goes on with the next dependency that is not durable yet; calls done when there is none. No lock. */
static void waiter_step(struct volume_waiter *w)
{
    for (; w->dep < w->call->ndeps; w->dep++) {
        struct volume *v = w->call->deps[w->dep].vol;
        uint64_t n = w->call->deps[w->dep].txg;
        bool queued = false, wake = false;

        pthread_mutex_lock(&v->lock);
        if (n > v->durable) {
            if (v->failed || v->closed) {
                w->err = vol_failed(v, -EIO);
            } else {
                w->txg = n;
                w->next = v->waiters;
                v->waiters = w;
                v->nwaiters++;
                queued = true;
                wake = v->gathering ? v->nwaiters >= v->group : n > v->want && v->commit_sleep;
                if (n > v->want)
                    v->want = n;
                if (wake) { /* after the unlock, so that the thread does not wake up into the lock */
                    v->commit_sleep = 0;
                    v->gathering = false;
                    volume_ref(v);
                }
            }
        }
        pthread_mutex_unlock(&v->lock);
        if (wake) {
            pthread_cond_signal(&v->commit_cond);
            volume_unref(v);
        }
        if (queued)
            return;
    }
    w->done(w, w->err);
}

void volume_call_wait_async(struct store_call *call, struct volume_waiter *w)
{
    w->next = NULL;
    w->call = call;
    w->dep = 0;
    w->err = 0;
    waiter_step(w);
}

void call_run_waiters(struct volume *v)
{
    struct volume_waiter *ready = NULL, **p = &v->waiters;
    int err = v->failed ? vol_failed(v, -EIO) : 0;

    while (*p) {
        struct volume_waiter *w = *p;
        if (w->txg <= v->durable || v->failed) {
            *p = w->next;
            v->nwaiters--;
            w->err = w->txg <= v->durable ? w->err : err;
            w->next = ready; /* the list is last-in first-out: this restores the order */
            ready = w;
        } else {
            p = &w->next;
        }
    }
    if (!ready)
        return;
    pthread_mutex_unlock(&v->lock);
    while (ready) {
        struct volume_waiter *w = ready;
        ready = w->next;
        w->next = NULL;
        w->dep++;
        waiter_step(w);
    }
    pthread_mutex_lock(&v->lock);
}

void volume_call_commit(struct store_call *call)
{
    struct volume *v = call->deps[0].vol;

    if (call->ndeps != 1 || call->deps[0].txg <= v->durable || vol_enter(v) < 0)
        return;
    txg_commit_here(v, call->deps[0].txg);
    vol_leave(v);
}

int volume_call_wait(struct store_call *call)
{
    int err = 0;

    for (unsigned i = 0; i < call->ndeps; i++) {
        struct volume *v = call->deps[i].vol;
        uint64_t n = call->deps[i].txg;

        pthread_mutex_lock(&v->lock);
        while (n > v->durable && !v->failed && !v->closed) {
            txg_want(v, n);
            vol_wait(v, 0);
        }
        if (n > v->durable)
            err = vol_failed(v, -EIO);
        pthread_mutex_unlock(&v->lock);
    }
    return err;
}
