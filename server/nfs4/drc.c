/* SPDX-License-Identifier: Apache-2.0
 * drc: the reply cache of NFSv4.0.
 */
#include "server/nfs4/drc.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/htab.h"
#include "common/list.h"

#define HASHED_BYTES 4096u /* of a call: a long WRITE is told apart by its beginning and its length */

struct drc_entry {
    struct hnode node;
    struct list lru; /* oldest first */
    uint32_t xid;
    size_t body_len;
    bool done;
    void *bytes;
    size_t len;
};

struct drc {
    pthread_mutex_t lock;
    struct htab tab;
    struct list lru;
};

int drc_new(struct drc **out)
{
    struct drc *d = calloc(1, sizeof(*d));
    int err;

    *out = NULL;
    if (!d)
        return -ENOMEM;
    err = htab_init(&d->tab, 256);
    if (err) {
        free(d);
        return err;
    }
    pthread_mutex_init(&d->lock, NULL);
    list_init(&d->lru);
    *out = d;
    return 0;
}

static void entry_drop_locked(struct drc *d, struct drc_entry *e)
{
    htab_del(&d->tab, &e->node);
    list_del(&e->lru);
    free(e->bytes);
    free(e);
}

void drc_free(struct drc *d)
{
    if (!d)
        return;
    while (!list_empty(&d->lru))
        entry_drop_locked(d, list_entry(d->lru.next, struct drc_entry, lru));
    htab_release(&d->tab);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

static uint64_t call_hash(const struct request *req)
{
    struct sockaddr_storage ss;
    size_t n = req->body_len < HASHED_BYTES ? req->body_len : HASHED_BYTES;
    uint64_t seed = req->xid;

    memset(&ss, 0, sizeof(ss));
    request_peer(req, &ss);
    if (ss.ss_family == AF_INET) {
        const struct sockaddr_in *a = (const void *)&ss;

        seed = htab_hash_bytes(&a->sin_addr, sizeof(a->sin_addr), seed + a->sin_port);
    } else if (ss.ss_family == AF_INET6) {
        const struct sockaddr_in6 *a = (const void *)&ss;

        seed = htab_hash_bytes(&a->sin6_addr, sizeof(a->sin6_addr), seed + a->sin6_port);
    } else {
        seed = htab_hash_u64(request_conn_id(req)); /* a local socket is never reconnected */
    }
    return htab_hash_bytes(req->body, n, seed);
}

static struct drc_entry *find_locked(struct drc *d, uint64_t hash, const struct request *req)
{
    for (struct hnode *n = htab_first(&d->tab, hash); n; n = htab_next(n, hash)) {
        struct drc_entry *e = container_of(n, struct drc_entry, node);

        if (e->xid == req->xid && e->body_len == req->body_len)
            return e;
    }
    return NULL;
}

static void make_room_locked(struct drc *d)
{
    if (d->tab.count < DRC_ENTRIES_MAX)
        return;
    list_for_each_safe(it, &d->lru) {
        struct drc_entry *e = list_entry(it, struct drc_entry, lru);

        if (e->done) {
            entry_drop_locked(d, e);
            return;
        }
    }
}

enum drc_result drc_begin(struct drc *d, struct request *req, struct drc_entry **e,
                          struct drc_reply *kept)
{
    uint64_t hash = call_hash(req);
    enum drc_result r = DRC_NEW;
    struct drc_entry *o;

    *e = NULL;
    *kept = (struct drc_reply){0};
    pthread_mutex_lock(&d->lock);
    o = find_locked(d, hash, req);
    if (o && !o->done) {
        r = DRC_BUSY;
        goto out;
    }
    if (o) {
        kept->bytes = malloc(o->len ? o->len : 1);
        if (!kept->bytes) {
            r = DRC_BUSY;
            goto out;
        }
        memcpy(kept->bytes, o->bytes, o->len);
        kept->len = o->len;
        r = DRC_REPLAY;
        goto out;
    }
    make_room_locked(d);
    if (d->tab.count >= DRC_ENTRIES_MAX)
        goto out;
    o = calloc(1, sizeof(*o));
    if (!o)
        goto out;
    o->xid = req->xid;
    o->body_len = req->body_len;
    htab_add(&d->tab, &o->node, hash);
    list_add_tail(&d->lru, &o->lru);
    *e = o;
out:
    pthread_mutex_unlock(&d->lock);
    return r;
}

void drc_reply_release(struct drc_reply *kept)
{
    free(kept->bytes);
    *kept = (struct drc_reply){0};
}

void drc_end(struct drc *d, struct drc_entry *e, const struct xdrout *out, size_t from)
{
    size_t total = out ? xdrout_len(out) : 0;
    char *bytes = NULL;

    if (out && total > from && total <= DRC_REPLY_MAX)
        bytes = malloc(total);
    if (bytes) {
        xdrout_copy(out, bytes);
        memmove(bytes, bytes + from, total - from);
    }
    pthread_mutex_lock(&d->lock);
    if (bytes) {
        e->bytes = bytes;
        e->len = total - from;
        e->done = true;
    } else {
        entry_drop_locked(d, e);
    }
    pthread_mutex_unlock(&d->lock);
}
