/* SPDX-License-Identifier: Apache-2.0 */
/* SIGSEGV and SIGBUS: ours to recover from, or the program's. */
#include "client/shim/fault.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

#include "client/door/door.h"
#include "client/shim/lazy.h"

__thread struct fault_jmp *fault_here;

__thread uint64_t fault_masked;
uint8_t fault_action_masks[65];

#define FAULT_RESTORER 0x04000000ul /* SA_RESTORER */

static struct vlock fault_lock;
static struct fault_action fault_program[2]; /* SIGSEGV, SIGBUS */

__asm__(".text\n"
        ".hidden fault_set\n"
        ".globl fault_set\n"
        ".type fault_set, @function\n"
        "fault_set:\n"
        "    mov %rbx, 0(%rdi)\n"
        "    mov %rbp, 8(%rdi)\n"
        "    mov %r12, 16(%rdi)\n"
        "    mov %r13, 24(%rdi)\n"
        "    mov %r14, 32(%rdi)\n"
        "    mov %r15, 40(%rdi)\n"
        "    lea 8(%rsp), %rax\n"
        "    mov %rax, 48(%rdi)\n"
        "    mov (%rsp), %rax\n"
        "    mov %rax, 56(%rdi)\n"
        "    xor %eax, %eax\n"
        "    ret\n"
        ".size fault_set, . - fault_set\n"
        ".hidden fault_return\n"
        ".globl fault_return\n"
        ".type fault_return, @function\n"
        "fault_return:\n"
        "    mov $15, %eax\n" /* rt_sigreturn */
        "    syscall\n"
        ".size fault_return, . - fault_return\n");
void fault_return(void) SHIM_HIDDEN;

/* Where this library's code lies. */
extern const char __ehdr_start[] SHIM_HIDDEN;
extern const char etext[] SHIM_HIDDEN;

static int fault_index(int number)
{
    return number == SIGSEGV ? 0 : 1;
}

static void fault_install(int number, void (*handler)(int, siginfo_t *, void *))
{
    struct fault_action action = {.handler = handler,
                                  .flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | FAULT_RESTORER,
                                  .restorer = fault_return};

    sys4(SYS_rt_sigaction, number, &action, NULL, 8);
}

/* Not ours: as if the program's action stood in the kernel. again: the fault would not bring this signal again. */
static void fault_pass(int number, siginfo_t *info, void *context, bool again)
{
    struct fault_action *slot = &fault_program[fault_index(number)], action = *slot;
    void (*plain)(int) = (void (*)(int))(void *)action.handler;
    struct fault_jmp *here = fault_here;
    int inside = shim_inside;
    uint64_t mask, masked = fault_masked;
    bool blocked = info->si_code > 0 && (masked >> (number - 1) & 1);

    if (plain == SIG_IGN && info->si_code <= 0)
        return;
    if (plain == SIG_DFL || plain == SIG_IGN || blocked) {
        struct fault_action dfl = {.flags = FAULT_RESTORER, .restorer = fault_return};

        /* The fault happens again, or the signal is sent again, and ends the program as it should. */
        sys4(SYS_rt_sigaction, number, &dfl, NULL, 8);
        if (info->si_code <= 0 || again)
            sys3(SYS_tgkill, sys0(SYS_getpid), sys0(SYS_gettid), number);
        return;
    }
    mask = action.mask | (action.flags & SA_NODEFER ? 0 : 1ull << (number - 1));
    fault_masked |= mask & FAULT_SIGNALS;
    mask &= ~FAULT_SIGNALS;
    sys4(SYS_rt_sigprocmask, SIG_BLOCK, &mask, NULL, 8); /* until the return from this handler */
    if (action.flags & SA_RESETHAND)
        memset(slot, 0, sizeof(*slot));
    fault_here = NULL;
    shim_inside = 0;
    action.handler(number, info, context);
    fault_masked = masked;
    shim_inside = inside;
    fault_here = here;
}

/* The filter's reads of the program's memory and where each goes on when it faults, relative to the entry itself. */
struct fault_fix {
    int32_t at, to;
};
extern const struct fault_fix __start_shim_fix[] SHIM_HIDDEN, __stop_shim_fix[] SHIM_HIDDEN;

static uintptr_t fault_fixup(uintptr_t ip)
{
    for (const struct fault_fix *fix = __start_shim_fix; fix < __stop_shim_fix; fix++)
        if ((uintptr_t)&fix->at + (uintptr_t)(intptr_t)fix->at == ip)
            return (uintptr_t)&fix->to + (uintptr_t)(intptr_t)fix->to;
    return door_fixup(ip);
}

static void fault_handler(int number, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    struct fault_jmp *jmp = fault_here;
    const char *at = (const char *)regs[REG_RIP];
    bool made = false;
    uintptr_t fix;

    if (lazy_count != 0 && number == SIGSEGV && info->si_code > 0) {
        enum lazy_result result = lazy_fault(info, context);

        if (result == LAZY_DONE)
            return;
        if (result == LAZY_BUS) {
            made = true;
            number = info->si_signo = SIGBUS;
            info->si_code = BUS_ADRERR;
        }
    }
    fix = info->si_code > 0 ? fault_fixup((uintptr_t)at) : 0;
    if (fix != 0) {
        regs[REG_RIP] = (greg_t)fix;
        return;
    }
    if (jmp == NULL || info->si_code <= 0 || at < __ehdr_start || at >= etext) {
        fault_pass(number, info, context, made);
        return;
    }
    fault_here = jmp->outer;
    regs[REG_RBX] = (greg_t)jmp->rbx;
    regs[REG_RBP] = (greg_t)jmp->rbp;
    regs[REG_R12] = (greg_t)jmp->r12;
    regs[REG_R13] = (greg_t)jmp->r13;
    regs[REG_R14] = (greg_t)jmp->r14;
    regs[REG_R15] = (greg_t)jmp->r15;
    regs[REG_RSP] = (greg_t)jmp->rsp;
    regs[REG_RIP] = (greg_t)jmp->rip;
    regs[REG_RAX] = 1;
}

void fault_init(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS};

    for (int i = 0; i < 2; i++) {
        sys4(SYS_rt_sigaction, numbers[i], NULL, &fault_program[fault_index(numbers[i])], 8);
        fault_install(numbers[i], fault_handler);
    }
}

/* sigaction of the two signals: the program sees and sets its own. */
long sc_rt_sigaction(const long a[6])
{
    struct fault_action *slot = &fault_program[fault_index((int)a[0])], old;
    struct fault_action *act = (struct fault_action *)a[1];

    if (((int)a[0] != SIGSEGV && (int)a[0] != SIGBUS) || (size_t)a[3] != 8)
        return shim_pass(SYS_rt_sigaction, a);
    vlock_lock(&fault_lock);
    old = *slot;
    if (act != NULL && !shim_is_vfork_child())
        *slot = *act;
    vlock_unlock(&fault_lock);
    if (a[2] != 0)
        *(struct fault_action *)a[2] = old;
    /* A vfork child has our memory, but actions of its own: what it sets is for the program it starts. */
    if (act != NULL && shim_is_vfork_child())
        return shim_pass(SYS_rt_sigaction, (const long[6]){a[0], a[1], 0, 8});
    return 0;
}
