/* SPDX-License-Identifier: Apache-2.0
 * connect: calls to the server of a store over STORE/control.sock.
 */
#ifndef VOLNFS_CLI_CONNECT_H
#define VOLNFS_CLI_CONNECT_H

#include <rpc/rpc.h>
#include <stdbool.h>

#include "client/cli/cli.h"
#include "proto/control_gen.h"

/* Connects; NULL after a message, *status says how to end. Close with control_disconnect. */
CLIENT *control_connect(const struct cli *cli, int *status);
void control_disconnect(CLIENT *c);
/* Calls proc. res is zeroed first; xdr_free it afterwards in any case. false: a message was printed. */
bool control_call(CLIENT *c, rpcproc_t proc, xdrproc_t xargs, const void *args, xdrproc_t xres, void *res,
                  size_t res_size);
/* The exit status for a result: 0, or 1 after its text was printed. */
int control_outcome(const control_result *r);
/* One volume, by name: calls fn and returns its value, or 1 after a message. */
int control_with_volume(const struct cli *cli, const char *name,
                        int (*fn)(const struct cli *cli, const control_volume *v, void *arg), void *arg);

#endif
