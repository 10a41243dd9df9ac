/* SPDX-License-Identifier: Apache-2.0
 * The operator's walk: volumes are made, cloned, dumped, restored, rolled back and destroyed, snapshots made, renamed and
 * destroyed, packs compacted, scrubbed and compressed again, by two operators at once in random order, while writers write; the
 * server is killed in the middle, or stopped, and afterwards all is there that was acknowledged, and nothing else.
 *
 * OPERATOR_WALK_SECONDS says for how long (make operatorwalk: 300), OPERATOR_WALK_SEED begins as another walk did; threads take their
 * turns as they like.
 */
#include "tests/unit/operator_walk.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/store/snap.h"
#include "tests/unit/storetest.h"
#include "tests/unit/walk_store.h"

struct shared *shared;
struct walk_server server;

/* --- looking afterwards --- */

static bool same(const uint64_t a[FILES], const uint64_t b[FILES])
{
    return !memcmp(a, b, FILES * sizeof(*a));
}

struct names {
    unsigned name[2 * SNAPS];
    unsigned n;
};

static int note_name(void *arg, uint64_t volume, const struct snap_info *s)
{
    struct names *n = arg;

    CHECK(n->n < 2 * SNAPS && sscanf(s->name, "s%u", &n->name[n->n]) == 1, "snapshot %s", s->name);
    n->n++;
    return 0;
}

/* What an operator had begun with the volume, or NULL. */
static struct op *pending(unsigned i)
{
    for (unsigned k = 0; k < OPERATORS; k++)
        if (shared->ops[k].verb && shared->ops[k].verb < GC && shared->ops[k].vol == i)
            return &shared->ops[k];
    return NULL;
}

static void check_snaps(unsigned i, struct vol *v, struct op *op)
{
    struct names seen = {.n = 0};
    uint64_t version[FILES];
    char name[32];

    CHECK(vfs_snap_list(server.v, vol_name(i, name), note_name, &seen) == 0, "%s", name);
    for (unsigned s = 0; s < SNAPS; s++) {
        struct snapshot *sn = &v->snaps[s];
        bool mine = op && op->snap == s, there = versions_of(snap_name(i, sn->name, name), version);
        if (op && op->verb == SNAP && mine) {
            sn->there = versions_of(snap_name(i, op->name, name), version);
            if (sn->there)
                learn_snap(op, v);
            continue;
        }
        if (!sn->there)
            continue;
        if (mine && op->verb == SNAP_RENAME && !there) {
            sn->name = op->name;
            there = versions_of(snap_name(i, sn->name, name), version);
        }
        if (mine && op->verb == SNAP_DESTROY && !there) {
            sn->there = false;
            continue;
        }
        CHECK(there && same(version, sn->version), "%s is%s there, and not what it was", name, there ? "" : " not");
    }
    for (unsigned k = 0; k < seen.n; k++) {
        bool known = false;
        for (unsigned s = 0; s < SNAPS; s++)
            known = known || (v->snaps[s].there && v->snaps[s].name == seen.name[k]);
        CHECK(known, "%s is not known", snap_name(i, seen.name[k], name));
    }
}

static void check_head(unsigned i, struct vol *v, const uint64_t version[FILES], struct op *op)
{
    bool rolled = op && op->verb == ROLLBACK && same(version, v->snaps[op->snap].version);

    for (unsigned f = 0; f < FILES && !rolled; f++)
        CHECK(version[f] == v->acked[f] || version[f] == v->begun[f], "u/v%u: f%u is %llu, neither %llu nor %llu", i, f,
              (unsigned long long)version[f], (unsigned long long)v->acked[f], (unsigned long long)v->begun[f]);
    set_versions(v, version);
}

/* A volume that was being made: it is not there, is whole, or, of a restore, is empty or marked, and goes. */
static void check_new(unsigned i, struct vol *v, const uint64_t version[FILES], bool there, struct op *op)
{
    struct names seen = {.n = 0};
    struct store_call c;
    struct volume *vol;
    struct vattr a;
    char name[32];
    int r;

    forget(v);
    if (!there)
        return;
    if (op->verb != RESTORE) {
        CHECK(same(version, op->from.version), "%s is not what it should be", vol_name(i, name));
        born(op, v, false); /* of CREATE: with nothing */
        return;
    }
    CHECK(vfs_snap_list(server.v, vol_name(i, name), note_name, &seen) == 0, "%s", name);
    CHECK(vfs_volume_get(server.v, name, false, &vol) == 0, "%s", name);
    store_call_init(&c, true);
    r = volume_lookup(vol, &c, STORE_ROOT_INO, ".volnfs-restore-incomplete", 26, &a);
    CHECK(r == 0 || r == -ENOENT, "mark: %d", r);
    for (unsigned f = 0; f < FILES && r == -ENOENT && version[0] + version[1] + version[2] + version[3] + version[4]; f++)
        CHECK(version[f] == op->from.version[f], "%s is neither whole nor marked", name);
    CHECK(!seen.n || r == -ENOENT, "%s has a snapshot and a mark", name);
    store_call_release(&c);
    volume_unref(vol);
    CHECK(vfs_volume_destroy(server.v, name) == 0, "%s", name);
}

