/* SPDX-License-Identifier: Apache-2.0
 * xdrbuf: an XDR stream over a received record, and the variable-length types that proto/nfs4.x uses instead
 * of rpcgen's allocating ones. Nothing is allocated while decoding: a decoded slice points into the record and
 * lives as long as the record does.
 *
 * The stream is an ordinary libtirpc XDR handle (own struct xdr_ops), so generated codecs run on it; so is that
 * of a reply (xdrout.h).
 */
#ifndef VOLNFS_PROTO_XDRBUF_H
#define VOLNFS_PROTO_XDRBUF_H

#include <rpc/types.h>
#include <rpc/xdr.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- decoding --- */

/* Decodes from len bytes at data (4-byte aligned, borrowed). Every read is bounds-checked. */
void xdrin_init(XDR *x, const void *data, size_t len);
/* Bytes not decoded yet; where they start. */
size_t xdrin_left(XDR *x);
const char *xdrin_here(XDR *x);
/* Bytes decoded. */
size_t xdrin_pos(XDR *x);

/* --- types for proto/nfs4.x (names without "struct", because rpcgen wants plain type names) --- */

/* opaque<> or utf8string: decoding gives a view into the record, encoding writes the bytes. The bound is
 * the type's: longer is a decoding error. */
typedef struct xslice {
    uint32_t len;
    const char *data;
} xslice;
typedef xslice xopaque;   /* up to 1024: owner strings, client ids, tags, principals (NFS4_OPAQUE_LIMIT) */
typedef xslice xname;     /* a component or link text, up to 4096; the operation checks NAME_MAX */
typedef xslice xattrvals; /* attribute values, up to 128 KiB */
typedef xslice xdata;     /* WRITE data, up to 2 MiB */
typedef xslice xhandle;   /* file handle, up to 128 (NFS4_FHSIZE) */
bool_t xdr_xopaque(XDR *x, xopaque *v);
bool_t xdr_xname(XDR *x, xname *v);
bool_t xdr_xattrvals(XDR *x, xattrvals *v);
bool_t xdr_xdata(XDR *x, xdata *v);
bool_t xdr_xhandle(XDR *x, xhandle *v);

/* bitmap4: up to 64 words decode, those past the third must not be lost silently: `more` says that a bit
 * was set there. Encoding writes as many words as are needed. */
typedef struct xbitmap {
    uint32_t w[3];
    bool_t more;
} xbitmap;
bool_t xdr_xbitmap(XDR *x, xbitmap *v);
static inline bool xbitmap_has(const xbitmap *b, unsigned bit)
{
    return bit < 96 && (b->w[bit / 32] >> (bit % 32) & 1);
}
static inline void xbitmap_set(xbitmap *b, unsigned bit)
{
    b->w[bit / 32] |= 1u << (bit % 32);
}
static inline void xbitmap_clear(xbitmap *b, unsigned bit)
{
    b->w[bit / 32] &= ~(1u << (bit % 32));
}

#endif
