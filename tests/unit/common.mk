UNIT_TESTS_common = tests/unit/common.t
tests_unit_common_t_SOURCES = tests/unit/common.c
tests_unit_common_t_LDADD = $(UNIT_LIBS_COMMON)
check_PROGRAMS += $(UNIT_TESTS_common)
TESTS += $(UNIT_TESTS_common)
