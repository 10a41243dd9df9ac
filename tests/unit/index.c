/* SPDX-License-Identifier: Apache-2.0
 * Tests of index: hostile databases, failures at every step, listing, checkpoints.
 */
#include "tests/unit/indextest.h"

#include <xxhash.h>

#include "common/clock.h"

static void garbage_is_refused(void **state)
{
    struct fix *f = *state;
    struct index *ix;
    const char *p = st_path(f->dir, "junk.db");
    char buf[8192];
    int fd = open(p, O_RDWR | O_CREAT, 0600);

    assert_int_equal(index_open(st_path(f->dir, "none.db"), "t", &ix), -ENOENT);
    st_fill(buf, sizeof(buf), 3);
    assert_int_equal(write(fd, buf, sizeof(buf)), sizeof(buf));
    close(fd);
    assert_int_equal(index_open(p, "t", &ix), -EUCLEAN);
    assert_int_equal(truncate(p, 0), 0); /* an empty file is an empty SQLite database */
    assert_int_equal(index_open(p, "t", &ix), -EUCLEAN);
    assert_int_equal(index_create(f->path, &meta0, &root), -EEXIST);
    index_close(f->ix);
    f->ix = NULL;
    /* newer format; triggers; a lost column; meta gone */
    raw(f, "PRAGMA user_version = 99");
    assert_int_equal(index_open(f->path, "t", &ix), -ENOTSUP);
    raw(f, "PRAGMA user_version = 2");
    raw(f, "CREATE TRIGGER t AFTER INSERT ON inode BEGIN DELETE FROM inode; END");
    assert_int_equal(index_open(f->path, "t", &ix), -EUCLEAN);
    raw(f, "DROP TRIGGER t");
    raw(f, "ALTER TABLE inode DROP COLUMN nlink");
    assert_int_equal(index_open(f->path, "t", &ix), -EUCLEAN);
    raw(f, "ALTER TABLE inode ADD COLUMN nlink");
    raw(f, "DELETE FROM meta");
    assert_int_equal(index_open(f->path, "t", &ix), -EUCLEAN);
}

static bool never(void *arg, const struct volume_dirent *de)
{
    fail();
    return true;
}

static bool never_extra(void *arg, uint64_t cookie, const char *name, size_t len)
{
    fail();
    return true;
}

