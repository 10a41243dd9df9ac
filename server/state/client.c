/* SPDX-License-Identifier: Apache-2.0
 * client: client ids, leases and durable client records.
 *
 * 1. For an owner string and minor version class there is at most one confirmed and one unconfirmed client.
 * 2. A client id is { boot epoch, number }: one of an earlier boot is never found.
 * 3. A client is known by its principal and its name, which others may guess (AUTH_SYS proves nothing, Linux takes the
 *    host's name). So what it has ends for its next incarnation only if that comes from an address that the client came
 *    from, or from where something is granted while nothing is where the client is, or once the lease is over; until then
 *    it waits (NFS4ERR_DELAY). If the client is heard of while it waits, they are two machines that both live, and the
 *    second is refused (NFS4ERR_CLID_INUSE) rather than kept waiting for ever. Who knows the verifier is the same
 *    incarnation.
 * 4. A client is recorded before its first open (client_record), and its record goes before what it
 *    held is given to others (client_evict_locked). A rebooted client takes its old record over.
 */
#include "server/state/internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/siphash.h"

static uint64_t name_hash(const struct state *s, uint32_t minor, const void *owner, size_t len)
{
    return htab_hash_bytes(owner, len, s->seed + minor);
}

struct client *client_find_locked(struct state *s, uint64_t id, bool confirmed)
{
    uint64_t h = htab_hash_u64(id ^ s->seed);

    for (struct hnode *n = htab_first(&s->clients, h); n; n = htab_next(n, h)) {
        struct client *cl = container_of(n, struct client, by_id);

        if (cl->id == id && cl->confirmed == confirmed)
            return cl;
    }
    return NULL;
}

static struct client *find_name(struct state *s, uint32_t minor, const void *owner, size_t len,
                                bool confirmed)
{
    uint64_t h = name_hash(s, minor, owner, len);

    for (struct hnode *n = htab_first(&s->names, h); n; n = htab_next(n, h)) {
        struct client *cl = container_of(n, struct client, by_name);

        if (cl->minor == minor && cl->confirmed == confirmed && cl->owner_len == len &&
            !memcmp(cl->owner, owner, len))
            return cl;
    }
    return NULL;
}

void client_renew_locked(struct client *cl)
{
    cl->renewed = clock_mono_ms();
}

bool client_expired_locked(const struct state *s, const struct client *cl)
{
    return clock_mono_ms() > cl->renewed + 1000ull * s->conf.lease_seconds;
}

bool client_from_locked(const struct client *cl, const uint8_t from[CLIENT_FROM])
{
    for (unsigned i = 0; i < cl->nfrom && i < CLIENT_FROMS_MAX; i++)
        if (!memcmp(cl->from[i], from, CLIENT_FROM))
            return true;
    return false;
}

static void add_from_locked(struct client *cl, const uint8_t from[CLIENT_FROM])
{
    if (!client_from_locked(cl, from))
        memcpy(cl->from[cl->nfrom++ % CLIENT_FROMS_MAX], from, CLIENT_FROM);
}

nfsstat4 client_restarts_locked(struct state *s, struct client *cl, const uint8_t from[CLIENT_FROM], bool granted)
{
    char here[INET6_ADDRSTRLEN] = "", there[INET6_ADDRSTRLEN] = "";
    uint64_t now = clock_mono_ms();

    if (client_from_locked(cl, from) || (granted && !cl->granted) || !client_has_state_locked(cl) || client_expired_locked(s, cl))
        return NFS4_OK;
    if (!s->name_told || now > s->name_told + NAME_TOLD_MS) {
        s->name_told = now;
        inet_ntop(AF_INET6, cl->from[0], here, sizeof here);
        inet_ntop(AF_INET6, from, there, sizeof there);
        log_warn("a client at %s has the name of one at %s, and is kept out until that is silent for the lease time: "
                 "each machine needs a name of its own", there, here);
    }
    if (!cl->rival_last || now > cl->rival_last + 1000ull * s->conf.lease_seconds)
        cl->rival_first = now;
    cl->rival_last = now;
    return cl->renewed > cl->rival_first ? NFS4ERR_CLID_INUSE : NFS4ERR_DELAY;
}

