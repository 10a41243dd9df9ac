UNIT_TESTS_state =
check_PROGRAMS += $(UNIT_TESTS_state)
TESTS += $(UNIT_TESTS_state)
