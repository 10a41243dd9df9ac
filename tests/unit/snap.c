/* SPDX-License-Identifier: Apache-2.0
 * Tests of snapshots: what they hold, while the volume changes, and after failures.
 */
#include <dirent.h>
#include <pthread.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "common/clock.h"
#include "server/store/diff.h"
#include "server/store/index.h"
#include "tests/unit/smalldisk.h"
#include "tests/unit/snapmodel.h"

#define ROOT  STORE_ROOT_INO
#define SNAPS 5

static struct vt T;

static int setup(void **state)
{
    vt_make(&T, NULL);
    vt_open(&T);
    return 0;
}

static int teardown(void **state)
{
    fault_disarm();
    vt_close(&T);
    model_check_disk(&T);
    vt_remove(&T);
    return 0;
}

static unsigned files_in(struct vt *t, const char *sub)
{
    char path[256];
    unsigned n = 0;
    DIR *d;

    snprintf(path, sizeof(path), "%s/%s", t->dir, sub);
    d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));)
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

/* Waits until destroyed snapshots are gone for good. */
static void settle_held(struct vt *t, uint64_t held)
{
    struct volume_stat st;

    for (int i = 0; i < 6000; i++) {
        volume_stat(t->v, &st);
        if (st.held == held)
            return;
        usleep(10000);
    }
    assert_int_equal(st.held, held);
}

static void hold_what_was(void **state)
{
    struct model *m = malloc(sizeof(*m)), *old[SNAPS] = {0};
    char names[SNAPS][16];
    uint64_t seed = 77;

    model_init(m, seed, false);
    model_make_dirs(m, &T);
    for (int step = 0; step < 900; step++) {
        model_step(m, &T);
        store_call_release(&T.c);
        if (step % 25 == 24) {
            int i = (int)model_rand(m, SNAPS);
            if (old[i]) {
                compare_snap(&T, old[i], names[i]);
                assert_int_equal(snap_destroy(T.v, names[i]), 0);
                model_drop(old[i]);
                old[i] = NULL;
            } else {
                snprintf(names[i], sizeof(names[i]), "snap-%d", step);
                assert_int_equal(snap_create(T.v, names[i], NULL), 0);
                old[i] = model_copy(m);
            }
        }
        if (step % 100 == 99) {
            vt_reopen(&T);
            model_check_disk(&T);
        }
        for (int i = 0; i < SNAPS; i++)
            if (old[i] && step % 60 == 59)
                compare_snap(&T, old[i], names[i]);
    }
    assert_int_equal(model_compare(m, &T), 0);
    vt_reopen(&T);
    for (int i = 0; i < SNAPS; i++)
        if (old[i]) {
            compare_snap(&T, old[i], names[i]);
            assert_int_equal(snap_destroy(T.v, names[i]), 0);
            model_drop(old[i]);
        }
    settle_held(&T, 0);
    assert_int_equal(files_in(&T, "snapshots"), 0);
    model_drop(m);
}

static void put(struct vt *t, const char *name, const void *data, size_t len, uint64_t *ino)
{
    struct vattr a;
    int r = vt_lookup(t, &t->c, ROOT, name, &a);

    if (r == -ENOENT)
        r = vt_create(t, &t->c, ROOT, name, IT_REG, &a);
    assert_int_equal(r, 0);
    assert_int_equal(volume_write(t->v, &t->c, a.ino, 0, data, len, false, NULL, NULL), 0);
    *ino = a.ino;
}

