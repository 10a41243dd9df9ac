/* SPDX-License-Identifier: Apache-2.0
 * readdir: any bytes as the arguments of READDIR, in the root, a user, a directory of some names and an empty one. What is
 * listed is no more than was allowed, well formed, and in the order of the cookies.
 */
#include <stdio.h>
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

static void make(const char *name, bool in_many)
{
    CREATE4args a = {.objtype = {.type = NF4DIR}, .objname = {(uint32_t)strlen(name), name}};
    struct call_buf b;
    struct reply r;

    call_begin(&b, 0, "");
    call_op(&b, OP_PUTROOTFH, NULL, NULL);
    lookup(&b, "alice");
    lookup(&b, "v");
    if (in_many)
        lookup(&b, "many");
    call_op(&b, OP_CREATE, (xdrproc_t)xdr_CREATE4args, &a);
    env_call(&env, &b, &r);
    must(r.status == NFS4_OK);
    reply_release(&r);
}

static void make_tree(void)
{
    char name[256];

    env_open(&env);
    atexit(close_env);
    make("many", false);
    make("none", false);
    for (int i = 0; i < 70; i++) {
        memset(name, 'n', sizeof(name));
        snprintf(name, sizeof(name), "%0*d", 1 + i * 3, i);
        make(name, true);
    }
}

/* The result after its status: verifier, entries, eof. */
static void check(struct reply *r, const READDIR4args *a)
{
    size_t len = xdrin_left(&r->x);
    uint64_t cookie = a->cookie, next;
    uint32_t more, eof;

    must(len <= a->maxcount);
    must(XDR_SETPOS(&r->x, (u_int)xdrin_pos(&r->x) + 8));
    for (;;) {
        xname name;
        fattr4 fa;

        must(xdr_uint32_t(&r->x, &more) && more <= 1);
        if (!more)
            break;
        must(xdr_uint64_t(&r->x, &next) && xdr_xname(&r->x, &name) && xdr_fattr4(&r->x, &fa));
        must(next > cookie && name.len && name.len <= STORE_NAME_MAX);
        for (int i = 0; i < 3; i++)
            must(!(fa.attrmask.w[i] & ~a->attr_request.w[i]));
        cookie = next;
    }
    must(xdr_uint32_t(&r->x, &eof) && eof <= 1 && !xdrin_left(&r->x));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    struct call_buf b;
    struct reply r;
    READDIR4args a;
    uint32_t op = 0, ops = 1;
    nfsstat4 st;
    uint8_t *copy;
    XDR x;

    if (!ready) {
        make_tree();
        ready = true;
    }
    if (!size)
        return 0;
    copy = malloc(size);
    must(copy != NULL);
    memcpy(copy, data + 1, size - 1);
    xdrin_init(&x, copy, size - 1);
    memset(&a, 0, sizeof(a));
    if (xdr_READDIR4args(&x, &a)) {
        static const char *const way[] = {"alice", "v", "many"};

        call_begin(&b, 0, "");
        call_op(&b, OP_PUTROOTFH, NULL, NULL);
        for (int i = 0; i < data[0] % 5 && i < 3; i++, ops++)
            lookup(&b, data[0] % 5 == 4 && i == 2 ? "none" : way[i]);
        call_op(&b, OP_READDIR, (xdrproc_t)xdr_READDIR4args, &a);
        env_call(&env, &b, &r);
        must(r.result == REQ_DONE && !r.rejected && r.numres == ops + 1);
        for (uint32_t i = 0; i < r.numres; i++)
            must(reply_next(&r, &op, &st));
        must(op == OP_READDIR);
        if (st == NFS4_OK)
            check(&r, &a);
        reply_release(&r);
    }
    free(copy);
    return 0;
}
