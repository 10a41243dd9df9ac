/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the processes of a run hold at the server, written down where it outlives them.
 *
 * Locks stand in rows of the run's record, each with the process whose open-owners it was made with. A process that
 * ends in order gives its rows back. For one that was killed anybody may: `volnfs run` looks once a second, and
 * whoever meets a lock looks before it believes in it (hold_reap).
 *
 *   HOLD_PROC  fcntl locks of one process on one file: go when it is dead
 *   HOLD_OFD   flock and OFD locks: go when no process has a descriptor of the open file description any more.
 *              That is asked of the kernel (the links in /proc/PID/fd), and only after a process was killed
 *   HOLD_KEEP  an open that keeps an unlinked file while descriptors of it are open
 */
#ifndef CLIENT_SHIM_HOLD_H
#define CLIENT_SHIM_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "client/nfs/file.h"

#define HOLD_PROCS 1024
#define HOLD_ROWS 2048

enum hold_kind { HOLD_PROC, HOLD_OFD, HOLD_KEEP };

struct hold_proc {
    uint64_t start; /* of the process, in ticks since boot: tells it from a later one of that number */
    uint64_t space; /* its pid namespace */
    struct nfs_self self;
};

struct hold {
    uint32_t state; /* 0 free, 1 in use, 2 being filled in */
    uint32_t kind;
    int32_t proc;
    bool seen;
    uint8_t local; /* a flock within the run only: 1 shared, 2 exclusive */
    uint64_t ofd; /* HOLD_OFD: which */
    struct nfs_fh fh;
    struct nfs_locker locker;
};

struct hold_table {
    struct rlock reaping;
    struct rlock local; /* over the rows' fields of that name */
    uint64_t reaped_ms;
    uint32_t killed;           /* so many processes were found dead that had not said goodbye */
    uint32_t top;              /* rows below this may be in use */
    uint32_t procs;            /* rows of pids below this may be in use */
    int32_t pids[HOLD_PROCS];  /* 0 free, -1 ended but its owners are still needed */
    struct hold_proc proc[HOLD_PROCS];
    struct hold rows[HOLD_ROWS];
};

/* This process's row: the one it has (it has run another program before) or a new one. -1: none to be had. */
int hold_attach(struct hold_table *table);
/* The process ends; its HOLD_PROC rows have been given back. */
void hold_detach(struct hold_table *table, int proc);

/* A free row, filled in but for the locker; NULL when there is none. */
struct hold *hold_new(struct hold_table *table, enum hold_kind kind, int proc, uint64_t ofd, const struct nfs_fh *fh);
/* The owners that rows of this process and file use, as bits: another open of it must not be theirs. The first
 * HOLD_PASSING are for opens that are closed at once. */
uint32_t hold_owners(struct hold_table *table, int proc, const struct nfs_fh *fh);
#define HOLD_PASSING 8

/* A flock that only the run knows of: a directory's, or that of a file without a name. -EAGAIN when others hold it. */
int hold_flock(struct hold_table *table, struct hold *hold, bool exclusive);

/* Gives back what the row stands for, and the row. */
void hold_end(struct hold_table *table, struct nfs_client *client, struct hold *hold, bool dead);

/* Finds the dead and gives back what they held. pace: not if that was done less than so many ms ago. */
void hold_reap(struct hold_table *table, struct nfs_client *client, unsigned pace);

/* An nfs_recover_fn whose arg is the table: after a restart of the server, everything that rows stand for again. */
int hold_recover(struct nfs_client *client, uint64_t clientid, uint32_t epoch, void *table);

/* For HOLD_OFD rows: the id in the name of a memfd that holds a description, 0 when it is none. */
uint64_t hold_ofd_id(const char *link, long size);

#endif
