/* SPDX-License-Identifier: Apache-2.0
 * Tests of snapshots in the tree: by name, in .snapshots, read-only, across restarts.
 */
#include "common/fault.h"
#include "server/store/check.h"
#include "server/store/volume_int.h"
#include "server/vfs/namespace.h"
#include "tests/unit/vfstest.h"

static void make_volume(struct env *e)
{
    struct volume_props props;
    int r;
    volume_props_default(&props);
    r = vfs_volume_create(e->v, "alice/v", &props, 0, 0, 0755);
    assert_true(r == 0 || r == -EEXIST);
    vt_find_volume(e, &e->user, &e->vol);
}

static void start(struct env *e)
{
    vt_start(e);
    make_volume(e);
}

static int setup(void **state)
{
    struct env *e = calloc(1, sizeof(*e));
    e->dir = st_tmpdir();
    start(e);
    *state = e;
    return 0;
}

static int make(struct env *e, const struct vobj *dir, const char *name, enum inode_type type, struct vobj *out)
{
    struct vfs_create a = {.name = name,
                           .len = strlen(name),
                           .type = type,
                           .set = {.mask = VSET_MODE, .mode = 0755},
                           .excl = true};
    struct vfs_attr attr;
    bool made;
    return vfs_create(e->v, &e->call, dir, &root, &a, out, &attr, &made, NULL);
}

static void put(struct env *e, const char *name, const char *text)
{
    struct vobj o = {0};
    int r = lookup(e, &e->vol, name, &o, NULL);
    if (r == -ENOENT)
        r = make(e, &e->vol, name, IT_REG, &o);
    assert_int_equal(r, 0);
    assert_int_equal(vfs_write(e->v, &e->call, &o, &root, true, 0, text, strlen(text), false, NULL, NULL), 0);
    store_call_release(&e->call);
    vobj_release(&o);
}

static bool holds(struct env *e, const struct vobj *dir, const char *name, const char *text)
{
    struct vobj o = {0};
    struct volume_read r;
    bool same;
    assert_int_equal(lookup(e, dir, name, &o, NULL), 0);
    assert_int_equal(vfs_read(e->v, &e->call, &o, &root, true, 0, 100, &r), 0);
    same = r.len == strlen(text) && !memcmp(r.iov[0].iov_base, text, r.len);
    volume_read_release(&r);
    vobj_release(&o);
    return same;
}

struct names {
    char all[256];
    unsigned n, stop;
    struct vfs_dirent last;
};

static bool note(void *arg, const struct vfs_dirent *de)
{
    struct names *l = arg;
    assert_int_equal(de->err, 0);
    assert_true(l->n == 0 || de->cookie > l->last.cookie);
    snprintf(l->all + strlen(l->all), sizeof(l->all) - strlen(l->all), "%.*s ", (int)de->len, de->name);
    l->last = *de;
    return ++l->n != l->stop;
}

static void list(struct env *e, const struct vobj *dir, const char *want)
{
    struct names all = {.stop = 0}, one = {.stop = 1};
    bool eof = false;
    assert_int_equal(vfs_readdir(e->v, &e->call, dir, &root, 0, 100, note, &all, &eof), 0);
    assert_true(eof);
    assert_string_equal(all.all, want);
    /* one at a time comes to the same */
    one.stop = 0;
    for (uint64_t after = 0; !one.n || !eof;) {
        unsigned before = one.n;
        eof = false;
        one.stop = one.n + 1;
        assert_int_equal(vfs_readdir(e->v, &e->call, dir, &root, after, 1, note, &one, &eof), 0);
        if (one.n == before)
            break;
        after = one.last.cookie;
    }
    assert_string_equal(one.all, want);
}

