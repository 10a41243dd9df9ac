/* SPDX-License-Identifier: Apache-2.0
 * door: instruction lengths, site tables, and a process whose C library has been patched.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/door/door.h"
#include "client/door/insn.h"
#include "client/door/sites.h"

static void decodes_lengths(void **state)
{
    static const struct {
        const char *bytes;
        unsigned n, len;
    } cases[] = {
        {"\x90", 1, 1},
        {"\x0f\x05", 2, 2},
        {"\xb8\x01\x00\x00\x00", 5, 5},
        {"\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08", 10, 10},
        {"\x66\xb8\x01\x00", 4, 4},
        {"\x48\x3d\x00\xf0\xff\xff", 6, 6},
        {"\x8b\x05\x50\xea\x1a\x00", 6, 6},
        {"\x48\x8d\x74\x24\x04", 5, 5},
        {"\x48\x8b\x04\x25\x28\x00\x00\x00", 8, 8},
        {"\x66\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", 11, 11},
        {"\xf3\x0f\x1e\xfa", 4, 4},
        {"\xf6\x05\x00\x00\x00\x00\x01", 7, 7},
        {"\xf7\xd8", 2, 2},
        {"\xf7\xc7\x01\x00\x00\x00", 6, 6},
        {"\xc5\xf8\x77", 3, 3},
        {"\xc4\xe3\x7d\x39\xc1\x01", 6, 6},
        {"\x62\xf1\x7c\x48\x28\x47\x01", 7, 7},
        {"\x66\x0f\x3a\x0f\xc1\x08", 6, 6},
        {"\xf2\x0f\x38\xf0\xc1", 5, 5},
        {"\xe8\x00\x00\x00\x00", 5, 5},
        {"\x0f\x87\xed\x00\x00\x00", 6, 6},
        {"\xc8\x10\x00\x00", 4, 4},
        {"\xa1\x01\x02\x03\x04\x05\x06\x07\x08", 9, 9},
    };
    struct insn in;

    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const uint8_t *p = (const uint8_t *)cases[i].bytes;

        assert_true(insn_decode(p, cases[i].n, &in));
        assert_int_equal(in.len, cases[i].len);
        for (unsigned n = 0; n < cases[i].n; n++)
            assert_false(insn_decode(p, n, &in));
    }
    assert_false(insn_decode((const uint8_t *)"\x06", 1, &in));
    assert_false(insn_decode((const uint8_t *)"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66",
                             16, &in));
}

static void knows_what_may_move(void **state)
{
    struct insn in;

    assert_true(insn_decode((const uint8_t *)"\x48\x89\xc5", 3, &in) && in.movable);
    assert_true(insn_decode((const uint8_t *)"\x8b\x05\x50\xea\x1a\x00", 6, &in) && !in.movable);
    assert_true(insn_decode((const uint8_t *)"\xeb\xf8", 2, &in) && !in.movable && in.branch);
    assert_int_equal(in.target, -6);
    assert_true(insn_decode((const uint8_t *)"\xff\xd0", 2, &in) && !in.movable);
    assert_true(insn_decode((const uint8_t *)"\xc3", 1, &in) && in.ends && !in.movable);
    assert_true(insn_decode((const uint8_t *)"\xc7\xf8\x10\x00\x00\x00", 6, &in) && in.branch);
    assert_true(insn_decode((const uint8_t *)"\xb8\x05\x00\x00\x00", 5, &in) && in.sets_eax_imm);
    assert_int_equal(in.eax_imm, 5);
}

static const char libc_path[] = "/lib/x86_64-linux-gnu/libc.so.6";

static void finds_every_site_of_libc(void **state)
{
    struct sites s;
    unsigned none = 0;

    if (access(libc_path, R_OK))
        skip();
    assert_int_equal(sites_make(libc_path, &s), 0);
    assert_true(s.n > 200);
    for (unsigned i = 0; i < s.n; i++)
        none += s.v[i].before + s.v[i].after == 0;
    assert_int_equal(none, 0);
    sites_release(&s);
    assert_int_equal(sites_make("/etc/passwd", &s), -ENOEXEC);
    assert_int_equal(sites_make("/nonexistent", &s), -ENOENT);
}

/* A damaged or foreign cache file is not believed, and replaced. */
static void distrusts_its_cache(void **state)
{
    char dir[] = "/tmp/door-XXXXXX", cmd[128];
    struct sites a, b;

    if (access(libc_path, R_OK))
        skip();
    assert_non_null(mkdtemp(dir));
    assert_int_equal(sites_get(libc_path, dir, &a), 0);
    assert_int_equal(sites_get(libc_path, dir, &b), 0);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.v, b.v, a.n * sizeof(*a.v));
    sites_release(&b);
    snprintf(cmd, sizeof(cmd), "for f in %s/*; do head -c 100 /dev/zero > $f; done", dir);
    assert_int_equal(system(cmd), 0);
    assert_int_equal(sites_get(libc_path, dir, &b), 0);
    assert_memory_equal(a.v, b.v, a.n * sizeof(*a.v));
    sites_release(&b);
    sites_release(&a);
    snprintf(cmd, sizeof(cmd), "rm -r %s", dir);
    assert_int_equal(system(cmd), 0);
}

