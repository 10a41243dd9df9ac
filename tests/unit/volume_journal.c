/* SPDX-License-Identifier: Apache-2.0
 * The volume and its journal: what a process that died left in it is there afterwards; what does not fit it goes to
 * the index; damage is refused.
 */
#include "tests/unit/volumemodel.h"

#include <sys/wait.h>

#include "server/store/journal.h"
#include "server/store/record.h"
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

/* Runs fn on the opened volume in a process that then dies with everything durable, and, however long it takes (a sanitizer,
 * a busy machine), in the journal as far as that has room. */
static void die_after(int (*fn)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        int r;
        apply_age_ms = 3600 * 1000;
        vt_open(&T);
        r = fn();
        if (r == 0)
            r = volume_call_wait(&T.c) ? 99 : 0;
        _exit(r);
    }
    T.epoch++;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    model_check_disk(&T);
}

static int count_one(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    ++*(unsigned *)arg;
    return 0;
}

/* Records in the journal of the closed volume; -1: there is none. */
static int records(void)
{
    struct journal *j;
    unsigned n = 0;
    int fd = open(T.dir, O_RDONLY | O_DIRECTORY), r = journal_open(fd, "t", true, &j);

    close(fd);
    if (r == -ENOENT)
        return -1;
    assert_int_equal(r, 0);
    assert_int_equal(journal_walk(j, count_one, &n), 0);
    journal_close(j);
    return (int)n;
}

static int create_some(void)
{
    struct vattr a;

    if (vt_create(&T, &T.c, ROOT, "a", IT_REG, &a) || volume_call_wait(&T.c))
        return 1;
    return volume_write(T.v, &T.c, a.ino, 0, "abc", 3, true, NULL, NULL) ? 2 : 0;
}

static void what_was_acknowledged_is_there(void **state)
{
    struct vattr a;
    char b[8];

    die_after(create_some);
    assert_true(records() >= 2);
    vt_open(&T);
    assert_int_equal(records(), 0);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
    assert_int_equal(a.size, 3);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 0, b, 8), 3);
    assert_memory_equal(b, "abc", 3);
    vt_close(&T);
    assert_int_equal(records(), 0); /* a clean close leaves nothing to do */
    model_check_disk(&T);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
}

static int one_of_each(void)
{
    struct volume_create_args l = {.dir = ROOT, .name = "fifo", .len = 4, .type = IT_CHR, .rdev_major = 5,
                                   .rdev_minor = 70000, .set = {.mask = VSET_MODE, .mode = 0600}};
    struct vattr a, d, f;
    unsigned char *w = malloc(700000);

    vt_fill(w, 700000, 9);
    if (vt_create(&T, &T.c, ROOT, "d", IT_DIR, &d) || vt_create(&T, &T.c, d.ino, "sub", IT_DIR, &a) ||
        vt_create(&T, &T.c, ROOT, "link", IT_LNK, &a) || volume_create_at(T.v, &T.c, &l, &a, NULL) ||
        vt_create(&T, &T.c, ROOT, "f", IT_REG, &f))
        return 1;
    if (volume_write(T.v, &T.c, f.ino, 0, w, 700000, false, NULL, NULL) || volume_commit(T.v, &T.c, f.ino))
        return 2;
    if (vt_create(&T, &T.c, ROOT, "g", IT_REG, &a) ||
        volume_clone(T.v, &T.c, f.ino, 0, a.ino, 4096, 700000, NULL) || volume_call_wait(&T.c))
        return 3;
    if (volume_punch(T.v, &T.c, f.ino, 100000, 300000) || vt_truncate(&T, f.ino, 650000) ||
        vt_truncate(&T, f.ino, 900000))
        return 4;
    if (volume_setxattr(T.v, &T.c, f.ino, "k", 1, w, 60000, 0, NULL) ||
        volume_setxattr(T.v, &T.c, f.ino, "e", 1, "", 0, 0, NULL) ||
        volume_setxattr(T.v, &T.c, f.ino, "gone", 4, "x", 1, 0, NULL) || volume_call_wait(&T.c) ||
        volume_removexattr(T.v, &T.c, f.ino, "gone", 4, NULL))
        return 5;
    if (volume_link(T.v, &T.c, f.ino, d.ino, "hard", 4, NULL, NULL) || vt_rename(&T, ROOT, "d", ROOT, "e"))
        return 6;
    if (vt_create(&T, &T.c, ROOT, "x", IT_REG, &a) || volume_write(T.v, &T.c, a.ino, 0, w, 9000, true, NULL, NULL) ||
        volume_call_wait(&T.c) || vt_unlink(&T, ROOT, "x"))
        return 7;
    if (vt_create(&T, &T.c, ROOT, "held", IT_REG, &a) || volume_hold(T.v, &T.c, a.ino) ||
        volume_write(T.v, &T.c, a.ino, 0, w, 9000, true, NULL, NULL) || vt_unlink(&T, ROOT, "held"))
        return 8;
    free(w);
    return 0;
}

