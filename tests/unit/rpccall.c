/* SPDX-License-Identifier: Apache-2.0
 * rpccall: calls that the server makes: back to its clients, and over connections of its own.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/rpc/rpcmsg.h"
#include "tests/unit/rpc_env.h"

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

int main(void)
{
#define TEST(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(callbacks_are_answered),
        TEST(callbacks_time_out),
        TEST(callbacks_fail_on_close),
        TEST(connections_of_the_servers_own),
    };
    return cmocka_run_group_tests_name("rpccall", tests, NULL, NULL);
}
