/* SPDX-License-Identifier: Apache-2.0
 * report: asks the layers and puts their answers together (see report.h). Everything in a report is allocated with
 * malloc, as xdr_free wants it.
 */
#include "server/control/report.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "config.h"
#include "server/control/control_impl.h"
#include "server/metrics/metrics.h"
#include "server/nfs4/server.h"
#include "server/rpc/rpcserver.h"
#include "server/state/client.h"
#include "server/state/report.h"
#include "server/state/user.h"

/* Ends the process's hopes for this report, not the process: every failure here is of memory. */
#define TRY(expr)           \
    do {                    \
        if (!(expr))        \
            return -ENOMEM; \
    } while (0)

/* --- traffic --- */

static int fill_ops(const struct metrics_row *row, control_traffic *t)
{
    TRY(t->by_op.by_op_val = calloc(METRICS_OPS, sizeof(control_op)));
    for (unsigned i = 0; i < METRICS_OPS; i++) {
        control_op *op = &t->by_op.by_op_val[t->by_op.by_op_len];
        if (!row->op[i].count)
            continue;
        TRY(op->name = strdup(nfs4_op_name(i)));
        op->count = row->op[i].count;
        op->errors = row->op[i].errors;
        t->by_op.by_op_len++;
    }
    return 0;
}

static int fill_latency(const struct metrics_hist *h, bool buckets, control_latency *l)
{
    l->count = h->count;
    l->sum_us = h->sum_us;
    l->p50_us = (uint64_t)metrics_quantile(h, 0.5);
    l->p90_us = (uint64_t)metrics_quantile(h, 0.9);
    l->p99_us = (uint64_t)metrics_quantile(h, 0.99);
    if (!buckets)
        return 0;
    TRY(l->buckets.buckets_val = calloc(METRICS_BUCKETS, sizeof(*l->buckets.buckets_val)));
    for (unsigned b = 0; b < METRICS_BUCKETS; b++)
        l->buckets.buckets_val[b] = h->bucket[b];
    l->buckets.buckets_len = METRICS_BUCKETS;
    return 0;
}

static int fill_history(struct metrics *m, enum metrics_kind kind, uint64_t id, control_traffic *t)
{
    struct metrics_sample *s = calloc(METRICS_SAMPLES, sizeof(*s));
    unsigned n;
    TRY(s);
    n = metrics_history(m, kind, id, s, METRICS_SAMPLES);
    t->history.history_val = calloc(n ? n : 1, sizeof(control_sample));
    if (t->history.history_val)
        t->history.history_len = n;
    for (unsigned i = 0; i < t->history.history_len; i++) {
        control_sample *o = &t->history.history_val[i];
        o->ops = s[i].ops;
        o->read_bytes = s[i].rd;
        o->written_bytes = s[i].wr;
        for (unsigned c = 0; c < CONTROL_CLASSES; c++) {
            o->p50[c] = s[i].p50[c];
            o->p99[c] = s[i].p99[c];
        }
    }
    free(s);
    TRY(t->history.history_val);
    return 0;
}

static int fill_traffic(struct metrics *m, enum metrics_kind kind, uint64_t id, unsigned with,
                        struct metrics_row *row, control_traffic *t)
{
    _Static_assert((int)CONTROL_CLASSES == (int)METRICS_CLASSES, "as many classes");
    metrics_read(m, kind, id, row);
    t->ops = row->sum.ops;
    t->errors = row->sum.errors;
    t->read_bytes = row->sum.rd;
    t->written_bytes = row->sum.wr;
    t->ops_rate = row->rate.ops;
    t->errors_rate = row->rate.errors;
    t->read_rate = row->rate.rd;
    t->written_rate = row->rate.wr;
    for (unsigned c = 0; c < CONTROL_CLASSES; c++)
        TRY(!fill_latency(&row->lat[c], with & CONTROL_WITH_BUCKETS, &t->latency[c]));
    if (with & CONTROL_WITH_OPS)
        TRY(!fill_ops(row, t));
    if (with & CONTROL_WITH_HISTORY)
        TRY(!fill_history(m, kind, id, t));
    return 0;
}

static int fill_statuses(struct metrics *m, control_status *out)
{
    uint64_t n[METRICS_STATUS];
    metrics_statuses(m, n);
    TRY(out->statuses.statuses_val = calloc(METRICS_STATUS, sizeof(control_op)));
    for (unsigned i = 0; i < METRICS_STATUS; i++) {
        control_op *op = &out->statuses.statuses_val[out->statuses.statuses_len];
        if (!n[i])
            continue;
        TRY(op->name = strdup(nfs4_status_name(metrics_status_at(i))));
        op->count = n[i];
        out->statuses.statuses_len++;
    }
    return 0;
}

