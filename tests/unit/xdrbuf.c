/* SPDX-License-Identifier: Apache-2.0
 * xdrbuf: hostile records, exact limits, references, truncation, patches, generated codecs.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/xdrbuf.h"
#include "proto/xdrout.h"

static void put_words(uint32_t *to, const uint32_t *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = htonl(w[i]);
}

static void decoding_stops_at_the_end(void **state)
{
    uint32_t *buf = malloc(8), v; /* exactly as long as said, so that a sanitizer sees each step past it */
    uint64_t q;
    char b[16];
    XDR x;

    put_words(buf, (uint32_t[]){1, 2}, 2);
    xdrin_init(&x, buf, 6);
    assert_true(xdr_uint32_t(&x, &v));
    assert_int_equal(v, 1);
    assert_false(xdr_uint32_t(&x, &v));
    assert_int_equal(xdrin_pos(&x), 4);
    assert_int_equal(xdrin_left(&x), 2);
    xdrin_init(&x, buf, 4);
    assert_false(xdr_uint64_t(&x, &q));
    xdrin_init(&x, buf, 8);
    assert_null(XDR_INLINE(&x, 12));
    assert_null(XDR_INLINE(&x, UINT32_MAX - 3));
    assert_false(XDR_GETBYTES(&x, b, 9));
    assert_false(xdr_opaque(&x, b, 9));
    assert_int_equal(xdrin_left(&x), 8);
    assert_false(XDR_SETPOS(&x, 9));
    assert_true(XDR_SETPOS(&x, 8));
    assert_false(xdr_uint32_t(&x, &v));
    assert_true(XDR_SETPOS(&x, 4));
    assert_ptr_equal(xdrin_here(&x), (char *)buf + 4);
    assert_non_null(XDR_INLINE(&x, 4));
    assert_int_equal(xdrin_left(&x), 0);
    assert_false(XDR_PUTLONG(&x, &(long){1}));
    assert_false(XDR_PUTBYTES(&x, b, 1));
    xdrin_init(&x, NULL, 0);
    assert_false(xdr_uint32_t(&x, &v));
    free(buf);
}

static void slices_are_bounded(void **state)
{
    static const struct {
        bool_t (*xdr)(XDR *, xslice *);
        uint32_t max;
    } types[] = {{xdr_xopaque, 1024},
                 {xdr_xname, 4096},
                 {xdr_xattrvals, 131072},
                 {xdr_xdata, 2097152},
                 {xdr_xhandle, 128}};
    uint32_t *buf = malloc(2097152 + 16);
    xslice v;
    XDR x;

    memset(buf, 'a', 2097152 + 16);
    for (size_t i = 0; i < 5; i++) {
        uint32_t max = types[i].max;
        struct xdrout *o;

        buf[0] = htonl(max + 1);
        xdrin_init(&x, buf, 2097152 + 16);
        assert_false(types[i].xdr(&x, &v));
        buf[0] = htonl(UINT32_MAX);
        xdrin_init(&x, buf, 2097152 + 16);
        assert_false(types[i].xdr(&x, &v));
        buf[0] = htonl(max);
        xdrin_init(&x, buf, max + 3);
        assert_false(types[i].xdr(&x, &v));
        xdrin_init(&x, buf, max + 4);
        assert_true(types[i].xdr(&x, &v));
        assert_int_equal(v.len, max);
        assert_ptr_equal(v.data, buf + 1);
        assert_int_equal(xdrin_left(&x), 0);
        buf[0] = htonl(max - 3); /* 1 byte past a word: the padding must be there too */
        xdrin_init(&x, buf, max);
        assert_false(types[i].xdr(&x, &v));
        xdrin_init(&x, buf, max + 4);
        assert_true(types[i].xdr(&x, &v));
        assert_int_equal(xdrin_left(&x), 0);

        o = xdrout_new(max + 8);
        v.len = max + 1;
        v.data = (char *)buf;
        assert_false(types[i].xdr(xdrout_xdr(o), &v));
        assert_int_equal(xdrout_len(o), 0);
        v.len = max - 3;
        assert_true(types[i].xdr(xdrout_xdr(o), &v));
        assert_int_equal(xdrout_len(o), 4 + max);
        xdrout_free(o);
    }
    buf[0] = 0;
    xdrin_init(&x, buf, 4);
    assert_true(xdr_xname(&x, &v));
    assert_int_equal(v.len, 0);
    /* At an odd address nothing is lost but the fast path. */
    memmove((char *)buf + 1, (uint32_t[]){htonl(3), htonl(0x61626300)}, 8);
    xdrin_init(&x, (char *)buf + 1, 8);
    assert_null(XDR_INLINE(&x, 4));
    assert_true(xdr_xname(&x, &v));
    assert_memory_equal(v.data, "abc", 3);
    free(buf);
}

