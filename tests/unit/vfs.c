/* SPDX-License-Identifier: Apache-2.0
 * vfs: users, volumes and names over a real store.
 */
#include "common/fault.h"
#include "tests/unit/vfstest.h"

static const struct vcred alice = {.uid = 1000, .gid = 1000};
static const struct vcred bob = {.uid = 1001, .gid = 1001};

static int make(struct env *e, const struct vobj *dir, const struct vcred *c, const char *name,
                enum inode_type type, uint32_t mode, bool excl, struct vobj *out, bool *created)
{
    struct vfs_create a = {.name = name,
                           .len = strlen(name),
                           .type = type,
                           .set = {.mask = VSET_MODE, .mode = mode},
                           .excl = excl};
    struct vfs_attr attr;
    struct dir_change dc;
    bool made;
    return vfs_create(e->v, &e->call, dir, c, &a, out, &attr, created ? created : &made, &dc);
}

/* An open volume alice/v owned by alice, mode as said. */
static void open_volume(struct env *e, uint32_t mode, struct vobj *vol)
{
    struct volume_props props;
    struct vobj user = {0};
    volume_props_default(&props);
    assert_int_equal(vfs_volume_create(e->v, "alice/v", &props, 1000, 1000, mode), 0);
    vt_find_volume(e, &user, vol);
    vobj_release(&user);
}

static int remove_name(struct env *e, const struct vobj *dir, const struct vcred *c, const char *name)
{
    return vfs_remove(e->v, &e->call, dir, c, name, strlen(name), NULL, NULL, NULL);
}

static void test_bad_names(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, out = {0}, top = {0};
    char longer[STORE_NAME_MAX + 2];
    static const char *const bad[] = {"", ".", "..", "a/b", "/"};
    struct volume_props props;
    volume_props_default(&props);
    static const char *const bad_volumes[] = {"", "/", "alice", "alice/", "/v", "alice/v/w", ".a/v",
                                              "alice/-v", "al ice/v", "alice/\xc3\xa4", "../v"};
    for (size_t i = 0; i < sizeof(bad_volumes) / sizeof(bad_volumes[0]); i++)
        assert_int_equal(vfs_volume_create(e->v, bad_volumes[i], &props, 0, 0, 0755), -EINVAL);
    open_volume(e, 0755, &vol);
    vfs_root(e->v, &top);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(lookup(e, &vol, bad[i], &out, NULL), -EINVAL);
        assert_int_equal(lookup(e, &top, bad[i], &out, NULL), -EINVAL);
        assert_int_equal(make(e, &vol, &root, bad[i], IT_DIR, 0755, true, &out, NULL), -EINVAL);
        assert_int_equal(remove_name(e, &vol, &root, bad[i]), -EINVAL);
    }
    assert_int_equal(vfs_lookup(e->v, &e->call, &vol, &root, "a\0b", 3, &out, NULL), -EINVAL);
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = 0;
    assert_int_equal(lookup(e, &vol, longer, &out, NULL), -ENAMETOOLONG);
    assert_int_equal(make(e, &vol, &root, longer, IT_REG, 0644, true, &out, NULL), -ENAMETOOLONG);
    longer[STORE_NAME_MAX] = 0;
    assert_int_equal(make(e, &vol, &root, longer, IT_REG, 0644, true, &out, NULL), 0);
    assert_int_equal(make(e, &top, &root, longer, IT_DIR, 0755, true, &out, NULL), -ENAMETOOLONG);
    assert_int_equal(make(e, &top, &root, "sp ace", IT_DIR, 0755, true, &out, NULL), -EINVAL);
    assert_int_equal(make(e, &top, &root, "file", IT_REG, 0755, true, &out, NULL), -EACCES);
    vobj_release(&out);
    vobj_release(&vol);
}

