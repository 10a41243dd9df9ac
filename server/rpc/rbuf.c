/* SPDX-License-Identifier: Apache-2.0
 * rbuf: two sizes, each with a bounded pool, because the first touch of fresh memory is what costs.
 */
#include "server/rpc/rbuf.h"

#include "common/pool.h"

static struct pool small_pool = POOL_INIT(sizeof(struct rbuf) + RBUF_SMALL_CAP, 128);
static struct pool large_pool = POOL_INIT(sizeof(struct rbuf) + RBUF_LARGE_CAP, 48);

struct rbuf *rbuf_new(bool large, size_t *large_bytes)
{
    struct rbuf *rb = pool_get(large ? &large_pool : &small_pool, NULL);

    if (rb) {
        rb->refs = 1;
        rb->large = large;
        rb->cap = large ? RBUF_LARGE_CAP : RBUF_SMALL_CAP;
        rb->count = large_bytes;
        if (large)
            *large_bytes += rb->cap;
    }
    return rb;
}

void rbuf_unref(struct rbuf *rb)
{
    if (!rb || --rb->refs)
        return;
    if (rb->large)
        *rb->count -= rb->cap;
    pool_put(rb->large ? &large_pool : &small_pool, rb);
}
