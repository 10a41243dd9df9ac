/* SPDX-License-Identifier: Apache-2.0
 * sites: where a library's `syscall` instructions are, and which bytes around each may be displaced.
 *
 * The table is made from the library's file: every executable section is decoded from its start to its end,
 * and all direct branch targets are collected. A site's window is the syscall with as many
 * neighbours before or after it as give 5 bytes for a jump; all must be movable, and no branch may land
 * inside the window (its first byte excepted).
 */
#ifndef VOLNFS_DOOR_SITES_H
#define VOLNFS_DOOR_SITES_H

#include <stddef.h>
#include <stdint.h>

struct site {
    uint32_t vaddr;  /* of the syscall instruction, relative to the load address */
    uint8_t before;  /* bytes of the window before it */
    uint8_t after;   /* bytes of the window after it; before + 2 + after is 5..24, or 0 0 = no window */
    int16_t nr;      /* the call number if it is a constant here, else -1 */
};

struct sites {
    struct site *v; /* ascending; malloc'd or mapped */
    unsigned n;
    size_t bytes; /* of the mapping that holds v */
};

/* Makes the table of the ELF file at path. -ENOEXEC: not a 64-bit x86 ELF file, or its code can't be
 * decoded without doubt. Uses only raw system calls and mmap'd memory: may be called before main. */
int sites_make(const char *path, struct sites *out);
/* The same through a cache folder: a file named after the library's build id (hex). The folder must
 * belong to us and be writable by nobody else, or it is ignored. dir may be NULL. */
int sites_get(const char *path, const char *dir, struct sites *out);
void sites_release(struct sites *s);

#endif
