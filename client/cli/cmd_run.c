/* SPDX-License-Identifier: Apache-2.0
 * volnfs run: a command that sees volumes without a mount.
 *
 * The launcher makes the run directory and its record, creates missing volumes, starts the command with the preload
 * library, stays its parent, keeps the lease of the run's client, passes signals and the exit status on, and removes
 * the run directory in the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/cli/cli.h"
#include "client/nfs/file.h"
#include "client/nfs/rpc.h"
#include "client/shim/run.h"
#include "client/shim/shim.h"
#include "config.h"

#define RUN_VOLUMES 16384

struct run_conf {
    const char *server, *user;
    char volumes[RUN_VOLUMES]; /* VOLNFS_VOLUMES */
    char address[80];          /* VOLNFS_SERVER */
    char dir[256];
    char library[PATH_MAX];
};

/* A name or address, with or without a port, as ADDRESS:PORT. */
static int resolve_server(const char *text, char *out, size_t size)
{
    char host[256], number_text[16], found[64];
    const char *port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    unsigned number;
    int err;

    if (run_parse_server(text, found, sizeof(found), &number) == 0) {
        snprintf(out, size, strchr(found, ':') != NULL ? "[%s]:%u" : "%s:%u", found, number);
        return 0;
    }
    if (cli_split_server(text, host, sizeof(host), &port) != 0) {
        fprintf(stderr, "volnfs: server '%s': it has to be HOST or HOST:PORT, PORT from 1 to 65535\n", text);
        return -EINVAL;
    }
    err = getaddrinfo(host, port, &hints, &list);
    if (err != 0) {
        fprintf(stderr, "volnfs: %s: %s\n", text, gai_strerror(err));
        return -ENOENT;
    }
    err = getnameinfo(list->ai_addr, list->ai_addrlen, found, sizeof(found), number_text,
                      sizeof(number_text), NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, size, list->ai_family == AF_INET6 ? "[%s]:%s" : "%s:%s", found, number_text);
    freeaddrinfo(list);
    return err != 0 ? -ENOENT : 0;
}

/* Where the library is: VOLNFS_PRELOAD, beside the command in a build tree, or where it was installed. */
static int find_library(char *out, size_t size)
{
    const char *env = getenv("VOLNFS_PRELOAD");
    char self[PATH_MAX], *slash;
    ssize_t n;

    if (env != NULL) {
        snprintf(out, size, "%s", env);
        return access(out, R_OK) == 0 ? 0 : -errno;
    }
    n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n > 0) {
        self[n] = 0;
        slash = strrchr(self, '/');
        *slash = 0;
        if ((size_t)snprintf(out, size, "%s/libvolnfs_preload.so", self) < size && access(out, R_OK) == 0)
            return 0;
        if ((size_t)snprintf(out, size, "%s/../lib/volnfs/libvolnfs_preload.so", self) < size &&
            access(out, R_OK) == 0)
            return 0;
    }
    snprintf(out, size, "%s/libvolnfs_preload.so", PRELOADDIR);
    return access(out, R_OK) == 0 ? 0 : -errno;
}

/* The volume's root: made by MKDIR in its user's directory (and the user's in the root) when it is missing. */
static int make_volume(struct nfs_client *client, struct mount *mount)
{
    struct nfs_fh fh, root;
    struct nfs_attr attr;
    char path[256], *name;
    size_t used;
    int err;

    err = nfs_root(client, &root, &attr);
    if (err != 0)
        return err;
    err = nfs_walk(client, &root, mount->remote, &fh, &attr, &used);
    if (err != -ENOENT || mount->readonly || mount_by_token(mount))
        return err;
    snprintf(path, sizeof(path), "%s", mount->remote);
    name = strchr(path, '/');
    *name++ = 0;
    if (strchr(name, '/') != NULL)
        return -ENOENT; /* a folder in a volume: not ours to make */
    err = nfs_lookup(client, &root, path, strlen(path), &fh, &attr);
    if (err == -ENOENT)
        err = nfs_mkdir(client, &root, path, 0755, &fh, &attr);
    if (err == -EEXIST) /* made by another run meanwhile */
        err = nfs_lookup(client, &root, path, strlen(path), &fh, &attr);
    root = fh;
    if (err == 0)
        err = nfs_mkdir(client, &root, name, 0755, &fh, &attr);
    return err == -EEXIST ? 0 : err;
}

