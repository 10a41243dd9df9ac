/* SPDX-License-Identifier: Apache-2.0
 * walk_tree: the story of users and volumes: made, cloned, rolled back, renamed, destroyed; clients that are remembered.
 */
#include "server/vfs/vfs.h"
#include "tests/unit/storetest.h"
#include "tests/unit/walk_store.h"
#include "tests/unit/walk_volume.h"

struct tree {
    char store[128];
    struct statedb *db;
    struct engine *engine;
    struct vfs *v;
};

static const struct vcred root = {.uid = 0, .gid = 0};

static int begin(struct tree *t, const char *dir)
{
    struct engine_conf conf = {.cache_size = 16u << 20, .workers = 1};
    int r;

    snprintf(t->store, sizeof(t->store), "%.100s/store", dir);
    if ((r = statedb_open(t->store, &t->db)))
        return r;
    conf.epoch = statedb_epoch(t->db);
    assert_int_equal(engine_new(&conf, &t->engine), 0);
    if ((r = vfs_new(t->store, t->db, t->engine, &t->v))) {
        engine_free(t->engine);
        statedb_close(t->db);
    }
    return r;
}

static int end(struct tree *t)
{
    int r = vfs_free(t->v);

    engine_free(t->engine);
    statedb_close(t->db);
    return r;
}

/* The volume's root: 0 with an object, or -errno. */
static int find(struct tree *t, struct store_call *call, const char *user, const char *vol, struct vobj *out)
{
    int r;

    vfs_root(t->v, out);
    r = vfs_lookup(t->v, call, out, &root, user, strlen(user), out, NULL);
    if (!r && vol)
        r = vfs_lookup(t->v, call, out, &root, vol, strlen(vol), out, NULL);
    return r;
}

/* Writes text into file "f" of a volume, durably. */
static int put(struct tree *t, const char *user, const char *vol, const char *text)
{
    struct vfs_create a = {.name = "f", .len = 1, .type = IT_REG, .set = {.mask = VSET_MODE, .mode = 0644}};
    struct vobj dir = {0}, f = {0};
    struct store_call call;
    struct vfs_attr attr;
    bool made;
    int r;

    store_call_init(&call, true);
    r = find(t, &call, user, vol, &dir);
    if (!r)
        r = vfs_create(t->v, &call, &dir, &root, &a, &f, &attr, &made, NULL);
    if (!r)
        r = vfs_write(t->v, &call, &f, &root, true, 0, text, strlen(text), true, NULL, NULL);
    if (!r)
        r = volume_call_wait(&call);
    vobj_release(&f);
    vobj_release(&dir);
    store_call_release(&call);
    return r;
}

/* What "f" of a volume has: "-" when there is no volume, "" when there is no file. */
static const char *get(struct tree *t, const char *user, const char *vol, char buf[32])
{
    struct vobj o = {0};
    struct store_call call;
    struct volume_read rd;
    int r;

    store_call_init(&call, true);
    r = find(t, &call, user, vol, &o);
    strcpy(buf, "-");
    if (!r) {
        buf[0] = 0;
        r = vfs_lookup(t->v, &call, &o, &root, "f", 1, &o, NULL);
        if (!r && (r = vfs_read(t->v, &call, &o, &root, true, 0, 31, &rd)) == 0) {
            memcpy(buf, rd.len ? rd.iov[0].iov_base : "", rd.len);
            buf[rd.len] = 0;
            volume_read_release(&rd);
        }
    }
    assert_true(r == 0 || r == -ENOENT);
    vobj_release(&o);
    store_call_release(&call);
    return buf;
}

static int rename_volume(struct tree *t, const char *user, const char *from, const char *to)
{
    struct vobj u = {0};
    struct store_call call;
    struct dir_change a, b;
    bool gone;
    int r;

    store_call_init(&call, true);
    r = find(t, &call, user, NULL, &u);
    if (!r)
        r = vfs_rename(t->v, &call, &u, from, strlen(from), &u, to, strlen(to), &root, NULL, &gone, &a, &b);
    vobj_release(&u);
    store_call_release(&call);
    return r;
}

static int remove_user(struct tree *t, const char *user)
{
    struct vobj top = {0};
    struct store_call call;
    bool gone;
    int r;

    store_call_init(&call, true);
    vfs_root(t->v, &top);
    r = vfs_remove(t->v, &call, &top, &root, user, strlen(user), NULL, &gone, NULL);
    vobj_release(&top);
    store_call_release(&call);
    return r;
}

static int make(struct tree *t, const char *name)
{
    struct volume_props props;

    volume_props_default(&props);
    return vfs_volume_create(t->v, name, &props, 0, 0, 0755);
}

