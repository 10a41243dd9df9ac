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
#define PATH_SIZE  4608u /* a group's path is PATH_MAX at most */

struct awake {
    uint64_t until; /* ns; these: atomic */
    int cpu;
    bool spinning; /* false: the thread waits for the semaphore, or is about to */
    bool wanted;   /* the disk is waited for */
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

/* Does a group, or one it is in, have a limit? path: "/a/b"; file: below sys and each of them, its first word is `none` if
 * there is no limit. */
static bool limit_on_way(const char *sys, char *path, const char *file, const char *none)
{
    if (strstr(path, "/..")) /* not below what this process sees as the root */
        *path = 0;
    for (;;) {
        char name[PATH_SIZE], word[32] = "";
        FILE *f = NULL;
        if (snprintf(name, sizeof(name), "%s%s/%s", sys, path, file) < (int)sizeof(name))
            f = fopen(name, "re");
        if (f) {
            bool limited = fscanf(f, "%31s", word) == 1 && strcmp(word, none) != 0;
            fclose(f);
            if (limited)
                return true;
        }
        char *slash = strrchr(path, '/');
        if (!slash)
            return false;
        *slash = 0;
    }
}

/* Is "cpu" one of the words? */
static bool has_cpu(const char *controllers)
{
    for (const char *p = controllers; *p; p += *p == ',') {
        size_t len = strcspn(p, ",");
        if (len == 3 && !strncmp(p, "cpu", 3))
            return true;
        p += len;
    }
    return false;
}

/* line: "0::/path" of cgroup v2, "4:cpu,cpuacct:/path" of v1, whose folder has the controllers' names or is linked so. */
static bool line_limits(const char *root, char *line)
{
    char sys[PATH_SIZE], path[PATH_SIZE], *controllers = strchr(line, ':'), *group;

    line[strcspn(line, "\n")] = 0;
    if (!controllers || !(group = strchr(++controllers, ':')))
        return false;
    *group++ = 0;
    if (!strcmp(line, "0:") && !*controllers) {
        snprintf(sys, sizeof(sys), "%s/sys/fs/cgroup", root);
        return limit_on_way(sys, group, "cpu.max", "max");
    }
    if (!has_cpu(controllers))
        return false;
    snprintf(path, sizeof(path), "%s", group);
    snprintf(sys, sizeof(sys), "%s/sys/fs/cgroup/%s", root, controllers);
    if (limit_on_way(sys, path, "cpu.cfs_quota_us", "-1"))
        return true;
    snprintf(sys, sizeof(sys), "%s/sys/fs/cgroup/cpu", root);
    return limit_on_way(sys, group, "cpu.cfs_quota_us", "-1");
}

bool awake_limited(const char *root)
{
    char name[PATH_SIZE], line[PATH_SIZE];
    bool limited = false;
    FILE *f;

    snprintf(name, sizeof(name), "%s/proc/self/cgroup", root);
    f = fopen(name, "re");
    while (f && !limited && fgets(line, sizeof(line), f))
        limited = line_limits(root, line);
    if (f)
        fclose(f);
    return limited;
}

bool awake_helps(void)
{
    cpu_set_t set;

    return in_virtual_machine() && sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 1 &&
           !awake_limited("");
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

    pthread_setname_np(pthread_self(), "awake");
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
        if (!__atomic_load_n(&a->wanted, __ATOMIC_RELAXED))
            sched_yield();
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
    __atomic_store_n(&a->wanted, true, __ATOMIC_RELAXED);
    if (a->state == NONE) {
        a->spinning = true;
        begin(a);
    } else if (!__atomic_exchange_n(&a->spinning, true, __ATOMIC_SEQ_CST)) {
        sem_post(&a->wake);
    }
}

void awake_rest(struct awake *a)
{
    if (a)
        __atomic_store_n(&a->wanted, false, __ATOMIC_RELAXED);
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
