/* SPDX-License-Identifier: Apache-2.0
 * rebuild: what an index can be made of when there is none: the newest snapshot's tree, packs, the journal.
 *
 * A record in a pack says which inode and offset its bytes were written to. Of two that overlap, the one with the higher
 * chunk id has what was written later (repack.c, R6), so records younger than the snapshot (all, if there is none) are mapped
 * in the order of their ids. What was removed or cut off since comes back;
 * names that are younger than the snapshot are lost, but for those that the journal still has, which is applied afterwards.
 * Chunks that the journal itself maps are left to it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "server/store/repair_int.h"

/* --- snapshots --- */

static int add_snapshot(struct repair *r, uint64_t id, const char *path, int64_t mtime)
{
    struct index *ix = NULL;
    struct index_meta m;
    char text[256];
    int rc = index_open_snapshot(path, r->ix->path, path, true, &ix);

    if (!rc)
        rc = index_get_meta(ix, &m);
    index_close(ix);
    if (rc == -ENOMEM)
        return rc;
    if (rc) {
        repair_left(r, "snapshot %llu: its database cannot be read", (unsigned long long)id);
        return 0;
    }
    snprintf(text, sizeof(text),
             "INSERT OR IGNORE INTO snapshot VALUES(%llu, 'recovered-%llu', %lld, 1, %llu, %llu, %llu) RETURNING"
             " printf('snapshot %%d: found; its name is %%s now', id, name)",
             (unsigned long long)id, (unsigned long long)id, (long long)mtime, (unsigned long long)m.files,
             (unsigned long long)m.logical, (unsigned long long)m.stored);
    return repair_run(r, text, true);
}

int rebuild_snapshots(struct repair *r)
{
    char path[4096];
    struct dirent *de;
    int rc = 0;

    snprintf(path, sizeof(path), "%s/snapshots", r->dir);
    DIR *d = opendir(path);
    if (!d)
        return errno == ENOENT ? 0 : -errno;
    while (!rc && (de = readdir(d))) {
        struct stat st;
        char *end;
        unsigned long long id = strtoull(de->d_name, &end, 16);
        if (end != de->d_name + 16 || strcmp(end, ".db") || id == 0 || id >= UINT64_C(1) << 23)
            continue;
        snprintf(path, sizeof(path), "%s/snapshots/%s", r->dir, de->d_name);
        if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
            rc = add_snapshot(r, id, path, (int64_t)st.st_mtime);
    }
    closedir(d);
    return rc;
}

int rebuild(struct repair *r)
{
    char path[4096];
    int64_t base = 0;
    int rc = rebuild_snapshots(r);

    if (!rc)
        rc = repair_int(r, "SELECT coalesce(max(id), 0) FROM snapshot", &base);
    if (rc || !base)
        return rc;
    snprintf(path, sizeof(path), "%s/snapshots/%016llx.db", r->dir, (unsigned long long)base);
    repair_did(r, "names and attributes are those of snapshot %lld", (long long)base);
    rc = salvage(r, path, true);
    if (!rc)
        rc = repair_exec(r, "UPDATE meta SET snap_seq = (SELECT max(id) FROM snapshot), held = 0");
    r->gaps = true; /* packs are kept */
    return rc;
}

/* --- extents --- */

#define IN_PLACE " rec.ino > 1 AND rec.off % 131072 + rec.len <= 131072 AND rec.off < 4611686018427000000 "

/* What the snapshot has at their places goes, as in a volume: so its chunks have to have their references, and the lost
 * ones rows, as long as that takes. All of it is counted anew afterwards. */
static const char before_mapping[] =
    "UPDATE chunk SET refs = u.n FROM (SELECT chunk, count(*) AS n FROM extent GROUP BY chunk) u WHERE u.chunk = chunk.id;"
    "CREATE TEMP TABLE gone AS SELECT chunk, count(*) AS n FROM extent WHERE chunk NOT IN (SELECT id FROM chunk) GROUP BY chunk;"
    "INSERT INTO chunk SELECT chunk, 0, 0, 131072, 131072, 0, 0, n, 1, 0 FROM temp.gone";
