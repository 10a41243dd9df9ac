/* SPDX-License-Identifier: Apache-2.0 */
/*
 * suite: system calls tried one by one in a folder, with every result printed.
 *
 * The program knows no right answers. It is run in a folder of a local file system and in one of a volume, and the
 * two outputs are compared line by line (tests/shim/compare). So a line holds nothing that differs from run to run:
 * no times, no inode numbers, no descriptors, no process ids.
 *
 * Each case has an empty folder of its own and runs in a process of its own; a crash or a hang ends that case only.
 */
#ifndef TESTS_SHIM_SUITE_H
#define TESTS_SHIM_SUITE_H

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

struct suite_case {
    const char *name;
    void (*run)(void);
};

/* One table per file, ended by a NULL name; suite.c lists them. */
#define SUITE_GROUP(group) const struct suite_case suite_##group[]
extern SUITE_GROUP(open), suite_rw[], suite_seek[], suite_stat[], suite_access[], suite_dirs[], suite_unlink[],
    suite_rename[], suite_link[], suite_attr[], suite_trunc[], suite_readdir[], suite_fds[], suite_inherit[],
    suite_locks[], suite_map[], suite_lazy[], suite_stored[], suite_exec[], suite_path[], suite_poll[], suite_copy[], suite_misc[],
    suite_threads[], suite_stdio[];

/* Absolute path of a name in the case's folder; L() in a folder that is always local. A few at a time are valid. */
const char *P(const char *name);
const char *L(const char *name);
extern const char *suite_self; /* path of this program */

/* "  text = value", or the errno's name when the value is -1. Returns the value. */
long suite_value(const char *text, long value);
/* The same without the value: "ok" or the errno's name. */
int suite_ok(const char *text, long value);
/* A line of one's own. */
void suite_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Bytes as text: printable ones as they are, runs of one byte shortened, at the end a length. */
void suite_bytes(const char *text, const void *data, long size);

#define VAL(call) suite_value(#call, (long)(call))
#define OK(call) suite_ok(#call, (long)(call))

/* A file made of the given text; the whole of a file, shown; type, mode, links, size and owner of a file, shown. */
void suite_make(const char *path, const char *text);
void suite_show(const char *path);
void suite_stat_show(const char *text, const struct stat *st);
void suite_lstat(const char *path);
/* The sorted names of a folder, shown with their types. */
void suite_list(const char *path);
/* size bytes of which each is known from its offset. */
void suite_fill(void *data, size_t size, long offset);
bool suite_filled(const void *data, size_t size, long offset);
/* Waits for a child; shows its exit status or signal. */
void suite_wait(const char *text, pid_t pid);
/* A byte through a pipe, to take turns. */
void suite_tell(int fd);
void suite_await(int fd);

#endif
