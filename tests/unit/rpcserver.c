/* SPDX-License-Identifier: Apache-2.0
 * rpcserver: a small program over real sockets: hostile streams, limits, waiting, closing, calling back.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "config.h"
#include "server/rpc/awake.h"
#include "server/rpc/rpcmsg.h"
#include "server/rpc/rpcserver.h"

/* --- the program --- */

#define PROG 0x20000001u
enum { P_NULL, P_ECHO, P_BLOCK, P_PARK, P_REF, P_DROP, P_CALLBACK, P_GATE, P_IDS, P_PARK_NOW, P_LATE };

static int dispatched, finished, refs_made, refs_released, conns_closed; /* atomic */
static char big[1048576];

#define LOAD(v) __atomic_load_n(&(v), __ATOMIC_SEQ_CST)
#define INC(v)  __atomic_add_fetch(&(v), 1, __ATOMIC_SEQ_CST)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static struct request *parked[512];
static int nparked, gate_open, call_result, call_done;
static char call_reply[64];

static void on_finish(struct request *req)
{
    INC(finished);
}

static void ref_release(void *arg)
{
    INC(refs_released);
}

static void on_reply(void *arg, int err, const void *reply, size_t len)
{
    pthread_mutex_lock(&lock);
    call_result = err;
    call_done++;
    if (len >= 4 && len <= sizeof(call_reply))
        memcpy(call_reply, reply, len);
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
}

static struct conn_ref *kept_ref;

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

static const struct oncrpc_program program = {PROG, 1, 2, dispatch, NULL, on_conn_closed, NULL};

/* --- the server --- */

static struct rpcserver *server;
static int port;
static char sock_path[108];

static int setup_conf(const struct rpcserver_conf *conf)
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

static int setup(void **state)
{
    return setup_conf(&(struct rpcserver_conf){.loops = 2, .workers = 2});
}

static int setup_small(void **state)
{
    return setup_conf(&(struct rpcserver_conf){
        .loops = 1, .workers = 2, .max_inflight = 8, .max_out = 1 << 20, .max_conns = 20,
        .max_peer_conns = 20});
}

static int setup_little_memory(void **state)
{
    return setup_conf(&(struct rpcserver_conf){.loops = 1, .workers = 2, .max_memory = 4 << 20});
}

/* Whatever a test did: each request was finished once and each reference released once. */
static int teardown(void **state)
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

/* Waits up to a minute for an atomic counter. */
static void wait_for(const int *v, int value)
{
    for (int i = 0; i < 30000 && LOAD(*v) != value; i++)
        usleep(2000);
    assert_int_equal(LOAD(*v), value);
}

/* The same, for any value but 0. */
static void wait_some(const int *v)
{
    for (int i = 0; i < 30000 && LOAD(*v) == 0; i++)
        usleep(2000);
}

/* Waits until the server has read so many bytes of some connection. */
static void wait_read(uint64_t bytes)
{
    struct rpcserver_conn c[64];

    for (int i = 0; i < 30000; i++) {
        unsigned n = rpcserver_conns(server, c, 64);

        for (unsigned k = 0; k < n && k < 64; k++)
            if (c[k].rx_bytes == bytes)
                return;
        usleep(2000);
    }
    fail();
}

static void wait_locked(const int *v, int value)
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

static int dial(void)
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

static void send_all(int fd, const void *p, size_t n)
{
    for (const char *s = p; n;) {
        ssize_t m = send(fd, s, n, MSG_NOSIGNAL);

        assert_true(m > 0);
        s += m;
        n -= (size_t)m;
    }
}

static bool recv_all(int fd, void *p, size_t n)
{
    return recv(fd, p, n, MSG_WAITALL) == (ssize_t)n;
}

