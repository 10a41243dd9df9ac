/* SPDX-License-Identifier: Apache-2.0
 * Tests of fold: whatever maps there are, the file's bytes come from the same ones as in their order (D1, D2).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/fold.h"

#define FILES 3u
#define SLOTS 4u
#define SIZE  (SLOTS * SLOT_SIZE)

/* Which map each byte is of; 0: none. */
struct model {
    unsigned of[FILES][SIZE];
    unsigned calls;
    uint64_t ino, slot; /* of the last call */
    int fail_at;
};

static void put(struct model *m, const struct rowop *op)
{
    for (uint64_t i = 0; i < op->len; i++)
        m->of[op->ino - 1][op->off + i] = (unsigned)op->chunk.id;
}

static int got(void *arg, struct txg *t, struct rowop *op)
{
    struct model *m = arg;
    uint64_t slot = op->off / SLOT_SIZE;

    assert_ptr_equal(t, (struct txg *)op->src);
    assert_true(op->ino > m->ino || (op->ino == m->ino && slot >= m->slot));
    m->ino = op->ino;
    m->slot = slot;
    if (m->fail_at && m->calls + 1 == (unsigned)m->fail_at)
        return -EIO;
    m->calls++;
    put(m, op);
    return 0;
}

static struct rowop *map(unsigned id, uint64_t ino, uint64_t off, uint64_t len)
{
    struct rowop *op = rowop_new(OP_MAP, ino, NULL, 0, NULL, 0);

    op->off = off;
    op->len = len;
    op->chunk.id = id;
    op->src = (uintptr_t)&map + id; /* as the txg, which nobody looks into */
    return op;
}

static struct txg *txg_of(const struct rowop *op)
{
    return (struct txg *)op->src;
}

static void test_random_maps(void **state)
{
    struct model *want = calloc(1, sizeof(*want)), *have = calloc(1, sizeof(*have));
    struct fold f = {0};
    uint64_t rng = 1;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        struct rowop *ops[200];
        unsigned n = 1 + round * 3;
        memset(want, 0, sizeof(*want));
        memset(have, 0, sizeof(*have));
        for (unsigned i = 0; i < n; i++) {
            uint64_t r = rng = rng * 6364136223846793005u + 1442695040888963407u;
            uint64_t slot = (r >> 20) % SLOTS * SLOT_SIZE, page = (r >> 30) % SLOT_PAGES * STORE_PAGE;
            uint64_t most = SLOT_SIZE - page, len = 1 + (r >> 40) % most;
            if (r >> 62) /* most are a few pages */
                len = len % (3 * STORE_PAGE) + 1 < most ? len % (3 * STORE_PAGE) + 1 : most;
            if ((r >> 60 & 3) == 3) /* and not all begin with one */
                page += page && len < most - 100 ? 100 : 0;
            ops[i] = map(i + 1, 1 + (r >> 10) % FILES, slot + page, len);
            put(want, ops[i]);
            fold_add(&f, txg_of(ops[i]), ops[i]);
        }
        assert_int_equal(fold_run(&f, got, have), 0);
        assert_memory_equal(want->of, have->of, sizeof(want->of));
        assert_true(have->calls <= n);
        for (unsigned i = 0; i < n; i++)
            free(ops[i]);
    }
    fold_release(&f);
    free(want);
    free(have);
}

/* The calls that maps of one slot come to. */
static unsigned calls_of(struct rowop **ops, unsigned n)
{
    struct model *m = calloc(1, sizeof(*m));
    struct fold f = {0};
    unsigned calls;

    for (unsigned i = 0; i < n; i++)
        fold_add(&f, txg_of(ops[i]), ops[i]);
    assert_int_equal(fold_run(&f, got, m), 0);
    calls = m->calls;
    assert_int_equal(fold_run(&f, got, m), 0); /* empty now */
    assert_int_equal(m->calls, calls);
    for (unsigned i = 0; i < n; i++)
        free(ops[i]);
    fold_release(&f);
    free(m);
    return calls;
}

static void test_what_is_covered_goes(void **state)
{
    (void)state;
    /* A page that is written again and again, and one that grows by some bytes each time. */
    assert_int_equal(calls_of((struct rowop *[]){map(1, 1, 8192, 4096), map(2, 1, 8192, 4096), map(3, 1, 8192, 4096)}, 3), 1);
    assert_int_equal(calls_of((struct rowop *[]){map(1, 1, 4096, 100), map(2, 1, 4096, 200), map(3, 1, 4096, 300)}, 3), 1);
    /* A shorter one leaves the rest of the one before. */
    assert_int_equal(calls_of((struct rowop *[]){map(1, 1, 4096, 300), map(2, 1, 4096, 200)}, 2), 2);
    /* Two together cover one. */
    assert_int_equal(calls_of((struct rowop *[]){map(1, 1, 0, 8192), map(2, 1, 0, 4096), map(3, 1, 4096, 4096)}, 3), 2);
    /* Others' pages do not. */
    assert_int_equal(calls_of((struct rowop *[]){map(1, 1, 0, 4096), map(2, 2, 0, 4096), map(3, 1, SLOT_SIZE, 4096)}, 3), 3);
    /* Nor does one that does not begin with a page go. */
    assert_int_equal(calls_of((struct rowop *[]){map(1, 1, 100, 100), map(2, 1, 0, 4096)}, 2), 2);
}

static void test_an_error_ends_it(void **state)
{
    struct model *m = calloc(1, sizeof(*m));
    struct fold f = {0};
    struct rowop *ops[3];

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        ops[i] = map(i + 1, 1, i * STORE_PAGE, STORE_PAGE);
        fold_add(&f, txg_of(ops[i]), ops[i]);
    }
    m->fail_at = 2;
    assert_int_equal(fold_run(&f, got, m), -EIO);
    assert_int_equal(m->calls, 1);
    for (unsigned i = 0; i < 3; i++)
        free(ops[i]);
    fold_release(&f);
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_maps),
        cmocka_unit_test(test_what_is_covered_goes),
        cmocka_unit_test(test_an_error_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
