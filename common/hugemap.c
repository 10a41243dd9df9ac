/* SPDX-License-Identifier: Apache-2.0
 * hugemap: mmap and madvise. A kernel that refuses the advice gives small pages.
 */
#include "common/hugemap.h"

#include <stdint.h>
#include <sys/mman.h>

void *hugemap_new(size_t size)
{
    uint8_t *p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *end, *at;

    if (p == MAP_FAILED)
        return NULL;
    /* The upper one of the places: the kernel maps downwards, and the next one is to adjoin. */
    end = (uint8_t *)((uintptr_t)(p + 2 * size) & ~(uintptr_t)(size - 1));
    at = end - size;
    if (at > p)
        (void)munmap(p, (size_t)(at - p));
    if (end < p + 2 * size)
        (void)munmap(end, (size_t)(p + 2 * size - end));
    (void)madvise(at, size, MADV_HUGEPAGE);
    return at;
}

void hugemap_drop(void *p, size_t len, size_t size)
{
    (void)madvise((void *)((uintptr_t)p & ~(uintptr_t)(size - 1)), size, MADV_NOHUGEPAGE);
    (void)madvise(p, len, MADV_DONTNEED);
}
