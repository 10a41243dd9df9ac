/* SPDX-License-Identifier: Apache-2.0
 * volume: making, opening and closing a volume.
 *
 * DIR/lock (flock while open), DIR/index.db, DIR/journal, DIR/packs/xx/NNNNNNNN.pack.
 *
 * Memory is right; the journal makes it durable; the index is the sorted form of all but the last half second; packs
 * hold bytes. Why a crash at any moment is harmless (the numbers are cited in the files that keep them):
 *   I1 The index's meta.txg = n holds exactly the effects of txgs <= n: txgs are applied in order, whole ones, in one
 *      SQLite transaction with the meta row (apply.c A1).
 *   I2 A journal record is overwritten only after the index's commit with its effects, and then a journal header that
 *      is past it, are on the disk (apply.c A3, journal.h J3). Opening applies what the index lacks (replay.c).
 *   I3 A record or row that names a range of a pack is written after that range was synced (T3, A2;
 *      tend_move_blobs).
 *   I4 A pack is unlinked after the commit that removed its row, and only when nothing that could still
 *      be committed refers to it (compact.c, G1 and G3).
 *   I5 A durable reply leaves after its txg and all before it are in the journal, or in the index (T5, J2).
 *   I6 An inode's row never has a size above what is set explicitly or covered by data in the same or
 *      earlier txgs (psize), so a lost unstable write does not leave a longer file.
 *   I7 Ids (inode, generation, chunk, pack) come from counters committed with the rows that use them;
 *      chunk ids jump ahead at each open, because chunks of lost txgs may be in packs.
 *   I8 The change attribute is at least epoch << 40 after the first change following an open, so values
 *      seen before a crash, of changes that were lost, do not come again for something else.
 * After a crash: the index is as of its last commit, the journal has the txgs after that, the packs hold bytes nobody
 * names: packs that were begun after the last durable txg are removed at open, the rest die with their pack.
 */
#include "server/store/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/store/files.h"
#include "server/store/gc.h"
#include "server/store/journal.h"
#include "server/store/volume_int.h"

#define CHUNK_ID_JUMP (1u << 20)

void *vol_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);

    if (!p) {
        log_error("out of memory");
        abort();
    }
    return p;
}

/* --- making --- */

int volume_create(const char *dir, const struct volume_props *props, const struct vset *root)
{
    struct timespec now = clock_wall();
    struct index_meta meta = {.next_ino = STORE_ROOT_INO + 1, .next_chunk = 1, .next_pack = 1,
                              .next_gen = 2, .props = *props};
    struct vattr a = {.ino = STORE_ROOT_INO, .gen = 1, .type = IT_DIR, .mode = root->mode & 07777,
                      .nlink = 2, .uid = root->uid, .gid = root->gid, .parent = STORE_ROOT_INO,
                      .change = 1, .atime = now, .mtime = now, .ctime = now, .btime = now};
    char *db = path_join(dir, "index.db"), *packs = path_join(dir, "packs");
    bool made = false;
    int r = volume_props_check(props);

    if (r < 0)
        goto out;
    if (mkdir(dir, 0700) < 0) {
        r = -errno;
        goto out;
    }
    made = true;
    if (mkdir(packs, 0700) < 0) {
        r = -errno;
        goto out;
    }
    r = index_create(db, &meta, &a);
    if (r == 0)
        r = dir_sync(AT_FDCWD, packs);
    if (r == 0)
        r = dir_sync(AT_FDCWD, dir);
    if (r < 0)
        goto out;
    r = dir_sync_parent(dir);
out:
    if (r < 0 && made) {
        unlink(db);
        rmdir(packs);
        rmdir(dir);
    }
    free(packs);
    free(db);
    return r;
}

/* --- opening --- */

static bool note_orphan(void *arg, uint64_t ino)
{
    struct volume *v = arg;

    v->orphans = realloc(v->orphans, (v->norphans + 1) * sizeof(*v->orphans));
    if (!v->orphans)
        abort();
    v->orphans[v->norphans++] = ino;
    return true;
}

void volume_free(struct volume *v)
{
    if (v->dirfd >= 0)
        close(v->dirfd);
    dir_unlock(v->lockfd);
    htab_release(&v->inodes);
    htab_release(&v->dents);
    htab_release(&v->slots);
    pthread_mutex_destroy(&v->lock);
    pthread_cond_destroy(&v->cond);
    pthread_cond_destroy(&v->commit_cond);
    gc_free(v->gc);
    snap_release(v);
    pthread_cond_destroy(&v->apply_cond);
    atomic_fetch_sub(&v->e->nvolumes, 1);
    free(v->packrefs);
    free(v->recent);
    free(v->orphans);
    free(v->dir);
    free(v->label);
    free(v);
}

struct volume *volume_alloc(struct engine *e, const char *dir, const char *label, uint64_t id)
{
    struct volume *v = vol_alloc(sizeof(*v));
    pthread_condattr_t ca;

