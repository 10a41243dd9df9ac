/* SPDX-License-Identifier: Apache-2.0
 * operator_walk: the server's process: writers and operators.
 */
#include "tests/unit/operator_walk.h"

#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "server/store/snap.h"
#include "tests/unit/storetest.h"

/* Of the server's process. busy: the volume is being changed as a whole, by one operator; gate: for writing by who makes what a
 * writer knows wrong; file: by who writes it. */
static pthread_mutex_t busy[VOLS], file[VOLS][FILES];
static pthread_rwlock_t gate[VOLS];

const char *vol_name(unsigned i, char buf[32])
{
    snprintf(buf, 32, "u/v%u", i);
    return buf;
}

const char *snap_name(unsigned i, unsigned name, char buf[32])
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

bool versions_of(const char *name, uint64_t out[FILES])
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
    struct vol *v = &shared->vols[i];
    struct volume *vol;
    char name[32];

    pthread_mutex_lock(&file[i][f]);
    pthread_rwlock_rdlock(&gate[i]);
    if (v->there) {
        int r = vfs_volume_get(server.v, vol_name(i, name), true, &vol);
        CHECK(r == 0, "%s: %d", name, r);
        v->begun[f] = atomic_fetch_add(&shared->version, 1);
        r = replace(vol, f, v->begun[f]);
        CHECK(r == 0, "write to %s: %d", name, r);
        v->acked[f] = v->begun[f];
        volume_unref(vol);
        shared->writes++;
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

    if (!shared->vols[v].there || vfs_volume_get(server.v, vol_name(v, name), true, &vol))
        return;
    store_call_init(&c, true);
    if (!shared->vols[v].there) { /* another one, into which something is being restored: that wants to be alone */
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

    while (!shared->stop)
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

void set_versions(struct vol *v, const uint64_t version[FILES])
{
    for (unsigned f = 0; f < FILES; f++)
        v->acked[f] = v->begun[f] = version[f];
}

void forget(struct vol *v)
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

void learn_snap(struct op *op, struct vol *v)
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

void born(struct op *op, struct vol *v, bool with_snapshot)
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
        op->from = shared->vols[i].snaps[some_snap(&shared->vols[i], x)];
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
    op->name = atomic_fetch_add(&shared->name, 1);
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
    shared->did[verb]++;
    op->verb = NOTHING;
}

static void *operator(void *arg)
{
    static const enum verb verbs[] = {CREATE, DESTROY, DESTROY, SNAP, SNAP, SNAP, SNAP, SNAP, SNAP, SNAP_RENAME, SNAP_DESTROY,
                                      SNAP_DESTROY, SNAP_DESTROY, ROLLBACK, ROLLBACK, CLONE, CLONE, CLONE, CLONE, CLONE, CLONE,
                                      RESTORE, RESTORE, RESTORE, GC, GC, GC, SCRUB, PROPS};
    unsigned who = (uintptr_t)arg & 1;
    uint64_t x = (uintptr_t)arg;

    while (!shared->stop) {
        struct op *op = &shared->ops[who];
        enum verb verb = verbs[st_random(&x) % (sizeof(verbs) / sizeof(*verbs))];
        op->vol = (unsigned)(st_random(&x) % VOLS);
        if (verb >= GC) { /* beside all others */
            if (shared->vols[op->vol].there)
                run(op, &shared->vols[op->vol], who, verb, &x);
        } else if (pthread_mutex_trylock(&busy[op->vol]) == 0) {
            run(op, &shared->vols[op->vol], who, verb, &x);
            pthread_mutex_unlock(&busy[op->vol]);
        }
        usleep((useconds_t)(st_random(&x) % 4000));
    }
    return NULL;
}

/* --- the server's process --- */

_Noreturn void serve(const char *dir, uint64_t seed)
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
    shared->begun = 1;
    for (unsigned i = 0; i < WRITERS + OPERATORS; i++)
        CHECK(pthread_create(&t[i], NULL, i < WRITERS ? writer : operator, (void *)(uintptr_t)(seed * 64 + 2 + i)) == 0, "thread");
    for (unsigned i = 0; i < WRITERS + OPERATORS; i++)
        pthread_join(t[i], NULL);
    CHECK(walk_server_end(&server) == 0, "end");
    _exit(0);
}
