/* SPDX-License-Identifier: Apache-2.0
 * namespace: users and volumes in memory, read from state.db at start (see namespace.h).
 *
 * A volume's life on disk, so that a crash at any point leaves either a whole volume or a folder
 * without a row (trash.h):
 *   create:  reserve an id; make the folder; add the row.
 *   destroy: delete the row; stop the volume; remove the folder.
 *   remove an empty one (RMDIR): with `roots` held exclusively see that it is empty and close it, so
 *   that no acknowledged file can appear in between; then as destroy. If the row cannot be deleted the
 *   volume is simply opened again by the next user.
 */
#include "server/vfs/namespace.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/vfs/perm.h"
#include "server/vfs/trash.h"

/* --- tables --- */

struct nuser *ns_user_locked(struct vfs *v, uint64_t id)
{
    uint64_t hash = htab_hash_u64(id);
    for (struct hnode *h = htab_first(&v->users_by_id, hash); h; h = htab_next(h, hash)) {
        struct nuser *u = container_of(h, struct nuser, by_id);
        if (u->id == id)
            return u;
    }
    return NULL;
}

static bool name_is(const char *have, const char *name, size_t len)
{
    return strlen(have) == len && !memcmp(have, name, len);
}

struct nuser *ns_user_by_name_locked(struct vfs *v, const char *name, size_t len)
{
    uint64_t hash = htab_hash_bytes(name, len, 0);
    for (struct hnode *h = htab_first(&v->users_by_name, hash); h; h = htab_next(h, hash)) {
        struct nuser *u = container_of(h, struct nuser, by_name);
        if (name_is(u->name, name, len))
            return u;
    }
    return NULL;
}

static struct nvol *vol_locked(struct vfs *v, uint64_t id)
{
    uint64_t hash = htab_hash_u64(id);
    for (struct hnode *h = htab_first(&v->vols_by_id, hash); h; h = htab_next(h, hash)) {
        struct nvol *n = container_of(h, struct nvol, by_id);
        if (n->id == id)
            return n;
    }
    return NULL;
}

struct nvol *ns_vol_by_name_locked(struct vfs *v, uint64_t user, const char *name, size_t len)
{
    uint64_t hash = htab_hash_bytes(name, len, user);
    for (struct hnode *h = htab_first(&v->vols_by_name, hash); h; h = htab_next(h, hash)) {
        struct nvol *n = container_of(h, struct nvol, by_name);
        if (n->user == user && name_is(n->name, name, len))
            return n;
    }
    return NULL;
}

struct nvol *ns_vol_ref(struct nvol *n)
{
    __atomic_add_fetch(&n->refs, 1, __ATOMIC_RELAXED);
    return n;
}

void ns_vol_put(struct nvol *n)
{
    if (!n || __atomic_sub_fetch(&n->refs, 1, __ATOMIC_ACQ_REL))
        return;
    pthread_mutex_destroy(&n->life);
    free(n);
}

int ns_vol_get(struct vfs *v, uint64_t id, struct nvol **out)
{
    struct nvol *n;
    pthread_rwlock_rdlock(&v->lock);
    n = vol_locked(v, id);
    if (n)
        ns_vol_ref(n);
    pthread_rwlock_unlock(&v->lock);
    *out = n;
    return n ? 0 : -ESTALE;
}

int ns_vol_get_name(struct vfs *v, uint64_t user, const char *name, size_t len, struct nvol **out)
{
    struct nvol *n;
    pthread_rwlock_rdlock(&v->lock);
    n = ns_vol_by_name_locked(v, user, name, len);
    if (n)
        ns_vol_ref(n);
    pthread_rwlock_unlock(&v->lock);
    *out = n;
    return n ? 0 : -ENOENT;
}

/* Notes a change of a pseudo directory. */
static void dir_changed(struct vfs *v, struct pseudo_dir *d, struct dir_change *dc)
{
    uint64_t before = d->change;
    d->change = ++v->change;
    d->mtime = clock_wall();
    if (dc)
        *dc = (struct dir_change){.before = before, .after = d->change};
}

static void dir_same(const struct pseudo_dir *d, struct dir_change *dc)
{
    if (dc)
        *dc = (struct dir_change){.before = d->change, .after = d->change};
}

/* Puts n into the list at head in the order of ids; new ones are nearly always last. */
#define INSERT_BY_ID(head, n, type)                                                                \
    do {                                                                                           \
        struct list *at = (head)->prev;                                                            \
        while (at != (head) && list_entry(at, type, link)->id > (n)->id)                           \
            at = at->prev;                                                                         \
        list_insert_between(&(n)->link, at, at->next);                                             \
    } while (0)

