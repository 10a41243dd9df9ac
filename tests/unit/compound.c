/* SPDX-License-Identifier: Apache-2.0
 * compound: malformed and hostile compounds, limits, then sessions, I/O, appends.
 */
#include "server/state/user.h"
#include "tests/unit/nfs4_client.h"

static void op_getattr_bits(struct call_buf *b, unsigned attr)
{
    GETATTR4args a = {0};

    xbitmap_set(&a.attr_request, attr);
    call_op(b, OP_GETATTR, ARGS(GETATTR), &a);
}

/* --- bad input --- */

static void bad_heads(void **state)
{
    static const char huge_tag[] = "\xff\xff\xff\xff\0\0\0\0\0\0\0\0";
    static const char long_tag[] = "\0\0\x04\x01";
    struct call_buf b;
    struct reply r;
    size_t len;
    char *bytes;

    env_run(&env, huge_tag, 12, 0, &r);
    assert_true(r.rejected);
    reply_release(&r);
    env_run(&env, long_tag, 4, 0, &r);
    assert_true(r.rejected);
    reply_release(&r);
    call_begin(&b, 0, "tag");
    bytes = call_bytes(&b, &len);
    for (size_t n = 0; n < len; n++) {
        env_run(&env, bytes, n, 0, &r);
        assert_true(r.rejected);
        reply_release(&r);
    }
    free(bytes);
    call_end(&b);
}

static void minor_versions_and_tags(void **state)
{
    struct call_buf b;
    struct reply r;

    call_begin(&b, 3, "hello");
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    env_call(&env, &b, &r);
    assert_int_equal(r.status, NFS4ERR_MINOR_VERS_MISMATCH);
    assert_int_equal(r.numres, 0);
    assert_memory_equal(r.bytes + 8, "hello", 5);
    reply_release(&r);

    static const char *const bad[] = {"\x80", "\xc0\xaf", "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        call_begin(&b, 0, bad[i]);
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        env_call(&env, &b, &r);
        assert_int_equal(r.status, NFS4ERR_INVAL);
        assert_int_equal(r.numres, 0);
        reply_release(&r);
    }
    call_begin(&b, 0, "\xe2\x82\xac");
    env_call(&env, &b, &r);
    assert_int_equal(r.status, NFS4_OK);
    assert_int_equal(r.numres, 0);
    reply_release(&r);
}

/* One operation by its number, without arguments. */
static void expect_one(uint32_t minor, uint32_t op, uint32_t resop, nfsstat4 status)
{
    struct call_buf b;
    struct reply r;
    uint32_t got;
    nfsstat4 st;

    call_begin(&b, minor, "");
    call_op(&b, op, NULL, NULL);
    env_call(&env, &b, &r);
    assert_int_equal(r.numres, 1);
    assert_true(reply_next(&r, &got, &st));
    assert_int_equal(st, r.status);
    assert_int_equal(st, status);
    assert_int_equal(got, resop);
    reply_release(&r);
}

static void illegal_operations(void **state)
{
    static const uint32_t never[] = {0, 1, 2, 76, 1000, 10044, UINT32_MAX};

    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        for (uint32_t minor = 0; minor <= 2; minor++)
            expect_one(minor, never[i], OP_ILLEGAL, NFS4ERR_OP_ILLEGAL);
    expect_one(0, OP_SEQUENCE, OP_ILLEGAL, NFS4ERR_OP_ILLEGAL);
    expect_one(0, OP_SEEK, OP_ILLEGAL, NFS4ERR_OP_ILLEGAL);
    expect_one(1, OP_GETXATTR, OP_ILLEGAL, NFS4ERR_OP_ILLEGAL);
    expect_one(0, OP_OPENATTR, OP_OPENATTR, NFS4ERR_NOTSUPP);
    expect_one(0, OP_GETATTR, OP_GETATTR, NFS4ERR_BADXDR);
    expect_one(1, OP_PUTROOTFH, OP_PUTROOTFH, NFS4ERR_OP_NOT_IN_SESSION);
}