static void each_kind_of_change(void **state)
{
    struct vattr a, d, f;
    unsigned char *w = malloc(900000), *r = malloc(900000);
    char target[STORE_SYMLINK_MAX + 1];
    struct volume_stat st;

    vt_fill(w, 700000, 9);
    die_after(one_of_each);
    vt_open(&T);
    model_check_disk(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "d", &d), -ENOENT);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "e", &d), 0);
    assert_int_equal(d.nlink, 3);
    assert_int_equal(vt_lookup(&T, &T.c, d.ino, "sub", &a), 0);
    assert_int_equal(a.parent, d.ino);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "link", &a), 0);
    assert_int_equal(volume_readlink(T.v, &T.c, a.ino, target), 11);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "fifo", &a), 0);
    assert_int_equal(a.type, IT_CHR);
    assert_int_equal(a.rdev_minor, 70000);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "f", &f), 0);
    assert_int_equal(vt_lookup(&T, &T.c, d.ino, "hard", &a), 0);
    assert_int_equal(a.ino, f.ino);
    assert_int_equal(f.nlink, 2);
    assert_int_equal(f.size, 900000);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "g", &a), 0);
    assert_int_equal(vt_read(&T, &T.c, a.ino, 4096, r, 700000), 700000);
    assert_memory_equal(r, w, 700000);
    memset(w + 100000, 0, 300000);
    memset(w + 650000, 0, 250000);
    assert_int_equal(vt_read(&T, &T.c, f.ino, 0, r, 900000), 900000);
    assert_memory_equal(r, w, 900000);
    vt_fill(w, 700000, 9);
    assert_int_equal(volume_getxattr(T.v, &T.c, f.ino, "k", 1, r, 65536), 60000);
    assert_memory_equal(r, w, 60000);
    assert_int_equal(volume_getxattr(T.v, &T.c, f.ino, "e", 1, r, 65536), 0);
    assert_int_equal(volume_getxattr(T.v, &T.c, f.ino, "gone", 4, r, 65536), -ENODATA);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "x", &a), -ENOENT);
    volume_stat(T.v, &st);
    assert_int_equal(st.files, 7); /* d sub link fifo f g held */
    assert_int_equal(volume_purge_orphans(T.v), 0);
    vt_close(&T);
    model_check_disk(&T);
    vt_open(&T);
    volume_stat(T.v, &st);
    assert_int_equal(st.files, 6);
    free(w);
    free(r);
}

static struct model *M;

static int model_run(void)
{
    model_make_dirs(M, &T);
    for (int i = 0; i < 400; i++)
        model_step(M, &T);
    return volume_call_wait(&T.c) ? 1 : 0;
}

