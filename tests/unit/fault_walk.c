/* SPDX-License-Identifier: Apache-2.0
 * The walk over all fault points (faultwalk.h): everything that happens to volumes, in a few short stories.
 */
#include "common/log.h"
#include "tests/unit/walk_volume.h"

int main(void)
{
    static const struct fault_story *const stories[] = {&walk_files,  &walk_gc,      &walk_snapshots, &walk_clones,
                                                        &walk_repair, &walk_rebuild, &walk_upgrade,   &walk_tree,
                                                        &walk_restore};

    log_set_level(LOG_ERROR);
    return fault_walk(stories, sizeof(stories) / sizeof(*stories));
}
