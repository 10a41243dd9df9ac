/* SPDX-License-Identifier: Apache-2.0
 * Tests of repair: each kind of damage is repaired, files that it did not touch keep their bytes, a second repair finds
 * nothing to do.
 */
#include "server/store/repair.h"

#include <sqlite3.h>
#include <sys/file.h>
#include <sys/wait.h>

#include "common/fault.h"
#include "server/store/check.h"
#include "server/store/snap.h"
#include "tests/unit/storetest.h"
#include "tests/unit/volumetest.h"

#define FILES     6
#define BIG       (300u << 10)
#define SMALL_LEN 700u

struct fix {
    struct vt t;
    char db[256];
    char all[1 << 20];
    uint64_t ino[FILES], sub;
};

static void say(void *arg, const char *text)
{
    struct fix *f = arg;
    size_t n = strlen(f->all);

    snprintf(f->all + n, sizeof(f->all) - n, "%s\n", text);
}

static void run(const char *fmt, const char *a, const char *b)
{
    char cmd[512];

    snprintf(cmd, sizeof(cmd), fmt, a, b);
    assert_int_equal(system(cmd), 0);
}

static void put(struct fix *f, int i, uint64_t dir, const char *name, size_t len)
{
    struct vattr a;
    static unsigned char buf[BIG];

    vt_fill(buf, len, (uint64_t)i + 10);
    assert_int_equal(vt_create(&f->t, &f->t.c, dir, name, IT_REG, &a), 0);
    f->ino[i] = a.ino;
    assert_int_equal(volume_write(f->t.v, &f->t.c, a.ino, 0, buf, len, false, NULL, NULL), 0);
    assert_int_equal(volume_commit(f->t.v, &f->t.c, a.ino), 0);
}

static size_t length(int i)
{
    return i % 2 ? SMALL_LEN : BIG;
}

/* f0..f2 in the root, f3..f5 in sub; a symlink; f0 has a second name. */
static int setup(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));
    struct vattr a;
    char name[8];

    vt_make(&f->t, NULL);
    snprintf(f->db, sizeof(f->db), "%s/index.db", f->t.dir);
    vt_open(&f->t);
    assert_int_equal(vt_create(&f->t, &f->t.c, 1, "sub", IT_DIR, &a), 0);
    f->sub = a.ino;
    assert_int_equal(vt_create(&f->t, &f->t.c, 1, "link", IT_LNK, &a), 0);
    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "f%d", i);
        put(f, i, i < 3 ? 1 : f->sub, name, length(i));
    }
    assert_int_equal(volume_link(f->t.v, &f->t.c, f->ino[0], f->sub, "second", 6, NULL, NULL), 0);
    vt_sync(&f->t);
    vt_close(&f->t);
    run("cp -a '%s' '%s.saved'", f->t.dir, f->t.dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fix *f = *state;

    vt_remove(&f->t);
    free(f);
    return 0;
}

static void again(struct fix *f)
{
    char cmd[400];

    snprintf(cmd, sizeof(cmd), "rm -rf '%s' && cp -a '%s.saved' '%s'", f->t.dir, f->t.dir, f->t.dir);
    assert_int_equal(system(cmd), 0);
    f->all[0] = 0;
}

static void sql(struct fix *f, const char *text)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(f->db, &db), 0);
    if (sqlite3_exec(db, text, NULL, NULL, NULL))
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static uint64_t problems(struct fix *f)
{
    struct check_report rep;

    assert_int_equal(volume_check(f->t.dir, true, say, f, &rep), 0);
    return rep.problems;
}

static int repair(struct fix *f, struct repair_options opt, struct repair_report *rep)
{
    f->all[0] = 0;
    return volume_repair(f->t.dir, &opt, say, f, rep);
}

/* Does the inode have what file i had? */
static bool intact(struct fix *f, int i, uint64_t ino)
{
    static unsigned char want[BIG], got[BIG];

    vt_fill(want, length(i), (uint64_t)i + 10);
    return vt_read(&f->t, &f->t.c, ino, 0, got, length(i)) == (long)length(i) && !memcmp(want, got, length(i));
}

