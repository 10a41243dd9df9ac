/* SPDX-License-Identifier: Apache-2.0
 * flush: dirty slots become chunks, and the chunks maps in the open txg.
 *
 * What is encoded: if at least half of the slot's pages are dirty, or the slot was written in many
 * fragments since that was last done, and all of it is in memory, the whole slot as one chunk; else each run of dirty pages as a chunk. Zeros
 * become a punch. Chunks go to the pack, or along in the txg when there is little: then as they are, since somebody
 * waits; apply.c compresses them (A2). For many fragments nobody waits: all of the slot would go through the journal, where
 * there are no more of them than pages anyway, and repacking makes one chunk of them when the slot is cold.
 *
 * A slot written in full is encoded by a worker at once (prep); the map enters the txg at the file's
 * commit, after PREP_AGE_MS, or when PREP_MAX bytes wait. So a commit of streamed data has only the tail
 * to encode.
 *
 * When compression cannot keep up (hurried), chunks go to the pack raw, marked to be compressed later (later.c): what waits
 * in memory is bounded, and so would be the rate of writers else, by the processor.
 */
#include "server/store/volume_int.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/store/dedup.h"

#define MANY_FRAGMENTS 8

#define HURRY_MS       2000u

unsigned flush_hurry_ms = HURRY_MS, flush_slow_us;

/* Keeps an average of what something takes, of the last 16 or so. */
static void average(atomic_uint_fast64_t *avg, uint64_t t0)
{
    uint64_t old = atomic_load_explicit(avg, memory_order_relaxed), ns = clock_mono_ns() - t0;

    atomic_store_explicit(avg, old ? old - old / 16 + ns / 16 : ns, memory_order_relaxed);
}

/* Would the slots that wait for a worker take longer than HURRY_MS, if they take what the last ones did, and is it
 * compressing that takes the time, not writing? */
static bool hurried(struct engine *e)
{
    uint64_t each = atomic_load_explicit(&e->encode_ns, memory_order_relaxed);

    if (!flush_hurry_ms)
        return true;
    return each > atomic_load_explicit(&e->append_ns, memory_order_relaxed) &&
           atomic_load_explicit(&e->nflush, memory_order_relaxed) * each / e->nworkers > flush_hurry_ms * 1000000ull;
}

/* What slot_encode works on; read under the lock once. */
struct job {
    struct volume *vol;
    struct slot *slot;
    uint64_t ino, start, data_end;
    int level;
    bool blob;
    struct same *same; /* where the bytes are already, if they are; NULL: not looked for */
    struct rowop *ops, **tail;
};

static void job_add(struct job *j, struct rowop *op)
{
    *j->tail = op;
    j->tail = &op->next;
}

static void job_punch(struct job *j, uint32_t off, uint32_t len)
{
    struct rowop *op;

    if (j->start + off >= j->data_end)
        return;
    for (op = j->ops; op; op = op->next) { /* the neighbour grows */
        if (op->type != OP_PUNCH)
            continue;
        if (op->off + op->len == j->start + off) {
            op->len += len;
            return;
        }
        if (j->start + off + len == op->off) {
            op->off -= len;
            op->len += len;
            return;
        }
    }
    op = rowop_new(OP_PUNCH, j->ino, NULL, 0, NULL, 0);
    op->off = j->start + off;
    op->len = len;
    job_add(j, op);
}

