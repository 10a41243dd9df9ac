/* SPDX-License-Identifier: Apache-2.0
 * index_extent: changes of extents, with the counters that hang on them: chunk.refs, pack.live, blobs.
 *
 * Changes of pack.live are added up in memory and written at commit (index_flush_live): a group touches
 * one or two packs and hundreds of chunks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/index_impl.h"

#define PUNCH_BATCH 64

/* --- live bytes of packs and of blobs --- */

int index_flush_live(struct index *ix)
{
    int rc = 0;

    for (unsigned i = 0; !rc && i < ix->nlive; i++)
        if (ix->live[i].delta)
            rc = writer_run_keys(ix, SQL_ADD_LIVE, ix->live[i].pack, ix->live[i].delta, 2, "pack.live");
    ix->nlive = 0;
    return rc;
}

int index_add_live(struct index *ix, uint32_t pack, int64_t delta)
{
    if (pack == 0) {
        __atomic_add_fetch(&ix->blob_bytes, delta, __ATOMIC_RELAXED);
        return 0;
    }
    for (unsigned i = 0; i < ix->nlive; i++)
        if (ix->live[i].pack == pack) {
            ix->live[i].delta += delta;
            return 0;
        }
    int rc = ix->nlive == INDEX_PACK_DELTAS ? index_flush_live(ix) : 0;
    ix->live[ix->nlive].pack = pack;
    ix->live[ix->nlive++].delta = delta;
    return rc;
}

int64_t index_blob_bytes(struct index *ix)
{
    return __atomic_load_n(&ix->blob_bytes, __ATOMIC_RELAXED);
}

/* --- chunks --- */

int index_get_chunk(struct index *ix, uint64_t id, struct chunk *c, uint64_t *refs, uint64_t *birth)
{
    bool bad = false;
    int rc = 0;
    sqlite3_stmt *st = index_stmt(ix, &ix->writer, SQL_CHUNK_USE, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, id);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW) {
        *refs = index_column(st, 7, INT64_MAX, &bad);
        *birth = index_column(st, 8, INT64_MAX, &bad);
        if (!index_row_chunk(st, 0, c) || bad)
            rc = index_bad_row(ix, "chunk", id);
        c->later = sqlite3_column_int64(st, 9) & CHUNK_LATER;
    } else {
        rc = code == SQLITE_DONE ? -ENOENT : index_error(ix, ix->writer.db, code, "chunk");
    }
    sqlite3_reset(st);
    return rc;
}

int index_free_chunk(struct index *ix, const struct chunk *c)
{
    int rc = writer_run_keys(ix, SQL_DEL_CHUNK, c->id, 0, 1, "delete chunk");

    if (!rc && c->pack == 0)
        rc = writer_run_keys(ix, SQL_DEL_BLOB, c->id, 0, 1, "delete blob");
    if (!rc && c->len >= INDEX_DEDUP_MIN)
        rc = writer_run_keys(ix, SQL_DEL_DEDUP, c->id, 0, 1, "delete dedup");
    return rc ? rc : index_add_live(ix, c->pack, -(int64_t)c->stored_len);
}

/* One extent less names the chunk. */
int index_unref_chunk(struct index *ix, uint64_t id, struct index_delta *d)
{
    struct chunk c;
    uint64_t refs = 0, birth = 0;
    int rc = index_get_chunk(ix, id, &c, &refs, &birth);

    if (rc == -ENOENT || (!rc && refs == 0))
        return index_bad_row(ix, "extent: no chunk", id);
    if (rc)
        return rc;
    if (refs > 1)
        return writer_run_keys(ix, SQL_CHUNK_REFS, id, -1, 2, "chunk.refs");
    return index_drop_chunk(ix, &c, birth, d);
}

int index_move_chunk(struct index *ix, const struct chunk *c)
{
    struct chunk old;
    uint64_t refs, birth;

    if (c->pack == 0)
        return -EINVAL;
    int rc = index_get_chunk(ix, c->id, &old, &refs, &birth);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (old.stored_len != c->stored_len || old.checksum != c->checksum || old.codec != c->codec)
        return -EINVAL;
    sqlite3_stmt *st = writer_prepare(ix, SQL_MOVE_CHUNK, &rc);
    if (!st)
        return rc;
    bind_u64(st, 1, c->id);
    bind_u64(st, 2, c->pack);
    bind_u64(st, 3, c->pack_off);
    rc = writer_run(ix, st, "move chunk");
    if (!rc && old.pack == 0)
        rc = writer_run_keys(ix, SQL_DEL_BLOB, c->id, 0, 1, "delete blob");
    if (!rc)
        rc = index_add_live(ix, old.pack, -(int64_t)old.stored_len);
    if (!rc)
        rc = index_add_live(ix, c->pack, c->stored_len);
    return rc ? rc : 1;
}

