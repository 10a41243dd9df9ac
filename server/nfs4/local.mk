noinst_LIBRARIES += libnfs4.a
libnfs4_a_SOURCES =
libnfs4_a_SOURCES += \
    server/nfs4/ident.c server/nfs4/ident.h \
    server/nfs4/op_client40.c server/nfs4/op_deleg.c server/nfs4/op_lock.c server/nfs4/op_open.c \
    server/nfs4/op_session.c
