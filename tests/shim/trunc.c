/* SPDX-License-Identifier: Apache-2.0
 * trunc: truncate, ftruncate, fallocate with its modes.
 */
#include "tests/shim/suite.h"

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

static void punching(void)
{
    static char data[65536];
    char buf[16];
    int fd = open(P("f"), O_RDWR | O_CREAT, 0644);

    memset(data, 'd', sizeof(data));
    VAL(write(fd, data, sizeof(data)));
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 10000, 20000));
    VAL(pread(fd, buf, 8, 9996));
    suite_bytes("start", buf, 8);
    VAL(pread(fd, buf, 8, 29996));
    suite_bytes("end", buf, 8);
    VAL(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
    VAL(fallocate(fd, FALLOC_FL_ZERO_RANGE, 4, 8));
    VAL(pread(fd, buf, 16, 0));
    suite_bytes("zeroed", buf, 16);
    VAL(lseek(fd, 0, SEEK_END));
}

SUITE_GROUP(trunc) = {{"truncate", truncating}, {"fallocate", allocating}, {"punch", punching}, {NULL, NULL}};