static void hostile_rows(void **state)
{
    struct fix *f = *state;
    struct vattr a;
    struct index_extent e[4];
    struct chunk c = {.id = 9, .pack = 1, .pack_off = 64, .stored_len = 100, .len = 100};
    struct index_delta d = {0};
    char buf[5000];
    bool eof;
    uint64_t ino;
    char text[256];
    static const char *const bad_inode[] = {
        "type = 0", "type = 8", "type = 'x'", "mode = 4096", "nlink = -1", "size = -5",
        "uid = 4294967296", "used = NULL", "mtime = 'now'", "change = 1.5", "verf = x'00'"};

    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 5, "name");
    assert_int_equal(index_map(f->ix, 5, 0, &c, NULL, &d), 0);
    assert_int_equal(index_commit(f->ix), 0);
    for (size_t i = 0; i < sizeof(bad_inode) / sizeof(*bad_inode); i++) {
        snprintf(text, sizeof(text), "UPDATE inode SET %s WHERE ino = 5", bad_inode[i]);
        raw(f, text);
        assert_int_equal(index_get_inode(f->ix, 5, &a), -EUCLEAN);
        assert_int_equal(index_list_dir(f->ix, 1, 0, 10, never, NULL, &eof), -EUCLEAN);
        assert_int_equal(index_begin(f->ix), 0);
        a = file_attr(5);
        assert_int_equal(index_put_inode(f->ix, &a), 0);
        assert_int_equal(index_commit(f->ix), 0);
    }
    static const char *const bad_name[] = {"'name'", "x''", "zeroblob(300)", "x'2e'", "x'2e2e'",
                                           "x'612f62'", "x'6100'", "NULL", "7"};
    for (size_t i = 0; i < sizeof(bad_name) / sizeof(*bad_name); i++) {
        snprintf(text, sizeof(text), "UPDATE dirent SET name = %s", bad_name[i]);
        raw(f, text);
        assert_int_equal(index_list_dir(f->ix, 1, 0, 10, never, NULL, &eof), -EUCLEAN);
        assert_int_equal(index_get_dirent(f->ix, 1, "name", 4, NULL, &ino), -EUCLEAN);
    }
    raw(f, "UPDATE dirent SET name = x'6e616d65', ino = 77");
    assert_int_equal(index_list_dir(f->ix, 1, 0, 10, never, NULL, &eof), -EUCLEAN);
    static const char *const bad_extent[] = {
        "len = 0", "len = 131073", "len = -1", "chunk_off = 1", "chunk_off = -1", "chunk = 55",
        "len = 'a'"};
    for (size_t i = 0; i < sizeof(bad_extent) / sizeof(*bad_extent); i++) {
        snprintf(text, sizeof(text), "UPDATE extent SET %s", bad_extent[i]);
        raw(f, text);
        assert_int_equal(index_get_extents(f->ix, 5, 0, 1000, e, 4), -EUCLEAN);
        raw(f, "UPDATE extent SET len = 100, chunk_off = 0, chunk = 9");
    }
    static const char *const bad_chunk[] = {"len = 0", "len = 131073", "stored_len = 0",
                                            "stored_len = 999999", "codec = 3", "codec = 0, len = 50",
                                            "pack = -1", "pack_off = -1", "checksum = NULL"};
    for (size_t i = 0; i < sizeof(bad_chunk) / sizeof(*bad_chunk); i++) {
        snprintf(text, sizeof(text), "UPDATE chunk SET %s", bad_chunk[i]);
        raw(f, text);
        assert_int_equal(index_get_extents(f->ix, 5, 0, 1000, e, 4), -EUCLEAN);
        raw(f, "REPLACE INTO chunk VALUES(9, 1, 64, 100, 100, 0, 0, 1, 1, 0)");
    }
    assert_int_equal(index_get_extents(f->ix, 5, 0, 1000, e, 4), 1);
    /* the writer does not trust rows either */
    raw(f, "UPDATE chunk SET refs = 0");
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_punch(f->ix, 5, 0, 100, 0, &d), -EUCLEAN);
    index_rollback(f->ix);
    raw(f, "DELETE FROM chunk");
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_punch(f->ix, 5, 0, 100, 0, &d), -EUCLEAN);
    index_rollback(f->ix);
    raw(f, "INSERT INTO symlink VALUES(5, zeroblob(10))");
    assert_int_equal(index_get_symlink(f->ix, 5, buf, sizeof(buf)), -EUCLEAN);
    raw(f, "UPDATE symlink SET target = randomblob(4096)");
    assert_int_equal(index_get_symlink(f->ix, 5, buf, sizeof(buf)), -EUCLEAN);
    raw(f, "INSERT INTO xattr(ino, name, value) VALUES(5, x'', 5)");
    assert_int_equal(index_list_xattr(f->ix, 5, 0, never_extra, NULL, &eof), -EUCLEAN);
    raw(f, "UPDATE xattr SET name = x'61'");
    assert_int_equal(index_get_xattr(f->ix, 5, "a", 1, buf, 10), -EUCLEAN);
    raw(f, "INSERT INTO blob VALUES(9, x'0102')");
    assert_int_equal(index_read_blob(f->ix, &c, buf), -EUCLEAN);
}

struct listing {
    unsigned n, stop;
    uint64_t last;
};

static bool list_one(void *arg, const struct volume_dirent *de)
{
    struct listing *l = arg;

    assert_true(de->cookie > l->last);
    l->last = de->cookie;
    l->n++;
    return l->n != l->stop;
}

static bool list_attr(void *arg, uint64_t cookie, const char *name, size_t len)
{
    struct listing *l = arg;

    assert_true(cookie > l->last);
    l->last = cookie;
    l->n++;
    return true;
}

