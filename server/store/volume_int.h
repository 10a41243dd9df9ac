/* SPDX-License-Identifier: Apache-2.0
 * volume_int: what the files that make up a volume share. Private to them (engine, cache, inode, dcache,
 * slot, txg, commit, tend, volume*); nothing above the store includes it.
 *
 * Locks, outer to inner: volume.lock, engine.lock (LRU and budget), engine.buf_lock (free buffers) and
 * engine.qlock (work queues). A second volume's lock is only ever tried (eviction). None of them is held
 * across disk I/O, compression or a large copy: a slot that is worked on has slot.busy set instead, and
 * an inode or name that is being read is in its table as a placeholder (loading).
 *
 * Internal functions named _locked, and all inode_, dent_, slot_ and txg_ functions without another
 * remark, need volume.lock. Those that may have to wait return RETRY after they let go of the lock: the
 * caller starts over from its first look-up. So no pointer is ever kept over a wait.
 *
 * Memory exhaustion ends the process (vol_alloc): the store is safe against a crash at any moment, and
 * unwinding half an operation is not better.
 */
#ifndef VOLNFS_STORE_VOLUME_INT_H
#define VOLNFS_STORE_VOLUME_INT_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/htab.h"
#include "common/list.h"
#include "server/store/chunk.h"
#include "server/store/index.h"
#include "server/store/pack.h"
#include "server/store/txg.h"
#include "server/store/volume.h"

struct journal;

#define RETRY 1 /* the lock was dropped: look everything up again */

#define BUF_CLASSES       3
#define BLOB_TOTAL_MAX    (64u << 10)  /* a commit of at most this much goes into the index itself */
#define COPY_LOCKED_MAX   (16u << 10)  /* larger copies are done without the volume lock */
#define TXG_ROWS_MAX      20000u       /* a txg is large: new changes wait while another commits */
#define TXG_BLOB_MAX      (8u << 20)
#define TXG_AGE_MS        200u
#define FLUSH_AGE_MS      2000u        /* unstable data older than this is written */
#define PREP_AGE_MS       1000u
#define PREP_MAX          (32u << 20)  /* bytes in packs that no txg names yet */
#define SMALL_FILE        (1u << 20)   /* freed within the txg that unlinks it */
#define REAP_EXTENTS      4000u        /* of a large one, per txg */
#define VOLUME_IO_MAX     (2u << 20)   /* bytes of one read or write: volume.h */
#define READAHEAD         (8u << 20)   /* or an eighth of the cache */
#define SPACE_RESERVE     (64u << 20)  /* free bytes on the disk that data never uses: for the index; */
#define SPACE_RESERVE_MIN (8u << 20)   /* on a small disk an eighth, but this; names leave a quarter */
#define BLOB_MOVE_BYTES   (16u << 20)  /* blobs beyond this move to packs soon, */
#define BLOB_IDLE_BYTES   (1u << 20)   /* beyond this when the volume is idle */
#define APPLY_ROWS        10000u       /* when so much waits, the index gets it at once, not after apply_age_ms */
#define APPLY_BYTES       (32u << 20)
#define WAL_DEBT          10000u        /* rows and pages written between checkpoints */

/* --- engine.c, cache.c --- */

struct buf {
    atomic_uint refs;
    unsigned cls;
    uint32_t pages;
    struct engine *e;
    struct buf *next;
    unsigned char *data;
};

enum work_kind { WORK_PREP, WORK_FLUSH, WORK_LOAD };
struct work {
    struct list link;
    struct volume *vol; /* vol->work counts it */
    uint64_t ino, idx;
    enum work_kind kind;
};

struct engine {
    uint64_t cache_size, epoch;
    uint32_t journal_size;
    unsigned nworkers;
    size_t inode_limit, dent_limit; /* per volume; of all together, META_SHARE of the cache */
    atomic_uint nvolumes;

    pthread_mutex_t lock;
    struct list lru; /* slots of all volumes, hottest first */
    atomic_uint_fast64_t bytes;  /* cost of all slots, and the two below */
    atomic_uint_fast64_t meta;   /* of inodes and names, about */
    atomic_uint_fast64_t ops;    /* of txgs that are closed and not in the index */
    atomic_uint_fast64_t pinned; /* of those that are dirty or not committed */

