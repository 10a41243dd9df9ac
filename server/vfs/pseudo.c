/* SPDX-License-Identifier: Apache-2.0
 * pseudo: the directories above the volumes (see pseudo.h).
 */
#include "server/vfs/pseudo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/vfs/keeper.h"
#include "server/vfs/perm.h"
#include "server/vfs/snapdir.h"

#define PSEUDO_READDIR_MAX 1024u /* entries copied out of the tables at a time */

/* Is it there for this client? volume 0: the user. */
static bool is_visible(const struct vcred *c, uint64_t user, uint64_t volume, uint64_t snap)
{
    return !c->view || grant_eval(c->view, c->grant, user, volume, snap, NULL) != GRANT_NOTHING;
}

/* May it make, rename and remove names in dir? */
static bool may_change(const struct vcred *c, const struct vobj *dir)
{
    if (dir->kind == VOBJ_TOKENS)
        return false;
    return !c->view || grant_may_create(c->view, c->grant, dir->kind == VOBJ_USER ? dir->user : 0);
}

static void fill_attr(const struct pseudo_dir *d, uint64_t fileid, unsigned children,
                      struct vfs_attr *out)
{
    memset(out, 0, sizeof(*out));
    out->a.ino = fileid;
    out->a.gen = 1;
    out->a.type = IT_DIR;
    out->a.mode = 0755;
    out->a.nlink = 2 + children;
    out->a.size = out->a.used = 4096;
    out->a.change = d->change;
    out->a.atime = out->a.mtime = out->a.ctime = d->mtime;
    out->a.btime = d->btime;
    out->mounted_on_fileid = fileid;
}

static void user_attr(const struct nuser *u, struct vfs_attr *out)
{
    fill_attr(&u->dir, pseudo_user_fileid(u->id), u->nvols, out);
}

static void set_user(struct vobj *o, uint64_t user)
{
    vobj_release(o);
    o->kind = VOBJ_USER;
    o->user = user;
}

int pseudo_getattr(struct vfs *v, const struct vobj *o, struct vfs_attr *out)
{
    int err = 0;
    if (o->kind == VOBJ_SNAPDIR)
        return snapdir_getattr(o, out);
    pthread_rwlock_rdlock(&v->lock);
    if (o->kind == VOBJ_ROOT) {
        fill_attr(&v->root, 1, v->nusers, out);
    } else if (o->kind == VOBJ_TOKENS) {
        const struct pseudo_dir d = {.change = 1, .mtime = v->root.btime, .btime = v->root.btime};
        fill_attr(&d, PSEUDO_TOKENS_FILEID, 0, out);
    } else {
        const struct nuser *u = ns_user_locked(v, o->user);
        if (u)
            user_attr(u, out);
        else
            err = -ESTALE;
    }
    pthread_rwlock_unlock(&v->lock);
    return err;
}

int pseudo_volume_root(struct vfs *v, struct store_call *call, struct nvol *n, struct vobj *out,
                       struct vfs_attr *attr)
{
    struct volume *vol = NULL;
    struct vattr a;
    int err = ns_vol_open(v, n, call->may_block, &vol);
    if (err)
        return err;
    if ((err = volume_getattr(vol, call, STORE_ROOT_INO, 0, &a))) {
        volume_unref(vol);
        return err;
    }
    if (attr)
        *attr = (struct vfs_attr){
            .a = a, .fsid = n->id, .mounted_on_fileid = pseudo_volume_fileid(n->id)};
    vobj_release(out);
    *out = (struct vobj){.kind = VOBJ_FILE, .vol = vol, .ino = STORE_ROOT_INO, .gen = a.gen};
    return 0;
}

static int lookup_user(struct vfs *v, const struct vcred *c, const char *name, size_t len, struct vobj *out,
                       struct vfs_attr *attr)
{
    int err = 0;
    const struct nuser *u;
    pthread_rwlock_rdlock(&v->lock);
    u = ns_user_by_name_locked(v, name, len);
    if (u && is_visible(c, u->id, 0, 0)) {
        set_user(out, u->id);
        if (attr)
            user_attr(u, attr);
    } else {
        err = -ENOENT;
    }
    pthread_rwlock_unlock(&v->lock);
    return err;
}

