/* SPDX-License-Identifier: Apache-2.0
 * exec: programs and scripts in the folder, refusals, vfork, posix_spawn, dlopen.
 */
#include "tests/shim/suite.h"

#include <dlfcn.h>
#include <spawn.h>
#include <sys/sendfile.h>

int suite_helper(int argc, char **argv);

extern char **environ;

/* What the cases start. */
int suite_helper(int argc, char **argv)
{
    char buf[64] = "", cwd[4096] = "";

    if (strcmp(argv[0], "fds") == 0 && argc == 3) {
        VAL(read(atoi(argv[1]), buf, 3));
        suite_bytes("helper read", buf, 3);
        VAL(write(atoi(argv[1]), "HE", 2));
        VAL(fcntl(atoi(argv[2]), F_GETFD));
        return 0;
    }
    if (strcmp(argv[0], "args") == 0) {
        for (int i = 1; i < argc; i++)
            suite_say("argument %s", argv[i]);
        suite_say("variable %s", getenv("SUITE_VARIABLE") != NULL ? getenv("SUITE_VARIABLE") : "unset");
        suite_say("cwd %s", getcwd(cwd, sizeof(cwd)));
        return 7;
    }
    return 1;
}

static void copy_self(const char *to)
{
    struct stat st;
    int in = open(suite_self, O_RDONLY), out = open(to, O_WRONLY | O_CREAT, 0755);

    fstat(in, &st);
    while (st.st_size > 0) {
        ssize_t n = sendfile(out, in, NULL, (size_t)st.st_size);

        if (n <= 0) {
            suite_say("cannot copy the program: %s", strerrorname_np(errno));
            break;
        }
        st.st_size -= n;
    }
    close(in);
    close(out);
}

static void run(const char *text, const char *path, char *const argv[])
{
    pid_t pid = fork();

    if (pid == 0) {
        execv(path, argv);
        suite_say("%s: exec: %s", text, strerrorname_np(errno));
        _exit(99);
    }
    suite_wait(text, pid);
}

static void program(void)
{
    char *argv[] = {"prog", "helper", "args", "one", "two words", NULL};
    pid_t pid;

    copy_self(P("prog"));
    suite_lstat(P("prog"));
    setenv("SUITE_VARIABLE", "kept", 1);
    chdir(P(""));
    run("absolute", P("prog"), argv);
    run("relative", "./prog", argv);
    symlink("prog", "link");
    run("by a link", P("link"), argv);
    symlink(P("prog"), L("link"));
    run("by a local link", L("link"), argv);
    mkdir("bin", 0755);
    rename("prog", "bin/prog");
    setenv("PATH", P("bin"), 1);
    pid = fork();
    if (pid == 0) {
        execvp("prog", argv);
        _exit(99);
    }
    suite_wait("by PATH", pid);
    pid = fork();
    if (pid == 0) {
        char dir[4200], local[4200], *env[] = {dir, local, "SUITE_VARIABLE=new", NULL};

        snprintf(dir, sizeof(dir), "SUITE_DIR=%s", getenv("SUITE_DIR"));
        snprintf(local, sizeof(local), "SUITE_LOCAL=%s", getenv("SUITE_LOCAL"));

        execve(P("bin/prog"), (char *[]){"prog", "helper", "args", NULL}, env);
        _exit(99);
    }
    suite_wait("bare environment", pid);
    pid = fork();
    if (pid == 0) {
        fexecve(open("bin/prog", O_RDONLY), argv, environ);
        _exit(99);
    }
    suite_wait("fexecve", pid);
}

