/* SPDX-License-Identifier: Apache-2.0
 * siphash: SipHash-2-4, a 64-bit MAC for short messages (Aumasson and Bernstein, 2012).
 */
#ifndef VOLNFS_COMMON_SIPHASH_H
#define VOLNFS_COMMON_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash24(const uint8_t key[16], const void *msg, size_t len);

#endif
