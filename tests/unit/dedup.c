/* SPDX-License-Identifier: Apache-2.0
 * Tests of dedup: what is stored once, what must not be shared, and what a crash leaves.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "server/store/dedup.h"
#include "server/store/snap.h"
#include "tests/unit/indexquery.h"
#include "tests/unit/storetest.h"
#include "tests/unit/volumemodel.h"

#define ROOT  STORE_ROOT_INO
#define SLOTS 12u
#define TAIL  90000u
#define SIZE  (SLOTS * SLOT_SIZE + TAIL)

static struct vt T;
static unsigned char *data, *back;

static int setup(void **state)
{
    struct volume_props p;

    volume_props_default(&p);
    p.dedup = true;
    vt_make(&T, &p);
    T.pack_size = 1u << 20;
    vt_open(&T);
    data = malloc(SIZE);
    back = malloc(SIZE);
    for (unsigned i = 0; i * SLOT_SIZE < SIZE; i++)
        vt_fill(data + i * SLOT_SIZE, SIZE - i * SLOT_SIZE < SLOT_SIZE ? SIZE - i * SLOT_SIZE : SLOT_SIZE, i + 1);
    return 0;
}

static int teardown(void **state)
{
    dedup_hash_bits = UINT64_MAX;
    dedup_found = NULL;
    vt_close(&T);
    model_check_disk(&T);
    vt_remove(&T);
    free(data);
    free(back);
    return 0;
}

static uint64_t make(const char *name)
{
    struct vattr a;

    assert_int_equal(vt_create(&T, &T.c, ROOT, name, IT_REG, &a), 0);
    return a.ino;
}

/* A file with all of data, written as a client would. */
static uint64_t put(const char *name)
{
    uint64_t ino = make(name);

    for (size_t at = 0, n; at < SIZE; at += n) {
        n = SIZE - at < 1u << 20 ? SIZE - at : 1u << 20;
        assert_int_equal(volume_write(T.v, &T.c, ino, at, data + at, n, false, NULL, NULL), 0);
    }
    assert_int_equal(volume_commit(T.v, &T.c, ino), 0);
    vt_sync(&T);
    return ino;
}

static void expect(uint64_t ino)
{
    assert_int_equal(vt_read(&T, &T.c, ino, 0, back, SIZE), SIZE);
    assert_memory_equal(back, data, SIZE);
}

static int64_t query(const char *text)
{
    assert_int_equal(volume_settle(T.v), 0);
    return vt_query(&T, text);
}

/* Copies are stored once: at once, when nothing is in memory, and when the first one is gone. */
static void copies_cost_one(void **state)
{
    struct volume_stat one, st;
    uint64_t b, c, d;

    put("a");
    one = vt_figures(&T);
    assert_int_equal(one.deduped, 0);
    b = put("b");
    st = vt_figures(&T);
    assert_int_equal(st.stored, one.stored);
    assert_int_equal(st.logical, 2 * one.logical);
    assert_int_equal(st.deduped, SIZE);
    assert_int_equal(query("SELECT count(*) FROM dedup"), SLOTS + 1);
    vt_reopen(&T);
    c = put("c");
    st = vt_figures(&T);
    assert_int_equal(st.stored, one.stored);
    assert_int_equal(st.deduped, SIZE);
    assert_int_equal(vt_unlink(&T, ROOT, "a"), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "b"), 0);
    vt_sync(&T);
    (void)vt_figures(&T); /* so that they are gone */
    vt_reopen(&T);
    expect(c);
    d = put("d");
    st = vt_figures(&T);
    assert_int_equal(st.stored, one.stored);
    assert_int_equal(st.logical, 2 * one.logical);
    assert_int_equal(volume_gc(T.v), 0);
    expect(d);
    vt_reopen(&T);
    model_check_disk(&T);
    expect(c);
    expect(d);
    assert_int_equal(b != c, 1);
    assert_int_equal(vt_unlink(&T, ROOT, "c"), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "d"), 0);
    vt_sync(&T);
    st = vt_figures(&T);
    assert_int_equal(st.stored, 0);
    assert_int_equal(st.logical, 0);
    assert_int_equal(query("SELECT count(*) FROM dedup"), 0);
}

