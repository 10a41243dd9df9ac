UNIT_TESTS_grant = tests/unit/grant.t tests/unit/grant_tokens.t
tests_unit_grant_t_SOURCES = tests/unit/grant.c tests/unit/granttest.h tests/unit/storetest.h
tests_unit_grant_t_LDADD = $(UNIT_LIBS_GRANT)
tests_unit_grant_tokens_t_SOURCES = tests/unit/grant_tokens.c tests/unit/granttest.h tests/unit/storetest.h
tests_unit_grant_tokens_t_LDADD = $(UNIT_LIBS_GRANT)
