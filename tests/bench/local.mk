# bench: `make bench` drives volnfsd, and nfs-ganesha where it is installed, with raw NFSv4.0 compounds.
noinst_PROGRAMS += tests/bench/nfsbench
tests_bench_nfsbench_CFLAGS = $(AM_CFLAGS) $(NFS_CFLAGS)
tests_bench_nfsbench_SOURCES = tests/bench/nfsbench.c tests/bench/nfsbench.h tests/bench/nfsbench_work.c tests/bench/wire.c tests/bench/wire.h
tests_bench_nfsbench_LDADD = $(NFS_LIBS)
EXTRA_DIST += tests/bench/run tests/bench/shim

bench: all
	VOLNFS_BUILD='$(abs_top_builddir)' python3 -B $(srcdir)/tests/bench/run $(BENCHFLAGS)
.PHONY: bench

noinst_PROGRAMS += tests/bench/rpcnull
tests_bench_rpcnull_SOURCES = tests/bench/rpcnull.c
tests_bench_rpcnull_LDADD = librpc.a $(PROTO_LIBS) $(COMMON_LIBS)

noinst_PROGRAMS += tests/bench/volume
tests_bench_volume_SOURCES = tests/bench/volume.c tests/bench/must.h
tests_bench_volume_LDADD = $(STORE_LIBS) $(COMMON_LIBS)

# growth: a million files and 100 GiB (about 2 GiB of disk): is the volume as fast as when it was empty?
GROWTH_FILES = 1000000
GROWTH_GIB = 100
noinst_PROGRAMS += tests/bench/growth
tests_bench_growth_SOURCES = tests/bench/growth.c tests/bench/must.h
tests_bench_growth_LDADD = $(STORE_LIBS) $(COMMON_LIBS)
growth: tests/bench/growth
	./tests/bench/growth $(GROWTH_FILES) $(GROWTH_GIB)
.PHONY: growth

# What random overwrites cost in space: `make bench-overwrite MIB=1024 SECONDS=600`.
noinst_PROGRAMS += tests/bench/overwrite
tests_bench_overwrite_SOURCES = tests/bench/overwrite.c tests/bench/must.h
tests_bench_overwrite_LDADD = $(STORE_LIBS) $(COMMON_LIBS)

bench-overwrite: tests/bench/overwrite
	dir=`mktemp -d` && trap 'rm -rf "$$dir"' EXIT && tests/bench/overwrite "$$dir/v" $(or $(MIB),256) $(or $(SECONDS),60)
.PHONY: bench-overwrite

# sizes: what source trees, tensors, noise and small texts take on disk, and a file of 1 GiB that was overwritten at random for
# ten minutes; a kernel's source is a better tree than /usr/include: make sizes SIZES_TREES=/usr/src/linux.
SIZES_TREES =
noinst_PROGRAMS += tests/bench/sizes
tests_bench_sizes_SOURCES = tests/bench/sizes.c tests/bench/must.h
tests_bench_sizes_LDADD = $(STORE_LIBS) $(COMMON_LIBS) -lm
sizes: tests/bench/sizes
	tests/bench/sizes $(or $(TMPDIR),/tmp)
	test -z '$(SIZES_TREES)' || tests/bench/sizes $(or $(TMPDIR),/tmp) $(SIZES_TREES)
	$(MAKE) bench-overwrite MIB=1024 SECONDS=600
.PHONY: sizes

# What the preload library costs: tests/bench/shim.
noinst_PROGRAMS += tests/bench/calls
tests_bench_calls_SOURCES = tests/bench/calls.c
