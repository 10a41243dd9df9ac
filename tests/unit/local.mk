# unit tests: tests/unit/MODULE.t from tests/unit/MODULE.c, one fragment per layer. A program links only its
# layer and those below it. These alone: make check TESTS='$(UNIT_TESTS)'
UNIT_LIBS_COMMON = $(COMMON_LIBS) $(CMOCKA_LIBS)
UNIT_LIBS_PROTO = $(PROTO_LIBS) $(UNIT_LIBS_COMMON)
UNIT_LIBS_STORE = $(STORE_LIBS) $(UNIT_LIBS_COMMON)
UNIT_LIBS_GRANT = $(GRANT_LIBS) $(UNIT_LIBS_STORE)
UNIT_LIBS_VFS = libvfs.a $(GRANT_LIBS) $(UNIT_LIBS_STORE)
UNIT_LIBS_STATE = libstate.a $(STORE_LIBS) $(UNIT_LIBS_PROTO)
UNIT_LIBS_RPC = librpc.a $(UNIT_LIBS_PROTO)
UNIT_LIBS_NFS4 = libnfs4.a libstate.a libvfs.a $(GRANT_LIBS) $(STORE_LIBS) librpc.a libmetrics.a $(UNIT_LIBS_PROTO)
include $(top_srcdir)/tests/unit/common.mk
include $(top_srcdir)/tests/unit/metrics.mk
include $(top_srcdir)/tests/unit/rpc.mk
include $(top_srcdir)/tests/unit/store.mk
include $(top_srcdir)/tests/unit/grant.mk
include $(top_srcdir)/tests/unit/vfs.mk
include $(top_srcdir)/tests/unit/state.mk
include $(top_srcdir)/tests/unit/nfs4.mk
include $(top_srcdir)/tests/unit/client.mk
UNIT_TESTS = $(UNIT_TESTS_common) $(UNIT_TESTS_metrics) $(UNIT_TESTS_sandbox) $(UNIT_TESTS_rpc) $(UNIT_TESTS_store) \
    $(UNIT_TESTS_grant) $(UNIT_TESTS_vfs) $(UNIT_TESTS_state) $(UNIT_TESTS_nfs4) $(UNIT_TESTS_client)
check_PROGRAMS += $(UNIT_TESTS)
TESTS += $(UNIT_TESTS)
