/* SPDX-License-Identifier: Apache-2.0
 * op_copy: CLONE COPY OFFLOAD_STATUS OFFLOAD_CANCEL.
 *
 * The source is the saved filehandle, the destination the current one. CLONE shares what it can share exactly, or
 * refuses; both must be in one volume (NFS4ERR_XDEV). COPY shares blocks where source and destination are in one
 * volume and lie alike in them, and copies the bytes of the rest. It answers when it is done and may have done less
 * than was asked (RFC 7862 section 15.2.3: the client goes on from there), so none runs long. Only what has more bytes
 * to move than that goes on by itself (offload.c), if the client can be told of its end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/nfs4/offload.h"
#include "server/nfs4/op_io.h"
#include "server/nfs4/ops.h"
#include "server/state/callback.h"

#define COPY_BYTES_MAX (8u << 20) /* by bytes in one COPY */
#define COPY_STEP      (256u << 10)

struct copying {
    struct compound *c;
    struct vfs_attr src, dst;
    uint64_t soff, doff, count;
    bool src_by_open, dst_by_open;
    /* COPY */
    uint64_t done, bytes;
    bool unstable;
};

static bool same_volume(const struct compound *c)
{
    return c->saved.obj.vol == c->cur.obj.vol;
}

static nfsstat4 copy_check(struct copying *k, stateid4 *src, stateid4 *dst)
{
    struct compound *c = k->c;
    nfsstat4 st;

    if (c->saved.obj.kind != VOBJ_FILE)
        return NFS4ERR_ISDIR;
    st = io_file_check(c, &c->saved, src, STATE_READ, &k->src, &k->src_by_open);
    if (st == NFS4_OK)
        st = io_file_check(c, &c->cur, dst, STATE_WRITE, &k->dst, &k->dst_by_open);
    if (st != NFS4_OK)
        return st;
    if (k->soff > k->src.a.size)
        return NFS4ERR_INVAL;
    if (!k->count)
        k->count = k->src.a.size - k->soff;
    if (k->count > k->src.a.size - k->soff)
        return NFS4ERR_INVAL;
    if (k->doff > STORE_FILE_MAX || k->count > STORE_FILE_MAX - k->doff)
        return NFS4ERR_FBIG;
    if (same_volume(c) && c->saved.obj.ino == c->cur.obj.ino && k->soff < k->doff + k->count && k->doff < k->soff + k->count)
        return NFS4ERR_INVAL;
    return NFS4_OK;
}

static int clone_part(struct copying *k, uint64_t at, uint64_t len)
{
    struct compound *c = k->c;

    return volume_clone(c->cur.obj.vol, &c->call, c->saved.obj.ino, k->soff + at, c->cur.obj.ino,
                        k->doff + at, len, NULL);
}

nfsstat4 op_clone(struct compound *c, CLONE4args *args, CLONE4res *res)
{
    struct copying k = {.c = c, .soff = args->cl_src_offset, .doff = args->cl_dst_offset,
                        .count = args->cl_count};
    nfsstat4 st = copy_check(&k, &args->cl_src_stateid, &args->cl_dst_stateid);
    int err = 0;

    if (st != NFS4_OK)
        return st;
    if (!same_volume(c))
        return NFS4ERR_XDEV;
    if (k.count > VOLUME_CLONE_MAX && !c->call.may_block)
        return NFS4_BLOCK;
    /* Larger than this it is done in steps, and others may see it half done. */
    for (uint64_t at = 0, n; !err && at < k.count; at += n) {
        n = k.count - at < VOLUME_CLONE_MAX ? k.count - at : VOLUME_CLONE_MAX;
        err = clone_part(&k, at, n);
    }
    return nfs4_status(err);
}

/* --- COPY --- */

/* Copies up to len bytes from where it is, through a buffer. 0, or -errno if there was nothing more. */
static int copy_bytes(struct copying *k, uint64_t len)
{
    struct compound *c = k->c;
    char *buf = malloc(COPY_STEP);
    int err = buf ? 0 : -ENOMEM;

    while (!err && len && k->bytes < COPY_BYTES_MAX) {
        size_t n = len < COPY_STEP ? len : COPY_STEP, at = 0;
        struct volume_read r;

        err = vfs_read(c->srv->vfs, &c->call, &c->saved.obj, &c->cred, k->src_by_open, k->soff + k->done, n,
                       &r);
        if (err)
            break;
        for (int i = 0; i < r.niov; i++) {
            memcpy(buf + at, r.iov[i].iov_base, r.iov[i].iov_len);
            at += r.iov[i].iov_len;
        }
        volume_read_release(&r);
        if (!at) /* the source became shorter */
            break;
        err = vfs_write(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, k->dst_by_open, k->doff + k->done, buf,
                        at, false, NULL, NULL);
        if (err)
            break;
        k->unstable = true;
        k->done += at;
        k->bytes += at;
        len -= at;
    }
    free(buf);
    return err;
}

