/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shim: system calls on volumes, carried out in the program's own process.
 *
 * A call comes in through the door on the program's thread: filter.c decides from the descriptor or path whether it
 * may concern a volume, dispatch.c masks signals, and one function per call (sc_NAME) does the work and returns
 * what the kernel would. A call that turns out not to be ours is passed to the kernel there.
 *
 * What is shared with whom:
 *   struct run    the processes of one `volnfs run`: client identity, mounts, change counters (a mapped file)
 *   struct ofd    whoever holds a descriptor of one open: offset, flags, handle (a memfd; see ofd.c)
 *   struct vnode  this process: what it has written to one file and not yet made durable, its locks
 * fd_state says per descriptor number what is known of it; 0, "not known", is always a safe value.
 */
#ifndef CLIENT_SHIM_SHIM_H
#define CLIENT_SHIM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "client/nfs/file.h"
#include "client/nfs/heap.h"
#include "client/nfs/sys.h"
#include "client/shim/hold.h"

#define SHIM_PATH 4096
#define SHIM_MOUNTS 32
#define SHIM_FDS 65536
#define SHIM_SLOTS 4096
#define SHIM_HIDDEN __attribute__((visibility("hidden")))

#pragma GCC visibility push(hidden)

/* One volume as it is shown. */
struct mount {
    char path[256];   /* where the program sees it: absolute, no final slash */
    char remote[256]; /* USER/VOLUME or USER/VOLUME@SNAPSHOT */
    uint32_t len;     /* of path */
    uint32_t readonly;
    uint32_t known; /* root and dev are filled in */
    uint64_t dev;
    struct nfs_fh root;
};

/* Its name on the server is a secret, which no message may show. */
static inline bool mount_by_token(const struct mount *mount)
{
    return strncmp(mount->remote, "token/", 6) == 0;
}

/* Where renamed files are now; see place.c. */
#define PLACES 64
struct place {
    struct nfs_fh fh, dir; /* fh.size 0: nothing */
    char name[NFS_NAME_MAX + 1];
};
struct place_ring {
    struct rlock lock;
    uint32_t next;
    struct place at[PLACES];
};

/* Shared by the processes of a run. */
struct run {
    uint32_t magic, size;
    struct nfs_shared nfs;
    uint32_t gens[SHIM_SLOTS];  /* by file: grows with every change made here, so that caches of others notice */
    uint32_t changes;           /* grows with every change of any file */
    uint32_t names;             /* grows with every rename, removal and rmdir */
    uint32_t writers;           /* grows when a process begins to write to another file through memory (store.h) */
    uint32_t links;             /* grows before every call that may make or move a symbolic link, in a volume or not */
    int32_t opens[SHIM_SLOTS];  /* by file: how many open descriptions there are */
    int32_t mapped[SHIM_SLOTS]; /* by file: how many processes have a store of it (store.h) */
    struct rlock mounts_lock;
    struct mount mounts[SHIM_MOUNTS];
    struct rlock agent_lock;
    int32_t agent; /* process that keeps the lease, when there is no launcher */
    uint32_t kept;            /* there were HOLD_KEEP rows */
    uint32_t careful[SHIM_MOUNTS]; /* not 0: writes wait, for one has failed; see vnode.c */
    uint64_t away_ms; /* when a process last waited that had no answer for SILENT_MS; see silent.c */
    uint64_t back_ms; /* when one that had waited last had an answer */
    uint32_t away;    /* without a launcher: that the server is away has been said */
    struct place_ring moved;
    struct hold_table holds; /* large and mostly never touched: from here on the file begins as a hole */
};
#define RUN_MAGIC 0x766e7237u

