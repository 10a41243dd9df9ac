/* SPDX-License-Identifier: Apache-2.0
 * repair_sql: how repair tells what it does, runs statements, and the functions that its statements use.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "server/store/repair_int.h"

/* --- sentences, statements --- */

static void tell(struct repair *r, uint64_t *count, const char *fmt, va_list ap)
{
    char text[1024];

    vsnprintf(text, sizeof(text), fmt, ap);
    ++*count;
    if (r->say)
        r->say(r->arg, text);
}

void repair_did(struct repair *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tell(r, &r->rep->repaired, fmt, ap);
    va_end(ap);
}

void repair_left(struct repair *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    tell(r, &r->rep->left, fmt, ap);
    va_end(ap);
}

int repair_exec(struct repair *r, const char *text)
{
    return index_exec(r->ix, r->db, text);
}

int repair_int(struct repair *r, const char *text, int64_t *out)
{
    return index_query_int(r->ix, r->db, text, out);
}

int repair_run(struct repair *r, const char *text, bool done)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(r->db, text, -1, &st, NULL);

    while (!code && (code = sqlite3_step(st)) == SQLITE_ROW) {
        const char *p = (const char *)sqlite3_column_text(st, 0);
        (done ? repair_did : repair_left)(r, "%s", p ? p : "a row that cannot be told");
        code = 0;
    }
    int rc = code == SQLITE_DONE ? 0 : index_error(r->ix, r->db, code, text);
    sqlite3_finalize(st);
    return rc;
}

/* --- SQL functions --- */

static void fn_name_cookie(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    const char *name = sqlite3_value_blob(argv[0]);

    if (name)
        sqlite3_result_int64(ctx, (sqlite3_int64)index_name_cookie(name, (size_t)sqlite3_value_bytes(argv[0])));
}

static void fn_nowns(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    struct timespec t = clock_wall();

    sqlite3_result_int64(ctx, (sqlite3_int64)t.tv_sec * 1000000000 + t.tv_nsec);
}

/* Bytes that a terminal should not see become '?'. */
static size_t put_name(char *out, size_t size, const unsigned char *name, size_t len)
{
    size_t n = 0;

    for (; n < len && n + 1 < size; n++)
        out[n] = name[n] < 32 || name[n] == 127 ? '?' : (char)name[n];
    out[n] = 0;
    return n;
}

static void fn_showname(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    char out[256];
    const unsigned char *name = sqlite3_value_blob(argv[0]);

    size_t n = put_name(out, sizeof(out), name, name ? (size_t)sqlite3_value_bytes(argv[0]) : 0);
    sqlite3_result_text(ctx, out, (int)n, SQLITE_TRANSIENT);
}

/* A path that leads to the inode, as far as it can be told. */
static void fn_pathof(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    sqlite3_int64 ino = sqlite3_value_int64(argv[0]), at = ino;
    char path[700], part[257];
    size_t start = sizeof(path) - 1;
    sqlite3_stmt *st = NULL;

    path[start] = 0;
    sqlite3_prepare_v2(sqlite3_context_db_handle(ctx), "SELECT dir, name FROM main.dirent WHERE ino = ?1 LIMIT 1", -1, &st,
                       NULL);
    for (int depth = 0; st && at != 1 && depth < 200; depth++) {
        sqlite3_bind_int64(st, 1, at);
        if (sqlite3_step(st) != SQLITE_ROW)
            break;
        const unsigned char *name = sqlite3_column_blob(st, 1);
        size_t n = put_name(part, sizeof(part), name, name ? (size_t)sqlite3_column_bytes(st, 1) : 0);
        if (n + 1 > start)
            break;
        start -= n + 1;
        path[start] = '/';
        memcpy(path + start + 1, part, n);
        at = sqlite3_column_int64(st, 0);
        sqlite3_reset(st);
    }
    sqlite3_finalize(st);
    char *out = at == 1 ? sqlite3_mprintf("%s", path[start] ? path + start : "/")
                        : sqlite3_mprintf(path[start] ? "inode %lld (...%s)" : "inode %lld", ino, path + start);
    sqlite3_result_text(ctx, out, -1, sqlite3_free);
}

/* The first cookie that is free in the directory for the name; NULL: none. */
static void fn_freecookie(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    const char *name = sqlite3_value_blob(argv[1]);
    sqlite3_int64 base;
    sqlite3_stmt *st = NULL;

    if (!name)
        return;
    base = (sqlite3_int64)index_name_cookie(name, (size_t)sqlite3_value_bytes(argv[1]));
    sqlite3_prepare_v2(sqlite3_context_db_handle(ctx), "SELECT 1 FROM main.dirent WHERE dir = ?1 AND cookie = ?2", -1, &st,
                       NULL);
    for (int i = 0; st && i < 8; i++) {
        sqlite3_bind_value(st, 1, argv[0]);
        sqlite3_bind_int64(st, 2, base + i);
        bool taken = sqlite3_step(st) == SQLITE_ROW;
        sqlite3_reset(st);
        if (!taken) {
            sqlite3_result_int64(ctx, base + i);
            break;
        }
    }
    sqlite3_finalize(st);
}

int repair_functions(sqlite3 *db)
{
    int bad = sqlite3_create_function(db, "name_cookie", 1, SQLITE_UTF8, NULL, fn_name_cookie, NULL, NULL) |
              sqlite3_create_function(db, "nowns", 0, SQLITE_UTF8, NULL, fn_nowns, NULL, NULL) |
              sqlite3_create_function(db, "showname", 1, SQLITE_UTF8, NULL, fn_showname, NULL, NULL) |
              sqlite3_create_function(db, "pathof", 1, SQLITE_UTF8, NULL, fn_pathof, NULL, NULL) |
              sqlite3_create_function(db, "freecookie", 2, SQLITE_UTF8, NULL, fn_freecookie, NULL, NULL);

    return bad ? -ENOMEM : 0;
}
