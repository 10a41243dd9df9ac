/* SPDX-License-Identifier: Apache-2.0
 * htab: buckets are chosen by the low bits of the stored hash; each is a plain chain.
 */
#include "common/htab.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

int htab_init(struct htab *t, size_t nbuckets)
{
    size_t n = 1;

    while (n < nbuckets)
        n *= 2;
    t->count = 0;
    t->nbuckets = n;
    t->buckets = calloc(n, sizeof(*t->buckets));
    if (!t->buckets) {
        t->nbuckets = 0;
        return -ENOMEM;
    }
    return 0;
}

void htab_release(struct htab *t)
{
    free(t->buckets);
    t->buckets = NULL;
    t->nbuckets = t->count = 0;
}

static struct hnode **bucket(const struct htab *t, uint64_t hash)
{
    return &t->buckets[hash & (t->nbuckets - 1)];
}

static void grow(struct htab *t)
{
    struct htab bigger;

    if (htab_init(&bigger, t->nbuckets * 2) != 0)
        return;
    for (size_t i = 0; i < t->nbuckets; i++) {
        struct hnode *n = t->buckets[i];

        while (n) {
            struct hnode *next = n->next, **b = bucket(&bigger, n->hash);

            n->next = *b;
            *b = n;
            n = next;
        }
    }
    bigger.count = t->count;
    free(t->buckets);
    *t = bigger;
}

void htab_add(struct htab *t, struct hnode *n, uint64_t hash)
{
    struct hnode **b;

    if (t->count >= t->nbuckets)
        grow(t);
    b = bucket(t, hash);
    n->hash = hash;
    n->next = *b;
    *b = n;
    t->count++;
}

void htab_del(struct htab *t, struct hnode *n)
{
    struct hnode **p = bucket(t, n->hash);

    while (*p != n)
        p = &(*p)->next;
    *p = n->next;
    n->next = NULL;
    t->count--;
}

static struct hnode *match(struct hnode *n, uint64_t hash)
{
    while (n && n->hash != hash)
        n = n->next;
    return n;
}

struct hnode *htab_first(const struct htab *t, uint64_t hash)
{
    return t->nbuckets ? match(*bucket(t, hash), hash) : NULL;
}

struct hnode *htab_next(const struct hnode *n, uint64_t hash)
{
    return match(n->next, hash);
}

struct hnode *htab_iter(const struct htab *t, const struct hnode *prev)
{
    size_t i = 0;

    if (prev) {
        if (prev->next)
            return prev->next;
        i = (prev->hash & (t->nbuckets - 1)) + 1;
    }
    for (; i < t->nbuckets; i++)
        if (t->buckets[i])
            return t->buckets[i];
    return NULL;
}

uint64_t htab_hash_bytes(const void *p, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(p, len, seed);
}
