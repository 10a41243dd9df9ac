/* SPDX-License-Identifier: Apache-2.0
 * Tests of statedb: garbage, two servers, names, failures, what a restart finds.
 */
#include "server/store/statedb.h"

#include <sqlite3.h>

#include "common/fault.h"
#include "tests/unit/storetest.h"

static int setup(void **state)
{
    *state = st_tmpdir();
    return 0;
}

static int teardown(void **state)
{
    fault_disarm();
    st_rmtree(*state);
    return 0;
}

static struct statedb *db_open(const char *dir)
{
    struct statedb *db = NULL;

    assert_int_equal(statedb_open(st_path(dir, "store"), &db), 0);
    return db;
}

static void raw(const char *dir, const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(st_path(dir, "store/state.db"), &db), 0);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), 0);
    sqlite3_close(db);
}

static int count_user(void *arg, const struct user_row *u)
{
    ++*(int *)arg;
    return 0;
}

static int count_volume(void *arg, const struct volume_row *r)
{
    ++*(int *)arg;
    return 0;
}

static int count_client(void *arg, const struct client_row *c)
{
    ++*(int *)arg;
    return c->minor == 1 && c->owner_len == 3 && memcmp(c->owner, "a\0b", 3) == 0 &&
                   strcmp(c->principal, "p") == 0
               ? 0
               : -1;
}

static int count_any(void *arg, const struct client_row *c)
{
    ++*(int *)arg;
    return 0;
}

static void garbage(void **state)
{
    struct statedb *db;
    int n = 0, fd;
    char junk[5000];

    assert_int_equal(statedb_open_readonly(st_path(*state, "none"), &db), -ENOENT);
    assert_int_equal(statedb_open(st_path(*state, "none/deeper"), &db), -ENOENT);
    statedb_close(db_open(*state));
    raw(*state, "INSERT INTO user VALUES(1, '../x', 0)");
    db = db_open(*state);
    assert_int_equal(statedb_list_users(db, count_user, &n), -EUCLEAN);
    statedb_close(db);
    raw(*state, "DELETE FROM user; INSERT INTO volume VALUES(1, -1, 'x', 0)");
    db = db_open(*state);
    assert_int_equal(statedb_list_volumes(db, count_volume, &n), -EUCLEAN);
    statedb_close(db);
    raw(*state, "UPDATE server SET handle_key = x'00'");
    assert_int_equal(statedb_open(st_path(*state, "store"), &db), -EUCLEAN);
    raw(*state, "PRAGMA user_version = 3");
    assert_int_equal(statedb_open(st_path(*state, "store"), &db), -ENOTSUP);
    fd = open(st_path(*state, "store/state.db"), O_WRONLY | O_TRUNC);
    st_fill(junk, sizeof(junk), 1);
    assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
    close(fd);
    assert_int_equal(statedb_open(st_path(*state, "store"), &db), -EUCLEAN);
    assert_int_equal(n, 0);
}

static void names(void **state)
{
    char buf[200];
    static const char *const bad[] = {"", ".", "..", "-a", ".a", "a/b", "a b", "\xc3\xa9", "a\n"};

    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_equal(statedb_check_user_name(bad[i], strlen(bad[i])), -EINVAL);
        assert_int_equal(statedb_check_volume_name(bad[i], strlen(bad[i])), -EINVAL);
    }
    memset(buf, 'a', sizeof(buf));
    assert_int_equal(statedb_check_user_name(buf, 63), 0);
    assert_int_equal(statedb_check_user_name(buf, 64), -EINVAL);
    assert_int_equal(statedb_check_volume_name(buf, 127), 0);
    assert_int_equal(statedb_check_volume_name(buf, 128), -EINVAL);
    assert_int_equal(statedb_check_user_name("A.b_c-9", 7), 0);
    assert_int_equal(statedb_check_user_name("a\0b", 3), -EINVAL);
}

/* --- grants --- */

struct grants {
    struct grant_row g[16];
    unsigned n;
};

static int keep_grant(void *arg, const struct grant_row *g)
{
    struct grants *all = arg;

    assert_true(all->n < 16);
    all->g[all->n++] = *g;
    return 0;
}

static void list_grants(struct statedb *db, struct grants *all)
{
    memset(all, 0, sizeof(*all));
    assert_int_equal(statedb_list_grants(db, keep_grant, all), 0);
}

static void assert_defaults(const struct grants *all)
{
    static const uint8_t loop4[16] = {[10] = 0xff, 0xff, 127}, loop6[16] = {[15] = 1};

    assert_int_equal(all->n, 2);
    for (int i = 0; i < 2; i++) {
        const struct grant_row *g = &all->g[i];

        assert_int_equal(g->subject, GRANT_NETWORK);
        assert_int_equal(g->object, GRANT_SERVER);
        assert_int_equal(g->rights, GRANT_MAY_WRITE | GRANT_MAY_CREATE);
        assert_int_equal(g->squash, GRANT_SQUASH_NONE);
        assert_true(g->expires == 0 && g->created > 1000000000 && !g->has_anon);
    }
    assert_memory_equal(all->g[0].net, loop4, 16);
    assert_memory_equal(all->g[1].net, loop6, 16);
    assert_int_equal(all->g[0].prefix, 96 + 8);
    assert_int_equal(all->g[1].prefix, 128);
}

