/* SPDX-License-Identifier: Apache-2.0
 * lockwait: blocking locks that were refused, in the order in which they came (RFC 8881 sections 9.6 and 20.11).
 *
 * 1. LOCK never waits in the server: it is refused, and its client asks again. In 4.1+ we tell a client that it is
 *    its turn (CB_NOTIFY_LOCK) and keep the range for it for a moment; in 4.0 clients poll.
 * 2. A wait ends when its owner gets a lock on the file, when its client has the file no longer open, or
 *    when it was told and did not come.
 */
#include "server/state/internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"

#define WAKE_MAX 64   /* so many are looked at when a lock goes; the others wait for the next, or poll */
#define TURN_MS 2000u /* how long a range is kept for the one whose turn it is */

static bool same_owner(const struct lock_wait *w, const struct client *cl, const void *owner, size_t len)
{
    return w->client == cl && w->owner_len == len && !memcmp(w->owner, owner, len);
}

static bool overlaps(const struct lock_wait *w, uint64_t start, uint64_t end, bool write)
{
    return w->start <= end && start <= w->end && (w->write || write);
}

void wait_free_locked(struct lock_wait *w)
{
    list_del(&w->in_file);
    list_del(&w->in_client);
    list_del(&w->in_notify);
    list_del(&w->in_told);
    w->client->nwaits--;
    free(w);
}

void wait_drop_locked(struct sfile *f, const struct client *cl, const void *owner, size_t len)
{
    list_for_each_safe (it, &f->waits) {
        struct lock_wait *w = list_entry(it, struct lock_wait, in_file);

        if (same_owner(w, cl, owner, len))
            wait_free_locked(w);
    }
}

void wait_add_locked(struct state *s, const struct lock_request *r, struct client *cl, struct sfile *f,
                     const void *owner, size_t len, uint64_t end)
{
    struct lock_wait *w;

    list_for_each (it, &f->waits) { /* it asks again: it keeps its place */
        w = list_entry(it, struct lock_wait, in_file);
        if (same_owner(w, cl, owner, len) && w->start == r->offset && w->end == end &&
            w->write == r->write) {
            w->told_at = 0;
            list_del(&w->in_told);
            return;
        }
    }
    if (!r->fh || cl->nwaits >= CLIENT_WAITS_MAX || !cb_path_locked(cl))
        return;
    w = calloc(1, sizeof *w + len + 1);
    if (!w)
        return;
    w->client = cl;
    w->file = f;
    w->start = r->offset;
    w->end = end;
    w->write = r->write;
    w->owner_len = len;
    memcpy(w->owner, owner, len);
    w->fh_len = r->fh_len < sizeof w->fh ? r->fh_len : sizeof w->fh;
    memcpy(w->fh, r->fh, w->fh_len);
    list_init(&w->in_notify);
    list_init(&w->in_told);
    list_add_tail(&f->waits, &w->in_file);
    list_add_tail(&cl->waits, &w->in_client);
    cl->nwaits++;
}

const struct lock_wait *wait_ahead_locked(const struct sfile *f, const struct client *cl,
                                          const void *owner, size_t len, uint64_t start, uint64_t end,
                                          bool write)
{
    uint64_t now;

    if (list_empty(&f->waits))
        return NULL;
    now = clock_mono_ms();
    list_for_each (it, &f->waits) {
        const struct lock_wait *w = list_entry(it, struct lock_wait, in_file);

        if (same_owner(w, cl, owner, len))
            return NULL;
        if (overlaps(w, start, end, write) && w->told_at && now < w->told_at + TURN_MS)
            return w;
    }
    return NULL;
}

/* Would w be granted now? */
static bool free_for(const struct sfile *f, const struct lock_wait *w)
{
    list_for_each (it, &f->locks.ranges) {
        const struct lockrange *lr = list_entry(it, struct lockrange, node);
        const struct lock_state *ls = lr->owner;

        if (lr->start > w->end) /* they are in order */
            break;
        if (overlaps(w, lr->start, lr->end, lr->write) &&
            !same_owner(w, ls->st.client, ls->owner->bytes, ls->owner->len))
            return false;
    }
    return true;
}

void wait_wake_locked(struct state *s, struct sfile *f)
{
    unsigned looked = 0;
    uint64_t now;

    if (list_empty(&f->waits))
        return;
    now = clock_mono_ms();
    list_for_each (it, &f->waits) {
        struct lock_wait *w = list_entry(it, struct lock_wait, in_file);
        bool first = !w->told_at;

        if (++looked > WAKE_MAX)
            break;
        for (struct list *jt = f->waits.next; first && jt != &w->in_file; jt = jt->next) {
            const struct lock_wait *o = list_entry(jt, struct lock_wait, in_file);

            first = !o->told_at || !overlaps(o, w->start, w->end, w->write);
        }
        if (!first || !free_for(f, w))
            continue;
        w->told_at = now;
        list_add_tail(&s->notify, &w->in_notify);
        list_add_tail(&s->told, &w->in_told);
        cb_pump_locked(s, w->client);
    }
}

void wait_tick_locked(struct state *s)
{
    uint64_t now = clock_mono_ms();
    struct lock_wait *w;

    while ((w = list_first(&s->told, struct lock_wait, in_told)) && now >= w->told_at + TURN_MS) {
        struct sfile *f = w->file;

        wait_free_locked(w);
        wait_wake_locked(s, f);
    }
}
