/* SPDX-License-Identifier: Apache-2.0
 * cache: pooled slot buffers, and which slots may stay in memory.
 *
 * All slots are in one LRU list of the engine. A hit only sets slot.ref (second chance), so that reads
 * take no lock but their volume's. Dirty, uncommitted and busy slots are skipped; a slot of another
 * volume is only evicted when that volume's lock can be had at once.
 *
 * The budget (cache_size) is for all that grows with load: slots, inodes, names, and txgs on their way to the index.
 * Slots give way to the others, which have bounds of their own:
 *   M1 A volume keeps at most inode_limit inodes and dent_limit names; when those of all take more than 1/META_SHARE
 *      of the budget, its share of that (inode_evict, and gc.c's thread for volumes that nobody uses).
 *   M2 When txgs take more than 1/OPS_SHARE, each volume's commits wait for its own to be applied (commit_one), and
 *      changes wait for its commits (vol_admit).
 *   M3 When what is dirty takes more than half, writers wait (write_throttle).
 *   M4 Free buffers keep their memory while they leave, beside what is in use, 1/FREE_SHARE of the budget; of a size that
 *      nobody wants any more they give it back when others need it (buf_cool).
 */
#include "server/store/volume_int.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "common/hugemap.h"
#include "common/log.h"
#include "common/pool.h"

#define SLOT_OVERHEAD 320u /* struct slot, with its share of the tables */
#define EVICT_STEPS   128u
#define COOL_STEPS    16u
#define META_SHARE    8u
#define META_STEP     (64 << 10)
#define META_LEAST    8192u /* inodes or names a volume may keep in any case: rename needs a path's */
#define OPS_SHARE     4u
#define OPS_LEAST     (8u << 20)

static const uint32_t class_pages[BUF_CLASSES] = {1, 8, SLOT_PAGES};

/* Buffers are cut from regions that are mapped once and kept: malloc, which has a heap per thread, would hold
 * several times the budget when one thread allocates what another frees. Buffers that nobody needs for the
 * moment give their memory back, and keep their place. */
#define REGION_SIZE (8u << 20)
#define FREE_SLACK  (4u << 20) /* free buffers kept when the cache is full */
#define FREE_SHARE  16u

struct region {
    struct region *next;
    unsigned char *base;
};

/* The next buffer of a new or half used region. buf_lock held. */
static struct buf *buf_cut(struct engine *e, unsigned c)
{
    uint32_t size = class_pages[c] * STORE_PAGE;
    struct buf *b = vol_alloc(sizeof(*b));

    b->cls = c;
    b->pages = class_pages[c];
    b->e = e;
    if (!POOL_KEEPS) { /* each one by itself, so that uses after free are seen */
        b->data = aligned_alloc(STORE_PAGE, size);
        if (!b->data)
            abort();
        return b;
    }
    if (!e->regions[c] || e->region_used[c] + size > REGION_SIZE) {
        struct region *r = vol_alloc(sizeof(*r));

        r->base = hugemap_new(REGION_SIZE);
        if (!r->base) {
            log_error("out of memory");
            abort();
        }
        r->next = e->regions[c];
        e->regions[c] = r;
        e->region_used[c] = 0;
    }
    b->data = e->regions[c]->base + e->region_used[c];
    e->region_used[c] += size;
    return b;
}

/* A free buffer that has memory, no longer on its list; NULL: there is none. With buf_lock. */
static struct buf *buf_warm(struct engine *e, unsigned c)
{
    struct buf *b = e->free_bufs[c];

    if (b) {
        e->free_bufs[c] = b->next;
        e->free_bytes -= (uint64_t)b->pages * STORE_PAGE;
    }
    return b;
}

struct buf *buf_get(struct engine *e, uint32_t pages)
{
    unsigned c = pages <= class_pages[0] ? 0 : pages <= class_pages[1] ? 1 : 2;
    struct buf *b;

    pthread_mutex_lock(&e->buf_lock);
    b = buf_warm(e, c);
    if (!b && (b = e->cold_bufs[c]))
        e->cold_bufs[c] = b->next;
    if (!b)
        b = buf_cut(e, c);
    pthread_mutex_unlock(&e->buf_lock);
    b->next = NULL;
    atomic_store(&b->refs, 1);
    return b;
}

/* A free buffer on no list gives its memory back. */
static void buf_chill(struct engine *e, struct buf *b)
{
    hugemap_drop(b->data, (size_t)b->pages * STORE_PAGE, REGION_SIZE);
    pthread_mutex_lock(&e->buf_lock);
    b->next = e->cold_bufs[b->cls];
    e->cold_bufs[b->cls] = b;
    pthread_mutex_unlock(&e->buf_lock);
}

/* Would so many bytes of free buffers take memory that is wanted elsewhere? */
static bool too_warm(const struct engine *e, uint64_t size)
{
    return size > FREE_SLACK && size + atomic_load_explicit(&e->bytes, memory_order_relaxed) >
                                    e->cache_size - e->cache_size / FREE_SHARE;
}

