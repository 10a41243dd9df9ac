/* SPDX-License-Identifier: Apache-2.0
 * control: the ONC RPC program of proto/control.x, served on STORE/control.sock.
 *
 * The peer's user id on the socket decides: uid 0 and the user the server runs as may everything,
 * others may only ask what server this is (CONTROL_NULL, CONTROL_INFO).
 */
#ifndef VOLNFS_CONTROL_CONTROL_H
#define VOLNFS_CONTROL_CONTROL_H

#include "server/rpc/rpcserver.h"
#include "server/vfs/vfs.h"

struct engine;
struct grants;
struct metrics;
struct state;

struct control {
    struct vfs *vfs;
    struct grants *grants;
    struct engine *engine;
    struct state *state;
    struct rpcserver *rpc;
    struct metrics *metrics;
    uint64_t started_ms; /* clock_mono_ms then */
    const char *store;   /* absolute */
    const char *listen;  /* the NFS addresses, space between */
    uint64_t epoch;
};
/* The program of c, for rpcserver_listen on a Unix socket. c is borrowed. */
void control_program(struct control *c, struct oncrpc_program *out);

#endif
