/* SPDX-License-Identifier: Apache-2.0
 * open: flags, refusals, O_EXCL, O_TMPFILE, O_PATH, O_DIRECTORY, O_NOFOLLOW, openat, openat2, creat.
 */
#include "tests/shim/suite.h"

#include <limits.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

static void refused(void)
{
    char name[300];

    suite_make(P("f"), "abc");
    mkdir(P("d"), 0755);
    OK(open(P("none"), O_RDONLY));
    OK(open(P("none/f"), O_RDONLY));
    OK(open(P("f/x"), O_RDONLY));
    OK(open(P("f/"), O_RDONLY));
    OK(open(P("d"), O_WRONLY));
    OK(open(P("d"), O_RDWR));
    OK(open(P("d"), O_RDONLY | O_CREAT, 0644));
    OK(open(P("d"), O_RDWR | O_CREAT, 0644));
    OK(open(P("new/"), O_RDWR | O_CREAT, 0644));
    OK(open(P("f"), O_RDONLY | O_DIRECTORY));
    OK(open(P("d"), O_RDONLY | O_DIRECTORY));
    OK(open(P("none/new"), O_RDWR | O_CREAT, 0644));
    OK(open("", O_RDONLY));
    OK(openat(AT_FDCWD, (const char *)1, O_RDONLY));
    memset(name, 'n', 255);
    name[255] = 0;
    OK(open(P(name), O_RDWR | O_CREAT, 0644));
    memset(name, 'n', 256);
    name[256] = 0;
    OK(open(P(name), O_RDWR | O_CREAT, 0644));
    OK(open(P(name), O_RDONLY));
    OK(openat(12345, "f", O_RDONLY));
    OK(openat(-5, P("f"), O_RDONLY));
    suite_list(P("d"));
}

static void create(void)
{
    struct stat st;
    int fd;

    fd = OK(open(P("a"), O_RDONLY | O_CREAT, 0640));
    fstat(fd, &st);
    suite_stat_show("a", &st);
    VAL(write(fd, "x", 1));
    close(fd);
    OK(open(P("a"), O_RDWR | O_CREAT | O_EXCL, 0640));
    OK(open(P("b"), O_WRONLY | O_CREAT | O_EXCL, 0600));
    suite_lstat(P("b"));
    umask(077);
    OK(creat(P("c"), 0777));
    suite_lstat(P("c"));
    umask(0);
    OK(creat(P("d"), 06777));
    suite_lstat(P("d"));
    umask(022);
    suite_make(P("e"), "hello");
    OK(creat(P("e"), 0600));
    suite_lstat(P("e"));
    fd = OK(open(P("readonly"), O_RDWR | O_CREAT, 0400));
    VAL(write(fd, "still writable", 14));
    VAL(pread(fd, (char[20]){0}, 20, 0));
    suite_lstat(P("readonly"));
    fd = OK(open(P("none"), O_RDWR | O_CREAT, 0000));
    VAL(write(fd, "abc", 3));
    suite_lstat(P("none"));
    suite_list(P(""));
}

