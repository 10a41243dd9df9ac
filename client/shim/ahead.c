/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading ahead: what a reader will probably ask for next is on its way while it works on what it has.
 *
 * Up to AHEAD_FILES files have a stream: pieces of the file in order, asked for in parallel over the connections and
 * waited for only when the reader gets there. The distance grows with every sequential read, up to AHEAD_MAX. A read
 * elsewhere goes straight to the server. Pieces are good while nobody in the run changed the file (its generation)
 * and its change attribute, looked at when the file is opened and every AHEAD_FRESH_MS, stays the same.
 *
 * A stream that somebody is busy with is no reason to wait: the read then goes straight, too.
 */
#include <errno.h>
#include <string.h>

#include "client/nfs/rpc.h"
#include "client/shim/shim.h"

#define AHEAD_FILES 16
#define AHEAD_PIECES 16
#define AHEAD_FRESH_MS 3000
#define AHEAD_FIRST (128u << 10)
#define AHEAD_PIECE RPC_MAX_IO
#define AHEAD_MAX (8u << 20)    /* of one file */
#define AHEAD_TOTAL (64u << 20) /* of the process */
#define AHEAD_DIRECT (4u << 20) /* reads from this size on need no help */

struct piece {
    struct nfs_ahead *call; /* NULL: the bytes are here */
    uint8_t *data;
    uint64_t offset;
    size_t want, have;
};

struct stream {
    struct vlock lock;
    struct nfs_fh fh; /* size 0: free */
    uint32_t gen;
    uint64_t change; /* attribute the bytes belong to; 0: not known */
    uint64_t ms;     /* when it was looked at */
    uint64_t used_ms;
    uint64_t next;  /* where a sequential reader goes on */
    uint64_t sent;  /* end of the last piece asked for */
    uint32_t ahead; /* how far to be ahead */
    unsigned head, tail;
    struct piece pieces[AHEAD_PIECES];
};

static struct {
    struct vlock lock;
    struct stream s[AHEAD_FILES];
    size_t bytes;
    int lane;
} ahead;

/* Waits for the piece. A failed one has no bytes. */
static void piece_finish(struct piece *p)
{
    ssize_t n;

    if (p->call == NULL)
        return;
    n = nfs_read_finish(shim.client, p->call);
    p->call = NULL;
    p->have = n > 0 ? (size_t)n : 0;
}

static void piece_drop(struct stream *s)
{
    struct piece *p = &s->pieces[s->tail++ % AHEAD_PIECES];

    piece_finish(p);
    heap_free(p->data);
    __atomic_sub_fetch(&ahead.bytes, p->want, __ATOMIC_RELAXED);
    p->data = NULL;
}

static void stream_clear(struct stream *s)
{
    while (s->tail != s->head)
        piece_drop(s);
}

/* Asks for bytes; false when there is no room. */
static bool stream_ask(struct stream *s, uint64_t offset, size_t want)
{
    struct piece *p = &s->pieces[s->head % AHEAD_PIECES];

    if (s->head - s->tail == AHEAD_PIECES)
        return false;
    p->data = heap_alloc(want);
    p->call = p->data == NULL
                  ? NULL
                  : nfs_read_start(shim.client, &s->fh, p->data, want, offset,
                                   __atomic_fetch_add(&ahead.lane, 1, __ATOMIC_RELAXED) & 0xffff);
    if (p->call == NULL) {
        heap_free(p->data);
        p->data = NULL;
        return false;
    }
    p->offset = offset;
    p->want = want;
    p->have = 0;
    __atomic_add_fetch(&ahead.bytes, want, __ATOMIC_RELAXED);
    s->sent = offset + want;
    s->head++;
    return true;
}

