/* SPDX-License-Identifier: Apache-2.0
 * Tests of callbacks on the wire: addresses, what goes out, and answers of all kinds, also damaged ones. The
 * connections and the state layer are fakes.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <rpc/rpc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/nfs4_gen.h"
#include "server/nfs4/callback.h"
#include "server/rpc/rpcserver.h"
#include "server/state/callback.h"

/* --- fakes --- */

static const struct callback_ops *ops;
static void *ops_ctx;
static struct callback_result last;
static unsigned ndone;
static char sent[4096];
static size_t sent_len;
static uint32_t sent_xid;
static void *called;
static int call_err, connect_err;
static unsigned nconnects;
static void (*reply_to)(void *arg, int err, const void *reply, size_t len);
static void *reply_arg;
static char one_conn, other_conn;
static bool at_once; /* answers come before conn_call() returns, and the callback is freed then */

void state_set_callbacks(struct state *s, const struct callback_ops *o, void *ctx)
{
    ops = o;
    ops_ctx = ctx;
}
void callback_done(struct state *s, struct callback *cb, const struct callback_result *r)
{
    last = *r;
    ndone++;
    if (at_once)
        free(cb);
}
int conn_call(struct conn_ref *cr, struct xdrout *call, uint32_t xid, unsigned timeout_ms,
              void (*done)(void *arg, int err, const void *reply, size_t len), void *arg)
{
    int err = cr == (struct conn_ref *)&one_conn ? call_err : 0;

    called = cr;
    sent_len = xdrout_len(call);
    assert_true(sent_len <= sizeof sent);
    xdrout_copy(call, sent);
    xdrout_free(call);
    sent_xid = xid;
    reply_to = done;
    reply_arg = arg;
    if (!err && at_once)
        done(arg, -ETIMEDOUT, NULL, 0);
    return err;
}
void conn_ref_put(struct conn_ref *cr)
{
}
int rpcserver_connect(struct rpcserver *s, const struct sockaddr_storage *addr,
                      const struct oncrpc_program *prog, struct conn_ref **out)
{
    nconnects++;
    if (!connect_err)
        *out = (struct conn_ref *)&other_conn;
    return connect_err;
}
void request_reject(struct request *req, uint32_t accept_stat)
{
}

/* --- addresses --- */

static bool address(const char *netid, const char *text, const char *peer, struct sockaddr_storage *out)
{
    struct sockaddr_storage from = {0};
    struct sockaddr_in *four = (struct sockaddr_in *)&from;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)&from;

    if (inet_pton(AF_INET, peer, &four->sin_addr) == 1) {
        from.ss_family = AF_INET;
    } else {
        assert_int_equal(inet_pton(AF_INET6, peer, &six->sin6_addr), 1);
        from.ss_family = AF_INET6;
    }
    return callback_address(netid, strlen(netid), text, strlen(text), &from, out);
}

static void test_addresses(void **unused)
{
    static const char *bad[] = {"",  ".", "127.0.0.1", "127.0.0.1.4", "127.0.0.1.4.256", "127.0.0.1.0.0", "127.0.0.1.4.",
                                "127.0.0.1.4.-1", "127.0.0.1..4.1", "127.0.0.1.4.1.", "x127.0.0.1.4.1",
                                "127.0.0.1.0004.1", "127.0.0.1.4.1 ", "....", "127.0.0.2.4.1", "10.0.0.1.8.1",
                                "::1.4.1",
                                "111111111111111111111111111111111111111111111111111111111111111111111111111111.1.1"};
    struct sockaddr_storage out;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(address("tcp", bad[i], "127.0.0.1", &out));
        assert_int_equal(out.ss_family, AF_UNSPEC);
    }
    assert_false(address("udp", "127.0.0.1.4.1", "127.0.0.1", &out));
    assert_false(address("tcp6", "127.0.0.1.4.1", "127.0.0.1", &out));
    assert_false(address("tcp6", "::2.4.1", "::1", &out));
    assert_true(address("tcp", "127.0.0.1.4.1", "127.0.0.1", &out));
    assert_int_equal(ntohs(((struct sockaddr_in *)&out)->sin_port), 1025);
    assert_true(address("tcp", "10.1.2.3.255.255", "::ffff:10.1.2.3", &out));
    assert_int_equal(out.ss_family, AF_INET);
    assert_int_equal(((struct sockaddr_in *)&out)->sin_addr.s_addr, inet_addr("10.1.2.3"));
    assert_true(address("tcp6", "fe80::1.8.1", "fe80::1", &out));
    assert_int_equal(out.ss_family, AF_INET6);
    assert_int_equal(ntohs(((struct sockaddr_in6 *)&out)->sin6_port), 2049);
}

