/* SPDX-License-Identifier: Apache-2.0
 * entry: saves and restores what a real system call would leave alone.
 *
 * Stack, from the caller's rsp down: 128 bytes not touched (red zone, System V ABI 3.2.2), rcx (where to go
 * on), rbp, the six arguments, the call number, then for a call that the handler takes the
 * vector state. XSAVEC is used where there is one (Intel SDM vol. 1, 13.10); AMX tiles are not saved:
 * nothing in the handler uses them.
 */
#include "client/door/entry.h"

#include <cpuid.h>
#include <stdbool.h>
#include <stdint.h>

int (*door_entry_filter)(long nr, long args[6]) __attribute__((visibility("hidden")));
long (*door_entry_handler)(long nr, const long args[6]) __attribute__((visibility("hidden")));
uint64_t door_entry_size __attribute__((visibility("hidden"))) = 512; /* bytes of the save area */
uint64_t door_entry_mask __attribute__((visibility("hidden")));       /* XCR0 components saved */
uint64_t door_entry_mode __attribute__((visibility("hidden")));       /* 0 fxsave, 1 xsave, 2 xsavec */

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

__asm__(".text\n"
        ".hidden door_entry\n"
        ".globl door_entry\n"
        ".type door_entry, @function\n"
        "door_entry:\n"
        "    lea -128(%rsp), %rsp\n"
        "    push %rcx\n"
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
        "    cld\n"
        "    mov %rax, %rdi\n"
        "    lea -48(%rbp), %rsi\n"
        "    call *door_entry_filter(%rip)\n"
        "    test %al, %al\n"
        "    jne 1f\n"
        "    lea -56(%rbp), %rsp\n"
        "    call 9f\n"
        "    jmp *%rcx\n"
        /* taken */
        "1:  cmp $2, %al\n" /* done by the filter: the result lies in the slot of the call number */
        "    je 7f\n"
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
        "    call *door_entry_handler(%rip)\n"
        "    mov %rax, -56(%rbp)\n"
        "    cmpl $1, door_entry_mode(%rip)\n"
        "    jb 6f\n"
        "    mov door_entry_mask(%rip), %eax\n"
        "    xor %edx, %edx\n"
        "    xrstor64 (%rsp)\n"
        "    jmp 7f\n"
        "6:  fxrstor64 (%rsp)\n"
        "7:  lea -56(%rbp), %rsp\n"
        "    call 9f\n"
        "    add $2, %rcx\n"
        "    jmp *%rcx\n"
        /* Restores everything from the frame at rsp + 8 (this return address lies in dead space: it is
         * taken into r11 first). */
        "9:  pop %r11\n"
        "    pop %rax\n"
        "    pop %rdi\n"
        "    pop %rsi\n"
        "    pop %rdx\n"
        "    pop %r10\n"
        "    pop %r8\n"
        "    pop %r9\n"
        "    pop %rbp\n"
        "    pop %rcx\n"
        "    lea 128(%rsp), %rsp\n"
        "    jmp *%r11\n"
        ".size door_entry, . - door_entry\n");