bool client_pinned(const struct client *cl)
{
    return cl && (cl->going || cl->recording);
}

bool client_has_state_locked(const struct client *cl)
{
    return cl->nopens || cl->nsessions || cl->ndelegs;
}

void client_limit_log_locked(struct client *cl, const char *what)
{
    if (!cl->warned)
        log_debug(LOG_STATE, "client %llx reached the limit of %s", (unsigned long long)cl->id, what);
    cl->warned = true;
}

nfsstat4 client_use_locked(struct state *s, uint64_t id, uint32_t minor, struct client **out)
{
    struct client *cl = client_find_locked(s, id, true);

    if (!cl || (cl->minor > 0) != (minor > 0)) {
        bool ours = id >> 32 == s->epoch && (uint32_t)id && (uint32_t)id <= s->next_client;
        struct client *un = client_find_locked(s, id, false);

        return ours && !un && minor == 0 && !cl ? NFS4ERR_EXPIRED : NFS4ERR_STALE_CLIENTID;
    }
    if (cl->going)
        return minor ? NFS4ERR_STALE_CLIENTID : NFS4ERR_EXPIRED;
    client_renew_locked(cl);
    *out = cl;
    return NFS4_OK;
}

/* Room for one more: an unconfirmed client, or a silent one without state, makes it. */
static bool make_room_locked(struct state *s)
{
    if (s->clients.count < CLIENTS_MAX)
        return true;
    list_for_each_safe (it, &s->all) {
        struct client *cl = list_entry(it, struct client, in_all);

        if (!client_pinned(cl) && (!cl->confirmed || (client_expired_locked(s, cl) && !cl->nopens && !cl->ndelegs &&
                                              !cl->recorded))) {
            client_destroy_locked(s, cl);
            return true;
        }
    }
    return false;
}

static struct client *make_locked(struct state *s, uint32_t minor, const uint8_t verifier[8],
                                  const void *owner, size_t len, const char *principal,
                                  const uint8_t from[CLIENT_FROM], uint64_t id)
{
    struct client *cl;

    if (!make_room_locked(s))
        return NULL;
    cl = calloc(1, sizeof *cl + len + 1);
    if (!cl)
        return NULL;
    if (!id) {
        do
            id = (uint64_t)s->epoch << 32 | ++s->next_client;
        while (!(uint32_t)id || client_find_locked(s, id, true) || client_find_locked(s, id, false));
    }
    cl->id = id;
    cl->minor = minor;
    memcpy(cl->verifier, verifier, 8);
    memcpy(cl->owner, owner, len);
    cl->owner_len = len;
    memcpy(cl->principal, principal, strnlen(principal, sizeof cl->principal - 1));
    clock_random(cl->confirm, sizeof cl->confirm);
    list_init(&cl->sessions);
    list_init(&cl->owners);
    list_init(&cl->stids);
    list_init(&cl->delegs);
    list_init(&cl->to_recall);
    list_init(&cl->waits);
    list_init(&cl->in_all);
    client_renew_locked(cl);
    add_from_locked(cl, from);
    htab_add(&s->clients, &cl->by_id, htab_hash_u64(id ^ s->seed));
    htab_add(&s->names, &cl->by_name, name_hash(s, minor, owner, len));
    list_add_tail(&s->all, &cl->in_all);
    return cl;
}

struct client *client_old_locked(struct state *s, const struct client *cl)
{
    return find_name(s, cl->minor, cl->owner, cl->owner_len, true);
}

