/* SPDX-License-Identifier: Apache-2.0
 * index_tree: copies of the tables that make up a tree, for snapshots.
 *
 * The copy is written without a journal of its own: it counts only once it has been synced and got its
 * name. It is read in one transaction, so that all tables are of one moment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/index_impl.h"

struct index_copy {
    struct index *ix;
    struct index_conn conn;
    char *path;
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
    return rc;
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

static int ask_stop(void *arg)
{
    struct index_copy *c = arg;

    return c->stop(c->arg);
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

int index_copy_run(struct index_copy *c, bool (*stop)(void *arg), void *arg)
{
    int rc = fault_point("snap.copy"), code;

    if (rc)
        return rc;
    c->stop = stop;
    c->arg = arg;
    if (stop)
        sqlite3_progress_handler(c->conn.db, 100000, ask_stop, c);
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
    return rc ? rc : sync_file(c->path);
}

void index_copy_free(struct index_copy *c)
{
    if (!c)
        return;
    index_conn_close(&c->conn);
    free(c->path);
    free(c);
}
