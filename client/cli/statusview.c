/* SPDX-License-Identifier: Apache-2.0
 * statusview: a server's report as text and as JSON (see statusview.h).
 */
#include "client/cli/statusview.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/cli/format.h"
#include "proto/order.h"

static const char *const classes[CONTROL_CLASSES] = {"look", "read", "change", "write"};

bool statusview_get(CLIENT *c, unsigned with, control_status *s)
{
    control_status_args args = {.with = with};
    if (!control_call(c, CONTROL_STATUS, &args, s))
        return false;
    if (s->result.err && s->result.err != -EPERM)
        return control_outcome(&s->result) == 0;
    return true;
}

/* --- pieces --- */

static const char *size_text(double bytes, char out[16])
{
    format_size(bytes > 0 ? (uint64_t)bytes : 0, out, 16);
    return out;
}

/* "12ms", "850us", "1.3s", "-" */
static const char *time_text(double us, bool any, char out[16])
{
    if (!any)
        snprintf(out, 16, "-");
    else if (us < 999.5)
        snprintf(out, 16, "%.0fus", us);
    else if (us < 999500)
        snprintf(out, 16, us < 9950 ? "%.1fms" : "%.0fms", us / 1000);
    else
        snprintf(out, 16, "%.1fs", us / 1e6);
    return out;
}

/* "3d 4h", "2h 5m", "17m 3s", "12s" */
static const char *span_text(uint64_t s, char out[32])
{
    if (s >= 86400)
        snprintf(out, 32, "%llud %lluh", (unsigned long long)(s / 86400), (unsigned long long)(s % 86400 / 3600));
    else if (s >= 3600)
        snprintf(out, 32, "%lluh %llum", (unsigned long long)(s / 3600), (unsigned long long)(s % 3600 / 60));
    else if (s >= 60)
        snprintf(out, 32, "%llum %llus", (unsigned long long)(s / 60), (unsigned long long)(s % 60));
    else
        snprintf(out, 32, "%llus", (unsigned long long)s);
    return out;
}

static const char *rate_text(double n, char out[16])
{
    if (n < 9.95)
        snprintf(out, 16, "%.1f", n);
    else
        snprintf(out, 16, "%.0f", n);
    return out;
}

void statusview_head(FILE *to, const control_status *s)
{
    const control_traffic *t = &s->total;
    const control_store *st = &s->store;
    char a[32], b[16], c[16], d[16];
    fprintf(to, "up      %s, %s of memory, ", span_text(s->uptime_ms / 1000, a), size_text((double)s->rss_bytes, b));
    fprintf(to, "%s of processor time%s\n", span_text(s->cpu_us / 1000000, a),
            s->grace ? "; clients may reclaim what they had before the restart" : "");
    fprintf(to, "clients %u with %u sessions; %u opens, %u locks (%u waited for), %u delegations; "
            "%u of %u connections\n", s->clients, s->sessions, s->opens, s->locks, s->waits, s->delegations,
            s->connections, s->connections_max);
    fprintf(to, "cache   %s of %s", size_text((double)st->cache_used, a), size_text((double)st->cache_size, b));
    fprintf(to, ", %s of it not written yet; ", size_text((double)st->cache_pinned, a));
    if (st->cache_reads)
        fprintf(to, "%.1f %% of reads found in it\n", st->cache_loads < st->cache_reads
                ? 100.0 * (double)(st->cache_reads - st->cache_loads) / (double)st->cache_reads : 0.0);
    else
        fprintf(to, "no reads yet\n");
    fprintf(to, "commits %llu, on average %s\n", (unsigned long long)st->commits,
            time_text(st->commits ? (double)st->commit_us / (double)st->commits : 0, st->commits, a));
    if (s->disk_size) {
        fprintf(to, "disk    %s of ", size_text((double)s->disk_free, a));
        fprintf(to, "%s free (%.0f %%)\n", size_text((double)s->disk_size, b),
                100.0 * (double)s->disk_free / (double)s->disk_size);
    }
    fprintf(to, "packs   %s on the disk", size_text((double)st->pack_bytes, a));
    fprintf(to, ", %s of it in use; compaction moved %s and freed ", size_text((double)st->live_bytes, b),
            size_text((double)st->gc_copied, c));
    fprintf(to, "%s", size_text((double)st->gc_freed, d));
    if (st->gc_volumes)
        fprintf(to, "; it is at work in %u volume%s", st->gc_volumes, st->gc_volumes == 1 ? "" : "s");
    fputc('\n', to);
    if (st->deduped)
        fprintf(to, "dedup   %s not stored again\n", size_text((double)st->deduped, a));
    if (st->hurried)
        fprintf(to, "hurry   %s stored raw for lack of time, to be compressed later\n", size_text((double)st->hurried, a));
    fprintf(to, "journal %s of %s used, ", size_text((double)st->journal_used, a),
            size_text((double)st->journal_size, b));
    if (st->journal_ms)
        fprintf(to, "by changes of the last %s\n", time_text((double)st->journal_ms * 1000, true, c));
    else
        fputs("all of it is in the indexes\n", to);
    fprintf(to, "now     %s operations/s, ", rate_text(t->ops_rate, b));
    fprintf(to, "%s errors/s, reads %s/s, ", rate_text(t->errors_rate, b), size_text(t->read_rate, c));
    fprintf(to, "writes %s/s\n", size_text(t->written_rate, d));
    fprintf(to, "in all  %llu operations, %llu errors, read %s, ", (unsigned long long)t->ops,
            (unsigned long long)t->errors, size_text((double)t->read_bytes, c));
    fprintf(to, "written %s\n", size_text((double)t->written_bytes, d));

    fprintf(to, "\n%-8s  %12s  %8s  %8s  %8s  %8s\n", "REQUESTS", "COUNT", "MEAN", "MEDIAN", "90 %", "99 %");
    for (unsigned i = 0; i < CONTROL_CLASSES; i++) {
        const control_latency *l = &t->latency[i];
        bool any = l->count;
        char p50[16], p90[16], p99[16];
        fprintf(to, "%-8s  %12llu  %8s  %8s  %8s  %8s\n", classes[i], (unsigned long long)l->count,
                time_text(any ? (double)l->sum_us / (double)l->count : 0, any, a),
                time_text((double)l->p50_us, any, p50), time_text((double)l->p90_us, any, p90),
                time_text((double)l->p99_us, any, p99));
    }
}

