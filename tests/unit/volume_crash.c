/* SPDX-License-Identifier: Apache-2.0
 * The process dies at the Nth fault point, N = 1, 2, 3 ...; what was acknowledged must be there, the
 * operation under way must have happened or not, and the volume must be sound.
 */
#include "tests/unit/volumemodel.h"

#include <sys/wait.h>

#define STEPS 60

/* Runs in the child: one step at a time, each durable before the next; says so on fd. */
static void child(struct vt *t, uint64_t seed, unsigned nth, int fd)
{
    struct model *m = malloc(sizeof(*m));
    char c = 'x';

    vt_open(t);
    model_init(m, seed, true);
    model_make_dirs(m, t);
    vt_sync(t);
    if (write(fd, &c, 1) != 1)
        _exit(1);
    fault_arm("", nth, FAULT_CRASH);
    for (unsigned i = 0; i < STEPS; i++) {
        model_step(m, t);
        if (volume_call_wait(&t->c) != 0)
            _exit(2);
        store_call_release(&t->c);
        if (write(fd, &c, 1) != 1)
            _exit(1);
    }
    _exit(0);
}

static bool crash_once(uint64_t seed, unsigned nth, uint32_t journal)
{
    struct vt t;
    struct model *m = malloc(sizeof(*m));
    int fds[2], status, acked = 0;
    bool crashed, same;
    char c;
    pid_t pid;

    vt_make(&t, NULL);
    t.journal = journal;
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child(&t, seed, nth, fds[1]);
    }
    close(fds[1]);
    while (read(fds[0], &c, 1) == 1)
        acked++;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0));
    crashed = WEXITSTATUS(status) == 99;
    assert_true(acked >= 1);

    model_check_disk(&t);
    t.epoch = 1;
    vt_open(&t);
    model_init(m, seed, true);
    for (int i = 1; i < acked; i++)
        model_step(m, NULL);
    same = model_compare(m, &t) == 0;
    if (!same && crashed) {
        model_step(m, NULL);
        same = model_compare(m, &t) == 0;
    }
    if (!same)
        print_message("seed %llu, point %u, after %d steps\n", (unsigned long long)seed, nth, acked - 1);
    assert_true(same);
    vt_close(&t);
    model_check_disk(&t);
    model_release(m);
    free(m);
    vt_remove(&t);
    return crashed;
}

static void dies_at_each_point(void **state)
{
    unsigned n = 1;

    while (crash_once(5, n, 0)) /* finer where it begins */
        n += n < 24 ? 1 : n / 6;
    assert_true(n > 24);
}

/* The same with a journal that is full after a few steps: points of the apply thread come in between. */
static void dies_with_a_small_journal(void **state)
{
    unsigned n = 1;

    while (crash_once(6, n, 64u << 10))
        n += n < 24 ? 1 : n / 6;
    assert_true(n > 24);
}

/* One step after another until one fails at the Nth passing of a point; true: it came to that. Then the volume is
 * opened again: all steps that were acknowledged are there, the one that failed is there or not. */
static bool fail_once(const char *point, unsigned nth)
{
    struct vt t;
    struct model *m = malloc(sizeof(*m));
    unsigned acked = 0;
    bool same, failed;

    vt_make(&t, NULL);
    t.journal = 64u << 10;
    vt_open(&t);
    model_init(m, 9, true);
    model_make_dirs(m, &t);
    vt_sync(&t);
    m->may_fail = true;
    fault_arm(point, nth, FAULT_FAIL);
    for (unsigned i = 0; i < STEPS && !m->failed; i++) {
        model_step(m, &t);
        m->failed = m->failed || volume_call_wait(&t.c) != 0;
        acked += !m->failed;
        store_call_release(&t.c);
    }
    store_call_release(&t.n);
    failed = volume_close(t.v) < 0 || m->failed; /* also where the close itself fails */
    failed = fault_disarm() >= nth || failed;
    engine_free(t.e);
    model_release(m);
    model_check_disk(&t);
    vt_open(&t);
    model_init(m, 9, true);
    for (unsigned i = 0; i < acked; i++)
        model_step(m, NULL);
    same = model_compare(m, &t) == 0;
    if (!same && failed) {
        model_step(m, NULL);
        same = model_compare(m, &t) == 0;
    }
    if (!same)
        print_message("%s, passing %u, after %u steps\n", point, nth, acked);
    assert_true(same);
    vt_close(&t);
    model_check_disk(&t);
    model_release(m);
    free(m);
    vt_remove(&t);
    return failed;
}

static void fails_at_each_point(void **state)
{
    static const char *const points[] = {"txg.close", "pack.sync", "journal.write", "journal.written",
                                         "journal.header", "journal.fill", "apply.begin", "apply.applied",
                                         "index.begin", "index.apply", "index.commit", "pack.write"};

    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++)
        for (unsigned n = 1; fail_once(points[i], n) && n < 60; n += n < 4 ? 1 : n / 2)
            ;
}

/* Unstable data that was committed is there; what was not may be lost but leaves no hole in the past. */
static void committed_data_survives(void **state)
{
    for (unsigned nth = 1; nth < 40; nth += 3) {
        struct vt t;
        struct vattr a;
        unsigned char *w = malloc(1u << 20), *r = malloc(1u << 20);
        int fds[2], status, acked = 0;
        char c = 'x';
        pid_t pid;

        vt_make(&t, NULL);
        assert_int_equal(pipe(fds), 0);
        pid = fork();
        if (pid == 0) {
            vt_open(&t);
            if (vt_create(&t, &t.c, STORE_ROOT_INO, "f", IT_REG, &a) || volume_call_wait(&t.c))
                _exit(2);
            fault_arm("", nth, FAULT_CRASH);
            for (unsigned i = 0; i < 8; i++) {
                vt_fill(w, 1u << 20, i + 1);
                if (volume_write(t.v, &t.c, a.ino, (uint64_t)i << 20, w, 1u << 20, false, NULL, NULL) ||
                    volume_commit(t.v, &t.c, a.ino) || volume_call_wait(&t.c) ||
                    write(fds[1], &c, 1) != 1)
                    _exit(2);
            }
            _exit(0);
        }
        close(fds[1]);
        while (read(fds[0], &c, 1) == 1)
            acked++;
        close(fds[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_not_equal(WEXITSTATUS(status), 2);
        model_check_disk(&t);
        t.epoch = 1;
        vt_open(&t);
        assert_int_equal(vt_lookup(&t, &t.c, STORE_ROOT_INO, "f", &a), 0);
        assert_true(a.size >= (uint64_t)acked << 20);
        for (int i = 0; i < acked; i++) {
            vt_fill(w, 1u << 20, (uint64_t)i + 1);
            assert_int_equal(vt_read(&t, &t.c, a.ino, (uint64_t)i << 20, r, 1u << 20), 1u << 20);
            assert_memory_equal(r, w, 1u << 20);
        }
        vt_close(&t);
        vt_remove(&t);
        free(w);
        free(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dies_at_each_point),
        cmocka_unit_test(dies_with_a_small_journal),
        cmocka_unit_test(fails_at_each_point),
        cmocka_unit_test(committed_data_survives),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
