/* SPDX-License-Identifier: Apache-2.0
 * insn: a table-driven instruction length decoder.
 */
#include "client/door/insn.h"

#include <string.h>

/* What follows an opcode byte. */
enum {
    N = 0,      /* nothing */
    M = 1,      /* ModRM */
    B = 2,      /* imm8 */
    Z = 4,      /* imm16 or imm32, by operand size */
    W = 8,      /* imm16 */
    R1 = 16,    /* rel8 */
    R4 = 32,    /* rel32 */
    X = 64,     /* not in 64-bit mode */
    S = 128,    /* special, handled in code */
    MB = M | B,
    MZ = M | Z,
};

static const uint8_t one[256] = {
    /* 00 */ M, M, M, M, B, Z, X, X, M, M, M, M, B, Z, X, S,
    /* 10 */ M, M, M, M, B, Z, X, X, M, M, M, M, B, Z, X, X,
    /* 20 */ M, M, M, M, B, Z, S, X, M, M, M, M, B, Z, S, X,
    /* 30 */ M, M, M, M, B, Z, S, X, M, M, M, M, B, Z, S, X,
    /* 40 */ S, S, S, S, S, S, S, S, S, S, S, S, S, S, S, S,
    /* 50 */ N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
    /* 60 */ X, X, S, M, S, S, S, S, Z, MZ, B, MB, N, N, N, N,
    /* 70 */ R1, R1, R1, R1, R1, R1, R1, R1, R1, R1, R1, R1, R1, R1, R1, R1,
    /* 80 */ MB, MZ, X, MB, M, M, M, M, M, M, M, M, M, M, M, M,
    /* 90 */ N, N, N, N, N, N, N, N, N, N, X, N, N, N, N, N,
    /* a0 */ S, S, S, S, N, N, N, N, B, Z, N, N, N, N, N, N,
    /* b0 */ B, B, B, B, B, B, B, B, S, S, S, S, S, S, S, S,
    /* c0 */ MB, MB, W, N, S, S, MB, MZ, W | B, N, W, N, N, B, X, N,
    /* d0 */ M, M, M, M, X, X, X, N, M, M, M, M, M, M, M, M,
    /* e0 */ R1, R1, R1, R1, B, B, B, B, R4, R4, X, R1, N, N, N, N,
    /* f0 */ S, N, S, S, N, N, S, S, N, N, N, N, N, N, M, M,
};

static const uint8_t two[256] = {
    /* 00 */ M, M, M, M, X, N, N, N, N, N, X, N, X, M, N, MB,
    /* 10 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    /* 20 */ M, M, M, M, X, X, X, X, M, M, M, M, M, M, M, M,
    /* 30 */ N, N, N, N, N, N, X, N, S, X, S, X, X, X, X, X,
    /* 40 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    /* 50 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    /* 60 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    /* 70 */ MB, MB, MB, MB, M, M, M, N, M, M, X, X, M, M, M, M,
    /* 80 */ R4, R4, R4, R4, R4, R4, R4, R4, R4, R4, R4, R4, R4, R4, R4, R4,
    /* 90 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    /* a0 */ N, N, N, M, MB, M, X, X, N, N, N, M, MB, M, M, M,
    /* b0 */ M, M, M, M, M, M, M, M, M, M, MB, M, M, M, M, M,
    /* c0 */ M, M, MB, M, MB, MB, MB, M, N, N, N, N, N, N, N, N,
    /* d0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    /* e0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
    /* f0 */ M, M, M, M, M, M, M, M, M, M, M, M, M, M, M, M,
};

/* The operands of an opcode in map 1 (0f), 2 (0f 38) or 3 (0f 3a), VEX or EVEX encoded. */
static int vector_operands(unsigned map, uint8_t op)
{
    switch (map) {
    case 1:
        return two[op] & (R1 | R4 | S | X) ? X : two[op];
    case 2:
    case 5:
    case 6:
        return M;
    case 3:
        return MB;
    default:
        return X;
    }
}

static bool is_prefix(uint8_t b)
{
    return b == 0x66 || b == 0x67 || b == 0xf0 || b == 0xf2 || b == 0xf3 || b == 0x26 || b == 0x2e ||
           b == 0x36 || b == 0x3e || b == 0x64 || b == 0x65;
}