static bool add_user_volume(void *arg, uint64_t cookie, const char *name, size_t size, const struct nfs_attr *attr,
                            const struct nfs_fh *fh)
{
    struct run_conf *conf = arg;
    size_t at = strlen(conf->volumes);

    (void)cookie;
    if (attr->type == NFS_DIR)
        snprintf(conf->volumes + at, sizeof(conf->volumes) - at, "%s%s/%.*s", at > 0 ? ";" : "", conf->user, (int)size,
                 name);
    return true;
}

/* -u USER without -v: all volumes there are. */
static int list_volumes(struct run_conf *conf, struct nfs_client *client)
{
    struct nfs_fh root, fh;
    struct nfs_attr attr;
    uint64_t verf = 0;
    int err = nfs_root(client, &root, &attr);

    if (err == 0)
        err = nfs_lookup(client, &root, conf->user, strlen(conf->user), &fh, &attr);
    if (err == 0)
        err = nfs_readdir(client, &fh, 0, &verf, add_user_volume, conf);
    return err < 0 ? err : conf->volumes[0] != 0 ? 0 : -ENOENT;
}

static pid_t child;

/* What the terminal sends, it sends to the command too. */
static void pass_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (child > 0 && info->si_code != SI_KERNEL)
        kill(child, number);
}

static void pass_signals(void)
{
    static const int numbers[] = {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGINT, SIGQUIT, SIGWINCH, SIGCONT};
    struct sigaction act = {.sa_sigaction = pass_signal, .sa_flags = SA_RESTART | SA_SIGINFO};

    for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        sigaction(numbers[i], &act, NULL);
}

static void prepend_preload(const char *library)
{
    const char *old = getenv("LD_PRELOAD");
    char *all;

    if (old == NULL || old[0] == 0) {
        setenv("LD_PRELOAD", library, 1);
        return;
    }
    if (strstr(old, library) == NULL && asprintf(&all, "%s:%s", library, old) > 0) {
        setenv("LD_PRELOAD", all, 1);
        free(all);
    }
}

static void start(const struct run_conf *conf, char **command)
{
    setenv("VOLNFS_SERVER", conf->address, 1);
    setenv("VOLNFS_VOLUMES", conf->volumes, 1);
    setenv("VOLNFS_RUN", conf->dir, 1);
    prepend_preload(conf->library);
    execvp(command[0], command);
    fprintf(stderr, "volnfs: %s: %s\n", command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

#define FORGET_MS 60000 /* those that waited are gone: the next to wait is told anew */

static struct {
    const struct run *run;
    const char *address;
    uint64_t said_ms; /* that the server is away; 0: not */
} watched;

/* Says, once for every time the server is away, that processes of the run wait for it, and when it answers again. */
static void watch(void)
{
    uint64_t away = __atomic_load_n(&watched.run->away_ms, __ATOMIC_RELAXED);
    uint64_t back = __atomic_load_n(&watched.run->back_ms, __ATOMIC_RELAXED), now = sys_now_ms();
    const char *quiet = getenv("VOLNFS_QUIET"), *text = NULL;

    if (watched.said_ms == 0 && away > back && now - away < FORGET_MS) {
        watched.said_ms = now;
        text = "does not answer; what needs it waits until it does (VOLNFS_SOFT=SECONDS would set an end to that)";
    } else if (watched.said_ms != 0 && back >= away) {
        watched.said_ms = 0;
        text = "answers again";
    } else if (watched.said_ms != 0 && now - away > FORGET_MS) {
        watched.said_ms = 0;
    }
    if (text != NULL && (quiet == NULL || quiet[0] == 0))
        fprintf(stderr, "volnfs: %s %s\n", watched.address, text);
}

/* A server that is away must not keep the launcher when there is nothing left to keep. */
static int idle(void)
{
    siginfo_t info = {0};

    watch();
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == child ? -EINTR : 0;
}

/* Waits for the command, keeping the lease and clearing up after killed processes. Returns its wait status. */
static int keep(struct nfs_client *client, struct run *run, const char *address)
{
    int status = 0;

    watched.run = run;
    watched.address = address;
    rpc_idle_hook = idle;
    for (;;) {
        struct timespec span = {.tv_sec = 1};
        sigset_t set;
        pid_t pid = waitpid(child, &status, WNOHANG);

        if (pid == child || (pid < 0 && errno != EINTR)) {
            rpc_idle_hook = NULL;
            watch();
            hold_reap(&run->holds, client, 0);
            return status;
        }
        watch();
        nfs_client_renew(client, false);
        hold_reap(&run->holds, client, 0);
        /* SIGCHLD is blocked: it is taken here. */
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigtimedwait(&set, NULL, &span);
    }
}

static int run_command(struct run_conf *conf, struct nfs_client *client, struct run *run, char **command)
{
    sigset_t set, old;
    int status;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &old);
    child = fork();
    if (child < 0)
        return cli_fail("cannot start a process");
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &old, NULL);
        start(conf, command);
    }
    pass_signals();
    status = keep(client, run, conf->address);
    if (WIFSIGNALED(status))
        return 128 + WTERMSIG(status);
    return WEXITSTATUS(status);
}

