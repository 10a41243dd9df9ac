/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the private copy of libnfs calls instead of libc: the names it imports are changed to these at build time
 * (client/nfs/local.mk). They enter no patched call site, no malloc of the program, no cancellation point.
 * They keep libc's calling rules, errno included.
 */
#ifndef CLIENT_NFS_PORT_H
#define CLIENT_NFS_PORT_H

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/types.h>

extern FILE *port_stderr;

void *port_malloc(size_t size);
void *port_calloc(size_t count, size_t size);
void *port_realloc(void *old, size_t size);
void port_free(void *mem);
char *port_strdup(const char *text);
int port_socket(int domain, int type, int protocol);
int port_connect(int fd, const struct sockaddr *addr, socklen_t size);
int port_bind(int fd, const struct sockaddr *addr, socklen_t size);
int port_setsockopt(int fd, int level, int name, const void *value, socklen_t size);
int port_getsockopt(int fd, int level, int name, void *value, socklen_t *size);
ssize_t port_send(int fd, const void *data, size_t size, int flags);
ssize_t port_recv(int fd, void *data, size_t size, int flags);
int port_poll(struct pollfd *fds, nfds_t count, int ms);
int port_close(int fd);
int port_fcntl(int fd, int cmd, ...);
int port_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out);
void port_freeaddrinfo(struct addrinfo *list);
struct servent *port_getservbyport(int port, const char *proto);

#endif
