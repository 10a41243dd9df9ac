/* SPDX-License-Identifier: Apache-2.0
 * io42: SEEK, ALLOCATE, DEALLOCATE, READ_PLUS and IO_ADVISE: bad ranges, then data and holes as they are.
 */
#include "tests/unit/nfs4_client.h"

#define SLOT ((uint64_t)SLOT_SIZE)
#define TAIL 5000u

static struct client cl;
static stateid4 sid;
static char data[SLOT_SIZE];

static void on_file(struct call_buf *b)
{
    in_session(&cl, b, 2, false);
    go_to_volume(b);
    op_name(b, OP_LOOKUP, "f");
}

static void put(uint64_t off, uint32_t n)
{
    WRITE4args w = {.stateid = sid, .offset = off, .stable = UNSTABLE4, .data = {n, data}};
    struct call_buf b;

    on_file(&b);
    call_op(&b, OP_WRITE, ARGS(WRITE), &w);
    expect_last(&b, NFS4_OK, 6);
}

/* A slot of data, one of nothing, TAIL bytes of data. */
static int setup(void **state)
{
    env_open(&env);
    client_open(&cl, "io42", 2 << 20, 4096);
    reclaim_complete(&cl);
    sid = create_file(&cl, "f");
    for (uint32_t i = 0; i < sizeof(data); i++)
        data[i] = (char)(i * 2654435761u >> 11 | 1);
    put(0, SLOT_SIZE);
    put(2 * SLOT, TAIL);
    return 0;
}

static int teardown(void **state)
{
    env_close(&env);
    return 0;
}

/* Runs b and goes to the result of its last operation. */
static nfsstat4 run(struct call_buf *b, struct reply *r)
{
    uint32_t op;
    nfsstat4 st = NFS4_OK;

    env_call(&env, b, r);
    assert_int_equal(r->numres, 6);
    assert_true(reply_next(r, &op, &st));
    XDR_SETPOS(&r->x, (u_int)xdrin_pos(&r->x) + 36);
    for (unsigned i = 1; i < r->numres; i++)
        assert_true(reply_next(r, &op, &st));
    return st;
}

static nfsstat4 seek(uint64_t off, uint32_t what, uint64_t *at, bool *eof)
{
    SEEK4args a = {.sa_stateid = sid, .sa_offset = off};
    struct call_buf b;
    struct reply r;
    uint32_t end;
    nfsstat4 st;

    memcpy(&a.sa_what, &what, sizeof(what));
    on_file(&b);
    call_op(&b, OP_SEEK, ARGS(SEEK), &a);
    st = run(&b, &r);
    if (st == NFS4_OK) {
        assert_true(xdr_uint32_t(&r.x, &end) && xdr_uint64_t(&r.x, at));
        *eof = end != 0;
        assert_int_equal(xdrin_left(&r.x), 0);
    }
    reply_release(&r);
    return st;
}

static nfsstat4 range(uint32_t op, uint64_t off, uint64_t len)
{
    ALLOCATE4args a = {.aa_stateid = sid, .aa_offset = off, .aa_length = len};
    struct call_buf b;
    struct reply r;
    nfsstat4 st;

    on_file(&b);
    call_op(&b, op, ARGS(ALLOCATE), &a); /* DEALLOCATE's look the same */
    st = run(&b, &r);
    reply_release(&r);
    return st;
}

static uint64_t size_of(void)
{
    GETATTR4args ga = {0};
    struct call_buf b;
    struct reply r;
    uint64_t v = 0;
    fattr4 fa;

    xbitmap_set(&ga.attr_request, FATTR4_SIZE);
    on_file(&b);
    call_op(&b, OP_GETATTR, ARGS(GETATTR), &ga);
    assert_int_equal(run(&b, &r), NFS4_OK);
    assert_true(xdr_fattr4(&r.x, &fa) && fa.attr_vals.len == 8);
    for (int i = 0; i < 8; i++)
        v = v << 8 | (uint8_t)fa.attr_vals.data[i];
    reply_release(&r);
    return v;
}

struct seg {
    uint32_t what;
    uint64_t off, len;
};

/* READ_PLUS; the bytes of data segments are checked. The number of segments. */
static unsigned read_plus(uint64_t off, uint32_t count, struct seg *s, bool *eof)
{
    READ_PLUS4args a = {.rpa_stateid = sid, .rpa_offset = off, .rpa_count = count};
    uint32_t end, n;
    struct call_buf b;
    struct reply r;
    xdata d;

    on_file(&b);
    call_op(&b, OP_READ_PLUS, ARGS(READ_PLUS), &a);
    assert_int_equal(run(&b, &r), NFS4_OK);
    assert_true(xdr_uint32_t(&r.x, &end));
    assert_true(xdr_uint32_t(&r.x, &n));
    assert_in_range(n, 0, 10);
    *eof = end != 0;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(xdr_uint32_t(&r.x, &s[i].what) && xdr_uint64_t(&r.x, &s[i].off));
        if (s[i].what == NFS4_CONTENT_HOLE) {
            assert_true(xdr_uint64_t(&r.x, &s[i].len));
            continue;
        }
        assert_int_equal(s[i].what, NFS4_CONTENT_DATA);
        assert_true(xdr_xdata(&r.x, &d));
        s[i].len = d.len;
        assert_memory_equal(d.data, data + s[i].off % SLOT, d.len);
    }
    assert_int_equal(xdrin_left(&r.x), 0);
    reply_release(&r);
    return n;
}