void client_confirm_locked(struct state *s, struct client *cl)
{
    cl->confirmed = true;
    client_renew_locked(cl);
    grace_client_locked(s, cl);
    log_debug(LOG_STATE, "client=%llx minor=%u principal=%s confirmed", (unsigned long long)cl->id, cl->minor,
              cl->principal);
}

void client_destroy_locked(struct state *s, struct client *cl)
{
    log_debug(LOG_STATE, "client=%llx gone with opens=%u locks=%u", (unsigned long long)cl->id, cl->nopens,
              cl->nranges);
    list_for_each_safe (it, &cl->sessions)
        session_unlink_locked(s, session_of_node(it));
    while (!list_empty(&cl->owners)) {
        struct state_owner *o = list_first(&cl->owners, struct state_owner, in_client);

        while (!list_empty(&o->states)) {
            if (o->kind == OWNER_OPEN) {
                open_free_locked(s, list_first(&o->states, struct open_state, in_owner));
            } else {
                lock_free_locked(s, list_first(&o->states, struct lock_state, in_owner));
                /* lock_free may have taken the owner with it */
                if (list_empty(&cl->owners) ||
                    list_first(&cl->owners, struct state_owner, in_client) != o)
                    goto next;
            }
        }
        owner_free_locked(s, o);
    next:;
    }
    while (!list_empty(&cl->delegs))
        deleg_free_locked(s, list_first(&cl->delegs, struct deleg, in_holder));
    while (!list_empty(&cl->waits))
        wait_free_locked(list_first(&cl->waits, struct lock_wait, in_client));
    cb_drop40_locked(s, cl);
    htab_del(&s->clients, &cl->by_id);
    htab_del(&s->names, &cl->by_name);
    list_del(&cl->in_all);
    free(cl);
}

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

