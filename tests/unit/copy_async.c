/* SPDX-License-Identifier: Apache-2.0
 * copy: copies that go on by themselves: they can be asked about and stopped, and end with the grants they need.
 */
#include "tests/unit/copytest.h"

#include <unistd.h>

#include "server/nfs4/offload.h"

static void object(const char *name, struct vobj *out)
{
    static const struct vcred root = {0};
    struct vobj top = {0}, user = {0}, vol = {0};
    struct store_call call;

    store_call_init(&call, true);
    vfs_root(env.srv.vfs, &top);
    assert_int_equal(vfs_lookup(env.srv.vfs, &call, &top, &root, "alice", 5, &user, NULL), 0);
    assert_int_equal(vfs_lookup(env.srv.vfs, &call, &user, &root, "v", 1, &vol, NULL), 0);
    memset(out, 0, sizeof(*out));
    assert_int_equal(vfs_lookup(env.srv.vfs, &call, &vol, &root, name, strlen(name), out, NULL), 0);
    vobj_release(&top);
    vobj_release(&user);
    vobj_release(&vol);
    store_call_release(&call);
}

static nfsstat4 ask_status(const stateid4 *id, uint64_t *done, bool *complete, nfsstat4 *how)
{
    OFFLOAD_STATUS4args a = {.osa_stateid = *id};
    OFFLOAD_STATUS4resok ok = {0};
    struct call_buf b;
    struct reply r;
    uint32_t op = 0;
    nfsstat4 st = NFS4_OK;

    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_OFFLOAD_STATUS, ARGS(OFFLOAD_STATUS), &a);
    env_call(&env, &b, &r);
    assert_int_equal(r.numres, 6);
    assert_true(reply_next(&r, &op, &st));
    XDR_SETPOS(&r.x, (u_int)xdrin_pos(&r.x) + 36);
    while (op != OP_OFFLOAD_STATUS)
        assert_true(reply_next(&r, &op, &st));
    if (st == NFS4_OK) {
        assert_true(xdr_OFFLOAD_STATUS4resok(&r.x, &ok));
        assert_int_equal(xdrin_left(&r.x), 0);
        *done = ok.osr_count;
        *complete = ok.osr_complete.count != 0;
        *how = ok.osr_complete.nfsstat_opt4_u.status;
    }
    reply_release(&r);
    return st;
}

static void wait_for(const stateid4 *id, nfsstat4 want, uint64_t bytes)
{
    nfsstat4 how = NFS4_OK;
    bool complete = false;
    uint64_t done = 0;

    for (int i = 0; i < 12000 && !complete; i++) {
        assert_int_equal(ask_status(id, &done, &complete, &how), NFS4_OK);
        usleep(10000);
    }
    assert_true(complete);
    assert_int_equal(how, want);
    assert_int_equal(done, bytes);
}

static nfsstat4 cancel(const stateid4 *id)
{
    OFFLOAD_CANCEL4args a = {.oca_stateid = *id};
    struct call_buf b;
    struct reply r;
    nfsstat4 st;

    in_session(&cl, &b, 2, false);
    go_to_volume(&b);
    op_name(&b, OP_LOOKUP, "dst");
    call_op(&b, OP_OFFLOAD_CANCEL, ARGS(OFFLOAD_CANCEL), &a);
    env_call(&env, &b, &r);
    st = r.status;
    reply_release(&r);
    return st;
}

