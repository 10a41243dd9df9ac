/* SPDX-License-Identifier: Apache-2.0
 * page: the status page: one document without script, made from one report.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/order.h"
#include "server/web/chart.h"
#include "server/web/pages.h"
#include "server/web/text.h"

#define VOLUMES_MAX 200u /* rows of the tables */
#define CLIENTS_MAX 100u
#define GRANTS_MAX  100u
#define USERS_MAX   50u
#define OPS_MAX     14u

enum { LOOK, READ, CHANGE, WRITE };

static double get_ops(const control_sample *s) { return s->ops; }
static double get_read(const control_sample *s) { return s->read_bytes; }
static double get_written(const control_sample *s) { return s->written_bytes; }
static double get_read99(const control_sample *s) { return s->p99[READ]; }
static double get_read50(const control_sample *s) { return s->p50[READ]; }
static double get_write99(const control_sample *s) { return s->p99[WRITE]; }
static double get_write50(const control_sample *s) { return s->p50[WRITE]; }
static double get_change99(const control_sample *s) { return s->p99[CHANGE]; }
static double get_change50(const control_sample *s) { return s->p50[CHANGE]; }

static const struct chart_series throughput[] = {
    {"read", "s1", true, false, get_read},
    {"written", "s2", true, false, get_written},
};
static const struct chart_series operations[] = {{"operations", "s3", true, false, get_ops}};
static const struct chart_series latency[] = {
    {"reads", "s1", false, false, get_read99},   {"", "s1", false, true, get_read50},
    {"writes", "s2", false, false, get_write99}, {"", "s2", false, true, get_write50},
    {"changes of names", "s4", false, false, get_change99}, {"", "s4", false, true, get_change50},
};
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
static const struct chart charts[] = {
    {"Throughput", "bytes of files per second", CHART_BYTES, throughput, COUNT(throughput)},
    {"Latency", "99 of 100 requests were answered within; thin: half of them", CHART_TIME, latency, COUNT(latency)},
    {"Operations", "NFS operations per second", CHART_COUNT, operations, COUNT(operations)},
};

/* --- the top --- */

static void put_tile(FILE *to, const char *name, const char *value, const char *unit, const char *note)
{
    fprintf(to, "<div class=\"tile\"><dt>%s</dt><dd>%s<small>%s</small></dd><p>%s</p></div>\n", name, value, unit, note);
}

static void put_tiles(FILE *to, const control_status *s)
{
    const control_traffic *t = &s->total;
    const control_store *st = &s->store;
    char a[TEXT_MAX], b[TEXT_MAX], note[160];
    fputs("<dl class=\"tiles\">\n", to);
    snprintf(note, sizeof(note), "%s in all, %s errors", text_count((double)t->ops, a),
             text_count((double)t->errors, b));
    put_tile(to, "Operations", text_count(t->ops_rate, a), " /s", note);
    snprintf(note, sizeof(note), "%s in all", text_bytes((double)t->read_bytes, a));
    put_tile(to, "Read", text_bytes(t->read_rate, a), "/s", note);
    snprintf(note, sizeof(note), "%s in all", text_bytes((double)t->written_bytes, a));
    put_tile(to, "Written", text_bytes(t->written_rate, a), "/s", note);
    snprintf(note, sizeof(note), "%u of %u connections", s->connections, s->connections_max);
    snprintf(a, sizeof(a), "%u", s->clients);
    put_tile(to, "Clients", a, "", note);
    snprintf(note, sizeof(note), "%u locks, %u delegations", s->locks, s->delegations);
    snprintf(a, sizeof(a), "%u", s->opens);
    put_tile(to, "Open files", a, "", note);
    snprintf(note, sizeof(note), "%s of %s; %.0f %% of reads found in it", text_bytes((double)st->cache_used, a),
             text_bytes((double)st->cache_size, b),
             st->cache_reads > st->cache_loads
                 ? 100.0 * (double)(st->cache_reads - st->cache_loads) / (double)st->cache_reads : 0.0);
    snprintf(a, sizeof(a), "%.0f", st->cache_size ? 100.0 * (double)st->cache_used / (double)st->cache_size : 0.0);
    put_tile(to, "Cache", a, " %", st->cache_reads ? note : "no reads yet");
    snprintf(note, sizeof(note), "%s of changes not on the disk yet", text_bytes((double)st->cache_pinned, a));
    put_tile(to, "Commit",
             st->commits ? text_ms((double)st->commit_us / 1000 / (double)st->commits, b) : "–", "", note);
    snprintf(note, sizeof(note), "of %s; the oldest change is %s old", text_bytes((double)st->journal_size, a),
             text_ms((double)st->journal_ms, b));
    if (!st->journal_ms)
        snprintf(note, sizeof(note), "of %s; all is in the indexes", text_bytes((double)st->journal_size, a));
    put_tile(to, "Journals", text_bytes((double)st->journal_used, a), "", note);
    if (s->disk_size) {
        snprintf(note, sizeof(note), "free of %s, %.0f %%", text_bytes((double)s->disk_size, a),
                 100.0 * (double)s->disk_free / (double)s->disk_size);
        put_tile(to, "Disk", text_bytes((double)s->disk_free, a), "", note);
    }
    fputs("</dl>\n", to);
}