static void modes(void)
{
    char c;
    int r, w, rw;

    suite_make(P("f"), "abc");
    r = OK(open(P("f"), O_RDONLY));
    w = OK(open(P("f"), O_WRONLY));
    rw = OK(open(P("f"), O_RDWR));
    VAL(write(r, "x", 1));
    VAL(read(w, &c, 1));
    VAL(write(rw, "x", 1));
    VAL(read(rw, &c, 1));
    VAL(ftruncate(r, 0));
    VAL(ftruncate(w, 2));
    VAL(pread(w, &c, 1, 0));
    VAL(pwrite(r, "x", 1, 0));
    VAL(fcntl(r, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    VAL(fcntl(w, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    VAL(fcntl(rw, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    VAL(fcntl(rw, F_GETFD));
    VAL(fcntl(open(P("f"), O_RDONLY | O_CLOEXEC), F_GETFD));
    VAL(fcntl(open(P("f"), O_RDWR | O_APPEND | O_NONBLOCK), F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    suite_show(P("f"));
    r = open(P(""), O_RDONLY | O_DIRECTORY);
    VAL(fcntl(r, F_GETFL) & (O_ACCMODE | O_DIRECTORY));
    VAL(read(r, &c, 1));
    VAL(write(r, &c, 1));
    VAL(pread(r, &c, 1, 0));
    VAL(ftruncate(r, 0));
}

static void truncating(void)
{
    int fd;

    suite_make(P("f"), "abcdef");
    fd = OK(open(P("f"), O_RDWR | O_TRUNC));
    VAL(lseek(fd, 0, SEEK_END));
    VAL(write(fd, "xy", 2));
    suite_show(P("f"));
    OK(open(P("f"), O_RDONLY));
    suite_show(P("f"));
    OK(open(P("f"), O_WRONLY | O_TRUNC | O_APPEND));
    suite_show(P("f"));
    OK(open(P("none"), O_WRONLY | O_TRUNC));
    suite_make(P("g"), "gg");
    OK(open(P("g"), O_RDWR | O_CREAT | O_TRUNC, 0600));
    suite_lstat(P("g"));
    VAL(lseek(fd, 0, SEEK_CUR));
    VAL(pread(fd, (char[8]){0}, 8, 0));
}

static void append(void)
{
    int a, b;

    a = OK(open(P("log"), O_WRONLY | O_CREAT | O_APPEND, 0644));
    b = OK(open(P("log"), O_RDWR | O_APPEND));
    VAL(write(a, "one\n", 4));
    VAL(write(b, "two\n", 4));
    VAL(write(a, "three\n", 6));
    VAL(lseek(a, 0, SEEK_CUR));
    VAL(lseek(b, 0, SEEK_CUR));
    VAL(lseek(b, 2, SEEK_SET));
    VAL(write(b, "four\n", 5));
    VAL(lseek(b, 0, SEEK_CUR));
    VAL(pwrite(b, "five\n", 5, 0)); /* Linux appends */
    VAL(lseek(b, 0, SEEK_CUR));
    VAL(fcntl(b, F_SETFL, 0));
    VAL(fcntl(b, F_GETFL) & O_APPEND);
    VAL(pwrite(b, "ONE\n", 4, 0));
    VAL(fcntl(b, F_SETFL, O_APPEND));
    VAL(write(b, "six\n", 4));
    suite_show(P("log"));
}

static void tmpfile_(void)
{
    struct stat st;
    char name[64];
    int fd;

    fd = OK(open(P(""), O_TMPFILE | O_RDWR, 0600));
    if (fd >= 0) {
        VAL(write(fd, "hidden", 6));
        fstat(fd, &st);
        suite_stat_show("unnamed", &st);
        snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
        OK(linkat(AT_FDCWD, name, AT_FDCWD, P("named"), AT_SYMLINK_FOLLOW));
        suite_show(P("named"));
    }
    OK(open(P("none"), O_TMPFILE | O_RDWR, 0600));
    OK(open(P(""), O_TMPFILE | O_RDONLY, 0600));
    suite_list(P(""));
}

/* One that will never have a name, as tmpfile() and Python make them. */
static void unnamed(void)
{
    struct stat st;
    char buf[16], name[64];
    int fd, again;
    pid_t pid;

    mkdir(P("d"), 0755);
    suite_make(P("f"), "x");
    fd = OK(open(P("d"), O_TMPFILE | O_EXCL | O_RDWR, 0640));
    suite_list(P("d"));
    VAL(write(fd, "hidden", 6));
    VAL(lseek(fd, 0, SEEK_SET));
    VAL(read(fd, buf, sizeof(buf)));
    suite_bytes("read", buf, 6);
    VAL(fstat(fd, &st));
    suite_stat_show("unnamed", &st);
    VAL(fsync(fd));
    VAL(ftruncate(fd, 3));
    snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    VAL(linkat(AT_FDCWD, name, AT_FDCWD, P("named"), AT_SYMLINK_FOLLOW));
    suite_list(P(""));
    again = OK(open(name, O_RDONLY));
    VAL(read(again, buf, sizeof(buf)));
    VAL(rmdir(P("d")));
    pid = fork();
    if (pid == 0) {
        VAL(pwrite(fd, "child", 5, 0));
        _exit(0);
    }
    suite_wait("child", pid);
    VAL(pread(fd, buf, sizeof(buf), 0));
    VAL(close(fd));
    VAL(pread(again, buf, sizeof(buf), 0));
    VAL(close(again));
    OK(open(P(""), O_TMPFILE | O_EXCL | O_WRONLY, 0600));
    OK(open(P("f"), O_TMPFILE | O_EXCL | O_RDWR, 0600));
    OK(open(P("none"), O_TMPFILE | O_EXCL | O_RDWR, 0600));
    OK(open(P(""), O_TMPFILE | O_EXCL | O_RDONLY, 0600));
    suite_list(P(""));
}

static void path(void)
{
    struct stat st;
    char c;
    int fd, dir;

    suite_make(P("f"), "abc");
    symlink("f", P("s"));
    fd = OK(open(P("f"), O_PATH));
    VAL(read(fd, &c, 1));
    VAL(write(fd, &c, 1));
    VAL(lseek(fd, 0, SEEK_SET));
    VAL(ftruncate(fd, 0));
    VAL(fchmod(fd, 0600));
    VAL(fsync(fd));
    VAL(fcntl(fd, F_GETFL) & (O_ACCMODE | O_PATH));
    VAL(fstat(fd, &st));
    suite_stat_show("fstat", &st);
    VAL(fstatat(fd, "", &st, AT_EMPTY_PATH));
    OK(openat(fd, "", O_RDONLY));
    dir = OK(open(P(""), O_PATH));
    fd = OK(openat(dir, "f", O_RDONLY));
    VAL(read(fd, &c, 1));
    VAL(fchdir(dir));
    fd = OK(open("f", O_RDONLY));
    VAL(read(fd, &c, 1));
    VAL(close(dir));
    fd = OK(open(P("s"), O_PATH | O_NOFOLLOW));
    VAL(fstat(fd, &st));
    suite_stat_show("the link", &st);
    VAL(readlinkat(fd, "", (char[9]){0}, 9));
    OK(open(P("none"), O_PATH));
    OK(open(P("f"), O_PATH | O_DIRECTORY));
}

static void nofollow(void)
{
    suite_make(P("f"), "abc");
    mkdir(P("d"), 0755);
    OK(symlink("f", P("s")));
    OK(symlink("none", P("dangling")));
    OK(symlink("loop", P("loop")));
    OK(symlink("d", P("ds")));
    OK(open(P("s"), O_RDONLY));
    OK(open(P("s"), O_RDONLY | O_NOFOLLOW));
    OK(open(P("ds"), O_RDONLY | O_NOFOLLOW | O_DIRECTORY));
    OK(open(P("ds"), O_RDONLY | O_DIRECTORY));
    OK(open(P("dangling"), O_RDONLY));
    OK(open(P("loop"), O_RDONLY));
    OK(open(P("loop/x"), O_RDONLY));
    OK(open(P("s"), O_RDWR | O_CREAT | O_EXCL, 0644));
    OK(open(P("dangling"), O_RDWR | O_CREAT | O_EXCL, 0644));
    OK(open(P("dangling"), O_RDWR | O_CREAT | O_NOFOLLOW, 0644));
    OK(open(P("dangling"), O_RDWR | O_CREAT, 0644));
    suite_list(P(""));
}

static void at(void)
{
    int d, f;

    mkdir(P("d"), 0755);
    suite_make(P("d/f"), "in d");
    d = OK(open(P("d"), O_RDONLY));
    f = OK(openat(d, "f", O_RDONLY));
    VAL(read(f, (char[8]){0}, 8));
    OK(openat(d, "g", O_RDWR | O_CREAT, 0644));
    OK(openat(d, "../d/./g", O_RDONLY));
    OK(openat(d, "..", O_RDONLY | O_DIRECTORY));
    OK(openat(d, ".", O_RDONLY));
    OK(openat(f, "x", O_RDONLY));
    OK(openat(d, P("d/f"), O_RDONLY));
    OK(rename(P("d"), P("e")));
    OK(openat(d, "f", O_RDONLY));
    OK(openat(d, "h", O_RDWR | O_CREAT, 0644));
    suite_list(P("e"));
    close(d);
    OK(openat(d, "f", O_RDONLY));
}

static void at2(void)
{
    struct open_how how = {.flags = O_RDONLY};
    int d;

    mkdir(P("d"), 0755);
    suite_make(P("f"), "abc");
    suite_make(P("d/f"), "abc");
    symlink("../f", P("d/up"));
    symlink("f", P("d/s"));
    d = open(P("d"), O_RDONLY);
    OK(syscall(SYS_openat2, d, "f", &how, sizeof(how)));
    OK(syscall(SYS_openat2, AT_FDCWD, P("f"), &how, sizeof(how)));
    how.resolve = RESOLVE_BENEATH;
    OK(syscall(SYS_openat2, d, "f", &how, sizeof(how)));
    OK(syscall(SYS_openat2, d, "../f", &how, sizeof(how)));
    OK(syscall(SYS_openat2, d, "up", &how, sizeof(how)));
    OK(syscall(SYS_openat2, d, P("f"), &how, sizeof(how)));
    how.resolve = RESOLVE_NO_SYMLINKS;
    OK(syscall(SYS_openat2, d, "s", &how, sizeof(how)));
    OK(syscall(SYS_openat2, d, "f", &how, sizeof(how)));
    how.resolve = 0;
    how.flags = O_RDWR | O_CREAT;
    how.mode = 0600;
    OK(syscall(SYS_openat2, d, "new", &how, sizeof(how)));
    how.flags = O_RDONLY;
    OK(syscall(SYS_openat2, d, "f", &how, sizeof(how)));
    OK(syscall(SYS_openat2, d, "f", &how, 8));
    suite_lstat(P("d/new"));
}

static void slashes(void)
{
    char path[8192];
    size_t n;

    mkdir(P("d"), 0755);
    suite_make(P("d/f"), "abc");
    OK(open(P("d//f"), O_RDONLY));
    OK(open(P("d/./f"), O_RDONLY));
    OK(open(P("d/../d/f"), O_RDONLY));
    OK(open(P(".//d///.//f"), O_RDONLY));
    OK(open(P("none/../d/f"), O_RDONLY));
    OK(open(P("d/f/../f"), O_RDONLY));
    OK(open(P("d/"), O_RDONLY));
    OK(open(P("d/."), O_RDONLY));
    OK(open(P("d/.."), O_RDONLY));
    n = (size_t)snprintf(path, sizeof(path), "//%s", P("d/f"));
    OK(open(path, O_RDONLY));
    n = (size_t)snprintf(path, sizeof(path), "%s", P("d"));
    while (n < 4000)
        n += (size_t)snprintf(path + n, sizeof(path) - n, "/.");
    snprintf(path + n, sizeof(path) - n, "/f");
    OK(open(path, O_RDONLY));
    while (n < 5000)
        n += (size_t)snprintf(path + n, sizeof(path) - n, "/.");
    OK(open(path, O_RDONLY));
}

SUITE_GROUP(open) = {{"refused", refused}, {"create", create},     {"modes", modes}, {"trunc", truncating},
                     {"append", append},   {"tmpfile", tmpfile_}, {"unnamed", unnamed}, {"path", path},   {"nofollow", nofollow},
                     {"at", at},           {"at2", at2},           {"slashes", slashes}, {NULL, NULL}};
