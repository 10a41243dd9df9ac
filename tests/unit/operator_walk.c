/* SPDX-License-Identifier: Apache-2.0
 * The operator's walk: volumes are made, cloned, dumped, restored, rolled back and destroyed, snapshots made, renamed and
 * destroyed, packs compacted, scrubbed and compressed again, by two operators at once in random order, while writers write; the
 * server is killed in the middle, or stopped, and afterwards all is there that was acknowledged, and nothing else.
 *
 *   O1 A file's content is its version, a number that is never used twice. A writer puts it in the place of the last one by a
 *      rename: so a file has the version that was acknowledged last, or the one under way. What "noise" files have, which
 *      are written in place, is not looked at (but their checksums are).
 *   O2 A snapshot has of each file a version between the one acknowledged before it was asked for, and the one begun
 *      when it was there; and the same ones for ever.
 *   O3 What an operator has begun stands in struct op before, and until what he knows of it is in the model: if the server dies
 *      there, both are right, with and without it.
 *
 * The model is in memory that the server's process shares with the others. OPERATOR_WALK_SECONDS says for how long (make
 * operatorwalk: 300), OPERATOR_WALK_SEED begins as another walk did; threads take their turns as they like.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/store/snap.h"
#include "tests/unit/storetest.h"
#include "tests/unit/walk_server.h"
#include "tests/unit/walk_store.h"

#define VOLS      4
#define SNAPS     4
#define FILES     5
#define WRITERS   2
#define OPERATORS 2
#define BIGGEST   200000u

#define CHECK(yes, ...)                                                                            \
    do {                                                                                           \
        if (!(yes)) {                                                                              \
            fprintf(stderr, "# %s:%d: %s: ", __FILE__, __LINE__, #yes);                            \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            _exit(3);                                                                              \
        }                                                                                          \
    } while (0)

enum verb { NOTHING, CREATE, DESTROY, SNAP, SNAP_RENAME, SNAP_DESTROY, ROLLBACK, CLONE, RESTORE, GC, SCRUB, PROPS, VERBS };

struct snapshot {
    bool there;
    unsigned name;
    uint64_t version[FILES]; /* 0: no file */
};
struct vol {
    atomic_bool there;
    atomic_uint_fast64_t acked[FILES], begun[FILES];
    struct snapshot snaps[SNAPS];
};
/* O3. */
struct op {
    enum verb verb;
    unsigned vol, snap, name;
    struct snapshot from; /* of CREATE, CLONE and RESTORE: what vol gets; of SNAP: what was acknowledged before */
};
struct shared {
    struct vol vols[VOLS];
    struct op ops[OPERATORS];
    atomic_uint_fast64_t version;
    atomic_uint name;
    atomic_uint stop, begun, did[VERBS], writes;
};

static struct shared *all;
static struct walk_server server;
/* Of the server's process. busy: the volume is being changed as a whole, by one operator; gate: for writing by who makes what a
 * writer knows wrong; file: by who writes it. */
static pthread_mutex_t busy[VOLS], file[VOLS][FILES];
static pthread_rwlock_t gate[VOLS];

static const char *vol_name(unsigned i, char buf[32])
{
    snprintf(buf, 32, "u/v%u", i);
    return buf;
}

static const char *snap_name(unsigned i, unsigned name, char buf[32])
{
    snprintf(buf, 32, "u/v%u@s%u", i, name);
    return buf;
}

/* --- contents --- */

/* The bytes of a version; how many there are. */
static size_t content(unsigned char *buf, uint64_t version)
{
    uint64_t x = version * 77 + 5;
    size_t size = 16 + (st_random(&x) % 3 ? st_random(&x) % 3000 : st_random(&x) % (BIGGEST - 16));

    for (size_t i = 0; i < size; i++)
        buf[i] = i % 2048 < 1024 ? (unsigned char)(st_random(&x) >> 56) : (unsigned char)version;
    memcpy(buf, &version, sizeof(version));
    return size;
}