/* --- what goes out --- */

static struct nfs4_server srv;

static struct callback call_of(enum callback_kind kind, uint32_t minor)
{
    struct callback cb = {.kind = kind, .minor = minor, .program = 0x40000000, .uid = 7, .gid = 8,
                          .conn = &one_conn, .ident = 99, .slot = 2, .sequence = 5, .highest = 3,
                          .fh = "abcd", .fh_len = 4, .owner = "own", .owner_len = 3, .clientid = 4711};

    cb.stateid.seqid = 1;
    memset(cb.stateid.other, 'x', sizeof cb.stateid.other);
    memset(cb.session, 's', sizeof cb.session);
    return cb;
}

/* Sends it; the stream stands at the CB_COMPOUND. */
static void sent_call(struct callback *cb, XDR *x)
{
    uint32_t w[6], flavor = 0, len = 0, skip;

    ops->send(ops_ctx, cb);
    xdrin_init(x, sent, sent_len);
    for (int i = 0; i < 6; i++)
        assert_true(xdr_uint32_t(x, &w[i]));
    assert_int_equal(w[0], sent_xid);
    assert_int_equal(w[1], CALL);
    assert_int_equal(w[2], 2);
    assert_int_equal(w[3], 0x40000000);
    assert_int_equal(w[4], 1);
    assert_int_equal(w[5], cb->kind == CALLBACK_NULL ? 0 : 1);
    assert_true(xdr_uint32_t(x, &flavor) && xdr_uint32_t(x, &len));
    assert_int_equal(flavor, cb->uid == UINT32_MAX ? AUTH_NONE : AUTH_SYS);
    assert_int_equal(len, cb->uid == UINT32_MAX ? 0 : 28);
    for (uint32_t i = 0; i < len; i += 4) {
        assert_true(xdr_uint32_t(x, &skip));
        if (i == 16)
            assert_int_equal(skip, cb->uid);
        if (i == 20)
            assert_int_equal(skip, cb->gid);
    }
    assert_true(xdr_uint32_t(x, &flavor) && xdr_uint32_t(x, &len));
    assert_int_equal(flavor + len, 0);
}

static void drop(void)
{
    unsigned n = ndone;

    reply_to(reply_arg, -EPIPE, NULL, 0);
    assert_int_equal(ndone, n + 1);
    assert_int_equal(last.err, -EPIPE);
}

static void test_calls(void **unused)
{
    struct callback cb = call_of(CALLBACK_RECALL, 2);
    CB_COMPOUND4args_head head = {0};
    CB_NOTIFY_LOCK4args notify = {0};
    CB_GETATTR4args getattr = {0};
    CB_SEQUENCE4args seq = {0};
    CB_RECALL4args recall = {0};
    uint32_t op = 0;
    XDR x;

    sent_call(&cb, &x);
    assert_true(xdr_CB_COMPOUND4args_head(&x, &head));
    assert_int_equal(head.minorversion, 2);
    assert_int_equal(head.numops, 2);
    assert_true(xdr_uint32_t(&x, &op) && op == OP_CB_SEQUENCE && xdr_CB_SEQUENCE4args(&x, &seq));
    assert_memory_equal(seq.csa_sessionid, cb.session, 16);
    assert_int_equal(seq.csa_sequenceid, 5);
    assert_int_equal(seq.csa_slotid, 2);
    assert_int_equal(seq.csa_highest_slotid, 3);
    assert_true(xdr_uint32_t(&x, &op) && op == OP_CB_RECALL && xdr_CB_RECALL4args(&x, &recall));
    assert_memory_equal(recall.stateid.other, "xxxxxxxxxxxx", 12);
    assert_int_equal(recall.fh.len, 4);
    assert_int_equal(xdrin_left(&x), 0);
    drop();
    cb = call_of(CALLBACK_NOTIFY_LOCK, 1);
    cb.uid = UINT32_MAX;
    sent_call(&cb, &x);
    assert_true(xdr_CB_COMPOUND4args_head(&x, &head) && xdr_uint32_t(&x, &op) && xdr_CB_SEQUENCE4args(&x, &seq));
    assert_true(xdr_uint32_t(&x, &op) && op == OP_CB_NOTIFY_LOCK && xdr_CB_NOTIFY_LOCK4args(&x, &notify));
    assert_int_equal(notify.cnla_lock_owner.clientid, 4711);
    assert_memory_equal(notify.cnla_lock_owner.owner.data, "own", 3);
    drop();
    cb = call_of(CALLBACK_GETATTR, 0); /* 4.0: no CB_SEQUENCE */
    sent_call(&cb, &x);
    assert_true(xdr_CB_COMPOUND4args_head(&x, &head));
    assert_int_equal(head.callback_ident, 99);
    assert_int_equal(head.numops, 1);
    assert_true(xdr_uint32_t(&x, &op) && op == OP_CB_GETATTR && xdr_CB_GETATTR4args(&x, &getattr));
    assert_int_equal(getattr.attr_request.w[0], 1u << FATTR4_CHANGE | 1u << FATTR4_SIZE);
    assert_int_equal(xdrin_left(&x), 0);
    drop();
}

