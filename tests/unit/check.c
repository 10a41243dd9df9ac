/* SPDX-License-Identifier: Apache-2.0
 * Tests of check: a sound volume is clean; each kind of damage is found.
 */
#include "server/store/check.h"

#include <sqlite3.h>
#include <xxhash.h>

#include "server/store/index.h"
#include "server/store/pack.h"
#include "tests/unit/storetest.h"

struct fix {
    char *dir;
    char db[512], pack[512], saved_db[512], saved_pack[512];
    struct chunk chunk;
    char text[512];  /* the last problem */
    char all[16384]; /* all of them, since it was emptied */
};

static void name(struct index *ix, uint64_t dir, const char *n, uint64_t ino)
{
    assert_int_equal(
        index_put_dirent(ix, dir, index_name_cookie(n, strlen(n)), n, strlen(n), ino), 0);
}

static void inode(struct index *ix, uint64_t ino, enum inode_type type, uint32_t nlink,
                  uint64_t parent, uint64_t used)
{
    struct vattr a = {.ino = ino, .gen = 1, .type = type, .mode = 0755, .nlink = nlink,
                      .parent = parent, .used = used, .size = used, .change = 1};

    assert_int_equal(index_put_inode(ix, &a), 0);
}

/* root/{d/{e/, f}, g (2 names), s -> x}, an orphan; one blob chunk and one in a pack. */
static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));
    struct index_meta m = {.next_ino = 20, .next_chunk = 3, .next_pack = 2, .next_gen = 1,
                           .files = 6};
    struct vattr root = {.ino = 1, .type = IT_DIR, .mode = 0755, .nlink = 3, .parent = 1};
    struct index_delta d = {0};
    struct index *ix;
    struct packset *ps;
    static uint8_t data[5000];
    struct chunk small = {.id = 2, .stored_len = 10, .len = 10};

    f->dir = st_tmpdir();
    snprintf(f->db, sizeof(f->db), "%s/index.db", f->dir);
    snprintf(f->saved_db, sizeof(f->saved_db), "%s/saved.db", f->dir);
    snprintf(f->pack, sizeof(f->pack), "%s/packs/01/00000001.pack", f->dir);
    snprintf(f->saved_pack, sizeof(f->saved_pack), "%s/saved.pack", f->dir);
    assert_int_equal(packset_open(st_path(f->dir, "packs"), "t", 1, &ps), 0);
    st_fill(data, sizeof(data), 1);
    f->chunk = (struct chunk){.id = 1, .stored_len = 5000, .len = 5000,
                              .checksum = XXH3_64bits(data, 5000)};
    assert_int_equal(packset_append(ps, &f->chunk, 4, 0, data), 0);
    packset_close(ps);
    assert_int_equal(index_create(f->db, &m, &root), 0);
    assert_int_equal(index_open(f->db, "t", &ix), 0);
    assert_int_equal(index_begin(ix), 0);
    inode(ix, 2, IT_DIR, 3, 1, 0);
    inode(ix, 3, IT_DIR, 2, 2, 0);
    inode(ix, 4, IT_REG, 1, 0, 5000);
    inode(ix, 5, IT_REG, 2, 0, 10);
    inode(ix, 6, IT_LNK, 1, 0, 0);
    inode(ix, 7, IT_REG, 0, 0, 0);
    assert_int_equal(index_put_orphan(ix, 7), 0);
    assert_int_equal(index_put_symlink(ix, 6, "x", 1), 0);
    assert_int_equal(index_put_xattr(ix, 5, "k", 1, "v", 1), 0);
    name(ix, 1, "d", 2);
    name(ix, 2, "e", 3);
    name(ix, 2, "f", 4);
    name(ix, 1, "g", 5);
    name(ix, 2, "g", 5);
    name(ix, 1, "s", 6);
    assert_int_equal(index_map(ix, 4, 0, &f->chunk, NULL, &d), 0);
    small.checksum = XXH3_64bits(data, 10);
    assert_int_equal(index_map(ix, 5, 0, &small, data, &d), 0);
    m.logical = (uint64_t)d.logical;
    m.stored = (uint64_t)d.stored;
    assert_int_equal(index_put_meta(ix, &m), 0);
    assert_int_equal(index_commit(ix), 0);
    index_close(ix);
    st_copy(f->db, f->saved_db);
    st_copy(f->pack, f->saved_pack);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    st_rmtree(f->dir);
    free(f);
    return 0;
}

