/* SPDX-License-Identifier: Apache-2.0
 * hugemap: memory for large buffers, in huge pages where the system has them. Such memory costs one fault where small pages
 * cost 512, and the disk gets a buffer in one piece instead of as many.
 */
#ifndef VOLNFS_COMMON_HUGEMAP_H
#define VOLNFS_COMMON_HUGEMAP_H

#include <stddef.h>

/* Maps size bytes of zeros, a power of two of at least 2 MiB, at a multiple of size; munmap gives them back. NULL: out of
 * memory. */
void *hugemap_new(size_t size);
/* Gives back the memory of len bytes at p, whole pages; they keep their place, and are zeros when next used. The mapping of
 * `size` that they are part of takes no more huge pages: the kernel, which makes them also of small ones later, would fill up
 * what was given back. */
void hugemap_drop(void *p, size_t len, size_t size);

#endif
