/* SPDX-License-Identifier: Apache-2.0
 * Tests of sessions: CREATE_SESSION's replay and bounds, slots and the reply cache, connections.
 */
#include "tests/unit/state_fake.h"

static unsigned puts_seen;
static void count_put(void *ref)
{
    puts_seen++;
}

static struct session_sequence seq_args(const uint8_t *id, uint32_t slot, uint32_t seq, uint64_t digest,
                                        bool cache)
{
    struct session_sequence a = {.sequence = seq, .slot = slot, .highest = slot, .cache = cache,
                                 .nops = 2, .request_bytes = 200, .digest = digest, .conn_id = 1};

    memcpy(a.id, id, SESSION_ID_SIZE);
    return a;
}

struct got {
    struct session *se;
    struct session_slot *slot;
    bool bind;
};
static nfsstat4 sequence(struct state *s, struct session_sequence a, struct got *g)
{
    return session_sequence(s, &a, &g->se, &g->slot, &g->bind);
}
static void done(struct got *g, size_t len)
{
    struct xdrout *out = xdrout_new(1 << 20);
    char bytes[64];

    assert_true(xdrout_put_raw(out, "header..", 8));
    memset(bytes, 'x', sizeof bytes);
    for (size_t n = 0; n < len; n += sizeof bytes)
        assert_true(xdrout_put_raw(out, bytes, sizeof bytes));
    session_done(g->se, g->slot, out, 8);
    xdrout_free(out);
}

static void test_create(void **unused)
{
    struct client_exchange x;
    struct session_create a, b;
    struct session_conn foreign = {.id = 99};
    struct state_counts n;
    struct state *s;
    bool made;

    forget_rows();
    s = boot();
    assert_int_equal(exchange(s, ROOT, "c", verf1, false, &x), NFS4_OK);
    a = session_args(x.clientid + 1, 1);
    assert_int_equal(create(s, ROOT, &a), NFS4ERR_STALE_CLIENTID);
    a = session_args(x.clientid, x.sequence - 1);
    assert_int_equal(create(s, ROOT, &a), NFS4ERR_SEQ_MISORDERED);
    a = session_args(x.clientid, x.sequence + 1);
    assert_int_equal(create(s, ROOT, &a), NFS4ERR_SEQ_MISORDERED);
    a = session_args(x.clientid, x.sequence);
    a.flags = 8;
    assert_int_equal(create(s, ROOT, &a), NFS4ERR_INVAL);
    a = session_args(x.clientid, x.sequence);
    a.fore.max_reply = 0;
    assert_int_equal(create(s, ROOT, &a), NFS4ERR_TOOSMALL);
    a = session_args(x.clientid, x.sequence);
    a.flags = 3;
    assert_int_equal(create(s, ROOT, &a), NFS4_OK);
    assert_int_equal(a.flags, 2); /* not persistent, with a back channel */
    assert_int_equal(a.fore.max_slots, SESSION_SLOTS_MAX);
    assert_int_equal(a.fore.max_cached, SESSION_CACHE_MAX);
    assert_int_equal(a.fore.max_ops, 64);
    /* a retransmission gets the same session, the next number another */
    b = session_args(x.clientid, x.sequence);
    assert_int_equal(create(s, ROOT, &b), NFS4_OK);
    assert_memory_equal(a.id, b.id, SESSION_ID_SIZE);
    assert_int_equal(b.fore.max_slots, SESSION_SLOTS_MAX);
    /* somebody else who knows the client id gets none over a connection of his own: no new one, not the kept reply */
    b = session_args(x.clientid, x.sequence);
    assert_int_equal(session_create(s, "sys:5", &b, &foreign, &made), NFS4ERR_CLID_INUSE);
    assert_memory_not_equal(a.id, b.id, SESSION_ID_SIZE);
    b = session_args(x.clientid, x.sequence + 1);
    assert_int_equal(session_create(s, "sys:5", &b, &foreign, &made), NFS4ERR_CLID_INUSE);
    state_count(s, &n);
    assert_int_equal(n.sessions, 1);
    /* but over the client's */
    assert_int_equal(create(s, "sys:5", &b), NFS4_OK);
    assert_int_equal(session_destroy(s, b.id, NULL), NFS4_OK);
    for (unsigned i = 1; i < 64; i++) {
        b = session_args(x.clientid, x.sequence + 1 + i);
        assert_int_equal(create(s, ROOT, &b), NFS4_OK);
        assert_memory_not_equal(a.id, b.id, SESSION_ID_SIZE);
    }
    b = session_args(x.clientid, x.sequence + 65);
    assert_int_equal(create(s, ROOT, &b), NFS4ERR_NOSPC);
    state_count(s, &n);
    assert_int_equal(n.sessions, 64);
    state_free(s);
}

