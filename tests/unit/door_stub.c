/* SPDX-License-Identifier: Apache-2.0
 * door: stubs of made-up sites, near and far from what they use.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/door/door.h"
#include "client/door/entry.h"
#include "client/door/insn.h"
#include "client/door/stub.h"

static unsigned asked;

int door_filter(long nr, long args[6])
{
    asked++;
    if (nr == SYS_getpid)
        return DOOR_TAKE;
    return nr == SYS_openat ? DOOR_LOOK : DOOR_PASS;
}

int door_missed(long nr, long args[6])
{
    return DOOR_PASS;
}

long door_handler(long nr, const long args[6])
{
    return 4711;
}

static uint8_t serve[DOOR_NR_MAX], points[DOOR_NR_MAX], fds[DOOR_FDS], plain[256];
static const struct door_conf conf = {.serve = serve, .fds = fds, .points = points, .plain = plain};

struct place {
    uint8_t *code, *area; /* a page, and a stub area */
    uint8_t *end; /* of the stub */
    struct stub stub;
};

enum { AREA = STUB_HEAD + STUB_MAX, FD = 60000 /* not open */ };

/* far: not within reach of this program's variables. */
static void place_init(struct place *p, bool far)
{
    uint8_t *at = mmap((void *)(far ? 1ul << 40 : ((uintptr_t)fds + (256ul << 20)) & ~4095ul), 4096 + AREA, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    intptr_t away = at - fds;

    assert_true(at != MAP_FAILED);
    assert_true(far ? away > INT32_MAX || away < INT32_MIN : away < INT32_MAX / 2 && away > INT32_MIN / 2);
    p->code = at;
    p->area = at + 4096;
    stub_cells(p->area, &conf);
}

static void place_release(struct place *p)
{
    munmap(p->code, 4096 + AREA);
}

static void place_protect(struct place *p, int prot)
{
    assert_int_equal(mprotect(p->code, 4096, prot), 0);
    assert_int_equal(mprotect(p->area + STUB_HEAD, STUB_MAX, prot), 0);
}

/* A function: mov $nr, %eax; syscall; then what is given. Its window is the first two. Returns the stub. */
static void *function(struct place *p, int nr, const char *rest, size_t n)
{
    struct site site = {.before = 5, .nr = (int16_t)nr};

    place_protect(p, PROT_READ | PROT_WRITE);
    memset(p->code, 0xcc, 64);
    p->code[0] = 0xb8;
    memcpy(p->code + 1, &nr, 4);
    memcpy(p->code + 5, "\x0f\x05", 2);
    memcpy(p->code + 7, rest, n);
    p->end = stub_write(p->area, p->area + STUB_HEAD, &site, p->code + 5, p->code + 7 + n, &conf, &p->stub);
    assert_true(p->end <= p->area + AREA);
    assert_memory_equal(p->area + p->stub.at, p->code, 5);
    assert_memory_equal(p->area + p->stub.raw, "\x0f\x05", 2);
    assert_int_equal(((uintptr_t)p->area + p->stub.at) % STUB_ALIGN, 0);
    place_protect(p, PROT_READ | PROT_EXEC);
    return p->area + p->stub.at;
}

#define CALL(p, nr, rest) ((long (*)(long, ...))function((p), (nr), (rest), sizeof(rest) - 1))
#define RET_ERRNO "\x48\x3d\x01\xf0\xff\xff" /* cmp $-4095, %rax */

/* What follows the call in the library is done, in the stub or there. */
static void goes_on_behind_the_call(void **state)
{
    static const char call[] = "\xe8\0\0\0\0\x48\x83\xc4\x08\xc3"; /* call next; next: add $8, %rsp; ret */
    struct place p;

    for (int far = 0; far < 2; far++) {
        place_init(&p, far);
        fds[FD] = DOOR_FOREIGN;
        serve[SYS_lseek] = DOOR_FD;
        asked = 0;
        assert_int_equal(CALL(&p, SYS_lseek, "\xc3")((long)FD, 0l, 99l), -EBADF);
        /* jae to the second; the first says 1, the second 2 */
        static const char short_jump[] = RET_ERRNO "\x73\x06\xb8\x01\0\0\0\xc3\xb8\x02\0\0\0\xc3";
        assert_int_equal(CALL(&p, SYS_lseek, short_jump)((long)FD, 0l, 99l), 2);
        assert_int_equal(CALL(&p, SYS_lseek, RET_ERRNO "\x0f\x83\x06\0\0\0\xb8\x01\0\0\0\xc3\xb8\x02\0\0\0\xc3")((long)FD, 0l, 99l), 2);
        /* what cannot be elsewhere */
        assert_int_equal(CALL(&p, SYS_lseek, call)((long)FD, 0l, 99l), -EBADF);
        assert_int_equal(CALL(&p, SYS_lseek, "\xeb\x01\xcc\xc3")((long)FD, 0l, 99l), -EBADF);
        assert_int_equal(CALL(&p, SYS_lseek, "\x48\x8d\x05\x01\0\0\0\xc3")((long)FD, 0l, 99l), (long)(p.code + 7 + 8));
        /* far from a return */
        assert_int_equal(CALL(&p, SYS_lseek, "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90"
                                             "\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90\x90"
                                             "\xc3")((long)FD, 0l, 99l), -EBADF);
        assert_int_equal(asked, 0);
        fds[FD] = 0;
        place_release(&p);
    }
}

/* No way round the filter: a call behind the call stays where it may be patched itself. */
static void copies_no_call(void **state)
{
    static const char second[] = "\xb8\x27\0\0\0\x0f\x05\xc3"; /* mov $SYS_getpid, %eax; syscall; ret */
    struct place p;
    struct insn in;
    unsigned n = 0;

    place_init(&p, false);
    serve[SYS_lseek] = DOOR_FD;
    fds[FD] = DOOR_FOREIGN;
    assert_int_equal(CALL(&p, SYS_lseek, second)((long)FD, 0l, 0l), getpid());
    for (const uint8_t *at = p.area + p.stub.at; at < p.end; at += in.len) {
        assert_true(insn_decode(at, (size_t)(p.end - at), &in));
        n += in.syscall;
    }
    assert_int_equal(n, 1);
    fds[FD] = 0;
    place_release(&p);
}

/* All kinds, whether their variables are near or far. */
static void asks_near_and_far(void **state)
{
    static const char ret[] = "\xc3";
    struct place p;
    uint32_t made;
    char text[4200], buf[8];
    int fd, zero = open("/dev/zero", O_RDONLY);

    memset(plain, 1, sizeof(plain));
    plain['v'] = 0;
    memset(text, 0, sizeof(text));
    strcpy(text, "/dev/null");
    for (int far = 0; far < 2; far++) {
        place_init(&p, far);
        serve[SYS_openat] = DOOR_OPEN;
        points[SYS_openat] = 1 << 1;
        asked = 0;
        fd = (int)CALL(&p, SYS_openat, ret)((long)AT_FDCWD, text, (long)O_RDONLY);
        assert_true(fd >= 0 && fds[fd] == DOOR_FOREIGN);
        assert_int_equal(asked, 0);
        serve[SYS_close] = DOOR_CLOSE;
        assert_int_equal(CALL(&p, SYS_close, ret)((long)fd), 0);
        assert_int_equal(fds[fd], 0);
        assert_int_equal(asked, 0);
        assert_int_equal(CALL(&p, SYS_close, ret)((long)fd), -EBADF);
        assert_int_equal(asked, 1);
        assert_int_equal(CALL(&p, SYS_close, ret)((1l << 32) + 70000), -EBADF);
        assert_int_equal(asked, 2);
        assert_int_equal(CALL(&p, SYS_openat, ret)((long)AT_FDCWD, "/v", (long)O_RDONLY), -ENOENT);
        assert_int_equal(asked, 3);
        assert_int_equal(CALL(&p, SYS_openat, ret)((long)AT_FDCWD, "/none/such", (long)O_RDONLY), -ENOENT);
        assert_int_equal(asked, 3);

        /* A path that ends in what is near is asked about, and so is one that begins there. */
        serve[SYS_access] = DOOR_PATH0;
        points[SYS_access] = 1 << 0;
        long (*call)(long, ...) = CALL(&p, SYS_access, ret);
        asked = 0;
        assert_int_equal(call((long)text, (long)R_OK), 0);
        assert_int_equal(asked, 0);
        stub_near(p.area, (uintptr_t)text + 4, (uintptr_t)text + 4 + 4096);
        assert_int_equal(call((long)text, (long)R_OK), 0);
        assert_int_equal(asked, 1);
        stub_near(p.area, (uintptr_t)text, (uintptr_t)text + 4096);
        assert_int_equal(call((long)text, (long)R_OK), 0);
        assert_int_equal(asked, 2);
        stub_near(p.area, (uintptr_t)text - 8192, (uintptr_t)text - 4096);
        assert_int_equal(call((long)text, (long)R_OK), 0);
        assert_int_equal(asked, 2);

        /* So is a buffer, by where it begins. */
        serve[SYS_pread64] = DOOR_FD;
        points[SYS_pread64] = 1 << 1;
        fds[zero] = DOOR_FOREIGN;
        call = CALL(&p, SYS_pread64, ret);
        assert_int_equal(call((long)zero, buf, 8l, 0l), 8);
        assert_int_equal(asked, 2);
        stub_near(p.area, (uintptr_t)buf, (uintptr_t)buf + 1);
        assert_int_equal(call((long)zero, buf, 8l, 0l), 8);
        assert_int_equal(asked, 3);
        assert_int_equal(call((long)zero, buf + 1, 7l, 0l), 7);
        assert_int_equal(asked, 3);
        stub_near(p.area, 0, 0);
        fds[zero] = 0;

        serve[SYS_getpid] = DOOR_ASK;
        assert_int_equal(CALL(&p, SYS_getpid, ret)(0l), 4711);
        serve[SYS_clone] = DOOR_COUNT;
        made = door_made;
        assert_int_equal(CALL(&p, SYS_clone, ret)(-1l, 0l), -EINVAL);
        assert_int_equal(door_made, made + 1);
        door_made = made;
        place_release(&p);
    }
    close(zero);
}

/* Instructions that read the program's memory are known, and no others. */
static void knows_what_it_reads(void **state)
{
    struct place p;

    place_init(&p, false);
    serve[SYS_poll] = DOOR_POLL;
    function(&p, SYS_poll, "\xc3", 1);
    assert_memory_equal(p.area + p.stub.reads[0], "\x42\x8b\x04\xdf", 4);
    assert_true(p.stub.reads[1] == 0 && p.stub.ask != 0);
    serve[SYS_newfstatat] = DOOR_AT;
    function(&p, SYS_newfstatat, "\xc3", 1);
    for (unsigned i = 0; i < 3; i++)
        assert_true(p.stub.reads[i] > p.stub.at && p.stub.reads[i] > p.stub.ask);
    assert_memory_equal(p.area + p.stub.reads[0], "\x80\x3e\x00", 3);
    serve[SYS_lseek] = DOOR_FD;
    function(&p, SYS_lseek, "\xc3", 1);
    assert_int_equal(p.stub.reads[0], 0);
    place_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_behind_the_call),
        cmocka_unit_test(copies_no_call),
        cmocka_unit_test(asks_near_and_far),
        cmocka_unit_test(knows_what_it_reads),
    };

    door_entry_init();
    door_entry_plain = plain;
    door_entry_fds = fds;
    return cmocka_run_group_tests_name("door_stub", tests, NULL, NULL);
}
