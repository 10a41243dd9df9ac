/* SPDX-License-Identifier: Apache-2.0
 * grant_text: grants as people write them.
 */
#include "server/grant/grant_text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- networks --- */

static const uint8_t mapped[12] = {[10] = 0xff, 0xff};

static void mask_bits(const uint8_t in[16], unsigned prefix, uint8_t out[16])
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned keep = prefix > i * 8 ? prefix - i * 8 : 0;

        out[i] = keep >= 8 ? in[i] : (uint8_t)(in[i] & ~(0xff >> keep));
    }
}

/* Decimal digits, at most max. */
static bool small_number(const char *text, unsigned long max, unsigned long *out)
{
    char *end;

    if (!*text || strlen(text) > 10 || strspn(text, "0123456789") != strlen(text))
        return false;
    *out = strtoul(text, &end, 10);
    return *out <= max;
}

const char *grant_parse_network(const char *text, struct grant_row *row, char *buf, size_t size)
{
    static const char form[] = "a network looks like 10.0.0.0/8, 192.0.2.7, 2001:db8::/32 or any";
    const char *slash = strchr(text, '/');
    size_t len = slash ? (size_t)(slash - text) : strlen(text);
    unsigned base = 0;
    unsigned long prefix = 128;
    char host[INET6_ADDRSTRLEN], right[64];
    uint8_t masked[16];

    row->subject = GRANT_NETWORK;
    memset(row->net, 0, sizeof(row->net));
    row->prefix = 0;
    if (!strcmp(text, "any"))
        return NULL;
    if (!len || len >= sizeof(host))
        return form;
    memcpy(host, text, len);
    host[len] = 0;
    if (inet_pton(AF_INET, host, row->net + 12) == 1) {
        memcpy(row->net, mapped, sizeof(mapped));
        base = 96;
    } else if (inet_pton(AF_INET6, host, row->net) != 1) {
        return form;
    }
    if (slash) {
        if (!small_number(slash + 1, 128 - base, &prefix))
            return form;
        prefix += base;
    }
    row->prefix = (unsigned)prefix;
    mask_bits(row->net, row->prefix, masked);
    if (memcmp(masked, row->net, 16) != 0) {
        memcpy(row->net, masked, 16);
        grant_print_network(row, right, sizeof(right));
        snprintf(buf, size, "it has bits behind its prefix; %s is the network", right);
        return buf;
    }
    return NULL;
}

void grant_print_network(const struct grant_row *row, char *buf, size_t size)
{
    bool v4 = row->prefix >= 96 && !memcmp(row->net, mapped, sizeof(mapped));
    unsigned prefix = v4 ? row->prefix - 96 : row->prefix;
    char host[INET6_ADDRSTRLEN] = "";

    if (!row->prefix) {
        snprintf(buf, size, "any");
        return;
    }
    inet_ntop(v4 ? AF_INET : AF_INET6, row->net + (v4 ? 12 : 0), host, sizeof(host));
    if (row->prefix == 128)
        snprintf(buf, size, "%s", host);
    else
        snprintf(buf, size, "%s/%u", host, prefix);
}

/* --- squash --- */

static const char *const squashes[] = {"none", "root", "all"};

int grant_parse_squash(const char *text, enum grant_squash *out)
{
    for (unsigned i = 0; i < 3; i++) {
        if (!strcmp(text, squashes[i])) {
            *out = (enum grant_squash)i;
            return 0;
        }
    }
    return -EINVAL;
}

int grant_parse_anon(const char *text, struct grant_row *row)
{
    const char *colon = strchr(text, ':');
    unsigned long uid, gid;
    char number[16];

    if (!colon || colon - text >= (long)sizeof(number))
        return -EINVAL;
    memcpy(number, text, (size_t)(colon - text));
    number[colon - text] = 0;
    /* -1 means "leave it" to chown; nobody can be it */
    if (!small_number(number, UINT32_MAX - 1, &uid) || !small_number(colon + 1, UINT32_MAX - 1, &gid))
        return -EINVAL;
    row->has_anon = true;
    row->anon_uid = (uint32_t)uid;
    row->anon_gid = (uint32_t)gid;
    return 0;
}

/* --- objects --- */

