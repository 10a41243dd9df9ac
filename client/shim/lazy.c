/* SPDX-License-Identifier: Apache-2.0 */
/* Large mappings, filled where they are touched: the mappings (lazy_fault.c has the touches, lazy_keep.c what stays, lend.c
 * the bytes). */
#include "client/shim/lazy.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "client/door/door.h"
#include "client/nfs/rpc.h"
#include "client/shim/lend.h"
#include "client/shim/store.h"

#define LAZY_MIN (16ul << 20) /* smaller mappings are filled at once: one round of parallel reads */

static struct {
    struct vlock lock;
    struct lazy *first;
} lazy;

int lazy_count;
uintptr_t lazy_low, lazy_high;
struct lazy_ranges lazy_ranges;

static __thread bool lazy_mine __attribute__((tls_model("initial-exec"))); /* this thread holds the lock */

void lazy_lock(void)
{
    vlock_lock(&lazy.lock);
    lazy_mine = true;
}

void lazy_unlock(void)
{
    lazy_mine = false;
    vlock_unlock(&lazy.lock);
}

bool lazy_held(void)
{
    return lazy_mine;
}

struct lazy *lazy_list(void)
{
    return lazy.first;
}

struct lazy *lazy_find(const uint8_t *at)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (at >= r->at && at < r->at + r->size)
            return r;
    return NULL;
}

/* After every change of the list: tells those who look without a lock, who must miss no mapping that stays. */
static void bounds(void)
{
    uintptr_t low = UINTPTR_MAX, high = 0;
    uint32_t n = 0;

    __atomic_store_n(&lazy_ranges.seq, lazy_ranges.seq + 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        uintptr_t at = (uintptr_t)r->at, end = at + r->size;

        low = at < low ? at : low;
        high = end > high ? end : high;
        if (n == LAZY_RANGES) {
            at = at < lazy_ranges.v[n - 1].at ? at : lazy_ranges.v[n - 1].at;
            end = end > lazy_ranges.v[n - 1].end ? end : lazy_ranges.v[n - 1].end;
            n--;
        }
        lazy_ranges.v[n].at = at;
        lazy_ranges.v[n++].end = end;
    }
    lazy_ranges.n = n;
    if (high == 0)
        low = 0;
    __atomic_store_n(&lazy_high, high > lazy_high ? high : lazy_high, __ATOMIC_RELEASE);
    __atomic_store_n(&lazy_low, low, __ATOMIC_RELEASE);
    __atomic_store_n(&lazy_high, high, __ATOMIC_RELEASE);
    __atomic_store_n(&lazy_ranges.seq, lazy_ranges.seq + 1, __ATOMIC_RELEASE);
    door_near(low, high);
}

static void region_free(struct lazy *r)
{
    if (r->fd >= 0) {
        rpc_fd_release(r->fd);
        sys1(SYS_close, r->fd);
    }
    heap_free(r->state);
    heap_free(r);
}

/* Not under lazy.lock: the store may have something to write back. */
static void region_end_use(struct lazy *r)
{
    if (r->store != NULL)
        store_unref(r->store);
    region_free(r);
}

/* A record of memory at..at+size that shows what r does there. */
static struct lazy *region_like(const struct lazy *r, uint8_t *at, size_t size, uint64_t offset)
{
    struct lazy *n = heap_zalloc(1, sizeof(*n));
    size_t count;

    if (n == NULL)
        return NULL;
    *n = *r;
    n->at = at;
    n->size = size;
    n->offset = offset;
    n->fd = -1;
    n->first = offset / LAZY_GRAIN;
    count = (size_t)(granules_end(n) - n->first);
    n->state = heap_zalloc(1, count);
    if (n->state == NULL) {
        heap_free(n);
        return NULL;
    }
    if (r->state != NULL)
        memcpy(n->state, r->state + (n->first - r->first), count);
    if (n->store != NULL)
        store_ref(n->store);
    n->next = lazy.first;
    lazy.first = n;
    map_regions++;
    __atomic_add_fetch(&lazy_count, 1, __ATOMIC_RELEASE);
    return n;
}

bool lazy_wanted(const long a[6], const struct nfs_attr *attr, bool writable)
{
    const int known = MAP_TYPE | MAP_FIXED | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    uint64_t offset = (uint64_t)a[5], size = page_up((uint64_t)a[1]);
    int prot = (int)a[2];

    if ((a[3] & ~known) != 0 || shim_is_vfork_child())
        return false;
    if (writable)
        return (prot & ~(PROT_READ | PROT_WRITE)) == 0 && offset < 1ull << 60 &&
               (size >= LAZY_MIN || (offset + size - 1) / LAZY_GRAIN >= (attr->size + LAZY_GRAIN - 1) / LAZY_GRAIN);
    return (prot == PROT_READ || prot == (PROT_READ | PROT_WRITE)) && (size_t)a[1] >= LAZY_MIN && offset < attr->size &&
           attr->size - offset >= LAZY_MIN;
}

