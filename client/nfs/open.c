/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opens and byte-range locks: the requests that carry sequence numbers.
 *
 * An owner's requests go out one at a time under its lock, each with the next number; whether a failed one used its
 * number up is state_seqid_used. When the two sides disagree (BAD_SEQID, or no answer at all) the owner gets a new
 * name and starts again.
 */
#include <errno.h>
#include <string.h>

#include "client/nfs/call.h"

#define OPEN_AGAIN 20 /* times that the server may forget us during one call */

/*
 * A free owner, locked; NULL when all are to be avoided. Opens of one file by one owner are one open at the server:
 * whoever closes his closes it for all.
 */
static struct nfs_owner *owner_take(struct nfs_client *client, uint32_t epoch, uint32_t *slot)
{
    struct nfs_owner *owner = NULL;
    uint32_t i, first = (uint32_t)call_lane(client) % NFS_OWNERS;

    if (client->avoid == UINT32_MAX)
        return NULL;
    for (i = 0; i < NFS_OWNERS; i++) {
        if (!(client->avoid >> i & 1) && rlock_try(&client->self->owners[i].lock)) {
            owner = &client->self->owners[i];
            break;
        }
    }
    if (owner == NULL) {
        for (i = first; client->avoid >> i & 1; i = (i + 1) % NFS_OWNERS)
            ;
        owner = &client->self->owners[i];
        rlock_lock(&owner->lock);
    }
    *slot = i;
    owner_fresh(client, owner, epoch);
    return owner;
}

void owner_fresh(struct nfs_client *client, struct nfs_owner *owner, uint32_t epoch)
{
    if (owner->name != 0 && owner->epoch == epoch)
        return;
    owner->name = (uint32_t)state_new_name(client);
    owner->seqid = 1;
    owner->epoch = epoch;
}

void owner_result(struct nfs_owner *owner, int err, uint32_t status)
{
    if (err != 0 || status == NFS_ERR_BAD_SEQID)
        owner->name = 0;
    else if (state_seqid_used(status))
        owner->seqid++;
}

/* The tail of a good OPEN result. */
void open_result(struct nfs_dec *dec, struct nfs_open *open, uint32_t *flags)
{
    uint32_t words, delegation;

    dec_stateid(dec, &open->stateid);
    dec_change_info(dec);
    *flags = dec_u32(dec);
    words = dec_u32(dec);
    for (uint32_t i = 0; i < words && !dec->bad; i++)
        dec_u32(dec);
    delegation = dec_u32(dec);
    if (delegation != 0)
        dec->bad = true; /* we have no callback and were promised none */
}

int open_confirm(struct nfs_client *client, struct nfs_owner *owner, const struct nfs_fh *fh, struct nfs_open *open,
                 uint32_t *status)
{
    struct nfs_call call;
    int err;

    call_start(&call);
    call.once = true;
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_OPEN_CONFIRM);
    enc_stateid(&call.enc, &open->stateid);
    enc_u32(&call.enc, owner->seqid);
    err = call_run_on(client, &call);
    if (err == 0) {
        *status = dec_op(&call.dec, NFS_OP_OPEN_CONFIRM);
        owner_result(owner, 0, *status);
        err = nfs_errno(*status);
    } else {
        owner_result(owner, err, 0);
    }
    if (err == 0) {
        dec_stateid(&call.dec, &open->stateid);
        err = call_check(&call, 0);
    }
    call_end(&call);
    return err;
}

static void open_encode(struct nfs_client *client, struct nfs_call *call, const struct nfs_owner *owner,
                        uint64_t clientid, const struct nfs_fh *dir, const char *name, unsigned access,
                        enum nfs_create create, const struct nfs_setattr *set)
{
    struct nfs_enc *enc = &call->enc;

