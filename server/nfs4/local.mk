noinst_LIBRARIES += libnfs4.a
libnfs4_a_SOURCES =
