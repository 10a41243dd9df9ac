/* SPDX-License-Identifier: Apache-2.0
 * compound: any bytes as the operations of a COMPOUND, against a temporary store. The first byte of the input picks
 * the caller, the minor version and whether the compound starts inside the volume; without a fuzzer's
 * patience for finding the way there, most operations would only ever see the pseudo tree.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/replay.h"
#include "tests/unit/nfs4_env.h"

static struct env env;

static void close_env(void)
{
    env_close(&env);
}

static void lookup(struct call_buf *b, const char *name)
{
    LOOKUP4args a = {{(uint32_t)strlen(name), name}};

    call_op(b, OP_LOOKUP, (xdrproc_t)xdr_LOOKUP4args, &a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct call_buf b;
    struct reply r;
    size_t head;
    char *bytes;

    if (!ready) {
        env_open(&env);
        atexit(close_env);
        ready = true;
    }
    if (!size)
        return 0;
    call_begin(&b, (data[0] >> 1) % 3, "");
    if (data[0] & 8) {
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        lookup(&b, "alice");
        lookup(&b, "v");
    }
    xdrout_patch(b.o, b.count_pos, 16);
    bytes = call_bytes(&b, &head);
    call_end(&b);
    bytes = realloc(bytes, head + size - 1);
    if (!bytes)
        abort();
    memcpy(bytes + head, data + 1, size - 1);
    env_run(&env, bytes, head + size - 1, data[0] & 1 ? 1000 : 0, &r);
    if (r.result != REQ_DONE || r.rejected || r.numres > 16)
        abort();
    reply_release(&r);
    free(bytes);
    return 0;
}
