/* SPDX-License-Identifier: Apache-2.0
 * openstate: opens and share reservations (RFC 7530 section 9.9, RFC 8881 section 9.7).
 *
 * One open per owner and file; its access and deny are the union of the OPENs since, `seen` remembers each,
 * because OPEN_DOWNGRADE may only go back to a union of some of them.
 */
#include "server/state/internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

/* --- files --- */

static uint64_t file_hash(const struct state *s, const struct file_key *k)
{
    return htab_hash_u64(k->ino ^ htab_hash_u64(k->volume ^ s->seed));
}

struct sfile *sfile_find_locked(struct state *s, const struct file_key *k)
{
    uint64_t h = file_hash(s, k);

    for (struct hnode *n = htab_first(&s->files, h); n; n = htab_next(n, h)) {
        struct sfile *f = container_of(n, struct sfile, node);

        if (f->key.ino == k->ino && f->key.volume == k->volume)
            return f;
    }
    return NULL;
}

static struct sfile *sfile_make_locked(struct state *s, const struct file_key *k)
{
    struct sfile *f = sfile_find_locked(s, k);

    if (f)
        return f;
    f = calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->key = *k;
    list_init(&f->opens);
    list_init(&f->delegs);
    list_init(&f->waits);
    lockset_init(&f->locks);
    htab_add(&s->files, &f->node, file_hash(s, k));
    return f;
}

void sfile_trim_locked(struct state *s, struct sfile *f)
{
    if (!list_empty(&f->opens) || !list_empty(&f->delegs))
        return;
    while (!list_empty(&f->waits))
        wait_free_locked(list_first(&f->waits, struct lock_wait, in_file));
    htab_del(&s->files, &f->node);
    lockset_release(&f->locks);
    free(f);
}

/* --- opens --- */

static void open_run(struct state *s, struct trash *t)
{
    struct open_state *os = container_of(t, struct open_state, trash);

    if (os->hold && s->conf.drop_hold)
        s->conf.drop_hold(s->conf.ctx, os->hold);
    free(os);
}

/* The client has f open no longer: its locks there wait for nothing. */
static void drop_waits_locked(struct sfile *f, const struct client *cl)
{
    if (list_empty(&f->waits))
        return;
    list_for_each (it, &f->opens)
        if (list_entry(it, struct open_state, in_file)->st.client == cl)
            return;
    list_for_each_safe (it, &f->waits) {
        struct lock_wait *w = list_entry(it, struct lock_wait, in_file);

        if (w->client == cl)
            wait_free_locked(w);
    }
}

void open_free_locked(struct state *s, struct open_state *os)
{
    while (!list_empty(&os->locks))
        lock_free_locked(s, list_first(&os->locks, struct lock_state, in_open));
    os->st.client->nopens--;
    user_add(s->users, os->user, USER_OPENS, -1);
    stid_del_locked(s, &os->st);
    list_del(&os->in_owner);
    list_del(&os->in_file);
    drop_waits_locked(os->file, os->st.client);
    sfile_trim_locked(s, os->file);
    os->trash.run = open_run;
    st_trash(s, &os->trash);
}

void owner_drop_opens_locked(struct state *s, struct state_owner *o)
{
    while (!list_empty(&o->states))
        open_free_locked(s, list_first(&o->states, struct open_state, in_owner));
}

/* An open that excludes this one, or NULL. The owner's own opens count, too (RFC 7530 section 9.9). */
static struct open_state *conflict_locked(struct sfile *f, uint32_t access, uint32_t deny)
{
    list_for_each (it, &f->opens) {
        struct open_state *os = list_entry(it, struct open_state, in_file);

        if ((os->access & deny) || (os->deny & access))
            return os;
    }
    return NULL;
}

static struct open_state *mine_locked(struct sfile *f, const struct state_owner *o)
{
    list_for_each (it, &f->opens) {
        struct open_state *os = list_entry(it, struct open_state, in_file);

        if (os->owner == o)
            return os;
    }
    return NULL;
}