/* The process's view. Set up by shim_init. */
struct shim {
    struct run *run;
    struct nfs_client *client;
    unsigned nmounts;
    char top[256]; /* everything below here that is no mount does not exist; "" when mounts that are not in / lie apart */
    uint32_t top_len;
    bool apart; /* there are mounts elsewhere than in top */
    char dir[256]; /* run directory, no final slash */
    uint32_t dir_len;
    char mirror[280]; /* dir + "/cwd" */
    uint32_t mirror_len;
    bool forking;         /* between the two ends of fork() */
    pid_t pid;            /* whose fd_state this is */
    int proc;             /* its row among the holds; -1: not asked for yet; -2: there is none */
    volatile int *alive;  /* 1; a page that reads 0 in a forked child */
    int debug;
    bool quiet;   /* VOLNFS_QUIET */
    bool old_kernel; /* VOLNFS_OLD_KERNEL */
    bool own_run; /* not one of `volnfs run` */
    bool counts;  /* door_made sees every clone, fork and vfork of the C library */
    char host[64];
    unsigned port, soft_ms;
    char *env[6]; /* what the next program needs, as NAME=value */
};
extern struct shim shim;

/* Not 0 while this thread is inside the shim: its own system calls pass. SHIM_LOOKS: it looks at what a call points at, and
 * holds no lock. */
#define SHIM_LOOKS 2
extern __thread int shim_inside __attribute__((tls_model("initial-exec")));

/* FD_LOCAL is DOOR_FOREIGN. FD_CLOSING: was ours, and a thread is in the middle of closing it: others that use it find it
 * closed, and do not note what it was, which would stay with the number. */
enum fd_state { FD_UNKNOWN, FD_LOCAL, FD_OURS, FD_CLOSING };
extern uint8_t fd_state[SHIM_FDS];

/* filter.c */
bool shim_filter(long nr, const long args[6]);
/* Does this thread run a vfork child, in its parent's memory? Asks the kernel only after something was cloned. */
bool shim_is_child(void);
/* The kernel found nothing there: resolve local symbolic links too, one may lead into a volume. */
extern __thread int shim_deep __attribute__((tls_model("initial-exec")));
extern uint8_t shim_serve[];

/* dispatch.c */
void shim_serves(uint8_t *serve, uint8_t *points); /* by number: as in door_conf */
/* A system call on something of the program's that may wait: with its own signal mask meanwhile. */
long shim_blocking(long nr, long a, long b, long c, long d);
/* What a served call does with its arguments. */
enum {
    ARG_FD = 1,
    ARG_PATH = 2,
    ARG_AT = 4,
    ARG_ALWAYS = 8,
    ARG_CLOSES = 16,
    ARG_PATH2 = 32,
    ARG_POLL = 64,     /* an array of struct pollfd */
    ARG_SELECT = 128,  /* three sets of descriptors */
    ARG_REPLACE = 256, /* the second descriptor becomes a copy of the first */
    ARG_SEND = 2048,   /* a message that may hold descriptors */
    ARG_BIND = 4096,   /* the address of a socket */
    ARG_SIGNAL = 1024, /* SIGSEGV and SIGBUS */
    ARG_MAP = 512,     /* matters while anything of ours is mapped */
    ARG_LAZY = 8192,   /* points at more memory than its arguments say (lazy.h) */
    ARG_OPENS = 16384, /* gives a new descriptor */
    ARG_MANY = 32768,  /* with ARG_SEND: a vector of messages */
};
struct call_row {
    uint16_t kind;
    uint8_t fd, path; /* which argument */
    uint8_t fd2, path2;
    long (*run)(const long a[6]);
};
extern const struct call_row call_table[512];
/* `return shim_pass(...)` lets the kernel do it: the call is made after the handler is left. */
long shim_pass(long nr, const long a[6]);
long shim_nr(void); /* the number the call came with */
long shim_pass_same(const long a[6]); /* under the number it came with */
uint64_t shim_mask(void); /* the signals the program had blocked when it called */
uint64_t shim_mask_set(uint64_t mask); /* in a fault, which is no call; returns what it was */
/* In a call that waits for others: lets signals in. -EINTR when a handler ran that does not want the call restarted. */
int shim_signals(void);