/* How many of the files are there with their bytes, by their inode numbers? */
static int count_intact(struct fix *f)
{
    int n = 0;

    vt_open(&f->t);
    for (int i = 0; i < FILES; i++)
        n += intact(f, i, f->ino[i]);
    vt_close(&f->t);
    return n;
}

static bool has_name(struct fix *f, const char *dir, const char *name)
{
    struct vattr a;
    uint64_t at = 1;
    bool there;

    vt_open(&f->t);
    if (*dir)
        at = vt_lookup(&f->t, &f->t.c, 1, dir, &a) == 0 ? a.ino : 0;
    there = at && vt_lookup(&f->t, &f->t.c, at, name, &a) == 0;
    vt_close(&f->t);
    return there;
}

/* --- rows --- */

static void rows(void **state)
{
    struct fix *f = *state;
    static const struct {
        const char *damage;
        int intact; /* files that must keep all their bytes */
        const char *says;
    } t[] = {
        {"UPDATE inode SET nlink = 7 WHERE type = 1", FILES, "link count"},
        {"UPDATE inode SET nlink = 9 WHERE type = 2", FILES, "link count"},
        {"UPDATE inode SET parent = 77 WHERE type = 2 AND ino > 1", FILES, "parent"},
        {"UPDATE inode SET used = 5", FILES, "uses"},
        {"UPDATE inode SET mode = 70000, uid = 'x', atime = NULL WHERE type = 1", FILES, "impossible mode"},
        {"UPDATE inode SET type = 12", FILES, "impossible type"},
        {"DELETE FROM inode WHERE ino = 1", FILES, "root directory was missing"},
        {"DELETE FROM inode WHERE type = 1", FILES, "without attributes"},
        {"DELETE FROM inode WHERE type = 2", FILES, "directory with names"},
        {"DELETE FROM inode WHERE type = 3", FILES, "symbolic link without attributes"},
        {"DELETE FROM symlink", FILES, "without target"},
        {"INSERT INTO symlink SELECT ino, x'61' FROM inode WHERE type = 1 LIMIT 1", FILES, "no symbolic link"},
        {"DELETE FROM dirent", FILES, "had no name"},
        {"UPDATE dirent SET ino = 999 WHERE name = CAST('f1' AS BLOB)", FILES, "does not exist"},
        {"UPDATE dirent SET name = x'2f' WHERE name = CAST('f1' AS BLOB)", FILES, "impossible name"},
        {"UPDATE dirent SET name = x'7a7a' WHERE name = CAST('f1' AS BLOB)", FILES, "cookie"},
        {"INSERT INTO dirent SELECT dir, cookie + 1, name, ino FROM dirent WHERE name = CAST('f1' AS BLOB)", FILES, "twice"},
        {"INSERT INTO dirent SELECT ino, cookie, name, ino FROM dirent WHERE name = CAST('sub' AS BLOB)", FILES,
         "second name"},
        {"UPDATE dirent SET dir = ino WHERE name = CAST('sub' AS BLOB)", FILES, "below itself"},
        {"UPDATE dirent SET dir = (SELECT ino FROM inode WHERE type = 1 LIMIT 1) WHERE name = CAST('f1' AS BLOB)", FILES,
         "no directory"},
        {"INSERT INTO orphan SELECT ino FROM inode WHERE type = 1; INSERT INTO orphan VALUES(998)", FILES, "orphan"},
        {"INSERT INTO xattr VALUES(1, 999, x'61', x'61')", FILES, "extended attribute"},
        {"UPDATE chunk SET refs = 5", FILES, "references"},
        {"UPDATE chunk SET refs = NULL, birth = 77", FILES, "references"},
        {"UPDATE chunk SET pack_off = pack_off + 8", FILES, "found again"},
        {"UPDATE chunk SET checksum = 1", FILES, "found again"},
        {"UPDATE chunk SET codec = 9", FILES, "found again"},
        {"UPDATE chunk SET pack = 4000", FILES, "found again"},
        {"DELETE FROM chunk", FILES, "found again"},
        {"UPDATE pack SET live = 1", FILES, "live bytes"},
        {"DELETE FROM pack", FILES, "had no row"},
        {"UPDATE meta SET files = 1, logical = 1, stored = 1, held = 1", FILES, "counted"},
        {"UPDATE meta SET next_ino = 2, next_chunk = 1", FILES, "next inode"},
        {"UPDATE meta SET next_pack = 1", FILES, "next pack"},
        {"UPDATE meta SET next_ino = 'x', codec = 7", FILES, "impossible"},
        {"DELETE FROM meta", FILES, "counters and properties"},
        {"INSERT INTO dead SELECT 1, 1, id FROM chunk", FILES, "not dead"},
        {"UPDATE chunk SET flags = 'x'", FILES, "impossible flags"},
        {"INSERT INTO dedup VALUES(999, 4)", FILES, "among the equal"},
        {"INSERT INTO dedup SELECT max(id), x'0011223344' FROM chunk", FILES, "impossible hash"},
        {"INSERT INTO snapshot VALUES(4, NULL, 0, 1, 0, 0, 0)", FILES, "its name is"},
        {"UPDATE extent SET chunk_off = 100000 WHERE ino = (SELECT max(ino) FROM extent)", FILES - 1, "impossible extent"},
        {"UPDATE extent SET len = 'x' WHERE ino = (SELECT max(ino) FROM extent)", FILES - 1, "impossible extent"},
        {"UPDATE extent SET ino = 1 WHERE ino = (SELECT max(ino) FROM extent)", FILES - 1, "but no file"},
        {"INSERT INTO extent SELECT ino, off + 100, 10, chunk, 0 FROM extent WHERE len < 1000", FILES, "replaces"},
    };

    for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
        struct repair_report rep;

        again(f);
        sql(f, t[i].damage);
        assert_true(problems(f) > 0);
        int rc = repair(f, (struct repair_options){.data = true}, &rep);
        if (rc || !rep.repaired || !strstr(f->all, t[i].says))
            fail_msg("%s: %d, %d, %s", t[i].damage, rc, (int)rep.repaired, f->all);
        char *said = strdup(f->all);
        f->all[0] = 0;
        if (rep.left == 0 && problems(f))
            fail_msg("%s: after repair:\n%s\nit said:\n%s", t[i].damage, f->all, said);
        rc = repair(f, (struct repair_options){.data = true}, &rep);
        if (rc || rep.repaired || rep.aside[0])
            fail_msg("%s: repaired again: %d %s", t[i].damage, rc, f->all);
        int n = count_intact(f);
        if (n < t[i].intact)
            fail_msg("%s: %d files intact; it said:\n%s", t[i].damage, n, said);
        f->all[0] = 0;
        if (rep.left == 0 && problems(f))
            fail_msg("%s: after use:\n%s", t[i].damage, f->all);
        free(said);
    }
}

