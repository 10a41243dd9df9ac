/* SPDX-License-Identifier: Apache-2.0 */
/* One compound from encoder to decoder. */
#include "client/nfs/call.h"

#include <errno.h>
#include <string.h>

#include "client/nfs/heap.h"

static int call_take(struct rpc_call *rpc, const uint8_t *reply, size_t size)
{
    struct nfs_call *call = rpc->arg;

    if (call->reply != NULL && call->reply != call->room)
        heap_free(call->reply);
    call->reply = size <= sizeof(call->room) ? call->room : heap_alloc(size);
    if (call->reply == NULL)
        return -ENOMEM;
    memcpy(call->reply, reply, size);
    dec_start(&call->dec, call->reply, size);
    return 0;
}

void call_start(struct nfs_call *call)
{
    memset(&call->rpc, 0, sizeof(call->rpc));
    call->rpc.lane = RPC_ANY;
    memset(&call->dec, 0, sizeof(call->dec));
    call->main = 0;
    call->once = false;
    call->reply = NULL;
    enc_start(&call->enc, call->buf, sizeof(call->buf));
}

void call_end(struct nfs_call *call)
{
    if (call->reply != call->room)
        heap_free(call->reply);
    call->reply = NULL;
}

int call_pause(unsigned n)
{
    sys_sleep_ms(n < 4 ? 5u << n : n < 10 ? 100 : 1000);
    return rpc_idle_hook != NULL && n > 4 ? rpc_idle_hook() : 0;
}

/* A later operation that met DELAY is no reason to repeat one that was done. */
static bool call_may_repeat(const struct nfs_call *call)
{
    return call->main == 0 || call->dec.left <= call->main;
}

int call_begin(struct nfs_client *client, struct nfs_call *call)
{
    if (!enc_finish(&call->enc))
        return -ENAMETOOLONG;
    if (call->rpc.nout == 0) {
        call->rpc.out[0] = (struct iovec){call->enc.buf, call->enc.pos};
        call->rpc.nout = 1;
    }
    call->rpc.take = call_take;
    call->rpc.arg = call;
    rpc_submit(client->server, &call->rpc);
    return 0;
}

int call_await(struct nfs_client *client, struct nfs_call *call)
{
    for (unsigned n = 0;; n++) {
        int err = rpc_wait(client->server, &call->rpc);

        if (err != 0)
            return err;
        if ((call->dec.status != NFS_ERR_DELAY && call->dec.status != NFS_ERR_GRACE) || call->once ||
            !call_may_repeat(call))
            return 0;
        if ((err = call_pause(n)) != 0)
            return err;
        rpc_submit(client->server, &call->rpc);
    }
}

int call_run(struct nfs_client *client, struct nfs_call *call)
{
    int err = call_begin(client, call);

    return err != 0 ? err : call_await(client, call);
}

int call_run_on(struct nfs_client *client, struct nfs_call *call)
{
    int err = call_run(client, call);

    return err == 0 ? call_op(call, NFS_OP_PUTFH) : err;
}

int call_op(struct nfs_call *call, enum nfs_op op)
{
    return nfs_errno(dec_op(&call->dec, op));
}

int call_check(const struct nfs_call *call, int err)
{
    return err == 0 && call->dec.bad ? -EIO : err;
}

int call_lane(struct nfs_client *client)
{
    return (int)(__atomic_fetch_add(&client->lane, 1, __ATOMIC_RELAXED) & 0xffff);
}
