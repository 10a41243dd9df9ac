/* SPDX-License-Identifier: Apache-2.0
 * gc: what one thread per engine does behind the volumes' backs, never on a commit thread: compact, repack, later and
 * scrub. Private to the store; volume.h has volume_gc.
 */
#ifndef VOLNFS_STORE_GC_H
#define VOLNFS_STORE_GC_H

#include "server/store/volume_int.h"

struct gc; /* a volume's part: volume.gc */
struct scrub;

/* The engine's thread. 0 or -errno. */
int gc_start(struct engine *e);
void gc_stop(struct engine *e);
/* Hands a volume to the thread, as the last step of opening it. */
void gc_attach(struct volume *v);
/* Takes it back: waits for the step under way, after which nothing here touches the volume. First step of
 * closing it. Harmless if it was never attached. */
void gc_detach(struct volume *v);
/* Removes what is left of dead packs, of a volume that was taken back and has nobody inside, before its packs are closed. */
void gc_finish(struct volume *v);
void gc_free(struct gc *g);
/* Was there nothing to do at the last step, and was nothing changed since? */
bool gc_at_rest(struct volume *v);
/* It was so when the volume was closed. */
void gc_rested(struct volume *v);
/* The volume's scrub; NULL: it is a snapshot. */
struct scrub *gc_scrub(struct volume *v);
/* The volume's next step is due at once. Harmless for a snapshot. */
void gc_wake(struct volume *v);
/* Fills in gc_* of st, unless it is a snapshot. */
void gc_stat(struct volume *v, struct volume_stat *st);

#endif
