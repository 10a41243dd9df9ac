/* SPDX-License-Identifier: Apache-2.0
 * volume: one volume of files: names, attributes and bytes, in memory first, durable by group commit.
 *
 * This header is all that the layers above know of the store. POSIX effects on inodes are made here,
 * atomically with the operation (nlink, times, change attribute, a directory's parent); permissions,
 * name syntax and the tree of users and volumes are the caller's.
 *
 * Durability: a change returns as soon as memory has it, and notes in the call the transaction group
 * (txg) that will make it durable. volume_call_pending() tells whether any noted txg is still on its
 * way; volume_call_wait() parks a callback or blocks. volume_write without `stable` changes memory
 * only; volume_commit (or a later stable write to the file, or pressure) makes it durable.
 *
 * Any function may be called from any thread. Functions that say "may block" return -EAGAIN without
 * effect when call->may_block is false and they would have to. Others never wait on a disk.
 * All names are byte strings without NUL and '/', 1..STORE_NAME_MAX bytes, not "." or "..".
 * Every function taking an ino returns -ESTALE if there is no such inode (any more), and -EUCLEAN or
 * -EIO when the disk fails. After a failed commit a volume is read-only (-EROFS) until it is reopened,
 * and its write verifier has changed.
 */
#ifndef VOLNFS_STORE_VOLUME_H
#define VOLNFS_STORE_VOLUME_H

#include <sys/uio.h>

#include "server/store/types.h"

/* --- the engine all volumes of a server share: slot cache, worker threads --- */

struct engine;
struct engine_conf {
    uint64_t cache_size; /* bytes for cached and dirty slots; at least 16 MiB */
    uint32_t journal_size; /* bytes of a volume's journal at most; 0 = 64 MiB */
    unsigned workers;    /* threads for compression and flushing; 0 = two more than cores */
    uint64_t pack_size;  /* packs are full at this size; 0 = 64 MiB, which is the most */
    uint64_t epoch;      /* boot count of the store, > 0: enters change attributes and verifiers */
};
int engine_new(const struct engine_conf *conf, struct engine **out);
/* All volumes must be closed, and nobody has a reference to one of them. */
void engine_free(struct engine *e);
/* What it does, for the operator's eyes. Any thread. */
struct engine_stat {
    uint64_t cache_size, cache_used;
    uint64_t cache_pinned;          /* of the latter: not on the disk yet */
    uint64_t slot_reads, slot_loads; /* slots that reads touched; those that were fetched from the disk */
    uint64_t commits, commit_us;    /* groups of changes made durable, and what they took in all */
    uint64_t deduped;               /* bytes that were not stored again */
    uint64_t hurried;               /* bytes that were stored raw for lack of time, to be compressed later */
};
void engine_get_stat(struct engine *e, struct engine_stat *out);

/* --- a volume's life --- */

enum volume_codec { VOLUME_RAW, VOLUME_ZSTD };
struct volume_props {
    enum volume_codec codec;
    int level;            /* zstd level 1..19 */
    uint64_t quota_bytes; /* of logical allocated bytes; 0 = none */
    uint64_t quota_files; /* 0 = none */
    bool readonly;
    bool dedup;     /* equal full slots share a chunk */
    int recompress; /* zstd level that cold data is brought to in the background; 0 = not at all */
    bool snapdir;   /* READDIR of the root shows .snapshots */
};
void volume_props_default(struct volume_props *p);

/* Makes dir (must not exist) with an empty volume in it, durably. root: mode, uid, gid used. */
int volume_create(const char *dir, const struct volume_props *props, const struct vset *root);
/* Opens the volume in dir (recovers it if need be). label is for log lines ("alice/mydata"), id goes
 * to volume_id(). -EBUSY: another process has it. -ENOTSUP: format newer than this program.
 * The caller gets one reference. Blocks. */
int volume_open(struct engine *e, const char *dir, const char *label, uint64_t id,
                struct volume **out);
