/* SPDX-License-Identifier: Apache-2.0 */
/*
 * lend: how bytes get into the mappings of lazy.c, and out again: slots, reads on their way, and what is lent; and what
 * lazy.c, lazy_keep.c and lazy_fault.c share.
 *
 * Invariants 1 to 4 of lazy.h are kept here. All calls under lazy.lock, but for the inline ones.
 */
#ifndef CLIENT_SHIM_LEND_H
#define CLIENT_SHIM_LEND_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>

#include "client/shim/lazy.h"

#pragma GCC visibility push(hidden)

#define LAZY_PAGE 4096ul
#define LAZY_GRAIN (2ul << 20)
#define LAZY_RUN 16 /* granules that are kept in one go */
#ifndef LAZY_ISLES
#define LAZY_ISLES 8192 /* the kernel allows a process some 65,000 mappings */
#endif

/* A granule. ABSENT and SEEN (was lent once) are inaccessible. PINNED and KEPT have all of the mapping's protection. */
enum { ABSENT, SEEN, LENT, PINNED, KEPT };

struct lazy {
    struct lazy *next;
    uint8_t *at;
    size_t size;
    uint64_t offset, file_size;
    struct nfs_fh fh;
    struct store *store; /* may be NULL */
    int fd;              /* the store's file, for reading; -1: not open */
    int prot, type;      /* of the mapping; MAP_PRIVATE or MAP_SHARED */
    int advice;
    bool others;         /* the store may have bytes of granules that are new to us */
    bool stored;         /* nothing is lent: what the store has is what is shown */
    bool writable;       /* stored, and what is written goes to the file */
    bool no_room;        /* the store had none */
    uint32_t writers;    /* as the run counted them when it was last looked whether the file has one */
    uint64_t kept;       /* granule behind the last one kept for a fault */
    unsigned run;        /* how many of them at once */
    unsigned isles;      /* stretches that are kept, at most so many */
    uint64_t last;       /* granule that was lent last, + 1 */
    unsigned ahead;
    uint64_t first;      /* granule of state[0] */
    uint8_t *state;
};

static inline bool failed(long at)
{
    return at < 0 && at > -4096;
}

static inline uint64_t page_up(uint64_t n)
{
    return (n + LAZY_PAGE - 1) & ~(LAZY_PAGE - 1);
}

static inline uint8_t *state_of(struct lazy *r, uint64_t g)
{
    return &r->state[g - r->first];
}

static inline uint64_t region_end(const struct lazy *r)
{
    return r->offset + r->size;
}

/* Granules first..end of the mapping. */
static inline uint64_t granules_end(const struct lazy *r)
{
    return (region_end(r) + LAZY_GRAIN - 1) / LAZY_GRAIN;
}

/* The part of a granule that lies in the mapping: file offsets. */
static inline void part_of(const struct lazy *r, uint64_t g, uint64_t *from, uint64_t *to)
{
    *from = g * LAZY_GRAIN > r->offset ? g * LAZY_GRAIN : r->offset;
    *to = (g + 1) * LAZY_GRAIN < region_end(r) ? (g + 1) * LAZY_GRAIN : region_end(r);
}

/* And that the file has pages of. */
static inline void shown_of(const struct lazy *r, uint64_t g, uint64_t *from, uint64_t *to)
{
    uint64_t end = page_up(r->file_size);

    part_of(r, g, from, to);
    if (*to > end)
        *to = end > *from ? end : *from;
}

static inline uint8_t *address(const struct lazy *r, uint64_t offset)
{
    return r->at + (offset - r->offset);
}

/* lazy.c's list of them and its lock, for lazy_fault.c and lazy_keep.c. lazy_held: this thread has the lock. */
void lazy_lock(void);
void lazy_unlock(void);
bool lazy_held(void);
struct lazy *lazy_list(void); /* under lazy.lock or the map lock */
struct lazy *lazy_find(const uint8_t *at);
void lazy_resize(struct lazy *r, uint64_t size); /* the file's size is another now */
/* Before the first mapping. 0 or -errno. */
int lazy_fault_start(void);

/* Inaccessible memory of `size` bytes; flags: MAP_FIXED ... The address or -errno. */
long lend_blank(uint8_t *at, size_t size, int flags);
/* Memory whose address is `rest` beyond a multiple of a granule, so that large pages fit. */
long lend_aligned(size_t size, size_t rest, int prot);

/* The connections reads go over. 0 or -errno. */
int lend_start(void);
int lend_getattr(const struct nfs_fh *fh, struct nfs_attr *attr);

/* Makes a granule accessible: from the server, until its pages are needed elsewhere; from there for good; from the
 * store, for good. 0; -ENOMEM, -EIO ... and it is as before. */
int lend_granule(struct lazy *r, uint64_t g);
int lend_pin(struct lazy *r, uint64_t g);
int lend_store(struct lazy *r, uint64_t g);
/* Offsets from..to of a pinned granule show the file's bytes again. 0; -ENOMEM, -EIO ... and they are as before. */
int lend_again(struct lazy *r, uint64_t g, uint64_t from, uint64_t to);
/* Inaccessible again: the pages go, and this is its state. */
void lend_hide(struct lazy *r, uint64_t g, uint8_t state);
/* Reads of bytes from..to that are on their way are given up. */
void lend_asks_drop(const struct lazy *r, uint64_t from, uint64_t to);
/* r, which no reads are on their way for, was cut: what was lent to it is now lent to `left` or `right` (either may be NULL). */
void lend_cut(const struct lazy *r, struct lazy *left, struct lazy *right);
/* In the child after fork. announced: nobody was in the middle of anything. */
void lend_after_fork(bool announced);

#pragma GCC visibility pop

#endif
