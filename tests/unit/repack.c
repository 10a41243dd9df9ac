/* SPDX-License-Identifier: Apache-2.0
 * Tests of repack: what is stored shrinks, and what is read, allocated or a hole stays the same.
 */
#include "tests/unit/volumemodel.h"

#include "tests/unit/storetest.h"

static uint64_t stored(struct vt *t)
{
    struct volume_stat st;

    volume_stat(t->v, &st);
    return st.stored;
}

static uint64_t make_file(struct vt *t, const char *name)
{
    struct vattr a;

    assert_int_equal(vt_create(t, &t->c, STORE_ROOT_INO, name, IT_REG, &a), 0);
    return a.ino;
}

static void put(struct vt *t, uint64_t ino, size_t off, const unsigned char *data, size_t len)
{
    assert_int_equal(volume_write(t->v, &t->c, ino, off, data + off, len, true, NULL, NULL), 0);
    vt_sync(t);
}

/* Everything durable goes into the index, so that the figures count it. */
static void settle(struct vt *t)
{
    store_call_release(&t->c);
    vt_reopen(t);
}

static void same(struct vt *t, uint64_t ino, const unsigned char *data, size_t len)
{
    unsigned char *back = malloc(len + 1);

    assert_int_equal(vt_read(t, &t->c, ino, 0, back, len + 1), (long)len);
    assert_memory_equal(back, data, len);
    free(back);
}

/* Where data and holes begin, and what is allocated. */
static void layout(struct vt *t, uint64_t ino, uint64_t *at, unsigned max, uint64_t *used)
{
    struct vattr a;
    uint64_t off = 0;

    memset(at, 0, max * sizeof(*at));
    assert_int_equal(volume_getattr(t->v, &t->c, ino, 0, &a), 0);
    *used = a.used;
    for (unsigned i = 0; i < max && off < a.size; i++) {
        if (volume_seek(t->v, &t->c, ino, off, i % 2 == 0, &off) != 0)
            break;
        at[i] = off;
    }
}

static void many_pieces_become_one(void **state)
{
    struct vt t;
    unsigned char *data = malloc(2 * SLOT_SIZE);
    uint64_t ino, before[64], after[64], used, used2;

    vt_make(&t, NULL);
    vt_open(&t);
    ino = make_file(&t, "f");
    st_fill(data, 2 * SLOT_SIZE, 1);
    put(&t, ino, 0, data, 2 * SLOT_SIZE);
    settle(&t); /* a slot that is not in memory is not rewritten by its writes */
    for (unsigned i = 0; i < 12; i++) {
        st_fill(data + i * 8192, 4096, 10 + i);
        put(&t, ino, i * 8192, data, 4096);
    }
    /* holes stay holes: the second slot has every other page */
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(volume_punch(t.v, &t.c, ino, SLOT_SIZE + i * 8192, 4096), 0);
        memset(data + SLOT_SIZE + i * 8192, 0, 4096);
    }
    settle(&t);
    assert_int_equal(stored(&t), 2 * SLOT_SIZE + 12 * 4096);
    layout(&t, ino, before, 64, &used);
    assert_int_equal(volume_gc(t.v), 0);
    assert_int_equal(stored(&t), SLOT_SIZE + SLOT_SIZE / 2);
    layout(&t, ino, after, 64, &used2);
    assert_memory_equal(before, after, sizeof(before));
    assert_int_equal(used, used2);
    assert_true(after[30] > 0);
    same(&t, ino, data, 2 * SLOT_SIZE);
    settle(&t);
    same(&t, ino, data, 2 * SLOT_SIZE);
    assert_int_equal(volume_gc(t.v), 0); /* nothing is left to do */
    assert_int_equal(stored(&t), SLOT_SIZE + SLOT_SIZE / 2);
    vt_close(&t);
    model_check_disk(&t);
    free(data);
    vt_remove(&t);
}