static void grants_kept(void **state)
{
    struct statedb *db = db_open(*state);
    struct grant_row g = {.subject = GRANT_NETWORK, .net = {[10] = 0xff, 0xff, 10}, .prefix = 104,
                          .object = GRANT_SUBPATH, .user = 1, .volume = 1, .path = "runs/42", .rights = GRANT_MAY_WRITE,
                          .squash = GRANT_SQUASH_ALL, .has_anon = true, .anon_uid = UINT32_MAX, .anon_gid = 7,
                          .expires = 99, .label = "l"};
    struct grant_row t = {.subject = GRANT_TOKEN, .salt = {1, 2}, .hash = {3, [31] = 4}, .object = GRANT_SNAPSHOT,
                          .user = 1, .volume = 2, .snapshot = INT64_MAX, .expires = 5};
    struct grants all;
    uint64_t id;

    list_grants(db, &all);
    assert_defaults(&all);
    assert_int_equal(statedb_add_grant(db, &g), 0);
    assert_int_equal(statedb_add_grant(db, &t), 0);
    assert_true(g.id == 3 && t.id == 4);
    statedb_close(db);

    db = db_open(*state);
    list_grants(db, &all);
    assert_int_equal(all.n, 4);
    assert_memory_equal(&all.g[2], &g, sizeof(g));
    assert_memory_equal(&all.g[3], &t, sizeof(t));
    /* the same place: replaced under its id; two tokens are two */
    id = g.id;
    g.rights = 0;
    assert_int_equal(statedb_add_grant(db, &g), 0);
    assert_true(g.id == id);
    assert_int_equal(statedb_add_grant(db, &t), 0);
    list_grants(db, &all);
    assert_int_equal(all.n, 5);
    assert_int_equal(all.g[2].rights, 0);
    /* an id is not used again */
    id = t.id;
    assert_int_equal(statedb_del_grant(db, id), 0);
    assert_int_equal(statedb_del_grant(db, id), -ENOENT);
    assert_int_equal(statedb_add_grant(db, &t), 0);
    assert_true(t.id > id);
    /* nobody there, and expired */
    assert_true(statedb_clean_grants(db, 1) >= 0);
    list_grants(db, &all);
    assert_defaults(&all);
    statedb_close(db);
}

static void grants_bad(void **state)
{
    static const char *const bad[] = {
        "INSERT INTO access VALUES(9,1,x'00',8,NULL,NULL,NULL,0,NULL,NULL,NULL,'',0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,3,zeroblob(16),8,NULL,NULL,'p',0,NULL,NULL,NULL,'',0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),129,NULL,NULL,NULL,0,NULL,NULL,NULL,'',0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),8,NULL,NULL,NULL,5,1,1,1,'',0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),8,NULL,NULL,NULL,4,1,1,NULL,'',0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),8,NULL,NULL,NULL,2,1,1,NULL,'a',0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),8,NULL,NULL,NULL,0,NULL,NULL,NULL,'',4,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),8,NULL,NULL,NULL,0,NULL,NULL,NULL,'',0,3,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,2,NULL,NULL,zeroblob(16),zeroblob(31),NULL,0,NULL,NULL,NULL,'',0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),8,NULL,NULL,NULL,4,1,1,NULL,printf('%.2000c','x'),0,0,NULL,NULL,0,0,'')",
        "INSERT INTO access VALUES(9,1,zeroblob(16),8,NULL,NULL,NULL,0,NULL,NULL,NULL,'',0,0,NULL,NULL,-1,0,'')",
    };
    struct statedb *db;
    struct grants all;

    statedb_close(db_open(*state));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        raw(*state, bad[i]);
        db = db_open(*state);
        memset(&all, 0, sizeof(all));
        assert_int_equal(statedb_list_grants(db, keep_grant, &all), -EUCLEAN);
        statedb_close(db);
        raw(*state, "DELETE FROM access WHERE id = 9");
    }
}

/* A store of format 1 keeps what it has and gets what a new one gets, also if the upgrade is cut short. */
static void grants_upgrade(void **state)
{
    struct statedb *db;
    struct user_row u;
    struct grants all;

    db = db_open(*state);
    assert_int_equal(statedb_add_user(db, "alice", &u), 0);
    statedb_close(db);
    raw(*state, "DROP TABLE access; ALTER TABLE server DROP COLUMN next_grant; PRAGMA user_version = 1");
    db = db_open(*state);
    list_grants(db, &all);
    assert_defaults(&all);
    assert_int_equal(statedb_add_user(db, "alice", &u), -EEXIST);
    statedb_close(db);
    db = db_open(*state); /* once */
    list_grants(db, &all);
    assert_int_equal(all.n, 2);
    statedb_close(db);
}

