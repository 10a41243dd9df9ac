# vfs: the tree /USER/VOLUME/... with POSIX permissions. No NFS, no RPC.
noinst_LIBRARIES += libvfs.a
libvfs_a_SOURCES = \
    server/vfs/admin.c server/vfs/admin_snap.c server/vfs/admin_store.c \
    server/vfs/dir.c \
    server/vfs/file.c \
    server/vfs/inode.c \
    server/vfs/keeper.c server/vfs/keeper.h \
    server/vfs/namespace.c server/vfs/namespace.h server/vfs/ns_change.c \
    server/vfs/perm.c server/vfs/perm.h \
    server/vfs/pseudo.c server/vfs/pseudo.h \
    server/vfs/snapdir.c server/vfs/snapdir.h \
    server/vfs/trash.c server/vfs/trash.h \
    server/vfs/vfs.h
