/* SPDX-License-Identifier: Apache-2.0
 * xdrnfs: codecs of the list and payload types of proto/nfs4.x.
 */
#include "proto/xdrnfs.h"

#include <assert.h>

#include "proto/xdrout.h"

#define FLAVOR_SYS 1u /* RFC 5531 section 8.2 */
#define FLAVOR_GSS 6u
#define OIDS_MAX   64u

bool_t xdr_xstateids(XDR *x, xstateids *v)
{
    if (x->x_op == XDR_DECODE) {
        if (!xdr_uint32_t(x, &v->len) || v->len > XSTATEIDS_MAX)
            return FALSE;
        if (v->len > xdrin_left(x) / 16)
            return FALSE;
        v->data = xdrin_here(x);
        return XDR_SETPOS(x, (u_int)xdrin_pos(x) + v->len * 16);
    }
    if (x->x_op == XDR_ENCODE)
        return v->len <= XSTATEIDS_MAX && xdr_uint32_t(x, &v->len) &&
               xdr_opaque(x, (char *)(uintptr_t)v->data, v->len * 16);
    return TRUE;
}

/* authsys_parms: stamp, machine name up to 255 bytes, uid, gid, up to 16 groups. */
static bool_t authsys(XDR *x, xsecparms *v, uint32_t i)
{
    uint32_t stamp, ngids, gid;

    if (!xdr_uint32_t(x, &stamp) || !xdr_xopaque(x, &v->v[i].machine) || v->v[i].machine.len > 255 ||
        !xdr_uint32_t(x, &v->v[i].uid) || !xdr_uint32_t(x, &v->v[i].gid) || !xdr_uint32_t(x, &ngids) ||
        ngids > 16)
        return FALSE;
    while (ngids--)
        if (!xdr_uint32_t(x, &gid))
            return FALSE;
    return TRUE;
}

/* gss_cb_handles4: service, two handles. */
static bool_t gss_handles(XDR *x)
{
    uint32_t service;
    xopaque handle;

    return xdr_uint32_t(x, &service) && xdr_xopaque(x, &handle) && xdr_xopaque(x, &handle);
}

bool_t xdr_xsecparms(XDR *x, xsecparms *v)
{
    if (x->x_op == XDR_FREE)
        return TRUE;
    if (x->x_op != XDR_DECODE || !xdr_uint32_t(x, &v->len) || v->len > XSECPARMS_MAX)
        return FALSE;
    for (uint32_t i = 0; i < v->len; i++) {
        v->v[i].uid = v->v[i].gid = 0;
        v->v[i].machine = (xopaque){0, NULL};
        if (!xdr_uint32_t(x, &v->v[i].flavor))
            return FALSE;
        if (v->v[i].flavor == FLAVOR_SYS && !authsys(x, v, i))
            return FALSE;
        if (v->v[i].flavor == FLAVOR_GSS && !gss_handles(x))
            return FALSE;
        if (v->v[i].flavor != 0 && v->v[i].flavor != FLAVOR_SYS && v->v[i].flavor != FLAVOR_GSS)
            return FALSE; /* no arm of the union */
    }
    return TRUE;
}

bool_t xdr_xoids(XDR *x, xoids *v)
{
    xopaque oid;

    if (x->x_op == XDR_FREE)
        return TRUE;
    if (x->x_op != XDR_DECODE || !xdr_uint32_t(x, &v->len) || v->len > OIDS_MAX)
        return FALSE;
    for (uint32_t i = 0; i < v->len; i++)
        if (!xdr_xopaque(x, &oid))
            return FALSE;
    return TRUE;
}

bool_t xdr_xraw(XDR *x, xraw *v)
{
    if (x->x_op == XDR_ENCODE)
        return v->len % 4 == 0 && (!v->len || xdrout_put_raw(x->x_private, v->data, v->len));
    return x->x_op == XDR_FREE;
}

bool_t xdr_xpayload(XDR *x, xpayload *v)
{
    if (x->x_op != XDR_ENCODE)
        return x->x_op == XDR_FREE;

    struct xdrout *o = x->x_private;
    void (*release)(void *) = v->release;

    assert(xdrout_xdr(o) == x);
    v->release = NULL;
    if (!xdr_uint32_t(x, &v->len)) {
        if (release)
            release(v->arg);
        return FALSE;
    }
    if (release)
        return xdrout_put_ref(o, v->iov, v->niov, release, v->arg);

    static const char pad[4];
    for (int i = 0; i < v->niov; i++)
        if (!XDR_PUTBYTES(x, v->iov[i].iov_base, (u_int)v->iov[i].iov_len))
            return FALSE;
    return v->len % 4 == 0 || XDR_PUTBYTES(x, (char *)(uintptr_t)pad, 4 - v->len % 4);
}