static void put_head(FILE *to, const control_status *s)
{
    char a[TEXT_MAX], b[TEXT_MAX];
    fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>volnfs</title>\n"
          "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
          "<meta name=\"color-scheme\" content=\"light dark\">\n"
          "<meta http-equiv=\"refresh\" content=\"10\">\n"
          "<link rel=\"stylesheet\" href=\"style.css\">\n<link rel=\"icon\" href=\"favicon.svg\">\n"
          "</head>\n<body>\n<header>\n<h1>volnfs</h1>\n<p class=\"where\"><code>", to);
    text_html(to, s->info.store);
    fputs("</code> on ", to);
    text_html(to, s->info.listen);
    fputs("</p>\n", to);
    fprintf(to, "<p class=\"up\">%s <span>up %s · %s of memory · release ",
            s->grace ? "<b class=\"warn\">waiting for clients to reclaim</b>" : "<b class=\"good\">serving</b>",
            text_span(s->uptime_ms / 1000, a), text_bytes((double)s->rss_bytes, b));
    text_html(to, s->info.release);
    fputs("</span></p>\n</header>\n<main>\n", to);
}

/* --- volumes --- */

static void put_quota(FILE *to, const control_volume *v)
{
    char used[TEXT_MAX], most[TEXT_MAX];
    double part;
    if (!v->props.quota_bytes) {
        fputs("<span class=\"none\">none</span>", to);
        return;
    }
    part = (double)v->logical / (double)v->props.quota_bytes;
    part = part > 1 ? 1 : part;
    fprintf(to, "<svg class=\"bar\" viewBox=\"0 0 120 8\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"%.0f %%\"><rect class=\"track\" width=\"120\" height=\"8\"/>"
            "<rect class=\"%s\" width=\"%.1f\" height=\"8\"/></svg>",
            100 * part, part >= 0.95 ? "full" : part >= 0.8 ? "high" : "fill", part > 0 && part < 0.03 ? 4 : 120 * part);
    fprintf(to, "<span class=\"of\">%s of %s</span>", text_bytes((double)v->logical, used),
            text_bytes((double)v->props.quota_bytes, most));
}

static void put_volume(FILE *to, const control_vstatus *v)
{
    char a[TEXT_MAX];
    fputs("<tr><th scope=\"row\">", to);
    text_html(to, v->volume.name);
    if (v->volume.props.readonly)
        fputs(" <span class=\"tag\">read-only</span>", to);
    fputs("</th>", to);
    if (v->volume.err) {
        fprintf(to, "<td colspan=\"5\" class=\"%s\">%s</td>", v->volume.err == -EAGAIN ? "none" : "bad",
                v->volume.err == -EAGAIN ? "not used since the start" : "cannot be opened; the log says why");
    } else {
        fprintf(to, "<td>%s</td>", text_count((double)v->volume.files, a));
        fprintf(to, "<td>%s</td>", text_bytes((double)v->volume.logical, a));
        fprintf(to, "<td>%s</td>", text_bytes((double)v->volume.stored, a));
        if (v->volume.stored && v->volume.logical > v->volume.unwritten)
            fprintf(to, "<td>%.2f×</td>", (double)(v->volume.logical - v->volume.unwritten) / (double)v->volume.stored);
        else
            fputs("<td class=\"none\">–</td>", to);
        fputs("<td class=\"quota\">", to);
        put_quota(to, &v->volume);
        fputs("</td>", to);
    }
    fprintf(to, "<td>%s</td>", text_count(v->traffic.ops_rate, a));
    fprintf(to, "<td>%s/s</td>", text_bytes(v->traffic.read_rate, a));
    fprintf(to, "<td>%s/s</td><td class=\"hour\">", text_bytes(v->traffic.written_rate, a));
    chart_spark(to, v->traffic.history.history_val, v->traffic.history.history_len, get_ops);
    fputs("</td></tr>\n", to);
}

