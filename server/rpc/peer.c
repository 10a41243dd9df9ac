/* SPDX-License-Identifier: Apache-2.0
 * peer: the table of addresses that connections come from (see peer.h).
 */
#include "server/rpc/peer.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/list.h"

int peer_table_init(struct peer_table *t)
{
    pthread_mutex_init(&t->lock, NULL);
    return htab_init(&t->peers, 64);
}

void peer_table_release(struct peer_table *t)
{
    htab_release(&t->peers);
    pthread_mutex_destroy(&t->lock);
}

/* False: no network address. */
static bool address(const struct sockaddr_storage *ss, unsigned char out[16])
{
    memset(out, 0, 16);
    if (ss->ss_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
    } else if (ss->ss_family == AF_INET) {
        out[10] = out[11] = 0xff;
        memcpy(out + 12, &((const struct sockaddr_in *)ss)->sin_addr, 4);
    } else {
        return false;
    }
    return true;
}

struct peer *peer_get(struct peer_table *t, const struct sockaddr_storage *ss, unsigned max)
{
    unsigned char addr[16];
    bool local = !address(ss, addr);
    uint64_t hash = htab_hash_bytes(addr, sizeof(addr), local);
    struct peer *p = NULL;

    pthread_mutex_lock(&t->lock);
    for (struct hnode *n = htab_first(&t->peers, hash); n && !p; n = htab_next(n, hash)) {
        struct peer *q = container_of(n, struct peer, node);

        if (q->local == local && !memcmp(q->addr, addr, sizeof(addr)))
            p = q;
    }
    if (!p && (p = calloc(1, sizeof(*p)))) {
        p->local = local;
        memcpy(p->addr, addr, sizeof(addr));
        htab_add(&t->peers, &p->node, hash);
    }
    if (p && !local && p->conns >= max) {
        if (!p->conns) {
            htab_del(&t->peers, &p->node);
            free(p);
        }
        p = NULL;
    }
    if (p)
        p->conns++;
    pthread_mutex_unlock(&t->lock);
    return p;
}

void peer_put(struct peer_table *t, struct peer *p)
{
    bool last;

    if (!p)
        return;
    pthread_mutex_lock(&t->lock);
    last = --p->conns == 0;
    if (last)
        htab_del(&t->peers, &p->node);
    pthread_mutex_unlock(&t->lock);
    if (last)
        free(p);
}

bool peer_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    unsigned char x[16], y[16];

    return address(a, x) && address(b, y) && memcmp(x, y, sizeof(x)) == 0;
}
