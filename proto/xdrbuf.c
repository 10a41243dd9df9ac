/* SPDX-License-Identifier: Apache-2.0
 * xdrbuf: an XDR stream over a received record, and the types that are views of it (see xdrbuf.h).
 */
#include "proto/xdrbuf.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* --- the stream: x_private is the next byte, x_base the first, x_handy how many are left --- */

static bool in_take(XDR *x, size_t n, const char **p)
{
    if (n > x->x_handy)
        return false;
    *p = x->x_private;
    x->x_private = (char *)x->x_private + n;
    x->x_handy -= (u_int)n;
    return true;
}

static bool_t in_getlong(XDR *x, long *v)
{
    const char *p;
    uint32_t w;

    if (!in_take(x, 4, &p))
        return FALSE;
    memcpy(&w, p, 4);
    *v = (long)(int32_t)ntohl(w);
    return TRUE;
}

static bool_t in_putlong(XDR *x, const long *v)
{
    return FALSE;
}

static bool_t in_getbytes(XDR *x, char *buf, u_int n)
{
    const char *p;

    if (!in_take(x, n, &p))
        return FALSE;
    if (n >= 4)
        memcpy(buf, p, n);
    else /* libtirpc gets a string's padding into one variable of all threads, and never looks at it */
        for (u_int i = 0; i < n; i++)
            __atomic_store_n(&buf[i], p[i], __ATOMIC_RELAXED);
    return TRUE;
}

static bool_t in_putbytes(XDR *x, const char *buf, u_int n)
{
    return FALSE;
}

static u_int in_getpostn(XDR *x)
{
    return (u_int)((char *)x->x_private - x->x_base);
}

static bool_t in_setpostn(XDR *x, u_int pos)
{
    u_int at = in_getpostn(x);

    if (pos > at + x->x_handy)
        return FALSE;
    x->x_private = x->x_base + pos;
    x->x_handy = at + x->x_handy - pos;
    return TRUE;
}

static int32_t *in_inline(XDR *x, u_int n)
{
    const char *p;

    /* Generated code reads words through the pointer; where it would be misaligned it can do without. */
    if ((uintptr_t)x->x_private % 4 || !in_take(x, n, &p))
        return NULL;
    return (int32_t *)(uintptr_t)p;
}

static const struct xdr_ops in_ops = {
    .x_getlong = in_getlong,
    .x_putlong = in_putlong,
    .x_getbytes = in_getbytes,
    .x_putbytes = in_putbytes,
    .x_getpostn = in_getpostn,
    .x_setpostn = in_setpostn,
    .x_inline = in_inline,
};

void xdrin_init(XDR *x, const void *data, size_t len)
{
    memset(x, 0, sizeof(*x));
    x->x_op = XDR_DECODE;
    x->x_ops = &in_ops;
    x->x_base = (char *)(uintptr_t)data;
    x->x_private = x->x_base;
    x->x_handy = len > UINT32_MAX ? UINT32_MAX : (u_int)len;
}

size_t xdrin_left(XDR *x)
{
    return x->x_handy;
}

const char *xdrin_here(XDR *x)
{
    return x->x_private;
}

size_t xdrin_pos(XDR *x)
{
    return in_getpostn(x);
}

/* --- types --- */

/* A length and that many bytes, padded to 4. On a stream of ours that is decoded nothing is copied. */
static bool_t xdr_slice(XDR *x, xslice *v, uint32_t max)
{
    static const char pad[4];

    if (x->x_op == XDR_DECODE) {
        size_t padded;
        long len;

        if (!XDR_GETLONG(x, &len) || (uint32_t)len > max)
            return FALSE;
        padded = RNDUP((size_t)(uint32_t)len);
        if (x->x_ops == &in_ops) {
            if (!in_take(x, padded, &v->data))
                return FALSE;
        } else {
            v->data = (const char *)XDR_INLINE(x, (u_int)padded);
            if (!v->data && padded)
                return FALSE;
        }
        v->len = (uint32_t)len;
        return TRUE;
    }
    if (x->x_op == XDR_ENCODE) {
        long len = (long)v->len;

        if (v->len > max || !XDR_PUTLONG(x, &len))
            return FALSE;
        if (v->len && !XDR_PUTBYTES(x, v->data, v->len))
            return FALSE;
        return v->len % 4 == 0 || XDR_PUTBYTES(x, pad, 4 - v->len % 4);
    }
    return TRUE;
}

bool_t xdr_xopaque(XDR *x, xopaque *v)
{
    return xdr_slice(x, v, 1024); /* NFS4_OPAQUE_LIMIT */
}

bool_t xdr_xname(XDR *x, xname *v)
{
    return xdr_slice(x, v, 4096); /* PATH_MAX */
}

bool_t xdr_xattrvals(XDR *x, xattrvals *v)
{
    return xdr_slice(x, v, 128 * 1024);
}

bool_t xdr_xdata(XDR *x, xdata *v)
{
    return xdr_slice(x, v, 2 * 1024 * 1024);
}

bool_t xdr_xhandle(XDR *x, xhandle *v)
{
    return xdr_slice(x, v, 128); /* NFS4_FHSIZE */
}

#define BITMAP_WORDS_MAX 64u /* a peer may ask for any number; an attribute above 2047 is not honest */

bool_t xdr_xbitmap(XDR *x, xbitmap *v)
{
    long n, w;

    if (x->x_op == XDR_DECODE) {
        if (!XDR_GETLONG(x, &n) || (uint32_t)n > BITMAP_WORDS_MAX)
            return FALSE;
        memset(v, 0, sizeof(*v));
        for (uint32_t i = 0; i < (uint32_t)n; i++) {
            if (!XDR_GETLONG(x, &w))
                return FALSE;
            if (i < 3)
                v->w[i] = (uint32_t)w;
            else if ((uint32_t)w)
                v->more = TRUE;
        }
        return TRUE;
    }
    if (x->x_op == XDR_ENCODE) {
        n = v->w[2] ? 3 : v->w[1] ? 2 : v->w[0] ? 1 : 0;
        if (!XDR_PUTLONG(x, &n))
            return FALSE;
        for (long i = 0; i < n; i++) {
            w = (long)v->w[i];
            if (!XDR_PUTLONG(x, &w))
                return FALSE;
        }
    }
    return TRUE;
}