/* Every operation, with zeros for arguments and no filehandle: an answer, whatever it is. */
static void every_operation(void **state)
{
    char body[4096] = {0};
    struct reply r;

    for (uint32_t minor = 0; minor <= 2; minor++)
        for (uint32_t op = 0; op <= 80; op++) {
            body[7] = (char)minor;
            body[11] = 1;
            body[15] = (char)op;
            for (size_t len = 12; len < sizeof(body); len += len < 256 ? 4 : 1000) {
                env_run(&env, body, len, 1000, &r);
                assert_int_equal(r.result, REQ_DONE);
                assert_false(r.rejected);
                assert_in_range(r.numres, 0, 1);
                reply_release(&r);
            }
        }
}

/* A compound with most kinds of arguments, cut at every length: BADXDR where it is cut, or as far as it got. */
static void cut_everywhere(void **state)
{
    OPEN4args o = {.share_access = OPEN4_SHARE_ACCESS_BOTH,
                   .owner = {.clientid = 1, .owner = {5, "owner"}},
                   .openhow = {.opentype = OPEN4_CREATE},
                   .claim = {.claim = CLAIM_NULL, .open_claim4_u.file = {4, "file"}}};
    READDIR4args rd = {.dircount = 1000, .maxcount = 1000};
    CREATE4args cr = {.objtype = {.type = NF4LNK, .createtype4_u.linkdata = {3, "abc"}}, .objname = {1, "l"}};
    WRITE4args w = {.stable = FILE_SYNC4, .data = {5, "12345"}};
    struct call_buf b;
    struct reply r;
    size_t len;
    char *bytes;

    call_begin(&b, 0, "x");
    go_to_volume(&b);
    op_getattr_bits(&b, FATTR4_FILEHANDLE);
    call_op(&b, OP_READDIR, ARGS(READDIR), &rd);
    call_op(&b, OP_SAVEFH, NULL, NULL);
    call_op(&b, OP_CREATE, ARGS(CREATE), &cr);
    call_op(&b, OP_READLINK, NULL, NULL);
    call_op(&b, OP_RESTOREFH, NULL, NULL);
    op_name(&b, OP_REMOVE, "l");
    call_op(&b, OP_OPEN, ARGS(OPEN), &o);
    call_op(&b, OP_WRITE, ARGS(WRITE), &w);
    bytes = call_bytes(&b, &len);
    call_end(&b);
    for (size_t n = 16; n <= len; n++) {
        env_run(&env, bytes, n, 1000, &r);
        assert_int_equal(r.result, REQ_DONE);
        assert_false(r.rejected);
        assert_int_not_equal(r.status, NFS4_OK); /* at the latest the clientid of the OPEN is unknown */
        assert_in_range(r.numres, 1, 11);
        reply_release(&r);
    }
    free(bytes);
}

static void huge_counts(void **state)
{
    static const uint32_t counts[] = {9, 1025, 65536, 0x7fffffff, 0xffffffff};
    struct call_buf b;

    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        uint32_t bitmap[] = {1, counts[i]};
        uint32_t name[] = {1, counts[i]};
        uint32_t data[] = {8, 0, 0, 0, 0, 0, 0, 2, counts[i]};

        call_begin(&b, 0, "");
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        call_op(&b, OP_GETATTR, (xdrproc_t)put_words, bitmap);
        expect_last(&b, NFS4ERR_BADXDR, 2);
        call_begin(&b, 0, "");
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        call_op(&b, OP_LOOKUP, (xdrproc_t)put_words, name);
        expect_last(&b, NFS4ERR_BADXDR, 2);
        call_begin(&b, 0, "");
        call_op(&b, OP_PUTFH, (xdrproc_t)put_words, name);
        expect_last(&b, NFS4ERR_BADXDR, 1);
        call_begin(&b, 0, "");
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        call_op(&b, OP_WRITE, (xdrproc_t)put_words, data);
        expect_last(&b, NFS4ERR_BADXDR, 2);
    }
    call_begin(&b, 0, "");
    for (int i = 0; i < NFS4_MAX_OPS + 1; i++)
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
    expect_last(&b, NFS4ERR_RESOURCE, 0);
    call_begin(&b, 0, "");
    for (int i = 0; i < NFS4_MAX_OPS; i++)
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
    expect_last(&b, NFS4_OK, NFS4_MAX_OPS);
}

