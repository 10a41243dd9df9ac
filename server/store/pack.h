/* SPDX-License-Identifier: Apache-2.0
 * pack: append-only files of chunk records, DIR/xx/NNNNNNNN.pack (hexadecimal number, xx its low byte).
 *
 * Records gather in memory and are written 512 KiB at a time, past the page cache where the file system can (pack_stage.c).
 *
 * A record is a 64-byte header and the payload (volume-format.5 has the layout). One pack is open for
 * appending; it is sealed (a directory of its records and a footer are written and synced) at 64 MiB.
 * After a crash the open pack is not continued: appending starts in a new one, so bytes that the index
 * never learnt of stay harmless until the pack dies.
 */
#ifndef VOLNFS_STORE_PACK_H
#define VOLNFS_STORE_PACK_H

#include "common/release.h"
#include "server/store/chunk.h"

#define PACK_SIZE (64u << 20)

struct packset;

/* Opens (makes) the folder of packs. next_pack: the lowest number never used. */
int packset_open(const char *dir, const char *label, uint32_t next_pack, struct packset **out);
/* Seals nothing; unsynced bytes are synced. */
void packset_close(struct packset *ps);

/* Appends a record; fills c->pack and c->pack_off. c->id, codec, lengths and checksum must be set. ino
 * and off are hints for rebuilding. Not durable before packset_sync. Thread-safe; copying and writing run
 * outside the set's lock so that several threads append at once; the thread that fills up a stage waits for its write.
 * -ENOSPC, -EIO: nothing of it is left that a reader would find. */
int packset_append(struct packset *ps, struct chunk *c, uint64_t ino, uint64_t off,
                   const void *payload);
/* Makes every record whose packset_append returned 0 before this call durable. Callers take turns.
 * After a failure it fails for ever with the same error: records written before may be lost though a
 * later sync of the same file would say all is well. Seals full packs on the way. */
int packset_sync(struct packset *ps);
/* Reads a record's payload (c->stored_len bytes) into buf and checks the record header against c.
 * -EUCLEAN (logged with pack and offset), -ENOENT if the pack was deleted (look the chunk up again). */
int packset_read(struct packset *ps, const struct chunk *c, void *buf);
/* The same past the page cache, for what is read once: window is PACK_WINDOW bytes at a multiple of PACK_BLOCK, *payload
 * then points into it. Where that does not work, or anything is wrong, it is packset_read. */
int packset_read_past(struct packset *ps, const struct chunk *c, void *window, const void **payload);
#define PACK_BLOCK  4096u
#define PACK_WINDOW ((CHUNK_BOUND + 3 * PACK_BLOCK) & ~(PACK_BLOCK - 1))
/* The same as packset_read, with the record's hints, and the payload's checksum verified as well. */
int packset_read_record(struct packset *ps, const struct chunk *c, void *buf, uint64_t *ino, uint64_t *off);
/* Removes a pack's file, if it is there. A reader inside gets the record or -ENOENT. Never a pack being appended to or not yet
 * synced: -EBUSY. What is to be done then to give back its space is in *r, which had nothing to do; NULL: at once. */
int packset_delete(struct packset *ps, uint32_t pack, struct release *r);
/* The pack now open for appending (0 = none), and the lowest number not used yet. */
uint32_t packset_current(struct packset *ps);
/* Ends that pack, if it is `pack`: the next append begins another one, and the next packset_sync seals this one. */
void packset_retire(struct packset *ps, uint32_t pack);
/* Bytes in that pack, 0 if it is not `pack`. */
uint64_t packset_open_bytes(struct packset *ps, uint32_t pack);
uint32_t packset_next(struct packset *ps);
/* Total bytes of pack files; of open ones, those of their records, without what is reserved behind them. */
uint64_t packset_bytes(struct packset *ps);
/* Packs are full at this size instead of PACK_SIZE; between 1 and PACK_SIZE. Before the first append. */
void packset_set_size(struct packset *ps, uint64_t size);

/* For check and rebuild: walks the records of one pack by their headers; fn gets the chunk, ino and off
 * hints, and whether the payload's checksum holds; it stops when fn returns non-zero (returned). A torn
 * tail ends the walk normally; in a sealed pack a damaged header is stepped over with the help of the
 * directory. -ENOENT; -EUCLEAN: the file's own header is wrong. */
int pack_walk(const char *dir, uint32_t pack,
              int (*fn)(void *arg, const struct chunk *c, uint64_t ino, uint64_t off, bool good),
              void *arg);
/* The records of one pack, by ascending offset, without their payloads: from its directory, or, of a pack without a sound
 * one, by their headers up to the first that is not sound. *out is the caller's to free. The count, -ENOENT, -ENOMEM,
 * -EUCLEAN: the file's own header is wrong. */
struct pack_entry {
    uint64_t id;
    uint32_t off, stored_len;
};
int pack_entries(const char *dir, uint32_t pack, struct pack_entry **out);
/* Calls fn for each pack number found in dir, ascending, with its file size. */
int pack_list(const char *dir, int (*fn)(void *arg, uint32_t pack, uint64_t size), void *arg);

#endif
