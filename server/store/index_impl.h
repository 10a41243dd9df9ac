/* SPDX-License-Identifier: Apache-2.0
 * index_impl: what the parts of index share: connections, prepared statements, row checks. Private to
 * index_*.c and check.c.
 */
#ifndef VOLNFS_STORE_INDEX_IMPL_H
#define VOLNFS_STORE_INDEX_IMPL_H

#include <pthread.h>
#include <sqlite3.h>

#include "server/store/index.h"

#define INDEX_READERS     8
#define INDEX_PACK_DELTAS 32

/* One entry per statement in index_schema.c's table. */
enum index_sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_PUT_META,
    SQL_PUT_INODE,
    SQL_DEL_INODE,
    SQL_DEL_XATTRS,
    SQL_DEL_SYMLINK,
    SQL_PUT_SYMLINK,
    SQL_PUT_DIRENT,
    SQL_DEL_DIRENT,
    SQL_PUT_ORPHAN,
    SQL_DEL_ORPHAN,
    SQL_PUT_XATTR,
    SQL_DEL_XATTR,
    SQL_RANGE_DOWN,
    SQL_PUT_EXTENT,
    SQL_REPLACE_EXTENT,
    SQL_DEL_EXTENT,
    SQL_SET_EXTENT,
    SQL_PUT_CHUNK,
    SQL_CHUNK_USE,
    SQL_CHUNK_REFS,
    SQL_DEL_CHUNK,
    SQL_MOVE_CHUNK,
    SQL_PUT_BLOB,
    SQL_DEL_BLOB,
    SQL_ADD_LIVE,
    SQL_SWEEP,
    SQL_GET_EXTENT,
    SQL_PUT_NOTE,
    SQL_GET_NOTE,
    SQL_NEXT_CHUNKS,
    SQL_CHUNK_USERS,
    SQL_NAME_ANYWHERE,
    SQL_NAME_IN_DIR,
    SQL_LIST_PACKS,
    SQL_REPLACE_PAYLOAD,
    SQL_DEL_PACK,
    SQL_WALK_BLOBS,
    SQL_BLOB_PLACES,
    SQL_GET_META,
    SQL_GET_INODE,
    SQL_GET_DIRENT,
    SQL_LIST_DIR,
    SQL_DIR_EMPTY,
    SQL_GET_SYMLINK,
    SQL_GET_XATTR,
    SQL_LIST_XATTR,
    SQL_GET_EXTENTS,
    SQL_GET_BLOB,
    SQL_SEEK,
    SQL_ORPHANS,
    SQL_PUT_SNAP,
    SQL_DEL_SNAP,
    SQL_LIST_SNAPS,
    SQL_SNAP_HOLDS,
    SQL_SNAP_NEXT,
    SQL_PUT_DEAD,
    SQL_DEL_DEAD,
    SQL_NEXT_DEAD,
    SQL_DEL_DEDUP,
    SQL_PUT_DEDUP,
    SQL_NEXT_LATER,
    SQL_CLEAR_LATER,
    SQL_FIND_DEDUP,
    SQL_COUNT
};

struct index_conn {
    sqlite3 *db;
    bool busy; /* a reader that a thread has */
    unsigned cache_kib;
    sqlite3_stmt *stmt[SQL_COUNT];
};

struct index {
    char *path, *label;
    char *shared; /* of a snapshot: the volume's index, for chunks; else NULL */
    bool readonly, files_readonly;
    /* Held from index_begin to index_commit or index_rollback, and by the second phase of a
     * checkpoint. Guards the members down to `failed`. */
    pthread_mutex_t write_lock;
    struct index_conn writer;
    int failed; /* a commit failed to reach the disk: nothing more is written */
    struct {
        uint32_t pack;
        int64_t delta;
    } live[INDEX_PACK_DELTAS]; /* changes of pack.live not written yet */
    unsigned nlive;
    int64_t blob_bytes;        /* atomic reads outside write_lock */
    int64_t blob_bytes_before; /* at index_begin */
    uint64_t snap_seq;         /* id of the newest snapshot ever made */
    uint64_t snap_newest;      /* of the newest that holds chunks; 0: none */
    uint64_t snap_seq_before, snap_newest_before; /* at index_begin */

    pthread_mutex_t ckpt_lock; /* one checkpoint at a time */
    struct index_conn ckpt;

    pthread_mutex_t reader_lock; /* the pool */
    pthread_cond_t reader_free;
    unsigned nreaders;
    struct index_conn readers[INDEX_READERS];
};

/* The VFS for index connections, or NULL for the default one: index_vfs.c. */
const char *index_vfs(void);
/* The negative errno for a SQLite code, 0 for success. */
int index_errno(int code);
/* The same; logs it with what was being done. */
int index_error(struct index *ix, sqlite3 *db, int code, const char *what);
/* Logs a row that cannot be right; -EUCLEAN. */
int index_bad_row(struct index *ix, const char *table, uint64_t key);
/* The prepared statement, ready for binding. NULL on failure (logged); *rc has the errno. */
sqlite3_stmt *index_stmt(struct index *ix, struct index_conn *c, enum index_sql which, int *rc);
/* A reader connection of this thread's until index_reader_put. Waits when all are busy. */
int index_reader_get(struct index *ix, struct index_conn **out);
void index_reader_put(struct index *ix, struct index_conn *c);
/* Runs a bound statement that returns no rows, and resets it. */
int index_run(struct index *ix, struct index_conn *c, sqlite3_stmt *st, const char *what);
int index_flush_live(struct index *ix);
struct extent_row {
    uint64_t off, chunk;
    uint32_t len, chunk_off;
};
/* Changes of single rows, on the writer: index_extent.c. */
int index_put_extent(struct index *ix, uint64_t ino, const struct extent_row *e);
int index_put_chunk(struct index *ix, const struct chunk *c, uint64_t refs, struct index_delta *d);
/* One extent less names the chunk. */
int index_unref_chunk(struct index *ix, uint64_t id, struct index_delta *d);
/* Adds to pack.live, or to the bytes of blobs (pack 0); in the database with index_flush_live. */
int index_add_live(struct index *ix, uint32_t pack, int64_t delta);
struct index *index_alloc(const char *path, const char *label);
/* Opens a connection to ix->path, with ix->shared attached; cache_kib: of memory. -ENOENT and the like as open(2). */
int index_conn_open(struct index *ix, struct index_conn *c, int flags, int cache_kib);
void index_conn_close(struct index_conn *c);
/* -EUCLEAN (logged): the schema ("main" or that of index_attach) has something but tables and indexes, such as a view without an
 * end. Before its tables are read or written. */
