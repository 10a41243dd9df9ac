/* SPDX-License-Identifier: Apache-2.0
 * Tests of index: hostile databases, failures at every step, a model of extents, listing, checkpoints.
 */
#include "server/store/index.h"

#include <sqlite3.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/fault.h"
#include "tests/unit/storetest.h"

struct fix {
    char *dir;
    char path[512];
    struct index *ix;
};

static const struct index_meta meta0 = {
    .next_ino = 2, .next_chunk = 1, .next_pack = 1, .next_gen = 1, .props = {.codec = 1, .level = 1}};
static struct vattr root = {.ino = 1, .gen = 1, .type = IT_DIR, .mode = 0755, .nlink = 2, .parent = 1,
                            .change = 5};

static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));

    f->dir = st_tmpdir();
    snprintf(f->path, sizeof(f->path), "%s/index.db", f->dir);
    assert_int_equal(index_create(f->path, &meta0, &root), 0);
    assert_int_equal(index_open(f->path, "test", &f->ix), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    fault_disarm();
    index_close(f->ix);
    st_rmtree(f->dir);
    free(f);
    return 0;
}

/* Runs SQL on the database from outside; with a result: its first integer. */
struct packs_seen {
    unsigned count;
    uint32_t last;
    uint64_t live;
};

static bool see_pack(void *arg, uint32_t pack, uint64_t live)
{
    struct packs_seen *s = arg;

    assert_true(pack > s->last);
    s->last = pack;
    s->live += live;
    s->count++;
    return true;
}

static int64_t raw(struct fix *f, const char *text)
{
    sqlite3 *db;
    sqlite3_stmt *st = NULL;
    int64_t v = -1;

    assert_int_equal(sqlite3_open(f->path, &db), 0);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), 0);
    int code = sqlite3_step(st);
    if (code == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    else
        assert_int_equal(code, SQLITE_DONE);
    sqlite3_finalize(st);
    sqlite3_close(db);
    return v;
}

static struct vattr file_attr(uint64_t ino)
{
    return (struct vattr){.ino = ino, .gen = 3, .type = IT_REG, .mode = 0644, .nlink = 1,
                          .uid = UINT32_MAX, .gid = 7, .size = 12345, .used = 4096,
                          .change = 1ULL << 50, .atime = {-5, 999999999}, .mtime = {1, 2},
                          .ctime = {3, 4}, .btime = {0, 0}, .create_verf = UINT64_MAX};
}

static void put_file(struct index *ix, uint64_t ino, const char *name)
{
    struct vattr a = file_attr(ino);

    assert_int_equal(index_put_inode(ix, &a), 0);
    assert_int_equal(
        index_put_dirent(ix, 1, index_name_cookie(name, strlen(name)), name, strlen(name), ino), 0);
}

static void garbage_is_refused(void **state)
{
    struct fix *f = *state;
    struct index *ix;
    const char *p = st_path(f->dir, "junk.db");
    char buf[8192];
    int fd = open(p, O_RDWR | O_CREAT, 0600);

    assert_int_equal(index_open(st_path(f->dir, "none.db"), "t", &ix), -ENOENT);
    st_fill(buf, sizeof(buf), 3);
    assert_int_equal(write(fd, buf, sizeof(buf)), sizeof(buf));
    close(fd);
    assert_int_equal(index_open(p, "t", &ix), -EUCLEAN);
    assert_int_equal(truncate(p, 0), 0); /* an empty file is an empty SQLite database */
    assert_int_equal(index_open(p, "t", &ix), -EUCLEAN);
    assert_int_equal(index_create(f->path, &meta0, &root), -EEXIST);
    index_close(f->ix);
    f->ix = NULL;
    /* newer format; triggers; a lost column; meta gone */
    raw(f, "PRAGMA user_version = 99");
    assert_int_equal(index_open(f->path, "t", &ix), -ENOTSUP);
    raw(f, "PRAGMA user_version = 2");
    raw(f, "CREATE TRIGGER t AFTER INSERT ON inode BEGIN DELETE FROM inode; END");
    assert_int_equal(index_open(f->path, "t", &ix), -EUCLEAN);
    raw(f, "DROP TRIGGER t");
    raw(f, "ALTER TABLE inode DROP COLUMN nlink");
    assert_int_equal(index_open(f->path, "t", &ix), -EUCLEAN);
    raw(f, "ALTER TABLE inode ADD COLUMN nlink");
    raw(f, "DELETE FROM meta");
    assert_int_equal(index_open(f->path, "t", &ix), -EUCLEAN);
}

