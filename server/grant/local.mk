# grant: who may reach what. No NFS, no RPC.
noinst_LIBRARIES += libgrant.a
libgrant_a_CFLAGS = $(AM_CFLAGS) $(NETTLE_CFLAGS)
libgrant_a_SOURCES = \
    server/grant/grant.h server/grant/grants.c \
    server/grant/grant_text.c server/grant/grant_text.h \
    server/grant/held.c server/grant/held.h \
    server/grant/rules.c server/grant/rules.h \
    server/grant/tokens.c
GRANT_LIBS = libgrant.a $(NETTLE_LIBS)
