/* SPDX-License-Identifier: Apache-2.0
 * snap: making, destroying and renaming snapshots, and their ops (snap.h has the rules).
 */
#include "server/store/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/store/files.h"
#include "server/store/snap_int.h"

#define FREE_CHUNKS 2048u /* in one txg */

/* Of the thread in snap_create, and of the txg that makes the snapshot. */
struct snap_request {
    atomic_uint refs;
    struct index_copy *copy;
    uint64_t id;
    bool done; /* guarded by volume.lock */
    int err;   /* of the pin */
};

static void request_put(struct snap_request *req)
{
    if (!req || atomic_fetch_sub(&req->refs, 1) != 1)
        return;
    index_copy_free(req->copy);
    free(req);
}

void snap_release(struct volume *v)
{
    list_for_each_safe(it, &v->snaps) {
        snap_list_del(list_entry(it, struct snap, link));
    }
    request_put(v->snap_request);
    v->snap_request = NULL;
}

/* --- ops --- */

static struct rowop *snap_op(const struct index_snap *row)
{
    const uint64_t figures[3] = {row->files, row->logical, row->stored};
    struct rowop *op = rowop_new(OP_SNAP, row->id, row->name, strlen(row->name), figures, sizeof(figures));

    op->off = (uint64_t)row->created;
    op->len = row->state;
    return op;
}

void snap_put_row(struct volume *v, struct snap *s)
{
    txg_add(v, snap_op(&s->row));
    s->txg = v->open->n;
    v->snap_change++;
    v->snap_mtime = clock_wall();
}

static bool free_due(const struct volume *v, const struct snap *s)
{
    return s->row.state == SNAP_DESTROYING && !s->freeing && s->txg <= v->committed;
}

bool snap_due(const struct volume *v)
{
    list_for_each(it, &v->snaps) {
        if (free_due(v, list_entry(it, struct snap, link)))
            return true;
    }
    return false;
}

void snap_close_txg(struct volume *v, struct txg *t)
{
    struct snap_request *req = v->snap_request;

    list_for_each(it, &v->snaps) {
        struct snap *s = list_entry(it, struct snap, link);
        struct rowop *op;
        if (!free_due(v, s))
            continue;
        op = rowop_new(OP_SNAP_FREE, s->row.id, NULL, 0, NULL, 0);
        op->max = FREE_CHUNKS;
        s->freeing = true;
        txg_add(v, op);
        txg_want_committed(v, t->n); /* more may be left */
        break;
    }
    if (!req)
        return;
    v->snap_request = NULL;
    v->snap_seq = req->id;
    snap_put_row(v, snap_find_id(v, req->id));
    t->snap = req;
}

void snap_drop_request(struct txg *t)
{
    request_put(t->snap);
    t->snap = NULL;
}

void snap_pin(struct volume *v, struct txg *t)
{
    t->snap->err = fault_point("snap.pin");
    if (!t->snap->err)
        t->snap->err = index_copy_pin(t->snap->copy);
}

int snap_apply(struct index *ix, struct txg *t, struct rowop *op, struct index_delta *d)
{
    struct index_snap row = {.id = op->ino, .created = (int64_t)op->off, .state = (enum snap_state)op->len};
    uint64_t figures[3] = {0};
    int r;

    if (op->type == OP_SNAP) {
        if (op->nlen > STORE_SNAP_NAME_MAX || op->dlen != sizeof(figures) || op->len > SNAP_DESTROYING)
            return -EUCLEAN;
        memcpy(row.name, op->name, op->nlen);
        memcpy(figures, op->data + op->nlen + 1, sizeof(figures));
        row.files = figures[0];
        row.logical = figures[1];
        row.stored = figures[2];
        return index_put_snap(ix, &row);
    }
    r = fault_point("snap.free");
    if (r == 0)
        r = index_free_dead(ix, op->ino, op->max, d);
    op->reaped = r == 0;
    if (r == 0)
        r = index_del_snap(ix, op->ino);
    return r < 0 ? r : 0;
}

