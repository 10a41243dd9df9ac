/* SPDX-License-Identifier: Apache-2.0
 * nfs4_client: what tests of operations need of a client: compounds on alice/v of one server, a session, a file.
 */
#ifndef VOLNFS_TESTS_UNIT_NFS4_CLIENT_H
#define VOLNFS_TESTS_UNIT_NFS4_CLIENT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/nfs4_env.h"

#include <cmocka.h>

static struct env env;

static inline int open_env(void **state)
{
    env_open(&env);
    return 0;
}

static inline int close_env(void **state)
{
    env_close(&env);
    return 0;
}

#define ARGS(type) ((xdrproc_t)xdr_##type##4args)

static inline void op_name(struct call_buf *b, uint32_t op, const char *name)
{
    LOOKUP4args a = {{(uint32_t)strlen(name), name}};

    call_op(b, op, ARGS(LOOKUP), &a);
}

static inline void go_to_volume(struct call_buf *b)
{
    call_op(b, OP_PUTROOTFH, NULL, NULL);
    op_name(b, OP_LOOKUP, "alice");
    op_name(b, OP_LOOKUP, "v");
}

static inline void expect_last(struct call_buf *b, nfsstat4 status, uint32_t numres)
{
    struct reply r;

    env_call(&env, b, &r);
    assert_int_equal(r.result, REQ_DONE);
    assert_int_equal(r.status, status);
    assert_int_equal(r.numres, numres);
    reply_release(&r);
}

static inline bool_t put_words(XDR *x, uint32_t *words)
{
    for (uint32_t n = words[0]; n; n--)
        if (!xdr_uint32_t(x, ++words))
            return FALSE;
    return TRUE;
}

struct client {
    sessionid4 session;
    uint32_t seq;
    uint64_t clientid;
};

static inline void client_open(struct client *cl, const char *owner, uint32_t max_reply, uint32_t max_cached)
{
    EXCHANGE_ID4args ea = {.eia_clientowner = {"12345678", {(uint32_t)strlen(owner), owner}}};
    struct call_buf b;
    struct reply r;
    EXCHANGE_ID4resok eok;
    CREATE_SESSION4resok cok;
    uint32_t op;
    nfsstat4 st;

    call_begin(&b, 1, "");
    call_op(&b, OP_EXCHANGE_ID, ARGS(EXCHANGE_ID), &ea);
    env_call(&env, &b, &r);
    assert_true(reply_next(&r, &op, &st));
    assert_int_equal(st, NFS4_OK);
    assert_true(xdr_EXCHANGE_ID4resok(&r.x, &eok));
    reply_release(&r);

    /* csa_sec_parms cannot be encoded by our codec: one AUTH_NONE by hand. */
    uint32_t words[] = {24,
                        (uint32_t)(eok.eir_clientid >> 32), (uint32_t)eok.eir_clientid, eok.eir_sequenceid, 0,
                        0, 2 << 20, max_reply, max_cached, 16, 8, 0,
                        0, 4096, 4096, 4096, 8, 8, 0,
                        0x40000000, 1, 0, 0, 0, 0};
    words[0] = 21;
    call_begin(&b, 1, "");
    call_op(&b, OP_CREATE_SESSION, (xdrproc_t)put_words, words);
    env_call(&env, &b, &r);
    assert_true(reply_next(&r, &op, &st));
    assert_int_equal(st, NFS4_OK);
    assert_true(xdr_CREATE_SESSION4resok(&r.x, &cok));
    memcpy(cl->session, cok.csr_sessionid, sizeof(cl->session));
    cl->seq = 0;
    cl->clientid = eok.eir_clientid;
    reply_release(&r);
}

static inline void in_session(struct client *cl, struct call_buf *b, uint32_t minor, bool cache)
{
    SEQUENCE4args sa = {.sa_sequenceid = ++cl->seq, .sa_cachethis = cache};

    memcpy(sa.sa_sessionid, cl->session, sizeof(cl->session));
    call_begin(b, minor, "");
    call_op(b, OP_SEQUENCE, ARGS(SEQUENCE), &sa);
}

static inline stateid4 create_file(struct client *cl, const char *name)
{
    OPEN4args o = {.share_access = OPEN4_SHARE_ACCESS_BOTH | OPEN4_SHARE_ACCESS_WANT_NO_DELEG,
                   .owner = {.owner = {5, "owner"}},
                   .openhow = {.opentype = OPEN4_CREATE},
                   .claim = {.claim = CLAIM_NULL, .open_claim4_u.file = {(uint32_t)strlen(name), name}}};
    stateid4 sid;
    uint32_t op = 0;
    nfsstat4 st;
    struct call_buf b;
    struct reply r;

    in_session(cl, &b, 1, true);
    go_to_volume(&b);
    call_op(&b, OP_OPEN, ARGS(OPEN), &o);
    env_call(&env, &b, &r);
    assert_int_equal(r.status, NFS4_OK);
    assert_true(reply_next(&r, &op, &st));
    XDR_SETPOS(&r.x, (u_int)xdrin_pos(&r.x) + 36);
    while (op != OP_OPEN)
        assert_true(reply_next(&r, &op, &st));
    assert_true(xdr_stateid4(&r.x, &sid));
    reply_release(&r);
    return sid;
}

static inline void reclaim_complete(struct client *cl)
{
    RECLAIM_COMPLETE4args a = {FALSE};
    struct call_buf b;

    in_session(cl, &b, 1, false);
    call_op(&b, OP_RECLAIM_COMPLETE, ARGS(RECLAIM_COMPLETE), &a);
    expect_last(&b, NFS4_OK, 2);
}

#endif
