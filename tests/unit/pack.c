/* SPDX-License-Identifier: Apache-2.0
 * Tests of pack: damage, torn tails, failed syncs, sealing, deletion, several appenders.
 */
#include "server/store/pack.h"

#include <fcntl.h>
#include <pthread.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/fault.h"
#include "tests/unit/storetest.h"

static uint8_t big[SLOT_SIZE], back[CHUNK_BOUND];
static uint8_t window[PACK_WINDOW] __attribute__((aligned(PACK_BLOCK)));

static int setup(void **state)
{
    *state = st_tmpdir();
    return 0;
}

static int teardown(void **state)
{
    fault_disarm();
    st_rmtree(*state);
    return 0;
}

static struct packset *set_open(const char *dir, uint32_t next)
{
    struct packset *ps = NULL;

    assert_int_equal(packset_open(st_path(dir, "packs"), "test", next, &ps), 0);
    return ps;
}

/* Raw bytes whose content follows from the id. */
static void make(struct chunk *c, uint64_t id, uint32_t len, uint8_t *buf)
{
    st_fill(buf, len, id);
    *c = (struct chunk){.id = id, .stored_len = len, .len = len, .codec = CHUNK_RAW,
                        .checksum = XXH3_64bits(buf, len)};
}

static void append(struct packset *ps, struct chunk *c, uint64_t id, uint32_t len)
{
    make(c, id, len, big);
    assert_int_equal(packset_append(ps, c, 7, id * SLOT_SIZE, big), 0);
    assert_true(c->pack > 0 && c->pack_off >= 64);
}

static int check_read(struct packset *ps, const struct chunk *c)
{
    struct chunk same;
    int rc = packset_read(ps, c, back);
    const void *payload;

    if (rc == 0) {
        make(&same, c->id, c->len, big);
        assert_memory_equal(back, big, c->len);
        assert_int_equal(packset_read_past(ps, c, window, &payload), 0);
        assert_memory_equal(payload, big, c->len);
        assert_true((const uint8_t *)payload + c->len <= window + PACK_WINDOW);
    }
    return rc;
}

struct seen {
    unsigned good, bad;
    uint64_t last;
    int stop_at;
};

static int see(void *arg, const struct chunk *c, uint64_t ino, uint64_t off, bool good)
{
    struct seen *s = arg;

    assert_int_equal(ino, 7);
    assert_int_equal(off, c->id * SLOT_SIZE);
    *(good ? &s->good : &s->bad) += 1;
    s->last = c->id;
    return s->stop_at && (int)(s->good + s->bad) == s->stop_at ? 42 : 0;
}

static struct seen walk(const char *dir, uint32_t pack, int want)
{
    struct seen s = {0};

    assert_int_equal(pack_walk(st_path(dir, "packs"), pack, see, &s), want);
    return s;
}

