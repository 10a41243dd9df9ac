/* SPDX-License-Identifier: Apache-2.0
 * stateid: the names of opens and locks: other = { boot epoch, low half of the client id, index }, so that a
 * stateid of an earlier boot, of a client that is gone and an invented one can be told apart.
 */
#include "server/state/internal.h"

#include <string.h>

#include "common/siphash.h"

static uint32_t word(const stateid4 *sid, unsigned n)
{
    uint32_t v;

    memcpy(&v, (const char *)sid->other + 4 * n, 4);
    return v;
}

uint32_t stid_wire_epoch(const stateid4 *sid)
{
    return word(sid, 0);
}
uint32_t stid_wire_client(const stateid4 *sid)
{
    return word(sid, 1);
}
uint32_t stid_wire_index(const stateid4 *sid)
{
    return word(sid, 2);
}

/* RFC 8881 section 8.2.3. The current stateid (seqid 1, zeros) was replaced before. */
bool stid_special(const stateid4 *sid)
{
    bool zeros = !word(sid, 0) && !word(sid, 1) && !word(sid, 2);
    bool ones = word(sid, 0) == UINT32_MAX && word(sid, 1) == UINT32_MAX && word(sid, 2) == UINT32_MAX;

    return (zeros && sid->seqid == 0) || (ones && sid->seqid == UINT32_MAX);
}

static uint64_t key_hash(const struct state *s, uint32_t client, uint32_t index)
{
    return htab_hash_u64(((uint64_t)client << 32 | index) ^ s->seed);
}

static struct stid *find(const struct state *s, uint32_t client, uint32_t index)
{
    uint64_t h = key_hash(s, client, index);

    for (struct hnode *n = htab_first(&s->stids, h); n; n = htab_next(n, h)) {
        struct stid *st = container_of(n, struct stid, node);

        if (st->index == index && (uint32_t)st->client->id == client)
            return st;
    }
    return NULL;
}

/* In 4.0 who knows a stateid may use it (RFC 7530 section 9.1.4): it is not for others to count them up. */
static uint32_t index_of(const struct state *s, const struct client *cl, uint32_t n)
{
    uint64_t msg[2] = {cl->id, n};

    return (uint32_t)siphash24(s->secret, msg, sizeof msg);
}

int stid_add_locked(struct state *s, struct client *cl, struct stid *st, enum stid_kind kind)
{
    do
        st->index = index_of(s, cl, ++cl->next_stid);
    while (!st->index || find(s, (uint32_t)cl->id, st->index));
    st->kind = kind;
    st->client = cl;
    st->seqid = 0;
    htab_add(&s->stids, &st->node, key_hash(s, (uint32_t)cl->id, st->index));
    list_add_tail(&cl->stids, &st->in_client);
    return 0;
}

void stid_del_locked(struct state *s, struct stid *st)
{
    htab_del(&s->stids, &st->node);
    list_del(&st->in_client);
}

void stid_fill(const struct state *s, const struct stid *st, stateid4 *out)
{
    uint32_t w[3] = {s->epoch, (uint32_t)st->client->id, st->index};

    out->seqid = st->seqid;
    memcpy(out->other, w, sizeof w);
}

nfsstat4 stid_find_locked(struct state *s, uint32_t minor, uint64_t client, const stateid4 *sid,
                          unsigned kinds, bool any_seqid, struct stid **out)
{
    struct client *cl;
    struct stid *st;

    if (stid_special(sid) || (!word(sid, 0) && !word(sid, 1) && !word(sid, 2)))
        return NFS4ERR_BAD_STATEID;
    if (word(sid, 0) != s->epoch) /* 4.1 has no such status: there the session would be gone */
        return minor == 0 ? NFS4ERR_STALE_STATEID : NFS4ERR_BAD_STATEID;
    if (minor > 0 && word(sid, 1) != (uint32_t)client)
        return NFS4ERR_BAD_STATEID;
    cl = client_find_locked(s, (uint64_t)s->epoch << 32 | word(sid, 1), true);
    if (!cl || cl->going)
        return minor == 0 && word(sid, 1) && word(sid, 1) <= s->next_client ? NFS4ERR_EXPIRED
                                                                            : NFS4ERR_BAD_STATEID;
    if ((minor > 0) != (cl->minor > 0))
        return NFS4ERR_BAD_STATEID;
    st = find(s, word(sid, 1), word(sid, 2));
    if (!st || !(st->kind & kinds))
        return NFS4ERR_BAD_STATEID;
    if (st->kind == STID_DELEG && container_of(st, struct deleg, st)->revoked)
        return minor ? NFS4ERR_DELEG_REVOKED : NFS4ERR_EXPIRED;
    if (!any_seqid && !(minor > 0 && sid->seqid == 0) && sid->seqid != st->seqid)
        return (int32_t)(sid->seqid - st->seqid) > 0 ? NFS4ERR_BAD_STATEID : NFS4ERR_OLD_STATEID;
    if (minor == 0)
        client_renew_locked(cl);
    *out = st;
    return NFS4_OK;
}

nfsstat4 stateid_test(struct state *s, uint64_t client, const stateid4 *sid)
{
    struct stid *st;
    nfsstat4 status;

    st_lock(s);
    status = stid_find_locked(s, 1, client, sid, STID_OPEN | STID_LOCK | STID_DELEG, false, &st);
    st_unlock(s);
    return status;
}

nfsstat4 stateid_free(struct state *s, uint64_t client, const stateid4 *sid)
{
    struct lock_state *ls;
    struct stid *st;
    nfsstat4 status;

    st_lock(s);
    status = stid_find_locked(s, 1, client, sid, STID_OPEN | STID_LOCK | STID_DELEG, false, &st);
    if (status == NFS4ERR_DELEG_REVOKED) {
        deleg_free_locked(s, container_of(find(s, word(sid, 1), word(sid, 2)), struct deleg, st));
        status = NFS4_OK;
        goto out;
    }
    if (status)
        goto out;
    ls = st->kind == STID_LOCK ? container_of(st, struct lock_state, st) : NULL;
    if (!ls || ls->nranges)
        status = NFS4ERR_LOCKS_HELD;
    else
        lock_free_locked(s, ls);
out:
    st_unlock(s);
    return status;
}
