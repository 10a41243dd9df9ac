/* SPDX-License-Identifier: Apache-2.0
 * Tests of opens, share reservations, 4.0 seqids, byte-range locks, stateids and courteous expiry.
 */
#include "tests/unit/state_fake.h"

static const struct file_key key7 = {1, 7};

static nfsstat4 io(struct state *s, uint32_t minor, uint64_t client, const stateid4 *sid,
                   enum state_access want)
{
    struct state_io out;

    return state_check_io(s, minor, client, &key7, sid, want, &out);
}

static void test_share_matrix(void **unused)
{
    struct state *s;
    stateid4 sid, sid2, out;
    uint64_t a, b;

    forget_rows();
    s = boot();
    a = client41(s, "a", verf1, true);
    b = client41(s, "b", verf1, true);
    for (uint32_t acc1 = 1; acc1 < 4; acc1++) {
        for (uint32_t deny1 = 0; deny1 < 4; deny1++) {
            for (uint32_t acc2 = 1; acc2 < 4; acc2++) {
                for (uint32_t deny2 = 0; deny2 < 4; deny2++) {
                    bool clash = (acc1 & deny2) || (deny1 & acc2);

                    assert_int_equal(open41(s, a, "o", 7, acc1, deny1, false, &sid), NFS4_OK);
                    assert_int_equal(open41(s, b, "o", 7, acc2, deny2, false, &sid2),
                                     clash ? NFS4ERR_SHARE_DENIED : NFS4_OK);
                    if (!clash)
                        assert_int_equal(open_close(s, 1, b, &key7, &sid2, &out), NFS4_OK);
                    assert_int_equal(open_close(s, 1, a, &key7, &sid, &out), NFS4_OK);
                }
            }
        }
    }
    struct state_counts n;
    state_count(s, &n);
    assert_int_equal(n.files + n.opens + n.owners, 0);
    /* an owner's own denials bind it, too */
    assert_int_equal(open41(s, a, "o", 7, 3, 1, false, &sid), NFS4_OK);
    assert_int_equal(open41(s, a, "o", 7, 1, 0, false, &sid), NFS4ERR_SHARE_DENIED);
    assert_int_equal(open41(s, a, "o", 7, 2, 2, false, &sid), NFS4ERR_SHARE_DENIED);
    assert_int_equal(open41(s, a, "o", 7, 2, 0, false, &sid), NFS4_OK);
    state_free(s);
}

/* Who opened needs no permission for READ and WRITE; somebody else with the same stateid does. */
static void test_opener(void **unused)
{
    struct open_request r = {.minor = 1, .owner = "o", .owner_len = 1, .file = {1, 7}, .access = 3,
                             .uid = 1000};
    struct state_io out;
    struct state *s;

    forget_rows();
    s = boot();
    r.clientid = client41(s, "a", verf1, true);
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(state_check_io(s, 1, r.clientid, &key7, &r.stateid, STATE_WRITE, &out), NFS4_OK);
    assert_true(state_io_by_open(&out, 1000));
    assert_false(state_io_by_open(&out, 1001));
    assert_false(state_io_by_open(&out, 0));
    r.uid = 1001; /* the same owner for another user: nobody is let through unseen any more */
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_int_equal(state_check_io(s, 1, r.clientid, &key7, &r.stateid, STATE_READ, &out), NFS4_OK);
    assert_true(out.open);
    assert_false(state_io_by_open(&out, 1000) || state_io_by_open(&out, 1001));
    state_free(s);
}

