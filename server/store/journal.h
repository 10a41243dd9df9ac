/* SPDX-License-Identifier: Apache-2.0
 * journal: a volume's redo log: one preallocated file, written in a ring, one sync per record.
 *
 * DIR/journal: two header blocks, then the ring. A record is one write that returns when it is on the disk
 * (O_DIRECT | O_DSYNC; buffered with O_DSYNC where the file system refuses O_DIRECT). It carries the journal's
 * epoch, its number (lsn, one more than the one before) and a checksum; it never crosses the ring's end.
 * volume-format.5 has the layout.
 *
 *   J1 The ring from the tail on, as a header on the disk says it, holds the records tail_lsn, tail_lsn + 1, ...
 *      without a gap; the first place that has not the next number, the epoch and a right checksum ends them.
 *   J2 A record is written after all records before it are on the disk (one writer).
 *   J3 Space is reused only after a header on the disk has a tail behind it (journal_release).
 *   J4 The epoch changes each time the journal is emptied with journal_reset, so that what a crash left behind a
 *      torn record is never taken for a later one's successor.
 *   J5 Header blocks are written in turns: a torn one leaves the other.
 *
 * What a payload says is the caller's (record.h). All bytes read are untrusted.
 */
#ifndef VOLNFS_STORE_JOURNAL_H
#define VOLNFS_STORE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define JOURNAL_SIZE_MIN     (64u << 10) /* of the ring; multiples of JOURNAL_BLOCK */
#define JOURNAL_SIZE_FIRST   (1u << 20)
#define JOURNAL_SIZE_DEFAULT (64u << 20)
#define JOURNAL_SIZE_MAX     (1u << 30)
#define JOURNAL_BLOCK        4096u

struct journal;

/* Makes the file in the folder, empty, its first record to be next_lsn; durable when it returns. The file must not
 * exist (an unfinished one of an earlier try may). size: of the ring. -ENOSPC, -EEXIST. */
int journal_create(int dirfd, uint32_t size, uint64_t next_lsn);
/* -ENOENT: there is none. -ENOTSUP: a newer version. -EUCLEAN (logged): not a sane journal. readonly: for journal_walk
 * only, beside the server that writes it. */
int journal_open(int dirfd, const char *label, bool readonly, struct journal **out);
void journal_close(struct journal *j);

/* Calls fn for each record from the tail on, in order; stops when fn returns non-zero (returned). -EIO: the file cannot
 * be read. Not while records are written, but in a readonly journal. */
int journal_walk(struct journal *j, int (*fn)(void *arg, uint64_t lsn, const void *payload, size_t len), void *arg);
/* Drops all records, begins a new epoch, and makes the ring `size` bytes (0: as it is); the next record is next_lsn.
 * Nobody may be writing or releasing. -ENOSPC: it stays as it was. */
int journal_reset(struct journal *j, uint32_t size, uint64_t next_lsn);

/* Where to put the payload of the next record, len bytes; valid until the next call. One thread. */
void *journal_buf(struct journal *j, size_t len);
/* Writes the payload that is in journal_buf as record lsn; on the disk when it returns 0. *end: for journal_release.
 * -ENOSPC: no room before older ones are released. -E2BIG: larger than the ring. After another error the
 * record may or may not be there: nothing more is written. */
int journal_write(struct journal *j, uint64_t lsn, size_t len, uint64_t *end);
/* Records up to lsn, which ended at `end`, are not needed any more: frees their space, durably. Any one thread, beside
 * the writer. lsn may be above the last one written when the journal is empty otherwise: it was made durable in
 * another way, and the next record is lsn + 1 (end: 0). */
int journal_release(struct journal *j, uint64_t lsn, uint64_t end);

/* Bytes of the ring. Any thread. */
uint32_t journal_size(struct journal *j);
/* Bytes of the ring between tail and head. Any thread. */
uint64_t journal_used(struct journal *j);

#endif