/* --- a patched process: in a child, because there is no way back --- */

static uint8_t serve[DOOR_NR_MAX], points[DOOR_NR_MAX];
static volatile uint8_t fds[DOOR_FDS];
static uint8_t plain[256];
static long last_args[6];

static volatile unsigned asked, missed; /* how often; to the compiler libc's functions do not call back */

int door_filter(long nr, long args[6])
{
    asked++;
    if (nr == SYS_newfstatat || (nr == SYS_openat && (int)args[0] == AT_FDCWD))
        return DOOR_LOOK;
    if (nr == SYS_lseek && (int)args[2] == 4242) {
        door_result(args, 77);
        return DOOR_DONE;
    }
    return nr == SYS_getppid || (nr == SYS_openat && (int)args[0] == -4242);
}

int door_missed(long nr, long args[6])
{
    const char *path = (const char *)args[1];

    missed++;
    return (nr == SYS_openat || nr == SYS_newfstatat) && strcmp(path, "/nonexistent/link") == 0 ? DOOR_TAKE : DOOR_PASS;
}

long door_handler(long nr, const long args[6])
{
    volatile double x = (double)args[0];
    char buf[64];

    x = x * 1.5 + 2; /* spoils vector registers */
    snprintf(buf, sizeof(buf), "%f", x);
    memcpy(last_args, args, sizeof(last_args));
    return nr == SYS_getppid ? 424242 : -EDOM;
}

static void *thread(void *arg)
{
    return getppid() == 424242 ? arg : NULL;
}

static int thread_less(void *arg)
{
    return 11;
}

#define CHECK(what) \
    do { \
        if (!(what)) \
            _exit(__LINE__ % 250 + 1); \
    } while (0)

/* The program's SIGSEGV handler: goes on where the door says. */
static void on_fault(int number, siginfo_t *info, void *context)
{
    greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t on = door_fixup((uintptr_t)regs[REG_RIP]);

    if (on == 0)
        _exit(250);
    regs[REG_RIP] = (greg_t)on;
}

/* Calls that are given the address of memory the filter wants to hear of; others go on as ever. */
static void near_addresses(void)
{
    char *page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *in = page + 4096;
    struct pollfd elsewhere = {.fd = -1}, *pollfd = (struct pollfd *)(void *)in;
    struct iovec iov = {page, 1};
    struct stat st;
    unsigned before;
    int fd = open("/dev/zero", O_RDONLY), other;

    CHECK(page != MAP_FAILED && fd >= 0 && fds[fd] == DOOR_FOREIGN);
    strcpy(in, "/aa");
    *pollfd = elsewhere;
    strcpy(in + 64, "/aa");
    door_near((uintptr_t)in, (uintptr_t)in + 4096);
    before = asked;
    CHECK(lseek(fd, (off_t)(uintptr_t)in, SEEK_SET) >= 0 && asked == before);
    CHECK(fstat(fd, &st) == 0 && asked == before);
    CHECK(pread(fd, page, 1, 0) == 1 && pread(fd, in - 1, 1, 0) == 1 && pread(fd, in + 4096, 1, 0) == 1 && asked == before);
    CHECK(stat("/aa", &st) == -1 && asked == before);
    other = open("/dev/null", O_RDONLY);
    CHECK(other >= 0 && fds[other] == DOOR_FOREIGN && asked == before);
    CHECK(dup2(fd, other) == other && asked == before && close(other) == 0 && asked == before);
    CHECK(fstat(fd, (struct stat *)(void *)(in + 128)) == 0 && asked == before + 1);
    CHECK(pread(fd, in + 128, 1, 0) == 1 && pread(fd, in + 4095, 1, 0) == 1 && asked == before + 3);
    CHECK(stat(in + 64, &st) == -1 && asked == before + 4);
    CHECK(stat("/aa", (struct stat *)(void *)(in + 128)) == -1 && asked == before + 5);
    CHECK(open(in + 64, O_RDONLY) == -1 && asked == before + 6);
    CHECK(poll(pollfd, 1, 0) == 0 && asked == before + 7);
    CHECK(readv(fd, &iov, 1) == 1 && asked == before + 8); /* who knows where that leads */
    fds[fd] = 2;
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && fstat(fd, &st) == 0 && asked == before + 10);
    fds[fd] = DOOR_FOREIGN;
    door_near(0, 0);
    before = asked;
    CHECK(pread(fd, in, 1, 0) == 1 && readv(fd, &iov, 1) == 1 && stat(in + 64, &st) == -1 && asked == before);
    close(fd);
    munmap(page, 3 * 4096);
}

