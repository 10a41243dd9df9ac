/* SPDX-License-Identifier: Apache-2.0
 * repair_fix: the statements that make a new index agree with itself. Each returns one sentence per row changed.
 *
 * Order matters: rows that are impossible by themselves; then inodes for what has none; then names; then lost+found;
 * then references, and last all counters, from what is there by then.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "server/store/repair_int.h"

struct column {
    const char *table, *key, *name;
    int64_t min, max;
    const char *value; /* when it is impossible */
};

#define U32 4294967295
#define I64 INT64_MAX

static const struct column columns[] = {
    {"meta", "id", "next_ino", 2, I64 / 2, "2"},
    {"meta", "id", "next_chunk", 1, I64 / 2, "1"},
    {"meta", "id", "next_pack", 1, U32 / 2, "1"},
    {"meta", "id", "next_gen", 1, U32, "2"},
    {"meta", "id", "txg", 0, I64 / 2, "0"},
    {"meta", "id", "files", 0, I64, "0"},
    {"meta", "id", "logical", 0, I64, "0"},
    {"meta", "id", "stored", 0, I64, "0"},
    {"meta", "id", "held", 0, I64, "0"},
    {"meta", "id", "codec", 0, VOLUME_ZSTD, "1"},
    {"meta", "id", "level", 0, 19, "1"},
    {"meta", "id", "quota_bytes", 0, I64, "0"},
    {"meta", "id", "quota_files", 0, I64, "0"},
    {"meta", "id", "readonly", 0, 1, "0"},
    {"meta", "id", "snap_seq", 0, (INT64_C(1) << 23) - 1, "0"},
    {"meta", "id", "dedup", 0, 1, "0"},
    {"meta", "id", "recompress", 0, 19, "0"},
    {"meta", "id", "snapdir", 0, 1, "0"},
    {"chunk", "id", "flags", 0, CHUNK_LATER, "0"},
    {"inode", "ino", "type", 1, IT_SOCK,
     "CASE WHEN ino IN (SELECT ino FROM symlink) THEN 3 WHEN ino = 1 OR ino IN (SELECT dir FROM dirent) THEN 2"
     " ELSE 1 END"},
    {"inode", "ino", "gen", 0, U32, "1"},
    {"inode", "ino", "mode", 0, 07777, "448"},
    {"inode", "ino", "nlink", 0, U32, "1"},
    {"inode", "ino", "uid", 0, U32, "0"},
    {"inode", "ino", "gid", 0, U32, "0"},
    {"inode", "ino", "rmajor", 0, U32, "0"},
    {"inode", "ino", "rminor", 0, U32, "0"},
    {"inode", "ino", "size", 0, I64 / 2,
     "(SELECT coalesce(max(e.off + e.len), 0) FROM extent e WHERE e.ino = inode.ino)"},
    {"inode", "ino", "used", 0, I64 / 2, "0"},
    {"inode", "ino", "change", 0, I64, "1"},
    {"inode", "ino", "parent", 0, I64, "0"},
    {"inode", "ino", "atime", INT64_MIN, I64, "0"},
    {"inode", "ino", "mtime", INT64_MIN, I64, "0"},
    {"inode", "ino", "ctime", INT64_MIN, I64, "0"},
    {"inode", "ino", "btime", INT64_MIN, I64, "0"},
    {"inode", "ino", "verf", INT64_MIN, I64, "0"},
};

