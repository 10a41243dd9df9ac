/* SPDX-License-Identifier: Apache-2.0
 * rpc_env: the program that is served, its server, and a client of plain sockets.
 */
#include "tests/unit/rpc_env.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/rpc/rpcmsg.h"

/* --- the program --- */

int dispatched, finished, refs_made, refs_released, conns_closed;
char big[1048576];

pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
struct request *parked[512];
int nparked, gate_open, call_result, call_done;
char call_reply[64];

static void on_finish(struct request *req)
{
    INC(finished);
}

static void ref_release(void *arg)
{
    INC(refs_released);
}

void on_reply(void *arg, int err, const void *reply, size_t len)
{
    pthread_mutex_lock(&lock);
    call_result = err;
    call_done++;
    if (len >= 4 && len <= sizeof(call_reply))
        memcpy(call_reply, reply, len);
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
}

struct conn_ref *kept_ref;

static void call_back(struct request *req, uint32_t timeout)
{
    struct xdrout *o = xdrout_new(1000);
    uint32_t w[] = {htonl(77), 0, htonl(2), 0, 0, 0, 0, 0, 0, 0};

    assert_true(xdrout_put_raw(o, w, sizeof(w)));
    if (!kept_ref)
        kept_ref = request_conn_ref(req);
    assert_int_equal(conn_ref_id(kept_ref), request_conn_id(req));
    assert_int_equal(conn_call(kept_ref, o, 77, timeout, on_reply, NULL), 0);
}

static bool late_run(struct request *req)
{
    uint32_t all = request_all_late(req);

    xdr_uint32_t(xdrout_xdr(req->out), &all);
    request_complete(req);
    return all;
}

static enum req_result dispatch(struct request *req, void *arg)
{
    XDR *out = xdrout_xdr(req->out);
    uint32_t n, ids[2];
    xdata v;

    if (!req->may_block) {
        INC(dispatched);
        req->finish = on_finish;
        assert_non_null(arena_alloc(&req->arena, 100));
    }
    switch (req->proc) {
    case P_NULL:
        return REQ_DONE;
    case P_ECHO:
        if (!xdr_xdata(&req->in, &v))
            request_reject(req, GARBAGE_ARGS);
        else
            xdr_xdata(out, &v);
        return REQ_DONE;
    case P_BLOCK:
        if (!req->may_block) {
            req->priv = arena_alloc(&req->arena, 8);
            assert_true(xdr_uint32_t(&req->in, req->priv));
            return REQ_BLOCK;
        }
        xdr_uint32_t(out, req->priv);
        return REQ_DONE;
    case P_PARK_NOW:
        n = 5;
        xdr_uint32_t(out, &n);
        request_complete(req);
        return REQ_PARKED;
    case P_LATE:
        request_late(req, late_run);
        return REQ_PARKED;
    case P_PARK:
        pthread_mutex_lock(&lock);
        parked[nparked++] = req;
        pthread_cond_broadcast(&cond);
        pthread_mutex_unlock(&lock);
        return REQ_PARKED;
    case P_REF:
        if (!xdr_uint32_t(&req->in, &n) || n > sizeof(big)) {
            request_reject(req, GARBAGE_ARGS);
            return REQ_DONE;
        }
        INC(refs_made);
        xdr_uint32_t(out, &n);
        xdrout_put_ref(req->out, &(struct iovec){big, n}, 1, ref_release, NULL);
        return REQ_DONE;
    case P_CALLBACK:
        if (xdr_uint32_t(&req->in, &n))
            call_back(req, n);
        return REQ_DONE;
    case P_GATE:
        if (!req->may_block)
            return REQ_BLOCK;
        pthread_mutex_lock(&lock);
        while (!gate_open)
            pthread_cond_wait(&cond, &lock);
        pthread_mutex_unlock(&lock);
        INC(refs_made);
        xdrout_put_ref(req->out, &(struct iovec){big, sizeof(big)}, 1, ref_release, NULL);
        return REQ_DONE;
    case P_IDS:
        ids[0] = ids[1] = 0;
        if (request_peer_ids(req, &ids[0], &ids[1]) != 0)
            return REQ_DROP;
        xdr_uint32_t(out, &ids[0]);
        xdr_uint32_t(out, &ids[1]);
        return REQ_DONE;
    case P_DROP:
        return REQ_DROP;
    default:
        request_reject(req, PROC_UNAVAIL);
        return REQ_DONE;
    }
}

static void on_conn_closed(uint64_t id, void *arg)
{
    INC(conns_closed);
}

const struct oncrpc_program program = {PROG, 1, 2, dispatch, NULL, on_conn_closed, NULL};

/* --- the server --- */

struct rpcserver *server;
int port;
char sock_path[108];

