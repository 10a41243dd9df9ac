/* SPDX-License-Identifier: Apache-2.0
 * priority: which threads of this process go first when there are more than processors.
 *
 * Linux lets a running thread finish its slice (3 ms by default) before one that wakes up on the same processor gets it,
 * unless that one's own slice is shorter (6.12, sched_setattr(2): sched_runtime of SCHED_OTHER). Where the kernel does not
 * know that, only the nice value of background threads changes.
 */
#ifndef VOLNFS_COMMON_PRIORITY_H
#define VOLNFS_COMMON_PRIORITY_H

enum priority {
    PRIORITY_QUICK,      /* wakes up often, works for microseconds, and somebody waits for it: a short slice */
    PRIORITY_BACKGROUND, /* a long slice, and 5 nicer: a third of the processor beside one that is not. No less, for
                            others wait for the locks it holds. */
};
/* For the calling thread, once. Of a policy other than SCHED_OTHER and SCHED_BATCH it changes nothing. */
void priority_set(enum priority p);

/* The calling thread leaves a processor to others, if it may run on another one; -1: it may run everywhere again. Cheap
 * when nothing changes. Who sets the thread's processors from outside meanwhile has the last word. */
void priority_avoid(int cpu);

#endif
