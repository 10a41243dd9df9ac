/* SPDX-License-Identifier: Apache-2.0
 * Tests of release: names go at once, bytes in steps, and only of what has no name any more.
 */
#include "common/release.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (5 * RELEASE_STEP + 4711)

static char folder[] = "/tmp/volnfs-release-XXXXXX";
static int dir = -1;

static int setup(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/volnfs-release-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return dir < 0;
}

static int teardown(void **state)
{
    static const char *const names[] = {"file", "other", "link", "fifo"};

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        (void)unlinkat(dir, names[i], 0);
    (void)unlinkat(dir, "sub", AT_REMOVEDIR);
    close(dir);
    return rmdir(folder);
}

static int make(const char *name, uint64_t size)
{
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(posix_fallocate(fd, 0, (off_t)size), 0);
    return fd;
}

static struct stat look(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st;
}

static bool named(const char *name)
{
    return faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void bytes_go_in_steps(void **state)
{
    int fd = make("file", SIZE);
    struct release r;
    uint64_t before = SIZE;
    unsigned turns = 0;

    assert_int_equal(release_unlink(dir, "file", &r), 0);
    assert_false(named("file"));
    assert_int_equal(look(fd).st_size, SIZE);
    for (bool more = true; more; turns++) {
        more = release_some(&r);
        if (more) { /* from the end, whole steps */
            uint64_t size = (uint64_t)look(fd).st_size;
            assert_int_equal(size, (before - 1) / RELEASE_STEP * RELEASE_STEP);
            assert_int_equal(size, r.left);
            before = size;
        }
    }
    assert_int_equal(r.fd, -1);
    assert_int_equal(turns, SIZE / RELEASE_STEP + 1);
    assert_true((uint64_t)look(fd).st_size <= RELEASE_STEP); /* the last one goes with the last descriptor */
    assert_false(release_some(&r));
    release_all(&r);
    close(fd);
}

static void all_at_once(void **state)
{
    int fd = make("file", SIZE);
    struct release r;

    assert_int_equal(release_unlink(dir, "file", &r), 0);
    release_all(&r);
    assert_int_equal(r.fd, -1);
    assert_true((uint64_t)look(fd).st_size <= RELEASE_STEP);
    close(fd);
}

/* A pack that a clone has, too. */
static void another_name_keeps_all(void **state)
{
    int fd = make("file", SIZE);
    struct release r;

    assert_int_equal(linkat(dir, "file", dir, "other", 0), 0);
    assert_int_equal(release_unlink(dir, "file", &r), 0);
    assert_int_equal(r.fd, -1);
    release_all(&r);
    assert_int_equal(look(fd).st_size, SIZE);
    assert_int_equal(release_unlink(dir, "other", &r), 0);
    assert_true(r.fd >= 0);
    release_all(&r);
    assert_true((uint64_t)look(fd).st_size <= RELEASE_STEP);
    close(fd);
}

/* Its last two names went at once, and somebody else is making it shorter. */
static void only_one_shortens(void **state)
{
    int fd = make("file", SIZE), other = openat(dir, "file", O_RDWR);
    struct release r;

    assert_true(other >= 0);
    assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
    assert_int_equal(release_unlink(dir, "file", &r), 0);
    assert_int_equal(r.fd, -1);
    assert_false(named("file"));
    assert_int_equal(look(fd).st_size, SIZE);
    close(other);
    close(fd);
}

static void small_files_just_go(void **state)
{
    int fd = make("file", RELEASE_STEP);
    struct release r;

    assert_int_equal(release_unlink(dir, "file", &r), 0);
    assert_int_equal(r.fd, -1);
    assert_false(named("file"));
    assert_int_equal(look(fd).st_size, RELEASE_STEP);
    close(fd);
}

static void other_kinds(void **state)
{
    int fd = make("file", SIZE);
    struct release r;

    assert_int_equal(release_unlink(dir, "missing", &r), -ENOENT);
    assert_int_equal(r.fd, -1);
    assert_int_equal(symlinkat("file", dir, "link"), 0);
    assert_int_equal(release_unlink(dir, "link", &r), 0);
    assert_int_equal(r.fd, -1);
    assert_false(named("link"));
    assert_true(named("file"));
    assert_int_equal(look(fd).st_size, SIZE);
    assert_int_equal(mkfifoat(dir, "fifo", 0600), 0);
    assert_int_equal(release_unlink(dir, "fifo", &r), 0); /* and does not wait for a writer */
    assert_int_equal(r.fd, -1);
    assert_int_equal(mkdirat(dir, "sub", 0700), 0);
    assert_int_equal(release_unlink(dir, "sub", &r), -EISDIR);
    assert_int_equal(r.fd, -1);
    assert_true(named("sub"));
    close(fd);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(bytes_go_in_steps), T(all_at_once), T(another_name_keeps_all), T(only_one_shortens), T(small_files_just_go), T(other_kinds),
    };
    return cmocka_run_group_tests_name("release", tests, NULL, NULL);
}
