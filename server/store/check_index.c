/* SPDX-License-Identifier: Apache-2.0
 * check_index: what must hold among the rows of an index: one query for each rule, which gives one sentence per problem.
 *
 * Sums per inode, chunk and pack go through temporary tables (files, not memory), so that the cost is a few sorted
 * passes however large the volume is.
 */
#include "server/store/check_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Sums that the queries below compare with: of a tree, and of a volume. */
static const char *const prepare_tree[] = {
    "CREATE TEMP TABLE links(ino INTEGER PRIMARY KEY, n INTEGER, dir INTEGER)",
    "INSERT INTO links SELECT ino, count(*), min(dir) FROM dirent WHERE typeof(ino) = 'integer'"
    " GROUP BY ino ORDER BY ino",
    "CREATE TEMP TABLE subdirs(dir INTEGER PRIMARY KEY, n INTEGER)",
    "INSERT INTO subdirs SELECT d.dir, count(*) FROM dirent d JOIN inode i ON i.ino = d.ino"
    " WHERE i.type = 2 GROUP BY d.dir",
    "CREATE TEMP TABLE tree(dir INTEGER, ino INTEGER, PRIMARY KEY(dir, ino)) WITHOUT ROWID",
    "INSERT INTO tree SELECT l.dir, l.ino FROM links l JOIN inode i ON i.ino = l.ino"
    " WHERE i.type = 2 AND l.ino <> 1",
    "CREATE TEMP TABLE reached(ino INTEGER PRIMARY KEY)",
    "INSERT INTO reached WITH RECURSIVE r(ino) AS (SELECT 1 UNION SELECT t.ino FROM r JOIN tree t"
    " ON t.dir = r.ino) SELECT ino FROM r",
};
static const char *const prepare_volume[] = {
    "CREATE TEMP TABLE uses(chunk INTEGER PRIMARY KEY, n INTEGER)",
    "INSERT INTO uses SELECT chunk, count(*) FROM extent WHERE typeof(chunk) = 'integer'"
    " GROUP BY chunk ORDER BY chunk",
    "CREATE TEMP TABLE alive(pack INTEGER PRIMARY KEY, n INTEGER)",
    "INSERT INTO alive SELECT pack, sum(stored_len) FROM chunk WHERE typeof(pack) = 'integer'"
    " AND pack <> 0 GROUP BY pack",
};

static const char *const prepare_snapshot[] = {
    "CREATE TEMP TABLE deaths(chunk INTEGER PRIMARY KEY, death INTEGER)",
    "INSERT OR IGNORE INTO deaths SELECT chunk, death FROM dead ORDER BY chunk",
};

