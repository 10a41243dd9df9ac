/* SPDX-License-Identifier: Apache-2.0
 * metrics: rows of counters in shards (see metrics.h).
 *
 * A thread adds to its own shard of a row with relaxed atomics, so that loops do not fight for cache lines. Rows are
 * found through a table that is only probed, never locked: an id lives within WINDOW places of its hash, and taking
 * it out just clears its place. Changes of the table are made under `lock`.
 */
#include "server/metrics/metrics.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"

#define SHARDS 4u
#define PLACES (METRICS_ROWS_MAX * 2)
#define WINDOW 16u

const char *const metrics_class_names[METRICS_CLASSES] = {"look", "read", "change", "write"};

typedef atomic_uint_fast64_t counter;

struct shard {
    counter ops, errors, rd, wr;
    counter op[METRICS_OPS], op_errors[METRICS_OPS];
    struct {
        counter sum_us;
        counter bucket[METRICS_BUCKETS];
    } lat[METRICS_CLASSES];
};

struct row {
    _Atomic(struct shard *) shards[SHARDS];
    /* The rest under metrics.lock. */
    struct row *next_free;
    struct metrics_sums second[METRICS_RATE + 1]; /* sums at the last ticks; tick n in place n mod (RATE + 1) */
    struct metrics_sums stepped;                  /* at the last sample */
    struct metrics_hist *lat;                     /* of the total: at the last sample */
    uint64_t since;                               /* the tick it was first there for */
    uint64_t first_step;
    struct {
        float ops, rd, wr;
    } sample[METRICS_SAMPLES];
};

struct place {
    atomic_uint_fast64_t id; /* 0: empty */
    _Atomic(struct row *) row;
};

struct table {
    struct place places[PLACES];
    unsigned rows; /* used */
    struct row *free;
};

struct metrics {
    struct row total;
    struct table tables[2]; /* volumes, grants */
    counter status[METRICS_STATUS];
    counter overflow;
    pthread_mutex_t lock;
    uint64_t ticks, steps;
    uint64_t at[METRICS_RATE + 1]; /* ms, of the last ticks */
    uint64_t step_at;              /* ms, of the last sample */
    struct {
        float p50[METRICS_CLASSES], p99[METRICS_CLASSES];
    } lat[METRICS_SAMPLES];
};

static atomic_uint threads;
static _Thread_local unsigned my_shard = UINT32_MAX;

int metrics_new(struct metrics **out)
{
    struct metrics *m = calloc(1, sizeof(*m));
    if (!m)
        return -ENOMEM;
    m->total.lat = calloc(METRICS_CLASSES, sizeof(*m->total.lat));
    if (!m->total.lat) {
        free(m);
        return -ENOMEM;
    }
    pthread_mutex_init(&m->lock, NULL);
    m->step_at = m->at[0] = clock_mono_ms();
    *out = m;
    return 0;
}

static void row_release(struct row *r)
{
    for (unsigned i = 0; i < SHARDS; i++)
        free(atomic_load(&r->shards[i]));
    free(r->lat);
}

void metrics_free(struct metrics *m)
{
    if (!m)
        return;
    for (unsigned t = 0; t < 2; t++) {
        for (unsigned i = 0; i < PLACES; i++) {
            struct row *r = atomic_load(&m->tables[t].places[i].row);
            if (r) {
                row_release(r);
                free(r);
            }
        }
        for (struct row *r = m->tables[t].free, *next; r; r = next) {
            next = r->next_free;
            row_release(r);
            free(r);
        }
    }
    row_release(&m->total);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

/* --- finding rows --- */

static unsigned hash_of(uint64_t id)
{
    return (unsigned)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 40) % PLACES;
}

static struct row *table_find(struct table *t, uint64_t id)
{
    unsigned h = hash_of(id);
    for (unsigned i = 0; i < WINDOW; i++) {
        struct place *p = &t->places[(h + i) % PLACES];
        if (atomic_load_explicit(&p->id, memory_order_acquire) == id)
            return atomic_load_explicit(&p->row, memory_order_relaxed);
    }
    return NULL;
}