/* Large stable writes, and equal slots of one file. */
static void stable_and_inside(void **state)
{
    uint64_t a = make("a");
    struct volume_stat one, st;

    assert_int_equal(volume_write(T.v, &T.c, a, 0, data, 4 * SLOT_SIZE, true, NULL, NULL), 0);
    vt_sync(&T);
    one = vt_figures(&T);
    assert_int_equal(volume_write(T.v, &T.c, a, 4 * SLOT_SIZE, data, 4 * SLOT_SIZE, true, NULL, NULL), 0);
    vt_sync(&T);
    st = vt_figures(&T);
    assert_int_equal(st.stored, one.stored);
    assert_int_equal(st.logical, 8 * SLOT_SIZE);
    assert_int_equal(st.deduped, 4 * SLOT_SIZE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vt_read(&T, &T.c, a, 0, back, 8 * SLOT_SIZE), 8 * SLOT_SIZE);
        assert_memory_equal(back, data, 4 * SLOT_SIZE);
        assert_memory_equal(back + 4 * SLOT_SIZE, data, 4 * SLOT_SIZE);
        vt_reopen(&T);
    }
}

static void off_means_off(void **state)
{
    struct volume_props p;
    struct volume_stat one, st;

    volume_get_props(T.v, &p);
    p.dedup = false;
    assert_int_equal(volume_set_props(T.v, &p), 0);
    put("a");
    one = vt_figures(&T);
    expect(put("b"));
    st = vt_figures(&T);
    assert_int_equal(st.stored, 2 * one.stored);
    assert_int_equal(st.deduped, 0);
    assert_int_equal(query("SELECT count(*) FROM dedup"), 0);
}

static void zeros_stay_holes(void **state)
{
    uint64_t a, at;

    memset(data, 0, 3 * SLOT_SIZE);
    memset(data + 4 * SLOT_SIZE, 0, STORE_PAGE);             /* before a run, */
    memset(data + 6 * SLOT_SIZE - STORE_PAGE, 0, STORE_PAGE); /* and behind one */
    put("a");
    a = put("b");
    assert_int_equal(vt_figures(&T).deduped, SIZE - 3 * SLOT_SIZE - 2 * STORE_PAGE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(volume_seek(T.v, &T.c, a, 0, true, &at), 0);
        assert_int_equal(at, 3 * SLOT_SIZE);
        assert_int_equal(volume_seek(T.v, &T.c, a, at, false, &at), 0);
        assert_int_equal(at, 4 * SLOT_SIZE);
        expect(a);
        vt_reopen(&T);
    }
}

/* All hashes are the same: what differs is never shared. */
static void equal_hashes(void **state)
{
    uint64_t a, b;
    struct volume_stat one;

    dedup_hash_bits = 0;
    a = put("a");
    one = vt_figures(&T);
    assert_int_equal(one.deduped, 0);
    vt_reopen(&T);
    for (unsigned i = 0; i < SLOTS; i++)
        data[i * SLOT_SIZE + 70000] ^= 1;
    data[SIZE - 1] ^= 1;
    b = put("b");
    assert_int_equal(vt_figures(&T).deduped, 0);
    assert_true(vt_figures(&T).stored > one.stored * 3 / 2);
    expect(b);
    vt_reopen(&T);
    expect(b);
    for (unsigned i = 0; i < SLOTS; i++)
        data[i * SLOT_SIZE + 70000] ^= 1;
    data[SIZE - 1] ^= 1;
    expect(a);
}

/* The source changes: a copy keeps what it was given, and a hint to what is no more so is not followed. */
static void sources_change(void **state)
{
    uint64_t a = put("a"), b = put("b"), c;
    struct volume_stat st;

    for (unsigned i = 0; i < SLOTS; i += 3)
        assert_int_equal(volume_write(T.v, &T.c, a, i * SLOT_SIZE + 5000, "changed", 7, true, NULL, NULL), 0);
    assert_int_equal(volume_punch(T.v, &T.c, a, SLOT_SIZE, SLOT_SIZE), 0);
    assert_int_equal(vt_truncate(&T, a, 8 * SLOT_SIZE), 0);
    vt_sync(&T);
    expect(b);
    st = vt_figures(&T);
    assert_int_equal(snap_create(T.v, "s", NULL), 0);
    assert_int_equal(vt_truncate(&T, b, 0), 0); /* the rows of the rest lead here */
    vt_sync(&T);
    c = put("c");
    expect(c);
    vt_reopen(&T);
    expect(c);
    assert_int_equal(vt_unlink(&T, ROOT, "a"), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "c"), 0);
    vt_sync(&T);
    assert_true(vt_figures(&T).held >= st.stored / 2);
    c = put("c"); /* only the snapshot has it */
    expect(c);
    assert_int_equal(snap_destroy(T.v, "s"), 0);
    assert_int_equal(volume_gc(T.v), 0);
    vt_reopen(&T);
    expect(c);
}