static void refuse(void **state)
{
    struct snap_info s, many[4];
    struct volume *v, *w;
    struct vattr a;
    struct vset set = {.mask = VSET_MODE, .mode = 0600};
    char long_name[STORE_SNAP_NAME_MAX + 2];
    uint64_t ino, id = 0;
    char buf[8];

    memset(long_name, 'a', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = 0;
    assert_int_equal(snap_create(T.v, long_name, NULL), -EINVAL);
    assert_int_equal(snap_create(T.v, "", NULL), -EINVAL);
    assert_int_equal(snap_create(T.v, ".x", NULL), -EINVAL);
    assert_int_equal(snap_create(T.v, "a/b", NULL), -EINVAL);
    assert_int_equal(snap_create(T.v, "a@b", NULL), -EINVAL);
    assert_int_equal(snap_check_name("a\0b", 3), -EINVAL);
    long_name[STORE_SNAP_NAME_MAX] = 0;
    put(&T, "f", "12345", 5, &ino);
    assert_int_equal(snap_create(T.v, long_name, &id), 0);
    assert_int_equal(id, 1);
    assert_int_equal(snap_create(T.v, long_name, NULL), -EEXIST);
    assert_int_equal(snap_create(T.v, "b", NULL), 0);
    assert_int_equal(snap_rename(T.v, "b", long_name), -EEXIST);
    assert_int_equal(snap_rename(T.v, "none", "c"), -ENOENT);
    assert_int_equal(snap_rename(T.v, "b", "c d"), -EINVAL);
    assert_int_equal(snap_rename(T.v, "b", "c"), 0);
    assert_int_equal(snap_destroy(T.v, "b"), -ENOENT);
    assert_int_equal(snap_find(T.v, "b", 1, &s), -ENOENT);
    assert_int_equal(snap_find(T.v, "", 0, &s), -ENOENT);
    vt_reopen(&T);
    assert_int_equal(snap_list(T.v, 0, many, 4), 2);
    assert_true(many[0].id == 1 && many[1].id == 2 && !strcmp(many[1].name, "c"));
    assert_int_equal(many[0].files, 1);
    assert_int_equal(snap_list(T.v, 1, many, 4), 1);
    assert_int_equal(snap_list(T.v, 0, many, 1), 1);

    assert_int_equal(snap_open(T.v, 3, true, &v), -ESTALE);
    assert_int_equal(snap_open(T.v, 2, false, &v), -EAGAIN);
    assert_int_equal(snap_open(T.v, 2, true, &v), 0);
    assert_int_equal(snap_open(T.v, 2, false, &w), 0);
    assert_ptr_equal(v, w);
    volume_unref(w);
    assert_int_equal(volume_id(v), snap_volume_id(7, 2));
    assert_int_equal(snap_base_id(volume_id(v)), 7);
    assert_int_equal(snap_id(volume_id(v)), 2);
    /* read-only, through and through */
    assert_int_equal(snap_create(v, "x", NULL), -EROFS);
    assert_int_equal(snap_destroy(v, "c"), -EROFS);
    assert_int_equal(snap_open(v, 1, true, &w), -ESTALE);
    assert_int_equal(volume_setattr(v, &T.c, ino, &set, NULL), -EROFS);
    assert_int_equal(volume_write(v, &T.c, ino, 0, "x", 1, true, NULL, NULL), -EROFS);
    assert_int_equal(volume_unlink(v, &T.c, ROOT, "f", 1, 0, NULL, NULL), -EROFS);
    assert_int_equal(volume_punch(v, &T.c, ino, 0, 5), -EROFS);
    assert_int_equal(volume_setxattr(v, &T.c, ino, "k", 1, "v", 1, 0, NULL), -EROFS);
    assert_int_equal(volume_commit(v, &T.c, ino), 0);
    assert_int_equal(volume_hold(v, &T.c, ino), 0);
    volume_release(v, ino);
    /* destroyed under its users */
    assert_int_equal(snap_destroy(T.v, "c"), 0);
    assert_int_equal(volume_getattr(v, &T.c, ino, 0, &a), -ESTALE);
    assert_int_equal(snap_open(T.v, 2, true, &w), -ESTALE);
    volume_unref(v);
    /* closed under its users */
    v = open_snap(&T, long_name);
    store_call_release(&T.c);
    assert_int_equal(volume_close(T.v), 0);
    assert_int_equal(volume_getattr(v, &T.c, ino, 0, &a), -ESTALE);
    volume_unref(v);
    engine_free(T.e);
    vt_open(&T);
    assert_int_equal(vt_read(&T, &T.c, ino, 0, buf, 5), 5);
}

/* Many open at once; those in use stay. */
static void many_open(void **state)
{
    struct volume *first, *v;
    struct vattr a;
    uint64_t ino;
    char name[16], buf[2];

    for (int i = 0; i < 24; i++) {
        snprintf(name, sizeof(name), "s%d", i);
        buf[0] = (char)i;
        put(&T, "f", buf, 1, &ino);
        assert_int_equal(snap_create(T.v, name, NULL), 0);
    }
    first = open_snap(&T, "s0");
    for (int i = 0; i < 24; i++) {
        struct vt s = T;
        snprintf(name, sizeof(name), "s%d", i);
        s.v = v = open_snap(&T, name);
        assert_int_equal(vt_read(&s, &T.c, ino, 0, buf, 1), 1);
        assert_int_equal(buf[0], i);
        volume_unref(v);
    }
    assert_int_equal(volume_getattr(first, &T.c, ino, 0, &a), 0);
    volume_unref(first);
}

/* A failure at any step leaves no snapshot and a sound volume, and the next try succeeds. */
static void may_fail(void **state)
{
    static const char *const points[] = {"snap.flush", "snap.pin", "snap.copy", "snap.sync", "snap.rename",
                                         "snap.ready"};
    static unsigned char data[300000];
    struct snap_info s;
    uint64_t ino;

    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
        vt_fill(data, sizeof(data), i + 1);
        put(&T, "f", data, sizeof(data), &ino);
        fault_arm(points[i], 1, FAULT_FAIL);
        assert_int_equal(snap_create(T.v, "s", NULL), -EIO);
        fault_disarm();
        assert_int_equal(snap_find(T.v, "s", 1, &s), -ENOENT);
        put(&T, "f", "x", 1, &ino);
        assert_int_equal(volume_commit(T.v, &T.c, ino), 0);
        vt_sync(&T);
        settle_held(&T, 0);
        assert_int_equal(files_in(&T, "snapshots"), 0);
        assert_int_equal(snap_create(T.v, "s", NULL), 0);
        assert_int_equal(snap_destroy(T.v, "s"), 0);
    }
}

