/* SPDX-License-Identifier: Apache-2.0
 * dump: what 'volnfs dump' and 'volnfs restore' share: the stream and trees of names. The stream's format is in
 * volume-format(5).
 */
#ifndef VOLNFS_CLI_DUMP_H
#define VOLNFS_CLI_DUMP_H

#include <stddef.h>
#include <stdio.h>

#include "client/cli/connect.h"

#define DUMP_ROOT 1u /* the inode of every volume's root */
/* In the root of a volume that is being restored, and of one whose restore was cut off. */
#define DUMP_MARK ".volnfs-restore-incomplete"

/* --- the stream --- */

enum dump_record { DUMP_HEAD = 1, DUMP_CHANGE = 2, DUMP_END = 3 };

struct dump_stream {
    FILE *file;
    uint64_t offset; /* of the next record */
    uint64_t sum;    /* of all before it */
    uint32_t size;   /* of the record that was read last */
    char *buf;
};

/* Begins to write a stream, or to read one. false after a message. */
bool dump_write_start(struct dump_stream *s, FILE *file);
bool dump_read_start(struct dump_stream *s, FILE *file);
void dump_release(struct dump_stream *s);
/* Writes one record. false after a message. */
bool dump_write(struct dump_stream *s, enum dump_record type, xdrproc_t xdr, void *what);
/* Reads a record, verifies it and tells its type; 0 after a message that says at which offset the stream is damaged or
 * ends. dump_decode then takes it apart: false after a message; what is freed with xdr_free in any case. */
int dump_read(struct dump_stream *s);
bool dump_decode(struct dump_stream *s, xdrproc_t xdr, void *what);
/* Is there nothing more? false after a message. */
bool dump_read_end(struct dump_stream *s);

/* --- trees --- */

struct dump_name {
    uint64_t dir, ino;
    char *name;
    uint32_t len;
};

/* All names and inodes of a volume or snapshot. About 250 bytes of memory for each. */
struct dump_tree {
    struct dump_name *names; /* what is in a directory comes behind it */
    size_t nnames;
    control_inode *inodes; /* by number, the root too */
    size_t *first;         /* of each inode: the first of its names */
    size_t ninodes;
    size_t *order; /* names by directory and name */
};

/* Reads the tree of "alice/mydata" or "alice/mydata@name". false after a message. */
bool dump_tree_load(struct dump_tree *t, CLIENT *c, const char *name);
void dump_tree_release(struct dump_tree *t);
/* Its place in inodes, or ninodes. */
size_t dump_tree_inode(const struct dump_tree *t, uint64_t ino);
/* The name in a directory, or NULL. */
const struct dump_name *dump_tree_name(const struct dump_tree *t, uint64_t dir, const char *name, uint32_t len);
/* A number made of all names and attributes: the same for a tree and what it was restored to. exact: with inode
 * numbers and ctimes, to tell whether one volume was changed. */
uint64_t dump_tree_print(const struct dump_tree *t, bool exact);

#endif