static void script(void)
{
    char *argv[] = {"s", "a b", "c", NULL};
    char long_line[200];

    suite_make(P("s"), "#!/bin/sh\necho \"  script $0 $# $1 $2\"\nexit 5\n");
    run("not executable", P("s"), argv);
    chmod(P("s"), 0755);
    run("sh", P("s"), argv);
    chdir(P(""));
    run("relative", "./s", argv);
    suite_make(P("e"), "#! /usr/bin/env  sh -x\necho no\n");
    chmod(P("e"), 0755);
    suite_make(P("cat"), "#!/bin/cat\nshown by cat\n");
    chmod(P("cat"), 0755);
    run("cat", P("cat"), (char *[]){"cat", NULL});
    snprintf(long_line, sizeof(long_line), "#!%s\nignored\n", P("s"));
    suite_make(P("nested"), long_line);
    chmod(P("nested"), 0755);
    run("interpreter in the folder", P("nested"), argv);
    suite_make(P("gone"), "#!/none/sh\n");
    chmod(P("gone"), 0755);
    run("no interpreter", P("gone"), argv);
    suite_make(P("empty"), "");
    chmod(P("empty"), 0755);
    run("empty", P("empty"), argv);
    suite_make(P("text"), "echo text\n");
    chmod(P("text"), 0755);
    run("no #!", P("text"), argv);
    suite_make(P("loop"), "");
    snprintf(long_line, sizeof(long_line), "#!%s\n", P("loop"));
    suite_make(P("loop"), long_line);
    chmod(P("loop"), 0755);
    run("its own interpreter", P("loop"), argv);
    suite_make(L("local"), "");
    snprintf(long_line, sizeof(long_line), "#!%s\n", P("s"));
    suite_make(L("local"), long_line);
    chmod(L("local"), 0755);
    run("local script, interpreter in the folder", L("local"), argv);
    run("none", P("none"), argv);
    run("a folder", P(""), argv);
    run("under a file", P("s/x"), argv);
    VAL(system("./s x y"));
}

static void spawned(void)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    char *argv[] = {"sh", "-c", "cat; echo spawned; pwd", NULL};

    suite_make(P("in"), "input\n");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, P("in"), O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, P("out"), O_WRONLY | O_CREAT, 0644);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawn_file_actions_addchdir_np(&actions, P(""));
    if (posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ) != 0)
        suite_say("cannot spawn");
    suite_wait("spawned", pid);
    suite_show(P("out"));
    posix_spawn_file_actions_addopen(&actions, 0, P("none"), O_RDONLY, 0);
    VAL(posix_spawn(&pid, "/bin/sh", &actions, NULL, argv, environ));
    VAL(posix_spawn(&pid, P("none"), NULL, NULL, argv, environ));
    copy_self(P("prog"));
    if (posix_spawn(&pid, P("prog"), NULL, NULL, (char *[]){"prog", "helper", "args", "x", NULL}, environ) != 0)
        suite_say("cannot spawn");
    suite_wait("spawned", pid);
}

static void vforked(void)
{
    int fd;
    pid_t pid;

    suite_make(P("in"), "0123456789");
    fd = open(P("in"), O_RDONLY);
    pid = vfork();
    if (pid == 0) {
        int out = open(P("out"), O_WRONLY | O_CREAT, 0644);

        dup2(out, 1);
        dup2(fd, 0);
        close(out);
        close(fd);
        execl("/bin/cat", "cat", NULL);
        _exit(9);
    }
    suite_wait("vfork", pid);
    suite_show(P("out"));
    VAL(lseek(fd, 0, SEEK_CUR)); /* still the parent's */
    VAL(lseek(fd, 5, SEEK_SET));
    pid = vfork();
    if (pid == 0) {
        execl(P("none"), "none", NULL);
        _exit(4);
    }
    suite_wait("vfork", pid);
    VAL(read(fd, (char[16]){0}, 16));
    FILE *p = popen("cat", "w");
    fputs("", p);
    VAL(pclose(p));
}

static void libraries(void)
{
    char command[9000];
    int (*fn)(int);
    void *lib;

    suite_make(P("lib.c"), "int twice(int x) { return 2 * x; }\n");
    snprintf(command, sizeof(command), "cd '%s' && cc -shared -fPIC -o libtwice.so lib.c", P(""));
    VAL(system(command));
    lib = dlopen(P("libtwice.so"), RTLD_NOW);
    suite_say("dlopen: %s", lib != NULL ? "ok" : dlerror());
    if (lib != NULL) {
        fn = (int (*)(int))dlsym(lib, "twice");
        VAL(fn(21));
        VAL(dlopen(P("libtwice.so"), RTLD_NOW) == lib);
        VAL(dlclose(lib));
    }
    VAL(dlopen(P("none.so"), RTLD_NOW) == NULL);
    VAL(dlopen(P("lib.c"), RTLD_NOW) == NULL);
    snprintf(command, sizeof(command),
             "cd '%s' && printf 'int twice(int); int main(void) { return twice(4); }' >m.c && cc -o m m.c -L. -ltwice "
             "-Wl,-rpath,'$ORIGIN' && ./m 2>/dev/null", P(""));
    VAL(system(command) >> 8);
}

SUITE_GROUP(exec) = {{"program", program}, {"script", script},       {"spawn", spawned},
                     {"vfork", vforked},   {"libraries", libraries}, {NULL, NULL}};
