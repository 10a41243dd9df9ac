/* SPDX-License-Identifier: Apache-2.0
 * conn_recv: the receiving half of a connection: record marking (RFC 5531 section 11) over edge-triggered epoll.
 *
 *  1. Small records share the buffer they were received into; each request holds a reference.
 *  2. When the last record was large, the next is expected to be: a large buffer is taken and only its first
 *     4 KiB are asked for, so that the length is known and the rest is received exactly into its place.
 *  3. A record that does not fit behind those before it is moved to the begin of a new buffer; after (2) that is
 *     at most 4 KiB of a large one.
 *  4. A connection without an unfinished record has no buffer.
 */
#include "server/rpc/conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/rpc/rpcserver_priv.h"

#define LARGE_RECORD  (RBUF_SMALL_CAP / 2)
#define LARGE_PEEK    4096u  /* see (2) */
#define ROOM_MIN      16384u /* a shared buffer with less room than this is not received into again */
#define READS_MAX     16     /* in one turn; then it is the others' */
#define QUICK_ACK_MAX 65536u

/* Large buffers have taken what the loop may have. */
static bool no_memory(const struct conn *c)
{
    return c->loop->large_bytes >= c->server->loop_memory;
}

/* Adds a fragment to the record under assembly; -1: too long. */
static int add_fragment(struct conn *c, const char *p, size_t len)
{
    bool large = c->record_len + len > RBUF_SMALL_CAP;

    if (len > REQUEST_CALL_MAX - c->record_len)
        return -1;
    if (large && !(c->record && c->record->large) && no_memory(c))
        return -1; /* nobody who has much to send sends it in pieces */
    if (c->record && !c->record->large && len > RBUF_SMALL_CAP - c->record_len) {
        struct rbuf *bigger = rbuf_new(true, &c->loop->large_bytes);

        if (!bigger)
            return -1;
        memcpy(bigger->data, c->record->data, c->record_len);
        rbuf_unref(c->record);
        c->record = bigger;
    }
    if (!c->record && !(c->record = rbuf_new(len > RBUF_SMALL_CAP, &c->loop->large_bytes)))
        return -1;
    memcpy(c->record->data + c->record_len, p, len);
    c->record_len += len;
    return 0;
}

static uint32_t mark_at(const struct conn *c)
{
    uint32_t mark;

    memcpy(&mark, c->rb->data + c->rd, 4);
    return ntohl(mark);
}

/* Handles the complete records received. false: close. */
static bool handle_records(struct conn *c)
{
    while (!c->closed && !conn_full(c) && c->wr - c->rd >= 4) {
        uint32_t mark = mark_at(c), len = mark & ~CONN_LAST_FRAGMENT;
        const char *p = c->rb->data + c->rd + 4;
        bool ok;

        if (len > REQUEST_CALL_MAX) {
            log_debug(LOG_RPC, "connection %llu: a fragment of %u bytes", (unsigned long long)c->id, len);
            return false;
        }
        if (c->wr - c->rd - 4 < len)
            break;
        c->rd += 4 + (size_t)len;
        if (c->record || !(mark & CONN_LAST_FRAGMENT)) {
            struct rbuf *record;

            if (add_fragment(c, p, len) != 0)
                return false;
            if (!(mark & CONN_LAST_FRAGMENT))
                continue;
            record = c->record;
            c->record = NULL;
            c->record_since = 0;
            ok = request_record(c, record, record->data, c->record_len);
            c->record_len = 0;
            rbuf_unref(record);
        } else {
            c->large = len > LARGE_RECORD;
            c->record_since = 0;
            ok = request_record(c, c->rb, p, len);
        }
        if (!ok)
            return false;
    }
    return true;
}

/* Without unread bytes the buffer goes back; with room left the loop has it for the next connection. */
static void give_buffer(struct conn *c)
{
    struct loop *l = c->loop;
    struct rbuf *rb = c->rb;
    size_t at = rb->refs == 1 ? 0 : (c->wr + 7) & ~(size_t)7;

    c->rb = NULL;
    c->rd = c->wr = 0;
    if (!rb->large && !l->spare && rb->cap >= at + ROOM_MIN) {
        l->spare = rb;
        l->spare_at = at;
    } else {
        rbuf_unref(rb);
    }
}

