UNIT_TESTS_store = \
    tests/unit/aside.t \
    tests/unit/check.t \
    tests/unit/chunk.t \
    tests/unit/dedup.t \
    tests/unit/fold.t \
    tests/unit/gc.t \
    tests/unit/index.t \
    tests/unit/index_extents.t \
    tests/unit/index_memory.t \
    tests/unit/index_snap.t \
    tests/unit/journal.t \
    tests/unit/later.t \
    tests/unit/pack.t \
    tests/unit/rebuild.t \
    tests/unit/snap.t \
    tests/unit/snap_clone.t \
    tests/unit/repack.t \
    tests/unit/repair.t \
    tests/unit/scrub.t \
    tests/unit/space.t \
    tests/unit/statedb.t \
    tests/unit/cache.t \
    tests/unit/volume_basic.t \
    tests/unit/volume_clone.t \
    tests/unit/volume_here.t \
    tests/unit/volume_hostile.t \
    tests/unit/volume_journal.t \
    tests/unit/volume_model.t \
    tests/unit/volume_stress.t \
    tests/unit/volume_trouble.t \
    tests/unit/volume_walk.t
tests_unit_check_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_aside_t_SOURCES = tests/unit/aside.c tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_aside_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_check_t_SOURCES = tests/unit/check.c tests/unit/storetest.h
tests_unit_check_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_chunk_t_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(ZSTD_CFLAGS)
tests_unit_chunk_t_SOURCES = tests/unit/chunk.c
tests_unit_chunk_t_LDADD = $(UNIT_LIBS_STORE) -lm
tests_unit_dedup_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_dedup_t_SOURCES = tests/unit/dedup.c tests/unit/indexquery.h tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_dedup_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_fold_t_SOURCES = tests/unit/fold.c
tests_unit_fold_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_gc_t_SOURCES = tests/unit/gc.c tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_gc_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_index_memory_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_index_memory_t_SOURCES = tests/unit/index_memory.c tests/unit/storetest.h
tests_unit_index_memory_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_index_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_index_t_SOURCES = tests/unit/index.c tests/unit/indextest.h tests/unit/storetest.h
tests_unit_index_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_index_extents_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_index_extents_t_SOURCES = tests/unit/index_extents.c tests/unit/indextest.h tests/unit/storetest.h
tests_unit_index_extents_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_index_snap_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_index_snap_t_SOURCES = tests/unit/index_snap.c tests/unit/storetest.h
tests_unit_index_snap_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_journal_t_SOURCES = tests/unit/journal.c tests/unit/storetest.h
tests_unit_journal_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_later_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_later_t_SOURCES = tests/unit/later.c tests/unit/indexquery.h tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_later_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_pack_t_SOURCES = tests/unit/pack.c tests/unit/storetest.h
tests_unit_pack_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_snap_t_SOURCES = tests/unit/snap.c tests/unit/snapmodel.h tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_snap_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_snap_clone_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_snap_clone_t_SOURCES = tests/unit/snap_clone.c tests/unit/smalldisk.h tests/unit/snapmodel.h tests/unit/storetest.h \
    tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_snap_clone_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_repack_t_SOURCES = tests/unit/repack.c tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_repack_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_rebuild_t_SOURCES = tests/unit/rebuild.c tests/unit/storetest.h tests/unit/volumetest.h
tests_unit_rebuild_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_repair_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_repair_t_SOURCES = tests/unit/repair.c tests/unit/storetest.h tests/unit/volumetest.h
tests_unit_repair_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_space_t_SOURCES = tests/unit/space.c
tests_unit_space_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_scrub_t_SOURCES = tests/unit/scrub.c tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_scrub_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_statedb_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS)
tests_unit_statedb_t_SOURCES = tests/unit/statedb.c tests/unit/storetest.h
tests_unit_statedb_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_cache_t_SOURCES = tests/unit/cache.c tests/unit/volumetest.h
tests_unit_cache_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_basic_t_SOURCES = tests/unit/volume_basic.c tests/unit/volumetest.h
tests_unit_volume_basic_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_clone_t_SOURCES = tests/unit/volume_clone.c tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_volume_clone_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_hostile_t_SOURCES = tests/unit/volume_hostile.c tests/unit/volumetest.h
tests_unit_volume_hostile_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_here_t_SOURCES = tests/unit/volume_here.c tests/unit/storetest.h tests/unit/volumemodel.h \
    tests/unit/volumetest.h
tests_unit_volume_here_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_journal_t_SOURCES = tests/unit/volume_journal.c tests/unit/storetest.h tests/unit/volumemodel.h \
    tests/unit/volumetest.h
tests_unit_volume_journal_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_model_t_SOURCES = tests/unit/volume_model.c tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_volume_model_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_stress_t_SOURCES = tests/unit/volume_stress.c tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h
tests_unit_volume_stress_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_trouble_t_SOURCES = tests/unit/volume_trouble.c tests/unit/smalldisk.h tests/unit/storetest.h tests/unit/volumemodel.h \
    tests/unit/volumetest.h
tests_unit_volume_trouble_t_LDADD = $(UNIT_LIBS_STORE)
tests_unit_volume_walk_t_SOURCES = tests/unit/volume_walk.c tests/unit/snapmodel.h tests/unit/treemodel.h tests/unit/volumemodel.h \
    tests/unit/volumetest.h
tests_unit_volume_walk_t_LDADD = $(UNIT_LIBS_STORE)

# walk: the long form of volume_walk, five minutes; WALK_SECONDS and VOLUME_WALK_SEED change that.
WALK_SECONDS = 300
walk: tests/unit/volume_walk.t
	VOLUME_WALK_SECONDS=$(WALK_SECONDS) ./tests/unit/volume_walk.t
.PHONY: walk
