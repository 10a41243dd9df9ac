/* SPDX-License-Identifier: Apache-2.0
 * offload: the table of copies that go on by themselves, and the thread that copies.
 */
#include "server/nfs4/offload.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/list.h"
#include "server/nfs4/compound.h"
#include "server/nfs4/fh.h"
#include "server/state/callback.h"

#define PIECE       (1u << 20) /* copied of one copy before the next has its turn */
#define STEP        (256u << 10)
#define RETRY_MS    100u       /* after NFS4ERR_DELAY */
#define TELL_MS     1000u      /* between attempts to tell the client */
#define GIVE_UP_MS  600000u

struct copy {
    struct list node; /* of offloads.copies, in the order of their turns */
    struct nfs4_server *srv;
    stateid4 id;
    uint64_t client;
    uint32_t minor;
    struct vobj src, dst;
    struct vcred cred;
    stateid4 src_stateid, dst_stateid;
    uint64_t soff, doff, count;
    verifier4 verf;
    char fh[FH_SIZE_MAX];
    uint32_t fh_len;
    struct sockaddr_storage peer;
    uint64_t grant;          /* that the handles name */
    struct grant_view *view; /* the thread's */
    struct who { /* how the grant maps users */
        enum grant_squash squash;
        bool has_anon;
        uint32_t uid, gid;
    } who;
    /* Under the lock. */
    uint64_t done;
    bool busy;      /* the thread is at it */
    bool cancelled; /* goes when it is no longer busy */
    bool complete;
    nfsstat4 status;
    uint64_t next_ms;  /* not before */
    uint64_t since_ms; /* complete since */
    uint32_t groups[];
};

struct offloads {
    pthread_mutex_t lock;
    pthread_cond_t work, idle;
    pthread_t thread;
    bool stop;
    struct list copies;
    unsigned n;
    uint64_t last;
};

/* Made when the first copy comes. */
static struct offloads *get(struct nfs4_server *srv)
{
    return __atomic_load_n(&srv->offloads, __ATOMIC_ACQUIRE);
}

static void copy_free(struct copy *k)
{
    vobj_release(&k->src);
    vobj_release(&k->dst);
    grant_view_unref(k->view);
    free(k);
}

static void remove_locked(struct offloads *o, struct copy *k)
{
    list_del(&k->node);
    o->n--;
}

/* --- copying --- */

static nfsstat4 check(struct copy *k, const struct vobj *obj, stateid4 *sid, enum state_access want, bool *by_open)
{
    struct file_key key = compound_key(obj);
    struct state_io io = {0};
    nfsstat4 st = state_check_io(k->srv->state, k->minor, k->client, &key, sid, want, &io);

    *by_open = state_io_by_open(&io, k->cred.uid);
    return st;
}

static enum grant_level level_of(const struct copy *k, const struct vobj *o, const struct grant_rule **rule)
{
    uint64_t id = volume_id(o->vol);

    return grant_eval(k->view, k->grant, vobj_user(o), snap_base_id(id), snap_id(id), rule);
}

static struct who who_of(const struct grant_rule *r)
{
    return r ? (struct who){r->squash, r->has_anon, r->anon_uid, r->anon_gid} : (struct who){0};
}

static bool same_who(const struct grant_rule *r, const struct who *b)
{
    struct who a = who_of(r);

    return a.squash == b->squash && a.has_anon == b->has_anon && (!a.has_anon || (a.uid == b->uid && a.gid == b->gid));
}

/* Whether the grants that let the copy begin are still there, and make the same user of whoever asked for it. Where in their
 * volumes the files are was seen then. */
static nfsstat4 check_grant(struct copy *k)
{
    const struct grant_rule *src, *dst;
    enum grant_level to;

    if (!k->srv->grants)
        return NFS4_OK;
    if (grant_view_renew(k->srv->grants, &k->peer, &k->view))
        return NFS4ERR_DELAY;
    to = level_of(k, &k->dst, &dst);
    if (level_of(k, &k->src, &src) < GRANT_READ || to < GRANT_READ || !same_who(src, &k->who) || !same_who(dst, &k->who))
        return NFS4ERR_ACCESS;
    return to < GRANT_WRITE ? NFS4ERR_ROFS : NFS4_OK;
}

