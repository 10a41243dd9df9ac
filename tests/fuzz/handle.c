/* SPDX-License-Identifier: Apache-2.0
 * handle: any bytes as a file handle, and handles with a good MAC over any parts, as somebody would have who once knew
 * an object: PUTFH and operations on it must answer, whatever volume, inode and generation it names.
 */
#include <stdlib.h>
#include <string.h>

#include "server/nfs4/fh.h"
#include "tests/fuzz/replay.h"
#include "tests/unit/nfs4_env.h"

static struct env env;

static void close_env(void)
{
    env_close(&env);
}

static uint64_t number(const uint8_t **p, const uint8_t *end)
{
    uint64_t v = 0;

    for (int i = 0; i < 8 && *p < end; i++)
        v = v << 8 | *(*p)++;
    return v;
}

static void use(const xhandle *h, uint32_t op, xdrproc_t codec, void *args)
{
    PUTFH4args a = {*h};
    struct call_buf b;
    struct reply r;

    call_begin(&b, 0, "");
    call_op(&b, OP_PUTFH, (xdrproc_t)xdr_PUTFH4args, &a);
    call_op(&b, op, codec, args);
    env_call(&env, &b, &r);
    must(r.result == REQ_DONE && !r.rejected && r.numres >= 1 && r.numres <= 2);
    reply_release(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    const uint8_t *p = data, *end = data + size;
    char made[FH_SIZE_MAX], again[FH_SIZE_MAX], raw[NFS4_FHSIZE] = {0};
    struct fh_parts parts = {0}, got;
    xhandle h = {(uint32_t)(size < NFS4_FHSIZE ? size : NFS4_FHSIZE), raw};
    GETATTR4args ga = {.attr_request = {.w = {UINT32_MAX, ~(1u << (FATTR4_TIME_ACCESS_SET - 32) |
                                                            1u << (FATTR4_TIME_MODIFY_SET - 32)), 0}}};
    READDIR4args rd = {.maxcount = 4096};
    LOOKUP4args lk = {{1, "x"}};

    if (!ready) {
        env_open(&env);
        atexit(close_env);
        ready = true;
    }
    memcpy(raw, data, h.len);
    if (fh_decode(env.srv.handle_key, &h, &got) == NFS4_OK) {
        must(fh_encode(env.srv.handle_key, &got, again) == h.len && memcmp(again, raw, h.len) == 0);
    }
    use(&h, OP_GETFH, NULL, NULL);
    if (!size)
        return 0;
    parts.kind = (enum vobj_kind)(VOBJ_ROOT + *p++ % 3);
    if (parts.kind == VOBJ_USER)
        parts.user = number(&p, end);
    if (parts.kind == VOBJ_FILE) {
        parts.volume = number(&p, end);
        parts.ino = number(&p, end);
        parts.gen = (uint32_t)number(&p, end);
    }
    h = (xhandle){fh_encode(env.srv.handle_key, &parts, made), made};
    must(fh_decode(env.srv.handle_key, &h, &got) == NFS4_OK);
    must(got.kind == parts.kind && got.user == parts.user && got.volume == parts.volume && got.ino == parts.ino &&
         got.gen == parts.gen);
    use(&h, OP_GETATTR, (xdrproc_t)xdr_GETATTR4args, &ga);
    use(&h, OP_READDIR, (xdrproc_t)xdr_READDIR4args, &rd);
    use(&h, OP_LOOKUP, (xdrproc_t)xdr_LOOKUP4args, &lk);
    use(&h, OP_LOOKUPP, NULL, NULL);
    use(&h, OP_READLINK, NULL, NULL);
    return 0;
}
