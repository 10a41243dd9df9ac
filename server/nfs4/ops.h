/* SPDX-License-Identifier: Apache-2.0
 * ops: the handlers of all operations. What a handler gets and may do is in compound.h.
 */
#ifndef VOLNFS_NFS4_OPS_H
#define VOLNFS_NFS4_OPS_H

#include "server/nfs4/compound.h"

/* op_fh.c */
nfsstat4 op_putfh(struct compound *c, PUTFH4args *args, PUTFH4res *res);
nfsstat4 op_putrootfh(struct compound *c, void *args, PUTROOTFH4res *res);
nfsstat4 op_putpubfh(struct compound *c, void *args, PUTPUBFH4res *res);
nfsstat4 op_getfh(struct compound *c, void *args, GETFH4res *res);
nfsstat4 op_savefh(struct compound *c, void *args, SAVEFH4res *res);
nfsstat4 op_restorefh(struct compound *c, void *args, RESTOREFH4res *res);
nfsstat4 op_lookup(struct compound *c, LOOKUP4args *args, LOOKUP4res *res);
nfsstat4 op_lookupp(struct compound *c, void *args, LOOKUPP4res *res);
nfsstat4 op_secinfo(struct compound *c, SECINFO4args *args, SECINFO4res *res);
nfsstat4 op_secinfo_no_name(struct compound *c, SECINFO_NO_NAME4args *args, SECINFO_NO_NAME4res *res);

/* op_attr.c */
nfsstat4 op_getattr(struct compound *c, GETATTR4args *args, GETATTR4res *res);
nfsstat4 op_setattr(struct compound *c, SETATTR4args *args, SETATTR4res *res);
nfsstat4 op_access(struct compound *c, ACCESS4args *args, ACCESS4res *res);
nfsstat4 op_verify(struct compound *c, VERIFY4args *args, VERIFY4res *res);
nfsstat4 op_nverify(struct compound *c, NVERIFY4args *args, NVERIFY4res *res);

/* op_dir.c */
nfsstat4 op_create(struct compound *c, CREATE4args *args, CREATE4res *res);
nfsstat4 op_remove(struct compound *c, REMOVE4args *args, REMOVE4res *res);
nfsstat4 op_rename(struct compound *c, RENAME4args *args, RENAME4res *res);
nfsstat4 op_link(struct compound *c, LINK4args *args, LINK4res *res);
nfsstat4 op_readlink(struct compound *c, void *args, READLINK4res *res);

/* op_readdir.c */
nfsstat4 op_readdir(struct compound *c, READDIR4args *args, READDIR4res *res);

/* op_io.c */
nfsstat4 op_read(struct compound *c, READ4args *args, READ4res *res);
nfsstat4 op_write(struct compound *c, WRITE4args *args, WRITE4res *res);
nfsstat4 op_commit(struct compound *c, COMMIT4args *args, COMMIT4res *res);

/* op_io42.c */
nfsstat4 op_seek(struct compound *c, SEEK4args *args, SEEK4res *res);
nfsstat4 op_allocate(struct compound *c, ALLOCATE4args *args, ALLOCATE4res *res);
nfsstat4 op_deallocate(struct compound *c, DEALLOCATE4args *args, DEALLOCATE4res *res);
nfsstat4 op_read_plus(struct compound *c, READ_PLUS4args *args, READ_PLUS4res *res);
nfsstat4 op_offload_cancel(struct compound *c, OFFLOAD_CANCEL4args *args, OFFLOAD_CANCEL4res *res);
nfsstat4 op_offload_status(struct compound *c, OFFLOAD_STATUS4args *args, OFFLOAD_STATUS4res *res);
nfsstat4 op_io_advise(struct compound *c, IO_ADVISE4args *args, IO_ADVISE4res *res);

/* op_copy.c */
nfsstat4 op_clone(struct compound *c, CLONE4args *args, CLONE4res *res);
nfsstat4 op_copy(struct compound *c, COPY4args *args, COPY4res *res);