/* Up to n bytes from `at` on. Their number, or -errno. */
static int64_t copy_step(struct copy *k, uint64_t at, size_t n, bool src_open, bool dst_open, char *buf)
{
    struct store_call call;
    struct volume_read r;
    size_t got = 0;
    int err;

    store_call_init(&call, true);
    err = vfs_read(k->srv->vfs, &call, &k->src, &k->cred, src_open, k->soff + at, n, &r);
    if (!err) {
        for (int i = 0; i < r.niov; i++) {
            memcpy(buf + got, r.iov[i].iov_base, r.iov[i].iov_len);
            got += r.iov[i].iov_len;
        }
        volume_read_release(&r);
        if (got)
            err = vfs_write(k->srv->vfs, &call, &k->dst, &k->cred, dst_open, k->doff + at, buf, got, false, NULL,
                            NULL);
    }
    store_call_release(&call);
    return err ? err : (int64_t)got;
}

/* A piece of k from `*done` on. NFS4_OK: go on; else it is over, with *end for a good end. */
static nfsstat4 copy_piece(struct copy *k, uint64_t *done, bool *end)
{
    bool src_open, dst_open;
    nfsstat4 st = check_grant(k);
    uint64_t stop = *done + PIECE < k->count ? *done + PIECE : k->count;
    char *buf = NULL;

    if (st == NFS4_OK)
        st = check(k, &k->src, &k->src_stateid, STATE_READ, &src_open);
    if (st == NFS4_OK)
        st = check(k, &k->dst, &k->dst_stateid, STATE_WRITE, &dst_open);
    if (st == NFS4_OK && !(buf = malloc(STEP)))
        st = NFS4ERR_DELAY;
    while (st == NFS4_OK && *done < stop) {
        int64_t n = copy_step(k, *done, stop - *done < STEP ? stop - *done : STEP, src_open, dst_open, buf);

        if (n < 0)
            st = nfs4_status((int)n);
        else if (!n)
            break; /* the source became shorter */
        else
            *done += (uint64_t)n;
    }
    free(buf);
    *end = st == NFS4_OK && (*done == k->count || *done < stop);
    return st;
}

/* --- telling --- */

static void told(void *arg, uint64_t id, bool answered)
{
    struct offloads *o = arg;
    struct copy *gone = NULL;

    pthread_mutex_lock(&o->lock);
    list_for_each (it, &o->copies) {
        struct copy *k = list_entry(it, struct copy, node);
        uint64_t mine;

        memcpy(&mine, k->id.other, sizeof(mine));
        if (mine != id)
            continue;
        k->next_ms = clock_mono_ms() + TELL_MS;
        pthread_cond_signal(&o->work);
        if (answered && !k->busy) {
            gone = k;
            remove_locked(o, k);
        } else if (answered) {
            k->cancelled = true;
        }
        break;
    }
    pthread_mutex_unlock(&o->lock);
    if (gone)
        copy_free(gone);
}

static int tell(struct offloads *o, struct copy *k)
{
    struct callback_offload c = {.client = k->client, .id = k->id, .fh = k->fh, .fh_len = k->fh_len,
                                 .status = k->status, .count = k->done, .told = told, .arg = o};

    memcpy(c.verf, k->verf, sizeof(c.verf));
    memcpy(&c.key, k->id.other, sizeof(c.key));
    return callback_offload(k->srv->state, &c);
}

/* --- the thread --- */

/* The copy whose turn it is, or NULL and when to look again. */
static struct copy *next_locked(struct offloads *o, uint64_t *wake)
{
    uint64_t now = clock_mono_ms();

