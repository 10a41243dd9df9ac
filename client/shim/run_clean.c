/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The removal of run directories: one's own, and those that killed runs left behind. System calls are made directly
 * and nothing is allocated: the agent, a copy of one thread of a program, sweeps too.
 */
#include "client/shim/run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/shim/shim.h"

#define RUN_BARE_AGE 3600 /* seconds after which a directory that never got its record was left behind */
#define RUN_PASSES 10000  /* more than a path has directories */

const char *run_parent(void)
{
    return sys2(SYS_access, "/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

static int open_dir(int parent, const char *name)
{
    return (int)sys3(SYS_openat, parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static bool unlink_at(int dir, const char *name)
{
    return sys3(SYS_unlinkat, dir, name, 0) == 0 || sys3(SYS_unlinkat, dir, name, AT_REMOVEDIR) == 0;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Empties the directory top/name: its directories that are not empty move to top, however deep they are. False when
 * nothing could be done. */
static bool empty_into(int top, const char *name, unsigned *moved)
{
    int dir = open_dir(top, name);
    struct sys_dirent *e;
    char buf[1024], to[32];
    bool done = false;
    long n;

    if (dir < 0)
        return false;
    while ((n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n; at += e->reclen) {
            e = (void *)(buf + at);
            if (is_dots(e->name))
                continue;
            snprintf(to, sizeof(to), ".moved-%u", *moved);
            if (unlink_at(dir, e->name)) {
                done = true;
            } else if (sys4(SYS_renameat, dir, e->name, top, to) == 0) {
                done = true;
                (*moved)++;
            }
        }
    }
    sys1(SYS_close, dir);
    return unlink_at(top, name) || done;
}

static void run_remove_at(int parent, const char *name)
{
    int top = open_dir(parent, name);
    struct sys_dirent *e;
    char buf[1024];
    unsigned moved = 0;
    bool more = top >= 0;
    long n;

    for (int pass = 0; more && pass < RUN_PASSES; pass++) {
        more = false;
        sys3(SYS_lseek, top, 0, SEEK_SET);
        while ((n = sys3(SYS_getdents64, top, buf, sizeof(buf))) > 0) {
            for (long at = 0; at < n; at += e->reclen) {
                e = (void *)(buf + at);
                if (is_dots(e->name))
                    continue;
                if (unlink_at(top, e->name) || empty_into(top, e->name, &moved))
                    more = true;
            }
        }
    }
    if (top >= 0)
        sys1(SYS_close, top);
    sys3(SYS_unlinkat, parent, name, AT_REMOVEDIR);
}

void run_remove(const char *dir)
{
    char gone[300];

    /* Under that name whatever a kill leaves of it is known to be of no use. */
    if ((size_t)snprintf(gone, sizeof(gone), "%s.%d", dir, (int)getpid()) < sizeof(gone) &&
        sys2(SYS_rename, dir, gone) == 0)
        dir = gone;
    run_remove_at(AT_FDCWD, dir);
}

/* Is one of the processes in the record about to run another program? Then it has no lock. */
static bool run_listed(const struct run *run)
{
    const struct hold_table *table = &run->holds;
    struct stat st;
    uint64_t start;

    if (sys2(SYS_stat, "/proc/self/ns/pid", &st) != 0)
        return true;
    for (unsigned i = 0; i < table->procs && i < HOLD_PROCS; i++) {
        int alive = 0;

        if (table->pids[i] <= 0)
            continue;
        if (table->proc[i].space != st.st_ino) /* a number that says nothing here */
            return true;
        alive = sys_alive(table->pids[i], &start);
        if (alive < 0 || (alive == 1 && start == table->proc[i].start))
            return true;
    }
    return false;
}

/* Whether lock, held alone, is the record that parent/name has now, of this version, and lists no process that lives. */
static bool run_ended(int parent, const char *name, int lock)
{
    char path[64];
    struct stat st, there;
    struct run *run;
    bool ended;
    long at;

    snprintf(path, sizeof(path), "%s/state", name);
    /* Whoever had the lock before us may have removed it, and others made that run anew. */
    if (sys2(SYS_fstat, lock, &st) != 0 || sys4(SYS_newfstatat, parent, path, &there, AT_SYMLINK_NOFOLLOW) != 0 ||
        st.st_ino != there.st_ino || st.st_dev != there.st_dev)
        return false;
    if (!S_ISREG(st.st_mode) || st.st_size != (off_t)sizeof(*run)) /* another version's, which may not lock */
        return false;
    at = sys6(SYS_mmap, 0, (long)sizeof(*run), PROT_READ, MAP_SHARED, lock, 0);
    if (at < 0 && at > -4096)
        return false;
    run = (struct run *)at;
    ended = run->magic == RUN_MAGIC && run->size == sizeof(*run) && !run_listed(run);
    sys2(SYS_munmap, run, sizeof(*run));
    return ended;
}

/* A directory without a record: its maker was killed, or is just making it. Who finds it gone makes it again. */
static void run_clean_bare(int parent, const char *name, int dir)
{
    struct sys_dirent *e;
    char buf[1024];
    long n;

    while ((n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0)
        for (long at = 0; at < n; at += e->reclen) {
            e = (void *)(buf + at);
            if (strncmp(e->name, "state.", 6) == 0)
                sys3(SYS_unlinkat, dir, e->name, 0);
        }
    sys3(SYS_unlinkat, parent, name, AT_REMOVEDIR); /* and not when there is a record by now */
}

static void run_clean_one(int parent, const char *name, bool gone)
{
    int dir = open_dir(parent, name), lock = -1;
    struct timespec now = {0};
    char to[64];
    struct stat st;

    if (dir < 0)
        return;
    if (sys2(SYS_fstat, dir, &st) != 0 || st.st_uid != (uid_t)sys0(SYS_geteuid) || (st.st_mode & 077) != 0)
        goto out;
    if (gone) {
        run_remove_at(parent, name);
        goto out;
    }
    lock = (int)sys4(SYS_openat, dir, "state", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    sys2(SYS_clock_gettime, CLOCK_REALTIME, &now);
    if (lock == -ENOENT && st.st_mtime < now.tv_sec - RUN_BARE_AGE)
        run_clean_bare(parent, name, dir);
    if (lock < 0 || sys2(SYS_flock, lock, LOCK_EX | LOCK_NB) != 0 || !run_ended(parent, name, lock))
        goto out;
    /* Away under another name first: who makes the same run anew meanwhile finds nothing there. */
    snprintf(to, sizeof(to), "%.48s.%d", name, (int)sys0(SYS_getpid));
    if (sys4(SYS_renameat, parent, name, parent, to) == 0)
        run_remove_at(parent, to);
out:
    if (lock >= 0)
        sys1(SYS_close, lock);
    sys1(SYS_close, dir);
}

/* Is it the name of a run's directory? *gone: of one that was being removed, which is that name, a dot and a number. */
static bool run_named(const char *name, bool *gone)
{
    char prefix[32];
    size_t len;

    snprintf(prefix, sizeof(prefix), "volnfs-%u-", (unsigned)sys0(SYS_geteuid));
    len = strlen(prefix);
    if (strncmp(name, RUN_PREFIX, strlen(RUN_PREFIX)) == 0)
        name += strlen(RUN_PREFIX), len = 6;
    else if (strncmp(name, prefix, len) == 0)
        name += len, len = 16;
    else
        return false;
    if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789") != len)
        return false;
    name += len;
    *gone = *name == '.';
    return name[strspn(name, ".0123456789")] == 0 && strlen(name) < 32;
}

void run_clean(const char *parent)
{
    struct sys_dirent *e;
    int dir = (int)sys3(SYS_open, parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    char buf[4096];
    bool gone;
    long n;

    if (dir < 0)
        return;
    while ((n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0)
        for (long at = 0; at < n; at += e->reclen) {
            e = (void *)(buf + at);
            if (run_named(e->name, &gone))
                run_clean_one(dir, e->name, gone);
        }
    sys1(SYS_close, dir);
}
