/* SPDX-License-Identifier: Apache-2.0
 * later: chunks that were stored raw for lack of time are compressed when there is time. Private to the store; steps are
 * taken by gc's thread.
 */
#ifndef VOLNFS_STORE_LATER_H
#define VOLNFS_STORE_LATER_H

#include "server/store/volume_int.h"

struct later; /* a volume's */

struct later *later_new(struct volume *v);
void later_free(struct later *l);
/* May there be such chunks? Not while what the last pass did is on its way to the index. */
bool later_due(struct later *l);
/* Compresses about 1 MiB of them. Bytes read, or -errno. */
int later_step(struct later *l);
/* The last txg that has an op of ours. */
uint64_t later_txg(const struct later *l);

#endif
