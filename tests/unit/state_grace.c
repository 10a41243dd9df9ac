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

/* A task of its own: a 4.0 client on a connection. */
static uint64_t task(struct state *s, const char *name, uint64_t conn)
{
    uint64_t id = client40(s, name, verf1);

    client_heard40(s, id, conn);
    assert_int_equal(client_record(s, id, true), NFS4_OK);
    return id;
}

/* Whose connections are all closed and who holds nothing is forgotten at the next tick, all such ones at once. */
static void test_gone_forgotten(void **unused)
{
    bool replay, confirm;
    struct state *s;
    uint64_t a, b;
    stateid4 sid;
    char name[8];

    forget_rows();
    s = boot();
    a = task(s, "a", 100);
    client_heard40(s, a, 101); /* two programs of one task */
    client_heard40(s, a, 101);
    b = task(s, "b", 200);
    assert_int_equal(open40(s, b, "o", 1, 7, 1, 0, &sid, &replay, &confirm), NFS4_OK);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "t%u", i);
        (void)task(s, name, 300 + i);
    }
    (void)client41(s, "c", verf1, true);
    state_tick(s);
    assert_non_null(fake_find(0, "t0", 2));
    fake_batches = 0;
    for (uint64_t c = 300; c < 305; c++)
        state_conn_closed(s, c);
    state_conn_closed(s, 100); /* one of a's */
    state_conn_closed(s, 200); /* b holds an open */
    fake_err = -EIO;           /* then they stay recorded, all of them */
    state_tick(s);
    fake_err = 0;
    assert_non_null(fake_find(0, "t0", 2));
    state_tick(s);
    assert_int_equal(fake_batches, 1);
    for (unsigned i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "t%u", i);
        assert_null(fake_find(0, name, 2));
    }
    assert_non_null(fake_find(0, "a", 1));
    assert_non_null(fake_find(0, "b", 1));
    assert_non_null(fake_find(1, "c", 1));
    state_conn_closed(s, 1); /* of 4.1's */
    state_conn_closed(s, 101);
    state_tick(s);
    assert_null(fake_find(0, "a", 1));
    assert_null(fake_find(1, "c", 1));
    /* it comes back: recorded again; and then its programs may follow each other for a second */
    client_heard40(s, a, 102);
    assert_int_equal(client_record(s, a, true), NFS4_OK);
    assert_non_null(fake_find(0, "a", 1));
    state_conn_closed(s, 102);
    state_tick(s);
    assert_non_null(fake_find(0, "a", 1));
    clock_test_advance(1100);
    state_tick(s);
    assert_null(fake_find(0, "a", 1));
    assert_non_null(fake_find(0, "b", 1));
    state_free(s);
    s = boot();
    assert_true(state_in_grace(s)); /* for b, which held an open */
    b = client40(s, "b", verf1);
    client_heard40(s, b, 500);
    state_conn_closed(s, 500); /* in grace nobody is forgotten: it may come again to reclaim */
    state_tick(s);
    assert_non_null(fake_find(0, "b", 1));
    assert_int_equal(grace_check(s, 0, b, true), NFS4_OK);
    state_free(s);
}

/* More connections than are remembered cost no memory and nobody's record for good. */
static void test_many_conns(void **unused)
{
    struct state *s;
    uint64_t a;

    forget_rows();
    s = boot();
    a = task(s, "a", 1000);
    for (uint64_t c = 1001; c < 1500; c++)
        client_heard40(s, a, c);
    for (uint64_t c = 1000; c < 1499; c++)
        state_conn_closed(s, c);
    state_tick(s);
    assert_non_null(fake_find(0, "a", 1));
    state_conn_closed(s, 1499);
    state_tick(s);
    assert_null(fake_find(0, "a", 1));
    client_heard40(s, a, 1501);
    client_heard40(s, a + 1, 1501); /* no such client */
    state_free(s);
}

static struct state *late_s;
static uint64_t late_id;
static nfsstat4 late_status[2];

static void open_meanwhile(void)
{
    struct open_request r = {.minor = 1, .clientid = late_id, .owner = "p", .owner_len = 1, .file = {1, 8},
                             .access = 1, .hold = (void *)1};

    late_status[0] = client_record(late_s, late_id, false);
    late_status[1] = open_grant(late_s, &r, false);
}

/* An OPEN that found the record, and is granted after the client was forgotten, writes it first. */
static void test_forgotten_under_open(void **unused)
{
    struct open_request r;
    stateid4 sid;
    struct state *s;

    forget_rows();
    late_s = s = boot();
    late_id = client41(s, "a", verf1, true);
    r = (struct open_request){.minor = 1, .clientid = late_id, .owner = "o", .owner_len = 1, .file = {1, 7},
                              .access = 1, .hold = (void *)1};
    assert_int_equal(client_record(s, late_id, true), NFS4_OK);
    state_conn_closed(s, 1);
    fake_during_del = open_meanwhile; /* one that may not wait: nothing is granted while the record goes */
    state_tick(s);
    assert_int_equal(late_status[0], STATE_BLOCK);
    assert_int_equal(late_status[1], STATE_BLOCK);
    assert_null(fake_find(1, "a", 1));
    assert_int_equal(open_grant(s, &r, false), STATE_BLOCK);
    fake_err = -ENOSPC; /* without a record nothing is granted either */
    assert_int_equal(open_grant(s, &r, true), NFS4ERR_NOSPC);
    fake_err = 0;
    assert_int_equal(open41(s, late_id, "o", 7, 1, 0, false, &sid), NFS4_OK);
    assert_non_null(fake_find(1, "a", 1));
    clock_test_advance(60 * 1000);
    state_tick(s);
    assert_non_null(fake_find(1, "a", 1));
    state_free(s);
}

static void *open_waiting(void *arg)
{
    stateid4 sid;

    late_status[0] = open41(late_s, late_id, "o", 7, 1, 0, false, &sid);
    __atomic_store_n((int *)arg, fake_find(1, "a", 1) ? 1 : 2, __ATOMIC_RELEASE);
    return NULL;
}

static pthread_t waiter;
static int waited;
static void start_waiter(void)
{
    pthread_create(&waiter, NULL, open_waiting, &waited);
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    assert_int_equal(__atomic_load_n(&waited, __ATOMIC_ACQUIRE), 0);
}

/* One that may wait does, and has its record when it is answered. */
static void test_open_waits(void **unused)
{
    forget_rows();
    late_s = boot();
    late_id = client41(late_s, "a", verf1, true);
    state_conn_closed(late_s, 1);
    fake_during_del = start_waiter;
    state_tick(late_s);
    pthread_join(waiter, NULL);
    assert_int_equal(late_status[0], NFS4_OK);
    assert_int_equal(waited, 1);
    state_tick(late_s);
    assert_non_null(fake_find(1, "a", 1));
    state_free(late_s);
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
        cmocka_unit_test(test_gone_forgotten), cmocka_unit_test(test_many_conns),
        cmocka_unit_test(test_forgotten_under_open), cmocka_unit_test(test_open_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
