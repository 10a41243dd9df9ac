/* SPDX-License-Identifier: Apache-2.0
 * deleg: when delegations are granted, recalled, returned and revoked (deleg.h has the states).
 *
 * 1. A file has any number of read delegations, or one write delegation; one per client at most.
 * 2. While a read delegation is out, no other client has the file open for writing; while a write delegation
 *    is out, no other client has it open at all. open_grant() recalls before it grants.
 * 3. Write delegations are for 4.1+ only: in 4.0 most requests do not say whose they are, so that a client's own
 *    GETATTR or SETATTR would look like a conflict with its own delegation. What is opened for both gets a read
 *    delegation there: a client's own writing does not conflict.
 * 4. A client that does not ask for one gets one when it opens the same file again in the same way: for a file
 *    that is opened once, or written, read and removed, a delegation costs a request and saves none.
 * 5. A client that has the file open already gets none with a further OPEN if the file has changed since. It may have
 *    pages from before others wrote: a Linux client takes a change that it sees while it has a file open for one of
 *    its own and keeps the pages, until the next lock throws them away, but that it leaves out when it has a delegation.
 * 6. A delegation that was recalled tells that the file is shared: for CONTENDED_MS there is no new one.
 */
#include "server/state/deleg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/state/internal.h"

#define CONTENDED_MS 10000u
#define OPENED_MS    600000u
#define WAIT_MS      200 /* a request waits that long for a delegation to come back before it says DELAY */
#define GETATTR_MS   1000
#define RESEND_MS    1000u
#define HOLD_LEASES  10 /* one whose holder still writes is revoked after that many lease times */

/* --- what was seen lately --- */

static uint64_t seen_hash(const struct state *s, const struct file_key *k, uint64_t client)
{
    return htab_hash_u64(k->ino ^ htab_hash_u64(k->volume ^ htab_hash_u64(client ^ s->seed)));
}

static bool seen_check(const struct seen *table, uint64_t hash, uint64_t within_ms)
{
    const struct seen *e = &table[hash % SEEN_SLOTS];

    return e->hash == hash && e->at && clock_mono_ms() - e->at < within_ms;
}

static void seen_note(struct seen *table, uint64_t hash)
{
    table[hash % SEEN_SLOTS] = (struct seen){hash, clock_mono_ms()};
}

/* --- recall --- */

static void recall_locked(struct state *s, struct deleg *d)
{
    struct client *cl = d->st.client;

    if (d->recalled)
        return;
    d->recalled = true;
    d->recalled_at = d->sent_at = clock_mono_ms();
    seen_note(s->contended, seen_hash(s, &d->key, 0));
    list_add_tail(&s->recalled, &d->in_recalled);
    list_add_tail(&cl->to_recall, &d->in_to_recall);
    cb_pump_locked(s, cl);
}

/* How many there are. */
static unsigned recall_all(struct state *s, uint64_t volume, uint64_t mask)
{
    unsigned out = 0;

    if (!__atomic_load_n(&s->ndelegs, __ATOMIC_RELAXED))
        return 0;
    st_lock(s);
    list_for_each (it, &s->all) {
        struct client *cl = list_entry(it, struct client, in_all);

        list_for_each (l, &cl->delegs) {
            struct deleg *d = list_entry(l, struct deleg, in_holder);

            if ((d->key.volume & mask) != (volume & mask) || d->revoked)
                continue;
            recall_locked(s, d);
            out++;
        }
    }
    st_unlock(s);
    return out;
}

void deleg_recall(struct state *s, uint64_t volume, uint64_t mask)
{
    (void)recall_all(s, volume, mask);
}

bool deleg_recall_wait(struct state *s, uint64_t volume, uint64_t mask)
{
    uint64_t until = clock_mono_ms() + 2000 * (uint64_t)state_lease_seconds(s);

    while (recall_all(s, volume, mask)) {
        if (clock_mono_ms() > until)
            return false;
        usleep(5000);
    }
    return true;
}