static int fail(const char *what, int err)
{
    if (err == -EBADMSG)
        fprintf(stderr, "volnfs: %s; 'volnfs token' makes one\n", what);
    else
        fprintf(stderr, "volnfs: %s: %s\n", what, strerror(-err));
    return EXIT_FAILURE;
}

static int run_all(struct run_conf *conf, char **command)
{
    struct nfs_client *client = NULL;
    struct run *run = NULL;
    const char *why = NULL;
    char host[64];
    unsigned port;
    int err, status = EXIT_FAILURE;

    err = resolve_server(conf->server, conf->address, sizeof(conf->address));
    if (err != 0)
        return EXIT_FAILURE;
    err = run_parse_server(conf->address, host, sizeof(host), &port);
    if (err != 0)
        return fail(conf->server, err);
    if (conf->volumes[0] == 0) {
        err = nfs_client_open(&client, host, port, 10000, NULL);
        if (err == 0)
            err = list_volumes(conf, client);
        nfs_client_close(client);
        client = NULL;
        if (err != 0)
            return fail(conf->user, err);
    }
    err = run_make(conf->volumes, &run, conf->dir, sizeof(conf->dir), &why);
    if (err != 0)
        return fail(why, err);
    err = nfs_client_open(&client, host, port, 10000, &run->nfs);
    if (err == 0)
        nfs_client_set_recover(client, hold_recover, &run->holds);
    for (unsigned i = 0; err == 0 && i < SHIM_MOUNTS && run->mounts[i].len != 0; i++) {
        err = make_volume(client, &run->mounts[i]);
        if (err == -EIO) {
            fprintf(stderr, "volnfs: no NFS server answers at %s: %s; is volnfsd running there? --server names another\n",
                    conf->address, strerror(ECONNREFUSED));
            goto out;
        } else if (err != 0 && mount_by_token(&run->mounts[i])) {
            fprintf(stderr, "volnfs: the token for %s: %s at %s\n", run->mounts[i].path,
                    err == -ENOENT   ? "mistyped, revoked, or of something that is gone,"
                    : err == -EACCES ? "expired"
                                     : strerror(-err),
                    conf->address);
            goto out;
        } else if (err == -EACCES || (err == -ENOENT && run->mounts[i].readonly)) {
            fprintf(stderr, "volnfs: %s at %s: not there for this machine: it does not exist, or no grant gives it (see "
                    "'volnfs help grant')\n", run->mounts[i].remote, conf->address);
            goto out;
        } else if (err != 0) {
            fprintf(stderr, "volnfs: %s at %s: ", run->mounts[i].remote, conf->address);
        }
    }
    if (err != 0) {
        fprintf(stderr, "%s\n", strerror(-err));
        goto out;
    }
    status = run_command(conf, client, run, command);
out:
    nfs_client_close(client);
    run_remove(conf->dir);
    return status;
}

