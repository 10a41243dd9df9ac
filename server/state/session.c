/* SPDX-License-Identifier: Apache-2.0
 * session: sessions, slots, the reply cache and the connections bound to a session.
 *
 * 1. A slot is IDLE or BUSY. SEQUENCE with the next sequence id takes it (BUSY), session_done gives it back
 *    (IDLE) with the reply kept. SEQUENCE with the same id on an IDLE slot takes it as a replay.
 * 2. A session that was destroyed is unlinked (not found any more) and lives until its last BUSY slot is
 *    done. refs: one of being linked, one per BUSY slot, one per session_get.
 * 3. CREATE_SESSION: the client's cs_sequence is that of the last one that succeeded; that reply is kept
 *    in the client.
 */
#include "server/state/internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

struct session_slot {
    uint32_t sequence;
    bool busy, replaying, cache;
    bool used;     /* some request was done on it */
    uint64_t digest;
    void *reply;   /* the COMPOUND4res of `sequence`, or NULL if it was not kept */
    size_t reply_len;
};

static uint64_t id_hash(const struct state *s, const uint8_t id[SESSION_ID_SIZE])
{
    uint64_t w[2];

    memcpy(w, id, sizeof w);
    return htab_hash_u64(w[0] ^ htab_hash_u64(w[1] ^ s->seed));
}

struct session *session_find_locked(struct state *s, const uint8_t id[SESSION_ID_SIZE])
{
    uint64_t h = id_hash(s, id);

    for (struct hnode *n = htab_first(&s->sessions, h); n; n = htab_next(n, h)) {
        struct session *se = container_of(n, struct session, node);

        if (!memcmp(se->id, id, SESSION_ID_SIZE))
            return se;
    }
    return NULL;
}

struct session *session_of_node(struct list *n)
{
    return list_entry(n, struct session, in_client);
}

/* --- connections --- */

static void conn_run(struct state *s, struct trash *t)
{
    struct conn_entry *ce = container_of(t, struct conn_entry, trash);

    if (ce->c.put)
        ce->c.put(ce->c.ref);
    free(ce);
}

void conn_unref_locked(struct state *s, struct conn_entry *ce)
{
    if (!--ce->refs)
        st_trash(s, &ce->trash);
}

static void conn_drop_locked(struct session *se, struct conn_entry *ce)
{
    list_del(&ce->node);
    htab_del(&se->state->conns, &ce->by_id);
    se->nconns--;
    ce->c.back = false; /* callbacks under way keep it a while */
    conn_unref_locked(se->state, ce);
}

static struct conn_entry *conn_find_locked(struct session *se, uint64_t id)
{
    list_for_each (it, &se->conns) {
        struct conn_entry *ce = list_entry(it, struct conn_entry, node);

        if (ce->c.id == id)
            return ce;
    }
    return NULL;
}

/* Takes c over. The oldest of too many connections goes: it costs at most a callback path. */
static void conn_add_locked(struct session *se, const struct session_conn *c)
{
    struct conn_entry *ce = calloc(1, sizeof *ce);

    if (!ce) {
        if (c->put)
            c->put(c->ref);
        return;
    }
    ce->trash.run = conn_run;
    ce->refs = 1;
    ce->c = *c;
    if (se->nconns >= SESSION_CONNS_MAX)
        conn_drop_locked(se, list_first(&se->conns, struct conn_entry, node));
    ce->session = se;
    list_add_tail(&se->conns, &ce->node);
    htab_add(&se->state->conns, &ce->by_id, htab_hash_u64(c->id));
    se->nconns++;
}

void session_bind(struct session *se, const struct session_conn *conn, bool explicit)
{
    struct conn_entry *ce;
    bool keep;

    st_lock(se->state);
    ce = conn_find_locked(se, conn->id);
    keep = se->client && (!ce || explicit);
    if (keep) {
        if (ce)
            conn_drop_locked(se, ce);
        conn_add_locked(se, conn);
        if (conn->back) {
            se->back_wanted = true;
            se->back_fault = false;
            cb_pump_locked(se->state, se->client);
        }
    }
    st_unlock(se->state);
    if (!keep && conn->put)
        conn->put(conn->ref);
}

void state_conn_closed(struct state *s, uint64_t conn_id)
{
    uint64_t h = htab_hash_u64(conn_id);

    st_lock(s);
    for (struct hnode *n = htab_first(&s->conns, h), *next; n; n = next) {
        struct conn_entry *ce = container_of(n, struct conn_entry, by_id);

        next = htab_next(n, h);
        if (ce->c.id == conn_id)
            conn_drop_locked(ce->session, ce);
    }
    client_conn_closed_locked(s, conn_id);
    st_unlock(s);
}