/* --- tables --- */

static int name_width(const control_status *s)
{
    int width = 6;
    for (u_int i = 0; i < s->volumes.volumes_len; i++) {
        int len = (int)strlen(s->volumes.volumes_val[i].volume.name);
        width = len > width ? len : width;
    }
    return width > 40 ? 40 : width;
}

static void volume_line(FILE *to, const control_vstatus *v, int width)
{
    char ops[16], rd[16], wr[16], all_rd[16], all_wr[16], logical[16], ratio[16], quota[24];
    if (v->volume.props.quota_bytes)
        snprintf(quota, sizeof(quota), "%.0f%%",
                 100.0 * (double)v->volume.logical / (double)v->volume.props.quota_bytes);
    else
        snprintf(quota, sizeof(quota), "-");
    format_ratio(&v->volume, ratio, sizeof(ratio));
    fprintf(to, "%-*s  %8s  %7s  %7s  %12llu  %8llu  %7s  %7s  ", width, v->volume.name,
            rate_text(v->traffic.ops_rate, ops), size_text(v->traffic.read_rate, rd),
            size_text(v->traffic.written_rate, wr), (unsigned long long)v->traffic.ops,
            (unsigned long long)v->traffic.errors, size_text((double)v->traffic.read_bytes, all_rd),
            size_text((double)v->traffic.written_bytes, all_wr));
    if (v->volume.err)
        fprintf(to, "%7s  %7s  %5s\n", v->volume.err == -EAGAIN ? "-" : "error", "-", "-");
    else
        fprintf(to, "%7s  %7s  %5s\n", size_text((double)v->volume.logical, logical), ratio, quota);
}

void statusview_volumes(FILE *to, const control_status *s, unsigned max)
{
    u_int n = s->volumes.volumes_len;
    const control_vstatus **order = order_volumes(s);
    int width = name_width(s);
    if (!order)
        return;
    fprintf(to, "%-*s  %8s  %7s  %7s  %12s  %8s  %7s  %7s  %7s  %7s  %5s\n", width, "VOLUME", "OPS/S", "READ/S",
            "WRITE/S", "OPERATIONS", "ERRORS", "READ", "WRITTEN", "LOGICAL", "RATIO", "QUOTA");
    for (u_int i = 0; i < n && i < max; i++)
        volume_line(to, order[i], width);
    if (n > max)
        fprintf(to, "... and %u more\n", n - max);
    free(order);
}

