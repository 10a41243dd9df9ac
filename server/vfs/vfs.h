/* SPDX-License-Identifier: Apache-2.0
 * vfs: the tree /USER/VOLUME/... with POSIX permissions, in plain C types.
 *
 * An object is the root, a user, an inode of a volume or of a snapshot (a volume of its own here, read-only), or the
 * directory of a volume's snapshots. The functions check permissions against a
 * struct vcred, name syntax and the rules of the pseudo tree, and use the store for the rest. Return
 * values and blocking are the store's (store/types.h): -EAGAIN = call again with may_block.
 */
#ifndef VOLNFS_VFS_VFS_H
#define VOLNFS_VFS_VFS_H

#include "server/grant/grant.h"
#include "server/store/snap.h"
#include "server/store/statedb.h"
#include "server/store/volume.h"

/* Who asks. uid 0 may everything (squashing is done before). view and grant decide which users and volumes there are and
 * where some may be made; what may be done in a volume is the caller's to decide. */
struct vcred {
    uint32_t uid, gid;
    unsigned ngroups;
    const uint32_t *groups;
    const struct grant_view *view; /* NULL: everything is there */
    uint64_t grant;                /* under which the directory was reached, 0 none */
};

/* VOBJ_TOKENS is the directory of the root in which tokens can be looked up, by the caller: to the vfs it is empty. */
enum vobj_kind { VOBJ_NONE, VOBJ_ROOT, VOBJ_USER, VOBJ_FILE, VOBJ_SNAPDIR, VOBJ_TOKENS };
#define VFS_TOKENS_NAME "token" /* no user can have this name */
/* A reference to an object. Copy with vobj_copy, drop with vobj_release; zero is the empty one. */
struct vobj {
    enum vobj_kind kind;
    uint64_t user;      /* of VOBJ_USER */
    struct volume *vol; /* of VOBJ_FILE, VOBJ_SNAPDIR; referenced */
    uint64_t ino;       /* of VOBJ_FILE */
    uint32_t gen;
};
void vobj_copy(struct vobj *dst, const struct vobj *src); /* dst is released first */
void vobj_release(struct vobj *o);
bool vobj_same(const struct vobj *a, const struct vobj *b);

struct vfs;
/* store: the directory. Removes what a crash left of half-made or half-destroyed volumes. Volumes are
 * opened at first use. */
int vfs_new(const char *store, struct statedb *db, struct engine *engine, struct vfs **out);
/* The grants that are to hear of users and volumes that come and go (borrowed; NULL: none). Before anything is served. */
int vfs_set_grants(struct vfs *v, struct grants *g);
/* Volumes that nobody asked for in idle_seconds are closed until somebody does (0: never), and the ones that were not
 * asked for longest while max_open are open. Volumes with files that are held stay open, also beyond that. */
void vfs_set_idle(struct vfs *v, unsigned idle_seconds, unsigned max_open);
/* Closes all volumes (everything durable). Returns the first error. */
int vfs_free(struct vfs *v);

/* --- objects --- */

void vfs_root(struct vfs *v, struct vobj *out);
/* An object from the parts of a handle: volume 0 and ino 0 = root; volume 0 = user `user`;
 * ino 0 = the volume's .snapshots; else inode. volume: a volume_id, which for a snapshot says its volume, too. The
 * volume is opened if need be (may block). -ESTALE: no such user, volume or snapshot. The inode is not looked up
 * here: a dead ino or generation shows (-ESTALE) at the first use. */
int vfs_object(struct vfs *v, struct store_call *call, uint64_t user, uint64_t volume, uint64_t ino,
               uint32_t gen, struct vobj *out);

/* The user that an object belongs to, 0 above users. */
uint64_t vobj_user(const struct vobj *o);

/* Attributes with the tree's part. */
struct vfs_attr {
    struct vattr a;
    uint64_t fsid;               /* 0 = pseudo tree, else the volume's id */
    uint64_t mounted_on_fileid;  /* differs from a.ino at the root of a volume (RFC 8881 5.8.2.23) */
};
int vfs_getattr(struct vfs *v, struct store_call *call, const struct vobj *o, struct vfs_attr *out);
struct vfs_stat {
    uint64_t total_bytes, free_bytes, avail_bytes, total_files, free_files, avail_files;
};
int vfs_statfs(struct vfs *v, struct store_call *call, const struct vobj *o, struct vfs_stat *out);

/* Rights, for ACCESS and for the checks below. */
enum { VMAY_EXEC = 1, VMAY_WRITE = 2, VMAY_READ = 4 };
/* 0 or -EACCES. */
int vfs_check(const struct vattr *a, const struct vcred *c, unsigned may);
/* The subset of `want` that c has on o; readonly volumes have no VMAY_WRITE (except devices, fifos). */
int vfs_access(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
               unsigned want, unsigned *got);