static void test_pseudo_tree(void **state)
{
    struct env *e = *state;
    struct vobj top = {0}, user = {0}, vol = {0}, up = {0};
    struct vfs_attr ta, ua, va, tb;
    struct store_call cold;
    vfs_root(e->v, &top);
    assert_int_equal(lookup(e, &top, "alice", &user, NULL), -ENOENT);
    assert_int_equal(vfs_lookup_parent(e->v, &e->call, &top, &root, &up), -ENOENT);
    assert_int_equal(vfs_getattr(e->v, &e->call, &top, &ta), 0);
    assert_int_equal(make(e, &top, &bob, "alice", IT_DIR, 0755, true, &user, NULL), 0);
    assert_int_equal(make(e, &top, &bob, "alice", IT_DIR, 0755, true, &user, NULL), -EEXIST);
    assert_int_equal(make(e, &user, &alice, "data", IT_DIR, 0750, true, &vol, NULL), 0);
    assert_int_equal(make(e, &user, &alice, "data", IT_DIR, 0750, true, &vol, NULL), -EEXIST);
    assert_int_equal(vfs_getattr(e->v, &e->call, &top, &tb), 0);
    assert_true(tb.a.change > ta.a.change);
    assert_int_equal(tb.a.nlink, 3);
    assert_int_equal(vfs_getattr(e->v, &e->call, &user, &ua), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &vol, &va), 0);
    assert_int_equal(ua.fsid, 0);
    assert_int_equal(va.a.ino, STORE_ROOT_INO);
    assert_int_equal(va.a.mode, 0750);
    assert_int_equal(va.a.uid, 1000);
    assert_true(va.fsid != 0);
    /* File ids within the pseudo tree are all different. */
    assert_true(va.mounted_on_fileid != ua.a.ino && ua.a.ino != ta.a.ino &&
                va.mounted_on_fileid != ta.a.ino);
    assert_int_equal(vfs_lookup_parent(e->v, &e->call, &vol, &root, &up), 0);
    assert_true(vobj_same(&up, &user));
    assert_int_equal(vfs_lookup_parent(e->v, &e->call, &up, &root, &up), 0);
    assert_true(vobj_same(&up, &top));
    /* A handle's parts lead back; a cold volume needs leave to block. */
    uint64_t uid = user.user;
    vobj_release(&vol);
    vt_stop(e);
    vt_start(e);
    store_call_init(&cold, false);
    assert_int_equal(vfs_object(e->v, &cold, 0, va.fsid, 1, va.a.gen, &vol), -EAGAIN);
    assert_int_equal(vfs_object(e->v, &e->call, 0, va.fsid, 1, va.a.gen, &vol), 0);
    vobj_release(&vol);
    assert_int_equal(vfs_object(e->v, &cold, 0, va.fsid, 1, va.a.gen, &vol), 0);
    assert_int_equal(vfs_object(e->v, &cold, uid, 0, 0, 0, &user), 0);
    assert_int_equal(vfs_object(e->v, &cold, uid + 77, 0, 0, 0, &up), -ESTALE);
    assert_int_equal(vfs_object(e->v, &cold, 0, va.fsid + 77, 1, 0, &up), -ESTALE);
    store_call_release(&cold);
    assert_int_equal(vfs_getattr(e->v, &e->call, &top, &ta), 0);
    assert_true(ta.a.change > tb.a.change); /* never goes back over a restart */
    assert_int_equal(vfs_setattr(e->v, &e->call, &top, &alice,
                                 &(struct vset){.mask = VSET_MODE, .mode = 0}, false, NULL), -EPERM);
    vobj_release(&vol);
}

struct seen {
    unsigned n, stop_after;
    char names[16][32];
    uint64_t cookie;
};

static bool see(void *arg, const struct vfs_dirent *de)
{
    struct seen *s = arg;
    assert_int_equal(de->err, 0);
    assert_true(de->cookie > s->cookie && de->cookie > 7);
    s->cookie = de->cookie;
    snprintf(s->names[s->n++ % 16], sizeof(s->names[0]), "%.*s", (int)de->len, de->name);
    return s->n < s->stop_after;
}