static bool never(void *arg, const struct volume_dirent *de)
{
    fail();
    return true;
}

static bool never_extra(void *arg, uint64_t cookie, const char *name, size_t len)
{
    fail();
    return true;
}

static void hostile_rows(void **state)
{
    struct fix *f = *state;
    struct vattr a;
    struct index_extent e[4];
    struct chunk c = {.id = 9, .pack = 1, .pack_off = 64, .stored_len = 100, .len = 100};
    struct index_delta d = {0};
    char buf[5000];
    bool eof;
    uint64_t ino;
    char text[256];
    static const char *const bad_inode[] = {
        "type = 0", "type = 8", "type = 'x'", "mode = 4096", "nlink = -1", "size = -5",
        "uid = 4294967296", "used = NULL", "mtime = 'now'", "change = 1.5", "verf = x'00'"};

    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 5, "name");
    assert_int_equal(index_map(f->ix, 5, 0, &c, NULL, &d), 0);
    assert_int_equal(index_commit(f->ix), 0);
    for (size_t i = 0; i < sizeof(bad_inode) / sizeof(*bad_inode); i++) {
        snprintf(text, sizeof(text), "UPDATE inode SET %s WHERE ino = 5", bad_inode[i]);
        raw(f, text);
        assert_int_equal(index_get_inode(f->ix, 5, &a), -EUCLEAN);
        assert_int_equal(index_list_dir(f->ix, 1, 0, 10, never, NULL, &eof), -EUCLEAN);
        assert_int_equal(index_begin(f->ix), 0);
        a = file_attr(5);
        assert_int_equal(index_put_inode(f->ix, &a), 0);
        assert_int_equal(index_commit(f->ix), 0);
    }
    static const char *const bad_name[] = {"'name'", "x''", "zeroblob(300)", "x'2e'", "x'2e2e'",
                                           "x'612f62'", "x'6100'", "NULL", "7"};
    for (size_t i = 0; i < sizeof(bad_name) / sizeof(*bad_name); i++) {
        snprintf(text, sizeof(text), "UPDATE dirent SET name = %s", bad_name[i]);
        raw(f, text);
        assert_int_equal(index_list_dir(f->ix, 1, 0, 10, never, NULL, &eof), -EUCLEAN);
        assert_int_equal(index_get_dirent(f->ix, 1, "name", 4, NULL, &ino), -EUCLEAN);
    }
    raw(f, "UPDATE dirent SET name = x'6e616d65', ino = 77");
    assert_int_equal(index_list_dir(f->ix, 1, 0, 10, never, NULL, &eof), -EUCLEAN);
    static const char *const bad_extent[] = {
        "len = 0", "len = 131073", "len = -1", "chunk_off = 1", "chunk_off = -1", "chunk = 55",
        "len = 'a'"};
    for (size_t i = 0; i < sizeof(bad_extent) / sizeof(*bad_extent); i++) {
        snprintf(text, sizeof(text), "UPDATE extent SET %s", bad_extent[i]);
        raw(f, text);
        assert_int_equal(index_get_extents(f->ix, 5, 0, 1000, e, 4), -EUCLEAN);
        raw(f, "UPDATE extent SET len = 100, chunk_off = 0, chunk = 9");
    }
    static const char *const bad_chunk[] = {"len = 0", "len = 131073", "stored_len = 0",
                                            "stored_len = 999999", "codec = 3", "codec = 0, len = 50",
                                            "pack = -1", "pack_off = -1", "checksum = NULL"};
    for (size_t i = 0; i < sizeof(bad_chunk) / sizeof(*bad_chunk); i++) {
        snprintf(text, sizeof(text), "UPDATE chunk SET %s", bad_chunk[i]);
        raw(f, text);
        assert_int_equal(index_get_extents(f->ix, 5, 0, 1000, e, 4), -EUCLEAN);
        raw(f, "REPLACE INTO chunk VALUES(9, 1, 64, 100, 100, 0, 0, 1, 1, 0)");
    }
    assert_int_equal(index_get_extents(f->ix, 5, 0, 1000, e, 4), 1);
    /* the writer does not trust rows either */
    raw(f, "UPDATE chunk SET refs = 0");
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_punch(f->ix, 5, 0, 100, 0, &d), -EUCLEAN);
    index_rollback(f->ix);
    raw(f, "DELETE FROM chunk");
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_punch(f->ix, 5, 0, 100, 0, &d), -EUCLEAN);
    index_rollback(f->ix);
    raw(f, "INSERT INTO symlink VALUES(5, zeroblob(10))");
    assert_int_equal(index_get_symlink(f->ix, 5, buf, sizeof(buf)), -EUCLEAN);
    raw(f, "UPDATE symlink SET target = randomblob(4096)");
    assert_int_equal(index_get_symlink(f->ix, 5, buf, sizeof(buf)), -EUCLEAN);
    raw(f, "INSERT INTO xattr(ino, name, value) VALUES(5, x'', 5)");
    assert_int_equal(index_list_xattr(f->ix, 5, 0, never_extra, NULL, &eof), -EUCLEAN);
    raw(f, "UPDATE xattr SET name = x'61'");
    assert_int_equal(index_get_xattr(f->ix, 5, "a", 1, buf, 10), -EUCLEAN);
    raw(f, "INSERT INTO blob VALUES(9, x'0102')");
    assert_int_equal(index_read_blob(f->ix, &c, buf), -EUCLEAN);
}