void snap_finish(struct volume *v, struct txg *t, struct rowop *op)
{
    struct snap *s = snap_find_id(v, op->ino);

    if (op->type == OP_SNAP && t->snap && t->snap->id == op->ino)
        t->snap->done = true;
    if (op->type != OP_SNAP_FREE || !s)
        return;
    s->freeing = false;
    if (op->reaped)
        snap_list_del(s);
}

/* --- making --- */

/* The folder, an empty database in it, and a connection that will copy to that. No lock held. */
static int prepare(struct volume *v, const char *tmp, struct index_copy **copy)
{
    char *dir = path_join(v->dir, "snapshots");
    int r = 0;

    if (mkdir(dir, 0700) < 0)
        r = errno == EEXIST ? 0 : -errno;
    else
        r = dir_sync(AT_FDCWD, v->dir);
    free(dir);
    return r < 0 ? r : index_copy_new(v->ix, tmp, copy);
}

int snap_room(const char *dir, uint64_t bytes, bool under_way)
{
    struct statvfs st;
    uint64_t keep;

    if (statvfs(dir, &st) < 0)
        return -errno;
    keep = vol_reserve((uint64_t)st.f_blocks * st.f_frsize) / (under_way ? 4 : 2);
    return (uint64_t)st.f_bavail * st.f_frsize < keep + bytes ? -ENOSPC : 0;
}

static bool closing(struct volume *v)
{
    bool yes;

    pthread_mutex_lock(&v->lock);
    yes = v->closing || v->failed;
    pthread_mutex_unlock(&v->lock);
    return yes;
}

static bool stop_copying(void *arg)
{
    struct volume *v = arg;

    return closing(v) || snap_room(v->dir, 0, true) == -ENOSPC;
}

/* Copies what was fixed, and gives the result its name. No lock held. */
static int copy_tree(struct volume *v, struct index_copy *copy, const char *tmp, const char *path)
{
    char *dir = path_join(v->dir, "snapshots");
    int r = index_copy_run(copy, stop_copying, v);

    if (r == -ECANCELED && !closing(v))
        r = -ENOSPC;
    if (r == 0)
        r = fault_point("snap.rename");
    if (r == 0 && rename(tmp, path) < 0)
        r = -errno;
    if (r == 0)
        r = dir_sync(AT_FDCWD, dir);
    free(dir);
    return r;
}

/* Lets the next txg take the snapshot and waits for it to be in the index. Lock held. */
static int take(struct volume *v, struct snap_request *req)
{
    atomic_fetch_add(&req->refs, 1);
    v->snap_request = req;
    txg_touch(v);
    txg_want_committed(v, v->open->n);
    while (!req->done && !v->failed)
        vol_wait(v, 0);
    return req->done ? req->err : -EIO;
}

/* Lock held, dropped meanwhile. */
static int make(struct volume *v, struct index_snap *row)
{
    struct snap_request *req = vol_alloc(sizeof(*req));
    char *path, *tmp;
    struct snap *s = NULL;
    uint64_t bytes;
    int r;

    row->id = req->id = v->snap_seq + 1;
    path = snap_path(v, row->id, "");
    tmp = snap_path(v, row->id, ".tmp");
    atomic_store(&req->refs, 1);
    pthread_mutex_unlock(&v->lock);
    r = index_used_bytes(v->ix, false, &bytes); /* some more than what it will be: chunks are in it, too */
    if (r == 0)
        r = snap_room(v->dir, bytes, false);
    if (r == 0)
        r = prepare(v, tmp, &req->copy);
    pthread_mutex_lock(&v->lock);
    if (r == 0)
        r = vol_flush(v); /* N1 */
    if (r == 0)
        r = v->failed ? -EROFS : fault_point("snap.flush");
    if (r < 0)
        goto out;
    row->files = v->files;
    row->logical = (uint64_t)((int64_t)v->logical + v->extra);
    row->stored = v->stored;
    s = snap_list_add(v, row);
    r = take(v, req);
    if (!req->done) /* the volume failed; the list stays, nobody sees it */
        goto out;
    pthread_mutex_unlock(&v->lock);
    if (r == 0)
        r = copy_tree(v, req->copy, tmp, path);
    if (r == 0)
        r = fault_point("snap.ready");
    pthread_mutex_lock(&v->lock);
    if (r < 0) {
        s->row.state = SNAP_DESTROYING;
        s->row.name[0] = 0;
        snap_put_row(v, s);
        unlink(path);
        goto out;
    }
    s->row.state = SNAP_READY;
    snap_put_row(v, s);
    r = vol_settle(v);
out:
    if (r < 0)
        unlink(tmp);
    request_put(req);
    free(path);
    free(tmp);
    return r;
}