static void test_connecting(void **unused)
{
    struct callback cb = call_of(CALLBACK_NULL, 0);
    XDR x;

    cb.conn = NULL;
    nconnects = ndone = 0;
    sent_call(&cb, &x);
    assert_int_equal(xdrin_left(&x), 0);
    assert_int_equal(nconnects, 1);
    assert_ptr_equal(cb.new_conn, &other_conn);
    drop();
    cb = call_of(CALLBACK_RECALL, 0); /* the kept connection was closed */
    call_err = -EPIPE;
    sent_call(&cb, &x);
    assert_int_equal(nconnects, 2);
    assert_ptr_equal(called, &other_conn);
    drop();
    cb = call_of(CALLBACK_RECALL, 0);
    connect_err = -ECONNREFUSED;
    ndone = 0;
    ops->send(ops_ctx, &cb);
    assert_int_equal(ndone, 1);
    assert_int_equal(last.err, -ECONNREFUSED);
    cb = call_of(CALLBACK_RECALL, 1); /* in a session there is only that connection */
    ndone = nconnects = 0;
    ops->send(ops_ctx, &cb);
    assert_int_equal(ndone, 1);
    assert_int_equal(last.err, -EPIPE);
    assert_int_equal(nconnects, 0);
    call_err = connect_err = 0;
}

static void test_at_once(void **unused)
{
    at_once = true;
    for (unsigned i = 0; i < 4; i++) {
        struct callback *cb = malloc(sizeof *cb);

        *cb = call_of(CALLBACK_RECALL, i % 2);
        call_err = i == 2 ? -EPIPE : 0;
        ndone = 0;
        ops->send(ops_ctx, cb);
        assert_int_equal(ndone, 1);
        assert_int_equal(last.err, -ETIMEDOUT);
    }
    at_once = false;
    call_err = 0;
}

/* --- answers --- */

struct answer {
    char *bytes;
    size_t len;
};

static struct answer answer_of(struct xdrout *o)
{
    struct answer a = {.len = xdrout_len(o)};

    a.bytes = malloc(a.len + 1);
    xdrout_copy(o, a.bytes);
    xdrout_free(o);
    return a;
}

static void put(struct xdrout *o, unsigned n, const uint32_t *w)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t v = w[i];

        assert_true(xdr_uint32_t(xdrout_xdr(o), &v));
    }
}
#define PUT(o, ...) put(o, sizeof((uint32_t[]){__VA_ARGS__}) / 4, (const uint32_t[]){__VA_ARGS__})

static void deliver(struct callback *cb, const struct answer *a, size_t len)
{
    char *exact = malloc(len + 1); /* of its size, so that a sanitizer sees what is read beyond */
    XDR x;

    memcpy(exact, a->bytes, len);
    exact = realloc(exact, len ? len : 1);
    sent_call(cb, &x);
    ndone = 0;
    reply_to(reply_arg, 0, exact, len);
    assert_int_equal(ndone, 1);
    free(exact);
}

/* A good answer up to the operation after CB_SEQUENCE. */
static struct xdrout *good_begin(uint32_t status, uint32_t numres)
{
    struct xdrout *o = xdrout_new(4096);

    PUT(o, 1, REPLY, MSG_ACCEPTED, AUTH_NONE, 0, SUCCESS, status, 0, numres);
    PUT(o, OP_CB_SEQUENCE, NFS4_OK, 0x73737373, 0x73737373, 0x73737373, 0x73737373, 5, 2, 3, 3);
    return o;
}

