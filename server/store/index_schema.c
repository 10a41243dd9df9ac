/* SPDX-License-Identifier: Apache-2.0
 * index_schema: the tables and statements of the index, its connections, and checkpoints.
 *
 * Connections: one writer (guarded by write_lock), one for checkpoints, up to INDEX_READERS readers. The WAL is
 * never checkpointed by a commit. index_checkpoint works in two phases: a PASSIVE one beside the writer
 * copies nearly all; a second, short one while no transaction is open copies the rest, so that the next
 * transaction finds everything copied and starts the WAL from its beginning again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/index_impl.h"

#define APPLICATION_ID 0x564e4653 /* "VNFS" */
#define WAL_MAX        (64 << 20) /* a larger WAL file is cut */
#define BUSY_MS        10000      /* nobody but a checkpoint or a check can hold us up */

/* The tree of one moment: what a snapshot has a copy of. */
static const char tree_schema[] =
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id = 1), next_ino, next_chunk, next_pack,"
    " next_gen, txg, files, logical, stored, codec, level, quota_bytes, quota_files, readonly,"
    " snap_seq, held, dedup, recompress, snapdir);"
    "CREATE TABLE inode(ino INTEGER PRIMARY KEY, gen, type, mode, nlink, uid, gid, rmajor, rminor,"
    " size, used, change, parent, atime, mtime, ctime, btime, verf);"
    "CREATE TABLE dirent(dir INTEGER NOT NULL, cookie INTEGER NOT NULL, name BLOB, ino INTEGER,"
    " PRIMARY KEY(dir, cookie)) WITHOUT ROWID;"
    "CREATE TABLE symlink(ino INTEGER PRIMARY KEY, target BLOB);"
    "CREATE TABLE xattr(id INTEGER PRIMARY KEY, ino INTEGER NOT NULL, name BLOB NOT NULL,"
    " value BLOB);"
    "CREATE UNIQUE INDEX xattr_name ON xattr(ino, name);"
    "CREATE TABLE orphan(ino INTEGER PRIMARY KEY);"
    "CREATE TABLE extent(ino INTEGER NOT NULL, off INTEGER NOT NULL, len INTEGER, chunk INTEGER,"
    " chunk_off INTEGER, PRIMARY KEY(ino, off)) WITHOUT ROWID;";
/* What all trees of a volume share. */
static const char shared_schema[] =
    "CREATE TABLE chunk(id INTEGER PRIMARY KEY, pack, pack_off, stored_len, len, codec, checksum,"
    " refs, birth, flags);"
    "CREATE TABLE blob(chunk INTEGER PRIMARY KEY, data BLOB);"
    "CREATE TABLE pack(id INTEGER PRIMARY KEY, live, size, state);" INDEX_NEW_TABLES_2 INDEX_LATER;

