/* SPDX-License-Identifier: Apache-2.0
 * path: chdir, fchdir, getcwd, `..` out of the folder, symbolic links in both directions, realpath.
 */
#include "tests/shim/suite.h"

#include <limits.h>

static void cwd(const char *text)
{
    char buf[PATH_MAX];

    suite_say("%s: cwd %s", text, getcwd(buf, sizeof(buf)) != NULL ? buf : strerrorname_np(errno));
}

static void changing(void)
{
    char small[4], *heap;
    int d, f;

    mkdir(P("a"), 0755);
    mkdir(P("a/b"), 0755);
    suite_make(P("a/f"), "f");
    symlink("a/b", P("s"));
    VAL(chdir(P("a")));
    cwd("a");
    VAL(chdir("b"));
    cwd("a/b");
    VAL(chdir(".."));
    cwd("..");
    VAL(chdir("./b/../b/."));
    cwd("dots");
    VAL(chdir(P("s")));
    cwd("link");
    VAL(chdir(P("none")));
    VAL(chdir(P("a/f")));
    VAL(chdir(P("a/f/x")));
    cwd("unchanged");
    d = open(P("a"), O_RDONLY);
    f = open(P("a/f"), O_RDONLY);
    VAL(fchdir(d));
    cwd("fchdir");
    VAL(fchdir(f));
    VAL(fchdir(99));
    errno = 0;
    VAL(getcwd(small, sizeof(small)) == NULL ? errno : 0);
    heap = get_current_dir_name();
    suite_say("%s", heap);
    free(heap);
    suite_show("f");
    suite_list(".");
    suite_list("b");
    VAL(rename(P("a"), P("z")));
    suite_show("f");
    cwd("renamed");
    VAL(chdir("/"));
    cwd("root");
    VAL(chdir(L("")));
    cwd("local");
    suite_make("here", "local");
    suite_list(".");
    VAL(fchdir(d));
    suite_show("f");
    pid_t pid = fork();
    if (pid == 0) {
        cwd("child");
        chdir("b");
        cwd("child");
        _exit(0);
    }
    suite_wait("child", pid);
    cwd("parent");
}

static void outside(void)
{
    char up[PATH_MAX] = "";
    struct stat a, b;

    mkdir(P("d"), 0755);
    chdir(P("d"));
    for (int i = 0; i < 20; i++)
        strcat(up, "../");
    strcat(up, "etc/passwd");
    VAL(access(up, R_OK));
    OK(open(up, O_RDONLY));
    VAL(stat(up, &a) + stat("/etc/passwd", &b));
    VAL(a.st_ino == b.st_ino);
    VAL(access(P(up), R_OK));
    VAL(access("/../../etc/passwd", R_OK));
    VAL(chdir("../../../../../../../../../../.."));
    cwd("up");
    VAL(stat(".", &a) + stat("/", &b));
    VAL(a.st_ino == b.st_ino);
    VAL(access("/etc/../etc/passwd", R_OK));
    VAL(chdir("/etc"));
    snprintf(up, sizeof(up), "..%s", P("d"));
    VAL(access(up, F_OK));
    VAL(chdir(up));
    cwd("back in");
    snprintf(up, sizeof(up), "/etc/..%s", P("new"));
    OK(open(up, O_RDWR | O_CREAT, 0644));
    VAL(mkdir("../e", 0755));
    VAL(rename("../new", "new"));
    suite_list(".");
    suite_list("..");
}

static void links(void)
{
    mkdir(P("d"), 0755);
    suite_make(P("d/f"), "ours");
    suite_make(L("g"), "local");
    VAL(symlink(P("d"), L("in")));
    VAL(symlink(P("d/f"), L("file")));
    VAL(symlink(L(""), P("out")));
    VAL(symlink(L("g"), P("gfile")));
    VAL(symlink(L("in"), P("roundtrip")));
    suite_show(L("in/f"));
    suite_show(L("file"));
    suite_show(P("out/g"));
    suite_show(P("gfile"));
    suite_show(P("out/in/f"));
    suite_show(P("roundtrip/f"));
    suite_show(L("in/../d/f"));
    suite_list(L("in"));
    suite_list(L("in/"));
    suite_list(P("out/"));
    suite_list(P("roundtrip/"));
    suite_lstat(L("in"));
    suite_lstat(P("out"));
    suite_lstat(P("out/g"));
    suite_make(L("in/made"), "through a local link");
    suite_show(P("d/made"));
    suite_make(P("out/made"), "through our link");
    suite_show(L("made"));
    OK(open(L("file"), O_RDONLY | O_NOFOLLOW));
    VAL(rename(L("in/made"), P("d/moved")));
    VAL(unlink(L("in/moved")));
    VAL(chdir(L("in")));
    cwd("by a local link");
    VAL(chdir(P("out")));
    cwd("by our link");
    VAL(unlink(L("in")));
    suite_list(P("d"));
    VAL(access(P("d/f"), F_OK));
}

