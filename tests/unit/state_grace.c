/* SPDX-License-Identifier: Apache-2.0
 * Tests of grace: who may reclaim after a restart, and when it ends.
 */
#include "tests/unit/state_fake.h"

static void test_none_needed(void **unused)
{
    struct state *s;
    stateid4 sid;
    uint64_t a;

    forget_rows();
    s = boot();
    assert_false(state_in_grace(s));
    a = client41(s, "a", verf1, true);
    assert_int_equal(open41(s, a, "o", 7, 1, 0, false, &sid), NFS4_OK);
    assert_int_equal(open41(s, a, "o", 7, 1, 0, true, &sid), NFS4ERR_NO_GRACE);
    state_tick(s);
    state_tick(s);
    assert_int_equal(fake_over, 1);
    state_free(s);
}

/* Two clients with records. */
static struct state *restart(void)
{
    struct state *s;
    uint64_t id;

    forget_rows();
    s = boot();
    client41(s, "a", verf1, true);
    id = client40(s, "b", verf1);
    assert_int_equal(client_record(s, id, true), NFS4_OK);
    state_free(s);
    s = boot();
    assert_true(state_in_grace(s));
    return s;
}

static void test_ends_early(void **unused)
{
    struct state *s = restart();
    stateid4 sid, zero = {0};
    struct file_key f = {1, 7};
    bool replay, confirm;
    struct state_io io;
    uint64_t a, b, c;

    assert_int_equal(state_check_io(s, 0, 0, &f, &zero, STATE_READ, &io), NFS4ERR_GRACE);
    c = client41(s, "stranger", verf1, false);
    assert_int_equal(open41(s, c, "o", 7, 1, 0, true, &sid), NFS4ERR_RECLAIM_BAD);
    assert_int_equal(client_reclaim_complete(s, c, true), NFS4_OK);
    assert_int_equal(open41(s, c, "o", 7, 1, 0, false, &sid), NFS4ERR_GRACE);
    a = client41(s, "a", verf1, false);
    assert_int_equal(open41(s, a, "o", 7, 1, 2, true, &sid), NFS4_OK);
    assert_int_equal(state_check_io(s, 1, a, &f, &sid, STATE_READ, &io), NFS4_OK);
    assert_true(io.open && io.clientid == a);
    assert_int_equal(open41(s, a, "o", 8, 1, 0, false, &sid), NFS4ERR_GRACE);
    assert_int_equal(client_reclaim_complete(s, a, true), NFS4_OK);
    assert_int_equal(open41(s, a, "o", 9, 1, 0, true, &sid), NFS4ERR_NO_GRACE);
    assert_true(state_in_grace(s));
    b = client40(s, "b", verf1);
    assert_int_equal(grace_check(s, 0, b, true), NFS4_OK);
    state_tick(s);
    assert_int_equal(fake_over, 0);
    /* the last one keeps asking for something new: it has reclaimed all it wanted */
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(grace_check(s, 0, b, false), NFS4ERR_GRACE);
        assert_true(state_in_grace(s));
    }
    assert_int_equal(open40(s, b, "o", 1, 10, 1, 0, &sid, &replay, &confirm), NFS4_OK);
    assert_false(state_in_grace(s));
    state_tick(s);
    assert_int_equal(fake_over, 1);
    assert_non_null(fake_find(1, "a", 1));
    assert_non_null(fake_find(0, "b", 1));
    /* what was reclaimed stands */
    assert_int_equal(open41(s, c, "o", 7, 2, 0, false, &sid), NFS4ERR_SHARE_DENIED);
    state_free(s);
}

