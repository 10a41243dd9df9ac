/* SPDX-License-Identifier: Apache-2.0
 * chunk: encodes and decodes chunk payloads; one pair of zstd contexts per thread.
 *
 * Frames carry neither content size nor checksum: the index row and the record header have both.
 *
 * A payload of CHUNK_PLANES: the width w (1 byte), w stored lengths (4 bytes each, little-endian), the w planes, and
 * the len % w bytes that are no whole number. A plane of n = len / w bytes is raw if its length is n, else a zstd frame
 * that is shorter.
 */
#include "server/store/chunk.h"

#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <zstd.h>

#include "server/store/planes.h"

#define PROBE_MIN  32768u /* inputs from this size on are probed */
#define PROBE_SIZE 8192u
#define QUICK      32
#define CODE_MIN   64u /* below this a zstd frame cannot save 1/8 of anything but runs */

struct contexts {
    ZSTD_CCtx *comp;
    ZSTD_DCtx *decomp;
    int level; /* set in comp */
    uint8_t *planes; /* SLOT_SIZE bytes, when first needed */
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
    free(x->planes);
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

/* The same at level 1, with steps of QUICK bytes through what repeats nothing: in noise between long repeats a quarter of
 * the time for about the same size. */
static size_t compress_quick(ZSTD_CCtx *comp, const void *data, size_t len, void *out, size_t max)
{
    size_t n;

    ZSTD_CCtx_setParameter(comp, ZSTD_c_targetLength, QUICK);
    n = compress(comp, data, len, out, max);
    ZSTD_CCtx_setParameter(comp, ZSTD_c_targetLength, 0);
    return n;
}

/* --- planes --- */

static uint8_t *planes_buffer(void)
{
    struct contexts *x = contexts_get();

    if (x && !x->planes)
        x->planes = malloc(SLOT_SIZE);
    return x ? x->planes : NULL;
}

#define PLANES_HEAD(width) (1 + 4 * (width))

/* Takes data apart and compresses each plane that gets smaller by 1/16 and is in *mask (bit k: plane k), which keeps
 * those that did. The payload's size if it is at most max, else 0. */
static size_t planes_encode(ZSTD_CCtx *comp, const void *data, uint32_t len, unsigned width, unsigned *mask,
                            uint8_t *out, size_t max)
{
    uint32_t n = len / width, tail = len % width;
    uint8_t *split = planes_buffer();
    size_t at = PLANES_HEAD(width);

    if (!split || at + n + tail > max)
        return 0;
    planes_split(data, n, width, split);
    out[0] = (uint8_t)width;
    for (unsigned k = 0; k < width; k++) {
        size_t room = max - at, most = n - n / 16, z = 0;
        uint32_t le;
        if (*mask & 1u << k)
            z = compress(comp, split + (size_t)k * n, n, out + at, most < room ? most : room);
        if (!z) {
            *mask &= ~(1u << k);
            if (n > room)
                return 0;
            memcpy(out + at, split + (size_t)k * n, n);
            z = n;
        }
        le = htole32((uint32_t)z);
        memcpy(out + 1 + 4 * k, &le, sizeof(le));
        at += z;
    }
    if (at + tail > max)
        return 0;
    memcpy(out + at, (const uint8_t *)data + len - tail, tail);
    return at + tail;
}

/* Trusts nothing: the checksum only says that the bytes are those that were written. */
static int planes_decode(struct contexts *x, const struct chunk *c, const uint8_t *in, void *out)
{
    const uint8_t *plane[PLANES_MAX];
    unsigned width = in[0];
    uint32_t n, tail;
    size_t at, end = c->stored_len;

    if ((width != 2 && width != 4) || c->len < width)
        return -EUCLEAN;
    n = c->len / width;
    tail = c->len % width;
    at = PLANES_HEAD(width);
    if (end < at + tail)
        return -EUCLEAN;
    for (unsigned k = 0; k < width; k++) {
        uint32_t z;
        memcpy(&z, in + 1 + 4 * k, sizeof(z));
        z = le32toh(z);
        if (z == 0 || z > n || z > end - tail - at)
            return -EUCLEAN;
        plane[k] = in + at;
        if (z < n) {
            uint8_t *to = x->planes + (size_t)k * n;
            if (ZSTD_decompressDCtx(x->decomp, to, n, in + at, z) != n)
                return -EUCLEAN;
            plane[k] = to;
        }
        at += z;
    }
    if (at + tail != end)
        return -EUCLEAN;
    planes_join(plane, n, width, out);
    memcpy((uint8_t *)out + c->len - tail, in + at, tail);
    return 0;
}

/* --- choosing a form --- */

struct choice {
    unsigned width; /* 0: zstd as it is; 2 or 4: planes */
    unsigned mask;  /* planes worth compressing */
    bool quick;     /* compress_quick does as well */
};

/* Looks at 8 KiB of the middle. False: stored raw. A probe lacks the context of the whole, so it is asked for less
 * than the whole: 1/32. */
static bool probe(ZSTD_CCtx *comp, int level, const void *data, uint32_t len, uint8_t *out, struct choice *ch)
{
    const uint8_t *middle = (const uint8_t *)data + ((len - PROBE_SIZE) / 2 & ~7u);
    size_t most = PROBE_SIZE - PROBE_SIZE / 32;
    size_t best = compress(comp, middle, PROBE_SIZE, out, most);

    *ch = (struct choice){0};
    if (best && best < PROBE_SIZE / 8 * 3)
        return true;
    ch->quick = best && level == 1 && compress_quick(comp, middle, PROBE_SIZE, out, best + best / 32);
    if (best && best < PROBE_SIZE / 2)
        return true;
    for (unsigned width = 2; width <= PLANES_MAX; width *= 2) {
        unsigned mask = (1u << width) - 1;
        size_t n, than = best ? best - best / 16 : most;
        if (!planes_skewed(middle, PROBE_SIZE, width))
            continue;
        n = planes_encode(comp, middle, PROBE_SIZE, width, &mask, out, than);
        if (n) {
            best = n;
            *ch = (struct choice){.width = width, .mask = mask};
        }
    }
    return best != 0;
}

/* The stored size, 0 for raw. A failure of zstd (memory) is no failure of the caller's: the chunk is stored raw. */
static size_t try_compress(const void *data, uint32_t len, int level, void *out, enum chunk_codec *codec)
{
    struct choice ch = {0};
    size_t most = len - len / 8, n = 0;
    ZSTD_CCtx *comp;

    if (level <= 0 || len < CODE_MIN)
        return 0;
    comp = compressor(level);
    if (!comp)
        return 0;
    if (len >= PROBE_MIN && !probe(comp, level, data, len, out, &ch))
        return 0;
    *codec = CHUNK_PLANES;
    if (ch.width)
        n = planes_encode(comp, data, len, ch.width, &ch.mask, out, most);
    if (n)
        return n;
    *codec = CHUNK_ZSTD;
    return ch.quick ? compress_quick(comp, data, len, out, most) : compress(comp, data, len, out, most);
}

int chunk_encode(const void *data, uint32_t len, int level, void *out, struct chunk *c,
                 const void **payload)
{
    enum chunk_codec codec = CHUNK_RAW;

    if (len == 0 || len > SLOT_SIZE)
        return -EINVAL;
    size_t n = try_compress(data, len, level, out, &codec);
    c->codec = n ? codec : CHUNK_RAW;
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
    case CHUNK_ZSTD:
    case CHUNK_PLANES: {
        struct contexts *x = contexts_get();
        if (x && !x->decomp)
            x->decomp = ZSTD_createDCtx();
        if (!x || !x->decomp)
            return -ENOMEM;
        if (c->codec == CHUNK_PLANES)
            return planes_buffer() ? planes_decode(x, c, payload, out) : -ENOMEM;
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