static int put_file(struct volume *vol, struct store_call *c, const char *name, const void *data, size_t size, uint64_t off)
{
    struct volume_create_args a = {.dir = STORE_ROOT_INO, .name = name, .len = strlen(name), .type = IT_REG,
                                   .set = {.mask = VSET_MODE | VSET_UID | VSET_GID, .mode = 0644}};
    struct dir_change dc;
    struct vattr attr;
    int r = volume_create_at(vol, c, &a, &attr, &dc);

    if (r == -EEXIST)
        r = 0;
    if (r == 0)
        r = volume_write(vol, c, attr.ino, off, data, size, size % 2, NULL, NULL);
    if (r == 0)
        r = volume_commit(vol, c, attr.ino);
    return r;
}

/* O1. */
static int replace(struct volume *vol, unsigned f, uint64_t version)
{
    unsigned char *buf = malloc(BIGGEST);
    struct dir_change d1, d2;
    struct store_call c;
    char name[16], tmp[16];
    int r;

    snprintf(name, sizeof(name), "f%u", f);
    snprintf(tmp, sizeof(tmp), "t%u", f);
    store_call_init(&c, true);
    r = volume_unlink(vol, &c, STORE_ROOT_INO, tmp, strlen(tmp), 0, NULL, &d1);
    if (r == 0 || r == -ENOENT)
        r = put_file(vol, &c, tmp, buf, content(buf, version), 0);
    if (r == 0)
        r = volume_rename(vol, &c, STORE_ROOT_INO, tmp, strlen(tmp), STORE_ROOT_INO, name, strlen(name), 0, UINT64_MAX,
                          NULL, &d1, &d2);
    if (r == 0)
        r = volume_call_wait(&c);
    store_call_release(&c);
    free(buf);
    return r;
}

/* The version that file f has; 0: it is not there. */
static uint64_t version_of(struct volume *vol, unsigned f)
{
    unsigned char *want = malloc(BIGGEST), *got = malloc(BIGGEST + 1);
    struct store_call c;
    struct vattr a;
    char name[16];
    uint64_t version = 0;
    size_t size = 0;
    int r;

    snprintf(name, sizeof(name), "f%u", f);
    store_call_init(&c, true);
    r = volume_lookup(vol, &c, STORE_ROOT_INO, name, strlen(name), &a);
    CHECK(r == 0 || r == -ENOENT, "%s of %s: %d", name, "a volume", r);
    CHECK(r || (a.size >= 16 && a.size <= BIGGEST), "%llu bytes", (unsigned long long)a.size);
    while (r == 0 && size < a.size) {
        struct volume_read rd;
        r = volume_read(vol, &c, a.ino, size, a.size - size, &rd);
        CHECK(r == 0 && rd.len, "read: %d", r);
        for (int i = 0; i < rd.niov; i++) {
            memcpy(got + size, rd.iov[i].iov_base, rd.iov[i].iov_len);
            size += rd.iov[i].iov_len;
        }
        volume_read_release(&rd);
    }
    store_call_release(&c);
    if (size) {
        memcpy(&version, got, sizeof(version));
        CHECK(version && content(want, version) == size && !memcmp(want, got, size), "%s is not version %llu", name,
              (unsigned long long)version);
    }
    free(want);
    free(got);
    return version;
}

/* false: there is no such volume or snapshot. */
static bool versions_of(const char *name, uint64_t out[FILES])
{
    struct volume *vol;
    int r = vfs_volume_get(server.v, name, false, &vol);

    CHECK(r == 0 || r == -ENOENT, "%s: %d", name, r);
    for (unsigned f = 0; f < FILES && r == 0; f++)
        out[f] = version_of(vol, f);
    volume_unref(vol);
    return r == 0;
}

/* --- writers --- */

static void write_file(uint64_t *x)
{
    unsigned i = (unsigned)(st_random(x) % VOLS), f = (unsigned)(st_random(x) % FILES);
    struct vol *v = &all->vols[i];
    struct volume *vol;
    char name[32];

    pthread_mutex_lock(&file[i][f]);
    pthread_rwlock_rdlock(&gate[i]);
    if (v->there) {
        int r = vfs_volume_get(server.v, vol_name(i, name), true, &vol);
        CHECK(r == 0, "%s: %d", name, r);
        v->begun[f] = atomic_fetch_add(&all->version, 1);
        r = replace(vol, f, v->begun[f]);
        CHECK(r == 0, "write to %s: %d", name, r);
        v->acked[f] = v->begun[f];
        volume_unref(vol);
        all->writes++;
    }
    pthread_rwlock_unlock(&gate[i]);
    pthread_mutex_unlock(&file[i][f]);
}

