/* SPDX-License-Identifier: Apache-2.0
 * pool: a bounded free list of equal pieces of memory, for those allocated and freed at every request.
 * Safe from any thread. Under AddressSanitizer nothing is kept, so that it sees each use after free.
 */
#ifndef VOLNFS_COMMON_POOL_H
#define VOLNFS_COMMON_POOL_H

#include <pthread.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define POOL_KEEPS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_KEEPS 0
#endif
#endif
#ifndef POOL_KEEPS
#define POOL_KEEPS 1 /* 0: free lists (also those that do without this module) are to stay empty */
#endif

struct pool {
    pthread_mutex_t lock;
    void *free;       /* the first word of a free piece points to the next */
    size_t size;      /* of a piece, at least a pointer's */
    unsigned n, keep; /* pieces on the list; the most that stay there */
};

#define POOL_INIT(piece_size, keep_max)                                                            \
    {.lock = PTHREAD_MUTEX_INITIALIZER, .size = (piece_size), .keep = (keep_max)}

/* A piece with undefined contents; NULL when out of memory. *fresh (may be NULL) tells whether it came
 * from malloc rather than from the list. */
void *pool_get(struct pool *p, int *fresh);
/* Gives a piece back. */
void pool_put(struct pool *p, void *piece);

#endif
