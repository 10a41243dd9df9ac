/* SPDX-License-Identifier: Apache-2.0 */
/* Reading and writing file bytes. */
#include <errno.h>
#include <string.h>

#include "client/nfs/call.h"
#include "client/nfs/heap.h"

#define IO_PIECE RPC_MAX_IO
#define IO_DEPTH 8

static const struct nfs_stateid io_anonymous;

/* One READ or WRITE under way. */
struct io_piece {
    struct rpc_call rpc;
    struct nfs_enc enc;
    uint8_t head[256], tail[4];
    uint8_t *to;       /* READ: where the bytes go */
    size_t want, have; /* bytes */
    uint64_t offset, verf;
    uint32_t status;
    bool eof, write, busy;
};

static int io_take(struct rpc_call *rpc, const uint8_t *reply, size_t size)
{
    struct io_piece *piece = rpc->arg;
    struct nfs_dec dec;
    uint32_t n;
    const uint8_t *data;

    dec_start(&dec, reply, size);
    piece->have = 0;
    piece->status = dec_op(&dec, NFS_OP_PUTFH);
    if (piece->status == NFS_OK)
        piece->status = dec_op(&dec, piece->write ? NFS_OP_WRITE : NFS_OP_READ);
    if (piece->status != NFS_OK)
        return dec.bad ? -EIO : 0;
    if (piece->write) {
        n = dec_u32(&dec);
        dec_u32(&dec);
        piece->verf = dec_u64(&dec);
        if (dec.bad || n > piece->want || n == 0)
            return -EIO;
        piece->have = n;
        return 0;
    }
    piece->eof = dec_u32(&dec) != 0;
    if (rpc->placed > 0) {
        n = dec_u32(&dec);
        piece->have = rpc->placed;
        return !dec.bad && n == rpc->placed && dec.at == dec.end ? 0 : -EIO;
    }
    data = dec_bytes(&dec, &n);
    if (dec.bad || n > piece->want)
        return -EIO;
    memcpy(piece->to, data, n);
    piece->have = n;
    return 0;
}

/* The bytes of a READ: all that is left of its reply. */
static size_t io_place(struct rpc_call *rpc, const uint8_t *reply, size_t have, size_t size, uint8_t **to, size_t *run)
{
    struct io_piece *piece = rpc->arg;
    struct nfs_dec dec;
    uint32_t n;

    dec_start(&dec, reply, have);
    if (dec_op(&dec, NFS_OP_PUTFH) != NFS_OK || dec_op(&dec, NFS_OP_READ) != NFS_OK)
        return 0;
    dec_u32(&dec);
    n = dec_u32(&dec);
    if (dec.bad || n > piece->want || (size_t)(dec.at - reply) + n + (-n & 3) != size)
        return 0;
    *to = piece->to;
    *run = n;
    return (size_t)(dec.at - reply);
}

static void io_start(struct nfs_client *client, struct io_piece *piece, const struct nfs_fh *fh, const void *data,
                     bool sync, int lane)
{
    struct nfs_enc *enc = &piece->enc;

    memset(&piece->rpc, 0, sizeof(piece->rpc));
    enc_start(enc, piece->head, sizeof(piece->head));
    enc_putfh(enc, fh);
    enc_op(enc, piece->write ? NFS_OP_WRITE : NFS_OP_READ);
    enc_stateid(enc, &io_anonymous);
    enc_u64(enc, piece->offset);
    if (piece->write)
        enc_u32(enc, sync ? 2 : 0); /* FILE_SYNC4, UNSTABLE4 */
    enc_u32(enc, (uint32_t)piece->want);
    enc_finish(enc);
    piece->rpc.out[0] = (struct iovec){enc->buf, enc->pos};
    piece->rpc.nout = 1;
    if (piece->write) {
        memset(piece->tail, 0, sizeof(piece->tail));
        piece->rpc.out[1] = (struct iovec){(void *)data, piece->want};
        piece->rpc.out[2] = (struct iovec){piece->tail, -piece->want & 3};
        piece->rpc.nout = 3;
    }
    piece->rpc.take = io_take;
    piece->rpc.place = piece->write ? NULL : io_place;
    piece->rpc.arg = piece;
    piece->rpc.lane = lane;
    piece->busy = true;
    rpc_submit(client->server, &piece->rpc);
}

