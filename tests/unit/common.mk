UNIT_TESTS_common = tests/unit/common.t tests/unit/priority.t tests/unit/xdrbuf.t
tests_unit_common_t_SOURCES = tests/unit/common.c
tests_unit_common_t_LDADD = $(UNIT_LIBS_COMMON)
tests_unit_priority_t_SOURCES = tests/unit/priority.c
tests_unit_priority_t_LDADD = $(UNIT_LIBS_COMMON)
tests_unit_xdrbuf_t_SOURCES = tests/unit/xdrbuf.c
tests_unit_xdrbuf_t_LDADD = $(UNIT_LIBS_PROTO)
