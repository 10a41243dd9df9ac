/* SPDX-License-Identifier: Apache-2.0
 * Tests of scrub: damage is found and told by path, moving chunks do not disturb it, and it goes on after a restart.
 */
#include "tests/unit/volumemodel.h"

#include "common/clock.h"
#include "server/store/pack.h"
#include "tests/unit/storetest.h"

#define FILES 12

static void make_files(struct vt *t, uint64_t ino[FILES])
{
    unsigned char *data = malloc(SLOT_SIZE);
    char name[16];
    struct vattr a, dir;

    assert_int_equal(vt_create(t, &t->c, STORE_ROOT_INO, "dir", IT_DIR, &dir), 0);
    assert_int_equal(vt_create(t, &t->c, dir.ino, "sub", IT_DIR, &dir), 0);
    for (unsigned i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        assert_int_equal(vt_create(t, &t->c, dir.ino, name, IT_REG, &a), 0);
        ino[i] = a.ino;
        st_fill(data, SLOT_SIZE, i);
        assert_int_equal(volume_write(t->v, &t->c, a.ino, 0, data, SLOT_SIZE, true, NULL, NULL), 0);
    }
    vt_sync(t);
    free(data);
}

static void wait_done(struct vt *t, struct volume_scrub *st)
{
    for (int i = 0; i < 12000; i++) {
        assert_int_equal(volume_scrub_stat(t->v, st), 0);
        if (!st->running)
            return;
        usleep(5000);
    }
    fail();
}

struct told {
    unsigned n;
    char path[8][64];
};

static int tell(void *arg, const char *path, uint64_t off)
{
    struct told *t = arg;

    assert_int_equal(off, 0);
    snprintf(t->path[t->n++ % 8], sizeof(t->path[0]), "%s", path);
    return 0;
}

static void flip(struct vt *t, uint32_t pack, unsigned which)
{
    char path[256];
    struct pack_entry *e;
    int n;

    snprintf(path, sizeof(path), "%s/packs", t->dir);
    n = pack_entries(path, pack, &e);
    assert_true(n > (int)which);
    snprintf(path, sizeof(path), "%s/packs/%02x/%08x.pack", t->dir, pack & 0xff, pack);
    st_flip(path, (off_t)e[which].off + 64 + 77);
    free(e);
}

static void damage_is_told(void **state)
{
    struct vt t;
    uint64_t ino[FILES];
    struct volume_scrub st;
    struct told told = {0};
    unsigned char *data = calloc(1, SLOT_SIZE);

    vt_make(&t, NULL);
    vt_open(&t);
    assert_int_equal(volume_scrub_stat(t.v, &st), 0);
    assert_true(!st.running && st.started == 0);
    make_files(&t, ino);
    vt_reopen(&t);
    assert_int_equal(volume_scrub_start(t.v), 0);
    wait_done(&t, &st);
    assert_int_equal(st.chunks, FILES);
    assert_int_equal(st.bytes, FILES * SLOT_SIZE);
    assert_int_equal(st.total, FILES * SLOT_SIZE);
    assert_int_equal(st.damaged, 0);
    assert_true(st.started && st.finished >= st.started);
    flip(&t, 1, 3);
    flip(&t, 1, 7);
    assert_int_equal(volume_scrub_start(t.v), 0);
    wait_done(&t, &st);
    assert_int_equal(st.damaged, 2);
    assert_int_equal(volume_scrub_damage(t.v, tell, &told), 0);
    assert_int_equal(told.n, 2);
    assert_string_equal(told.path[0], "/dir/sub/f3");
    assert_string_equal(told.path[1], "/dir/sub/f7");
    /* it is remembered; what was replaced since then is not told any more */
    vt_reopen(&t);
    assert_int_equal(volume_scrub_stat(t.v, &st), 0);
    assert_true(!st.running && st.damaged == 2);
    memset(data, 5, SLOT_SIZE);
    assert_int_equal(volume_write(t.v, &t.c, ino[3], 0, data, SLOT_SIZE, true, NULL, NULL), 0);
    vt_sync(&t);
    vt_reopen(&t);
    told.n = 0;
    assert_int_equal(volume_scrub_damage(t.v, tell, &told), 0);
    assert_int_equal(told.n, 1);
    assert_string_equal(told.path[0], "/dir/sub/f7");
    vt_close(&t);
    free(data);
    vt_remove(&t);
}