/* Waits for a piece, sending it again as long as the server asks for patience. */
static int io_finish(struct nfs_client *client, struct io_piece *piece)
{
    for (unsigned n = 0;; n++) {
        int err = rpc_wait(client->server, &piece->rpc);

        piece->busy = false;
        if (err != 0)
            return err;
        if (piece->status != NFS_ERR_DELAY && piece->status != NFS_ERR_GRACE)
            return nfs_errno(piece->status);
        if ((err = call_pause(n)) != 0)
            return err;
        rpc_submit(client->server, &piece->rpc);
        piece->busy = true;
    }
}

struct nfs_ahead {
    struct io_piece piece;
};

struct nfs_ahead *nfs_read_start(struct nfs_client *client, const struct nfs_fh *fh, void *buf, size_t size,
                                 uint64_t offset, int lane)
{
    struct nfs_ahead *call = heap_alloc(sizeof(*call));

    if (call == NULL)
        return NULL;
    call->piece.write = false;
    call->piece.to = buf;
    call->piece.want = size < IO_PIECE ? size : IO_PIECE;
    call->piece.offset = offset;
    io_start(client, &call->piece, fh, NULL, false, lane);
    return call;
}

ssize_t nfs_read_finish(struct nfs_client *client, struct nfs_ahead *call)
{
    int err = io_finish(client, &call->piece);
    size_t have = call->piece.have;

    heap_free(call);
    return err != 0 ? err : (ssize_t)have;
}

void nfs_read_abandon(struct nfs_ahead *call)
{
    heap_free(call);
}

/*
 * Both directions: up to IO_DEPTH pieces under way, finished in order. Stops at the first error or short piece; what
 * came before it counts. After a short piece the rest is asked for again by the caller.
 */
static ssize_t io_run(struct nfs_client *client, const struct nfs_fh *fh, uint8_t *buf, size_t size, uint64_t offset,
                      bool write, bool sync, bool *eof, uint64_t *verf)
{
    struct io_piece *pieces;
    unsigned depth = (unsigned)((size + IO_PIECE - 1) / IO_PIECE), head = 0, tail = 0;
    int lane = size > IO_PIECE ? call_lane(client) : RPC_ANY;
    size_t sent = 0, done = 0;
    bool stop = false;
    int err = 0;

    if (depth > IO_DEPTH)
        depth = IO_DEPTH;
    pieces = heap_alloc(sizeof(*pieces) * depth);
    if (pieces == NULL)
        return -ENOMEM;
    while (tail != head || (!stop && sent < size)) {
        struct io_piece *piece;

        while (!stop && sent < size && head - tail < depth) {
            piece = &pieces[head % depth];
            piece->write = write;
            piece->want = size - sent < IO_PIECE ? size - sent : IO_PIECE;
            piece->offset = offset + sent;
            piece->to = buf + sent;
            io_start(client, piece, fh, buf + sent, sync, lane == RPC_ANY ? lane : lane + (int)head);
            sent += piece->want;
            head++;
        }
        piece = &pieces[tail++ % depth];
        if (stop) {
            io_finish(client, piece); /* its bytes come after a gap: not counted */
            continue;
        }
        err = io_finish(client, piece);
        if (err != 0) {
            stop = true;
            continue;
        }
        if (verf != NULL && done > 0 && *verf != piece->verf) {
            /* The server was restarted in between: what went before may be gone. */
            err = -EAGAIN;
            stop = true;
            continue;
        }
        if (verf != NULL)
            *verf = piece->verf;
        done += piece->have;
        if (eof != NULL)
            *eof = piece->eof;
        if (piece->have < piece->want)
            stop = true;
    }
    heap_free(pieces);
    return done > 0 && err != -EAGAIN ? (ssize_t)done : err;
}

