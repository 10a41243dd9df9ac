/* SPDX-License-Identifier: Apache-2.0
 * rpcmsg: hostile headers first, then what each kind of header decodes and encodes to.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "server/rpc/rpcmsg.h"

/* A call with words of our choice, decoded from memory of exactly that size. */
static enum rpcmsg_verdict decode(const uint32_t *w, size_t bytes, struct rpcmsg_head *head,
                                  struct cred *cred, size_t *left)
{
    uint32_t *buf = malloc(bytes ? bytes : 1);
    enum rpcmsg_verdict v;
    XDR x;

    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)buf)[i] = (uint8_t)(w[i / 4] >> (24 - i % 4 * 8));
    xdrin_init(&x, buf, bytes);
    v = rpcmsg_decode(&x, head, cred);
    if (left)
        *left = xdrin_left(&x);
    free(buf);
    return v;
}

#define DECODE(...)                                                                                \
    decode((uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}), &head, &cred, &left)

static struct rpcmsg_head head;
static struct cred cred;
static size_t left;

/* xid 7, CALL, RPC 2, program 100003 version 4 procedure 1, AUTH_SYS of uid 1000 in 2 groups on "host" */
static const uint32_t good[] = {7, 0, 2, 100003, 4, 1, 1, 32, 99, 4, 0x686f7374, 1000, 100, 2, 5, 6,
                                0, 0, 0xabcd};

static void truncated_headers_are_garbage(void **state)
{
    for (size_t n = 0; n < sizeof(good) - 4; n++)
        assert_int_equal(decode(good, n, &head, &cred, NULL), RPCMSG_GARBAGE);
    assert_int_equal(decode(good, sizeof(good), &head, &cred, &left), RPCMSG_CALL);
    assert_int_equal(left, 4);
    assert_int_equal(DECODE(7, 2, 2, 1, 1, 1), RPCMSG_GARBAGE);
    assert_int_equal(DECODE(7, UINT32_MAX), RPCMSG_GARBAGE);
}

static void random_bytes_do_no_harm(void **state)
{
    uint32_t w[sizeof(good) / 4];
    unsigned seed = 3;

    for (int i = 0; i < 200000; i++) {
        memcpy(w, good, sizeof(w));
        for (int k = 0; k < 3; k++) {
            seed = seed * 1103515245u + 12345u;
            w[(seed >> 8) % (sizeof(w) / 4)] ^= seed >> 24 & 1 ? 1u << (seed >> 16 & 31) : seed;
        }
        if (decode(w, sizeof(w) - seed % 9, &head, &cred, NULL) == RPCMSG_CALL) {
            assert_true(cred.ngroups <= CRED_GROUPS_MAX);
            assert_non_null(memchr(cred.machine, 0, sizeof(cred.machine)));
        }
    }
}

static void credentials_are_bounded(void **state)
{
    uint32_t w[300] = {7, 0, 2, 3, 4, 5};

    /* Bodies over 400 bytes, also with a length that wraps when it is rounded up. */
    w[6] = 0, w[7] = 404;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_GARBAGE);
    w[7] = UINT32_MAX;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_GARBAGE);
    w[7] = 400;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_CALL);
    w[7] = 0, w[8] = 0, w[9] = 404;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_GARBAGE);

    /* 17 groups; a body that ends amid the groups; one with bytes left over; a name of 256 bytes. */
    memset(w + 6, 0, sizeof(w) - 24);
    w[6] = 1, w[7] = 20 + 17 * 4, w[12] = 17;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_AUTH);
    assert_int_equal(head.auth_stat, AUTH_BADCRED);
    w[7] = 20 + 16 * 4, w[12] = 16;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_CALL);
    assert_int_equal(cred.ngroups, 16);
    w[7] -= 4;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_AUTH);
    w[7] += 8;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_AUTH);
    memset(w + 6, 0, sizeof(w) - 24);
    w[6] = 1, w[7] = 20 + 256, w[9] = 256;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_AUTH);
    w[9] = 255;
    assert_int_equal(decode(w, sizeof(w), &head, &cred, NULL), RPCMSG_CALL);
    assert_int_equal(cred.machine[0], 0);
}

