/* SPDX-License-Identifier: Apache-2.0
 * inode: the inodes of a volume that are in memory.
 *
 * An inode may leave memory when its row is committed, nobody holds it, none of its slots or names is
 * busy, dirty or uncommitted. A freed inode (dead) stays as a tombstone until the row's removal is
 * committed, so that nobody reads the old row.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define INODE_COST ((int64_t)sizeof(struct inode) + 32) /* with its share of the table */

struct inode *inode_find(struct volume *v, uint64_t ino)
{
    uint64_t h = htab_hash_u64(ino);

    for (struct hnode *n = htab_first(&v->inodes, h); n; n = htab_next(n, h)) {
        struct inode *in = container_of(n, struct inode, hn);
        if (in->a.ino == ino)
            return in;
    }
    return NULL;
}

static void inode_fill(struct inode *in, const struct vattr *a)
{
    in->a = *a;
    in->psize = in->data_end = a->size;
    in->cused = a->used;
    in->orphan = a->nlink == 0;
    inode_recalc_used(in);
}

static struct inode *inode_alloc(struct volume *v, uint64_t ino)
{
    struct inode *in;

    inode_evict(v, cache_share(v->e, v->e->inode_limit), 8);
    in = vol_alloc(sizeof(*in));
    cache_meta(v, INODE_COST);
    in->vol = v;
    in->a.ino = ino;
    list_init(&in->dirty_link);
    list_init(&in->reap_link);
    list_init(&in->dents);
    list_init(&in->slots);
    list_init(&in->dirty);
    htab_add(&v->inodes, &in->hn, htab_hash_u64(ino));
    list_add(&v->inode_lru, &in->lru);
    v->ninodes++;
    return in;
}

struct inode *inode_new(struct volume *v, const struct vattr *a)
{
    struct inode *in = inode_alloc(v, a->ino);

    inode_fill(in, a);
    in->data_end = 0;
    in->noxattr = true;
    return in;
}

void inode_preload(struct volume *v, const struct vattr *a)
{
    if (!inode_find(v, a->ino))
        inode_fill(inode_alloc(v, a->ino), a);
}

/* Frees what the inode has in memory; it must be evictable or the volume be closing. */
void inode_free(struct inode *in)
{
    struct volume *v = in->vol;

    list_for_each_safe(it, &in->dents) {
        dent_free(list_entry(it, struct dent, link));
    }
    list_for_each_safe(it, &in->slots) {
        struct slot *s = list_entry(it, struct slot, link);
        cache_del(v->e, s);
        slot_free(s);
    }
    if (!in->loading)
        v->extra -= (int64_t)(in->a.used - in->cused);
    list_del(&in->dirty_link);
    list_del(&in->reap_link);
    list_del(&in->lru);
    htab_del(&v->inodes, &in->hn);
    v->ninodes--;
    cache_meta(v, -INODE_COST);
    free(in->target);
    free(in);
}

static bool inode_evictable(const struct inode *in)
{
    const struct volume *v = in->vol;

    if (in->loading || in->dirloading || in->holds || in->opsref || in->txg > v->committed ||
        in->data_txg > v->committed || !list_empty(&in->dirty) || !list_empty(&in->reap_link))
        return false;
    list_for_each(it, &in->dents) {
        const struct dent *d = list_entry(it, struct dent, link);
        if (d->loading || d->txg > v->committed)
            return false;
    }
    list_for_each(it, &in->slots) {
        if (!slot_evictable(list_entry(it, struct slot, link)))
            return false;
    }
    return true;
}

void inode_evict(struct volume *v, size_t most, unsigned steps)
{
    while (v->ninodes > most && steps--) {
        struct inode *in = list_last(&v->inode_lru, struct inode, lru);
        if (!in)
            break;
        list_del(&in->lru);
        list_add(&v->inode_lru, &in->lru);
        if (!v->dirloads && inode_evictable(in))
            inode_free(in);
    }
}