    pthread_mutex_t buf_lock;
    struct buf *free_bufs[BUF_CLASSES]; /* with memory, free_bytes of it */
    struct buf *cold_bufs[BUF_CLASSES]; /* without */
    _Atomic uint64_t free_bytes;        /* changes under buf_lock */
    struct region *regions[BUF_CLASSES]; /* the newest first; region_used of that one is cut up */
    uint32_t region_used[BUF_CLASSES];
    void *zero; /* 2 MiB of zeros, read-only */

    pthread_mutex_t qlock;
    pthread_cond_t qcond;
    struct list queue[2]; /* urgent (flush), and read-ahead */
    atomic_uint nflush;   /* in the first */
    atomic_uint_fast64_t encode_ns, append_ns; /* what compressing a slot takes, and writing it: averages of late */
    unsigned nqueued;
    bool stop;
    pthread_t *threads;

    pthread_cond_t ckpt_cond, ckpt_done; /* with qlock */
    struct list ckpt;
    struct volume *ckpt_now;
    pthread_t ckpt_thread;
    bool has_ckpt, has_gc; /* the threads were started */

    atomic_uint_fast64_t here_at; /* when a thread that somebody waits for has committed by itself last, ns, */
    atomic_int here_cpu;          /* and where: engine_step_aside */

    struct list gc_list; /* with qlock: volumes */
    struct volume *gc_now;
    pthread_cond_t gc_cond, gc_done;
    pthread_t gc_thread;
    uint64_t pack_size;

    atomic_uint_fast64_t slot_reads, slot_loads, commits, commit_us, deduped, hurried; /* for engine_get_stat */
};

/* Compression is given up for a while when what waits for it would take longer than this; 0: always. Variables for tests,
 * as is the time that it takes in addition. */
extern unsigned flush_hurry_ms, flush_slow_us;

/* Queues work on a slot; drops read-ahead when the queue is long. Volume lock held. */
void engine_queue(struct engine *e, struct volume *v, uint64_t ino, uint64_t idx, enum work_kind kind);
void engine_checkpoint_later(struct engine *e, struct volume *v);
void engine_checkpoint_cancel(struct engine *e, struct volume *v);
/* For threads in the background, now and then: the calling one leaves the processor of a loop that commits by itself
 * (txg_commit_here) to it, for as long as it goes on. That loop sleeps while the disk works, 50 us at a time. Another thread
 * that takes its processor then keeps it for milliseconds, by its fair share, although another processor may be idle: for
 * such short sleeps the kernel does not look what could be moved. No lock held that a loop takes: the thread may have to wait for
 * another processor. Threads that it starts begin where it may run. */
void engine_step_aside(const struct engine *e);
/* The calling thread, one that somebody waits for, has just committed by itself. Of several of them the first that does so keeps
 * the others away until it has not for ENGINE_HERE_NS: two processors cannot both be left, and going to and fro costs. */
#define ENGINE_HERE_NS 1000000u
void engine_here(struct engine *e);
/* Has one done so lately? Then the disk is waited for. Any thread. */
bool engine_is_here(const struct engine *e);

/* A buffer of at least `pages` pages, contents undefined, one reference. Any thread. */
struct buf *buf_get(struct engine *e, uint32_t pages);
void buf_unref(struct buf *b);
void buf_release_all(struct engine *e); /* at the engine's end */
/* This thread's scratch: PACK_WINDOW + SLOT_SIZE bytes (payload, then decoded). */
unsigned char *scratch_get(void);
#define SCRATCH_DECODED(s) ((s) + PACK_WINDOW)

struct slot;
/* Enters a new slot into the LRU; updates its cost; takes it out. Volume lock held. */
void cache_add(struct engine *e, struct slot *s);
void cache_del(struct engine *e, struct slot *s);
/* Recomputes what the slot costs and whether that is pinned. */
void cache_account(struct slot *s);
/* Evicts clean slots until the budget holds (or nothing more can go at once). v: whose lock is held. */
void cache_make_room(struct engine *e, struct volume *v);
/* Inodes and names took or gave up memory. Volume lock held. */
void cache_meta(struct volume *v, int64_t bytes);
void cache_meta_all(struct volume *v); /* what was not passed on to the engine yet */
/* How many of `limit` inodes or names a volume may keep now: all, unless those of all volumes take too much. */
size_t cache_share(const struct engine *e, size_t limit);
/* Do the txgs that wait for the index take too much? */
bool cache_ops_over(const struct engine *e);