/* Each row's first column is a problem: of a tree, live or a snapshot's; */
static const char *const tree_sql[] = {
    /* names */
    "SELECT 'inode 1: the root directory is missing' WHERE NOT EXISTS"
    " (SELECT 1 FROM inode WHERE ino = 1 AND type = 2)",
    "SELECT printf('directory %d, cookie %d: names inode %s, which does not exist', dir, cookie,"
    " quote(ino)) FROM dirent d WHERE NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = d.ino)",
    "SELECT printf('directory %d: has %d entries but is no directory', dir, count(*)) FROM dirent d"
    " GROUP BY dir HAVING NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = d.dir AND i.type = 2)",
    "SELECT printf('directory %d, cookie %d: the cookie does not match the name', dir, cookie)"
    " FROM dirent WHERE (cookie & ~7) IS NOT name_cookie(name) OR cookie < 8",
    "SELECT printf('directory %d, cookie %d: not a valid name', dir, cookie) FROM dirent WHERE"
    " typeof(name) <> 'blob' OR length(name) NOT BETWEEN 1 AND 255 OR instr(name, x'2f') OR"
    " instr(name, x'00') OR name IN (x'2e', x'2e2e')",
    "SELECT printf('directory %d, cookie %d: the same name twice', d.dir, d.cookie) FROM dirent d"
    " WHERE EXISTS (SELECT 1 FROM dirent e WHERE e.dir = d.dir AND e.cookie > d.cookie AND"
    " e.cookie <= (d.cookie | 7) AND e.name = d.name)",
    "SELECT printf('inode %d: no name leads to it', i.ino) FROM inode i WHERE i.ino <> 1 AND"
    " NOT EXISTS (SELECT 1 FROM links WHERE ino = i.ino) AND"
    " NOT EXISTS (SELECT 1 FROM orphan WHERE ino = i.ino)",
    "SELECT printf('inode %d: an orphan that has a name', o.ino) FROM orphan o JOIN links l ON"
    " l.ino = o.ino",
    "SELECT printf('inode %d: an orphan that does not exist', ino) FROM orphan o WHERE"
    " NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = o.ino)",
    "SELECT printf('inode %d: an orphan with link count %d', i.ino, i.nlink) FROM orphan o JOIN"
    " inode i ON i.ino = o.ino WHERE i.nlink <> 0",
    "SELECT printf('inode %d: link count %d, but %d names', i.ino, i.nlink, coalesce(l.n, 0))"
    " FROM inode i LEFT JOIN links l ON l.ino = i.ino WHERE i.type <> 2 AND"
    " i.nlink <> coalesce(l.n, 0)",
    "SELECT printf('inode %d: a directory with link count %d, but %d directories in it', i.ino,"
    " i.nlink, coalesce(s.n, 0)) FROM inode i LEFT JOIN subdirs s ON s.dir = i.ino"
    " WHERE i.type = 2 AND i.nlink <> 2 + coalesce(s.n, 0) AND"
    " NOT EXISTS (SELECT 1 FROM orphan WHERE ino = i.ino)",
    "SELECT printf('inode %d: a directory with %d names', i.ino, l.n) FROM links l JOIN inode i ON"
    " i.ino = l.ino WHERE i.type = 2 AND l.n > (i.ino <> 1)",
    "SELECT printf('inode %d: its parent should be %d, not %d', i.ino, l.dir, i.parent) FROM"
    " links l JOIN inode i ON i.ino = l.ino WHERE i.type = 2 AND i.ino <> 1 AND i.parent <> l.dir",
    "SELECT printf('inode %d: a directory that cannot be reached from the root', i.ino) FROM"
    " inode i JOIN links l ON l.ino = i.ino WHERE i.type = 2 AND i.ino NOT IN reached",
    "SELECT printf('inode %d: a symbolic link without target', i.ino) FROM inode i WHERE"
    " i.type = 3 AND NOT EXISTS (SELECT 1 FROM symlink s WHERE s.ino = i.ino AND"
    " typeof(target) = 'blob' AND length(target) BETWEEN 1 AND 4095)",
    "SELECT printf('inode %d: a link target, but no symbolic link', s.ino) FROM symlink s WHERE"
    " NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = s.ino AND i.type = 3)",
    "SELECT printf('inode %d: extended attributes, but no inode', ino) FROM xattr x WHERE"
    " NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = x.ino) GROUP BY ino",
    /* extents and chunks */
    "SELECT printf('inode %d, offset %d: impossible extent', ino, off) FROM extent WHERE"
    " off < 0 OR off >= 4611686018427387903 OR typeof(len) <> 'integer' OR len < 1 OR"
    " off % 131072 + len > 131072 OR typeof(chunk_off) <> 'integer' OR chunk_off < 0",
    "SELECT printf('inode %d, offset %d: overlaps the extent before it', ino, off) FROM (SELECT"
    " ino, off, lag(off + len) OVER (PARTITION BY ino ORDER BY off) AS before FROM extent)"
    " WHERE before > off",
    "SELECT printf('inode %d: %d extents, but it is no file', e.ino, count(*)) FROM extent e"
    " GROUP BY e.ino HAVING NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = e.ino AND i.type = 1)",
    "SELECT printf('inode %d: used is %d, its extents have %d bytes', i.ino, i.used,"
    " coalesce(e.n, 0)) FROM inode i LEFT JOIN (SELECT ino, sum(len) AS n FROM extent GROUP BY ino)"
    " e ON e.ino = i.ino WHERE i.type = 1 AND i.used <> coalesce(e.n, 0)",
    "SELECT printf('inode %d, offset %d: chunk %s does not exist', ino, off, quote(chunk)) FROM"
    " extent e WHERE NOT EXISTS (SELECT 1 FROM chunk c WHERE c.id = e.chunk)",
    "SELECT printf('inode %d, offset %d: uses bytes past the end of chunk %d', e.ino, e.off, c.id)"
    " FROM extent e JOIN chunk c ON c.id = e.chunk WHERE e.chunk_off + e.len > c.len",
    "SELECT printf('files: %d counted, %d found', files, n) FROM meta, (SELECT count(*) - 1 AS n"
    " FROM inode) WHERE files <> n",
    "SELECT printf('logical bytes: %d counted, %d found', logical, n) FROM meta, (SELECT"
    " coalesce(sum(len), 0) AS n FROM extent) WHERE logical <> n",
    "SELECT printf('next inode %d is in use (%d)', next_ino, n) FROM meta, (SELECT max(ino) AS n"
    " FROM inode) WHERE next_ino <= n",
};

