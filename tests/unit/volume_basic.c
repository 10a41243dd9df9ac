/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumetest.h"

#include <signal.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "server/store/check.h"

#define ROOT STORE_ROOT_INO

static struct vt T;

static int setup(void **state)
{
    vt_make(&T, NULL);
    vt_open(&T);
    return 0;
}

static void complain(void *arg, const char *text)
{
    print_message("check: %s\n", text);
}

/* Whatever a test did, the volume it leaves has no contradictions in it. */
static int teardown(void **state)
{
    struct check_report rep;

    fault_disarm();
    if (T.v)
        vt_close(&T);
    assert_int_equal(volume_check(T.dir, true, complain, NULL, &rep), 0);
    assert_int_equal(rep.problems, 0);
    vt_remove(&T);
    return 0;
}

static void bad_names(void **state)
{
    struct vattr a;
    char longname[300];

    memset(longname, 'x', sizeof(longname));
    assert_int_equal(vt_create(&T, &T.c, ROOT, "", IT_REG, &a), -EINVAL);
    assert_int_equal(vt_create(&T, &T.c, ROOT, ".", IT_REG, &a), -EINVAL);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "..", IT_REG, &a), -EINVAL);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "a/b", IT_REG, &a), -EINVAL);
    assert_int_equal(volume_lookup(T.v, &T.c, ROOT, longname, 256, &a), -ENAMETOOLONG);
    assert_int_equal(volume_lookup(T.v, &T.c, ROOT, longname, 255, &a), -ENOENT);
    assert_int_equal(volume_lookup(T.v, &T.c, 999, "x", 1, &a), -ESTALE);
    assert_int_equal(volume_getattr(T.v, &T.c, 0, 0, &a), -ESTALE);
    assert_int_equal(volume_getattr(T.v, &T.c, ROOT, 77, &a), -ESTALE);
}

static void create_and_find(void **state)
{
    struct vattr a, b;
    struct volume_stat st;

    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &b), -EEXIST);
    assert_int_equal(a.ino, b.ino);
    assert_int_equal(a.nlink, 1);
    assert_int_equal(vt_lookup(&T, &T.n, ROOT, "f", &b), 0);
    assert_int_equal(vt_lookup(&T, &T.n, a.ino, "f", &b), -ENOTDIR);
    assert_true(volume_call_pending(&T.c));
    vt_sync(&T);
    vt_reopen(&T);
    assert_int_equal(vt_lookup(&T, &T.n, ROOT, "f", &b), -EAGAIN);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "f", &b), 0);
    assert_int_equal(a.ino, b.ino);
    assert_int_equal(a.gen, b.gen);
    assert_int_equal(b.mode, 0644);
    assert_int_equal(vt_lookup(&T, &T.n, ROOT, "f", &b), 0);
    volume_stat(T.v, &st);
    assert_int_equal(st.files, 1);
}

/* At any time, the files' bytes less what is not written yet are what `stored` is of. */
static void unwritten(void **state)
{
    struct volume_stat st;
    struct vattr a;
    unsigned char *w = malloc(1u << 20);

    vt_fill(w, 1u << 20, 5);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 1u << 20, false, NULL, &a), 0);
    volume_stat(T.v, &st);
    assert_int_equal(st.logical, 1u << 20);
    assert_true(st.unwritten <= st.logical && (st.unwritten == st.logical || st.stored > 0));
    assert_true((st.logical - st.unwritten) <= 2 * st.stored);
    vt_sync(&T);
    assert_int_equal(volume_settle(T.v), 0);
    volume_stat(T.v, &st);
    assert_int_equal(st.logical, 1u << 20);
    assert_int_equal(st.unwritten, 0);
    assert_true(st.stored > 1u << 19);
    free(w);
}

static void bytes(void **state)
{
    struct vattr a;
    unsigned char *w = malloc(3u << 20), *r = malloc(3u << 20);

    vt_fill(w, 3u << 20, 3);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.n, a.ino, 0, w, 4096, true, NULL, &a), 0);
    assert_int_equal(a.size, 4096);
    assert_int_equal(volume_call_wait(&T.n), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 100, w, 2u << 20, false, NULL, &a), 0);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 3u << 20), (2u << 20) + 100);
    assert_memory_equal(r, w, 100);
    assert_memory_equal(r + 100, w, 2u << 20);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
    vt_sync(&T);
    vt_reopen(&T);
    memset(r, 1, 3u << 20);
    assert_int_equal(vt_read(&T, &T.n, a.ino, 0, r, 3u << 20), -EAGAIN);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 3u << 20), (2u << 20) + 100);
    assert_memory_equal(r, w, 100);
    assert_memory_equal(r + 100, w, 2u << 20);
    assert_int_equal(vt_read(&T, &T.n, a.ino, 5, r, 1u << 20), 1u << 20);
    free(w);
    free(r);
}

