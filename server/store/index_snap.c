/* SPDX-License-Identifier: Apache-2.0
 * index_snap: the rows of snapshots, and the chunks that only they hold (index.h, S1 to S5).
 */
#include <errno.h>
#include <string.h>

#include "server/store/index_impl.h"

/* The writer's integer for a query with one key. */
static int writer_int(struct index *ix, enum index_sql which, uint64_t key, uint64_t *out)
{
    bool bad = false;
    int rc = 0;
    sqlite3_stmt *st = index_stmt(ix, &ix->writer, which, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, key);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        *out = index_column(st, 0, INT64_MAX, &bad);
    else
        rc = code == SQLITE_DONE ? -EUCLEAN : index_error(ix, ix->writer.db, code, "snapshot");
    sqlite3_reset(st);
    return bad ? index_bad_row(ix, "snapshot near", key) : rc;
}

int index_load_snaps(struct index *ix)
{
    struct index_meta meta;
    int rc = index_get_meta(ix, &meta);

    if (rc)
        return rc;
    ix->snap_seq = meta.snap_seq;
    rc = writer_int(ix, SQL_SNAP_HOLDS, INT64_MAX, &ix->snap_newest);
    if (!rc && ix->snap_newest > ix->snap_seq)
        rc = index_bad_row(ix, "snapshot", ix->snap_newest);
    return rc;
}

int index_put_snap(struct index *ix, const struct index_snap *s)
{
    int rc;

    if (s->id == 0 || s->id >= INT64_MAX)
        return -EINVAL;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_SNAP, &rc);
    if (!st)
        return rc;
    bind_u64(st, 1, s->id);
    if (s->name[0])
        sqlite3_bind_text(st, 2, s->name, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(st, 2);
    sqlite3_bind_int64(st, 3, s->created);
    bind_u64(st, 4, s->state);
    bind_u64(st, 5, s->files);
    bind_u64(st, 6, s->logical);
    bind_u64(st, 7, s->stored);
    rc = writer_run(ix, st, "put snapshot");
    sqlite3_clear_bindings(st); /* name is the caller's */
    if (rc)
        return rc;
    if (s->id > ix->snap_seq)
        ix->snap_seq = s->id;
    return writer_int(ix, SQL_SNAP_HOLDS, INT64_MAX, &ix->snap_newest);
}

int index_del_snap(struct index *ix, uint64_t id)
{
    return writer_run_keys(ix, SQL_DEL_SNAP, id, 0, 1, "delete snapshot");
}

int index_drop_chunk(struct index *ix, const struct chunk *c, uint64_t birth, struct index_delta *d)
{
    int rc;

    d->stored -= c->stored_len;
    if (ix->snap_newest < birth)
        return index_free_chunk(ix, c);
    rc = writer_run_keys(ix, SQL_CHUNK_REFS, c->id, -1, 2, "chunk.refs");
    if (rc)
        return rc;
    d->held += c->stored_len;
    sqlite3_stmt *st = writer_prepare(ix, SQL_PUT_DEAD, &rc);
    if (!st)
        return rc;
    bind_u64(st, 1, ix->snap_seq + 1);
    bind_u64(st, 2, birth);
    bind_u64(st, 3, c->id);
    return writer_run(ix, st, "put dead");
}

struct dead_row {
    uint64_t death, birth, chunk;
};

/* The first dead row at or after (death, birth): 1, 0 if there is none. */
static int next_dead(struct index *ix, uint64_t death, uint64_t birth, struct dead_row *out)
{
    bool bad = false;
    int rc = 0;
    sqlite3_stmt *st = index_stmt(ix, &ix->writer, SQL_NEXT_DEAD, &rc);

    if (!st)
        return rc;
    bind_u64(st, 1, death);
    bind_u64(st, 2, birth);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW) {
        out->death = index_column(st, 0, INT64_MAX, &bad);
        out->birth = index_column(st, 1, INT64_MAX, &bad);
        out->chunk = index_column(st, 2, INT64_MAX, &bad);
        rc = bad ? index_bad_row(ix, "dead", death) : 1;
    } else if (code != SQLITE_DONE) {
        rc = index_error(ix, ix->writer.db, code, "dead");
    }
    sqlite3_reset(st);
    return rc;
}

