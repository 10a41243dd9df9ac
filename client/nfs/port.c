/* SPDX-License-Identifier: Apache-2.0 */
/* What the private copy of libnfs calls instead of libc. */
#include "client/nfs/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "client/nfs/heap.h"
#include "client/nfs/sys.h"

FILE *port_stderr; /* libnfs prints only when debugging is switched on, which we never do */

static long port_ret(long ret)
{
    if (ret < 0 && ret > -4096) {
        errno = (int)-ret;
        return -1;
    }
    return ret;
}

void *port_malloc(size_t size)
{
    return heap_alloc(size);
}

void *port_calloc(size_t count, size_t size)
{
    return heap_zalloc(count, size);
}

void *port_realloc(void *old, size_t size)
{
    return heap_realloc(old, size);
}

void port_free(void *mem)
{
    heap_free(mem);
}

char *port_strdup(const char *text)
{
    return heap_strdup(text);
}

int port_socket(int domain, int type, int protocol)
{
    return (int)port_ret(sys3(SYS_socket, domain, type | SOCK_CLOEXEC, protocol));
}

int port_connect(int fd, const struct sockaddr *addr, socklen_t size)
{
    return (int)port_ret(sys3(SYS_connect, fd, addr, size));
}

/* libnfs would try every privileged port in turn; servers here do not ask for one. */
int port_bind(int fd, const struct sockaddr *addr, socklen_t size)
{
    errno = EACCES;
    return -1;
}

/* SO_LINGER of zero seconds would throw away what is still to be sent when the process ends. */
int port_setsockopt(int fd, int level, int name, const void *value, socklen_t size)
{
    if (level == SOL_SOCKET && name == SO_LINGER)
        return 0;
    return (int)port_ret(sys5(SYS_setsockopt, fd, level, name, value, size));
}

int port_getsockopt(int fd, int level, int name, void *value, socklen_t *size)
{
    return (int)port_ret(sys5(SYS_getsockopt, fd, level, name, value, size));
}

ssize_t port_send(int fd, const void *data, size_t size, int flags)
{
    return port_ret(sys6(SYS_sendto, fd, SYS_ARG(data), (long)size, flags, 0, 0));
}

ssize_t port_recv(int fd, void *data, size_t size, int flags)
{
    return port_ret(sys6(SYS_recvfrom, fd, SYS_ARG(data), (long)size, flags, 0, 0));
}

int port_poll(struct pollfd *fds, nfds_t count, int ms)
{
    return (int)port_ret(sys3(SYS_poll, fds, count, ms));
}

int port_close(int fd)
{
    return (int)port_ret(sys1(SYS_close, fd));
}

int port_fcntl(int fd, int cmd, ...)
{
    va_list args;
    long arg;

    va_start(args, cmd);
    arg = va_arg(args, long);
    va_end(args);
    return (int)port_ret(sys3(SYS_fcntl, fd, cmd, arg));
}

/* Numeric addresses only: names are resolved once by whoever starts the run. */
int port_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    struct {
        struct addrinfo info;
        struct sockaddr_storage addr;
    } *one = heap_zalloc(1, sizeof(*one));
    struct sockaddr_in *in;
    struct sockaddr_in6 *in6;

    if (one == NULL)
        return EAI_MEMORY;
    in = (struct sockaddr_in *)&one->addr;
    in6 = (struct sockaddr_in6 *)&one->addr;
    one->info.ai_socktype = SOCK_STREAM;
    one->info.ai_addr = (struct sockaddr *)&one->addr;
    if (inet_pton(AF_INET, node, &in->sin_addr) == 1) {
        one->info.ai_family = in->sin_family = AF_INET;
        one->info.ai_addrlen = sizeof(*in);
    } else if (inet_pton(AF_INET6, node, &in6->sin6_addr) == 1) {
        one->info.ai_family = in6->sin6_family = AF_INET6;
        one->info.ai_addrlen = sizeof(*in6);
    } else {
        heap_free(one);
        return EAI_NONAME;
    }
    *out = &one->info;
    return 0;
}

void port_freeaddrinfo(struct addrinfo *list)
{
    heap_free(list);
}

struct servent *port_getservbyport(int port, const char *proto)
{
    return NULL;
}
