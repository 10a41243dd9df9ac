/* SPDX-License-Identifier: Apache-2.0
 * The long walk: everything that changes a volume, in random order, against a model in memory: names, bytes,
 * holes, clones, renames of everything over everything, snapshots made, read, gone back to, cloned and destroyed, compaction,
 * restarts, repairs with nothing to do. VOLUME_WALK_SECONDS says for how long
 * (make walk: 300), VOLUME_WALK_SEED replays one.
 */
#include <time.h>

#include "common/clock.h"
#include "server/store/repair.h"
#include "tests/unit/snapmodel.h"
#include "tests/unit/treemodel.h"

#define SNAPS 6

struct walk {
    struct vt t;
    struct model *m, *held[SNAPS];
    char names[SNAPS][24];
    struct tree tree, held_tree[SNAPS];
    uint64_t rng; /* of the events: the model's own steps are the same without them */
    unsigned steps, snaps, gcs, restarts, compares, copies, backs, clones, repairs;
    uint64_t deduped;
};

static uint64_t rnd(struct walk *w, uint64_t n)
{
    struct model r = {.rng = w->rng};
    uint64_t x = model_rand(&r, n);

    w->rng = r.rng;
    return x;
}

static void snapshot(struct walk *w)
{
    unsigned i = (unsigned)rnd(w, SNAPS);

    if (w->held[i]) {
        compare_snap(&w->t, w->held[i], w->names[i]);
        assert_int_equal(snap_destroy(w->t.v, w->names[i]), 0);
        model_drop(w->held[i]);
        w->held[i] = NULL;
        return;
    }
    snprintf(w->names[i], sizeof(w->names[i]), "s%u", w->snaps++);
    assert_int_equal(snap_create(w->t.v, w->names[i], NULL), 0);
    w->held[i] = model_copy(w->m);
    w->held_tree[i] = w->tree;
}

/* One of the snapshots there are, at random; -1: none. */
static int any_snapshot(struct walk *w)
{
    int i = (int)rnd(w, SNAPS);

    return w->held[i] ? i : -1;
}

/* The volume becomes what a snapshot has. */
static void roll_back(struct walk *w)
{
    int i = any_snapshot(w);
    struct tree was = w->tree;
    uint64_t rng = w->m->rng;

    if (i < 0)
        return;
    vt_sync(&w->t);
    vt_close(&w->t);
    assert_int_equal(snap_rollback(w->t.dir, "test/vol", w->names[i], w->t.epoch), 0);
    vt_open(&w->t);
    model_drop(w->m);
    w->m = model_copy(w->held[i]);
    w->m->rng = rng;
    find_inodes(w->m, &w->t);
    w->tree = w->held_tree[i];
    w->tree.renames = was.renames;
    w->tree.replaced = was.replaced;
    w->tree.refused = was.refused;
    tree_reopened(&w->tree, &w->t);
    w->backs++;
}

/* A clone of a snapshot has what that has. */
static void clone(struct walk *w)
{
    int i = any_snapshot(w);
    struct vt o = w->t;
    char cmd[128];

    if (i < 0)
        return;
    snprintf(o.dir, sizeof(o.dir), "%.60s/clone", o.base);
    assert_int_equal(snap_clone(w->t.v, w->names[i], o.dir), 0);
    model_check_disk(&o);
    assert_int_equal(volume_open(o.e, o.dir, "test/clone", 8, &o.v), 0);
    store_call_init(&o.c, true);
    assert_int_equal(model_compare(w->held[i], &o), 0);
    store_call_release(&o.c);
    assert_int_equal(volume_close(o.v), 0);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s'", o.dir);
    assert_int_equal(system(cmd), 0);
    w->clones++;
}

static void tell(void *arg, const char *text)
{
    print_message("repair: %s\n", text);
}

static void repair(struct walk *w)
{
    struct repair_report rep;

    assert_int_equal(volume_repair(w->t.dir, &(struct repair_options){.data = true}, tell, NULL, &rep), 0);
    assert_int_equal(rep.repaired + rep.left, 0);
    w->repairs++;
}

/* What SEEK calls a hole reads as zeros, and data and holes follow each other until the end. */
static void compare_holes(struct walk *w)
{
    struct vt *t = &w->t;

    for (int f = 0; f < MODEL_FILES; f++) {
        struct mfile *p = &w->m->files[f];
        uint64_t off = 0, data, end;
        if (!p->links)
            continue;
        while (off < p->size) {
            int r = volume_seek(t->v, &t->c, p->ino, off, true, &data);
            if (r == -ENXIO)
                data = p->size;
            else
                assert_int_equal(r, 0);
            for (uint64_t i = off; i < data; i++)
                if (p->data[i])
                    fail_msg("file %d: byte %llu of a hole is not zero", f, (unsigned long long)i);
            if (data == p->size)
                break;
            assert_true(data >= off && data < p->size);
            assert_int_equal(volume_seek(t->v, &t->c, p->ino, data, false, &end), 0);
            assert_true(end > data && end <= p->size);
            off = end;
        }
    }
}