/* Whatever happens to the volume. */
static void make_noise(uint64_t *x)
{
    struct store_call c;
    struct volume *vol;
    unsigned v = (unsigned)(st_random(x) % VOLS);
    unsigned char data[9000];
    char name[32];
    int r;

    if (!all->vols[v].there || vfs_volume_get(server.v, vol_name(v, name), true, &vol))
        return;
    store_call_init(&c, true);
    if (!all->vols[v].there) { /* another one, into which something is being restored: that wants to be alone */
        store_call_release(&c);
        volume_unref(vol);
        return;
    }
    st_fill(data, sizeof(data), *x);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "n%u", (unsigned)(st_random(x) % 3));
        r = put_file(vol, &c, name, data, 1 + st_random(x) % sizeof(data), st_random(x) % 200000);
        CHECK(r == 0 || r == -ESTALE || r == -EBUSY || r == -ENOENT || r == -EIO || r == -EROFS, "noise: %d", r);
        if (r)
            break;
    }
    store_call_release(&c);
    volume_unref(vol);
}

static void *writer(void *arg)
{
    uint64_t x = (uintptr_t)arg;

    while (!all->stop)
        if (st_random(&x) % 3)
            write_file(&x);
        else
            make_noise(&x);
    return NULL;
}

/* --- operators --- */

static unsigned free_snap(const struct vol *v)
{
    unsigned s = 0;

    while (s < SNAPS && v->snaps[s].there)
        s++;
    return s;
}

static unsigned some_snap(const struct vol *v, uint64_t *x)
{
    unsigned s = (unsigned)(st_random(x) % SNAPS);

    for (unsigned k = 0; k < SNAPS && !v->snaps[s].there; k++)
        s = (s + 1) % SNAPS;
    return s;
}

static void set_versions(struct vol *v, const uint64_t version[FILES])
{
    for (unsigned f = 0; f < FILES; f++)
        v->acked[f] = v->begun[f] = version[f];
}

static void forget(struct vol *v)
{
    static const uint64_t none[FILES];

    v->there = false;
    set_versions(v, none);
    memset(v->snaps, 0, sizeof(v->snaps));
}

static void do_create(struct op *op, struct vol *v)
{
    struct volume_props props;
    char name[32];
    int r;

    volume_props_default(&props);
    r = vfs_volume_create(server.v, vol_name(op->vol, name), &props, 0, 0, 0755);
    CHECK(r == 0, "create %s: %d", name, r);
    forget(v);
    v->there = true;
}

static void do_destroy(struct op *op, struct vol *v)
{
    char name[32];
    int r;

    pthread_rwlock_wrlock(&gate[op->vol]);
    r = vfs_volume_destroy(server.v, vol_name(op->vol, name));
    CHECK(r == 0, "destroy %s: %d", name, r);
    forget(v);
    pthread_rwlock_unlock(&gate[op->vol]);
}

/* O2, for what is there now. */
static void learn_snap(struct op *op, struct vol *v)
{
    struct snapshot *s = &v->snaps[op->snap];
    char name[32];

    CHECK(versions_of(snap_name(op->vol, op->name, name), s->version), "%s is gone", name);
    for (unsigned f = 0; f < FILES; f++)
        CHECK(s->version[f] >= op->from.version[f] && s->version[f] <= v->begun[f], "%s: f%u is %llu, not %llu to %llu", name, f,
              (unsigned long long)s->version[f], (unsigned long long)op->from.version[f], (unsigned long long)v->begun[f]);
    s->name = op->name;
    s->there = true;
}

static void do_snap(struct op *op, struct vol *v)
{
    char name[32];
    int r = vfs_snap_create(server.v, snap_name(op->vol, op->name, name));

    CHECK(r == 0, "snapshot %s: %d", name, r);
    learn_snap(op, v);
}

static void do_snap_rename(struct op *op, struct vol *v)
{
    struct snapshot *s = &v->snaps[op->snap];
    char name[32], to[16];
    int r;

    snprintf(to, sizeof(to), "s%u", op->name);
    r = vfs_snap_rename(server.v, snap_name(op->vol, s->name, name), to);
    CHECK(r == 0 || r == -EBUSY, "rename %s: %d", name, r);
    if (r == 0)
        s->name = op->name;
}