static void read_refuses_damage(void **state)
{
    struct packset *ps = set_open(*state, 1);
    struct chunk c[3], bad;
    const void *payload;
    char file[512];

    snprintf(file, sizeof(file), "%s/packs/01/00000001.pack", (char *)*state);
    for (int i = 0; i < 3; i++)
        append(ps, &c[i], (uint64_t)i + 1, 5000);
    assert_int_equal(packset_sync(ps), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(check_read(ps, &c[i]), 0);
    /* any byte of the header */
    for (int i = 0; i < 64; i++) {
        st_flip(file, (off_t)c[1].pack_off + i);
        assert_int_equal(packset_read(ps, &c[1], back), -EUCLEAN);
        assert_int_equal(packset_read_past(ps, &c[1], window, &payload), -EUCLEAN);
        st_flip(file, (off_t)c[1].pack_off + i);
    }
    /* a payload byte: chunk_decode sees it, the walk tells it */
    st_flip(file, (off_t)c[1].pack_off + 64 + 1234);
    assert_int_equal(packset_read(ps, &c[1], back), 0);
    assert_int_equal(chunk_decode(&c[1], back, back), -EUCLEAN);
    struct seen s = walk(*state, 1, 0);
    assert_int_equal(s.good, 2);
    assert_int_equal(s.bad, 1);
    st_flip(file, (off_t)c[1].pack_off + 64 + 1234);
    /* an index row that names something else */
    bad = c[1];
    bad.id++;
    assert_int_equal(packset_read(ps, &bad, back), -EUCLEAN);
    bad = c[1];
    bad.stored_len--;
    assert_int_equal(packset_read(ps, &bad, back), -EUCLEAN);
    bad = c[1];
    bad.pack_off = c[2].pack_off;
    assert_int_equal(packset_read(ps, &bad, back), -EUCLEAN);
    bad.pack_off = 1ULL << 62;
    assert_int_equal(packset_read(ps, &bad, back), -EUCLEAN);
    bad = c[1];
    bad.stored_len = UINT32_MAX;
    assert_int_equal(packset_read(ps, &bad, back), -EUCLEAN);
    bad = c[1];
    bad.pack = 0;
    assert_int_equal(packset_read(ps, &bad, back), -EUCLEAN);
    bad.pack = 99;
    assert_int_equal(packset_read(ps, &bad, back), -ENOENT);
    assert_int_equal(packset_read_past(ps, &bad, window, &payload), -ENOENT);
    bad.pack_off = 1ULL << 62;
    assert_int_equal(packset_read_past(ps, &bad, window, &payload), -EUCLEAN);
    /* a truncated file */
    assert_int_equal(truncate(file, (off_t)c[2].pack_off + 64 + 4999), 0);
    assert_int_equal(packset_read(ps, &c[2], back), -EUCLEAN);
    assert_int_equal(packset_read_past(ps, &c[2], window, &payload), -EUCLEAN);
    assert_int_equal(check_read(ps, &c[1]), 0);
    packset_close(ps);
}

static void walk_ends_at_torn_tail(void **state)
{
    struct packset *ps = set_open(*state, 1);
    struct chunk c[4];
    char file[512];

    snprintf(file, sizeof(file), "%s/packs/01/00000001.pack", (char *)*state);
    for (int i = 0; i < 4; i++)
        append(ps, &c[i], (uint64_t)i + 1, 3000 + (uint32_t)i);
    packset_close(ps);
    assert_int_equal(walk(*state, 1, 0).good, 4);
    struct seen s = {.stop_at = 2};
    assert_int_equal(pack_walk(st_path(*state, "packs"), 1, see, &s), 42);
    for (off_t size = st_size(file) - 1; size >= (off_t)c[3].pack_off; size -= 97) {
        assert_int_equal(truncate(file, size), 0);
        assert_true(walk(*state, 1, 0).good >= 3);
    }
    assert_int_equal(truncate(file, (off_t)c[3].pack_off + 3000), 0);
    assert_int_equal(walk(*state, 1, 0).good, 3);
    st_flip(file, (off_t)c[1].pack_off + 20); /* unsealed: nothing leads past a bad header */
    assert_int_equal(walk(*state, 1, 0).good, 1);
    assert_int_equal(truncate(file, 64), 0);
    assert_int_equal(walk(*state, 1, 0).good, 0);
    assert_int_equal(truncate(file, 63), 0);
    walk(*state, 1, -EUCLEAN);
    walk(*state, 2, -ENOENT);
    /* appending after a crash starts a new pack, whatever the caller believes */
    ps = set_open(*state, 1);
    assert_int_equal(packset_next(ps), 2);
    assert_int_equal(packset_current(ps), 0);
    append(ps, &c[0], 9, 100);
    assert_int_equal(c[0].pack, 2);
    assert_int_equal(packset_current(ps), 2);
    packset_close(ps);
}

static int count_pack(void *arg, uint32_t pack, uint64_t size)
{
    uint32_t *n = arg;

    assert_true(pack > n[0]);
    n[0] = pack;
    n[1]++;
    return 0;
}

static void seals_full_packs(void **state)
{
    struct packset *ps = set_open(*state, 5);
    static struct chunk c[1100];
    uint32_t n[2] = {0, 0};
    char path[64];

    for (unsigned i = 0; i < 1100; i++) /* 137 MiB: two packs full, a third begun */
        append(ps, &c[i], i + 1, SLOT_SIZE);
    assert_int_equal(c[0].pack, 5);
    assert_int_equal(c[1099].pack, 7);
    assert_int_equal(packset_delete(ps, 5, NULL), -EBUSY);
    assert_int_equal(packset_sync(ps), 0);
    uint64_t bytes = packset_bytes(ps);
    assert_true(bytes > 1100ull * SLOT_SIZE && bytes < 1100ull * (SLOT_SIZE + 100));
    for (unsigned i = 0; i < 1100; i += 37)
        assert_int_equal(check_read(ps, &c[i]), 0);
    assert_int_equal(packset_delete(ps, 7, NULL), -EBUSY);
    assert_int_equal(pack_list(st_path(*state, "packs"), count_pack, n), 0);
    assert_int_equal(n[1], 3);

    /* the directory leads the walk past a damaged header, and a damaged directory harms nothing */
    unsigned in5 = walk(*state, 5, 0).good;
    assert_true(in5 > 500);
    snprintf(path, sizeof(path), "packs/05/00000005.pack");
    st_flip(st_path(*state, path), (off_t)c[10].pack_off + 9);
    struct seen s = walk(*state, 5, 0);
    assert_int_equal(s.good, in5 - 1);
    st_flip(st_path(*state, path), st_size(st_path(*state, path)) - 100);
    assert_int_equal(walk(*state, 5, 0).good, 10);

    assert_int_equal(packset_delete(ps, 5, NULL), 0);
    assert_int_equal(packset_delete(ps, 5, NULL), 0);
    assert_int_equal(packset_read(ps, &c[0], back), -ENOENT);
    assert_true(packset_bytes(ps) < bytes - 500ull * SLOT_SIZE);
    packset_close(ps);
    /* reopened: bytes are counted again, numbers go on */
    ps = set_open(*state, 1);
    assert_int_equal(packset_next(ps), 8);
    assert_true(packset_bytes(ps) > 500ull * SLOT_SIZE);
    assert_int_equal(check_read(ps, &c[1099]), 0);
    packset_close(ps);
}

/* Who has a pack open while it is removed and gets shorter hears that it is gone, not that it is damaged. */
static void reader_of_a_removed_pack(void **state)
{
    struct packset *ps = set_open(*state, 1);
    const void *payload;
    struct chunk c[64];
    struct release rest;
    const char *file = st_path(*state, "packs/01/00000001.pack");
    int fd;

    for (unsigned i = 0; i < 64; i++)
        append(ps, &c[i], i + 1, 60000);
    packset_retire(ps, 1);
    assert_int_equal(packset_sync(ps), 0);
    fd = open(file, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    for (unsigned i = 62; i < 64; i++) { /* it keeps its descriptors */
        assert_int_equal(check_read(ps, &c[i]), 0);
        assert_int_equal(packset_read_past(ps, &c[i], window, &payload), 0);
    }
    assert_int_equal(ftruncate(fd, (off_t)c[63].pack_off + 70), 0);
    assert_int_equal(packset_read(ps, &c[63], back), -EUCLEAN); /* it has its name */
    assert_int_equal(release_unlink(AT_FDCWD, file, &rest), 0);
    assert_int_equal(check_read(ps, &c[62]), 0);
    assert_int_equal(packset_read(ps, &c[63], back), -ENOENT);
    assert_int_equal(packset_read_past(ps, &c[63], window, &payload), -ENOENT);
    release_all(&rest);
    assert_int_equal(ftruncate(fd, 0), 0);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(packset_read_past(ps, &c[i], window, &payload), -ENOENT);
    close(fd);
    packset_close(ps);
}

static void failed_sync_is_for_ever(void **state)
{
    struct packset *ps = set_open(*state, 1);
    struct chunk a, b;

    append(ps, &a, 1, 1000);
    assert_int_equal(packset_sync(ps), 0);
    append(ps, &a, 2, 1000);
    fault_arm("pack.sync", 1, FAULT_FAIL);
    assert_int_equal(packset_sync(ps), -EIO);
    fault_disarm();
    assert_int_equal(packset_sync(ps), -EIO);
    /* what comes later goes elsewhere, and the set still tells of the loss */
    append(ps, &b, 3, 1000);
    assert_int_not_equal(b.pack, a.pack);
    assert_int_equal(packset_sync(ps), -EIO);
    assert_int_equal(check_read(ps, &b), 0);
    packset_close(ps);
    ps = set_open(*state, 1);
    assert_int_equal(packset_sync(ps), 0);
    packset_close(ps);
}

static void failed_write_retires_the_pack(void **state)
{
    struct packset *ps = set_open(*state, 1);
    struct chunk a, b, lost;

    append(ps, &a, 1, 1000);
    make(&lost, 2, 500, big);
    fault_arm("pack.write", 1, FAULT_FAIL);
    assert_int_equal(packset_append(ps, &lost, 7, 0, big), -EIO);
    fault_arm("pack.create", 1, FAULT_FAIL);
    assert_int_equal(packset_append(ps, &lost, 7, 0, big), -EIO);
    fault_disarm();
    append(ps, &b, 3, 1000);
    assert_int_not_equal(b.pack, a.pack);
    assert_int_equal(packset_sync(ps), 0); /* nothing that was promised is missing */
    assert_int_equal(check_read(ps, &a), 0);
    assert_int_equal(check_read(ps, &b), 0);
    assert_int_equal(walk(*state, a.pack, 0).good, 1);
    fault_arm("pack.delete", 1, FAULT_FAIL);
    assert_int_equal(packset_delete(ps, a.pack, NULL), -EIO);
    fault_disarm();
    assert_int_equal(check_read(ps, &a), 0);
    assert_int_equal(packset_delete(ps, a.pack, NULL), 0);
    make(&lost, 4, 500, big);
    lost.stored_len = 0;
    assert_int_equal(packset_append(ps, &lost, 7, 0, big), -EINVAL);
    lost.stored_len = CHUNK_BOUND + 1;
    assert_int_equal(packset_append(ps, &lost, 7, 0, big), -EINVAL);
    packset_close(ps);
}

static void foreign_files_are_ignored(void **state)
{
    struct packset *ps = set_open(*state, 1);
    struct chunk a;
    uint32_t n[2] = {0, 0};
    static const char *const junk[] = {"packs/01/00000002.pack", "packs/01/1.pack",
                                       "packs/01/00000101.pack.old", "packs/01/-0000001.pack",
                                       "packs/01/ 0000001.pack", "packs/zz"};

    append(ps, &a, 1, 10);
    packset_close(ps);
    for (size_t i = 0; i < sizeof(junk) / sizeof(*junk); i++)
        close(open(st_path(*state, junk[i]), O_CREAT | O_WRONLY, 0600));
    assert_int_equal(pack_list(st_path(*state, "packs"), count_pack, n), 0);
    assert_int_equal(n[1], 1);
    assert_int_equal(pack_list(st_path(*state, "none"), count_pack, n), -ENOENT);
}

struct job {
    struct packset *ps;
    uint64_t first;
    struct chunk c[400];
    int rc;
};

static void *appender(void *arg)
{
    struct job *j = arg;
    uint8_t *buf = malloc(SLOT_SIZE);

    for (unsigned i = 0; i < 400 && !j->rc; i++) {
        make(&j->c[i], j->first + i, 1 + (uint32_t)(i * 2477 % SLOT_SIZE), buf);
        j->rc = packset_append(j->ps, &j->c[i], 7, j->c[i].id * SLOT_SIZE, buf);
    }
    free(buf);
    return NULL;
}

static void several_appenders(void **state)
{
    struct packset *ps = set_open(*state, 1);
    static struct job j[4];
    pthread_t t[4];
    unsigned good = 0;

    for (unsigned i = 0; i < 4; i++) {
        j[i] = (struct job){.ps = ps, .first = 1 + 1000 * i};
        assert_int_equal(pthread_create(&t[i], NULL, appender, &j[i]), 0);
    }
    for (int i = 0; i < 5; i++)
        assert_int_equal(packset_sync(ps), 0);
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(j[i].rc, 0);
    }
    assert_int_equal(packset_sync(ps), 0);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 400; k++)
            assert_int_equal(check_read(ps, &j[i].c[k]), 0);
    uint32_t last = packset_next(ps);
    packset_close(ps);
    for (uint32_t p = 1; p < last; p++)
        good += walk(*state, p, 0).good;
    assert_int_equal(good, 1600);
}

