/* SPDX-License-Identifier: Apache-2.0
 * snap_open: snapshots as volumes for reading.
 *
 * Such a volume has no commit thread, no journal and no txg that ever closes; it uses its parent's packs.
 * It is open while its parent is; with more than OPEN_MAX of one volume, those that nobody refers to are
 * closed, the one that was not asked for longest first.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/store/snap_int.h"

#define OPEN_MAX 16u

/* Opens a snapshot's volume. No lock held. */
static int open_child(struct volume *v, const struct index_snap *row, struct volume **out)
{
    char *path = snap_path(v, row->id, ""), *shared, *label;
    struct index_meta meta;
    struct volume *c;
    int r;

    if (asprintf(&shared, "%s/index.db", v->dir) < 0 || asprintf(&label, "%s@%s", v->label, row->name) < 0)
        abort();
    c = volume_alloc(v->e, v->dir, label, snap_volume_id(v->id, row->id));
    c->parent = volume_ref(v);
    c->user = v->user;
    r = fault_point("snap.open");
    if (r == 0)
        r = index_open_snapshot(path, shared, label, false, &c->ix);
    if (r == 0)
        r = index_get_meta(c->ix, &meta);
    if (r == 0) {
        c->dirfd = fcntl(v->dirfd, F_DUPFD_CLOEXEC, 0);
        r = c->dirfd < 0 ? -errno : 0;
    }
    free(shared);
    free(label);
    free(path);
    if (r < 0) {
        index_close(c->ix);
        volume_unref(c->parent);
        volume_unref(c);
        return r == -ENOENT ? -EUCLEAN : r;
    }
    vol_take_meta(c, &meta);
    c->ps = v->ps;
    c->props.readonly = true;
    c->props.quota_bytes = c->props.quota_files = 0;
    c->verifier = v->verifier;
    vol_space(c, true);
    *out = c;
    return 0;
}

void snap_shut(struct volume *c)
{
    struct volume *parent;
    bool again;

    if (!c)
        return;
    parent = c->parent;
    pthread_mutex_lock(&parent->lock);
    again = parent->comes_back;
    pthread_mutex_unlock(&parent->lock);
    pthread_mutex_lock(&c->lock);
    c->closing = true;
    c->comes_back = again;
    vol_wake(c);
    while (c->inside || c->work)
        vol_wait(c, 0);
    c->closed = true;
    vol_drop_memory(c);
    pthread_mutex_unlock(&c->lock);
    index_close(c->ix);
    close(c->dirfd);
    c->dirfd = -1;
    c->ps = NULL;
    c->ix = NULL;
    c->parent = NULL;
    volume_unref(parent);
    volume_unref(c);
}

/* With as many open as may be: one that nobody uses, taken out of the list. Lock held. */
static struct volume *too_many(struct volume *v)
{
    struct snap *oldest = NULL;
    struct volume *c = NULL;
    unsigned n = 0;

    list_for_each(it, &v->snaps) {
        struct snap *s = list_entry(it, struct snap, link);
        if (!s->open)
            continue;
        n++;
        if (atomic_load(&s->open->refs) == 1 && (!oldest || s->used_ms < oldest->used_ms))
            oldest = s;
    }
    if (n >= OPEN_MAX && oldest) {
        c = oldest->open;
        oldest->open = NULL;
    }
    return c;
}

int snap_open(struct volume *v, uint64_t id, bool may_block, struct volume **out)
{
    struct volume *c = NULL, *old;
    struct index_snap row;
    struct snap *s;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    while ((s = snap_find_id(v, id)) && s->row.state == SNAP_READY && s->opening && may_block)
        vol_wait(v, 0);
    if (v->parent || !s || s->row.state != SNAP_READY)
        r = -ESTALE;
    else if (!s->open && !may_block)
        r = -EAGAIN;
    if (r < 0)
        goto out;
    if (!s->open) {
        s->opening = true; /* so it is neither destroyed nor renamed */
        row = s->row;
        old = too_many(v);
        pthread_mutex_unlock(&v->lock);
        snap_shut(old);
        r = open_child(v, &row, &c);
        pthread_mutex_lock(&v->lock);
        s->opening = false;
        s->open = c;
        vol_wake(v);
        if (r < 0) {
            log_error("%s: cannot open snapshot %s: %s", v->label, row.name, strerrordesc_np(-r));
            goto out;
        }
    }
    s->used_ms = clock_mono_ms();
    *out = volume_ref(s->open);
out:
    vol_leave(v);
    return r;
}

/* One that is open, taken out of the list; NULL. Lock held. */
static struct volume *take_open(struct volume *v)
{
    list_for_each(it, &v->snaps) {
        struct snap *s = list_entry(it, struct snap, link);
        struct volume *c = s->open;
        if (c) {
            s->open = NULL;
            return c;
        }
    }
    return NULL;
}

void snap_close_all(struct volume *v)
{
    struct volume *c;

    pthread_mutex_lock(&v->lock); /* the apply thread still takes destroyed snapshots out of the list */
    while ((c = take_open(v))) {
        pthread_mutex_unlock(&v->lock);
        snap_shut(c);
        pthread_mutex_lock(&v->lock);
    }
    pthread_mutex_unlock(&v->lock);
}
