/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All descriptors of ours that the process has, as the kernel tells: at its start, before exec, before its end.
 */
#include <fcntl.h>

#include "client/nfs/rpc.h"
#include "client/shim/shim.h"

/* Every descriptor of ours that the kernel knows of, whether it was used here or not. */
static void ofd_scan(void (*fn)(int fd, struct ofd *ofd, void *arg), void *arg)
{
    struct sys_dirent *e;
    long dir = sys3(SYS_open, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;
    char buf[2048];

    if (dir < 0)
        return;
    while ((n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        for (long at = 0; at < n; at += e->reclen) {
            int fd = 0;
            long flags;

            e = (void *)(buf + at);
            for (const char *p = e->name; *p >= '0' && *p <= '9'; p++)
                fd = fd * 10 + (*p - '0');
            if (e->name[0] < '0' || e->name[0] > '9' || fd == dir || rpc_owns_fd(fd))
                continue;
            flags = sys2(SYS_fcntl, fd, F_GETFL);
            if (flags >= 0 && (flags & O_PATH)) {
                unsigned mark = ofd_using();
                struct ofd *ofd = ofd_get(fd);

                if (ofd != NULL)
                    fn(fd, ofd, arg);
                ofd_used(mark);
            }
        }
    }
    sys1(SYS_close, dir);
}

static void ofd_find_one(int fd, struct ofd *ofd, void *arg)
{
}

void ofd_find_all(void)
{
    ofd_scan(ofd_find_one, NULL);
}

/* A vfork child's copies were not counted by anybody; those that outlive the exec are from now on. After fork they
 * were all counted, and those that end with the exec are given back. */
static void ofd_exec_one(int fd, struct ofd *ofd, void *arg)
{
    bool ends = sys2(SYS_fcntl, fd, F_GETFD) & FD_CLOEXEC, back = *(bool *)arg;
    int add = shim_is_vfork_child() ? (ends ? 0 : 1) : (ends ? -1 : 0);

    if (add != 0 && __atomic_add_fetch(&ofd->refs, back ? -add : add, __ATOMIC_ACQ_REL) == 0)
        lock_last_close(ofd);
}

void ofd_exec(bool back)
{
    ofd_scan(ofd_exec_one, &back);
}

static void ofd_exit_one(int fd, struct ofd *ofd, void *arg)
{
    ofd_forget(fd, false);
}

void ofd_exit(void)
{
    ofd_scan(ofd_exit_one, NULL);
}
