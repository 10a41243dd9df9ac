/* SPDX-License-Identifier: Apache-2.0
 * rules: compiling grants and evaluating them (see grant.h).
 */
#include "server/grant/rules.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/htab.h"

/* --- the set --- */

static uint64_t slots_for(uint64_t n)
{
    uint64_t size = 8;

    while (size < n * 2)
        size *= 2;
    return size;
}

int ruleset_new(struct grants *g, const struct grant_rule *const *rules, unsigned count, struct ruleset **out)
{
    struct ruleset *s = calloc(1, sizeof(*s));
    uint64_t slots = slots_for(count);
    size_t text = 1, at = 1;

    if (!s)
        return -ENOMEM;
    for (unsigned i = 0; i < count; i++)
        text += *rules[i]->path ? strlen(rules[i]->path) + 1 : 0;
    s->refs = 1;
    s->grants = g;
    s->count = count;
    s->mask = slots - 1;
    s->rules = malloc((count ? count : 1) * sizeof(*s->rules));
    s->by_id = calloc(slots, sizeof(*s->by_id));
    s->texts = malloc(text);
    if (!s->rules || !s->by_id || !s->texts) {
        ruleset_unref(s);
        return -ENOMEM;
    }
    s->texts[0] = 0;
    for (unsigned i = 0; i < count; i++) {
        struct grant_rule *r = &s->rules[i];
        uint64_t slot = htab_hash_u64(rules[i]->id) & s->mask;

        *r = *rules[i];
        r->path = s->texts;
        if (*rules[i]->path) {
            r->path = strcpy(s->texts + at, rules[i]->path);
            at += strlen(r->path) + 1;
        }
        while (s->by_id[slot])
            slot = (slot + 1) & s->mask;
        s->by_id[slot] = i + 1;
    }
    *out = s;
    return 0;
}

struct ruleset *ruleset_ref(struct ruleset *s)
{
    __atomic_add_fetch(&s->refs, 1, __ATOMIC_RELAXED);
    return s;
}

void ruleset_unref(struct ruleset *s)
{
    if (!s || __atomic_sub_fetch(&s->refs, 1, __ATOMIC_ACQ_REL))
        return;
    free(s->rules);
    free(s->by_id);
    free(s->texts);
    free(s);
}

const struct grant_rule *ruleset_find(const struct ruleset *s, uint64_t id)
{
    uint64_t slot = htab_hash_u64(id) & s->mask;

    for (; s->by_id[slot]; slot = (slot + 1) & s->mask) {
        const struct grant_rule *r = &s->rules[s->by_id[slot] - 1];

        if (r->id == id)
            return r;
    }
    return NULL;
}

/* --- one rule --- */

bool rule_fits(const struct grant_rule *r, const uint8_t address[16])
{
    unsigned bytes = r->prefix / 8, bits = r->prefix % 8;

    if (memcmp(r->net, address, bytes) != 0)
        return false;
    return !bits || (r->net[bytes] ^ address[bytes]) >> (8 - bits) == 0;
}

bool rule_over(const struct grant_rule *r)
{
    return r->expires && clock_wall().tv_sec >= r->expires;
}

void grant_address(const struct sockaddr_storage *ss, uint8_t out[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

    memset(out, 0, 16);
    if (ss->ss_family == AF_INET) {
        memcpy(out, mapped, sizeof(mapped));
        memcpy(out + 12, &((const struct sockaddr_in *)ss)->sin_addr, 4);
    } else if (ss->ss_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)ss)->sin6_addr, 16);
    } else {
        out[15] = 1;
    }
}

/* --- views --- */

static uint64_t key_hash(enum view_key key, uint64_t a, uint64_t b)
{
    return htab_hash_u64(a ^ htab_hash_u64(b + (uint64_t)key));
}

static struct view_entry *view_slot(const struct grant_view *v, enum view_key key, uint64_t a, uint64_t b)
{
    uint64_t slot = key_hash(key, a, b) & v->mask;
    struct view_entry *e = &v->entries[slot];

