/* SPDX-License-Identifier: Apache-2.0
 * props: a volume's properties as text: "compression=zstd-3,quota=10G". Used by the volnfs command and by
 * the server.
 *
 *   compression   off | zstd (level 1) | zstd-1 … zstd-19
 *   quota         none | bytes, with K, M, G or T for powers of 1024; logical bytes
 *   quota-files   none | a number of files and directories
 *   readonly      on | off
 *   snapdir       hidden | visible
 *   recompress    off | zstd-1 … zstd-19: what gc and scrub write again
 *   dedup         on | off
 */
#ifndef VOLNFS_PROTO_PROPS_H
#define VOLNFS_PROTO_PROPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/control_gen.h"

#define PROPS_TEXT_MAX 128

/* The keys, in the order they are shown; NULL ends. */
extern const char *const props_keys[];
/* "there is no property 'KEY': use ... or ...". */
void props_unknown(const char *key, char *out, size_t size);
/* Sets one property. -EINVAL, with a sentence in err that says what would be right. p is then unchanged. */
int props_set(control_props *p, const char *key, const char *value, char *err, size_t err_size);
/* Sets a list "key=value,key=value". As props_set; p is unchanged unless all of it is right. */
int props_set_list(control_props *p, const char *list, char *err, size_t err_size);
/* The value of key as props_set would take it, in out (PROPS_TEXT_MAX is enough). -EINVAL: no such key. */
int props_get(const control_props *p, const char *key, char *out, size_t size);

/* Bytes from text: digits, then nothing or K, M, G, T (with an optional "iB" or "B"). -EINVAL, -ERANGE. */
int props_parse_size(const char *text, uint64_t *out);
/* The shortest exact form that props_parse_size takes: "10G", "1536M". */
void props_format_size(uint64_t bytes, char *out, size_t size);

#endif
