/* SPDX-License-Identifier: Apache-2.0
 * Tests of grants: bad words and rows, the rules against a model, ends, start options, restarts.
 */
#include "tests/unit/granttest.h"

static uint64_t add(struct env *e, const char *net, enum grant_object object, uint64_t user, uint64_t volume,
                    uint64_t snap, unsigned rights)
{
    struct grant_row row = network(net);

    row.object = object;
    row.user = user;
    row.volume = volume;
    row.snapshot = snap;
    row.rights = rights;
    if (object == GRANT_SUBPATH)
        strcpy(row.path, "a/b");
    assert_int_equal(grants_add(e->g, &row), 0);
    return row.id;
}

static int count_one(void *arg, const struct grant_row *row, const char *object)
{
    ++*(unsigned *)arg;
    return 0;
}

static unsigned count(struct env *e)
{
    unsigned n = 0;

    assert_int_equal(grants_list(e->g, count_one, &n), 0);
    return n;
}

/* --- words --- */

static void bad_words(void **state)
{
    static const char *const nets[] = {"", "/", "10", "10.0.0", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.1.0.0/8",
                                       "::/129", "fe80::1/64", "10.0.0.0/8/8", "10.0.0.0/ 8", "host", " 10.0.0.0",
                                       "10.0.0.0/99999999999", "00000000000000000000000000000000000000000000000000"};
    static const char *const objects[] = {"", "//", "/alice", "alice/", "alice//x", "alice/v@", "alice/v@s/x", "al@ce",
                                          "alice/v/..", "alice/v/./x", "alice/v//x", "alice/v/x/", "../x", "alice/.v",
                                          "alice/v@a@b", "alice/v@.s"};
    static const char *const rules[] = {"", " ", "any", "any /x", "any / rx", "any alice/v create", "any / squash=some",
                                        "any / anon=1:2", "any / squash=all anon=1", "any / squash=all anon=1:4294967295",
                                        "any / squash=all anon=-1:1", "1.2.3.4/8 /"};
    struct grant_names names;
    struct grant_row row;
    char object[64], buf[256], *big = malloc(5000);

    for (size_t i = 0; i < sizeof(nets) / sizeof(*nets); i++)
        assert_non_null(grant_parse_network(nets[i], &row, buf, sizeof(buf)));
    for (size_t i = 0; i < sizeof(objects) / sizeof(*objects); i++)
        assert_int_equal(grant_parse_object(objects[i], &names), -EINVAL);
    for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++)
        assert_non_null(grant_parse_rule(rules[i], &row, object, sizeof(object), buf, sizeof(buf)));
    memset(big, 'a', 4999);
    big[4999] = 0;
    assert_non_null(grant_parse_network(big, &row, buf, sizeof(buf)));
    assert_int_equal(grant_parse_object(big, &names), -EINVAL);
    assert_non_null(grant_parse_rule(big, &row, object, sizeof(object), buf, sizeof(buf)));
    memcpy(big, "alice/v/", 8);
    assert_int_equal(grant_parse_object(big, &names), -EINVAL);
    free(big);
}

static void good_words(void **state)
{
    static const char *const nets[] = {"any", "10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"};
    struct grant_names names;
    struct grant_row row;
    char object[64], buf[256];

    for (size_t i = 0; i < sizeof(nets) / sizeof(*nets); i++) {
        row = network(nets[i]);
        grant_print_network(&row, buf, sizeof(buf));
        assert_string_equal(buf, nets[i]);
    }
    assert_int_equal(grant_parse_object("alice/v/a/b", &names), 0);
    assert_int_equal(names.object, GRANT_SUBPATH);
    assert_string_equal(names.path, "a/b");
    assert_int_equal(grant_parse_object("alice/v@s", &names), 0);
    assert_true(names.object == GRANT_SNAPSHOT && !strcmp(names.volume, "v") && !strcmp(names.snapshot, "s"));
    assert_null(grant_parse_rule(" 10.0.0.0/8  alice create squash=all anon=5:6 ", &row, object, sizeof(object), buf,
                                 sizeof(buf)));
    assert_string_equal(object, "alice");
    assert_true(row.rights == (GRANT_MAY_WRITE | GRANT_MAY_CREATE) && row.squash == GRANT_SQUASH_ALL);
    assert_true(row.has_anon && row.anon_uid == 5 && row.anon_gid == 6);
}

