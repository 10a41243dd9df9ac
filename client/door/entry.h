/* SPDX-License-Identifier: Apache-2.0
 * entry: the assembly between a stub and the filter and handler. Internal to door.
 */
#ifndef VOLNFS_DOOR_ENTRY_H
#define VOLNFS_DOOR_ENTRY_H

/* Where stubs jump: rcx = the stub's own syscall instruction, the other registers as for the call. Leaves by
 * jumping to rcx (the kernel shall do it) or rcx + 2 (done, the result in rax). */
extern const char door_entry[];

/* Set before the first stub is reachable. */
extern int (*door_entry_filter)(long nr, long args[6]);
extern long (*door_entry_handler)(long nr, const long args[6]);

/* Chooses how vector state is saved on this processor. */
void door_entry_init(void);

#endif
