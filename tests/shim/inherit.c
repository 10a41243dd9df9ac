/* SPDX-License-Identifier: Apache-2.0
 * inherit: descriptors after fork and exec, shared offsets, SCM_RIGHTS.
 */
#include "tests/shim/suite.h"

#include <sys/socket.h>
#include <sys/syscall.h>

static void forked(void)
{
    char buf[16] = "";
    int fd, go[2], back[2];
    pid_t pid;

    pipe(go);
    pipe(back);
    suite_make(P("f"), "0123456789abcdef");
    fd = open(P("f"), O_RDWR);
    VAL(read(fd, buf, 2));
    pid = fork();
    if (pid == 0) {
        VAL(read(fd, buf, 3));
        suite_bytes("child", buf, 3);
        suite_tell(back[1]);
        suite_await(go[0]);
        VAL(lseek(fd, 0, SEEK_CUR));
        VAL(write(fd, "CHILD", 5));
        VAL(lseek(fd, 1, SEEK_SET));
        _exit(3);
    }
    suite_await(back[0]);
    VAL(read(fd, buf, 3));
    suite_bytes("parent", buf, 3);
    suite_tell(go[1]);
    suite_wait("child", pid);
    VAL(lseek(fd, 0, SEEK_CUR));
    suite_show(P("f"));
    /* a child's close is not the parent's */
    pid = fork();
    if (pid == 0) {
        close(fd);
        _exit(0);
    }
    suite_wait("child", pid);
    VAL(write(fd, "!", 1));
    suite_show(P("f"));
}

static void grandchildren(void)
{
    int fd = open(P("f"), O_WRONLY | O_CREAT, 0644);

    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();

        if (pid == 0) {
            pid_t inner = fork();

            if (inner == 0) {
                dprintf(fd, "inner %d\n", i);
                _exit(0);
            }
            waitpid(inner, NULL, 0);
            dprintf(fd, "outer %d\n", i);
            _exit(0);
        }
        suite_wait("child", pid);
    }
    suite_show(P("f"));
}

/* Many at once through one shared offset: no line lost, none overwritten. */
static void together(void)
{
    int fd = open(P("f"), O_RDWR | O_CREAT, 0644), lines = 0;
    pid_t pids[4];
    char c;

    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            for (int j = 0; j < 50; j++)
                dprintf(fd, "process %d line %02d\n", i, j);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        waitpid(pids[i], NULL, 0);
    VAL(lseek(fd, 0, SEEK_CUR));
    lseek(fd, 0, SEEK_SET);
    FILE *f = fdopen(fd, "r");
    char line[64];
    int good = 0;
    while (fgets(line, sizeof(line), f) != NULL) {
        int p, l;

        lines++;
        good += sscanf(line, "process %d line %d%c", &p, &l, &c) == 3 && c == '\n' && strlen(line) == 18;
    }
    VAL(lines);
    VAL(good);
}

static void appended(void)
{
    pid_t pids[4];
    char line[64];
    int lines = 0, good = 0;
    FILE *f;

    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            int fd = open(P("log"), O_WRONLY | O_CREAT | O_APPEND, 0644);

            for (int j = 0; j < 50; j++)
                dprintf(fd, "process %d line %02d\n", i, j);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++)
        waitpid(pids[i], NULL, 0);
    f = fopen(P("log"), "r");
    while (fgets(line, sizeof(line), f) != NULL) {
        lines++;
        good += strlen(line) == 18 && strncmp(line, "process ", 8) == 0;
    }
    VAL(lines);
    VAL(good);
}

static void execed(void)
{
    int fd, hidden;
    char num[16], num2[16];
    pid_t pid;

    suite_make(P("f"), "0123456789");
    fd = open(P("f"), O_RDWR);
    hidden = open(P("f"), O_RDWR | O_CLOEXEC);
    VAL(lseek(fd, 2, SEEK_SET));
    snprintf(num, sizeof(num), "%d", fd);
    snprintf(num2, sizeof(num2), "%d", hidden);
    pid = fork();
    if (pid == 0) {
        execl(suite_self, "suite", "helper", "fds", num, num2, NULL);
        _exit(9);
    }
    suite_wait("helper", pid);
    VAL(lseek(fd, 0, SEEK_CUR));
    suite_show(P("f"));
    pid = fork();
    if (pid == 0) {
        dup2(fd, 0);
        dup2(open(P("out"), O_WRONLY | O_CREAT, 0644), 1);
        execl("/bin/cat", "cat", NULL);
        _exit(9);
    }
    suite_wait("cat", pid);
    suite_show(P("out"));
    pid = fork();
    if (pid == 0) {
        chdir(P(""));
        execl("/bin/sh", "sh", "-c", "cat <f >g; echo more >>g; exec 7<>g; read x <&7; echo $x >h; pwd >>h", NULL);
        _exit(9);
    }
    suite_wait("sh", pid);
    suite_show(P("g"));
    suite_show(P("h"));
}

static int send_fd(int sock, int fd)
{
    char byte = 'f', control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    return (int)sendmsg(sock, &msg, 0);
}

static int receive_fd(int sock)
{
    char byte, control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    int fd;

    if (recvmsg(sock, &msg, 0) != 1 || CMSG_FIRSTHDR(&msg) == NULL)
        return -1;
    memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
    return fd;
}