/* --- names: -EINVAL for "", ".", "..", '/' or NUL in a name (nfs4 sorts out which NFS4ERR), -ENAMETOOLONG,
 * -EACCES, -EPERM (sticky bit), -ENOTDIR, -EROFS, -EXDEV --- */

int vfs_lookup(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
               const char *name, size_t len, struct vobj *out, struct vfs_attr *attr /* or NULL */);
/* -ENOENT at the root. From a volume's root this is the user. */
int vfs_lookup_parent(struct vfs *v, struct store_call *call, const struct vobj *dir,
                      const struct vcred *c, struct vobj *out);
/* Makes a file, directory, symlink, device or fifo. In the root: a user (type IT_DIR only); in a user: a
 * volume (IT_DIR only), whose root directory gets the attributes. Applies setgid inheritance. The new
 * inode's owner is c, its mode set->mode or 0666/0777 less nothing (clients apply the umask). set->uid/gid
 * are honoured as chown would. excl: an existing name is -EEXIST; otherwise, for IT_REG, an existing
 * regular file is opened as it is: *created = false, no attribute is changed (the caller checks
 * access and truncates). out and attr are filled in both cases and on -EEXIST. */
struct vfs_create {
    const char *name;
    size_t len;
    enum inode_type type;
    struct vset set;
    uint32_t rdev_major, rdev_minor;
    const char *target;
    size_t target_len;
    bool excl;
};
int vfs_create(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
               const struct vfs_create *a, struct vobj *out, struct vfs_attr *attr, bool *created,
               struct dir_change *dc);
int vfs_link(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vobj *dir,
             const struct vcred *c, const char *name, size_t len, struct dir_change *dc);
/* Removes a file, an empty directory, an empty volume, a user without volumes. gone (may be NULL): the
 * object that lost its name, for the state layer; *last: it was the last name. */
int vfs_remove(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
               const char *name, size_t len, struct vobj *gone, bool *last, struct dir_change *dc);
/* Between volumes: -EXDEV. A volume may be renamed within its user. */
int vfs_rename(struct vfs *v, struct store_call *call, const struct vobj *sdir, const char *sname,
               size_t slen, const struct vobj *ddir, const char *dname, size_t dlen,
               const struct vcred *c, struct vobj *replaced, bool *last, struct dir_change *sdc,
               struct dir_change *ddc);
int vfs_readlink(struct vfs *v, struct store_call *call, const struct vobj *o, char *buf);
struct vfs_dirent {
    uint64_t cookie;
    const char *name;
    size_t len;
    struct vobj obj; /* borrowed during the callback; vol NULL if the volume is not open yet */
    struct vfs_attr attr;
    int err; /* -errno if attr could not be had (RFC 8881 18.23: rdattr_error), else 0 */
};
int vfs_readdir(struct vfs *v, struct store_call *call, const struct vobj *dir, const struct vcred *c,
                uint64_t after, unsigned max, bool (*fn)(void *arg, const struct vfs_dirent *de),
                void *arg, bool *eof);

/* --- files --- */

/* POSIX rules of chmod, chown (root, or the owner giving away nothing), truncate and utimes; drops
 * setuid/setgid on chown and on truncate by others. by_open: the caller holds the file open for writing,
 * so a size change needs no permission. */
int vfs_setattr(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
                const struct vset *set, bool by_open, struct vfs_attr *out /* or NULL */);
/* The data calls check type and readonly, and permissions unless by_open. The owner may always read and
 * write (a client that opened before a chmod goes on). Otherwise as volume_*. */
int vfs_read(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
             bool by_open, uint64_t off, size_t len, struct volume_read *out);
int vfs_write(struct vfs *v, struct store_call *call, const struct vobj *o, const struct vcred *c,
              bool by_open, uint64_t off, const void *data, size_t len, bool stable,
              const uint64_t *expect_size, struct vfs_attr *out /* or NULL */);
/* What vfs_write does before it writes, for callers that change bytes through volume_punch and the like: checks
 * type, readonly and permissions, drops setuid and setgid. */
int vfs_before_write(struct store_call *call, const struct vobj *o, const struct vcred *c, bool by_open);
int vfs_commit(struct vfs *v, struct store_call *call, const struct vobj *o);
/* Keeps an inode's data alive while it is open, also after its last name is gone. What the state layer
 * stores as an open's hold (state_conf.drop_hold). -EISDIR for the pseudo tree. May block. */
struct vfs_hold;
int vfs_hold_new(struct vfs *v, struct store_call *call, const struct vobj *o, struct vfs_hold **out);
void vfs_hold_drop(struct vfs_hold *h); /* NULL is fine; never blocks */
/* As vfs_hold_drop when the server stops: a removed inode stays an orphan on disk, for reclaim after the next
 * start. The inode stays held until its volume is closed. */