static void names(void **state)
{
    char long_name[300];
    static const struct {
        const char *name;
        uint32_t len;
        nfsstat4 status;
    } t[] = {
        {"", 0, NFS4ERR_INVAL},     {".", 1, NFS4ERR_BADNAME},  {"..", 2, NFS4ERR_BADNAME},
        {"a/b", 3, NFS4ERR_BADCHAR}, {"a\0b", 3, NFS4ERR_BADCHAR}, {"nope", 4, NFS4ERR_NOENT},
    };
    struct call_buf b;

    for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
        LOOKUP4args a = {{t[i].len, t[i].name}};

        call_begin(&b, 0, "");
        go_to_volume(&b);
        call_op(&b, OP_LOOKUP, ARGS(LOOKUP), &a);
        expect_last(&b, t[i].status, 4);
        call_begin(&b, 0, "");
        go_to_volume(&b);
        call_op(&b, OP_REMOVE, ARGS(LOOKUP), &a);
        expect_last(&b, t[i].status, 4);
    }
    memset(long_name, 'n', sizeof(long_name));
    LOOKUP4args a = {{256, long_name}};
    call_begin(&b, 0, "");
    go_to_volume(&b);
    call_op(&b, OP_LOOKUP, ARGS(LOOKUP), &a);
    expect_last(&b, NFS4ERR_NAMETOOLONG, 4);
}

static void handles(void **state)
{
    char junk[NFS4_FHSIZE] = {1, 2};
    PUTFH4args a = {{32, junk}};
    struct call_buf b;

    call_begin(&b, 0, "");
    call_op(&b, OP_PUTFH, ARGS(PUTFH), &a);
    expect_last(&b, NFS4ERR_BADHANDLE, 1);
    call_begin(&b, 0, "");
    call_op(&b, OP_GETFH, NULL, NULL);
    expect_last(&b, NFS4ERR_NOFILEHANDLE, 1);
    call_begin(&b, 0, "");
    call_op(&b, OP_RESTOREFH, NULL, NULL);
    expect_last(&b, NFS4ERR_RESTOREFH, 1);
    call_begin(&b, 0, "");
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    call_op(&b, OP_LOOKUPP, NULL, NULL);
    expect_last(&b, NFS4ERR_NOENT, 2);
}

/* --- sessions --- */

static void places(void **state)
{
    EXCHANGE_ID4args ea = {.eia_clientowner = {"12345678", {1, "p"}}};
    SEQUENCE4args sa = {0};
    struct client cl;
    struct call_buf b;

    call_begin(&b, 1, "");
    call_op(&b, OP_EXCHANGE_ID, ARGS(EXCHANGE_ID), &ea);
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    expect_last(&b, NFS4ERR_NOT_ONLY_OP, 1);
    client_open(&cl, "places", 65536, 4096);
    in_session(&cl, &b, 1, false);
    call_op(&b, OP_SEQUENCE, ARGS(SEQUENCE), &sa);
    expect_last(&b, NFS4ERR_SEQUENCE_POS, 2);
    in_session(&cl, &b, 1, false);
    call_op(&b, OP_SETCLIENTID, NULL, NULL);
    expect_last(&b, NFS4ERR_NOTSUPP, 2);
    in_session(&cl, &b, 1, false);
    call_op(&b, OP_RESTOREFH, NULL, NULL);
    expect_last(&b, NFS4ERR_NOFILEHANDLE, 2);
}

