/* SPDX-License-Identifier: Apache-2.0
 * fault: named points at which a test can make a step fail or end the process.
 *
 * fault_point("pack.sync") returns 0 when nothing is armed (one load and a branch), else a negative
 * errno that the caller treats as that step's own failure. Armed by tests through fault_arm(), and
 * by volnfsd through the environment variable VOLNFS_FAULT=NAME:N[:crash] only when the build was
 * configured with --enable-faults.
 */
#ifndef VOLNFS_COMMON_FAULT_H
#define VOLNFS_COMMON_FAULT_H

enum fault_mode { FAULT_FAIL, FAULT_CRASH };

extern int fault_armed; /* internal to the macro */

int fault_hit(const char *name);
#define fault_point(name)                                                                          \
    (__builtin_expect(__atomic_load_n(&fault_armed, __ATOMIC_RELAXED), 0) ? fault_hit(name) : 0)

/* From now on the nth (1-based) passing of a point whose name is NAME ("" = any point) fails with
 * -EIO (FAULT_FAIL) or ends the process at once by _exit(99) (FAULT_CRASH). One arming at a time. */
void fault_arm(const char *name, unsigned nth, enum fault_mode mode);
/* Disarms; returns how many matching points were passed since fault_arm. */
unsigned fault_disarm(void);
/* While armed, seen is told of each passing, and whether it was the one (crash: just before); under a lock, so it must
 * be short and pass no point itself. NULL: nobody. Before fault_arm. */
void fault_watch(void (*seen)(const char *name, int hit));
/* Arms from "NAME:N[:crash]"; -EINVAL when the text is not of that form. */
int fault_arm_text(const char *text);

#endif
