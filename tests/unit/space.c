/* SPDX-License-Identifier: Apache-2.0
 * space: when the log tells that the store's disk fills, is full, and has room again.
 */
#include "server/store/space.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define M (UINT64_C(1) << 20)
#define G (UINT64_C(1) << 30)

static struct space disk(uint64_t size, uint64_t avail)
{
    return (struct space){.size = size, .free = avail, .reserve = size / 8 < 64 * M ? size / 8 : 64 * M};
}

/* n steps; how many changed the state. */
static unsigned steps(struct space_watch *w, unsigned n, uint64_t avail, uint64_t pending, uint64_t refused)
{
    struct space now = disk(100 * G, avail);
    unsigned changes = 0;
    while (n--)
        changes += space_watch_step(w, &now, pending, refused);
    return changes;
}

static void test_low(void **state)
{
    struct space s = disk(100 * G, 0);
    assert_int_equal(space_low(&s), G);
    s = disk(10 * G, 0);
    assert_int_equal(space_low(&s), 10 * G / 20);
    s = disk(256 * M, 0); /* its reserve is more than a twentieth */
    assert_int_equal(space_low(&s), 48 * M);
    s = disk(UINT64_C(1) << 63, 0);
    assert_int_equal(space_low(&s), G);
}

static void test_read(void **state)
{
    struct space s;
    assert_int_equal(space_read("/nowhere/at/all", &s), -ENOENT);
    assert_int_equal(s.size, 0);
    assert_int_equal(space_read("/", &s), 0);
    assert_true(s.size > 0 && s.free <= s.size && s.reserve > 0);
}

static void test_fills(void **state)
{
    struct space_watch w = {0};
    assert_int_equal(steps(&w, 100, 50 * G, 0, 0), 0);
    assert_int_equal(steps(&w, 1, G - 1, 0, 0), 1);
    assert_int_equal(w.state, SPACE_LOW);
    assert_int_equal(steps(&w, 100, 70 * M, 0, 0), 0);
    /* Around the threshold, and above it for a moment: nothing. */
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(steps(&w, 1, i % 2 ? G - 1 : G + M, 0, 0), 0);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(steps(&w, SPACE_CALM - 1, 2 * G, 0, 0) + steps(&w, 1, G, 0, 0), 0);
    assert_int_equal(steps(&w, 1, 50 * M, 0, 1), 1);
    assert_int_equal(w.state, SPACE_FULL);
    for (unsigned i = 2; i < 50; i++)
        assert_int_equal(steps(&w, 1, i % 2 ? 50 * M : 100 * M, 0, i), 0);
    assert_int_equal(steps(&w, SPACE_CALM - 1, 2 * G, 0, 49), 0);
    assert_int_equal(steps(&w, 1, 2 * G, 0, 49), 1);
    assert_int_equal(w.state, SPACE_ROOM);
    assert_int_equal(steps(&w, 100, 2 * G, 0, 49), 0);
}

/* Refusals that are not for a full disk; those while much waits to get there; a disk that is full at the start. */
static void test_refusals(void **state)
{
    struct space_watch w = {0};
    for (unsigned i = 1; i < 50; i++)
        assert_int_equal(steps(&w, 1, 50 * G, 0, i), 0);
    assert_int_equal(steps(&w, 1, 3 * G, 4 * G, 50), 1);
    assert_int_equal(w.state, SPACE_FULL);
    for (unsigned i = 51; i < 100; i++) /* and again and again, with room between */
        assert_int_equal(steps(&w, SPACE_CALM - 1, 3 * G, 0, i), 0);
    assert_int_equal(steps(&w, SPACE_CALM, 3 * G, 0, 99), 1);
    assert_int_equal(w.state, SPACE_ROOM);

    w = (struct space_watch){0};
    assert_int_equal(steps(&w, 1, 0, 0, 0), 1);
    assert_int_equal(w.state, SPACE_LOW);
    w = (struct space_watch){0};
    assert_int_equal(steps(&w, 1, 0, 0, 1), 1);
    assert_int_equal(w.state, SPACE_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_low),
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_fills),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
