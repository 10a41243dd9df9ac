/* SPDX-License-Identifier: Apache-2.0
 * fds: dup, dup2, dup3, fcntl, close, close_range, descriptor numbers, /proc/self/fd.
 */
#include "tests/shim/suite.h"

#include <dirent.h>
#include <sys/ioctl.h>
#include <sys/resource.h>

static void dups(void)
{
    char buf[16] = "";
    int a, b, c;

    suite_make(P("f"), "0123456789");
    a = open(P("f"), O_RDWR);
    b = OK(dup(a));
    VAL(read(a, buf, 3));
    VAL(read(b, buf, 3));
    suite_bytes("b", buf, 3);
    VAL(lseek(a, 0, SEEK_CUR));
    VAL(close(a));
    VAL(read(b, buf, 3));
    suite_bytes("b", buf, 3);
    VAL(dup2(b, 50));
    VAL(dup2(b, b) == b);
    VAL(dup2(99, 51));
    VAL(dup2(b, -1));
    VAL(dup2(b, 5000));
    VAL(dup3(b, 52, O_CLOEXEC));
    VAL(fcntl(52, F_GETFD));
    VAL(dup3(b, b, 0));
    VAL(dup3(b, 53, 0x1234));
    c = open(L("local"), O_RDWR | O_CREAT, 0644);
    VAL(dup2(c, 50)); /* replaces ours by a local one */
    VAL(write(50, "local", 5));
    suite_show(L("local"));
    VAL(dup2(b, c) == c); /* and the reverse */
    VAL(lseek(c, 1, SEEK_SET));
    VAL(write(c, "X", 1));
    suite_show(P("f"));
    suite_show(L("local"));
    VAL(fcntl(b, F_DUPFD, 100));
    VAL(fcntl(b, F_DUPFD_CLOEXEC, 110));
    VAL(fcntl(110, F_GETFD));
    VAL(fcntl(100, F_SETFD, FD_CLOEXEC));
    VAL(fcntl(100, F_GETFD));
    VAL(fcntl(b, F_GETFD));
    VAL(fcntl(b, F_SETFL, O_APPEND | O_NONBLOCK));
    VAL(fcntl(100, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    VAL(fcntl(b, F_DUPFD, -1));
    VAL(fcntl(b, 9999));
    VAL(fcntl(99, F_GETFL));
}

static void numbers(void)
{
    int a, b, c, d;

    suite_make(P("f"), "x");
    a = open(P("f"), O_RDONLY);
    b = open(P("f"), O_RDONLY);
    c = open(P(""), O_RDONLY);
    d = open("/dev/null", O_RDONLY);
    VAL(b - a);
    VAL(c - b);
    VAL(d - c);
    close(b);
    VAL(open(P("f"), O_RDWR) - a);
    close(a);
    close(c);
    VAL(open("/dev/null", O_RDONLY) == a);
    VAL(open(P("f"), O_RDONLY) == c);
    close(0);
    VAL(open(P("f"), O_RDONLY));
    VAL(read(0, (char[4]){0}, 4));
    close(0);
    VAL(open("/dev/null", O_RDONLY));
}

static void limit(void)
{
    struct rlimit few = {40, 1024};
    int n = 0;

    suite_make(P("f"), "x");
    setrlimit(RLIMIT_NOFILE, &few);
    while (open(P("f"), O_RDONLY) >= 0)
        n++;
    VAL(n > 20);
    OK(open(P("f"), O_RDONLY));
    VAL(dup(1));
    close(20);
    OK(open(P("f"), O_RDONLY));
    suite_lstat(P("f")); /* needs no descriptor */
    VAL(mkdir(P("d"), 0755));
}

static void ranges(void)
{
    suite_make(P("f"), "abc");
    for (int i = 20; i < 30; i++)
        dup2(open(P("f"), O_RDONLY), i);
    VAL(close_range(22, 25, 0));
    for (int i = 20; i < 30; i++)
        suite_say("%d: %s", i, fcntl(i, F_GETFD) < 0 ? strerrorname_np(errno) : "open");
    VAL(read(21, (char[4]){0}, 4));
    VAL(close_range(27, 29, CLOSE_RANGE_CLOEXEC));
    VAL(fcntl(28, F_GETFD));
    VAL(close_range(30, 20, 0));
    VAL(close_range(3, 800, 0));
    OK(open(P("f"), O_RDONLY)); /* the client goes on after losing all it had */
    suite_show(P("f"));
    closefrom(3);
    suite_make(P("g"), "after");
}

/* What fails changes nothing: the file is still open, and lives on when its name goes. */
static void ranges_refused(void)
{
    char buf[8] = "";
    int fd;

    suite_make(P("f"), "still");
    fd = OK(open(P("f"), O_RDWR));
    VAL(close_range((unsigned)fd, (unsigned)fd, 8));
    VAL(close_range((unsigned)fd, (unsigned)fd, CLOSE_RANGE_UNSHARE | 64));
    VAL(close_range((unsigned)fd + 1, (unsigned)fd, 0));
    VAL(unlink(P("f")));
    VAL(pread(fd, buf, sizeof(buf), 0));
    suite_bytes("read", buf, 5);
    VAL(close_range((unsigned)fd, (unsigned)fd, CLOSE_RANGE_UNSHARE));
    VAL(close(fd));
    VAL(dup2(0, 70000));
    VAL(close_range(3, 899, 0));
    VAL(close_range(901, ~0u, 0)); /* 900 is the suite's */
    VAL(close(70000));
    VAL(close(0));
}

static void proc(void)
{
    char name[64], target[4096];
    ssize_t n;
    struct stat a, b;
    int fd, d;

    suite_make(P("f"), "0123456789");
    fd = open(P("f"), O_RDWR);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    n = VAL(readlink(name, target, sizeof(target) - 1) > 0) ? readlink(name, target, sizeof(target) - 1) : 0;
    target[n] = 0;
    suite_say("is %s", target);
    VAL(stat(name, &a));
    VAL(fstat(fd, &b));
    VAL(a.st_ino == b.st_ino && a.st_size == b.st_size);
    VAL(lseek(fd, 4, SEEK_SET));
    d = OK(open(name, O_RDONLY));
    VAL(lseek(d, 0, SEEK_CUR));
    VAL(read(d, target, 3));
    snprintf(name, sizeof(name), "/dev/fd/%d", fd);
    d = OK(open(name, O_RDONLY));
    VAL(read(d, target, 3));
    d = open(P(""), O_RDONLY);
    snprintf(name, sizeof(name), "/proc/self/fd/%d/f", d);
    suite_make(P("f"), "by proc");
    OK(open(name, O_RDONLY));
    VAL(stat(name, &a));
    snprintf(name, sizeof(name), "/proc/self/fd/%d/new", d);
    OK(open(name, O_RDWR | O_CREAT, 0644));
    VAL(chdir(P("")));
    n = readlink("/proc/self/cwd", target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = 0;
    suite_say("cwd is %s", target);
    suite_list(P(""));
}

static void ioctls(void)
{
    int n = -7, fd;

    suite_make(P("f"), "0123456789");
    fd = open(P("f"), O_RDONLY);
    VAL(ioctl(fd, FIONREAD, &n));
    VAL(n);
    VAL(isatty(fd));
    VAL(ioctl(fd, TIOCGWINSZ, &n));
    VAL(ioctl(fd, FIOCLEX));
    VAL(fcntl(fd, F_GETFD));
    VAL(ioctl(fd, FIONCLEX));
    VAL(fcntl(fd, F_GETFD));
    VAL(ioctl(fd, 0x12345678, &n));
}

SUITE_GROUP(fds) = {{"dups", dups}, {"numbers", numbers}, {"limit", limit},  {"ranges", ranges},
                    {"proc", proc}, {"ioctls", ioctls},   {"refused", ranges_refused}, {NULL, NULL}};