/* Reads, syncs and failed appends at every length of the stage, and then an end without a close. */
static void stages_lose_nothing(void **state)
{
    enum { N = 300 };
    static struct chunk c[N];
    unsigned synced = N / 4 * 4 - 4 + 1; /* the last sync below is after this many */
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct packset *ps = set_open(*state, 1);

        for (unsigned i = 0; i < N; i++) {
            append(ps, &c[i], i + 1, 1 + i * 7919 % (SLOT_SIZE / 2));
            if (i % 3 == 0)
                assert_int_equal(check_read(ps, &c[i]), 0); /* though it may be in memory only */
            if (i % 4 == 0)
                assert_int_equal(packset_sync(ps), 0);
            if (i % 5 == 0)
                assert_int_equal(check_read(ps, &c[i / 2]), 0);
        }
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(check_read(ps, &c[i]), 0);
        append(ps, &c[0], N + 1, 100);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct seen s = walk(*state, 1, 0);
    assert_int_equal(s.bad, 0);
    assert_true(s.good >= synced && s.good == s.last);
}

static void failed_flush_is_told(void **state)
{
    struct packset *ps = set_open(*state, 1);
    struct chunk c[12], b;

    append(ps, &c[0], 1, 1000);
    assert_int_equal(packset_sync(ps), 0);
    fault_arm("pack.flush", 1, FAULT_FAIL);
    for (unsigned i = 1; i < 12; i++) /* more than a stage: the write fails beside an append that is fine */
        append(ps, &c[i], i + 1, SLOT_SIZE);
    assert_true(fault_disarm() >= 1);
    assert_int_not_equal(c[11].pack, c[0].pack);
    assert_int_equal(packset_sync(ps), -EIO);
    append(ps, &b, 20, 1000);
    assert_int_equal(packset_sync(ps), -EIO);
    assert_int_equal(check_read(ps, &c[0]), 0);
    assert_int_equal(packset_read(ps, &c[1], back), -EUCLEAN);
    assert_int_equal(check_read(ps, &b), 0);
    packset_close(ps);
}

