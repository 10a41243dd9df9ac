/* SPDX-License-Identifier: Apache-2.0 */
/* Large mappings, filled where they are touched. */
#include "client/shim/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "client/nfs/rpc.h"
#include "client/shim/store.h"

#define LAZY_PAGE 4096ul
#define LAZY_GRAIN (2ul << 20)
#define LAZY_PIECES (LAZY_GRAIN / RPC_MAX_IO)
#define LAZY_MIN (16ul << 20) /* smaller mappings are filled at once: one round of parallel reads */
#define LAZY_WINDOW 16        /* granules lent */
#define LAZY_BEHIND 3         /* of a reader in order, as many stay */
#define LAZY_AHEAD 4
#define LAZY_ASKS 8
#define LAZY_RUN 16 /* granules that are kept in one go */
#define LAZY_STACK (256ul << 10)

/* ABSENT and SEEN (was lent once) are inaccessible. PINNED and KEPT have all of the mapping's protection. */
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
    bool no_room;        /* the store had none */
    uint64_t kept;       /* granule behind the last one kept for a fault */
    unsigned run;        /* how many of them at once */
    uint64_t last;       /* granule that was lent last, + 1 */
    unsigned ahead;
    uint64_t first;      /* granule of state[0] */
    uint8_t *state;
};

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
    struct vlock lock;
    struct nfs_client *client;
    struct lazy *first;
    struct slot slots[LAZY_ASKS + 1];
    struct ask asks[LAZY_ASKS];
    uint64_t order;
    struct {
        struct lazy *r;
        uint64_t g;
    } lent[LAZY_WINDOW]; /* the oldest first */
    unsigned nlent;
    bool no_leave; /* the kernel has no MREMAP_DONTUNMAP for us */
    uint8_t *stack, *keep_stack;
} lazy;

int lazy_count;
uintptr_t lazy_low, lazy_high;

static __thread bool lazy_mine __attribute__((tls_model("initial-exec"))); /* this thread holds the lock */

/* Calls fn(arg) on another stack: a handler may have little of its own. */
long lazy_call(long (*fn)(void *arg), void *arg, uint8_t *top) SHIM_HIDDEN;
__asm__(".text\n"
        ".hidden lazy_call\n"
        ".globl lazy_call\n"
        ".type lazy_call, @function\n"
        "lazy_call:\n"
        "    push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    mov %rdi, %rax\n"
        "    mov %rsi, %rdi\n"
        "    mov %rdx, %rsp\n"
        "    call *%rax\n"
        "    mov %rbp, %rsp\n"
        "    pop %rbp\n"
        "    ret\n"
        ".size lazy_call, . - lazy_call\n");

static void lazy_lock(void)
{
    vlock_lock(&lazy.lock);
    lazy_mine = true;
}

static void lazy_unlock(void)
{
    lazy_mine = false;
    vlock_unlock(&lazy.lock);
}

static bool failed(long at)
{
    return at < 0 && at > -4096;
}

static uint64_t page_up(uint64_t n)
{
    return (n + LAZY_PAGE - 1) & ~(LAZY_PAGE - 1);
}

static uint8_t *state_of(struct lazy *r, uint64_t g)
{
    return &r->state[g - r->first];
}

static uint64_t region_end(const struct lazy *r)
{
    return r->offset + r->size;
}

/* Granules first..end of the mapping. */
static uint64_t granules_end(const struct lazy *r)
{
    return (region_end(r) + LAZY_GRAIN - 1) / LAZY_GRAIN;
}

/* The part of a granule that lies in the mapping: file offsets. */
static void part_of(const struct lazy *r, uint64_t g, uint64_t *from, uint64_t *to)
{
    *from = g * LAZY_GRAIN > r->offset ? g * LAZY_GRAIN : r->offset;
    *to = (g + 1) * LAZY_GRAIN < region_end(r) ? (g + 1) * LAZY_GRAIN : region_end(r);
}

/* And that the file has pages of. */
static void shown_of(const struct lazy *r, uint64_t g, uint64_t *from, uint64_t *to)
{
    uint64_t end = page_up(r->file_size);

    part_of(r, g, from, to);
    if (*to > end)
        *to = end > *from ? end : *from;
}

static uint8_t *address(const struct lazy *r, uint64_t offset)
{
    return r->at + (offset - r->offset);
}

