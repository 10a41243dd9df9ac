/* SPDX-License-Identifier: Apache-2.0
 * arena: memory that goes away all at once, for one request. Not safe for two threads at a time.
 */
#ifndef VOLNFS_COMMON_ARENA_H
#define VOLNFS_COMMON_ARENA_H

#include <stddef.h>

struct arena {
    struct arena_block *blocks;
    size_t used, limit; /* bytes handed out; the most that may be (0 = no limit) */
};

void arena_init(struct arena *a, size_t limit);
void arena_release(struct arena *a);
/* Forgets everything handed out but keeps a block for the next use, so that a pooled request costs no
 * allocation. */
void arena_reset(struct arena *a);
/* 16-byte aligned, zeroed; NULL when the limit or memory is exhausted. */
void *arena_alloc(struct arena *a, size_t size);

#endif