static void bad_rows(void **state)
{
    struct env *e = *state;
    struct grant_row ok = network("10.0.0.0/8"), r;

    ok.object = GRANT_VOLUME;
    ok.user = ok.volume = 1;
#define REFUSED(change)                                                                                                \
    do {                                                                                                               \
        r = ok;                                                                                                        \
        change;                                                                                                        \
        assert_int_equal(grants_add(e->g, &r), -EINVAL);                                                               \
    } while (0)
    REFUSED(r.subject = 3);
    REFUSED(r.prefix = 129);
    REFUSED(r.net[15] = 1);
    REFUSED(r.rights = GRANT_MAY_WRITE | GRANT_MAY_CREATE);
    REFUSED(strcpy(r.path, "x"));
    REFUSED(r.object = GRANT_SUBPATH);
    REFUSED(r.object = GRANT_SUBPATH; strcpy(r.path, "a/../b"));
    REFUSED(r.object = GRANT_SUBPATH; strcpy(r.path, "/a"));
    REFUSED(r.object = GRANT_USER; r.rights = GRANT_MAY_CREATE);
    REFUSED(r.object = GRANT_SNAPSHOT; r.rights = GRANT_MAY_WRITE);
    REFUSED(r.has_anon = true);
    assert_int_equal(count(e), 2);
    assert_int_equal(grants_del(e->g, 77), -ENOENT);
    /* a table that somebody wrote such a row into */
    r = ok;
    r.rights = GRANT_MAY_CREATE | GRANT_MAY_WRITE;
    assert_int_equal(statedb_add_grant(e->db, &r), 0);
    struct grants *g = NULL;
    /* the volume does not exist, so the row is cleaned away */
    assert_int_equal(grants_new(e->db, &g), 0);
    grants_free(g);
    r.object = GRANT_SERVER;
    r.rights = GRANT_MAY_CREATE;
    assert_int_equal(statedb_add_grant(e->db, &r), 0);
    assert_int_equal(grants_new(e->db, &g), -EUCLEAN);
}

/* --- rules against a model --- */

static void defaults(void **state)
{
    struct env *e = *state;
    static const char *const local[] = {"127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1"};
    static const char *const far[] = {"10.0.0.1", "126.255.255.255", "128.0.0.0", "::2", "::", "fe80::1", "::127.0.0.1"};

    for (size_t i = 0; i < sizeof(local) / sizeof(*local); i++) {
        struct grant_view *v = view_of(e, local[i]);
        assert_int_equal(grant_eval(v, 0, 7, 8, 0, NULL), GRANT_WRITE);
        assert_int_equal(grant_eval(v, 0, 7, 8, 9, NULL), GRANT_READ);
        assert_true(grant_may_create(v, 0, 0) && grant_may_create(v, 0, 7));
        grant_view_unref(v);
    }
    for (size_t i = 0; i < sizeof(far) / sizeof(*far); i++) {
        struct grant_view *v = view_of(e, far[i]);
        assert_int_equal(grant_eval(v, 0, 0, 0, 0, NULL), GRANT_WRITE); /* the root is there, and empty */
        assert_int_equal(grant_eval(v, 0, 7, 0, 0, NULL), GRANT_NOTHING);
        assert_int_equal(grant_eval(v, 0, 7, 8, 0, NULL), GRANT_NOTHING);
        assert_int_equal(grant_eval(v, 0, 7, 8, 9, NULL), GRANT_NOTHING);
        assert_true(!grant_may_create(v, 0, 0) && !grant_may_create(v, 0, 7));
        grant_view_unref(v);
    }
    assert_true(grants_only_local(e->g));
    /* a handle that names a grant of the server's own networks is nobody's */
    assert_int_equal(eval(e, "127.0.0.1", 1, 7, 8, 0), GRANT_NOTHING);
}

/* What the rules in grant.h say, slowly. Volume n belongs to user (n + 1) / 2. */
static enum grant_level model(const struct grant_row *rows, unsigned n, const uint8_t address[16], uint64_t user,
                              uint64_t volume, uint64_t snap)
{
    const struct grant_row *best = NULL;
    bool below = false;
    int close = -1;

    for (unsigned i = 0; i < n; i++) {
        const struct grant_row *r = &rows[i];
        bool fits = true;
        int c = r->object;

        for (unsigned bit = 0; bit < r->prefix; bit++)
            if ((r->net[bit / 8] ^ address[bit / 8]) & (0x80 >> bit % 8))
                fits = false;
        if (!fits)
            continue;
        if (r->object != GRANT_SERVER && user && r->user == user && !volume)
            below = true;
        if (r->object == GRANT_SUBPATH) {
            if (volume && !snap && r->volume == volume)
                below = true;
            continue;
        }
        if ((r->object >= GRANT_USER && r->user != user) || (r->object >= GRANT_VOLUME && r->volume != volume) ||
            (r->object == GRANT_SNAPSHOT && r->snapshot != snap))
            continue;
        if (c > close || (c == close && r->prefix > best->prefix)) {
            best = r;
            close = c;
        }
    }
    if (!volume)
        return !user || best || below ? GRANT_WRITE : GRANT_NOTHING;
    if (!best)
        return below ? GRANT_WAY : GRANT_NOTHING;
    return best->rights & GRANT_MAY_WRITE && !snap ? GRANT_WRITE : GRANT_READ;
}