/* of a snapshot in its volume (temp.this has its id); */
static const char *const snapshot_sql[] = {
    "SELECT printf('inode %d, offset %d: chunk %d is younger than the snapshot', e.ino, e.off, c.id) FROM"
    " this t, extent e JOIN chunk c ON c.id = e.chunk WHERE c.birth > t.id",
    "SELECT printf('inode %d, offset %d: chunk %d is not held for the snapshot', e.ino, e.off, c.id) FROM"
    " this t, extent e JOIN chunk c ON c.id = e.chunk LEFT JOIN deaths d ON d.chunk = c.id WHERE"
    " c.refs = 0 AND coalesce(d.death, 0) <= t.id",
};

/* and of the rest of a volume. */
static const char *const volume_sql[] = {
    "SELECT printf('chunk %d: %s references counted, %d extents found', c.id, quote(c.refs),"
    " coalesce(u.n, 0)) FROM chunk c LEFT JOIN uses u ON u.chunk = c.id"
    " WHERE c.refs IS NOT coalesce(u.n, 0)",
    "SELECT printf('chunk %d: impossible flags %s', id, quote(flags)) FROM chunk WHERE typeof(flags) <> 'integer'"
    " OR flags NOT IN (0, 1)",
    "SELECT printf('chunk %d: its payload is missing from the index', id) FROM chunk c WHERE"
    " pack = 0 AND NOT EXISTS (SELECT 1 FROM blob b WHERE b.chunk = c.id AND"
    " typeof(data) = 'blob' AND length(data) = c.stored_len)",
    "SELECT printf('chunk %d: a payload in the index that belongs to no chunk', chunk) FROM blob b"
    " WHERE NOT EXISTS (SELECT 1 FROM chunk c WHERE c.id = b.chunk AND c.pack = 0)",
    /* snapshots: index.h, S1 to S5 */
    "SELECT printf('chunk %d: born at %s, after snapshot %d was the newest', c.id, quote(c.birth),"
    " m.snap_seq) FROM chunk c, meta m WHERE typeof(c.birth) <> 'integer' OR"
    " c.birth NOT BETWEEN 1 AND m.snap_seq + 1",
    "SELECT printf('chunk %d: nothing refers to it, and it is not among the dead', c.id) FROM chunk c"
    " WHERE c.refs = 0 AND NOT EXISTS (SELECT 1 FROM dead d WHERE d.chunk = c.id)",
    "SELECT printf('chunk %d: dead %d times', chunk, count(*)) FROM dead GROUP BY chunk"
    " HAVING count(*) > 1",
    "SELECT printf('chunk %d: dead, but %s', d.chunk, CASE WHEN c.id IS NULL THEN 'it does not exist'"
    " WHEN c.refs <> 0 THEN 'referred to' ELSE 'with another birth' END) FROM dead d LEFT JOIN"
    " chunk c ON c.id = d.chunk WHERE c.id IS NULL OR c.refs <> 0 OR c.birth <> d.birth",
    "SELECT printf('chunk %d: dead, and no snapshot holds it', d.chunk) FROM dead d WHERE NOT EXISTS"
    " (SELECT 1 FROM snapshot s WHERE s.id >= d.birth AND s.id < d.death)",
    "SELECT printf('snapshot %d: the newest one made is %d', s.id, m.snap_seq) FROM snapshot s, meta m"
    " WHERE s.id > m.snap_seq",
    "SELECT printf('snapshot %d: impossible state %s or name', id, quote(state)) FROM snapshot WHERE"
    " state NOT IN (0, 1, 2) OR (name IS NULL) <> (state = 2)",
    "SELECT printf('chunk %d: in the table of equal chunks, but it does not exist', chunk) FROM dedup"
    " WHERE NOT EXISTS (SELECT 1 FROM chunk c WHERE c.id = dedup.chunk)",
    "SELECT printf('chunk %d: in the table of equal chunks with an impossible hash', chunk) FROM dedup"
    " WHERE typeof(hash) <> 'blob' OR length(hash) <> 24",
    /* counters */
    "SELECT printf('pack %d: %s live bytes counted, %d found', p.id, quote(p.live),"
    " coalesce(a.n, 0)) FROM pack p LEFT JOIN alive a ON a.pack = p.id"
    " WHERE p.live IS NOT coalesce(a.n, 0)",
    "SELECT printf('pack %d: has chunks, but no row', pack) FROM alive a WHERE"
    " NOT EXISTS (SELECT 1 FROM pack p WHERE p.id = a.pack)",
    "SELECT printf('stored bytes: %d counted, %d found', stored, n) FROM meta, (SELECT"
    " coalesce(sum(stored_len), 0) AS n FROM chunk WHERE refs > 0) WHERE stored <> n",
    "SELECT printf('bytes held by snapshots: %d counted, %d found', held, n) FROM meta, (SELECT"
    " coalesce(sum(stored_len), 0) AS n FROM chunk WHERE refs = 0) WHERE held <> n",
    "SELECT printf('next chunk %d is in use (%d)', next_chunk, n) FROM meta, (SELECT max(id) AS n"
    " FROM chunk) WHERE next_chunk <= n",
    "SELECT printf('next pack %d is in use (%d)', next_pack, n) FROM meta, (SELECT max(pack) AS n"
    " FROM chunk) WHERE next_pack <= n AND n > 0",
};

