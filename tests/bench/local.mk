# bench: `make bench` drives volnfsd, and nfs-ganesha where it is installed, with raw NFSv4.0 compounds.
noinst_PROGRAMS += tests/bench/nfsbench
tests_bench_nfsbench_CFLAGS = $(AM_CFLAGS) $(NFS_CFLAGS)
tests_bench_nfsbench_SOURCES = tests/bench/nfsbench.c
tests_bench_nfsbench_LDADD = $(NFS_LIBS)
EXTRA_DIST += tests/bench/run tests/bench/shim

bench: all
	VOLNFS_BUILD='$(abs_top_builddir)' python3 -B $(srcdir)/tests/bench/run $(BENCHFLAGS)
.PHONY: bench

noinst_PROGRAMS += tests/bench/rpcnull
tests_bench_rpcnull_SOURCES = tests/bench/rpcnull.c
tests_bench_rpcnull_LDADD = librpc.a $(PROTO_LIBS) $(COMMON_LIBS)

noinst_PROGRAMS += tests/bench/volume
tests_bench_volume_SOURCES = tests/bench/volume.c
tests_bench_volume_LDADD = $(STORE_LIBS) $(COMMON_LIBS)

# What the preload library costs: tests/bench/shim.
noinst_PROGRAMS += tests/bench/calls
tests_bench_calls_SOURCES = tests/bench/calls.c