/* What is damaged on the disk is not what new data is entrusted to. */
static void damage_is_not_shared(void **state)
{
    struct pack_entry *e;
    char path[256];
    int n;

    put("a");
    vt_close(&T);
    snprintf(path, sizeof(path), "%s/packs", T.dir);
    n = pack_entries(path, 1, &e);
    assert_int_equal(n, SLOTS + 1);
    snprintf(path, sizeof(path), "%s/packs/01/00000001.pack", T.dir);
    for (int i = 0; i < n; i++)
        st_flip(path, (off_t)e[i].off + 64 + 77);
    vt_open(&T);
    expect(put("b"));
    assert_int_equal(vt_figures(&T).deduped, 0);
    assert_int_equal(vt_unlink(&T, ROOT, "a"), 0);
    vt_sync(&T);
    (void)vt_figures(&T); /* so that the chunks are gone when the rest is checked */
    free(e);
}

/* A search that fails is a search that found nothing; only the table's row is part of the group. */
static void failing_searches(void **state)
{
    struct volume_stat one;

    put("a");
    one = vt_figures(&T);
    vt_reopen(&T);
    fault_arm("dedup.find", 1, FAULT_FAIL);
    expect(put("b"));
    assert_true(fault_disarm() >= 1);
    vt_reopen(&T);
    fault_arm("dedup.compare", 2, FAULT_FAIL);
    expect(put("c"));
    assert_true(fault_disarm() >= 2);
    assert_true(vt_figures(&T).stored <= one.stored * (SLOTS + 4) / SLOTS);
}

/* Between the comparison and the use of what was found, the source changes, in each way there is. */
static struct {
    unsigned how, calls;
    uint64_t src, other;
} meddle;

static void meddler(void)
{
    struct store_call c;

    store_call_init(&c, true);
    meddle.calls++;
    switch (meddle.how) {
    case 0: /* in memory only */
        assert_int_equal(volume_write(T.v, &c, meddle.src, 100, "x", 1, false, NULL, NULL), 0);
        break;
    case 1: /* published, perhaps in the same group */
        assert_int_equal(volume_write(T.v, &c, meddle.src, 100, "x", 1, true, NULL, NULL), 0);
        break;
    case 2:
        assert_int_equal(volume_punch(T.v, &c, meddle.src, 0, 4096), 0);
        break;
    case 3:
        assert_int_equal(volume_clone(T.v, &c, meddle.other, 0, meddle.src, 0, 4096, NULL), 0);
        break;
    case 4:
        assert_int_equal(volume_setattr(T.v, &c, meddle.src, &(struct vset){.mask = VSET_SIZE, .size = 1000}, NULL), 0);
        break;
    case 5:
        assert_int_equal(volume_unlink(T.v, &c, ROOT, "src", 3, 0, NULL, NULL), 0);
        break;
    }
    store_call_release(&c);
}

static void meddled_with(void **state)
{
    for (unsigned how = 0; how < 6; how++)
        for (unsigned way = 0; way < 4; way++) { /* cold or not; stable or not */
            uint64_t ino, calls = meddle.calls;
            meddle.how = how;
            meddle.other = make("other");
            assert_int_equal(volume_write(T.v, &T.c, meddle.other, 0, data + 5 * SLOT_SIZE, 4096, true, NULL, NULL), 0);
            meddle.src = make("src");
            assert_int_equal(volume_write(T.v, &T.c, meddle.src, 0, data, SLOT_SIZE, true, NULL, NULL), 0);
            vt_sync(&T);
            if (way & 1)
                vt_reopen(&T);
            ino = make("dst");
            dedup_found = meddler;
            assert_int_equal(volume_write(T.v, &T.c, ino, 0, data, SLOT_SIZE, way & 2, NULL, NULL), 0);
            assert_int_equal(volume_commit(T.v, &T.c, ino), 0);
            dedup_found = NULL;
            vt_sync(&T);
            assert_int_equal(meddle.calls, calls + 1);
            for (int i = 0; i < 2; i++) {
                assert_int_equal(vt_read(&T, &T.c, ino, 0, back, SLOT_SIZE), SLOT_SIZE);
                assert_memory_equal(back, data, SLOT_SIZE);
                vt_reopen(&T);
            }
            assert_int_equal(vt_unlink(&T, ROOT, "src"), how == 5 ? -ENOENT : 0);
            assert_int_equal(vt_unlink(&T, ROOT, "dst"), 0);
            assert_int_equal(vt_unlink(&T, ROOT, "other"), 0);
            vt_sync(&T);
            (void)vt_figures(&T); /* what is left of the rows is from now on nobody's */
        }
}

