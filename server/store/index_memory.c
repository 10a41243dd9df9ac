/* SPDX-License-Identifier: Apache-2.0
 * index_memory: how much memory SQLite may keep pages in.
 */
#include <stdio.h>

#include "server/store/index_impl.h"

/* The connection is this thread's. */
static void set_cache(struct index *ix, struct index_conn *c, unsigned kib)
{
    char text[48];

    if (!c->db || c->cache_kib == kib)
        return;
    snprintf(text, sizeof(text), "PRAGMA main.cache_size = -%u", kib);
    if (index_exec(ix, c->db, text) == 0) /* what is over it is freed at once */
        c->cache_kib = kib;
}

void index_set_cache(struct index *ix, unsigned writer_kib, unsigned reader_kib, bool idle)
{
    if (pthread_mutex_trylock(&ix->write_lock) == 0) {
        set_cache(ix, &ix->writer, writer_kib);
        if (idle && ix->writer.db)
            sqlite3_db_release_memory(ix->writer.db);
        pthread_mutex_unlock(&ix->write_lock);
    }
    for (unsigned i = 0; i < INDEX_READERS; i++) {
        struct index_conn *c = &ix->readers[i];
        bool mine;

        pthread_mutex_lock(&ix->reader_lock);
        mine = i < ix->nreaders && !c->busy;
        c->busy |= mine;
        pthread_mutex_unlock(&ix->reader_lock);
        if (!mine)
            continue;
        set_cache(ix, c, reader_kib);
        if (idle && c->db)
            sqlite3_db_release_memory(c->db);
        index_reader_put(ix, c);
    }
}
