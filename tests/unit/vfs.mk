UNIT_TESTS_vfs = tests/unit/perm.t tests/unit/props.t
tests_unit_perm_t_SOURCES = tests/unit/perm.c
tests_unit_perm_t_LDADD = $(UNIT_LIBS_VFS)
tests_unit_props_t_SOURCES = tests/unit/props.c
tests_unit_props_t_LDADD = $(UNIT_LIBS_PROTO)
check_PROGRAMS += $(UNIT_TESTS_vfs)
TESTS += $(UNIT_TESTS_vfs)