/* Reads up to the end of the file or an error. How many bytes. */
static size_t io_read(struct nfs_client *client, const struct nfs_fh *fh, uint8_t *buf, size_t size, uint64_t offset,
                      bool *eof, int *err)
{
    size_t done = 0;

    *eof = false;
    *err = 0;
    while (done < size && !*eof) {
        ssize_t n = io_run(client, fh, buf + done, size - done, offset + done, false, false, eof, NULL);

        if (n < 0) {
            *err = (int)n;
            *eof = false;
            break;
        }
        if (n == 0)
            *eof = true;
        done += (size_t)n;
    }
    return done;
}

ssize_t nfs_read(struct nfs_client *client, const struct nfs_fh *fh, void *buf, size_t size, uint64_t offset,
                 bool *eof)
{
    bool end;
    int err;
    size_t done = io_read(client, fh, buf, size, offset, &end, &err);

    if (eof != NULL)
        *eof = end;
    return done > 0 || err == 0 ? (ssize_t)done : err;
}

ssize_t nfs_read_whole(struct nfs_client *client, const struct nfs_fh *fh, void *buf, size_t size, uint64_t offset)
{
    bool end;
    int err;
    size_t done = io_read(client, fh, buf, size, offset, &end, &err);

    return err == 0 ? (ssize_t)done : err;
}

int nfs_write(struct nfs_client *client, const struct nfs_fh *fh, const void *data, size_t size, uint64_t offset,
              bool sync, uint64_t *verf)
{
    uint64_t first = 0, own = 0;
    size_t done = 0;
    int restarts = 0;

    while (done < size) {
        ssize_t n = io_run(client, fh, (uint8_t *)data + done, size - done, offset + done, true, sync, NULL, &own);

        if (n == -EAGAIN || (n > 0 && done > 0 && own != first && !sync)) {
            if (++restarts > 10)
                return -EIO;
            done = 0; /* written again under the new verifier */
            continue;
        }
        if (n < 0)
            return (int)n;
        if (done == 0)
            first = own;
        done += (size_t)n;
    }
    if (verf != NULL)
        *verf = own;
    return 0;
}

static void commit_enc(struct nfs_call *call, const struct nfs_fh *fh)
{
    call_start(call);
    enc_putfh(&call->enc, fh);
    enc_op(&call->enc, NFS_OP_COMMIT);
    enc_u64(&call->enc, 0);
    enc_u32(&call->enc, 0);
}

/* err: of the transport. */
static int commit_end(struct nfs_call *call, int err, uint64_t *verf)
{
    if (err == 0)
        err = call_op(call, NFS_OP_PUTFH);
    if (err == 0)
        err = call_op(call, NFS_OP_COMMIT);
    if (err == 0) {
        *verf = dec_u64(&call->dec);
        err = call_check(call, 0);
    }
    call_end(call);
    return err;
}

int nfs_commit(struct nfs_client *client, const struct nfs_fh *fh, uint64_t *verf)
{
    struct nfs_call call;

    commit_enc(&call, fh);
    return commit_end(&call, call_run(client, &call), verf);
}

struct nfs_commit {
    struct nfs_call call;
};

struct nfs_commit *nfs_commit_start(struct nfs_client *client, const struct nfs_fh *fh)
{
    struct nfs_commit *commit = heap_alloc(sizeof(*commit));

    if (commit == NULL)
        return NULL;
    commit_enc(&commit->call, fh);
    if (call_begin(client, &commit->call) != 0) {
        heap_free(commit);
        return NULL;
    }
    return commit;
}

bool nfs_commit_here(struct nfs_client *client, struct nfs_commit *commit)
{
    return rpc_poll(client->server, &commit->call.rpc);
}