static const char *const row_fixes[] = {
    "DELETE FROM inode WHERE ino < 1 RETURNING printf('inode %d: not a number of one', ino)",
    "UPDATE inode SET type = 2 WHERE ino = 1 AND type <> 2 RETURNING 'the root is a directory again'",
    /* extents */
    "DELETE FROM extent WHERE ino < 1 OR off < 0 OR off >= 4611686018427387903 OR typeof(len) <> 'integer' OR len < 1 OR"
    " off % 131072 + len > 131072 OR typeof(chunk_off) <> 'integer' OR chunk_off NOT BETWEEN 0 AND 131071 OR"
    " typeof(chunk) <> 'integer' OR chunk < 1 RETURNING"
    " printf('%s: an impossible extent at byte %d', pathof(ino), off)",
    "DELETE FROM extent WHERE EXISTS (SELECT 1 FROM extent o WHERE o.ino = extent.ino AND o.off > extent.off - 131072 AND"
    " o.off < extent.off + extent.len AND o.off + o.len > extent.off AND o.off <> extent.off AND (o.chunk > extent.chunk OR"
    " (o.chunk = extent.chunk AND o.off < extent.off))) RETURNING printf('%s: an extent at byte %d with data that a"
    " younger one replaces', pathof(ino), off)",
    /* names */
    "DELETE FROM dirent WHERE dir < 1 OR typeof(ino) <> 'integer' OR ino < 2 OR typeof(name) <> 'blob' OR length(name) NOT"
    " BETWEEN 1 AND 255 OR instr(name, x'2f') OR instr(name, x'00') OR name IN (x'2e', x'2e2e') RETURNING"
    " printf('%s: an impossible name for inode %s', pathof(dir), quote(ino))",
    "DELETE FROM dirent WHERE EXISTS (SELECT 1 FROM dirent e WHERE e.dir = dirent.dir AND e.cookie < dirent.cookie AND"
    " e.cookie >= (dirent.cookie & ~7) AND e.name = dirent.name) RETURNING"
    " printf('%s: the name %s twice', pathof(dir), showname(name))",
    "UPDATE OR IGNORE dirent SET cookie = name_cookie(name) WHERE (cookie & ~7) IS NOT name_cookie(name) RETURNING"
    " printf('%s/%s: cookie', pathof(dir), showname(name))",
    "DELETE FROM dirent WHERE (cookie & ~7) IS NOT name_cookie(name) RETURNING"
    " printf('%s: a name in the place of another, for inode %d', pathof(dir), ino)",
    /* snapshots */
    "UPDATE snapshot SET state = 2, name = NULL WHERE typeof(state) <> 'integer' OR state NOT IN (0, 1, 2) OR (state = 2 AND"
    " name IS NOT NULL) RETURNING printf('snapshot %d: impossible state; it is being destroyed', id)",
    "UPDATE snapshot SET name = 'recovered-' || id WHERE state <> 2 AND (typeof(name) <> 'text' OR length(CAST(name AS BLOB))"
    " NOT BETWEEN 1 AND 63 OR name GLOB '*[^A-Za-z0-9._:-]*') RETURNING printf('snapshot %d: its name is %s now', id, name)",
    "UPDATE snapshot SET created = 0, files = 0, logical = 0, stored = 0 WHERE typeof(created) <> 'integer' OR"
    " typeof(files) <> 'integer' OR typeof(logical) <> 'integer' OR typeof(stored) <> 'integer' OR min(files, logical,"
    " stored) < 0 RETURNING printf('snapshot %d: impossible figures', id)",
    "UPDATE meta SET snap_seq = (SELECT max(id) FROM snapshot) WHERE snap_seq < (SELECT max(id) FROM snapshot) RETURNING"
    " 'the number of the newest snapshot'",
    /* links, attributes */
    "DELETE FROM xattr WHERE typeof(ino) <> 'integer' OR typeof(name) <> 'blob' OR length(name) NOT BETWEEN 1 AND 255 OR"
    " typeof(value) <> 'blob' OR length(value) > 65536 RETURNING"
    " printf('%s: an impossible extended attribute', pathof(ino))",
    "DELETE FROM symlink WHERE typeof(target) <> 'blob' OR length(target) NOT BETWEEN 1 AND 4095 RETURNING"
    " printf('%s: an impossible link target', pathof(ino))",
};

#define NEW_INODE(type, mode, size)                                                                    \
    ", (SELECT next_gen FROM meta), " type ", " mode ", 1, (SELECT coalesce(max(uid), 0) FROM inode WHERE ino = 1)," \
    " (SELECT coalesce(max(gid), 0) FROM inode WHERE ino = 1), 0, 0, " size ", 0, 1, 0, nowns(), nowns(), nowns(), nowns(), 0 "

