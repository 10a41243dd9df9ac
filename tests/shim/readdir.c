/* SPDX-License-Identifier: Apache-2.0
 * readdir: getdents64, telldir, seekdir, rewinddir; folders that change while they are read.
 */
#include "tests/shim/suite.h"

#include <dirent.h>
#include <sys/syscall.h>

static int count(DIR *dir)
{
    int n = 0;

    while (readdir(dir) != NULL)
        n++;
    return n;
}

static void plain(void)
{
    char buf[8];
    struct stat st;
    DIR *dir;
    int d;

    suite_list(P(""));
    suite_make(P("f"), "x");
    mkdir(P("d"), 0755);
    symlink("f", P("s"));
    mkfifo(P("p"), 0644);
    suite_make(P(".hidden"), "x");
    suite_list(P(""));
    suite_list(P("none"));
    suite_list(P("f"));
    dir = opendir(P(""));
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.' && (lstat(P(e->d_name), &st) != 0 || st.st_ino != e->d_ino))
            suite_say("%s: the inode number differs from lstat's", e->d_name);
    closedir(dir);
    d = open(P(""), O_RDONLY);
    VAL(syscall(SYS_getdents64, d, buf, 8));
    VAL(syscall(SYS_getdents64, open(P("f"), O_RDONLY), buf, 8));
    VAL(syscall(SYS_getdents64, 99, buf, 8));
    VAL(close(d));
}

static void many(void)
{
    enum { FILES = 3000 };
    static char seen[FILES];
    char name[300];
    long marks[3] = {0};
    char after[3][300];
    int total = 0, twice = 0;
    DIR *dir;

    for (int i = 0; i < FILES; i++) {
        snprintf(name, sizeof(name), "%d.%.*s", i, i % 97, "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz");
        if (mknod(P(name), S_IFREG | 0644, 0) != 0)
            suite_say("cannot make %s: %s", name, strerrorname_np(errno));
    }
    dir = opendir(P(""));
    for (struct dirent *e; (e = readdir(dir)) != NULL; total++) {
        if (e->d_name[0] == '.')
            continue;
        twice += seen[atoi(e->d_name)]++ != 0;
        for (int i = 0; i < 3; i++)
            if (total == 500 + 1000 * i) {
                marks[i] = telldir(dir);
                e = readdir(dir);
                snprintf(after[i], 300, "%s", e->d_name);
                twice += seen[atoi(e->d_name)]++ != 0;
                total++;
                break;
            }
    }
    VAL(total);
    VAL(twice);
    for (int i = 2; i >= 0; i--) {
        seekdir(dir, marks[i]);
        suite_say("after seekdir: %s", strcmp(readdir(dir)->d_name, after[i]) == 0 ? "the same name" : "another name");
    }
    rewinddir(dir);
    VAL(count(dir));
    closedir(dir);
    /* remove while reading, as rm -r does */
    dir = opendir(P(""));
    total = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.')
            total += unlink(P(e->d_name)) == 0;
    VAL(total);
    rewinddir(dir);
    VAL(count(dir));
    closedir(dir);
}

static void changing(void)
{
    DIR *dir;

    suite_make(P("a"), "");
    dir = opendir(P(""));
    VAL(count(dir));
    suite_make(P("b"), "");
    rewinddir(dir);
    VAL(count(dir));
    unlink(P("a"));
    unlink(P("b"));
    rewinddir(dir);
    VAL(count(dir));
    VAL(rmdir(P("")));
    rewinddir(dir);
    VAL(count(dir));
    VAL(closedir(dir));
}

static void by_fd(void)
{
    DIR *one, *two;
    int d, copy;

    for (int i = 0; i < 20; i++) {
        char name[8];

        snprintf(name, sizeof(name), "n%d", i);
        suite_make(P(name), "");
    }
    d = open(P(""), O_RDONLY);
    one = fdopendir(d);
    copy = dup(dirfd(one));
    VAL(count(one));
    two = fdopendir(copy); /* shares the offset: at the end */
    VAL(count(two));
    rewinddir(two);
    VAL(count(two));
    closedir(two);
    VAL(closedir(one));
    VAL(close(d));
    VAL(fdopendir(open(P("n1"), O_RDONLY)) == NULL);
}

SUITE_GROUP(readdir) = {{"plain", plain}, {"many", many}, {"changing", changing}, {"by_fd", by_fd}, {NULL, NULL}};
