/* SPDX-License-Identifier: Apache-2.0
 * awake: whether a control group limits the processor time, in trees made up for the purpose; the thread comes and goes.
 */
#include "server/rpc/awake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char root[64];

static void put(const char *name, const char *text)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = 0;
        (void)mkdir(path, 0700);
        *p = '/';
    }
    f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    strcpy(root, "/tmp/volnfs-awake-XXXXXX");
    return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
    char text[128];

    snprintf(text, sizeof(text), "rm -rf '%s'", root);
    return system(text);
}

#define V1 "12:memory:/m\n4:cpu,cpuacct:/docker/abc\n3:cpuset:/s\n1:name=systemd:/x\n0::/x\n"

static void nothing_to_see(void **state)
{
    assert_false(awake_limited(root));
    put("proc/self/cgroup", "0::/\n");
    assert_false(awake_limited(root));
    put("proc/self/cgroup", V1);
    assert_false(awake_limited(root));
    put("proc/self/cgroup", "\n:\n0:\n::\nrubbish\n4:cpu\n5:,cpux,,:\n");
    assert_false(awake_limited(root));
}

static void version_2(void **state)
{
    put("proc/self/cgroup", "0::/a/b\n");
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a/cpu.stat", "");
    assert_false(awake_limited(root));
    put("sys/fs/cgroup/a/b/cpu.max", "50000 100000\n");
    assert_true(awake_limited(root));
    put("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
    put("sys/fs/cgroup/a/cpu.max", "150000 100000\n");
    assert_true(awake_limited(root));
    put("sys/fs/cgroup/a/cpu.max", "");
    assert_false(awake_limited(root));
}

static void version_2_in_a_container(void **state)
{
    put("proc/self/cgroup", "0::/\n");
    put("sys/fs/cgroup/cpu.max", "200000 100000\n");
    assert_true(awake_limited(root));
    put("proc/self/cgroup", "0::/../elsewhere\n");
    assert_true(awake_limited(root));
    put("sys/fs/cgroup/cpu.max", "max 100000\n");
    put("sys/fs/elsewhere/cpu.max", "1 100000\n");
    assert_false(awake_limited(root));
}

static void version_1(void **state)
{
    put("proc/self/cgroup", V1);
    put("sys/fs/cgroup/cpu,cpuacct/cpu.shares", "1024\n");
    put("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/memory/m/cpu.cfs_quota_us", "1000\n");
    put("sys/fs/cgroup/cpuset/s/cpu.cfs_quota_us", "1000\n");
    assert_false(awake_limited(root));
    put("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "150000\n");
    assert_true(awake_limited(root));
    put("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "-1\n");
    put("sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "150000\n");
    assert_true(awake_limited(root));
}

/* A container without a name space of control groups sees its own group as the root, and the host's path. */
static void version_1_in_a_container(void **state)
{
    put("proc/self/cgroup", V1);
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "400000\n");
    assert_true(awake_limited(root));
    put("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    assert_false(awake_limited(root));
}

static void version_1_by_another_name(void **state)
{
    put("proc/self/cgroup", "2:cpuacct,cpu:/k/l\n");
    put("sys/fs/cgroup/cpu/k/l/cpu.cfs_quota_us", "10000\n");
    assert_true(awake_limited(root));
    put("sys/fs/cgroup/cpu/k/l/cpu.cfs_quota_us", "-1\n");
    assert_false(awake_limited(root));
    put("proc/self/cgroup", "2:cpu:/k\n");
    put("sys/fs/cgroup/cpu/k/cpu.cfs_quota_us", "10000\n");
    assert_true(awake_limited(root));
}

static void the_thread(void **state)
{
    struct awake *a = awake_new();

    assert_non_null(a);
    awake_rest(a);
    awake_rest(NULL);
    awake_free(a); /* without a thread */
    a = awake_new();
    for (unsigned i = 0; i < 100; i++) {
        awake_keep(a);
        awake_rest(a);
    }
    usleep(2000); /* it waits by now, most often */
    awake_keep(a);
    awake_free(a);
    awake_keep(NULL);
    awake_free(NULL);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Whoever keeps a processor awake stops by himself, soon, and begins again. */
static void kept_awake_not_for_long(void **state)
{
    struct awake *a = awake_new();
    uint64_t from = cpu_ns();

    assert_non_null(a);
    for (int i = 0; i < 100; i++) {
        awake_keep(a);
        usleep(AWAKE_NS / 1000 * 5);
    }
    assert_true(cpu_ns() - from < 100 * AWAKE_NS * 3);
    awake_keep(a);
    awake_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_to_see, setup, teardown),
        cmocka_unit_test_setup_teardown(version_2, setup, teardown),
        cmocka_unit_test_setup_teardown(version_2_in_a_container, setup, teardown),
        cmocka_unit_test_setup_teardown(version_1, setup, teardown),
        cmocka_unit_test_setup_teardown(version_1_in_a_container, setup, teardown),
        cmocka_unit_test_setup_teardown(version_1_by_another_name, setup, teardown),
        cmocka_unit_test(the_thread),
        cmocka_unit_test(kept_awake_not_for_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
