/* SPDX-License-Identifier: Apache-2.0 */
/* The incoming half of the client's connections: what a server may send, in whatever pieces. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/nfs/rpc_in.h"

#define HEAD 28      /* record mark, and a reply's head with an empty verifier */
#define BEFORE 12    /* of the reply, before the bytes that have a place */
#define LAST 0x80000000u
#define MAX_SEEN 8

struct world {
    struct rpc_in in;
    int fd[2]; /* ours, the server's */
    int refuse;
    unsigned seen;
    size_t size[MAX_SEEN];
    uint8_t *msg[MAX_SEEN];
};

static int deliver(void *arg, uint8_t *msg, size_t size)
{
    struct world *w = arg;

    assert_true(w->seen < MAX_SEEN);
    w->msg[w->seen] = malloc(size);
    memcpy(w->msg[w->seen], msg, size);
    w->size[w->seen++] = size;
    return w->refuse;
}

static int serve(struct world *w)
{
    return rpc_in_serve(&w->in, w->fd[0], deliver, w);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    int room = 4 << 20;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, w->fd), 0);
    setsockopt(w->fd[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
    fcntl(w->fd[1], F_SETFL, O_NONBLOCK);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    rpc_in_reset(&w->in);
    for (unsigned i = 0; i < w->seen; i++)
        free(w->msg[i]);
    close(w->fd[0]);
    if (w->fd[1] >= 0)
        close(w->fd[1]);
    free(w);
    return 0;
}

static void put(uint8_t *at, uint32_t word)
{
    word = htonl(word);
    memcpy(at, &word, 4);
}

/* A reply of `size` bytes in all, the record mark included; behind the head: bytes that tell their offset. */
static uint8_t *reply(uint32_t xid, size_t size)
{
    const uint32_t words[] = {LAST | (uint32_t)(size - 4), xid, 1, 0, 0, 0, 0};
    uint8_t *msg = malloc(size);

    for (int i = 0; i < 7; i++)
        put(msg + 4 * i, words[i]);
    for (size_t i = HEAD; i < size; i++)
        msg[i] = (uint8_t)(i * 7 + i / 256);
    return msg;
}

/* Sends, and serves in between where the socket takes no more. */
static void feed(struct world *w, const uint8_t *msg, size_t size)
{
    while (size > 0) {
        ssize_t n = write(w->fd[1], msg, size);

        if (n < 0) {
            assert_int_equal(errno, EAGAIN);
            assert_int_equal(serve(w), 0);
            continue;
        }
        msg += n;
        size -= (size_t)n;
    }
}

static void drain(struct world *w)
{
    for (int i = 0; i < 8; i++)
        assert_int_equal(serve(w), 0);
}

struct placed {
    struct rpc_call call;
    uint8_t *to;
    size_t run, lie;
    int asked;
};

static size_t place(struct rpc_call *call, const uint8_t *at, size_t have, size_t size, uint8_t **to, size_t *run)
{
    struct placed *p = call->arg;

    assert_true(have >= BEFORE && have <= size);
    assert_int_equal(at[0], (uint8_t)(HEAD * 7));
    p->asked++;
    *to = p->to;
    *run = p->run + p->lie;
    return p->to == NULL ? 0 : BEFORE;
}

static void expect(struct world *w, struct placed *p, uint32_t xid, uint8_t *to, size_t run)
{
    *p = (struct placed){.call = {.place = place, .xid = xid}, .to = to, .run = run};
    p->call.arg = p;
    rpc_in_expect(&w->in, &p->call);
}

static void short_replies_come_one_by_one(void **state)
{
    struct world *w = *state;
    uint8_t *a = reply(1, 64), *b = reply(2, RPC_IN_BUF), both[64 + RPC_IN_BUF];

    memcpy(both, a, 64);
    memcpy(both + 64, b, RPC_IN_BUF);
    feed(w, both, sizeof(both));
    assert_int_equal(serve(w), 0);
    assert_int_equal(serve(w), 0); /* nothing there */
    assert_int_equal(w->seen, 2);
    for (size_t i = 0; i < sizeof(both); i++) { /* byte by byte */
        feed(w, both + i, 1);
        assert_int_equal(serve(w), 0);
        assert_int_equal(w->seen, i < 63 ? 2 : i < sizeof(both) - 1 ? 3 : 4);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(w->size[i], i % 2 == 0 ? 64 : RPC_IN_BUF);
        assert_memory_equal(w->msg[i], i % 2 == 0 ? a : b, w->size[i]);
    }
    free(a);
    free(b);
}

static void long_replies_come_whole(void **state)
{
    struct world *w = *state;
    size_t size = 4 + RPC_MESSAGE_MAX;
    uint8_t *big = reply(7, size), *small = reply(8, 40);

    feed(w, big, size);
    feed(w, small, 40);
    drain(w);
    assert_int_equal(w->seen, 2);
    assert_int_equal(w->size[0], size);
    assert_memory_equal(w->msg[0], big, size);
    assert_memory_equal(w->msg[1], small, 40);
    free(big);
    free(small);
}

/* Of all sizes and in pieces of all kinds, with a short reply behind. */
static void bytes_go_to_their_place(void **state)
{
    struct world *w = *state;
    static uint8_t room[70000];
    const size_t runs[] = {RPC_IN_BUF - HEAD - BEFORE + 1, 4096, 4097, 4098, 65536};
    const size_t pieces[] = {1, 3, 500, RPC_IN_LOOK, 4096, 100000};
    uint8_t *small = reply(9, 40);

    for (unsigned i = 0; i < 5; i++) {
        for (unsigned k = i == 4 ? 2 : 0; k < 6; k++) {
            size_t size = HEAD + BEFORE + ((runs[i] + 3) & ~(size_t)3), total = size + 40;
            uint8_t *msg = realloc(reply(5, size), total);
            struct placed other, p;

            memcpy(msg + size, small, 40);
            memset(room, 0xee, sizeof(room));
            expect(w, &p, 5, room + 16, runs[i]);
            expect(w, &other, 6, room, 16);
            for (size_t at = 0; at < total; at += pieces[k]) {
                feed(w, msg + at, total - at < pieces[k] ? total - at : pieces[k]);
                assert_int_equal(serve(w), 0);
            }
            drain(w);
            assert_int_equal(p.asked, 1);
            assert_int_equal(other.asked, 0);
            assert_int_equal(w->seen, 2);
            assert_int_equal(w->size[0], HEAD + BEFORE);
            assert_memory_equal(w->msg[0], msg, HEAD + BEFORE);
            assert_memory_equal(room + 16, msg + HEAD + BEFORE, runs[i]);
            assert_int_equal(room[15], 0xee);
            assert_int_equal(room[16 + runs[i]], 0xee);
            assert_memory_equal(w->msg[1], small, 40);
            rpc_in_forget(&w->in, &p.call);
            rpc_in_forget(&w->in, &other.call);
            assert_null(w->in.calls);
            free(w->msg[0]);
            free(w->msg[1]);
            w->seen = 0;
            free(msg);
        }
    }
    free(small);
}

static void a_place_that_does_not_fit_is_none(void **state)
{
    struct world *w = *state;
    size_t size = HEAD + BEFORE + 8192;
    static uint8_t room[8192];
    uint8_t *msg = reply(5, size), *denied = reply(5, size);
    const size_t lies[] = {4, (size_t)-4, (size_t)-8192, SIZE_MAX / 2};
    struct placed p;

    for (unsigned i = 0; i < 6; i++) {
        expect(w, &p, i == 4 ? 6 : 5, i == 5 ? NULL : room, 8192);
        p.lie = i < 4 ? lies[i] : 0;
        feed(w, msg, size);
        drain(w);
        assert_int_equal(p.asked, i == 4 ? 0 : 1);
        assert_int_equal(w->size[i], size);
        assert_memory_equal(w->msg[i], msg, size);
        rpc_in_forget(&w->in, &p.call);
    }
    put(denied + 24, 1); /* accepted, but the program is not there */
    expect(w, &p, 5, room, 8192);
    feed(w, denied, size);
    drain(w);
    assert_int_equal(p.asked, 0);
    assert_int_equal(w->size[6], size);
    for (size_t i = 0; i < sizeof(room); i++)
        assert_int_equal(room[i], 0);
    rpc_in_forget(&w->in, &p.call);
    free(msg);
    free(denied);
}

static int low(struct world *w)
{
    int value = 0;
    socklen_t size = sizeof(value);

    getsockopt(w->fd[0], SOL_SOCKET, SO_RCVLOWAT, &value, &size);
    return value;
}

static void a_long_reply_wakes_when_it_is_there(void **state)
{
    struct world *w = *state;
    size_t size = HEAD + BEFORE + 65536;
    static uint8_t room[65536];
    uint8_t *msg = reply(5, size);
    struct pollfd p = {.revents = 0};
    struct placed placed;

    for (int i = 0; i < 2; i++) {
        assert_int_equal(rpc_in_before_poll(&w->in, w->fd[0], 10000), 10000);
        assert_int_equal(low(w), 1);
        rpc_in_after_poll(&w->in, 0, &p); /* nobody asked for anything */
        assert_int_equal(p.revents, 0);
        expect(w, &placed, 5, room, 65536);
        feed(w, msg, 10000);
        drain(w);
        assert_in_range(rpc_in_before_poll(&w->in, w->fd[0], 10000), 1, 1000);
        assert_int_equal(rpc_in_before_poll(&w->in, w->fd[0], 0), 0);
        assert_int_equal(low(w), size - 10000);
        rpc_in_after_poll(&w->in, -1, &p); /* a signal */
        assert_int_equal(p.revents, 0);
        feed(w, msg + 10000, size - 10000);
        drain(w);
        rpc_in_forget(&w->in, &placed.call);
    }
    assert_int_equal(rpc_in_before_poll(&w->in, w->fd[0], 10000), 10000);
    assert_int_equal(low(w), 1);
    expect(w, &placed, 5, room, 65536); /* too slow: never again */
    feed(w, msg, 10000);
    drain(w);
    assert_in_range(rpc_in_before_poll(&w->in, w->fd[0], 10000), 1, 1000);
    rpc_in_after_poll(&w->in, 0, &p);
    assert_int_equal(p.revents, POLLIN);
    assert_int_equal(rpc_in_before_poll(&w->in, w->fd[0], 10000), 10000);
    assert_int_equal(low(w), 1);
    rpc_in_forget(&w->in, &placed.call);
    free(msg);
}

/* The call is over before its reply is: nothing is written any more. */
static void nothing_comes_after_the_end(void **state)
{
    struct world *w = *state;
    size_t size = HEAD + BEFORE + 65536;
    static uint8_t room[65536];
    uint8_t *msg = reply(5, size), *small = reply(9, 40);
    struct placed p;

    for (int i = 0; i < 2; i++) {
        memset(room, 0, sizeof(room));
        expect(w, &p, 5, room, 65536);
        feed(w, msg, 10000);
        drain(w);
        assert_int_not_equal(room[9000], 0);
        memset(room, 0xee, sizeof(room));
        if (i == 0)
            rpc_in_forget(&w->in, &p.call);
        rpc_in_reset(&w->in);
        if (i == 1)
            rpc_in_forget(&w->in, &p.call);
        assert_null(w->in.calls);
        feed(w, small, 40); /* on the next connection */
        drain(w);
        assert_int_equal(w->seen, i + 1);
        assert_int_equal(room[10000], 0xee);
        assert_int_equal(room[60000], 0xee);
    }
    free(msg);
    free(small);
}

static uint8_t *absent;

static void make_present(int sig)
{
    mprotect(absent, 1 << 20, PROT_READ | PROT_WRITE);
}

static void absent_memory_is_touched(void **state)
{
    struct world *w = *state;
    size_t size = HEAD + BEFORE + 65536;
    uint8_t *msg = reply(5, size);
    struct sigaction act = {.sa_handler = make_present}, old;
    struct placed p;

    absent = mmap(NULL, 1 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(absent != MAP_FAILED);
    sigaction(SIGSEGV, &act, &old);
    expect(w, &p, 5, absent + 100, 65536);
    feed(w, msg, size);
    drain(w);
    sigaction(SIGSEGV, &old, NULL);
    assert_int_equal(w->seen, 1);
    assert_memory_equal(absent + 100, msg + HEAD + BEFORE, 65536);
    munmap(absent, 1 << 20);
    rpc_in_forget(&w->in, &p.call);
    free(msg);
}

static void fragments_are_joined(void **state)
{
    struct world *w = *state;
    const size_t cuts[][3] = {{0, 3, 100}, {200, 4000, 300}, {30000, 0, 200000}, {500000, 500000, 40000}};
    static uint8_t room[64];
    struct placed p;

    for (int i = 0; i < 4; i++) {
        size_t size = 4 + cuts[i][0] + cuts[i][1] + cuts[i][2], at = 4;
        uint8_t *msg = reply(5, size), mark[4];

        expect(w, &p, 5, room, size - HEAD - BEFORE); /* not for a reply in pieces */
        for (int k = 0; k < 3; k++) {
            put(mark, (k == 2 ? LAST : 0) | (uint32_t)cuts[i][k]);
            feed(w, mark, 4);
            feed(w, msg + at, cuts[i][k]);
            at += cuts[i][k];
        }
        drain(w);
        assert_int_equal(p.asked, 0);
        assert_int_equal(w->seen, i + 1);
        assert_int_equal(w->size[i], size);
        assert_memory_equal(w->msg[i], msg, size);
        rpc_in_forget(&w->in, &p.call);
        free(msg);
    }
}

static void too_long_is_too_long(void **state)
{
    struct world *w = *state;
    static const uint8_t zeros[65536];
    uint8_t mark[4];
    int ret = 0;

    for (int i = 0; i < 2; i++) {
        put(mark, (i == 0 ? LAST : 0) | (RPC_MESSAGE_MAX + 1));
        feed(w, mark, 4);
        assert_int_equal(serve(w), -1);
        rpc_in_reset(&w->in);
    }
    for (int i = 0; i < 17 && ret == 0; i++) { /* little by little */
        put(mark, sizeof(zeros));
        feed(w, mark, 4);
        feed(w, zeros, sizeof(zeros));
        ret = serve(w);
        assert_int_equal(ret, i < 16 ? 0 : -1);
    }
    assert_int_equal(w->seen, 0);
}

static void heads_are_checked(void **state)
{
    /* record mark, xid, type, accepted or denied, verifier's flavor and length, accept status */
    static const uint32_t bad[][7] = {
        {LAST | 24, 1, 1, 0, 0, 0xffffff00, 0}, {LAST | 24, 1, 1, 0, 0, 0x7fffffff, 0}, {LAST | 24, 1, 1, 0, 0, 401, 0},
        {LAST | 24, 1, 1, 0, 0, 4, 0},          {LAST | 24, 1, 1, 0, 0, 1, 0},          {LAST | 24, 1, 0, 0, 0, 0, 0},
        {LAST | 24, 1, 1, 2, 0, 0, 0},
    };
    struct world *w = *state;
    uint8_t *good = reply(1, HEAD), *large;

    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint8_t buf[HEAD];

        for (int k = 0; k < 7; k++)
            put(buf + 4 * k, bad[i][k]);
        feed(w, buf, sizeof(buf));
        assert_int_equal(serve(w), -1);
        rpc_in_reset(&w->in);
        large = reply(1, 10000);
        memcpy(large + 4, buf + 4, HEAD - 4);
        if (bad[i][5] == 4 || bad[i][5] == 1)
            put(large + 20, 401);
        feed(w, large, 10000);
        assert_int_equal(serve(w), -1);
        rpc_in_reset(&w->in);
        free(large);
    }
    for (uint32_t size = 0; size < HEAD - 4; size++) {
        put(good, LAST | size);
        feed(w, good, 4 + size);
        assert_int_equal(serve(w), -1);
        rpc_in_reset(&w->in);
    }
    assert_int_equal(w->seen, 0);
    put(good, LAST | (HEAD - 4));
    feed(w, good, HEAD);
    w->refuse = -1;
    assert_int_equal(serve(w), -1);
    assert_int_equal(w->seen, 1);
    rpc_in_reset(&w->in);
    close(w->fd[1]);
    w->fd[1] = -1;
    assert_int_equal(serve(w), -1); /* the end */
    free(good);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(short_replies_come_one_by_one, setup, teardown),
        cmocka_unit_test_setup_teardown(long_replies_come_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(bytes_go_to_their_place, setup, teardown),
        cmocka_unit_test_setup_teardown(a_place_that_does_not_fit_is_none, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_reply_wakes_when_it_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_comes_after_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(absent_memory_is_touched, setup, teardown),
        cmocka_unit_test_setup_teardown(fragments_are_joined, setup, teardown),
        cmocka_unit_test_setup_teardown(too_long_is_too_long, setup, teardown),
        cmocka_unit_test_setup_teardown(heads_are_checked, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
