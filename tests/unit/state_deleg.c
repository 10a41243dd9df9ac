/* SPDX-License-Identifier: Apache-2.0
 * Tests of delegations, the back channel's slots and blocking locks. Callbacks land in a table here, and are answered
 * by hand.
 */
#include <sys/socket.h>

#include "server/state/callback.h"
#include "server/state/deleg.h"
#include "tests/unit/state_fake.h"

#define CALLS_MAX 256
static struct callback *calls[CALLS_MAX];
static unsigned ncalls;
static int refs; /* of connections */

static void send_cb(void *ctx, struct callback *cb)
{
    unsigned n = ncalls;

    assert_true(n < CALLS_MAX);
    calls[n] = cb;
    __atomic_store_n(&ncalls, n + 1, __ATOMIC_RELEASE); /* test_recall_volume waits for it */
}
static const struct callback_ops ops = {.send = send_cb};

static void put_conn(void *ref)
{
    refs--;
}

/* Answers the oldest call. */
static void answer(struct state *s, int err, nfsstat4 seq, nfsstat4 status)
{
    struct callback_result r = {.err = err, .seq_status = seq, .status = status};
    struct callback *cb = calls[0];

    assert_true(ncalls > 0);
    memmove(calls, calls + 1, --ncalls * sizeof calls[0]);
    callback_done(s, cb, &r);
}

static void answer_attrs(struct state *s, uint64_t change, uint64_t size)
{
    struct callback_result r = {.has_attrs = true, .change = change, .size = size};
    struct callback *cb = calls[0];

    assert_int_equal(cb->kind, CALLBACK_GETATTR);
    memmove(calls, calls + 1, --ncalls * sizeof calls[0]);
    callback_done(s, cb, &r);
}

static struct state *boot_deleg(void)
{
    struct state_conf conf = {.lease_seconds = 90, .grace_seconds = 90, .db = (struct statedb *)&fake_rows,
                              .epoch = ++fake_epoch, .drop_hold = fake_drop,
                              .grace_over = fake_grace_over, .delegations = true};
    struct state *s;

    ncalls = 0;
    refs = 0;
    assert_int_equal(state_new(&conf, &s), 0);
    state_set_callbacks(s, &ops, NULL);
    return s;
}

struct cl {
    uint64_t id;
    uint8_t session[SESSION_ID_SIZE];
};
static uint64_t next_conn;

static struct cl client_with_back(struct state *s, const char *name, bool back, unsigned slots)
{
    struct session_conn conn = {.id = ++next_conn, .ref = back ? &refs : NULL, .put = put_conn,
                                .back = back};
    struct client_exchange x;
    struct session_create a;
    struct cl c;
    bool made;

    assert_int_equal(exchange(s, ROOT, name, verf1, false, &x), NFS4_OK);
    a = session_args(x.clientid, x.sequence);
    a.flags = back ? 2 : 0;
    a.minor = 2;
    a.back.max_slots = slots;
    if (!back)
        conn.put = NULL;
    refs += back;
    assert_int_equal(session_create(s, ROOT, &a, &conn, &made), NFS4_OK);
    assert_true(made);
    assert_int_equal(client_reclaim_complete(s, x.clientid, true), NFS4_OK);
    c.id = x.clientid;
    memcpy(c.session, a.id, SESSION_ID_SIZE);
    return c;
}

static uint32_t flags(struct state *s, const struct cl *c, uint32_t seq)
{
    struct session_sequence a = {.sequence = seq, .nops = 1, .request_bytes = 100, .conn_id = next_conn};
    struct session_slot *slot;
    struct session *se;
    bool bind;

    memcpy(a.id, c->session, SESSION_ID_SIZE);
    assert_int_equal(session_sequence(s, &a, &se, &slot, &bind), NFS4_OK);
    session_done(se, slot, NULL, 0);
    return a.out_flags;
}

static struct open_request request(const struct cl *c, uint64_t ino, uint32_t access)
{
    return (struct open_request){.minor = 1, .clientid = c->id, .owner = "o", .owner_len = 1, .uid = 1000,
                                 .file = {1, ino}, .access = access, .fh = "fh", .fh_len = 2,
                                 .want_read = true, .want_write = true, .change = 50};
}

static nfsstat4 try_open(struct state *s, const struct cl *c, uint64_t ino, uint32_t access)
{
    struct open_request r = request(c, ino, access);

    return open_grant(s, &r, true);
}

/* Opens and gets a delegation. */
static stateid4 get_deleg(struct state *s, const struct cl *c, uint64_t ino, uint32_t access)
{
    struct open_request r = request(c, ino, access);

    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(r.deleg, access & 2 ? DELEG_WRITE : DELEG_READ);
    return r.deleg_stateid;
}

static nfsstat4 give_back(struct state *s, const struct cl *c, uint64_t ino, const stateid4 *sid)
{
    struct file_key k = {1, ino};

    return deleg_return(s, 1, c->id, &k, sid);
}

static void end(struct state *s)
{
    while (ncalls)
        answer(s, -EPIPE, 0, 0);
    state_free(s);
    assert_int_equal(refs, 0);
    assert_int_equal(ncalls, 0);
}

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
        cmocka_unit_test(test_none),      cmocka_unit_test(test_recall), cmocka_unit_test(test_recall_volume),
        cmocka_unit_test(test_kinds_of_conflict), cmocka_unit_test(test_io),
        cmocka_unit_test(test_claims),    cmocka_unit_test(test_revoked),
        cmocka_unit_test(test_slow_and_silent), cmocka_unit_test(test_ways),
        cmocka_unit_test(test_40),        cmocka_unit_test(test_getattr),
        cmocka_unit_test(test_lock_turns),
    };

    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
