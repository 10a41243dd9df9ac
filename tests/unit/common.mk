UNIT_TESTS_common =
check_PROGRAMS += $(UNIT_TESTS_common)
TESTS += $(UNIT_TESTS_common)
