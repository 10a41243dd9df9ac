/* SPDX-License-Identifier: Apache-2.0
 * repair_data: makes the chunks of a new index agree with their payloads: in packs, or in the index.
 *
 * A chunk's bytes never change and its id is never used again, so every sound record with its id is as good as the one
 * that the index names. Packs are walked only if some chunk's record is not where it should be.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/store/files.h"
#include "server/store/pack.h"
#include "server/store/pack_format.h"
#include "server/store/repair_int.h"

/* --- all records --- */

struct walker {
    struct repair *r;
    sqlite3_stmt *st;
};

static int note_record(void *arg, const struct chunk *c, uint64_t ino, uint64_t off, bool good)
{
    struct walker *w = arg;

    if (!good || c->id > INT64_MAX - (1 << 20))
        return 0;
    bind_u64(w->st, 1, c->id);
    bind_u64(w->st, 2, c->pack);
    bind_u64(w->st, 3, c->pack_off);
    bind_u64(w->st, 4, c->stored_len);
    bind_u64(w->st, 5, c->len);
    bind_u64(w->st, 6, c->codec);
    bind_u64(w->st, 7, c->checksum);
    bind_u64(w->st, 8, ino > INT64_MAX - (1 << 20) ? 0 : ino);
    bind_u64(w->st, 9, off > INT64_MAX ? 0 : off);
    int code = sqlite3_step(w->st);
    sqlite3_reset(w->st);
    return code == SQLITE_DONE ? 0 : index_error(w->r->ix, w->r->db, code, "records");
}

static int note_pack(void *arg, uint32_t pack, uint64_t size)
{
    struct walker *w = arg;
    int rc = pack_walk(w->r->packs, pack, note_record, w);

    if (rc == -EUCLEAN || rc == -EIO) {
        repair_left(w->r, "pack %u: %s", pack, rc == -EIO ? "cannot be read" : "its header is damaged");
        rc = 0;
    }
    return rc;
}

int repair_inventory(struct repair *r)
{
    struct walker w = {.r = r};
    int rc;

    if (r->inventory)
        return 0;
    rc = repair_exec(r, "CREATE TEMP TABLE rec(id INTEGER PRIMARY KEY, pack, pack_off, stored_len, len, codec,"
                        " checksum, ino, off)");
    if (!rc && sqlite3_prepare_v2(r->db, "REPLACE INTO rec VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)", -1, &w.st, NULL))
        rc = -EIO;
    if (!rc)
        rc = pack_list(r->packs, note_pack, &w);
    if (rc == -ENOENT)
        rc = 0;
    sqlite3_finalize(w.st);
    r->inventory = !rc;
    return rc;
}

/* --- each chunk --- */

struct reader {
    struct repair *r;
    uint32_t pack;
    int fd;
    uint8_t *buf, *out;
};