/* What the kept replies of any number of clients may come to is bounded; a good client still gets a session. */
static void test_many_clients(void **unused)
{
    struct client_exchange x;
    struct session_create a;
    unsigned slots = 0, last = 0, n = 0;
    nfsstat4 status = NFS4_OK;
    struct state *s;
    char name[16];

    forget_rows();
    s = boot();
    while (n < 2000 && status == NFS4_OK) {
        snprintf(name, sizeof name, "c%u", n);
        assert_int_equal(exchange(s, ROOT, name, verf1, false, &x), NFS4_OK);
        for (unsigned i = 0; i < 64 && status == NFS4_OK; i++) {
            a = session_args(x.clientid, x.sequence + i);
            status = create(s, ROOT, &a);
            if (status == NFS4_OK) {
                last = a.fore.max_slots;
                slots += last;
            }
        }
        n++;
    }
    assert_int_equal(status, NFS4ERR_DELAY);
    assert_int_equal(last, 1);
    assert_in_range(slots, 1000, (256u << 20) / SESSION_CACHE_MAX);
    /* what is given back can be had again */
    assert_int_equal(session_destroy(s, a.id, NULL), NFS4ERR_BADSESSION);
    clock_test_advance(200 * 1000);
    state_tick(s);
    assert_int_equal(exchange(s, ROOT, "late", verf1, false, &x), NFS4_OK);
    a = session_args(x.clientid, x.sequence);
    assert_int_equal(create(s, ROOT, &a), NFS4_OK);
    assert_int_equal(a.fore.max_slots, SESSION_SLOTS_MAX);
    state_free(s);
}

static struct session_create one_session(struct state *s)
{
    struct client_exchange x;
    struct session_create a;

    assert_int_equal(exchange(s, ROOT, "c", verf1, false, &x), NFS4_OK);
    a = session_args(x.clientid, x.sequence);
    a.fore.max_slots = 4;
    a.fore.max_request = 1000;
    a.fore.max_ops = 8;
    assert_int_equal(create(s, ROOT, &a), NFS4_OK);
    return a;
}

static void test_bad_sequences(void **unused)
{
    struct session_sequence q;
    struct session_create a;
    struct state *s;
    struct got g;

    forget_rows();
    s = boot();
    a = one_session(s);
    q = seq_args((const uint8_t *)"0123456789abcdef", 0, 1, 1, true);
    assert_int_equal(sequence(s, q, &g), NFS4ERR_BADSESSION);
    assert_int_equal(sequence(s, seq_args(a.id, 4, 1, 1, true), &g), NFS4ERR_BADSLOT);
    q = seq_args(a.id, 0, 1, 1, true);
    q.highest = 4;
    assert_int_equal(sequence(s, q, &g), NFS4ERR_BAD_HIGH_SLOT);
    assert_int_equal(sequence(s, seq_args(a.id, 0, 0, 1, true), &g), NFS4ERR_SEQ_MISORDERED);
    assert_int_equal(sequence(s, seq_args(a.id, 0, 2, 1, true), &g), NFS4ERR_SEQ_MISORDERED);
    q = seq_args(a.id, 0, 1, 1, true);
    q.nops = 9;
    assert_int_equal(sequence(s, q, &g), NFS4ERR_TOO_MANY_OPS);
    q.nops = 8;
    q.request_bytes = 1001;
    assert_int_equal(sequence(s, q, &g), NFS4ERR_REQ_TOO_BIG);
    q.request_bytes = 1000;
    assert_int_equal(sequence(s, q, &g), NFS4_OK); /* nothing of that used the slot up */
    done(&g, 64);
    state_free(s);
}

