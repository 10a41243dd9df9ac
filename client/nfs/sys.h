/* SPDX-License-Identifier: Apache-2.0 */
/*
 * System calls made directly, and a lock made of a futex: the preload library runs inside other people's libc
 * calls, so nothing here touches errno, cancellation, malloc or a patched call site.
 *
 * Every sys_ function returns the kernel's value: a result, or a negative errno.
 */
#ifndef CLIENT_NFS_SYS_H
#define CLIENT_NFS_SYS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "0"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}

#define SYS_ARG(x) ((long)(x))
#define sys0(nr) sys6((nr), 0, 0, 0, 0, 0, 0)
#define sys1(nr, a) sys6((nr), SYS_ARG(a), 0, 0, 0, 0, 0)
#define sys2(nr, a, b) sys6((nr), SYS_ARG(a), SYS_ARG(b), 0, 0, 0, 0)
#define sys3(nr, a, b, c) sys6((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), 0, 0, 0)
#define sys4(nr, a, b, c, d) sys6((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), 0, 0)
#define sys5(nr, a, b, c, d, e) sys6((nr), SYS_ARG(a), SYS_ARG(b), SYS_ARG(c), SYS_ARG(d), SYS_ARG(e), 0)

/* An entry as SYS_getdents64 gives it: the kernel's struct linux_dirent64, which its headers keep to themselves. */
struct sys_dirent {
    uint64_t ino;
    int64_t off;     /* where the next one begins */
    uint16_t reclen; /* bytes, a multiple of 8 */
    uint8_t type;    /* DT_ */
    char name[];     /* with its zero byte */
};

/* A lock that works between processes when it lies in shared memory. All zero is unlocked. Not recursive. */
struct vlock {
    int word; /* 0 free, 1 held, 2 held and waited for */
};

void vlock_wait(struct vlock *lock);
void vlock_wake(struct vlock *lock);

static inline bool vlock_try(struct vlock *lock)
{
    int zero = 0;

    return __atomic_compare_exchange_n(&lock->word, &zero, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void vlock_lock(struct vlock *lock)
{
    if (!vlock_try(lock))
        vlock_wait(lock);
}

static inline void vlock_unlock(struct vlock *lock)
{
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) == 2)
        vlock_wake(lock);
}

/* A lock in memory that several processes share: one that was held by a thread that died is taken over, so what it
 * guards must make sense at every step. All zero is unlocked. Not recursive. */
struct rlock {
    int word; /* thread id of the holder, with RLOCK_WAITED */
};

void rlock_wait(struct rlock *lock, int me);
void rlock_wake(struct rlock *lock);

static inline bool rlock_try_as(struct rlock *lock, int me)
{
    int zero = 0;

    return __atomic_compare_exchange_n(&lock->word, &zero, me, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline bool rlock_try(struct rlock *lock)
{
    return rlock_try_as(lock, (int)sys0(SYS_gettid));
}

static inline void rlock_lock(struct rlock *lock)
{
    int me = (int)sys0(SYS_gettid);

    if (!rlock_try_as(lock, me))
        rlock_wait(lock, me);
}

#define RLOCK_WAITED 0x40000000

static inline void rlock_unlock(struct rlock *lock)
{
    if (__atomic_exchange_n(&lock->word, 0, __ATOMIC_RELEASE) & RLOCK_WAITED)
        rlock_wake(lock);
}

/* Whether a process or thread of this pid namespace lives: 1 yes (and *start, which may be NULL, is when it was started, in ticks), 0 no
 * (or it is dead and only not yet waited for), -1 when /proc does not tell. */
int sys_alive(int pid, uint64_t *start);

/* Waits until *word is no longer value, at most ms milliseconds (negative: no limit). May return early. */
void sys_futex_wait(int *word, int value, int ms);

/* Wakes every waiter on word. */
void sys_futex_wake(int *word);

/* Sleeps ms milliseconds; signals cut it short. */
void sys_sleep_ms(unsigned ms);

/* Processors that this thread may run on; at least 1. */
unsigned sys_cpus(void);

/* Milliseconds on the monotonic clock. */
uint64_t sys_now_ms(void);

#endif