/* --- clones and rollbacks --- */

/* Another volume beside T. */
static void other(struct vt *o, const char *name)
{
    *o = T;
    snprintf(o->dir, sizeof(o->dir), "%.60s/%s", T.base, name);
    store_call_init(&o->c, true);
}

static void open_other(struct vt *o)
{
    assert_int_equal(volume_open(o->e, o->dir, "test/other", 8, &o->v), 0);
}

static void steps(struct model *m, struct vt *t, int n)
{
    while (n--) {
        model_step(m, t);
        store_call_release(&t->c);
    }
}

static void clone_apart(void **state)
{
    struct model *m = malloc(sizeof(*m)), *c;
    struct snap_info s;
    char cmd[512];
    struct vt o;

    model_init(m, 5, false);
    model_make_dirs(m, &T);
    steps(m, &T, 200);
    assert_int_equal(snap_create(T.v, "a", NULL), 0);
    c = model_copy(m);
    steps(m, &T, 100);
    other(&o, "clone");
    assert_int_equal(snap_clone(T.v, "none", o.dir), -ENOENT);
    assert_int_equal(snap_clone(T.v, "a", T.dir), -EEXIST);
    assert_int_equal(snap_clone(T.v, "a", o.dir), 0);
    model_check_disk(&o);
    open_other(&o);
    assert_int_equal(model_compare(c, &o), 0);
    assert_int_equal(snap_list(o.v, 0, &s, 1), 0);
    /* both go their ways; a snapshot of the clone, too */
    find_inodes(c, &o);
    steps(c, &o, 150);
    steps(m, &T, 150);
    assert_int_equal(snap_create(o.v, "a", NULL), 0);
    compare_snap(&o, c, "a");
    assert_int_equal(snap_destroy(T.v, "a"), 0);
    settle_held(&T, 0);
    steps(c, &o, 50);
    assert_int_equal(model_compare(c, &o), 0);
    assert_int_equal(model_compare(m, &T), 0);
    assert_int_equal(volume_close(o.v), 0);
    model_check_disk(&o);
    /* the clone needs nothing of what it came from */
    vt_close(&T);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s' && mv '%s' '%s'", T.dir, o.dir, T.dir);
    assert_int_equal(system(cmd), 0);
    vt_open(&T);
    assert_int_equal(model_compare(c, &T), 0);
    model_drop(m);
    model_drop(c);
}