static void do_snap_destroy(struct op *op, struct vol *v)
{
    char name[32];
    int r = vfs_snap_destroy(server.v, snap_name(op->vol, v->snaps[op->snap].name, name));

    CHECK(r == 0 || r == -EBUSY, "destroy %s: %d", name, r);
    if (r == 0)
        v->snaps[op->snap].there = false;
}

static void do_rollback(struct op *op, struct vol *v)
{
    char name[32];
    int r;

    pthread_rwlock_wrlock(&gate[op->vol]);
    r = vfs_snap_rollback(server.v, snap_name(op->vol, v->snaps[op->snap].name, name), VFS_ROLLBACK_KEEP);
    CHECK(r == 0 || r == -EBUSY, "rollback %s: %d", name, r);
    if (r == 0)
        set_versions(v, v->snaps[op->snap].version);
    pthread_rwlock_unlock(&gate[op->vol]);
}

/* The volume is what a snapshot was. */
static void born(struct op *op, struct vol *v, bool with_snapshot)
{
    forget(v);
    set_versions(v, op->from.version);
    if (with_snapshot)
        v->snaps[0] = op->from;
    v->there = true;
}

static void do_clone(struct op *op, struct vol *v, const char *source)
{
    char name[32];
    int r = vfs_snap_clone(server.v, source, vol_name(op->vol, name));

    CHECK(r == 0 || r == -ENOENT || r == -EBUSY || r == -ESTALE, "clone %s to %s: %d", source, name, r);
    if (r == 0)
        born(op, v, false);
}

static void do_restore(struct op *op, struct vol *v, const char *source, unsigned who)
{
    char name[32], stream[16], said[16];
    int r;

    snprintf(stream, sizeof(stream), "stream%u", who);
    snprintf(said, sizeof(said), "said%u", who);
    if (walk_volnfs(&server, NULL, stream, said, (const char *const[]){"dump", source, NULL}))
        return; /* it is gone meanwhile */
    r = walk_volnfs(&server, stream, NULL, said, (const char *const[]){"restore", vol_name(op->vol, name), NULL});
    CHECK(r == 0, "restore %s to %s: %d, %s/%s", source, name, r, server.dir, said);
    born(op, v, true);
}

static void do_work(struct op *op, uint64_t *x)
{
    struct volume_props p;
    struct volume *vol;
    char name[32];
    int r = vfs_volume_get(server.v, vol_name(op->vol, name), false, &vol);

    if (r) {
        CHECK(r == -ENOENT || r == -EBUSY || r == -ESTALE, "%s: %d", name, r);
        return;
    }
    if (op->verb == GC)
        r = volume_gc(vol);
    if (op->verb == SCRUB)
        r = volume_scrub_start(vol);
    if (op->verb == PROPS) {
        volume_get_props(vol, &p);
        p.recompress = st_random(x) % 2 ? 9 : 0;
        p.dedup = st_random(x) % 2;
        p.codec = st_random(x) % 4 ? VOLUME_ZSTD : VOLUME_RAW;
        r = volume_set_props(vol, &p);
    }
    CHECK(r == 0 || r == -ESTALE || r == -EBUSY || r == -EIO, "%s: verb %u: %d", name, op->verb, r);
    volume_unref(vol);
}

/* A snapshot that was there a moment ago, of a volume that others may be at. */
static bool choose_source(struct op *op, uint64_t *x, char source[32])
{
    unsigned i = (unsigned)(st_random(x) % VOLS);

    op->from.there = false;
    for (unsigned k = 0; k < VOLS && !op->from.there; k++, i = (i + 1) % VOLS) {
        if (i == op->vol || pthread_mutex_trylock(&busy[i]))
            continue;
        op->from = all->vols[i].snaps[some_snap(&all->vols[i], x)];
        pthread_mutex_unlock(&busy[i]);
        snap_name(i, op->from.name, source);
    }
    return op->from.there;
}

