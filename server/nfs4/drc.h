/* SPDX-License-Identifier: Apache-2.0
 * drc: the reply cache of NFSv4.0 (4.1 has sessions). A client whose connection broke sends a call again with
 * the same xid; executing it twice would make a REMOVE that worked answer NFS4ERR_NOENT. Entries are keyed by
 * peer address and port (clients reconnect from the same port), xid, and a hash of the call. Bounded
 * in number and bytes; the oldest finished ones go first. Safe from any thread.
 */
#ifndef VOLNFS_NFS4_DRC_H
#define VOLNFS_NFS4_DRC_H

#include "server/rpc/request.h"

#define DRC_ENTRIES_MAX 1024u
#define DRC_REPLY_MAX   4096u /* longer replies are not kept; those of changing compounds are short */

struct drc;
struct drc_entry;
int drc_new(struct drc **out);
void drc_free(struct drc *d);

struct drc_reply {
    void *bytes; /* NULL after release */
    size_t len;
};
enum drc_result {
    DRC_NEW,    /* execute it; *e (NULL if the cache is full) goes to drc_end() */
    DRC_BUSY,   /* it is being executed */
    DRC_REPLAY, /* kept has a copy of the COMPOUND4res */
};
enum drc_result drc_begin(struct drc *d, struct request *req, struct drc_entry **e,
                          struct drc_reply *kept);
void drc_reply_release(struct drc_reply *kept);
/* The reply is complete: the bytes of out from `from` on; NULL: forget the request. */
void drc_end(struct drc *d, struct drc_entry *e, const struct xdrout *out, size_t from);

#endif
