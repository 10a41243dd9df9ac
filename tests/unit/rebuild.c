/* SPDX-License-Identifier: Apache-2.0
 * Tests of what an index is rebuilt from: of all that packs have of a file's bytes, the newest wins, whatever the background
 * has moved, compressed again or put together meanwhile.
 */
#include "server/store/repair.h"

#include <pthread.h>
#include <stdatomic.h>

#include "server/store/check.h"
#include "server/store/snap.h"
#include "tests/unit/storetest.h"
#include "tests/unit/volumetest.h"

#define SLOTS 6u
#define PAGES (SLOTS * SLOT_PAGES)
#define BYTES ((size_t)SLOTS * SLOT_SIZE)

struct world {
    struct vt t;
    uint64_t ino, seed;
    unsigned char *want, *got;
    atomic_bool stop;
    int err;
};

/* A volume with a file, empty, in a snapshot: so it has a name after a rebuild. */
static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct volume_props p;
    struct vattr a;

    volume_props_default(&p);
    p.dedup = false; /* what is found to be equal has no record of its own */
    p.recompress = 9;
    vt_make(&w->t, &p);
    w->t.pack_size = 2u << 20;
    w->seed = 4711;
    w->want = calloc(1, BYTES);
    w->got = malloc(BYTES);
    vt_open(&w->t);
    assert_int_equal(vt_create(&w->t, &w->t.c, STORE_ROOT_INO, "f", IT_REG, &a), 0);
    vt_sync(&w->t);
    w->ino = a.ino;
    assert_int_equal(snap_create(w->t.v, "s", NULL), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    vt_remove(&w->t);
    free(w->want);
    free(w->got);
    free(w);
    return 0;
}

/* New content of pages, compressible a little; none is zero. */
static int put(struct world *w, struct store_call *c, unsigned page, unsigned n, bool stable)
{
    for (unsigned i = 0; i < n; i++) {
        unsigned char *p = w->want + (size_t)(page + i) * STORE_PAGE;
        st_fill(p, 1024, ++w->seed);
        for (unsigned k = 1; k < 4; k++)
            memcpy(p + k * 1024, p, 1024);
    }
    return volume_write(w->t.v, c, w->ino, (uint64_t)page * STORE_PAGE, w->want + (size_t)page * STORE_PAGE,
                        (size_t)n * STORE_PAGE, stable, NULL, NULL);
}

static void put_synced(struct world *w, unsigned page, unsigned n)
{
    assert_int_equal(put(w, &w->t.c, page, n, true), 0);
    vt_sync(&w->t);
}

static void say(void *arg, const char *text)
{
    print_message("%s\n", text);
}

