/* SPDX-License-Identifier: Apache-2.0
 * keeper: closes volumes that nobody uses, removes those that are destroyed (see keeper.h).
 */
#include "server/vfs/keeper.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/vfs/trash.h"

#define LOOK_MS 1000u /* between looks */
#define TRIES   8u    /* volumes that turn out to be used after all, before room is made another time */

struct removal {
    struct list link; /* vfs.removals; first */
    uint64_t id;
    struct volume *vol; /* to be ended before (K5), or NULL */
};

/* --- closing --- */

/* Notes who was used since the last look. */
static void note_used(struct vfs *v)
{
    uint64_t now = clock_mono_ms();

    pthread_rwlock_wrlock(&v->lock);
    list_for_each(it, &v->open_vols) {
        struct nvol *n = list_entry(it, struct nvol, open_link);
        if (n->used)
            n->used_ms = now;
        n->used = false;
    }
    pthread_rwlock_unlock(&v->lock);
}

/* The volume that was not used longest, at least for so long, with a reference; NULL. rested: of those that the background
 * is done with. */
static struct nvol *choose(struct vfs *v, uint64_t idle_ms, bool rested)
{
    struct nvol *best = NULL;
    uint64_t now = clock_mono_ms();

    pthread_rwlock_rdlock(&v->lock);
    list_for_each(it, &v->open_vols) {
        struct nvol *n = list_entry(it, struct nvol, open_link);
        if (n->used_ms + idle_ms > now || (idle_ms && n->used) || (best && best->used_ms <= n->used_ms) ||
            !volume_unused(n->vol) || (rested && !volume_at_rest(n->vol)))
            continue;
        best = n;
    }
    if (best)
        ns_vol_ref(best);
    pthread_rwlock_unlock(&v->lock);
    return best;
}

/* Takes vol out of n if it is as it was (K2). n->life held. */
static bool take_out(struct vfs *v, struct nvol *n, struct volume *vol)
{
    bool taken;

    pthread_rwlock_wrlock(&v->lock);
    taken = !n->used && volume_unused(vol);
    if (taken)
        ns_vol_take_locked(v, n);
    else
        n->used_ms = clock_mono_ms(); /* not the next one to try */
    pthread_rwlock_unlock(&v->lock);
    return taken;
}

/* What counts from an opening on goes to past; a volume that is not open has none of it, nor anything under way. */
static void keep_counters(struct volume_stat *past, struct volume_stat *st)
{
    keeper_add_counters(past, st);
    st->deduped = st->gc_copied = st->gc_freed = st->gc_packs = 0;
    st->journal_used = st->journal_ms = 0;
    st->gc_busy = false;
}

void keeper_add_counters(struct volume_stat *to, const struct volume_stat *from)
{
    to->deduped += from->deduped;
    to->gc_copied += from->gc_copied;
    to->gc_freed += from->gc_freed;
    to->gc_packs += from->gc_packs;
}

/* Closes n's volume unless somebody uses it. */
static bool close_one(struct vfs *v, struct nvol *n)
{
    struct volume_peek *peek = malloc(sizeof(*peek));
    struct volume_carry carry;
    struct volume *vol;
    bool closed = false;
    int err;

    if (!peek || pthread_mutex_trylock(&n->life)) {
        free(peek);
        return false;
    }
    pthread_rwlock_wrlock(&v->lock);
    vol = n->vol; /* changes only under life */
    n->used = false;
    pthread_rwlock_unlock(&v->lock);
    if (!vol)
        goto out;
    err = volume_settle(vol);
    if (!err) {
        volume_stat_settle(vol);
        err = volume_peek_open(vol, peek);
        volume_carry(vol, &carry);
    }
    if (err || !take_out(v, n, vol))
        goto out;
    closed = true;
    err = volume_close(vol);
    if (err) {
        log_error("volume %s/%s: the last changes could not be written: %s", n->owner ? n->owner->name : "?", n->name,
                  strerror(-err));
        goto out;
    }
    n->carry = carry;
    keep_counters(&n->past, &peek->stat);
    n->peek = peek;
    peek = NULL;
out:
    pthread_mutex_unlock(&n->life);
    free(peek);
    return closed;
}

static bool is_full(struct vfs *v)
{
    bool full;

    pthread_rwlock_rdlock(&v->lock);
    full = v->nopen >= v->max_open;
    pthread_rwlock_unlock(&v->lock);
    return full;
}

void keeper_make_room(struct vfs *v)
{
    struct nvol *n;

    for (unsigned i = 0; i < TRIES && is_full(v) && (n = choose(v, 0, false)); i++) {
        (void)close_one(v, n);
        ns_vol_put(n);
    }
}