static bool take_buffer(struct conn *c, bool large)
{
    struct loop *l = c->loop;

    if (!large && l->spare) {
        c->rb = l->spare;
        c->rd = c->wr = l->spare_at;
        l->spare = NULL;
        return true;
    }
    c->rb = rbuf_new(large, &l->large_bytes);
    c->rd = c->wr = 0;
    return c->rb;
}

/* Makes room for what comes next: *n bytes at most are to be received at wr. -ENOMEM: out of memory; -EAGAIN: a large
 * buffer is needed and there is none for now. */
static int make_room(struct conn *c, size_t *n)
{
    size_t have = c->wr - c->rd, need = have >= 4 ? 4 + (size_t)(mark_at(c) & ~CONN_LAST_FRAGMENT) : 4;

    if (c->rb && !have) {
        if (c->rb->refs == 1)
            c->rd = c->wr = 0;
        if (c->rb->large != c->large || c->rb->cap - c->wr < ROOM_MIN)
            give_buffer(c);
    }
    if (!c->rb && !take_buffer(c, c->large && !no_memory(c)))
        return -ENOMEM;
    if (need > c->rb->cap - c->rd) {
        struct rbuf *old = c->rb, *rb;

        /* Who waits for a large buffer must not keep one for the first bytes of a record: all could wait then. */
        bool wait = need > RBUF_SMALL_CAP && no_memory(c);

        if (wait && !(old->large && have <= RBUF_SMALL_CAP))
            return -EAGAIN;
        rb = rbuf_new(!wait && need > RBUF_SMALL_CAP, &c->loop->large_bytes);

        if (!rb)
            return -ENOMEM;
        memcpy(rb->data, old->data + c->rd, have);
        rbuf_unref(old);
        c->rb = rb;
        c->rd = 0;
        c->wr = have;
        if (wait)
            return -EAGAIN;
    }
    *n = c->rb->cap - c->wr;
    if (c->rb->large) {
        size_t most = have >= 4 ? c->rd + need - c->wr : LARGE_PEEK - have;

        if (*n > most)
            *n = most;
    }
    return 0;
}

/* Waits for memory on the loop's list. */
static void starve(struct conn *c)
{
    c->paused = true;
    if (list_empty(&c->starved))
        list_add_tail(&c->loop->starved, &c->starved);
}

/* Receives once, or begins to starve. false: close. */
static bool receive(struct conn *c)
{
    size_t want;
    ssize_t n;

    switch (make_room(c, &want)) {
    case -EAGAIN:
        starve(c);
        return true;
    case -ENOMEM:
        log_warn("out of memory: a connection is closed");
        return false;
    }
    n = recv(c->fd, c->rb->data + c->wr, want, 0);
    if (n > 0) {
        c->wr += (size_t)n;
        c->rx_bytes += (size_t)n;
        /* Less than asked for: the socket is empty, and more to come is another event; only the end of the
         * stream may have been reported already. */
        if ((size_t)n < want && !c->hup)
            c->readable = false;
        return true;
    }
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
        c->readable = false;
        return true;
    }
    return false;
}

/* A part of a record is here. A client without TCP_NODELAY may keep the rest until that is acknowledged: do not let
 * it wait 40 ms. Of a large record the next segments come anyway. */
static void quick_ack(const struct conn *c)
{
    size_t have = (c->rb ? c->wr - c->rd : 0) + (c->record ? c->record_len : 0);
    int one = 1;

    if (have < QUICK_ACK_MAX)
        setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof(one));
}

void conn_resume(struct conn *c)
{
    for (int turn = 0; !c->closed; turn++) {
        if (c->rb && !handle_records(c)) {
            conn_close(c);
            return;
        }
        if (c->closed)
            return;
        if (conn_full(c)) {
            c->paused = true;
            break;
        }
        if (!c->readable)
            break;
        if (turn == READS_MAX) {
            if (list_empty(&c->again))
                list_add_tail(&c->loop->again, &c->again);
            break;
        }
        if (!receive(c)) {
            conn_close(c);
            return;
        }
        if (c->paused)
            break;
    }
    if (c->closed)
        return;
    if (c->rb && c->rd == c->wr)
        give_buffer(c);
    if (c->paused || (!c->rb && !c->record)) {
        c->record_since = 0;
    } else {
        if (!c->record_since)
            c->record_since = clock_mono_ms();
        quick_ack(c);
    }
    conn_flush(c);
}