struct listing {
    unsigned n, stop;
    uint64_t last;
};

static bool list_one(void *arg, const struct volume_dirent *de)
{
    struct listing *l = arg;

    assert_true(de->cookie > l->last);
    l->last = de->cookie;
    l->n++;
    return l->n != l->stop;
}

static bool list_attr(void *arg, uint64_t cookie, const char *name, size_t len)
{
    struct listing *l = arg;

    assert_true(cookie > l->last);
    l->last = cookie;
    l->n++;
    return true;
}

static bool list_orphan(void *arg, uint64_t ino)
{
    *(uint64_t *)arg += ino;
    return true;
}

static void rows_come_back(void **state)
{
    struct fix *f = *state;
    struct vattr a = file_attr(2), b;
    struct index_meta m = meta0, n;
    char name[300], buf[300];
    struct listing l = {0};
    uint64_t cookie, ino, sum = 0;
    uint8_t taken;
    bool flag;

    assert_int_equal(index_get_inode(f->ix, 2, &b), -ENOENT);
    assert_int_equal(index_get_inode(f->ix, UINT64_MAX, &b), -ENOENT);
    assert_int_equal(index_dir_empty(f->ix, 1, &flag), 0);
    assert_true(flag);
    m.txg = 77;
    m.files = 3;
    m.props.quota_bytes = 1ULL << 50;
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_put_meta(f->ix, &m), 0);
    put_file(f->ix, 2, "a");
    assert_int_equal(index_get_inode(f->ix, 2, &b), -ENOENT); /* readers see committed state */
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof(name), "file-%d", i);
        put_file(f->ix, 100 + (uint64_t)i, name);
    }
    assert_int_equal(index_put_symlink(f->ix, 2, "to/there", 8), 0);
    assert_int_equal(index_put_xattr(f->ix, 2, "k", 1, "v1", 2), 0);
    assert_int_equal(index_put_xattr(f->ix, 2, "k", 1, "v22", 3), 0);
    assert_int_equal(index_put_xattr(f->ix, 2, "empty", 5, NULL, 0), 0);
    assert_int_equal(index_put_orphan(f->ix, 2), 0);
    assert_int_equal(index_commit(f->ix), 0);

    assert_int_equal(index_get_meta(f->ix, &n), 0);
    assert_memory_equal(&m, &n, sizeof(m));
    memset(&b, 0, sizeof(b));
    assert_int_equal(index_get_inode(f->ix, 2, &b), 0);
    assert_int_equal(b.atime.tv_sec, -5);
    assert_int_equal(b.atime.tv_nsec, 999999999);
    assert_int_equal(b.mtime.tv_nsec, 2);
    assert_true(b.create_verf == UINT64_MAX && b.uid == a.uid && b.change == a.change &&
                b.size == a.size && b.used == a.used && b.gen == a.gen && b.type == a.type);
    assert_int_equal(index_get_dirent(f->ix, 1, "file-7", 6, &cookie, &ino), 0);
    assert_int_equal(ino, 107);
    assert_int_equal(cookie, index_name_cookie("file-7", 6));
    assert_int_equal(index_get_dirent(f->ix, 1, "file-x", 6, &cookie, &ino), -ENOENT);
    assert_int_equal(index_cookies_taken(f->ix, 1, cookie, &taken), 0);
    assert_int_equal(taken, 1);
    assert_int_equal(index_cookies_taken(f->ix, 2, cookie, &taken), 0);
    assert_int_equal(taken, 0);
    for (flag = false; !flag;)
        assert_int_equal(index_list_dir(f->ix, 1, l.last, 7, list_one, &l, &flag), 0);
    assert_int_equal(l.n, 501);
    l = (struct listing){.stop = 501};
    assert_int_equal(index_list_dir(f->ix, 1, 0, 1000, list_one, &l, &flag), 0);
    assert_false(flag);
    assert_int_equal(index_list_dir(f->ix, 1, l.last, 1000, list_one, &l, &flag), 0);
    assert_true(flag);
    assert_int_equal(index_dir_empty(f->ix, 1, &flag), 0);
    assert_false(flag);
    assert_int_equal(index_get_symlink(f->ix, 2, buf, 8), 8);
    assert_int_equal(index_get_symlink(f->ix, 2, buf, 7), -ERANGE);
    assert_int_equal(index_get_xattr(f->ix, 2, "k", 1, buf, 10), 3);
    assert_memory_equal(buf, "v22", 3);
    assert_int_equal(index_get_xattr(f->ix, 2, "k", 1, NULL, 0), 3);
    assert_int_equal(index_get_xattr(f->ix, 2, "k", 1, buf, 2), -ERANGE);
    assert_int_equal(index_get_xattr(f->ix, 2, "empty", 5, buf, 2), 0);
    assert_int_equal(index_get_xattr(f->ix, 2, "no", 2, buf, 2), -ENODATA);
    l = (struct listing){0};
    assert_int_equal(index_list_xattr(f->ix, 2, 0, list_attr, &l, &flag), 0);
    assert_int_equal(l.n, 2);
    assert_true(flag);
    assert_int_equal(index_list_orphans(f->ix, list_orphan, &sum), 0);
    assert_int_equal(sum, 2);

    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_del_inode(f->ix, 2), 0);
    assert_int_equal(index_del_orphan(f->ix, 2), 0);
    assert_int_equal(index_del_dirent(f->ix, 1, index_name_cookie("a", 1)), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM xattr"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM symlink"), 0);
    assert_int_equal(index_get_dirent(f->ix, 1, "a", 1, NULL, &ino), -ENOENT);
    /* names with the same base cookie live side by side */
    cookie = index_name_cookie("q", 1);
    assert_true(cookie % 8 == 0 && cookie >= 8);
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_put_dirent(f->ix, 1, cookie, "other", 5, 100), 0);
    assert_int_equal(index_put_dirent(f->ix, 1, cookie + 3, "q", 1, 101), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_get_dirent(f->ix, 1, "q", 1, &cookie, &ino), 0);
    assert_int_equal(ino, 101);
    assert_int_equal(index_cookies_taken(f->ix, 1, cookie - 3, &taken), 0);
    assert_int_equal(taken, 9);
}