static bool list_orphan(void *arg, uint64_t ino)
{
    *(uint64_t *)arg += ino;
    return true;
}

static void rows_come_back(void **state)
{
    struct fix *f = *state;
    struct vattr a = file_attr(2), b;
    struct index_meta m = meta0, n;
    char name[300], buf[300];
    struct listing l = {0};
    uint64_t cookie, ino, sum = 0;
    uint8_t taken;
    bool flag;

    assert_int_equal(index_get_inode(f->ix, 2, &b), -ENOENT);
    assert_int_equal(index_get_inode(f->ix, UINT64_MAX, &b), -ENOENT);
    assert_int_equal(index_dir_empty(f->ix, 1, &flag), 0);
    assert_true(flag);
    m.txg = 77;
    m.files = 3;
    m.props.quota_bytes = 1ULL << 50;
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_put_meta(f->ix, &m), 0);
    put_file(f->ix, 2, "a");
    assert_int_equal(index_get_inode(f->ix, 2, &b), -ENOENT); /* readers see committed state */
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "file-%d", i);
        put_file(f->ix, 100 + (uint64_t)i, name);
    }
    assert_int_equal(index_put_symlink(f->ix, 2, "to/there", 8), 0);
    assert_int_equal(index_put_xattr(f->ix, 2, "k", 1, "v1", 2), 0);
    assert_int_equal(index_put_xattr(f->ix, 2, "k", 1, "v22", 3), 0);
    assert_int_equal(index_put_xattr(f->ix, 2, "empty", 5, NULL, 0), 0);
    assert_int_equal(index_put_orphan(f->ix, 2), 0);
    assert_int_equal(index_commit(f->ix), 0);

    assert_int_equal(index_get_meta(f->ix, &n), 0);
    assert_memory_equal(&m, &n, sizeof(m));
    memset(&b, 0, sizeof(b));
    assert_int_equal(index_get_inode(f->ix, 2, &b), 0);
    assert_int_equal(b.atime.tv_sec, -5);
    assert_int_equal(b.atime.tv_nsec, 999999999);
    assert_int_equal(b.mtime.tv_nsec, 2);
    assert_true(b.create_verf == UINT64_MAX && b.uid == a.uid && b.change == a.change &&
                b.size == a.size && b.used == a.used && b.gen == a.gen && b.type == a.type);
    assert_int_equal(index_get_dirent(f->ix, 1, "file-7", 6, &cookie, &ino), 0);
    assert_int_equal(ino, 107);
    assert_int_equal(cookie, index_name_cookie("file-7", 6));
    assert_int_equal(index_get_dirent(f->ix, 1, "file-x", 6, &cookie, &ino), -ENOENT);
    assert_int_equal(index_cookies_taken(f->ix, 1, cookie, &taken), 0);
    assert_int_equal(taken, 1);
    assert_int_equal(index_cookies_taken(f->ix, 2, cookie, &taken), 0);
    assert_int_equal(taken, 0);
    for (flag = false; !flag;)
        assert_int_equal(index_list_dir(f->ix, 1, l.last, 7, list_one, &l, &flag), 0);
    assert_int_equal(l.n, 501);
    l = (struct listing){.stop = 501};
    assert_int_equal(index_list_dir(f->ix, 1, 0, 1000, list_one, &l, &flag), 0);
    assert_false(flag);
    assert_int_equal(index_list_dir(f->ix, 1, l.last, 1000, list_one, &l, &flag), 0);
    assert_true(flag);
    assert_int_equal(index_dir_empty(f->ix, 1, &flag), 0);
    assert_false(flag);
    assert_int_equal(index_get_symlink(f->ix, 2, buf, 8), 8);
    assert_int_equal(index_get_symlink(f->ix, 2, buf, 7), -ERANGE);
    assert_int_equal(index_get_xattr(f->ix, 2, "k", 1, buf, 10), 3);
    assert_memory_equal(buf, "v22", 3);
    assert_int_equal(index_get_xattr(f->ix, 2, "k", 1, NULL, 0), 3);
    assert_int_equal(index_get_xattr(f->ix, 2, "k", 1, buf, 2), -ERANGE);
    assert_int_equal(index_get_xattr(f->ix, 2, "empty", 5, buf, 2), 0);
    assert_int_equal(index_get_xattr(f->ix, 2, "no", 2, buf, 2), -ENODATA);
    l = (struct listing){0};
    assert_int_equal(index_list_xattr(f->ix, 2, 0, list_attr, &l, &flag), 0);
    assert_int_equal(l.n, 2);
    assert_true(flag);
    assert_int_equal(index_list_orphans(f->ix, list_orphan, &sum), 0);
    assert_int_equal(sum, 2);

    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_del_inode(f->ix, 2), 0);
    assert_int_equal(index_del_orphan(f->ix, 2), 0);
    assert_int_equal(index_del_dirent(f->ix, 1, index_name_cookie("a", 1)), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM xattr"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM symlink"), 0);
    assert_int_equal(index_get_dirent(f->ix, 1, "a", 1, NULL, &ino), -ENOENT);
    /* names with the same base cookie live side by side */
    cookie = index_name_cookie("q", 1);
    assert_true(cookie % 8 == 0 && cookie >= 8);
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_put_dirent(f->ix, 1, cookie, "other", 5, 100), 0);
    assert_int_equal(index_put_dirent(f->ix, 1, cookie + 3, "q", 1, 101), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_get_dirent(f->ix, 1, "q", 1, &cookie, &ino), 0);
    assert_int_equal(ino, 101);
    assert_int_equal(index_cookies_taken(f->ix, 1, cookie - 3, &taken), 0);
    assert_int_equal(taken, 9);
}

