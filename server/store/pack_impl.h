/* SPDX-License-Identifier: Apache-2.0
 * pack_impl: what pack.c (writing) and pack_read.c (reading) share. Private to the store.
 */
#ifndef VOLNFS_STORE_PACK_IMPL_H
#define VOLNFS_STORE_PACK_IMPL_H

#include <pthread.h>

#include "common/list.h"
#include "server/store/pack.h"
#include "server/store/pack_format.h"

/* Descriptors of packs being read, at most PACK_FDS of them kept. */
#define PACK_FDS    64
#define PACK_LOGGED 64

struct pack_fd {
    uint32_t pack; /* 0 = free */
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
    uint64_t hinted;   /* write-out was started up to here */
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
    struct pack_out *cur;
    struct list retired;
    uint32_t next;
    uint64_t bytes;
    uint64_t size; /* at which a pack is full */
    int sync_err; /* sticky */
    struct pack_reader reader;
};

void pack_reader_init(struct pack_reader *r);
void pack_reader_release(struct pack_reader *r);
void pack_reader_forget(struct pack_reader *r, uint32_t pack);

#endif
