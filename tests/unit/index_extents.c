/* SPDX-License-Identifier: Apache-2.0
 * Tests of index: extents against a model, the chunks and packs that they refer to, and their listing.
 */
#include "tests/unit/indextest.h"

#include <xxhash.h>

/* Runs SQL on the database from outside; with a result: its first integer. */
struct packs_seen {
    unsigned count;
    uint32_t last;
    uint64_t live;
};

static bool see_pack(void *arg, uint32_t pack, uint64_t live)
{
    struct packs_seen *s = arg;

    assert_true(pack > s->last);
    s->last = pack;
    s->live += live;
    s->count++;
    return true;
}

#define FILES 3
#define SPAN  (4 * SLOT_SIZE)

struct model {
    uint32_t byte[FILES][SPAN]; /* the chunk id behind each byte, 0 = hole */
    uint32_t at[FILES][SPAN];   /* and where in the chunk */
};

static void compare(struct fix *f, struct model *m)
{
    static struct index_extent e[4096];

    for (uint64_t i = 0; i < FILES; i++) {
        uint64_t pos = 0, out, hole = 0;
        int n = index_get_extents(f->ix, 10 + i, 0, UINT64_MAX, e, 4096);
        assert_true(n >= 0 && n < 4096);
        for (int k = 0; k < n; k++) {
            for (; pos < e[k].off; pos++)
                assert_int_equal(m->byte[i][pos], 0);
            for (; pos < e[k].off + e[k].len; pos++)
                if (m->byte[i][pos] != e[k].chunk.id ||
                    m->at[i][pos] != e[k].chunk_off + (pos - e[k].off))
                    fail_msg("file %d byte %d", (int)i, (int)pos);
        }
        for (; pos < SPAN; pos++)
            assert_int_equal(m->byte[i][pos], 0);
        while (hole < SPAN && m->byte[i][hole])
            hole++;
        int rc = index_seek(f->ix, 10 + i, 0, SPAN, false, &out);
        assert_int_equal(rc, hole < SPAN ? 0 : -ENXIO);
        if (!rc)
            assert_int_equal(out, hole);
        for (pos = hole; pos < SPAN && !m->byte[i][pos];)
            pos++;
        rc = index_seek(f->ix, 10 + i, hole, SPAN, true, &out);
        assert_int_equal(rc, pos < SPAN ? 0 : -ENXIO);
        if (!rc)
            assert_int_equal(out, pos);
    }
}

static unsigned blobs_moved;

static int move_blob(void *arg, const struct chunk *c, const void *blob)
{
    struct fix *f = arg;
    struct chunk to = *c;
    int rc;

    assert_int_equal(XXH3_64bits(blob, c->stored_len), c->checksum);
    to.pack = 77;
    to.pack_off = 64 + c->id;
    rc = index_move_chunk(f->ix, &to);
    assert_true(rc == 1 || rc == 0); /* 0: freed by this transaction, which the walk does not see */
    blobs_moved += (unsigned)rc;
    return 0;
}

/* Where a blob's beginning is: in the file that it was written to, though another has its end where there would be no place
 * for the beginning; nowhere if only that has it. */
static void places_of_blobs(void **state)
{
    struct fix *f = *state;
    struct chunk c[2] = {{.id = 1, .len = 8192, .stored_len = 8192}, {.id = 2, .len = 8192, .stored_len = 8192}};
    struct index_blob_place p[2];
    struct index_delta d = {0};
    unsigned char data[8192];

    st_fill(data, sizeof(data), 6);
    c[0].checksum = c[1].checksum = XXH3_64bits(data, sizeof(data));
    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 2, "written");
    put_file(f->ix, 3, "clone");
    assert_int_equal(index_map(f->ix, 2, 12288, &c[0], data, &d), 0);
    assert_int_equal(index_map(f->ix, 2, 40960, &c[1], data, &d), 0);
    assert_int_equal(index_clone(f->ix, 2, 16384, 3, 0, 4096, &d), 0);
    assert_int_equal(index_clone(f->ix, 2, 45056, 3, 4096, 4096, &d), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_blob_places(f->ix, p, 2), 2);
    for (unsigned i = 0; i < 2; i++)
        assert_true(p[i].chunk == c[i].id && p[i].ino == (i ? 3 : 2) && p[i].off == (i ? 0 : 12288));
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_punch(f->ix, 2, 0, 40960, 0, &d), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_blob_places(f->ix, p, 1), 1); /* the one without a place is not in its way */
    assert_int_equal(p[0].chunk, 2);
}