static int drop_row(void *arg, const struct grant_row *row, const char *object)
{
    *(uint64_t *)arg = row->id;
    return 1;
}

static void against_model(void **state)
{
    static const char *const nets[] = {"any", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "0.0.0.0/0", "fd00::/8", "fd00::1"};
    static const char *const peers[] = {"10.1.2.3", "10.1.2.4", "10.9.0.1", "192.0.2.1", "fd00::1", "fd12::1", "2001:db8::1"};
    struct env *e = *state;
    unsigned long seen[4] = {0};
    struct grant_row rows[12];
    uint64_t id;

    srand(17);
    for (int round = 0; round < 200; round++) {
        unsigned n = (unsigned)rand() % 12;

        while (count(e)) {
            grants_list(e->g, drop_row, &id);
            assert_int_equal(grants_del(e->g, id), 0);
        }
        for (unsigned i = 0; i < n; i++) {
            struct grant_row r = network(nets[rand() % 7]);
            bool again = false;

            r.object = (enum grant_object)(rand() % 5);
            r.volume = r.object >= GRANT_VOLUME ? (uint64_t)rand() % 4 + 1 : 0;
            r.user = r.volume ? (r.volume + 1) / 2 : r.object ? (uint64_t)rand() % 2 + 1 : 0;
            r.snapshot = r.object == GRANT_SNAPSHOT ? (uint64_t)rand() % 2 + 1 : 0;
            r.rights = r.object == GRANT_SNAPSHOT ? 0 : (unsigned)rand() % 2;
            if (r.object == GRANT_SUBPATH)
                strcpy(r.path, "a");
            assert_int_equal(grants_add(e->g, &r), 0);
            for (unsigned j = 0; j < i; j++) {
                if (rows[j].id == r.id) { /* replaced */
                    rows[j] = r;
                    again = true;
                }
            }
            if (again)
                i--, n--;
            else
                rows[i] = r;
        }
        assert_int_equal(count(e), n);
        for (size_t p = 0; p < sizeof(peers) / sizeof(*peers); p++) {
            struct sockaddr_storage ss = peer(peers[p]);
            struct grant_view *v = view_of(e, peers[p]);
            uint8_t address[16];

            grant_address(&ss, address);
            for (uint64_t user = 0; user < 4; user++) {
                assert_int_equal(grant_eval(v, 0, user, 0, 0, NULL), model(rows, n, address, user, 0, 0));
                for (uint64_t volume = user * 2 - 1; user && volume <= user * 2; volume++) {
                    for (uint64_t snap = 0; snap < 4; snap++) {
                        enum grant_level want = model(rows, n, address, user, volume, snap);

                        assert_int_equal(grant_eval(v, 0, user, volume, snap, NULL), want);
                        seen[want]++;
                    }
                }
            }
            grant_view_unref(v);
        }
    }
    for (int i = 0; i < 4; i++)
        assert_true(seen[i] > 50);
}

