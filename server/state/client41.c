/* SPDX-License-Identifier: Apache-2.0
 * client41: how an NFSv4.1 client gets its id and gives it up: EXCHANGE_ID, DESTROY_CLIENTID and RECLAIM_COMPLETE (RFC 8881
 * sections 18.35, 18.50 and 18.51).
 */
#include "server/state/internal.h"

#include <string.h>

/* The same incarnation of a confirmed client. */
static void here_again_locked(struct client *cl, struct client_exchange *a)
{
    client_renew_locked(cl);
    client_add_from_locked(cl, a->from);
    cl->granted |= a->granted;
    a->clientid = cl->id;
    a->sequence = cl->cs_sequence + 1;
    a->confirmed = true;
}

nfsstat4 client_exchange(struct state *s, const char *principal, struct client_exchange *a,
                         bool may_block)
{
    struct client *conf, *unconf, *cl;
    nfsstat4 status = NFS4_OK;
    bool same_verf, same_who;

again:
    st_lock(s);
    conf = client_find_name_locked(s, 1, a->owner, a->owner_len, true);
    unconf = client_find_name_locked(s, 1, a->owner, a->owner_len, false);
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
        if (!status)
            here_again_locked(conf, a);
        goto out;
    }
    if (conf && !same_who) { /* case 3 */
        if (!client_take_name_locked(s, conf, may_block, &status))
            goto out;
        st_unlock(s);
        goto again;
    }
    if (conf && same_verf) { /* case 2 */
        here_again_locked(conf, a);
        goto out;
    }
    if (conf) {
        status = client_restarts_locked(s, conf, a->from, a->granted);
        if (status)
            goto out;
    }
    if (unconf) /* case 4 */
        client_destroy_locked(s, unconf);
    cl = client_make_locked(s, 1, a->verifier, a->owner, a->owner_len, principal, a->from, 0); /* cases 1 and 5 */
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
