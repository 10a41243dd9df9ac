/* SPDX-License-Identifier: Apache-2.0
 * common: arena, clock, fault, htab, hugemap, list, log, pool, priority and siphash.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/arena.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/htab.h"
#include "common/hugemap.h"
#include "common/list.h"
#include "common/log.h"
#include "common/pool.h"
#include "common/priority.h"
#include "common/siphash.h"

static void arena_refuses_past_limit(void **state)
{
    struct arena a;

    arena_init(&a, 1024);
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 8));
    assert_null(arena_alloc(&a, 1025));
    assert_non_null(arena_alloc(&a, 1008));
    assert_null(arena_alloc(&a, 17));
    assert_non_null(arena_alloc(&a, 16));
    assert_null(arena_alloc(&a, 1));
    assert_int_equal(a.used, 1024);
    arena_release(&a);
    assert_int_equal(a.used, 0);
}

static void arena_gives_aligned_zeroed_memory(void **state)
{
    struct arena a;
    char *p[500];

    arena_init(&a, 0);
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 500; i++) {
            size_t n = i * 37 % 9000;

            p[i] = arena_alloc(&a, n);
            assert_non_null(p[i]);
            assert_int_equal((uintptr_t)p[i] % 16, 0);
            for (size_t j = 0; j < n; j++)
                assert_int_equal(p[i][j], 0);
            memset(p[i], (int)i | 1, n);
        }
        for (size_t i = 0; i < 500; i++) /* no two overlap */
            for (size_t j = 0; j < i * 37 % 9000; j++)
                assert_int_equal((unsigned char)p[i][j], (i | 1) & 255);
        arena_reset(&a);
        assert_int_equal(a.used, 0);
    }
    arena_release(&a);
    arena_release(&a);
}

static void clock_goes_forward(void **state)
{
    uint64_t ms = clock_mono_ms(), ns = clock_mono_ns();
    struct timespec before = clock_wall(), after;

    clock_test_advance(90500);
    assert_in_range(clock_mono_ms() - ms, 90500, 100000);
    assert_true(clock_mono_ns() - ns >= 90500000000u);
    after = clock_wall();
    assert_in_range(after.tv_sec - before.tv_sec, 90, 100);
    clock_test_advance(-90500 - 61700);
    after = clock_wall();
    assert_true(after.tv_sec <= before.tv_sec);
    assert_in_range(after.tv_nsec, 0, 999999999);
    clock_test_advance(61700);
    assert_true(clock_random64() != clock_random64());
}

static void fault_hits_the_nth(void **state)
{
    assert_int_equal(fault_point("a"), 0);
    fault_arm("a", 2, FAULT_FAIL);
    assert_int_equal(fault_point("b"), 0);
    assert_int_equal(fault_point("a"), 0);
    assert_int_equal(fault_point("a"), -EIO);
    assert_int_equal(fault_point("a"), 0);
    assert_int_equal(fault_disarm(), 3);
    assert_int_equal(fault_point("a"), 0);
    fault_arm("", 2, FAULT_FAIL);
    assert_int_equal(fault_point("x"), 0);
    assert_int_equal(fault_point("y"), -EIO);
    assert_int_equal(fault_disarm(), 2);
}

static void fault_text_is_checked(void **state)
{
    static const char *const bad[] = {"",      "a",      "a:",         "a:x",   "a:0",
                                      "a:-1",  "a:1x",   "a:1:crashx", "a:1:",  "a:99999999999999999999",
                                      "a: 1", NULL};
    char big[200];
    int status;
    pid_t pid;

    for (int i = 0; bad[i]; i++)
        assert_int_equal(fault_arm_text(bad[i]), -EINVAL);
    memset(big, 'n', sizeof(big));
    strcpy(big + 150, ":1");
    assert_int_equal(fault_arm_text(big), -EINVAL);
    assert_int_equal(fault_armed, 0);
    assert_int_equal(fault_arm_text("p.q:1"), 0);
    assert_int_equal(fault_point("p.q"), -EIO);
    fault_disarm();
    pid = fork();
    if (pid == 0) {
        if (fault_arm_text("p.q:2:crash") == 0 && fault_point("p.q") == 0)
            fault_point("p.q");
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 99);
}

struct item {
    struct hnode node;
    uint64_t key;
};

static struct item *item_find(struct htab *t, uint64_t key)
{
    uint64_t h = htab_hash_u64(key) % 97; /* many collisions */

    for (struct hnode *n = htab_first(t, h); n; n = htab_next(n, h)) {
        struct item *it = container_of(n, struct item, node);

        if (it->key == key)
            return it;
    }
    return NULL;
}

