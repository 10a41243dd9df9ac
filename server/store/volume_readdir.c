/* SPDX-License-Identifier: Apache-2.0
 * volume_readdir: directories in the order of their cookies.
 *
 * From memory if every name of the directory is there and it is not large: then nothing waits, neither for a disk nor
 * for the commit of what was just done. A directory that could be in memory and is not is read as a whole first, with
 * its inodes, since those who list it ask for them next. Otherwise from the index, after the commit of what memory
 * knows and the index does not. Both give the same cookies, so a walk may change from one to the other.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/store/volume_int.h"

#define CACHED_NAMES_MAX 2048u /* larger ones would keep the lock too long */
#define CACHED_AT_ONCE   512u

/* --- from memory --- */

struct snapshot {
    struct volume_dirent *ent;
    unsigned n;
    bool eof;
};

static int by_cookie(const void *a, const void *b)
{
    const struct dent *x = *(struct dent *const *)a, *y = *(struct dent *const *)b;

    return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

/* Copies the first entries after `after`. False: an inode is not in memory. */
static bool take_snapshot(struct volume *v, struct inode *dir, uint64_t after, unsigned max,
                          struct snapshot *s)
{
    struct dent **found = vol_alloc((dir->nents + 1) * sizeof(struct dent *));
    size_t n = 0;
    bool good = true;

    list_for_each(it, &dir->dents) {
        struct dent *d = list_entry(it, struct dent, link);
        if (d->ino && d->cookie > after && n < dir->nents)
            found[n++] = d;
    }
    qsort(found, n, sizeof(struct dent *), by_cookie);
    if (max > CACHED_AT_ONCE)
        max = CACHED_AT_ONCE;
    s->n = n < max ? (unsigned)n : max;
    s->eof = s->n == n;
    s->ent = vol_alloc((s->n + 1) * sizeof(*s->ent));
    for (unsigned i = 0; i < s->n && good; i++) {
        struct volume_dirent *e = &s->ent[i];
        struct inode *in = inode_find(v, found[i]->ino);
        good = in && !in->loading && !in->dead;
        if (!good)
            break;
        e->cookie = found[i]->cookie;
        e->len = found[i]->len;
        memcpy(e->name, found[i]->name, e->len);
        e->name[e->len] = '\0';
        e->attr = in->a;
    }
    free(found);
    if (!good) {
        free(s->ent);
        s->ent = NULL;
    }
    return good;
}

/* 0: s is filled, or s->ent is NULL because memory cannot tell. */
static int from_memory(struct volume *v, struct store_call *call, uint64_t dir, uint64_t after,
                       unsigned max, struct snapshot *s)
{
    bool loaded = false;
    struct inode *in;
    int r;

    for (;;) {
        r = inode_get(v, call, dir, &in);
        if (r == RETRY)
            continue;
        if (r < 0)
            return r;
        if (in->a.type != IT_DIR)
            return -ENOTDIR;
        if (in->complete) {
            if (in->nents <= CACHED_NAMES_MAX)
                (void)take_snapshot(v, in, after, max, s);
            return 0;
        }
        if (loaded || in->nocomplete)
            return 0;
        loaded = !in->dirloading;
        r = dir_load(v, call, in);
        if (r < 0)
            return r;
    }
}

/* --- from the index --- */

struct walk {
    struct volume *vol;
    bool (*fn)(void *arg, const struct volume_dirent *de);
    void *arg;
    bool stopped;
};

/* Attributes in memory are newer than the index's. */
static bool walk_one(void *arg, const struct volume_dirent *de)
{
    struct walk *w = arg;
    struct volume_dirent d = *de;
    struct inode *in;

    pthread_mutex_lock(&w->vol->lock);
    in = inode_find(w->vol, de->attr.ino);
    if (in && !in->loading && in->a.nlink)
        d.attr = in->a;
    pthread_mutex_unlock(&w->vol->lock);
    if (!w->fn(w->arg, &d))
        w->stopped = true;
    return !w->stopped;
}

/* Waits until what was done to the directory is in the index, where the walk goes. */
static int settle_dir(struct volume *v, struct store_call *call, uint64_t dir)
{
    uint64_t need = 0;
    struct inode *in;
    int r;

    do {
        r = inode_get(v, call, dir, &in);
        if (r == 0 && !need)
            need = in->name_txg;
        if (r == 0)
            r = txg_wait_locked(v, call, need);
    } while (r == RETRY);
    return r;
}

static int from_index(struct volume *v, struct store_call *call, uint64_t dir, uint64_t after, unsigned max,
                      bool (*fn)(void *arg, const struct volume_dirent *de), void *arg, bool *eof)
{
    struct walk w = {.vol = v, .fn = fn, .arg = arg};
    int r;

    if (!call->may_block)
        return -EAGAIN;
    r = settle_dir(v, call, dir);
    if (r)
        return r;
    pthread_mutex_unlock(&v->lock);
    r = index_list_dir(v->ix, dir, after, max, walk_one, &w, eof);
    pthread_mutex_lock(&v->lock);
    if (w.stopped)
        *eof = false;
    return r;
}

/* Gives the snapshot's entries away; without the lock. False: fn wants no more. */
static bool give(struct snapshot *s, uint64_t *after,
                 bool (*fn)(void *arg, const struct volume_dirent *de), void *arg)
{
    bool more = true;

    for (unsigned i = 0; i < s->n && more; i++) {
        *after = s->ent[i].cookie;
        more = fn(arg, &s->ent[i]);
    }
    free(s->ent);
    s->ent = NULL;
    return more;
}

int volume_readdir(struct volume *v, struct store_call *call, uint64_t dir, uint64_t after,
                   unsigned max, bool (*fn)(void *arg, const struct volume_dirent *de), void *arg,
                   bool *eof)
{
    struct snapshot s = {0};
    bool given = false, more = true;
    int r = vol_enter(v);

    *eof = false;
    if (r < 0)
        return r;
    while (more && !*eof && max) {
        r = from_memory(v, call, dir, after, max, &s);
        if (r < 0)
            break;
        if (!s.ent) {
            r = from_index(v, call, dir, after, max, fn, arg, eof);
            break;
        }
        max -= s.n;
        given = given || s.n;
        pthread_mutex_unlock(&v->lock);
        more = give(&s, &after, fn, arg);
        pthread_mutex_lock(&v->lock);
        *eof = more && s.eof;
    }
    vol_leave(v);
    return given ? 0 : r; /* what comes after an error is asked for again */
}
