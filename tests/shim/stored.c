/* SPDX-License-Identifier: Apache-2.0
 * stored: large mappings that can write to the file, which the preload client fills where they are touched: what is
 * written is seen by read(), other mappings and other processes; system calls on them, fork, threads, cuts and growth,
 * parts, protections, moves.
 */
#include "tests/shim/suite.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define PAGE 4096L
#define GRAIN (2L << 20)
#define SIZE (12 * GRAIN + 5 * PAGE + 100)
#define RW (PROT_READ | PROT_WRITE)

#define MAPPED(call) suite_say("%s = %s", #call, (m = (call)) == MAP_FAILED ? strerrorname_np(errno) : "mapped")

/* A file that can be written to. */
static int make(const char *name, long size)
{
    char *data = malloc((size_t)GRAIN);
    int fd = open(P(name), O_RDWR | O_CREAT | O_TRUNC, 0644);

    for (long at = 0; at < size; at += GRAIN) {
        long part = size - at < GRAIN ? size - at : GRAIN;

        suite_fill(data, (size_t)part, at);
        if (write(fd, data, (size_t)part) != part)
            suite_say("cannot fill %s", name);
    }
    free(data);
    return fd;
}

static char *map_rw(int fd, long size)
{
    return mmap(NULL, (size_t)size, RW, MAP_SHARED, fd, 0);
}

/* What read() finds there. */
static void reads(const char *text, int fd, long at, long size)
{
    char buf[64] = "";

    suite_say("%s: %ld", text, (long)pread(fd, buf, (size_t)size, at));
    suite_bytes(text, buf, size);
}

static sigjmp_buf jump;

static void on_signal(int number)
{
    siglongjmp(jump, number);
}

static const char *touch(volatile char *at, bool write)
{
    int number = sigsetjmp(jump, 1);

    if (number == 0) {
        if (write)
            *at = 'w';
        else
            (void)*at;
        return write ? "writable" : "readable";
    }
    return number == SIGBUS ? "SIGBUS" : number == SIGSEGV ? "SIGSEGV" : "?";
}

static void handlers(void)
{
    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
}

/* Runs fn in a process of its own. */
static void other(const char *text, void (*fn)(void))
{
    int pid = fork();

    if (pid == 0) {
        fn();
        _exit(0);
    }
    suite_wait(text, pid);
}

static void plain(void)
{
    char *m;
    int fd = make("f", SIZE);

    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    memcpy(m + 3 * GRAIN - 5, "across two", 10);
    m[SIZE - 1] = '$';
    VAL(m[SIZE]);
    m[SIZE] = 'x'; /* behind the end, in its page */
    VAL(suite_filled(m + GRAIN, 1000, GRAIN));
    VAL(suite_filled(m, GRAIN, 0));
    reads("read", fd, 3 * GRAIN - 6, 12);
    VAL(msync(m, SIZE, MS_SYNC));
    VAL(msync(m + 5 * GRAIN, PAGE, MS_ASYNC));
    VAL(msync(m + 5 * GRAIN + 1, PAGE, MS_SYNC));
    VAL(lseek(fd, 0, SEEK_END));
    VAL(pwrite(fd, "by write", 8, 8 * GRAIN)); /* not touched yet */
    suite_bytes("map", m + 8 * GRAIN, 8);
    VAL(pwrite(fd, "by write", 8, GRAIN)); /* touched */
    suite_bytes("map", m + GRAIN, 8);
    memcpy(m + 8 * GRAIN + 3, "MAP", 3);
    reads("read", fd, 8 * GRAIN, 8);
    VAL(munmap(m, SIZE));
    reads("read", fd, 8 * GRAIN, 8);
    reads("end", fd, SIZE - 1, 4);
    VAL(close(fd));
    fd = open(P("f"), O_RDWR);
    MAPPED(mmap(NULL, SIZE - GRAIN - PAGE, RW, MAP_SHARED, fd, GRAIN + PAGE));
    suite_bytes("map", m + 7 * GRAIN - PAGE, 8);
    VAL(suite_filled(m, 100, GRAIN + PAGE));
    memcpy(m + PAGE, "odd", 3);
    reads("read", fd, GRAIN + 2 * PAGE, 3);
    VAL(munmap(m, SIZE - GRAIN - PAGE));
}

