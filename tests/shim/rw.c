/* SPDX-License-Identifier: Apache-2.0
 * rw: read, write and their vectored and positioned forms; what one descriptor writes others see.
 */
#include "tests/shim/suite.h"

#include <limits.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/uio.h>

static void plain(void)
{
    char buf[64] = "";
    int fd;

    fd = OK(open(P("f"), O_RDWR | O_CREAT, 0644));
    VAL(read(fd, buf, 10));
    VAL(write(fd, "hello world", 11));
    VAL(read(fd, buf, 10));
    VAL(lseek(fd, 0, SEEK_SET));
    VAL(read(fd, buf, 5));
    suite_bytes("read", buf, 5);
    VAL(read(fd, buf, 64));
    suite_bytes("rest", buf, 6);
    VAL(read(fd, buf, 64));
    VAL(read(fd, buf, 0));
    VAL(write(fd, buf, 0));
    VAL(lseek(fd, 3, SEEK_SET));
    VAL(write(fd, "LO W", 4));
    suite_show(P("f"));
    VAL(lseek(fd, 20, SEEK_SET));
    VAL(write(fd, "far", 3));
    suite_show(P("f"));
    VAL(close(fd));
    VAL(read(fd, buf, 1));
    VAL(write(fd, buf, 1));
    VAL(close(fd));
}

static void positioned(void)
{
    char buf[64] = "";
    int fd;

    suite_make(P("f"), "0123456789");
    fd = OK(open(P("f"), O_RDWR));
    VAL(pread(fd, buf, 4, 3));
    suite_bytes("pread", buf, 4);
    VAL(lseek(fd, 0, SEEK_CUR));
    VAL(pread(fd, buf, 4, 8));
    VAL(pread(fd, buf, 4, 10));
    VAL(pread(fd, buf, 4, 1000));
    VAL(pread(fd, buf, 4, -1));
    VAL(pwrite(fd, "x", 1, -1));
    VAL(pwrite(fd, "abc", 3, 5));
    VAL(pwrite(fd, "end", 3, 12));
    VAL(lseek(fd, 0, SEEK_CUR));
    suite_show(P("f"));
}

static void vectors(void)
{
    char a[4], b[4], c[16];
    struct iovec out[3] = {{.iov_base = "ab", .iov_len = 2}, {.iov_base = "", .iov_len = 0}, {.iov_base = "cdefg", .iov_len = 5}};
    struct iovec in[3] = {{.iov_base = a, .iov_len = 3}, {.iov_base = b, .iov_len = 2}, {.iov_base = c, .iov_len = 16}};
    int fd;

    fd = OK(open(P("f"), O_RDWR | O_CREAT, 0644));
    VAL(writev(fd, out, 3));
    VAL(writev(fd, out, 0));
    VAL(writev(fd, out, -1));
    VAL(writev(fd, out, IOV_MAX + 1));
    VAL(pwritev(fd, out, 3, 10));
    VAL(lseek(fd, 0, SEEK_SET));
    VAL(readv(fd, in, 3));
    suite_bytes("a", a, 3);
    suite_bytes("b", b, 2);
    suite_bytes("c", c, 12);
    VAL(readv(fd, in, 3));
    VAL(preadv(fd, in, 2, 1));
    suite_bytes("a", a, 3);
    VAL(preadv(fd, in, 2, -1));
    VAL(preadv2(fd, in, 2, 2, 0));
    suite_bytes("a", a, 3);
    VAL(lseek(fd, 4, SEEK_SET));
    VAL(preadv2(fd, in, 1, -1, 0));
    VAL(lseek(fd, 0, SEEK_CUR));
    suite_bytes("a", a, 3);
    VAL(pwritev2(fd, out, 1, 0, RWF_APPEND));
    VAL(lseek(fd, 0, SEEK_CUR));
    VAL(pwritev2(fd, out, 1, 1, RWF_DSYNC));
    suite_show(P("f"));
}

static void bad_memory(void)
{
    int fd;

    suite_make(P("f"), "0123456789");
    fd = OK(open(P("f"), O_RDWR));
    VAL(read(fd, NULL, 4));
    VAL(write(fd, NULL, 4));
    VAL(pread(fd, (void *)16, 4, 0));
    VAL(lseek(fd, 0, SEEK_CUR));
    VAL(readv(fd, (void *)16, 1));
    suite_show(P("f"));
    VAL(fstat(fd, (void *)16));
    VAL(stat(P("f"), (void *)16));
}

static void large(void)
{
    size_t size = 5 << 20;
    char *out = malloc(size), *in = malloc(size + 1);
    int fd;

    fd = OK(open(P("f"), O_RDWR | O_CREAT, 0644));
    suite_fill(out, size, 0);
    VAL(write(fd, out, size));
    VAL(lseek(fd, 0, SEEK_SET));
    VAL(read(fd, in, size + 1));
    suite_say("same %d", suite_filled(in, size, 0));
    for (long at = 0; at < 300000; at += 4099) {
        memset(in, 0, 5000);
        if (pread(fd, in, 5000, at) != 5000 || !suite_filled(in, 5000, at))
            suite_say("differs at %ld", at);
    }
    /* odd offsets and sizes, by another descriptor, read back by the first */
    int other = open(P("g"), O_RDWR | O_CREAT, 0644), reader = open(P("g"), O_RDONLY);
    for (long at = 0, n = 1; at < 400000; at += n, n = n * 3 % 9973 + 1)
        if (pwrite(other, out + at, (size_t)n, at) != n)
            suite_say("short at %ld", at);
    VAL(lseek(other, 0, SEEK_END) >= 400000);
    VAL(read(reader, in, 400000));
    suite_say("same %d", suite_filled(in, 400000, 0));
    for (long at = 399000; at > 0; at -= 7919) /* backwards */
        pwrite(other, "!", 1, at);
    VAL(fsync(other));
    VAL(pread(reader, in, 400000, 0));
    long marks = 0;
    for (long at = 399000; at > 0; at -= 7919)
        marks += in[at] == '!';
    VAL(marks);
    VAL(close(other));
    free(out);
    free(in);
}

