/* SPDX-License-Identifier: Apache-2.0
 * Tests of client ids of 4.0 and 4.1: every case of SETCLIENTID and EXCHANGE_ID, leases, durable records.
 */
#include "tests/unit/state_fake.h"

static void test_exchange_new_update(void **unused)
{
    struct client_exchange a, b;
    struct session_create cs;
    struct state *s;

    forget_rows();
    s = boot();
    assert_int_equal(exchange(s, ROOT, "c", verf1, true, &a), NFS4ERR_NOENT);
    assert_int_equal(exchange(s, ROOT, "c", verf1, false, &a), NFS4_OK);
    assert_false(a.confirmed);
    /* an unconfirmed one is replaced, and is not there for updates */
    assert_int_equal(exchange(s, ROOT, "c", verf1, true, &b), NFS4ERR_NOENT);
    assert_int_equal(exchange(s, ROOT, "c", verf1, false, &b), NFS4_OK);
    assert_int_not_equal(a.clientid, b.clientid);
    cs = session_args(a.clientid, a.sequence);
    assert_int_equal(create(s, ROOT, &cs), NFS4ERR_STALE_CLIENTID);
    cs = session_args(b.clientid, b.sequence);
    assert_int_equal(create(s, "sys:5", &cs), NFS4ERR_CLID_INUSE);
    assert_int_equal(create(s, ROOT, &cs), NFS4_OK);
    /* confirmed: the same again, and updates */
    assert_int_equal(exchange(s, ROOT, "c", verf1, false, &a), NFS4_OK);
    assert_true(a.confirmed && a.clientid == b.clientid && a.sequence == b.sequence + 1);
    assert_int_equal(exchange(s, ROOT, "c", verf1, true, &a), NFS4_OK);
    assert_true(a.confirmed && a.clientid == b.clientid);
    assert_int_equal(exchange(s, ROOT, "c", verf2, true, &a), NFS4ERR_NOT_SAME);
    assert_int_equal(exchange(s, "sys:5", "c", verf1, true, &a), NFS4ERR_PERM);
    assert_int_equal(exchange(s, "sys:5", "c", verf1, false, &a), NFS4ERR_CLID_INUSE);
    state_free(s);
}

static void test_exchange_reboot(void **unused)
{
    struct client_exchange a;
    struct session_create cs;
    struct state_counts n;
    struct state *s;
    uint64_t old;
    stateid4 sid;

    forget_rows();
    s = boot();
    old = client41(s, "c", verf1, true);
    assert_int_equal(open41(s, old, "o", 7, SHARE_READ, 0, false, &sid), NFS4_OK);
    assert_int_equal(exchange(s, ROOT, "c", verf2, false, &a), NFS4_OK);
    assert_false(a.confirmed);
    assert_int_not_equal(a.clientid, old);
    state_count(s, &n);
    assert_int_equal(n.opens, 1); /* until the new one is confirmed */
    cs = session_args(a.clientid, a.sequence);
    assert_int_equal(create(s, ROOT, &cs), NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.opens, 0);
    assert_int_equal(n.clients, 1);
    assert_int_equal(fake_dropped, 1);
    assert_int_equal(client_destroy(s, ROOT, here, old, true), NFS4ERR_STALE_CLIENTID);
    assert_int_equal(client_destroy(s, ROOT, here, a.clientid, true), NFS4ERR_CLIENTID_BUSY);
    assert_int_equal(client_destroy(s, "sys:5", here, a.clientid, true), NFS4ERR_WRONG_CRED);
    assert_int_equal(session_destroy(s, cs.id, NULL), NFS4_OK);
    assert_int_equal(session_destroy(s, cs.id, NULL), NFS4ERR_BADSESSION);
    assert_int_equal(client_destroy(s, "sys:5", here, a.clientid, true), NFS4ERR_WRONG_CRED);
    /* its record (taken over from before) goes with it, and only where waiting is allowed */
    assert_int_equal(client_destroy(s, ROOT, here, a.clientid, false), STATE_BLOCK);
    fake_err = -EIO;
    assert_int_equal(client_destroy(s, ROOT, here, a.clientid, true), NFS4ERR_DELAY);
    fake_err = 0;
    assert_int_equal(client_destroy(s, ROOT, here, a.clientid, true), NFS4_OK);
    assert_null(fake_find(1, "c", 1));
    state_free(s);
}