int nfs_commit_finish(struct nfs_client *client, struct nfs_commit *commit, uint64_t *verf)
{
    int err = commit_end(&commit->call, call_await(client, &commit->call), verf);

    heap_free(commit);
    return err;
}

/*
 * {PUTFH, VERIFY(size), WRITE} is carried out under the file's lock by our server: NOT_SAME means somebody appended
 * first, DELAY that it happened in between; both are answered by looking at the size again.
 */
static int io_append_once(struct nfs_client *client, const struct nfs_fh *fh, const void *data, size_t size,
                          uint64_t at, uint32_t *written)
{
    struct nfs_setattr expect = {.valid = NFS_SET_SIZE, .size = at};
    static const uint8_t zero[4];
    struct nfs_call call;
    uint32_t status;
    int err;

    call_start(&call);
    call.once = true;
    enc_putfh(&call.enc, fh);
    enc_op(&call.enc, NFS_OP_VERIFY);
    enc_fattr(&call.enc, &expect);
    enc_op(&call.enc, NFS_OP_WRITE);
    enc_stateid(&call.enc, &io_anonymous);
    enc_u64(&call.enc, at);
    enc_u32(&call.enc, 2);
    enc_u32(&call.enc, (uint32_t)size);
    call.rpc.out[0] = (struct iovec){call.enc.buf, call.enc.pos};
    call.rpc.out[1] = (struct iovec){(void *)data, size};
    call.rpc.out[2] = (struct iovec){(void *)zero, -size & 3};
    call.rpc.nout = 3;
    err = call_run_on(client, &call);
    if (err == 0) {
        status = dec_op(&call.dec, NFS_OP_VERIFY);
        if (status == NFS_OK)
            status = dec_op(&call.dec, NFS_OP_WRITE);
        if (status == NFS_ERR_NOT_SAME || status == NFS_ERR_DELAY || status == NFS_ERR_GRACE)
            err = call.rpc.resent && status == NFS_ERR_NOT_SAME ? -ECONNRESET : -EAGAIN;
        else
            err = nfs_errno(status);
    }
    if (err == 0) {
        *written = dec_u32(&call.dec);
        err = call_check(&call, 0);
        if (err == 0 && (*written == 0 || *written > size))
            err = -EIO;
    }
    call_end(&call);
    return err;
}

ssize_t nfs_append(struct nfs_client *client, const struct nfs_fh *fh, const void *data, size_t size,
                   uint64_t *size_hint)
{
    size_t done = 0;
    unsigned tries = 0;

    while (done < size) {
        size_t part = size - done < IO_PIECE ? size - done : IO_PIECE;
        struct nfs_attr attr;
        uint32_t n = 0;
        int err = io_append_once(client, fh, (const uint8_t *)data + done, part, *size_hint, &n);

        if (err == 0) {
            *size_hint += n;
            done += n;
            tries = 0;
            continue;
        }
        if (err != -EAGAIN && err != -ECONNRESET)
            return done > 0 ? (ssize_t)done : err;
        if (tries++ > 3) /* somebody is faster: step back a little, differently each time */
            sys_sleep_ms(1 + (unsigned)(sys_now_ms() * 7 % (tries < 20 ? tries : 20)));
        {
            int look = nfs_getattr(client, fh, &attr);

            if (look != 0)
                return done > 0 ? (ssize_t)done : look;
        }
        if (err == -ECONNRESET && attr.size >= *size_hint + part) {
            /* The connection broke after we sent it. Ours if the bytes are there. */
            uint8_t *check = heap_alloc(part);
            bool ours = check != NULL && nfs_read(client, fh, check, part, *size_hint, NULL) == (ssize_t)part &&
                        memcmp(check, (const uint8_t *)data + done, part) == 0;

            heap_free(check);
            if (ours) {
                *size_hint += part;
                done += part;
                continue;
            }
        }
        *size_hint = attr.size;
    }
    return (ssize_t)done;
}