static void bad_ranges(void **state)
{
    uint64_t at;
    bool eof;

    assert_int_equal(seek(0, 2, &at, &eof), NFS4ERR_UNION_NOTSUPP);
    assert_int_equal(seek(2 * SLOT + TAIL, NFS4_CONTENT_DATA, &at, &eof), NFS4ERR_NXIO);
    assert_int_equal(seek(UINT64_MAX, NFS4_CONTENT_HOLE, &at, &eof), NFS4ERR_NXIO);
    for (uint32_t op = OP_ALLOCATE; op; op = op == OP_ALLOCATE ? OP_DEALLOCATE : 0) {
        assert_int_equal(range(op, 0, 0), NFS4ERR_INVAL);
        assert_int_equal(range(op, UINT64_MAX, 2), NFS4ERR_INVAL);
    }
    assert_int_equal(range(OP_ALLOCATE, STORE_FILE_MAX, 1), NFS4ERR_FBIG);
    assert_int_equal(range(OP_ALLOCATE, 1, STORE_FILE_MAX), NFS4ERR_FBIG);
    assert_int_equal(range(OP_ALLOCATE, UINT64_MAX, 1), NFS4ERR_INVAL);
    assert_int_equal(range(OP_DEALLOCATE, STORE_FILE_MAX, 1), NFS4_OK);
    assert_int_equal(range(OP_DEALLOCATE, UINT64_MAX - 1, 1), NFS4_OK);
    assert_int_equal(size_of(), 2 * SLOT + TAIL);
}

static void seeks(void **state)
{
    uint64_t at;
    bool eof;

    assert_int_equal(seek(100, NFS4_CONTENT_DATA, &at, &eof), NFS4_OK);
    assert_int_equal(at, 100);
    assert_false(eof);
    assert_int_equal(seek(100, NFS4_CONTENT_HOLE, &at, &eof), NFS4_OK);
    assert_int_equal(at, SLOT);
    assert_int_equal(seek(SLOT + 1, NFS4_CONTENT_DATA, &at, &eof), NFS4_OK);
    assert_int_equal(at, 2 * SLOT);
    assert_int_equal(seek(2 * SLOT, NFS4_CONTENT_HOLE, &at, &eof), NFS4_OK);
    assert_int_equal(at, 2 * SLOT + TAIL);
    assert_true(eof); /* the hole that every file ends with */
}

static void data_and_holes_by_turns(void **state)
{
    struct seg s[10];
    bool eof;

    assert_int_equal(read_plus(0, 1 << 20, s, &eof), 3);
    assert_true(eof);
    assert_true(s[0].what == NFS4_CONTENT_DATA && s[0].off == 0 && s[0].len == SLOT);
    assert_true(s[1].what == NFS4_CONTENT_HOLE && s[1].off == SLOT && s[1].len == SLOT);
    assert_true(s[2].what == NFS4_CONTENT_DATA && s[2].off == 2 * SLOT && s[2].len == TAIL);
    assert_int_equal(read_plus(10, 20, s, &eof), 1);
    assert_false(eof);
    assert_true(s[0].what == NFS4_CONTENT_DATA && s[0].off == 10 && s[0].len == 20);
    assert_int_equal(read_plus(SLOT + 5, 1000, s, &eof), 1);
    assert_false(eof);
    assert_true(s[0].what == NFS4_CONTENT_HOLE && s[0].off == SLOT + 5 && s[0].len == 1000);
    assert_int_equal(read_plus(2 * SLOT, TAIL, s, &eof), 1);
    assert_true(eof);
    assert_int_equal(read_plus(0, 0, s, &eof), 0);
    assert_false(eof);
    assert_int_equal(read_plus(2 * SLOT + TAIL, 100, s, &eof), 0);
    assert_true(eof);
    assert_int_equal(read_plus(UINT64_MAX, UINT32_MAX, s, &eof), 0);
    assert_true(eof);
}

static void allocate_and_deallocate(void **state)
{
    struct seg s[10];
    uint64_t at;
    bool eof;

    assert_int_equal(range(OP_DEALLOCATE, 0, SLOT), NFS4_OK);
    assert_int_equal(size_of(), 2 * SLOT + TAIL);
    assert_int_equal(seek(0, NFS4_CONTENT_DATA, &at, &eof), NFS4_OK);
    assert_int_equal(at, 2 * SLOT);
    assert_int_equal(range(OP_ALLOCATE, 0, 4 * SLOT), NFS4_OK);
    assert_int_equal(size_of(), 4 * SLOT);
    assert_int_equal(read_plus(0, 1 << 20, s, &eof), 3);
    assert_true(eof);
    assert_true(s[2].what == NFS4_CONTENT_HOLE && s[2].off + s[2].len == 4 * SLOT);
    assert_int_equal(range(OP_DEALLOCATE, 0, STORE_FILE_MAX), NFS4_OK);
    assert_int_equal(size_of(), 4 * SLOT);
    assert_int_equal(read_plus(0, 1 << 20, s, &eof), 1);
    assert_true(s[0].what == NFS4_CONTENT_HOLE && s[0].len == 4 * SLOT);
}

static void advice(void **state)
{
    IO_ADVISE4args a = {.iaa_stateid = sid, .iaa_count = 100, .iaa_hints = {.w = {0x1ff, UINT32_MAX, 0}}};
    struct call_buf b;
    struct reply r;
    xbitmap got;

    on_file(&b);
    call_op(&b, OP_IO_ADVISE, ARGS(IO_ADVISE), &a);
    assert_int_equal(run(&b, &r), NFS4_OK);
    assert_true(xdr_xbitmap(&r.x, &got));
    assert_true(!got.w[0] && !got.w[1] && !got.w[2]);
    reply_release(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bad_ranges, setup, teardown),
        cmocka_unit_test_setup_teardown(seeks, setup, teardown),
        cmocka_unit_test_setup_teardown(data_and_holes_by_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(allocate_and_deallocate, setup, teardown),
        cmocka_unit_test_setup_teardown(advice, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
