/* SPDX-License-Identifier: Apache-2.0
 * op_io42: SEEK ALLOCATE DEALLOCATE IO_ADVISE READ_PLUS.
 */
#include <errno.h>

#include "server/nfs4/op_io.h"
#include "server/nfs4/ops.h"

#define SEGMENTS_MAX 64u /* of a READ_PLUS; the bound in proto/nfs4.x */

static nfsstat4 range_check(uint64_t off, uint64_t len)
{
    if (!len || len > UINT64_MAX - off)
        return NFS4ERR_INVAL;
    return off > STORE_FILE_MAX || len > STORE_FILE_MAX - off ? NFS4ERR_FBIG : NFS4_OK;
}

nfsstat4 op_allocate(struct compound *c, ALLOCATE4args *args, ALLOCATE4res *res)
{
    struct vfs_attr va;
    bool by_open;
    nfsstat4 st = io_file_check(c, &c->cur, &args->aa_stateid, STATE_WRITE, &va, &by_open);

    if (st == NFS4_OK)
        st = range_check(args->aa_offset, args->aa_length);
    if (st == NFS4_OK)
        st = nfs4_status(volume_allocate(c->cur.obj.vol, &c->call, c->cur.obj.ino, args->aa_offset,
                                         args->aa_length));
    return st;
}

nfsstat4 op_deallocate(struct compound *c, DEALLOCATE4args *args, DEALLOCATE4res *res)
{
    struct vfs_attr va;
    bool by_open;
    nfsstat4 st = io_file_check(c, &c->cur, &args->da_stateid, STATE_WRITE, &va, &by_open);

    if (st == NFS4_OK)
        st = range_check(args->da_offset, args->da_length);
    if (st == NFS4ERR_FBIG)
        st = NFS4_OK; /* past the end is nothing to give back (RFC 7862 section 15.4.3), and FBIG no answer to it */
    if (st == NFS4_OK)
        st = nfs4_status(volume_punch(c->cur.obj.vol, &c->call, c->cur.obj.ino, args->da_offset,
                                      args->da_length));
    return st;
}

nfsstat4 op_io_advise(struct compound *c, IO_ADVISE4args *args, IO_ADVISE4res *res)
{
    bool by_open;

    /* No hint is acted on, and the empty bitmap says so. */
    return io_check(c, &args->iaa_stateid, STATE_READ, &by_open);
}

nfsstat4 op_seek(struct compound *c, SEEK4args *args, SEEK4res *res)
{
    seek_res4 *ok = &res->SEEK4res_u.resok4;
    struct vfs_attr va;
    bool by_open;
    nfsstat4 st;
    int err;

    if (args->sa_what != NFS4_CONTENT_DATA && args->sa_what != NFS4_CONTENT_HOLE)
        return NFS4ERR_UNION_NOTSUPP;
    st = io_file_check(c, &c->cur, &args->sa_stateid, STATE_READ, &va, &by_open);
    if (st != NFS4_OK)
        return st;
    if (args->sa_offset >= va.a.size)
        return NFS4ERR_NXIO;
    err = volume_seek(c->cur.obj.vol, &c->call, c->cur.obj.ino, args->sa_offset,
                      args->sa_what == NFS4_CONTENT_DATA, &ok->sr_offset);
    if (err)
        return nfs4_status(err);
    ok->sr_eof = ok->sr_offset >= va.a.size;
    return NFS4_OK;
}

/* --- READ_PLUS: data and holes by turns --- */

struct segments {
    read_plus_content *v;
    unsigned n;
    size_t room; /* bytes of the result that are left */
    bool eof;
};

