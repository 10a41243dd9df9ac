/* SPDX-License-Identifier: Apache-2.0
 * owner: open and lock owners, and in 4.0 the order of their requests (RFC 7530 section 9.1.7).
 *
 * An owner of 4.0 handles one request at a time: busy from owner_begin to owner_end. seqid is that of the last
 * request that counted, whose reply is kept: the same seqid again is a repetition, the next one is
 * new, anything else is NFS4ERR_BAD_SEQID. In 4.1 an owner is only a name for its opens or locks.
 */
#include "server/state/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

static uint64_t hash(const struct state *s, const struct client *cl, enum owner_kind kind,
                     const void *bytes, size_t len)
{
    return htab_hash_bytes(bytes, len, s->seed ^ htab_hash_u64(cl->id * 2 + kind));
}

struct state_owner *owner_find_locked(struct state *s, struct client *cl, enum owner_kind kind,
                                      const void *bytes, size_t len)
{
    uint64_t h = hash(s, cl, kind, bytes, len);

    for (struct hnode *n = htab_first(&s->owners, h); n; n = htab_next(n, h)) {
        struct state_owner *o = container_of(n, struct state_owner, node);

        if (o->client == cl && o->kind == kind && o->len == len && !memcmp(o->bytes, bytes, len))
            return o;
    }
    return NULL;
}

struct state_owner *owner_make_locked(struct state *s, struct client *cl, enum owner_kind kind,
                                      const void *bytes, size_t len, nfsstat4 *err)
{
    struct state_owner *o;

    *err = cl->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;
    if (cl->nowners >= CLIENT_OWNERS_MAX || s->owners.count >= STATE_OWNERS_MAX) {
        client_limit_log_locked(cl, "open and lock owners");
        return NULL;
    }
    o = calloc(1, sizeof *o + len + 1);
    if (!o)
        return NULL;
    o->client = cl;
    o->kind = kind;
    o->len = len;
    memcpy(o->bytes, bytes, len);
    o->confirmed = cl->minor > 0 || kind == OWNER_LOCK;
    o->used = clock_mono_ms();
    list_init(&o->states);
    list_add_tail(&cl->owners, &o->in_client);
    cl->nowners++;
    htab_add(&s->owners, &o->node, hash(s, cl, kind, bytes, len));
    return o;
}

/* Out of every table; o stays while a request of it runs. */
void owner_free_locked(struct state *s, struct state_owner *o)
{
    htab_del(&s->owners, &o->node);
    list_del(&o->in_client);
    o->client->nowners--;
    o->client = NULL;
    o->dead = true;
    if (!o->busy) {
        free(o->reply);
        free(o);
    }
}

/* Waits until no request of o runs. false: it is gone. */
static bool wait_idle_locked(struct state *s, uint64_t clientid, enum owner_kind kind, const char *bytes,
                             size_t len, struct state_owner **o)
{
    struct timespec until;
    struct client *cl;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 10;
    while (*o && (*o)->busy) {
        if (pthread_cond_timedwait(&s->owner_idle, &s->lock, &until))
            return false;
        cl = client_find_locked(s, clientid, true);
        *o = cl ? owner_find_locked(s, cl, kind, bytes, len) : NULL;
    }
    return true;
}

/* The rules of seqids for an owner that is idle. */
static nfsstat4 begin_locked(struct state_owner *o, uint32_t op, uint32_t seqid, bool first,
                             struct owner_call *oc)
{
    oc->owner = o;
    oc->seqid = seqid;
    oc->op = op;
    if (!first && seqid == o->seqid && o->has_reply) {
        if (o->reply_op != op)
            return NFS4ERR_BAD_SEQID;
        oc->replay = true;
        oc->status = o->reply_status;
        oc->reply = o->reply;
        oc->reply_len = o->reply_len;
    } else if (!first && seqid != o->seqid + 1 && !(seqid == 0 && o->seqid == UINT32_MAX)) {
        return NFS4ERR_BAD_SEQID;
    }
    oc->fresh = !o->confirmed;
    o->busy = true;
    o->used = clock_mono_ms();
    return NFS4_OK;
}

nfsstat4 owner_begin(struct state *s, uint64_t clientid, const void *owner, size_t len, uint32_t op,
                     uint32_t seqid, bool may_block, struct owner_call *oc)
{
    struct state_owner *o;
    struct client *cl;
    nfsstat4 status;
    bool first = false;

    memset(oc, 0, sizeof *oc);
    st_lock(s);
again:
    status = client_use_locked(s, clientid, 0, &cl);
    if (status)
        goto out;
    o = owner_find_locked(s, cl, OWNER_OPEN, owner, len);
    if (o && o->busy) {
        status = STATE_BLOCK;
        if (!may_block)
            goto out;
        status = NFS4ERR_RESOURCE;
        if (!wait_idle_locked(s, clientid, OWNER_OPEN, owner, len, &o))
            goto out;
        cl = client_find_locked(s, clientid, true);
        status = NFS4ERR_EXPIRED;
        if (!cl)
            goto out;
    }
    if (o && !o->confirmed) { /* RFC 7530 16.18.5: it was never confirmed, so forget it */
        owner_drop_opens_locked(s, o);
        owner_free_locked(s, o);
        o = NULL;
    }
    if (!o) {
        if (client_make_room_locked(s, 0, may_block, &status))
            goto again;
        if (status) {
            if (status != STATE_BLOCK)
                status = NFS4ERR_RESOURCE; /* this does not count */
            goto out;
        }
        o = owner_make_locked(s, cl, OWNER_OPEN, owner, len, &status);
        if (!o)
            goto out;
        first = true;
    }
    status = begin_locked(o, op, seqid, first, oc);
out:
    st_unlock(s);
    return status;
}

