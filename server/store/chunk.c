/* SPDX-License-Identifier: Apache-2.0
 * chunk: encodes and decodes chunk payloads; one pair of zstd contexts per thread.
 *
 * Frames carry neither content size nor checksum: the index row and the record header have both.
 */
#include "server/store/chunk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#define PROBE_MIN  32768u /* inputs from this size on are probed */
#define PROBE_SIZE 8192u
#define CODE_MIN   64u /* below this a zstd frame cannot save 1/8 of anything but runs */

struct contexts {
    ZSTD_CCtx *comp;
    ZSTD_DCtx *decomp;
    int level; /* set in comp */
};

static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static __thread struct contexts *mine;

static void contexts_free(void *p)
{
    struct contexts *x = p;

    if (!x)
        return;
    ZSTD_freeCCtx(x->comp);
    ZSTD_freeDCtx(x->decomp);
    free(x);
}

static void key_make(void)
{
    if (pthread_key_create(&key, contexts_free))
        abort();
}

static struct contexts *contexts_get(void)
{
    if (mine)
        return mine;
    pthread_once(&key_once, key_make);
    struct contexts *x = calloc(1, sizeof(*x));
    if (!x)
        return NULL;
    if (pthread_setspecific(key, x)) {
        free(x);
        return NULL;
    }
    mine = x;
    return x;
}

void chunk_thread_release(void)
{
    if (!mine)
        return;
    pthread_setspecific(key, NULL);
    contexts_free(mine);
    mine = NULL;
}

/* This thread's compressor set to level, or NULL. */
static ZSTD_CCtx *compressor(int level)
{
    struct contexts *x = contexts_get();

    if (!x)
        return NULL;
    if (!x->comp) {
        x->comp = ZSTD_createCCtx();
        if (!x->comp)
            return NULL;
        ZSTD_CCtx_setParameter(x->comp, ZSTD_c_contentSizeFlag, 0);
        ZSTD_CCtx_setParameter(x->comp, ZSTD_c_checksumFlag, 0);
        ZSTD_CCtx_setParameter(x->comp, ZSTD_c_dictIDFlag, 0);
    }
    if (x->level != level) {
        if (ZSTD_isError(ZSTD_CCtx_setParameter(x->comp, ZSTD_c_compressionLevel, level)))
            return NULL;
        x->level = level;
    }
    return x->comp;
}

/* The compressed size of len bytes if it is at most max, else 0. */
static size_t compress(ZSTD_CCtx *comp, const void *data, size_t len, void *out, size_t max)
{
    size_t n = ZSTD_compress2(comp, out, max, data, len);

    return ZSTD_isError(n) ? 0 : n;
}

/* A failure of zstd (memory) is no failure of the caller's: the chunk is stored raw. */
static size_t try_compress(const void *data, uint32_t len, int level, void *out)
{
    if (level <= 0 || len < CODE_MIN)
        return 0;
    ZSTD_CCtx *comp = compressor(level);
    if (!comp)
        return 0;
    if (len >= PROBE_MIN) {
        /* A probe of 8 KiB lacks the context of the whole, so it is asked for less: 1/32. */
        const char *middle = (const char *)data + (len - PROBE_SIZE) / 2;
        if (!compress(comp, middle, PROBE_SIZE, out, PROBE_SIZE - PROBE_SIZE / 32))
            return 0;
    }
    return compress(comp, data, len, out, len - len / 8);
}

int chunk_encode(const void *data, uint32_t len, int level, void *out, struct chunk *c,
                 const void **payload)
{
    if (len == 0 || len > SLOT_SIZE)
        return -EINVAL;
    size_t n = try_compress(data, len, level, out);
    c->codec = n ? CHUNK_ZSTD : CHUNK_RAW;
    c->len = len;
    c->stored_len = n ? (uint32_t)n : len;
    *payload = n ? out : data;
    c->checksum = XXH3_64bits(*payload, c->stored_len);
    return 0;
}

int chunk_decode(const struct chunk *c, const void *payload, void *out)
{
    if (c->len == 0 || c->len > SLOT_SIZE || c->stored_len == 0 || c->stored_len > CHUNK_BOUND)
        return -EUCLEAN;
    if (XXH3_64bits(payload, c->stored_len) != c->checksum)
        return -EUCLEAN;
    switch (c->codec) {
    case CHUNK_RAW:
        if (c->stored_len != c->len)
            return -EUCLEAN;
        if (payload != out)
            memcpy(out, payload, c->len);
        return 0;
    case CHUNK_ZSTD: {
        struct contexts *x = contexts_get();
        if (x && !x->decomp)
            x->decomp = ZSTD_createDCtx();
        if (!x || !x->decomp)
            return -ENOMEM;
        size_t n = ZSTD_decompressDCtx(x->decomp, out, c->len, payload, c->stored_len);
        return n == c->len ? 0 : -EUCLEAN; /* an error code is larger than any length */
    }
    }
    return -EUCLEAN;
}

bool chunk_is_zero(const void *data, size_t len)
{
    static const char zero[16];
    const char *p = data;

    if (len <= sizeof(zero))
        return memcmp(p, zero, len) == 0;
    /* If the first 16 bytes are zero and each byte equals the one 16 before it, all are. */
    return memcmp(p, zero, sizeof(zero)) == 0 &&
           memcmp(p, p + sizeof(zero), len - sizeof(zero)) == 0;
}