static void io_and_replay(void **state)
{
    WRITE4args w = {.stable = FILE_SYNC4, .data = {10, "0123456789"}};
    READ4args rd = {.offset = 2, .count = 100};
    struct client cl;
    struct call_buf b;
    struct reply r, again;
    stateid4 sid;
    uint32_t op, len;
    nfsstat4 st;
    size_t n;
    char *bytes;

    client_open(&cl, "io", 65536, 4096);
    reclaim_complete(&cl);
    sid = create_file(&cl, "io");
    w.stateid = rd.stateid = sid;
    in_session(&cl, &b, 1, true);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "io");
    call_op(&b, OP_WRITE, ARGS(WRITE), &w);
    call_op(&b, OP_READ, ARGS(READ), &rd);
    bytes = call_bytes(&b, &n);
    env_run(&env, bytes, n, 1000, &r);
    assert_int_equal(r.status, NFS4_OK);
    assert_true(reply_next(&r, &op, &st));
    XDR_SETPOS(&r.x, (u_int)xdrin_pos(&r.x) + 36);
    for (int i = 0; i < 5; i++)
        assert_true(reply_next(&r, &op, &st));
    assert_int_equal(op, OP_WRITE);
    XDR_SETPOS(&r.x, (u_int)xdrin_pos(&r.x) + 16);
    assert_true(reply_next(&r, &op, &st));
    assert_true(xdr_uint32_t(&r.x, &len)); /* eof */
    assert_int_equal(len, 1);
    assert_true(xdr_uint32_t(&r.x, &len));
    assert_int_equal(len, 8);
    assert_memory_equal(xdrin_here(&r.x), "23456789", 8);

    /* The same request once more: byte for byte the same answer. */
    env_run(&env, bytes, n, 1000, &again);
    assert_int_equal(again.len, r.len);
    assert_memory_equal(again.bytes, r.bytes, r.len);
    reply_release(&again);
    reply_release(&r);
    free(bytes);
    call_end(&b);
}

/* {VERIFY(size), WRITE} appends, or says that the file is longer by now. */
static void appends(void **state)
{
    char size_is_0[8] = {0};
    VERIFY4args v = {.obj_attributes = {.attr_vals = {8, size_is_0}}};
    WRITE4args w = {.stable = FILE_SYNC4, .data = {4, "abcd"}};
    struct client cl;

    xbitmap_set(&v.obj_attributes.attrmask, FATTR4_SIZE);
    client_open(&cl, "append", 65536, 4096);
    reclaim_complete(&cl);
    w.stateid = create_file(&cl, "append");
    for (int i = 0; i < 2; i++) {
        struct call_buf b;

        in_session(&cl, &b, 1, false);
        go_to_volume(&b);
        op_name(&b, OP_LOOKUP, "append");
        call_op(&b, OP_VERIFY, ARGS(VERIFY), &v);
        call_op(&b, OP_WRITE, ARGS(WRITE), &w);
        if (i == 0)
            expect_last(&b, NFS4_OK, 7);
        else
            expect_last(&b, NFS4ERR_NOT_SAME, 6);
    }
}

/* --- budgets --- */

static void reply_budgets(void **state)
{
    static char data[8192];
    WRITE4args w = {.stable = FILE_SYNC4, .data = {sizeof(data), data}};
    READ4args rd = {.count = sizeof(data)};
    struct client cl;
    struct call_buf b;
    struct reply r;

    client_open(&cl, "budget", 4096, 1024);
    reclaim_complete(&cl);
    w.stateid = rd.stateid = create_file(&cl, "budget");
    in_session(&cl, &b, 1, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "budget");
    call_op(&b, OP_WRITE, ARGS(WRITE), &w);
    expect_last(&b, NFS4_OK, 6);
    for (int cache = 0; cache < 2; cache++) {
        in_session(&cl, &b, 1, cache != 0);
        go_to_volume(&b);
        op_name(&b, OP_LOOKUP, "budget");
        call_op(&b, OP_READ, ARGS(READ), &rd);
        env_call(&env, &b, &r);
        assert_int_equal(r.status, cache ? NFS4ERR_REP_TOO_BIG_TO_CACHE : NFS4ERR_REP_TOO_BIG);
        assert_int_equal(r.numres, 6);
        assert_in_range(r.len, 1, cache ? 1024 : 4096);
        reply_release(&r);
    }
}

/* 4.0 has no session: the reply is bounded by the server's own limit, reads become short. */
static void reply_bound_40(void **state)
{
    static char data[1 << 20];
    WRITE4args w = {.stable = UNSTABLE4, .data = {sizeof(data), data}};
    READ4args rd = {.count = sizeof(data)};
    struct client cl;
    struct call_buf b;
    struct reply r;

    client_open(&cl, "forty", 65536, 4096);
    reclaim_complete(&cl);
    w.stateid = create_file(&cl, "forty");
    in_session(&cl, &b, 1, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "forty");
    call_op(&b, OP_WRITE, ARGS(WRITE), &w);
    expect_last(&b, NFS4_OK, 6);
    call_begin(&b, 0, "");
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "forty");
    for (int i = 0; i < 4; i++)
        call_op(&b, OP_READ, ARGS(READ), &rd);
    env_call(&env, &b, &r);
    assert_in_range(r.len, 1 << 20, REQUEST_REPLY_MAX);
    assert_in_range(r.numres, 5, 8);
    reply_release(&r);
}