int index_check_plain(struct index *ix, sqlite3 *db, const char *schema);
/* Is that a table of "main" whose rows are just stored? For who reads what index_check_plain refuses. */
bool index_has_table(sqlite3 *db, const char *name);
/* Makes another database part of the connection, not inside a transaction. -EUCLEAN: index_check_plain. */
int index_attach(struct index *ix, sqlite3 *db, const char *path, const char *name);
/* The tables of a tree in an empty database. */
int index_create_tree(struct index *ix, struct index_conn *c);
/* All tables of an index, likewise. */
int index_create_all(struct index *ix, struct index_conn *c);
/* Runs statements without results. */
int index_exec(struct index *ix, sqlite3 *db, const char *text);
/* The single integer that a query gives. */
int index_query_int(struct index *ix, sqlite3 *db, const char *text, int64_t *out);
/* Brings a database of an older format to INDEX_FORMAT, in one transaction: index_upgrade.c. */
int index_upgrade(struct index *ix, sqlite3 *db, int64_t version);
/* Reads snap_seq and snap_newest: index_snap.c. */
int index_load_snaps(struct index *ix);
/* The chunk's row on the writer connection; -ENOENT. refs 0: only snapshots hold it. */
int index_get_chunk(struct index *ix, uint64_t id, struct chunk *c, uint64_t *refs, uint64_t *birth);
/* Up to max chunks that a query gives, which has an id and a limit. */
int index_chunks(struct index *ix, enum index_sql which, uint64_t after, struct chunk *out, unsigned max);
/* Takes out a chunk that nobody holds, with what hangs on it. */
int index_free_chunk(struct index *ix, const struct chunk *c);
/* The same for one whose last extent went; snapshots may go on holding it (index.h, S2). */
int index_drop_chunk(struct index *ix, const struct chunk *c, uint64_t birth, struct index_delta *d);

/* Tables that format 2 brought; none of them has rows in an upgraded database. */
#define INDEX_NEW_TABLES_2                                                                         \
    "CREATE TABLE snapshot(id INTEGER PRIMARY KEY, name TEXT UNIQUE, created, state, files,"       \
    " logical, stored);"                                                                           \
    "CREATE TABLE dead(death INTEGER NOT NULL, birth INTEGER NOT NULL, chunk INTEGER NOT NULL,"    \
    " PRIMARY KEY(death, birth, chunk)) WITHOUT ROWID;"                                            \
    "CREATE TABLE dedup(chunk INTEGER PRIMARY KEY, hash NOT NULL);"                                \
    "CREATE INDEX dedup_hash ON dedup(hash);"                                                      \
    "CREATE TABLE note(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"

static inline void bind_u64(sqlite3_stmt *st, int i, uint64_t v)
{
    sqlite3_bind_int64(st, i, (sqlite3_int64)v);
}

/* Column i as an integer 0..max; otherwise *bad is set and 0 returned. */
static inline uint64_t index_column(sqlite3_stmt *st, int i, uint64_t max, bool *bad)
{
    uint64_t v = (uint64_t)sqlite3_column_int64(st, i);

    if (sqlite3_column_type(st, i) != SQLITE_INTEGER || v > max) {
        *bad = true;
        return 0;
    }
    return v;
}

/* The columns of inode, in this order, wherever rows of it are read. */
#define INODE_COLUMNS                                                                              \
    "i.ino, i.gen, i.type, i.mode, i.nlink, i.uid, i.gid, i.rmajor, i.rminor, i.size, i.used, "    \
    "i.change, i.parent, i.atime, i.mtime, i.ctime, i.btime, i.verf"
#define CHUNK_LATER 1 /* chunk.flags */
/* Those with flags, which are few; made when a database that has none yet is opened. */
#define INDEX_LATER "CREATE INDEX IF NOT EXISTS chunk_later ON chunk(id) WHERE flags <> 0;"
#define CHUNK_COLUMNS "c.id, c.pack, c.pack_off, c.stored_len, c.len, c.codec, c.checksum"
/* Fill from the columns that start at col; false: the row cannot be right. */
bool index_row_inode(sqlite3_stmt *st, int col, struct vattr *a);
bool index_row_chunk(sqlite3_stmt *st, int col, struct chunk *c);

/* The writer's statement, or NULL with *rc set. */
sqlite3_stmt *writer_prepare(struct index *ix, enum index_sql which, int *rc);
/* Runs it to its end. what: for the log. */
int writer_run(struct index *ix, sqlite3_stmt *st, const char *what);
/* A DELETE or the like with up to two integer keys. */
int writer_run_keys(struct index *ix, enum index_sql which, uint64_t a, uint64_t b, int keys,
                    const char *what);

#endif