/* What stubs decide by themselves, and what they do after the kernel. */
static void looked_at(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    long (*volatile raw)(long, ...) = syscall;
    struct stat st;
    unsigned before;
    int fd, other;

    /* An open that the kernel carries out notes its descriptor; calls on it are not asked about from then on. */
    memset((uint8_t *)fds, 0, sizeof(fds));
    fd = open("/dev/null", O_RDWR);
    CHECK(fd >= 0 && fds[fd] == DOOR_FOREIGN);
    before = asked;
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && asked == before);
    CHECK(lseek(fd, 0, 4242) == -1 && errno == EINVAL && asked == before);
    fds[fd] = 2;
    CHECK(lseek(fd, 0, 4242) == 77 && asked == before + 1);
    CHECK(fstat(fd, &st) == 0 && asked == before + 2);
    CHECK(raw(SYS_lseek, fd, 0L, 4242) == 77 && asked == before + 3);
    CHECK(lseek(-1, 0, SEEK_SET) == -1 && errno == EBADF && asked == before + 4);
    CHECK(lseek(DOOR_FDS, 0, SEEK_SET) == -1 && errno == EBADF && asked == before + 5);

    /* dup2 looks at both; close forgets. */
    other = open("/dev/null", O_RDONLY);
    CHECK(other >= 0 && fds[other] == DOOR_FOREIGN);
    before = asked;
    CHECK(dup2(other, fd) == fd && asked == before + 1);
    fds[fd] = DOOR_FOREIGN;
    CHECK(dup2(other, fd) == fd && asked == before + 1);
    CHECK(close(fd) == 0 && fds[fd] == 0 && asked == before + 1);
    CHECK(close(fd) == -1 && errno == EBADF && asked == before + 2);
    /* One that is noted as something else is left alone. */
    fds[fd] = 2;
    CHECK(open("/dev/null", O_RDONLY) == fd && fds[fd] == 2);
    close(fd);
    close(other);

    /* ENOENT comes back as it is, or is made into something else; the call's number and arguments are whole. */
    before = missed;
    CHECK(open("/nonexistent/file", O_RDONLY) == -1 && errno == ENOENT && missed == before + 1);
    CHECK(open("/nonexistent/link", O_WRONLY) == -1 && errno == EDOM && missed == before + 2);
    CHECK((int)last_args[0] == AT_FDCWD && last_args[2] == O_WRONLY);
    CHECK(raw(SYS_openat, AT_FDCWD, "/nonexistent/link", O_WRONLY, 0) == -1 && errno == EDOM && missed == before + 3);
    CHECK(raw(SYS_openat, AT_FDCWD, "/nonexistent/file", O_WRONLY, 0) == -1 && errno == ENOENT && missed == before + 4);
    CHECK(open("/dev/null/x", O_RDONLY) == -1 && errno == ENOTDIR && missed == before + 4);
    DIR *dir = opendir("/nonexistent/link");
    CHECK(dir == NULL && errno == EDOM);

    /* Plain paths are not asked about, wherever they lie in their words; what has two dots in a row is where a name may be
     * made, and else looked at when the kernel found nothing. */
    memset(plain, 1, sizeof(plain));
    plain[0] = plain['v'] = plain['n'] = 0;
    struct pollfd p[2] = {{.fd = 3}, {.fd = 4}};
    char room[128];
    for (unsigned at = 0; at < 16; at++)
        for (unsigned dots = 5; dots < 30; dots++) {
            char *path = room + at;

            memset(room, '.', sizeof(room));
            memset(path, 'a', 32);
            path[0] = path[2] = '/'; /* in a folder that is not there */
            path[32] = 0;
            path[dots] = '.';
            before = asked;
            CHECK(stat(path, &st) == -1 && errno == ENOENT && asked == before);
            fd = open(path, O_RDONLY);
            CHECK(fd == -1 && errno == ENOENT && asked == before);
            CHECK(mkdir(path, 0700) == -1 && errno == ENOENT && asked == before);
            CHECK(open(path, O_RDWR | O_CREAT, 0600) == -1 && errno == ENOENT && asked == before);
            path[dots + 1] = '.';
            unsigned was = missed;
            CHECK(stat(path, &st) == -1 && errno == ENOENT && asked == before && missed == was + 1);
            CHECK(open(path, O_RDONLY) == -1 && errno == ENOENT && asked == before && missed == was + 2);
            CHECK(mkdir(path, 0700) == -1 && errno == ENOENT && asked == before + 1);
            CHECK(open(path, O_RDWR | O_CREAT, 0600) == -1 && errno == ENOENT && asked == before + 2);
        }
    before = asked;
    CHECK(stat("/vx", &st) == -1 && asked == before + 1);
    CHECK(stat("", &st) == -1 && errno == ENOENT && asked == before + 2);
    fd = open("/dev/null", O_RDONLY | O_PATH);
    CHECK(fd >= 0 && asked == before + 3);
    close(fd);
    fds[3] = fds[4] = DOOR_FOREIGN;
    before = asked;
    CHECK(poll(p, 2, 0) >= 0 && asked == before);
    fds[3] = 0;
    CHECK(poll(p, 2, 0) >= 0 && asked == before + 1);
    CHECK(poll(p, 0, 0) == 0 && asked == before + 2);

    /* select: what is known of the members of any of the sets, below the number. */
    struct timeval none = {0, 0};
    union {
        fd_set set;
        uint64_t word[16];
    } sets[3];
    for (unsigned k = 0; k < 3; k++)
        for (int member = 0; member < 64; member++) {
            fd_set *in[3] = {NULL, NULL, NULL};

            memset(sets, 0, sizeof(sets));
            fds[member] = DOOR_FOREIGN;
            sets[k].word[0] = 1ul << member;
            sets[k].word[1] = ~0ul; /* not to be looked at */
            in[k] = &sets[k].set;
            before = asked;
            (void)!select(member + 1, in[0], in[1], in[2], &none);
            CHECK(asked == before);
            sets[k].word[0] = 1ul << member;
            fds[member] = 2;
            (void)!select(member + 1, in[0], in[1], in[2], &none);
            CHECK(asked == before + 1);
            sets[k].word[0] = 1ul << member;
            CHECK(member == 0 || (select(member, in[0], in[1], in[2], &none) == 0 && asked == before + 1));
            sets[k].word[0] = ~0ul; /* one is enough */
            (void)!select(64, in[0], in[1], in[2], &none);
            CHECK(asked == before + 2);
            before = asked;
            sets[k].word[0] = sets[k].word[1] = 0;
            CHECK(select(65, in[0], in[1], in[2], &none) == 0 && asked == before + 1);
            fds[member] = 0;
        }
    before = asked;
    CHECK(select(-1, NULL, NULL, NULL, &none) == -1 && errno == EINVAL && asked == before + 1);
    fds[3] = 0;
    fds[4] = DOOR_FOREIGN;

    near_addresses();

    /* A path that cannot be read is the kernel's to judge. */
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    CHECK(fstatat(0, (const char *)8, &st, 0) == -1 && errno == EFAULT);
    CHECK(stat((const char *)8, &st) == -1 && errno == EFAULT);
    CHECK(open((const char *)8, O_RDONLY) == -1 && errno == EFAULT);
    struct pollfd *volatile nowhere = (struct pollfd *)8;
    CHECK(poll(nowhere, 1, 0) == -1 && errno == EFAULT);
    fd_set *volatile no_set = (fd_set *)8;
    CHECK(select(8, NULL, no_set, NULL, &none) == -1 && errno == EFAULT);
    /* One that ends with its page is read up to there. */
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED && munmap(page + 4096, 4096) == 0);
    strcpy(page + 4096 - 6, "/etc/");
    CHECK(stat(page + 4096 - 6, &st) == 0);
    memset(page + 4000, 'a', 96);
    page[4000] = '/';
    CHECK(stat(page + 4000, &st) == -1 && errno == EFAULT);

    /* Processes and threads are counted, each before it is there. */
    volatile uint32_t *count = &door_made;
    uint32_t made = *count;
    pid_t pid = fork();
    if (pid == 0)
        _exit(*count == made + 1 ? 0 : 1);
    int status;
    CHECK(waitpid(pid, &status, 0) == pid && status == 0 && *count == made + 1);
    pid = vfork();
    if (pid == 0)
        _exit(0);
    CHECK(waitpid(pid, &status, 0) == pid && status == 0 && *count == made + 2);
    CHECK(system("exit 3") >> 8 == 3 && *count == made + 3);
}

