/* SPDX-License-Identifier: Apache-2.0
 * listener: opens listening sockets and accepts connections.
 */
#include "server/rpc/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "server/rpc/conn.h"
#include "server/rpc/rpcserver_priv.h"

#define BACKLOG     1024
#define ACCEPTS_MAX 64 /* in one turn */

static const char *advice(int err)
{
    switch (err) {
    case EADDRINUSE:
        return "another program listens there; stop it or choose another address";
    case EACCES:
        return "not allowed; choose a port above 1023 or a folder you may write to";
    case EINVAL:
        return "write it as ADDRESS:PORT, [ADDRESS]:PORT, :PORT or /PATH";
    case EADDRNOTAVAIL:
        return "this machine does not have that address";
    default:
        return strerror(err);
    }
}

/* Splits ADDR:PORT; host gets "" for every address. */
static int split(const char *addr, char *host, size_t host_size, const char **port)
{
    const char *colon = strrchr(addr, ':'), *end;

    if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strlen(colon + 1) > 5 || atoi(colon + 1) > 65535)
        return -EINVAL;
    end = colon;
    if (*addr == '[') {
        addr++;
        end = memchr(addr, ']', (size_t)(colon - addr));
        if (!end || end + 1 != colon)
            return -EINVAL;
    }
    if ((size_t)(end - addr) >= host_size)
        return -EINVAL;
    memcpy(host, addr, (size_t)(end - addr));
    host[end - addr] = 0;
    *port = colon + 1;
    return 0;
}

static int open_one(int family, const struct sockaddr *sa, socklen_t len)
{
    int one = 1, zero = 0, err, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
    if (family != AF_UNIX)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, sa, len) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    err = -errno;
    close(fd);
    return err;
}

static int open_tcp(const char *addr)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char host[256];
    const char *port;
    int fd = -EADDRNOTAVAIL, err = split(addr, host, sizeof(host), &port);

    if (err)
        return err;
    err = getaddrinfo(host[0] ? host : NULL, port, &hints, &list);
    if (err)
        return err == EAI_MEMORY ? -ENOMEM : -EINVAL;
    /* A socket for :: serves IPv4 too, so it comes first; without IPv6 there is 0.0.0.0. */
    for (int pass = 0; pass < 2 && fd < 0; pass++)
        for (struct addrinfo *ai = list; ai && fd < 0; ai = ai->ai_next)
            if ((ai->ai_family == AF_INET6) == (pass == 0))
                fd = open_one(ai->ai_family, ai->ai_addr, ai->ai_addrlen);
    freeaddrinfo(list);
    return fd;
}

/* Removes the file of a socket that nobody serves any more. */
static int remove_stale(const struct sockaddr_un *sun)
{
    struct stat st;
    int fd, live;

    if (lstat(sun->sun_path, &st) != 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EADDRINUSE;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    live = connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) == 0 || errno == EAGAIN;
    close(fd);
    if (live)
        return -EADDRINUSE;
    return unlink(sun->sun_path) == 0 || errno == ENOENT ? 0 : -errno;
}

static int open_unix(const char *path, struct listener *l)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd, err;

    if (strlen(path) >= sizeof(sun.sun_path))
        return -ENAMETOOLONG;
    strcpy(sun.sun_path, path);
    err = remove_stale(&sun);
    if (err)
        return err;
    l->path = strdup(path);
    if (!l->path)
        return -ENOMEM;
    fd = open_one(AF_UNIX, (struct sockaddr *)&sun, sizeof(sun));
    if (fd >= 0 && chmod(path, 0666) != 0) {
        err = -errno;
        unlink(path);
        close(fd);
        fd = err;
    }
    if (fd < 0) {
        free(l->path);
        l->path = NULL;
    }
    return fd;
}

int listener_open(const char *addr, struct listener *l)
{
    l->source = SOURCE_LISTENER;
    l->path = NULL;
    l->fd = *addr == '/' ? open_unix(addr, l) : open_tcp(addr);
    if (l->fd < 0) {
        log_error("cannot listen on %s: %s", addr, advice(-l->fd));
        return l->fd;
    }
    return 0;
}

void listener_close(struct listener *l)
{
    if (l->fd < 0)
        return;
    if (l->path)
        unlink(l->path);
    close(l->fd);
    free(l->path);
    l->path = NULL;
    l->fd = -1;
}

int listener_port(const struct listener *l)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    if (getsockname(l->fd, (struct sockaddr *)&ss, &len) != 0)
        return -errno;
    if (ss.ss_family == AF_INET)
        return ntohs(((struct sockaddr_in *)&ss)->sin_port);
    if (ss.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
    return -EAFNOSUPPORT;
}

/* No descriptors are left: uses the one kept for this to take the peer and hang up, so that it does not
 * wait and the listener does not report it for ever. */
static bool refuse_one(struct listener *l)
{
    int fd, *reserve = &l->server->reserve_fd;

    if (*reserve >= 0)
        close(*reserve);
    fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd >= 0)
        close(fd);
    *reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
    return fd >= 0;
}

void listener_event(struct listener *l)
{
    for (int i = 0; i < ACCEPTS_MAX && l->fd >= 0; i++) {
        struct sockaddr_storage peer = {.ss_family = AF_UNSPEC};
        socklen_t len = sizeof(peer);
        int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            if ((errno == EMFILE || errno == ENFILE) && refuse_one(l))
                continue;
            return;
        }
        if (__atomic_load_n(&l->server->nconns, __ATOMIC_RELAXED) >= rpcserver_limit(l->server, max_conns)) {
            log_debug(LOG_RPC, "too many connections");
            close(fd);
            continue;
        }
        conn_new(l->server, l->prog, fd, &peer);
    }
}
