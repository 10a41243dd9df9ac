/* SPDX-License-Identifier: Apache-2.0
 * statedb_open: opening the server's own database, making it, and bringing an older one up to date.
 *
 * Its tables are in volume-format.5. The lock file is held by flock, which ends with the process
 * however it ends.
 */
#include "server/store/statedb_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/store/files.h"
#include "server/store/index_impl.h"
#include "server/store/sqlite.h"

#define STATE_FORMAT   2
#define APPLICATION_ID 0x564e4657 /* "VNFW" */

static const char schema[] =
    "CREATE TABLE server(id INTEGER PRIMARY KEY CHECK(id = 1), epoch INTEGER, handle_key BLOB,"
    " next_user INTEGER, next_volume INTEGER, next_grant INTEGER NOT NULL DEFAULT 1);"
    "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER);"
    "CREATE TABLE volume(id INTEGER PRIMARY KEY, user INTEGER NOT NULL, name TEXT NOT NULL,"
    " created INTEGER, UNIQUE(user, name));"
    "CREATE TABLE client(minor INTEGER NOT NULL, owner BLOB NOT NULL, principal TEXT,"
    " PRIMARY KEY(minor, owner)) WITHOUT ROWID;";

/* Takes STORE/lock, making STORE if need be. */
static int take_lock(struct statedb *db, const char *store)
{
    char path[4096];

    if (mkdir(store, 0700) == 0) {
        snprintf(path, sizeof(path), "%s/..", store);
        int rc = dir_sync(AT_FDCWD, path);
        if (rc)
            return rc;
    } else if (errno != EEXIST) {
        return -errno;
    }
    db->lock_fd = dir_lock(store);
    return db->lock_fd < 0 ? db->lock_fd : 0;
}

static int open_db(struct statedb *db, const char *store, int flags)
{
    char path[4096];

    if (snprintf(path, sizeof(path), "%s/state.db", store) >= (int)sizeof(path))
        return -ENAMETOOLONG;
    if (flags & SQLITE_OPEN_CREATE) { /* SQLite would make it with the umask's mode */
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0)
            return -errno;
        close(fd);
    }
    sqlite_setup();
    int code = sqlite3_open_v2(path, &db->db, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code)
        return access(path, F_OK) ? -errno : statedb_fail(db, code, "open");
    sqlite3_extended_result_codes(db->db, 1);
    sqlite3_busy_timeout(db->db, 10000);
    return statedb_exec(db, "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF;"
                    "PRAGMA cell_size_check = ON");
}

