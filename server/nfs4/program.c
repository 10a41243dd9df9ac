/* SPDX-License-Identifier: Apache-2.0
 * program: ONC RPC program 100003 version 4: NULL and COMPOUND.
 */
#include <rpc/rpc.h>

#include "server/nfs4/compound.h"
#include "server/nfs4/drc.h"
#include "server/nfs4/offload.h"

#define NFSPROC4_NULL     0
#define NFSPROC4_COMPOUND 1

static enum req_result dispatch(struct request *req, void *arg)
{
    switch (req->proc) {
    case NFSPROC4_NULL:
        return REQ_DONE;
    case NFSPROC4_COMPOUND:
        return compound_dispatch(req, arg);
    default:
        request_reject(req, PROC_UNAVAIL);
        return REQ_DONE;
    }
}

static void conn_closed(uint64_t conn_id, void *arg)
{
    struct nfs4_server *srv = arg;

    state_conn_closed(srv->state, conn_id);
}

void nfs4_program(struct nfs4_server *srv, struct oncrpc_program *out)
{
    if (!srv->drc)
        (void)drc_new(&srv->drc); /* without memory for it there is no reply cache, as with most servers */
    *out = (struct oncrpc_program){
        .prog = NFS4_PROGRAM_NUMBER,
        .vers_min = 4,
        .vers_max = 4,
        .dispatch = dispatch,
        .arg = srv,
        .conn_closed = conn_closed,
        .slot_free = access_slot_free,
    };
}

void nfs4_server_release(struct nfs4_server *srv)
{
    offloads_free(srv->offloads);
    srv->offloads = NULL;
    drc_free(srv->drc);
    srv->drc = NULL;
}
