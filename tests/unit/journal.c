/* SPDX-License-Identifier: Apache-2.0
 * The journal's ring: what was written is read, in order; torn, damaged and stale records end it.
 */
#include "server/store/journal.h"

#include "tests/unit/storetest.h"

#include <pthread.h>

#include "common/fault.h"
#include "common/log.h"

#define SIZE  JOURNAL_SIZE_MIN
#define RING0 (2 * JOURNAL_BLOCK)

static char *Dir;
static int Dirfd;

static int setup(void **state)
{
    Dir = st_tmpdir();
    Dirfd = open(Dir, O_RDONLY | O_DIRECTORY);
    return Dirfd < 0;
}

static int teardown(void **state)
{
    fault_disarm();
    close(Dirfd);
    st_rmtree(Dir);
    return 0;
}

/* A payload of n bytes that says which it is. */
static int put(struct journal *j, uint64_t lsn, size_t n, uint64_t *end)
{
    unsigned char *p = journal_buf(j, n);
    uint64_t e = 0;
    int r;

    memset(p, (int)(lsn * 7 & 0xff), n);
    r = journal_write(j, lsn, n, &e);
    if (end)
        *end = e;
    return r;
}

struct seen {
    uint64_t first, last;
    unsigned n;
    bool wrong;
    int stop;
};

static int see(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    struct seen *s = arg;
    const unsigned char *p = payload;

    if (s->n++ == 0)
        s->first = lsn;
    else if (lsn != s->last + 1)
        s->wrong = true;
    s->last = lsn;
    for (size_t i = 0; i < len; i++)
        s->wrong |= p[i] != (lsn * 7 & 0xff);
    return s->stop;
}

static struct seen walk(void)
{
    struct journal *j;
    struct seen s = {0};

    assert_int_equal(journal_open(Dirfd, "t", true, &j), 0);
    assert_int_equal(journal_walk(j, see, &s), 0);
    journal_close(j);
    assert_false(s.wrong);
    return s;
}

static struct journal *make(uint64_t next)
{
    struct journal *j;

    assert_int_equal(journal_create(Dirfd, SIZE, next), 0);
    assert_int_equal(journal_open(Dirfd, "t", false, &j), 0);
    assert_int_equal(journal_reset(j, 0, next), 0);
    return j;
}

static void bad_arguments(void **state)
{
    struct journal *j;
    uint64_t end;

    assert_int_equal(journal_open(Dirfd, "t", false, &j), -ENOENT);
    assert_int_equal(journal_create(Dirfd, SIZE - 4096, 1), -EINVAL);
    assert_int_equal(journal_create(Dirfd, SIZE + 1, 1), -EINVAL);
    assert_int_equal(journal_create(Dirfd, SIZE, 0), -EINVAL);
    j = make(5);
    assert_int_equal(journal_create(Dirfd, SIZE, 1), -EEXIST);
    assert_int_equal(put(j, 4, 10, NULL), -EINVAL);
    assert_int_equal(put(j, 6, 10, NULL), -EINVAL);
    (void)journal_buf(j, SIZE + 1);
    assert_int_equal(journal_write(j, 5, SIZE + 1, &end), -E2BIG);
    assert_int_equal(journal_write(j, 5, 0, &end), -EINVAL);
    assert_int_equal(put(j, 5, 10, NULL), 0);
    journal_close(j);
}

static void empty_and_some(void **state)
{
    struct journal *j = make(1);
    struct seen s = walk();

    assert_int_equal(s.n, 0);
    for (uint64_t i = 1; i <= 7; i++)
        assert_int_equal(put(j, i, 1 + i * 1000, NULL), 0);
    s = walk();
    assert_int_equal(s.n, 7);
    assert_int_equal(s.first, 1);
    assert_true(journal_used(j) >= 28000);
    journal_close(j);
    /* opened again, it only writes after a reset, which drops the records */
    assert_int_equal(journal_open(Dirfd, "t", false, &j), 0);
    assert_int_equal(put(j, 8, 10, NULL), -EBADF);
    assert_int_equal(journal_reset(j, 0, 8), 0);
    assert_int_equal(walk().n, 0);
    assert_int_equal(put(j, 8, 10, NULL), 0);
    assert_int_equal(walk().first, 8);
    journal_close(j);
}

/* Round and round with records of all lengths, some of which do not fit before the end. */
static void wraps(void **state)
{
    struct journal *j = make(1);
    uint64_t end[4] = {0}, x = 77;

    for (uint64_t i = 1; i < 400; i++) {
        size_t len = 1 + st_random(&x) % 16000;
        int r = put(j, i, len, &end[i % 4]);

        assert_int_equal(r, 0);
        if (i > 2)
            assert_int_equal(journal_release(j, i - 2, end[(i - 2) % 4]), 0);
        if (i % 20 == 0) {
            struct seen s = walk();
            assert_int_equal(s.last, i);
            assert_int_equal(s.n, 2);
        }
    }
    assert_true(journal_used(j) <= 2 * 20480 + 16384);
    journal_close(j);
}

