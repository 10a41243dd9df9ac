/* SPDX-License-Identifier: Apache-2.0
 * space: the room on the disk that a store is on, for the operator: figures, and what the log says about them.
 *
 * A watch is stepped about once a second and tells when something changes, not while it lasts:
 *  1. It is LOW from when less than space_low() is free, and FULL from when changes of clients were refused while
 *     hardly that much was free beyond what the cache has for the disk. (A refusal alone does not count: who asks for a
 *     terabyte at once is refused on an empty disk, too.)
 *  2. It is ROOM again when a quarter more than space_low() was free in SPACE_CALM steps in a row, without a refusal.
 *     From FULL nothing leads to LOW.
 */
#ifndef VOLNFS_STORE_SPACE_H
#define VOLNFS_STORE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

#define SPACE_CALM 5u

struct space {
    uint64_t size;    /* bytes of the file system */
    uint64_t free;    /* of them, what the server may use */
    uint64_t reserve; /* of that, what data never uses: with less, writes are refused */
};
/* Of the file system that dir is on. 0 or -errno, with all of out 0. */
int space_read(const char *dir, struct space *out);
/* The free space below which the operator should do something: a twentieth of the size or 1 GiB, whichever is less; on
 * small disks one and a half times the reserve, so that it comes before writes are refused. */
uint64_t space_low(const struct space *s);

enum space_state { SPACE_ROOM, SPACE_LOW, SPACE_FULL };
/* Zero is the beginning: ROOM. */
struct space_watch {
    enum space_state state;
    unsigned calm;
    uint64_t refused;
};
/* pending: bytes that the cache has for the disk; refused: how many changes were refused for lack of space since the start.
 * True: the state is another now. */
bool space_watch_step(struct space_watch *w, const struct space *now, uint64_t pending, uint64_t refused);
/* The line for the log about the state: what it is, and what to do. */
void space_watch_log(const struct space_watch *w, const struct space *now, const char *store);

#endif