static void one_server(void **state)
{
    struct statedb *db = db_open(*state), *other;
    struct stat st;

    assert_int_equal(statedb_open(st_path(*state, "store"), &other), -EBUSY);
    assert_int_equal(stat(st_path(*state, "store"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(st_path(*state, "store/state.db"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(statedb_open_readonly(st_path(*state, "store"), &other), 0);
    statedb_close(other);
    statedb_close(db);
    assert_int_equal(statedb_open_readonly(st_path(*state, "store"), &other), 0);
    statedb_close(other);
}

static void life(void **state)
{
    struct statedb *db = db_open(*state);
    struct user_row u, u2;
    struct volume_row r = {.name = "v"};
    struct client_row c = {.minor = 1, .owner = "a\0b", .owner_len = 3, .principal = "q"};
    uint8_t key[16], zero[16] = {0};
    uint64_t id2;
    int n = 0;

    assert_int_equal(statedb_epoch(db), 1);
    memcpy(key, statedb_handle_key(db), 16);
    assert_memory_not_equal(key, zero, 16);
    assert_int_equal(statedb_add_user(db, "al/ice", &u), -EINVAL);
    assert_int_equal(statedb_add_user(db, "alice", &u), 0);
    assert_true(u.id >= 1 && u.created > 0);
    assert_int_equal(statedb_add_user(db, "alice", &u2), -EEXIST);
    r.user = u.id;
    assert_int_equal(statedb_next_volume_id(db, &r.id), 0);
    assert_int_equal(statedb_add_volume(db, &r), 0);
    assert_int_equal(statedb_next_volume_id(db, &id2), 0);
    assert_true(r.id >= 1 && id2 > r.id);
    r.id = id2;
    assert_int_equal(statedb_add_volume(db, &r), -EEXIST);
    strcpy(r.name, "w");
    assert_int_equal(statedb_add_volume(db, &r), 0);
    assert_int_equal(statedb_rename_volume(db, r.id, "v"), -EEXIST);
    assert_int_equal(statedb_rename_volume(db, r.id, "../v"), -EINVAL);
    assert_int_equal(statedb_rename_volume(db, 999, "z"), -ENOENT);
    assert_int_equal(statedb_rename_volume(db, r.id, "z"), 0);
    r.user = 99;
    r.id = 77;
    assert_int_equal(statedb_add_volume(db, &r), -ENOENT);
    assert_int_equal(statedb_del_user(db, u.id), -ENOENT); /* it has volumes */
    assert_int_equal(statedb_put_client(db, &c), 0);
    strcpy(c.principal, "p");
    assert_int_equal(statedb_put_client(db, &c), 0);
    fault_arm("statedb.write", 1, FAULT_FAIL);
    assert_int_equal(statedb_del_volume(db, id2), -EIO);
    fault_disarm();
    statedb_close(db);

    db = db_open(*state);
    assert_int_equal(statedb_epoch(db), 2);
    assert_memory_equal(statedb_handle_key(db), key, 16);
    assert_int_equal(statedb_list_users(db, count_user, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(statedb_list_volumes(db, count_volume, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(statedb_list_clients(db, count_client, &n), 0);
    assert_int_equal(n, 4);
    assert_int_equal(statedb_del_client(db, 0, "a\0b", 3), 0); /* another one */
    assert_int_equal(statedb_del_client(db, 1, "a\0b", 3), 0);
    assert_int_equal(statedb_list_clients(db, count_client, &n), 0);
    assert_int_equal(n, 4);
    /* many at once: all or none */
    struct client_row many[3] = {c, c, c};

    many[1].owner = "";
    many[1].owner_len = 0;
    many[2].minor = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(statedb_put_client(db, &many[i]), 0);
    fault_arm("statedb.write", 1, FAULT_FAIL);
    assert_int_equal(statedb_del_clients(db, many, 2), -EIO);
    fault_disarm();
    n = 0;
    assert_int_equal(statedb_list_clients(db, count_any, &n), 0);
    assert_int_equal(n, 3);
    assert_int_equal(statedb_del_clients(db, many, 2), 0);
    n = 0;
    assert_int_equal(statedb_list_clients(db, count_any, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(statedb_del_clients(db, many, 3), 0); /* two are not there */
    n = 0;
    assert_int_equal(statedb_list_clients(db, count_any, &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(statedb_del_volume(db, id2), 0);
    assert_int_equal(statedb_del_volume(db, id2), -ENOENT);
    /* ids are never used again */
    assert_int_equal(statedb_next_volume_id(db, &r.id), 0);
    assert_true(r.id > id2);
    statedb_close(db);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(garbage), T(names), T(grants_kept), T(grants_bad), T(grants_upgrade), T(one_server), T(life)};

    return cmocka_run_group_tests_name("statedb", tests, NULL, NULL);
}
