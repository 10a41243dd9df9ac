/* SPDX-License-Identifier: Apache-2.0
 * walk_world: what the steps do (see walk_world.h).
 */
#include "tests/unit/walk_world.h"

#include <sqlite3.h>
#include <xxhash.h>

#include "server/store/index.h"
#include "server/store/repair.h"
#include "server/store/snap.h"
#include "server/store/volume_int.h"
#include "tests/unit/faultwalk.h"
#include "tests/unit/storetest.h"

#define BIG (4 * SLOT_SIZE)
#define OLD   29 /* files of MODEL_MAX bytes in a volume of format 1: more than may stay in an index */

/* --- the volume --- */

void walk_place(struct vt *t, const char *dir, uint64_t epoch)
{
    memset(t, 0, sizeof(*t));
    snprintf(t->base, sizeof(t->base), "%s", dir);
    snprintf(t->dir, sizeof(t->dir), "%.80s/volume", dir);
    t->epoch = epoch;
    t->cache = 16u << 20;
    t->pack_size = 1u << 20;
    t->journal = 64u << 10;
}

int walk_begin(struct vt *t)
{
    struct engine_conf conf = {.cache_size = t->cache, .workers = 2, .epoch = ++t->epoch, .journal_size = t->journal,
                               .pack_size = t->pack_size};
    int r;

    assert_int_equal(engine_new(&conf, &t->e), 0);
    r = volume_open(t->e, t->dir, "test/vol", 7, &t->v);
    if (r) {
        engine_free(t->e);
        return r;
    }
    store_call_init(&t->c, true);
    store_call_init(&t->n, false);
    return 0;
}

int walk_end(struct vt *t)
{
    int r;

    if (!t->v)
        return 0;
    store_call_release(&t->c);
    store_call_release(&t->n);
    r = volume_close(t->v);
    engine_free(t->e);
    t->v = NULL;
    return r;
}

/* --- acts --- */

const char *walk_snap_name(const struct world *w, unsigned i, char buf[16])
{
    snprintf(buf, 16, "%s%u", w->renamed[i] ? "other" : "s", i);
    return buf;
}

static int wait_durable(struct vt *t)
{
    int r = volume_call_wait(&t->c);

    store_call_release(&t->c);
    return r;
}

int walk_random(struct world *w, struct vt *t)
{
    model_step(w->m, t);
    return w->m->failed ? -EIO : t ? wait_durable(t) : 0;
}

static int do_write(struct world *w, struct vt *t, unsigned n, enum act how)
{
    struct model *m = w->m;
    int f = m->names[0][n], r = 0;
    char name[16];
    struct vattr a;

    snprintf(name, sizeof(name), "f%u", n);
    if (f < 0) {
        for (f = 0; m->files[f].links; f++)
            ;
        m->names[0][n] = f;
        m->files[f] = (struct mfile){.data = calloc(1, MODEL_MAX + 1), .links = 1};
        if (t && (r = vt_create(t, &t->c, STORE_ROOT_INO, name, IT_REG, &a)))
            return r;
        m->files[f].ino = t ? a.ino : 0;
    }
    w->seed++;
    for (size_t off = how == HOLLOW ? SLOT_SIZE : 0; off < BIG; off += SLOT_SIZE) {
        if (how == COPY)
            memcpy(m->files[f].data + off, m->files[m->names[0][0]].data + off, SLOT_SIZE);
        else if (how == HURRY && off / SLOT_SIZE % 2)
            vt_fill(m->files[f].data + off, SLOT_SIZE, w->seed * 100 + off / SLOT_SIZE);
        else
            st_fill(m->files[f].data + off, SLOT_SIZE, w->seed * 100 + off / SLOT_SIZE);
        if (t && (r = volume_write(t->v, &t->c, m->files[f].ino, off, m->files[f].data + off, SLOT_SIZE, false, NULL, NULL)))
            return r;
    }
    if (m->files[f].size < BIG)
        m->files[f].size = BIG;
    if (t && (r = volume_commit(t->v, &t->c, m->files[f].ino)))
        return r;
    return t ? wait_durable(t) : 0;
}

static int do_hurry(struct world *w, struct vt *t, unsigned n)
{
    unsigned before = flush_hurry_ms;
    int r;

    flush_hurry_ms = 0;
    r = do_write(w, t, n, HURRY);
    flush_hurry_ms = before;
    return r;
}