static void test_replay(void **unused)
{
    struct session_create a;
    struct state *s;
    struct got g, h;
    size_t len;

    forget_rows();
    s = boot();
    a = one_session(s);
    assert_int_equal(sequence(s, seq_args(a.id, 1, 1, 42, true), &g), NFS4_OK);
    assert_null(session_replay(g.slot, &len));
    assert_int_equal(sequence(s, seq_args(a.id, 1, 1, 42, true), &h), NFS4ERR_DELAY);
    assert_int_equal(sequence(s, seq_args(a.id, 1, 2, 43, true), &h), NFS4ERR_SEQ_MISORDERED);
    assert_int_equal(session_destroy(s, a.id, NULL), NFS4ERR_DELAY);
    done(&g, 1024);
    assert_int_equal(sequence(s, seq_args(a.id, 1, 1, 41, true), &h), NFS4ERR_SEQ_FALSE_RETRY);
    for (int i = 0; i < 3; i++) {
        const char *p;

        assert_int_equal(sequence(s, seq_args(a.id, 1, 1, 42, true), &g), NFS4_OK);
        p = session_replay(g.slot, &len);
        assert_int_equal(len, 1024);
        assert_true(p[0] == 'x' && p[1023] == 'x');
        done(&g, 64); /* a replay's own bytes are not kept */
    }
    /* not asked for and not small: not kept */
    assert_int_equal(sequence(s, seq_args(a.id, 1, 2, 1, false), &g), NFS4_OK);
    done(&g, 1024);
    assert_int_equal(sequence(s, seq_args(a.id, 1, 2, 1, false), &g), NFS4ERR_RETRY_UNCACHED_REP);
    assert_int_equal(sequence(s, seq_args(a.id, 1, 3, 1, false), &g), NFS4_OK);
    done(&g, 64);
    assert_int_equal(sequence(s, seq_args(a.id, 1, 3, 1, false), &g), NFS4_OK);
    assert_non_null(session_replay(g.slot, &len));
    done(&g, 64);
    /* larger than the cache: the core refuses it before, but nothing breaks here */
    assert_int_equal(sequence(s, seq_args(a.id, 1, 4, 1, true), &g), NFS4_OK);
    done(&g, 16384);
    assert_int_equal(sequence(s, seq_args(a.id, 1, 4, 1, true), &g), NFS4ERR_RETRY_UNCACHED_REP);
    /* a session that goes while a request runs */
    assert_int_equal(sequence(s, seq_args(a.id, 0, 1, 1, true), &g), NFS4_OK);
    assert_int_equal(session_destroy(s, a.id, g.se), NFS4_OK);
    assert_int_equal(sequence(s, seq_args(a.id, 2, 1, 1, true), &h), NFS4ERR_BADSESSION);
    done(&g, 64);
    state_free(s);
}

static void test_slots_independent(void **unused)
{
    struct session_create a;
    struct got g[4];
    struct state *s;

    forget_rows();
    s = boot();
    a = one_session(s);
    for (uint32_t seq = 1; seq < 100; seq++) {
        for (uint32_t slot = 0; slot < 4; slot++)
            assert_int_equal(sequence(s, seq_args(a.id, slot, seq, slot, true), &g[slot]), NFS4_OK);
        for (uint32_t slot = 4; slot-- > 0;)
            done(&g[slot], 64);
    }
    state_free(s);
}

static void test_connections(void **unused)
{
    struct session_conn conn = {.id = 1, .ref = &conn, .put = count_put, .back = true};
    struct session_sequence q;
    struct client_exchange x;
    struct session_create a;
    struct state *s;
    struct got g;
    bool made;

    forget_rows();
    puts_seen = 0;
    s = boot();
    exchange(s, ROOT, "c", verf1, false, &x);
    a = session_args(x.clientid, x.sequence);
    a.flags = 2;
    assert_int_equal(session_create(s, ROOT, &a, &conn, &made), NFS4_OK);
    assert_true(made);
    q = seq_args(a.id, 0, 1, 1, true);
    assert_int_equal(session_sequence(s, &q, &g.se, &g.slot, &g.bind), NFS4_OK);
    assert_false(g.bind);
    assert_int_equal(q.out_flags, 0);
    done(&g, 64);
    state_conn_closed(s, 1);
    assert_int_equal(puts_seen, 1);
    q = seq_args(a.id, 0, 2, 1, true);
    q.conn_id = 2;
    assert_int_equal(session_sequence(s, &q, &g.se, &g.slot, &g.bind), NFS4_OK);
    assert_true(g.bind);
    assert_int_equal(q.out_flags, SEQ4_STATUS_CB_PATH_DOWN);
    conn.id = 2;
    conn.back = false;
    session_bind(g.se, &conn, false);
    session_bind(g.se, &conn, false); /* twice: the second reference goes at once */
    assert_int_equal(puts_seen, 2);
    conn.back = true;
    session_bind(g.se, &conn, true);
    assert_int_equal(puts_seen, 3);
    done(&g, 64);
    q = seq_args(a.id, 0, 3, 1, true);
    q.conn_id = 2;
    assert_int_equal(session_sequence(s, &q, &g.se, &g.slot, &g.bind), NFS4_OK);
    assert_int_equal(q.out_flags, 0);
    /* many connections: the oldest go */
    for (unsigned i = 0; i < SESSION_CONNS_MAX; i++) {
        conn.id = 100 + i;
        session_bind(g.se, &conn, false);
    }
    assert_int_equal(puts_seen, 4);
    done(&g, 64);
    assert_int_equal(session_destroy(s, a.id, NULL), NFS4_OK);
    assert_int_equal(puts_seen, 4 + SESSION_CONNS_MAX);
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_create), cmocka_unit_test(test_bad_sequences),
        cmocka_unit_test(test_many_clients),
        cmocka_unit_test(test_replay), cmocka_unit_test(test_slots_independent),
        cmocka_unit_test(test_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
