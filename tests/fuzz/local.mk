# fuzz: one program per parser of outside bytes. With --enable-fuzz (clang) they are libFuzzer's; otherwise they
# replay files and simple mutants of them, and are run by `make check`. The files are in seeds/TARGET; to add to them:
#   configure --enable-fuzz CC=clang && make fuzz && tests/fuzz/TARGET.t NEW-FOLDER .../seeds/TARGET
#   tests/fuzz/TARGET.t -merge=1 ANOTHER-FOLDER NEW-FOLDER
FUZZ_TARGETS = tests/fuzz/attr.t tests/fuzz/compound.t tests/fuzz/handle.t tests/fuzz/readdir.t tests/fuzz/restore.t \
    tests/fuzz/rpcmsg.t
EXTRA_DIST += tests/fuzz/seeds
FUZZ_REPLAY = tests/fuzz/replay.h
if FUZZ
FUZZ_CFLAGS = -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
else
FUZZ_CFLAGS =
FUZZ_REPLAY += tests/fuzz/replay.c
check_PROGRAMS += $(FUZZ_TARGETS)
TESTS += $(FUZZ_TARGETS)
endif
EXTRA_PROGRAMS = $(FUZZ_TARGETS)
fuzz: $(FUZZ_TARGETS)
.PHONY: fuzz
tests_fuzz_rpcmsg_t_SOURCES = tests/fuzz/rpcmsg.c $(FUZZ_REPLAY)
tests_fuzz_rpcmsg_t_CFLAGS = $(AM_CFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_rpcmsg_t_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_rpcmsg_t_LDADD = librpc.a $(PROTO_LIBS) $(COMMON_LIBS)
tests_fuzz_compound_t_SOURCES = tests/fuzz/compound.c tests/unit/nfs4_client.h $(NFS4_ENV) $(FUZZ_REPLAY)
tests_fuzz_compound_t_CFLAGS = $(AM_CFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_compound_t_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_compound_t_LDADD = $(NFS4_ENV_LIBS)
tests_fuzz_attr_t_SOURCES = tests/fuzz/attr.c $(NFS4_ENV) $(FUZZ_REPLAY)
tests_fuzz_attr_t_CFLAGS = $(AM_CFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_attr_t_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_attr_t_LDADD = $(NFS4_ENV_LIBS)
tests_fuzz_handle_t_SOURCES = tests/fuzz/handle.c $(NFS4_ENV) $(FUZZ_REPLAY)
tests_fuzz_handle_t_CFLAGS = $(AM_CFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_handle_t_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_handle_t_LDADD = $(NFS4_ENV_LIBS)
tests_fuzz_readdir_t_SOURCES = tests/fuzz/readdir.c $(NFS4_ENV) $(FUZZ_REPLAY)
tests_fuzz_readdir_t_CFLAGS = $(AM_CFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_readdir_t_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_readdir_t_LDADD = $(NFS4_ENV_LIBS)
tests_fuzz_restore_t_SOURCES = tests/fuzz/restore.c client/cli/dump.h client/cli/dump_stream.c $(FUZZ_REPLAY)
tests_fuzz_restore_t_CFLAGS = $(AM_CFLAGS) $(XXHASH_CFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_restore_t_LDFLAGS = $(AM_LDFLAGS) $(FUZZ_CFLAGS)
tests_fuzz_restore_t_LDADD = $(STORE_LIBS) $(PROTO_LIBS) $(COMMON_LIBS)
