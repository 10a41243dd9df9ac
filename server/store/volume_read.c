/* SPDX-License-Identifier: Apache-2.0
 * volume_read: bytes of files, from the cache or into it, and what is read ahead.
 */
#include <errno.h>

#include "server/store/volume_int.h"

#define RA_HITS 2u
#define RA_NEAR 16u /* times the length of a read */

static void add_piece(struct volume_read *out, struct buf *b, void *p, size_t len, void *zero)
{
    if (!b && out->niov && !out->ref[out->niov - 1])
        ; /* zeros after zeros: one longer piece of the zero area */
    else {
        out->iov[out->niov].iov_base = b ? p : zero;
        out->iov[out->niov].iov_len = 0;
        out->ref[out->niov++] = b;
        if (b)
            atomic_fetch_add(&b->refs, 1);
    }
    out->iov[out->niov - 1].iov_len += len;
    out->len += len;
}

/* Reads [a, b) of a slot that may be absent (all zero). false: no room or a bad page; out has what fits. */
static bool read_slot(struct volume *v, const struct slot *s, uint32_t a, uint32_t b,
                      struct volume_read *out)
{
    uint32_t end = s && s->buf ? s->buf->pages * STORE_PAGE : 0;
    uint32_t bad = s ? s->bad & pages_touched(a, b) : 0;
    bool whole = true;

    if (bad) {
        uint32_t first = (uint32_t)__builtin_ctz(bad) * STORE_PAGE;
        if (first <= a)
            return false;
        b = first;
        whole = false;
    }
    if (a < end) {
        uint32_t to = b < end ? b : end;
        if (out->niov == VOLUME_READ_IOV)
            return false;
        add_piece(out, s->buf, s->buf->data + a, to - a, NULL);
        a = to;
    }
    if (a < b) {
        if (out->niov == VOLUME_READ_IOV && out->ref[out->niov - 1])
            return false;
        add_piece(out, NULL, NULL, b - a, v->e->zero);
    }
    return whole;
}

/* Makes sure the pages of [off, off + len) are known. */
static int read_prepare(struct volume *v, const struct store_call *call, struct inode *in,
                        uint64_t off, size_t len)
{
    uint64_t first = off / SLOT_SIZE, last = (off + len - 1) / SLOT_SIZE;
    struct slot *load = NULL;

    for (uint64_t i = first; i <= last; i++) {
        uint64_t start = i * SLOT_SIZE;
        uint32_t a = off > start ? (uint32_t)(off - start) : 0;
        uint32_t b = off + len - start < SLOT_SIZE ? (uint32_t)(off + len - start) : SLOT_SIZE;
        struct slot *s;

        if (start >= in->data_end && !slot_find(in, i))
            continue; /* P2: zeros */
        s = slot_find(in, i);
        if (s && !(pages_touched(a, b) & ~(s->valid | s->bad)))
            continue;
        if (!call->may_block)
            return -EAGAIN;
        if (in->punch_txg > v->committed)
            return txg_wait_locked(v, call, in->punch_txg);
        s = slot_get(in, i);
        if (!load)
            load = s;
        else if (s->busy == SLOT_IDLE)
            engine_queue(v->e, v, in->a.ino, i, WORK_LOAD);
    }
    if (!load)
        return 0;
    return load->busy == SLOT_IDLE ? slot_load(load, in->ra_hits >= RA_HITS) : slot_wait(v, call);
}

/* RA_HITS reads in order start it; their slots and those up to READAHEAD beyond are read by the workers. A client that
 * has several reads under way does not send them quite in order, and each may come here twice: what is near counts as
 * in order, and only what is new as progress. */
static void read_ahead(struct volume *v, struct inode *in, uint64_t off, uint64_t end)
{
    uint64_t most = v->e->cache_size / 8 < READAHEAD ? v->e->cache_size / 8 : READAHEAD;
    uint64_t near = RA_NEAR * (end - off), to, i;

    if (off > in->ra_next + near || off + near < in->ra_next) {
        in->ra_hits = off == 0;
        in->ra_done = 0;
        in->ra_next = end;
        return;
    }
    if (end <= in->ra_next)
        return;
    in->ra_hits++;
    in->ra_next = end;
    if (in->ra_hits < RA_HITS || in->punch_txg > v->committed)
        return;
    to = end + most < in->data_end ? end + most : in->data_end;
    i = (off > in->ra_done ? off : in->ra_done) / SLOT_SIZE;
    if (to <= i * SLOT_SIZE || (to < in->data_end && to - i * SLOT_SIZE < most / 4))
        return;
    for (; i * SLOT_SIZE < to; i++)
        if (!slot_find(in, i))
            engine_queue(v->e, v, in->a.ino, i, WORK_LOAD);
    in->ra_done = i * SLOT_SIZE;
}

static int read_locked(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off,
                       size_t len, struct volume_read *out)
{
    struct inode *in;
    uint64_t end;
    int r = inode_get_file(v, call, ino, &in);

    if (r)
        return r;
    if (off >= in->a.size || len == 0) {
        out->eof = off >= in->a.size;
        return 0;
    }
    if (len > in->a.size - off)
        len = in->a.size - off;
    end = off + len;
    read_ahead(v, in, off, end);
    r = read_prepare(v, call, in, off, len);
    if (r)
        return r;
    atomic_fetch_add_explicit(&v->e->slot_reads, (end - 1) / SLOT_SIZE - off / SLOT_SIZE + 1,
                              memory_order_relaxed);
    for (uint64_t at = off; at < end;) {
        uint64_t start = at & ~(uint64_t)(SLOT_SIZE - 1);
        uint64_t to = start + SLOT_SIZE < end ? start + SLOT_SIZE : end;
        struct slot *s = slot_find(in, at / SLOT_SIZE);

        if (s)
            s->ref = true;
        if (!read_slot(v, s, (uint32_t)(at - start), (uint32_t)(to - start), out))
            break;
        at = to;
    }
    if (out->len == 0)
        return -EUCLEAN;
    out->eof = off + out->len >= in->a.size;
    return 0;
}

int volume_read(struct volume *v, struct store_call *call, uint64_t ino, uint64_t off, size_t len,
                struct volume_read *out)
{
    int r = vol_enter(v);

    out->len = 0;
    out->niov = 0;
    out->eof = false;
    if (r < 0)
        return r;
    if (len > VOLUME_IO_MAX)
        len = VOLUME_IO_MAX;
    do
        r = read_locked(v, call, ino, off, len, out);
    while (r == RETRY);
    vol_leave(v);
    return r;
}

void volume_read_release(struct volume_read *r)
{
    for (int i = 0; i < r->niov; i++)
        buf_unref(r->ref[i]);
    r->niov = 0;
    r->len = 0;
}