/* --- extents against a model --- */

#define FILES 3
#define SPAN  (4 * SLOT_SIZE)

struct model {
    uint32_t byte[FILES][SPAN]; /* the chunk id behind each byte, 0 = hole */
    uint32_t at[FILES][SPAN];   /* and where in the chunk */
};

static void compare(struct fix *f, struct model *m)
{
    static struct index_extent e[4096];

    for (uint64_t i = 0; i < FILES; i++) {
        uint64_t pos = 0, out, hole = 0;
        int n = index_get_extents(f->ix, 10 + i, 0, UINT64_MAX, e, 4096);
        assert_true(n >= 0 && n < 4096);
        for (int k = 0; k < n; k++) {
            for (; pos < e[k].off; pos++)
                assert_int_equal(m->byte[i][pos], 0);
            for (; pos < e[k].off + e[k].len; pos++)
                if (m->byte[i][pos] != e[k].chunk.id ||
                    m->at[i][pos] != e[k].chunk_off + (pos - e[k].off))
                    fail_msg("file %d byte %d", (int)i, (int)pos);
        }
        for (; pos < SPAN; pos++)
            assert_int_equal(m->byte[i][pos], 0);
        while (hole < SPAN && m->byte[i][hole])
            hole++;
        int rc = index_seek(f->ix, 10 + i, 0, SPAN, false, &out);
        assert_int_equal(rc, hole < SPAN ? 0 : -ENXIO);
        if (!rc)
            assert_int_equal(out, hole);
        for (pos = hole; pos < SPAN && !m->byte[i][pos];)
            pos++;
        rc = index_seek(f->ix, 10 + i, hole, SPAN, true, &out);
        assert_int_equal(rc, pos < SPAN ? 0 : -ENXIO);
        if (!rc)
            assert_int_equal(out, pos);
    }
}

