/* SPDX-License-Identifier: Apache-2.0
 * listener: a listening TCP or Unix socket, served by the first loop.
 */
#ifndef VOLNFS_RPC_LISTENER_H
#define VOLNFS_RPC_LISTENER_H

#include "server/rpc/loop.h"
#include "server/rpc/request.h"

struct listener {
    enum source source;
    int fd;
    char *path; /* of a Unix socket */
    struct rpcserver *server;
    const struct oncrpc_program *prog;
};

/* See rpcserver_listen. */
int listener_open(const char *addr, struct listener *l);
/* Also removes the socket file. Accepts a closed one (fd < 0). */
void listener_close(struct listener *l);
/* The TCP port, or -errno. */
int listener_port(const struct listener *l);
/* Accepts what waits. */
void listener_event(struct listener *l);

#endif