static void handles_of_folders(void **state)
{
    struct env *e = *state;
    uint64_t id = add(e, "10.0.0.0/8", GRANT_SUBPATH, 1, 1, 0, 0);
    struct grant_view *v;

    assert_int_equal(eval(e, "10.0.0.1", 0, 1, 1, 0), GRANT_WAY);
    assert_int_equal(eval(e, "10.0.0.1", id, 1, 1, 0), GRANT_READ);
    assert_int_equal(eval(e, "10.0.0.1", id, 1, 2, 0), GRANT_NOTHING); /* another volume */
    assert_int_equal(eval(e, "10.0.0.1", id, 1, 1, 5), GRANT_NOTHING); /* a snapshot */
    assert_int_equal(eval(e, "10.0.0.1", id, 1, 0, 0), GRANT_NOTHING); /* above */
    assert_int_equal(eval(e, "10.0.0.1", id, 0, 0, 0), GRANT_NOTHING);
    assert_int_equal(eval(e, "11.0.0.1", id, 1, 1, 0), GRANT_NOTHING); /* somebody else's handle */
    assert_int_equal(eval(e, "127.0.0.1", id, 1, 1, 0), GRANT_NOTHING);
    v = view_of(e, "10.0.0.1");
    assert_non_null(grant_folder(v, 1, 0));
    assert_string_equal(grant_folder(v, 1, 0)->path, "a/b");
    assert_null(grant_folder(v, 1, 1));
    assert_null(grant_folder(v, 2, 0));
    assert_null(grant_folder(v, 0, 0));
    /* a view goes on with what it was made from, and the next one does not */
    assert_int_equal(grants_del(e->g, id), 0);
    assert_int_equal(grant_eval(v, id, 1, 1, 0, NULL), GRANT_READ);
    struct sockaddr_storage ss = peer("10.0.0.1");
    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    assert_int_equal(grant_eval(v, id, 1, 1, 0, NULL), GRANT_NOTHING);
    assert_null(grant_folder(v, 1, 0));
    grant_view_unref(v);
}

static void ends(void **state)
{
    struct env *e = *state;
    struct grant_row r = network("10.0.0.0/8");
    struct sockaddr_storage ss = peer("10.0.0.1");
    struct grant_view *v = NULL;

    add(e, "10.0.0.0/8", GRANT_SERVER, 0, 0, 0, 0);
    r.object = GRANT_VOLUME;
    r.user = r.volume = 1;
    r.rights = GRANT_MAY_WRITE;
    r.expires = clock_wall().tv_sec + 100;
    assert_int_equal(grants_add(e->g, &r), 0);
    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    struct grant_view *first = v;
    assert_int_equal(grant_eval(v, 0, 1, 1, 0, NULL), GRANT_WRITE);
    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    assert_ptr_equal(v, first); /* nothing changed */
    clock_test_advance(101 * 1000);
    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    assert_int_equal(grant_eval(v, 0, 1, 1, 0, NULL), GRANT_READ); /* the wider one is left */
    assert_int_equal(grant_eval(v, r.id, 1, 1, 0, NULL), GRANT_NOTHING);
    grant_view_unref(v);
    clock_test_advance(-101 * 1000);
}

static unsigned told;

static void count_told(void *arg, uint64_t volume)
{
    told += volume == 1;
}

/* A clock that goes wrong for a while, and is set back. */
static void clock_set_back(void **state)
{
    struct env *e = *state;
    struct grant_row r = network("10.0.0.0/8");
    struct sockaddr_storage ss = peer("10.0.0.1");
    struct grant_view *v = NULL;

    r.object = GRANT_VOLUME;
    r.user = r.volume = 1;
    r.expires = clock_wall().tv_sec + 100;
    grants_tell(e->g, count_told, NULL);
    assert_int_equal(grants_add(e->g, &r), 0);
    told = 0;
    clock_test_advance(1000 * 1000);
    grants_tick(e->g);
    assert_int_equal(told, 1);
    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    assert_int_equal(grant_eval(v, 0, 1, 1, 0, NULL), GRANT_NOTHING);
    clock_test_advance(-1000 * 1000);
    grants_tick(e->g);
    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    assert_int_equal(grant_eval(v, 0, 1, 1, 0, NULL), GRANT_READ);
    grants_tick(e->g);
    assert_int_equal(told, 1);
    clock_test_advance(101 * 1000);
    grants_tick(e->g);
    assert_int_equal(told, 2); /* whoever has something open hears of it in time */
    assert_int_equal(grant_view_renew(e->g, &ss, &v), 0);
    assert_int_equal(grant_eval(v, 0, 1, 1, 0, NULL), GRANT_NOTHING);
    grant_view_unref(v);
    clock_test_advance(-101 * 1000);
    grants_tell(e->g, NULL, NULL);
}

