/* SPDX-License-Identifier: Apache-2.0
 * operator_walk: the model of what two operators and some writers do to a server's volumes, and the server's process that does it.
 *
 *   O1 A file's content is its version, a number that is never used twice. A writer puts it in the place of the last one by a
 *      rename: so a file has the version that was acknowledged last, or the one under way. What "noise" files have, which
 *      are written in place, is not looked at (but their checksums are).
 *   O2 A snapshot has of each file a version between the one acknowledged before it was asked for, and the one begun
 *      when it was there; and the same ones for ever.
 *   O3 What an operator has begun stands in struct op before, and until what he knows of it is in the model: if the server dies
 *      there, both are right, with and without it.
 *
 * The model is in memory that the server's process shares with the others.
 */
#ifndef VOLNFS_TESTS_OPERATOR_WALK_H
#define VOLNFS_TESTS_OPERATOR_WALK_H

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/unit/walk_server.h"

#define VOLS      4
#define SNAPS     4
#define FILES     5
#define WRITERS   2
#define OPERATORS 2
#define BIGGEST   200000u

#define CHECK(yes, ...)                                                                            \
    do {                                                                                           \
        if (!(yes)) {                                                                              \
            fprintf(stderr, "# %s:%d: %s: ", __FILE__, __LINE__, #yes);                            \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            _exit(3);                                                                              \
        }                                                                                          \
    } while (0)

enum verb { NOTHING, CREATE, DESTROY, SNAP, SNAP_RENAME, SNAP_DESTROY, ROLLBACK, CLONE, RESTORE, GC, SCRUB, PROPS, VERBS };

struct snapshot {
    bool there;
    unsigned name;
    uint64_t version[FILES]; /* 0: no file */
};
struct vol {
    atomic_bool there;
    atomic_uint_fast64_t acked[FILES], begun[FILES];
    struct snapshot snaps[SNAPS];
};
/* O3. */
struct op {
    enum verb verb;
    unsigned vol, snap, name;
    struct snapshot from; /* of CREATE, CLONE and RESTORE: what vol gets; of SNAP: what was acknowledged before */
};
struct shared {
    struct vol vols[VOLS];
    struct op ops[OPERATORS];
    atomic_uint_fast64_t version;
    atomic_uint name;
    atomic_uint stop, begun, did[VERBS], writes;
};

extern struct shared *shared;
extern struct walk_server server;

const char *vol_name(unsigned i, char buf[32]);
const char *snap_name(unsigned i, unsigned name, char buf[32]);

/* The versions of a volume's or snapshot's files. False: there is no such volume or snapshot. */
bool versions_of(const char *name, uint64_t out[FILES]);

/* What is known of a volume: all its files have these versions; there is none; it is what op->from was (with that as a snapshot of
 * its own). */
void set_versions(struct vol *v, const uint64_t version[FILES]);
void forget(struct vol *v);
void born(struct op *op, struct vol *v, bool with_snapshot);
/* O2, for what is there now. */
void learn_snap(struct op *op, struct vol *v);

/* The server's process, until shared->stop or its end. */
_Noreturn void serve(const char *dir, uint64_t seed);

#endif
