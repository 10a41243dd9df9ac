/* SPDX-License-Identifier: Apache-2.0
 * Cold caches, damaged packs, full disks, failing steps.
 */
#include "tests/unit/volumemodel.h"

#include <sys/statvfs.h>

#include "common/clock.h"
#include "server/store/repair.h"
#include "server/store/volume_int.h"
#include "tests/unit/smalldisk.h"
#include "tests/unit/storetest.h"

#define ROOT STORE_ROOT_INO

static struct vt T;

static int setup(void **state)
{
    vt_make(&T, NULL);
    vt_open(&T);
    return 0;
}

static int teardown(void **state)
{
    fault_disarm();
    if (T.v)
        vt_close(&T);
    vt_remove(&T);
    return 0;
}

static void cold_calls_have_no_effect(void **state)
{
    struct vattr f, d, a, root;
    struct dir_change dc;
    uint64_t at;
    bool empty, eof;
    unsigned char *w = malloc(1u << 20);
    char buf[16];

    vt_fill(w, 1u << 20, 3);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &f), 0);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "d", IT_DIR, &d), 0);
    assert_int_equal(volume_write(T.v, &T.c, f.ino, 0, w, 200000, true, NULL, NULL), 0);
    vt_sync(&T);
    vt_reopen(&T);
    assert_int_equal(volume_getattr(T.v, &T.n, f.ino, 0, &a), -EAGAIN);
    assert_int_equal(volume_hold(T.v, &T.n, f.ino), -EAGAIN);
    assert_int_equal(vt_create(&T, &T.n, ROOT, "g", IT_REG, &a), -EAGAIN);
    assert_int_equal(volume_unlink(T.v, &T.n, ROOT, "f", 1, 0, NULL, &dc), -EAGAIN);
    assert_int_equal(volume_rename(T.v, &T.n, ROOT, "f", 1, d.ino, "g", 1, 0, 0, NULL, NULL, NULL), -EAGAIN);
    assert_int_equal(volume_write(T.v, &T.n, f.ino, 10, "x", 1, false, NULL, NULL), -EAGAIN);
    assert_int_equal(volume_is_empty(T.v, &T.n, &empty), -EAGAIN);
    assert_int_equal(volume_getattr(T.v, &T.c, f.ino, 0, &a), 0);
    assert_int_equal(a.change, f.change + 1);
    assert_int_equal(volume_write(T.v, &T.n, f.ino, 10, "x", 1, false, NULL, NULL), -EAGAIN);
    assert_int_equal(volume_read(T.v, &T.n, f.ino, 0, 10, &(struct volume_read){0}), -EAGAIN);
    assert_int_equal(volume_seek(T.v, &T.n, f.ino, 0, true, &at), -EAGAIN);
    assert_int_equal(volume_getxattr(T.v, &T.n, f.ino, "k", 1, buf, 16), -EAGAIN);
    assert_int_equal(volume_readdir(T.v, &T.n, ROOT, 0, 10, NULL, NULL, &eof), -EAGAIN);
    /* whole pages need nothing from the disk */
    assert_int_equal(volume_write(T.v, &T.n, f.ino, 4096, w, 8192, false, NULL, &a), 0);
    assert_int_equal(volume_write(T.v, &T.n, f.ino, 262144, w, 262144, false, NULL, NULL), 0);
    assert_int_equal(volume_write(T.v, &T.n, f.ino, 262144, w, 262144, true, NULL, NULL), -EAGAIN);
    assert_int_equal(volume_getattr(T.v, &T.c, f.ino, 0, &a), 0);
    assert_int_equal(a.size, 524288);
    assert_int_equal(volume_getattr(T.v, &T.c, ROOT, 0, &root), 0);
    assert_int_equal(vt_create(&T, &T.n, ROOT, "g", IT_REG, &a), -EAGAIN);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "nothing", &a), -ENOENT);
    /* the directory was read as a whole: now it works without the disk */
    assert_int_equal(vt_create(&T, &T.n, ROOT, "g", IT_REG, &a), 0);
    assert_int_equal(volume_is_empty(T.v, &T.n, &empty), 0);
    assert_false(empty);
    free(w);
}

