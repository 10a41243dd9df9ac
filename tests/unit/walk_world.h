/* SPDX-License-Identifier: Apache-2.0
 * walk_world: the steps of a volume's stories, done alike in the volume and in a model in memory.
 */
#ifndef VOLNFS_TESTS_WALK_WORLD_H
#define VOLNFS_TESTS_WALK_WORLD_H

#include "tests/unit/snapmodel.h"

#define WALK_SNAPS 3

enum act {
    RANDOM,   /* arg: how many operations of the model */
    WRITE,    /* file arg gets new bytes, which go to packs */
    COPY,     /* the bytes of file 0: dedup finds them */
    HOLLOW,   /* as WRITE, but one slot in four stays what it was */
    HURRY,    /* as WRITE, but stored raw for lack of time; every second slot compresses */
    SMALL,    /* a few small files in directory 1 */
    SETTLE,
    CHECKPOINT,
    CLOSE,
    READ,     /* all files, from packs */
    GC,
    SCRUB,
    SNAP,     /* arg: which */
    LOOK,     /* into it */
    RENAME,
    DESTROY,
    FREED,    /* waits until what destroyed snapshots held is free */
    CLONE,    /* of snapshot arg */
    ROLLBACK, /* to snapshot arg */
    DAMAGE,   /* rows of the index that repair finds out again */
    LOSE,     /* the index */
    REPAIR,
    REBUILD,
    MOVED,    /* waits until small data is in packs */
};
struct row {
    enum act act;
    unsigned arg;
};
struct script {
    struct row setup[16], rows[32]; /* up to one that is zero */
    bool old;                       /* begins with a volume of format 1 */
};

/* What is there, by the model. */
struct world {
    struct model *m, *snap[WALK_SNAPS], *clone;
    bool renamed[WALK_SNAPS], unsure; /* unsure: of snapshots' names */
    unsigned seed;
};

static inline bool walk_last(const struct row *r)
{
    return r->act == RANDOM && !r->arg;
}

/* Each operation of RANDOM is a step of its own. */
static inline unsigned walk_steps(const struct row *r)
{
    return r->act == RANDOM ? r->arg : 1;
}

/* t: a volume below dir, closed; opened with epochs from `epoch` on. */
void walk_place(struct vt *t, const char *dir, uint64_t epoch);
int walk_begin(struct vt *t);
int walk_end(struct vt *t); /* harmless if it is closed */
const char *walk_snap_name(const struct world *w, unsigned i, char buf[16]);
void walk_clone_dir(const struct vt *t, char *buf, size_t size);
void walk_drop(struct model **m);
/* Is nothing held for snapshots any more? */
bool walk_is_free(struct vt *t);
int walk_random(struct world *w, struct vt *t);
/* One step, in the model and, if t is not NULL, in the volume, which is opened if need be. 0 or -errno. */
int walk_act(struct world *w, struct vt *t, const struct row *r);
/* The files of an old volume in the model, and the volume of format 1, all data in its index. */
void walk_old_model(struct model *m);
void walk_old_make(struct vt *t, struct model *m);

#endif
