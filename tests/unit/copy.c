/* SPDX-License-Identifier: Apache-2.0
 * copy: CLONE and COPY: what they refuse, their bounds, and that the bytes are right.
 */
#include "tests/unit/nfs4_client.h"

#include <unistd.h>

#include "server/nfs4/offload.h"

#define SIZE (300000u) /* of "src": more than two slots, not a multiple of anything */

static struct client cl;
static stateid4 src, dst;
static char *data;

static int setup(void **state)
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

static int teardown(void **state)
{
    free(data);
    env_close(&env);
    return 0;
}

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

/* What "dst" has at off: size it must have, and n bytes that must be those of p (NULL: zeros). */
static void expect_dst(uint64_t size, uint64_t off, const char *p, uint32_t n)
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

/* --- copies that go on by themselves --- */

static void object(const char *name, struct vobj *out)
{
    static const struct vcred root = {0};
    struct vobj top = {0}, user = {0}, vol = {0};
    struct store_call call;

    store_call_init(&call, true);
    vfs_root(env.srv.vfs, &top);
    assert_int_equal(vfs_lookup(env.srv.vfs, &call, &top, &root, "alice", 5, &user, NULL), 0);
    assert_int_equal(vfs_lookup(env.srv.vfs, &call, &user, &root, "v", 1, &vol, NULL), 0);
    memset(out, 0, sizeof(*out));
    assert_int_equal(vfs_lookup(env.srv.vfs, &call, &vol, &root, name, strlen(name), out, NULL), 0);
    vobj_release(&top);
    vobj_release(&user);
    vobj_release(&vol);
    store_call_release(&call);
}

static nfsstat4 ask_status(const stateid4 *id, uint64_t *done, bool *complete, nfsstat4 *how)
{
    OFFLOAD_STATUS4args a = {.osa_stateid = *id};
    OFFLOAD_STATUS4resok ok = {0};
    struct call_buf b;
    struct reply r;
    uint32_t op = 0;
    nfsstat4 st = NFS4_OK;

    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_OFFLOAD_STATUS, ARGS(OFFLOAD_STATUS), &a);
    env_call(&env, &b, &r);
    assert_int_equal(r.numres, 6);
    assert_true(reply_next(&r, &op, &st));
    XDR_SETPOS(&r.x, (u_int)xdrin_pos(&r.x) + 36);
    while (op != OP_OFFLOAD_STATUS)
        assert_true(reply_next(&r, &op, &st));
    if (st == NFS4_OK) {
        assert_true(xdr_OFFLOAD_STATUS4resok(&r.x, &ok));
        assert_int_equal(xdrin_left(&r.x), 0);
        *done = ok.osr_count;
        *complete = ok.osr_complete.count != 0;
        *how = ok.osr_complete.nfsstat_opt4_u.status;
    }
    reply_release(&r);
    return st;
}

static void wait_for(const stateid4 *id, nfsstat4 want, uint64_t bytes)
{
    nfsstat4 how = NFS4_OK;
    bool complete = false;
    uint64_t done = 0;

    for (int i = 0; i < 12000 && !complete; i++) {
        assert_int_equal(ask_status(id, &done, &complete, &how), NFS4_OK);
        usleep(10000);
    }
    assert_true(complete);
    assert_int_equal(how, want);
    assert_int_equal(done, bytes);
}

static nfsstat4 cancel(const stateid4 *id)
{
    OFFLOAD_CANCEL4args a = {.oca_stateid = *id};
    struct call_buf b;
    struct reply r;
    nfsstat4 st;

    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_OFFLOAD_CANCEL, ARGS(OFFLOAD_CANCEL), &a);
    env_call(&env, &b, &r);
    st = r.status;
    reply_release(&r);
    return st;
}

