UNIT_TESTS_rpc =
check_PROGRAMS += $(UNIT_TESTS_rpc)
TESTS += $(UNIT_TESTS_rpc)
