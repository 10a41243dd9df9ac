/* SPDX-License-Identifier: Apache-2.0
 * op_io: READ WRITE COMMIT. Bytes are not copied here: READ hangs the store's pieces into the reply, WRITE hands
 * on a pointer into the request.
 */
#include "server/nfs4/op_io.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/nfs4/ops.h"

static nfsstat4 check_on(struct compound *c, const struct compound_fh *fh, stateid4 *sid,
                         enum state_access want, bool *by_open)
{
    struct file_key key = compound_key(&fh->obj);
    struct state_io io = {0};
    nfsstat4 st = fh == &c->saved ? compound_stateid_in_saved(c, sid) : compound_stateid_in(c, sid);

    if (st == NFS4_OK)
        st = state_check_io(c->srv->state, c->minor, compound_client(c), &key, sid, want, &io);
    *by_open = state_io_by_open(&io, c->cred.uid);
    return st;
}

nfsstat4 io_check(struct compound *c, stateid4 *sid, enum state_access want, bool *by_open)
{
    return check_on(c, &c->cur, sid, want, by_open);
}

nfsstat4 io_file_check(struct compound *c, struct compound_fh *fh, stateid4 *sid, enum state_access want,
                       struct vfs_attr *va, bool *by_open)
{
    nfsstat4 st = check_on(c, fh, sid, want, by_open);
    int err;

    if (st != NFS4_OK)
        return st;
    err = vfs_getattr(c->srv->vfs, &c->call, &fh->obj, va);
    if (err)
        return nfs4_status(err);
    if (va->a.type != IT_REG)
        return va->a.type == IT_DIR ? NFS4ERR_ISDIR : NFS4ERR_WRONG_TYPE;
    if (want == STATE_WRITE)
        return nfs4_status(vfs_before_write(&c->call, &fh->obj, &c->cred, *by_open));
    if (*by_open || c->cred.uid == va->a.uid)
        return NFS4_OK;
    return nfs4_status(vfs_check(&va->a, &c->cred, VMAY_READ));
}

nfsstat4 io_status(const struct compound *c, int err)
{
    /* RFC 8881 section 18.22.3; 4.0 has no NFS4ERR_WRONG_TYPE. */
    return err == -EINVAL && c->minor > 0 ? NFS4ERR_WRONG_TYPE : nfs4_status(err);
}

void io_write_verifier(const struct compound *c, verifier4 out)
{
    uint64_t v = volume_write_verifier(c->cur.obj.vol);

    memcpy(out, &v, sizeof(v));
}

/* The pieces of a read outlive the request: the reply may wait in a connection's queue. */
static void read_release(void *arg)
{
    volume_read_release(arg);
    free(arg);
}

int io_read(struct compound *c, bool by_open, uint64_t off, size_t len, xpayload *out, bool *eof)
{
    struct volume_read *r = calloc(1, sizeof(*r));
    int err;

    if (!r)
        return -ENOMEM;
    err = vfs_read(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, by_open, off, len, r);
    if (err) {
        free(r);
        return err;
    }
    *out = (xpayload){(uint32_t)r->len, r->niov, r->iov, read_release, r};
    *eof = r->eof;
    return 0;
}

static void drop(xpayload *p)
{
    if (p->release)
        p->release(p->arg);
    p->release = NULL;
}

void io_drop_result(uint32_t opnum, void *res)
{
    if (opnum == OP_READ) {
        drop(&((READ4res *)res)->READ4res_u.resok4.data);
    } else if (opnum == OP_READ_PLUS) {
        read_plus_res4 *ok = &((READ_PLUS4res *)res)->READ_PLUS4res_u.rp_resok4;

        for (u_int i = 0; i < ok->rpr_contents.rpr_contents_len; i++) {
            read_plus_content *rc = &ok->rpr_contents.rpr_contents_val[i];

            if (rc->rpc_content == NFS4_CONTENT_DATA)
                drop(&rc->read_plus_content_u.rpc_data.d_data);
        }
    }
}

nfsstat4 op_read(struct compound *c, READ4args *args, READ4res *res)
{
    READ4resok *ok = &res->READ4res_u.resok4;
    size_t len = args->count, room = compound_room(c);
    bool by_open, eof = false;
    nfsstat4 st = io_check(c, &args->stateid, STATE_READ, &by_open);
    int err;

    if (st != NFS4_OK)
        return st;
    if (len > NFS4_MAX_IO)
        len = NFS4_MAX_IO;
    /* Outside a session less is read than was asked for; in one, what does not fit is an error. */
    room = room > 12 ? room - 12 : 0;
    if (!c->session && len > room)
        len = room;
    err = io_read(c, by_open, args->offset, len, &ok->data, &eof);
    if (err)
        return io_status(c, err);
    ok->eof = eof;
    return NFS4_OK;
}

nfsstat4 op_write(struct compound *c, WRITE4args *args, WRITE4res *res)
{
    WRITE4resok *ok = &res->WRITE4res_u.resok4;
    size_t len = args->data.len < NFS4_MAX_IO ? args->data.len : NFS4_MAX_IO;
    bool append = c->verified_size, stable = args->stable != UNSTABLE4, by_open;
    nfsstat4 st;
    int err;

    if ((uint32_t)args->stable > FILE_SYNC4)
        return NFS4ERR_BADXDR;
    if (args->offset > STORE_FILE_MAX || len > STORE_FILE_MAX - args->offset)
        return NFS4ERR_FBIG;
    st = io_check(c, &args->stateid, STATE_WRITE, &by_open);
    if (st != NFS4_OK)
        return st;
    /* Read before, as in COMMIT: data lost between the two must show as a verifier that has changed. */
    io_write_verifier(c, ok->writeverf);
    err = vfs_write(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, by_open, args->offset, args->data.data,
                    len, stable, append ? &c->verify_size : NULL, NULL);
    if (err == -ESTALE && append)
        return NFS4ERR_DELAY; /* another append was faster; the retry's VERIFY says so */
    if (err != -EAGAIN)
        c->verified_size = false;
    if (err < 0)
        return io_status(c, err);
    ok->count = (uint32_t)len;
    ok->committed = stable ? FILE_SYNC4 : UNSTABLE4;
    return NFS4_OK;
}

nfsstat4 op_commit(struct compound *c, COMMIT4args *args, COMMIT4res *res)
{
    int err;

    if (args->count > UINT64_MAX - args->offset)
        return NFS4ERR_INVAL;
    /* Read before: if data is lost between the two, the client must see the old one. */
    io_write_verifier(c, res->COMMIT4res_u.resok4.writeverf);
    err = vfs_commit(c->srv->vfs, &c->call, &c->cur.obj);
    return err ? io_status(c, err) : NFS4_OK;
}