static void test_upgrade_downgrade(void **unused)
{
    stateid4 sid, sid2, out;
    struct state *s;
    uint64_t a;

    forget_rows();
    s = boot();
    a = client41(s, "a", verf1, true);
    assert_int_equal(open41(s, a, "o", 7, SHARE_READ, 0, false, &sid), NFS4_OK);
    assert_int_equal(sid.seqid, 1);
    assert_int_equal(io(s, 1, a, &sid, STATE_WRITE), NFS4ERR_OPENMODE);
    assert_int_equal(open41(s, a, "o", 7, SHARE_WRITE, 0, false, &sid2), NFS4_OK);
    assert_int_equal(sid2.seqid, 2);
    assert_memory_equal(sid.other, sid2.other, 12);
    assert_int_equal(io(s, 1, a, &sid2, STATE_WRITE), NFS4_OK);
    assert_int_equal(io(s, 1, a, &sid, STATE_READ), NFS4ERR_OLD_STATEID);
    sid.seqid = 0; /* 4.1: the current one */
    assert_int_equal(io(s, 1, a, &sid, STATE_READ), NFS4_OK);
    sid.seqid = 3;
    assert_int_equal(io(s, 1, a, &sid, STATE_READ), NFS4ERR_BAD_STATEID);
    assert_int_equal(open_downgrade(s, 1, a, &key7, &sid2, SHARE_READ, 1, &out), NFS4ERR_INVAL);
    assert_int_equal(open_downgrade(s, 1, a, &key7, &sid2, SHARE_READ, 0, &out), NFS4_OK);
    assert_int_equal(io(s, 1, a, &out, STATE_WRITE), NFS4ERR_OPENMODE);
    /* what was given up cannot be had back by a downgrade */
    sid = out;
    assert_int_equal(open_downgrade(s, 1, a, &key7, &sid, 3, 0, &out), NFS4ERR_INVAL);
    assert_int_equal(open_close(s, 1, a, &(struct file_key){1, 8}, &sid, &out), NFS4ERR_BAD_STATEID);
    assert_int_equal(open_close(s, 1, a, &key7, &sid, &out), NFS4_OK);
    assert_int_equal(out.seqid, UINT32_MAX);
    assert_int_equal(fake_dropped, 1);
    assert_int_equal(io(s, 1, a, &sid, STATE_READ), NFS4ERR_BAD_STATEID);
    state_free(s);
}

static void test_undo(void **unused)
{
    struct open_request r = {.minor = 1, .owner = "o", .owner_len = 1, .file = {1, 7}, .access = 1,
                             .hold = (void *)1};
    struct state_counts n;
    struct state *s;
    stateid4 first;

    forget_rows();
    s = boot();
    r.clientid = client41(s, "a", verf1, true);
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_null(r.hold);
    first = r.stateid;
    r.access = 3;
    r.hold = (void *)2;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    assert_non_null(r.hold); /* the first one holds */
    open_undo(s, &r);
    first.seqid = 0;
    assert_int_equal(io(s, 1, r.clientid, &first, STATE_WRITE), NFS4ERR_OPENMODE);
    r.file.ino = 8;
    assert_int_equal(open_grant(s, &r, true), NFS4_OK);
    open_undo(s, &r);
    state_count(s, &n);
    assert_int_equal(n.opens, 1);
    assert_int_equal(n.files, 1);
    assert_int_equal(fake_dropped, 1);
    state_free(s);
}

