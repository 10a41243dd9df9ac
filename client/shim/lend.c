/* SPDX-License-Identifier: Apache-2.0 */
/* Slots, reads on their way, and what is lent. */
#include "client/shim/lend.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "client/nfs/rpc.h"
#include "client/shim/store.h"

#define LAZY_PIECES (LAZY_GRAIN / RPC_MAX_IO)
#define LAZY_WINDOW 16 /* granules lent */
#define LAZY_BEHIND 3  /* of a reader in order, as many stay */
#define LAZY_AHEAD 2
#define LAZY_ASKS 8

struct slot {
    uint8_t *at; /* LAZY_GRAIN bytes that can be written, or NULL */
    bool busy, full; /* full: has pages */
};

/* A granule on its way. */
struct ask {
    struct lazy *r; /* NULL: free */
    uint64_t g;
    uint64_t order;
    struct slot *slot;
    size_t size; /* bytes the file has of it */
    struct nfs_ahead *calls[LAZY_PIECES];
};

static struct {
    struct nfs_client *client;
    struct slot slots[LAZY_ASKS + 1];
    struct ask asks[LAZY_ASKS];
    uint64_t order;
    struct {
        struct lazy *r;
        uint64_t g;
    } lent[LAZY_WINDOW]; /* the oldest first */
    unsigned nlent;
    bool no_leave; /* the kernel has no MREMAP_DONTUNMAP for us */
} lend;