int inode_get(struct volume *v, const struct store_call *call, uint64_t ino, struct inode **out)
{
    struct inode *in = inode_find(v, ino);
    struct vattr a;
    int r;

    if (in && !in->loading) {
        if (in->dead)
            return -ESTALE;
        if (v->inode_lru.next != &in->lru) {
            list_del(&in->lru);
            list_add(&v->inode_lru, &in->lru);
        }
        *out = in;
        return 0;
    }
    if (ino == 0 || ino >= v->next_ino)
        return -ESTALE;
    if (!call->may_block)
        return -EAGAIN;
    if (in) {
        vol_wait(v, 0);
        return RETRY;
    }
    in = inode_alloc(v, ino);
    in->loading = true;
    pthread_mutex_unlock(&v->lock);
    r = index_get_inode(v->ix, ino, &a);
    pthread_mutex_lock(&v->lock);
    vol_wake(v);
    if (r < 0) {
        inode_free(in);
        return r == -ENOENT ? -ESTALE : r;
    }
    in->loading = false;
    inode_fill(in, &a);
    return RETRY;
}

int inode_get_file(struct volume *v, const struct store_call *call, uint64_t ino, struct inode **in)
{
    int r = inode_get(v, call, ino, in);

    if (r)
        return r;
    if ((*in)->a.type == IT_DIR)
        return -EISDIR;
    return (*in)->a.type == IT_REG ? 0 : -EINVAL;
}

void inode_dirty(struct inode *in)
{
    struct volume *v = in->vol;

    in->txg = v->open->n;
    if (in->dirty_row)
        return;
    in->dirty_row = true;
    list_add_tail(&v->open->dirty, &in->dirty_link);
    txg_touch(v);
    v->open->rows++;
}

void inode_bump(struct inode *in)
{
    uint64_t floor = in->vol->e->epoch << 40;

    in->a.change = in->a.change + 1 > floor ? in->a.change + 1 : floor;
}

void inode_changed(struct inode *in, struct timespec now, bool mtime)
{
    inode_bump(in);
    in->a.ctime = now;
    if (mtime)
        in->a.mtime = now;
    inode_dirty(in);
}

void inode_recalc_used(struct inode *in)
{
    uint64_t used = in->cused + in->pend;
    uint64_t before = in->a.used;

    /* Waiting data counts as whole pages; no extent goes beyond the size, so neither does this. */
    if (used > in->a.size)
        used = in->a.size;
    if (in->dead)
        used = 0;
    in->a.used = used;
    in->vol->extra += (int64_t)(used - before);
}

void inode_kill(struct inode *in)
{
    struct volume *v = in->vol;
    struct rowop *op;

    in->dead = true;
    slots_discard(in);
    inode_recalc_used(in);
    if (!in->orphan && in->data_end <= SMALL_FILE) {
        in->nosave = true;
        op = rowop_new(OP_REAP, in->a.ino, NULL, 0, NULL, 0);
        op->in = in;
        op->attr = in->a;
        in->txg = v->open->n;
        txg_add(v, op);
        return;
    }
    if (!in->orphan) {
        txg_add(v, rowop_new(OP_PUT_ORPHAN, in->a.ino, NULL, 0, NULL, 0));
        inode_dirty(in);
    }
    list_del(&in->reap_link);
    list_add_tail(&v->reap, &in->reap_link);
    txg_kick(v, 0);
}

void inode_drop_name(struct inode *in, struct timespec now)
{
    in->a.nlink = in->a.type == IT_DIR ? 0 : in->a.nlink - 1;
    inode_changed(in, now, false);
    if (in->a.nlink)
        return;
    if (in->holds) {
        txg_add(in->vol, rowop_new(OP_PUT_ORPHAN, in->a.ino, NULL, 0, NULL, 0));
        in->orphan = true;
    } else {
        inode_kill(in);
    }
}
