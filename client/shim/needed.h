/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Libraries that a program is linked with and that lie in volumes.
 *
 * The dynamic linker of a new program opens them before this library is in it, with the kernel's eyes. So they are
 * found before the exec, as the linker would (ld.so(8)): by the DT_RPATH of the object that needs them and of those that needed
 * that one, by LD_LIBRARY_PATH, by the object's own DT_RUNPATH. What is found in a volume is copied into a memfd that the
 * program inherits; a folder of the run directory has links to these by the libraries' names, and LD_LIBRARY_PATH
 * begins with it. Folders of volumes in LD_LIBRARY_PATH are named by their mirrors (cwd.c), empty folders of ours: the linker, which
 * believes from the start of a program on that a folder is not there, so still looks there when the program asks for a library later.
 *
 * Invariants (needed.c):
 *  1. A name that the linker finds in a local folder which comes first is not taken from a volume.
 *  2. Before main, LD_LIBRARY_PATH is again what the caller of exec gave, here and in /proc/self/environ; descriptors, links and folder are gone.
 *  3. An exec that fails leaves nothing behind. A program that the linker gives up leaves the folder of links, until the run ends.
 *  4. The program's and its libraries' bytes are hostile: every offset is checked, every loop and every allocation has a bound.
 *
 * Not looked at: what libraries on the local machine are linked with, and names with a slash in them.
 */
#ifndef CLIENT_SHIM_NEEDED_H
#define CLIENT_SHIM_NEEDED_H

#include <stdbool.h>
#include <stddef.h>

#define NEEDED_MAX 256 /* libraries of one program */

#pragma GCC visibility push(hidden)

/*
 * Prepares the program behind fd, which the caller opened for reading. path: its absolute name, or NULL, then it has no
 * $ORIGIN; env is what it will get. alloc gives memory that lasts until the exec. On success (0) *with is the environment to use: env
 * itself if nothing was needed. Otherwise -errno: nothing was prepared, and *with is env.
 */
int needed_prepare(int fd, const char *path, char **env, void *(*alloc)(size_t), char ***with);

/* The exec with this environment, another one than env, failed: takes everything back. */
void needed_drop(char **with);

/* Does env's LD_LIBRARY_PATH name a folder in a volume? Then local programs may need libraries in volumes, too. */
bool needed_by_env(char *const *env);

/* In the new program, before main: invariant 2; and the linker's names of these libraries become those in the volume. */
void needed_take(void);

#pragma GCC visibility pop

#endif
