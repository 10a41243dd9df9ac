UNIT_TESTS_client = tests/unit/door.t
check_PROGRAMS += $(UNIT_TESTS_client)
TESTS += $(UNIT_TESTS_client)
tests_unit_door_t_SOURCES = tests/unit/door.c
tests_unit_door_t_LDADD = libdoor.a $(UNIT_LIBS_COMMON)
