noinst_LIBRARIES += libstate.a
libstate_a_SOURCES =