/* Flips a byte in the payload of the first pack's first record or the one behind it. */
static bool damage_pack(const char *dir)
{
    char cmd[256], path[512] = "";
    FILE *p;
    long size;

    snprintf(cmd, sizeof(cmd), "find '%s/packs' -name '*.pack' -size +1 | sort | head -1", dir);
    p = popen(cmd, "r");
    if (!p || !fgets(path, sizeof(path), p))
        path[0] = 0;
    if (p)
        pclose(p);
    path[strcspn(path, "\n")] = 0;
    if (!path[0])
        return false;
    size = (long)st_size(path);
    if (size < 2000)
        return false;
    st_flip(path, 4096 + 64 + 500 < size ? 4096 + 64 + 500 : size / 2);
    return true;
}

/* A pack that is not there is damage like any other: an error for its data, not for the file. */
static void missing_pack(void **state)
{
    unsigned char *w = malloc(300000), *r = malloc(300000);
    struct vattr a;
    char cmd[256];

    vt_fill(w, 300000, 5);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 262144, false, NULL, NULL), 0);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 262144, w + 262144, 20000, true, NULL, NULL), 0);
    vt_sync(&T);
    vt_close(&T);
    snprintf(cmd, sizeof(cmd), "find '%s/packs' -name '*.pack' -delete", T.dir);
    assert_int_equal(system(cmd), 0);
    vt_open(&T);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 100), -EUCLEAN);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 131072 + 5000, r, 100), -EUCLEAN);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 262144, r, 20000), -EUCLEAN); /* came by the journal */
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 262144, false, NULL, NULL), 0);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 262144), 262144);
    assert_memory_equal(r, w, 262144);
    free(w);
    free(r);
}

static void damage_stays_local(void **state)
{
    struct vattr a;
    unsigned char *w = malloc(2u << 20), *r = malloc(2u << 20);
    unsigned bad = 0, good = 0;

    vt_fill(w, 2u << 20, 77);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 2u << 20, false, NULL, NULL), 0);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
    vt_sync(&T);
    vt_close(&T);
    assert_true(damage_pack(T.dir));
    vt_open(&T);
    for (uint32_t off = 0; off < 2u << 20; off += 65536) {
        long got = vt_read(&T, &T.c, a.ino, off, r, 65536);
        if (got < 0) {
            assert_int_equal(got, -EUCLEAN);
            bad++;
        } else {
            assert_int_equal(got, 65536);
            assert_memory_equal(r, w + off, 65536);
            good++;
        }
    }
    assert_int_equal(bad, 2); /* one slot */
    assert_int_equal(good, 30);
    /* writing over it heals it */
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 2u << 20, false, NULL, NULL), 0);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
    vt_sync(&T);
    vt_reopen(&T);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 2u << 20), 2u << 20);
    assert_memory_equal(r, w, 2u << 20);
    free(w);
    free(r);
}

static void failed_encode_keeps_data(void **state)
{
    struct vattr a;
    char r[8];

    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, "abc", 3, false, NULL, NULL), 0);
    fault_arm("slot.encode", 1, FAULT_FAIL);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), -EIO);
    assert_int_equal(fault_disarm(), 1);
    assert_int_equal(vt_read(&T, &T.n, a.ino, 0, r, 8), 3);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
    vt_sync(&T);
    vt_reopen(&T);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 8), 3);
    assert_memory_equal(r, "abc", 3);
}

