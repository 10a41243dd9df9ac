/* SPDX-License-Identifier: Apache-2.0
 * stat: the stat family and statx, and how times move.
 */
#include "tests/shim/suite.h"

#include <sys/sysmacros.h>
#include <time.h>

static void family(void)
{
    struct stat st, other;
    int fd, d;

    suite_make(P("f"), "abc");
    mkdir(P("d"), 0750);
    symlink("f", P("s"));
    symlink("none", P("dangling"));
    suite_lstat(P("f"));
    suite_lstat(P("s"));
    suite_lstat(P("d"));
    suite_lstat(P("dangling"));
    suite_lstat(P("none"));
    suite_lstat(P("f/x"));
    suite_lstat(P("f/"));
    suite_lstat(P("d/"));
    suite_lstat(P("d/."));
    suite_lstat("");
    VAL(stat(P("dangling"), &st));
    VAL(stat(P("s"), &st));
    suite_stat_show("through the link", &st);
    VAL(lstat(P("f"), &other));
    VAL(st.st_ino == other.st_ino && st.st_dev == other.st_dev);
    fd = open(P("f"), O_RDONLY);
    VAL(fstat(fd, &other));
    VAL(st.st_ino == other.st_ino && st.st_dev == other.st_dev);
    VAL(fstatat(AT_FDCWD, P("s"), &st, AT_SYMLINK_NOFOLLOW));
    suite_stat_show("nofollow", &st);
    d = open(P("d"), O_RDONLY);
    VAL(fstatat(d, "../f", &st, 0));
    VAL(fstatat(d, "", &st, 0));
    VAL(fstatat(d, "", &st, AT_EMPTY_PATH));
    suite_stat_show("empty path", &st);
    VAL(fstatat(fd, "x", &st, 0));
    VAL(fstatat(d, "../f", &st, 0x40000000));
    VAL(fstatat(AT_FDCWD, "", &st, AT_EMPTY_PATH));
    VAL(fstat(99, &st));
    VAL(fstat(-1, &st));
    VAL(stat(P("f"), &st));
    VAL(st.st_blksize >= 512);
    VAL(st.st_blocks > 0);
    VAL(st.st_rdev);
}

static void extended(void)
{
    struct statx sx;
    int fd;

    suite_make(P("f"), "abc");
    symlink("f", P("s"));
    fd = open(P("f"), O_RDONLY);
    VAL(statx(AT_FDCWD, P("f"), 0, STATX_BASIC_STATS, &sx));
    VAL((sx.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
    VAL(sx.stx_size);
    VAL(sx.stx_mode);
    VAL(sx.stx_nlink);
    VAL(statx(AT_FDCWD, P("s"), AT_SYMLINK_NOFOLLOW, STATX_ALL, &sx));
    VAL(S_ISLNK(sx.stx_mode));
    VAL(statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &sx));
    VAL(statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_ALL, &sx));
    VAL(statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_ALL, &sx));
    VAL(statx(AT_FDCWD, P("none"), 0, STATX_ALL, &sx));
    VAL(statx(AT_FDCWD, P("f"), 0x40000000, STATX_ALL, &sx));
    VAL(statx(AT_FDCWD, P("f"), 0, STATX__RESERVED, &sx));
    VAL(sx.stx_dev_major != 0 || sx.stx_dev_minor != 0);
}

static bool newer(struct timespec a, struct timespec b)
{
    return a.tv_sec > b.tv_sec || (a.tv_sec == b.tv_sec && a.tv_nsec > b.tv_nsec);
}

static struct stat last;

/* Which times moved since the last call. */
static void moved(const char *text, const char *path)
{
    struct stat st;

    struct timespec now;

    stat(path, &st);
    suite_say("%s:%s%s", text, newer(st.st_mtim, last.st_mtim) ? " mtime" : "", newer(st.st_ctim, last.st_ctim) ? " ctime" : "");
    last = st;
    do { /* the clock of a local file system ticks every 4 ms or 10 ms, or later on a busy machine */
        usleep(2000);
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
    } while (!newer(now, last.st_mtim) || !newer(now, last.st_ctim));
}

static void times(void)
{
    time_t before = time(NULL) - 2, after;
    struct stat st;
    int fd;

    suite_make(P("f"), "abc");
    after = time(NULL) + 2;
    stat(P("f"), &st);
    VAL(st.st_mtim.tv_sec >= before && st.st_mtim.tv_sec <= after);
    VAL(st.st_atim.tv_sec >= before && st.st_atim.tv_sec <= after);
    moved("made", P("f"));
    moved("nothing", P("f"));
    chmod(P("f"), 0600);
    moved("chmod", P("f"));
    fd = open(P("f"), O_RDWR);
    moved("open", P("f"));
    read(fd, (char[4]){0}, 3);
    moved("read", P("f"));
    write(fd, "x", 1);
    moved("write", P("f"));
    write(fd, "x", 1);
    fsync(fd);
    moved("write and fsync", P("f"));
    write(fd, "x", 1);
    close(fd);
    moved("write and close", P("f"));
    moved("nothing", P("f"));
    truncate(P("f"), 2);
    moved("truncate", P("f"));
    link(P("f"), P("g"));
    moved("link", P("f"));
    rename(P("g"), P("h"));
    moved("rename", P("h"));
    moved("of the folder", P(""));
    suite_make(P("i"), "");
    moved("create in the folder", P(""));
    unlink(P("i"));
    moved("unlink in the folder", P(""));
    mkdir(P("j"), 0755);
    moved("mkdir in the folder", P(""));
    chmod(P("f"), 0644);
    moved("chmod in the folder", P(""));
}

SUITE_GROUP(stat) = {{"family", family}, {"statx", extended}, {"times", times}, {NULL, NULL}};
