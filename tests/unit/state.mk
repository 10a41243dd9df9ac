UNIT_TESTS_state = \
    tests/unit/lockrange.t \
    tests/unit/state_client.t \
    tests/unit/state_deleg.t \
    tests/unit/state_grace.t \
    tests/unit/state_limits.t \
    tests/unit/state_open.t \
    tests/unit/state_recall.t \
    tests/unit/state_restart.t \
    tests/unit/state_session.t \
    tests/unit/state_stress.t
tests_unit_lockrange_t_SOURCES = tests/unit/lockrange.c
tests_unit_lockrange_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_client_t_SOURCES = tests/unit/state_client.c tests/unit/state_fake.h
tests_unit_state_client_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_deleg_t_SOURCES = tests/unit/state_deleg.c tests/unit/state_back.h tests/unit/state_fake.h
tests_unit_state_deleg_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_recall_t_SOURCES = tests/unit/state_recall.c tests/unit/state_back.h tests/unit/state_fake.h
tests_unit_state_recall_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_grace_t_SOURCES = tests/unit/state_grace.c tests/unit/state_fake.h
tests_unit_state_grace_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_limits_t_SOURCES = tests/unit/state_limits.c tests/unit/state_fake.h
tests_unit_state_limits_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_open_t_SOURCES = tests/unit/state_open.c tests/unit/state_fake.h
tests_unit_state_open_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_session_t_SOURCES = tests/unit/state_session.c tests/unit/state_fake.h
tests_unit_state_session_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_stress_t_SOURCES = tests/unit/state_stress.c tests/unit/state_fake.h
tests_unit_state_stress_t_LDADD = $(UNIT_LIBS_STATE)
tests_unit_state_restart_t_SOURCES = tests/unit/state_restart.c
tests_unit_state_restart_t_LDADD = $(UNIT_LIBS_STATE)
