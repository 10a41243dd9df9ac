/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/storetest.h"
#include "tests/unit/volumemodel.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#define THREADS 4
#define ROUNDS  300

static struct vt T;

/* First without blocking, as a loop does, then in a way that may block, as its worker. */
#define TWICE(nb, bl, expr)                                                                        \
    ({                                                                                             \
        struct store_call *call = &(nb);                                                           \
        int r_ = (expr);                                                                           \
        if (r_ == -EAGAIN) {                                                                       \
            call = &(bl);                                                                          \
            r_ = (expr);                                                                           \
        }                                                                                          \
        r_;                                                                                        \
    })

static void *worker(void *arg)
{
    uint64_t id = (uint64_t)(uintptr_t)arg, rng = id * 77 + 1;
    struct store_call n, b;
    unsigned char *w = malloc(300000), *r = malloc(300000);
    struct vattr dir, a;
    char name[16];

    store_call_init(&n, false);
    store_call_init(&b, true);
    snprintf(name, sizeof(name), "dir%u", (unsigned)id);
    assert_int_equal(vt_create(&T, &b, STORE_ROOT_INO, name, IT_DIR, &dir), 0);
    for (unsigned i = 0; i < ROUNDS; i++) {
        size_t len;
        long at = 0;
        rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
        len = 1 + (rng >> 33) % (i % 8 == 0 ? 290000 : 9000);
        vt_fill(w, len, rng >> 40);
        snprintf(name, sizeof(name), "f%u", i);
        assert_int_equal(TWICE(n, b, vt_create(&T, call, dir.ino, name, IT_REG, &a)), 0);
        assert_int_equal(TWICE(n, b, volume_write(T.v, call, a.ino, 0, w, len, i % 3 == 0, NULL, NULL)), 0);
        if (i % 3 == 1)
            assert_int_equal(TWICE(n, b, volume_commit(T.v, call, a.ino)), 0);
        if (i % 16 == 0) {
            assert_int_equal(volume_call_wait(&n), 0);
            assert_int_equal(volume_call_wait(&b), 0);
        }
        at = vt_read(&T, &b, a.ino, 0, r, 300000);
        assert_int_equal(at, len);
        assert_memory_equal(r, w, len);
        if (i % 4 == 0) {
            char to[16];
            struct vattr x;
            snprintf(to, sizeof(to), "s%u-%u", (unsigned)id, i);
            assert_int_equal(TWICE(n, b,
                                   volume_rename(T.v, call, dir.ino, name, strlen(name), STORE_ROOT_INO,
                                                 to, strlen(to), 0, 0, &x, NULL, NULL)),
                             0);
        } else if (i % 4 == 1) {
            assert_int_equal(
                TWICE(n, b, volume_unlink(T.v, call, dir.ino, name, strlen(name), a.ino, NULL, NULL)), 0);
        }
    }
    assert_int_equal(volume_call_wait(&n), 0);
    assert_int_equal(volume_call_wait(&b), 0);
    store_call_release(&n);
    store_call_release(&b);
    free(w);
    free(r);
    return NULL;
}

static bool count_one(void *arg, const struct volume_dirent *de)
{
    ++*(unsigned *)arg;
    return true;
}

static void many_threads(void **state)
{
    pthread_t th[THREADS];
    struct volume_stat st;
    unsigned n = 0;
    bool eof;

    vt_make(&T, NULL);
    T.cache = 16u << 20;
    vt_open(&T);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&th[i], NULL, worker, (void *)i), 0);
    for (unsigned i = 0; i < 20; i++) {
        n = 0;
        assert_int_equal(volume_readdir(T.v, &T.c, STORE_ROOT_INO, 0, 100000, count_one, &n, &eof), 0);
        volume_stat(T.v, &st);
        usleep(5000);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
    n = 0;
    assert_int_equal(volume_readdir(T.v, &T.c, STORE_ROOT_INO, 0, 100000, count_one, &n, &eof), 0);
    assert_int_equal(n, THREADS + THREADS * ((ROUNDS + 3) / 4));
    vt_close(&T);
    model_check_disk(&T);
    vt_remove(&T);
}

/* Everybody does everything to the same few files; results are whatever they are, but no deadlock, and
 * a sound volume at the end. */