/* The blocks in the middle, if they can be shared: how many bytes from k->done on. */
static uint64_t sharable(const struct copying *k)
{
    uint64_t off = k->soff + k->done, left = k->count - k->done;

    if (off % VOLUME_CLONE_BLOCK || (k->doff + k->done) % VOLUME_CLONE_BLOCK)
        return 0;
    if (left > VOLUME_CLONE_MAX)
        left = VOLUME_CLONE_MAX;
    if (off + left == k->src.a.size && k->doff + k->done + left >= k->dst.a.size)
        return left;
    return left & ~(uint64_t)(VOLUME_CLONE_BLOCK - 1);
}

/* Nothing can be shared: other volumes, or the blocks do not lie alike. */
static bool only_bytes(const struct copying *k)
{
    return !same_volume(k->c) || k->soff % VOLUME_CLONE_BLOCK != k->doff % VOLUME_CLONE_BLOCK;
}

static int copy_run(struct copying *k)
{
    uint64_t head = -k->soff % VOLUME_CLONE_BLOCK, n;
    int err = 0;

    if (only_bytes(k))
        return copy_bytes(k, k->count);
    if (head)
        err = copy_bytes(k, head < k->count ? head : k->count);
    n = err ? 0 : sharable(k);
    if (n) {
        err = clone_part(k, k->done, n);
        if (!err)
            k->done += n;
        else if (err == -EINVAL || err == -EBUSY) /* a file changed its size, or is written without end */
            err = 0;
    }
    if (!err && k->done < k->count)
        err = copy_bytes(k, k->count - k->done);
    return err;
}

/* Lets the copy go on by itself; false: it has to be done now. */
static bool copy_offload(struct copying *k, const COPY4args *args, write_response4 *w)
{
    struct compound *c = k->c;
    struct sockaddr_storage peer;
    struct fh_parts fh;
    struct offload_request r = {.client = compound_client(c),
                                .minor = c->minor,
                                .src = &c->saved.obj,
                                .dst = &c->cur.obj,
                                .fh = &fh,
                                .cred = &c->cred,
                                .rule = c->cur.acc.rule,
                                .peer = &peer,
                                .src_stateid = args->ca_src_stateid,
                                .dst_stateid = args->ca_dst_stateid,
                                .soff = k->soff,
                                .doff = k->doff,
                                .count = k->count};

    if (args->ca_synchronous || k->count <= COPY_BYTES_MAX || !only_bytes(k) ||
        !callback_way(c->srv->state, r.client))
        return false;
    memcpy(r.verf, w->wr_writeverf, sizeof(r.verf));
    access_fh_parts(&c->cur, &fh);
    request_peer(c->req, &peer);
    if (!offload_start(c->srv, &r, &w->wr_callback_id.stateid_opt4_u.stateid))
        return false;
    w->wr_callback_id.count = 1;
    return true;
}

nfsstat4 op_copy(struct compound *c, COPY4args *args, COPY4res *res)
{
    COPY4resok *ok = &res->COPY4res_u.cr_resok4;
    write_response4 *w = &ok->cr_response;
    struct copying k = {.c = c, .soff = args->ca_src_offset, .doff = args->ca_dst_offset,
                        .count = args->ca_count};
    nfsstat4 st;
    int err;

    if (args->ca_source_servers)
        return NFS4ERR_NOTSUPP; /* from another server */
    if (!c->call.may_block)
        return NFS4_BLOCK;
    st = copy_check(&k, &args->ca_src_stateid, &args->ca_dst_stateid);
    if (st != NFS4_OK)
        return st;
    io_write_verifier(c, w->wr_writeverf);
    if (copy_offload(&k, args, w)) {
        w->wr_committed = UNSTABLE4;
        ok->cr_requirements = (copy_requirements4){.cr_consecutive = TRUE, .cr_synchronous = FALSE};
        return NFS4_OK;
    }
    err = k.count ? copy_run(&k) : 0;
    if (err && !k.done)
        return nfs4_status(err);
    w->wr_count = k.done;
    w->wr_committed = k.unstable ? UNSTABLE4 : FILE_SYNC4;
    ok->cr_requirements = (copy_requirements4){.cr_consecutive = TRUE, .cr_synchronous = TRUE};
    return NFS4_OK;
}

/* --- copies that go on by themselves --- */

nfsstat4 op_offload_status(struct compound *c, OFFLOAD_STATUS4args *args, OFFLOAD_STATUS4res *res)
{
    OFFLOAD_STATUS4resok *ok = &res->OFFLOAD_STATUS4res_u.osr_resok4;
    nfsstat4 status = NFS4_OK, st;
    bool complete = false;

    st = offload_status(c->srv, compound_client(c), &args->osa_stateid, &ok->osr_count, &complete, &status);
    if (st == NFS4_OK && complete) {
        ok->osr_complete.count = 1;
        ok->osr_complete.nfsstat_opt4_u.status = status;
    }
    return st;
}

nfsstat4 op_offload_cancel(struct compound *c, OFFLOAD_CANCEL4args *args, OFFLOAD_CANCEL4res *res)
{
    if (!c->call.may_block)
        return NFS4_BLOCK;
    return offload_cancel(c->srv, compound_client(c), &args->oca_stateid);
}
