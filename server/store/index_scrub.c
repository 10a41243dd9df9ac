/* SPDX-License-Identifier: Apache-2.0
 * index_scrub: notes, a walk over all chunks, and who uses one.
 *
 * There is no index from chunks to extents or from inodes to names, since only damage asks for it: these look-ups read whole
 * tables.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "server/store/index_impl.h"

#define PATH_MAX_BYTES 4096u
#define PATH_DEPTH     256
#define USERS_MAX      16

int index_put_note(struct index *ix, const char *key, const char *value)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_NOTE, &rc);

    if (!st)
        return rc;
    sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, value, -1, SQLITE_STATIC);
    rc = writer_run(ix, st, "put note");
    sqlite3_clear_bindings(st);
    return rc;
}

int index_get_note(struct index *ix, const char *key, char *buf, size_t size)
{
    struct index_conn *c;
    int rc = index_reader_get(ix, &c);

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, SQL_GET_NOTE, &rc);
    if (st) {
        sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
        int code = sqlite3_step(st);
        if (code == SQLITE_ROW && sqlite3_column_type(st, 0) == SQLITE_TEXT &&
            (size_t)sqlite3_column_bytes(st, 0) < size)
            snprintf(buf, size, "%s", (const char *)sqlite3_column_text(st, 0));
        else
            rc = code == SQLITE_DONE || code == SQLITE_ROW ? -ENOENT : index_error(ix, c->db, code, "note");
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
    }
    index_reader_put(ix, c);
    return rc;
}

int index_next_chunks(struct index *ix, uint64_t after, struct chunk *out, unsigned max)
{
    return index_chunks(ix, SQL_NEXT_CHUNKS, after, out, max);
}

int index_chunks(struct index *ix, enum index_sql which, uint64_t after, struct chunk *out, unsigned max)
{
    struct index_conn *c;
    int rc = index_reader_get(ix, &c), code = SQLITE_DONE, n = 0;

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, which, &rc);
    if (st) {
        bind_u64(st, 1, after);
        bind_u64(st, 2, max);
    }
    while (st && !rc && (code = sqlite3_step(st)) == SQLITE_ROW)
        if (!index_row_chunk(st, 0, &out[n++]))
            rc = index_bad_row(ix, "chunk after", after);
    if (!rc && code != SQLITE_DONE)
        rc = index_error(ix, c->db, code, "chunks");
    if (st)
        sqlite3_reset(st);
    index_reader_put(ix, c);
    return rc ? rc : n;
}

/* A name of an inode and the directory it is in: 0, -ENOENT. parent 0: look through all directories. */
static int find_name(struct index *ix, struct index_conn *c, uint64_t ino, uint64_t *parent, char *name)
{
    int rc = 0;
    sqlite3_stmt *st = index_stmt(ix, c, *parent ? SQL_NAME_IN_DIR : SQL_NAME_ANYWHERE, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    if (*parent)
        bind_u64(st, 2, *parent);
    int code = sqlite3_step(st);
    int len = code == SQLITE_ROW ? sqlite3_column_bytes(st, 1) : 0;
    if (code == SQLITE_ROW && len > 0 && len <= (int)STORE_NAME_MAX) {
        *parent = (uint64_t)sqlite3_column_int64(st, 0);
        memcpy(name, sqlite3_column_blob(st, 1), (size_t)len);
        name[len] = 0;
    } else {
        rc = code == SQLITE_ROW || code == SQLITE_DONE ? -ENOENT : index_error(ix, c->db, code, "names");
    }
    sqlite3_reset(st);
    return rc;
}

/* "/dir/file", or "inode N" if no name leads to it. */
static void path_of(struct index *ix, struct index_conn *c, uint64_t ino, char path[PATH_MAX_BYTES])
{
    char name[STORE_NAME_MAX + 1];
    size_t at = PATH_MAX_BYTES - 1;
    uint64_t cur = ino, parent = 0;

    path[at] = 0;
    for (int depth = 0; cur != STORE_ROOT_INO && depth < PATH_DEPTH; depth++) {
        struct vattr a;
        size_t len;
        if (depth > 0 && index_get_inode(ix, cur, &a) == 0)
            parent = a.parent;
        if (find_name(ix, c, cur, &parent, name))
            break;
        len = strlen(name);
        if (len + 1 > at)
            break;
        at -= len + 1;
        path[at] = '/';
        memcpy(path + at + 1, name, len);
        cur = parent;
    }
    if (cur == STORE_ROOT_INO && path[at])
        memmove(path, path + at, PATH_MAX_BYTES - at);
    else
        snprintf(path, PATH_MAX_BYTES, "inode %llu", (unsigned long long)ino);
}

int index_chunk_users(struct index *ix, uint64_t chunk, int (*fn)(void *arg, const char *path, uint64_t off),
                      void *arg)
{
    uint64_t ino[USERS_MAX], off[USERS_MAX];
    char path[PATH_MAX_BYTES];
    struct index_conn *c;
    int rc = index_reader_get(ix, &c), code = SQLITE_DONE, n = 0;

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, SQL_CHUNK_USERS, &rc);
    if (st)
        bind_u64(st, 1, chunk);
    while (st && n < USERS_MAX && (code = sqlite3_step(st)) == SQLITE_ROW) {
        ino[n] = (uint64_t)sqlite3_column_int64(st, 0);
        off[n++] = (uint64_t)sqlite3_column_int64(st, 1);
    }
    if (!rc && code != SQLITE_ROW && code != SQLITE_DONE)
        rc = index_error(ix, c->db, code, "extents of a chunk");
    if (st)
        sqlite3_reset(st);
    for (int i = 0; i < n && !rc; i++) {
        path_of(ix, c, ino[i], path);
        rc = fn(arg, path, off[i]);
    }
    index_reader_put(ix, c);
    return rc;
}