static const char *const tree_fixes[] = {
    /* inodes that must be */
    "INSERT INTO inode SELECT 1" NEW_INODE("2", "448", "0") "WHERE NOT EXISTS (SELECT 1 FROM inode WHERE ino = 1)"
    " RETURNING 'the root directory was missing; it belongs to user 0 now'",
    "INSERT INTO inode SELECT dir" NEW_INODE("2", "448", "0") "FROM dirent WHERE dir NOT IN (SELECT ino FROM inode)"
    " GROUP BY dir RETURNING printf('inode %d: a directory with names, but without attributes', ino)",
    "INSERT INTO inode SELECT ino" NEW_INODE("3", "511", "length(target)") "FROM symlink WHERE ino > 1 AND ino NOT IN (SELECT"
    " ino FROM inode) RETURNING printf('%s: a symbolic link without attributes', pathof(ino))",
    "INSERT INTO inode SELECT ino" NEW_INODE("1", "384", "max(off + len)") "FROM extent WHERE ino > 1 AND ino NOT IN (SELECT"
    " ino FROM inode) GROUP BY ino RETURNING printf('%s: a file with data, but without attributes', pathof(ino))",
    /* what is of the wrong type */
    "DELETE FROM extent WHERE ino NOT IN (SELECT ino FROM inode WHERE type = 1) RETURNING"
    " printf('%s: an extent, but no file', pathof(ino))",
    "DELETE FROM dirent WHERE dir NOT IN (SELECT ino FROM inode WHERE type = 2) RETURNING"
    " printf('inode %d: the name %s in what is no directory', dir, showname(name))",
    "DELETE FROM symlink WHERE ino NOT IN (SELECT ino FROM inode WHERE type = 3) RETURNING"
    " printf('%s: a link target, but no symbolic link', pathof(ino))",
    "INSERT INTO symlink SELECT ino, CAST('(lost)' AS BLOB) FROM inode WHERE type = 3 AND ino NOT IN (SELECT ino FROM"
    " symlink) RETURNING printf('%s: a symbolic link without target: it leads to (lost) now', pathof(ino))",
    "DELETE FROM xattr WHERE ino NOT IN (SELECT ino FROM inode) RETURNING"
    " printf('inode %d: an extended attribute, but no inode', ino)",
    "DELETE FROM dirent WHERE ino NOT IN (SELECT ino FROM inode) RETURNING"
    " printf('%s/%s: the name of inode %d, which does not exist', pathof(dir), showname(name), ino)",
    /* a directory has one name */
    "DELETE FROM dirent WHERE ino IN (SELECT ino FROM inode WHERE type = 2) AND EXISTS (SELECT 1 FROM dirent e JOIN inode i"
    " ON i.ino = e.ino WHERE e.ino = dirent.ino AND (e.dir <> dirent.dir OR e.cookie <> dirent.cookie) AND (e.dir ="
    " i.parent) * 2 + (e.dir < dirent.dir OR (e.dir = dirent.dir AND e.cookie < dirent.cookie)) > (dirent.dir = i.parent)"
    " * 2) RETURNING printf('%s/%s: a second name of directory %d', pathof(dir), showname(name), ino)",
    /* orphans */
    "DELETE FROM orphan WHERE ino NOT IN (SELECT ino FROM inode) OR ino IN (SELECT ino FROM dirent) OR ino = 1 RETURNING"
    " printf('%s: not an orphan', pathof(ino))",
};

/* Directories in a ring get their names taken: one a ring, then all of it hangs in lost+found. */
static const char unring[] =
    "DELETE FROM dirent WHERE ino = (WITH RECURSIVE r(ino) AS (SELECT 1 UNION SELECT i.ino FROM inode i WHERE i.type = 2"
    " AND i.ino NOT IN (SELECT ino FROM dirent) UNION SELECT d.ino FROM r JOIN dirent d ON d.dir = r.ino JOIN inode i ON"
    " i.ino = d.ino AND i.type = 2) SELECT min(i.ino) FROM inode i WHERE i.type = 2 AND i.ino NOT IN r) RETURNING"
    " printf('directory %d, called %s: among those below itself', ino, showname(name))";