static void go_on_by_themselves(void **state)
{
    struct vcred cred = {.uid = 1000, .gid = 1000};
    stateid4 id, more[OFFLOADS_CLIENT], none = {.seqid = 1, .other = "none"};
    struct vobj from, to;
    struct fh_parts fh = {.kind = VOBJ_FILE, .ino = 1};
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct offload_request r = {.client = cl.clientid, .minor = 2, .src = &from, .dst = &to, .fh = &fh, .cred = &cred,
                                .peer = &peer, .src_stateid = src, .dst_stateid = dst};
    nfsstat4 how;
    bool complete;
    uint64_t done;

    object("src", &from);
    object("dst", &to);
    assert_int_equal(ask_status(&none, &done, &complete, &how), NFS4ERR_BAD_STATEID); /* before there was any */
    assert_int_equal(cancel(&none), NFS4ERR_BAD_STATEID);
    r.soff = 7;
    r.doff = 100001;
    r.count = SIZE - 7;
    assert_true(offload_start(&env.srv, &r, &id));
    wait_for(&id, NFS4_OK, SIZE - 7);
    expect_dst(100001 + SIZE - 7, 100001, data + 7, SIZE - 7);
    expect_dst(100001 + SIZE - 7, 0, NULL, 100001);
    /* nobody else's */
    assert_int_equal(offload_status(&env.srv, cl.clientid + 1, &id, &done, &complete, &how), NFS4ERR_BAD_STATEID);
    assert_int_equal(offload_cancel(&env.srv, cl.clientid + 1, &id), NFS4ERR_BAD_STATEID);
    assert_int_equal(ask_status(&none, &done, &complete, &how), NFS4ERR_BAD_STATEID);
    assert_int_equal(cancel(&id), NFS4_OK);
    assert_int_equal(cancel(&id), NFS4ERR_BAD_STATEID);
    /* the source ends before: what there was */
    r.count = 2 << 20;
    assert_true(offload_start(&env.srv, &r, &id));
    wait_for(&id, NFS4_OK, SIZE - 7);
    /* without a right to write any more */
    r.dst_stateid = none;
    assert_true(offload_start(&env.srv, &r, &id));
    wait_for(&id, NFS4ERR_BAD_STATEID, 0);
    assert_int_equal(cancel(&id), NFS4_OK);
    /* bounded; what is under way may be cancelled, and whatever is left goes with the server */
    r.dst_stateid = dst;
    r.count = SIZE - 7;
    for (int i = 0; i < OFFLOADS_CLIENT - 1; i++)
        assert_true(offload_start(&env.srv, &r, &more[i]));
    assert_false(offload_start(&env.srv, &r, &id));
    r.client++;
    assert_true(offload_start(&env.srv, &r, &id));
    r.client--;
    for (int i = 0; i < 5; i++)
        assert_int_equal(cancel(&more[i * 3]), NFS4_OK);
    assert_true(offload_start(&env.srv, &r, &id));
    vobj_release(&from);
    vobj_release(&to);
}

/* Status of a copy of the whole source once it is over. */
static nfsstat4 copied_by_itself(const struct offload_request *r)
{
    nfsstat4 how = NFS4_OK;
    bool complete = false;
    stateid4 id;
    uint64_t done;

    assert_true(offload_start(&env.srv, r, &id));
    for (int i = 0; i < 12000 && !complete; i++) {
        assert_int_equal(offload_status(&env.srv, r->client, &id, &done, &complete, &how), NFS4_OK);
        usleep(10000);
    }
    assert_true(complete);
    assert_int_equal(done, how ? 0 : r->count);
    assert_int_equal(offload_cancel(&env.srv, r->client, &id), NFS4_OK);
    return how;
}

/* The compound that a copy came from is long answered: the copy itself has to see that a grant has gone. */
static void need_grants_to_go_on(void **state)
{
    struct vcred cred = {.uid = 1000, .gid = 1000};
    struct grant_row row = {.subject = GRANT_NETWORK, .object = GRANT_SERVER, .rights = GRANT_MAY_WRITE};
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct vobj from, to;
    struct fh_parts fh = {.kind = VOBJ_FILE, .ino = 1};
    struct offload_request r = {.client = cl.clientid, .minor = 2, .src = &from, .dst = &to, .fh = &fh, .cred = &cred,
                                .peer = &peer, .src_stateid = src, .dst_stateid = dst, .doff = 1, .count = SIZE};

    object("src", &from);
    object("dst", &to);
    assert_int_equal(grants_new(env.db, &env.srv.grants), 0);
    assert_int_equal(copied_by_itself(&r), NFS4ERR_ACCESS);
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    assert_int_equal(copied_by_itself(&r), NFS4_OK);
    row.rights = 0;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    assert_int_equal(copied_by_itself(&r), NFS4ERR_ROFS);
    assert_int_equal(grants_del(env.srv.grants, row.id), 0);
    assert_int_equal(copied_by_itself(&r), NFS4ERR_ACCESS);
    grants_free(env.srv.grants);
    env.srv.grants = NULL;
    vobj_release(&from);
    vobj_release(&to);
}

/* Starts a copy that would take for ever, waits until it is under way, lets `row` take the place of the grant there is (or
 * takes it away, if it is that), and tells how the copy ends. */