static void full_ring(void **state)
{
    struct journal *j = make(1);
    uint64_t end, n = 0;
    int r;

    while ((r = put(j, n + 1, 4000, &end)) == 0)
        n++;
    assert_int_equal(r, -ENOSPC);
    assert_int_equal(n, SIZE / 4096);
    assert_int_equal(walk().n, n);
    /* a full one refuses without harm; released, it goes on */
    assert_int_equal(put(j, n + 1, 4000, &end), -ENOSPC);
    assert_int_equal(journal_release(j, 3, 3 * 4096), 0);
    assert_int_equal(walk().first, 4);
    assert_int_equal(put(j, n + 1, 8000, &end), 0);
    assert_int_equal(put(j, n + 2, 8000, &end), -ENOSPC);
    assert_int_equal(put(j, n + 2, 4000, &end), 0);
    assert_int_equal(put(j, n + 3, 1, &end), -ENOSPC);
    assert_int_equal(walk().last, n + 2);
    assert_int_equal(walk().n, n - 1);
    journal_close(j);
}

static void flip(uint64_t off)
{
    st_flip(st_path(Dir, "journal"), (long)off);
}

/* Whatever byte of a record is wrong, it and what follows is not there. */
static void torn_record(void **state)
{
    static const unsigned at[] = {0, 4, 8, 16, 24, 25, 28, 31, 32, 39, 64, 65, 3000, 5063};

    for (size_t i = 0; i < sizeof(at) / sizeof(*at); i++) {
        struct journal *j = make(1);
        assert_int_equal(put(j, 1, 100, NULL), 0);
        assert_int_equal(put(j, 2, 5000, NULL), 0);
        assert_int_equal(put(j, 3, 100, NULL), 0);
        journal_close(j);
        assert_int_equal(walk().n, 3);
        flip(RING0 + 4096 + at[i]);
        assert_int_equal(walk().n, 1);
        unlink(st_path(Dir, "journal"));
    }
}

/* A record that an earlier life left in the right place with the right number is none of this life's. */
static void stale_epoch(void **state)
{
    struct journal *j = make(1);

    for (uint64_t i = 1; i <= 5; i++)
        assert_int_equal(put(j, i, 100, NULL), 0);
    assert_int_equal(journal_reset(j, 0, 2), 0);
    assert_int_equal(put(j, 2, 100, NULL), 0);
    /* 2 is where 1 was; behind it is the old 2; then 3, in the place where a new 3 ... */
    assert_int_equal(walk().n, 1);
    assert_int_equal(put(j, 3, 100, NULL), 0);
    assert_int_equal(walk().n, 2);
    journal_close(j);
    /* the same numbers in the same places */
    assert_int_equal(journal_open(Dirfd, "t", false, &j), 0);
    assert_int_equal(journal_reset(j, 0, 2), 0);
    assert_int_equal(walk().n, 0);
    journal_close(j);
}

static void headers(void **state)
{
    struct journal *j = make(1);
    uint64_t end;

    assert_int_equal(put(j, 1, 100, &end), 0);
    assert_int_equal(put(j, 2, 100, NULL), 0);
    assert_int_equal(journal_release(j, 1, end), 0);
    journal_close(j);
    /* torn in either place: the other one is a little older or the same */
    flip(20);
    assert_true(walk().last == 2);
    flip(20);
    flip(JOURNAL_BLOCK + 20);
    assert_true(walk().last == 2);
    flip(50);
    assert_int_equal(journal_open(Dirfd, "t", true, &j), -EUCLEAN);
    assert_int_equal(journal_open(Dirfd, "t", false, &j), -EUCLEAN);
    flip(50);
    assert_int_equal(truncate(st_path(Dir, "journal"), RING0 + SIZE - 1), 0);
    assert_int_equal(journal_open(Dirfd, "t", true, &j), -EUCLEAN);
    assert_int_equal(truncate(st_path(Dir, "journal"), 100), 0);
    assert_true(journal_open(Dirfd, "t", true, &j) < 0);
}