static void random_changes(void **state)
{
    static const uint32_t sizes[] = {0, 64u << 10, 1u << 20};

    for (uint64_t seed = 1; seed <= 6; seed++) {
        vt_make(&T, NULL);
        T.journal = sizes[seed % 3];
        M = malloc(sizeof(*M));
        model_init(M, seed * 77, true);
        die_after(model_run);
        vt_open(&T);
        model_check_disk(&T);
        for (int i = 0; i < 400; i++)
            model_step(M, NULL);
        assert_int_equal(model_compare(M, &T), 0);
        vt_close(&T);
        model_check_disk(&T);
        model_release(M);
        free(M);
        vt_remove(&T);
        T.v = NULL;
    }
}

/* A crash while what a crash left is replayed: the next open does it again, from wherever it was. */
static void dies_in_replay(void **state)
{
    static const char *const points[] = {"", "index.apply", "journal.header", "apply.committed"};
    struct vattr a;

    for (unsigned i = 0; i < 4; i++)
        for (unsigned n = 1; n < 200; n += 1 + n / 2) {
            int status;
            pid_t pid;
            vt_make(&T, NULL);
            die_after(one_of_each);
            pid = fork();
            assert_true(pid >= 0);
            if (pid == 0) {
                fault_arm(points[i], n, FAULT_CRASH);
                vt_open(&T);
                _exit(0);
            }
            assert_int_equal(waitpid(pid, &status, 0), pid);
            model_check_disk(&T);
            vt_open(&T);
            model_check_disk(&T);
            assert_int_equal(vt_lookup(&T, &T.c, ROOT, "held", &a), -ENOENT);
            assert_int_equal(vt_lookup(&T, &T.c, ROOT, "f", &a), 0);
            assert_int_equal(a.size, 900000);
            vt_close(&T);
            model_check_disk(&T);
            vt_remove(&T);
            T.v = NULL;
            if (WEXITSTATUS(status) == 0)
                break;
        }
}

/* A replay that fails changes nothing; the next one succeeds. */
static void replay_fails(void **state)
{
    struct engine_conf conf = {.cache_size = 32u << 20, .epoch = 9};
    struct engine *e;
    struct volume *v;
    struct vattr a;

    die_after(create_some);
    assert_int_equal(engine_new(&conf, &e), 0);
    fault_arm("index.apply", 3, FAULT_FAIL);
    assert_int_equal(volume_open(e, T.dir, "t", 1, &v), -EIO);
    fault_disarm();
    assert_true(records() >= 2);
    fault_arm("apply.applied", 1, FAULT_FAIL);
    assert_int_equal(volume_open(e, T.dir, "t", 1, &v), -EIO);
    fault_disarm();
    engine_free(e);
    model_check_disk(&T);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
    assert_int_equal(a.size, 3);
}

static int many_at_once(void)
{
    struct vattr a;
    char name[16];

    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        if (vt_create(&T, &T.c, ROOT, name, IT_REG, &a) ||
            volume_write(T.v, &T.c, a.ino, 0, name, strlen(name), true, NULL, NULL))
            return 1;
    }
    return 0;
}

/* More in one group than the ring holds: straight to the index, and in order with what came before and comes after. */
static void larger_than_the_ring(void **state)
{
    struct vattr a;
    char name[16], b[16];

    T.journal = JOURNAL_SIZE_MIN;
    die_after(create_some);
    die_after(many_at_once);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
    for (int i = 0; i < 3000; i++) {
        snprintf(name, sizeof(name), "x%d", i);
        assert_int_equal(vt_lookup(&T, &T.c, ROOT, name, &a), 0);
        assert_int_equal(vt_read(&T, &T.c, a.ino, 0, b, 16), strlen(name));
        assert_memory_equal(b, name, strlen(name));
    }
}

static int fill_ring(void)
{
    struct vattr a;
    unsigned char w[8192];

    if (vt_create(&T, &T.c, ROOT, "a", IT_REG, &a))
        return 1;
    for (uint64_t i = 0; i < 600; i++) {
        st_fill(w, sizeof(w), i + 1);
        if (volume_write(T.v, &T.c, a.ino, i % 200 * 8192, w, 8192, true, NULL, NULL) || volume_call_wait(&T.c))
            return 2;
    }
    return 0;
}

