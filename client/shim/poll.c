/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for descriptors, and what volumes refuse.
 *
 * A regular file is always ready; epoll takes none (EPERM). The kernel must not see our descriptors: it would call
 * them invalid.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>

#include "client/shim/shim.h"

#define POLL_READY (POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM)

/* Ours are hidden from the kernel as ~fd, which it passes over. */
static long poll_run(struct pollfd *fds, unsigned n, struct timespec *limit, const uint64_t *mask)
{
    struct timespec none = {0, 0};
    uint8_t *mine = heap_alloc(n);
    bool ready = false;
    long ret;

    if (mine == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < n; i++)
        mine[i] = fds[i].fd >= 0 && ofd_is(fds[i].fd);
    for (unsigned i = 0; i < n; i++) {
        if (!mine[i])
            continue;
        ready |= (fds[i].events & POLL_READY) != 0;
        fds[i].fd = ~fds[i].fd;
    }
    ret = sys5(SYS_ppoll, fds, n, ready ? &none : limit, mask, 8);
    for (unsigned i = 0; i < n; i++) {
        if (!mine[i])
            continue;
        fds[i].fd = ~fds[i].fd;
        fds[i].revents = fds[i].events & POLL_READY;
        if (fds[i].revents != 0 && ret >= 0)
            ret++;
    }
    heap_free(mine);
    return ret;
}

static bool poll_ours(const struct pollfd *fds, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (fds[i].fd >= 0 && ofd_is(fds[i].fd))
            return true;
    return false;
}

long sc_poll(const long a[6])
{
    struct pollfd *fds = (struct pollfd *)a[0];
    struct timespec limit = {(int)a[2] / 1000, (int)a[2] % 1000 * 1000000L};
    uint64_t mask = shim_mask();

    if (fds == NULL || (unsigned)a[1] > SHIM_FDS || !poll_ours(fds, (unsigned)a[1]))
        return shim_pass(SYS_poll, a);
    return poll_run(fds, (unsigned)a[1], (int)a[2] < 0 ? NULL : &limit, &mask);
}

long sc_ppoll(const long a[6])
{
    struct pollfd *fds = (struct pollfd *)a[0];
    uint64_t mask = shim_mask();

    if (fds == NULL || (unsigned)a[1] > SHIM_FDS || !poll_ours(fds, (unsigned)a[1]))
        return shim_pass(SYS_ppoll, a);
    return poll_run(fds, (unsigned)a[1], (struct timespec *)a[2], a[3] != 0 ? (const uint64_t *)a[3] : &mask);
}

/* Takes our descriptors out of a set; those that were in it go to mine. */
static int select_hide(fd_set *set, fd_set *mine, int n)
{
    int found = 0;

    FD_ZERO(mine);
    for (int fd = 0; set != NULL && fd < n; fd++) {
        if (!FD_ISSET(fd, set) || !ofd_is(fd))
            continue;
        FD_CLR(fd, set);
        FD_SET(fd, mine);
        found++;
    }
    return found;
}

static void select_show(fd_set *set, const fd_set *mine, int n)
{
    for (int fd = 0; set != NULL && fd < n; fd++)
        if (FD_ISSET(fd, mine))
            FD_SET(fd, set);
}

static long select_run(long nr, const long a[6])
{
    fd_set *rd = (fd_set *)a[1], *wr = (fd_set *)a[2], *ex = (fd_set *)a[3], mr, mw, mx;
    int n = (int)a[0] < FD_SETSIZE ? (int)a[0] : FD_SETSIZE, ours;
    struct timespec none = {0, 0};
    long ret;

    ours = select_hide(rd, &mr, n) + select_hide(wr, &mw, n);
    select_hide(ex, &mx, n);
    if (ours == 0) {
        select_show(ex, &mx, n);
        return shim_pass(nr, a);
    }
    ret = sys6(SYS_pselect6, a[0], a[1], a[2], a[3], SYS_ARG(&none), 0);
    if (ret < 0)
        return ret;
    select_show(rd, &mr, n);
    select_show(wr, &mw, n);
    return ret + ours;
}

long sc_select(const long a[6])
{
    return select_run(SYS_select, a);
}

long sc_pselect6(const long a[6])
{
    return select_run(SYS_pselect6, a);
}

long sc_epoll_ctl(const long a[6])
{
    return ofd_get((int)a[2]) == NULL ? shim_pass(SYS_epoll_ctl, a) : -EPERM;
}

long sc_xattr_fd(const long a[6])
{
    return ofd_get((int)a[0]) == NULL ? shim_pass_same(a) : -EOPNOTSUPP;
}

/* A call with a path as its first argument that volumes do not have. */
static long refuse(const long a[6], int err)
{
    struct vpath vp;
    int found = path_resolve(-100, (const char *)a[0], VP_FOLLOW, &vp);

    if (found != 0)
        return found;
    if (vp.kind != VP_LOCAL)
        return vp.kind == VP_MISSING ? -ENOENT : err;
    return path_pass(shim_nr(), a, -1, 0, &vp);
}

long sc_xattr_path(const long a[6])
{
    return refuse(a, -EOPNOTSUPP);
}

long sc_refuse_path(const long a[6])
{
    return refuse(a, -EPERM);
}

long sc_enosys(const long a[6])
{
    return -ENOSYS;
}

long sc_inotify_add_watch(const long a[6])
{
    struct vpath vp;
    int err = path_resolve(-100, (const char *)a[1], VP_FOLLOW, &vp);

    if (err != 0)
        return err;
    if (vp.kind == VP_LOCAL)
        return path_pass(SYS_inotify_add_watch, a, -1, 1, &vp);
    shim_say("%s: changes in a volume cannot be watched", vp.path);
    return -ENOSPC;
}

long sc_name_to_handle_at(const long a[6])
{
    struct vpath vp;
    int err;

    if (((const char *)a[1])[0] == 0)
        return ofd_get((int)a[0]) == NULL ? shim_pass(SYS_name_to_handle_at, a) : -EOPNOTSUPP;
    err = path_resolve((int)a[0], (const char *)a[1], 0, &vp);
    if (err != 0)
        return err;
    return vp.kind == VP_LOCAL ? path_pass(SYS_name_to_handle_at, a, 0, 1, &vp) : -EOPNOTSUPP;
}