static void old_data_is_written_unasked(void **state)
{
    struct volume_stat st;
    struct vattr a;
    unsigned char w[9000];

    vt_fill(w, sizeof(w), 5);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    vt_sync(&T);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, sizeof(w), false, NULL, NULL), 0);
    clock_test_advance(5000);
    for (int i = 0; i < 1200; i++) {
        volume_stat(T.v, &st);
        if (st.stored)
            break;
        usleep(50000);
    }
    assert_true(st.stored > 0);
}

static void big_file_is_reaped_in_steps(void **state)
{
    struct volume_stat st;
    struct vattr a;
    unsigned char w[4096];

    vt_fill(w, sizeof(w), 5);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a), 0);
    for (uint64_t i = 0; i < 9000; i++)
        assert_int_equal(volume_write(T.v, &T.c, a.ino, i * 16384, w, 4096, i % 2, NULL, NULL), 0);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), 0);
    vt_sync(&T);
    assert_int_equal(vt_unlink(&T, ROOT, "f"), 0);
    vt_sync(&T);
    assert_int_equal(volume_getattr(T.v, &T.c, a.ino, 0, &a), -ESTALE);
    for (int i = 0; i < 1200; i++) {
        volume_stat(T.v, &st);
        if (st.files == 0)
            break;
        usleep(50000);
    }
    assert_int_equal(st.files, 0);
    assert_int_equal(st.logical, 0);
    assert_int_equal(st.stored, 0);
    vt_close(&T);
    model_check_disk(&T);
    vt_open(&T);
}

/* More names and inodes than may stay in memory. */
static void large_directory(void **state)
{
    enum { N = 7000 };
    struct vattr d, a;
    char name[16];
    unsigned char b[3], w[3] = "abc";
    bool eof;

    vt_close(&T);
    T.cache = 16u << 20;
    vt_open(&T);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "d", IT_DIR, &d), 0);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        assert_int_equal(vt_create(&T, &T.c, d.ino, name, IT_REG, &a), 0);
        assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 3, i % 2, NULL, NULL), 0);
        if (i % 500 == 0)
            vt_sync(&T);
    }
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        assert_int_equal(vt_lookup(&T, &T.c, d.ino, name, &a), 0);
        assert_int_equal(vt_read(&T, &T.c, a.ino, 0, b, 3), 3);
        assert_memory_equal(b, w, 3);
        snprintf(name, sizeof(name), "y%d", i);
        assert_int_equal(vt_lookup(&T, &T.c, d.ino, name, &a), -ENOENT);
    }
    assert_int_equal(vt_unlink(&T, ROOT, "d"), -ENOTEMPTY);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        assert_int_equal(vt_unlink(&T, d.ino, name), 0);
    }
    assert_int_equal(vt_unlink(&T, ROOT, "d"), 0);
    vt_sync(&T);
    assert_int_equal(volume_readdir(T.v, &T.c, d.ino, 0, 10, NULL, NULL, &eof), -ESTALE);
    vt_close(&T);
    model_check_disk(&T);
    vt_open(&T);
}

/* A directory that is held while it is removed, and a special file. */
static void held_directory(void **state)
{
    struct vattr d, a;

    assert_int_equal(vt_create(&T, &T.c, ROOT, "d", IT_DIR, &d), 0);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "p", IT_FIFO, &a), 0);
    assert_int_equal(volume_hold(T.v, &T.c, d.ino), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "d"), 0);
    assert_int_equal(vt_create(&T, &T.c, d.ino, "x", IT_REG, &a), -ENOENT);
    vt_sync(&T);
    model_check_disk(&T);
    volume_release(T.v, d.ino);
    assert_int_equal(volume_getattr(T.v, &T.c, d.ino, 0, &a), -ESTALE);
    vt_close(&T);
    model_check_disk(&T);
    vt_open(&T);
}