static bool record_sound(struct reader *rd, const struct chunk *c)
{
    struct pack_record p;
    char name[PACK_PATH_MAX], path[4096];
    bool data = rd->r->opt->data;
    size_t want = PACK_HEADER + (data ? c->stored_len : 0);

    if (c->pack != rd->pack) {
        if (rd->fd >= 0)
            close(rd->fd);
        rd->pack = c->pack;
        pack_path(name, c->pack);
        snprintf(path, sizeof(path), "%s/%s", rd->r->packs, name);
        rd->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    return rd->fd >= 0 && read_full(rd->fd, rd->buf, want, c->pack_off) == (ssize_t)want &&
           pack_get_record(rd->buf, &p) && p.chunk.id == c->id && p.chunk.pack == c->pack &&
           p.chunk.pack_off == c->pack_off && p.chunk.stored_len == c->stored_len && p.chunk.len == c->len &&
           p.chunk.codec == c->codec && p.chunk.checksum == c->checksum &&
           (!data || !chunk_decode(c, rd->buf + PACK_HEADER, rd->out));
}

static int verify_all(struct reader *rd)
{
    static const char text[] = "SELECT " CHUNK_COLUMNS ", b.data FROM chunk c LEFT JOIN blob b ON c.pack = 0 AND"
                               " b.chunk = c.id ORDER BY c.pack, c.pack_off";
    struct repair *r = rd->r;
    sqlite3_stmt *st = NULL, *bad = NULL;
    int rc = 0, code = sqlite3_prepare_v2(r->db, text, -1, &st, NULL);

    if (!code)
        code = sqlite3_prepare_v2(r->db, "INSERT OR IGNORE INTO temp.bad VALUES(?1)", -1, &bad, NULL);
    while (!rc && !code && (code = sqlite3_step(st)) == SQLITE_ROW) {
        struct chunk c;
        bool sound = index_row_chunk(st, 0, &c);
        code = 0;
        if (sound && c.pack)
            sound = record_sound(rd, &c);
        else if (sound)
            sound = sqlite3_column_type(st, 7) == SQLITE_BLOB && sqlite3_column_bytes(st, 7) == (int)c.stored_len &&
                    !chunk_decode(&c, sqlite3_column_blob(st, 7), rd->out);
        if (sound)
            continue;
        sqlite3_bind_int64(bad, 1, sqlite3_column_int64(st, 0));
        if (sqlite3_step(bad) != SQLITE_DONE)
            rc = -EIO;
        sqlite3_reset(bad);
    }
    if (!rc && code != SQLITE_DONE)
        rc = index_error(r->ix, r->db, code, "chunks");
    sqlite3_finalize(st);
    sqlite3_finalize(bad);
    return rc;
}

/* From the inventory, what can be. */
static int mend(struct repair *r)
{
    int rc = repair_inventory(r);

    if (!rc)
        rc = repair_run(r,
                        "INSERT INTO chunk SELECT id, pack, pack_off, stored_len, len, codec, checksum, 0, 1, 0 FROM"
                        " temp.rec WHERE id IN temp.bad ON CONFLICT(id) DO UPDATE SET pack = excluded.pack,"
                        " pack_off = excluded.pack_off, stored_len = excluded.stored_len, len = excluded.len,"
                        " codec = excluded.codec, checksum = excluded.checksum RETURNING"
                        " printf('chunk %d: found again in pack %d', id, pack)",
                        true);
    if (!rc)
        rc = repair_exec(r, "DELETE FROM temp.bad WHERE id IN (SELECT id FROM temp.rec)");
    /* rows that cannot be right, of chunks without a record, would stop the server; their ranges cannot be read anyway */
    if (!rc)
        rc = repair_run(r,
                        "DELETE FROM chunk WHERE id IN temp.bad AND (typeof(pack) <> 'integer' OR typeof(pack_off) <>"
                        " 'integer' OR typeof(stored_len) <> 'integer' OR typeof(len) <> 'integer' OR typeof(codec)"
                        " <> 'integer' OR typeof(checksum) <> 'integer' OR len NOT BETWEEN 1 AND 131072 OR stored_len"
                        " NOT BETWEEN 1 AND 132096 OR codec NOT BETWEEN 0 AND 2 OR pack NOT BETWEEN 0 AND 4294967295 OR"
                        " pack_off NOT BETWEEN 0 AND 4294967295 OR (codec = 0 AND stored_len <> len) OR id < 1 OR"
                        " (pack = 0 AND NOT EXISTS (SELECT 1 FROM blob b WHERE b.chunk = chunk.id AND typeof(data) ="
                        " 'blob' AND length(data) = stored_len))) RETURNING"
                        " printf('chunk %d: an impossible row, and no record has that number', id)",
                        true);
    return rc;
}

/* What is lost: told by path and range, or punched. */
static int lose(struct repair *r)
{
    static const char punch[] =
        "DELETE FROM extent WHERE chunk IN temp.bad RETURNING printf('%s: bytes %d to %d are lost; they are a hole"
        " now', pathof(ino), off, off + len - 1)";
    static const char tell[] =
        "SELECT printf('%s: bytes %d to %d cannot be read: their data is damaged', pathof(ino), off, off + len - 1)"
        " FROM extent WHERE chunk IN temp.bad";

    return r->opt->punch ? repair_run(r, punch, true) : repair_run(r, tell, false);
}

int repair_chunks(struct repair *r)
{
    struct reader rd = {.r = r, .fd = -1, .buf = malloc(PACK_HEADER + CHUNK_BOUND), .out = malloc(SLOT_SIZE)};
    int64_t n = 0;
    int rc = rd.buf && rd.out ? 0 : -ENOMEM;

    if (!rc)
        rc = repair_exec(r, "CREATE TEMP TABLE bad(id INTEGER PRIMARY KEY)");
    if (!rc)
        rc = verify_all(&rd);
    if (!rc)
        rc = repair_exec(r, "INSERT OR IGNORE INTO temp.bad SELECT chunk FROM extent e WHERE NOT EXISTS (SELECT 1"
                            " FROM chunk c WHERE c.id = e.chunk);"
                            "INSERT OR IGNORE INTO temp.bad SELECT chunk FROM temp.snapuse s WHERE NOT EXISTS"
                            " (SELECT 1 FROM chunk c WHERE c.id = s.chunk)");
    if (!rc)
        rc = repair_int(r, "SELECT count(*) FROM temp.bad", &n);
    if (!rc && n)
        rc = mend(r);
    if (!rc && n)
        rc = lose(r);
    if (!rc) /* uses that the chunk has not enough bytes for */
        rc = repair_run(r,
                        "DELETE FROM extent WHERE EXISTS (SELECT 1 FROM chunk c WHERE c.id = extent.chunk AND"
                        " extent.chunk_off + extent.len > c.len) RETURNING printf('%s: bytes %d to %d: impossible"
                        " extent removed', pathof(ino), off, off + len - 1)",
                        true);
    if (!rc)
        rc = repair_run(r,
                        "DELETE FROM blob WHERE NOT EXISTS (SELECT 1 FROM chunk c WHERE c.id = blob.chunk AND c.pack ="
                        " 0) RETURNING printf('chunk %d: a payload in the index that belongs to none', chunk)",
                        true);
    if (rd.fd >= 0)
        close(rd.fd);
    free(rd.buf);
    free(rd.out);
    return rc;
}
