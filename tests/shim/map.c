/* SPDX-License-Identifier: Apache-2.0
 * map: mmap private, shared, read-only; growth, MAP_FIXED, msync, mremap, partial munmap, mprotect, fork.
 */
#include "tests/shim/suite.h"

#include <setjmp.h>
#include <sys/mman.h>

#define PAGE 4096L

static int make(const char *name, long size)
{
    char *data = malloc((size_t)size);
    int fd = open(P(name), O_RDWR | O_CREAT | O_TRUNC, 0644);

    suite_fill(data, (size_t)size, 0);
    if (write(fd, data, (size_t)size) != size)
        suite_say("cannot fill %s", name);
    free(data);
    return fd;
}

static bool file_is(const char *name, long size)
{
    char *data = malloc((size_t)size + 1);
    int fd = open(P(name), O_RDONLY);
    bool same = read(fd, data, (size_t)size + 1) == size && suite_filled(data, (size_t)size, 0);

    close(fd);
    free(data);
    return same;
}

#define MAPPED(call) suite_say("%s = %s", #call, (m = (call)) == MAP_FAILED ? strerrorname_np(errno) : "mapped")

static void private_(void)
{
    char *m;
    int fd = make("f", 3 * PAGE + 100);

    MAPPED(mmap(NULL, 3 * PAGE + 100, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    VAL(suite_filled(m, 3 * PAGE + 100, 0));
    VAL(m[3 * PAGE + 100]);
    m[5] = '!';
    VAL(file_is("f", 3 * PAGE + 100));
    VAL(close(fd));
    VAL(m[5]);
    VAL(suite_filled(m + PAGE, 2 * PAGE, PAGE));
    VAL(munmap(m, 3 * PAGE + 100));
    VAL(file_is("f", 3 * PAGE + 100));
    fd = open(P("f"), O_RDONLY);
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE));
    VAL(suite_filled(m, PAGE, 2 * PAGE));
    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, PAGE));
    m[0] ^= 1;
    VAL(file_is("f", 3 * PAGE + 100));
}

static void shared(void)
{
    char *m, buf[16] = "";
    int fd = make("f", 2 * PAGE), pid;

    MAPPED(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memcpy(m + 10, "by map", 6);
    VAL(msync(m, 2 * PAGE, MS_SYNC));
    VAL(pread(fd, buf, 6, 10));
    suite_bytes("read after msync", buf, 6);
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDONLY);

        VAL(pread(own, buf, 6, 10));
        suite_bytes("child's read", buf, 6);
        suite_bytes("child's map", m + 10, 6);
        memcpy(m + 100, "by child", 8);
        msync(m, PAGE, MS_SYNC);
        _exit(0);
    }
    suite_wait("child", pid);
    suite_bytes("parent's map", m + 100, 8);
    memcpy(m + PAGE, "at munmap", 9);
    VAL(munmap(m, 2 * PAGE));
    VAL(pread(fd, buf, 9, PAGE));
    suite_bytes("read after munmap", buf, 9);
    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memcpy(m, "at fsync", 8);
    VAL(fsync(fd));
    VAL(close(fd));
    pid = fork();
    if (pid == 0) {
        fd = open(P("f"), O_RDONLY);
        VAL(pread(fd, buf, 8, 0));
        suite_bytes("child", buf, 8);
        _exit(0);
    }
    suite_wait("child", pid);
    /* written after close, left to exit */
    pid = fork();
    if (pid == 0) {
        fd = open(P("f"), O_RDWR);
        MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        close(fd);
        memcpy(m + 200, "at exit", 7);
        exit(0);
    }
    suite_wait("child", pid);
    fd = open(P("f"), O_RDONLY);
    VAL(pread(fd, buf, 7, 200));
    suite_bytes("after exit", buf, 7);
}

/* What is written by write() is seen in a map made before, at least after msync or a new map; and the other way. */
static void coherent(void)
{
    char *m, buf[16] = "";
    int fd = make("f", PAGE);

    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    VAL(m[0]);
    VAL(pwrite(fd, "written", 7, 50));
    suite_bytes("map after pwrite", m + 50, 7);
    memcpy(m + 60, "mapped", 6);
    VAL(pread(fd, buf, 6, 60));
    suite_bytes("pread after map", buf, 6);
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0));
    suite_bytes("second map", m + 50, 16);
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
    suite_bytes("private map", m + 50, 16);
}

