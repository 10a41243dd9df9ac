/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections over libnfs's raw RPC layer (4.0.0), linked as a private copy.
 *
 * The copy is made at build time from libnfs.a with some of its outside names changed (client/nfs/local.mk): its
 * malloc is our heap, its socket calls are direct system calls, it resolves no names, binds no privileged port and
 * sets no SO_LINGER. Some of its inner calls are wrapped by the linker: rpc_allocate_pdu (to size the buffer: 4 KiB
 * otherwise) and zdr_COMPOUND4args (to send bytes that are encoded already). Replies come back as bytes too: rpc_in.c
 * receives them, so that their bytes need not be copied, and because 4.0.0 reads outside its buffer when the length in
 * a reply's verifier is wrong.
 *
 * Invariants:
 *  1. A libnfs context is only touched under its conn's lock; the leader polls without the lock.
 *  2. conn->epoch grows whenever the context is replaced; a call belongs to the context it was queued on and is
 *     marked lost when that is torn down (libnfs runs its callback with an error).
 *  3. A vfork child works in its parent's memory with descriptors of its own: a connection it makes is of no use to
 *     the parent, which drops the context and leaves that descriptor number alone (rpc_mine_locked).
 *  4. A call is done exactly once: take is run at most once per reply, and `done` is set last.
 */
#include "client/nfs/rpc.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nfsc/libnfs-zdr.h>
/* libnfs-raw.h wants these from libnfs.h, which declares a world of its own. */
#ifndef EXTERN
#define EXTERN extern
#endif
struct nfs_context;
struct nfsfh;
struct rpc_context;
typedef void (*rpc_cb)(struct rpc_context *rpc, int status, void *data, void *private_data);
#include <nfsc/libnfs-raw.h>

#include "client/nfs/heap.h"
#include "client/nfs/port.h"
#include "client/nfs/rpc_in.h"
#include "client/nfs/sys.h"

struct rpc_pdu;
struct COMPOUND4args;

/* libnfs exports these without declaring them. */
void rpc_set_autoreconnect(struct rpc_context *rpc, int state);
struct rpc_pdu *rpc_allocate_pdu2(struct rpc_context *rpc, int program, int version, int procedure, rpc_cb cb,
                                  void *private_data, zdrproc_t decode, int decode_size, size_t hint);
struct AUTH *libnfs_authunix_create(const char *host, uint32_t uid, uint32_t gid, uint32_t len, uint32_t *groups);

int rpc_process_pdu(struct rpc_context *rpc, char *buf, int size);

struct rpc_pdu *__wrap_rpc_allocate_pdu(struct rpc_context *rpc, int program, int version, int procedure, rpc_cb cb,
                                        void *private_data, zdrproc_t decode, int decode_size);
uint32_t __wrap_zdr_COMPOUND4args(ZDR *zdrs, void *args);

#define RPC_GROUPS 16 /* AUTH_SYS carries no more */

struct rpc_conn {
    struct vlock lock;
    struct rpc_context *ctx; /* NULL: not connected */
    int fd;
    int pid;     /* of the process that connected */
    uint32_t uid, gid; /* in the credential */
    int seq;     /* futex word: grows when the leader steps down or a call is done */
    int sleepers; /* threads asleep on seq */
    int pending; /* calls queued or sent and not yet done */
    bool leader; /* somebody polls and serves */
    unsigned epoch;
    uint64_t down_since; /* first failed connect in a row, ms; 0: none. Atomic: rpc_wait looks without the lock */
    struct rpc_in in;
};

struct rpc_server {
    char host[64];
    unsigned port;
    unsigned soft_ms;
    int pid; /* whose memory this is */
    /* Connections that large transfers are spread over: one for every two processors. With more, threads at both ends
     * take turns with each other and with the program, and bytes have left the cache when they are looked at. */
    unsigned lanes;
    struct rpc_conn conns[RPC_CONNS];
};

int (*rpc_idle_hook)(void);
void (*rpc_silent_hook)(uint64_t since);

static unsigned rpc_lost;
static unsigned rpc_heard; /* replies */

unsigned rpc_losses(void)
{
    return __atomic_load_n(&rpc_lost, __ATOMIC_ACQUIRE);
}

