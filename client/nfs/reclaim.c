/* SPDX-License-Identifier: Apache-2.0 */
/*
 * After the server has forgotten us: opens and locks again, by handle.
 *
 * A server that was restarted takes back what its clients held, for the length of a lease; state_get calls the
 * recover function then, before anything new is asked for. Lockers may belong to other processes, which then are
 * either outside any request, or inside one that is about to fail and let go of `busy`. One that does not (it was stopped) keeps
 * its old epoch, and is told of the loss when it goes on.
 */
#include <errno.h>
#include <string.h>

#include "client/nfs/call.h"

#define RECLAIM_WAIT_MS 2000

void locker_clear(struct nfs_locker *locker)
{
    memset((char *)locker + sizeof(locker->busy), 0, sizeof(*locker) - sizeof(locker->busy));
}

static void range_add(struct nfs_locker *locker, struct nfs_range *to, uint32_t *n, const struct nfs_range *range)
{
    if (*n > 0 && to[*n - 1].type == range->type && to[*n - 1].end != UINT64_MAX &&
        to[*n - 1].end + 1 == range->offset) {
        to[*n - 1].end = range->end;
    } else if (*n < NFS_RANGES) {
        to[(*n)++] = *range;
    } else {
        locker->too_many = true;
    }
}

void nfs_range_set(struct nfs_locker *locker, uint32_t type, uint64_t offset, uint64_t length)
{
    struct nfs_range fresh = {offset, offset + (length - 1), type}, to[NFS_RANGES];
    bool placed = type == 0;
    uint32_t n = 0;

    if (length == UINT64_MAX || fresh.end < offset)
        fresh.end = UINT64_MAX;
    /* In order of their offsets, none overlapping another. */
    for (uint32_t i = 0; i < locker->nranges; i++) {
        struct nfs_range old = locker->ranges[i], part = old;

        if (old.offset < fresh.offset) {
            part.end = old.end < fresh.offset ? old.end : fresh.offset - 1;
            range_add(locker, to, &n, &part);
        }
        if (!placed && old.end >= fresh.offset) {
            range_add(locker, to, &n, &fresh);
            placed = true;
        }
        if (old.end > fresh.end) {
            part = old;
            part.offset = old.offset > fresh.end ? old.offset : fresh.end + 1;
            range_add(locker, to, &n, &part);
        }
    }
    if (!placed)
        range_add(locker, to, &n, &fresh);
    memcpy(locker->ranges, to, n * sizeof(to[0]));
    locker->nranges = n;
    if (n == 0)
        locker->too_many = false;
}

/* rlock_lock, but not for ever. */
static bool reclaim_lock(struct rlock *lock)
{
    for (uint64_t end = sys_now_ms() + RECLAIM_WAIT_MS; !rlock_try(lock); sys_sleep_ms(5))
        if (sys_now_ms() > end)
            return false;
    return true;
}

/* OPEN with CLAIM_PREVIOUS. Returns the transport's error; what the server says is in *status. */
static int reclaim_open(struct nfs_client *client, struct nfs_owner *owner, struct nfs_locker *locker,
                        const struct nfs_fh *fh, uint64_t clientid, uint32_t *status)
{
    struct nfs_call call;
    uint32_t flags = 0;
    int err;

    call_start(&call);
    call.once = true;
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_OPEN);
    enc_u32(&call.enc, owner->seqid);
    enc_u32(&call.enc, locker->open.access);
    enc_u32(&call.enc, 0);
    enc_u64(&call.enc, clientid);
    state_enc_owner(client, &call.enc, 'o', owner->name);
    enc_u32(&call.enc, 0); /* OPEN4_NOCREATE */
    enc_u32(&call.enc, 1); /* CLAIM_PREVIOUS */
    enc_u32(&call.enc, 0); /* had no delegation */
    err = call_run(client, &call);
    if (err == 0) {
        *status = dec_op(&call.dec, NFS_OP_PUTFH);
        if (*status == NFS_OK) {
            *status = dec_op(&call.dec, NFS_OP_OPEN);
            owner_result(owner, 0, *status);
        }
        if (*status == NFS_OK) {
            open_result(&call.dec, &locker->open, &flags);
            err = call_check(&call, 0);
        }
    } else {
        owner->name = 0;
    }
    call_end(&call);
    if (err == 0 && *status == NFS_OK && (flags & OPEN_CONFIRM_FLAG))
        err = open_confirm(client, owner, fh, &locker->open, status);
    return err;
}

