/* SPDX-License-Identifier: Apache-2.0
 * Tests of gc: contents stay, space comes back, whatever fails on the way.
 */
#include "tests/unit/volumemodel.h"

#include <pthread.h>
#include <stdatomic.h>

#include "common/clock.h"
#include "server/store/pack.h"
#include "tests/unit/storetest.h"

#define PACK (1u << 20)

static uint64_t pack_files, pack_file_bytes;

static int count_pack(void *arg, uint32_t pack, uint64_t size)
{
    pack_files++;
    pack_file_bytes += size;
    return 0;
}

/* Bytes of pack files. */
static uint64_t packs_on_disk(struct vt *t)
{
    char dir[128];

    snprintf(dir, sizeof(dir), "%s/packs", t->dir);
    pack_files = pack_file_bytes = 0;
    assert_int_equal(pack_list(dir, count_pack, NULL), 0);
    return pack_file_bytes;
}

static void make(struct vt *t)
{
    vt_make(t, NULL);
    t->pack_size = PACK;
    vt_open(t);
}

struct file {
    uint64_t ino;
    size_t size;
    unsigned char *data;
};

static void file_make(struct vt *t, struct file *f, const char *name, size_t size, uint64_t seed)
{
    struct vattr a;

    assert_int_equal(vt_create(t, &t->c, STORE_ROOT_INO, name, IT_REG, &a), 0);
    *f = (struct file){.ino = a.ino, .size = size, .data = malloc(size)};
    st_fill(f->data, size, seed);
    for (size_t off = 0; off < size; off += 1u << 20)
        assert_int_equal(volume_write(t->v, &t->c, f->ino, off, f->data + off,
                                      size - off < 1u << 20 ? size - off : 1u << 20, false, NULL, NULL),
                         0);
    assert_int_equal(volume_commit(t->v, &t->c, f->ino), 0);
    vt_sync(t);
}

static void file_overwrite(struct vt *t, struct file *f, size_t off, size_t len, uint64_t seed)
{
    st_fill(f->data + off, len, seed);
    assert_int_equal(volume_write(t->v, &t->c, f->ino, off, f->data + off, len, false, NULL, NULL), 0);
}

static void file_check(struct vt *t, const struct file *f)
{
    unsigned char *back = malloc(f->size);

    assert_int_equal(vt_read(t, &t->c, f->ino, 0, back, f->size), (long)f->size);
    assert_memory_equal(back, f->data, f->size);
    free(back);
}

/* Three of four slots of a file are replaced, so that its packs are a quarter full. */
static void file_hollow(struct vt *t, struct file *f, uint64_t seed)
{
    for (size_t off = 0; off + SLOT_SIZE <= f->size; off += SLOT_SIZE)
        if (off / SLOT_SIZE % 4)
            file_overwrite(t, f, off, SLOT_SIZE, seed + off);
    assert_int_equal(volume_commit(t->v, &t->c, f->ino), 0);
    vt_sync(t);
}

static void packs_are_emptied(void **state)
{
    struct vt t;
    struct file f;
    struct volume_stat st;
    uint64_t full;

    make(&t);
    file_make(&t, &f, "f", 16u << 20, 1);
    for (unsigned i = 0; i < 4; i++)
        file_hollow(&t, &f, 100 * (i + 1));
    full = packs_on_disk(&t);
    assert_int_equal(volume_gc(t.v), 0);
    volume_stat(t.v, &st);
    assert_true(packs_on_disk(&t) < full * 2 / 3);
    assert_true(packs_on_disk(&t) < st.stored * 3 / 2 + 3 * PACK);
    assert_true(st.gc_packs > 0 && st.gc_freed > 0 && st.gc_copied > 0);
    assert_in_range(packs_on_disk(&t) - st.pack_bytes, 0, PACK); /* the open one has room reserved */
    file_check(&t, &f);
    vt_reopen(&t); /* nothing comes from the cache */
    file_check(&t, &f);
    /* deleted: all but the pack that is open goes */
    assert_int_equal(vt_unlink(&t, STORE_ROOT_INO, "f"), 0);
    vt_sync(&t);
    for (int i = 0; i < 3000 && packs_on_disk(&t) > PACK; i++) {
        usleep(20000);
        assert_int_equal(volume_gc(t.v), 0);
    }
    assert_true(packs_on_disk(&t) <= PACK);
    vt_close(&t);
    model_check_disk(&t);
    free(f.data);
    vt_remove(&t);
}

