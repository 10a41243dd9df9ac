/* SPDX-License-Identifier: Apache-2.0
 * walk_volume: stories of a volume. Each is a table of steps; what must be there after k of them is known by playing
 * k steps of the model.
 */
#include "tests/unit/walk_volume.h"

#include "server/store/repair.h"
#include "server/store/snap.h"
#include "tests/unit/walk_world.h"

/* --- worlds --- */

static void world_init(struct world *w, const struct script *s)
{
    memset(w, 0, sizeof(*w));
    w->m = malloc(sizeof(*w->m));
    model_init(w->m, 5, true);
    if (s->old)
        walk_old_model(w->m);
}

static void world_release(struct world *w)
{
    walk_drop(&w->m);
    walk_drop(&w->clone);
    for (unsigned i = 0; i < WALK_SNAPS; i++)
        walk_drop(&w->snap[i]);
}

/* The world after the setup and n steps; *next: the row that the step behind is of. */
static void world_at(struct world *w, const struct script *s, unsigned n, const struct row **next)
{
    static const struct row end_row = {RANDOM, 0};
    const struct row one = {RANDOM, 1};

    world_init(w, s);
    for (const struct row *r = s->setup; !walk_last(r); r++)
        for (unsigned i = 0; i < walk_steps(r); i++)
            walk_act(w, NULL, r->act == RANDOM ? &one : r);
    *next = &end_row;
    for (const struct row *r = s->rows; !walk_last(r); r++)
        for (unsigned i = 0; i < walk_steps(r); i++) {
            *next = r;
            if (!n--)
                return;
            walk_act(w, NULL, r->act == RANDOM ? &one : r);
        }
    *next = &end_row;
}

/* Are files, snapshots and the clone what the model says? */
static bool world_same(struct world *w, struct vt *t, bool quiet)
{
    bool same;

    w->m->quiet = quiet;
    same = model_compare(w->m, t) == 0;
    for (unsigned i = 0; i < WALK_SNAPS && !w->unsure; i++) {
        char name[16];
        struct snap_info s;
        struct vt v = *t;
        int r;
        walk_snap_name(w, i, name);
        r = snap_find(t->v, name, strlen(name), &s);
        if (!w->snap[i]) {
            same = same && r == -ENOENT;
            continue;
        }
        if (r || snap_open(t->v, s.id, true, &v.v)) {
            same = false;
            continue;
        }
        store_call_init(&v.c, true);
        w->snap[i]->quiet = quiet;
        same = model_compare(w->snap[i], &v) == 0 && same;
        store_call_release(&v.c);
        volume_unref(v.v);
    }
    return same;
}

/* A write of many pieces that was under way: what is there may be old or new, by page. The model gets what is there if so. */
static void mend_torn(struct world *before, struct world *after, struct vt *t, unsigned n)
{
    unsigned char *buf = malloc(MODEL_MAX + 1);
    struct mfile none = {.data = calloc(1, MODEL_MAX + 1)}, *old, *new;
    char name[16];
    struct vattr a;
    int f = before->m->names[0][n];

    snprintf(name, sizeof(name), "f%u", n);
    old = f < 0 ? &none : &before->m->files[f];
    new = &after->m->files[after->m->names[0][n]];
    if (vt_lookup(t, &t->c, STORE_ROOT_INO, name, &a) == 0 && a.size <= new->size && a.size >= old->size) {
        bool good = vt_read(t, &t->c, a.ino, 0, buf, MODEL_MAX + 1) == (long)a.size;
        for (size_t off = 0; off < a.size && good; off += STORE_PAGE) {
            size_t len = a.size - off < STORE_PAGE ? a.size - off : STORE_PAGE;
            good = !memcmp(buf + off, old->data + off, len) || !memcmp(buf + off, new->data + off, len);
        }
        if (good) {
            memcpy(new->data, buf, a.size);
            new->size = a.size;
        }
    }
    free(none.data);
    free(buf);
}

/* --- the three calls of a story --- */

static void prepare(const struct fault_story *story, const char *dir)
{
    const struct script *s = story->arg;
    struct vset root = {.mask = VSET_MODE | VSET_UID | VSET_GID, .mode = 0755, .uid = 5, .gid = 6};
    struct volume_props props;
    const struct row one = {RANDOM, 1};
    struct world w;
    struct vt t;

    walk_place(&t, dir, 0);
    volume_props_default(&props);
    props.dedup = true;
    assert_int_equal(volume_create(t.dir, &props, &root), 0);
    world_init(&w, s);
    if (s->old) {
        walk_old_make(&t, w.m);
        return;
    }
    assert_int_equal(walk_begin(&t), 0);
    model_make_dirs(w.m, &t);
    vt_sync(&t);
    for (const struct row *r = s->setup; !walk_last(r); r++)
        for (unsigned i = 0; i < walk_steps(r); i++)
            assert_int_equal(walk_act(&w, &t, r->act == RANDOM ? &one : r), 0);
}

static void play(const struct fault_story *story, const char *dir)
{
    const struct script *s = story->arg;
    const struct row one = {RANDOM, 1}, *next;
    struct world w;
    struct vt t;
    int r = 0;

    world_at(&w, s, 0, &next);
    w.m->may_fail = w.m->quiet = true;
    walk_place(&t, dir, 10);
    for (const struct row *row = s->rows; !walk_last(row) && r == 0; row++)
        for (unsigned i = 0; i < walk_steps(row) && r == 0; i++) {
            r = walk_act(&w, &t, row->act == RANDOM ? &one : row);
            if (r == 0)
                fault_step();
        }
    if (r == 0)
        fault_done();
    if (walk_end(&t))
        assert_true(fault_came());
}

