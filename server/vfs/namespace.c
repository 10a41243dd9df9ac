/* SPDX-License-Identifier: Apache-2.0
 * namespace: users and volumes in memory, read from state.db at start; volumes are opened at first use (see
 * namespace.h). How they come and go: ns_change.c.
 */
#include "server/vfs/namespace.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/vfs/keeper.h"
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

struct nuser *ns_user_by_name_locked(struct vfs *v, const char *name, size_t len)
{
    uint64_t hash = htab_hash_bytes(name, len, 0);
    for (struct hnode *h = htab_first(&v->users_by_name, hash); h; h = htab_next(h, hash)) {
        struct nuser *u = container_of(h, struct nuser, by_name);
        if (ns_name_is(u->name, name, len))
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
        if (n->user == user && ns_name_is(n->name, name, len))
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
    free(n->peek);
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

void ns_dir_changed(struct vfs *v, struct pseudo_dir *d, struct dir_change *dc)
{
    uint64_t before = d->change;
    d->change = ++v->change;
    d->mtime = clock_wall();
    if (dc)
        *dc = (struct dir_change){.before = before, .after = d->change};
}

void ns_dir_same(const struct pseudo_dir *d, struct dir_change *dc)
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

struct nuser *ns_user_insert(struct vfs *v, const struct user_row *row)
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

struct nvol *ns_vol_new(const struct volume_row *row)
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
    list_init(&n->open_link);
    return n;
}

void ns_vol_insert(struct vfs *v, struct nuser *u, struct nvol *n)
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
    return ns_user_insert(arg, row) ? 0 : -ENOMEM;
}

static int load_volume(void *arg, const struct volume_row *row)
{
    struct vfs *v = arg;
    struct nuser *u = ns_user_locked(v, row->user);
    struct nvol *n = ns_vol_new(row);
    if (!n)
        return -ENOMEM;
    if (!u) {
        log_error("state.db names a volume %s of a user %llu that does not exist", row->name,
                  (unsigned long long)row->user);
        ns_vol_put(n);
        return -EUCLEAN;
    }
    ns_vol_insert(v, u, n);
    return 0;
}

static bool vol_known(void *arg, uint64_t id)
{
    return vol_locked(arg, id) != NULL;
}

static void left_over(void *arg, uint64_t id)
{
    keeper_remove(arg, id);
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
    pthread_condattr_t ca;
    if (!v)
        return -ENOMEM;
    list_init(&v->users);
    list_init(&v->open_vols);
    list_init(&v->removals);
    v->max_open = UINT_MAX;
    pthread_mutex_init(&v->keeper_lock, NULL);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&v->keeper_cond, &ca);
    pthread_condattr_destroy(&ca);
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
    if ((err = trash_clean(store, db, vol_known, left_over, v)) || (err = keeper_start(v)))
        goto out;
    *out = v;
    v = NULL;
out:
    if (v)
        vfs_free(v);
    return err;
}

void vfs_set_idle(struct vfs *v, unsigned idle_seconds, unsigned max_open)
{
    pthread_rwlock_wrlock(&v->lock);
    v->idle_ms = (uint64_t)idle_seconds * 1000;
    v->max_open = max_open;
    pthread_rwlock_unlock(&v->lock);
}

static int close_vol(struct nvol *n)
{
    int err = 0;
    pthread_mutex_lock(&n->life);
    if (n->vol)
        err = volume_close(n->vol);
    list_del(&n->open_link);
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
    keeper_stop(v);
    list_for_each_safe(it, &v->removals) {
        list_del(it);
        free(it); /* link is first */
    }
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
    pthread_mutex_destroy(&v->keeper_lock);
    pthread_cond_destroy(&v->keeper_cond);
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
    if (!n->dead && n->vol) {
        vol = volume_ref(n->vol);
        if (!atomic_load_explicit(&n->used, memory_order_relaxed))
            n->used = true;
    }
    pthread_rwlock_unlock(&v->lock);
    return vol;
}

struct volume *ns_vol_open_now(struct vfs *v, struct nvol *n)
{
    struct volume *vol;
    pthread_rwlock_rdlock(&v->lock);
    vol = !n->dead && n->vol ? volume_ref(n->vol) : NULL;
    pthread_rwlock_unlock(&v->lock);
    return vol;
}

struct volume *ns_vol_take_locked(struct vfs *v, struct nvol *n)
{
    struct volume *vol = n->vol;
    if (!vol)
        return NULL;
    n->vol = NULL;
    list_del(&n->open_link);
    v->nopen--;
    return vol;
}

void ns_vol_put_in_locked(struct vfs *v, struct nvol *n, struct volume *vol)
{
    n->vol = vol;
    list_add_tail(&v->open_vols, &n->open_link);
    v->nopen++;
    n->used = true;
    n->used_ms = clock_mono_ms();
}

int ns_vol_open_cold(struct vfs *v, struct nvol *n)
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
    keeper_make_room(v);
    err = volume_open(v->engine, path, label, n->id, &vol);
    if (!err) {
        volume_set_user(vol, n->user);
        volume_take_over(vol, &n->carry);
    }
    free(n->peek);
    n->peek = NULL;
    n->carry = (struct volume_carry){0};
    if (err) {
        log_error("cannot open volume %s: %s", label, strerror(-err));
        /* The names are there; it is the disk's part that is not. */
        if (err == -ENOENT || err == -ENOTDIR)
            err = -EUCLEAN;
        goto out;
    }
    pthread_rwlock_wrlock(&v->lock);
    ns_vol_put_in_locked(v, n, vol);
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
    else if (!*out && !(err = ns_vol_open_cold(v, n)))
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
