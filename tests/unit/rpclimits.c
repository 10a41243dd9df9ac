/* SPDX-License-Identifier: Apache-2.0
 * rpclimits: what clients of librpc cannot take: memory, connections, workers, time.
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/clock.h"
#include "config.h"
#include "server/rpc/rpcmsg.h"
#include "tests/unit/rpc_env.h"

static int setup_little_memory(void **state)
{
    return setup_conf(&(struct rpcserver_conf){.loops = 1, .workers = 2, .max_memory = 4 << 20});
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

enum { CLIENTS = 16, CALLS = 30 };

/* These are false when a client was cut off. */

static bool ask_all(int *fd)
{
    uint32_t arg = htonl(1000000);
    int small = 65536;
    bool all = true;

    for (int k = 0; k < CLIENTS; k++) {
        fd[k] = dial();
        setsockopt(fd[k], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
        for (uint32_t i = 0; i < CALLS; i++)
            all = try_call(fd[k], i, k % 2 ? P_GATE : P_REF, &arg, 4) && all;
    }
    return all;
}

static bool read_all(const int *fd, uint32_t *w)
{
    for (uint32_t i = 0; i < CALLS; i++)
        for (int k = 0; k < CLIENTS; k++) {
            size_t n = reply(fd[k], w, 1100000 / 4);

            if (n == 0)
                return false;
            assert_int_equal(n, k % 2 ? 24 + 1048576 : 28 + 1000000);
            if (k % 2 == 0) /* workers finish in any order */
                assert_int_equal(w[0], i);
        }
    return true;
}

/* Large calls that block: each connection has at least one of them under way, all come to their end. */
static bool block_all(const int *fd, uint32_t *w)
{
    char *large = calloc(1, 700000);
    uint32_t word = htonl(7);
    bool all = true;

    memcpy(large, &word, 4);
    for (int k = 0; k < CLIENTS; k++)
        for (uint32_t i = 0; i < 3; i++)
            all = try_call(fd[k], i, P_BLOCK, large, 700000) && all;
    for (int k = 0; all && k < CLIENTS; k++)
        for (uint32_t i = 0; all && i < 3; i++) {
            size_t n = reply(fd[k], w, 64);

            all = n != 0;
            assert_true(!all || n == 28);
        }
    free(large);
    return all;
}

/* What waits for all of them together is bounded, too, and nobody is forgotten. */
static void many_clients_that_do_not_read(void **state)
{
    uint32_t *w = malloc(1100000);
    int fd[CLIENTS], waiting;
    bool all;

    gate_open = 1;
    do {
        uint64_t began = clock_mono_ms();

        all = ask_all(fd);
        wait_some(&refs_made);
        usleep(500000);
        waiting = LOAD(refs_made) - LOAD(refs_released);
        if (all)
            assert_in_range(waiting, 1, 4 + CLIENTS + 4);
        all = all && read_all(fd, w) && block_all(fd, w);
        for (int k = 0; k < CLIENTS; k++)
            close(fd[k]);
        wait_for(&finished, LOAD(dispatched));
        wait_for(&refs_released, LOAD(refs_made));
        if (!all) /* whoever is slow is cut off: then it is this machine that was */
            assert_true(clock_mono_ms() - began >= SLOW_SEND_MS);
    } while (!all);
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

int main(void)
{
#define TEST(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
#define SMALL(f) cmocka_unit_test_setup_teardown(f, setup_small, teardown)
    const struct CMUnitTest tests[] = {
        SMALL(a_client_that_does_not_read),
        cmocka_unit_test_setup_teardown(many_clients_that_do_not_read, setup_little_memory, teardown),
        cmocka_unit_test_setup_teardown(slow_senders_make_room, setup_little_memory, teardown),
        SMALL(one_address_is_capped),
        SMALL(workers_hold_back),
        SMALL(in_flight_is_capped),
        SMALL(connections_are_capped),
        TEST(idle_connections_are_cheap),
        TEST(trickling_records_are_cut_off),
    };
    return cmocka_run_group_tests_name("rpclimits", tests, NULL, NULL);
}
