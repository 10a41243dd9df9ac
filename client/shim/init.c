/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start of the shim in a process: configuration, the run's shared record, the door; and what fork does to it.
 *
 * VOLNFS_SERVER   ADDR:PORT, numeric
 * VOLNFS_VOLUMES  USER/VOLUME[@SNAPSHOT][:ro][=PATH] or @TOKENFILE[:ro]=PATH, several separated by ';'
 * VOLNFS_RUN      the run directory, made by `volnfs run`; without it one is made per user, server and volumes
 * VOLNFS_SOFT     seconds after which calls fail with EIO while the server is away; default: wait
 * VOLNFS_DEBUG    say on stderr what is refused and why
 * VOLNFS_OLD_KERNEL  do without what Linux has since 5.7 and 5.9, to test that
 * VOLNFS_QUIET    do not say that a program that is started will see no volumes, or that the server is away
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>

#include "client/door/door.h"
#include "client/nfs/call.h"
#include "client/shim/run.h"
#include "client/shim/fault.h"
#include "client/shim/needed.h"
#include "client/shim/shim.h"

_Static_assert(FD_LOCAL == DOOR_FOREIGN && SHIM_FDS == DOOR_FDS, "the door's stubs look into fd_state");

struct shim shim;
uint8_t shim_serve[DOOR_NR_MAX];

void shim_say(const char *format, ...)
{
    char text[512];
    va_list args;
    int n;

    if (!shim.debug)
        return;
    memcpy(text, "volnfs: ", 8);
    va_start(args, format);
    n = vsnprintf(text + 8, sizeof(text) - 9, format, args);
    va_end(args);
    if (n < 0)
        return;
    n = n > (int)sizeof(text) - 10 ? (int)sizeof(text) - 10 : n;
    text[8 + n] = '\n';
    sys3(SYS_write, 2, text, (size_t)n + 9);
}

/* Wakes up in a forked child: everything that belongs to the parent's threads and connections goes. */
void shim_after_fork(void)
{
    bool announced = shim.forking;

    shim.pid = (pid_t)sys0(SYS_getpid);
    *shim.alive = 1;
    shim_inside = 0;
    shim_vforked = false;
    if (!shim.forking)
        heap_fork_unlock(); /* whoever held it is not here */
    ofd_fork(shim.forking ? OFD_FORK_CHILD : OFD_FORK_UNSEEN);
    shim.forking = false;
    spare_after_fork();
    path_after_fork();
    vnode_after_fork();
    ahead_after_fork();
    map_after_fork(true, announced);
    seen_after_fork();
    nfs_client_after_fork(shim.client);
    lock_after_fork();
}

static void shim_prepare(void)
{
    int inside = shim_inside;

    shim_inside = 1;
    shim_vforked = shim_is_child(); /* a vfork child of this thread may have left it set */
    vnode_flush_all();
    map_before_fork();
    if (shim_alone()) /* others would meet its descriptor; and all know of what there was at the start */
        ofd_find_all();
    ofd_fork(OFD_FORK_BEGIN);
    heap_fork_lock();
    shim.forking = true;
    shim_inside = inside;
}

static void shim_parent(void)
{
    shim.forking = false;
    heap_fork_unlock();
    map_after_fork(false, true);
    ofd_fork(OFD_FORK_PARENT);
}

static void shim_child(void)
{
    heap_fork_unlock();
    if (*shim.alive == 0)
        shim_after_fork();
}