void statusview_users(FILE *to, const control_status *s)
{
    int width = 6;
    for (u_int i = 0; i < s->users.users_len; i++) {
        int len = (int)strlen(s->users.users_val[i].name);
        width = len > width ? len : width;
    }
    width = width > 40 ? 40 : width;
    fprintf(to, "%-*s  %7s  %6s  %8s  %8s  %7s  %7s  %8s\n", width, "USER", "VOLUMES", "CONNS", "REQUESTS", "BUFFERED",
            "OPENS", "LOCKS", "REFUSED");
    for (u_int i = 0; i < s->users.users_len; i++) {
        const control_user *u = &s->users.users_val[i];
        char buffered[16];
        fprintf(to, "%-*s  %7u  %6llu  %8llu  %8s  %7llu  %7llu  %8llu\n", width, u->name, u->volumes,
                (unsigned long long)u->use.connections, (unsigned long long)u->use.requests,
                size_text((double)u->use.buffered, buffered), (unsigned long long)u->use.opens,
                (unsigned long long)u->use.locks, (unsigned long long)u->refused);
    }
}

void statusview_clients(FILE *to, const control_status *s, unsigned max)
{
    u_int n = s->client_list.client_list_len;
    const control_client **order = order_clients(s);
    if (!order)
        return;
    fprintf(to, "%-15s  %-3s  %6s  %5s  %6s  %5s  %11s  %7s  %7s  %5s  %s\n", "CLIENT", "NFS", "OPENS", "LOCKS",
            "DELEGS", "CONNS", "REQUESTS", "IN", "OUT", "IDLE", "NAME");
    for (u_int i = 0; i < n && i < max; i++) {
        const control_client *c = order[i];
        char in[16], out[16], idle[32];
        fprintf(to, "%-15s  %-3s  %6u  %5u  %6u  %5u  %11llu  %7s  %7s  %5s  %s%s\n", *c->address ? c->address : "-",
                c->minor ? "4.1" : "4.0", c->opens, c->locks, c->delegations, c->connections,
                (unsigned long long)c->requests, size_text((double)c->received, in), size_text((double)c->sent, out),
                span_text(c->idle_ms / 1000, idle), c->name, c->expired ? " (expired)" : "");
    }
    if (n > max)
        fprintf(to, "... and %u more\n", n - max);
    free(order);
}

/* --- JSON --- */

#define INT(x) ((json_int_t)(x))

static json_t *latency_json(const control_latency *l)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "count", INT(l->count), "sum_us", INT(l->sum_us), "p50_us",
                     INT(l->p50_us), "p90_us", INT(l->p90_us), "p99_us", INT(l->p99_us));
}

static json_t *traffic_json(const control_traffic *t)
{
    json_t *ops = json_object(), *lat = json_object();
    for (u_int i = 0; ops && i < t->by_op.by_op_len; i++) {
        const control_op *op = &t->by_op.by_op_val[i];
        json_object_set_new(ops, op->name,
                            json_pack("{s:I, s:I}", "count", INT(op->count), "errors", INT(op->errors)));
    }
    for (unsigned i = 0; lat && i < CONTROL_CLASSES; i++)
        json_object_set_new(lat, classes[i], latency_json(&t->latency[i]));
    return json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:o, s:o}", "ops", INT(t->ops), "errors",
                     INT(t->errors), "read_bytes", INT(t->read_bytes), "written_bytes", INT(t->written_bytes),
                     "ops_rate", t->ops_rate, "errors_rate", t->errors_rate, "read_rate", t->read_rate,
                     "written_rate", t->written_rate, "by_op", ops, "latency", lat);
}

static json_t *volumes_json(const control_status *s)
{
    json_t *all = json_array();
    for (u_int i = 0; all && i < s->volumes.volumes_len; i++) {
        const control_vstatus *v = &s->volumes.volumes_val[i];
        json_t *j = format_volume(&v->volume);
        if (!j || json_object_set_new(j, "traffic", traffic_json(&v->traffic)) || json_array_append_new(all, j)) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *grants_json(const control_status *s)
{
    json_t *all = json_array();
    for (u_int i = 0; all && i < s->grants.grants_len; i++) {
        const control_gstatus *g = &s->grants.grants_val[i];
        json_array_append_new(all, json_pack("{s:I, s:s, s:s, s:b, s:I, s:o}", "id", INT(g->grant.id), "subject",
                                             g->grant.subject, "object", g->grant.object, "write",
                                             (int)g->grant.write, "expires", INT(g->grant.expires), "traffic",
                                             traffic_json(&g->traffic)));
    }
    return all;
}

static json_t *use_json(const control_use *u)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "connections", INT(u->connections), "requests", INT(u->requests),
                     "buffered", INT(u->buffered), "opens", INT(u->opens), "locks", INT(u->locks));
}

