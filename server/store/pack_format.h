/* SPDX-License-Identifier: Apache-2.0
 * pack_format: the bytes of a pack file (volume-format.5), to and from structs. Private to the store.
 *
 * All integers are little-endian. Everything begins at a multiple of PACK_ALIGN; the gaps are zero.
 *   file header (64)  record (64 + payload) ...  [directory (16 each)  footer (64)]
 */
#ifndef VOLNFS_STORE_PACK_FORMAT_H
#define VOLNFS_STORE_PACK_FORMAT_H

#include "server/store/chunk.h"

#define PACK_VERSION   1
#define PACK_HEADER    64u /* of the file, of a record, and the footer */
#define PACK_DIR_ENTRY 16u
#define PACK_ALIGN     8u
#define PACK_FILE_MAX  (160u << 20) /* records and directory; no pack grows past it */

struct pack_record {
    struct chunk chunk; /* pack and pack_off as the record itself says */
    uint64_t ino, off;  /* hints */
};
struct pack_footer {
    uint32_t pack;
    uint32_t count;   /* of directory entries */
    uint64_t dir_off; /* where the directory starts */
    uint64_t dir_sum; /* XXH3-64 of the directory */
};

static inline uint64_t pack_align(uint64_t n)
{
    return (n + PACK_ALIGN - 1) & ~(uint64_t)(PACK_ALIGN - 1);
}

void pack_put_file_header(uint8_t b[PACK_HEADER], uint32_t pack);
/* False: not the header of this pack, or of a newer version. */
bool pack_get_file_header(const uint8_t b[PACK_HEADER], uint32_t pack);
void pack_put_record(uint8_t b[PACK_HEADER], const struct pack_record *r);
/* False: not a record header, damaged, or with lengths that cannot be. */
bool pack_get_record(const uint8_t b[PACK_HEADER], struct pack_record *r);
void pack_put_footer(uint8_t b[PACK_HEADER], const struct pack_footer *f);
bool pack_get_footer(const uint8_t b[PACK_HEADER], struct pack_footer *f);
void pack_put_dir_entry(uint8_t b[PACK_DIR_ENTRY], uint64_t id, uint32_t off, uint32_t stored_len);
void pack_get_dir_entry(const uint8_t b[PACK_DIR_ENTRY], uint64_t *id, uint32_t *off, uint32_t *stored_len);
uint32_t pack_dir_entry_off(const uint8_t b[PACK_DIR_ENTRY]);

#define PACK_PATH_MAX 24 /* "xx/NNNNNNNN.pack" */
void pack_path(char out[PACK_PATH_MAX], uint32_t pack);
/* The number in a file name NNNNNNNN.pack that lies in folder xx; 0 if it is not a pack's. */
uint32_t pack_parse_name(const char *folder, const char *name);

#endif
