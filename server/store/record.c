/* SPDX-License-Identifier: Apache-2.0
 * record: meta, inode images, ops; each in little-endian, without padding (volume-format.5). One function walks
 * the fields for sizing, writing and reading (struct codec), so that the three cannot differ.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "server/store/volume_int.h"
#include "server/store/record.h"

#pragma GCC diagnostic error "-Wswitch"

/* A field added to one of these belongs into the record (or not: then only the number changes). */
_Static_assert(sizeof(void *) != 8 || sizeof(struct volume_props) == 40, "codec_meta: volume_props");
_Static_assert(sizeof(void *) != 8 || sizeof(struct index_meta) == 112, "codec_meta: index_meta");
_Static_assert(sizeof(void *) != 8 || sizeof(struct vattr) == 144, "codec_attr: vattr");
_Static_assert(sizeof(void *) != 8 || sizeof(struct chunk) == 48, "codec_chunk: chunk");

/* What an op has besides its type and inode. */
enum {
    F_OFF = 1 << 0,
    F_LEN = 1 << 1,
    F_SRC = 1 << 2,
    F_NAME = 1 << 3,
    F_DATA = 1 << 4,
    F_CHUNK = 1 << 5,
    F_MAX = 1 << 6,
    F_ATTR = 1 << 7,
    F_NONE = 1 << 8,
};

/* 0: there is no such type. */
static unsigned op_fields(enum op_type type)
{
    switch (type) {
    case OP_PUT_DIRENT:
        return F_OFF | F_LEN | F_NAME;
    case OP_DEL_DIRENT:
        return F_OFF;
    case OP_SYMLINK:
        return F_NAME;
    case OP_MAP:
        return F_OFF | F_LEN | F_CHUNK | F_DATA;
    case OP_PUNCH:
        return F_OFF | F_LEN;
    case OP_PUT_ORPHAN:
        return F_NONE;
    case OP_REAP:
        return F_MAX | F_ATTR;
    case OP_PUT_XATTR:
        return F_NAME | F_DATA;
    case OP_DEL_XATTR:
        return F_NAME;
    case OP_CLONE:
        return F_OFF | F_LEN | F_SRC;
    case OP_MOVE:
        return F_CHUNK | F_SRC;
    case OP_REPACK:
        return F_CHUNK | F_DATA;
    case OP_SNAP:
        return F_OFF | F_LEN | F_NAME | F_DATA;
    case OP_SNAP_FREE:
        return F_MAX;
    }
    return 0;
}

#define CODEC_LATER 0x80u /* chunk.later, in the codec's byte */

/* p NULL: count only. in: read. */
struct codec {
    unsigned char *p;
    const unsigned char *in, *end;
    size_t n;
    bool bad;
};

static void c_int(struct codec *c, uint64_t *v, unsigned bytes)
{
    if (c->in) {
        if ((size_t)(c->end - c->in) < bytes) {
            c->bad = true;
            c->in = c->end;
            *v = 0;
            return;
        }
        *v = 0;
        for (unsigned i = 0; i < bytes; i++)
            *v |= (uint64_t)*c->in++ << 8 * i;
        return;
    }
    c->n += bytes;
    if (c->p)
        for (unsigned i = 0; i < bytes; i++)
            *c->p++ = (unsigned char)(*v >> 8 * i);
}

static void c_u64(struct codec *c, uint64_t *v)
{
    c_int(c, v, 8);
}

static void c_u32(struct codec *c, uint32_t *v)
{
    uint64_t x = *v;

    c_int(c, &x, 4);
    *v = (uint32_t)x;
}

static uint32_t c_small(struct codec *c, uint32_t v, unsigned bytes, uint32_t max)
{
    uint64_t x = v;

    c_int(c, &x, bytes);
    if (x > max) {
        c->bad = true;
        x = 0;
    }
    return (uint32_t)x;
}

static void c_time(struct codec *c, struct timespec *t)
{
    uint64_t sec = (uint64_t)t->tv_sec;

    c_u64(c, &sec);
    t->tv_nsec = c_small(c, (uint32_t)t->tv_nsec, 4, 999999999);
    t->tv_sec = (time_t)sec;
}