    v->e = e;
    atomic_fetch_add(&e->nvolumes, 1);
    v->dir = strdup(dir);
    v->label = strdup(label);
    if (!v->dir || !v->label || htab_init(&v->inodes, 1024) || htab_init(&v->dents, 1024) ||
        htab_init(&v->slots, 1024))
        abort();
    v->id = id;
    v->dirfd = v->lockfd = -1;
    atomic_store(&v->refs, 1);
    pthread_mutex_init(&v->lock, NULL);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&v->cond, &ca);
    pthread_cond_init(&v->commit_cond, &ca);
    pthread_cond_init(&v->apply_cond, &ca);
    pthread_condattr_destroy(&ca);
    list_init(&v->inode_lru);
    list_init(&v->dent_lru);
    list_init(&v->dirty);
    list_init(&v->reap);
    list_init(&v->queue);
    list_init(&v->ckpt_link);
    list_init(&v->snaps);
    return v;
}

static int lock_dir(struct volume *v)
{
    v->dirfd = open(v->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (v->dirfd < 0)
        return -errno;
    v->lockfd = dir_lock(v->dir);
    return v->lockfd < 0 ? v->lockfd : 0;
}

void vol_take_meta(struct volume *v, const struct index_meta *m)
{
    v->props = m->props;
    v->next_ino = m->next_ino;
    v->next_gen = m->next_gen;
    v->next_chunk = m->next_chunk + CHUNK_ID_JUMP;
    v->files = m->files;
    v->logical = m->logical;
    v->stored = m->stored;
    v->held = m->held;
    v->snap_seq = m->snap_seq;
    v->committed = v->durable = m->txg;
    v->open = txg_new(m->txg + 1);
}

static void end_thread(struct volume *v, bool *stop, pthread_cond_t *cond, pthread_t thread)
{
    pthread_mutex_lock(&v->lock);
    *stop = true;
    pthread_cond_signal(cond);
    pthread_mutex_unlock(&v->lock);
    pthread_join(thread, NULL);
}

int volume_open(struct engine *e, const char *dir, const char *label, uint64_t id,
                struct volume **out)
{
    struct volume *v = volume_alloc(e, dir, label, id);
    char *db = path_join(dir, "index.db"), *packs = path_join(dir, "packs");
    struct index_meta meta;
    int64_t blobs;
    int r = lock_dir(v);

    if (r < 0)
        goto out;
    r = index_open(db, label, &v->ix);
    if (r == 0)
        r = index_get_meta(v->ix, &meta);
    if (r < 0)
        goto out;
    v->journal_max = e->journal_size;
    r = replay(v, packs, &meta);
    if (r == 0)
        r = index_list_orphans(v->ix, note_orphan, v);
    if (r < 0)
        goto out;
    vol_take_meta(v, &meta);
    r = snap_load(v);
    if (r < 0)
        goto out;
    blobs = index_blob_bytes(v->ix);
    v->blob_bytes = blobs > 0 ? (uint64_t)blobs : 0;
    v->idle_ms = clock_mono_ms();
    v->verifier = (e->epoch << 32) ^ clock_random64();
    vol_space(v, true);
    packset_set_size(v->ps, e->pack_size);
    r = -pthread_create(&v->thread, NULL, txg_main, v);
    if (r < 0)
        goto out;
    r = -pthread_create(&v->apply_thread, NULL, apply_main, v);
    if (r < 0) {
        end_thread(v, &v->stop, &v->commit_cond, v->thread);
        goto out;
    }
    gc_attach(v);
    *out = v;
    v = NULL;
out:
    free(db);
    free(packs);
    if (v) {
        txg_free(v, v->open);
        journal_close(v->journal);
        packset_close(v->ps);
        index_close(v->ix);
        volume_free(v);
    }
    return r;
}

struct volume *volume_ref(struct volume *v)
{
    atomic_fetch_add(&v->refs, 1);
    return v;
}

void volume_unref(struct volume *v)
{
    if (v && atomic_fetch_sub(&v->refs, 1) == 1)
        volume_free(v);
}

void volume_set_user(struct volume *v, uint64_t user)
{
    v->user = user;
}

uint64_t volume_user(const struct volume *v)
{
    return v->user;
}

uint64_t volume_id(const struct volume *v)
{
    return v->id;
}

/* --- closing --- */

int vol_flush(struct volume *v)
{
    struct store_call call;
    uint64_t now = clock_mono_ms();
    int err = 0;

    store_call_init(&call, true);
    while (!list_empty(&v->dirty) && !v->failed) {
        struct slot *s = list_first(&v->dirty, struct slot, vdlink);
        int r;
        if (s->dirty_ms > now) /* the oldest are first */
            break;
        r = inode_flush(v, &call, s->in);
        if (r < 0) { /* leave it: the caller throws it away */
            err = r;
            break;
        }
    }
    return err;
}

void vol_drop_memory(struct volume *v)
{
    while (!list_empty(&v->reap)) {
        struct inode *in = list_first(&v->reap, struct inode, reap_link);
        list_del(&in->reap_link);
    }
    list_for_each_safe(it, &v->queue) {
        struct txg *t = list_entry(it, struct txg, link);
        list_del(it);
        txg_free(v, t);
    }
    txg_free(v, v->committing);
    txg_free(v, v->open);
    v->committing = v->open = NULL;
    list_for_each_safe(it, &v->inode_lru) {
        struct inode *in = list_entry(it, struct inode, lru);
        list_for_each(st, &in->slots) {
            struct slot *s = list_entry(st, struct slot, link);
            slot_drop_prep(s);
        }
        inode_free(in);
    }
    cache_meta_all(v);
}

static int volume_end(struct volume *v, bool keep)
{
    int err = 0;

    pthread_mutex_lock(&v->lock);
    v->closing = true;
    pthread_mutex_unlock(&v->lock);
    gc_detach(v);
    pthread_mutex_lock(&v->lock);
    if (!keep && !v->failed) {
        v->abandoned = true;
        v->failed = -EIO; /* quietly: ends waits of callers inside, and the commit thread's work */
        pthread_cond_signal(&v->commit_cond);
        pthread_cond_signal(&v->apply_cond);
        vol_wake(v);
    }
    while (v->inside)
        vol_wait(v, 0);
    pthread_mutex_unlock(&v->lock);
    snap_close_all(v);
    pthread_mutex_lock(&v->lock);
    if (keep)
        err = vol_flush(v);
    while (v->work)
        vol_wait(v, 0);
    pthread_mutex_unlock(&v->lock);
    end_thread(v, &v->stop, &v->commit_cond, v->thread);
    end_thread(v, &v->apply_stop, &v->apply_cond, v->apply_thread);
    pthread_mutex_lock(&v->lock);
    v->closed = true;
    vol_wake(v);
    if (keep && v->failed)
        err = v->failed;
    while (v->waiting) { /* in volume_call_wait */
        pthread_mutex_unlock(&v->lock);
        usleep(1000);
        pthread_mutex_lock(&v->lock);
    }
    vol_drop_memory(v);
    pthread_mutex_unlock(&v->lock);
    engine_checkpoint_cancel(v->e, v);
    if (keep)
        gc_finish(v);
    journal_close(v->journal);
    packset_close(v->ps);
    index_close(v->ix);
    dir_unlock(v->lockfd);
    close(v->dirfd);
    v->lockfd = v->dirfd = -1;
    v->journal = NULL;
    v->ps = NULL;
    v->ix = NULL;
    volume_unref(v);
    return err;
}

static void set_closing(struct volume *v, bool closing)
{
    pthread_mutex_lock(&v->lock);
    v->closing = closing;
    pthread_mutex_unlock(&v->lock);
}

void volume_shut(struct volume *v)
{
    set_closing(v, true);
}

void volume_unshut(struct volume *v)
{
    set_closing(v, false);
}

static bool is_cloned(const struct volume *v)
{
    list_for_each(it, &v->snaps) {
        if (list_entry(it, struct snap, link)->cloning)
            return true;
    }
    return false;
}

bool volume_is_cloned(struct volume *v)
{
    bool yes;

    pthread_mutex_lock(&v->lock);
    yes = is_cloned(v);
    pthread_mutex_unlock(&v->lock);
    return yes;
}

int volume_bar_clones(struct volume *v)
{
    int r;

    pthread_mutex_lock(&v->lock);
    r = is_cloned(v) ? -EBUSY : 0;
    v->no_clones = r == 0;
    pthread_mutex_unlock(&v->lock);
    return r;
}

void volume_let_clone(struct volume *v)
{
    pthread_mutex_lock(&v->lock);
    v->no_clones = false;
    pthread_mutex_unlock(&v->lock);
}

void volume_comes_back(struct volume *v)
{
    pthread_mutex_lock(&v->lock);
    v->comes_back = true;
    pthread_mutex_unlock(&v->lock);
}

int volume_close(struct volume *v)
{
    return volume_end(v, true);
}

void volume_abandon(struct volume *v)
{
    (void)volume_end(v, false);
}

/* --- looking after --- */

int volume_is_empty(struct volume *v, struct store_call *call, bool *empty)
{
    int r = vol_enter(v);

    if (r < 0)
        return r;
    do {
        struct inode *root;
        r = inode_get(v, call, STORE_ROOT_INO, &root);
        if (r == 0)
            r = dir_check_empty(v, call, root);
    } while (r == RETRY);
    vol_leave(v);
    *empty = r == 0;
    return r == -ENOTEMPTY ? 0 : r;
}

int volume_purge_orphans(struct volume *v)
{
    struct store_call call;
    int r = vol_enter(v), err = 0;

    if (r < 0)
        return r;
    store_call_init(&call, true);
    while (v->norphans && !v->failed) {
        uint64_t ino = v->orphans[--v->norphans];
        struct inode *in = NULL;
        do
            r = inode_get(v, &call, ino, &in);
        while (r == RETRY);
        if (r == 0 && in->a.nlink == 0 && !in->holds && list_empty(&in->reap_link)) {
            in->orphan = true;
            inode_kill(in);
        } else if (r < 0 && r != -ESTALE) {
            err = r;
        }
    }
    vol_leave(v);
    return err;
}
