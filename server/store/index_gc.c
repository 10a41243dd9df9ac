/* SPDX-License-Identifier: Apache-2.0
 * index_gc: what moving payloads from pack to pack needs of the index.
 */
#include <errno.h>
#include <stdio.h>

#include "server/store/index_impl.h"

int index_find_chunk(struct index *ix, uint64_t id, struct chunk *out)
{
    struct index_conn *c;
    int rc = index_reader_get(ix, &c);

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, SQL_CHUNK_USE, &rc);
    if (st) {
        bind_u64(st, 1, id);
        int code = sqlite3_step(st);
        if (code == SQLITE_DONE)
            rc = -ENOENT;
        else if (code != SQLITE_ROW)
            rc = index_error(ix, c->db, code, "chunk");
        else if (!index_row_chunk(st, 0, out))
            rc = index_bad_row(ix, "chunk", id);
        else
            out->later = sqlite3_column_int64(st, 9) & CHUNK_LATER;
        sqlite3_reset(st);
    }
    index_reader_put(ix, c);
    return rc;
}

int index_list_packs(struct index *ix, bool (*fn)(void *arg, uint32_t pack, uint64_t live), void *arg)
{
    struct index_conn *c;
    int rc = index_reader_get(ix, &c), code = SQLITE_DONE;
    bool more = true;

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, SQL_LIST_PACKS, &rc);
    while (st && more && (code = sqlite3_step(st)) == SQLITE_ROW) {
        bool bad = false;
        uint32_t pack = (uint32_t)index_column(st, 0, UINT32_MAX, &bad);
        uint64_t live = index_column(st, 1, INT64_MAX, &bad);
        if (bad || pack == 0) {
            rc = index_bad_row(ix, "pack", pack);
            break;
        }
        more = fn(arg, pack, live);
    }
    if (!rc && code != SQLITE_ROW && code != SQLITE_DONE)
        rc = index_error(ix, c->db, code, "packs");
    if (st)
        sqlite3_reset(st);
    index_reader_put(ix, c);
    return rc;
}

int index_replace_payload(struct index *ix, const struct chunk *to, uint32_t from, uint64_t from_off,
                          struct index_delta *d)
{
    struct chunk old;
    uint64_t refs, birth;

    if (to->pack == 0 || from == 0)
        return -EINVAL;
    int rc = index_get_chunk(ix, to->id, &old, &refs, &birth);
    if (rc)
        return rc == -ENOENT ? 0 : rc;
    if (old.pack != from || old.pack_off != from_off)
        return 0;
    if (old.len != to->len)
        return -EINVAL;
    sqlite3_stmt *st = writer_prepare(ix, SQL_REPLACE_PAYLOAD, &rc);
    if (!st)
        return rc;
    bind_u64(st, 1, to->id);
    bind_u64(st, 2, to->pack);
    bind_u64(st, 3, to->pack_off);
    bind_u64(st, 4, to->stored_len);
    bind_u64(st, 5, to->codec);
    bind_u64(st, 6, to->checksum);
    bind_u64(st, 7, to->later ? CHUNK_LATER : 0);
    rc = writer_run(ix, st, "replace payload");
    if (!rc)
        rc = index_add_live(ix, from, -(int64_t)old.stored_len);
    if (!rc)
        rc = index_add_live(ix, to->pack, to->stored_len);
    if (rc)
        return rc;
    *(refs ? &d->stored : &d->held) += (int64_t)to->stored_len - (int64_t)old.stored_len;
    return 1;
}

int index_next_later(struct index *ix, uint64_t after, struct chunk *out, unsigned max)
{
    int n = index_chunks(ix, SQL_NEXT_LATER, after, out, max);

    for (int i = 0; i < n; i++)
        out[i].later = true;
    return n;
}

int index_clear_later(struct index *ix, uint64_t id)
{
    return writer_run_keys(ix, SQL_CLEAR_LATER, id, 0, 1, "chunk.flags");
}

/* --- repacking --- */