/* All but `used`. */
static void codec_attr(struct codec *c, struct vattr *a)
{
    c_u64(c, &a->ino);
    c_u32(c, &a->gen);
    a->type = c_small(c, a->type, 1, IT_SOCK);
    a->mode = c_small(c, a->mode, 2, 07777);
    c_u32(c, &a->nlink);
    c_u32(c, &a->uid);
    c_u32(c, &a->gid);
    c_u32(c, &a->rdev_major);
    c_u32(c, &a->rdev_minor);
    c_u64(c, &a->size);
    c_u64(c, &a->change);
    c_u64(c, &a->parent);
    c_time(c, &a->atime);
    c_time(c, &a->mtime);
    c_time(c, &a->ctime);
    c_time(c, &a->btime);
    c_u64(c, &a->create_verf);
    if (a->ino == 0 || a->ino > INT64_MAX || a->type == IT_NONE || a->size > INT64_MAX || a->parent > INT64_MAX)
        c->bad = true;
}

static void codec_chunk(struct codec *c, struct chunk *k)
{
    uint32_t codec;

    c_u64(c, &k->id);
    c_u32(c, &k->pack);
    c_u64(c, &k->pack_off);
    k->stored_len = c_small(c, k->stored_len, 4, CHUNK_BOUND);
    k->len = c_small(c, k->len, 4, SLOT_SIZE);
    codec = c_small(c, k->codec | (k->later ? CODEC_LATER : 0), 1, 0xff);
    k->codec = codec & ~CODEC_LATER;
    k->later = codec & CODEC_LATER;
    c_u64(c, &k->checksum);
    if (k->id == 0 || k->id > INT64_MAX || k->stored_len == 0 || k->len == 0 || k->pack_off > PACK_SIZE)
        c->bad = true;
}

static void codec_meta(struct codec *c, struct txg *t)
{
    struct index_meta *m = &t->meta;

    c_u64(c, &m->next_ino);
    c_u64(c, &m->next_chunk);
    c_u32(c, &m->next_pack);
    c_u32(c, &m->next_gen);
    c_u64(c, &m->snap_seq);
    c_u64(c, &t->created);
    m->props.codec = c_small(c, m->props.codec, 1, VOLUME_ZSTD);
    m->props.level = (int)c_small(c, (uint32_t)m->props.level, 1, 19);
    m->props.readonly = c_small(c, m->props.readonly, 1, 1);
    m->props.dedup = c_small(c, m->props.dedup, 1, 1);
    m->props.recompress = (int)c_small(c, (uint32_t)m->props.recompress, 1, 19);
    m->props.snapdir = c_small(c, m->props.snapdir, 1, 1);
    c_u64(c, &m->props.quota_bytes);
    c_u64(c, &m->props.quota_files);
    m->txg = t->n;
    if (m->next_ino > INT64_MAX || m->next_chunk > INT64_MAX || t->created > INT64_MAX ||
        m->snap_seq > INT64_MAX)
        c->bad = true;
}

/* The fixed part of an op, and the lengths of its name and data. */
static void codec_op(struct codec *c, struct rowop *op, uint32_t *nlen, uint32_t *dlen)
{
    unsigned f;

    op->type = c_small(c, op->type, 1, 0xff);
    f = op_fields(op->type);
    if (!f) {
        c->bad = true;
        return;
    }
    c_u64(c, &op->ino);
    if (f & F_OFF)
        c_u64(c, &op->off);
    if (f & F_LEN)
        c_u64(c, &op->len);
    if (f & F_SRC) {
        c_u64(c, &op->src);
        c_u64(c, &op->src_off);
    }
    if (f & F_CHUNK)
        codec_chunk(c, &op->chunk);
    if (f & F_MAX)
        c_u32(c, &op->max);
    if (f & F_ATTR)
        codec_attr(c, &op->attr);
    *nlen = f & F_NAME ? c_small(c, *nlen, 2, STORE_SYMLINK_MAX) : 0;
    *dlen = f & F_DATA ? c_small(c, *dlen, 4, CHUNK_BOUND) : 0;
    if (op->ino > INT64_MAX || op->off > INT64_MAX || op->src > INT64_MAX)
        c->bad = true;
}