/* --- extents --- */

static int put_extent(struct index *ix, enum index_sql which, uint64_t ino, const struct extent_row *e)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, which, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    bind_u64(st, 2, e->off);
    bind_u64(st, 3, e->len);
    bind_u64(st, 4, e->chunk);
    bind_u64(st, 5, e->chunk_off);
    return writer_run(ix, st, "put extent");
}

int index_put_extent(struct index *ix, uint64_t ino, const struct extent_row *e)
{
    return put_extent(ix, SQL_PUT_EXTENT, ino, e);
}

static int set_extent_len(struct index *ix, uint64_t ino, uint64_t off, uint32_t len)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_SET_EXTENT, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    bind_u64(st, 2, off);
    bind_u64(st, 3, len);
    return writer_run(ix, st, "set extent");
}

/* Up to max extents that begin below end and reach past off, the last first. */
static int get_range(struct index *ix, uint64_t ino, uint64_t off, uint64_t end,
                     struct extent_row *rows, unsigned max, unsigned *count)
{
    int rc = 0, code = SQLITE_DONE;
    sqlite3_stmt *st = index_stmt(ix, &ix->writer, SQL_RANGE_DOWN, &rc);

    *count = 0;
    if (!st)
        return rc;
    bind_u64(st, 1, ino);
    bind_u64(st, 2, end);
    sqlite3_bind_int64(st, 3, (int64_t)off - (int64_t)SLOT_SIZE); /* no extent is longer */
    sqlite3_bind_int64(st, 4, max);
    while (!rc && (code = sqlite3_step(st)) == SQLITE_ROW) {
        bool bad = false;
        struct extent_row e = {.off = index_column(st, 0, STORE_FILE_MAX, &bad),
                               .len = (uint32_t)index_column(st, 1, SLOT_SIZE, &bad),
                               .chunk = index_column(st, 2, INT64_MAX, &bad),
                               .chunk_off = (uint32_t)index_column(st, 3, SLOT_SIZE, &bad)};
        if (bad || e.len == 0 || e.off % SLOT_SIZE + e.len > SLOT_SIZE ||
            e.chunk_off + e.len > SLOT_SIZE)
            rc = index_bad_row(ix, "extent of inode", ino);
        else if (e.off + e.len > off)
            rows[(*count)++] = e;
        if (e.off <= off) /* they do not overlap: those before it end before it */
            break;
    }
    if (!rc && code != SQLITE_ROW && code != SQLITE_DONE)
        rc = index_error(ix, ix->writer.db, code, "extents");
    sqlite3_reset(st);
    return rc;
}

/* Takes [off, end) out of one extent that overlaps it. */
static int cut_extent(struct index *ix, uint64_t ino, const struct extent_row *e, uint64_t off,
                      uint64_t end, struct index_delta *d)
{
    uint64_t e_end = e->off + e->len;
    bool head = e->off < off, tail = e_end > end;
    int rc;

    if (head)
        rc = set_extent_len(ix, ino, e->off, (uint32_t)(off - e->off));
    else
        rc = writer_run_keys(ix, SQL_DEL_EXTENT, ino, (int64_t)e->off, 2, "delete extent");
    if (!rc && tail)
        rc = index_put_extent(ix, ino,
                        &(struct extent_row){.off = end,
                                             .len = (uint32_t)(e_end - end),
                                             .chunk = e->chunk,
                                             .chunk_off = e->chunk_off + (uint32_t)(end - e->off)});
    if (!rc && head && tail)
        rc = writer_run_keys(ix, SQL_CHUNK_REFS, e->chunk, 1, 2, "chunk.refs");
    else if (!rc && !head && !tail)
        rc = index_unref_chunk(ix, e->chunk, d);
    if (!rc)
        d->logical -= (int64_t)((tail ? end : e_end) - (head ? off : e->off));
    return rc;
}