long lazy_map(const long a[6], const struct nfs_fh *fh, const struct nfs_attr *attr, struct store *store, bool writable)
{
    uint32_t writers = __atomic_load_n(&shim.run->writers, __ATOMIC_ACQUIRE);
    struct lazy like = {.file_size = attr->size,
                        .fh = *fh,
                        .store = store,
                        .others = store != NULL && store_filled(store, 0, attr->size),
                        .stored = store != NULL && store_written(store),
                        .writable = writable,
                        .writers = writers,
                        .prot = (int)a[2],
                        .type = (int)a[3] & MAP_TYPE,
                        .advice = MADV_NORMAL,
                        .ahead = 1};
    size_t size = page_up((uint64_t)a[1]);
    long at;
    int err;

    if (like.type == MAP_SHARED_VALIDATE)
        like.type = MAP_SHARED;
    lazy_lock();
    err = lend_start();
    if (err == 0)
        err = lazy_fault_start();
    if (err != 0) {
        at = err;
        goto out;
    }
    if ((a[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) || a[0] != 0)
        at = lend_blank((uint8_t *)a[0], size, (int)a[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE));
    else
        at = lend_aligned(size, (size_t)a[5] & (LAZY_GRAIN - 1), PROT_NONE);
    if (failed(at))
        goto out;
    if (region_like(&like, (uint8_t *)at, size, (uint64_t)a[5]) == NULL) {
        sys2(SYS_munmap, at, size);
        at = -ENOMEM;
    }
    bounds();
out:
    lazy_unlock();
    return at;
}

/* A mapping that is stored, with another protection. Under lazy.lock. */
static void protect(struct lazy *r, int prot)
{
    r->prot = prot;
    for (uint64_t g = r->first, end = granules_end(r); g < end; g++) {
        uint64_t from, to, next;

        if (*state_of(r, g) < PINNED)
            continue;
        part_of(r, g, &from, &to);
        while (g + 1 < end && *state_of(r, g + 1) >= PINNED)
            part_of(r, ++g, &next, &to);
        if (sys3(SYS_mprotect, address(r, from), to - from, prot) != 0 && r->type == MAP_SHARED)
            for (uint64_t h = from / LAZY_GRAIN; h <= g; h++)
                lend_hide(r, h, ABSENT); /* the store has it */
    }
}

/* Memory from..to, all of it kept or stored, becomes mappings of its own with this protection, or (-1) is none of ours any more. */
static void cut(uint8_t *from, uint8_t *to, int prot)
{
    struct lazy *gone = NULL;

    lazy_lock();
    for (struct lazy **at = &lazy.first, *r; (r = *at) != NULL;) {
        uint8_t *end = r->at + r->size, *low = r->at > from ? r->at : from, *high = end < to ? end : to;
        struct lazy *left = NULL, *right = NULL;

        if (low >= high) {
            at = &r->next;
            continue;
        }
        lend_asks_drop(r, 0, UINT64_MAX);
        if (prot >= 0) {
            struct lazy *middle = region_like(r, low, (size_t)(high - low), r->offset + (uint64_t)(low - r->at));

            if (middle != NULL && middle->stored)
                protect(middle, prot);
            else if (middle != NULL)
                middle->prot = prot;
        }
        if (high < end)
            right = region_like(r, high, (size_t)(end - high), r->offset + (uint64_t)(high - r->at));
        if (low > r->at) {
            r->size = (size_t)(low - r->at);
            left = r;
        }
        lend_cut(r, left, right);
        if (left != NULL) {
            at = &r->next;
            continue;
        }
        for (at = &lazy.first; *at != r; at = &(*at)->next) /* right or the middle is the first now */
            ;
        *at = r->next;
        r->next = gone;
        gone = r;
        map_regions--;
        __atomic_sub_fetch(&lazy_count, 1, __ATOMIC_ACQ_REL);
    }
    bounds();
    lazy_unlock();
    while (gone != NULL) {
        struct lazy *next = gone->next;

        region_end_use(gone);
        gone = next;
    }
}

void lazy_cut(uint8_t *from, uint8_t *to)
{
    cut(from, to, -1);
}

/* How much of from..to lies in mappings here; stored: in those that are. */
static size_t covered(const uint8_t *from, const uint8_t *to, bool stored)
{
    size_t size = 0;

    for (const struct lazy *r = lazy.first; r != NULL; r = r->next) {
        const uint8_t *low = from > r->at ? from : r->at, *high = to < r->at + r->size ? to : r->at + r->size;

        size += low < high && (!stored || r->stored) ? (size_t)(high - low) : 0;
    }
    return size;
}

bool lazy_stored(const uint8_t *from, const uint8_t *to)
{
    return from < to && covered(from, to, true) == (size_t)(to - from);
}

void lazy_protect(uint8_t *from, uint8_t *to, int prot)
{
    cut(from, to, prot);
}

void lazy_exit(void)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        struct store *store;

        lazy_lock();
        store = r->store;
        r->store = NULL;
        lazy_unlock();
        if (store != NULL)
            store_unref(store);
    }
}