bool deleg_conflict_locked(struct state *s, struct sfile *f, const struct client *cl, bool write)
{
    bool any = false;

    if (!f)
        return false;
    list_for_each (it, &f->delegs) {
        struct deleg *d = list_entry(it, struct deleg, in_file);

        if (d->st.client == cl || !(write || d->write))
            continue;
        recall_locked(s, d);
        any = true;
    }
    return any;
}

static bool wait_locked(struct state *s, unsigned ms)
{
    uint64_t gen = s->deleg_gen;
    struct timespec until;

    if (s->deleg_waiters >= DELEG_WAITERS_MAX)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    until.tv_sec += ms / 1000 + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    s->deleg_waiters++;
    /* What was put on the trash (the callbacks) must go out first. */
    st_unlock(s);
    st_lock(s);
    while (gen == s->deleg_gen)
        if (pthread_cond_timedwait(&s->deleg_changed, &s->lock, &until))
            break;
    s->deleg_waiters--;
    return gen != s->deleg_gen;
}

bool deleg_wait_locked(struct state *s)
{
    return wait_locked(s, WAIT_MS);
}

static void changed_locked(struct state *s)
{
    s->deleg_gen++;
    pthread_cond_broadcast(&s->deleg_changed);
}

/* --- the end of a delegation --- */

static void detach_locked(struct state *s, struct deleg *d)
{
    struct sfile *f = d->file;

    list_del(&d->in_to_recall);
    list_del(&d->in_recalled);
    if (!f)
        return;
    __atomic_sub_fetch(&s->ndelegs, 1, __ATOMIC_RELAXED);
    if (d->write)
        __atomic_sub_fetch(&s->nwrite, 1, __ATOMIC_RELAXED);
    list_del(&d->in_file);
    d->file = NULL;
    sfile_trim_locked(s, f);
    changed_locked(s);
}

void deleg_free_locked(struct state *s, struct deleg *d)
{
    struct client *cl = d->st.client;

    detach_locked(s, d);
    list_del(&d->in_holder);
    cl->ndelegs--;
    if (d->revoked)
        cl->nrevoked--;
    stid_del_locked(s, &d->st);
    free(d);
}

static void revoke_locked(struct state *s, struct deleg *d)
{
    struct client *cl = d->st.client;

    if (!cl->nrevoked)
        log_info("client %llx did not return a delegation: it is revoked", (unsigned long long)cl->id);
    d->revoked = true;
    cl->nrevoked++;
    detach_locked(s, d);
}

nfsstat4 deleg_return(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                      const stateid4 *sid)
{
    struct stid *st;
    struct deleg *d;
    nfsstat4 status;

    st_lock(s);
    status = stid_find_locked(s, minor, client, sid, STID_DELEG, false, &st);
    if (status)
        goto out;
    d = container_of(st, struct deleg, st);
    if (d->key.volume != f->volume || d->key.ino != f->ino)
        status = NFS4ERR_BAD_STATEID;
    else
        deleg_free_locked(s, d);
out:
    st_unlock(s);
    return status;
}

/* --- grant --- */

static struct deleg *of_client(const struct sfile *f, const struct client *cl)
{
    list_for_each (it, &f->delegs) {
        struct deleg *d = list_entry(it, struct deleg, in_file);

        if (d->st.client == cl)
            return d;
    }
    return NULL;
}

/* Does anything of others forbid it (2)? */
static bool shared_locked(const struct sfile *f, const struct client *cl, bool write)
{
    list_for_each (it, &f->opens) {
        const struct open_state *os = list_entry(it, struct open_state, in_file);

        if (os->st.client != cl && (write || (os->access & SHARE_WRITE)))
            return true;
    }
    list_for_each (it, &f->delegs) {
        const struct deleg *d = list_entry(it, struct deleg, in_file);

        if (write || d->write)
            return true;
    }
    return false;
}

/* Has the file changed since the client opened it before (5)? os: the open of the request r. */
static bool changed_since_locked(const struct sfile *f, const struct open_request *r, const struct open_state *os)
{
    list_for_each (it, &f->opens) {
        const struct open_state *o = list_entry(it, struct open_state, in_file);

        if (o->st.client == os->st.client && (o != os || r->old_access) && o->change != r->change)
            return true;
    }
    return false;
}

