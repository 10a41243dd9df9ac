/* SPDX-License-Identifier: Apache-2.0
 * tend: what the commit thread does between commits: small data moves from the index to packs, and
 * packs without live bytes are removed.
 *
 * A pack may only go when no chunk that was appended to it can still enter the index: appenders and
 * uncommitted maps hold a packref, and only packs below all of those are removed.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>

#include "common/fault.h"
#include "common/log.h"

#define MOVE_CHUNKS 512u
#define MOVE_BYTES  (2u << 20)
#define DEAD_PACKS  16u

struct mover {
    struct volume *vol;
    struct chunk moved[MOVE_CHUNKS];
    unsigned n;
    uint64_t bytes;
    int err;
};

static int move_one(void *arg, const struct chunk *c, const void *blob)
{
    struct mover *m = arg;
    struct chunk to = *c;

    m->err = packset_append(m->vol->ps, &to, 0, 0, blob);
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
    int r;

    m->vol = v;
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
    v->blob_stuck = r < 0 || m->n == 0;
    v->blob_bytes = left > 0 ? (uint64_t)left : 0;
    v->wal_debt += m->n + m->bytes / STORE_PAGE;
    pthread_mutex_unlock(&v->lock);
    if (r < 0)
        log_warn("%s: cannot move small data to packs: %s", v->label, strerrordesc_np(-r));
    free(m);
}

void tend_dead_packs(struct volume *v)
{
    uint32_t dead[DEAD_PACKS], low;
    int n, r;

    pthread_mutex_lock(&v->lock);
    low = packset_current(v->ps);
    if (!low)
        low = packset_next(v->ps);
    for (size_t i = 0; i < v->npackrefs; i++)
        if (v->packrefs[i].pack < low)
            low = v->packrefs[i].pack;
    pthread_mutex_unlock(&v->lock);
    n = index_dead_packs(v->ix, low, dead, DEAD_PACKS);
    if (n <= 0)
        return;
    r = index_begin(v->ix);
    if (r < 0)
        return;
    for (int i = 0; i < n && r >= 0; i++)
        r = index_del_pack(v->ix, dead[i]);
    if (r < 0) {
        index_rollback(v->ix);
        return;
    }
    r = index_commit(v->ix);
    if (r < 0)
        return;
    (void)fault_point("tend.dead");
    for (int i = 0; i < n; i++) {
        r = packset_delete(v->ps, dead[i]);
        if (r < 0 && r != -ENOENT)
            log_warn("%s: cannot remove pack %u: %s", v->label, dead[i], strerrordesc_np(-r));
    }
}
