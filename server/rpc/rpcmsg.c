/* SPDX-License-Identifier: Apache-2.0
 * rpcmsg: every length is checked against its bound in RFC 5531 before anything is taken.
 */
#include "server/rpc/rpcmsg.h"

#include <string.h>

#define AUTH_BODY_MAX 400u /* RFC 5531 section 8.2 */
#define NOBODY        65534u

/* An opaque_auth: its flavor, and its body as a view. */
static bool get_auth(XDR *x, uint32_t *flavor, const char **body, uint32_t *len)
{
    xopaque v;

    if (!xdr_uint32_t(x, flavor) || !xdr_xopaque(x, &v) || v.len > AUTH_BODY_MAX)
        return false;
    *body = v.data;
    *len = v.len;
    return true;
}

/* The body of an AUTH_SYS credential (RFC 5531 appendix A). */
static bool get_auth_sys(const char *body, uint32_t len, struct cred *cred)
{
    uint32_t stamp, n;
    xopaque name;
    XDR x;

    xdrin_init(&x, body, len);
    if (!xdr_uint32_t(&x, &stamp) || !xdr_xopaque(&x, &name) ||
        name.len >= sizeof(cred->machine) || !xdr_uint32_t(&x, &cred->uid) ||
        !xdr_uint32_t(&x, &cred->gid) || !xdr_uint32_t(&x, &n) || n > CRED_GROUPS_MAX)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!xdr_uint32_t(&x, &cred->groups[i]))
            return false;
    cred->flavor = CRED_SYS;
    cred->ngroups = n;
    memcpy(cred->machine, name.data, name.len);
    cred->machine[name.len] = 0;
    return xdrin_left(&x) == 0;
}

static void cred_none(struct cred *cred)
{
    cred->flavor = CRED_NONE;
    cred->uid = cred->gid = NOBODY;
    cred->ngroups = 0;
    cred->machine[0] = 0;
}

enum rpcmsg_verdict rpcmsg_decode(XDR *x, struct rpcmsg_head *head, struct cred *cred)
{
    uint32_t type, version, flavor, len, verf_flavor, verf_len;
    const char *body, *verf;

    memset(head, 0, sizeof(*head));
    if (!xdr_uint32_t(x, &head->xid) || !xdr_uint32_t(x, &type))
        return RPCMSG_GARBAGE;
    if (type == REPLY)
        return RPCMSG_REPLY;
    if (type != CALL || !xdr_uint32_t(x, &version))
        return RPCMSG_GARBAGE;
    if (version != RPC_MSG_VERSION)
        return RPCMSG_VERSION;
    if (!xdr_uint32_t(x, &head->prog) || !xdr_uint32_t(x, &head->vers) ||
        !xdr_uint32_t(x, &head->proc) || !get_auth(x, &flavor, &body, &len) ||
        !get_auth(x, &verf_flavor, &verf, &verf_len))
        return RPCMSG_GARBAGE;
    if (flavor == AUTH_NONE) {
        cred_none(cred);
    } else if (flavor == AUTH_SYS) {
        if (!get_auth_sys(body, len, cred))
            head->auth_stat = AUTH_BADCRED;
    } else {
        /* To AUTH_SHORT the client answers with its full credential. */
        head->auth_stat = flavor == AUTH_SHORT ? AUTH_REJECTEDCRED : AUTH_BADCRED;
    }
    if (!head->auth_stat && verf_flavor != AUTH_NONE)
        head->auth_stat = AUTH_BADVERF;
    return head->auth_stat ? RPCMSG_AUTH : RPCMSG_CALL;
}

static bool put_words(XDR *x, const uint32_t *w, unsigned n)
{
    int32_t *p = XDR_INLINE(x, n * 4);

    for (unsigned i = 0; p && i < n; i++)
        IXDR_PUT_U_INT32(p, w[i]);
    return p;
}

bool rpcmsg_put_accepted(XDR *x, uint32_t xid, uint32_t accept_stat, uint32_t low, uint32_t high)
{
    uint32_t w[] = {xid, REPLY, MSG_ACCEPTED, AUTH_NONE, 0, accept_stat, low, high};

    return put_words(x, w, accept_stat == PROG_MISMATCH ? 8 : 6);
}

bool rpcmsg_put_version_mismatch(XDR *x, uint32_t xid)
{
    uint32_t w[] = {xid, REPLY, MSG_DENIED, RPC_MISMATCH, RPC_MSG_VERSION, RPC_MSG_VERSION};

    return put_words(x, w, 6);
}

bool rpcmsg_put_auth_error(XDR *x, uint32_t xid, uint32_t auth_stat)
{
    uint32_t w[] = {xid, REPLY, MSG_DENIED, AUTH_ERROR, auth_stat};

    return put_words(x, w, 5);
}