static void clone_may_fail(void **state)
{
    static const char *const points[] = {"clone.index", "clone.sync", "clone.link", "clone.done"};
    struct model *m = malloc(sizeof(*m));
    char cmd[256];
    struct vt o;

    model_init(m, 6, false);
    model_make_dirs(m, &T);
    steps(m, &T, 100);
    assert_int_equal(snap_create(T.v, "a", NULL), 0);
    other(&o, "clone");
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
        fault_arm(points[i], 1, FAULT_FAIL);
        assert_int_equal(snap_clone(T.v, "a", o.dir), -EIO);
        fault_disarm();
        snprintf(cmd, sizeof(cmd), "rm -rf '%s'", o.dir);
        assert_int_equal(system(cmd), 0);
    }
    fault_arm("clone.nolinks", 1, FAULT_FAIL); /* then packs are copied */
    assert_int_equal(snap_clone(T.v, "a", o.dir), 0);
    fault_disarm();
    model_check_disk(&o);
    open_other(&o);
    assert_int_equal(model_compare(m, &o), 0);
    assert_int_equal(volume_close(o.v), 0);
    assert_int_equal(snap_destroy(T.v, "a"), 0);
    model_drop(m);
}

/* While a clone is made the background moves data to packs that were begun after the clone was. It begins its own above them. */
static void clone_beside_moves(void **state)
{
    unsigned char data[SLOT_SIZE];
    struct index_meta meta;
    struct snap_info s;
    struct index *ix;
    char path[256], tree[256], shared[256];
    char cmd[600];
    uint64_t ino;
    sqlite3 *db;

    vt_fill(data, sizeof(data), 8);
    put(&T, "f", data, sizeof(data), &ino);
    assert_int_equal(snap_create(T.v, "a", NULL), 0);
    assert_int_equal(snap_find(T.v, "a", 1, &s), 0);
    snprintf(path, sizeof(path), "%.100s/clone.db", T.base);
    snprintf(tree, sizeof(tree), "%.100s/snapshots/%016llx.db", T.dir, (unsigned long long)s.id);
    snprintf(shared, sizeof(shared), "%.100s/shared.db", T.base);
    vt_close(&T);
    snprintf(cmd, sizeof(cmd), "cp '%.100s/index.db' '%s'", T.dir, shared);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(sqlite3_open(shared, &db), 0);
    assert_int_equal(sqlite3_exec(db, "UPDATE chunk SET pack = 9; UPDATE pack SET id = 9", NULL, NULL, NULL), 0);
    sqlite3_close(db);
    assert_int_equal(index_create_clone(path, tree, shared, "test", 1, 3), 0);
    assert_int_equal(index_open(path, "test", &ix), 0);
    assert_int_equal(index_last_pack(ix), 9);
    assert_int_equal(index_get_meta(ix, &meta), 0);
    assert_int_equal(meta.next_pack, 10);
    index_close(ix);
    vt_open(&T);
}