/* One wait, as rpc_silent_hook is told of it. All zero at its beginning. */
struct rpc_silence {
    uint64_t since;
    unsigned heard;
    bool told;
};

static void rpc_silence_end(struct rpc_silence *silence)
{
    if (silence->told)
        rpc_silent_hook(0);
    silence->told = false;
}

/* down: when the connection could first not be made, or 0. */
static void rpc_silence_look(struct rpc_silence *silence, uint64_t down)
{
    unsigned heard = __atomic_load_n(&rpc_heard, __ATOMIC_RELAXED);
    uint64_t now = sys_now_ms();

    if (rpc_silent_hook == NULL)
        return;
    if (silence->since == 0 || heard != silence->heard) {
        rpc_silence_end(silence);
        silence->since = down != 0 && silence->since == 0 ? down : now;
        silence->heard = heard;
        return;
    }
    silence->told = true;
    rpc_silent_hook(silence->since);
}

/* Reply bytes as libnfs hands them to the callback. */
struct rpc_raw {
    const uint8_t *at;
    size_t size;
};

static uint32_t rpc_decode_raw(ZDR *zdrs, void *where, ...)
{
    struct rpc_raw *raw = where;

    raw->at = (const uint8_t *)zdrs->buf + zdrs->pos;
    raw->size = (size_t)(zdrs->size - zdrs->pos);
    zdrs->pos = zdrs->size;
    return 1;
}

struct rpc_pdu *__wrap_rpc_allocate_pdu(struct rpc_context *rpc, int program, int version, int procedure, rpc_cb cb,
                                        void *private_data, zdrproc_t decode, int decode_size)
{
    const struct rpc_call *call = private_data;
    size_t hint = 1024; /* header and credential: at most 400 bytes each */

    if (procedure == 0)
        return rpc_allocate_pdu2(rpc, program, version, procedure, cb, private_data, decode, decode_size, 0);
    for (int i = 0; i < call->nout; i++)
        hint += call->out[i].iov_len;
    return rpc_allocate_pdu2(rpc, program, version, procedure, cb, private_data, rpc_decode_raw,
                             sizeof(struct rpc_raw), hint);
}

uint32_t __wrap_zdr_COMPOUND4args(ZDR *zdrs, void *args)
{
    struct rpc_call *call = args;
    uint32_t xid;

    memcpy(&xid, zdrs->buf + 4, sizeof(xid)); /* behind the record mark */
    call->xid = ntohl(xid);
    for (int i = 0; i < call->nout; i++) {
        if ((size_t)(zdrs->size - zdrs->pos) < call->out[i].iov_len)
            return 0;
        memcpy(zdrs->buf + zdrs->pos, call->out[i].iov_base, call->out[i].iov_len);
        zdrs->pos += (int)call->out[i].iov_len;
    }
    return 1;
}

static int rpc_deliver(void *arg, uint8_t *msg, size_t size)
{
    const struct rpc_conn *conn = arg;

    return rpc_process_pdu(conn->ctx, (char *)msg, (int)size);
}

static void rpc_done_locked(struct rpc_conn *conn, struct rpc_call *call)
{
    if (call->place != NULL)
        rpc_in_forget(&conn->in, call);
    __atomic_sub_fetch(&conn->pending, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&call->done, 1, __ATOMIC_RELEASE);
    __atomic_add_fetch(&conn->seq, 1, __ATOMIC_RELEASE);
}

/* libnfs has one status for "the server refused" and "the connection broke"; only its words differ. */
static bool rpc_rejected(int status, const char *why)
{
    return status == RPC_STATUS_ERROR && why != NULL &&
           (strncmp(why, "Message rejected", 16) == 0 || strncmp(why, "RPC Packet", 10) == 0 ||
            strncmp(why, "Server responded", 16) == 0 || strncmp(why, "Unknown rpc", 11) == 0);
}

/* libnfs calls back under the conn's lock. */
static void rpc_reply(struct rpc_context *rpc, int status, void *data, void *private_data)
{
    struct rpc_call *call = private_data;
    const struct rpc_raw *raw = data;

    if (status == RPC_STATUS_SUCCESS) {
        __atomic_add_fetch(&rpc_heard, 1, __ATOMIC_RELAXED);
        call->error = call->take(call, raw->at, raw->size);
    } else if (rpc_rejected(status, data)) {
        call->error = -EACCES; /* our credential */
    } else {
        call->lost = true;
    }
    rpc_done_locked(call->conn, call);
}

