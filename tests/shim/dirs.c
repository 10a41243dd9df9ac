/* SPDX-License-Identifier: Apache-2.0
 * dirs: mkdir, rmdir, mknod, and folders that are removed while in use.
 */
#include "tests/shim/suite.h"

#include <sys/sysmacros.h>

static void make(void)
{
    char name[300];
    int d;

    VAL(mkdir(P("d"), 0777));
    suite_lstat(P("d"));
    VAL(mkdir(P("d"), 0755));
    VAL(mkdir(P("d/e/"), 0700));
    suite_lstat(P("d/e"));
    suite_lstat(P("d"));
    VAL(mkdir(P("none/e"), 0755));
    suite_make(P("f"), "x");
    VAL(mkdir(P("f"), 0755));
    VAL(mkdir(P("f/e"), 0755));
    VAL(mkdir(P("d/."), 0755));
    VAL(mkdir(P("d/.."), 0755));
    symlink("none", P("dangling"));
    VAL(mkdir(P("dangling"), 0755));
    VAL(mkdir(P("dangling/"), 0755));
    VAL(mkdir("", 0755));
    memset(name, 'n', 256);
    name[256] = 0;
    VAL(mkdir(P(name), 0755));
    name[255] = 0;
    VAL(mkdir(P(name), 0755));
    d = open(P("d"), O_RDONLY);
    VAL(mkdirat(d, "g", 02755));
    suite_lstat(P("d/g"));
    VAL(mkdirat(d, "../h", 0755));
    VAL(mkdirat(99, "h", 0755));
    umask(0);
    VAL(mkdir(P("sticky"), 01777));
    suite_lstat(P("sticky"));
    umask(022);
    suite_list(P("d"));
}

static void remove_(void)
{
    mkdir(P("d"), 0755);
    suite_make(P("d/f"), "x");
    symlink("d", P("s"));
    VAL(rmdir(P("d")));
    VAL(rmdir(P("d/f")));
    VAL(rmdir(P("none")));
    VAL(rmdir(P("s")));
    VAL(rmdir(P("s/")));
    VAL(rmdir(P("d/.")));
    VAL(rmdir(P("d/..")));
    VAL(unlink(P("d")));
    VAL(unlink(P("d/")));
    VAL(unlink(P("d/f")));
    VAL(rmdir(P("d/")));
    suite_list(P(""));
}

static void removed_in_use(void)
{
    struct stat st;
    char cwd[4096];
    int d;

    mkdir(P("d"), 0755);
    d = open(P("d"), O_RDONLY);
    VAL(rmdir(P("d")));
    VAL(fstat(d, &st));
    VAL(st.st_nlink);
    OK(openat(d, "f", O_RDWR | O_CREAT, 0644));
    OK(openat(d, ".", O_RDONLY));
    VAL(mkdirat(d, "e", 0755));
    suite_list(P(""));
    mkdir(P("w"), 0755);
    VAL(chdir(P("w")));
    VAL(rmdir(P("w")));
    suite_say("getcwd: %s", getcwd(cwd, sizeof(cwd)) != NULL ? cwd : strerrorname_np(errno));
    OK(open("f", O_RDWR | O_CREAT, 0644));
    OK(open(".", O_RDONLY));
}

static void nodes(void)
{
    VAL(mknod(P("f"), S_IFREG | 0644, 0));
    suite_lstat(P("f"));
    VAL(mknod(P("f"), S_IFREG | 0644, 0));
    VAL(mkfifo(P("p"), 0644));
    suite_lstat(P("p"));
    VAL(mknod(P("sock"), S_IFSOCK | 0755, 0));
    suite_lstat(P("sock"));
    VAL(mknod(P("bad"), S_IFDIR | 0755, 0));
    VAL(mknodat(AT_FDCWD, P("none/f"), S_IFREG | 0644, 0));
    suite_list(P(""));
    VAL(unlink(P("p")));
}

static void deep(void)
{
    int made = 0;

    chdir(P(""));
    for (int i = 0; i < 40; i++) {
        made += mkdir("abcdefghijklmnopqrstuvwxyz", 0755) == 0;
        if (chdir("abcdefghijklmnopqrstuvwxyz") != 0)
            break;
    }
    VAL(made);
    suite_make("f", "deep");
    suite_show("f");
    char cwd[8192] = "";
    getcwd(cwd, sizeof(cwd));
    VAL(strlen(cwd) - strlen(P("")));
    VAL(access("../../../../abcdefghijklmnopqrstuvwxyz", F_OK));
    VAL(chdir("../../../../../.."));
    getcwd(cwd, sizeof(cwd));
    VAL(strlen(cwd) - strlen(P("")));
}

SUITE_GROUP(dirs) = {{"make", make},   {"remove", remove_}, {"removed_in_use", removed_in_use},
                     {"nodes", nodes}, {"deep", deep},      {NULL, NULL}};
