/* SPDX-License-Identifier: Apache-2.0
 * Tests of index: upgrades of older formats, and which chunks snapshots hold.
 */
#include <sqlite3.h>

#include "common/fault.h"
#include "server/store/check.h"
#include "server/store/index.h"
#include "tests/unit/storetest.h"

struct fix {
    char *dir;
    char path[512];
};

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));

    f->dir = st_tmpdir();
    snprintf(f->path, sizeof(f->path), "%s/index.db", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    fault_disarm();
    st_rmtree(f->dir);
    free(f);
    return 0;
}

static void run(const char *path, const char *text)
{
    sqlite3 *db;
    char *err = NULL;

    assert_int_equal(sqlite3_open(path, &db), 0);
    sqlite3_exec(db, text, NULL, NULL, &err);
    if (err)
        fail_msg("%s", err);
    sqlite3_close(db);
}

static int64_t query(const char *path, const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *st = NULL;

    assert_int_equal(sqlite3_open(path, &db), 0);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), 0);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    int64_t v = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

/* --- upgrades --- */

/* A volume as release 0 wrote it: the root, one file with a small chunk. */
static const char format1[] =
    "PRAGMA journal_mode = WAL; PRAGMA application_id = 1447970387; PRAGMA user_version = 1;"
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK(id = 1), next_ino, next_chunk, next_pack,"
    " next_gen, txg, files, logical, stored, codec, level, quota_bytes, quota_files, readonly);"
    "CREATE TABLE inode(ino INTEGER PRIMARY KEY, gen, type, mode, nlink, uid, gid, rmajor, rminor,"
    " size, used, change, parent, atime, mtime, ctime, btime, verf);"
    "CREATE TABLE dirent(dir INTEGER NOT NULL, cookie INTEGER NOT NULL, name BLOB, ino INTEGER,"
    " PRIMARY KEY(dir, cookie)) WITHOUT ROWID;"
    "CREATE TABLE symlink(ino INTEGER PRIMARY KEY, target BLOB);"
    "CREATE TABLE xattr(id INTEGER PRIMARY KEY, ino INTEGER NOT NULL, name BLOB NOT NULL,"
    " value BLOB);"
    "CREATE UNIQUE INDEX xattr_name ON xattr(ino, name);"
    "CREATE TABLE orphan(ino INTEGER PRIMARY KEY);"
    "CREATE TABLE extent(ino INTEGER NOT NULL, off INTEGER NOT NULL, len INTEGER, chunk INTEGER,"
    " chunk_off INTEGER, PRIMARY KEY(ino, off)) WITHOUT ROWID;"
    "CREATE TABLE chunk(id INTEGER PRIMARY KEY, pack, pack_off, stored_len, len, codec, checksum,"
    " refs);"
    "CREATE TABLE blob(chunk INTEGER PRIMARY KEY, data BLOB);"
    "CREATE TABLE pack(id INTEGER PRIMARY KEY, live);"
    "INSERT INTO meta VALUES(1, 3, 8, 2, 3, 41, 1, 5, 5, 1, 3, 1000000, 0, 0);"
    "INSERT INTO inode VALUES(1, 1, 2, 493, 2, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0),"
    " (2, 2, 1, 420, 1, 0, 0, 0, 0, 5, 5, 1, 0, 0, 0, 0, 0, 0);"
    "INSERT INTO extent VALUES(2, 0, 5, 7, 0);"
    "INSERT INTO chunk VALUES(7, 0, 0, 5, 5, 0, 0, 1);"
    "INSERT INTO blob VALUES(7, x'0102030405');";

static void make_format1(struct fix *f)
{
    char text[128];

    run(f->path, format1);
    snprintf(text, sizeof(text), "INSERT INTO dirent VALUES(1, %lld, x'61', 2)",
             (long long)index_name_cookie("a", 1));
    run(f->path, text);
    mkdir(st_path(f->dir, "packs"), 0700);
}

static void problem(void *arg, const char *text)
{
    print_message("%s\n", text);
}