static long blank(uint8_t *at, size_t size, int flags)
{
    return sys6(SYS_mmap, (long)at, (long)size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
}

/* Memory whose address is `rest` beyond a multiple of a granule, so that large pages fit. */
static long aligned(size_t size, size_t rest, int prot)
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

    for (unsigned i = 0; i < lazy.nlent; i++)
        if (lazy.lent[i].r != r || lazy.lent[i].g != g)
            lazy.lent[n++] = lazy.lent[i];
    lazy.nlent = n;
}

/* Inaccessible again; the pages go. */
static void hide(struct lazy *r, uint64_t g, uint8_t state)
{
    uint64_t from, to;

    part_of(r, g, &from, &to);
    lent_forget(r, g);
    blank(address(r, from), to - from, MAP_FIXED);
    *state_of(r, g) = state;
}

/* Takes back a lent granule; its pages become the slot's if that works. */
static void take_back(struct lazy *r, uint64_t g, struct slot *slot)
{
    uint64_t from, to;
    long at = -1;

    shown_of(r, g, &from, &to);
    if (to - from == LAZY_GRAIN && slot != NULL && !lazy.no_leave && slot->at != NULL) {
        sys3(SYS_mprotect, address(r, from), LAZY_GRAIN, PROT_NONE);
        at = sys5(SYS_mremap, address(r, from), LAZY_GRAIN, LAZY_GRAIN, MREMAP_MAYMOVE | MREMAP_FIXED | 4, slot->at);
        if (!failed(at)) {
            sys3(SYS_mprotect, slot->at, LAZY_GRAIN, PROT_READ | PROT_WRITE);
            slot->full = true;
        }
    }
    hide(r, g, SEEN);
}

/* Makes room: pages of a granule that a reader in order has left behind, or of the oldest when too many are lent. */
static void slot_recycle(const struct lazy *r, uint64_t g, struct slot *slot)
{
    for (unsigned i = 0; i < lazy.nlent && r->ahead == LAZY_AHEAD; i++)
        if (lazy.lent[i].r == r && lazy.lent[i].g + LAZY_BEHIND < r->last && r->last <= g + 1) {
            take_back(lazy.lent[i].r, lazy.lent[i].g, slot);
            return;
        }
    if (lazy.nlent == LAZY_WINDOW)
        take_back(lazy.lent[0].r, lazy.lent[0].g, slot);
}

static struct slot *slot_get(const struct lazy *r, uint64_t g)
{
    struct slot *best = NULL;