    while (e->key && (e->key != key || e->a != a || e->b != b)) {
        slot = (slot + 1) & v->mask;
        e = &v->entries[slot];
    }
    return e;
}

static const struct grant_rule *view_find(const struct grant_view *v, enum view_key key, uint64_t a, uint64_t b)
{
    return v->entries ? view_slot(v, key, a, b)->rule : NULL;
}

/* The longer network wins; the first of equals. */
static void view_put(struct grant_view *v, enum view_key key, uint64_t a, uint64_t b, const struct grant_rule *r)
{
    struct view_entry *e = view_slot(v, key, a, b);

    if (e->key && e->rule->prefix >= r->prefix)
        return;
    *e = (struct view_entry){key, a, b, r};
}

static int by_volume(const void *x, const void *y)
{
    const struct grant_rule *a = *(const struct grant_rule *const *)x, *b = *(const struct grant_rule *const *)y;

    if (a->volume != b->volume)
        return a->volume < b->volume ? -1 : 1;
    if (a->prefix != b->prefix)
        return a->prefix > b->prefix ? -1 : 1;
    return a->id < b->id ? -1 : a->id > b->id;
}

static void view_add(struct grant_view *v, const struct grant_rule *r)
{
    switch (r->object) {
    case GRANT_SERVER:
        if (!v->server || v->server->prefix < r->prefix)
            v->server = r;
        return;
    case GRANT_USER:
        view_put(v, KEY_USER, r->user, 0, r);
        break;
    case GRANT_VOLUME:
        view_put(v, KEY_VOLUME, r->volume, 0, r);
        break;
    case GRANT_SNAPSHOT:
        view_put(v, KEY_SNAPSHOT, r->volume, r->snapshot, r);
        break;
    case GRANT_SUBPATH:
        view_put(v, KEY_FOLDERS, r->volume, 0, r);
        v->folders[v->nfolders++] = r;
        break;
    }
    view_put(v, KEY_SEEN, r->user, 0, r);
}

int view_new(struct ruleset *set, const uint8_t address[16], int64_t now, struct grant_view **out)
{
    struct grant_view *v = calloc(1, sizeof(*v));
    const struct grant_rule **fit = malloc((set->count ? set->count : 1) * sizeof(*fit));
    unsigned n = 0, folders = 0;

    if (!v || !fit) {
        free(v);
        free(fit);
        ruleset_unref(set);
        return -ENOMEM;
    }
    v->refs = 1;
    v->set = set;
    v->until = INT64_MAX;
    memcpy(v->address, address, 16);
    for (unsigned i = 0; i < set->count; i++) {
        const struct grant_rule *r = &set->rules[i];

        if (r->subject != GRANT_NETWORK || (r->expires && now >= r->expires) || !rule_fits(r, address))
            continue;
        if (r->expires && r->expires < v->until)
            v->until = r->expires;
        folders += r->object == GRANT_SUBPATH;
        fit[n++] = r;
    }
    if (n) {
        v->mask = slots_for(2 * (uint64_t)n) - 1;
        v->entries = calloc(v->mask + 1, sizeof(*v->entries));
        v->folders = malloc((folders ? folders : 1) * sizeof(*v->folders));
        if (!v->entries || !v->folders) {
            free(fit);
            grant_view_unref(v);
            return -ENOMEM;
        }
    }
    for (unsigned i = 0; i < n; i++)
        view_add(v, fit[i]);
    if (v->nfolders)
        qsort(v->folders, v->nfolders, sizeof(*v->folders), by_volume);
    free(fit);
    *out = v;
    return 0;
}

bool grant_view_any(const struct grant_view *v)
{
    return v->entries != NULL;
}

struct grant_view *grant_view_ref(struct grant_view *v)
{
    __atomic_add_fetch(&v->refs, 1, __ATOMIC_RELAXED);
    return v;
}