int index_sweep(struct index *ix, uint64_t ino, uint64_t off, struct index_swept *out, unsigned max)
{
    struct index_conn *c;
    int rc = index_reader_get(ix, &c), code = SQLITE_DONE, n = 0;

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, SQL_SWEEP, &rc);
    if (st) {
        bind_u64(st, 1, ino);
        bind_u64(st, 2, off);
        bind_u64(st, 3, max);
    }
    while (st && (code = sqlite3_step(st)) == SQLITE_ROW) {
        struct index_swept *s = &out[n++];
        bool bad = !index_row_chunk(st, 0, &s->chunk);
        s->p.ino = index_column(st, 7, INT64_MAX, &bad);
        s->p.off = index_column(st, 8, STORE_FILE_MAX, &bad);
        s->p.len = (uint32_t)index_column(st, 9, SLOT_SIZE, &bad);
        s->p.chunk_off = (uint32_t)index_column(st, 10, SLOT_SIZE, &bad);
        s->p.chunk = s->chunk.id;
        s->refs = index_column(st, 11, INT64_MAX, &bad);
        s->fresh = index_column(st, 12, 1, &bad);
        if (bad || s->p.len == 0 || s->p.chunk_off + s->p.len > s->chunk.len) {
            rc = index_bad_row(ix, "extent of inode", s->p.ino);
            break;
        }
    }
    if (!rc && code != SQLITE_DONE)
        rc = index_error(ix, c->db, code, "sweep");
    if (st)
        sqlite3_reset(st);
    index_reader_put(ix, c);
    return rc ? rc : n;
}

/* Is the piece an extent, just so? */
static int piece_there(struct index *ix, const struct index_piece *p)
{
    int rc = 0;
    sqlite3_stmt *st = index_stmt(ix, &ix->writer, SQL_GET_EXTENT, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, p->ino);
    bind_u64(st, 2, p->off);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        rc = sqlite3_column_int64(st, 0) == p->len && sqlite3_column_int64(st, 1) == (int64_t)p->chunk &&
             sqlite3_column_int64(st, 2) == p->chunk_off;
    else if (code != SQLITE_DONE)
        rc = index_error(ix, ix->writer.db, code, "extent");
    sqlite3_reset(st);
    return rc;
}

static bool follows(const struct index_piece *a, const struct index_piece *b)
{
    return a->ino == b->ino && a->off + a->len == b->off && b->off % SLOT_SIZE != 0;
}

int index_repack(struct index *ix, const struct index_piece *p, size_t n, const struct chunk *c,
                 struct index_delta *d)
{
    uint64_t bytes = 0, runs = 0;
    uint32_t at = 0;
    int rc = 0;

    if (n == 0 || c->pack == 0)
        return -EINVAL;
    for (size_t i = 0; i < n; i++) {
        rc = piece_there(ix, &p[i]);
        if (rc <= 0)
            return rc;
        bytes += p[i].len;
        runs += i == 0 || !follows(&p[i - 1], &p[i]);
    }
    if (bytes != c->len)
        return -EINVAL;
    rc = index_put_chunk(ix, c, runs, d);
    for (size_t i = 0; !rc && i < n; i++) {
        rc = writer_run_keys(ix, SQL_DEL_EXTENT, p[i].ino, p[i].off, 2, "delete extent");
        if (!rc)
            rc = index_unref_chunk(ix, p[i].chunk, d);
    }
    for (size_t i = 0, next; !rc && i < n; i = next) {
        struct extent_row e = {.off = p[i].off, .len = p[i].len, .chunk = c->id, .chunk_off = at};
        for (next = i + 1; next < n && follows(&p[next - 1], &p[next]); next++)
            e.len += p[next].len;
        rc = index_put_extent(ix, p[i].ino, &e);
        at += e.len;
    }
    return rc ? rc : 1;
}

/* --- the database's own space --- */

#define FREE_MIN 256 /* pages that may stay unused, and an eighth of all */

int index_shrink(struct index *ix, unsigned pages)
{
    char text[64];
    int64_t nfree = 0, all = 0, left = 0;
    int rc = index_begin(ix);

    if (rc)
        return rc;
    rc = index_query_int(ix, ix->writer.db, "PRAGMA freelist_count", &nfree);
    if (!rc)
        rc = index_query_int(ix, ix->writer.db, "PRAGMA page_count", &all);
    if (!rc && nfree > FREE_MIN + all / 8) {
        snprintf(text, sizeof(text), "PRAGMA incremental_vacuum(%u)", pages);
        rc = index_exec(ix, ix->writer.db, text);
        if (!rc)
            rc = index_query_int(ix, ix->writer.db, "PRAGMA freelist_count", &left);
        if (!rc)
            rc = index_commit(ix);
        else
            index_rollback(ix);
        return rc ? rc : (int)(nfree - left);
    }
    index_rollback(ix);
    return rc;
}
