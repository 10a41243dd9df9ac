/* SPDX-License-Identifier: Apache-2.0
 * compound: any bytes as the operations of a COMPOUND, against a temporary store. The first byte of the input picks
 * the caller, the minor version and whether the compound starts inside the volume, in a session, with a file as the
 * current and another as the saved object; without a fuzzer's patience for finding the way there, most
 * operations would only ever see the pseudo tree.
 */
#include "tests/fuzz/replay.h"
#include "tests/unit/nfs4_client.h"

enum { AS_OWNER = 1, IN_VOLUME = 8, IN_SESSION = 16, WITH_FILES = 32 };

#define OPS 24
static struct client client;

static void stop(void)
{
    (void)close_env(NULL);
}

static void start(void)
{
    (void)open_env(NULL);
    atexit(stop);
    client_open(&client, "fuzz", 65536, 4096);
    reclaim_complete(&client);
    (void)create_file(&client, "one");
    (void)create_file(&client, "two");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct call_buf b;
    struct reply r;
    size_t head;
    char *bytes;

    if (!ready) {
        start();
        ready = true;
    }
    if (!size)
        return 0;
    if (data[0] & IN_SESSION)
        in_session(&client, &b, 1 + (data[0] >> 1 & 1), false);
    else
        call_begin(&b, (data[0] >> 1) % 3, "");
    if (data[0] & IN_VOLUME)
        go_to_volume(&b);
    if (data[0] & WITH_FILES) {
        go_to_volume(&b);
        op_name(&b, OP_LOOKUP, "one");
        call_op(&b, OP_SAVEFH, NULL, NULL);
        go_to_volume(&b);
        op_name(&b, OP_LOOKUP, "two");
    }
    xdrout_patch(b.o, b.count_pos, OPS);
    bytes = call_bytes(&b, &head);
    call_end(&b);
    bytes = realloc(bytes, head + size - 1);
    if (!bytes)
        abort();
    memcpy(bytes + head, data + 1, size - 1);
    env_run(&env, bytes, head + size - 1, data[0] & AS_OWNER ? 1000 : 0, &r);
    if (r.result != REQ_DONE || r.rejected || r.numres > OPS)
        abort();
    reply_release(&r);
    free(bytes);
    return 0;
}
