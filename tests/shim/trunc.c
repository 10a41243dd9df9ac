/* SPDX-License-Identifier: Apache-2.0
 * trunc: truncate, ftruncate, fallocate with its modes.
 */
#include "tests/shim/suite.h"

#include <sys/mman.h>

static void truncating(void)
{
    char buf[16];
    int fd, r;

    suite_make(P("f"), "0123456789");
    VAL(truncate(P("f"), 4));
    suite_show(P("f"));
    VAL(truncate(P("f"), 8));
    suite_show(P("f"));
    VAL(truncate(P("f"), -1));
    VAL(truncate(P("none"), 1));
    VAL(truncate(P(""), 1));
    mkdir(P("d"), 0755);
    VAL(truncate(P("d"), 0));
    fd = open(P("f"), O_RDWR);
    r = open(P("f"), O_RDONLY);
    VAL(lseek(fd, 6, SEEK_SET));
    VAL(ftruncate(fd, 2));
    VAL(lseek(fd, 0, SEEK_CUR));
    VAL(read(fd, buf, 4));
    VAL(write(fd, "x", 1));
    suite_show(P("f"));
    VAL(ftruncate(r, 2));
    VAL(ftruncate(fd, -1));
    VAL(ftruncate(99, 0));
    VAL(ftruncate(fd, 0));
    VAL(pread(r, buf, 4, 0));
    VAL(ftruncate(fd, 1L << 33));
    VAL(lseek(r, 0, SEEK_END));
    VAL(pread(r, buf, 8, 1L << 32));
    suite_bytes("hole", buf, 8);
    VAL(truncate(P("f"), 0));
    VAL(lseek(fd, 0, SEEK_END));
    /* written, cut and grown again: zeros, not the old bytes */
    VAL(pwrite(fd, "abcdefgh", 8, 0));
    VAL(ftruncate(fd, 4));
    VAL(ftruncate(fd, 8));
    suite_show(P("f"));
}

static void allocating(void)
{
    struct stat st;
    int fd = open(P("f"), O_RDWR | O_CREAT, 0644);

    VAL(fallocate(fd, 0, 0, 10000));
    VAL(lseek(fd, 0, SEEK_END));
    VAL(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 20000));
    VAL(lseek(fd, 0, SEEK_END));
    VAL(fallocate(fd, 0, 0, 0));
    VAL(fallocate(fd, 0, -1, 5));
    VAL(pwrite(fd, "data", 4, 5000));
    VAL(fallocate(fd, 0, 4000, 2000));
    VAL(pread(fd, (char[8]){0}, 4, 5000));
    VAL(fstat(fd, &st));
    VAL(st.st_size);
    VAL(posix_fallocate(fd, 0, 30000));
    VAL(lseek(fd, 0, SEEK_END));
    VAL(fallocate(open(P("f"), O_RDONLY), 0, 0, 100));
    VAL(fallocate(open(P(""), O_RDONLY), 0, 0, 100));
}

static char data[65536], big[3 << 20];

static void zeroed(int fd, long from, long size)
{
    long n = pread(fd, big, (size_t)size, from), zeros = 0;

    for (long i = 0; i < n; i++)
        zeros += big[i] == 0;
    suite_say("%ld of %ld from %ld are zero", zeros, n, from);
}

static void punching(void)
{
    char buf[16], *m;
    int fd = open(P("f"), O_RDWR | O_CREAT, 0644), r = open(P("f"), O_RDONLY), a;

    memset(data, 'd', sizeof(data));
    VAL(write(fd, data, sizeof(data)));
    m = mmap(NULL, sizeof(data), PROT_READ, MAP_SHARED, fd, 0);
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10000, 20000));
    VAL(pread(fd, buf, 8, 9996));
    suite_bytes("start", buf, 8);
    VAL(pread(fd, buf, 8, 29996));
    suite_bytes("end", buf, 8);
    suite_bytes("mapped", m + 9996, 8);
    zeroed(r, 0, 65536);
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
    VAL(fallocate(fd, FALLOC_FL_ZERO_RANGE, 4, 8));
    VAL(pread(fd, buf, 16, 0));
    suite_bytes("zeroed", buf, 16);
    VAL(lseek(fd, 0, SEEK_END));
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65000, 20000)); /* over the end */
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096));
    VAL(lseek(fd, 0, SEEK_END));
    zeroed(r, 64000, 4096);
    VAL(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 60000, 20000));
    VAL(lseek(fd, 0, SEEK_END));
    zeroed(r, 50000, 20000);
    VAL(fallocate(fd, FALLOC_FL_ZERO_RANGE, 50000, 20000));
    VAL(lseek(fd, 0, SEEK_END));
    zeroed(r, 40000, 40000);
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 1L << 40));
    zeroed(r, 0, 80000);
    VAL(lseek(fd, 0, SEEK_CUR));
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    VAL(fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 0, 4096));
    VAL(fallocate(fd, FALLOC_FL_INSERT_RANGE, 0, 4096));
    VAL(fallocate(r, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
    VAL(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 0));
    VAL(fallocate(fd, FALLOC_FL_ZERO_RANGE, -1, 10));
    /* more than goes at once, and through a descriptor that appends */
    memset(big, 'b', sizeof(big));
    VAL(pwrite(fd, big, sizeof(big), 0) == sizeof(big));
    a = open(P("f"), O_WRONLY | O_APPEND);
    VAL(fallocate(a, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 5 << 19));
    zeroed(r, 0, sizeof(big));
    VAL(close(a));
    VAL(close(fd));
    zeroed(r, 0, sizeof(big));
}

/* A file that its owner may not open for writing again. */
static void forbidden(void)
{
    int fd = open(P("f"), O_RDWR | O_CREAT, 0400);

    VAL(fd >= 0);
    VAL(write(fd, "0123456789", 10));
    VAL(ftruncate(fd, 4));
    VAL(fallocate(fd, 0, 0, 20));
    suite_show(P("f"));
    VAL(fchmod(fd, 0));
    VAL(ftruncate(fd, 2));
    VAL(write(fd, "x", 1));
    VAL(truncate(P("f"), 1));
    VAL(open(P("f"), O_WRONLY | O_TRUNC));
    VAL(lseek(fd, 0, SEEK_END));
    suite_make(P("g"), "0123456789");
    chmod(P("g"), 0600);
    VAL(truncate(P("g"), 3));
}

SUITE_GROUP(trunc) = {{"truncate", truncating}, {"forbidden", forbidden}, {"fallocate", allocating}, {"punch", punching}, {NULL, NULL}};
