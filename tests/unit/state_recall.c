/* SPDX-License-Identifier: Apache-2.0
 * Tests of what the server asks of clients: delegations back, by any way and from clients that are slow or silent, and turns of
 * blocking locks.
 */
#include "tests/unit/state_back.h"

static void *wait_for_all(void *arg)
{
    return deleg_recall_wait(arg, 1, UINT64_MAX) ? arg : NULL;
}

/* All of a volume are recalled, and waited for; those of others stay. */
static void test_recall_volume(void **unused)
{
    struct state_counts n;
    struct state *s;
    pthread_t th;
    void *back;
    stateid4 d;
    struct cl a;

    forget_rows();
    s = boot_deleg();
    assert_true(deleg_recall_wait(s, 1, UINT64_MAX));
    a = client_with_back(s, "a", true, 1);
    d = get_deleg(s, &a, 7, 1);
    assert_true(deleg_recall_wait(s, 2, UINT64_MAX));
    assert_int_equal(ncalls, 0);
    assert_int_equal(pthread_create(&th, NULL, wait_for_all, s), 0);
    while (!__atomic_load_n(&ncalls, __ATOMIC_ACQUIRE))
        usleep(1000);
    assert_int_equal(calls[0]->kind, CALLBACK_RECALL);
    answer(s, 0, NFS4_OK, NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.delegs, 1);
    assert_int_equal(give_back(s, &a, 7, &d), NFS4_OK);
    assert_int_equal(pthread_join(th, &back), 0);
    assert_ptr_equal(back, s);
    state_free(s);
}

static void test_recall(void **unused)
{
    struct state_counts n;
    stateid4 d, out;
    struct state *s;
    struct cl a, b;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 1);
    b = client_with_back(s, "b", true, 1);
    d = get_deleg(s, &a, 7, 1);
    assert_int_equal(open41(s, b.id, "o", 7, 1, 0, false, &out), NFS4_OK); /* no conflict */
    assert_int_equal(try_open(s, &a, 7, 2), NFS4_OK); /* nor with itself */
    assert_int_equal(ncalls, 0);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4ERR_DELAY);
    assert_int_equal(ncalls, 1);
    assert_int_equal(calls[0]->kind, CALLBACK_RECALL);
    assert_int_equal(calls[0]->minor, 2);
    assert_int_equal(calls[0]->sequence, 1);
    assert_int_equal(calls[0]->fh_len, 2);
    assert_memory_equal(calls[0]->session, a.session, SESSION_ID_SIZE);
    assert_memory_equal(calls[0]->stateid.other, d.other, 12);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4ERR_DELAY); /* it is not sent again */
    assert_int_equal(ncalls, 1);
    answer(s, 0, NFS4_OK, NFS4_OK);
    assert_int_equal(give_back(s, &b, 7, &d), NFS4ERR_BAD_STATEID);
    assert_int_equal(give_back(s, &a, 8, &d), NFS4ERR_BAD_STATEID);
    assert_int_equal(give_back(s, &a, 7, &d), NFS4_OK);
    assert_int_equal(give_back(s, &a, 7, &d), NFS4ERR_BAD_STATEID);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.delegs, 0);
    /* it is contended now: no delegation for a while */
    assert_int_equal(open41(s, a.id, "p", 7, 1, 0, false, &out), NFS4_OK);
    end(s);
}

/* One that still writes back gets longer; one that is silent loses everything. */
static void test_slow_and_silent(void **unused)
{
    struct file_key k = {1, 7};
    struct state_io io;
    struct state *s;
    uint32_t seq = 0;
    struct cl a, b;
    stateid4 d;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 1);
    b = client_with_back(s, "b", true, 1);
    d = get_deleg(s, &a, 7, 3);
    assert_int_equal(try_open(s, &b, 7, 1), NFS4ERR_DELAY);
    answer(s, 0, NFS4_OK, NFS4_OK);
    for (int i = 0; i < 5; i++) {
        clock_test_advance(60000);
        flags(s, &a, ++seq);
        flags(s, &b, seq);
        assert_int_equal(state_check_io(s, 1, a.id, &k, &d, STATE_WRITE, &io), NFS4_OK);
        state_tick(s);
    }
    assert_int_equal(stateid_test(s, a.id, &d), NFS4_OK);
    assert_int_equal(give_back(s, &a, 7, &d), NFS4_OK);
    get_deleg(s, &a, 8, 3);
    clock_test_advance(91000);
    flags(s, &b, ++seq);
    state_tick(s); /* courteous: nobody wants it */
    assert_int_equal(flags(s, &a, seq), 0);
    clock_test_advance(91000);
    flags(s, &b, ++seq);
    assert_int_equal(try_open(s, &b, 8, 1), NFS4ERR_DELAY);
    state_tick(s);
    assert_int_equal(try_open(s, &b, 8, 1), NFS4_OK);
    assert_int_equal(client_reclaim_complete(s, a.id, true), NFS4ERR_STALE_CLIENTID);
    end(s);
}