bool grant_path_ok(const char *path)
{
    size_t len = strlen(path);

    if (!len || len > GRANT_PATH_MAX)
        return false;
    for (const char *p = path;; p++) {
        size_t n = strcspn(p, "/");

        if (!n || n > STORE_NAME_MAX || (p[0] == '.' && (n == 1 || (n == 2 && p[1] == '.'))))
            return false;
        p += n;
        if (!*p)
            return true;
    }
}

/* As snapshots are called. */
static bool snapshot_ok(const char *name, size_t len)
{
    static const char first[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

    if (!len || !strchr(first, name[0]))
        return false;
    for (size_t i = 1; i < len; i++)
        if (!name[i] || (!strchr(first, name[i]) && !strchr("._-:", name[i])))
            return false;
    return true;
}

int grant_parse_object(const char *text, struct grant_names *out)
{
    const char *rest = strchr(text, '/'), *at;
    size_t len;

    memset(out, 0, sizeof(*out));
    if (!strcmp(text, "/"))
        return 0;
    len = rest ? (size_t)(rest - text) : strlen(text);
    if (statedb_check_user_name(text, len))
        return -EINVAL;
    memcpy(out->user, text, len);
    out->object = GRANT_USER;
    if (!rest)
        return 0;
    text = rest + 1;
    rest = strchr(text, '/');
    len = rest ? (size_t)(rest - text) : strlen(text);
    at = memchr(text, '@', len);
    if (at) {
        size_t snap = len - (size_t)(at + 1 - text);

        if (rest || snap > STORE_SNAP_NAME_MAX || !snapshot_ok(at + 1, snap))
            return -EINVAL;
        memcpy(out->snapshot, at + 1, snap);
        len = (size_t)(at - text);
    }
    if (statedb_check_volume_name(text, len))
        return -EINVAL;
    memcpy(out->volume, text, len);
    out->object = at ? GRANT_SNAPSHOT : GRANT_VOLUME;
    if (!rest)
        return 0;
    if (!grant_path_ok(rest + 1))
        return -EINVAL;
    out->object = GRANT_SUBPATH;
    strcpy(out->path, rest + 1);
    return 0;
}

/* --- rules --- */

static const char *one_word(const char *word, struct grant_row *row)
{
    if (!strcmp(word, "ro")) {
        row->rights = 0;
    } else if (!strcmp(word, "rw")) {
        row->rights |= GRANT_MAY_WRITE;
    } else if (!strcmp(word, "create")) {
        row->rights |= GRANT_MAY_WRITE | GRANT_MAY_CREATE;
    } else if (!strncmp(word, "squash=", 7)) {
        if (grant_parse_squash(word + 7, &row->squash))
            return "squash is none, root or all";
    } else if (!strncmp(word, "anon=", 5)) {
        if (grant_parse_anon(word + 5, row))
            return "anon is UID:GID";
    } else {
        return "the words behind network and object are ro, rw, create, squash=none|root|all and anon=UID:GID";
    }
    return NULL;
}

const char *grant_parse_rule(const char *text, struct grant_row *row, char *object, size_t object_size, char *buf,
                             size_t size)
{
    char copy[2048], *save = NULL, *word;
    struct grant_names names;
    const char *wrong;

    memset(row, 0, sizeof(*row));
    row->rights = GRANT_MAY_WRITE;
    if (strlen(text) >= sizeof(copy))
        return "it is too long";
    strcpy(copy, text);
    word = strtok_r(copy, " \t", &save);
    if (!word)
        return "it has to be NETWORK OBJECT [WORD]...";
    wrong = grant_parse_network(word, row, buf, size);
    if (wrong)
        return wrong;
    word = strtok_r(NULL, " \t", &save);
    if (!word || strlen(word) >= object_size || grant_parse_object(word, &names))
        return "behind the network an object has to follow: / or USER or USER/VOLUME or USER/VOLUME@SNAPSHOT or "
               "USER/VOLUME/FOLDER";
    strcpy(object, word);
    while ((word = strtok_r(NULL, " \t", &save)))
        if ((wrong = one_word(word, row)))
            return wrong;
    if (row->rights & GRANT_MAY_CREATE && names.object > GRANT_USER)
        return "create is for / and users: volumes are made in those";
    if (row->has_anon && row->squash == GRANT_SQUASH_NONE)
        return "anon says whom squash=root or squash=all make of a user";
    return NULL;
}