    call_start(call);
    call->once = true;
    enc_putfh(enc, dir);
    enc_op(enc, NFS_OP_OPEN);
    enc_u32(enc, owner->seqid);
    enc_u32(enc, access);
    enc_u32(enc, 0); /* deny none */
    enc_u64(enc, clientid);
    state_enc_owner(client, enc, 'o', owner->name);
    enc_u32(enc, create != NFS_CREATE_NO);
    if (create != NFS_CREATE_NO) {
        enc_u32(enc, create == NFS_CREATE_EXCL ? 1 : 0); /* GUARDED4, UNCHECKED4 */
        enc_fattr(enc, set);
    }
    enc_u32(enc, 0); /* CLAIM_NULL */
    enc_bytes(enc, name, strlen(name));
    enc_op(enc, NFS_OP_GETFH);
    enc_getattr(enc);
}

/*
 * An exclusive create that was perhaps carried out before the connection broke: is the file that exists ours? It has
 * the access time that we gave it, to the nanosecond, if so.
 */
static bool open_made(struct nfs_client *client, const struct nfs_fh *dir, const char *name,
                      const struct nfs_setattr *set)
{
    struct nfs_attr attr;
    struct nfs_fh fh;

    return nfs_lookup(client, dir, name, strlen(name), &fh, &attr) == 0 && attr.type == NFS_REG && attr.size == 0 &&
           attr.atime.tv_sec == set->atime.tv_sec && attr.atime.tv_nsec == set->atime.tv_nsec;
}

int nfs_open_file(struct nfs_client *client, const struct nfs_fh *dir, const char *name, unsigned access,
                  enum nfs_create create, const struct nfs_setattr *set, struct nfs_fh *fh, struct nfs_attr *attr,
                  struct nfs_open *open)
{
    struct nfs_setattr marked = {0};
    bool doubt = false; /* it was sent and perhaps carried out */
    unsigned again = 0;

    if (name[0] == 0)
        return -ENOENT;
    if (strlen(name) > NFS_NAME_MAX)
        return -ENAMETOOLONG;
    if (create == NFS_CREATE_EXCL) {
        marked = *set;
        marked.valid = (marked.valid & ~(unsigned)NFS_SET_ATIME_NOW) | NFS_SET_ATIME;
        sys2(SYS_clock_gettime, CLOCK_REALTIME, &marked.atime);
        set = &marked;
    }
    open->valid = false;
    for (unsigned n = 0;; n++) {
        struct nfs_owner *owner;
        struct nfs_call call;
        uint64_t clientid;
        uint32_t epoch, slot, status = 0, flags = 0;
        int err = state_get(client, &clientid, &epoch);

        if (err != 0)
            return err;
        owner = owner_take(client, epoch, &slot);
        if (owner == NULL)
            return -ENOLCK;
        open_encode(client, &call, owner, clientid, dir, name, access, create, set);
        err = call_run_on(client, &call);
        if (err == 0) {
            status = dec_op(&call.dec, NFS_OP_OPEN);
            owner_result(owner, 0, status);
            err = nfs_errno(status);
        } else {
            owner_result(owner, err == -ESTALE || err == -EACCES ? 0 : err, NFS_ERR_NOFILEHANDLE);
        }
        if (err == 0) {
            open_result(&call.dec, open, &flags);
            open->owner = slot;
            open->owner_name = owner->name;
            open->epoch = epoch;
            open->access = access;
            open->valid = true;
            err = call_op(&call, NFS_OP_GETFH);
            if (err == 0) {
                dec_fh(&call.dec, fh);
                err = call_op(&call, NFS_OP_GETATTR);
            }
            if (err == 0)
                dec_attr(&call.dec, attr);
            err = call_check(&call, err);
        }
        if (err == 0 && (flags & OPEN_CONFIRM_FLAG))
            err = open_confirm(client, owner, fh, open, &status);
        doubt |= call.rpc.resent;
        if (open->valid && create == NFS_CREATE_EXCL)
            create = NFS_CREATE_NO; /* it is made, whatever else went wrong */
        call_end(&call);
        rlock_unlock(&owner->lock);
        if (err == 0)
            return 0;
        open->valid = false;
        if (status == NFS_ERR_STALE_STATEID)
            status = NFS_ERR_STALE_CLIENTID; /* a restart between OPEN and OPEN_CONFIRM */
        if (status == NFS_ERR_DELAY || status == NFS_ERR_GRACE) {
            if ((err = call_pause(n)) != 0)
                return err;
        } else if (status == NFS_ERR_EXIST && create == NFS_CREATE_EXCL && doubt && open_made(client, dir, name, set)) {
            create = NFS_CREATE_NO;
        } else if ((!state_lost(client, status, epoch) && status != NFS_ERR_BAD_SEQID) || ++again > OPEN_AGAIN) {
            return err;
        }
    }
}

