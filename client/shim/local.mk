# shim: the preload library. Not built with sanitizers: it lives in other people's programs.
preloaddir = $(libdir)/volnfs
preload_PROGRAMS = libvolnfs_preload.so
SHIM_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS) -pthread -fPIC -fvisibility=hidden $(NFS_CFLAGS)
noinst_LIBRARIES += libshimfilter.a libshim.a
# The filter runs where vector registers hold the program's values.
libshimfilter_a_CFLAGS = $(SHIM_CFLAGS) -mgeneral-regs-only
libshimfilter_a_SOURCES = client/shim/filter.c
libshim_a_CFLAGS = $(SHIM_CFLAGS)
libshim_a_SOURCES = $(NFS_CLIENT_SOURCES) \
    client/shim/agent.c \
    client/shim/args.c \
    client/shim/ahead.c \
    client/shim/cwd.c \
    client/shim/copy.c \
    client/shim/dir.c \
    client/shim/dispatch.c \
    client/shim/exec.c \
    client/shim/fault.c client/shim/fault.h \
    client/shim/hold.c client/shim/hold.h \
    client/shim/init.c \
    client/shim/lazy.c client/shim/lazy.h client/shim/lazy_fault.c client/shim/lazy_keep.c \
    client/shim/lend.c client/shim/lend.h \
    client/shim/io.c \
    client/shim/lock.c \
    client/shim/map.c client/shim/map_int.h client/shim/remap.c \
    client/shim/name.c \
    client/shim/needed.c client/shim/needed.h \
    client/shim/ofd.c client/shim/ofd_all.c \
    client/shim/open.c \
    client/shim/path.c client/shim/path.h client/shim/path_dirs.c client/shim/path_link.c \
    client/shim/path_text.c \
    client/shim/place.c \
    client/shim/poll.c \
    client/shim/run.c client/shim/run_clean.c client/shim/run.h \
    client/shim/seen.c \
    client/shim/shim.h \
    client/shim/silent.c \
    client/shim/socket.c \
    client/shim/spare.c \
    client/shim/stat.c \
    client/shim/store.c client/shim/store.h client/shim/store_data.c client/shim/store_int.h \
    client/shim/unserved.c \
    client/shim/vnode.c
EXTRA_DIST += client/shim/preload.map
libvolnfs_preload_so_SOURCES =
libvolnfs_preload_so_LDADD =
libvolnfs_preload_so_DEPENDENCIES = libshim.a libshimfilter.a libdoor.a libnfs_private.a $(top_srcdir)/client/shim/preload.map
libvolnfs_preload_so_LINK = $(CC) -pthread -shared -Wl,-soname,libvolnfs_preload.so -Wl,-Bsymbolic -Wl,-z,defs \
    -Wl,--version-script=$(top_srcdir)/client/shim/preload.map $(NFS_CLIENT_WRAP) $(LDFLAGS) -o $@ \
    -Wl,--whole-archive libshim.a libshimfilter.a libdoor.a -Wl,--no-whole-archive libnfs_private.a