static json_t *users_json(const control_status *s)
{
    json_t *all = json_array();
    for (u_int i = 0; all && i < s->users.users_len; i++) {
        const control_user *u = &s->users.users_val[i];
        json_t *j = use_json(&u->use);
        if (!j || json_object_set_new(j, "name", json_string(u->name)) ||
            json_object_set_new(j, "id", json_integer(INT(u->id))) ||
            json_object_set_new(j, "volumes", json_integer(u->volumes)) ||
            json_object_set_new(j, "refused", json_integer(INT(u->refused))) || json_array_append_new(all, j)) {
            json_decref(all);
            return NULL;
        }
    }
    return all;
}

static json_t *clients_json(const control_status *s)
{
    json_t *all = json_array();
    for (u_int i = 0; all && i < s->client_list.client_list_len; i++) {
        const control_client *c = &s->client_list.client_list_val[i];
        json_array_append_new(
            all, json_pack("{s:s, s:s, s:s, s:I, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
                           c->name, "principal", c->principal, "address", c->address, "id", INT(c->id), "minor",
                           c->minor ? "4.1" : "4.0", "expired", (int)c->expired, "idle_ms", INT(c->idle_ms),
                           "sessions", INT(c->sessions), "opens", INT(c->opens), "locks", INT(c->locks),
                           "delegations", INT(c->delegations), "connections", INT(c->connections), "requests",
                           INT(c->requests), "received", INT(c->received), "sent", INT(c->sent)));
    }
    return all;
}

static json_t *peers_json(const control_status *s)
{
    json_t *all = json_array();
    for (u_int i = 0; all && i < s->peers.peers_len; i++) {
        const control_peer *p = &s->peers.peers_val[i];
        json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "address", p->address,
                                             "connections", INT(p->connections), "in_flight", INT(p->inflight),
                                             "requests", INT(p->requests), "received", INT(p->received), "sent",
                                             INT(p->sent), "queued", INT(p->queued)));
    }
    return all;
}

json_t *statusview_json(const control_status *s)
{
    const control_store *st = &s->store;
    json_t *errors = json_object();
    json_t *store = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "cache_size", INT(st->cache_size), "cache_used",
                              INT(st->cache_used), "cache_pinned", INT(st->cache_pinned), "cache_reads",
                              INT(st->cache_reads), "cache_loads", INT(st->cache_loads), "commits",
                              INT(st->commits), "commit_us", INT(st->commit_us), "gc_copied", INT(st->gc_copied), "gc_freed",
                              INT(st->gc_freed), "gc_packs", INT(st->gc_packs), "pack_bytes", INT(st->pack_bytes),
                              "live_bytes", INT(st->live_bytes), "deduped", INT(st->deduped), "gc_volumes", INT(st->gc_volumes), "journal_used",
                              INT(st->journal_used), "journal_size", INT(st->journal_size), "journal_ms",
                              INT(st->journal_ms), "hurried", INT(st->hurried));
    for (u_int i = 0; errors && i < s->statuses.statuses_len; i++)
        json_object_set_new(errors, s->statuses.statuses_val[i].name, json_integer(INT(s->statuses.statuses_val[i].count)));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I,"
                     " s:I, s:{s:I, s:I}, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
                     "release", s->info.release, "store", s->info.store, "listen", s->info.listen, "epoch",
                     INT(s->info.epoch), "pid", INT(s->info.pid), "uptime_ms", INT(s->uptime_ms), "rss_bytes",
                     INT(s->rss_bytes), "cpu_us", INT(s->cpu_us), "grace", (int)s->grace, "lease_seconds",
                     INT(s->lease_seconds), "clients", INT(s->clients), "sessions", INT(s->sessions), "opens",
                     INT(s->opens), "locks", INT(s->locks), "owners", INT(s->owners), "files", INT(s->files),
                     "delegations", INT(s->delegations), "waits", INT(s->waits), "connections",
                     INT(s->connections), "connections_max", INT(s->connections_max), "disk", "size", INT(s->disk_size), "free",
                     INT(s->disk_free), "cache", store, "total",
                     traffic_json(&s->total), "errors", errors, "volumes", volumes_json(s), "grants", grants_json(s), "client_list",
                     clients_json(s), "peers", peers_json(s), "users", users_json(s), "user_limits", use_json(&s->user_limits));
}
