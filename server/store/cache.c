/* SPDX-License-Identifier: Apache-2.0
 * cache: pooled slot buffers, and which slots may stay in memory.
 *
 * All slots are in one LRU list of the engine. A hit only sets slot.ref (second chance), so that reads
 * take no lock but their volume's. Dirty, uncommitted and busy slots are skipped; a slot of another
 * volume is only evicted when that volume's lock can be had at once.
 */
#include "server/store/volume_int.h"

#include <stdlib.h>

#define SLOT_OVERHEAD 320u /* struct slot, with its share of the tables */
#define EVICT_STEPS   128u

static const uint32_t class_pages[BUF_CLASSES] = {1, 8, SLOT_PAGES};

struct buf *buf_get(struct engine *e, uint32_t pages)
{
    unsigned c = pages <= class_pages[0] ? 0 : pages <= class_pages[1] ? 1 : 2;
    struct buf *b;

    pthread_mutex_lock(&e->buf_lock);
    b = e->free_bufs[c];
    if (b) {
        e->free_bufs[c] = b->next;
        e->free_bytes -= (uint64_t)b->pages * STORE_PAGE;
    }
    pthread_mutex_unlock(&e->buf_lock);
    if (!b) {
        b = vol_alloc(sizeof(*b));
        b->cls = c;
        b->pages = class_pages[c];
        b->e = e;
        b->data = aligned_alloc(STORE_PAGE, (size_t)b->pages * STORE_PAGE);
        if (!b->data)
            abort();
    }
    b->next = NULL;
    atomic_store(&b->refs, 1);
    return b;
}

void buf_unref(struct buf *b)
{
    struct engine *e;
    uint64_t size;

    if (!b || atomic_fetch_sub(&b->refs, 1) != 1)
        return;
    e = b->e;
    size = (uint64_t)b->pages * STORE_PAGE;
    pthread_mutex_lock(&e->buf_lock);
    if (e->free_bytes + size <= e->cache_size / 4) {
        b->next = e->free_bufs[b->cls];
        e->free_bufs[b->cls] = b;
        e->free_bytes += size;
        b = NULL;
    }
    pthread_mutex_unlock(&e->buf_lock);
    if (b) {
        free(b->data);
        free(b);
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
        p = aligned_alloc(STORE_PAGE, ((CHUNK_BOUND + 4095u) & ~4095u) + SLOT_SIZE);
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

void cache_make_room(struct engine *e, struct volume *v)
{
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