static void looks(void)
{
    int fd = open(P("f"), O_RDONLY);
    char *m = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

    suite_bytes("other process maps", m + GRAIN, 6);
    suite_bytes("other process maps", m + 4 * GRAIN, 6);
    suite_bytes("other process maps", m + 7 * GRAIN, 6);
    reads("other process reads", open(P("f"), O_RDWR), 4 * GRAIN, 6);
}

static void forks(void)
{
    char *m;
    int fd = make("f", SIZE), pid;

    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    memcpy(m + GRAIN, "parent", 6);
    pid = fork();
    if (pid == 0) {
        suite_bytes("child sees", m + GRAIN, 6);
        memcpy(m + GRAIN, "CHILD", 5);
        memcpy(m + 4 * GRAIN, "child", 5);
        exit(3);
    }
    suite_wait("child", pid);
    suite_bytes("parent sees", m + GRAIN, 6);
    suite_bytes("parent sees", m + 4 * GRAIN, 6);
    memcpy(m + 7 * GRAIN, "after", 5); /* nobody has synced that when somebody else looks */
    other("other", looks);
    pid = _Fork();
    if (pid == 0) {
        memcpy(m + 5 * GRAIN, "_Fork", 5);
        _exit(4);
    }
    suite_wait("child", pid);
    suite_bytes("parent sees", m + 5 * GRAIN, 6);
    pid = vfork();
    if (pid == 0) {
        memcpy(m + 6 * GRAIN, "vfork", 5);
        _exit(5);
    }
    suite_wait("child", pid);
    suite_bytes("parent sees", m + 6 * GRAIN, 6);
    pid = fork();
    if (pid == 0) {
        execl("/bin/true", "true", NULL);
        _exit(9);
    }
    suite_wait("program", pid);
    memcpy(m + 4 * GRAIN, "AGAIN", 5);
    other("other", looks);
    reads("read", fd, 5 * GRAIN, 6);
}

static void between(void)
{
    char *m;
    int fd = make("f", SIZE), go[2], back[2], pid;

    pipe(go);
    pipe(back);
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDWR);

        m = map_rw(own, SIZE);
        memcpy(m + 2 * GRAIN, "child", 5);
        suite_tell(back[1]);
        suite_await(go[0]);
        suite_bytes("child sees", m + 3 * GRAIN, 6);
        suite_bytes("child sees", m + 2 * GRAIN, 6);
        reads("child reads", own, 3 * GRAIN, 6);
        memcpy(m + 9 * GRAIN, "late", 4);
        VAL(msync(m, SIZE, MS_SYNC));
        suite_tell(back[1]);
        suite_await(go[0]);
        suite_bytes("child sees", m + 9 * GRAIN, 6);
        _exit(0);
    }
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    suite_await(back[0]);
    suite_bytes("parent sees", m + 2 * GRAIN, 6);
    memcpy(m + 2 * GRAIN, "PARENT", 6);
    memcpy(m + 3 * GRAIN, "parent", 6);
    suite_tell(go[1]);
    suite_await(back[0]);
    suite_bytes("parent sees", m + 9 * GRAIN, 6);
    VAL(pwrite(fd, "written", 7, 9 * GRAIN));
    suite_tell(go[1]);
    suite_wait("child", pid);
    suite_bytes("parent sees", m + 9 * GRAIN, 7);
    VAL(munmap(m, SIZE));
}