/* The index has the source still as it was, memory knows that it is a hole, or something else, by now. */
static void not_in_the_index_yet(void **state)
{
    uint64_t a = make("a"), other = make("other"), b;

    assert_int_equal(volume_write(T.v, &T.c, a, 0, data, 2 * SLOT_SIZE, true, NULL, NULL), 0);
    assert_int_equal(volume_write(T.v, &T.c, other, 0, data + 5 * SLOT_SIZE, SLOT_SIZE, true, NULL, NULL), 0);
    vt_sync(&T);
    vt_reopen(&T);
    assert_int_equal(volume_punch(T.v, &T.c, a, 0, SLOT_SIZE), 0);
    assert_int_equal(volume_clone(T.v, &T.c, other, 0, a, SLOT_SIZE, SLOT_SIZE, NULL), 0);
    b = make("b");
    assert_int_equal(volume_write(T.v, &T.c, b, 0, data, 2 * SLOT_SIZE, true, NULL, NULL), 0);
    vt_sync(&T);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(vt_read(&T, &T.c, b, 0, back, 2 * SLOT_SIZE), 2 * SLOT_SIZE);
        assert_memory_equal(back, data, 2 * SLOT_SIZE);
        vt_reopen(&T);
    }
}

/* One thread changes the sources all the time, another writes what they just had. */
struct changer {
    uint64_t ino[2];
    atomic_bool stop;
};

static void *change(void *arg)
{
    struct changer *ch = arg;
    struct store_call c;
    uint64_t rng = 77;

    store_call_init(&c, true);
    while (!ch->stop) {
        uint64_t i = st_random(&rng) % 4, what = st_random(&rng) % 4, ino = ch->ino[st_random(&rng) % 2];
        switch (st_random(&rng) % 4) {
        case 0:
            assert_int_equal(volume_punch(T.v, &c, ino, i * SLOT_SIZE, SLOT_SIZE), 0);
            break;
        case 1:
            assert_int_equal(volume_commit(T.v, &c, ino), 0);
            break;
        default:
            assert_int_equal(volume_write(T.v, &c, ino, i * SLOT_SIZE, data + what * SLOT_SIZE, SLOT_SIZE, what & 1,
                                          NULL, NULL), 0);
        }
        store_call_release(&c);
    }
    store_call_release(&c);
    return NULL;
}

static void changing_sources(void **state)
{
    struct changer ch = {.ino = {make("a"), make("b")}};
    uint64_t ino = make("c"), rng = 5;
    unsigned has[SLOTS] = {0}, shared = 0;
    pthread_t th;

    assert_int_equal(pthread_create(&th, NULL, change, &ch), 0);
    for (unsigned n = 0; n < 3000 && (n < 400 || shared < 100); n++) {
        unsigned i = (unsigned)(st_random(&rng) % SLOTS), what = (unsigned)(st_random(&rng) % 4);
        struct volume_stat st;
        assert_int_equal(volume_write(T.v, &T.c, ino, i * SLOT_SIZE, data + what * SLOT_SIZE, SLOT_SIZE, n % 3 == 0,
                                      NULL, NULL), 0);
        has[i] = what + 1;
        if (n % 3 == 1)
            assert_int_equal(volume_commit(T.v, &T.c, ino), 0);
        store_call_release(&T.c);
        volume_stat(T.v, &st);
        shared = (unsigned)(st.deduped / SLOT_SIZE);
    }
    ch.stop = true;
    pthread_join(th, NULL);
    assert_true(shared > 20);
    for (int again = 0; again < 2; again++) {
        for (unsigned i = 0; i < SLOTS; i++) {
            if (!has[i])
                continue;
            assert_int_equal(vt_read(&T, &T.c, ino, i * SLOT_SIZE, back, SLOT_SIZE), SLOT_SIZE);
            assert_memory_equal(back, data + (has[i] - 1) * SLOT_SIZE, SLOT_SIZE);
        }
        assert_int_equal(volume_commit(T.v, &T.c, ino), 0);
        vt_sync(&T);
        vt_reopen(&T);
    }
}

/* --- crashes --- */

#define FILES 4u
#define WIDE  4u
#define STEPS 40u

/* Which contents each slot has; 0: none. */
struct shape {
    unsigned what[FILES][WIDE];
};

