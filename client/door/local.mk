# door: patches system call sites. Position-independent, hidden and without sanitizers: it goes into the
# preload library.
noinst_LIBRARIES += libdoor.a
libdoor_a_CFLAGS = -std=gnu11 -O2 -g $(WARN_CFLAGS) -pthread -fPIC -fvisibility=hidden
libdoor_a_SOURCES = \
    client/door/door.c client/door/door.h \
    client/door/entry.c client/door/entry.h \
    client/door/insn.c client/door/insn.h \
    client/door/sites.c client/door/sites.h \
    client/door/stub.c client/door/stub.h