static void found_by_name(void **state)
{
    struct env *e = *state;
    struct vobj s = {0}, up = {0}, dir = {0}, x = {0};
    struct vfs_attr va, sa, da, ra;

    put(e, "f", "before");
    assert_int_equal(vfs_snap_create(e->v, "alice/v"), -EINVAL);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@"), -EINVAL);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a@b"), -EINVAL);
    assert_int_equal(vfs_snap_create(e->v, "alice/w@a"), -ENOENT);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), -EEXIST);
    put(e, "f", "after!");
    assert_int_equal(lookup(e, &e->user, "v@b", &s, NULL), -ENOENT);
    assert_int_equal(lookup(e, &e->user, "w@a", &s, NULL), -ENOENT);
    assert_int_equal(lookup(e, &e->user, "@a", &s, NULL), -ENOENT);
    assert_int_equal(lookup(e, &e->user, "v@", &s, NULL), -ENOENT);
    assert_int_equal(lookup(e, &e->user, "v@a", &s, &sa), 0);
    assert_true(holds(e, &s, "f", "before"));
    assert_true(holds(e, &e->vol, "f", "after!"));
    assert_int_equal(vfs_getattr(e->v, &e->call, &e->vol, &va), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &s, &ra), 0);
    assert_true(sa.fsid != va.fsid && sa.fsid != 0 && ra.fsid == sa.fsid);
    assert_int_equal(sa.a.ino, STORE_ROOT_INO);
    assert_true(sa.mounted_on_fileid == ra.mounted_on_fileid && sa.mounted_on_fileid != va.mounted_on_fileid);

    /* the same through .snapshots */
    assert_int_equal(lookup(e, &e->vol, ".snapshots", &dir, &da), 0);
    assert_int_equal(dir.kind, VOBJ_SNAPDIR);
    assert_true(da.fsid == va.fsid && da.a.type == IT_DIR && da.a.nlink == 3);
    assert_int_equal(lookup(e, &dir, "a", &x, NULL), 0);
    assert_true(vobj_same(&x, &s));
    assert_int_equal(lookup(e, &dir, "b", &x, NULL), -ENOENT);
    /* and up again */
    assert_int_equal(vfs_lookup_parent(e->v, &e->call, &s, &root, &up), 0);
    assert_true(vobj_same(&up, &dir) && !vobj_same(&up, &e->vol));
    assert_int_equal(vfs_lookup_parent(e->v, &e->call, &up, &root, &up), 0);
    assert_true(vobj_same(&up, &e->vol));
    /* none of a snapshot's own, none further down */
    assert_int_equal(lookup(e, &s, ".snapshots", &x, NULL), -ENOENT);
    assert_int_equal(make(e, &e->vol, "d", IT_DIR, &x), 0);
    assert_int_equal(lookup(e, &x, ".snapshots", &x, NULL), -ENOENT);
    vobj_release(&s);
    vobj_release(&up);
    vobj_release(&dir);
    vobj_release(&x);
}

static void listed(void **state)
{
    struct env *e = *state;
    struct vobj dir = {0};
    struct volume_props props;

    put(e, "f", "x");
    assert_int_equal(vfs_snap_create(e->v, "alice/v@b"), 0);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@c"), 0);
    assert_int_equal(vfs_snap_rename(e->v, "alice/v@c", "alice/w@d"), -EXDEV);
    assert_int_equal(vfs_snap_rename(e->v, "alice/v@c", "alice/d"), -EINVAL);
    assert_int_equal(vfs_snap_rename(e->v, "alice/v@c", "alice/v@d"), 0);
    assert_int_equal(vfs_snap_destroy(e->v, "alice/v@a"), 0);
    assert_int_equal(lookup(e, &e->vol, ".snapshots", &dir, NULL), 0);
    list(e, &dir, "b d ");
    list(e, &e->user, "v ");
    list(e, &e->vol, "f ");
    volume_get_props(e->vol.vol, &props);
    props.snapdir = true;
    assert_int_equal(vfs_volume_set_props(e->v, "alice/v", &props), 0);
    list(e, &e->vol, ".snapshots f ");
    vobj_release(&dir);
}

