# server: one library per layer, linked in order from the highest to the lowest.
include $(top_srcdir)/server/metrics/local.mk
include $(top_srcdir)/server/store/local.mk
include $(top_srcdir)/server/grant/local.mk
include $(top_srcdir)/server/vfs/local.mk
include $(top_srcdir)/server/state/local.mk
include $(top_srcdir)/server/nfs4/local.mk
include $(top_srcdir)/server/rpc/local.mk
include $(top_srcdir)/server/control/local.mk
include $(top_srcdir)/server/web/local.mk

sbin_PROGRAMS += volnfsd
volnfsd_CFLAGS = $(AM_CFLAGS) $(INIH_CFLAGS) $(SECCOMP_CFLAGS)
volnfsd_SOURCES = server/options.c server/options.h server/sandbox.c server/sandbox.h server/volnfsd.c
volnfsd_LDADD = libweb.a libcontrol.a libnfs4.a libstate.a libvfs.a $(GRANT_LIBS) $(STORE_LIBS) librpc.a libmetrics.a \
    $(PROTO_LIBS) $(COMMON_LIBS) $(INIH_LIBS) $(MICROHTTPD_LIBS) $(SECCOMP_LIBS) -lm

# The service. Its configuration file is not installed here, where it could replace one that is in use.
systemdunitdir = $(prefix)/lib/systemd/system
nodist_systemdunit_DATA = server/volnfsd.service
server/volnfsd.service: $(top_srcdir)/server/volnfsd.service.in Makefile
	$(AM_V_GEN)$(MKDIR_P) server && \
	    sed 's|[@]sbindir[@]|$(sbindir)|; s|[@]sysconfdir[@]|$(sysconfdir)|' $(top_srcdir)/server/volnfsd.service.in >$@
CLEANFILES += server/volnfsd.service
EXTRA_DIST += server/volnfsd.service.in server/volnfsd.conf
