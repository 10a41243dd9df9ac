/* SPDX-License-Identifier: Apache-2.0
 * vfs_idle: volumes that nobody uses are closed, and nobody notices; destroyed ones are removed in the background.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "tests/unit/vfstest.h"

#define VOLUMES 6

static void make_volumes(struct env *e, unsigned n)
{
    struct volume_props props;
    char name[32];

    volume_props_default(&props);
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "alice/v%u", i);
        assert_int_equal(vfs_volume_create(e->v, name, &props, 1000 + i, 1000, 0750), 0);
    }
}

/* The root of alice/vI. */
static void find(struct env *e, unsigned i, struct vobj *out)
{
    struct vobj top = {0}, user = {0};
    char name[32];

    vfs_root(e->v, &top);
    snprintf(name, sizeof(name), "v%u", i);
    assert_int_equal(lookup(e, &top, "alice", &user, NULL), 0);
    assert_int_equal(lookup(e, &user, name, out, NULL), 0);
    vobj_release(&user);
}

/* call: of a thread. */
static int make_file(struct env *e, struct store_call *call, const struct vobj *dir, const char *name, struct vobj *out)
{
    struct vfs_create a = {.name = name, .len = strlen(name), .type = IT_REG, .set = {.mask = VSET_MODE, .mode = 0644}};
    struct vfs_attr attr;
    struct dir_change dc;
    bool made;

    return vfs_create(e->v, call, dir, &root, &a, out, &attr, &made, &dc);
}

static void write_text(struct env *e, const struct vobj *f, const char *text)
{
    assert_int_equal(vfs_write(e->v, &e->call, f, &root, false, 0, text, strlen(text), false, NULL, NULL), 0);
}

static void read_text(struct env *e, const struct vobj *f, const char *text)
{
    struct volume_read r;

    assert_int_equal(vfs_read(e->v, &e->call, f, &root, false, 0, 100, &r), 0);
    assert_int_equal(r.len, strlen(text));
    assert_memory_equal(r.iov[0].iov_base, text, r.len);
    volume_read_release(&r);
}

static void done(struct env *e)
{
    assert_int_equal(volume_call_wait(&e->call), 0);
    store_call_release(&e->call);
    store_call_init(&e->call, true);
}

/* Until only `most` are open. Time goes by as fast as need be. */
static void wait_open(struct env *e, unsigned most)
{
    for (unsigned i = 0; i < 3000 && vfs_open_volumes(e->v) > most; i++) {
        clock_test_advance(5000);
        usleep(20000);
    }
    assert_int_equal(vfs_open_volumes(e->v), most);
}

static void test_closed_when_idle(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, f = {0};
    struct vfs_attr before, after;
    struct vfs_volume_info a, b;
    uint64_t verifier, ino;

    make_volumes(e, 1);
    find(e, 0, &vol);
    assert_int_equal(make_file(e, &e->call, &vol, "f", &f), 0);
    write_text(e, &f, "not committed");
    verifier = volume_write_verifier(f.vol);
    ino = f.ino;
    assert_int_equal(vfs_getattr(e->v, &e->call, &vol, &before), 0);
    vfs_set_idle(e->v, 60, 100);
    clock_test_advance(3600000);
    sleep(2); /* somebody has a reference */
    assert_int_equal(vfs_open_volumes(e->v), 1);
    vobj_release(&f);
    vobj_release(&vol);
    assert_int_equal(vfs_volume_info(e->v, "alice/v0", &a), 0);
    done(e);
    wait_open(e, 0);
    /* what is known of it opens nothing */
    assert_int_equal(vfs_volume_info(e->v, "alice/v0", &b), 0);
    assert_int_equal(b.err, 0);
    assert_int_equal(b.stat.files, 1);
    assert_int_equal(b.stat.logical, a.stat.logical);
    assert_true(b.stat.avail_bytes > 0 && b.stat.total_bytes == b.stat.logical + b.stat.avail_bytes);
    assert_int_equal(vfs_open_volumes(e->v), 0);
    /* a handle finds it again */
    assert_int_equal(vfs_object(e->v, &e->call, 0, a.id, ino, 0, &f), 0);
    assert_int_equal(vfs_open_volumes(e->v), 1);
    read_text(e, &f, "not committed");
    assert_true(volume_write_verifier(f.vol) == verifier);
    find(e, 0, &vol);
    assert_int_equal(vfs_getattr(e->v, &e->call, &vol, &after), 0);
    assert_int_equal(after.a.change, before.a.change);
    assert_int_equal(after.a.gen, before.a.gen);
    vobj_release(&f);
    vobj_release(&vol);
    /* without blocking: later */
    done(e);
    wait_open(e, 0);
    e->call.may_block = false;
    assert_int_equal(vfs_object(e->v, &e->call, 0, a.id, ino, 0, &f), -EAGAIN);
    e->call.may_block = true;
}

