/* SPDX-License-Identifier: Apache-2.0
 * arena: a bump allocator over a list of blocks.
 */
#include "common/arena.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_ALIGN 16u
#define ARENA_BLOCK 4096u /* with its header: one page */

/* `at` counts the bytes of data taken, `size` those there are. */
struct arena_block {
    struct arena_block *next;
    size_t at, size;
    char data[] __attribute__((aligned(16)));
};

void arena_init(struct arena *a, size_t limit)
{
    a->blocks = NULL;
    a->used = 0;
    a->limit = limit;
}

static void free_blocks(struct arena_block *b)
{
    while (b) {
        struct arena_block *next = b->next;
        free(b);
        b = next;
    }
}

void arena_release(struct arena *a)
{
    free_blocks(a->blocks);
    a->blocks = NULL;
    a->used = 0;
}

void arena_reset(struct arena *a)
{
    struct arena_block *keep = NULL;

    /* Blocks of the ordinary size are worth keeping; the first made is the last of the list. */
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        if (!keep && b->size == ARENA_BLOCK - sizeof(*b)) {
            keep = b;
            keep->at = 0;
        } else {
            free(b);
        }
    }
    if (keep)
        keep->next = NULL;
    a->blocks = keep;
    a->used = 0;
}

static struct arena_block *block_new(size_t size)
{
    struct arena_block *b = malloc(sizeof(*b) + size);

    if (b) {
        b->at = 0;
        b->size = size;
    }
    return b;
}

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b = a->blocks;
    size_t need;
    void *p;

    if (size > SIZE_MAX / 2)
        return NULL;
    need = size ? (size + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1) : ARENA_ALIGN;
    if (a->limit && (need > a->limit || a->used > a->limit - need))
        return NULL;
    if (!b || b->size - b->at < need) {
        size_t usual = ARENA_BLOCK - sizeof(*b);

        b = block_new(need > usual ? need : usual);
        if (!b)
            return NULL;
        /* A big piece has its block to itself; the block being filled stays at the head. */
        if (a->blocks && need > usual / 2) {
            b->next = a->blocks->next;
            a->blocks->next = b;
        } else {
            b->next = a->blocks;
            a->blocks = b;
        }
    }
    p = b->data + b->at;
    b->at += need;
    a->used += need;
    memset(p, 0, need);
    return p;
}
