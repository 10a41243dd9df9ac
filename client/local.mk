# client: the volnfs command and the preload library.
bin_PROGRAMS += volnfs
include $(top_srcdir)/client/door/local.mk
include $(top_srcdir)/client/cli/local.mk
include $(top_srcdir)/client/nfs/local.mk
include $(top_srcdir)/client/shim/local.mk
