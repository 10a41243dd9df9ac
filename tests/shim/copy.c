/* SPDX-License-Identifier: Apache-2.0
 * copy: sendfile, copy_file_range, splice, tee, FICLONE, between the folder and elsewhere.
 */
#include "tests/shim/suite.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>

static void sent(void)
{
    off_t at = 2;
    char buf[32] = "";
    int in, out, local, pipes[2], pair[2];

    suite_make(P("f"), "0123456789");
    in = open(P("f"), O_RDONLY);
    out = open(P("out"), O_RDWR | O_CREAT, 0644);
    local = open(L("local"), O_RDWR | O_CREAT, 0644);
    pipe(pipes);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    VAL(sendfile(out, in, &at, 4));
    VAL(at);
    VAL(lseek(in, 0, SEEK_CUR));
    VAL(sendfile(local, in, NULL, 3));
    VAL(lseek(in, 0, SEEK_CUR));
    VAL(sendfile(pipes[1], in, NULL, 100));
    VAL(read(pipes[0], buf, 32));
    VAL(sendfile(pipes[1], in, NULL, 100));
    at = 0;
    VAL(sendfile(pair[0], in, &at, 5));
    VAL(read(pair[1], buf, 32));
    suite_bytes("socket", buf, 5);
    VAL(lseek(local, 0, SEEK_SET));
    VAL(sendfile(out, local, NULL, 100));
    suite_show(P("out"));
    suite_show(L("local"));
    VAL(sendfile(in, local, NULL, 1));
    VAL(sendfile(out, 99, NULL, 1));
    VAL(sendfile(out, pipes[0], NULL, 1));
    VAL(sendfile(out, open(P(""), O_RDONLY), NULL, 1));
}

static void ranges(void)
{
    off_t from = 2, to = 5;
    int in, out, local;

    suite_make(P("f"), "0123456789");
    in = open(P("f"), O_RDONLY);
    out = open(P("out"), O_RDWR | O_CREAT, 0644);
    local = open(L("local"), O_RDWR | O_CREAT, 0644);
    VAL(copy_file_range(in, &from, out, &to, 4, 0));
    VAL(from);
    VAL(to);
    suite_show(P("out"));
    VAL(copy_file_range(in, NULL, out, NULL, 3, 0));
    VAL(lseek(in, 0, SEEK_CUR));
    VAL(lseek(out, 0, SEEK_CUR));
    suite_show(P("out"));
    VAL(copy_file_range(in, NULL, out, NULL, 100, 0));
    VAL(copy_file_range(in, NULL, out, NULL, 100, 0));
    VAL(copy_file_range(in, NULL, out, NULL, 100, 1));
    VAL(copy_file_range(out, NULL, in, NULL, 1, 0));
    VAL(copy_file_range(in, NULL, open(P(""), O_RDONLY), NULL, 1, 0));
    VAL(copy_file_range(in, NULL, open(P("out"), O_WRONLY | O_APPEND), NULL, 1, 0));
    VAL(copy_file_range(99, NULL, out, NULL, 1, 0));
    (void)local;
    suite_show(P("out"));
}

static void spliced(void)
{
    char buf[32] = "";
    off_t at = 3;
    int in, out, pipes[2];

    suite_make(P("f"), "0123456789");
    in = open(P("f"), O_RDONLY);
    out = open(P("out"), O_RDWR | O_CREAT, 0644);
    pipe(pipes);
    VAL(splice(in, NULL, pipes[1], NULL, 4, 0));
    VAL(splice(in, &at, pipes[1], NULL, 2, 0));
    VAL(at);
    VAL(splice(pipes[0], NULL, out, NULL, 100, 0));
    suite_show(P("out"));
    VAL(splice(in, NULL, out, NULL, 1, 0));
    VAL(write(pipes[1], "pipe", 4));
    at = 1;
    VAL(splice(pipes[0], NULL, out, &at, 4, 0));
    suite_show(P("out"));
    VAL(lseek(in, 0, SEEK_CUR));
    VAL(read(in, buf, 32));
}

static void large(void)
{
    size_t size = 3 << 20;
    char *data = malloc(size);
    int in = open(P("f"), O_RDWR | O_CREAT, 0644), out = open(P("out"), O_RDWR | O_CREAT, 0644);

    suite_fill(data, size, 0);
    VAL(write(in, data, size));
    VAL(lseek(in, 0, SEEK_SET));
    for (ssize_t n; (n = copy_file_range(in, NULL, out, NULL, size, 0)) > 0;)
        ;
    VAL(lseek(out, 0, SEEK_CUR));
    memset(data, 0, size);
    VAL(pread(out, data, size, 0));
    VAL(suite_filled(data, size, 0));
    VAL(lseek(in, 0, SEEK_SET));
    VAL(ftruncate(out, 0));
    VAL(lseek(out, 0, SEEK_SET));
    for (ssize_t n; (n = sendfile(out, in, NULL, size)) > 0;)
        ;
    VAL(lseek(out, 0, SEEK_CUR));
    VAL(ioctl(out, FICLONE, in));
    free(data);
}

SUITE_GROUP(copy) = {{"sendfile", sent}, {"ranges", ranges}, {"splice", spliced}, {"large", large}, {NULL, NULL}};