static unsigned blobs_moved;

static int move_blob(void *arg, const struct chunk *c, const void *blob)
{
    struct fix *f = arg;
    struct chunk to = *c;
    int rc;

    assert_int_equal(XXH3_64bits(blob, c->stored_len), c->checksum);
    to.pack = 77;
    to.pack_off = 64 + c->id;
    rc = index_move_chunk(f->ix, &to);
    assert_true(rc == 1 || rc == 0); /* 0: freed by this transaction, which the walk does not see */
    blobs_moved += (unsigned)rc;
    return 0;
}

/* Where a blob's beginning is: in the file that it was written to, though another has its end where there would be no place
 * for the beginning; nowhere if only that has it. */
static void places_of_blobs(void **state)
{
    struct fix *f = *state;
    struct chunk c[2] = {{.id = 1, .len = 8192, .stored_len = 8192}, {.id = 2, .len = 8192, .stored_len = 8192}};
    struct index_blob_place p[2];
    struct index_delta d = {0};
    unsigned char data[8192];

    st_fill(data, sizeof(data), 6);
    c[0].checksum = c[1].checksum = XXH3_64bits(data, sizeof(data));
    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 2, "written");
    put_file(f->ix, 3, "clone");
    assert_int_equal(index_map(f->ix, 2, 12288, &c[0], data, &d), 0);
    assert_int_equal(index_map(f->ix, 2, 40960, &c[1], data, &d), 0);
    assert_int_equal(index_clone(f->ix, 2, 16384, 3, 0, 4096, &d), 0);
    assert_int_equal(index_clone(f->ix, 2, 45056, 3, 4096, 4096, &d), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_blob_places(f->ix, p, 2), 2);
    for (unsigned i = 0; i < 2; i++)
        assert_true(p[i].chunk == c[i].id && p[i].ino == (i ? 3 : 2) && p[i].off == (i ? 0 : 12288));
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_punch(f->ix, 2, 0, 40960, 0, &d), 0);
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_blob_places(f->ix, p, 1), 1); /* the one without a place is not in its way */
    assert_int_equal(p[0].chunk, 2);
}

