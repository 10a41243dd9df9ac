/* SPDX-License-Identifier: Apache-2.0
 * fakenfs: what a server in a test needs to take calls from the client's connections.
 */
#ifndef VOLNFS_TESTS_FAKENFS_H
#define VOLNFS_TESTS_FAKENFS_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LAST 0x80000000u /* of a record mark */
#define CALL_MAX 4096

/* A listening socket on a loopback port. */
static inline int fake_listen(unsigned *port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t size = sizeof(at);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(fd, 8), 0);
    getsockname(fd, (struct sockaddr *)&at, &size);
    *port = ntohs(at.sin_port);
    return fd;
}

static inline bool fake_all(int fd, uint8_t *to, size_t size)
{
    while (size > 0) {
        ssize_t n = read(fd, to, size);

        if (n <= 0)
            return false;
        to += n;
        size -= (size_t)n;
    }
    return true;
}

/* The next call: how long it is, from its xid on; 0: the client is gone. */
static inline uint32_t fake_call(int fd, uint8_t body[CALL_MAX], uint32_t *xid)
{
    uint8_t mark[4];
    uint32_t size;

    if (!fake_all(fd, mark, 4))
        return 0;
    memcpy(&size, mark, 4);
    size = ntohl(size) & ~LAST;
    if (size < 4 || size > CALL_MAX || !fake_all(fd, body, size))
        return 0;
    memcpy(xid, body, 4);
    *xid = ntohl(*xid);
    return size;
}

/* Words as they are sent. */
static inline void fake_words(uint8_t *to, const uint32_t *words, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t word = htonl(words[i]);

        memcpy(to + 4 * i, &word, 4);
    }
}

#endif