    for (unsigned i = 0; i < sizeof(lazy.slots) / sizeof(lazy.slots[0]); i++) {
        struct slot *s = &lazy.slots[i];

        if (!s->busy && (best == NULL || (s->full && !best->full)))
            best = s;
    }
    if (best == NULL)
        return NULL;
    if (best->at == NULL) {
        long at = aligned(LAZY_GRAIN, 0, PROT_READ | PROT_WRITE);

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
        if (lazy.asks[i].r == r && lazy.asks[i].g == g)
            return &lazy.asks[i];
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
        n = nfs_read_finish(lazy.client, ask->calls[i]);
        ask->calls[i] = NULL;
        while (n >= 0 && (size_t)n < want) {
            ssize_t more = err != 0 ? -EIO
                                    : nfs_read(lazy.client, &ask->r->fh, ask->slot->at + at + n, want - (size_t)n,
                                               ask->g * LAZY_GRAIN + at + (size_t)n, NULL);

            if (more == 0)
                break;
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

static void asks_drop(const struct lazy *r, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < LAZY_ASKS; i++)
        if (lazy.asks[i].r == r && lazy.asks[i].g * LAZY_GRAIN < to && (lazy.asks[i].g + 1) * LAZY_GRAIN > from)
            ask_drop(&lazy.asks[i]);
}

/* Asks for a granule. must: another one that was asked for may be dropped. */
static struct ask *ask_start(struct lazy *r, uint64_t g, bool must)
{
    struct ask *ask = NULL, *oldest = &lazy.asks[0];
    uint64_t start = g * LAZY_GRAIN;

    for (unsigned i = 0; i < LAZY_ASKS && ask == NULL; i++) {
        if (lazy.asks[i].r == NULL)
            ask = &lazy.asks[i];
        if (lazy.asks[i].order < oldest->order)
            oldest = &lazy.asks[i];
    }
    if (ask == NULL && must) {
        ask_drop(oldest);
        ask = oldest;
    }
    if (ask == NULL || (ask->slot = slot_get(r, g)) == NULL)
        return NULL;
    ask->r = r;
    ask->g = g;
    ask->order = ++lazy.order;
    ask->size = r->file_size - start < LAZY_GRAIN ? (size_t)(r->file_size - start) : LAZY_GRAIN;
    if (ask->slot->full) /* another granule's bytes, behind the end of this */
        memset(ask->slot->at + ask->size, 0, page_up(ask->size) - ask->size);
    ask->slot->full = true;
    for (unsigned i = 0; i < LAZY_PIECES; i++) {
        size_t at = i * RPC_MAX_IO, want = ask->size > at ? ask->size - at : 0;

        ask->calls[i] = want == 0 ? NULL
                                  : nfs_read_start(lazy.client, &r->fh, ask->slot->at + at,
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
    if (!lazy.no_leave) {
        got = sys5(SYS_mremap, at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | 4 /* MREMAP_DONTUNMAP */,
                   address(r, from));
        lazy.no_leave = got == -EINVAL;
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

/* From the server to the program's eyes. */
static int lend(struct lazy *r, uint64_t g)
{
    struct ask *ask = ask_find(r, g);
    int err;

    if (ask == NULL)
        ask = ask_start(r, g, true);
    if (ask == NULL)
        return -ENOMEM;
    ask->order = ++lazy.order;
    look_ahead(r, g);
    err = ask_finish(ask);
    if (err == 0)
        err = show(r, g, ask->slot);
    ask_end(ask);
    if (err != 0)
        return err;
    if (lazy.nlent == LAZY_WINDOW)
        take_back(lazy.lent[0].r, lazy.lent[0].g, NULL);
    lazy.lent[lazy.nlent].r = r;
    lazy.lent[lazy.nlent++].g = g;
    *state_of(r, g) = LENT;
    return 0;
}

/* Never taken back. */
static int pin(struct lazy *r, uint64_t g)
{
    uint64_t from, to;
    int err = *state_of(r, g) == LENT ? 0 : lend(r, g);

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

static int show_store(struct lazy *r, uint64_t g)
{
    uint64_t from, to;
    long at;

    if (r->fd < 0) {
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
    asks_drop(r, g * LAZY_GRAIN, (g + 1) * LAZY_GRAIN);
    at = sys6(SYS_mmap, (long)address(r, from), (long)(to - from), r->prot, r->type | MAP_FIXED | MAP_POPULATE, r->fd, (long)from);
    if (failed(at))
        return (int)at;
    lent_forget(r, g);
    *state_of(r, g) = KEPT;
    return 0;
}

static struct lazy *find(const uint8_t *at)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (at >= r->at && at < r->at + r->size)
            return r;
    return NULL;
}

static void bounds(void)
{
    uintptr_t low = UINTPTR_MAX, high = 0;

    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        uintptr_t at = (uintptr_t)r->at;

        low = at < low ? at : low;
        high = at + r->size > high ? at + r->size : high;
    }
    /* Looked at without a lock: never too narrow for a mapping that stays. */
    if (high == 0)
        low = 0;
    __atomic_store_n(&lazy_high, high, __ATOMIC_RELEASE);
    __atomic_store_n(&lazy_low, low, __ATOMIC_RELEASE);
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

static void region_end_use(struct lazy *r)
{
    __atomic_sub_fetch(&lazy_count, 1, __ATOMIC_RELEASE);
    map_regions--;
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
    int prot = (int)a[2];

    return !writable && (prot == PROT_READ || prot == (PROT_READ | PROT_WRITE)) && (a[3] & ~known) == 0 &&
           (size_t)a[1] >= LAZY_MIN && (uint64_t)a[5] < attr->size && attr->size - (uint64_t)a[5] >= LAZY_MIN &&
           !shim_is_vfork_child();
}

static int lazy_start(void)
{
    if (lazy.client == NULL) {
        int err = nfs_client_open(&lazy.client, shim.host, shim.port, shim.soft_ms, &shim.run->nfs);

        if (err != 0)
            return err;
    }
    for (int i = 0; i < 2; i++) {
        uint8_t **stack = i == 0 ? &lazy.stack : &lazy.keep_stack;
        long at;

        if (*stack != NULL)
            continue;
        at = sys6(SYS_mmap, 0, LAZY_STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (failed(at))
            return (int)at;
        sys3(SYS_mprotect, at, LAZY_PAGE, PROT_NONE);
        *stack = (uint8_t *)at + LAZY_STACK;
    }
    return 0;
}

long lazy_map(const long a[6], const struct nfs_fh *fh, const struct nfs_attr *attr, struct store *store)
{
    struct lazy like = {.file_size = attr->size,
                        .fh = *fh,
                        .store = store,
                        .others = store != NULL && store_filled(store, 0, attr->size),
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
    err = lazy_start();
    if (err != 0) {
        at = err;
        goto out;
    }
    if ((a[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE)) || a[0] != 0)
        at = blank((uint8_t *)a[0], size, (int)a[3] & (MAP_FIXED | MAP_FIXED_NOREPLACE));
    else
        at = aligned(size, (size_t)a[5] & (LAZY_GRAIN - 1), PROT_NONE);
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

/* A lent granule of r, which was cut: now of `left` or `right` (either may be NULL). */
static void lent_cut(struct lazy *r, struct lazy *left, struct lazy *right)
{
    unsigned n = 0;

    for (unsigned i = 0; i < lazy.nlent; i++) {
        uint64_t start = lazy.lent[i].g * LAZY_GRAIN;
        bool in_left, in_right;

        if (lazy.lent[i].r != r) {
            lazy.lent[n++] = lazy.lent[i];
            continue;
        }
        in_left = left != NULL && start < region_end(left) && start + LAZY_GRAIN > left->offset;
        in_right = right != NULL && start < region_end(right) && start + LAZY_GRAIN > right->offset;
        if (in_left && in_right) { /* of both: of neither */
            *state_of(left, lazy.lent[i].g) = *state_of(right, lazy.lent[i].g) = PINNED;
        } else if (in_left || in_right) {
            lazy.lent[n].r = in_left ? left : right;
            lazy.lent[n++].g = lazy.lent[i].g;
        }
    }
    lazy.nlent = n;
}

void lazy_cut(uint8_t *from, uint8_t *to)
{
    lazy_lock();
    for (struct lazy **at = &lazy.first, *r; (r = *at) != NULL;) {
        uint8_t *end = r->at + r->size, *low = r->at > from ? r->at : from, *high = end < to ? end : to;
        struct lazy *left = NULL, *right = NULL;

        if (low >= high) {
            at = &r->next;
            continue;
        }
        asks_drop(r, 0, UINT64_MAX);
        if (high < end)
            right = region_like(r, high, (size_t)(end - high), r->offset + (uint64_t)(high - r->at));
        if (low > r->at) {
            r->size = (size_t)(low - r->at);
            left = r;
        }
        lent_cut(r, left, right);
        if (left != NULL) {
            at = &r->next;
            continue;
        }
        for (at = &lazy.first; *at != r; at = &(*at)->next) /* right is the first now */
            ;
        *at = r->next;
        region_end_use(r);
    }
    bounds();
    lazy_unlock();
}

bool lazy_in(const uint8_t *from, const uint8_t *to)
{
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (from < r->at + r->size && to > r->at)
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

/* Granules g..end, none of them kept yet, from the store; pinned when that has no room. */
static int keep_run(struct lazy *r, uint64_t g, uint64_t end, bool may_pin)
{
    uint64_t to = end * LAZY_GRAIN < r->file_size ? end * LAZY_GRAIN : r->file_size;
    int err = r->store != NULL ? store_fill(r->store, g * LAZY_GRAIN, to, false) : -ENOSPC;
    bool room = err != -ENOSPC && err != -ENOMEM;

    r->no_room |= !room;
    if (err != 0 && (room || !may_pin))
        return err;
    lazy_lock();
    for (err = 0; g < end && err == 0; g++)
        if (*state_of(r, g) < PINNED)
            err = room ? show_store(r, g) : pin(r, g);
    lazy_unlock();
    return err;
}

int lazy_keep(uint8_t *from, uint8_t *to, bool may_pin)
{
    int err = 0;

    for (struct lazy *r = lazy.first; r != NULL && err == 0; r = r->next) {
        uint8_t *low = from > r->at ? from : r->at, *high = to < r->at + r->size ? to : r->at + r->size;
        uint64_t g, end;

        if (low >= high)
            continue;
        g = (r->offset + (uint64_t)(low - r->at)) / LAZY_GRAIN;
        end = r->offset + (uint64_t)(high - r->at);
        if (end > r->file_size)
            end = r->file_size;
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
    r = find(from);
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

static void resized(struct lazy *r, uint64_t size)
{
    uint64_t less = size < r->file_size ? size : r->file_size, g = less / LAZY_GRAIN;

    if (size == r->file_size)
        return;
    asks_drop(r, 0, UINT64_MAX);
    r->file_size = size;
    for (g = g > r->first ? g : r->first; g < granules_end(r); g++)
        if (*state_of(r, g) > SEEN)
            hide(r, g, ABSENT);
}

void lazy_resized(const struct nfs_fh *fh, uint64_t size)
{
    lazy_lock();
    for (struct lazy *r = lazy.first; r != NULL; r = r->next)
        if (nfs_fh_same(&r->fh, fh))
            resized(r, size);
    lazy_unlock();
}

void lazy_share(const struct nfs_fh *fh)
{
    lazy_lock();
    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        if (!nfs_fh_same(&r->fh, fh))
            continue;
        r->others = true;
        asks_drop(r, 0, UINT64_MAX);
        for (uint64_t g = r->first; g < granules_end(r); g++)
            if (*state_of(r, g) == LENT || *state_of(r, g) == SEEN)
                hide(r, g, ABSENT);
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
            resized(r, to);
        asks_drop(r, from, to);
        for (uint64_t g = from / LAZY_GRAIN > r->first ? from / LAZY_GRAIN : r->first;
             g < granules_end(r) && g * LAZY_GRAIN < to; g++)
            if (*state_of(r, g) == LENT)
                hide(r, g, ABSENT);
    }
    lazy_unlock();
}

bool lazy_advise(uint8_t *from, uint8_t *to, int advice, long *ret)
{
    bool whole = false;

    lazy_lock();
    for (struct lazy *r = lazy.first; r != NULL; r = r->next) {
        uint8_t *low = from > r->at ? from : r->at, *high = to < r->at + r->size ? to : r->at + r->size;

        if (low >= high)
            continue;
        if (from >= r->at && to <= r->at + r->size)
            whole = true;
        if (advice == MADV_SEQUENTIAL || advice == MADV_RANDOM || advice == MADV_NORMAL)
            r->advice = advice;
        if (advice != MADV_DONTNEED)
            continue;
        for (uint64_t g = (r->offset + (uint64_t)(low - r->at)) / LAZY_GRAIN;
             g * LAZY_GRAIN < r->offset + (uint64_t)(high - r->at); g++) {
            if (*state_of(r, g) == LENT)
                hide(r, g, SEEN);
            else if (*state_of(r, g) == PINNED && low == r->at && high == r->at + r->size)
                hide(r, g, ABSENT); /* what was written into all of a private mapping is given up */
        }
    }
    lazy_unlock();
    *ret = advice == MADV_FREE || advice == MADV_WIPEONFORK || advice == MADV_REMOVE ? -EINVAL : 0;
    return whole;
}

struct fault {
    uint8_t *at;
    bool write, exec, no_keep;
    enum { FAULT_NOT, FAULT_DONE, FAULT_BUS, FAULT_KEEP } result;
};

/* Under lazy.lock, on lazy.stack. */
static long fault_step(void *arg)
{
    struct fault *f = arg;
    struct lazy *r = find(f->at);
    uint64_t offset, g;
    uint8_t state;

    f->result = FAULT_NOT;
    if (r == NULL || f->exec || (f->write && !(r->prot & PROT_WRITE)))
        return 0;
    offset = r->offset + (uint64_t)(f->at - r->at);
    f->result = FAULT_BUS;
    if (offset >= page_up(r->file_size)) {
        struct nfs_attr attr;

        if (nfs_getattr(lazy.client, &r->fh, &attr) != 0 || offset >= page_up(attr.size))
            return 0;
        resized(r, attr.size);
    }
    g = offset / LAZY_GRAIN;
    state = *state_of(r, g);
    f->result = FAULT_DONE;
    if (state >= PINNED || (state == LENT && !f->write))
        return 0; /* another thread was faster */
    if (!f->no_keep && r->store != NULL && !r->no_room && state != LENT && (state == SEEN || r->others)) {
        f->result = FAULT_KEEP;
        return 0;
    }
    if ((f->write ? pin(r, g) : lend(r, g)) != 0)
        f->result = FAULT_BUS;
    return 0;
}

/* Under the map lock, on lazy.keep_stack. A granule that is new to us is taken from the store only if it is there. */
static long fault_keep(void *arg)
{
    struct fault *f = arg;
    struct lazy *r = find(f->at);
    uint64_t offset = r != NULL ? r->offset + (uint64_t)(f->at - r->at) : 0, g = offset / LAZY_GRAIN, from, to;

    f->no_keep = true;
    if (r == NULL || offset >= r->file_size)
        return 0;
    if (*state_of(r, g) != SEEN && !store_filled(r->store, offset, offset + 1))
        return 0;
    /* In order: more at once. */
    r->run = g != r->kept ? 1 : r->run * 2 < LAZY_RUN ? r->run * 2 : LAZY_RUN;
    part_of(r, g, &from, &to);
    for (r->kept = g + 1; r->kept < g + r->run && r->kept < granules_end(r) && *state_of(r, r->kept) == *state_of(r, g) &&
                          (*state_of(r, g) == SEEN || store_filled(r->store, to, to + 1));
         r->kept++)
        part_of(r, r->kept, &offset, &to);
    part_of(r, g, &from, &offset);
    f->no_keep = lazy_keep(address(r, from), address(r, to), false) != 0;
    return 0;
}

enum lazy_result lazy_fault(const siginfo_t *info, ucontext_t *context)
{
    const greg_t error_code = context->uc_mcontext.gregs[REG_ERR]; /* Intel SDM vol. 3, 4.7 */
    struct fault f = {.at = info->si_addr, .write = (error_code & 2) != 0, .exec = (error_code & 16) != 0};
    uint64_t all = ~0ull, mask, outer;
    int inside = shim_inside, error = errno;

    if (!lazy_near((long)f.at) || lazy_mine || __atomic_load_n(&lazy_count, __ATOMIC_ACQUIRE) == 0)
        return LAZY_NOT;
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, 8); /* until the return from the handler */
    if (*shim.alive == 0)
        shim_after_fork();
    memcpy(&mask, &context->uc_sigmask, sizeof(mask));
    outer = shim_mask_set(mask);
    shim_inside = 1;
    f.no_keep = inside != 0; /* we may hold what keeping takes */
    do {
        lazy_lock();
        lazy_call(fault_step, &f, lazy.stack);
        lazy_unlock();
        if (f.result == FAULT_KEEP) {
            map_lock();
            lazy_call(fault_keep, &f, lazy.keep_stack);
            map_unlock();
        }
    } while (f.result == FAULT_KEEP);
    shim_inside = inside;
    shim_mask_set(outer);
    errno = error;
    return f.result == FAULT_DONE ? LAZY_DONE : f.result == FAULT_BUS ? LAZY_BUS : LAZY_NOT;
}

void lazy_before_fork(void)
{
    if (lazy_count != 0)
        lazy_lock();
}

/* The child has true copies of what is lent; what is on its way is its parent's. */
void lazy_after_fork(bool child, bool announced)
{
    if (lazy_count == 0)
        return;
    if (child) {
        for (unsigned i = 0; i < LAZY_ASKS; i++) {
            struct ask *ask = &lazy.asks[i];

            for (unsigned k = 0; ask->r != NULL && k < LAZY_PIECES; k++)
                if (ask->calls[k] != NULL && announced)
                    nfs_read_abandon(ask->calls[k]);
            memset(ask, 0, sizeof(*ask));
        }
        for (unsigned i = 0; i <= LAZY_ASKS; i++)
            lazy.slots[i].busy = false;
        if (!announced && lazy.lock.word != 0) {
            /* Another thread was in the middle of something: all that it may have touched is fetched again. */
            lazy.nlent = 0;
            memset(lazy.slots, 0, sizeof(lazy.slots));
            for (struct lazy *r = lazy.first; r != NULL; r = r->next)
                for (uint64_t g = r->first; g < granules_end(r); g++)
                    if (*state_of(r, g) != PINNED)
                        hide(r, g, ABSENT);
        }
        for (struct lazy *r = lazy.first; r != NULL; r = r->next)
            if (r->store != NULL)
                store_forked(r->store);
        nfs_client_after_fork(lazy.client);
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