static void clean(void **state)
{
    struct fix *f = *state;
    struct repair_report rep;
    struct stat before, after;
    char lock[300];

    assert_int_equal(repair(f, (struct repair_options){.data = true}, &rep), 0);
    assert_int_equal(stat(f->db, &before), 0);
    assert_int_equal(repair(f, (struct repair_options){.data = true}, &rep), 0);
    assert_int_equal(rep.repaired + rep.left, 0);
    assert_int_equal(stat(f->db, &after), 0);
    assert_true(before.st_ino == after.st_ino && !rep.aside[0]);
    /* what is there is not rebuilt */
    assert_int_equal(repair(f, (struct repair_options){.rebuild = true}, &rep), -EEXIST);
    /* a newer format is left alone */
    sql(f, "PRAGMA user_version = 99; UPDATE meta SET files = 1");
    assert_int_equal(repair(f, (struct repair_options){0}, &rep), -ENOTSUP);
    assert_int_equal(repair(f, (struct repair_options){.rebuild = true}, &rep), -ENOTSUP);
    again(f);
    /* a volume in use */
    snprintf(lock, sizeof(lock), "%s/lock", f->t.dir);
    int fd = open(lock, O_RDWR);
    assert_true(fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0);
    assert_int_equal(repair(f, (struct repair_options){0}, &rep), -EBUSY);
    close(fd);
    assert_int_equal(volume_repair("/nonexistent/volume", &(struct repair_options){0}, say, f, &rep), -ENOENT);
}

