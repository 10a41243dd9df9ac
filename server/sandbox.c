/* SPDX-License-Identifier: Apache-2.0
 * sandbox: see sandbox.h. The numbers of Landlock are the kernel's (include/uapi/linux/landlock.h), given here because
 * the headers of a system may be older than its kernel.
 */
#include "server/sandbox.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libgen.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "config.h"
#ifdef HAVE_SECCOMP
#include <sched.h>
#include <seccomp.h>
#endif

/* --- the user --- */

static int store_for(const struct passwd *pw, const char *store)
{
    struct stat st;
    if (mkdir(store, 0700) == 0) {
        if (chown(store, pw->pw_uid, pw->pw_gid) == 0)
            return 0;
    } else if (errno == EEXIST && stat(store, &st) == 0) {
        if (st.st_uid == pw->pw_uid)
            return 0;
        log_error("store %s does not belong to %s; give it to that user: chown -R %s: %s", store, pw->pw_name,
                  pw->pw_name, store);
        return -EPERM;
    }
    log_error("cannot make store %s for %s: %s", store, pw->pw_name, strerror(errno));
    return -errno;
}

int sandbox_user(const char *user, const char *store)
{
    const struct passwd *pw;
    int err;
    errno = 0;
    pw = getpwnam(user);
    if (!pw) {
        log_error("there is no user %s", user);
        return -ENOENT;
    }
    if (geteuid() != 0) {
        if (geteuid() == pw->pw_uid)
            return 0;
        log_error("only root can become user %s", user);
        return -EPERM;
    }
    if ((err = store_for(pw, store)))
        return err;
    if (initgroups(user, pw->pw_gid) || setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid) ||
        setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) {
        err = -errno;
        log_error("cannot become user %s: %s", user, strerror(errno));
        return err;
    }
    if (pw->pw_uid != 0 && setuid(0) == 0) {
        log_error("user %s could become root again", user);
        return -EPERM;
    }
    return 0;
}

/* --- files: Landlock --- */

#define NR_LANDLOCK_CREATE   444
#define NR_LANDLOCK_ADD_RULE 445
#define NR_LANDLOCK_RESTRICT 446
#define RULE_PATH_BENEATH    1
enum {
    FS_EXECUTE = 1 << 0, FS_WRITE_FILE = 1 << 1, FS_READ_FILE = 1 << 2, FS_READ_DIR = 1 << 3,
    FS_REFER = 1 << 13, FS_TRUNCATE = 1 << 14,
    FS_ABI1 = (1 << 13) - 1, /* all rights that the first version knows */
};

struct ruleset_attr {
    uint64_t fs;
};
struct path_beneath {
    uint64_t allowed;
    int32_t fd;
} __attribute__((packed));

static int allow_path(int ruleset, const char *path, uint64_t rights)
{
    struct path_beneath rule = {.allowed = rights};
    struct stat st;
    int err = 0;
    rule.fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.fd < 0)
        return errno == ENOENT ? 0 : -errno; /* what is not there needs no right */
    if (fstat(rule.fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed &= FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE;
    if (syscall(NR_LANDLOCK_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0))
        err = -errno;
    close(rule.fd);
    return err;
}

static int restrict_files(const char *store, const char *config)
{
    static const char *const readable[] = {"/proc/self", "/sys/devices/system/cpu", "/dev/null", "/dev/urandom"};
    long abi = syscall(NR_LANDLOCK_CREATE, NULL, 0, 1);
    uint64_t all = FS_ABI1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0);
    struct ruleset_attr attr = {.fs = all};
    char *copy = NULL;
    int ruleset, err = 0;
    if (abi < 1) {
        log_info("sandbox: this kernel has no Landlock: files are not restricted");
        return 0;
    }
    ruleset = (int)syscall(NR_LANDLOCK_CREATE, &attr, sizeof(attr), 0);
    if (ruleset < 0)
        return -errno;
    err = allow_path(ruleset, store, all & ~(uint64_t)FS_EXECUTE);
    for (size_t i = 0; !err && i < sizeof(readable) / sizeof(readable[0]); i++)
        err = allow_path(ruleset, readable[i], FS_READ_FILE | FS_READ_DIR);
    if (!err && config) { /* the folder: an editor puts a new file there */
        copy = strdup(config);
        err = copy ? allow_path(ruleset, dirname(copy), FS_READ_FILE) : -ENOMEM;
    }
    if (!err && syscall(NR_LANDLOCK_RESTRICT, ruleset, 0))
        err = -errno;
    free(copy);
    close(ruleset);
    return err;
}

/* --- calls: seccomp --- */

#ifdef HAVE_SECCOMP

