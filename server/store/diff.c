/* SPDX-License-Identifier: Apache-2.0
 * diff: two trees are compared by SQL over both databases (the older is main, the younger `shared`).
 *
 * An inode keeps its number for life and numbers are not used again, so names are compared as (directory, name,
 * inode), and what is the same on both sides costs a comparison of rows and nothing else. Paths are made only for
 * what differs. In one read transaction, so that a server may go on beside.
 */
#include "server/store/diff.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/store/index_impl.h"

#define DEPTH_MAX 10000u /* of directories: more is damage */

struct diff {
    struct index *ix;
    struct index_conn *conn;
    sqlite3_stmt *up[2]; /* directory -> its directory and name: in the old tree, in the new one */
    sqlite3_stmt *put;
    char *path[2];       /* of directory dir[] */
    uint64_t dir[2];
};

static const char prepare[] =
    "CREATE TEMP TABLE went AS SELECT dir, name, ino, row_number() OVER (PARTITION BY ino ORDER BY dir, cookie)"
    " AS n FROM main.dirent a WHERE NOT EXISTS (SELECT 1 FROM shared.dirent b WHERE b.dir = a.dir AND"
    " b.cookie = a.cookie AND b.name = a.name AND b.ino = a.ino);"
    "CREATE TEMP TABLE came AS SELECT dir, name, ino, row_number() OVER (PARTITION BY ino ORDER BY dir, cookie)"
    " AS n FROM shared.dirent b WHERE NOT EXISTS (SELECT 1 FROM main.dirent a WHERE a.dir = b.dir AND"
    " a.cookie = b.cookie AND a.name = b.name AND a.ino = b.ino);"
    "CREATE INDEX temp.went_ino ON went(ino, n);"
    "CREATE INDEX temp.came_ino ON came(ino, n);"
    /* A name that came or went changes an inode's ctime; that alone is no change of the file. */
    "CREATE TEMP TABLE changed(ino INTEGER PRIMARY KEY);"
    "INSERT INTO changed SELECT a.ino FROM main.inode a JOIN shared.inode b ON b.ino = a.ino WHERE"
    " a.mtime <> b.mtime OR a.size <> b.size OR a.mode <> b.mode OR a.uid <> b.uid OR a.gid <> b.gid OR"
    " (a.ctime <> b.ctime AND a.ino NOT IN (SELECT ino FROM came) AND a.ino NOT IN (SELECT ino FROM went));"
    "CREATE TEMP TABLE old_dirs(ino INTEGER PRIMARY KEY, dir, name);"
    "INSERT OR IGNORE INTO old_dirs SELECT d.ino, d.dir, d.name FROM main.dirent d JOIN main.inode i ON"
    " i.ino = d.ino WHERE i.type = 2 ORDER BY d.ino;"
    "CREATE TEMP TABLE new_dirs(ino INTEGER PRIMARY KEY, dir, name);"
    "INSERT OR IGNORE INTO new_dirs SELECT d.ino, d.dir, d.name FROM shared.dirent d JOIN shared.inode i ON"
    " i.ino = d.ino WHERE i.type = 2 ORDER BY d.ino;"
    "CREATE TEMP TABLE result(path BLOB, what TEXT, origin BLOB);";

/* what, then where it is (new) and where it was (old); a pair of a directory and a name each, or NULLs. */
static const char differences[] =
    "SELECT 'R', c.dir, c.name, w.dir, w.name FROM came c JOIN went w ON w.ino = c.ino AND w.n = c.n"
    " UNION ALL SELECT '+', c.dir, c.name, NULL, NULL FROM came c WHERE NOT EXISTS (SELECT 1 FROM went w WHERE"
    " w.ino = c.ino AND w.n = c.n)"
    " UNION ALL SELECT '-', NULL, NULL, w.dir, w.name FROM went w WHERE NOT EXISTS (SELECT 1 FROM came c WHERE"
    " c.ino = w.ino AND c.n = w.n)"
    " UNION ALL SELECT 'M', d.dir, d.name, NULL, NULL FROM shared.dirent d WHERE d.ino IN changed AND NOT EXISTS"
    " (SELECT 1 FROM came c WHERE c.ino = d.ino AND c.dir = d.dir AND c.name = d.name)"
    " UNION ALL SELECT 'M', NULL, NULL, NULL, NULL WHERE 1 IN changed";