int index_punch(struct index *ix, uint64_t ino, uint64_t off, uint64_t len, unsigned max,
                struct index_delta *d)
{
    struct extent_row rows[PUNCH_BATCH];
    uint64_t end = off + len;
    unsigned seen = 0, count;

    if (off >= STORE_FILE_MAX || len == 0)
        return 0;
    if (end < off || end > STORE_FILE_MAX)
        end = STORE_FILE_MAX;
    for (;;) {
        unsigned want = PUNCH_BATCH;
        if (max && max - seen < want)
            want = max - seen;
        if (want == 0)
            return 1;
        int rc = get_range(ix, ino, off, end, rows, want, &count);
        for (unsigned i = 0; !rc && i < count; i++)
            rc = cut_extent(ix, ino, &rows[i], off, end, d);
        if (rc)
            return rc;
        if (count < want)
            return 0;
        seen += count;
        end = rows[count - 1].off;
        if (end <= off)
            return 0;
    }
}

/* Maps one piece of an extent, cut at the slots of the destination. */
static int share_extent(struct index *ix, uint64_t dst, uint64_t off, struct extent_row e,
                        struct index_delta *d)
{
    int64_t pieces = 0;
    int rc = 0;

    for (uint32_t n; !rc && e.len; e.len -= n, e.chunk_off += n, off += n) {
        n = SLOT_SIZE - (uint32_t)(off % SLOT_SIZE);
        n = n < e.len ? n : e.len;
        rc = index_put_extent(ix, dst, &(struct extent_row){.off = off, .len = n, .chunk = e.chunk,
                                                      .chunk_off = e.chunk_off});
        if (!rc)
            d->logical += n;
        pieces++;
    }
    return rc ? rc : writer_run_keys(ix, SQL_CHUNK_REFS, e.chunk, pieces, 2, "chunk.refs");
}

int index_clone(struct index *ix, uint64_t src, uint64_t soff, uint64_t dst, uint64_t doff,
                uint64_t len, struct index_delta *d)
{
    struct extent_row rows[PUNCH_BATCH];
    uint64_t end = soff + len;
    unsigned count;
    int rc;

    if (len == 0)
        return 0;
    if (len > STORE_FILE_MAX || soff > STORE_FILE_MAX - len || doff > STORE_FILE_MAX - len ||
        (src == dst && soff < doff + len && doff < soff + len))
        return -EINVAL;
    rc = index_punch(ix, dst, doff, len, 0, d);
    while (!rc && end > soff) {
        rc = get_range(ix, src, soff, end, rows, PUNCH_BATCH, &count);
        for (unsigned i = 0; !rc && i < count; i++) {
            struct extent_row e = rows[i];
            uint64_t e_end = e.off + e.len < end ? e.off + e.len : end;
            uint64_t from = e.off > soff ? e.off : soff;

            e.chunk_off += (uint32_t)(from - e.off);
            e.len = (uint32_t)(e_end - from);
            rc = share_extent(ix, dst, doff + (from - soff), e, d);
        }
        if (count < PUNCH_BATCH)
            break;
        end = rows[count - 1].off;
    }
    return rc;
}

int index_put_chunk(struct index *ix, const struct chunk *c, uint64_t refs, struct index_delta *d)
{
    int rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_CHUNK, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, c->id);
    bind_u64(st, 2, c->pack);
    bind_u64(st, 3, c->pack ? c->pack_off : 0);
    bind_u64(st, 4, c->stored_len);
    bind_u64(st, 5, c->len);
    bind_u64(st, 6, c->codec);
    bind_u64(st, 7, c->checksum);
    bind_u64(st, 8, ix->snap_seq + 1);
    bind_u64(st, 9, refs);
    bind_u64(st, 10, c->later ? CHUNK_LATER : 0);
    rc = writer_run(ix, st, "put chunk");
    if (!rc)
        rc = index_add_live(ix, c->pack, c->stored_len);
    if (!rc)
        d->stored += c->stored_len;
    return rc;
}

