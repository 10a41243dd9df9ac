/* SPDX-License-Identifier: Apache-2.0
 * smalldisk: a disk that is full soon, for a child process.
 */
#ifndef VOLNFS_TESTS_SMALLDISK_H
#define VOLNFS_TESTS_SMALLDISK_H

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/storetest.h"

#define SMALL_DISK_NONE 77 /* no small disk is allowed here */

static inline bool small_disk_put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return ok;
}

/* Puts a tmpfs ("size=48m") on dir, which only this process sees; it must have no other threads. False: that is not
 * allowed here. */
static inline bool small_disk(const char *dir, const char *size)
{
    char map[32], gmap[32];

    snprintf(map, sizeof(map), "0 %u 1", (unsigned)getuid());
    snprintf(gmap, sizeof(gmap), "0 %u 1", (unsigned)getgid());
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && small_disk_put("/proc/self/uid_map", map) &&
           small_disk_put("/proc/self/setgroups", "deny") && small_disk_put("/proc/self/gid_map", gmap) &&
           mount("none", dir, "tmpfs", 0, size) == 0;
}

/* A test whose body runs in a child, where it may call small_disk. The test passes with 0, and is skipped with SMALL_DISK_NONE. */
static inline void small_disk_test(int (*body)(void))
{
    pid_t pid = fork();
    int status;

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == SMALL_DISK_NONE) {
        print_message("no private mount allowed here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

#endif