static nfsstat4 overtaken(const struct offload_request *r, struct grant_row *row)
{
    nfsstat4 how = NFS4_OK;
    bool complete = false;
    stateid4 id;
    uint64_t done = 0;

    assert_true(offload_start(&env.srv, r, &id));
    while (!done) {
        assert_int_equal(offload_status(&env.srv, r->client, &id, &done, &complete, &how), NFS4_OK);
        assert_false(complete);
        usleep(1000);
    }
    if (row->id)
        assert_int_equal(grants_del(env.srv.grants, row->id), 0);
    else
        assert_int_equal(grants_add(env.srv.grants, row), 0);
    for (int i = 0; i < 12000 && !complete; i++) {
        assert_int_equal(offload_status(&env.srv, r->client, &id, &done, &complete, &how), NFS4_OK);
        usleep(10000);
    }
    assert_true(complete);
    assert_in_range(done, 1, r->count - 1);
    assert_int_equal(offload_cancel(&env.srv, r->client, &id), NFS4_OK);
    return how;
}

/* Who asked may be another user by now, as the grants say: what goes on by itself goes on as nobody but who it began as. */
static void end_when_their_grants_change(void **state)
{
    struct vcred cred = {.uid = 1000, .gid = 1000};
    struct grant_row plain = {.subject = GRANT_NETWORK, .object = GRANT_SERVER, .rights = GRANT_MAY_WRITE}, row, mapped;
    struct grant_rule rule = {.squash = GRANT_SQUASH_ALL, .has_anon = true, .anon_uid = 1000, .anon_gid = 1000};
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct vset size = {.mask = VSET_SIZE, .size = UINT64_C(1) << 45};
    struct vobj from, to;
    struct fh_parts fh = {.kind = VOBJ_FILE, .ino = 1};
    struct offload_request r = {.client = cl.clientid, .minor = 2, .src = &from, .dst = &to, .fh = &fh, .cred = &cred,
                                .peer = &peer, .src_stateid = src, .dst_stateid = dst, .count = size.size};
    struct store_call call;

    object("src", &from);
    object("dst", &to);
    store_call_init(&call, true);
    assert_int_equal(volume_setattr(from.vol, &call, from.ino, &size, NULL), 0);
    store_call_release(&call);
    assert_int_equal(grants_new(env.db, &env.srv.grants), 0);
    /* as who they are; then mapped, all or root; to nobody, or to somebody */
    for (int i = 0; i < 4; i++) {
        row = plain;
        assert_int_equal(grants_add(env.srv.grants, &row), 0);
        row = plain;
        row.squash = i < 2 ? GRANT_SQUASH_ALL : GRANT_SQUASH_ROOT;
        row.has_anon = i % 2;
        row.anon_uid = row.anon_gid = row.has_anon ? 1000 : 0;
        assert_int_equal(overtaken(&r, &row), NFS4ERR_ACCESS);
    }
    /* mapped from the beginning: the same grant again changes nothing, another user or none does */
    r.rule = &rule;
    mapped = plain;
    mapped.squash = rule.squash;
    mapped.has_anon = true;
    mapped.anon_uid = mapped.anon_gid = 1000;
    row = mapped;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    r.count = SIZE;
    assert_int_equal(copied_by_itself(&r), NFS4_OK);
    r.count = size.size;
    for (int i = 0; i < 3; i++) {
        row = mapped;
        assert_int_equal(grants_add(env.srv.grants, &row), 0);
        row = i < 2 ? mapped : plain;
        row.anon_uid = i == 0 ? 1001 : 1000;
        row.anon_gid = i == 1 ? 1001 : 1000;
        assert_int_equal(overtaken(&r, &row), NFS4ERR_ACCESS);
    }
    /* less than before, and nothing */
    row = mapped;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    row = mapped;
    row.rights = 0;
    assert_int_equal(overtaken(&r, &row), NFS4ERR_ROFS);
    row = mapped;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    assert_int_equal(overtaken(&r, &row), NFS4ERR_ACCESS);
    grants_free(env.srv.grants);
    env.srv.grants = NULL;
    vobj_release(&from);
    vobj_release(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(other_volumes_and_users, setup, teardown),
        cmocka_unit_test_setup_teardown(clones, setup, teardown),
        cmocka_unit_test_setup_teardown(copies, setup, teardown),
        cmocka_unit_test_setup_teardown(copies_are_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(go_on_by_themselves, setup, teardown),
        cmocka_unit_test_setup_teardown(need_grants_to_go_on, setup, teardown),
        cmocka_unit_test_setup_teardown(end_when_their_grants_change, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
