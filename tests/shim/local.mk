# shim: the per-call suite; tests/system/0702 to 0704 run it and compare.
check_PROGRAMS += tests/shim/suite
# It hands nonsense to system calls on purpose. Without sanitizers, whose libraries want to be loaded before any other.
tests_shim_suite_LDFLAGS = -pthread
tests_shim_suite_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS) -pthread -Wno-unused-result -Wno-unknown-warning-option -Wno-nonnull -Wno-stringop-overflow -Wno-stringop-overread
tests_shim_suite_SOURCES = \
    tests/shim/access.c \
    tests/shim/attr.c \
    tests/shim/copy.c \
    tests/shim/dirs.c \
    tests/shim/exec.c \
    tests/shim/fds.c \
    tests/shim/inherit.c \
    tests/shim/lazy.c \
    tests/shim/link.c \
    tests/shim/locks.c \
    tests/shim/map.c \
    tests/shim/misc.c \
    tests/shim/open.c \
    tests/shim/path.c \
    tests/shim/poll.c \
    tests/shim/readdir.c \
    tests/shim/rename.c \
    tests/shim/rw.c \
    tests/shim/seek.c \
    tests/shim/stat.c \
    tests/shim/stdio.c \
    tests/shim/stored.c \
    tests/shim/suite.c tests/shim/suite.h \
    tests/shim/threads.c \
    tests/shim/trunc.c \
    tests/shim/unlink.c
EXTRA_DIST += tests/shim/compare.py tests/shim/differences tests/shim/tools.sh tests/shim/trouble.py

# The same at full size: half a gigabyte pickled, copies of a gigabyte, 8,000 lines appended.
shim-long: all
	VOLNFS_BUILD='$(abs_top_builddir)' VOLNFS_SRC='$(abs_top_srcdir)' TROUBLE_MB=1024 TROUBLE_LINES=1000 TROUBLE_PICKLE_MB=500 \
	    python3 -B $(srcdir)/tests/shim/trouble.py
.PHONY: shim-long
