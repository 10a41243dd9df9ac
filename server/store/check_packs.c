/* SPDX-License-Identifier: Apache-2.0
 * check_packs: whether each chunk of the index has its record in its place, read in the order of the records.
 */
#include "server/store/check_int.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/store/files.h"
#include "server/store/pack_format.h"

/* Was the chunk moved or freed since our snapshot of the index? */
static bool chunk_gone(struct check *ck, const struct chunk *c)
{
    struct index_conn *now;
    bool gone = false;
    int rc = index_reader_get(ck->ix, &now);

    if (rc)
        return false;
    sqlite3_stmt *st = index_stmt(ck->ix, now, SQL_CHUNK_USE, &rc);
    if (st) {
        bind_u64(st, 1, c->id);
        int code = sqlite3_step(st);
        gone = code == SQLITE_DONE ||
               (code == SQLITE_ROW && (sqlite3_column_int64(st, 1) != c->pack ||
                                       sqlite3_column_int64(st, 2) != (int64_t)c->pack_off));
        sqlite3_reset(st);
    }
    index_reader_put(ck->ix, now);
    return gone;
}

/* What is wrong with the chunk's record in the open pack; NULL: nothing. */
static const char *record_fault(struct check *ck, int fd, const struct chunk *c, uint8_t *buf,
                                uint8_t *out)
{
    struct pack_record r;
    size_t want = PACK_HEADER + (ck->data ? c->stored_len : 0);
    ssize_t n = read_full(fd, buf, want, c->pack_off);

    if (n < 0)
        return "cannot be read";
    ck->rep->bytes_read += (uint64_t)n;
    if ((size_t)n < want)
        return "the pack ends before its record does";
    if (!pack_get_record(buf, &r))
        return "damaged record header";
    if (r.chunk.id != c->id || r.chunk.pack != c->pack || r.chunk.pack_off != c->pack_off ||
        r.chunk.stored_len != c->stored_len || r.chunk.len != c->len ||
        r.chunk.codec != c->codec || r.chunk.checksum != c->checksum)
        return "the record in its place is another one";
    if (ck->data && chunk_decode(c, buf + PACK_HEADER, out))
        return "damaged payload";
    return NULL;
}

/* Reads all chunks in the order of their places. */
int check_chunks(struct check *ck)
{
    static const char text[] = "SELECT " CHUNK_COLUMNS ", b.data FROM chunk c LEFT JOIN blob b ON"
                               " c.pack = 0 AND b.chunk = c.id ORDER BY c.pack, c.pack_off";
    uint8_t *buf = malloc(PACK_HEADER + CHUNK_BOUND), *out = malloc(SLOT_SIZE);
    uint32_t pack = 0;
    int fd = -1, rc = 0;
    sqlite3_stmt *st = NULL;

    if (!buf || !out) {
        rc = -ENOMEM;
        goto out;
    }
    int code = sqlite3_prepare_v2(ck->conn->db, text, -1, &st, NULL);
    while (!code && (code = sqlite3_step(st)) == SQLITE_ROW) {
        struct chunk c;
        char name[PACK_PATH_MAX], path[4096];
        const char *fault = NULL;
        code = 0;
        ck->rep->chunks++;
        if (!index_row_chunk(st, 0, &c)) {
            check_problem(ck, "chunk %lld: impossible row", (long long)sqlite3_column_int64(st, 0));
            continue;
        }
        if (c.pack == 0) {
            if (ck->data && sqlite3_column_bytes(st, 7) == (int)c.stored_len &&
                chunk_decode(&c, sqlite3_column_blob(st, 7), out))
                check_problem(ck, "chunk %llu: damaged payload in the index", (unsigned long long)c.id);
            continue;
        }
        if (c.pack != pack) {
            if (fd >= 0)
                close(fd);
            pack = c.pack;
            pack_path(name, pack);
            snprintf(path, sizeof(path), "%s/%s", ck->packs, name);
            fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
            ck->rep->packs++;
        }
        fault = fd < 0 ? "the pack is missing" : record_fault(ck, fd, &c, buf, out);
        if (fault && !chunk_gone(ck, &c))
            check_problem(ck, "chunk %llu, pack %u, offset %llu: %s", (unsigned long long)c.id, c.pack,
                    (unsigned long long)c.pack_off, fault);
    }
    rc = code == SQLITE_DONE ? 0 : check_sql_error(ck, code, "chunks");
out:
    sqlite3_finalize(st);
    if (fd >= 0)
        close(fd);
    free(buf);
    free(out);
    return rc;
}