static void bitmaps_of_many_words(void **state)
{
    uint32_t buf[66] = {0}, out[4];
    struct xdrout *o = xdrout_new(1000);
    xbitmap b;
    XDR x;

    put_words(buf, (uint32_t[]){65, 1}, 2);
    xdrin_init(&x, buf, sizeof(buf));
    assert_false(xdr_xbitmap(&x, &b));
    put_words(buf, (uint32_t[]){64, 1}, 2);
    buf[64] = htonl(0x80000000);
    xdrin_init(&x, buf, sizeof(buf));
    assert_true(xdr_xbitmap(&x, &b));
    assert_true(b.more);
    assert_int_equal(xdrin_left(&x), 4);
    put_words(buf, (uint32_t[]){4, 1, 2, 3}, 4);
    xdrin_init(&x, buf, 16);
    assert_false(xdr_xbitmap(&x, &b)); /* the fourth is missing */
    put_words(buf, (uint32_t[]){8, 1, 2, 3, 0, 0, 0, 0, 0}, 9);
    xdrin_init(&x, buf, 36);
    assert_true(xdr_xbitmap(&x, &b));
    assert_false(b.more);
    assert_true(xbitmap_has(&b, 0) && xbitmap_has(&b, 33) && xbitmap_has(&b, 65));
    assert_false(xbitmap_has(&b, 96) || xbitmap_has(&b, UINT32_MAX));
    put_words(buf, (uint32_t[]){4, 1, 0, 0, 0x10}, 5);
    xdrin_init(&x, buf, 20);
    assert_true(xdr_xbitmap(&x, &b));
    assert_true(b.more);
    assert_true(xdr_xbitmap(xdrout_xdr(o), &b));
    assert_int_equal(xdrout_len(o), 8);
    xdrout_copy(o, out);
    assert_int_equal(ntohl(out[0]), 1);
    xdrout_truncate(o, 0);
    memset(&b, 0, sizeof(b));
    assert_true(xdr_xbitmap(xdrout_xdr(o), &b));
    assert_int_equal(xdrout_len(o), 4);
    xbitmap_set(&b, 95);
    assert_true(xdr_xbitmap(xdrout_xdr(o), &b));
    assert_int_equal(xdrout_len(o), 20);
    xdrout_free(o);
}

static void limit_is_exact(void **state)
{
    char raw[100] = "";
    uint32_t v = 7;

    for (size_t limit = 0; limit <= 40000; limit += limit < 40 ? 1 : 3331) {
        struct xdrout *o = xdrout_new(limit);
        size_t n = 0;

        assert_non_null(o);
        while (xdr_uint32_t(xdrout_xdr(o), &v))
            n += 4;
        assert_int_equal(n, limit / 4 * 4);
        assert_int_equal(xdrout_len(o), n);
        assert_int_equal(xdrout_left(o), limit - n);
        assert_null(XDR_INLINE(xdrout_xdr(o), 4));
        assert_false(xdrout_put_raw(o, raw, 100));
        assert_int_equal(xdrout_len(o), n);
        xdrout_set_limit(o, limit + 100);
        assert_true(xdrout_put_raw(o, raw, 100));
        xdrout_set_limit(o, 0);
        assert_int_equal(xdrout_left(o), 0);
        assert_false(xdr_uint32_t(xdrout_xdr(o), &v));
        xdrout_set_limit(o, n + 104);
        assert_true(xdr_uint32_t(xdrout_xdr(o), &v));
        assert_false(xdr_uint32_t(xdrout_xdr(o), &v));
        xdrout_free(o);
    }
}

static int released;
static void count_release(void *arg)
{
    released += *(int *)arg;
}

