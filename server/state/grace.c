/* SPDX-License-Identifier: Apache-2.0
 * grace: who may reclaim, and until when.
 *
 * 1. grace_recs are the records that statedb had at start. A client that comes back with the same owner and
 *    principal is tied to its record and may reclaim.
 * 2. Grace ends early when every record is done; then no record is without its client.
 * 3. The time is extended while clients reclaim, up to twice the grace time in all. When it is up, the records of
 *    clients that did not come back go from the disk first, then grace ends: what they held may now be
 *    given away, so they may never reclaim again (RFC 8881 8.4.3).
 * 4. Clients that hold nothing lose their records (client_record.c, 2), but not during grace: nobody waits for them
 *    after a restart.
 */
#include "server/state/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

static int load(void *arg, const struct client_row *row)
{
    struct state *s = arg;
    struct grace_rec *r;

    if (row->owner_len > CLIENT_OWNER_MAX)
        return 0;
    r = calloc(1, sizeof *r + row->owner_len + 1);
    if (!r)
        return -ENOMEM;
    r->minor = row->minor;
    r->owner_len = row->owner_len;
    memcpy(r->owner, row->owner, row->owner_len);
    memcpy(r->principal, row->principal, sizeof r->principal - 1);
    list_add_tail(&s->grace_recs, &r->node);
    s->grace_pending++;
    return 0;
}

int grace_init(struct state *s)
{
    int err = s->conf.db ? statedb_list_clients(s->conf.db, load, s) : 0;

    if (err < 0)
        return err;
    if (s->grace_pending) {
        s->in_grace = true;
        s->grace_until = clock_mono_ms() + 1000ull * s->conf.grace_seconds;
        s->grace_end = s->grace_until + 1000ull * s->conf.grace_seconds;
        log_info("%u clients may reclaim their opens and locks for at most %u s", s->grace_pending,
                 s->conf.grace_seconds);
    }
    return 0;
}

void grace_release(struct state *s)
{
    list_for_each_safe (it, &s->grace_recs) {
        struct grace_rec *r = list_entry(it, struct grace_rec, node);

        list_del(&r->node);
        free(r);
    }
}

void grace_client_locked(struct state *s, struct client *cl)
{
    list_for_each (it, &s->grace_recs) {
        struct grace_rec *r = list_entry(it, struct grace_rec, node);

        if (r->gone || r->minor != cl->minor || r->owner_len != cl->owner_len ||
            memcmp(r->owner, cl->owner, cl->owner_len))
            continue;
        if (strcmp(r->principal, cl->principal))
            return;
        r->seen = true;
        cl->rec = r;
        cl->recorded = true;
        cl->recorded_ms = clock_mono_ms();
        cl->reclaim_ok = s->in_grace && !r->done;
        return;
    }
}

void grace_done_locked(struct state *s, struct client *cl)
{
    cl->reclaim_ok = false;
    if (!cl->rec || cl->rec->done)
        return;
    cl->rec->done = true;
    if (--s->grace_pending == 0 && s->in_grace)
        s->in_grace = false;
}

bool state_in_grace(struct state *s)
{
    bool in;

    st_lock(s);
    in = s->in_grace;
    st_unlock(s);
    return in;
}

/* Who is at it gets this much longer each time, up to another grace time in all. */
#define RECLAIM_MS 2000u

nfsstat4 grace_reclaim_locked(struct state *s, const struct client *cl)
{
    uint64_t now;

    if (!s->in_grace || (cl->minor && cl->reclaim_complete))
        return NFS4ERR_NO_GRACE;
    if (!cl->reclaim_ok)
        return NFS4ERR_RECLAIM_BAD;
    now = clock_mono_ms();
    if (s->grace_until < now + RECLAIM_MS)
        s->grace_until = now + RECLAIM_MS < s->grace_end ? now + RECLAIM_MS : s->grace_end;
    return NFS4_OK;
}

/* 4.0 has no RECLAIM_COMPLETE, but a client reclaims before it does anything else: who keeps asking for something
 * new has nothing left to reclaim. The first answers are NFS4ERR_GRACE all the same. */
#define ASKED_NEW_MAX 3

nfsstat4 grace_normal_locked(struct state *s, struct client *cl)
{
    if (cl->minor == 0 && s->in_grace && ++cl->asked_new >= ASKED_NEW_MAX)
        grace_done_locked(s, cl);
    if (s->in_grace || (cl->minor && !cl->reclaim_complete))
        return NFS4ERR_GRACE;
    return NFS4_OK;
}

nfsstat4 grace_check(struct state *s, uint32_t minor, uint64_t clientid, bool reclaim)
{
    struct client *cl;
    nfsstat4 status;

    st_lock(s);
    status = client_use_locked(s, clientid, minor, &cl);
    if (!status)
        status = reclaim ? grace_reclaim_locked(s, cl) : grace_normal_locked(s, cl);
    st_unlock(s);
    return status;
}

/* The record of a client that did not come back, or NULL. */
static struct grace_rec *unseen_locked(struct state *s)
{
    list_for_each (it, &s->grace_recs) {
        struct grace_rec *r = list_entry(it, struct grace_rec, node);

        if (!r->seen)
            return r;
    }
    return NULL;
}

void grace_tick(struct state *s)
{
    struct grace_rec *r;
    bool tell = false;
    unsigned lost = 0;
    int err;

    st_lock(s);
    if (s->in_grace && clock_mono_ms() >= s->grace_until) {
        while ((r = unseen_locked(s))) {
            r->seen = r->gone = true; /* one that comes back now finds nothing to reclaim */
            st_unlock(s);
            err = statedb_del_client(s->conf.db, r->minor, r->owner, r->owner_len);
            st_lock(s);
            if (err && err != -ENOENT) {
                r->seen = r->gone = false; /* grace goes on until the disk lets us forget it */
                st_unlock(s);
                return;
            }
            lost++;
        }
        s->in_grace = false;
    }
    if (!s->in_grace && !s->grace_told) {
        s->grace_told = tell = true;
        if (!list_empty(&s->grace_recs))
            log_info("grace is over; %u clients did not come back", lost);
        list_for_each (it, &s->all) {
            struct client *cl = list_entry(it, struct client, in_all);

            cl->rec = NULL;
            cl->reclaim_ok = false;
        }
        grace_release(s);
    }
    st_unlock(s);
    if (tell && s->conf.grace_over)
        s->conf.grace_over(s->conf.ctx);
}
