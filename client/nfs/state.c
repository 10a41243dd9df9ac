/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who we are at the server: client id, lease and owner names.
 *
 *   none -> SETCLIENTID -> SETCLIENTID_CONFIRM -> confirmed           (state_get)
 *   confirmed -> STALE_CLIENTID or EXPIRED seen -> none, epoch + 1    (state_lost)
 * Opens and locks carry the epoch they were made in; one of an older epoch no longer exists at the server.
 */
#include "client/nfs/call.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "client/nfs/heap.h"

static uint64_t state_random(void)
{
    uint64_t value = 0;

    if (sys3(SYS_getrandom, &value, sizeof(value), 0) != sizeof(value))
        value = sys_now_ms() * 0x9e3779b97f4a7c15u + (uint64_t)sys0(SYS_getpid);
    return value;
}

static void state_hex(char *to, uint64_t value)
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 15; i >= 0; i--, value >>= 4)
        to[i] = digits[value & 15];
}

/* "volnfs/" + the machine's boot id + random: two containers on one machine differ, and so do two machines. */
static void state_name_locked(struct nfs_shared *shared)
{
    char boot[37] = "";
    long fd = sys3(SYS_open, "/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC, 0);

    if (fd >= 0) {
        if (sys3(SYS_read, fd, boot, 36) < 0)
            boot[0] = 0;
        sys1(SYS_close, fd);
    }
    memcpy(shared->id, "volnfs/", 7);
    memcpy(shared->id + 7, boot, 36);
    if (boot[0] == 0)
        memset(shared->id + 7, '-', 36);
    shared->id[43] = '/';
    state_hex(shared->id + 44, state_random());
    shared->id[60] = 0;
    shared->verifier = state_random();
}

static int state_confirm(struct nfs_client *client, uint64_t clientid, const uint8_t verifier[8])
{
    struct nfs_call call;
    int err;

    call_start(&call);
    enc_op(&call.enc, NFS_OP_SETCLIENTID_CONFIRM);
    enc_u64(&call.enc, clientid);
    enc_raw(&call.enc, verifier, 8);
    err = call_run(client, &call);
    if (err == 0)
        err = call_op(&call, NFS_OP_SETCLIENTID_CONFIRM);
    call_end(&call);
    return err;
}

#define DONE_ASKS 3

/*
 * Says that nothing is left to reclaim. NFSv4.0 has no word for it; but a client reclaims first, so a server may take it
 * from one that asks for something new, and volnfsd does at the third time: then nobody needs to wait any longer for
 * us, who may sleep on a lock for hours. What is opened does not exist, by a name that volumes cannot have; a server
 * without a grace time says so at once.
 */
static void state_done(struct nfs_client *client, uint64_t clientid)
{
    static const char nothing[] = "-nothing-left-to-reclaim-";
    uint32_t status = NFS_ERR_GRACE;
    uint64_t owner = state_new_name(client);
    int err = 0;

    for (uint32_t n = 0; n < DONE_ASKS && err == 0 && status == NFS_ERR_GRACE; n++) {
        struct nfs_call call;

        call_start(&call);
        call.once = true;
        enc_op(&call.enc, NFS_OP_PUTROOTFH);
        enc_op(&call.enc, NFS_OP_OPEN);
        enc_u32(&call.enc, n + 1);
        enc_u32(&call.enc, 1); /* to read */
        enc_u32(&call.enc, 0); /* deny none */
        enc_u64(&call.enc, clientid);
        state_enc_owner(client, &call.enc, 'o', owner);
        enc_u32(&call.enc, 0); /* OPEN4_NOCREATE */
        enc_u32(&call.enc, 0); /* CLAIM_NULL */
        enc_bytes(&call.enc, nothing, sizeof(nothing) - 1);
        err = call_run(client, &call);
        if (err == 0)
            err = call_op(&call, NFS_OP_PUTROOTFH);
        if (err == 0)
            status = dec_op(&call.dec, NFS_OP_OPEN);
        call_end(&call);
    }
}

/* The root's lease_time; 90 s when the server does not tell. */
static uint32_t state_lease(struct nfs_client *client)
{
    struct nfs_attr attr;
    struct nfs_fh fh;

    if (nfs_root(client, &fh, &attr) != 0 || attr.lease == 0 || attr.lease > 3600)
        return 90;
    return attr.lease;
}

static int state_make_locked(struct nfs_client *client)
{
    struct nfs_shared *shared = client->shared;
    struct nfs_call call;
    uint64_t clientid = 0;
    uint8_t verifier[8] = {0};
    uint32_t status;
    int err;

    if (shared->id[0] == 0)
        state_name_locked(shared);
    call_start(&call);
    enc_op(&call.enc, NFS_OP_SETCLIENTID);
    enc_u64(&call.enc, shared->verifier);
    enc_bytes(&call.enc, shared->id, strlen(shared->id));
    enc_u32(&call.enc, 0x40000000); /* callback program: none will answer there, so nothing is delegated to us */
    enc_bytes(&call.enc, "tcp", 3);
    enc_bytes(&call.enc, "0.0.0.0.0.0", 11);
    enc_u32(&call.enc, 1);
    err = call_run(client, &call);
    if (err == 0) {
        status = dec_op(&call.dec, NFS_OP_SETCLIENTID);
        if (status == NFS_ERR_CLID_INUSE)
            shared->id[0] = 0; /* somebody else's; take another name next time */
        err = nfs_errno(status);
    }
    if (err == 0) {
        clientid = dec_u64(&call.dec);
        if (call.dec.end - call.dec.at >= 8)
            memcpy(verifier, call.dec.at, 8);
        else
            err = -EIO;
        err = call_check(&call, err);
    }
    call_end(&call);
    if (err == 0)
        err = state_confirm(client, clientid, verifier);
    if (err != 0)
        return err;
    if (shared->lease == 0)
        shared->lease = state_lease(client);
    shared->clientid = clientid;
    shared->renewed_ms = shared->tried_ms = sys_now_ms();
    /* Nothing new may be asked for before: the server takes that to mean that nothing is left to reclaim. */
    if (shared->epoch != 0 && client->recover != NULL)
        err = client->recover(client, clientid, shared->epoch, client->recover_arg);
    if (err != 0)
        return err;
    if (shared->epoch != 0)
        state_done(client, clientid);
    __atomic_store_n(&shared->confirmed, 1, __ATOMIC_RELEASE);
    return 0;
}

int state_get(struct nfs_client *client, uint64_t *clientid, uint32_t *epoch)
{
    struct nfs_shared *shared = client->shared;
    int err = 0;

    rlock_lock(&shared->lock);
    for (int n = 0; n < 3 && !shared->confirmed; n++) {
        err = state_make_locked(client);
        if (err == 0)
            break;
    }
    *clientid = shared->clientid;
    *epoch = shared->epoch;
    rlock_unlock(&shared->lock);
    return err;
}

bool state_lost(struct nfs_client *client, uint32_t status, uint32_t epoch)
{
    struct nfs_shared *shared = client->shared;

    if (status != NFS_ERR_STALE_CLIENTID && status != NFS_ERR_EXPIRED)
        return false;
    rlock_lock(&shared->lock);
    if (shared->epoch == epoch) {
        shared->epoch++;
        shared->confirmed = 0;
    }
    rlock_unlock(&shared->lock);
    return true;
}

bool state_seqid_used(uint32_t status)
{
    switch (status) {
    case NFS_ERR_STALE_CLIENTID:
    case NFS_ERR_STALE_STATEID:
    case NFS_ERR_BAD_STATEID:
    case NFS_ERR_BAD_SEQID:
    case NFS_ERR_BADXDR:
    case NFS_ERR_RESOURCE:
    case NFS_ERR_NOFILEHANDLE:
    case NFS_ERR_MOVED:
        return false;
    default:
        return true;
    }
}

uint64_t state_new_name(struct nfs_client *client)
{
    return (client->self->tag & 0xffffffff00000000u) |
           __atomic_add_fetch(&client->self->names, 1, __ATOMIC_RELAXED);
}

void state_enc_owner(struct nfs_client *client, struct nfs_enc *enc, char kind, uint64_t name)
{
    char text[33];

    text[0] = kind;
    state_hex(text + 1, kind == 'o' ? client->self->tag : 0);
    state_hex(text + 17, name);
    enc_bytes(enc, text, sizeof(text));
}

int nfs_client_renew(struct nfs_client *client, bool force)
{
    struct nfs_shared *shared = client->shared;
    uint32_t epoch = shared->epoch, status = 0;
    uint64_t now = sys_now_ms(), clientid;
    struct nfs_call call;
    int err;

    if (!__atomic_load_n(&shared->confirmed, __ATOMIC_ACQUIRE))
        return shared->epoch != 0 ? state_get(client, &clientid, &epoch) : 0;
    /* A server that was restarted waits for us before it lets anybody open anything. */
    if (!force && now - shared->tried_ms < (uint64_t)shared->lease * 1000 / 3 && !rpc_closed(client->server))
        return 0;
    shared->tried_ms = now;
    clientid = shared->clientid;
    call_start(&call);
    enc_op(&call.enc, NFS_OP_RENEW);
    enc_u64(&call.enc, clientid);
    err = call_run(client, &call);
    if (err == 0) {
        status = dec_op(&call.dec, NFS_OP_RENEW);
        err = nfs_errno(status);
    }
    call_end(&call);
    if (err == 0)
        shared->renewed_ms = now;
    return state_lost(client, status, epoch) ? state_get(client, &clientid, &epoch) : err;
}

void nfs_client_set_recover(struct nfs_client *client, nfs_recover_fn recover, void *arg)
{
    client->recover = recover;
    client->recover_arg = arg;
}

void nfs_client_set_self(struct nfs_client *client, struct nfs_self *self)
{
    if (self->tag == 0)
        self->tag = state_random() | 1;
    client->self = self;
}

int nfs_client_open(struct nfs_client **out, const char *host, unsigned port, unsigned soft_ms,
                    struct nfs_shared *shared)
{
    struct nfs_client *client = heap_zalloc(1, sizeof(*client));
    int err;

    if (client == NULL)
        return -ENOMEM;
    err = rpc_server_open(&client->server, host, port, soft_ms);
    if (err != 0) {
        heap_free(client);
        return err;
    }
    client->shared = shared != NULL ? shared : &client->own;
    nfs_client_set_self(client, &client->alone);
    *out = client;
    return 0;
}

void nfs_client_close(struct nfs_client *client)
{
    if (client == NULL)
        return;
    rpc_server_close(client->server);
    heap_free(client);
}

void nfs_client_after_fork(struct nfs_client *client)
{
    rpc_after_fork(client->server);
    memset(&client->alone, 0, sizeof(client->alone));
    nfs_client_set_self(client, &client->alone);
    if (client->shared == &client->own) {
        /* The identity stays the parent's: it goes on renewing it, and opens made before the fork are in its name. */
        memset(&client->own.lock, 0, sizeof(client->own.lock));
    }
}
