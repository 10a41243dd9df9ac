/* SPDX-License-Identifier: Apache-2.0
 * Tests of what one client, and all together, may have: at the limit a clear error, room again after something went, and
 * others not affected.
 */
#include "server/state/user.h"
#include "tests/unit/state_fake.h"

/* As in server/state/internal.h. */
#define CLIENTS 20000u
#define OPENS   65536u
#define OWNERS  131072u
#define RANGES  65536u
#define COURTEOUS 262144u

static void counted(struct state *s, unsigned opens, unsigned owners)
{
    struct state_counts n;

    state_count(s, &n);
    assert_int_equal(n.opens, opens);
    assert_int_equal(n.owners, owners);
}

static void test_opens(void **unused)
{
    struct file_key k = {1, 5};
    stateid4 sid, five, out;
    struct state *s;
    uint64_t a, b;

    forget_rows();
    s = boot();
    a = client41(s, "a", verf1, true);
    b = client41(s, "b", verf1, true);
    for (unsigned i = 1; i <= OPENS; i++)
        if (open41(s, a, "o", i, 1, 0, false, i == 5 ? &five : &sid))
            fail_msg("open %u", i);
    assert_int_equal(open41(s, a, "o", OPENS + 1, 1, 0, false, &sid), NFS4ERR_NOSPC);
    assert_int_equal(open41(s, a, "o", 7, 2, 0, false, &sid), NFS4_OK); /* an upgrade needs no more */
    assert_int_equal(open41(s, b, "o", 7, 1, 0, false, &sid), NFS4_OK);
    counted(s, OPENS + 1, 2);
    assert_int_equal(open_close(s, 1, a, &k, &five, &out), NFS4_OK);
    assert_int_equal(open41(s, a, "o", OPENS + 1, 1, 0, false, &sid), NFS4_OK);
    state_free(s);
}

static void test_owners(void **unused)
{
    struct file_key k = {1, 1};
    stateid4 sid, first, out;
    struct state *s;
    char name[16];
    uint64_t a;

    forget_rows();
    s = boot();
    state_set_limits(s, OWNERS + 9, 0);
    a = client41(s, "a", verf1, true);
    for (unsigned i = 1; i <= OWNERS; i++) {
        snprintf(name, sizeof name, "o%u", i);
        if (open41(s, a, name, i, 1, 0, false, i == 1 ? &first : &sid))
            fail_msg("owner %u", i);
    }
    assert_int_equal(open41(s, a, "more", 1, 1, 0, false, &sid), NFS4ERR_DELAY);
    counted(s, OWNERS, OWNERS);
    assert_int_equal(open_close(s, 1, a, &k, &first, &out), NFS4_OK); /* its owner goes, too */
    assert_int_equal(open41(s, a, "more", 1, 1, 0, false, &sid), NFS4_OK);
    state_free(s);
}

static void test_ranges(void **unused)
{
    struct lock_request r = {.minor = 1, .file = {1, 7}, .new_owner = true, .write = true, .owner = "l",
                             .owner_len = 1, .length = 1};
    struct state_counts n;
    struct state *s;
    nfsstat4 st = NFS4_OK;
    unsigned got = 0;

    forget_rows();
    s = boot();
    r.client = client41(s, "a", verf1, true);
    assert_int_equal(open41(s, r.client, "o", 7, 3, 0, false, &r.stateid), NFS4_OK);
    for (uint64_t at = 2 * (RANGES + 9); at; at -= 2) { /* from the end: each goes to the begin of the list */
        r.offset = at;
        st = lock_set(s, &r, true);
        if (st)
            break;
        r.new_owner = false;
        got++;
    }
    assert_int_equal(st, NFS4ERR_DELAY);
    assert_true(got > RANGES - 3 && got <= RANGES);
    r.offset += 2;
    assert_int_equal(lock_unset(s, &r), NFS4_OK);
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    r.offset = 0;
    r.length = UINT64_MAX; /* everything in one: all ranges are free again */
    assert_int_equal(lock_unset(s, &r), NFS4_OK);
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.locks, 1);
    state_free(s);
}

