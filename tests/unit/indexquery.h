/* SPDX-License-Identifier: Apache-2.0
 * indexquery: what the tests of a volume ask its index directly, beside the volume that has it open.
 */
#ifndef VOLNFS_TESTS_INDEXQUERY_H
#define VOLNFS_TESTS_INDEXQUERY_H

#include <sqlite3.h>

#include "tests/unit/volumetest.h"

/* What the volume says of itself once all is in the index. */
static inline struct volume_stat vt_figures(struct vt *t)
{
    struct volume_stat st;

    assert_int_equal(volume_settle(t->v), 0);
    volume_stat_settle(t->v);
    volume_stat(t->v, &st);
    return st;
}

/* The first column of the first row, or -1 if there is no row. */
static inline int64_t vt_query(const struct vt *t, const char *text)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    int64_t n;

    snprintf(path, sizeof(path), "%s/index.db", t->dir);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 10000);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), SQLITE_OK);
    n = sqlite3_step(st) == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
    sqlite3_finalize(st);
    sqlite3_close(db);
    return n;
}

#endif
