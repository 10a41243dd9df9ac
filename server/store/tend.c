/* SPDX-License-Identifier: Apache-2.0
 * tend: what the apply thread does when nothing is to apply: small data moves from the index to packs.
 *
 * Records say which file their bytes belong to, so that an index can be made of packs alone: the extents tell, which
 * have to be read for it. So much moves at once.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>

#include "common/fault.h"
#include "common/log.h"

#define MOVE_CHUNKS 2048u
#define MOVE_BYTES  (8u << 20)

struct mover {
    struct volume *vol;
    struct chunk moved[MOVE_CHUNKS];
    struct index_blob_place place[MOVE_CHUNKS];
    int nplaces, next; /* both ascend */
    unsigned n;
    uint64_t bytes;
    int err;
};

static int move_one(void *arg, const struct chunk *c, const void *blob)
{
    struct mover *m = arg;
    struct chunk to = *c;
    const struct index_blob_place *p = NULL;

    while (m->next < m->nplaces && m->place[m->next].chunk < c->id)
        m->next++;
    if (m->next < m->nplaces && m->place[m->next].chunk == c->id)
        p = &m->place[m->next];
    m->err = packset_append(m->vol->ps, &to, p ? p->ino : 0, p ? p->off : 0, blob);
    if (m->err < 0)
        return 1;
    m->moved[m->n++] = to;
    m->bytes += c->stored_len;
    return m->n == MOVE_CHUNKS || m->bytes >= MOVE_BYTES;
}

void tend_move_blobs(struct volume *v)
{
    struct mover *m = vol_alloc(sizeof(*m));
    struct index_meta meta = v->disk_meta;
    int64_t left;
    uint32_t low;
    int r;

    m->vol = v;
    pthread_mutex_lock(&v->lock);
    low = packref_here(v); /* until the chunks in them are committed */
    pthread_mutex_unlock(&v->lock);
    m->nplaces = index_blob_places(v->ix, m->place, MOVE_CHUNKS);
    (void)index_walk_blobs(v->ix, MOVE_CHUNKS, move_one, m);
    r = m->err;
    if (r >= 0 && m->n)
        r = packset_sync(v->ps);
    if (r >= 0)
        r = fault_point("tend.moved");
    if (r >= 0 && m->n) {
        r = index_begin(v->ix);
        if (r < 0)
            goto out;
        for (unsigned i = 0; i < m->n && r >= 0; i++)
            r = index_move_chunk(v->ix, &m->moved[i]);
        meta.next_pack = packset_next(v->ps);
        if (r >= 0)
            r = index_put_meta(v->ix, &meta);
        if (r < 0)
            index_rollback(v->ix);
        else
            r = index_commit(v->ix);
        if (r >= 0)
            v->disk_meta = meta;
    }
out:
    left = index_blob_bytes(v->ix);
    pthread_mutex_lock(&v->lock);
    packref_put(v, low);
    v->blob_stuck = r < 0 || m->n == 0;
    v->blob_bytes = left > 0 ? (uint64_t)left : 0;
    v->wal_debt += m->n + m->bytes / STORE_PAGE;
    pthread_mutex_unlock(&v->lock);
    if (r < 0)
        log_warn("%s: cannot move small data to packs: %s", v->label, strerrordesc_np(-r));
    free(m);
}