static void counters(struct fix *f, const struct index_delta *d)
{
    assert_int_equal(raw(f, "SELECT coalesce(sum(len), 0) FROM extent"), d->logical);
    assert_int_equal(raw(f, "SELECT coalesce(sum(stored_len), 0) FROM chunk"), d->stored);
    assert_int_equal(raw(f, "SELECT count(*) FROM chunk c WHERE refs <> (SELECT count(*) FROM extent"
                            " WHERE chunk = c.id)"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM extent WHERE chunk NOT IN (SELECT id FROM chunk)"),
                     0);
    assert_int_equal(raw(f, "SELECT count(*) FROM pack p WHERE live <> (SELECT"
                            " coalesce(sum(stored_len), 0) FROM chunk WHERE pack = p.id)"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM chunk WHERE pack <> 0 AND pack NOT IN"
                            " (SELECT id FROM pack)"), 0);
    assert_int_equal(raw(f, "SELECT coalesce(sum(length(data)), 0) FROM blob"),
                     index_blob_bytes(f->ix));
    assert_int_equal(raw(f, "SELECT coalesce(sum(stored_len), 0) FROM chunk WHERE pack = 0"),
                     index_blob_bytes(f->ix));
    assert_int_equal(raw(f, "SELECT count(*) FROM blob b WHERE NOT EXISTS (SELECT 1 FROM chunk"
                            " WHERE id = b.chunk AND pack = 0)"), 0);
}

static void extents_follow_a_model(void **state)
{
    struct fix *f = *state;
    struct model *m = calloc(1, sizeof(*m)), *before = malloc(sizeof(*m));
    struct index_delta d = {0}, d_before;
    uint64_t seed = 42, id = 1;
    uint8_t *data = malloc(SLOT_SIZE);

    for (int txn = 0; txn < 60; txn++) {
        memcpy(before, m, sizeof(*m));
        d_before = d;
        assert_int_equal(index_begin(f->ix), 0);
        for (int op = 0; op < 10; op++) {
            uint64_t file = st_random(&seed) % FILES, r = st_random(&seed);
            uint64_t off = st_random(&seed) % SPAN;
            uint32_t room = SLOT_SIZE - (uint32_t)(off % SLOT_SIZE);
            if (r % 5 < 3) { /* map, a third of them blobs */
                uint32_t len = 1 + (uint32_t)(st_random(&seed) % (r % 7 ? 9000 : SLOT_SIZE));
                struct chunk c = {.id = id++, .codec = CHUNK_RAW};
                c.len = c.stored_len = len < room ? len : room;
                if (r % 5)
                    c.pack = 1 + (uint32_t)(r >> 8) % 40, c.pack_off = 64;
                st_fill(data, c.len, c.id);
                c.checksum = XXH3_64bits(data, c.len);
                assert_int_equal(
                    index_map(f->ix, 10 + file, off, &c, c.pack ? NULL : data, &d), 0);
                for (uint32_t i = 0; i < c.len; i++) {
                    m->byte[file][off + i] = (uint32_t)c.id;
                    m->at[file][off + i] = i;
                }
            } else if (r % 13 < 5) { /* clone any bytes to anywhere */
                uint64_t src = r / 64 % FILES, from = st_random(&seed) % SPAN;
                uint64_t len = st_random(&seed) % (r % 3 ? 20000 : SPAN);
                bool overlap;
                len = len < SPAN - from ? len : SPAN - from;
                len = len < SPAN - off ? len : SPAN - off;
                overlap = src == file && len && from < off + len && off < from + len;
                assert_int_equal(index_clone(f->ix, 10 + src, from, 10 + file, off, len, &d),
                                 overlap ? -EINVAL : 0);
                if (overlap)
                    continue;
                memcpy(&m->byte[file][off], &m->byte[src][from], len * sizeof(m->byte[0][0]));
                memcpy(&m->at[file][off], &m->at[src][from], len * sizeof(m->at[0][0]));
            } else { /* punch, bounded or to the end */
                uint64_t len = r % 11 ? st_random(&seed) % (r % 3 ? 5000 : SPAN) : UINT64_MAX;
                unsigned max = (unsigned)(r >> 20) % 3;
                int rc;
                while ((rc = index_punch(f->ix, 10 + file, off, len, max, &d)) == 1)
                    ;
                assert_int_equal(rc, 0);
                for (uint64_t i = off; i < SPAN && i - off < len; i++)
                    m->byte[file][i] = 0;
            }
        }
        if (txn % 9 == 4)
            assert_int_equal(index_walk_blobs(f->ix, 1 + txn % 4u, move_blob, f), 0);
        if (txn % 7 == 3) {
            index_rollback(f->ix);
            memcpy(m, before, sizeof(*m));
            d = d_before;
        } else {
            assert_int_equal(index_commit(f->ix), 0);
        }
        compare(f, m);
        counters(f, &d);
        if (txn % 20 == 10) {
            index_close(f->ix);
            assert_int_equal(index_open(f->path, "test", &f->ix), 0);
        }
    }
    assert_true(d.stored > 0 && raw(f, "SELECT max(refs) FROM chunk") > 1 && blobs_moved > 10);
    /* everything away: no pack has live bytes */
    assert_int_equal(index_begin(f->ix), 0);
    for (uint64_t i = 0; i < FILES; i++)
        assert_int_equal(index_punch(f->ix, 10 + i, 0, UINT64_MAX, 0, &d), 0);
    assert_int_equal(d.logical, 0);
    assert_int_equal(d.stored, 0);
    assert_int_equal(index_commit(f->ix), 0);
    struct packs_seen seen = {0};
    assert_int_equal(index_list_packs(f->ix, see_pack, &seen), 0);
    assert_true(seen.count > 1 && seen.live == 0);
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_del_pack(f->ix, seen.last), 0);
    assert_int_equal(index_commit(f->ix), 0);
    unsigned before_del = seen.count;
    seen = (struct packs_seen){0};
    assert_int_equal(index_list_packs(f->ix, see_pack, &seen), 0);
    assert_int_equal(seen.count, before_del - 1);
    assert_int_equal(raw(f, "SELECT count(*) FROM chunk"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM blob"), 0);
    free(m);
    free(before);
    free(data);
}

static void map_limits(void **state)
{
    struct fix *f = *state;
    struct index_delta d = {0};
    struct chunk c = {.id = 1, .pack = 1, .pack_off = 64, .stored_len = 2, .len = 2};
    uint64_t out;

    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_map(f->ix, 2, SLOT_SIZE - 1, &c, NULL, &d), -EINVAL);
    assert_int_equal(index_map(f->ix, 2, STORE_FILE_MAX, &c, NULL, &d), -EINVAL);
    assert_int_equal(index_map(f->ix, 2, 0, &c, "xx", &d), -EINVAL);
    assert_int_equal(index_map(f->ix, 2, SLOT_SIZE - 2, &c, NULL, &d), 0);
    c.id = 2; /* the last slot of the largest file is not whole */
    assert_int_equal(index_map(f->ix, 2, STORE_FILE_MAX - 2, &c, NULL, &d), 0);
    assert_int_equal(index_map(f->ix, 2, 500, &c, NULL, &d), -EUCLEAN); /* the id is in use */
    assert_int_equal(index_clone(f->ix, 2, 0, 3, STORE_FILE_MAX - 1, 2, &d), -EINVAL);
    assert_int_equal(index_clone(f->ix, 2, UINT64_MAX, 3, 0, 2, &d), -EINVAL);
    assert_int_equal(index_clone(f->ix, 2, 0, 3, 0, UINT64_MAX, &d), -EINVAL);
    assert_int_equal(index_clone(f->ix, 2, 0, 2, SLOT_SIZE - 1, SLOT_SIZE, &d), -EINVAL);
    index_rollback(f->ix);
    assert_int_equal(index_seek(f->ix, 2, 0, UINT64_MAX, true, &out), -ENXIO);
    assert_int_equal(index_seek(f->ix, 2, 5, 5, false, &out), -ENXIO);
    assert_int_equal(index_seek(f->ix, 2, 5, 6, false, &out), 0);
    assert_int_equal(out, 5);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fix_setup, fix_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(extents_follow_a_model), T(map_limits), T(places_of_blobs)};

    return cmocka_run_group_tests_name("index_extents", tests, NULL, NULL);
}
