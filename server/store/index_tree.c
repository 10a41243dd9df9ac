/* SPDX-License-Identifier: Apache-2.0
 * index_tree: copies of the tables that make up a tree: for snapshots, for clones of them, and back.
 *
 * The copy is written without a journal of its own: it counts only once it has been synced and got its
 * name. It is read in one transaction, so that all tables are of one moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/index_impl.h"

#define STEP_OPS 50000 /* of SQLite, between looks around: about a MiB of rows */

struct index_copy {
    struct index *ix;
    struct index_conn conn;
    char *path;
    int fd; /* of path, while it is copied */
    bool (*stop)(void *arg);
    void *arg;
};

/* Tables of equal shape, the target empty: SQLite copies rows as they are, in the order of their keys. */
static const char copy_sql[] =
    "INSERT INTO snap.meta SELECT * FROM main.meta;"
    "INSERT INTO snap.inode SELECT * FROM main.inode;"
    "INSERT INTO snap.dirent SELECT * FROM main.dirent;"
    "INSERT INTO snap.symlink SELECT * FROM main.symlink;"
    "INSERT INTO snap.xattr SELECT * FROM main.xattr;"
    "INSERT INTO snap.orphan SELECT * FROM main.orphan;"
    "INSERT INTO snap.extent SELECT * FROM main.extent;";

int index_attach(struct index *ix, sqlite3 *db, const char *path, const char *name)
{
    char *text = sqlite3_mprintf("ATTACH %Q AS %s", path, name);
    int rc = text ? index_exec(ix, db, text) : -ENOMEM;

    sqlite3_free(text);
    return rc ? rc : index_check_plain(ix, db, name);
}

/* An empty tree in path. */
static int make_empty(const char *path, const char *label)
{
    struct index *ix = index_alloc(path, label);

    if (!ix)
        return -ENOMEM;
    int rc = unlink(path) && errno != ENOENT ? -errno : 0;
    if (!rc)
        rc = index_conn_open(ix, &ix->writer, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 1024);
    if (!rc)
        rc = index_create_tree(ix, &ix->writer);
    index_close(ix);
    return rc;
}