static void read_only(void **state)
{
    struct env *e = *state;
    struct vobj s = {0}, dir = {0}, f = {0}, x = {0};
    struct vset set = {.mask = VSET_MODE, .mode = 0700};
    struct vfs_stat st;
    unsigned got;

    put(e, "f", "x");
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    assert_int_equal(lookup(e, &e->vol, ".snapshots", &dir, NULL), 0);
    assert_int_equal(lookup(e, &dir, "a", &s, NULL), 0);
    assert_int_equal(lookup(e, &s, "f", &f, NULL), 0);
    assert_int_equal(make(e, &s, "n", IT_DIR, &x), -EROFS);
    assert_int_equal(make(e, &dir, "n", IT_DIR, &x), -EROFS);
    assert_int_equal(vfs_remove(e->v, &e->call, &s, &root, "f", 1, NULL, NULL, NULL), -EROFS);
    assert_int_equal(vfs_remove(e->v, &e->call, &dir, &root, "a", 1, NULL, NULL, NULL), -EROFS);
    assert_int_equal(vfs_setattr(e->v, &e->call, &f, &root, &set, false, NULL), -EROFS);
    assert_int_equal(vfs_write(e->v, &e->call, &f, &root, true, 0, "y", 1, true, NULL, NULL), -EROFS);
    assert_int_equal(vfs_link(e->v, &e->call, &f, &s, &root, "g", 1, NULL), -EROFS);
    assert_int_equal(vfs_link(e->v, &e->call, &f, &e->vol, &root, "g", 1, NULL), -EXDEV);
    assert_int_equal(vfs_rename(e->v, &e->call, &dir, "a", 1, &dir, "b", 1, &root, NULL, NULL, NULL, NULL),
                     -EROFS);
    assert_int_equal(vfs_rename(e->v, &e->call, &s, "f", 1, &s, "g", 1, &root, NULL, NULL, NULL, NULL), -EROFS);
    assert_int_equal(vfs_access(e->v, &e->call, &f, &root, VMAY_READ | VMAY_WRITE, &got), 0);
    assert_int_equal(got, VMAY_READ);
    assert_int_equal(vfs_access(e->v, &e->call, &dir, &root, VMAY_READ | VMAY_WRITE, &got), 0);
    assert_int_equal(got, VMAY_READ);
    assert_int_equal(vfs_statfs(e->v, &e->call, &dir, &st), 0);
    assert_true(st.total_files > 0);
    /* the name is taken */
    assert_int_equal(make(e, &e->vol, ".snapshots", IT_DIR, &x), -EEXIST);
    assert_int_equal(vfs_remove(e->v, &e->call, &e->vol, &root, ".snapshots", 10, NULL, NULL, NULL), -EROFS);
    assert_int_equal(vfs_rename(e->v, &e->call, &e->vol, "f", 1, &e->vol, ".snapshots", 10, &root, NULL, NULL,
                                NULL, NULL),
                     -EEXIST);
    assert_int_equal(lookup(e, &e->vol, "f", &f, NULL), 0);
    assert_int_equal(vfs_link(e->v, &e->call, &f, &e->vol, &root, ".snapshots", 10, NULL), -EEXIST);
    vobj_release(&x);
    vobj_release(&f);
    vobj_release(&s);
    vobj_release(&dir);
}

