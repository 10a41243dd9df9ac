/* SPDX-License-Identifier: Apache-2.0
 * check_int: what the files of check share.
 */
#ifndef VOLNFS_STORE_CHECK_INT_H
#define VOLNFS_STORE_CHECK_INT_H

#include "server/store/check.h"
#include "server/store/index_impl.h"

struct check {
    struct index *ix;
    struct index_conn *conn;
    char *packs; /* the folder */
    bool data;
    void (*problem)(void *arg, const char *text);
    void *arg;
    struct check_report *rep;
    char where[STORE_SNAP_NAME_MAX + 16]; /* before each problem: "snapshot NAME: " or nothing */
};

/* Tells of a problem, in one sentence. */
void check_problem(struct check *ck, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What an SQLite result means: 0 if it is a finding, which has been told; else -errno. */
int check_sql_error(struct check *ck, int code, const char *what);

/* check_index.c. All of the index and, with check_chunks, the packs, in one transaction. 0 or -errno. */
int check_rows(struct check *ck);
/* The tree of the snapshot that ck's index is opened as. Nothing if it was destroyed meanwhile. 0 or -errno. */
int check_snapshot_rows(struct check *ck, uint64_t id);

/* check_packs.c: each chunk of the index has its record in its place. 0 or -errno. */
int check_chunks(struct check *ck);

#endif