static void test_readdir(void **state)
{
    struct env *e = *state;
    struct vobj top = {0}, user = {0}, vol = {0};
    char name[16];
    bool eof = true;
    struct seen s = {.stop_after = 2};
    vfs_root(e->v, &top);
    assert_int_equal(make(e, &top, &root, "u", IT_DIR, 0755, true, &user, NULL), 0);
    for (int i = 0; i < 5; i++) {
        snprintf(name, sizeof(name), "v%d", i);
        assert_int_equal(make(e, &user, &alice, name, IT_DIR, 0755, true, &vol, NULL), 0);
    }
    assert_int_equal(vfs_readdir(e->v, &e->call, &user, &bob, 0, 100, see, &s, &eof), 0);
    assert_false(eof);
    assert_int_equal(s.n, 2);
    /* An entry that goes and one that comes do not disturb the others. */
    assert_int_equal(remove_name(e, &user, &alice, "v1"), 0);
    assert_int_equal(make(e, &user, &alice, "v9", IT_DIR, 0755, true, &vol, NULL), 0);
    s.stop_after = 100;
    assert_int_equal(vfs_readdir(e->v, &e->call, &user, &bob, s.cookie, 3, see, &s, &eof), 0);
    assert_false(eof);
    assert_int_equal(vfs_readdir(e->v, &e->call, &user, &bob, s.cookie, 3, see, &s, &eof), 0);
    assert_true(eof);
    assert_int_equal(s.n, 6);
    assert_string_equal(s.names[2], "v2");
    assert_string_equal(s.names[5], "v9");
    /* Inside a volume it needs the right to read. */
    struct vset set = {.mask = VSET_MODE, .mode = 0711};
    assert_int_equal(vfs_setattr(e->v, &e->call, &vol, &alice, &set, false, NULL), 0);
    assert_int_equal(vfs_readdir(e->v, &e->call, &vol, &bob, 0, 3, see, &s, &eof), -EACCES);
    vobj_release(&vol);
}

static void test_remove_volume(void **state)
{
    struct env *e = *state;
    struct vobj top = {0}, user = {0}, vol = {0}, f = {0};
    struct vfs_attr va;
    vfs_root(e->v, &top);
    open_volume(e, 0777, &vol);
    assert_int_equal(lookup(e, &top, "alice", &user, NULL), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &vol, &va), 0);
    assert_int_equal(remove_name(e, &top, &root, "alice"), -ENOTEMPTY);
    assert_int_equal(remove_name(e, &user, &root, "nothing"), -ENOENT);
    assert_int_equal(make(e, &vol, &bob, "f", IT_REG, 0644, true, &f, NULL), 0);
    assert_int_equal(remove_name(e, &user, &alice, "v"), -ENOTEMPTY);
    assert_int_equal(remove_name(e, &vol, &bob, "f"), 0);
    assert_int_equal(remove_name(e, &user, &bob, "v"), -EPERM);
    assert_int_equal(remove_name(e, &user, &alice, "v"), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &vol, &va), -ESTALE);
    assert_int_equal(make(e, &vol, &alice, "g", IT_REG, 0644, true, &f, NULL), -ESTALE);
    assert_int_equal(vfs_object(e->v, &e->call, 0, va.fsid, 1, 0, &f), -ESTALE);
    assert_int_equal(lookup(e, &user, "v", &f, NULL), -ENOENT);
    vobj_release(&vol);
    vobj_release(&f);
    char path[64];
    snprintf(path, sizeof(path), "volumes/%016llx", (unsigned long long)va.fsid);
    assert_int_equal(access(st_path(e->dir, path), F_OK), -1);
    assert_int_equal(remove_name(e, &top, &root, "alice"), 0);
    assert_int_equal(lookup(e, &top, "alice", &user, NULL), -ENOENT);
    assert_int_equal(vfs_getattr(e->v, &e->call, &user, &va), -ESTALE);
}

static void test_destroy_and_holds(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, f = {0};
    struct vfs_hold *h = NULL;
    struct vfs_volume_info info;
    open_volume(e, 0777, &vol);
    assert_int_equal(vfs_volume_destroy(e->v, "alice/none"), -ENOENT);
    assert_int_equal(vfs_volume_destroy(e->v, "alice"), -EINVAL);
    assert_int_equal(make(e, &vol, &bob, "f", IT_REG, 0644, true, &f, NULL), 0);
    assert_int_equal(vfs_hold_new(e->v, &e->call, &f, &h), 0);
    assert_int_equal(vfs_volume_info(e->v, "alice/v", &info), 0);
    assert_int_equal(info.err, 0);
    assert_int_equal(info.stat.files, 1);
    assert_int_equal(vfs_volume_destroy(e->v, "alice/v"), 0);
    assert_int_equal(vfs_volume_info(e->v, "alice/v", &info), -ENOENT);
    vobj_release(&vol);
    vobj_release(&f);
    vfs_hold_drop(h);
    vfs_hold_drop(NULL);
    store_call_release(&e->call);
    store_call_init(&e->call, true);
    /* The name may be used again, for another volume. */
    open_volume(e, 0700, &vol);
    assert_int_equal(lookup(e, &vol, "f", &f, NULL), -ENOENT);
    vobj_release(&vol);
}