static void test_ways(void **unused)
{
    struct session_conn fresh = {.id = ++next_conn, .ref = &refs, .put = put_conn, .back = true};
    struct session *se;
    stateid4 d1, d2, d3;
    struct state *s;
    struct cl a, b;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 2);
    b = client_with_back(s, "b", true, 1);
    d1 = get_deleg(s, &a, 1, 1);
    d2 = get_deleg(s, &a, 2, 1);
    d3 = get_deleg(s, &a, 3, 1);
    for (int i = 1; i <= 3; i++)
        assert_int_equal(try_open(s, &b, i, 2), NFS4ERR_DELAY);
    assert_int_equal(ncalls, 2); /* two slots */
    assert_int_equal(calls[0]->slot + calls[1]->slot, 1);
    answer(s, 0, NFS4_OK, NFS4_OK);
    assert_int_equal(ncalls, 2); /* the third */
    assert_int_equal(calls[1]->sequence, 2);
    answer(s, -EPIPE, 0, 0);
    answer(s, -EPIPE, 0, 0);
    assert_int_equal(ncalls, 0);
    assert_int_equal(flags(s, &a, 1), SEQ4_STATUS_CB_PATH_DOWN);
    clock_test_advance(2000);
    state_tick(s);
    assert_int_equal(ncalls, 0);
    se = session_get(s, a.session); /* the client binds another connection: what was not answered goes again */
    refs++;
    session_bind(se, &fresh, true);
    session_put(se);
    assert_int_equal(ncalls, 2);
    assert_int_equal(calls[0]->sequence + calls[1]->sequence, 1 + 2);
    answer(s, 0, NFS4ERR_RETRY_UNCACHED_REP, 0); /* it had come through */
    answer(s, 0, NFS4ERR_BADSESSION, 0);
    assert_int_equal(flags(s, &a, 2), SEQ4_STATUS_BACKCHANNEL_FAULT | SEQ4_STATUS_CB_PATH_DOWN);
    assert_int_equal(give_back(s, &a, 1, &d1), NFS4_OK);
    assert_int_equal(give_back(s, &a, 2, &d2), NFS4_OK);
    assert_int_equal(give_back(s, &a, 3, &d3), NFS4_OK);
    /* a callback under way when its session and client go */
    a = client_with_back(s, "c", true, 2);
    get_deleg(s, &a, 9, 1);
    assert_int_equal(try_open(s, &b, 9, 2), NFS4ERR_DELAY);
    assert_int_equal(session_destroy(s, a.session, NULL), NFS4_OK);
    clock_test_advance(91000);
    flags(s, &b, 1);
    state_tick(s);
    assert_int_equal(try_open(s, &b, 9, 2), NFS4_OK);
    answer(s, 0, NFS4_OK, NFS4_OK);
    end(s);
}

static void test_40(void **unused)
{
    struct sockaddr_storage to = {.ss_family = AF_INET};
    struct client_set40 x = {.verifier = verf1, .owner = "old", .owner_len = 3, .cb_addr = to};
    bool replay, confirm;
    struct open_request r;
    struct owner_call oc;
    struct file_key k = {1, 7};
    stateid4 sid;
    struct state *s;
    struct cl b;

    forget_rows();
    s = boot_deleg();
    assert_int_equal(client_set40(s, ROOT, &x, true), NFS4_OK);
    assert_int_equal(client_confirm40(s, ROOT, x.clientid, x.confirm, true), NFS4_OK);
    assert_int_equal(ncalls, 1); /* the probe */
    assert_int_equal(calls[0]->kind, CALLBACK_NULL);
    assert_int_equal(open40(s, x.clientid, "o", 1, 7, 1, 0, &sid, &replay, &confirm), NFS4_OK);
    assert_int_equal(open_confirm(s, &k, &sid, &sid), NFS4_OK);
    for (int i = 0; i < 2; i++) { /* without an answer to the probe: none */
        r = (struct open_request){.minor = 0, .clientid = x.clientid, .file = {1, 7}, .access = 1,
                                  .fh = "f", .fh_len = 1, .oc = &oc};
        assert_int_equal(owner_begin(s, x.clientid, "o", 1, OP_OPEN, 2 + i, true, &oc), NFS4_OK);
        assert_int_equal(open_grant(s, &r, true), NFS4_OK);
        owner_end(s, &oc, NFS4_OK, &r.stateid, sizeof r.stateid);
        assert_int_equal(r.deleg, DELEG_NONE);
    }
    calls[0]->new_conn = &refs; /* as if it had connected */
    calls[0]->put_conn = put_conn;
    refs++;
    answer(s, 0, 0, 0);
    assert_int_equal(owner_begin(s, x.clientid, "o", 1, OP_OPEN, 4, true, &oc), NFS4_OK);
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    owner_end(s, &oc, NFS4_OK, &r.stateid, sizeof r.stateid);
    assert_int_equal(r.deleg, DELEG_READ);
    assert_int_equal(client_renew40(s, x.clientid), NFS4_OK);
    b = client_with_back(s, "b", true, 1);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4ERR_DELAY);
    assert_ptr_equal(calls[0]->conn, &refs);
    assert_int_equal(calls[0]->minor, 0);
    answer(s, -EPIPE, 0, 0);
    assert_int_equal(refs, 1); /* b's */
    assert_int_equal(client_renew40(s, x.clientid), NFS4ERR_CB_PATH_DOWN);
    clock_test_advance(2000);
    state_tick(s);
    assert_int_equal(ncalls, 1); /* again */
    assert_null(calls[0]->conn);
    answer(s, 0, 0, NFS4_OK);
    assert_int_equal(client_renew40(s, x.clientid), NFS4_OK);
    assert_int_equal(deleg_return(s, 0, 0, &k, &r.deleg_stateid), NFS4_OK);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4_OK);
    end(s);
}