static void holes_and_truncate(void **state)
{
    struct vattr a;
    uint64_t at;
    unsigned char *w = malloc(1u << 20), *r = malloc(1u << 20);

    vt_fill(w, 1u << 20, 9);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 1000000, w, 500, false, NULL, &a), 0);
    assert_int_equal(a.size, 1000500);
    assert_true(a.used <= 8192);
    assert_int_equal(vt_read(&T, &T.n, a.ino, 0, r, 1u << 20), 1000500);
    for (int i = 0; i < 1000000; i++)
        assert_int_equal(r[i], 0);
    assert_memory_equal(r + 1000000, w, 500);
    assert_int_equal(volume_seek(T.v, &T.c, a.ino, 0, true, &at), 0);
    assert_int_equal(at / 4096, 1000000 / 4096);
    assert_int_equal(volume_seek(T.v, &T.c, a.ino, 0, false, &at), 0);
    assert_int_equal(at, 0);
    assert_int_equal(volume_seek(T.v, &T.c, a.ino, 1000400, false, &at), 0);
    assert_int_equal(at, 1000500);
    assert_int_equal(volume_seek(T.v, &T.c, a.ino, 1000500, true, &at), -ENXIO);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 300000, false, NULL, &a), 0);
    assert_int_equal(vt_truncate(&T, a.ino, 200001), 0);
    assert_int_equal(vt_truncate(&T, a.ino, 300000), 0);
    assert_int_equal(volume_punch(T.v, &T.c, a.ino, 5000, 10000), 0);
    for (int pass = 0; pass < 2; pass++) {
        memset(r, 7, 1u << 20);
        assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 1u << 20), 300000);
        assert_memory_equal(r, w, 5000);
        for (int i = 5000; i < 15000; i++)
            assert_int_equal(r[i], 0);
        assert_memory_equal(r + 15000, w + 15000, 200001 - 15000);
        for (int i = 200001; i < 300000; i++)
            assert_int_equal(r[i], 0);
        assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
        vt_sync(&T);
        vt_reopen(&T);
    }
    assert_int_equal(volume_getattr(T.v, &T.c, a.ino, a.gen, &a), 0);
    assert_int_equal(a.size, 300000);
    assert_true(a.used < 210000 && a.used > 150000);
    assert_int_equal(volume_allocate(T.v, &T.c, a.ino, 300000, 100000), 0);
    assert_int_equal(volume_getattr(T.v, &T.c, a.ino, a.gen, &a), 0);
    assert_int_equal(a.size, 400000);
    free(w);
    free(r);
}

static bool collect(void *arg, const struct volume_dirent *de)
{
    unsigned char *seen = arg;
    unsigned n;

    if (sscanf(de->name, "n%u", &n) == 1 && n < 1000)
        seen[n]++;
    return true;
}