/* What only makes sense together. */
static bool op_sane(const struct rowop *op, uint32_t nlen, uint32_t dlen)
{
    switch (op->type) {
    case OP_PUT_DIRENT:
        return nlen >= 1 && nlen <= STORE_NAME_MAX && op->len && op->len <= INT64_MAX;
    case OP_SYMLINK:
        return nlen >= 1;
    case OP_MAP:
        return op->len == op->chunk.len && dlen == (op->chunk.pack ? 0 : op->chunk.stored_len);
    case OP_PUT_XATTR:
        return nlen >= 1 && nlen <= STORE_XATTR_NAME_MAX && dlen <= STORE_XATTR_SIZE_MAX;
    case OP_DEL_XATTR:
        return nlen >= 1 && nlen <= STORE_XATTR_NAME_MAX;
    case OP_REAP:
        return op->attr.ino == op->ino;
    case OP_MOVE:
        return op->chunk.pack && op->src && op->src <= UINT32_MAX;
    case OP_REPACK:
        return op->chunk.pack && dlen && dlen % sizeof(struct index_piece) == 0;
    case OP_SNAP:
        return op->ino && op->len <= SNAP_DESTROYING && nlen <= STORE_SNAP_NAME_MAX && dlen == 3 * sizeof(uint64_t);
    case OP_SNAP_FREE:
        return op->ino;
    case OP_DEL_DIRENT:
    case OP_PUNCH:
    case OP_PUT_ORPHAN:
    case OP_CLONE:
        return true;
    }
    return false;
}

static void put_all(struct codec *c, const struct txg *t)
{
    struct txg head = *t;
    uint64_t nops = 0, nimgs = t->nimgs;

    codec_meta(c, &head);
    c_int(c, &nimgs, 4);
    for (size_t i = 0; i < t->nimgs; i++) {
        struct vattr a = t->imgs[i].a;
        codec_attr(c, &a);
    }
    for (const struct rowop *op = t->first; op; op = op->next)
        nops++;
    c_int(c, &nops, 4);
    for (const struct rowop *op = t->first; op; op = op->next) {
        struct rowop o = *op;
        uint32_t nlen = (uint32_t)op->nlen, dlen = (uint32_t)op->dlen;
        codec_op(c, &o, &nlen, &dlen);
        c->n += nlen + dlen;
        if (c->p) {
            memcpy(c->p, op->name, nlen);
            memcpy(c->p + nlen, rowop_payload(op), dlen);
            c->p += nlen + dlen;
        }
    }
}

size_t record_size(const struct txg *t)
{
    struct codec c = {0};

    put_all(&c, t);
    return c.n;
}

void record_put(const struct txg *t, void *buf)
{
    struct codec c = {.p = buf};

    put_all(&c, t);
}

/* --- reading --- */

static bool get_images(struct codec *c, struct txg *t)
{
    uint64_t n = 0;

    c_int(c, &n, 4);
    if (c->bad || n > (size_t)(c->end - c->in) / 64) /* each is longer */
        return false;
    t->imgs = vol_alloc((n ? n : 1) * sizeof(*t->imgs));
    for (t->nimgs = 0; t->nimgs < n && !c->bad; t->nimgs++)
        codec_attr(c, &t->imgs[t->nimgs].a);
    return !c->bad;
}

static bool get_ops(struct codec *c, struct txg *t)
{
    uint64_t n = 0;

    c_int(c, &n, 4);
    for (; n && !c->bad; n--) {
        struct rowop head = {0}, *op;
        uint32_t nlen = 0, dlen = 0;

        codec_op(c, &head, &nlen, &dlen);
        if (c->bad || (uint64_t)nlen + dlen > (size_t)(c->end - c->in) || !op_sane(&head, nlen, dlen))
            return false;
        op = rowop_new(head.type, head.ino, c->in, nlen, dlen ? c->in + nlen : NULL, dlen);
        c->in += nlen + dlen;
        op->off = head.off;
        op->len = head.len;
        op->src = head.src;
        op->src_off = head.src_off;
        op->chunk = head.chunk;
        op->max = head.max;
        op->attr = head.attr;
        *t->tail = op;
        t->tail = &op->next;
        t->rows++;
        t->blob_bytes += nlen + (uint64_t)dlen;
    }
    return !c->bad;
}

int record_get(uint64_t n, const void *buf, size_t len, struct txg **out)
{
    struct codec c = {.in = buf, .end = (const unsigned char *)buf + len};
    struct txg *t = txg_new(n);

    codec_meta(&c, t);
    if (c.bad || !get_images(&c, t) || !get_ops(&c, t) || c.in != c.end) {
        txg_free(NULL, t);
        return -EUCLEAN;
    }
    t->rows += (unsigned)t->nimgs;
    *out = t;
    return 0;
}

int record_check(uint64_t n, const void *buf, size_t len)
{
    struct txg *t;
    int r = record_get(n, buf, len, &t);

    if (r == 0)
        txg_free(NULL, t);
    return r;
}