static void put_volumes(FILE *to, const control_status *s)
{
    u_int n = s->volumes.volumes_len;
    const control_vstatus **order = order_volumes(s);
    double logical = 0, written = 0, stored = 0;
    char a[TEXT_MAX], b[TEXT_MAX];
    if (!order)
        return;
    for (u_int i = 0; i < n; i++) {
        logical += (double)order[i]->volume.logical;
        written += (double)(order[i]->volume.logical - order[i]->volume.unwritten);
        stored += (double)order[i]->volume.stored;
    }
    fputs("<section class=\"card wide\"><h2>Volumes</h2>\n", to);
    if (!n) {
        fputs("<p class=\"nothing\">There are no volumes yet. <code>volnfs create USER/VOLUME</code> makes one.</p>"
              "</section>\n", to);
        free(order);
        return;
    }
    fprintf(to, "<p class=\"note\">%u volume%s: %s of files stored in %s", n, n == 1 ? "" : "s", text_bytes(logical, a),
            text_bytes(stored, b));
    if (stored > 0 && written > 0)
        fprintf(to, ", %.2f to 1", written / stored);
    fputs("</p>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Volume</th><th scope=\"col\">Files</th>"
          "<th scope=\"col\">Logical</th><th scope=\"col\">Stored</th><th scope=\"col\">Ratio</th>"
          "<th scope=\"col\" class=\"quota\">Quota</th><th scope=\"col\">Ops/s</th><th scope=\"col\">Read</th>"
          "<th scope=\"col\">Written</th><th scope=\"col\" class=\"hour\">Operations, last hour</th></tr></thead>\n"
          "<tbody>\n", to);
    for (u_int i = 0; i < n && i < VOLUMES_MAX; i++)
        put_volume(to, order[i]);
    fputs("</tbody></table></div>\n", to);
    if (n > VOLUMES_MAX)
        fprintf(to, "<p class=\"note\">… and %u more; <code>volnfs list</code> shows all.</p>\n", n - VOLUMES_MAX);
    fputs("</section>\n", to);
    free(order);
}

/* --- users, clients, operations --- */

static void put_use(FILE *to, uint64_t n, uint64_t max, bool bytes)
{
    char a[TEXT_MAX];
    fprintf(to, "<td%s>%s</td>", max && n >= max ? " class=\"bad\"" : "",
            bytes ? text_bytes((double)n, a) : text_count((double)n, a));
}

static void put_users(FILE *to, const control_status *s)
{
    u_int n = s->users.users_len;
    const control_use *max = &s->user_limits;
    if (!n)
        return;
    fputs("<section class=\"card wide\"><h2>Users</h2>\n<p class=\"note\">What clients use each user's volumes for now"
          "</p>\n<div class=\"scroll\"><table><thead><tr><th scope=\"col\">User</th><th scope=\"col\">Volumes</th>"
          "<th scope=\"col\">Connections</th><th scope=\"col\">Requests</th><th scope=\"col\">In memory</th>"
          "<th scope=\"col\">Open</th><th scope=\"col\">Locks</th><th scope=\"col\">Refused</th></tr></thead>\n"
          "<tbody>\n", to);
    for (u_int i = 0; i < n && i < USERS_MAX; i++) {
        const control_user *u = &s->users.users_val[i];
        fputs("<tr><th scope=\"row\">", to);
        text_html(to, u->name);
        fprintf(to, "</th><td>%u</td>", u->volumes);
        put_use(to, u->use.connections, max->connections, false);
        put_use(to, u->use.requests, max->requests, false);
        put_use(to, u->use.buffered, max->buffered, true);
        put_use(to, u->use.opens, max->opens, false);
        put_use(to, u->use.locks, max->locks, false);
        fprintf(to, "<td%s>%llu</td></tr>\n", u->refused ? " class=\"bad\"" : "", (unsigned long long)u->refused);
    }
    fputs("</tbody></table></div>\n", to);
    if (n > USERS_MAX)
        fprintf(to, "<p class=\"note\">… and %u more; <code>volnfs status</code> shows all.</p>\n", n - USERS_MAX);
    fputs("</section>\n", to);
}