/* name is "mydata@snapshot". */
static int lookup_snapshot(struct vfs *v, struct store_call *call, uint64_t user, const struct vcred *c,
                           const char *name, size_t len, struct vobj *out, struct vfs_attr *attr)
{
    const char *at = memchr(name, '@', len);
    size_t vlen = (size_t)(at - name);
    struct volume *vol = NULL;
    struct snap_info s;
    struct nvol *n;
    int err = ns_vol_get_name(v, user, name, vlen, &n);
    if (err)
        return err;
    if (!(err = ns_vol_open(v, n, call->may_block, &vol)) &&
        !(err = snap_find(vol, at + 1, len - vlen - 1, &s)))
        err = is_visible(c, n->user, n->id, s.id) ? snapdir_root(call, vol, s.id, out, attr) : -ENOENT;
    volume_unref(vol);
    ns_vol_put(n);
    return err == -ESTALE ? -ENOENT : err;
}

/* By name, if it is there for this client; with a reference. -ENOENT. */
static int find_volume(struct vfs *v, const struct vobj *dir, const struct vcred *c, const char *name, size_t len,
                       struct nvol **out)
{
    int err = ns_vol_get_name(v, dir->user, name, len, out);
    if (!err && !is_visible(c, (*out)->user, (*out)->id, 0)) {
        ns_vol_put(*out);
        *out = NULL;
        err = -ENOENT;
    }
    return err;
}

int pseudo_lookup(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const char *name, size_t len, struct vobj *out, struct vfs_attr *attr)
{
    struct nvol *n = NULL;
    struct vfs_attr da;
    int err;
    if (dir->kind == VOBJ_TOKENS)
        return -ENOENT;
    if (dir->kind == VOBJ_SNAPDIR)
        return snapdir_lookup(call, dir, name, len, out, attr);
    if (dir->kind == VOBJ_ROOT) {
        err = lookup_user(v, c, name, len, out, attr);
        if (err == -ENOENT && v->grants && len == strlen(VFS_TOKENS_NAME) && !memcmp(name, VFS_TOKENS_NAME, len)) {
            vobj_release(out);
            out->kind = VOBJ_TOKENS;
            return attr ? pseudo_getattr(v, out, attr) : 0;
        }
        return err;
    }
    if (memchr(name, '@', len))
        return lookup_snapshot(v, call, dir->user, c, name, len, out, attr);
    if ((err = find_volume(v, dir, c, name, len, &n))) {
        int stale = pseudo_getattr(v, dir, &da);
        return stale ? stale : err;
    }
    err = pseudo_volume_root(v, call, n, out, attr);
    ns_vol_put(n);
    return err == -ESTALE ? -ENOENT : err;
}

/* The name limits of users and volumes are tighter than those of files. */
static int check_new_name(const struct vobj *dir, const char *name, size_t len)
{
    if (len > (dir->kind == VOBJ_ROOT ? USER_NAME_MAX : VOLUME_NAME_MAX))
        return -ENAMETOOLONG;
    return dir->kind == VOBJ_ROOT ? statedb_check_user_name(name, len)
                                  : statedb_check_volume_name(name, len);
}

static int create_volume(struct vfs *v, struct store_call *call, const struct vobj *dir,
                         const struct vcred *c, const struct vfs_create *a, struct vobj *out,
                         struct vfs_attr *attr, struct dir_change *dc)
{
    const struct vattr above = {.type = IT_DIR, .mode = 0755};
    struct volume_props props;
    struct vset set;
    struct nvol *n = NULL;
    int err, made;
    if ((err = perm_new_inode(&above, c, IT_DIR, &a->set, &set)))
        return err;
    volume_props_default(&props);
    made = ns_vol_create(v, dir->user, a->name, a->len, &props, &set, &n, dc);
    if (made && made != -EEXIST)
        return made;
    err = pseudo_volume_root(v, call, n, out, attr);
    ns_vol_put(n);
    return err ? err : made;
}