static const char *const count_fixes[] = {
    "UPDATE inode SET nlink = 0 WHERE ino IN (SELECT ino FROM orphan) AND nlink <> 0 RETURNING"
    " printf('inode %d: an orphan with links', ino)",
    "UPDATE inode SET nlink = (SELECT count(*) FROM dirent d WHERE d.ino = inode.ino) WHERE type <> 2 AND nlink <> (SELECT"
    " count(*) FROM dirent d WHERE d.ino = inode.ino) RETURNING printf('%s: link count is %d now', pathof(ino), nlink)",
    "UPDATE inode SET nlink = 2 + (SELECT count(*) FROM dirent d JOIN inode i ON i.ino = d.ino WHERE d.dir = inode.ino AND"
    " i.type = 2) WHERE type = 2 AND ino NOT IN (SELECT ino FROM orphan) AND nlink <> 2 + (SELECT count(*) FROM dirent d"
    " JOIN inode i ON i.ino = d.ino WHERE d.dir = inode.ino AND i.type = 2) RETURNING"
    " printf('%s: link count is %d now', pathof(ino), nlink)",
    "UPDATE inode SET parent = (SELECT dir FROM dirent d WHERE d.ino = inode.ino) WHERE type = 2 AND ino <> 1 AND EXISTS"
    " (SELECT 1 FROM dirent d WHERE d.ino = inode.ino AND d.dir <> inode.parent) RETURNING"
    " printf('%s: its parent is inode %d now', pathof(ino), parent)",
    "UPDATE inode SET used = (SELECT coalesce(sum(len), 0) FROM extent e WHERE e.ino = inode.ino) WHERE type = 1 AND used <>"
    " (SELECT coalesce(sum(len), 0) FROM extent e WHERE e.ino = inode.ino) RETURNING"
    " printf('%s: uses %d bytes', pathof(ino), used)",
    /* chunks */
    "UPDATE chunk SET birth = 1 WHERE typeof(birth) <> 'integer' OR birth NOT BETWEEN 1 AND (SELECT snap_seq + 1 FROM meta) OR"
    " birth > (SELECT first FROM temp.snapuse s WHERE s.chunk = chunk.id) RETURNING printf('chunk %d: birth', id)",
    "UPDATE chunk SET refs = (SELECT n FROM temp.uses u WHERE u.chunk = chunk.id) WHERE refs IS NOT (SELECT n FROM temp.uses u"
    " WHERE u.chunk = chunk.id) AND id IN (SELECT chunk FROM temp.uses) RETURNING"
    " printf('chunk %d: %d references', id, refs)",
    "UPDATE chunk SET refs = 0 WHERE refs IS NOT 0 AND id NOT IN (SELECT chunk FROM temp.uses) RETURNING"
    " printf('chunk %d: no references', id)",
    "DELETE FROM dead WHERE NOT EXISTS (SELECT 1 FROM chunk c WHERE c.id = dead.chunk AND c.refs = 0 AND c.birth ="
    " dead.birth) OR EXISTS (SELECT 1 FROM temp.snapuse s WHERE s.chunk = dead.chunk AND s.last >= dead.death) OR NOT"
    " EXISTS (SELECT 1 FROM snapshot s WHERE s.id >= dead.birth AND s.id < dead.death) OR EXISTS (SELECT 1 FROM dead d"
    " WHERE d.chunk = dead.chunk AND d.death > dead.death) RETURNING printf('chunk %d: not dead, or not so', chunk)",
    "INSERT INTO dead SELECT (SELECT snap_seq + 1 FROM meta), c.birth, c.id FROM chunk c WHERE c.refs = 0 AND EXISTS (SELECT 1"
    " FROM snapshot s WHERE s.id >= c.birth) AND c.id NOT IN (SELECT chunk FROM dead) RETURNING"
    " printf('chunk %d: kept for snapshots', chunk)",
    "DELETE FROM chunk WHERE refs = 0 AND id NOT IN (SELECT chunk FROM dead) RETURNING"
    " printf('chunk %d: damaged, and nothing refers to it', id)",
    "DELETE FROM blob WHERE chunk NOT IN (SELECT id FROM chunk WHERE pack = 0)",
    "DELETE FROM dedup WHERE chunk NOT IN (SELECT id FROM chunk) RETURNING printf('chunk %d: among the equal ones, but it does"
    " not exist', chunk)",
    "DELETE FROM dedup WHERE typeof(hash) <> 'blob' OR length(hash) <> 24 RETURNING printf('chunk %d: an impossible hash', chunk)",
    /* counters */
    "INSERT INTO pack SELECT pack, 0, 0, 0 FROM chunk WHERE pack <> 0 AND pack NOT IN (SELECT id FROM pack) GROUP BY pack"
    " RETURNING printf('pack %d: had no row', id)",
    "UPDATE pack SET live = (SELECT coalesce(sum(stored_len), 0) FROM chunk c WHERE c.pack = pack.id) WHERE live IS NOT"
    " (SELECT coalesce(sum(stored_len), 0) FROM chunk c WHERE c.pack = pack.id) RETURNING"
    " printf('pack %d: %d live bytes', id, live)",
    "UPDATE pack SET size = 0, state = 0 WHERE typeof(size) <> 'integer' OR typeof(state) <> 'integer' RETURNING"
    " printf('pack %d: impossible figures', id)",
    "UPDATE meta SET files = (SELECT count(*) - 1 FROM inode) WHERE files <> (SELECT count(*) - 1 FROM inode) RETURNING"
    " printf('%d files counted', files)",
    "UPDATE meta SET logical = (SELECT coalesce(sum(len), 0) FROM extent) WHERE logical <> (SELECT coalesce(sum(len), 0) FROM"
    " extent) RETURNING printf('%d logical bytes counted', logical)",
    "UPDATE meta SET stored = (SELECT coalesce(sum(stored_len), 0) FROM chunk WHERE refs > 0) WHERE stored <> (SELECT"
    " coalesce(sum(stored_len), 0) FROM chunk WHERE refs > 0) RETURNING printf('%d stored bytes counted', stored)",
    "UPDATE meta SET held = (SELECT coalesce(sum(stored_len), 0) FROM chunk WHERE refs = 0) WHERE held <> (SELECT"
    " coalesce(sum(stored_len), 0) FROM chunk WHERE refs = 0) RETURNING printf('%d bytes held by snapshots', held)",
    "UPDATE meta SET next_ino = (SELECT max(ino) + 1 FROM inode) WHERE next_ino <= (SELECT max(ino) FROM inode) RETURNING"
    " printf('the next inode is %d', next_ino)",
    "UPDATE meta SET next_chunk = (SELECT max(id) + 1 FROM chunk) WHERE next_chunk <= (SELECT max(id) FROM chunk) RETURNING"
    " printf('the next chunk is %d', next_chunk)",
    "UPDATE meta SET next_pack = (SELECT max(pack) + 1 FROM chunk) WHERE next_pack <= (SELECT max(pack) FROM chunk) RETURNING"
    " printf('the next pack is %d', next_pack)",
};