int mount_ready(struct mount *mount)
{
    struct nfs_attr attr;
    struct nfs_fh root;
    size_t used;
    uint64_t dev;
    int err;

    lock_proc();
    if (__atomic_load_n(&mount->known, __ATOMIC_ACQUIRE))
        return 0;
    rlock_lock(&shim.run->mounts_lock);
    err = 0;
    if (mount->known)
        goto out;
    err = nfs_root(shim.client, &root, &attr);
    if (err == 0)
        err = nfs_walk(shim.client, &root, mount->remote, &mount->root, &attr, &used);
    if (err == 0 && attr.type != NFS_DIR)
        err = -ENOTDIR;
    if (err != 0) {
        shim_say("%s: cannot reach %s: %s", mount->path, mount_by_token(mount) ? "what its token gives" : mount->remote,
                 strerror(-err));
        goto out;
    }
    dev = (attr.fsid_major * 0x9e3779b97f4a7c15u) ^ attr.fsid_minor;
    dev ^= dev >> 32;
    mount->dev = 0x76000000u | (dev & 0xffffff); /* a major number of its own, above those in use */
    __atomic_store_n(&mount->known, 1, __ATOMIC_RELEASE);
out:
    rlock_unlock(&shim.run->mounts_lock);
    return err;
}

static void shim_die(const char *what, const char *why)
{
    char text[512];
    int n = snprintf(text, sizeof(text), "volnfs: cannot serve volumes in this program: %s%s%s\n", what,
                     why == NULL ? "" : ": ", why == NULL ? "" : why);

    sys3(SYS_write, 2, text, (size_t)n);
    sys1(SYS_exit_group, 127);
}

/* "/volumes" when every mount that is not in / itself lies in one directory that is not there. */
static void shim_find_top(void)
{
    struct stat st;
    size_t len = 0;

    for (unsigned i = 0; i < shim.nmounts; i++) {
        const char *path = shim.run->mounts[i].path, *slash = strrchr(path, '/');
        size_t dir = (size_t)(slash - path);

        if (dir == 0) {
            shim.apart = true;
            continue;
        }
        if (len > 0 && (dir != len || strncmp(path, shim.top, dir) != 0))
            goto none;
        len = dir;
        memcpy(shim.top, path, dir);
        shim.top[dir] = 0;
    }
    if (len == 0 || sys2(SYS_stat, shim.top, &st) == 0)
        goto none;
    shim.top_len = (uint32_t)len;
    return;
none:
    shim.top[0] = 0;
    shim.top_len = 0;
    shim.apart = true;
}

/* The first letters after the slash by which a path is certainly none of ours: what filter_path looks for. */
static uint8_t shim_plain[256];

static void shim_find_plain(void)
{
    memset(shim_plain, 1, sizeof(shim_plain));
    shim_plain[0] = shim_plain['/'] = shim_plain['.'] = 0;
    shim_plain['p'] = shim_plain['d'] = 0; /* /proc/self/fd, /dev/fd */
    for (unsigned i = 0; i < shim.nmounts; i++)
        shim_plain[(uint8_t)shim.run->mounts[i].path[1]] = 0;
    shim_plain[(uint8_t)shim.dir[1]] = 0;
}

/* Keeps our variables for programs started with an environment of their own. */
static void shim_keep_env(void)
{
    static const char *const names[] = {"LD_PRELOAD",  "VOLNFS_SERVER", "VOLNFS_VOLUMES", "VOLNFS_RUN",
                                        "VOLNFS_SOFT", "VOLNFS_DEBUG"};

    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = getenv(names[i]);
        size_t len;

        if (value == NULL)
            continue;
        len = strlen(names[i]) + strlen(value) + 2;
        shim.env[i] = heap_alloc(len);
        if (shim.env[i] != NULL)
            snprintf(shim.env[i], len, "%s=%s", names[i], value);
    }
}

/* A program that was started by another user (it gave up its rights) has a run of its own. */
static void shim_attach(const char *server, const char *volumes)
{
    const char *dir = getenv("VOLNFS_RUN"), *why = NULL;
    int err = run_attach(dir, server, volumes, &shim.run, shim.dir, sizeof(shim.dir), &why);

    shim.own_run = dir == NULL;
    if (dir != NULL && (err == -EPERM || err == -EACCES)) {
        shim_say("%s: %s; this program has a run of its own", dir, why);
        err = run_attach(NULL, server, volumes, &shim.run, shim.dir, sizeof(shim.dir), &why);
        shim.own_run = true;
    }
    if (err != 0)
        shim_die(why, strerror(-err));
}

