/* SPDX-License-Identifier: Apache-2.0
 * fold: the maps of a batch of txgs, slot by slot, without those that later ones cover.
 *
 * A client that writes and syncs small pieces makes a map of each. Many such txgs go into the index at once, and there
 * only the last map of a page matters: the others need not be compressed, stored, or given rows. And rows that are
 * neighbours in the index are changed one after the other.
 *
 *   D1 Maps of one slot keep their order; no map crosses the end of its slot. So the extents come out the same as in the order
 *      of the txgs, as long as no other op on extents is between them.
 *   D2 What is left out is covered by a single pass from the last map back: a page of it counts as covered up to the
 *      most bytes, from its beginning, that one later map has of it. Maps that do not begin with a page are kept.
 */
#ifndef VOLNFS_STORE_FOLD_H
#define VOLNFS_STORE_FOLD_H

#include "server/store/volume_int.h"

struct fold_map {
    struct txg *t;
    struct rowop *op;
    size_t seq;
};
struct fold { /* zeroed: empty */
    struct fold_map *m;
    size_t n, cap;
};

/* Takes a map in, which comes after all before it. */
void fold_add(struct fold *f, struct txg *t, struct rowop *op);
/* Calls fn for the maps that are left, by inode and offset of the slot, and is empty then. Stops at a negative result, which it returns;
 * else 0. */
int fold_run(struct fold *f, int (*fn)(void *arg, struct txg *t, struct rowop *op), void *arg);
void fold_release(struct fold *f);

#endif