int setup_conf(const struct rpcserver_conf *conf)
{
    dispatched = finished = refs_made = refs_released = conns_closed = 0;
    nparked = gate_open = call_result = call_done = 0;
    snprintf(sock_path, sizeof(sock_path), "%s/rpcserver-%d.sock",
             getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    assert_int_equal(rpcserver_new(conf, &server), 0);
    assert_int_equal(rpcserver_listen(server, "127.0.0.1:0", &program), 0);
    assert_int_equal(rpcserver_listen(server, sock_path, &program), 0);
    port = rpcserver_port(server, 0);
    assert_in_range(port, 1, 65535);
    return rpcserver_start(server);
}

int setup(void **state)
{
    return setup_conf(&(struct rpcserver_conf){.loops = 2, .workers = 2});
}

int setup_small(void **state)
{
    return setup_conf(&(struct rpcserver_conf){
        .loops = 1, .workers = 2, .max_inflight = 8, .max_out = 1 << 20, .max_conns = 20,
        .max_peer_conns = 20});
}

int teardown(void **state)
{
    struct stat st;

    rpcserver_stop(server, 2000);
    conn_ref_put(kept_ref);
    kept_ref = NULL;
    rpcserver_free(server);
    assert_int_equal(LOAD(dispatched), LOAD(finished));
    assert_int_equal(LOAD(refs_made), LOAD(refs_released));
    assert_int_equal(stat(sock_path, &st), -1);
    return 0;
}

void wait_for(const int *v, int value)
{
    for (int i = 0; i < 30000 && LOAD(*v) != value; i++)
        usleep(2000);
    assert_int_equal(LOAD(*v), value);
}

void wait_some(const int *v)
{
    for (int i = 0; i < 30000 && LOAD(*v) == 0; i++)
        usleep(2000);
}

void wait_locked(const int *v, int value)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    ts.tv_sec += 60;
    pthread_mutex_lock(&lock);
    while (*v < value && pthread_cond_timedwait(&cond, &lock, &ts) == 0)
        ;
    assert_int_equal(*v, value);
    pthread_mutex_unlock(&lock);
}

/* --- the client --- */

int dial(void)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval tv = {.tv_sec = 60};
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
    return fd;
}

static bool try_send(int fd, const void *p, size_t n)
{
    for (const char *s = p; n;) {
        ssize_t m = send(fd, s, n, MSG_NOSIGNAL);

        if (m <= 0)
            return false;
        s += m;
        n -= (size_t)m;
    }
    return true;
}

void send_all(int fd, const void *p, size_t n)
{
    assert_true(try_send(fd, p, n));
}

static bool recv_all(int fd, void *p, size_t n)
{
    return recv(fd, p, n, MSG_WAITALL) == (ssize_t)n;
}

void assert_closed(int fd)
{
    char b[1];

    ssize_t n = recv(fd, b, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

size_t make_call(void *buf, uint32_t xid, uint32_t proc, const void *args, size_t n)
{
    uint32_t w[] = {0x80000000u | (uint32_t)(40 + n), xid, 0, 2, PROG, 1, proc, 0, 0, 0, 0};

    for (int i = 0; i < 11; i++)
        w[i] = htonl(w[i]);
    memcpy(buf, w, 44);
    if (n)
        memcpy((char *)buf + 44, args, n);
    return 44 + n;
}

bool try_call(int fd, uint32_t xid, uint32_t proc, const void *args, size_t n)
{
    char *buf = malloc(44 + n);
    bool all = try_send(fd, buf, make_call(buf, xid, proc, args, n));

    free(buf);
    return all;
}

void call(int fd, uint32_t xid, uint32_t proc, const void *args, size_t n)
{
    assert_true(try_call(fd, xid, proc, args, n));
}

size_t reply(int fd, uint32_t *w, size_t max)
{
    uint32_t mark;

    if (!recv_all(fd, &mark, 4))
        return 0;
    mark = ntohl(mark);
    assert_true(mark & 0x80000000u);
    mark &= 0x7fffffffu;
    assert_true(mark <= max * 4 && mark % 4 == 0);
    if (!recv_all(fd, w, mark))
        return 0;
    for (uint32_t i = 0; i < mark / 4; i++)
        w[i] = ntohl(w[i]);
    return mark;
}

void expect(int fd, uint32_t xid, uint32_t accept_stat)
{
    uint32_t w[64];

    assert_true(reply(fd, w, 64) >= 24);
    assert_int_equal(w[0], xid);
    assert_int_equal(w[1], 1);
    assert_int_equal(w[5], accept_stat);
}

void *complete_parked(void *arg)
{
    for (int i = 0; i < nparked; i++) {
        struct request *req = parked[i];
        uint32_t v = req->xid;

        xdr_uint32_t(xdrout_xdr(req->out), &v);
        if (*(int *)arg && i % 2)
            request_drop(req);
        else
            request_complete(req);
    }
    return NULL;
}