static void sql_name_cookie(sqlite3_context *ctx, int argc, sqlite3_value **argv)
{
    const char *name = sqlite3_value_blob(argv[0]);

    if (name)
        sqlite3_result_int64(
            ctx, (sqlite3_int64)index_name_cookie(name, (size_t)sqlite3_value_bytes(argv[0])));
}

static int add_functions(struct check *ck)
{
    return sqlite3_create_function(ck->conn->db, "name_cookie", 1, SQLITE_UTF8, NULL, sql_name_cookie, NULL,
                                   NULL)
               ? -ENOMEM
               : 0;
}

static int exec(struct check *ck, const char *text)
{
    int code = sqlite3_exec(ck->conn->db, text, NULL, NULL, NULL);

    return code ? check_sql_error(ck, code, text) : 0;
}

static int run_query(struct check *ck, const char *text)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(ck->conn->db, text, -1, &st, NULL);

    while (!code && (code = sqlite3_step(st)) == SQLITE_ROW) {
        const char *p = (const char *)sqlite3_column_text(st, 0);
        check_problem(ck, "%s", p ? p : "index: a row that cannot be told");
        code = 0;
    }
    int rc = code == SQLITE_DONE ? 0 : check_sql_error(ck, code, text);
    sqlite3_finalize(st);
    return rc;
}

/* SQLite's own idea of its pages: of the database itself, not of what is attached. *end: a page is in the tree twice, or more
 * often: then reading a table may have no end, and nothing else is looked at. */