static int make_tables(struct statedb *db)
{
    char text[128];
    uint8_t key[STATEDB_KEY_SIZE];
    sqlite3_stmt *st;
    int rc = statedb_exec(db, "BEGIN IMMEDIATE");

    if (rc)
        return rc;
    snprintf(text, sizeof(text), "PRAGMA application_id = %d; PRAGMA user_version = %d",
             APPLICATION_ID, STATE_FORMAT);
    rc = statedb_exec(db, schema);
    if (!rc)
        rc = statedb_exec(db, statedb_grant_schema);
    if (!rc)
        rc = statedb_exec(db, text);
    if (!rc)
        rc = statedb_prepare(db, "INSERT INTO server VALUES(1, 0, ?1, 1, 1, 1)", &st);
    if (!rc) {
        clock_random(key, sizeof(key));
        sqlite3_bind_blob(st, 1, key, sizeof(key), SQLITE_STATIC);
        rc = statedb_finish(db, st, "make");
    }
    if (rc >= 0)
        rc = statedb_grant_defaults(db);
    if (!rc)
        rc = statedb_exec(db, "COMMIT");
    if (rc < 0)
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* Format 1 had no grants: everybody who reached the server could do everything. They get what a new store gets. */
static int upgrade_1(struct statedb *db)
{
    int rc = statedb_exec(db, "BEGIN IMMEDIATE");

    if (rc)
        return rc;
    rc = statedb_exec(db, "ALTER TABLE server ADD COLUMN next_grant INTEGER NOT NULL DEFAULT 1");
    if (!rc)
        rc = statedb_exec(db, statedb_grant_schema);
    if (!rc)
        rc = statedb_grant_defaults(db);
    if (!rc)
        rc = statedb_exec(db, "PRAGMA user_version = 2");
    if (!rc)
        rc = statedb_exec(db, "COMMIT");
    if (rc)
        sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    else
        log_warn("this store is from before grants: from now on only this machine reaches its volumes, until "
                 "'volnfs grant NETWORK /' lets others in");
    return rc;
}

static int check_format(struct statedb *db, bool may_make)
{
    int64_t app, version, tables;
    int rc = statedb_int(db, "PRAGMA application_id", &app);

    if (!rc)
        rc = statedb_int(db, "PRAGMA user_version", &version);
    if (!rc)
        rc = statedb_int(db, "SELECT count(*) FROM sqlite_schema", &tables);
    if (rc)
        return rc;
    if (may_make && app == 0 && version == 0 && tables == 0)
        return make_tables(db);
    if (app != APPLICATION_ID || version < 1) {
        log_error("state.db: not a volnfs state database");
        return -EUCLEAN;
    }
    if (version > STATE_FORMAT) {
        log_error("state.db: format %lld is newer than this program's", (long long)version);
        return -ENOTSUP;
    }
    return version == 1 && may_make ? upgrade_1(db) : 0;
}

static int count_epoch(struct statedb *db)
{
    sqlite3_stmt *st;
    int rc = statedb_prepare(db, "UPDATE server SET epoch = epoch + 1", &st);

    if (!rc)
        rc = statedb_finish(db, st, "epoch");
    if (rc < 0)
        return rc;
    rc = statedb_prepare(db, "SELECT epoch, handle_key FROM server", &st);
    if (rc)
        return rc;
    bool bad = sqlite3_step(st) != SQLITE_ROW;
    if (!bad) {
        db->epoch = index_column(st, 0, INT64_MAX >> 40, &bad);
        bad |= db->epoch == 0 || sqlite3_column_type(st, 1) != SQLITE_BLOB ||
               sqlite3_column_bytes(st, 1) != STATEDB_KEY_SIZE;
    }
    if (!bad)
        memcpy(db->key, sqlite3_column_blob(st, 1), STATEDB_KEY_SIZE);
    sqlite3_finalize(st);
    return bad ? statedb_bad_row("server") : 0;
}

static int open_as(const char *store, bool readonly, struct statedb **out)
{
    struct statedb *db = calloc(1, sizeof(*db));
    int rc;

    if (!db)
        return -ENOMEM;
    db->lock_fd = -1;
    pthread_mutex_init(&db->lock, NULL);
    rc = readonly ? 0 : take_lock(db, store);
    if (!rc)
        rc = open_db(db, store,
                     readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (!rc && !readonly)
        rc = statedb_exec(db, "PRAGMA journal_mode = WAL");
    if (!rc)
        rc = check_format(db, !readonly);
    if (!rc && !readonly)
        rc = count_epoch(db);
    if (!rc && !readonly)
        rc = dir_sync(AT_FDCWD, store);
    if (rc) {
        statedb_close(db);
        return rc;
    }
    *out = db;
    return 0;
}

int statedb_open(const char *store, struct statedb **out)
{
    return open_as(store, false, out);
}

int statedb_open_readonly(const char *store, struct statedb **out)
{
    return open_as(store, true, out);
}

void statedb_close(struct statedb *db)
{
    if (!db)
        return;
    sqlite3_close(db->db);
    dir_unlock(db->lock_fd);
    pthread_mutex_destroy(&db->lock);
    free(db);
}

uint64_t statedb_epoch(const struct statedb *db)
{
    return db->epoch;
}

const uint8_t *statedb_handle_key(const struct statedb *db)
{
    return db->key;
}