    *wake = UINT64_MAX;
    list_for_each (it, &o->copies) {
        struct copy *k = list_entry(it, struct copy, node);

        if (k->next_ms <= now)
            return k;
        if (k->next_ms < *wake)
            *wake = k->next_ms;
    }
    return NULL;
}

static void wait_locked(struct offloads *o, uint64_t wake)
{
    uint64_t now = clock_mono_ms();
    struct timespec t;

    if (wake == UINT64_MAX) {
        pthread_cond_wait(&o->work, &o->lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &t);
    wake = wake > now ? wake - now : 0;
    t.tv_sec += (time_t)(wake / 1000);
    t.tv_nsec += (long)(wake % 1000) * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    pthread_cond_timedwait(&o->work, &o->lock, &t);
}

/* Does what is due for k; lets go of the lock meanwhile. False: k is to be forgotten. */
static bool run_locked(struct offloads *o, struct copy *k)
{
    uint64_t done = k->done, now;
    bool end = false;
    nfsstat4 st;
    int err;

    if (k->complete) {
        if (clock_mono_ms() - k->since_ms > GIVE_UP_MS)
            return false;
        k->next_ms = UINT64_MAX; /* told() sets it anew, maybe at once */
        pthread_mutex_unlock(&o->lock);
        err = tell(o, k);
        pthread_mutex_lock(&o->lock);
        if (err == -EAGAIN)
            k->next_ms = clock_mono_ms() + TELL_MS;
        return err != -ENOENT;
    }
    pthread_mutex_unlock(&o->lock);
    st = copy_piece(k, &done, &end);
    pthread_mutex_lock(&o->lock);
    now = clock_mono_ms();
    k->done = done;
    if (st == NFS4ERR_DELAY || st == NFS4ERR_GRACE) {
        k->next_ms = now + RETRY_MS;
    } else if (st != NFS4_OK || end) {
        k->complete = true;
        k->status = st;
        k->since_ms = now;
    }
    return true;
}

static void *offload_main(void *arg)
{
    struct offloads *o = arg;

    pthread_setname_np(pthread_self(), "copy");
    pthread_mutex_lock(&o->lock);
    while (!o->stop) {
        uint64_t wake;
        struct copy *k = next_locked(o, &wake);

        if (!k) {
            wait_locked(o, wake);
            continue;
        }
        k->busy = true;
        list_del(&k->node);
        list_add_tail(&o->copies, &k->node);
        if (!run_locked(o, k))
            k->cancelled = true;
        k->busy = false;
        pthread_cond_broadcast(&o->idle);
        if (!k->cancelled)
            continue;
        remove_locked(o, k);
        pthread_mutex_unlock(&o->lock);
        copy_free(k);
        pthread_mutex_lock(&o->lock);
    }
    pthread_mutex_unlock(&o->lock);
    return NULL;
}

static struct offloads *make(struct nfs4_server *srv)
{
    static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
    pthread_condattr_t attr;
    struct offloads *o;

    pthread_mutex_lock(&making);
    o = get(srv);
    if (o || !(o = calloc(1, sizeof(*o))))
        goto out;
    list_init(&o->copies);
    o->last = clock_random64();
    pthread_mutex_init(&o->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&o->work, &attr);
    pthread_cond_init(&o->idle, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&o->thread, NULL, offload_main, o)) {
        free(o);
        o = NULL;
        goto out;
    }
    __atomic_store_n(&srv->offloads, o, __ATOMIC_RELEASE);
out:
    pthread_mutex_unlock(&making);
    return o;
}

void offloads_free(struct offloads *o)
{
    if (!o)
        return;
    pthread_mutex_lock(&o->lock);
    o->stop = true;
    pthread_cond_signal(&o->work);
    pthread_mutex_unlock(&o->lock);
    pthread_join(o->thread, NULL);
    list_for_each_safe (it, &o->copies)
        copy_free(list_entry(it, struct copy, node));
    pthread_cond_destroy(&o->work);
    pthread_cond_destroy(&o->idle);
    pthread_mutex_destroy(&o->lock);
    free(o);
}

