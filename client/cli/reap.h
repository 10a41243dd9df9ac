/* SPDX-License-Identifier: Apache-2.0 */
/* Locks of killed processes. */
#ifndef CLIENT_CLI_REAP_H
#define CLIENT_CLI_REAP_H

#include "client/nfs/file.h"
#include "client/shim/shim.h"

/* Gives back the locks of processes of the run that are gone. To be called every few seconds. */
void reap_locks(struct run *run, struct nfs_client *client);

#endif
