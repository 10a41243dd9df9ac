/* SPDX-License-Identifier: Apache-2.0
 * rpcnull: how many calls of the NULL procedure a server answers over loopback TCP.
 *
 *     rpcnull [-d DEPTH] [-s SECONDS] [-b BYTES] [HOST PORT PROGRAM VERSION]
 *
 * Without an address a server of our own transport runs in a child process, so that what is measured is that
 * alone. BYTES of arguments go with each call (the server must not mind).
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "server/rpc/rpcserver.h"

static enum req_result null_dispatch(struct request *req, void *arg)
{
    return REQ_DONE;
}

static int dial(const char *host, int port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

    if (inet_pton(AF_INET, host, &sin.sin_addr) != 1 ||
        connect(fd, (struct sockaddr *)&sin, sizeof(sin)) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

/* Sends n calls in one write. */
static void send_calls(int fd, char *calls, size_t each, size_t n)
{
    for (size_t at = 0; at < each * n;) {
        ssize_t m = write(fd, calls + at, each * n - at);

        if (m <= 0) {
            perror("write");
            exit(1);
        }
        at += (size_t)m;
    }
}

static void measure(int fd, unsigned depth, unsigned seconds, uint32_t bytes, uint32_t prog,
                    uint32_t vers)
{
    uint32_t w[11] = {0x80000000u + 40 + bytes, 1, 0, 2, prog, vers, 0, 0, 0, 0, 0};
    size_t each = sizeof(w) + bytes, got = 0;
    char *calls = calloc(depth, each), *in = malloc(depth * 28);
    uint64_t start = clock_mono_ns(), now = start, done = 0;

    for (int i = 0; i < 11; i++)
        w[i] = htonl(w[i]);
    for (unsigned i = 0; i < depth; i++)
        memcpy(calls + i * each, w, sizeof(w));
    send_calls(fd, calls, each, depth);
    while (now - start < seconds * 1000000000ull) {
        ssize_t m = read(fd, in, depth * 28);
        size_t n;

        if (m <= 0) {
            perror("read");
            exit(1);
        }
        got += (size_t)m;
        n = got / 28; /* a NULL reply with its mark */
        got %= 28;
        done += n;
        send_calls(fd, calls, each, n);
        now = clock_mono_ns();
    }
    printf("depth %u, %u bytes: %.0f calls/s, %.1f MiB/s\n", depth, bytes,
           (double)done * 1e9 / (double)(now - start),
           (double)(done * each) * 1e9 / (double)(now - start) / 1048576);
    free(calls);
    free(in);
}

int main(int argc, char **argv)
{
    static const struct oncrpc_program program = {.prog = 100003, .vers_min = 4, .vers_max = 4, .dispatch = null_dispatch};
    unsigned depth = 32, seconds = 3;
    uint32_t bytes = 0, prog = 100003, vers = 4;
    const char *host = "127.0.0.1";
    int c, port, ports[2], fd;
    pid_t pid = -1;

    while ((c = getopt(argc, argv, "d:s:b:")) != -1) {
        unsigned long v = optarg ? strtoul(optarg, NULL, 10) : 0;

        if (c == 'd' && v)
            depth = (unsigned)v;
        else if (c == 's' && v)
            seconds = (unsigned)v;
        else if (c == 'b' && v <= 1048576)
            bytes = (uint32_t)v & ~3u;
        else
            return 2;
    }
    if (argc - optind == 4) {
        host = argv[optind];
        port = atoi(argv[optind + 1]);
        prog = (uint32_t)strtoul(argv[optind + 2], NULL, 10);
        vers = (uint32_t)strtoul(argv[optind + 3], NULL, 10);
    } else {
        if (pipe(ports) != 0)
            return 1;
        pid = fork();
        if (pid == 0) {
            struct rpcserver *s;

            if (rpcserver_new(&(struct rpcserver_conf){.loops = 1}, &s) != 0 ||
                rpcserver_listen(s, "127.0.0.1:0", &program) != 0 || rpcserver_start(s) != 0)
                _exit(1);
            port = rpcserver_port(s, 0);
            if (write(ports[1], &port, sizeof(port)) != sizeof(port))
                _exit(1);
            for (;;)
                pause();
        }
        if (read(ports[0], &port, sizeof(port)) != sizeof(port))
            return 1;
    }
    fd = dial(host, port);
    measure(fd, depth, seconds, bytes, prog, vers);
    close(fd);
    if (pid > 0) {
        struct rusage ru;
        int status;

        kill(pid, SIGTERM);
        wait4(pid, &status, 0, &ru);
        printf("server: user %.2f s, system %.2f s, %ld KiB\n",
               (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec / 1e6,
               (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec / 1e6, ru.ru_maxrss);
    }
    return 0;
}