static void unused_parts_go(void **state)
{
    struct vt t;
    unsigned char *data = malloc(SLOT_SIZE);
    uint64_t ino, twin;

    vt_make(&t, NULL);
    vt_open(&t);
    ino = make_file(&t, "f");
    twin = make_file(&t, "twin");
    st_fill(data, SLOT_SIZE, 3);
    put(&t, ino, 0, data, SLOT_SIZE);
    /* a chunk that another file uses as well is left alone */
    put(&t, twin, 0, data, SLOT_SIZE);
    assert_int_equal(volume_clone(t.v, &t.c, twin, 0, make_file(&t, "clone"), 0, SLOT_SIZE, NULL), 0);
    assert_int_equal(volume_punch(t.v, &t.c, twin, 4096, SLOT_SIZE), 0);
    assert_int_equal(volume_punch(t.v, &t.c, ino, 20480, 100000), 0);
    memset(data + 20480, 0, 100000);
    settle(&t);
    assert_int_equal(stored(&t), 2 * SLOT_SIZE);
    assert_int_equal(volume_gc(t.v), 0);
    assert_true(stored(&t) < 2 * SLOT_SIZE - 90000);
    same(&t, ino, data, SLOT_SIZE);
    settle(&t);
    same(&t, ino, data, SLOT_SIZE);
    vt_close(&t);
    model_check_disk(&t);
    free(data);
    vt_remove(&t);
}

#define FILES 200

static void text(char *buf, size_t len, unsigned seed)
{
    static const char *const words[] = {"volume ", "chunk ", "extent ", "slot ",  "pack ",  "index ", "journal ", "inode ",
                                        "file ",   "of ",    "the ",    "and ",   "is ",    "to ",    "that ",    "with "};
    uint64_t rng = seed + 1;
    size_t n = 0;

    while (n < len) {
        const char *w = words[st_random(&rng) % 16];
        for (; *w && n < len; w++)
            buf[n++] = *w;
    }
}

static void check_small(struct vt *t, const uint64_t *ino, unsigned step)
{
    char want[1000], have[1001];

    for (unsigned i = 0; i < FILES; i++) {
        if (i % 4 && step == 4)
            continue;
        text(want, sizeof(want), i);
        assert_int_equal(vt_read(t, &t->c, ino[i], 0, have, sizeof(have)), sizeof(want));
        assert_memory_equal(have, want, sizeof(want));
    }
}

static void small_files_share(void **state)
{
    struct vt t;
    uint64_t ino[FILES], alone, shared;
    char buf[1000], name[16];

    vt_make(&t, NULL);
    vt_open(&t);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        ino[i] = make_file(&t, name);
        text(buf, sizeof(buf), i);
        assert_int_equal(volume_write(t.v, &t.c, ino[i], 0, buf, sizeof(buf), true, NULL, NULL), 0);
    }
    vt_sync(&t);
    settle(&t);
    alone = stored(&t);
    assert_int_equal(volume_gc(t.v), 0);
    shared = stored(&t);
    assert_true(shared < alone * 8 / 10);
    check_small(&t, ino, 1);
    settle(&t);
    check_small(&t, ino, 1);
    /* of those that share a chunk most go: the rest moves together */
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        if (i % 4)
            assert_int_equal(vt_unlink(&t, STORE_ROOT_INO, name), 0);
    }
    vt_sync(&t);
    settle(&t);
    assert_int_equal(stored(&t), shared);
    assert_int_equal(volume_gc(t.v), 0);
    assert_true(stored(&t) < shared / 2);
    check_small(&t, ino, 4);
    settle(&t);
    check_small(&t, ino, 4);
    vt_close(&t);
    model_check_disk(&t);
    vt_remove(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_pieces_become_one),
        cmocka_unit_test(unused_parts_go),
        cmocka_unit_test(small_files_share),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("repack", tests, NULL, NULL);
}
