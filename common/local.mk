# common: knows nothing of the other folders.
noinst_LIBRARIES += libcommon.a
libcommon_a_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS)
libcommon_a_SOURCES = \
    common/arena.c common/arena.h \
    common/clock.c common/clock.h \
    common/fault.c common/fault.h \
    common/htab.c common/htab.h \
    common/hugemap.c common/hugemap.h \
    common/list.h \
    common/log.c common/log.h \
    common/pool.c common/pool.h \
    common/priority.c common/priority.h \
    common/release.c common/release.h \
    common/siphash.c common/siphash.h
COMMON_LIBS = libcommon.a $(XXHASH_LIBS)