/* init.c */
void shim_after_fork(void);
/* In a child that still uses its parent's memory; found out once per call. */
extern __thread bool shim_vforked __attribute__((tls_model("initial-exec")));
static inline bool shim_is_vfork_child(void)
{
    return shim_vforked;
}
void shim_say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* at VOLNFS_DEBUG */
int mount_ready(struct mount *mount); /* connects and looks up the root the first time */

/* ---- a server that does not answer: silent.c ---- */
#define SILENT_MS 10000
void silent_hook(uint64_t since); /* an rpc_silent_hook */

/* ---- open file descriptions: ofd.c ---- */
struct ofd {
    uint32_t magic;
    int32_t refs; /* descriptors in all processes, as far as known */
    int32_t holder; /* thread that uses the offset; 0 none */
    uint32_t flags;  /* of open: access mode, O_APPEND, O_NONBLOCK, O_PATH ... */
    uint32_t type;   /* enum nfs_type */
    uint32_t mount;  /* index */
    uint64_t id;
    int64_t offset;  /* files: bytes; directories: a cookie */
    uint64_t verf;   /* directories */
    struct nfs_fh fh;
    struct nfs_attr attr; /* as last seen */
    uint64_t attr_ms;     /* when; 0: not to be used */
    uint32_t attr_gen;
    struct nfs_fh dir; /* the directory it was opened in; size 0: not known */
    uint32_t loose;    /* others than who made it may have a descriptor: not to be used again (spare.c) */
    struct rlock locking;
    uint32_t hold; /* row of its flock and OFD locks, from 1; 0: none */
    char path[SHIM_PATH]; /* where it was opened: absolute; directories are resolved against it */
};

/* Makes one and returns a descriptor for it (cloexec as flags say), not below low; *out is this process's mapping. */
int ofd_new(const struct ofd *init, int low, struct ofd **out);
/* The description behind a descriptor: NULL when it is not ours. It stays mapped until the call ends, whoever closes
 * the descriptor meanwhile. */
struct ofd *ofd_get(int fd);
bool ofd_is(int fd); /* for looking at many: keeps nothing */
/* What ofd_get gave since ofd_using() returned mark is no longer used. */
unsigned ofd_using(void);
void ofd_used(unsigned mark);
/* What a name like /proc/PID/fd/N, of another process, shows of a description of this run: copied, 0 or -errno. */
int ofd_peek(const char *link, struct ofd *copy);
/* Descriptor numbers came and went. */
/* Before fd is closed (closing: fd_closed must follow when it is) or replaced (fd_new must) by the kernel. */
void ofd_forget(int fd, bool closing);
void fd_closed(int fd);
void fd_new(int fd); /* the kernel has just made it: whatever is noted of the number is not true any more */
long ofd_close(int fd);                  /* flushes, releases, closes */
/* fork: every description gets another holder, those that were inherited and never used too: ofd_find_all() is called at
 * the start, and before BEGIN for what came over sockets since. UNSEEN: in the child, when the fork was not announced. */
enum ofd_fork { OFD_FORK_BEGIN, OFD_FORK_PARENT, OFD_FORK_CHILD, OFD_FORK_UNSEEN };
void ofd_fork(enum ofd_fork when);
void ofd_exec(bool back); /* before exec: what is inherited stays referenced; back: it failed */
void ofd_exit(void);      /* before exit: gives back every descriptor, those never used too */
void ofd_find_all(void);  /* notes those that were inherited and never used; for a moment it has a descriptor of its own */
bool shim_alone(void);    /* is this the process's only thread? */
/* For every descriptor of ours in this process. */
void ofd_each(void (*fn)(int fd, struct ofd *ofd, void *arg), void *arg);
struct mount *ofd_mount(const struct ofd *ofd);
void ofd_lock(struct ofd *ofd); /* the offset; a holder that died is found out */
void ofd_unlock(struct ofd *ofd);