bool lazy_in(const uint8_t *from, const uint8_t *to)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (from < r->at + r->size && to > r->at)
            return true;
    return false;
}

bool lazy_shared(const uint8_t *from, const uint8_t *to)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (r->type == MAP_SHARED && !r->writable && from < r->at + r->size && to > r->at)
            return true;
    return false;
}

bool lazy_writable(const uint8_t *from, const uint8_t *to)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (r->writable && from < r->at + r->size && to > r->at)
            return true;
    return false;
}

struct store *lazy_store(const struct nfs_fh *fh)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (r->store != NULL && nfs_fh_same(&r->fh, fh))
            return r->store;
    return NULL;
}

bool lazy_has(const struct nfs_fh *fh)
{
    for (const struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (nfs_fh_same(&r->fh, fh))
            return true;
    return false;
}

bool lazy_movable(const uint8_t *from, const uint8_t *to)
{
    const struct lazy *r = lazy_find(from);

    return r != NULL && r->stored && r->type == MAP_SHARED && from < to && to <= r->at + r->size;
}

/* More memory right behind r, which ends there: true if that was free. */
static bool grow(struct lazy *r, size_t more)
{
    uint64_t count = (region_end(r) + more + LAZY_GRAIN - 1) / LAZY_GRAIN - r->first, last = granules_end(r) - 1;
    uint8_t *state = heap_zalloc(1, (size_t)count);
    long at;

    if (state == NULL)
        return false;
    at = lend_blank(r->at + r->size, more, MAP_FIXED_NOREPLACE);
    if (failed(at) || (uint8_t *)at != r->at + r->size) {
        if (!failed(at)) /* an old kernel takes it for a hint */
            sys2(SYS_munmap, at, more);
        heap_free(state);
        return false;
    }
    memcpy(state, r->state, (size_t)(last + 1 - r->first));
    heap_free(r->state);
    r->state = state;
    r->size += more;
    if (*state_of(r, last) == KEPT && lend_store(r, last) != 0) /* all of it now */
        lend_hide(r, last, ABSENT);
    bounds();
    return true;
}

/* A mapping that moves has nothing to show at first: what is kept is still in the store. */
long lazy_move(uint8_t *from, size_t old, size_t size, uint8_t *to, bool may_move)
{
    struct lazy *r, like;
    long at = -ENOMEM;
    uint64_t offset;

    lazy_lock();
    r = lazy_find(from);
    if (to == NULL && from + old == r->at + r->size && grow(r, size - old)) {
        lazy_unlock();
        return (long)from;
    }
    like = *r;
    like.state = NULL;
    like.kept = like.run = like.isles = 0;
    offset = r->offset + (uint64_t)(from - r->at);
    if (to != NULL)
        at = lend_blank(to, size, MAP_FIXED);
    else if (may_move)
        at = lend_aligned(size, (size_t)offset & (LAZY_GRAIN - 1), PROT_NONE);
    if (!failed(at) && region_like(&like, (uint8_t *)at, size, offset) == NULL) {
        sys2(SYS_munmap, at, size);
        at = -ENOMEM;
    }
    bounds();
    lazy_unlock();
    if (failed(at))
        return at;
    cut(from, from + old, -1);
    sys2(SYS_munmap, from, old);
    return at;
}

void lazy_resize(struct lazy *r, uint64_t size)
{
    uint64_t old = r->file_size, g = (size < old ? size : old) / LAZY_GRAIN;

    if (size == old)
        return;
    lend_asks_drop(r, 0, UINT64_MAX);
    r->file_size = size;
    for (g = g > r->first ? g : r->first; g < granules_end(r) && g * LAZY_GRAIN <= old; g++)
        if (*state_of(r, g) > SEEN && !(r->stored && *state_of(r, g) == KEPT))
            lend_hide(r, g, ABSENT);
}

void lazy_resized(const struct nfs_fh *fh, uint64_t size)
{
    lazy_lock();
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (nfs_fh_same(&r->fh, fh))
            lazy_resize(r, size);
    lazy_unlock();
}

void lazy_share(const struct nfs_fh *fh, struct store *store)
{
    lazy_lock();
    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        if (r->stored || !nfs_fh_same(&r->fh, fh))
            continue;
        r->stored = true;
        r->no_room = false;
        if (r->store == NULL) {
            r->store = store;
            store_ref(store);
        }
        lend_asks_drop(r, 0, UINT64_MAX);
        for (uint64_t g = r->first; g < granules_end(r); g++)
            if (*state_of(r, g) == LENT || *state_of(r, g) == SEEN)
                lend_hide(r, g, ABSENT);
    }
    lazy_unlock();
}

