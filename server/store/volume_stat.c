/* SPDX-License-Identifier: Apache-2.0
 * volume_stat: a volume's properties and figures.
 */
#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "server/store/gc.h"
#include "server/store/journal.h"
#include "server/store/volume_int.h"

void volume_props_default(struct volume_props *p)
{
    *p = (struct volume_props){.codec = VOLUME_ZSTD, .level = 1};
}

int volume_props_check(const struct volume_props *p)
{
    if (p->codec != VOLUME_RAW && p->codec != VOLUME_ZSTD)
        return -EINVAL;
    if (p->codec == VOLUME_ZSTD && (p->level < 1 || p->level > 19))
        return -EINVAL;
    if (p->recompress < 0 || p->recompress > 19)
        return -EINVAL;
    return 0;
}

static void journal_stat(struct volume *v, struct volume_stat *st)
{
    const struct txg *oldest = list_first(&v->queue, struct txg, link);
    uint64_t now = clock_mono_ms();

    if (!v->journal)
        return;
    st->journal_used = journal_used(v->journal);
    st->journal_size = journal_size(v->journal);
    if (oldest)
        st->journal_ms = now > oldest->t0 ? now - oldest->t0 : 0;
}

void vol_stat_space(struct volume_stat *st, const struct volume_props *p, uint64_t space)
{
    uint64_t left;

    if (p->quota_bytes) {
        left = p->quota_bytes > st->logical ? p->quota_bytes - st->logical : 0;
        space = left < space ? left : space;
    }
    st->avail_bytes = space;
    st->total_bytes = st->logical + space;
    left = space / 512;
    if (p->quota_files)
        left = p->quota_files > st->files ? p->quota_files - st->files : 0;
    st->avail_files = left;
    st->total_files = st->files + left;
}

void volume_stat(struct volume *v, struct volume_stat *st)
{
    uint64_t space;
    int64_t logical;

    memset(st, 0, sizeof(*st));
    if (vol_enter(v) < 0)
        return;
    logical = (int64_t)v->logical + v->extra;
    st->files = v->files;
    st->logical = logical > 0 ? (uint64_t)logical : 0;
    st->unwritten = v->extra > 0 ? (uint64_t)v->extra : 0;
    if (st->unwritten > st->logical)
        st->unwritten = st->logical;
    st->stored = v->stored;
    st->held = v->held;
    st->deduped = v->deduped;
    st->hurried = v->hurried;
    list_for_each(it, &v->snaps) {
        st->snapshots += list_entry(it, struct snap, link)->row.state == SNAP_READY;
    }
    st->pack_bytes = packset_bytes(v->ps);
    st->index_bytes = index_bytes(v->ix);
    space = vol_space(v, true);
    vol_stat_space(st, &v->props, space > v->reserve ? space - v->reserve : 0);
    gc_stat(v, st);
    journal_stat(v, st);
    vol_leave(v);
}

void volume_get_props(struct volume *v, struct volume_props *p)
{
    pthread_mutex_lock(&v->lock);
    *p = v->props;
    pthread_mutex_unlock(&v->lock);
}

int volume_set_props(struct volume *v, const struct volume_props *p)
{
    struct store_call call;
    int r = volume_props_check(p);

    if (r < 0)
        return r;
    store_call_init(&call, true);
    r = vol_enter(v);
    if (r < 0)
        return r;
    if (v->failed) {
        r = vol_failed(v, -EROFS);
    } else {
        v->props = *p;
        txg_touch(v);
        call_note(&call, v, v->open->n);
    }
    vol_leave(v);
    if (r == 0)
        r = volume_call_wait(&call);
    store_call_release(&call);
    return r;
}

uint64_t volume_write_verifier(struct volume *v)
{
    uint64_t x;

    pthread_mutex_lock(&v->lock);
    x = v->verifier;
    pthread_mutex_unlock(&v->lock);
    return x;
}