/* The parts of a handle find the same things after a restart. */
static void handles_last(void **state)
{
    struct env *e = *state;
    struct vobj s = {0}, f = {0}, x = {0}, dir = {0};
    struct vfs_attr before, after;
    uint64_t vol, snap;

    put(e, "f", "x");
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    assert_int_equal(lookup(e, &e->user, "v@a", &s, NULL), 0);
    assert_int_equal(lookup(e, &s, "f", &f, &before), 0);
    vol = volume_id(e->vol.vol);
    snap = volume_id(f.vol);
    vobj_release(&s);
    vobj_release(&f);
    vt_stop(e);
    start(e);
    assert_int_equal(vfs_object(e->v, &e->call, 0, snap, before.a.ino, before.a.gen, &x), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &x, &after), 0);
    assert_true(after.fsid == before.fsid && after.a.ino == before.a.ino && after.a.change == before.a.change);
    assert_int_equal(vfs_object(e->v, &e->call, 0, vol, 0, 0, &dir), 0);
    assert_int_equal(dir.kind, VOBJ_SNAPDIR);
    assert_int_equal(lookup(e, &dir, "a", &s, NULL), 0);
    assert_int_equal(vfs_object(e->v, &e->call, 0, snap_volume_id(vol, 77), 1, 0, &f), -ESTALE);
    /* gone under its users */
    assert_int_equal(vfs_snap_destroy(e->v, "alice/v@a"), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &x, &after), -ESTALE);
    assert_int_equal(vfs_object(e->v, &e->call, 0, snap, before.a.ino, before.a.gen, &f), -ESTALE);
    assert_int_equal(vfs_getattr(e->v, &e->call, &dir, &after), 0);
    /* and with its volume */
    assert_int_equal(vfs_snap_create(e->v, "alice/v@b"), 0);
    assert_int_equal(lookup(e, &e->user, "v@b", &s, NULL), 0);
    assert_int_equal(vfs_volume_destroy(e->v, "alice/v"), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &s, &after), -ESTALE);
    assert_int_equal(lookup(e, &e->user, "v@b", &x, NULL), -ENOENT);
    vobj_release(&x);
    vobj_release(&s);
    vobj_release(&f);
    vobj_release(&dir);
}

static void clone_and_roll_back(void **state)
{
    struct env *e = *state;
    struct vobj c = {0}, f = {0}, g = {0};
    struct vfs_attr before, after;

    put(e, "f", "one");
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    put(e, "f", "two");
    put(e, "g", "new");
    assert_int_equal(vfs_snap_create(e->v, "alice/v@b"), 0);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@c", "alice/w"), -ENOENT);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice"), -EINVAL);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice/v@x"), -EINVAL);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice/v"), -EEXIST);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "bob/w"), 0);
    vfs_root(e->v, &c);
    assert_int_equal(lookup(e, &c, "bob", &c, NULL), 0);
    assert_int_equal(lookup(e, &c, "w", &c, NULL), 0);
    assert_true(holds(e, &c, "f", "one"));
    assert_int_equal(make(e, &c, "h", IT_REG, &f), 0);
    assert_int_equal(lookup(e, &e->vol, "h", &f, NULL), -ENOENT);

    assert_int_equal(lookup(e, &e->vol, "f", &f, &before), 0);
    assert_int_equal(lookup(e, &e->vol, "g", &g, NULL), 0);
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@c", 0), -ENOENT);
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@a", 0), -EEXIST);
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@a", VFS_ROLLBACK_KEEP), 0);
    /* who holds the old volume comes again; a handle finds the new one */
    assert_int_equal(vfs_getattr(e->v, &e->call, &f, &after), -EBUSY);
    assert_int_equal(vfs_object(e->v, &e->call, 0, before.fsid, before.a.ino, before.a.gen, &f), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &f, &after), 0);
    assert_true(after.a.change > before.a.change && after.a.size == 3);
    assert_int_equal(vfs_object(e->v, &e->call, 0, before.fsid, g.ino, g.gen, &g), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &g, &after), -ESTALE);
    assert_int_equal(lookup(e, &e->user, "v", &e->vol, NULL), 0);
    assert_true(holds(e, &e->vol, "f", "one"));
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@b", 0), 0);
    assert_int_equal(lookup(e, &e->user, "v", &e->vol, NULL), 0);
    assert_true(holds(e, &e->vol, "f", "two") && holds(e, &e->vol, "g", "new"));
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@a", VFS_ROLLBACK_DESTROY), 0);
    assert_int_equal(lookup(e, &e->user, "v@b", &g, NULL), -ENOENT);
    assert_int_equal(lookup(e, &e->user, "v", &e->vol, NULL), 0);
    assert_true(holds(e, &c, "f", "one"));
    vobj_release(&c);
    vobj_release(&f);
    vobj_release(&g);
}

