/* SPDX-License-Identifier: Apache-2.0
 * state_back: clients with a back channel. Callbacks land in a table here, and are answered by hand. One per test program.
 */
#ifndef VOLNFS_TESTS_STATE_BACK_H
#define VOLNFS_TESTS_STATE_BACK_H

#include <sys/socket.h>

#include "server/state/callback.h"
#include "server/state/deleg.h"
#include "tests/unit/state_fake.h"

#define CALLS_MAX 256
static struct callback *calls[CALLS_MAX];
static unsigned ncalls;
static int refs; /* of connections */

static inline void send_cb(void *ctx, struct callback *cb)
{
    unsigned n = ncalls;

    assert_true(n < CALLS_MAX);
    calls[n] = cb;
    __atomic_store_n(&ncalls, n + 1, __ATOMIC_RELEASE); /* test_recall_volume waits for it */
}
static const struct callback_ops ops = {.send = send_cb};

static inline void put_conn(void *ref)
{
    refs--;
}

/* Answers the oldest call. */
static inline void answer(struct state *s, int err, nfsstat4 seq, nfsstat4 status)
{
    struct callback_result r = {.err = err, .seq_status = seq, .status = status};
    struct callback *cb = calls[0];

    assert_true(ncalls > 0);
    memmove(calls, calls + 1, --ncalls * sizeof calls[0]);
    callback_done(s, cb, &r);
}

static inline void answer_attrs(struct state *s, uint64_t change, uint64_t size)
{
    struct callback_result r = {.has_attrs = true, .change = change, .size = size};
    struct callback *cb = calls[0];

    assert_int_equal(cb->kind, CALLBACK_GETATTR);
    memmove(calls, calls + 1, --ncalls * sizeof calls[0]);
    callback_done(s, cb, &r);
}

static inline struct state *boot_deleg(void)
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

static inline struct cl client_with_back(struct state *s, const char *name, bool back, unsigned slots)
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

static inline uint32_t flags(struct state *s, const struct cl *c, uint32_t seq)
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

static inline struct open_request request(const struct cl *c, uint64_t ino, uint32_t access)
{
    return (struct open_request){.minor = 1, .clientid = c->id, .owner = "o", .owner_len = 1, .uid = 1000,
                                 .file = {1, ino}, .access = access, .fh = "fh", .fh_len = 2,
                                 .want_read = true, .want_write = true, .change = 50};
}

static inline nfsstat4 try_open(struct state *s, const struct cl *c, uint64_t ino, uint32_t access)
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

static inline nfsstat4 give_back(struct state *s, const struct cl *c, uint64_t ino, const stateid4 *sid)
{
    struct file_key k = {1, ino};

    return deleg_return(s, 1, c->id, &k, sid);
}

static inline void end(struct state *s)
{
    while (ncalls)
        answer(s, -EPIPE, 0, 0);
    state_free(s);
    assert_int_equal(refs, 0);
    assert_int_equal(ncalls, 0);
}

#endif