/* --- volumes --- */

struct collect {
    struct control *c;
    control_status *out;
    unsigned with;
    unsigned room;
    struct metrics_row *row;
};

static int add_volume(void *arg, const struct vfs_volume_info *info)
{
    struct collect *co = arg;
    control_status *out = co->out;
    control_vstatus *v;
    if (out->volumes.volumes_len >= CONTROL_LIST_MAX)
        return 0;
    if (out->volumes.volumes_len == co->room) {
        unsigned room = co->room ? co->room * 2 : 64;
        TRY(v = realloc(out->volumes.volumes_val, room * sizeof(*v)));
        out->volumes.volumes_val = v;
        co->room = room;
    }
    v = &out->volumes.volumes_val[out->volumes.volumes_len];
    memset(v, 0, sizeof(*v));
    TRY(!volume_to_wire(info, &v->volume));
    out->volumes.volumes_len++;
    out->store.gc_copied += info->stat.gc_copied;
    out->store.gc_freed += info->stat.gc_freed;
    out->store.gc_packs += info->stat.gc_packs;
    out->store.pack_bytes += info->stat.pack_bytes;
    out->store.live_bytes += info->stat.stored + info->stat.held;
    out->store.gc_volumes += info->stat.gc_busy;
    out->store.journal_used += info->stat.journal_used;
    out->store.journal_size += info->stat.journal_size;
    if (info->stat.journal_ms > out->store.journal_ms)
        out->store.journal_ms = info->stat.journal_ms;
    return fill_traffic(co->c->metrics, METRICS_VOLUME, info->id, co->with, co->row, &v->traffic);
}

static int fill_volumes(struct control *c, unsigned with, struct metrics_row *row, control_status *out)
{
    struct collect co = {.c = c, .out = out, .with = with, .row = row};
    if (vfs_volume_count(c->vfs) <= REPORT_OPEN_MAX)
        return vfs_volume_list(c->vfs, NULL, add_volume, &co);
    return vfs_volume_peek(c->vfs, add_volume, &co);
}

/* --- grants --- */

static int fill_grants(struct control *c, unsigned with, struct metrics_row *row, control_status *out)
{
    control_grant *g = NULL;
    u_int n = 0;
    int err = grants_to_wire(c, &g, &n);
    out->grants.grants_val = calloc(n + 1u, sizeof(control_gstatus));
    if (!out->grants.grants_val)
        err = -ENOMEM;
    for (u_int i = 0; i < n; i++) {
        control_gstatus *s = out->grants.grants_val ? &out->grants.grants_val[out->grants.grants_len++] : NULL;
        if (!s) {
            xdr_free((xdrproc_t)xdr_control_grant, &g[i]);
            continue;
        }
        s->grant = g[i];
        if (!err)
            err = fill_traffic(c->metrics, METRICS_GRANT, g[i].id, with & ~(unsigned)CONTROL_WITH_HISTORY, row, &s->traffic);
    }
    free(g);
    return err;
}

/* --- users --- */

static void use_to_wire(const uint64_t used[USER_KINDS], control_use *u)
{
    u->connections = used[USER_CONNS];
    u->requests = used[USER_REQUESTS];
    u->buffered = used[USER_BYTES];
    u->opens = used[USER_OPENS];
    u->locks = used[USER_LOCKS];
}

struct user_fill {
    control_status *out;
    u_int room;
};

static int add_user(void *arg, uint64_t id, const char *name, unsigned volumes)
{
    struct user_fill *f = arg;
    control_status *out = f->out;
    control_user *u;
    if (out->users.users_len >= CONTROL_LIST_MAX)
        return 0;
    if (out->users.users_len == f->room) {
        u_int room = f->room ? f->room * 2 : 64;
        TRY(u = realloc(out->users.users_val, room * sizeof(*u)));
        out->users.users_val = u;
        f->room = room;
    }
    u = &out->users.users_val[out->users.users_len];
    memset(u, 0, sizeof(*u));
    TRY(u->name = strdup(name));
    u->id = id;
    u->volumes = volumes;
    out->users.users_len++;
    return 0;
}

/* Those there are, by id; and of each what its volumes are used for. */
static int fill_users(struct control *c, control_status *out)
{
    struct user_fill f = {.out = out};
    uint64_t max[USER_KINDS];
    struct users *us = state_users(c->state);
    struct user_report *r;
    size_t n = users_report(us, NULL, 0, max) + 64, got;
    int err = vfs_user_list(c->vfs, add_user, &f);
    if (err)
        return err;
    for (unsigned k = 0; k < USER_KINDS; k++)
        max[k] = max[k] == USER_NO_LIMIT ? 0 : max[k];
    use_to_wire(max, &out->user_limits);
    TRY(r = calloc(n, sizeof(*r)));
    got = users_report(us, r, n, NULL);
    for (size_t i = 0; i < got && i < n; i++) {
        control_user *v = out->users.users_val;
        u_int low = 0, high = out->users.users_len;
        while (low < high) {
            u_int mid = low + (high - low) / 2;
            if (v[mid].id < r[i].id)
                low = mid + 1;
            else
                high = mid;
        }
        if (low == out->users.users_len || v[low].id != r[i].id)
            continue; /* just removed */
        use_to_wire(r[i].used, &v[low].use);
        v[low].refused = r[i].refused;
    }
    free(r);
    return 0;
}

