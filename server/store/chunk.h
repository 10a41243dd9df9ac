/* SPDX-License-Identifier: Apache-2.0
 * chunk: bytes of at most one slot to and from their stored form.
 */
#ifndef VOLNFS_STORE_CHUNK_H
#define VOLNFS_STORE_CHUNK_H

#include "server/store/types.h"

/* On disk: never renumber. CHUNK_PLANES: numbers of 2 or 4 bytes taken apart byte by byte, each plane raw or zstd. */
enum chunk_codec { CHUNK_RAW = 0, CHUNK_ZSTD = 1, CHUNK_PLANES = 2 };
#define CHUNK_CODEC_MAX CHUNK_PLANES

/* How a chunk is stored. */
struct chunk {
    uint64_t id;         /* unique in the volume, never used again */
    uint32_t pack;       /* pack number, 0 = in the index's blob table */
    uint64_t pack_off;   /* of the record header in the pack */
    uint32_t stored_len; /* bytes of payload */
    uint32_t len;        /* bytes decoded, 1..SLOT_SIZE */
    enum chunk_codec codec;
    bool later; /* raw for lack of time: to be compressed when there is some. Not chunk.c's business */
    uint64_t checksum; /* XXH3-64 of the stored payload */
};

/* An upper bound of stored_len for len bytes. */
#define CHUNK_BOUND (SLOT_SIZE + 1024u)

/* Encodes len bytes into out (CHUNK_BOUND bytes); fills codec, len, stored_len and checksum of c.
 * level 0 = raw. The compressed form is kept only if it saves at least 1/8; a large input is probed
 * with 8 KiB first, which also tells whether planes suit it better. When the result is raw, *payload points to data, else to out.
 * Uses a compression context of this thread. -EINVAL: len is not 1..SLOT_SIZE. */
int chunk_encode(const void *data, uint32_t len, int level, void *out, struct chunk *c,
                 const void **payload);
/* Verifies the checksum of the stored payload and decodes exactly c->len bytes to out. For a raw chunk
 * payload may be out itself. -EUCLEAN (not logged here: only the caller knows where it came from),
 * -ENOMEM. */
int chunk_decode(const struct chunk *c, const void *payload, void *out);
/* True if len bytes are all zero. */
bool chunk_is_zero(const void *data, size_t len);
/* Frees this thread's contexts (called as a thread ends; safe to call twice). */
void chunk_thread_release(void);

#endif
