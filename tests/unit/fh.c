/* SPDX-License-Identifier: Apache-2.0
 * fh: forged, damaged and good handles.
 */
#include "server/nfs4/fh.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t key[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const struct fh_parts file = {
    .kind = VOBJ_FILE, .volume = 0x0123456789abcdefULL, .ino = 0xfedcba9876543210ULL, .gen = 0xdeadbeef};

static const struct fh_parts granted = {
    .kind = VOBJ_FILE, .volume = 7, .ino = 8, .gen = 9, .snap = 10, .grant = 0x0123456789abcdefULL};

static void wrong_length_of(const struct fh_parts *parts)
{
    char buf[NFS4_FHSIZE] = {0};
    uint32_t right = fh_encode(key, parts, buf);
    struct fh_parts p;

    for (uint32_t len = 0; len <= NFS4_FHSIZE; len++) {
        xhandle h = {len, buf};

        assert_int_equal(fh_decode(key, &h, &p), len == right ? NFS4_OK : NFS4ERR_BADHANDLE);
    }
}

static void wrong_length(void **state)
{
    wrong_length_of(&file);
    wrong_length_of(&granted);
}

static void every_bit_flip_of(const struct fh_parts *parts)
{
    char buf[FH_SIZE_MAX];
    xhandle h = {fh_encode(key, parts, buf), buf};
    struct fh_parts p;

    for (unsigned bit = 0; bit < h.len * 8; bit++) {
        fh_encode(key, parts, buf);
        buf[bit / 8] = (char)(buf[bit / 8] ^ (1 << (bit % 8)));
        assert_int_equal(fh_decode(key, &h, &p), NFS4ERR_BADHANDLE);
    }
}

static void every_bit_flip(void **state)
{
    every_bit_flip_of(&file);
    every_bit_flip_of(&granted);
}

/* What clients hold from before there were grants: 32 bytes of format 1, still what such an object gets. */
static void first_format(void **state)
{
    static const uint8_t old[32] = {1, 2, 0, 0, 0xde, 0xad, 0xbe, 0xef, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                    0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10};
    char buf[FH_SIZE_MAX];

    assert_int_equal(fh_encode(key, &file, buf), 32);
    assert_memory_equal(buf, old, 24);
    assert_int_equal(fh_encode(key, &granted, buf), 48);
}

static void another_store(void **state)
{
    uint8_t other[16];
    char buf[FH_SIZE_MAX];
    xhandle h = {0, buf};
    struct fh_parts p;

    memcpy(other, key, 16);
    other[15] ^= 1;
    h.len = fh_encode(other, &file, buf);
    assert_int_equal(fh_decode(key, &h, &p), NFS4ERR_BADHANDLE);
}

static void round_trips(void **state)
{
    static const struct fh_parts all[] = {
        {.kind = VOBJ_ROOT},
        {.kind = VOBJ_USER, .user = 1},
        {.kind = VOBJ_USER, .user = UINT64_MAX},
        {.kind = VOBJ_FILE, .volume = 1, .ino = 1},
        {.kind = VOBJ_FILE, .volume = 1, .ino = 1, .grant = 1},
        {.kind = VOBJ_FILE, .volume = 1, .ino = 1, .snap = UINT64_MAX, .grant = UINT64_MAX},
        {.kind = VOBJ_FILE, .volume = 1, .ino = 1, .snap = 1},
        {.kind = VOBJ_FILE, .volume = UINT64_MAX, .ino = UINT64_MAX, .gen = UINT32_MAX},
    };
    char buf[FH_SIZE_MAX];
    xhandle h = {0, buf};
    struct fh_parts p;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        h.len = fh_encode(key, &all[i], buf);
        assert_int_equal(fh_decode(key, &h, &p), NFS4_OK);
        assert_int_equal(p.kind, all[i].kind);
        assert_true(p.user == all[i].user && p.volume == all[i].volume && p.ino == all[i].ino);
        assert_int_equal(p.gen, all[i].gen);
        assert_true(p.snap == all[i].snap && p.grant == all[i].grant);
    }
}

/* A user and a volume of the same number must not be confused. */
static void kinds_differ(void **state)
{
    struct fh_parts user = {.kind = VOBJ_USER, .user = 7}, root = {.kind = VOBJ_ROOT};
    struct fh_parts vol = {.kind = VOBJ_FILE, .volume = 7};
    char a[FH_SIZE_MAX], b[FH_SIZE_MAX], c[FH_SIZE_MAX];

    fh_encode(key, &user, a);
    fh_encode(key, &vol, b);
    fh_encode(key, &root, c);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(a, c, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_length), cmocka_unit_test(first_format), cmocka_unit_test(every_bit_flip), cmocka_unit_test(another_store),
        cmocka_unit_test(round_trips),  cmocka_unit_test(kinds_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
