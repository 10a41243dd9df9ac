/* SPDX-License-Identifier: Apache-2.0
 * restore: any bytes as the stream of 'volnfs restore'. The first byte says whether they are the stream itself, or its
 * records, each with its type and length, to which the checksums are added, so that mutants come further. The server is
 * made up: it is asked only about inodes that it told of, never with a stream's own numbers; and what failed is undone.
 */
#include <stdio.h>

#include "client/cli/dump.h"
#include "client/cli/remote.h"

/* In place of what it tells at the end. */
static int quiet(const char *fmt, ...)
{
    return 0;
}

#define printf quiet
#include "client/cli/cmd_restore.c"
#undef printf

#include <endian.h>
#include <xxhash.h>

#include "tests/fuzz/replay.h"

#define FIRST 1000000u /* the inodes that the server here gives out; streams that begin there find none */

static struct restore now;
static uint64_t given;
static bool made, marked, undone, failing;

/* --- what the rest of the client would be --- */

void *need(void *mem)
{
    must(mem != NULL);
    return mem;
}

int cli_fail(const char *fmt, ...)
{
    return 1;
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
    return 2;
}

int cli_getopt(struct cli *cli, int argc, char **argv, const char *shorts, const struct option *longs, int *status)
{
    return -1;
}

CLIENT *control_connect(const struct cli *cli, int *status)
{
    return NULL;
}

bool control_is_volume(const char *name, size_t len)
{
    return true;
}

void control_disconnect(CLIENT *c)
{
}

bool dump_tree_load(struct dump_tree *t, CLIENT *c, const char *name)
{
    return made;
}

void dump_tree_release(struct dump_tree *t)
{
}

uint64_t dump_tree_print(const struct dump_tree *t, bool exact)
{
    return now.head.base_print;
}

/* --- the server --- */

static bool known(uint64_t ino)
{
    return ino == DUMP_ROOT || (ino >= FIRST && ino < given);
}

static int step(const control_change *ch, control_restored *res)
{
    bool inode = ch->step != STEP_BASE && ch->step != STEP_NEW && ch->step != STEP_AWAY;

    must(made && !undone);
    must(!ch->dir || known(ch->dir));
    must(!ch->todir || known(ch->todir));
    must(!ch->ino || known(ch->ino));
    must(!inode || ch->ino);
    must(ch->name.name_len <= 255 && ch->to.to_len <= 255 && ch->data.data_len <= CONTROL_DUMP_BYTES);
    if (failing && given % 7 == 5)
        return 1;
    if (ch->step == STEP_BASE || ch->step == STEP_NEW)
        res->ino = given++;
    if (ch->step == STEP_NEW && ch->dir == DUMP_ROOT && res->ino == FIRST)
        marked = true;
    return 0;
}

int control_ask(CLIENT *c, rpcproc_t proc, const void *args, void *reply)
{
    if (proc == CONTROL_SETTLE)
        return 0;
    if (proc == CONTROL_DUMP_LIST) { /* nothing is in it */
        memset(reply, 0, sizeof(control_dump_list));
        ((control_dump_list *)reply)->eof = true;
        return 0;
    }
    must(proc == CONTROL_RESTORE);
    memset(reply, 0, sizeof(control_restored));
    return step(&((const control_restore_args *)args)->change, reply);
}

bool control_call(CLIENT *c, rpcproc_t proc, const void *args, void *reply)
{
    must(proc == CONTROL_CREATE);
    memset(reply, 0, sizeof(control_result));
    ((control_result *)reply)->err = made ? -EEXIST : 0;
    made = true;
    return true;
}

int control_outcome(const control_result *r)
{
    return r->err != 0;
}

int control_do(CLIENT *c, rpcproc_t proc, const void *args)
{
    must(proc == CONTROL_DESTROY || proc == CONTROL_SNAP_ROLLBACK || proc == CONTROL_SNAP_CREATE);
    must(proc != CONTROL_DESTROY || now.made);
    undone |= proc == CONTROL_DESTROY || proc == CONTROL_SNAP_ROLLBACK;
    return 0;
}

void control_free(rpcproc_t proc, void *reply)
{
}

/* --- the stream --- */

/* Records (type, two bytes of length, so many bytes) become a stream with the sums they need. */
static size_t seal(const uint8_t *data, size_t size, uint8_t **out)
{
    size_t at = 16, room = 16 + size * 6 + 64;
    uint8_t *p = need(calloc(1, room));
    uint64_t sum;

    memcpy(p, "VOLNFSDP\0\0\0\1", 12);
    sum = XXH3_64bits(p, 16);
    while (size >= 3) {
        uint32_t type = data[0] % 5u, len = (uint32_t)data[1] << 8 | data[2], head[2] = {htobe32(type), htobe32(len)};
        uint64_t wire;
        data += 3;
        size -= 3;
        if (len > size) /* it ends in the middle */
            len = (uint32_t)size;
        sum = XXH3_64bits_withSeed(data, len, sum ^ ((uint64_t)type << 32 | be32toh(head[1])));
        wire = htobe64(sum);
        must(at + 16 + len <= room);
        memcpy(p + at, head, 8);
        memcpy(p + at + 8, &wire, 8);
        memcpy(p + at + 16, data, len);
        at += 16 + len;
        data += len;
        size -= len;
    }
    *out = p;
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *stream = NULL;
    FILE *in;
    int status;

    if (size < 2)
        return 0;
    if (data[0] & 1) {
        size = seal(data + 1, size - 1, &stream);
    } else {
        stream = need(malloc(size));
        memcpy(stream, data + 1, --size);
    }
    failing = data[0] & 2;
    given = FIRST;
    made = marked = undone = false;
    now = (struct restore){.name = (char *)"alice/v"};
    in = fmemopen(stream, size, "rb");
    must(in != NULL);
    stdin = in;
    stopped = 0;
    made = data[0] & 4; /* there is one: to which an increment goes, or that is empty */
    status = run(&now);
    must(status == 0 || !marked || undone || (!*now.head.base && !now.made));
    must(status != 0 || marked);
    fclose(in);
    dump_release(&now.s);
    xdr_free((xdrproc_t)xdr_control_dump_head, &now.head);
    free(now.known);
    free(stream);
    return 0;
}
