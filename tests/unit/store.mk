UNIT_TESTS_store =
check_PROGRAMS += $(UNIT_TESTS_store)
TESTS += $(UNIT_TESTS_store)