static void test_rename_volume(void **state)
{
    struct env *e = *state;
    struct vobj top = {0}, user = {0}, vol = {0}, o = {0};
    struct volume_props props;
    volume_props_default(&props);
    open_volume(e, 0755, &vol);
    vfs_root(e->v, &top);
    assert_int_equal(lookup(e, &top, "alice", &user, NULL), 0);
    assert_int_equal(vfs_volume_create(e->v, "alice/w", &props, 0, 0, 0755), 0);
#define RENAME(c, from, to)                                                                        \
    vfs_rename(e->v, &e->call, &user, from, strlen(from), &user, to, strlen(to), c, NULL, NULL, NULL, \
               NULL)
    assert_int_equal(RENAME(&bob, "v", "x"), -EPERM);
    assert_int_equal(RENAME(&alice, "v", "w"), -EEXIST);
    assert_int_equal(RENAME(&alice, "none", "w"), -ENOENT);
    assert_int_equal(RENAME(&alice, "v", "v"), 0);
    assert_int_equal(RENAME(&alice, "v", "x"), 0);
    assert_int_equal(lookup(e, &user, "v", &o, NULL), -ENOENT);
    assert_int_equal(lookup(e, &user, "x", &o, NULL), 0);
    assert_true(vobj_same(&o, &vol));
    assert_int_equal(vfs_rename(e->v, &e->call, &top, "alice", 5, &top, "bob", 3, &root, NULL, NULL, NULL,
                                NULL), -EPERM);
    assert_int_equal(vfs_rename(e->v, &e->call, &user, "x", 1, &vol, "x", 1, &root, NULL, NULL, NULL,
                                NULL), -EXDEV);
    vobj_release(&o);
    vobj_release(&vol);
    vt_stop(e);
    vt_start(e);
    assert_int_equal(lookup(e, &user, "x", &o, NULL), 0); /* the rename was durable */
    vobj_release(&o);
}

/* Folders are removed in the background. */
static void wait_gone(const char *path)
{
    for (unsigned i = 0; i < 3000 && access(path, F_OK) == 0; i++)
        usleep(10000);
    assert_int_equal(access(path, F_OK), -1);
}

static void test_crash_leftovers(void **state)
{
    struct env *e = *state;
    struct volume_props props;
    struct vfs_volume_info info;
    volume_props_default(&props);
    assert_int_equal(vfs_volume_create(e->v, "a/keep", &props, 0, 0, 0755), 0);
    assert_int_equal(vfs_volume_create(e->v, "a/gone", &props, 0, 0, 0755), 0);
    assert_int_equal(vfs_volume_info(e->v, "a/gone", &info), 0);
    /* A create whose row never came, and a folder of a state.db that is not ours. */
    fault_arm("namespace.row", 1, FAULT_FAIL);
    assert_int_equal(vfs_volume_create(e->v, "a/half", &props, 0, 0, 0755), -EIO);
    fault_disarm();
    fault_arm("trash.remove", 1, FAULT_FAIL); /* or it is not reached before the end */
    assert_int_equal(vfs_volume_destroy(e->v, "a/gone"), 0);
    vt_stop(e);
    fault_disarm();
    char trash[64];
    snprintf(trash, sizeof(trash), "volumes/trash-%016llx", (unsigned long long)info.id);
    assert_int_equal(access(st_path(e->dir, trash), F_OK), 0);
    assert_int_equal(mkdir(st_path(e->dir, "volumes/0000000000ffffff"), 0700), 0);
    assert_int_equal(mkdir(st_path(e->dir, "volumes/notes"), 0700), 0);
    vt_start(e);
    wait_gone(st_path(e->dir, trash));
    assert_int_equal(access(st_path(e->dir, "volumes/0000000000ffffff"), F_OK), 0);
    assert_int_equal(access(st_path(e->dir, "volumes/notes"), F_OK), 0);
    assert_int_equal(vfs_volume_info(e->v, "a/keep", &info), 0);
    assert_int_equal(info.err, 0);
    assert_int_equal(vfs_volume_info(e->v, "a/half", &info), -ENOENT);
}