static const char *const sql[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_PUT_META] = "REPLACE INTO meta VALUES(1,?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"
                     "?15,?16,?17,?18)",
    [SQL_PUT_INODE] = "REPLACE INTO inode VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,"
                      "?15,?16,?17,?18)",
    [SQL_DEL_INODE] = "DELETE FROM inode WHERE ino = ?1",
    [SQL_DEL_XATTRS] = "DELETE FROM xattr WHERE ino = ?1",
    [SQL_DEL_SYMLINK] = "DELETE FROM symlink WHERE ino = ?1",
    [SQL_PUT_SYMLINK] = "REPLACE INTO symlink VALUES(?1,?2)",
    [SQL_PUT_DIRENT] = "REPLACE INTO dirent VALUES(?1,?2,?3,?4)",
    [SQL_DEL_DIRENT] = "DELETE FROM dirent WHERE dir = ?1 AND cookie = ?2",
    [SQL_PUT_ORPHAN] = "REPLACE INTO orphan VALUES(?1)",
    [SQL_DEL_ORPHAN] = "DELETE FROM orphan WHERE ino = ?1",
    [SQL_PUT_XATTR] = "INSERT INTO xattr(ino, name, value) VALUES(?1,?2,?3)"
                      " ON CONFLICT(ino, name) DO UPDATE SET value = excluded.value",
    [SQL_DEL_XATTR] = "DELETE FROM xattr WHERE ino = ?1 AND name = ?2",
    [SQL_RANGE_DOWN] = "SELECT off, len, chunk, chunk_off FROM extent WHERE ino = ?1 AND off < ?2"
                       " AND off > ?3 ORDER BY off DESC LIMIT ?4",
    [SQL_PUT_EXTENT] = "INSERT INTO extent VALUES(?1,?2,?3,?4,?5)",
    [SQL_REPLACE_EXTENT] = "UPDATE extent SET len = ?3, chunk = ?4, chunk_off = ?5 WHERE ino = ?1 AND off = ?2",
    [SQL_DEL_EXTENT] = "DELETE FROM extent WHERE ino = ?1 AND off = ?2",
    [SQL_SET_EXTENT] = "UPDATE extent SET len = ?3 WHERE ino = ?1 AND off = ?2",
    [SQL_PUT_CHUNK] = "INSERT INTO chunk VALUES(?1,?2,?3,?4,?5,?6,?7,?9,?8,?10)",
    [SQL_CHUNK_USE] = "SELECT " CHUNK_COLUMNS ", c.refs, c.birth, c.flags FROM chunk c WHERE c.id = ?1",
    [SQL_CHUNK_REFS] = "UPDATE chunk SET refs = refs + ?2 WHERE id = ?1",
    [SQL_DEL_CHUNK] = "DELETE FROM chunk WHERE id = ?1",
    [SQL_MOVE_CHUNK] = "UPDATE chunk SET pack = ?2, pack_off = ?3 WHERE id = ?1",
    [SQL_PUT_BLOB] = "INSERT INTO blob VALUES(?1,?2)",
    [SQL_DEL_BLOB] = "DELETE FROM blob WHERE chunk = ?1",
    [SQL_ADD_LIVE] = "INSERT INTO pack VALUES(?1,?2,0,0)"
                     " ON CONFLICT(id) DO UPDATE SET live = live + excluded.live",
    [SQL_SWEEP] = "SELECT " CHUNK_COLUMNS ", e.ino, e.off, e.len, e.chunk_off, c.refs, c.birth > (SELECT"
                  " coalesce(max(id), 0) FROM snapshot WHERE state < 2) FROM extent e JOIN chunk c ON"
                  " c.id = e.chunk WHERE (e.ino, e.off) >= (?1, ?2) ORDER BY e.ino, e.off LIMIT ?3",
    [SQL_GET_EXTENT] = "SELECT len, chunk, chunk_off FROM extent WHERE ino = ?1 AND off = ?2",
    [SQL_PUT_NOTE] = "REPLACE INTO note VALUES(?1,?2)",
    [SQL_GET_NOTE] = "SELECT value FROM note WHERE key = ?1",
    [SQL_NEXT_CHUNKS] = "SELECT " CHUNK_COLUMNS " FROM chunk c WHERE c.id > ?1 ORDER BY c.id LIMIT ?2",
    [SQL_CHUNK_USERS] = "SELECT ino, off FROM extent WHERE chunk = ?1",
    [SQL_NAME_ANYWHERE] = "SELECT dir, name FROM dirent WHERE ino = ?1 LIMIT 1",
    [SQL_NAME_IN_DIR] = "SELECT dir, name FROM dirent WHERE dir = ?2 AND ino = ?1 LIMIT 1",
    [SQL_LIST_PACKS] = "SELECT id, live FROM pack ORDER BY id",
    [SQL_REPLACE_PAYLOAD] = "UPDATE chunk SET pack = ?2, pack_off = ?3, stored_len = ?4, codec = ?5,"
                            " checksum = ?6, flags = ?7 WHERE id = ?1",
    [SQL_NEXT_LATER] = "SELECT " CHUNK_COLUMNS " FROM chunk c WHERE c.flags <> 0 AND c.id > ?1 ORDER BY c.id"
                       " LIMIT ?2",
    [SQL_CLEAR_LATER] = "UPDATE chunk SET flags = 0 WHERE id = ?1",
    [SQL_DEL_PACK] = "DELETE FROM pack WHERE id = ?1 AND live = 0",
    [SQL_WALK_BLOBS] = "SELECT " CHUNK_COLUMNS ", b.data FROM blob b LEFT JOIN chunk c ON"
                       " c.id = b.chunk WHERE b.chunk > ?1 ORDER BY b.chunk LIMIT 1",
    /* Extents are read once, blobs looked up: there are few of them, and no index from chunks to extents. What a clone has of
     * a chunk's end may be where its beginning would have no place. */
    [SQL_BLOB_PLACES] = "SELECT e.chunk, e.ino, min(e.off - e.chunk_off) FROM extent e CROSS JOIN blob b ON"
                        " b.chunk = e.chunk WHERE e.off >= e.chunk_off GROUP BY e.chunk ORDER BY e.chunk LIMIT ?1",
    [SQL_GET_META] = "SELECT next_ino, next_chunk, next_pack, next_gen, txg, files, logical,"
                     " stored, codec, level, quota_bytes, quota_files, readonly, snap_seq, held,"
                     " dedup, recompress, snapdir FROM meta",
    [SQL_GET_INODE] = "SELECT " INODE_COLUMNS " FROM inode i WHERE i.ino = ?1",
    [SQL_GET_DIRENT] = "SELECT cookie, ino, name FROM dirent WHERE dir = ?1 AND cookie BETWEEN ?2"
                       " AND ?3",
    [SQL_LIST_DIR] = "SELECT " INODE_COLUMNS ", d.cookie, d.name FROM dirent d LEFT JOIN inode i ON"
                     " i.ino = d.ino WHERE d.dir = ?1 AND d.cookie > ?2 ORDER BY d.cookie LIMIT ?3",
    [SQL_DIR_EMPTY] = "SELECT 1 FROM dirent WHERE dir = ?1 LIMIT 1",
    [SQL_GET_SYMLINK] = "SELECT target FROM symlink WHERE ino = ?1",
    [SQL_GET_XATTR] = "SELECT value FROM xattr WHERE ino = ?1 AND name = ?2",
    [SQL_LIST_XATTR] = "SELECT id, name FROM xattr WHERE ino = ?1 AND id > ?2 ORDER BY id",
    [SQL_GET_EXTENTS] = "SELECT " CHUNK_COLUMNS ", e.off, e.len, e.chunk_off FROM extent e LEFT"
                        " JOIN chunk c ON c.id = e.chunk WHERE e.ino = ?1 AND e.off < ?2 AND"
                        " e.off > ?3 ORDER BY e.off LIMIT ?4",
    [SQL_GET_BLOB] = "SELECT data FROM blob WHERE chunk = ?1",
    [SQL_SEEK] = "SELECT off, len FROM extent WHERE ino = ?1 AND off > ?2 ORDER BY off",
    [SQL_ORPHANS] = "SELECT ino FROM orphan ORDER BY ino",
    [SQL_PUT_SNAP] = "REPLACE INTO snapshot VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [SQL_DEL_SNAP] = "DELETE FROM snapshot WHERE id = ?1",
    [SQL_LIST_SNAPS] = "SELECT id, name, created, state, files, logical, stored FROM snapshot"
                       " ORDER BY id",
    [SQL_SNAP_HOLDS] = "SELECT coalesce(max(id), 0) FROM snapshot WHERE state < 2 AND id < ?1",
    [SQL_SNAP_NEXT] = "SELECT coalesce(min(id), 9223372036854775807) FROM snapshot WHERE"
                      " state < 2 AND id > ?1",
    [SQL_PUT_DEAD] = "INSERT INTO dead VALUES(?1,?2,?3)",
    [SQL_DEL_DEAD] = "DELETE FROM dead WHERE death = ?1 AND birth = ?2 AND chunk = ?3",
    [SQL_NEXT_DEAD] = "SELECT death, birth, chunk FROM dead WHERE (death, birth) >= (?1, ?2)"
                      " ORDER BY death, birth, chunk LIMIT 1",
    [SQL_DEL_DEDUP] = "DELETE FROM dedup WHERE chunk = ?1",
    [SQL_PUT_DEDUP] = "REPLACE INTO dedup VALUES(?1,?2)",
    [SQL_FIND_DEDUP] = "SELECT hash FROM dedup WHERE hash > ?1 AND hash < ?2 ORDER BY hash DESC LIMIT ?3",
};

