/* SPDX-License-Identifier: Apache-2.0
 * locks: fcntl, OFD, flock and lockf locks between processes.
 */
#include "tests/shim/suite.h"

#include <sys/file.h>

static int lock(int fd, int cmd, int type, off_t start, off_t len)
{
    struct flock fl = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

    return fcntl(fd, cmd, &fl);
}

static void test(const char *text, int fd, int cmd, int type, off_t start, off_t len)
{
    struct flock fl = {.l_type = (short)type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

    if (fcntl(fd, cmd, &fl) != 0)
        suite_say("%s: %s", text, strerrorname_np(errno));
    else if (fl.l_type == F_UNLCK)
        suite_say("%s: free", text);
    else
        suite_say("%s: %s %ld %ld pid %s", text, fl.l_type == F_RDLCK ? "read" : "write", (long)fl.l_start,
                  (long)fl.l_len, fl.l_pid == getppid() ? "parent" : fl.l_pid == -1 ? "-1" : "other");
}

/* Runs fn in a child with the descriptors inherited. */
static void child(const char *text, void (*fn)(int), int fd)
{
    pid_t pid = fork();

    if (pid == 0) {
        fn(fd);
        _exit(0);
    }
    suite_wait(text, pid);
}

static void posix_child(int fd)
{
    int own = open(P("f"), O_RDWR);

    test("test 0 10", fd, F_GETLK, F_WRLCK, 0, 10);
    test("test 0 10 own", own, F_GETLK, F_RDLCK, 0, 10);
    test("test 100 10", own, F_GETLK, F_WRLCK, 100, 10);
    test("test 200 10", own, F_GETLK, F_WRLCK, 200, 10);
    VAL(lock(own, F_SETLK, F_WRLCK, 5, 1));
    VAL(lock(own, F_SETLK, F_RDLCK, 5, 1));
    VAL(lock(own, F_SETLK, F_RDLCK, 100, 10));
    VAL(lock(own, F_SETLK, F_WRLCK, 100, 10));
    VAL(lock(own, F_SETLK, F_WRLCK, 200, 10));
    VAL(lock(own, F_SETLK, F_WRLCK, 10, 10));
}

static void record(void)
{
    int fd, r, w;

    suite_make(P("f"), "0123456789");
    fd = open(P("f"), O_RDWR);
    r = open(P("f"), O_RDONLY);
    w = open(P("f"), O_WRONLY);
    VAL(lock(r, F_SETLK, F_WRLCK, 300, 1));
    VAL(lock(w, F_SETLK, F_RDLCK, 300, 1));
    VAL(lock(fd, F_SETLK, F_WRLCK, -1, 1));
    VAL(lock(fd, F_SETLK, 77, 0, 1));
    VAL(lock(99, F_SETLK, F_WRLCK, 0, 1));
    VAL(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    VAL(lock(fd, F_SETLK, F_RDLCK, 100, 10));
    test("own", fd, F_GETLK, F_WRLCK, 0, 10);
    child("child", posix_child, fd);
    VAL(lock(fd, F_SETLK, F_UNLCK, 2, 3)); /* splits */
    child("child", posix_child, fd);
    VAL(lock(fd, F_SETLK, F_RDLCK, 0, 10)); /* down */
    child("child", posix_child, fd);
    close(r); /* any close of the file drops all of the process's locks */
    child("child", posix_child, fd);
    VAL(lock(fd, F_SETLK, F_WRLCK, 0, 0));
    child("child", posix_child, fd);
    VAL(lock(fd, F_SETLK, F_UNLCK, 0, 0));
    child("child", posix_child, fd);
}

static void waiting(void)
{
    int fd, go[2], back[2];
    pid_t pid;

    pipe(go);
    pipe(back);
    suite_make(P("f"), "0123456789");
    fd = open(P("f"), O_RDWR);
    VAL(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDWR);

        suite_tell(back[1]);
        VAL(lock(own, F_SETLKW, F_WRLCK, 5, 10));
        VAL(pread(own, (char[16]){0}, 16, 0));
        suite_show(P("f"));
        _exit(0);
    }
    suite_await(back[0]);
    usleep(100000);
    VAL(pwrite(fd, "changed under the lock", 22, 0));
    suite_say("let go");
    if (lock(fd, F_SETLK, F_UNLCK, 0, 10) != 0)
        suite_say("cannot let go");
    suite_wait("waiter", pid);
    /* a killed holder leaves nothing */
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDWR);

        VAL(lock(own, F_SETLK, F_WRLCK, 0, 10));
        suite_tell(back[1]);
        pause();
    }
    suite_await(back[0]);
    VAL(lock(fd, F_SETLK, F_WRLCK, 0, 10));
    kill(pid, SIGTERM);
    suite_wait("holder", pid);
    VAL(lock(fd, F_SETLKW, F_WRLCK, 0, 10));
}

static volatile sig_atomic_t rang;

static void ring(int number)
{
    (void)number;
    rang = 1;
}