static uint64_t disk_free(void)
{
    struct statvfs st;

    assert_int_equal(statvfs(T.base, &st), 0);
    return (uint64_t)st.f_bavail * st.f_frsize;
}

/* Makes a file so large that this is free. */
static void leave(const char *filler, uint64_t bytes)
{
    int fd = open(filler, O_WRONLY | O_CREAT, 0600);
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    assert_true(disk_free() > bytes);
    assert_int_equal(posix_fallocate(fd, 0, st.st_size + (off_t)(disk_free() - bytes)), 0);
    close(fd);
}

#define EXPECT(what, n)                                                                            \
    do {                                                                                           \
        int got = what;                                                                            \
        if (got != (n)) {                                                                          \
            fprintf(stderr, "# %s: %d\n", #what, got);                                             \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* Names make an index of some MiB, on a disk where less is left, but more than what is kept free for all. */
static int nearly_full_child(void)
{
    const struct vset root = {.mode = 0755};
    struct volume_props p;
    struct vattr a;
    char name[256], filler[256];
    uint64_t before;
    struct vt o;

    if (!small_disk(T.base, "size=64m"))
        return SMALL_DISK_NONE;
    volume_props_default(&p);
    EXPECT(volume_create(T.dir, &p, &root), 0);
    vt_open(&T);
    for (unsigned i = 0; i < 12000; i++) {
        snprintf(name, sizeof(name), "%0200u", i);
        EXPECT(vt_create(&T, &T.c, ROOT, name, IT_REG, &a), 0);
    }
    EXPECT(volume_settle(T.v), 0);
    EXPECT(snap_create(T.v, "a", NULL), 0);
    snprintf(filler, sizeof(filler), "%.100s/filler", T.base);
    leave(filler, 6u << 20); /* 8 MiB are the reserve */
    before = disk_free();
    other(&o, "clone");
    EXPECT(snap_create(T.v, "b", NULL), -ENOSPC);
    EXPECT(snap_clone(T.v, "a", o.dir), -ENOSPC);
    EXPECT(access(o.dir, F_OK), -1);
    EXPECT(disk_free() + (1u << 20) > before, 1);
    vt_close(&T);
    leave(filler, 6u << 20);
    EXPECT(snap_rollback(T.dir, "test/vol", "a", T.epoch), -ENOSPC);
    unlink(filler);
    EXPECT(snap_rollback(T.dir, "test/vol", "a", T.epoch), 0);
    vt_open(&T);
    other(&o, "clone");
    EXPECT(snap_clone(T.v, "a", o.dir), 0);
    EXPECT(snap_create(T.v, "b", NULL), 0);
    for (unsigned i = 0; i < 12000; i++) { /* an index of some MiB that has little in it fits as well */
        snprintf(name, sizeof(name), "%0200u", i);
        EXPECT(vt_unlink(&T, ROOT, name), 0);
    }
    volume_stat_settle(T.v);
    EXPECT(volume_settle(T.v), 0);
    leave(filler, 6u << 20);
    EXPECT(snap_create(T.v, "c", NULL), 0);
    vt_close(&T);
    model_check_disk(&T);
    model_check_disk(&o);
    return 0;
}

static int made(void **state)
{
    vt_make(&T, NULL);
    vt_remove(&T);
    return mkdir(T.base, 0700);
}

static int unmade(void **state)
{
    return rmdir(T.base);
}

/* What is kept free for the indexes of all volumes is not taken by a copy of one. */
static void nearly_full(void **state)
{
    small_disk_test(nearly_full_child);
}

static void close_and_roll_back(const char *name, int want)
{
    assert_int_equal(snap_rollback(T.dir, "test/vol", name, T.epoch), -EBUSY); /* it is open */
    vt_close(&T);
    assert_int_equal(snap_rollback(T.dir, "test/vol", name, T.epoch), want);
    model_check_disk(&T);
    vt_open(&T);
}

static void change_db(const char *path, const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), 0);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), 0);
    sqlite3_close(db);
}

