/* SPDX-License-Identifier: Apache-2.0
 * client_record: the durable records of clients, and which clients go, with theirs, when they are in the way or room is
 * needed (client.c, 4).
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
    st_unlock(s);
    rc = statedb_del_client(s->conf.db, cl->minor, cl->owner, cl->owner_len);
    st_lock(s);
    cl->recording = false;
    if (rc && rc != -ENOENT)
        return false;
    cl->recorded = false;
    return true;
}

bool client_forget_idle_locked(struct state *s, uint64_t now, uint64_t idle_ms)
{
    if (s->in_grace || !s->conf.db)
        return false;
    list_for_each (it, &s->all) {
        struct client *cl = list_entry(it, struct client, in_all);
        uint64_t id = cl->id;

        if (!cl->recorded || client_pinned(cl) || cl->nopens || cl->ndelegs || cl->recorded_ms + idle_ms > now)
            continue;
        if (!client_forget_locked(s, cl))
            return false;
        cl = client_find_locked(s, id, true);
        if (cl && (cl->nopens || cl->ndelegs)) { /* an open came in between: it relied on the record */
            st_unlock(s);
            (void)client_record(s, id, true);
            st_lock(s);
        }
        return true;
    }
    return false;
}

nfsstat4 client_record(struct state *s, uint64_t clientid, bool may_block)
{
    struct client_row row;
    struct client *cl;
    nfsstat4 status = NFS4_OK;
    int rc;

    st_lock(s);
    cl = client_find_locked(s, clientid, true);
    if (!cl || cl->going)
        status = NFS4ERR_STALE_CLIENTID;
    else if (cl->recorded)
        status = NFS4_OK;
    else if (!may_block)
        status = STATE_BLOCK;
    else if (cl->recording)
        status = NFS4ERR_DELAY;
    else {
        row = (struct client_row){.minor = cl->minor, .owner = cl->owner, .owner_len = cl->owner_len};
        memcpy(row.principal, cl->principal, sizeof row.principal);
        cl->recording = true; /* keeps cl: client_pinned() */
        st_unlock(s);
        rc = statedb_put_client(s->conf.db, &row);
        st_lock(s);
        cl->recording = false;
        cl->recorded = rc == 0;
        if (rc)
            status = rc == -ENOSPC ? NFS4ERR_NOSPC : NFS4ERR_DELAY;
    }
    if (status == NFS4_OK)
        cl->recorded_ms = clock_mono_ms();
    st_unlock(s);
    return status;
}
