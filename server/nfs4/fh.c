/* SPDX-License-Identifier: Apache-2.0
 * fh: making and checking file handles.
 */
#include "server/nfs4/fh.h"

#include <stdbool.h>
#include <string.h>

#include "common/siphash.h"

/* Bytes that the MAC covers. */
#define FH_SIGNED_1 24u
#define FH_SIGNED_2 40u

enum { FH_ROOT, FH_USER, FH_INODE, FH_TOKENS };

static void put64(char *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (char)(v >> (56 - 8 * i));
}

static uint64_t get64(const char *p)
{
    uint64_t v = 0;

    for (int i = 0; i < 8; i++)
        v = v << 8 | (uint8_t)p[i];
    return v;
}

void fh_parts_of(const struct vobj *o, struct fh_parts *p)
{
    *p = (struct fh_parts){.kind = o->kind};
    if (o->kind == VOBJ_USER) {
        p->user = o->user;
    } else if (o->kind == VOBJ_FILE || o->kind == VOBJ_SNAPDIR) {
        p->kind = VOBJ_FILE; /* .snapshots is inode 0 */
        if (o->vol)
            fh_set_volume(p, volume_id(o->vol));
        p->ino = o->ino;
        p->gen = o->gen;
    }
}

void fh_set_volume(struct fh_parts *p, uint64_t id)
{
    p->volume = snap_base_id(id);
    p->snap = snap_id(id);
}

uint64_t fh_volume(const struct fh_parts *p)
{
    return snap_volume_id(p->volume, p->snap);
}

uint32_t fh_encode(const uint8_t key[16], const struct fh_parts *p, char out[FH_SIZE_MAX])
{
    static const char kinds[] = {[VOBJ_ROOT] = FH_ROOT, [VOBJ_USER] = FH_USER, [VOBJ_FILE] = FH_INODE,
                                 [VOBJ_TOKENS] = FH_TOKENS};
    bool more = p->snap || p->grant;
    uint32_t n = more ? FH_SIGNED_2 : FH_SIGNED_1;

    memset(out, 0, FH_SIZE_MAX);
    out[0] = more ? 2 : 1;
    out[1] = kinds[p->kind];
    if (p->kind == VOBJ_FILE) {
        put64(out + 4, (uint64_t)p->gen << 32);
        put64(out + 8, p->volume);
        put64(out + 16, p->ino);
    } else if (p->kind == VOBJ_USER) {
        put64(out + 8, p->user);
    }
    if (more) {
        put64(out + 24, p->snap);
        put64(out + 32, p->grant);
    }
    put64(out + n, siphash24(key, out, n));
    return n + 8;
}

/* The bytes before the MAC, 0 if it is not right. */
static uint32_t check_mac(const uint8_t key[16], const xhandle *h)
{
    uint32_t n = h->len && h->data[0] == 2 ? FH_SIGNED_2 : FH_SIGNED_1;
    uint8_t diff = 0;
    char mac[8];

    if (h->len != n + 8 || (h->data[0] != 1 && h->data[0] != 2))
        return 0;
    put64(mac, siphash24(key, h->data, n));
    for (int i = 0; i < 8; i++) /* no early exit: the time must not tell how much of a guess was right */
        diff |= (uint8_t)(mac[i] ^ h->data[n + i]);
    return diff ? 0 : n;
}

nfsstat4 fh_decode(const uint8_t key[16], const xhandle *h, struct fh_parts *p)
{
    uint32_t n = check_mac(key, h);

    memset(p, 0, sizeof(*p));
    if (!n)
        return NFS4ERR_BADHANDLE;
    if (n == FH_SIGNED_2) {
        p->snap = get64(h->data + 24);
        p->grant = get64(h->data + 32);
        if (!p->snap && !p->grant)
            return NFS4ERR_BADHANDLE;
    }
    switch (h->data[1]) {
    case FH_ROOT:
        p->kind = VOBJ_ROOT;
        return NFS4_OK;
    case FH_TOKENS:
        p->kind = VOBJ_TOKENS;
        return NFS4_OK;
    case FH_USER:
        p->kind = VOBJ_USER;
        p->user = get64(h->data + 8);
        return NFS4_OK;
    case FH_INODE:
        p->kind = VOBJ_FILE;
        p->gen = (uint32_t)(get64(h->data + 4) >> 32);
        p->volume = get64(h->data + 8);
        p->ino = get64(h->data + 16);
        return NFS4_OK;
    default:
        return NFS4ERR_BADHANDLE;
    }
}
