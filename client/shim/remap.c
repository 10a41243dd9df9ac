/* SPDX-License-Identifier: Apache-2.0 */
/* mremap of what shows volume files. */
#include <errno.h>
#include <sys/mman.h>

#include "client/shim/lazy.h"
#include "client/shim/map_int.h"

/* What was filled where it is touched becomes an ordinary mapping of its store, in one piece. */
static long lazy_leave_locked(uint8_t *from, uint8_t *to)
{
    struct store *store;
    uint64_t offset;
    long at;

    if (!lazy_in(from, to))
        return 0;
    at = lazy_keep(from, to, false);
    if (at != 0)
        return -ENOMEM;
    at = lazy_one(from, to, &store, &offset);
    if (at != 0)
        return at;
    return region_add_locked(from, (size_t)(to - from), offset, store, false) ? (lazy_cut(from, to), 0) : -ENOMEM;
}

/* mremap of what is stored and filled where it is touched: 0, the kernel may cut it shorter; else the answer. */
static long lazy_remap_locked(const long a[6], size_t old, size_t size)
{
    uint8_t *from = (uint8_t *)a[0];
    struct region *r;
    struct store *store = NULL;
    uint64_t offset = 0;
    long at;

    if ((a[3] & ~(MREMAP_MAYMOVE | MREMAP_FIXED)) || ((a[3] & MREMAP_FIXED) && (!(a[3] & MREMAP_MAYMOVE) || (a[4] & (long)(MAP_PAGE - 1)))) ||
        size == 0 || size > 1ul << 46)
        return -EINVAL;
    if ((a[3] & MREMAP_FIXED) && (uintptr_t)a[4] < (uintptr_t)from + old && (uintptr_t)from < (uintptr_t)a[4] + size)
        return -EINVAL;
    if (size <= old && !(a[3] & MREMAP_FIXED)) {
        maps_cut_locked(from + size, from + old);
        return 0;
    }
    if (a[3] & MREMAP_FIXED)
        maps_cut_locked((uint8_t *)a[4], (uint8_t *)a[4] + size);
    r = region_find_locked(from);
    if (r != NULL) {
        store = r->store;
        offset = r->offset + (uint64_t)(from - r->at);
        store_ref(store);
    }
    at = lazy_move(from, old, size, a[3] & MREMAP_FIXED ? (uint8_t *)a[4] : NULL, a[3] & MREMAP_MAYMOVE);
    if (store != NULL && !map_failed(at)) {
        regions_cut_locked(from, from + old);
        region_add_locked((uint8_t *)at, size, offset, store, true);
    }
    if (store != NULL)
        store_unref(store);
    return at;
}

long sc_mremap(const long a[6])
{
    uint8_t *from = (uint8_t *)a[0];
    size_t old = map_round((size_t)a[1]), size = map_round((size_t)a[2]);
    struct region *r;
    struct store *store;
    uint64_t offset;
    bool writable;
    long at;

    map_lock();
    if (lazy_count != 0 && !shim_is_vfork_child() && ((size_t)a[0] & (MAP_PAGE - 1)) == 0 && lazy_movable(from, from + old)) {
        at = lazy_remap_locked(a, old, size);
        map_unlock();
        return at == 0 ? shim_pass(SYS_mremap, a) : at;
    }
    if (lazy_count != 0 && !shim_is_vfork_child()) {
        at = lazy_leave_locked(from, from + (old < size ? old : size));
        if (at == 0 && size < old && lazy_in(from + size, from + old))
            lazy_cut(from + size, from + old);
        if (at != 0) {
            map_unlock();
            return at;
        }
    }
    r = region_find_locked(from);
    if (r == NULL || shim_is_vfork_child()) {
        if ((a[3] & MREMAP_FIXED) && !shim_is_vfork_child())
            maps_cut_locked((uint8_t *)a[4], (uint8_t *)a[4] + size);
        map_unlock();
        return shim_pass(SYS_mremap, a);
    }
    store = r->store;
    writable = r->writable;
    offset = r->offset + (uint64_t)(from - r->at);
    store_ref(store);
    at = size > old ? store_fill(store, offset, offset + size, writable) : 0;
    if (at == 0)
        at = sys5(SYS_mremap, a[0], a[1], a[2], a[3], a[4]);
    if (!map_failed(at)) {
        if (!(a[3] & 4)) /* MREMAP_DONTUNMAP */
            regions_cut_locked(from, from + old);
        if (a[3] & MREMAP_FIXED)
            maps_cut_locked((uint8_t *)at, (uint8_t *)at + size);
        region_add_locked((uint8_t *)at, size, offset, store, writable);
    }
    store_unref(store);
    map_unlock();
    return at == -ENOSPC ? -ENOMEM : at;
}
