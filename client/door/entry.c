/* SPDX-License-Identifier: Apache-2.0
 * entry: saves and restores what a real system call would leave alone.
 *
 * Stack, from the caller's rsp down: 128 bytes not touched (red zone, System V ABI 3.2.2), the return to the stub,
 * rbp, the six arguments, the call number, then for a call that the handler takes the
 * vector state. XSAVEC is used where there is one (Intel SDM vol. 1, 13.10); AMX tiles are not saved:
 * nothing in the handler uses them.
 */
#include "client/door/entry.h"

#include <cpuid.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "client/door/door.h"

uint64_t door_entry_size __attribute__((visibility("hidden"))) = 512; /* bytes of the save area */
uint64_t door_entry_mask __attribute__((visibility("hidden")));       /* XCR0 components saved */
uint64_t door_entry_mode __attribute__((visibility("hidden")));       /* 0 fxsave, 1 xsave, 2 xsavec */

const uint8_t *door_entry_plain, *door_entry_fds;
/* Addresses that door_near told of: where they begin, and bytes; 0: none. */
uintptr_t door_entry_low HIDDEN, door_entry_span HIDDEN;
__thread uint32_t door_seen __attribute__((tls_model("initial-exec")));

#define QUICK(name) {name, name##_ask}
extern const char door_entry_path0_ask[] HIDDEN, door_entry_path1_ask[] HIDDEN, door_entry_open_ask[] HIDDEN,
    door_entry_openat_ask[] HIDDEN, door_entry_select_ask[] HIDDEN;

uintptr_t door_entry_fixup(uintptr_t ip)
{
    static const struct {
        const char *from, *ask;
    } quick[] = {QUICK(door_entry_path0), QUICK(door_entry_path1), QUICK(door_entry_open), QUICK(door_entry_openat),
                 QUICK(door_entry_select)};

    for (unsigned i = 0; i < sizeof(quick) / sizeof(quick[0]); i++)
        if (ip >= (uintptr_t)quick[i].from && ip < (uintptr_t)quick[i].ask)
            return (uintptr_t)quick[i].ask;
    return 0;
}

/* Others read low and span while they change: first everything is near. */
void door_entry_near(uintptr_t low, uintptr_t high)
{
    __atomic_store_n(&door_entry_span, UINTPTR_MAX, __ATOMIC_RELEASE);
    __atomic_store_n(&door_entry_low, low, __ATOMIC_RELEASE);
    __atomic_store_n(&door_entry_span, high > low ? high - low : 0, __ATOMIC_RELEASE);
}

int door_filter_any(long nr, long *args) __attribute__((visibility("hidden")));

int door_filter_any(long nr, long *args)
{
    int verdict = door_filter(nr, args);
    long result;

    if (verdict != DOOR_LOOK)
        return verdict;
    result = door_syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
    if (result == -ENOENT && door_missed(nr, args) == DOOR_TAKE)
        return DOOR_TAKE;
    door_result(args, result);
    return DOOR_DONE;
}

/* x87, SSE, AVX, AVX-512 (opmask, ZMM_Hi256, Hi16_ZMM). */
#define SAVED_COMPONENTS 0xe7u

void door_entry_init(void)
{
    unsigned a, b, c, d, lo, hi, size = 512 + 64;

    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE))
        return;
    __asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    if (!__get_cpuid_count(13, 1, &a, &b, &c, &d))
        return;
    bool compact = a & 2;
    for (unsigned i = 2; i < 8; i++) {
        if (!((SAVED_COMPONENTS & lo) >> i & 1) || !__get_cpuid_count(13, i, &a, &b, &c, &d))
            continue;
        unsigned end = compact ? ((size + 63) & ~63u) + a : b + a;
        size = end > size ? end : size;
    }
    door_entry_mask = SAVED_COMPONENTS & lo;
    door_entry_size = (size + 63) & ~63u;
    door_entry_mode = compact ? 2 : 1;
}

/* Calls and returns are paired, here and in the stubs: a return that the processor did not foresee would cost more
 * than everything else on the way of a call that is passed on. */
