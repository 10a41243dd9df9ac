/* SPDX-License-Identifier: Apache-2.0
 * op_deleg: DELEGRETURN, DELEGPURGE, and what GETATTR asks the holder of a write delegation.
 */
#include "common/clock.h"
#include "server/nfs4/attr.h"
#include "server/nfs4/ops.h"
#include "server/state/deleg.h"

nfsstat4 op_delegreturn(struct compound *c, DELEGRETURN4args *args, DELEGRETURN4res *res)
{
    struct file_key key;
    nfsstat4 status = compound_stateid_in(c, &args->deleg_stateid);

    if (status)
        return status;
    if (c->cur.obj.kind != VOBJ_FILE)
        return NFS4ERR_BAD_STATEID;
    key = compound_key(&c->cur.obj);
    return deleg_return(c->srv->state, c->minor, compound_client(c), &key, &args->deleg_stateid);
}

nfsstat4 op_delegpurge(struct compound *c, DELEGPURGE4args *args, DELEGPURGE4res *res)
{
    return NFS4ERR_NOTSUPP; /* as CLAIM_DELEGATE_PREV: RFC 8881 section 18.5.4 */
}

/* The attributes that change when a file is written. */
static bool asks_data(const xbitmap *want)
{
    return xbitmap_has(want, FATTR4_CHANGE) || xbitmap_has(want, FATTR4_SIZE) ||
           xbitmap_has(want, FATTR4_TIME_MODIFY) || xbitmap_has(want, FATTR4_TIME_METADATA);
}

nfsstat4 deleg_ask(struct compound *c, const xbitmap *want, struct deleg_attrs *da)
{
    struct vset now = {.mask = VSET_MTIME, .mtime = clock_wall()};
    struct vcred root = {0};
    struct file_key key;
    nfsstat4 status;

    *da = (struct deleg_attrs){0};
    if (c->cur.obj.kind != VOBJ_FILE || !c->srv->state || !deleg_any_write(c->srv->state) || !asks_data(want))
        return NFS4_OK;
    key = compound_key(&c->cur.obj);
    status = deleg_getattr(c->srv->state, compound_client(c), &key, c->call.may_block, da);
    /* What the holder has written counts as written now: each such answer has a time and change attribute of its
     * own, and later ones are larger still (RFC 8881 section 10.4.3). */
    if (!status && da->modified)
        (void)vfs_setattr(c->srv->vfs, &c->call, &c->cur.obj, &root, &now, true, NULL);
    return status;
}