static void references_are_released_once(void **state)
{
    static int one = 1;
    char foreign[10] = "0123456789";
    struct iovec iov[2] = {{foreign, 3}, {foreign + 3, 6}}, out[8];
    struct xdrout *o = xdrout_new(20);
    uint32_t v = 0x41424344;
    char copy[20];

    released = 0;
    assert_true(xdr_uint32_t(xdrout_xdr(o), &v));
    assert_true(xdrout_put_ref(o, iov, 2, count_release, &one));
    assert_int_equal(xdrout_len(o), 16);
    assert_false(xdrout_put_ref(o, iov, 1, count_release, &one) &&
                 xdrout_put_ref(o, iov, 1, count_release, &one));
    assert_int_equal(released, 1);
    assert_int_equal(xdrout_len(o), 20);
    assert_int_equal(xdrout_iov(o, 0, out, 8), 6);
    assert_ptr_equal(out[1].iov_base, foreign);
    xdrout_copy(o, copy);
    assert_memory_equal(copy, "ABCD012345678\0\0\0" "012\0", 20);
    assert_int_equal(xdrout_iov(o, 6, out, 2), 2);
    assert_ptr_equal(out[0].iov_base, foreign + 2);
    assert_int_equal(out[0].iov_len, 1);
    assert_int_equal(xdrout_iov(o, 20, out, 2), 0);
    xdrout_truncate(o, 16);
    assert_int_equal(released, 2);
    xdrout_truncate(o, 8); /* amid the first: it stays */
    assert_int_equal(released, 2);
    assert_int_equal(xdrout_len(o), 8);
    assert_true(xdr_uint32_t(xdrout_xdr(o), &v));
    xdrout_truncate(o, 4);
    assert_int_equal(released, 3);
    assert_true(xdrout_put_ref(o, iov, 0, count_release, &one)); /* no bytes: nothing to keep */
    assert_int_equal(released, 4);
    assert_true(xdrout_put_ref(o, iov, 1, count_release, &one));
    iov[0].iov_len = SIZE_MAX;
    assert_false(xdrout_put_ref(o, iov, 2, count_release, &one));
    assert_int_equal(released, 5);
    xdrout_free(o);
    assert_int_equal(released, 6);
    xdrout_free(NULL);
}

/* Puts words, references and truncations in turn and compares with a flat copy. */
static void random_walk_matches_flat_buffer(void **state)
{
    enum { MAX = 200000 };
    static int one = 1;
    char *flat = malloc(MAX), *copy = malloc(MAX), foreign[64];
    struct iovec iov[3000];
    unsigned seed = 1;
    int refs = 0;

    for (int i = 0; i < 64; i++)
        foreign[i] = (char)(i * 3 + 1);
    released = 0;
    for (int round = 0; round < 30; round++) {
        struct xdrout *o = xdrout_new(MAX);
        size_t len = 0, sum = 0;

        for (int step = 0; step < 400; step++) {
            unsigned r = (seed = seed * 1103515245u + 12345u) >> 16;
            size_t n = r % 5 == 4 ? r % 900 * 4 : r % 16 * 4;
            uint32_t w = r;

            switch (r % 11) {
            case 0: {
                struct iovec f = {foreign, r / 11 % 64 + 1};
                if (len + 64 > MAX)
                    break;
                assert_true(xdrout_put_ref(o, &f, 1, count_release, &one));
                refs++;
                memcpy(flat + len, foreign, f.iov_len);
                len += f.iov_len;
                while (len % 4)
                    flat[len++] = 0;
                break;
            }
            case 1:
                xdrout_truncate(o, len = len / 8 * 7 / 4 * 4);
                break;
            case 2:
            case 3:
                if (len + n <= MAX) {
                    int32_t *p = XDR_INLINE(xdrout_xdr(o), (u_int)n);

                    assert_non_null(p);
                    memset(p, (int)r, n);
                    memset(flat + len, (int)r, n);
                    len += n;
                }
                break;
            case 4:
                if (len + n * 7 <= MAX) {
                    memset(flat + len, (int)(r >> 3), n * 7);
                    assert_true(xdrout_put_raw(o, flat + len, n * 7));
                    len += n * 7;
                }
                break;
            default:
                if (len + 4 <= MAX) {
                    size_t pos = len;

                    assert_true(xdr_uint32_t(xdrout_xdr(o), &w));
                    len += 4;
                    w = htonl(~w);
                    memcpy(flat + pos, &w, 4);
                    xdrout_patch(o, pos, ntohl(w));
                }
            }
            assert_int_equal(xdrout_len(o), len);
        }
        xdrout_copy(o, copy);
        assert_memory_equal(copy, flat, len);
        for (size_t from = 0; from <= len; from += 997) {
            int n = xdrout_iov(o, from, iov, 3000);

            sum = 0;
            for (int i = 0; i < n; i++) {
                assert_true(iov[i].iov_len > 0);
                assert_memory_equal(iov[i].iov_base, flat + from + sum, iov[i].iov_len);
                sum += iov[i].iov_len;
            }
            assert_int_equal(sum, len - from);
        }
        xdrout_free(o);
    }
    assert_true(refs > 100);
    assert_int_equal(released, refs);
    free(flat);
    free(copy);
}

