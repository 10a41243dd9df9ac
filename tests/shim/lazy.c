/* SPDX-License-Identifier: Apache-2.0
 * lazy: large mappings, which the preload client fills where they are touched: scans, system calls on them, handlers
 * and masks of SIGSEGV, fork in the middle, threads, private writes, parts, growth and cuts.
 */
#include "tests/shim/suite.h"

#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PAGE 4096L
#define GRAIN (2L << 20)
#define SIZE (30 * GRAIN + 5 * PAGE + 100) /* more than is kept without a reason */

#define MAPPED(call) suite_say("%s = %s", #call, (m = (call)) == MAP_FAILED ? strerrorname_np(errno) : "mapped")

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
    close(fd);
    return open(P(name), O_RDONLY);
}

/* How many granules, or the last part, are not what they should be. */
static long wrong(const char *m, long from, long to)
{
    long n = 0;

    for (; from < to; from += GRAIN)
        n += !suite_filled(m + from, (size_t)(to - from < GRAIN ? to - from : GRAIN), from);
    return n;
}

static void scan(void)
{
    char *m;
    int fd = make("f", SIZE);
    long bad = 0;

    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(close(fd));
    VAL(wrong(m, 0, SIZE));
    VAL(m[SIZE]);
    VAL(wrong(m, 0, SIZE)); /* and again */
    VAL(munmap(m, SIZE));
    fd = open(P("f"), O_RDONLY);
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
    for (long at = SIZE - 64; at > 0; at -= 777777) /* backwards */
        bad += !suite_filled(m + at, 64, at);
    for (int i = 0; i < 3000; i++) {
        long at = (long)((unsigned long)i * 2654435761ul % (unsigned long)(SIZE - 64));

        bad += !suite_filled(m + at, 64, at);
    }
    VAL(bad);
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE - 3 * PAGE, PROT_READ, MAP_PRIVATE, fd, 3 * PAGE));
    VAL(suite_filled(m + 20 * GRAIN, (size_t)(5 * GRAIN), 20 * GRAIN + 3 * PAGE));
    VAL(suite_filled(m, (size_t)(2 * GRAIN), 3 * PAGE));
    VAL(munmap(m, SIZE - 3 * PAGE));
}

static bool same(int fd, long offset, long size)
{
    char *data = malloc((size_t)size);
    bool ok = pread(fd, data, (size_t)size, 0) == size && suite_filled(data, (size_t)size, offset);

    free(data);
    return ok;
}

/* The kernel looks at memory nobody has touched. */
static void calls(void)
{
    char *m, buf[100];
    int fd = make("f", SIZE), out = open(L("out"), O_RDWR | O_CREAT, 0644), pair[2], mine;
    struct iovec iov[2];
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(pwrite(out, m + GRAIN - 10, 3 * GRAIN, 0));
    VAL(same(out, GRAIN - 10, 3 * GRAIN));
    VAL(ftruncate(out, 0));
    VAL(write(out, m, SIZE));
    VAL(same(out, 0, SIZE));
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    iov[0] = (struct iovec){m + 9 * GRAIN - 50, 100};
    iov[1] = (struct iovec){m + 20 * GRAIN, 50};
    VAL(pwritev(out, iov, 2, 0));
    VAL(same(out, 9 * GRAIN - 50, 100));
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    VAL(sendmsg(pair[0], &message, 0));
    VAL(read(pair[1], buf, 100));
    VAL(suite_filled(buf, 100, 9 * GRAIN - 50));
    read(pair[1], buf, 100);
    VAL(send(pair[0], m + 12 * GRAIN, 100, 0));
    VAL(read(pair[1], buf, 100));
    VAL(suite_filled(buf, 100, 12 * GRAIN));
    VAL(write(pair[0], m + 14 * GRAIN - 1, 100));
    VAL(read(pair[1], buf, 100));
    VAL(suite_filled(buf, 100, 14 * GRAIN - 1));
    VAL(mlock(m + 16 * GRAIN, 2 * PAGE));
    VAL(suite_filled(m + 16 * GRAIN, 2 * PAGE, 16 * GRAIN));
    mine = open(P("copy"), O_RDWR | O_CREAT, 0644); /* ours looks at ours */
    VAL(write(mine, m + 2 * GRAIN + 5, 8 * GRAIN));
    VAL(same(mine, 2 * GRAIN + 5, 8 * GRAIN));
    VAL(pread(mine, m, 10, 0)); /* read-only */
    VAL(open(m + 25 * GRAIN, O_RDONLY));
}

