/* SPDX-License-Identifier: Apache-2.0
 * vfstest: what the tests of server/vfs share: a tree over a store of its own, and calls as root.
 */
#ifndef VOLNFS_TESTS_VFSTEST_H
#define VOLNFS_TESTS_VFSTEST_H

#include "server/vfs/vfs.h"
#include "tests/unit/storetest.h"

static const struct vcred root = {.uid = 0, .gid = 0};

/* A test's state. dir is removed in the end; vt_stop and vt_start between them are a restart. */
struct env {
    char *dir;
    struct statedb *db;
    struct engine *engine;
    struct vfs *v;
    struct store_call call;
    struct vobj user, vol; /* for a test that keeps a user and a volume open; vt_stop releases them */
};

static inline void vt_start(struct env *e)
{
    struct engine_conf conf = {.cache_size = 16 << 20, .workers = 1};
    assert_int_equal(statedb_open(e->dir, &e->db), 0);
    conf.epoch = statedb_epoch(e->db);
    assert_int_equal(engine_new(&conf, &e->engine), 0);
    assert_int_equal(vfs_new(e->dir, e->db, e->engine, &e->v), 0);
    store_call_init(&e->call, true);
}

static inline void vt_stop(struct env *e)
{
    vobj_release(&e->vol);
    vobj_release(&e->user);
    store_call_release(&e->call);
    assert_int_equal(vfs_free(e->v), 0);
    engine_free(e->engine);
    statedb_close(e->db);
}

static inline int vt_setup(void **state)
{
    struct env *e = calloc(1, sizeof(*e));
    e->dir = st_tmpdir();
    vt_start(e);
    *state = e;
    return 0;
}

static inline int vt_teardown(void **state)
{
    struct env *e = *state;
    vt_stop(e);
    st_rmtree(e->dir);
    free(e);
    return 0;
}

/* attr may be NULL. */
static inline int lookup(struct env *e, const struct vobj *dir, const char *name, struct vobj *out,
                         struct vfs_attr *attr)
{
    return vfs_lookup(e->v, &e->call, dir, &root, name, strlen(name), out, attr);
}

/* Opens alice and alice/v, which are there. */
static inline void vt_find_volume(struct env *e, struct vobj *user, struct vobj *vol)
{
    struct vobj top = {0};
    vfs_root(e->v, &top);
    assert_int_equal(lookup(e, &top, "alice", user, NULL), 0);
    assert_int_equal(lookup(e, user, "v", vol, NULL), 0);
}

#endif