/* --- errors --- */

int index_errno(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return 0;
    case SQLITE_FULL:
        return -ENOSPC;
    case SQLITE_NOMEM:
        return -ENOMEM;
    case SQLITE_IOERR:
        return code == SQLITE_IOERR_NOMEM ? -ENOMEM : -EIO;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return -EBUSY;
    case SQLITE_READONLY:
        return -EROFS;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_CONSTRAINT: /* two rows where only one can be */
    case SQLITE_ERROR:      /* a table or column is missing: the statements are fixed */
    case SQLITE_SCHEMA:
        return -EUCLEAN;
    default:
        return -EIO;
    }
}

int index_error(struct index *ix, sqlite3 *db, int code, const char *what)
{
    int rc = index_errno(code);

    if (rc)
        log_error("%s: index: %s: %s", ix->label, what,
                  db ? sqlite3_errmsg(db) : sqlite3_errstr(code));
    return rc;
}

int index_bad_row(struct index *ix, const char *table, uint64_t key)
{
    log_error("%s: index: impossible row in %s, key %llu", ix->label, table,
              (unsigned long long)key);
    return -EUCLEAN;
}

/* --- connections --- */

int index_exec(struct index *ix, sqlite3 *db, const char *text)
{
    int code = sqlite3_exec(db, text, NULL, NULL, NULL);

    return code ? index_error(ix, db, code, text) : 0;
}

