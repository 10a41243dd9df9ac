/* SPDX-License-Identifier: Apache-2.0
 * index_dedup: the table of equal chunks: for a chunk, the hash of what an extent of it has, and where that is.
 *
 * A row's key text is 24 bytes, big-endian: hash, inode, offset; so those with one hash are neighbours in its index, the
 * youngest inode last.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "common/fault.h"
#include "server/store/index_impl.h"

#define KEY_BYTES 24

static void put_u64(unsigned char *p, uint64_t v)
{
    v = htobe64(v);
    memcpy(p, &v, sizeof(v));
}

static uint64_t get_u64(const unsigned char *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return be64toh(v);
}

/* The chunk that an extent, just so, begins with; 0: there is none. */
static int whole_extent(struct index *ix, uint64_t ino, uint64_t off, uint32_t len, uint64_t *chunk)
{
    int rc = 0;
    sqlite3_stmt *st = index_stmt(ix, &ix->writer, SQL_GET_EXTENT, &rc);

    *chunk = 0;
    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    bind_u64(st, 2, off);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW && sqlite3_column_int64(st, 0) == len)
        *chunk = (uint64_t)sqlite3_column_int64(st, 1);
    else if (code != SQLITE_ROW && code != SQLITE_DONE)
        rc = index_error(ix, ix->writer.db, code, "extent");
    sqlite3_reset(st);
    return rc;
}

int index_put_dedup(struct index *ix, uint64_t hash, uint64_t ino, uint64_t off, uint32_t len)
{
    unsigned char key[KEY_BYTES];
    uint64_t chunk;
    int rc = fault_point("dedup.put");

    if (!rc && len < INDEX_DEDUP_MIN)
        rc = -EINVAL;
    if (!rc)
        rc = whole_extent(ix, ino, off, len, &chunk);
    if (rc || !chunk)
        return rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_DEDUP, &rc);
    if (!st)
        return rc;
    put_u64(key, hash);
    put_u64(key + 8, ino);
    put_u64(key + 16, off);
    bind_u64(st, 1, chunk);
    sqlite3_bind_blob(st, 2, key, sizeof(key), SQLITE_STATIC);
    rc = writer_run(ix, st, "put dedup");
    sqlite3_clear_bindings(st); /* the key is ours */
    return rc;
}

int index_find_dedup(struct index *ix, uint64_t hash, struct index_place *out, unsigned max)
{
    unsigned char from[8], to[KEY_BYTES + 1];
    struct index_conn *c;
    int rc = index_reader_get(ix, &c), code = SQLITE_DONE, n = 0;

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, SQL_FIND_DEDUP, &rc);
    if (st) {
        put_u64(from, hash);
        memset(to, 0xff, sizeof(to)); /* longer than a key: above all of this hash */
        memcpy(to, from, sizeof(from));
        sqlite3_bind_blob(st, 1, from, sizeof(from), SQLITE_STATIC);
        sqlite3_bind_blob(st, 2, to, sizeof(to), SQLITE_STATIC);
        bind_u64(st, 3, max);
    }
    while (st && (code = sqlite3_step(st)) == SQLITE_ROW) {
        const unsigned char *key = sqlite3_column_blob(st, 0);
        if (sqlite3_column_type(st, 0) != SQLITE_BLOB || sqlite3_column_bytes(st, 0) != KEY_BYTES)
            continue; /* a hint that makes no sense is none */
        out[n].ino = get_u64(key + 8);
        out[n].off = get_u64(key + 16);
        if (out[n].ino <= INT64_MAX && out[n].off < STORE_FILE_MAX)
            n++;
    }
    if (!rc && code != SQLITE_DONE)
        rc = index_error(ix, c->db, code, "dedup");
    if (st) {
        sqlite3_reset(st);
        sqlite3_clear_bindings(st);
    }
    index_reader_put(ix, c);
    return rc ? rc : n;
}