static struct vfs *cloning;
static int others_may;

/* In the middle of a clone. */
static void look(const char *name, int hit)
{
    if (hit && pthread_mutex_trylock(&cloning->admin) == 0) {
        others_may = 1;
        pthread_mutex_unlock(&cloning->admin);
    }
}

/* A clone may take long: others make and remove volumes meanwhile. */
static void clone_locks_nobody_out(void **state)
{
    struct env *e = *state;

    put(e, "f", "one");
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    cloning = e->v;
    fault_watch(look);
    fault_arm("clone.done", 1, FAULT_FAIL);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice/w"), -EIO);
    fault_disarm();
    fault_watch(NULL);
    assert_true(others_may);
    assert_int_equal(vfs_volume_count(e->v), 1);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice/w"), 0);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice/w"), -EEXIST);
}

/* A clone that is being made, as far as others can see it. */
static struct snap *clone_begins(struct volume *vol)
{
    struct snap *s;

    pthread_mutex_lock(&vol->lock);
    s = list_first(&vol->snaps, struct snap, link);
    s->cloning++;
    vol->inside++;
    pthread_mutex_unlock(&vol->lock);
    return s;
}

static void clone_ends(struct volume *vol, struct snap *s)
{
    pthread_mutex_lock(&vol->lock);
    s->cloning--;
    vol_wake(vol);
    vol_leave(vol);
}

static bool has_folder(struct env *e, const char *form, uint64_t id)
{
    char name[64], path[256];

    snprintf(name, sizeof(name), form, (unsigned long long)id);
    snprintf(path, sizeof(path), "%s/volumes/%s", e->v->store, name);
    return access(path, F_OK) == 0;
}

/* Who removes the volume meanwhile does not wait either, nor does anybody else; what the clone is made of stays until it is
 * complete. */
static void removed_while_cloned(struct env *e, int (*removal)(struct env *e))
{
    uint64_t id;
    struct volume *vol;
    struct snap *s;

    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@b"), 0);
    vol = volume_ref(e->vol.vol);
    id = e->vol.vol->id;
    s = clone_begins(vol);
    assert_int_equal(vfs_snap_destroy(e->v, "alice/v@a"), -EBUSY);
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@b", 0), -EBUSY);
    assert_int_equal(removal(e), 0);
    assert_int_equal(vfs_volume_count(e->v), 0);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@b", "alice/w"), -ENOENT);
    vobj_release(&e->vol);
    make_volume(e); /* one of the same name */
    put(e, "f", "mine");
    usleep(1200000); /* the keeper has looked */
    assert_true(has_folder(e, "%016llx", id));
    clone_ends(vol, s);
    volume_unref(vol);
    for (int i = 0; i < 6000 && (has_folder(e, "%016llx", id) || has_folder(e, "trash-%016llx", id)); i++)
        usleep(10000);
    assert_false(has_folder(e, "%016llx", id) || has_folder(e, "trash-%016llx", id));
    assert_true(holds(e, &e->vol, "f", "mine"));
}

static int by_rmdir(struct env *e)
{
    return vfs_remove(e->v, &e->call, &e->user, &root, "v", 1, NULL, NULL, NULL);
}

static void rmdir_while_cloned(void **state)
{
    struct env *e = *state;

    put(e, "f", "it is not empty");
    assert_int_equal(by_rmdir(e), -ENOTEMPTY);
    assert_int_equal(vfs_remove(e->v, &e->call, &e->vol, &root, "f", 1, NULL, NULL, NULL), 0);
    store_call_release(&e->call);
    removed_while_cloned(e, by_rmdir);
}

static int by_name(struct env *e)
{
    return vfs_volume_destroy(e->v, "alice/v");
}

