/* SPDX-License-Identifier: Apache-2.0 */
/* One connection for load generators: batches of calls out, batches of replies in. */
#include "wire.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

/* RFC 5531: version, flavor, and the record mark's last-fragment bit; RFC 7530: program and procedure. */
enum { RPC_VERSION = 2, PROGRAM = 100003, VERSION = 4, COMPOUND = 1, AUTH_SYS = 1 };
#define LAST_FRAGMENT 0x80000000u

#define IN_SIZE (4u << 20)  /* the largest reply is 1 MiB and a little */
#define WAIT_SECONDS 10     /* for any byte of the server */
#define HEAD_SIZE 4096      /* of a call, all but the data it writes */

struct wire {
    int fd;
    uint32_t calls_made;
    struct {
        uint32_t xid;       /* its low 8 bits are the place in this list */
        bool waits;
        wire_reply reply;
        void *arg;
    } calls[WIRE_CALLS];
    uint8_t free[WIRE_CALLS]; /* places */
    unsigned nfree;
    char *out, *in;
    size_t out_size, out_from, out_to; /* out_from..out_to is to be sent */
    size_t in_from, in_to;             /* in_from..in_to has come */
};

void die(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    fputs("nfsbench: ", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(1);
}

static void put(char **at, uint32_t value)
{
    value = htonl(value);
    memcpy(*at, &value, 4);
    *at += 4;
}

static uint32_t get(const char *at)
{
    uint32_t value;

    memcpy(&value, at, 4);
    return ntohl(value);
}

struct wire *wire_connect(const char *host, int port)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    struct wire *w = calloc(1, sizeof *w);
    char service[16];
    struct timeval patience = { .tv_sec = WAIT_SECONDS };
    int one = 1, err;

    if (!w || !(w->in = malloc(IN_SIZE)))
        die("out of memory");
    snprintf(service, sizeof service, "%d", port);
    err = getaddrinfo(host, service, &hints, &found);
    if (err)
        die("%s: %s", host, gai_strerror(err));
    w->fd = -1;
    for (struct addrinfo *a = found; a && w->fd < 0; a = a->ai_next) {
        w->fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (w->fd >= 0 && connect(w->fd, a->ai_addr, a->ai_addrlen) != 0) {
            err = errno;
            close(w->fd);
            w->fd = -1;
            errno = err;
        }
    }
    freeaddrinfo(found);
    if (w->fd < 0)
        die("cannot connect to %s:%d: %s", host, port, strerror(errno));
    setsockopt(w->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    setsockopt(w->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    w->calls_made = (uint32_t)getpid() << 8;
    while (w->nfree < WIRE_CALLS) {
        w->free[w->nfree] = (uint8_t)w->nfree;
        w->nfree++;
    }
    return w;
}

void wire_close(struct wire *w)
{
    close(w->fd);
    free(w->out);
    free(w->in);
    free(w);
}

/* Room for size bytes behind out_to. */
static char *out_room(struct wire *w, size_t size)
{
    if (w->out_size - w->out_to < size && w->out_from > 0) {
        memmove(w->out, w->out + w->out_from, w->out_to - w->out_from);
        w->out_to -= w->out_from;
        w->out_from = 0;
    }
    if (w->out_size - w->out_to < size) {
        w->out_size = (w->out_to + size) * 2;
        w->out = realloc(w->out, w->out_size);
        if (!w->out)
            die("out of memory");
    }
    return w->out + w->out_to;
}

void wire_call(struct wire *w, COMPOUND4args *args, wire_reply reply, void *arg)
{
    size_t hint = HEAD_SIZE;
    uint32_t xid;
    unsigned slot;
    char *start, *at;
    ZDR zdr;

    for (u_int i = 0; i < args->argarray.argarray_len; i++)
        if (args->argarray.argarray_val[i].argop == OP_WRITE)
            hint += args->argarray.argarray_val[i].nfs_argop4_u.opwrite.data.data_len;
    if (w->nfree == 0)
        die("too many calls in flight");
    slot = w->free[--w->nfree];
    xid = (w->calls_made++ << 8) + slot;
    w->calls[slot].xid = xid;
    w->calls[slot].waits = true;
    w->calls[slot].reply = reply;
    w->calls[slot].arg = arg;
    start = out_room(w, hint);
    at = start + 4;
    put(&at, xid);
    put(&at, CALL);
    put(&at, RPC_VERSION);
    put(&at, PROGRAM);
    put(&at, VERSION);
    put(&at, COMPOUND);
    put(&at, AUTH_SYS);
    put(&at, 20);           /* length of stamp, empty machine name, uid, gid, no further groups */
    put(&at, 0);
    put(&at, 0);
    put(&at, getuid());
    put(&at, getgid());
    put(&at, 0);
    put(&at, 0);            /* no verifier */
    put(&at, 0);
    zdrmem_create(&zdr, at, (uint32_t)(hint - (size_t)(at - start)), ZDR_ENCODE);
    if (!zdr_COMPOUND4args(&zdr, args))
        die("cannot encode a call");
    at += zdr_getpos(&zdr);
    zdr_destroy(&zdr);
    w->out_to += (size_t)(at - start);
    put(&start, LAST_FRAGMENT | (uint32_t)(at - start - 4));
}

/* Passes on the reply at..at+size. */
static void take(struct wire *w, char *at, size_t size)
{
    size_t head = 24;       /* xid, type, state, verifier's flavor and length, status */
    COMPOUND4res res;
    unsigned slot;
    ZDR zdr;

    if (size < head || get(at + 4) != REPLY || get(at + 8) != 0)
        die("no reply: the call was denied");
    if (get(at + 16) > 400)
        die("a broken reply");
    head += get(at + 16);
    if (size < head || get(at + head - 4) != 0)
        die("no reply: the call was not accepted");
    slot = get(at) & 0xff;
    if (slot >= WIRE_CALLS || !w->calls[slot].waits || w->calls[slot].xid != get(at))
        die("a reply to no call");
    memset(&res, 0, sizeof res);
    zdrmem_create(&zdr, at + head, (uint32_t)(size - head), ZDR_DECODE);
    if (!zdr_COMPOUND4res(&zdr, &res))
        die("cannot decode a reply");
    w->calls[slot].waits = false;
    w->free[w->nfree++] = (uint8_t)slot;
    w->calls[slot].reply(w->calls[slot].arg, &res);
    zdr_destroy(&zdr);
}

/* Passes on all that is whole. */
static void take_all(struct wire *w)
{
    while (w->in_to - w->in_from >= 4) {
        uint32_t mark = get(w->in + w->in_from), size = mark & ~LAST_FRAGMENT;

        if (!(mark & LAST_FRAGMENT) || size > IN_SIZE - 4)
            die("a reply in parts, or of %u bytes", size);
        if (w->in_to - w->in_from - 4 < size) {
            if (w->in_from + 4 + size <= IN_SIZE)
                return;
            memmove(w->in, w->in + w->in_from, w->in_to - w->in_from);
            w->in_to -= w->in_from;
            w->in_from = 0;
            return;
        }
        w->in_from += 4 + size;
        take(w, w->in + w->in_from - size, size);
    }
    if (w->in_from == w->in_to)
        w->in_from = w->in_to = 0;
}

/* Sends what the socket takes. Is nothing left? */
static bool out_send(struct wire *w)
{
    while (w->out_from < w->out_to) {
        ssize_t n = send(w->fd, w->out + w->out_from, w->out_to - w->out_from, MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0)
            die("connection: %s", strerror(errno));
        w->out_from += (size_t)n;
    }
    w->out_from = w->out_to = 0;
    return true;
}

void wire_wait(struct wire *w)
{
    ssize_t n;

    for (;;) {
        bool sent = out_send(w);
        struct pollfd p = { .fd = w->fd, .events = POLLIN | POLLOUT };

        n = recv(w->fd, w->in + w->in_to, IN_SIZE - w->in_to, sent ? 0 : MSG_DONTWAIT);
        if (n > 0)
            break;
        if (n == 0)
            die("connection: closed by the server");
        if (errno != EAGAIN)
            die("connection: %s", strerror(errno));
        if (sent || poll(&p, 1, WAIT_SECONDS * 1000) == 0)
            die("no answer for %d s", WAIT_SECONDS);
    }
    w->in_to += (size_t)n;
    take_all(w);
}