static void counters(struct fix *f, const struct index_delta *d)
{
    assert_int_equal(raw(f, "SELECT coalesce(sum(len), 0) FROM extent"), d->logical);
    assert_int_equal(raw(f, "SELECT coalesce(sum(stored_len), 0) FROM chunk"), d->stored);
    assert_int_equal(raw(f, "SELECT count(*) FROM chunk c WHERE refs <> (SELECT count(*) FROM extent"
                            " WHERE chunk = c.id)"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM extent WHERE chunk NOT IN (SELECT id FROM chunk)"),
                     0);
    assert_int_equal(raw(f, "SELECT count(*) FROM pack p WHERE live <> (SELECT"
                            " coalesce(sum(stored_len), 0) FROM chunk WHERE pack = p.id)"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM chunk WHERE pack <> 0 AND pack NOT IN"
                            " (SELECT id FROM pack)"), 0);
    assert_int_equal(raw(f, "SELECT coalesce(sum(length(data)), 0) FROM blob"),
                     index_blob_bytes(f->ix));
    assert_int_equal(raw(f, "SELECT coalesce(sum(stored_len), 0) FROM chunk WHERE pack = 0"),
                     index_blob_bytes(f->ix));
    assert_int_equal(raw(f, "SELECT count(*) FROM blob b WHERE NOT EXISTS (SELECT 1 FROM chunk"
                            " WHERE id = b.chunk AND pack = 0)"), 0);
}

static void extents_follow_a_model(void **state)
{
    struct fix *f = *state;
    struct model *m = calloc(1, sizeof(*m)), *before = malloc(sizeof(*m));
    struct index_delta d = {0}, d_before;
    uint64_t seed = 42, id = 1;
    uint8_t *data = malloc(SLOT_SIZE);

    for (int txn = 0; txn < 60; txn++) {
        memcpy(before, m, sizeof(*m));
        d_before = d;
        assert_int_equal(index_begin(f->ix), 0);
        for (int op = 0; op < 10; op++) {
            uint64_t file = st_random(&seed) % FILES, r = st_random(&seed);
            uint64_t off = st_random(&seed) % SPAN;
            uint32_t room = SLOT_SIZE - (uint32_t)(off % SLOT_SIZE);
            if (r % 5 < 3) { /* map, a third of them blobs */
                uint32_t len = 1 + (uint32_t)(st_random(&seed) % (r % 7 ? 9000 : SLOT_SIZE));
                struct chunk c = {.id = id++, .codec = CHUNK_RAW};
                c.len = c.stored_len = len < room ? len : room;
                if (r % 5)
                    c.pack = 1 + (uint32_t)(r >> 8) % 40, c.pack_off = 64;
                st_fill(data, c.len, c.id);
                c.checksum = XXH3_64bits(data, c.len);
                assert_int_equal(
                    index_map(f->ix, 10 + file, off, &c, c.pack ? NULL : data, &d), 0);
                for (uint32_t i = 0; i < c.len; i++) {
                    m->byte[file][off + i] = (uint32_t)c.id;
                    m->at[file][off + i] = i;
                }
            } else if (r % 13 < 5) { /* clone any bytes to anywhere */
                uint64_t src = r / 64 % FILES, from = st_random(&seed) % SPAN;
                uint64_t len = st_random(&seed) % (r % 3 ? 20000 : SPAN);
                bool overlap;
                len = len < SPAN - from ? len : SPAN - from;
                len = len < SPAN - off ? len : SPAN - off;
                overlap = src == file && len && from < off + len && off < from + len;
                assert_int_equal(index_clone(f->ix, 10 + src, from, 10 + file, off, len, &d),
                                 overlap ? -EINVAL : 0);
                if (overlap)
                    continue;
                memcpy(&m->byte[file][off], &m->byte[src][from], len * sizeof(m->byte[0][0]));
                memcpy(&m->at[file][off], &m->at[src][from], len * sizeof(m->at[0][0]));
            } else { /* punch, bounded or to the end */
                uint64_t len = r % 11 ? st_random(&seed) % (r % 3 ? 5000 : SPAN) : UINT64_MAX;
                unsigned max = (unsigned)(r >> 20) % 3;
                int rc;
                while ((rc = index_punch(f->ix, 10 + file, off, len, max, &d)) == 1)
                    ;
                assert_int_equal(rc, 0);
                for (uint64_t i = off; i < SPAN && i - off < len; i++)
                    m->byte[file][i] = 0;
            }
        }
        if (txn % 9 == 4)
            assert_int_equal(index_walk_blobs(f->ix, 1 + txn % 4u, move_blob, f), 0);
        if (txn % 7 == 3) {
            index_rollback(f->ix);
            memcpy(m, before, sizeof(*m));
            d = d_before;
        } else {
            assert_int_equal(index_commit(f->ix), 0);
        }
        compare(f, m);
        counters(f, &d);
        if (txn % 20 == 10) {
            index_close(f->ix);
            assert_int_equal(index_open(f->path, "test", &f->ix), 0);
        }
    }
    assert_true(d.stored > 0 && raw(f, "SELECT max(refs) FROM chunk") > 1 && blobs_moved > 10);
    /* everything away: no pack has live bytes */
    assert_int_equal(index_begin(f->ix), 0);
    for (uint64_t i = 0; i < FILES; i++)
        assert_int_equal(index_punch(f->ix, 10 + i, 0, UINT64_MAX, 0, &d), 0);
    assert_int_equal(d.logical, 0);
    assert_int_equal(d.stored, 0);
    assert_int_equal(index_commit(f->ix), 0);
    struct packs_seen seen = {0};
    assert_int_equal(index_list_packs(f->ix, see_pack, &seen), 0);
    assert_true(seen.count > 1 && seen.live == 0);
    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_del_pack(f->ix, seen.last), 0);
    assert_int_equal(index_commit(f->ix), 0);
    unsigned before_del = seen.count;
    seen = (struct packs_seen){0};
    assert_int_equal(index_list_packs(f->ix, see_pack, &seen), 0);
    assert_int_equal(seen.count, before_del - 1);
    assert_int_equal(raw(f, "SELECT count(*) FROM chunk"), 0);
    assert_int_equal(raw(f, "SELECT count(*) FROM blob"), 0);
    free(m);
    free(before);
    free(data);
}

