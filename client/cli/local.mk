# cli: the volnfs command. One file per verb.
volnfs_CFLAGS = $(AM_CFLAGS) $(JANSSON_CFLAGS) -DPRELOADDIR='"$(preloaddir)"'
volnfs_LDFLAGS = $(AM_LDFLAGS) $(NFS_CLIENT_WRAP)
volnfs_SOURCES = \
    client/cli/cli.c client/cli/cli.h \
    client/cli/cmd_cat.c \
    client/cli/cmd_check.c \
    client/cli/cmd_cp.c \
    client/cli/cmd_create.c \
    client/cli/cmd_destroy.c \
    client/cli/cmd_diff.c \
    client/cli/cmd_doctor.c \
    client/cli/cmd_du.c \
    client/cli/cmd_dump.c \
    client/cli/cmd_get.c \
    client/cli/cmd_grant.c \
    client/cli/cmd_list.c \
    client/cli/cmd_ls.c \
    client/cli/cmd_mkdir.c \
    client/cli/cmd_mv.c \
    client/cli/cmd_restore.c \
    client/cli/cmd_rm.c \
    client/cli/cmd_run.c \
    client/cli/cmd_set.c \
    client/cli/cmd_scrub.c \
    client/cli/cmd_snapshot.c \
    client/cli/cmd_status.c \
    client/cli/cmd_top.c \
    client/cli/connect.c client/cli/connect.h \
    client/cli/copy.c client/cli/copy.h client/cli/xfer.c \
    client/cli/dump.h client/cli/dump_stream.c client/cli/dump_tree.c \
    client/cli/format.c client/cli/format.h \
    client/cli/pool.c client/cli/pool.h \
    client/cli/progress.c client/cli/progress.h \
    client/cli/remote.c client/cli/remote.h client/cli/show.c \
    client/cli/side.c client/cli/side.h client/cli/side_local.c client/cli/side_volume.c \
    client/cli/statusview.c client/cli/statusview.h \
    client/cli/volnfs.c \
    client/shim/hold.c client/shim/hold.h \
    client/shim/run.c client/shim/run_clean.c client/shim/run.h
volnfs_LDADD = $(NFS_CLIENT_LIBS) $(STORE_LIBS) $(PROTO_LIBS) $(COMMON_LIBS) $(JANSSON_LIBS)

bashcompletiondir = $(datadir)/bash-completion/completions
dist_bashcompletion_DATA = client/cli/completions/volnfs