static void test_held_stays_open(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, f = {0};
    struct vfs_hold *h;

    make_volumes(e, 2);
    find(e, 0, &vol);
    assert_int_equal(make_file(e, &e->call, &vol, "f", &f), 0);
    write_text(e, &f, "removed and open");
    assert_int_equal(vfs_hold_new(e->v, &e->call, &f, &h), 0);
    assert_int_equal(vfs_remove(e->v, &e->call, &vol, &root, "f", 1, NULL, NULL, NULL), 0);
    vobj_release(&vol);
    find(e, 1, &vol);
    vobj_release(&vol);
    done(e);
    vfs_set_idle(e->v, 60, 1);
    uint64_t ino = f.ino, id = volume_id(f.vol);
    vobj_release(&f);
    wait_open(e, 1); /* the other one */
    assert_int_equal(vfs_object(e->v, &e->call, 0, id, ino, 0, &f), 0);
    read_text(e, &f, "removed and open");
    vobj_release(&f);
    /* too many open, and none that can be closed: more are */
    find(e, 1, &f);
    find(e, 0, &vol);
    assert_int_equal(vfs_open_volumes(e->v), 2);
    vobj_release(&f);
    vobj_release(&vol);
    vfs_hold_drop(h);
    done(e);
    wait_open(e, 0);
}

static bool see(void *arg, const struct vfs_dirent *de)
{
    unsigned *n = arg;

    assert_int_equal(de->err, 0);
    assert_int_equal(de->attr.a.uid, 1000 + *n);
    assert_int_equal(de->attr.a.mode, 0750);
    assert_int_equal(de->attr.a.type, IT_DIR);
    assert_true(de->attr.fsid != 0);
    assert_int_equal(de->obj.ino, STORE_ROOT_INO);
    ++*n;
    return true;
}

static int count_info(void *arg, const struct vfs_volume_info *info)
{
    unsigned *n = arg;

    assert_int_equal(info->err, 0);
    ++*n;
    return 0;
}

static void list(struct env *e, unsigned open)
{
    struct vobj top = {0}, user = {0};
    unsigned n = 0;
    bool eof;

    vfs_root(e->v, &top);
    assert_int_equal(lookup(e, &top, "alice", &user, NULL), 0);
    assert_int_equal(vfs_readdir(e->v, &e->call, &user, &root, 0, 100, see, &n, &eof), 0);
    assert_int_equal(n, VOLUMES);
    n = 0;
    assert_int_equal(vfs_volume_list(e->v, "alice", count_info, &n), 0);
    assert_int_equal(n, VOLUMES);
    assert_int_equal(vfs_open_volumes(e->v), open);
    vobj_release(&user);
}

static void test_lists_open_nothing(void **state)
{
    struct env *e = *state;
    struct vobj vol = {0}, f = {0};

    make_volumes(e, VOLUMES);
    list(e, 0);
    find(e, 3, &vol);
    assert_int_equal(make_file(e, &e->call, &vol, "f", &f), 0);
    done(e);
    list(e, 1);
    vobj_release(&f);
    vobj_release(&vol);
    vt_stop(e);
    vt_start(e);
    list(e, 0);
}

static void test_bound(void **state)
{
    struct env *e = *state;
    char text[32];

    make_volumes(e, VOLUMES);
    vfs_set_idle(e->v, 0, 2);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < VOLUMES; i++) {
            struct vobj vol = {0}, f = {0};
            find(e, i, &vol);
            snprintf(text, sizeof(text), "text %u", i);
            if (round == 0) {
                assert_int_equal(make_file(e, &e->call, &vol, "f", &f), 0);
                write_text(e, &f, text);
            } else {
                assert_int_equal(lookup(e, &vol, "f", &f, NULL), 0);
                read_text(e, &f, text);
            }
            vobj_release(&f);
            vobj_release(&vol);
            done(e);
            assert_true(vfs_open_volumes(e->v) <= 2);
        }
}

