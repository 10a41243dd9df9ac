UNIT_TESTS_nfs4 = tests/unit/acl.t tests/unit/attr.t tests/unit/callback.t tests/unit/compound.t tests/unit/copy.t tests/unit/copy_async.t \
    tests/unit/fh.t tests/unit/io42.t
# These run requests without sockets: nfs4_env stands in for librpc.
NFS4_ENV = tests/unit/nfs4_env.c tests/unit/nfs4_env.h
NFS4_ENV_LIBS = libnfs4.a libstate.a libvfs.a libmetrics.a $(GRANT_LIBS) $(STORE_LIBS) $(UNIT_LIBS_PROTO)
tests_unit_acl_t_SOURCES = tests/unit/acl.c
tests_unit_acl_t_LDADD = libnfs4.a $(UNIT_LIBS_PROTO)
tests_unit_attr_t_SOURCES = tests/unit/attr.c $(NFS4_ENV)
tests_unit_attr_t_LDADD = $(NFS4_ENV_LIBS)
tests_unit_callback_t_SOURCES = tests/unit/callback.c
tests_unit_callback_t_LDADD = libnfs4.a libmetrics.a $(UNIT_LIBS_PROTO)
tests_unit_compound_t_SOURCES = tests/unit/compound.c tests/unit/nfs4_client.h $(NFS4_ENV)
tests_unit_compound_t_LDADD = $(NFS4_ENV_LIBS)
tests_unit_copy_t_SOURCES = tests/unit/copy.c tests/unit/copytest.h tests/unit/nfs4_client.h $(NFS4_ENV)
tests_unit_copy_t_LDADD = $(NFS4_ENV_LIBS)
tests_unit_copy_async_t_SOURCES = tests/unit/copy_async.c tests/unit/copytest.h tests/unit/nfs4_client.h $(NFS4_ENV)
tests_unit_copy_async_t_LDADD = $(NFS4_ENV_LIBS)
tests_unit_io42_t_SOURCES = tests/unit/io42.c tests/unit/nfs4_client.h $(NFS4_ENV)
tests_unit_io42_t_LDADD = $(NFS4_ENV_LIBS)
tests_unit_fh_t_SOURCES = tests/unit/fh.c $(NFS4_ENV)
tests_unit_fh_t_LDADD = $(NFS4_ENV_LIBS)
