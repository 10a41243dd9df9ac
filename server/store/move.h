/* SPDX-License-Identifier: Apache-2.0
 * move: chunks get another place, and perhaps another form: copies are appended to the current pack, and the rows follow by
 * OP_MOVEs, each with an effect only if the chunk still is where it was read. Private to the store.
 *
 * For one thread without the volume's lock: moves_begin, then moves_form and moves_add for each chunk, then moves_end.
 */
#ifndef VOLNFS_STORE_MOVE_H
#define VOLNFS_STORE_MOVE_H

#include "server/store/volume_int.h"

struct moves {
    struct volume *vol;
    struct rowop *ops, **tail;
    unsigned n;
    uint64_t bytes; /* of payloads appended */
    uint32_t low;   /* packref */
    unsigned char *out; /* CHUNK_BOUND bytes */
};

void moves_begin(struct moves *m, struct volume *v);
/* The form in which to store a chunk whose payload is in buf (this thread's scratch): compressed harder, or at all if there
 * was no time for it, if the volume wants that and 1/16 is saved. Changes *c then; *payload is valid until the next call. What
 * cannot be decoded stays as it is. */
void moves_form(struct moves *m, struct chunk *c, unsigned char *buf, const void **payload);
/* Appends c, which has the bytes of `from`. ino, off: the hints of its record. 0 or -errno. */
int moves_add(struct moves *m, const struct chunk *from, struct chunk c, const void *payload, uint64_t ino, uint64_t off);
/* keep: the moves go into the open txg, all into one. Else they are forgotten. That txg, or 0 if there are no moves. */
uint64_t moves_end(struct moves *m, bool keep);

#endif
