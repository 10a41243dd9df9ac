/* SPDX-License-Identifier: Apache-2.0
 * index_upgrade: databases of older formats become ones of the present format.
 *
 * One transaction with one step per format, user_version included: after a crash the database is of one
 * format or the other. Columns are added with a default, so that no row is rewritten.
 */
#include <errno.h>
#include <stdio.h>

#include "common/fault.h"
#include "common/log.h"
#include "server/store/index_impl.h"

/* upgrade[n] makes format n + 1 of format n. */
static const char *const upgrade[INDEX_FORMAT] = {
    [1] = "ALTER TABLE meta ADD COLUMN snap_seq DEFAULT 0;"
          "ALTER TABLE meta ADD COLUMN held DEFAULT 0;"
          "ALTER TABLE meta ADD COLUMN dedup DEFAULT 0;"
          "ALTER TABLE meta ADD COLUMN recompress DEFAULT 0;"
          "ALTER TABLE meta ADD COLUMN snapdir DEFAULT 0;"
          "ALTER TABLE chunk ADD COLUMN birth DEFAULT 1;"
          "ALTER TABLE chunk ADD COLUMN flags DEFAULT 0;"
          "ALTER TABLE pack ADD COLUMN size DEFAULT 0;"
          "ALTER TABLE pack ADD COLUMN state DEFAULT 0;" INDEX_NEW_TABLES_2,
};

int index_upgrade(struct index *ix, sqlite3 *db, int64_t version)
{
    char pragma[64];
    int rc;

    if (ix->readonly) {
        log_error("%s: index: format %lld is older than this program's; a server that opens the volume "
                  "upgrades it",
                  ix->label, (long long)version);
        return -ENOTSUP;
    }
    log_info("%s: index: upgrading from format %lld to %d", ix->label, (long long)version, INDEX_FORMAT);
    snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", INDEX_FORMAT);
    rc = index_exec(ix, db, "BEGIN IMMEDIATE");
    for (; !rc && version < INDEX_FORMAT; version++) {
        rc = fault_point("index.upgrade");
        if (!rc)
            rc = index_exec(ix, db, upgrade[version]);
    }
    if (!rc)
        rc = index_exec(ix, db, pragma);
    if (!rc)
        rc = fault_point("index.upgraded");
    if (!rc)
        rc = index_exec(ix, db, "COMMIT");
    if (rc && !sqlite3_get_autocommit(db))
        sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}
