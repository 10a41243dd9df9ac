/* SPDX-License-Identifier: Apache-2.0
 * copy: CLONE and COPY: what they refuse, their bounds, and that the bytes are right.
 */
#include "tests/unit/copytest.h"

/* SEQUENCE, from into the saved filehandle, to into the current one: 10 operations. */
static void begin(struct call_buf *b, const char *from, const char *to)
{
    in_session(&cl, b, 2, false);
    go_to_volume(b);
    op_name(b, OP_LOOKUP, from);
    call_op(b, OP_SAVEFH, NULL, NULL);
    go_to_volume(b);
    op_name(b, OP_LOOKUP, to);
}

static nfsstat4 run(struct call_buf *b, struct reply *r)
{
    uint32_t op;
    nfsstat4 st = NFS4_OK;

    env_call(&env, b, r);
    if (r->numres < 11)
        return r->status;
    assert_true(reply_next(r, &op, &st));
    XDR_SETPOS(&r->x, (u_int)xdrin_pos(&r->x) + 36);
    for (unsigned i = 1; i < r->numres; i++)
        assert_true(reply_next(r, &op, &st));
    return st;
}

static nfsstat4 clone_range(const char *to, stateid4 *s, stateid4 *d, uint64_t soff, uint64_t doff, uint64_t n)
{
    CLONE4args a = {.cl_src_stateid = *s, .cl_dst_stateid = *d, .cl_src_offset = soff, .cl_dst_offset = doff,
                    .cl_count = n};
    struct call_buf b;
    struct reply r;
    nfsstat4 st;

    begin(&b, "src", to);
    call_op(&b, OP_CLONE, ARGS(CLONE), &a);
    st = run(&b, &r);
    reply_release(&r);
    return st;
}

static nfsstat4 copy_range(uint64_t soff, uint64_t doff, uint64_t n, uint64_t *done, uint32_t *committed)
{
    COPY4args a = {.ca_src_stateid = src, .ca_dst_stateid = dst, .ca_src_offset = soff, .ca_dst_offset = doff,
                   .ca_count = n, .ca_consecutive = TRUE};
    COPY4resok ok;
    struct call_buf b;
    struct reply r;
    nfsstat4 st;

    begin(&b, "src", "dst");
    call_op(&b, OP_COPY, ARGS(COPY), &a);
    st = run(&b, &r);
    if (st == NFS4_OK) {
        memset(&ok, 0, sizeof(ok));
        assert_true(xdr_COPY4resok(&r.x, &ok));
        assert_int_equal(ok.cr_response.wr_callback_id.count, 0);
        assert_true(ok.cr_requirements.cr_synchronous);
        assert_int_equal(xdrin_left(&r.x), 0);
        *done = ok.cr_response.wr_count;
        *committed = (uint32_t)ok.cr_response.wr_committed;
    }
    reply_release(&r);
    return st;
}