int pseudo_create(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const struct vfs_create *a, struct vobj *out, struct vfs_attr *attr, bool *created,
                  struct dir_change *dc)
{
    struct vfs_attr da;
    uint64_t id = 0;
    int err = pseudo_getattr(v, dir, &da);
    if (err)
        return err;
    *dc = (struct dir_change){da.a.change, da.a.change};
    err = pseudo_lookup(v, call, dir, c, a->name, a->len, out, attr);
    if (err != -ENOENT)
        return err ? err : -EEXIST;
    if (dir->kind == VOBJ_SNAPDIR)
        return -EROFS;
    if (a->type != IT_DIR || !may_change(c, dir))
        return -EACCES; /* only users and volumes live here, and they are directories */
    if ((err = check_new_name(dir, a->name, a->len)))
        return err;
    if (!call->may_block)
        return -EAGAIN;
    if (dir->kind == VOBJ_USER) {
        err = create_volume(v, call, dir, c, a, out, attr, dc);
    } else {
        err = ns_user_add(v, a->name, a->len, &id, dc);
        if (!err || err == -EEXIST) {
            set_user(out, id);
            int gone = pseudo_getattr(v, out, attr);
            if (gone)
                err = gone;
        }
    }
    *created = !err;
    return err;
}

int pseudo_remove(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const char *name, size_t len, struct dir_change *dc)
{
    struct nvol *n = NULL;
    int err;
    if (dir->kind == VOBJ_SNAPDIR)
        return -EROFS;
    if (!call->may_block)
        return -EAGAIN;
    if (!may_change(c, dir)) {
        struct vobj o = {0};
        err = pseudo_lookup(v, call, dir, c, name, len, &o, NULL);
        vobj_release(&o);
        return err ? err : -EACCES;
    }
    if (dir->kind == VOBJ_ROOT)
        return ns_user_del(v, name, len, dc);
    if ((err = find_volume(v, dir, c, name, len, &n)))
        return err;
    err = ns_vol_destroy(v, n, true, c, dc);
    ns_vol_put(n);
    return err;
}

int pseudo_rename(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                  const char *sname, size_t slen, const char *dname, size_t dlen,
                  struct dir_change *dc)
{
    struct nvol *n = NULL;
    struct vobj root = {0};
    struct vfs_attr attr;
    int err;
    if (dir->kind == VOBJ_SNAPDIR)
        return -EROFS;
    if (dir->kind != VOBJ_USER)
        return -EPERM; /* a user keeps its name */
    if (!call->may_block)
        return -EAGAIN;
    if ((err = find_volume(v, dir, c, sname, slen, &n)))
        return err;
    if (!may_change(c, dir)) {
        err = -EACCES;
        goto out;
    }
    if ((err = pseudo_volume_root(v, call, n, &root, &attr)))
        goto out;
    if (!perm_is_owner(&attr.a, c))
        err = -EPERM;
    else if (!(err = check_new_name(dir, dname, dlen)))
        err = ns_vol_rename(v, n, dname, dlen, dc);
out:
    vobj_release(&root);
    ns_vol_put(n);
    return err;
}

int pseudo_parent_of_volume(struct vfs *v, struct volume *vol, struct vobj *out)
{
    struct nvol *n = NULL;
    struct volume *parent = NULL;
    int err;
    if (snap_id(volume_id(vol))) {
        if ((err = ns_vol_get(v, snap_base_id(volume_id(vol)), &n)))
            return err;
        if (!(err = ns_vol_open(v, n, true, &parent)))
            snapdir_object(parent, out);
        volume_unref(parent);
        ns_vol_put(n);
        return err;
    }
    err = ns_vol_get(v, volume_id(vol), &n);
    if (err)
        return err;
    set_user(out, n->user);
    ns_vol_put(n);
    return 0;
}

/* One entry copied out of the tables, so that fn runs without a lock. */
struct entry {
    uint64_t id;
    struct nvol *vol; /* of a volume; referenced */
    char name[VOLUME_NAME_MAX + 1];
    struct vfs_attr attr; /* of a user */
};