/* Runs what op says if it can be done; the volume is ours unless it is one of the last. */
static void run(struct op *op, struct vol *v, unsigned who, enum verb verb, uint64_t *x)
{
    char source[32];

    op->snap = verb == SNAP ? free_snap(v) : verb < GC ? some_snap(v, x) : 0;
    op->name = atomic_fetch_add(&all->name, 1);
    if (verb == CREATE || verb == CLONE || verb == RESTORE ? v->there : !v->there)
        return;
    if (verb == SNAP ? op->snap == SNAPS : (verb == SNAP_RENAME || verb == SNAP_DESTROY || verb == ROLLBACK) &&
                                               !v->snaps[op->snap].there)
        return;
    if ((verb == CLONE || verb == RESTORE) && !choose_source(op, x, source))
        return;
    for (unsigned f = 0; f < FILES && (verb == SNAP || verb == CREATE); f++)
        op->from.version[f] = verb == SNAP ? v->acked[f] : 0;
    atomic_thread_fence(memory_order_seq_cst);
    op->verb = verb;
    switch (verb) {
    case CREATE: do_create(op, v); break;
    case DESTROY: do_destroy(op, v); break;
    case SNAP: do_snap(op, v); break;
    case SNAP_RENAME: do_snap_rename(op, v); break;
    case SNAP_DESTROY: do_snap_destroy(op, v); break;
    case ROLLBACK: do_rollback(op, v); break;
    case CLONE: do_clone(op, v, source); break;
    case RESTORE: do_restore(op, v, source, who); break;
    default: do_work(op, x);
    }
    all->did[verb]++;
    op->verb = NOTHING;
}

static void *operator(void *arg)
{
    static const enum verb verbs[] = {CREATE, DESTROY, DESTROY, SNAP, SNAP, SNAP, SNAP, SNAP, SNAP, SNAP_RENAME, SNAP_DESTROY,
                                      SNAP_DESTROY, SNAP_DESTROY, ROLLBACK, ROLLBACK, CLONE, CLONE, CLONE, CLONE, CLONE, CLONE,
                                      RESTORE, RESTORE, RESTORE, GC, GC, GC, SCRUB, PROPS};
    unsigned who = (uintptr_t)arg & 1;
    uint64_t x = (uintptr_t)arg;

    while (!all->stop) {
        struct op *op = &all->ops[who];
        enum verb verb = verbs[st_random(&x) % (sizeof(verbs) / sizeof(*verbs))];
        op->vol = (unsigned)(st_random(&x) % VOLS);
        if (verb >= GC) { /* beside all others */
            if (all->vols[op->vol].there)
                run(op, &all->vols[op->vol], who, verb, &x);
        } else if (pthread_mutex_trylock(&busy[op->vol]) == 0) {
            run(op, &all->vols[op->vol], who, verb, &x);
            pthread_mutex_unlock(&busy[op->vol]);
        }
        usleep((useconds_t)(st_random(&x) % 4000));
    }
    return NULL;
}

/* --- the server's process --- */

static void serve(const char *dir, uint64_t seed)
{
    pthread_t t[WRITERS + OPERATORS];

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 0; i < VOLS; i++) {
        pthread_mutex_init(&busy[i], NULL);
        pthread_rwlock_init(&gate[i], NULL);
        for (unsigned f = 0; f < FILES; f++)
            pthread_mutex_init(&file[i][f], NULL);
    }
    CHECK(walk_server_begin(&server, dir) == 0, "%s", dir);
    vfs_set_idle(server.v, 1, VOLS - 1);
    all->begun = 1;
    for (unsigned i = 0; i < WRITERS + OPERATORS; i++)
        CHECK(pthread_create(&t[i], NULL, i < WRITERS ? writer : operator, (void *)(uintptr_t)(seed * 64 + 2 + i)) == 0, "thread");
    for (unsigned i = 0; i < WRITERS + OPERATORS; i++)
        pthread_join(t[i], NULL);
    CHECK(walk_server_end(&server) == 0, "end");
    _exit(0);
}

/* --- looking afterwards --- */

static bool same(const uint64_t a[FILES], const uint64_t b[FILES])
{
    return !memcmp(a, b, FILES * sizeof(*a));
}

struct names {
    unsigned name[2 * SNAPS];
    unsigned n;
};

static int note_name(void *arg, uint64_t volume, const struct snap_info *s)
{
    struct names *n = arg;

    CHECK(n->n < 2 * SNAPS && sscanf(s->name, "s%u", &n->name[n->n]) == 1, "snapshot %s", s->name);
    n->n++;
    return 0;
}