static void test_special(void **unused)
{
    stateid4 zero = {0}, ones, sid;
    struct state *s;
    uint64_t a;

    memset(&ones, 0xff, sizeof ones);
    forget_rows();
    s = boot();
    a = client41(s, "a", verf1, true);
    assert_int_equal(io(s, 0, 0, &zero, STATE_WRITE), NFS4_OK);
    assert_int_equal(open41(s, a, "o", 7, SHARE_READ, 3, false, &sid), NFS4_OK);
    assert_int_equal(io(s, 0, 0, &zero, STATE_READ), NFS4ERR_LOCKED);
    assert_int_equal(io(s, 0, 0, &ones, STATE_READ), NFS4_OK);
    assert_int_equal(io(s, 0, 0, &ones, STATE_WRITE), NFS4ERR_LOCKED);
    clock_test_advance(91 * 1000);
    assert_int_equal(io(s, 0, 0, &zero, STATE_READ), NFS4_OK); /* nobody renews that denial */
    /* stateids of others, of nobody, of earlier boots */
    sid.other[11] ^= 1;
    assert_int_equal(io(s, 1, a, &sid, STATE_READ), NFS4ERR_BAD_STATEID);
    sid.other[11] ^= 1;
    assert_int_equal(io(s, 1, a + 1, &sid, STATE_READ), NFS4ERR_BAD_STATEID);
    assert_int_equal(io(s, 0, 0, &sid, STATE_READ), NFS4ERR_BAD_STATEID);
    sid.other[0]--;
    assert_int_equal(io(s, 0, 0, &sid, STATE_READ), NFS4ERR_STALE_STATEID);
    assert_int_equal(io(s, 1, a, &sid, STATE_READ), NFS4ERR_BAD_STATEID);
    memset(&sid, 0, sizeof sid);
    sid.seqid = UINT32_MAX;
    assert_int_equal(io(s, 1, a, &sid, STATE_READ), NFS4ERR_BAD_STATEID);
    state_free(s);
}

static void test_seqid40(void **unused)
{
    stateid4 sid, again, out = {0};
    struct owner_call oc;
    bool replay = false, confirm = false;
    struct state *s;
    uint64_t c;

    forget_rows();
    s = boot();
    c = client40(s, "c", verf1);
    assert_int_equal(open40(s, c + 5, "o", 10, 7, 1, 0, &sid, &replay, &confirm), NFS4ERR_STALE_CLIENTID);
    assert_int_equal(open40(s, c, "o", 10, 7, 1, 0, &sid, &replay, &confirm), NFS4_OK);
    assert_true(confirm && !replay);
    assert_int_equal(io(s, 0, 0, &sid, STATE_READ), NFS4ERR_BAD_STATEID); /* not confirmed */
    /* the unconfirmed owner starts afresh with any seqid */
    assert_int_equal(open40(s, c, "o", 77, 7, 1, 0, &sid, &replay, &confirm), NFS4_OK);
    assert_true(confirm && !replay);
    /* OPEN_CONFIRM: a wrong seqid, the right one, the right one again */
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_OPEN_CONFIRM, 79, true, &oc),
                     NFS4ERR_BAD_SEQID);
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_OPEN_CONFIRM, 78, true, &oc), NFS4_OK);
    /* meanwhile the owner is busy */
    struct owner_call other;
    assert_int_equal(owner_begin(s, c, "o", 1, OP_OPEN, 79, false, &other), STATE_BLOCK);
    assert_int_equal(open_confirm(s, &key7, &sid, &out), NFS4_OK);
    owner_end(s, &oc, NFS4_OK, &out, sizeof out);
    assert_int_equal(out.seqid, 2);
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_OPEN_CONFIRM, 78, true, &oc), NFS4_OK);
    assert_true(oc.replay && oc.status == NFS4_OK && oc.reply_len == sizeof out);
    assert_memory_equal(oc.reply, &out, sizeof out);
    owner_end(s, &oc, NFS4_OK, NULL, 0);
    /* a second OPEN, repeated, then repeated as something else */
    assert_int_equal(open40(s, c, "o", 79, 8, 3, 0, &sid, &replay, &confirm), NFS4_OK);
    assert_false(confirm);
    assert_int_equal(open40(s, c, "o", 79, 8, 3, 0, &again, &replay, &confirm), NFS4_OK);
    assert_true(replay);
    assert_memory_equal(&sid, &again, sizeof sid);
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_CLOSE, 79, true, &oc), NFS4ERR_BAD_SEQID);
    assert_int_equal(open40(s, c, "o", 81, 8, 3, 0, &again, &replay, &confirm), NFS4ERR_BAD_SEQID);
    /* CLOSE, and again with the stateid that is gone */
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_CLOSE, 80, true, &oc), NFS4_OK);
    assert_int_equal(open_close(s, 0, 0, &(struct file_key){1, 8}, &sid, &out), NFS4_OK);
    owner_end(s, &oc, NFS4_OK, &out, sizeof out);
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_CLOSE, 80, true, &oc), NFS4_OK);
    assert_true(oc.replay && oc.reply_len == sizeof out);
    owner_end(s, &oc, NFS4_OK, NULL, 0);
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_CLOSE, 81, true, &oc), NFS4_OK);
    assert_false(oc.replay);
    assert_int_equal(open_close(s, 0, 0, &(struct file_key){1, 8}, &sid, &out), NFS4ERR_BAD_STATEID);
    owner_end(s, &oc, NFS4ERR_BAD_STATEID, NULL, 0);
    /* BAD_STATEID does not count, EACCES does */
    assert_int_equal(owner_begin(s, c, "o", 1, OP_OPEN, 81, true, &oc), NFS4_OK);
    owner_end(s, &oc, NFS4ERR_ACCESS, &out, sizeof out);
    assert_int_equal(owner_begin(s, c, "o", 1, OP_OPEN, 81, true, &oc), NFS4_OK);
    assert_true(oc.replay && oc.status == NFS4ERR_ACCESS);
    owner_end(s, &oc, NFS4_OK, NULL, 0);
    /* a call that has to be repeated where waiting is allowed leaves no trace */
    assert_int_equal(owner_begin(s, c, "new", 3, OP_OPEN, 5, true, &oc), NFS4_OK);
    owner_end(s, &oc, STATE_BLOCK, NULL, 0);
    assert_int_equal(open40(s, c, "new", 5, 7, 1, 0, &again, &replay, &confirm), NFS4_OK);
    assert_false(replay);
    state_free(s);
}

