/* SPDX-License-Identifier: Apache-2.0
 * ident: who sent a request and over which connection.
 */
#include "server/nfs4/ident.h"

#include <stdio.h>

#include "common/htab.h"
#include "server/grant/grant.h"

void ident_principal(const struct request *req, char out[IDENT_PRINCIPAL])
{
    if (req->cred.flavor == CRED_SYS)
        snprintf(out, IDENT_PRINCIPAL, "sys:%u", req->cred.uid);
    else
        snprintf(out, IDENT_PRINCIPAL, "none");
}

void ident_from(const struct request *req, uint8_t out[CLIENT_FROM])
{
    struct sockaddr_storage peer;

    request_peer(req, &peer);
    grant_address(&peer, out);
}

static void put(void *ref)
{
    conn_ref_put(ref);
}

void ident_conn(struct request *req, bool back, struct session_conn *out)
{
    out->id = request_conn_id(req);
    out->ref = request_conn_ref(req);
    out->put = out->ref ? put : NULL;
    out->back = back && out->ref;
}

/* More of a large WRITE than this tells nothing more about a client's mistake. */
#define DIGEST_BYTES 256

uint64_t ident_digest(struct request *req)
{
    char who[IDENT_PRINCIPAL] = {0};
    size_t left = xdrin_left(&req->in);
    uint64_t h;

    ident_principal(req, who);
    h = htab_hash_bytes(who, sizeof who, left);
    return htab_hash_bytes(xdrin_here(&req->in), left < DIGEST_BYTES ? left : DIGEST_BYTES, h);
}