/* The owner of a stateid; also of the one that was closed last, for a repeated CLOSE. */
static nfsstat4 by_stateid_locked(struct state *s, const stateid4 *sid, enum owner_kind kind, uint32_t op,
                                  struct state_owner **out)
{
    struct client *cl;
    struct stid *st;
    nfsstat4 status;

    status = stid_find_locked(s, 0, 0, sid, kind == OWNER_OPEN ? STID_OPEN : STID_LOCK, true, &st);
    if (!status) {
        *out = kind == OWNER_OPEN ? container_of(st, struct open_state, st)->owner
                                  : container_of(st, struct lock_state, st)->owner;
        return NFS4_OK;
    }
    if (status != NFS4ERR_BAD_STATEID || op != OP_CLOSE)
        return status;
    cl = client_find_locked(s, (uint64_t)s->epoch << 32 | stid_wire_client(sid), true);
    if (!cl || stid_wire_epoch(sid) != s->epoch || !stid_wire_index(sid))
        return status;
    list_for_each (it, &cl->owners) {
        struct state_owner *o = list_entry(it, struct state_owner, in_client);

        if (o->kind == OWNER_OPEN && o->closed_index == stid_wire_index(sid)) {
            *out = o;
            return NFS4_OK;
        }
    }
    return status;
}

nfsstat4 owner_begin_stateid(struct state *s, const stateid4 *sid, enum owner_kind kind, uint32_t op,
                             uint32_t seqid, bool may_block, struct owner_call *oc)
{
    uint64_t clientid = 0;
    struct state_owner *o;
    char *bytes = NULL;
    nfsstat4 status;

    memset(oc, 0, sizeof *oc);
    st_lock(s);
    status = by_stateid_locked(s, sid, kind, op, &o);
    if (!status && o->busy) {
        status = STATE_BLOCK;
        if (!may_block)
            goto out;
        status = NFS4ERR_RESOURCE;
        clientid = o->client->id;
        bytes = malloc(o->len + 1);
        if (!bytes)
            goto out;
        size_t len = o->len;
        memcpy(bytes, o->bytes, len);
        if (!wait_idle_locked(s, clientid, kind, bytes, len, &o))
            goto out;
        status = by_stateid_locked(s, sid, kind, op, &o);
        if (!status && o->busy)
            status = NFS4ERR_RESOURCE;
    }
    if (!status)
        status = begin_locked(o, op, seqid, false, oc);
out:
    st_unlock(s);
    free(bytes);
    return status;
}

/* RFC 7530 section 9.1.7: these leave the seqid as it is. */
static bool counts(nfsstat4 status)
{
    switch (status) {
    case NFS4ERR_STALE_CLIENTID:
    case NFS4ERR_STALE_STATEID:
    case NFS4ERR_BAD_STATEID:
    case NFS4ERR_BAD_SEQID:
    case NFS4ERR_BADXDR:
    case NFS4ERR_RESOURCE:
    case NFS4ERR_NOFILEHANDLE:
    case NFS4ERR_MOVED:
        return false;
    default:
        return status != STATE_BLOCK;
    }
}

void owner_end(struct state *s, struct owner_call *oc, nfsstat4 status, const void *reply, size_t len)
{
    struct state_owner *o = oc->owner;
    void *keep = NULL;

    if (!o)
        return;
    oc->owner = NULL;
    if (!oc->replay && counts(status) && len) {
        keep = malloc(len);
        if (keep)
            memcpy(keep, reply, len);
    }
    st_lock(s);
    if (!oc->replay && counts(status)) {
        o->seqid = oc->seqid;
        free(o->reply);
        o->reply = keep;
        o->reply_len = keep ? len : 0;
        o->has_reply = !len || keep;
        o->reply_op = oc->op;
        o->reply_status = status;
        if (oc->op != OP_CLOSE)
            o->closed_index = 0;
    }
    o->busy = false;
    if (o->dead) {
        free(o->reply);
        free(o);
    } else if (!oc->replay && oc->fresh && !o->has_reply && list_empty(&o->states)) {
        owner_free_locked(s, o); /* its first request did not count: nothing is known of it */
    }
    pthread_cond_broadcast(&s->owner_idle);
    st_unlock(s);
}