static int reclaim_range(struct nfs_client *client, struct nfs_owner *owner, struct nfs_locker *locker,
                         const struct nfs_fh *fh, uint64_t clientid, const struct nfs_range *range, bool first,
                         uint32_t *status)
{
    struct nfs_call call;
    int err;

    call_start(&call);
    call.once = true;
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_LOCK);
    enc_u32(&call.enc, range->type);
    enc_u32(&call.enc, 1); /* reclaim */
    enc_u64(&call.enc, range->offset);
    enc_u64(&call.enc, range->end == UINT64_MAX ? UINT64_MAX : range->end - range->offset + 1);
    enc_u32(&call.enc, first);
    if (first) {
        enc_u32(&call.enc, owner->seqid);
        enc_stateid(&call.enc, &locker->open.stateid);
        enc_u32(&call.enc, locker->seqid);
        enc_u64(&call.enc, clientid);
        state_enc_owner(client, &call.enc, 'l', locker->name);
    } else {
        enc_stateid(&call.enc, &locker->stateid);
        enc_u32(&call.enc, locker->seqid);
    }
    err = call_run(client, &call);
    if (err == 0) {
        *status = dec_op(&call.dec, NFS_OP_PUTFH);
        if (*status == NFS_OK) {
            *status = dec_op(&call.dec, NFS_OP_LOCK);
            if (first)
                owner_result(owner, 0, *status);
            if (state_seqid_used(*status))
                locker->seqid++;
        }
        if (*status == NFS_OK) {
            dec_stateid(&call.dec, &locker->stateid);
            err = call_check(&call, 0);
        }
    } else if (first) {
        owner->name = 0;
    }
    call_end(&call);
    return err;
}

static int reclaim_locked(struct nfs_client *client, struct nfs_owner *owner, struct nfs_locker *locker,
                          const struct nfs_fh *fh, uint64_t clientid, uint32_t epoch, uint32_t *status)
{
    int err = 0;

    *status = NFS_OK;
    owner_fresh(client, owner, epoch);
    for (unsigned n = 0; err == 0; n++) {
        err = reclaim_open(client, owner, locker, fh, clientid, status);
        if (err != 0 || *status != NFS_ERR_DELAY)
            break;
        err = call_pause(n);
    }
    locker->seqid = 1;
    for (uint32_t i = 0; err == 0 && *status == NFS_OK && i < locker->nranges; i++) {
        for (unsigned n = 0; err == 0; n++) {
            err = reclaim_range(client, owner, locker, fh, clientid, &locker->ranges[i], i == 0, status);
            if (err != 0 || *status != NFS_ERR_DELAY)
                break;
            err = call_pause(n);
        }
    }
    return err;
}

int nfs_lock_reclaim(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, uint64_t clientid,
                     uint32_t epoch)
{
    struct nfs_owner *owner = &client->self->owners[locker->open.owner % NFS_OWNERS];
    uint32_t status = NFS_OK;
    int err = 0;

    if (!locker->open.valid || locker->open.epoch == epoch || !reclaim_lock(&locker->busy))
        return 0;
    if (!locker->open.valid || locker->open.epoch == epoch)
        goto out;
    if (!locker->too_many) {
        if (!reclaim_lock(&owner->lock))
            goto out;
        err = reclaim_locked(client, owner, locker, fh, clientid, epoch, &status);
        if (err == 0 && status == NFS_OK) {
            locker->open.owner_name = owner->name;
            locker->valid = locker->nranges > 0;
            locker->epoch = locker->open.epoch = epoch;
        }
        rlock_unlock(&owner->lock);
    }
    if (err == 0 && (locker->too_many || status != NFS_OK)) {
        locker->lost = locker->valid && locker->nranges > 0;
        locker->valid = locker->open.valid = false;
    }
out:
    rlock_unlock(&locker->busy);
    return err;
}

int nfs_lock_check(struct nfs_client *client, const struct nfs_locker *locker)
{
    struct nfs_shared *shared = client->shared;
    uint64_t clientid;
    uint32_t epoch;
    int err = 0;

    if (!locker->valid && !locker->lost)
        return 0;
    if (!__atomic_load_n(&shared->confirmed, __ATOMIC_ACQUIRE) || locker->epoch != shared->epoch ||
        sys_now_ms() - shared->renewed_ms > (uint64_t)shared->lease * 1000) {
        err = nfs_client_renew(client, true);
        if (err == 0)
            err = state_get(client, &clientid, &epoch);
    }
    if (err != 0 || locker->lost)
        return -EIO;
    return locker->valid && locker->epoch != shared->epoch ? -EIO : 0;
}
