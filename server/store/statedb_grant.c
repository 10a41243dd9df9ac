/* SPDX-License-Identifier: Apache-2.0
 * statedb_grant: the rows of grants.
 */
#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "server/store/index_impl.h"
#include "server/store/statedb_int.h"

const char statedb_grant_schema[] =
    "CREATE TABLE access(id INTEGER PRIMARY KEY, subject INTEGER NOT NULL, net BLOB, prefix INTEGER, salt BLOB,"
    " hash BLOB, principal TEXT, object INTEGER NOT NULL, user INTEGER, volume INTEGER, snapshot INTEGER,"
    " path TEXT NOT NULL, rights INTEGER NOT NULL, squash INTEGER NOT NULL, anon_uid INTEGER, anon_gid INTEGER,"
    " expires INTEGER NOT NULL, created INTEGER NOT NULL, label TEXT NOT NULL);"
    "CREATE INDEX access_object ON access(object, user, volume, snapshot);";

/* This machine may do everything. */
int statedb_grant_defaults(struct statedb *db)
{
    return statedb_exec(db,
        "UPDATE server SET next_grant = 3;"
        "INSERT INTO access VALUES(1, 1, x'00000000000000000000ffff7f000000', 104, NULL, NULL, NULL, 0, NULL, NULL,"
        " NULL, '', 3, 0, NULL, NULL, 0, CAST(strftime('%s', 'now') AS INTEGER), 'this machine');"
        "INSERT INTO access VALUES(2, 1, x'00000000000000000000000000000001', 128, NULL, NULL, NULL, 0, NULL, NULL,"
        " NULL, '', 3, 0, NULL, NULL, 0, CAST(strftime('%s', 'now') AS INTEGER), 'this machine')");
}

/* --- reading --- */

static bool column_bytes(sqlite3_stmt *st, int i, void *out, size_t len)
{
    const void *p = sqlite3_column_blob(st, i);

    if (sqlite3_column_type(st, i) != SQLITE_BLOB || (size_t)sqlite3_column_bytes(st, i) != len)
        return false;
    memcpy(out, p, len);
    return true;
}

static bool column_text(sqlite3_stmt *st, int i, char *out, size_t size)
{
    const unsigned char *p = sqlite3_column_text(st, i);
    size_t len = (size_t)sqlite3_column_bytes(st, i);

    if (!p || len >= size || memchr(p, 0, len))
        return false;
    memcpy(out, p, len);
    out[len] = 0;
    return true;
}

static bool subject_ok(sqlite3_stmt *st, struct grant_row *g)
{
    bool bad = false;

    switch (g->subject) {
    case GRANT_NETWORK:
        g->prefix = (unsigned)index_column(st, 3, 128, &bad);
        return !bad && column_bytes(st, 2, g->net, sizeof(g->net));
    case GRANT_TOKEN:
        return column_bytes(st, 4, g->salt, sizeof(g->salt)) && column_bytes(st, 5, g->hash, sizeof(g->hash));
    }
    return false;
}

static bool object_ok(sqlite3_stmt *st, struct grant_row *g)
{
    bool bad = false;

    if (g->object != GRANT_SERVER)
        g->user = index_column(st, 8, INT64_MAX, &bad);
    if (g->object >= GRANT_VOLUME)
        g->volume = index_column(st, 9, INT64_MAX, &bad);
    if (g->object == GRANT_SNAPSHOT)
        g->snapshot = index_column(st, 10, INT64_MAX, &bad);
    return !bad && column_text(st, 11, g->path, sizeof(g->path)) &&
           (g->object == GRANT_SUBPATH) == (g->path[0] != 0);
}

struct grants_ctx {
    int (*fn)(void *arg, const struct grant_row *g);
    void *arg;
};

static int grant_row(sqlite3_stmt *st, void *p)
{
    struct grants_ctx *ctx = p;
    struct grant_row g = {0};
    bool bad = false;

    g.id = index_column(st, 0, INT64_MAX, &bad);
    g.subject = (enum grant_subject)index_column(st, 1, INT32_MAX, &bad);
    g.object = (enum grant_object)index_column(st, 7, GRANT_SUBPATH, &bad);
    g.rights = (unsigned)index_column(st, 12, GRANT_MAY_WRITE | GRANT_MAY_CREATE, &bad);
    g.squash = (enum grant_squash)index_column(st, 13, GRANT_SQUASH_ALL, &bad);
    g.has_anon = sqlite3_column_type(st, 14) != SQLITE_NULL;
    if (g.has_anon) {
        g.anon_uid = (uint32_t)index_column(st, 14, UINT32_MAX, &bad);
        g.anon_gid = (uint32_t)index_column(st, 15, UINT32_MAX, &bad);
    }
    g.expires = (int64_t)index_column(st, 16, INT64_MAX, &bad);
    g.created = sqlite3_column_int64(st, 17);
    if (bad || !g.id || !subject_ok(st, &g) || !object_ok(st, &g) ||
        !column_text(st, 18, g.label, sizeof(g.label)))
        return statedb_bad_row("access");
    return ctx->fn(ctx->arg, &g);
}

