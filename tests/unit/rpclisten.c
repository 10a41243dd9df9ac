/* SPDX-License-Identifier: Apache-2.0
 * rpclisten: addresses to listen on, and functions for the workers.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/rpc_env.h"

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

/* The server's end of a connection of ours; it is in this process. */
static int other_end(int fd)
{
    struct sockaddr_in mine = {0}, peer;
    socklen_t len = sizeof(mine);

    assert_int_equal(getsockname(fd, (struct sockaddr *)&mine, &len), 0);
    for (int i = 0; i < 1024; i++) {
        len = sizeof(peer);
        if (getpeername(i, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET &&
            peer.sin_port == mine.sin_port)
            return i;
    }
    return -1;
}

static void nothing_is_paced_on_one_machine(void **state)
{
    int fd = dial();
    char name[16] = "";
    socklen_t len = sizeof(name);

    (void)state;
    call(fd, 1, P_NULL, NULL, 0);
    expect(fd, 1, 0); /* it was taken */
    assert_int_equal(getsockopt(other_end(fd), IPPROTO_TCP, TCP_CONGESTION, name, &len), 0);
    assert_string_equal(name, "reno");
    close(fd);
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

int main(void)
{
#define TEST(f)  cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(unix_sockets_tell_who),
        TEST(nothing_is_paced_on_one_machine),
        TEST(bad_addresses_are_refused),
        TEST(functions_run_on_workers),
    };
    return cmocka_run_group_tests_name("rpclisten", tests, NULL, NULL);
}
