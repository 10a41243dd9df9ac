/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run: the directory and the shared record of the processes that see the same volumes. Used by the preload
 * library and by `volnfs run`.
 *
 * Every process of a run, the launcher and the agent too, has a shared flock of the record, which its mapping keeps;
 * so have those that it forks. Only between exec and the library's start a process has none; it is listed in the
 * record then. A directory whose record nobody locks, and which lists no process that lives, is dead.
 *
 * Dead directories are removed by whoever makes a run, and by an agent that starts (run_clean):
 *   1. Only directories (not links to them) by the name of a run's, of the same user, that nobody else may enter.
 *   2. Only under the record's exclusive flock, and while the record is the one that stands under that name: who joins
 *      meanwhile waits for the lock, finds the record gone, and makes it anew.
 *   3. Records of other versions, and those that list processes of another pid namespace, stay.
 *   4. A directory without a record stays for an hour; then it goes if there is nothing else in it. A maker that was
 *      stopped in between makes it again.
 *   5. What is removed is first renamed to its name, a dot and a number; such a directory is of no use to anybody.
 *
 * The directory (mode 0700) holds `state` (struct run, mapped by all), `cwd/` (mirrors of working directories in
 * volumes) and the door's site tables.
 */
#ifndef CLIENT_SHIM_RUN_H
#define CLIENT_SHIM_RUN_H

#include <stddef.h>

struct run;

/* "127.0.0.1:2049", "[::1]:2049", or without a port (2049): numeric. 0 or -EINVAL. */
int run_parse_server(const char *text, char *host, size_t size, unsigned *port);

#define RUN_PREFIX "volnfs-run-" /* and six letters and digits: a directory that `volnfs run` made */

/*
 * Maps the record of the run directory dir, making directory and record where they are missing. dir NULL: a
 * directory for this user, server and volumes below run_parent(). out_dir receives its path. On failure a negative errno and *why, a
 * static phrase.
 */
int run_attach(const char *dir, const char *server, const char *volumes, struct run **run, char *out_dir, size_t size,
               const char **why);

/* The same for a new directory of its own, which run_remove has to remove in the end. Removes dead ones before. */
int run_make(const char *volumes, struct run **run, char *out_dir, size_t size, const char **why);

/* Where run directories are made: /dev/shm, or /tmp where that cannot be written to. */
const char *run_parent(void);

/* Removes the dead directories of this user's runs below parent. */
void run_clean(const char *parent);

/* Removes the directory and everything in it. */
void run_remove(const char *dir);

/* The name on the server of what the token in a file gives. -EBADMSG: there is none in it; -errno. */
int run_token(const char *file, char *remote, size_t size);

#endif
