/* SPDX-License-Identifier: Apache-2.0
 * Tests of chunk: hostile payloads, limits, which form is kept, threads.
 */
#include "server/store/chunk.h"

#include <math.h>
#include <pthread.h>
#include <xxhash.h>
#include <zstd.h>

#include "tests/unit/storetest.h"

static uint8_t data[SLOT_SIZE], out[CHUNK_BOUND], back[SLOT_SIZE + 64];

/* Half random, half a short pattern, in pieces of 256 bytes. */
static void fill_half(uint8_t *p, size_t len, uint64_t seed)
{
    st_fill(p, len, seed);
    for (size_t i = 0; i < len; i++)
        if (i / 256 % 2)
            p[i] = (uint8_t)(i % 16);
}

static void decode_refuses_hostile(void **state)
{
    struct chunk c = {.id = 1}, bad;
    const void *payload;
    uint8_t *p = malloc(SLOT_SIZE);

    memset(data, 'x', 50000);
    assert_int_equal(chunk_encode(data, 50000, 1, out, &c, &payload), 0);
    assert_int_equal(c.codec, CHUNK_ZSTD);
    assert_int_equal(chunk_decode(&c, payload, back), 0);
    assert_memory_equal(back, data, 50000);

    /* a flipped byte anywhere */
    memcpy(p, payload, c.stored_len);
    for (uint32_t i = 0; i < c.stored_len; i++) {
        p[i] ^= 1;
        assert_int_equal(chunk_decode(&c, p, back), -EUCLEAN);
        p[i] ^= 1;
    }
    /* lengths that do not fit, with a checksum that does: more and fewer bytes than promised */
    for (uint32_t len = 49999; len <= 50001; len += 2) {
        bad = c;
        bad.len = len;
        memset(back, 0xee, sizeof(back));
        assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
        for (uint32_t i = len; i < len + 16; i++)
            assert_int_equal(back[i], 0xee); /* nothing past the end */
    }
    bad = c;
    bad.stored_len--;
    bad.checksum = XXH3_64bits(payload, bad.stored_len);
    assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
    bad = c;
    bad.len = 0;
    assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
    bad.len = SLOT_SIZE + 1;
    assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
    bad = c;
    bad.stored_len = 0;
    assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
    bad.stored_len = CHUNK_BOUND + 1;
    assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
    bad = c;
    bad.codec = (enum chunk_codec)7;
    assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
    bad.codec = CHUNK_RAW;
    assert_int_equal(chunk_decode(&bad, payload, back), -EUCLEAN);
    /* random bytes as a zstd frame */
    for (uint64_t seed = 0; seed < 200; seed++) {
        st_fill(p, 100, seed);
        memcpy(p, payload, seed % 8);
        bad = c;
        bad.stored_len = 100;
        bad.checksum = XXH3_64bits(p, 100);
        assert_int_equal(chunk_decode(&bad, p, back), -EUCLEAN);
    }
    free(p);
}

static void encode_limits(void **state)
{
    struct chunk c = {0};
    const void *payload;
    static const uint32_t sizes[] = {1, 63, 64, 65, 4096, 32767, 32768, SLOT_SIZE - 1, SLOT_SIZE};

    assert_int_equal(chunk_encode(data, 0, 1, out, &c, &payload), -EINVAL);
    assert_int_equal(chunk_encode(data, SLOT_SIZE + 1, 1, out, &c, &payload), -EINVAL);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (int level = 0; level <= 19; level += level < 3 ? 1 : 8) {
            fill_half(data, sizes[i], i);
            memset(back, 0, sizeof(back));
            assert_int_equal(chunk_encode(data, sizes[i], level, out, &c, &payload), 0);
            assert_int_equal(c.len, sizes[i]);
            assert_true(c.stored_len <= CHUNK_BOUND);
            if (level == 0)
                assert_int_equal(c.codec, CHUNK_RAW);
            if (c.codec == CHUNK_RAW)
                assert_ptr_equal(payload, data);
            assert_int_equal(chunk_decode(&c, payload, back), 0);
            assert_memory_equal(back, data, sizes[i]);
        }
}

