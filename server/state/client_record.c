/* SPDX-License-Identifier: Apache-2.0
 * client_record: the durable records of clients, and which clients go, with theirs, when they are in the way or room is
 * needed (client.c, 4).
 *
 * 1. `recorded` says that the record is durable. It is false from before the record is removed until it is written
 *    again, and open_grant() looks at it under the lock under which it grants: whoever holds an open has a record, no
 *    matter when it lost its last one. (A client whose delegation was revoked while it is alive is the exception: it
 *    must not reclaim.)
 * 2. A client that holds nothing is forgotten at the next tick once its connections are closed; as long as one is open,
 *    after some idle time. One that comes back after that stays recorded for a second, so that programs of one client
 *    that follow each other quickly do not write each time.
 * 3. However many clients come and go, forgetting them is one synced write per tick.
 * 4. A 4.0 client's connections are those that it was heard on; what cannot be known (a connection that closed before
 *    its last request was carried out) counts as open.
 */
#include "server/state/internal.h"

#include <errno.h>
#include <string.h>

#include "common/clock.h"

int client_evict_locked(struct state *s, struct client *cl, bool may_block, nfsstat4 *err)
{
    int rc;

    if (cl->going || cl->recording) { /* another thread is at it */
        *err = NFS4ERR_DELAY;
        return 0;
    }
    if (!cl->recorded) {
        client_destroy_locked(s, cl);
        return 1;
    }
    if (!may_block) {
        *err = STATE_BLOCK;
        return 0;
    }
    cl->going = true;
    st_unlock(s);
    rc = statedb_del_client(s->conf.db, cl->minor, cl->owner, cl->owner_len);
    st_lock(s);
    cl->going = false;
    if (rc && rc != -ENOENT) {
        *err = NFS4ERR_DELAY;
        return 0;
    }
    client_destroy_locked(s, cl);
    return 1;
}

int client_take_name_locked(struct state *s, struct client *cl, bool may_block, nfsstat4 *err)
{
    if (client_has_state_locked(cl) && !client_expired_locked(s, cl)) {
        *err = NFS4ERR_CLID_INUSE;
        return 0;
    }
    return client_evict_locked(s, cl, may_block, err);
}

/* Does the client hold opens in this user's volumes? 0: anything. */
static bool holds_of(const struct client *cl, uint64_t user)
{
    if (!user)
        return cl->nopens || cl->ndelegs;
    list_for_each (it, &cl->stids) {
        const struct stid *st = list_entry(it, struct stid, in_client);

        if (st->kind == STID_OPEN && user_id(container_of(st, struct open_state, st)->user) == user)
            return true;
    }
    return false;
}

struct client *client_silent_locked(struct state *s, uint64_t user)
{
    struct client *found = NULL;

    list_for_each (it, &s->all) {
        struct client *cl = list_entry(it, struct client, in_all);

        if (cl->confirmed && !client_pinned(cl) && client_expired_locked(s, cl) &&
            (!found || cl->renewed < found->renewed) && holds_of(cl, user))
            found = cl;
    }
    return found;
}

int client_make_room_locked(struct state *s, uint64_t user, bool may_block, nfsstat4 *err)
{
    bool full = s->stids.count >= STATE_STIDS_MAX || s->owners.count >= STATE_OWNERS_MAX ||
                s->nranges + 2 > STATE_RANGES_MAX;
    uint64_t now;
    struct client *cl;

    *err = NFS4_OK;
    if (!full && user_fits(s->users, user))
        return 0;
    now = clock_mono_ms();
    if (now < s->no_room_until)
        return 0;
    cl = client_silent_locked(s, full ? 0 : user);
    if (cl)
        return client_evict_locked(s, cl, may_block, err);
    s->no_room_until = now + NO_ROOM_MS;
    return 0;
}

bool client_forget_locked(struct state *s, struct client *cl)
{
    int rc;

    if (client_pinned(cl))
        return false;
    cl->recording = true; /* keeps cl */
    cl->recorded = false;
    st_unlock(s);
    rc = statedb_del_client(s->conf.db, cl->minor, cl->owner, cl->owner_len);
    st_lock(s);
    cl->recording = false;
    cl->recorded = rc && rc != -ENOENT;
    pthread_cond_broadcast(&s->record_idle);
    return !cl->recorded;
}

/* Does it have a connection, as far as is known? */
static bool connected(const struct client *cl)
{
    if (!cl->minor)
        return !cl->had_conn || !list_empty(&cl->conns40);
    list_for_each (it, &cl->sessions)
        if (session_of_node(it)->nconns)
            return true;
    return false;
}

/* A client that came back once is one whose programs come and go. */
#define FORGET_AGAIN_MS 1000u
#define FORGET_BATCH    256

static bool idle(const struct client *cl, uint64_t now, uint64_t idle_ms)
{
    if (!cl->recorded || client_pinned(cl) || cl->nopens || cl->ndelegs)
        return false;
    if (connected(cl))
        return cl->recorded_ms + idle_ms <= now;
    return !cl->forgotten || cl->recorded_ms + (idle_ms < FORGET_AGAIN_MS ? idle_ms : FORGET_AGAIN_MS) <= now;
}

unsigned client_forget_idle_locked(struct state *s, uint64_t now, uint64_t idle_ms)
{
    struct client *found[FORGET_BATCH];
    struct client_row rows[FORGET_BATCH];
    unsigned n = 0;
    int rc;

    if (s->in_grace || !s->conf.db)
        return 0;
    list_for_each (it, &s->all) {
        struct client *cl = list_entry(it, struct client, in_all);

        if (n == FORGET_BATCH || !idle(cl, now, idle_ms))
            continue;
        cl->recording = true; /* keeps cl */
        cl->recorded = false;
        rows[n] = (struct client_row){.minor = cl->minor, .owner = cl->owner, .owner_len = cl->owner_len};
        found[n++] = cl;
    }
    if (!n)
        return 0;
    st_unlock(s);
    rc = statedb_del_clients(s->conf.db, rows, n);
    st_lock(s);
    for (unsigned i = 0; i < n; i++) {
        found[i]->recording = false;
        found[i]->recorded = rc != 0;
        found[i]->forgotten |= rc == 0;
    }
    pthread_cond_broadcast(&s->record_idle);
    return rc ? 0 : n;
}

nfsstat4 client_record(struct state *s, uint64_t clientid, bool may_block)
{
    struct client_row row;
    struct client *cl;
    nfsstat4 status = NFS4_OK;
    int rc;

    st_lock(s);
    while ((cl = client_find_locked(s, clientid, true)) && cl->recording && !cl->recorded && may_block)
        pthread_cond_wait(&s->record_idle, &s->lock);
    if (!cl || cl->going)
        status = NFS4ERR_STALE_CLIENTID;
    else if (cl->recorded)
        status = NFS4_OK;
    else if (!may_block)
        status = STATE_BLOCK;
    else {
        row = (struct client_row){.minor = cl->minor, .owner = cl->owner, .owner_len = cl->owner_len};
        memcpy(row.principal, cl->principal, sizeof row.principal);
        cl->recording = true; /* keeps cl: client_pinned() */
        st_unlock(s);
        rc = statedb_put_client(s->conf.db, &row);
        st_lock(s);
        cl->recording = false;
        cl->recorded = rc == 0;
        pthread_cond_broadcast(&s->record_idle);
        if (rc)
            status = rc == -ENOSPC ? NFS4ERR_NOSPC : NFS4ERR_DELAY;
    }
    if (status == NFS4_OK)
        cl->recorded_ms = clock_mono_ms();
    st_unlock(s);
    return status;
}
