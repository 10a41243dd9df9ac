/* SPDX-License-Identifier: Apache-2.0
 * Tests of delegations: who gets one, what conflicts with it, and what becomes of it when its holder is gone.
 */
#include "tests/unit/state_back.h"

static void test_none(void **unused)
{
    struct open_request r;
    struct state *s;
    struct cl a, b, c;
    stateid4 out;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", false, 1);
    b = client_with_back(s, "b", true, 1);
    c = client_with_back(s, "c", true, 1);
    r = request(&a, 1, 1); /* no way back */
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    assert_false(r.notify);
    r = request(&b, 2, 1);
    r.want_none = true;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    assert_true(r.notify);
    r = request(&b, 3, 1); /* wants nothing: at the second time */
    r.want_read = r.want_write = false;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    r.change++; /* not while it is open and has changed */
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    r.owner = "p";
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    assert_int_equal(open_close(s, 1, b.id, &r.file, &r.stateid, &out), NFS4_OK);
    r.owner = "o";
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    assert_int_equal(open_close(s, 1, b.id, &r.file, &r.stateid, &out), NFS4_OK);
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_READ);
    assert_int_equal(open_grant(s, &r, true), NFS4_OK); /* not twice */
    assert_int_equal(r.deleg, DELEG_NONE);
    r = request(&b, 4, 3);
    r.want_write = false;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    /* others have it open */
    assert_int_equal(try_open(s, &a, 5, 2), NFS4_OK);
    r = request(&b, 5, 1);
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_true(r.deleg == DELEG_NONE && r.deleg_contended);
    assert_int_equal(try_open(s, &a, 6, 1), NFS4_OK);
    r = request(&b, 6, 3);
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    /* several may read */
    get_deleg(s, &b, 7, 1);
    get_deleg(s, &c, 7, 1);
    assert_int_equal(ncalls, 0);
    end(s);
}

static void test_kinds_of_conflict(void **unused)
{
    struct file_key k = {1, 9}, w = {1, 10};
    stateid4 zero = {0}, d;
    struct lock_request l = {.minor = 1, .file = {1, 10}, .owner = "l", .owner_len = 1, .length = 1};
    struct open_request r;
    struct state_io io;
    struct state *s;
    struct cl a, b;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 8);
    b = client_with_back(s, "b", true, 8);
    d = get_deleg(s, &a, 9, 1);
    get_deleg(s, &a, 10, 3);
    /* by itself: no */
    assert_int_equal(state_check_change(s, a.id, &k), NFS4_OK);
    assert_int_equal(state_check_io(s, 1, a.id, &w, &zero, STATE_WRITE, &io), NFS4_OK);
    assert_int_equal(state_check_io(s, 1, b.id, &k, &zero, STATE_READ, &io), NFS4_OK);
    assert_int_equal(ncalls, 0);
    assert_int_equal(state_check_io(s, 1, b.id, &w, &zero, STATE_READ, &io), NFS4ERR_DELAY);
    assert_int_equal(ncalls, 1);
    assert_int_equal(state_check_change(s, b.id, &k), NFS4ERR_DELAY);
    assert_int_equal(ncalls, 2);
    l.client = b.id;
    assert_int_equal(lock_test(s, &l, true), NFS4ERR_DELAY);
    /* in 4.0 nobody knows who changes: everybody's */
    assert_int_equal(state_check_change(s, 0, &k), NFS4ERR_DELAY);
    assert_int_equal(give_back(s, &a, 9, &d), NFS4_OK);
    /* truncating is writing, denying reads excludes a reader; a refused share recalls nothing */
    get_deleg(s, &a, 20, 1);
    r = request(&b, 20, 1);
    r.truncate = true;
    while (ncalls)
        answer(s, 0, 0, 0);
    assert_int_equal(open_grant(s, &r, true), NFS4ERR_DELAY);
    assert_int_equal(ncalls, 1);
    answer(s, 0, 0, 0);
    get_deleg(s, &a, 21, 1);
    r = request(&b, 21, 1);
    r.deny = 1;
    assert_int_equal(open_grant(s, &r, true), NFS4ERR_SHARE_DENIED);
    assert_int_equal(ncalls, 0);
    end(s);
}

static void test_io(void **unused)
{
    struct file_key k = {1, 7}, other = {1, 8};
    struct state_io io;
    struct state *s;
    stateid4 d;
    struct cl a, b;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 1);
    b = client_with_back(s, "b", true, 1);
    d = get_deleg(s, &a, 7, 1);
    assert_int_equal(state_check_io(s, 1, a.id, &k, &d, STATE_WRITE, &io), NFS4ERR_OPENMODE);
    assert_int_equal(state_check_io(s, 1, a.id, &other, &d, STATE_READ, &io), NFS4ERR_BAD_STATEID);
    assert_int_equal(state_check_io(s, 1, b.id, &k, &d, STATE_READ, &io), NFS4ERR_BAD_STATEID);
    assert_int_equal(state_check_io(s, 1, a.id, &k, &d, STATE_READ, &io), NFS4_OK);
    assert_true(state_io_by_open(&io, 1000) && !state_io_by_open(&io, 0));
    d = get_deleg(s, &a, 8, 2);
    assert_int_equal(state_check_io(s, 1, a.id, &other, &d, STATE_WRITE, &io), NFS4_OK);
    assert_true(state_io_by_open(&io, 1000));
    /* opened for writing: reading by the delegation is asked about */
    assert_int_equal(state_check_io(s, 1, a.id, &other, &d, STATE_READ, &io), NFS4_OK);
    assert_false(state_io_by_open(&io, 1000));
    end(s);
}

