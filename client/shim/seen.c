/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a listing told about the files in it, for whoever looks at each of them next (ls -l, find, git status): a stat
 * within SEEN_MS of the listing is answered from here, unless anything was changed in the run since. Directories are
 * left out: their times change with what is made in them. Opening a file always asks the server.
 */
#include <string.h>

#include "client/shim/shim.h"

#define SEEN_ENTRIES 16384
#define SEEN_NAME 56
#define SEEN_MS 1000

struct seen {
    struct nfs_fh dir, fh;
    struct nfs_attr attr;
    uint64_t ms; /* 0: free */
    uint32_t changes, names, size;
    char name[SEEN_NAME];
};

static struct {
    struct vlock lock;
    struct seen *v;
} seen;

static unsigned seen_slot(const struct nfs_fh *dir, const char *name, size_t size)
{
    uint64_t h = file_slot(dir) + 0xcbf29ce484222325u;

    for (size_t i = 0; i < size; i++)
        h = (h ^ (uint8_t)name[i]) * 0x100000001b3u;
    return (unsigned)((h ^ h >> 32) % SEEN_ENTRIES);
}

void seen_begin(struct seen_time *when)
{
    when->ms = sys_now_ms();
    when->changes = file_changes();
    when->names = __atomic_load_n(&shim.run->names, __ATOMIC_ACQUIRE);
}

void seen_put(const struct seen_time *when, const struct nfs_fh *dir, const char *name, size_t size,
              const struct nfs_fh *fh, const struct nfs_attr *attr)
{
    struct seen *e;

    if (size > SEEN_NAME || fh->size == 0 || attr->rderror != 0 || attr->type != NFS_REG)
        return;
    vlock_lock(&seen.lock);
    if (seen.v == NULL) {
        long at = sys6(SYS_mmap, 0, SEEN_ENTRIES * (long)sizeof(*seen.v), 3, 0x4022, -1, 0); /* touched as it fills */

        seen.v = at < 0 && at > -4096 ? NULL : (struct seen *)at;
    }
    if (seen.v != NULL) {
        e = &seen.v[seen_slot(dir, name, size)];
        e->dir = *dir;
        e->fh = *fh;
        e->attr = *attr;
        e->ms = when->ms;
        e->changes = when->changes;
        e->names = when->names;
        e->size = (uint32_t)size;
        memcpy(e->name, name, size);
    }
    vlock_unlock(&seen.lock);
}

bool seen_get(const struct nfs_fh *dir, const char *name, size_t size, struct nfs_fh *fh, struct nfs_attr *attr)
{
    struct seen_time now;
    struct seen *e;
    bool hit = false;

    if (seen.v == NULL || size > SEEN_NAME)
        return false;
    seen_begin(&now);
    vlock_lock(&seen.lock);
    e = &seen.v[seen_slot(dir, name, size)];
    if (e->size == size && now.ms - e->ms < SEEN_MS && e->changes == now.changes && e->names == now.names &&
        memcmp(e->name, name, size) == 0 && nfs_fh_same(&e->dir, dir)) {
        *fh = e->fh;
        *attr = e->attr;
        hit = true;
    }
    vlock_unlock(&seen.lock);
    return hit;
}

void seen_after_fork(void)
{
    if (seen.lock.word != 0)
        seen.v = NULL; /* another thread was in the middle of it */
    memset(&seen.lock, 0, sizeof(seen.lock));
}
