UNIT_TESTS_client =
check_PROGRAMS += $(UNIT_TESTS_client)
TESTS += $(UNIT_TESTS_client)
