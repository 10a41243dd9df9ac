UNIT_TESTS_vfs =
check_PROGRAMS += $(UNIT_TESTS_vfs)
TESTS += $(UNIT_TESTS_vfs)