/* --- life --- */

/* Small replies are kept even when the client does not ask for it: it costs next to nothing. */
#define SMALL_REPLY 512u

/* What a slot may come to: its kept reply and itself. */
static uint64_t slot_cost(const struct session_attrs *fore)
{
    uint32_t reply = fore->max_cached > SMALL_REPLY ? fore->max_cached : SMALL_REPLY;

    return reply + sizeof(struct session_slot);
}

static void unref_locked(struct session *se)
{
    if (--se->refs)
        return;
    for (unsigned i = 0; i < se->fore.max_slots; i++)
        free(se->slots[i].reply);
    se->state->kept -= se->fore.max_slots * slot_cost(&se->fore);
    free(se->slots);
    free(se);
}

void session_unlink_locked(struct state *s, struct session *se)
{
    while (!list_empty(&se->conns))
        conn_drop_locked(se, list_first(&se->conns, struct conn_entry, node));
    htab_del(&s->sessions, &se->node);
    list_del(&se->in_client);
    se->client->nsessions--;
    se->client = NULL;
    unref_locked(se);
}

struct session *session_get(struct state *s, const uint8_t id[SESSION_ID_SIZE])
{
    struct session *se;

    st_lock(s);
    se = session_find_locked(s, id);
    if (se)
        se->refs++;
    st_unlock(s);
    return se;
}

void session_put(struct session *se)
{
    struct state *s = se->state;

    st_lock(s);
    unref_locked(se);
    st_unlock(s);
}

uint64_t session_client(const struct session *se)
{
    return se->clientid;
}

nfsstat4 session_destroy(struct state *s, const uint8_t id[SESSION_ID_SIZE], const struct session *own)
{
    nfsstat4 status = NFS4_OK;
    struct session *se;

    st_lock(s);
    se = session_find_locked(s, id);
    if (!se)
        status = NFS4ERR_BADSESSION;
    else if (se->busy > (se == own ? 1u : 0u))
        status = NFS4ERR_DELAY;
    else
        session_unlink_locked(s, se);
    st_unlock(s);
    return status;
}

void session_set_callback(struct session *se, uint32_t program, uint32_t uid, uint32_t gid)
{
    st_lock(se->state);
    se->cb_program = program;
    se->cb_uid = uid;
    se->cb_gid = gid;
    se->back_fault = false;
    st_unlock(se->state);
}

/* --- CREATE_SESSION --- */

/* A header with an AUTH_SYS credential and SEQUENCE alone take about this much. */
#define REQUEST_MIN 128u
#define REPLY_MIN   128u
#define REQUEST_MAX (1048576u + 4096u)

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Fewer slots when all sessions together hold much, but at least one. */
static bool fit_slots_locked(struct state *s, struct session_attrs *fore)
{
    uint64_t left = s->kept < STATE_KEPT_MAX ? STATE_KEPT_MAX - s->kept : 0;
    uint64_t most = left / 16 / slot_cost(fore);

    if (left < slot_cost(fore))
        return false;
    if (fore->max_slots > most) {
        if (!s->slots_told)
            log_info("the sessions together may keep no more than %d MiB of replies: new ones get fewer slots",
                     STATE_KEPT_MAX >> 20);
        s->slots_told = true;
        fore->max_slots = most ? (uint32_t)most : 1;
    }
    return true;
}

/* What we make of the channels the client asks for (RFC 8881 18.36.3). */
static nfsstat4 negotiate(struct session_create *a)
{
    struct session_attrs *f = &a->fore, *b = &a->back;

    if (a->flags & ~7u)
        return NFS4ERR_INVAL;
    if (f->max_request < REQUEST_MIN || f->max_reply < REPLY_MIN || f->max_ops < 1 || f->max_slots < 1)
        return NFS4ERR_TOOSMALL;
    /* A callback compound is CB_SEQUENCE and one operation. */
    if (((a->flags & 2) || b->max_request) &&
        (b->max_request < REQUEST_MIN || b->max_reply < REPLY_MIN || b->max_ops < 2 || b->max_slots < 1))
        return NFS4ERR_TOOSMALL;
    a->flags &= 2; /* CONN_BACK_CHAN; neither PERSIST nor RDMA */
    f->max_request = least(f->max_request, REQUEST_MAX);
    f->max_reply = least(f->max_reply, REQUEST_MAX);
    f->max_cached = least(least(f->max_cached, SESSION_CACHE_MAX), f->max_reply);
    f->max_ops = least(f->max_ops, 128);
    f->max_slots = least(f->max_slots, SESSION_SLOTS_MAX);
    b->max_request = least(b->max_request, 4096);
    b->max_reply = least(b->max_reply, 4096);
    b->max_cached = least(b->max_cached, b->max_reply);
    b->max_ops = least(b->max_ops, 16);
    b->max_slots = least(b->max_slots, 16);
    return NFS4_OK;
}