/* More blobs than may stay in the index: they move, and nothing is lost. */
static void small_data_moves_to_packs(void **state)
{
    struct volume_stat st = {0};
    struct vattr a;
    unsigned char *w = malloc(65536), *r = malloc(65536);

    for (uint64_t i = 0; i < 60; i++) {
        st_fill(w, 65536, i);
        assert_int_equal(vt_create(&T, &T.c, ROOT, "f", IT_REG, &a) == -EEXIST || i == 0, 1);
        assert_int_equal(volume_write(T.v, &T.c, a.ino, i << 17, w, 65536, true, NULL, NULL), 0);
    }
    vt_sync(&T);
    clock_test_advance(5000);
    for (int i = 0; i < 3000 && st.pack_bytes < 60 * 65536; i++) {
        clock_test_advance(1000);
        assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 1, true, NULL, NULL), 0);
        clock_test_advance(5000);
        usleep(20000);
        volume_stat(T.v, &st);
    }
    vt_sync(&T);
    vt_close(&T);
    model_check_disk(&T);
    vt_open(&T);
    for (uint64_t i = 1; i < 60; i++) {
        st_fill(w, 65536, i);
        assert_int_equal(vt_read(&T, &T.c, a.ino, i << 17, r, 65536), 65536);
        assert_memory_equal(r, w, 65536);
    }
    free(w);
    free(r);
}

/* Without a journal, small data goes into the index first. When it moves to packs its records say whose it is: that is all that is
 * left when the index is lost. */
static void moved_data_knows_its_file(void **state)
{
    enum { N = 24, LEN = 60000 };
    struct volume_stat st = {0};
    struct repair_report rep;
    struct vattr a, found;
    unsigned char *w = malloc(LEN), *r = malloc(LEN);
    uint64_t ino[N];
    char name[32], path[128];

    fault_arm("journal.fill", 1, FAULT_FAIL);
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "f%u", i);
        st_fill(w, LEN, i);
        assert_int_equal(vt_create(&T, &T.c, ROOT, name, IT_REG, &a), 0);
        ino[i] = a.ino;
        assert_int_equal(volume_write(T.v, &T.c, a.ino, i << 17, w, LEN, true, NULL, NULL), 0);
    }
    vt_sync(&T);
    assert_true(fault_disarm() >= 1);
    for (int i = 0; i < 3000 && st.pack_bytes < N * LEN; i++) {
        clock_test_advance(5000);
        assert_int_equal(volume_setattr(T.v, &T.c, ROOT, &(struct vset){.mask = VSET_MODE, .mode = 0755}, NULL), 0);
        vt_sync(&T);
        clock_test_advance(5000);
        usleep(20000);
        volume_stat(T.v, &st);
    }
    vt_close(&T);
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", T.dir, i ? "index.db-wal" : "index.db");
        assert_true(unlink(path) == 0 || i);
    }
    assert_int_equal(volume_repair(T.dir, &(struct repair_options){.rebuild = true}, NULL, NULL, &rep), 0);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "lost+found", &a), 0);
    for (unsigned i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "inode-%llu", (unsigned long long)ino[i]);
        assert_int_equal(vt_lookup(&T, &T.c, a.ino, name, &found), 0);
        st_fill(w, LEN, i);
        assert_int_equal(vt_read(&T, &T.c, found.ino, i << 17, r, LEN), LEN);
        assert_memory_equal(r, w, LEN);
    }
    free(w);
    free(r);
}

