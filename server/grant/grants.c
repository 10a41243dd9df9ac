/* SPDX-License-Identifier: Apache-2.0
 * grants: the table of grants, in memory and in state.db (see grant.h).
 *
 * `current` is replaced as a whole, under the lock; the generation says to those who do not take the lock that it was.
 * A new set is made before the database is changed when something is taken away, so that a revocation that is durable
 * is in force, too.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/htab.h"
#include "common/log.h"
#include "server/grant/held.h"

#define KEEP_EXPIRED (30 * 86400) /* seconds that expired tokens stay in the list */
#define TELL_MAX     64u          /* that end in one second, told one by one */
#define FIXED_ID     (UINT64_C(1) << 63)

struct grants {
    pthread_mutex_t lock;
    struct statedb *db;
    struct guesses *guesses;
    struct held **held; /* those of the table by id, then the fixed ones */
    unsigned count, room;
    bool dropped; /* fixed ones, and the set does not know it yet */
    struct ruleset *current;
    uint64_t generation; /* atomic; of current */
    void (*tell)(void *arg, uint64_t volume);
    void *tell_arg;
    /* grants_tick: what ended until `looked` was told; of the set of that generation the next one ends at `next`. */
    int64_t looked, next;
    uint64_t tick_generation;
};

struct guesses *grants_guesses(struct grants *g)
{
    return g->guesses;
}

/* --- the set in force --- */

/* Of all that is held but `without`. */
static int compile_locked(struct grants *g, const struct held *without, struct ruleset **out)
{
    const struct grant_rule **rules = malloc((g->count + 1) * sizeof(*rules));
    unsigned n = 0;
    int err;

    if (!rules)
        return -ENOMEM;
    for (unsigned i = 0; i < g->count; i++)
        if (g->held[i]->there && g->held[i] != without)
            rules[n++] = &g->held[i]->r;
    err = ruleset_new(g, rules, n, out);
    free(rules);
    return err;
}

static void publish_locked(struct grants *g, struct ruleset *set)
{
    struct ruleset *old = g->current;

    set->generation = g->generation + 1;
    g->current = set;
    __atomic_store_n(&g->generation, set->generation, __ATOMIC_RELEASE);
    ruleset_unref(old);
}

int grant_view_renew(struct grants *g, const struct sockaddr_storage *peer, struct grant_view **view)
{
    struct grant_view *v = *view;
    struct ruleset *set;
    uint8_t address[16];

    if (v && v->set->generation == __atomic_load_n(&g->generation, __ATOMIC_ACQUIRE) &&
        (v->until == INT64_MAX || clock_wall().tv_sec < v->until))
        return 0;
    grant_view_unref(v);
    *view = NULL;
    pthread_mutex_lock(&g->lock);
    set = ruleset_ref(g->current);
    pthread_mutex_unlock(&g->lock);
    grant_address(peer, address);
    return view_new(set, address, clock_wall().tv_sec, view);
}

/* --- what is held --- */