void index_conn_close(struct index_conn *c)
{
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(c->stmt[i]);
    sqlite3_close(c->db);
    c->db = NULL;
    memset(c->stmt, 0, sizeof(c->stmt));
}

int index_conn_open(struct index *ix, struct index_conn *c, int flags, int cache_kib)
{
    char pragmas[256];

    int code = sqlite3_open_v2(ix->path, &c->db, flags | SQLITE_OPEN_NOMUTEX, index_vfs());
    if (code) {
        int err = c->db ? sqlite3_system_errno(c->db) : 0;
        int rc = index_error(ix, c->db, code, "open");
        index_conn_close(c);
        return code == SQLITE_CANTOPEN && err ? -err : rc;
    }
    sqlite3_extended_result_codes(c->db, 1);
    sqlite3_busy_timeout(c->db, BUSY_MS);
    sqlite3_db_config(c->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    snprintf(pragmas, sizeof(pragmas),
             "PRAGMA cache_size = -%d; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
             "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY",
             cache_kib);
    int rc = index_exec(ix, c->db, pragmas);
    c->cache_kib = (unsigned)cache_kib;
    if (!rc && ix->shared)
        rc = index_attach(ix, c->db, ix->shared, "shared");
    if (rc)
        index_conn_close(c);
    return rc;
}

sqlite3_stmt *index_stmt(struct index *ix, struct index_conn *c, enum index_sql which, int *rc)
{
    if (!c->stmt[which]) {
        int code = sqlite3_prepare_v3(c->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT,
                                      &c->stmt[which], NULL);
        if (code) {
            *rc = index_error(ix, c->db, code, sql[which]);
            return NULL;
        }
    }
    return c->stmt[which];
}

int index_run(struct index *ix, struct index_conn *c, sqlite3_stmt *st, const char *what)
{
    int code = sqlite3_step(st);
    int rc = code == SQLITE_DONE ? 0 : index_error(ix, c->db, code, what);

    if (code == SQLITE_ROW)
        rc = -EUCLEAN;
    sqlite3_reset(st);
    return rc;
}

int index_reader_get(struct index *ix, struct index_conn **out)
{
    struct index_conn *c = NULL;
    int rc = 0;

    pthread_mutex_lock(&ix->reader_lock);
    while (!c) {
        for (unsigned i = 0; i < ix->nreaders && !c; i++)
            if (!ix->readers[i].busy)
                c = &ix->readers[i];
        if (!c && ix->nreaders < INDEX_READERS) {
            c = &ix->readers[ix->nreaders++];
        } else if (!c) {
            pthread_cond_wait(&ix->reader_free, &ix->reader_lock);
        }
    }
    c->busy = true;
    pthread_mutex_unlock(&ix->reader_lock);
    if (!c->db)
        rc = index_conn_open(ix, c, ix->files_readonly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE,
                       ix->shared ? 1024 : 8192);
    if (rc) {
        index_reader_put(ix, c);
        return rc;
    }
    *out = c;
    return 0;
}

void index_reader_put(struct index *ix, struct index_conn *c)
{
    pthread_mutex_lock(&ix->reader_lock);
    c->busy = false;
    pthread_cond_signal(&ix->reader_free);
    pthread_mutex_unlock(&ix->reader_lock);
}

/* --- opening --- */

int index_query_int(struct index *ix, sqlite3 *db, const char *text, int64_t *out)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(db, text, -1, &st, NULL);

    if (!code)
        code = sqlite3_step(st);
    int rc = 0;
    if (code == SQLITE_ROW)
        *out = sqlite3_column_int64(st, 0);
    else
        rc = code == SQLITE_DONE ? -EUCLEAN : index_error(ix, db, code, text);
    sqlite3_finalize(st);
    return rc;
}