/* The server hung up, rather than answering or waiting. */
static void assert_closed(int fd)
{
    char b[1];

    ssize_t n = recv(fd, b, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

/* A call with its record mark into buf (of 44 + n bytes); the size of it. */
static size_t make_call(void *buf, uint32_t xid, uint32_t proc, const void *args, size_t n)
{
    uint32_t w[] = {0x80000000u | (uint32_t)(40 + n), xid, 0, 2, PROG, 1, proc, 0, 0, 0, 0};

    for (int i = 0; i < 11; i++)
        w[i] = htonl(w[i]);
    memcpy(buf, w, 44);
    if (n)
        memcpy((char *)buf + 44, args, n);
    return 44 + n;
}

static void call(int fd, uint32_t xid, uint32_t proc, const void *args, size_t n)
{
    char *buf = malloc(44 + n);

    send_all(fd, buf, make_call(buf, xid, proc, args, n));
    free(buf);
}

/* A reply's words in host order: xid, 1, 0, 0, 0, accept_stat, results. Returns its bytes. */
static size_t reply(int fd, uint32_t *w, size_t max)
{
    uint32_t mark;

    assert_true(recv_all(fd, &mark, 4));
    mark = ntohl(mark);
    assert_true(mark & 0x80000000u);
    mark &= 0x7fffffffu;
    assert_true(mark <= max * 4 && mark % 4 == 0);
    assert_true(recv_all(fd, w, mark));
    for (uint32_t i = 0; i < mark / 4; i++)
        w[i] = ntohl(w[i]);
    return mark;
}

static void expect(int fd, uint32_t xid, uint32_t accept_stat)
{
    uint32_t w[64];

    assert_true(reply(fd, w, 64) >= 24);
    assert_int_equal(w[0], xid);
    assert_int_equal(w[1], 1);
    assert_int_equal(w[5], accept_stat);
}

/* --- hostile streams --- */

static void bad_streams_close_only_themselves(void **state)
{
    static const struct {
        uint32_t w[12];
        size_t bytes;
    } bad[] = {
        {{0x80000000}, 4},                              /* an empty record */
        {{0x80000003, 0x41424300}, 7},                  /* shorter than an xid */
        {{0xffffffff}, 4},                              /* 2 GiB */
        {{0x7fffffff}, 4},                              /* the same as a first fragment */
        {{0x80000000 | (REQUEST_CALL_MAX + 1)}, 4},     /* one byte over */
        {{0x80000008, 1, 2}, 12},                       /* neither call nor reply */
        {{0x80000008, 1, 0}, 12},                       /* a call that ends at once */
        {{0x80000028, 1, 0, 2, PROG, 1, 0, 0, 500, 0, 0}, 44}, /* a credential of 500 bytes */
        {{0x47455420, 0x2f204854, 0x54502f31}, 12},     /* GET / HTTP/1 */
        {{0x00000004, 1, 0x80000000}, 12},              /* two fragments, but no call */
    };
    int healthy = dial();

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint32_t w[12];
        int fd = dial();

        for (int k = 0; k < 12; k++)
            w[k] = htonl(bad[i].w[k]);
        send_all(fd, w, bad[i].bytes);
        assert_closed(fd);
        call(healthy, (uint32_t)i, P_NULL, NULL, 0);
        expect(healthy, (uint32_t)i, SUCCESS);
    }
    int fd = dial();
    call(fd, 1, P_DROP, NULL, 0);
    assert_closed(fd);
    wait_for(&conns_closed, 11);
    close(healthy);
}

static void errors_are_answered(void **state)
{
    uint32_t w[64], c[11];
    int fd = dial();

    call(fd, 1, 99, NULL, 0);
    expect(fd, 1, PROC_UNAVAIL);
    call(fd, 2, P_ECHO, "\xff\xff\xff\xff", 4);
    expect(fd, 2, GARBAGE_ARGS);
    make_call(c, 3, P_NULL, NULL, 0);
    c[4] = htonl(PROG + 1);
    send_all(fd, c, 44);
    expect(fd, 3, PROG_UNAVAIL);
    make_call(c, 4, P_NULL, NULL, 0);
    c[5] = htonl(3);
    send_all(fd, c, 44);
    assert_int_equal(reply(fd, w, 64), 32);
    assert_int_equal(w[5], PROG_MISMATCH);
    assert_int_equal(w[6], 1);
    assert_int_equal(w[7], 2);
    make_call(c, 5, P_NULL, NULL, 0);
    c[3] = htonl(3);
    send_all(fd, c, 44);
    assert_int_equal(reply(fd, w, 64), 24);
    assert_int_equal(w[2], 1);
    assert_int_equal(w[3], RPC_MISMATCH);
    make_call(c, 6, P_NULL, NULL, 0);
    c[7] = htonl(6); /* RPCSEC_GSS */
    send_all(fd, c, 44);
    assert_int_equal(reply(fd, w, 64), 20);
    assert_int_equal(w[3], AUTH_ERROR);
    assert_int_equal(w[4], AUTH_BADCRED);
    call(fd, 7, P_NULL, NULL, 0);
    expect(fd, 7, SUCCESS);
    close(fd);
}

/* --- streams cut in every way --- */

static void a_call_split_at_every_byte(void **state)
{
    uint32_t args[] = {htonl(8), htonl(0x61626364), htonl(0x65666768)}, w[64];
    char buf[64];
    size_t n = make_call(buf, 9, P_ECHO, args, 12);
    int fd = dial();

    /* Cut by the sender: the pieces arrive at different times. */
    for (size_t cut = 1; cut < n; cut += cut < 12 ? 1 : 7) {
        send_all(fd, buf, cut);
        usleep(3000);
        send_all(fd, buf + cut, n - cut);
        assert_int_equal(reply(fd, w, 64), 24 + 12);
        assert_int_equal(w[8], 0x65666768);
    }
    /* Cut by record marks: two fragments, and as many fragments as there are bytes. */
    for (size_t cut = 0; cut <= n - 4; cut++) {
        uint32_t first = htonl((uint32_t)cut), rest = htonl(0x80000000u | (uint32_t)(n - 4 - cut));

        send_all(fd, &first, 4);
        send_all(fd, buf + 4, cut);
        send_all(fd, &rest, 4);
        send_all(fd, buf + 4 + cut, n - 4 - cut);
        assert_int_equal(reply(fd, w, 64), 24 + 12);
        assert_int_equal(w[7], 0x61626364);
    }
    for (size_t i = 4; i < n; i++) {
        uint32_t mark = htonl((i == n - 1 ? 0x80000000u : 0) | 1);

        send_all(fd, &mark, 4);
        send_all(fd, buf + i, 1);
    }
    assert_int_equal(reply(fd, w, 64), 24 + 12);
    close(fd);
}

/* A client without TCP_NODELAY that sends a record in three pieces is not kept waiting for delayed
 * acknowledgements: with 40 ms each no ten calls would take less than 200 ms. On a busy machine not all do. */
static void small_pieces_without_nodelay(void **state)
{
    static char args[6004];
    char *buf = malloc(44 + sizeof(args));
    uint32_t *w = malloc(24 + sizeof(args));
    uint64_t start = 0, best = UINT64_MAX;
    size_t n;
    int fd = dial();

    *(uint32_t *)(void *)args = htonl(sizeof(args) - 4);
    n = make_call(buf, 3, P_ECHO, args, sizeof(args));
    for (int i = 0; i < 100 || (best >= 200 && i < 2000); i++) {
        if (i % 10 == 0)
            start = clock_mono_ms();
        send_all(fd, buf, 2052);
        send_all(fd, buf + 2052, 2052);
        send_all(fd, buf + 4104, n - 4104);
        assert_int_equal(reply(fd, w, 6 + sizeof(args) / 4), 24 + sizeof(args));
        if (i >= 50 && i % 10 == 9 && clock_mono_ms() - start < best) /* a connection begins without delays */
            best = clock_mono_ms() - start;
    }
    assert_in_range(best, 0, 199);
    close(fd);
    free(w);
    free(buf);
}

static void fragments_cannot_pile_up(void **state)
{
    uint32_t mark = htonl(500000);
    int fd = dial();

    send_all(fd, &mark, 4);
    send_all(fd, big, 500000);
    send_all(fd, &mark, 4);
    send_all(fd, big, 500000);
    send_all(fd, &mark, 4); /* the third goes past the limit */
    for (size_t at = 0; at < 500000; at += 50000)
        if (send(fd, big, 50000, MSG_NOSIGNAL) < 0)
            break;
    assert_closed(fd);
}

static void *send_thread(void *arg)
{
    int fd = *(int *)arg;
    uint32_t n = htonl(1048576);
    char *buf = malloc(44 + 4 + 1048576);

    /* Large and small in turn, so that both kinds of buffer meet. */
    memcpy(buf + 44 + 4, big, 1048576);
    for (uint32_t i = 0; i < 40; i++) {
        size_t len = i % 4 < 2 ? 1048576 : i % 4 == 2 ? 0 : 60000;
        uint32_t be = htonl((uint32_t)len);

        make_call(buf, i, P_ECHO, &n, 0);
        *(uint32_t *)(void *)buf = htonl(0x80000000u | (uint32_t)(44 + len));
        memcpy(buf + 44, &be, 4);
        send_all(fd, buf, 48 + len);
    }
    free(buf);
    return NULL;
}

static void large_records_come_through(void **state)
{
    uint32_t *w = malloc(1100000);
    int fd = dial();
    pthread_t t;

    for (size_t i = 0; i < sizeof(big); i++)
        big[i] = (char)(i * 7 + i / 251);
    pthread_create(&t, NULL, send_thread, &fd);
    for (uint32_t i = 0; i < 40; i++) {
        size_t len = i % 4 < 2 ? 1048576 : i % 4 == 2 ? 0 : 60000;

        assert_int_equal(reply(fd, w, 1100000 / 4), 28 + len);
        assert_int_equal(w[0], i);
        for (size_t k = 0; k < len / 4; k++)
            w[7 + k] = htonl(w[7 + k]);
        assert_memory_equal(w + 7, big, len);
    }
    pthread_join(t, NULL);
    close(fd);
    free(w);
}

static void pipelined_calls(void **state)
{
    enum { N = 3000 };
    char *buf = malloc(N * 64);
    size_t at = 0;
    int fd = dial();

    for (uint32_t i = 0; i < N; i++) {
        uint32_t args[] = {htonl(4), htonl(i)};

        at += make_call(buf + at, i, i % 3 ? P_ECHO : P_PARK_NOW, args, 8);
    }
    send_all(fd, buf, at);
    for (uint32_t i = 0; i < N; i++)
        expect(fd, i, SUCCESS);
    close(fd);
    free(buf);
    wait_for(&finished, N);
}

/* --- waiting --- */

static void blocking_calls_run_in_workers(void **state)
{
    uint32_t w[64], seen = 0, arg;
    int fd = dial();

    for (uint32_t i = 0; i < 200; i++) {
        arg = htonl(i * 3);
        call(fd, i, P_BLOCK, &arg, 4);
    }
    for (int i = 0; i < 200; i++) {
        assert_int_equal(reply(fd, w, 64), 28);
        assert_int_equal(w[6], w[0] * 3);
        seen += w[0];
    }
    assert_int_equal(seen, 199 * 100);
    close(fd);
}

static void *complete_parked(void *arg)
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

static void parked_calls_complete_elsewhere(void **state)
{
    uint32_t w[64];
    int fd = dial(), drop = 0;
    pthread_t t;

    for (uint32_t i = 0; i < 100; i++)
        call(fd, i, P_PARK, NULL, 0);
    wait_locked(&nparked, 100);
    call(fd, 1000, P_NULL, NULL, 0); /* is not held up by them */
    expect(fd, 1000, SUCCESS);
    pthread_create(&t, NULL, complete_parked, &drop);
    for (uint32_t i = 0; i < 100; i++) {
        assert_int_equal(reply(fd, w, 64), 28);
        assert_int_equal(w[6], w[0]);
    }
    pthread_join(t, NULL);
    close(fd);
}

/* What came at once runs late at once, and is told whether there was nothing else. */
static void late_calls_run_together(void **state)
{
    int fd = dial(), drop = 0;
    uint32_t w[64], seen = 0;

    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < 20; i++)
            call(fd, 100 * round + i, P_LATE, NULL, 0);
        for (uint32_t i = 0; i < 20; i++) {
            assert_int_equal(reply(fd, w, 64), 28);
            assert_int_equal(w[0], 100 * round + i);
            seen += w[6];
        }
    }
    assert_in_range(seen, 1, 60); /* one of those that ran together */
    call(fd, 400, P_PARK, NULL, 0);
    wait_locked(&nparked, 1);
    call(fd, 401, P_LATE, NULL, 0);
    assert_int_equal(reply(fd, w, 64), 28);
    assert_int_equal(w[0], 401);
    assert_int_equal(w[6], 0);
    complete_parked(&drop);
    assert_int_equal(reply(fd, w, 64), 28);
    for (uint32_t i = 0; i < 20; i++)
        call(fd, 500 + i, P_LATE, NULL, 0);
    close(fd);
    wait_for(&conns_closed, 1);
    wait_for(&finished, LOAD(dispatched));
}

