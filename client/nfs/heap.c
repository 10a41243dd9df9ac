/* SPDX-License-Identifier: Apache-2.0 */
/* The client's own heap. */
#include "client/nfs/heap.h"

#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "client/nfs/sys.h"

#define HEAP_MIN_SHIFT 5       /* 32 bytes, header included */
#define HEAP_MAP_SHIFT 16      /* above 64 KiB: a mapping of its own */
#define HEAP_TOP_SHIFT 22      /* mappings up to 4 MiB are kept for reuse */
#define HEAP_KEEP 8            /* mappings per size that are kept for good, */
#define HEAP_DATA_SHIFT 21     /* with room for a WRITE of RPC_MAX_IO: */
#define HEAP_KEEP_DATA 72      /* so many are kept until heap_trim() */
#define HEAP_SLAB (256u << 10) /* taken from the kernel at once */

struct heap_block {
    uint32_t shift;
    uint32_t magic;
    struct heap_block *next; /* only while free */
};
#define HEAP_HEADER 16
#define HEAP_MAGIC 0x76686561u

static struct {
    struct vlock lock;
    struct heap_block *free[HEAP_TOP_SHIFT + 1];
    unsigned kept[HEAP_TOP_SHIFT + 1];
    char *slab;
    size_t slab_left;
} heap;

static unsigned heap_keep(unsigned shift)
{
    return shift == HEAP_DATA_SHIFT ? HEAP_KEEP_DATA : HEAP_KEEP;
}

static void *heap_map(size_t size)
{
    long got = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return got < 0 && got > -4096 ? NULL : (void *)got;
}

static unsigned heap_shift(size_t size)
{
    unsigned shift = HEAP_MIN_SHIFT;

    while (((size_t)1 << shift) < size + HEAP_HEADER)
        shift++;
    return shift;
}

static struct heap_block *heap_take_locked(unsigned shift)
{
    size_t size = (size_t)1 << shift;
    struct heap_block *block;

    if (shift <= HEAP_TOP_SHIFT && heap.free[shift] != NULL) {
        block = heap.free[shift];
        heap.free[shift] = block->next;
        heap.kept[shift]--;
        return block;
    }
    if (shift > HEAP_MAP_SHIFT)
        return heap_map(size);
    if (heap.slab_left < size) {
        /* What is left of the old slab is given up: less than one block of this size. */
        heap.slab = heap_map(HEAP_SLAB);
        heap.slab_left = heap.slab == NULL ? 0 : HEAP_SLAB;
        if (heap.slab == NULL)
            return NULL;
    }
    block = (struct heap_block *)heap.slab;
    heap.slab += size;
    heap.slab_left -= size;
    return block;
}

void *heap_alloc(size_t size)
{
    struct heap_block *block;
    unsigned shift;

    if (size > ((size_t)1 << 40))
        return NULL;
    shift = heap_shift(size);
    vlock_lock(&heap.lock);
    block = heap_take_locked(shift);
    vlock_unlock(&heap.lock);
    if (block == NULL)
        return NULL;
    block->shift = shift;
    block->magic = HEAP_MAGIC;
    return (char *)block + HEAP_HEADER;
}

void *heap_zalloc(size_t count, size_t size)
{
    size_t total;
    void *mem;

    if (__builtin_mul_overflow(count, size, &total))
        return NULL;
    mem = heap_alloc(total);
    if (mem != NULL)
        memset(mem, 0, total);
    return mem;
}

void heap_free(void *mem)
{
    struct heap_block *block;
    unsigned shift;
    bool unmap = false;

    if (mem == NULL)
        return;
    block = (struct heap_block *)((char *)mem - HEAP_HEADER);
    if (block->magic != HEAP_MAGIC)
        __builtin_trap();
    block->magic = 0;
    shift = block->shift;
    vlock_lock(&heap.lock);
    if (shift > HEAP_TOP_SHIFT || (shift > HEAP_MAP_SHIFT && heap.kept[shift] >= heap_keep(shift))) {
        unmap = true;
    } else {
        block->next = heap.free[shift];
        heap.free[shift] = block;
        heap.kept[shift]++;
    }
    vlock_unlock(&heap.lock);
    if (unmap)
        sys2(SYS_munmap, block, (size_t)1 << shift);
}

void heap_trim(void)
{
    struct heap_block *out = NULL, *block;

    vlock_lock(&heap.lock);
    for (; heap.kept[HEAP_DATA_SHIFT] > HEAP_KEEP; heap.kept[HEAP_DATA_SHIFT]--) {
        block = heap.free[HEAP_DATA_SHIFT];
        heap.free[HEAP_DATA_SHIFT] = block->next;
        block->next = out;
        out = block;
    }
    vlock_unlock(&heap.lock);
    while ((block = out) != NULL) {
        out = block->next;
        sys2(SYS_munmap, block, (size_t)1 << HEAP_DATA_SHIFT);
    }
}

void *heap_realloc(void *old, size_t size)
{
    struct heap_block *block;
    size_t have;
    void *mem;

    if (old == NULL)
        return heap_alloc(size);
    block = (struct heap_block *)((char *)old - HEAP_HEADER);
    have = ((size_t)1 << block->shift) - HEAP_HEADER;
    if (size <= have)
        return old;
    mem = heap_alloc(size);
    if (mem == NULL)
        return NULL;
    memcpy(mem, old, have);
    heap_free(old);
    return mem;
}

char *heap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = heap_alloc(size);

    return copy == NULL ? NULL : memcpy(copy, text, size);
}

void heap_fork_lock(void)
{
    vlock_lock(&heap.lock);
}

void heap_fork_unlock(void)
{
    vlock_unlock(&heap.lock);
}