static void grows_and_shrinks(void **state)
{
    struct journal *j = make(1);

    assert_int_equal(put(j, 1, 100, NULL), 0);
    assert_int_equal(journal_reset(j, 4 * SIZE, 2), 0);
    assert_int_equal(journal_size(j), 4 * SIZE);
    assert_int_equal(st_size(st_path(Dir, "journal")), RING0 + 4 * SIZE);
    assert_int_equal(put(j, 2, 3 * SIZE, NULL), 0);
    assert_int_equal(walk().n, 1);
    assert_int_equal(journal_reset(j, SIZE, 3), 0);
    assert_int_equal(st_size(st_path(Dir, "journal")), RING0 + SIZE);
    assert_int_equal(put(j, 3, 3 * SIZE, NULL), -E2BIG);
    assert_int_equal(put(j, 3, 100, NULL), 0);
    assert_int_equal(walk().first, 3);
    journal_close(j);
}

static void *ask(void *arg)
{
    struct journal *j = arg;

    while (journal_size(j) < 4 * SIZE)
        assert_int_equal(journal_used(j), 0);
    return NULL;
}

/* For the thread sanitizer: statistics are asked for while it grows. */
static void grows_while_others_look(void **state)
{
    struct journal *j = make(1);
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, ask, j), 0);
    for (uint32_t i = 2; i <= 4; i++)
        assert_int_equal(journal_reset(j, i * SIZE, 1), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    journal_close(j);
}

static void skips_ahead_when_empty(void **state)
{
    struct journal *j = make(1);
    uint64_t end;

    assert_int_equal(put(j, 1, 100, &end), 0);
    assert_int_equal(journal_release(j, 1, end), 0);
    assert_int_equal(journal_release(j, 2, 0), 0); /* made durable in another way */
    assert_int_equal(walk().n, 0);
    assert_int_equal(put(j, 2, 100, NULL), -EINVAL);
    assert_int_equal(put(j, 3, 100, NULL), 0);
    assert_int_equal(walk().first, 3);
    journal_close(j);
}

static void failures(void **state)
{
    struct journal *j;
    uint64_t end;

    fault_arm("journal.fill", 1, FAULT_FAIL);
    assert_int_equal(journal_create(Dirfd, SIZE, 1), -EIO);
    fault_disarm();
    assert_int_equal(journal_open(Dirfd, "t", false, &j), -ENOENT);
    j = make(1);
    assert_int_equal(put(j, 1, 100, &end), 0);
    fault_arm("journal.header", 1, FAULT_FAIL);
    assert_int_equal(journal_release(j, 1, end), -EIO);
    fault_disarm();
    assert_int_equal(walk().n, 1);
    fault_arm("journal.write", 1, FAULT_FAIL);
    assert_int_equal(put(j, 2, 100, &end), -EIO);
    fault_disarm();
    assert_int_equal(put(j, 2, 100, &end), -EIO); /* for good */
    assert_int_equal(walk().n, 1);
    journal_close(j);
}

/* Random bytes everywhere: never a crash, never a record that was not written. */
static void hostile_bytes(void **state)
{
    uint64_t x = 4711;

    for (int i = 0; i < 300; i++) {
        struct journal *j = make(1);
        struct seen s = {0};
        for (uint64_t n = 1; n <= 6; n++)
            assert_int_equal(put(j, n, 100 + n * 700, NULL), 0);
        journal_close(j);
        for (unsigned k = (unsigned)(st_random(&x) % 4); k < 4; k++)
            flip(st_random(&x) % (i % 2 ? RING0 : RING0 + SIZE));
        if (journal_open(Dirfd, "t", true, &j) == 0) {
            assert_int_equal(journal_walk(j, see, &s), 0);
            assert_false(s.wrong);
            assert_true(s.n <= 6);
            journal_close(j);
        }
        unlink(st_path(Dir, "journal"));
    }
}

static void walk_stops(void **state)
{
    struct journal *j = make(1);
    struct seen s = {.stop = 42};

    assert_int_equal(put(j, 1, 100, NULL), 0);
    assert_int_equal(put(j, 2, 100, NULL), 0);
    assert_int_equal(journal_walk(j, see, &s), 42);
    assert_int_equal(s.n, 1);
    journal_close(j);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_arguments, setup, teardown),
        cmocka_unit_test_setup_teardown(empty_and_some, setup, teardown),
        cmocka_unit_test_setup_teardown(wraps, setup, teardown),
        cmocka_unit_test_setup_teardown(full_ring, setup, teardown),
        cmocka_unit_test_setup_teardown(torn_record, setup, teardown),
        cmocka_unit_test_setup_teardown(stale_epoch, setup, teardown),
        cmocka_unit_test_setup_teardown(headers, setup, teardown),
        cmocka_unit_test_setup_teardown(grows_and_shrinks, setup, teardown),
        cmocka_unit_test_setup_teardown(grows_while_others_look, setup, teardown),
        cmocka_unit_test_setup_teardown(skips_ahead_when_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(failures, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(walk_stops, setup, teardown),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
