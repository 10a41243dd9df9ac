/* SPDX-License-Identifier: Apache-2.0
 * walk_server: a server with its control socket and no others, in this process, and the volnfs command as its client. Packs
 * and journals are small.
 */
#ifndef VOLNFS_TESTS_WALK_SERVER_H
#define VOLNFS_TESTS_WALK_SERVER_H

#include "server/control/control.h"

struct walk_server {
    const char *dir; /* the store is a folder in it; borrowed */
    char store[128];
    struct statedb *db;
    struct engine *engine;
    struct vfs *v;
    struct state *state;
    struct rpcserver *rpc;
    struct control control;
    struct oncrpc_program prog;
};

/* 0 or -errno: then nothing is left to be ended. */
int walk_server_begin(struct walk_server *s, const char *dir);
/* What vfs_free says. */
int walk_server_end(struct walk_server *s);

/* 'volnfs --store STORE ARGS...', with files in dir as its input and output (NULL: nothing) and said for what it tells. Its exit
 * status; 1000 if it was killed. The program is VOLNFS_BUILD's. */
int walk_volnfs(struct walk_server *s, const char *in, const char *out, const char *said, const char *const *args);
#define VOLNFS(s, in, out, ...) walk_volnfs(s, in, out, "said", (const char *const[]){__VA_ARGS__, NULL})

#endif
