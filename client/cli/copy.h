/* SPDX-License-Identifier: Apache-2.0
 * copy: trees and files from one side to the other, by several threads.
 *
 *   walk (one thread) makes directories and finds files  ->  queue  ->  xfer (copy.jobs threads)
 */
#ifndef VOLNFS_CLI_COPY_H
#define VOLNFS_CLI_COPY_H

#include <stdbool.h>
#include <stdint.h>

#include "client/cli/pool.h"
#include "client/cli/side.h"

struct progress;

struct copy {
    /* How. */
    bool recursive, preserve, resume, verify;
    unsigned jobs;
    uint32_t umask;
    bool chown; /* with preserve: the caller may give files away */
    unsigned depth; /* remote_depth() */
    /* Running. */
    struct pool *pool;
    struct progress *progress;
    struct side_dir *into; /* what is copied to: not to be copied into itself */
    bool failed;
};

/* Starts the threads. client (may be NULL) is kept alive meanwhile; bar: draw the progress on stderr. */
void copy_start(struct copy *c, struct nfs_client *client, bool bar);
/* Copies name of from, with the attributes attr, as to_name of to. What fails is told, and c->failed set. */
void copy_entry(struct copy *c, struct side_dir *from, const char *name, const struct nfs_attr *attr,
                struct side_dir *to, const char *to_name);
/* Copies what is in from into to. */
void copy_contents(struct copy *c, struct side_dir *from, struct side_dir *to);
/* Waits for everything. Returns the exit status. */
int copy_finish(struct copy *c);

/* Beside negative errnos: the source changed meanwhile; --verify found the copy to be another; somebody else copies to
 * the same name. */
enum { COPY_CHANGED = -10001, COPY_DIFFERS = -10002, COPY_TAKEN = -10003 };
/* Tells of a failure, and sets c->failed. Any thread. */
void copy_fail(struct copy *c, const char *what, const struct side_dir *dir, const char *name, int err);

/* What the copy of a file of these attributes gets in the end. */
void copy_attributes(const struct copy *c, const struct nfs_attr *attr, struct nfs_setattr *set);

/* One file; xfer.c. Called by the pool's threads. */
void xfer_file(struct copy *c, struct side_dir *from, const char *name, const struct nfs_attr *attr,
               struct side_dir *to, const char *to_name);

#endif