static void put_clients(FILE *to, const control_status *s)
{
    u_int n = s->client_list.client_list_len;
    const control_client **order = order_clients(s);
    char a[TEXT_MAX];
    if (!order)
        return;
    fputs("<section class=\"card wide\"><h2>Clients</h2>\n", to);
    if (!n)
        fputs("<p class=\"nothing\">No client has a volume mounted or open.</p>", to);
    else
        fputs("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">Client</th><th scope=\"col\">Address</th>"
              "<th scope=\"col\">NFS</th><th scope=\"col\">Open</th><th scope=\"col\">Locks</th>"
              "<th scope=\"col\">Delegations</th><th scope=\"col\">Requests</th><th scope=\"col\">In</th>"
              "<th scope=\"col\">Out</th><th scope=\"col\">Heard of</th></tr></thead>\n<tbody>\n", to);
    for (u_int i = 0; i < n && i < CLIENTS_MAX; i++) {
        const control_client *c = order[i];
        fputs("<tr><th scope=\"row\" class=\"long\">", to);
        text_html(to, c->name);
        if (c->expired)
            fputs(" <span class=\"tag warn\">lease expired</span>", to);
        fputs("</th><td>", to);
        text_html(to, *c->address ? c->address : "–");
        fprintf(to, "</td><td>%s</td><td>%u</td><td>%u</td><td>%u</td>", c->minor ? "4.1+" : "4.0", c->opens, c->locks,
                c->delegations);
        fprintf(to, "<td>%s</td>", c->connections ? text_count((double)c->requests, a) : "–");
        fprintf(to, "<td>%s</td>", c->connections ? text_bytes((double)c->received, a) : "–");
        fprintf(to, "<td>%s</td>", c->connections ? text_bytes((double)c->sent, a) : "–");
        fprintf(to, "<td>%s ago</td></tr>\n", text_span(c->idle_ms / 1000, a));
    }
    if (n)
        fputs("</tbody></table></div>\n", to);
    if (n > CLIENTS_MAX)
        fprintf(to, "<p class=\"note\">… and %u more</p>\n", n - CLIENTS_MAX);
    fputs("</section>\n", to);
    free(order);
}

static void put_grants(FILE *to, const control_status *s)
{
    u_int n = s->grants.grants_len;
    char a[TEXT_MAX];
    fputs("<section class=\"card wide\"><h2>Grants</h2>\n", to);
    if (!n)
        fputs("<p class=\"nothing\">There are none: nobody may reach anything. <code>volnfs grant</code> makes one.</p>", to);
    else
        fputs("<div class=\"scroll\"><table><thead><tr><th scope=\"col\">For</th><th scope=\"col\" class=\"text\">On</th>"
              "<th scope=\"col\" class=\"text\">May</th><th scope=\"col\" class=\"text\">Squash</th>"
              "<th scope=\"col\" class=\"text\">Ends</th><th scope=\"col\">Operations</th><th scope=\"col\">Errors</th>"
              "<th scope=\"col\">Read</th><th scope=\"col\">Written</th></tr></thead>\n<tbody>\n", to);
    for (u_int i = 0; i < n && i < GRANTS_MAX; i++) {
        const control_grant *g = &s->grants.grants_val[i].grant;
        const control_traffic *t = &s->grants.grants_val[i].traffic;
        fputs("<tr><th scope=\"row\">", to);
        text_html(to, g->subject);
        if (*g->label) {
            fputs(" <span class=\"tag\">", to);
            text_html(to, g->label);
            fputs("</span>", to);
        }
        if (g->fixed)
            fputs(" <span class=\"tag\">start option</span>", to);
        fputs("</th><td class=\"text\">", to);
        text_html(to, g->object);
        fprintf(to, "</td><td class=\"text\">%s%s</td><td class=\"text\">%s</td>", g->write ? "read and write" : "read",
                g->create ? ", make volumes" : "", g->squash == 2 ? "all" : g->squash == 1 ? "root" : "none");
        if (!g->expires)
            fputs("<td class=\"text none\">never</td>", to);
        else if (g->expires <= (int64_t)s->now)
            fputs("<td class=\"text\"><span class=\"tag warn\">over</span></td>", to);
        else
            fprintf(to, "<td class=\"text\">in %s</td>", text_span((uint64_t)g->expires - s->now, a));
        fprintf(to, "<td>%s</td>", text_count((double)t->ops, a));
        fprintf(to, "<td>%s</td>", text_count((double)t->errors, a));
        fprintf(to, "<td>%s</td>", text_bytes((double)t->read_bytes, a));
        fprintf(to, "<td>%s</td></tr>\n", text_bytes((double)t->written_bytes, a));
    }
    if (n)
        fputs("</tbody></table></div>\n", to);
    if (n > GRANTS_MAX)
        fprintf(to, "<p class=\"note\">… and %u more; <code>volnfs grants</code> shows all.</p>\n", n - GRANTS_MAX);
    fputs("</section>\n", to);
}

