/* SPDX-License-Identifier: Apache-2.0
 * sqlite: what is set once for SQLite in this process.
 */
#ifndef VOLNFS_STORE_SQLITE_H
#define VOLNFS_STORE_SQLITE_H

/* To be called before the first connection is opened, by whoever opens one; more than once is fine, from any thread. */
void sqlite_setup(void);

#endif