/* Where space cannot be reserved each append writes by itself; where it suddenly cannot, the append fails. */
static void without_stages(void **state)
{
    struct packset *ps = set_open(*state, 1);
    struct chunk c[40], lost;

    fault_arm("pack.space", 1, FAULT_FAIL);
    append(ps, &c[0], 1, 1000);
    assert_int_equal(fault_disarm(), 1);
    fault_arm("pack.flush", 1, FAULT_FAIL);
    for (unsigned i = 1; i < 40; i++)
        append(ps, &c[i], i + 1, SLOT_SIZE - i);
    assert_int_equal(packset_sync(ps), 0);
    assert_int_equal(fault_disarm(), 0);
    make(&lost, 50, 500, big);
    fault_arm("pack.write", 1, FAULT_FAIL);
    assert_int_equal(packset_append(ps, &lost, 7, 0, big), -EIO);
    fault_disarm();
    for (unsigned i = 0; i < 40; i++)
        assert_int_equal(check_read(ps, &c[i]), 0);
    append(ps, &c[0], 41, 1000); /* a pack with stages */
    fault_arm("pack.space", 1, FAULT_FAIL);
    for (unsigned i = 0; i < 40 && packset_append(ps, &lost, 7, 0, big) == 0; i++)
        make(&lost, 60 + i, SLOT_SIZE, big);
    assert_int_equal(fault_disarm(), 1);
    assert_int_equal(packset_sync(ps), 0);
    packset_close(ps);
    assert_int_equal(walk(*state, 1, 0).good, 40);
}

