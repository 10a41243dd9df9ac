/* SPDX-License-Identifier: Apache-2.0 */
/* From a caught call to the function that serves it. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "client/door/door.h"
#include "client/nfs/rpc.h"
#include "client/shim/fault.h"
#include "client/shim/lazy.h"
#include "client/shim/shim.h"

__thread int shim_inside;
__thread bool shim_vforked;

/* Bytes of the kernel's signal set. */
#define SIGSET_SIZE 8

static __thread uint64_t dispatch_mask __attribute__((tls_model("initial-exec"))); /* what the program had blocked */

/* Not an errno: the call is the kernel's, and is made when the signal mask is the program's again, since it may wait. */
#define DISPATCH_PASS (-100000L)

static __thread struct {
    long nr, a[6];
    char path[SHIM_PATH];
} dispatch_pass __attribute__((tls_model("initial-exec")));

long shim_pass(long nr, const long a[6])
{
    dispatch_pass.nr = nr;
    memcpy(dispatch_pass.a, a, sizeof(dispatch_pass.a));
    return DISPATCH_PASS;
}

long shim_nr(void)
{
    return dispatch_pass.nr;
}

long shim_pass_same(const long a[6])
{
    return shim_pass(dispatch_pass.nr, a);
}

long path_pass(long nr, const long a[6], int d, int i, const struct vpath *vp)
{
    shim_pass(nr, a);
    if (vp->path[0] != 0) {
        strcpy(dispatch_pass.path, vp->path);
        dispatch_pass.a[i] = SYS_ARG(dispatch_pass.path);
        if (d >= 0)
            dispatch_pass.a[d] = AT_FDCWD;
    }
    return DISPATCH_PASS;
}

uint64_t shim_mask(void)
{
    return dispatch_mask;
}

uint64_t shim_mask_set(uint64_t mask)
{
    uint64_t old = dispatch_mask;

    dispatch_mask = mask;
    return old;
}

/* Served only for what it points at. */
long sc_pass(const long a[6])
{
    return shim_pass_same(a);
}

/* The kernel's struct sigaction. */
struct dispatch_action {
    void *handler;
    unsigned long flags;
    void *restorer;
    uint64_t mask;
};

/* How many waits of this thread's calls let handlers run at the moment. */
static __thread unsigned dispatch_windows __attribute__((tls_model("initial-exec")));

static void window_open(void)
{
    dispatch_windows++;
    shim_inside = 0;
}

static void window_close(void)
{
    shim_inside = 1;
    dispatch_windows--;
}

/*
 * While something takes long: what ends or stops the program does so. Handlers wait until the call is done, as in an
 * uninterruptible wait of the kernel's: they might call what this thread is in the middle of.
 */
static int dispatch_idle(void)
{
    uint64_t all = ~FAULT_SIGNALS, pending = 0, let = 0, mask;
    struct dispatch_action action;

    sys2(SYS_rt_sigpending, &pending, SIGSET_SIZE);
    pending &= ~dispatch_mask;
    if (pending == 0)
        return 0;
    for (int number = 1; number <= 64; number++)
        if ((pending >> (number - 1) & 1) && sys4(SYS_rt_sigaction, number, NULL, &action, SIGSET_SIZE) == 0 &&
            action.handler == SIG_DFL)
            let |= 1ull << (number - 1);
    mask = ~(let | FAULT_SIGNALS);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, SIGSET_SIZE);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, SIGSET_SIZE);
    return 0;
}

long shim_blocking(long nr, long a, long b, long c, long d)
{
    uint64_t all = ~FAULT_SIGNALS;
    long ret;

    window_open();
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &dispatch_mask, NULL, SIGSET_SIZE);
    ret = sys4(nr, a, b, c, d);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, SIGSET_SIZE);
    window_close();
    return ret;
}

/*
 * All signals are blocked but in the one ppoll here, so what is pending before it is what its handlers ran for; only
 * when one comes in between may the guess be wrong.
 */
