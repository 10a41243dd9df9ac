/* SPDX-License-Identifier: Apache-2.0
 * access: access, faccessat, faccessat2, and the effect of mode bits on open, for whoever runs the suite.
 */
#include "tests/shim/suite.h"

#include <sys/syscall.h>

static void plain(void)
{
    int d, f;

    mkdir(P("d"), 0755);
    suite_make(P("d/f"), "abc");
    suite_make(P("d/x"), "#!/bin/true\n");
    chmod(P("d/x"), 0755);
    symlink("none", P("d/dangling"));
    VAL(access(P("d/f"), F_OK));
    VAL(access(P("d/f"), R_OK));
    VAL(access(P("d/f"), W_OK));
    VAL(access(P("d/f"), X_OK));
    VAL(access(P("d/x"), X_OK));
    VAL(access(P("d/x"), R_OK | W_OK | X_OK));
    VAL(access(P("d"), R_OK | W_OK | X_OK));
    VAL(access(P("d/none"), F_OK));
    VAL(access(P("d/f/x"), F_OK));
    VAL(access(P("d/f"), 99));
    VAL(access(P("d/dangling"), F_OK));
    d = open(P("d"), O_RDONLY);
    f = open(P("d/f"), O_RDONLY);
    VAL(faccessat(d, "f", R_OK, 0));
    VAL(faccessat(d, "f", X_OK, AT_EACCESS));
    VAL(faccessat(d, "none", F_OK, 0));
    VAL(faccessat(f, "f", F_OK, 0));
    VAL(faccessat(d, "dangling", F_OK, AT_SYMLINK_NOFOLLOW));
    VAL(syscall(SYS_faccessat2, d, "f", R_OK, AT_EACCESS));
    VAL(syscall(SYS_faccessat2, f, "", R_OK, AT_EMPTY_PATH));
    VAL(syscall(SYS_faccessat2, f, "", X_OK, AT_EMPTY_PATH));
    VAL(syscall(SYS_faccessat2, d, "f", R_OK, 0x40000000));
    VAL(euidaccess(P("d/f"), W_OK));
}

static void bits(void)
{
    static const int modes[] = {0000, 0200, 0400, 0600, 0100, 0111, 0500, 0044};

    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        char name[16];

        snprintf(name, sizeof(name), "m%03o", modes[i]);
        suite_make(P(name), "abc");
        chmod(P(name), (mode_t)modes[i]);
        suite_say("mode %03o", modes[i]);
        VAL(access(P(name), R_OK));
        VAL(access(P(name), W_OK));
        VAL(access(P(name), X_OK));
        OK(open(P(name), O_RDONLY));
        OK(open(P(name), O_WRONLY));
        OK(open(P(name), O_RDWR));
        VAL(truncate(P(name), 1));
    }
    for (int mode = 0; mode <= 0700; mode += 0100) {
        suite_say("folder %03o", mode);
        mkdir(P("d"), 0755);
        suite_make(P("d/f"), "x");
        chmod(P("d"), (mode_t)mode);
        OK(open(P("d"), O_RDONLY));
        OK(open(P("d/f"), O_RDONLY));
        OK(open(P("d/g"), O_RDWR | O_CREAT, 0600));
        VAL(unlink(P("d/f")));
        VAL(access(P("d/f"), F_OK));
        VAL(chdir(P("d")));
        chdir(P(""));
        chmod(P("d"), 0755);
        unlink(P("d/f"));
        unlink(P("d/g"));
        VAL(rmdir(P("d")));
    }
}

SUITE_GROUP(access) = {{"plain", plain}, {"bits", bits}, {NULL, NULL}};
