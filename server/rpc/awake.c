/* SPDX-License-Identifier: Apache-2.0
 * awake: the spinning thread, and whether it makes sense.
 */
#include "server/rpc/awake.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "common/clock.h"
#include "common/log.h"

#define TURNS      300 /* some hundred ns between looks at the clock */
#define STACK_SIZE (128u << 10)

struct awake {
    uint64_t until; /* ns; these: atomic */
    int cpu;
    bool spinning; /* false: the thread waits for the semaphore, or is about to */
    bool stop;
    sem_t wake;
    enum { NONE, RUNS, FAILED } state; /* of the thread; the asking thread's */
    pthread_t thread;
};

static bool in_virtual_machine(void)
{
#if defined(__x86_64__) || defined(__i386__)
    unsigned a, b, c, d;

    return __get_cpuid(1, &a, &b, &c, &d) && c >> 31; /* the bit that hypervisors set */
#else
    return false;
#endif
}

/* Of the group that this process is in, as far as it can be seen. */
static bool time_is_limited(void)
{
    char path[4096], line[4096 - 64] = "", word[16] = "max";
    FILE *f = fopen("/proc/self/cgroup", "re");

    while (f && fgets(line, sizeof(line), f) && strncmp(line, "0::", 3) != 0)
        ;
    if (f)
        fclose(f);
    if (strncmp(line, "0::", 3) != 0)
        return false;
    line[strcspn(line, "\n")] = 0;
    snprintf(path, sizeof(path), "/sys/fs/cgroup%s/cpu.max", line + 3);
    f = fopen(path, "re");
    if (f) {
        if (fscanf(f, "%15s", word) != 1)
            snprintf(word, sizeof(word), "max");
        fclose(f);
    }
    return strcmp(word, "max") != 0;
}

bool awake_helps(void)
{
    cpu_set_t set;

    return in_virtual_machine() && sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1 &&
           !time_is_limited();
}

struct awake *awake_new(void)
{
    struct awake *a = calloc(1, sizeof(*a));

    if (a)
        sem_init(&a->wake, 0, 0);
    return a;
}

static void go_to(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET((unsigned)cpu, &set);
    (void)sched_setaffinity(0, sizeof(set), &set);
}

static void *spin(void *arg)
{
    struct awake *a = arg;
    const struct sched_param none = {0};
    int cpu = -1;

    if (sched_setscheduler(0, SCHED_IDLE, &none))
        return NULL; /* it would take the time of others; then nobody is kept awake */
    while (!__atomic_load_n(&a->stop, __ATOMIC_ACQUIRE)) {
        int want = __atomic_load_n(&a->cpu, __ATOMIC_RELAXED);

        if (clock_mono_ns() >= __atomic_load_n(&a->until, __ATOMIC_RELAXED)) {
            __atomic_store_n(&a->spinning, false, __ATOMIC_SEQ_CST);
            while (sem_wait(&a->wake))
                ;
            continue;
        }
        if (want != cpu) {
            go_to(want);
            cpu = want;
        }
        for (volatile int i = 0; i < TURNS; i++)
            ; /* not `pause`: hosts take that for waiting for a lock, and take the processor away */
    }
    return NULL;
}

static void begin(struct awake *a)
{
    pthread_attr_t attr;
    int err = pthread_attr_init(&attr);

    if (!err) {
        pthread_attr_setstacksize(&attr, STACK_SIZE);
        err = pthread_create(&a->thread, &attr, spin, a);
        pthread_attr_destroy(&attr);
    }
    a->state = err ? FAILED : RUNS;
    if (err)
        log_warn("no thread to keep a processor awake: %s", strerrordesc_np(err));
}

void awake_keep(struct awake *a)
{
    if (!a || a->state == FAILED)
        return;
    __atomic_store_n(&a->until, clock_mono_ns() + AWAKE_NS, __ATOMIC_RELAXED);
    __atomic_store_n(&a->cpu, sched_getcpu(), __ATOMIC_RELAXED);
    if (a->state == NONE) {
        a->spinning = true;
        begin(a);
    } else if (!__atomic_exchange_n(&a->spinning, true, __ATOMIC_SEQ_CST)) {
        sem_post(&a->wake);
    }
}

void awake_free(struct awake *a)
{
    if (!a)
        return;
    __atomic_store_n(&a->stop, true, __ATOMIC_RELEASE);
    sem_post(&a->wake);
    if (a->state == RUNS)
        pthread_join(a->thread, NULL);
    sem_destroy(&a->wake);
    free(a);
}
