/* SPDX-License-Identifier: Apache-2.0
 * format: how the volnfs command shows volumes.
 */
#ifndef VOLNFS_CLI_FORMAT_H
#define VOLNFS_CLI_FORMAT_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control_gen.h"

/* "1.5M", "17G", "812": at most 6 characters. */
void format_size(uint64_t bytes, char *out, size_t size);
/* "3.21x": how much smaller what is on the disk was made; "-" if nothing is there. */
void format_ratio(const control_volume *v, char *out, size_t size);
/* A volume with all its properties; NULL: out of memory. */
json_t *format_volume(const control_volume *v);
/* Prints j as indented JSON and drops it; 0, or 1 after a message. */
int format_print_json(json_t *j);

#endif