static void test_clients(void **unused)
{
    struct client_set40 x;
    struct state_counts n;
    bool replay, confirm;
    struct state *s;
    char name[16];
    stateid4 sid;
    uint64_t a;

    forget_rows();
    s = boot();
    a = client40(s, "with an open", verf1);
    assert_int_equal(open40(s, a, "o", 1, 7, 1, 0, &sid, &replay, &confirm), NFS4_OK);
    for (unsigned i = 1; i < CLIENTS - 1; i++) {
        snprintf(name, sizeof name, "c%u", i);
        client40(s, name, verf1);
    }
    /* An unconfirmed one takes the last place, and gives it to the next that comes. */
    for (unsigned i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "u%u", i);
        assert_int_equal(set40(s, ROOT, name, verf1, &x), NFS4_OK);
    }
    assert_int_equal(client_confirm40(s, ROOT, x.clientid, x.confirm, true), NFS4_OK);
    assert_int_equal(set40(s, ROOT, "one more", verf1, &x), NFS4ERR_RESOURCE);
    state_count(s, &n);
    assert_int_equal(n.clients, CLIENTS);
    clock_test_advance(91000); /* all are silent: one without state goes */
    assert_int_equal(set40(s, ROOT, "one more", verf1, &x), NFS4_OK);
    assert_int_equal(client_renew40(s, a), NFS4_OK);
    state_free(s);
}

static nfsstat4 open_of(struct state *s, uint64_t client, uint64_t user, uint64_t ino, stateid4 *sid)
{
    struct open_request r = {.minor = 1, .clientid = client, .owner = "o", .owner_len = 1, .file = {1, ino},
                             .user = user, .access = 3};
    nfsstat4 status = open_grant(s, &r, true);

    *sid = r.stateid;
    return status;
}