/* Dead bytes are reclaimed also where all packs are one, the open one. */
static void open_pack_is_ended(void **state)
{
    struct vt t;
    struct file f;
    struct volume_stat st;

    vt_make(&t, NULL);
    vt_open(&t);
    file_make(&t, &f, "f", 4u << 20, 1);
    for (unsigned i = 0; i < 2; i++)
        file_hollow(&t, &f, 100 * (i + 1));
    assert_true(packs_on_disk(&t) > 9u << 20);
    assert_int_equal(volume_gc(t.v), 0);
    volume_stat(t.v, &st);
    assert_true(packs_on_disk(&t) < st.stored + st.stored / 4 + (2u << 20));
    assert_int_equal(volume_gc(t.v), 0); /* and comes to an end */
    vt_reopen(&t);
    file_check(&t, &f);
    vt_close(&t);
    model_check_disk(&t);
    free(f.data);
    vt_remove(&t);
}

/* Data that was encoded and then replaced before it was committed fills packs that the index never hears of. */
static void packs_without_a_row(void **state)
{
    struct vt t;
    struct file f;

    make(&t);
    file_make(&t, &f, "f", SLOT_SIZE, 1);
    for (unsigned i = 0; i < 60 || (i < 20000 && packs_on_disk(&t) <= 2 * PACK); i++) {
        file_overwrite(&t, &f, 0, SLOT_SIZE, i + 10);
        usleep(3000); /* a worker encodes it, now or later */
    }
    assert_int_equal(volume_commit(t.v, &t.c, f.ino), 0);
    vt_sync(&t);
    assert_true(packs_on_disk(&t) > 2 * PACK);
    assert_int_equal(volume_gc(t.v), 0);
    assert_true(packs_on_disk(&t) <= 2 * PACK);
    file_check(&t, &f);
    vt_close(&t);
    model_check_disk(&t);
    free(f.data);
    vt_remove(&t);
}

/* A damaged chunk stays where it is; everything else leaves the pack. */
struct stays {
    int all, stay;
};

/* Those that file_hollow leaves alone. */
static int count_stays(void *arg, const struct chunk *c, uint64_t ino, uint64_t off, bool good)
{
    struct stays *s = arg;

    s->all++;
    s->stay += off / SLOT_SIZE % 4 == 0;
    return 0;
}

static void damage_is_not_moved(void **state)
{
    struct vt t;
    struct file f;
    char path[256];
    unsigned char *back = malloc(16u << 20);
    uint64_t before;
    struct pack_entry *e;
    struct stays s;
    uint32_t pack = 0;
    int n, bad = 0;

    make(&t);
    file_make(&t, &f, "f", 4u << 20, 1);
    vt_close(&t);
    /* the payloads of a pack of which less than half stay in use; slots may be in any order */
    snprintf(path, sizeof(path), "%s/packs", t.dir);
    do {
        s = (struct stays){0};
        assert_true(pack_walk(path, ++pack, count_stays, &s) >= 0);
    } while (s.stay == 0 || 2 * s.stay >= s.all);
    n = pack_entries(path, pack, &e);
    assert_int_equal(n, s.all);
    snprintf(path, sizeof(path), "%s/packs/%02x/%08x.pack", t.dir, pack, pack);
    for (int i = 0; i < n; i++)
        st_flip(path, (off_t)e[i].off + 64 + 1000);
    free(e);
    vt_open(&t);
    file_hollow(&t, &f, 50);
    before = packs_on_disk(&t);
    assert_int_equal(volume_gc(t.v), 0);
    assert_true(packs_on_disk(&t) < before);
    for (size_t off = 0; off < f.size; off += SLOT_SIZE) {
        long got = vt_read(&t, &t.c, f.ino, off, back, SLOT_SIZE);
        if (got == SLOT_SIZE)
            assert_memory_equal(back, f.data + off, SLOT_SIZE);
        else
            bad++;
    }
    assert_int_equal(bad, s.stay);
    assert_int_equal(access(path, F_OK), 0); /* for whoever can still make something of it */
    vt_close(&t);
    free(f.data);
    free(back);
    vt_remove(&t);
}

