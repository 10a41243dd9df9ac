/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bad memory. The kernel answers EFAULT where we would crash, so what the program points at is touched first, in
 * places that a SIGSEGV may be caught from: in the filter, and before a call takes any lock (args.c).
 *
 * SIGSEGV and SIGBUS are ours in the kernel; the program's own actions for them are kept here, shown to it as if they
 * were set, and carried out for every fault that is not ours.
 */
#ifndef CLIENT_SHIM_FAULT_H
#define CLIENT_SHIM_FAULT_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/shim/shim.h"

#pragma GCC visibility push(hidden)

/* Signals that stay open while a call is served. */
#define FAULT_SIGNALS (1ull << (11 - 1) | 1ull << (7 - 1)) /* SIGSEGV, SIGBUS */

/* Callee-saved registers, stack and where to go on. */
struct fault_jmp {
    uint64_t rbx, rbp, r12, r13, r14, r15, rsp, rip;
    struct fault_jmp *outer;
};

/* The innermost place of this thread to go on from; only faults in our own code go there. */
extern __thread struct fault_jmp *fault_here __attribute__((tls_model("initial-exec")));

/* As setjmp: 0 at first, 1 after a fault. */
int fault_set(struct fault_jmp *jmp) __attribute__((returns_twice));

/* Between these two a fault ends in fault_set's second return (and the guard is gone then). */
static inline void fault_guard(struct fault_jmp *jmp)
{
    jmp->outer = fault_here;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    fault_here = jmp;
}

static inline void fault_unguard(struct fault_jmp *jmp)
{
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    fault_here = jmp->outer;
}

/*
 * The two signals are never blocked in the kernel, since a fault of memory that is filled where it is touched (lazy.h)
 * would then end the program. What the program believes to have blocked: per thread, and in the masks of its
 * actions (bit 0 SIGSEGV, bit 1 SIGBUS). A fault of its own while it is blocked ends it, as it should.
 */
extern __thread uint64_t fault_masked __attribute__((tls_model("initial-exec")));
extern uint8_t fault_action_masks[65];

/* The kernel's struct sigaction. */
struct fault_action {
    void (*handler)(int number, siginfo_t *info, void *context);
    unsigned long flags;
    void (*restorer)(void);
    uint64_t mask;
};

/* Takes the two signals. Once per program. */
void fault_init(void);

/* What a call points at and lies in a mapping that is filled where it is touched (lazy.h) is filled, for good. */
void args_keep(long nr, const long args[6]);

/* Looks at what a call points at. 0, or -EFAULT. Shortens what a read or write may use in args (a copy of the
 * caller's) to what is there. */
long args_check(long nr, long args[6]);

#pragma GCC visibility pop

#endif