static void a_dropped_call_closes(void **state)
{
    int fd = dial(), drop = 1;

    call(fd, 1, P_PARK, NULL, 0);
    call(fd, 2, P_PARK, NULL, 0);
    wait_locked(&nparked, 2);
    complete_parked(&drop);
    while (recv(fd, big, sizeof(big), 0) > 0)
        ;
    close(fd);
    wait_for(&conns_closed, 1);
}

static void connection_closed_with_calls_in_flight(void **state)
{
    int drop = 0, fd = dial();

    for (uint32_t i = 0; i < 50; i++)
        call(fd, i, P_PARK, NULL, 0);
    call(fd, 50, P_GATE, NULL, 0);
    wait_locked(&nparked, 50);
    close(fd);
    wait_for(&conns_closed, 1);
    assert_int_equal(LOAD(finished), 0);
    complete_parked(&drop);
    wait_for(&finished, 50);
    pthread_mutex_lock(&lock);
    gate_open = 1;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
    wait_for(&finished, 51);
}

static void stop_lets_calls_finish(void **state)
{
    pthread_t t;
    int drop = 0, fd = dial();
    uint32_t w[64];

    call(fd, 3, P_PARK, NULL, 0);
    wait_locked(&nparked, 1);
    pthread_create(&t, NULL, complete_parked, &drop);
    rpcserver_stop(server, 5000);
    pthread_join(t, NULL);
    assert_int_equal(reply(fd, w, 64), 28);
    assert_closed(fd);
}

