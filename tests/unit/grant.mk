UNIT_TESTS_grant = tests/unit/grant.t
tests_unit_grant_t_SOURCES = tests/unit/grant.c tests/unit/storetest.h
tests_unit_grant_t_LDADD = $(UNIT_LIBS_GRANT)