static struct row *table_add(struct metrics *m, struct table *t, uint64_t id)
{
    unsigned h = hash_of(id);
    struct row *r;
    pthread_mutex_lock(&m->lock);
    r = table_find(t, id);
    for (unsigned i = 0; !r && i < WINDOW && t->rows < METRICS_ROWS_MAX; i++) {
        struct place *p = &t->places[(h + i) % PLACES];
        if (atomic_load(&p->id))
            continue;
        if ((r = t->free))
            t->free = r->next_free;
        else if (!(r = calloc(1, sizeof(*r))))
            break;
        r->since = m->ticks;
        r->first_step = m->steps;
        t->rows++;
        atomic_store(&p->row, r);
        atomic_store_explicit(&p->id, id, memory_order_release);
    }
    pthread_mutex_unlock(&m->lock);
    if (!r)
        atomic_fetch_add_explicit(&m->overflow, 1, memory_order_relaxed);
    return r;
}

static struct table *table_of(struct metrics *m, enum metrics_kind kind)
{
    return &m->tables[kind == METRICS_GRANT];
}

static struct row *row_get(struct metrics *m, enum metrics_kind kind, uint64_t id)
{
    struct table *t = table_of(m, kind);
    struct row *r;
    if (!id)
        return NULL;
    r = table_find(t, id);
    return r ? r : table_add(m, t, id);
}

static struct shard *shard_get(struct row *r)
{
    struct shard *s, *none = NULL;
    if (!r)
        return NULL;
    if (my_shard == UINT32_MAX)
        my_shard = atomic_fetch_add(&threads, 1) % SHARDS;
    s = atomic_load_explicit(&r->shards[my_shard], memory_order_acquire);
    if (s)
        return s;
    s = calloc(1, sizeof(*s));
    if (s && !atomic_compare_exchange_strong(&r->shards[my_shard], &none, s)) {
        free(s);
        s = none;
    }
    return s;
}

/* --- counting --- */

static void add(counter *c, uint64_t n)
{
    atomic_fetch_add_explicit(c, n, memory_order_relaxed);
}

static void count_op(struct shard *s, uint32_t op, bool ok, uint64_t rd, uint64_t wr)
{
    if (!s)
        return;
    add(&s->ops, 1);
    add(&s->op[op], 1);
    if (!ok) {
        add(&s->errors, 1);
        add(&s->op_errors[op], 1);
    }
    if (rd)
        add(&s->rd, rd);
    if (wr)
        add(&s->wr, wr);
}

void metrics_op(struct metrics *m, uint64_t volume, uint64_t grant, uint32_t op, uint32_t status, uint64_t rd,
                uint64_t wr)
{
    if (!m)
        return;
    if (op >= METRICS_OPS)
        op = 0;
    if (status)
        add(&m->status[metrics_status_place(status)], 1);
    count_op(shard_get(&m->total), op, !status, rd, wr);
    count_op(shard_get(row_get(m, METRICS_VOLUME, volume)), op, !status, rd, wr);
    count_op(shard_get(row_get(m, METRICS_GRANT, grant)), op, !status, rd, wr);
}

static unsigned bucket_of(uint64_t us)
{
    unsigned top, b;
    if (us < 4)
        return (unsigned)us;
    top = 63u - (unsigned)__builtin_clzll(us);
    b = (top - 1) * 4 + ((unsigned)(us >> (top - 2)) & 3);
    return b < METRICS_BUCKETS ? b : METRICS_BUCKETS - 1;
}

uint64_t metrics_bucket_end(unsigned b)
{
    unsigned top = b / 4 + 1;
    if (b < 4)
        return b + 1;
    return ((uint64_t)(b % 4) + 5) << (top - 2);
}

static void count_latency(struct shard *s, enum metrics_class class, unsigned bucket, uint64_t us)
{
    if (!s)
        return;
    add(&s->lat[class].bucket[bucket], 1);
    add(&s->lat[class].sum_us, us);
}

void metrics_compound(struct metrics *m, uint64_t volume, uint64_t grant, enum metrics_class class, uint64_t ns)
{
    uint64_t us = ns / 1000;
    unsigned bucket;
    if (!m)
        return;
    bucket = bucket_of(us);
    count_latency(shard_get(&m->total), class, bucket, us);
    count_latency(shard_get(row_get(m, METRICS_VOLUME, volume)), class, bucket, us);
    count_latency(shard_get(row_get(m, METRICS_GRANT, grant)), class, bucket, us);
}

/* --- statuses: 0..127 are themselves, 10000..10127 follow --- */

unsigned metrics_status_place(uint32_t status)
{
    if (status < 127)
        return status;
    return status >= 10000 && status < 10128 ? status - 10000 + 128 : 127;
}

uint32_t metrics_status_at(unsigned place)
{
    return place < 128 ? place : place - 128 + 10000;
}

