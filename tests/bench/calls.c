/* SPDX-License-Identifier: Apache-2.0 */
/*
 * calls: nanoseconds per system call on local files and pipes. Lives as long as its standard input and does what that
 * says, so that a plain one and others under the preload library can take short turns (tests/bench/shim).
 *
 *     calls FILE [MAPPED]       FILE has at least 4096 bytes; MAPPED is kept mapped for reading meanwhile
 *
 * It first prints the calls' names, a line each, then an empty line. A line "NUMBER COUNT" makes call NUMBER (from 0) COUNT
 * times; the answer is a line with the nanoseconds that each took.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int file_fd, null_fd, zero_fd, pipe_fd[2];
static const char *name;
static char buf[4096];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void do_read(void)
{
    if (pread(file_fd, buf, sizeof(buf), 0) != sizeof(buf))
        fail("pread");
}

static void do_write(void)
{
    if (write(null_fd, buf, sizeof(buf)) != sizeof(buf))
        fail("write");
}

static void do_stat(void)
{
    struct stat st;

    if (stat(name, &st) != 0)
        fail("stat");
}

static void do_fstat(void)
{
    struct stat st;

    if (fstat(file_fd, &st) != 0)
        fail("fstat");
}

static void do_open_close(void)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || close(fd) != 0)
        fail("open");
}

static void do_open_read_close(void)
{
    int fd = open(name, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, buf, sizeof(buf)) != sizeof(buf) || close(fd) != 0)
        fail("open");
}

static void do_poll(void)
{
    struct pollfd p[3] = {{.fd = pipe_fd[0], .events = POLLIN}, {.fd = pipe_fd[1], .events = POLLOUT},
                          {.fd = file_fd, .events = POLLIN}};

    if (poll(p, 3, 0) < 0)
        fail("poll");
}

static void do_select(void)
{
    struct timeval none = {0, 0};
    fd_set in, out;

    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_SET(pipe_fd[0], &in);
    FD_SET(pipe_fd[1], &out);
    if (select(pipe_fd[1] + 1, &in, &out, NULL, &none) < 0)
        fail("select");
}

static void do_dup2(void)
{
    if (dup2(null_fd, zero_fd) < 0)
        fail("dup2");
}

static void do_mmap_munmap(void)
{
    void *at = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (at == MAP_FAILED || munmap(at, 65536) != 0)
        fail("mmap");
}

static void do_lseek(void)
{
    if (lseek(file_fd, 0, SEEK_SET) != 0)
        fail("lseek");
}

static void do_access(void)
{
    if (access(name, R_OK) != 0)
        fail("access");
}

static void do_access_missing(void)
{
    if (access("/nonexistent", R_OK) == 0)
        fail("access");
}

static const struct {
    const char *name;
    void (*run)(void);
} calls[] = {
    {"read", do_read},     {"write", do_write},   {"stat", do_stat},   {"fstat", do_fstat},
    {"open+close", do_open_close}, {"open+read+close", do_open_read_close}, {"poll", do_poll}, {"select", do_select}, {"dup2", do_dup2},
    {"mmap+munmap", do_mmap_munmap}, {"lseek", do_lseek}, {"access", do_access}, {"access, missing", do_access_missing},
};

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void map_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0 || mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
        fail(path);
    close(fd);
}

int main(int argc, char **argv)
{
    enum { WARM = 8 }; /* what others did to the caches is not the call's to pay */
    unsigned nr, count;
    char line[32];

    if (argc < 2)
        fail("calls FILE [MAPPED]");
    name = argv[1];
    file_fd = open(name, O_RDONLY | O_CLOEXEC);
    null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    if (file_fd < 0 || null_fd < 0 || zero_fd < 0 || pipe(pipe_fd) != 0)
        fail("open");
    if (argc > 2)
        map_file(argv[2]);
    for (unsigned i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
        puts(calls[i].name);
    puts("");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL) {
        double from;

        if (sscanf(line, "%u %u", &nr, &count) != 2 || nr >= sizeof(calls) / sizeof(calls[0]) || count == 0)
            fail("NUMBER COUNT");
        for (unsigned n = 0; n < WARM; n++)
            calls[nr].run();
        from = now_ns();
        for (unsigned n = 0; n < count; n++)
            calls[nr].run();
        printf("%.3f\n", (now_ns() - from) / count);
        fflush(stdout);
    }
    return 0;
}