/* What begins at off and where it ends (at most end). */
static int segment_at(struct compound *c, uint64_t off, uint64_t end, bool *hole, uint64_t *to)
{
    uint64_t data;
    int err = volume_seek(c->cur.obj.vol, &c->call, c->cur.obj.ino, off, true, &data);

    *hole = err == -ENXIO || (!err && data > off);
    *to = end;
    if (err == -ENXIO)
        return 0; /* nothing but hole up to the end */
    if (err)
        return err;
    if (*hole) {
        *to = data < end ? data : end;
        return 0;
    }
    err = volume_seek(c->cur.obj.vol, &c->call, c->cur.obj.ino, off, false, to);
    if (err == -ENXIO)
        err = 0;
    if (*to > end)
        *to = end;
    return err;
}

static int add_data(struct compound *c, struct segments *s, bool by_open, uint64_t off, uint64_t len,
                    uint64_t *got)
{
    read_plus_content *rc = &s->v[s->n];
    size_t room = s->room > 16 ? (s->room - 16) & ~(size_t)3 : 0;
    int err;

    if (len > room)
        len = room;
    *got = 0;
    if (!len)
        return 0;
    err = io_read(c, by_open, off, len, &rc->read_plus_content_u.rpc_data.d_data, &s->eof);
    if (err)
        return err;
    *got = rc->read_plus_content_u.rpc_data.d_data.len;
    rc->rpc_content = NFS4_CONTENT_DATA;
    rc->read_plus_content_u.rpc_data.d_offset = off;
    s->room -= 16 + ((*got + 3) & ~(uint64_t)3);
    s->n++;
    return 0;
}

static void drop_segments(struct segments *s)
{
    for (unsigned i = 0; i < s->n; i++) {
        xpayload *p = &s->v[i].read_plus_content_u.rpc_data.d_data;

        if (s->v[i].rpc_content == NFS4_CONTENT_DATA && p->release)
            p->release(p->arg);
    }
}

static int collect(struct compound *c, struct segments *s, bool by_open, uint64_t off, uint64_t end)
{
    while (off < end && s->n < SEGMENTS_MAX && s->room >= 20) {
        uint64_t to, got;
        bool hole;
        int err = segment_at(c, off, end, &hole, &to);

        if (err)
            return err;
        if (!hole) {
            err = add_data(c, s, by_open, off, to - off, &got);
            if (err)
                return err;
            if (got < to - off) /* no more room, or the file became shorter */
                return 0;
        } else {
            s->v[s->n].rpc_content = NFS4_CONTENT_HOLE;
            s->v[s->n].read_plus_content_u.rpc_hole = (data_info4){off, to - off};
            s->room -= 20;
            s->n++;
        }
        off = to;
    }
    s->eof = off >= end;
    return 0;
}

nfsstat4 op_read_plus(struct compound *c, READ_PLUS4args *args, READ_PLUS4res *res)
{
    read_plus_res4 *ok = &res->READ_PLUS4res_u.rp_resok4;
    struct segments s = {0};
    uint64_t end, len = args->rpa_count < NFS4_MAX_IO ? args->rpa_count : NFS4_MAX_IO;
    struct vfs_attr va;
    bool by_open, whole;
    nfsstat4 st = io_file_check(c, &c->cur, &args->rpa_stateid, STATE_READ, &va, &by_open);
    int err;

    if (st != NFS4_OK)
        return st;
    if (args->rpa_offset >= va.a.size) {
        ok->rpr_eof = TRUE;
        return NFS4_OK;
    }
    whole = len >= va.a.size - args->rpa_offset;
    end = whole ? va.a.size : args->rpa_offset + len;
    s.room = compound_room(c);
    s.room = s.room > 8 ? s.room - 8 : 0;
    s.v = compound_scratch(c, SEGMENTS_MAX * sizeof(*s.v));
    if (!s.v)
        return NFS4ERR_DELAY;
    err = collect(c, &s, by_open, args->rpa_offset, end);
    if (err) {
        drop_segments(&s);
        return nfs4_status(err);
    }
    if (!s.n && len)
        return NFS4ERR_REP_TOO_BIG;
    ok->rpr_eof = whole && s.eof;
    ok->rpr_contents.rpr_contents_len = s.n;
    ok->rpr_contents.rpr_contents_val = s.v;
    return NFS4_OK;
}
