/* SPDX-License-Identifier: Apache-2.0
 * index: one volume's SQLite database: the durable form of names, attributes and extents.
 *
 * One thread at a time writes (index_begin .. index_commit, on the writer connection, synchronous=FULL,
 * WAL); any thread reads committed state through a pool of reader connections. SQLite codes become
 * negative errnos here. Rows read from disk are untrusted: lengths, types and ranges are checked, and a
 * row that cannot be right is -EUCLEAN, logged.
 *
 * Extent rules, kept by index_map and index_punch: extents of a file do not overlap and do not cross a
 * slot boundary; chunk.refs is the number of extents that name the chunk.
 *
 * Snapshots. A snapshot has an id, greater than those of all made before it in the volume. Its names and
 * extents are in a database of its own (snap.h); the chunk, blob and pack tables are shared. So:
 *   S1 chunk.birth is the id that the next snapshot was going to get when the chunk was made: snapshot s
 *      may hold it if birth <= s.
 *   S2 A chunk whose refs reach 0 is deleted in the same transaction and its pack's live bytes go down, unless
 *      a snapshot holds it: then it stays, with refs 0, and gets a row in `dead` with death = the id
 *      that the next snapshot is going to get. Snapshot s holds a dead chunk if birth <= s < death. Its
 *      bytes move from `stored` to `held`, and go on counting as live in its pack.
 *   S3 Every chunk that an extent of a snapshot names is there: with refs > 0, or dead and held by it.
 *   S4 When snapshot s goes, the dead chunks that no other one holds are deleted: those with
 *      prev < birth <= s < death <= next, where prev and next are the snapshots before and after it.
 *   S5 A chunk that was dead may be named by extents again (rollback): then it has refs and no row in
 *      `dead`; its birth stays. Snapshots made while it was dead count as holding it after its next
 *      death; that keeps it longer than need be, and nothing else.
 * gc, recompression and whoever else moves payloads change the chunk's row (index_move_chunk) and nothing
 * else, whoever holds the chunk: snapshots look up chunks in the shared table at each read, so they never
 * stop gc and gc never needs to open them. Chunks with refs 0 are moved like others.
 */
#ifndef VOLNFS_STORE_INDEX_H
#define VOLNFS_STORE_INDEX_H

#include "server/store/chunk.h"
#include "server/store/volume.h"

#define INDEX_FORMAT 2 /* bump when a table changes; index_open upgrades older ones */

struct index;

struct index_meta {
    uint64_t next_ino, next_chunk;
    uint32_t next_pack;
    uint32_t next_gen;
    uint64_t txg; /* the last transaction group in the database: the applied LSN */
    uint64_t files, logical;
    uint64_t stored;   /* payload bytes of chunks with references */
    uint64_t held;     /* of those that only snapshots hold */
    uint64_t snap_seq; /* id of the newest snapshot ever made; 0: none */
    struct volume_props props;
};

/* Makes the database with its tables and the root directory. */
int index_create(const char *path, const struct index_meta *meta, const struct vattr *root);
/* label is for log lines. An older format is upgraded, in one transaction. -ENOTSUP: newer format.
 * -EUCLEAN: not a sane database. */
int index_open(const char *path, const char *label, struct index **out);
void index_close(struct index *ix);
/* Opens read-only, for checking a volume whose server may be down. -ENOTSUP also for an older format. */
int index_open_readonly(const char *path, const char *label, struct index **out);

/* --- writing: one thread, inside begin/commit --- */

int index_begin(struct index *ix);
/* Durable when it returns 0. On failure the transaction is rolled back and the error returned. After
 * -EIO nothing more is written (index_begin fails): only reopening tells what reached the disk. A put or
 * punch that failed wants index_rollback. -ENOSPC: the disk is full, the next try may succeed. */
int index_commit(struct index *ix);
void index_rollback(struct index *ix);
int index_put_meta(struct index *ix, const struct index_meta *meta);
/* Inserts or replaces. Times are kept in nanoseconds; those outside the years 1677..2262 are clamped. */
int index_put_inode(struct index *ix, const struct vattr *a);
/* Deletes the inode's row, xattrs and symlink target (not its extents: index_punch them first). */
int index_del_inode(struct index *ix, uint64_t ino);
int index_put_symlink(struct index *ix, uint64_t ino, const char *target, size_t len);
int index_put_dirent(struct index *ix, uint64_t dir, uint64_t cookie, const char *name, size_t len,
                     uint64_t ino);
