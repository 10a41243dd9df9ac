/* SPDX-License-Identifier: Apache-2.0
 * dcache: the names of a volume that are in memory, existing and missing ones.
 *
 * An entry belongs to its directory's inode. It hashes by (directory, base cookie), so all names that
 * compete for the same cookies are in one chain: a new name gets a cookie that no other entry of the
 * chain has and that was not taken in the index when its (missing) entry was read; whoever takes a
 * cookie notes that in all entries of the chain.
 *
 * A directory is `complete` when every name it has is in the cache: after it was made, or after it was
 * read as a whole; then a missing name needs no look at the disk. Names of a complete directory are
 * evicted like others, which ends its completeness. While a directory is read no name is evicted, so
 * what is in the cache always overrides what the listing says.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DENT_COST ((int64_t)sizeof(struct dent) + 32) /* with its share of the table */

static uint64_t dent_hash(uint64_t dir, uint64_t base)
{
    return htab_hash_u64(htab_hash_u64(dir) ^ base);
}

static struct dent *dent_find(struct volume *v, struct inode *dir, uint64_t base, const char *name,
                              size_t len)
{
    uint64_t h = dent_hash(dir->a.ino, base);

    for (struct hnode *n = htab_first(&v->dents, h); n; n = htab_next(n, h)) {
        struct dent *d = container_of(n, struct dent, hn);
        if (d->dir == dir && d->base == base && d->len == len && memcmp(d->name, name, len) == 0)
            return d;
    }
    return NULL;
}

static struct dent *dent_new(struct volume *v, struct inode *dir, uint64_t base, const char *name,
                             size_t len)
{
    struct dent *d;
    uint64_t h = dent_hash(dir->a.ino, base);

    dent_evict(v, cache_share(v->e, v->e->dent_limit), 16);
    d = vol_alloc(sizeof(*d) + len + 1);
    cache_meta(v, DENT_COST + (int64_t)len);
    d->dir = dir;
    d->base = base;
    d->len = (uint8_t)len;
    memcpy(d->name, name, len);
    for (struct hnode *n = htab_first(&v->dents, h); n; n = htab_next(n, h)) {
        struct dent *o = container_of(n, struct dent, hn);
        if (o->dir == dir && o->base == base) {
            d->taken |= o->taken;
            if (o->ino)
                d->taken |= (uint8_t)(1u << (o->cookie - base));
        }
    }
    htab_add(&v->dents, &d->hn, h);
    list_add(&v->dent_lru, &d->lru);
    list_add_tail(&dir->dents, &d->link);
    v->ndents++;
    return d;
}

void dent_free(struct dent *d)
{
    struct volume *v = d->dir->vol;

    htab_del(&v->dents, &d->hn);
    list_del(&d->lru);
    list_del(&d->link);
    v->ndents--;
    cache_meta(v, -DENT_COST - (int64_t)d->len);
    free(d);
}

void dent_evict(struct volume *v, size_t most, unsigned steps)
{
    while (v->ndents > most && !v->dirloads && steps--) {
        struct dent *d = list_last(&v->dent_lru, struct dent, lru);
        if (!d)
            break;
        if (d->loading || d->txg > v->committed) {
            list_del(&d->lru);
            list_add(&v->dent_lru, &d->lru);
            continue;
        }
        if (d->ino)
            d->dir->complete = false;
        dent_free(d);
    }
}

static void note_taken(struct dent *d, uint64_t cookie)
{
    struct volume *v = d->dir->vol;
    uint64_t h = d->hn.hash;

    for (struct hnode *n = htab_first(&v->dents, h); n; n = htab_next(n, h)) {
        struct dent *o = container_of(n, struct dent, hn);
        if (o != d && o->dir == d->dir && o->base == d->base)
            o->taken |= (uint8_t)(1u << (cookie - d->base));
    }
}

/* Reads one name from committed state. Drops the lock. */
static int load_one(struct volume *v, struct inode *dir, uint64_t base, const char *name, size_t len)
{
    struct dent *d = dent_new(v, dir, base, name, len);
    uint64_t cookie = 0, ino = 0;
    uint8_t taken = 0;
    int r;

    d->loading = true;
    pthread_mutex_unlock(&v->lock);
    r = index_get_dirent(v->ix, dir->a.ino, name, len, &cookie, &ino);
    if (r == -ENOENT) {
        ino = 0;
        r = index_cookies_taken(v->ix, dir->a.ino, base, &taken);
    }
    if (r == 0 && ino && (cookie < base || cookie > base + 7))
        r = -EUCLEAN;
    pthread_mutex_lock(&v->lock);
    d->loading = false;
    vol_wake(v);
    if (r < 0) {
        dent_free(d);
        return r;
    }
    d->taken |= taken;
    if (ino) {
        d->ino = ino;
        d->cookie = cookie;
        d->taken &= (uint8_t)~(1u << (cookie - base));
        note_taken(d, cookie);
    }
    return RETRY;
}

struct listing {
    struct listed {
        uint64_t cookie;
        struct vattr a;
        uint8_t len;
        char name[STORE_NAME_MAX];
    } *ent;
    size_t n, max;
};

static bool list_one(void *arg, const struct volume_dirent *de)
{
    struct listing *l = arg;
    struct listed *e = &l->ent[l->n++];

    e->cookie = de->cookie;
    e->a = de->attr;
    e->len = (uint8_t)de->len;
    memcpy(e->name, de->name, de->len);
    return l->n < l->max;
}