static int do_small(struct world *w, struct vt *t)
{
    struct model *m = w->m;
    char name[16];
    struct vattr a;
    int r = 0;

    for (int n = 0; n < MODEL_NAMES && r == 0; n++) {
        int f = 0;
        if (m->names[1][n] >= 0)
            continue;
        while (m->files[f].links)
            f++;
        m->names[1][n] = f;
        m->files[f] = (struct mfile){.data = calloc(1, MODEL_MAX + 1), .links = 1, .size = 700};
        vt_fill(m->files[f].data, 700, (uint64_t)n + 50);
        snprintf(name, sizeof(name), "f%d", n);
        if (!t)
            continue;
        r = vt_create(t, &t->c, m->dirs[1], name, IT_REG, &a);
        m->files[f].ino = a.ino;
        if (r == 0)
            r = volume_write(t->v, &t->c, a.ino, 0, m->files[f].data, 700, true, NULL, NULL);
    }
    return r == 0 && t ? wait_durable(t) : r;
}

/* Nothing comes from the caches: the volume was just opened. */
static int do_read(struct world *w, struct vt *t)
{
    unsigned char *buf = malloc(MODEL_MAX);
    long got = 0;

    for (int f = 0; t && f < MODEL_FILES && got >= 0; f++) {
        struct mfile *p = &w->m->files[f];
        if (!p->links)
            continue;
        got = vt_read(t, &t->c, p->ino, 0, buf, MODEL_MAX);
        if (got >= 0 && (size_t)got < p->size && fault_came()) /* it came in the middle */
            got = -EIO;
        if (got >= 0) {
            assert_int_equal(got, p->size);
            assert_memory_equal(buf, p->data, p->size);
        }
    }
    free(buf);
    return got < 0 ? (int)got : 0;
}

/* Waits as long as it may still come to it. */
static void wait_until(struct vt *t, bool (*reached)(struct vt *t))
{
    for (int i = 0; i < 2000 && !reached(t); i++) {
        if (fault_came() && i > 20)
            return;
        usleep(5000);
    }
}

static bool scrubbed(struct vt *t)
{
    struct volume_scrub st;

    return volume_scrub_stat(t->v, &st) != 0 || !st.running;
}

bool walk_is_free(struct vt *t)
{
    struct volume_stat st;

    volume_stat(t->v, &st);
    return st.held == 0;
}

static bool in_packs(struct vt *t)
{
    struct volume_stat st;

    volume_stat(t->v, &st);
    return st.pack_bytes > 1u << 20;
}

static int do_scrub(struct vt *t)
{
    int r = volume_scrub_start(t->v);

    if (r == 0)
        wait_until(t, scrubbed);
    return r;
}

void walk_drop(struct model **m)
{
    if (*m)
        model_drop(*m);
    *m = NULL;
}

static int do_snap(struct world *w, struct vt *t, unsigned i)
{
    char name[16];
    int r = t ? snap_create(t->v, walk_snap_name(w, i, name), NULL) : 0;

    w->snap[i] = model_copy(w->m);
    return r;
}

static int do_look(struct world *w, struct vt *t, unsigned i)
{
    char name[16];
    struct snap_info s;
    struct vt v = *t;
    int r;

    walk_snap_name(w, i, name);
    r = snap_find(t->v, name, strlen(name), &s);
    if (r == 0)
        r = snap_open(t->v, s.id, true, &v.v);
    if (r)
        return r;
    store_call_init(&v.c, true);
    if (model_compare(w->snap[i], &v))
        assert_true(fault_came());
    store_call_release(&v.c);
    volume_unref(v.v);
    return 0;
}

static int do_rename(struct world *w, struct vt *t, unsigned i)
{
    char from[16], to[16];
    int r;

    walk_snap_name(w, i, from);
    w->renamed[i] = true;
    r = t ? snap_rename(t->v, from, walk_snap_name(w, i, to)) : 0;
    return r;
}

static int do_destroy(struct world *w, struct vt *t, unsigned i)
{
    char name[16];
    int r = t ? snap_destroy(t->v, walk_snap_name(w, i, name)) : 0;

    walk_drop(&w->snap[i]);
    w->renamed[i] = false;
    return r;
}

void walk_clone_dir(const struct vt *t, char *buf, size_t size)
{
    snprintf(buf, size, "%s/clone", t->base);
}