/* Threads that work in all volumes, of which one may be open. */
struct worker {
    struct env *e;
    pthread_t thread;
    unsigned no, made;
};
static atomic_bool stop_workers;

static void *work(void *arg)
{
    struct worker *w = arg;
    struct store_call call;
    unsigned seed = w->no;

    while (!stop_workers) {
        struct vobj top = {0}, user = {0}, vol = {0}, f = {0};
        char name[32];
        store_call_init(&call, true);
        vfs_root(w->e->v, &top);
        assert_int_equal(vfs_lookup(w->e->v, &call, &top, &root, "alice", 5, &user, NULL), 0);
        snprintf(name, sizeof(name), "v%u", (unsigned)rand_r(&seed) % VOLUMES);
        assert_int_equal(vfs_lookup(w->e->v, &call, &user, &root, name, 2, &vol, NULL), 0);
        snprintf(name, sizeof(name), "w%u-%u", w->no, w->made);
        assert_int_equal(make_file(w->e, &call, &vol, name, &f), 0);
        assert_int_equal(volume_call_wait(&call), 0);
        w->made++;
        vobj_release(&f);
        vobj_release(&vol);
        vobj_release(&user);
        store_call_release(&call);
    }
    return NULL;
}

static int add_files(void *arg, const struct vfs_volume_info *info)
{
    uint64_t *n = arg;

    assert_int_equal(info->err, 0);
    *n += info->stat.files;
    return 0;
}

static void test_closing_under_load(void **state)
{
    struct env *e = *state;
    struct worker w[4];
    uint64_t made = 0, files = 0;

    make_volumes(e, VOLUMES);
    vfs_set_idle(e->v, 1, 1);
    stop_workers = false;
    for (unsigned i = 0; i < 4; i++) {
        w[i] = (struct worker){.e = e, .no = i};
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    sleep(2);
    stop_workers = true;
    for (unsigned i = 0; i < 4; i++) {
        pthread_join(w[i].thread, NULL);
        made += w[i].made;
    }
    assert_int_equal(vfs_volume_list(e->v, NULL, add_files, &files), 0);
    assert_int_equal(files, made);
    vt_stop(e);
    vt_start(e);
    files = 0;
    assert_int_equal(vfs_volume_list(e->v, NULL, add_files, &files), 0);
    assert_int_equal(files, made);
}

static void test_removed_in_the_background(void **state)
{
    struct env *e = *state;
    struct vfs_volume_info info;
    char path[64], trash[64];

    make_volumes(e, 2);
    assert_int_equal(vfs_volume_info(e->v, "alice/v0", &info), 0);
    snprintf(path, sizeof(path), "volumes/%016llx", (unsigned long long)info.id);
    snprintf(trash, sizeof(trash), "volumes/trash-%016llx", (unsigned long long)info.id);
    assert_int_equal(vfs_volume_destroy(e->v, "alice/v0"), 0);
    assert_int_equal(access(st_path(e->dir, path), F_OK), -1);
    for (unsigned i = 0; i < 3000 && access(st_path(e->dir, trash), F_OK) == 0; i++)
        usleep(10000);
    assert_int_equal(access(st_path(e->dir, trash), F_OK), -1);
    /* the folder cannot be moved aside: it is no volume any more all the same, and the next start removes it */
    assert_int_equal(vfs_volume_info(e->v, "alice/v1", &info), 0);
    snprintf(path, sizeof(path), "volumes/%016llx", (unsigned long long)info.id);
    fault_arm("trash.rename", 1, FAULT_FAIL);
    assert_int_equal(vfs_volume_destroy(e->v, "alice/v1"), 0);
    fault_disarm();
    assert_int_equal(vfs_volume_info(e->v, "alice/v1", &info), -ENOENT);
    assert_int_equal(access(st_path(e->dir, path), F_OK), 0);
    vt_stop(e);
    vt_start(e);
    assert_int_equal(access(st_path(e->dir, path), F_OK), -1);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, vt_setup, vt_teardown)
    const struct CMUnitTest tests[] = {
        T(test_closed_when_idle), T(test_held_stays_open), T(test_lists_open_nothing),        T(test_bound),
        T(test_closing_under_load), T(test_removed_in_the_background),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