static void interrupted(void)
{
    struct sigaction act = {.sa_handler = ring};
    int fd, back[2];
    pid_t pid;

    pipe(back);
    suite_make(P("f"), "0123456789");
    pid = fork();
    if (pid == 0) {
        fd = open(P("f"), O_RDWR);
        VAL(lock(fd, F_SETLK, F_WRLCK, 0, 10));
        suite_tell(back[1]);
        pause();
        _exit(0);
    }
    suite_await(back[0]);
    sigaction(SIGALRM, &act, NULL);
    fd = open(P("f"), O_RDWR);
    alarm(1);
    VAL(lock(fd, F_SETLKW, F_WRLCK, 0, 10));
    VAL(rang);
    kill(pid, SIGKILL);
    suite_wait("holder", pid);
}

static void flock_child(int fd)
{
    int own = open(P("f"), O_RDWR);

    (void)fd;
    VAL(flock(own, LOCK_EX | LOCK_NB));
    VAL(flock(own, LOCK_SH | LOCK_NB));
}

static void flock_inherited(int fd)
{
    flock_child(fd);
    VAL(flock(fd, LOCK_EX | LOCK_NB)); /* the parent's open: its lock is ours too */
}

static void flocks(void)
{
    int fd, other, ro;

    suite_make(P("f"), "x");
    fd = open(P("f"), O_RDWR);
    other = open(P("f"), O_RDWR);
    ro = open(P("f"), O_RDONLY);
    VAL(flock(fd, LOCK_EX));
    VAL(flock(other, LOCK_EX | LOCK_NB));
    VAL(flock(fd, LOCK_EX | LOCK_NB));
    child("child", flock_inherited, fd);
    VAL(flock(fd, LOCK_SH));
    VAL(flock(other, LOCK_SH | LOCK_NB));
    VAL(flock(other, LOCK_UN));
    child("child", flock_child, fd);
    VAL(close(dup(fd))); /* a copy's close drops nothing */
    VAL(flock(other, LOCK_EX | LOCK_NB));
    VAL(close(fd));
    VAL(flock(other, LOCK_EX | LOCK_NB));
    VAL(flock(ro, LOCK_EX | LOCK_NB));
    VAL(flock(other, LOCK_UN));
    VAL(flock(ro, LOCK_EX | LOCK_NB));
    VAL(flock(ro, LOCK_UN));
    VAL(flock(99, LOCK_EX));
    VAL(flock(other, 0));
    VAL(flock(other, LOCK_EX | LOCK_SH));
}

static void flock_waits(void)
{
    int fd, back[2];
    pid_t pid;

    pipe(back);
    suite_make(P("f"), "x");
    fd = open(P("f"), O_RDWR);
    VAL(flock(fd, LOCK_EX));
    pid = fork();
    if (pid == 0) {
        int own = open(P("f"), O_RDWR);

        close(fd); /* or the child would keep the lock itself */
        suite_tell(back[1]);
        VAL(flock(own, LOCK_EX));
        suite_show(P("f"));
        _exit(0);
    }
    suite_await(back[0]);
    usleep(100000);
    VAL(write(fd, "y", 1));
    suite_say("close");
    close(fd);
    suite_wait("waiter", pid);
}

static void ofd_child(int fd)
{
    int own = open(P("f"), O_RDWR);

    VAL(lock(own, F_OFD_SETLK, F_WRLCK, 0, 10));
    VAL(lock(own, F_SETLK, F_WRLCK, 0, 10));
    VAL(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    test("fcntl test", own, F_GETLK, F_WRLCK, 0, 10);
}

static void ofd(void)
{
    int fd, other;

    suite_make(P("f"), "x");
    fd = open(P("f"), O_RDWR);
    other = open(P("f"), O_RDWR);
    VAL(lock(fd, F_OFD_SETLK, F_WRLCK, 0, 10));
    VAL(lock(other, F_OFD_SETLK, F_WRLCK, 5, 10));
    VAL(lock(other, F_OFD_SETLK, F_WRLCK, 10, 10));
    test("ofd test", other, F_OFD_GETLK, F_WRLCK, 0, 10);
    child("child", ofd_child, fd);
    VAL(close(other)); /* drops only its own */
    child("child", ofd_child, fd);
    VAL(lock(fd, F_OFD_SETLK, F_UNLCK, 0, 10));
    child("child", ofd_child, fd);
}

static void lockf_child(int fd)
{
    int own = open(P("f"), O_RDWR);

    (void)fd;
    VAL(lockf(own, F_TEST, 5));
    VAL(lockf(own, F_TLOCK, 5));
    lseek(own, 20, SEEK_SET);
    VAL(lockf(own, F_TEST, 5));
    VAL(lockf(own, F_TLOCK, 5));
}

static void lockfs(void)
{
    int fd;

    suite_make(P("f"), "x");
    fd = open(P("f"), O_RDWR);
    VAL(lockf(fd, F_LOCK, 10));
    VAL(lockf(fd, F_TEST, 10));
    child("child", lockf_child, fd);
    VAL(lockf(fd, F_ULOCK, 10));
    child("child", lockf_child, fd);
    VAL(lockf(fd, 77, 10));
}

SUITE_GROUP(locks) = {{"record", record}, {"waiting", waiting},         {"interrupted", interrupted},
                      {"flock", flocks},  {"flock_waits", flock_waits}, {"ofd", ofd},
                      {"lockf", lockfs},  {NULL, NULL}};