static int job_run(struct job *j, const unsigned char *data, uint32_t off, uint32_t len)
{
    struct volume *v = j->vol;
    struct chunk c = {0};
    const void *payload;
    struct rowop *op;
    uint64_t hash = 0, t0;
    int level = j->blob ? 0 : j->level, r;

    while (len > 0 && chunk_is_zero(data, len < STORE_PAGE ? len : STORE_PAGE)) {
        uint32_t n = len < STORE_PAGE ? len : STORE_PAGE;
        job_punch(j, off, n);
        data += n;
        off += n;
        len -= n;
    }
    if (len == 0)
        return 0;
    for (;;) { /* data is not all zero, so this ends */
        uint32_t n = len % STORE_PAGE ? len % STORE_PAGE : STORE_PAGE;
        if (!chunk_is_zero(data + len - n, n))
            break;
        len -= n;
        job_punch(j, off + len, n);
    }
    if (j->same && !j->same->src && len >= DEDUP_MIN) {
        hash = dedup_hash(data, len);
        if (dedup_find(v, hash, j->slot, data, len, j->same)) {
            op = rowop_new(OP_CLONE, j->ino, NULL, 0, NULL, 0);
            op->off = j->start + off;
            op->len = len;
            op->src = j->same->ino;
            op->src_off = j->same->off;
            op->hash = hash;
            job_add(j, op);
            return 0;
        }
    }
    if (level && hurried(v->e)) {
        level = 0;
        c.later = true;
    }
    r = fault_point("slot.encode");
    t0 = clock_mono_ns();
    if (r == 0)
        r = chunk_encode(data, len, level, scratch_get(), &c, &payload);
    if (r < 0)
        return r;
    if (flush_slow_us && level)
        usleep(flush_slow_us);
    if (level && len >= DEDUP_MIN)
        average(&v->e->encode_ns, t0);
    c.id = atomic_fetch_add(&v->next_chunk, 1);
    if (!j->blob) {
        t0 = clock_mono_ns();
        r = packset_append(v->ps, &c, j->ino, j->start + off, payload);
        if (r < 0)
            return r;
        if (len >= DEDUP_MIN)
            average(&v->e->append_ns, t0);
    }
    op = rowop_new(OP_MAP, j->ino, NULL, 0, j->blob ? payload : NULL, j->blob ? c.stored_len : 0);
    op->off = j->start + off;
    op->len = len;
    op->chunk = c;
    op->hash = hash;
    job_add(j, op);
    return 0;
}

int slot_encode(struct slot *s, bool blob, struct same *same)
{
    struct inode *in = s->in;
    struct volume *v = in->vol;
    struct job j = {.vol = v, .slot = s, .ino = in->a.ino, .start = slot_start(s),
                    .data_end = in->data_end, .blob = blob, .same = v->props.dedup && !blob ? same : NULL,
                    .level = v->props.codec == VOLUME_RAW ? 0 : v->props.level};
    uint64_t left = in->a.size > j.start ? in->a.size - j.start : 0;
    uint32_t limit = left < SLOT_SIZE ? (uint32_t)left : SLOT_SIZE, buf_end;
    uint32_t all = pages_touched(0, limit), mask = s->dirty & all, low = 0;
    int r = 0;

    s->busy = SLOT_FLUSHING;
    j.tail = &j.ops;
    if ((s->valid & all) == all && (__builtin_popcount(mask) * 2 >= __builtin_popcount(all) ||
                                    (!blob && s->nfrag > MANY_FRAGMENTS)))
        mask = all;
    if (!blob)
        low = packref_here(v);
    buf_end = s->buf ? s->buf->pages * STORE_PAGE : 0;
    pthread_mutex_unlock(&v->lock);
    for (uint32_t p = 0; p < SLOT_PAGES && r == 0;) {
        uint32_t q = p, off = p * STORE_PAGE, end, data_to;
        if (!(mask & 1u << p)) {
            p++;
            continue;
        }
        while (q < SLOT_PAGES && (mask & 1u << q))
            q++;
        end = q * STORE_PAGE < limit ? q * STORE_PAGE : limit;
        data_to = end < buf_end ? end : buf_end;
        if (off < data_to)
            r = job_run(&j, s->buf->data + off, off, data_to - off);
        if (r == 0 && end > data_to)
            job_punch(&j, data_to > off ? data_to : off, end - (data_to > off ? data_to : off));
        p = q;
    }
    pthread_mutex_lock(&v->lock);
    for (struct rowop *op = j.ops; op; op = op->next)
        if (op->type == OP_MAP && op->chunk.pack)
            packref_get(v, op->chunk.pack);
    if (low)
        packref_put(v, low);
    if (r < 0) {
        rowop_drop_list(v, j.ops);
        if (j.same)
            same_release(j.same);
        return r;
    }
    s->prep = j.ops;
    if (mask == all)
        s->nfrag = 0;
    for (struct rowop *op = j.ops; op; op = op->next)
        s->nfrag++;
    return 0;
}