int nfs_close_file(struct nfs_client *client, const struct nfs_fh *fh, struct nfs_open *open)
{
    struct nfs_owner *owner = &client->self->owners[open->owner % NFS_OWNERS];
    struct nfs_call call;
    uint32_t status = 0;
    int err;

    if (!open->valid)
        return 0;
    open->valid = false;
    rlock_lock(&owner->lock);
    if (owner->name != open->owner_name || open->epoch != client->shared->epoch) {
        rlock_unlock(&owner->lock);
        return 0; /* gone with its owner; the server drops it with the lease at the latest */
    }
    call_start(&call);
    call.once = true;
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_CLOSE);
    enc_u32(&call.enc, owner->seqid);
    enc_stateid(&call.enc, &open->stateid);
    err = call_run_on(client, &call);
    if (err == 0) {
        status = dec_op(&call.dec, NFS_OP_CLOSE);
        owner_result(owner, 0, status);
        err = nfs_errno(status);
    } else {
        owner->name = 0;
    }
    call_end(&call);
    rlock_unlock(&owner->lock);
    state_lost(client, status, open->epoch);
    return err;
}

static void lock_encode(struct nfs_client *client, struct nfs_call *call, struct nfs_locker *locker,
                        const struct nfs_owner *owner, uint64_t clientid, const struct nfs_fh *fh,
                        enum nfs_lock_type type, uint64_t offset, uint64_t length, bool wait)
{
    struct nfs_enc *enc = &call->enc;

    call_start(call);
    call->once = true;
    enc_putfh(enc, fh);
    enc_op(enc, NFS_OP_LOCK);
    enc_u32(enc, type + (wait ? 2u : 0u)); /* READW_LT, WRITEW_LT keep our place in the queue */
    enc_u32(enc, 0);
    enc_u64(enc, offset);
    enc_u64(enc, length);
    enc_u32(enc, !locker->valid);
    if (!locker->valid) {
        enc_u32(enc, owner->seqid);
        enc_stateid(enc, &locker->open.stateid);
        enc_u32(enc, locker->seqid);
        enc_u64(enc, clientid);
        state_enc_owner(client, enc, 'l', locker->name);
    } else {
        enc_stateid(enc, &locker->stateid);
        enc_u32(enc, locker->seqid);
    }
}

/* One LOCK request. Returns its status through *status. */
static int lock_once(struct nfs_client *client, struct nfs_locker *locker, uint64_t clientid, const struct nfs_fh *fh,
                     enum nfs_lock_type type, uint64_t offset, uint64_t length, bool wait, uint32_t *status)
{
    struct nfs_owner *owner = &client->self->owners[locker->open.owner % NFS_OWNERS];
    struct nfs_call call;
    int err;

    *status = 0;
    rlock_lock(&owner->lock);
    if (!locker->valid && owner->name != locker->open.owner_name) {
        rlock_unlock(&owner->lock);
        locker->open.valid = false;
        *status = NFS_ERR_BAD_SEQID;
        return -EIO;
    }
    lock_encode(client, &call, locker, owner, clientid, fh, type, offset, length, wait);
    locker->asked_offset = offset;
    locker->asked_length = length;
    __atomic_store_n(&locker->asked, type + (wait ? 2u : 0u), __ATOMIC_RELEASE);
    err = call_run_on(client, &call);
    if (err == 0) {
        *status = dec_op(&call.dec, NFS_OP_LOCK);
        if (!locker->valid)
            owner_result(owner, 0, *status);
        if (state_seqid_used(*status))
            locker->seqid++;
        err = nfs_errno(*status);
    } else if (!locker->valid) {
        owner->name = 0;
    }
    if (err == 0) {
        dec_stateid(&call.dec, &locker->stateid);
        err = call_check(&call, 0);
        locker->valid = err == 0;
        nfs_range_set(locker, type, offset, length);
    }
    locker->asked = 0;
    call_end(&call);
    rlock_unlock(&owner->lock);
    return err;
}