struct volume *volume_ref(struct volume *v);
/* The last volume_unref of a volume that volume_close was called on frees it. */
void volume_unref(struct volume *v);
/* Makes everything durable (also unstable data), stops the volume's threads; later calls get -ESTALE.
 * Waits for callers inside. Drops the caller's reference. Returns the last flush error, if any. */
int volume_close(struct volume *v);
/* Before volume_close of a volume that is opened again soon: calls get -EBUSY from then on, not -ESTALE. */
void volume_comes_back(struct volume *v);
/* Before volume_close, for who has to know that nothing is added from now on: calls get -ESTALE. Does not wait; of the calls that
 * are inside some go on until volume_close returns. */
void volume_shut(struct volume *v);
/* Takes that back: calls are let in again. */
void volume_unshut(struct volume *v);
/* From now on no clone of a snapshot of it is begun (-EBUSY): volume_close would wait for that. -EBUSY: one is being made. */
int volume_bar_clones(struct volume *v);
/* Takes that back. */
void volume_let_clone(struct volume *v);
/* Is a snapshot of it being cloned? That may take minutes, and volume_close waits for it. Once the volume is shut no clone
 * begins. */
bool volume_is_cloned(struct volume *v);
/* As volume_close, but throws memory away; dir may then be removed. Changes of callers inside, and what waits to be durable, get
 * -ESTALE. */
void volume_abandon(struct volume *v);
/* The user it belongs to, as its opener says; 0 at first. */
void volume_set_user(struct volume *vol, uint64_t user);
uint64_t volume_user(const struct volume *vol);
uint64_t volume_id(const struct volume *v);

struct volume_stat {
    uint64_t files;        /* inodes, directories included, the root not */
    uint64_t logical;      /* allocated logical bytes */
    uint64_t unwritten;    /* of logical, what waits in memory; stored tells nothing of it yet */
    uint64_t stored;       /* bytes of live chunks and index rows that hold data, as compressed */
    uint64_t held;         /* bytes of chunks that only snapshots hold; not in stored */
    unsigned snapshots;
    uint64_t pack_bytes;   /* bytes of packs on disk, dead chunks included */
    uint64_t index_bytes;  /* size of index.db and its WAL */
    uint64_t avail_bytes;  /* what can still be written: quota and the disk's free space */
    uint64_t total_bytes;  /* logical + avail_bytes */
    uint64_t avail_files, total_files;
    uint64_t hurried;      /* bytes since it was opened that were stored raw for lack of time, to be compressed later */
    uint64_t deduped;      /* bytes since then that were not stored again, before compression */
    uint64_t gc_copied, gc_freed, gc_packs; /* since it was opened: bytes copied out of packs, bytes and packs removed */
    bool gc_busy;          /* a pack is being copied out */
    uint64_t journal_used, journal_size; /* bytes; 0 as long as it has none */
    uint64_t journal_ms;   /* how long the oldest change waits to go from the journal into the index; 0: none does */
};
void volume_stat(struct volume *v, struct volume_stat *st);
/* What is known of a volume that is not open. */
struct volume_peek {
    struct vattr root;
    struct volume_props props;
    struct volume_stat stat; /* without avail_*, total_* */
};
/* Reads it from the folder, which nobody opens meanwhile. Changes nothing. -EAGAIN: there are changes that only opening
 * brings into the index. Others as volume_open. Blocks. */
int volume_peek(const char *dir, const char *label, struct volume_peek *out);
/* The same of an open volume whose changes are all in the index (volume_settle). May block. */
int volume_peek_open(struct volume *v, struct volume_peek *out);
/* Sets avail_* and total_* of st to what the disk of the folder dir and the quotas leave. */
void volume_stat_space(struct volume_stat *st, const struct volume_props *p, const char *dir);

/* --- closing a volume that nobody uses, to open it again when somebody does --- */

/* Does nobody but the caller, with one reference, have a reference to v or to one of its snapshots? Not so either after a
 * failure: what is in memory may be all there is. Does not wait; false when in doubt. */
bool volume_unused(struct volume *v);
/* Is there nothing left to do for the background: compaction, regrouping of small files, a scrub? */
bool volume_at_rest(struct volume *v);
/* What a volume that was closed without an error gives to its successor: nothing was lost, so the write verifier need not
 * change; and what the background has seen to. */
