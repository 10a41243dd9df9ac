/* SPDX-License-Identifier: Apache-2.0
 * metrics: counts, histograms, rates and samples, more volumes than rows, and counting from many threads.
 */
#include "server/metrics/metrics.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "common/clock.h"

static struct metrics *m;
static struct metrics_row row;

static int setup(void **state)
{
    return metrics_new(&m);
}

static int teardown(void **state)
{
    metrics_free(m);
    return 0;
}

static void test_nothing(void **state)
{
    struct metrics_sample s[METRICS_SAMPLES];
    assert_true(metrics_read(m, METRICS_TOTAL, 0, &row));
    assert_int_equal(row.sum.ops, 0);
    assert_false(metrics_read(m, METRICS_VOLUME, 7, &row));
    assert_false(metrics_read(m, METRICS_VOLUME, 0, &row));
    assert_int_equal(metrics_history(m, METRICS_TOTAL, 0, s, METRICS_SAMPLES), 0);
    metrics_op(NULL, 1, 1, 1, 0, 0, 0);
    metrics_compound(NULL, 1, 1, METRICS_READ, 0);
}

static void test_counts(void **state)
{
    uint64_t status[METRICS_STATUS];
    metrics_op(m, 7, 3, 25, 0, 4096, 0);
    metrics_op(m, 7, 0, 38, 0, 0, 100);
    metrics_op(m, 8, 0, 15, 2, 0, 0);
    metrics_op(m, 0, 0, 24, 0, 0, 0);
    metrics_op(m, 8, 0, 10044, 10044, 0, 0); /* no such operation: place 0 */
    metrics_op(m, 8, 0, UINT32_MAX, UINT32_MAX, 0, 0);
    assert_true(metrics_read(m, METRICS_TOTAL, 0, &row));
    assert_int_equal(row.sum.ops, 6);
    assert_int_equal(row.sum.errors, 3);
    assert_int_equal(row.sum.rd, 4096);
    assert_int_equal(row.sum.wr, 100);
    assert_int_equal(row.op[0].count, 2);
    assert_int_equal(row.op[0].errors, 2);
    assert_true(metrics_read(m, METRICS_VOLUME, 7, &row));
    assert_int_equal(row.sum.ops, 2);
    assert_int_equal(row.op[25].count, 1);
    assert_true(metrics_read(m, METRICS_GRANT, 3, &row));
    assert_int_equal(row.sum.rd, 4096);
    assert_true(metrics_read(m, METRICS_VOLUME, 8, &row));
    assert_int_equal(row.op[15].errors, 1);
    metrics_statuses(m, status);
    assert_int_equal(status[2], 1);
    assert_int_equal(status[metrics_status_place(10044)], 1);
    assert_int_equal(status[127], 1);
}

static void test_statuses(void **state)
{
    for (uint32_t s = 0; s < 100; s++)
        assert_int_equal(metrics_status_at(metrics_status_place(s)), s);
    for (uint32_t s = 10000; s < 10100; s++)
        assert_int_equal(metrics_status_at(metrics_status_place(s)), s);
    for (uint32_t s = 0; s < 70000; s += 7)
        assert_true(metrics_status_place(s) < METRICS_STATUS);
}

/* A time is in the bucket it is said to be in, and a quantile is not further off than a quarter. */
static void test_histogram(void **state)
{
    uint64_t end = 0;
    for (unsigned b = 0; b < METRICS_BUCKETS; b++) {
        assert_true(metrics_bucket_end(b) > end);
        end = metrics_bucket_end(b);
    }
    assert_true(end > 60 * 1000000ull);
    for (uint64_t us = 0; us < 3000000; us = us * 9 / 8 + 1)
        metrics_compound(m, 5, 0, METRICS_WRITE, us * 1000 + 999);
    metrics_read(m, METRICS_VOLUME, 5, &row);
    for (unsigned b = 1; b < METRICS_BUCKETS; b++) {
        uint64_t want = 0;
        for (uint64_t us = 0; us < 3000000; us = us * 9 / 8 + 1)
            want += us >= metrics_bucket_end(b - 1) && us < metrics_bucket_end(b);
        assert_int_equal(row.lat[METRICS_WRITE].bucket[b], want);
    }
    assert_int_equal(metrics_below(&row.lat[METRICS_WRITE], UINT64_MAX), row.lat[METRICS_WRITE].count);
    metrics_compound(m, 6, 0, METRICS_LOOK, UINT64_MAX); /* beyond the last */
    for (int i = 0; i < 99; i++)
        metrics_compound(m, 6, 0, METRICS_LOOK, 1000 * 1000);
    metrics_read(m, METRICS_VOLUME, 6, &row);
    assert_int_equal(row.lat[METRICS_LOOK].count, 100);
    assert_true(metrics_quantile(&row.lat[METRICS_LOOK], 0.5) > 800);
    assert_true(metrics_quantile(&row.lat[METRICS_LOOK], 0.5) < 1250);
    assert_true(metrics_quantile(&row.lat[METRICS_LOOK], 1) > 60e6);
    assert_true(metrics_quantile(&row.lat[METRICS_READ], 0.5) == 0);
}

