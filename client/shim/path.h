/* SPDX-License-Identifier: Apache-2.0 */
/*
 * path: the steps that path_resolve (path.c, shim.h) is made of. Texts are absolute, at most SHIM_PATH bytes with the
 * final zero, in buffers of that size.
 */
#ifndef CLIENT_SHIM_PATH_H
#define CLIENT_SHIM_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "client/shim/shim.h"

#pragma GCC visibility push(hidden)

/* ---- texts: path_text.c ---- */
/* Is path the directory top (len bytes) or below it? */
bool path_below(const char *path, const char *top, size_t len);
/* Takes out empty and "." components up to the first ".."; returns where that is (at the slash before it), or NULL when there is
 * none. *slash: the text ended in a slash or ".". */
char *path_clean(char *path, bool *slash);
/* dir (dir_len bytes), a slash and rest become to, which may be where dir or rest is. 0 or -ENAMETOOLONG. */
int path_join(char *to, const char *dir, size_t dir_len, const char *rest);
/* The descriptor of this process a path under /proc or /dev names, or -1. *rest is what follows: "" or "/...". */
int path_names_fd(const char *path, const char **rest);
/* A process's working directory as /proc names it. *rest is what follows: "" or "/...". */
bool path_names_cwd(const char *path, const char **rest);
/* /proc/PID/fd/N with nothing behind it. */
bool path_names_others_fd(const char *path);

/* ---- folders that were there a moment ago: path_dirs.c ---- */
/* Any thread. A name is forgotten after two seconds, and when the run renames or removes anything. */
bool path_dir_cached(const char *path, struct nfs_fh *fh);
void path_dir_remember(const char *path, const struct nfs_fh *fh);
void path_dir_drop(const char *path);

/* ---- the working directory: cwd.c ---- */
/* As the kernel has it; its length without the final zero, or -errno. */
int path_kernel_cwd(char *buf, size_t size);
/* Where a working directory was that the run has removed; 0: it is there, or never was in a volume; or -errno. */
int path_gone_cwd(char *buf, size_t size);

/* ---- links: path_link.c ---- */
/* Replaces the link that ends at used bytes of path by its target, keeping what follows. 0 or -errno. */
int path_link(char *path, size_t used, const struct mount *mount, const struct nfs_fh *link);
/* path[0..at) is followed by "..": makes it the parent of where it really leads. depth: how many of these are at work. 0 or
 * -errno. */
int path_up(char *path, char *at, int depth);
/* Follows the first symbolic link in a local path, at its end too if last_too. 1: path was rewritten; 0: there is none;
 * -errno. */
int path_local_link(char *path, bool last_too);

#pragma GCC visibility pop

#endif
