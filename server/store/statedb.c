/* SPDX-License-Identifier: Apache-2.0
 * statedb: users, volumes and clients in the server's own database, one connection under one lock.
 */
#include "server/store/statedb_int.h"

#include <errno.h>
#include <string.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/store/index_impl.h"

#define OWNER_MAX 1024

/* --- helpers --- */

int statedb_fail(struct statedb *db, int code, const char *what)
{
    if ((code & 0xff) == SQLITE_CONSTRAINT)
        return -EEXIST;
    int rc = index_errno(code);
    if (rc)
        log_error("state.db: %s: %s", what, sqlite3_errmsg(db->db));
    return rc;
}

int statedb_bad_row(const char *table)
{
    log_error("state.db: impossible row in %s", table);
    return -EUCLEAN;
}

int statedb_exec(struct statedb *db, const char *text)
{
    int code = sqlite3_exec(db->db, text, NULL, NULL, NULL);

    return code ? statedb_fail(db, code, text) : 0;
}

int statedb_prepare(struct statedb *db, const char *text, sqlite3_stmt **st)
{
    int code = sqlite3_prepare_v2(db->db, text, -1, st, NULL);

    return code ? statedb_fail(db, code, text) : 0;
}

int statedb_finish(struct statedb *db, sqlite3_stmt *st, const char *what)
{
    int rc = fault_point("statedb.write");
    int code = rc ? SQLITE_DONE : sqlite3_step(st);

    if (code != SQLITE_DONE)
        rc = statedb_fail(db, code, what);
    sqlite3_finalize(st);
    return rc ? rc : sqlite3_changes(db->db);
}

int statedb_int(struct statedb *db, const char *text, int64_t *out)
{
    sqlite3_stmt *st;
    int rc = statedb_prepare(db, text, &st);

    if (rc)
        return rc;
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    else
        rc = code == SQLITE_DONE ? -EUCLEAN : statedb_fail(db, code, text);
    sqlite3_finalize(st);
    return rc;
}

/* --- names --- */

static int check_name(const char *name, size_t len, size_t max)
{
    if (len < 1 || len > max || name[0] == '.' || name[0] == '-')
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        char c = name[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
            c != '.' && c != '_' && c != '-')
            return -EINVAL;
    }
    return 0;
}

int statedb_check_user_name(const char *name, size_t len)
{
    return check_name(name, len, USER_NAME_MAX);
}

int statedb_check_volume_name(const char *name, size_t len)
{
    return check_name(name, len, VOLUME_NAME_MAX);
}

/* Column i as a valid name of at most max bytes, into out. */
static bool column_name(sqlite3_stmt *st, int i, size_t max, char *out)
{
    int len = sqlite3_column_bytes(st, i);
    const char *p = sqlite3_column_blob(st, i);

    if (!p || sqlite3_column_type(st, i) != SQLITE_TEXT || check_name(p, (size_t)len, max))
        return false;
    memcpy(out, p, (size_t)len);
    out[len] = 0;
    return true;
}

/* --- lists --- */

int statedb_list(struct statedb *db, const char *text, int (*row)(sqlite3_stmt *st, void *ctx),
                void *ctx)
{
    sqlite3_stmt *st = NULL;
    int code = SQLITE_DONE;

    pthread_mutex_lock(&db->lock);
    int rc = statedb_prepare(db, text, &st);
    while (!rc && (code = sqlite3_step(st)) == SQLITE_ROW)
        rc = row(st, ctx);
    if (!rc && code != SQLITE_DONE)
        rc = statedb_fail(db, code, text);
    sqlite3_finalize(st);
    pthread_mutex_unlock(&db->lock);
    return rc;
}

struct list_ctx {
    int (*user)(void *arg, const struct user_row *u);
    int (*volume)(void *arg, const struct volume_row *r);
    int (*client)(void *arg, const struct client_row *c);
    void *arg;
};

static int user_row(sqlite3_stmt *st, void *p)
{
    struct list_ctx *ctx = p;
    struct user_row u = {0};
    bool bad = false;

    u.id = index_column(st, 0, INT64_MAX, &bad);
    u.created = sqlite3_column_int64(st, 2);
    if (bad || u.id == 0 || !column_name(st, 1, USER_NAME_MAX, u.name))
        return statedb_bad_row("user");
    return ctx->user(ctx->arg, &u);
}

int statedb_list_users(struct statedb *db, int (*fn)(void *arg, const struct user_row *u), void *arg)
{
    struct list_ctx ctx = {.user = fn, .arg = arg};

    return statedb_list(db, "SELECT id, name, created FROM user ORDER BY id", user_row, &ctx);
}

