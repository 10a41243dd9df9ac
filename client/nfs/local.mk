# nfs: the NFSv4.0 client under the preload library and the volnfs command.
#
# libnfs_private.a is libnfs with the names it imports changed to those of client/nfs/port.h, so that it can live
# inside other programs' libc calls. See client/nfs/rpc.c.
NFS_PORTED = stderr malloc calloc realloc free strdup socket connect bind setsockopt getsockopt send recv poll \
    close fcntl getaddrinfo freeaddrinfo getservbyport
libnfs_private.a: $(LIBNFS_A) $(top_srcdir)/client/nfs/local.mk
	$(AM_V_GEN)rm -f $@ && $(OBJCOPY) $(foreach name,$(NFS_PORTED),--redefine-sym $(name)=port_$(name)) $(LIBNFS_A) $@
CLEANFILES += libnfs_private.a

NFS_CLIENT_SOURCES = \
    client/nfs/call.c client/nfs/call.h \
    client/nfs/compound.c client/nfs/compound.h \
    client/nfs/file.h client/nfs/io.c client/nfs/name.c client/nfs/open.c client/nfs/reclaim.c client/nfs/state.c \
    client/nfs/heap.c client/nfs/heap.h \
    client/nfs/port.c client/nfs/port.h \
    client/nfs/rpc.c client/nfs/rpc.h client/nfs/rpc_fds.c \
    client/nfs/rpc_in.c client/nfs/rpc_in.h \
    client/nfs/sys.c client/nfs/sys.h
NFS_CLIENT_WRAP = -Wl,--wrap=rpc_allocate_pdu -Wl,--wrap=zdr_COMPOUND4args

noinst_LIBRARIES += libnfsclient.a
libnfsclient_a_CFLAGS = $(AM_CFLAGS) $(NFS_CFLAGS)
libnfsclient_a_SOURCES = $(NFS_CLIENT_SOURCES)
NFS_CLIENT_LIBS = libnfsclient.a libnfs_private.a
