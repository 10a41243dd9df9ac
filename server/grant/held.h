/* SPDX-License-Identifier: Apache-2.0
 * held: a grant as it was given, in memory. Private to grant/.
 */
#ifndef VOLNFS_GRANT_HELD_H
#define VOLNFS_GRANT_HELD_H

#include "server/grant/rules.h"

/* A grant as it was given. */
struct held {
    struct grant_rule r; /* path is its own memory */
    int64_t created;
    char *label;
    char *object; /* of a fixed one: its text */
    bool there;   /* its object is known */
};

/* Of a row that held_check finds right; object: a fixed one's text, else NULL. NULL: out of memory. */
struct held *held_new(const struct grant_row *row, const char *object);
void held_free(struct held *h);
/* The row of it, without what is kept of a secret. */
void held_row(const struct held *h, struct grant_row *row);
/* -EINVAL: no grant may be so. */
int held_check(const struct grant_row *row);

#endif
