/* SPDX-License-Identifier: Apache-2.0
 * Tests of snapshots: clones and rollbacks, on a disk that is nearly full, and of files that somebody has meddled with.
 */
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

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
    snap_settle(&T, 0);
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
    snap_put(&T, "f", data, sizeof(data), &ino);
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

    snap_put(&T, "f", "x", 1, &ino);
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
    snap_put(&T, "young", "x", 1, &young);
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
        snap_put(&T, "fresh", "y", 1, &fresh);
        assert_true(fresh > young); /* numbers are not used again */
        assert_int_equal(vt_unlink(&T, ROOT, "fresh"), 0);
        steps(m, &T, 60);
    }
    close_and_roll_back("none", -ENOENT);
    assert_int_equal(model_compare(m, &T), 0);
    assert_int_equal(snap_destroy(T.v, "a"), 0);
    compare_snap(&T, b, "b");
    assert_int_equal(snap_destroy(T.v, "b"), 0);
    snap_settle(&T, 0);
    assert_int_equal(model_compare(m, &T), 0);
    model_drop(m);
    model_drop(a);
    model_drop(b);
}

#define TF(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TF(clone_apart),
        TF(clone_may_fail),
        TF(clone_beside_moves),
        cmocka_unit_test_setup_teardown(nearly_full, made, unmade),
        TF(roll_back),
        TF(hostile_snapshot),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("snap_clone", tests, NULL, NULL);
}
