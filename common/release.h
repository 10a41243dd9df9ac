/* SPDX-License-Identifier: Apache-2.0
 * release: large files are removed without holding up the disk.
 *
 * Where the file system tells the disk what is freed (ext4's mount option discard), a disk may do nothing else for 10 ms and
 * more while it forgets 64 MiB; whoever waits for a write waits for that too. So a file first loses its name, and then its
 * bytes, from the end, a MiB at a time. Without discards a step is a few microseconds.
 *
 *  1. Only a file without any name is made shorter: one that has another name, a clone's, keeps all its bytes.
 *  2. A crash in the middle leaves nothing: the name went first, the rest goes with the descriptor.
 *  3. Of two who remove the last two names at once, one (flock) makes it shorter: the other would make it longer again.
 *  4. Who still reads from such a file finds its end too early. fstat tells why: no link is left.
 *
 * A struct release is one thread's at a time.
 */
#ifndef VOLNFS_COMMON_RELEASE_H
#define VOLNFS_COMMON_RELEASE_H

#include <stdbool.h>
#include <stdint.h>

#define RELEASE_STEP (UINT64_C(1) << 20)

struct release {
    int fd;        /* of the file without a name; -1: nothing is left to do */
    uint64_t left; /* its bytes */
};
#define RELEASE_NONE {-1, 0}

/* unlinkat(dirfd, name, 0): 0 or its -errno. What it leaves to do is in *r, which had nothing to do. */
int release_unlink(int dirfd, const char *name, struct release *r);
/* Frees one step, which the disk may be busy with for some tenths of a millisecond. false: nothing is left. */
bool release_some(struct release *r);
/* Frees all that is left. Others get their turns at the disk in between, but no pauses. */
void release_all(struct release *r);

#endif
