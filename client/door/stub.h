/* SPDX-License-Identifier: Apache-2.0
 * stub: the code that a patched site jumps to. Internal to door.
 *
 * What most calls pay for being looked at is where the code and its data lie rather than how much it does: after a system
 * call everything has to come from farther than the nearest cache, and every jump that is taken has been forgotten.
 * So a stub
 *  1. runs straight through for a call that is the kernel's: all else lies behind that;
 *  2. does what follows the call in the library up to its return, if that is not much, instead of jumping back;
 *  3. reaches variables directly where they are near enough, and those it shares lie together (cells).
 *
 * It uses rcx, r11 and, where it knows the call's number, rax, and the stack only 128 bytes below the caller's.
 */
#ifndef VOLNFS_DOOR_STUB_H
#define VOLNFS_DOOR_STUB_H

#include <stddef.h>
#include <stdint.h>

#include "client/door/door.h"
#include "client/door/sites.h"

#define STUB_MAX   1024 /* bytes from one stub's end to the next one's */
#define STUB_ALIGN 64 /* where one begins, what its site jumps to: what runs straight through lies in as few lines of the cache as can be */
#define STUB_READS 3
#define STUB_HEAD  4096 /* bytes of a stub area before its stubs: the cells, in a page that stays writable */

/* Offsets in a stub area. */
struct stub {
    uint32_t at;  /* 0: the site is not patched */
    uint32_t raw; /* its syscall instruction, and what stood behind it in the site's window */
    uint32_t reads[STUB_READS], ask; /* instructions that read the program's memory (0: no more): after a fault the stub goes on at ask */
};

/* Fills the cells of the stub area. Its stubs may then be written. */
void stub_cells(uint8_t *area, const struct door_conf *conf);
/* door_near of the area's stubs, which may be running. */
void stub_near(uint8_t *area, uintptr_t low, uintptr_t high);

/*
 * Writes the stub of a site, whose syscall instruction is at `code` in a library whose code ends at `end`, at p in the area
 * or somewhat behind: up to STUB_MAX bytes. The site is served and has a window. Returns the stub's end, and where its parts are.
 */
uint8_t *stub_write(uint8_t *area, uint8_t *p, const struct site *site, const uint8_t *code, const uint8_t *end,
                    const struct door_conf *conf, struct stub *stub);

#endif
