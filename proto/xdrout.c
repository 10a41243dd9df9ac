/* SPDX-License-Identifier: Apache-2.0
 * xdrout: a reply under construction (see xdrout.h).
 *
 * A reply is a list of pieces: runs of our own memory and foreign bytes. Our memory comes in blocks; the
 * first is part of struct xdrout, so that a small reply is one pooled piece of memory. Invariants:
 *  1. Positions of pieces that generated codecs begin at are multiples of 4, and so are the addresses.
 *  2. Only the last piece may be open (growing); its length is cur - base, of the others it is in len.
 *  3. end is the most that cur may reach: the end of the block or of the limit, whichever comes first;
 *     with no open piece cur == end, so that the fast path fails and room() opens one.
 *  4. A reference's release hangs on its first piece: it runs when that piece goes.
 *  5. The padding of a reference is a piece of its own over static zeros, which keeps (1).
 */
#include "proto/xdrout.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "common/pool.h"

#define HEAD_BYTES   4096u  /* struct xdrout with its first block */
#define BLOCK_BYTES  16384u /* a further block with its header */
#define INLINE_PIECE 12u

struct block {
    struct block *prev;
    char *end; /* one past its memory */
    char data[] __attribute__((aligned(8)));
};

struct piece {
    char *base;
    size_t len;
    struct block *block; /* NULL: foreign */
    void (*release)(void *arg);
    void *arg;
};

struct xdrout {
    XDR xdr;
    char *cur, *end;
    size_t sealed; /* bytes in all pieces but the open one */
    size_t limit;
    bool open;
    unsigned npieces, max_pieces;
    struct piece *pieces, first_pieces[INLINE_PIECE];
    struct block *block; /* the newest; the chain ends with `first` */
    struct block first;
};

static struct pool head_pool = POOL_INIT(HEAD_BYTES, 2048);
static struct pool block_pool = POOL_INIT(BLOCK_BYTES, 512);
static const char zeros[4];

static const struct xdr_ops out_ops;

struct xdrout *xdrout_new(size_t limit)
{
    struct xdrout *o = pool_get(&head_pool, NULL);

    if (!o)
        return NULL;
    memset(&o->xdr, 0, sizeof(o->xdr));
    o->xdr.x_op = XDR_ENCODE;
    o->xdr.x_ops = &out_ops;
    o->xdr.x_private = o;
    o->sealed = 0;
    o->limit = limit;
    o->open = false;
    o->npieces = 0;
    o->max_pieces = INLINE_PIECE;
    o->pieces = o->first_pieces;
    o->block = &o->first;
    o->first.prev = NULL;
    o->first.end = (char *)o + HEAD_BYTES;
    o->cur = o->end = o->first.data;
    return o;
}

static size_t open_len(const struct xdrout *o)
{
    return o->open ? (size_t)(o->cur - o->pieces[o->npieces - 1].base) : 0;
}

size_t xdrout_len(const struct xdrout *o)
{
    return o->sealed + open_len(o);
}

size_t xdrout_left(const struct xdrout *o)
{
    size_t len = xdrout_len(o);

    return len < o->limit ? o->limit - len : 0;
}

/* Invariant 3. */
static void set_end(struct xdrout *o)
{
    size_t room = (size_t)(o->block->end - o->cur), left = xdrout_left(o);

    o->end = o->open ? o->cur + (room < left ? room : left) : o->cur;
}

void xdrout_set_limit(struct xdrout *o, size_t limit)
{
    o->limit = limit;
    set_end(o);
}

static void seal(struct xdrout *o)
{
    if (!o->open)
        return;
    size_t len = open_len(o);
    o->pieces[o->npieces - 1].len = len;
    o->sealed += len;
    if (!len)
        o->npieces--;
    o->open = false;
    o->end = o->cur;
}

static struct piece *piece_add(struct xdrout *o)
{
    if (o->npieces == o->max_pieces) {
        unsigned max = o->max_pieces * 2;
        struct piece *p = malloc(max * sizeof(*p));

        if (!p)
            return NULL;
        memcpy(p, o->pieces, o->npieces * sizeof(*p));
        if (o->pieces != o->first_pieces)
            free(o->pieces);
        o->pieces = p;
        o->max_pieces = max;
    }
    return &o->pieces[o->npieces++];
}

