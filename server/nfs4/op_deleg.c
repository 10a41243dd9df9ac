/* SPDX-License-Identifier: Apache-2.0
 * op_deleg: DELEGRETURN DELEGPURGE. No delegations are granted yet, so there is none to return, and no claim
 * of one from before a restart to purge.
 */
#include "server/nfs4/ops.h"
#include "server/state/client.h"
#include "server/state/openstate.h"

nfsstat4 op_delegreturn(struct compound *c, DELEGRETURN4args *args, DELEGRETURN4res *res)
{
    struct state_io io;
    struct file_key key;
    nfsstat4 status = compound_stateid_in(c, &args->deleg_stateid);

    if (status)
        return status;
    if (c->cur.obj.kind != VOBJ_FILE)
        return NFS4ERR_BAD_STATEID;
    key = compound_key(&c->cur.obj);
    /* Tells stale, old and expired stateids; one that is good is not a delegation's. */
    status = state_check_io(c->srv->state, c->minor, compound_client(c), &key, &args->deleg_stateid,
                            STATE_READ, &io);
    return status == NFS4ERR_STALE_STATEID || status == NFS4ERR_EXPIRED || status == NFS4ERR_OLD_STATEID
               ? status
               : NFS4ERR_BAD_STATEID;
}

nfsstat4 op_delegpurge(struct compound *c, DELEGPURGE4args *args, DELEGPURGE4res *res)
{
    return NFS4ERR_NOTSUPP; /* as CLAIM_DELEGATE_PREV: RFC 8881 section 18.5.4 */
}
