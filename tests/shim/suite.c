/* SPDX-License-Identifier: Apache-2.0
 * The suite's main: `suite DIR LOCALDIR [GROUP[.CASE]...]`, and the helpers of all groups.
 *
 * `suite helper NAME ...` is what the cases about exec start; see exec.c.
 */
#include "tests/shim/suite.h"

#include <dirent.h>
#include <limits.h>
#include <stdarg.h>
#include <sys/resource.h>

#define SUITE_OUT 900 /* the output's descriptor: out of the way of cases about descriptor numbers */
#define SUITE_SECONDS 120 /* thousands of files on a slow and busy machine */

const char *suite_self;
static const char *suite_dir, *suite_local;
static char suite_folder[PATH_MAX], suite_lfolder[PATH_MAX];

int suite_helper(int argc, char **argv);

static const struct {
    const char *name;
    const struct suite_case *cases;
} groups[] = {
    {"open", suite_open},     {"rw", suite_rw},           {"seek", suite_seek},       {"stat", suite_stat},
    {"access", suite_access}, {"dirs", suite_dirs},       {"unlink", suite_unlink},   {"rename", suite_rename},
    {"link", suite_link},     {"attr", suite_attr},       {"trunc", suite_trunc},     {"readdir", suite_readdir},
    {"fds", suite_fds},       {"inherit", suite_inherit}, {"locks", suite_locks},     {"map", suite_map}, {"lazy", suite_lazy}, {"stored", suite_stored},
    {"exec", suite_exec},     {"path", suite_path},       {"poll", suite_poll},       {"copy", suite_copy},
    {"misc", suite_misc},     {"threads", suite_threads}, {"stdio", suite_stdio},
};

static const char *in_folder(const char *folder, const char *name)
{
    static __thread char ring[8][PATH_MAX * 2];
    static __thread unsigned next;
    char *out = ring[next++ % 8];

    snprintf(out, sizeof(ring[0]), "%s%s%s", folder, name[0] != 0 ? "/" : "", name);
    return out;
}

const char *P(const char *name)
{
    return in_folder(suite_folder, name);
}

const char *L(const char *name)
{
    return in_folder(suite_lfolder, name);
}

/* One write per line, so that lines of several processes stay whole. The folder's own name is taken out. */
static void put(const char *line)
{
    char out[8192];
    size_t n = 0, dir = strlen(suite_dir), local = strlen(suite_local);

    while (*line != 0 && n < sizeof(out) - 8) {
        if (strncmp(line, suite_dir, dir) == 0) {
            memcpy(out + n, "DIR", 3);
            n += 3;
            line += dir;
        } else if (strncmp(line, suite_local, local) == 0) {
            memcpy(out + n, "LOCAL", 5);
            n += 5;
            line += local;
        } else {
            out[n++] = *line++;
        }
    }
    out[n++] = '\n';
    if (write(SUITE_OUT, out, n) < 0)
        _exit(99);
}

void suite_say(const char *format, ...)
{
    char line[4096];
    va_list ap;

    memcpy(line, "  ", 2);
    va_start(ap, format);
    vsnprintf(line + 2, sizeof(line) - 2, format, ap);
    va_end(ap);
    put(line);
}

static const char *error_name(int err)
{
    const char *name = strerrorname_np(err);

    return name != NULL ? name : "errno ?";
}

long suite_value(const char *text, long value)
{
    int err = errno;

    if (value == -1)
        suite_say("%s = %s", text, error_name(err));
    else
        suite_say("%s = %ld", text, value);
    errno = err;
    return value;
}

int suite_ok(const char *text, long value)
{
    int err = errno;

    suite_say("%s = %s", text, value < 0 ? error_name(err) : "ok");
    errno = err;
    return (int)value;
}

void suite_bytes(const char *text, const void *data, long size)
{
    const unsigned char *byte = data;
    char out[600];
    size_t n = 0;

    for (long i = 0; i < size && n < 500; i++) {
        long run = 1;

        while (i + run < size && byte[i + run] == byte[i])
            run++;
        if (byte[i] >= 32 && byte[i] < 127)
            out[n++] = (char)byte[i];
        else
            n += (size_t)snprintf(out + n, sizeof(out) - n, "\\%02x", byte[i]);
        if (run > 3) {
            n += (size_t)snprintf(out + n, sizeof(out) - n, "{%ld}", run);
            i += run - 1;
        }
    }
    out[n] = 0;
    suite_say("%s: '%s' %ld", text, out, size);
}

void suite_make(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    size_t size = strlen(text);

    if (fd < 0 || write(fd, text, size) != (ssize_t)size || close(fd) != 0)
        suite_say("cannot make %s: %s", path, error_name(errno));
}

void suite_show(const char *path)
{
    char data[4096];
    ssize_t n;
    int fd = open(path, O_RDONLY);

    if (fd < 0) {
        suite_say("%s: %s", path, error_name(errno));
        return;
    }
    n = read(fd, data, sizeof(data));
    if (n < 0)
        suite_say("%s: read: %s", path, error_name(errno));
    else
        suite_bytes(path, data, n);
    close(fd);
}

void suite_stat_show(const char *text, const struct stat *st)
{
    static const char types[] = "?pc?d?b?-?l?s???";

    suite_say("%s: %c%04o links %lu size %ld uid %u gid %u%s", text, types[st->st_mode >> 12 & 15], st->st_mode & 07777,
              (unsigned long)st->st_nlink, S_ISDIR(st->st_mode) ? 0 : (long)st->st_size, st->st_uid, st->st_gid,
              st->st_size == 0 && st->st_blocks != 0 && !S_ISDIR(st->st_mode) ? " blocks" : "");
}

