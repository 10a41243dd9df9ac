/* SPDX-License-Identifier: Apache-2.0
 * xdrout: an XDR stream over a reply under construction: segments of pooled memory, with references to foreign
 * bytes (payloads) between them. An ordinary libtirpc XDR handle (own struct xdr_ops), so that generated codecs
 * run on it. One thread at a time.
 */
#ifndef VOLNFS_PROTO_XDROUT_H
#define VOLNFS_PROTO_XDROUT_H

#include <rpc/types.h>
#include <rpc/xdr.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct xdrout;
/* limit: the most bytes the reply may have in all; encoding past it fails (the xdr_ function returns
 * FALSE) and the position does not move. NULL when out of memory. */
struct xdrout *xdrout_new(size_t limit);
/* Runs the payloads' releases. NULL is nothing. */
void xdrout_free(struct xdrout *o);
/* The encoding handle of o. */
XDR *xdrout_xdr(struct xdrout *o);
/* Another limit from now on; what is there already stays, even if it is more. */
void xdrout_set_limit(struct xdrout *o, size_t limit);
/* Bytes encoded; bytes that still may be. */
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
/* Fills iov with everything from byte `from` on; returns how many entries (at most max). They are o's until it is
 * changed or freed. */
int xdrout_iov(const struct xdrout *o, size_t from, struct iovec *iov, int max);
/* Copies all bytes to buf (xdrout_len(o) of them), for reply caches. */
void xdrout_copy(const struct xdrout *o, void *buf);

#endif