static void seen(void)
{
    char buf[32] = "";
    int a, b;

    a = open(P("f"), O_RDWR | O_CREAT, 0644);
    b = open(P("f"), O_RDWR);
    VAL(write(a, "first", 5));
    VAL(read(b, buf, 32));
    suite_bytes("b sees", buf, 5);
    VAL(write(b, " second", 7));
    VAL(pread(a, buf, 32, 0));
    suite_bytes("a sees", buf, 12);
    VAL(ftruncate(a, 3));
    VAL(pread(b, buf, 32, 0));
    VAL(lseek(b, 0, SEEK_END));
    pid_t pid = fork();
    if (pid == 0) {
        int c = open(P("f"), O_WRONLY | O_APPEND);
        write(c, "child", 5);
        _exit(0);
    }
    suite_wait("child", pid);
    VAL(pread(b, buf, 32, 0));
    suite_bytes("b sees", buf, 8);
    VAL(lseek(a, 0, SEEK_END));
    /* and what is written but not synced is seen by other processes, as on any local file system */
    VAL(pwrite(a, "PARENT", 6, 0));
    pid = fork();
    if (pid == 0) {
        suite_show(P("f"));
        suite_lstat(P("f"));
        _exit(0);
    }
    suite_wait("child", pid);
    VAL(fsync(a));
    VAL(fdatasync(a));
    VAL(sync_file_range(a, 0, 0, SYNC_FILE_RANGE_WRITE));
    VAL(syncfs(a));
    VAL(fsync(open(P(""), O_RDONLY)));
}

static void unlinked(void)
{
    char buf[32] = "";
    struct stat st;
    int fd;

    fd = OK(open(P("f"), O_RDWR | O_CREAT, 0644));
    VAL(write(fd, "before", 6));
    VAL(unlink(P("f")));
    VAL(write(fd, "after", 5));
    VAL(pread(fd, buf, 32, 0));
    suite_bytes("read", buf, 11);
    VAL(fstat(fd, &st));
    suite_stat_show("unlinked", &st);
    VAL(ftruncate(fd, 3));
    VAL(fchmod(fd, 0600));
    VAL(fsync(fd));
    suite_make(P("f"), "another");
    VAL(pread(fd, buf, 32, 0));
    suite_bytes("read", buf, 3);
    VAL(close(fd));
    suite_show(P("f"));
    suite_list(P(""));
}

/* Writes of the same bytes one after the other: the last one counts. */
static void over(void)
{
    static char a[8192], b[sizeof(a)];
    int fd = OK(open(P("f"), O_RDWR | O_CREAT, 0644)), wrong = 0;

    for (int i = 0; i < 300; i++) {
        for (int k = 0; k < 8; k++) {
            memset(a, 'a' + (i + k) % 26, sizeof(a));
            if (pwrite(fd, a, sizeof(a), 100 * (k & 1)) != (ssize_t)sizeof(a))
                wrong++;
        }
        if (pread(fd, b, sizeof(b), 100) != (ssize_t)sizeof(b) || memcmp(a, b, sizeof(b)) != 0)
            wrong++;
    }
    VAL(wrong);
    VAL(close(fd));
}

/* One round of told: waits its turn, sees what the other wrote, writes. How much was wrong. */
static int turn(int fd, int wait, int tell, int i, bool look)
{
    char a[6000], b[sizeof(a)], go;
    int wrong = 0;

    if (wait >= 0 && read(wait, &go, 1) != 1)
        return 1;
    memset(a, 'a' + (i + 25) % 26, sizeof(a));
    if (look && (pread(fd, b, sizeof(b), 0) != (ssize_t)sizeof(b) || memcmp(a, b, sizeof(b)) != 0))
        wrong++;
    memset(a, 'a' + i % 26, sizeof(a));
    wrong += pwrite(fd, a, sizeof(a), 0) != (ssize_t)sizeof(a);
    return wrong + (write(tell, "x", 1) != 1);
}

/* Two processes that have a file open write and tell each other: each sees at once what the other wrote. */
static void told(void)
{
    int there[2], back[2], wrong = 0, status = -1, fd;
    char open_there;
    pid_t pid;

    suite_make(P("f"), "");
    VAL(pipe(there) | pipe(back));
    pid = fork();
    fd = open(P("f"), O_RDWR);
    if (pid == 0) {
        wrong += write(back[1], "o", 1) != 1;
        for (int i = 1; i < 400; i += 2)
            wrong += turn(fd, there[0], back[1], i, true);
        _exit(wrong < 100 ? wrong : 100);
    }
    wrong += read(back[0], &open_there, 1) != 1;
    for (int i = 0; i < 400; i += 2)
        wrong += turn(fd, i > 0 ? back[0] : -1, there[1], i, i > 0);
    VAL(wrong);
    VAL(waitpid(pid, &status, 0) == pid);
    VAL(status);
    VAL(close(fd));
}

SUITE_GROUP(rw) = {{"plain", plain}, {"positioned", positioned}, {"vectors", vectors},   {"bad_memory", bad_memory},
                   {"large", large}, {"seen", seen},             {"unlinked", unlinked},
                   {"over", over},   {"told", told},               {NULL, NULL}};
