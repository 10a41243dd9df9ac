/* SPDX-License-Identifier: Apache-2.0
 * lockstate: byte-range locks of lock owners (RFC 7530 section 9.1 to 9.5, RFC 8881 sections 9.1 to 9.5).
 *
 * One lock state per lock owner and file. It lives from the first LOCK to the CLOSE of its open,
 * RELEASE_LOCKOWNER or FREE_STATEID, also when it holds no range. It is the owner of its ranges in the
 * file's lockset.
 */
#include "server/state/internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

void lock_free_locked(struct state *s, struct lock_state *ls)
{
    unsigned n = lockset_drop(&ls->open->file->locks, ls);
    struct state_owner *o = ls->owner;

    ls->st.client->nranges -= n;
    user_add(s->users, ls->open->user, USER_LOCKS, -(int)n);
    s->nranges -= n;
    if (n)
        wait_wake_locked(s, ls->open->file);
    stid_del_locked(s, &ls->st);
    list_del(&ls->in_owner);
    list_del(&ls->in_open);
    free(ls);
    if (list_empty(&o->states) && o->client->minor)
        owner_free_locked(s, o);
}

static nfsstat4 check_range(uint64_t off, uint64_t len, uint64_t *end)
{
    if (len == 0 || (len != UINT64_MAX && len > UINT64_MAX - off))
        return NFS4ERR_INVAL;
    *end = len == UINT64_MAX ? UINT64_MAX : off + (len - 1);
    return NFS4_OK;
}

static void fill_denied(struct lock_denied *d, const struct lockrange *lr)
{
    const struct lock_state *ls = lr->owner;

    d->offset = lr->start;
    d->length = lr->end == UINT64_MAX ? UINT64_MAX : lr->end - lr->start + 1;
    d->write = lr->write;
    d->clientid = ls->st.client->id;
    d->owner_len = ls->owner->len;
    memcpy(d->owner, ls->owner->bytes, ls->owner->len);
}

/* A lock that excludes this one after clients that are gone were thrown out. 1: the lock was dropped meanwhile,
 * begin again; 0: *status says. */
static int conflict_locked(struct state *s, struct sfile *f, const struct client *me, const void *owner,
                           uint64_t start, uint64_t end, bool write, bool may_block,
                           struct lock_denied *denied, nfsstat4 *status)
{
    const struct lockrange *lr = lockset_conflict(&f->locks, owner, start, end, write);
    struct client *other;

    *status = NFS4_OK;
    if (!lr)
        return 0;
    other = ((struct lock_state *)lr->owner)->st.client;
    if (other != me && client_expired_locked(s, other))
        return client_evict_locked(s, other, may_block, status);
    fill_denied(denied, lr);
    *status = NFS4ERR_DENIED;
    return 0;
}

/* It is another one's turn: as if that one had the lock. */
static nfsstat4 denied_by_wait(struct lock_denied *d, const struct lock_wait *w)
{
    d->offset = w->start;
    d->length = w->end == UINT64_MAX ? UINT64_MAX : w->end - w->start + 1;
    d->write = w->write;
    d->clientid = w->client->id;
    d->owner_len = w->owner_len;
    memcpy(d->owner, w->owner, w->owner_len);
    return NFS4ERR_DENIED;
}

static struct lock_state *mine_locked(const struct state_owner *o, const struct sfile *f)
{
    if (!o)
        return NULL;
    list_for_each (it, &o->states) {
        struct lock_state *ls = list_entry(it, struct lock_state, in_owner);

        if (ls->open->file == f)
            return ls;
    }
    return NULL;
}

/* The open and, if there is one already, the lock state of a LOCK. */
static nfsstat4 subject_locked(struct state *s, struct lock_request *r, struct open_state **os,
                               struct lock_state **ls, struct state_owner **owner)
{
    struct stid *st;
    nfsstat4 status;