static void test_exchange_other_principal(void **unused)
{
    struct client_exchange a;
    struct state *s;

    forget_rows();
    s = boot();
    client41(s, "c", verf1, true);
    assert_int_equal(exchange(s, "sys:5", "c", verf1, false, &a), NFS4ERR_CLID_INUSE);
    clock_test_advance(91 * 1000); /* silent for longer than its lease: it gives way */
    assert_int_equal(exchange(s, "sys:5", "c", verf1, false, &a), NFS4_OK);
    assert_false(a.confirmed);
    assert_null(fake_find(1, "c", 1));
    state_free(s);
}

/* The name and the principal alone do not make a machine elsewhere the same client. */
static void test_exchange_elsewhere(void **unused)
{
    struct client_exchange a = {.verifier = verf2, .from = {9}, .owner = "c", .owner_len = 1};
    struct client_exchange same = {.verifier = verf1, .from = {8}, .owner = "c", .owner_len = 1};
    struct session_conn conn = {.id = 2};
    struct session_create cs;
    struct state *s;
    uint64_t old;
    bool made;

    forget_rows();
    s = boot();
    old = client41(s, "c", verf1, true);
    assert_int_equal(client_exchange(s, ROOT, &a, true), NFS4ERR_DELAY);
    cs = session_args(old, 2);
    memcpy(cs.from, a.from, sizeof cs.from);
    assert_int_equal(session_create(s, ROOT, &cs, &conn, &made), NFS4ERR_CLID_INUSE);
    assert_int_equal(client_destroy(s, ROOT, a.from, old, true), NFS4ERR_WRONG_CRED);
    assert_int_equal(client_exchange(s, ROOT, &same, true), NFS4_OK); /* it knows the verifier */
    assert_true(same.confirmed && same.clientid == old);
    memcpy(cs.from, same.from, sizeof cs.from);
    assert_int_equal(create(s, ROOT, &cs), NFS4_OK);
    clock_test_advance(60 * 1000);
    assert_int_equal(client_exchange(s, ROOT, &same, true), NFS4_OK);
    assert_int_equal(client_exchange(s, ROOT, &a, true), NFS4ERR_CLID_INUSE); /* two machines, both alive */
    clock_test_advance(91 * 1000);
    assert_int_equal(client_exchange(s, ROOT, &a, true), NFS4_OK); /* the lease is over */
    assert_int_equal(client_exchange(s, ROOT, &same, true), NFS4_OK); /* but it is back before the other is confirmed */
    cs = session_args(a.clientid, a.sequence);
    memcpy(cs.from, a.from, sizeof cs.from);
    assert_int_equal(create(s, ROOT, &cs), NFS4ERR_DELAY);
    clock_test_advance(91 * 1000);
    assert_int_equal(client_exchange(s, ROOT, &a, true), NFS4_OK);
    cs.clientid = a.clientid;
    assert_int_equal(create(s, ROOT, &cs), NFS4_OK);
    assert_int_equal(client_destroy(s, ROOT, a.from, old, true), NFS4ERR_STALE_CLIENTID);
    state_free(s);
}

static void test_set40(void **unused)
{
    struct client_set40 a, b, c;
    const uint8_t wrong[8] = {0};
    struct state_counts n;
    struct state *s;
    bool replay, confirm;
    stateid4 sid;

    forget_rows();
    s = boot();
    assert_int_equal(client_confirm40(s, ROOT, 12345, wrong, true), NFS4ERR_STALE_CLIENTID);
    assert_int_equal(set40(s, ROOT, "c", verf1, &a), NFS4_OK);
    assert_int_equal(client_confirm40(s, ROOT, a.clientid, wrong, true), NFS4ERR_STALE_CLIENTID);
    assert_int_equal(client_renew40(s, a.clientid), NFS4ERR_STALE_CLIENTID); /* not confirmed */
    assert_int_equal(client_confirm40(s, "sys:5", a.clientid, a.confirm, true), NFS4ERR_CLID_INUSE);
    assert_int_equal(client_confirm40(s, ROOT, a.clientid, a.confirm, true), NFS4_OK);
    assert_int_equal(client_confirm40(s, ROOT, a.clientid, a.confirm, true), NFS4_OK); /* again */
    assert_int_equal(client_renew40(s, a.clientid), NFS4_OK);
    /* the same incarnation: same id, the old confirmation is good until the new one */
    assert_int_equal(set40(s, ROOT, "c", verf1, &b), NFS4_OK);
    assert_true(b.clientid == a.clientid && memcmp(b.confirm, a.confirm, 8));
    assert_int_equal(client_confirm40(s, ROOT, b.clientid, b.confirm, true), NFS4_OK);
    assert_int_equal(client_confirm40(s, ROOT, a.clientid, a.confirm, true), NFS4ERR_STALE_CLIENTID);
    assert_int_equal(open40(s, a.clientid, "o", 5, 7, 3, 0, &sid, &replay, &confirm), NFS4_OK);
    /* another principal, while there is state */
    assert_int_equal(set40(s, "sys:5", "c", verf2, &c), NFS4ERR_CLID_INUSE);
    assert_string_equal(c.using_netid, "tcp");
    assert_string_equal(c.using_addr, "127.0.0.1.8.1");
    /* a reboot */
    assert_int_equal(set40(s, ROOT, "c", verf2, &c), NFS4_OK);
    assert_int_not_equal(c.clientid, a.clientid);
    state_count(s, &n);
    assert_int_equal(n.opens, 1);
    assert_int_equal(client_confirm40(s, ROOT, c.clientid, c.confirm, true), NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.opens, 0);
    assert_int_equal(client_renew40(s, a.clientid), NFS4ERR_EXPIRED);
    /* an id of an earlier boot */
    assert_int_equal(client_renew40(s, c.clientid - (1ull << 32)), NFS4ERR_STALE_CLIENTID);
    state_free(s);
}

