/* SPDX-License-Identifier: Apache-2.0
 * remote: what USER/VOLUME:/path means: arguments, the server, and walking to a file on it.
 */
#ifndef VOLNFS_CLI_REMOTE_H
#define VOLNFS_CLI_REMOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "client/nfs/file.h"

/* An argument: a local path, or a path in a volume. */
struct place {
    const char *text; /* as given */
    bool in_volume;
    char *path; /* as given, or "USER/VOLUME/a/b" seen from the server's root; ours */
    bool slash; /* given with a slash at the end */
};

/* Sees whether text (borrowed) has the form USER/VOLUME:..., and takes it apart. Ends the program when out of memory. */
void place_parse(struct place *p, const char *text);
void place_release(struct place *p);

struct cli;
/* n arguments that all have to be in volumes, to be freed with remote_places_free; NULL after a message, and *status
 * says how to end. */
struct place *remote_places(const struct cli *cli, char **args, int n, int *status);
void remote_places_free(struct place *places, int n);

struct remote {
    struct nfs_client *client;
    struct nfs_fh root; /* of the server's tree */
};

/* Connects to HOST[:PORT] ([::1]:2049 too); NULL: VOLNFS_SERVER, else 127.0.0.1:2049. NULL after a message, and
 * *status says how to end. */
struct remote *remote_open(const char *server, int *status);
void remote_close(struct remote *r); /* NULL is nothing */

/*
 * The file at path ("USER/VOLUME/..."). Symbolic links on the way are followed inside the volume, the last one only
 * with follow; an absolute one leads nowhere. ".." stops at the volume's root. 0 or a negative errno.
 */
int remote_walk(struct remote *r, const char *path, bool follow, struct nfs_fh *fh, struct nfs_attr *attr);
/* The same, and where it was found: its directory and its name there (NFS_NAME_MAX + 1 bytes), "" for a volume's root
 * and where the path ends in "..". */
int remote_find(struct remote *r, const char *path, bool follow, struct nfs_fh *fh, struct nfs_attr *attr,
                struct nfs_fh *dir, char *name);

/* The directory that path's last part is in, and that part in name (NFS_NAME_MAX + 1 bytes). -EINVAL when there is
 * none: a volume's root, "." or "..". */
int remote_parent(struct remote *r, const char *path, struct nfs_fh *dir, char *name);

/* Says what went wrong with a place in a volume (err: a negative errno): with -ENOENT, whether it is the volume or
 * the snapshot that is not there. Else as show_error. Returns 1. */
int remote_error(struct remote *r, const char *what, const struct place *p, int err);

/* An entry of a directory. */
struct remote_entry {
    char *name;
    struct nfs_attr attr;
};
/* All entries but "." and "..", sorted by name; free with remote_list_free. 0 or a negative errno: then there are
 * none. */
int remote_list(struct remote *r, const struct nfs_fh *dir, struct remote_entry **out, size_t *n);
void remote_list_free(struct remote_entry *list, size_t n);
/* A list to which nothing is added any more gives back what it does not need: of a deep tree many are kept. */
struct remote_entry *remote_list_fit(struct remote_entry *list, size_t n);

/* How many levels of directories a walk that calls itself may go down, with at most 1 KiB of stack for each; makes the stack's
 * limit large enough for that if it can. Deeper ones are -ENAMETOOLONG: a tree that is damaged may be in itself. */
unsigned remote_depth(void);
/* Appends a name to the path of a directory, *path, which grows; returns its length before, at which to cut it off again. */
size_t remote_path_add(char **path, const char *name);

/* A name or path for people: what could confuse a terminal becomes \n, \t, \033 ... or \ooo. Free it. */
char *show_escape(const char *name);
/* The same if to is a terminal, as it is if not. */
void show_name(FILE *to, const char *name);
/* "volnfs: WHAT PATH: reason"; PATH escaped. what may be NULL. Returns 1. */
int show_error(const char *what, const char *path, int err);

/* Memory or the end of the program. */
void *need(void *mem);

#endif
