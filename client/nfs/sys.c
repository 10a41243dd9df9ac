/* SPDX-License-Identifier: Apache-2.0 */
/* The slow paths of the futex lock and of waiting. */
#include "client/nfs/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>

/* Not FUTEX_PRIVATE: the same lock type lies in memory shared between the processes of a run. */
void vlock_wait(struct vlock *lock)
{
    while (__atomic_exchange_n(&lock->word, 2, __ATOMIC_ACQUIRE) != 0)
        sys6(SYS_futex, SYS_ARG(&lock->word), FUTEX_WAIT, 2, 0, 0, 0);
}

void vlock_wake(struct vlock *lock)
{
    sys6(SYS_futex, SYS_ARG(&lock->word), FUTEX_WAKE, 1, 0, 0, 0);
}

void rlock_wait(struct rlock *lock, int me)
{
    for (;;) {
        int seen = __atomic_load_n(&lock->word, __ATOMIC_RELAXED);

        if (seen == 0) {
            if (rlock_try_as(lock, me))
                return;
            continue;
        }
        if (!(seen & RLOCK_WAITED)) {
            int want = seen | RLOCK_WAITED;

            if (!__atomic_compare_exchange_n(&lock->word, &seen, want, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
                continue;
            seen = want;
        }
        sys_futex_wait(&lock->word, seen, 100);
        if (__atomic_load_n(&lock->word, __ATOMIC_RELAXED) == seen && sys_alive(seen & ~RLOCK_WAITED, NULL) == 0 &&
            __atomic_compare_exchange_n(&lock->word, &seen, me | RLOCK_WAITED, false, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
            return;
    }
}

void rlock_wake(struct rlock *lock)
{
    sys_futex_wake(&lock->word);
}

/* "/proc/PID/stat" */
static void stat_path(char *to, int pid)
{
    char digits[12];
    int n = 0;

    memcpy(to, "/proc/", 6);
    to += 6;
    do {
        digits[n++] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid != 0);
    while (n > 0)
        *to++ = digits[--n];
    memcpy(to, "/stat", 6);
}

int sys_alive(int pid, uint64_t *start)
{
    char path[32], text[1024], *at = NULL, state;
    uint64_t threads = 0, ticks = 0;
    long fd, n;

    if (pid <= 0)
        return -1;
    if (sys2(SYS_kill, pid, 0) == -ESRCH)
        return 0;
    stat_path(path, pid);
    fd = sys3(SYS_open, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return sys2(SYS_kill, pid, 0) == -ESRCH ? 0 : -1;
    n = sys3(SYS_read, fd, text, sizeof(text) - 1);
    sys1(SYS_close, fd);
    if (n <= 0)
        return n == -ESRCH ? 0 : -1;
    text[n] = 0;
    /* proc(5): "pid (comm) state ppid ..."; the name may hold anything. */
    for (long i = 0; i < n; i++)
        if (text[i] == ')')
            at = text + i + 1;
    if (at == NULL || at[0] != ' ')
        return -1;
    state = at[1];
    at += 2;
    for (int field = 4; field <= 22 && *at == ' '; field++) {
        uint64_t value = 0;

        for (at++; *at != ' ' && *at != 0; at++)
            value = value * 10 + (uint64_t)(*at - '0');
        if (field == 20)
            threads = value;
        ticks = value;
    }
    if (start != NULL)
        *start = ticks;
    /* A process whose first thread has ended looks like a zombie while others go on. */
    return (state == 'Z' && threads <= 1) || state == 'X' ? 0 : 1;
}

void sys_futex_wait(int *word, int value, int ms)
{
    struct timespec limit = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L};

    sys6(SYS_futex, SYS_ARG(word), FUTEX_WAIT, value, SYS_ARG(ms < 0 ? NULL : &limit), 0, 0);
}

void sys_futex_wake(int *word)
{
    sys6(SYS_futex, SYS_ARG(word), FUTEX_WAKE, INT_MAX, 0, 0, 0);
}

void sys_sleep_ms(unsigned ms)
{
    struct timespec span = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000L};

    sys2(SYS_nanosleep, &span, NULL);
}

uint64_t sys_now_ms(void)
{
    struct timespec now = {0};

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* the vdso: no system call */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

unsigned sys_cpus(void)
{
    uint64_t mask[128]; /* for 8192 of them */
    long n = sys3(SYS_sched_getaffinity, 0, sizeof(mask), mask);
    unsigned cpus = 0;

    for (long i = 0; i < n / (long)sizeof(mask[0]); i++)
        cpus += (unsigned)__builtin_popcountll(mask[i]);
    return cpus > 0 ? cpus : 1;
}
