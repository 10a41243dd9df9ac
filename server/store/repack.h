/* SPDX-License-Identifier: Apache-2.0
 * repack: what many small writes left in the index is tidied up: slots in many pieces, chunks of which little is
 * used, and small files. Private to the store; steps are taken by gc's thread.
 */
#ifndef VOLNFS_STORE_REPACK_H
#define VOLNFS_STORE_REPACK_H

#include "server/store/volume_int.h"

struct repack; /* a volume's */

struct repack *repack_new(struct volume *v);
void repack_free(struct repack *rp);
/* Is there something to sweep for? quiet: nobody changes the volume at the moment. all: without waiting for age. */
bool repack_due(struct repack *rp, bool quiet, bool all);
/* Is something left for a sweep when it is cold? And: nothing is, as the last one to have the volume open knows. */
bool repack_later(const struct repack *rp);
void repack_rested(struct repack *rp);
/* Looks at the next piece of the index and repacks at most about 1 MiB. Bytes written, or -errno. */
int repack_step(struct repack *rp, bool all);
/* Whole sweeps so far, and the last txg that has an op of ours. */
uint64_t repack_sweeps(const struct repack *rp);
uint64_t repack_txg(const struct repack *rp);

#endif