static sigjmp_buf jump;
static volatile int hits;

static void on_signal(int number)
{
    sigset_t mask;

    sigprocmask(SIG_BLOCK, NULL, &mask);
    hits += sigismember(&mask, SIGTERM) ? 100 : 1; /* only the signal itself is blocked */
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

static const char *touch_write(volatile char *at)
{
    int number = sigsetjmp(jump, 1);

    if (number == 0) {
        *at = 'w';
        return "writable";
    }
    return number == SIGBUS ? "SIGBUS" : number == SIGSEGV ? "SIGSEGV" : "?";
}

static void handlers(void)
{
    char *m;
    int fd = make("f", SIZE), status;

    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    MAPPED(mmap(NULL, SIZE + 3 * GRAIN, PROT_READ, MAP_PRIVATE, fd, 0));
    suite_say("first %s", touch(m));
    suite_say("middle %s", touch(m + 13 * GRAIN));
    suite_say("last byte's page %s", touch(m + SIZE));
    VAL(hits);
    suite_say("behind %s", touch(m + ((SIZE + PAGE - 1) & -PAGE)));
    suite_say("far behind %s", touch(m + SIZE + 2 * GRAIN));
    suite_say("write %s", touch_write(m + 3 * GRAIN));
    suite_say("write to what was read %s", touch_write(m));
    VAL(hits);
    suite_say("read after %s", touch(m + 3 * GRAIN));
    signal(SIGBUS, SIG_DFL);
    signal(SIGSEGV, SIG_DFL);
    if (fork() == 0)
        _exit(m[SIZE + 2 * GRAIN]);
    wait(&status);
    suite_say("signal %d", WTERMSIG(status));
    if (fork() == 0) {
        m[5] = 1;
        _exit(0);
    }
    wait(&status);
    suite_say("signal %d", WTERMSIG(status));
}

static volatile char *handler_looks, *volatile nowhere = (char *)16;
static volatile int handler_saw;

static void on_look(int number)
{
    (void)number;
    handler_saw = *handler_looks;
}

/* Everything blocked, a small stack of its own for handlers. */
static void blocked(void)
{
    struct sigaction act = {.sa_handler = on_look}, old;
    sigset_t all, was;
    stack_t stack = {.ss_sp = malloc((size_t)MINSIGSTKSZ + 4096), .ss_size = (size_t)MINSIGSTKSZ + 4096};
    char *m, want;
    int fd = make("f", SIZE), status;

    VAL(sigaltstack(&stack, NULL));
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    sigfillset(&all);
    VAL(sigprocmask(SIG_SETMASK, &all, &was));
    VAL(sigismember(&was, SIGSEGV));
    VAL(wrong(m, 3 * GRAIN, 6 * GRAIN));
    VAL(sigprocmask(SIG_BLOCK, NULL, &was));
    VAL(sigismember(&was, SIGSEGV));
    VAL(sigismember(&was, SIGBUS));
    VAL(sigismember(&was, SIGTERM));
    if (fork() == 0) {
        signal(SIGSEGV, on_signal); /* blocked: it ends us all the same */
        nowhere[0] = 1;
        _exit(0);
    }
    wait(&status);
    suite_say("signal %d", WTERMSIG(status));
    sigemptyset(&all);
    VAL(sigprocmask(SIG_SETMASK, &all, &was));
    VAL(sigismember(&was, SIGSEGV));
    VAL(sigprocmask(SIG_SETMASK, NULL, &was));
    VAL(sigismember(&was, SIGSEGV));
    sigfillset(&act.sa_mask);
    VAL(sigaction(SIGUSR1, &act, NULL));
    VAL(sigaction(SIGUSR1, NULL, &old));
    VAL(sigismember(&old.sa_mask, SIGSEGV));
    VAL(sigismember(&old.sa_mask, SIGBUS));
    VAL(sigismember(&old.sa_mask, SIGHUP));
    handler_looks = m + 20 * GRAIN + 7;
    raise(SIGUSR1);
    suite_fill(&want, 1, 20 * GRAIN + 7);
    VAL(handler_saw == want);
    act.sa_flags = SA_ONSTACK;
    VAL(sigaction(SIGUSR1, &act, NULL));
    handler_looks = m + 22 * GRAIN + 7;
    raise(SIGUSR1);
    suite_fill(&want, 1, 22 * GRAIN + 7);
    VAL(handler_saw == want);
}

static void forks(void)
{
    char *m;
    int fd = make("f", SIZE), pid;

    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(wrong(m, 0, 10 * GRAIN));
    pid = fork();
    if (pid == 0) {
        VAL(wrong(m, 8 * GRAIN, SIZE));
        VAL(wrong(m, 0, SIZE));
        _exit(3);
    }
    suite_wait("child", pid);
    VAL(wrong(m, 9 * GRAIN, 15 * GRAIN));
    pid = _Fork(); /* without handlers of pthread_atfork */
    if (pid == 0)
        _exit(wrong(m, 12 * GRAIN, SIZE) + wrong(m, 0, SIZE) == 0 ? 4 : 5);
    suite_wait("child", pid);
    pid = vfork();
    if (pid == 0)
        _exit(wrong(m, 14 * GRAIN, 20 * GRAIN) == 0 ? 6 : 7);
    suite_wait("child", pid);
    VAL(wrong(m, 0, SIZE));
    pid = fork();
    if (pid == 0) {
        pid = fork();
        if (pid == 0)
            _exit(wrong(m, 0, SIZE) == 0 ? 8 : 9);
        suite_wait("grandchild", pid);
        _exit(wrong(m, 0, SIZE) == 0 ? 8 : 9);
    }
    suite_wait("child", pid);
    VAL(wrong(m, 0, SIZE));
}

/* A child whose parent had mappings, but has none any more, has some of its own; and so does its parent again. */
static void forks_later(void)
{
    char *m;
    int fd = make("f", SIZE), pid;
    long n = 0;

    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(wrong(m, 0, 3 * GRAIN));
    VAL(munmap(m, SIZE));
    pid = fork();
    m = mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0);
    for (int i = 0; i < 3; i++) /* one in order, one from behind */
        for (long at = 0; at < 30 * GRAIN; at += GRAIN)
            n += pid == 0 ? wrong(m, 29 * GRAIN - at, 30 * GRAIN - at) : wrong(m, at, at + GRAIN);
    if (pid == 0)
        _exit(n != 0);
    VAL(n);
    suite_wait("child", pid);
}