#define RUN_ALL(r, rc, list)                                                                           \
    for (size_t i_ = 0; !(rc) && i_ < sizeof(list) / sizeof(*(list)); i_++)                            \
    (rc) = repair_run(r, (list)[i_], true)

int repair_rows(struct repair *r)
{
    int rc = 0;

    for (size_t i = 0; !rc && i < sizeof(columns) / sizeof(*columns); i++) {
        const struct column *c = &columns[i];
        char *text = sqlite3_mprintf("UPDATE %s SET %s = %s WHERE typeof(%s) <> 'integer' OR %s NOT BETWEEN %lld AND %lld"
                                     " RETURNING printf('%s %%d: impossible %s; it is %%d now', %s, %s)",
                                     c->table, c->name, c->value, c->name, c->name, (long long)c->min,
                                     (long long)c->max, c->table, c->name, c->key, c->name);
        rc = text ? repair_run(r, text, true) : -ENOMEM;
        sqlite3_free(text);
    }
    RUN_ALL(r, rc, row_fixes);
    return rc;
}

/* --- lost+found --- */

/* Numbers and a name that nobody has. */
static int lost_folder(struct repair *r, int64_t *ino)
{
    char text[512];
    int rc = repair_int(r, "SELECT coalesce(max(d.ino), 0) FROM dirent d JOIN inode i ON i.ino = d.ino WHERE d.dir = 1 AND"
                           " d.name = CAST('lost+found' AS BLOB) AND i.type = 2",
                        ino);

    if (rc || *ino)
        return rc;
    rc = repair_int(r, "SELECT max(next_ino, (SELECT max(ino) + 1 FROM inode)) FROM meta", ino);
    if (!rc && (uint64_t)*ino < r->jino)
        *ino = (int64_t)r->jino;
    snprintf(text, sizeof(text), "INSERT INTO inode SELECT %lld" NEW_INODE("2", "448", "0") "RETURNING 'lost+found in the root'",
             (long long)*ino);
    if (!rc)
        rc = repair_run(r, text, true);
    /* if the name is taken, by a file, the folder gets another */
    snprintf(text, sizeof(text),
             "INSERT INTO dirent SELECT 1, freecookie(1, n), n, %lld FROM (SELECT CAST(iif(EXISTS (SELECT 1 FROM dirent"
             " WHERE dir = 1 AND name = CAST('lost+found' AS BLOB)), 'lost+found-%lld', 'lost+found') AS BLOB) AS n)",
             (long long)*ino, (long long)*ino);
    return rc ? rc : repair_exec(r, text);
}

