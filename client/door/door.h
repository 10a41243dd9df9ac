/* SPDX-License-Identifier: Apache-2.0
 * door: makes a running process's system calls pass through us, by patching the `syscall` instructions
 * of its C library and dynamic linker (x86-64 Linux, glibc).
 *
 * Why here and not at symbols: libc's own code (FILE, DIR, glob, mkstemp, the loader, ...) does not go
 * through exported names, but all of it ends in one of a few hundred `syscall` instructions.
 *
 * How: each site is replaced by a 5-byte jump to a stub near the library. The stub holds the
 * instructions the jump displaced. If the call number is one that the handler serves, it saves the caller's
 * registers and asks door_filter; otherwise it makes the call as it was. All registers but rax, rcx and r11
 * survive, vector registers too, as with a real system call, and the 128 bytes below rsp are not touched.
 *
 * Never patched: a site where a jump could land inside the displaced bytes (sites.h), and the
 * calls that must return on another stack or not at all (clone, vfork, rt_sigreturn): those pass as they
 * are wherever they are made.
 */
#ifndef VOLNFS_DOOR_DOOR_H
#define VOLNFS_DOOR_DOOR_H

#include <stdbool.h>
#include <stdint.h>

#define DOOR_NR_MAX 512 /* call numbers below this can be served */

/* What the filter says. */
enum door_verdict {
    DOOR_PASS, /* the kernel gets the call as it is */
    DOOR_TAKE, /* the handler does it */
    DOOR_DONE  /* the filter has made it itself and put the result at args[-1] */
};

struct door_conf {
    /* serve[nr] != 0: calls with that number go to the filter. Borrowed, read for ever. */
    const uint8_t *serve;
    /* Arguments are whole registers: what the caller passed as int may have anything in its upper half.
     * Asked first, on the caller's stack, for every served call. Must be fast, async-signal-safe, must not
     * use vector registers (compile its file with -mgeneral-regs-only and call nothing that may) and
     * must not change errno. */
    int (*filter)(long nr, long args[6]);
    /* Does the call: returns what the kernel would (-errno on failure). On the caller's stack. System
     * calls made in here pass the door again: the filter must recognise its own thread. */
    long (*handler)(long nr, const long args[6]);
    /* Folder with cached site tables (sites.h), or NULL. */
    const char *cache_dir;
};

/* Patches the libraries that are loaded. Call once, while the process has one thread. 0, or -errno with
 * *why a static sentence ("the kernel refuses to make the C library's code writable: ..."). Never half
 * done: on failure every byte is as it was. */
int door_open(const struct door_conf *conf, const char **why);

/* What door_open did, for doctor and tests. */
struct door_stat {
    unsigned libs, sites, patched, left; /* left: sites of served calls that could not be patched */
};
void door_stat(struct door_stat *st);

/* A system call that never enters the filter: -errno on failure. */
static inline long door_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;

    __asm__ volatile("syscall"
                     : "=a"(ret)
                     : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return ret;
}
#define DOOR_CALL_(nr, a, b, c, d, e, f, ...)                                                      \
    door_syscall((nr), (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* door_call(SYS_close, fd): missing arguments are 0. */
#define door_call(nr, ...) DOOR_CALL_(nr, ##__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#endif