int shim_signals(void)
{
    struct timespec none = {0, 0};
    struct dispatch_action action;
    bool again = false, stop = false;
    uint64_t pending = 0;
    long ran;

    sys2(SYS_rt_sigpending, &pending, SIGSET_SIZE);
    pending &= ~dispatch_mask;
    if (pending == 0)
        return 0;
    for (int number = 1; number <= 64; number++) {
        if (!(pending >> (number - 1) & 1) || sys4(SYS_rt_sigaction, number, NULL, &action, SIGSET_SIZE) != 0 ||
            action.handler == SIG_DFL || action.handler == SIG_IGN)
            continue;
        again |= (action.flags & SA_RESTART) != 0;
        stop |= (action.flags & SA_RESTART) == 0;
    }
    window_open();
    ran = sys5(SYS_ppoll, NULL, 0, &none, &dispatch_mask, SIGSET_SIZE);
    window_close();
    return ran == -EINTR && (stop || !again) ? -EINTR : 0;
}

/* Makes the kernel's call with the program's signal mask. From then on handlers may run and use dispatch_pass. */
static long dispatch_kernel(uint64_t mask, long outer_nr)
{
    long nr = dispatch_pass.nr, a[6];
    bool path = false;

    memcpy(a, dispatch_pass.a, sizeof(a));
    dispatch_pass.nr = outer_nr;
    for (int i = 0; i < 6; i++)
        path |= a[i] == SYS_ARG(dispatch_pass.path);
    if (!path) {
        sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, SIGSET_SIZE);
        return sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    } else {
        char copy[strlen(dispatch_pass.path) + 1];

        strcpy(copy, dispatch_pass.path);
        for (int i = 0; i < 6; i++)
            if (a[i] == SYS_ARG(dispatch_pass.path))
                a[i] = SYS_ARG(copy);
        sys4(SYS_rt_sigprocmask, SIG_SETMASK, &mask, NULL, SIGSET_SIZE);
        return sys6(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}

long door_handler(long nr, const long args[6])
{
    const struct call_row *row = &call_table[nr];
    uint64_t all = ~FAULT_SIGNALS, saved = 0, outer = dispatch_mask;
    long ret, outer_nr = dispatch_pass.nr, a[6];
    unsigned using;
    int old_errno, deep = shim_deep;

    shim_deep = 0;
    if (*shim.alive == 0)
        shim_after_fork();
    /* The child of a fork comes here with its first call, whatever it is. */
    if (!deep && !shim_filter(nr, args))
        return sys6(nr, args[0], args[1], args[2], args[3], args[4], args[5]);
    sys4(SYS_rt_sigprocmask, SIG_SETMASK, &all, &saved, SIGSET_SIZE);
    dispatch_mask = saved;
    shim_inside = SHIM_LOOKS;
    shim_vforked = shim_is_child();
    rpc_idle_hook = dispatch_idle;
    old_errno = errno;
    /* A vfork child that went on to exec left something here. */
    using = dispatch_windows == 0 && !shim_vforked ? 0 : ofd_using();
    ofd_used(using);
    dispatch_pass.nr = nr;
    shim_deep = deep;
    memcpy(a, args, sizeof(a));
    if (lazy_count != 0 && !shim_vforked)
        args_keep(nr, a);
    ret = args_check(nr, a);
    shim_inside = 1;
    if (ret == 0)
        ret = row->run(a);
    shim_deep = 0;
    ofd_used(using);
    errno = old_errno;
    shim_inside = 0;
    dispatch_mask = outer;
    if (ret == DISPATCH_PASS) {
        ret = dispatch_kernel(saved, outer_nr);
        if (ret == -ENOENT && !deep && (row->kind & ARG_PATH)) {
            shim_deep = 1; /* once more, with an eye on local links */
            return door_handler(nr, args);
        }
    } else {
        dispatch_pass.nr = outer_nr;
        sys4(SYS_rt_sigprocmask, SIG_SETMASK, &saved, NULL, SIGSET_SIZE);
    }
    return ret;
}

#define FD0 ARG_FD, 0, 0, 0, 0
#define P0 ARG_PATH, 0, 0, 0, 0
#define P1 ARG_PATH, 0, 1, 0, 0
#define AT01 (ARG_PATH | ARG_AT), 0, 1, 0, 0
#define P01 (ARG_PATH | ARG_PATH2), 0, 0, 0, 1
#define AT0123 (ARG_PATH | ARG_PATH2 | ARG_AT), 0, 1, 2, 3
#define ALWAYS ARG_ALWAYS, 0, 0, 0, 0
#define MAP ARG_MAP, 0, 0, 0, 0
#define REPLACE ARG_REPLACE, 0, 0, 0, 0
#define LAZY ARG_LAZY, 0, 0, 0, 0
#define FD0_LAZY (ARG_FD | ARG_LAZY), 0, 0, 0, 0

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

const struct call_row call_table[512] = {
    [SYS_read] = {FD0, sc_read},
    [SYS_write] = {FD0, sc_write},
    [SYS_pread64] = {FD0, sc_pread64},
    [SYS_pwrite64] = {FD0, sc_pwrite64},
    [SYS_readv] = {FD0_LAZY, sc_readv},
    [SYS_writev] = {FD0_LAZY, sc_writev},
    [SYS_preadv] = {FD0_LAZY, sc_preadv},
    [SYS_pwritev] = {FD0_LAZY, sc_pwritev},
    [SYS_preadv2] = {FD0_LAZY, sc_preadv},
    [SYS_pwritev2] = {FD0_LAZY, sc_pwritev},
    [SYS_lseek] = {FD0, sc_lseek},
    [SYS_fsync] = {FD0, sc_fsync},
    [SYS_fdatasync] = {FD0, sc_fsync},
    [SYS_sync_file_range] = {FD0, sc_fsync},
    [SYS_sync] = {ALWAYS, sc_sync},
    [SYS_syncfs] = {FD0, sc_syncfs},
    [SYS_ftruncate] = {FD0, sc_ftruncate},
    [SYS_truncate] = {P0, sc_truncate},
    [SYS_fallocate] = {FD0, sc_fallocate},
    [SYS_fadvise64] = {FD0, sc_fadvise64},
    [SYS_readahead] = {FD0, sc_readahead},
    [SYS_copy_file_range] = {ALWAYS, sc_copy_file_range},
    [SYS_sendfile] = {ALWAYS, sc_sendfile},
    [SYS_splice] = {ALWAYS, sc_splice},
    [SYS_ioctl] = {FD0, sc_ioctl},
    [SYS_open] = {ARG_PATH | ARG_OPENS, 0, 0, 0, 0, sc_open},
    [SYS_creat] = {ARG_PATH | ARG_OPENS, 0, 0, 0, 0, sc_creat},
    [SYS_openat] = {ARG_PATH | ARG_AT | ARG_OPENS, 0, 1, 0, 0, sc_openat},
    [SYS_openat2] = {ARG_PATH | ARG_AT | ARG_OPENS, 0, 1, 0, 0, sc_openat2},
    [SYS_close] = {ARG_CLOSES, 0, 0, 0, 0, sc_close},
    [SYS_close_range] = {ALWAYS, sc_close_range},
    [SYS_unshare] = {ALWAYS, sc_unshare},
    [SYS_dup] = {FD0, sc_dup},
    [SYS_dup2] = {REPLACE, sc_dup2},
    [SYS_dup3] = {REPLACE, sc_dup3},
    [SYS_fcntl] = {FD0, sc_fcntl},
    [SYS_stat] = {P0, sc_stat},
    [SYS_lstat] = {P0, sc_lstat},
    [SYS_fstat] = {FD0, sc_fstat},
    [SYS_newfstatat] = {AT01, sc_newfstatat},
    [SYS_statx] = {AT01, sc_statx},
    [SYS_access] = {P0, sc_access},
    [SYS_faccessat] = {AT01, sc_faccessat},
    [SYS_faccessat2] = {AT01, sc_faccessat2},
    [SYS_statfs] = {P0, sc_statfs},
    [SYS_fstatfs] = {FD0, sc_fstatfs},
    [SYS_readlink] = {P0, sc_readlink},
    [SYS_readlinkat] = {AT01, sc_readlinkat},
    [SYS_chmod] = {P0, sc_chmod},
    [SYS_fchmod] = {FD0, sc_fchmod},
    [SYS_fchmodat] = {AT01, sc_fchmodat},
    [SYS_fchmodat2] = {AT01, sc_fchmodat2},
    [SYS_chown] = {P0, sc_chown},
    [SYS_lchown] = {P0, sc_lchown},
    [SYS_fchown] = {FD0, sc_fchown},
    [SYS_fchownat] = {AT01, sc_fchownat},
    [SYS_utime] = {P0, sc_utime},
    [SYS_utimes] = {P0, sc_utimes},
    [SYS_futimesat] = {AT01, sc_futimesat},
    [SYS_utimensat] = {(ARG_PATH | ARG_AT | ARG_FD), 0, 1, 0, 0, sc_utimensat},
    [SYS_mkdir] = {P0, sc_mkdir},
    [SYS_mkdirat] = {AT01, sc_mkdirat},
    [SYS_rmdir] = {P0, sc_rmdir},
    [SYS_unlink] = {P0, sc_unlink},
    [SYS_unlinkat] = {AT01, sc_unlinkat},
    [SYS_rename] = {P01, sc_rename},
    [SYS_renameat] = {AT0123, sc_renameat},
    [SYS_renameat2] = {AT0123, sc_renameat2},
    [SYS_link] = {P01, sc_link},
    [SYS_linkat] = {AT0123, sc_linkat},
    [SYS_symlink] = {P1, sc_symlink},
    [SYS_symlinkat] = {(ARG_PATH | ARG_AT), 1, 2, 0, 0, sc_symlinkat},
    [SYS_mknod] = {P0, sc_mknod},
    [SYS_mknodat] = {AT01, sc_mknodat},
    [SYS_getdents64] = {FD0, sc_getdents64},
    [SYS_getdents] = {FD0, sc_getdents},
    [SYS_getcwd] = {ALWAYS, sc_getcwd},
    [SYS_chdir] = {ALWAYS, sc_chdir},
    [SYS_fchdir] = {ALWAYS, sc_fchdir},
    [SYS_sendmsg] = {ARG_SEND | ARG_LAZY, 0, 0, 0, 0, sc_sendmsg},
    [SYS_sendto] = {0, 0, 0, 0, 0, sc_pass},
    [SYS_recvfrom] = {0, 0, 0, 0, 0, sc_pass},
    [SYS_sendmmsg] = {ARG_SEND | ARG_MANY | ARG_LAZY, 0, 0, 0, 0, sc_sendmmsg},
    [SYS_pidfd_getfd] = {ALWAYS, sc_pidfd_getfd},
    [SYS_vmsplice] = {LAZY, sc_pass},
    [SYS_process_vm_writev] = {LAZY, sc_pass},
    [SYS_bind] = {ARG_BIND, 0, 0, 0, 0, sc_bind},
    [SYS_rt_sigprocmask] = {0, 0, 0, 0, 0, sc_pass}, /* by door_filter */
    [SYS_rt_sigaction] = {ARG_SIGNAL, 0, 0, 0, 0, sc_rt_sigaction},
    [SYS_flock] = {FD0, sc_flock},
    [SYS_mmap] = {ARG_FD | ARG_MAP, 4, 0, 0, 0, sc_mmap},
    [SYS_munmap] = {MAP, sc_munmap},
    [SYS_mremap] = {MAP, sc_mremap},
    [SYS_msync] = {MAP, sc_msync},
    [SYS_mprotect] = {LAZY, sc_mprotect},
    [SYS_madvise] = {LAZY, sc_madvise},
    [SYS_mlock] = {LAZY, sc_mlock},
    [SYS_mlock2] = {LAZY, sc_mlock},
    [SYS_execve] = {ALWAYS, sc_execve},
    [SYS_execveat] = {ALWAYS, sc_execveat},
    [SYS_exit_group] = {ALWAYS, sc_exit_group},
    [SYS_poll] = {ARG_POLL, 0, 0, 0, 0, sc_poll},
    [SYS_ppoll] = {ARG_POLL, 0, 0, 0, 0, sc_ppoll},
    [SYS_select] = {ARG_SELECT, 0, 0, 0, 0, sc_select},
    [SYS_pselect6] = {ARG_SELECT, 0, 0, 0, 0, sc_pselect6},
    [SYS_epoll_ctl] = {ARG_FD, 2, 0, 0, 0, sc_epoll_ctl},
    [SYS_setxattr] = {P0, sc_xattr_path},
    [SYS_lsetxattr] = {P0, sc_xattr_path},
    [SYS_getxattr] = {P0, sc_xattr_path},
    [SYS_lgetxattr] = {P0, sc_xattr_path},
    [SYS_listxattr] = {P0, sc_xattr_path},
    [SYS_llistxattr] = {P0, sc_xattr_path},
    [SYS_removexattr] = {P0, sc_xattr_path},
    [SYS_lremovexattr] = {P0, sc_xattr_path},
    [SYS_fsetxattr] = {FD0, sc_xattr_fd},
    [SYS_fgetxattr] = {FD0, sc_xattr_fd},
    [SYS_flistxattr] = {FD0, sc_xattr_fd},
    [SYS_fremovexattr] = {FD0, sc_xattr_fd},
    [SYS_name_to_handle_at] = {AT01, sc_name_to_handle_at},
    [SYS_inotify_add_watch] = {P1, sc_inotify_add_watch},
    [SYS_chroot] = {P0, sc_refuse_path},
    [SYS_acct] = {P0, sc_refuse_path},
    [SYS_swapon] = {P0, sc_refuse_path},
    [SYS_io_uring_setup] = {ALWAYS, sc_enosys},
    [SYS_umask] = {ALWAYS, sc_umask},
    [SYS_io_setup] = {ALWAYS, sc_enosys},
};

static uint8_t dispatch_how(const struct call_row *row)
{
    if (row->kind & ARG_OPENS)
        return DOOR_OPEN;
    switch (row->kind & ~ARG_LAZY) {
    case ARG_FD:
        return (uint8_t)(DOOR_FD + row->fd);
    case ARG_CLOSES:
        return DOOR_CLOSE;
    case ARG_REPLACE:
        return DOOR_FD2;
    case ARG_PATH | ARG_AT:
        return row->fd == 0 && row->path == 1 ? DOOR_AT : DOOR_PATH;
    case ARG_PATH:
        return row->path == 0 ? DOOR_PATH0 : DOOR_PATH;
    case ARG_POLL:
        return DOOR_POLL;
    case ARG_SELECT:
        return DOOR_SELECT;
    default:
        return row->kind & ARG_PATH ? DOOR_PATH : DOOR_ASK;
    }
}

/* As in door_conf. */
static uint8_t dispatch_points(unsigned nr)
{
    if (call_table[nr].kind & ARG_LAZY)
        return DOOR_DEEP;
    switch (nr) {
    case SYS_lseek:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_sync_file_range:
    case SYS_syncfs:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_fadvise64:
    case SYS_readahead:
    case SYS_dup:
    case SYS_fchmod:
    case SYS_fchown:
    case SYS_flock:
        return 0;
    case SYS_open:
    case SYS_access:
    case SYS_chmod:
    case SYS_unlink:
    case SYS_poll:
        return 1u << 0;
    case SYS_openat:
    case SYS_faccessat:
    case SYS_faccessat2:
    case SYS_fchmodat:
    case SYS_unlinkat:
    case SYS_read:
    case SYS_write:
    case SYS_pread64:
    case SYS_pwrite64:
    case SYS_getdents64:
    case SYS_getdents:
    case SYS_fstat:
    case SYS_fstatfs:
        return 1u << 1;
    case SYS_fcntl:
    case SYS_ioctl:
        return 1u << 2;
    case SYS_stat:
    case SYS_lstat:
    case SYS_readlink:
        return 1u << 0 | 1u << 1;
    case SYS_newfstatat:
    case SYS_readlinkat:
        return 1u << 1 | 1u << 2;
    case SYS_statx:
        return 1u << 1 | 1u << 4;
    case SYS_ppoll:
        return 1u << 0 | 1u << 2 | 1u << 3;
    case SYS_mkdir:
    case SYS_mkdirat:
    case SYS_mknod:
    case SYS_mknodat:
        return 0x3f | DOOR_MAKES;
    default:
        return 0x3f;
    }
}

void shim_serves(uint8_t *serve, uint8_t *points)
{
    static const uint16_t makes[] = {SYS_clone, SYS_clone3, SYS_fork, SYS_vfork};

    for (unsigned nr = 0; nr < DOOR_NR_MAX; nr++)
        serve[nr] = call_table[nr].run == NULL ? DOOR_NOT : dispatch_how(&call_table[nr]);
    for (unsigned nr = 0; nr < DOOR_NR_MAX; nr++)
        points[nr] = dispatch_points(nr);
    for (unsigned i = 0; i < sizeof(makes) / sizeof(makes[0]); i++)
        serve[makes[i]] = DOOR_COUNT;
}
