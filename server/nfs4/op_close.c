/* SPDX-License-Identifier: Apache-2.0
 * op_close: what happens to an open later: OPEN_CONFIRM OPEN_DOWNGRADE CLOSE (RFC 7530 sections 16.18, 16.19 and 16.2; RFC
 * 8881 sections 18.18 and 18.2).
 */
#include <string.h>

#include "server/nfs4/ops.h"
#include "server/state/openstate.h"

enum which { CONFIRM, DOWNGRADE, CLOSING };
struct change {
    enum which which;
    uint32_t op, seqid, access, deny;
    stateid4 sid;
};

static nfsstat4 run_change(struct compound *c, struct change *ch, stateid4 *out)
{
    nfsstat4 status = compound_stateid_in(c, &ch->sid);
    struct state *s = c->srv->state;
    struct file_key key;

    if (status)
        return status;
    if (c->cur.obj.kind != VOBJ_FILE)
        return NFS4ERR_BAD_STATEID;
    key = compound_key(&c->cur.obj);
    switch (ch->which) {
    case CONFIRM:
        return open_confirm(s, &key, &ch->sid, out);
    case DOWNGRADE:
        status = open_check_shares(c->minor, ch->access, ch->deny);
        if (status)
            return status;
        return open_downgrade(s, c->minor, compound_client(c), &key, &ch->sid,
                              ch->access & OPEN4_SHARE_ACCESS_BOTH, ch->deny, out);
    default:
        return open_close(s, c->minor, compound_client(c), &key, &ch->sid, out);
    }
}

/* An operation on an open: in 4.0 in its owner's turn, with the reply kept. */
static nfsstat4 change_open(struct compound *c, struct change *ch, stateid4 *out)
{
    struct owner_call oc = {0};
    nfsstat4 status;

    if (c->minor == 0) {
        status = owner_begin_stateid(c->srv->state, &ch->sid, OWNER_OPEN, ch->op, ch->seqid,
                                     c->call.may_block, &oc);
        if (status)
            return status;
    }
    if (oc.replay) {
        status = oc.status;
        if (oc.reply_len == sizeof *out)
            memcpy(out, oc.reply, sizeof *out);
    } else {
        status = run_change(c, ch, out);
    }
    if (c->minor == 0)
        owner_end(c->srv->state, &oc, status, out, status ? 0 : sizeof *out);
    if (!status)
        compound_stateid_out(c, out);
    return status;
}

nfsstat4 op_open_confirm(struct compound *c, OPEN_CONFIRM4args *args, OPEN_CONFIRM4res *res)
{
    struct change ch = {.which = CONFIRM, .op = OP_OPEN_CONFIRM, .seqid = args->seqid,
                        .sid = args->open_stateid};

    return change_open(c, &ch, &res->OPEN_CONFIRM4res_u.resok4.open_stateid);
}

nfsstat4 op_open_downgrade(struct compound *c, OPEN_DOWNGRADE4args *args, OPEN_DOWNGRADE4res *res)
{
    struct change ch = {.which = DOWNGRADE, .op = OP_OPEN_DOWNGRADE, .seqid = args->seqid,
                        .access = args->share_access, .deny = args->share_deny,
                        .sid = args->open_stateid};

    return change_open(c, &ch, &res->OPEN_DOWNGRADE4res_u.resok4.open_stateid);
}

nfsstat4 op_close(struct compound *c, CLOSE4args *args, CLOSE4res *res)
{
    struct change ch = {.which = CLOSING, .op = OP_CLOSE, .seqid = args->seqid,
                        .sid = args->open_stateid};

    return change_open(c, &ch, &res->CLOSE4res_u.open_stateid);
}