static void refused(void **state)
{
    CLONE4args a = {.cl_src_stateid = src, .cl_dst_stateid = dst};
    COPY4args c = {.ca_src_stateid = src, .ca_dst_stateid = dst, .ca_source_servers = 1};
    stateid4 bad = {.seqid = 7, .other = "nothing like"};
    struct call_buf b;
    uint32_t committed;
    uint64_t done;

    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_CLONE, ARGS(CLONE), &a); /* nothing saved */
    expect_last(&b, NFS4ERR_NOFILEHANDLE, 6);
    in_session(&cl, &b, 1, false);
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    call_op(&b, OP_CLONE, ARGS(CLONE), &a);
    expect_last(&b, NFS4ERR_OP_ILLEGAL, 3);
    in_session(&cl, &b, 2, false); /* a directory as the source, or the pseudo tree */
    go_to_volume(&b);
    call_op(&b, OP_SAVEFH, NULL, NULL);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_CLONE, ARGS(CLONE), &(CLONE4args){.cl_dst_stateid = dst});
    expect_last(&b, NFS4ERR_ISDIR, 7);
    in_session(&cl, &b, 2, false);
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    call_op(&b, OP_SAVEFH, NULL, NULL);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_COPY, ARGS(COPY), &(COPY4args){.ca_dst_stateid = dst});
    expect_last(&b, NFS4ERR_ISDIR, 8);
    begin(&b, "src", "dst"); /* from another server */
    call_op(&b, OP_COPY, ARGS(COPY), &c);
    expect_last(&b, NFS4ERR_NOTSUPP, 11);
    assert_int_equal(clone_range("dst", &bad, &dst, 0, 0, 0), NFS4ERR_BAD_STATEID);
    assert_int_equal(clone_range("dst", &src, &bad, 0, 0, 0), NFS4ERR_BAD_STATEID);
    assert_int_equal(clone_range("dst", &src, &src, 0, 0, 0), NFS4ERR_BAD_STATEID);
    assert_int_equal(clone_range("dst", &src, &dst, 4096, 0, SIZE), NFS4ERR_INVAL); /* past the end */
    assert_int_equal(clone_range("dst", &src, &dst, 1 << 20, 0, 0), NFS4ERR_INVAL);
    assert_int_equal(clone_range("dst", &src, &dst, UINT64_MAX, 0, UINT64_MAX), NFS4ERR_INVAL);
    assert_int_equal(clone_range("dst", &src, &dst, 0, UINT64_MAX - 4095, 0), NFS4ERR_FBIG);
    assert_int_equal(clone_range("dst", &src, &dst, 1, 0, 4096), NFS4ERR_INVAL);
    assert_int_equal(clone_range("dst", &src, &dst, 0, 1, 4096), NFS4ERR_INVAL);
    assert_int_equal(clone_range("dst", &src, &dst, 0, 0, 4095), NFS4ERR_INVAL);
    assert_int_equal(clone_range("src", &src, &src, 0, 4096, 8192), NFS4ERR_INVAL); /* overlap */
    assert_int_equal(copy_range(1, 0, SIZE, &done, &committed), NFS4ERR_INVAL);
    assert_int_equal(copy_range(SIZE + 1, 0, 0, &done, &committed), NFS4ERR_INVAL);
    assert_int_equal(copy_range(0, UINT64_MAX, 1, &done, &committed), NFS4ERR_FBIG);
    expect_dst(0, 0, NULL, 0);
}

static void other_volumes_and_users(void **state)
{
    CLONE4args a = {.cl_src_offset = 0};
    struct call_buf b;

    begin(&b, "src", "dst");
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    op_name(&b, OP_LOOKUP, "alice");
    op_name(&b, OP_LOOKUP, "w");
    call_op(&b, OP_CLONE, ARGS(CLONE), &(CLONE4args){.cl_src_stateid = src});
    expect_last(&b, NFS4ERR_ISDIR, 14);

    CREATE4args fifo = {.objtype = {.type = NF4FIFO}, .objname = {4, "fifo"}};
    begin(&b, "src", "dst");
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    op_name(&b, OP_LOOKUP, "alice");
    op_name(&b, OP_LOOKUP, "v");
    call_op(&b, OP_CREATE, ARGS(CREATE), &fifo);
    call_op(&b, OP_CLONE, ARGS(CLONE), &(CLONE4args){.cl_src_stateid = src});
    expect_last(&b, NFS4ERR_WRONG_TYPE, 15);

    OPEN4args o = {.share_access = OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
                   .owner = {.owner = {5, "owner"}},
                   .openhow = {.opentype = OPEN4_CREATE},
                   .claim = {.claim = CLAIM_NULL, .open_claim4_u.file = {3, "far"}}};
    begin(&b, "src", "dst");
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    op_name(&b, OP_LOOKUP, "alice");
    op_name(&b, OP_LOOKUP, "w");
    call_op(&b, OP_OPEN, ARGS(OPEN), &o);
    a.cl_src_stateid = src;
    a.cl_dst_stateid = (stateid4){.seqid = 1}; /* the current one */
    call_op(&b, OP_CLONE, ARGS(CLONE), &a);
    expect_last(&b, NFS4ERR_XDEV, 15);

    SETATTR4args sa = {.stateid = {.seqid = 0}};
    char mode[4] = {0, 0, 1, (char)0xa4}; /* 0644 */
    xbitmap_set(&sa.obj_attributes.attrmask, FATTR4_MODE);
    sa.obj_attributes.attr_vals = (xattrvals){4, mode};
    begin(&b, "src", "dst");
    call_op(&b, OP_SETATTR, ARGS(SETATTR), &sa);
    expect_last(&b, NFS4_OK, 11);
    begin(&b, "src", "dst"); /* "anonymous", by somebody who may only read */
    b.uid = 2000;
    call_op(&b, OP_CLONE, ARGS(CLONE), &(CLONE4args){.cl_src_offset = 0});
    expect_last(&b, NFS4ERR_ACCESS, 11);
}

