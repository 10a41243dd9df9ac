/* SPDX-License-Identifier: Apache-2.0
 * gc: what one thread per engine does behind the volumes' backs, never on a commit thread: packs without live
 * bytes are removed, packs with few are copied out. Private to the store; volume.h has volume_gc.
 */
#ifndef VOLNFS_STORE_GC_H
#define VOLNFS_STORE_GC_H

#include "server/store/volume_int.h"

struct gc; /* a volume's part: volume.gc */

/* The engine's thread. 0 or -errno. */
int gc_start(struct engine *e);
void gc_stop(struct engine *e);
/* Hands a volume to the thread, as the last step of opening it. */
void gc_attach(struct volume *v);
/* Takes it back: waits for the step under way, after which nothing here touches the volume. First step of
 * closing it. Harmless if it was never attached. */
void gc_detach(struct volume *v);
void gc_free(struct gc *g);
/* Was there nothing to do at the last step, and was nothing changed since? */
bool gc_at_rest(struct volume *v);
/* It was so when the volume was closed. */
void gc_rested(struct volume *v);
/* Adds what gc did since the volume was opened. */
void gc_stat(struct volume *v, struct volume_stat *st);

#endif