uint64_t client_mark(struct state *s, uint64_t clientid)
{
    static const uint8_t key[16];
    struct client *cl;
    uint64_t mark = 0;

    st_lock(s);
    cl = client_find_locked(s, clientid, true);
    if (cl)
        mark = siphash24(key, cl->owner, cl->owner_len);
    st_unlock(s);
    return mark;
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

/* --- NFSv4.0 --- */

static void set_callback(struct client *cl, const struct client_set40 *a)
{
    size_t n = a->netid_len < sizeof cl->cb.netid ? a->netid_len : sizeof cl->cb.netid - 1;
    size_t m = a->addr_len < sizeof cl->cb.addr ? a->addr_len : sizeof cl->cb.addr - 1;

    memset(&cl->cb, 0, sizeof cl->cb);
    cl->cb.to = a->cb_addr;
    cl->cb.program = a->cb_program;
    cl->cb.ident = a->cb_ident;
    if (n)
        memcpy(cl->cb.netid, a->netid, n);
    if (m)
        memcpy(cl->cb.addr, a->addr, m);
}

nfsstat4 client_set40(struct state *s, const char *principal, struct client_set40 *a, bool may_block)
{
    struct client *conf, *unconf, *cl;
    nfsstat4 status = NFS4_OK;

again:
    st_lock(s);
    conf = find_name(s, 0, a->owner, a->owner_len, true);
    unconf = find_name(s, 0, a->owner, a->owner_len, false);
    if (client_pinned(conf)) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    if (conf && strcmp(conf->principal, principal)) {
        if (client_has_state_locked(conf) && !client_expired_locked(s, conf)) {
            memcpy(a->using_netid, conf->cb.netid, sizeof a->using_netid);
            memcpy(a->using_addr, conf->cb.addr, sizeof a->using_addr);
            status = NFS4ERR_CLID_INUSE;
            goto out;
        }
        if (!client_evict_locked(s, conf, may_block, &status))
            goto out;
        st_unlock(s);
        goto again;
    }
    if (conf && memcmp(conf->verifier, a->verifier, 8)) {
        status = client_restarts_locked(s, conf, a->from, a->granted);
        if (status == NFS4ERR_CLID_INUSE) {
            memcpy(a->using_netid, conf->cb.netid, sizeof a->using_netid);
            memcpy(a->using_addr, conf->cb.addr, sizeof a->using_addr);
        }
        if (status)
            goto out;
    }
    if (unconf)
        client_destroy_locked(s, unconf);
    /* The same incarnation again keeps its id and only changes its callback (RFC 7530 16.33.5, case 1). */
    cl = make_locked(s, 0, a->verifier, a->owner, a->owner_len, principal, a->from,
                     conf && !memcmp(conf->verifier, a->verifier, 8) ? conf->id : 0);
    if (!cl) {
        status = NFS4ERR_RESOURCE;
        goto out;
    }
    cl->granted = a->granted;
    set_callback(cl, a);
    a->clientid = cl->id;
    memcpy(a->confirm, cl->confirm, 8);
out:
    st_unlock(s);
    return status;
}

nfsstat4 client_confirm40(struct state *s, const char *principal, uint64_t clientid,
                          const uint8_t confirm[8], bool may_block)
{
    struct client *conf, *unconf, *old;
    nfsstat4 status = NFS4_OK;

again:
    st_lock(s);
    conf = client_find_locked(s, clientid, true);
    unconf = client_find_locked(s, clientid, false);
    if ((conf && conf->minor) || (unconf && unconf->minor)) {
        status = NFS4ERR_STALE_CLIENTID;
        goto out;
    }
    if ((conf && strcmp(conf->principal, principal)) ||
        (unconf && strcmp(unconf->principal, principal))) {
        status = NFS4ERR_CLID_INUSE;
        goto out;
    }
    if (!unconf || memcmp(unconf->confirm, confirm, 8)) {
        if (conf && !memcmp(conf->confirm, confirm, 8)) {
            client_renew_locked(conf); /* a retransmission */
            goto out;
        }
        status = NFS4ERR_STALE_CLIENTID;
        goto out;
    }
    if (conf) {
        cb_drop40_locked(s, conf);
        unconf->cb.calls = conf->cb.calls;
        conf->cb = unconf->cb;
        add_from_locked(conf, unconf->from[0]);
        conf->granted |= unconf->granted;
        memcpy(conf->confirm, unconf->confirm, 8);
        client_destroy_locked(s, unconf);
        client_renew_locked(conf);
        cb_probe40_locked(s, conf);
        goto out;
    }
    old = find_name(s, 0, unconf->owner, unconf->owner_len, true);
    if (client_pinned(old)) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    if (old && strcmp(old->principal, principal)) {
        if (client_has_state_locked(old) && !client_expired_locked(s, old)) {
            status = NFS4ERR_CLID_INUSE;
            goto out;
        }
        if (!client_evict_locked(s, old, may_block, &status))
            goto out;
        st_unlock(s);
        goto again;
    }
    if (old) {
        status = client_restarts_locked(s, old, unconf->from[0], unconf->granted);
        if (status)
            goto out;
        unconf->recorded = old->recorded;
        unconf->recorded_ms = old->recorded_ms;
        client_destroy_locked(s, old);
    }
    client_confirm_locked(s, unconf);
    cb_probe40_locked(s, unconf);
out:
    st_unlock(s);
    return status;
}

nfsstat4 client_renew40(struct state *s, uint64_t clientid)
{
    struct client *cl;
    nfsstat4 status;

    st_lock(s);
    status = client_use_locked(s, clientid, 0, &cl);
    if (!status && cl->ndelegs > cl->nrevoked && cl->cb.path == CB40_DOWN)
        status = NFS4ERR_CB_PATH_DOWN; /* the lease is renewed all the same: RFC 7530 section 16.30.5 */
    st_unlock(s);
    return status;
}

/* --- NFSv4.1 --- */

nfsstat4 client_exchange(struct state *s, const char *principal, struct client_exchange *a,
                         bool may_block)
{
    struct client *conf, *unconf, *cl;
    nfsstat4 status = NFS4_OK;
    bool same_verf, same_who;

again:
    st_lock(s);
    conf = find_name(s, 1, a->owner, a->owner_len, true);
    unconf = find_name(s, 1, a->owner, a->owner_len, false);
    if (client_pinned(conf)) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    same_verf = conf && !memcmp(conf->verifier, a->verifier, 8);
    same_who = conf && !strcmp(conf->principal, principal);
    if (a->update) { /* RFC 8881 18.35.4, cases 6 to 9 */
        status = !conf        ? NFS4ERR_NOENT
                 : !same_verf ? NFS4ERR_NOT_SAME
                 : !same_who  ? NFS4ERR_PERM
                              : NFS4_OK;
        if (!status) {
            client_renew_locked(conf);
            add_from_locked(conf, a->from);
            conf->granted |= a->granted;
            a->clientid = conf->id;
            a->sequence = conf->cs_sequence + 1;
            a->confirmed = true;
        }
        goto out;
    }
    if (conf && !same_who) { /* case 3 */
        if (client_has_state_locked(conf) && !client_expired_locked(s, conf)) {
            status = NFS4ERR_CLID_INUSE;
            goto out;
        }
        if (!client_evict_locked(s, conf, may_block, &status))
            goto out;
        st_unlock(s);
        goto again;
    }
    if (conf && same_verf) { /* case 2 */
        client_renew_locked(conf);
        add_from_locked(conf, a->from);
        conf->granted |= a->granted;
        a->clientid = conf->id;
        a->sequence = conf->cs_sequence + 1;
        a->confirmed = true;
        goto out;
    }
    if (conf) {
        status = client_restarts_locked(s, conf, a->from, a->granted);
        if (status)
            goto out;
    }
    if (unconf) /* case 4 */
        client_destroy_locked(s, unconf);
    cl = make_locked(s, 1, a->verifier, a->owner, a->owner_len, principal, a->from, 0); /* cases 1 and 5 */
    if (!cl) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    cl->granted = a->granted;
    a->clientid = cl->id;
    a->sequence = cl->cs_sequence + 1;
    a->confirmed = false;
out:
    st_unlock(s);
    return status;
}

nfsstat4 client_destroy(struct state *s, const char *principal, const uint8_t from[CLIENT_FROM], uint64_t clientid,
                        bool may_block)
{
    nfsstat4 status = NFS4_OK;
    struct client *cl;

    st_lock(s);
    cl = client_find_locked(s, clientid, true);
    if (!cl)
        cl = client_find_locked(s, clientid, false);
    if (!cl || !cl->minor)
        status = NFS4ERR_STALE_CLIENTID;
    else if (strcmp(cl->principal, principal) || !client_from_locked(cl, from))
        status = NFS4ERR_WRONG_CRED;
    else if (client_has_state_locked(cl))
        status = NFS4ERR_CLIENTID_BUSY;
    else if (client_evict_locked(s, cl, may_block, &status))
        status = NFS4_OK;
    st_unlock(s);
    return status;
}

nfsstat4 client_reclaim_complete(struct state *s, uint64_t clientid, bool may_block)
{
    nfsstat4 status = NFS4_OK;
    struct client *cl;

    st_lock(s);
    cl = client_find_locked(s, clientid, true);
    if (!cl || cl->going)
        status = NFS4ERR_STALE_CLIENTID;
    else if (cl->reclaim_complete)
        status = NFS4ERR_COMPLETE_ALREADY;
    st_unlock(s);
    if (!status)
        status = client_record(s, clientid, may_block);
    if (status)
        return status;
    st_lock(s);
    cl = client_find_locked(s, clientid, true);
    if (!cl) {
        status = NFS4ERR_STALE_CLIENTID;
    } else {
        cl->reclaim_complete = true;
        grace_done_locked(s, cl);
    }
    st_unlock(s);
    return status;
}
