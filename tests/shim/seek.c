/* SPDX-License-Identifier: Apache-2.0
 * seek: lseek with its five origins, sparse files.
 */
#include "tests/shim/suite.h"

static void plain(void)
{
    int fd, d;

    suite_make(P("f"), "0123456789");
    fd = open(P("f"), O_RDWR);
    VAL(lseek(fd, 4, SEEK_SET));
    VAL(lseek(fd, 2, SEEK_CUR));
    VAL(lseek(fd, -7, SEEK_CUR));
    VAL(lseek(fd, 0, SEEK_CUR));
    VAL(lseek(fd, -3, SEEK_END));
    VAL(lseek(fd, 100, SEEK_END));
    VAL(lseek(fd, -100, SEEK_END));
    VAL(lseek(fd, -1, SEEK_SET));
    VAL(lseek(fd, 0, 77));
    VAL(lseek(fd, 1L << 40, SEEK_SET));
    VAL(read(fd, (char[4]){0}, 4));
    VAL(lseek(fd, 0x7fffffffffffffffL, SEEK_SET));
    VAL(lseek(fd, 1, SEEK_CUR));
    VAL(lseek(fd, 0, SEEK_CUR) >= 1L << 40);
    d = open(P(""), O_RDONLY);
    VAL(lseek(d, 0, SEEK_CUR));
    VAL(lseek(d, 0, SEEK_SET));
    VAL(lseek(d, -1, SEEK_SET));
    VAL(lseek(999, 0, SEEK_SET));
}

static void holes(void)
{
    static char block[65536];
    int fd = open(P("f"), O_RDWR | O_CREAT, 0644);

    memset(block, 'd', sizeof(block));
    VAL(pwrite(fd, block, sizeof(block), 0));
    VAL(pwrite(fd, block, sizeof(block), 4 << 20));
    VAL(ftruncate(fd, 8 << 20));
    VAL(fsync(fd));
    VAL(lseek(fd, 0, SEEK_DATA));
    VAL(lseek(fd, 0, SEEK_HOLE));
    VAL(lseek(fd, 100, SEEK_DATA));
    VAL(lseek(fd, 100000, SEEK_DATA));
    VAL(lseek(fd, 100000, SEEK_HOLE));
    VAL(lseek(fd, 4 << 20, SEEK_HOLE));
    VAL(lseek(fd, 5 << 20, SEEK_DATA));
    VAL(lseek(fd, 5 << 20, SEEK_HOLE));
    VAL(lseek(fd, 8 << 20, SEEK_DATA));
    VAL(lseek(fd, 8 << 20, SEEK_HOLE));
    VAL(lseek(fd, -1, SEEK_DATA));
    VAL(lseek(fd, 0, SEEK_END));
    fd = open(P("empty"), O_RDWR | O_CREAT, 0644);
    VAL(lseek(fd, 0, SEEK_DATA));
    VAL(lseek(fd, 0, SEEK_HOLE));
}

static void sparse(void)
{
    struct stat st;
    char buf[16];
    int fd = open(P("f"), O_RDWR | O_CREAT, 0644);

    VAL(pwrite(fd, "end", 3, 3L << 30));
    VAL(fstat(fd, &st));
    VAL(st.st_size);
    VAL(st.st_blocks < 1000);
    VAL(pread(fd, buf, 8, 1L << 30));
    suite_bytes("hole", buf, 8);
    VAL(pread(fd, buf, 16, (3L << 30) - 4));
    suite_bytes("end", buf, 7);
    VAL(lseek(fd, 0, SEEK_END));
    VAL(ftruncate(fd, 10));
    VAL(pwrite(fd, "x", 1, (1L << 44) + 100) == 1);
}

SUITE_GROUP(seek) = {{"plain", plain}, {"holes", holes}, {"sparse", sparse}, {NULL, NULL}};