/* In a child with a tmpfs of its own. */
static int full_disk_child(void)
{
    struct vattr a;
    unsigned char *w = malloc(1u << 20);
    uint64_t written = 0;
    int r = 0, err;
    char name[32];

    T.v = NULL;
    if (!small_disk(T.base, "size=48m"))
        return SMALL_DISK_NONE;
    st_fill(w, 1u << 20, 1);
    strcat(T.dir, "f");
    struct vset root = {.mode = 0755};
    struct volume_props p;
    volume_props_default(&p);
    if (volume_create(T.dir, &p, &root))
        return 1;
    vt_open(&T);
    for (int i = 0; i < 100 && r == 0; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        if ((r = vt_create(&T, &T.c, ROOT, name, IT_REG, &a)))
            break;
        r = volume_write(T.v, &T.c, a.ino, 0, w, 1u << 20, false, NULL, NULL);
        if (r == 0)
            r = volume_commit(T.v, &T.c, a.ino);
        if (r == 0 && volume_call_wait(&T.c))
            return 2;
        written += r == 0;
    }
    if (r != -ENOSPC || written < 20)
        return 3;
    for (uint64_t i = 0; i < written; i++) {
        snprintf(name, sizeof(name), "f%llu", (unsigned long long)i);
        if (vt_unlink(&T, ROOT, name))
            return 4;
    }
    if (volume_call_wait(&T.c))
        return 5;
    store_call_release(&T.c);
    err = volume_close(T.v);
    engine_free(T.e);
    vt_open(&T);
    return err || vt_lookup(&T, &T.c, ROOT, "f0", &a) != -ENOENT ? 6 : 0;
}

/* What is in memory is not counted twice, nor at its size before compression: all that fits goes to the disk. */
static int filled_disk_child(void)
{
    unsigned char *w = malloc(1u << 20);
    struct vset root = {.mode = 0755};
    struct volume_props p;
    struct statvfs st;
    struct vattr a;
    uint64_t room;
    unsigned n = 0;
    int r = 0;

    T.v = NULL;
    if (!small_disk(T.base, "size=96m"))
        return SMALL_DISK_NONE;
    strcat(T.dir, "f");
    volume_props_default(&p);
    if (volume_create(T.dir, &p, &root))
        return 1;
    T.cache = 160u << 20; /* of which half may be dirty */
    vt_open(&T);
    if (statvfs(T.base, &st) || vt_create(&T, &T.c, ROOT, "a", IT_REG, &a))
        return 2;
    room = (uint64_t)st.f_bavail * st.f_frsize - T.v->reserve;
    for (; r == 0 && n < 200; n++) {
        st_fill(w, 1u << 20, n);
        r = volume_write(T.v, &T.n, a.ino, (uint64_t)n << 20, w, 1u << 20, false, NULL, NULL);
        if (r == -EAGAIN) /* it has to wait: not with an error that a program would end for */
            r = volume_write(T.v, &T.c, a.ino, (uint64_t)n << 20, w, 1u << 20, false, NULL, NULL);
        store_call_release(&T.c);
        store_call_release(&T.n);
    }
    if (r != -ENOSPC || (uint64_t)(n - 1) << 20 < room - (8u << 20)) {
        print_message("%d after %u MiB of %llu\n", r, n - 1, (unsigned long long)room >> 20);
        return 3;
    }
    if (volume_commit(T.v, &T.c, a.ino) || volume_call_wait(&T.c))
        return 4;
    vt_close(&T);
    model_check_disk(&T);
    return 0;
}

static void filled_disk(void **state)
{
    small_disk_test(filled_disk_child);
}

static void full_disk(void **state)
{
    small_disk_test(full_disk_child);
}

static int setup_made(void **state)
{
    vt_make(&T, NULL);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(full_disk, setup_made, teardown),
        cmocka_unit_test_setup_teardown(filled_disk, setup_made, teardown),
        cmocka_unit_test_setup_teardown(cold_calls_have_no_effect, setup, teardown),
        cmocka_unit_test_setup_teardown(missing_pack, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_stays_local, setup, teardown),
        cmocka_unit_test_setup_teardown(failed_encode_keeps_data, setup, teardown),
        cmocka_unit_test_setup_teardown(old_data_is_written_unasked, setup, teardown),
        cmocka_unit_test_setup_teardown(big_file_is_reaped_in_steps, setup, teardown),
        cmocka_unit_test_setup_teardown(large_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(held_directory, setup, teardown),
        cmocka_unit_test_setup_teardown(small_data_moves_to_packs, setup, teardown),
        cmocka_unit_test_setup_teardown(moved_data_knows_its_file, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