void suite_lstat(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        suite_say("%s: %s", path, error_name(errno));
    else
        suite_stat_show(path, &st);
}

void suite_list(const char *path)
{
    static const char types[] = "?pc?d?b?-?l?s???";
    struct dirent **list;
    char line[4000];
    size_t n = 0;
    int count = scandir(path, &list, NULL, alphasort);

    if (count < 0) {
        suite_say("%s: %s", path, error_name(errno));
        return;
    }
    line[0] = 0;
    for (int i = 0; i < count; i++) {
        if (n < sizeof(line))
            n += (size_t)snprintf(line + n, sizeof(line) - n, " %s:%c", list[i]->d_name, types[list[i]->d_type & 15]);
        free(list[i]);
    }
    free(list);
    suite_say("list %s:%s", path, line);
}

void suite_fill(void *data, size_t size, long offset)
{
    unsigned char *out = data;

    for (size_t i = 0; i < size; i++) {
        size_t at = (size_t)offset + i;

        out[i] = (unsigned char)(at ^ at >> 8 ^ at >> 16 ^ at >> 24);
    }
}

bool suite_filled(const void *data, size_t size, long offset)
{
    const unsigned char *in = data;

    for (size_t i = 0; i < size; i++) {
        size_t at = (size_t)offset + i;

        if (in[i] != (unsigned char)(at ^ at >> 8 ^ at >> 16 ^ at >> 24))
            return false;
    }
    return true;
}

void suite_wait(const char *text, pid_t pid)
{
    int status;

    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        suite_say("%s: no child: %s", text, error_name(errno));
    else if (WIFSIGNALED(status))
        suite_say("%s: killed by signal %d", text, WTERMSIG(status));
    else
        suite_say("%s: exit %d", text, WEXITSTATUS(status));
}

void suite_tell(int fd)
{
    if (write(fd, "x", 1) != 1)
        suite_say("tell: %s", error_name(errno));
}

void suite_await(int fd)
{
    char byte;

    if (read(fd, &byte, 1) != 1)
        suite_say("await: %s", error_name(errno));
}

static void remove_tree(const char *path)
{
    char command[PATH_MAX + 64];

    if (strlen(path) < 5)
        return;
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    if (system(command) != 0)
        suite_say("cannot remove %s", path);
}

/* A signal would not do: a client that hangs may have it blocked. */
static bool ended_in_time(pid_t pid, int *status)
{
    for (int i = 0; i < SUITE_SECONDS * 500; i++) {
        if (waitpid(pid, status, WNOHANG) == pid)
            return true;
        usleep(2000);
    }
    kill(-pid, SIGKILL);
    waitpid(pid, status, 0);
    return false;
}

static void run_case(const char *group, const struct suite_case *c)
{
    char name[256];
    pid_t pid;
    int status;

    snprintf(name, sizeof(name), "%s.%s", group, c->name);
    snprintf(suite_folder, sizeof(suite_folder), "%s/%s", suite_dir, name);
    snprintf(suite_lfolder, sizeof(suite_lfolder), "%s/%s", suite_local, name);
    snprintf(name, sizeof(name), "%s.%s:", group, c->name);
    put(name);
    if (mkdir(suite_folder, 0755) != 0 || mkdir(suite_lfolder, 0755) != 0)
        suite_say("no folder: %s", error_name(errno));
    pid = fork();
    if (pid == 0) {
        setpgid(0, 0);
        c->run();
        exit(0);
    }
    if (!ended_in_time(pid, &status))
        suite_say("did not end in %d seconds", SUITE_SECONDS);
    else if (status != 0)
        suite_say("ended by %s %d", WIFSIGNALED(status) ? "signal" : "status",
                  WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    kill(-pid, SIGKILL); /* what a case left behind */
    remove_tree(suite_folder);
    remove_tree(suite_lfolder);
}

static bool wanted(const char *group, const char *name, int argc, char **argv)
{
    size_t n = strlen(group);

    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], group) == 0)
            return true;
        if (strncmp(argv[i], group, n) == 0 && argv[i][n] == '.' && strcmp(argv[i] + n + 1, name) == 0)
            return true;
    }
    return argc == 0;
}

int main(int argc, char **argv)
{
    struct rlimit files = {1024, 1024};

    if (argc >= 3 && strcmp(argv[1], "helper") == 0) {
        suite_dir = getenv("SUITE_DIR");
        suite_local = getenv("SUITE_LOCAL");
        if (suite_dir == NULL || suite_local == NULL || dup2(1, SUITE_OUT) < 0 ||
            fcntl(SUITE_OUT, F_SETFD, FD_CLOEXEC) != 0)
            return 2;
        return suite_helper(argc - 2, argv + 2);
    }
    if (argc < 3 || argv[1][0] != '/' || argv[2][0] != '/') {
        fprintf(stderr, "usage: suite DIR LOCALDIR [GROUP[.CASE]...]\n");
        return 2;
    }
    suite_self = realpath(argv[0], NULL);
    suite_dir = argv[1];
    suite_local = argv[2];
    setenv("SUITE_DIR", suite_dir, 1);
    setenv("SUITE_LOCAL", suite_local, 1);
    umask(022);
    signal(SIGPIPE, SIG_IGN);
    setrlimit(RLIMIT_NOFILE, &files);
    if (dup2(1, SUITE_OUT) < 0 || fcntl(SUITE_OUT, F_SETFD, FD_CLOEXEC) != 0)
        return 2;
    for (size_t g = 0; g < sizeof(groups) / sizeof(groups[0]); g++)
        for (const struct suite_case *c = groups[g].cases; c->name != NULL; c++)
            if (wanted(groups[g].name, c->name, argc - 3, argv + 3))
                run_case(groups[g].name, c);
    return 0;
}