static int do_clone(struct world *w, struct vt *t, unsigned i)
{
    char name[16], dir[128];

    w->clone = model_copy(w->snap[i]);
    if (!t)
        return 0;
    walk_clone_dir(t, dir, sizeof(dir));
    return snap_clone(t->v, walk_snap_name(w, i, name), dir);
}

static int do_rollback(struct world *w, struct vt *t, unsigned i)
{
    char name[16];
    uint64_t rng = w->m->rng;
    int r = 0;

    walk_drop(&w->m);
    w->m = model_copy(w->snap[i]);
    w->m->rng = rng;
    if (!t)
        return 0;
    w->m->may_fail = true;
    if ((r = walk_end(t)) || (r = snap_rollback(t->dir, "test/vol", walk_snap_name(w, i, name), t->epoch)) || (r = walk_begin(t)))
        return r;
    find_inodes(w->m, t);
    return 0;
}

static void sql(struct vt *t, const char *text)
{
    char path[128];
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/index.db", t->dir);
    assert_int_equal(sqlite3_open(path, &db), 0);
    if (sqlite3_exec(db, text, NULL, NULL, NULL))
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static int do_damage(struct vt *t)
{
    assert_int_equal(walk_end(t), 0);
    sql(t, "UPDATE chunk SET refs = 3; UPDATE inode SET nlink = 9 WHERE type = 2; UPDATE inode SET used = 5; DELETE FROM pack;"
           "UPDATE meta SET files = 1, stored = 1, next_ino = 2");
    return 0;
}

static int do_lose(struct vt *t)
{
    char path[128];

    assert_int_equal(walk_end(t), 0);
    snprintf(path, sizeof(path), "%s/index.db", t->dir);
    return unlink(path);
}

static int do_repair(struct vt *t, bool rebuild)
{
    struct repair_options opt = {.rebuild = rebuild, .data = true};
    struct repair_report rep;
    int r = walk_end(t);

    return r ? r : volume_repair(t->dir, &opt, NULL, NULL, &rep);
}

/* One step, in the model and, if t is not NULL, in the volume. */
int walk_act(struct world *w, struct vt *t, const struct row *r)
{
    static const bool closed[MOVED + 1] = {[DAMAGE] = true, [LOSE] = true, [REPAIR] = true, [REBUILD] = true};
    int rc = 0;

    if (t && !t->v && !closed[r->act]) {
        if ((rc = walk_begin(t)))
            return rc;
        find_inodes(w->m, t);
    }
    switch (r->act) {
    case RANDOM: return walk_random(w, t);
    case WRITE:
    case COPY:
    case HOLLOW: return do_write(w, t, r->arg, r->act);
    case HURRY: return do_hurry(w, t, r->arg);
    case SMALL: return do_small(w, t);
    case CHECKPOINT:
        if (t)
            (void)index_checkpoint(t->v->ix); /* it may be put off */
        return 0;
    case SETTLE: return t ? volume_settle(t->v) : 0;
    case CLOSE: return t ? walk_end(t) : 0;
    case READ: return do_read(w, t);
    case GC: return t ? volume_gc(t->v) : 0;
    case SCRUB: return t ? do_scrub(t) : 0;
    case SNAP: return do_snap(w, t, r->arg);
    case LOOK: return t ? do_look(w, t, r->arg) : 0;
    case RENAME: return do_rename(w, t, r->arg);
    case DESTROY: return do_destroy(w, t, r->arg);
    case CLONE: return do_clone(w, t, r->arg);
    case ROLLBACK: return do_rollback(w, t, r->arg);
    case DAMAGE: return t ? do_damage(t) : 0;
    case LOSE: return t ? do_lose(t) : 0;
    case REPAIR: return t ? do_repair(t, false) : 0;
    case REBUILD: w->unsure = true; return t ? do_repair(t, true) : 0;
    case FREED:
        if (t)
            wait_until(t, walk_is_free);
        return 0;
    case MOVED:
        if (t)
            wait_until(t, in_packs);
        return 0;
    }
    return 0;
}

/* --- a volume of format 1 --- */

static void old_row(sqlite3 *db, const char *text, uint64_t ino, uint64_t off, const void *name, size_t len)
{
    sqlite3_stmt *st;

    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &st, NULL), 0);
    sqlite3_bind_int64(st, 1, (sqlite3_int64)ino);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)off);
    sqlite3_bind_blob(st, 3, name, (int)len, SQLITE_STATIC);
    sqlite3_bind_int64(st, 4, (sqlite3_int64)len);
    if (sqlite3_bind_parameter_count(st) > 4)
        sqlite3_bind_int64(st, 5, (sqlite3_int64)XXH3_64bits(name, len));
    if (sqlite3_step(st) != SQLITE_DONE)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    sqlite3_finalize(st);
}