static void keeps_only_what_saves(void **state)
{
    struct chunk c;
    const void *payload;

    st_fill(data, SLOT_SIZE, 1);
    assert_int_equal(chunk_encode(data, SLOT_SIZE, 1, out, &c, &payload), 0);
    assert_int_equal(c.codec, CHUNK_RAW);
    assert_int_equal(c.stored_len, SLOT_SIZE);
    /* compressible by 1/16 only: raw; by a quarter: zstd */
    memset(data, 0, SLOT_SIZE / 16);
    assert_int_equal(chunk_encode(data, 30000, 1, out, &c, &payload), 0);
    memset(data, 0, SLOT_SIZE);
    st_fill(data, 30000 - 30000 / 16, 2);
    assert_int_equal(chunk_encode(data, 30000, 1, out, &c, &payload), 0);
    assert_int_equal(c.codec, CHUNK_RAW);
    memset(data, 0, SLOT_SIZE);
    st_fill(data, 30000 - 30000 / 4, 2);
    assert_int_equal(chunk_encode(data, 30000, 1, out, &c, &payload), 0);
    assert_int_equal(c.codec, CHUNK_ZSTD);
    assert_true(c.stored_len <= 30000 - 30000 / 8);
    /* half-compressible data passes the probe */
    fill_half(data, SLOT_SIZE, 3);
    assert_int_equal(chunk_encode(data, SLOT_SIZE, 1, out, &c, &payload), 0);
    assert_int_equal(c.codec, CHUNK_ZSTD);
    /* raw may be decoded in place */
    st_fill(data, 1000, 4);
    memcpy(back, data, 1000);
    assert_int_equal(chunk_encode(data, 1000, 1, out, &c, &payload), 0);
    assert_int_equal(chunk_decode(&c, back, back), 0);
    assert_memory_equal(back, data, 1000);
}

/* Normally distributed weights as f32 or, cut to 2 bytes, bf16. */
static void fill_weights(uint8_t *p, size_t len, unsigned width, uint64_t seed)
{
    uint64_t rng = seed * 2 + 1;

    for (size_t i = 0; i + width <= len; i += width) {
        double u = (double)(st_random(&rng) >> 11) / (double)(1ull << 53) + 1e-12;
        double w = (double)(st_random(&rng) >> 11) / (double)(1ull << 53);
        float f = (float)(0.02 * sqrt(-2 * log(u)) * cos(6.283185307179586 * w));
        memcpy(p + i, (char *)&f + 4 - width, width);
    }
}

static void planes_of_floats(void **state)
{
    static const double most[] = {[2] = 0.70, [4] = 0.86};
    static const uint32_t lens[] = {SLOT_SIZE, SLOT_SIZE - 1, 100003, 32770, 32768};
    struct chunk c = {0};
    const void *payload;

    for (unsigned width = 2; width <= 4; width += 2)
        for (unsigned i = 0; i < 5; i++) {
            memset(data, 9, sizeof(data));
            fill_weights(data, lens[i], width, i + width);
            assert_int_equal(chunk_encode(data, lens[i], 1, out, &c, &payload), 0);
            assert_int_equal(c.codec, CHUNK_PLANES);
            assert_true(c.stored_len < most[width] * lens[i]);
            memset(back, 0xee, sizeof(back));
            assert_int_equal(chunk_decode(&c, payload, back), 0);
            assert_memory_equal(back, data, lens[i]);
            assert_int_equal(back[lens[i]], lens[i] < SLOT_SIZE ? 0xee : back[lens[i]]);
        }
    /* text is not taken apart, nor are small inputs */
    for (uint32_t i = 0; i < SLOT_SIZE; i++)
        data[i] = (uint8_t)"the quick brown fox "[(i * i / 7 + i) % 20];
    assert_int_equal(chunk_encode(data, SLOT_SIZE, 1, out, &c, &payload), 0);
    assert_int_equal(c.codec, CHUNK_ZSTD);
}

/* Payloads of planes that were tampered with, under a checksum that holds: refused or decoded, nothing past the end. */
static void planes_refuse_hostile(void **state)
{
    uint8_t *p = malloc(CHUNK_BOUND);
    struct chunk c = {.id = 1}, bad;
    const void *payload;
    uint64_t rng = 7;
    unsigned refused = 0;

    fill_weights(data, 40001, 4, 1);
    assert_int_equal(chunk_encode(data, 40001, 1, out, &c, &payload), 0);
    assert_int_equal(c.codec, CHUNK_PLANES);
    for (unsigned round = 0; round < 4000; round++) {
        unsigned flips = 1 + round % 3;
        bad = c;
        memcpy(p, payload, c.stored_len);
        while (flips--) {
            uint64_t r = st_random(&rng);
            p[round % 2 ? r % 17 : r % c.stored_len] = (uint8_t)(r >> 40);
        }
        if (round % 5 == 0)
            bad.len = 1 + (uint32_t)(st_random(&rng) % SLOT_SIZE);
        if (round % 7 == 0)
            bad.stored_len = 1 + (uint32_t)(st_random(&rng) % c.stored_len);
        bad.checksum = XXH3_64bits(p, bad.stored_len);
        memset(back, 0xee, sizeof(back));
        int rc = chunk_decode(&bad, p, back);
        assert_true(rc == 0 || rc == -EUCLEAN);
        refused += rc != 0;
        for (uint32_t i = bad.len; i < bad.len + 64; i++)
            assert_int_equal(back[i], 0xee);
    }
    assert_true(refused > 1000);
    /* each length of a plane too long, too short, 0 */
    for (unsigned k = 0; k < 4; k++)
        for (int d = -1; d <= 1; d += 2) {
            uint32_t z;
            memcpy(p, payload, c.stored_len);
            memcpy(&z, p + 1 + 4 * k, 4);
            z += (uint32_t)d;
            memcpy(p + 1 + 4 * k, &z, 4);
            bad = c;
            bad.checksum = XXH3_64bits(p, bad.stored_len);
            assert_int_equal(chunk_decode(&bad, p, back), -EUCLEAN);
            memset(p + 1 + 4 * k, d > 0 ? 0xff : 0, 4);
            bad.checksum = XXH3_64bits(p, bad.stored_len);
            assert_int_equal(chunk_decode(&bad, p, back), -EUCLEAN);
        }
    free(p);
}