void buf_unref(struct buf *b)
{
    struct engine *e;
    uint64_t size;
    bool keep;

    if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    e = b->e;
    size = (uint64_t)b->pages * STORE_PAGE;
    if (!POOL_KEEPS) {
        free(b->data);
        free(b);
        return;
    }
    pthread_mutex_lock(&e->buf_lock);
    keep = !too_warm(e, e->free_bytes + size);
    if (keep) {
        b->next = e->free_bufs[b->cls];
        e->free_bufs[b->cls] = b;
        e->free_bytes += size;
    }
    pthread_mutex_unlock(&e->buf_lock);
    if (keep)
        return;
    buf_chill(e, b);
}

/* Some of the free buffers give their memory back, the largest first. */
static void buf_cool(struct engine *e)
{
    for (unsigned i = 0; i < COOL_STEPS && too_warm(e, e->free_bytes); i++) {
        struct buf *b = NULL;

        pthread_mutex_lock(&e->buf_lock);
        for (unsigned c = BUF_CLASSES; c-- > 0 && !b;)
            b = buf_warm(e, c);
        pthread_mutex_unlock(&e->buf_lock);
        if (!b)
            return;
        buf_chill(e, b);
    }
}

static void free_list(struct buf *b)
{
    while (b) {
        struct buf *next = b->next;
        free(b);
        b = next;
    }
}

void buf_release_all(struct engine *e)
{
    for (int c = 0; c < BUF_CLASSES; c++) {
        free_list(e->free_bufs[c]);
        free_list(e->cold_bufs[c]);
        while (e->regions[c]) {
            struct region *r = e->regions[c];
            e->regions[c] = r->next;
            munmap(r->base, REGION_SIZE);
            free(r);
        }
    }
}

static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;

static void scratch_init(void)
{
    if (pthread_key_create(&scratch_key, free) != 0)
        abort();
}

unsigned char *scratch_get(void)
{
    unsigned char *p;

    pthread_once(&scratch_once, scratch_init);
    p = pthread_getspecific(scratch_key);
    if (!p) {
        p = aligned_alloc(STORE_PAGE, PACK_WINDOW + SLOT_SIZE);
        if (!p)
            abort();
        pthread_setspecific(scratch_key, p);
    }
    return p;
}

void cache_add(struct engine *e, struct slot *s)
{
    pthread_mutex_lock(&e->lock);
    list_add(&e->lru, &s->lru);
    pthread_mutex_unlock(&e->lock);
    cache_account(s);
}

void cache_del(struct engine *e, struct slot *s)
{
    pthread_mutex_lock(&e->lock);
    list_del(&s->lru);
    pthread_mutex_unlock(&e->lock);
    atomic_fetch_sub(&e->bytes, s->cost);
    atomic_fetch_sub(&e->pinned, s->pinned);
    s->in->vol->pinned -= s->pinned;
    s->cost = s->pinned = 0;
}

void cache_account(struct slot *s)
{
    struct engine *e = s->in->vol->e;
    uint32_t cost = SLOT_OVERHEAD + (s->buf ? s->buf->pages * STORE_PAGE : 0);
    uint32_t pinned = s->dirty || s->opsref ? cost : 0;

    if (cost != s->cost) {
        atomic_fetch_add(&e->bytes, (uint64_t)cost - s->cost);
        s->cost = cost;
    }
    if (pinned != s->pinned) {
        atomic_fetch_add(&e->pinned, (uint64_t)pinned - s->pinned);
        s->in->vol->pinned += (uint64_t)pinned - s->pinned;
        s->pinned = pinned;
    }
}

void cache_meta(struct volume *v, int64_t bytes)
{
    v->meta += bytes;
    if (v->meta > META_STEP || v->meta < -META_STEP)
        cache_meta_all(v);
}

void cache_meta_all(struct volume *v)
{
    atomic_fetch_add(&v->e->meta, (uint64_t)v->meta);
    atomic_fetch_add(&v->e->bytes, (uint64_t)v->meta);
    v->meta = 0;
}

size_t cache_share(const struct engine *e, size_t limit)
{
    size_t n = atomic_load(&e->nvolumes), share = limit / (n ? n : 1);

    if (atomic_load_explicit(&e->meta, memory_order_relaxed) <= e->cache_size / META_SHARE)
        return limit;
    share = share > META_LEAST ? share : META_LEAST;
    return share < limit ? share : limit;
}

bool cache_ops_over(const struct engine *e)
{
    uint64_t most = e->cache_size / OPS_SHARE;

    return atomic_load_explicit(&e->ops, memory_order_relaxed) > (most > OPS_LEAST ? most : OPS_LEAST);
}

void cache_make_room(struct engine *e, struct volume *v)
{
    buf_cool(e);
    if (atomic_load(&e->bytes) <= e->cache_size)
        return;
    pthread_mutex_lock(&e->lock);
    for (unsigned i = 0; i < EVICT_STEPS && !list_empty(&e->lru); i++) {
        struct slot *s = list_entry(e->lru.prev, struct slot, lru);
        struct volume *o = s->in->vol;

        if (atomic_load(&e->bytes) <= e->cache_size)
            break;
        list_del(&s->lru);
        list_add(&e->lru, &s->lru);
        if (o != v && pthread_mutex_trylock(&o->lock) != 0)
            continue;
        if (s->ref) {
            s->ref = false;
        } else if (slot_evictable(s)) {
            list_del(&s->lru);
            atomic_fetch_sub(&e->bytes, s->cost);
            s->cost = 0;
            slot_free(s);
        }
        if (o != v)
            pthread_mutex_unlock(&o->lock);
    }
    pthread_mutex_unlock(&e->lock);
}
