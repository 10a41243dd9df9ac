/* SPDX-License-Identifier: Apache-2.0
 * walk_store: what is left in a store's folder when its server has ended.
 */
#ifndef VOLNFS_TESTS_WALK_STORE_H
#define VOLNFS_TESTS_WALK_STORE_H

#include <stdbool.h>

/* Is something still to be removed that was destroyed? */
bool walk_has_trash(const char *store);
/* How many folders of volumes there are, if each is a sound volume: then nothing is left of those that were half made. trash: of
 * those that were destroyed something may still be there, and does not count. -1: one is not sound, and stderr says which. */
int walk_check_folders(const char *store, bool trash);

#endif
