/* SPDX-License-Identifier: Apache-2.0
 * storetest: what the store's unit tests share: temporary folders, random bytes, damage to files.
 */
#ifndef VOLNFS_TESTS_STORETEST_H
#define VOLNFS_TESTS_STORETEST_H

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static inline char *st_tmpdir(void)
{
    const char *base = getenv("TMPDIR");
    char *dir = NULL;

    assert_true(asprintf(&dir, "%s/volnfs-test-XXXXXX", base ? base : "/tmp") > 0);
    assert_non_null(mkdtemp(dir));
    return dir;
}

static inline int st_remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    return remove(path);
}

static inline void st_rmtree(char *dir)
{
    nftw(dir, st_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(dir);
}

/* A path below dir; up to four results live at once. */
static inline const char *st_path(const char *dir, const char *name)
{
    static char buf[4][512];
    static unsigned next;
    char *p = buf[next++ % 4];

    snprintf(p, sizeof(buf[0]), "%s/%s", dir, name);
    return p;
}

/* xorshift64*: repeatable, and good enough to be incompressible. */
static inline uint64_t st_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dULL;
}

static inline void st_fill(void *buf, size_t len, uint64_t seed)
{
    uint64_t state = seed * 2 + 1;

    for (size_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = (uint8_t)(st_random(&state) >> 56);
}

/* Inverts one byte of a file. */
static inline void st_flip(const char *path, off_t at)
{
    uint8_t b;
    int fd = open(path, O_RDWR);

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &b, 1, at), 1);
    b = (uint8_t)~b;
    assert_int_equal(pwrite(fd, &b, 1, at), 1);
    close(fd);
}

static inline off_t st_size(const char *path)
{
    struct stat st;

    return stat(path, &st) ? -1 : st.st_size;
}

static inline void st_copy(const char *from, const char *to)
{
    char buf[65536];
    ssize_t n;
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(in >= 0 && out >= 0);
    while ((n = read(in, buf, sizeof(buf))) > 0)
        assert_int_equal(write(out, buf, (size_t)n), n);
    close(in);
    close(out);
}

#endif
