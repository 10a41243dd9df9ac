/* SPDX-License-Identifier: Apache-2.0
 * Tests of snapshots: what they hold, while the volume changes, and after failures.
 */
#include <dirent.h>
#include <pthread.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "server/store/diff.h"
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
    snap_settle(&T, 0);
    assert_int_equal(files_in(&T, "snapshots"), 0);
    model_drop(m);
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
    snap_put(&T, "f", "12345", 5, &ino);
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
        snap_put(&T, "f", buf, 1, &ino);
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
        snap_put(&T, "f", data, sizeof(data), &ino);
        fault_arm(points[i], 1, FAULT_FAIL);
        assert_int_equal(snap_create(T.v, "s", NULL), -EIO);
        fault_disarm();
        assert_int_equal(snap_find(T.v, "s", 1, &s), -ENOENT);
        snap_put(&T, "f", "x", 1, &ino);
        assert_int_equal(volume_commit(T.v, &T.c, ino), 0);
        vt_sync(&T);
        snap_settle(&T, 0);
        assert_int_equal(files_in(&T, "snapshots"), 0);
        assert_int_equal(snap_create(T.v, "s", NULL), 0);
        assert_int_equal(snap_destroy(T.v, "s"), 0);
    }
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
    snap_put(&T, "g", "1", 1, &ino);
    snap_put(&T, "h", "1", 1, &ino);
    assert_int_equal(volume_link(T.v, &T.c, ino, d.ino, "h2", 2, NULL, NULL), 0);
    assert_int_equal(snap_create(T.v, "a", NULL), 0);
    expect_diff("a", NULL, "");
    expect_diff("a", "a", "");
    /* a directory moves with what is in it, a file's bytes change, one goes, one is another of the same name */
    assert_int_equal(vt_rename(&T, d.ino, "e", ROOT, "moved"), 0);
    snap_put(&T, "g", "2", 1, &ino);
    assert_int_equal(vt_unlink(&T, e.ino, "f"), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "h"), 0);
    snap_put(&T, "h", "other", 5, &ino);
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

    snap_put(&T, "a", &zero, 8, &w.ino[0]);
    snap_put(&T, "b", &zero, 8, &w.ino[1]);
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
    snap_put(&T, "a", &zero, 8, &w.ino[0]);
    snap_put(&T, "b", &zero, 8, &w.ino[1]);
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
        TF(refuse), TF(many_open), TF(may_fail), TF(hold_what_was), TF(beside_writers), TF(differences),
    };
    const struct CMUnitTest benches[] = {TF(bench)};

    log_set_level(LOG_ERROR);
    if (getenv("VOLNFS_BENCH"))
        return cmocka_run_group_tests_name("snap bench", benches, NULL, NULL);
    return cmocka_run_group_tests_name("snap", tests, NULL, NULL);
}
