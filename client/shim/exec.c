/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting programs, and ending.
 *
 * A program in a volume is copied into a sealed memfd and started from there; a script there is started as its
 * interpreter with the script's path, as the kernel would. The environment keeps what the next program needs to see the volumes.
 * What was written is made durable first: the memory that holds it goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/shim/fault.h"
#include "client/shim/needed.h"
#include "client/shim/shim.h"

#define EXEC_LINE 256 /* of "#!", as in the kernel */
#define EXEC_DEPTH 4

/* ftruncate of a copy: the program's limit is for the files it writes. Where it cannot be lifted: no SIGXFSZ. */
static long memfd_size(long fd, uint64_t size)
{
    struct rlimit old, lifted;
    long err = sys4(SYS_prlimit64, 0, RLIMIT_FSIZE, NULL, &old);

    if (err != 0 || old.rlim_cur >= size)
        return sys2(SYS_ftruncate, fd, size);
    lifted = (struct rlimit){size, old.rlim_max > size ? old.rlim_max : size};
    if (sys4(SYS_prlimit64, 0, RLIMIT_FSIZE, &lifted, NULL) != 0)
        return -EFBIG;
    err = sys2(SYS_ftruncate, fd, size);
    sys4(SYS_prlimit64, 0, RLIMIT_FSIZE, &old, NULL);
    return err;
}

