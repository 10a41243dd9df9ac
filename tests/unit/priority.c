/* SPDX-License-Identifier: Apache-2.0
 * Tests of priority: a thread that avoids a processor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sched.h>
#include <stdbool.h>

#include "common/priority.h"

static cpu_set_t now(void)
{
    cpu_set_t set;

    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    return set;
}

static bool same(cpu_set_t a, cpu_set_t b)
{
    return CPU_EQUAL(&a, &b);
}

static int some_cpu(const cpu_set_t *set)
{
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET((unsigned)i, set))
            return i;
    return -1;
}

static void test_avoids_and_comes_back(void **state)
{
    cpu_set_t all = now(), but = all;
    int cpu = some_cpu(&all);

    (void)state;
    CPU_CLR((unsigned)cpu, &but);
    if (CPU_COUNT(&but) == 0)
        skip();
    for (int i = 0; i < 2; i++) {
        priority_avoid(cpu);
        assert_true(same(now(), but));
        priority_avoid(cpu);
        assert_true(same(now(), but));
        assert_int_not_equal(sched_getcpu(), cpu);
        priority_avoid(-1);
        assert_true(same(now(), all));
    }
    priority_avoid(cpu);
    priority_avoid(some_cpu(&but)); /* another one: the first is free again */
    but = now();
    assert_true(CPU_ISSET((unsigned)cpu, &but));
    priority_avoid(-1);
    assert_true(same(now(), all));
}

static void test_the_last_one_stays(void **state)
{
    cpu_set_t all = now(), one;
    int cpu = some_cpu(&all);

    (void)state;
    CPU_ZERO(&one);
    CPU_SET((unsigned)cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    priority_avoid(cpu);
    assert_true(same(now(), one));
    priority_avoid(-1);
    assert_true(same(now(), one));
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

/* Somebody else has set the thread's processors meanwhile. */
static void test_others_have_the_last_word(void **state)
{
    cpu_set_t all = now(), one;
    int cpu = some_cpu(&all);

    (void)state;
    priority_avoid(cpu);
    CPU_ZERO(&one);
    CPU_SET((unsigned)cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
    priority_avoid(-1);
    if (CPU_COUNT(&all) > 1)
        assert_true(same(now(), one));
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_avoids_and_comes_back),
        cmocka_unit_test(test_the_last_one_stays),
        cmocka_unit_test(test_others_have_the_last_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