static void note(void *arg, const char *text)
{
    struct fix *f = arg;

    snprintf(f->text, sizeof(f->text), "%s", text);
    size_t len = strlen(f->all);
    snprintf(f->all + len, sizeof(f->all) - len, "%s\n", text);
}

static uint64_t check(struct fix *f, bool data)
{
    struct check_report rep;

    assert_int_equal(volume_check(f->dir, data, note, f, &rep), 0);
    return rep.problems;
}

static void clean(void **state)
{
    struct fix *f = *state;
    struct check_report rep;
    struct index *ix;

    if (check(f, true))
        fail_msg("%s", f->text);
    assert_int_equal(volume_check(f->dir, true, note, f, &rep), 0);
    assert_true(rep.inodes == 7 && rep.dirents == 6 && rep.extents == 2 && rep.chunks == 2 &&
                rep.packs == 1 && rep.bytes_read == 5064);
    /* beside a server with an open transaction */
    assert_int_equal(index_open(f->db, "t", &ix), 0);
    assert_int_equal(index_begin(ix), 0);
    assert_int_equal(index_del_inode(ix, 5), 0);
    assert_int_equal(check(f, true), 0);
    assert_int_equal(index_commit(ix), 0);
    assert_true(check(f, true) > 0);
    index_close(ix);
    assert_int_equal(volume_check(st_path(f->dir, "none"), true, note, f, &rep), -ENOENT);
}

static void rows(void **state)
{
    struct fix *f = *state;
    static const struct {
        const char *damage, *says;
    } t[] = {
        {"DELETE FROM inode WHERE ino = 1", "root"},
        {"UPDATE dirent SET ino = 99 WHERE ino = 4", "does not exist"},
        {"UPDATE dirent SET dir = 5 WHERE ino = 3", "no directory"},
        {"UPDATE dirent SET name = x'7a' WHERE ino = 4", "does not match"},
        {"UPDATE dirent SET name = 'f' WHERE ino = 4", "not a valid name"},
        {"INSERT INTO dirent SELECT dir, cookie + 1, name, ino FROM dirent WHERE ino = 4", "twice"},
        {"DELETE FROM dirent WHERE ino = 4", "no name leads"},
        {"INSERT INTO orphan VALUES(4)", "orphan that has a name"},
        {"INSERT INTO orphan VALUES(98)", "orphan that does not exist"},
        {"UPDATE inode SET nlink = 1 WHERE ino = 7", "orphan with link count"},
        {"UPDATE inode SET nlink = 3 WHERE ino = 5", "but 2 names"},
        {"UPDATE inode SET nlink = 2 WHERE ino = 2", "1 directories in it"},
        {"UPDATE inode SET parent = 1 WHERE ino = 3", "its parent should be"},
        {"UPDATE dirent SET dir = 3 WHERE ino = 2", "reached from the root"},
        {"INSERT INTO dirent SELECT 1, cookie, name, ino FROM dirent WHERE ino = 3",
         "directory with 2 names"},
        {"DELETE FROM symlink", "without target"},
        {"INSERT INTO symlink VALUES(5, x'61')", "no symbolic link"},
        {"UPDATE xattr SET ino = 55", "but no inode"},
        {"UPDATE inode SET mode = 70000 WHERE ino = 5", "impossible attributes"},
        {"UPDATE extent SET off = 131072 - 5 WHERE ino = 4", "impossible extent"},
        {"INSERT INTO extent VALUES(4, 4000, 10, 1, 0)", "overlaps"},
        {"UPDATE extent SET ino = 2 WHERE ino = 4", "it is no file"},
        {"UPDATE inode SET used = 1 WHERE ino = 4", "used is 1"},
        {"UPDATE extent SET chunk = 9 WHERE ino = 4", "chunk 9 does not exist"},
        {"UPDATE extent SET chunk_off = 1 WHERE ino = 4", "past the end of chunk 1"},
        {"UPDATE chunk SET refs = 2 WHERE id = 1", "references counted"},
        {"DELETE FROM blob", "missing from the index"},
        {"UPDATE blob SET data = x'00'", "missing from the index"},
        {"INSERT INTO blob VALUES(1, x'00')", "belongs to no chunk"},
        {"UPDATE blob SET data = zeroblob(10)", "damaged payload in the index"},
        {"UPDATE pack SET live = 1", "live bytes counted"},
        {"DELETE FROM pack", "has chunks, but no row"},
        {"UPDATE meta SET files = 1", "files: 1 counted, 6 found"},
        {"UPDATE meta SET logical = 1", "logical bytes"},
        {"UPDATE meta SET stored = 1", "stored bytes"},
        {"UPDATE meta SET next_ino = 7", "next inode"},
        {"UPDATE meta SET next_chunk = 2", "next chunk"},
        {"UPDATE meta SET next_pack = 1", "next pack"},
        {"UPDATE meta SET held = 1", "bytes held by snapshots: 1 counted, 0 found"},
        {"UPDATE chunk SET birth = 2 WHERE id = 1", "born at 2, after snapshot 0"},
        {"UPDATE chunk SET refs = 0 WHERE id = 1", "not among the dead"},
        {"INSERT INTO dead VALUES(1, 1, 1), (2, 1, 1)", "dead 2 times"},
        {"INSERT INTO dead VALUES(1, 1, 1)", "dead, but referred to"},
        {"INSERT INTO dead VALUES(1, 1, 77)", "dead, but it does not exist"},
        {"INSERT INTO dead VALUES(1, 1, 1)", "no snapshot holds it"},
        {"INSERT INTO snapshot VALUES(4, 'x', 0, 1, 0, 0, 0)", "the newest one made is 0"},
        {"INSERT INTO snapshot VALUES(4, NULL, 0, 1, 0, 0, 0)", "impossible state 1 or name"},
        {"INSERT INTO dedup VALUES(77, 5)", "table of equal chunks"},
        {"INSERT INTO dedup VALUES(1, x'05')", "impossible hash"},
        {"UPDATE chunk SET flags = 6 WHERE id = 1", "impossible flags 6"},
        {"UPDATE chunk SET codec = 7 WHERE id = 1", "impossible row"},
        {"UPDATE chunk SET pack = 9 WHERE id = 1", "the pack is missing"},
        {"UPDATE chunk SET checksum = 1 WHERE id = 1", "is another one"},
        {"DELETE FROM meta", "not a sane database"},
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        sqlite3 *db;
        assert_int_equal(sqlite3_open(f->db, &db), 0);
        assert_int_equal(sqlite3_exec(db, t[i].damage, NULL, NULL, NULL), 0);
        sqlite3_close(db);
        f->all[0] = 0;
        assert_true(check(f, true) > 0);
        if (!strstr(f->all, t[i].says))
            fail_msg("%s: only found:\n%s", t[i].damage, f->all);
        st_copy(f->saved_db, f->db);
    }
    assert_int_equal(check(f, true), 0);
}