/* --- clients and connections --- */

static void address_text(const struct sockaddr_storage *ss, char *out, size_t size)
{
    char text[INET6_ADDRSTRLEN] = "";
    const struct in6_addr *six = &((const struct sockaddr_in6 *)ss)->sin6_addr;
    if (ss->ss_family == AF_INET)
        inet_ntop(AF_INET, &((const struct sockaddr_in *)ss)->sin_addr, text, sizeof(text));
    else if (ss->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(six))
        inet_ntop(AF_INET, six->s6_addr + 12, text, sizeof(text));
    else if (ss->ss_family == AF_INET6)
        inet_ntop(AF_INET6, six, text, sizeof(text));
    snprintf(out, size, "%s", text[0] ? text : "local socket");
}

static int by_id(const void *a, const void *b)
{
    const struct rpcserver_conn *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int fill_clients(struct control *c, const struct rpcserver_conn *conns, unsigned nconns,
                        control_status *out)
{
    struct state_client_report *r;
    size_t n = state_clients(c->state, NULL, 0), got;
    int err = -ENOMEM;
    if (n > CONTROL_CLIENTS_MAX)
        n = CONTROL_CLIENTS_MAX;
    r = calloc(n + 1, sizeof(*r));
    out->client_list.client_list_val = calloc(n + 1, sizeof(control_client));
    if (!r || !out->client_list.client_list_val)
        goto out;
    got = state_clients(c->state, r, n);
    n = got < n ? got : n;
    for (size_t i = 0; i < n; i++) {
        control_client *cl = &out->client_list.client_list_val[i];
        char address[64] = "";
        cl->name = strdup(r[i].name);
        cl->principal = strdup(r[i].principal);
        cl->id = r[i].id;
        cl->minor = r[i].minor;
        cl->expired = r[i].expired;
        cl->idle_ms = r[i].idle_ms;
        cl->sessions = r[i].sessions;
        cl->opens = r[i].opens;
        cl->locks = r[i].locks;
        cl->delegations = r[i].delegs;
        cl->connections = r[i].nconns;
        for (unsigned k = 0; k < r[i].nconns && k < REPORT_CONNS; k++) {
            struct rpcserver_conn key = {.id = r[i].conns[k]}, *f;
            f = nconns ? bsearch(&key, conns, nconns, sizeof(key), by_id) : NULL;
            if (!f)
                continue;
            if (!address[0])
                address_text(&f->peer, address, sizeof(address));
            cl->requests += f->requests;
            cl->received += f->rx_bytes;
            cl->sent += f->tx_bytes;
        }
        if (!address[0]) {
            struct sockaddr_in6 from = {.sin6_family = AF_INET6};
            struct sockaddr_storage ss = {0};
            memcpy(&from.sin6_addr, r[i].from, sizeof(r[i].from));
            memcpy(&ss, &from, sizeof(from));
            address_text(&ss, address, sizeof(address));
        }
        cl->address = strdup(address);
        out->client_list.client_list_len++;
        if (!cl->name || !cl->principal || !cl->address)
            goto out;
    }
    err = 0;
out:
    free(r);
    return err;
}

static int by_address(const void *a, const void *b)
{
    const control_peer *x = a, *y = b;
    return strcmp(x->address, y->address);
}

/* One entry per connection, sorted, then those of one address made one. */
static int fill_peers(const struct rpcserver_conn *conns, unsigned nconns, control_status *out)
{
    control_peer *p = calloc(nconns + 1u, sizeof(*p));
    u_int n = 0, kept = 0;
    TRY(p);
    out->peers.peers_val = p;
    for (unsigned i = 0; i < nconns && i < CONTROL_CLIENTS_MAX; i++) {
        char address[64];
        address_text(&conns[i].peer, address, sizeof(address));
        TRY(p[n].address = strdup(address));
        p[n].connections = 1;
        p[n].inflight = conns[i].inflight;
        p[n].requests = conns[i].requests;
        p[n].received = conns[i].rx_bytes;
        p[n].sent = conns[i].tx_bytes;
        p[n].queued = conns[i].queued;
        out->peers.peers_len = ++n;
    }
    qsort(p, n, sizeof(*p), by_address);
    for (u_int i = 0; i < n; i++) {
        if (!i || strcmp(p[kept - 1].address, p[i].address)) {
            p[kept++] = p[i];
            continue;
        }
        free(p[i].address);
        p[kept - 1].connections++;
        p[kept - 1].inflight += p[i].inflight;
        p[kept - 1].requests += p[i].requests;
        p[kept - 1].received += p[i].received;
        p[kept - 1].sent += p[i].sent;
        p[kept - 1].queued += p[i].queued;
    }
    out->peers.peers_len = kept;
    return 0;
}

static int fill_network(struct control *c, unsigned with, control_status *out)
{
    struct rpcserver_conn *conns;
    unsigned n, room;
    int err = -ENOMEM;
    out->connections = rpcserver_count(c->rpc, &out->connections_max);
    if (!(with & CONTROL_WITH_CLIENTS))
        return 0;
    room = out->connections + 64;
    if (!(conns = calloc(room, sizeof(*conns))))
        return -ENOMEM;
    n = rpcserver_conns(c->rpc, conns, room);
    n = n < room ? n : room;
    qsort(conns, n, sizeof(*conns), by_id);
    if (!fill_clients(c, conns, n, out) && !fill_peers(conns, n, out))
        err = 0;
    free(conns);
    return err;
}

/* --- the rest --- */

static int fill_info(struct control *c, control_info *info)
{
    TRY(info->release = strdup(PACKAGE_VERSION));
    TRY(info->store = strdup(c->store));
    TRY(info->listen = strdup(c->listen));
    info->epoch = c->epoch;
    info->pid = (uint64_t)getpid();
    return 0;
}

static void fill_process(struct control *c, control_status *out)
{
    struct rusage ru = {0};
    FILE *f = fopen("/proc/self/statm", "re");
    unsigned long long pages = 0;
    if (f) {
        if (fscanf(f, "%*u %llu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    getrusage(RUSAGE_SELF, &ru);
    out->rss_bytes = (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
    out->cpu_us = (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000000u +
                  (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec);
    out->uptime_ms = clock_mono_ms() - c->started_ms;
    out->now = (uint64_t)time(NULL);
}

static void fill_state(struct control *c, control_status *out)
{
    struct state_counts n;
    state_count(c->state, &n);
    out->grace = state_in_grace(c->state);
    out->lease_seconds = state_lease_seconds(c->state);
    out->clients = n.clients;
    out->sessions = n.sessions;
    out->opens = n.opens;
    out->locks = n.locks;
    out->owners = n.owners;
    out->files = n.files;
    out->delegations = n.delegs;
    out->waits = n.waits;
}

static void fill_disk(struct control *c, control_status *out)
{
    struct vobj root = {0};
    struct vfs_stat st;
    vfs_root(c->vfs, &root);
    if (!vfs_statfs(c->vfs, NULL, &root, &st)) {
        out->disk_size = st.total_bytes;
        out->disk_free = st.avail_bytes;
    }
    vobj_release(&root);
}

static void fill_store(struct control *c, control_store *out)
{
    struct engine_stat st;
    engine_get_stat(c->engine, &st);
    out->cache_size = st.cache_size;
    out->cache_used = st.cache_used;
    out->cache_pinned = st.cache_pinned;
    out->cache_reads = st.slot_reads;
    out->cache_loads = st.slot_loads;
    out->commits = st.commits;
    out->commit_us = st.commit_us;
    out->deduped = st.deduped;
    out->hurried = st.hurried;
}

int report_collect(struct control *c, unsigned with, control_status *out)
{
    struct metrics_row *row = malloc(sizeof(*row));
    int err = -ENOMEM;
    memset(out, 0, sizeof(*out));
    if (!row || !(out->result.text = strdup("")) || fill_info(c, &out->info) || fill_statuses(c->metrics, out))
        goto out;
    fill_process(c, out);
    fill_disk(c, out);
    fill_state(c, out);
    fill_store(c, &out->store);
    err = fill_traffic(c->metrics, METRICS_TOTAL, 0, with, row, &out->total);
    if (!err && (with & CONTROL_WITH_VOLUMES))
        err = fill_volumes(c, with, row, out);
    if (!err && (with & CONTROL_WITH_GRANTS))
        err = fill_grants(c, with, row, out);
    if (!err && (with & CONTROL_WITH_USERS))
        err = fill_users(c, out);
    if (!err)
        err = fill_network(c, with, out);
out:
    free(row);
    if (err)
        report_release(out);
    return err;
}

void report_release(control_status *s)
{
    xdr_free((xdrproc_t)xdr_control_status, s);
    memset(s, 0, sizeof(*s));
}