/* op_xattr.c */
nfsstat4 op_getxattr(struct compound *c, GETXATTR4args *args, GETXATTR4res *res);
nfsstat4 op_setxattr(struct compound *c, SETXATTR4args *args, SETXATTR4res *res);
nfsstat4 op_listxattrs(struct compound *c, LISTXATTRS4args *args, LISTXATTRS4res *res);
nfsstat4 op_removexattr(struct compound *c, REMOVEXATTR4args *args, REMOVEXATTR4res *res);

/* op_open.c */
nfsstat4 op_open(struct compound *c, OPEN4args *args, OPEN4res *res);
/* Are these a share_access and a share_deny? NFS4_OK or NFS4ERR_INVAL. */
nfsstat4 open_check_shares(uint32_t minor, uint32_t access, uint32_t deny);

/* op_close.c */
nfsstat4 op_open_confirm(struct compound *c, OPEN_CONFIRM4args *args, OPEN_CONFIRM4res *res);
nfsstat4 op_open_downgrade(struct compound *c, OPEN_DOWNGRADE4args *args, OPEN_DOWNGRADE4res *res);
nfsstat4 op_close(struct compound *c, CLOSE4args *args, CLOSE4res *res);

/* op_lock.c */
nfsstat4 op_lock(struct compound *c, LOCK4args *args, LOCK4res *res);
nfsstat4 op_lockt(struct compound *c, LOCKT4args *args, LOCKT4res *res);
nfsstat4 op_locku(struct compound *c, LOCKU4args *args, LOCKU4res *res);
nfsstat4 op_release_lockowner(struct compound *c, RELEASE_LOCKOWNER4args *args, RELEASE_LOCKOWNER4res *res);

/* op_deleg.c */
nfsstat4 op_delegreturn(struct compound *c, DELEGRETURN4args *args, DELEGRETURN4res *res);
nfsstat4 op_delegpurge(struct compound *c, DELEGPURGE4args *args, DELEGPURGE4res *res);
/* For GETATTR: what another client holds of the current object's data and has not written yet. */
struct deleg_attrs;
nfsstat4 deleg_ask(struct compound *c, const xbitmap *want, struct deleg_attrs *da);

/* op_client40.c */
nfsstat4 op_setclientid(struct compound *c, SETCLIENTID4args *args, SETCLIENTID4res *res);
nfsstat4 op_setclientid_confirm(struct compound *c, SETCLIENTID_CONFIRM4args *args,
                                SETCLIENTID_CONFIRM4res *res);
nfsstat4 op_renew(struct compound *c, RENEW4args *args, RENEW4res *res);

/* op_session.c */
nfsstat4 op_exchange_id(struct compound *c, EXCHANGE_ID4args *args, EXCHANGE_ID4res *res);
nfsstat4 op_create_session(struct compound *c, CREATE_SESSION4args *args, CREATE_SESSION4res *res);
nfsstat4 op_sequence(struct compound *c, SEQUENCE4args *args, SEQUENCE4res *res);
nfsstat4 op_bind_conn_to_session(struct compound *c, BIND_CONN_TO_SESSION4args *args,
                                 BIND_CONN_TO_SESSION4res *res);
nfsstat4 op_destroy_session(struct compound *c, DESTROY_SESSION4args *args, DESTROY_SESSION4res *res);
nfsstat4 op_destroy_clientid(struct compound *c, DESTROY_CLIENTID4args *args, DESTROY_CLIENTID4res *res);
nfsstat4 op_reclaim_complete(struct compound *c, RECLAIM_COMPLETE4args *args, RECLAIM_COMPLETE4res *res);
nfsstat4 op_free_stateid(struct compound *c, FREE_STATEID4args *args, FREE_STATEID4res *res);
nfsstat4 op_test_stateid(struct compound *c, TEST_STATEID4args *args, TEST_STATEID4res *res);
nfsstat4 op_backchannel_ctl(struct compound *c, BACKCHANNEL_CTL4args *args, BACKCHANNEL_CTL4res *res);

#endif
