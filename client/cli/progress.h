/* SPDX-License-Identifier: Apache-2.0
 * progress: the line on the terminal while files are copied; also keeps the client's lease. Any thread may call.
 */
#ifndef VOLNFS_CLI_PROGRESS_H
#define VOLNFS_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "client/nfs/file.h"

struct progress;

/* Starts its thread. client may be NULL. */
struct progress *progress_new(struct nfs_client *client, bool bar);
/* One more file of so many bytes was found; all have been found. */
void progress_found(struct progress *p, uint64_t bytes);
void progress_found_all(struct progress *p);
/* Bytes copied (negative: to be copied again); bytes that were there already; a file done. */
void progress_bytes(struct progress *p, int64_t bytes);
void progress_skipped(struct progress *p, uint64_t bytes);
void progress_file(struct progress *p);
/* Around messages to the terminal: the line is taken away, and comes back. */
void progress_pause(struct progress *p);
void progress_go_on(struct progress *p);
/* Draws for the last time and ends. */
void progress_free(struct progress *p);

#endif
