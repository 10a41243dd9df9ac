/* SPDX-License-Identifier: Apache-2.0
 * held: a grant as it was given, made of its row and told as one (see held.h).
 */
#include "server/grant/held.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/grant/grant_text.h"

void held_free(struct held *h)
{
    if (!h)
        return;
    free((char *)h->r.path);
    free(h->label);
    free(h->object);
    free(h);
}

struct held *held_new(const struct grant_row *row, const char *object)
{
    struct held *h = calloc(1, sizeof(*h));

    if (!h)
        return NULL;
    h->r = (struct grant_rule){
        .id = row->id,
        .subject = row->subject,
        .object = row->object,
        .user = row->user,
        .volume = row->volume,
        .snapshot = row->snapshot,
        .level = row->rights & GRANT_MAY_WRITE ? GRANT_WRITE : GRANT_READ,
        .create = row->rights & GRANT_MAY_CREATE,
        .squash = row->squash,
        .has_anon = row->has_anon,
        .anon_uid = row->anon_uid,
        .anon_gid = row->anon_gid,
        .expires = row->expires,
        .prefix = row->prefix,
    };
    memcpy(h->r.net, row->net, sizeof(row->net));
    memcpy(h->r.salt, row->salt, sizeof(row->salt));
    memcpy(h->r.hash, row->hash, sizeof(row->hash));
    h->created = row->created;
    h->there = true;
    h->r.path = strdup(row->path);
    h->label = strdup(row->label);
    h->object = object ? strdup(object) : NULL;
    if (!h->r.path || !h->label || (object && !h->object)) {
        held_free(h);
        return NULL;
    }
    return h;
}

void held_row(const struct held *h, struct grant_row *row)
{
    *row = (struct grant_row){
        .id = h->r.id,
        .subject = h->r.subject,
        .object = h->r.object,
        .user = h->r.user,
        .volume = h->r.volume,
        .snapshot = h->r.snapshot,
        .rights = (h->r.level == GRANT_WRITE ? GRANT_MAY_WRITE : 0) | (h->r.create ? GRANT_MAY_CREATE : 0),
        .squash = h->r.squash,
        .has_anon = h->r.has_anon,
        .anon_uid = h->r.anon_uid,
        .anon_gid = h->r.anon_gid,
        .expires = h->r.expires,
        .created = h->created,
        .prefix = h->r.prefix,
    };
    memcpy(row->net, h->r.net, sizeof(row->net));
    snprintf(row->path, sizeof(row->path), "%s", h->r.path);
    snprintf(row->label, sizeof(row->label), "%s", h->label);
}

int held_check(const struct grant_row *row)
{
    uint8_t net[16];

    if (row->subject == GRANT_NETWORK) {
        if (row->prefix > 128)
            return -EINVAL;
        memcpy(net, row->net, 16);
        for (unsigned bit = row->prefix; bit < 128; bit++)
            net[bit / 8] &= (uint8_t)~(0x80 >> (bit % 8));
        if (memcmp(net, row->net, 16) != 0)
            return -EINVAL;
    } else if (row->subject != GRANT_TOKEN) {
        return -EINVAL;
    }
    if ((row->object == GRANT_SUBPATH) != (row->path[0] != 0) || (row->path[0] && !grant_path_ok(row->path)))
        return -EINVAL;
    if (row->rights & GRANT_MAY_CREATE && (row->object > GRANT_USER || !(row->rights & GRANT_MAY_WRITE)))
        return -EINVAL;
    if (row->object == GRANT_SNAPSHOT && row->rights)
        return -EINVAL;
    return row->squash == GRANT_SQUASH_NONE && row->has_anon ? -EINVAL : 0;
}
