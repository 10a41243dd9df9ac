/* SPDX-License-Identifier: Apache-2.0
 * namespace: the users and volumes of a server in memory, and the life of volumes.
 *
 * Locks, in their order:
 *   admin     one change of users and volumes at a time, also while it waits on the disk; not while a new volume's
 *             folder is filled, which may take long
 *   nvol.life one open, close or removal of this volume at a time, also while it waits on the disk
 *   roots     shared by what adds a name to the root of a volume; exclusive while RMDIR finds out that a
 *             volume is empty and shuts it
 *   lock      the tables; never held across anything that waits
 * A volume that is open is found with `lock` shared only.
 */
#ifndef VOLNFS_VFS_NAMESPACE_H
#define VOLNFS_VFS_NAMESPACE_H

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/htab.h"
#include "common/list.h"
#include "server/vfs/vfs.h"

/* A directory of the pseudo tree: what changes in it. Guarded by vfs.lock. */
struct pseudo_dir {
    uint64_t change;
    struct timespec mtime, btime;
};

struct nuser {
    struct hnode by_id, by_name;
    struct list link; /* vfs.users, by id */
    uint64_t id;
    char name[USER_NAME_MAX + 1];
    struct pseudo_dir dir;
    struct list vols; /* nvol.link, by id */
    unsigned nvols;
};

struct nvol {
    struct hnode by_id;
    struct hnode by_name; /* hash of user and name */
    struct list link;     /* nuser.vols */
    int refs;             /* atomic; the table has one */
    uint64_t id, user;
    int64_t created;
    pthread_mutex_t life;
    /* guarded by life */
    struct volume_peek *peek; /* while not open; NULL: not known (keeper_look) */
    struct volume_carry carry;
    struct volume_stat past; /* what counts from an opening on, of earlier times that it was open */
    /* guarded by vfs.lock */
    char name[VOLUME_NAME_MAX + 1];
    struct nuser *owner;
    struct volume *vol; /* referenced; NULL while not open; changes under life only */
    struct list open_link; /* vfs.open_vols */
    atomic_bool used;      /* asked for since the keeper looked */
    uint64_t used_ms;      /* when it was asked for, about */
    bool dead;          /* out of the tables */
};

struct vfs {
    char *store;
    struct statedb *db;
    struct engine *engine;
    struct grants *grants; /* NULL: none */
    pthread_mutex_t admin;
    pthread_rwlock_t roots, lock;
    struct htab users_by_id, users_by_name, vols_by_id, vols_by_name;
    struct list users;
    unsigned nusers;
    struct pseudo_dir root;
    uint64_t change;   /* the last change attribute given to a pseudo directory */
    bool purge;        /* grace is over: volumes opened from now on free their orphans at once */
    struct list open_vols; /* nvol.open_link; with lock */
    unsigned nopen, max_open;
    atomic_uint_fast64_t idle_ms; /* 0: volumes stay open */

    pthread_mutex_t keeper_lock; /* taken last */
    pthread_cond_t keeper_cond;
    struct list removals;
    pthread_t keeper;
    bool has_keeper;
    atomic_bool keeper_stop;
};

/* --- finding; `lock` held shared by the caller where it says _locked --- */

struct nuser *ns_user_locked(struct vfs *v, uint64_t id);
struct nuser *ns_user_by_name_locked(struct vfs *v, const char *name, size_t len);
struct nvol *ns_vol_by_name_locked(struct vfs *v, uint64_t user, const char *name, size_t len);
/* With a reference. -ESTALE: no such volume; -ENOENT: no such name (or user). */
int ns_vol_get(struct vfs *v, uint64_t id, struct nvol **out);
int ns_vol_get_name(struct vfs *v, uint64_t user, const char *name, size_t len, struct nvol **out);
struct nvol *ns_vol_ref(struct nvol *n);
void ns_vol_put(struct nvol *n);