void grant_view_unref(struct grant_view *v)
{
    if (!v || __atomic_sub_fetch(&v->refs, 1, __ATOMIC_ACQ_REL))
        return;
    ruleset_unref(v->set);
    free(v->entries);
    free(v->folders);
    free(v);
}

const struct grant_rule *grant_folder(const struct grant_view *v, uint64_t volume, unsigned i)
{
    unsigned low = 0, high = v->nfolders;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;

        if (v->folders[mid]->volume < volume)
            low = mid + 1;
        else
            high = mid;
    }
    return low + i < v->nfolders && v->folders[low + i]->volume == volume ? v->folders[low + i] : NULL;
}

/* --- evaluating --- */

/* What counts for all that a user has, or the server (user 0), by the address. */
static const struct grant_rule *wide_rule(const struct grant_view *v, uint64_t user)
{
    const struct grant_rule *r = user ? view_find(v, KEY_USER, user, 0) : NULL;

    return r ? r : v->server;
}

static enum grant_level by_address(const struct grant_view *v, uint64_t user, uint64_t volume, uint64_t snap,
                                   const struct grant_rule **rule)
{
    const struct grant_rule *r = NULL;

    if (!volume) {
        *rule = wide_rule(v, user);
        return !user || *rule || view_find(v, KEY_SEEN, user, 0) ? GRANT_WRITE : GRANT_NOTHING;
    }
    if (snap)
        r = view_find(v, KEY_SNAPSHOT, volume, snap);
    if (!r)
        r = view_find(v, KEY_VOLUME, volume, 0);
    if (!r)
        r = wide_rule(v, user);
    *rule = r;
    if (r)
        return r->level;
    return !snap && view_find(v, KEY_FOLDERS, volume, 0) ? GRANT_WAY : GRANT_NOTHING;
}

/* The grant a handle names, if it is there for this client. */
static const struct grant_rule *named_rule(const struct grant_view *v, uint64_t id)
{
    const struct grant_rule *r = ruleset_find(v->set, id);

    if (!r || rule_over(r))
        return NULL;
    if (r->subject == GRANT_NETWORK && (r->object != GRANT_SUBPATH || !rule_fits(r, v->address)))
        return NULL;
    return r;
}

static enum grant_level by_name(const struct grant_view *v, uint64_t id, uint64_t user, uint64_t volume, uint64_t snap,
                                const struct grant_rule **rule)
{
    const struct grant_rule *r = named_rule(v, id);
    bool covers = false;

    if (r) {
        switch (r->object) {
        case GRANT_SERVER:
            covers = true;
            break;
        case GRANT_USER:
            covers = user && user == r->user;
            break;
        case GRANT_VOLUME:
            covers = volume && volume == r->volume;
            break;
        case GRANT_SNAPSHOT:
            covers = volume && volume == r->volume && snap == r->snapshot;
            break;
        case GRANT_SUBPATH:
            covers = volume && volume == r->volume && !snap;
            break;
        }
    }
    *rule = covers ? r : NULL;
    if (!covers)
        return GRANT_NOTHING;
    return volume ? r->level : GRANT_WRITE;
}

enum grant_level grant_eval(const struct grant_view *v, uint64_t id, uint64_t user, uint64_t volume, uint64_t snap,
                            const struct grant_rule **rule)
{
    const struct grant_rule *own;
    enum grant_level level;

    if (!rule)
        rule = &own;
    level = id ? by_name(v, id, user, volume, snap, rule) : by_address(v, user, volume, snap, rule);
    return snap && level == GRANT_WRITE ? GRANT_READ : level; /* snapshots do not change */
}

bool grant_may_create(const struct grant_view *v, uint64_t id, uint64_t user)
{
    const struct grant_rule *r;

    if (id)
        (void)by_name(v, id, user, 0, 0, &r);
    else
        r = wide_rule(v, user);
    return r && r->create;
}