void lazy_wrote(const struct nfs_fh *fh, uint64_t from, uint64_t to)
{
    lazy_lock();
    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        if (!nfs_fh_same(&r->fh, fh))
            continue;
        if (to > r->file_size)
            lazy_resize(r, to);
        lend_asks_drop(r, from, to);
        for (uint64_t g = from / LAZY_GRAIN > r->first ? from / LAZY_GRAIN : r->first;
             g < granules_end(r) && g * LAZY_GRAIN < to; g++)
            if (*state_of(r, g) == LENT)
                lend_hide(r, g, ABSENT);
    }
    lazy_unlock();
}

/* What was written there is given up, and so is the memory where that can be. Offsets. */
static int give_up(struct lazy *r, uint64_t from, uint64_t to)
{
    int err = 0;

    for (uint64_t g = from / LAZY_GRAIN; g * LAZY_GRAIN < to && err == 0; g++) {
        uint64_t low, high;
        bool whole;

        part_of(r, g, &low, &high);
        whole = low >= from && high <= to;
        low = low > from ? low : from;
        high = high < to ? high : to;
        if (*state_of(r, g) == LENT)
            lend_hide(r, g, SEEN);
        else if (*state_of(r, g) == KEPT)
            sys3(SYS_madvise, address(r, low), high - low, MADV_DONTNEED);
        else if (*state_of(r, g) == PINNED && whole)
            lend_hide(r, g, ABSENT);
        else if (*state_of(r, g) == PINNED)
            err = lend_again(r, g, low, high);
    }
    return err;
}

bool lazy_advise(uint8_t *from, uint8_t *to, int advice, long *ret)
{
    bool all;

    lazy_lock();
    all = covered(from, to, false) == (size_t)(to - from);
    *ret = advice == MADV_FREE || advice == MADV_WIPEONFORK || advice == MADV_REMOVE ? -EINVAL : 0;
    if (advice == MADV_DONTNEED && !all) { /* what else lies there; zeros that this makes of ours do not stay */
        *ret = sys3(SYS_madvise, from, to - from, MADV_DONTNEED);
        all = true;
    }
    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        uint8_t *low = from > r->at ? from : r->at, *high = to < r->at + r->size ? to : r->at + r->size;

        if (low >= high)
            continue;
        if (advice == MADV_SEQUENTIAL || advice == MADV_RANDOM || advice == MADV_NORMAL)
            r->advice = advice;
        if (advice == MADV_DONTNEED) {
            int err = give_up(r, r->offset + (uint64_t)(low - r->at), r->offset + (uint64_t)(high - r->at));

            *ret = err != 0 ? err : *ret;
        }
    }
    lazy_unlock();
    return all;
}

void lazy_before_fork(void)
{
    if (lazy_count != 0)
        lazy_lock();
}

/* The child has true copies of what is lent; what is on its way, and over what, is its parent's: also when no mapping is left. */
void lazy_after_fork(bool child, bool announced)
{
    if (child) {
        /* Another thread may have been in the middle of something: all that it may have touched is fetched again. */
        bool whole = announced || lazy.lock.word == 0;

        lend_after_fork(whole);
        for (struct lazy *r = lazy.first; r != NULL && !whole; r = r->next)
            for (uint64_t g = r->first; g < granules_end(r); g++)
                if (*state_of(r, g) != PINNED)
                    lend_hide(r, g, ABSENT);
        for (struct lazy *r = lazy.first; r != NULL; r = r->next)
            if (r->store != NULL)
                store_forked(r->store);
        memset(&lazy.lock, 0, sizeof(lazy.lock));
        lazy_mine = false;
        return;
    }
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (r->store != NULL)
            store_forked(r->store);
    if (lazy_mine)
        lazy_unlock();
}
