/* SPDX-License-Identifier: Apache-2.0
 * link: hard links, symbolic links, readlink.
 */
#include "tests/shim/suite.h"

static void hard(void)
{
    int d;

    suite_make(P("a"), "aa");
    mkdir(P("d"), 0755);
    symlink("a", P("s"));
    VAL(link(P("a"), P("b")));
    suite_lstat(P("a"));
    suite_lstat(P("b"));
    VAL(link(P("a"), P("b")));
    VAL(link(P("none"), P("c")));
    VAL(link(P("a"), P("none/c")));
    VAL(link(P("d"), P("e")));
    VAL(link(P("s"), P("t")));
    suite_lstat(P("t"));
    VAL(linkat(AT_FDCWD, P("s"), AT_FDCWD, P("u"), AT_SYMLINK_FOLLOW));
    suite_lstat(P("u"));
    d = open(P("d"), O_RDONLY);
    VAL(linkat(d, "../a", d, "v", 0));
    VAL(linkat(open(P("a"), O_RDONLY), "", d, "w", AT_EMPTY_PATH));
    VAL(linkat(d, "v", d, "x", 0x40000000));
    VAL(link(P("a/"), P("y")));
    VAL(link(P("a"), P("y/")));
    suite_make(P("b"), "by b");
    suite_show(P("a"));
    suite_list(P(""));
    suite_list(P("d"));
}

static void soft(void)
{
    char text[5000], buf[5000];
    int d;

    VAL(symlink("target/of a link", P("s")));
    VAL(readlink(P("s"), buf, sizeof(buf)));
    suite_bytes("s", buf, 16);
    VAL(readlink(P("s"), buf, 6));
    suite_bytes("s", buf, 6);
    VAL(readlink(P("s"), buf, 0));
    suite_lstat(P("s"));
    VAL(symlink("x", P("s")));
    VAL(symlink("", P("empty")));
    VAL(symlink("x", P("none/s")));
    VAL(symlink("x", P("new/")));
    suite_make(P("f"), "x");
    VAL(readlink(P("f"), buf, sizeof(buf)));
    VAL(readlink(P("none"), buf, sizeof(buf)));
    VAL(readlink(P(""), buf, sizeof(buf)));
    VAL(readlink(P("f/x"), buf, sizeof(buf)));
    memset(text, 't', sizeof(text));
    text[4095] = 't';
    text[4096] = 0;
    VAL(symlink(text, P("longer")));
    text[1000] = 0;
    VAL(symlink(text, P("middling")));
    VAL(readlink(P("middling"), buf, sizeof(buf)));
    d = open(P(""), O_RDONLY);
    VAL(symlinkat("f", d, "viafd"));
    VAL(readlinkat(d, "viafd", buf, sizeof(buf)));
    VAL(readlinkat(d, "f", buf, sizeof(buf)));
    VAL(symlink("/etc/hostname", P("abs")));
    VAL(readlink(P("abs"), buf, sizeof(buf)));
}

static void followed(void)
{
    char name[16], target[16];

    mkdir(P("d"), 0755);
    mkdir(P("d/e"), 0755);
    suite_make(P("f"), "f");
    suite_make(P("d/e/g"), "g");
    symlink("d/e", P("to_e"));
    symlink("../../f", P("d/e/up"));
    symlink("to_e/up", P("twice"));
    symlink("to_e/", P("slash"));
    symlink(".", P("dot"));
    symlink(P("f"), P("absolute"));
    suite_show(P("to_e/g"));
    suite_show(P("to_e/up"));
    suite_show(P("twice"));
    suite_show(P("slash/g"));
    suite_show(P("dot/dot/dot/f"));
    suite_show(P("absolute"));
    suite_show(P("to_e/../e/g"));
    suite_list(P("to_e"));
    suite_list(P("to_e/"));
    for (int i = 0; i < 41; i++) {
        snprintf(name, sizeof(name), "c%d", i + 1);
        snprintf(target, sizeof(target), i == 0 ? "f" : "c%d", i);
        symlink(target, P(name));
    }
    OK(open(P("c40"), O_RDONLY));
    OK(open(P("c41"), O_RDONLY));
    VAL(mkdir(P("to_e/h"), 0755));
    VAL(unlink(P("to_e/g")));
    VAL(unlink(P("to_e/")));
    VAL(rename(P("to_e/h"), P("dot/h")));
    suite_list(P(""));
}

SUITE_GROUP(link) = {{"hard", hard}, {"soft", soft}, {"followed", followed}, {NULL, NULL}};