/* Mappings that cannot write, made before and after, in this process and in another. */
static void readers(void)
{
    char *m, *before, *after, *own;
    int fd = make("f", SIZE), ro = open(P("f"), O_RDONLY), go[2], back[2], pid;

    pipe(go);
    pipe(back);
    pid = fork();
    if (pid == 0) {
        ro = open(P("f"), O_RDONLY);
        before = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, ro, 0);
        VAL(suite_filled(before, 3 * GRAIN, 0));
        suite_tell(back[1]);
        suite_await(go[0]);
        suite_bytes("child sees", before + 5 * GRAIN, 6);
        suite_bytes("child sees", before + 6 * GRAIN, 6);
        suite_bytes("child sees", before + GRAIN, 6); /* seen before there was a writer */
        suite_tell(back[1]);
        suite_await(go[0]);
        suite_bytes("child sees", before + 7 * GRAIN, 6);
        suite_bytes("child sees", before + 8 * GRAIN, 6);
        _exit(0);
    }
    before = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, ro, 0);
    own = mmap(NULL, SIZE, RW, MAP_PRIVATE, ro, 0);
    suite_await(back[0]);
    VAL(suite_filled(before, 4 * GRAIN, 0));
    VAL(suite_filled(own, 4 * GRAIN, 0));
    own[2 * GRAIN] = '+';
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    memcpy(m + GRAIN, "seen", 5);
    memcpy(m + 5 * GRAIN, "not se", 6);
    suite_bytes("before", before + GRAIN, 6);
    suite_bytes("before", before + 5 * GRAIN, 6);
    suite_bytes("private", own + 5 * GRAIN, 6);
    VAL(own[2 * GRAIN]);
    suite_bytes("before", before + 6 * GRAIN, 6);
    memcpy(m + 6 * GRAIN, "later.", 6); /* after a look at it */
    suite_bytes("before", before + 6 * GRAIN, 6);
    after = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, ro, 0);
    suite_bytes("after", after + 6 * GRAIN, 6);
    suite_bytes("after", after + GRAIN, 6);
    suite_tell(go[1]);
    suite_await(back[0]);
    VAL(suite_filled(after + 7 * GRAIN, 100, 7 * GRAIN));
    memcpy(m + 7 * GRAIN, "looked", 6);
    memcpy(m + 8 * GRAIN, "fresh.", 6);
    suite_bytes("after", after + 7 * GRAIN, 6);
    suite_tell(go[1]);
    suite_wait("child", pid);
    own = mmap(NULL, SIZE, RW, MAP_PRIVATE, ro, 0);
    suite_bytes("new private", own + 7 * GRAIN, 6);
    memcpy(own + 7 * GRAIN, "mine", 4);
    suite_bytes("map", m + 7 * GRAIN, 6);
    VAL(madvise(own + 7 * GRAIN, PAGE, MADV_DONTNEED));
    suite_bytes("new private", own + 7 * GRAIN, 6);
    VAL(munmap(m, SIZE));
    suite_bytes("after", after + 8 * GRAIN, 6);
    VAL(suite_filled(after + 10 * GRAIN, GRAIN, 10 * GRAIN));
}

/* The kernel and this library look at memory nobody has touched, and write to it. */
static void calls(void)
{
    char *m, buf[100];
    int fd = make("f", SIZE), out = open(L("out"), O_RDWR | O_CREAT, 0644), pair[2], mine, pid;
    struct iovec iov[2];
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};
    struct pollfd *set;
    struct stat *st;

    make("g", 5 * GRAIN);
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    VAL(pwrite(out, m + GRAIN - 10, 2 * GRAIN, 0));
    VAL(pread(out, m + 6 * GRAIN - 50, 2 * GRAIN, 0));
    VAL(suite_filled(m + 6 * GRAIN - 50, 2 * GRAIN, GRAIN - 10));
    VAL(suite_filled(m + 8 * GRAIN - 50, 50, 8 * GRAIN - 50));
    reads("read", fd, 6 * GRAIN - 53, 6);
    mine = open(P("g"), O_RDWR);
    VAL(pread(mine, m + 9 * GRAIN + 7, 100000, 2 * GRAIN)); /* ours into ours */
    VAL(suite_filled(m + 9 * GRAIN + 7, 100000, 2 * GRAIN));
    VAL(pwrite(mine, m + 10 * GRAIN, GRAIN, 0));
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    iov[0] = (struct iovec){m + 9 * GRAIN - 50, 100};
    iov[1] = (struct iovec){m + 11 * GRAIN, 50};
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    VAL(sendmsg(pair[0], &message, 0));
    VAL(read(pair[1], m + 3 * GRAIN - 20, 40));
    VAL(suite_filled(m + 3 * GRAIN - 20, 40, 9 * GRAIN - 50));
    VAL(recv(pair[1], m + 4 * GRAIN - 20, 60, 0));
    VAL(read(pair[1], buf, 100));
    VAL(suite_filled(buf, 50, 11 * GRAIN));
    VAL(mlock(m + 5 * GRAIN, 2 * PAGE));
    VAL(pread(fd, m + 10 * GRAIN, 100, 100)); /* the file into itself */
    VAL(suite_filled(m + 10 * GRAIN, 100, 100));
    VAL(munmap(m, SIZE));
    reads("read", fd, 4 * GRAIN - 20, 6);
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    strcpy(m + 2 * GRAIN - 3, P("g"));
    strcpy(m + 6 * GRAIN, "/bin/true");
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    OK(open(m + 2 * GRAIN - 3, O_RDONLY));
    st = (struct stat *)(m + 8 * GRAIN - 16);
    VAL(stat(P("g"), st));
    VAL(st->st_size);
    set = (struct pollfd *)(m + 3 * GRAIN - 4096); /* more than one page of them */
    for (int i = 0; i < 1024; i++)
        set[i] = (struct pollfd){.fd = i == 1023 ? out : -1, .events = POLLIN};
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    set = (struct pollfd *)(m + 3 * GRAIN - 4096);
    VAL(poll(set, 1024, 0));
    VAL(set[1023].revents);
    pid = fork();
    if (pid == 0) {
        execl(m + 6 * GRAIN, "true", NULL);
        _exit(9);
    }
    suite_wait("program", pid);
}