void metrics_statuses(struct metrics *m, uint64_t out[METRICS_STATUS])
{
    for (unsigned i = 0; i < METRICS_STATUS; i++)
        out[i] = atomic_load_explicit(&m->status[i], memory_order_relaxed);
}

uint64_t metrics_overflow(struct metrics *m)
{
    return atomic_load(&m->overflow);
}

/* --- reading --- */

static uint64_t get(counter *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

static void row_sums(struct row *r, struct metrics_sums *out)
{
    *out = (struct metrics_sums){0};
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = atomic_load_explicit(&r->shards[i], memory_order_acquire);
        if (!s)
            continue;
        out->ops += get(&s->ops);
        out->errors += get(&s->errors);
        out->rd += get(&s->rd);
        out->wr += get(&s->wr);
    }
}

static void row_latency(struct row *r, enum metrics_class class, struct metrics_hist *out)
{
    memset(out, 0, sizeof(*out));
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *s = atomic_load_explicit(&r->shards[i], memory_order_acquire);
        if (!s)
            continue;
        out->sum_us += get(&s->lat[class].sum_us);
        for (unsigned b = 0; b < METRICS_BUCKETS; b++)
            out->bucket[b] += get(&s->lat[class].bucket[b]);
    }
    for (unsigned b = 0; b < METRICS_BUCKETS; b++)
        out->count += out->bucket[b];
}

static struct row *row_find(struct metrics *m, enum metrics_kind kind, uint64_t id)
{
    if (kind == METRICS_TOTAL)
        return &m->total;
    return id ? table_find(table_of(m, kind), id) : NULL;
}

static void row_rate(const struct metrics *m, const struct row *r, struct metrics_row *out)
{
    uint64_t n = m->ticks - r->since, back = n < METRICS_RATE ? n : METRICS_RATE;
    const struct metrics_sums *now = &r->second[m->ticks % (METRICS_RATE + 1)];
    const struct metrics_sums *then = &r->second[(m->ticks - back) % (METRICS_RATE + 1)];
    static const struct metrics_sums zero;
    double s;
    if (!back)
        return;
    s = (double)(m->at[m->ticks % (METRICS_RATE + 1)] - m->at[(m->ticks - back) % (METRICS_RATE + 1)]) / 1000;
    if (s <= 0)
        return;
    if (n == back) /* since it is there: everything counts */
        then = &zero;
    out->rate.ops = (double)(now->ops - then->ops) / s;
    out->rate.errors = (double)(now->errors - then->errors) / s;
    out->rate.rd = (double)(now->rd - then->rd) / s;
    out->rate.wr = (double)(now->wr - then->wr) / s;
}

bool metrics_read(struct metrics *m, enum metrics_kind kind, uint64_t id, struct metrics_row *out)
{
    struct row *r;
    memset(out, 0, sizeof(*out));
    pthread_mutex_lock(&m->lock);
    r = row_find(m, kind, id);
    if (r) {
        row_sums(r, &out->sum);
        row_rate(m, r, out);
        for (unsigned i = 0; i < SHARDS; i++) {
            struct shard *s = atomic_load_explicit(&r->shards[i], memory_order_acquire);
            for (unsigned op = 0; s && op < METRICS_OPS; op++) {
                out->op[op].count += get(&s->op[op]);
                out->op[op].errors += get(&s->op_errors[op]);
            }
        }
        for (unsigned c = 0; c < METRICS_CLASSES; c++)
            row_latency(r, c, &out->lat[c]);
    }
    pthread_mutex_unlock(&m->lock);
    return r;
}

unsigned metrics_history(struct metrics *m, enum metrics_kind kind, uint64_t id, struct metrics_sample *out,
                         unsigned max)
{
    unsigned n = 0;
    uint64_t at;
    struct row *r;
    pthread_mutex_lock(&m->lock);
    r = row_find(m, kind, id);
    at = m->steps < METRICS_SAMPLES ? 0 : m->steps - METRICS_SAMPLES;
    if (m->steps - at > max)
        at = m->steps - max;
    for (; at < m->steps; at++) {
        struct metrics_sample *s = &out[n++];
        unsigned i = at % METRICS_SAMPLES;
        memset(s, 0, sizeof(*s));
        if (r && at >= r->first_step) {
            s->ops = r->sample[i].ops;
            s->rd = r->sample[i].rd;
            s->wr = r->sample[i].wr;
        }
        if (kind == METRICS_TOTAL) {
            memcpy(s->p50, m->lat[i].p50, sizeof(s->p50));
            memcpy(s->p99, m->lat[i].p99, sizeof(s->p99));
        }
    }
    pthread_mutex_unlock(&m->lock);
    return n;
}