/* Nothing in a snapshot's file runs when the volume becomes it, or one is made of it; and what cannot be gone back from is not
 * gone to. */
static void hostile_snapshot(void **state)
{
    char tree[256], index[256];
    struct snap_info s;
    struct vt o;
    uint64_t ino;

    put(&T, "f", "x", 1, &ino);
    assert_int_equal(snap_create(T.v, "a", NULL), 0);
    assert_int_equal(snap_find(T.v, "a", 1, &s), 0);
    snprintf(tree, sizeof(tree), "%.100s/snapshots/%016llx.db", T.dir, (unsigned long long)s.id);
    snprintf(index, sizeof(index), "%.100s/index.db", T.dir);
    vt_close(&T);
    change_db(tree, "ALTER TABLE extent RENAME TO e; CREATE VIEW extent AS SELECT * FROM e");
    assert_int_equal(snap_rollback(T.dir, "test/vol", "a", T.epoch), -EUCLEAN);
    vt_open(&T);
    other(&o, "clone");
    assert_int_equal(snap_clone(T.v, "a", o.dir), -EUCLEAN);
    vt_close(&T);
    change_db(tree, "DROP VIEW extent; ALTER TABLE e RENAME TO extent");
    change_db(index, "UPDATE inode SET change = 9223372036854775807 WHERE ino <> 1");
    assert_int_equal(snap_rollback(T.dir, "test/vol", "a", T.epoch), -EUCLEAN);
    change_db(index, "UPDATE inode SET change = 1 WHERE ino <> 1");
    assert_int_equal(snap_rollback(T.dir, "test/vol", "a", T.epoch), 0);
    vt_open(&T);
}

static void roll_back(void **state)
{
    struct model *m = malloc(sizeof(*m)), *a, *b;
    struct vattr dir, x;
    uint64_t young, fresh, change = 0;

    model_init(m, 7, false);
    model_make_dirs(m, &T);
    steps(m, &T, 200);
    assert_int_equal(snap_create(T.v, "a", NULL), 0);
    a = model_copy(m);
    steps(m, &T, 200);
    put(&T, "young", "x", 1, &young);
    assert_int_equal(snap_create(T.v, "b", NULL), 0);
    b = model_copy(m);
    steps(m, &T, 200);
    for (int i = 0; i < 4; i++) { /* back and forth */
        struct model *to = i % 2 ? b : a;
        assert_int_equal(volume_getattr(T.v, &T.c, ROOT, 0, &dir), 0);
        change = dir.change > change ? dir.change : change;
        close_and_roll_back(i % 2 ? "b" : "a", 0);
        assert_int_equal(model_compare(to, &T), 0);
        compare_snap(&T, a, "a");
        compare_snap(&T, b, "b");
        assert_int_equal(volume_getattr(T.v, &T.c, ROOT, 0, &dir), 0);
        assert_true(dir.change > change);
        assert_int_equal(volume_getattr(T.v, &T.c, young, 0, &x), i % 2 ? 0 : -ESTALE);
        model_drop(m);
        m = model_copy(to);
        find_inodes(m, &T);
        put(&T, "fresh", "y", 1, &fresh);
        assert_true(fresh > young); /* numbers are not used again */
        assert_int_equal(vt_unlink(&T, ROOT, "fresh"), 0);
        steps(m, &T, 60);
    }
    close_and_roll_back("none", -ENOENT);
    assert_int_equal(model_compare(m, &T), 0);
    assert_int_equal(snap_destroy(T.v, "a"), 0);
    compare_snap(&T, b, "b");
    assert_int_equal(snap_destroy(T.v, "b"), 0);
    settle_held(&T, 0);
    assert_int_equal(model_compare(m, &T), 0);
    model_drop(m);
    model_drop(a);
    model_drop(b);
}

/* --- differences --- */

struct told {
    char lines[4096];
    unsigned stop, n;
};

