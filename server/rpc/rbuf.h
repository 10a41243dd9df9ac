/* SPDX-License-Identifier: Apache-2.0
 * rbuf: receive buffers, pooled and shared by the records that came in together. Belongs to one loop
 * thread at a time: the references are not atomic.
 */
#ifndef VOLNFS_RPC_RBUF_H
#define VOLNFS_RPC_RBUF_H

#include <stdbool.h>
#include <stddef.h>

#include "server/rpc/request.h"

struct rbuf {
    unsigned refs;
    bool large;
    size_t *count; /* of the bytes of large ones of a loop */
    size_t cap;
    char data[] __attribute__((aligned(64)));
};

#define RBUF_SMALL_CAP (65536u - 64u)
#define RBUF_LARGE_CAP (REQUEST_CALL_MAX + 8192u - 64u) /* a record, its mark, and a little more */

/* NULL: out of memory. One reference. A large one is counted in *large_bytes as long as it lives. */
struct rbuf *rbuf_new(bool large, size_t *large_bytes);
static inline struct rbuf *rbuf_ref(struct rbuf *rb)
{
    rb->refs++;
    return rb;
}
/* Accepts NULL. */
void rbuf_unref(struct rbuf *rb);

#endif