/* Where the one with this id is, or where it belongs. Fixed ones have the highest ids. */
static unsigned place_of(const struct grants *g, uint64_t id)
{
    unsigned low = 0, high = g->count;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;

        if (g->held[mid]->r.id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static int make_room(struct grants *g)
{
    unsigned room = g->room ? g->room * 2 : 16;
    struct held **grown;

    if (g->count < g->room)
        return 0;
    grown = realloc(g->held, room * sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    g->held = grown;
    g->room = room;
    return 0;
}

/* In place of the one with the same id, if there is one. There is room. */
static void hold_locked(struct grants *g, struct held *h)
{
    unsigned at = place_of(g, h->r.id);

    if (at < g->count && g->held[at]->r.id == h->r.id) {
        held_free(g->held[at]);
        g->held[at] = h;
        return;
    }
    memmove(g->held + at + 1, g->held + at, (g->count - at) * sizeof(*g->held));
    g->held[at] = h;
    g->count++;
}

static void unhold_locked(struct grants *g, struct held *h)
{
    unsigned at = place_of(g, h->r.id);

    memmove(g->held + at, g->held + at + 1, (g->count - at - 1) * sizeof(*g->held));
    g->count--;
    held_free(h);
}

static struct held *find_locked(const struct grants *g, uint64_t id)
{
    unsigned at = place_of(g, id);

    return at < g->count && g->held[at]->r.id == id ? g->held[at] : NULL;
}

static int load_row(void *arg, const struct grant_row *row)
{
    struct grants *g = arg;
    struct held *h;

    if (row->id >= FIXED_ID || held_check(row)) {
        log_error("state.db: grant %llu is of a kind that cannot be", (unsigned long long)row->id);
        return -EUCLEAN;
    }
    h = make_room(g) ? NULL : held_new(row, NULL);
    if (!h)
        return -ENOMEM;
    hold_locked(g, h);
    return 0;
}

int grants_new(struct statedb *db, struct grants **out)
{
    struct grants *g = calloc(1, sizeof(*g));
    struct ruleset *set;
    int err;

    if (!g)
        return -ENOMEM;
    pthread_mutex_init(&g->lock, NULL);
    g->db = db;
    err = guesses_new(&g->guesses);
    if (!err) {
        err = statedb_clean_grants(db, clock_wall().tv_sec - KEEP_EXPIRED);
        err = err < 0 ? err : 0;
    }
    if (!err)
        err = statedb_list_grants(db, load_row, g);
    if (!err)
        err = compile_locked(g, NULL, &set);
    if (err) {
        grants_free(g);
        return err;
    }
    publish_locked(g, set);
    *out = g;
    return 0;
}

void grants_free(struct grants *g)
{
    if (!g)
        return;
    for (unsigned i = 0; i < g->count; i++)
        held_free(g->held[i]);
    free(g->held);
    ruleset_unref(g->current);
    guesses_free(g->guesses);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

/* --- changing --- */

static int add_locked(struct grants *g, struct grant_row *row)
{
    struct ruleset *set;
    struct held *h;
    int err;

    if (g->count >= GRANT_MAX)
        return -E2BIG;
    err = make_room(g);
    if (!err)
        err = statedb_add_grant(g->db, row);
    if (err)
        return err;
    h = held_new(row, NULL);
    if (!h)
        goto undo;
    hold_locked(g, h);
    if (!compile_locked(g, NULL, &set)) {
        publish_locked(g, set);
        return 0;
    }
    unhold_locked(g, h);
undo:
    /* What it replaced is gone, too: less is given than before, never more. */
    (void)statedb_del_grant(g->db, row->id);
    return -ENOMEM;
}

static void tell(struct grants *g, enum grant_object object, uint64_t volume)
{
    if (g->tell)
        g->tell(g->tell_arg, object >= GRANT_VOLUME ? volume : 0);
}

int grants_add(struct grants *g, struct grant_row *row)
{
    int err = held_check(row);

    if (err)
        return err;
    pthread_mutex_lock(&g->lock);
    err = add_locked(g, row);
    pthread_mutex_unlock(&g->lock);
    if (!err || err == -ENOMEM) /* -ENOMEM: what it was to replace may be gone */
        tell(g, row->object, row->volume);
    return err;
}

int grants_add_token(struct grants *g, struct grant_row *row, char secret[GRANT_SECRET_SIZE])
{
    char text[TOKEN_TEXT_SIZE];
    int err;

    row->subject = GRANT_TOKEN;
    memset(row->net, 0, sizeof(row->net));
    row->prefix = 0;
    token_text(text);
    clock_random(row->salt, sizeof(row->salt));
    token_hash(row->salt, text, strlen(text), row->hash);
    err = grants_add(g, row);
    if (!err)
        snprintf(secret, GRANT_SECRET_SIZE, "%llu.%s", (unsigned long long)row->id, text);
    explicit_bzero(text, sizeof(text));
    return err;
}

static int del_locked(struct grants *g, struct held *h)
{
    struct ruleset *set;
    int err = compile_locked(g, h, &set);

    if (err)
        return err;
    err = statedb_del_grant(g->db, h->r.id);
    if (err && err != -ENOENT) {
        ruleset_unref(set);
        return err;
    }
    publish_locked(g, set);
    unhold_locked(g, h);
    return 0;
}

int grants_del(struct grants *g, uint64_t id)
{
    enum grant_object object = GRANT_SERVER;
    uint64_t volume = 0;
    struct held *h;
    int err = -ENOENT;

    if (id >= FIXED_ID)
        return -EPERM;
    pthread_mutex_lock(&g->lock);
    h = find_locked(g, id);
    if (h) {
        object = h->r.object;
        volume = h->r.volume;
        err = del_locked(g, h);
    }
    pthread_mutex_unlock(&g->lock);
    if (!err)
        tell(g, object, volume);
    return err;
}

void grants_tell(struct grants *g, void (*fn)(void *arg, uint64_t volume), void *arg)
{
    g->tell = fn;
    g->tell_arg = arg;
    g->looked = clock_wall().tv_sec;
}

/* The volumes of the first max grants that ended since the last look; *next: when one ends then. */
static unsigned ended_locked(const struct grants *g, int64_t now, uint64_t *volumes, unsigned max, int64_t *next)
{
    unsigned n = 0;

    *next = INT64_MAX;
    for (unsigned i = 0; i < g->count; i++) {
        const struct grant_rule *r = &g->held[i]->r;

        if (!r->expires || r->expires <= g->looked)
            continue;
        if (r->expires > now)
            *next = r->expires < *next ? r->expires : *next;
        else if (n++ < max)
            volumes[n - 1] = r->object >= GRANT_VOLUME ? r->volume : 0;
    }
    return n;
}

void grants_tick(struct grants *g)
{
    uint64_t volumes[TELL_MAX];
    int64_t now = clock_wall().tv_sec;
    unsigned n = 0;

    pthread_mutex_lock(&g->lock);
    if (now < g->looked) { /* the clock was set back: what had ended holds again, also for views, and ends once more */
        struct ruleset *set;
        if (compile_locked(g, NULL, &set) == 0) {
            publish_locked(g, set);
            g->looked = now;
        }
    }
    if (now >= g->next || g->tick_generation != g->generation) {
        g->tick_generation = g->generation;
        n = ended_locked(g, now, volumes, TELL_MAX, &g->next);
    }
    g->looked = now > g->looked ? now : g->looked;
    pthread_mutex_unlock(&g->lock);
    if (n > TELL_MAX) {
        volumes[0] = 0; /* all of them */
        n = 1;
    }
    for (unsigned i = 0; g->tell && i < n; i++)
        g->tell(g->tell_arg, volumes[i]);
}

void grants_object_gone(struct grants *g, uint64_t user, uint64_t volume)
{
    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; i < g->count;) {
        struct held *h = g->held[i];
        bool on_it = volume ? h->r.object >= GRANT_VOLUME && h->r.volume == volume
                            : h->r.object == GRANT_USER && h->r.user == user;

        /* Left over by an error it does no harm: ids of volumes and users are not used again. */
        if (!on_it || h->object || del_locked(g, h))
            i++;
    }
    pthread_mutex_unlock(&g->lock);
}

/* --- fixed ones --- */

int grants_add_fixed(struct grants *g, const struct grant_row *row, const char *object)
{
    struct grant_row copy = *row;
    struct held *h;
    int err = 0;

    /* Their handles have to name them after a restart, too. */
    copy.id = FIXED_ID | htab_hash_bytes(object, strlen(object), htab_hash_bytes(row->net, 16, row->prefix));
    pthread_mutex_lock(&g->lock);
    h = g->count >= GRANT_MAX || make_room(g) ? NULL : held_new(&copy, object);
    if (h) {
        h->there = false;
        hold_locked(g, h);
    } else {
        err = -ENOMEM;
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}

void grants_drop_fixed(struct grants *g)
{
    pthread_mutex_lock(&g->lock);
    while (g->count && g->held[g->count - 1]->object) {
        held_free(g->held[--g->count]);
        g->dropped = true;
    }
    pthread_mutex_unlock(&g->lock);
}

static void resolve_one(struct held *h, grants_resolver fn, void *arg)
{
    struct grant_row row;
    char *path;

    held_row(h, &row);
    row.user = row.volume = row.snapshot = 0;
    row.path[0] = 0;
    h->there = fn(arg, h->object, &row) == 0;
    if (row.object == GRANT_SNAPSHOT)
        row.rights = 0;
    path = strdup(row.path);
    if (!path || held_check(&row))
        h->there = false;
    if (h->there) {
        free((char *)h->r.path);
        h->r.path = path;
        path = NULL;
        h->r.object = row.object;
        h->r.user = row.user;
        h->r.volume = row.volume;
        h->r.snapshot = row.snapshot;
        if (row.object == GRANT_SNAPSHOT)
            h->r.level = GRANT_READ;
    }
    free(path);
}

int grants_resolve(struct grants *g, grants_resolver fn, void *arg)
{
    struct ruleset *set;
    bool any;
    int err = 0;

    pthread_mutex_lock(&g->lock);
    any = g->dropped;
    for (unsigned i = g->count; i && g->held[i - 1]->object; i--) {
        resolve_one(g->held[i - 1], fn, arg);
        any = true;
    }
    if (any) {
        err = compile_locked(g, NULL, &set);
        if (!err) {
            publish_locked(g, set);
            g->dropped = false;
        }
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}

/* --- looking --- */

int grants_list(struct grants *g, int (*fn)(void *arg, const struct grant_row *row, const char *object), void *arg)
{
    struct grant_row row;
    int err = 0;

    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; !err && i < g->count; i++) {
        held_row(g->held[i], &row);
        err = fn(arg, &row, g->held[i]->object);
    }
    pthread_mutex_unlock(&g->lock);
    return err;
}

bool grants_only_local(struct grants *g)
{
    static const struct grant_rule loop4 = {.net = {[10] = 0xff, 0xff, 127}, .prefix = 104};
    static const uint8_t loop6[16] = {[15] = 1};
    bool only = true;

    pthread_mutex_lock(&g->lock);
    for (unsigned i = 0; only && i < g->count; i++) {
        const struct grant_rule *r = &g->held[i]->r;

        if (r->subject == GRANT_NETWORK)
            only = (r->prefix >= 104 && rule_fits(&loop4, r->net)) || (r->prefix == 128 && !memcmp(r->net, loop6, 16));
        else
            only = rule_over(r);
    }
    pthread_mutex_unlock(&g->lock);
    return only;
}
