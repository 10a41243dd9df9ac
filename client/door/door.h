/* SPDX-License-Identifier: Apache-2.0
 * door: makes a running process's system calls pass through us, by patching the `syscall` instructions
 * of its C library and dynamic linker (x86-64 Linux, glibc).
 *
 * Why here and not at symbols: libc's own code (FILE, DIR, glob, mkstemp, the loader, ...) does not go
 * through exported names, but all of it ends in one of a few hundred `syscall` instructions.
 *
 * How: each site is replaced by a 5-byte jump to a stub near the library. The stub holds the
 * instructions the jump displaced. If the call number is one that the handler serves, it saves the caller's
 * registers and asks door_filter; otherwise it makes the call as it was. A call on a descriptor that is
 * known to be none of the handler's is found out by the stub itself (enum door_serve), in five instructions. All registers but rax, rcx and r11
 * survive, vector registers too, as with a real system call, and the 128 bytes below rsp are not touched.
 *
 * Never patched: a site where a jump could land inside the displaced bytes (sites.h). Calls that must
 * return on another stack, or twice on the same, or not at all (clone, vfork, rt_sigreturn) are never asked about;
 * those that make processes may be counted on their way (DOOR_COUNT), by a stub that uses no stack.
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
    DOOR_DONE, /* the filter has made it itself (door_result) */
    DOOR_LOOK  /* as DOOR_PASS, but when it fails with ENOENT door_missed is asked what to do about it */
};

#define DOOR_FDS 65536 /* descriptors below this can be told apart by the stubs */
#define DOOR_FOREIGN 1  /* in door_conf.fds: certainly not the handler's */

/* How a call number is served. */
enum door_serve {
    DOOR_NOT = 0,
    DOOR_ASK = 1,   /* the filter is asked */
    DOOR_FD2 = 2,   /* unless the first and second argument are foreign descriptors */
    DOOR_CLOSE = 3, /* unless the first is a foreign descriptor, which is then forgotten (0 in fds) */
    DOOR_COUNT = 4, /* never asked, only counted: calls that make processes or threads. A clone that shares descriptors and not
                       memory gets EINVAL: two memories cannot both know what one table of descriptors holds. (Through
                       a site that serves any call the filter is asked, and decides.) */
    /* The filter is asked and may say DOOR_LOOK: */
    DOOR_PATH = 5,
    DOOR_PATH0 = 6, /* the first argument is its only path: not asked when that is plain (door_conf), as if DOOR_LOOK */
    DOOR_OPEN = 7,  /* after DOOR_LOOK, the descriptor that the kernel made is noted as foreign; open and openat are not
                       asked about a plain path either, unless there is O_PATH or door_seen is not door_made */
    DOOR_AT = 16,   /* the second argument is its only path: not asked when that is plain, or empty and the first is a
                       foreign descriptor */
    DOOR_POLL = 17, /* not asked about up to 32 foreign descriptors in an array of struct pollfd */
    DOOR_SELECT = 18, /* not asked about foreign descriptors below 64 in three sets, as of select */
    DOOR_FD = 8     /* + n: unless argument n (0..4) is a foreign descriptor */
};

#define DOOR_DEEP 128
#define DOOR_MAKES 64

struct door_conf {
    /* serve[nr]: enum door_serve. Borrowed, read for ever. */
    const uint8_t *serve;
    /* DOOR_FDS bytes, zero at first; the stubs look for DOOR_FOREIGN. Borrowed. */
    uint8_t *fds;
    /* points[nr]: which arguments (bit n) may be the address of memory that the call looks at; DOOR_DEEP: and that may hold
     * more addresses. DOOR_MAKES: the call may make the name it is given. Only of calls that are served. Borrowed, read by door_open. */
    const uint8_t *points;
    /* 256 bytes: plain[c] is not 0 when no path that begins with a slash and c is of interest. Paths with two dots in a
     * row are never plain for calls that may make a name, nor for any with `scan`. Borrowed. */
    const uint8_t *plain;
    bool scan; /* the kernel may find something where a path with two dots is of interest; without: ENOENT */
    /* Folder with cached site tables (sites.h), or NULL. */
    const char *cache_dir;
};

/*
 * Three functions of whoever links this library: named, not passed, so that the way to them has no indirect branch, which
 * is never foreseen after a system call where the kernel clears what the processor learned.
 *
 * door_filter: asked first, on the caller's stack, for every served call: enum door_verdict. Must be fast,
 * async-signal-safe, must not use vector registers (compile its file with -mgeneral-regs-only and call nothing that
 * may) and must not change errno. Arguments are whole registers: what the caller passed as int may have anything in its
 * upper half.
 *
 * door_handler: does the call: returns what the kernel would (-errno on failure). On the caller's stack. System
 * calls made in here pass the door again: the filter must recognise its own thread.
 */
int door_filter(long nr, long args[6]) __attribute__((visibility("hidden")));
/* After DOOR_LOOK and ENOENT, under the same rules: DOOR_PASS (so be it) or DOOR_TAKE. */
int door_missed(long nr, long args[6]) __attribute__((visibility("hidden")));
long door_handler(long nr, const long args[6]) __attribute__((visibility("hidden")));

/* Before DOOR_DONE: args as the filter got them. The result takes the place of the call's number,
 * right before them, so only when it is certain. */
static inline void door_result(long *args, long result)
{
    __asm__ volatile("mov %1, -8(%0)" : : "r"(args), "r"(result) : "memory");
}

/* Patches the libraries that are loaded. Call once, while the process has one thread. 0, or -errno with
 * *why a static sentence ("the kernel refuses to make the C library's code writable: ..."). Never half
 * done: on failure every byte is as it was. */
int door_open(const struct door_conf *conf, const char **why);

/* What door_open did, for doctor and tests. */
struct door_stat {
    unsigned libs, sites, patched, left; /* left: sites of served calls that could not be patched */
    unsigned uncounted;                  /* of those, DOOR_COUNT */
};
void door_stat(struct door_stat *st);

/* Grows before every DOOR_COUNT call of this process (a vfork child counts in its parent's memory). */
extern uint32_t door_made __attribute__((visibility("hidden")));
/* The filter's: door_made when this thread was last seen to run in its own process. It need not ask again while they
 * are equal. */
extern __thread uint32_t door_seen __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* From now on the filter is asked, whatever the stubs know, about calls that are given an address low <= address < high, and
 * about DOOR_DEEP calls if low < high. One caller at a time. */
void door_near(uintptr_t low, uintptr_t high);

/* For a SIGSEGV handler: stubs look at a little of the program's memory, and where that faults the filter is to say what the
 * call is about. Where to go on, or 0: the fault at ip is not of that kind. */
uintptr_t door_fixup(uintptr_t ip);

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