struct volume_carry {
    uint64_t verifier; /* 0: nothing to carry */
    bool rested;
};
void volume_carry(struct volume *v, struct volume_carry *out);
/* Right after volume_open, before anybody has used it. */
void volume_take_over(struct volume *v, const struct volume_carry *c);

/* Compacts packs until nothing is left that is worth it, without the pauses that are made in the background. Blocks.
 * -ESTALE, -EIO, -ENOSPC; -EROFS: a snapshot. */
int volume_gc(struct volume *v);

/* Scrub: all chunks are read in the background and their checksums verified. It goes on after a restart. */
struct volume_scrub {
    bool running;
    int64_t started, finished; /* seconds since 1970; 0: never */
    uint64_t chunks, bytes;    /* verified by this run, or the last one */
    uint64_t total;            /* bytes that there are, about */
    uint64_t damaged;          /* chunks that cannot be read as they were written */
};
/* Starts one from the beginning; nothing if one runs. -EROFS: a snapshot. */
int volume_scrub_start(struct volume *v);
int volume_scrub_stat(struct volume *v, struct volume_scrub *st);
/* Calls fn with what is damaged: paths ("inode N" if there is none) and offsets, as far as files still use the chunks that
 * were found; until fn returns non-zero (returned). Slow: may read all of the index. */
int volume_scrub_damage(struct volume *v, int (*fn)(void *arg, const char *path, uint64_t off), void *arg);
void volume_get_props(struct volume *v, struct volume_props *p);
/* Durable on return. Blocks. */
int volume_set_props(struct volume *v, const struct volume_props *p);
/* Changes whenever unstable data may have been lost: at each open and after a failed flush. */
uint64_t volume_write_verifier(struct volume *v);
/* Brings everything that was written until now, also what is not stable, into the index on disk: for programs that
 * read that beside the server. Blocks. -EROFS: the volume failed. */
int volume_settle(struct volume *v);
/* Waits until what was changed before the call is in the figures of volume_stat: they follow changes by up to a second,
 * for removed files in two steps. Flushes nothing. Does not wait for a volume that fails. Blocks. */
void volume_stat_settle(struct volume *v);
/* True if v has no entry in its root directory. May block. */
int volume_is_empty(struct volume *v, struct store_call *call, bool *empty);

/* --- waiting for durability --- */

void store_call_init(struct store_call *call, bool may_block);
/* Drops the references; the call may be used again after store_call_init. */
void store_call_release(struct store_call *call);
/* The newest change of v that call depends on, 0 if none; and making another call depend on it, too (a
 * repeated request whose first reply may still wait). */
uint64_t volume_call_mark(const struct store_call *call, const struct volume *v);
void volume_call_after(struct store_call *call, struct volume *v, uint64_t mark);
/* True while some noted change is not durable yet. */
bool volume_call_pending(const struct store_call *call);
struct volume_waiter {
    void (*done)(struct volume_waiter *w, int err); /* err: 0; -EIO: the change was lost; -ESTALE: with all of the volume */
    struct volume_waiter *next;                     /* the volume's */
    uint64_t txg;
    struct store_call *call;
    unsigned dep;
    int err;
};
/* Calls w->done once, when all of the call's changes are durable: at once from this thread if they
 * are, else from a commit thread (done must be short and must not call back into the volume). */
void volume_call_wait_async(struct store_call *call, struct volume_waiter *w);
/* If the call's changes can be made durable by one short write now, and nobody else waits for that volume, does it in this
 * thread: blocks for about as long as the disk takes to sync a block. Else nothing. For a thread that would have nothing
 * else to do meanwhile: it spares two changes of threads. */
void volume_call_commit(struct store_call *call);
/* The blocking form. */
int volume_call_wait(struct store_call *call);

/* --- inodes --- */

/* May block. gen 0 = any generation; otherwise a different generation is -ESTALE. */
int volume_getattr(struct volume *v, struct store_call *call, uint64_t ino, uint32_t gen,
                   struct vattr *out);