static void patched_child(void)
{
    static const struct door_conf conf = {.serve = serve, .fds = (uint8_t *)fds, .points = points, .plain = plain};
    struct door_stat st;
    const char *why;
    double keep[4] = {1.25, 2.5, 3.75, 5.0}, got[4];
    pthread_t t;
    void *ret;
    int status;

    serve[SYS_getppid] = serve[SYS_read] = serve[SYS_write] = DOOR_ASK;
    serve[SYS_openat] = DOOR_OPEN;
    serve[SYS_newfstatat] = DOOR_AT;
    serve[SYS_lseek] = serve[SYS_pread64] = serve[SYS_readv] = DOOR_FD;
    points[SYS_pread64] = 1 << 1;
    points[SYS_newfstatat] = 1 << 2;
    points[SYS_readv] = DOOR_DEEP;
    serve[SYS_poll] = DOOR_POLL;
    serve[SYS_mkdir] = DOOR_PATH0;
    points[SYS_mkdir] = DOOR_MAKES;
    serve[SYS_select] = serve[SYS_pselect6] = DOOR_SELECT;
    serve[SYS_dup2] = DOOR_FD2;
    serve[SYS_close] = DOOR_CLOSE;
    serve[SYS_clone] = serve[SYS_clone3] = serve[SYS_fork] = serve[SYS_vfork] = DOOR_COUNT;
    CHECK(door_open(&conf, &why) == 0);
    door_stat(&st);
    CHECK(st.patched > 10 && st.left == 0 && st.uncounted == 0);
    CHECK(getppid() == 424242);
    CHECK(syscall(SYS_getppid) == 424242);
    CHECK(door_call(SYS_getppid) != 424242);
    errno = 0;
    CHECK(openat(-4242, "x", O_WRONLY | O_CREAT, 0640) == -1 && errno == EDOM);
    CHECK((int)last_args[0] == -4242 && last_args[2] == (O_WRONLY | O_CREAT) && last_args[3] == 0640);
    CHECK(open("/nonexistent", O_RDONLY) == -1 && errno == ENOENT);

    looked_at();

    /* Vector registers survive a call the handler takes. */
    long (*volatile raw)(long, ...) = syscall;
    long a;
    __asm__ volatile("movupd (%[k]), %%xmm6\n movupd 16(%[k]), %%xmm7\n"
                     : : [k] "r"(keep) : "xmm6", "xmm7");
    a = raw(SYS_getppid);
    __asm__ volatile("movupd %%xmm6, (%[g])\n movupd %%xmm7, 16(%[g])\n" : : [g] "r"(got) : "memory");
    CHECK(a == 424242);
    CHECK(memcmp(keep, got, sizeof(keep)) == 0);

    CHECK(pthread_create(&t, NULL, thread, &status) == 0);
    CHECK(pthread_join(t, &ret) == 0 && ret == &status);
    pid_t pid = fork();
    if (pid == 0)
        _exit(getppid() == 424242 ? 7 : 8);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
    static char stack[65536];
    CHECK(clone(thread_less, stack + sizeof(stack), CLONE_FILES | SIGCHLD, &status) == -1 && errno == EINVAL);
    pid = clone(thread_less, stack + sizeof(stack), SIGCHLD, &status);
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 11);
    CHECK(system("exit 9") >> 8 == 9); /* vfork or posix_spawn's clone inside libc */
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    CHECK(f && fgets(line, sizeof(line), f));
    fclose(f);
    _exit(0);
}

static void serves_a_patched_process(void **state)
{
#ifdef HAVE_SANITIZER
    skip();
#endif
    int status;
    pid_t pid = fork();

    if (pid == 0)
        patched_child();
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decodes_lengths),          cmocka_unit_test(knows_what_may_move),
        cmocka_unit_test(finds_every_site_of_libc), cmocka_unit_test(distrusts_its_cache),
        cmocka_unit_test(serves_a_patched_process),
    };

    return cmocka_run_group_tests_name("door", tests, NULL, NULL);
}
