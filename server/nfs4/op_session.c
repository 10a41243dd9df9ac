/* SPDX-License-Identifier: Apache-2.0
 * op_session: clients and sessions of NFSv4.1: EXCHANGE_ID CREATE_SESSION SEQUENCE BIND_CONN_TO_SESSION
 * DESTROY_SESSION DESTROY_CLIENTID RECLAIM_COMPLETE FREE_STATEID TEST_STATEID BACKCHANNEL_CTL (RFC 8881
 * sections 18.33 to 18.51). What they mean is in state/; here is what they look like.
 */
#include <rpc/auth.h>
#include <stdio.h>
#include <string.h>

#include "common/siphash.h"
#include "server/nfs4/ident.h"
#include "server/nfs4/ops.h"
#include "server/state/client.h"
#include "server/state/openstate.h"

/* Some operations may stand outside a session, but then alone (RFC 8881 section 2.10.6.4 and each one's). */
static bool alone(const struct compound *c)
{
    return c->session || c->op_count == 1;
}

/* --- EXCHANGE_ID --- */

/* Fencing (RFC 7862 section 14.1.1, bit 4) is for pNFS: like other servers without it we refuse the bit. */
#define EXCHANGE_FLAGS_A                                                                           \
    (EXCHGID4_FLAG_SUPP_MOVED_REFER | EXCHGID4_FLAG_SUPP_MOVED_MIGR |                              \
     EXCHGID4_FLAG_BIND_PRINC_STATEID | EXCHGID4_FLAG_MASK_PNFS | EXCHGID4_FLAG_UPD_CONFIRMED_REC_A)

/* A name for this store that says nothing about its key. Whoever sees it at two addresses may trunk them. */
static xopaque server_name(struct compound *c)
{
    char *p = compound_scratch(c, 32);
    int n;

    if (!p)
        return (xopaque){0};
    n = snprintf(p, 32, "volnfs-%016llx",
                 (unsigned long long)siphash24(c->srv->handle_key, "server owner", 12));
    return (xopaque){.len = n, .data = p};
}

nfsstat4 op_exchange_id(struct compound *c, EXCHANGE_ID4args *args, EXCHANGE_ID4res *res)
{
    EXCHANGE_ID4resok *ok = &res->EXCHANGE_ID4res_u.eir_resok4;
    struct client_exchange a = {
        .verifier = (const uint8_t *)args->eia_clientowner.co_verifier,
        .owner = args->eia_clientowner.co_ownerid.data,
        .owner_len = args->eia_clientowner.co_ownerid.len,
        .update = args->eia_flags & EXCHGID4_FLAG_UPD_CONFIRMED_REC_A,
    };
    char who[IDENT_PRINCIPAL];
    nfsstat4 status;
    xopaque name;

    if (!alone(c))
        return NFS4ERR_NOT_ONLY_OP;
    if (args->eia_flags & ~(uint32_t)EXCHANGE_FLAGS_A)
        return NFS4ERR_INVAL;
    switch (args->eia_state_protect.spa_how) {
    case SP4_NONE:
        break;
    case SP4_MACH_CRED: /* wants a credential with integrity: RPCSEC_GSS */
        return NFS4ERR_INVAL;
    default:
        return NFS4ERR_ENCR_ALG_UNSUPP;
    }
    name = server_name(c);
    if (!name.len)
        return NFS4ERR_DELAY;
    ident_principal(c->req, who);
    ident_from(c->req, a.from);
    a.granted = !c->view || grant_view_any(c->view);
    status = client_exchange(c->srv->state, who, &a, c->call.may_block);
    if (status)
        return status;
    ok->eir_clientid = a.clientid;
    ok->eir_sequenceid = a.sequence;
    ok->eir_flags = EXCHGID4_FLAG_USE_NON_PNFS | (a.confirmed ? EXCHGID4_FLAG_CONFIRMED_R : 0);
    ok->eir_state_protect.spr_how = SP4_NONE;
    ok->eir_server_owner.so_minor_id = 0;
    ok->eir_server_owner.so_major_id = name;
    ok->eir_server_scope = name;
    ok->eir_server_impl_id.count = 0;
    return NFS4_OK;
}

/* --- CREATE_SESSION --- */

static struct session_attrs attrs_in(const channel_attrs4 *w)
{
    return (struct session_attrs){
        .max_request = w->ca_maxrequestsize,
        .max_reply = w->ca_maxresponsesize,
        .max_cached = w->ca_maxresponsesize_cached,
        .max_ops = w->ca_maxoperations,
        .max_slots = w->ca_maxrequests,
    };
}