static void *meddler(void *arg)
{
    uint64_t rng = (uint64_t)(uintptr_t)arg * 1234567 + 99;
    struct store_call c;
    unsigned char *w = malloc(300000);
    char name[16], name2[16];
    struct vattr a;

    st_fill(w, 300000, rng);
    for (unsigned i = 0; i < 1500; i++) {
        uint64_t off, len, at;
        struct volume_read rd;
        int op, r;
        rng = rng * 6364136223846793005ULL + 1442695040888963407ULL;
        op = (int)(rng >> 60);
        off = (rng >> 20) % 400000;
        len = 1 + (rng >> 40) % (op == 1 ? 290000 : 20000);
        snprintf(name, sizeof(name), "m%d", (int)(rng >> 33) & 3);
        snprintf(name2, sizeof(name2), "m%d", (int)(rng >> 50) & 3);
        store_call_init(&c, rng >> 37 & 1);
        r = vt_lookup(&T, &c, STORE_ROOT_INO, name, &a);
        if (r == -ENOENT)
            r = vt_create(&T, &c, STORE_ROOT_INO, name, IT_REG, &a);
        if (r == 0) {
            switch (op) {
            case 0:
            case 1:
            case 2:
            case 3:
                r = volume_write(T.v, &c, a.ino, off, w, len, op == 3, NULL, NULL);
                break;
            case 4:
                r = volume_commit(T.v, &c, a.ino);
                break;
            case 5: {
                struct vset s = {.mask = VSET_SIZE, .size = off};
                r = volume_setattr(T.v, &c, a.ino, &s, NULL);
                break;
            }
            case 6:
                r = volume_punch(T.v, &c, a.ino, off, len);
                break;
            case 7:
                r = volume_unlink(T.v, &c, STORE_ROOT_INO, name, 2, 0, NULL, NULL);
                break;
            case 8:
                r = volume_rename(T.v, &c, STORE_ROOT_INO, name, 2, STORE_ROOT_INO, name2, 2, 0,
                                  UINT64_MAX, NULL, NULL, NULL);
                break;
            case 9:
                r = volume_hold(T.v, &c, a.ino);
                if (r == 0) {
                    (void)volume_unlink(T.v, &c, STORE_ROOT_INO, name, 2, 0, NULL, NULL);
                    volume_release(T.v, a.ino);
                }
                break;
            case 10:
                r = volume_seek(T.v, &c, a.ino, off, i & 1, &at);
                break;
            case 11:
                r = volume_link(T.v, &c, a.ino, STORE_ROOT_INO, name2, 2, NULL, NULL);
                break;
            case 12:
                r = volume_setxattr(T.v, &c, a.ino, "k", 1, w, 10, i & 1 ? 0 : 1, NULL);
                break;
            case 13: {
                struct vattr b;
                r = vt_lookup(&T, &c, STORE_ROOT_INO, name2, &b);
                if (r == 0)
                    r = volume_clone(T.v, &c, a.ino, off & ~4095u, b.ino, (off * 7) % 400000 & ~4095u,
                                     i & 1 ? len & ~4095u : a.size - (off & ~4095u), NULL);
                if (r == -EINVAL || r == -EBUSY || r == -EFBIG) /* too long, unaligned, overlapping; too busy */
                    r = 0;
                break;
            }
            default:
                r = volume_read(T.v, &c, a.ino, off, len, &rd);
                volume_read_release(&rd);
            }
        }
        assert_true(r >= 0 || r == -EAGAIN || r == -ESTALE || r == -EEXIST || r == -ENOENT ||
                    r == -ENXIO || r == -ENODATA);
        if (i % 16 == 0)
            volume_call_commit(&c);
        if (i % 64 == 0)
            assert_int_equal(volume_call_wait(&c), 0);
        store_call_release(&c);
    }
    free(w);
    return NULL;
}

static void same_files(void **state)
{
    pthread_t th[THREADS];

    vt_make(&T, NULL);
    T.cache = 16u << 20;
    vt_open(&T);
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&th[i], NULL, meddler, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(th[i], NULL);
    vt_close(&T);
    model_check_disk(&T);
    vt_remove(&T);
}

/* The same, killed at any moment: sound again when opened. */
static void killed(void **state)
{
    vt_make(&T, NULL);
    for (unsigned i = 0; i < 6; i++) {
        pthread_t th[THREADS];
        struct vattr a;
        int status;
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
            vt_open(&T);
            for (uintptr_t n = 0; n < THREADS; n++)
                pthread_create(&th[n], NULL, meddler, (void *)(n + i * 17));
            for (int n = 0; n < THREADS; n++)
                pthread_join(th[n], NULL);
            _exit(0);
        }
        usleep(30000 + i * 37000);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        T.epoch++;
        model_check_disk(&T);
        vt_open(&T);
        assert_int_equal(volume_purge_orphans(T.v), 0);
        assert_int_equal(volume_getattr(T.v, &T.c, STORE_ROOT_INO, 0, &a), 0);
        vt_close(&T);
        model_check_disk(&T);
    }
    vt_remove(&T);
}

struct parked {
    struct volume_waiter w;
    struct store_call c;
    atomic_int done;
    int err;
};

