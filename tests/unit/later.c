/* SPDX-License-Identifier: Apache-2.0
 * Tests of what overload does: data is stored raw at once, and compressed when it is quiet; also after a crash.
 */
#include <signal.h>
#include <sys/wait.h>

#include "server/store/snap.h"
#include "server/store/volume_int.h"
#include "tests/unit/indexquery.h"
#include "tests/unit/storetest.h"
#include "tests/unit/volumemodel.h"

#define ROOT  STORE_ROOT_INO
#define SLOTS 48u
#define SIZE  (SLOTS * SLOT_SIZE)

static struct vt T;
static unsigned char *data, *back;
static uint64_t packed; /* what data takes, compressed */

static void pressure(bool on)
{
    flush_hurry_ms = on ? 0 : 1000000;
}

static void write_it(uint64_t ino)
{
    for (size_t at = 0; at < SIZE; at += 1u << 20)
        assert_int_equal(volume_write(T.v, &T.c, ino, at, data + at, 1u << 20, false, NULL, NULL), 0);
    assert_int_equal(volume_commit(T.v, &T.c, ino), 0);
    vt_sync(&T);
}

static uint64_t put(const char *name)
{
    struct vattr a;

    assert_int_equal(vt_create(&T, &T.c, ROOT, name, IT_REG, &a), 0);
    write_it(a.ino);
    return a.ino;
}

static void expect(const char *name)
{
    struct vattr a;

    assert_int_equal(vt_lookup(&T, &T.c, ROOT, name, &a), 0);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, back, SIZE), SIZE);
    assert_memory_equal(back, data, SIZE);
}

static const char flags[] = "SELECT count(*) FROM chunk WHERE flags <> 0";

static int64_t flagged(void)
{
    assert_int_equal(volume_settle(T.v), 0);
    return vt_query(&T, flags);
}

static void fill(void)
{
    for (unsigned i = 0; i < SLOTS; i++)
        vt_fill(data + i * SLOT_SIZE, SLOT_SIZE, i + 1);
}

static int setup(void **state)
{
    pressure(false);
    vt_make(&T, NULL);
    vt_open(&T);
    data = malloc(SIZE);
    back = malloc(SIZE);
    fill();
    if (packed)
        return 0;
    put("ref");
    packed = vt_figures(&T).stored;
    assert_true(packed < SIZE * 7 / 10);
    assert_int_equal(vt_figures(&T).hurried, 0);
    assert_int_equal(vt_unlink(&T, ROOT, "ref"), 0);
    vt_sync(&T);
    assert_int_equal(vt_figures(&T).stored, 0);
    return 0;
}

static int teardown(void **state)
{
    pressure(false);
    vt_close(&T);
    model_check_disk(&T);
    vt_remove(&T);
    free(data);
    free(back);
    return 0;
}

/* Nothing is compressed, not by gc either, while the volume does not want it. */
static void hold(bool on)
{
    struct volume_props p;

    volume_get_props(T.v, &p);
    p.codec = on ? VOLUME_RAW : VOLUME_ZSTD;
    assert_int_equal(volume_set_props(T.v, &p), 0);
}

/* A file under pressure: part of it is raw, and stays so until hold(false). */
static void put_hurried(const char *name)
{
    pressure(true);
    put(name);
    pressure(false);
    hold(true);
}

/* Compressing is slow: what the first slots took tells that the others would take too long. */
static void raw_then_compressed(void **state)
{
    struct volume_stat st;

    flush_slow_us = 200000; /* more than a write takes anywhere */
    flush_hurry_ms = 10;
    put("f");
    flush_slow_us = 0;
    hold(true);
    st = vt_figures(&T);
    assert_true(st.hurried > 0);
    assert_true(st.hurried < SIZE); /* the first ones at least were compressed */
    assert_true(st.stored > packed);
    assert_true(flagged() > 0);
    expect("f");
    hold(false);
    for (int i = 0; i < 1200 && st.stored != packed; i++) { /* by itself, when it is quiet */
        usleep(50000);
        volume_stat(T.v, &st);
    }
    assert_int_equal(st.stored, packed);
    assert_int_equal(flagged(), 0);
    vt_reopen(&T);
    expect("f");
    model_check_disk(&T);
}

static void calm_is_not_hurried(void **state)
{
    flush_hurry_ms = 2000;
    put("f");
    assert_int_equal(vt_figures(&T).hurried, 0);
    assert_int_equal(vt_figures(&T).stored, packed);
}

static void off_is_not_hurried(void **state)
{
    hold(true);
    put_hurried("f");
    assert_int_equal(vt_figures(&T).hurried, 0);
    assert_int_equal(flagged(), 0);
    assert_int_equal(vt_figures(&T).stored, SIZE);
}

/* Nothing to gain: the flags go, the data stays where it is. */
static void does_not_compress(void **state)
{
    struct volume_stat st, after;

    st_fill(data, SIZE, 3);
    put_hurried("f");
    st = vt_figures(&T);
    assert_true(st.hurried > 0 && flagged() > 0);
    hold(false);
    assert_int_equal(volume_gc(T.v), 0);
    assert_int_equal(flagged(), 0);
    after = vt_figures(&T);
    assert_int_equal(after.stored, st.stored);
    expect("f");
}