static const char after_mapping[] = "DELETE FROM chunk WHERE id IN (SELECT chunk FROM temp.gone);"
                                    "DELETE FROM dead WHERE chunk IN (SELECT chunk FROM temp.gone)";

static int map_younger(struct repair *r)
{
    static const char text[] =
        "SELECT rec.id, rec.pack, rec.pack_off, rec.stored_len, rec.len, rec.codec, rec.checksum, rec.ino, rec.off FROM"
        " temp.rec WHERE" IN_PLACE "AND rec.id >= (SELECT next_chunk FROM meta) AND rec.id NOT IN temp.jchunk AND rec.id NOT"
        " IN (SELECT id FROM chunk) ORDER BY rec.id";
    struct index_delta d = {0};
    sqlite3_stmt *st = NULL;
    int rc = repair_exec(r, before_mapping), code = sqlite3_prepare_v2(r->db, text, -1, &st, NULL);

    while (!rc && !code && (code = sqlite3_step(st)) == SQLITE_ROW) {
        struct chunk c;
        code = 0;
        if (index_row_chunk(st, 0, &c))
            rc = index_map(r->ix, (uint64_t)sqlite3_column_int64(st, 7), (uint64_t)sqlite3_column_int64(st, 8), &c, NULL, &d);
    }
    if (!rc && code != SQLITE_DONE)
        rc = index_error(r->ix, r->db, code, "records");
    sqlite3_finalize(st);
    if (!rc)
        rc = repair_exec(r, after_mapping);
    if (!rc)
        rc = index_flush_live(r->ix);
    return rc;
}

int rebuild_extents(struct repair *r)
{
    int rc = repair_inventory(r);

    if (!rc && r->opt->rebuild) {
        rc = map_younger(r);
        if (!rc) /* those without a place of their own become files in lost+found */
            rc = repair_exec(r, "INSERT OR IGNORE INTO chunk SELECT id, pack, pack_off, stored_len, len, codec, checksum, 0,"
                                " (SELECT snap_seq + 1 FROM meta), 0 FROM temp.rec WHERE NOT (" IN_PLACE ") AND id >="
                                " (SELECT next_chunk FROM meta) AND id NOT IN temp.jchunk");
        if (!rc) /* numbers in packs are not given out again */
            rc = repair_exec(r, "UPDATE meta SET next_chunk = max(next_chunk, (SELECT coalesce(max(id), 0) + 1 FROM temp.rec)),"
                                " next_ino = max(next_ino, (SELECT coalesce(max(ino), 0) + 1 FROM temp.rec))");
        if (!rc)
            rc = repair_run(r,
                            "UPDATE inode SET size = (SELECT max(off + len) FROM extent e WHERE e.ino = inode.ino) WHERE"
                            " type = 1 AND size < (SELECT max(off + len) FROM extent e WHERE e.ino = inode.ino) RETURNING"
                            " printf('%s: %d bytes, from packs', pathof(ino), size)",
                            true);
        return rc;
    }
    if (rc)
        return rc;
    return repair_run(r,
                      "INSERT OR IGNORE INTO extent SELECT rec.ino, rec.off, c.len, c.id, 0 FROM chunk c JOIN temp.rec ON rec.id"
                      " = c.id WHERE c.refs > 0 AND c.id NOT IN (SELECT chunk FROM extent) AND" IN_PLACE "AND NOT EXISTS (SELECT"
                      " 1 FROM extent e WHERE e.ino = rec.ino AND e.off < rec.off + rec.len AND e.off > rec.off - 131072 AND"
                      " e.off + e.len > rec.off) RETURNING printf('%s: bytes %d to %d: found again by their record',"
                      " pathof(ino), off, off + len - 1)",
                      true);
}
