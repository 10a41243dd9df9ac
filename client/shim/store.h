/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store: the bytes of a mapped volume file, in a file of the run directory that all processes of the run map.
 *
 * Beside it lies a record: which granules (2 MiB) have been read from the server, and a hash of every page as the
 * server has it, by which pages written through memory are found. The holders of a store keep a shared flock on it;
 * whoever lets go last removes it. The caller serializes calls within a process.
 */
#ifndef CLIENT_SHIM_STORE_H
#define CLIENT_SHIM_STORE_H

#include "client/shim/shim.h"

struct store;

/* This process's store of the file, which now has these attributes. One reference. -ENOSPC: no room. */
int store_get(const struct nfs_fh *fh, const struct nfs_attr *attr, struct store **out);
void store_ref(struct store *store);
void store_unref(struct store *store); /* the last one writes back and lets go */

int store_fd(const struct store *store);
const struct nfs_fh *store_fh(const struct store *store);

/* Makes sure that bytes from..to (as far as the file goes) are there; writable: and that writes will be found. */
int store_fill(struct store *store, uint64_t from, uint64_t to, bool writable);

/* Is any of the granules of from..to there? Has any process a writable mapping? */
bool store_filled(const struct store *store, uint64_t from, uint64_t to);
bool store_written(const struct store *store);
/* Could it take what it has not yet of from..to, and leave one part of so many of the run directory's file system free? The run's own
 * record lives there too. */
bool store_spare(const struct store *store, uint64_t from, uint64_t to, unsigned parts);
/* The file's size, as the processes that map it know it; and the server says that it has become longer. */
uint64_t store_size(const struct store *store);
void store_grown(struct store *store, uint64_t size);

/* Writes back what was written through memory, durably. */
int store_sync(struct store *store, uint64_t from, uint64_t to);

/* read and write of the file see and change what is mapped: store_read puts what is here over what was read. */
void store_read(struct store *store, uint8_t *to, size_t size, uint64_t offset);
void store_write(struct store *store, const void *from, size_t size, uint64_t offset);
void store_resize(struct store *store, uint64_t size);

/* A child has it too now: neither may remove it. */
void store_forked(struct store *store);
/* In the child: it holds what its parent held, and can write where that could. */
void store_child(void);
/* The process starts another program, and its mappings go; or (back) it did not. */
void store_exec(bool back);

#endif