static void rpc_connected(struct rpc_context *rpc, int status, void *data, void *private_data)
{
    *(int *)private_data = status == RPC_STATUS_SUCCESS ? 1 : -1;
}

/* Wakes whoever waits on the connection. */
static void rpc_wake_locked(struct rpc_conn *conn)
{
    if (conn->sleepers > 0)
        sys_futex_wake(&conn->seq);
}

static void rpc_kick_locked(struct rpc_conn *conn)
{
    __atomic_add_fetch(&conn->seq, 1, __ATOMIC_RELEASE);
    rpc_wake_locked(conn);
}

/* Throws the context away; calls on it are marked lost. */
static void rpc_teardown_locked(struct rpc_conn *conn)
{
    if (conn->ctx != NULL) {
        rpc_fd_release(conn->fd);
        __atomic_add_fetch(&rpc_lost, 1, __ATOMIC_RELEASE);
        rpc_disconnect(conn->ctx, "connection lost");
        rpc_destroy_context(conn->ctx);
        conn->ctx = NULL;
    }
    rpc_in_reset(&conn->in);
    conn->fd = -1;
    conn->epoch++;
    rpc_kick_locked(conn);
}

/* The connection's descriptor is not there in this process: its number is left alone. */
static void rpc_gone_locked(struct rpc_conn *conn)
{
    rpc_fd_release(conn->fd);
    rpc_set_fd(conn->ctx, -1);
    conn->fd = -1;
    rpc_teardown_locked(conn);
}

/* Drops a connection whose descriptor another process has, a vfork child that is gone. */
static void rpc_mine_locked(struct rpc_server *server, struct rpc_conn *conn)
{
    int me = (int)sys0(SYS_getpid);

    if (conn->ctx != NULL && conn->pid != me && conn->pid != server->pid)
        rpc_gone_locked(conn);
}

/* Takes in what poll said of the connection. */
static void rpc_serve_locked(struct rpc_conn *conn, short events)
{
    if (events & POLLNVAL)
        rpc_gone_locked(conn); /* somebody closed it by a call that we do not see */
    else if (events & POLLIN ? rpc_in_serve(&conn->in, conn->fd, rpc_deliver, conn) < 0 /* first what was sent before the end */
                             : rpc_service(conn->ctx, events) < 0)
        rpc_teardown_locked(conn);
}

bool rpc_closed(struct rpc_server *server)
{
    bool closed = false;

    for (int i = 0; i < RPC_CONNS; i++) {
        struct rpc_conn *conn = &server->conns[i];
        struct pollfd p = {.events = POLLIN};

        vlock_lock(&conn->lock);
        rpc_mine_locked(server, conn);
        p.fd = conn->fd;
        if (conn->ctx != NULL && !conn->leader && conn->pending == 0 && (int)sys3(SYS_poll, &p, 1, 0) > 0) {
            rpc_serve_locked(conn, p.revents);
            closed |= conn->ctx == NULL;
        }
        vlock_unlock(&conn->lock);
    }
    return closed;
}

/* Moves the socket out of the way of programs that count on low numbers or close everything up to some bound. */
static void rpc_move_fd(struct rpc_context *ctx, int *fd)
{
    struct rlimit limit = {0};
    long high;

    sys4(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &limit);
    if (limit.rlim_cur < 256)
        return;
    if (limit.rlim_cur > 65536)
        limit.rlim_cur = 65536;
    high = sys3(SYS_fcntl, *fd, F_DUPFD_CLOEXEC, (long)limit.rlim_cur - 64);
    if (high < 0)
        return;
    sys1(SYS_close, *fd);
    rpc_set_fd(ctx, (int)high);
    *fd = (int)high;
}

static struct AUTH *rpc_auth(void)
{
    uint32_t groups[65536 / 64];
    long n = sys2(SYS_getgroups, sizeof(groups) / sizeof(groups[0]), groups);

