/* SPDX-License-Identifier: Apache-2.0
 * The cache's buffers: what those in use and those that are free take together.
 */
#include "tests/unit/volumetest.h"

#include <sys/mman.h>

#include "common/pool.h"
#include "server/store/volume_int.h"

static struct vt T;

static int setup(void **state)
{
    vt_make(&T, NULL);
    vt_open(&T);
    return 0;
}

static int teardown(void **state)
{
    vt_close(&T);
    vt_remove(&T);
    return 0;
}

static bool resident(const void *page)
{
    unsigned char in = 1;

    assert_int_equal(mincore((void *)(uintptr_t)page, STORE_PAGE, &in), 0);
    return in & 1;
}

static void free_buffers_give_way(void **state)
{
    enum { N = (24u << 20) / (SLOT_PAGES * STORE_PAGE) };
    struct buf *bufs[N];
    uint64_t used = atomic_load(&T.e->bytes), others = 20u << 20;

    if (!POOL_KEEPS)
        skip();
    for (unsigned i = 0; i < N; i++) {
        bufs[i] = buf_get(T.e, SLOT_PAGES);
        memset(bufs[i]->data, 1, SLOT_PAGES * STORE_PAGE);
    }
    for (unsigned i = 0; i < N; i++)
        buf_unref(bufs[i]);
    assert_true(T.e->free_bytes >= 20u << 20); /* there is room for them */
    cache_make_room(T.e, T.v);
    assert_true(T.e->free_bytes >= 20u << 20);
    atomic_fetch_add(&T.e->bytes, others); /* of other sizes, or no buffers at all */
    for (unsigned i = 0; i < N; i++)
        cache_make_room(T.e, T.v);
    assert_true(T.e->free_bytes + used + others <= T.cache);
    assert_true(T.e->free_bytes >= 4u << 20); /* and not more than needed */
    assert_non_null(T.e->cold_bufs[BUF_CLASSES - 1]);
    for (struct buf *b = T.e->cold_bufs[BUF_CLASSES - 1]; b; b = b->next)
        assert_false(resident(b->data));
    atomic_fetch_sub(&T.e->bytes, others);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(free_buffers_give_way, setup, teardown),
    };

    return cmocka_run_group_tests_name("cache", tests, NULL, NULL);
}