/* An empty directory fits into what its listing takes, and not into a byte less. */
static void readdir_empty(void **state)
{
    CREATE4args cr = {.objtype = {.type = NF4DIR}, .objname = {5, "empty"}};
    struct call_buf b;

    call_begin(&b, 0, "");
    go_to_volume(&b);
    call_op(&b, OP_CREATE, ARGS(CREATE), &cr);
    expect_last(&b, NFS4_OK, 4);
    for (uint32_t max = 15; max <= 16; max++) {
        READDIR4args a = {.maxcount = max};

        call_begin(&b, 0, "");
        go_to_volume(&b);
        op_name(&b, OP_LOOKUP, "empty");
        call_op(&b, OP_READDIR, ARGS(READDIR), &a);
        expect_last(&b, max < 16 ? NFS4ERR_TOOSMALL : NFS4_OK, 5);
        call_begin(&b, 0, "");
        go_to_volume(&b); /* that has an entry */
        call_op(&b, OP_READDIR, ARGS(READDIR), &a);
        expect_last(&b, NFS4ERR_TOOSMALL, 4);
    }
}

/* READDIR goes through a directory in small steps and sees everything once. */
static void readdir_steps(void **state)
{
    struct call_buf b;
    struct reply r;
    unsigned seen[40] = {0}, total = 0;
    uint64_t cookie = 0;
    bool eof = false;

    for (int i = 0; i < 40; i++) {
        char name[16];
        CREATE4args cr = {.objtype = {.type = NF4DIR}, .objname = {5, name}};

        snprintf(name, sizeof(name), "dir%02d", i);
        call_begin(&b, 0, "");
        go_to_volume(&b);
        call_op(&b, OP_CREATE, ARGS(CREATE), &cr);
        expect_last(&b, NFS4_OK, 4);
    }
    READDIR4args small = {.maxcount = 40};
    call_begin(&b, 0, "");
    go_to_volume(&b);
    call_op(&b, OP_READDIR, ARGS(READDIR), &small);
    expect_last(&b, NFS4ERR_TOOSMALL, 4);
    small = (READDIR4args){.maxcount = 4000, .cookie = 1};
    call_begin(&b, 0, "");
    go_to_volume(&b);
    call_op(&b, OP_READDIR, ARGS(READDIR), &small);
    expect_last(&b, NFS4ERR_BAD_COOKIE, 4);

    while (!eof) {
        READDIR4args a = {.cookie = cookie, .maxcount = 300, .dircount = 200};
        uint32_t op, more, last;
        nfsstat4 st;

        assert_in_range(total, 0, 100);
        xbitmap_set(&a.attr_request, FATTR4_FILEHANDLE);
        xbitmap_set(&a.attr_request, FATTR4_RDATTR_ERROR);
        call_begin(&b, 0, "");
        go_to_volume(&b);
        call_op(&b, OP_READDIR, ARGS(READDIR), &a);
        env_call(&env, &b, &r);
        assert_int_equal(r.status, NFS4_OK);
        for (int i = 0; i < 4; i++)
            assert_true(reply_next(&r, &op, &st));
        size_t start = xdrin_left(&r.x);
        assert_in_range(start, 1, 300);
        XDR_SETPOS(&r.x, (u_int)xdrin_pos(&r.x) + 8);
        while (xdr_uint32_t(&r.x, &more) && more) {
            xname name;
            fattr4 fa;

            assert_true(xdr_uint64_t(&r.x, &cookie) && xdr_xname(&r.x, &name) && xdr_fattr4(&r.x, &fa));
            assert_int_equal(fa.attr_vals.len, 4 + 4 + 32);
            if (name.len == 5 && memcmp(name.data, "dir", 3) == 0)
                seen[(name.data[3] - '0') * 10 + name.data[4] - '0']++;
            total++;
        }
        assert_true(xdr_uint32_t(&r.x, &last));
        eof = last != 0;
        reply_release(&r);
    }
    for (int i = 0; i < 40; i++)
        assert_int_equal(seen[i], 1);
}

