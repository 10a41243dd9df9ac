/* SPDX-License-Identifier: Apache-2.0
 * sandbox: what the server needs works in it, and what it does not need fails. Each case is a process of its own.
 */
#include "server/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/log.h"
#include "config.h"

static char dir[] = "/tmp/volnfs-sandbox.XXXXXX";

/* In a child within the sandbox: fn's value. */
static int within(int (*fn)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        log_set_level(LOG_ERROR);
        if (sandbox_enter(dir, NULL))
            _exit(99);
        _exit(fn());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void *thread(void *arg)
{
    return arg;
}

static int useful(void)
{
    char path[64];
    pthread_t t;
    void *p;
    int fd;
    snprintf(path, sizeof(path), "%s/file", dir);
    if ((fd = open(path, O_RDWR | O_CREAT, 0600)) < 0 || write(fd, "x", 1) != 1 || fsync(fd) || ftruncate(fd, 9))
        return 1;
    if ((p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) == MAP_FAILED)
        return 2;
    if (pthread_create(&t, NULL, thread, p) || pthread_join(t, NULL))
        return 3;
    if (socket(AF_INET, SOCK_STREAM, 0) < 0 || socket(AF_INET6, SOCK_STREAM, 0) < 0 || socket(AF_UNIX, SOCK_STREAM, 0) < 0)
        return 4;
    if (open("/proc/self/statm", O_RDONLY) < 0 || open("/dev/null", O_RDONLY) < 0)
        return 5;
    return unlink(path) ? 6 : 0;
}

static int files_elsewhere(void)
{
    if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
        return 1;
    if (open("/tmp/volnfs-sandbox-escaped", O_RDWR | O_CREAT, 0600) >= 0)
        return 2;
    if (open("/", O_RDONLY | O_DIRECTORY) >= 0)
        return 3;
    return 0;
}

static int processes(void)
{
    char *argv[] = {(char *)"true", NULL};
    if (fork() >= 0 || errno != EPERM)
        return 1;
    if (execv("/bin/true", argv) == 0 || (errno != EPERM && errno != EACCES))
        return 2;
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 || errno != EPERM)
        return 3;
    return 0;
}

static int code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p != MAP_FAILED || errno != EPERM)
        return 1;
    p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED || mprotect(p, 4096, PROT_READ | PROT_EXEC) == 0 || errno != EPERM ? 2 : 0;
}

static int the_rest(void)
{
    if (socket(AF_NETLINK, SOCK_RAW, 0) >= 0 || errno != EPERM)
        return 1;
    if (socket(AF_PACKET, SOCK_RAW, 0) >= 0 || errno != EPERM)
        return 2;
    if (mount("none", dir, "tmpfs", 0, NULL) == 0 || errno != EPERM)
        return 3;
    if (unshare(CLONE_NEWUSER) == 0 || errno != EPERM)
        return 4;
    if (syscall(SYS_bpf, 0, NULL, 0) >= 0 || errno != EPERM)
        return 5;
    if (syscall(SYS_io_uring_setup, 1, NULL) >= 0 || errno != EPERM)
        return 6;
    if (chroot(dir) == 0 || errno != EPERM)
        return 7;
    return 0;
}

static int landlock(void)
{
    return (int)syscall(444, NULL, 0, 1);
}

static void test_useful(void **state)
{
    assert_int_equal(within(useful), 0);
}

static void test_files(void **state)
{
    if (landlock() < 1)
        skip();
    assert_int_equal(within(files_elsewhere), 0);
}

static void test_calls(void **state)
{
#ifdef HAVE_SECCOMP
    assert_int_equal(within(processes), 0);
    assert_int_equal(within(code), 0);
    assert_int_equal(within(the_rest), 0);
#else
    skip();
#endif
}

/* Threads that are there already would stay outside. */
static void *wait_for_end(void *arg)
{
    pause();
    return NULL;
}

static void test_threads(void **state)
{
    int status;
    pid_t pid = fork();
    if (!pid) {
        pthread_t t;
        if (freopen("/dev/null", "w", stderr) == NULL || pthread_create(&t, NULL, wait_for_end, NULL))
            _exit(1);
        _exit(sandbox_enter(dir, NULL) == -EBUSY ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_useful), cmocka_unit_test(test_files), cmocka_unit_test(test_calls),
        cmocka_unit_test(test_threads),
    };
    int failed;
#ifdef HAVE_SANITIZER
    puts("1..0 # SKIP the sanitizers need calls that the sandbox forbids");
    return 0;
#endif
    if (!mkdtemp(dir))
        return 1;
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(dir);
    return failed;
}