/* Names for inodes without one, and files for chunks that nothing refers to. */
static int find_lost(struct repair *r)
{
    static const char nameless[] =
        "FROM inode i WHERE i.ino <> 1 AND i.ino NOT IN (SELECT ino FROM dirent) AND i.ino NOT IN (SELECT ino FROM orphan)";
    static const char unused[] =
        "FROM chunk c WHERE c.id NOT IN (SELECT chunk FROM extent) AND c.id NOT IN (SELECT chunk FROM dead) AND c.id NOT IN"
        " (SELECT chunk FROM temp.snapuse) AND c.id NOT IN (SELECT id FROM temp.bad) AND NOT EXISTS (SELECT 1 FROM"
        " snapshot s WHERE s.id >= c.birth)";
    int64_t inodes = 0, chunks = 0, dir = 0;
    char text[2048];
    int rc;

    snprintf(text, sizeof(text), "SELECT count(*) %s", nameless);
    rc = repair_int(r, text, &inodes);
    snprintf(text, sizeof(text), "SELECT count(*) %s", unused);
    if (!rc)
        rc = repair_int(r, text, &chunks);
    if (rc || !(inodes + chunks))
        return rc;
    rc = lost_folder(r, &dir);
    snprintf(text, sizeof(text),
             "CREATE TEMP TABLE stray AS SELECT c.id AS chunk, c.len AS len, row_number() OVER (ORDER BY c.id) + max(%lld,"
             " (SELECT max(ino) FROM inode), (SELECT next_ino FROM meta), %lld) AS ino %s",
             (long long)dir, (long long)r->jino, unused);
    if (!rc)
        rc = repair_exec(r, text);
    if (!rc)
        rc = repair_exec(r, "INSERT INTO inode SELECT ino" NEW_INODE("1", "384", "len") "FROM temp.stray");
    if (!rc)
        rc = repair_exec(r, "INSERT INTO extent SELECT ino, 0, len, chunk, 0 FROM temp.stray");
    snprintf(text, sizeof(text),
             "INSERT INTO dirent SELECT %lld, freecookie(%lld, n), n, ino FROM (SELECT ino, CAST('chunk-' || chunk AS BLOB)"
             " AS n FROM temp.stray) RETURNING printf('lost+found/%%s: data that no file had', showname(name))",
             (long long)dir, (long long)dir);
    if (!rc)
        rc = repair_run(r, text, true);
    snprintf(text, sizeof(text),
             "INSERT INTO dirent SELECT %lld, freecookie(%lld, n), n, ino FROM (SELECT ino, CAST('inode-' || ino AS BLOB)"
             " AS n %s AND i.ino <> %lld) RETURNING printf('lost+found/%%s: had no name', showname(name))",
             (long long)dir, (long long)dir, nameless, (long long)dir);
    return rc ? rc : repair_run(r, text, true);
}

int repair_tree(struct repair *r)
{
    int64_t before = -1, now = 0;
    int rc = 0;

    RUN_ALL(r, rc, tree_fixes);
    while (!rc && now != before) {
        before = now;
        rc = repair_run(r, unring, true);
        now = (int64_t)r->rep->repaired;
    }
    if (!rc)
        rc = find_lost(r);
    if (!rc)
        rc = repair_exec(r, "CREATE TEMP TABLE uses(chunk INTEGER PRIMARY KEY, n); INSERT INTO temp.uses SELECT chunk,"
                            " count(*) FROM extent GROUP BY chunk");
    RUN_ALL(r, rc, count_fixes);
    return rc;
}
