/* SPDX-License-Identifier: Apache-2.0
 * format: how the volnfs command shows volumes (see format.h).
 */
#include "client/cli/format.h"

#include <stdio.h>
#include <string.h>

#include "client/cli/cli.h"
#include "proto/props.h"

void format_size(uint64_t bytes, char *out, size_t size)
{
    static const char units[] = " KMGTPE";
    double n = (double)bytes;
    int unit = 0;
    while (n >= 999.5 && units[unit + 1]) {
        n /= 1024;
        unit++;
    }
    if (!unit)
        snprintf(out, size, "%llu", (unsigned long long)bytes);
    else
        snprintf(out, size, n < 9.95 ? "%.1f%c" : "%.0f%c", n, units[unit]);
}

void format_ratio(const control_volume *v, char *out, size_t size)
{
    if (!v->stored || v->logical <= v->unwritten)
        snprintf(out, size, "-");
    else
        snprintf(out, size, "%.2fx", (double)(v->logical - v->unwritten) / (double)v->stored);
}

json_t *format_volume(const control_volume *v)
{
    json_t *p = json_object();
    char value[PROPS_TEXT_MAX];
    if (!p)
        return NULL;
    for (const char *const *k = props_keys; *k; k++) {
        props_get(&v->props, *k, value, sizeof(value));
        json_object_set_new(p, *k, json_string(value));
    }
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:b, s:i, s:o}", "name", v->name,
                     "id", (json_int_t)v->id, "created", (json_int_t)v->created, "files",
                     (json_int_t)v->files, "logical", (json_int_t)v->logical, "unwritten", (json_int_t)v->unwritten, "stored",
                     (json_int_t)v->stored, "held", (json_int_t)v->held, "snapshots", (int)v->snapshots,
                     "pack_bytes", (json_int_t)v->pack_bytes, "index_bytes",
                     (json_int_t)v->index_bytes, "journal_used", (json_int_t)v->journal_used, "journal_size",
                     (json_int_t)v->journal_size, "journal_ms", (json_int_t)v->journal_ms, "compacting",
                     (int)v->compacting, "quota_bytes", (json_int_t)v->props.quota_bytes,
                     "quota_files", (json_int_t)v->props.quota_files, "readonly", (int)v->props.readonly,
                     "error", -v->err, "properties", p);
}

int format_print_json(json_t *j)
{
    int status = 0;
    if (!j)
        return cli_fail("out of memory");
    if (json_dumpf(j, stdout, JSON_INDENT(2)) || putchar('\n') == EOF || fflush(stdout))
        status = cli_fail("cannot write the output");
    json_decref(j);
    return status;
}