static void format1_is_upgraded(void **state)
{
    struct fix *f = *state;
    struct check_report rep;
    struct index_meta m;
    struct index_extent x;
    struct index_delta d = {0};
    struct index *ix;
    char buf[8];

    make_format1(f);
    assert_int_equal(index_open_readonly(f->path, "t", &ix), -ENOTSUP);
    assert_int_equal(query(f->path, "PRAGMA user_version"), 1);
    assert_int_equal(index_open(f->path, "t", &ix), 0);
    assert_int_equal(query(f->path, "PRAGMA user_version"), INDEX_FORMAT);
    assert_int_equal(index_get_meta(ix, &m), 0);
    assert_true(m.next_ino == 3 && m.txg == 41 && m.stored == 5 && m.props.level == 3 &&
                m.props.quota_bytes == 1000000);
    assert_true(m.snap_seq == 0 && m.held == 0 && !m.props.dedup && m.props.recompress == 0 &&
                !m.props.snapdir);
    assert_int_equal(index_get_extents(ix, 2, 0, 100, &x, 1), 1);
    assert_int_equal(x.chunk.id, 7);
    assert_int_equal(index_read_blob(ix, &x.chunk, buf), 0);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_punch(ix, 2, 0, 2, 0, &d), 0);
    m.logical -= 2;
    assert_int_equal(index_put_meta(ix, &m), 0);
    assert_int_equal(index_commit(ix), 0);
    index_close(ix);
    run(f->path, "UPDATE inode SET used = 3 WHERE ino = 2");
    assert_int_equal(volume_check(f->dir, false, problem, NULL, &rep), 0);
    assert_int_equal(rep.problems, 0);
    assert_int_equal(index_open(f->path, "t", &ix), 0); /* nothing more to do */
    index_close(ix);
}

static void upgrade_may_fail(void **state)
{
    static const char *const points[] = {"index.upgrade", "index.upgraded"};
    struct fix *f = *state;
    struct index *ix;

    make_format1(f);
    for (size_t i = 0; i < sizeof(points) / sizeof(*points); i++) {
        fault_arm(points[i], 1, FAULT_FAIL);
        assert_int_equal(index_open(f->path, "t", &ix), -EIO);
        fault_disarm();
        assert_int_equal(query(f->path, "PRAGMA user_version"), 1);
        assert_int_equal(query(f->path, "SELECT count(*) FROM sqlite_schema WHERE name = 'dead'"), 0);
    }
    assert_int_equal(index_open(f->path, "t", &ix), 0);
    index_close(ix);
}

/* --- which chunks snapshots hold --- */

#define FILES 40
#define SNAPS 8

/* Files of one chunk; what each snapshot saw of them. */
struct model {
    uint64_t now[FILES], next_chunk;
    struct {
        uint64_t id, chunk[FILES];
        bool there;
    } snap[SNAPS];
};

static bool wanted(const struct model *m, uint64_t chunk, bool *live)
{
    bool any = false;

    *live = false;
    for (int i = 0; i < FILES; i++) {
        if (m->now[i] == chunk)
            *live = any = true;
        for (int s = 0; s < SNAPS; s++)
            if (m->snap[s].there && m->snap[s].chunk[i] == chunk)
                any = true;
    }
    return any;
}

static void compare(struct fix *f, const struct model *m, const struct index_meta *meta)
{
    char text[200];
    int64_t live = 0, held = 0;

    for (uint64_t c = 1; c < m->next_chunk; c++) {
        bool is_live, any = wanted(m, c, &is_live);
        snprintf(text, sizeof(text), "SELECT coalesce((SELECT refs FROM chunk WHERE id = %d), -1)", (int)c);
        assert_int_equal(query(f->path, text), any ? is_live : -1);
        live += is_live;
        held += any && !is_live;
    }
    assert_int_equal(meta->stored, live * 10);
    assert_int_equal(meta->held, held * 10);
    assert_int_equal(query(f->path, "SELECT sum(live) FROM pack"), (live + held) * 10);
    assert_int_equal(query(f->path, "SELECT count(*) FROM dead"), held);
}

static void change_file(struct index *ix, struct model *m, unsigned i, bool gone, struct index_delta *d)
{
    if (gone) {
        assert_int_equal(index_punch(ix, 2 + i, 0, UINT64_MAX, 0, d), 0);
        m->now[i] = 0;
    } else {
        struct chunk c = {.id = m->next_chunk, .pack = 1 + i % 3, .pack_off = 64 * m->next_chunk,
                          .stored_len = 10, .len = 10};
        assert_int_equal(index_map(ix, 2 + i, 0, &c, NULL, d), 0);
        m->now[i] = m->next_chunk++;
    }
}

static void snap_changes(struct index *ix, struct model *m, struct index_meta *meta, unsigned which,
                         uint64_t *seed, struct index_delta *d)
{
    struct index_snap s = {.id = m->snap[which].id};
    int r;

    if (!m->snap[which].there) {
        s.id = ++meta->snap_seq;
        s.state = SNAP_READY;
        snprintf(s.name, sizeof(s.name), "s%d", (int)s.id);
        assert_int_equal(index_put_snap(ix, &s), 0);
        m->snap[which].id = s.id;
        m->snap[which].there = true;
        memcpy(m->snap[which].chunk, m->now, sizeof(m->now));
        return;
    }
    s.state = SNAP_DESTROYING;
    assert_int_equal(index_put_snap(ix, &s), 0);
    do {
        r = index_free_dead(ix, s.id, 1 + (unsigned)(st_random(seed) % 5), d);
        assert_true(r >= 0);
    } while (r);
    assert_int_equal(index_del_snap(ix, s.id), 0);
    m->snap[which].there = false;
}