static nfsstat4 grant_locked(struct state *s, struct open_request *r, struct state_owner *o)
{
    struct client *cl = o->client;
    struct sfile *f = sfile_make_locked(s, &r->file);
    struct open_state *os;
    nfsstat4 full = cl->minor ? NFS4ERR_DELAY : NFS4ERR_RESOURCE;

    if (!f)
        return full;
    os = mine_locked(f, o);
    r->old_access = os ? os->access : 0;
    r->old_deny = os ? os->deny : 0;
    r->old_seen = os ? os->seen : 0;
    if (!os) {
        if (cl->nopens >= s->conf.max_opens || s->stids.count >= STATE_STIDS_MAX) {
            client_limit_log_locked(cl, "opens");
            sfile_trim_locked(s, f);
            return cl->minor ? NFS4ERR_NOSPC : NFS4ERR_RESOURCE;
        }
        os = calloc(1, sizeof *os);
        if (!os) {
            sfile_trim_locked(s, f);
            return full;
        }
        if (!user_take(s->users, r->user, USER_OPENS, &os->user)) {
            free(os);
            sfile_trim_locked(s, f);
            return cl->minor ? NFS4ERR_NOSPC : NFS4ERR_RESOURCE;
        }
        list_init(&os->locks);
        os->owner = o;
        os->file = f;
        os->hold = r->hold;
        os->uid = r->uid;
        os->change = r->reclaim ? 0 : r->change;
        r->hold = NULL;
        stid_add_locked(s, cl, &os->st, STID_OPEN);
        list_add_tail(&o->states, &os->in_owner);
        list_add_tail(&f->opens, &os->in_file);
        cl->nopens++;
    }
    os->many_users |= os->uid != r->uid;
    os->access |= r->access;
    os->deny |= r->deny;
    os->seen |= 1u << (r->access * 4 + r->deny);
    deleg_grant_locked(s, r, os);
    if (++os->st.seqid == 0)
        os->st.seqid = 1;
    stid_fill(s, &os->st, &r->stateid);
    return NFS4_OK;
}

nfsstat4 open_grant(struct state *s, struct open_request *r, bool may_block)
{
    uint32_t deny_read = r->deny & SHARE_READ;
    struct state_owner *o;
    struct open_state *other;
    bool waited = false;
    struct sfile *f;
    struct client *cl;
    nfsstat4 status;

    r->deleg = DELEG_NONE;
    r->deleg_contended = false;
    st_lock(s);
again:
    status = client_use_locked(s, r->clientid, r->minor, &cl);
    if (status)
        goto out;
    status = r->reclaim ? grace_reclaim_locked(s, cl) : grace_normal_locked(s, cl);
    if (status)
        goto out;
    if (!cl->recorded && s->conf.db) { /* it was forgotten since client_record(): client_record.c, 1 */
        st_unlock(s);
        status = client_record(s, r->clientid, may_block);
        st_lock(s);
        if (status)
            goto out;
        goto again;
    }
    o = r->oc ? r->oc->owner : owner_find_locked(s, cl, OWNER_OPEN, r->owner, r->owner_len);
    if (r->oc && o->dead) {
        status = NFS4ERR_EXPIRED;
        goto out;
    }
    if (r->cur) {
        status = deleg_check_cur_locked(s, r, cl);
        if (status)
            goto out;
    }
    f = sfile_find_locked(s, &r->file);
    other = f ? conflict_locked(f, r->access, r->deny) : NULL;
    if (other) {
        status = r->reclaim ? NFS4ERR_RECLAIM_CONFLICT : NFS4ERR_SHARE_DENIED;
        if (other->st.client == cl || !client_expired_locked(s, other->st.client))
            goto out;
        if (client_evict_locked(s, other->st.client, may_block, &status))
            goto again;
        goto out;
    }
    if (deleg_conflict_locked(s, f, cl, (r->access & SHARE_WRITE) || deny_read || r->truncate)) {
        r->deleg_contended = true;
        status = r->reclaim ? NFS4ERR_RECLAIM_CONFLICT : may_block ? NFS4ERR_DELAY : STATE_BLOCK;
        if (!r->reclaim && may_block && !waited) {
            waited = true;
            if (deleg_wait_locked(s))
                goto again;
        }
        goto out;
    }
    if (client_make_room_locked(s, r->user, may_block, &status))
        goto again;
    if (status)
        goto out;
    if (!o) {
        o = owner_make_locked(s, cl, OWNER_OPEN, r->owner, r->owner_len, &status);
        if (!o)
            goto out;
    }
    o->used = clock_mono_ms();
    r->notify = cl->minor && cb_path_locked(cl);
    status = grant_locked(s, r, o);
    if (status && list_empty(&o->states) && !o->busy)
        owner_free_locked(s, o);
    if (!status && r->reclaim && r->oc) { /* a reclaim needs no OPEN_CONFIRM (RFC 7530 16.18.5) */
        o->confirmed = true;
        r->oc->fresh = false;
    }
out:
    st_unlock(s);
    return status;
}

