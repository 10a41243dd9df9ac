/* SPDX-License-Identifier: Apache-2.0
 * must: calls of the store that a benchmark cannot do without.
 */
#ifndef VOLNFS_TESTS_MUST_H
#define VOLNFS_TESTS_MUST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program after a message if x is a negative errno. */
#define MUST(x)                                                                                                        \
    do {                                                                                                               \
        long must_ = (x);                                                                                              \
        if (must_ < 0) {                                                                                               \
            fprintf(stderr, "%s: %s\n", #x, strerror((int)-must_));                                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#endif