/* The volume "alice/mydata", with a reference. -EINVAL, -ENOENT: admin.c. */
int ns_vol_find(struct vfs *v, const char *name, struct nvol **out);
/* The open volume, with a reference. -EAGAIN: it has to be opened first and may_block is false. -ESTALE: it
 * has been removed. */
int ns_vol_open(struct vfs *v, struct nvol *n, bool may_block, struct volume **out);
/* The open volume "alice/mydata", with a reference. May block. -EINVAL, -ENOENT, and what opening gives: admin.c. */
int ns_vol_open_name(struct vfs *v, const char *name, struct volume **out);
/* Of a volume that is open already, else NULL; does not count as use. */
struct volume *ns_vol_open_now(struct vfs *v, struct nvol *n);
/* Takes the volume out of n, which is not open then: the reference is the caller's. life and lock (exclusively) held. */
struct volume *ns_vol_take_locked(struct vfs *v, struct nvol *n);
/* And in; the reference goes over. The same are held. */
void ns_vol_put_in_locked(struct vfs *v, struct nvol *n, struct volume *vol);

/* --- changing (ns_change.c); all block. dc (may be NULL): the change attributes of the directory. --- */

/* -EEXIST sets *id too. */
int ns_user_add(struct vfs *v, const char *name, size_t len, uint64_t *id, struct dir_change *dc);
/* -ENOTEMPTY, -ENOENT. */
int ns_user_del(struct vfs *v, const char *name, size_t len, struct dir_change *dc);
/* out: a reference. -EEXIST (out is the existing one), -ESTALE: no such user. */
int ns_vol_create(struct vfs *v, uint64_t user, const char *name, size_t len,
                  const struct volume_props *props, const struct vset *root, struct nvol **out,
                  struct dir_change *dc);
/* As ns_vol_create, with a clone of src's snapshot in it. -ENOENT: there is no such snapshot. */
int ns_vol_clone(struct vfs *v, struct nvol *src, const char *snap, uint64_t user, const char *name, size_t len,
                 struct nvol **out);
/* Makes a volume what its snapshot has. -EEXIST: there are younger snapshots; flags: what to do with them then. */
int ns_vol_rollback(struct vfs *v, struct nvol *n, const char *snap, unsigned flags);
/* only_empty: -ENOTEMPTY if there is a name in it; -EPERM unless c (not NULL then) owns it. */
int ns_vol_destroy(struct vfs *v, struct nvol *n, bool only_empty, const struct vcred *c,
                   struct dir_change *dc);
/* -EEXIST. */
int ns_vol_rename(struct vfs *v, struct nvol *n, const char *name, size_t len, struct dir_change *dc);

/* --- what namespace.c has for ns_change.c --- */

static inline bool ns_name_is(const char *have, const char *name, size_t len)
{
    return strlen(have) == len && !memcmp(have, name, len);
}
/* Enters what state.db has into the tables; `lock` held exclusively, or nobody else there yet. NULL: out of memory. */
struct nuser *ns_user_insert(struct vfs *v, const struct user_row *row);
/* With one reference, which ns_vol_insert gives to the table. NULL: out of memory. */
struct nvol *ns_vol_new(const struct volume_row *row);
void ns_vol_insert(struct vfs *v, struct nuser *u, struct nvol *n);
/* Opens n from disk; n->life is held, n is neither open nor dead. -errno of volume_open, after a log line; -EUCLEAN:
 * its folder is not there. */
int ns_vol_open_cold(struct vfs *v, struct nvol *n);
/* Notes a change of a pseudo directory; `lock` held exclusively. dc may be NULL. */
void ns_dir_changed(struct vfs *v, struct pseudo_dir *d, struct dir_change *dc);
/* There was none; `lock` held shared. */
void ns_dir_same(const struct pseudo_dir *d, struct dir_change *dc);

/* --- for the data path --- */

/* Around anything that adds a name to the root of a volume: 0, or -EAGAIN when an RMDIR is looking and the
 * call may not block. */
int ns_root_enter(struct vfs *v, const struct store_call *call);
void ns_root_leave(struct vfs *v);

#endif