static void map_limits(void **state)
{
    struct fix *f = *state;
    struct index_delta d = {0};
    struct chunk c = {.id = 1, .pack = 1, .pack_off = 64, .stored_len = 2, .len = 2};
    uint64_t out;

    assert_int_equal(index_begin(f->ix), 0);
    assert_int_equal(index_map(f->ix, 2, SLOT_SIZE - 1, &c, NULL, &d), -EINVAL);
    assert_int_equal(index_map(f->ix, 2, STORE_FILE_MAX, &c, NULL, &d), -EINVAL);
    assert_int_equal(index_map(f->ix, 2, 0, &c, "xx", &d), -EINVAL);
    assert_int_equal(index_map(f->ix, 2, SLOT_SIZE - 2, &c, NULL, &d), 0);
    c.id = 2; /* the last slot of the largest file is not whole */
    assert_int_equal(index_map(f->ix, 2, STORE_FILE_MAX - 2, &c, NULL, &d), 0);
    assert_int_equal(index_map(f->ix, 2, 500, &c, NULL, &d), -EUCLEAN); /* the id is in use */
    assert_int_equal(index_clone(f->ix, 2, 0, 3, STORE_FILE_MAX - 1, 2, &d), -EINVAL);
    assert_int_equal(index_clone(f->ix, 2, UINT64_MAX, 3, 0, 2, &d), -EINVAL);
    assert_int_equal(index_clone(f->ix, 2, 0, 3, 0, UINT64_MAX, &d), -EINVAL);
    assert_int_equal(index_clone(f->ix, 2, 0, 2, SLOT_SIZE - 1, SLOT_SIZE, &d), -EINVAL);
    index_rollback(f->ix);
    assert_int_equal(index_seek(f->ix, 2, 0, UINT64_MAX, true, &out), -ENXIO);
    assert_int_equal(index_seek(f->ix, 2, 5, 5, false, &out), -ENXIO);
    assert_int_equal(index_seek(f->ix, 2, 5, 6, false, &out), 0);
    assert_int_equal(out, 5);
}

/* The nth passing of any point fails, for n = 1, 2, ... until the transaction goes through. */
static void every_step_may_fail(void **state)
{
    struct fix *f = *state;
    struct vattr a;
    unsigned n;

    for (n = 1;; n++) {
        struct chunk c = {.id = 1, .stored_len = 2, .len = 2, .checksum = XXH3_64bits("xy", 2)};
        struct index_delta d = {0};
        a = file_attr(2);
        fault_arm("", n, FAULT_FAIL);
        int rc = index_begin(f->ix);
        if (!rc) {
            rc = index_put_inode(f->ix, &a);
            if (!rc)
                rc = index_put_dirent(f->ix, 1, 8, "n", 1, 2);
            if (!rc)
                rc = index_map(f->ix, 2, 0, &c, "xy", &d);
            if (!rc)
                rc = index_commit(f->ix);
            else
                index_rollback(f->ix);
        }
        fault_disarm();
        if (!rc)
            break;
        assert_int_equal(rc, -EIO);
        assert_int_equal(index_get_inode(f->ix, 2, &a), -ENOENT);
        assert_int_equal(raw(f, "SELECT count(*) FROM chunk"), 0);
        assert_int_equal(index_blob_bytes(f->ix), 0);
    }
    assert_true(n > 6);
    assert_int_equal(index_get_inode(f->ix, 2, &a), 0);
    assert_int_equal(index_blob_bytes(f->ix), 2);
}