static void gone_objects(void **state)
{
    struct env *e = *state;
    struct grant_row t = {.object = GRANT_SUBPATH, .user = 1, .volume = 1, .path = "x"};
    char secret[GRANT_SECRET_SIZE];

    add(e, "any", GRANT_VOLUME, 1, 1, 0, 0);
    add(e, "any", GRANT_SUBPATH, 1, 1, 0, 0);
    add(e, "any", GRANT_SNAPSHOT, 1, 1, 5, 0);
    assert_int_equal(grants_add_token(e->g, &t, secret), 0);
    add(e, "any", GRANT_VOLUME, 1, 2, 0, 0);
    add(e, "any", GRANT_USER, 1, 0, 0, 0);
    assert_false(grants_only_local(e->g));
    assert_int_equal(count(e), 8);
    grants_object_gone(e->g, 0, 1);
    assert_int_equal(count(e), 4);
    grants_object_gone(e->g, 1, 0);
    assert_int_equal(count(e), 3);
    grants_object_gone(e->g, 0, 2);
    assert_true(grants_only_local(e->g));
}

/* --- start options --- */

static int resolve_some(void *arg, const char *object, struct grant_row *row)
{
    struct grant_names names;

    assert_int_equal(grant_parse_object(object, &names), 0);
    if (!strcmp(object, "bob") && !*(bool *)arg)
        return -ENOENT;
    row->object = names.object;
    row->user = names.object ? 1 : 0;
    row->volume = names.object >= GRANT_VOLUME ? 1 : 0;
    strcpy(row->path, names.path);
    return 0;
}

static void fixed(void **state)
{
    struct env *e = *state;
    struct grant_row r = network("10.0.0.0/8");
    bool bob = false;
    uint64_t id;

    r.rights = GRANT_MAY_WRITE | GRANT_MAY_CREATE;
    assert_int_equal(grants_add_fixed(e->g, &r, "bob"), 0);
    r.rights = GRANT_MAY_WRITE;
    assert_int_equal(grants_add_fixed(e->g, &r, "alice/v/a/b"), 0);
    assert_int_equal(eval(e, "10.0.0.1", 0, 1, 0, 0), GRANT_NOTHING);
    assert_int_equal(grants_resolve(e->g, resolve_some, &bob), 0);
    assert_int_equal(eval(e, "10.0.0.1", 0, 1, 1, 0), GRANT_WAY);
    struct grant_view *v = view_of(e, "10.0.0.1");
    id = grant_folder(v, 1, 0)->id;
    assert_int_equal(grant_eval(v, id, 1, 1, 0, NULL), GRANT_WRITE);
    grant_view_unref(v);
    bob = true; /* he came */
    assert_int_equal(grants_resolve(e->g, resolve_some, &bob), 0);
    assert_int_equal(eval(e, "10.0.0.1", 0, 1, 2, 0), GRANT_WRITE);
    bob = false; /* and went */
    assert_int_equal(grants_resolve(e->g, resolve_some, &bob), 0);
    assert_int_equal(eval(e, "10.0.0.1", 0, 1, 2, 0), GRANT_NOTHING);
    assert_int_equal(grants_del(e->g, id), -EPERM);
    assert_int_equal(count(e), 4);
    /* only in memory, and under the same id the next time: handles carry it */
    env_close(e);
    env_open(e);
    assert_int_equal(count(e), 2);
    assert_int_equal(grants_add_fixed(e->g, &r, "alice/v/a/b"), 0);
    assert_int_equal(grants_resolve(e->g, resolve_some, &bob), 0);
    assert_int_equal(eval(e, "10.0.0.1", id, 1, 1, 0), GRANT_WRITE);
}

/* A change that fails on the disk changes nothing in memory. */
static void disk_trouble(void **state)
{
    struct env *e = *state;
    struct grant_row r = network("10.0.0.0/8");
    uint64_t id = add(e, "11.0.0.0/8", GRANT_SERVER, 0, 0, 0, 0);

    fault_arm("statedb.write", 1, FAULT_FAIL);
    assert_true(grants_add(e->g, &r) < 0);
    fault_arm("statedb.write", 2, FAULT_FAIL);
    assert_true(grants_add(e->g, &r) < 0);
    fault_disarm();
    assert_int_equal(eval(e, "10.0.0.1", 0, 1, 1, 0), GRANT_NOTHING);
    assert_int_equal(count(e), 3);
    fault_arm("statedb.write", 1, FAULT_FAIL);
    assert_true(grants_del(e->g, id) < 0);
    fault_disarm();
    assert_int_equal(eval(e, "11.0.0.1", 0, 1, 1, 0), GRANT_READ);
    env_close(e);
    env_open(e);
    assert_int_equal(count(e), 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_words), cmocka_unit_test(good_words), T(bad_rows), T(defaults), T(against_model),
        T(handles_of_folders), T(ends), T(clock_set_back), T(gone_objects), T(fixed), T(disk_trouble),
    };

    return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
