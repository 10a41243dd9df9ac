/* SPDX-License-Identifier: Apache-2.0
 * pack_impl: what pack.c (appending), pack_stage.c (writing) and pack_read.c (reading) share. Private to the store.
 */
#ifndef VOLNFS_STORE_PACK_IMPL_H
#define VOLNFS_STORE_PACK_IMPL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/uio.h>

#include "common/list.h"
#include "server/store/pack.h"
#include "server/store/pack_format.h"

/* Descriptors of packs being read, at most PACK_FDS of them kept. */
#define PACK_FDS    64
#define PACK_LOGGED 64

struct pack_fd {
    uint32_t pack; /* 0 = free */
    bool direct;
    int fd;
    unsigned refs;
    bool doomed;   /* the pack was deleted: the last reader closes */
    uint64_t used; /* stamp of the last use */
};

struct pack_reader {
    pthread_mutex_t lock;
    struct pack_fd fds[PACK_FDS];
    uint64_t stamp;
    uint64_t deletes; /* counts packs deleted, so that an open that raced with one is not kept */
    struct {
        uint32_t pack;
        uint64_t off;
    } logged[PACK_LOGGED]; /* damage that was reported already */
    unsigned next_logged;
};

/* A window of a pack whose bytes gather in memory (pack_stage.c). */
#define STAGE_SIZE (512u << 10)

struct pack_stage {
    struct list node; /* in pack_out.stages, by base */
    uint8_t *data;    /* STAGE_SIZE bytes */
    uint64_t base;    /* where in the pack they belong: a multiple of PACK_BLOCK */
    uint32_t filled;  /* bytes copied in so far, not in order */
    uint32_t start;   /* whole blocks up to here are in the file, */
    uint32_t flushed; /* and bytes up to here */
    bool full;        /* who filled it is about to write it and to free it */
    bool busy;        /* is being written */
};

/* A pack being written: the current one, or one that is full and waits for its seal.
 * open -> retired (full, or an append failed) -> sealed and freed by packset_sync, or kept as failed. */
struct pack_out {
    struct list node; /* in packset.retired */
    uint32_t pack;
    int fd;
    uint64_t tail;     /* end of what is reserved */
    unsigned inflight; /* appends between their reservation and their end */
    uint64_t written;  /* records completed; compared with synced */
    uint64_t synced;
    uint64_t hinted;   /* write-out was started up to here, when not staged */
    bool staged;       /* records go through stages; else each is written by its append */
    atomic_bool direct; /* past the page cache */
    bool hold;         /* no reservations for the moment: pack_flush_locked, */
    bool flushing;     /* which one thread at a time is in */
    int err;           /* of writing a stage */
    struct list stages;
    unsigned copying;  /* reservations whose bytes are not all in their stages */
    uint64_t space;    /* the file reaches up to here, zeros behind the tail; */
    uint64_t most;     /* not further than this without need */
    uint64_t step;     /* how much further the next time, if the disk has plenty; 0 = little */
    uint8_t *edge;     /* the block at the end of the last flush, with the bytes before that */
    bool named;        /* the directories that lead to it are synced */
    uint8_t *dir;      /* directory entries of completed records */
    size_t count, cap;
};

struct packset {
    char *label;
    char *path;
    int dirfd;
    pthread_mutex_t sync_lock; /* outside lock: one packset_sync at a time */
    pthread_mutex_t lock; /* everything below but the reader */
    pthread_cond_t cond;  /* hold, copying, busy, full have changed */
    struct pack_out *cur;
    struct list retired;
    uint32_t next;
    uint64_t bytes;
    uint64_t size; /* at which a pack is full */
    bool bulk;     /* one became full already: the next ones have their space from the start */
    int sync_err; /* sticky */
    struct pack_reader reader;
};

/* Writes all of the pieces (at most 3) at off. */
int pack_write_all(int fd, const struct iovec *iov, int niov, uint64_t off);
/* The pack takes no more records. */
void pack_retire_locked(struct packset *ps, struct pack_out *p);
/* A pack being written, by its number, or NULL. */
struct pack_out *pack_out_find_locked(struct packset *ps, uint32_t pack);

/* Makes a new pack staged if the file system can reserve space; edge: the first len bytes of the file. -ENOSPC,
 * -EDQUOT, -ENOMEM. */
int pack_stages_init(struct pack_out *p, const uint8_t *edge, uint32_t len);
void pack_stages_release(struct pack_out *p);
/* From now on this descriptor writes through the page cache, and so any bytes. */
void pack_cached(struct pack_out *p);
/* Moves the tail on by size, at most STAGE_SIZE; the range is in st[0] and, if not NULL, st[1]. -ENOSPC, -ENOMEM: nothing is
 * reserved. Each reservation ends with pack_stage_filled_locked. */
int pack_stage_reserve_locked(struct pack_out *p, uint64_t size, struct pack_stage *st[2]);
/* Copies bytes, or zeros for NULL, to their place; returns the end. No lock. */
uint64_t pack_stage_copy(struct pack_stage *const st[2], uint64_t at, const void *data, size_t len);
/* The reserved range is filled; writes the stages that are complete by it, without the lock. */
void pack_stage_filled_locked(struct packset *ps, struct pack_out *p, struct pack_stage *const st[2], uint64_t at,
                              uint64_t size);
/* What was appended so far is in the file when it returns 0, unsynced; drops the lock meanwhile. The caller sees to it
 * that p stays. The error of any write of p so far. */
int pack_flush_locked(struct packset *ps, struct pack_out *p);
/* Makes sure that a record can be read from the file. */
void pack_settle(struct packset *ps, const struct chunk *c);

void pack_reader_init(struct pack_reader *r);
void pack_reader_release(struct pack_reader *r);
void pack_reader_forget(struct pack_reader *r, uint32_t pack);

#endif
