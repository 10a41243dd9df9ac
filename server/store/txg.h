/* SPDX-License-Identifier: Apache-2.0
 * txg: transaction groups, from the operations that add to them to the index. Private to the files that make up a volume;
 * volume_int.h says which locks are needed.
 */
#ifndef VOLNFS_STORE_TXG_H
#define VOLNFS_STORE_TXG_H

#include "common/list.h"
#include "server/store/chunk.h"
#include "server/store/index.h"
#include "server/store/volume.h"

struct inode;
struct slot;
struct snap_request;

enum op_type { /* in the journal: never renumber. record.c and apply.c do not compile without a new one */
    OP_PUT_DIRENT = 1,
    OP_DEL_DIRENT = 2,
    OP_SYMLINK = 3,
    OP_MAP = 4,
    OP_PUNCH = 5,
    OP_PUT_ORPHAN = 6,
    OP_REAP = 7,
    OP_PUT_XATTR = 8,
    OP_DEL_XATTR = 9,
    OP_CLONE = 10,
    OP_MOVE = 11, /* chunk.id, if it is at src, src_off still, is where chunk says, payload and all */
    OP_SNAP = 12,      /* off: the time, len: the state, ino: the id, name: the name, data: files, logical, stored */
    OP_SNAP_FREE = 13, /* ino: the id; at most `max` chunks */
    OP_REPACK = 14, /* data: an array of struct index_piece; they share chunk from now on, if they all are just so still */
};
struct rowop {
    struct rowop *next;
    enum op_type type;
    uint64_t ino;    /* a dirent's directory */
    uint64_t off;    /* a dirent's cookie */
    uint64_t len;    /* of a punch or clone; of data in a map; a dirent's inode */
    uint64_t src, src_off; /* of a clone; of a move: the pack and place that the chunk is moved from */
    struct inode *in; /* counted in inode.opsref, or NULL */
    struct slot *slot; /* counted in slot.opsref, or NULL */
    uint64_t pend;   /* dirty bytes that this publishes */
    struct chunk chunk; /* of a map or move; with its pack counted in volume.packrefs */
    uint64_t hash;   /* of the bytes of a map or clone, for others to be found equal; 0: none. Not in the journal */
    bool reaped;     /* result of OP_REAP and OP_SNAP_FREE: nothing is left */
    unsigned max;    /* of OP_REAP and OP_SNAP_FREE */
    struct vattr attr; /* of OP_REAP with max */
    size_t nlen, dlen;
    char *name;      /* in data[] */
    unsigned char data[];
};
struct tximg {
    struct inode *in; /* NULL in a replay */
    struct vattr a;   /* but `used`, which applying finds out */
};
struct txg {
    struct list link; /* in volume.queue */
    uint64_t n;
    uint64_t t0; /* ms, when it got its first row; when it was queued */
    unsigned rows;
    uint64_t blob_bytes; /* of its ops: data, names, values */
    uint64_t cost; /* in engine.ops */
    bool nonempty, packs;
    bool journalled;      /* durable already */
    uint64_t journal_end; /* for journal_release */
    struct rowop *first, **tail;
    struct list dirty; /* inodes */
    struct tximg *imgs;
    size_t nimgs;
    uint64_t created;       /* inodes */
    struct index_meta meta; /* files, logical, stored, held: not set; the index has them */
    struct snap_request *snap; /* its last op makes a snapshot: it ends its batch */
};

struct rowop *rowop_new(enum op_type type, uint64_t ino, const void *name, size_t nlen, const void *data,
                        size_t dlen);
/* Frees ops that never reached a txg, with their pack references. */
void rowop_drop_list(struct volume *v, struct rowop *op);
/* Adds an op to the open txg. */
void txg_add(struct volume *v, struct rowop *op);
/* Something but ops changed (props, counters). */
void txg_touch(struct volume *v);
struct txg *txg_new(uint64_t n);
void txg_free(struct volume *v, struct txg *t);
/* Bytes of an OP_MAP without pack, of a value. */
static inline const void *rowop_payload(const struct rowop *op)
{
    return op->data + op->nlen + 1;
}
/* Is it so large that it is committed now, and changes wait? */
bool txg_large(const struct txg *t);
/* Takes the open txg, which is committing then; the images of its inodes are made here. */
struct txg *txg_close(struct volume *v);

/* Makes sure that the commit thread looks around at due (ms) at the latest. */
void txg_kick(struct volume *v, uint64_t due);
/* Asks for txg n to be made durable now. */
void txg_want(struct volume *v, uint64_t n);
/* And for it to be in the index. */
void txg_want_committed(struct volume *v, uint64_t n);
/* Waits until txg n is in the index: -EAGAIN, RETRY after waiting, or the volume's failure. 0: it is. */
int txg_wait_locked(struct volume *v, const struct store_call *call, uint64_t n);
/* The lowest pack that something not committed may refer to, or be appended to: those below are settled. */
uint32_t packs_settled(struct volume *v);
void packref_get(struct volume *v, uint32_t pack);
/* Keeps all packs that records may be appended to from now on; before the first append. To be put when the ops that name
 * those packs hold them. Volume lock held. */
uint32_t packref_here(struct volume *v);
void packref_put(struct volume *v, uint32_t pack);

/* --- making them durable: commit.c, call.c --- */

/* Makes the open txg durable in the calling thread, if it is n, small, and there is nothing to wait for. Lock held,
 * dropped meanwhile. */
void txg_commit_here(struct volume *v, uint64_t n);
/* The commit thread. */
void *txg_main(void *arg);
/* Ends the volume's writing life. */
void txg_fail(struct volume *v, int err);
/* Notes that the call's reply depends on txg n. */
void call_note(struct store_call *call, struct volume *v, uint64_t n);
/* Calls the waiters whose txg is durable, or all of them after a failure; drops the lock meanwhile. */
void call_run_waiters(struct volume *v);

/* --- from txgs to the index: apply.c, replay.c --- */

struct batch;
/* Applies n txgs, in order, in one transaction; they are in the index, durably, when it returns 0. No lock held.
 * *out, also on failure: for batch_finish or batch_free. */
int batch_apply(struct volume *v, struct txg *const *t, size_t n, struct batch **out);
/* Unpins what the txgs changed. Volume lock held. */
void batch_finish(struct volume *v, struct batch *b, struct txg *const *t, size_t n);
void batch_free(struct batch *b);
/* The apply thread. It lets a durable txg wait for so many ms; a variable for tests, which want to find it in the journal. */
extern unsigned apply_age_ms;
void *apply_main(void *arg);
/* Opens the volume's journal, if there is one, and the packs; applies what the index lacks. meta: the index's,
 * before and after. */
int replay(struct volume *v, const char *packs, struct index_meta *meta);

#endif