/* Many rounds through the ring, one that may grow and one that may not. */
static void full_ring(void **state)
{
    unsigned char w[8192], r[8192];

    for (int i = 0; i < 2; i++) {
        struct vattr a;
        vt_make(&T, NULL);
        T.journal = i ? JOURNAL_SIZE_MIN : 0;
        die_after(fill_ring);
        vt_open(&T);
        assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
        assert_int_equal(a.size, 200 * 8192);
        for (uint64_t k = 0; k < 200; k++) {
            st_fill(w, sizeof(w), 400 + k + 1);
            assert_int_equal(vt_read(&T, &T.c, a.ino, k * 8192, r, 8192), 8192);
            assert_memory_equal(r, w, 8192);
        }
        vt_close(&T);
        vt_remove(&T);
        T.v = NULL;
    }
}

static void path_of(char *p, size_t size, const char *name)
{
    snprintf(p, size, "%s/%s", T.dir, name);
}

/* A volume made before there were journals, and one that cannot get any. */
static void without_a_journal(void **state)
{
    struct vattr a;
    char p[256];

    path_of(p, sizeof(p), "journal");
    vt_open(&T);
    assert_int_equal(mkdir(p, 0700), 0); /* in its way */
    assert_int_equal(create_some(), 0);
    vt_sync(&T);
    vt_close(&T);
    assert_int_equal(rmdir(p), 0);
    assert_int_equal(records(), -1);
    model_check_disk(&T);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
    assert_int_equal(vt_unlink(&T, ROOT, "a"), 0);
    vt_sync(&T);
    vt_close(&T);
    assert_int_equal(records(), 0);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), -ENOENT);
}

static void note_problem(void *arg, const char *text)
{
    snprintf(arg, 256, "%s", text);
}

/* The one problem that check finds has these words. */
static void check_finds(const char *words)
{
    struct check_report rep;
    char text[256] = "";

    assert_int_equal(volume_check(T.dir, true, note_problem, text, &rep), 0);
    assert_int_equal(rep.problems, 1);
    assert_non_null(strstr(text, words));
}

static int more(void)
{
    struct vattr a;

    return vt_create(&T, &T.c, ROOT, "b", IT_REG, &a);
}

/* An index from a backup and the journal of today do not fit. */
static void journal_of_another_time(void **state)
{
    struct engine_conf conf = {.cache_size = 32u << 20, .epoch = 9};
    struct engine *e;
    struct volume *v;
    struct vattr a;
    char db[256], old[256], wal[256];

    path_of(db, sizeof(db), "index.db");
    path_of(old, sizeof(old), "old.db");
    path_of(wal, sizeof(wal), "index.db-wal");
    st_copy(db, old);
    vt_open(&T);
    assert_int_equal(create_some(), 0);
    vt_sync(&T);
    vt_close(&T);
    /* an empty journal is no obstacle */
    die_after(more);
    assert_true(records() >= 1);
    st_copy(old, db);
    unlink(wal);
    path_of(wal, sizeof(wal), "index.db-shm");
    unlink(wal);
    check_finds("begins with");
    assert_int_equal(engine_new(&conf, &e), 0);
    assert_int_equal(volume_open(e, T.dir, "t", 1, &v), -EUCLEAN);
    engine_free(e);
    path_of(wal, sizeof(wal), "journal");
    unlink(wal);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), -ENOENT);
    assert_int_equal(vt_create(&T, &T.c, ROOT, "a", IT_REG, &a), 0);
    vt_sync(&T);
}

/* --- hostile bytes with a right checksum --- */

struct taken {
    unsigned char *p[64];
    size_t len[64];
    uint64_t lsn[64];
    unsigned n;
};