static void close_idle(struct vfs *v)
{
    struct nvol *n;

    while (!v->keeper_stop && v->idle_ms && (n = choose(v, v->idle_ms, true))) {
        bool closed = close_one(v, n);
        if (closed)
            log_debug(LOG_STORE, "volume %llu is closed: nobody uses it", (unsigned long long)n->id);
        ns_vol_put(n);
        if (!closed)
            break;
    }
}

/* --- looking --- */

int keeper_look(struct vfs *v, struct nvol *n, bool may_block, struct volume **vol, struct volume_peek *out)
{
    char *path;
    int err = 0;

    *vol = ns_vol_open_now(v, n);
    if (*vol)
        return 0;
    if (may_block)
        pthread_mutex_lock(&n->life);
    else if (pthread_mutex_trylock(&n->life))
        return -EAGAIN;
    *vol = ns_vol_open_now(v, n);
    if (*vol || n->dead) {
        err = *vol ? 0 : -ESTALE;
        goto out;
    }
    if (!n->peek && !may_block) {
        err = -EAGAIN;
        goto out;
    }
    if (!n->peek) {
        struct volume_peek *p = malloc(sizeof(*p));
        path = trash_volume_path(v->store, n->id);
        err = p && path ? volume_peek(path, n->name, p) : -ENOMEM;
        free(path);
        if (err) {
            free(p);
            goto out;
        }
        n->peek = p;
    }
    *out = *n->peek;
    volume_stat_space(&out->stat, &out->props, v->store);
out:
    pthread_mutex_unlock(&n->life);
    return err;
}

/* --- removing --- */

static bool enqueue(struct vfs *v, uint64_t id, struct volume *vol)
{
    struct removal *r = calloc(1, sizeof(*r));

    if (!r) {
        log_warn("out of memory: the folder of destroyed volume %llu stays until the next start", (unsigned long long)id);
        return false;
    }
    r->id = id;
    r->vol = vol;
    pthread_mutex_lock(&v->keeper_lock);
    list_add_tail(&v->removals, &r->link);
    pthread_cond_signal(&v->keeper_cond);
    pthread_mutex_unlock(&v->keeper_lock);
    return true;
}

void keeper_remove(struct vfs *v, uint64_t id)
{
    (void)enqueue(v, id, NULL);
}

void keeper_end(struct vfs *v, uint64_t id, struct volume *vol)
{
    if (vol) {
        volume_shut(vol);
        if (volume_is_cloned(vol) && enqueue(v, id, vol))
            return;
        volume_abandon(vol);
    }
    if (!trash_put_aside(v->store, id)) /* else the next start does it */
        keeper_remove(v, id);
}

/* false: it is not the time yet. */
static bool remove_one(struct vfs *v, struct removal *r)
{
    int err = 0;

    if (r->vol) {
        if (!v->keeper_stop && volume_is_cloned(r->vol))
            return false;
        volume_abandon(r->vol);
        err = trash_put_aside(v->store, r->id);
    }
    if (!err && !v->keeper_stop)
        (void)trash_empty(v->store, r->id, &v->keeper_stop);
    free(r);
    return true;
}

/* What came since the last look goes, and what had to wait, if it has not to any more. */
static void remove_some(struct vfs *v, struct list *waiting)
{
    struct list now;

    list_init(&now);
    pthread_mutex_lock(&v->keeper_lock);
    list_splice_tail(&now, waiting);
    list_splice_tail(&now, &v->removals);
    pthread_mutex_unlock(&v->keeper_lock);
    list_for_each_safe(it, &now) {
        list_del(it);
        if (!remove_one(v, list_entry(it, struct removal, link)))
            list_add_tail(waiting, it);
    }
}

/* --- the thread --- */

static void *keeper_main(void *arg)
{
    struct vfs *v = arg;
    struct list waiting;

    pthread_setname_np(pthread_self(), "keeper");
    list_init(&waiting);
    while (!v->keeper_stop) {
        struct timespec ts;
        remove_some(v, &waiting);
        note_used(v);
        close_idle(v);
        clock_gettime(CLOCK_MONOTONIC, &ts);
        ts.tv_sec += LOOK_MS / 1000;
        pthread_mutex_lock(&v->keeper_lock);
        if (!v->keeper_stop && list_empty(&v->removals))
            pthread_cond_timedwait(&v->keeper_cond, &v->keeper_lock, &ts);
        pthread_mutex_unlock(&v->keeper_lock);
    }
    remove_some(v, &waiting);
    return NULL;
}

int keeper_start(struct vfs *v)
{
    int err = -pthread_create(&v->keeper, NULL, keeper_main, v);

    v->has_keeper = !err;
    return err;
}

void keeper_stop(struct vfs *v)
{
    pthread_mutex_lock(&v->keeper_lock);
    v->keeper_stop = true;
    pthread_cond_signal(&v->keeper_cond);
    pthread_mutex_unlock(&v->keeper_lock);
    if (v->has_keeper)
        pthread_join(v->keeper, NULL);
    v->has_keeper = false;
}
