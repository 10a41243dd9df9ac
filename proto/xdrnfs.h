/* SPDX-License-Identifier: Apache-2.0
 * xdrnfs: types of proto/nfs4.x that only NFSv4 needs, in the manner of xdrbuf.h: decoding allocates
 * nothing and is bounded; a failed decoding leaves nothing to release.
 */
#ifndef VOLNFS_PROTO_XDRNFS_H
#define VOLNFS_PROTO_XDRNFS_H

#include <sys/uio.h>

#include "proto/xdrbuf.h"

/* An array of stateid4: a view of len times 16 bytes as they were received. */
#define XSTATEIDS_MAX 1024
typedef struct xstateids {
    uint32_t len;
    const char *data;
} xstateids;
bool_t xdr_xstateids(XDR *x, xstateids *v);
/* The i-th of them. */
static inline void xstateids_get(const xstateids *v, uint32_t i, uint32_t *seqid, char other[12])
{
    const unsigned char *p = (const unsigned char *)v->data + (size_t)16 * i;

    *seqid = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    __builtin_memcpy(other, p + 4, 12);
}

/* callback_sec_parms4<>: how the client wants callbacks to authenticate. Flavors the server does not speak
 * are kept with uid and gid 0. */
#define XSECPARMS_MAX 8
typedef struct xsecparms {
    uint32_t len;
    struct {
        uint32_t flavor; /* AUTH_NONE, AUTH_SYS, RPCSEC_GSS */
        uint32_t uid, gid;
        xopaque machine;
    } v[XSECPARMS_MAX];
} xsecparms;
bool_t xdr_xsecparms(XDR *x, xsecparms *v);

/* sec_oid4<>: read over, only counted. */
typedef struct xoids {
    uint32_t len;
} xoids;
bool_t xdr_xoids(XDR *x, xoids *v);

/* Encoding, on an xdrout stream only: bytes that are XDR already (a multiple of 4). Not decodable. */
typedef xslice xraw;
bool_t xdr_xraw(XDR *x, xraw *v);

/* Encoding, on an xdrout stream only: an opaque<> whose bytes may lie in several pieces, taken by reference.
 * release(arg) is called once when the reply is gone; encoding takes the reference over even when it fails (and
 * sets release to NULL). With release NULL the bytes are copied. Not decodable. */
typedef struct xpayload {
    uint32_t len;
    int niov;
    const struct iovec *iov; /* read during the encoding only */
    void (*release)(void *arg);
    void *arg;
} xpayload;
bool_t xdr_xpayload(XDR *x, xpayload *v);

#endif