static void go_on_by_themselves(void **state)
{
    struct vcred cred = {.uid = 1000, .gid = 1000};
    stateid4 id, more[OFFLOADS_CLIENT], none = {.seqid = 1, .other = "none"};
    struct vobj from, to;
    struct fh_parts fh = {.kind = VOBJ_FILE, .ino = 1};
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct offload_request r = {.client = cl.clientid, .minor = 2, .src = &from, .dst = &to, .fh = &fh, .cred = &cred,
                                .peer = &peer, .src_stateid = src, .dst_stateid = dst};
    nfsstat4 how;
    bool complete;
    uint64_t done;

    object("src", &from);
    object("dst", &to);
    assert_int_equal(ask_status(&none, &done, &complete, &how), NFS4ERR_BAD_STATEID); /* before there was any */
    assert_int_equal(cancel(&none), NFS4ERR_BAD_STATEID);
    r.soff = 7;
    r.doff = 100001;
    r.count = SIZE - 7;
    assert_true(offload_start(&env.srv, &r, &id));
    wait_for(&id, NFS4_OK, SIZE - 7);
    expect_dst(100001 + SIZE - 7, 100001, data + 7, SIZE - 7);
    expect_dst(100001 + SIZE - 7, 0, NULL, 100001);
    /* nobody else's */
    assert_int_equal(offload_status(&env.srv, cl.clientid + 1, &id, &done, &complete, &how), NFS4ERR_BAD_STATEID);
    assert_int_equal(offload_cancel(&env.srv, cl.clientid + 1, &id), NFS4ERR_BAD_STATEID);
    assert_int_equal(ask_status(&none, &done, &complete, &how), NFS4ERR_BAD_STATEID);
    assert_int_equal(cancel(&id), NFS4_OK);
    assert_int_equal(cancel(&id), NFS4ERR_BAD_STATEID);
    /* the source ends before: what there was */
    r.count = 2 << 20;
    assert_true(offload_start(&env.srv, &r, &id));
    wait_for(&id, NFS4_OK, SIZE - 7);
    /* without a right to write any more */
    r.dst_stateid = none;
    assert_true(offload_start(&env.srv, &r, &id));
    wait_for(&id, NFS4ERR_BAD_STATEID, 0);
    assert_int_equal(cancel(&id), NFS4_OK);
    /* bounded; what is under way may be cancelled, and whatever is left goes with the server */
    r.dst_stateid = dst;
    r.count = SIZE - 7;
    for (int i = 0; i < OFFLOADS_CLIENT - 1; i++)
        assert_true(offload_start(&env.srv, &r, &more[i]));
    assert_false(offload_start(&env.srv, &r, &id));
    r.client++;
    assert_true(offload_start(&env.srv, &r, &id));
    r.client--;
    for (int i = 0; i < 5; i++)
        assert_int_equal(cancel(&more[i * 3]), NFS4_OK);
    assert_true(offload_start(&env.srv, &r, &id));
    vobj_release(&from);
    vobj_release(&to);
}

/* Status of a copy of the whole source once it is over. */
static nfsstat4 copied_by_itself(const struct offload_request *r)
{
    nfsstat4 how = NFS4_OK;
    bool complete = false;
    stateid4 id;
    uint64_t done;

    assert_true(offload_start(&env.srv, r, &id));
    for (int i = 0; i < 12000 && !complete; i++) {
        assert_int_equal(offload_status(&env.srv, r->client, &id, &done, &complete, &how), NFS4_OK);
        usleep(10000);
    }
    assert_true(complete);
    assert_int_equal(done, how ? 0 : r->count);
    assert_int_equal(offload_cancel(&env.srv, r->client, &id), NFS4_OK);
    return how;
}

/* The compound that a copy came from is long answered: the copy itself has to see that a grant has gone. */
static void need_grants_to_go_on(void **state)
{
    struct vcred cred = {.uid = 1000, .gid = 1000};
    struct grant_row row = {.subject = GRANT_NETWORK, .object = GRANT_SERVER, .rights = GRANT_MAY_WRITE};
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct vobj from, to;
    struct fh_parts fh = {.kind = VOBJ_FILE, .ino = 1};
    struct offload_request r = {.client = cl.clientid, .minor = 2, .src = &from, .dst = &to, .fh = &fh, .cred = &cred,
                                .peer = &peer, .src_stateid = src, .dst_stateid = dst, .doff = 1, .count = SIZE};

    object("src", &from);
    object("dst", &to);
    assert_int_equal(grants_new(env.db, &env.srv.grants), 0);
    assert_int_equal(copied_by_itself(&r), NFS4ERR_ACCESS);
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    assert_int_equal(copied_by_itself(&r), NFS4_OK);
    row.rights = 0;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    assert_int_equal(copied_by_itself(&r), NFS4ERR_ROFS);
    assert_int_equal(grants_del(env.srv.grants, row.id), 0);
    assert_int_equal(copied_by_itself(&r), NFS4ERR_ACCESS);
    grants_free(env.srv.grants);
    env.srv.grants = NULL;
    vobj_release(&from);
    vobj_release(&to);
}

/* Starts a copy that would take for ever, waits until it is under way, lets `row` take the place of the grant there is (or
 * takes it away, if it is that), and tells how the copy ends. */
