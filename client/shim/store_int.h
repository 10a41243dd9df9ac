/* SPDX-License-Identifier: Apache-2.0 */
/* A store's record, as store.c and store_data.c share it. */
#ifndef CLIENT_SHIM_STORE_INT_H
#define CLIENT_SHIM_STORE_INT_H

#include "client/shim/store.h"

#define STORE_PAGE 4096ul
#define STORE_GRAIN (2ul << 20)
#define STORE_MAGIC 0x766d6170u
#define INFO_BITS (64u << 10) /* bytes per map of granules: files up to 1 TiB */
#define INFO_HASHES (4096 + 2 * INFO_BITS)

/* What the processes that map the file share of it: then two maps of granules, filled and hashed, and a hash per page. */
struct info {
    uint32_t magic;
    int32_t writers; /* processes with writable mappings */
    struct rlock lock;
    uint64_t size, change;
    uint64_t back_ms; /* when something was last written back */
    uint32_t holes; /* what was cut off lay in granules that are there: these may have holes now */
};

struct store {
    struct store *next;
    int refs;
    int fd, info_fd;
    struct nfs_fh fh;
    struct info *info;
    uint8_t *filled, *hashed;
    uint64_t *hashes;
    uint8_t *bytes;    /* all of the file, mapped for us */
    uint64_t capacity; /* how much bytes and hashes cover */
    bool writable;     /* counted among the writers */
    bool forked;
};

#pragma GCC visibility push(hidden)

/* Maps room for a file of size bytes, if there is not enough yet: as info->size says, before bytes or hashes are looked at, for
 * another process may have made the file longer. Under info->lock, which is another address then. 0, -EFBIG, -EIO, -ENOMEM:
 * all is as it was. */
int store_map(struct store *s, uint64_t size);

/* Removes the stores of the run that nobody holds: their processes were killed. */
void store_sweep(void);

/* Somebody else changed the file: what is here is read again, unless what is mapped may be newer. Under info->lock. 0 or the
 * error of the read. */
int store_refresh_locked(struct store *s, const struct nfs_attr *attr);

#pragma GCC visibility pop

#endif
