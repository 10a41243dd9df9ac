/* SPDX-License-Identifier: Apache-2.0
 * repair: makes a volume's index agree with itself and its packs again, or makes one anew.
 *
 *   R1 The volume is changed by one rename: a new index is made beside the old one (index.db.new), synced, and takes its
 *      place. A crash leaves the old one or the new one. Before that, the journal is applied, as opening would.
 *   R2 Nothing goes for good: the index as it was is kept in DIR/damaged/<time>/, and, when rows of it could not be read
 *      or data is given up, the packs, as hard links.
 *   R3 What can be read is kept: inodes without a name get one in lost+found in the root, chunks that nothing refers to
 *      become files there.
 *   R4 A repair after which nothing is left to do changes nothing.
 */
#ifndef VOLNFS_STORE_REPAIR_H
#define VOLNFS_STORE_REPAIR_H

#include <stdbool.h>
#include <stdint.h>

struct repair_options {
    bool rebuild; /* there is no index that can be read */
    bool punch;   /* ranges whose data is lost become holes; else they stay, and reading them fails */
    bool data;    /* verify payloads, too */
};
struct repair_report {
    uint64_t repaired; /* sentences about what was changed */
    uint64_t left;     /* about what stays damaged */
    char aside[64];    /* the folder under DIR with what was there before; "": nothing was changed */
};
/* Repairs or rebuilds the volume in dir; say gets a sentence for each thing done or left. 0 also when something is
 * left. -EBUSY: a server has the volume open. -ENOTSUP: a newer format. -EUCLEAN: the index cannot be read and
 * rebuild is not set. -EEXIST: it can, and rebuild is set. -ENOSPC, -EIO: the volume is as it was. Blocks. */
int volume_repair(const char *dir, const struct repair_options *opt, void (*say)(void *arg, const char *text),
                  void *arg, struct repair_report *rep);

#endif