void slot_publish(struct slot *s)
{
    struct inode *in = s->in;
    struct volume *v = in->vol;
    uint64_t pend = (uint64_t)__builtin_popcount(s->dirty) * STORE_PAGE;
    uint64_t end = slot_start(s) + ((32u - (unsigned)__builtin_clz(s->dirty | 1)) * STORE_PAGE);
    struct rowop *op = s->prep;

    if (!s->dirty)
        return;
    v->prep_bytes -= s->prep_len;
    s->prep_len = 0;
    s->prep = NULL;
    if (!op)
        in->pend -= pend; /* all of it zeros where nothing was */
    while (op) {
        struct rowop *next = op->next;
        uint64_t op_end = op->off + op->len;
        op->in = in;
        op->slot = s;
        op->pend = pend;
        pend = 0;
        if (op->type != OP_PUNCH && op_end > in->data_end)
            in->data_end = op_end;
        if (op->hash)
            dedup_note(v, op->hash, op->ino, op->off);
        if (op->chunk.later) {
            v->hurried += op->len;
            atomic_fetch_add_explicit(&v->e->hurried, op->len, memory_order_relaxed);
        }
        if (op->type == OP_CLONE) {
            v->deduped += op->len;
            atomic_fetch_add_explicit(&v->e->deduped, op->len, memory_order_relaxed);
        }
        txg_add(v, op);
        op = next;
    }
    s->dirty = 0;
    list_del(&s->dlink);
    list_del(&s->vdlink);
    s->txg = in->data_txg = v->open->n;
    if (end > in->a.size)
        end = in->a.size;
    if (end > in->psize)
        in->psize = end;
    inode_dirty(in);
    inode_recalc_used(in);
    cache_account(s);
}

int slot_encode_now(struct slot *s, bool blob, bool *shared)
{
    struct same same = {0};
    int r = slot_encode(s, blob, &same);

    *shared = r == 0 && same.src && same_holds(&same);
    if (r == 0 && same.src && !*shared) {
        rowop_drop_list(s->in->vol, s->prep);
        s->prep = NULL;
        r = slot_encode(s, blob, NULL);
    }
    same_release(&same);
    return r;
}

/* Ends a flush: publish, keep, or throw away if the file is gone by now. */
static void flush_done(struct slot *s, bool publish)
{
    struct inode *in = s->in;
    struct volume *v = in->vol;

    if (in->dead) {
        rowop_drop_list(v, s->prep);
        s->prep = NULL;
        slot_undirty(s, s->dirty);
    } else if (publish) {
        slot_publish(s);
    } else if (!s->prep) {
        slot_publish(s); /* nothing to keep */
    } else {
        s->prep_len = (uint32_t)__builtin_popcount(s->dirty) * STORE_PAGE;
        v->prep_bytes += s->prep_len;
    }
    slot_idle(s);
}

static bool commit_needs(const struct slot *s, uint64_t seq)
{
    return s->wseq <= seq;
}