static int more(const void *a, const void *b)
{
    const control_op *x = a, *y = b;
    return x->count < y->count ? 1 : x->count > y->count ? -1 : strcmp(x->name, y->name);
}

/* The most frequent first, with bars. */
static void put_counts(FILE *to, const char *title, const char *none, const control_op *ops, u_int n, bool errors)
{
    control_op *order = calloc(n + 1u, sizeof(*order));
    char a[TEXT_MAX];
    double most;
    if (!order)
        return;
    if (n)
        memcpy(order, ops, n * sizeof(*order));
    qsort(order, n, sizeof(*order), more);
    most = n ? (double)order[0].count : 1;
    fprintf(to, "<section class=\"card\"><h2>%s</h2>\n", title);
    if (!n)
        fprintf(to, "<p class=\"nothing\">%s</p>", none);
    else
        fprintf(to, "<table class=\"counts\"><thead><tr><th scope=\"col\">%s</th><th scope=\"col\" class=\"quota\"></th>"
                "<th scope=\"col\">Count</th>%s</tr></thead><tbody>\n", errors ? "Operation" : "Status",
                errors ? "<th scope=\"col\">Errors</th>" : "");
    for (u_int i = 0; i < n && i < OPS_MAX; i++) {
        fprintf(to, "<tr><th scope=\"row\">%s</th><td class=\"quota\"><svg class=\"bar\" viewBox=\"0 0 120 8\" "
                "preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"%s\" width=\"%.1f\" height=\"8\"/>"
                "</svg></td><td>%s</td>", order[i].name, errors ? "fill" : "high",
                4 + 116 * (double)order[i].count / most, text_count((double)order[i].count, a));
        if (errors)
            fprintf(to, "<td>%s</td>", order[i].errors ? text_count((double)order[i].errors, a) : "–");
        fputs("</tr>\n", to);
    }
    if (n)
        fputs("</tbody></table>\n", to);
    if (n > OPS_MAX)
        fprintf(to, "<p class=\"note\">… and %u more</p>\n", n - OPS_MAX);
    fputs("</section>\n", to);
    free(order);
}

void pages_status(FILE *to, const control_status *s)
{
    const control_traffic *t = &s->total;
    put_head(to, s);
    put_tiles(to, s);
    fputs("<div class=\"grid3\">\n", to);
    for (size_t i = 0; i < COUNT(charts); i++)
        chart_draw(to, &charts[i], t->history.history_val, t->history.history_len, s->now);
    fputs("</div>\n", to);
    put_volumes(to, s);
    put_users(to, s);
    put_clients(to, s);
    put_grants(to, s);
    fputs("<div class=\"grid2\">\n", to);
    put_counts(to, "Operations since the start", "None yet.", t->by_op.by_op_val, t->by_op.by_op_len, true);
    put_counts(to, "Errors since the start", "None: every operation succeeded.", s->statuses.statuses_val,
               s->statuses.statuses_len, false);
    fputs("</div>\n</main>\n<footer>Refreshes every ten seconds · <a href=\"metrics\">metrics</a> for Prometheus"
          "</footer>\n</body>\n</html>\n", to);
}
