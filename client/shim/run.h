/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run: the directory and the shared record of the processes that see the same volumes. Used by the preload
 * library and by `volnfs run`.
 *
 * Every process of a run has a shared flock of the record, which its mapping keeps. A directory whose record nobody locks, and which lists no
 * process that lives (one may be about to run another program), is dead: whoever makes the next run removes it, of its
 * own user only.
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

/*
 * Maps the record of the run directory dir, making directory and record where they are missing. dir NULL: a
 * directory for this user, server and volumes below /dev/shm or /tmp. out_dir receives its path (it may be dir itself). On failure a
 * negative errno and *why, a static phrase.
 */
int run_attach(const char *dir, const char *server, const char *volumes, struct run **run, char *out_dir, size_t size,
               const char **why);

/* Removes the dead directories of this user's runs below `parent`. */
void run_clean(const char *parent);

/* Removes the directory and everything in it. */
void run_remove(const char *dir);

/* The name on the server of what the token in a file gives. -EBADMSG: there is none in it; -errno. */
int run_token(const char *file, char *remote, size_t size);

#endif
