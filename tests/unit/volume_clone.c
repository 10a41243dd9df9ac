/* SPDX-License-Identifier: Apache-2.0
 * volume_clone: what it refuses, quota, and clones among changes of the same group.
 */
#include "tests/unit/storetest.h"
#include "tests/unit/volumemodel.h"

#define ROOT STORE_ROOT_INO
#define SIZE (3 * SLOT_SIZE + 5000u)

static struct vt T;
static unsigned char data[SIZE], buf[4 * SLOT_SIZE];
static uint64_t src, dst;

static int setup(void **state)
{
    struct vattr a;

    vt_make(&T, NULL);
    vt_open(&T);
    vt_fill(data, SIZE, 9);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "src", IT_REG, &a), 0);
    src = a.ino;
    assert_int_equal(vt_create(&T, &T.c, ROOT, "dst", IT_REG, &a), 0);
    dst = a.ino;
    assert_int_equal(volume_write(T.v, &T.c, src, 0, data, SIZE, false, NULL, NULL), 0);
    return 0;
}

static int teardown(void **state)
{
    vt_close(&T);
    model_check_disk(&T);
    vt_remove(&T);
    return 0;
}

static int clone_all(struct store_call *c)
{
    return volume_clone(T.v, c, src, 0, dst, 0, SIZE, NULL);
}

static void expect(uint64_t ino, uint64_t off, const unsigned char *p, size_t n)
{
    assert_int_equal(vt_read(&T, &T.c, ino, off, buf, n), n);
    assert_memory_equal(buf, p, n);
}

static void refused(void **state)
{
    struct volume_props p;
    struct vattr a, before, x;

    assert_int_equal(volume_getattr(T.v, &T.c, dst, 0, &before), 0);
    assert_int_equal(volume_clone(T.v, &T.c, src, 1, dst, 0, 4096, NULL), -EINVAL);
    assert_int_equal(volume_clone(T.v, &T.c, src, 0, dst, 100, 4096, NULL), -EINVAL);
    assert_int_equal(volume_clone(T.v, &T.c, src, 0, dst, 0, 100, NULL), -EINVAL);
    assert_int_equal(volume_clone(T.v, &T.c, src, 4096, dst, 0, SIZE, NULL), -EINVAL);
    assert_int_equal(volume_clone(T.v, &T.c, src, UINT64_MAX - 4095, dst, 0, 8192, NULL), -EINVAL);
    assert_int_equal(volume_clone(T.v, &T.c, src, 0, dst, UINT64_MAX - 4095, 4096, NULL), -EFBIG);
    assert_int_equal(volume_clone(T.v, &T.c, src, 0, src, 4096, 8192, NULL), -EINVAL);
    assert_int_equal(volume_clone(T.v, &T.c, src, 0, ROOT, 0, 4096, NULL), -EISDIR);
    assert_int_equal(volume_clone(T.v, &T.c, ROOT, 0, dst, 0, 4096, NULL), -EISDIR);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "s", IT_LNK, &a), 0);
    assert_int_equal(volume_clone(T.v, &T.c, a.ino, 0, dst, 0, 0, NULL), -EINVAL);
    assert_int_equal(volume_clone(T.v, &T.c, 99999, 0, dst, 0, 0, NULL), -ESTALE);
    assert_int_equal(clone_all(&T.n), -EAGAIN); /* has to write first */
    volume_get_props(T.v, &p);
    p.quota_bytes = SIZE + 8192;
    assert_int_equal(volume_set_props(T.v, &p), 0);
    assert_int_equal(clone_all(&T.c), -EDQUOT);
    p.quota_bytes = 0;
    p.readonly = true;
    assert_int_equal(volume_set_props(T.v, &p), 0);
    assert_int_equal(clone_all(&T.c), -EROFS);
    p.readonly = false;
    assert_int_equal(volume_set_props(T.v, &p), 0);
    assert_int_equal(volume_getattr(T.v, &T.c, dst, 0, &x), 0);
    assert_memory_equal(&x, &before, sizeof(x));
}

/* The source changes in the same group, before and after. */
static void among_others(void **state)
{
    struct vattr a;
    uint64_t at;

    assert_int_equal(volume_write(T.v, &T.c, dst, 0, "old", 3, true, NULL, NULL), 0);
    assert_int_equal(volume_punch(T.v, &T.c, src, SLOT_SIZE, SLOT_SIZE), 0);
    memset(data + SLOT_SIZE, 0, SLOT_SIZE);
    assert_int_equal(clone_all(&T.c), 0);
    assert_true(volume_call_pending(&T.c));
    assert_int_equal(volume_getattr(T.v, &T.n, dst, 0, &a), 0);
    assert_int_equal(a.size, SIZE);
    assert_int_equal(volume_write(T.v, &T.c, src, 50, "later", 5, true, NULL, NULL), 0);
    assert_int_equal(vt_truncate(&T, src, 100), 0);
    assert_int_equal(volume_write(T.v, &T.c, dst, 300000, "mine", 4, false, NULL, NULL), 0);
    memcpy(data + 300000, "mine", 4);
    expect(dst, 0, data, SIZE);
    memcpy(data + 50, "later", 5);
    expect(src, 0, data, 100);
    vt_reopen(&T);
    expect(src, 0, data, 100);
    vt_fill(data, 100, 9);
    expect(dst, 0, data, SIZE);
    assert_int_equal(volume_seek(T.v, &T.c, dst, 0, false, &at), 0);
    assert_int_equal(at, SLOT_SIZE);
    assert_int_equal(volume_seek(T.v, &T.c, dst, SLOT_SIZE, true, &at), 0);
    assert_int_equal(at, 2 * SLOT_SIZE);
    assert_int_equal(vt_unlink(&T, ROOT, "src"), 0);
    vt_sync(&T);
    vt_reopen(&T);
    expect(dst, 0, data, SIZE);
}

/* Chunks are stored once, bytes are counted for each file, and all is gone with the last. */
static void counted(void **state)
{
    struct volume_stat one, two;
    struct vattr a;

    assert_int_equal(volume_commit(T.v, &T.c, src), 0);
    vt_sync(&T);
    volume_stat(T.v, &one);
    assert_int_equal(clone_all(&T.c), 0);
    assert_int_equal(clone_all(&T.c), 0); /* over itself: the same again */
    vt_sync(&T);
    volume_stat(T.v, &two);
    assert_int_equal(two.stored, one.stored);
    assert_int_equal(two.logical, 2 * one.logical);
    assert_int_equal(volume_getattr(T.v, &T.c, dst, 0, &a), 0);
    assert_int_equal(a.used, one.logical);
    assert_int_equal(volume_clone(T.v, &T.c, src, SIZE & ~4095u, src, SLOT_SIZE * 8, SIZE % 4096, NULL), 0);
    expect(src, SLOT_SIZE * 8, data + (SIZE & ~4095u), SIZE % 4096);
    assert_int_equal(vt_unlink(&T, ROOT, "src"), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "dst"), 0);
    vt_sync(&T);
    for (int i = 0; i < 1200; i++) {
        volume_stat(T.v, &two);
        if (!two.stored)
            break;
        usleep(50000); /* freed in the background */
    }
    assert_int_equal(two.stored, 0);
    assert_int_equal(two.logical, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(refused, setup, teardown),
        cmocka_unit_test_setup_teardown(among_others, setup, teardown),
        cmocka_unit_test_setup_teardown(counted, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