static void packs(void **state)
{
    struct fix *f = *state;

    st_flip(f->pack, (off_t)f->chunk.pack_off + 64 + 100);
    assert_int_equal(check(f, false), 0); /* headers only */
    assert_int_equal(check(f, true), 1);
    assert_non_null(strstr(f->text, "damaged payload"));
    st_flip(f->pack, (off_t)f->chunk.pack_off + 64 + 100);
    st_flip(f->pack, (off_t)f->chunk.pack_off + 10);
    assert_int_equal(check(f, false), 1);
    assert_non_null(strstr(f->text, "damaged record header"));
    st_copy(f->saved_pack, f->pack);
    assert_int_equal(truncate(f->pack, 3000), 0);
    assert_int_equal(check(f, false), 0);
    assert_int_equal(check(f, true), 1);
    assert_non_null(strstr(f->text, "ends before"));
    unlink(f->pack);
    assert_int_equal(check(f, false), 1);
    assert_non_null(strstr(f->text, "missing"));
}

static void pages(void **state)
{
    struct fix *f = *state;
    off_t size = st_size(f->db);

    for (off_t at = 4096; at < size; at += 4096) { /* the head of each page: its type and counts */
        struct check_report rep;
        int fd = open(f->db, O_WRONLY);
        assert_int_equal(pwrite(fd, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, at), 8);
        close(fd);
        assert_int_equal(volume_check(f->dir, true, note, f, &rep), 0);
        assert_true(rep.problems > 0);
        st_copy(f->saved_db, f->db);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(clean), T(rows), T(packs), T(pages)};

    return cmocka_run_group_tests_name("check", tests, NULL, NULL);
}
