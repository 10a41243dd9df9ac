/* SPDX-License-Identifier: Apache-2.0
 * lockrange: byte-range locks of one file.
 *
 * 1. Ranges are sorted by start; ranges of one owner never overlap.
 * 2. Two ranges of one owner and type never touch (they would have been merged).
 * 3. Both changes get their memory before they change anything.
 */
#include "server/state/lockrange.h"

#include <errno.h>
#include <stdlib.h>

void lockset_init(struct lockset *ls)
{
    list_init(&ls->ranges);
}

void lockset_release(struct lockset *ls)
{
    list_for_each_safe (it, &ls->ranges) {
        struct lockrange *r = list_entry(it, struct lockrange, node);

        list_del(&r->node);
        free(r);
    }
}

const struct lockrange *lockset_conflict(const struct lockset *ls, const void *owner, uint64_t start,
                                         uint64_t end, bool write)
{
    list_for_each (it, &ls->ranges) {
        const struct lockrange *r = list_entry(it, struct lockrange, node);

        if (r->start > end)
            break;
        if (r->end >= start && r->owner != owner && (write || r->write))
            return r;
    }
    return NULL;
}

static void insert(struct lockset *ls, struct lockrange *r)
{
    struct list *at = ls->ranges.next;

    while (at != &ls->ranges && list_entry(at, struct lockrange, node)->start < r->start)
        at = at->next;
    list_insert_between(&r->node, at->prev, at);
}

/* Cuts [start, end] out of the owner's ranges; *spare serves for a split and is NULL afterwards if used.
 * Returns the change in the number of ranges. */
static int carve(struct lockset *ls, void *owner, uint64_t start, uint64_t end, struct lockrange **spare)
{
    struct list moved;
    int delta = 0;

    list_init(&moved);
    list_for_each_safe (it, &ls->ranges) {
        struct lockrange *r = list_entry(it, struct lockrange, node);

        if (r->start > end)
            break;
        if (r->owner != owner || r->end < start)
            continue;
        if (r->start < start && r->end > end) {
            struct lockrange *tail = *spare;

            *spare = NULL;
            *tail = (struct lockrange){.start = end + 1, .end = r->end, .write = r->write,
                                       .owner = owner};
            r->end = start - 1;
            insert(ls, tail);
            delta++;
            break;
        }
        if (r->start < start) {
            r->end = start - 1;
        } else if (r->end > end) {
            r->start = end + 1;
            list_del(&r->node);
            list_add_tail(&moved, &r->node);
        } else {
            list_del(&r->node);
            free(r);
            delta--;
        }
    }
    list_for_each_safe (it, &moved) { /* their start changed: sort them in again */
        struct lockrange *r = list_entry(it, struct lockrange, node);

        list_del(&r->node);
        insert(ls, r);
    }
    return delta;
}

int lockset_set(struct lockset *ls, void *owner, uint64_t start, uint64_t end, bool write, int *delta)
{
    struct lockrange *fresh = malloc(sizeof *fresh), *spare = malloc(sizeof *spare);

    *delta = 0;
    if (!fresh || !spare) {
        free(fresh);
        free(spare);
        return -ENOMEM;
    }
    /* Neighbours of the same type become part of the new range (rule 2). */
    list_for_each (it, &ls->ranges) {
        struct lockrange *r = list_entry(it, struct lockrange, node);

        if (r->owner != owner || r->write != write)
            continue;
        if ((start == 0 || r->end >= start - 1) && (end == UINT64_MAX || r->start <= end + 1)) {
            if (r->start < start)
                start = r->start;
            if (r->end > end)
                end = r->end;
        }
    }
    *delta = carve(ls, owner, start, end, &spare) + 1;
    free(spare);
    *fresh = (struct lockrange){.start = start, .end = end, .write = write, .owner = owner};
    insert(ls, fresh);
    return 0;
}

int lockset_clear(struct lockset *ls, void *owner, uint64_t start, uint64_t end, int *delta)
{
    struct lockrange *spare = malloc(sizeof *spare);

    *delta = 0;
    if (!spare)
        return -ENOMEM;
    *delta = carve(ls, owner, start, end, &spare);
    free(spare);
    return 0;
}

unsigned lockset_drop(struct lockset *ls, const void *owner)
{
    unsigned n = 0;

    list_for_each_safe (it, &ls->ranges) {
        struct lockrange *r = list_entry(it, struct lockrange, node);

        if (r->owner == owner) {
            list_del(&r->node);
            free(r);
            n++;
        }
    }
    return n;
}
