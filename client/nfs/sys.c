/* SPDX-License-Identifier: Apache-2.0 */
/* The slow paths of the futex lock and of waiting. */
#include "client/nfs/sys.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>

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

    sys2(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
