/* SPDX-License-Identifier: Apache-2.0
 * diff: what is different between two snapshots of a volume, or between one and the volume. Reads only.
 */
#ifndef VOLNFS_STORE_DIFF_H
#define VOLNFS_STORE_DIFF_H

#include <stdbool.h>
#include <stddef.h>

struct diff_line {
    char what;        /* '+' came, '-' went, 'M' contents or attributes changed, 'R' renamed (and maybe changed) */
    const char *path; /* from the volume's root, beginning with '/'; NUL-terminated */
    const char *from; /* of 'R': the old path; else NULL */
};
/* dir: the volume's folder. Compares snapshot `a` with snapshot `b`, or with the volume itself (b NULL) as its index
 * has it: a running server is asked to settle it first. Calls fn for each difference, by path, until it returns
 * false. What came or went with a directory has lines of its own; what only moved with one has not. A directory in
 * which names came or went is 'M'. -ENOENT: *missing is the snapshot (or the volume, NULL) that is not there.
 * -EUCLEAN, -EIO. */
int volume_diff(const char *dir, const char *a, const char *b, bool (*fn)(void *arg, const struct diff_line *l),
                void *arg, const char **missing);

#endif