    *ls = NULL;
    *owner = NULL;
    status = stid_find_locked(s, r->minor, r->client, &r->stateid, r->new_owner ? STID_OPEN : STID_LOCK,
                              false, &st);
    if (status)
        return status;
    if (r->new_owner) {
        *os = container_of(st, struct open_state, st);
        if (r->minor == 0 && r->clientid != st->client->id)
            return r->clientid >> 32 == s->epoch ? NFS4ERR_BAD_STATEID : NFS4ERR_STALE_CLIENTID;
    } else {
        *ls = container_of(st, struct lock_state, st);
        *os = (*ls)->open;
    }
    if ((*os)->file->key.volume != r->file.volume || (*os)->file->key.ino != r->file.ino ||
        !(*os)->owner->confirmed)
        return NFS4ERR_BAD_STATEID;
    if (!r->new_owner)
        return NFS4_OK;
    *owner = owner_find_locked(s, st->client, OWNER_LOCK, r->owner, r->owner_len);
    *ls = mine_locked(*owner, (*os)->file);
    if (*owner && r->minor == 0 && (*owner)->has_reply && r->lock_seqid != (*owner)->seqid + 1)
        return NFS4ERR_BAD_SEQID;
    return NFS4_OK;
}

static struct lock_state *make_locked(struct state *s, const struct lock_request *r,
                                      struct open_state *os, struct state_owner *o, nfsstat4 *status)
{
    struct client *cl = os->st.client;
    struct lock_state *ls;

    *status = cl->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    if (!o) {
        o = owner_make_locked(s, cl, OWNER_LOCK, r->owner, r->owner_len, status);
        if (!o)
            return NULL;
    }
    ls = calloc(1, sizeof *ls);
    if (!ls) {
        if (list_empty(&o->states) && !o->busy)
            owner_free_locked(s, o);
        return NULL;
    }
    if (cl->minor == 0) { /* the next request comes with its lock stateid and seqid + 1 */
        o->seqid = r->lock_seqid;
        o->has_reply = false;
    }
    o->used = clock_mono_ms();
    ls->owner = o;
    ls->open = os;
    stid_add_locked(s, cl, &ls->st, STID_LOCK);
    list_add_tail(&o->states, &ls->in_owner);
    list_add_tail(&os->locks, &ls->in_open);
    return ls;
}

static void bump_locked(struct state *s, struct lock_state *ls, int delta, stateid4 *out)
{
    ls->nranges += delta;
    ls->st.client->nranges += delta;
    user_add(s->users, ls->open->user, USER_LOCKS, delta);
    s->nranges += delta;
    if (++ls->st.seqid == 0)
        ls->st.seqid = 1;
    stid_fill(s, &ls->st, out);
}

nfsstat4 lock_set(struct state *s, struct lock_request *r, bool may_block)
{
    const struct lock_wait *ahead;
    struct state_owner *o;
    struct open_state *os;
    struct lock_state *ls;
    struct client *cl;
    const void *owner;
    nfsstat4 status;
    size_t owner_len;
    uint64_t end;
    bool made;
    int delta;

    status = check_range(r->offset, r->length, &end);
    if (status)
        return status;
    st_lock(s);
again:
    status = subject_locked(s, r, &os, &ls, &o);
    if (status)
        goto out;
    cl = os->st.client;
    status = r->reclaim ? grace_reclaim_locked(s, cl) : grace_normal_locked(s, cl);
    if (status)
        goto out;
    if (!(os->access & (r->write ? SHARE_WRITE : SHARE_READ))) {
        status = NFS4ERR_OPENMODE;
        goto out;
    }
    if (conflict_locked(s, os->file, cl, ls, r->offset, end, r->write, may_block, &r->denied, &status))
        goto again;
    owner = ls ? ls->owner->bytes : r->owner;
    owner_len = ls ? ls->owner->len : r->owner_len;
    if (!status && !r->reclaim) {
        ahead = wait_ahead_locked(os->file, cl, owner, owner_len, r->offset, end, r->write);
        if (ahead)
            status = denied_by_wait(&r->denied, ahead);
    }
    if (status) {
        if (status == NFS4ERR_DENIED && r->reclaim)
            status = NFS4ERR_RECLAIM_CONFLICT;
        else if (status == NFS4ERR_DENIED && r->wait)
            wait_add_locked(s, r, cl, os->file, owner, owner_len, end);
        goto out;
    }
    if (client_make_room_locked(s, user_id(os->user), may_block, &status))
        goto again;
    if (status)
        goto out;
    status = cl->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    if (cl->nranges + 2 > s->conf.max_locks || s->nranges + 2 > STATE_RANGES_MAX ||
        s->stids.count >= STATE_STIDS_MAX) {
        client_limit_log_locked(cl, "byte-range locks");
        goto out;
    }
    if (!user_room(s->users, os->user, USER_LOCKS, 2))
        goto out;
    made = !ls;
    if (made)
        ls = make_locked(s, r, os, o, &status);
    if (!ls)
        goto out;
    status = cl->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    if (lockset_set(&os->file->locks, ls, r->offset, end, r->write, &delta)) {
        if (made)
            lock_free_locked(s, ls);
        goto out;
    }
    bump_locked(s, ls, delta, &r->stateid);
    if (!list_empty(&os->file->waits)) {
        wait_drop_locked(os->file, cl, owner, owner_len);
        wait_wake_locked(s, os->file); /* it may have been a write lock before */
    }
    status = NFS4_OK;
out:
    st_unlock(s);
    return status;
}