static bool tell(void *arg, const struct diff_line *l)
{
    struct told *t = arg;
    size_t at = strlen(t->lines);

    snprintf(t->lines + at, sizeof(t->lines) - at, "%c %s%s%s\n", l->what, l->from ? l->from : "",
             l->from ? " -> " : "", l->path);
    return ++t->n != t->stop;
}

static void expect_diff(const char *a, const char *b, const char *want)
{
    struct told t = {.stop = 0};
    const char *missing;

    assert_int_equal(volume_settle(T.v), 0);
    assert_int_equal(volume_diff(T.dir, a, b, tell, &t, &missing), 0);
    assert_string_equal(t.lines, want);
}

static void differences(void **state)
{
    struct vattr d, e, a;
    struct told t = {.stop = 1};
    const char *missing;
    uint64_t ino;

    assert_int_equal(vt_create(&T, &T.c, ROOT, "d", IT_DIR, &d), 0);
    assert_int_equal(vt_create(&T, &T.c, d.ino, "e", IT_DIR, &e), 0);
    assert_int_equal(vt_create(&T, &T.c, e.ino, "f", IT_REG, &a), 0);
    assert_int_equal(vt_create(&T, &T.c, e.ino, "same", IT_REG, &a), 0);
    put(&T, "g", "1", 1, &ino);
    put(&T, "h", "1", 1, &ino);
    assert_int_equal(volume_link(T.v, &T.c, ino, d.ino, "h2", 2, NULL, NULL), 0);
    assert_int_equal(snap_create(T.v, "a", NULL), 0);
    expect_diff("a", NULL, "");
    expect_diff("a", "a", "");
    /* a directory moves with what is in it, a file's bytes change, one goes, one is another of the same name */
    assert_int_equal(vt_rename(&T, d.ino, "e", ROOT, "moved"), 0);
    put(&T, "g", "2", 1, &ino);
    assert_int_equal(vt_unlink(&T, e.ino, "f"), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "h"), 0);
    put(&T, "h", "other", 5, &ino);
    expect_diff("a", NULL,
                "M /\nM /d\n- /d/e/f\nM /g\n+ /h\n- /h\nR /d/e -> /moved\n");
    assert_int_equal(snap_create(T.v, "b", NULL), 0);
    expect_diff("b", "a",
                "M /\nM /d\nR /moved -> /d/e\n+ /d/e/f\nM /g\n+ /h\n- /h\n");
    assert_int_equal(volume_link(T.v, &T.c, ino, ROOT, "h3", 2, NULL, NULL), 0);
    expect_diff("b", NULL, "M /\n+ /h3\n");
    assert_int_equal(volume_diff(T.dir, "none", NULL, tell, &t, &missing), -ENOENT);
    assert_string_equal(missing, "none");
    assert_int_equal(volume_diff(T.dir, "a", "none", tell, &t, &missing), -ENOENT);
    assert_int_equal(volume_diff(T.dir, "a", NULL, tell, &t, &missing), 0);
    assert_int_equal(t.n, 1); /* it stops when told to */
}

/* --- beside writers --- */

struct writer {
    bool stop;
    uint64_t ino[2], rounds, worst;
};

/* Writes the same number to the heads of two files, first the one, then the other. */
static void *write_pairs(void *arg)
{
    struct writer *w = arg;
    struct store_call c;

    store_call_init(&c, true);
    for (uint64_t n = 1; !__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE); n++) {
        uint64_t t0 = clock_mono_ns(), t;
        for (int i = 0; i < 2; i++)
            if (volume_write(T.v, &c, w->ino[i], 0, &n, sizeof(n), false, NULL, NULL))
                abort();
        t = clock_mono_ns() - t0;
        w->worst = t > w->worst ? t : w->worst;
        __atomic_store_n(&w->rounds, n, __ATOMIC_RELEASE);
    }
    store_call_release(&c);
    return NULL;
}