static int volume_row(sqlite3_stmt *st, void *p)
{
    struct list_ctx *ctx = p;
    struct volume_row r = {0};
    bool bad = false;

    r.id = index_column(st, 0, INT64_MAX, &bad);
    r.user = index_column(st, 1, INT64_MAX, &bad);
    r.created = sqlite3_column_int64(st, 3);
    if (bad || r.id == 0 || r.user == 0 || !column_name(st, 2, VOLUME_NAME_MAX, r.name))
        return statedb_bad_row("volume");
    return ctx->volume(ctx->arg, &r);
}

int statedb_list_volumes(struct statedb *db, int (*fn)(void *arg, const struct volume_row *r),
                         void *arg)
{
    struct list_ctx ctx = {.volume = fn, .arg = arg};

    return statedb_list(db, "SELECT id, user, name, created FROM volume ORDER BY id", volume_row, &ctx);
}

static int client_row(sqlite3_stmt *st, void *p)
{
    struct list_ctx *ctx = p;
    struct client_row c = {0};
    bool bad = false;

    c.minor = (uint32_t)index_column(st, 0, UINT32_MAX, &bad);
    c.owner = sqlite3_column_blob(st, 1);
    c.owner_len = (size_t)sqlite3_column_bytes(st, 1);
    const unsigned char *principal = sqlite3_column_text(st, 2);
    if (bad || c.owner_len > OWNER_MAX || !principal ||
        strlen((const char *)principal) >= sizeof(c.principal))
        return statedb_bad_row("client");
    strcpy(c.principal, (const char *)principal);
    return ctx->client(ctx->arg, &c);
}

int statedb_list_clients(struct statedb *db, int (*fn)(void *arg, const struct client_row *c),
                         void *arg)
{
    struct list_ctx ctx = {.client = fn, .arg = arg};

    return statedb_list(db, "SELECT minor, owner, principal FROM client ORDER BY minor, owner", client_row,
                &ctx);
}

/* --- users and volumes --- */

int statedb_next_id(struct statedb *db, const char *update, const char *select, uint64_t *id)
{
    sqlite3_stmt *st;
    int64_t next = 0;
    int rc = statedb_prepare(db, update, &st);

    if (!rc)
        rc = statedb_finish(db, st, update);
    if (rc >= 0)
        rc = statedb_int(db, select, &next);
    if (!rc && next < 2)
        rc = statedb_bad_row("server");
    *id = (uint64_t)next - 1;
    return rc;
}

int statedb_add_user(struct statedb *db, const char *name, struct user_row *out)
{
    struct user_row u = {.created = clock_wall().tv_sec};
    sqlite3_stmt *st;

    int rc = statedb_check_user_name(name, strlen(name));
    if (rc)
        return rc;
    strcpy(u.name, name);
    pthread_mutex_lock(&db->lock);
    rc = statedb_next_id(db, "UPDATE server SET next_user = next_user + 1",
                        "SELECT next_user FROM server", &u.id);
    if (!rc)
        rc = statedb_prepare(db, "INSERT INTO user VALUES(?1, ?2, ?3)", &st);
    if (!rc) {
        bind_u64(st, 1, u.id);
        sqlite3_bind_text(st, 2, u.name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 3, u.created);
        rc = statedb_finish(db, st, "add user");
    }
    pthread_mutex_unlock(&db->lock);
    if (rc < 0)
        return rc;
    *out = u;
    return 0;
}

/* A statement with one id; -ENOENT if it changed nothing. */
static int change_by_id(struct statedb *db, const char *text, uint64_t id, const char *name)
{
    sqlite3_stmt *st;

    pthread_mutex_lock(&db->lock);
    int rc = statedb_prepare(db, text, &st);
    if (!rc) {
        bind_u64(st, 1, id);
        if (name)
            sqlite3_bind_text(st, 2, name, -1, SQLITE_STATIC);
        rc = statedb_finish(db, st, text);
    }
    pthread_mutex_unlock(&db->lock);
    return rc < 0 ? rc : rc == 0 ? -ENOENT : 0;
}

int statedb_del_user(struct statedb *db, uint64_t id)
{
    return change_by_id(db,
                        "DELETE FROM user WHERE id = ?1 AND"
                        " NOT EXISTS (SELECT 1 FROM volume WHERE user = ?1)",
                        id, NULL);
}

