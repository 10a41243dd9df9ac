/* SPDX-License-Identifier: Apache-2.0
 * planes: numbers of 2 or 4 bytes taken apart byte by byte, so that their exponents stand together. Pure.
 *
 * Each number (little-endian) is rotated left by one bit first: a float's sign goes to the lowest bit, and its
 * exponent into the highest byte, all 8 bits of it for bf16 and f32. Plane k has byte k of each number.
 */
#ifndef VOLNFS_STORE_PLANES_H
#define VOLNFS_STORE_PLANES_H

#include <stdint.h>

#define PLANES_MAX 4u

/* Takes n numbers of width bytes (2 or 4) apart; plane k goes to out + k * n. */
void planes_split(const void *data, uint32_t n, unsigned width, uint8_t *out);
/* Puts them together again: n * width bytes to out. */
void planes_join(const uint8_t *const plane[PLANES_MAX], uint32_t n, unsigned width, void *out);
/* A cheap look at len bytes (at least 64): may taking numbers of `width` apart show what a compressor of bytes does not
 * see? True if the highest bytes of the rotated numbers are far from evenly spread. */
int planes_skewed(const void *data, uint32_t len, unsigned width);

#endif
