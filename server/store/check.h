/* SPDX-License-Identifier: Apache-2.0
 * check: does a volume's index agree with itself and with its packs? Reads only.
 */
#ifndef VOLNFS_STORE_CHECK_H
#define VOLNFS_STORE_CHECK_H

#include <stdbool.h>
#include <stdint.h>

struct check_report {
    uint64_t inodes, dirents, extents, chunks, packs, bytes_read; /* rows of the volume itself */
    uint64_t snapshots;
    uint64_t journal;  /* transaction groups that are not in the index yet: only whether they make sense is looked at */
    uint64_t problems; /* 0 = clean */
};
/* Checks the volume in dir: SQLite integrity; every name's inode exists and is reachable from the root;
 * nlink of files and directories, parents, orphans; extents in range, not overlapping, within slots,
 * their chunks present, refs right; blobs present exactly for chunks in pack 0; counters (files,
 * used per inode, logical, stored, pack live); cookies match names; next_* above all ids in use; every live chunk's
 * record in its pack with the right header and, if data is set, payload checksum; every snapshot's tree
 * likewise, and that all its chunks are held for it; the journal's header and records, and that it fits the index.
 * Each problem is one call of problem() with a sentence naming inode, chunk or pack.
 * Works beside a running server: it reads one snapshot of the index (and tolerates packs that vanish
 * for chunks that are gone by then). 0, or -errno if the check itself could not run. */
int volume_check(const char *dir, bool data, void (*problem)(void *arg, const char *text), void *arg,
                 struct check_report *rep);

#endif