static int free_dead_row(struct index *ix, const struct dead_row *dr, struct index_delta *d)
{
    struct chunk c;
    uint64_t refs, birth;
    int rc = index_get_chunk(ix, dr->chunk, &c, &refs, &birth);

    if (rc == -ENOENT || (!rc && (refs != 0 || birth != dr->birth)))
        return index_bad_row(ix, "dead", dr->chunk);
    if (rc)
        return rc;
    sqlite3_stmt *st = writer_prepare(ix, SQL_DEL_DEAD, &rc);
    if (!st)
        return rc;
    bind_u64(st, 1, dr->death);
    bind_u64(st, 2, dr->birth);
    bind_u64(st, 3, dr->chunk);
    rc = writer_run(ix, st, "delete dead");
    if (!rc)
        rc = index_free_chunk(ix, &c);
    if (!rc)
        d->held -= c.stored_len;
    return rc;
}

int index_free_dead(struct index *ix, uint64_t id, unsigned max, struct index_delta *d)
{
    uint64_t prev, next, death = id + 1;
    int rc = writer_int(ix, SQL_SNAP_HOLDS, id, &prev);

    if (!rc)
        rc = writer_int(ix, SQL_SNAP_NEXT, id, &next);
    if (rc)
        return rc;
    uint64_t birth = prev + 1;
    for (unsigned n = 0; n < max;) {
        struct dead_row dr = {0};
        rc = next_dead(ix, death, birth, &dr);
        if (rc <= 0)
            return rc;
        if (dr.death > next)
            return 0;
        death = dr.death;
        birth = prev + 1;
        if (dr.birth > id) { /* the rest of this death is younger than the snapshot */
            death++;
        } else if (dr.birth > prev) {
            birth = dr.birth;
            rc = free_dead_row(ix, &dr, d);
            if (rc)
                return rc;
            n++;
        }
    }
    return 1;
}

int index_list_snaps(struct index *ix, bool (*fn)(void *arg, const struct index_snap *s), void *arg)
{
    struct index_conn *c;
    int rc = index_reader_get(ix, &c), code = SQLITE_DONE;
    bool more = true;

    if (rc)
        return rc;
    sqlite3_stmt *st = index_stmt(ix, c, SQL_LIST_SNAPS, &rc);
    while (st && more && (code = sqlite3_step(st)) == SQLITE_ROW) {
        struct index_snap s = {.state = SNAP_CREATING};
        bool bad = false;
        int n = sqlite3_column_bytes(st, 1);
        s.id = index_column(st, 0, INT64_MAX - 1, &bad);
        s.created = sqlite3_column_int64(st, 2);
        s.state = (enum snap_state)index_column(st, 3, SNAP_DESTROYING, &bad);
        s.files = index_column(st, 4, INT64_MAX, &bad);
        s.logical = index_column(st, 5, INT64_MAX, &bad);
        s.stored = index_column(st, 6, INT64_MAX, &bad);
        if (bad || n > (int)STORE_SNAP_NAME_MAX || (n == 0 && s.state != SNAP_DESTROYING)) {
            rc = index_bad_row(ix, "snapshot", s.id);
            break;
        }
        if (n)
            memcpy(s.name, sqlite3_column_text(st, 1), (size_t)n);
        more = fn(arg, &s);
    }
    if (!rc && code != SQLITE_ROW && code != SQLITE_DONE)
        rc = index_error(ix, c->db, code, "snapshots");
    if (st)
        sqlite3_reset(st);
    index_reader_put(ix, c);
    return rc;
}
