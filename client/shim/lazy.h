/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large mappings: filled where they are touched.
 *
 * Such a mapping begins as inaccessible memory. The SIGSEGV of its first touch fetches a granule (2 MiB), and, when
 * touches come in order, asks for the next ones, so that the server works while the program looks at what it has.
 *
 * A mapping is stored when it can write to the file, or when the run may write to the file through memory of another
 * mapping: then all that it shows is the run's store (store.h), where others see what it writes and it sees them.
 *
 * Invariants (lazy.c, lazy_fault.c; lend.c keeps 1 to 4):
 *  1. A granule becomes accessible in one step, complete: it is read into a slot, memory of ours, whose pages are then
 *     moved (mremap) to where they belong. No thread sees half of one.
 *  2. First touch, unless the mapping is stored: the granule is lent. At most LAZY_WINDOW granules of the process are lent; the oldest one's pages
 *     are taken back for the next. A scan of any length so lives on a few pages that are warm in the cache, and never
 *     needs more memory than that.
 *  3. Second touch of a granule that was taken back, and every touch in a stored mapping: the program comes back to its data, so the granule goes to the
 *     run's store of the file (store.h) and stays as long as the mapping; other processes find it there. A granule
 *     that is in the store already is shown from there at its first touch. Without room in the store: as 2.
 *  4. What the program wrote into a private mapping (pinned) is never taken back, but by its own MADV_DONTNEED.
 *  5. Memory that the kernel is to look at (system calls, mlock, mprotect, mremap) is kept (3) or, without room in
 *     the store, pinned before the call: the kernel never meets inaccessible memory that would be filled. What a call
 *     looks at itself is touched before it takes a lock (args.c), and kept by that.
 *  6. Lent memory is private anonymous memory: whatever kind of fork makes a child has a true copy.
 *  7. Who holds lazy.lock waits for nothing but the server, over connections that nothing else uses; the lock of
 *     map.c is taken before it. A fault in our own code, which may hold any other lock, needs only lazy.lock.
 *  8. What can write to the file is shown only when the store will find what is written there (store_fill, writable);
 *     it is never lent nor pinned. Without room in the store a touch is a SIGBUS, and what was written until then
 *     goes to the server before the program hears of it. Only when the process ends, and the store is let go
 *     (lazy_exit), threads that still run get memory of their own.
 *  9. In a stored mapping what is kept stays until the memory is something else, also when the file becomes shorter:
 *     the store's file, which is as long as the volume's, tells the kernel where a SIGBUS is due.
 * 10. map.c knows a mapping that can write to the file beside us: it writes back, here is only what is accessible.
 * 11. Pieces of a mapping that are kept and do not touch each other cost the kernel's table of mappings two entries
 *     each. From LAZY_ISLES of them on, what lies between a new one and its neighbour is kept too.
 */
#ifndef CLIENT_SHIM_LAZY_H
#define CLIENT_SHIM_LAZY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <ucontext.h>

#include "client/shim/shim.h"

struct store;

#pragma GCC visibility push(hidden)

/* Mappings there are; all lie between these two addresses, which the door knows too. For looks without a lock. */
extern int lazy_count;
extern uintptr_t lazy_low, lazy_high;

/* And where exactly: the first ones, and the last entry for all others. */
#define LAZY_RANGES 16
extern struct lazy_ranges {
    uint32_t seq; /* odd: about to change */
    uint32_t n;
    struct {
        uintptr_t at, end;
    } v[LAZY_RANGES];
} lazy_ranges;

/* May this be an address in one? Right when it is and stays. */
static inline bool lazy_near(long at)
{
    uint32_t seq;
    bool hit = false;

    if ((uintptr_t)at - lazy_low >= lazy_high - lazy_low)
        return false;
    seq = __atomic_load_n(&lazy_ranges.seq, __ATOMIC_ACQUIRE);
    for (uint32_t i = 0; i < lazy_ranges.n && i < LAZY_RANGES; i++)
        hit |= (uintptr_t)at >= lazy_ranges.v[i].at && (uintptr_t)at < lazy_ranges.v[i].end;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return hit || (seq & 1) != 0 || __atomic_load_n(&lazy_ranges.seq, __ATOMIC_RELAXED) != seq;
}