/* Each snapshot is one moment: the first file is at most one write ahead, and nothing acknowledged before is missing. */
static void beside_writers(void **state)
{
    struct writer w = {0};
    pthread_t th;
    uint64_t zero = 0;

    put(&T, "a", &zero, 8, &w.ino[0]);
    put(&T, "b", &zero, 8, &w.ino[1]);
    assert_int_equal(pthread_create(&th, NULL, write_pairs, &w), 0);
    for (int i = 0; i < 20; i++) {
        uint64_t before, a, b;
        struct vt s = T;
        char name[16];
        usleep(3000);
        before = __atomic_load_n(&w.rounds, __ATOMIC_ACQUIRE);
        snprintf(name, sizeof(name), "s%d", i);
        assert_int_equal(snap_create(T.v, name, NULL), 0);
        s.v = open_snap(&T, name);
        assert_int_equal(vt_read(&s, &T.c, w.ino[0], 0, &a, 8), 8);
        assert_int_equal(vt_read(&s, &T.c, w.ino[1], 0, &b, 8), 8);
        volume_unref(s.v);
        assert_true(a >= before && b >= before);
    }
    __atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
    pthread_join(th, NULL);
}

/* Not a test: with VOLNFS_BENCH set, what a snapshot of many files costs, and the longest pause of a writer. */
static void bench(void **state)
{
    unsigned files = (unsigned)atoi(getenv("VOLNFS_BENCH"));
    struct writer w = {0};
    struct vattr dir, a;
    uint64_t zero = 0, t0;
    pthread_t th;

    for (unsigned i = 0; i < files; i++) {
        char name[16];
        snprintf(name, sizeof(name), "f%u", i);
        if (i % 1000 == 0) {
            assert_int_equal(vt_create(&T, &T.c, ROOT, name, IT_DIR, &dir), 0);
            continue;
        }
        assert_int_equal(vt_create(&T, &T.c, dir.ino, name, IT_REG, &a), 0);
        assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, "hello, world", 12, false, NULL, NULL), 0);
        store_call_release(&T.c);
    }
    put(&T, "a", &zero, 8, &w.ino[0]);
    put(&T, "b", &zero, 8, &w.ino[1]);
    assert_int_equal(snap_create(T.v, "first", NULL), 0);
    assert_int_equal(pthread_create(&th, NULL, write_pairs, &w), 0);
    usleep(300000);
    print_message("longest pair of writes before: %.1f ms\n", (double)w.worst / 1e6);
    w.worst = 0;
    t0 = clock_mono_ns();
    assert_int_equal(snap_create(T.v, "second", NULL), 0);
    print_message("snapshot of %u files: %.2f s; longest pair of writes meanwhile: %.1f ms\n", files,
                  (double)(clock_mono_ns() - t0) / 1e9, (double)w.worst / 1e6);
    t0 = clock_mono_ns();
    assert_int_equal(snap_destroy(T.v, "first"), 0);
    print_message("destroy: %.2f s\n", (double)(clock_mono_ns() - t0) / 1e9);
    __atomic_store_n(&w.stop, true, __ATOMIC_RELEASE);
    pthread_join(th, NULL);
}

#define TF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TF(refuse),
        TF(many_open),
        TF(may_fail),
        TF(hold_what_was),
        TF(beside_writers),
        TF(differences),
        TF(clone_apart),
        TF(clone_may_fail),
        TF(clone_beside_moves),
        cmocka_unit_test_setup_teardown(nearly_full, made, unmade),
        TF(roll_back),
        TF(hostile_snapshot),
    };
    const struct CMUnitTest benches[] = {TF(bench)};

    log_set_level(LOG_ERROR);
    if (getenv("VOLNFS_BENCH"))
        return cmocka_run_group_tests_name("snap bench", benches, NULL, NULL);
    return cmocka_run_group_tests_name("snap", tests, NULL, NULL);
}