static struct session *make_locked(struct state *s, struct client *cl, const struct session_create *a)
{
    struct session *se = calloc(1, sizeof *se);

    if (!se)
        return NULL;
    se->slots = calloc(a->fore.max_slots, sizeof se->slots[0]);
    if (!se->slots) {
        free(se);
        return NULL;
    }
    se->state = s;
    se->client = cl;
    se->clientid = cl->id;
    se->refs = 1;
    memcpy(se->id, &cl->id, 8);
    clock_random(se->id + 8, 8);
    se->fore = a->fore;
    se->back = a->back;
    se->minor = a->minor;
    se->cb_program = a->cb_program;
    se->cb_uid = a->cb_uid;
    se->cb_gid = a->cb_gid;
    se->back_wanted = a->flags & 2;
    list_init(&se->conns);
    s->kept += se->fore.max_slots * slot_cost(&se->fore);
    list_add_tail(&cl->sessions, &se->in_client);
    cl->nsessions++;
    htab_add(&s->sessions, &se->node, id_hash(s, se->id));
    return se;
}

/* Before it is confirmed a client id is its principal's alone, at the addresses it came from. Then others have sessions of it, too (RFC 8881 section
 * 18.36.4), but as ids can be guessed only where one of its sessions is in use: nobody else gets at its state, nor
 * learns a session's id from the kept reply. */
static bool may_create_locked(struct state *s, const struct client *cl, const char *principal,
                              const uint8_t from[CLIENT_FROM], uint64_t conn_id)
{
    uint64_t h = htab_hash_u64(conn_id);

    if (!strcmp(cl->principal, principal) && client_from_locked(cl, from))
        return true;
    for (struct hnode *n = htab_first(&s->conns, h); n && cl->confirmed; n = htab_next(n, h)) {
        const struct conn_entry *ce = container_of(n, struct conn_entry, by_id);

        if (ce->c.id == conn_id && ce->session->client == cl)
            return true;
    }
    return false;
}

nfsstat4 session_create(struct state *s, const char *principal, struct session_create *a,
                        const struct session_conn *conn, bool *made)
{
    struct client *cl, *old = NULL;
    nfsstat4 status = NFS4_OK;
    struct session *se;

    *made = false;
    st_lock(s);
    cl = client_find_locked(s, a->clientid, true);
    if (!cl)
        cl = client_find_locked(s, a->clientid, false);
    if (!cl || !cl->minor || cl->going || (!cl->confirmed && client_expired_locked(s, cl))) {
        status = NFS4ERR_STALE_CLIENTID;
        goto out;
    }
    if (!may_create_locked(s, cl, principal, a->from, conn->id)) {
        status = NFS4ERR_CLID_INUSE;
        goto out;
    }
    if (cl->cs_cached && a->sequence == cl->cs_sequence) {
        *a = cl->cs_reply;
        client_renew_locked(cl);
        goto out;
    }
    if (a->sequence != cl->cs_sequence + 1) {
        status = NFS4ERR_SEQ_MISORDERED;
        goto out;
    }
    status = negotiate(a);
    if (status)
        goto out;
    if (cl->nsessions >= CLIENT_SESSIONS_MAX) {
        client_limit_log_locked(cl, "sessions");
        status = NFS4ERR_NOSPC;
        goto out;
    }
    if (!fit_slots_locked(s, &a->fore)) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    if (!cl->confirmed)
        old = client_old_locked(s, cl);
    status = client_pinned(old) ? NFS4ERR_DELAY : NFS4_OK;
    if (old && !status)
        status = client_restarts_locked(s, old, a->from, a->granted);
    if (status)
        goto out;
    se = make_locked(s, cl, a);
    if (!se) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    if (!cl->confirmed) { /* the client rebooted: what its earlier self held goes (RFC 8881 18.36.4) */
        if (old) {
            cl->recorded = old->recorded;
            cl->recorded_ms = old->recorded_ms;
            client_destroy_locked(s, old);
        }
        client_confirm_locked(s, cl);
    }
    client_renew_locked(cl);
    memcpy(a->id, se->id, SESSION_ID_SIZE);
    cl->cs_sequence = a->sequence;
    cl->cs_cached = true;
    cl->cs_reply = *a;
    conn_add_locked(se, conn);
    cb_pump_locked(s, cl); /* this may be the way that was missing */
    *made = true;
out:
    st_unlock(s);
    return status;
}