static void look(const char *dir)
{
    unsigned volumes = 0;

    CHECK(walk_server_begin(&server, dir) == 0, "%s", dir);
    for (unsigned i = 0; i < VOLS; i++) {
        struct vol *v = &shared->vols[i];
        struct op *op = pending(i);
        uint64_t version[FILES];
        char name[32];
        bool there = versions_of(vol_name(i, name), version);
        if (op && (op->verb == CREATE || op->verb == CLONE || op->verb == RESTORE))
            check_new(i, v, version, there, op);
        else if (op && op->verb == DESTROY && !there)
            forget(v);
        else
            CHECK(there == v->there, "%s is%s there", name, there ? "" : " not");
        if (v->there) {
            check_snaps(i, v, op && op->verb != CLONE && op->verb != CREATE ? op : NULL);
            check_head(i, v, version, op);
            volumes++;
        }
    }
    memset(shared->ops, 0, sizeof(shared->ops));
    CHECK(vfs_volume_count(server.v) == volumes, "%u volumes, not %u", vfs_volume_count(server.v), volumes);
    CHECK(walk_server_end(&server) == 0, "end");
    CHECK(walk_check_folders(server.store, true) == (int)volumes, "unsound folders, or others than those of volumes");
    _exit(0);
}

/* --- rounds --- */

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) != pid)
        assert_int_equal(errno, EINTR);
    return status;
}

static void walk(uint64_t seed, unsigned seconds)
{
    static const char *const names[VERBS] = {[CREATE] = "created", [DESTROY] = "destroyed", [SNAP] = "snapshots",
                                             [SNAP_RENAME] = "renamed", [SNAP_DESTROY] = "snapshots destroyed",
                                             [ROLLBACK] = "rolled back", [CLONE] = "cloned", [RESTORE] = "restored",
                                             [GC] = "compacted", [SCRUB] = "scrubbed", [PROPS] = "properties"};
    uint64_t end = clock_mono_ms() + seconds * 1000u, x = seed * 2 + 1;
    char *dir = st_tmpdir();
    unsigned rounds = 0, kills = 0;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    print_message("seed %llu, %u s\n", (unsigned long long)seed, seconds);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(shared != MAP_FAILED);
    shared->version = 1;
    do {
        bool kill_it = st_random(&x) % 5 != 0;
        pid_t pid;
        int status;
        fflush(stdout);
        shared->stop = shared->begun = 0;
        pid = fork();
        if (pid == 0) {
            setpgid(0, 0);
            serve(dir, st_random(&x) >> 40);
        }
        setpgid(pid, pid);
        if (kill_it && st_random(&x) % 5 == 0) { /* while it begins */
            usleep((useconds_t)(st_random(&x) % 30000));
        } else {
            for (int i = 0; i < 60000 && !shared->begun && waitpid(pid, &status, WNOHANG) == 0; i++)
                usleep(1000);
            assert_true(shared->begun);
            usleep((useconds_t)(st_random(&x) % (st_random(&x) % 4 ? 300000 : 1500000)));
        }
        if (kill_it)
            kill(pid, SIGKILL);
        shared->stop = !kill_it;
        status = wait_for(pid);
        if (kill_it ? status != SIGKILL : status)
            fail_msg("the server ended with %d; %s is left", status, dir);
        kills += kill_it;
        /* A child of its that has not come to its exec still holds its locks. */
        kill(-pid, SIGKILL);
        while (waitpid(-pid, NULL, 0) > 0)
            ;
        pid = fork();
        if (pid == 0)
            look(dir);
        status = wait_for(pid);
        if (status)
            fail_msg("after round %u, %s: %d; %s is left", rounds, kill_it ? "killed" : "stopped", status, dir);
        rounds++;
    } while (clock_mono_ms() < end);
    print_message("%u rounds, %u kills, %u writes", rounds, kills, (unsigned)shared->writes);
    for (unsigned i = 0; i < VERBS; i++)
        if (names[i])
            print_message(", %u %s", (unsigned)shared->did[i], names[i]);
    print_message("\n");
    assert_true(shared->writes > 0);
    munmap(shared, sizeof(*shared));
    st_rmtree(dir);
}

static void random_walk(void **state)
{
    const char *seed = getenv("OPERATOR_WALK_SEED"), *seconds = getenv("OPERATOR_WALK_SECONDS");

    walk(seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL), seconds ? (unsigned)atoi(seconds) : 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_walk),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("operator_walk", tests, NULL, NULL);
}
