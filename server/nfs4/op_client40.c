/* SPDX-License-Identifier: Apache-2.0
 * op_client40: SETCLIENTID SETCLIENTID_CONFIRM RENEW (RFC 7530 sections 16.33, 16.34, 16.30).
 */
#include <string.h>

#include "server/nfs4/callback.h"
#include "server/nfs4/ident.h"
#include "server/nfs4/ops.h"
#include "server/state/client.h"

static nfsstat4 in_use(struct compound *c, const struct client_set40 *a, clientaddr4 *out)
{
    size_t n = strlen(a->using_netid), m = strlen(a->using_addr);
    char *p = compound_scratch(c, n + m + 1);

    if (!p)
        return NFS4ERR_RESOURCE;
    memcpy(p, a->using_netid, n);
    memcpy(p + n, a->using_addr, m);
    out->na_r_netid = (xopaque){.len = n, .data = p};
    out->na_r_addr = (xopaque){.len = m, .data = p + n};
    return NFS4ERR_CLID_INUSE;
}

nfsstat4 op_setclientid(struct compound *c, SETCLIENTID4args *args, SETCLIENTID4res *res)
{
    struct client_set40 a = {
        .verifier = (const uint8_t *)args->client.verifier,
        .owner = args->client.id.data,
        .owner_len = args->client.id.len,
        .cb_program = args->callback.cb_program,
        .cb_ident = args->callback_ident,
        .netid = args->callback.cb_location.na_r_netid.data,
        .netid_len = args->callback.cb_location.na_r_netid.len,
        .addr = args->callback.cb_location.na_r_addr.data,
        .addr_len = args->callback.cb_location.na_r_addr.len,
    };
    struct sockaddr_storage peer;
    char who[IDENT_PRINCIPAL];
    nfsstat4 status;

    request_peer(c->req, &peer);
    ident_from(c->req, a.from);
    a.granted = !c->view || grant_view_any(c->view);
    callback_address(a.netid, a.netid_len, a.addr, a.addr_len, &peer, &a.cb_addr);
    ident_principal(c->req, who);
    status = client_set40(c->srv->state, who, &a, c->call.may_block);
    if (status == NFS4ERR_CLID_INUSE)
        return in_use(c, &a, &res->SETCLIENTID4res_u.client_using);
    if (status)
        return status;
    res->SETCLIENTID4res_u.resok4.clientid = a.clientid;
    memcpy(res->SETCLIENTID4res_u.resok4.setclientid_confirm, a.confirm, 8);
    return NFS4_OK;
}

nfsstat4 op_setclientid_confirm(struct compound *c, SETCLIENTID_CONFIRM4args *args,
                                SETCLIENTID_CONFIRM4res *res)
{
    char who[IDENT_PRINCIPAL];
    nfsstat4 status;

    ident_principal(c->req, who);
    status = client_confirm40(c->srv->state, who, args->clientid,
                              (const uint8_t *)args->setclientid_confirm, c->call.may_block);
    if (!status)
        client_heard40(c->srv->state, args->clientid, request_conn_id(c->req));
    return status;
}

nfsstat4 op_renew(struct compound *c, RENEW4args *args, RENEW4res *res)
{
    client_heard40(c->srv->state, args->clientid, request_conn_id(c->req));
    return client_renew40(c->srv->state, args->clientid);
}