/* --- SEQUENCE --- */

/* RFC 8881 section 18.46.3. */
static uint32_t status_flags_locked(const struct session *se)
{
    const struct client *cl = se->client;
    uint32_t flags = cl->nrevoked ? SEQ4_STATUS_RECALLABLE_STATE_REVOKED : 0;

    if (se->back_fault)
        flags |= SEQ4_STATUS_BACKCHANNEL_FAULT;
    if (se->back_wanted && !cb_path_locked(cl))
        flags |= SEQ4_STATUS_CB_PATH_DOWN;
    return flags;
}

nfsstat4 session_sequence(struct state *s, struct session_sequence *a, struct session **out,
                          struct session_slot **slot_out, bool *bind)
{
    nfsstat4 status = NFS4_OK;
    struct session_slot *slot;
    struct session *se;

    st_lock(s);
    se = session_find_locked(s, a->id);
    if (!se || se->client->going) {
        status = NFS4ERR_BADSESSION;
        goto out;
    }
    if (a->slot >= se->fore.max_slots) {
        status = NFS4ERR_BADSLOT;
        goto out;
    }
    slot = &se->slots[a->slot];
    if (a->highest >= se->fore.max_slots) {
        status = NFS4ERR_BAD_HIGH_SLOT;
        goto out;
    }
    if (a->sequence == slot->sequence && (slot->busy || slot->used)) {
        client_renew_locked(se->client);
        if (slot->busy)
            status = NFS4ERR_DELAY;
        else if (slot->digest != a->digest)
            status = NFS4ERR_SEQ_FALSE_RETRY;
        else if (!slot->reply)
            status = NFS4ERR_RETRY_UNCACHED_REP;
        if (status)
            goto out;
        slot->replaying = true;
    } else if (a->sequence == slot->sequence + 1) {
        if (slot->busy)
            status = NFS4ERR_SEQ_MISORDERED; /* the last one is not answered yet */
        else if (a->request_bytes > se->fore.max_request)
            status = NFS4ERR_REQ_TOO_BIG;
        else if (a->nops > se->fore.max_ops)
            status = NFS4ERR_TOO_MANY_OPS;
        if (status)
            goto out;
        slot->sequence = a->sequence;
        slot->digest = a->digest;
        slot->cache = a->cache;
        free(slot->reply);
        slot->reply = NULL;
        slot->replaying = false;
    } else {
        status = NFS4ERR_SEQ_MISORDERED;
        goto out;
    }
    slot->busy = true;
    se->busy++;
    se->refs++;
    client_renew_locked(se->client);
    a->out_highest = a->out_target = se->fore.max_slots - 1;
    a->out_flags = status_flags_locked(se);
    *bind = !conn_find_locked(se, a->conn_id);
    *out = se;
    *slot_out = slot;
out:
    st_unlock(s);
    return status;
}

void session_limits(const struct session *se, const struct session_slot *slot, struct session_limits *l)
{
    l->max_reply = se->fore.max_reply;
    l->max_cached = se->fore.max_cached;
    l->max_ops = se->fore.max_ops;
    l->cache = slot->cache;
}

const void *session_replay(const struct session_slot *slot, size_t *len)
{
    *len = slot->replaying ? slot->reply_len : 0;
    return slot->replaying ? slot->reply : NULL;
}

void session_done(struct session *se, struct session_slot *slot, const struct xdrout *out, size_t from)
{
    struct state *s = se->state;
    size_t len = out ? xdrout_len(out) - from : 0;
    void *keep = NULL;

    /* The slot is ours while it is busy: the copy needs no lock. */
    if (!slot->replaying && len && len <= SESSION_CACHE_MAX && (slot->cache || len <= SMALL_REPLY)) {
        char *all = malloc(from + len);

        if (all) {
            xdrout_copy(out, all);
            memmove(all, all + from, len);
            keep = all;
        }
    }
    st_lock(s);
    if (!slot->replaying) {
        slot->reply = keep;
        slot->reply_len = len;
        slot->used = true;
    }
    slot->replaying = false;
    slot->busy = false;
    se->busy--;
    if (se->client)
        client_renew_locked(se->client);
    unref_locked(se);
    st_unlock(s);
}