int index_copy_new(struct index *ix, const char *path, struct index_copy **out)
{
    struct index_copy *c;
    int rc = make_empty(path, ix->label);

    *out = NULL;
    if (rc)
        return rc;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->ix = ix;
    c->path = strdup(path);
    rc = c->path ? index_conn_open(ix, &c->conn, SQLITE_OPEN_READWRITE, 16384) : -ENOMEM;
    if (!rc)
        rc = index_attach(ix, c->conn.db, path, "snap");
    if (!rc)
        rc = index_exec(ix, c->conn.db, "PRAGMA snap.journal_mode = OFF; PRAGMA snap.synchronous = OFF");
    if (rc) {
        index_copy_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

int index_copy_pin(struct index_copy *c)
{
    int64_t txg;
    int rc = index_exec(c->ix, c->conn.db, "BEGIN");

    /* The first read takes the transaction's view. */
    return rc ? rc : index_query_int(c->ix, c->conn.db, "SELECT txg FROM main.meta", &txg);
}

/* Writers wait for the same disk: so what was copied goes there as it comes, a little at a time, and not all at once, when it
 * is synced. (400,000 files: the longest stable write beside a snapshot takes 12 ms instead of 48, an idle disk's 14.) */
static int look_around(void *arg)
{
    struct index_copy *c = arg;

    (void)sync_file_range(c->fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE);
    return c->stop && c->stop(c->arg);
}

int index_copy_run(struct index_copy *c, bool (*stop)(void *arg), void *arg)
{
    int rc = fault_point("snap.copy"), code;

    if (rc)
        return rc;
    c->stop = stop;
    c->arg = arg;
    c->fd = open(c->path, O_RDWR | O_CLOEXEC);
    if (c->fd < 0)
        return -errno;
    sqlite3_progress_handler(c->conn.db, STEP_OPS, look_around, c);
    code = sqlite3_exec(c->conn.db, copy_sql, NULL, NULL, NULL);
    if (code == SQLITE_INTERRUPT)
        rc = -ECANCELED;
    else if (code)
        rc = index_error(c->ix, c->conn.db, code, "copy of the tree");
    sqlite3_progress_handler(c->conn.db, 0, NULL, NULL);
    if (!rc)
        rc = index_exec(c->ix, c->conn.db, "COMMIT");
    index_conn_close(&c->conn); /* lets the WAL go on, and closes the copy */
    if (!rc)
        rc = fault_point("snap.sync");
    if (!rc && fsync(c->fd) < 0)
        rc = -errno;
    close(c->fd);
    return rc;
}

void index_copy_free(struct index_copy *c)
{
    if (!c)
        return;
    index_conn_close(&c->conn);
    free(c->path);
    free(c);
}

static int sync_file(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC), rc = 0;

    if (fd < 0)
        return -errno;
    if (fsync(fd) < 0)
        rc = -errno;
    close(fd);
    return rc;
}

/* --- a volume of its own from a snapshot --- */

/* Nothing of inodes without names: nobody has them open here. */
#define NAMED " WHERE ino NOT IN (SELECT ino FROM tree.orphan);"

static const char clone_sql[] =
    "INSERT INTO main.meta SELECT * FROM tree.meta;"
    "INSERT INTO main.inode SELECT * FROM tree.inode" NAMED
    "INSERT INTO main.dirent SELECT * FROM tree.dirent;"
    "INSERT INTO main.symlink SELECT * FROM tree.symlink" NAMED
    "INSERT INTO main.xattr SELECT * FROM tree.xattr" NAMED
    "INSERT INTO main.extent SELECT * FROM tree.extent" NAMED
    "INSERT INTO main.chunk SELECT c.id, c.pack, c.pack_off, c.stored_len, c.len, c.codec, c.checksum, u.n, 1,"
    " c.flags FROM (SELECT chunk, count(*) AS n FROM main.extent GROUP BY chunk ORDER BY chunk) u JOIN"
    " live.chunk c ON c.id = u.chunk;"
    "INSERT INTO main.blob SELECT b.chunk, b.data FROM live.blob b WHERE EXISTS (SELECT 1 FROM main.chunk c WHERE"
    " c.id = b.chunk AND c.pack = 0);"
    "INSERT INTO main.pack SELECT pack, sum(stored_len), 0, 0 FROM main.chunk WHERE pack <> 0 GROUP BY pack;"
    "INSERT INTO main.dedup SELECT d.chunk, d.hash FROM live.dedup d WHERE EXISTS (SELECT 1 FROM main.chunk c"
    " WHERE c.id = d.chunk);"
    "UPDATE main.meta SET files = (SELECT count(*) - 1 FROM main.inode), logical = (SELECT"
    " coalesce(sum(len), 0) FROM main.extent), stored = (SELECT coalesce(sum(stored_len), 0) FROM main.chunk),"
    " held = 0, snap_seq = 0, readonly = 0;";

/* A chunk may have moved to a pack that was begun after the caller had looked at the numbers. */
static int clone_counters(struct index *ix, uint64_t next_chunk, uint32_t next_pack)
{
    char text[256];

    snprintf(text, sizeof(text), "UPDATE main.meta SET next_chunk = max(next_chunk, %llu), next_pack ="
             " max(next_pack, %u, (SELECT coalesce(max(id), 0) + 1 FROM main.pack))", (unsigned long long)next_chunk,
             next_pack);
    return index_exec(ix, ix->writer.db, text);
}

/* Does every extent of the tree have its chunk? */
static int whole(struct index *ix, const char *query)
{
    int64_t missing = 0;
    int rc = index_query_int(ix, ix->writer.db, query, &missing);

    if (!rc && missing) {
        log_error("%s: index: %lld extents of a snapshot have no chunk", ix->label, (long long)missing);
        rc = -EUCLEAN;
    }
    return rc;
}

int index_create_clone(const char *path, const char *tree, const char *shared, const char *label,
                       uint64_t next_chunk, uint32_t next_pack)
{
    struct index *ix = index_alloc(path, label);
    int rc = 0;

    if (!ix)
        return -ENOMEM;
    if (access(path, F_OK) == 0)
        rc = -EEXIST;
    if (!rc)
        rc = index_conn_open(ix, &ix->writer, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, 32768);
    if (!rc)
        rc = index_create_all(ix, &ix->writer);
    if (!rc)
        rc = index_attach(ix, ix->writer.db, tree, "tree");
    if (!rc)
        rc = index_attach(ix, ix->writer.db, shared, "live");
    if (!rc)
        rc = index_exec(ix, ix->writer.db, "PRAGMA main.journal_mode = OFF; PRAGMA main.synchronous = OFF; BEGIN");
    if (!rc)
        rc = fault_point("clone.index");
    if (!rc)
        rc = index_exec(ix, ix->writer.db, clone_sql);
    if (!rc)
        rc = whole(ix, "SELECT count(*) FROM main.extent e WHERE NOT EXISTS (SELECT 1 FROM main.chunk c WHERE"
                       " c.id = e.chunk)");
    if (!rc)
        rc = clone_counters(ix, next_chunk, next_pack);
    if (!rc)
        rc = index_exec(ix, ix->writer.db, "COMMIT");
    index_close(ix);
    if (!rc)
        rc = fault_point("clone.sync");
    return rc ? rc : sync_file(path);
}

/* --- the volume as a snapshot has it --- */

/* Extents of inodes without names are left out, as are these. */
static const char rollback_uses[] =
    "CREATE TEMP TABLE uses(chunk INTEGER PRIMARY KEY, n INTEGER);"
    "INSERT INTO uses SELECT chunk, count(*) FROM tree.extent WHERE ino NOT IN (SELECT ino FROM tree.orphan)"
    " GROUP BY chunk ORDER BY chunk;";

/* S2: what loses its last reference is deleted, or dead; S5: what gets references is not dead any more. */
static const char rollback_chunks[] =
    "CREATE TEMP TABLE gone AS SELECT id, pack, stored_len, birth FROM main.chunk WHERE refs > 0 AND"
    " NOT EXISTS (SELECT 1 FROM uses u WHERE u.chunk = id);"
    "INSERT INTO main.dead SELECT m.snap_seq + 1, g.birth, g.id FROM gone g, main.meta m WHERE g.birth <="
    " (SELECT coalesce(max(id), 0) FROM main.snapshot WHERE state < 2);"
    "UPDATE main.chunk SET refs = 0 WHERE id IN (SELECT id FROM gone);"
    "DELETE FROM gone WHERE birth <= (SELECT coalesce(max(id), 0) FROM main.snapshot WHERE state < 2);"
    "UPDATE main.pack SET live = live - (SELECT sum(g.stored_len) FROM gone g WHERE g.pack = pack.id) WHERE id IN"
    " (SELECT pack FROM gone);"
    "DELETE FROM main.blob WHERE chunk IN (SELECT id FROM gone);"
    "DELETE FROM main.dedup WHERE chunk IN (SELECT id FROM gone);"
    "DELETE FROM main.chunk WHERE id IN (SELECT id FROM gone);"
    "DELETE FROM main.dead WHERE chunk IN (SELECT chunk FROM uses);"
    "UPDATE main.chunk SET refs = (SELECT n FROM uses u WHERE u.chunk = id) WHERE id IN (SELECT chunk FROM uses);";

static const char rollback_inode[] = /* and the change attribute of everything */
    "INSERT INTO main.inode SELECT ino, gen, type, mode, nlink, uid, gid, rmajor, rminor, size, used, %llu, parent,"
    " atime, mtime, ctime, btime, verf FROM tree.inode" NAMED;
static const char rollback_tree[] =
    "DELETE FROM main.dirent; INSERT INTO main.dirent SELECT * FROM tree.dirent;"
    "DELETE FROM main.symlink; INSERT INTO main.symlink SELECT * FROM tree.symlink" NAMED
    "DELETE FROM main.xattr; INSERT INTO main.xattr SELECT * FROM tree.xattr" NAMED
    "DELETE FROM main.extent; INSERT INTO main.extent SELECT * FROM tree.extent" NAMED
    "DELETE FROM main.orphan;"
    "UPDATE main.meta SET files = (SELECT count(*) - 1 FROM main.inode), logical = (SELECT"
    " coalesce(sum(len), 0) FROM main.extent), stored = (SELECT coalesce(sum(stored_len), 0) FROM main.chunk WHERE"
    " refs > 0), held = (SELECT coalesce(sum(stored_len), 0) FROM main.chunk WHERE refs = 0);";

static int rollback_inodes(struct index *ix, uint64_t epoch)
{
    int64_t change = 0;
    char *text;
    int rc = index_query_int(ix, ix->writer.db, "SELECT max(change) FROM main.inode", &change);

    if (rc)
        return rc;
    /* Above all values that this volume ever gave out: those of one start lie between epoch << 40 and the next. */
    epoch = ((uint64_t)change >> 40 > epoch ? (uint64_t)change >> 40 : epoch) + 1;
    if (epoch > INT64_MAX >> 40)
        return index_bad_row(ix, "inode with the change attribute", (uint64_t)change);
    text = sqlite3_mprintf(rollback_inode, epoch << 40);
    rc = text ? index_exec(ix, ix->writer.db, "DELETE FROM main.inode") : -ENOMEM;
    if (!rc)
        rc = index_exec(ix, ix->writer.db, text);
    sqlite3_free(text);
    return rc;
}

int index_rollback_tree(struct index *ix, const char *tree, uint64_t epoch)
{
    int rc = index_attach(ix, ix->writer.db, tree, "tree");

    if (rc)
        return rc;
    rc = index_begin(ix);
    if (rc)
        goto out;
    rc = index_exec(ix, ix->writer.db, rollback_uses);
    if (!rc)
        rc = whole(ix, "SELECT count(*) FROM uses u WHERE NOT EXISTS (SELECT 1 FROM main.chunk c WHERE"
                       " c.id = u.chunk)");
    if (!rc)
        rc = index_exec(ix, ix->writer.db, rollback_chunks);
    if (!rc)
        rc = rollback_inodes(ix, epoch);
    if (!rc)
        rc = index_exec(ix, ix->writer.db, rollback_tree);
    if (!rc)
        rc = fault_point("rollback.tree");
    if (rc)
        index_rollback(ix);
    else
        rc = index_commit(ix);
out:
    sqlite3_exec(ix->writer.db, "DETACH tree; DROP TABLE IF EXISTS temp.uses; DROP TABLE IF EXISTS temp.gone", NULL,
                 NULL, NULL);
    return rc;
}