/* --- steps, and what is there after each: f of alice/v, alice/w, bob/c; whether a client is remembered --- */

static int s_make(struct tree *t) { return make(t, "alice/v"); }
static int s_one(struct tree *t) { return put(t, "alice", "v", "one"); }
static int s_snap(struct tree *t) { return vfs_snap_create(t->v, "alice/v@a"); }
static int s_two(struct tree *t) { return put(t, "alice", "v", "two"); }
static int s_clone(struct tree *t) { return vfs_snap_clone(t->v, "alice/v@a", "bob/c"); }
static int s_three(struct tree *t) { return put(t, "bob", "c", "three"); }
static int s_back(struct tree *t) { return vfs_snap_rollback(t->v, "alice/v@a", VFS_ROLLBACK_KEEP); }
static int s_client(struct tree *t)
{
    struct client_row c = {.minor = 1, .owner = "me", .owner_len = 2, .principal = "p"};

    return statedb_put_client(t->db, &c);
}
static int s_rename(struct tree *t) { return rename_volume(t, "alice", "v", "w"); }
static int s_forget(struct tree *t) { return statedb_del_client(t->db, 1, "me", 2); }
static int s_destroy(struct tree *t)
{
    int r = vfs_volume_destroy(t->v, "alice/w");

    /* what is destroyed goes in the background */
    for (unsigned i = 0; i < 6000 && r == 0 && walk_has_trash(t->store) && !fault_came(); i++)
        usleep(10000);
    return r;
}
static int s_user(struct tree *t) { return remove_user(t, "alice"); }

static const struct {
    int (*step)(struct tree *t);
    const char *v, *w, *c; /* after it */
    unsigned clients;
} steps[] = {
    {NULL, "-", "-", "-", 0},        {s_make, "", "-", "-", 0},         {s_one, "one", "-", "-", 0},
    {s_snap, "one", "-", "-", 0},    {s_two, "two", "-", "-", 0},       {s_clone, "two", "-", "one", 0},
    {s_three, "two", "-", "three", 0}, {s_back, "one", "-", "three", 0}, {s_client, "one", "-", "three", 1},
    {s_rename, "-", "one", "three", 1}, {s_forget, "-", "one", "three", 0}, {s_destroy, "-", "-", "three", 0},
    {s_user, "-", "-", "three", 0},
};
#define STEPS (sizeof(steps) / sizeof(*steps))

static void prepare(const struct fault_story *s, const char *dir)
{
    struct tree t;

    assert_int_equal(begin(&t, dir), 0);
    assert_int_equal(end(&t), 0);
}

static void play(const struct fault_story *s, const char *dir)
{
    struct tree t;
    int r = begin(&t, dir);

    if (r)
        return;
    for (size_t i = 1; i < STEPS && r == 0; i++) {
        r = steps[i].step(&t);
        if (r == 0)
            fault_step();
    }
    if (r == 0)
        fault_done();
    if (end(&t))
        assert_true(fault_came());
}

static int count_client(void *arg, const struct client_row *c)
{
    ++*(unsigned *)arg;
    return 0;
}

static bool same(struct tree *t, unsigned i)
{
    char buf[32];
    unsigned n = 0;

    assert_int_equal(statedb_list_clients(t->db, count_client, &n), 0);
    return !strcmp(get(t, "alice", "v", buf), steps[i].v) && !strcmp(get(t, "alice", "w", buf), steps[i].w) &&
           !strcmp(get(t, "bob", "c", buf), steps[i].c) && n == steps[i].clients;
}

static void verify(const struct fault_story *s, const char *dir, unsigned acked, bool done)
{
    struct tree t;
    unsigned volumes;

    assert_int_equal(begin(&t, dir), 0);
    if (!same(&t, acked) && (done || !same(&t, acked + 1))) {
        char v[32], w[32], c[32];
        print_message("# after %u steps there is v=%s w=%s c=%s\n", acked, get(&t, "alice", "v", v),
                      get(&t, "alice", "w", w), get(&t, "bob", "c", c));
        fail();
    }
    volumes = vfs_volume_count(t.v);
    assert_int_equal(make(&t, "carol/new"), 0);
    assert_int_equal(put(&t, "carol", "new", "x"), 0);
    for (unsigned i = 0; i < 6000 && walk_has_trash(t.store); i++)
        usleep(10000);
    assert_int_equal(end(&t), 0);
    assert_int_equal(walk_check_folders(t.store, false), volumes + 1);
}

const struct fault_story walk_tree = {.name = "tree", .prepare = prepare, .play = play, .verify = verify};