static void clones(void **state)
{
    WRITE4args w = {.stateid = src, .stable = UNSTABLE4, .data = {5, "CLONE"}};
    struct call_buf b;

    assert_int_equal(clone_range("dst", &src, &dst, 0, 0, 0), NFS4_OK); /* all of it */
    expect_dst(SIZE, 0, data, SIZE);
    in_session(&cl, &b, 2, false); /* the two files go separate ways */
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "src");
    call_op(&b, OP_WRITE, ARGS(WRITE), &w);
    expect_last(&b, NFS4_OK, 6);
    expect_dst(SIZE, 0, data, SIZE);
    memcpy(data, "CLONE", 5);
    assert_int_equal(clone_range("dst", &src, &dst, 0, 1 << 20, 8192), NFS4_OK);
    expect_dst((1 << 20) + 8192, 1 << 20, data, 8192);
    expect_dst((1 << 20) + 8192, 512 << 10, NULL, 8192);
    /* The partial last block of the source cannot go before bytes that stay. */
    assert_int_equal(clone_range("dst", &src, &dst, SIZE / 4096 * 4096, 0, 0), NFS4ERR_INVAL);
    assert_int_equal(clone_range("dst", &src, &dst, SIZE, 0, 0), NFS4_OK);
    expect_dst((1 << 20) + 8192, 1 << 20, data, 8192);
}

static void copies(void **state)
{
    uint32_t committed = 0;
    uint64_t done = 0;

    assert_int_equal(copy_range(SIZE, 0, 0, &done, &committed), NFS4_OK);
    assert_int_equal(done, 0);
    assert_int_equal(copy_range(0, 0, 0, &done, &committed), NFS4_OK);
    assert_int_equal(done, SIZE);
    assert_int_equal(committed, FILE_SYNC4); /* nothing but shared blocks */
    expect_dst(SIZE, 0, data, SIZE);
    assert_int_equal(copy_range(100, 4196 + 8192, 150000, &done, &committed), NFS4_OK); /* head, blocks, tail */
    assert_int_equal(done, 150000);
    assert_int_equal(committed, UNSTABLE4);
    expect_dst(SIZE, 4196 + 8192, data + 100, 150000);
    expect_dst(SIZE, 0, data, 4196 + 8192);
    expect_dst(SIZE, 4196 + 8192 + 150000, data + 4196 + 8192 + 150000, SIZE - (4196 + 8192 + 150000));
    assert_int_equal(copy_range(7, 400001, 299000, &done, &committed), NFS4_OK); /* byte by byte */
    assert_int_equal(done, 299000);
    expect_dst(400001 + 299000, 400001, data + 7, 299000);
    expect_dst(400001 + 299000, SIZE, NULL, 400001 - SIZE);
    assert_int_equal(copy_range(4095, 4095, 1, &done, &committed), NFS4_OK);
    assert_int_equal(done, 1);
}

/* However much is asked for, one COPY does a bounded part of it. */
static void copies_are_bounded(void **state)
{
    SETATTR4args sa = {.stateid = src};
    char size[8] = {0, 0, 0, 0, 2, 0, 0, 0}; /* 32 MiB */
    struct call_buf b;
    uint32_t committed = 0;
    uint64_t done = 0;

    xbitmap_set(&sa.obj_attributes.attrmask, FATTR4_SIZE);
    sa.obj_attributes.attr_vals = (xattrvals){8, size};
    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "src");
    call_op(&b, OP_SETATTR, ARGS(SETATTR), &sa);
    expect_last(&b, NFS4_OK, 6);
    assert_int_equal(copy_range(0, 1, 0, &done, &committed), NFS4_OK);
    assert_in_range(done, 1, 16 << 20);
    expect_dst(done + 1, 1, data, SIZE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refused, copy_setup, copy_teardown),
        cmocka_unit_test_setup_teardown(other_volumes_and_users, copy_setup, copy_teardown),
        cmocka_unit_test_setup_teardown(clones, copy_setup, copy_teardown),
        cmocka_unit_test_setup_teardown(copies, copy_setup, copy_teardown),
        cmocka_unit_test_setup_teardown(copies_are_bounded, copy_setup, copy_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