/* --- data --- */

static void pack_name(struct fix *f, char *path, size_t size)
{
    for (unsigned i = 1; i < 256; i++) {
        snprintf(path, size, "%s/packs/%02x/%08x.pack", f->t.dir, i, i);
        if (access(path, F_OK) == 0)
            return;
    }
    fail_msg("no pack");
}

static void lost_data(void **state)
{
    struct fix *f = *state;
    struct repair_report rep;
    char pack[300], aside[400];
    off_t at = 0;
    sqlite3 *db;
    sqlite3_stmt *st;

    assert_int_equal(sqlite3_open(f->db, &db), 0);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT c.pack_off + 64 + 10 FROM extent e JOIN chunk c ON c.id = e.chunk WHERE"
                                            " e.ino = ?1 AND c.pack <> 0 ORDER BY e.off LIMIT 1", -1, &st, NULL), 0);
    sqlite3_bind_int64(st, 1, (sqlite3_int64)f->ino[4]);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    at = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    pack_name(f, pack, sizeof(pack));
    st_flip(pack, at);
    assert_int_equal(problems(f), 1);
    /* told, and left */
    assert_int_equal(repair(f, (struct repair_options){.data = true}, &rep), 0);
    assert_int_equal(rep.repaired, 0);
    assert_int_equal(rep.left, 1);
    assert_non_null(strstr(f->all, "/sub/f4: bytes 0 to 131071 cannot be read"));
    assert_int_equal(count_intact(f), FILES - 1);
    /* punched, and the pack kept */
    assert_int_equal(repair(f, (struct repair_options){.data = true, .punch = true}, &rep), 0);
    assert_true(rep.repaired > 0 && rep.left == 0);
    assert_non_null(strstr(f->all, "/sub/f4: bytes 0 to 131071 are lost"));
    snprintf(aside, sizeof(aside), "%s/%s/packs/%s", f->t.dir, rep.aside, strrchr(pack, '/') + 1);
    assert_int_equal(access(aside, F_OK), 0);
    f->all[0] = 0;
    if (problems(f))
        fail_msg("%s", f->all);
    assert_int_equal(count_intact(f), FILES - 1);
}

/* A counter of packs that is too low: what is in use is not taken for what was begun in vain, and stays. */
static void low_counter(void **state)
{
    struct fix *f = *state;
    struct engine_conf conf = {.cache_size = 16u << 20, .workers = 1, .epoch = 9};
    struct repair_report rep;
    struct engine *e;
    struct volume *v;
    char pack[300];

    sql(f, "UPDATE meta SET next_pack = 1");
    pack_name(f, pack, sizeof(pack));
    assert_int_equal(engine_new(&conf, &e), 0);
    assert_int_equal(volume_open(e, f->t.dir, "test/vol", 7, &v), -EUCLEAN);
    engine_free(e);
    assert_int_equal(access(pack, F_OK), 0);
    assert_int_equal(repair(f, (struct repair_options){.data = true}, &rep), 0);
    assert_int_equal(count_intact(f), FILES);
}

/* --- rebuilding --- */

static void lose_index(struct fix *f, bool garbage)
{
    char path[300];

    snprintf(path, sizeof(path), "%s-wal", f->db);
    unlink(path);
    assert_int_equal(unlink(f->db), 0);
    if (garbage) {
        int fd = open(f->db, O_WRONLY | O_CREAT, 0600);
        char junk[8192];
        st_fill(junk, sizeof(junk), 3);
        assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
        close(fd);
    }
}

static void from_packs(void **state)
{
    struct fix *f = *state;

    for (int garbage = 0; garbage < 2; garbage++) {
        struct repair_report rep;
        char name[40];

        again(f);
        lose_index(f, garbage);
        assert_int_equal(repair(f, (struct repair_options){0}, &rep), -EUCLEAN);
        assert_int_equal(repair(f, (struct repair_options){.rebuild = true}, &rep), 0);
        f->all[0] = 0;
        if (problems(f))
            fail_msg("%s", f->all);
        assert_int_equal(count_intact(f), FILES);
        snprintf(name, sizeof(name), "inode-%llu", (unsigned long long)f->ino[2]);
        assert_true(has_name(f, "lost+found", name));
        assert_int_equal(repair(f, (struct repair_options){.rebuild = true}, &rep), -EEXIST);
    }
}

