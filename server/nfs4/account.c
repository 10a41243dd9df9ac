/* SPDX-License-Identifier: Apache-2.0
 * account: what of a compound is counted (see account.h).
 *
 * An operation counts where the current filehandle points to after it: a LOOKUP from the tree above into a volume is
 * the volume's. A compound's time, from its arrival to its durable reply, counts where its heaviest operation did.
 */
#include "server/nfs4/account.h"

#include "common/clock.h"
#include "common/log.h"
#include "server/metrics/metrics.h"
#include "server/store/snap.h"

void account_begin(struct compound *c)
{
    c->account.t0 = clock_mono_ns();
}

static enum metrics_class class_of(const struct compound *c)
{
    switch (c->opnum) {
    case OP_READ:
    case OP_READ_PLUS:
        return METRICS_READ;
    case OP_WRITE:
    case OP_COMMIT:
    case OP_COPY:
    case OP_CLONE:
    case OP_ALLOCATE:
    case OP_DEALLOCATE:
        return METRICS_WRITE;
    default:
        return c->row && (c->row->flags & OPF_CHANGES) ? METRICS_CHANGE : METRICS_LOOK;
    }
}

void account_bytes(struct compound *c, nfsstat4 status)
{
    c->account.rd = c->account.wr = 0;
    if (status != NFS4_OK)
        return;
    if (c->opnum == OP_READ) {
        c->account.rd = ((READ4res *)(void *)c->res)->READ4res_u.resok4.data.len;
    } else if (c->opnum == OP_WRITE) {
        c->account.wr = ((WRITE4res *)(void *)c->res)->WRITE4res_u.resok4.count;
    } else if (c->opnum == OP_READ_PLUS) {
        const read_plus_res4 *ok = &((READ_PLUS4res *)(void *)c->res)->READ_PLUS4res_u.rp_resok4;

        for (u_int i = 0; i < ok->rpr_contents.rpr_contents_len; i++)
            if (ok->rpr_contents.rpr_contents_val[i].rpc_content == NFS4_CONTENT_DATA)
                c->account.rd += ok->rpr_contents.rpr_contents_val[i].read_plus_content_u.rpc_data.d_data.len;
    }
}

void account_op(struct compound *c, nfsstat4 status)
{
    uint64_t vol = c->cur.set && c->cur.obj.vol ? snap_base_id(volume_id(c->cur.obj.vol)) : 0;
    uint64_t grant = c->cur.set && c->cur.acc.rule ? c->cur.acc.rule->id : 0;
    enum metrics_class class = class_of(c);
    bool ok = status == NFS4_OK;

    if (class >= c->account.class && (vol || !c->account.volume)) {
        c->account.class = class;
        c->account.volume = vol;
        c->account.grant = grant;
    }
    log_debug(LOG_OPS, "conn=%llu xid=%08x op=%s status=%s volume=%llu ino=%llu uid=%u read=%llu written=%llu",
              (unsigned long long)request_conn_id(c->req), c->req->xid, nfs4_op_name(c->opnum),
              nfs4_status_name(status), (unsigned long long)vol,
              (unsigned long long)(vol ? c->cur.obj.ino : 0), c->cred.uid, (unsigned long long)c->account.rd,
              (unsigned long long)c->account.wr);
    metrics_op(c->srv->metrics, vol, grant, c->opnum, status, ok ? c->account.rd : 0, ok ? c->account.wr : 0);
    c->account.rd = c->account.wr = 0;
}

void account_end(struct compound *c)
{
    uint64_t t0 = c->account.t0;

    c->account.t0 = 0;
    if (t0)
        metrics_compound(c->srv->metrics, c->account.volume, c->account.grant, c->account.class, clock_mono_ns() - t0);
}
