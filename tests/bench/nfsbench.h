/* SPDX-License-Identifier: Apache-2.0
 * nfsbench: what its rows, slots and units of work are, and the compounds of each.
 */
#ifndef TESTS_BENCH_NFSBENCH_H
#define TESTS_BENCH_NFSBENCH_H

#include "wire.h"

enum { MAX_DEPTH = 64, MAX_OPS = 8, IO_BIG = 1 << 20, IO_SMALL = 4096, LOOKUP_FILES = 1000, REMOVE_FILES = 3000 };

struct fh {
    unsigned len;
    char val[128];
};

/* One request in flight. step counts the compounds of the unit of work under way. */
struct slot {
    struct bench *bench;
    int id, step;
    uint64_t unit;             /* which unit of work: an offset or a file number follows from it */
    struct fh fh;              /* of the file this slot created */
    stateid4 stateid;
    uint32_t seqid;            /* of this slot's open-owner */
    int confirm;               /* the open just made asks for OPEN_CONFIRM */
    nfs_argop4 ops[MAX_OPS];
    char name[48], owner[48];
    char *buffer;
};

struct row {
    const char *name, *what, *unit;
    int depth;
    void (*prepare)(struct bench *b);
    /* Fill slot->ops with compound slot->step of unit slot->unit; returns its length, 0 when the unit is complete. */
    int (*make)(struct slot *s);
    int commit;                /* a COMMIT ends the row and is timed */
    double bytes;              /* per unit, for rows told in MiB/s */
    uint64_t (*limit)(struct bench *b);  /* units; NULL: as many as fit the time */
};

struct bench {
    struct wire *wire;
    const char *host, *dir_path;
    int port;
    double seconds;
    uint64_t file_size;
    struct fh top, dir, file, file_dir; /* DIRECTORY, our folder in it, the data file and where it is */
    char file_name[48];
    size_t random_part;        /* pseudo-random bytes in each 4 KiB of the slots' buffers */
    uint64_t clientid;
    struct slot slots[MAX_DEPTH];
    const struct row *row;
    uint64_t next_unit, done_units, max_units, base;
    double deadline;
    int in_flight, filled;     /* filled: file has its data */
    uint64_t rng;
};

/* Numbers at random; *state is not 0. */
uint64_t random_next(uint64_t *state);

extern uint32_t mode_word[2]; /* the attribute mode alone */

/* One operation of a compound. */
int op_putfh(nfs_argop4 *op, struct fh *fh);
int op_name(nfs_argop4 *op, nfs_opnum4 opnum, char *name);

/* row.make of each kind of work. */
int make_seq_write(struct slot *s);
int make_seq_read(struct slot *s);
int make_random_read(struct slot *s);
int make_random_write(struct slot *s);
int make_stable_write(struct slot *s);
int make_create(struct slot *s);
int make_empty(struct slot *s);
int make_lookup(struct slot *s);
int make_remove(struct slot *s);

#endif