static void test_create_files(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, a = {0}, b = {0}, d = {0};
    struct vfs_attr attr;
    bool created;
    open_volume(e, 0755, &vol);
    assert_int_equal(make(e, &vol, &bob, "f", IT_REG, 0644, false, &a, &created), -EACCES);
    assert_int_equal(make(e, &vol, &alice, "f", IT_REG, 0640, false, &a, &created), 0);
    assert_true(created);
    /* Unchecked: the existing file as it is, also for one who may not write the directory. */
    assert_int_equal(make(e, &vol, &bob, "f", IT_REG, 0777, false, &b, &created), 0);
    assert_false(created);
    assert_true(vobj_same(&a, &b));
    assert_int_equal(vfs_getattr(e->v, &e->call, &b, &attr), 0);
    assert_int_equal(attr.a.mode, 0640);
    assert_int_equal(attr.mounted_on_fileid, attr.a.ino);
    vobj_release(&b);
    assert_int_equal(make(e, &vol, &alice, "f", IT_REG, 0644, true, &b, &created), -EEXIST);
    assert_false(created);
    assert_true(vobj_same(&a, &b));
    assert_int_equal(make(e, &vol, &alice, "d", IT_DIR, 02775, true, &d, NULL), 0);
    assert_int_equal(make(e, &vol, &alice, "d", IT_REG, 0644, false, &b, &created), -EEXIST);
    /* setgid: the directory's group and, for directories, the bit are inherited. */
    struct vset set = {.mask = VSET_GID | VSET_MODE, .gid = 77, .mode = 02777};
    assert_int_equal(vfs_setattr(e->v, &e->call, &d, &root, &set, false, NULL), 0);
    assert_int_equal(make(e, &d, &bob, "sub", IT_DIR, 0755, true, &b, NULL), 0);
    assert_int_equal(vfs_getattr(e->v, &e->call, &b, &attr), 0);
    assert_int_equal(attr.a.gid, 77);
    assert_int_equal(attr.a.mode, 02755);
    assert_int_equal(lookup(e, &a, "x", &b, NULL), -ENOTDIR);
    vobj_release(&a);
    vobj_release(&b);
    vobj_release(&d);
    vobj_release(&vol);
}

static void test_sticky_and_rename(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, o = {0}, sub = {0};
    bool last = false;
    open_volume(e, 01777, &vol);
    assert_int_equal(make(e, &vol, &alice, "a", IT_REG, 0644, true, &o, NULL), 0);
    assert_int_equal(make(e, &vol, &bob, "b", IT_REG, 0644, true, &o, NULL), 0);
    assert_int_equal(make(e, &vol, &bob, "dir", IT_DIR, 0555, true, &sub, NULL), 0);
#define MOVE(c, from, ddir, to)                                                                    \
    vfs_rename(e->v, &e->call, &vol, from, strlen(from), ddir, to, strlen(to), c, &o, &last, NULL, NULL)
    assert_int_equal(remove_name(e, &vol, &bob, "a"), -EPERM);
    assert_int_equal(MOVE(&bob, "a", &vol, "c"), -EPERM);
    assert_int_equal(MOVE(&bob, "b", &vol, "a"), -EPERM);
    assert_int_equal(MOVE(&bob, "b", &sub, "b"), -EACCES);
    assert_int_equal(MOVE(&bob, "b", &vol, "c"), 0);
    assert_int_equal(o.kind, VOBJ_NONE);
    assert_int_equal(make(e, &vol, &bob, "b", IT_REG, 0644, true, &o, NULL), 0);
    assert_int_equal(MOVE(&bob, "c", &vol, "b"), 0);
    assert_int_equal(o.kind, VOBJ_FILE);
    assert_true(last);
    assert_int_equal(remove_name(e, &vol, &alice, "b"), 0); /* the directory's owner */
    assert_int_equal(remove_name(e, &vol, &root, "a"), 0);
    vobj_release(&o);
    vobj_release(&sub);
    vobj_release(&vol);
}

