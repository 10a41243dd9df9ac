/* SPDX-License-Identifier: Apache-2.0
 * client: client ids and leases.
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

struct client *client_find_name_locked(struct state *s, uint32_t minor, const void *owner, size_t len,
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

void client_add_from_locked(struct client *cl, const uint8_t from[CLIENT_FROM])
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

struct client *client_make_locked(struct state *s, uint32_t minor, const uint8_t verifier[8],
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
    list_init(&cl->conns40);
    list_init(&cl->in_all);
    client_renew_locked(cl);
    client_add_from_locked(cl, from);
    htab_add(&s->clients, &cl->by_id, htab_hash_u64(id ^ s->seed));
    htab_add(&s->names, &cl->by_name, name_hash(s, minor, owner, len));
    list_add_tail(&s->all, &cl->in_all);
    return cl;
}

struct client *client_old_locked(struct state *s, const struct client *cl)
{
    return client_find_name_locked(s, cl->minor, cl->owner, cl->owner_len, true);
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
    client_drop_conns40_locked(s, cl);
    htab_del(&s->clients, &cl->by_id);
    htab_del(&s->names, &cl->by_name);
    list_del(&cl->in_all);
    free(cl);
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