int index_check_plain(struct index *ix, sqlite3 *db, const char *schema)
{
    char query[256];
    int64_t foreign = 0;
    int rc;

    /* Virtual tables are of type table, too. SQLite itself has put these beginnings there, and sees that the type fits. */
    snprintf(query, sizeof(query),
             "SELECT count(*) FROM %s.sqlite_schema WHERE type NOT IN ('table', 'index') OR (sql NOT LIKE 'CREATE TABLE %%' AND"
             " sql NOT LIKE 'CREATE INDEX %%' AND sql NOT LIKE 'CREATE UNIQUE INDEX %%')",
             schema);
    rc = index_query_int(ix, db, query, &foreign);
    if (!rc && foreign) {
        log_error("%s: index: has triggers, views or virtual tables (%s)", ix->label, schema);
        rc = -EUCLEAN;
    }
    return rc;
}

bool index_has_table(sqlite3 *db, const char *name)
{
    static const char text[] = "SELECT 1 FROM pragma_table_list(?1) WHERE schema = 'main' AND type = 'table' AND NOT EXISTS (SELECT"
                               " 1 FROM pragma_table_xinfo(?1, 'main') WHERE hidden)";
    sqlite3_stmt *st = NULL;
    bool has = !sqlite3_prepare_v2(db, text, -1, &st, NULL) && !sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC) &&
               sqlite3_step(st) == SQLITE_ROW;

    sqlite3_finalize(st);
    return has;
}

/* Is it our database, of a format we know (older ones are upgraded), with nothing in it that runs by
 * itself? */
static int check_schema(struct index *ix, struct index_conn *c)
{
    int64_t app = 0, version = 0;
    int rc = index_query_int(ix, c->db, "PRAGMA application_id", &app);

    if (!rc)
        rc = index_query_int(ix, c->db, "PRAGMA user_version", &version);
    if (rc)
        return rc;
    if (app != APPLICATION_ID || version < 1) {
        log_error("%s: index: not a volume's database", ix->label);
        return -EUCLEAN;
    }
    if (version > INDEX_FORMAT) {
        log_error("%s: index: format %lld is newer than this program's", ix->label,
                  (long long)version);
        return -ENOTSUP;
    }
    rc = index_check_plain(ix, c->db, "main");
    if (!rc && version < INDEX_FORMAT && !ix->shared) /* the tables of a tree are since format 2 what they are */
        rc = index_upgrade(ix, c->db, version);
    for (int i = 0; !rc && i < SQL_COUNT; i++)
        index_stmt(ix, c, i, &rc);
    return rc;
}

struct index *index_alloc(const char *path, const char *label)
{
    struct index *ix = calloc(1, sizeof(*ix));

    if (!ix)
        return NULL;
    pthread_mutex_init(&ix->write_lock, NULL);
    pthread_mutex_init(&ix->ckpt_lock, NULL);
    pthread_mutex_init(&ix->reader_lock, NULL);
    pthread_cond_init(&ix->reader_free, NULL);
    ix->path = strdup(path);
    ix->label = strdup(label);
    if (!ix->path || !ix->label) {
        index_close(ix);
        return NULL;
    }
    return ix;
}