static struct nuser *insert_user(struct vfs *v, const struct user_row *row)
{
    struct nuser *u = calloc(1, sizeof(*u));
    if (!u)
        return NULL;
    u->id = row->id;
    memcpy(u->name, row->name, sizeof(u->name));
    list_init(&u->vols);
    u->dir.change = v->change;
    u->dir.mtime = clock_wall();
    u->dir.btime.tv_sec = row->created;
    htab_add(&v->users_by_id, &u->by_id, htab_hash_u64(u->id));
    htab_add(&v->users_by_name, &u->by_name, htab_hash_bytes(u->name, strlen(u->name), 0));
    INSERT_BY_ID(&v->users, u, struct nuser);
    v->nusers++;
    return u;
}

static struct nvol *new_vol(const struct volume_row *row)
{
    struct nvol *n = calloc(1, sizeof(*n));
    if (!n)
        return NULL;
    if (pthread_mutex_init(&n->life, NULL)) {
        free(n);
        return NULL;
    }
    n->refs = 1;
    n->id = row->id;
    n->user = row->user;
    n->created = row->created;
    memcpy(n->name, row->name, sizeof(n->name));
    list_init(&n->link);
    return n;
}

static void insert_vol(struct vfs *v, struct nuser *u, struct nvol *n)
{
    n->owner = u;
    htab_add(&v->vols_by_id, &n->by_id, htab_hash_u64(n->id));
    htab_add(&v->vols_by_name, &n->by_name, htab_hash_bytes(n->name, strlen(n->name), n->user));
    INSERT_BY_ID(&u->vols, n, struct nvol);
    u->nvols++;
}

/* --- start and end --- */

static int load_user(void *arg, const struct user_row *row)
{
    return insert_user(arg, row) ? 0 : -ENOMEM;
}

static int load_volume(void *arg, const struct volume_row *row)
{
    struct vfs *v = arg;
    struct nuser *u = ns_user_locked(v, row->user);
    struct nvol *n = new_vol(row);
    if (!n)
        return -ENOMEM;
    if (!u) {
        log_error("state.db names a volume %s of a user %llu that does not exist", row->name,
                  (unsigned long long)row->user);
        ns_vol_put(n);
        return -EUCLEAN;
    }
    insert_vol(v, u, n);
    return 0;
}

static bool vol_known(void *arg, uint64_t id)
{
    return vol_locked(arg, id) != NULL;
}

static int make_volumes_dir(const char *store)
{
    char *path = NULL;
    int err = 0;
    if (asprintf(&path, "%s/volumes", store) < 0)
        return -ENOMEM;
    if (mkdir(path, 0700) && errno != EEXIST) {
        err = -errno;
        log_error("cannot make %s: %s", path, strerror(errno));
    }
    free(path);
    return err;
}

int vfs_new(const char *store, struct statedb *db, struct engine *engine, struct vfs **out)
{
    int err = 0;
    struct vfs *v = calloc(1, sizeof(*v));
    if (!v)
        return -ENOMEM;
    list_init(&v->users);
    pthread_mutex_init(&v->admin, NULL);
    pthread_rwlock_init(&v->roots, NULL);
    pthread_rwlock_init(&v->lock, NULL);
    v->db = db;
    v->engine = engine;
    /* Above everything an earlier run gave out, however many changes it made. */
    v->change = statedb_epoch(db) << 40;
    v->root.change = v->change;
    v->root.mtime = v->root.btime = clock_wall();
    v->store = strdup(store);
    if (!v->store) {
        err = -ENOMEM;
        goto out;
    }
    if ((err = htab_init(&v->users_by_id, 64)) || (err = htab_init(&v->users_by_name, 64)) ||
        (err = htab_init(&v->vols_by_id, 64)) || (err = htab_init(&v->vols_by_name, 64)))
        goto out;
    if ((err = make_volumes_dir(store)))
        goto out;
    if ((err = statedb_list_users(db, load_user, v)) ||
        (err = statedb_list_volumes(db, load_volume, v)))
        goto out;
    if ((err = trash_clean(store, db, vol_known, v)))
        goto out;
    *out = v;
    v = NULL;
out:
    if (v)
        vfs_free(v);
    return err;
}