    if (n < 0)
        n = 0;
    if (n > RPC_GROUPS)
        n = RPC_GROUPS;
    return libnfs_authunix_create("volnfs", (uint32_t)sys0(SYS_geteuid), (uint32_t)sys0(SYS_getegid), (uint32_t)n,
                                  groups);
}

/* A program that gave up rights must not go on with those it had when it connected. */
static void rpc_auth_locked(struct rpc_conn *conn, bool fresh)
{
    uint32_t uid = (uint32_t)sys0(SYS_geteuid), gid = (uint32_t)sys0(SYS_getegid);
    struct AUTH *auth;

    if (!fresh && uid == conn->uid && gid == conn->gid)
        return;
    auth = rpc_auth();
    if (auth == NULL)
        return;
    rpc_set_auth(conn->ctx, auth);
    conn->uid = uid;
    conn->gid = gid;
}

/* One try to connect. 0 or a negative errno; on failure conn->ctx is NULL. */
static int rpc_connect_locked(struct rpc_server *server, struct rpc_conn *conn)
{
    struct rpc_context *ctx = rpc_init_context();
    int state = 0, one = 1, fd;
    int idle = 20, every = 5, tries = 6, user_ms = 60000;
    uint64_t limit = sys_now_ms() + 10000;

    if (ctx == NULL)
        return -ENOMEM;
    rpc_set_autoreconnect(ctx, 0);
    if (rpc_connect_async(ctx, server->host, (int)server->port, rpc_connected, &state) != 0)
        goto fail;
    while (state == 0) {
        struct pollfd p = {.fd = rpc_get_fd(ctx), .events = POLLOUT};
        long n = sys3(SYS_poll, &p, 1, 500);

        if (n > 0 && rpc_service(ctx, p.revents) < 0)
            break;
        if (sys_now_ms() > limit)
            break;
    }
    if (state != 1)
        goto fail;
    fd = rpc_get_fd(ctx);
    rpc_move_fd(ctx, &fd);
    port_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    port_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
    port_setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    port_setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &every, sizeof(every));
    port_setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof(tries));
    port_setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_ms, sizeof(user_ms));
    conn->ctx = ctx;
    rpc_auth_locked(conn, true);
    conn->fd = fd;
    conn->pid = (int)sys0(SYS_getpid);
    __atomic_store_n(&conn->down_since, 0, __ATOMIC_RELAXED);
    rpc_fd_keep(fd);
    return 0;

fail:
    rpc_disconnect(ctx, "connect failed");
    rpc_destroy_context(ctx);
    return -ECONNREFUSED;
}

int rpc_server_open(struct rpc_server **out, const char *host, unsigned port, unsigned soft_ms)
{
    unsigned lanes = sys_cpus() / 2;
    struct rpc_server *server;
    uint8_t addr[16];

    if (strlen(host) >= sizeof(server->host) || port == 0 || port > 65535 ||
        (inet_pton(AF_INET, host, addr) != 1 && inet_pton(AF_INET6, host, addr) != 1))
        return -EINVAL;
    server = heap_zalloc(1, sizeof(*server));
    if (server == NULL)
        return -ENOMEM;
    strcpy(server->host, host);
    server->port = port;
    server->soft_ms = soft_ms;
    server->pid = (int)sys0(SYS_getpid);
    server->lanes = lanes < 1 ? 1 : lanes < RPC_CONNS ? lanes : RPC_CONNS;
    for (int i = 0; i < RPC_CONNS; i++)
        server->conns[i].fd = -1;
    *out = server;
    return 0;
}

void rpc_server_close(struct rpc_server *server)
{
    if (server == NULL)
        return;
    for (int i = 0; i < RPC_CONNS; i++) {
        vlock_lock(&server->conns[i].lock);
        rpc_teardown_locked(&server->conns[i]);
        vlock_unlock(&server->conns[i].lock);
    }
    heap_free(server);
}

void rpc_after_fork(struct rpc_server *server)
{
    int parent = server->pid;

    server->pid = (int)sys0(SYS_getpid);
    /* The contexts are abandoned, not destroyed: their calls live on stacks that are gone here. */
    for (int i = 0; i < RPC_CONNS; i++) {
        struct rpc_conn *conn = &server->conns[i];
        unsigned epoch = conn->epoch + 1;

        if (conn->fd >= 0) {
            rpc_fd_release(conn->fd);
            if (conn->pid == parent)
                sys1(SYS_close, conn->fd);
        }
        memset(conn, 0, sizeof(*conn));
        conn->fd = -1;
        conn->epoch = epoch;
    }
}

