/* SPDX-License-Identifier: Apache-2.0
 * files: what the store's modules do with paths and descriptors. Private to the store. Any thread.
 */
#ifndef VOLNFS_STORE_FILES_H
#define VOLNFS_STORE_FILES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* DIR/NAME, to be freed. Ends the process when there is no memory, as vol_alloc does. */
char *path_join(const char *dir, const char *name);
/* Makes the names in a folder durable; path is relative to dirfd (AT_FDCWD: to the working directory). 0 or -errno. */
int dir_sync(int dirfd, const char *path);
/* Makes the name of a file or folder durable: syncs the folder that it is in. 0 or -errno. */
int dir_sync_parent(const char *path);
/* Takes the lock of a folder of the store (its file "lock") for this process. A descriptor for dir_unlock, -EBUSY: another
 * has it, or -errno. */
int dir_lock(const char *dir);
/* Gives it back, also where a fork elsewhere in this process has left a copy of the descriptor in a child. fd < 0: nothing. */
void dir_unlock(int fd);
/* Reads len bytes at off. The count, which is less only where the file ends; or -errno. */
ssize_t read_full(int fd, void *buf, size_t len, uint64_t off);

#endif