static const char *shared_map;

static void *looker(void *arg)
{
    long me = (long)arg, bad = 0;
    unsigned long seed = (unsigned long)me * 977 + 1;

    if (me % 2 == 0) /* half of them in order, each from elsewhere */
        for (long i = 0; i < 15; i++) {
            long at = (me * 4 + i) % 30 * GRAIN;

            bad += wrong(shared_map, at, at + GRAIN);
        }
    else
        for (int i = 0; i < 400; i++) {
            long at;

            seed = seed * 6364136223846793005ul + 1442695040888963407ul;
            at = (long)((seed >> 20) % (unsigned long)(SIZE - 64));
            bad += !suite_filled(shared_map + at, 64, at);
        }
    return (void *)bad;
}

static void threads(void)
{
    pthread_t t[8];
    char *m;
    long bad = 0;
    int fd = make("f", SIZE), pid;

    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
    shared_map = m;
    for (long i = 0; i < 8; i++)
        pthread_create(&t[i], NULL, looker, (void *)i);
    for (int i = 0; i < 3; i++) { /* and forks meanwhile */
        pid = fork();
        if (pid == 0)
            _exit(wrong(m, i * 3 * GRAIN, i * 3 * GRAIN + 12 * GRAIN) != 0);
        suite_wait("child", pid);
    }
    for (int i = 0; i < 8; i++) {
        void *one;

        pthread_join(t[i], &one);
        bad += (long)one;
    }
    VAL(bad);
}