/* --- inodes: inode.c --- */

struct inode {
    struct hnode hn;
    struct list lru;
    struct volume *vol;
    struct vattr a; /* memory's truth; a.used is what is reported */
    bool loading, dead, orphan, nosave, complete, nocomplete, dirloading, dirty_row, noxattr;
    unsigned holds, opsref;
    uint64_t txg;      /* last that has a change of the row or names of it */
    uint64_t name_txg; /* of a directory: last change of its entries */
    uint64_t data_txg, punch_txg, xattr_txg;
    struct list dirty_link, reap_link;
    /* directory */
    struct list dents;
    uint64_t nents; /* entries, while complete */
    /* file */
    struct list slots, dirty;
    uint64_t psize;    /* size that the row says */
    uint64_t data_end; /* nothing is mapped at or beyond it */
    uint64_t cused;    /* used by committed extents; the apply thread writes it */
    uint64_t pend;     /* dirty, or published and not committed */
    uint64_t wseq;
    uint64_t ra_next, ra_done;
    unsigned ra_hits;
    char *target; /* of a symlink, when known */
    size_t target_len;
};

/* Finds or reads an inode. 0, RETRY, -EAGAIN, -ESTALE, -EUCLEAN, -EIO. */
int inode_get(struct volume *v, const struct store_call *call, uint64_t ino, struct inode **out);
/* The same of a regular file, else -EISDIR or -EINVAL. */
int inode_get_file(struct volume *v, const struct store_call *call, uint64_t ino, struct inode **in);
struct inode *inode_find(struct volume *v, uint64_t ino); /* whatever is in the table */
struct inode *inode_new(struct volume *v, const struct vattr *a);
/* Enters a row read from the index if the inode is not in the table. */
void inode_preload(struct volume *v, const struct vattr *a);
void inode_dirty(struct inode *in);
/* Next change attribute, ctime now; and mtime. Marks the row dirty. */
void inode_changed(struct inode *in, struct timespec now, bool mtime);
void inode_bump(struct inode *in); /* the change attribute only */
void inode_recalc_used(struct inode *in);
/* One name less; frees the inode when that was the last and nobody holds it. */
void inode_drop_name(struct inode *in, struct timespec now);
/* Frees an inode without names that nobody holds. */
void inode_kill(struct inode *in);
void inode_evict(struct volume *v, size_t most, unsigned steps);
void inode_free(struct inode *in);

/* --- names: dcache.c --- */

struct dent {
    struct hnode hn; /* hash of (dir, base cookie) */
    struct list lru, link;
    struct inode *dir;
    uint64_t base, cookie, ino; /* ino 0: no such name */
    uint64_t txg;
    uint8_t taken; /* cookies base + i that other names have (a superset) */
    bool loading;
    uint8_t len;
    char name[];
};

/* Finds or reads a name. 0 (also for a name that is known not to exist), RETRY, -EAGAIN, -EUCLEAN... */
int dent_get(struct volume *v, const struct store_call *call, struct inode *dir, const char *name,
             size_t len, struct dent **out);
/* Makes a name point to ino; -ENOSPC when no cookie is left. Check first with dent_cookie_free. */
void dent_set(struct dent *d, uint64_t ino);
bool dent_cookie_free(const struct dent *d);
void dent_clear(struct dent *d);
/* Reads all names of a directory that is neither complete nor nocomplete: RETRY when it was tried, or waited for. */
int dir_load(struct volume *v, const struct store_call *call, struct inode *dir);
/* Is the directory empty? 0 or -ENOTEMPTY, RETRY, -EAGAIN. */
int dir_check_empty(struct volume *v, const struct store_call *call, struct inode *dir);
void dent_evict(struct volume *v, size_t most, unsigned steps);
void dent_free(struct dent *d);

/* --- slots: slot.c (table, dirtying), flush.c, load.c --- */