static void htab_keeps_items(void **state)
{
    enum { N = 2000 };
    struct item *items = calloc(N, sizeof(*items));
    struct htab t = {0};
    size_t seen = 0;

    htab_release(&t);
    assert_null(htab_first(&t, 1));
    assert_null(htab_iter(&t, NULL));
    assert_int_equal(htab_init(&t, 3), 0);
    assert_int_equal(t.nbuckets, 4);
    for (size_t i = 0; i < N; i++) {
        items[i].key = i;
        htab_add(&t, &items[i].node, htab_hash_u64(i) % 97);
    }
    assert_int_equal(t.count, N);
    assert_true(t.nbuckets >= N);
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(item_find(&t, i), &items[i]);
    assert_null(item_find(&t, N));
    for (size_t i = 0; i < N; i += 2)
        htab_del(&t, &items[i].node);
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(item_find(&t, i), i % 2 ? &items[i] : NULL);
    for (struct hnode *n = htab_iter(&t, NULL), *next; n; n = next) {
        next = htab_iter(&t, n);
        htab_del(&t, n);
        seen++;
    }
    assert_int_equal(seen, N / 2);
    assert_int_equal(t.count, 0);
    htab_release(&t);
    free(items);
    assert_true(htab_hash_bytes("abc", 3, 1) != htab_hash_bytes("abc", 3, 2));
}