static void writable(void)
{
    char *m;
    long bad = 0;
    int fd = make("f", SIZE), pid, null = open("/dev/zero", O_RDONLY);

    MAPPED(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    for (long at = 0; at < SIZE; at += 3 * GRAIN)
        m[at + 1000] = '#';
    m[GRAIN + 5] = '+';
    for (int i = 0; i < 2; i++)
        for (long at = 0; at < SIZE - PAGE; at += GRAIN)
            bad += !suite_filled(m + at + 2000, 2000, at + 2000);
    VAL(bad);
    for (long at = 0; at < SIZE; at += 3 * GRAIN)
        bad += m[at + 1000] != '#';
    VAL(bad);
    VAL(m[GRAIN + 5]);
    VAL(read(null, m + 7 * GRAIN - 100, 200)); /* the kernel writes into it */
    VAL(m[7 * GRAIN - 100] + m[7 * GRAIN + 99]);
    VAL(suite_filled(m + 7 * GRAIN + 100, 5000, 7 * GRAIN + 100));
    pid = fork();
    if (pid == 0) {
        m[3 * GRAIN + 1000] = 'c';
        m[20 * GRAIN + 1000] = 'c';
        _exit(m[6 * GRAIN + 1000]);
    }
    suite_wait("child", pid);
    VAL(m[3 * GRAIN + 1000]);
    VAL(suite_filled(m + 20 * GRAIN, 5000, 20 * GRAIN));
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(wrong(m, 0, SIZE)); /* the file knows nothing of it */
}

static void parts(void)
{
    char *m, *base;
    int fd = make("f", SIZE);

    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    base = mmap(NULL, SIZE + 4 * GRAIN, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MAPPED(mmap(base + 3 * PAGE, SIZE, PROT_READ, MAP_PRIVATE | MAP_FIXED, fd, 0));
    VAL(m == base + 3 * PAGE);
    VAL(wrong(m, 0, 4 * GRAIN));
    VAL(munmap(m + 2 * GRAIN + 3 * PAGE, 6 * GRAIN));
    suite_say("gone %s", touch(m + 5 * GRAIN));
    VAL(wrong(m, 0, 2 * GRAIN));
    VAL(suite_filled(m + 2 * GRAIN, 3 * PAGE, 2 * GRAIN));
    VAL(suite_filled(m + 8 * GRAIN + 3 * PAGE, 3 * GRAIN, 8 * GRAIN + 3 * PAGE));
    VAL(mmap(m + 12 * GRAIN, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == m + 12 * GRAIN);
    memcpy(m + 12 * GRAIN, "anonymous", 9);
    VAL(wrong(m, 13 * GRAIN, SIZE));
    VAL(suite_filled(m + 12 * GRAIN + PAGE, 100, 12 * GRAIN + PAGE));
    suite_bytes("over it", m + 12 * GRAIN, 9);
    VAL(mprotect(m + 20 * GRAIN, PAGE, PROT_NONE));
    suite_say("protected %s", touch(m + 20 * GRAIN));
    suite_say("beside it %s", touch(m + 20 * GRAIN + PAGE));
    VAL(mprotect(m + 20 * GRAIN, PAGE, PROT_READ));
    VAL(wrong(m, 20 * GRAIN, 21 * GRAIN));
    VAL(mprotect(m + 22 * GRAIN, PAGE, PROT_READ | PROT_WRITE));
    suite_say("private %s", touch_write(m + 22 * GRAIN));
    VAL(suite_filled(m + 22 * GRAIN + 1, PAGE, 22 * GRAIN + 1));
    VAL(msync(m, PAGE, MS_SYNC));
    VAL(msync(m + 25 * GRAIN, PAGE, MS_SYNC));
    VAL(munmap(m, SIZE));
    suite_say("all gone %s", touch(m));
    MAPPED(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    VAL(suite_filled(m + 3 * GRAIN, 100, 3 * GRAIN));
    VAL(munmap(m + 3 * GRAIN + 5 * PAGE, PAGE)); /* out of the middle of what was read */
    suite_say("private before it %s", touch_write(m + 3 * GRAIN + PAGE));
    suite_say("private behind it %s", touch_write(m + 3 * GRAIN + 6 * PAGE));
    VAL(suite_filled(m + 3 * GRAIN, PAGE, 3 * GRAIN));
    VAL(suite_filled(m + 3 * GRAIN + 7 * PAGE, GRAIN, 3 * GRAIN + 7 * PAGE));
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
    VAL(mprotect(m, PAGE, PROT_READ | PROT_WRITE)); /* the descriptor cannot write */
    VAL(suite_filled(m, 3 * GRAIN, 0));
}

static void remapped(void)
{
    char *m;
    int fd = make("f", SIZE);

    MAPPED(mmap(NULL, 20 * GRAIN, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(suite_filled(m, 3 * GRAIN, 0));
    MAPPED(mremap(m, 20 * GRAIN, SIZE, MREMAP_MAYMOVE));
    VAL(wrong(m, 0, SIZE));
    VAL(munmap(m, SIZE));
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(wrong(m, 28 * GRAIN, SIZE));
    MAPPED(mremap(m, SIZE, 10 * GRAIN, 0));
    VAL(wrong(m, 0, 10 * GRAIN));
    VAL(munmap(m, 10 * GRAIN));
}

static void advice(void)
{
    char *m;
    int fd = make("f", SIZE);

    MAPPED(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    VAL(madvise(m, SIZE, MADV_SEQUENTIAL));
    VAL(suite_filled(m, 5 * GRAIN, 0));
    VAL(madvise(m + GRAIN + PAGE, 2 * GRAIN, MADV_DONTNEED));
    VAL(wrong(m, 0, 5 * GRAIN));
    VAL(madvise(m, SIZE, MADV_WILLNEED));
    VAL(madvise(m, SIZE, MADV_RANDOM));
    VAL(suite_filled(m + 20 * GRAIN + 17, 3 * GRAIN, 20 * GRAIN + 17));
    VAL(madvise(m, SIZE, MADV_NORMAL));
    VAL(madvise(m, SIZE, MADV_FREE));
    VAL(madvise(m, SIZE, MADV_WIPEONFORK));
    VAL(madvise(m + 24 * GRAIN, GRAIN, MADV_POPULATE_READ));
    VAL(madvise(m + 1, GRAIN, MADV_DONTNEED));
    VAL(wrong(m, 0, SIZE));
    VAL(madvise(m, SIZE, MADV_DONTNEED));
    VAL(wrong(m, 0, SIZE));
}

/* Of len bytes written with a letter at `at`: how many are still that. */
static long letters(const char *m, long at, long len)
{
    long n = 0;

    for (long i = 0; i < len; i++)
        n += m[at + i] == '#';
    return n;
}

/* What was written into a private mapping and is no longer needed is the file's again. */
static void given_up(void)
{
    char *m, *other;
    int fd = make("f", SIZE), i;

    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    MAPPED(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0));
    memset(m + 4 * GRAIN, '#', (size_t)(4 * GRAIN)); /* some pages of a granule, whole ones, the end of one */
    VAL(madvise(m + 4 * GRAIN + PAGE, 2 * PAGE, MADV_DONTNEED));
    VAL(letters(m, 4 * GRAIN, 4 * PAGE));
    VAL(suite_filled(m + 4 * GRAIN + PAGE, 2 * PAGE, 4 * GRAIN + PAGE));
    VAL(madvise(m + 5 * GRAIN - PAGE, 2 * GRAIN + 5 * PAGE, MADV_DONTNEED));
    VAL(suite_filled(m + 5 * GRAIN - PAGE, 2 * GRAIN + 5 * PAGE, 5 * GRAIN - PAGE));
    VAL(letters(m, 4 * GRAIN, 4 * GRAIN));
    memset(m + 5 * GRAIN, '#', PAGE); /* and again */
    VAL(letters(m, 4 * GRAIN, 4 * GRAIN));
    VAL(madvise(m, 10 * GRAIN, MADV_DONTNEED));
    VAL(wrong(m, 0, 10 * GRAIN));
    for (i = 0; i < 2; i++) /* after a second touch of what was only lent it comes from elsewhere */
        VAL(wrong(m, 0, SIZE));
    memset(m + 20 * GRAIN, '#', (size_t)GRAIN);
    VAL(madvise(m + 20 * GRAIN + PAGE, PAGE, MADV_DONTNEED));
    VAL(letters(m, 20 * GRAIN, GRAIN));
    VAL(suite_filled(m + 20 * GRAIN + PAGE, PAGE, 20 * GRAIN + PAGE));
    /* under other protections */
    memset(m + 12 * GRAIN, '#', 8 * PAGE);
    VAL(mprotect(m + 12 * GRAIN, 4 * PAGE, PROT_READ));
    suite_say("write %s", touch_write(m + 12 * GRAIN));
    VAL(madvise(m + 12 * GRAIN + PAGE, PAGE, MADV_DONTNEED));
    VAL(letters(m, 12 * GRAIN, 8 * PAGE));
    VAL(mprotect(m + 12 * GRAIN, 4 * PAGE, PROT_NONE));
    suite_say("read %s", touch(m + 12 * GRAIN));
    VAL(madvise(m + 12 * GRAIN, 6 * PAGE, MADV_DONTNEED));
    suite_say("read %s", touch(m + 12 * GRAIN));
    VAL(mprotect(m + 12 * GRAIN, 6 * PAGE, PROT_READ | PROT_WRITE));
    VAL(letters(m, 12 * GRAIN, 8 * PAGE));
    VAL(suite_filled(m + 12 * GRAIN, 6 * PAGE, 12 * GRAIN));
    suite_say("write %s", touch_write(m + 12 * GRAIN));
    /* the last page of the file; other memory in the range */
    memset(m + SIZE - 50, '#', 50);
    VAL(madvise(m + SIZE / PAGE * PAGE, PAGE, MADV_DONTNEED));
    VAL(suite_filled(m + SIZE / PAGE * PAGE, SIZE % PAGE, SIZE / PAGE * PAGE));
    VAL(m[SIZE]);
    memset(m + 15 * GRAIN, '#', 8 * PAGE);
    other = mmap(m + 15 * GRAIN + 2 * PAGE, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memset(other, '#', PAGE);
    VAL(madvise(m + 15 * GRAIN + PAGE, 3 * PAGE, MADV_DONTNEED));
    VAL(letters(m, 15 * GRAIN, 8 * PAGE));
    VAL(other[0] + other[PAGE - 1]);
    VAL(suite_filled(m + 15 * GRAIN + PAGE, PAGE, 15 * GRAIN + PAGE));
    VAL(suite_filled(m + 15 * GRAIN + 3 * PAGE, PAGE, 15 * GRAIN + 3 * PAGE));
    VAL(munmap(m, SIZE));
}

/* What the file becomes is seen. */
static void changed(void)
{
    char *m, buf[16];
    int fd = make("f", SIZE), w = open(P("f"), O_RDWR);

    signal(SIGSEGV, on_signal);
    signal(SIGBUS, on_signal);
    MAPPED(mmap(NULL, SIZE + 8 * GRAIN, PROT_READ, MAP_SHARED, fd, 0));
    VAL(wrong(m, 0, 6 * GRAIN));
    VAL(pwrite(w, "written", 7, 5 * GRAIN + 50));
    suite_bytes("seen before", m + 5 * GRAIN + 50, 7);
    VAL(pwrite(w, "written", 7, 15 * GRAIN + 50));
    suite_bytes("not seen before", m + 15 * GRAIN + 50, 7);
    VAL(wrong(m, 0, 5 * GRAIN)); /* kept from here on */
    VAL(wrong(m, 0, 5 * GRAIN));
    VAL(pwrite(w, "kept", 4, GRAIN + 50));
    suite_bytes("kept", m + GRAIN + 50, 4);
    VAL(pwrite(w, "longer", 6, SIZE + GRAIN));
    suite_bytes("longer", m + SIZE + GRAIN, 6);
    VAL(m[SIZE + 100]);
    suite_say("behind %s", touch(m + SIZE + 4 * GRAIN));
    VAL(ftruncate(w, 3 * GRAIN + 10));
    suite_say("cut %s", touch(m + 5 * GRAIN));
    suite_say("cut, not seen before %s", touch(m + 25 * GRAIN));
    suite_say("its page %s", touch(m + 3 * GRAIN + 10));
    VAL(m[3 * GRAIN + 10]);
    VAL(suite_filled(m + 2 * GRAIN, 1000, 2 * GRAIN));
    VAL(ftruncate(w, 10 * GRAIN));
    suite_say("longer again %s", touch(m + 5 * GRAIN));
    VAL(m[5 * GRAIN + 50]);
    VAL(munmap(m, SIZE + 8 * GRAIN));
    /* through memory */
    fd = make("g", SIZE);
    w = open(P("g"), O_RDWR);
    char *r = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
    VAL(suite_filled(r, 2 * GRAIN, 0));
    MAPPED(mmap(NULL, 4 * GRAIN, PROT_READ | PROT_WRITE, MAP_SHARED, w, 0));
    memcpy(m + GRAIN, "memory", 6);
    suite_bytes("other mapping", r + GRAIN, 6);
    VAL(pread(fd, buf, 6, GRAIN));
    suite_bytes("read", buf, 6);
    VAL(suite_filled(r + 10 * GRAIN, GRAIN, 10 * GRAIN));
    VAL(munmap(m, 4 * GRAIN));
    suite_bytes("later", r + GRAIN, 6);
    VAL(unlink(P("g")));
    VAL(suite_filled(r + 20 * GRAIN, GRAIN, 20 * GRAIN)); /* open */
}

/* Two processes look at the same file; what one keeps, the other finds. */
static void between(void)
{
    char *m;
    int fd = make("f", SIZE), go[2], back[2], pid;

    pipe(go);
    pipe(back);
    pid = fork();
    if (pid == 0) {
        m = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, open(P("f"), O_RDONLY), 0);
        VAL(wrong(m, 0, SIZE));
        VAL(wrong(m, 0, SIZE));
        suite_tell(back[1]);
        suite_await(go[0]);
        VAL(wrong(m, 0, SIZE));
        _exit(0);
    }
    suite_await(back[0]);
    MAPPED(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
    VAL(wrong(m, 0, SIZE));
    VAL(munmap(m, SIZE));
    suite_tell(go[1]);
    suite_wait("child", pid);
}

SUITE_GROUP(lazy) = {{"scan", scan},         {"calls", calls},   {"handlers", handlers}, {"blocked", blocked},
                     {"forks", forks},       {"forks_later", forks_later}, {"threads", threads}, {"writable", writable}, {"parts", parts},
                     {"remap", remapped},    {"advice", advice}, {"given_up", given_up}, {"changed", changed},   {"between", between},
                     {NULL, NULL}};