static bool block_add(struct xdrout *o)
{
    struct block *b = pool_get(&block_pool, NULL);

    if (!b)
        return false;
    seal(o);
    b->prev = o->block;
    b->end = (char *)b + BLOCK_BYTES;
    o->block = b;
    o->cur = o->end = b->data;
    return true;
}

/* Makes n contiguous bytes fit at cur (n at most a block's); false: over the limit, or no memory. */
static bool room(struct xdrout *o, size_t n)
{
    if ((size_t)(o->end - o->cur) >= n)
        return true;
    if (xdrout_left(o) < n || n > BLOCK_BYTES - sizeof(struct block))
        return false;
    if ((size_t)(o->block->end - o->cur) < n && !block_add(o))
        return false;
    if (!o->open) {
        struct piece *p = piece_add(o);

        if (!p)
            return false;
        p->base = o->cur;
        p->len = 0;
        p->block = o->block;
        p->release = NULL;
        o->open = true;
    }
    set_end(o);
    return true;
}

/* Drops the last piece. */
static void piece_pop(struct xdrout *o)
{
    struct piece *p = &o->pieces[--o->npieces];

    if (p->release)
        p->release(p->arg);
}

void xdrout_truncate(struct xdrout *o, size_t len)
{
    if (len >= xdrout_len(o))
        return;
    seal(o);
    while (o->npieces && o->sealed - o->pieces[o->npieces - 1].len >= len) {
        o->sealed -= o->pieces[o->npieces - 1].len;
        piece_pop(o);
    }
    if (o->sealed > len) {
        o->pieces[o->npieces - 1].len -= o->sealed - len;
        o->sealed = len;
    }

    /* Encoding goes on after the last of our own bytes. */
    struct block *b = &o->first;
    char *cur = o->first.data;
    for (unsigned i = o->npieces; i > 0; i--) {
        struct piece *p = &o->pieces[i - 1];

        if (p->block) {
            b = p->block;
            cur = p->base + p->len;
            break;
        }
    }
    while (o->block != b) {
        struct block *prev = o->block->prev;

        pool_put(&block_pool, o->block);
        o->block = prev;
    }
    o->cur = cur;
    o->open = o->npieces && o->pieces[o->npieces - 1].block;
    if (o->open)
        o->sealed -= o->pieces[o->npieces - 1].len;
    set_end(o);
}

void xdrout_free(struct xdrout *o)
{
    if (!o)
        return;
    while (o->npieces)
        piece_pop(o);
    while (o->block != &o->first) {
        struct block *prev = o->block->prev;

        pool_put(&block_pool, o->block);
        o->block = prev;
    }
    if (o->pieces != o->first_pieces)
        free(o->pieces);
    pool_put(&head_pool, o);
}

XDR *xdrout_xdr(struct xdrout *o)
{
    return &o->xdr;
}

/* n bytes, of any length; on failure nothing was added. */
static bool put_bytes(struct xdrout *o, const char *p, size_t n)
{
    size_t start = xdrout_len(o);

    if (n > xdrout_left(o))
        return false;
    while (n) {
        size_t m = (size_t)(o->end - o->cur);

        if (!m) {
            if (!room(o, 1)) {
                xdrout_truncate(o, start);
                return false;
            }
            continue;
        }
        if (m > n)
            m = n;
        memcpy(o->cur, p, m);
        o->cur += m;
        p += m;
        n -= m;
    }
    return true;
}

bool xdrout_put_raw(struct xdrout *o, const void *p, size_t n)
{
    return put_bytes(o, p, n);
}

