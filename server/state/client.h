/* SPDX-License-Identifier: Apache-2.0
 * client: client ids: SETCLIENTID (RFC 7530 section 16.33), EXCHANGE_ID (RFC 8881 section 18.35), leases, and
 * the durable record that lets a client reclaim after a restart.
 *
 * principal: who sent the request, as text of at most 63 bytes. from: its address (an IPv4 one in its IPv6 form). may_block: whether the call may wait for the
 * disk; if not and it would have to, it returns STATE_BLOCK without having changed anything.
 */
#ifndef VOLNFS_STATE_CLIENT_H
#define VOLNFS_STATE_CLIENT_H

#include <stdbool.h>
#include <sys/socket.h>

#include "server/state/state.h"

#define CLIENT_OWNER_MAX 1024

/* --- NFSv4.0 --- */

struct client_set40 {
    const uint8_t *verifier; /* 8 bytes */
    uint8_t from[CLIENT_FROM];
    bool granted;            /* something is granted to that address */
    const void *owner;
    size_t owner_len;
    uint32_t cb_program, cb_ident;
    const char *netid, *addr; /* not NUL-terminated */
    size_t netid_len, addr_len;
    struct sockaddr_storage cb_addr; /* the same for callbacks; AF_UNSPEC: none */
    uint64_t clientid;    /* out */
    uint8_t confirm[8];   /* out */
    char using_netid[16], using_addr[64]; /* out with NFS4ERR_CLID_INUSE */
};
nfsstat4 client_set40(struct state *s, const char *principal, struct client_set40 *a, bool may_block);
nfsstat4 client_confirm40(struct state *s, const char *principal, uint64_t clientid,
                          const uint8_t confirm[8], bool may_block);
nfsstat4 client_renew40(struct state *s, uint64_t clientid);
/* The client was heard on this connection: while it is open, the client is not taken for gone (state_conn_closed). */
void client_heard40(struct state *s, uint64_t clientid, uint64_t conn);

/* --- NFSv4.1 --- */

struct client_exchange {
    const uint8_t *verifier;
    uint8_t from[CLIENT_FROM];
    bool granted;      /* as above */
    const void *owner;
    size_t owner_len;
    bool update;       /* EXCHGID4_FLAG_UPD_CONFIRMED_REC_A */
    uint64_t clientid; /* out, as the next two */
    uint32_t sequence;
    bool confirmed;
};
nfsstat4 client_exchange(struct state *s, const char *principal, struct client_exchange *a,
                         bool may_block);
/* NFS4ERR_WRONG_CRED: it is another principal's, or comes from where it was never heard of. */
nfsstat4 client_destroy(struct state *s, const char *principal, const uint8_t from[CLIENT_FROM], uint64_t clientid,
                        bool may_block);
nfsstat4 client_reclaim_complete(struct state *s, uint64_t clientid, bool may_block);

/* --- both --- */

/* Makes sure that the client's record is on the disk, before its first open. */
nfsstat4 client_record(struct state *s, uint64_t clientid, bool may_block);
/* A number that follows from the owner string of a confirmed client, so is the same after a restart of it or of
 * the server, and differs between clients. 0: no such client. */
uint64_t client_mark(struct state *s, uint64_t clientid);
/* Counts for tests and the control interface. */
struct state_counts {
    unsigned clients, sessions, opens, locks, owners, files, delegs, waits;
};
void state_count(struct state *s, struct state_counts *out);

#endif