/* Names of the snapshot; what came later by inode number; what the journal has, whole. */
static void from_snapshot(void **state)
{
    struct fix *f = *state;
    struct repair_report rep;
    struct vattr a;
    static unsigned char buf[BIG];
    uint64_t late;

    vt_open(&f->t);
    assert_int_equal(snap_create(f->t.v, "s", NULL), 0);
    assert_int_equal(vt_create(&f->t, &f->t.c, 1, "late", IT_REG, &a), 0);
    late = a.ino;
    vt_fill(buf, BIG, 12); /* as f2 */
    assert_int_equal(volume_write(f->t.v, &f->t.c, late, 0, buf, BIG, false, NULL, NULL), 0);
    assert_int_equal(volume_commit(f->t.v, &f->t.c, late), 0);
    vt_sync(&f->t);
    vt_close(&f->t);
    lose_index(f, true);
    assert_int_equal(repair(f, (struct repair_options){.rebuild = true}, &rep), 0);
    assert_non_null(strstr(f->all, "names and attributes are those of snapshot 1"));
    f->all[0] = 0;
    if (problems(f))
        fail_msg("%s", f->all);
    assert_int_equal(count_intact(f), FILES);
    assert_true(has_name(f, "sub", "f4") && has_name(f, "", "f2") && has_name(f, "sub", "second"));
    vt_open(&f->t);
    assert_true(intact(f, 2, late));
    struct snap_info s;
    assert_int_equal(snap_find(f->t.v, "recovered-1", 11, &s), 0);
    assert_int_equal(snap_destroy(f->t.v, "recovered-1"), 0);
    vt_close(&f->t);
    vt_open(&f->t);
    vt_close(&f->t);
    f->all[0] = 0;
    if (problems(f))
        fail_msg("after the snapshot went: %s", f->all);
    assert_int_equal(count_intact(f), FILES);
}

/* A crash leaves the journal ahead of the index: the names in it come back. */
static void from_journal(void **state)
{
    struct fix *f = *state;
    struct repair_report rep;
    int status;
    pid_t pid = fork();

    if (pid == 0) { /* acknowledged, not applied: apply.begin comes after the journal's write */
        struct vattr a;
        vt_open(&f->t);
        fault_arm("apply.begin", 1, FAULT_CRASH);
        if (vt_create(&f->t, &f->t.c, 1, "journalled", IT_REG, &a) == 0)
            volume_call_wait(&f->t.c);
        for (;;)
            pause();
    }
    assert_true(waitpid(pid, &status, 0) == pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 99);
    lose_index(f, false);
    assert_int_equal(repair(f, (struct repair_options){.rebuild = true}, &rep), 0);
    f->all[0] = 0;
    if (problems(f))
        fail_msg("%s", f->all);
    assert_true(has_name(f, "", "journalled"));
    assert_int_equal(count_intact(f), FILES);
}

/* --- random damage --- */

static void flips(void **state)
{
    struct fix *f = *state;
    uint64_t seed = 4711;
    unsigned rebuilt = 0, whole = 0;
    char *env = getenv("REPAIR_FLIPS");
    int rounds = env ? atoi(env) : 50; /* of 1 to 8 bytes each */

    for (int i = 0; i < rounds; i++) {
        struct repair_report rep;
        struct check_report cr;
        again(f);
        off_t size = st_size(f->db);
        int n = 1 + (int)(st_random(&seed) % 8);
        for (int k = 0; k < n; k++)
            st_flip(f->db, (off_t)(st_random(&seed) % (uint64_t)size));
        (void)volume_check(f->t.dir, true, NULL, NULL, &cr);
        int rc = repair(f, (struct repair_options){.data = true}, &rep);
        if (rc == -EUCLEAN) {
            rebuilt++;
            rc = repair(f, (struct repair_options){.rebuild = true, .data = true}, &rep);
        }
        if (rc == -ENOTSUP) /* the version was hit */
            continue;
        if (rc)
            fail_msg("round %d: %d\n%s", i, rc, f->all);
        char *said = strdup(f->all);
        f->all[0] = 0;
        if (!rep.left && problems(f))
            fail_msg("round %d:\n%s\nit said:\n%s", i, f->all, said);
        free(said);
        whole += (unsigned)count_intact(f);
    }
    print_message("# %u of %d rebuilt, %u of %d files whole under their numbers\n", rebuilt, rounds, whole, rounds * FILES);
    assert_true(whole >= (unsigned)rounds * FILES * 8 / 10);
}

