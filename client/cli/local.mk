# cli: the volnfs command.
volnfs_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS)
volnfs_SOURCES = client/cli/volnfs.c
volnfs_LDADD = $(STORE_LIBS) $(PROTO_LIBS) $(COMMON_LIBS) $(JANSSON_LIBS)
