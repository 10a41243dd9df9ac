/* SPDX-License-Identifier: Apache-2.0
 * attr: chmod, chown, utimensat and their kin.
 */
#include "tests/shim/suite.h"

#include <sys/time.h>
#include <time.h>
#include <utime.h>

static void modes(void)
{
    int fd, d;

    suite_make(P("f"), "x");
    mkdir(P("d"), 0755);
    symlink("f", P("s"));
    VAL(chmod(P("f"), 0600));
    suite_lstat(P("f"));
    VAL(chmod(P("f"), 07777));
    suite_lstat(P("f"));
    VAL(chmod(P("f"), 0));
    suite_lstat(P("f"));
    VAL(chmod(P("s"), 0644));
    suite_lstat(P("f"));
    VAL(chmod(P("d"), 01770));
    suite_lstat(P("d"));
    VAL(chmod(P("none"), 0644));
    VAL(chmod(P("f/x"), 0644));
    fd = open(P("f"), O_RDONLY);
    VAL(fchmod(fd, 0640));
    suite_lstat(P("f"));
    VAL(fchmod(99, 0640));
    d = open(P(""), O_RDONLY);
    VAL(fchmodat(d, "f", 0604, 0));
    VAL(fchmodat(d, "s", 0606, 0));
    suite_lstat(P("f"));
    VAL(fchmod(d, 0711));
    suite_lstat(P(""));
    chmod(P("f"), 06755);
    fd = open(P("f"), O_WRONLY);
    write(fd, "y", 1);
    close(fd);
    suite_lstat(P("f")); /* a write by other than root takes the set-id bits away */
}

static void owners(void)
{
    int fd;

    suite_make(P("f"), "x");
    symlink("f", P("s"));
    VAL(chown(P("f"), getuid(), getgid()));
    VAL(chown(P("f"), (uid_t)-1, (gid_t)-1));
    VAL(chown(P("f"), 1234, 5678));
    suite_lstat(P("f"));
    VAL(chown(P("s"), 12, (gid_t)-1));
    suite_lstat(P("f"));
    VAL(lchown(P("s"), 13, 14));
    suite_lstat(P("s"));
    fd = open(P("f"), O_RDONLY);
    VAL(fchown(fd, (uid_t)-1, 99));
    suite_lstat(P("f"));
    VAL(fchownat(AT_FDCWD, P("s"), 15, 16, AT_SYMLINK_NOFOLLOW));
    suite_lstat(P("s"));
    VAL(fchownat(fd, "", 17, 18, AT_EMPTY_PATH));
    suite_lstat(P("f"));
    VAL(chown(P("none"), 0, 0));
    chmod(P("f"), 06777);
    VAL(chown(P("f"), 20, 20));
    suite_lstat(P("f"));
}

static void show_times(const char *path)
{
    struct stat st;

    if (lstat(path, &st) != 0)
        suite_say("%s: %s", path, strerrorname_np(errno));
    else if (st.st_mtim.tv_sec > 1700000000)
        suite_say("%s: now", path);
    else
        suite_say("%s: %ld.%09ld %ld.%09ld", path, (long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec,
                  st.st_mtim.tv_nsec);
}

static void times(void)
{
    struct timespec at[2] = {{1000000000, 123456789}, {1100000000, 987654321}};
    struct timeval tv[2] = {{1200000000, 5}, {1300000000, 6}};
    struct utimbuf ub = {1400000000, 1500000000};
    int fd;

    suite_make(P("f"), "x");
    symlink("f", P("s"));
    mkdir(P("d"), 0755);
    VAL(utimensat(AT_FDCWD, P("f"), at, 0));
    show_times(P("f"));
    at[0].tv_nsec = UTIME_OMIT;
    at[1].tv_sec = 5;
    VAL(utimensat(AT_FDCWD, P("f"), at, 0));
    show_times(P("f"));
    at[1].tv_nsec = UTIME_OMIT;
    VAL(utimensat(AT_FDCWD, P("f"), at, 0));
    show_times(P("f"));
    VAL(utimensat(AT_FDCWD, P("none"), at, 0));
    at[1].tv_nsec = UTIME_NOW;
    VAL(utimensat(AT_FDCWD, P("f"), at, 0));
    show_times(P("f"));
    at[1].tv_nsec = 2000000000;
    VAL(utimensat(AT_FDCWD, P("f"), at, 0));
    at[0] = at[1] = (struct timespec){1000, 1};
    VAL(utimensat(AT_FDCWD, P("s"), at, AT_SYMLINK_NOFOLLOW));
    VAL(utimensat(AT_FDCWD, P("d"), at, 0));
    show_times(P("d"));
    show_times(P("s"));
    show_times(P("f"));
    fd = open(P("f"), O_RDWR);
    VAL(futimens(fd, at));
    show_times(P("f"));
    VAL(utimes(P("f"), tv));
    show_times(P("f"));
    VAL(futimes(fd, tv));
    VAL(lutimes(P("s"), tv));
    show_times(P("s"));
    VAL(futimesat(AT_FDCWD, P("f"), tv));
    VAL(utime(P("f"), &ub));
    show_times(P("f"));
    VAL(utime(P("f"), NULL));
    show_times(P("f"));
    /* times set on a file with unwritten data stay, whatever is written back later */
    VAL(write(fd, "abc", 3));
    VAL(futimens(fd, at));
    VAL(close(fd));
    show_times(P("f"));
    at[0].tv_sec = -100;
    at[1].tv_sec = -200;
    VAL(utimensat(AT_FDCWD, P("f"), at, 0));
    show_times(P("f"));
    VAL(futimens(99, at));
    VAL(utimensat(AT_FDCWD, P("f"), at, 0x40000));
}

SUITE_GROUP(attr) = {{"modes", modes}, {"owners", owners}, {"times", times}, {NULL, NULL}};