/* ---- records for the next open: spare.c ---- */
#define OFD_SIZE 8192 /* of a record's memfd and mapping */
struct spare {
    struct ofd *ofd; /* its mapping */
    uint64_t id;
    int keep; /* the descriptor it is duplicated from, -1: none yet */
    ino_t ino;
    dev_t dev;
};
/* Gets a spare its descriptor, from the record's last one, at high or above; false: it can't be one. */
bool spare_begin(struct spare *spare, int fd, int high);
void spare_end(struct spare *spare); /* takes the descriptor back; the record is not kept after all */
/* Nobody has or uses the record: keeps it. False: no room, it is still the caller's. */
bool spare_put(const struct spare *spare);
/* Takes one out: a descriptor of it, not below low, or -errno (ENOENT: there is none). */
int spare_take(struct spare *out, int flags, int low);
void spare_drop(struct spare *spare); /* mapping and descriptor */
void spare_after_fork(void);

/* ---- paths: path.c ---- */
enum { VP_FOLLOW = 1, VP_PARENT = 2, VP_NOATTR = 4, VP_FIRST = 8, VP_SEEN = 16 }; /* VP_FIRST: fill in *first too; VP_SEEN: what
                                                                               a listing told a moment ago will do */
enum vp_kind { VP_LOCAL, VP_FILE, VP_MISSING, VP_TOP };
struct vpath {
    enum vp_kind kind;
    struct mount *mount;
    struct nfs_fh fh; /* VP_FILE */
    struct nfs_attr attr;
    bool is_root;              /* of the volume */
    bool slash;                /* the path ended in one: must be a directory */
    bool links;                /* without VP_FOLLOW: the last name is a link that a slash behind it made us follow */
    struct nfs_fh dir;         /* the directory it lies in (unless is_root) */
    char name[NFS_NAME_MAX + 1];
    char path[SHIM_PATH];      /* absolute; VP_LOCAL: for the kernel */
    uint32_t seen;             /* file_changes() before the file was looked at */
    struct nfs_first *first;   /* VP_FIRST: given by the caller; have is -1 if it was not filled in */
};
/* Resolves path against dirfd (AT_FDCWD: working directory). VP_FOLLOW: a symbolic link at the end too.
 * VP_PARENT: only the directory must exist and nothing is looked up at the end. 0 or a negative errno;
 * VP_MISSING (0 returned) is for the caller to judge. */
int path_resolve(int dirfd, const char *path, unsigned flags, struct vpath *out);
/* The working directory as the program sees it, if it is in a volume: its length, or 0 when it is not, or -errno. */
int path_cwd(char *buf, size_t size);
/* The run has renamed or removed a directory: the working directories there. */
void cwd_moved(const char *from, const char *to);
void cwd_removed(const char *path);
/* Makes shim.mirror followed by the absolute path, an empty folder that the kernel finds; names below it are the volume's. */
bool cwd_mirror(const char *path);
extern int path_cwd_ours; /* for the filter: 0 not known, 1 no, 2 yes, 3 no, but a mount lies below it */
void path_forget(void);   /* names changed: drop what is cached */
void path_after_fork(void);
struct mount *path_mount(const char *path); /* the mount path lies in, or NULL */
/* VP_LOCAL results: the arguments with the path (index i) and dirfd (index d or -1) put in, passed on. */
long path_pass(long nr, const long a[6], int d, int i, const struct vpath *vp);

/* ---- where open files are: place.c ---- */
int place_opened(const struct ofd *ofd, struct nfs_fh *dir, char *name); /* where it was opened; not looked at */
int place_find(const struct ofd *ofd, struct nfs_fh *dir, char *name);   /* where it is; asks the server */
void place_moved(const struct nfs_fh *fh, const struct nfs_fh *dir, const char *name); /* by this run */
/* Before a name goes away: if somebody in the run has the file open, an open at the server keeps it alive. */
void place_keep(const struct vpath *vp);
void place_closed(const struct nfs_fh *fh); /* one thing less has it open in the run; the last one lets a removed file go */