/* --- limits --- */

static void a_client_that_does_not_read(void **state)
{
    uint32_t arg = htonl(1000000), *w = malloc(1100000);
    int fd = dial(), other = dial(), small = 65536;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    for (uint32_t i = 0; i < 300; i++)
        call(fd, i, P_REF, &arg, 4);
    wait_some(&refs_made);
    usleep(300000);
    assert_in_range(LOAD(refs_made), 1, 20); /* the cap is 1 MiB, the rest are socket buffers */
    call(other, 1, P_NULL, NULL, 0);
    expect(other, 1, SUCCESS);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(reply(fd, w, 1100000 / 4), 28 + 1000000);
        assert_int_equal(w[0], i);
    }
    close(fd);
    close(other);
    free(w);
}

/* What waits for all of them together is bounded, too, and nobody is forgotten. */
static void many_clients_that_do_not_read(void **state)
{
    enum { CLIENTS = 16, CALLS = 30 };
    uint32_t arg = htonl(1000000), *w = malloc(1100000), word = htonl(7);
    char *large = calloc(1, 700000);
    int fd[CLIENTS], small = 65536, waiting;

    gate_open = 1;
    memcpy(large, &word, 4);
    for (int k = 0; k < CLIENTS; k++) {
        fd[k] = dial();
        setsockopt(fd[k], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
        for (uint32_t i = 0; i < CALLS; i++)
            call(fd[k], i, k % 2 ? P_GATE : P_REF, &arg, 4);
    }
    wait_some(&refs_made);
    usleep(500000);
    waiting = LOAD(refs_made) - LOAD(refs_released);
    assert_in_range(waiting, 1, 4 + CLIENTS + 4);
    for (uint32_t i = 0; i < CALLS; i++)
        for (int k = 0; k < CLIENTS; k++) {
            assert_int_equal(reply(fd[k], w, 1100000 / 4), k % 2 ? 24 + 1048576 : 28 + 1000000);
            if (k % 2 == 0) /* workers finish in any order */
                assert_int_equal(w[0], i);
        }
    /* large calls that block: each connection has at least one of them under way, all come to their end */
    for (int k = 0; k < CLIENTS; k++)
        for (uint32_t i = 0; i < 3; i++)
            call(fd[k], i, P_BLOCK, large, 700000);
    for (int k = 0; k < CLIENTS; k++) {
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(reply(fd[k], w, 64), 28);
        close(fd[k]);
    }
    free(large);
    free(w);
}

/* Those who begin large calls and do not go on hold all the memory there is for that: they are cut off, and who waited
 * is served. Nobody who is quick is. */
static void slow_senders_make_room(void **state)
{
    enum { SLOW = 12 };
    char *large = calloc(1, 700000);
    int slow[SLOW], good = dial(), trickle = dial(), closed;
    uint32_t mark = htonl(0x80000000u | 700000), word = htonl(7);
    uint64_t began;

    memcpy(large, &word, 4);
    call(good, 1, P_BLOCK, large, 700000);
    expect(good, 1, SUCCESS);
    began = clock_mono_ms();
    for (int i = 0; i < SLOW; i++) {
        slow[i] = dial();
        send_all(slow[i], &mark, 4);
        send_all(slow[i], large, 100000);
    }
    usleep(100000);
    send_all(trickle, "\x80", 1); /* has no large buffer, but is as slow */
    closed = LOAD(conns_closed);
    if (clock_mono_ms() - began < SLOW_SEND_MS) /* else the machine is slow, too */
        assert_int_equal(closed, 0);
    call(good, 2, P_BLOCK, large, 700000); /* has to wait for the seconds that the slow ones get */
    reply(good, (uint32_t *)(void *)large, 64);
    assert_true(LOAD(conns_closed) >= 3);
    memset(large, 0, 64);
    memcpy(large, &word, 4);
    for (uint32_t i = 3; i < 20; i++) {
        call(good, i, P_BLOCK, large, 700000);
        assert_int_equal(reply(good, (uint32_t *)(void *)large, 64), 28);
        memset(large, 0, 64);
        memcpy(large, &word, 4);
    }
    for (int i = 0; i < SLOW; i++)
        close(slow[i]);
    close(good);
    close(trickle);
    free(large);
}

/* A connection of one address too many is refused; others are not. */
static void one_address_is_capped(void **state)
{
    struct rpcserver_conf conf = {.max_conns = 20, .max_peer_conns = 5, .max_inflight = 8};
    int fds[6];

    rpcserver_set_limits(server, &conf);
    for (int i = 0; i < 5; i++) {
        fds[i] = dial();
        call(fds[i], 1, P_NULL, NULL, 0);
        expect(fds[i], 1, SUCCESS);
    }
    assert_closed(dial());
    conf.max_peer_conns = 6; /* may be changed */
    rpcserver_set_limits(server, &conf);
    fds[5] = dial();
    call(fds[5], 1, P_NULL, NULL, 0);
    expect(fds[5], 1, SUCCESS);
    for (int i = 0; i < 6; i++)
        close(fds[i]);
}

/* Calls that block are not run for a client whose output is full, and all are when it drains. */
static void workers_hold_back(void **state)
{
    uint32_t *w = malloc(1100000);
    int fd = dial(), small = 65536;

    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
    gate_open = 1;
    for (uint32_t i = 0; i < 100; i++)
        call(fd, i, P_GATE, NULL, 0);
    wait_some(&refs_made);
    usleep(300000);
    assert_in_range(LOAD(refs_made), 1, 20);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(reply(fd, w, 1100000 / 4), 24 + 1048576);
    close(fd);
    free(w);
}

static void in_flight_is_capped(void **state)
{
    int fd = dial();

    for (uint32_t i = 0; i < 30; i++)
        call(fd, i, P_PARK, NULL, 0);
    wait_locked(&nparked, 8);
    usleep(50000);
    wait_locked(&nparked, 8);
    pthread_mutex_lock(&lock);
    nparked = 0;
    pthread_mutex_unlock(&lock);
    for (int round = 0; round < 4; round++) {
        struct request *batch[8];
        int n = round < 3 ? 8 : 6;

        if (round == 0) {
            memcpy(batch, parked, sizeof(batch));
        } else {
            wait_locked(&nparked, n);
            memcpy(batch, parked, sizeof(batch));
            nparked = 0;
        }
        for (int i = 0; i < n; i++)
            request_complete(batch[i]);
        for (int i = 0; i < n; i++)
            expect(fd, (uint32_t)(round * 8 + i), SUCCESS);
    }
    close(fd);
}

static void connections_are_capped(void **state)
{
    int fds[20];

    for (int i = 0; i < 20; i++) {
        fds[i] = dial();
        call(fds[i], 1, P_NULL, NULL, 0);
        expect(fds[i], 1, SUCCESS);
    }
    assert_closed(dial());
    close(fds[0]);
    wait_for(&conns_closed, 1);
    fds[0] = dial();
    call(fds[0], 1, P_NULL, NULL, 0);
    expect(fds[0], 1, SUCCESS);
    for (int i = 0; i < 20; i++)
        close(fds[i]);
}

static long resident_kib(void)
{
    long size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (fscanf(f, "%ld %ld", &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void idle_connections_are_cheap(void **state)
{
    enum { N = 1000 };
    struct rlimit rl;
    int *fds = malloc(N * sizeof(*fds));
    long before;

    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max < 4096 ? rl.rlim_max : 4096;
    setrlimit(RLIMIT_NOFILE, &rl);
    if (rl.rlim_cur < 2 * N + 100)
        skip();
    before = resident_kib();
    for (int i = 0; i < N; i++) {
        fds[i] = dial();
        call(fds[i], 1, P_NULL, NULL, 0);
        expect(fds[i], 1, SUCCESS);
    }
#ifdef HAVE_SANITIZER
    before += N * 100; /* shadow memory and red zones are not the point */
#endif
    assert_true(resident_kib() - before < N * 10); /* KiB; sockets cost the kernel only */
    call(fds[N / 2], 2, P_NULL, NULL, 0);
    expect(fds[N / 2], 2, SUCCESS);
    for (int i = 0; i < N; i++)
        close(fds[i]);
    wait_for(&conns_closed, N);
    free(fds);
}

static void trickling_records_are_cut_off(void **state)
{
    int slow = dial(), idle = dial(), parking = dial(), drop = 0;

    call(idle, 1, P_NULL, NULL, 0);
    expect(idle, 1, SUCCESS);
    call(parking, 1, P_PARK, NULL, 0);
    wait_locked(&nparked, 1);
    send_all(slow, "\x80\0", 2);
    wait_read(2);
    clock_test_advance(45000);
    usleep(250000);
    send_all(slow, "\0", 1); /* progress does not help */
    call(idle, 2, P_NULL, NULL, 0);
    expect(idle, 2, SUCCESS);
    assert_int_equal(LOAD(conns_closed), 0);
    clock_test_advance(20000);
    assert_closed(slow);
    call(idle, 3, P_NULL, NULL, 0);
    expect(idle, 3, SUCCESS);
    complete_parked(&drop);
    expect(parking, 1, SUCCESS);
    close(idle);
    close(parking);
    clock_test_advance(-65000);
}

/* --- calling back --- */

static void expect_call(int fd)
{
    uint32_t w[11];

    assert_int_equal(reply(fd, w, 11), 40);
    assert_int_equal(w[0], 77);
    assert_int_equal(w[1], 0);
}

static void callbacks_are_answered(void **state)
{
    uint32_t timeout = htonl(10000);
    uint32_t answer[] = {htonl(0x80000018), htonl(76), htonl(1), 0, 0, 0, 0};
    int fd = dial();

    call(fd, 1, P_CALLBACK, &timeout, 4);
    expect_call(fd);
    expect(fd, 1, SUCCESS);
    send_all(fd, answer, sizeof(answer)); /* nobody waits for this xid */
    assert_int_equal(call_done, 0);
    answer[1] = htonl(77);
    send_all(fd, answer, sizeof(answer));
    wait_locked(&call_done, 1);
    assert_int_equal(call_result, 0);
    assert_memory_equal(call_reply, answer + 1, 24);
    send_all(fd, answer, sizeof(answer)); /* and again: not awaited any more */
    call(fd, 2, P_NULL, NULL, 0);
    expect(fd, 2, SUCCESS);
    assert_int_equal(call_done, 1);
    close(fd);
}

static void callbacks_time_out(void **state)
{
    uint32_t timeout = htonl(30);
    int fd = dial();

    call(fd, 1, P_CALLBACK, &timeout, 4);
    wait_locked(&call_done, 1);
    assert_int_equal(call_result, -ETIMEDOUT);
    expect_call(fd);
    expect(fd, 1, SUCCESS);
    close(fd);
}

static void callbacks_fail_on_close(void **state)
{
    uint32_t timeout = htonl(100000);
    struct xdrout *o;
    int fd = dial();

    call(fd, 1, P_CALLBACK, &timeout, 4);
    expect_call(fd);
    close(fd);
    wait_locked(&call_done, 1);
    assert_int_equal(call_result, -EPIPE);
    wait_for(&conns_closed, 1);
    o = xdrout_new(100);
    assert_int_equal(conn_call(kept_ref, o, 1, 1, on_reply, NULL), -EPIPE);
}

/* The server calls a program over a connection of its own: here its own listener. */
static void connections_of_the_servers_own(void **state)
{
    struct sockaddr_storage to = {0};
    struct sockaddr_in *in = (struct sockaddr_in *)&to;
    uint32_t w[] = {htonl(5), 0, htonl(2), htonl(PROG), htonl(1), htonl(P_NULL), 0, 0, 0, 0};
    struct conn_ref *cr = NULL;
    struct xdrout *o = xdrout_new(1000);
    int err, refused;

    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons((uint16_t)port);
    assert_int_equal(rpcserver_connect(server, &to, &program, &cr), 0);
    assert_true(xdrout_put_raw(o, w, sizeof(w)));
    assert_int_equal(conn_call(cr, o, 5, 10000, on_reply, NULL), 0);
    wait_locked(&call_done, 1);
    assert_int_equal(call_result, 0);
    memcpy(w, call_reply, 8);
    assert_int_equal(w[0], htonl(5));
    assert_int_equal(w[1], htonl(1));
    conn_ref_put(cr);
    /* Nobody listens: the call fails, soon and once. */
    w[1] = 0;
    refused = socket(AF_INET, SOCK_STREAM, 0);
    in->sin_port = 0;
    assert_int_equal(bind(refused, (struct sockaddr *)in, sizeof(*in)), 0);
    assert_int_equal(getsockname(refused, (struct sockaddr *)in, &(socklen_t){sizeof(*in)}), 0);
    o = xdrout_new(1000);
    assert_true(xdrout_put_raw(o, w, sizeof(w)));
    err = rpcserver_connect(server, &to, &program, &cr);
    if (err == 0) {
        err = conn_call(cr, o, 5, 10000, on_reply, NULL);
        if (err == 0) {
            wait_locked(&call_done, 2);
            err = call_result;
        }
        conn_ref_put(cr);
    } else {
        xdrout_free(o);
    }
    assert_true(err == -EPIPE || err == -ECONNREFUSED);
    close(refused);
    rpcserver_stop(server, 0);
    assert_int_equal(rpcserver_connect(server, &to, &program, &cr), -ESHUTDOWN);
}

/* --- listeners --- */

static void unix_sockets_tell_who(void **state)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    struct rpcserver *second;
    uint32_t w[64];
    struct stat st;
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), tcp = dial();

    strcpy(sun.sun_path, sock_path);
    assert_int_equal(stat(sock_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666);
    assert_int_equal(connect(fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
    call(fd, 1, P_IDS, NULL, 0);
    assert_int_equal(reply(fd, w, 64), 32);
    assert_int_equal(w[6], geteuid());
    assert_int_equal(w[7], getegid());
    close(fd);
    call(tcp, 1, P_IDS, NULL, 0);
    assert_closed(tcp);
    /* A live socket is not stolen. */
    assert_int_equal(rpcserver_new(&(struct rpcserver_conf){.loops = 1, .workers = 1}, &second), 0);
    assert_int_equal(rpcserver_listen(second, sock_path, &program), -EADDRINUSE);
    rpcserver_free(second);
}

static void bad_addresses_are_refused(void **state)
{
    static const char *const bad[] = {"", ":", "127.0.0.1", "127.0.0.1:", "[::1:2049", "[::1]x:1",
                                      "127.0.0.1:abc", "127.0.0.1:99999999", NULL};
    struct rpcserver *s;
    char file[] = "/tmp/rpcserver-XXXXXX", long_path[200], taken[32];
    int fd = mkstemp(file), stale = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un sun = {.sun_family = AF_UNIX};

    assert_int_equal(rpcserver_new(&(struct rpcserver_conf){.loops = 1, .workers = 1}, &s), 0);
    for (int i = 0; bad[i]; i++)
        assert_true(rpcserver_listen(s, bad[i], &program) < 0);
    assert_int_equal(rpcserver_listen(s, file, &program), -EADDRINUSE); /* not a socket: stays */
    assert_int_equal(access(file, F_OK), 0);
    memset(long_path, '/', sizeof(long_path));
    long_path[199] = 0;
    assert_int_equal(rpcserver_listen(s, long_path, &program), -ENAMETOOLONG);
    snprintf(taken, sizeof(taken), "127.0.0.1:%d", port);
    assert_int_equal(rpcserver_listen(s, taken, &program), -EADDRINUSE);
    /* What a dead server left behind is replaced. */
    unlink(file);
    strcpy(sun.sun_path, file);
    assert_int_equal(bind(stale, (struct sockaddr *)&sun, sizeof(sun)), 0);
    close(stale);
    assert_int_equal(rpcserver_listen(s, file, &program), 0);
    assert_int_equal(rpcserver_port(s, 0), -EAFNOSUPPORT);
    assert_int_equal(rpcserver_port(s, 1), -EINVAL);
    rpcserver_free(s);
    assert_int_equal(access(file, F_OK), -1);
    close(fd);
}

static void run_fn(void *arg)
{
    INC(*(int *)arg);
}

static void functions_run_on_workers(void **state)
{
    int n = 0;

    for (int i = 0; i < 100; i++)
        assert_int_equal(rpcserver_run(server, run_fn, &n), 0);
    rpcserver_stop(server, 0);
    assert_int_equal(LOAD(n), 100);
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Whoever keeps a processor awake stops by himself, soon, and begins again. */
static void kept_awake_not_for_long(void **state)
{
    struct awake *a = awake_new();
    uint64_t from = cpu_ns();

    assert_non_null(a);
    for (int i = 0; i < 100; i++) {
        awake_keep(a);
        usleep(AWAKE_NS / 1000 * 5);
    }
    assert_true(cpu_ns() - from < 100 * AWAKE_NS * 3);
    awake_keep(a);
    awake_free(a);
    awake_free(awake_new());
    awake_keep(NULL);
    awake_free(NULL);
}

int main(void)
{
#define TEST(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define SMALL(f) cmocka_unit_test_setup_teardown(f, setup_small, teardown)
    const struct CMUnitTest tests[] = {
        TEST(bad_streams_close_only_themselves),
        TEST(errors_are_answered),
        TEST(a_call_split_at_every_byte),
        TEST(fragments_cannot_pile_up),
        TEST(small_pieces_without_nodelay),
        TEST(large_records_come_through),
        TEST(pipelined_calls),
        SMALL(pipelined_calls),
        TEST(blocking_calls_run_in_workers),
        TEST(parked_calls_complete_elsewhere),
        TEST(late_calls_run_together),
        cmocka_unit_test(kept_awake_not_for_long),
        TEST(a_dropped_call_closes),
        TEST(connection_closed_with_calls_in_flight),
        TEST(stop_lets_calls_finish),
        SMALL(a_client_that_does_not_read),
        cmocka_unit_test_setup_teardown(many_clients_that_do_not_read, setup_little_memory, teardown),
        cmocka_unit_test_setup_teardown(slow_senders_make_room, setup_little_memory, teardown),
        SMALL(one_address_is_capped),
        SMALL(workers_hold_back),
        SMALL(in_flight_is_capped),
        SMALL(connections_are_capped),
        TEST(idle_connections_are_cheap),
        TEST(trickling_records_are_cut_off),
        TEST(callbacks_are_answered),
        TEST(callbacks_time_out),
        TEST(callbacks_fail_on_close),
        TEST(connections_of_the_servers_own),
        TEST(unix_sockets_tell_who),
        TEST(bad_addresses_are_refused),
        TEST(functions_run_on_workers),
    };
    return cmocka_run_group_tests_name("rpcserver", tests, NULL, NULL);
}