static void destroyed_while_cloned(void **state)
{
    struct env *e = *state;

    put(e, "f", "it is not empty");
    removed_while_cloned(e, by_name);
}

/* If it cannot be removed after all it is as it was, and nobody waited. */
static void not_removed_while_cloned(void **state)
{
    struct env *e = *state;
    struct volume *vol;
    struct snap *s;

    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    vol = volume_ref(e->vol.vol);
    s = clone_begins(vol);
    fault_arm("statedb.write", 1, FAULT_FAIL);
    alarm(300); /* instead of for ever */
    assert_int_equal(by_rmdir(e), -EIO);
    alarm(0);
    fault_disarm();
    put(e, "f", "still here");
    assert_true(holds(e, &e->vol, "f", "still here"));
    clone_ends(vol, s);
    volume_unref(vol);
    assert_int_equal(by_rmdir(e), -ENOTEMPTY);
    assert_int_equal(vfs_remove(e->v, &e->call, &e->vol, &root, "f", 1, NULL, NULL, NULL), 0);
    assert_int_equal(by_rmdir(e), 0);
}

/* A server that stops meanwhile leaves nothing. */
static void stopped_while_cloned(void **state)
{
    struct env *e = *state;
    uint64_t id = e->vol.vol->id;
    struct volume *vol = volume_ref(e->vol.vol);
    struct snap *s;

    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    s = clone_begins(vol);
    assert_int_equal(by_name(e), 0);
    clone_ends(vol, s);
    volume_unref(vol);
    vt_stop(e);
    start(e);
    for (int i = 0; i < 6000 && (has_folder(e, "%016llx", id) || has_folder(e, "trash-%016llx", id)); i++)
        usleep(10000);
    assert_false(has_folder(e, "%016llx", id) || has_folder(e, "trash-%016llx", id));
    assert_int_equal(vfs_volume_count(e->v), 1); /* the new one */
}

static struct volume *going_back;
static int cloned;

/* In the middle of going back: the younger snapshot is destroyed. */
static void clone_now(const char *name, int hit)
{
    char dir[300];

    if (!hit || strcmp(name, "snap.unlink"))
        return;
    snprintf(dir, sizeof(dir), "%s-clone", going_back->dir);
    cloned = snap_clone(going_back, "a", dir);
}

/* Nobody begins a clone then, which all would have to wait for; but again when it was not to be. */
static void no_clone_while_going_back(void **state)
{
    struct env *e = *state;

    put(e, "f", "one");
    assert_int_equal(vfs_snap_create(e->v, "alice/v@a"), 0);
    assert_int_equal(vfs_snap_create(e->v, "alice/v@b"), 0);
    put(e, "f", "two");
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@a", 0), -EEXIST);
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice/w"), 0);
    going_back = volume_ref(e->vol.vol);
    fault_watch(clone_now);
    fault_arm("snap.unlink", 1, FAULT_FAIL);
    assert_int_equal(vfs_snap_rollback(e->v, "alice/v@a", VFS_ROLLBACK_DESTROY), 0);
    fault_disarm();
    fault_watch(NULL);
    assert_int_equal(cloned, -EBUSY);
    volume_unref(going_back);
    vobj_release(&e->vol);
    assert_int_equal(lookup(e, &e->user, "v", &e->vol, NULL), 0);
    assert_true(holds(e, &e->vol, "f", "one"));
    assert_int_equal(vfs_snap_clone(e->v, "alice/v@a", "alice/x"), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, vt_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(found_by_name), T(listed), T(read_only), T(handles_last), T(clone_and_roll_back),
                                       T(clone_locks_nobody_out), T(rmdir_while_cloned), T(destroyed_while_cloned),
                                       T(not_removed_while_cloned), T(stopped_while_cloned), T(no_clone_while_going_back)};

    return cmocka_run_group_tests_name("vfs_snap", tests, NULL, NULL);
}
