/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of locks: what is cleared away after processes were killed, and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/nfs/call.h"
#include "client/shim/hold.h"

#define GONE  0x1111111111111111u /* no process has a descriptor of it */
#define OTHER 0x2222222222222222u

static struct hold_table *table;
static struct nfs_client client;
static unsigned ended;
static void (*between)(void); /* the two looks */

void __wrap_sys_sleep_ms(unsigned ms);
void __wrap_sys_sleep_ms(unsigned ms)
{
    if (between != NULL)
        between();
}

void nfs_lock_end(struct nfs_client *c, struct nfs_locker *locker, const struct nfs_fh *fh, bool dead)
{
    ended++;
}

int nfs_lock_reclaim(struct nfs_client *c, struct nfs_locker *locker, const struct nfs_fh *fh, uint64_t clientid,
                     uint32_t epoch)
{
    return 0;
}

static int setup(void **state)
{
    ended = 0;
    between = NULL;
    table = calloc(1, sizeof(*table));
    if (table == NULL)
        return -1;
    table->killed = 1;
    return 0;
}

static int teardown(void **state)
{
    free(table);
    return 0;
}

static struct hold *lock_of(uint64_t ofd)
{
    static const struct nfs_fh fh = {.size = 1};

    return hold_new(table, HOLD_OFD, -1, ofd, &fh);
}

static void a_killed_holders_row_is_cleared(void **state)
{
    struct hold *hold = lock_of(GONE);

    hold_reap(table, &client, 0);
    assert_int_equal(ended, 1);
    assert_int_equal(hold->state, 0);
}

static void who_has_a_descriptor_keeps_its_row(void **state)
{
    int fd = memfd_create("volnfs-2222222222222222", MFD_CLOEXEC);
    struct hold *hold = lock_of(OTHER);

    hold_reap(table, &client, 0);
    close(fd);
    assert_int_equal(ended, 0);
    assert_int_equal(hold->state, 1);
}

/* Its holder closed the file in order, and another was locked: that one's process was looked at before it opened it. */
static void another_takes_the_row(void)
{
    table->rows[0].state = 0;
    lock_of(OTHER);
}

static void a_row_that_became_anothers_is_left_to_it(void **state)
{
    lock_of(GONE);
    between = another_takes_the_row;
    hold_reap(table, &client, 0);
    assert_int_equal(ended, 0);
    assert_int_equal(table->rows[0].state, 1);
    assert_true(table->rows[0].ofd == OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_killed_holders_row_is_cleared, setup, teardown),
        cmocka_unit_test_setup_teardown(who_has_a_descriptor_keeps_its_row, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_that_became_anothers_is_left_to_it, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
