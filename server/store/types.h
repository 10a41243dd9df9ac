/* SPDX-License-Identifier: Apache-2.0
 * types: the words the store and its callers share. Plain C: no NFS types, no SQLite types.
 *
 * Return convention of the whole store: 0 or a count, or a negative errno. Two values have a fixed
 * extra meaning:
 *   -EAGAIN   the call would have to wait (cold data, a busy slot) and call->may_block is false;
 *             nothing was changed; call again with may_block set.
 *   -EUCLEAN  data on disk is damaged; it was logged once with volume, pack and offset.
 */
#ifndef VOLNFS_STORE_TYPES_H
#define VOLNFS_STORE_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define SLOT_SIZE      131072u /* bytes of a file that share a slot */
#define STORE_PAGE     4096u   /* granularity of the dirty and valid maps of a slot */
#define SLOT_PAGES     (SLOT_SIZE / STORE_PAGE)
#define STORE_NAME_MAX 255u    /* bytes in a name, without NUL */
#define STORE_LINK_MAX 65000u  /* hard links to one inode */
#define STORE_SYMLINK_MAX 4095u
#define STORE_XATTR_NAME_MAX 255u
#define STORE_XATTR_SIZE_MAX 65536u
#define STORE_FILE_MAX ((uint64_t)INT64_MAX / 2) /* largest file offset + 1 */
#define STORE_ROOT_INO 1u
#define STORE_SNAP_NAME_MAX 63u /* bytes in a snapshot's name */

enum inode_type { IT_NONE, IT_REG, IT_DIR, IT_LNK, IT_BLK, IT_CHR, IT_FIFO, IT_SOCK };

/* What is known of an inode. `used` is logical bytes that are allocated (holes are not), the value
 * behind st_blocks. `change` grows with every change of data or attributes and never repeats, not
 * even after a crash (volume.c says how). */
struct vattr {
    uint64_t ino;
    uint32_t gen;
    enum inode_type type;
    uint32_t mode; /* permission bits, setuid, setgid, sticky: 07777 */
    uint32_t nlink;
    uint32_t uid, gid;
    uint32_t rdev_major, rdev_minor;
    uint64_t size, used, change;
    uint64_t parent; /* of a directory; else 0 */
    struct timespec atime, mtime, ctime, btime;
    uint64_t create_verf; /* the verifier of an exclusive create, 0 if none */
};

/* Attributes to set. */
enum {
    VSET_MODE = 1 << 0,
    VSET_UID = 1 << 1,
    VSET_GID = 1 << 2,
    VSET_SIZE = 1 << 3,
    VSET_ATIME = 1 << 4,     /* to atime */
    VSET_ATIME_NOW = 1 << 5, /* to the server's time */
    VSET_MTIME = 1 << 6,
    VSET_MTIME_NOW = 1 << 7,
    VSET_VERF = 1 << 8, /* create_verf; only in a create. The low bits of it are not in the times. */
    VSET_BTIME = 1 << 9,
    VSET_PERM = 1 << 10, /* the nine permission bits of mode alone; without VSET_MODE. vfs makes VSET_MODE of it */
};
struct vset {
    uint32_t mask;
    uint32_t mode, uid, gid;
    uint64_t size;
    struct timespec atime, mtime, btime;
    uint64_t create_verf;
};

/* A directory's change attribute around an operation; always atomic. */
struct dir_change {
    uint64_t before, after;
};

struct volume;

/* One request's dealings with the store. Zero it (store_call_init), pass it to every call of the
 * request, and wait for its dependencies before the reply leaves (volume_wait). */
#define STORE_CALL_DEPS 4
struct store_call {
    bool may_block;
    unsigned ndeps;
    struct {
        struct volume *vol; /* referenced; store_call_release drops it */
        uint64_t txg;       /* must be durable before the reply leaves */
    } deps[STORE_CALL_DEPS];
};

#endif