int statedb_list_grants(struct statedb *db, int (*fn)(void *arg, const struct grant_row *g), void *arg)
{
    struct grants_ctx ctx = {fn, arg};

    return statedb_list(db,
                        "SELECT id, subject, net, prefix, salt, hash, principal, object, user, volume, snapshot,"
                        " path, rights, squash, anon_uid, anon_gid, expires, created, label FROM access ORDER BY id",
                        grant_row, &ctx);
}

/* --- changing --- */

/* ?1 to ?7 of both statements: whom a grant to a network is for, and on what. */
static void bind_place(sqlite3_stmt *st, const struct grant_row *g)
{
    sqlite3_bind_blob(st, 1, g->net, sizeof(g->net), SQLITE_STATIC);
    sqlite3_bind_int(st, 2, (int)g->prefix);
    sqlite3_bind_int(st, 3, g->object);
    if (g->object != GRANT_SERVER)
        bind_u64(st, 4, g->user);
    if (g->object >= GRANT_VOLUME)
        bind_u64(st, 5, g->volume);
    if (g->object == GRANT_SNAPSHOT)
        bind_u64(st, 6, g->snapshot);
    sqlite3_bind_text(st, 7, g->path, -1, SQLITE_STATIC);
}

/* Removes the grant that g replaces; its id becomes g's, so that handles go on under the new rules. */
static int replace_locked(struct statedb *db, struct grant_row *g)
{
    sqlite3_stmt *st;
    int code, rc;

    if (g->subject != GRANT_NETWORK)
        return 0;
    rc = statedb_prepare(db,
                         "DELETE FROM access WHERE subject = 1 AND net = ?1 AND prefix = ?2 AND object = ?3 AND"
                         " user IS ?4 AND volume IS ?5 AND snapshot IS ?6 AND path = ?7 RETURNING id",
                         &st);
    if (rc)
        return rc;
    bind_place(st, g);
    while ((code = sqlite3_step(st)) == SQLITE_ROW)
        g->id = (uint64_t)sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return code == SQLITE_DONE ? 0 : statedb_fail(db, code, "replace grant");
}

static int insert_locked(struct statedb *db, const struct grant_row *g)
{
    sqlite3_stmt *st;
    int rc = statedb_prepare(db,
                             "INSERT INTO access(net, prefix, object, user, volume, snapshot, path, id, subject,"
                             " salt, hash, rights, squash, anon_uid, anon_gid, expires, created, label)"
                             " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18)",
                             &st);

    if (rc)
        return rc;
    bind_place(st, g);
    bind_u64(st, 8, g->id);
    sqlite3_bind_int(st, 9, g->subject);
    if (g->subject == GRANT_TOKEN) {
        sqlite3_bind_blob(st, 10, g->salt, sizeof(g->salt), SQLITE_STATIC);
        sqlite3_bind_blob(st, 11, g->hash, sizeof(g->hash), SQLITE_STATIC);
    }
    sqlite3_bind_int(st, 12, (int)g->rights);
    sqlite3_bind_int(st, 13, g->squash);
    if (g->has_anon) {
        sqlite3_bind_int64(st, 14, g->anon_uid);
        sqlite3_bind_int64(st, 15, g->anon_gid);
    }
    sqlite3_bind_int64(st, 16, g->expires);
    sqlite3_bind_int64(st, 17, g->created);
    sqlite3_bind_text(st, 18, g->label, -1, SQLITE_STATIC);
    rc = statedb_finish(db, st, "add grant");
    return rc < 0 ? rc : 0;
}

int statedb_add_grant(struct statedb *db, struct grant_row *g)
{
    int rc;

    g->created = clock_wall().tv_sec;
    pthread_mutex_lock(&db->lock);
    rc = statedb_next_id(db, "UPDATE server SET next_grant = next_grant + 1", "SELECT next_grant FROM server",
                         &g->id);
    if (!rc)
        rc = statedb_exec(db, "BEGIN IMMEDIATE");
    if (!rc) {
        rc = replace_locked(db, g);
        if (!rc)
            rc = insert_locked(db, g);
        if (!rc)
            rc = statedb_exec(db, "COMMIT");
        if (rc)
            sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&db->lock);
    return rc;
}

int statedb_del_grant(struct statedb *db, uint64_t id)
{
    sqlite3_stmt *st;
    int rc;

    pthread_mutex_lock(&db->lock);
    rc = statedb_prepare(db, "DELETE FROM access WHERE id = ?1", &st);
    if (!rc) {
        bind_u64(st, 1, id);
        rc = statedb_finish(db, st, "delete grant");
    }
    pthread_mutex_unlock(&db->lock);
    return rc < 0 ? rc : rc ? 0 : -ENOENT;
}

int statedb_clean_grants(struct statedb *db, int64_t before)
{
    sqlite3_stmt *st;
    int rc;

    pthread_mutex_lock(&db->lock);
    rc = statedb_prepare(db,
                         "DELETE FROM access WHERE (user IS NOT NULL AND user NOT IN (SELECT id FROM user)) OR"
                         " (volume IS NOT NULL AND volume NOT IN (SELECT id FROM volume)) OR"
                         " (subject = 2 AND expires > 0 AND expires < ?1)",
                         &st);
    if (!rc) {
        sqlite3_bind_int64(st, 1, before);
        rc = statedb_finish(db, st, "clean grants");
    }
    pthread_mutex_unlock(&db->lock);
    return rc;
}