int inode_flush(struct volume *v, struct store_call *call, struct inode *in)
{
    uint64_t seq = in->wseq, total = 0, ino = in->a.ino;
    bool blob, shared;
    int r = 0;

    list_for_each(it, &in->dirty) {
        struct slot *s = list_entry(it, struct slot, dlink);
        if (!call->may_block && s->busy != SLOT_IDLE)
            return -EAGAIN;
        if (!s->prep)
            total += (uint64_t)__builtin_popcount(s->dirty) * STORE_PAGE;
    }
    blob = total <= BLOB_TOTAL_MAX;
    if (!call->may_block && !blob)
        return -EAGAIN;
    in->opsref++; /* keeps it in memory over the waits */
    if (!blob) {
        /* Let the workers share: this thread takes from the head, they from behind it. */
        list_for_each(it, &in->dirty) {
            struct slot *s = list_entry(it, struct slot, dlink);
            if (it != in->dirty.next && s->busy == SLOT_IDLE && !s->prep && !s->queued) {
                s->queued = true;
                engine_queue(v->e, v, ino, s->idx, WORK_PREP);
            }
        }
    }
    for (;;) {
        struct slot *todo = NULL;
        bool busy = false;
        list_for_each_safe(it, &in->dirty) {
            struct slot *s = list_entry(it, struct slot, dlink);
            if (!commit_needs(s, seq))
                continue;
            if (s->busy != SLOT_IDLE) {
                busy = true;
                continue;
            }
            if (s->prep) {
                slot_publish(s);
                continue;
            }
            todo = s;
            break;
        }
        if (todo) {
            r = slot_encode_now(todo, blob, &shared);
            if (r < 0) {
                slot_idle(todo);
                break;
            }
            flush_done(todo, true);
        } else if (busy) {
            if (!call->may_block) { /* a worker took one meanwhile: the caller's retry waits for it */
                r = -EAGAIN;
                break;
            }
            vol_wait(v, 0);
        } else {
            break;
        }
        if (v->failed) {
            r = vol_failed(v, -EIO);
            break;
        }
    }
    in->opsref--;
    return r;
}

void volume_publish_preps(struct volume *v, uint64_t before_ms)
{
    list_for_each_safe(it, &v->dirty) {
        struct slot *s = list_entry(it, struct slot, vdlink);
        if (s->dirty_ms > before_ms)
            break;
        if (s->prep && s->busy == SLOT_IDLE)
            slot_publish(s);
    }
}

void volume_flush_old(struct volume *v, uint64_t before_ms)
{
    uint64_t now = clock_mono_ms();

    if (v->stop || (v->flush_err && now < v->flush_retry_ms))
        return;
    list_for_each(it, &v->dirty) {
        struct slot *s = list_entry(it, struct slot, vdlink);
        if (s->dirty_ms > before_ms)
            break;
        if (s->busy != SLOT_IDLE || s->prep || s->queued)
            continue;
        s->queued = true;
        engine_queue(v->e, v, s->in->a.ino, s->idx, WORK_FLUSH);
    }
}

static void flush_failed(struct volume *v, int err)
{
    if (!v->flush_err)
        log_error("%s: cannot write data (%s); keeping it in memory and trying again", v->label,
                  strerrordesc_np(-err));
    v->flush_err = err;
    v->flush_retry_ms = clock_mono_ms() + 1000;
    vol_wake(v);
}

void slot_work(struct volume *v, uint64_t ino, uint64_t idx, enum work_kind kind)
{
    struct inode *in;
    struct slot *s;
    bool shared;
    int r;

    pthread_mutex_lock(&v->lock);
    in = inode_find(v, ino);
    s = in && !in->loading && !in->dead ? slot_find(in, idx) : NULL;
    if (kind == WORK_LOAD) {
        if (in && !in->loading && !in->dead && !s && idx * SLOT_SIZE < in->data_end)
            s = slot_get(in, idx);
        if (s && s->busy == SLOT_IDLE && ~(s->valid | s->bad) && in->punch_txg <= v->committed)
            (void)slot_load(s, true);
    } else if (s) {
        s->queued = false;
        if (s->dirty && !s->prep && s->busy == SLOT_IDLE && !v->failed) {
            r = slot_encode_now(s, false, &shared);
            if (r < 0) {
                flush_failed(v, r);
                slot_idle(s);
            } else {
                v->flush_err = 0;
                flush_done(s, kind == WORK_FLUSH || shared);
                if (v->prep_bytes > PREP_MAX) {
                    volume_publish_preps(v, UINT64_MAX);
                    txg_want(v, v->open->n);
                }
            }
        }
    }
    v->work--;
    vol_wake(v);
    pthread_mutex_unlock(&v->lock);
}