double metrics_quantile(const struct metrics_hist *h, double q)
{
    double want = q * (double)h->count, seen = 0;
    for (unsigned b = 0; b < METRICS_BUCKETS; b++) {
        double n = (double)h->bucket[b];
        if (n > 0 && seen + n >= want) {
            double from = b ? (double)metrics_bucket_end(b - 1) : 0, to = (double)metrics_bucket_end(b);
            return from + (to - from) * (want - seen) / n;
        }
        seen += n;
    }
    return 0;
}

uint64_t metrics_below(const struct metrics_hist *h, uint64_t us)
{
    uint64_t n = 0;
    for (unsigned b = 0; b < METRICS_BUCKETS && metrics_bucket_end(b) <= us; b++)
        n += h->bucket[b];
    return n;
}

/* --- once a second --- */

static void row_step(struct metrics *m, struct row *r, double s, unsigned i)
{
    struct metrics_sums now;
    row_sums(r, &now);
    r->sample[i].ops = (float)((double)(now.ops - r->stepped.ops) / s);
    r->sample[i].rd = (float)((double)(now.rd - r->stepped.rd) / s);
    r->sample[i].wr = (float)((double)(now.wr - r->stepped.wr) / s);
    r->stepped = now;
    for (unsigned c = 0; r->lat && c < METRICS_CLASSES; c++) {
        struct metrics_hist h, diff;
        row_latency(r, c, &h);
        diff.count = h.count - r->lat[c].count;
        for (unsigned b = 0; b < METRICS_BUCKETS; b++)
            diff.bucket[b] = h.bucket[b] - r->lat[c].bucket[b];
        r->lat[c] = h;
        m->lat[i].p50[c] = (float)(metrics_quantile(&diff, 0.5) / 1000);
        m->lat[i].p99[c] = (float)(metrics_quantile(&diff, 0.99) / 1000);
    }
}

static void row_tick(struct metrics *m, struct row *r, double s)
{
    row_sums(r, &r->second[m->ticks % (METRICS_RATE + 1)]);
    if (s > 0)
        row_step(m, r, s, m->steps % METRICS_SAMPLES);
}

void metrics_tick(struct metrics *m)
{
    uint64_t now = clock_mono_ms();
    double s = 0;
    pthread_mutex_lock(&m->lock);
    m->ticks++;
    m->at[m->ticks % (METRICS_RATE + 1)] = now;
    if (now >= m->step_at + METRICS_STEP * 1000 - 50) {
        s = (double)(now - m->step_at) / 1000;
        m->step_at = now;
    }
    row_tick(m, &m->total, s);
    for (unsigned t = 0; t < 2; t++)
        for (unsigned i = 0; i < PLACES && m->tables[t].rows; i++) {
            struct place *p = &m->tables[t].places[i];
            if (atomic_load(&p->id))
                row_tick(m, atomic_load(&p->row), s);
        }
    if (s > 0)
        m->steps++;
    pthread_mutex_unlock(&m->lock);
}

static void row_clear(struct row *r)
{
    struct shard *shards[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        shards[i] = atomic_load(&r->shards[i]);
        for (size_t c = 0; shards[i] && c < sizeof(struct shard) / sizeof(counter); c++)
            atomic_store_explicit((counter *)shards[i] + c, 0, memory_order_relaxed);
    }
    memset(r->second, 0, sizeof(r->second));
    memset(r->sample, 0, sizeof(r->sample));
    r->stepped = (struct metrics_sums){0};
}

void metrics_keep(struct metrics *m, enum metrics_kind kind, bool (*exists)(void *arg, uint64_t id), void *arg)
{
    struct table *t = table_of(m, kind);
    pthread_mutex_lock(&m->lock);
    for (unsigned i = 0; i < PLACES && t->rows; i++) {
        struct place *p = &t->places[i];
        uint64_t id = atomic_load(&p->id);
        struct row *r = atomic_load(&p->row);
        if (!id || exists(arg, id))
            continue;
        atomic_store(&p->id, 0);
        atomic_store(&p->row, NULL);
        row_clear(r);
        r->next_free = t->free;
        t->free = r;
        t->rows--;
    }
    pthread_mutex_unlock(&m->lock);
}
