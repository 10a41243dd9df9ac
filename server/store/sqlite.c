/* SPDX-License-Identifier: Apache-2.0
 * sqlite: its memory is not counted. Nobody asks for the figures, and with them each of its allocations, dozens per row where it was
 * built without lookaside, takes a lock of all threads twice.
 */
#include "server/store/sqlite.h"

#include <pthread.h>
#include <sqlite3.h>

static void set(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0); /* SQLITE_MISUSE: it runs already, and counts */
}

void sqlite_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, set);
}
