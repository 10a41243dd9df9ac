/* SPDX-License-Identifier: Apache-2.0
 * planes: numbers taken apart byte by byte.
 *
 * The loops work on blocks of a fixed size without aliases, which compilers turn into vector code at -O2.
 */
#include "server/store/planes.h"

#include <endian.h>
#include <string.h>

#define BLOCK 256u

static inline uint16_t load16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof(v));
    return le16toh(v);
}

static inline uint32_t load32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline void store16(uint8_t *p, uint16_t v)
{
    v = htole16(v);
    memcpy(p, &v, sizeof(v));
}

static inline void store32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static inline void split2(const uint8_t *restrict in, uint32_t n, uint8_t *restrict a,
                          uint8_t *restrict b)
{
    for (uint32_t i = 0; i < n; i++) {
        uint16_t v = load16(in + 2 * i);
        v = (uint16_t)(v << 1 | v >> 15);
        a[i] = (uint8_t)v;
        b[i] = (uint8_t)(v >> 8);
    }
}

static inline void split4(const uint8_t *restrict in, uint32_t n, uint8_t *restrict a,
                          uint8_t *restrict b, uint8_t *restrict c, uint8_t *restrict d)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = load32(in + 4 * i);
        v = v << 1 | v >> 31;
        a[i] = (uint8_t)v;
        b[i] = (uint8_t)(v >> 8);
        c[i] = (uint8_t)(v >> 16);
        d[i] = (uint8_t)(v >> 24);
    }
}

static inline void join2(const uint8_t *restrict a, const uint8_t *restrict b, uint32_t n,
                         uint8_t *restrict out)
{
    for (uint32_t i = 0; i < n; i++) {
        uint16_t v = (uint16_t)(a[i] | b[i] << 8);
        store16(out + 2 * i, (uint16_t)(v >> 1 | v << 15));
    }
}

static inline void join4(const uint8_t *restrict a, const uint8_t *restrict b,
                         const uint8_t *restrict c, const uint8_t *restrict d, uint32_t n,
                         uint8_t *restrict out)
{
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = a[i] | (uint32_t)b[i] << 8 | (uint32_t)c[i] << 16 | (uint32_t)d[i] << 24;
        store32(out + 4 * i, v >> 1 | v << 31);
    }
}

void planes_split(const void *data, uint32_t n, unsigned width, uint8_t *out)
{
    const uint8_t *in = data;
    uint32_t i = 0;

    if (width == 2) {
        for (; i + BLOCK <= n; i += BLOCK)
            split2(in + 2 * i, BLOCK, out + i, out + n + i);
        split2(in + 2 * i, n - i, out + i, out + n + i);
    } else {
        uint8_t *a = out, *b = out + n, *c = out + 2 * (size_t)n, *d = out + 3 * (size_t)n;
        for (; i + BLOCK <= n; i += BLOCK)
            split4(in + 4 * i, BLOCK, a + i, b + i, c + i, d + i);
        split4(in + 4 * i, n - i, a + i, b + i, c + i, d + i);
    }
}

void planes_join(const uint8_t *const plane[PLANES_MAX], uint32_t n, unsigned width, void *out)
{
    uint8_t *o = out;
    uint32_t i = 0;

    if (width == 2) {
        for (; i + BLOCK <= n; i += BLOCK)
            join2(plane[0] + i, plane[1] + i, BLOCK, o + 2 * i);
        join2(plane[0] + i, plane[1] + i, n - i, o + 2 * i);
    } else {
        for (; i + BLOCK <= n; i += BLOCK)
            join4(plane[0] + i, plane[1] + i, plane[2] + i, plane[3] + i, BLOCK, o + 4 * i);
        join4(plane[0] + i, plane[1] + i, plane[2] + i, plane[3] + i, n - i, o + 4 * i);
    }
}

int planes_skewed(const void *data, uint32_t len, unsigned width)
{
    const uint8_t *p = data;
    uint16_t count[256] = {0};
    uint32_t n = len / width, sum = 0;

    if (n > 2048)
        n = 2048;
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *high = p + (i + 1) * width - 2;
        count[(uint8_t)(high[1] << 1 | high[0] >> 7)]++;
    }
    for (unsigned i = 0; i < 256; i++)
        sum += (uint32_t)count[i] * count[i];
    /* Evenly spread bytes give n * n / 256 and about n more; exponents of weights give n * n / 6. */
    return sum > n * n / 32 + n;
}