static void attrs_out(const struct session_attrs *a, channel_attrs4 *w)
{
    w->ca_headerpadsize = 0;
    w->ca_maxrequestsize = a->max_request;
    w->ca_maxresponsesize = a->max_reply;
    w->ca_maxresponsesize_cached = a->max_cached;
    w->ca_maxoperations = a->max_ops;
    w->ca_maxrequests = a->max_slots;
    w->ca_rdma_ird.count = 0;
}

/* The credential callbacks will carry: the first AUTH_SYS one, else AUTH_NONE. */
static void callback_cred(const xsecparms *p, uint32_t *uid, uint32_t *gid)
{
    *uid = *gid = UINT32_MAX;
    for (uint32_t i = 0; i < p->len; i++) {
        if (p->v[i].flavor == AUTH_SYS) {
            *uid = p->v[i].uid;
            *gid = p->v[i].gid;
            return;
        }
    }
}

nfsstat4 op_create_session(struct compound *c, CREATE_SESSION4args *args, CREATE_SESSION4res *res)
{
    CREATE_SESSION4resok *ok = &res->CREATE_SESSION4res_u.csr_resok4;
    struct session_create a = {
        .clientid = args->csa_clientid,
        .sequence = args->csa_sequence,
        .flags = args->csa_flags,
        .fore = attrs_in(&args->csa_fore_chan_attrs),
        .back = attrs_in(&args->csa_back_chan_attrs),
        .minor = c->minor,
        .cb_program = args->csa_cb_program,
    };
    char who[IDENT_PRINCIPAL];
    struct session_conn conn;
    nfsstat4 status;
    bool made;

    if (!alone(c))
        return NFS4ERR_NOT_ONLY_OP;
    callback_cred(&args->csa_sec_parms, &a.cb_uid, &a.cb_gid);
    ident_principal(c->req, who);
    ident_from(c->req, a.from);
    a.granted = !c->view || grant_view_any(c->view);
    ident_conn(c->req, args->csa_flags & CREATE_SESSION4_FLAG_CONN_BACK_CHAN, &conn);
    status = session_create(c->srv->state, who, &a, &conn, &made);
    if (!made && conn.put)
        conn.put(conn.ref);
    if (status)
        return status;
    memcpy(ok->csr_sessionid, a.id, SESSION_ID_SIZE);
    ok->csr_sequence = a.sequence;
    ok->csr_flags = a.flags;
    attrs_out(&a.fore, &ok->csr_fore_chan_attrs);
    attrs_out(&a.back, &ok->csr_back_chan_attrs);
    return NFS4_OK;
}

/* --- SEQUENCE --- */

nfsstat4 op_sequence(struct compound *c, SEQUENCE4args *args, SEQUENCE4res *res)
{
    SEQUENCE4resok *ok = &res->SEQUENCE4res_u.sr_resok4;
    struct session_sequence a = {
        .sequence = args->sa_sequenceid,
        .slot = args->sa_slotid,
        .highest = args->sa_highest_slotid,
        .cache = args->sa_cachethis,
        .nops = c->op_count,
        .request_bytes = c->req->body_len,
        .digest = ident_digest(c->req),
        .conn_id = request_conn_id(c->req),
    };
    struct session_conn conn;
    nfsstat4 status;
    bool bind;

    if (c->op_index)
        return NFS4ERR_SEQUENCE_POS;
    memcpy(a.id, args->sa_sessionid, SESSION_ID_SIZE);
    status = session_sequence(c->srv->state, &a, &c->session, &c->slot, &bind);
    if (status)
        return status;
    if (bind) { /* without state protection a connection joins by being used: RFC 8881 section 2.10.3.1 */
        ident_conn(c->req, false, &conn);
        session_bind(c->session, &conn, false);
    }
    memcpy(ok->sr_sessionid, args->sa_sessionid, SESSION_ID_SIZE);
    ok->sr_sequenceid = args->sa_sequenceid;
    ok->sr_slotid = args->sa_slotid;
    ok->sr_highest_slotid = a.out_highest;
    ok->sr_target_highest_slotid = a.out_target;
    ok->sr_status_flags = a.out_flags;
    return NFS4_OK;
}

/* --- connections, ends --- */

