/* SPDX-License-Identifier: Apache-2.0
 * trash: the folders of volumes that are going or that a crash left half-made.
 */
#ifndef VOLNFS_VFS_TRASH_H
#define VOLNFS_VFS_TRASH_H

#include <stdatomic.h>

#include "server/vfs/vfs.h"

/* Bytes that "STORE/volumes/<16 hex digits>" needs beyond STORE, NUL included, trash prefix too. */
#define TRASH_PATH_EXTRA 48

/* Where the folder of volume id is: STORE/volumes/<16 hex digits>. Free with free(); NULL: no memory. */
char *trash_volume_path(const char *store, uint64_t id);
/* Moves the folder of volume id aside, so that nothing takes it for a volume. If it cannot be, the next start does. A
 * missing folder is fine. 0 or -errno, logged. */
int trash_put_aside(const char *store, uint64_t id);
/* Removes it then, unless *stop comes true: the rest, or what cannot be removed now, is left to the next start. 0 or
 * -errno, logged; -EINTR. Blocks as long as it takes. */
int trash_empty(const char *store, uint64_t id, const atomic_bool *stop);
/* At start: puts aside the folders that no volume owns, and calls found for each, to be emptied. known(arg, id): is there a row for id? Only folders whose
 * id this store has handed out are touched: a state.db restored from an old copy must not cost
 * volumes made since. */
int trash_clean(const char *store, struct statedb *db, bool (*known)(void *arg, uint64_t id),
                void (*found)(void *arg, uint64_t id), void *arg);

#endif