bool insn_decode(const uint8_t *p, size_t n, struct insn *out)
{
    size_t i = 0;
    bool opsize = false, rex_w = false, vector = false, rip = false, prefixed = false;
    int ops;
    unsigned map = 0;
    uint8_t op;

    memset(out, 0, sizeof(*out));
    if (n > 15)
        n = 15;
    for (; i < n && is_prefix(p[i]); i++) {
        opsize |= p[i] == 0x66;
        prefixed = true;
    }
    if (i < n && (p[i] & 0xf0) == 0x40) {
        rex_w = p[i] & 8;
        prefixed = true;
        i++;
    }
    if (i >= n)
        return false;
    op = p[i++];
    if (op == 0xc5 || op == 0xc4 || op == 0x62) {
        size_t skip = op == 0xc5 ? 1 : op == 0xc4 ? 2 : 3;

        if (i + skip >= n)
            return false;
        map = op == 0xc5 ? 1 : p[i] & (op == 0xc4 ? 0x1f : 7);
        i += skip;
        op = p[i++];
        vector = true;
        ops = vector_operands(map, op);
    } else if (op == 0x0f) {
        if (i >= n)
            return false;
        op = p[i++];
        map = 1;
        ops = two[op];
        if (op == 0x38 || op == 0x3a) {
            map = op == 0x38 ? 2 : 3;
            if (i >= n)
                return false;
            op = p[i++];
            ops = map == 2 ? M : MB;
        }
    } else {
        ops = one[op];
    }

    size_t imm = 0;
    if (map == 0 && ops == S) {
        if (op >= 0xa0 && op <= 0xa3)
            imm = 8, ops = N;
        else if (op >= 0xb8 && op <= 0xbf)
            imm = rex_w ? 8 : opsize ? 2 : 4, ops = N;
        else if (op == 0xf6 || op == 0xf7)
            ops = M;
        else
            return false; /* a second REX, or a prefix after one */
        if (op == 0xf6 || op == 0xf7) {
            if (i >= n)
                return false;
            if ((p[i] >> 3 & 7) < 2)
                ops |= op == 0xf6 ? B : Z;
        }
    }
    if (ops & (X | S))
        return false;

    uint8_t modrm = 0;
    if (ops & M) {
        if (i >= n)
            return false;
        modrm = p[i++];
        unsigned mod = modrm >> 6, rm = modrm & 7;

        if (mod != 3) {
            size_t disp = mod == 1 ? 1 : mod == 2 ? 4 : 0;

            if (rm == 4) {
                if (i >= n)
                    return false;
                if (mod == 0 && (p[i] & 7) == 5)
                    disp = 4;
                i++;
            } else if (mod == 0 && rm == 5) {
                disp = 4;
                rip = true;
            }
            i += disp;
        }
    }
    size_t imm_at = i;
    imm += ops & B ? 1 : 0;
    imm += ops & W ? 2 : 0;
    imm += ops & Z ? (opsize && !rex_w ? 2 : 4) : 0;
    imm += ops & R1 ? 1 : 0;
    imm += ops & R4 ? 4 : 0;
    i += imm;
    if (i > n)
        return false;

    out->len = (uint8_t)i;
    if (ops & R1) {
        out->branch = true;
        out->target = (int64_t)i + (int8_t)p[imm_at];
    } else if (ops & R4) {
        int32_t rel;

        memcpy(&rel, p + imm_at, 4);
        out->branch = true;
        out->target = (int64_t)i + rel;
    }
    if (map == 0 && op == 0xc7 && modrm == 0xf8) { /* xbegin rel32 */
        int32_t rel;

        memcpy(&rel, p + imm_at, 4);
        out->branch = true;
        out->target = (int64_t)i + rel;
    }
    out->syscall = map == 1 && !vector && !prefixed && op == 0x05;
    if (map == 0 && !vector) {
        bool ret = op == 0xc3 || op == 0xc2 || op == 0xcb || op == 0xca || op == 0xcf;
        bool indirect = op == 0xff && (modrm >> 3 & 7) >= 2 && (modrm >> 3 & 7) <= 5;
        bool indirect_jmp = op == 0xff && ((modrm >> 3 & 7) == 4 || (modrm >> 3 & 7) == 5);

        out->ends = ret || op == 0xe9 || op == 0xeb || op == 0xf4 || op == 0xcc || indirect_jmp;
        out->movable = !out->branch && !rip && !ret && !indirect && op != 0xcc && op != 0xcd &&
                       op != 0xf4 && op != 0xf1;
        if (op == 0xb8 && !prefixed) {
            out->sets_eax_imm = true;
            memcpy(&out->eax_imm, p + imm_at, 4);
        } else if ((op == 0x31 || op == 0x33) && modrm == 0xc0 && !prefixed) {
            out->sets_eax_imm = true;
        }
    } else {
        out->ends = !vector && map == 1 && op == 0x0b;
        out->movable = !out->branch && !rip && !out->syscall && !out->ends;
        if (!vector && map == 1 && (op == 0x34 || op == 0x35 || op == 0x07))
            out->movable = false; /* sysenter, sysexit, sysret */
    }
    return true;
}
