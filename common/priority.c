/* SPDX-License-Identifier: Apache-2.0
 * priority: sched_setattr of two fields, and sched_setaffinity; a kernel that refuses is left alone.
 */
#include "common/priority.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SHORT_NS 100000u /* the shortest there is */
#define LONG_NS  20000000u
#define NICER    5
#define NICEST   19

/* struct sched_attr, first version; the kernel's header for it and the C library's <sched.h> exclude each other. */
struct attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void priority_set(enum priority p)
{
    struct attr a = {0};

    if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) || (a.policy != SCHED_OTHER && a.policy != SCHED_BATCH))
        return;
    a.size = sizeof(a);
    a.flags = 0;
    a.runtime = p == PRIORITY_QUICK ? SHORT_NS : LONG_NS;
    a.deadline = a.period = 0;
    if (p == PRIORITY_BACKGROUND)
        a.nice = a.nice + NICER < NICEST ? a.nice + NICER : NICEST;
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}

/* What priority_avoid has set, and what was there before. */
static _Thread_local int avoided = -1;
static _Thread_local cpu_set_t all, rest;

void priority_avoid(int cpu)
{
    cpu_set_t now;

    if (cpu == avoided)
        return;
    if (avoided >= 0 && sched_getaffinity(0, sizeof(now), &now) == 0 && CPU_EQUAL(&now, &rest))
        (void)sched_setaffinity(0, sizeof(all), &all);
    avoided = cpu;
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof(all), &all))
        return;
    rest = all;
    CPU_CLR((unsigned)cpu, &rest);
    if (CPU_COUNT(&rest) > 0)
        (void)sched_setaffinity(0, sizeof(rest), &rest);
}
