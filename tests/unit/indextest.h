/* SPDX-License-Identifier: Apache-2.0
 * indextest: an index in a temporary folder, open, for tests of it alone.
 */
#ifndef VOLNFS_TESTS_INDEXTEST_H
#define VOLNFS_TESTS_INDEXTEST_H

#include <sqlite3.h>

#include "common/fault.h"
#include "server/store/index.h"
#include "tests/unit/storetest.h"

struct fix {
    char *dir;
    char path[512];
    struct index *ix;
};

static const struct index_meta meta0 = {
    .next_ino = 2, .next_chunk = 1, .next_pack = 1, .next_gen = 1, .props = {.codec = 1, .level = 1}};
static struct vattr root = {.ino = 1, .gen = 1, .type = IT_DIR, .mode = 0755, .nlink = 2, .parent = 1,
                            .change = 5};

static inline int fix_setup(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));

    f->dir = st_tmpdir();
    snprintf(f->path, sizeof(f->path), "%s/index.db", f->dir);
    assert_int_equal(index_create(f->path, &meta0, &root), 0);
    assert_int_equal(index_open(f->path, "test", &f->ix), 0);
    *state = f;
    return 0;
}

static inline int fix_teardown(void **state)
{
    struct fix *f = *state;

    fault_disarm();
    index_close(f->ix);
    st_rmtree(f->dir);
    free(f);
    return 0;
}

static inline int64_t raw(struct fix *f, const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *st = NULL;
    int64_t v = -1;

    assert_int_equal(sqlite3_open(f->path, &db), 0);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), 0);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    else
        assert_int_equal(code, SQLITE_DONE);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static inline struct vattr file_attr(uint64_t ino)
{
    return (struct vattr){.ino = ino, .gen = 3, .type = IT_REG, .mode = 0644, .nlink = 1,
                          .uid = UINT32_MAX, .gid = 7, .size = 12345, .used = 4096,
                          .change = 1ULL << 50, .atime = {-5, 999999999}, .mtime = {1, 2},
                          .ctime = {3, 4}, .btime = {0, 0}, .create_verf = UINT64_MAX};
}

static inline void put_file(struct index *ix, uint64_t ino, const char *name)
{
    struct vattr a = file_attr(ino);

    assert_int_equal(index_put_inode(ix, &a), 0);
    assert_int_equal(
        index_put_dirent(ix, 1, index_name_cookie(name, strlen(name)), name, strlen(name), ino), 0);
}

#endif
