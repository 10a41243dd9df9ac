/* SPDX-License-Identifier: Apache-2.0
 * Tests of lockrange against a map of bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/state/lockrange.h"

#define BYTES  24
#define OWNERS 3
static char owners[OWNERS];
static char model[OWNERS][BYTES]; /* 0, 'r', 'w'; the last byte stands for everything behind */

static uint64_t end_at(int i)
{
    return i == BYTES - 1 ? UINT64_MAX : (uint64_t)i;
}

/* The set says what the model says, and is in its normal form. */
static void compare(const struct lockset *ls, int counts[OWNERS])
{
    char seen[OWNERS][BYTES] = {{0}};
    int n[OWNERS] = {0};
    uint64_t last = 0;

    list_for_each (it, &ls->ranges) {
        const struct lockrange *r = list_entry(it, struct lockrange, node);
        int o = (int)((char *)r->owner - owners);

        assert_true(r->start <= r->end && r->start >= last);
        last = r->start;
        n[o]++;
        for (int i = 0; i < BYTES; i++) {
            if ((uint64_t)i >= r->start && (uint64_t)i <= r->end) {
                assert_int_equal(seen[o][i], 0);
                seen[o][i] = r->write ? 'w' : 'r';
            }
        }
    }
    assert_memory_equal(seen, model, sizeof model);
    for (int o = 0; o < OWNERS; o++)
        assert_int_equal(n[o], counts[o]);
}

static void test_model(void **unused)
{
    struct lockset ls;
    int counts[OWNERS] = {0}, refused = 0, granted = 0;

    srandom(4711);
    lockset_init(&ls);
    memset(model, 0, sizeof model);
    for (int step = 0; step < 200000; step++) {
        unsigned o = random() % OWNERS, a = random() % BYTES, b = random() % BYTES, what = random() % 16;
        int delta;
        bool write = random() & 1, clash = false;

        if (a > b) {
            unsigned t = a;
            a = b;
            b = t;
        }
        if (what == 0) {
            assert_int_equal(lockset_drop(&ls, &owners[o]), counts[o]);
            memset(model[o], 0, BYTES);
            counts[o] = 0;
        } else if (what < 7) {
            assert_int_equal(lockset_clear(&ls, &owners[o], a, end_at(b), &delta), 0);
            memset(model[o] + a, 0, b - a + 1);
            counts[o] += delta;
        } else {
            for (unsigned x = 0; x < OWNERS; x++)
                for (unsigned i = a; i <= b; i++)
                    clash |= x != o && model[x][i] && (write || model[x][i] == 'w');
            assert_int_equal(!!lockset_conflict(&ls, &owners[o], a, end_at(b), write), clash);
            refused += clash;
            if (!clash) {
                granted++;
                assert_int_equal(lockset_set(&ls, &owners[o], a, end_at(b), write, &delta), 0);
                memset(model[o] + a, write ? 'w' : 'r', b - a + 1);
                counts[o] += delta;
            }
        }
        compare(&ls, counts);
    }
    assert_true(refused > 1000 && granted > 1000);
    lockset_release(&ls);
    assert_true(list_empty(&ls.ranges));
}

static void test_ends(void **unused)
{
    struct lockset ls;
    int delta;

    lockset_init(&ls);
    assert_int_equal(lockset_set(&ls, &owners[0], 0, UINT64_MAX, true, &delta), 0);
    assert_int_equal(delta, 1);
    assert_non_null(lockset_conflict(&ls, &owners[1], UINT64_MAX, UINT64_MAX, false));
    assert_int_equal(lockset_clear(&ls, &owners[0], 1, UINT64_MAX - 1, &delta), 0);
    assert_int_equal(delta, 1);
    assert_null(lockset_conflict(&ls, &owners[1], 1, UINT64_MAX - 1, true));
    assert_non_null(lockset_conflict(&ls, &owners[1], 0, 1, true));
    /* neighbours of one type merge, of two types do not */
    assert_int_equal(lockset_set(&ls, &owners[0], 1, 9, true, &delta), 0);
    assert_int_equal(delta, 0);
    assert_int_equal(lockset_set(&ls, &owners[0], 10, 19, false, &delta), 0);
    assert_int_equal(delta, 1);
    lockset_release(&ls);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