static int check_pages(struct check *ck, bool *end)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(ck->conn->db, "PRAGMA main.integrity_check", -1, &st, NULL);

    while (!code && (code = sqlite3_step(st)) == SQLITE_ROW) {
        const char *p = (const char *)sqlite3_column_text(st, 0);
        if (p && strcmp(p, "ok") != 0)
            check_problem(ck, "index: %s", p);
        *end |= p && strstr(p, "2nd reference to page");
        code = 0;
    }
    int rc = code == SQLITE_DONE ? 0 : check_sql_error(ck, code, "integrity_check");
    sqlite3_finalize(st);
    return rc;
}

/* Each inode row must be one that the server would accept. */
static int check_inodes(struct check *ck)
{
    sqlite3_stmt *st = NULL;
    struct vattr a;
    int code = sqlite3_prepare_v2(ck->conn->db, "SELECT " INODE_COLUMNS " FROM inode i", -1, &st,
                                  NULL);

    while (!code && (code = sqlite3_step(st)) == SQLITE_ROW) {
        ck->rep->inodes++;
        if (!index_row_inode(st, 0, &a))
            check_problem(ck, "inode %lld: impossible attributes",
                    (long long)sqlite3_column_int64(st, 0));
        code = 0;
    }
    int rc = code == SQLITE_DONE ? 0 : check_sql_error(ck, code, "inodes");
    sqlite3_finalize(st);
    return rc;
}

static int count_rows(struct check *ck, const char *text, uint64_t *out)
{
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(ck->conn->db, text, -1, &st, NULL), rc = 0;

    if (!code)
        code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        *out = (uint64_t)sqlite3_column_int64(st, 0);
    else
        rc = check_sql_error(ck, code, text);
    sqlite3_finalize(st);
    return rc;
}

#define EXEC_ALL(ck, rc, fn, list)                                                                 \
    for (size_t i_ = 0; !(rc) && i_ < sizeof(list) / sizeof(*(list)); i_++)                        \
    (rc) = fn(ck, (list)[i_])

/* The tables of a tree. */
static int check_tree(struct check *ck)
{
    int rc = 0;

    EXEC_ALL(ck, rc, exec, prepare_tree);
    if (!rc)
        rc = check_inodes(ck);
    EXEC_ALL(ck, rc, run_query, tree_sql);
    return rc;
}

int check_rows(struct check *ck)
{
    bool end = false;
    int rc = add_functions(ck);

    if (!rc)
        rc = exec(ck, "PRAGMA temp_store = FILE; BEGIN");
    if (!rc)
        rc = check_pages(ck, &end);
    if (rc || end)
        goto out;
    rc = count_rows(ck, "SELECT count(*) FROM dirent", &ck->rep->dirents);
    if (!rc)
        rc = count_rows(ck, "SELECT count(*) FROM extent", &ck->rep->extents);
    EXEC_ALL(ck, rc, exec, prepare_volume);
    if (!rc)
        rc = check_tree(ck);
    EXEC_ALL(ck, rc, run_query, volume_sql);
    if (!rc)
        rc = check_chunks(ck);
out:
    sqlite3_exec(ck->conn->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* In one transaction over the snapshot's database and the index: a server may destroy it meanwhile. */
int check_snapshot_rows(struct check *ck, uint64_t id)
{
    char text[128];
    uint64_t there = 0;
    bool end = false;
    int rc = add_functions(ck);

    snprintf(text, sizeof(text), "SELECT count(*) FROM snapshot WHERE id = %llu AND state = 1",
             (unsigned long long)id);
    if (!rc)
        rc = exec(ck, "PRAGMA temp_store = FILE; BEGIN");
    if (!rc)
        rc = count_rows(ck, text, &there);
    if (!rc && there)
        rc = check_pages(ck, &end);
    if (rc || !there || end)
        goto out;
    snprintf(text, sizeof(text), "CREATE TEMP TABLE this AS SELECT %llu AS id", (unsigned long long)id);
    rc = exec(ck, text);
    EXEC_ALL(ck, rc, exec, prepare_snapshot);
    if (!rc)
        rc = check_tree(ck);
    EXEC_ALL(ck, rc, run_query, snapshot_sql);
out:
    sqlite3_exec(ck->conn->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}