static int sql_error(struct diff *d, int code, const char *what)
{
    return index_error(d->ix, d->conn->db, code, what);
}

/* --- paths --- */

/* Puts "/name" before the path. */
static int prepend(char **path, const void *name, size_t len)
{
    size_t old = *path ? strlen(*path) : 0;
    char *p = malloc(old + len + 2);

    if (!p)
        return -ENOMEM;
    p[0] = '/';
    memcpy(p + 1, name, len);
    memcpy(p + 1 + len, *path ? *path : "", old);
    p[1 + len + old] = 0;
    free(*path);
    *path = p;
    return 0;
}

/* The path of a directory, "" for the root, kept for the next time. */
static int dir_path(struct diff *d, int tree, uint64_t dir, const char **out)
{
    char *path = NULL;
    unsigned depth = 0;
    int rc = 0;

    if (d->path[tree] && d->dir[tree] == dir) {
        *out = d->path[tree];
        return 0;
    }
    for (uint64_t at = dir; !rc && at != STORE_ROOT_INO;) {
        sqlite3_stmt *st = d->up[tree];
        bind_u64(st, 1, at);
        int code = sqlite3_step(st);
        if (code == SQLITE_ROW && ++depth < DEPTH_MAX) {
            at = (uint64_t)sqlite3_column_int64(st, 0);
            rc = prepend(&path, sqlite3_column_blob(st, 1), (size_t)sqlite3_column_bytes(st, 1));
        } else {
            rc = code == SQLITE_ROW || code == SQLITE_DONE ? index_bad_row(d->ix, "dirent: no way to inode", at)
                                                           : sql_error(d, code, "directory");
        }
        sqlite3_reset(st);
    }
    if (!rc && !path && !(path = strdup("")))
        rc = -ENOMEM;
    if (rc) {
        free(path);
        return rc;
    }
    free(d->path[tree]);
    d->path[tree] = path;
    d->dir[tree] = dir;
    *out = path;
    return 0;
}

/* The path in columns i (directory) and i + 1 (name) of a difference; NULL: the root. malloc'ed. */
static int row_path(struct diff *d, int tree, sqlite3_stmt *st, int i, char **out)
{
    const char *dir;
    int rc = dir_path(d, tree, (uint64_t)sqlite3_column_int64(st, i), &dir);

    if (rc)
        return rc;
    if (asprintf(out, "%s/%.*s", dir, sqlite3_column_bytes(st, i + 1), (const char *)sqlite3_column_blob(st, i + 1)) < 0)
        return -ENOMEM;
    return 0;
}

/* --- differences --- */

static int put_result(struct diff *d, sqlite3_stmt *row)
{
    char *path = NULL, *from = NULL;
    bool now = sqlite3_column_type(row, 1) != SQLITE_NULL, before = sqlite3_column_type(row, 3) != SQLITE_NULL;
    int rc = 0, code;

    if (now)
        rc = row_path(d, 1, row, 1, &path);
    if (!rc && before)
        rc = row_path(d, 0, row, 3, now ? &from : &path);
    if (!rc && !path && !(path = strdup("/")))
        rc = -ENOMEM;
    if (rc)
        goto out;
    sqlite3_bind_blob(d->put, 1, path, (int)strlen(path) + 1, SQLITE_STATIC);
    sqlite3_bind_text(d->put, 2, (const char *)sqlite3_column_text(row, 0), 1, SQLITE_TRANSIENT);
    if (from)
        sqlite3_bind_blob(d->put, 3, from, (int)strlen(from) + 1, SQLITE_STATIC);
    else
        sqlite3_bind_null(d->put, 3);
    code = sqlite3_step(d->put);
    rc = code == SQLITE_DONE ? 0 : sql_error(d, code, "result");
    sqlite3_reset(d->put);
    sqlite3_clear_bindings(d->put);
out:
    free(path);
    free(from);
    return rc;
}

static int prepare_stmt(struct diff *d, const char *text, sqlite3_stmt **st)
{
    int code = sqlite3_prepare_v2(d->conn->db, text, -1, st, NULL);

    return code ? sql_error(d, code, text) : 0;
}