static void refused(void)
{
    void *m;
    int r, w, d;

    make("f", PAGE);
    r = open(P("f"), O_RDONLY);
    w = open(P("f"), O_WRONLY);
    d = open(P(""), O_RDONLY);
    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, r, 0));
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, r, 0));
    VAL(mprotect(m, PAGE, PROT_READ | PROT_WRITE));
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, w, 0));
    MAPPED(mmap(NULL, PAGE, PROT_WRITE, MAP_SHARED, w, 0));
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, d, 0));
    MAPPED(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, r, 0));
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, r, 100));
    MAPPED(mmap(NULL, PAGE, PROT_READ, 0, r, 0));
    MAPPED(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 99, 0));
    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_EXEC, MAP_PRIVATE, r, 0));
    VAL(msync((char *)m + 1, PAGE, MS_SYNC));
}

static sigjmp_buf jump;

static void on_signal(int number)
{
    siglongjmp(jump, number);
}

static const char *touch(volatile char *at)
{
    int number = sigsetjmp(jump, 1);

    if (number == 0) {
        (void)*at;
        return "readable";
    }
    return number == SIGBUS ? "SIGBUS" : number == SIGSEGV ? "SIGSEGV" : "?";
}

static void growth(void)
{
    char *m;
    int fd = make("f", PAGE);

    signal(SIGBUS, on_signal);
    signal(SIGSEGV, on_signal);
    MAPPED(mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    suite_say("page 0 %s", touch(m));
    suite_say("page 2 %s", touch(m + 2 * PAGE));
    VAL(ftruncate(fd, 4 * PAGE));
    suite_say("page 2 after growing %s", touch(m + 2 * PAGE));
    memcpy(m + 3 * PAGE, "grown", 5);
    VAL(msync(m, 4 * PAGE, MS_SYNC));
    char buf[8] = "";
    VAL(pread(fd, buf, 5, 3 * PAGE));
    suite_bytes("grown", buf, 5);
    VAL(ftruncate(fd, PAGE));
    suite_say("page 2 after cutting %s", touch(m + 2 * PAGE));
    VAL(munmap(m, 4 * PAGE));
    suite_say("page 0 after munmap %s", touch(m));
    VAL(lseek(fd, 0, SEEK_END));
}

static void parts(void)
{
    char *m, *base, buf[16] = "";
    int fd = make("f", 4 * PAGE);

    base = mmap(NULL, 8 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(mmap(base + PAGE, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0));
    VAL(m == base + PAGE);
    VAL(suite_filled(m, 4 * PAGE, 0));
    memcpy(m + PAGE, "second", 6);
    memcpy(m + 3 * PAGE, "fourth", 6);
    VAL(munmap(m + PAGE, PAGE)); /* from the middle */
    VAL(pread(fd, buf, 6, PAGE));
    suite_bytes("unmapped page", buf, 6);
    suite_bytes("kept page", m + 3 * PAGE, 6);
    VAL(msync(m + 2 * PAGE, 2 * PAGE, MS_SYNC));
    VAL(pread(fd, buf, 6, 3 * PAGE));
    suite_bytes("synced page", buf, 6);
    VAL(msync(m, 4 * PAGE, MS_SYNC));
    VAL(mprotect(m + 3 * PAGE, PAGE, PROT_READ));
    /* over a part of it something else */
    VAL(mmap(m + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m + 2 * PAGE);
    memcpy(m + 2 * PAGE, "anonymous", 9);
    VAL(munmap(m, 4 * PAGE));
    VAL(pread(fd, buf, 9, 2 * PAGE));
    char want[9];
    suite_fill(want, 9, 2 * PAGE);
    VAL(memcmp(buf, want, 9));
}

static void remapped(void)
{
    char *m, buf[16] = "";
    int fd = make("f", 4 * PAGE);

    MAPPED(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    memcpy(m, "before", 6);
    MAPPED(mremap(m, PAGE, 4 * PAGE, MREMAP_MAYMOVE));
    if (m == MAP_FAILED)
        return;
    suite_bytes("moved", m, 6);
    VAL(suite_filled(m + PAGE, 3 * PAGE, PAGE));
    memcpy(m + 2 * PAGE, "after", 5);
    VAL(msync(m, 4 * PAGE, MS_SYNC));
    VAL(pread(fd, buf, 5, 2 * PAGE));
    suite_bytes("written", buf, 5);
    MAPPED(mremap(m, 4 * PAGE, PAGE, 0));
    memcpy(m, "shrunk", 6);
    VAL(munmap(m, PAGE));
    VAL(pread(fd, buf, 6, 0));
    suite_bytes("written", buf, 6);
}

/* A large map that is filled piece by piece, read here and there, and by system calls. */
static void large(void)
{
    long size = 24 << 20, wrong = 0;
    char *m;
    int fd = make("f", size), out;

    MAPPED(mmap(NULL, (size_t)size, PROT_READ, MAP_SHARED, fd, 0));
    for (long at = size - PAGE; at > 0; at -= 1234567)
        wrong += !suite_filled(m + at, 64, at);
    VAL(wrong);
    out = open(L("out"), O_RDWR | O_CREAT, 0644);
    VAL(write(out, m, (size_t)size)); /* the kernel reads the map */
    VAL(suite_filled(m, (size_t)size, 0));
    VAL(munmap(m, (size_t)size));
    MAPPED(mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0));
    VAL(suite_filled(m, (size_t)size, 0));
    VAL(madvise(m, (size_t)size, MADV_DONTNEED));
    VAL(madvise(m, (size_t)size, MADV_WILLNEED));
    VAL(suite_filled(m + 5000000, 100000, 5000000));
    int copy = open(P("copy"), O_RDWR | O_CREAT, 0644);
    VAL(write(copy, m, (size_t)size)); /* ours reads ours */
    VAL(munmap(m, (size_t)size));
    VAL(file_is("copy", size));
    MAPPED(mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, copy, 0));
    for (long at = 0; at < size; at += 1 << 20)
        memcpy(m + at + 77, "mark", 4);
    VAL(munmap(m, (size_t)size));
    long marks = 0;
    for (long at = 0; at < size; at += 1 << 20) {
        char buf[4];

        marks += pread(copy, buf, 4, at + 77) == 4 && memcmp(buf, "mark", 4) == 0;
    }
    VAL(marks);
}

static void between(void)
{
    int fd = make("f", PAGE), go[2], back[2], pid;
    volatile char *m;

    pipe(go);
    pipe(back);
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDWR);
        volatile char *mine = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);

        mine[0] = 'C';
        suite_tell(back[1]);
        suite_await(go[0]);
        suite_say("child sees %c", mine[1]);
        _exit(0);
    }
    m = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    suite_await(back[0]);
    suite_say("parent sees %c", m[0]);
    m[1] = 'P';
    suite_tell(go[1]);
    suite_wait("child", pid);
}