/* Reads a whole directory, if it is not too large. Drops the lock. */
static int load_all(struct volume *v, struct inode *dir)
{
    size_t max = v->e->dent_limit / 8 < 2000 ? v->e->dent_limit / 8 : 2000;
    struct listing l = {.max = max};
    uint64_t committed = v->committed;
    bool quiet = !v->applying, eof = false;
    int r;

    dir->dirloading = true;
    v->dirloads++;
    pthread_mutex_unlock(&v->lock);
    l.ent = malloc((max + 1) * sizeof(*l.ent));
    r = l.ent ? index_list_dir(v->ix, dir->a.ino, 0, (unsigned)max, list_one, &l, &eof) : -ENOMEM;
    pthread_mutex_lock(&v->lock);
    dir->dirloading = false;
    vol_wake(v);
    quiet = quiet && !v->applying && v->committed == committed;
    if (r < 0 || !eof) {
        dir->nocomplete = true;
        goto out;
    }
    for (size_t i = 0; i < l.n; i++) {
        struct listed *e = &l.ent[i];
        uint64_t base = index_name_cookie(e->name, e->len);
        struct dent *d = dent_find(v, dir, base, e->name, e->len);

        if (e->cookie < base || e->cookie > base + 7) {
            dir->nocomplete = true;
            r = -EUCLEAN;
            goto out;
        }
        if (!d) {
            d = dent_new(v, dir, base, e->name, e->len);
            d->ino = e->a.ino;
            d->cookie = e->cookie;
            d->taken &= (uint8_t)~(1u << (d->cookie - base));
            note_taken(d, d->cookie);
        }
        /* With no commit since the listing began, what it shows and the table lacks is current. */
        if (quiet && v->ninodes < v->e->inode_limit)
            inode_preload(v, &e->a);
    }
    dir->complete = true;
    dir->nents = 0;
    list_for_each(it, &dir->dents) {
        struct dent *d = list_entry(it, struct dent, link);
        if (d->loading)
            dir->complete = false;
        dir->nents += d->ino != 0;
    }
out:
    v->dirloads--;
    free(l.ent);
    return r < 0 ? r : RETRY;
}

int dir_load(struct volume *v, const struct store_call *call, struct inode *dir)
{
    if (!call->may_block)
        return -EAGAIN;
    if (!dir->dirloading)
        return load_all(v, dir);
    vol_wait(v, 0);
    return RETRY;
}

int dent_get(struct volume *v, const struct store_call *call, struct inode *dir, const char *name,
             size_t len, struct dent **out)
{
    uint64_t base = index_name_cookie(name, len);
    struct dent *d;

    if (dir->a.type != IT_DIR)
        return -ENOTDIR;
    d = dent_find(v, dir, base, name, len);
    if (d && !d->loading) {
        if (v->dent_lru.next != &d->lru) {
            list_del(&d->lru);
            list_add(&v->dent_lru, &d->lru);
        }
        *out = d;
        return 0;
    }
    if (!d && dir->complete) {
        *out = dent_new(v, dir, base, name, len);
        return 0;
    }
    if (!call->may_block)
        return -EAGAIN;
    if (d || dir->dirloading) {
        vol_wait(v, 0);
        return RETRY;
    }
    if (!dir->nocomplete)
        return load_all(v, dir);
    return load_one(v, dir, base, name, len);
}

bool dent_cookie_free(const struct dent *d)
{
    return d->ino || d->taken != 0xff;
}

void dent_set(struct dent *d, uint64_t ino)
{
    struct volume *v = d->dir->vol;
    struct rowop *op;

    if (d->ino) {
        op = rowop_new(OP_DEL_DIRENT, d->dir->a.ino, NULL, 0, NULL, 0);
        op->off = d->cookie;
        txg_add(v, op);
    } else {
        unsigned i = 0;
        while (d->taken & (1u << i))
            i++;
        d->cookie = d->base + i;
        note_taken(d, d->cookie);
        d->dir->nents++;
    }
    d->ino = ino;
    d->txg = d->dir->name_txg = v->open->n;
    op = rowop_new(OP_PUT_DIRENT, d->dir->a.ino, d->name, d->len, NULL, 0);
    op->off = d->cookie;
    op->len = ino;
    txg_add(v, op);
}

void dent_clear(struct dent *d)
{
    struct volume *v = d->dir->vol;
    struct rowop *op = rowop_new(OP_DEL_DIRENT, d->dir->a.ino, NULL, 0, NULL, 0);

    op->off = d->cookie;
    txg_add(v, op);
    d->ino = 0;
    d->dir->nents--;
    d->txg = d->dir->name_txg = v->open->n;
}

int dir_check_empty(struct volume *v, const struct store_call *call, struct inode *dir)
{
    uint64_t change = dir->a.change, ino = dir->a.ino;
    bool empty = false;
    int r;

    if (dir->complete)
        return dir->nents ? -ENOTEMPTY : 0;
    r = txg_wait_locked(v, call, dir->name_txg);
    if (r)
        return r;
    if (!call->may_block)
        return -EAGAIN;
    if (!dir->nocomplete && !dir->dirloading)
        return load_all(v, dir);
    dir->opsref++;
    pthread_mutex_unlock(&v->lock);
    r = index_dir_empty(v->ix, ino, &empty);
    pthread_mutex_lock(&v->lock);
    dir->opsref--;
    if (r < 0)
        return r;
    if (dir->dead || dir->a.change != change || dir->name_txg > v->committed)
        return RETRY;
    if (!empty)
        return -ENOTEMPTY;
    /* Nothing in it and nothing on its way: all its names (none) are known. */
    dir->complete = true;
    dir->nents = 0;
    return RETRY;
}
