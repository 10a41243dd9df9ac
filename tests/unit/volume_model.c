/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/volumemodel.h"

#include <time.h>

static void run(uint64_t seed, unsigned steps)
{
    struct vt t;
    struct model *m = malloc(sizeof(*m));

    print_message("seed %llu\n", (unsigned long long)seed);
    vt_make(&t, NULL);
    t.cache = 16u << 20;
    vt_open(&t);
    model_init(m, seed, false);
    model_make_dirs(m, &t);
    for (unsigned i = 0; i < steps; i++) {
        model_step(m, &t);
        if (i % 400 == 399) {
            vt_sync(&t);
            vt_reopen(&t);
            assert_int_equal(model_compare(m, &t), 0);
        }
    }
    vt_sync(&t);
    assert_int_equal(model_compare(m, &t), 0);
    vt_close(&t);
    model_check_disk(&t);
    model_release(m);
    free(m);
    vt_remove(&t);
}

static void fixed_seeds(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++)
        run(seed, 1200);
}

static void random_seed(void **state)
{
    const char *s = getenv("VOLUME_MODEL_SEED");

    run(s ? strtoull(s, NULL, 10) : (uint64_t)time(NULL), 1200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_seeds),
        cmocka_unit_test(random_seed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
