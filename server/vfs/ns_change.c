/* SPDX-License-Identifier: Apache-2.0
 * ns_change: users and volumes are made, renamed and removed (see namespace.h).
 *
 * A volume's life on disk, so that a crash at any point leaves either a whole volume or a folder
 * without a row (trash.h):
 *   create:  reserve an id; make the folder; add the row.
 *   destroy: delete the row; stop the volume; move the folder aside; remove it in the background (keeper.h).
 *   remove an empty one (RMDIR): with `roots` held exclusively see that it is empty and close it, so
 *   that no acknowledged file can appear in between; then as destroy. If the row cannot be deleted the
 *   volume is simply opened again by the next user.
 */
#include "server/vfs/namespace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/vfs/keeper.h"
#include "server/vfs/perm.h"
#include "server/vfs/trash.h"

/* Grants of the start options are on names. */
static int resolve(void *arg, const char *object, struct grant_row *row)
{
    return vfs_grant_object(arg, object, row);
}

static void names_changed(struct vfs *v)
{
    if (v->grants && grants_resolve(v->grants, resolve, v))
        log_warn("out of memory: a grant of the start options may not hold for a new name");
}

int vfs_set_grants(struct vfs *v, struct grants *g)
{
    v->grants = g;
    return g ? grants_resolve(g, resolve, v) : 0;
}

/* --- users --- */

int ns_user_add(struct vfs *v, const char *name, size_t len, uint64_t *id, struct dir_change *dc)
{
    int err = statedb_check_user_name(name, len);
    struct user_row row;
    char text[USER_NAME_MAX + 1] = "";
    struct nuser *u;
    if (err)
        return err;
    memcpy(text, name, len);
    if (!strcmp(text, VFS_TOKENS_NAME))
        return -EPERM;
    pthread_mutex_lock(&v->admin);
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_by_name_locked(v, name, len);
    if (u) {
        *id = u->id;
        ns_dir_same(&v->root, dc);
        err = -EEXIST;
    }
    pthread_rwlock_unlock(&v->lock);
    if (err)
        goto out;
    if ((err = statedb_add_user(v->db, text, &row)))
        goto out;
    pthread_rwlock_wrlock(&v->lock);
    u = ns_user_insert(v, &row);
    if (u) {
        *id = u->id;
        ns_dir_changed(v, &v->root, dc);
        u->dir.change = v->change;
    }
    pthread_rwlock_unlock(&v->lock);
    if (!u) {
        (void)statedb_del_user(v->db, row.id);
        err = -ENOMEM;
        goto out;
    }
    log_info("user %s created", text);
out:
    pthread_mutex_unlock(&v->admin);
    if (!err)
        names_changed(v);
    return err;
}

int ns_user_del(struct vfs *v, const char *name, size_t len, struct dir_change *dc)
{
    int err = 0;
    uint64_t id = 0;
    struct nuser *u;
    pthread_mutex_lock(&v->admin);
    /* Users and the lists of volumes change under admin only, so u stays what it is. */
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_by_name_locked(v, name, len);
    pthread_rwlock_unlock(&v->lock);
    if (!u)
        err = -ENOENT;
    else if (u->nvols)
        err = -ENOTEMPTY;
    if (err || (err = statedb_del_user(v->db, u->id)))
        goto out;
    pthread_rwlock_wrlock(&v->lock);
    htab_del(&v->users_by_id, &u->by_id);
    htab_del(&v->users_by_name, &u->by_name);
    list_del(&u->link);
    v->nusers--;
    ns_dir_changed(v, &v->root, dc);
    pthread_rwlock_unlock(&v->lock);
    log_info("user %s removed", u->name);
    id = u->id;
    free(u);
out:
    pthread_mutex_unlock(&v->admin);
    if (!err && v->grants)
        grants_object_gone(v->grants, id, 0);
    return err;
}

/* --- volumes --- */

/* May user get a volume of that name? `admin` is held. -ESTALE: there is no such user; -EEXIST: *there is the one with
 * that name, with a reference. */
static int may_add(struct vfs *v, uint64_t user, const char *name, size_t len, struct nvol **there,
                   struct dir_change *dc)
{
    struct nuser *u;
    struct nvol *n;
    int err = 0;
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_locked(v, user);
    if (!u) {
        err = -ESTALE;
    } else if ((n = ns_vol_by_name_locked(v, user, name, len))) {
        *there = ns_vol_ref(n);
        ns_dir_same(&u->dir, dc);
        err = -EEXIST;
    }
    pthread_rwlock_unlock(&v->lock);
    return err;
}

/* A new volume's id and its folder, which make() makes: without a lock, since it may take long. *id is not 0 as soon as
 * something may be there. */