static void ends(void)
{
    char *m;
    int fd = make("f", SIZE), status;

    handlers();
    MAPPED(mmap(NULL, SIZE + 3 * GRAIN, RW, MAP_SHARED, fd, 0));
    suite_say("middle %s", touch(m + 5 * GRAIN, false));
    suite_say("last page %s", touch(m + SIZE, true));
    suite_say("behind %s", touch(m + ((SIZE + PAGE - 1) & -PAGE), false));
    suite_say("far behind %s", touch(m + SIZE + 2 * GRAIN, true));
    m[7 * GRAIN] = 'q';
    VAL(ftruncate(fd, 6 * GRAIN + 10)); /* shorter */
    suite_say("touched before %s", touch(m + 7 * GRAIN, false));
    suite_say("not touched %s", touch(m + 9 * GRAIN, true));
    suite_say("its page %s", touch(m + 6 * GRAIN + 20, false));
    suite_say("before it %s", touch(m + 4 * GRAIN, true));
    VAL(ftruncate(fd, SIZE + 2 * GRAIN)); /* longer */
    VAL(m[7 * GRAIN]);
    m[7 * GRAIN + 1] = 'r'; /* a granule that was there */
    m[9 * GRAIN + 1] = 's'; /* one that was not */
    m[SIZE + GRAIN] = 't';
    VAL(m[9 * GRAIN]);
    reads("read", fd, 7 * GRAIN, 3);
    VAL(msync(m, SIZE, MS_SYNC));
    VAL(munmap(m, SIZE + 3 * GRAIN));
    reads("read", fd, 7 * GRAIN, 3);
    reads("read", fd, 9 * GRAIN, 3);
    reads("read", fd, SIZE + GRAIN - 1, 3);
    reads("read", fd, 6 * GRAIN + 8, 6);
    MAPPED(mmap(NULL, SIZE + 3 * GRAIN, RW, MAP_SHARED, fd, 0));
    m[SIZE + 2 * GRAIN - 1] = 'e'; /* in the last page, which becomes one in the middle */
    VAL(pwrite(fd, "longer", 6, SIZE + 3 * GRAIN - 100000));
    suite_bytes("map", m + SIZE + 3 * GRAIN - 100000, 6);
    suite_bytes("map", m + SIZE + 2 * GRAIN - 2, 4);
    VAL(munmap(m, SIZE + 3 * GRAIN));
    VAL(close(fd));
    fd = open(P("f"), O_RDWR);
    reads("read", fd, SIZE + 2 * GRAIN - 2, 4);
    MAPPED(mmap(NULL, SIZE + 3 * GRAIN, RW, MAP_SHARED, fd, 0));
    signal(SIGBUS, SIG_DFL);
    if (fork() == 0) {
        m[2 * GRAIN] = 'y';
        m[SIZE + 3 * GRAIN - PAGE] = 1;
        _exit(0);
    }
    wait(&status);
    suite_say("signal %d", WTERMSIG(status));
    VAL(m[2 * GRAIN]);
}

