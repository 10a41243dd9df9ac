/* SPDX-License-Identifier: Apache-2.0
 * props: a volume's properties as text (see props.h).
 */
#include "proto/props.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { CODEC_RAW = 0, CODEC_ZSTD = 1, LEVEL_MAX = 19 }; /* control.x */

const char *const props_keys[] = {"compression", "quota", "quota-files", "readonly", "snapdir", "recompress", "dedup", NULL};

/* Decimal digits only: no sign, no space. */
static int parse_digits(const char **text, uint64_t *out)
{
    uint64_t n = 0;
    const char *s = *text;
    if (*s < '0' || *s > '9')
        return -EINVAL;
    for (; *s >= '0' && *s <= '9'; s++)
        if (__builtin_mul_overflow(n, (uint64_t)10, &n) ||
            __builtin_add_overflow(n, (uint64_t)(*s - '0'), &n))
            return -ERANGE;
    *text = s;
    *out = n;
    return 0;
}

int props_parse_size(const char *text, uint64_t *out)
{
    static const char units[] = "KMGT";
    uint64_t n = 0;
    int err = parse_digits(&text, &n);
    if (err)
        return err;
    if (*text) {
        const char *u = strchr(units, *text >= 'a' ? *text - 'a' + 'A' : *text);
        if (!u)
            return -EINVAL;
        text++;
        if (*text && strcmp(text, "iB") && strcmp(text, "B"))
            return -EINVAL;
        unsigned shift = 10 * ((unsigned)(u - units) + 1);
        if (n > UINT64_MAX >> shift)
            return -ERANGE;
        n <<= shift;
    }
    *out = n;
    return 0;
}

