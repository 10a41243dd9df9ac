/* SPDX-License-Identifier: Apache-2.0
 * htab: intrusive chained hash table that grows. The caller locks and owns the items.
 *
 * An item embeds struct hnode; the table keeps the hash in it, so growing never calls back.
 * Lookup: for (n = htab_first(t, hash); n; n = htab_next(n, hash)) compare the key yourself.
 */
#ifndef VOLNFS_COMMON_HTAB_H
#define VOLNFS_COMMON_HTAB_H

#include <stddef.h>
#include <stdint.h>

struct hnode {
    struct hnode *next;
    uint64_t hash;
};

struct htab {
    struct hnode **buckets;
    size_t nbuckets; /* a power of two */
    size_t count;
};

/* -ENOMEM or 0. Buckets double when count exceeds them; a failed growth is ignored. */
int htab_init(struct htab *t, size_t nbuckets);
/* Frees the buckets, not the items. Accepts a zeroed table. */
void htab_release(struct htab *t);
/* Adds n, which is in no table; whether one with its key is there already is the caller's to know. */
void htab_add(struct htab *t, struct hnode *n, uint64_t hash);
/* n must be in t. */
void htab_del(struct htab *t, struct hnode *n);
/* The first item with this hash, and the next one with it; NULL: no more. */
struct hnode *htab_first(const struct htab *t, uint64_t hash);
struct hnode *htab_next(const struct hnode *n, uint64_t hash);
/* Walks every item: start with NULL; returns NULL at the end. The table must not change meanwhile,
 * except that the item returned last may be deleted if its successor was fetched before. */
struct hnode *htab_iter(const struct htab *t, const struct hnode *prev);

/* A good 64-bit mixer for integer keys. */
static inline uint64_t htab_hash_u64(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdULL; /* MurmurHash3's finaliser */
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ULL;
    x ^= x >> 33;
    return x;
}
/* XXH3 of a byte string, mixed with seed. */
uint64_t htab_hash_bytes(const void *p, size_t len, uint64_t seed);

#endif
