/* SPDX-License-Identifier: Apache-2.0
 * xdrbuf: XDR streams over a received record and over a reply under construction, and the variable-length
 * types that proto/nfs4.x uses instead of rpcgen's allocating ones. Nothing is allocated while decoding:
 * a decoded slice points into the record and lives as long as the record does.
 *
 * Both streams are ordinary libtirpc XDR handles (own struct xdr_ops), so generated codecs run on them.
 */
#ifndef VOLNFS_PROTO_XDRBUF_H
#define VOLNFS_PROTO_XDRBUF_H

#include <rpc/types.h>
#include <rpc/xdr.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* --- decoding --- */

/* Decodes from len bytes at data (4-byte aligned, borrowed). Every read is bounds-checked. */
void xdrin_init(XDR *x, const void *data, size_t len);
/* Bytes not decoded yet; where they start. */
size_t xdrin_left(XDR *x);
const char *xdrin_here(XDR *x);
size_t xdrin_pos(XDR *x);

/* --- encoding --- */

/* A reply: segments of pooled memory, with references to foreign bytes (payloads) between them. */
struct xdrout;
/* limit: the most bytes the reply may have in all; encoding past it fails (the xdr_ function returns
 * FALSE) and the position does not move. NULL when out of memory. */
struct xdrout *xdrout_new(size_t limit);
/* Runs the payloads' releases. */
void xdrout_free(struct xdrout *o);
/* The encoding handle of o. */
XDR *xdrout_xdr(struct xdrout *o);
void xdrout_set_limit(struct xdrout *o, size_t limit);
size_t xdrout_len(const struct xdrout *o);
size_t xdrout_left(const struct xdrout *o);
/* Takes the encoding back to length len (payloads added since are released). */
void xdrout_truncate(struct xdrout *o, size_t len);
/* Overwrites the 4 bytes encoded at position pos with v (a count or status known only later). */
void xdrout_patch(struct xdrout *o, size_t pos, uint32_t v);
/* Appends n raw bytes (a multiple of 4), copied. false: over the limit or out of memory. */
bool xdrout_put_raw(struct xdrout *o, const void *p, size_t n);
/* Appends foreign bytes by reference, then XDR padding; o owns the reference from now on (also when this
 * fails): release(arg) is called once when o is freed, truncated before it, or at once on failure. */
bool xdrout_put_ref(struct xdrout *o, const struct iovec *iov, int niov, void (*release)(void *arg),
                    void *arg);
/* Fills iov with everything from byte `from` on; returns how many entries (at most max). */
int xdrout_iov(const struct xdrout *o, size_t from, struct iovec *iov, int max);
/* Copies all bytes to buf (xdrout_len(o) of them), for reply caches. */
void xdrout_copy(const struct xdrout *o, void *buf);

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
