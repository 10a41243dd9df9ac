/* SPDX-License-Identifier: Apache-2.0
 * rpcmsg: any bytes as an ONC RPC header and, behind it, as the types that NFS arguments are made of.
 */
#include <stdlib.h>
#include <string.h>

#include "server/rpc/rpcmsg.h"
#include "tests/fuzz/replay.h"

/* What was decoded must encode again. */
static void arguments(XDR *x)
{
    struct xdrout *o = xdrout_new(1 << 22);
    xbitmap b;
    xslice v;

    must(o != NULL);
    while (xdrin_left(x)) {
        const char *end = xdrin_here(x) + xdrin_left(x);

        if (!xdr_xbitmap(x, &b) || !xdr_xopaque(x, &v))
            break;
        must(v.data + v.len <= end && v.len <= 1024);
        must(xdr_xbitmap(xdrout_xdr(o), &b) && xdr_xopaque(xdrout_xdr(o), &v));
    }
    xdrout_free(o);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rpcmsg_head head;
    struct cred cred;
    uint8_t *copy = malloc(size ? size : 1);
    XDR x;

    if (!copy)
        return 0;
    memcpy(copy, data, size); /* so that a sanitizer sees the first byte past it */
    xdrin_init(&x, copy, size);
    if (rpcmsg_decode(&x, &head, &cred) == RPCMSG_CALL) {
        must(cred.ngroups <= CRED_GROUPS_MAX);
        must(memchr(cred.machine, 0, sizeof(cred.machine)) != NULL);
        arguments(&x);
    }
    free(copy);
    return 0;
}
