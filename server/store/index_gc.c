/* SPDX-License-Identifier: Apache-2.0
 * index_gc: what moving payloads from pack to pack needs of the index.
 */
#include <errno.h>

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