void index_close(struct index *ix)
{
    if (!ix)
        return;
    for (unsigned i = 0; i < INDEX_READERS; i++)
        index_conn_close(&ix->readers[i]);
    index_conn_close(&ix->ckpt);
    index_conn_close(&ix->writer); /* the last one: copies the WAL and removes it */
    pthread_mutex_destroy(&ix->write_lock);
    pthread_mutex_destroy(&ix->ckpt_lock);
    pthread_mutex_destroy(&ix->reader_lock);
    pthread_cond_destroy(&ix->reader_free);
    free(ix->path);
    free(ix->shared);
    free(ix->label);
    free(ix);
}

static int open_writer(struct index *ix)
{
    int rc = index_conn_open(ix, &ix->writer, SQLITE_OPEN_READWRITE, 65536);

    if (!rc)
        rc = check_schema(ix, &ix->writer);
    if (!rc)
        rc = index_exec(ix, ix->writer.db, "PRAGMA journal_mode = WAL");
    if (!rc)
        rc = index_exec(ix, ix->writer.db, INDEX_LATER);
    if (rc == -ENOSPC)
        rc = 0; /* it only makes searching faster */
    if (!rc)
        rc = index_query_int(ix, ix->writer.db, "SELECT coalesce(sum(length(data)), 0) FROM blob",
                             &ix->blob_bytes);
    if (!rc)
        rc = index_load_snaps(ix);
    if (!rc)
        rc = index_conn_open(ix, &ix->ckpt, SQLITE_OPEN_READWRITE, 1024);
    return rc;
}

static int open_readonly(struct index *ix)
{
    struct index_conn *c;
    int rc = index_reader_get(ix, &c);

    if (rc)
        return rc;
    rc = check_schema(ix, c);
    index_reader_put(ix, c);
    return rc;
}

/* Hands an index out that was opened with this result. */
static int opened(struct index *ix, int rc, struct index **out)
{
    if (rc)
        index_close(ix);
    else
        *out = ix;
    return rc;
}

/* shared: of a snapshot, else NULL. */
static int open_as(const char *path, const char *shared, const char *label, bool readonly, bool files_readonly,
                   struct index **out)
{
    struct index_meta meta;
    struct index *ix = index_alloc(path, label);
    int rc = 0;

    if (!ix)
        return -ENOMEM;
    ix->readonly = readonly;
    ix->files_readonly = files_readonly;
    if (shared && !(ix->shared = strdup(shared)))
        rc = -ENOMEM;
    if (!rc)
        rc = readonly ? open_readonly(ix) : open_writer(ix);
    if (!rc)
        rc = index_get_meta(ix, &meta);
    return opened(ix, rc, out);
}

int index_open(const char *path, const char *label, struct index **out)
{
    return open_as(path, NULL, label, false, false, out);
}

int index_open_trees(const char *path, const char *other, const char *label, struct index **out)
{
    struct index *ix = index_alloc(path, label);
    struct index_conn *c;
    int64_t version[2] = {0};

    if (!ix)
        return -ENOMEM;
    ix->readonly = ix->files_readonly = true;
    ix->shared = strdup(other);
    int rc = ix->shared ? index_reader_get(ix, &c) : -ENOMEM;
    if (!rc) {
        rc = index_query_int(ix, c->db, "PRAGMA main.user_version", &version[0]);
        if (!rc)
            rc = index_query_int(ix, c->db, "PRAGMA shared.user_version", &version[1]);
        index_reader_put(ix, c);
    }
    if (!rc && (version[0] < 2 || version[1] < 2 || version[0] > INDEX_FORMAT || version[1] > INDEX_FORMAT))
        rc = -ENOTSUP;
    return opened(ix, rc, out);
}

int index_open_snapshot(const char *path, const char *shared, const char *label, bool readonly,
                        struct index **out)
{
    return open_as(path, shared, label, true, readonly, out);
}

int index_open_readonly(const char *path, const char *label, struct index **out)
{
    return open_as(path, NULL, label, true, true, out);
}

