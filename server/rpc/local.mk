noinst_LIBRARIES += librpc.a
librpc_a_SOURCES =