void props_format_size(uint64_t bytes, char *out, size_t size)
{
    static const char units[] = "KMGT";
    int unit = -1;
    while (unit < 3 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    if (unit < 0)
        snprintf(out, size, "%llu", (unsigned long long)bytes);
    else
        snprintf(out, size, "%llu%c", (unsigned long long)bytes, units[unit]);
}

static int set_compression(control_props *p, const char *value)
{
    uint64_t level = 1;
    if (!strcmp(value, "off")) {
        p->codec = CODEC_RAW;
        return 0;
    }
    if (strncmp(value, "zstd", 4))
        return -EINVAL;
    value += 4;
    if (*value) {
        if (*value++ != '-' || parse_digits(&value, &level) || *value || !level || level > LEVEL_MAX)
            return -EINVAL;
    }
    p->codec = CODEC_ZSTD;
    p->level = (int)level;
    return 0;
}

static int set_quota(control_props *p, const char *value)
{
    uint64_t n = 0;
    if (strcmp(value, "none") && (props_parse_size(value, &n) || !n || n > INT64_MAX))
        return -EINVAL;
    p->quota_bytes = n;
    return 0;
}

static int set_quota_files(control_props *p, const char *value)
{
    uint64_t n = 0;
    if (strcmp(value, "none") && (parse_digits(&value, &n) || *value || !n || n > INT64_MAX))
        return -EINVAL;
    p->quota_files = n;
    return 0;
}

static int set_readonly(control_props *p, const char *value)
{
    bool on = !strcmp(value, "on");
    if (!on && strcmp(value, "off"))
        return -EINVAL;
    p->readonly = on;
    return 0;
}

static int set_snapdir(control_props *p, const char *value)
{
    bool visible = !strcmp(value, "visible");
    if (!visible && strcmp(value, "hidden"))
        return -EINVAL;
    p->snapdir = visible;
    return 0;
}

static int set_recompress(control_props *p, const char *value)
{
    uint64_t level = 0;
    if (strcmp(value, "off")) {
        if (strncmp(value, "zstd-", 5))
            return -EINVAL;
        value += 5;
        if (parse_digits(&value, &level) || *value || !level || level > LEVEL_MAX)
            return -EINVAL;
    }
    p->recompress = (u_int)level;
    return 0;
}

static int set_dedup(control_props *p, const char *value)
{
    bool on = !strcmp(value, "on");
    if (!on && strcmp(value, "off"))
        return -EINVAL;
    p->dedup = on;
    return 0;
}

static void get_dedup(const control_props *p, char *out, size_t size)
{
    snprintf(out, size, "%s", p->dedup ? "on" : "off");
}

static void get_recompress(const control_props *p, char *out, size_t size)
{
    if (p->recompress)
        snprintf(out, size, "zstd-%u", p->recompress);
    else
        snprintf(out, size, "off");
}

static void get_compression(const control_props *p, char *out, size_t size)
{
    if (p->codec == CODEC_RAW)
        snprintf(out, size, "off");
    else
        snprintf(out, size, "zstd-%d", p->level);
}

static void get_quota(const control_props *p, char *out, size_t size)
{
    if (p->quota_bytes)
        props_format_size(p->quota_bytes, out, size);
    else
        snprintf(out, size, "none");
}

static void get_quota_files(const control_props *p, char *out, size_t size)
{
    if (p->quota_files)
        snprintf(out, size, "%llu", (unsigned long long)p->quota_files);
    else
        snprintf(out, size, "none");
}

static void get_readonly(const control_props *p, char *out, size_t size)
{
    snprintf(out, size, "%s", p->readonly ? "on" : "off");
}

static void get_snapdir(const control_props *p, char *out, size_t size)
{
    snprintf(out, size, "%s", p->snapdir ? "visible" : "hidden");
}

static const struct prop {
    const char *key, *takes;
    int (*set)(control_props *p, const char *value);
    void (*get)(const control_props *p, char *out, size_t size);
} props[] = {
    {"compression", "off, zstd, or zstd-1 to zstd-19", set_compression, get_compression},
    {"quota", "none, or a size such as 10G", set_quota, get_quota},
    {"quota-files", "none, or a number of files", set_quota_files, get_quota_files},
    {"readonly", "on or off", set_readonly, get_readonly},
    {"snapdir", "hidden or visible", set_snapdir, get_snapdir},
    {"recompress", "off, or zstd-1 to zstd-19", set_recompress, get_recompress},
    {"dedup", "on or off", set_dedup, get_dedup},
};

static const struct prop *find_prop(const char *key)
{
    for (size_t i = 0; i < sizeof(props) / sizeof(props[0]); i++)
        if (!strcmp(props[i].key, key))
            return &props[i];
    return NULL;
}

void props_unknown(const char *key, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "there is no property '%.64s': use", key);
    for (const char *const *k = props_keys; *k && at < size; k++)
        at += (size_t)snprintf(out + at, size - at, "%s %s", k == props_keys ? "" : k[1] ? "," : " or", *k);
}

int props_set(control_props *p, const char *key, const char *value, char *err, size_t err_size)
{
    const struct prop *prop = find_prop(key);
    if (!prop) {
        props_unknown(key, err, err_size);
        return -EINVAL;
    }
    if (prop->set(p, value)) {
        snprintf(err, err_size, "'%.64s' is not a value of %s: it takes %s", value, key, prop->takes);
        return -EINVAL;
    }
    return 0;
}

int props_set_list(control_props *p, const char *list, char *err, size_t err_size)
{
    control_props copy = *p;
    while (*list) {
        char key[PROPS_TEXT_MAX], *eq;
        size_t len = strcspn(list, ",");
        if (len >= sizeof(key)) {
            snprintf(err, err_size, "'%.64s…' is too long for a property", list);
            return -EINVAL;
        }
        memcpy(key, list, len);
        key[len] = 0;
        eq = strchr(key, '=');
        if (!eq) {
            snprintf(err, err_size, "'%.64s' is not of the form PROPERTY=VALUE", key);
            return -EINVAL;
        }
        *eq = 0;
        if (props_set(&copy, key, eq + 1, err, err_size))
            return -EINVAL;
        list += len;
        if (*list == ',')
            list++;
    }
    *p = copy;
    return 0;
}

int props_get(const control_props *p, const char *key, char *out, size_t size)
{
    const struct prop *prop = find_prop(key);
    if (!prop)
        return -EINVAL;
    prop->get(p, out, size);
    return 0;
}
