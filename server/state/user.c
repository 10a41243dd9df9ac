/* SPDX-License-Identifier: Apache-2.0
 * user: what is in use of the volumes of each user (see user.h).
 */
#include "server/state/user.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/htab.h"
#include "common/list.h"
#include "common/log.h"

/* Of opens and ranges half of what all users together may have (STATE_STIDS_MAX, STATE_RANGES_MAX). Connections and bytes
 * are bounded in all, and there may be one user only. */
static const uint64_t defaults[USER_KINDS] = {16384, 524288, 524288, USER_NO_LIMIT, USER_NO_LIMIT};
static const char *const names[USER_KINDS] = {"requests", "opens", "locks", "connections", "buffers"};

struct user {
    struct hnode node;
    uint64_t id;
    uint64_t used[USER_KINDS]; /* that of bytes is atomic */
    uint64_t refused, refused_at;
};

struct users {
    pthread_mutex_t lock;
    struct htab table;
    uint64_t max[USER_KINDS];
};

int users_new(struct users **out)
{
    struct users *us = calloc(1, sizeof *us);

    if (!us || htab_init(&us->table, 16)) {
        free(us);
        return -ENOMEM;
    }
    pthread_mutex_init(&us->lock, NULL);
    memcpy(us->max, defaults, sizeof us->max);
    *out = us;
    return 0;
}

static bool idle(const struct user *u)
{
    return !u->used[USER_REQUESTS] && !u->used[USER_OPENS] && !u->used[USER_LOCKS] && !u->used[USER_CONNS] &&
           (!u->refused || clock_mono_ms() >= u->refused_at + USER_BURST_MS);
}

static void drop(struct users *us, struct user *u)
{
    htab_del(&us->table, &u->node);
    free(u);
}

void users_free(struct users *us)
{
    struct hnode *n;

    if (!us)
        return;
    while ((n = htab_iter(&us->table, NULL)))
        drop(us, container_of(n, struct user, node));
    htab_release(&us->table);
    pthread_mutex_destroy(&us->lock);
    free(us);
}

void users_set_limits(struct users *us, const uint64_t max[USER_KINDS])
{
    pthread_mutex_lock(&us->lock);
    for (unsigned k = 0; k < USER_KINDS; k++)
        us->max[k] = max[k] ? max[k] : defaults[k];
    pthread_mutex_unlock(&us->lock);
}

static struct user *find(struct users *us, uint64_t id, uint64_t hash)
{
    for (struct hnode *n = htab_first(&us->table, hash); n; n = htab_next(n, hash)) {
        struct user *u = container_of(n, struct user, node);

        if (u->id == id)
            return u;
    }
    return NULL;
}

static bool room(struct users *us, struct user *u, enum user_kind kind, uint64_t n)
{
    uint64_t now;

    if (n <= us->max[kind] && __atomic_load_n(&u->used[kind], __ATOMIC_RELAXED) <= us->max[kind] - n)
        return true;
    now = clock_mono_ms();
    if (!u->refused || now >= u->refused_at + USER_BURST_MS)
        log_warn("the volumes of user %llu have reached max-user-%s, %llu: what is more is refused",
                 (unsigned long long)u->id, names[kind], (unsigned long long)us->max[kind]);
    u->refused++;
    u->refused_at = now;
    return false;
}

static struct user *get(struct users *us, uint64_t id)
{
    uint64_t hash = htab_hash_u64(id);
    struct user *u = find(us, id, hash);

    if (!u && (u = calloc(1, sizeof *u))) {
        u->id = id;
        htab_add(&us->table, &u->node, hash);
    }
    return u;
}

bool user_take(struct users *us, uint64_t id, enum user_kind kind, struct user **out)
{
    struct user *u;
    bool ok;

    *out = NULL;
    if (!id)
        return true;
    pthread_mutex_lock(&us->lock);
    u = get(us, id);
    ok = u && room(us, u, kind, 1);
    if (ok) {
        u->used[kind]++;
        *out = u;
    }
    pthread_mutex_unlock(&us->lock);
    return ok;
}

bool user_request(struct users *us, uint64_t id, size_t bytes, struct user **out)
{
    struct user *u;
    bool ok;

    *out = NULL;
    if (!id)
        return true;
    pthread_mutex_lock(&us->lock);
    u = get(us, id);
    ok = u && room(us, u, USER_REQUESTS, 1) && room(us, u, USER_BYTES, bytes);
    if (ok) {
        u->used[USER_REQUESTS]++;
        user_request_more(u, bytes);
        *out = u;
    }
    pthread_mutex_unlock(&us->lock);
    return ok;
}

void user_request_more(struct user *u, size_t bytes)
{
    if (u)
        __atomic_add_fetch(&u->used[USER_BYTES], bytes, __ATOMIC_RELAXED);
}

void user_request_end(struct users *us, struct user *u, size_t bytes)
{
    if (!u)
        return;
    __atomic_sub_fetch(&u->used[USER_BYTES], bytes, __ATOMIC_RELAXED);
    user_add(us, u, USER_REQUESTS, -1);
}

bool user_fits(struct users *us, uint64_t id)
{
    const struct user *u;
    bool fits;

    if (!id)
        return true;
    pthread_mutex_lock(&us->lock);
    u = find(us, id, htab_hash_u64(id));
    fits = !u || (u->used[USER_OPENS] < us->max[USER_OPENS] && u->used[USER_LOCKS] + 2 <= us->max[USER_LOCKS]);
    pthread_mutex_unlock(&us->lock);
    return fits;
}

uint64_t user_id(const struct user *u)
{
    return u ? u->id : 0;
}

bool user_room(struct users *us, struct user *u, enum user_kind kind, unsigned n)
{
    bool ok;

    if (!u)
        return true;
    pthread_mutex_lock(&us->lock);
    ok = room(us, u, kind, n);
    pthread_mutex_unlock(&us->lock);
    return ok;
}

void user_add(struct users *us, struct user *u, enum user_kind kind, int n)
{
    if (!u)
        return;
    pthread_mutex_lock(&us->lock);
    u->used[kind] += (uint64_t)(int64_t)n;
    if (idle(u))
        drop(us, u);
    pthread_mutex_unlock(&us->lock);
}

void users_tick(struct users *us)
{
    struct hnode *n, *next;

    pthread_mutex_lock(&us->lock);
    for (n = htab_iter(&us->table, NULL); n; n = next) {
        struct user *u = container_of(n, struct user, node);

        next = htab_iter(&us->table, n);
        if (idle(u))
            drop(us, u);
    }
    pthread_mutex_unlock(&us->lock);
}

size_t users_report(struct users *us, struct user_report *out, size_t max, uint64_t limits[USER_KINDS])
{
    size_t n = 0;

    pthread_mutex_lock(&us->lock);
    for (struct hnode *h = htab_iter(&us->table, NULL); h; h = htab_iter(&us->table, h), n++) {
        const struct user *u = container_of(h, struct user, node);

        if (n >= max)
            continue;
        out[n] = (struct user_report){.id = u->id, .refused = u->refused};
        for (unsigned k = 0; k < USER_KINDS; k++)
            out[n].used[k] = __atomic_load_n(&u->used[k], __ATOMIC_RELAXED);
    }
    if (limits)
        memcpy(limits, us->max, sizeof us->max);
    pthread_mutex_unlock(&us->lock);
    return n;
}