static nfsstat4 overtaken(const struct offload_request *r, struct grant_row *row)
{
    nfsstat4 how = NFS4_OK;
    bool complete = false;
    stateid4 id;
    uint64_t done = 0;

    assert_true(offload_start(&env.srv, r, &id));
    while (!done) {
        assert_int_equal(offload_status(&env.srv, r->client, &id, &done, &complete, &how), NFS4_OK);
        assert_false(complete);
        usleep(1000);
    }
    if (row->id)
        assert_int_equal(grants_del(env.srv.grants, row->id), 0);
    else
        assert_int_equal(grants_add(env.srv.grants, row), 0);
    for (int i = 0; i < 12000 && !complete; i++) {
        assert_int_equal(offload_status(&env.srv, r->client, &id, &done, &complete, &how), NFS4_OK);
        usleep(10000);
    }
    assert_true(complete);
    assert_in_range(done, 1, r->count - 1);
    assert_int_equal(offload_cancel(&env.srv, r->client, &id), NFS4_OK);
    return how;
}

/* Who asked may be another user by now, as the grants say: what goes on by itself goes on as nobody but who it began as. */
static void end_when_their_grants_change(void **state)
{
    struct vcred cred = {.uid = 1000, .gid = 1000};
    struct grant_row plain = {.subject = GRANT_NETWORK, .object = GRANT_SERVER, .rights = GRANT_MAY_WRITE}, row, mapped;
    struct grant_rule rule = {.squash = GRANT_SQUASH_ALL, .has_anon = true, .anon_uid = 1000, .anon_gid = 1000};
    struct sockaddr_storage peer = {.ss_family = AF_INET};
    struct vset size = {.mask = VSET_SIZE, .size = UINT64_C(1) << 45};
    struct vobj from, to;
    struct fh_parts fh = {.kind = VOBJ_FILE, .ino = 1};
    struct offload_request r = {.client = cl.clientid, .minor = 2, .src = &from, .dst = &to, .fh = &fh, .cred = &cred,
                                .peer = &peer, .src_stateid = src, .dst_stateid = dst, .count = size.size};
    struct store_call call;

    object("src", &from);
    object("dst", &to);
    store_call_init(&call, true);
    assert_int_equal(volume_setattr(from.vol, &call, from.ino, &size, NULL), 0);
    store_call_release(&call);
    assert_int_equal(grants_new(env.db, &env.srv.grants), 0);
    /* as who they are; then mapped, all or root; to nobody, or to somebody */
    for (int i = 0; i < 4; i++) {
        row = plain;
        assert_int_equal(grants_add(env.srv.grants, &row), 0);
        row = plain;
        row.squash = i < 2 ? GRANT_SQUASH_ALL : GRANT_SQUASH_ROOT;
        row.has_anon = i % 2;
        row.anon_uid = row.anon_gid = row.has_anon ? 1000 : 0;
        assert_int_equal(overtaken(&r, &row), NFS4ERR_ACCESS);
    }
    /* mapped from the beginning: the same grant again changes nothing, another user or none does */
    r.rule = &rule;
    mapped = plain;
    mapped.squash = rule.squash;
    mapped.has_anon = true;
    mapped.anon_uid = mapped.anon_gid = 1000;
    row = mapped;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    r.count = SIZE;
    assert_int_equal(copied_by_itself(&r), NFS4_OK);
    r.count = size.size;
    for (int i = 0; i < 3; i++) {
        row = mapped;
        assert_int_equal(grants_add(env.srv.grants, &row), 0);
        row = i < 2 ? mapped : plain;
        row.anon_uid = i == 0 ? 1001 : 1000;
        row.anon_gid = i == 1 ? 1001 : 1000;
        assert_int_equal(overtaken(&r, &row), NFS4ERR_ACCESS);
    }
    /* less than before, and nothing */
    row = mapped;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    row = mapped;
    row.rights = 0;
    assert_int_equal(overtaken(&r, &row), NFS4ERR_ROFS);
    row = mapped;
    assert_int_equal(grants_add(env.srv.grants, &row), 0);
    assert_int_equal(overtaken(&r, &row), NFS4ERR_ACCESS);
    grants_free(env.srv.grants);
    env.srv.grants = NULL;
    vobj_release(&from);
    vobj_release(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(go_on_by_themselves, copy_setup, copy_teardown),
        cmocka_unit_test_setup_teardown(need_grants_to_go_on, copy_setup, copy_teardown),
        cmocka_unit_test_setup_teardown(end_when_their_grants_change, copy_setup, copy_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
