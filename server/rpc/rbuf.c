/* SPDX-License-Identifier: Apache-2.0
 * rbuf: two sizes, each with a bounded pool, because the first touch of fresh memory is what costs.
 */
#include "server/rpc/rbuf.h"

#include "common/pool.h"

static struct pool small_pool = POOL_INIT(sizeof(struct rbuf) + RBUF_SMALL_CAP, 128);
static struct pool large_pool = POOL_INIT(sizeof(struct rbuf) + RBUF_LARGE_CAP, 48);

struct rbuf *rbuf_new(bool large)
{
    struct rbuf *rb = pool_get(large ? &large_pool : &small_pool, NULL);

    if (rb) {
        rb->refs = 1;
        rb->large = large;
        rb->cap = large ? RBUF_LARGE_CAP : RBUF_SMALL_CAP;
    }
    return rb;
}

void rbuf_unref(struct rbuf *rb)
{
    if (rb && --rb->refs == 0)
        pool_put(rb->large ? &large_pool : &small_pool, rb);
}