/* Whole pages of an index with many: what other pages have stays. */
static void torn_pages(void **state)
{
    struct fix *f = *state;
    uint64_t seed = 99;
    unsigned whole = 0, gaps = 0, rounds = 12;
    char cmd[400], name[16];
    struct vattr a;

    vt_open(&f->t);
    for (int i = 0; i < 4000; i++) {
        snprintf(name, sizeof(name), "n%d", i);
        assert_int_equal(vt_create(&f->t, &f->t.c, 1, name, IT_REG, &a), 0);
        if (i % 10 == 0)
            assert_int_equal(volume_write(f->t.v, &f->t.c, a.ino, 0, name, sizeof(name), true, NULL, NULL), 0);
    }
    vt_sync(&f->t);
    vt_close(&f->t);
    snprintf(cmd, sizeof(cmd), "rm -rf '%s.saved' && cp -a '%s' '%s.saved'", f->t.dir, f->t.dir, f->t.dir);
    assert_int_equal(system(cmd), 0);
    for (unsigned i = 0; i < rounds; i++) {
        struct repair_report rep;
        unsigned char junk[4096];
        again(f);
        off_t pages = st_size(f->db) / 4096;
        assert_true(pages > 60);
        int fd = open(f->db, O_WRONLY);
        for (int k = 0; k < 3; k++) { /* not the first, which is what --rebuild is for */
            st_fill(junk, sizeof(junk), st_random(&seed));
            off_t page = 20 + (off_t)(st_random(&seed) % (uint64_t)(pages - 20));
            assert_int_equal(pwrite(fd, junk, sizeof(junk), page * 4096), 4096);
        }
        close(fd);
        int rc = repair(f, (struct repair_options){.data = true}, &rep);
        if (rc)
            fail_msg("round %u: %d\n%s", i, rc, f->all);
        gaps += strstr(f->all, "cannot be read") != NULL;
        f->all[0] = 0;
        if (!rep.left && problems(f))
            fail_msg("round %u: %s", i, f->all);
        sqlite3 *db;
        sqlite3_stmt *st;
        assert_int_equal(sqlite3_open(f->db, &db), 0);
        assert_int_equal(sqlite3_prepare_v2(db, "SELECT (SELECT count(*) FROM inode) FROM meta", -1, &st, NULL), 0);
        assert_int_equal(sqlite3_step(st), SQLITE_ROW);
        if (sqlite3_column_int(st, 0) < 2500)
            fail_msg("round %u: only %d inodes are left", i, sqlite3_column_int(st, 0));
        sqlite3_finalize(st);
        sqlite3_close(db);
        whole += (unsigned)count_intact(f);
    }
    print_message("# rows were lost in %u of %u, %u of %u files whole\n", gaps, rounds, whole, rounds * FILES);
    assert_true(gaps > 0 && whole >= rounds * FILES * 8 / 10);
}