static void survives_a_crash(void **state)
{
    struct fix *f = *state;
    struct index *ix;
    struct vattr a;
    struct index_meta m;
    static const char *const suffix[] = {"", "-wal"};
    char from[600], to[600];

    for (uint64_t i = 0; i < 20; i++) {
        char name[20];
        snprintf(name, sizeof(name), "f%d", (int)i);
        assert_int_equal(index_begin(f->ix), 0);
        put_file(f->ix, 2 + i, name);
        assert_int_equal(index_commit(f->ix), 0);
        if (i == 10)
            assert_true(index_checkpoint(f->ix) >= 0);
    }
    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 99, "not committed");
    /* what a killed process leaves: the files as they are; then with the end of the WAL torn off */
    for (int cut = 0; cut < 2; cut++) {
        for (int i = 0; i < 2; i++) {
            snprintf(from, sizeof(from), "%s%s", f->path, suffix[i]);
            snprintf(to, sizeof(to), "%s/copy%d.db%s", f->dir, cut, suffix[i]);
            st_copy(from, to);
        }
        if (cut)
            assert_int_equal(truncate(to, st_size(to) - 100), 0);
        snprintf(to, sizeof(to), "%s/copy%d.db", f->dir, cut);
        assert_int_equal(index_open(to, "copy", &ix), 0);
        assert_int_equal(index_get_inode(ix, 12, &a), 0);
        assert_int_equal(index_get_inode(ix, 20, &a), 0);
        assert_int_equal(index_get_inode(ix, 99, &a), -ENOENT);
        assert_int_equal(index_get_meta(ix, &m), 0);
        index_close(ix);
    }
    index_rollback(f->ix);
}

static void checkpoints_reset_the_wal(void **state)
{
    struct fix *f = *state;
    char wal[600];
    off_t largest = 0;

    snprintf(wal, sizeof(wal), "%s-wal", f->path);
    for (int round = 0; round < 20; round++) {
        for (uint64_t i = 0; i < 20; i++) {
            struct vattr a = file_attr(2 + i + 100 * (uint64_t)round);
            assert_int_equal(index_begin(f->ix), 0);
            assert_int_equal(index_put_inode(f->ix, &a), 0);
            assert_int_equal(index_commit(f->ix), 0);
        }
        assert_int_equal(index_checkpoint(f->ix), 0);
        if (round == 1)
            largest = st_size(wal);
        else if (round > 1)
            assert_true(st_size(wal) <= largest * 2);
    }
    assert_true(index_bytes(f->ix) > 0);
}

static void readonly_beside_a_writer(void **state)
{
    struct fix *f = *state;
    struct index *ro;
    struct vattr a;

    assert_int_equal(index_open_readonly(f->path, "ro", &ro), 0);
    assert_int_equal(index_begin(ro), -EROFS);
    assert_int_equal(index_begin(f->ix), 0);
    put_file(f->ix, 2, "a");
    assert_int_equal(index_commit(f->ix), 0);
    assert_int_equal(index_get_inode(ro, 2, &a), 0);
    index_close(ro);
    index_close(f->ix);
    f->ix = NULL;
    assert_int_equal(index_open_readonly(f->path, "ro", &ro), 0);
    assert_int_equal(index_get_inode(ro, 2, &a), 0);
    index_close(ro);
}

/* Not a test: with VOLNFS_BENCH set, tells what a group of creates costs. */
static void bench(void **state)
{
    struct fix *f = *state;
    static uint8_t data[2048];
    struct index_delta d = {0};
    struct index_meta m = meta0;
    uint64_t start = clock_mono_ns(), files = 0;

    for (uint64_t g = 0; g < 2000; g++) {
        assert_int_equal(index_begin(f->ix), 0);
        for (int i = 0; i < 16; i++, files++) {
            char name[32];
            snprintf(name, sizeof(name), "file-%d", (int)files);
            put_file(f->ix, 2 + files, name);
            struct chunk c = {.id = 1 + files, .stored_len = 2048, .len = 2048};
            assert_int_equal(index_map(f->ix, 2 + files, 0, &c, data, &d), 0);
        }
        m.txg++;
        assert_int_equal(index_put_meta(f->ix, &m), 0);
        assert_int_equal(index_commit(f->ix), 0);
        if (g % 100 == 99)
            index_checkpoint(f->ix);
    }
    double s = (double)(clock_mono_ns() - start) / 1e9;
    print_message("%d files in %.2f s: %.0f files/s\n", (int)files, s, (double)files / s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(garbage_is_refused),
        T(hostile_rows),
        T(rows_come_back),
        T(extents_follow_a_model),
        T(map_limits),
        T(places_of_blobs),
        T(every_step_may_fail),
        T(survives_a_crash),
        T(checkpoints_reset_the_wal),
        T(readonly_beside_a_writer),
    };
    const struct CMUnitTest benches[] = {T(bench)};

    if (getenv("VOLNFS_BENCH"))
        return cmocka_run_group_tests_name("index bench", benches, NULL, NULL);
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
