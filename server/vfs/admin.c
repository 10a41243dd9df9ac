/* SPDX-License-Identifier: Apache-2.0
 * admin: what the administration interface asks of users and volumes, by name.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "server/grant/grant_text.h"
#include "server/vfs/keeper.h"

/* Splits "alice/mydata" and checks both parts. */
static int split_name(const char *name, size_t *user_len, const char **vol)
{
    const char *slash = strchr(name, '/');
    if (!slash)
        return -EINVAL;
    *user_len = (size_t)(slash - name);
    *vol = slash + 1;
    if (statedb_check_user_name(name, *user_len) || statedb_check_volume_name(*vol, strlen(*vol)))
        return -EINVAL;
    return 0;
}

int ns_vol_find(struct vfs *v, const char *name, struct nvol **out)
{
    size_t len;
    const char *vol;
    const struct nuser *u;
    int err = split_name(name, &len, &vol);
    *out = NULL;
    if (err)
        return err;
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_by_name_locked(v, name, len);
    *out = u ? ns_vol_by_name_locked(v, u->id, vol, strlen(vol)) : NULL;
    if (*out)
        ns_vol_ref(*out);
    pthread_rwlock_unlock(&v->lock);
    return *out ? 0 : -ENOENT;
}

int ns_vol_open_name(struct vfs *v, const char *name, struct volume **out)
{
    struct nvol *n;
    int err = ns_vol_find(v, name, &n);
    *out = NULL;
    if (!err)
        err = ns_vol_open(v, n, true, out);
    ns_vol_put(n);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_volume_create(struct vfs *v, const char *name, const struct volume_props *props, uint32_t uid,
                      uint32_t gid, uint32_t mode)
{
    struct vset root = {
        .mask = VSET_MODE | VSET_UID | VSET_GID, .mode = mode & 07777, .uid = uid, .gid = gid};
    struct nvol *n = NULL;
    size_t len;
    const char *vol;
    uint64_t user = 0;
    int err = split_name(name, &len, &vol);
    if (err)
        return err;
    for (int i = 0; i < 8; i++) { /* the user may be removed again in between */
        err = ns_user_add(v, name, len, &user, NULL);
        if (err && err != -EEXIST)
            return err;
        err = ns_vol_create(v, user, vol, strlen(vol), props, &root, &n, NULL);
        ns_vol_put(n);
        if (err != -ESTALE)
            break;
    }
    return err;
}

int vfs_volume_destroy(struct vfs *v, const char *name)
{
    struct nvol *n;
    int err = ns_vol_find(v, name, &n);
    if (err)
        return err;
    err = ns_vol_destroy(v, n, false, NULL, NULL);
    ns_vol_put(n);
    return err;
}

/* Fills info; a volume that cannot be opened still has a name and an id. */
static void fill_info(struct vfs *v, struct nvol *n, bool may_block, struct vfs_volume_info *info)
{
    struct volume *vol = NULL;
    struct volume_peek peek;
    info->id = n->id;
    info->created = n->created;
    info->err = keeper_look(v, n, may_block, &vol, &peek);
    if (info->err && info->err != -ESTALE && may_block)
        info->err = ns_vol_open(v, n, true, &vol);
    if (info->err)
        return;
    if (vol) {
        volume_get_props(vol, &info->props);
        if (may_block)
            volume_stat_settle(vol);
        volume_stat(vol, &info->stat);
        volume_unref(vol);
    } else {
        info->props = peek.props;
        info->stat = peek.stat;
    }
    keeper_add_counters(&info->stat, &n->past); /* figures for people: no lock */
}

static void copy_names(const struct nvol *n, struct vfs_volume_info *info)
{
    memset(info, 0, sizeof(*info));
    memcpy(info->user, n->owner->name, sizeof(info->user));
    memcpy(info->name, n->name, sizeof(info->name));
}

int vfs_volume_info(struct vfs *v, const char *name, struct vfs_volume_info *out)
{
    struct nvol *n;
    int err = ns_vol_find(v, name, &n);
    if (err)
        return err;
    pthread_rwlock_rdlock(&v->lock);
    if (n->dead)
        err = -ENOENT;
    else
        copy_names(n, out);
    pthread_rwlock_unlock(&v->lock);
    if (!err)
        fill_info(v, n, true, out);
    ns_vol_put(n);
    return err;
}

int vfs_user_list(struct vfs *v, int (*fn)(void *arg, uint64_t id, const char *name, unsigned volumes), void *arg)
{
    int err = 0;
    pthread_rwlock_rdlock(&v->lock);
    list_for_each(it, &v->users) {
        const struct nuser *u = list_entry(it, struct nuser, link);
        err = fn(arg, u->id, u->name, u->nvols);
        if (err)
            break;
    }
    pthread_rwlock_unlock(&v->lock);
    return err;
}

struct listed {
    struct nvol *n;
    struct vfs_volume_info names;
};

static int by_name(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    int d = strcmp(x->names.user, y->names.user);
    return d ? d : strcmp(x->names.name, y->names.name);
}

/* Copies the names of all volumes (of one user), so that they can be visited without the lock. */
static int copy_list(struct vfs *v, const char *user, struct listed **out, size_t *count)
{
    size_t n = 0, max = 0;
    struct listed *l = NULL;
    int err = 0;
    pthread_rwlock_rdlock(&v->lock);
    if (user && !ns_user_by_name_locked(v, user, strlen(user)))
        err = -ENOENT;
    list_for_each(it, &v->users) {
        const struct nuser *u = list_entry(it, struct nuser, link);
        if (err || (user && strcmp(user, u->name)))
            continue;
        if (n + u->nvols > max) {
            struct listed *grown = realloc(l, (n + u->nvols) * sizeof(*l));
            if (!grown) {
                err = -ENOMEM;
                continue;
            }
            l = grown;
            max = n + u->nvols;
        }
        list_for_each(jt, &u->vols) {
            l[n].n = ns_vol_ref(list_entry(jt, struct nvol, link));
            copy_names(l[n].n, &l[n].names);
            n++;
        }
    }
    pthread_rwlock_unlock(&v->lock);
    *out = l;
    *count = n;
    return err;
}

static int list_volumes(struct vfs *v, const char *user, bool may_block,
                        int (*fn)(void *arg, const struct vfs_volume_info *info), void *arg)
{
    struct listed *l = NULL;
    size_t count = 0;
    int err = copy_list(v, user, &l, &count);
    if (count)
        qsort(l, count, sizeof(*l), by_name);
    for (size_t i = 0; i < count; i++) {
        if (!err) {
            fill_info(v, l[i].n, may_block, &l[i].names);
            if (l[i].names.err != -ESTALE) /* removed meanwhile */
                err = fn(arg, &l[i].names);
        }
        ns_vol_put(l[i].n);
    }
    free(l);
    return err;
}

int vfs_volume_list(struct vfs *v, const char *user,
                    int (*fn)(void *arg, const struct vfs_volume_info *info), void *arg)
{
    return list_volumes(v, user, true, fn, arg);
}

int vfs_volume_peek(struct vfs *v, int (*fn)(void *arg, const struct vfs_volume_info *info), void *arg)
{
    return list_volumes(v, NULL, false, fn, arg);
}

unsigned vfs_volume_count(struct vfs *v)
{
    unsigned n;
    pthread_rwlock_rdlock(&v->lock);
    n = v->vols_by_id.count;
    pthread_rwlock_unlock(&v->lock);
    return n;
}

unsigned vfs_open_volumes(struct vfs *v)
{
    unsigned n;
    pthread_rwlock_rdlock(&v->lock);
    n = v->nopen;
    pthread_rwlock_unlock(&v->lock);
    return n;
}

int vfs_volume_set_props(struct vfs *v, const char *name, const struct volume_props *p)
{
    struct volume *vol;
    int err = ns_vol_open_name(v, name, &vol);
    if (!err)
        err = volume_set_props(vol, p);
    volume_unref(vol);
    return err == -ESTALE ? -ENOENT : err;
}

int vfs_purge_orphans(struct vfs *v)
{
    struct listed *l = NULL;
    size_t count = 0;
    int err = 0;
    pthread_rwlock_wrlock(&v->lock);
    v->purge = true;
    pthread_rwlock_unlock(&v->lock);
    err = copy_list(v, NULL, &l, &count);
    for (size_t i = 0; i < count; i++) {
        struct volume *vol = NULL;
        /* Closed ones free theirs when they are opened. */
        if (!ns_vol_open(v, l[i].n, false, &vol)) {
            int r = volume_purge_orphans(vol);
            if (r && !err)
                err = r;
            volume_unref(vol);
        }
        ns_vol_put(l[i].n);
    }
    free(l);
    return err;
}

/* --- objects of grants --- */

static int grant_volume(struct vfs *v, const struct grant_names *names, struct grant_row *row)
{
    const struct nvol *n;
    const struct nuser *u;
    int err = 0;
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_by_name_locked(v, names->user, strlen(names->user));
    n = u && names->object >= GRANT_VOLUME
            ? ns_vol_by_name_locked(v, u->id, names->volume, strlen(names->volume))
            : NULL;
    if (!u || (names->object >= GRANT_VOLUME && !n))
        err = -ENOENT;
    row->user = u ? u->id : 0;
    row->volume = n ? n->id : 0;
    pthread_rwlock_unlock(&v->lock);
    return err;
}

/* The open volume of a row, with a reference. */
static int open_row(struct vfs *v, const struct grant_row *row, struct volume **out)
{
    struct nvol *n = NULL;
    int err = ns_vol_get(v, row->volume, &n);
    if (!err)
        err = ns_vol_open(v, n, true, out);
    ns_vol_put(n);
    return err == -ESTALE ? -ENOENT : err;
}

static int grant_snapshot(struct vfs *v, const struct grant_names *names, struct grant_row *row)
{
    struct volume *vol = NULL;
    struct snap_info s;
    int err = open_row(v, row, &vol);
    if (!err)
        err = snap_find(vol, names->snapshot, strlen(names->snapshot), &s);
    if (!err)
        row->snapshot = s.id;
    volume_unref(vol);
    return err;
}

int vfs_grant_object(struct vfs *v, const char *text, struct grant_row *row)
{
    struct grant_names names;
    int err = grant_parse_object(text, &names);
    if (err)
        return err;
    row->object = names.object;
    row->user = row->volume = row->snapshot = 0;
    memcpy(row->path, names.path, sizeof(row->path));
    if (names.object == GRANT_SERVER)
        return 0;
    err = grant_volume(v, &names, row);
    if (!err && names.object == GRANT_SNAPSHOT)
        err = grant_snapshot(v, &names, row);
    return err;
}

int vfs_grant_folder(struct vfs *v, const struct grant_row *row)
{
    struct store_call call;
    struct volume *vol = NULL;
    struct vattr a = {.ino = STORE_ROOT_INO, .type = IT_DIR};
    int err = open_row(v, row, &vol);
    store_call_init(&call, true);
    for (const char *p = row->path; !err && *p; p += *p == '/') {
        size_t len = strcspn(p, "/");
        err = a.type == IT_DIR ? volume_lookup(vol, &call, a.ino, p, len, &a) : -ENOTDIR;
        p += len;
    }
    if (!err && a.type != IT_DIR)
        err = -ENOTDIR;
    volume_unref(vol);
    store_call_release(&call);
    return err == -ESTALE ? -ENOENT : err;
}

void vfs_grant_text(struct vfs *v, const struct grant_row *row, char *buf, size_t size)
{
    const struct nuser *u;
    struct nvol *n = NULL;
    struct volume *vol = NULL;
    struct snap_info s = {.name = "?"};
    if (row->object == GRANT_SERVER) {
        snprintf(buf, size, "/");
        return;
    }
    if (row->object == GRANT_SNAPSHOT && !open_row(v, row, &vol) &&
        (snap_list(vol, row->snapshot - 1, &s, 1) != 1 || s.id != row->snapshot))
        strcpy(s.name, "?");
    volume_unref(vol);
    if (row->volume)
        (void)ns_vol_get(v, row->volume, &n);
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_locked(v, row->user);
    snprintf(buf, size, "%s%s%s%s%s", u ? u->name : "?", row->volume ? "/" : "",
             row->volume ? n && !n->dead ? n->name : "?" : "",
             row->object == GRANT_SNAPSHOT ? "@" : row->path[0] ? "/" : "",
             row->object == GRANT_SNAPSHOT ? s.name : row->path);
    pthread_rwlock_unlock(&v->lock);
    ns_vol_put(n);
}