static void patches_cross_segments(void **state)
{
    struct xdrout *o = xdrout_new(100000);
    uint32_t *w = malloc(80000), v = 0;

    for (uint32_t i = 0; i < 20000; i++)
        assert_true(xdr_uint32_t(xdrout_xdr(o), &v));
    for (uint32_t i = 0; i < 20000; i++)
        xdrout_patch(o, i * 4, i);
    xdrout_copy(o, w);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(ntohl(w[i]), i);
    xdrout_free(o);
    o = xdrout_new(100000);
    for (uint32_t i = 0; i < 3000; i++) /* runs of odd length; a word may lie across two blocks */
        assert_true(XDR_PUTBYTES(xdrout_xdr(o), "abcdefg", 7));
    for (uint32_t i = 0; i < 21000; i += 4)
        xdrout_patch(o, i, 0x30313233);
    xdrout_copy(o, w);
    for (uint32_t i = 0; i < 5250; i++)
        assert_memory_equal(&w[i], "0123", 4);
    free(w);
    xdrout_free(o);
}

static void generated_codecs_run(void **state)
{
    struct xdrout *o = xdrout_new(100);
    uint64_t q = 0x0123456789abcdefull, q2 = 0;
    uint32_t buf[25];
    char text[] = "hello", *s = text, *s2 = NULL;
    XDR x;

    assert_true(xdr_uint64_t(xdrout_xdr(o), &q));
    assert_true(xdr_string(xdrout_xdr(o), &s, 10));
    assert_int_equal(XDR_GETPOS(xdrout_xdr(o)), 20);
    assert_true(xdrout_len(o) <= sizeof(buf));
    xdrout_copy(o, buf);
    xdrin_init(&x, buf, xdrout_len(o));
    assert_true(xdr_uint64_t(&x, &q2));
    assert_true(q == q2);
    assert_true(xdr_string(&x, &s2, 10));
    assert_string_equal(s2, "hello");
    free(s2);
    assert_true(XDR_SETPOS(xdrout_xdr(o), 8));
    assert_false(XDR_SETPOS(xdrout_xdr(o), 12));
    assert_int_equal(xdrout_len(o), 8);
    XDR_CONTROL(&x, 1, NULL);
    XDR_DESTROY(&x);
    XDR_DESTROY(xdrout_xdr(o));
    xdrout_free(o);
}

static void *decode_strings(void *arg)
{
    const char *in = arg;

    for (int i = 0; i < 2000; i++) {
        char *s = NULL;
        XDR x;

        xdrin_init(&x, in, 12);
        if (!xdr_string(&x, &s, 10) || strcmp(s, "hello") != 0)
            abort();
        free(s);
    }
    return NULL;
}

/* For the thread sanitizer: the padding of a string has one place, in the library, for all threads. */
static void threads_decode_at_once(void **state)
{
    char in[12] = {0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o'};
    pthread_t other;

    assert_int_equal(pthread_create(&other, NULL, decode_strings, in), 0);
    decode_strings(in);
    assert_int_equal(pthread_join(other, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_stops_at_the_end),
        cmocka_unit_test(slices_are_bounded),
        cmocka_unit_test(bitmaps_of_many_words),
        cmocka_unit_test(limit_is_exact),
        cmocka_unit_test(references_are_released_once),
        cmocka_unit_test(random_walk_matches_flat_buffer),
        cmocka_unit_test(patches_cross_segments),
        cmocka_unit_test(generated_codecs_run),
        cmocka_unit_test(threads_decode_at_once),
    };
    return cmocka_run_group_tests_name("xdrbuf", tests, NULL, NULL);
}
