/* SPDX-License-Identifier: Apache-2.0
 * walk_volume, walk_tree, walk_restore: the stories of faultwalk.
 */
#ifndef VOLNFS_TESTS_WALK_VOLUME_H
#define VOLNFS_TESTS_WALK_VOLUME_H

#include "tests/unit/faultwalk.h"

/* What happens in a volume, from its first write to its repair. */
extern const struct fault_story walk_files, walk_gc, walk_snapshots, walk_clones, walk_repair, walk_rebuild, walk_upgrade;
/* What happens to users and volumes. */
extern const struct fault_story walk_tree;
/* A volume is made of a dump, and brought up to date. */
extern const struct fault_story walk_restore;

#endif
