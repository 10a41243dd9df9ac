/* SPDX-License-Identifier: Apache-2.0
 * rename: rename, renameat, renameat2 with its flags; over files, folders, open files; across file systems.
 */
#include "tests/shim/suite.h"

static void files(void)
{
    int fd;

    suite_make(P("a"), "aa");
    suite_make(P("b"), "bbb");
    fd = open(P("b"), O_RDONLY);
    VAL(rename(P("a"), P("b")));
    suite_show(P("b"));
    VAL(pread(fd, (char[8]){0}, 8, 0)); /* the replaced file is still there for who has it open */
    VAL(rename(P("b"), P("b")));
    VAL(rename(P("none"), P("c")));
    VAL(rename(P("b"), P("none/c")));
    VAL(rename(P("b"), P("c/")));
    VAL(rename(P("b/"), P("c")));
    VAL(rename(P("b"), P("c")));
    link(P("c"), P("d"));
    VAL(rename(P("c"), P("d"))); /* two names of one file: nothing happens */
    suite_list(P(""));
    symlink("c", P("s"));
    VAL(rename(P("s"), P("t")));
    suite_lstat(P("t"));
    VAL(rename(P("d"), P("t")));
    suite_list(P(""));
    VAL(rename("", P("x")));
    VAL(rename(P("c"), ""));
}

static void folders(void)
{
    mkdir(P("a"), 0755);
    mkdir(P("a/sub"), 0755);
    suite_make(P("a/f"), "x");
    mkdir(P("empty"), 0755);
    mkdir(P("full"), 0755);
    suite_make(P("full/f"), "x");
    suite_make(P("f"), "x");
    VAL(rename(P("a"), P("full")));
    VAL(rename(P("a"), P("f")));
    VAL(rename(P("f"), P("a")));
    VAL(rename(P("f"), P("empty")));
    VAL(rename(P("a"), P("a/sub/b")));
    VAL(rename(P("a/sub"), P("a")));
    VAL(rename(P("a"), P("empty")));
    suite_list(P("empty"));
    VAL(rename(P("empty/"), P("b/")));
    suite_list(P(""));
    VAL(rename(P("b/sub"), P("sub")));
    suite_lstat(P("b"));
    suite_lstat(P("sub"));
    VAL(rename(P("b/."), P("c")));
    VAL(rename(P("b"), P("sub/..")));
}

static void flags(void)
{
    int d;

    suite_make(P("a"), "aa");
    suite_make(P("b"), "bbb");
    mkdir(P("d"), 0755);
    suite_make(P("d/in"), "in");
    d = open(P("d"), O_RDONLY);
    VAL(renameat2(AT_FDCWD, P("a"), AT_FDCWD, P("b"), RENAME_NOREPLACE));
    VAL(renameat2(AT_FDCWD, P("a"), AT_FDCWD, P("c"), RENAME_NOREPLACE));
    VAL(renameat2(AT_FDCWD, P("c"), AT_FDCWD, P("b"), RENAME_EXCHANGE | RENAME_NOREPLACE));
    VAL(renameat2(AT_FDCWD, P("c"), AT_FDCWD, P("b"), 0x80));
    VAL(renameat2(AT_FDCWD, P("b"), AT_FDCWD, P("z"), 0));
    VAL(renameat(AT_FDCWD, P("z"), d, "moved"));
    suite_list(P(""));
    suite_list(P("d"));
}

static void exchange(void)
{
    suite_make(P("a"), "aa");
    suite_make(P("b"), "bbb");
    VAL(renameat2(AT_FDCWD, P("a"), AT_FDCWD, P("b"), RENAME_EXCHANGE));
    VAL(renameat2(AT_FDCWD, P("a"), AT_FDCWD, P("none"), RENAME_EXCHANGE));
    suite_list(P(""));
}

static void across(void)
{
    suite_make(P("a"), "aa");
    suite_make(L("b"), "bb");
    mkdir(P("d"), 0755);
    VAL(link(P("a"), P("a2")));
    suite_list(P(""));
    suite_list(L(""));
}

static void open_file(void)
{
    struct stat before, after;
    int fd = open(P("a"), O_RDWR | O_CREAT, 0644);

    VAL(write(fd, "one", 3));
    VAL(rename(P("a"), P("b")));
    VAL(write(fd, "two", 3));
    suite_show(P("b"));
    fstat(fd, &before);
    VAL(stat(P("b"), &after));
    VAL(before.st_ino == after.st_ino);
    suite_make(P("c"), "cc");
    VAL(rename(P("c"), P("b")));
    VAL(write(fd, "three", 5));
    VAL(fstat(fd, &after));
    VAL(after.st_nlink);
    VAL(after.st_size);
    suite_show(P("b"));
    for (int i = 0; i < 20; i++) { /* as programs save: write a new file, rename it over the old one */
        char text[16];

        snprintf(text, sizeof(text), "version %d", i);
        suite_make(P("new"), text);
        if (rename(P("new"), P("b")) != 0)
            suite_say("rename failed");
        fd = open(P("b"), O_RDONLY);
        char got[16] = "";
        read(fd, got, 15);
        close(fd);
        if (strcmp(got, text) != 0)
            suite_say("%s instead of %s", got, text);
    }
    suite_show(P("b"));
}

SUITE_GROUP(rename) = {{"files", files},   {"folders", folders},     {"flags", flags},
                       {"exchange", exchange}, {"across", across}, {"open_file", open_file}, {NULL, NULL}};