int index_del_dirent(struct index *ix, uint64_t dir, uint64_t cookie);
int index_put_orphan(struct index *ix, uint64_t ino);
int index_del_orphan(struct index *ix, uint64_t ino);
int index_put_xattr(struct index *ix, uint64_t ino, const char *name, size_t len, const void *val,
                    size_t size);
int index_del_xattr(struct index *ix, uint64_t ino, const char *name, size_t len);

/* What a change of extents did to the counters; added to, not set. */
struct index_delta {
    int64_t logical; /* allocated logical bytes of the file */
    int64_t stored;  /* payload bytes of chunks with references */
    int64_t held;    /* of those that only snapshots hold */
};
/* Unmaps [off, off + len) of the file (len UINT64_MAX = to the end): extents are trimmed, split or
 * deleted. At most `max` extents are visited (0 = no bound); returns 1 if more may remain, 0 when done:
 * so that freeing a huge file can be spread over transactions. Goes from the end of the range down. */
int index_punch(struct index *ix, uint64_t ino, uint64_t off, uint64_t len, unsigned max,
                struct index_delta *d);
/* Punches [off, off + c->len), then maps it to the whole of chunk c (a new row, refs 1). off + c->len
 * does not cross a slot boundary. blob: the payload when c->pack is 0, else NULL. */
int index_map(struct index *ix, uint64_t ino, uint64_t off, const struct chunk *c, const void *blob,
              struct index_delta *d);
/* Punches [doff, doff + len) of dst and maps it to what [soff, soff + len) of src has: extents are added, chunks
 * get more refs, no payload is touched. -EINVAL: a range past STORE_FILE_MAX, or an overlap in one file. */
int index_clone(struct index *ix, uint64_t src, uint64_t soff, uint64_t dst, uint64_t doff,
                uint64_t len, struct index_delta *d);
/* Moves a chunk's payload (blob to pack, or pack to pack): one row changes, extents do not. No effect
 * (returns 0) if the chunk is gone by now; 1 if moved. -EINVAL: the payload is not the same. */
int index_move_chunk(struct index *ix, const struct chunk *c);
/* Points the chunk to another payload for the same bytes, which was appended to a pack, if it still is at (from,
 * from_off): 1; otherwise it was freed or moved meanwhile, and nothing changes: 0. Codec and stored length may
 * differ. -EINVAL: blobs, or a payload for another number of bytes. */
int index_replace_payload(struct index *ix, const struct chunk *to, uint32_t from, uint64_t from_off,
                          struct index_delta *d);
/* The chunk stays as it is: it is not to be compressed any more. */
int index_clear_later(struct index *ix, uint64_t id);
/* A piece of a file as one extent has it. */
struct index_piece {
    uint64_t ino, off, chunk;
    uint32_t len, chunk_off;
};
/* Makes the pieces, which are whole extents, share the new chunk c, which has their bytes one after the other: 1; nothing
 * changes if any of them is not just so any more: 0. Pieces that follow one another in a slot become one extent. */
int index_repack(struct index *ix, const struct index_piece *p, size_t n, const struct chunk *c,
                 struct index_delta *d);
/* The chunk of the extent (ino, off, len), if there is one just so, has bytes with this hash: index_find_dedup finds the
 * place while the chunk lives, or until it is put again with another. -EINVAL: len is below INDEX_DEDUP_MIN; no row
 * is looked for when a shorter chunk goes. */
#define INDEX_DEDUP_MIN (SLOT_SIZE / 2)
int index_put_dedup(struct index *ix, uint64_t hash, uint64_t ino, uint64_t off, uint32_t len);
/* Deletes a pack's row if it has no live bytes; unlink its file after the commit, and only if no transaction that is
 * not committed yet may refer to it. */
int index_del_pack(struct index *ix, uint32_t pack);
/* The highest pack that has a row; 0: none has. */
int64_t index_last_pack(struct index *ix);
/* Up to max blobs, lowest chunk id first, committed state, any thread: fn gets the chunk and its payload; it stops when
 * fn returns non-zero (returned). Total bytes of blobs (any thread). */
int index_walk_blobs(struct index *ix, unsigned max,
                     int (*fn)(void *arg, const struct chunk *c, const void *blob), void *arg);
int64_t index_blob_bytes(struct index *ix);
/* Where an extent has the bytes of a blob, from their first one on; of up to max of them, lowest chunk id first, committed state.
 * Those that only snapshots have are left out, and those of which an end is left where the beginning would be below 0. The
 * count. Reads all extents. */
