/* SPDX-License-Identifier: Apache-2.0
 * fh: making and checking file handles.
 */
#include "server/nfs4/fh.h"

#include <string.h>

#include "common/siphash.h"

#define FH_FORMAT 1
#define FH_SIGNED 24 /* bytes that the MAC covers */

enum { FH_ROOT, FH_USER, FH_INODE };

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
    } else if (o->kind == VOBJ_FILE) {
        p->volume = o->vol ? volume_id(o->vol) : 0;
        p->ino = o->ino;
        p->gen = o->gen;
    }
}

void fh_encode(const uint8_t key[16], const struct fh_parts *p, char out[FH_SIZE])
{
    memset(out, 0, FH_SIZE);
    out[0] = FH_FORMAT;
    out[1] = p->kind == VOBJ_FILE ? FH_INODE : p->kind == VOBJ_USER ? FH_USER : FH_ROOT;
    if (p->kind == VOBJ_FILE) {
        put64(out + 4, (uint64_t)p->gen << 32);
        put64(out + 8, p->volume);
        put64(out + 16, p->ino);
    } else if (p->kind == VOBJ_USER) {
        put64(out + 8, p->user);
    }
    put64(out + FH_SIGNED, siphash24(key, out, FH_SIGNED));
}

nfsstat4 fh_decode(const uint8_t key[16], const xhandle *h, struct fh_parts *p)
{
    char mac[8];
    uint8_t diff = 0;

    memset(p, 0, sizeof(*p));
    if (h->len != FH_SIZE || h->data[0] != FH_FORMAT)
        return NFS4ERR_BADHANDLE;
    put64(mac, siphash24(key, h->data, FH_SIGNED));
    for (int i = 0; i < 8; i++) /* no early exit: the time must not tell how much of a guess was right */
        diff |= (uint8_t)(mac[i] ^ h->data[FH_SIGNED + i]);
    if (diff)
        return NFS4ERR_BADHANDLE;
    switch (h->data[1]) {
    case FH_ROOT:
        p->kind = VOBJ_ROOT;
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
