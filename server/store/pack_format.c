/* SPDX-License-Identifier: Apache-2.0
 * pack_format: encodes and decodes the fixed parts of pack files. Pure.
 */
#include "server/store/pack_format.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define FILE_MAGIC   "VNFSPACK"
#define RECORD_MAGIC "VREC"
#define FOOTER_MAGIC "VNFSPEND"
#define CHECK_AT     56u /* in each of the three: XXH3-64 of the bytes before it */

static void put32(uint8_t *p, uint32_t v)
{
    v = htole32(v);
    memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

static void put_check(uint8_t *b)
{
    put64(b + CHECK_AT, XXH3_64bits(b, CHECK_AT));
}

static bool check_ok(const uint8_t *b)
{
    return get64(b + CHECK_AT) == XXH3_64bits(b, CHECK_AT);
}

void pack_put_file_header(uint8_t b[PACK_HEADER], uint32_t pack)
{
    memset(b, 0, PACK_HEADER);
    memcpy(b, FILE_MAGIC, 8);
    put32(b + 8, PACK_VERSION);
    put32(b + 12, pack);
    put_check(b);
}

bool pack_get_file_header(const uint8_t b[PACK_HEADER], uint32_t pack)
{
    return memcmp(b, FILE_MAGIC, 8) == 0 && check_ok(b) && get32(b + 8) == PACK_VERSION &&
           get32(b + 12) == pack;
}

void pack_put_record(uint8_t b[PACK_HEADER], const struct pack_record *r)
{
    memset(b, 0, PACK_HEADER);
    memcpy(b, RECORD_MAGIC, 4);
    b[4] = PACK_VERSION;
    b[5] = (uint8_t)r->chunk.codec;
    put64(b + 8, r->chunk.id);
    put64(b + 16, r->ino);
    put64(b + 24, r->off);
    put32(b + 32, r->chunk.stored_len);
    put32(b + 36, r->chunk.len);
    put64(b + 40, r->chunk.checksum);
    put32(b + 48, r->chunk.pack);
    put32(b + 52, (uint32_t)r->chunk.pack_off);
    put_check(b);
}

bool pack_get_record(const uint8_t b[PACK_HEADER], struct pack_record *r)
{
    if (memcmp(b, RECORD_MAGIC, 4) != 0 || !check_ok(b) || b[4] != PACK_VERSION)
        return false;
    if (b[5] > CHUNK_CODEC_MAX)
        return false;
    r->chunk.codec = b[5];
    r->chunk.id = get64(b + 8);
    r->ino = get64(b + 16);
    r->off = get64(b + 24);
    r->chunk.stored_len = get32(b + 32);
    r->chunk.len = get32(b + 36);
    r->chunk.checksum = get64(b + 40);
    r->chunk.pack = get32(b + 48);
    r->chunk.pack_off = get32(b + 52);
    return r->chunk.len > 0 && r->chunk.len <= SLOT_SIZE && r->chunk.stored_len > 0 &&
           r->chunk.stored_len <= CHUNK_BOUND && r->chunk.id != 0;
}

void pack_put_footer(uint8_t b[PACK_HEADER], const struct pack_footer *f)
{
    memset(b, 0, PACK_HEADER);
    memcpy(b, FOOTER_MAGIC, 8);
    put32(b + 8, PACK_VERSION);
    put32(b + 12, f->pack);
    put32(b + 16, f->count);
    put64(b + 24, f->dir_off);
    put64(b + 32, f->dir_sum);
    put_check(b);
}

bool pack_get_footer(const uint8_t b[PACK_HEADER], struct pack_footer *f)
{
    if (memcmp(b, FOOTER_MAGIC, 8) != 0 || !check_ok(b) || get32(b + 8) != PACK_VERSION)
        return false;
    f->pack = get32(b + 12);
    f->count = get32(b + 16);
    f->dir_off = get64(b + 24);
    f->dir_sum = get64(b + 32);
    return f->dir_off >= PACK_HEADER && f->dir_off <= PACK_FILE_MAX &&
           f->count <= PACK_FILE_MAX / PACK_DIR_ENTRY;
}

void pack_put_dir_entry(uint8_t b[PACK_DIR_ENTRY], uint64_t id, uint32_t off, uint32_t stored_len)
{
    put64(b, id);
    put32(b + 8, off);
    put32(b + 12, stored_len);
}

void pack_get_dir_entry(const uint8_t b[PACK_DIR_ENTRY], uint64_t *id, uint32_t *off, uint32_t *stored_len)
{
    *id = get64(b);
    *off = get32(b + 8);
    *stored_len = get32(b + 12);
}

uint32_t pack_dir_entry_off(const uint8_t b[PACK_DIR_ENTRY])
{
    return get32(b + 8);
}

void pack_path(char out[PACK_PATH_MAX], uint32_t pack)
{
    snprintf(out, PACK_PATH_MAX, "%02x/%08x.pack", pack & 0xff, pack);
}

uint32_t pack_parse_name(const char *folder, const char *name)
{
    char path[PACK_PATH_MAX];
    char *end;
    unsigned long n = strtoul(name, &end, 16);

    if (n == 0 || n > UINT32_MAX || strlen(folder) != 2 || strlen(name) != 13)
        return 0;
    pack_path(path, (uint32_t)n); /* whatever is not exactly the canonical name is not ours */
    return memcmp(path, folder, 2) == 0 && strcmp(path + 3, name) == 0 ? (uint32_t)n : 0;
}
