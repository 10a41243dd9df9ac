/* SPDX-License-Identifier: Apache-2.0
 * props: volume properties as text.
 */
#include "proto/props.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static char why[512];

static void refuse(const char *list)
{
    control_props p = {.codec = 1, .level = 7, .quota_bytes = 5, .quota_files = 6, .readonly = 1}, was = p;
    why[0] = 0;
    assert_int_equal(props_set_list(&p, list, why, sizeof(why)), -EINVAL);
    assert_true(strlen(why) > 10);
    assert_memory_equal(&p, &was, sizeof(p));
}

static void test_bad(void **state)
{
    static const char *const bad[] = {
        "=", "compression", "compression=", "compression=gzip", "compression=zstd-", "compression=zstd-0",
        "compression=zstd-20", "compression=zstd-1x", "compression=zstd--1",
        "compression=zstd-18446744073709551617", "quota=", "quota=0", "quota=-1", "quota=10X",
        "quota=10Gi", "quota=G", "quota=9223372036854775808", "quota=99999999999999999999", "quota= 1G",
        "quota-files=1K", "quota-files=0", "readonly=yes", "readonly=", "colour=red",
        "compression=off,quota=x", "Quota=1G", "dedup=yes", "dedup="};
    char longer[400];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refuse(bad[i]);
    memset(longer, 'a', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = 0;
    refuse(longer);
}

static void test_good(void **state)
{
    control_props p = {0};
    char text[PROPS_TEXT_MAX];
    assert_int_equal(props_set_list(&p, "compression=zstd-19,quota=10G,quota-files=1000000,readonly=on,dedup=on", why,
                                    sizeof(why)), 0);
    assert_int_equal(p.codec, 1);
    assert_int_equal(p.level, 19);
    assert_true(p.quota_bytes == UINT64_C(10) << 30);
    assert_true(p.quota_files == 1000000);
    assert_true(p.readonly && p.dedup);
    /* What is shown can be set again. */
    for (const char *const *k = props_keys; *k; k++) {
        control_props q = p;
        assert_int_equal(props_get(&p, *k, text, sizeof(text)), 0);
        assert_int_equal(props_set(&q, *k, text, why, sizeof(why)), 0);
        assert_memory_equal(&p, &q, sizeof(p));
    }
    assert_int_equal(props_set_list(&p, "quota=none,compression=off,readonly=off", why, sizeof(why)), 0);
    assert_true(p.quota_bytes == 0);
    assert_int_equal(p.codec, 0);
    assert_false(p.readonly);
    assert_int_equal(props_set_list(&p, "compression=zstd", why, sizeof(why)), 0);
    assert_int_equal(p.level, 1);
    assert_int_equal(props_get(&p, "colour", text, sizeof(text)), -EINVAL);
}

static void test_sizes(void **state)
{
    uint64_t n;
    char text[32];
    assert_int_equal(props_parse_size("16777216T", &n), -ERANGE);
    assert_int_equal(props_parse_size("18446744073709551616", &n), -ERANGE);
    assert_int_equal(props_parse_size("1KK", &n), -EINVAL);
    assert_int_equal(props_parse_size("", &n), -EINVAL);
    assert_int_equal(props_parse_size("16777215T", &n), 0);
    assert_true(n == UINT64_C(16777215) << 40);
    assert_int_equal(props_parse_size("3kiB", &n), 0);
    assert_int_equal(n, 3072);
    props_format_size(0, text, sizeof(text));
    assert_string_equal(text, "0");
    props_format_size(1536 << 20, text, sizeof(text));
    assert_string_equal(text, "1536M");
    props_format_size(1025, text, sizeof(text));
    assert_string_equal(text, "1025");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bad), cmocka_unit_test(test_good),
                                       cmocka_unit_test(test_sizes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