/* ---- files: vnode.c, io.c ---- */
struct vnode; /* this process's unfinished business with one file */
long vnode_write(struct ofd *ofd, const struct iovec *iov, int n, uint64_t offset, bool append, uint64_t *end);
int vnode_drain(const struct nfs_fh *fh);           /* waits until what was written is at the server */
int vnode_flush(const struct nfs_fh *fh, bool sync); /* and durable; the first error since the last flush */
bool vnode_dirty(const struct nfs_fh *fh);
void vnode_flush_all(void);
void vnode_after_fork(void);
void vnode_truncated(const struct nfs_fh *fh);
long file_read(struct ofd *ofd, const struct iovec *iov, int n, uint64_t offset);
#define IO_MAX 0x7ffff000 /* bytes of one call: MAX_RW_COUNT */
/* io.c: may it be read, written? 0, -EBADF, -EISDIR. */
long file_readable(const struct ofd *ofd);
long file_writable(const struct ofd *ofd);
/* As read, write, pread and pwrite: at the description's offset, at another. */
long file_read_next(struct ofd *ofd, const struct iovec *iov, int n);
long file_write_next(struct ofd *ofd, const struct iovec *iov, int n);
long file_read_at(struct ofd *ofd, const struct iovec *iov, int n, int64_t offset);
long file_write_at(struct ofd *ofd, const struct iovec *iov, int n, int64_t offset);
void file_drop_cache(const struct nfs_fh *fh);
uint32_t file_gen(const struct nfs_fh *fh);
void file_changed(const struct nfs_fh *fh); /* counts it for everybody in the run */
unsigned file_slot(const struct nfs_fh *fh);
uint32_t file_changes(void); /* grows with every change made in the run, whatever the file */
bool file_attr_fresh(const struct ofd *ofd); /* are the attributes in it to be used as they are? */
int file_attr(struct ofd *ofd, struct nfs_attr *attr, bool fresh); /* getattr with what is known */

/* ---- read-ahead: ahead.c ---- */
/* Reads, short only at the end of the file or before an error. */
ssize_t ahead_read(struct ofd *ofd, uint8_t *to, size_t size, uint64_t offset);
/* The file's first bytes came with its attributes (change), generation gen at most. */
void ahead_feed(const struct nfs_fh *fh, uint64_t change, uint32_t gen, const void *data, size_t size);
/* The file was opened and has this change attribute: what is kept of another one goes. */
void ahead_opened(const struct nfs_fh *fh, uint64_t change);
void ahead_closed(const struct nfs_fh *fh);
void ahead_after_fork(void);

/* ---- what listings told: seen.c ---- */
struct seen_time {
    uint64_t ms;
    uint32_t changes, names;
};
void seen_begin(struct seen_time *when); /* before the listing is asked for */
void seen_put(const struct seen_time *when, const struct nfs_fh *dir, const char *name, size_t size,
              const struct nfs_fh *fh, const struct nfs_attr *attr);
bool seen_get(const struct nfs_fh *dir, const char *name, size_t size, struct nfs_fh *fh, struct nfs_attr *attr);
void seen_after_fork(void);

/* ---- the rest ---- */
void stat_fill(struct stat *st, const struct mount *mount, const struct nfs_attr *attr);
long map_sync_all(void);              /* writes back shared mappings */
void map_file_closing(const struct nfs_fh *fh);
/* fsync: writes back what is mapped of the file; the first error, or (once) that of what munmap could not write back. */
int map_file_sync(const struct nfs_fh *fh);
void map_exit(void);
void map_exec(bool back); /* before another program starts; back: it did not */
void map_before_fork(void);
void map_after_fork(bool child, bool announced);
extern int map_regions; /* mappings of volume files that need looking after */
extern uintptr_t map_low, map_high; /* those that are not filled where they are touched (lazy.h) lie between */
/* They and read and write show each other's changes at once, in this process and those that map the same file. */
void map_overlay(const struct nfs_fh *fh, uint8_t *data, size_t size, uint64_t offset); /* after a read */
void map_wrote(const struct nfs_fh *fh, const uint8_t *data, size_t size, uint64_t offset);
void map_cut(const struct nfs_fh *fh, uint64_t size); /* the file became size bytes long */
void fd_path(char *to, int fd); /* "/proc/self/fd/N" */
void lock_closed(const struct nfs_fh *fh); /* POSIX: closing any descriptor of a file drops the process's locks */
void lock_last_close(struct ofd *ofd); /* refs is 0 */
void agent_start(void); /* agent.c: before something is held at the server */
int lock_check(const struct ofd *ofd); /* -EIO when a lock taken through it was lost */
int lock_proc(void);                   /* this process's row among the holds, or -1; made at first */
extern struct vlock lock_opening;      /* around hold_owners and the open it is for */
void lock_start(void);                 /* at the start of a program */
void lock_exit(void);
void lock_after_fork(void);
/* Before an exec: says on stderr when the program will not see the volumes that argv or the working directory name.
 * path "": the program is dirfd itself. */
