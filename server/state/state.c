/* SPDX-License-Identifier: Apache-2.0
 * state: the lock, the tables and the clock of all client state.
 */
#include "server/state/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

void st_lock(struct state *s)
{
    pthread_mutex_lock(&s->lock);
}

void st_unlock(struct state *s)
{
    struct trash *t = s->trash, *next;

    s->trash = NULL;
    pthread_mutex_unlock(&s->lock);
    for (; t; t = next) {
        next = t->next;
        t->run(s, t);
    }
}

void st_trash(struct state *s, struct trash *t)
{
    t->next = s->trash;
    s->trash = t;
}

int state_new(const struct state_conf *conf, struct state **out)
{
    struct state *s = calloc(1, sizeof *s);
    int err = -ENOMEM;

    if (!s)
        return -ENOMEM;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->owner_idle, &attr);
    pthread_cond_init(&s->record_idle, &attr);
    pthread_cond_init(&s->deleg_changed, &attr);
    pthread_condattr_destroy(&attr);
    s->conf = *conf;
    state_set_limits(s, conf->max_opens, conf->max_locks);
    if (!s->conf.lease_seconds)
        s->conf.lease_seconds = 90;
    if (!s->conf.grace_seconds)
        s->conf.grace_seconds = s->conf.lease_seconds;
    s->seed = clock_random64();
    clock_random(s->secret, sizeof s->secret);
    /* Boots of one store differ in the low bits, those of another store (or of this one made anew) very likely in
     * the high ones; neither 0 nor all ones can come out. */
    s->epoch = (uint32_t)(conf->epoch & 0xfffff) | ((uint32_t)(clock_random64() & 0x7ff) | 0x400) << 20;
    list_init(&s->all);
    list_init(&s->grace_recs);
    list_init(&s->recalled);
    list_init(&s->notify);
    list_init(&s->told);
    if (users_new(&s->users))
        goto fail;
    users_set_limits(s->users, conf->max_user);
    if (htab_init(&s->clients, 64) || htab_init(&s->names, 64) || htab_init(&s->sessions, 64) ||
        htab_init(&s->files, 256) || htab_init(&s->stids, 256) || htab_init(&s->owners, 256) ||
        htab_init(&s->conns, 64) || htab_init(&s->conns40, 64))
        goto fail;
    err = grace_init(s);
    if (err)
        goto fail;
    *out = s;
    return 0;
fail:
    state_free(s);
    return err;
}