void vfs_hold_leave(struct vfs_hold *h);

/* --- administration (control); all block ---
 * NAME is "alice/mydata"; -EINVAL if it is not of that form, -ENOENT if there is none. */

struct vfs_volume_info {
    char user[USER_NAME_MAX + 1], name[VOLUME_NAME_MAX + 1];
    uint64_t id;
    int64_t created;
    struct volume_props props;
    struct volume_stat stat;
    int err; /* -errno if the volume cannot be opened; stat is zero then */
};
/* name: "alice/mydata"; makes the user if missing. -EEXIST, -EINVAL. */
int vfs_volume_create(struct vfs *v, const char *name, const struct volume_props *props, uint32_t uid,
                      uint32_t gid, uint32_t mode);
/* Destroys also a volume with files in it; clients get NFS4ERR_STALE. Its space comes back in the background, after a crash
 * too. */
int vfs_volume_destroy(struct vfs *v, const char *name);
int vfs_volume_info(struct vfs *v, const char *name, struct vfs_volume_info *out);
/* The users in the order of their ids. fn must not call the vfs; what it returns but 0 ends it. */
int vfs_user_list(struct vfs *v, int (*fn)(void *arg, uint64_t id, const char *name, unsigned volumes), void *arg);
/* user NULL = all. Sorted by name. */
int vfs_volume_list(struct vfs *v, const char *user,
                    int (*fn)(void *arg, const struct vfs_volume_info *info), void *arg);
/* As vfs_volume_list of all, but opens nothing and waits for nothing: those of which nothing is known have err -EAGAIN. */
int vfs_volume_peek(struct vfs *v, int (*fn)(void *arg, const struct vfs_volume_info *info), void *arg);
unsigned vfs_volume_count(struct vfs *v);
unsigned vfs_open_volumes(struct vfs *v);
int vfs_volume_set_props(struct vfs *v, const char *name, const struct volume_props *p);
/* Scrub of one volume (volume.h); vfs_scrub_stat calls fn with what is damaged. */
int vfs_scrub_start(struct vfs *v, const char *name);
int vfs_scrub_stat(struct vfs *v, const char *name, struct volume_scrub *st,
                   int (*fn)(void *arg, const char *path, uint64_t off), void *arg);
/* The volume of "alice/mydata" or the snapshot of "alice/mydata@name", with a reference, to work on below permissions.
 * write: -EROFS for a snapshot and where readonly is set. -ENOENT, -EINVAL. */
int vfs_volume_get(struct vfs *v, const char *full, bool write, struct volume **out);
/* Snapshots; full is "alice/mydata@name". Errors as snap.h has them. Durable on return. */
int vfs_snap_create(struct vfs *v, const char *full);
int vfs_snap_destroy(struct vfs *v, const char *full);
/* to: the new name, "name" alone or the whole with the same volume (else -EXDEV). */
int vfs_snap_rename(struct vfs *v, const char *full, const char *to);
/* Makes the volume `to` ("bob/new"; its user is made if missing) with what the snapshot has. -EEXIST. */
int vfs_snap_clone(struct vfs *v, const char *full, const char *to);
/* Makes the volume what the snapshot has. Its users go on with that: what they have open is the file of the same inode, or
 * stale. -EEXIST: there are younger snapshots, and flags does not say what to do with them. Other errors after
 * which the volume is as before: as volume_close, snap_rollback. */
enum { VFS_ROLLBACK_DESTROY = 1, VFS_ROLLBACK_KEEP = 2 };
int vfs_snap_rollback(struct vfs *v, const char *full, unsigned flags);
/* volume_settle by name; out: the volume's id. */
int vfs_volume_settle(struct vfs *v, const char *name, uint64_t *id);
/* Calls fn for each snapshot of the volume `name`, oldest first, with the volume's id. */
int vfs_snap_list(struct vfs *v, const char *name,
                  int (*fn)(void *arg, uint64_t volume, const struct snap_info *s), void *arg);
/* The object of a grant from its text (server/grant/grant_text.h): sets object and what belongs to it. -EINVAL, -ENOENT. */
int vfs_grant_object(struct vfs *v, const char *text, struct grant_row *row);
/* Is the folder of a row of GRANT_SUBPATH a directory now? 0, -ENOENT, -ENOTDIR, … */
int vfs_grant_folder(struct vfs *v, const struct grant_row *row);
/* The opposite; "?" for what is gone. At least VFS_OBJECT_TEXT bytes. */
#define VFS_OBJECT_TEXT (USER_NAME_MAX + VOLUME_NAME_MAX + GRANT_PATH_MAX + 8)
void vfs_grant_text(struct vfs *v, const struct grant_row *row, char *buf, size_t size);
/* All open volumes: after grace. */
int vfs_purge_orphans(struct vfs *v);

#endif