int nfs_lock_open(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *dir, const char *name,
                  const struct nfs_fh *fh, unsigned access)
{
    struct nfs_attr attr;
    struct nfs_fh got;
    int err;

    locker_clear(locker);
    locker->name = state_new_name(client);
    locker->seqid = 1;
    err = nfs_open_file(client, dir, name, access, NFS_CREATE_NO, NULL, &got, &attr, &locker->open);
    if (err == 0 && !nfs_fh_same(&got, fh)) {
        nfs_close_file(client, &got, &locker->open);
        err = -ESTALE;
    }
    locker->epoch = locker->open.epoch;
    return err;
}

/* What a request may be made with: 0, or what the caller is told. Called with the locker busy. */
static int lock_ready(struct nfs_locker *locker, uint32_t epoch)
{
    if (locker->lost)
        return -EIO;
    if (!locker->open.valid)
        return -EBADF;
    if (locker->open.epoch == epoch)
        return 0;
    /* It could not be reclaimed: its process was stopped meanwhile, say. */
    if (locker->nranges > 0 || locker->too_many) {
        locker->lost = true;
        locker->valid = false;
        return -EIO; /* somebody else may have had it */
    }
    locker_clear(locker);
    return -EBADF;
}

int nfs_lock(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, enum nfs_lock_type type,
             uint64_t offset, uint64_t length, bool wait)
{
    for (unsigned n = 0, again = 0;; n++) {
        uint64_t clientid;
        uint32_t epoch, status = 0;
        int err = state_get(client, &clientid, &epoch);

        if (err != 0)
            return err;
        rlock_lock(&locker->busy);
        err = lock_ready(locker, epoch);
        if (err == 0)
            err = lock_once(client, locker, clientid, fh, type, offset, length, wait, &status);
        if (status == NFS_ERR_BAD_STATEID || status == NFS_ERR_BAD_SEQID) {
            err = locker->valid ? -EIO : -EBADF;
            locker->lost = locker->valid;
            locker->valid = false;
            if (!locker->lost)
                locker_clear(locker);
        }
        rlock_unlock(&locker->busy);
        switch (status) {
        case NFS_ERR_DENIED:
        case NFS_ERR_LOCKED:
            return -EAGAIN;
        case NFS_ERR_DELAY:
        case NFS_ERR_GRACE:
            if ((err = call_pause(n)) != 0)
                return err;
            break;
        case NFS_ERR_STALE_STATEID:
        case NFS_ERR_STALE_CLIENTID:
        case NFS_ERR_EXPIRED:
            if (++again > OPEN_AGAIN)
                return err;
            state_lost(client, NFS_ERR_STALE_CLIENTID, epoch); /* and once more, with what is left */
            break;
        default:
            return err;
        }
    }
}

int nfs_unlock(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, uint64_t offset,
               uint64_t length)
{
    for (unsigned n = 0, again = 0;; n++) {
        struct nfs_call call;
        uint64_t clientid;
        uint32_t epoch, status = 0;
        int err;

        if (!locker->valid)
            return locker->lost ? -EIO : 0;
        err = state_get(client, &clientid, &epoch);
        if (err != 0)
            return err;
        rlock_lock(&locker->busy);
        err = lock_ready(locker, epoch);
        if (err != 0) {
            rlock_unlock(&locker->busy);
            return err == -EBADF ? 0 : err;
        }
        call_start(&call);
        call.once = true;
        enc_putfh(&call.enc, fh);
        enc_op(&call.enc, NFS_OP_LOCKU);
        enc_u32(&call.enc, NFS_LOCK_WRITE);
        enc_u32(&call.enc, locker->seqid);
        enc_stateid(&call.enc, &locker->stateid);
        enc_u64(&call.enc, offset);
        enc_u64(&call.enc, length);
        err = call_run_on(client, &call);
        if (err == 0) {
            status = dec_op(&call.dec, NFS_OP_LOCKU);
            if (state_seqid_used(status))
                locker->seqid++;
            err = nfs_errno(status);
        }
        if (err == 0) {
            dec_stateid(&call.dec, &locker->stateid);
            nfs_range_set(locker, 0, offset, length);
            err = call_check(&call, 0);
        }
        call_end(&call);
        rlock_unlock(&locker->busy);
        if (status == NFS_ERR_STALE_STATEID || status == NFS_ERR_STALE_CLIENTID || status == NFS_ERR_EXPIRED) {
            if (++again > OPEN_AGAIN)
                return err;
            state_lost(client, NFS_ERR_STALE_CLIENTID, epoch);
        } else if (status != NFS_ERR_DELAY && status != NFS_ERR_GRACE) {
            return err;
        } else if ((err = call_pause(n)) != 0) {
            return err;
        }
    }
}

