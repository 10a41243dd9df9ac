/* SPDX-License-Identifier: Apache-2.0
 * Tests of engine_step_aside and engine_here: which threads leave a processor, when, and to whom.
 */
#include "tests/unit/volumemodel.h"

#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "common/clock.h"
#include "server/store/volume_int.h"

#define ROOT STORE_ROOT_INO

static struct vt T;
static _Atomic(struct volume *) watched;
static atomic_int moves, locked; /* calls, and those with the volume's lock held */

/* In place of the library's. */
int sched_setaffinity(pid_t pid, size_t size, const cpu_set_t *set)
{
    struct volume *v = atomic_load(&watched);

    if (v) {
        atomic_fetch_add(&moves, 1);
#ifdef __GLIBC__
        if (__atomic_load_n(&v->lock.__data.__owner, __ATOMIC_RELAXED) == gettid())
            atomic_fetch_add(&locked, 1);
#endif
    }
    return syscall(SYS_sched_setaffinity, pid, size, set) < 0 ? -1 : 0;
}

static int setup(void **state)
{
    vt_make(&T, NULL);
    return 0;
}

static int teardown(void **state)
{
    fault_disarm();
    fault_watch(NULL);
    atomic_store(&watched, NULL);
    if (T.v)
        vt_close(&T);
    vt_remove(&T);
    return 0;
}

static cpu_set_t allowed(void)
{
    cpu_set_t set;

    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    return set;
}

static void need_two(void)
{
    cpu_set_t set = allowed();

    if (CPU_COUNT(&set) < 2)
        skip();
}

static int nth_cpu(const cpu_set_t *set, unsigned n)
{
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET((unsigned)i, set) && n-- == 0)
            return i;
    return -1;
}

static void somebody_commits_here(const char *name, int hit)
{
    if (strcmp(name, "apply.begin") == 0) {
        atomic_store(&T.e->here_cpu, sched_getcpu());
        atomic_store(&T.e->here_at, clock_mono_ns());
    }
}

/* The thread that opens a volume has other things to do afterwards, and its threads would begin where it may run. */
static void replay_does_not_step_aside(void **state)
{
    unsigned age = apply_age_ms;
    cpu_set_t before = allowed(), after;
    struct vattr a;
    int status;
    pid_t pid;

    need_two();
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        apply_age_ms = 3600 * 1000;
        vt_open(&T);
        _exit(vt_create(&T, &T.c, ROOT, "a", IT_REG, &a) || volume_call_wait(&T.c));
    }
    T.epoch++;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fault_watch(somebody_commits_here);
    fault_arm("apply.begin", 1000000, FAULT_FAIL);
    vt_open(&T);
    assert_true(fault_disarm() >= 1);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
    after = allowed();
    assert_true(CPU_EQUAL(&before, &after));
    apply_age_ms = age;
}

/* A thread that goes to another processor may have to wait there, and nobody waits for a lock of his meanwhile. */
static void apply_holds_no_lock(void **state)
{
    cpu_set_t set = allowed();
    char name[32];
    struct vattr a;

    need_two();
    vt_open(&T);
    atomic_store(&watched, T.v);
    for (int i = 0; i < 1000 && atomic_load(&moves) < 20; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(vt_create(&T, &T.c, ROOT, name, IT_REG, &a), 0);
        atomic_store(&T.e->here_cpu, nth_cpu(&set, (unsigned)i % 2));
        atomic_store(&T.e->here_at, clock_mono_ns());
        assert_int_equal(volume_settle(T.v), 0);
    }
    vt_sync(&T);
    assert_int_equal(atomic_load(&locked), 0);
    if (!atomic_load(&moves)) /* it is not allowed, or took too long each time */
        skip();
}

static void go_to(int cpu)
{
    cpu_set_t one;

    CPU_ZERO(&one);
    CPU_SET((unsigned)cpu, &one);
    assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

/* Two loops that commit by themselves do not send the others to and fro. */
static void the_first_one_stays(void **state)
{
    cpu_set_t all = allowed();
    int a = nth_cpu(&all, 0), b = nth_cpu(&all, 1);
    uint64_t t0, t1;

    need_two();
    vt_open(&T);
    for (int i = 0; i < 1000; i++) {
        clock_test_advance(10);
        go_to(a);
        t0 = clock_mono_ns();
        engine_here(T.e);
        assert_int_equal(atomic_load(&T.e->here_cpu), a);
        go_to(b);
        engine_here(T.e);
        t1 = clock_mono_ns();
        if (t1 - t0 < ENGINE_HERE_NS) { /* else we were stopped meanwhile */
            assert_int_equal(atomic_load(&T.e->here_cpu), a);
            break;
        }
    }
    clock_test_advance(10);
    engine_here(T.e);
    assert_int_equal(atomic_load(&T.e->here_cpu), b);
    assert_int_equal(sched_setaffinity(0, sizeof(all), &all), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replay_does_not_step_aside, setup, teardown),
        cmocka_unit_test_setup_teardown(apply_holds_no_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(the_first_one_stays, setup, teardown),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
