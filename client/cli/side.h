/* SPDX-License-Identifier: Apache-2.0
 * side: one side of a copy: directories and files, local or in a volume, seen the same way.
 *
 * Everything returns 0 (or a count) or a negative errno. Nothing follows a symbolic link. Names are single names.
 */
#ifndef VOLNFS_CLI_SIDE_H
#define VOLNFS_CLI_SIDE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "client/cli/remote.h"

struct side_ops;

/*
 * An open directory. It is shared: by its entries' jobs and its subdirectories. When the last reference goes,
 * what was asked for with `finish` is set on it, so that copying into it no longer changes its times.
 */
struct side_dir {
    const struct side_ops *ops;
    int refs;
    struct side_dir *parent;
    char *path; /* for messages: of one without a parent; else its name */
    struct nfs_setattr finish;
    int fd;                /* local */
    struct remote *remote; /* in a volume */
    struct nfs_fh fh;
};

/* An open file. */
struct side_file {
    const struct side_ops *ops;
    struct side_dir *dir;
    int fd;
    struct nfs_fh fh;
    struct nfs_open open;
};

struct side_ops {
    int (*open_dir)(struct side_dir *dir, const char *name, struct side_dir *child);
    int (*make_dir)(struct side_dir *dir, const char *name, uint32_t mode);
    int (*list)(struct side_dir *dir, struct remote_entry **out, size_t *n); /* attributes: the type at least */
    int (*stat)(struct side_dir *dir, const char *name, struct nfs_attr *attr);
    int (*readlink)(struct side_dir *dir, const char *name, char *buf, size_t size);
    int (*symlink)(struct side_dir *dir, const char *name, const char *target);
    int (*remove)(struct side_dir *dir, const char *name); /* no directories */
    int (*set_name)(struct side_dir *dir, const char *name, const struct nfs_setattr *set); /* of a symbolic link */
    int (*set_dir)(struct side_dir *dir, const struct nfs_setattr *set);
    void (*close_dir)(struct side_dir *dir);
    int (*open)(struct side_dir *dir, const char *name, bool write, struct side_file *file, struct nfs_attr *attr);
    /* A new file: -EEXIST if there is one. Of set: mode and atime. */
    int (*create)(struct side_dir *dir, const char *name, const struct nfs_setattr *set, struct side_file *file);
    ssize_t (*read)(struct side_file *file, void *buf, size_t size, uint64_t at);
    /* The offset from `at` on where there may be something other than zeros. */
    uint64_t (*data)(struct side_file *file, uint64_t at);
    /* Writes all. *verf changes when what was written before may be lost. sync: durable when it returns. */
    int (*write)(struct side_file *file, const void *buf, size_t size, uint64_t at, bool sync, uint64_t *verf);
    int (*commit)(struct side_file *file, uint64_t *verf); /* makes it durable */
    int (*set)(struct side_file *file, const struct nfs_setattr *set, struct nfs_attr *attr);
    int (*get)(struct side_file *file, struct nfs_attr *attr);
    /* Gives the file, created as `from` in dir, the name `to`. -ESTALE when `from` is another file by now. */
    int (*rename)(struct side_file *file, const char *from, const char *to);
    void (*close)(struct side_file *file);
};

extern const struct side_ops side_local, side_volume;

/* The directory at path. follow: a symbolic link at its end too. */
int side_open_local(const char *path, struct side_dir **out);
int side_open_volume(struct remote *r, const char *path, const char *text, struct side_dir **out);
/* A volume's directory by its handle. */
struct side_dir *side_volume_dir(struct remote *r, const struct nfs_fh *fh, const char *text);

/* A subdirectory; it keeps its parent. */
int side_child(struct side_dir *dir, const char *name, struct side_dir **out);
struct side_dir *side_ref(struct side_dir *dir);
/* What went wrong when it was finished, is told on stderr and by *side_failed. */
void side_unref(struct side_dir *dir);
extern bool side_failed;

/* "DIR/NAME", or DIR if name is NULL, for messages. Free it. */
char *side_path(const struct side_dir *dir, const char *name);

/* The names that both sides understand the same way. */
void side_attr(const struct stat *st, struct nfs_attr *attr);

#endif