static void parked_done(struct volume_waiter *w, int err)
{
    struct parked *p = (struct parked *)w;

    p->err = err;
    p->done = 1;
}

/* Replies parked on a volume that is thrown away are told so, once. */
static void abandoned_waiters_get_an_error(void **state)
{
    struct parked p[8];
    struct vattr a;
    char name[16];

    vt_make(&T, NULL);
    vt_open(&T);
    for (int i = 0; i < 8; i++) {
        p[i].done = 0;
        p[i].w.done = parked_done;
        store_call_init(&p[i].c, true);
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(vt_create(&T, &p[i].c, STORE_ROOT_INO, name, IT_REG, &a), 0);
    }
    for (int i = 0; i < 8; i++)
        volume_call_wait_async(&p[i].c, &p[i].w);
    volume_abandon(T.v);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(p[i].done, 1);
        assert_true(p[i].err == 0 || p[i].err == -ESTALE);
        assert_int_equal(volume_getattr(p[i].c.deps[0].vol, &T.c, STORE_ROOT_INO, 0, &a), -ESTALE);
        store_call_release(&p[i].c);
    }
    engine_free(T.e);
    vt_remove(&T);
}

struct insider {
    pthread_t thread;
    atomic_uint made;
    int err;
};

static void *goes_on(void *arg)
{
    struct insider *in = arg;
    struct store_call c;
    char name[16];
    struct vattr a;

    store_call_init(&c, true);
    for (unsigned i = 0; !in->err; i++) {
        snprintf(name, sizeof(name), "%02lx%u", (unsigned long)in & 0xff, i);
        in->err = vt_create(&T, &c, STORE_ROOT_INO, name, IT_REG, &a);
        if (!in->err)
            in->err = volume_write(T.v, &c, a.ino, 0, name, sizeof(name), i % 2, NULL, NULL);
        if (!in->err && i % 4 == 3)
            in->err = volume_call_wait(&c);
        in->made++;
    }
    store_call_release(&c);
    return NULL;
}

/* Who is inside a volume that is thrown away hears that it is gone, not that it cannot be written. */
static void abandoned_under_writers(void **state)
{
    for (int round = 0; round < 10; round++) {
        struct insider in[4] = {0};
        struct volume *v;

        vt_make(&T, NULL);
        vt_open(&T);
        v = volume_ref(T.v);
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&in[i].thread, NULL, goes_on, &in[i]), 0);
        for (int i = 0; i < 4; i++)
            while (in[i].made < 20)
                usleep(1000);
        volume_abandon(T.v);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(in[i].thread, NULL), 0);
            assert_int_equal(in[i].err, -ESTALE);
        }
        volume_unref(v);
        engine_free(T.e);
        vt_remove(&T);
    }
}

/* A commit that cannot be made: changes are refused, waiters told, what is in memory can be read. */
static void failed_commit(void **state)
{
    struct vattr a;
    uint64_t verf;
    char r[4];

    vt_make(&T, NULL);
    vt_open(&T);
    verf = volume_write_verifier(T.v);
    assert_int_equal(vt_create(&T, &T.c, STORE_ROOT_INO, "ok", IT_REG, &a), 0);
    vt_sync(&T);
    fault_arm("journal.write", 1, FAULT_FAIL);
    assert_int_equal(vt_create(&T, &T.c, STORE_ROOT_INO, "lost", IT_REG, &a), 0);
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, "abc", 3, false, NULL, NULL), 0);
    assert_int_equal(volume_call_wait(&T.c), -EIO);
    store_call_release(&T.c);
    fault_disarm();
    assert_true(volume_write_verifier(T.v) != verf);
    assert_int_equal(vt_create(&T, &T.c, STORE_ROOT_INO, "no", IT_REG, &a), -EROFS);
    assert_int_equal(vt_lookup(&T, &T.c, STORE_ROOT_INO, "lost", &a), 0);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, r, 4), 3);
    assert_int_equal(volume_commit(T.v, &T.c, a.ino), -EIO);
    store_call_release(&T.c);
    assert_int_equal(volume_close(T.v), -EIO);
    engine_free(T.e);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, STORE_ROOT_INO, "ok", &a), 0);
    assert_int_equal(vt_lookup(&T, &T.c, STORE_ROOT_INO, "lost", &a), -ENOENT);
    vt_close(&T);
    model_check_disk(&T);
    vt_remove(&T);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_commit),
        cmocka_unit_test(abandoned_waiters_get_an_error),
        cmocka_unit_test(abandoned_under_writers),
        cmocka_unit_test(many_threads),
        cmocka_unit_test(same_files),
        cmocka_unit_test(killed),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