/* Somebody else in the run cuts the file and makes it longer again; what is written then is found. */
static void cut_between(void)
{
    char *m;
    int fd = make("f", SIZE), go[2], back[2], pid;

    handlers();
    pipe(go);
    pipe(back);
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDWR);

        m = map_rw(own, SIZE);
        m[8 * GRAIN] = 'c';
        suite_await(go[0]);
        VAL(ftruncate(own, 3 * GRAIN));
        suite_tell(back[1]);
        suite_await(go[0]);
        VAL(ftruncate(own, SIZE));
        suite_tell(back[1]);
        suite_await(go[0]);
        suite_bytes("child sees", m + 8 * GRAIN, 4);
        suite_bytes("child sees", m + 10 * GRAIN, 4);
        reads("child reads", own, 10 * GRAIN, 4);
        _exit(0);
    }
    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    m[8 * GRAIN + 1] = 'p';
    suite_tell(go[1]);
    suite_await(back[0]);
    suite_say("cut %s", touch(m + 8 * GRAIN, false));
    suite_say("cut, not touched %s", touch(m + 10 * GRAIN, true));
    suite_tell(go[1]);
    suite_await(back[0]);
    suite_say("longer %s", touch(m + 8 * GRAIN, false));
    memcpy(m + 8 * GRAIN, "back", 4);
    memcpy(m + 10 * GRAIN, "BACK", 4);
    suite_tell(go[1]);
    suite_wait("child", pid);
    VAL(munmap(m, SIZE));
    VAL(close(fd));
    fd = open(P("f"), O_RDONLY);
    reads("read", fd, 8 * GRAIN, 5);
    reads("read", fd, 10 * GRAIN, 5);
}

/* Mappings that are larger than the file, which becomes longer later. */
static void grows(void)
{
    static const long sizes[] = {0, 100000, 3 * GRAIN};
    char *m;

    handlers();
    for (int i = 0; i < 3; i++) {
        int fd = make("f", sizes[i]);

        MAPPED(mmap(NULL, 1l << 40, RW, MAP_SHARED | MAP_NORESERVE, fd, 0));
        suite_say("behind %s", touch(m + 4 * GRAIN, false));
        VAL(ftruncate(fd, 8 * GRAIN));
        VAL(suite_filled(m, sizes[i], 0));
        memcpy(m + 4 * GRAIN, "grown", 5);
        memcpy(m + 8 * GRAIN - 5, "grown", 5);
        VAL(pwrite(fd, "appended", 8, 8 * GRAIN));
        suite_bytes("map", m + 8 * GRAIN, 8);
        memcpy(m + 8 * GRAIN, "A", 1);
        VAL(munmap(m, 1l << 40));
        reads("read", fd, 4 * GRAIN - 1, 7);
        reads("read", fd, 8 * GRAIN - 6, 14);
        VAL(close(fd));
    }
    {
        int fd = make("g", 0); /* small ones too */

        MAPPED(mmap(NULL, 4 * GRAIN, RW, MAP_SHARED, fd, 0));
        VAL(ftruncate(fd, 4 * GRAIN));
        m[3 * GRAIN] = 'G';
        VAL(munmap(m, 4 * GRAIN));
        reads("read", fd, 3 * GRAIN, 2);
    }
}