/* Closes the volume, loses its index, and has everything that was written; damage: something else is lost, too. */
static void comes_back(struct world *w, bool damage)
{
    struct repair_options opt = {.rebuild = true, .data = true};
    struct repair_report rep;
    struct check_report cr;
    char path[256];

    vt_close(&w->t);
    if (damage) {
        snprintf(path, sizeof(path), "%s/packs/03/00000003.pack", w->t.dir);
        st_flip(path, 64 + 64 + 100); /* the first record's payload */
    }
    snprintf(path, sizeof(path), "%s/index.db", w->t.dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(volume_repair(w->t.dir, &opt, say, NULL, &rep), 0);
    assert_true(rep.left == 0 || damage);
    assert_int_equal(volume_check(w->t.dir, true, say, NULL, &cr), 0);
    assert_int_equal(cr.problems != 0, damage); /* of the snapshot */
    vt_open(&w->t);
    assert_int_equal(vt_read(&w->t, &w->t.c, w->ino, 0, w->got, BYTES), BYTES);
    for (unsigned i = 0; i < PAGES; i++)
        if (memcmp(w->want + (size_t)i * STORE_PAGE, w->got + (size_t)i * STORE_PAGE, STORE_PAGE))
            fail_msg("page %u is not what was written last", i);
    vt_close(&w->t);
}

static void all_comes_back(struct world *w)
{
    comes_back(w, false);
}

/* Slots in the index in many pieces, none of them in memory. */
static void many_pieces(struct world *w)
{
    put_synced(w, 0, PAGES);
    vt_reopen(&w->t);
    for (unsigned i = 0; i < PAGES; i += 2)
        put_synced(w, i, 1);
    vt_reopen(&w->t);
}

static void moved_then_overwritten(void **state)
{
    struct world *w = *state;

    many_pieces(w);
    assert_int_equal(volume_gc(w->t.v), 0);
    for (unsigned i = 0; i < PAGES; i += 5)
        put_synced(w, i, 1);
    put_synced(w, SLOT_PAGES, SLOT_PAGES);
    all_comes_back(w);
}

static void cut_off_then_written(void **state)
{
    struct world *w = *state;

    many_pieces(w);
    assert_int_equal(volume_gc(w->t.v), 0);
    assert_int_equal(vt_truncate(&w->t, w->ino, 0), 0);
    vt_sync(&w->t);
    for (unsigned i = 0; i < PAGES; i += SLOT_PAGES / 2)
        put_synced(w, i, SLOT_PAGES / 2);
    assert_int_equal(volume_gc(w->t.v), 0);
    all_comes_back(w);
}

/* A slot that is encoded and not committed yet has its number already when its old pieces are put together. */
static void overtaken(void **state)
{
    struct world *w = *state;

    for (int round = 0; round < 3; round++) {
        many_pieces(w);
        for (unsigned i = 0; i < SLOTS; i++) /* encoded at once, in the index in a second */
            assert_int_equal(put(w, &w->t.c, i * SLOT_PAGES, SLOT_PAGES, false), 0);
        usleep(50000); /* so that they probably are: otherwise nothing is tested, and nothing fails */
        assert_int_equal(volume_gc(w->t.v), 0);
        assert_int_equal(volume_commit(w->t.v, &w->t.c, w->ino), 0);
        vt_sync(&w->t);
        all_comes_back(w);
        vt_open(&w->t);
    }
    vt_close(&w->t);
}

static void *write_on(void *arg)
{
    struct world *w = arg;
    struct store_call c;
    uint64_t x = 99;

    store_call_init(&c, true);
    for (int i = 0; i < 400 && !w->err; i++) {
        bool whole = st_random(&x) % 16 == 0, stable = st_random(&x) % 4 == 0;
        unsigned page = (unsigned)(st_random(&x) % PAGES);
        w->err = whole ? put(w, &c, page / SLOT_PAGES * SLOT_PAGES, SLOT_PAGES, false) : put(w, &c, page, 1, stable);
        if (!w->err && i % 8 == 0)
            w->err = volume_commit(w->t.v, &c, w->ino);
        if (!w->err && i % 8 == 0)
            w->err = volume_call_wait(&c);
    }
    store_call_release(&c);
    atomic_store(&w->stop, true);
    return NULL;
}

static void written_to_meanwhile(void **state)
{
    struct world *w = *state;
    pthread_t writer;

    many_pieces(w);
    assert_int_equal(pthread_create(&writer, NULL, write_on, w), 0);
    while (!atomic_load(&w->stop)) {
        assert_int_equal(volume_gc(w->t.v), 0);
        usleep(10000);
    }
    pthread_join(writer, NULL);
    assert_int_equal(w->err, 0);
    all_comes_back(w);
}

/* What the snapshot has of the file is overwritten, in part, wholly, and where its own bytes are lost. */
static void over_a_snapshot(void **state)
{
    struct world *w = *state;

    for (int round = 0; round < 3; round++) {
        char name[8];
        put_synced(w, 0, PAGES);
        snprintf(name, sizeof(name), "t%d", round);
        assert_int_equal(snap_create(w->t.v, name, NULL), 0);
        for (unsigned i = 3; i < PAGES; i += 7)
            put_synced(w, i, 1);
        put_synced(w, SLOT_PAGES / 2, SLOT_PAGES);
        put_synced(w, 2 * SLOT_PAGES, SLOT_PAGES);
        if (round == 2)
            put_synced(w, 0, PAGES);
        assert_int_equal(volume_gc(w->t.v), 0);
        put_synced(w, 1, 1);
        comes_back(w, round == 2);
        vt_open(&w->t);
    }
    vt_close(&w->t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(moved_then_overwritten, setup, teardown),
        cmocka_unit_test_setup_teardown(cut_off_then_written, setup, teardown),
        cmocka_unit_test_setup_teardown(over_a_snapshot, setup, teardown),
        cmocka_unit_test_setup_teardown(overtaken, setup, teardown),
        cmocka_unit_test_setup_teardown(written_to_meanwhile, setup, teardown),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