/* Each step fails once; the next run goes on. */
static void each_step_fails(void **state)
{
    static const char *const points[] = {"gc.copy", "gc.record", "gc.unlink", "pack.write", "index.begin",
                                         "pack.delete"};

    for (unsigned p = 0; p < sizeof(points) / sizeof(*points); p++) {
        struct vt t;
        struct file f;
        struct volume_stat st;

        make(&t);
        file_make(&t, &f, "f", 4u << 20, p);
        file_hollow(&t, &f, 20);
        file_hollow(&t, &f, 30);
        for (unsigned n = 1; n < 4; n++) {
            fault_arm(points[p], n, FAULT_FAIL);
            (void)volume_gc(t.v);
            fault_disarm();
            file_check(&t, &f);
        }
        if (strcmp(points[p], "index.begin") != 0) { /* that may have been a commit's, which ends the volume */
            assert_int_equal(volume_gc(t.v), 0);
            volume_stat(t.v, &st);
            assert_true(packs_on_disk(&t) < st.stored * 3 / 2 + 3 * PACK);
            vt_close(&t);
        } else {
            store_call_release(&t.c);
            store_call_release(&t.n);
            (void)volume_close(t.v);
            engine_free(t.e);
        }
        vt_open(&t);
        file_check(&t, &f);
        vt_close(&t);
        model_check_disk(&t);
        free(f.data);
        vt_remove(&t);
    }
}

static atomic_uint stalls;

static void stall_once(const char *name, int hit)
{
    if (strcmp(name, "gc.copy") == 0 && stalls++ == 0)
        clock_test_advance(3600000);
}

/* A step takes an hour, because the machine stood still: gc does not rest for a multiple of that. */
static void goes_on_after_a_stall(void **state)
{
    struct vt t;
    struct file f;

    make(&t);
    file_make(&t, &f, "f", 16u << 20, 1);
    stalls = 0;
    fault_watch(stall_once);
    fault_arm("gc.copy", UINT32_MAX, FAULT_FAIL);
    file_hollow(&t, &f, 100);
    for (int i = 0; i < 3000 && packs_on_disk(&t) > 22u << 20; i++) /* 12 of 28 MiB are dead */
        usleep(20000);
    fault_disarm();
    fault_watch(NULL);
    assert_true(stalls > 0);
    assert_true(packs_on_disk(&t) <= 22u << 20);
    clock_test_advance(-3600000);
    file_check(&t, &f);
    vt_close(&t);
    free(f.data);
    vt_remove(&t);
}

static atomic_uint unlinks;

static void stall_first(const char *name, int hit)
{
    if (strcmp(name, "gc.unlink") == 0 && unlinks++ == 0)
        usleep(500000);
}

/* A volume is closed, or thrown away, while dead packs wait for their turn. */
static void closed_with_dead_packs(void **state)
{
    for (int keep = 0; keep < 2; keep++) {
        struct vt t;
        struct file f;

        make(&t);
        file_make(&t, &f, "f", 16u << 20, 1);
        unlinks = 0;
        fault_watch(stall_first);
        fault_arm("gc.unlink", UINT32_MAX, FAULT_FAIL);
        assert_int_equal(vt_unlink(&t, STORE_ROOT_INO, "f"), 0);
        vt_sync(&t);
        for (int i = 0; i < 30000 && !unlinks; i++)
            usleep(2000);
        assert_true(unlinks > 0);
        if (keep) {
            vt_reopen(&t);
            assert_int_equal(volume_gc(t.v), 0);
            assert_true(packs_on_disk(&t) <= 2 * PACK);
            vt_close(&t);
            model_check_disk(&t);
        } else {
            store_call_release(&t.c);
            store_call_release(&t.n);
            volume_abandon(t.v);
            engine_free(t.e);
        }
        fault_disarm();
        fault_watch(NULL);
        free(f.data);
        vt_remove(&t);
    }
}