int index_map(struct index *ix, uint64_t ino, uint64_t off, const struct chunk *c, const void *blob,
              struct index_delta *d)
{
    if (c->len == 0 || off >= STORE_FILE_MAX || off % SLOT_SIZE + c->len > SLOT_SIZE ||
        (c->pack == 0) != (blob != NULL))
        return -EINVAL;
    struct extent_row old[PUNCH_BATCH];
    unsigned count;
    int rc = get_range(ix, ino, off, off + c->len, old, PUNCH_BATCH, &count);
    bool same = !rc && count == 1 && old[0].off == off && old[0].len == c->len;
    if (same)
        rc = index_unref_chunk(ix, old[0].chunk, d);
    for (unsigned i = 0; !rc && !same && i < count; i++)
        rc = cut_extent(ix, ino, &old[i], off, off + c->len, d);
    if (!rc && count == PUNCH_BATCH)
        rc = index_punch(ix, ino, off, c->len, 0, d);
    if (!rc)
        rc = index_put_chunk(ix, c, 1, d);
    if (!rc && blob) {
        sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_BLOB, &rc);
        if (!st)
            return rc;
        bind_u64(st, 1, c->id);
        sqlite3_bind_blob64(st, 2, blob, c->stored_len, SQLITE_STATIC);
        rc = writer_run(ix, st, "put blob");
    }
    if (!rc)
        rc = put_extent(ix, same ? SQL_REPLACE_EXTENT : SQL_PUT_EXTENT, ino,
                        &(struct extent_row){.off = off, .len = c->len, .chunk = c->id});
    if (!rc && !same)
        d->logical += c->len;
    return rc;
}

/* --- packs and blobs --- */

int index_del_pack(struct index *ix, uint32_t pack)
{
    return writer_run_keys(ix, SQL_DEL_PACK, pack, 0, 1, "delete pack");
}

int64_t index_last_pack(struct index *ix)
{
    int64_t last = 0;
    int rc = index_query_int(ix, ix->writer.db, "SELECT coalesce(max(id), 0) FROM pack", &last);

    return rc ? rc : last;
}

/* One blob at a time and into a copy, so that no read transaction stays open while fn works. */
int index_walk_blobs(struct index *ix, unsigned max,
                     int (*fn)(void *arg, const struct chunk *c, const void *blob), void *arg)
{
    uint8_t *copy = malloc(CHUNK_BOUND);
    struct index_conn *conn;
    uint64_t after = 0;
    int rc = copy ? index_reader_get(ix, &conn) : -ENOMEM;

    if (rc) {
        free(copy);
        return rc;
    }
    for (unsigned n = 0; !rc && n < max; n++) {
        struct chunk c;
        sqlite3_stmt *st = index_stmt(ix, conn, SQL_WALK_BLOBS, &rc);
        if (!st)
            break;
        bind_u64(st, 1, after);
        int code = sqlite3_step(st);
        if (code == SQLITE_ROW) {
            if (!index_row_chunk(st, 0, &c) || sqlite3_column_type(st, 7) != SQLITE_BLOB ||
                sqlite3_column_bytes(st, 7) != (int)c.stored_len)
                rc = index_bad_row(ix, "blob after chunk", after);
            else
                memcpy(copy, sqlite3_column_blob(st, 7), c.stored_len);
        } else if (code != SQLITE_DONE) {
            rc = index_error(ix, conn->db, code, "blobs");
        }
        sqlite3_reset(st);
        if (code != SQLITE_ROW || rc)
            break;
        after = c.id;
        rc = fn(arg, &c, copy);
    }
    index_reader_put(ix, conn);
    free(copy);
    return rc;
}

int index_blob_places(struct index *ix, struct index_blob_place *out, unsigned max)
{
    struct index_conn *conn;
    int rc = index_reader_get(ix, &conn), code = SQLITE_DONE, n = 0;

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, conn, SQL_BLOB_PLACES, &rc);
    if (st)
        bind_u64(st, 1, max);
    while (st && !rc && (code = sqlite3_step(st)) == SQLITE_ROW) {
        bool bad = false;
        out[n] = (struct index_blob_place){.chunk = index_column(st, 0, INT64_MAX, &bad),
                                           .ino = index_column(st, 1, INT64_MAX, &bad),
                                           .off = index_column(st, 2, STORE_FILE_MAX, &bad)};
        n += !bad; /* the record does without, then */
    }
    if (!rc && code != SQLITE_DONE)
        rc = index_error(ix, conn->db, code, "blobs' places");
    if (st)
        sqlite3_reset(st);
    index_reader_put(ix, conn);
    return rc ? rc : n;
}