static void real(void)
{
    static const char *const names[] = {"", "d", "s", "d/../s/./", "none", "f/x", "d/none"};
    char buf[PATH_MAX];

    mkdir(P("d"), 0755);
    suite_make(P("f"), "x");
    symlink("d", P("s"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        suite_say("realpath %s: %s", names[i], realpath(P(names[i]), buf) != NULL ? buf : strerrorname_np(errno));
    chdir(P("s"));
    suite_say("realpath .: %s", realpath(".", buf) != NULL ? buf : strerrorname_np(errno));
    suite_say("realpath ../f: %s", realpath("../f", buf) != NULL ? buf : strerrorname_np(errno));
}

static void as_child(void (*run)(void))
{
    pid_t pid = fork();

    if (pid == 0) {
        run();
        _exit(0);
    }
    waitpid(pid, NULL, 0);
}

static void link_in(void)
{
    rmdir(L("x"));
    symlink(P("d"), L("x"));
}

static void link_file(void)
{
    symlink(P("d/f"), L("late"));
}

static void link_moved(void)
{
    symlink(P("d"), L("aside"));
    rmdir(L("y"));
    rename(L("aside"), L("y"));
}

/* What was not there a moment ago is seen at once when a link leads there now, whoever made it. */
static void replaced(void)
{
    mkdir(P("d"), 0755);
    suite_make(P("d/f"), "ours");
    mkdir(L("x"), 0755);
    mkdir(L("y"), 0755);
    VAL(access(L("x/f"), F_OK));
    as_child(link_in);
    VAL(access(L("x/f"), F_OK));
    VAL(access(L("late"), F_OK));
    as_child(link_file);
    VAL(access(L("late"), F_OK));
    VAL(access(L("y/f"), F_OK));
    as_child(link_moved);
    VAL(access(L("y/f"), F_OK));
    suite_show(L("y/f"));
}

static void link_text(const char *path)
{
    char buf[PATH_MAX];
    long n = readlink(path, buf, sizeof(buf));

    suite_say("-> %.*s", n < 0 ? 20 : (int)n, n < 0 ? strerrorname_np(errno) : buf);
}

/* Names that /proc has for what is open and where one stands. */
static void proc(void)
{
    char name[64], other[64];
    int f, d, up[2];

    mkdir(P("d"), 0755);
    mkdir(P("d/e"), 0755);
    suite_make(P("d/f"), "through proc");
    f = open(P("d/f"), O_RDWR);
    d = open(P("d"), O_RDONLY);
    snprintf(name, sizeof(name), "/proc/self/fd/%d", f);
    link_text(name);
    suite_show(name);
    OK(open(name, O_RDONLY | O_NOFOLLOW));
    VAL(truncate(name, 7));
    suite_show(P("d/f"));
    snprintf(name, sizeof(name), "/proc/self/fd/%d/f", d);
    suite_show(name);
    snprintf(name, sizeof(name), "/proc/self/fd/%d/..", d);
    suite_list(name);
    VAL(chdir(P("d")));
    link_text("/proc/self/cwd");
    link_text("/proc/thread-self/cwd");
    suite_show("/proc/self/cwd/f");
    suite_list("/proc/self/cwd");
    suite_list("/proc/self/cwd/");
    suite_list("/proc/self/cwd/..");
    OK(open("/proc/self/cwd/new", O_RDWR | O_CREAT, 0644));
    VAL(unlink("/proc/self/cwd/new"));
    VAL(chdir("/proc/self/cwd/e"));
    cwd("by proc");
    pipe(up);
    snprintf(other, sizeof(other), "/proc/%d/cwd", getpid());
    if (fork() == 0) {
        chdir("/");
        link_text(other);
        strcat(other, "/../f");
        VAL(truncate(other, 3));
        suite_tell(up[1]);
        _exit(0);
    }
    suite_await(up[0]);
    wait(NULL);
    suite_show("../f");
    VAL(chdir("/"));
    link_text("/proc/self/cwd");
    VAL(access("/proc/self/cwd/etc/passwd", R_OK));
}

/* The folder one stands in is renamed, replaced and removed, also by others of the run. */
static void moved(void)
{
    mkdir(P("a"), 0755);
    mkdir(P("a/b"), 0755);
    mkdir(P("c"), 0755);
    suite_make(P("a/b/f"), "f");
    VAL(chdir(P("a/b")));
    VAL(rename(P("a"), P("c/z")));
    cwd("renamed above");
    suite_show("f");
    suite_show("../b/f");
    suite_list("../..");
    if (fork() == 0) {
        rename(P("c/z/b"), P("b"));
        _exit(0);
    }
    wait(NULL);
    cwd("by a child");
    suite_show("f");
    VAL(chdir(".."));
    suite_list(".");
    mkdir(P("c/empty"), 0755);
    VAL(chdir(P("c/empty")));
    VAL(rename(P("b"), P("c/empty"))); /* takes its place */
    cwd("replaced");
    VAL(access("f", F_OK));
    VAL(chdir(P("c/empty")));
    cwd("the new one");
    suite_show("f");
    unlink("f");
    VAL(rmdir("../empty"));
    cwd("removed");
    OK(open("f", O_RDWR | O_CREAT, 0644));
    VAL(mkdir("d", 0755));
    VAL(access("..", F_OK));
    suite_list("..");
    suite_list("../z");
    VAL(mkdir(P("c/empty"), 0755)); /* another one of that name */
    cwd("still removed");
    OK(open("f", O_RDWR | O_CREAT, 0644));
    VAL(chdir(".."));
    cwd("up");
    VAL(chdir("empty"));
    cwd("down");
}

SUITE_GROUP(path) = {{"changing", changing}, {"outside", outside}, {"links", links}, {"real", real},
                     {"replaced", replaced}, {"proc", proc},       {"moved", moved}, {NULL, NULL}};