/* What an operator had begun with the volume, or NULL. */
static struct op *pending(unsigned i)
{
    for (unsigned k = 0; k < OPERATORS; k++)
        if (all->ops[k].verb && all->ops[k].verb < GC && all->ops[k].vol == i)
            return &all->ops[k];
    return NULL;
}

static void check_snaps(unsigned i, struct vol *v, struct op *op)
{
    struct names seen = {.n = 0};
    uint64_t version[FILES];
    char name[32];

    CHECK(vfs_snap_list(server.v, vol_name(i, name), note_name, &seen) == 0, "%s", name);
    for (unsigned s = 0; s < SNAPS; s++) {
        struct snapshot *sn = &v->snaps[s];
        bool mine = op && op->snap == s, there = versions_of(snap_name(i, sn->name, name), version);
        if (op && op->verb == SNAP && mine) {
            sn->there = versions_of(snap_name(i, op->name, name), version);
            if (sn->there)
                learn_snap(op, v);
            continue;
        }
        if (!sn->there)
            continue;
        if (mine && op->verb == SNAP_RENAME && !there) {
            sn->name = op->name;
            there = versions_of(snap_name(i, sn->name, name), version);
        }
        if (mine && op->verb == SNAP_DESTROY && !there) {
            sn->there = false;
            continue;
        }
        CHECK(there && same(version, sn->version), "%s is%s there, and not what it was", name, there ? "" : " not");
    }
    for (unsigned k = 0; k < seen.n; k++) {
        bool known = false;
        for (unsigned s = 0; s < SNAPS; s++)
            known = known || (v->snaps[s].there && v->snaps[s].name == seen.name[k]);
        CHECK(known, "%s is not known", snap_name(i, seen.name[k], name));
    }
}

static void check_head(unsigned i, struct vol *v, const uint64_t version[FILES], struct op *op)
{
    bool rolled = op && op->verb == ROLLBACK && same(version, v->snaps[op->snap].version);

    for (unsigned f = 0; f < FILES && !rolled; f++)
        CHECK(version[f] == v->acked[f] || version[f] == v->begun[f], "u/v%u: f%u is %llu, neither %llu nor %llu", i, f,
              (unsigned long long)version[f], (unsigned long long)v->acked[f], (unsigned long long)v->begun[f]);
    set_versions(v, version);
}

/* A volume that was being made: it is not there, is whole, or, of a restore, is empty or marked, and goes. */
static void check_new(unsigned i, struct vol *v, const uint64_t version[FILES], bool there, struct op *op)
{
    struct names seen = {.n = 0};
    struct store_call c;
    struct volume *vol;
    struct vattr a;
    char name[32];
    int r;

    forget(v);
    if (!there)
        return;
    if (op->verb != RESTORE) {
        CHECK(same(version, op->from.version), "%s is not what it should be", vol_name(i, name));
        born(op, v, false); /* of CREATE: with nothing */
        return;
    }
    CHECK(vfs_snap_list(server.v, vol_name(i, name), note_name, &seen) == 0, "%s", name);
    CHECK(vfs_volume_get(server.v, name, false, &vol) == 0, "%s", name);
    store_call_init(&c, true);
    r = volume_lookup(vol, &c, STORE_ROOT_INO, ".volnfs-restore-incomplete", 26, &a);
    CHECK(r == 0 || r == -ENOENT, "mark: %d", r);
    for (unsigned f = 0; f < FILES && r == -ENOENT && version[0] + version[1] + version[2] + version[3] + version[4]; f++)
        CHECK(version[f] == op->from.version[f], "%s is neither whole nor marked", name);
    CHECK(!seen.n || r == -ENOENT, "%s has a snapshot and a mark", name);
    store_call_release(&c);
    volume_unref(vol);
    CHECK(vfs_volume_destroy(server.v, name) == 0, "%s", name);
}