/* Pushes out what is queued, taking in replies meanwhile if nobody else does. Called and returns locked. */
static void rpc_flush_locked(struct rpc_conn *conn)
{
    struct rpc_silence silence = {0};
    unsigned epoch = conn->epoch;

    while (conn->ctx != NULL && conn->epoch == epoch) {
        struct pollfd p = {.fd = conn->fd};
        int ms = 1000, n;

        if (rpc_service(conn->ctx, POLLOUT) < 0) {
            rpc_teardown_locked(conn);
            return;
        }
        if ((rpc_which_events(conn->ctx) & POLLOUT) == 0)
            break;
        p.events = (short)(POLLOUT | (conn->leader ? 0 : POLLIN));
        if (!conn->leader)
            ms = rpc_in_before_poll(&conn->in, conn->fd, ms);
        vlock_unlock(&conn->lock);
        n = (int)sys3(SYS_poll, &p, 1, ms);
        if (n == 0)
            rpc_silence_look(&silence, 0);
        vlock_lock(&conn->lock);
        if (conn->epoch != epoch || conn->leader)
            continue;
        rpc_in_after_poll(&conn->in, n, &p);
        if (p.revents & (POLLIN | POLLHUP | POLLERR))
            rpc_serve_locked(conn, (short)(p.revents & ~POLLOUT));
    }
    if (silence.told && conn->epoch == epoch) { /* it has taken all */
        vlock_unlock(&conn->lock);
        rpc_silence_end(&silence);
        vlock_lock(&conn->lock);
    }
}

/* RPC_ANY: the connection with the least to do; a single thread stays on the first. */
static struct rpc_conn *rpc_lane(struct rpc_server *server, int lane)
{
    if (lane == RPC_ANY) {
        int least = 0, fewest = INT_MAX;

        for (int i = 0; i < RPC_CONNS && fewest > 0; i++) {
            int pending = __atomic_load_n(&server->conns[i].pending, __ATOMIC_RELAXED);

            if (pending < fewest) {
                fewest = pending;
                least = i;
            }
        }
        return &server->conns[least];
    }
    return &server->conns[(unsigned)lane % server->lanes];
}

/* Queues the call; marks it lost when there is no connection. */
static void rpc_send_locked(struct rpc_server *server, struct rpc_conn *conn, struct rpc_call *call)
{
    uint64_t began;

    call->conn = conn;
    call->done = 0;
    call->lost = false;
    call->error = 0;
    rpc_mine_locked(server, conn);
    began = conn->ctx == NULL ? sys_now_ms() : 0;
    if (conn->ctx == NULL && rpc_connect_locked(server, conn) != 0) {
        if (conn->down_since == 0)
            __atomic_store_n(&conn->down_since, began, __ATOMIC_RELAXED);
        call->lost = true;
        call->done = 1;
        return;
    }
    rpc_auth_locked(conn, false);
    __atomic_add_fetch(&conn->pending, 1, __ATOMIC_RELAXED);
    if (rpc_nfs4_compound_async(conn->ctx, rpc_reply, (struct COMPOUND4args *)call, call) != 0) {
        __atomic_sub_fetch(&conn->pending, 1, __ATOMIC_RELAXED);
        call->error = -ENOMEM;
        call->done = 1;
        return;
    }
    if (call->place != NULL)
        rpc_in_expect(&conn->in, call);
    rpc_flush_locked(conn);
}

void rpc_submit(struct rpc_server *server, struct rpc_call *call)
{
    struct rpc_conn *conn = rpc_lane(server, call->lane);

    call->resent = false;
    vlock_lock(&conn->lock);
    rpc_send_locked(server, conn, call);
    vlock_unlock(&conn->lock);
}

