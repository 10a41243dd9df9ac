# server: one library per layer, linked in order from the highest to the lowest.
include $(top_srcdir)/server/store/local.mk
include $(top_srcdir)/server/vfs/local.mk
include $(top_srcdir)/server/state/local.mk
include $(top_srcdir)/server/nfs4/local.mk
include $(top_srcdir)/server/rpc/local.mk
include $(top_srcdir)/server/control/local.mk

sbin_PROGRAMS += volnfsd
volnfsd_CFLAGS = $(AM_CFLAGS) $(INIH_CFLAGS)
volnfsd_SOURCES = server/options.c server/options.h server/volnfsd.c
volnfsd_LDADD = libcontrol.a libnfs4.a libstate.a libvfs.a $(STORE_LIBS) librpc.a $(PROTO_LIBS) \
    $(COMMON_LIBS) $(INIH_LIBS)
