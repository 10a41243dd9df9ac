/* SPDX-License-Identifier: Apache-2.0
 * statedb_int: what the files of statedb share.
 */
#ifndef VOLNFS_STORE_STATEDB_INT_H
#define VOLNFS_STORE_STATEDB_INT_H

#include <pthread.h>
#include <sqlite3.h>

#include "server/store/statedb.h"

#define STATEDB_KEY_SIZE 16

struct statedb {
    pthread_mutex_t lock; /* the connection */
    sqlite3 *db;
    int lock_fd;
    uint64_t epoch;
    uint8_t key[STATEDB_KEY_SIZE];
};

/* All: the caller holds db->lock. 0 or -errno, logged. */
/* What an SQLite result means; logs it unless it is a constraint's (-EEXIST). */
int statedb_fail(struct statedb *db, int code, const char *what);
int statedb_exec(struct statedb *db, const char *text);
int statedb_prepare(struct statedb *db, const char *text, sqlite3_stmt **st);
/* The first column of the first row. -EUCLEAN: there is none. */
int statedb_int(struct statedb *db, const char *text, int64_t *out);
/* Runs and finalizes a statement that returns no rows; the number of rows it changed. */
int statedb_finish(struct statedb *db, sqlite3_stmt *st, const char *what);
/* Takes the next id from the counter that `update` raises and `select` reads: ids are never used again, so it is
 * durable first. */
int statedb_next_id(struct statedb *db, const char *update, const char *select, uint64_t *id);
/* Logs it. -EUCLEAN. */
int statedb_bad_row(const char *table);
/* Takes db->lock itself. Runs the query and calls row for each of its rows, until it returns non-zero. */
int statedb_list(struct statedb *db, const char *text, int (*row)(sqlite3_stmt *st, void *ctx), void *ctx);

/* statedb_grant.c: the table, and what it begins with; inside a transaction. */
extern const char statedb_grant_schema[];
int statedb_grant_defaults(struct statedb *db);

#endif
