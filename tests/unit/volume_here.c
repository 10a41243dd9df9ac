/* SPDX-License-Identifier: Apache-2.0
 * The volume and its journal: who asks for a change to be durable writes it there, when that is quickest, and does no one else's
 * work.
 */
#include "tests/unit/volumemodel.h"

#include <sched.h>

#include "server/store/journal.h"
#include "server/store/volume_int.h"
#include "tests/unit/storetest.h"

#define ROOT STORE_ROOT_INO

static struct vt T;

static int setup(void **state)
{
    vt_make(&T, NULL);
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

/* The asking thread does the commit itself, where that is one short write. */
static void commit_here(void **state)
{
    struct vattr a, b;
    struct store_call none;
    unsigned char *w = malloc(200000);
    uint64_t durable;
    int here = 0;

    vt_fill(w, 200000, 3);
    vt_open(&T);
    store_call_init(&none, false);
    volume_call_commit(&none);
    /* not before there is a journal */
    assert_int_equal(vt_create(&T, &T.c, ROOT, "a", IT_REG, &a), 0);
    vt_sync(&T);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(volume_write(T.v, &T.c, a.ino, (uint64_t)i * 4096, w, 4096, true, NULL, NULL), 0);
        T.v->here_ns = 0; /* however slow the disk is */
        volume_call_commit(&T.c);
        here += !volume_call_pending(&T.c); /* else we were stopped so long that the commit thread took it */
        assert_int_equal(volume_call_wait(&T.c), 0);
        volume_call_commit(&T.c);
        store_call_release(&T.c);
    }
    assert_in_range(here, 1, 100);
    /* a pack that has to be synced first, and a disk that is slow, are the commit thread's business */
    durable = T.v->durable;
    assert_int_equal(volume_write(T.v, &T.c, a.ino, 0, w, 200000, true, NULL, NULL), 0);
    volume_call_commit(&T.c);
    vt_sync(&T);
    assert_true(T.v->durable > durable);
    T.v->here_ns = UINT64_MAX / 2;
    assert_int_equal(vt_create(&T, &T.c, ROOT, "b", IT_REG, &b), 0);
    volume_call_commit(&T.c);
    vt_sync(&T);
    T.v->here_ns = 0;
    fault_arm("journal.write", 1, FAULT_FAIL);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "c", IT_REG, &b), 0);
    volume_call_commit(&T.c);
    assert_int_equal(volume_call_wait(&T.c), -EIO);
    store_call_release(&T.c);
    fault_disarm();
    assert_int_equal(volume_close(T.v), -EIO);
    volume_call_commit(&T.c);
    engine_free(T.e);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "b", &b), 0);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "c", &b), -ENOENT);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, w, 200000), 200000);
    free(w);
}

static void slow_write(const char *name, int hit)
{
    if (!hit && strcmp(name, "journal.write") == 0)
        usleep(3000);
}

/* On a disk that is slow the asking thread, who has others to serve, does not even try it now and then; but again when it is
 * quick. */
static void commit_here_not_slowly(void **state)
{
    struct vattr a;
    unsigned char w[4096] = "x";
    unsigned here[3] = {0};

    vt_open(&T);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "a", IT_REG, &a), 0);
    vt_sync(&T);
    fault_watch(slow_write);
    fault_arm("journal.write", 1000000, FAULT_FAIL);
    for (unsigned i = 0; i < 700; i++) {
        unsigned part = i < 100 ? 0 : i < 200 ? 1 : 2;
        if (i == 200) {
            fault_disarm();
            fault_watch(NULL);
        }
        assert_int_equal(volume_write(T.v, &T.c, a.ino, (uint64_t)i * 4096, w, 4096, true, NULL, NULL), 0);
        pthread_mutex_lock(&T.v->lock);
        if (part == 2)
            T.v->commit_ns = 1000; /* however busy the machine is */
        pthread_mutex_unlock(&T.v->lock);
        volume_call_commit(&T.c);
        here[part] += !volume_call_pending(&T.c);
        assert_int_equal(volume_call_wait(&T.c), 0);
        store_call_release(&T.c);
        if (here[2])
            break;
    }
    assert_in_range(here[1], 0, 1); /* by the commit thread, while this one was stopped */
    assert_in_range(here[2], 1, 500);
    vt_close(&T);
    model_check_disk(&T);
}

static bool gathers(void)
{
    bool yes;

    pthread_mutex_lock(&T.v->lock);
    yes = T.v->gathering;
    pthread_mutex_unlock(&T.v->lock);
    return yes;
}

static pthread_t asker;
static bool grew_here;

static void grows(const char *name, int hit)
{
    if (!hit && strcmp(name, "journal.fill") == 0)
        grew_here |= pthread_equal(pthread_self(), asker) != 0;
}