/* Serves the connection once for everybody. Called and returns locked. */
static void rpc_lead_locked(struct rpc_conn *conn, int ms)
{
    struct pollfd p = {.fd = conn->fd, .events = POLLIN};
    unsigned epoch = conn->epoch;
    int n;

    ms = rpc_in_before_poll(&conn->in, conn->fd, ms);
    conn->leader = true;
    vlock_unlock(&conn->lock);
    n = (int)sys3(SYS_poll, &p, 1, ms);
    vlock_lock(&conn->lock);
    conn->leader = false;
    if (conn->epoch == epoch)
        rpc_in_after_poll(&conn->in, n, &p);
    if (conn->epoch == epoch && p.revents != 0)
        rpc_serve_locked(conn, p.revents);
    rpc_wake_locked(conn);
}

/* Waits until the call is done or lost. limit: when a server that does not answer is given up (0: never). */
static int rpc_wait_once(struct rpc_conn *conn, struct rpc_call *call, uint64_t limit, struct rpc_silence *silence)
{
    uint64_t hook_at = 0;
    int err = 0;

    vlock_lock(&conn->lock);
    while (!__atomic_load_n(&call->done, __ATOMIC_ACQUIRE)) {
        if (conn->leader) {
            int seq = __atomic_load_n(&conn->seq, __ATOMIC_ACQUIRE);

            conn->sleepers++;
            vlock_unlock(&conn->lock);
            sys_futex_wait(&conn->seq, seq, 500);
            vlock_lock(&conn->lock);
            conn->sleepers--;
        } else {
            rpc_lead_locked(conn, 500);
            if (!call->done)
                __atomic_add_fetch(&conn->seq, 1, __ATOMIC_RELEASE);
        }
        if (!call->done && limit != 0 && sys_now_ms() > limit)
            rpc_teardown_locked(conn);
        if (!call->done && (rpc_idle_hook != NULL || rpc_silent_hook != NULL)) {
            uint64_t now = sys_now_ms();

            if (hook_at == 0)
                hook_at = now + 400;
            if (now >= hook_at) {
                vlock_unlock(&conn->lock);
                rpc_silence_look(silence, 0);
                if (rpc_idle_hook != NULL)
                    err = rpc_idle_hook();
                vlock_lock(&conn->lock);
                if (err != 0 && !call->done) /* a reply that came yet would find nobody */
                    rpc_teardown_locked(conn);
                hook_at = sys_now_ms() + 400;
            }
        }
    }
    vlock_unlock(&conn->lock);
    return err;
}

int rpc_wait(struct rpc_server *server, struct rpc_call *call)
{
    struct rpc_conn *conn = call->conn;
    uint64_t limit = server->soft_ms != 0 ? sys_now_ms() + server->soft_ms : 0;
    struct rpc_silence silence = {0};
    unsigned pause = 20;

    for (;;) {
        int err = rpc_wait_once(conn, call, limit, &silence);
        uint64_t down, now;

        if (!call->lost) {
            rpc_silence_end(&silence);
            return call->error;
        }
        if (err != 0)
            return call->error = err;
        down = __atomic_load_n(&conn->down_since, __ATOMIC_RELAXED); /* another thread may connect meanwhile */
        now = sys_now_ms();
        if (limit != 0 && (now > limit || (down != 0 && now - down > server->soft_ms)))
            return call->error = -EIO;
        if (down != 0) {
            sys_sleep_ms(pause);
            if (pause < 2000)
                pause *= 2;
            rpc_silence_look(&silence, down);
            if (rpc_idle_hook != NULL && (err = rpc_idle_hook()) != 0)
                return call->error = err;
        }
        call->resent = true;
        vlock_lock(&conn->lock);
        rpc_send_locked(server, conn, call);
        vlock_unlock(&conn->lock);
    }
}

bool rpc_poll(struct rpc_server *server, struct rpc_call *call)
{
    struct rpc_conn *conn = call->conn;

    if (!__atomic_load_n(&call->done, __ATOMIC_ACQUIRE) && vlock_try(&conn->lock)) {
        if (!conn->leader && conn->ctx != NULL) {
            struct pollfd p = {.fd = conn->fd, .events = POLLIN};

            rpc_in_before_poll(&conn->in, conn->fd, 0);
            if (sys3(SYS_poll, &p, 1, 0) > 0)
                rpc_serve_locked(conn, p.revents);
        }
        vlock_unlock(&conn->lock);
    }
    return __atomic_load_n(&call->done, __ATOMIC_ACQUIRE) != 0;
}