static off_t file_size(const char *dir, uint32_t pack)
{
    char path[PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s/packs/%02x/%08x.pack", dir, pack & 0xff, pack);
    assert_int_equal(stat(path, &st), 0);
    return st.st_size;
}

/* Space is reserved in larger steps the more is written, all of a pack's after one was filled, and is given back. */
static void reserves_more_and_more(void **state)
{
    enum { STEP = 2 << 20, SIZE = 16 << 20 };
    struct packset *ps = set_open(*state, 1);
    off_t last = 0, size, steps[8];
    struct chunk c = {0};
    struct statvfs fs;
    unsigned n = 0;

    assert_int_equal(statvfs(*state, &fs), 0);
    if ((uint64_t)fs.f_bavail * fs.f_frsize < 256ull * SIZE) { /* small disks reserve little */
        packset_close(ps);
        skip();
    }
    packset_set_size(ps, SIZE);
    for (uint64_t id = 1; c.pack < 2; id++) {
        append(ps, &c, id, SLOT_SIZE);
        size = file_size(*state, 1);
        if (size > last && c.pack == 1 && n < 8)
            steps[n++] = size - last;
        last = size;
    }
    assert_int_equal(steps[0], STEP);
    assert_int_equal(steps[1], 2 * STEP);
    assert_int_equal(n, 4); /* 2, 4, 8, and what is left */
    assert_int_equal(file_size(*state, 2), SIZE);
    packset_close(ps);
    assert_in_range(file_size(*state, 2), SLOT_SIZE, 2 * SLOT_SIZE);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(read_refuses_damage),     T(walk_ends_at_torn_tail),        T(seals_full_packs),
        T(failed_sync_is_for_ever), T(failed_write_retires_the_pack), T(foreign_files_are_ignored),
        T(several_appenders),       T(stages_lose_nothing),           T(failed_flush_is_told),
        T(without_stages),          T(reserves_more_and_more), T(reader_of_a_removed_pack),
    };
    return cmocka_run_group_tests_name("pack", tests, NULL, NULL);
}