int statedb_next_volume_id(struct statedb *db, uint64_t *id)
{
    pthread_mutex_lock(&db->lock);
    int rc = statedb_next_id(db, "UPDATE server SET next_volume = next_volume + 1",
                            "SELECT next_volume FROM server", id);
    pthread_mutex_unlock(&db->lock);
    return rc;
}

int statedb_add_volume(struct statedb *db, const struct volume_row *r)
{
    sqlite3_stmt *st;

    int rc = statedb_check_volume_name(r->name, strnlen(r->name, sizeof(r->name)));
    if (rc || r->id == 0)
        return -EINVAL;
    pthread_mutex_lock(&db->lock);
    rc = statedb_prepare(db,
                 "INSERT INTO volume SELECT ?1, ?2, ?3, ?4 WHERE EXISTS"
                 " (SELECT 1 FROM user WHERE id = ?2)",
                 &st);
    if (!rc) {
        bind_u64(st, 1, r->id);
        bind_u64(st, 2, r->user);
        sqlite3_bind_text(st, 3, r->name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 4, r->created);
        rc = statedb_finish(db, st, "add volume");
    }
    pthread_mutex_unlock(&db->lock);
    return rc < 0 ? rc : rc == 0 ? -ENOENT : 0;
}

int statedb_del_volume(struct statedb *db, uint64_t id)
{
    return change_by_id(db, "DELETE FROM volume WHERE id = ?1", id, NULL);
}

int statedb_rename_volume(struct statedb *db, uint64_t id, const char *name)
{
    int rc = statedb_check_volume_name(name, strlen(name));

    return rc ? rc : change_by_id(db, "UPDATE volume SET name = ?2 WHERE id = ?1", id, name);
}

/* --- clients --- */

int statedb_put_client(struct statedb *db, const struct client_row *c)
{
    sqlite3_stmt *st;

    if (c->owner_len > OWNER_MAX || memchr(c->principal, 0, sizeof(c->principal)) == NULL)
        return -EINVAL;
    pthread_mutex_lock(&db->lock);
    int rc = statedb_prepare(db, "REPLACE INTO client VALUES(?1, ?2, ?3)", &st);
    if (!rc) {
        bind_u64(st, 1, c->minor);
        sqlite3_bind_blob64(st, 2, c->owner_len ? c->owner : "", c->owner_len, SQLITE_STATIC);
        sqlite3_bind_text(st, 3, c->principal, -1, SQLITE_STATIC);
        rc = statedb_finish(db, st, "put client");
    }
    pthread_mutex_unlock(&db->lock);
    return rc < 0 ? rc : 0;
}

int statedb_del_client(struct statedb *db, uint32_t minor, const void *owner, size_t owner_len)
{
    sqlite3_stmt *st;

    pthread_mutex_lock(&db->lock);
    int rc = statedb_prepare(db, "DELETE FROM client WHERE minor = ?1 AND owner = ?2", &st);
    if (!rc) {
        bind_u64(st, 1, minor);
        sqlite3_bind_blob64(st, 2, owner_len ? owner : "", owner_len, SQLITE_STATIC);
        rc = statedb_finish(db, st, "delete client");
    }
    pthread_mutex_unlock(&db->lock);
    return rc < 0 ? rc : 0;
}

static int del_rows_locked(struct statedb *db, const struct client_row *rows, unsigned n)
{
    sqlite3_stmt *st;
    int rc = fault_point("statedb.write");

    if (!rc)
        rc = statedb_prepare(db, "DELETE FROM client WHERE minor = ?1 AND owner = ?2", &st);
    if (rc)
        return rc;
    for (unsigned i = 0; i < n && !rc; i++) {
        bind_u64(st, 1, rows[i].minor);
        sqlite3_bind_blob64(st, 2, rows[i].owner_len ? rows[i].owner : "", rows[i].owner_len, SQLITE_STATIC);
        int code = sqlite3_step(st);
        if (code != SQLITE_DONE)
            rc = statedb_fail(db, code, "delete clients");
        sqlite3_reset(st);
    }
    sqlite3_finalize(st);
    return rc;
}

int statedb_del_clients(struct statedb *db, const struct client_row *rows, unsigned n)
{
    pthread_mutex_lock(&db->lock);
    int rc = statedb_exec(db, "BEGIN IMMEDIATE");
    if (!rc) {
        rc = del_rows_locked(db, rows, n);
        if (!rc)
            rc = statedb_exec(db, "COMMIT");
        if (rc)
            sqlite3_exec(db->db, "ROLLBACK", NULL, NULL, NULL);
    }
    pthread_mutex_unlock(&db->lock);
    return rc;
}