static int close_vol(struct nvol *n)
{
    int err = 0;
    pthread_mutex_lock(&n->life);
    if (n->vol)
        err = volume_close(n->vol);
    if (err)
        log_error("volume %s/%s: the last changes could not be written: %s",
                  n->owner ? n->owner->name : "?", n->name, strerror(-err));
    n->vol = NULL;
    n->dead = true;
    pthread_mutex_unlock(&n->life);
    return err;
}

int vfs_free(struct vfs *v)
{
    int err = 0;
    if (!v)
        return 0;
    list_for_each_safe(it, &v->users) {
        struct nuser *u = list_entry(it, struct nuser, link);
        list_for_each_safe(jt, &u->vols) {
            struct nvol *n = list_entry(jt, struct nvol, link);
            int r = close_vol(n);
            if (r && !err)
                err = r;
            list_del(&n->link);
            ns_vol_put(n);
        }
        free(u);
    }
    htab_release(&v->users_by_id);
    htab_release(&v->users_by_name);
    htab_release(&v->vols_by_id);
    htab_release(&v->vols_by_name);
    pthread_rwlock_destroy(&v->lock);
    pthread_rwlock_destroy(&v->roots);
    pthread_mutex_destroy(&v->admin);
    free(v->store);
    free(v);
    return err;
}

/* --- opening --- */

/* An open volume's reference, or NULL; *dead tells why. */
static struct volume *open_now(struct vfs *v, struct nvol *n, bool *dead)
{
    struct volume *vol = NULL;
    pthread_rwlock_rdlock(&v->lock);
    *dead = n->dead;
    if (!n->dead && n->vol)
        vol = volume_ref(n->vol);
    pthread_rwlock_unlock(&v->lock);
    return vol;
}

/* Opens n from disk; n->life is held, n is neither open nor dead. */
static int open_cold(struct vfs *v, struct nvol *n)
{
    int err;
    struct volume *vol = NULL;
    char label[USER_NAME_MAX + VOLUME_NAME_MAX + 2];
    char *path = trash_volume_path(v->store, n->id);
    if (!path)
        return -ENOMEM;
    pthread_rwlock_rdlock(&v->lock);
    snprintf(label, sizeof(label), "%s/%s", n->owner->name, n->name);
    pthread_rwlock_unlock(&v->lock);
    err = volume_open(v->engine, path, label, n->id, &vol);
    if (!err)
        volume_set_user(vol, n->user);
    if (err) {
        log_error("cannot open volume %s: %s", label, strerror(-err));
        /* The names are there; it is the disk's part that is not. */
        if (err == -ENOENT || err == -ENOTDIR)
            err = -EUCLEAN;
        goto out;
    }
    pthread_rwlock_wrlock(&v->lock);
    n->vol = vol;
    bool purge = v->purge;
    pthread_rwlock_unlock(&v->lock);
    if (purge)
        (void)volume_purge_orphans(vol); /* it logs; orphans only cost space */
out:
    free(path);
    return err;
}

int ns_vol_open(struct vfs *v, struct nvol *n, bool may_block, struct volume **out)
{
    int err = 0;
    bool dead;
    *out = open_now(v, n, &dead);
    if (*out)
        return 0;
    if (dead)
        return -ESTALE;
    if (!may_block)
        return -EAGAIN;
    pthread_mutex_lock(&n->life);
    *out = open_now(v, n, &dead);
    if (dead)
        err = -ESTALE;
    else if (!*out && !(err = open_cold(v, n)))
        *out = volume_ref(n->vol); /* n->vol changes only under n->life */
    pthread_mutex_unlock(&n->life);
    return err;
}

int ns_root_enter(struct vfs *v, const struct store_call *call)
{
    if (!pthread_rwlock_tryrdlock(&v->roots))
        return 0;
    if (!call->may_block)
        return -EAGAIN;
    pthread_rwlock_rdlock(&v->roots);
    return 0;
}

