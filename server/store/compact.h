/* SPDX-License-Identifier: Apache-2.0
 * compact: packs without live bytes are removed, those with few are copied out (compact.c, G1 to G5). Private to the
 * store; steps are taken by gc's thread.
 */
#ifndef VOLNFS_STORE_COMPACT_H
#define VOLNFS_STORE_COMPACT_H

#include "server/store/volume_int.h"

struct compact; /* a volume's */

struct compact *compact_new(struct volume *v);
/* Touches no packs. Those that were still to be removed have no rows: a look in the volume opened again finds them. */
void compact_free(struct compact *cp);
/* Looks at all packs: removes what is dead and chooses a victim, unless there is one. 1: there was something to do;
 * 0: there was not; or -errno. quiet: nobody changes the volume at the moment, so less of dead bytes is borne. gently: the files
 * of dead packs are left to compact_release, unless there are many or little space is free. *seen: what was committed when it
 * looked; set unless it failed. */
int compact_look(struct compact *cp, bool quiet, bool gently, uint64_t *seen);
/* Gives back some of the space of dead packs: is there more? */
bool compact_release(struct compact *cp);
/* All of it. Not once the packs are closed. */
void compact_release_all(struct compact *cp);
/* Is there a victim? Atomic. */
bool compact_busy(const struct compact *cp);
/* Copies about 1 MiB of the victim; or finishes with it when all is copied and compact_waits is committed. Bytes copied, or
 * -errno: then the victim may have been given up for now. */
int compact_step(struct compact *cp);
/* The txg to be committed before the next step; 0: it need not wait. */
uint64_t compact_waits(const struct compact *cp);
/* The last txg that has an op of ours. */
uint64_t compact_txg(const struct compact *cp);
/* Bytes of settled packs at the last look: in use, and in all. */
void compact_size(const struct compact *cp, uint64_t *live, uint64_t *size);
/* What was done since the volume was opened: gc_* of st. Any thread. */
void compact_stat(const struct compact *cp, struct volume_stat *st);

#endif