nfsstat4 op_bind_conn_to_session(struct compound *c, BIND_CONN_TO_SESSION4args *args,
                                 BIND_CONN_TO_SESSION4res *res)
{
    BIND_CONN_TO_SESSION4resok *ok = &res->BIND_CONN_TO_SESSION4res_u.bctsr_resok4;
    struct session_conn conn;
    struct session *se;
    bool back;

    if (c->op_count != 1)
        return NFS4ERR_NOT_ONLY_OP;
    switch (args->bctsa_dir) {
    case CDFC4_FORE:
        back = false;
        break;
    case CDFC4_BACK:
    case CDFC4_FORE_OR_BOTH:
    case CDFC4_BACK_OR_BOTH:
        back = true;
        break;
    default:
        return NFS4ERR_INVAL;
    }
    se = session_get(c->srv->state, (const uint8_t *)args->bctsa_sessid);
    if (!se)
        return NFS4ERR_BADSESSION;
    ident_conn(c->req, back, &conn);
    back = conn.back;
    session_bind(se, &conn, true);
    session_put(se);
    memcpy(ok->bctsr_sessid, args->bctsa_sessid, SESSION_ID_SIZE);
    ok->bctsr_dir = !back                            ? CDFS4_FORE
                    : args->bctsa_dir == CDFC4_BACK ? CDFS4_BACK
                                                    : CDFS4_BOTH;
    ok->bctsr_use_conn_in_rdma_mode = FALSE;
    return NFS4_OK;
}

nfsstat4 op_destroy_session(struct compound *c, DESTROY_SESSION4args *args, DESTROY_SESSION4res *res)
{
    const uint8_t *id = (const uint8_t *)args->dsa_sessionid;
    struct session *se;
    bool own;

    if (!alone(c))
        return NFS4ERR_NOT_ONLY_OP;
    se = session_get(c->srv->state, id);
    own = se && se == c->session;
    if (se)
        session_put(se);
    if (own && c->op_index + 1 != c->op_count)
        return NFS4ERR_NOT_ONLY_OP; /* its own session goes last: RFC 8881 section 18.37.3 */
    return session_destroy(c->srv->state, id, c->session);
}

nfsstat4 op_destroy_clientid(struct compound *c, DESTROY_CLIENTID4args *args, DESTROY_CLIENTID4res *res)
{
    char who[IDENT_PRINCIPAL];
    uint8_t from[CLIENT_FROM];

    if (!alone(c))
        return NFS4ERR_NOT_ONLY_OP;
    ident_principal(c->req, who);
    ident_from(c->req, from);
    return client_destroy(c->srv->state, who, from, args->dca_clientid, c->call.may_block);
}

nfsstat4 op_reclaim_complete(struct compound *c, RECLAIM_COMPLETE4args *args, RECLAIM_COMPLETE4res *res)
{
    if (args->rca_one_fs) /* after a migration of one file system: we do not migrate */
        return c->cur.set ? NFS4_OK : NFS4ERR_NOFILEHANDLE;
    return client_reclaim_complete(c->srv->state, compound_client(c), c->call.may_block);
}

nfsstat4 op_backchannel_ctl(struct compound *c, BACKCHANNEL_CTL4args *args, BACKCHANNEL_CTL4res *res)
{
    uint32_t uid, gid;

    callback_cred(&args->bca_sec_parms, &uid, &gid);
    session_set_callback(c->session, args->bca_cb_program, uid, gid);
    return NFS4_OK;
}

/* --- stateids --- */

nfsstat4 op_free_stateid(struct compound *c, FREE_STATEID4args *args, FREE_STATEID4res *res)
{
    nfsstat4 status = compound_stateid_in(c, &args->fsa_stateid);

    return status ? status : stateid_free(c->srv->state, compound_client(c), &args->fsa_stateid);
}

nfsstat4 op_test_stateid(struct compound *c, TEST_STATEID4args *args, TEST_STATEID4res *res)
{
    TEST_STATEID4resok *ok = &res->TEST_STATEID4res_u.tsr_resok4;
    uint32_t n = args->ts_stateids.len;
    nfsstat4 *codes;

    if (4 * ((size_t)n + 1) > compound_room(c))
        return NFS4ERR_REP_TOO_BIG;
    codes = compound_scratch(c, (n + 1) * sizeof *codes);
    if (!codes)
        return NFS4ERR_DELAY;
    for (uint32_t i = 0; i < n; i++) {
        stateid4 sid;

        xstateids_get(&args->ts_stateids, i, &sid.seqid, sid.other);
        codes[i] = stateid_test(c->srv->state, compound_client(c), &sid);
    }
    ok->tsr_status_codes.tsr_status_codes_len = n;
    ok->tsr_status_codes.tsr_status_codes_val = codes;
    return NFS4_OK;
}