struct index_blob_place {
    uint64_t chunk, ino, off;
};
int index_blob_places(struct index *ix, struct index_blob_place *out, unsigned max);

/* --- snapshots --- */

enum snap_state { /* on disk: never renumber; those below SNAP_DESTROYING hold chunks */
    SNAP_CREATING,
    SNAP_READY,
    SNAP_DESTROYING,
};
struct index_snap {
    uint64_t id;
    char name[STORE_SNAP_NAME_MAX + 1]; /* "" when being destroyed: another may have it */
    int64_t created;                    /* seconds since 1970 */
    enum snap_state state;
    uint64_t files, logical, stored;    /* of the volume when it was made */
};
/* Inserts or replaces. An id above meta.snap_seq makes it the newest: chunks made from now on in this
 * transaction are not held by it. */
int index_put_snap(struct index *ix, const struct index_snap *s);
/* Deletes the row; index_free_dead must have returned 0. */
int index_del_snap(struct index *ix, uint64_t id);
/* Deletes up to max of the dead chunks that only snapshot id held; its state is SNAP_DESTROYING by now. 1 if more may
 * be left, 0 when done. */
int index_free_dead(struct index *ix, uint64_t id, unsigned max, struct index_delta *d);
/* A snapshot's tree (the tables of names, inodes and extents) is in a database of its own. Making one: */
struct index_copy;
/* Makes the database in path (replaced if there) and a connection for the copying. */
int index_copy_new(struct index *ix, const char *path, struct index_copy **out);
/* Fixes what will be copied: the tree as committed now. Quick. Not while a transaction is open in ix. */
int index_copy_pin(struct index_copy *c);
/* Copies, beside writers; durable when it returns 0 (but not its name). stop (may be NULL) is asked now and
 * then: true ends it with -ECANCELED. */
int index_copy_run(struct index_copy *c, bool (*stop)(void *arg), void *arg);
void index_copy_free(struct index_copy *c); /* NULL is fine */
/* Opens a snapshot's database for reading: its tree, with the chunks, blobs and packs of the index in `shared`.
 * readonly: the index may not be written to either (by a checkpoint when it is closed). */
int index_open_snapshot(const char *path, const char *shared, const char *label, bool readonly,
                        struct index **out);
/* Opens two databases with trees, of snapshots or volumes, to compare them: only connections (index_impl.h) make
 * sense of it, with `other` attached as shared. */
int index_open_trees(const char *path, const char *other, const char *label, struct index **out);
/* Makes an index in path with the tree in `tree` (a snapshot's database) and its chunks, of the index in `shared`.
 * Only packs are shared then: index_list_packs tells which. Durable (but not its name). The counters are at least
 * the given ones. -EEXIST, -EUCLEAN. */
int index_create_clone(const char *path, const char *tree, const char *shared, const char *label,
                       uint64_t next_chunk, uint32_t next_pack);
/* Replaces the tree of an index that nobody else uses by a snapshot's, in one durable transaction. Inodes get a
 * change attribute above all that were given out until now; epoch: of the store. Inodes without names go. */
int index_rollback_tree(struct index *ix, const char *tree, uint64_t epoch);
/* All snapshots by ascending id, committed state; fn returns false to stop. */
int index_list_snaps(struct index *ix, bool (*fn)(void *arg, const struct index_snap *s), void *arg);

/* Progress of background work, a text by key; put inside begin/commit. -ENOENT: none, or longer than buf. */
int index_put_note(struct index *ix, const char *key, const char *value);
int index_get_note(struct index *ix, const char *key, char *buf, size_t size);
/* How much memory each connection may keep pages in, as far as it is not in use just now; idle: and what is kept
 * goes now. For a thread that comes back to it now and then. */
void index_set_cache(struct index *ix, unsigned writer_kib, unsigned reader_kib, bool idle);
/* Gives up to `pages` unused pages of the database back to the file system, if there are many; in a transaction of its own. The
 * number of pages given back, or -errno. */
int index_shrink(struct index *ix, unsigned pages);
/* Copies the WAL into the database, beside a writer; call from a thread of its own now and then.
 * Returns the number of WAL frames left, or -errno. */
