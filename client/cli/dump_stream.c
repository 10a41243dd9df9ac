/* SPDX-License-Identifier: Apache-2.0
 * dump_stream: records of a dump (see dump.h), each with a checksum that covers all before it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "client/cli/dump.h"
#include "client/cli/remote.h"

#define MAGIC       "VOLNFSDP"
#define VERSION     1u
#define PAYLOAD_MAX (CONTROL_DUMP_BYTES + 4096u)

struct lead {
    char magic[8];
    uint32_t version, zero;
};

struct record {
    uint32_t type, size;
    uint64_t sum;
};

static uint64_t sum_of(const struct dump_stream *s, uint32_t type, uint32_t size)
{
    return XXH3_64bits_withSeed(s->buf, size, s->sum ^ ((uint64_t)type << 32 | size));
}

static bool start(struct dump_stream *s, FILE *file, struct lead *l)
{
    *s = (struct dump_stream){.file = file, .offset = sizeof(*l), .buf = need(malloc(PAYLOAD_MAX))};
    memcpy(l->magic, MAGIC, sizeof(l->magic));
    l->version = htobe32(VERSION);
    l->zero = 0;
    s->sum = XXH3_64bits(l, sizeof(*l));
    return true;
}

static bool put(struct dump_stream *s, const void *data, size_t size)
{
    if (fwrite(data, 1, size, s->file) == size)
        return true;
    cli_fail("cannot write the stream: %s", strerror(errno));
    return false;
}

bool dump_write_start(struct dump_stream *s, FILE *file)
{
    struct lead l;
    return start(s, file, &l) && put(s, &l, sizeof(l));
}

bool dump_read_start(struct dump_stream *s, FILE *file)
{
    struct lead want, got;
    size_t n;
    start(s, file, &want);
    n = fread(&got, 1, sizeof(got), file);
    if (n == 0) {
        cli_fail("%s", ferror(file) ? "cannot read the stream" : "the stream is empty: did the dump fail?");
        return false;
    }
    if (n != sizeof(got) || memcmp(got.magic, want.magic, sizeof(got.magic))) {
        cli_fail("this is not what 'volnfs dump' writes");
        return false;
    }
    if (got.version != want.version || got.zero) {
        cli_fail("the stream has format %u, this program knows %u", be32toh(got.version), VERSION);
        return false;
    }
    return true;
}

void dump_release(struct dump_stream *s)
{
    free(s->buf);
    s->buf = NULL;
}

bool dump_write(struct dump_stream *s, enum dump_record type, xdrproc_t xdr, void *what)
{
    struct record r;
    uint32_t size;
    XDR x;
    xdrmem_create(&x, s->buf, PAYLOAD_MAX, XDR_ENCODE);
    if (!xdr(&x, what)) {
        cli_fail("a record does not fit into the stream");
        return false;
    }
    size = xdr_getpos(&x);
    s->sum = sum_of(s, type, size);
    r = (struct record){htobe32(type), htobe32(size), htobe64(s->sum)};
    s->offset += sizeof(r) + size;
    return put(s, &r, sizeof(r)) && put(s, s->buf, size);
}

static int cut(struct dump_stream *s, size_t more)
{
    if (ferror(s->file))
        cli_fail("cannot read the stream: %s", strerror(errno));
    else
        cli_fail("the stream is cut off: it ends at offset %llu, without its last record",
                 (unsigned long long)(s->offset + more));
    return 0;
}

static int damaged(struct dump_stream *s)
{
    cli_fail("the stream is damaged: the record at offset %llu is not what was written", (unsigned long long)s->offset);
    return 0;
}

int dump_read(struct dump_stream *s)
{
    struct record r;
    uint32_t type, size;
    uint64_t sum;
    size_t n = fread(&r, 1, sizeof(r), s->file);
    if (n != sizeof(r))
        return cut(s, n);
    type = be32toh(r.type);
    size = be32toh(r.size);
    if (type < DUMP_HEAD || type > DUMP_END || size > PAYLOAD_MAX)
        return damaged(s);
    n = fread(s->buf, 1, size, s->file);
    if (n != size)
        return cut(s, sizeof(r) + n);
    sum = sum_of(s, type, size);
    if (sum != be64toh(r.sum))
        return damaged(s);
    s->sum = sum;
    s->offset += sizeof(r) + size;
    s->size = size;
    return (int)type;
}

bool dump_decode(struct dump_stream *s, xdrproc_t xdr, void *what)
{
    XDR x;
    xdrmem_create(&x, s->buf, s->size, XDR_DECODE);
    if (xdr(&x, what) && xdr_getpos(&x) == s->size)
        return true;
    cli_fail("the stream makes no sense before offset %llu", (unsigned long long)s->offset);
    return false;
}

bool dump_read_end(struct dump_stream *s)
{
    if (fgetc(s->file) == EOF && !ferror(s->file))
        return true;
    cli_fail("there is something behind the end of the stream, at offset %llu", (unsigned long long)s->offset);
    return false;
}