int index_create(const char *path, const struct index_meta *meta, const struct vattr *root)
{
    struct index *ix;
    char pragma[160];

    if (access(path, F_OK) == 0)
        return -EEXIST;
    ix = index_alloc(path, path);
    if (!ix)
        return -ENOMEM;
    snprintf(pragma, sizeof(pragma),
             "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA application_id = %d; PRAGMA user_version = %d",
             APPLICATION_ID, INDEX_FORMAT);
    int rc = index_conn_open(ix, &ix->writer, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 2048);
    if (!rc)
        rc = index_exec(ix, ix->writer.db, pragma);
    if (!rc)
        rc = index_exec(ix, ix->writer.db, tree_schema);
    if (!rc)
        rc = index_exec(ix, ix->writer.db, shared_schema);
    if (!rc)
        rc = index_begin(ix);
    if (!rc) {
        rc = index_put_meta(ix, meta);
        if (!rc)
            rc = index_put_inode(ix, root);
        if (!rc)
            rc = index_commit(ix);
        else
            index_rollback(ix);
    }
    index_close(ix);
    return rc;
}

int index_create_tree(struct index *ix, struct index_conn *c)
{
    char pragma[128];

    snprintf(pragma, sizeof(pragma), "PRAGMA application_id = %d; PRAGMA user_version = %d", APPLICATION_ID,
             INDEX_FORMAT);
    int rc = index_exec(ix, c->db, pragma);
    return rc ? rc : index_exec(ix, c->db, tree_schema);
}

int index_create_all(struct index *ix, struct index_conn *c)
{
    int rc = index_create_tree(ix, c);

    return rc ? rc : index_exec(ix, c->db, shared_schema);
}

/* --- checkpoints --- */

static uint64_t file_bytes(const char *path, const char *suffix)
{
    char name[4096];
    struct stat st;

    snprintf(name, sizeof(name), "%s%s", path, suffix);
    return stat(name, &st) ? 0 : (uint64_t)st.st_size;
}

uint64_t index_bytes(struct index *ix)
{
    return file_bytes(ix->path, "") + file_bytes(ix->path, "-wal");
}

int index_used_bytes(struct index *ix, bool blobs, uint64_t *out)
{
    struct index_conn *c;
    int64_t size = 0, all = 0, unused = 0, data = blobs ? 0 : index_blob_bytes(ix);
    int rc = index_reader_get(ix, &c);

    if (rc)
        return rc;
    rc = index_query_int(ix, c->db, "PRAGMA main.page_size", &size);
    if (!rc)
        rc = index_query_int(ix, c->db, "PRAGMA main.page_count", &all);
    if (!rc)
        rc = index_query_int(ix, c->db, "PRAGMA main.freelist_count", &unused);
    index_reader_put(ix, c);
    all = unused < all ? (all - unused) * size : 0;
    *out = (uint64_t)(all > data ? all - data : 0);
    return rc;
}

/* One checkpoint; frames not copied, or -errno. A reader or writer in the way is no error. */
static int checkpoint(struct index *ix, int mode)
{
    int log = 0, done = 0;
    int code = sqlite3_wal_checkpoint_v2(ix->ckpt.db, NULL, mode, &log, &done);

    if (code && (code & 0xff) != SQLITE_BUSY)
        return index_error(ix, ix->ckpt.db, code, "checkpoint");
    return log > done && done >= 0 ? log - done : 0;
}

int index_checkpoint(struct index *ix)
{
    int rc = fault_point("index.checkpoint");

    if (rc || ix->readonly)
        return rc;
    pthread_mutex_lock(&ix->ckpt_lock);
    checkpoint(ix, SQLITE_CHECKPOINT_PASSIVE);
    pthread_mutex_lock(&ix->write_lock);
    sqlite3_busy_timeout(ix->ckpt.db, 0); /* readers may stay: then the file is not cut this time */
    rc = checkpoint(ix, file_bytes(ix->path, "-wal") > WAL_MAX ? SQLITE_CHECKPOINT_TRUNCATE
                                                               : SQLITE_CHECKPOINT_PASSIVE);
    pthread_mutex_unlock(&ix->write_lock);
    pthread_mutex_unlock(&ix->ckpt_lock);
    return rc;
}