static void parts(void)
{
    char *m, *base;
    int fd = make("f", SIZE), ro = open(P("f"), O_RDONLY);

    handlers();
    base = mmap(NULL, SIZE + 4 * GRAIN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(mmap(base + 3 * PAGE, SIZE, RW, MAP_SHARED | MAP_FIXED, fd, 0));
    VAL(m == base + 3 * PAGE);
    memset(m + 2 * GRAIN, 'a', (size_t)(4 * GRAIN));
    VAL(munmap(m + 3 * GRAIN + PAGE, GRAIN));
    suite_say("gone %s", touch(m + 4 * GRAIN, false));
    reads("read", fd, 4 * GRAIN, 3);
    VAL(mmap(m + 5 * GRAIN, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m + 5 * GRAIN);
    memcpy(m + 5 * GRAIN, "anonymous", 9);
    reads("read", fd, 5 * GRAIN, 3);
    memcpy(m + 5 * GRAIN + PAGE, "beside", 6);
    m[3 * GRAIN] = 'b';
    VAL(suite_filled(m + 8 * GRAIN, GRAIN, 8 * GRAIN));
    VAL(mprotect(m + 8 * GRAIN + PAGE, 2 * GRAIN, PROT_READ)); /* half of it touched */
    suite_say("write %s", touch(m + 8 * GRAIN + PAGE, true));
    suite_say("write %s", touch(m + 10 * GRAIN, true));
    suite_say("read %s", touch(m + 10 * GRAIN, false));
    suite_say("before %s", touch(m + 8 * GRAIN, true));
    suite_say("behind %s", touch(m + 10 * GRAIN + PAGE, true));
    VAL(mprotect(m + 9 * GRAIN, GRAIN, PROT_NONE));
    suite_say("none %s", touch(m + 9 * GRAIN + PAGE, false));
    suite_say("none %s", touch(m + 8 * GRAIN + 5 * PAGE, false));
    VAL(mprotect(m + 8 * GRAIN, 4 * GRAIN, RW));
    suite_say("again %s", touch(m + 9 * GRAIN + PAGE, true));
    suite_say("again %s", touch(m + 11 * GRAIN, true));
    VAL(madvise(m + 8 * GRAIN, 4 * GRAIN, MADV_DONTNEED));
    VAL(m[9 * GRAIN + PAGE]);
    VAL(m[3 * GRAIN]);
    VAL(madvise(m, 3 * GRAIN, MADV_SEQUENTIAL));
    VAL(madvise(m, 3 * GRAIN, MADV_WILLNEED));
    VAL(madvise(m, GRAIN, MADV_POPULATE_WRITE));
    VAL(madvise(m, GRAIN, MADV_FREE));
    VAL(munmap(m, SIZE));
    reads("read", fd, 9 * GRAIN + PAGE - 1, 3);
    reads("read", fd, 5 * GRAIN + PAGE - 1, 7);
    reads("read", fd, 3 * GRAIN - 1, 3);
    /* what is read first and written to later; what can never be written to */
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
    suite_say("write %s", touch(m + GRAIN, true));
    suite_say("write %s", touch(m, true));
    VAL(suite_filled(m, 1000, 0));
    VAL(mprotect(m, SIZE, RW));
    suite_say("write %s", touch(m + GRAIN, true));
    suite_say("write %s", touch(m, true));
    reads("read", fd, GRAIN, 2);
    VAL(mprotect(m, SIZE, PROT_READ | PROT_EXEC));
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, ro, 0)); /* beside nobody who writes */
    VAL(mprotect(m, SIZE, RW));
    MAPPED(mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, fd, 0));
    suite_say("none %s", touch(m + GRAIN, false));
    VAL(mprotect(m, SIZE, RW));
    suite_say("write %s", touch(m + GRAIN, true));
    VAL(mmap(NULL, SIZE, RW, MAP_SHARED, ro, 0) == MAP_FAILED);
}