static void test_record(void **unused)
{
    struct state *s;
    uint64_t id;

    forget_rows();
    s = boot();
    id = client40(s, "c", verf1);
    assert_null(fake_find(0, "c", 1));
    assert_int_equal(client_record(s, id, false), STATE_BLOCK);
    fake_err = -ENOSPC;
    assert_int_equal(client_record(s, id, true), NFS4ERR_NOSPC);
    fake_err = 0;
    assert_int_equal(client_record(s, id, true), NFS4_OK);
    assert_non_null(fake_find(0, "c", 1));
    assert_int_equal(client_record(s, id, false), NFS4_OK);
    assert_int_equal(client_record(s, id + 1, false), NFS4ERR_STALE_CLIENTID);
    state_free(s);
}

static void test_reclaim_complete(void **unused)
{
    struct state *s;
    uint64_t id;
    stateid4 sid;

    forget_rows();
    s = boot();
    id = client41(s, "c", verf1, false);
    assert_int_equal(open41(s, id, "o", 7, SHARE_READ, 0, false, &sid), NFS4ERR_GRACE);
    assert_int_equal(client_reclaim_complete(s, id, false), STATE_BLOCK);
    assert_int_equal(client_reclaim_complete(s, id, true), NFS4_OK);
    assert_int_equal(client_reclaim_complete(s, id, true), NFS4ERR_COMPLETE_ALREADY);
    assert_int_equal(open41(s, id, "o", 7, SHARE_READ, 0, false, &sid), NFS4_OK);
    state_free(s);
}

static void test_tick(void **unused)
{
    struct client_exchange a;
    struct state_counts n;
    struct state *s;
    uint64_t id;
    stateid4 sid;

    forget_rows();
    s = boot();
    exchange(s, ROOT, "unconfirmed", verf1, false, &a);
    client41(s, "idle", verf1, true);
    id = client41(s, "holder", verf1, true);
    assert_int_equal(open41(s, id, "o", 7, SHARE_READ, 0, false, &sid), NFS4_OK);
    state_tick(s);
    state_count(s, &n);
    assert_int_equal(n.clients, 3);
    clock_test_advance(200 * 1000);
    state_tick(s);
    state_count(s, &n);
    assert_int_equal(n.clients, 1);
    assert_int_equal(n.opens, 1); /* courtesy: nobody wants it */
    assert_null(fake_find(1, "idle", 4));
    assert_non_null(fake_find(1, "holder", 6));
    clock_test_advance(25ll * 3600 * 1000);
    state_tick(s);
    state_count(s, &n);
    assert_int_equal(n.clients, 0);
    assert_null(fake_find(1, "holder", 6));
    assert_int_equal(fake_dropped, 1);
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchange_new_update), cmocka_unit_test(test_exchange_reboot),
        cmocka_unit_test(test_exchange_other_principal), cmocka_unit_test(test_exchange_elsewhere),
        cmocka_unit_test(test_set40),
        cmocka_unit_test(test_record), cmocka_unit_test(test_reclaim_complete),
        cmocka_unit_test(test_tick),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
