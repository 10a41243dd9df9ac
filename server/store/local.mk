# store: volumes on disk. No NFS, no RPC.
noinst_LIBRARIES += libstore.a
libstore_a_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(ZSTD_CFLAGS) $(XXHASH_CFLAGS)
libstore_a_SOURCES = \
    server/store/check.c server/store/check.h \
    server/store/chunk.c server/store/chunk.h \
    server/store/index.h \
    server/store/index_extent.c \
    server/store/index_impl.h \
    server/store/index_read.c \
    server/store/index_schema.c \
    server/store/index_write.c \
    server/store/pack.c server/store/pack.h \
    server/store/pack_format.c server/store/pack_format.h \
    server/store/pack_impl.h \
    server/store/pack_read.c \
    server/store/pack_walk.c \
    server/store/statedb.c server/store/statedb.h \
    server/store/types.h \
    server/store/volume.h
STORE_LIBS = libstore.a $(SQLITE_LIBS) $(ZSTD_LIBS) $(XXHASH_LIBS)