static void look(const char *dir)
{
    unsigned volumes = 0;

    CHECK(walk_server_begin(&server, dir) == 0, "%s", dir);
    for (unsigned i = 0; i < VOLS; i++) {
        struct vol *v = &all->vols[i];
        struct op *op = pending(i);
        uint64_t version[FILES];
        char name[32];
        bool there = versions_of(vol_name(i, name), version);
        if (op && (op->verb == CREATE || op->verb == CLONE || op->verb == RESTORE))
            check_new(i, v, version, there, op);
        else if (op && op->verb == DESTROY && !there)
            forget(v);
        else
            CHECK(there == v->there, "%s is%s there", name, there ? "" : " not");
        if (v->there) {
            check_snaps(i, v, op && op->verb != CLONE && op->verb != CREATE ? op : NULL);
            check_head(i, v, version, op);
            volumes++;
        }
    }
    memset(all->ops, 0, sizeof(all->ops));
    CHECK(vfs_volume_count(server.v) == volumes, "%u volumes, not %u", vfs_volume_count(server.v), volumes);
    CHECK(walk_server_end(&server) == 0, "end");
    CHECK(walk_check_folders(server.store, true) == (int)volumes, "unsound folders, or others than those of volumes");
    _exit(0);
}

/* --- rounds --- */

static int wait_for(pid_t pid)
{
    int status;

    while (waitpid(pid, &status, 0) != pid)
        assert_int_equal(errno, EINTR);
    return status;
}

static void walk(uint64_t seed, unsigned seconds)
{
    static const char *const names[VERBS] = {[CREATE] = "created", [DESTROY] = "destroyed", [SNAP] = "snapshots",
                                             [SNAP_RENAME] = "renamed", [SNAP_DESTROY] = "snapshots destroyed",
                                             [ROLLBACK] = "rolled back", [CLONE] = "cloned", [RESTORE] = "restored",
                                             [GC] = "compacted", [SCRUB] = "scrubbed", [PROPS] = "properties"};
    uint64_t end = clock_mono_ms() + seconds * 1000u, x = seed * 2 + 1;
    char *dir = st_tmpdir();
    unsigned rounds = 0, kills = 0;

    prctl(PR_SET_CHILD_SUBREAPER, 1);
    print_message("seed %llu, %u s\n", (unsigned long long)seed, seconds);
    all = mmap(NULL, sizeof(*all), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(all != MAP_FAILED);
    all->version = 1;
    do {
        bool kill_it = st_random(&x) % 5 != 0;
        pid_t pid;
        int status;
        fflush(stdout);
        all->stop = all->begun = 0;
        pid = fork();
        if (pid == 0) {
            setpgid(0, 0);
            serve(dir, st_random(&x) >> 40);
        }
        setpgid(pid, pid);
        if (kill_it && st_random(&x) % 5 == 0) { /* while it begins */
            usleep((useconds_t)(st_random(&x) % 30000));
        } else {
            for (int i = 0; i < 60000 && !all->begun && waitpid(pid, &status, WNOHANG) == 0; i++)
                usleep(1000);
            assert_true(all->begun);
            usleep((useconds_t)(st_random(&x) % (st_random(&x) % 4 ? 300000 : 1500000)));
        }
        if (kill_it)
            kill(pid, SIGKILL);
        all->stop = !kill_it;
        status = wait_for(pid);
        if (kill_it ? status != SIGKILL : status)
            fail_msg("the server ended with %d; %s is left", status, dir);
        kills += kill_it;
        /* A child of its that has not come to its exec still holds its locks. */
        kill(-pid, SIGKILL);
        while (waitpid(-pid, NULL, 0) > 0)
            ;
        pid = fork();
        if (pid == 0)
            look(dir);
        status = wait_for(pid);
        if (status)
            fail_msg("after round %u, %s: %d; %s is left", rounds, kill_it ? "killed" : "stopped", status, dir);
        rounds++;
    } while (clock_mono_ms() < end);
    print_message("%u rounds, %u kills, %u writes", rounds, kills, (unsigned)all->writes);
    for (unsigned i = 0; i < VERBS; i++)
        if (names[i])
            print_message(", %u %s", (unsigned)all->did[i], names[i]);
    print_message("\n");
    assert_true(all->writes > 0);
    munmap(all, sizeof(*all));
    st_rmtree(dir);
}

static void random_walk(void **state)
{
    const char *seed = getenv("OPERATOR_WALK_SEED"), *seconds = getenv("OPERATOR_WALK_SECONDS");

    walk(seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL), seconds ? (unsigned)atoi(seconds) : 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_walk),
    };

    log_set_level(LOG_ERROR);
    return cmocka_run_group_tests_name("operator_walk", tests, NULL, NULL);
}
