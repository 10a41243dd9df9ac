/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets, as far as files come into it: descriptors sent to others, and names of sockets in volumes. */
#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#include "client/shim/shim.h"

/* Counts the descriptors in a message for whoever will receive them (or, after all, nobody: add is -1). */
static void socket_count(const struct msghdr *msg, int add)
{
    struct msghdr copy = *msg;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&copy); c != NULL; c = CMSG_NXTHDR(&copy, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS || c->cmsg_len < CMSG_LEN(0))
            continue;
        for (size_t at = 0; at + sizeof(int) <= c->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
            unsigned mark = ofd_using();
            struct ofd *ofd;
            int fd;

            memcpy(&fd, CMSG_DATA(c) + at, sizeof(fd));
            ofd = ofd_get(fd);
            if (ofd != NULL) {
                __atomic_store_n(&ofd->loose, 1, __ATOMIC_SEQ_CST);
                __atomic_add_fetch(&ofd->refs, add, __ATOMIC_ACQ_REL);
            }
            ofd_used(mark);
        }
    }
}

/* Only messages with something beside the data come here. */
long sc_sendmsg(const long a[6])
{
    const struct msghdr *msg = (const struct msghdr *)a[1];
    long ret;

    if (shim_is_vfork_child())
        return shim_pass(SYS_sendmsg, a);
    socket_count(msg, 1);
    ret = shim_blocking(SYS_sendmsg, a[0], a[1], a[2], 0);
    if (ret < 0)
        socket_count(msg, -1);
    return ret;
}

/* Only when one of the messages has something beside the data. */
long sc_sendmmsg(const long a[6])
{
    const struct mmsghdr *v = (const struct mmsghdr *)a[1];
    unsigned n = (unsigned)a[2] < UIO_MAXIOV ? (unsigned)a[2] : UIO_MAXIOV;
    long ret;

    if (shim_is_vfork_child())
        return shim_pass(SYS_sendmmsg, a);
    for (unsigned i = 0; i < n; i++)
        socket_count(&v[i].msg_hdr, 1);
    ret = shim_blocking(SYS_sendmmsg, a[0], a[1], n, a[3]);
    for (unsigned i = ret > 0 ? (unsigned)ret : 0; i < n; i++)
        socket_count(&v[i].msg_hdr, -1);
    return ret;
}

/* What is taken from another process is looked at right away, so that it is not used again there (spare.c). */
long sc_pidfd_getfd(const long a[6])
{
    long fd = sys3(SYS_pidfd_getfd, a[0], a[1], a[2]);
    unsigned mark = ofd_using();
    struct ofd *ofd = fd >= 0 ? ofd_get((int)fd) : NULL;

    if (ofd != NULL) {
        __atomic_store_n(&ofd->loose, 1, __ATOMIC_SEQ_CST);
        __atomic_add_fetch(&ofd->refs, 1, __ATOMIC_ACQ_REL);
    }
    ofd_used(mark);
    return fd;
}

long sc_bind(const long a[6])
{
    const struct sockaddr_un *un = (const struct sockaddr_un *)a[1];
    char path[sizeof(un->sun_path) + 1];
    socklen_t size = (socklen_t)a[2];
    struct vpath vp;
    int err;

    if (size <= offsetof(struct sockaddr_un, sun_path) || size > sizeof(*un) || un->sun_family != AF_UNIX ||
        un->sun_path[0] == 0)
        return shim_pass(SYS_bind, a);
    size -= offsetof(struct sockaddr_un, sun_path);
    memcpy(path, un->sun_path, size);
    path[size] = 0;
    err = path_resolve(-100, path, 0, &vp);
    if (err != 0)
        return err;
    if (vp.kind == VP_LOCAL)
        return shim_pass(SYS_bind, a);
    if (vp.kind != VP_MISSING)
        return -EADDRINUSE;
    shim_say("%s: a socket cannot be bound to a name in a volume", vp.path);
    return -EOPNOTSUPP;
}
