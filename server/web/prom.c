/* SPDX-License-Identifier: Apache-2.0
 * prom: a report in the text format of Prometheus. Each family is written in one piece, after its HELP and TYPE.
 */
#include <errno.h>
#include <stddef.h>

#include "server/metrics/metrics.h"
#include "server/web/pages.h"

static const unsigned ends_us[] = {16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864};

static void family(FILE *to, const char *name, const char *type, const char *help)
{
    fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void one(FILE *to, const char *name, const char *type, const char *help, double value)
{
    family(to, name, type, help);
    fprintf(to, "%s %.17g\n", name, value);
}

/* A label's value: backslash, quote and newline are escaped. */
static void label(FILE *to, const char *value)
{
    fputc('"', to);
    for (; *value; value++) {
        if (*value == '\\' || *value == '"')
            fputc('\\', to);
        if (*value == '\n')
            fputs("\\n", to);
        else
            fputc(*value, to);
    }
    fputc('"', to);
}

static uint64_t below(const control_latency *l, uint64_t us)
{
    uint64_t n = 0;
    for (unsigned b = 0; b < l->buckets.buckets_len && metrics_bucket_end(b) <= us; b++)
        n += l->buckets.buckets_val[b];
    return n;
}

/* Of a volume, a grant, or (both NULL) the whole server: its labels, with a comma behind. */
static void whose(FILE *to, const char *volume, const control_grant *grant)
{
    if (volume) {
        fputs("volume=", to);
        label(to, volume);
        fputc(',', to);
    }
    if (grant) {
        fprintf(to, "grant=\"%llu\",subject=", (unsigned long long)grant->id);
        label(to, grant->subject);
        fputs(",object=", to);
        label(to, grant->object);
        fputc(',', to);
    }
}

static void histogram(FILE *to, const char *name, const char *volume, const control_grant *grant,
                      const control_traffic *t)
{
    for (unsigned c = 0; c < CONTROL_CLASSES; c++) {
        const control_latency *l = &t->latency[c];
        if ((volume || grant) && !l->count)
            continue;
        for (size_t i = 0; i <= sizeof(ends_us) / sizeof(ends_us[0]); i++) {
            bool last = i == sizeof(ends_us) / sizeof(ends_us[0]);
            fprintf(to, "%s_bucket{", name);
            whose(to, volume, grant);
            fprintf(to, "class=\"%s\",le=", metrics_class_names[c]);
            if (last)
                fprintf(to, "\"+Inf\"} %llu\n", (unsigned long long)l->count);
            else
                fprintf(to, "\"%.9g\"} %llu\n", ends_us[i] / 1e6, (unsigned long long)below(l, ends_us[i]));
        }
        for (int sum = 1; sum >= 0; sum--) {
            fprintf(to, "%s_%s{", name, sum ? "sum" : "count");
            whose(to, volume, grant);
            fprintf(to, "class=\"%s\"} %.17g\n", metrics_class_names[c],
                    sum ? (double)l->sum_us / 1e6 : (double)l->count);
        }
    }
}

static void server(FILE *to, const control_status *s)
{
    family(to, "volnfs_build_info", "gauge", "The release that runs.");
    fputs("volnfs_build_info{version=", to);
    label(to, s->info.release);
    fputs("} 1\n", to);
    one(to, "volnfs_uptime_seconds", "gauge", "Time since the start.", (double)s->uptime_ms / 1000);
    one(to, "volnfs_starts_total", "counter", "How many times the store was served.", (double)s->info.epoch);
    one(to, "process_resident_memory_bytes", "gauge", "Memory in use.", (double)s->rss_bytes);
    one(to, "process_cpu_seconds_total", "counter", "Processor time used.", (double)s->cpu_us / 1e6);
    if (s->disk_size) {
        one(to, "volnfs_store_free_bytes", "gauge", "Room on the disk of the store.", (double)s->disk_free);
        one(to, "volnfs_store_size_bytes", "gauge", "Size of this disk.", (double)s->disk_size);
    }
    one(to, "volnfs_grace", "gauge", "1 while clients may reclaim after a restart.", s->grace ? 1 : 0);
    one(to, "volnfs_clients", "gauge", "Clients with a lease.", s->clients);
    one(to, "volnfs_sessions", "gauge", "Sessions of NFSv4.1 and later.", s->sessions);
    one(to, "volnfs_opens", "gauge", "Opens held by clients.", s->opens);
    one(to, "volnfs_locks", "gauge", "Ranges locked by clients.", s->locks);
    one(to, "volnfs_lock_waits", "gauge", "Locks that clients wait for.", s->waits);
    one(to, "volnfs_delegations", "gauge", "Delegations held by clients.", s->delegations);
    one(to, "volnfs_connections", "gauge", "Open connections.", s->connections);
    one(to, "volnfs_connections_limit", "gauge", "How many connections there may be.", s->connections_max);
}

static void store(FILE *to, const control_store *st)
{
    one(to, "volnfs_cache_size_bytes", "gauge", "Memory the cache may take.", (double)st->cache_size);
    one(to, "volnfs_cache_used_bytes", "gauge", "Memory the cache takes.", (double)st->cache_used);
    one(to, "volnfs_cache_dirty_bytes", "gauge", "Part of it that is not on the disk yet.",
        (double)st->cache_pinned);
    one(to, "volnfs_cache_reads_total", "counter", "Slots that reads touched.", (double)st->cache_reads);
    one(to, "volnfs_cache_misses_total", "counter", "Slots fetched from the disk for them.",
        (double)st->cache_loads);
    one(to, "volnfs_commits_total", "counter", "Groups of changes made durable.", (double)st->commits);
    one(to, "volnfs_commit_seconds_total", "counter", "Time that this took.", (double)st->commit_us / 1e6);
    one(to, "volnfs_deduplicated_bytes_total", "counter", "Bytes that were not stored again, before compression.",
        (double)st->deduped);
    one(to, "volnfs_hurried_bytes_total", "counter",
        "Bytes that were stored raw because compression did not keep up, to be compressed later.", (double)st->hurried);
    one(to, "volnfs_gc_copied_bytes_total", "counter", "Bytes that compaction of packs moved.", (double)st->gc_copied);
    one(to, "volnfs_gc_freed_bytes_total", "counter", "Bytes of packs that it removed.", (double)st->gc_freed);
    one(to, "volnfs_pack_bytes", "gauge", "Packs on the disk, of all volumes that are open.", (double)st->pack_bytes);
    one(to, "volnfs_gc_volumes", "gauge", "Volumes where compaction copies a pack out now.", st->gc_volumes);
    one(to, "volnfs_journal_used_bytes", "gauge", "What is in the journals of all volumes that are open.",
        (double)st->journal_used);
    one(to, "volnfs_journal_size_bytes", "gauge", "What these take on the disk.", (double)st->journal_size);
    one(to, "volnfs_journal_age_seconds", "gauge", "How long the oldest change waits to get into an index.",
        (double)st->journal_ms / 1000);
    one(to, "volnfs_pack_live_bytes", "gauge", "What of them is in use.", (double)st->live_bytes);
}

static void traffic(FILE *to, const control_status *s)
{
    const control_traffic *t = &s->total;
    family(to, "volnfs_operations_total", "counter", "NFS operations.");
    for (u_int i = 0; i < t->by_op.by_op_len; i++)
        fprintf(to, "volnfs_operations_total{op=\"%s\"} %llu\n", t->by_op.by_op_val[i].name,
                (unsigned long long)t->by_op.by_op_val[i].count);
    family(to, "volnfs_operation_errors_total", "counter", "NFS operations that were answered with an error.");
    for (u_int i = 0; i < t->by_op.by_op_len; i++)
        fprintf(to, "volnfs_operation_errors_total{op=\"%s\"} %llu\n", t->by_op.by_op_val[i].name,
                (unsigned long long)t->by_op.by_op_val[i].errors);
    family(to, "volnfs_errors_total", "counter", "Errors that NFS operations were answered with.");
    for (u_int i = 0; i < s->statuses.statuses_len; i++)
        fprintf(to, "volnfs_errors_total{status=\"%s\"} %llu\n", s->statuses.statuses_val[i].name,
                (unsigned long long)s->statuses.statuses_val[i].count);
    one(to, "volnfs_read_bytes_total", "counter", "Bytes of files read.", (double)t->read_bytes);
    one(to, "volnfs_written_bytes_total", "counter", "Bytes of files written.", (double)t->written_bytes);
    family(to, "volnfs_request_duration_seconds", "histogram",
           "From a request's arrival to its durable reply, by the heaviest thing it asked for.");
    histogram(to, "volnfs_request_duration_seconds", NULL, NULL, t);
}

/* One value of each volume; size: only where sizes are known. */
static void each(FILE *to, const control_status *s, const char *name, const char *type, const char *help, bool size,
                 double (*get)(const control_vstatus *v))
{
    family(to, name, type, help);
    for (u_int i = 0; i < s->volumes.volumes_len; i++) {
        const control_vstatus *v = &s->volumes.volumes_val[i];
        if (size && v->volume.err)
            continue;
        fprintf(to, "%s{volume=", name);
        label(to, v->volume.name);
        fprintf(to, "} %.17g\n", get(v));
    }
}

static double get_errors(const control_vstatus *v) { return (double)v->traffic.errors; }
static double get_read(const control_vstatus *v) { return (double)v->traffic.read_bytes; }
static double get_written(const control_vstatus *v) { return (double)v->traffic.written_bytes; }
static double get_files(const control_vstatus *v) { return (double)v->volume.files; }
static double get_logical(const control_vstatus *v) { return (double)v->volume.logical; }
static double get_stored(const control_vstatus *v) { return (double)v->volume.stored; }
static double get_packs(const control_vstatus *v) { return (double)v->volume.pack_bytes; }
static double get_index(const control_vstatus *v) { return (double)v->volume.index_bytes; }
static double get_journal(const control_vstatus *v) { return (double)v->volume.journal_used; }
static double get_age(const control_vstatus *v) { return (double)v->volume.journal_ms / 1000; }
static double get_quota(const control_vstatus *v) { return (double)v->volume.props.quota_bytes; }
static double get_broken(const control_vstatus *v) { return v->volume.err && v->volume.err != -EAGAIN; }

static void volumes(FILE *to, const control_status *s)
{
    family(to, "volnfs_volume_operations_total", "counter", "NFS operations in a volume.");
    for (u_int i = 0; i < s->volumes.volumes_len; i++) {
        const control_vstatus *v = &s->volumes.volumes_val[i];
        for (u_int k = 0; k < v->traffic.by_op.by_op_len; k++) {
            fputs("volnfs_volume_operations_total{volume=", to);
            label(to, v->volume.name);
            fprintf(to, ",op=\"%s\"} %llu\n", v->traffic.by_op.by_op_val[k].name,
                    (unsigned long long)v->traffic.by_op.by_op_val[k].count);
        }
    }
    each(to, s, "volnfs_volume_operation_errors_total", "counter", "Those answered with an error.", false, get_errors);
    each(to, s, "volnfs_volume_read_bytes_total", "counter", "Bytes of its files read.", false, get_read);
    each(to, s, "volnfs_volume_written_bytes_total", "counter", "Bytes of its files written.", false, get_written);
    family(to, "volnfs_volume_request_duration_seconds", "histogram",
           "As volnfs_request_duration_seconds, in a volume.");
    for (u_int i = 0; i < s->volumes.volumes_len; i++)
        histogram(to, "volnfs_volume_request_duration_seconds", s->volumes.volumes_val[i].volume.name, NULL,
                  &s->volumes.volumes_val[i].traffic);
    each(to, s, "volnfs_volume_files", "gauge", "Files and directories.", true, get_files);
    each(to, s, "volnfs_volume_logical_bytes", "gauge", "Bytes of its files, holes not counted.", true, get_logical);
    each(to, s, "volnfs_volume_stored_bytes", "gauge", "What these take compressed.", true, get_stored);
    each(to, s, "volnfs_volume_pack_bytes", "gauge", "Its packs on the disk, dead data included.", true, get_packs);
    each(to, s, "volnfs_volume_index_bytes", "gauge", "Its index on the disk.", true, get_index);
    each(to, s, "volnfs_volume_journal_used_bytes", "gauge", "What is in its journal.", true, get_journal);
    each(to, s, "volnfs_volume_journal_age_seconds", "gauge", "How long its oldest change waits to get into the index.",
         true, get_age);
    each(to, s, "volnfs_volume_quota_bytes", "gauge", "The most bytes it may have; 0: no limit.", true, get_quota);
    each(to, s, "volnfs_volume_broken", "gauge", "1 if it cannot be opened.", false, get_broken);
}

static void grants(FILE *to, const control_status *s)
{
    static const struct {
        const char *name, *help;
    } sums[] = {{"volnfs_grant_operations_total", "NFS operations under a grant."},
                {"volnfs_grant_operation_errors_total", "Those answered with an error."},
                {"volnfs_grant_read_bytes_total", "Bytes of files read under it."},
                {"volnfs_grant_written_bytes_total", "Bytes of files written under it."}};
    for (unsigned k = 0; k < sizeof(sums) / sizeof(sums[0]); k++) {
        family(to, sums[k].name, "counter", sums[k].help);
        for (u_int i = 0; i < s->grants.grants_len; i++) {
            const control_traffic *t = &s->grants.grants_val[i].traffic;
            const uint64_t n[] = {t->ops, t->errors, t->read_bytes, t->written_bytes};
            fprintf(to, "%s{", sums[k].name);
            whose(to, NULL, &s->grants.grants_val[i].grant);
            fprintf(to, "} %llu\n", (unsigned long long)n[k]);
        }
    }
    family(to, "volnfs_grant_request_duration_seconds", "histogram",
           "As volnfs_request_duration_seconds, under a grant.");
    for (u_int i = 0; i < s->grants.grants_len; i++)
        histogram(to, "volnfs_grant_request_duration_seconds", NULL, &s->grants.grants_val[i].grant,
                  &s->grants.grants_val[i].traffic);
}

static void users(FILE *to, const control_status *s)
{
    static const struct {
        const char *name, *help;
        size_t at; /* in control_use */
    } uses[] = {
        {"connections", "Connections that were last used for a user's volumes.", offsetof(control_use, connections)},
        {"requests", "Requests under way.", offsetof(control_use, requests)},
        {"buffered_bytes", "Bytes of requests under way, and of replies that are not taken yet.",
         offsetof(control_use, buffered)},
        {"opens", "Opens held by clients.", offsetof(control_use, opens)},
        {"locks", "Ranges locked by clients.", offsetof(control_use, locks)}};
    char name[64];
    for (unsigned k = 0; k < sizeof(uses) / sizeof(uses[0]); k++) {
        snprintf(name, sizeof(name), "volnfs_user_%s", uses[k].name);
        family(to, name, "gauge", uses[k].help);
        for (u_int i = 0; i < s->users.users_len; i++) {
            const control_user *u = &s->users.users_val[i];
            fprintf(to, "%s{user=", name);
            label(to, u->name);
            fprintf(to, "} %llu\n", (unsigned long long)*(const uint64_t *)((const char *)&u->use + uses[k].at));
        }
    }
    family(to, "volnfs_user_limit", "gauge", "What each user may have, where there is a limit.");
    for (unsigned k = 0; k < sizeof(uses) / sizeof(uses[0]); k++) {
        uint64_t max = *(const uint64_t *)((const char *)&s->user_limits + uses[k].at);
        if (max)
            fprintf(to, "volnfs_user_limit{of=\"%s\"} %llu\n", uses[k].name, (unsigned long long)max);
    }
}

void pages_metrics(FILE *to, const control_status *s)
{
    server(to, s);
    store(to, &s->store);
    traffic(to, s);
    volumes(to, s);
    users(to, s);
    grants(to, s);
}