static void kinds_of_header(void **state)
{
    assert_int_equal(decode(good, sizeof(good), &head, &cred, &left), RPCMSG_CALL);
    assert_int_equal(head.xid, 7);
    assert_int_equal(head.prog, 100003);
    assert_int_equal(head.vers, 4);
    assert_int_equal(head.proc, 1);
    assert_int_equal(cred.flavor, CRED_SYS);
    assert_int_equal(cred.uid, 1000);
    assert_int_equal(cred.gid, 100);
    assert_int_equal(cred.ngroups, 2);
    assert_int_equal(cred.groups[1], 6);
    assert_string_equal(cred.machine, "host");
    assert_int_equal(DECODE(8, 0, 2, 1, 2, 3, 0, 0, 0, 0), RPCMSG_CALL);
    assert_int_equal(cred.flavor, CRED_NONE);
    assert_int_equal(cred.uid, 65534);
    assert_int_equal(cred.ngroups, 0);
    assert_int_equal(DECODE(9, 1), RPCMSG_REPLY);
    assert_int_equal(head.xid, 9);
    assert_int_equal(DECODE(10, 0, 3), RPCMSG_VERSION);
    assert_int_equal(head.xid, 10);
    assert_int_equal(DECODE(8, 0, 2, 1, 2, 3, 2, 0, 0, 0), RPCMSG_AUTH);
    assert_int_equal(head.auth_stat, AUTH_REJECTEDCRED);
    assert_int_equal(DECODE(8, 0, 2, 1, 2, 3, 7, 0, 0, 0), RPCMSG_AUTH); /* AUTH_TLS */
    assert_int_equal(head.auth_stat, AUTH_BADCRED);
    assert_int_equal(DECODE(8, 0, 2, 1, 2, 3, 0, 0, 1, 0), RPCMSG_AUTH);
    assert_int_equal(head.auth_stat, AUTH_BADVERF);
}

static void check_words(struct xdrout *o, const uint32_t *w, size_t n)
{
    uint32_t buf[16];

    assert_int_equal(xdrout_len(o), n * 4);
    xdrout_copy(o, buf);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ntohl(buf[i]), w[i]);
    xdrout_truncate(o, 0);
}

static void replies_encode(void **state)
{
    struct xdrout *o = xdrout_new(32);
    XDR *x = xdrout_xdr(o);

    assert_true(rpcmsg_put_accepted(x, 5, SUCCESS, 1, 2));
    assert_false(rpcmsg_put_accepted(x, 5, SUCCESS, 1, 2));
    check_words(o, (uint32_t[]){5, 1, 0, 0, 0, 0}, 6);
    assert_true(rpcmsg_put_accepted(x, 5, PROG_MISMATCH, 1, 2));
    check_words(o, (uint32_t[]){5, 1, 0, 0, 0, 2, 1, 2}, 8);
    assert_true(rpcmsg_put_accepted(x, 5, GARBAGE_ARGS, 1, 2));
    check_words(o, (uint32_t[]){5, 1, 0, 0, 0, 4}, 6);
    assert_true(rpcmsg_put_version_mismatch(x, 6));
    check_words(o, (uint32_t[]){6, 1, 1, 0, 2, 2}, 6);
    assert_true(rpcmsg_put_auth_error(x, 6, AUTH_BADCRED));
    check_words(o, (uint32_t[]){6, 1, 1, 1, 1}, 5);
    xdrout_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(truncated_headers_are_garbage), cmocka_unit_test(random_bytes_do_no_harm),
        cmocka_unit_test(credentials_are_bounded),       cmocka_unit_test(kinds_of_header),
        cmocka_unit_test(replies_encode),
    };
    return cmocka_run_group_tests_name("rpcmsg", tests, NULL, NULL);
}