static void zero(void **state)
{
    memset(data, 0, sizeof(data));
    for (size_t len = 0; len < 100; len++) {
        assert_true(chunk_is_zero(data, len));
        for (size_t i = 0; i < len; i++) {
            data[i] = 1;
            assert_false(chunk_is_zero(data, len));
            assert_true(chunk_is_zero(data, i));
            data[i] = 0;
        }
    }
    assert_true(chunk_is_zero(data, SLOT_SIZE));
    data[SLOT_SIZE - 1] = 1;
    assert_false(chunk_is_zero(data, SLOT_SIZE));
}

static void *one_thread(void *arg)
{
    uint8_t *d = malloc(SLOT_SIZE), *o = malloc(CHUNK_BOUND), *b = malloc(SLOT_SIZE);
    struct chunk c;
    const void *payload;
    intptr_t bad = 0;

    for (int i = 0; i < 20; i++) {
        fill_half(d, SLOT_SIZE, (uint64_t)(uintptr_t)arg + (uint64_t)i);
        bad |= chunk_encode(d, SLOT_SIZE, 1 + i % 3, o, &c, &payload) != 0;
        bad |= chunk_decode(&c, payload, b) != 0 || memcmp(b, d, SLOT_SIZE) != 0;
        if (i % 7 == 0)
            chunk_thread_release();
    }
    if (arg) { /* the others leave it to the key's destructor; LeakSanitizer looks */
        chunk_thread_release();
        chunk_thread_release();
    }
    free(d);
    free(o);
    free(b);
    return (void *)bad;
}

static void threads(void **state)
{
    pthread_t t[3];
    void *bad;

    for (intptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&t[i], NULL, one_thread, (void *)i), 0);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
}

/* Noise between long repeats is compressed in a quicker way that must not cost space, text is not. */
static void quick_keeps_the_size(void **state)
{
    struct chunk c = {.id = 1};
    const void *payload;

    for (uint32_t run = 512; run <= 16384; run *= 2) {
        st_fill(data, SLOT_SIZE, run);
        for (uint32_t at = run; at < SLOT_SIZE; at += 2 * run)
            memset(data + at, (int)at / 512, run);
        assert_int_equal(chunk_encode(data, SLOT_SIZE, 1, out, &c, &payload), 0);
        assert_int_equal(c.codec, CHUNK_ZSTD);
        assert_true(c.stored_len < SLOT_SIZE / 100 * 56);
        memset(back, 0, SLOT_SIZE);
        assert_int_equal(chunk_decode(&c, payload, back), 0);
        assert_memory_equal(back, data, SLOT_SIZE);
    }
    for (uint32_t i = 0; i < SLOT_SIZE; i += 8) /* repeats too short for it */
        memcpy(data + i, i % 24 ? "volume, " : (const char[8]){(char)(i >> 3), (char)(i >> 8), 'x', 'y'}, 8);
    assert_int_equal(chunk_encode(data, SLOT_SIZE, 1, out, &c, &payload), 0);
    assert_true(c.stored_len < SLOT_SIZE / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decode_refuses_hostile), cmocka_unit_test(encode_limits),
        cmocka_unit_test(keeps_only_what_saves),  cmocka_unit_test(zero),
        cmocka_unit_test(threads),                cmocka_unit_test(planes_of_floats),
        cmocka_unit_test(planes_refuse_hostile),  cmocka_unit_test(quick_keeps_the_size),
    };
    int rc = cmocka_run_group_tests_name("chunk", tests, NULL, NULL);

    chunk_thread_release();
    return rc;
}
