/* SPDX-License-Identifier: Apache-2.0
 * replay: the entry point of a fuzz target. Without libFuzzer, replay.c's main runs it on the files named on
 * the command line, and on a few thousand inputs made from them (or from nothing).
 */
#ifndef VOLNFS_FUZZ_REPLAY_H
#define VOLNFS_FUZZ_REPLAY_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, which is a finding, if not. */
static inline void must(int ok)
{
    if (!ok)
        abort();
}

#endif