static int add_volume(struct run_conf *conf, const char *text)
{
    size_t at = strlen(conf->volumes);
    const char *user = conf->user != NULL ? conf->user : getenv("USER");
    bool whole = strcspn(text, "/") < strcspn(text, "=");

    if (strchr(text, ';') != NULL) {
        fprintf(stderr, "volnfs: %s: not USER/VOLUME[:ro][=PATH]\n", text);
        return EXIT_USAGE;
    }
    if (!whole && user == NULL) {
        fprintf(stderr, "volnfs: whose volume is %s? Say USER/VOLUME, or -u USER ($USER is not set)\n", text);
        return EXIT_USAGE;
    }
    if ((size_t)snprintf(conf->volumes + at, sizeof(conf->volumes) - at, "%s%s%s%s", at > 0 ? ";" : "",
                         whole ? "" : user, whole ? "" : "/", text) >= sizeof(conf->volumes) - at) {
        fprintf(stderr, "volnfs: too many volumes\n");
        return EXIT_USAGE;
    }
    return 0;
}

/* FILE[:ro][=PATH]; by itself it is shown at /volumes and the file's name up to a dot. */
static int add_token(struct run_conf *conf, const char *text)
{
    size_t at = strlen(conf->volumes), len = strcspn(text, "="), room = sizeof(conf->volumes) - at;
    const char *equal = text[len] != 0 ? text + len : NULL, *base;
    char file[PATH_MAX], real[PATH_MAX];
    bool ro = len > 3 && memcmp(text + len - 3, ":ro", 3) == 0;

    len -= ro ? 3 : 0;
    if (len == 0 || len >= sizeof(file)) {
        fprintf(stderr, "volnfs: --token-file needs FILE[:ro][=PATH]\n");
        return EXIT_USAGE;
    }
    memcpy(file, text, len);
    file[len] = 0;
    if (realpath(file, real) == NULL) {
        fprintf(stderr, "volnfs: %s: %s\n", file, strerror(errno));
        return EXIT_FAILURE;
    }
    base = strrchr(file, '/') != NULL ? strrchr(file, '/') + 1 : file;
    if (strpbrk(real, "=;") != NULL ||
        (size_t)snprintf(conf->volumes + at, room, "%s@%s%s%s%.*s", at > 0 ? ";" : "", real, ro ? ":ro" : "",
                         equal != NULL ? equal : "=/volumes/",
                         equal != NULL ? 0 : (int)strcspn(base, "."), base) >= room) {
        fprintf(stderr, "volnfs: %s: this name cannot be used here\n", file);
        return EXIT_USAGE;
    }
    return 0;
}

int cmd_run(struct cli *cli, int argc, char **argv)
{
    static const struct option longs[] = {{"server", required_argument, NULL, 's'},
                                          {"volume", required_argument, NULL, 'v'},
                                          {"user", required_argument, NULL, 'u'},
                                          {"token-file", required_argument, NULL, 't'},
                                          {0}};
    struct run_conf *conf = calloc(1, sizeof(*conf));
    int opt, status = 0;

    if (conf == NULL)
        return cli_fail("out of memory");
    conf->server = getenv("VOLNFS_SERVER");
    while ((opt = cli_getopt(cli, argc, argv, "+s:v:u:t:", longs, &status)) != -1) {
        switch (opt) {
        case 's':
            conf->server = optarg;
            break;
        case 'u':
            conf->user = optarg;
            break;
        case 't':
            status = add_token(conf, optarg);
            if (status != 0)
                goto out;
            break;
        case 'v':
            status = add_volume(conf, optarg);
            if (status != 0)
                goto out;
            break;
        default:
            goto out;
        }
    }
    if (conf->server == NULL)
        conf->server = "127.0.0.1:2049";
    if (conf->volumes[0] == 0 && conf->user == NULL && getenv("VOLNFS_TOKEN_FILE") != NULL &&
        (status = add_token(conf, getenv("VOLNFS_TOKEN_FILE"))) != 0)
        goto out;
    status = EXIT_USAGE;
    if (optind >= argc || (conf->volumes[0] == 0 && conf->user == NULL)) {
        fputs("volnfs: run needs a volume (-v USER/VOLUME), a token (-t FILE) or a user (-u USER), and a command\n", stderr);
        goto out;
    }
    status = EXIT_FAILURE;
    if (find_library(conf->library, sizeof(conf->library)) != 0) {
        fprintf(stderr, "volnfs: the preload library is not at %s; VOLNFS_PRELOAD may name it\n", conf->library);
        goto out;
    }
    status = run_all(conf, argv + optind);
out:
    free(conf);
    return status;
}
