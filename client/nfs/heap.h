/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The client's own heap: a call into a volume may come from inside malloc's own caller, from a signal handler or
 * from the loader, where the program's malloc must not be entered.
 *
 * Sizes are rounded up to a power of two and kept on one free list per size; blocks above 64 KiB are mappings of
 * their own, which are kept for reuse: a few for good, and until heap_trim() as many as one file's unsynced writes take.
 */
#ifndef CLIENT_NFS_HEAP_H
#define CLIENT_NFS_HEAP_H

#include <stddef.h>

/* Memory for size bytes, 16-aligned, or NULL. */
void *heap_alloc(size_t size);

/* The same, zeroed; NULL when count * size overflows. */
void *heap_zalloc(size_t count, size_t size);

/* Like realloc. */
void *heap_realloc(void *old, size_t size);

/* A copy of text, or NULL. */
char *heap_strdup(const char *text);

/* Gives memory back. NULL is allowed. */
void heap_free(void *mem);

/* Gives back to the kernel what is free of large blocks, but for a few. Locks the heap; any thread. */
void heap_trim(void);

/* Around fork: the heap must not be in the middle of a change in the child. */
void heap_fork_lock(void);
void heap_fork_unlock(void);

#endif
