/* SPDX-License-Identifier: Apache-2.0
 * volume_enter: who may be inside a volume, how to wait there, and whether there is space and quota for a change.
 */
#include <errno.h>
#include <sys/statvfs.h>
#include <time.h>

#include "common/clock.h"
#include "server/store/volume_int.h"

#define SPACE_FRESH_MS 100u
#define SPACE_PLENTY   (1ull << 30) /* with less, always look: 100 ms could write it full */
#define QUOTA_AGAIN_MS 100u
#define ROOM_LEAST     (1u << 20)

/* --- callers --- */

int vol_enter(struct volume *v)
{
    pthread_mutex_lock(&v->lock);
    if (v->closing) {
        bool again = v->comes_back;
        pthread_mutex_unlock(&v->lock);
        return again ? -EBUSY : -ESTALE;
    }
    v->inside++;
    return 0;
}

void vol_leave(struct volume *v)
{
    v->inside--;
    if (v->closing)
        vol_wake(v);
    pthread_mutex_unlock(&v->lock);
}

int vol_enter_change(struct volume *v, struct store_call *call)
{
    bool known = false;

    for (unsigned i = 0; i < call->ndeps; i++)
        known |= call->deps[i].vol == v;
    if (!known && call->ndeps == STORE_CALL_DEPS) {
        int r;
        if (volume_call_pending(call) && !call->may_block)
            return -EAGAIN;
        r = volume_call_wait(call);
        if (r < 0)
            return r;
        store_call_release(call);
    }
    return vol_enter(v);
}

void vol_wake(struct volume *v)
{
    if (v->waiting)
        pthread_cond_broadcast(&v->cond);
}

void vol_wait(struct volume *v, unsigned ms)
{
    v->waiting++;
    if (ms) {
        struct timespec ts;
        clock_gettime(CLOCK_MONOTONIC, &ts);
        ts.tv_nsec += (long)ms * 1000000;
        ts.tv_sec += ts.tv_nsec / 1000000000;
        ts.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&v->cond, &v->lock, &ts);
    } else {
        pthread_cond_wait(&v->cond, &v->lock);
    }
    v->waiting--;
}

/* --- until all is in the index --- */

int vol_settle(struct volume *v)
{
    struct store_call call;
    uint64_t n = v->open->n;
    int r;

    store_call_init(&call, true);
    do
        r = txg_wait_locked(v, &call, n);
    while (r == RETRY);
    return r;
}

int volume_settle(struct volume *v)
{
    int r = vol_enter(v);

    if (r < 0)
        return r;
    r = vol_flush(v);
    if (r == 0 && v->failed)
        r = vol_failed(v, -EROFS);
    if (r == 0) {
        txg_touch(v);
        r = vol_settle(v);
    }
    vol_leave(v);
    return r;
}

void volume_stat_settle(struct volume *v)
{
    struct store_call call;

    if (vol_enter(v) < 0)
        return;
    store_call_init(&call, true);
    for (unsigned step = 0; step < 2; step++) { /* the second frees what the first has removed */
        uint64_t n = txg_last(v);
        while (txg_wait_locked(v, &call, n) == RETRY)
            ;
        if (list_empty(&v->reap))
            break;
        txg_touch(v);
    }
    vol_leave(v);
}

/* --- space --- */

uint64_t vol_reserve(uint64_t total)
{
    uint64_t part = total / 8 > SPACE_RESERVE_MIN ? total / 8 : SPACE_RESERVE_MIN;

    return part < SPACE_RESERVE ? part : SPACE_RESERVE;
}

uint64_t vol_space(struct volume *v, bool fresh)
{
    struct statvfs st;
    uint64_t now = clock_mono_ms();

    if (v->free_ms == 0 || v->free_bytes < SPACE_PLENTY ||
        (fresh && now >= v->free_ms + SPACE_FRESH_MS)) {
        if (fstatvfs(v->dirfd, &st) == 0) {
            v->free_bytes = (uint64_t)st.f_bavail * st.f_frsize;
            v->reserve = vol_reserve((uint64_t)st.f_blocks * st.f_frsize);
        }
        v->free_ms = now ? now : 1;
    }
    return v->free_bytes;
}

uint64_t vol_space_now(struct volume *v)
{
    uint64_t n;

    pthread_mutex_lock(&v->lock);
    n = vol_space(v, true);
    n = n > v->reserve ? n - v->reserve : 0;
    pthread_mutex_unlock(&v->lock);
    return n;
}

int vol_quota(struct volume *v, const struct inode *in, uint64_t new_size, uint64_t bytes)
{
    uint64_t used = in->cused + in->pend + bytes;

    if (!v->props.quota_bytes)
        return 0;
    if (used > new_size)
        used = new_size;
    if (used <= in->a.used)
        return 0;
    return (int64_t)v->logical + v->extra + (int64_t)(used - in->a.used) >
                   (int64_t)v->props.quota_bytes
               ? -EDQUOT
               : 0;
}

int vol_over_quota(struct volume *v, const struct store_call *call)
{
    uint64_t now = clock_mono_ms();
    int r;

    if (v->committed >= v->quota_txg) {
        if (now < v->quota_ms || txg_last(v) <= v->committed)
            return -EDQUOT;
        v->quota_txg = txg_last(v);
        v->quota_ms = now + QUOTA_AGAIN_MS;
    }
    r = txg_wait_locked(v, call, v->quota_txg);
    return r ? r : -EDQUOT;
}

void vol_relieve(struct volume *v, unsigned ms)
{
    uint64_t now = clock_mono_ms();

    if (now < v->relief_ms) /* looks at all that is dirty: not for each write */
        return;
    v->relief_ms = now + ms;
    volume_flush_old(v, UINT64_MAX);
    volume_publish_preps(v, UINT64_MAX);
    txg_want_committed(v, txg_last(v));
}

/* The disk is full if all takes as much as it does in memory. Some of that is on the disk by now, and the rest gets smaller: as long
 * as this volume has something on its way, and there is room, waits for it. RETRY, -EAGAIN, -ENOSPC. */
static int vol_room_soon(struct volume *v, const struct store_call *call)
{
    if (v->flush_err || v->pinned <= ROOM_LEAST || vol_space(v, true) < v->reserve + ROOM_LEAST)
        return -ENOSPC;
    if (!call->may_block)
        return -EAGAIN;
    vol_relieve(v, RELIEF_MS);
    vol_wait(v, 20);
    return RETRY;
}

int vol_admit(struct volume *v, const struct store_call *call, enum vol_change kind)
{
    uint64_t need = 0;
    unsigned part = v->committing && cache_ops_over(v->e) ? 8 : 1;

    if (v->failed || v->props.readonly)
        return vol_failed(v, -EROFS);
    if (v->committing &&
        (v->open->rows > TXG_ROWS_MAX / part || v->open->blob_bytes > TXG_BLOB_MAX / part)) {
        txg_want(v, v->open->n);
        if (!call->may_block)
            return -EAGAIN;
        vol_wait(v, 0);
        return RETRY;
    }
    if (kind == CHANGE_FREE)
        return 0;
    if (v->nospace)
        return -ENOSPC;
    vol_space(v, false);
    need = kind == CHANGE_DATA ? v->reserve + v->e->pinned : v->reserve / 4;
    if (vol_space(v, false) < need && vol_space(v, true) < need)
        return kind == CHANGE_DATA ? vol_room_soon(v, call) : -ENOSPC;
    return 0;
}