/* Step n of a seed, on the shape and, if there is one, the volume; each leaves all of it durable or not at all. */
static void step(struct shape *s, uint64_t seed, unsigned n, const uint64_t *ino)
{
    uint64_t rng = seed * 1000 + n + 1;
    unsigned f, i, k, what;

    st_random(&rng);
    f = (unsigned)(st_random(&rng) % FILES);
    i = (unsigned)(st_random(&rng) % WIDE);
    what = 1 + (unsigned)(st_random(&rng) % 3);
    k = (unsigned)(st_random(&rng) % 10);
    if (k < 7) {
        s->what[f][i] = what;
        if (ino && volume_write(T.v, &T.c, ino[f], i * SLOT_SIZE, data + (what - 1) * SLOT_SIZE, SLOT_SIZE, k & 1, NULL,
                                NULL) < 0)
            _exit(2);
        if (ino && volume_commit(T.v, &T.c, ino[f]) < 0)
            _exit(2);
    } else if (k < 9) {
        s->what[f][i] = 0;
        if (ino && volume_punch(T.v, &T.c, ino[f], i * SLOT_SIZE, SLOT_SIZE) < 0)
            _exit(2);
    } else if (ino && volume_gc(T.v) < 0) {
        _exit(2);
    }
}

static bool shape_is(const struct shape *s)
{
    static const unsigned char zero[SLOT_SIZE];
    bool same = true;

    for (unsigned f = 0; f < FILES; f++) {
        char name[8];
        struct vattr a;
        snprintf(name, sizeof(name), "f%u", f);
        assert_int_equal(vt_lookup(&T, &T.c, ROOT, name, &a), 0);
        for (unsigned i = 0; i < WIDE; i++) {
            const unsigned char *want = s->what[f][i] ? data + (s->what[f][i] - 1) * SLOT_SIZE : zero;
            long n = vt_read(&T, &T.c, a.ino, i * SLOT_SIZE, back, SLOT_SIZE);
            assert_true(n >= 0);
            memset(back + n, 0, SLOT_SIZE - (size_t)n);
            same &= memcmp(back, want, SLOT_SIZE) == 0;
        }
    }
    return same;
}

static void child(uint64_t seed, unsigned nth, int fd)
{
    struct shape s = {0};
    uint64_t ino[FILES];
    char c = 'x';

    vt_open(&T);
    for (unsigned f = 0; f < FILES; f++) {
        char name[8];
        snprintf(name, sizeof(name), "f%u", f);
        ino[f] = make(name);
    }
    vt_sync(&T);
    if (write(fd, &c, 1) != 1)
        _exit(2);
    fault_arm("", nth, FAULT_CRASH);
    for (unsigned n = 0; n < STEPS; n++) {
        step(&s, seed, n, ino);
        if (volume_call_wait(&T.c) < 0)
            _exit(2);
        store_call_release(&T.c);
        if (write(fd, &c, 1) != 1)
            _exit(2);
    }
    _exit(0);
}

static bool crash_once(uint64_t seed, unsigned nth)
{
    struct shape s = {0};
    int fds[2], status, acked = 0;
    bool same;
    char c;
    pid_t pid;

    vt_close(&T);
    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        child(seed, nth, fds[1]);
    }
    close(fds[1]);
    while (read(fds[0], &c, 1) == 1)
        acked++;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0));
    assert_true(acked >= 1);
    model_check_disk(&T);
    vt_open(&T);
    for (int n = 1; n < acked; n++)
        step(&s, seed, (unsigned)n - 1, NULL);
    same = shape_is(&s);
    if (!same && WEXITSTATUS(status) == 99) {
        step(&s, seed, (unsigned)acked - 1, NULL);
        same = shape_is(&s);
    }
    if (!same)
        print_message("seed %llu, point %u, after %d steps\n", (unsigned long long)seed, nth, acked - 1);
    assert_true(same);
    return WEXITSTATUS(status) == 99;
}

static void dies_at_each_point(void **state)
{
    bool crashed = true;

    for (unsigned n = 1; crashed; n += n < 16 ? 1 : n / 5) {
        crashed = crash_once(3, n);
        teardown(state);
        setup(state);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(copies_cost_one, setup, teardown),
        cmocka_unit_test_setup_teardown(stable_and_inside, setup, teardown),
        cmocka_unit_test_setup_teardown(off_means_off, setup, teardown),
        cmocka_unit_test_setup_teardown(zeros_stay_holes, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_hashes, setup, teardown),
        cmocka_unit_test_setup_teardown(sources_change, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_not_shared, setup, teardown),
        cmocka_unit_test_setup_teardown(failing_searches, setup, teardown),
        cmocka_unit_test_setup_teardown(meddled_with, setup, teardown),
        cmocka_unit_test_setup_teardown(not_in_the_index_yet, setup, teardown),
        cmocka_unit_test_setup_teardown(changing_sources, setup, teardown),
        cmocka_unit_test_setup_teardown(dies_at_each_point, setup, teardown),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("dedup", tests, NULL, NULL);
}