/* Readers and writers go on while packs are copied out and removed below them. */
struct reader {
    struct vt *t;
    const struct file *f;
    atomic_bool stop;
    unsigned bad;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    unsigned char *back = malloc(SLOT_SIZE);
    struct store_call c;
    uint64_t rng = 3;

    store_call_init(&c, true);
    while (!r->stop) {
        size_t off = st_random(&rng) % (r->f->size / SLOT_SIZE) * SLOT_SIZE;
        if (vt_read(r->t, &c, r->f->ino, off, back, SLOT_SIZE) != SLOT_SIZE ||
            memcmp(back, r->f->data + off, SLOT_SIZE) != 0)
            r->bad++;
    }
    store_call_release(&c);
    free(back);
    return NULL;
}

static void beside_readers_and_writers(void **state)
{
    struct vt t;
    struct file still, busy;
    struct reader r = {.t = &t, .f = &still};
    struct volume_stat st;
    pthread_t th;
    uint64_t rng = 9;

    vt_make(&t, NULL);
    t.pack_size = PACK;
    t.cache = 16u << 20; /* the least: reads go to the packs */
    vt_open(&t);
    file_make(&t, &busy, "busy", 4u << 20, 2);
    file_make(&t, &still, "still", 24u << 20, 1);
    assert_int_equal(pthread_create(&th, NULL, read_on, &r), 0);
    for (unsigned i = 0; i < 40; i++) {
        for (unsigned k = 0; k < 20; k++)
            file_overwrite(&t, &busy, st_random(&rng) % 1024 * 4096, 4096, i * 20 + k);
        if (i % 8 == 0)
            file_hollow(&t, &busy, i);
        assert_int_equal(volume_commit(t.v, &t.c, busy.ino), 0);
        vt_sync(&t);
        if (i % 5 == 4)
            assert_int_equal(volume_gc(t.v), 0);
    }
    r.stop = true;
    pthread_join(th, NULL);
    assert_int_equal(r.bad, 0);
    file_check(&t, &busy);
    file_check(&t, &still);
    assert_int_equal(volume_gc(t.v), 0);
    volume_stat(t.v, &st);
    assert_true(packs_on_disk(&t) < st.stored * 2 + 3 * PACK);
    vt_close(&t);
    model_check_disk(&t);
    free(still.data);
    free(busy.data);
    vt_remove(&t);
}

/* Random operations with gc now and then: the same as without. */
static void model_stays(void **state)
{
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct vt t;
        struct model *m = malloc(sizeof(*m));

        make(&t);
        model_init(m, seed, false);
        model_make_dirs(m, &t);
        for (unsigned i = 0; i < 600; i++) {
            model_step(m, &t);
            if (i % 60 == 59)
                assert_int_equal(volume_gc(t.v), 0);
            if (i == 300) {
                store_call_release(&t.c);
                vt_reopen(&t);
            }
        }
        assert_int_equal(volume_gc(t.v), 0);
        assert_int_equal(model_compare(m, &t), 0);
        store_call_release(&t.c);
        vt_reopen(&t);
        assert_int_equal(model_compare(m, &t), 0);
        vt_close(&t);
        model_check_disk(&t);
        model_release(m);
        free(m);
        vt_remove(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packs_are_emptied), cmocka_unit_test(packs_without_a_row),
        cmocka_unit_test(open_pack_is_ended), cmocka_unit_test(damage_is_not_moved), cmocka_unit_test(each_step_fails),
        cmocka_unit_test(closed_with_dead_packs), cmocka_unit_test(goes_on_after_a_stall), cmocka_unit_test(beside_readers_and_writers),
        cmocka_unit_test(model_stays),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("gc", tests, NULL, NULL);
}
