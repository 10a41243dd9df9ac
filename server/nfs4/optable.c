/* SPDX-License-Identifier: Apache-2.0
 * optable: one row per operation. Adding an operation: its types in proto/nfs4.x, its handler in ops.h, its
 * thunk and its row here.
 *
 * An operation with minor_max 0 must not be implemented later on and answers NFS4ERR_NOTSUPP there (RFC
 * 8881 section 17); one that is newer than the compound's minor version is illegal.
 */
#include "server/nfs4/compound.h"
#include "server/nfs4/fh.h"
#include "server/nfs4/ops.h"

/* Handlers take their own types; calling them through a pointer of another type would be undefined. */
#define THUNK(fn)                                                                                  \
    static nfsstat4 run_##fn(struct compound *c, void *args, void *res)                            \
    {                                                                                              \
        return op_##fn(c, args, res);                                                              \
    }

/* A row: the limits on the sizes are checked when compiling. */
#define FITS(type, max) ((uint16_t)(sizeof(type) / (sizeof(char[sizeof(type) <= (max) ? 1 : -1]))))
#define ROW(NAME, fn, min, max, fl, bound)                                                         \
    [OP_##NAME] = {#NAME, min, max, fl, false, (xdrproc_t)xdr_##NAME##4args,                       \
                   (xdrproc_t)xdr_##NAME##4res, FITS(NAME##4args, COMPOUND_ARGS_MAX),              \
                   FITS(NAME##4res, COMPOUND_RES_MAX), run_##fn, bound}
#define ROW_VOID(NAME, fn, min, max, fl, bound)                                                    \
    [OP_##NAME] = {#NAME, min, max, fl, false, NULL, (xdrproc_t)xdr_##NAME##4res, 0,               \
                   FITS(NAME##4res, COMPOUND_RES_MAX), run_##fn, bound}
#define ROW_NOTSUPP(NAME, min) [OP_##NAME] = {.name = #NAME, .minor_min = min, .minor_max = 2, .notsupp = true}

THUNK(access)
THUNK(close)
THUNK(commit)
THUNK(create)
THUNK(delegpurge)
THUNK(delegreturn)
THUNK(getattr)
THUNK(getfh)
THUNK(link)
THUNK(lock)
THUNK(lockt)
THUNK(locku)
THUNK(lookup)
THUNK(lookupp)
THUNK(nverify)
THUNK(open)
THUNK(open_confirm)
THUNK(open_downgrade)
THUNK(putfh)
THUNK(putpubfh)
THUNK(putrootfh)
THUNK(read)
THUNK(readdir)
THUNK(readlink)
THUNK(remove)
THUNK(rename)
THUNK(renew)
THUNK(restorefh)
THUNK(savefh)
THUNK(secinfo)
THUNK(setattr)
THUNK(setclientid)
THUNK(setclientid_confirm)
THUNK(verify)
THUNK(write)
THUNK(release_lockowner)
THUNK(backchannel_ctl)
THUNK(bind_conn_to_session)
THUNK(exchange_id)
THUNK(create_session)
THUNK(destroy_session)
THUNK(free_stateid)
THUNK(secinfo_no_name)
THUNK(sequence)
THUNK(test_stateid)
THUNK(destroy_clientid)
THUNK(reclaim_complete)
THUNK(allocate)
THUNK(clone)
THUNK(copy)
THUNK(deallocate)
THUNK(io_advise)
THUNK(offload_cancel)
THUNK(offload_status)
THUNK(read_plus)
THUNK(seek)
THUNK(getxattr)
THUNK(setxattr)
THUNK(listxattrs)
THUNK(removexattr)

static const struct op_row table[] = {
    ROW(ACCESS, access, 0, 2, OPF_NEED_FH | OPF_ON_WAY, 8),
    ROW(CLOSE, close, 0, 2, OPF_NEED_FH | OPF_ANY_GRANT | OPF_CHANGES, 16),
    ROW(COMMIT, commit, 0, 2, OPF_NEED_FH | OPF_NEED_FILE | OPF_CHANGES, 8),
    ROW(CREATE, create, 0, 2, OPF_NEED_FH | OPF_WRITES | OPF_CHANGES, 36),
    ROW(DELEGPURGE, delegpurge, 0, 2, 0, 0),
    ROW(DELEGRETURN, delegreturn, 0, 2, OPF_NEED_FH | OPF_ANY_GRANT | OPF_CHANGES, 0),
    ROW(GETATTR, getattr, 0, 2, OPF_NEED_FH | OPF_ON_WAY, 0),
    ROW_VOID(GETFH, getfh, 0, 2, OPF_NEED_FH | OPF_ANY_GRANT, 4 + FH_SIZE_MAX),
    ROW(LINK, link, 0, 2, OPF_NEED_FH | OPF_WRITES | OPF_WRITES_SAVED | OPF_NEED_SAVED | OPF_CHANGES, 20),
    ROW(LOCK, lock, 0, 2, OPF_OWNER | OPF_NEED_FH | OPF_NEED_FILE | OPF_CHANGES, 16),
    ROW(LOCKT, lockt, 0, 2, OPF_NEED_FH | OPF_NEED_FILE, 0),
    ROW(LOCKU, locku, 0, 2, OPF_OWNER | OPF_NEED_FH | OPF_ANY_GRANT | OPF_NEED_FILE | OPF_CHANGES, 16),
    ROW(LOOKUP, lookup, 0, 2, OPF_NEED_FH | OPF_ON_WAY, 0),
    ROW_VOID(LOOKUPP, lookupp, 0, 2, OPF_NEED_FH | OPF_ON_WAY, 0),
    ROW(NVERIFY, nverify, 0, 2, OPF_NEED_FH | OPF_ON_WAY, 0),
    ROW(OPEN, open, 0, 2, OPF_OWNER | OPF_NEED_FH | OPF_ON_WAY | OPF_CHANGES, 160),
    ROW_NOTSUPP(OPENATTR, 0),
    ROW(OPEN_CONFIRM, open_confirm, 0, 0, OPF_NEED_FH | OPF_ANY_GRANT | OPF_CHANGES, 16),
    ROW(OPEN_DOWNGRADE, open_downgrade, 0, 2, OPF_NEED_FH | OPF_ANY_GRANT | OPF_CHANGES, 16),
    ROW(PUTFH, putfh, 0, 2, 0, 0),
    ROW_VOID(PUTPUBFH, putpubfh, 0, 2, 0, 0),
    ROW_VOID(PUTROOTFH, putrootfh, 0, 2, 0, 0),
    ROW(READ, read, 0, 2, OPF_NEED_FH | OPF_NEED_FILE, 0),
    ROW(READDIR, readdir, 0, 2, OPF_NEED_FH | OPF_ON_WAY, 0),
    ROW_VOID(READLINK, readlink, 0, 2, OPF_NEED_FH, 0),
    ROW(REMOVE, remove, 0, 2, OPF_NEED_FH | OPF_WRITES | OPF_CHANGES, 20),
    ROW(RENAME, rename, 0, 2, OPF_NEED_FH | OPF_WRITES | OPF_WRITES_SAVED | OPF_NEED_SAVED | OPF_CHANGES, 40),
    ROW(RENEW, renew, 0, 0, 0, 0),
    ROW_VOID(RESTOREFH, restorefh, 0, 2, OPF_NEED_SAVED, 0),
    ROW_VOID(SAVEFH, savefh, 0, 2, OPF_NEED_FH | OPF_ANY_GRANT, 0),
    ROW(SECINFO, secinfo, 0, 2, OPF_NEED_FH | OPF_ON_WAY, 16),
    ROW(SETATTR, setattr, 0, 2, OPF_NEED_FH | OPF_WRITES | OPF_CHANGES, 16),
    ROW(SETCLIENTID, setclientid, 0, 0, OPF_CHANGES, 16),
    ROW(SETCLIENTID_CONFIRM, setclientid_confirm, 0, 0, OPF_CHANGES, 0),
    ROW(VERIFY, verify, 0, 2, OPF_NEED_FH | OPF_ON_WAY | OPF_KEEP_VERIFY, 0),
    ROW(WRITE, write, 0, 2, OPF_NEED_FH | OPF_WRITES | OPF_NEED_FILE | OPF_CHANGES | OPF_KEEP_VERIFY, 16),
    ROW(RELEASE_LOCKOWNER, release_lockowner, 0, 0, OPF_CHANGES, 0),
    ROW(BACKCHANNEL_CTL, backchannel_ctl, 1, 2, 0, 0),
    ROW(BIND_CONN_TO_SESSION, bind_conn_to_session, 1, 2, OPF_NO_SESSION, 24),
    ROW(EXCHANGE_ID, exchange_id, 1, 2, OPF_NO_SESSION | OPF_CHANGES, 0),
    ROW(CREATE_SESSION, create_session, 1, 2, OPF_NO_SESSION | OPF_CHANGES, 0),
    ROW(DESTROY_SESSION, destroy_session, 1, 2, OPF_NO_SESSION | OPF_CHANGES, 0),
    ROW(FREE_STATEID, free_stateid, 1, 2, OPF_CHANGES, 0),
    ROW_NOTSUPP(GET_DIR_DELEGATION, 1),
    ROW_NOTSUPP(GETDEVICEINFO, 1),
    ROW_NOTSUPP(GETDEVICELIST, 1),
    ROW_NOTSUPP(LAYOUTCOMMIT, 1),
    ROW_NOTSUPP(LAYOUTGET, 1),
    ROW_NOTSUPP(LAYOUTRETURN, 1),
    ROW(SECINFO_NO_NAME, secinfo_no_name, 1, 2, OPF_NEED_FH | OPF_ON_WAY, 16),
    ROW(SEQUENCE, sequence, 1, 2, OPF_NO_SESSION, 36),
    ROW_NOTSUPP(SET_SSV, 1),
    ROW(TEST_STATEID, test_stateid, 1, 2, 0, 0),
    ROW_NOTSUPP(WANT_DELEGATION, 1),
    ROW(DESTROY_CLIENTID, destroy_clientid, 1, 2, OPF_NO_SESSION | OPF_CHANGES, 0),
    ROW(RECLAIM_COMPLETE, reclaim_complete, 1, 2, OPF_CHANGES, 0),
    ROW(ALLOCATE, allocate, 2, 2, OPF_NEED_FH | OPF_WRITES | OPF_NEED_FILE | OPF_CHANGES, 0),
    ROW(COPY, copy, 2, 2, OPF_NEED_FH | OPF_WRITES | OPF_NEED_SAVED | OPF_NEED_FILE | OPF_CHANGES, 52),
    ROW_NOTSUPP(COPY_NOTIFY, 2),
    ROW(DEALLOCATE, deallocate, 2, 2, OPF_NEED_FH | OPF_WRITES | OPF_NEED_FILE | OPF_CHANGES, 0),
    ROW(IO_ADVISE, io_advise, 2, 2, OPF_NEED_FH | OPF_NEED_FILE, 16),
    ROW_NOTSUPP(LAYOUTERROR, 2),
    ROW_NOTSUPP(LAYOUTSTATS, 2),
    ROW(OFFLOAD_CANCEL, offload_cancel, 2, 2, OPF_NEED_FH, 0),
    ROW(OFFLOAD_STATUS, offload_status, 2, 2, OPF_NEED_FH, 16),
    ROW(READ_PLUS, read_plus, 2, 2, OPF_NEED_FH | OPF_NEED_FILE, 0),
    ROW(SEEK, seek, 2, 2, OPF_NEED_FH | OPF_NEED_FILE, 12),
    ROW_NOTSUPP(WRITE_SAME, 2),
    ROW(CLONE, clone, 2, 2, OPF_NEED_FH | OPF_WRITES | OPF_NEED_SAVED | OPF_NEED_FILE | OPF_CHANGES, 0),
    ROW(GETXATTR, getxattr, 2, 2, OPF_NEED_FH, 0),
    ROW(SETXATTR, setxattr, 2, 2, OPF_NEED_FH | OPF_WRITES | OPF_CHANGES, 20),
    ROW(LISTXATTRS, listxattrs, 2, 2, OPF_NEED_FH, 0),
    ROW(REMOVEXATTR, removexattr, 2, 2, OPF_NEED_FH | OPF_WRITES | OPF_CHANGES, 20),
};

const struct op_row *optable_find(uint32_t op)
{
    if (op >= sizeof(table) / sizeof(table[0]) || !table[op].name)
        return NULL;
    return &table[op];
}