void unserved_say(int dirfd, const char *path, char *const *argv);
int vol_error(int err); /* -ESTALE and such as programs expect them */
extern uint32_t shim_umask;
/* A kernel copy of the file at an absolute path, or -errno. It has the path as its name, if that is not longer than the kernel
 * takes: /proc/PID/exe and the linker's names are told by it. Otherwise as much of the last name as fits. */
#define MEMFD_NAME_MAX 249
int memfd_of(const struct nfs_fh *fh, const char *path, uint64_t size);
/* The name of the memfd that link, of /proc/PID/exe or /proc/PID/fd/N, leads to; NULL: to no memfd. It stands in text, SHIM_PATH
 * bytes. One that is no absolute path is not of memfd_of, or was too long for it. */
const char *memfd_name(const char *link, char *text);
/* What readlink of /proc/PID/exe writes for a program from a volume, which runs from a copy: the name in the volume. Returns its
 * length; 0: path is no such name, or the program is none from a volume. */
long readlink_exe(const char *path, char *buf, size_t size);
long open_vpath(struct vpath *vp, int flags, mode_t mode, int low);

#pragma GCC visibility pop

/* The calls, in the order of their files. */
#define SC(name) long sc_##name(const long a[6]) SHIM_HIDDEN
SC(read); SC(write); SC(pread64); SC(pwrite64); SC(readv); SC(writev); SC(preadv); SC(pwritev); SC(lseek);
SC(fsync); SC(ftruncate); SC(truncate); SC(fallocate); SC(fadvise64); SC(readahead); SC(sync); SC(syncfs);
SC(copy_file_range); SC(sendfile); SC(splice); SC(ioctl);
SC(open); SC(openat); SC(openat2); SC(creat);
SC(close); SC(close_range); SC(unshare); SC(dup); SC(dup2); SC(dup3); SC(fcntl);
SC(stat); SC(lstat); SC(fstat); SC(newfstatat); SC(statx); SC(access); SC(faccessat); SC(faccessat2);
SC(statfs); SC(fstatfs); SC(readlink); SC(readlinkat);
SC(chmod); SC(fchmod); SC(fchmodat); SC(fchmodat2); SC(chown); SC(lchown); SC(fchown); SC(fchownat);
SC(utime); SC(utimes); SC(futimesat); SC(utimensat);
SC(mkdir); SC(mkdirat); SC(rmdir); SC(unlink); SC(unlinkat); SC(rename); SC(renameat); SC(renameat2);
SC(link); SC(linkat); SC(symlink); SC(symlinkat); SC(mknod); SC(mknodat); SC(umask);
SC(getdents64); SC(getdents); SC(getcwd); SC(chdir); SC(fchdir);
SC(flock); SC(mmap); SC(munmap); SC(mremap); SC(msync); SC(mprotect); SC(madvise); SC(mlock); SC(pass); SC(execve); SC(execveat); SC(exit_group);
SC(rt_sigaction); SC(sendmsg); SC(sendmmsg); SC(pidfd_getfd); SC(bind); SC(poll); SC(ppoll); SC(select); SC(pselect6); SC(epoll_ctl);
SC(xattr_path); SC(xattr_fd); SC(refuse_path); SC(enosys); SC(inotify_add_watch); SC(name_to_handle_at);
#undef SC

#endif
