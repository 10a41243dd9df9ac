/* SPDX-License-Identifier: Apache-2.0
 * insn: the length and a few facts of one x86-64 instruction (64-bit mode; Intel SDM vol. 2, appendix A).
 */
#ifndef VOLNFS_DOOR_INSN_H
#define VOLNFS_DOOR_INSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct insn {
    uint8_t len;       /* 1..15 */
    bool syscall;      /* exactly 0f 05 */
    bool movable;      /* means the same at another address: no branch, no rip-relative operand */
    bool branch;       /* has a relative target */
    bool ends;         /* what follows is not reached from here: jmp, ret, hlt, ud2, int3 */
    bool sets_eax_imm; /* mov $imm32,%eax or xor %eax,%eax */
    int32_t eax_imm;
    int64_t target; /* of a branch: relative to the start of this instruction */
};

/* Decodes the instruction at p, of which n bytes may be read. False: not a valid instruction. */
bool insn_decode(const uint8_t *p, size_t n, struct insn *out);

#endif
