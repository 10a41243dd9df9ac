/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of memory that show volume files, as map.c and remap.c share them. All under map_lock(). */
#ifndef CLIENT_SHIM_MAP_INT_H
#define CLIENT_SHIM_MAP_INT_H

#include "client/shim/shim.h"
#include "client/shim/store.h"

#define MAP_PAGE 4096ul

#pragma GCC visibility push(hidden)

/* All that is not lazy.h's alone: mappings of a store in one piece, and beside lazy.h those that can write to the file. */
struct region {
    struct region *next;
    uint8_t *at;
    size_t size;
    uint64_t offset;
    struct store *store;
    bool writable; /* what is written goes to the file */
};

static inline bool map_failed(long at)
{
    return at < 0 && at > -4096;
}

static inline size_t map_round(size_t size)
{
    return (size + MAP_PAGE - 1) & ~(MAP_PAGE - 1);
}

struct region *region_find_locked(const uint8_t *at); /* or NULL */
/* Takes a reference of the store. False: no memory. */
bool region_add_locked(uint8_t *at, size_t size, uint64_t offset, struct store *store, bool writable);
/* Memory from..to shows none of our files any more (or soon). What was written there is written back. */
void regions_cut_locked(uint8_t *from, uint8_t *to);
/* The same for every kind of mapping. */
void maps_cut_locked(uint8_t *from, uint8_t *to);

#pragma GCC visibility pop

#endif