/* Keeps ahead of a reader at `at`, in a file of (as far as known) limit bytes. */
static void stream_top_up(struct stream *s, uint64_t at, uint64_t limit)
{
    size_t size = s->ahead / 4 < AHEAD_PIECE ? s->ahead / 4 : AHEAD_PIECE;

    if (s->sent < at)
        s->sent = at;
    if (size < AHEAD_FIRST)
        size = AHEAD_FIRST;
    while (s->sent < limit && s->sent + size <= at + s->ahead) {
        if (s->sent - at >= AHEAD_PIECE && __atomic_load_n(&ahead.bytes, __ATOMIC_RELAXED) > AHEAD_TOTAL)
            return;
        if (!stream_ask(s, s->sent, limit - s->sent < size ? (size_t)(limit - s->sent) : size))
            return;
    }
}

/* The file's stream, locked, or NULL when it would have to be waited for. */
static struct stream *stream_get(const struct nfs_fh *fh, bool make)
{
    struct stream *best = NULL;

    vlock_lock(&ahead.lock);
    for (int i = 0; i < AHEAD_FILES; i++) {
        struct stream *s = &ahead.s[i];

        if (s->fh.size != 0 && nfs_fh_same(&s->fh, fh)) {
            best = s;
            make = false;
            break;
        }
        if (best == NULL || s->used_ms < best->used_ms)
            best = s;
    }
    if (best != NULL && best->fh.size != 0 && !nfs_fh_same(&best->fh, fh) && !make)
        best = NULL;
    if (best != NULL && (best->fh.size == 0 && !make))
        best = NULL;
    if (best != NULL && !vlock_try(&best->lock))
        best = NULL;
    if (best != NULL) {
        best->used_ms = sys_now_ms();
        if (make)
            best->fh = *fh; /* nobody else takes it for the old file from here on */
    }
    vlock_unlock(&ahead.lock);
    if (best != NULL && make) {
        stream_clear(best);
        best->next = best->sent = 0;
        best->change = 0;
        best->ahead = AHEAD_FIRST;
        best->gen = file_gen(fh);
    }
    return best;
}

/* Drops what is no longer true. */
static void stream_check(struct stream *s)
{
    uint32_t gen = file_gen(&s->fh);
    uint64_t now = sys_now_ms();
    struct nfs_attr attr;

    if (s->gen != gen) {
        stream_clear(s);
        s->gen = gen;
        s->change = 0;
        s->ms = now;
    } else if (s->tail != s->head && now - s->ms >= AHEAD_FRESH_MS) {
        if (s->change == 0 || nfs_getattr(shim.client, &s->fh, &attr) != 0 || attr.change != s->change) {
            stream_clear(s);
            s->change = 0;
        }
        s->ms = now;
    }
}

/* The piece with the byte at `at`, all before it dropped; NULL if there is none. */
static struct piece *stream_find(struct stream *s, uint64_t at)
{
    for (unsigned i = s->tail; i != s->head; i++) {
        struct piece *p = &s->pieces[i % AHEAD_PIECES];

        if (at < p->offset || at >= p->offset + p->want)
            continue;
        while (s->tail != i)
            piece_drop(s);
        piece_finish(p);
        if (at < p->offset + p->have)
            return p;
        piece_drop(s); /* short: the end of the file, or an error that the direct read will meet */
        return NULL;
    }
    return NULL;
}