static void test_rates(void **state)
{
    struct metrics_sample s[METRICS_SAMPLES];
    metrics_tick(m);
    for (int i = 0; i < 25; i++) {
        for (int n = 0; n < 100; n++)
            metrics_op(m, 9, 0, 38, 0, 0, 1000);
        metrics_compound(m, 9, 0, METRICS_WRITE, 2000 * 1000);
        clock_test_advance(1000);
        metrics_tick(m);
    }
    metrics_read(m, METRICS_VOLUME, 9, &row);
    assert_true(row.rate.ops > 99 && row.rate.ops < 101);
    assert_true(row.rate.wr > 99e3 && row.rate.wr < 101e3);
    assert_int_equal(metrics_history(m, METRICS_VOLUME, 9, s, METRICS_SAMPLES), 2);
    assert_true(s[1].ops > 99 && s[1].ops < 101);
    assert_int_equal(metrics_history(m, METRICS_TOTAL, 0, s, 1), 1);
    assert_true(s[0].p99[METRICS_WRITE] > 1.6 && s[0].p99[METRICS_WRITE] < 2.6);
    assert_true(s[0].p99[METRICS_READ] == 0);
    for (int i = 0; i < 12; i++) {
        clock_test_advance(1000);
        metrics_tick(m);
    }
    metrics_read(m, METRICS_VOLUME, 9, &row);
    assert_true(row.rate.ops == 0);
    /* An hour and more: the ring holds the last of it. */
    for (int i = 0; i < 4000; i++) {
        clock_test_advance(1000);
        metrics_tick(m);
    }
    assert_int_equal(metrics_history(m, METRICS_VOLUME, 9, s, METRICS_SAMPLES), METRICS_SAMPLES);
    assert_true(s[0].ops == 0);
}

static bool even(void *arg, uint64_t id)
{
    return id % 2 == 0;
}

/* Ten times as many volumes as rows: memory stays, the total counts, and rows come free again. */
static void test_many(void **state)
{
    unsigned rows = 0, odd = 0;
    for (uint64_t id = 1; id <= METRICS_ROWS_MAX * 10; id++)
        metrics_op(m, id, 0, 38, 0, 0, 1);
    metrics_read(m, METRICS_TOTAL, 0, &row);
    assert_int_equal(row.sum.ops, METRICS_ROWS_MAX * 10);
    for (uint64_t id = 1; id <= METRICS_ROWS_MAX * 10; id++)
        rows += metrics_read(m, METRICS_VOLUME, id, &row);
    assert_true(rows > METRICS_ROWS_MAX / 2 && rows <= METRICS_ROWS_MAX);
    assert_int_equal(metrics_overflow(m), METRICS_ROWS_MAX * 10 - rows);
    metrics_keep(m, METRICS_VOLUME, even, NULL);
    for (uint64_t id = 1; id <= METRICS_ROWS_MAX * 10; id++)
        odd += id % 2 && metrics_read(m, METRICS_VOLUME, id, &row);
    assert_int_equal(odd, 0);
    for (uint64_t id = 100001; id < 100101; id++)
        metrics_op(m, id, 0, 38, 0, 0, 1);
    for (uint64_t id = 100001; id < 100101; id++)
        if (metrics_read(m, METRICS_VOLUME, id, &row)) {
            odd++;
            assert_int_equal(row.sum.ops, 1); /* nothing of its predecessor */
        }
    assert_true(odd > 50);
}

static void *count_many(void *arg)
{
    for (uint64_t i = 0; i < 100000; i++) {
        metrics_op(m, 1 + i % 3, 0, 38, 0, 0, 2);
        metrics_compound(m, 1 + i % 3, 0, METRICS_WRITE, i * 100);
    }
    return NULL;
}

static void test_threads(void **state)
{
    pthread_t t[8];
    uint64_t sum = 0;
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&t[i], NULL, count_many, NULL), 0);
    for (int i = 0; i < 100; i++)
        metrics_tick(m);
    for (int i = 0; i < 8; i++)
        pthread_join(t[i], NULL);
    for (uint64_t id = 1; id <= 3; id++) {
        metrics_read(m, METRICS_VOLUME, id, &row);
        sum += row.sum.ops;
        assert_int_equal(row.sum.wr, 2 * row.sum.ops);
        assert_int_equal(row.lat[METRICS_WRITE].count, row.sum.ops);
    }
    assert_int_equal(sum, 800000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_statuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_histogram, setup, teardown),
        cmocka_unit_test_setup_teardown(test_rates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