static void names(void **state)
{
    struct vattr a, d, e, x;
    struct dir_change dc;
    unsigned char seen[1000] = {0};
    bool eof = false;
    uint64_t after = 0;
    char buf[STORE_SYMLINK_MAX + 1], name[16];

    assert_int_equal(vt_create(&T, &T.c, ROOT, "d", IT_DIR, &d), 0);
    assert_int_equal(vt_create(&T, &T.c, d.ino, "e", IT_DIR, &e), 0);
    assert_int_equal(vt_create(&T, &T.c, e.ino, "f", IT_REG, &a), 0);
    assert_int_equal(volume_link(T.v, &T.c, a.ino, ROOT, "g", 1, &x, &dc), 0);
    assert_int_equal(x.nlink, 2);
    assert_true(dc.after > dc.before);
    assert_int_equal(volume_link(T.v, &T.c, d.ino, ROOT, "h", 1, &x, &dc), -EISDIR);
    assert_int_equal(volume_link(T.v, &T.c, a.ino, ROOT, "d", 1, &x, &dc), -EEXIST);
    assert_int_equal(vt_unlink(&T, ROOT, "d"), -ENOTEMPTY);
    assert_int_equal(vt_rename(&T, ROOT, "d", e.ino, "x"), -EINVAL);
    assert_int_equal(vt_rename(&T, ROOT, "d", d.ino, "x"), -EINVAL);
    assert_int_equal(vt_rename(&T, ROOT, "g", ROOT, "d"), -EISDIR);
    assert_int_equal(vt_rename(&T, ROOT, "d", ROOT, "g"), -ENOTDIR);
    assert_int_equal(vt_rename(&T, ROOT, "nope", ROOT, "g"), -ENOENT);
    assert_int_equal(vt_rename(&T, ROOT, "g", e.ino, "f"), 0); /* same inode: nothing */
    assert_int_equal(vt_rename(&T, d.ino, "e", ROOT, "e"), 0);
    assert_int_equal(volume_getattr(T.v, &T.c, d.ino, 0, &x), 0);
    assert_int_equal(x.nlink, 2);
    assert_int_equal(volume_getattr(T.v, &T.c, e.ino, 0, &x), 0);
    assert_int_equal(x.parent, ROOT);
    assert_int_equal(vt_unlink(&T, e.ino, "f"), 0);
    assert_int_equal(vt_rename(&T, ROOT, "d", ROOT, "e"), 0);
    assert_int_equal(volume_getattr(T.v, &T.c, e.ino, 0, &x), -ESTALE);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "s", IT_LNK, &x), 0);
    assert_int_equal(volume_readlink(T.v, &T.n, x.ino, buf), 11);
    assert_int_equal(volume_readlink(T.v, &T.c, a.ino, buf), -EINVAL);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        assert_int_equal(vt_create(&T, &T.c, d.ino, name, IT_REG, &a), 0);
    }
    assert_int_equal(volume_readdir(T.v, &T.n, d.ino, after, 5000, collect, seen, &eof), 0); /* from memory */
    assert_true(eof);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    vt_sync(&T);
    vt_reopen(&T);
    assert_int_equal(volume_readdir(T.v, &T.n, d.ino, 0, 10, collect, seen, &eof), -EAGAIN);
    assert_int_equal(volume_readdir(T.v, &T.c, d.ino, after, 300, collect, seen, &eof), 0);
    assert_false(eof);
    memset(seen, 0, sizeof(seen));
    assert_int_equal(volume_readdir(T.v, &T.n, d.ino, after, 5000, collect, seen, &eof), 0);
    assert_true(eof);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(seen[i], 1);
    assert_int_equal(volume_readlink(T.v, &T.c, x.ino, buf), 11);
    assert_string_equal(buf, "some/target");
    assert_int_equal(vt_unlink(&T, ROOT, "e"), -ENOTEMPTY);
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "n%u", i);
        assert_int_equal(vt_unlink(&T, d.ino, name), 0);
    }
    assert_int_equal(vt_unlink(&T, ROOT, "e"), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "e"), -ENOENT);
    vt_sync(&T);
}

static void orphan_lives_while_held(void **state)
{
    struct vattr a, x;
    struct volume_stat st;
    unsigned char w[5000], r[5000];

    vt_fill(w, sizeof(w), 1);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_hold(T.v, &T.c, a.ino), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, sizeof(w), true, NULL, NULL), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "f"), 0);
    assert_int_equal(volume_getattr(T.v, &T.c, a.ino, a.gen, &x), 0);
    assert_int_equal(x.nlink, 0);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, sizeof(r)), sizeof(r));
    vt_sync(&T);
    vt_reopen(&T); /* as after a restart: a client may reclaim its open */
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, sizeof(r)), sizeof(r));
    assert_memory_equal(r, w, sizeof(r));
    assert_int_equal(volume_purge_orphans(T.v), 0);
    assert_int_equal(volume_getattr(T.v, &T.c, a.ino, a.gen, &x), -ESTALE);
    vt_reopen(&T);
    assert_int_equal(volume_getattr(T.v, &T.c, a.ino, a.gen, &x), -ESTALE);
    volume_stat(T.v, &st);
    assert_int_equal(st.files, 0);
    assert_int_equal(st.logical, 0);
}

static bool one_xattr(void *arg, uint64_t cookie, const char *name, size_t len)
{
    ++*(int *)arg;
    return true;
}

