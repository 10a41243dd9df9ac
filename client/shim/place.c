/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where an open file is now: NFSv4.0 opens, and so locks, by name.
 *
 * A descriptor remembers the directory it was opened in, whatever that is called by now, and the name. When that no
 * longer leads to the file: renames made in this run are noted in a ring, and a rename inside the directory by
 * anybody is found by listing it. What else happens to a file nobody can follow.
 */
#include <errno.h>
#include <string.h>

#include "client/nfs/call.h"
#include "client/shim/shim.h"

int place_opened(const struct ofd *ofd, struct nfs_fh *dir, char *name)
{
    const char *slash = strrchr(ofd->path, '/');

    if (ofd->dir.size == 0 || slash == NULL || slash[1] == 0 || strlen(slash + 1) > NFS_NAME_MAX)
        return -ENOENT;
    *dir = ofd->dir;
    strcpy(name, slash + 1);
    return 0;
}

void place_moved(const struct nfs_fh *fh, const struct nfs_fh *dir, const char *name)
{
    struct place_ring *ring = &shim.run->moved;
    struct place *place;

    rlock_lock(&ring->lock);
    place = &ring->at[ring->next % PLACES];
    place->fh.size = 0; /* until it is whole again */
    place->dir = *dir;
    strcpy(place->name, name);
    place->fh = *fh;
    ring->next++;
    rlock_unlock(&ring->lock);
}

static bool place_true(const struct ofd *ofd, const struct nfs_fh *dir, const char *name)
{
    struct nfs_fh fh;

    return nfs_lookup(shim.client, dir, name, strlen(name), &fh, NULL) == 0 && nfs_fh_same(&fh, &ofd->fh);
}

struct place_search {
    uint64_t fileid, last;
    char *name;
    bool found;
};

static bool place_entry(void *arg, uint64_t cookie, const char *name, size_t size, const struct nfs_attr *attr,
                        const struct nfs_fh *fh)
{
    struct place_search *search = arg;

    search->last = cookie;
    if (attr->fileid != search->fileid || size > NFS_NAME_MAX)
        return true;
    memcpy(search->name, name, size);
    search->name[size] = 0;
    search->found = true;
    return false;
}

int place_find(const struct ofd *ofd, struct nfs_fh *dir, char *name)
{
    struct place_ring *ring = &shim.run->moved;
    struct place_search search = {.fileid = ofd->attr.fileid, .name = name};
    uint64_t verf = 0;
    bool known = false;
    int ret = 0;

    rlock_lock(&ring->lock);
    for (uint32_t i = 0; i < PLACES && !known; i++) {
        const struct place *place = &ring->at[(ring->next - 1 - i) % PLACES];

        known = place->fh.size != 0 && nfs_fh_same(&place->fh, &ofd->fh);
        if (known) {
            *dir = place->dir;
            strcpy(name, place->name);
        }
    }
    rlock_unlock(&ring->lock);
    if (known && place_true(ofd, dir, name))
        return 0;
    if (!known)
        *dir = ofd->dir;
    if (dir->size == 0)
        return -ENOENT;
    while (ret == 0 && !search.found)
        ret = nfs_readdir(shim.client, dir, search.last, &verf, place_entry, &search);
    return ret < 0 ? ret : search.found && place_true(ofd, dir, name) ? 0 : -ENOENT;
}

/* Is it open or mapped? */
static bool place_used(const struct nfs_fh *fh)
{
    unsigned slot = file_slot(fh);

    return __atomic_load_n(&shim.run->opens[slot], __ATOMIC_RELAXED) > 0 || __atomic_load_n(&shim.run->mapped[slot], __ATOMIC_RELAXED) > 0;
}

void place_keep(const struct vpath *vp)
{
    struct hold_table *table = &shim.run->holds;
    struct nfs_client as = *shim.client;
    struct nfs_attr attr;
    struct hold *hold;
    struct nfs_fh fh;

    if (vp->attr.type != NFS_REG || !place_used(&vp->fh))
        return;
    for (uint32_t i = 0; i < table->top && i < HOLD_ROWS; i++)
        if (table->rows[i].state == 1 && table->rows[i].kind == HOLD_KEEP && nfs_fh_same(&table->rows[i].fh, &vp->fh))
            return;
    agent_start();
    hold = hold_new(table, HOLD_KEEP, lock_proc(), 0, &vp->fh);
    if (hold == NULL) {
        shim_say("%s: nothing keeps the removed file while it is open", vp->path);
        return;
    }
    vlock_lock(&lock_opening);
    as.avoid = hold_owners(table, hold->proc, &vp->fh);
    if (nfs_open_file(&as, &vp->dir, vp->name, 1, NFS_CREATE_NO, NULL, &fh, &attr, &hold->locker.open) == 0)
        hold->locker.epoch = hold->locker.open.epoch;
    vlock_unlock(&lock_opening);
    if (hold->locker.open.valid)
        __atomic_store_n(&shim.run->kept, 1, __ATOMIC_RELAXED);
    else
        hold_end(table, shim.client, hold, false);
}

void place_closed(const struct nfs_fh *fh)
{
    struct hold_table *table = &shim.run->holds;

    if (__atomic_load_n(&shim.run->kept, __ATOMIC_RELAXED) == 0 || place_used(fh))
        return;
    for (uint32_t i = 0; i < table->top && i < HOLD_ROWS; i++) {
        struct hold *hold = &table->rows[i];
        uint32_t one = 1;

        /* Another process may end it at the same time: only one does. */
        if (hold->state == 1 && hold->kind == HOLD_KEEP && nfs_fh_same(&hold->fh, fh) &&
            __atomic_compare_exchange_n(&hold->state, &one, 2, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            hold_end(table, shim.client, hold, false);
    }
}
