/* SPDX-License-Identifier: Apache-2.0
 * lockrange: the byte-range locks of one file, with POSIX semantics: a new lock of an owner replaces what it
 * covers of the same owner's locks; equal neighbours merge. Ends are inclusive; UINT64_MAX = to the end
 * of the file and beyond. The caller locks.
 */
#ifndef VOLNFS_STATE_LOCKRANGE_H
#define VOLNFS_STATE_LOCKRANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/list.h"

struct lockrange {
    struct list node;
    uint64_t start, end;
    bool write;
    void *owner;
};
struct lockset {
    struct list ranges; /* by start */
};
void lockset_init(struct lockset *ls);
/* Frees all ranges. */
void lockset_release(struct lockset *ls);
/* A lock of another owner that excludes this one, or NULL. */
const struct lockrange *lockset_conflict(const struct lockset *ls, const void *owner, uint64_t start,
                                         uint64_t end, bool write);
/* Gives owner the range; conflicts were looked for before. *delta: how many ranges the owner has more (or
 * less). -ENOMEM without effect. */
int lockset_set(struct lockset *ls, void *owner, uint64_t start, uint64_t end, bool write, int *delta);
/* Takes the range from owner. */
int lockset_clear(struct lockset *ls, void *owner, uint64_t start, uint64_t end, int *delta);
/* Takes everything from owner; returns how many ranges that were. */
unsigned lockset_drop(struct lockset *ls, const void *owner);

#endif