/* Calls fn for each row of a query. */
static int each_row(struct diff *d, const char *text, int (*fn)(struct diff *d, sqlite3_stmt *row, void *arg), void *arg)
{
    sqlite3_stmt *st = NULL;
    int code = SQLITE_DONE, rc = prepare_stmt(d, text, &st);

    while (!rc && (code = sqlite3_step(st)) == SQLITE_ROW)
        rc = fn(d, st, arg);
    if (!rc && code != SQLITE_DONE)
        rc = sql_error(d, code, text);
    sqlite3_finalize(st);
    return rc;
}

static int note_difference(struct diff *d, sqlite3_stmt *row, void *arg)
{
    return put_result(d, row);
}

struct tell {
    bool (*fn)(void *arg, const struct diff_line *l);
    void *arg;
};

static int tell_result(struct diff *d, sqlite3_stmt *row, void *arg)
{
    struct tell *t = arg;
    struct diff_line l = {.what = *(const char *)sqlite3_column_text(row, 1),
                          .path = sqlite3_column_blob(row, 0),
                          .from = sqlite3_column_blob(row, 2)};

    return t->fn(t->arg, &l) ? 0 : -ECANCELED;
}

static int run(struct diff *d, struct tell *t)
{
    int rc = index_exec(d->ix, d->conn->db, "PRAGMA temp_store = FILE; BEGIN");

    if (!rc)
        rc = index_exec(d->ix, d->conn->db, prepare);
    if (!rc)
        rc = prepare_stmt(d, "SELECT dir, name FROM old_dirs WHERE ino = ?1", &d->up[0]);
    if (!rc)
        rc = prepare_stmt(d, "SELECT dir, name FROM new_dirs WHERE ino = ?1", &d->up[1]);
    if (!rc)
        rc = prepare_stmt(d, "INSERT INTO result VALUES(?1, ?2, ?3)", &d->put);
    if (!rc)
        rc = each_row(d, differences, note_difference, NULL);
    if (!rc)
        rc = each_row(d, "SELECT path, what, origin FROM result ORDER BY path, what", tell_result, t);
    sqlite3_finalize(d->up[0]);
    sqlite3_finalize(d->up[1]);
    sqlite3_finalize(d->put);
    sqlite3_exec(d->conn->db, "ROLLBACK", NULL, NULL, NULL);
    free(d->path[0]);
    free(d->path[1]);
    return rc == -ECANCELED ? 0 : rc;
}

/* --- finding the databases --- */

struct want {
    const char *name;
    uint64_t id;
};

static bool find_row(void *arg, const struct index_snap *s)
{
    struct want *w = arg;

    if (s->state == SNAP_READY && strcmp(s->name, w->name) == 0)
        w->id = s->id;
    return !w->id;
}

/* The database of a snapshot, or of the volume (name NULL). */
static int find_db(struct index *ix, const char *dir, const char *name, char **out)
{
    struct want w = {.name = name};
    int rc = name ? index_list_snaps(ix, find_row, &w) : 0;

    if (rc)
        return rc;
    if (name && !w.id)
        return -ENOENT;
    if (name ? asprintf(out, "%s/snapshots/%016llx.db", dir, (unsigned long long)w.id) < 0
             : asprintf(out, "%s/index.db", dir) < 0)
        return -ENOMEM;
    return access(*out, R_OK) < 0 ? (errno == ENOENT ? -EUCLEAN : -errno) : 0;
}

int volume_diff(const char *dir, const char *a, const char *b, bool (*fn)(void *arg, const struct diff_line *l),
                void *arg, const char **missing)
{
    struct tell t = {fn, arg};
    struct diff d = {0};
    struct index *live = NULL;
    char *db = NULL, *old = NULL, *new = NULL;
    int rc;

    *missing = NULL;
    if (asprintf(&db, "%s/index.db", dir) < 0)
        return -ENOMEM;
    rc = index_open_readonly(db, dir, &live);
    if (!rc && (rc = find_db(live, dir, a, &old)) == -ENOENT)
        *missing = a;
    if (!rc && (rc = find_db(live, dir, b, &new)) == -ENOENT)
        *missing = b;
    index_close(live);
    if (!rc)
        rc = index_open_trees(old, new, dir, &d.ix);
    if (!rc)
        rc = index_reader_get(d.ix, &d.conn);
    if (!rc)
        rc = run(&d, &t);
    if (d.conn)
        index_reader_put(d.ix, d.conn);
    index_close(d.ix);
    free(db);
    free(old);
    free(new);
    return rc;
}