static struct lock_request lock_args(uint64_t client, const stateid4 *sid, const char *owner, bool write,
                                     uint64_t off, uint64_t len)
{
    return (struct lock_request){.minor = 1, .client = client, .file = key7, .stateid = *sid,
                                 .new_owner = owner != NULL, .write = write, .owner = owner,
                                 .owner_len = owner ? strlen(owner) : 0, .offset = off, .length = len};
}

static void test_locks(void **unused)
{
    stateid4 oa, ob, la, out;
    struct lock_request r;
    struct state_counts n;
    struct state *s;
    uint64_t a, b;

    forget_rows();
    s = boot();
    a = client41(s, "a", verf1, true);
    b = client41(s, "b", verf1, true);
    assert_int_equal(open41(s, a, "o", 7, 3, 0, false, &oa), NFS4_OK);
    assert_int_equal(open41(s, b, "o", 7, 1, 0, false, &ob), NFS4_OK);
    r = lock_args(a, &oa, "l", true, 10, 0);
    assert_int_equal(lock_set(s, &r, true), NFS4ERR_INVAL);
    r = lock_args(a, &oa, "l", true, UINT64_MAX - 1, 5);
    assert_int_equal(lock_set(s, &r, true), NFS4ERR_INVAL);
    r = lock_args(b, &ob, "l", true, 10, 5);
    assert_int_equal(lock_set(s, &r, true), NFS4ERR_OPENMODE);
    r = lock_args(b, &oa, "l", true, 10, 5);
    assert_int_equal(lock_set(s, &r, true), NFS4ERR_BAD_STATEID);
    r = lock_args(a, &oa, "l", true, 10, UINT64_MAX);
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    la = r.stateid;
    assert_int_equal(la.seqid, 1);
    assert_int_equal(io(s, 1, a, &la, STATE_WRITE), NFS4_OK);
    assert_int_equal(stateid_free(s, a, &la), NFS4ERR_LOCKS_HELD);
    assert_int_equal(stateid_free(s, a, &oa), NFS4ERR_LOCKS_HELD);
    /* the other client: told who has what */
    r = lock_args(b, &ob, "m", false, 0, 11);
    assert_int_equal(lock_set(s, &r, true), NFS4ERR_DENIED);
    assert_true(r.denied.offset == 10 && r.denied.length == UINT64_MAX && r.denied.write);
    assert_true(r.denied.clientid == a && r.denied.owner_len == 1 && r.denied.owner[0] == 'l');
    r = lock_args(b, &ob, "m", false, 0, 10);
    assert_int_equal(lock_test(s, &r, true), NFS4_OK);
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    /* unlock a piece in the middle, downgrade another */
    r = lock_args(a, &la, NULL, true, 20, 10);
    assert_int_equal(lock_unset(s, &r), NFS4_OK);
    assert_int_equal(r.stateid.seqid, 2);
    r = lock_args(b, &ob, "m", false, 20, 10);
    assert_int_equal(lock_test(s, &r, true), NFS4_OK);
    r = lock_args(b, &ob, "m", false, 29, 2);
    assert_int_equal(lock_test(s, &r, true), NFS4ERR_DENIED);
    la.seqid = 0;
    r = lock_args(a, &la, NULL, false, 30, UINT64_MAX);
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    r = lock_args(b, &ob, "m", false, 29, 2);
    assert_int_equal(lock_test(s, &r, true), NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.locks, 3);
    /* CLOSE takes the locks along */
    assert_int_equal(open_close(s, 1, a, &key7, &oa, &out), NFS4_OK);
    state_count(s, &n);
    assert_int_equal(n.locks, 1);
    assert_int_equal(n.owners, 2);
    assert_int_equal(stateid_test(s, a, &la), NFS4ERR_BAD_STATEID);
    state_free(s);
}