/* Sets what set->mask says; a size change truncates or extends (hole). Clears setuid/setgid as POSIX
 * wants only when the caller put that into set->mode. out may be NULL. May block.
 * -EFBIG, -EISDIR (size of a directory), -EINVAL (size of anything else but a file), -EDQUOT, -EROFS. */
int volume_setattr(struct volume *v, struct store_call *call, uint64_t ino, const struct vset *set,
                   struct vattr *out);
/* Keeps a removed inode's data alive while it is open. Counts; memory only (an inode that is held and
 * unlinked is an orphan on disk, purged by volume_purge_orphans after a restart). May block. */
int volume_hold(struct volume *v, struct store_call *call, uint64_t ino);
/* Drops one hold; the last one on an unlinked inode frees it in the background. */
void volume_release(struct volume *v, uint64_t ino);
/* Frees orphans found at open that nobody holds by now. Blocks. Called once grace is over. */
int volume_purge_orphans(struct volume *v);

/* --- names --- */

/* -ENOENT, -ENOTDIR. ".." is the caller's business (vattr.parent). May block. */
int volume_lookup(struct volume *v, struct store_call *call, uint64_t dir, const char *name,
                  size_t len, struct vattr *out);
struct volume_create_args {
    uint64_t dir;
    const char *name;
    size_t len;
    enum inode_type type;
    struct vset set;               /* mode, uid, gid must be in the mask; times, size, verf optional */
    uint32_t rdev_major, rdev_minor;
    const char *target; /* of a symlink */
    size_t target_len;
};
/* Makes a new inode and its name. -EEXIST fills out with the existing inode. -ENOSPC, -EDQUOT, -EROFS,
 * -ENOENT if dir was removed, -ENOTDIR. May block. */
int volume_create_at(struct volume *v, struct store_call *call, const struct volume_create_args *a,
                     struct vattr *out, struct dir_change *dc);
/* -EEXIST, -EMLINK, -EISDIR when ino is a directory. out: the inode after. May block. */
int volume_link(struct volume *v, struct store_call *call, uint64_t ino, uint64_t dir,
                const char *name, size_t len, struct vattr *out, struct dir_change *dc);
/* Removes a name, of a directory too if it is empty (-ENOTEMPTY). If expect_ino is not 0 and the name
 * is another inode by now: -ESTALE. gone (may be NULL): the attributes after; nlink 0 = last name.
 * May block. */
int volume_unlink(struct volume *v, struct store_call *call, uint64_t dir, const char *name,
                  size_t len, uint64_t expect_ino, struct vattr *gone, struct dir_change *dc);
/* POSIX rename: an existing target is replaced if of compatible type (-EISDIR, -ENOTDIR, -ENOTEMPTY);
 * both names the same inode: nothing happens; moving a directory below itself: -EINVAL, or to where it
 * would be thousands of levels deep: -EMLINK. expect_* as in
 * volume_unlink; expect_dst UINT64_MAX = whatever is there. replaced (may be NULL): attributes of the
 * replaced inode after, ino 0 if none. May block. */
int volume_rename(struct volume *v, struct store_call *call, uint64_t sdir, const char *sname,
                  size_t slen, uint64_t ddir, const char *dname, size_t dlen, uint64_t expect_src,
                  uint64_t expect_dst, struct vattr *replaced, struct dir_change *sdc,
                  struct dir_change *ddc);
/* The target, NUL-terminated, into buf (STORE_SYMLINK_MAX + 1 bytes); its length. -EINVAL. May block. */
int volume_readlink(struct volume *v, struct store_call *call, uint64_t ino, char *buf);

struct volume_dirent {
    uint64_t cookie; /* stable, > 7; pass the last one to continue after it */
    char name[STORE_NAME_MAX + 1];
    size_t len;
    struct vattr attr;
};
/* Calls fn for entries with a cookie above `after`, in cookie order, until fn returns false, the
 * directory ends (*eof = true) or about `max` entries were seen. Every entry that exists during the
 * whole walk is seen exactly once. fn is called without locks. May block (before fn is called). */