static void test_claims(void **unused)
{
    struct open_request r;
    struct state *s;
    stateid4 d;
    struct cl a, b;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 1);
    b = client_with_back(s, "b", true, 1);
    d = get_deleg(s, &a, 7, 1);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4ERR_DELAY);
    r = request(&a, 7, 1); /* before it gives it back, the holder opens what it has open by itself */
    r.owner = "p";
    r.cur = &d;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_NONE);
    r.access = 2;
    assert_int_equal(open_grant(s, &r, true), NFS4ERR_OPENMODE);
    r = request(&b, 7, 1);
    r.cur = &d;
    assert_int_equal(open_grant(s, &r, true), NFS4ERR_BAD_STATEID);
    r = request(&a, 8, 1);
    r.cur = &d;
    assert_int_equal(open_grant(s, &r, true), NFS4ERR_BAD_STATEID);
    end(s);
    /* after a restart: as it was, without asking for the way back */
    s = boot_deleg();
    a = (struct cl){.id = client41(s, "a", verf1, false)};
    r = request(&a, 7, 1);
    r.reclaim = r.prev_read = true;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_READ);
    r = request(&a, 9, 3);
    r.reclaim = r.prev_write = true;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, DELEG_WRITE);
    b = (struct cl){.id = client41(s, "b", verf1, false)};
    r = request(&b, 9, 1);
    r.reclaim = true;
    assert_int_equal(open_grant(s, &r, true), NFS4ERR_RECLAIM_CONFLICT);
    end(s);
}

static void test_revoked(void **unused)
{
    struct file_key k = {1, 7};
    struct state_io io;
    struct state *s;
    uint32_t seq = 0;
    struct cl a, b;
    stateid4 d, open;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 1);
    b = client_with_back(s, "b", true, 1);
    d = get_deleg(s, &a, 7, 1);
    assert_int_equal(open41(s, a.id, "q", 8, 1, 0, false, &open), NFS4_OK);
    assert_int_equal(stateid_test(s, a.id, &d), NFS4_OK);
    assert_int_equal(stateid_free(s, a.id, &d), NFS4ERR_LOCKS_HELD);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4ERR_DELAY);
    answer(s, 0, NFS4_OK, NFS4_OK);
    clock_test_advance(80000);
    assert_int_equal(flags(s, &a, ++seq), 0);
    state_tick(s);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4ERR_DELAY);
    clock_test_advance(11000);
    assert_int_equal(flags(s, &a, ++seq), 0);
    assert_int_equal(flags(s, &b, 1), 0);
    fake_err = -EIO; /* its record has to go first */
    state_tick(s);
    assert_int_equal(try_open(s, &b, 7, 2), NFS4ERR_DELAY);
    fake_err = 0;
    state_tick(s);
    assert_null(fake_find(1, "a", 1));
    assert_int_equal(try_open(s, &b, 7, 2), NFS4_OK);
    assert_int_equal(flags(s, &a, ++seq), SEQ4_STATUS_RECALLABLE_STATE_REVOKED);
    assert_int_equal(state_check_io(s, 1, a.id, &k, &d, STATE_READ, &io), NFS4ERR_DELEG_REVOKED);
    assert_int_equal(give_back(s, &a, 7, &d), NFS4ERR_DELEG_REVOKED);
    assert_int_equal(stateid_test(s, a.id, &d), NFS4ERR_DELEG_REVOKED);
    assert_int_equal(stateid_test(s, a.id, &open), NFS4_OK); /* the rest stays */
    assert_int_equal(stateid_free(s, b.id, &d), NFS4ERR_BAD_STATEID);
    assert_int_equal(stateid_free(s, a.id, &d), NFS4_OK);
    assert_int_equal(stateid_free(s, a.id, &d), NFS4ERR_BAD_STATEID);
    assert_int_equal(flags(s, &a, ++seq), 0);
    end(s);
}

static void test_getattr(void **unused)
{
    struct file_key k = {1, 7};
    struct deleg_attrs at;
    struct state *s;
    struct cl a, b;
    stateid4 d;

    forget_rows();
    s = boot_deleg();
    a = client_with_back(s, "a", true, 1);
    b = client_with_back(s, "b", true, 1);
    assert_false(deleg_any_write(s));
    d = get_deleg(s, &a, 7, 3);
    assert_true(deleg_any_write(s));
    assert_int_equal(deleg_getattr(s, a.id, &k, true, &at), NFS4_OK);
    assert_int_equal(ncalls, 0);
    assert_int_equal(deleg_getattr(s, b.id, &k, false, &at), STATE_BLOCK);
    assert_int_equal(ncalls, 0);
    /* no answer in time: it is recalled, too, once the slot is free */
    assert_int_equal(deleg_getattr(s, b.id, &k, true, &at), NFS4ERR_DELAY);
    assert_int_equal(ncalls, 1);
    answer_attrs(s, 51, 4711);
    assert_int_equal(ncalls, 1);
    assert_int_equal(calls[0]->kind, CALLBACK_RECALL);
    answer(s, 0, 0, 0);
    assert_int_equal(give_back(s, &a, 7, &d), NFS4_OK);
    assert_false(deleg_any_write(s));
    assert_int_equal(deleg_getattr(s, b.id, &k, true, &at), NFS4_OK);
    assert_false(at.modified);
    end(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none),   cmocka_unit_test(test_kinds_of_conflict), cmocka_unit_test(test_io),
        cmocka_unit_test(test_claims), cmocka_unit_test(test_revoked),           cmocka_unit_test(test_getattr),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