static void test_lock40(void **unused)
{
    stateid4 sid, out = {0}, lsid;
    struct owner_call oc;
    struct lock_request r;
    bool replay, confirm;
    struct state *s;
    uint64_t c;

    forget_rows();
    s = boot();
    c = client40(s, "c", verf1);
    assert_int_equal(open40(s, c, "o", 1, 7, 3, 0, &sid, &replay, &confirm), NFS4_OK);
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_OPEN_CONFIRM, 2, true, &oc), NFS4_OK);
    assert_int_equal(open_confirm(s, &key7, &sid, &sid), NFS4_OK);
    owner_end(s, &oc, NFS4_OK, &sid, sizeof sid);
    /* LOCK by a new owner in the open owner's turn */
    assert_int_equal(owner_begin_stateid(s, &sid, OWNER_OPEN, OP_LOCK, 3, true, &oc), NFS4_OK);
    r = lock_args(0, &sid, "l", true, 0, 10);
    r.minor = 0;
    r.clientid = c;
    r.lock_seqid = 50;
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    owner_end(s, &oc, NFS4_OK, &r.stateid, sizeof r.stateid);
    lsid = r.stateid;
    /* the lock owner's own seqid goes on from there */
    assert_int_equal(owner_begin_stateid(s, &lsid, OWNER_LOCK, OP_LOCKU, 50, true, &oc), NFS4ERR_BAD_SEQID);
    assert_int_equal(owner_begin_stateid(s, &lsid, OWNER_LOCK, OP_LOCKU, 51, true, &oc), NFS4_OK);
    r = lock_args(0, &lsid, NULL, true, 0, 5);
    r.minor = 0;
    assert_int_equal(lock_unset(s, &r), NFS4_OK);
    owner_end(s, &oc, NFS4_OK, &r.stateid, sizeof r.stateid);
    assert_int_equal(owner_begin_stateid(s, &lsid, OWNER_LOCK, OP_LOCKU, 51, true, &oc), NFS4_OK);
    assert_true(oc.replay);
    owner_end(s, &oc, NFS4_OK, NULL, 0);
    assert_int_equal(io(s, 0, 0, &lsid, STATE_READ), NFS4ERR_OLD_STATEID);
    assert_int_equal(lock_release_owner(s, c, "l", 1), NFS4ERR_LOCKS_HELD);
    assert_int_equal(owner_begin_stateid(s, &lsid, OWNER_LOCK, OP_LOCKU, 52, true, &oc), NFS4_OK);
    r = lock_args(0, &r.stateid, NULL, true, 0, UINT64_MAX);
    r.minor = 0;
    assert_int_equal(lock_unset(s, &r), NFS4_OK);
    owner_end(s, &oc, NFS4_OK, &out, sizeof out);
    assert_int_equal(lock_release_owner(s, c, "l", 1), NFS4_OK);
    assert_int_equal(lock_release_owner(s, c, "nobody", 6), NFS4_OK);
    assert_int_equal(io(s, 0, 0, &r.stateid, STATE_READ), NFS4ERR_BAD_STATEID);
    state_free(s);
}