int snap_create(struct volume *v, const char *name, uint64_t *id)
{
    struct index_snap row = {.created = clock_wall().tv_sec, .state = SNAP_CREATING};
    int r = snap_check_name(name, strlen(name));

    if (r == 0)
        r = vol_enter(v);
    if (r < 0)
        return r;
    memcpy(row.name, name, strlen(name));
    while (v->snap_making && !v->closing)
        vol_wait(v, 0);
    if (v->closing)
        r = -ESTALE;
    else if (v->parent || v->failed)
        r = -EROFS;
    else if (snap_find_any(v, name, strlen(name)))
        r = -EEXIST;
    else if (v->snap_seq >= SNAP_ID_MAX)
        r = -ENOSPC;
    if (r == 0) {
        v->snap_making = true;
        r = make(v, &row);
        v->snap_making = false;
        vol_wake(v);
    }
    if (r < 0)
        log_warn("%s: cannot make snapshot %s: %s", v->label, name, strerrordesc_np(-r));
    vol_leave(v);
    if (r == 0 && id)
        *id = row.id;
    return r;
}

/* --- destroying, renaming --- */

/* The ready snapshot of that name, that nobody is opening. Lock held. */
static int get_ready(struct volume *v, const char *name, struct snap **out)
{
    for (;;) {
        *out = snap_find_any(v, name, strlen(name));
        if (v->closing)
            return -ESTALE;
        if (v->parent || v->failed)
            return -EROFS;
        if (!*out)
            return -ENOENT;
        if ((*out)->row.state != SNAP_READY || (*out)->cloning)
            return -EBUSY;
        if (!(*out)->opening)
            return 0;
        vol_wait(v, 0);
    }
}

int snap_destroy(struct volume *v, const char *name)
{
    struct volume *open;
    struct snap *s;
    char *path;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    r = get_ready(v, name, &s);
    if (r < 0) {
        vol_leave(v);
        return r;
    }
    path = snap_path(v, s->row.id, "");
    open = s->open;
    s->open = NULL;
    s->row.state = SNAP_DESTROYING;
    s->row.name[0] = 0;
    s->freeing = true; /* not before its readers are gone */
    pthread_mutex_unlock(&v->lock);
    snap_shut(open);
    pthread_mutex_lock(&v->lock);
    snap_put_row(v, s);
    s->freeing = false;
    r = vol_settle(v);
    vol_leave(v);
    if (r == 0 && fault_point("snap.unlink") == 0) {
        struct release rest;
        int err = release_unlink(AT_FDCWD, path, &rest);
        if (err && err != -ENOENT)
            log_warn("cannot remove %s: %s", path, strerrordesc_np(-err));
        release_all(&rest);
    }
    free(path);
    return r;
}

int snap_rename(struct volume *v, const char *name, const char *to)
{
    struct snap *s;
    int r = snap_check_name(to, strlen(to));

    if (r == 0)
        r = vol_enter(v);
    if (r < 0)
        return r;
    r = get_ready(v, name, &s);
    if (r == 0 && snap_find_any(v, to, strlen(to)))
        r = -EEXIST;
    if (r == 0) {
        memset(s->row.name, 0, sizeof(s->row.name));
        memcpy(s->row.name, to, strlen(to));
        snap_put_row(v, s);
        r = vol_settle(v);
    }
    vol_leave(v);
    return r;
}