/* One user's volumes are used up by two clients; the other user's are not. */
static void test_user(void **unused)
{
    static const uint64_t max[USER_KINDS] = {1, 2, 3}, more[USER_KINDS] = {1, 3, 3};
    struct lock_request l = {.minor = 1, .file = {1, 1}, .new_owner = true, .write = true, .owner = "l",
                             .owner_len = 1, .length = 1};
    struct file_key k = {1, 1};
    struct user_report u[4];
    uint64_t limits[USER_KINDS];
    struct user *x, *y;
    stateid4 first, sid, out;
    struct state *s;
    uint64_t a, b;

    forget_rows();
    s = boot();
    users_set_limits(state_users(s), max);
    a = client41(s, "a", verf1, true);
    b = client41(s, "b", verf1, true);
    assert_int_equal(open_of(s, a, 9, 1, &first), NFS4_OK);
    assert_int_equal(open_of(s, b, 9, 2, &sid), NFS4_OK);
    assert_int_equal(open_of(s, b, 9, 3, &sid), NFS4ERR_NOSPC);
    assert_int_equal(open_of(s, b, 9, 2, &sid), NFS4_OK); /* once more the same needs no more */
    assert_int_equal(open_of(s, b, 8, 4, &sid), NFS4_OK);
    assert_int_equal(open_of(s, b, 0, 5, &sid), NFS4_OK); /* nobody's */
    counted(s, 4, 2);
    users_set_limits(state_users(s), more);
    assert_int_equal(open_of(s, b, 9, 3, &sid), NFS4_OK);
    /* a range may become two: the third is refused */
    l.client = a;
    l.stateid = first;
    assert_int_equal(lock_set(s, &l, true), NFS4_OK);
    l.new_owner = false;
    l.offset = 4;
    assert_int_equal(lock_set(s, &l, true), NFS4_OK);
    l.offset = 8;
    assert_int_equal(lock_set(s, &l, true), NFS4ERR_DELAY);
    assert_true(user_take(state_users(s), 9, USER_REQUESTS, &x));
    assert_false(user_take(state_users(s), 9, USER_REQUESTS, &y));
    assert_null(y);
    assert_true(user_take(state_users(s), 8, USER_REQUESTS, &y));
    user_add(state_users(s), y, USER_REQUESTS, -1);

    assert_int_equal(users_report(state_users(s), u, 4, limits), 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(limits[i], more[i]);
    assert_true(limits[USER_CONNS] == USER_NO_LIMIT && limits[USER_BYTES] == USER_NO_LIMIT);
    if (u[0].id == 8)
        u[0] = u[1];
    assert_int_equal(u[0].id, 9);
    assert_int_equal(u[0].used[USER_REQUESTS], 1);
    assert_int_equal(u[0].used[USER_OPENS], 3);
    assert_int_equal(u[0].used[USER_LOCKS], 2);
    assert_int_equal(u[0].refused, 3);
    /* what goes makes room, also when a client goes with all it has */
    user_add(state_users(s), x, USER_REQUESTS, -1);
    assert_true(user_take(state_users(s), 9, USER_REQUESTS, &x));
    user_add(state_users(s), x, USER_REQUESTS, -1);
    assert_int_equal(open_close(s, 1, a, &k, &first, &out), NFS4_OK);
    assert_int_equal(open_of(s, a, 9, 6, &sid), NFS4_OK);
    assert_int_equal(open_of(s, a, 9, 7, &sid), NFS4ERR_NOSPC);
    client41(s, "b", verf2, true);
    counted(s, 1, 1);
    assert_int_equal(users_report(state_users(s), u, 4, NULL), 1);
    assert_int_equal(u[0].used[USER_OPENS], 1);
    assert_int_equal(u[0].used[USER_LOCKS], 0);
    state_free(s);
}

/* Where a limit is reached, those make room whose lease ran out, the one that was silent longest first; nobody else. */
static void test_silent(void **unused)
{
    static const uint64_t max[USER_KINDS] = {9, 3, 9};
    struct lock_request l = {.minor = 1, .file = {1, 5}, .new_owner = true, .write = true, .owner = "l",
                             .owner_len = 1, .length = 1};
    stateid4 sid;
    struct state *s;
    uint64_t a, b, c, d, other;

    forget_rows();
    s = boot();
    users_set_limits(state_users(s), max);
    other = client41(s, "other", verf1, true);
    assert_int_equal(open_of(s, other, 8, 4, &sid), NFS4_OK);
    clock_test_advance(1000);
    a = client41(s, "a", verf1, true);
    assert_int_equal(open_of(s, a, 9, 1, &sid), NFS4_OK);
    clock_test_advance(1000);
    b = client41(s, "b", verf1, true);
    assert_int_equal(open_of(s, b, 9, 2, &sid), NFS4_OK);
    clock_test_advance(60000);
    d = client41(s, "d", verf1, true);
    assert_int_equal(open_of(s, d, 9, 3, &sid), NFS4_OK);
    clock_test_advance(40000);
    c = client41(s, "c", verf1, true);
    assert_int_equal(open_of(s, c, 9, 5, &l.stateid), NFS4_OK); /* a goes, not other */
    assert_int_equal(client_renew40(s, a), NFS4ERR_EXPIRED);
    counted(s, 4, 4);
    assert_int_equal(open_of(s, c, 9, 6, &sid), NFS4_OK); /* b goes */
    counted(s, 4, 3);
    assert_int_equal(open_of(s, c, 9, 7, &sid), NFS4ERR_NOSPC); /* d's lease is good */
    clock_test_advance(60000);
    assert_int_equal(open_of(s, c, 9, 5, &sid), NFS4_OK); /* c's is now; and d goes */
    l.stateid = sid;
    l.client = c;
    for (l.offset = 0; l.offset < 16; l.offset += 2, l.new_owner = false)
        assert_int_equal(lock_set(s, &l, true), NFS4_OK);
    assert_int_equal(lock_set(s, &l, true), NFS4ERR_DELAY);
    /* other was silent all the time, and nobody wanted anything of it */
    assert_int_equal(open_of(s, other, 8, 4, &sid), NFS4_OK);
    state_free(s);
}

/* Much that silent clients hold does not stay for a day. */
static void test_courtesy(void **unused)
{
    struct state *s;
    stateid4 sid;
    uint64_t a, b;

    forget_rows();
    s = boot();
    state_set_limits(s, COURTEOUS + 9, 0);
    b = client41(s, "b", verf1, true);
    assert_int_equal(open41(s, b, "o", 1, 1, 0, false, &sid), NFS4_OK);
    clock_test_advance(1000);
    a = client41(s, "a", verf1, true);
    for (unsigned i = 1; i < COURTEOUS; i++)
        if (open41(s, a, "o", i, 1, 0, false, &sid))
            fail_msg("open %u", i);
    clock_test_advance(100000);
    state_tick(s);
    counted(s, COURTEOUS, 2);
    assert_int_equal(open41(s, a, "o", COURTEOUS, 1, 0, false, &sid), NFS4_OK);
    clock_test_advance(100000);
    state_tick(s);
    counted(s, COURTEOUS, 1); /* the one that was silent longest is enough */
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opens),
        cmocka_unit_test(test_owners),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_clients),
        cmocka_unit_test(test_user),
        cmocka_unit_test(test_silent),
        cmocka_unit_test(test_courtesy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