enum slot_busy { SLOT_IDLE, SLOT_COPYING, SLOT_FLUSHING, SLOT_LOADING };
struct slot {
    struct hnode hn;
    struct inode *in;
    uint64_t idx;
    struct list lru, link, dlink, vdlink; /* cache, inode.slots, inode.dirty, volume.dirty */
    /* Pages below buf's end that are valid have their bytes there; valid pages beyond it are zeros. */
    struct buf *buf;
    uint32_t valid, dirty, bad;
    uint32_t changes; /* grows with each change of what the slot reads as */
    enum slot_busy busy;
    bool ref, queued;
    unsigned opsref, nfrag;
    uint64_t txg;
    uint64_t wseq, dirty_ms;
    uint32_t cost, pinned;
    struct rowop *prep; /* all of `dirty`, encoded and in packs, not in a txg yet */
    uint32_t prep_len;
};

static inline uint64_t slot_start(const struct slot *s)
{
    return s->idx * SLOT_SIZE;
}
/* Bits of pages that [from, to) of a slot touches. */
static inline uint32_t pages_touched(uint32_t from, uint32_t to)
{
    if (from >= to)
        return 0;
    uint32_t a = from / STORE_PAGE, b = (to + STORE_PAGE - 1) / STORE_PAGE;
    return (uint32_t)((((uint64_t)1 << b) - 1) & ~(((uint64_t)1 << a) - 1));
}
/* Bits of pages that lie wholly in it. */
static inline uint32_t pages_covered(uint32_t from, uint32_t to)
{
    uint32_t a = (from + STORE_PAGE - 1) / STORE_PAGE, b = to / STORE_PAGE;
    return a >= b ? 0 : (uint32_t)((((uint64_t)1 << b) - 1) & ~(((uint64_t)1 << a) - 1));
}

struct slot *slot_find(struct inode *in, uint64_t idx);
struct slot *slot_get(struct inode *in, uint64_t idx); /* finds or makes */
bool slot_evictable(const struct slot *s);
void slot_free(struct slot *s); /* not busy, no ops, out of all lists; LRU included */
/* Makes the buffer reach page `pages`; cover: pages about to be overwritten (not zeroed). */
void slot_grow(struct slot *s, uint32_t pages, uint32_t cover);
void slot_dirty(struct slot *s, uint32_t mask);
/* Forgets unwritten changes of the pages in mask. */
void slot_undirty(struct slot *s, uint32_t mask);
void slot_drop_prep(struct slot *s);
/* Waits until the slot is idle: -EAGAIN or RETRY. */
int slot_wait(struct volume *v, const struct store_call *call);
void slot_idle(struct slot *s); /* ends busy, wakes waiters */
/* Bytes [from, to) of the file become zero in memory; slots in it must be idle. */
void slots_zero(struct inode *in, uint64_t from, uint64_t to);
/* Forgets the pages that [from, to) touches: they are read again from the index. The slots are idle and clean there. */
void slots_forget(struct inode *in, uint64_t from, uint64_t to);
/* Is a page dirty that [from, to) touches? */
bool slots_dirty_in(struct inode *in, uint64_t from, uint64_t to);
/* 0 if no slot that touches [from, to) is busy, else RETRY or -EAGAIN. */
int slots_idle_in(struct volume *v, const struct store_call *call, struct inode *in, uint64_t from,
                  uint64_t to);
/* Throws everything away that is not busy. */
void slots_discard(struct inode *in);

/* Reads the slot's missing pages; drops the lock. RETRY when done; or an error. The slot is idle. past: the page cache is
 * not to keep what is read. */
int slot_load(struct slot *s, bool past);

struct same; /* dedup.h */
/* Encodes what is dirty of a slot that the caller made busy; drops the lock meanwhile. On success
 * s->prep has the result. The slot stays busy. same (zeroed; NULL: do not look): if the volume dedups, a place that
 * has the bytes already; then the caller asks same_holds under the lock under which it publishes, or encodes
 * again without, and calls same_release. */
int slot_encode(struct slot *s, bool blob, struct same *same);
/* The same with all of that done. *shared: publish it before the lock is let go of. */
int slot_encode_now(struct slot *s, bool blob, bool *shared);
/* Moves s->prep into the open txg. */
void slot_publish(struct slot *s);
/* Flushes what was dirty in the file when called. 0 with everything published; -EAGAIN; an error. */
int inode_flush(struct volume *v, struct store_call *call, struct inode *in);
/* Publishes what is encoded; all, or what is older than ms. */
void volume_publish_preps(struct volume *v, uint64_t before_ms);
/* Queues dirty slots older than before_ms to the workers. */
void volume_flush_old(struct volume *v, uint64_t before_ms);
void slot_work(struct volume *v, uint64_t ino, uint64_t idx, enum work_kind kind);

