/* SPDX-License-Identifier: Apache-2.0
 * poll: poll, ppoll, select, pselect, epoll with descriptors of files.
 */
#include "tests/shim/suite.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <time.h>

static void polled(void)
{
    struct pollfd fds[3];
    struct timespec zero = {0};
    int fd, pipes[2];

    suite_make(P("f"), "abc");
    pipe(pipes);
    fd = open(P("f"), O_RDWR);
    fds[0] = (struct pollfd){.fd = fd, .events = POLLIN | POLLOUT};
    VAL(poll(fds, 1, -1));
    VAL(fds[0].revents);
    fds[0].events = POLLIN;
    VAL(poll(fds, 1, 1000));
    VAL(fds[0].revents);
    fds[0].events = 0;
    VAL(poll(fds, 1, 0));
    VAL(fds[0].revents);
    fds[0].events = POLLIN | POLLPRI;
    fds[1] = (struct pollfd){.fd = pipes[0], .events = POLLIN};
    fds[2] = (struct pollfd){.fd = 99, .events = POLLIN};
    VAL(poll(fds, 2, 10000)); /* does not wait for the pipe: the file is ready */
    VAL(fds[0].revents);
    VAL(fds[1].revents);
    VAL(poll(fds, 3, 0));
    VAL(fds[2].revents);
    suite_tell(pipes[1]);
    VAL(poll(fds, 2, 0));
    VAL(fds[1].revents);
    VAL(ppoll(fds, 2, &zero, NULL));
    fds[0].fd = -1;
    VAL(poll(fds, 2, 0));
    VAL(fds[0].revents);
    fds[0].fd = open(P(""), O_RDONLY);
    VAL(poll(fds, 1, 0));
    VAL(fds[0].revents);
    VAL(poll(&fds[1], 1, 100));
}

static void selected(void)
{
    struct timeval tv = {5, 0};
    struct timespec ts = {5, 0};
    fd_set in, out, other;
    int fd, pipes[2];

    suite_make(P("f"), "abc");
    pipe(pipes);
    fd = open(P("f"), O_RDWR);
    FD_ZERO(&in);
    FD_ZERO(&out);
    FD_ZERO(&other);
    FD_SET(fd, &in);
    FD_SET(pipes[0], &in);
    FD_SET(fd, &out);
    FD_SET(fd, &other);
    VAL(select(fd + 1, &in, &out, &other, &tv));
    VAL(FD_ISSET(fd, &in) != 0);
    VAL(FD_ISSET(pipes[0], &in) != 0);
    VAL(FD_ISSET(fd, &out) != 0);
    VAL(FD_ISSET(fd, &other) != 0);
    FD_ZERO(&in);
    FD_SET(fd, &in);
    VAL(pselect(fd + 1, &in, NULL, NULL, &ts, NULL));
    FD_ZERO(&in);
    FD_SET(99, &in);
    VAL(select(100, &in, NULL, NULL, &tv));
    /* Known ones and unknown ones together, and one that changed hands. */
    FD_ZERO(&out);
    FD_SET(pipes[1], &out);
    VAL(select(pipes[1] + 1, NULL, &out, NULL, &tv));
    VAL(FD_ISSET(pipes[1], &out) != 0);
    FD_SET(fd, &out);
    VAL(select(fd + 1, NULL, &out, NULL, &tv));
    VAL(FD_ISSET(fd, &out) != 0);
    VAL(dup2(fd, pipes[1]) == pipes[1]);
    FD_ZERO(&out);
    FD_SET(pipes[1], &out);
    VAL(select(pipes[1] + 1, NULL, &out, NULL, &tv));
    VAL(FD_ISSET(pipes[1], &out) != 0);
    VAL(dup2(2, pipes[1]) == pipes[1]);
    VAL(select(64, NULL, NULL, NULL, &(struct timeval){0, 0}));
}

static void epolled(void)
{
    struct epoll_event ev = {.events = EPOLLIN}, got[4];
    int ep = epoll_create1(0), fd, pipes[2];

    suite_make(P("f"), "abc");
    pipe(pipes);
    fd = open(P("f"), O_RDWR);
    VAL(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
    VAL(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
    VAL(epoll_ctl(ep, EPOLL_CTL_DEL, fd, &ev));
    VAL(epoll_ctl(ep, EPOLL_CTL_ADD, open(P(""), O_RDONLY), &ev));
    VAL(epoll_ctl(ep, EPOLL_CTL_ADD, pipes[0], &ev));
    VAL(epoll_wait(ep, got, 4, 0));
    suite_tell(pipes[1]);
    VAL(epoll_wait(ep, got, 4, 1000));
}

SUITE_GROUP(poll) = {{"poll", polled}, {"select", selected}, {"epoll", epolled}, {NULL, NULL}};
