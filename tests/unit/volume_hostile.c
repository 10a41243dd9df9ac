/* SPDX-License-Identifier: Apache-2.0
 * What a client may do to a volume that no good client does.
 */
#include "tests/unit/volumetest.h"

#include <pthread.h>
#include <stdatomic.h>

#define LEAK_ROUNDS 150
#define LEAK_LEN    (1u << 20)
#define DEEP        2600u

static struct vt T;

/* --- a read beside a write that fills a hole sees the hole or the write, never what else was in memory --- */

static atomic_uint_fast64_t leak_ino;
static atomic_bool leak_stop;
static atomic_uint leak_seen, leak_reads;

static void *leak_reader(void *arg)
{
    unsigned char *copy = malloc(LEAK_LEN);
    struct store_call c;

    (void)arg;
    store_call_init(&c, true);
    while (!leak_stop) {
        struct volume_read r;
        uint64_t ino = leak_ino;
        if (!ino || volume_read(T.v, &c, ino, 0, LEAK_LEN, &r) < 0)
            continue;
        for (int i = 0; i < r.niov; i++) { /* as the reply would be copied to the socket */
            const unsigned char *p = r.iov[i].iov_base;
            for (size_t k = 0; k < r.iov[i].iov_len; k += 512)
                if (p[k] != 0 && p[k] != 'w')
                    leak_seen++;
        }
        leak_reads++;
        volume_read_release(&r);
    }
    store_call_release(&c);
    free(copy);
    return NULL;
}

static void test_no_stale_memory(void **state)
{
    unsigned char *old = malloc(LEAK_LEN), *w = malloc(LEAK_LEN);
    pthread_t th;

    (void)state;
    vt_make(&T, NULL);
    vt_open(&T);
    memset(old, 's', LEAK_LEN);
    memset(w, 'w', LEAK_LEN);
    leak_ino = 0;
    leak_stop = false;
    leak_seen = leak_reads = 0;
    assert_int_equal(pthread_create(&th, NULL, leak_reader, NULL), 0);
    for (unsigned i = 0; i < LEAK_ROUNDS || leak_reads < 20; i++) { /* until the reader had its turns */
        struct vset s = {.mask = VSET_SIZE, .size = LEAK_LEN};
        struct vattr a, b;
        /* buffers that had something in them go back to the pool */
        assert_int_equal(vt_create(&T, &T.c, STORE_ROOT_INO, "secret", IT_REG, &a), 0);
        assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, old, LEAK_LEN, false, NULL, NULL), 0);
        assert_int_equal(volume_unlink(T.v, &T.c, STORE_ROOT_INO, "secret", 6, 0, NULL, NULL), 0);
        assert_int_equal(vt_create(&T, &T.c, STORE_ROOT_INO, "hole", IT_REG, &b), 0);
        assert_int_equal(volume_setattr(T.v, &T.c, b.ino, &s, NULL), 0);
        leak_ino = b.ino;
        assert_int_equal(volume_write(T.v, &T.c, b.ino, 0, w, LEAK_LEN, false, NULL, NULL), 0);
        assert_int_equal(volume_unlink(T.v, &T.c, STORE_ROOT_INO, "hole", 4, 0, NULL, NULL), 0);
    }
    leak_stop = true;
    pthread_join(th, NULL);
    assert_int_equal(leak_seen, 0);
    vt_close(&T);
    vt_remove(&T);
    free(old);
    free(w);
}

/* --- directories nested deeper than the cache has inodes --- */

static void test_deep_rename(void **state)
{
    struct vattr a, top, other;
    uint64_t dir = STORE_ROOT_INO;
    int r;

    (void)state;
    vt_make(&T, NULL);
    T.cache = 16u << 20; /* 2048 inodes */
    vt_open(&T);
    assert_int_equal(vt_create(&T, &T.c, STORE_ROOT_INO, "other", IT_DIR, &other), 0);
    for (unsigned i = 0; i < DEEP; i++) {
        assert_int_equal(vt_create(&T, &T.c, dir, "d", IT_DIR, &a), 0);
        if (i == 0)
            top = a;
        dir = a.ino;
        if (i % 500 == 0)
            assert_int_equal(volume_call_wait(&T.c), 0);
    }
    vt_reopen(&T);
    alarm(300); /* it once never came back */
    r = volume_rename(T.v, &T.c, STORE_ROOT_INO, "other", 5, dir, "x", 1, 0, UINT64_MAX, NULL, NULL, NULL);
    assert_int_equal(r, -EMLINK);
    assert_int_equal(volume_getattr(T.v, &T.c, other.ino, 0, &a), 0);
    assert_int_equal(a.parent, STORE_ROOT_INO);
    /* up and sideways, near the root, goes on working */
    r = volume_rename(T.v, &T.c, STORE_ROOT_INO, "other", 5, top.ino, "x", 1, 0, UINT64_MAX, NULL, NULL, NULL);
    assert_int_equal(r, 0);
    r = volume_rename(T.v, &T.c, STORE_ROOT_INO, "d", 1, other.ino, "y", 1, 0, UINT64_MAX, NULL, NULL, NULL);
    assert_int_equal(r, -EINVAL);
    alarm(0);
    vt_close(&T);
    vt_remove(&T);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_stale_memory),
        cmocka_unit_test(test_deep_rename),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
