/* SPDX-License-Identifier: Apache-2.0
 * Tests of what SQLite keeps in memory, and of the file system that it writes its WAL through.
 */
#include <pthread.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "server/store/index.h"
#include "server/store/index_impl.h"
#include "tests/unit/storetest.h"

static const struct index_meta meta0 = {.next_ino = 2, .next_chunk = 1, .next_pack = 1, .next_gen = 1,
                                        .props = {.codec = 1, .level = 1}};
static const struct vattr root0 = {.ino = 1, .gen = 1, .type = IT_DIR, .mode = 0755, .nlink = 2, .parent = 1};

static struct index *make(char *dir)
{
    struct index *ix;

    assert_int_equal(index_create(st_path(dir, "index.db"), &meta0, &root0), 0);
    assert_int_equal(index_open(st_path(dir, "index.db"), "t", &ix), 0);
    return ix;
}

static void put_names(struct index *ix, unsigned from, unsigned n)
{
    char name[32];

    assert_int_equal(index_begin(ix), 0);
    for (unsigned i = from; i < from + n; i++) {
        int len = snprintf(name, sizeof(name), "name%u", i);
        struct vattr a = {.ino = 10 + i, .gen = 1, .type = IT_REG, .nlink = 1, .size = i};
        assert_int_equal(index_put_inode(ix, &a), 0);
        assert_int_equal(index_put_dirent(ix, 1, index_name_cookie(name, (size_t)len), name, (size_t)len, 10 + i), 0);
    }
    assert_int_equal(index_commit(ix), 0);
}

static void check_names(struct index *ix, unsigned n)
{
    struct vattr a;

    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(index_get_inode(ix, 10 + i, &a), 0);
        assert_int_equal(a.size, i);
    }
}

static void caches_follow(void **state)
{
    char *dir = st_tmpdir();
    struct index *ix = make(dir);
    sqlite3_int64 full, small;

    for (unsigned i = 0; i < 20; i++)
        put_names(ix, i * 2000, 2000);
    check_names(ix, 40000);
    full = sqlite3_memory_used();
    assert_true(full > (3 << 20));
    index_set_cache(ix, 512, 128, false);
    small = sqlite3_memory_used();
    assert_true(small < full / 2);
    check_names(ix, 40000);
    put_names(ix, 40000, 2000); /* a transaction larger than the cache */
    assert_true(sqlite3_memory_used() < full);
    check_names(ix, 42000);
    index_set_cache(ix, 65536, 8192, false);
    check_names(ix, 42000);
    assert_true(sqlite3_memory_used() > small);
    index_set_cache(ix, 65536, 8192, true);
    assert_true(sqlite3_memory_used() < small);
    /* nothing is done to a writer in a transaction, nor to a reader in use */
    assert_int_equal(index_begin(ix), 0);
    struct index_conn *c;
    assert_int_equal(index_reader_get(ix, &c), 0);
    index_set_cache(ix, 512, 128, true);
    assert_int_equal(ix->writer.cache_kib, 65536);
    assert_int_equal(c->cache_kib, 8192);
    index_reader_put(ix, c);
    index_rollback(ix);
    index_close(ix);
    st_rmtree(dir);
}

/* A database that ends in a crash: its WAL, with the zeros that it grew by, gives back what was committed and nothing else. */
static void wal_after_a_crash(void **state)
{
    char *dir = st_tmpdir(), *copy = st_tmpdir();
    struct index *ix = make(dir), *after;
    struct vattr a;

    for (unsigned i = 0; i < 5; i++)
        put_names(ix, i * 500, 500);
    assert_int_equal(index_begin(ix), 0); /* not committed, and larger than what is collected before it is written */
    for (unsigned i = 5000; i < 9000; i++) {
        struct vattr b = {.ino = 10 + i, .gen = 1, .type = IT_REG, .nlink = 1, .size = i};
        assert_int_equal(index_put_inode(ix, &b), 0);
    }
    st_copy(st_path(dir, "index.db"), st_path(copy, "index.db"));
    st_copy(st_path(dir, "index.db-wal"), st_path(copy, "index.db-wal"));
    index_rollback(ix);
    put_names(ix, 2500, 10);
    assert_int_equal(index_open(st_path(copy, "index.db"), "copy", &after), 0);
    check_names(after, 2500);
    assert_int_equal(index_get_inode(after, 10 + 5000, &a), -ENOENT);
    put_names(after, 2500, 700);
    check_names(after, 3200);
    index_close(after);
    check_names(ix, 2510);
    /* begins again from its start after a checkpoint, and is cut when the last connection closes */
    for (unsigned i = 0; i < 4; i++) {
        assert_true(index_checkpoint(ix) >= 0);
        put_names(ix, 2510 + i * 100, 100);
        check_names(ix, 2510 + (i + 1) * 100);
    }
    index_close(ix);
    assert_true(st_size(st_path(dir, "index.db-wal")) <= 0);
    assert_int_equal(index_open(st_path(dir, "index.db"), "t", &ix), 0);
    check_names(ix, 2910);
    index_close(ix);
    st_rmtree(dir);
    st_rmtree(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(caches_follow),
        cmocka_unit_test(wal_after_a_crash),
    };

    if (sqlite3_initialize() != SQLITE_OK) /* before the store does: then it counts its memory */
        return 1;
    return cmocka_run_group_tests_name("index_memory", tests, NULL, NULL);
}
