UNIT_TESTS_client = tests/unit/door.t tests/unit/door_stub.t tests/unit/shim_nfs.t tests/unit/shim_path.t \
    tests/unit/shim_again.t tests/unit/shim_hold.t tests/unit/shim_read.t tests/unit/shim_rpc_in.t tests/unit/shim_vnode.t
tests_unit_door_t_SOURCES = tests/unit/door.c
tests_unit_door_t_LDADD = libdoor.a $(UNIT_LIBS_COMMON)
tests_unit_door_stub_t_SOURCES = tests/unit/door_stub.c
tests_unit_door_stub_t_LDADD = libdoor.a $(UNIT_LIBS_COMMON)
tests_unit_shim_nfs_t_SOURCES = tests/unit/shim_nfs.c client/shim/hold.c client/shim/run.c client/shim/run_clean.c
tests_unit_shim_nfs_t_LDFLAGS = $(AM_LDFLAGS) $(NFS_CLIENT_WRAP)
tests_unit_shim_nfs_t_LDADD = $(NFS_CLIENT_LIBS) $(UNIT_LIBS_COMMON)
tests_unit_shim_path_t_SOURCES = tests/unit/shim_path.c client/shim/path.c client/shim/path_dirs.c client/shim/path_link.c \
    client/shim/path_text.c client/nfs/heap.c client/nfs/sys.c
tests_unit_shim_path_t_LDADD = $(UNIT_LIBS_COMMON)
tests_unit_shim_again_t_SOURCES = tests/unit/shim_again.c tests/unit/fakenfs.h
tests_unit_shim_again_t_LDFLAGS = $(AM_LDFLAGS) $(NFS_CLIENT_WRAP)
tests_unit_shim_again_t_LDADD = $(NFS_CLIENT_LIBS) $(UNIT_LIBS_COMMON)
tests_unit_shim_read_t_SOURCES = tests/unit/shim_read.c tests/unit/fakenfs.h
tests_unit_shim_read_t_LDFLAGS = $(AM_LDFLAGS) $(NFS_CLIENT_WRAP)
tests_unit_shim_read_t_LDADD = $(NFS_CLIENT_LIBS) $(UNIT_LIBS_COMMON)
tests_unit_shim_rpc_in_t_SOURCES = tests/unit/shim_rpc_in.c client/nfs/heap.c client/nfs/rpc_in.c client/nfs/sys.c
tests_unit_shim_rpc_in_t_LDADD = $(UNIT_LIBS_COMMON)
tests_unit_shim_vnode_t_SOURCES = tests/unit/shim_vnode.c client/shim/vnode.c client/nfs/compound.c client/nfs/heap.c \
    client/nfs/sys.c
tests_unit_shim_vnode_t_LDADD = $(UNIT_LIBS_COMMON)
tests_unit_shim_hold_t_SOURCES = tests/unit/shim_hold.c client/shim/hold.c client/nfs/heap.c client/nfs/sys.c
tests_unit_shim_hold_t_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=sys_sleep_ms
tests_unit_shim_hold_t_LDADD = $(UNIT_LIBS_COMMON)