nfsstat4 lock_test(struct state *s, struct lock_request *r, bool may_block)
{
    struct lock_state *ls;
    struct client *cl;
    struct sfile *f;
    nfsstat4 status;
    uint64_t end;

    status = check_range(r->offset, r->length, &end);
    if (status)
        return status;
    st_lock(s);
again:
    status = client_use_locked(s, r->minor ? r->client : r->clientid, r->minor, &cl);
    if (status)
        goto out;
    if (s->in_grace) {
        status = NFS4ERR_GRACE;
        goto out;
    }
    f = sfile_find_locked(s, &r->file);
    if (!f)
        goto out;
    if (deleg_conflict_locked(s, f, cl, false)) { /* its holder need not tell us its locks */
        status = NFS4ERR_DELAY;
        goto out;
    }
    ls = mine_locked(owner_find_locked(s, cl, OWNER_LOCK, r->owner, r->owner_len), f);
    if (conflict_locked(s, f, cl, ls, r->offset, end, r->write, may_block, &r->denied, &status))
        goto again;
out:
    st_unlock(s);
    return status;
}

nfsstat4 lock_unset(struct state *s, struct lock_request *r)
{
    struct lock_state *ls;
    struct stid *st;
    nfsstat4 status;
    uint64_t end;
    int delta;

    status = check_range(r->offset, r->length, &end);
    if (status)
        return status;
    st_lock(s);
    status = stid_find_locked(s, r->minor, r->client, &r->stateid, STID_LOCK, false, &st);
    if (status)
        goto out;
    ls = container_of(st, struct lock_state, st);
    if (ls->open->file->key.volume != r->file.volume || ls->open->file->key.ino != r->file.ino) {
        status = NFS4ERR_BAD_STATEID;
        goto out;
    }
    if (lockset_clear(&ls->open->file->locks, ls, r->offset, end, &delta)) {
        status = r->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
        goto out;
    }
    bump_locked(s, ls, delta, &r->stateid);
    wait_wake_locked(s, ls->open->file);
out:
    st_unlock(s);
    return status;
}

nfsstat4 lock_release_owner(struct state *s, uint64_t clientid, const void *owner, size_t len)
{
    struct state_owner *o;
    struct client *cl;
    nfsstat4 status;

    st_lock(s);
    status = client_use_locked(s, clientid, 0, &cl);
    if (status)
        goto out;
    o = owner_find_locked(s, cl, OWNER_LOCK, owner, len);
    if (!o)
        goto out;
    list_for_each (it, &o->states) {
        if (list_entry(it, struct lock_state, in_owner)->nranges) {
            status = NFS4ERR_LOCKS_HELD;
            goto out;
        }
    }
    while (!list_empty(&o->states))
        lock_free_locked(s, list_first(&o->states, struct lock_state, in_owner));
    owner_free_locked(s, o);
out:
    st_unlock(s);
    return status;
}