bool xdrout_put_ref(struct xdrout *o, const struct iovec *iov, int niov, void (*release)(void *arg),
                    void *arg)
{
    void (*hang)(void *) = release;
    size_t start = xdrout_len(o), left = xdrout_left(o), n = 0, pad;

    for (int i = 0; i < niov; i++) {
        if (iov[i].iov_len > left - n)
            goto fail;
        n += iov[i].iov_len;
    }
    pad = -n & 3;
    if (pad > left - n)
        goto fail;
    seal(o);
    for (int i = 0; i <= niov; i++) {
        size_t len = i < niov ? iov[i].iov_len : pad;
        struct piece *p = len ? piece_add(o) : NULL;

        if (!len)
            continue;
        if (!p) {
            if (!hang)
                release = NULL; /* hangs on a piece, which goes now */
            xdrout_truncate(o, start);
            goto fail;
        }
        p->base = i < niov ? iov[i].iov_base : (char *)(uintptr_t)zeros;
        p->len = len;
        p->block = NULL;
        p->release = hang;
        p->arg = arg;
        hang = NULL;
        o->sealed += len;
    }
    if (hang) /* no bytes at all */
        hang(arg);
    return true;
fail:
    if (release)
        release(arg);
    return false;
}

/* The piece with byte pos in it; *at gets its first byte's position. */
static const struct piece *piece_at(const struct xdrout *o, size_t pos, size_t *at)
{
    size_t start = xdrout_len(o);

    if (pos >= start)
        return NULL;
    for (unsigned i = o->npieces; i > 0; i--) {
        const struct piece *p = &o->pieces[i - 1];

        start -= o->open && i == o->npieces ? open_len(o) : p->len;
        if (pos >= start) {
            *at = start;
            return p;
        }
    }
    return NULL;
}

void xdrout_patch(struct xdrout *o, size_t pos, uint32_t v)
{
    uint8_t b[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

    for (unsigned i = 0; i < 4; i++) {
        size_t at = 0;
        const struct piece *p = piece_at(o, pos + i, &at);

        assert(p && p->block);
        p->base[pos + i - at] = (char)b[i];
    }
}

int xdrout_iov(const struct xdrout *o, size_t from, struct iovec *iov, int max)
{
    size_t start = 0;
    int n = 0;

    for (unsigned i = 0; i < o->npieces && n < max; i++) {
        const struct piece *p = &o->pieces[i];
        size_t len = o->open && i == o->npieces - 1 ? open_len(o) : p->len;

        if (from < start + len) {
            size_t skip = from > start ? from - start : 0;

            iov[n].iov_base = p->base + skip;
            iov[n].iov_len = len - skip;
            n++;
        }
        start += len;
    }
    return n;
}

void xdrout_copy(const struct xdrout *o, void *buf)
{
    char *to = buf;

    for (unsigned i = 0; i < o->npieces; i++) {
        const struct piece *p = &o->pieces[i];
        size_t len = o->open && i == o->npieces - 1 ? open_len(o) : p->len;

        if (len)
            memcpy(to, p->base, len);
        to += len;
    }
}

static bool_t out_getlong(XDR *x, long *v)
{
    return FALSE;
}

static bool_t out_putlong(XDR *x, const long *v)
{
    struct xdrout *o = x->x_private;
    uint32_t w = htonl((uint32_t)*v);

    if (!room(o, 4))
        return FALSE;
    memcpy(o->cur, &w, 4);
    o->cur += 4;
    return TRUE;
}

static bool_t out_getbytes(XDR *x, char *buf, u_int n)
{
    return FALSE;
}

static bool_t out_putbytes(XDR *x, const char *buf, u_int n)
{
    return put_bytes(x->x_private, buf, n);
}

static u_int out_getpostn(XDR *x)
{
    return (u_int)xdrout_len(x->x_private);
}

/* Backwards only: the position is always the end. */
static bool_t out_setpostn(XDR *x, u_int pos)
{
    struct xdrout *o = x->x_private;

    if (pos > xdrout_len(o))
        return FALSE;
    xdrout_truncate(o, pos);
    return TRUE;
}

static int32_t *out_inline(XDR *x, u_int n)
{
    struct xdrout *o = x->x_private;
    char *p;

    if (n % 4 || !room(o, n))
        return NULL;
    p = o->cur;
    o->cur += n;
    return (int32_t *)(void *)p;
}

static const struct xdr_ops out_ops = {
    .x_getlong = out_getlong,
    .x_putlong = out_putlong,
    .x_getbytes = out_getbytes,
    .x_putbytes = out_putbytes,
    .x_getpostn = out_getpostn,
    .x_setpostn = out_setpostn,
    .x_inline = out_inline,
};