/* Nor is it the asking thread that makes the journal larger, or waits until it is applied. */
static void commit_here_has_room(void **state)
{
    unsigned age = apply_age_ms, size;
    unsigned char w[4096] = "x";
    char name[256];
    uint64_t at = 0;
    struct vattr a;

    apply_age_ms = 3600 * 1000;
    vt_open(&T);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "a", IT_REG, &a), 0);
    vt_sync(&T);
    size = journal_size(T.v->journal);
    assert_int_equal(size, JOURNAL_SIZE_FIRST);
    for (; journal_used(T.v->journal) + 2 * JOURNAL_BLOCK <= size / 4 * 3; at += 4096) {
        assert_int_equal(volume_write(T.v, &T.c, a.ino, at, w, 4096, true, NULL, NULL), 0);
        vt_sync(&T);
    }
    asker = pthread_self();
    fault_watch(grows);
    fault_arm("journal.fill", 1000000, FAULT_FAIL);
    for (int i = 0; i < 60; i++, at += 4096)
        assert_int_equal(volume_write(T.v, &T.c, a.ino, at, w, 4096, true, NULL, NULL), 0);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "%0240d", i);
        assert_int_equal(vt_create(&T, &T.c, ROOT, name, IT_REG, &a), 0);
    }
    T.v->here_ns = 0;
    volume_call_commit(&T.c);
    vt_sync(&T);
    assert_false(grew_here);
    fault_disarm();
    fault_watch(NULL);
    apply_age_ms = age;
    vt_close(&T);
    model_check_disk(&T);
}

static char value[STORE_XATTR_SIZE_MAX];

static void put_value(unsigned i)
{
    char name[16];
    int n = snprintf(name, sizeof(name), "x%u", i);

    memset(value, 'a' + (int)(i % 26), sizeof(value));
    assert_int_equal(volume_setxattr(T.v, &T.c, ROOT, name, (size_t)n, value, sizeof(value), 0, NULL), 0);
}

static void put_symlink(unsigned i)
{
    char name[16];
    struct volume_create_args l = {.dir = ROOT, .name = name, .type = IT_LNK, .target = value, .target_len = 4095,
                                   .set = {.mask = VSET_MODE, .mode = 0777}};
    struct vattr a;

    l.len = (size_t)snprintf(name, sizeof(name), "l%u", i);
    assert_int_equal(volume_create_at(T.v, &T.c, &l, &a, NULL), 0);
}

/* Large values and symlinks count with all their bytes: for what a thread commits by itself, for the memory that they take
 * until they are in the index, and for how much there may be in a group. */
static void large_values(void **state)
{
    unsigned age = apply_age_ms, size;
    uint64_t bytes;

    T.cache = 512 << 20;
    apply_age_ms = 3600 * 1000;
    vt_open(&T);
    put_value(0);
    vt_sync(&T);
    size = journal_size(T.v->journal);
    for (unsigned i = 0; journal_used(T.v->journal) + 20 * JOURNAL_BLOCK <= size / 4 * 3; i++) {
        put_value(i);
        vt_sync(&T);
    }
    asker = pthread_self();
    fault_watch(grows);
    fault_arm("journal.fill", 1000000, FAULT_FAIL);
    for (unsigned i = 0; i < 4; i++)
        put_value(i);
    T.v->here_ns = 0;
    volume_call_commit(&T.c);
    vt_sync(&T);
    assert_false(grew_here);

    assert_int_equal(volume_settle(T.v), 0);
    for (unsigned i = 0; i < 6; i++) { /* less than half of the ring: they stay there */
        put_value(i);
        put_symlink(i);
    }
    vt_sync(&T);
    assert_true(T.e->ops >= 6 * (sizeof(value) + 4095));

    fault_watch(slow_write);
    fault_arm("journal.write", 1000000, FAULT_FAIL);
    for (unsigned i = 0; i < 500; i++) {
        put_value(i);
        pthread_mutex_lock(&T.v->lock);
        bytes = T.v->committing ? T.v->open->blob_bytes : 0; /* else it is going to be closed, after some more */
        pthread_mutex_unlock(&T.v->lock);
        assert_in_range(bytes, 0, TXG_BLOB_MAX + sizeof(value) + 16);
    }
    fault_disarm();
    fault_watch(NULL);
    apply_age_ms = age;
    vt_close(&T);
    model_check_disk(&T);
}

/* While the commit thread waits for more to come, the asking thread takes what there is: not both. */
static void commit_here_or_there(void **state)
{
    struct vattr a;
    unsigned char w[4096] = "x";

    vt_open(&T);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "a", IT_REG, &a), 0);
    vt_sync(&T);
    fault_watch(slow_write);
    fault_arm("journal.write", 1000000, FAULT_FAIL);
    for (int i = 0; i < 30; i++) {
        assert_int_equal(volume_write(T.v, &T.c, a.ino, (uint64_t)i * 4096, w, 4096, true, NULL, NULL), 0);
        pthread_mutex_lock(&T.v->lock);
        T.v->here_ns = 0;
        T.v->group = 1000;           /* as after a commit for so many: */
        T.v->commit_ns = 1000000000; /* it gathers, as long as it ever does */
        txg_want(T.v, T.v->open->n);
        pthread_mutex_unlock(&T.v->lock);
        for (int k = 0; k < 1000 && !gathers(); k++)
            sched_yield();
        volume_call_commit(&T.c);
        assert_int_equal(volume_call_wait(&T.c), 0);
        store_call_release(&T.c);
    }
    fault_disarm();
    fault_watch(NULL);
    vt_close(&T);
    model_check_disk(&T);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(commit_here, setup, teardown),
        cmocka_unit_test_setup_teardown(commit_here_has_room, setup, teardown),
        cmocka_unit_test_setup_teardown(large_values, setup, teardown),
        cmocka_unit_test_setup_teardown(commit_here_not_slowly, setup, teardown),
        cmocka_unit_test_setup_teardown(commit_here_or_there, setup, teardown),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