static nfsstat4 lock(struct state *s, const struct cl *c, const stateid4 *open, const char *owner, bool wait,
                     stateid4 *out)
{
    struct lock_request r = {.minor = 1, .client = c->id, .file = {1, 7}, .stateid = *open,
                             .new_owner = true, .write = true, .owner = owner,
                             .owner_len = strlen(owner), .length = 10, .wait = wait, .fh = "fh",
                             .fh_len = 2};
    nfsstat4 st = lock_set(s, &r, true);

    *out = r.stateid;
    return st;
}

static void test_lock_turns(void **unused)
{
    struct file_key k = {1, 7};
    struct lock_request un = {.minor = 1, .file = {1, 7}, .length = 10};
    stateid4 oa, ob, oc, la, lb, lc, out;
    struct state_counts n;
    struct state *s;
    struct cl a, b, c;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 1);
    b = client_with_back(s, "b", true, 1);
    c = client_with_back(s, "c", true, 1);
    assert_int_equal(open41(s, a.id, "o", 7, 3, 0, false, &oa), NFS4_OK);
    assert_int_equal(open41(s, b.id, "o", 7, 3, 0, false, &ob), NFS4_OK);
    assert_int_equal(open41(s, c.id, "o", 7, 3, 0, false, &oc), NFS4_OK);
    assert_int_equal(lock(s, &a, &oa, "la", true, &la), NFS4_OK);
    assert_int_equal(lock(s, &b, &ob, "lb", true, &lb), NFS4ERR_DENIED);
    assert_int_equal(lock(s, &b, &ob, "lb", true, &lb), NFS4ERR_DENIED);
    assert_int_equal(lock(s, &c, &oc, "lc", true, &lc), NFS4ERR_DENIED);
    state_count(s, &n);
    assert_int_equal(n.waits, 2);
    un.client = a.id;
    un.stateid = la;
    assert_int_equal(lock_unset(s, &un), NFS4_OK);
    assert_int_equal(ncalls, 1); /* b was first */
    assert_int_equal(calls[0]->kind, CALLBACK_NOTIFY_LOCK);
    assert_int_equal(calls[0]->clientid, b.id);
    assert_memory_equal(calls[0]->owner, "lb", 2);
    answer(s, 0, 0, 0);
    assert_int_equal(lock(s, &c, &oc, "lc", true, &lc), NFS4ERR_DENIED); /* it is b's turn */
    assert_int_equal(lock(s, &a, &oa, "la2", false, &out), NFS4ERR_DENIED);
    assert_int_equal(lock(s, &b, &ob, "lb", true, &lb), NFS4_OK);
    un.client = b.id;
    un.stateid = lb;
    assert_int_equal(lock_unset(s, &un), NFS4_OK);
    assert_int_equal(calls[0]->clientid, c.id);
    answer(s, 0, 0, 0);
    /* c does not come: after a moment it is anybody's */
    assert_int_equal(lock(s, &a, &oa, "la3", false, &out), NFS4ERR_DENIED);
    clock_test_advance(3000);
    state_tick(s);
    assert_int_equal(lock(s, &a, &oa, "la3", false, &la), NFS4_OK);
    /* a wait ends with the open */
    assert_int_equal(lock(s, &b, &ob, "lb2", true, &lb), NFS4ERR_DENIED);
    assert_int_equal(open_close(s, 1, b.id, &k, &ob, &out), NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.waits, 0);
    assert_int_equal(open_close(s, 1, a.id, &k, &oa, &out), NFS4_OK);
    assert_int_equal(ncalls, 0);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recall), cmocka_unit_test(test_recall_volume), cmocka_unit_test(test_slow_and_silent),
        cmocka_unit_test(test_ways),   cmocka_unit_test(test_40),            cmocka_unit_test(test_lock_turns),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