static void snapshots_hold_chunks(void **state)
{
    struct fix *f = *state;
    struct vattr root = {.ino = 1, .gen = 1, .type = IT_DIR, .mode = 0755, .nlink = 2, .parent = 1};
    struct index_meta meta = {.next_ino = 99, .next_chunk = 1, .next_pack = 9, .next_gen = 1};
    struct model *m = calloc(1, sizeof(*m)), *before = malloc(sizeof(*m));
    struct index *ix;
    uint64_t seed = 20261122;

    m->next_chunk = 1;
    assert_int_equal(index_create(f->path, &meta, &root), 0);
    assert_int_equal(index_open(f->path, "t", &ix), 0);
    for (int step = 0; step < 600; step++) {
        struct index_delta d = {0};
        struct index_meta old = meta;
        *before = *m;
        assert_int_equal(index_begin(ix), 0);
        for (int i = 0; i < 3; i++)
            change_file(ix, m, (unsigned)(st_random(&seed) % FILES), st_random(&seed) % 4 == 0, &d);
        if (step % 3 == 0)
            snap_changes(ix, m, &meta, (unsigned)(st_random(&seed) % SNAPS), &seed, &d);
        if (step % 5 == 0) /* after the snapshot, in the same transaction */
            change_file(ix, m, (unsigned)(st_random(&seed) % FILES), false, &d);
        if (step % 7 == 0) {
            index_rollback(ix);
            *m = *before;
            meta = old;
            continue;
        }
        meta.stored += (uint64_t)d.stored;
        meta.held += (uint64_t)d.held;
        assert_int_equal(index_put_meta(ix, &meta), 0);
        assert_int_equal(index_commit(ix), 0);
        if (step % 20 == 19)
            compare(f, m, &meta);
        if (step % 100 == 99) {
            index_close(ix);
            assert_int_equal(index_open(f->path, "t", &ix), 0);
        }
    }
    index_close(ix);
    free(before);
    free(m);
}

static bool count_snap(void *arg, const struct index_snap *s)
{
    assert_string_equal(s->name, s->state == SNAP_DESTROYING ? "" : "one");
    assert_true(s->files == 3 && s->logical == 4 && s->stored == 5 && s->created == -6);
    return ++*(unsigned *)arg < 2;
}

static void rows_of_snapshots(void **state)
{
    struct fix *f = *state;
    struct vattr root = {.ino = 1, .gen = 1, .type = IT_DIR, .mode = 0755, .nlink = 2, .parent = 1};
    struct index_meta meta = {.next_ino = 2, .next_chunk = 1, .next_pack = 1, .next_gen = 1, .snap_seq = 9};
    struct index_snap s = {.name = "one", .state = SNAP_READY, .files = 3, .logical = 4, .stored = 5,
                           .created = -6};
    struct index *ix;
    unsigned n = 0;

    assert_int_equal(index_create(f->path, &meta, &root), 0);
    assert_int_equal(index_open(f->path, "t", &ix), 0);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_put_snap(ix, &s), -EINVAL);
    s.id = 9;
    assert_int_equal(index_put_snap(ix, &s), 0);
    s.name[0] = 0;
    s.state = SNAP_DESTROYING;
    for (s.id = 4; s.id < 7; s.id++)
        assert_int_equal(index_put_snap(ix, &s), 0);
    assert_int_equal(index_commit(ix), 0);
    assert_int_equal(index_list_snaps(ix, count_snap, &n), 0);
    assert_int_equal(n, 2);
    run(f->path, "UPDATE snapshot SET state = 3 WHERE id = 4");
    assert_int_equal(index_list_snaps(ix, count_snap, &n), -EUCLEAN);
    run(f->path, "UPDATE snapshot SET state = 2, name = printf('%100d', id) WHERE id = 4");
    assert_int_equal(index_list_snaps(ix, count_snap, &n), -EUCLEAN);
    index_close(ix);
    run(f->path, "UPDATE meta SET snap_seq = 8"); /* below a snapshot that is there */
    assert_int_equal(index_open(f->path, "t", &ix), -EUCLEAN);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(format1_is_upgraded),
        T(upgrade_may_fail),
        T(snapshots_hold_chunks),
        T(rows_of_snapshots),
    };

    return cmocka_run_group_tests_name("index_snap", tests, NULL, NULL);
}