static void xattrs(void **state)
{
    struct vattr a;
    char buf[16];
    bool eof;
    int n = 0;

    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_getxattr(T.v, &T.n, a.ino, "k", 1, buf, 16), -ENODATA);
    assert_int_equal(volume_setxattr(T.v, &T.c, a.ino, "k", 1, "val", 3, XATTR_REPLACE, NULL), -ENODATA);
    assert_int_equal(volume_setxattr(T.v, &T.c, a.ino, "k", 1, "val", 3, XATTR_CREATE, NULL), 0);
    assert_int_equal(volume_setxattr(T.v, &T.c, a.ino, "k", 1, "val", 3, XATTR_CREATE, NULL), -EEXIST);
    assert_int_equal(volume_setxattr(T.v, &T.c, a.ino, "empty", 5, "", 0, 0, NULL), 0);
    assert_int_equal(volume_getxattr(T.v, &T.c, a.ino, "k", 1, buf, 16), 3);
    assert_int_equal(volume_getxattr(T.v, &T.c, a.ino, "k", 1, buf, 2), -ERANGE);
    assert_int_equal(volume_getxattr(T.v, &T.c, a.ino, "empty", 5, buf, 16), 0);
    assert_int_equal(volume_listxattr(T.v, &T.c, a.ino, 0, one_xattr, &n, &eof), 0);
    assert_int_equal(n, 2);
    assert_true(eof);
    assert_int_equal(volume_removexattr(T.v, &T.c, a.ino, "k", 1, NULL), 0);
    assert_int_equal(volume_removexattr(T.v, &T.c, a.ino, "k", 1, NULL), -ENODATA);
    assert_int_equal(volume_getxattr(T.v, &T.c, a.ino, "k", 1, buf, 16), -ENODATA);
}

static void change_never_goes_back(void **state)
{
    struct vattr a, b;
    struct vset s = {.mask = VSET_MODE, .mode = 0600};
    uint64_t verf = volume_write_verifier(T.v);

    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, "x", 1, false, NULL, &b), 0);
    assert_true(b.change > a.change);
    vt_reopen(&T);
    assert_true(volume_write_verifier(T.v) != verf);
    assert_int_equal(volume_setattr(T.v, &T.c, a.ino, &s, &a), 0);
    assert_true(a.change >= T.epoch << 40);
    assert_true(a.change > b.change);
}

static void quota(void **state)
{
    struct volume_props p;
    struct vattr a;
    unsigned char *w = malloc(1u << 20);

    vt_fill(w, 1u << 20, 4);
    volume_get_props(T.v, &p);
    p.quota_bytes = 1u << 20;
    p.quota_files = 2;
    assert_int_equal(volume_set_props(T.v, &p), 0);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 1u << 20, false, NULL, NULL), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 1u << 20, w, 1, false, NULL, NULL), -EDQUOT);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
    vt_sync(&T);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 1u << 20, w, 1, false, NULL, NULL), -EDQUOT);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 4096, w, 8192, false, NULL, NULL), 0);
    assert_int_equal(vt_truncate(&T, a.ino, 0), 0);
    vt_sync(&T);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 1u << 20, false, NULL, NULL), 0);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "g", IT_REG, &a), 0);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "h", IT_REG, &a), -EDQUOT);
    /* what is freed counts at once, though the index hears of it later */
    usleep(200000);
    assert_int_equal(vt_unlink(&T, ROOT, "g"), 0);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "h", IT_REG, &a), 0);
    p.readonly = true;
    assert_int_equal(volume_set_props(T.v, &p), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "h"), -EROFS);
    free(w);
}

static void append_only_at_expected_size(void **state)
{
    struct vattr a;
    uint64_t size = 0;

    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, "ab", 2, true, &size, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, "cd", 2, true, &size, &a), -ESTALE);
    size = 2;
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 2, "cd", 2, true, &size, &a), 0);
    assert_int_equal(a.size, 4);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, STORE_FILE_MAX, "cd", 2, true, NULL, &a), -EFBIG);
    assert_int_equal(volume_write(T.v, &T.c, ROOT, 0, "cd", 2, true, NULL, &a), -EISDIR);
}

static void second_opener_is_refused(void **state)
{
    struct volume *o;
    struct vset root = {.mode = 0755};
    struct volume_props p;

    volume_props_default(&p);
    assert_int_equal(volume_create(T.dir, &p, &root), -EEXIST);
    assert_int_equal(volume_open(T.e, T.dir, "x", 1, &o), -EBUSY);
    assert_int_equal(volume_open(T.e, "/nonexistent", "x", 1, &o), -ENOENT);
}

/* A child that a library has forked, and that has not come to its exec, has copies of all descriptors. */
static void a_childs_copies_keep_no_lock(void **state)
{
    pid_t pid = fork();

    if (pid == 0) {
        pause();
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(volume_close(T.v), 0);
    assert_int_equal(volume_open(T.e, T.dir, "test/vol", 7, &T.v), 0);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_names, setup, teardown),
        cmocka_unit_test_setup_teardown(second_opener_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_childs_copies_keep_no_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(create_and_find, setup, teardown),
        cmocka_unit_test_setup_teardown(unwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(holes_and_truncate, setup, teardown),
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(orphan_lives_while_held, setup, teardown),
        cmocka_unit_test_setup_teardown(xattrs, setup, teardown),
        cmocka_unit_test_setup_teardown(change_never_goes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(quota, setup, teardown),
        cmocka_unit_test_setup_teardown(append_only_at_expected_size, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