/* Bytes of one file are written to the same place of another. */
static void copy(struct walk *w)
{
    struct mfile *p = &w->m->files[rnd(w, MODEL_FILES)], *q = &w->m->files[rnd(w, MODEL_FILES)];
    uint64_t off = rnd(w, 2) * SLOT_SIZE, n = SLOT_SIZE * (1 + rnd(w, 3));
    bool stable = rnd(w, 2);

    while (p < &w->m->files[MODEL_FILES - 1] && (!p->links || p->size <= off))
        p++;
    while (q > w->m->files && !q->links)
        q--;
    if (!p->links || !q->links || p->size <= off || p == q)
        return;
    n = n < p->size - off ? n : p->size - off;
    memmove(q->data + off, p->data + off, n);
    q->size = off + n > q->size ? off + n : q->size;
    assert_int_equal(volume_write(w->t.v, &w->t.c, q->ino, off, q->data + off, n, stable, NULL, NULL), 0);
    w->copies++;
}

static void compare_all(struct walk *w)
{
    struct volume_stat st;
    unsigned files = MODEL_DIRS - 1 + tree_count(&w->tree);

    w->compares++;
    for (int f = 0; f < MODEL_FILES; f++)
        files += w->m->files[f].links != 0;
    assert_int_equal(model_compare(w->m, &w->t), 0);
    compare_holes(w);
    tree_compare(&w->tree, &w->t);
    for (int i = 0; i < SNAPS; i++)
        if (w->held[i])
            compare_snap(&w->t, w->held[i], w->names[i]);
    vt_sync(&w->t);
    for (int i = 0; i < 6000; i++) { /* removed files are counted until the index has let go of them */
        volume_stat(w->t.v, &st);
        if (st.files == files)
            break;
        usleep(10000);
    }
    assert_int_equal(st.files, files);
}

static void restart(struct walk *w)
{
    struct volume_stat st;

    vt_sync(&w->t);
    volume_stat(w->t.v, &st);
    w->deduped += st.deduped;
    vt_close(&w->t);
    if (rnd(w, 4) == 0)
        model_check_disk(&w->t);
    if (rnd(w, 4) == 0)
        repair(w);
    vt_open(&w->t);
    tree_reopened(&w->tree, &w->t);
    w->restarts++;
}

static void walk(uint64_t seed, unsigned seconds)
{
    struct walk w = {.rng = seed * 2 + 1};
    struct volume_props props;
    uint64_t end = clock_mono_ms() + seconds * 1000u;

    print_message("seed %llu, %u s\n", (unsigned long long)seed, seconds);
    volume_props_default(&props);
    props.dedup = rnd(&w, 3) != 0;
    vt_make(&w.t, &props);
    w.t.cache = 16u << 20;
    w.t.pack_size = 1u << 20;
    vt_open(&w.t);
    w.m = malloc(sizeof(*w.m));
    model_init(w.m, seed, false);
    model_make_dirs(w.m, &w.t);
    tree_init(&w.tree, &w.t);
    while (clock_mono_ms() < end) {
        model_step(w.m, &w.t);
        w.steps++;
        if (rnd(&w, 12) == 0)
            copy(&w);
        if (rnd(&w, 2)) {
            struct model r = {.rng = w.rng};
            tree_step(&w.tree, &w.t, &r);
            w.rng = r.rng;
        }
        if (rnd(&w, 30) == 0)
            snapshot(&w);
        if (rnd(&w, 60) == 0) {
            assert_int_equal(volume_gc(w.t.v), 0);
            w.gcs++;
        }
        if (rnd(&w, 150) == 0)
            compare_all(&w);
        if (rnd(&w, 250) == 0)
            restart(&w);
        if (rnd(&w, 200) == 0)
            roll_back(&w);
        if (rnd(&w, 200) == 0)
            clone(&w);
    }
    compare_all(&w);
    for (int i = 0; i < SNAPS; i++)
        if (w.held[i]) {
            assert_int_equal(snap_destroy(w.t.v, w.names[i]), 0);
            model_drop(w.held[i]);
        }
    vt_sync(&w.t);
    assert_int_equal(volume_gc(w.t.v), 0);
    restart(&w);
    assert_int_equal(model_compare(w.m, &w.t), 0);
    tree_compare(&w.tree, &w.t);
    vt_close(&w.t);
    model_check_disk(&w.t);
    print_message("%u steps, %u renames (%u replaced something, %u were refused), %u snapshots, %u compactions,"
                  " %u restarts, %u repairs, %u times back, %u clones, %u comparisons, %u copies, %llu KiB deduplicated\n", w.steps, w.tree.renames, w.tree.replaced,
                  w.tree.refused, w.snaps, w.gcs, w.restarts, w.repairs, w.backs, w.clones, w.compares, w.copies, (unsigned long long)w.deduped >> 10);
    model_drop(w.m);
    vt_remove(&w.t);
}

static void random_walk(void **state)
{
    const char *seed = getenv("VOLUME_WALK_SEED"), *seconds = getenv("VOLUME_WALK_SECONDS");

    walk(seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL), seconds ? (unsigned)atoi(seconds) : 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_walk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
