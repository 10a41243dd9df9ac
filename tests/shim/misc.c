/* SPDX-License-Identifier: Apache-2.0
 * misc: extended attributes, inotify, statfs, fadvise, sync, sockets and fifos by name, signals in the middle.
 */
#include "tests/shim/suite.h"

#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/xattr.h>

static void xattrs(void)
{
    char buf[64];
    int fd;

    suite_make(P("f"), "x");
    fd = open(P("f"), O_RDWR);
    VAL(getxattr(P("f"), "user.none", buf, sizeof(buf)));
    VAL(setxattr(P("f"), "user.x", "v", 1, 0));
    VAL(fsetxattr(fd, "user.x", "v", 1, 0));
    VAL(lsetxattr(P("f"), "user.x", "v", 1, 0));
    VAL(getxattr(P("f"), "user.x", buf, sizeof(buf)));
    VAL(fgetxattr(fd, "user.x", buf, sizeof(buf)));
    VAL(listxattr(P("f"), buf, sizeof(buf)));
    VAL(flistxattr(fd, buf, sizeof(buf)));
    VAL(llistxattr(P("f"), NULL, 0));
    VAL(removexattr(P("f"), "user.x"));
    VAL(getxattr(P("none"), "user.x", buf, sizeof(buf)));
    VAL(listxattr(P("none"), buf, sizeof(buf)));
    VAL(getxattr(P("f"), "security.capability", buf, sizeof(buf)));
    VAL(getxattr(P("f"), "system.posix_acl_access", buf, sizeof(buf)));
}

static void watched(void)
{
    int in = inotify_init1(IN_NONBLOCK);

    suite_make(P("f"), "x");
    VAL(inotify_add_watch(in, P("f"), IN_MODIFY) >= 0);
    VAL(inotify_add_watch(in, P(""), IN_CREATE) >= 0);
    VAL(inotify_add_watch(in, P("none"), IN_CREATE));
    VAL(inotify_add_watch(in, L(""), IN_CREATE) >= 0);
}

static void filesystem(void)
{
    struct statfs a, b;
    struct statvfs v;

    suite_make(P("f"), "x");
    VAL(statfs(P("f"), &a));
    VAL(fstatfs(open(P("f"), O_RDONLY), &b));
    VAL(a.f_type == b.f_type && a.f_bsize == b.f_bsize);
    VAL(a.f_bsize > 0 && a.f_blocks > 0);
    VAL(a.f_bavail <= a.f_blocks);
    VAL(a.f_namelen);
    VAL(statfs(P("none"), &a));
    VAL(statvfs(P(""), &v));
    VAL(v.f_frsize > 0);
    VAL(v.f_flag & ST_RDONLY);
    VAL(pathconf(P(""), _PC_NAME_MAX));
    VAL(pathconf(P(""), _PC_PATH_MAX));
}

static void advice(void)
{
    int fd;

    suite_make(P("f"), "x");
    fd = open(P("f"), O_RDWR);
    VAL(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
    VAL(posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED));
    VAL(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED));
    VAL(posix_fadvise(fd, 0, 0, 77));
    VAL(readahead(fd, 0, 100));
    sync();
    VAL(fcntl(fd, F_SETLEASE, F_UNLCK));
    VAL(fcntl(fd, F_GET_SEALS));
    VAL(fcntl(fd, F_SETPIPE_SZ, 4096));
}

static void named_sockets(void)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(un.sun_path, sizeof(un.sun_path), "%.100s", P("s"));
    suite_say("name fits: %d", strlen(P("s")) < 100);
    VAL(connect(s, (struct sockaddr *)&un, sizeof(un)));
}

static volatile sig_atomic_t ticks;
static int tick_fd;

static void tick(int number)
{
    char byte;

    (void)number;
    ticks++;
    if (pread(tick_fd, &byte, 1, 0) != 1) /* a handler may use files */
        ticks += 100000;
}

static void signals(void)
{
    struct itimerval every = {{0, 1000}, {0, 1000}}, never = {0};
    struct sigaction act = {.sa_handler = tick, .sa_flags = SA_RESTART};
    char buf[1000], name[16];
    long wrong = 0;
    int fd;

    suite_make(P("tick"), "x");
    tick_fd = open(P("tick"), O_RDONLY);
    sigaction(SIGALRM, &act, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "n%d", i % 7);
        fd = open(P(name), O_RDWR | O_CREAT | O_TRUNC, 0644);
        suite_fill(buf, sizeof(buf), i);
        wrong += fd < 0 || write(fd, buf, sizeof(buf)) != sizeof(buf);
        memset(buf, 0, sizeof(buf));
        wrong += pread(fd, buf, sizeof(buf), 0) != sizeof(buf) || !suite_filled(buf, sizeof(buf), i);
        wrong += close(fd) != 0 || (i % 3 == 0 && unlink(P(name)) != 0);
    }
    for (long i = 0; ticks < 5; i++)
        ;
    setitimer(ITIMER_REAL, &never, NULL);
    VAL(wrong);
    VAL(ticks >= 5 && ticks < 100000);
}

/* Between a handler that jumps out of a call and the calls after it. */
static void vectors_kept(void)
{
    double x = 1.5, sum = 0;
    int fd;

    suite_make(P("f"), "abc");
    for (int i = 0; i < 50; i++) {
        double y = x * i;

        fd = open(P("f"), O_RDONLY);
        close(fd);
        sum += y;
    }
    suite_say("sum %.3f", sum);
}

SUITE_GROUP(misc) = {{"xattr", xattrs},   {"inotify", watched}, {"statfs", filesystem},      {"advice", advice},
                     {"sockets", named_sockets}, {"signals", signals}, {"vectors", vectors_kept}, {NULL, NULL}};
