noinst_LIBRARIES += libnfs4.a
libnfs4_a_SOURCES = \
    server/nfs4/access.c server/nfs4/access.h \
    server/nfs4/account.c server/nfs4/account.h \
    server/nfs4/acl.c server/nfs4/acl.h \
    server/nfs4/callback.c server/nfs4/callback.h server/nfs4/cbaddr.c \
    server/nfs4/attr.c server/nfs4/attr.h server/nfs4/attr_decode.c server/nfs4/attr_encode.c \
    server/nfs4/compound.c server/nfs4/compound.h \
    server/nfs4/drc.c server/nfs4/drc.h \
    server/nfs4/fh.c server/nfs4/fh.h \
    server/nfs4/ident.c server/nfs4/ident.h \
    server/nfs4/names.c server/nfs4/nfserr.c \
    server/nfs4/offload.c server/nfs4/offload.h \
    server/nfs4/op_attr.c server/nfs4/op_client40.c server/nfs4/op_close.c server/nfs4/op_deleg.c server/nfs4/op_dir.c \
    server/nfs4/op_copy.c server/nfs4/op_fh.c server/nfs4/op_io.c server/nfs4/op_io.h server/nfs4/op_io42.c \
    server/nfs4/op_lock.c server/nfs4/op_open.c server/nfs4/op_readdir.c server/nfs4/op_session.c \
    server/nfs4/op_xattr.c server/nfs4/ops.h \
    server/nfs4/optable.c \
    server/nfs4/program.c server/nfs4/server.h
