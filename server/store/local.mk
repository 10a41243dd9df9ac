# store: volumes on disk. No NFS, no RPC.
noinst_LIBRARIES += libstore.a
libstore_a_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(ZSTD_CFLAGS) $(XXHASH_CFLAGS)
libstore_a_SOURCES = \
    server/store/apply.c \
    server/store/cache.c server/store/call.c \
    server/store/check.c server/store/check.h server/store/check_index.c server/store/check_int.h server/store/check_packs.c \
    server/store/chunk.c server/store/chunk.h server/store/commit.c \
    server/store/compact.c server/store/compact.h \
    server/store/diff.c server/store/diff.h \
    server/store/dcache.c server/store/dedup.c server/store/dedup.h server/store/engine.c \
    server/store/files.c server/store/files.h server/store/flush.c server/store/fold.c server/store/fold.h \
    server/store/gc.c server/store/gc.h \
    server/store/index.h \
    server/store/index_dedup.c server/store/index_extent.c \
    server/store/index_gc.c \
    server/store/index_impl.h \
    server/store/index_memory.c \
    server/store/index_read.c \
    server/store/index_schema.c \
    server/store/index_scrub.c \
    server/store/index_snap.c \
    server/store/index_tree.c \
    server/store/index_upgrade.c \
    server/store/index_vfs.c \
    server/store/index_write.c \
    server/store/inode.c \
    server/store/journal.c server/store/journal.h \
    server/store/later.c server/store/later.h server/store/load.c \
    server/store/move.c server/store/move.h \
    server/store/rebuild.c \
    server/store/repack.c server/store/repack.h \
    server/store/repair.c server/store/repair.h server/store/repair_data.c server/store/repair_fix.c \
    server/store/repair_int.h server/store/repair_sql.c server/store/repair_swap.c \
    server/store/salvage.c \
    server/store/pack.c server/store/pack.h \
    server/store/pack_format.c server/store/pack_format.h \
    server/store/pack_impl.h \
    server/store/pack_read.c \
    server/store/pack_stage.c \
    server/store/pack_walk.c \
    server/store/planes.c server/store/planes.h \
    server/store/record.c server/store/record.h \
    server/store/replay.c \
    server/store/scrub.c server/store/scrub.h \
    server/store/slot.c \
    server/store/space.c server/store/space.h \
    server/store/snap.c server/store/snap.h server/store/snap_int.h server/store/snap_clone.c \
    server/store/snap_list.c server/store/snap_open.c \
    server/store/sqlite.c server/store/sqlite.h \
    server/store/statedb.c server/store/statedb.h server/store/statedb_grant.c server/store/statedb_int.h \
    server/store/statedb_open.c \
    server/store/tend.c server/store/txg.c server/store/txg.h \
    server/store/types.h \
    server/store/volume_idle.c \
    server/store/volume.c server/store/volume.h server/store/volume_int.h \
    server/store/volume_attr.c server/store/volume_clone.c server/store/volume_enter.c server/store/volume_hole.c \
    server/store/volume_names.c server/store/volume_read.c server/store/volume_readdir.c server/store/volume_stat.c \
    server/store/volume_write.c
STORE_LIBS = libstore.a $(SQLITE_LIBS) $(ZSTD_LIBS) $(XXHASH_LIBS)