/* A user whose volumes have all the requests they may: the next is put off where it enters them. */
static void user_requests(void **state)
{
    static const uint64_t one[USER_KINDS] = {1, 0, 0}, usual[USER_KINDS] = {0};
    struct users *us = state_users(env.srv.state);
    struct user_report rep;
    struct user *u;
    struct call_buf b;
    struct reply r;

    users_set_limits(us, one);
    assert_true(user_take(us, 1, USER_REQUESTS, &u)); /* alice */
    for (int i = 0; i < 3; i++) {
        if (i == 1)
            user_add(us, u, USER_REQUESTS, -1);
        call_begin(&b, 0, "");
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        op_name(&b, OP_LOOKUP, "alice");
        op_name(&b, OP_LOOKUP, "v");
        env_call(&env, &b, &r);
        assert_int_equal(r.status, i ? NFS4_OK : NFS4ERR_DELAY);
        assert_int_equal(r.numres, i ? 3 : 2);
        reply_release(&r);
    }
    assert_int_equal(users_report(us, &rep, 1, NULL), 1); /* for a while, because something was refused */
    assert_int_equal(rep.used[USER_REQUESTS], 0);
    assert_int_equal(rep.used[USER_BYTES], 0);
    assert_int_equal(rep.used[USER_CONNS], 1); /* the connection was used for alice's volumes last */
    assert_int_equal(rep.refused, 1);
    users_set_limits(us, usual);
}

/* Those of connections, and of bytes: a request that alone is too large is one of many. */
static void user_memory(void **state)
{
    static const uint64_t conns[USER_KINDS] = {0, 0, 0, 1, 0}, bytes[USER_KINDS] = {0, 0, 0, 0, 32},
                          usual[USER_KINDS] = {0};
    struct users *us = state_users(env.srv.state);
    struct volume_props props;
    struct user *u, *v;
    struct call_buf b;
    struct reply r;

    volume_props_default(&props);
    assert_int_equal(vfs_volume_create(env.srv.vfs, "bob/w", &props, 1000, 1000, 0755), 0);
    for (int i = 0; i < 2; i++) { /* bob has a connection already; then no more than 32 bytes */
        users_set_limits(us, i ? bytes : conns);
        assert_true(user_take(us, 2, USER_CONNS, &u));
        call_begin(&b, 0, "");
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        op_name(&b, OP_LOOKUP, "bob");
        op_name(&b, OP_LOOKUP, "w");
        env_call(&env, &b, &r);
        assert_int_equal(r.status, NFS4ERR_DELAY);
        assert_int_equal(r.numres, 2);
        reply_release(&r);
        user_add(us, u, USER_CONNS, -1);
    }
    users_set_limits(us, usual);
    users_set_limits(us, bytes);
    assert_true(user_request(us, 7, 30, &u));
    assert_false(user_request(us, 7, 3, &v));
    assert_null(v);
    assert_true(user_request(us, 7, 2, &v));
    user_request_more(u, 1000); /* a reply: what is under way may end */
    assert_false(user_request(us, 7, 0, &(struct user *){NULL}));
    user_request_end(us, u, 1030);
    assert_true(user_request(us, 7, 30, &u));
    user_request_end(us, u, 30);
    user_request_end(us, v, 2);
    users_set_limits(us, usual);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(user_requests),
        cmocka_unit_test(bad_heads),          cmocka_unit_test(minor_versions_and_tags),
        cmocka_unit_test(illegal_operations), cmocka_unit_test(every_operation),
        cmocka_unit_test(cut_everywhere),     cmocka_unit_test(huge_counts),
        cmocka_unit_test(names),              cmocka_unit_test(handles),
        cmocka_unit_test(places),             cmocka_unit_test(io_and_replay),
        cmocka_unit_test(appends),            cmocka_unit_test(reply_budgets),
        cmocka_unit_test(reply_bound_40),     cmocka_unit_test(readdir_empty),
        cmocka_unit_test(readdir_steps),
        cmocka_unit_test(user_memory),
    };

    return cmocka_run_group_tests(tests, open_env, close_env);
}