static void make_locked(struct state *s, struct open_request *r, struct client *cl, struct sfile *f,
                        bool write)
{
    struct deleg *d = calloc(1, sizeof *d);

    if (!d)
        return;
    d->file = f;
    d->key = f->key;
    d->write = write;
    d->uid = r->uid;
    d->access = r->access;
    d->change = r->change;
    d->fh_len = r->fh_len < sizeof d->fh ? r->fh_len : sizeof d->fh;
    memcpy(d->fh, r->fh, d->fh_len);
    stid_add_locked(s, cl, &d->st, STID_DELEG);
    d->st.seqid = 1;
    list_init(&d->in_recalled);
    list_init(&d->in_to_recall);
    list_add_tail(&f->delegs, &d->in_file);
    list_add_tail(&cl->delegs, &d->in_holder);
    cl->ndelegs++;
    __atomic_add_fetch(&s->ndelegs, 1, __ATOMIC_RELAXED);
    if (write)
        __atomic_add_fetch(&s->nwrite, 1, __ATOMIC_RELAXED);
    r->deleg = write ? DELEG_WRITE : DELEG_READ;
    stid_fill(s, &d->st, &r->deleg_stateid);
}

void deleg_grant_locked(struct state *s, struct open_request *r, const struct open_state *os)
{
    struct client *cl = os->st.client;
    struct sfile *f = os->file;
    bool write = r->reclaim ? r->prev_write : cl->minor && (r->access & SHARE_WRITE);
    bool want = r->want_read || r->want_write;
    uint64_t hash;

    if (!s->conf.delegations || !r->fh || r->want_none || r->cur || of_client(f, cl) ||
        (write && (!cl->minor || r->truncate)) || (!write && !(r->access & SHARE_READ)))
        return;
    if (cl->ndelegs >= CLIENT_DELEGS_MAX || s->stids.count >= STATE_STIDS_MAX / 2) {
        client_limit_log_locked(cl, "delegations");
        return;
    }
    if (r->reclaim) { /* the way back to the client may not be there yet; it had it before */
        if ((r->prev_read || r->prev_write) && !shared_locked(f, cl, write))
            make_locked(s, r, cl, f, write);
        return;
    }
    hash = seen_hash(s, &f->key, cl->id * 4 + r->access);
    if (!want && !seen_check(s->opened, hash, OPENED_MS)) {
        seen_note(s->opened, hash);
        return;
    }
    if (!os->owner->confirmed || !cb_path_locked(cl) || (want && !(write ? r->want_write : r->want_read)) ||
        changed_since_locked(f, r, os))
        return;
    if (seen_check(s->contended, seen_hash(s, &f->key, 0), CONTENDED_MS) || shared_locked(f, cl, write)) {
        r->deleg_contended = true;
        return;
    }
    make_locked(s, r, cl, f, write);
}

nfsstat4 deleg_check_cur_locked(struct state *s, const struct open_request *r, const struct client *cl)
{
    const struct deleg *d;
    struct stid *st;
    nfsstat4 status = stid_find_locked(s, r->minor, cl->id, r->cur, STID_DELEG, false, &st);

    if (status)
        return status;
    d = container_of(st, struct deleg, st);
    if (st->client != cl || d->key.volume != r->file.volume || d->key.ino != r->file.ino)
        return NFS4ERR_BAD_STATEID;
    return !d->write && (r->access & SHARE_WRITE) ? NFS4ERR_OPENMODE : NFS4_OK;
}

/* --- answers --- */

static struct deleg *find_locked(struct state *s, const struct client *cl, const stateid4 *sid)
{
    struct stid *st;

    if (stid_find_locked(s, cl->minor, cl->id, sid, STID_DELEG, true, &st))
        return NULL;
    return container_of(st, struct deleg, st);
}

