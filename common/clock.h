/* SPDX-License-Identifier: Apache-2.0
 * clock: time and randomness, in one place so that tests can set both.
 */
#ifndef VOLNFS_COMMON_CLOCK_H
#define VOLNFS_COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Wall time (CLOCK_REALTIME), for file times. */
struct timespec clock_wall(void);
/* Monotonic milliseconds, for leases and timeouts. */
uint64_t clock_mono_ms(void);
/* Monotonic nanoseconds, for measuring. */
uint64_t clock_mono_ns(void);
/* Fills buf from the kernel's generator (getrandom); aborts if the kernel has none. */
void clock_random(void *buf, size_t len);
uint64_t clock_random64(void);

/* Tests only: shifts clock_wall and clock_mono_* by ms (may be negative; adds up). */
void clock_test_advance(int64_t ms);

#endif