static int make_folder(struct vfs *v, int (*make)(const void *arg, const char *path), const void *arg, uint64_t *id)
{
    int err;
    do {
        /* A folder that is there already belongs to a state.db that is lost (trash.c): step over it. */
        char *path;
        *id = 0;
        if ((err = statedb_next_volume_id(v->db, id)))
            return err;
        path = trash_volume_path(v->store, *id);
        err = path ? make(arg, path) : -ENOMEM;
        free(path);
    } while (err == -EEXIST);
    return err;
}

/* Enters a new volume, whose folder make() makes. */
static int add_volume(struct vfs *v, uint64_t user, const char *name, size_t len,
                      int (*make)(const void *arg, const char *path), const void *arg, struct nvol **out,
                      struct dir_change *dc)
{
    int err = statedb_check_volume_name(name, len);
    struct volume_row row = {.user = user};
    struct nuser *u;
    struct nvol *n = NULL;
    *out = NULL;
    if (err)
        return err;
    memcpy(row.name, name, len);
    pthread_mutex_lock(&v->admin);
    err = may_add(v, user, name, len, out, dc);
    pthread_mutex_unlock(&v->admin);
    if (err)
        return err;
    row.created = clock_wall().tv_sec;
    err = make_folder(v, make, arg, &row.id);
    pthread_mutex_lock(&v->admin);
    if (!err) /* once more: somebody may have been faster */
        err = may_add(v, user, name, len, out, dc);
    if (err || (err = fault_point("namespace.row")))
        goto out;
    n = ns_vol_new(&row);
    if (!n) {
        err = -ENOMEM;
        goto out;
    }
    if ((err = statedb_add_volume(v->db, &row)))
        goto out;
    *out = ns_vol_ref(n);
    pthread_rwlock_wrlock(&v->lock);
    u = ns_user_locked(v, user);
    ns_vol_insert(v, u, n);
    ns_dir_changed(v, &u->dir, dc);
    pthread_rwlock_unlock(&v->lock);
    log_info("volume %s/%s created", u->name, n->name);
    n = NULL;
out:
    pthread_mutex_unlock(&v->admin);
    if (err && row.id && !trash_put_aside(v->store, row.id))
        keeper_remove(v, row.id);
    if (!err)
        names_changed(v);
    ns_vol_put(n);
    return err;
}

struct fresh {
    const struct volume_props *props;
    const struct vset *root;
};

static int make_fresh(const void *arg, const char *path)
{
    const struct fresh *f = arg;
    return volume_create(path, f->props, f->root);
}

int ns_vol_create(struct vfs *v, uint64_t user, const char *name, size_t len,
                  const struct volume_props *props, const struct vset *root, struct nvol **out,
                  struct dir_change *dc)
{
    const struct fresh f = {props, root};
    return add_volume(v, user, name, len, make_fresh, &f, out, dc);
}

struct cloning {
    struct volume *vol;
    const char *snap;
};

static int make_clone(const void *arg, const char *path)
{
    const struct cloning *c = arg;
    return snap_clone(c->vol, c->snap, path);
}

int ns_vol_clone(struct vfs *v, struct nvol *src, const char *snap, uint64_t user, const char *name, size_t len,
                 struct nvol **out)
{
    struct cloning c = {.snap = snap};
    int err = ns_vol_open(v, src, true, &c.vol);
    *out = NULL;
    if (err)
        return err == -ESTALE ? -ENOENT : err;
    err = add_volume(v, user, name, len, make_clone, &c, out, NULL);
    volume_unref(c.vol);
    return err;
}

/* Sees that the snapshot may be gone back to, or makes it so. */
static int prepare_rollback(struct volume *vol, const char *snap, unsigned flags)
{
    struct snap_info s, younger;
    int r, err = snap_find(vol, snap, strlen(snap), &s);
    while (!err && !(flags & VFS_ROLLBACK_KEEP) && (r = snap_list(vol, s.id, &younger, 1)) != 0) {
        if (r < 0)
            return r;
        err = flags & VFS_ROLLBACK_DESTROY ? snap_destroy(vol, younger.name) : -EEXIST;
    }
    return err;
}

int ns_vol_rollback(struct vfs *v, struct nvol *n, const char *snap, unsigned flags)
{
    char label[USER_NAME_MAX + VOLUME_NAME_MAX + 2];
    char *path = trash_volume_path(v->store, n->id);
    struct volume *vol;
    int err = path ? 0 : -ENOMEM;
    /* Whoever wants the volume meanwhile waits for life, or comes again (volume_comes_back). */
    pthread_mutex_lock(&n->life);
    if (!err && n->dead)
        err = -ENOENT;
    if (!err && !n->vol)
        err = ns_vol_open_cold(v, n);
    if (!err)
        err = volume_bar_clones(n->vol); /* closing it would wait, and all who want it for that */
    if (err)
        goto out;
    err = prepare_rollback(n->vol, snap, flags);
    if (err) {
        volume_let_clone(n->vol);
        goto out;
    }
    pthread_rwlock_wrlock(&v->lock);
    snprintf(label, sizeof(label), "%s/%s", n->owner ? n->owner->name : "?", n->name);
    vol = ns_vol_take_locked(v, n);
    pthread_rwlock_unlock(&v->lock);
    volume_comes_back(vol);
    err = volume_close(vol);
    if (!err)
        err = snap_rollback(path, label, snap, statedb_epoch(v->db));
out:
    pthread_mutex_unlock(&n->life);
    free(path);
    return err;
}

