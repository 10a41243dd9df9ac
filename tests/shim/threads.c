/* SPDX-License-Identifier: Apache-2.0
 * threads: many threads on many files and on one; fork among threads; cancellation of none.
 */
#include "tests/shim/suite.h"

#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>

#define THREADS 8

static int shared_fd;

static void *own_files(void *arg)
{
    long id = (long)arg, wrong = 0;
    char name[32], other[32], buf[3000];

    for (int i = 0; i < 30; i++) {
        snprintf(name, sizeof(name), "t%ld.%d", id, i);
        snprintf(other, sizeof(other), "r%ld.%d", id, i);
        int fd = open(P(name), O_RDWR | O_CREAT | O_EXCL, 0644);
        suite_fill(buf, sizeof(buf), id * 1000 + i);
        wrong += fd < 0 || write(fd, buf, sizeof(buf)) != sizeof(buf);
        memset(buf, 0, sizeof(buf));
        wrong += pread(fd, buf, sizeof(buf), 0) != sizeof(buf) || !suite_filled(buf, sizeof(buf), id * 1000 + i);
        wrong += close(fd) != 0 || rename(P(name), P(other)) != 0;
        if (i % 2 == 0)
            wrong += unlink(P(other)) != 0;
    }
    return (void *)wrong;
}

static void *one_offset(void *arg)
{
    long wrong = 0;
    char line[16];

    for (int i = 0; i < 50; i++) {
        snprintf(line, sizeof(line), "%03ld %03d line\n", (long)arg, i);
        wrong += write(shared_fd, line, 13) != 13;
    }
    return (void *)wrong;
}

static void *forking(void *arg)
{
    long wrong = 0;

    for (int i = 0; i < 3; i++) {
        int status = -1;
        pid_t pid = fork();

        if (pid == 0) {
            char name[32];

            snprintf(name, sizeof(name), "f%ld.%d", (long)arg, i);
            int fd = open(P(name), O_RDWR | O_CREAT, 0644);
            _exit(fd < 0 || write(fd, "x", 1) != 1);
        }
        wrong += waitpid(pid, &status, 0) != pid || status != 0;
    }
    return (void *)wrong;
}

static long run(void *(*fn)(void *), void *(*odd)(void *))
{
    pthread_t threads[THREADS];
    long wrong = 0;
    void *got;

    for (long i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, i % 2 == 1 ? odd : fn, (void *)i);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &got);
        wrong += (long)got;
    }
    return wrong;
}

static void files(void)
{
    VAL(run(own_files, own_files));
    suite_list(P(""));
}

static void offset(void)
{
    char data[THREADS * 50 * 13 + 1];
    int good = 0;

    shared_fd = open(P("f"), O_RDWR | O_CREAT, 0644);
    VAL(run(one_offset, one_offset));
    VAL(lseek(shared_fd, 0, SEEK_CUR));
    VAL(pread(shared_fd, data, sizeof(data), 0));
    for (int i = 0; i < THREADS * 50; i++)
        good += data[i * 13 + 12] == '\n' && memcmp(data + i * 13 + 7, " line", 5) == 0;
    VAL(good);
}

static void forks(void)
{
    VAL(run(forking, own_files));
    suite_list(P(""));
}

static volatile int strays_end;

/* Looks at numbers that others are closing, as programs do by mistake. */
static void *strays(void *arg)
{
    char c;

    while (!strays_end)
        for (int fd = *(int *)arg; fd < *(int *)arg + 4; fd++) {
            pread(fd, &c, 1, 0);
            lseek(fd, 0, SEEK_CUR);
        }
    return NULL;
}

/* What a number was used for before is not what it is now, whoever looked at it meanwhile. */
static void reused(void)
{
    int first = dup(0), wrong = 0, pair[2];
    struct stat st;
    pthread_t t[2];

    close(first);
    suite_make(P("f"), "volume");
    suite_make(L("f"), "local!!!");
    for (int i = 0; i < 2; i++)
        pthread_create(&t[i], NULL, strays, &first);
    for (int i = 0; i < 5000; i++) {
        int fd = open(P("f"), O_RDONLY), again = dup(fd);

        wrong += close(fd) != 0;
        fd = -1;
        if (i % 3 == 0) {
            wrong += pipe(pair) != 0 || fstat(pair[0], &st) != 0 || !S_ISFIFO(st.st_mode);
            wrong += write(pair[1], "x", 1) != 1;
            close(pair[0]);
            close(pair[1]);
        } else if (i % 3 == 1) {
            fd = open(L("f"), O_RDONLY);
            wrong += fstat(fd, &st) != 0 || st.st_size != 8;
        } else {
            fd = dup(again);
            wrong += fstat(fd, &st) != 0 || st.st_size != 6;
        }
        if (fd >= 0)
            close(fd);
        wrong += fstat(again, &st) != 0 || st.st_size != 6;
        close(again);
    }
    strays_end = 1;
    for (int i = 0; i < 2; i++)
        pthread_join(t[i], NULL);
    VAL(wrong);
}

static void *table_of_its_own(void *arg)
{
    VAL(unshare(CLONE_FILES));
    VAL(close_range(950, 960, CLOSE_RANGE_UNSHARE));
    VAL(unshare(CLONE_FILES | 1));
    return NULL;
}

static int cloned(void *arg)
{
    return *(int *)arg;
}

/* A process with memory of its own that shares the table: made by clone(), and by number. */
static void shared_table(void)
{
    struct {
        uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
    } args = {.flags = CLONE_FILES, .exit_signal = SIGCHLD};
    char *stack = malloc(65536);
    int six = 6;
    long pid = clone(cloned, stack + 65536, CLONE_FILES | SIGCHLD, &six);

    suite_say("clone %s", pid > 0 ? "made" : strerrorname_np(errno));
    if (pid > 0)
        suite_wait("clone", (pid_t)pid);
    for (int i = 0; i < 2; i++) {
        pid = i == 0 ? syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0) : syscall(SYS_clone3, &args, sizeof(args));
        if (pid == 0)
            _exit(7);
        suite_say("by number %s", pid > 0 ? "made" : strerrorname_np(errno));
        if (pid > 0)
            suite_wait("by number", (pid_t)pid);
    }
    pid = clone(cloned, stack + 65536, SIGCHLD, &six); /* a table of its own */
    suite_wait("plain", (pid_t)pid);
}

static void tables(void)
{
    pthread_t t;

    VAL(unshare(CLONE_FILES));
    VAL(close_range(950, 960, CLOSE_RANGE_UNSHARE));
    pthread_create(&t, NULL, table_of_its_own, NULL);
    pthread_join(t, NULL);
    shared_table();
}

SUITE_GROUP(threads) = {{"files", files}, {"offset", offset}, {"forks", forks}, {"reused", reused},
                        {"tables", tables}, {NULL, NULL}};