void ns_root_leave(struct vfs *v)
{
    pthread_rwlock_unlock(&v->roots);
}

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
        dir_same(&v->root, dc);
        err = -EEXIST;
    }
    pthread_rwlock_unlock(&v->lock);
    if (err)
        goto out;
    if ((err = statedb_add_user(v->db, text, &row)))
        goto out;
    pthread_rwlock_wrlock(&v->lock);
    u = insert_user(v, &row);
    if (u) {
        *id = u->id;
        dir_changed(v, &v->root, dc);
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
    dir_changed(v, &v->root, dc);
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

/* Enters a new volume, whose folder make() makes. */
static int add_volume(struct vfs *v, uint64_t user, const char *name, size_t len,
                      int (*make)(const void *arg, const char *path), const void *arg, struct nvol **out,
                      struct dir_change *dc)
{
    int err = statedb_check_volume_name(name, len);
    struct volume_row row = {.user = user};
    struct nuser *u;
    struct nvol *n = NULL;
    char *path = NULL;
    bool made = false;
    *out = NULL;
    if (err)
        return err;
    memcpy(row.name, name, len);
    pthread_mutex_lock(&v->admin);
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_locked(v, user);
    if (!u) {
        err = -ESTALE;
    } else if ((n = ns_vol_by_name_locked(v, user, name, len))) {
        *out = ns_vol_ref(n);
        n = NULL;
        dir_same(&u->dir, dc);
        err = -EEXIST;
    }
    pthread_rwlock_unlock(&v->lock);
    if (err)
        goto out;

    row.created = clock_wall().tv_sec;
    do {
        /* A folder that is there already belongs to a state.db that is lost (trash.c): step over it. */
        free(path);
        path = NULL;
        if ((err = statedb_next_volume_id(v->db, &row.id)))
            goto out;
        path = trash_volume_path(v->store, row.id);
        if (!path) {
            err = -ENOMEM;
            goto out;
        }
        err = make(arg, path);
    } while (err == -EEXIST);
    made = true; /* maybe in part */
    if (err || (err = fault_point("namespace.row")))
        goto out;
    n = new_vol(&row);
    if (!n) {
        err = -ENOMEM;
        goto out;
    }
    if ((err = statedb_add_volume(v->db, &row)))
        goto out;
    made = false;
    *out = ns_vol_ref(n);
    pthread_rwlock_wrlock(&v->lock);
    insert_vol(v, u, n);
    dir_changed(v, &u->dir, dc);
    pthread_rwlock_unlock(&v->lock);
    log_info("volume %s/%s created", u->name, n->name);
    n = NULL;
out:
    pthread_mutex_unlock(&v->admin);
    if (made)
        (void)trash_remove_volume(v->store, row.id);
    if (!err)
        names_changed(v);
    ns_vol_put(n);
    free(path);
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
        err = open_cold(v, n);
    if (!err)
        err = prepare_rollback(n->vol, snap, flags);
    if (err)
        goto out;
    pthread_rwlock_wrlock(&v->lock);
    snprintf(label, sizeof(label), "%s/%s", n->owner ? n->owner->name : "?", n->name);
    vol = n->vol;
    n->vol = NULL;
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

/* Sees that a volume is empty, and shuts it so that it stays so. n->life is held. */
static int shut_if_empty(struct vfs *v, struct nvol *n, const struct vcred *c)
{
    int err = 0;
    bool empty = false;
    struct vattr a;
    struct store_call call;
    store_call_init(&call, true);
    if (!n->vol && (err = open_cold(v, n)))
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
        struct volume *vol = n->vol;
        pthread_rwlock_wrlock(&v->lock);
        n->vol = NULL;
        pthread_rwlock_unlock(&v->lock);
        (void)volume_close(vol); /* empty: nothing can be lost */
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
        err = shut_if_empty(v, n, c);
    if (err || (err = statedb_del_volume(v->db, n->id)))
        goto out;
    pthread_rwlock_wrlock(&v->lock);
    snprintf(label, sizeof(label), "%s/%s", n->owner->name, n->name);
    htab_del(&v->vols_by_id, &n->by_id);
    htab_del(&v->vols_by_name, &n->by_name);
    list_del(&n->link);
    n->owner->nvols--;
    dir_changed(v, &n->owner->dir, dc);
    n->owner = NULL;
    n->dead = true;
    vol = n->vol;
    n->vol = NULL;
    pthread_rwlock_unlock(&v->lock);
out:
    pthread_mutex_unlock(&n->life);
    pthread_mutex_unlock(&v->admin);
    if (err)
        return err;
    if (vol)
        volume_abandon(vol);
    if (v->grants)
        grants_object_gone(v->grants, 0, n->id);
    log_info("volume %s destroyed", label);
    (void)trash_remove_volume(v->store, n->id); /* it is gone for everybody; the next start retries */
    ns_vol_put(n);                              /* the table's */
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
    } else if (name_is(n->name, name, len)) {
        dir_same(&n->owner->dir, dc);
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
    dir_changed(v, &n->owner->dir, dc);
    pthread_rwlock_unlock(&v->lock);
out:
    pthread_mutex_unlock(&v->admin);
    if (!err)
        names_changed(v);
    return err;
}