/* The nth passing of any point fails, for n = 1, 2, ... until the transaction goes through. */
static void every_step_may_fail(void **state)
{
    struct fix *f = *state;
    struct vattr a;
    unsigned n;

    for (n = 1;; n++) {
        struct chunk c = {.id = 1, .stored_len = 2, .len = 2, .checksum = XXH3_64bits("xy", 2)};
        struct index_delta d = {0};
        a = file_attr(2);
        fault_arm("", n, FAULT_FAIL);
        int rc = index_begin(f->ix);
        if (!rc) {
            rc = index_put_inode(f->ix, &a);
            if (!rc)
                rc = index_put_dirent(f->ix, 1, 8, "n", 1, 2);
            if (!rc)
                rc = index_map(f->ix, 2, 0, &c, "xy", &d);
            if (!rc)
                rc = index_commit(f->ix);
            else
                index_rollback(f->ix);
        }
        fault_disarm();
        if (!rc)
            break;
        assert_int_equal(rc, -EIO);
        assert_int_equal(index_get_inode(f->ix, 2, &a), -ENOENT);
        assert_int_equal(raw(f, "SELECT count(*) FROM chunk"), 0);
        assert_int_equal(index_blob_bytes(f->ix), 0);
    }
    assert_true(n > 6);
    assert_int_equal(index_get_inode(f->ix, 2, &a), 0);
    assert_int_equal(index_blob_bytes(f->ix), 2);
}