int index_checkpoint(struct index *ix);
/* Bytes of the database and its WAL on disk. */
uint64_t index_bytes(struct index *ix);
/* Bytes of its pages that are in use: what a copy takes at most. Those of blobs apart, if it is to be without them. 0 or -errno. */
int index_used_bytes(struct index *ix, bool blobs, uint64_t *out);

/* --- reading: any thread, committed state --- */

int index_get_meta(struct index *ix, struct index_meta *meta);
int index_get_inode(struct index *ix, uint64_t ino, struct vattr *out); /* -ENOENT */
/* -ENOENT. cookie may be NULL. */
int index_get_dirent(struct index *ix, uint64_t dir, const char *name, size_t len, uint64_t *cookie,
                     uint64_t *ino);
/* The base cookie of a name: a 63-bit hash, a multiple of 8, at least 8; cookie base..base+7 belong to
 * names with that base. Pure. */
uint64_t index_name_cookie(const char *name, size_t len);
/* Bit i set: cookie base + i is taken in dir (by any name), in committed state. */
int index_cookies_taken(struct index *ix, uint64_t dir, uint64_t base, uint8_t *taken);
/* Entries with cookie > after, ascending, with the inode's row joined; at most max. fn returns false to
 * stop. *eof: the directory ended. */
int index_list_dir(struct index *ix, uint64_t dir, uint64_t after, unsigned max,
                   bool (*fn)(void *arg, const struct volume_dirent *de), void *arg, bool *eof);
int index_dir_empty(struct index *ix, uint64_t dir, bool *empty);
int index_get_symlink(struct index *ix, uint64_t ino, char *buf, size_t size); /* length */
int index_get_xattr(struct index *ix, uint64_t ino, const char *name, size_t len, void *buf,
                    size_t size); /* length; -ENODATA, -ERANGE; size 0 = only the length */
int index_list_xattr(struct index *ix, uint64_t ino, uint64_t after,
                     bool (*fn)(void *arg, uint64_t cookie, const char *name, size_t len), void *arg,
                     bool *eof);
struct index_extent {
    uint64_t off;       /* in the file */
    uint32_t len;
    uint32_t chunk_off; /* first byte of the chunk that is used */
    struct chunk chunk;
};
/* Extents that touch [off, off + len), ascending, at most max; returns the count. */
int index_get_extents(struct index *ix, uint64_t ino, uint64_t off, uint64_t len,
                      struct index_extent *out, unsigned max);
/* The payload of a blob chunk, c->stored_len bytes. -ENOENT when it has moved to a pack meanwhile. */
int index_read_blob(struct index *ix, const struct chunk *c, void *buf);
/* The first mapped (want_data) or unmapped byte at or after off and below end; -ENXIO if none. */
int index_seek(struct index *ix, uint64_t ino, uint64_t off, uint64_t end, bool want_data,
               uint64_t *out);
/* Up to max places that were put with this hash, the youngest file first, committed state: hints, each may have other bytes by now, or
 * be no place at all. The count. */
struct index_place {
    uint64_t ino, off;
};
int index_find_dedup(struct index *ix, uint64_t hash, struct index_place *out, unsigned max);
/* Extents from (ino, off) on, ascending, at most max; the count. */
struct index_swept {
    struct index_piece p;
    struct chunk chunk;
    uint64_t refs;
    bool fresh; /* no snapshot holds the chunk */
};
int index_sweep(struct index *ix, uint64_t ino, uint64_t off, struct index_swept *out, unsigned max);
/* Up to max chunks with ids above `after`, ascending; the count. */
int index_next_chunks(struct index *ix, uint64_t after, struct chunk *out, unsigned max);
/* The same of those that are to be compressed (chunk.later). */
int index_next_later(struct index *ix, uint64_t after, struct chunk *out, unsigned max);
/* Calls fn for (up to 16) extents that name the chunk, with a path of the file ("inode N" if it has none), until it returns
 * non-zero (returned). Reads whole tables. */
int index_chunk_users(struct index *ix, uint64_t chunk, int (*fn)(void *arg, const char *path, uint64_t off),
                      void *arg);
/* The chunk's row, without its references. -ENOENT. */
int index_find_chunk(struct index *ix, uint64_t id, struct chunk *out);
/* Packs that have a row, ascending, with their live bytes; fn returns false to stop. */
int index_list_packs(struct index *ix, bool (*fn)(void *arg, uint32_t pack, uint64_t live), void *arg);
int index_list_orphans(struct index *ix, bool (*fn)(void *arg, uint64_t ino), void *arg);

#endif
