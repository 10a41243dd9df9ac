/* SPDX-License-Identifier: Apache-2.0
 * peer: what all connections from one address have together, so that one client's share can be bounded.
 *
 * Counted by address, without the port; all Unix sockets are one peer without limits. The counts are atomic; the table
 * is locked only when a connection comes or goes.
 */
#ifndef VOLNFS_RPC_PEER_H
#define VOLNFS_RPC_PEER_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "common/htab.h"

struct peer {
    struct hnode node;
    unsigned char addr[16]; /* IPv6, or IPv4 in it */
    bool local;
    unsigned conns;     /* guarded by the table's lock */
    unsigned inflight;  /* atomic: requests under way */
    size_t out_bytes;   /* atomic: bytes that wait to be sent */
};

struct peer_table {
    pthread_mutex_t lock;
    struct htab peers;
};
int peer_table_init(struct peer_table *t);
/* All peers are gone. */
void peer_table_release(struct peer_table *t);
/* Counts a connection in. NULL: it would be more than max, or memory is out. */
struct peer *peer_get(struct peer_table *t, const struct sockaddr_storage *ss, unsigned max);
/* Counts it out; the last one frees p. */
void peer_put(struct peer_table *t, struct peer *p);
/* Are both network addresses, and the same but for the port? */
bool peer_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b);

#endif