/* In 4.1 nothing is left of an owner without opens. */
static void owner_trim_locked(struct state *s, struct state_owner *o)
{
    if (o->client && o->client->minor && list_empty(&o->states))
        owner_free_locked(s, o);
}

void open_undo(struct state *s, const struct open_request *r)
{
    struct state_owner *o;
    struct open_state *os;
    struct stid *st;

    st_lock(s);
    if (stid_find_locked(s, r->minor, r->clientid, &r->stateid, STID_OPEN, true, &st))
        goto out;
    os = container_of(st, struct open_state, st);
    o = os->owner;
    if (r->deleg && !stid_find_locked(s, r->minor, r->clientid, &r->deleg_stateid, STID_DELEG, true, &st))
        deleg_free_locked(s, container_of(st, struct deleg, st));
    if (r->old_access) {
        os->access = r->old_access;
        os->deny = r->old_deny;
        os->seen = r->old_seen;
    } else {
        open_free_locked(s, os);
        owner_trim_locked(s, o);
    }
out:
    st_unlock(s);
}

/* The open of a stateid, which must be of this file. */
static nfsstat4 find_locked(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                            const stateid4 *sid, struct open_state **out)
{
    struct open_state *os;
    struct stid *st;
    nfsstat4 status = stid_find_locked(s, minor, client, sid, STID_OPEN, false, &st);

    if (status)
        return status;
    os = container_of(st, struct open_state, st);
    if (os->file->key.volume != f->volume || os->file->key.ino != f->ino)
        return NFS4ERR_BAD_STATEID;
    *out = os;
    return NFS4_OK;
}

static void bump_locked(struct state *s, struct open_state *os, stateid4 *out)
{
    if (++os->st.seqid == 0)
        os->st.seqid = 1;
    stid_fill(s, &os->st, out);
}

nfsstat4 open_confirm(struct state *s, const struct file_key *f, const stateid4 *sid, stateid4 *out)
{
    struct open_state *os;
    nfsstat4 status;

    st_lock(s);
    status = find_locked(s, 0, 0, f, sid, &os);
    if (!status && os->owner->confirmed)
        status = NFS4ERR_BAD_STATEID;
    if (!status) {
        os->owner->confirmed = true;
        bump_locked(s, os, out);
    }
    st_unlock(s);
    return status;
}

nfsstat4 open_downgrade(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                        const stateid4 *sid, uint32_t access, uint32_t deny, stateid4 *out)
{
    uint32_t have_access = 0, have_deny = 0, seen = 0;
    struct open_state *os;
    nfsstat4 status;

    st_lock(s);
    status = find_locked(s, minor, client, f, sid, &os);
    if (!status && !os->owner->confirmed)
        status = NFS4ERR_BAD_STATEID;
    if (status)
        goto out;
    for (uint32_t a = 1; a < 4; a++) {
        for (uint32_t d = 0; d < 4; d++) {
            if ((os->seen >> (a * 4 + d) & 1) && !(a & ~access) && !(d & ~deny)) {
                have_access |= a;
                have_deny |= d;
                seen |= 1u << (a * 4 + d);
            }
        }
    }
    if (have_access != access || have_deny != deny) {
        status = NFS4ERR_INVAL;
        goto out;
    }
    os->access = access;
    os->deny = deny;
    os->seen = seen | 1u << (access * 4 + deny);
    bump_locked(s, os, out);
out:
    st_unlock(s);
    return status;
}

nfsstat4 open_close(struct state *s, uint32_t minor, uint64_t client, const struct file_key *f,
                    const stateid4 *sid, stateid4 *out)
{
    struct state_owner *o;
    struct open_state *os;
    nfsstat4 status;

    st_lock(s);
    status = find_locked(s, minor, client, f, sid, &os);
    if (!status && !os->owner->confirmed)
        status = NFS4ERR_BAD_STATEID;
    if (status)
        goto out;
    o = os->owner;
    bump_locked(s, os, out);
    if (minor > 0) { /* the invalid special stateid: RFC 8881 section 18.2.4 */
        memset(out, 0, sizeof *out);
        out->seqid = UINT32_MAX;
    }
    o->closed_index = os->st.index;
    o->used = clock_mono_ms();
    open_free_locked(s, os);
    owner_trim_locked(s, o);
out:
    st_unlock(s);
    return status;
}
