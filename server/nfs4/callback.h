/* SPDX-License-Identifier: Apache-2.0
 * callback: sends the state layer's callbacks (state/callback.h) over RPC.
 */
#ifndef VOLNFS_NFS4_CALLBACK_H
#define VOLNFS_NFS4_CALLBACK_H

#include <stdbool.h>
#include <sys/socket.h>

#include "server/nfs4/server.h"

struct rpcserver;
/* From here on the state layer of srv can call clients back over rpc; before rpcserver_start. */
int nfs4_callbacks_start(struct nfs4_server *srv, struct rpcserver *rpc);
/* No more; what is under way ends by itself. After rpcserver_stop, before the state layer goes. */
void nfs4_callbacks_stop(struct nfs4_server *srv);

/* cbaddr.c. The address for callbacks that a 4.0 client gives (RFC 7530 section 3.3, RFC 5665 section 5.2.3.3) as
 * text of that length: only one of the host that says so, so that nobody makes us connect elsewhere. False: no
 * callbacks; *out is AF_UNSPEC then. */
bool callback_address(const char *netid, size_t netid_len, const char *addr, size_t addr_len,
                      const struct sockaddr_storage *peer, struct sockaddr_storage *out);

#endif
