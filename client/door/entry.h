/* SPDX-License-Identifier: Apache-2.0
 * entry: the assembly between a stub and the filter and handler. Internal to door.
 */
#ifndef VOLNFS_DOOR_ENTRY_H
#define VOLNFS_DOOR_ENTRY_H

#include <stdint.h>

#define HIDDEN __attribute__((visibility("hidden")))

/*
 * What stubs call, 128 bytes below the caller's stack: rax and the arguments as for the call. All of them are kept. Says
 * by flags what to do: carry, it is done and the result in rax; else zero, the kernel shall do it; neither,
 * DOOR_LOOK. From sites that serve any call (syscall()) door_entry_any, which never says the last.
 */
extern const char door_entry[] HIDDEN, door_entry_any[] HIDDEN;
/* The same after DOOR_LOOK and ENOENT; rax is the call's number again. Never says DOOR_LOOK. */
extern const char door_entry_missed[] HIDDEN;

/* As door_entry, after a quick look: a path as first or second argument; open and openat; select and pselect6. */
extern const char door_entry_path0[] HIDDEN, door_entry_path1[] HIDDEN,
    door_entry_open[] HIDDEN, door_entry_openat[] HIDDEN, door_entry_select[] HIDDEN;
/* Where to go on when such a look faulted at ip; 0: it was none. */
uintptr_t door_entry_fixup(uintptr_t ip) HIDDEN;

/* door_conf's tables. Set before the first stub is reachable. */
extern const uint8_t *door_entry_plain HIDDEN, *door_entry_fds HIDDEN;

/* door_near, for these looks. */
void door_entry_near(uintptr_t low, uintptr_t high) HIDDEN;

/* Chooses how vector state is saved on this processor. */
void door_entry_init(void);

#endif