/* --- snapshots: snap.c, snap_list.c, snap_open.c --- */

struct snap {
    struct list link; /* volume.snaps, by id */
    struct index_snap row;
    uint64_t txg;        /* last that has a change of the row */
    bool freeing;        /* an OP_SNAP_FREE is under way */
    struct volume *open; /* referenced */
    bool opening;
    uint64_t used_ms; /* when it was last asked for */
    unsigned cloning; /* that many clones are being made of it */
};
struct snap_request; /* a snapshot to be made: of the thread in snap_create */

/* Called by txg_close: adds the ops that are due. And is there one? */
void snap_close_txg(struct volume *v, struct txg *t);
bool snap_due(const struct volume *v);
/* Fixes the tree of t's snapshot: after t was applied, before anything else is (N2). No lock held. */
void snap_pin(struct volume *v, struct txg *t);
void snap_drop_request(struct txg *t);
/* Applies OP_SNAP and OP_SNAP_FREE. */
int snap_apply(struct index *ix, struct txg *t, struct rowop *op, struct index_delta *d);
/* The op is committed. Volume lock held. */
void snap_finish(struct volume *v, struct txg *t, struct rowop *op);
/* Reads the rows, removes files that belong to none. Before the volume's threads run. */
int snap_load(struct volume *v);
/* Closes all that are open; nobody else is inside by now. No lock held. */
void snap_close_all(struct volume *v);
void snap_release(struct volume *v);

/* --- the volume: volume.c, volume_enter.c, volume_stat.c --- */

struct packref {
    uint32_t pack, count;
};
struct volume {
    struct engine *e;
    char *dir, *label;
    uint64_t id;
    uint64_t user; /* volume_set_user */
    atomic_uint refs;
    int dirfd, lockfd;

    pthread_mutex_t lock;
    pthread_cond_t cond;        /* busy slots, loads, commits; callers leaving */
    pthread_cond_t commit_cond; /* the commit thread */
    bool closing, stop, closed;
    bool comes_back; /* volume_comes_back */
    bool no_clones;  /* volume_bar_clones */
    unsigned inside, work, waiting;

    struct htab inodes, dents, slots;
    struct list inode_lru, dent_lru;
    size_t ninodes, ndents;
    int64_t meta; /* for cache_meta: not in engine.meta yet */
    unsigned dirloads;
    struct list dirty; /* slots, oldest first */
    uint64_t prep_bytes;
    struct list reap;

    /* open -> committing (closed, not durable) -> queue (durable, unless the first is not journalled) -> index */
    struct txg *open, *committing;
    struct list queue;
    unsigned queue_rows;
    uint64_t queue_bytes;
    bool applying;                  /* the apply thread is at it */
    atomic_uint_fast64_t durable;   /* txgs up to this survive a crash */
    atomic_uint_fast64_t committed; /* txgs up to this are in the index; <= durable */
    uint64_t want, want_committed;
    atomic_int failed;
    atomic_bool abandoned; /* with failed: volume_abandon */
    bool nospace; /* applying waits for space */
    struct journal *journal;      /* commit thread makes it; NULL: each txg goes to the index at once */
    uint32_t journal_max;         /* commit thread */
    bool journal_tried;           /* commit thread */
    int flush_err;
    uint64_t flush_retry_ms;
    uint64_t relief_ms; /* write_throttle: not before */
    struct volume_waiter *waiters;
    unsigned nwaiters, group; /* waiters now; enough of them for a commit, judged by the last one */
    uint64_t commit_sleep;    /* ms until which the commit thread sleeps by itself; 0: it does not */
    uint64_t commit_ns;       /* how long the last commit took */
    uint64_t here_ns;         /* and those of txg_commit_here, on average */
    bool gathering;           /* the commit thread waits for more waiters */
    pthread_t thread, apply_thread;
    pthread_cond_t apply_cond;
    bool apply_stop;