int memfd_of(const struct nfs_fh *fh, const char *path, uint64_t size)
{
    const char *from = strlen(path) <= MEMFD_NAME_MAX ? path : strrchr(path, '/') + 1;
    size_t len = strnlen(from, MEMFD_NAME_MAX);
    char name[MEMFD_NAME_MAX + 1];
    ssize_t n;
    long fd, at, err;

    memcpy(name, from, len);
    name[len] = 0;
    fd = sys2(SYS_memfd_create, name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return (int)fd;
    if (size > 0) {
        if ((err = memfd_size(fd, size)) < 0) {
            sys1(SYS_close, fd);
            return (int)err;
        }
        at = sys6(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (at < 0 && at > -4096)
            goto fail;
        n = nfs_read(shim.client, fh, (void *)at, size, 0, NULL);
        sys2(SYS_munmap, at, size);
        if (n < 0 || (uint64_t)n != size)
            goto fail;
    }
    sys3(SYS_fcntl, fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW);
    return (int)fd;
fail:
    sys1(SYS_close, fd);
    return -EIO;
}

const char *memfd_name(const char *link, char *text)
{
    static const char before[] = "/memfd:", after[] = " (deleted)";
    const long head = sizeof(before) - 1, tail = sizeof(after) - 1;
    long n = sys3(SYS_readlink, link, text, SHIM_PATH - 1);

    if (n < head + tail || memcmp(text, before, (size_t)head) != 0 || memcmp(text + n - tail, after, (size_t)tail) != 0)
        return NULL;
    text[n - tail] = 0;
    return text + head;
}

/*
 * A vfork child runs in its parent's memory and, when the exec succeeds, never comes back to tidy up: what it
 * allocated is noted here, per thread, and given back by the parent's next exec.
 */
#define EXEC_JUNK 16
static __thread struct {
    void *mem[EXEC_JUNK];
    unsigned n;
} junk __attribute__((tls_model("initial-exec")));

static void *junk_alloc(size_t size)
{
    void *mem = junk.n < EXEC_JUNK ? heap_alloc(size) : NULL;

    if (mem != NULL)
        junk.mem[junk.n++] = mem;
    return mem;
}

static void junk_free(void)
{
    while (junk.n > 0)
        heap_free(junk.mem[--junk.n]);
}

static bool env_has(char *const *env, const char *name, size_t len)
{
    for (; env != NULL && *env != NULL; env++)
        if (strncmp(*env, name, len) == 0 && (*env)[len] == '=')
            return true;
    return false;
}

/* env with our variables put in where they are missing; junk unless it is env itself. */
static char **env_keep(char **env)
{
    static const char *const names[] = {"LD_PRELOAD",  "VOLNFS_SERVER", "VOLNFS_VOLUMES", "VOLNFS_RUN",
                                        "VOLNFS_SOFT", "VOLNFS_DEBUG"};
    size_t n = 0, have = 0, add = 0;
    char **all;

    while (env != NULL && env[n] != NULL)
        n++;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (shim.env[i] != NULL && !env_has(env, names[i], strlen(names[i])))
            add++;
    if (add == 0)
        return env;
    all = junk_alloc((n + add + 1) * sizeof(*all));
    if (all == NULL)
        return env;
    if (n > 0)
        memcpy(all, env, n * sizeof(*all));
    have = n;
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (shim.env[i] != NULL && !env_has(env, names[i], strlen(names[i])))
            all[have++] = shim.env[i];
    all[have] = NULL;
    return all;
}

static void exec_ready(void)
{
    if (!shim_is_vfork_child()) {
        map_sync_all();
        vnode_flush_all();
    } else {
        vnode_flush_all(); /* the parent's memory: it waits for us */
    }
}

/* The "#!" line of a script: interpreter and at most one argument. 0 when it is no script. */
static int exec_script(char *line, char **interp, char **arg)
{
    char *p = line + 2, *end;

    if (line[0] != '#' || line[1] != '!')
        return 0;
    p[strcspn(p, "\n")] = 0;
    while (*p == ' ' || *p == '\t')
        p++;
    if (*p == 0)
        return -ENOEXEC;
    *interp = p;
    *arg = NULL;
    p += strcspn(p, " \t");
    if (*p != 0) {
        *p++ = 0;
        while (*p == ' ' || *p == '\t')
            p++;
        end = p + strlen(p);
        while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
            *--end = 0;
        if (*p != 0)
            *arg = p;
    }
    return 1;
}

static long exec_at(int dirfd, const char *path, char **argv, char **envp, int flags, int depth);

/* A script: interpreter, its argument, the script's path, and the rest of argv. */
static long exec_interp(const char *interp, char *arg, const char *script, char **argv, char **envp, int depth)
{
    size_t n = 0, k = 0;
    char **all;

    if (depth >= EXEC_DEPTH)
        return -ELOOP;
    while (argv != NULL && argv[n] != NULL)
        n++;
    all = junk_alloc((n + 4) * sizeof(*all));
    if (all == NULL)
        return -ENOMEM;
    all[k++] = (char *)interp;
    if (arg != NULL)
        all[k++] = arg;
    all[k++] = (char *)script;
    for (size_t i = 1; i < n; i++)
        all[k++] = argv[i];
    all[k] = NULL;
    return exec_at(AT_FDCWD, interp, all, envp, 0, depth + 1);
}

static long exec_now(int dirfd, const char *path, char **argv, char **envp, int flags)
{
    long ret;

    unserved_say(dirfd, path, argv);
    ofd_exec(false);
    shim_inside = 0;
    ret = flags == 0 && dirfd == AT_FDCWD ? sys3(SYS_execve, path, argv, envp)
                                          : sys5(SYS_execveat, dirfd, path, argv, envp, flags);
    shim_inside = 1;
    ofd_exec(true);
    return ret;
}

/* called: the name the program gave, which a script finds in $0. */
static long exec_volume(struct vpath *vp, const char *called, char **argv, char **envp, int depth)
{
    char line[EXEC_LINE + 1], *interp, *arg;
    char **with;
    ssize_t n;
    long ret;
    int fd, have;

    if (vp->attr.type != NFS_REG)
        return -EACCES;
    have = nfs_access(shim.client, &vp->fh, X_OK, NULL);
    if (have < 0)
        return have;
    if (have != X_OK || !(vp->attr.mode & 0111))
        return -EACCES;
    n = nfs_read(shim.client, &vp->fh, line, EXEC_LINE, 0, NULL);
    if (n < 0)
        return n;
    line[n] = 0;
    ret = exec_script(line, &interp, &arg);
    if (ret < 0)
        return ret;
    if (ret == 1)
        return exec_interp(interp, arg, called, argv, envp, depth);
    if (n < 4 || memcmp(line, "\177ELF", 4) != 0)
        return -ENOEXEC;
    fd = memfd_of(&vp->fh, vp->path, vp->attr.size);
    if (fd < 0)
        return fd;
    sys2(SYS_fchmod, fd, 0700);
    needed_prepare(fd, vp->path, envp, junk_alloc, &with);
    ret = exec_now(fd, "", argv, with, AT_EMPTY_PATH);
    if (with != envp)
        needed_drop(with);
    sys1(SYS_close, fd);
    return ret;
}

/* Opens what the kernel starts for *path: where that is a script, its interpreter, which *path becomes, in interp. A descriptor
 * or -errno. */
static long exec_open(int dirfd, const char **path, char interp[EXEC_LINE + 1])
{
    char line[EXEC_LINE + 1], *name, *arg;

    for (int depth = 0;; depth++) {
        long fd = sys4(SYS_openat, dirfd, *path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
        long n = fd < 0 ? 0 : sys4(SYS_pread64, fd, line, EXEC_LINE, 0);

        line[n > 0 ? n : 0] = 0;
        if (fd < 0 || depth > EXEC_DEPTH || exec_script(line, &name, &arg) != 1)
            return fd;
        sys1(SYS_close, fd);
        strcpy(interp, name);
        *path = interp;
        dirfd = AT_FDCWD;
    }
}

/* A local program, or again one from a volume by /proc/PID/exe; where it could need libraries in volumes, these are lent to it. */
static long exec_local(int dirfd, const char *path, char **argv, char **envp, int flags)
{
    char **with = envp, *exe = strncmp(path, "/proc/", 6) == 0 ? heap_zalloc(1, SHIM_PATH) : NULL;
    bool again = exe != NULL && readlink_exe(path, exe, SHIM_PATH - 1) > 0;
    long ret, fd;

    if (again || (path[0] != 0 && needed_by_env(envp))) {
        char interp[EXEC_LINE + 1];
        const char *name = path;

        fd = exec_open(dirfd, &name, interp);
        if (fd >= 0) {
            needed_prepare((int)fd, again ? exe : name[0] == '/' ? name : NULL, envp, junk_alloc, &with);
            sys1(SYS_close, fd);
        }
    }
    heap_free(exe);
    ret = exec_now(dirfd, path, argv, with, flags);
    if (with != envp)
        needed_drop(with);
    return ret;
}

static long exec_at(int dirfd, const char *path, char **argv, char **envp, int flags, int depth)
{
    struct vpath *vp = junk_alloc(sizeof(*vp));
    struct ofd *ofd = NULL;
    long ret;

    if (vp == NULL)
        return -ENOMEM;
    if (path[0] == 0 && (flags & AT_EMPTY_PATH) && (ofd = ofd_get(dirfd)) != NULL) {
        vp->kind = VP_FILE;
        vp->mount = ofd_mount(ofd);
        vp->fh = ofd->fh;
        strcpy(vp->path, ofd->path);
        ret = nfs_getattr(shim.client, &ofd->fh, &vp->attr);
    } else if (path[0] == 0) {
        vp->kind = VP_LOCAL;
        vp->path[0] = 0;
        ret = 0;
    } else {
        ret = path_resolve(dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? 0 : VP_FOLLOW, vp);
    }
    if (ret != 0)
        goto out;
    switch (vp->kind) {
    case VP_LOCAL:
        /* A local script whose interpreter lies in a volume: the kernel would not find it. */
        if (vp->path[0] != 0)
            ret = exec_local(AT_FDCWD, vp->path, argv, envp, flags);
        else
            ret = exec_local(dirfd, path, argv, envp, flags);
        if (ret == -ENOENT && !shim_deep) {
            shim_deep = 1;
            ret = path_resolve(dirfd, path, flags & AT_SYMLINK_NOFOLLOW ? 0 : VP_FOLLOW, vp);
            shim_deep = 0;
            ret = ret == 0 && vp->kind == VP_FILE ? exec_volume(vp, dirfd == AT_FDCWD && path[0] != 0 ? path : vp->path, argv, envp, depth) : -ENOENT;
        }
        if (ret == -ENOENT && depth < EXEC_DEPTH) {
            char line[EXEC_LINE + 1], *interp, *arg;
            long fd = sys4(SYS_openat, dirfd, vp->path[0] != 0 ? vp->path : path, O_RDONLY | O_CLOEXEC, 0);
            long n = fd < 0 ? -1 : sys3(SYS_read, fd, line, EXEC_LINE);

            if (fd >= 0)
                sys1(SYS_close, fd);
            if (n > 2) {
                line[n] = 0;
                if (exec_script(line, &interp, &arg) == 1 && path_mount(interp) != NULL)
                    ret = exec_interp(interp, arg, path, argv, envp, depth);
            }
        }
        break;
    case VP_MISSING:
        ret = -ENOENT;
        break;
    case VP_TOP:
        ret = -EACCES;
        break;
    default:
        ret = exec_volume(vp, dirfd == AT_FDCWD && path[0] != 0 ? path : vp->path, argv, envp, depth);
    }
out:
    return ret;
}

/* The new program starts with the signals of the old one, not with all blocked. shim_inside is
 * cleared for the moment of the call: after vfork it is the parent's. */
static long exec_masked(int dirfd, const char *path, char **argv, char **envp, int flags)
{
    uint64_t mask = shim_mask(), all = ~FAULT_SIGNALS;
    char **env;
    long ret;

    junk_free();
    env = env_keep(envp);
    exec_ready();
    map_exec(false);
    sys4(SYS_rt_sigprocmask, 2, &mask, NULL, 8);
    ret = exec_at(dirfd, path, argv, env, flags, 0);
    sys4(SYS_rt_sigprocmask, 2, &all, NULL, 8);
    map_exec(true);
    junk_free();
    return ret;
}

long sc_execve(const long a[6])
{
    if (a[0] == 0)
        return shim_pass(SYS_execve, a);
    return exec_masked(AT_FDCWD, (const char *)a[0], (char **)a[1], (char **)a[2], 0);
}

long sc_execveat(const long a[6])
{
    if (a[1] == 0)
        return shim_pass(SYS_execveat, a);
    return exec_masked((int)a[0], (const char *)a[1], (char **)a[2], (char **)a[3], (int)a[4]);
}

long sc_exit_group(const long a[6])
{
    if (!shim_is_vfork_child()) {
        map_exit();
        vnode_flush_all();
        lock_exit();
        ofd_exit();
    }
    return shim_pass(SYS_exit_group, a);
}