static void goes_on_after_a_restart(void **state)
{
    struct vt t;
    uint64_t ino[FILES];
    struct volume_scrub st;

    vt_make(&t, NULL);
    vt_open(&t);
    make_files(&t, ino);
    vt_reopen(&t);
    /* a note says that it was half way */
    assert_int_equal(volume_scrub_start(t.v), 0);
    wait_done(&t, &st);
    vt_close(&t);
    char cmd[256];
    snprintf(cmd, sizeof(cmd),
             "sqlite3 '%s/index.db' \"UPDATE note SET value = '1 ' || (SELECT id FROM chunk ORDER BY id LIMIT 1 OFFSET 5)"
             " || ' 9000000000 77 0 6 786432 0' WHERE key = 'scrub'\"",
             t.dir);
    assert_int_equal(system(cmd), 0);
    vt_open(&t);
    wait_done(&t, &st);
    assert_int_equal(st.started, 77);
    assert_int_equal(st.chunks, FILES);
    assert_int_equal(st.bytes, FILES * SLOT_SIZE);
    /* and one that makes no sense is as none */
    vt_close(&t);
    snprintf(cmd, sizeof(cmd), "sqlite3 '%s/index.db' \"UPDATE note SET value = '1 2 x' WHERE key = 'scrub'\"", t.dir);
    assert_int_equal(system(cmd), 0);
    vt_open(&t);
    assert_int_equal(volume_scrub_stat(t.v, &st), 0);
    assert_true(!st.running && st.started == 0);
    vt_close(&t);
    vt_remove(&t);
}

static void beside_gc(void **state)
{
    struct vt t;
    uint64_t ino[FILES];
    struct volume_scrub st;
    unsigned char *data = malloc(SLOT_SIZE);

    vt_make(&t, NULL);
    t.pack_size = 1u << 20;
    vt_open(&t);
    make_files(&t, ino);
    for (unsigned i = 0; i < 10; i++) {
        assert_int_equal(volume_scrub_start(t.v), 0);
        for (unsigned k = 0; k < FILES; k += 2) {
            st_fill(data, SLOT_SIZE, 100 * i + k);
            assert_int_equal(volume_write(t.v, &t.c, ino[k], 0, data, SLOT_SIZE, true, NULL, NULL), 0);
        }
        vt_sync(&t);
        assert_int_equal(volume_gc(t.v), 0);
        wait_done(&t, &st);
        assert_int_equal(st.damaged, 0);
    }
    vt_close(&t);
    model_check_disk(&t);
    free(data);
    vt_remove(&t);
}

/* Text that a higher level compresses better: stored smaller after a scrub, and the same to read. */
static void scrub_recompresses(void **state)
{
    static const char *const words[] = {"volume ", "chunk ", "extent ", "slot ", "pack ", "index ", "journal ", "inode "};
    struct vt t;
    struct vattr a;
    struct volume_scrub st;
    struct volume_stat before, after;
    struct volume_props props;
    unsigned char *data = malloc(SLOT_SIZE), *back = malloc(SLOT_SIZE);
    uint64_t rng = 5;
    size_t n = 0;

    vt_make(&t, NULL);
    vt_open(&t);
    while (n < SLOT_SIZE)
        for (const char *w = words[st_random(&rng) % 8]; *w && n < SLOT_SIZE; w++)
            data[n++] = (unsigned char)*w;
    assert_int_equal(vt_create(&t, &t.c, STORE_ROOT_INO, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(t.v, &t.c, a.ino, 0, data, SLOT_SIZE, true, NULL, NULL), 0);
    vt_sync(&t);
    volume_get_props(t.v, &props);
    props.recompress = 19;
    assert_int_equal(volume_set_props(t.v, &props), 0);
    vt_reopen(&t);
    volume_stat(t.v, &before);
    assert_int_equal(volume_scrub_start(t.v), 0);
    wait_done(&t, &st);
    assert_int_equal(st.damaged, 0);
    vt_reopen(&t);
    volume_stat(t.v, &after);
    assert_true(after.stored < before.stored * 15 / 16);
    assert_int_equal(vt_read(&t, &t.c, a.ino, 0, back, SLOT_SIZE), SLOT_SIZE);
    assert_memory_equal(back, data, SLOT_SIZE);
    vt_close(&t);
    model_check_disk(&t);
    free(data);
    free(back);
    vt_remove(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damage_is_told),
        cmocka_unit_test(goes_on_after_a_restart),
        cmocka_unit_test(beside_gc),
        cmocka_unit_test(scrub_recompresses),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("scrub", tests, NULL, NULL);
}
