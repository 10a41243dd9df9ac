/* SPDX-License-Identifier: Apache-2.0
 * clock: the kernel's clocks and random numbers, with an offset that only tests set.
 */
#include "common/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

static int64_t test_offset_ms; /* atomic */

static int64_t offset_ms(void)
{
    return __atomic_load_n(&test_offset_ms, __ATOMIC_RELAXED);
}

struct timespec clock_wall(void)
{
    int64_t off = offset_ms();
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    if (off) {
        ts.tv_sec += off / 1000;
        ts.tv_nsec += off % 1000 * 1000000;
        if (ts.tv_nsec < 0) {
            ts.tv_nsec += 1000000000;
            ts.tv_sec--;
        } else if (ts.tv_nsec >= 1000000000) {
            ts.tv_nsec -= 1000000000;
            ts.tv_sec++;
        }
    }
    return ts;
}

uint64_t clock_mono_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec +
           (uint64_t)(offset_ms() * 1000000);
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_ns() / 1000000;
}

void clock_random(void *buf, size_t len)
{
    char *p = buf;

    while (len) {
        ssize_t n = getrandom(p, len, 0);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            abort();
        p += n;
        len -= (size_t)n;
    }
}

uint64_t clock_random64(void)
{
    uint64_t v;

    clock_random(&v, sizeof(v));
    return v;
}

void clock_test_advance(int64_t ms)
{
    __atomic_add_fetch(&test_offset_ms, ms, __ATOMIC_RELAXED);
}
