/* SPDX-License-Identifier: Apache-2.0
 * unlink: unlink, unlinkat, remove.
 */
#include "tests/shim/suite.h"

static void plain(void)
{
    int d;

    suite_make(P("f"), "x");
    mkdir(P("d"), 0755);
    symlink("f", P("s"));
    VAL(unlink(P("s")));
    suite_list(P(""));
    VAL(unlink(P("f/")));
    VAL(unlink(P("f")));
    VAL(unlink(P("f")));
    VAL(unlink(P("none/f")));
    VAL(unlink(P("d")));
    VAL(unlink(""));
    d = open(P("d"), O_RDONLY);
    suite_make(P("d/a"), "x");
    mkdir(P("d/b"), 0755);
    VAL(unlinkat(d, "a", AT_REMOVEDIR));
    VAL(unlinkat(d, "b", 0));
    VAL(unlinkat(d, "b", AT_REMOVEDIR));
    VAL(unlinkat(d, "a", 0));
    VAL(unlinkat(d, "a", 0));
    VAL(unlinkat(d, "a", 0x40000));
    VAL(remove(P("d")));
    suite_list(P(""));
}

static void many_links(void)
{
    struct stat st;
    int fd;

    suite_make(P("a"), "x");
    link(P("a"), P("b"));
    fd = open(P("a"), O_RDWR);
    VAL(unlink(P("a")));
    VAL(fstat(fd, &st));
    VAL(st.st_nlink);
    VAL(write(fd, "new", 3));
    suite_show(P("b"));
    VAL(unlink(P("b")));
    VAL(fstat(fd, &st));
    VAL(st.st_nlink);
    VAL(write(fd, "more", 4));
    VAL(lseek(fd, 0, SEEK_END));
}

/* The last close of an unlinked file is in another process than the unlink. */
static void held_by_child(void)
{
    int fd, go[2], done[2];
    pid_t pid;
    char buf[16] = "";

    pipe(go);
    pipe(done);
    suite_make(P("f"), "kept");
    fd = open(P("f"), O_RDWR);
    pid = fork();
    if (pid == 0) {
        suite_await(go[0]);
        VAL(pread(fd, buf, 16, 0));
        suite_bytes("child reads", buf, 4);
        VAL(pwrite(fd, "more", 4, 4));
        VAL(pread(fd, buf, 16, 0));
        suite_bytes("child reads", buf, 8);
        _exit(0);
    }
    VAL(unlink(P("f")));
    VAL(close(fd));
    suite_list(P(""));
    suite_tell(go[1]);
    suite_wait("child", pid);
}

static void held_by_other(void)
{
    int go[2], done[2];
    pid_t pid;
    char buf[16] = "";

    pipe(go);
    pipe(done);
    suite_make(P("f"), "kept");
    pid = fork();
    if (pid == 0) {
        int fd = open(P("f"), O_RDONLY);

        suite_tell(done[1]);
        suite_await(go[0]);
        VAL(pread(fd, buf, 16, 0));
        suite_bytes("child reads", buf, 4);
        _exit(0);
    }
    suite_await(done[0]);
    VAL(unlink(P("f")));
    suite_list(P(""));
    suite_tell(go[1]);
    suite_wait("child", pid);
}

SUITE_GROUP(unlink) = {{"plain", plain},
                       {"many_links", many_links},
                       {"held_by_child", held_by_child},
                       {"held_by_other", held_by_other},
                       {NULL, NULL}};
