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

static void wrong_length(void **state)
{
    char buf[NFS4_FHSIZE] = {0};
    struct fh_parts p;

    fh_encode(key, &file, buf);
    for (uint32_t len = 0; len <= NFS4_FHSIZE; len++) {
        xhandle h = {len, buf};

        assert_int_equal(fh_decode(key, &h, &p), len == FH_SIZE ? NFS4_OK : NFS4ERR_BADHANDLE);
    }
}

static void every_bit_flip(void **state)
{
    char buf[FH_SIZE];
    xhandle h = {FH_SIZE, buf};
    struct fh_parts p;

    for (unsigned bit = 0; bit < FH_SIZE * 8; bit++) {
        fh_encode(key, &file, buf);
        buf[bit / 8] = (char)(buf[bit / 8] ^ (1 << (bit % 8)));
        assert_int_equal(fh_decode(key, &h, &p), NFS4ERR_BADHANDLE);
    }
}

static void another_store(void **state)
{
    uint8_t other[16];
    char buf[FH_SIZE];
    xhandle h = {FH_SIZE, buf};
    struct fh_parts p;

    memcpy(other, key, 16);
    other[15] ^= 1;
    fh_encode(other, &file, buf);
    assert_int_equal(fh_decode(key, &h, &p), NFS4ERR_BADHANDLE);
}

static void round_trips(void **state)
{
    static const struct fh_parts all[] = {
        {.kind = VOBJ_ROOT},
        {.kind = VOBJ_USER, .user = 1},
        {.kind = VOBJ_USER, .user = UINT64_MAX},
        {.kind = VOBJ_FILE, .volume = 1, .ino = 1},
        {.kind = VOBJ_FILE, .volume = UINT64_MAX, .ino = UINT64_MAX, .gen = UINT32_MAX},
    };
    char buf[FH_SIZE];
    xhandle h = {FH_SIZE, buf};
    struct fh_parts p;

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        fh_encode(key, &all[i], buf);
        assert_int_equal(fh_decode(key, &h, &p), NFS4_OK);
        assert_int_equal(p.kind, all[i].kind);
        assert_true(p.user == all[i].user && p.volume == all[i].volume && p.ino == all[i].ino);
        assert_int_equal(p.gen, all[i].gen);
    }
}

/* A user and a volume of the same number must not be confused. */
static void kinds_differ(void **state)
{
    struct fh_parts user = {.kind = VOBJ_USER, .user = 7}, root = {.kind = VOBJ_ROOT};
    struct fh_parts vol = {.kind = VOBJ_FILE, .volume = 7};
    char a[FH_SIZE], b[FH_SIZE], c[FH_SIZE];

    fh_encode(key, &user, a);
    fh_encode(key, &vol, b);
    fh_encode(key, &root, c);
    assert_memory_not_equal(a, b, FH_SIZE);
    assert_memory_not_equal(a, c, FH_SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_length), cmocka_unit_test(every_bit_flip), cmocka_unit_test(another_store),
        cmocka_unit_test(round_trips),  cmocka_unit_test(kinds_differ),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
