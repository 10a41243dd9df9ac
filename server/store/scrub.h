/* SPDX-License-Identifier: Apache-2.0
 * scrub: every live chunk of a volume is read again and its checksum verified, slowly, beside everything else. Private
 * to the store, but for what volume.h has; steps are taken by gc's thread.
 */
#ifndef VOLNFS_STORE_SCRUB_H
#define VOLNFS_STORE_SCRUB_H

#include "server/store/volume_int.h"

struct scrub; /* a volume's */

/* Goes on with what the index's notes say was under way. */
struct scrub *scrub_new(struct volume *v);
void scrub_free(struct scrub *s);
bool scrub_running(struct scrub *s);
/* Verifies the next chunks, about 1 MiB. Bytes read, or -errno. */
int scrub_step(struct scrub *s);

#endif
