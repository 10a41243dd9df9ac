/* SPDX-License-Identifier: Apache-2.0
 * awake: keeps a processor from sleeping while a loop's thread waits there for the disk.
 *
 * A virtual machine hands a processor without work to its host, and is 10 to 20 us late when the disk answers; a sync is
 * two such waits, and one client that waits for its changes pays both each time. So while such a client goes on, a
 * thread of policy SCHED_IDLE spins on that processor. It has no locks, and ends AWAKE_NS after it was last asked for. It gets
 * only time that nobody else wants, with one exception: when a thread goes to sleep, the scheduler may take it before
 * another that could run but has had more than its share, as a loop that has just been interrupted has; and then it keeps
 * the processor to the end. So while no disk is waited for it gives way at once.
 */
#ifndef VOLNFS_RPC_AWAKE_H
#define VOLNFS_RPC_AWAKE_H

#include <stdbool.h>

#define AWAKE_NS 400000u

struct awake;
/* It helps here: a virtual machine with more than one processor for this process, and no limit on their time. */
bool awake_helps(void);
/* Is the processor time of this process limited, by its control group or one that this is in (v2: cpu.max, v1:
 * cpu.cfs_quota_us), as far as can be seen? root: what /proc and /sys are below, "" for the real ones. Opens files. */
bool awake_limited(const char *root);
/* NULL: out of memory. The thread begins with the first awake_keep. */
struct awake *awake_new(void);
/* The calling thread's processor, from now on. One thread, always the same. NULL is nothing. */
void awake_keep(struct awake *a);
/* The wait is over: the thread goes on, so that it need not be woken for the next one, but for nobody else's account. The same
 * thread calls it. NULL is nothing. */
void awake_rest(struct awake *a);
/* Ends the thread. NULL is nothing. */
void awake_free(struct awake *a);

#endif