/* Sees that a volume is empty, and shuts it so that it stays so: *out, taken out of n, is to be ended. n->life is held. */
static int shut_if_empty(struct vfs *v, struct nvol *n, const struct vcred *c, struct volume **out)
{
    int err = 0;
    bool empty = false;
    struct vattr a;
    struct store_call call;
    store_call_init(&call, true);
    if (!n->vol && (err = ns_vol_open_cold(v, n)))
        goto out;
    if ((err = volume_getattr(n->vol, &call, STORE_ROOT_INO, 0, &a)))
        goto out;
    if (!perm_is_owner(&a, c)) {
        err = -EPERM;
        goto out;
    }
    pthread_rwlock_wrlock(&v->roots);
    err = volume_is_empty(n->vol, &call, &empty);
    if (!err && !empty)
        err = -ENOTEMPTY;
    if (!err) {
        volume_shut(n->vol);
        pthread_rwlock_wrlock(&v->lock);
        *out = ns_vol_take_locked(v, n);
        pthread_rwlock_unlock(&v->lock);
    }
    pthread_rwlock_unlock(&v->roots);
out:
    store_call_release(&call);
    return err;
}

int ns_vol_destroy(struct vfs *v, struct nvol *n, bool only_empty, const struct vcred *c,
                   struct dir_change *dc)
{
    int err = 0;
    struct volume *vol = NULL;
    char label[USER_NAME_MAX + VOLUME_NAME_MAX + 2];
    pthread_mutex_lock(&v->admin);
    pthread_mutex_lock(&n->life);
    if (n->dead)
        err = -ENOENT;
    else if (only_empty)
        err = shut_if_empty(v, n, c, &vol);
    if (err)
        goto out;
    if ((err = statedb_del_volume(v->db, n->id))) {
        if (vol) { /* not closed: that may take as long as a clone of it */
            volume_unshut(vol);
            pthread_rwlock_wrlock(&v->lock);
            ns_vol_put_in_locked(v, n, vol);
            pthread_rwlock_unlock(&v->lock);
        }
        goto out;
    }
    pthread_rwlock_wrlock(&v->lock);
    snprintf(label, sizeof(label), "%s/%s", n->owner->name, n->name);
    htab_del(&v->vols_by_id, &n->by_id);
    htab_del(&v->vols_by_name, &n->by_name);
    list_del(&n->link);
    n->owner->nvols--;
    ns_dir_changed(v, &n->owner->dir, dc);
    n->owner = NULL;
    n->dead = true;
    if (!vol)
        vol = ns_vol_take_locked(v, n);
    pthread_rwlock_unlock(&v->lock);
out:
    pthread_mutex_unlock(&n->life);
    pthread_mutex_unlock(&v->admin);
    if (err)
        return err;
    if (v->grants)
        grants_object_gone(v->grants, 0, n->id);
    log_info("volume %s destroyed", label);
    keeper_end(v, n->id, vol); /* it is gone for everybody */
    ns_vol_put(n); /* the table's */
    return 0;
}

int ns_vol_rename(struct vfs *v, struct nvol *n, const char *name, size_t len, struct dir_change *dc)
{
    int err = statedb_check_volume_name(name, len);
    char text[VOLUME_NAME_MAX + 1] = "";
    if (err)
        return err;
    memcpy(text, name, len);
    pthread_mutex_lock(&v->admin);
    if (n->dead) { /* changes under admin only */
        err = -ENOENT;
    } else if (ns_name_is(n->name, name, len)) {
        ns_dir_same(&n->owner->dir, dc);
        goto out;
    } else if (ns_vol_by_name_locked(v, n->user, name, len)) { /* admin keeps the tables still */
        err = -EEXIST;
    }
    if (err || (err = statedb_rename_volume(v->db, n->id, text)))
        goto out;
    pthread_rwlock_wrlock(&v->lock);
    htab_del(&v->vols_by_name, &n->by_name);
    memcpy(n->name, text, sizeof(n->name));
    htab_add(&v->vols_by_name, &n->by_name, htab_hash_bytes(name, len, n->user));
    ns_dir_changed(v, &n->owner->dir, dc);
    pthread_rwlock_unlock(&v->lock);
out:
    pthread_mutex_unlock(&v->admin);
    if (!err)
        names_changed(v);
    return err;
}