static const char *const calls[] = {
    /* files */
    "access", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3", "faccessat",
    "faccessat2", "fadvise64", "fallocate", "fchmod", "fchmodat", "fchown", "fchownat", "fcntl", "fdatasync", "flock",
    "fstat", "fstatfs", "fsync", "ftruncate", "getcwd", "getdents", "getdents64", "ioctl", "lchown", "link", "linkat",
    "lseek", "lstat", "mkdir", "mkdirat", "newfstatat", "open", "openat", "openat2", "pread64", "preadv", "preadv2",
    "pwrite64", "pwritev", "pwritev2", "read", "readlink", "readlinkat", "readv", "rename", "renameat", "renameat2",
    "rmdir", "sendfile", "stat", "statfs", "statx", "sync_file_range", "syncfs", "truncate", "umask", "unlink",
    "unlinkat", "utime", "utimensat", "utimes", "write", "writev", "pipe", "pipe2",
    /* memory, without what can be executed */
    "brk", "madvise", "membarrier", "mincore", "mlock", "mremap", "msync", "munlock", "munmap",
    /* threads, signals, the process itself */
    "arch_prctl", "exit", "exit_group", "futex", "futex_waitv", "get_robust_list", "getegid", "geteuid", "getgid",
    "getgroups", "getpgrp", "getpid", "getppid", "getpriority", "getresgid", "getresuid", "getrlimit", "getrusage",
    "gettid", "getuid", "kill", "prctl", "prlimit64", "restart_syscall", "rseq", "rt_sigaction", "rt_sigpending",
    "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "sched_get_priority_max",
    "sched_get_priority_min", "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler",
    "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "set_robust_list",
    "set_tid_address", "setpriority", "setrlimit", "sigaltstack", "sysinfo", "tgkill", "uname", "getrandom", "ioprio_set",
    /* time and waiting */
    "clock_getres", "clock_gettime", "clock_nanosleep", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait",
    "epoll_pwait2", "epoll_wait", "eventfd", "eventfd2", "gettimeofday", "nanosleep", "poll", "ppoll", "pselect6",
    "select", "time", "times", "timerfd_create", "timerfd_gettime", "timerfd_settime",
    /* sockets */
    "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom", "recvmmsg",
    "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
};

static int allow_some(scmp_filter_ctx f)
{
    static const int families[] = {AF_UNIX, AF_INET, AF_INET6};
    int err = 0;
    for (size_t i = 0; !err && i < sizeof(families) / sizeof(families[0]); i++) {
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1, SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
        if (!err)
            err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
                                   SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i], 0));
    }
    if (!err)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (!err)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    /* A thread, not a process; its flags cannot be looked at in clone3, and then the library uses clone. */
    if (!err)
        err = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                               SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    if (!err)
        err = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return err;
}

static int restrict_calls(void)
{
    scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int err = 0;
    if (!f)
        return -ENOMEM;
    for (size_t i = 0; !err && i < sizeof(calls) / sizeof(calls[0]); i++) {
        int nr = seccomp_syscall_resolve_name(calls[i]);
        if (nr != __NR_SCMP_ERROR && nr >= 0) /* not every machine has all */
            err = seccomp_rule_add(f, SCMP_ACT_ALLOW, nr, 0);
    }
    if (!err)
        err = allow_some(f);
    if (!err)
        err = seccomp_load(f);
    seccomp_release(f);
    if (err == -ECANCELED || err == -EINVAL || err == -ENOSYS || err == -EPERM) {
        log_info("sandbox: seccomp filters are not to be had here: calls are not restricted");
        err = 0;
    }
    return err;
}

#else

static int restrict_calls(void)
{
    log_info("sandbox: built without libseccomp: calls are not restricted");
    return 0;
}

#endif

/* --- both --- */

static unsigned count_threads(void)
{
    DIR *d = opendir("/proc/self/task");
    unsigned n = 0;
    if (!d)
        return 1;
    for (struct dirent *de; (de = readdir(d));)
        n += de->d_name[0] != '.';
    closedir(d);
    return n;
}

int sandbox_enter(const char *store, const char *config)
{
    int err;
    if (count_threads() != 1) {
        log_error("sandbox: there are threads already");
        return -EBUSY;
    }
    tzset();                                /* reads the zone's file */
    if (setenv("SQLITE_TMPDIR", store, 1))  /* for what does not fit its cache */
        return -ENOMEM;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        err = -errno;
    else if (!(err = restrict_files(store, config)))
        err = restrict_calls();
    if (err)
        log_error("sandbox: %s; --sandbox off goes without", strerror(-err));
    return err;
}
