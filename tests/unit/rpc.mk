UNIT_TESTS_rpc = tests/unit/rpcmsg.t tests/unit/rpcserver.t
tests_unit_rpcmsg_t_SOURCES = tests/unit/rpcmsg.c
tests_unit_rpcmsg_t_LDADD = $(UNIT_LIBS_RPC)
tests_unit_rpcserver_t_SOURCES = tests/unit/rpcserver.c
tests_unit_rpcserver_t_LDADD = $(UNIT_LIBS_RPC)
check_PROGRAMS += $(UNIT_TESTS_rpc)
TESTS += $(UNIT_TESTS_rpc)
