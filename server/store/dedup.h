/* SPDX-License-Identifier: Apache-2.0
 * dedup: finds bytes that are to be stored at another place of the volume, where they are stored already. Private to the
 * store; dedup.c says why what is found may be shared.
 */
#ifndef VOLNFS_STORE_DEDUP_H
#define VOLNFS_STORE_DEDUP_H

#include "server/store/volume_int.h"

#define DEDUP_MIN INDEX_DEDUP_MIN /* shorter runs are not looked for */

/* A place that had the same bytes when they were compared. */
struct same {
    struct slot *src; /* held, with its inode; NULL: none */
    uint32_t changes; /* of src then */
    uint64_t ino, off;
};

/* For tests: the bits of a hash that count; called when a place was found, before it is used. */
extern uint64_t dedup_hash_bits;
extern void (*dedup_found)(void);

/* Never 0. */
uint64_t dedup_hash(const void *data, uint32_t len);
/* Looks for another place than dst with these len bytes. True: *out has it, until same_release. Whatever goes wrong
 * is no more than not found. The volume's lock is not held; blocks. */
bool dedup_find(struct volume *v, uint64_t hash, const struct slot *dst, const void *data, uint32_t len,
                struct same *out);
/* Would an OP_CLONE from there, added now, still copy these bytes? Lock held. */
bool same_holds(const struct same *m);
/* Lets go of it; none is fine. Lock held. */
void same_release(struct same *m);
/* An op that maps bytes with this hash there was just added to the open txg: it is found from now on. Lock held. */
void dedup_note(struct volume *v, uint64_t hash, uint64_t ino, uint64_t off);

#endif