static void old_name(sqlite3 *db, uint64_t dir, const char *name, uint64_t ino)
{
    char text[128];

    snprintf(text, sizeof(text), "INSERT INTO dirent VALUES(?1, ?2, ?3, %llu + 0 * ?4)", (unsigned long long)ino);
    old_row(db, text, dir, index_name_cookie(name, strlen(name)), name, strlen(name));
}

/* The files of the model, all data in the index, as release 0 wrote it. */
void walk_old_make(struct vt *t, struct model *m)
{
    char path[128], text[512];
    uint64_t ino = 4, chunk = 1;
    sqlite3 *db;

    snprintf(path, sizeof(path), "%s/index.db", t->dir);
    assert_int_equal(sqlite3_open(path, &db), 0);
    assert_int_equal(sqlite3_exec(db, "BEGIN;"
        "ALTER TABLE meta DROP COLUMN snap_seq; ALTER TABLE meta DROP COLUMN held; ALTER TABLE meta DROP COLUMN dedup;"
        "ALTER TABLE meta DROP COLUMN recompress; ALTER TABLE meta DROP COLUMN snapdir;"
        "DROP INDEX chunk_later; ALTER TABLE chunk DROP COLUMN birth; ALTER TABLE chunk DROP COLUMN flags;"
        "ALTER TABLE pack DROP COLUMN size; ALTER TABLE pack DROP COLUMN state;"
        "DROP TABLE snapshot; DROP TABLE dead; DROP TABLE dedup; DROP TABLE note; PRAGMA user_version = 1;"
        "UPDATE inode SET nlink = 4;"
        "INSERT INTO inode VALUES(2, 2, 2, 493, 2, 1, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0),"
        " (3, 3, 2, 493, 2, 1, 2, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0)", NULL, NULL, NULL), 0);
    old_name(db, 1, "d1", 2);
    old_name(db, 1, "d2", 3);
    for (int f = 0; f < OLD; f++, ino++) {
        char name[16];
        snprintf(name, sizeof(name), "f%d", f % MODEL_NAMES);
        old_name(db, (uint64_t)f / MODEL_NAMES + 1, name, ino);
        snprintf(text, sizeof(text), "INSERT INTO inode VALUES(?1, ?1, 1, 420, 1, 1, 2, 0, 0, %u, %u, 1, 0, 0, 0, 0, 0, 0 * ?2)",
                 MODEL_MAX, MODEL_MAX);
        old_row(db, text, ino, 0, "", 0);
        for (uint64_t off = 0; off < MODEL_MAX; off += SLOT_SIZE, chunk++) {
            const unsigned char *p = m->files[f].data + off;
            size_t len = MODEL_MAX - off < SLOT_SIZE ? MODEL_MAX - off : SLOT_SIZE;
            snprintf(text, sizeof(text), "INSERT INTO extent VALUES(?1, ?2, ?4, %llu, 0)", (unsigned long long)chunk);
            old_row(db, text, ino, off, p, len);
            old_row(db, "INSERT INTO chunk VALUES(?1, 0, 0 * ?2, ?4, ?4, 0, ?5, 1)", chunk, 0, p, len);
            old_row(db, "INSERT INTO blob VALUES(?1, ?3)", chunk, 0, p, len);
        }
    }
    snprintf(text, sizeof(text), "UPDATE meta SET next_ino = %llu, next_gen = %llu, next_chunk = %llu, files = %d,"
             " logical = %llu, stored = %llu; COMMIT", (unsigned long long)ino, (unsigned long long)ino,
             (unsigned long long)chunk, OLD + 2, (unsigned long long)OLD * MODEL_MAX, (unsigned long long)OLD * MODEL_MAX);
    assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), 0);
    sqlite3_close(db);
}

void walk_old_model(struct model *m)
{
    for (int f = 0; f < OLD; f++) {
        m->names[f / MODEL_NAMES][f % MODEL_NAMES] = f;
        m->files[f] = (struct mfile){.data = calloc(1, MODEL_MAX + 1), .size = MODEL_MAX, .links = 1};
        st_fill(m->files[f].data, MODEL_MAX, (uint64_t)f + 1);
    }
}