void state_free(struct state *s)
{
    if (!s)
        return;
    st_lock(s);
    s->cb_ops = NULL;
    list_for_each_safe (it, &s->all)
        client_destroy_locked(s, list_entry(it, struct client, in_all));
    st_unlock(s);
    grace_release(s);
    users_free(s->users);
    htab_release(&s->clients);
    htab_release(&s->names);
    htab_release(&s->sessions);
    htab_release(&s->conns);
    htab_release(&s->conns40);
    htab_release(&s->files);
    htab_release(&s->stids);
    htab_release(&s->owners);
    pthread_cond_destroy(&s->owner_idle);
    pthread_cond_destroy(&s->record_idle);
    pthread_cond_destroy(&s->deleg_changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

uint32_t state_lease_seconds(const struct state *s)
{
    return s->conf.lease_seconds;
}

/* Owners of 4.0 outlive their opens, because their seqids go on; one that was silent for two leases goes. */
static void trim_owners_locked(struct state *s, struct client *cl, uint64_t now)
{
    uint64_t idle = 2000ull * s->conf.lease_seconds;

    list_for_each_safe (it, &cl->owners) {
        struct state_owner *o = list_entry(it, struct state_owner, in_client);

        if (!o->busy && list_empty(&o->states) && o->used + idle < now)
            owner_free_locked(s, o);
    }
}

/* One client that should go by itself, or NULL: unconfirmed ones, silent ones without state, those that were silent for
 * a day, and while there is much state in all, whoever was silent longest. */
static struct client *overdue_locked(struct state *s, uint64_t now)
{
    list_for_each_safe (it, &s->all) {
        struct client *cl = list_entry(it, struct client, in_all);

        if (cl->going || !client_expired_locked(s, cl))
            continue;
        if (!cl->confirmed) {
            client_destroy_locked(s, cl);
            continue;
        }
        if ((!cl->nopens && !cl->ndelegs && cl->renewed + 2000ull * s->conf.lease_seconds < now) ||
            cl->renewed + COURTESY_MS < now)
            return cl;
    }
    return s->stids.count > STATE_COURTEOUS ? client_silent_locked(s, 0) : NULL;
}

/* How long the record of a client that is connected outlives its last open: many programs open one file after
 * another. */
#define FORGET_IDLE_MS 10000u

void state_tick(struct state *s)
{
    uint64_t now = clock_mono_ms();
    nfsstat4 err;
    struct client *cl;

    users_tick(s->users);
    grace_tick(s);
    deleg_tick(s);
    st_lock(s);
    wait_tick_locked(s);
    list_for_each (it, &s->all)
        trim_owners_locked(s, list_entry(it, struct client, in_all), now);
    for (int n = 0; n < 100 && (cl = overdue_locked(s, now)); n++)
        if (!client_evict_locked(s, cl, true, &err))
            break;
    (void)client_forget_idle_locked(s, now, FORGET_IDLE_MS);
    st_unlock(s);
}

void state_set_limits(struct state *s, uint32_t max_opens, uint32_t max_locks)
{
    st_lock(s);
    s->conf.max_opens = max_opens ? max_opens : CLIENT_OPENS_MAX;
    s->conf.max_locks = max_locks ? max_locks : CLIENT_RANGES_MAX;
    st_unlock(s);
}

struct users *state_users(struct state *s)
{
    return s->users;
}

void state_stop(struct state *s)
{
    st_lock(s);
    while (client_forget_idle_locked(s, clock_mono_ms(), 0))
        ;
    st_unlock(s);
}

void state_count(struct state *s, struct state_counts *out)
{
    memset(out, 0, sizeof *out);
    st_lock(s);
    out->clients = s->clients.count;
    out->sessions = s->sessions.count;
    out->owners = s->owners.count;
    out->files = s->files.count;
    list_for_each (it, &s->all) {
        const struct client *cl = list_entry(it, struct client, in_all);

        out->opens += cl->nopens;
        out->locks += cl->nranges;
        out->delegs += cl->ndelegs;
        out->waits += cl->nwaits;
    }
    st_unlock(s);
}

static const struct client *client_of(struct state *s, uint64_t client)
{
    return client ? client_find_locked(s, client, true) : NULL;
}

/* A special stateid has no open: it must not pass a share reservation or a delegation that denies what it wants. */
static nfsstat4 check_special_locked(struct state *s, uint64_t client, const struct file_key *k,
                                     const stateid4 *sid, enum state_access want)
{
    struct sfile *f = sfile_find_locked(s, k);
    bool bypass = sid->seqid == UINT32_MAX && want == STATE_READ;

    if (s->in_grace)
        return NFS4ERR_GRACE; /* a reservation not reclaimed yet may forbid it */
    if (!f)
        return NFS4_OK;
    list_for_each (it, &f->opens) {
        const struct open_state *os = list_entry(it, struct open_state, in_file);

        if (!bypass && (os->deny & want) && !client_expired_locked(s, os->st.client))
            return NFS4ERR_LOCKED;
    }
    return deleg_conflict_locked(s, f, client_of(s, client), want == STATE_WRITE) ? NFS4ERR_DELAY : NFS4_OK;
}

static nfsstat4 check_deleg(struct deleg *d, const struct file_key *f, enum state_access want,
                            struct state_io *out)
{
    if (d->key.volume != f->volume || d->key.ino != f->ino)
        return NFS4ERR_BAD_STATEID;
    if (want == STATE_WRITE) {
        if (!d->write)
            return NFS4ERR_OPENMODE;
        d->touched = clock_mono_ms();
    }
    *out = (struct state_io){true, (d->access & want) != 0, d->uid, d->st.client->id};
    return NFS4_OK;
}

nfsstat4 state_check_io(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                        const stateid4 *sid, enum state_access want, struct state_io *out)
{
    struct open_state *os;
    struct stid *st;
    nfsstat4 status;

    *out = (struct state_io){0};
    st_lock(s);
    if (stid_special(sid)) {
        status = check_special_locked(s, client, f, sid, want);
        goto out;
    }
    status = stid_find_locked(s, minor, client, sid, STID_OPEN | STID_LOCK | STID_DELEG, false, &st);
    if (status)
        goto out;
    if (st->kind == STID_DELEG) {
        status = check_deleg(container_of(st, struct deleg, st), f, want, out);
        goto out;
    }
    os = st->kind == STID_OPEN ? container_of(st, struct open_state, st)
                               : container_of(st, struct lock_state, st)->open;
    if (os->file->key.volume != f->volume || os->file->key.ino != f->ino || !os->owner->confirmed)
        status = NFS4ERR_BAD_STATEID;
    else if (want == STATE_WRITE ? !(os->access & SHARE_WRITE) : !os->access)
        status = NFS4ERR_OPENMODE; /* reading with a write-only open is allowed: RFC 8881 18.22.3 */
    if (!status)
        *out = (struct state_io){true, !os->many_users, os->uid, st->client->id};
out:
    st_unlock(s);
    return status;
}

nfsstat4 state_check_change(struct state *s, uint64_t client, const struct file_key *f)
{
    bool recalled;

    if (!__atomic_load_n(&s->ndelegs, __ATOMIC_RELAXED))
        return NFS4_OK;
    st_lock(s);
    recalled = deleg_conflict_locked(s, sfile_find_locked(s, f), client_of(s, client), true);
    st_unlock(s);
    return recalled ? NFS4ERR_DELAY : NFS4_OK;
}