int nfs_lock_test(struct nfs_client *client, const struct nfs_locker *locker, const struct nfs_fh *fh,
                  enum nfs_lock_type *type, uint64_t *offset, uint64_t *length)
{
    for (unsigned n = 0;; n++) {
        struct nfs_call call;
        uint64_t clientid;
        uint32_t epoch, status = 0;
        int err = state_get(client, &clientid, &epoch);

        if (err != 0)
            return err;
        call_start(&call);
        enc_putfh(&call.enc, fh);
        enc_op(&call.enc, NFS_OP_LOCKT);
        enc_u32(&call.enc, *type);
        enc_u64(&call.enc, *offset);
        enc_u64(&call.enc, *length);
        enc_u64(&call.enc, clientid);
        state_enc_owner(client, &call.enc, 'l', locker->name);
        err = call_run_on(client, &call);
        if (err == 0) {
            status = dec_op(&call.dec, NFS_OP_LOCKT);
            if (status == NFS_ERR_DENIED) {
                *offset = dec_u64(&call.dec);
                *length = dec_u64(&call.dec);
                *type = (dec_u32(&call.dec) & 1) != 0 ? NFS_LOCK_READ : NFS_LOCK_WRITE;
                err = call_check(&call, 0);
                err = err == 0 ? 1 : err;
            } else {
                err = nfs_errno(status);
            }
        }
        call_end(&call);
        if (!state_lost(client, status, epoch) || n > 5)
            return err;
    }
}

/* The process that used the locker is dead, perhaps between a request and its answer. */
static void lock_settle(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh)
{
    uint32_t asked = locker->asked, status, epoch;
    uint64_t clientid;

    locker->asked = 0;
    if (state_get(client, &clientid, &epoch) != 0 || locker->epoch != epoch)
        return;
    rlock_lock(&locker->busy);
    /* The same request with the same number: the server answers as it did, or does it now. */
    if (asked != 0)
        lock_once(client, locker, clientid, fh, asked & 1 ? NFS_LOCK_READ : NFS_LOCK_WRITE, locker->asked_offset,
                  locker->asked_length, asked > 2, &status);
    rlock_unlock(&locker->busy);
    /* An unlock may have been under way too: this one may get the answer to that. */
    if (locker->valid && nfs_unlock(client, locker, fh, 0, UINT64_MAX) != 0)
        locker->seqid++;
}

void nfs_lock_end(struct nfs_client *client, struct nfs_locker *locker, const struct nfs_fh *fh, bool dead)
{
    struct nfs_open again;

    if (dead && locker->open.valid)
        lock_settle(client, locker, fh);
    if (locker->valid && locker->epoch == client->shared->epoch)
        nfs_unlock(client, locker, fh, 0, UINT64_MAX);
    again = locker->open;
    if (nfs_close_file(client, fh, &locker->open) != 0 && dead) {
        /* An OPEN of the same owner was under way and used up the number. */
        client->self->owners[again.owner % NFS_OWNERS].name = again.owner_name;
        client->self->owners[again.owner % NFS_OWNERS].seqid++;
        nfs_close_file(client, fh, &again);
    }
    locker_clear(locker);
}
