/* SPDX-License-Identifier: Apache-2.0
 * A restart with the real statedb: what was recorded may reclaim, what was not or is gone may not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "server/state/client.h"
#include "server/state/grace.h"
#include "server/state/openstate.h"
#include "server/state/session.h"

static struct statedb *db;
static char dir[] = "/tmp/volnfs-state-XXXXXX";

static struct state *boot(void)
{
    struct state_conf conf = {.lease_seconds = 90};
    struct state *s;

    assert_int_equal(statedb_open(dir, &db), 0);
    conf.db = db;
    conf.epoch = statedb_epoch(db);
    assert_int_equal(state_new(&conf, &s), 0);
    return s;
}
static void down(struct state *s)
{
    state_free(s);
    statedb_close(db);
}

static uint64_t client(struct state *s, const char *owner)
{
    static const uint8_t verf[8] = "one";
    struct client_exchange x = {.verifier = verf, .owner = owner, .owner_len = strlen(owner)};
    struct session_create a = {.fore = {4096, 4096, 4096, 8, 8}};
    struct session_conn conn = {.id = 1};
    bool made;

    assert_int_equal(client_exchange(s, "sys:0", &x, true), NFS4_OK);
    a.clientid = x.clientid;
    a.sequence = x.sequence;
    assert_int_equal(session_create(s, "sys:0", &a, &conn, &made), NFS4_OK);
    return x.clientid;
}
static nfsstat4 try_open(struct state *s, uint64_t id, bool reclaim, stateid4 *sid)
{
    struct open_request r = {.minor = 1, .clientid = id, .owner = "o", .owner_len = 1, .file = {1, 5},
                             .access = 1, .reclaim = reclaim};
    nfsstat4 status = open_grant(s, &r, true);

    *sid = r.stateid;
    return status;
}

static void test_restart(void **unused)
{
    struct state *s = boot();
    struct file_key f = {1, 5};
    struct state_io io;
    stateid4 sid, old;
    uint64_t a, b;

    assert_false(state_in_grace(s));
    a = client(s, "a"); /* recorded */
    client(s, "never recorded");
    assert_int_equal(client_reclaim_complete(s, a, true), NFS4_OK);
    assert_int_equal(try_open(s, a, false, &old), NFS4_OK);
    down(s);

    s = boot();
    assert_true(state_in_grace(s));
    /* what the last boot gave out is known to be of the last boot */
    assert_int_equal(state_check_io(s, 0, 0, &f, &old, STATE_READ, &io), NFS4ERR_STALE_STATEID);
    assert_int_equal(grace_check(s, 1, a, true), NFS4ERR_STALE_CLIENTID);
    b = client(s, "never recorded");
    assert_int_equal(try_open(s, b, true, &sid), NFS4ERR_RECLAIM_BAD);
    a = client(s, "a");
    assert_int_equal(try_open(s, a, true, &sid), NFS4_OK);
    down(s); /* in the middle of it */

    s = boot();
    assert_true(state_in_grace(s));
    a = client(s, "a");
    assert_int_equal(try_open(s, a, true, &sid), NFS4_OK);
    assert_int_equal(client_reclaim_complete(s, a, true), NFS4_OK);
    assert_false(state_in_grace(s));
    state_tick(s);
    down(s);

    s = boot(); /* nobody comes back: its chance ends with grace */
    clock_test_advance(100 * 1000);
    state_tick(s);
    assert_false(state_in_grace(s));
    down(s);
    s = boot();
    assert_false(state_in_grace(s));
    a = client(s, "a");
    assert_int_equal(try_open(s, a, true, &sid), NFS4ERR_NO_GRACE);
    down(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_restart)};
    char cmd[64];
    int rc;

    if (!mkdtemp(dir))
        return 1;
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd) ? 1 : rc;
}
