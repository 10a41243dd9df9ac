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

/* Of all that follows: proc is one of control.x, args and reply are of the types it has there. A message goes to
 * stderr; a status is 0, or 1 after a message, or EXIT_USAGE if the server says that an argument is none. */

/* Whether the len bytes at name have the form USER/VOLUME; what stands behind an '@' is for snap_check_name. */
bool control_is_volume(const char *name, size_t len);

/* Shows a reply that came without an error; returns the exit status. */
typedef int control_show(const struct cli *cli, const void *reply, void *arg);

/* Calls proc. reply is zeroed first; control_free it afterwards in any case. false: a message was printed. */
bool control_call(CLIENT *c, rpcproc_t proc, const void *args, void *reply);
void control_free(rpcproc_t proc, void *reply);
/* The status for a result. */
int control_outcome(const control_result *r);
/* control_call and control_outcome of the result that reply begins with (all but CONTROL_INFO's do). */
int control_ask(CLIENT *c, rpcproc_t proc, const void *args, void *reply);
/* The same for a proc that replies with a control_result and no more: there is nothing to free. */
int control_do(CLIENT *c, rpcproc_t proc, const void *args);
/* Connects, asks, shows the reply (show may be NULL; arg is for it) and disconnects. */
int control_once(const struct cli *cli, rpcproc_t proc, const void *args, control_show *show, void *arg);
/* The same for a proc that lists: argv has what is left after the options, at most one name. what says of what, for
 * people. */
int control_list(const struct cli *cli, int argc, char **argv, const char *what, rpcproc_t proc, control_show *show);

#endif
