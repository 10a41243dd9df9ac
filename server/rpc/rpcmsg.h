/* SPDX-License-Identifier: Apache-2.0
 * rpcmsg: ONC RPC message headers (RFC 5531): calls are decoded, replies encoded.
 */
#ifndef VOLNFS_RPC_RPCMSG_H
#define VOLNFS_RPC_RPCMSG_H

#include <rpc/rpc.h>
#include <stdbool.h>
#include <stdint.h>

#include "server/rpc/request.h"

enum rpcmsg_verdict {
    RPCMSG_CALL,     /* everything is filled in; x stands at the arguments */
    RPCMSG_REPLY,    /* a reply: only the xid is filled in */
    RPCMSG_VERSION,  /* a call of another RPC version: answer RPC_MISMATCH */
    RPCMSG_AUTH,     /* a credential we do not take: answer AUTH_ERROR with auth_stat */
    RPCMSG_GARBAGE,  /* no RPC message: close the connection */
};

struct rpcmsg_head {
    uint32_t xid, prog, vers, proc;
    uint32_t auth_stat;
};

/* Decodes a message header from x. cred is filled in for RPCMSG_CALL only. */
enum rpcmsg_verdict rpcmsg_decode(XDR *x, struct rpcmsg_head *head, struct cred *cred);

/* Encode a whole reply header; false: no room. A MSG_ACCEPTED one carries an empty verifier; low and high
 * go out with PROG_MISMATCH only. */
bool rpcmsg_put_accepted(XDR *x, uint32_t xid, uint32_t accept_stat, uint32_t low, uint32_t high);
bool rpcmsg_put_version_mismatch(XDR *x, uint32_t xid);
bool rpcmsg_put_auth_error(XDR *x, uint32_t xid, uint32_t auth_stat);

#endif
