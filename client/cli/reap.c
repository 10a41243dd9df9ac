/* SPDX-License-Identifier: Apache-2.0
 * Locks of killed processes: the launcher gives them back, since the run's lease, which it renews, keeps them alive.
 */
#include "client/cli/reap.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Does the process that made the row still run? Unknown counts as yes. */
static bool process_lives(const struct run_lock *row)
{
    char path[64], text[1024];
    unsigned long long start = 0;
    char *at, state = 0;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/stat", row->pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return access("/proc/self/stat", R_OK) != 0;
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = 0;
    at = strrchr(text, ')');
    if (at == NULL || sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
                             &state, &start) != 2)
        return true;
    return state != 'Z' && state != 'X' && start == row->start;
}

/* Has any process a descriptor of the open? Those we may not look into count as yes. */
static bool open_lives(uint64_t id)
{
    char want[64], path[300], target[64];
    DIR *proc = opendir("/proc"), *fds;
    struct dirent *p, *f;
    bool found = false;

    if (proc == NULL)
        return true;
    snprintf(want, sizeof(want), "/memfd:volnfs-%016llx", (unsigned long long)id);
    while (!found && (p = readdir(proc)) != NULL) {
        if (!isdigit((unsigned char)p->d_name[0]))
            continue;
        snprintf(path, sizeof(path), "/proc/%s/fd", p->d_name);
        fds = opendir(path);
        if (fds == NULL)
            continue; /* gone, or another user's: not of this run */
        while (!found && (f = readdir(fds)) != NULL) {
            ssize_t n = readlinkat(dirfd(fds), f->d_name, target, sizeof(target) - 1);

            found = n >= (ssize_t)strlen(want) && memcmp(target, want, strlen(want)) == 0;
        }
        closedir(fds);
    }
    closedir(proc);
    return found;
}

void reap_locks(struct run *run, struct nfs_client *client)
{
    static uint64_t space;
    struct stat st;

    for (unsigned i = 0; i < SHIM_LOCKS; i++) {
        struct run_lock *row = &run->locks[i];
        struct nfs_locker locker;

        if (__atomic_load_n(&row->used, __ATOMIC_ACQUIRE) != 2)
            continue;
        if (space == 0)
            space = stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 1;
        if (row->space != space || process_lives(row) || (row->ofd != 0 && open_lives(row->ofd)))
            continue;
        locker = row->locker;
        memset(&locker.busy, 0, sizeof(locker.busy)); /* whoever held these is dead */
        memset(&locker.owner.lock, 0, sizeof(locker.owner.lock));
        nfs_lock_end(client, &locker, &row->fh);
        __atomic_store_n(&row->used, 0, __ATOMIC_RELEASE);
    }
}