/* What a hostile hand puts into an index runs in nobody's process: repair reads tables, and those that are none are lost. */
static void views(void **state)
{
    static const char *const hostile[] = {
        "CREATE VIEW xattr AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS id, i AS ino, i AS name, i AS"
        " value FROM n",
        "CREATE VIEW meta AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS id, -i AS txg FROM n",
        "CREATE VIEW note AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT i AS key, i AS value FROM n",
        "CREATE TABLE xattr(id INTEGER PRIMARY KEY, ino, name, value AS (zeroblob(900000000)));"
        "INSERT INTO xattr(id, ino, name) SELECT ino, ino, 'x' FROM inode",
        "PRAGMA writable_schema = ON; INSERT INTO sqlite_schema VALUES('table', 'v', 'v', 0, 'CREATE VIRTUAL TABLE v USING x(y)')",
        "CREATE VIEW harmless AS SELECT 1",
        "CREATE TRIGGER orphan AFTER INSERT ON orphan BEGIN DELETE FROM inode; END",
    };
    struct fix *f = *state;

    for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
        struct repair_report rep;
        char text[1000], name[16];
        again(f);
        if (sscanf(hostile[i], "CREATE VIEW %15[a-z]", name) == 1 || sscanf(hostile[i], "CREATE TABLE %15[a-z]", name) == 1) {
            snprintf(text, sizeof(text), "DROP TABLE IF EXISTS %s", name);
            sql(f, text);
        }
        sql(f, hostile[i]);
        alarm(60); /* instead of for ever */
        assert_true(problems(f) > 0);
        int rc = repair(f, (struct repair_options){.data = true}, &rep);
        if (rc || rep.left || problems(f))
            fail_msg("%s: %d, %s", hostile[i], rc, f->all);
        alarm(0);
        assert_int_equal(count_intact(f), FILES);
    }
}

static void put16(unsigned char *p, unsigned v)
{
    p[0] = (unsigned char)(v >> 8);
    p[1] = (unsigned char)v;
}

static void put32(unsigned char *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* Makes the table's tree one of ten levels in which each page has the next one a hundred times. */
static void tangle(struct fix *f, const char *table)
{
    enum { LEVELS = 10, CHILDREN = 100 };
    unsigned char page[4096], head[4];
    uint32_t at[LEVELS + 1];
    char text[128];
    sqlite3 *db;
    sqlite3_stmt *st;
    int fd;

    assert_int_equal(sqlite3_open(f->db, &db), 0);
    snprintf(text, sizeof(text), "SELECT rootpage FROM sqlite_schema WHERE name = '%s'", table);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), 0);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    at[0] = (uint32_t)sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
    fd = open(f->db, O_RDWR);
    for (uint32_t i = 1; i <= LEVELS; i++)
        at[i] = (uint32_t)(st_size(f->db) / 4096) + i;
    put32(head, at[LEVELS]);
    assert_int_equal(pwrite(fd, head, 4, 28), 4); /* pages of the database */
    assert_int_equal(pread(fd, page, 4096, (off_t)(at[0] - 1) * 4096), 4096);
    assert_int_equal(page[0], 13); /* a leaf */
    assert_int_equal(pwrite(fd, page, 4096, (off_t)(at[LEVELS] - 1) * 4096), 4096);
    for (int k = 0; k < LEVELS; k++) {
        memset(page, 0, sizeof(page));
        page[0] = 5;
        put16(page + 3, CHILDREN);
        put16(page + 5, 4096 - 5 * CHILDREN);
        put32(page + 8, at[k + 1]);
        for (unsigned c = 0; c < CHILDREN; c++) {
            unsigned cell = 4096 - 5 * (c + 1);
            put16(page + 12 + 2 * c, cell);
            put32(page + cell, at[k + 1]);
            page[cell + 4] = (unsigned char)(c + 1);
        }
        assert_int_equal(pwrite(fd, page, 4096, (off_t)(at[k] - 1) * 4096), 4096);
    }
    close(fd);
}

/* Nor does a tree without an end keep it. */
static void tangled_pages(void **state)
{
    struct fix *f = *state;
    struct repair_report rep;

    vt_open(&f->t);
    assert_int_equal(volume_setxattr(f->t.v, &f->t.c, f->ino[0], "x", 1, "y", 1, 0, NULL), 0);
    vt_close(&f->t);
    tangle(f, "xattr");
    alarm(120); /* instead of for ever */
    assert_true(problems(f) > 0);
    assert_int_equal(repair(f, (struct repair_options){.data = true}, &rep), 0);
    assert_int_equal(problems(f), 0);
    alarm(0);
    assert_int_equal(count_intact(f), FILES);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {T(clean),         T(rows),         T(lost_data), T(low_counter), T(from_packs),
                                       T(from_snapshot), T(from_journal), T(flips),
                                       T(torn_pages),    T(views), T(tangled_pages)};

    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
