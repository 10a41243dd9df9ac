/* SPDX-License-Identifier: Apache-2.0
 * server: the NFSv4 program: what a compound needs beside the request.
 */
#ifndef VOLNFS_NFS4_SERVER_H
#define VOLNFS_NFS4_SERVER_H

#include "server/rpc/request.h"
#include "server/vfs/vfs.h"

struct state;
struct drc;
struct cb_hub;
struct metrics;
struct offloads;
struct nfs4_server {
    struct vfs *vfs;
    struct state *state;       /* server/state/state.h */
    struct grants *grants;     /* server/grant/grant.h; NULL: everybody may everything (tests of other things) */
    uint8_t handle_key[16];
    uint64_t epoch;
    struct cb_hub *callbacks;  /* callback.c's */
    struct drc *drc;           /* zero at first; made by nfs4_program */
    struct offloads *offloads; /* zero at first; offload.c's */
    struct metrics *metrics;   /* server/metrics/metrics.h; NULL: nothing is counted */
};
/* The ONC RPC program 100003 version 4 of srv, for rpcserver_listen. Static storage in srv's lifetime. */
void nfs4_program(struct nfs4_server *srv, struct oncrpc_program *out);
/* What nfs4_program made; after the RPC server has stopped. */
void nfs4_server_release(struct nfs4_server *srv);

/* "WRITE", "ILLEGAL"; "NOENT", "OTHER": static. */
const char *nfs4_op_name(uint32_t op);
const char *nfs4_status_name(uint32_t status);

#endif