int volume_readdir(struct volume *v, struct store_call *call, uint64_t dir, uint64_t after,
                   unsigned max, bool (*fn)(void *arg, const struct volume_dirent *de), void *arg,
                   bool *eof);

/* --- bytes --- */

/* A read result: pieces of cached slots, or of a shared zero page for holes. The pieces stay valid
 * until volume_read_release. A concurrent write may show in them. */
#define VOLUME_READ_IOV 20 /* 2 MiB + unaligned ends, holes included */
struct volume_read {
    size_t len; /* bytes, may be less than asked at the end of the file */
    bool eof;   /* offset + len is at or past the end */
    int niov;
    struct iovec iov[VOLUME_READ_IOV];
    void *ref[VOLUME_READ_IOV]; /* the store's */
};
/* len is capped at 2 MiB. -EISDIR, -EINVAL (not a regular file). May block. Starts read-ahead when the
 * file is read in order. */
int volume_read(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off, size_t len,
                struct volume_read *out);
void volume_read_release(struct volume_read *r);

/* Writes len bytes (at most 2 MiB) and returns 0. stable: durable with the call's txg. expect_size: if
 * not NULL and the file's size differs at that moment, -ESTALE and no effect other than that (this is
 * what makes {VERIFY(size), WRITE} an atomic append). attr (may be NULL): the attributes after.
 * -EFBIG, -EDQUOT, -ENOSPC, -EROFS. May block, among other things for back-pressure. */
int volume_write(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                 const void *data, size_t len, bool stable, const uint64_t *expect_size,
                 struct vattr *attr);
/* Makes all unstable data of the file durable with the call's txg. May block. */
int volume_commit(struct volume *v, struct store_call *call, uint64_t ino);
/* Deallocates a range (size stays); reads give zeros. May block. */
int volume_punch(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off, uint64_t len);
/* Reserves nothing but grows the file to off + len if it is shorter, checking quota. May block. */
int volume_allocate(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                    uint64_t len);
/* Makes [doff, doff + len) of dst read as [soff, soff + len) of src does, at one moment, without copying bytes:
 * both then share chunks. Offsets are multiples of VOLUME_CLONE_BLOCK; so is len, unless the range ends where
 * src does and dst does not go on behind it. -EINVAL: not so, past the end of src, or an overlap in
 * one file. -EBUSY: src or dst are written too fast just now. -EFBIG, -EDQUOT, -ENOSPC, -EROFS. attr (may be
 * NULL): dst's after. At most VOLUME_CLONE_MAX bytes (-EINVAL). Durable with the call's txg. May block. */
#define VOLUME_CLONE_BLOCK STORE_PAGE
#define VOLUME_CLONE_MAX   ((uint64_t)4 << 30)
int volume_clone(struct volume *v, struct store_call *call, uint64_t src, uint64_t soff, uint64_t dst,
                 uint64_t doff, uint64_t len, struct vattr *attr);
/* Finds the first data (want_data) or hole at or after off. -ENXIO when off is at or past the end, or
 * no data follows. A hole is found at the end of every file. Holes have slot or extent granularity.
 * May block. */
int volume_seek(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off, bool want_data,
                uint64_t *out);

/* --- extended attributes (names without the "user." prefix) --- */

int volume_getxattr(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                    size_t len, void *buf, size_t size); /* value length; -ENODATA, -ERANGE */
/* flags: 0, XATTR_CREATE (-EEXIST), XATTR_REPLACE (-ENODATA). change: of the inode. -E2BIG, -ENOSPC. */
int volume_setxattr(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                    size_t len, const void *val, size_t size, int flags, struct dir_change *change);
int volume_removexattr(struct volume *v, struct store_call *call, uint64_t ino, const char *name,
                       size_t len, struct dir_change *change);
/* Calls fn per name, in a stable order, after the cookie (0 = start). May block. */
int volume_listxattr(struct volume *v, struct store_call *call, uint64_t ino, uint64_t after,
                     bool (*fn)(void *arg, uint64_t cookie, const char *name, size_t len), void *arg,
                     bool *eof);

#endif