/* --- for the operations --- */

static struct copy *copy_new(struct nfs4_server *srv, const struct offload_request *r)
{
    struct copy *k = calloc(1, sizeof(*k) + r->cred->ngroups * sizeof(uint32_t));

    if (!k)
        return NULL;
    k->srv = srv;
    k->client = r->client;
    k->minor = r->minor;
    vobj_copy(&k->src, r->src);
    vobj_copy(&k->dst, r->dst);
    k->cred = *r->cred;
    k->cred.view = NULL; /* it goes with the request; both objects are in volumes */
    if (r->cred->ngroups)
        memcpy(k->groups, r->cred->groups, r->cred->ngroups * sizeof(uint32_t));
    k->cred.groups = k->groups;
    k->who = who_of(r->rule);
    k->peer = *r->peer;
    k->grant = r->fh->grant;
    k->src_stateid = r->src_stateid;
    k->dst_stateid = r->dst_stateid;
    k->soff = r->soff;
    k->doff = r->doff;
    k->count = r->count;
    memcpy(k->verf, r->verf, sizeof(k->verf));
    k->fh_len = fh_encode(srv->handle_key, r->fh, k->fh);
    return k;
}

bool offload_start(struct nfs4_server *srv, const struct offload_request *r, stateid4 *id)
{
    struct offloads *o = make(srv);
    struct copy *k = o ? copy_new(srv, r) : NULL;
    unsigned mine = 0;
    bool full;

    if (!k)
        return false;
    pthread_mutex_lock(&o->lock);
    list_for_each (it, &o->copies)
        mine += list_entry(it, struct copy, node)->client == r->client;
    full = o->stop || o->n >= OFFLOADS_MAX || mine >= OFFLOADS_CLIENT;
    if (!full) {
        o->last++;
        k->id.seqid = 1;
        memcpy(k->id.other, &o->last, sizeof(o->last));
        memcpy((char *)k->id.other + sizeof(o->last), "copy", 4);
        *id = k->id;
        list_add_tail(&o->copies, &k->node);
        o->n++;
        pthread_cond_signal(&o->work);
    }
    pthread_mutex_unlock(&o->lock);
    if (full)
        copy_free(k);
    return !full;
}

static struct copy *find_locked(struct offloads *o, uint64_t client, const stateid4 *id)
{
    list_for_each (it, &o->copies) {
        struct copy *k = list_entry(it, struct copy, node);

        if (k->client == client && !k->cancelled && !memcmp(k->id.other, id->other, sizeof(id->other)))
            return k;
    }
    return NULL;
}

nfsstat4 offload_status(struct nfs4_server *srv, uint64_t client, const stateid4 *id, uint64_t *done, bool *complete,
                        nfsstat4 *status)
{
    struct offloads *o = get(srv);
    struct copy *k;

    if (!o)
        return NFS4ERR_BAD_STATEID;
    pthread_mutex_lock(&o->lock);
    k = find_locked(o, client, id);
    if (k) {
        *done = k->done;
        *complete = k->complete;
        *status = k->status;
    }
    pthread_mutex_unlock(&o->lock);
    return k ? NFS4_OK : NFS4ERR_BAD_STATEID;
}

nfsstat4 offload_cancel(struct nfs4_server *srv, uint64_t client, const stateid4 *id)
{
    struct offloads *o = get(srv);
    struct copy *k, *gone = NULL;
    bool found = false;

    if (!o)
        return NFS4ERR_BAD_STATEID;
    pthread_mutex_lock(&o->lock);
    while ((k = find_locked(o, client, id))) {
        found = true;
        if (!k->busy) {
            remove_locked(o, k);
            gone = k;
            break;
        }
        pthread_cond_wait(&o->idle, &o->lock);
    }
    pthread_mutex_unlock(&o->lock);
    if (gone)
        copy_free(gone);
    return found ? NFS4_OK : NFS4ERR_BAD_STATEID;
}