/* A program from a volume runs from a copy, and the kernel calls it by the number of that descriptor. */
static void shim_comm(void)
{
    const char *called = (const char *)getauxval(AT_EXECFN), *name;
    char text[SHIM_PATH];

    if (called == NULL || strncmp(called, "/dev/fd/", 8) != 0)
        return;
    name = memfd_name("/proc/self/exe", text);
    if (name != NULL && name[0] == '/')
        sys2(SYS_prctl, PR_SET_NAME, strrchr(name, '/') + 1);
}

__attribute__((constructor(101))) static void shim_init(void)
{
    const char *volumes = getenv("VOLNFS_VOLUMES"), *server = getenv("VOLNFS_SERVER");
    const char *soft = getenv("VOLNFS_SOFT"), *debug = getenv("VOLNFS_DEBUG"), *why = NULL;
    static struct door_conf conf;
    static uint8_t points[DOOR_NR_MAX];
    struct door_stat stat;
    int err;

    if (volumes == NULL || volumes[0] == 0 || server == NULL)
        return;
    shim.quiet = getenv("VOLNFS_QUIET") != NULL && getenv("VOLNFS_QUIET")[0] != 0;
    shim.old_kernel = getenv("VOLNFS_OLD_KERNEL") != NULL && getenv("VOLNFS_OLD_KERNEL")[0] != 0;
    shim.debug = debug != NULL && debug[0] != 0 && debug[0] != '0';
    shim.pid = (pid_t)sys0(SYS_getpid);
    shim.alive = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (shim.alive == MAP_FAILED)
        shim_die("no memory", NULL);
    madvise((void *)shim.alive, 4096, MADV_WIPEONFORK);
    *shim.alive = 1;
    if (run_parse_server(server, shim.host, sizeof(shim.host), &shim.port) != 0)
        shim_die("VOLNFS_SERVER must be ADDRESS:PORT with a numeric address", server);
    shim_attach(server, volumes);
    shim.dir_len = (uint32_t)strlen(shim.dir);
    snprintf(shim.mirror, sizeof(shim.mirror), "%s/cwd", shim.dir);
    shim.mirror_len = (uint32_t)strlen(shim.mirror);
    needed_take();
    while (shim.nmounts < SHIM_MOUNTS && shim.run->mounts[shim.nmounts].len != 0)
        shim.nmounts++;
    shim_comm();
    shim_find_top();
    shim_keep_env();
    shim.soft_ms = soft != NULL ? (unsigned)atoi(soft) * 1000 : 0;
    err = nfs_client_open(&shim.client, shim.host, shim.port, shim.soft_ms, &shim.run->nfs);
    if (err != 0)
        shim_die("no client", strerror(-err));
    nfs_client_set_recover(shim.client, hold_recover, &shim.run->holds);
    shim.client->avoid = ~((1u << HOLD_PASSING) - 1);
    shim_serves(shim_serve, points);
    shim_umask = (uint32_t)sys1(SYS_umask, 077);
    sys1(SYS_umask, shim_umask);
    pthread_atfork(shim_prepare, shim_parent, shim_child);
    conf.serve = shim_serve;
    conf.points = points;
    conf.fds = fd_state;
    shim_find_plain();
    conf.plain = shim_plain;
    conf.scan = shim.apart;
    conf.cache_dir = shim.dir;
    rpc_silent_hook = silent_hook;
    lock_start();
    fault_init();
    err = door_open(&conf, &why);
    if (err != 0)
        shim_die(why, strerror(-err));
    door_stat(&stat);
    shim.counts = stat.uncounted == 0;
    if (!shim.counts)
        door_seen = door_made - 1; /* and never set: stubs always ask */
    shim_inside = 1;
    ofd_find_all();
    shim_inside = 0;
}