long lend_blank(uint8_t *at, size_t size, int flags)
{
    return sys6(SYS_mmap, (long)at, (long)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

long lend_aligned(size_t size, size_t rest, int prot)
{
    long at = sys6(SYS_mmap, 0, (long)(size + LAZY_GRAIN), prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    size_t head;

    if (failed(at))
        return at;
    head = (rest - (size_t)at) & (LAZY_GRAIN - 1);
    if (head > 0)
        sys2(SYS_munmap, at, head);
    if (head < LAZY_GRAIN)
        sys2(SYS_munmap, at + (long)head + (long)size, LAZY_GRAIN - head);
    return at + (long)head;
}

static void lent_forget(const struct lazy *r, uint64_t g)
{
    unsigned n = 0;

    for (unsigned i = 0; i < lend.nlent; i++)
        if (lend.lent[i].r != r || lend.lent[i].g != g)
            lend.lent[n++] = lend.lent[i];
    lend.nlent = n;
}

static void granule_blank(struct lazy *r, uint64_t g, uint8_t state)
{
    uint64_t from, to;

    part_of(r, g, &from, &to);
    lend_blank(address(r, from), to - from, MAP_FIXED);
    *state_of(r, g) = state;
}

void lend_hide(struct lazy *r, uint64_t g, uint8_t state)
{
    lent_forget(r, g);
    granule_blank(r, g, state);
}

/* Takes back a lent granule; its pages become the slot's if that works. */
static void take_back(struct lazy *r, uint64_t g, struct slot *slot)
{
    uint64_t from, to;
    long at = -1;

    shown_of(r, g, &from, &to);
    if (to - from == LAZY_GRAIN && slot != NULL && !lend.no_leave && slot->at != NULL) {
        sys3(SYS_mprotect, address(r, from), LAZY_GRAIN, PROT_NONE);
        at = sys5(SYS_mremap, address(r, from), LAZY_GRAIN, LAZY_GRAIN, MREMAP_MAYMOVE | MREMAP_FIXED | 4, slot->at);
        if (!failed(at)) {
            sys3(SYS_mprotect, slot->at, LAZY_GRAIN, PROT_READ | PROT_WRITE);
            slot->full = true;
        }
    }
    lend_hide(r, g, SEEN);
}

/* Makes room: pages of a granule that a reader in order has left behind, or of the oldest when too many are lent. */
static void slot_recycle(const struct lazy *r, uint64_t g, struct slot *slot)
{
    for (unsigned i = 0; i < lend.nlent && r->ahead == LAZY_AHEAD; i++)
        if (lend.lent[i].r == r && lend.lent[i].g + LAZY_BEHIND < r->last && r->last <= g + 1) {
            take_back(lend.lent[i].r, lend.lent[i].g, slot);
            return;
        }
    if (lend.nlent == LAZY_WINDOW)
        take_back(lend.lent[0].r, lend.lent[0].g, slot);
}

static struct slot *slot_get(const struct lazy *r, uint64_t g)
{
    struct slot *best = NULL;

    for (unsigned i = 0; i < sizeof(lend.slots) / sizeof(lend.slots[0]); i++) {
        struct slot *s = &lend.slots[i];

        if (!s->busy && (best == NULL || (s->full && !best->full)))
            best = s;
    }
    if (best == NULL)
        return NULL;
    if (best->at == NULL) {
        long at = lend_aligned(LAZY_GRAIN, 0, PROT_READ | PROT_WRITE);

        if (failed(at))
            return NULL;
        sys3(SYS_madvise, at, LAZY_GRAIN, MADV_HUGEPAGE);
        best->at = (uint8_t *)at;
        best->full = false;
    }
    if (!best->full)
        slot_recycle(r, g, best);
    best->busy = true;
    return best;
}

static struct ask *ask_find(const struct lazy *r, uint64_t g)
{
    for (unsigned i = 0; i < LAZY_ASKS; i++)
        if (lend.asks[i].r == r && lend.asks[i].g == g)
            return &lend.asks[i];
    return NULL;
}

/* Waits for a granule's bytes. What the file has no more of reads as zeros. */
static int ask_finish(struct ask *ask)
{
    int err = 0;

    for (unsigned i = 0; i < LAZY_PIECES; i++) {
        size_t at = i * RPC_MAX_IO, want = ask->size > at ? ask->size - at : 0;
        ssize_t n;

        if (ask->calls[i] == NULL)
            continue;
        if (want > RPC_MAX_IO)
            want = RPC_MAX_IO;
        n = nfs_read_finish(lend.client, ask->calls[i]);
        ask->calls[i] = NULL;
        if (n >= 0 && (size_t)n < want) {
            ssize_t more = err != 0 ? -EIO
                                    : nfs_read_whole(lend.client, &ask->r->fh, ask->slot->at + at + n, want - (size_t)n,
                                                     ask->g * LAZY_GRAIN + at + (size_t)n);

            n = more < 0 ? more : n + more;
        }
        if (n < 0)
            err = (int)n;
        else if ((size_t)n < want)
            memset(ask->slot->at + at + n, 0, want - (size_t)n);
    }
    return err;
}

static void ask_end(struct ask *ask)
{
    ask->slot->busy = false;
    ask->r = NULL;
}

static void ask_drop(struct ask *ask)
{
    ask_finish(ask);
    ask_end(ask);
}

void lend_asks_drop(const struct lazy *r, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < LAZY_ASKS; i++)
        if (lend.asks[i].r == r && lend.asks[i].g * LAZY_GRAIN < to && (lend.asks[i].g + 1) * LAZY_GRAIN > from)
            ask_drop(&lend.asks[i]);
}

/* Asks for a granule. must: another one that was asked for may be dropped. */
static struct ask *ask_start(struct lazy *r, uint64_t g, bool must)
{
    struct ask *ask = NULL, *oldest = &lend.asks[0];
    uint64_t start = g * LAZY_GRAIN;

    for (unsigned i = 0; i < LAZY_ASKS && ask == NULL; i++) {
        if (lend.asks[i].r == NULL)
            ask = &lend.asks[i];
        if (lend.asks[i].order < oldest->order)
            oldest = &lend.asks[i];
    }
    if (ask == NULL && must) {
        ask_drop(oldest);
        ask = oldest;
    }
    if (ask == NULL || (ask->slot = slot_get(r, g)) == NULL)
        return NULL;
    ask->r = r;
    ask->g = g;
    ask->order = ++lend.order;
    ask->size = r->file_size - start < LAZY_GRAIN ? (size_t)(r->file_size - start) : LAZY_GRAIN;
    if (ask->slot->full) /* another granule's bytes, behind the end of this */
        memset(ask->slot->at + ask->size, 0, page_up(ask->size) - ask->size);
    ask->slot->full = true;
    for (unsigned i = 0; i < LAZY_PIECES; i++) {
        size_t at = i * RPC_MAX_IO, want = ask->size > at ? ask->size - at : 0;

        ask->calls[i] = want == 0 ? NULL
                                  : nfs_read_start(lend.client, &r->fh, ask->slot->at + at,
                                                   want < RPC_MAX_IO ? want : RPC_MAX_IO, start + at,
                                                   (int)((g * LAZY_PIECES + i) & 0xffff));
        if (want != 0 && ask->calls[i] == NULL) {
            ask_drop(ask);
            return NULL;
        }
    }
    return ask;
}

/* Moves a slot's pages to where the program looks for them. */
static int show(struct lazy *r, uint64_t g, struct slot *slot)
{
    uint64_t from, to;
    uint8_t *at;
    size_t size;
    long got = -EINVAL;

    shown_of(r, g, &from, &to);
    at = slot->at + (from - g * LAZY_GRAIN);
    size = (size_t)(to - from);
    if (size == 0)
        return 0;
    sys3(SYS_mprotect, at, size, PROT_READ);
    if (!lend.no_leave) {
        got = sys5(SYS_mremap, at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | 4 /* MREMAP_DONTUNMAP */,
                   address(r, from));
        lend.no_leave = got == -EINVAL;
        sys3(SYS_mprotect, slot->at, LAZY_GRAIN, PROT_READ | PROT_WRITE);
    }
    if (got == -EINVAL) { /* before Linux 5.7: the slot's address goes with its pages */
        sys3(SYS_mprotect, at, size, PROT_READ);
        got = sys5(SYS_mremap, at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, address(r, from));
        if (!failed(got)) {
            if (at > slot->at)
                sys2(SYS_munmap, slot->at, at - slot->at);
            if (at + size < slot->at + LAZY_GRAIN)
                sys2(SYS_munmap, at + size, slot->at + LAZY_GRAIN - (at + size));
            slot->at = NULL;
        } else {
            sys3(SYS_mprotect, at, size, PROT_READ | PROT_WRITE);
        }
    }
    if (failed(got))
        return (int)got;
    slot->full = false;
    return 0;
}

/* Asks for what a reader in order will want. */
static void look_ahead(struct lazy *r, uint64_t g)
{
    bool in_order = g == r->last || (r->last == 0 && g == r->first);

    r->last = g + 1;
    if (r->advice == MADV_RANDOM)
        return;
    if (!in_order && r->advice != MADV_SEQUENTIAL) {
        r->ahead = 1;
        return;
    }
    r->ahead = r->advice == MADV_SEQUENTIAL || r->ahead * 2 > LAZY_AHEAD ? LAZY_AHEAD : r->ahead * 2;
    for (uint64_t h = g + 1; h <= g + r->ahead && h < granules_end(r) && h * LAZY_GRAIN < r->file_size; h++)
        if ((*state_of(r, h) == ABSENT || (*state_of(r, h) == SEEN && r->no_room)) && ask_find(r, h) == NULL && ask_start(r, h, false) == NULL)
            return;
}

int lend_granule(struct lazy *r, uint64_t g)
{
    struct ask *ask = ask_find(r, g);
    int err;

    if (ask == NULL)
        ask = ask_start(r, g, true);
    if (ask == NULL)
        return -ENOMEM;
    ask->order = ++lend.order;
    look_ahead(r, g);
    err = ask_finish(ask);
    if (err == 0)
        err = show(r, g, ask->slot);
    ask_end(ask);
    if (err != 0)
        return err;
    if (lend.nlent == LAZY_WINDOW)
        take_back(lend.lent[0].r, lend.lent[0].g, NULL);
    lend.lent[lend.nlent].r = r;
    lend.lent[lend.nlent++].g = g;
    *state_of(r, g) = LENT;
    return 0;
}

int lend_pin(struct lazy *r, uint64_t g)
{
    uint64_t from, to;
    int err = *state_of(r, g) == LENT ? 0 : lend_granule(r, g);

    if (err != 0)
        return err;
    shown_of(r, g, &from, &to);
    if (r->prot != PROT_READ)
        err = (int)sys3(SYS_mprotect, address(r, from), to - from, r->prot);
    if (err != 0)
        return err;
    lent_forget(r, g);
    *state_of(r, g) = PINNED;
    return 0;
}

int lend_again(struct lazy *r, uint64_t g, uint64_t from, uint64_t to)
{
    struct ask *ask = ask_find(r, g);
    uint64_t low, high;
    int err;

    shown_of(r, g, &low, &high);
    if (to > high)
        to = high;
    if (from >= to)
        return 0;
    if (ask == NULL)
        ask = ask_start(r, g, true);
    if (ask == NULL)
        return -ENOMEM;
    err = ask_finish(ask);
    if (err == 0 && !(r->prot & PROT_WRITE))
        err = (int)sys3(SYS_mprotect, address(r, from), to - from, PROT_READ | PROT_WRITE);
    if (err == 0)
        memcpy(address(r, from), ask->slot->at + (from - g * LAZY_GRAIN), (size_t)(to - from));
    if (err == 0 && !(r->prot & PROT_WRITE))
        err = (int)sys3(SYS_mprotect, address(r, from), to - from, r->prot);
    ask_end(ask);
    return err;
}

int lend_store(struct lazy *r, uint64_t g)
{
    uint64_t from, to;
    long at;

    if (!r->writable && r->fd < 0) {
        char path[32];

        fd_path(path, store_fd(r->store));
        r->fd = (int)sys3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
        if (r->fd < 0)
            return r->fd;
        at = sys3(SYS_fcntl, r->fd, F_DUPFD_CLOEXEC, 128);
        if (at >= 0) {
            sys1(SYS_close, r->fd);
            r->fd = (int)at;
        }
        rpc_fd_keep(r->fd);
    }
    part_of(r, g, &from, &to);
    lend_asks_drop(r, g * LAZY_GRAIN, (g + 1) * LAZY_GRAIN);
    at = sys6(SYS_mmap, (long)address(r, from), (long)(to - from), r->prot, r->type | MAP_FIXED | MAP_POPULATE,
              r->writable ? store_fd(r->store) : r->fd, (long)from);
    if (failed(at))
        return (int)at;
    lent_forget(r, g);
    *state_of(r, g) = KEPT;
    return 0;
}

void lend_cut(const struct lazy *r, struct lazy *left, struct lazy *right)
{
    unsigned n = 0;

    for (unsigned i = 0; i < lend.nlent; i++) {
        uint64_t start = lend.lent[i].g * LAZY_GRAIN;
        bool in_left, in_right;

        if (lend.lent[i].r != r) {
            lend.lent[n++] = lend.lent[i];
            continue;
        }
        in_left = left != NULL && start < region_end(left) && start + LAZY_GRAIN > left->offset;
        in_right = right != NULL && start < region_end(right) && start + LAZY_GRAIN > right->offset;
        if (in_left && in_right) { /* of both: of neither */
            granule_blank(left, lend.lent[i].g, ABSENT);
            granule_blank(right, lend.lent[i].g, ABSENT);
        } else if (in_left || in_right) {
            lend.lent[n].r = in_left ? left : right;
            lend.lent[n++].g = lend.lent[i].g;
        }
    }
    lend.nlent = n;
}

int lend_start(void)
{
    lend.no_leave |= shim.old_kernel;
    return lend.client != NULL ? 0 : nfs_client_open(&lend.client, shim.host, shim.port, shim.soft_ms, &shim.run->nfs);
}

int lend_getattr(const struct nfs_fh *fh, struct nfs_attr *attr)
{
    return nfs_getattr(lend.client, fh, attr);
}

void lend_after_fork(bool announced)
{
    for (unsigned i = 0; i < LAZY_ASKS; i++) {
        struct ask *ask = &lend.asks[i];

        for (unsigned k = 0; ask->r != NULL && k < LAZY_PIECES; k++)
            if (ask->calls[k] != NULL && announced)
                nfs_read_abandon(ask->calls[k]);
        memset(ask, 0, sizeof(*ask));
    }
    for (unsigned i = 0; i <= LAZY_ASKS; i++)
        lend.slots[i].busy = false;
    if (!announced) {
        lend.nlent = 0;
        memset(lend.slots, 0, sizeof(lend.slots));
    }
    if (lend.client != NULL)
        nfs_client_after_fork(lend.client);
}