__asm__(".text\n"
        ".macro door_restore\n"
        "    lea -56(%rbp), %rsp\n"
        "    pop %rax\n"
        "    pop %rdi\n"
        "    pop %rsi\n"
        "    pop %rdx\n"
        "    pop %r10\n"
        "    pop %r8\n"
        "    pop %r9\n"
        "    pop %rbp\n"
        ".endm\n"
        ".macro door_enter name, filter\n"
        ".hidden \\name\n"
        ".globl \\name\n"
        ".type \\name, @function\n"
        "\\name:\n"
        "    push %rbp\n"
        "    mov %rsp, %rbp\n"
        "    push %r9\n"
        "    push %r8\n"
        "    push %r10\n"
        "    push %rdx\n"
        "    push %rsi\n"
        "    push %rdi\n"
        "    push %rax\n"
        "    and $-64, %rsp\n"
        "    mov %rax, %rdi\n"
        "    lea -48(%rbp), %rsi\n"
        "    call \\filter\n"
        "    cmp $1, %eax\n"
        "    je door_take\n"
        "    cmp $2, %eax\n"
        "    je door_done\n" /* the result lies in the slot of the call number */
        "    mov %eax, %r11d\n"
        "    door_restore\n"
        "    test %r11d, %r11d\n"
        "    ret\n"
        ".size \\name, . - \\name\n"
        ".endm\n"
        "    door_enter door_entry, door_filter\n"
        "    door_enter door_entry_any, door_filter_any\n"
        "    door_enter door_entry_missed, door_missed\n"
        /*
         * The quick looks: with three registers and the stack at what the program points at. Plain: the kernel's;
         * anything else, and a fault (door_entry_fixup), is for the filter to judge.
         */
        ".macro door_quick_near reg\n"
        "    mov \\reg, %r11\n"
        "    sub door_entry_low(%rip), %r11\n"
        "    cmp %rcx, %r11\n"
        "    jb door_entry\n"
        ".endm\n"
        ".macro door_quick_end name, verdict\n"
        "    pop %rdx\n"
        "    pop %rax\n"
        "    \\verdict\n" /* clears carry; zero is not set: DOOR_LOOK; set: DOOR_PASS */
        "    ret\n"
        "\\name\\()_ask:\n"
        "    pop %rdx\n"
        "    pop %rax\n"
        "    jmp door_entry\n"
        ".size \\name, . - \\name\n"
        ".endm\n"
        ".macro door_quick_name name\n"
        ".hidden \\name, \\name\\()_ask\n"
        ".globl \\name, \\name\\()_ask\n"
        ".type \\name, @function\n"
        ".type \\name\\()_ask, @function\n"
        "\\name:\n"
        "    mov door_entry_span(%rip), %rcx\n"
        "    test %rcx, %rcx\n"
        "    je 9f\n"
        "    door_quick_near %rdi\n"
        "    door_quick_near %rsi\n"
        "    door_quick_near %rdx\n"
        "    door_quick_near %r10\n"
        "    door_quick_near %r8\n"
        "9:\n"
        ".endm\n"
        /* An absolute path whose first letter says that it is none of ours, and without two dots in a row. Read as in
         * filter.c: eight bytes at a time from a multiple of eight. */
        ".macro door_quick_path name, path\n"
        "    push %rax\n"
        "    push %rdx\n"
        "    cmpb $'/', (\\path)\n"
        "    jne \\name\\()_ask\n"
        "    movzbl 1(\\path), %eax\n"
        "    mov door_entry_plain(%rip), %rdx\n"
        "    cmpb $0, (%rdx,%rax)\n"
        "    je \\name\\()_ask\n"
        "    mov \\path, %rcx\n"
        "    mov \\path, %r11\n"
        "    and $-8, %r11\n"
        "    shl $3, %ecx\n"
        "    mov $1, %eax\n"
        "    shl %cl, %rax\n"
        "    dec %rax\n"
        "    or (%r11), %rax\n" /* what stands before the path is neither dot nor end */
        "1:  mov %rax, %rdx\n"
        "    mov %rax, %rcx\n"
        "    not %rcx\n"
        "    sub door_ones(%rip), %rdx\n"
        "    and %rcx, %rdx\n"
        "    and door_high(%rip), %rdx\n" /* where a byte is 0 */
        "    xor door_dots(%rip), %rax\n"
        "    mov %rax, %rcx\n"
        "    shr $8, %rcx\n"
        "    or door_last(%rip), %rcx\n"
        "    or %rax, %rcx\n" /* a byte of it is 0 where a dot is followed by another */
        "    shr $56, %rax\n"
        "    jne 2f\n"
        "    test %rdx, %rdx\n"
        "    jne 2f\n"
        "    cmpb $'.', 8(%r11)\n" /* a dot at the end of this word */
        "    je \\name\\()_ask\n"
        "2:  mov %rcx, %rax\n"
        "    not %rcx\n"
        "    sub door_ones(%rip), %rax\n"
        "    and %rcx, %rax\n"
        "    and door_high(%rip), %rax\n"
        "    jne 4f\n"
        "    test %rdx, %rdx\n"
        "    jne 3f\n"
        "    add $8, %r11\n"
        "    mov (%r11), %rax\n"
        "    jmp 1b\n"
        "4:  test %rdx, %rdx\n" /* perhaps only behind the end */
        "    je \\name\\()_ask\n"
        "    lea -1(%rdx), %rcx\n"
        "    xor %rdx, %rcx\n"
        "    test %rcx, %rax\n"
        "    jne \\name\\()_ask\n"
        "3:\n"
        "    door_quick_end \\name, \"or $1, %r11d\"\n"
        ".endm\n"
        ".macro door_quick_open flags\n" /* what is opened is certainly not ours, and this is no vfork child */
        "    test $0x200000, \\flags\n" /* O_PATH */
        "    jne door_entry\n"
        "    mov door_seen@gottpoff(%rip), %rcx\n"
        "    mov door_made(%rip), %r11d\n"
        "    cmp %fs:(%rcx), %r11d\n"
        "    jne door_entry\n"
        ".endm\n"
        "    door_quick_name door_entry_path0\n"
        "    door_quick_path door_entry_path0, %rdi\n"
        "    door_quick_name door_entry_path1\n"
        "    door_quick_path door_entry_path1, %rsi\n"
        "    door_quick_name door_entry_open\n"
        "    door_quick_open %esi\n"
        "    door_quick_path door_entry_open, %rdi\n"
        "    door_quick_name door_entry_openat\n"
        "    door_quick_open %edx\n"
        "    door_quick_path door_entry_openat, %rsi\n"
        /* Sets of one word each, as the kernel reads them; what stands at and above the number of descriptors counts
         * for nothing. */
        "    door_quick_name door_entry_select\n"
        "    push %rax\n"
        "    push %rdx\n"
        "    lea -1(%rdi), %eax\n"
        "    cmp $63, %eax\n"
        "    ja door_entry_select_ask\n"
        "    xor %r11d, %r11d\n"
        "    test %rsi, %rsi\n"
        "    je 1f\n"
        "    mov (%rsi), %r11\n"
        "1:  test %rdx, %rdx\n"
        "    je 2f\n"
        "    or (%rdx), %r11\n"
        "2:  test %r10, %r10\n"
        "    je 3f\n"
        "    or (%r10), %r11\n"
        "3:  mov $64, %ecx\n"
        "    sub %edi, %ecx\n"
        "    shl %cl, %r11\n"
        "    shr %cl, %r11\n"
        "    mov door_entry_fds(%rip), %rdx\n"
        "4:  test %r11, %r11\n"
        "    je 5f\n"
        "    bsf %r11, %rax\n"
        "    cmpb $1, (%rdx,%rax)\n"
        "    jne door_entry_select_ask\n"
        "    lea -1(%r11), %rcx\n"
        "    and %rcx, %r11\n"
        "    jmp 4b\n"
        "5:\n"
        "    door_quick_end door_entry_select, \"xor %r11d, %r11d\"\n"
        "door_take:\n"
        "    cld\n"
        "    sub door_entry_size(%rip), %rsp\n"
        "    mov door_entry_mask(%rip), %eax\n"
        "    xor %edx, %edx\n"
        "    cmpl $1, door_entry_mode(%rip)\n"
        "    jb 4f\n"
        "    movq $0, 512(%rsp)\n" /* the XSAVE header must be zero where XSAVE leaves it alone */
        "    movq $0, 520(%rsp)\n"
        "    movq $0, 528(%rsp)\n"
        "    movq $0, 536(%rsp)\n"
        "    movq $0, 544(%rsp)\n"
        "    movq $0, 552(%rsp)\n"
        "    movq $0, 560(%rsp)\n"
        "    movq $0, 568(%rsp)\n"
        "    je 3f\n"
        "    xsavec64 (%rsp)\n"
        "    jmp 5f\n"
        "3:  xsave64 (%rsp)\n"
        "    jmp 5f\n"
        "4:  fxsave64 (%rsp)\n"
        "5:  mov -56(%rbp), %rdi\n"
        "    lea -48(%rbp), %rsi\n"
        "    call door_handler\n"
        "    mov %rax, -56(%rbp)\n"
        "    cmpl $1, door_entry_mode(%rip)\n"
        "    jb 6f\n"
        "    mov door_entry_mask(%rip), %eax\n"
        "    xor %edx, %edx\n"
        "    xrstor64 (%rsp)\n"
        "    jmp 7f\n"
        "6:  fxrstor64 (%rsp)\n"
        "7:\n"
        "door_done:\n"
        "    door_restore\n"
        "    stc\n"
        "    ret\n"
        ".section .rodata\n"
        ".balign 32\n"
        "door_ones: .quad 0x0101010101010101\n"
        "door_high: .quad 0x8080808080808080\n"
        "door_dots: .quad 0x2e2e2e2e2e2e2e2e\n"
        "door_last: .quad 0xff00000000000000\n"
        ".text\n");