static void test_data(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, f = {0};
    struct volume_read r;
    struct vfs_attr attr;
    struct volume_props props;
    uint64_t expect = 3;
    open_volume(e, 0777, &vol);
    assert_int_equal(make(e, &vol, &alice, "f", IT_REG, 04622, true, &f, NULL), 0);
#define WRITE(c, by_open, size) \
    vfs_write(e->v, &e->call, &f, c, by_open, 0, "hello", 5, true, size, &attr)
    assert_int_equal(vfs_read(e->v, &e->call, &f, &bob, false, 0, 10, &r), -EACCES);
    assert_int_equal(vfs_read(e->v, &e->call, &vol, &bob, false, 0, 10, &r), -EISDIR);
    assert_int_equal(WRITE(&bob, false, &expect), -ESTALE);
    assert_int_equal(WRITE(&bob, false, NULL), 0);
    assert_int_equal(attr.a.mode, 0622); /* setuid went with the write */
    assert_int_equal(attr.a.size, 5);
    struct vset set = {.mask = VSET_MODE, .mode = 0};
    assert_int_equal(vfs_setattr(e->v, &e->call, &f, &alice, &set, false, NULL), 0);
    assert_int_equal(WRITE(&bob, false, NULL), -EACCES);
    assert_int_equal(WRITE(&bob, true, NULL), 0);
    assert_int_equal(WRITE(&alice, false, NULL), 0);
    assert_int_equal(vfs_read(e->v, &e->call, &f, &alice, false, 1, 10, &r), 0);
    assert_int_equal(r.len, 4);
    assert_memory_equal(r.iov[0].iov_base, "ello", 4);
    volume_read_release(&r);
    assert_int_equal(vfs_commit(e->v, &e->call, &f), 0);
    /* Read-only: everything that changes is refused, reading goes on. */
    volume_props_default(&props);
    props.readonly = true;
    assert_int_equal(vfs_volume_set_props(e->v, "alice/v", &props), 0);
    assert_int_equal(WRITE(&root, true, NULL), -EROFS);
    assert_int_equal(make(e, &vol, &root, "g", IT_REG, 0644, true, &f, NULL), -EROFS);
    assert_int_equal(remove_name(e, &vol, &root, "f"), -EROFS);
    assert_int_equal(vfs_setattr(e->v, &e->call, &f, &root, &set, false, NULL), -EROFS);
    unsigned got;
    assert_int_equal(vfs_access(e->v, &e->call, &f, &root, 7, &got), 0);
    assert_int_equal(got, VMAY_READ);
    vobj_release(&f);
    vobj_release(&vol);
}

struct names {
    char all[256];
};

static int list_one(void *arg, const struct vfs_volume_info *info)
{
    struct names *n = arg;
    size_t len = strlen(n->all);
    assert_int_equal(info->err, 0);
    snprintf(n->all + len, sizeof(n->all) - len, "%s/%s ", info->user, info->name);
    return 0;
}

static void test_list(void **state)
{
    struct env *e = *state;
    struct volume_props props;
    struct names n = {""}, b = {""};
    volume_props_default(&props);
    assert_int_equal(vfs_volume_create(e->v, "b/z", &props, 0, 0, 0755), 0);
    assert_int_equal(vfs_volume_create(e->v, "b/a", &props, 0, 0, 0755), 0);
    assert_int_equal(vfs_volume_create(e->v, "a/m", &props, 0, 0, 0755), 0);
    assert_int_equal(vfs_volume_create(e->v, "a/m", &props, 0, 0, 0755), -EEXIST);
    assert_int_equal(vfs_volume_list(e->v, "nobody", list_one, &n), -ENOENT);
    assert_int_equal(vfs_volume_list(e->v, NULL, list_one, &n), 0);
    assert_string_equal(n.all, "a/m b/a b/z ");
    assert_int_equal(vfs_volume_list(e->v, "b", list_one, &b), 0);
    assert_string_equal(b.all, "b/a b/z ");
    assert_int_equal(vfs_purge_orphans(e->v), 0);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, vt_setup, vt_teardown)
    const struct CMUnitTest tests[] = {
        T(test_bad_names),     T(test_pseudo_tree),     T(test_readdir),      T(test_remove_volume),
        T(test_rename_volume), T(test_crash_leftovers), T(test_create_files), T(test_destroy_and_holds),
        T(test_data),          T(test_list),            T(test_sticky_and_rename),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
