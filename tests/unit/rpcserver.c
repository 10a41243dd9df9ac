/* SPDX-License-Identifier: Apache-2.0
 * rpcserver: calls over real sockets: hostile streams, streams cut in every way, waiting, stopping.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "server/rpc/rpcmsg.h"
#include "tests/unit/rpc_env.h"

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
        TEST(a_dropped_call_closes),
        TEST(connection_closed_with_calls_in_flight),
        TEST(stop_lets_calls_finish),
    };
    return cmocka_run_group_tests_name("rpcserver", tests, NULL, NULL);
}