ssize_t ahead_read(struct ofd *ofd, uint8_t *to, size_t size, uint64_t offset)
{
    struct stream *s = stream_get(&ofd->fh, true);
    uint64_t limit = ofd->attr.size;
    size_t done = 0;
    ssize_t ret;
    bool asked = false;

    if (s == NULL)
        return nfs_read(shim.client, &ofd->fh, to, size, offset, NULL);
    stream_check(s);
    while (done < size) {
        uint64_t at = offset + done;
        size_t left = size - done, part;
        struct piece *p = stream_find(s, at);

        if (p != NULL) {
            bool last;

            part = (size_t)(p->offset + p->have - at);
            if (part > left)
                part = left;
            if (at == s->next && s->ahead < AHEAD_MAX)
                s->ahead = s->ahead * 2 < AHEAD_MAX ? s->ahead * 2 : AHEAD_MAX;
            last = at + part == p->offset + p->want; /* used up */
            if (at == s->next && s->sent > at)
                stream_top_up(s, at, limit);
            memcpy(to + done, p->data + (at - p->offset), part);
            done += part;
            s->next = at + part;
            if (last)
                piece_drop(s);
            continue;
        }
        if (at != s->next || left >= AHEAD_DIRECT || asked || at >= limit)
            break;
        /* Sequential, and nothing is under way: begin. */
        asked = true;
        stream_clear(s);
        if (s->change == 0 && ofd->attr_gen == s->gen)
            s->change = ofd->attr.change;
        if (s->ms == 0 || s->change == ofd->attr.change)
            s->ms = ofd->attr_ms != 0 ? ofd->attr_ms : sys_now_ms();
        s->sent = at;
        if (left > s->ahead)
            s->ahead = (uint32_t)left;
        if (s->ahead > AHEAD_PIECE || left > AHEAD_PIECE)
            s->ahead = s->ahead < 4 * AHEAD_PIECE ? 4 * AHEAD_PIECE : s->ahead;
        stream_top_up(s, at, limit);
    }
    if (done == size || (done > 0 && offset + done >= limit && file_attr_fresh(ofd))) { /* nothing more to ask for */
        vlock_unlock(&s->lock);
        return (ssize_t)done;
    }
    /* The rest straight from the server. */
    if (offset + done != s->next)
        s->ahead = AHEAD_FIRST;
    s->next = offset + size;
    vlock_unlock(&s->lock);
    ret = nfs_read(shim.client, &ofd->fh, to + done, size - done, offset + done, NULL);
    if (ret > 0)
        done += (size_t)ret;
    return done > 0 ? (ssize_t)done : ret;
}

void ahead_feed(const struct nfs_fh *fh, uint64_t change, uint32_t gen, const void *data, size_t size)
{
    struct stream *s = stream_get(fh, true);
    struct piece *p;

    if (s == NULL)
        return;
    stream_clear(s);
    s->gen = gen;
    s->change = change;
    s->ms = sys_now_ms();
    s->next = 0;
    s->ahead = AHEAD_FIRST;
    s->sent = 0;
    p = &s->pieces[s->head % AHEAD_PIECES];
    p->data = size > 0 ? heap_alloc(size) : NULL;
    if (p->data != NULL) {
        memcpy(p->data, data, size);
        p->call = NULL;
        p->offset = 0;
        p->want = p->have = size;
        s->sent = size;
        s->head++;
        __atomic_add_fetch(&ahead.bytes, size, __ATOMIC_RELAXED);
    }
    vlock_unlock(&s->lock);
}

void ahead_opened(const struct nfs_fh *fh, uint64_t change)
{
    struct stream *s = stream_get(fh, false);

    if (s == NULL)
        return;
    if (s->change != change)
        stream_clear(s);
    s->change = change;
    s->ms = sys_now_ms();
    s->next = 0;
    vlock_unlock(&s->lock);
}

void ahead_closed(const struct nfs_fh *fh)
{
    struct stream *s = stream_get(fh, false);

    if (s == NULL)
        return;
    while (s->head != s->tail) {
        struct piece *p = &s->pieces[(s->head - 1) % AHEAD_PIECES];

        if (p->call != NULL)
            break; /* not worth waiting for */
        s->head--;
        heap_free(p->data);
        p->data = NULL;
        __atomic_sub_fetch(&ahead.bytes, p->want, __ATOMIC_RELAXED);
    }
    s->used_ms = 0; /* the first to go */
    vlock_unlock(&s->lock);
}

void ahead_after_fork(void)
{
    for (int i = 0; i < AHEAD_FILES; i++) {
        struct stream *s = &ahead.s[i];

        /* Calls under way are the parent's. A stream that another thread was busy with is left alone. */
        if (s->lock.word == 0)
            for (; s->tail != s->head; s->tail++) {
                struct piece *p = &s->pieces[s->tail % AHEAD_PIECES];

                if (p->call != NULL)
                    nfs_read_abandon(p->call);
                heap_free(p->data);
            }
        memset(s, 0, sizeof(*s));
    }
    ahead.bytes = 0;
    memset(&ahead.lock, 0, sizeof(ahead.lock));
}