static void test_time_up(void **unused)
{
    struct state *s = restart();
    stateid4 sid;
    uint64_t a;

    a = client41(s, "a", verf1, false);
    assert_int_equal(open41(s, a, "o", 7, 1, 0, true, &sid), NFS4_OK);
    clock_test_advance(89 * 1000);
    state_tick(s);
    assert_true(state_in_grace(s));
    clock_test_advance(2 * 1000);
    fake_err = -EIO; /* b could still reclaim after another restart: grace may not end */
    state_tick(s);
    assert_true(state_in_grace(s));
    assert_int_equal(fake_over, 0);
    fake_err = 0;
    state_tick(s);
    assert_false(state_in_grace(s));
    assert_int_equal(fake_over, 1);
    assert_null(fake_find(0, "b", 1));
    assert_non_null(fake_find(1, "a", 1));
    assert_int_equal(grace_check(s, 1, a, true), NFS4ERR_NO_GRACE);
    state_free(s);
}

/* Whoever is in the middle of it may finish, but not forever. */
static void test_late(void **unused)
{
    struct state *s = restart();
    stateid4 sid;
    unsigned n = 0;
    uint64_t a;

    clock_test_advance(89 * 1000);
    a = client41(s, "a", verf1, false);
    while (n < 200 && open41(s, a, "o", 7 + n, 1, 0, true, &sid) == NFS4_OK) {
        clock_test_advance(1000);
        state_tick(s);
        n++;
    }
    assert_in_range(n, 88, 92);
    assert_false(state_in_grace(s));
    state_free(s);
    s = restart();
    clock_test_advance(89 * 1000);
    a = client41(s, "a", verf1, false);
    assert_int_equal(open41(s, a, "o", 7, 1, 0, true, &sid), NFS4_OK);
    clock_test_advance(1500);
    state_tick(s);
    assert_true(state_in_grace(s));
    clock_test_advance(1500);
    state_tick(s);
    assert_false(state_in_grace(s));
    state_free(s);
}

/* Nobody waits for a client that holds nothing. */
static void test_idle_forgotten(void **unused)
{
    struct state *s;
    stateid4 sid;
    uint64_t a, b;

    forget_rows();
    s = boot();
    a = client41(s, "a", verf1, true);
    assert_int_equal(open41(s, a, "o", 7, 1, 0, false, &sid), NFS4_OK);
    b = client40(s, "b", verf1);
    assert_int_equal(client_record(s, b, true), NFS4_OK);
    clock_test_advance(5 * 1000);
    state_tick(s);
    assert_non_null(fake_find(0, "b", 1));
    clock_test_advance(6 * 1000);
    fake_err = -EIO; /* then it stays recorded */
    state_tick(s);
    fake_err = 0;
    assert_non_null(fake_find(0, "b", 1));
    state_tick(s);
    assert_null(fake_find(0, "b", 1));
    assert_non_null(fake_find(1, "a", 1));
    /* its next open records it again; a clean stop does not wait */
    assert_int_equal(client_record(s, b, true), NFS4_OK);
    assert_non_null(fake_find(0, "b", 1));
    state_stop(s);
    assert_null(fake_find(0, "b", 1));
    assert_non_null(fake_find(1, "a", 1));
    state_free(s);
    s = boot();
    assert_true(state_in_grace(s)); /* for a, which has an open */
    state_stop(s);
    assert_non_null(fake_find(1, "a", 1));
    state_free(s);
}

static void test_other_principal(void **unused)
{
    struct client_exchange x;
    struct session_create cs;
    struct state *s = restart();
    stateid4 sid;

    assert_int_equal(exchange(s, "sys:5", "a", verf1, false, &x), NFS4_OK);
    cs = session_args(x.clientid, x.sequence);
    assert_int_equal(create(s, "sys:5", &cs), NFS4_OK);
    assert_int_equal(open41(s, x.clientid, "o", 7, 1, 0, true, &sid), NFS4ERR_RECLAIM_BAD);
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_needed), cmocka_unit_test(test_ends_early),
        cmocka_unit_test(test_time_up), cmocka_unit_test(test_late),
        cmocka_unit_test(test_other_principal), cmocka_unit_test(test_idle_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