static void test_courtesy(void **unused)
{
    stateid4 oa, ob, out;
    struct lock_request r;
    bool replay, confirm;
    struct state *s;
    uint64_t a, b;

    forget_rows();
    s = boot();
    a = client40(s, "a", verf1);
    b = client41(s, "b", verf1, true);
    assert_int_equal(client_record(s, a, true), NFS4_OK);
    assert_int_equal(open40(s, a, "o", 1, 7, 3, 2, &oa, &replay, &confirm), NFS4_OK);
    assert_int_equal(open_confirm(s, &key7, &oa, &oa), NFS4_OK);
    assert_int_equal(open41(s, b, "o", 7, 2, 0, false, &ob), NFS4ERR_SHARE_DENIED);
    clock_test_advance(91 * 1000);
    assert_int_equal(client_renew40(s, a), NFS4_OK); /* nobody wanted it: it comes back as if nothing was */
    b = client41(s, "b", verf2, true);
    assert_int_equal(open41(s, b, "o", 7, 2, 0, false, &ob), NFS4ERR_SHARE_DENIED);
    clock_test_advance(91 * 1000);
    b = client41(s, "b", verf1, true);
    /* a conflict: first the record goes from the disk, then the state is given away */
    struct open_request q = {.minor = 1, .clientid = b, .owner = "o", .owner_len = 1, .file = key7,
                             .access = 2};
    assert_int_equal(open_grant(s, &q, false), STATE_BLOCK);
    fake_err = -EIO;
    assert_int_equal(open_grant(s, &q, true), NFS4ERR_DELAY);
    fake_err = 0;
    assert_non_null(fake_find(0, "a", 1));
    assert_int_equal(open_grant(s, &q, true), NFS4_OK);
    assert_null(fake_find(0, "a", 1));
    assert_int_equal(io(s, 0, 0, &oa, STATE_READ), NFS4ERR_EXPIRED);
    assert_int_equal(client_renew40(s, a), NFS4ERR_EXPIRED);
    /* the same with a lock */
    r = lock_args(b, &q.stateid, "l", true, 0, 1);
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    clock_test_advance(91 * 1000);
    a = client41(s, "a", verf1, true);
    assert_int_equal(open41(s, a, "o", 7, 3, 0, false, &ob), NFS4_OK);
    r = lock_args(a, &ob, "l", true, 0, 1);
    assert_int_equal(lock_set(s, &r, false), STATE_BLOCK);
    assert_int_equal(lock_set(s, &r, true), NFS4_OK);
    assert_int_equal(open_close(s, 1, b, &key7, &q.stateid, &out), NFS4ERR_BAD_STATEID);
    state_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_share_matrix),
        cmocka_unit_test(test_opener), cmocka_unit_test(test_upgrade_downgrade),
        cmocka_unit_test(test_undo), cmocka_unit_test(test_special),
        cmocka_unit_test(test_seqid40), cmocka_unit_test(test_locks),
        cmocka_unit_test(test_lock40), cmocka_unit_test(test_courtesy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