/* Up to max entries after the cookie that are there for the client; *more: there are others. */
static int copy_entries(struct vfs *v, const struct vobj *dir, const struct vcred *c, uint64_t after, unsigned max,
                        struct entry *e, unsigned *count, bool *more)
{
    unsigned n = 0;
    struct nuser *u = NULL;
    struct list *head = &v->users;
    int err = 0;
    *more = false;
    pthread_rwlock_rdlock(&v->lock);
    if (dir->kind == VOBJ_USER) {
        u = ns_user_locked(v, dir->user);
        if (!u) {
            err = -ESTALE;
            goto out;
        }
        head = &u->vols;
    }
    list_for_each(it, head) {
        struct nvol *vol = u ? list_entry(it, struct nvol, link) : NULL;
        struct nuser *user = u ? NULL : list_entry(it, struct nuser, link);
        uint64_t id = u ? vol->id : user->id;
        if (id + PSEUDO_COOKIE_BASE <= after || !is_visible(c, u ? u->id : id, u ? id : 0, 0))
            continue;
        if (n == max) {
            *more = true;
            break;
        }
        e[n].id = id;
        strcpy(e[n].name, u ? vol->name : user->name);
        e[n].vol = u ? ns_vol_ref(vol) : NULL;
        if (user)
            user_attr(user, &e[n].attr);
        n++;
    }
out:
    pthread_rwlock_unlock(&v->lock);
    *count = n;
    return err;
}

/* As pseudo_volume_root, but opens nothing if it can be helped; then out has no volume. */
static int look_at_root(struct vfs *v, struct store_call *call, struct nvol *n, struct vobj *out, struct vfs_attr *attr)
{
    struct volume_peek peek;
    struct volume *vol = NULL;
    int err = keeper_look(v, n, call->may_block, &vol, &peek);
    if (!err && vol)
        err = volume_getattr(vol, call, STORE_ROOT_INO, 0, &peek.root);
    if (err) {
        volume_unref(vol);
        return err == -ESTALE && n->dead ? err : pseudo_volume_root(v, call, n, out, attr);
    }
    *attr = (struct vfs_attr){.a = peek.root, .fsid = n->id, .mounted_on_fileid = pseudo_volume_fileid(n->id)};
    *out = (struct vobj){.kind = VOBJ_FILE, .vol = vol, .ino = STORE_ROOT_INO, .gen = peek.root.gen};
    return 0;
}

/* Gives one entry to fn; false when it wants no more. */
static bool give_entry(struct vfs *v, struct store_call *call, const struct entry *e,
                       bool (*fn)(void *arg, const struct vfs_dirent *de), void *arg)
{
    bool more = true;
    struct vfs_dirent de = {.cookie = e->id + PSEUDO_COOKIE_BASE,
                            .name = e->name,
                            .len = strlen(e->name),
                            .attr = e->attr};
    if (e->vol) {
        de.err = look_at_root(v, call, e->vol, &de.obj, &de.attr);
        if (de.err == -ESTALE)
            goto out; /* removed meanwhile */
        if (de.err) {
            de.attr = (struct vfs_attr){.a = {.ino = STORE_ROOT_INO, .type = IT_DIR},
                                        .fsid = e->vol->id,
                                        .mounted_on_fileid = pseudo_volume_fileid(e->vol->id)};
        }
    } else {
        de.obj = (struct vobj){.kind = VOBJ_USER, .user = e->id};
    }
    more = fn(arg, &de);
out:
    vobj_release(&de.obj);
    return more;
}

int pseudo_readdir(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                   uint64_t after, unsigned max, bool (*fn)(void *arg, const struct vfs_dirent *de), void *arg,
                   bool *eof)
{
    struct entry *e;
    unsigned n = 0;
    bool more = false, wanted = true;
    int err;
    *eof = dir->kind == VOBJ_TOKENS;
    if (*eof)
        return 0;
    if (dir->kind == VOBJ_SNAPDIR)
        return snapdir_readdir(call, dir, after, max, fn, arg, eof);
    if (dir->kind == VOBJ_USER && !call->may_block)
        return -EAGAIN; /* volumes may have to be opened for their attributes */
    if (max > PSEUDO_READDIR_MAX || !max)
        max = PSEUDO_READDIR_MAX;
    e = calloc(max, sizeof(*e));
    if (!e)
        return -ENOMEM;
    err = copy_entries(v, dir, c, after, max, e, &n, &more);
    for (unsigned i = 0; i < n; i++) {
        if (wanted)
            wanted = give_entry(v, call, &e[i], fn, arg);
        ns_vol_put(e[i].vol);
    }
    free(e);
    *eof = !err && wanted && !more;
    return err;
}