static void hugemap_is_aligned_and_dropped_in_part(void **state)
{
    enum { SIZE = 4 << 20, PART = 128 << 10 };
    unsigned char *p[2];
    long page = sysconf(_SC_PAGESIZE);
    unsigned char here[PART / 4096];

    (void)state;
    for (int i = 0; i < 2; i++) {
        p[i] = hugemap_new(SIZE);
        assert_non_null(p[i]);
        assert_int_equal((uintptr_t)p[i] % SIZE, 0);
        for (int at = 0; at < SIZE; at += 4096)
            assert_int_equal(p[i][at], 0);
        memset(p[i], 7, SIZE);
    }
    hugemap_drop(p[0] + PART, PART, SIZE);
    assert_int_equal(mincore(p[0] + PART, PART, here), 0);
    for (long i = 0; i < PART / page; i++)
        assert_false(here[i] & 1);
    assert_int_equal(p[0][PART - 1], 7);
    assert_int_equal(p[0][2 * PART], 7);
    for (int at = 0; at < PART; at++)
        assert_int_equal(p[0][PART + at], 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(munmap(p[i], SIZE), 0);
    for (int i = 0; i < 2; i++) /* nothing beside it stays */
        assert_int_equal(mincore(p[i], (size_t)page, here), -1);
}

static void list_moves_items(void **state)
{
    struct list a, b, n[4];
    int count = 0;

    list_init(&a);
    list_init(&b);
    list_splice_tail(&a, &b);
    assert_true(list_empty(&a));
    for (int i = 0; i < 4; i++)
        list_add_tail(i < 2 ? &a : &b, &n[i]);
    list_splice_tail(&a, &b);
    assert_true(list_empty(&b));
    list_for_each_safe(it, &a) {
        assert_ptr_equal(it, &n[count]);
        count++;
        list_del(it);
    }
    assert_int_equal(count, 4);
    assert_true(list_empty(&a));
}

/* What fn writes to stderr, at most cap - 1 bytes. */
static void stderr_of(void (*fn)(void), char *buf, size_t cap)
{
    int fds[2], saved = dup(2);
    ssize_t n;

    assert_int_equal(pipe(fds), 0);
    dup2(fds[1], 2);
    fn();
    dup2(saved, 2);
    close(saved);
    close(fds[1]);
    n = read(fds[0], buf, cap - 1);
    buf[n > 0 ? n : 0] = 0;
    close(fds[0]);
}

static void log_forged(void)
{
    log_error("name %s", "x\nvolnfs: error: forged\x1b[2J\x7f\xc2\x9b caf\xc3\xa9");
}

static void log_long(void)
{
    char big[5000];

    memset(big, '\n', sizeof(big) - 1);
    big[sizeof(big) - 1] = 0;
    log_warn("%s", big);
}

static void log_quiet(void)
{
    log_debug(LOG_RPC, "nothing");
}

static void log_lines_cannot_be_forged(void **state)
{
    char buf[4096];

    stderr_of(log_forged, buf, sizeof(buf));
    assert_string_equal(buf, "volnfs: error: name x\\x0avolnfs: error: forged\\x1b[2J\\x7f\\xc2\x9b "
                             "caf\xc3\xa9\n");
    stderr_of(log_long, buf, sizeof(buf));
    assert_true(strlen(buf) <= 1024);
    assert_ptr_equal(strchr(buf, '\n'), buf + strlen(buf) - 1);
    stderr_of(log_quiet, buf, sizeof(buf));
    assert_string_equal(buf, "");
    log_set_level(LOG_DEBUG);
    log_set_name("t");
    stderr_of(log_quiet, buf, sizeof(buf));
    assert_string_equal(buf, "t: debug: nothing\n");
    log_set_level(LOG_INFO);
    log_set_name("volnfs");
}

static void log_topics(void)
{
    log_debug(LOG_OPS, "an operation");
    log_debug(LOG_STORE, "a commit");
}

static void log_hostile(void)
{
    log_warn("a \"name\" \\ \n\x1b caf\xc3\xa9 \xff\xc3 \xed\xa0\x80 \xc0\xaf end");
}

static void log_json_is_json(void **state)
{
    char buf[8192], *rest;

    log_set_json(true);
    stderr_of(log_hostile, buf, sizeof(buf));
    assert_memory_equal(buf, "{\"time\":\"20", 11);
    rest = strstr(buf, "Z\",");
    assert_non_null(rest);
    assert_string_equal(rest, "Z\",\"level\":\"warn\",\"program\":\"volnfs\",\"message\":\"a \\\"name\\\" \\\\ \\u000a\\u001b "
                              "caf\xc3\xa9 \\ufffd\\ufffd \\ufffd\\ufffd\\ufffd \\ufffd\\ufffd end\"}\n");
    stderr_of(log_long, buf, sizeof(buf));
    assert_int_equal(strlen(rest = strstr(buf, "\\u000a")), 1023 * 6 + 3);
    log_set_topics(LOG_OPS);
    stderr_of(log_topics, buf, sizeof(buf));
    assert_non_null(strstr(buf, "\"level\":\"debug\",\"program\":\"volnfs\",\"topic\":\"ops\",\"message\":\"an operation\"}\n"));
    assert_null(strstr(buf, "a commit"));
    log_set_topics(0);
    stderr_of(log_topics, buf, sizeof(buf));
    assert_string_equal(buf, "");
    log_set_json(false);
}

static void pool_is_bounded(void **state)
{
    static struct pool p = POOL_INIT(64, 2);
    void *a[4];
    int fresh = 0;

    for (int i = 0; i < 4; i++) {
        a[i] = pool_get(&p, &fresh);
        assert_non_null(a[i]);
        assert_int_equal(fresh, 1);
        memset(a[i], 0xee, 64);
    }
    for (int i = 0; i < 4; i++)
        pool_put(&p, a[i]);
    assert_true(p.n <= 2);
    a[0] = pool_get(&p, NULL);
    free(a[0]);
    while (p.n)
        free(pool_get(&p, NULL));
}

static void siphash_matches_the_paper(void **state)
{
    uint8_t key[16], msg[64];

    for (uint8_t i = 0; i < 64; i++) {
        msg[i] = i;
        key[i % 16] = i % 16;
    }
    /* Test values of the reference implementation. */
    assert_true(siphash24(key, msg, 0) == 0x726fdb47dd0e0e31ull);
    assert_true(siphash24(key, msg, 1) == 0x74f839c593dc67fdull);
    assert_true(siphash24(key, msg, 8) == 0x93f5f5799a932462ull);
    assert_true(siphash24(key, msg, 15) == 0xa129ca6149be45e5ull); /* appendix A of the paper */
}

/* The slice is as asked for, where the kernel has such a thing; the background is 5 nicer; nothing else changes. */
static void priority_is_set(void **state)
{
    struct { /* sched_attr(2), first version */
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } was = {0}, is = {0};
    bool slices;

    assert_int_equal(syscall(SYS_sched_getattr, 0, &was, sizeof(was), 0), 0);
    priority_set(PRIORITY_QUICK);
    assert_int_equal(syscall(SYS_sched_getattr, 0, &is, sizeof(is), 0), 0);
    assert_int_equal(is.policy, was.policy);
    assert_int_equal(is.nice, was.nice);
    slices = was.policy == SCHED_OTHER && was.runtime != 0;
    assert_int_equal(is.runtime, slices ? 100000 : was.runtime);
    priority_set(PRIORITY_BACKGROUND);
    assert_int_equal(syscall(SYS_sched_getattr, 0, &is, sizeof(is), 0), 0);
    assert_int_equal(is.policy, was.policy);
    if (was.policy == SCHED_OTHER)
        assert_int_equal(is.nice, was.nice + 5 < 19 ? was.nice + 5 : 19);
    assert_int_equal(is.runtime, slices ? 20000000 : was.runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arena_refuses_past_limit),
        cmocka_unit_test(arena_gives_aligned_zeroed_memory),
        cmocka_unit_test(clock_goes_forward),
        cmocka_unit_test(fault_hits_the_nth),
        cmocka_unit_test(fault_text_is_checked),
        cmocka_unit_test(htab_keeps_items),
        cmocka_unit_test(hugemap_is_aligned_and_dropped_in_part),
        cmocka_unit_test(list_moves_items),
        cmocka_unit_test(log_lines_cannot_be_forged),
        cmocka_unit_test(log_json_is_json),
        cmocka_unit_test(pool_is_bounded),
        cmocka_unit_test(priority_is_set),
        cmocka_unit_test(siphash_matches_the_paper),
    };
    return cmocka_run_group_tests_name("common", tests, NULL, NULL);
}
