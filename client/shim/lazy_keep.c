/* SPDX-License-Identifier: Apache-2.0 */
/* Large mappings, filled where they are touched: what becomes accessible for good. */
#include "client/shim/lazy.h"

#include <errno.h>
#include <sys/mman.h>

#include "client/shim/lend.h"
#include "client/shim/store.h"

#define LAZY_JOIN 1024 /* granules that are kept at most to join two stretches */
#define LAZY_LEAVE 4   /* this part of the run directory's file system stays free when something is kept */
#define LAZY_LEAVE_WRITE 16 /* and when there is no other way */

static bool kept(struct lazy *r, uint64_t g)
{
    return g >= r->first && g < granules_end(r) && *state_of(r, g) == KEPT;
}

/* Invariant 11: g..end becomes a part of the next stretch that is kept. */
static void join(struct lazy *r, uint64_t *g, uint64_t *end, uint64_t size)
{
    for (uint64_t n = 0; n < LAZY_JOIN; n++) {
        if (kept(r, *g - 1 - n)) {
            *g -= n;
            return;
        }
        if ((*end + n) * LAZY_GRAIN < size && kept(r, *end + n)) {
            *end += n;
            return;
        }
    }
}

/* Granules g..end, none of them kept yet, from the store; pinned when that has no room. */
static int keep_run(struct lazy *r, uint64_t g, uint64_t end, bool may_pin)
{
    uint64_t to;
    int err = -ENOSPC;
    bool room;

    if (r->isles >= LAZY_ISLES)
        join(r, &g, &end, r->stored && r->store != NULL ? store_size(r->store) : r->file_size);
    to = end * LAZY_GRAIN < r->file_size ? end * LAZY_GRAIN : r->file_size;
    if (r->store != NULL && store_spare(r->store, g * LAZY_GRAIN, to, r->writable ? LAZY_LEAVE_WRITE : LAZY_LEAVE))
        err = store_fill(r->store, g * LAZY_GRAIN, to, r->writable);
    room = err != -ENOSPC && err != -ENOMEM;
    r->no_room |= !room && !r->writable;
    if (err != 0 && (room || !may_pin || r->writable))
        return err;
    lazy_lock();
    if (room)
        r->isles = r->isles + 1 - (kept(r, g - 1) && r->isles > 0) - (kept(r, end) && r->isles > 1);
    for (err = 0; g < end && err == 0; g++)
        if (*state_of(r, g) < PINNED)
            err = room ? lend_store(r, g) : lend_pin(r, g);
    lazy_unlock();
    return err;
}

int lazy_keep(uint8_t *from, uint8_t *to, bool may_pin)
{
    int err = 0;

    for (struct lazy *r = lazy_list(); r != NULL && err == 0; r = r->next) {
        uint8_t *low = from > r->at ? from : r->at, *high = to < r->at + r->size ? to : r->at + r->size;
        uint64_t g, end;

        if (low >= high)
            continue;
        g = (r->offset + (uint64_t)(low - r->at)) / LAZY_GRAIN;
        end = r->offset + (uint64_t)(high - r->at);
        if (end > r->file_size)
            end = r->file_size;
        if (r->stored && r->store != NULL && end > store_size(r->store))
            end = store_size(r->store); /* somebody cut it; what the store does not know of must not be shown as kept */
        while (g * LAZY_GRAIN < end && err == 0) {
            uint64_t stop = g;

            while (stop * LAZY_GRAIN < end && stop - g < LAZY_RUN && *state_of(r, stop) < PINNED)
                stop++;
            if (stop > g)
                err = keep_run(r, g, stop, may_pin);
            g = stop > g ? stop : g + 1;
        }
    }
    return err;
}

int lazy_one(uint8_t *from, uint8_t *to, struct store **store, uint64_t *offset)
{
    struct lazy *r;
    int err = -ENOMEM;
    long at;

    lazy_lock();
    r = lazy_find(from);
    if (r == NULL || to > r->at + r->size || r->store == NULL || r->fd < 0)
        goto out;
    *store = r->store;
    *offset = r->offset + (uint64_t)(from - r->at);
    for (uint64_t g = *offset / LAZY_GRAIN; g * LAZY_GRAIN < *offset + (uint64_t)(to - from); g++)
        if (*state_of(r, g) == PINNED)
            goto out;
    at = sys6(SYS_mmap, (long)from, to - from, r->prot, r->type | MAP_FIXED, r->fd, (long)*offset);
    err = failed(at) ? (int)at : 0;
out:
    lazy_unlock();
    return err;
}
