/* SPDX-License-Identifier: Apache-2.0
 * copytest: a volume with a file "src" of SIZE bytes, those of data, and an empty one, "dst".
 */
#ifndef VOLNFS_TESTS_COPYTEST_H
#define VOLNFS_TESTS_COPYTEST_H

#include "tests/unit/nfs4_client.h"

#define SIZE (300000u) /* of "src": more than two slots, not a multiple of anything */

static struct client cl;
static stateid4 src, dst;
static char *data;

static inline int copy_setup(void **state)
{
    struct volume_props props;

    env_open(&env);
    volume_props_default(&props);
    assert_int_equal(vfs_volume_create(env.srv.vfs, "alice/w", &props, 1000, 1000, 0755), 0);
    client_open(&cl, "copy", 2 << 20, 4096);
    reclaim_complete(&cl);
    src = create_file(&cl, "src");
    dst = create_file(&cl, "dst");
    data = malloc(SIZE);
    for (uint32_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 2654435761u >> 13);

    WRITE4args w = {.stateid = src, .stable = UNSTABLE4, .data = {SIZE, data}};
    struct call_buf b;
    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "src");
    call_op(&b, OP_WRITE, ARGS(WRITE), &w);
    expect_last(&b, NFS4_OK, 6);
    return 0;
}

static inline int copy_teardown(void **state)
{
    free(data);
    env_close(&env);
    return 0;
}

/* What "dst" has at off: size it must have, and n bytes that must be those of p (NULL: zeros). */
static inline void expect_dst(uint64_t size, uint64_t off, const char *p, uint32_t n)
{
    READ4args rd = {.stateid = dst, .offset = off, .count = n};
    GETATTR4args ga = {0};
    struct call_buf b;
    struct reply r;
    uint32_t op = 0, eof;
    nfsstat4 st;
    fattr4 fa;
    xdata got;

    xbitmap_set(&ga.attr_request, FATTR4_SIZE);
    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_READ, ARGS(READ), &rd);
    call_op(&b, OP_GETATTR, ARGS(GETATTR), &ga);
    env_call(&env, &b, &r);
    assert_int_equal(r.status, NFS4_OK);
    assert_true(reply_next(&r, &op, &st));
    XDR_SETPOS(&r.x, (u_int)xdrin_pos(&r.x) + 36);
    while (op != OP_READ)
        assert_true(reply_next(&r, &op, &st));
    assert_true(xdr_uint32_t(&r.x, &eof) && xdr_xdata(&r.x, &got));
    assert_int_equal(got.len, n);
    for (uint32_t i = 0; i < n; i++)
        if (got.data[i] != (p ? p[i] : 0))
            fail_msg("byte %u of %u differs", i, n);
    assert_true(reply_next(&r, &op, &st) && xdr_fattr4(&r.x, &fa));
    assert_int_equal(fa.attr_vals.len, 8);
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | (uint8_t)fa.attr_vals.data[i];
    assert_int_equal(v, size);
    reply_release(&r);
}

#endif