    struct index *ix;
    struct packset *ps;
    struct volume_props props;
    uint64_t next_ino, files;
    uint32_t next_gen;
    atomic_uint_fast64_t next_chunk;
    uint64_t logical, stored, held; /* committed */
    uint64_t snap_seq;              /* id of the newest snapshot */
    int64_t extra;            /* reported minus committed use of all cached inodes */
    uint64_t pinned;          /* this volume's part of engine.pinned */
    uint64_t verifier;
    struct index_meta disk_meta; /* as committed last; apply thread */
    uint64_t free_bytes, free_ms, reserve;
    uint64_t quota_txg, quota_ms; /* vol_over_quota: what was waited for last, and until when that will do */
    uint64_t *orphans;
    size_t norphans;
    struct packref *packrefs;
    size_t npackrefs, cappackrefs;
    uint64_t blob_bytes, idle_ms, wal_debt;
    bool blob_stuck;
    struct list ckpt_link; /* engine.qlock */
    struct gc *gc;         /* gc.h */
    uint64_t pieces;       /* small maps and punches so far: what repacking may undo */
    struct dedup_recent *recent; /* dedup.c */
    uint64_t hurried;      /* bytes since then that were stored raw for lack of time */
    uint64_t deduped;      /* bytes since the volume was opened that were not stored again */

    struct list snaps;
    struct snap_request *snap_request; /* for the open txg */
    bool snap_making;                  /* somebody is in snap_create */
    uint64_t snap_change;
    struct timespec snap_mtime;
    struct volume *parent; /* of a snapshot: referenced */
};

/* The newest txg with anything in it. */
static inline uint64_t txg_last(const struct volume *v)
{
    return v->open->nonempty ? v->open->n : v->open->n - 1;
}
void *vol_alloc(size_t size); /* zeroed */
struct volume *volume_alloc(struct engine *e, const char *dir, const char *label, uint64_t id);
void volume_free(struct volume *v);
void vol_take_meta(struct volume *v, const struct index_meta *m);
/* -EINVAL: such properties cannot be set. */
int volume_props_check(const struct volume_props *p);
/* Throws away what is in memory; nobody is inside. */
void vol_drop_memory(struct volume *v);
/* Publishes what was dirty when it was called; the last error. Lock held, dropped meanwhile. */
int vol_flush(struct volume *v);
/* Waits until all of the open txg is in the index. Lock held, dropped meanwhile. 0 or -EIO. */
int vol_settle(struct volume *v);
/* Locks and counts the caller in; -ESTALE when closed. */
int vol_enter(struct volume *v);
void vol_leave(struct volume *v);
/* vol_enter for a call that changes something: makes room in call->deps first. */
int vol_enter_change(struct volume *v, struct store_call *call);
/* What a call gets that finds the volume failed: err, or -ESTALE if it is being thrown away. */
static inline int vol_failed(const struct volume *v, int err)
{
    return v->abandoned ? -ESTALE : err;
}
/* Wakes those who wait on v->cond. */
void vol_wake(struct volume *v);
/* Waits on v->cond, at most ms (0 = no bound). Lock held. */
void vol_wait(struct volume *v, unsigned ms);
/* May a change go into the open txg? kind: what it may use up. 0, RETRY, -EAGAIN, -ENOSPC, -EROFS. */
enum vol_change { CHANGE_FREE, CHANGE_NAMES, CHANGE_DATA };
int vol_admit(struct volume *v, const struct store_call *call, enum vol_change kind);
/* -EDQUOT: with so many bytes more in the file, which then has new_size, the volume's quota would be passed. */
int vol_quota(struct volume *v, const struct inode *in, uint64_t new_size, uint64_t bytes);
/* A quota seems to be used up: waits, once in a while, for what is freed and not in the index yet. RETRY, -EAGAIN, or -EDQUOT. */
int vol_over_quota(struct volume *v, const struct store_call *call);
/* Has all that is dirty written and brought into the index; does not wait, and does it at most once in so many ms. */
void vol_relieve(struct volume *v, unsigned ms);
#define RELIEF_MS 5u /* while somebody waits for it */
uint64_t vol_space(struct volume *v, bool fresh);
/* The reserve on a disk of so many bytes. */
uint64_t vol_reserve(uint64_t total);
/* avail_* and total_* of st, with so much to write beyond the reserve. */
void vol_stat_space(struct volume_stat *st, const struct volume_props *p, uint64_t space);
uint64_t vol_space_now(struct volume *v); /* free bytes beyond the reserve; lock not held */
struct journal;

/* --- the apply thread's other duties: tend.c. No lock held --- */
void tend_move_blobs(struct volume *v);

#endif