static void rights(void)
{
    char buf[16] = "";
    int pair[2], fd;
    pid_t pid;

    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    suite_make(P("f"), "0123456789");
    pid = fork();
    if (pid == 0) {
        fd = receive_fd(pair[1]);
        VAL(read(fd, buf, 4));
        suite_bytes("receiver", buf, 4);
        VAL(write(fd, "RECEIVER", 8));
        send(pair[1], "x", 1, 0);
        suite_await(pair[1]);
        fd = receive_fd(pair[1]);
        VAL(faccessat(fd, "f", F_OK, 0));
        _exit(0);
    }
    fd = open(P("f"), O_RDWR);
    VAL(lseek(fd, 3, SEEK_SET));
    if (send_fd(pair[0], fd) != 1)
        suite_say("cannot send");
    suite_await(pair[0]);
    VAL(lseek(fd, 0, SEEK_CUR));
    suite_tell(pair[0]);
    if (send_fd(pair[0], open(P(""), O_RDONLY)) != 1)
        suite_say("cannot send");
    suite_wait("receiver", pid);
    suite_show(P("f"));
}

/* A vfork child that closes everything while its parent has written what is not yet durable. */
static void vforked(void)
{
    int fd = OK(open(P("f"), O_RDWR | O_CREAT, 0644)), status = -1;
    struct stat st;
    pid_t pid;

    for (int i = 0; i < 3; i++) {
        VAL(pwrite(fd, "parent\n", 7, 7 * i));
        VAL(lseek(fd, 7 * i + 7, SEEK_SET));
        pid = vfork();
        if (pid == 0) {
            dup2(fd, 1);
            if (i < 2)
                syscall(SYS_close_range, 3, ~0u, 0);
            for (int k = 3; i == 2 && k < 65536; k++)
                close(k);
            execl("/bin/sh", "sh", "-c", "echo child", (char *)NULL);
            _exit(9);
        }
        VAL(waitpid(pid, &status, 0) == pid);
        VAL(status);
        VAL(fstat(fd, &st));
        suite_show(P("f"));
    }
    VAL(close(fd));
}

/* The descriptor of another process by its name in /proc. */
static void others(void)
{
    int fd = OK(open(P("f"), O_RDWR | O_CREAT, 0644)), status = -1, there;
    char name[64], got[16] = "";
    pid_t pid;

    VAL(write(fd, "other", 5));
    VAL(fsync(fd));
    snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)getpid(), fd);
    pid = fork();
    if (pid == 0) {
        there = open(name, O_RDWR);
        if (read(there, got, sizeof(got)) != 5 || memcmp(got, "other", 5) != 0 || pwrite(there, "O", 1, 0) != 1)
            _exit(1);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    VAL(status);
    VAL(pread(fd, got, sizeof(got), 0));
    suite_bytes("read", got, 5);
    VAL(close(fd));
}

static long unseen(long nr, long a, long b, long c)
{
    long ret;

    __asm__ volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
    return ret;
}

/* A descriptor that another process took stays what it is, when its owner has closed it and opens something else. */
static void taken(void)
{
    int go[2], back[2], fd, fd2;
    char buf[8] = "";
    pid_t pid;

    suite_make(P("f"), "first");
    suite_make(P("g"), "second");
    pipe(go);
    pipe(back);
    fd = dup(0);
    close(fd);
    pid = fork();
    if (pid == 0) {
        long mine;

        suite_await(go[0]);
        mine = unseen(SYS_pidfd_getfd, unseen(SYS_pidfd_open, getppid(), 0, 0), fd, 0);
        suite_tell(back[1]);
        suite_await(go[0]);
        VAL(pread((int)mine, buf, 5, 0));
        suite_tell(back[1]);
        suite_await(go[0]);
        VAL(pread((int)mine, buf, 5, 0));
        suite_bytes("taken", buf, 5);
        _exit(0);
    }
    VAL(open(P("f"), O_RDONLY) == fd);
    suite_tell(go[1]);
    suite_await(back[0]);
    VAL(close(fd));
    suite_tell(go[1]);
    suite_await(back[0]);
    fd2 = OK(open(P("g"), O_RDONLY));
    suite_tell(go[1]);
    suite_wait("child", pid);
    VAL(pread(fd2, buf, 6, 0));
    VAL(close(fd2));
}

/* Rights given up are given up for what was in use before, too. */
static void dropped(void)
{
    int status = -1;
    struct stat st;
    pid_t pid;

    if (geteuid() != 0)
        return;
    suite_make(P("mine"), "x");
    chmod(P("mine"), 0600);
    chmod(P(""), 0777);
    pid = fork();
    if (pid == 0) {
        int got = 0;

        access(P("mine"), R_OK);
        if (setgid(4321) != 0 || setuid(4321) != 0)
            _exit(99);
        got |= open(P("mine"), O_RDONLY) >= 0 ? 1 : 0;
        got |= open(P("theirs"), O_WRONLY | O_CREAT, 0644) >= 0 ? 2 : 0;
        _exit(got);
    }
    waitpid(pid, &status, 0);
    VAL(status);
    VAL(stat(P("theirs"), &st));
    VAL(st.st_uid);
    VAL(st.st_gid);
}

SUITE_GROUP(inherit) = {{"fork", forked},     {"grandchildren", grandchildren}, {"together", together},
                        {"append", appended}, {"exec", execed},                 {"rights", rights},
                        {"vfork", vforked},   {"drop", dropped},                 {"others", others},
                        {"taken", taken},
                        {NULL, NULL}};