static void finish_repair(struct vt *t, enum act what)
{
    struct repair_options opt = {.rebuild = what == REBUILD, .data = true};
    struct repair_report rep;
    int r = volume_repair(t->dir, &opt, NULL, NULL, &rep);

    if (r == -EEXIST && opt.rebuild) {
        opt.rebuild = false;
        r = volume_repair(t->dir, &opt, NULL, NULL, &rep);
    }
    assert_int_equal(r, 0);
    assert_int_equal(rep.left, 0);
}

static void check_clone(struct world *w, struct vt *t)
{
    struct vt c = *t;

    walk_clone_dir(t, c.dir, sizeof(c.dir));
    model_check_disk(&c);
    assert_int_equal(walk_begin(&c), 0);
    assert_int_equal(model_compare(w->clone, &c), 0);
    assert_int_equal(walk_end(&c), 0);
}

/* What was begun goes on: nothing is held for good, no file is left over, and it takes changes. */
static void go_on(struct world *w, struct vt *t)
{
    char path[160];
    struct snap_info s;

    find_inodes(w->m, t);
    assert_int_equal(walk_random(w, t), 0);
    for (s.id = 0; snap_list(t->v, 0, &s, 1) == 1;)
        assert_int_equal(snap_destroy(t->v, s.name), 0);
    for (int i = 0; i < 4000 && !walk_is_free(t); i++)
        usleep(5000);
    assert_true(walk_is_free(t));
    assert_int_equal(volume_gc(t->v), 0);
    assert_int_equal(model_compare(w->m, t), 0);
    assert_int_equal(walk_end(t), 0);
    model_check_disk(t);
    snprintf(path, sizeof(path), "%s/snapshots", t->dir);
    assert_true(rmdir(path) == 0 || errno == ENOENT);
}

static void verify(const struct fault_story *story, const char *dir, unsigned acked, bool done)
{
    const struct script *s = story->arg;
    const struct row *next, *unused;
    struct world before, after, *now = &before;
    struct vt t;

    walk_place(&t, dir, 20);
    world_at(&before, s, acked, &next);
    world_at(&after, s, acked + 1, &unused);
    if (!done && (next->act == REPAIR || next->act == REBUILD)) {
        finish_repair(&t, next->act);
        now = &after;
    }
    if (!s->old || done) /* what is old is upgraded by opening it */
        model_check_disk(&t);
    assert_int_equal(walk_begin(&t), 0);
    if (!done && now == &before && !world_same(&before, &t, true)) {
        now = &after;
        if (next->act == WRITE || next->act == COPY || next->act == HOLLOW || next->act == HURRY)
            mend_torn(&before, &after, &t, next->arg);
    }
    assert_true(world_same(now, &t, false));
    if (before.clone) /* acknowledged; else what is there is thrown away */
        check_clone(&before, &t);
    go_on(now, &t);
    world_release(&before);
    world_release(&after);
}

#define STORY(id, text, limit, ...)                                                                \
    static const struct script id##_script = {__VA_ARGS__};                                        \
    const struct fault_story walk_##id = {.name = text, .prepare = prepare, .play = play, .verify = verify,           \
                                          .arg = &id##_script, .most = limit}

STORY(files, "files", 0, .setup = {{RANDOM, 8}},
      .rows = {{RANDOM, 14}, {WRITE, 0}, {RANDOM, 4}, {CLOSE, 0}, {COPY, 1}, {READ, 0}, {WRITE, 0}, {SETTLE, 0}, {CHECKPOINT, 0}, {RANDOM, 8}, {CLOSE, 0}});
STORY(gc, "gc", 0, .setup = {{WRITE, 0}, {WRITE, 1}, {WRITE, 2}, {SMALL, 0}, {RANDOM, 6}},
      .rows = {{HOLLOW, 0}, {HOLLOW, 1}, {HOLLOW, 2}, {GC, 0}, {RANDOM, 2}, {SCRUB, 0}, {RANDOM, 3}, {GC, 0}, {HURRY, 1}, {GC, 0}, {CLOSE, 0}});
STORY(snapshots, "snapshots", 0, .setup = {{RANDOM, 20}, {WRITE, 0}},
      .rows = {{SNAP, 0}, {RANDOM, 4}, {WRITE, 0}, {SNAP, 1}, {LOOK, 0}, {RENAME, 0}, {RANDOM, 3}, {GC, 0}, {DESTROY, 0},
               {FREED, 0}, {RANDOM, 2}, {CLOSE, 0}});
STORY(clones, "clones", 0, .setup = {{RANDOM, 20}, {WRITE, 0}, {SNAP, 0}, {RANDOM, 6}, {WRITE, 0}, {SNAP, 1}, {RANDOM, 3}},
      .rows = {{CLONE, 0}, {RANDOM, 2}, {ROLLBACK, 0}, {RANDOM, 2}, {ROLLBACK, 1}, {WRITE, 1}, {CLOSE, 0}});
STORY(repair, "repair", 0, .setup = {{RANDOM, 20}, {WRITE, 0}, {SNAP, 0}, {RANDOM, 6}, {DAMAGE, 0}},
      .rows = {{REPAIR, 0}, {RANDOM, 2}, {CLOSE, 0}});
STORY(rebuild, "rebuild", 0, .setup = {{RANDOM, 20}, {WRITE, 0}, {SNAP, 0}, {HOLLOW, 0}, {GC, 0}, {HURRY, 0}, {GC, 0}, {HOLLOW, 0}, {LOSE, 0}},
      .rows = {{REBUILD, 0}, {RANDOM, 2}, {CLOSE, 0}});
STORY(upgrade, "upgrade", 1, .old = true, .rows = {{RANDOM, 1}, {MOVED, 0}, {RANDOM, 2}, {CLOSE, 0}});