static int take_one(void *arg, uint64_t lsn, const void *payload, size_t len)
{
    struct taken *k = arg;

    k->p[k->n] = malloc(len);
    memcpy(k->p[k->n], payload, len);
    k->lsn[k->n] = lsn;
    k->len[k->n++] = len;
    return k->n == 64;
}

static void mutated_records(void **state)
{
    struct taken k = {.n = 0};
    struct journal *j;
    struct txg *t;
    unsigned good = 0, bad = 0;
    uint64_t x = 99;
    int fd;

    die_after(one_of_each);
    fd = open(T.dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(journal_open(fd, "t", true, &j), 0);
    assert_true(journal_walk(j, take_one, &k) >= 0);
    journal_close(j);
    close(fd);
    assert_true(k.n >= 1);
    for (unsigned i = 0; i < k.n; i++) {
        assert_int_equal(record_get(k.lsn[i], k.p[i], k.len[i], &t), 0);
        /* it says the same when it is written again */
        unsigned char *again = malloc(record_size(t));
        assert_int_equal(record_size(t), k.len[i]);
        record_put(t, again);
        assert_memory_equal(again, k.p[i], k.len[i]);
        free(again);
        txg_free(NULL, t);
        assert_int_equal(record_get(k.lsn[i], k.p[i], k.len[i] - 1, &t), -EUCLEAN);
        for (int n = 0; n < 3000; n++) {
            size_t len = n % 5 ? k.len[i] : st_random(&x) % k.len[i];
            unsigned char *m = malloc(len ? len : 1);
            memcpy(m, k.p[i], len);
            for (int f = 0; len && f < 1 + n % 4; f++) /* mostly where the structure is */
                m[st_random(&x) % (n % 2 && len > 800 ? 800 : len)] = (unsigned char)st_random(&x);
            if (record_get(k.lsn[i], m, len, &t) == 0) {
                good++;
                txg_free(NULL, t);
            } else {
                bad++;
            }
            free(m);
        }
    }
    assert_true(good > 0 && bad > 0);
    for (unsigned i = 0; i < k.n; i++)
        free(k.p[i]);
}

static void senseless_record(void **state)
{
    struct engine_conf conf = {.cache_size = 32u << 20, .epoch = 9};
    struct engine *e;
    struct volume *v;
    struct journal *j;
    struct vattr a;
    uint64_t end, lsn;
    int fd;

    vt_open(&T);
    assert_int_equal(create_some(), 0);
    vt_sync(&T);
    lsn = T.v->durable + 1;
    vt_close(&T);
    fd = open(T.dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(journal_open(fd, "t", false, &j), 0);
    assert_int_equal(journal_reset(j, 0, lsn), 0);
    memset(journal_buf(j, 500), 0x5a, 500);
    assert_int_equal(journal_write(j, lsn, 500, &end), 0);
    check_finds("makes no sense");
    assert_int_equal(engine_new(&conf, &e), 0);
    assert_int_equal(volume_open(e, T.dir, "t", 1, &v), -EUCLEAN);
    engine_free(e);
    assert_int_equal(journal_reset(j, 0, lsn), 0);
    journal_close(j);
    close(fd);
    vt_open(&T);
    assert_int_equal(vt_lookup(&T, &T.c, ROOT, "a", &a), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_acknowledged_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(each_kind_of_change, setup, teardown),
        cmocka_unit_test(random_changes),
        cmocka_unit_test(dies_in_replay),
        cmocka_unit_test_setup_teardown(replay_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(larger_than_the_ring, setup, teardown),
        cmocka_unit_test(full_ring),
        cmocka_unit_test_setup_teardown(without_a_journal, setup, teardown),
        cmocka_unit_test_setup_teardown(journal_of_another_time, setup, teardown),
        cmocka_unit_test_setup_teardown(mutated_records, setup, teardown),
        cmocka_unit_test_setup_teardown(senseless_record, setup, teardown),
    };

    log_set_level(LOG_WARN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