void deleg_answered_locked(struct state *s, struct client *cl, const struct callback *cb,
                           const struct callback_result *r)
{
    struct deleg *d = find_locked(s, cl, &cb->stateid);
    bool ok = !r->err && !r->seq_status && !r->status;

    if (!d)
        return;
    if (cb->kind == CALLBACK_RECALL) { /* otherwise deleg_tick() sends it again */
        d->acked |= ok;
        d->sending = false;
        return;
    }
    d->asking = false;
    d->answered = ok && r->has_attrs;
    d->answers++;
    d->attrs.modified = r->change != d->change;
    d->attrs.size = r->size;
    changed_locked(s);
}

bool deleg_any_write(const struct state *s)
{
    return __atomic_load_n(&s->nwrite, __ATOMIC_RELAXED) != 0;
}

static struct deleg *writer_locked(struct state *s, const struct file_key *k, uint64_t client)
{
    struct sfile *f = sfile_find_locked(s, k);
    struct deleg *d = f ? list_first(&f->delegs, struct deleg, in_file) : NULL;

    return d && d->write && d->st.client->id != client ? d : NULL;
}

nfsstat4 deleg_getattr(struct state *s, uint64_t client, const struct file_key *f, bool may_block,
                       struct deleg_attrs *out)
{
    uint64_t until = clock_mono_ms() + GETATTR_MS;
    nfsstat4 status = NFS4_OK;
    unsigned answers;
    struct deleg *d;

    *out = (struct deleg_attrs){0};
    st_lock(s);
    d = writer_locked(s, f, client);
    if (!d)
        goto out;
    status = STATE_BLOCK;
    if (!may_block)
        goto out;
    answers = d->answers;
    while ((d = writer_locked(s, f, client))) {
        if (d->answers != answers && d->answered) {
            *out = d->attrs;
            break;
        }
        status = NFS4ERR_DELAY;
        if (d->answers != answers || clock_mono_ms() >= until) {
            recall_locked(s, d); /* it does not say */
            goto out;
        }
        if (!d->asking) {
            d->asking = cb_getattr_locked(s, d);
            if (!d->asking) {
                recall_locked(s, d);
                goto out;
            }
        }
        if (!wait_locked(s, GETATTR_MS) && s->deleg_waiters >= DELEG_WAITERS_MAX)
            goto out;
    }
    status = NFS4_OK;
out:
    st_unlock(s);
    return status;
}

/* --- time --- */

/* A recalled delegation for which something has to be done, or NULL. */
static struct deleg *due_locked(struct state *s, uint64_t now)
{
    uint64_t lease = 1000ull * s->conf.lease_seconds;

    list_for_each_safe (it, &s->recalled) {
        struct deleg *d = list_entry(it, struct deleg, in_recalled);
        struct client *cl = d->st.client;
        uint64_t last = d->touched > d->recalled_at ? d->touched : d->recalled_at;

        if (client_pinned(cl))
            continue;
        if ((client_expired_locked(s, cl) && !d->acked) || now > last + lease || now > d->recalled_at + HOLD_LEASES * lease)
            return d;
        if (!d->acked && !d->sending && now >= d->sent_at + RESEND_MS) {
            d->sent_at = now;
            if (list_empty(&d->in_to_recall))
                list_add_tail(&cl->to_recall, &d->in_to_recall);
            cb_pump_locked(s, cl);
        }
    }
    return NULL;
}

void deleg_tick(struct state *s)
{
    uint64_t now = clock_mono_ms();
    struct deleg *d;
    nfsstat4 err;

    st_lock(s);
    while ((d = due_locked(s, now))) {
        struct client *cl = d->st.client;

        if (client_expired_locked(s, cl) && !d->acked) {
            if (!client_evict_locked(s, cl, true, &err))
                break; /* the disk does not let us: later */
        } else if (cl->recorded) {
            /* It must not reclaim it after a restart. Its next OPEN records it again, and brings it the news. */
            if (!client_forget_locked(s, cl))
                break;
        } else {
            revoke_locked(s, d);
        }
    }
    st_unlock(s);
}
