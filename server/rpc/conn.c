/* SPDX-License-Identifier: Apache-2.0
 * conn: the life of a connection, its limits and times, and what it sends. Receiving is conn_recv.c.
 */
#include "server/rpc/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/rpc/rpcserver_priv.h"

#define IOV_PER_WRITE 256

static uint64_t last_id; /* atomic: identifiers do not come again in a process */

/* --- life --- */

/* To a peer on this machine there is no network whose capacity is to be found out. An algorithm that paces what it sends for
 * that (bbr) would set a timer for each segment. Every kernel has reno, and lets everybody choose it. */
static void choose_congestion(const struct conn *c)
{
    static const char plain[] = "reno";
    struct sockaddr_storage self = {0};
    socklen_t len = sizeof(self);

    if (getsockname(c->fd, (struct sockaddr *)&self, &len) == 0 && peer_same(&self, &c->peer))
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_CONGESTION, plain, sizeof(plain) - 1);
}

static void tune_socket(struct conn *c)
{
    int one = 1, idle = 60, interval = 15, count = 4;

    if (c->peer.ss_family == AF_UNIX) {
        struct ucred ids;
        socklen_t len = sizeof(ids);

        if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &ids, &len) == 0) {
            c->has_ids = true;
            c->uid = ids.uid;
            c->gid = ids.gid;
        }
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    setsockopt(c->fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(c->fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
    choose_congestion(c);
}

struct conn_arrival {
    struct job job;
    struct conn *conn;
};

/* On its loop's thread. */
static void conn_arrive(struct job *job)
{
    struct conn_arrival *a = container_of(job, struct conn_arrival, job);
    struct conn *c = a->conn;
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};

    free(a);
    list_add_tail(&c->loop->conns, &c->all);
    if (rpcserver_phase(c->server) >= PHASE_CLOSE ||
        epoll_ctl(c->loop->epfd, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        conn_close(c);
}

int conn_new(struct rpcserver *server, const struct oncrpc_program *prog, int fd,
             const struct sockaddr_storage *peer)
{
    return conn_new_ref(server, prog, fd, peer, NULL);
}

int conn_new_ref(struct rpcserver *server, const struct oncrpc_program *prog, int fd,
                 const struct sockaddr_storage *peer, struct conn **ref)
{
    struct conn *c = calloc(1, sizeof(*c));
    struct conn_arrival *a = malloc(sizeof(*a));
    struct peer *entry = c && a ? peer_get(&server->peers, peer, rpcserver_limit(server, max_peer_conns)) : NULL;

    if (!entry) {
        free(c);
        free(a);
        close(fd);
        return -ENOMEM;
    }
    c->entry = entry;
    c->source = SOURCE_CONN;
    c->fd = fd;
    c->refs = ref ? 2 : 1;
    c->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
    c->server = server;
    c->loop = &server->loops[__atomic_fetch_add(&server->next_loop, 1, __ATOMIC_RELAXED) % server->nloops];
    c->prog = prog;
    c->peer = *peer;
    c->since = clock_mono_ms();
    list_init(&c->all);
    list_init(&c->again);
    list_init(&c->dirty);
    list_init(&c->timed);
    list_init(&c->starved);
    list_init(&c->out);
    list_init(&c->held);
    list_init(&c->calls);
    tune_socket(c);
    __atomic_add_fetch(&server->nconns, 1, __ATOMIC_RELAXED);
    a->conn = c;
    a->job.run = conn_arrive;
    if (ref)
        *ref = c;
    loop_post(c->loop, &a->job);
    return 0;
}

void conn_unref(struct conn *c)
{
    if (__atomic_sub_fetch(&c->refs, 1, __ATOMIC_ACQ_REL))
        return;
    if (c->slot && c->prog->slot_free)
        c->prog->slot_free(c->slot);
    peer_put(&c->server->peers, c->entry);
    free(c);
}

static void sub_out(struct conn *c, size_t n)
{
    __atomic_sub_fetch(&c->out_bytes, n, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&c->loop->out_bytes, n, __ATOMIC_RELAXED);
    __atomic_sub_fetch(&c->entry->out_bytes, n, __ATOMIC_RELAXED);
}

void conn_count_out(struct conn *c, struct outmsg *m)
{
    m->counted = true;
    m->sent = 0;
    m->total = 4 + xdrout_len(m->body);
    __atomic_add_fetch(&c->out_bytes, m->total, __ATOMIC_RELAXED);
    __atomic_add_fetch(&c->loop->out_bytes, m->total, __ATOMIC_RELAXED);
    __atomic_add_fetch(&c->entry->out_bytes, m->total, __ATOMIC_RELAXED);
}

void conn_uncount_out(struct conn *c, struct outmsg *m)
{
    if (m->counted)
        sub_out(c, m->total);
    m->counted = false;
}

static void out_pop(struct conn *c, struct outmsg *m)
{
    list_del(&m->node);
    sub_out(c, m->total - m->sent);
    m->gone(m);
}

void conn_close(struct conn *c)
{
    struct outmsg *m;

    if (c->closed)
        return;
    __atomic_store_n(&c->closed, true, __ATOMIC_RELEASE);
    close(c->fd); /* also leaves the epoll set */
    c->fd = -1;
    while ((m = list_first(&c->out, struct outmsg, node)))
        out_pop(c, m);
    conncall_fail_all(c, -EPIPE);
    request_release_held(c);
    rbuf_unref(c->rb);
    rbuf_unref(c->record);
    c->rb = c->record = NULL;
    list_del(&c->again);
    list_del(&c->dirty);
    list_del(&c->timed);
    list_del(&c->starved);
    list_del(&c->all);
    list_add_tail(&c->loop->dead, &c->all);
    __atomic_sub_fetch(&c->server->nconns, 1, __ATOMIC_RELAXED);
    if (c->prog->conn_closed)
        c->prog->conn_closed(c->id, c->prog->arg);
}

/* --- limits and times --- */

bool conn_full(const struct conn *c)
{
    const struct rpcserver *sv = c->server;

    return c->inflight >= rpcserver_limit(sv, max_inflight) ||
           (c->inflight && !c->entry->local && __atomic_load_n(&c->entry->inflight, __ATOMIC_RELAXED) >=
                                                   rpcserver_limit(sv, max_peer_inflight)) ||
           conn_out_full(c) || c->rx_held >= CONN_RX_MAX || (c->rx_held && c->loop->rx_held >= sv->loop_memory) ||
           rpcserver_phase(sv) != PHASE_RUN;
}

bool conn_out_full(const struct conn *c)
{
    size_t mine = __atomic_load_n(&c->out_bytes, __ATOMIC_RELAXED);
    size_t all = __atomic_load_n(&c->loop->out_bytes, __ATOMIC_RELAXED);
    size_t peers = __atomic_load_n(&c->entry->out_bytes, __ATOMIC_RELAXED);

    return mine >= rpcserver_limit(c->server, max_out) ||
           (mine && (all >= c->server->loop_memory || (!c->entry->local && peers >= c->server->loop_memory / 2)));
}

void conn_eased(struct conn *c)
{
    if (c->paused && list_empty(&c->starved) && !c->closed && !conn_full(c) && list_empty(&c->again)) {
        c->paused = false;
        list_add_tail(&c->loop->again, &c->again);
    }
}

void conn_update_timed(struct conn *c)
{
    bool want = !c->closed && (c->record_since || c->out_since || !list_empty(&c->calls));

    if (want && list_empty(&c->timed))
        list_add_tail(&c->loop->timed, &c->timed);
    else if (!want && !list_empty(&c->timed))
        list_del(&c->timed);
}

/* Moved less than it should have in the time since then, when memory is scarce. */
static bool too_slow(uint64_t now, uint64_t since, unsigned grace, size_t moved)
{
    uint64_t ms = now - since;

    return ms >= grace && moved < ms * SLOW_SPEED / 1000;
}

static bool cut_off(const struct conn *c, uint64_t now)
{
    const struct loop *l = c->loop;
    size_t memory = c->server->loop_memory;
    uint64_t ms = rpcserver_limit(c->server, slow_ms);
    const struct outmsg *m = list_first(&c->out, struct outmsg, node);

    if (c->record_since) {
        size_t have = (c->rb ? c->wr - c->rd : 0) + c->record_len;

        if (now >= c->record_since + ms)
            return true;
        if (l->large_bytes >= memory && too_slow(now, c->record_since, SLOW_SEND_MS, have))
            return true;
    }
    if (!c->out_since || !m)
        return false;
    return now >= c->out_since + ms ||
           (__atomic_load_n(&l->out_bytes, __ATOMIC_RELAXED) >= memory &&
            too_slow(now, c->out_since, SLOW_READ_MS, m->sent));
}

void conn_tick(struct conn *c, uint64_t now)
{
    if (cut_off(c, now)) {
        log_debug(LOG_RPC, "conn=%llu too slow", (unsigned long long)c->id);
        conn_close(c);
        return;
    }
    conncall_tick(c, now);
    conn_update_timed(c);
}

void conn_feed(struct conn *c)
{
    list_del(&c->starved);
    c->paused = false;
    if (!c->closed && list_empty(&c->again))
        list_add_tail(&c->loop->again, &c->again);
}

void conn_event(struct conn *c, uint32_t events)
{
    if (c->closed)
        return;
    if (events & (EPOLLERR | EPOLLHUP)) {
        conn_close(c);
        return;
    }
    if (events & EPOLLOUT)
        conn_flush(c);
    if (events & EPOLLRDHUP)
        c->hup = true;
    if (events & (EPOLLIN | EPOLLRDHUP)) {
        c->readable = true;
        if (!c->closed && !c->paused)
            conn_resume(c);
    }
}

/* --- sending --- */

void conn_queue(struct conn *c, struct outmsg *m)
{
    if (!m->counted)
        conn_count_out(c, m);
    m->mark = htonl(CONN_LAST_FRAGMENT | (uint32_t)(m->total - 4));
    if (list_empty(&c->out))
        c->out_since = clock_mono_ms();
    list_add_tail(&c->out, &m->node);
    if (list_empty(&c->dirty))
        list_add_tail(&c->loop->dirty, &c->dirty);
}

static int gather(const struct conn *c, struct iovec *iov, int max)
{
    int n = 0;

    list_for_each(it, &c->out) {
        struct outmsg *m = list_entry(it, struct outmsg, node);
        size_t body = m->sent > 4 ? m->sent - 4 : 0;

        if (n + 2 > max)
            break;
        if (m->sent < 4) {
            iov[n].iov_base = (char *)&m->mark + m->sent;
            iov[n++].iov_len = 4 - m->sent;
        }
        n += xdrout_iov(m->body, body, iov + n, max - n);
    }
    return n;
}

/* The socket took n bytes. */
static void sent(struct conn *c, size_t n)
{
    struct outmsg *m;

    while (!c->closed && (m = list_first(&c->out, struct outmsg, node))) {
        size_t step = m->total - m->sent < n ? m->total - m->sent : n;

        m->sent += step;
        n -= step;
        sub_out(c, step);
        if (m->sent < m->total)
            break;
        out_pop(c, m);
        c->out_since = clock_mono_ms();
    }
}

static void want_out(struct conn *c, bool want)
{
    struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = c};

    if (c->want_out == want)
        return;
    if (want)
        ev.events |= EPOLLOUT;
    c->want_out = want;
    epoll_ctl(c->loop->epfd, EPOLL_CTL_MOD, c->fd, &ev);
}

void conn_flush(struct conn *c)
{
    struct iovec iov[IOV_PER_WRITE];
    bool stuck = false;

    list_del(&c->dirty);
    while (!c->closed && !stuck && !list_empty(&c->out)) {
        struct msghdr msg = {.msg_iov = iov};
        ssize_t n;

        msg.msg_iovlen = (size_t)gather(c, iov, IOV_PER_WRITE);
        n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
        if (n > 0) {
            c->tx_bytes += (size_t)n;
            sent(c, (size_t)n);
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            stuck = true;
        } else if (n == 0 || errno != EINTR) {
            conn_close(c);
        }
    }
    if (c->closed)
        return;
    want_out(c, stuck);
    if (!stuck)
        c->out_since = 0;
    if (!list_empty(&c->held) && !conn_out_full(c))
        request_release_held(c);
    conn_eased(c);
    conn_update_timed(c);
}