/* A process that maps a short file sees what another maps beyond its end after that was moved. */
static void grown(void)
{
    const long far = 30l << 20;
    int fd = make("f", PAGE), go[2], back[2], pid;
    volatile char *m;
    char buf[8] = "";

    pipe(go);
    pipe(back);
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDWR);
        volatile char *mine = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, own, 0);

        mine[0] = 'C';
        suite_tell(back[1]);
        suite_await(go[0]);
        VAL(pread(own, buf, 4, far));
        suite_bytes("child reads", buf, 4);
        VAL(pwrite(own, "near", 4, far + 8));
        mine[1] = 'D';
        VAL(msync((char *)mine, PAGE, MS_SYNC));
        _exit(0);
    }
    suite_await(back[0]);
    VAL(ftruncate(fd, far + 2 * PAGE));
    m = mmap(NULL, (size_t)(far + 2 * PAGE), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memcpy((char *)m + far, "afar", 4);
    suite_tell(go[1]);
    suite_wait("child", pid);
    suite_bytes("parent sees", (char *)m + far, 12);
    suite_bytes("and", (char *)m, 2);
}

SUITE_GROUP(map) = {{"private", private_}, {"shared", shared},     {"coherent", coherent}, {"refused", refused},
                    {"growth", growth},    {"parts", parts},       {"remap", remapped},    {"large", large},
                    {"between", between},  {"grown", grown},       {NULL, NULL}};