/* A call that may have to do with them. */
static inline bool lazy_args(const long a[6])
{
    return lazy_near(a[0]) || lazy_near(a[1]) || lazy_near(a[2]) || lazy_near(a[3]) || lazy_near(a[4]) ||
           lazy_near(a[5]);
}

/* Is this mmap one for here? writable: what is written goes to the file; then also one that shows granules the file
 * does not have yet. */
bool lazy_wanted(const long a[6], const struct nfs_attr *attr, bool writable);

/* The mmap: the address or -errno. store may be NULL (no room for one), but not if writable; a reference is taken. The
 * caller holds the lock of map.c, here and below where it says "map lock". */
long lazy_map(const long a[6], const struct nfs_fh *fh, const struct nfs_attr *attr, struct store *store, bool writable);

/* Memory from..to is about to be something else. Map lock. */
void lazy_cut(uint8_t *from, uint8_t *to);
/* The program gives from..to this protection. If all of it is stored, that is all; otherwise the caller has kept it before
 * (lazy_keep) and asks the kernel for it. Map lock. */
void lazy_protect(uint8_t *from, uint8_t *to, int prot);
bool lazy_stored(const uint8_t *from, const uint8_t *to); /* all of it? */
/* The process ends; other threads may still look: what is shown stays, the store is let go. Map lock. */
void lazy_exit(void);
bool lazy_in(const uint8_t *from, const uint8_t *to);
bool lazy_shared(const uint8_t *from, const uint8_t *to); /* some of it with MAP_SHARED, never to be written to */
bool lazy_writable(const uint8_t *from, const uint8_t *to); /* some of it of a mapping that can write to the file */

/* Makes from..to accessible for good, as far as the file goes. may_pin: in memory of its own where the store has no
 * room, if it cannot write to the file. 0, -ENOSPC, -EIO, -ENOMEM ... Map lock. */
int lazy_keep(uint8_t *from, uint8_t *to, bool may_pin);

/* A mapping that can write to the file comes: all of the file are stored from now on. Map lock. */
void lazy_share(const struct nfs_fh *fh, struct store *store);
/* Is the file mapped here? Its store, or NULL. Map lock. */
bool lazy_has(const struct nfs_fh *fh);
struct store *lazy_store(const struct nfs_fh *fh);

/* The file's bytes changed here (and are at the server); its size is now `size`. Map lock. */
void lazy_wrote(const struct nfs_fh *fh, uint64_t from, uint64_t to);
void lazy_resized(const struct nfs_fh *fh, uint64_t size);

/* One mapping of the store, in one piece, in place of what lies at from..to, which is kept already: a borrowed store and
 * the offset in it. The caller cuts. -ENOMEM: part of it is pinned, or it is not all of one mapping. Map lock. */
int lazy_one(uint8_t *from, uint8_t *to, struct store **store, uint64_t *offset);

/* mremap of from..from+old, which lies in one mapping that is stored and shared, to a larger one: where it is, or elsewhere
 * if it may, or at `to` (not NULL; free, cut by the caller). The address, or -errno: all is as it was. What lay at
 * another address before is nobody's then, and unmapped. Map lock. */
long lazy_move(uint8_t *from, size_t old, size_t size, uint8_t *to, bool may_move);
/* Does from..to lie in one such mapping? */
bool lazy_movable(const uint8_t *from, const uint8_t *to);

/* madvise of memory in from..to that lies here: true and *ret when the kernel is not to be asked. After MADV_DONTNEED a
 * private mapping shows the file again, whatever was written into it. Map lock. */
bool lazy_advise(uint8_t *from, uint8_t *to, int advice, long *ret);

/* A fault: not here; made good, go on; or a SIGBUS is due. In the handler of SIGSEGV. */
enum lazy_result { LAZY_NOT, LAZY_DONE, LAZY_BUS };
enum lazy_result lazy_fault(const siginfo_t *info, ucontext_t *context);

void lazy_before_fork(void);
void lazy_after_fork(bool child, bool announced);

/* map.c: its lock; lazy_keep under it, for what the kernel will look at; writing back all that can be, under the lock. */
void map_lock(void);
void map_unlock(void);
void map_save(void);
int map_keep(uint8_t *from, uint8_t *to);

#pragma GCC visibility pop

#endif
