/* SPDX-License-Identifier: Apache-2.0
 * load: pages of a slot from the index's extents and their chunks.
 *
 * Only pages that are not valid are written, and only while the slot is LOADING. Committed state is right
 * for them: pages changed by a txg on its way are valid (pinned), and a file with a punch on its way is
 * not loaded before that is committed. A chunk that moves meanwhile is looked up again. A damaged chunk
 * makes just the pages it covers bad.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"

#define EXTENTS_AT_ONCE 64u
#define LOOKUP_TRIES    8

/* Fetches a slot's extents. The count, or -errno; *out is malloc'ed. */
static int get_extents(struct index *ix, uint64_t ino, uint64_t start, struct index_extent **out)
{
    struct index_extent *x = NULL;
    uint64_t at = start, end = start + SLOT_SIZE;
    int n = 0;

    *out = NULL;
    for (;;) {
        struct index_extent *p = realloc(x, ((size_t)n + EXTENTS_AT_ONCE) * sizeof(*x));
        int r;
        if (!p)
            abort();
        x = p;
        r = index_get_extents(ix, ino, at, end - at, x + n, EXTENTS_AT_ONCE);
        if (r < 0) {
            free(x);
            return r;
        }
        n += r;
        if (r < (int)EXTENTS_AT_ONCE)
            break;
        at = x[n - 1].off + x[n - 1].len;
        if (at >= end)
            break;
    }
    for (int i = 0; i < n; i++)
        if (x[i].off < start || x[i].off + x[i].len > end || x[i].len > SLOT_SIZE ||
            (uint64_t)x[i].chunk_off + x[i].len > x[i].chunk.len || x[i].chunk.len > SLOT_SIZE ||
            x[i].chunk.stored_len > CHUNK_BOUND) {
            free(x);
            return -EUCLEAN;
        }
    *out = x;
    return n;
}

static void copy_pages(unsigned char *buf, const unsigned char *src, uint32_t off, uint32_t len,
                       uint32_t need)
{
    uint32_t end = off + len;

    while (off < end) {
        uint32_t p = off / STORE_PAGE, to = (p + 1) * STORE_PAGE < end ? (p + 1) * STORE_PAGE : end;
        if (need & 1u << p)
            memcpy(buf + off, src, to - off);
        src += to - off;
        off = to;
    }
}

/* Decoded chunk of the last extent, so that several extents of one chunk read it once. */
struct decoded {
    uint64_t id;
    int err;
};

/* into: where it is decoded to. past: the page cache is not to keep it. */
static int read_chunk(struct volume *v, const struct chunk *c, struct decoded *d, unsigned char *into, bool past)
{
    unsigned char *scratch = scratch_get();
    const void *payload = scratch;
    int r;

    if (d->id == c->id)
        return d->err;
    r = !c->pack ? index_read_blob(v->ix, c, scratch)
        : past   ? packset_read_past(v->ps, c, scratch, &payload)
                 : packset_read(v->ps, c, scratch);
    if (r >= 0)
        r = fault_point("slot.decode") ? -EUCLEAN : chunk_decode(c, payload, into);
    if (r == -EUCLEAN)
        log_error("%s: chunk %llu in pack %u at %llu is damaged", v->label, (unsigned long long)c->id,
                  c->pack, (unsigned long long)c->pack_off);
    if (r == -ENOENT)
        return r;
    d->id = c->id;
    d->err = r < 0 ? r : 0;
    return d->err;
}

/* One chunk is all of the slot, and nothing of it is known. */
static bool all_in_one(const struct index_extent *x, int n, uint32_t need)
{
    return n == 1 && need == UINT32_MAX && x->len == SLOT_SIZE && x->chunk.len == SLOT_SIZE;
}

/* Reads the extents into buf; *bad gets pages of damaged ones. -ENOENT: look them up again; with last set, what
 * is not there is damaged. */
static int read_extents(struct volume *v, uint64_t start, const struct index_extent *x, int n,
                        unsigned char *buf, uint32_t need, bool last, bool past, uint32_t *bad)
{
    unsigned char *into = all_in_one(x, n, need) ? buf : SCRATCH_DECODED(scratch_get());
    struct decoded d = {0, 0};

    *bad = 0;
    for (int i = 0; i < n; i++) {
        uint32_t off = (uint32_t)(x[i].off - start);
        uint32_t pages = pages_touched(off, off + x[i].len) & need;
        int r;
        if (!pages)
            continue;
        r = read_chunk(v, &x[i].chunk, &d, into, past);
        if (r == -ENOENT && last) {
            log_error("%s: chunk %llu: pack %u is missing", v->label, (unsigned long long)x[i].chunk.id,
                      x[i].chunk.pack);
            r = -EUCLEAN;
        }
        if (r == -EUCLEAN)
            *bad |= pages;
        else if (r < 0)
            return r;
        else if (into != buf)
            copy_pages(buf, into + x[i].chunk_off, off, x[i].len, need);
    }
    return 0;
}

int slot_load(struct slot *s, bool past)
{
    struct inode *in = s->in;
    struct volume *v = in->vol;
    uint64_t start = slot_start(s), ino = in->a.ino;
    uint32_t need = ~(s->valid | s->bad), bad = 0;
    struct index_extent *x = NULL;
    int r, n = 0;

    s->busy = SLOT_LOADING;
    atomic_fetch_add_explicit(&v->e->slot_loads, 1, memory_order_relaxed);
    for (int i = 0;; i++) {
        uint32_t end = 0;
        pthread_mutex_unlock(&v->lock);
        free(x);
        n = get_extents(v->ix, ino, start, &x);
        pthread_mutex_lock(&v->lock);
        if (n < 0) {
            r = n;
            break;
        }
        if (n)
            end = (uint32_t)(x[n - 1].off + x[n - 1].len - start);
        slot_grow(s, (end + STORE_PAGE - 1) / STORE_PAGE, 0);
        pthread_mutex_unlock(&v->lock);
        r = 0;
        for (uint32_t p = 0; s->buf && !all_in_one(x, n, need) && p < s->buf->pages; p++)
            if (need & 1u << p)
                memset(s->buf->data + p * STORE_PAGE, 0, STORE_PAGE);
        if (n && s->buf)
            r = read_extents(v, start, x, n, s->buf->data, need, i >= LOOKUP_TRIES, past, &bad);
        pthread_mutex_lock(&v->lock);
        if (r != -ENOENT)
            break;
    }
    free(x);
    if (r == -ENOENT)
        r = -EIO;
    if (r == 0) {
        s->valid |= need & ~bad;
        s->bad |= bad;
        if ((unsigned)n > s->nfrag)
            s->nfrag = (unsigned)n;
    }
    if (in->dead) /* unlinked meanwhile: nobody else cleans a busy slot */
        slot_undirty(s, s->dirty);
    slot_idle(s);
    return r < 0 ? r : RETRY;
}