static void moves(void)
{
    char *m, *to, *old;
    int fd = make("f", SIZE);

    handlers();
    MAPPED(mmap(NULL, 8 * GRAIN + PAGE, RW, MAP_SHARED, fd, 0));
    memcpy(m + GRAIN, "one", 3);
    memcpy(m + 8 * GRAIN, "edge", 4);
    MAPPED(mremap(m, 8 * GRAIN + PAGE, SIZE, MREMAP_MAYMOVE));
    suite_bytes("moved", m + GRAIN, 3);
    suite_bytes("moved", m + 8 * GRAIN, 4);
    memcpy(m + 8 * GRAIN + 2 * PAGE, "more", 4);
    memcpy(m + 11 * GRAIN, "two", 3);
    VAL(suite_filled(m + 9 * GRAIN, GRAIN, 9 * GRAIN));
    reads("read", fd, 11 * GRAIN, 3);
    reads("read", fd, 8 * GRAIN + 2 * PAGE, 4);
    to = mmap(NULL, SIZE + GRAIN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    old = m;
    MAPPED(mremap(m, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to));
    VAL(m == to);
    suite_say("old place %s", touch(old + GRAIN, false));
    suite_bytes("moved", m + 11 * GRAIN, 3);
    memcpy(m + 5 * GRAIN, "three", 5);
    VAL(mremap(m + PAGE, SIZE - PAGE, SIZE, MREMAP_FIXED, to) == MAP_FAILED);
    MAPPED(mremap(m, SIZE, 4 * GRAIN, 0)); /* shorter */
    VAL(m == to);
    suite_say("cut off %s", touch(m + 5 * GRAIN, false));
    reads("read", fd, 5 * GRAIN, 5);
    memcpy(m + 3 * GRAIN, "four", 4);
    /* in place: what was cut off is free now */
    MAPPED(mremap(m, 4 * GRAIN, 6 * GRAIN + PAGE, 0));
    VAL(m == to);
    suite_bytes("again", m + 5 * GRAIN, 5);
    suite_bytes("kept", m + 3 * GRAIN, 4);
    m[6 * GRAIN] = '6';
    VAL(ftruncate(fd, SIZE + 6 * GRAIN));
    MAPPED(mremap(m, 6 * GRAIN + PAGE, SIZE + 6 * GRAIN, MREMAP_MAYMOVE));
    memcpy(m + SIZE + 5 * GRAIN, "last", 4);
    VAL(munmap(m, SIZE + 6 * GRAIN));
    reads("read", fd, SIZE + 5 * GRAIN - 1, 6);
    reads("read", fd, 6 * GRAIN, 1);
    reads("read", fd, 3 * GRAIN, 4);
}

#define STRIPES 6
static char *striped;
static volatile int stop;

static void *stripe(void *arg)
{
    long me = (long)arg;

    for (int round = 0; round < 3; round++)
        for (long g = 0; g < 12; g++)
            memset(striped + (g * 5 + me) % 12 * GRAIN + me * 48 * PAGE + round * 100, (int)('A' + me), 5000);
    return NULL;
}

static void *syncs(void *arg)
{
    (void)arg;
    while (!stop) {
        msync(striped, SIZE, MS_SYNC);
        usleep(2000);
    }
    return NULL;
}

static void threads(void)
{
    pthread_t t[STRIPES + 1];
    char *m, *data = malloc((size_t)SIZE);
    long bad = 0;
    int fd = make("f", SIZE), pid;

    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    striped = m;
    pthread_create(&t[STRIPES], NULL, syncs, NULL);
    for (long i = 0; i < STRIPES; i++)
        pthread_create(&t[i], NULL, stripe, (void *)i);
    for (int i = 0; i < 3; i++) { /* and processes */
        pid = fork();
        if (pid == 0) {
            for (long g = 0; g < 12; g++)
                memset(m + g * GRAIN + (STRIPES + i) * 48 * PAGE, 'a' + i, 5000);
            _exit(0);
        }
        suite_wait("child", pid);
    }
    for (int i = 0; i < STRIPES; i++)
        pthread_join(t[i], NULL);
    stop = 1;
    pthread_join(t[STRIPES], NULL);
    VAL(munmap(m, SIZE));
    VAL(pread(fd, data, SIZE, 0));
    for (long g = 0; g < 12; g++)
        for (long i = 0; i < STRIPES + 3; i++)
            for (long at = 0; at < (i < STRIPES ? 5200 : 5000); at++)
                bad += data[g * GRAIN + i * 48 * PAGE + at] != (i < STRIPES ? 'A' + i : 'a' + i - STRIPES);
    VAL(bad);
    free(data);
}

/* write() to pages that another process writes back meanwhile. */
static void crossing(void)
{
    char *m, page[PAGE];
    int fd = make("f", SIZE), pid;
    long bad = 0;

    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    pid = fork();
    if (pid == 0)
        for (;;)
            msync(m, 4 * GRAIN, MS_SYNC);
    for (long at = 0; at < 400 * PAGE; at += PAGE) {
        m[at + 10] = 'm';
        if (pwrite(fd, "w", 1, at + 20) != 1)
            bad++;
    }
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    VAL(munmap(m, SIZE));
    for (long at = 0; at < 400 * PAGE; at += PAGE)
        bad += pread(fd, page, PAGE, at) != PAGE || page[10] != 'm' || page[20] != 'w';
    VAL(bad);
}

/* What is mapped lives on when nobody has the file open any more and its name is gone. */
static void removed(void)
{
    char *m, *r;
    int fd = make("f", SIZE), ro = open(P("f"), O_RDONLY), pid;

    MAPPED(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
    r = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, ro, 0);
    m[GRAIN] = 'r';
    VAL(close(fd));
    VAL(close(ro));
    VAL(unlink(P("f")));
    VAL(suite_filled(m + 5 * GRAIN, 3 * GRAIN, 5 * GRAIN));
    m[9 * GRAIN] = 's';
    VAL(r[9 * GRAIN]);
    pid = fork();
    if (pid == 0) {
        m[10 * GRAIN] = 't';
        _exit(m[GRAIN]);
    }
    suite_wait("child", pid);
    VAL(r[10 * GRAIN]);
    VAL(munmap(m, SIZE));
    VAL(suite_filled(r + 7 * GRAIN + 100, GRAIN, 7 * GRAIN + 100));
    VAL(access(P("f"), F_OK));
}

SUITE_GROUP(stored) = {{"plain", plain}, {"forks", forks},     {"between", between},         {"readers", readers},
                       {"calls", calls}, {"ends", ends},       {"cut_between", cut_between}, {"grows", grows},
                       {"parts", parts}, {"moves", moves},     {"threads", threads},
                       {"crossing", crossing},       {"removed", removed},         {NULL, NULL}};
