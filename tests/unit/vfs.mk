UNIT_TESTS_vfs = tests/unit/fault_walk.t tests/unit/operator_walk.t tests/unit/perm.t tests/unit/props.t tests/unit/vfs.t tests/unit/vfs_idle.t tests/unit/vfs_snap.t
tests_unit_fault_walk_t_CFLAGS = $(AM_CFLAGS) $(SQLITE_CFLAGS) $(XXHASH_CFLAGS)
tests_unit_fault_walk_t_SOURCES = tests/unit/fault_walk.c tests/unit/faultwalk.c tests/unit/faultwalk.h \
    tests/unit/snapmodel.h tests/unit/storetest.h tests/unit/volumemodel.h tests/unit/volumetest.h \
    tests/unit/walk_restore.c tests/unit/walk_server.c tests/unit/walk_server.h tests/unit/walk_store.c tests/unit/walk_store.h \
    tests/unit/walk_tree.c tests/unit/walk_volume.c tests/unit/walk_volume.h tests/unit/walk_world.c tests/unit/walk_world.h
tests_unit_fault_walk_t_LDADD = libcontrol.a $(UNIT_LIBS_NFS4)
tests_unit_operator_walk_t_SOURCES = tests/unit/operator_serve.c tests/unit/operator_walk.c tests/unit/operator_walk.h \
    tests/unit/storetest.h tests/unit/walk_server.c tests/unit/walk_server.h tests/unit/walk_store.c tests/unit/walk_store.h
tests_unit_operator_walk_t_LDADD = libcontrol.a $(UNIT_LIBS_NFS4)
tests_unit_perm_t_SOURCES = tests/unit/perm.c
tests_unit_perm_t_LDADD = $(UNIT_LIBS_VFS)
tests_unit_props_t_SOURCES = tests/unit/props.c
tests_unit_props_t_LDADD = $(UNIT_LIBS_PROTO)
tests_unit_vfs_t_SOURCES = tests/unit/vfs.c tests/unit/storetest.h tests/unit/vfstest.h
tests_unit_vfs_t_LDADD = $(UNIT_LIBS_VFS)
tests_unit_vfs_idle_t_SOURCES = tests/unit/vfs_idle.c tests/unit/storetest.h tests/unit/vfstest.h
tests_unit_vfs_idle_t_LDADD = $(UNIT_LIBS_VFS)
tests_unit_vfs_snap_t_SOURCES = tests/unit/vfs_snap.c tests/unit/storetest.h tests/unit/vfstest.h
tests_unit_vfs_snap_t_LDADD = $(UNIT_LIBS_VFS)

# faultwalk: the walk over all fault points without leaving out any; some minutes.
faultwalk: tests/unit/fault_walk.t volnfs
	VOLNFS_SRC='$(abs_top_srcdir)' FAULTWALK=all ./tests/unit/fault_walk.t
.PHONY: faultwalk

# operatorwalk: the long form of operator_walk, five minutes; OPERATOR_WALK_SECONDS and OPERATOR_WALK_SEED change that.
OPERATOR_WALK_SECONDS = 300
operatorwalk: tests/unit/operator_walk.t volnfs
	OPERATOR_WALK_SECONDS=$(OPERATOR_WALK_SECONDS) ./tests/unit/operator_walk.t
.PHONY: operatorwalk
