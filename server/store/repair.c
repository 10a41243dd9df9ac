/* SPDX-License-Identifier: Apache-2.0
 * repair: the steps of a repair, and how the new index takes the old one's place (repair.h, R1 to R4).
 *
 *   1 the lock; is there an index that can be read, of a format we know?
 *   2 the journal is applied to it, if it can be (recover);
 *   3 check: nothing found, nothing to do;
 *   4 a new index: rows from the old one (salvage.c), or from snapshots and packs (rebuild.c), made to agree (repair_data.c,
 *     repair_fix.c);
 *   5 the old one gets a second name under damaged/, the new one its name (repair_swap.c);
 *   6 the journal, if it could not be applied before; if it still cannot, it is set aside; then 3 to 5 once more.
 */
#include "server/store/repair.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/fault.h"
#include "server/store/check.h"
#include "server/store/files.h"
#include "server/store/journal.h"
#include "server/store/record.h"
#include "server/store/repair_int.h"
#include "server/store/volume_int.h"

/* --- the old index and the journal --- */

/* 0: its tables are there; -EUCLEAN: they are not; -ENOENT; -ENOTSUP. Brings the WAL into the file. */
static int probe(const char *path)
{
    struct index *ix = index_alloc(path, path);
    int64_t version = 0, tables = 0;
    sqlite3_stmt *st = NULL;
    int rc;

    if (!ix)
        return -ENOMEM;
    rc = access(path, F_OK) ? -errno : index_conn_open(ix, &ix->writer, SQLITE_OPEN_READWRITE, 2048);
    if (!rc)
        rc = index_query_int(ix, ix->writer.db, "PRAGMA user_version", &version);
    if (!rc && version > INDEX_FORMAT)
        rc = -ENOTSUP;
    if (!rc)
        rc = index_query_int(ix, ix->writer.db, "SELECT count(*) FROM sqlite_schema WHERE name IN ('inode', 'dirent',"
                                                " 'extent', 'chunk')", &tables);
    if (!rc && tables != 4)
        rc = -EUCLEAN;
    if (!rc && sqlite3_prepare_v2(ix->writer.db, "SELECT ino, size FROM inode, meta LIMIT 0", -1, &st, NULL))
        rc = -EUCLEAN;
    sqlite3_finalize(st);
    if (!rc)
        sqlite3_wal_checkpoint_v2(ix->writer.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    index_close(ix);
    return rc;
}

/* Would applying the journal do no harm? Packs from next_pack on are removed then. */
static bool next_pack_sane(const char *path, bool *opens)
{
    struct index *ix = NULL;
    int64_t sane = 0;

    *opens = index_open(path, path, &ix) == 0;
    if (!*opens)
        return false;
    int rc = index_query_int(ix, ix->writer.db, "SELECT coalesce(next_pack > (SELECT coalesce(max(pack), 0) FROM chunk), 0)"
                                                " FROM meta", &sane);
    index_close(ix);
    return !rc && sane;
}

/* SQLite's own idea of the file. */
static bool pages_sound(const char *path)
{
    struct index *ix = index_alloc(path, path);
    sqlite3_stmt *st = NULL;
    bool sound = false;

    if (ix && !index_conn_open(ix, &ix->writer, SQLITE_OPEN_READWRITE, 2048) &&
        !sqlite3_prepare_v2(ix->writer.db, "PRAGMA integrity_check(1)", -1, &st, NULL) &&
        sqlite3_step(st) == SQLITE_ROW) {
        const char *p = (const char *)sqlite3_column_text(st, 0);
        sound = p && !strcmp(p, "ok");
    }
    sqlite3_finalize(st);
    index_close(ix);
    return sound;
}

/* As opening the volume would, without using it. The lock is held. */
static int recover(struct repair *r)
{
    struct engine_conf conf = {.cache_size = 16u << 20, .workers = 1, .epoch = 1};
    struct engine *e = NULL;
    struct volume *v;
    struct index_meta meta;
    char *db = path_join(r->dir, "index.db");
    int rc = engine_new(&conf, &e);

    if (rc) {
        free(db);
        return rc;
    }
    v = volume_alloc(e, r->dir, r->dir, 0);
    v->dirfd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    rc = v->dirfd < 0 ? -errno : index_open(db, r->dir, &v->ix);
    if (!rc)
        rc = index_get_meta(v->ix, &meta);
    if (!rc)
        rc = replay(v, r->packs, &meta);
    journal_close(v->journal);
    packset_close(v->ps);
    index_close(v->ix);
    volume_free(v);
    engine_free(e);
    free(db);
    return rc;
}

struct jwalk {
    struct repair *r;
    sqlite3_stmt *st;
};

static void grow(uint64_t *v, uint64_t to)
{
    if (*v < to)
        *v = to;
}

static int note_txg(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    struct jwalk *w = arg;
    struct repair *r = w->r;
    struct txg *t;

    if (lsn <= r->applied || record_get(lsn, payload, len, &t))
        return 0;
    r->jfirst = r->jfirst ? r->jfirst : lsn;
    r->jlast = lsn;
    grow(&r->jino, t->meta.next_ino);
    grow(&r->jchunk, t->meta.next_chunk);
    grow(&r->jgen, t->meta.next_gen);
    grow(&r->jsnap, t->meta.snap_seq);
    if (r->jpack < t->meta.next_pack)
        r->jpack = t->meta.next_pack;
    for (struct rowop *op = t->first; op; op = op->next)
        if (op->type == OP_MAP || op->type == OP_REPACK) {
            bind_u64(w->st, 1, op->chunk.id);
            sqlite3_step(w->st);
            sqlite3_reset(w->st);
        }
    txg_free(NULL, t);
    return 0;
}

/* What the journal is going to bring: the chunks that it maps, in temp.jchunk, and its counters. */
static int scan_journal(struct repair *r)
{
    struct jwalk w = {.r = r};
    struct journal *j = NULL;
    int fd = open(r->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = repair_exec(r, "CREATE TEMP TABLE jchunk(id INTEGER PRIMARY KEY)");

    if (!rc && sqlite3_prepare_v2(r->db, "INSERT OR IGNORE INTO temp.jchunk VALUES(?1)", -1, &w.st, NULL))
        rc = -EIO;
    if (!rc)
        rc = fd < 0 ? -errno : journal_open(fd, r->dir, true, &j);
    if (!rc)
        rc = journal_walk(j, note_txg, &w);
    sqlite3_finalize(w.st);
    journal_close(j);
    if (fd >= 0)
        close(fd);
    return rc == -ENOENT || rc == -EUCLEAN ? 0 : rc;
}

/* --- the new index --- */

static int make_empty(struct repair *r, const char *path)
{
    struct index_meta meta = {.next_ino = 2, .next_chunk = 1, .next_pack = 1, .next_gen = 2};
    struct vattr root = {.ino = 1, .type = IT_DIR, .gen = 1, .mode = 0700, .nlink = 2, .parent = 1, .change = 1};
    static const char *const tails[] = {"", "-wal", "-shm"};
    char name[4096];
    int rc = 0;

    for (size_t i = 0; i < 3 && !rc; i++) {
        snprintf(name, sizeof(name), "%s%s", path, tails[i]);
        rc = unlink(name) && errno != ENOENT ? -errno : 0;
    }
    volume_props_default(&meta.props);
    if (!rc)
        rc = index_create(path, &meta, &root);
    if (!rc)
        rc = index_open(path, r->dir, &r->ix);
    if (rc)
        return rc;
    r->db = r->ix->writer.db;
    rc = repair_functions(r->db);
    return rc ? rc : repair_exec(r, "DELETE FROM meta; DELETE FROM inode");
}

static int count_pack(void *arg, uint32_t pack, uint64_t size)
{
    uint32_t *max = arg;

    *max = pack > *max ? pack : *max;
    return 0;
}

/* There is a meta row, with all next numbers above what the packs and the journal have. */
static int set_meta(struct repair *r)
{
    uint32_t pack = 0;
    int64_t rows = 0;
    char text[600];
    int rc = repair_int(r, "SELECT count(*) FROM meta", &rows);

    if (!rc && !rows) {
        if (!r->opt->rebuild)
            repair_did(r, "index: the counters and properties of the volume were lost; properties are the usual ones now");
        rc = repair_exec(r, "INSERT INTO meta VALUES(1, 2, 1, 1, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);"
                            "UPDATE meta SET next_gen = coalesce((SELECT max(gen) + 1 FROM inode WHERE typeof(gen) ="
                            " 'integer' AND gen BETWEEN 0 AND 4294967290), 2)");
    }
    if (!rc)
        rc = pack_list(r->packs, count_pack, &pack);
    if (rc == -ENOENT)
        rc = 0;
    if (!rc)
        rc = repair_rows(r);
    snprintf(text, sizeof(text), "UPDATE meta SET next_pack = max(next_pack, %u, %u), next_gen = max(next_gen, %llu)",
             r->opt->rebuild || r->jfirst ? pack + 1 : 0, r->jpack, (unsigned long long)r->jgen);
    if (!rc)
        rc = repair_exec(r, text);
    snprintf(text, sizeof(text), "UPDATE meta SET txg = %llu WHERE txg < %llu", r->jfirst ? (unsigned long long)r->jfirst - 1 : 0,
             r->jfirst ? (unsigned long long)r->jfirst - 1 : 0);
    return rc ? rc : repair_exec(r, text);
}

/* What the journal brings must not be there yet. */
static int forget_journalled(struct repair *r)
{
    return repair_exec(r, "DELETE FROM extent WHERE chunk IN temp.jchunk; DELETE FROM chunk WHERE id IN temp.jchunk;"
                          "DELETE FROM blob WHERE chunk IN temp.jchunk");
}

/* Which chunks snapshots name: temp.snapuse. Not in a transaction. */
static int list_snapshot_chunks(struct repair *r)
{
    sqlite3_stmt *st = NULL;
    int rc = repair_exec(r, "CREATE TEMP TABLE snapuse(chunk INTEGER PRIMARY KEY, first, last);"
                            "CREATE TEMP TABLE snaplist AS SELECT id, coalesce(name, '') AS name FROM snapshot WHERE state = 1"
                            " ORDER BY id");

    if (!rc && sqlite3_prepare_v2(r->db, "SELECT id, name FROM temp.snaplist", -1, &st, NULL))
        rc = -EIO;
    while (!rc && sqlite3_step(st) == SQLITE_ROW) {
        long long id = sqlite3_column_int64(st, 0);
        char path[4096];
        struct index *ix = NULL;
        sqlite3_stmt *from = NULL, *to = NULL;
        snprintf(path, sizeof(path), "%s/snapshots/%016llx.db", r->dir, id);
        rc = index_open_snapshot(path, r->ix->path, r->dir, true, &ix);
        if (rc) {
            repair_left(r, "snapshot %s: its database cannot be read", (const char *)sqlite3_column_text(st, 1));
            rc = rc == -ENOMEM ? rc : 0;
            continue;
        }
        int code = sqlite3_prepare_v2(ix->readers[0].db, "SELECT DISTINCT chunk FROM extent WHERE typeof(chunk) = 'integer'",
                                      -1, &from, NULL);
        if (!code)
            code = sqlite3_prepare_v2(r->db, "INSERT INTO temp.snapuse VALUES(?1, ?2, ?2) ON CONFLICT(chunk) DO UPDATE SET"
                                             " last = excluded.last", -1, &to, NULL);
        while (!code && (code = sqlite3_step(from)) == SQLITE_ROW) {
            sqlite3_bind_int64(to, 1, sqlite3_column_int64(from, 0));
            sqlite3_bind_int64(to, 2, id);
            code = sqlite3_step(to) == SQLITE_DONE ? 0 : SQLITE_ERROR;
            sqlite3_reset(to);
        }
        if (code != SQLITE_DONE)
            repair_left(r, "snapshot %s: its database is damaged", (const char *)sqlite3_column_text(st, 1));
        sqlite3_finalize(from);
        sqlite3_finalize(to);
        index_close(ix);
    }
    sqlite3_finalize(st);
    return rc;
}

static int fill(struct repair *r, const char *old)
{
    int rc = index_begin(r->ix);

    if (rc)
        return rc;
    rc = r->opt->rebuild ? rebuild(r) : salvage(r, old, false);
    if (!rc)
        rc = repair_exec(r, "CREATE INDEX repair_name ON dirent(ino); CREATE INDEX repair_pack ON chunk(pack)");
    if (!rc)
        rc = set_meta(r);
    if (!rc)
        rc = forget_journalled(r);
    if (rc)
        index_rollback(r->ix);
    else
        rc = index_commit(r->ix);
    return rc ? rc : index_load_snaps(r->ix);
}

static int agree(struct repair *r)
{
    int rc = list_snapshot_chunks(r);

    if (!rc)
        rc = index_begin(r->ix);
    if (rc)
        return rc;
    rc = repair_chunks(r);
    if (!rc && (r->gaps || r->opt->rebuild))
        rc = rebuild_extents(r);
    if (!rc)
        rc = repair_tree(r);
    if (!rc)
        rc = repair_exec(r, "DROP INDEX repair_name; DROP INDEX repair_pack");
    if (rc)
        index_rollback(r->ix);
    else
        rc = index_commit(r->ix);
    return rc;
}

/* --- all of it --- */

static uint64_t applied_by(const char *path)
{
    struct index *ix = index_alloc(path, path);
    int64_t n = 0;

    if (ix && !index_conn_open(ix, &ix->writer, SQLITE_OPEN_READWRITE, 1024) && index_has_table(ix->writer.db, "meta") &&
        index_query_int(ix, ix->writer.db, "SELECT txg FROM meta WHERE typeof(txg) = 'integer' AND txg >= 0", &n))
        n = 0;
    index_close(ix);
    return (uint64_t)n;
}

/* Steps 4 and 5. must: even if no row changes. *changed: the new index took its place. */
static int renew(struct repair *r, const char *old, const char *new, bool must, bool *changed)
{
    uint64_t before = r->rep->repaired;
    int rc;

    r->inventory = r->gaps = *changed = false;
    r->jfirst = r->jlast = r->jino = r->jchunk = r->jgen = r->jsnap = 0;
    r->jpack = 0;
    r->applied = r->opt->rebuild ? 0 : applied_by(old);
    rc = make_empty(r, new);
    if (!rc)
        rc = scan_journal(r);
    if (!rc)
        rc = fault_point("repair.fill");
    if (!rc)
        rc = fill(r, old);
    if (!rc)
        rc = agree(r);
    index_close(r->ix);
    r->ix = NULL;
    r->db = NULL;
    if (!rc && (must || r->rep->repaired > before)) {
        rc = repair_swap(r, old, new);
        *changed = !rc;
    }
    if (!*changed) {
        char name[4096];
        unlink(new);
        snprintf(name, sizeof(name), "%s-wal", new);
        unlink(name);
        snprintf(name, sizeof(name), "%s-shm", new);
        unlink(name);
    }
    return rc;
}

static int clean(struct repair *r, bool *out)
{
    struct check_report cr;
    int rc = volume_check(r->dir, r->opt->data, NULL, NULL, &cr);

    *out = !rc && !cr.problems;
    return rc == -ENOMEM ? rc : 0;
}

static int repair_locked(struct repair *r, const char *old, const char *new)
{
    struct repair_options again = {.punch = r->opt->punch, .data = r->opt->data};
    bool ok = false, opens = true, changed, replayed = false;
    bool must = r->opt->rebuild;
    int rc = probe(old);

    if (rc == -ENOTSUP || rc == -ENOMEM || rc == -ENOSPC)
        return rc;
    if (!r->opt->rebuild && rc)
        return -EUCLEAN;
    if (r->opt->rebuild && !rc)
        return -EEXIST;
    if (!rc && next_pack_sane(old, &opens))
        replayed = recover(r) == 0;
    if (replayed) {
        rc = clean(r, &ok);
        if (rc || ok)
            return rc;
    }
    if (!r->opt->rebuild) { /* whatever rows say */
        must = !opens || !pages_sound(old);
        if (must)
            repair_did(r, opens ? "index: pages are damaged" : "index: it cannot be opened as it is");
    }
    rc = renew(r, old, new, must, &changed);
    if (rc || replayed)
        return rc;
    if (!r->opt->rebuild && !changed && !r->jfirst)
        return 0;
    rc = recover(r);
    if (rc == -EUCLEAN || rc == -EIO)
        rc = repair_drop_journal(r);
    if (rc)
        return rc;
    r->opt = &again;
    rc = clean(r, &ok);
    return rc || ok ? rc : renew(r, old, new, false, &changed);
}

int volume_repair(const char *dir, const struct repair_options *opt, void (*say)(void *arg, const char *text),
                  void *arg, struct repair_report *rep)
{
    struct repair r = {.dir = dir, .opt = opt, .say = say, .arg = arg, .rep = rep};
    char *old = path_join(dir, "index.db"), *new = path_join(dir, "index.db.new");
    struct stat st;
    int fd = -1, rc = stat(dir, &st) ? -errno : 0;

    memset(rep, 0, sizeof(*rep));
    r.packs = path_join(dir, "packs");
    if (!rc) {
        fd = dir_lock(dir);
        rc = fd < 0 ? fd : repair_locked(&r, old, new);
    }
    dir_unlock(fd);
    free(r.packs);
    free(old);
    free(new);
    return rc;
}