static void survives_a_crash(void **state)
{
    struct fix *f = *state;
    struct index *ix;
    struct vattr a;
    struct index_meta m;
    static const char *const suffix[] = {"", "-wal"};
    char from[600], to[600];

    for (uint64_t i = 0; i < 20; i++) {
        char name[20];
        snprintf(name, sizeof(name), "f%d", (int)i);
        assert_int_equal(index_begin(f->ix), 0);
        put_file(f->ix, 2 + i, name);
        assert_int_equal(index_commit(f->ix), 0);
        if (i == 10)
            assert_true(index_checkpoint(f->ix) >= 0);
    }
    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 99, "not committed");
    /* what a killed process leaves: the files as they are; then with the end of the WAL torn off */
    for (int cut = 0; cut < 2; cut++) {
        for (int i = 0; i < 2; i++) {
            snprintf(from, sizeof(from), "%s%s", f->path, suffix[i]);
            snprintf(to, sizeof(to), "%s/copy%d.db%s", f->dir, cut, suffix[i]);
            st_copy(from, to);
        }
        if (cut)
            assert_int_equal(truncate(to, st_size(to) - 100), 0);
        snprintf(to, sizeof(to), "%s/copy%d.db", f->dir, cut);
        assert_int_equal(index_open(to, "copy", &ix), 0);
        assert_int_equal(index_get_inode(ix, 12, &a), 0);
        assert_int_equal(index_get_inode(ix, 20, &a), 0);
        assert_int_equal(index_get_inode(ix, 99, &a), -ENOENT);
        assert_int_equal(index_get_meta(ix, &m), 0);
        index_close(ix);
    }
    index_rollback(f->ix);
}

static void checkpoints_reset_the_wal(void **state)
{
    struct fix *f = *state;
    char wal[600];
    off_t largest = 0;

    snprintf(wal, sizeof(wal), "%s-wal", f->path);
    for (int round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < 20; i++) {
            struct vattr a = file_attr(2 + i + 100 * (uint64_t)round);
            assert_int_equal(index_begin(f->ix), 0);
            assert_int_equal(index_put_inode(f->ix, &a), 0);
            assert_int_equal(index_commit(f->ix), 0);
        }
        assert_int_equal(index_checkpoint(f->ix), 0);
        if (round == 1)
            largest = st_size(wal);
        else if (round > 1)
            assert_true(st_size(wal) <= largest * 2);
    }
    assert_true(index_bytes(f->ix) > 0);
}

static void readonly_beside_a_writer(void **state)
{
    struct fix *f = *state;
    struct index *ro;
    struct vattr a;

    assert_int_equal(index_open_readonly(f->path, "ro", &ro), 0);
    assert_int_equal(index_begin(ro), -EROFS);
    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 2, "a");
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_get_inode(ro, 2, &a), 0);
    index_close(ro);
    index_close(f->ix);
    f->ix = NULL;
    assert_int_equal(index_open_readonly(f->path, "ro", &ro), 0);
    assert_int_equal(index_get_inode(ro, 2, &a), 0);
    index_close(ro);
}

/* Not a test: with VOLNFS_BENCH set, tells what a group of creates costs. */
static void bench(void **state)
{
    struct fix *f = *state;
    static uint8_t data[2048];
    struct index_delta d = {0};
    struct index_meta m = meta0;
    uint64_t start = clock_mono_ns(), files = 0;

    for (uint64_t g = 0; g < 2000; g++) {
        assert_int_equal(index_begin(f->ix), 0);
        for (int i = 0; i < 16; i++, files++) {
            char name[32];
            snprintf(name, sizeof(name), "file-%d", (int)files);
            put_file(f->ix, 2 + files, name);
            struct chunk c = {.id = 1 + files, .stored_len = 2048, .len = 2048};
            assert_int_equal(index_map(f->ix, 2 + files, 0, &c, data, &d), 0);
        }
        m.txg++;
        assert_int_equal(index_put_meta(f->ix, &m), 0);
        assert_int_equal(index_commit(f->ix), 0);
        if (g % 100 == 99)
            index_checkpoint(f->ix);
    }
    double s = (double)(clock_mono_ns() - start) / 1e9;
    print_message("%d files in %.2f s: %.0f files/s\n", (int)files, s, (double)files / s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(garbage_is_refused), T(hostile_rows),      T(rows_come_back),
        T(every_step_may_fail), T(survives_a_crash), T(checkpoints_reset_the_wal),
        T(readonly_beside_a_writer),
    };
    const struct CMUnitTest benches[] = {T(bench)};

    if (getenv("VOLNFS_BENCH"))
        return cmocka_run_group_tests_name("index bench", benches, NULL, NULL);
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
