/* SPDX-License-Identifier: Apache-2.0
 * client40: how an NFSv4.0 client gets its id and keeps its lease: SETCLIENTID, SETCLIENTID_CONFIRM (RFC 7530 sections
 * 16.33 and 16.34) and RENEW (16.30).
 */
#include "server/state/internal.h"

#include <stdlib.h>
#include <string.h>

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
    conf = client_find_name_locked(s, 0, a->owner, a->owner_len, true);
    unconf = client_find_name_locked(s, 0, a->owner, a->owner_len, false);
    if (client_pinned(conf)) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    if (conf && strcmp(conf->principal, principal)) {
        if (!client_take_name_locked(s, conf, may_block, &status))
            goto out;
        st_unlock(s);
        goto again;
    }
    if (conf && memcmp(conf->verifier, a->verifier, 8)) {
        status = client_restarts_locked(s, conf, a->from, a->granted);
        if (status)
            goto out;
    }
    if (unconf)
        client_destroy_locked(s, unconf);
    /* The same incarnation again keeps its id and only changes its callback (RFC 7530 16.33.5, case 1). */
    cl = client_make_locked(s, 0, a->verifier, a->owner, a->owner_len, principal, a->from,
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
    if (status == NFS4ERR_CLID_INUSE) { /* by whom: clid_inuse of RFC 7530 section 16.33 */
        memcpy(a->using_netid, conf->cb.netid, sizeof a->using_netid);
        memcpy(a->using_addr, conf->cb.addr, sizeof a->using_addr);
    }
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
        client_add_from_locked(conf, unconf->from[0]);
        conf->granted |= unconf->granted;
        memcpy(conf->confirm, unconf->confirm, 8);
        client_destroy_locked(s, unconf);
        client_renew_locked(conf);
        cb_probe40_locked(s, conf);
        goto out;
    }
    old = client_find_name_locked(s, 0, unconf->owner, unconf->owner_len, true);
    if (client_pinned(old)) {
        status = NFS4ERR_DELAY;
        goto out;
    }
    if (old && strcmp(old->principal, principal)) {
        if (!client_take_name_locked(s, old, may_block, &status))
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

static void drop_conn(struct state *s, struct client_conn *c)
{
    htab_del(&s->conns40, &c->by_id);
    list_del(&c->in_client);
    c->client->nconns40--;
    free(c);
}

void client_heard40(struct state *s, uint64_t clientid, uint64_t conn)
{
    struct client *cl;
    struct client_conn *c;

    st_lock(s);
    cl = client_find_locked(s, clientid, true);
    if (!cl || cl->minor)
        goto out;
    list_for_each (it, &cl->conns40) /* not the table: one connection may be that of 20,000 clients */
        if (list_entry(it, struct client_conn, in_client)->id == conn)
            goto out;
    c = calloc(1, sizeof *c);
    if (!c)
        goto out;
    if (cl->nconns40 >= CLIENT_CONNS_MAX)
        drop_conn(s, list_first(&cl->conns40, struct client_conn, in_client));
    c->id = conn;
    c->client = cl;
    cl->nconns40++;
    cl->had_conn = true;
    list_add_tail(&cl->conns40, &c->in_client);
    htab_add(&s->conns40, &c->by_id, htab_hash_u64(conn));
out:
    st_unlock(s);
}

void client_drop_conns40_locked(struct state *s, struct client *cl)
{
    while (!list_empty(&cl->conns40))
        drop_conn(s, list_first(&cl->conns40, struct client_conn, in_client));
}

void client_conn_closed_locked(struct state *s, uint64_t conn)
{
    uint64_t h = htab_hash_u64(conn);

    for (struct hnode *n = htab_first(&s->conns40, h), *next; n; n = next) {
        struct client_conn *c = container_of(n, struct client_conn, by_id);

        next = htab_next(n, h);
        if (c->id == conn)
            drop_conn(s, c);
    }
}