/* At the level that the volume wants cold data to have; and what only a snapshot has. */
static void higher_and_held(void **state)
{
    static const char *const words[] = {"volume ", "chunk ", "extent ", "slot ", "pack ", "index ", "journal ", "inode "};
    struct volume_props p;
    uint64_t rng = 5, low;
    size_t n = 0;

    while (n < SIZE)
        for (const char *w = words[st_random(&rng) % 8]; *w && n < SIZE; w++)
            data[n++] = (unsigned char)*w;
    put("low");
    low = vt_figures(&T).stored;
    assert_int_equal(vt_unlink(&T, ROOT, "low"), 0);
    volume_get_props(T.v, &p);
    p.recompress = 9;
    assert_int_equal(volume_set_props(T.v, &p), 0);
    put_hurried("f");
    assert_true(flagged() > 0);
    assert_int_equal(snap_create(T.v, "s", NULL), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "f"), 0);
    vt_sync(&T);
    assert_int_equal(vt_figures(&T).stored, 0);
    assert_true(vt_figures(&T).held > low);
    hold(false);
    assert_int_equal(volume_gc(T.v), 0);
    assert_int_equal(flagged(), 0);
    assert_true(vt_figures(&T).held < low);
    assert_int_equal(snap_destroy(T.v, "s"), 0);
}

static void damaged_ones_stay(void **state)
{
    uint64_t id, pack, off;
    char path[256];

    put_hurried("f");
    assert_true(flagged() > 0);
    id = (uint64_t)vt_query(&T, "SELECT max(id) FROM chunk WHERE flags <> 0");
    snprintf(path, sizeof(path), "SELECT pack FROM chunk WHERE id = %llu", (unsigned long long)id);
    pack = (uint64_t)vt_query(&T, path);
    snprintf(path, sizeof(path), "SELECT pack_off FROM chunk WHERE id = %llu", (unsigned long long)id);
    off = (uint64_t)vt_query(&T, path);
    hold(false);
    vt_close(&T);
    snprintf(path, sizeof(path), "%s/packs/%02x/%08x.pack", T.dir, (unsigned)pack & 0xff, (unsigned)pack);
    st_flip(path, (off_t)off + 64 + 7777);
    vt_open(&T);
    assert_int_equal(volume_gc(T.v), 0);
    assert_int_equal(flagged(), 1);
    assert_int_equal(volume_gc(T.v), 0); /* and it ends again */
    assert_int_equal(vt_unlink(&T, ROOT, "f"), 0);
    vt_sync(&T);
    (void)vt_figures(&T); /* so that the chunk is gone when the rest is checked */
}

/* --- crashes --- */

/* Writes under pressure, tells on fd that it is durable, and compresses until it dies at the point or is done. */
static void child(const char *point, unsigned nth, int fd)
{
    bool at_once = strcmp(point, "apply.begin") == 0;
    struct vattr a;
    char c = 'x';

    vt_open(&T);
    if (vt_create(&T, &T.c, ROOT, "f", IT_REG, &a) < 0 || volume_settle(T.v) < 0)
        _exit(2);
    if (at_once)
        fault_arm(point, nth, FAULT_CRASH);
    pressure(true);
    write_it(a.ino);
    pressure(false);
    if (write(fd, &c, 1) != 1)
        _exit(2);
    if (!at_once)
        fault_arm(point, nth, FAULT_CRASH);
    (void)volume_gc(T.v);
    (void)volume_settle(T.v);
    _exit(0);
}

/* kill_us: when to kill it after it wrote; 0: never. True if it died at the point. */
static bool crash_once(const char *point, unsigned nth, unsigned kill_us)
{
    int fds[2], status;
    bool acked, early = strcmp(point, "apply.begin") == 0;
    char c;
    pid_t pid;

    setup(NULL);
    vt_close(&T);
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child(point, nth, fds[1]);
    }
    close(fds[1]);
    acked = read(fds[0], &c, 1) == 1;
    close(fds[0]);
    if (kill_us) {
        usleep(kill_us);
        kill(pid, SIGKILL); /* it may be at its end */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 99);
    assert_true(acked || early);
    model_check_disk(&T);
    T.epoch = 9;
    vt_open(&T);
    if (early) /* the journal knew */
        assert_true(vt_query(&T, flags) > 0);
    assert_int_equal(volume_gc(T.v), 0);
    assert_int_equal(flagged(), 0);
    if (acked) {
        assert_int_equal(vt_figures(&T).stored, packed);
        expect("f");
    }
    teardown(NULL);
    return WIFEXITED(status) && WEXITSTATUS(status) == 99;
}

static void after_crashes(void **state)
{
    static const char *const points[] = {"later.append", "later.record", "apply.applied", "apply.committed"};

    assert_true(crash_once("apply.begin", 1, 0));
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++)
        for (unsigned n = 1; n < 30 && crash_once(points[i], n, 0); n += 1 + 2 * n)
            ;
    for (unsigned n = 1; n < 6; n++)
        crash_once("none", 1, n * 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(raw_then_compressed, setup, teardown),
        cmocka_unit_test_setup_teardown(calm_is_not_hurried, setup, teardown),
        cmocka_unit_test_setup_teardown(off_is_not_hurried, setup, teardown),
        cmocka_unit_test_setup_teardown(does_not_compress, setup, teardown),
        cmocka_unit_test_setup_teardown(higher_and_held, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_ones_stay, setup, teardown),
        cmocka_unit_test(after_crashes),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("later", tests, NULL, NULL);
}