static void test_answers(void **unused)
{
    struct callback cb = call_of(CALLBACK_GETATTR, 1);
    struct xdrout *o = good_begin(NFS4_OK, 2);
    struct answer a;

    PUT(o, OP_CB_GETATTR, NFS4_OK, 1, 1u << FATTR4_CHANGE | 1u << FATTR4_SIZE, 16, 0, 51, 1, 2);
    a = answer_of(o);
    deliver(&cb, &a, a.len);
    assert_int_equal(last.err, 0);
    assert_int_equal(last.status, NFS4_OK);
    assert_true(last.has_attrs && last.change == 51 && last.size == (1ull << 32 | 2));
    for (size_t len = 0; len < a.len; len++) {
        deliver(&cb, &a, len);
        assert_int_equal(last.err, -EBADMSG);
        assert_false(last.has_attrs);
    }
    for (size_t at = 0; at < a.len; at++) { /* any byte may be anything */
        char was = a.bytes[at];

        for (int v = 0; v < 3; v++) {
            a.bytes[at] = (char[]){0, (char)0xff, (char)(was ^ 0x55)}[v];
            deliver(&cb, &a, a.len);
        }
        a.bytes[at] = was;
    }
    free(a.bytes);

    o = good_begin(NFS4_OK, 2); /* other attributes than those we asked for */
    PUT(o, OP_CB_GETATTR, NFS4_OK, 1, 1u << FATTR4_SIZE, 8, 0, 51);
    a = answer_of(o);
    deliver(&cb, &a, a.len);
    assert_int_equal(last.err, -EBADMSG);
    free(a.bytes);

    cb = call_of(CALLBACK_RECALL, 1);
    o = good_begin(NFS4ERR_BADHANDLE, 2);
    PUT(o, OP_CB_RECALL, NFS4ERR_BADHANDLE);
    a = answer_of(o);
    deliver(&cb, &a, a.len);
    assert_int_equal(last.err, 0);
    assert_int_equal(last.seq_status, NFS4_OK);
    assert_int_equal(last.status, NFS4ERR_BADHANDLE);
    free(a.bytes);

    o = xdrout_new(4096);
    PUT(o, 1, REPLY, MSG_ACCEPTED, AUTH_NONE, 0, SUCCESS, NFS4ERR_BADSESSION, 0, 1, OP_CB_SEQUENCE,
        NFS4ERR_BADSESSION);
    a = answer_of(o);
    deliver(&cb, &a, a.len);
    assert_int_equal(last.err, 0);
    assert_int_equal(last.seq_status, NFS4ERR_BADSESSION);
    free(a.bytes);

    o = xdrout_new(4096);
    PUT(o, 1, REPLY, MSG_ACCEPTED, AUTH_NONE, 0, PROG_UNAVAIL);
    a = answer_of(o);
    deliver(&cb, &a, a.len);
    assert_int_equal(last.err, -EPROTONOSUPPORT);
    free(a.bytes);

    o = xdrout_new(4096);
    PUT(o, 1, REPLY, MSG_DENIED, 1, 1);
    a = answer_of(o);
    deliver(&cb, &a, a.len);
    assert_int_equal(last.err, -EACCES);
    free(a.bytes);

    o = xdrout_new(4096); /* a verifier longer than there may be */
    PUT(o, 1, REPLY, MSG_ACCEPTED, AUTH_NONE, 0xfffffffc, SUCCESS);
    a = answer_of(o);
    deliver(&cb, &a, a.len);
    assert_int_equal(last.err, -EBADMSG);
    free(a.bytes);
}

/* An answer that comes after the end: nobody is told. */
static void test_stop(void **unused)
{
    struct callback cb = call_of(CALLBACK_RECALL, 1);
    XDR x;

    sent_call(&cb, &x);
    ndone = 0;
    nfs4_callbacks_stop(&srv);
    assert_null(ops);
    reply_to(reply_arg, -EPIPE, NULL, 0);
    assert_int_equal(ndone, 0);
    nfs4_callbacks_stop(&srv);
}

static int start(void **unused)
{
    srv.state = (struct state *)&srv;
    return nfs4_callbacks_start(&srv, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_calls), cmocka_unit_test(test_connecting),
        cmocka_unit_test(test_at_once),   cmocka_unit_test(test_answers), cmocka_unit_test(test_stop),
    };

    return cmocka_run_group_tests(tests, start, NULL);
}
