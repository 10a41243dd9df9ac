/* SPDX-License-Identifier: Apache-2.0
 * metrics: counts what the server does: in all, for each volume and for each grant.
 *
 * Invariants
 *  1. Counting (metrics_op, metrics_compound) takes no lock, allocates at most once for a row and a shard, and
 *     never fails; any thread.
 *  2. Memory is bounded: METRICS_ROWS_MAX volumes and as many grants have rows of their own; what does not find
 *     room is counted in the total only, and metrics_overflow() says how often.
 *  3. A row is never freed before metrics_free. metrics_keep() lets the rows of what no longer exists be used for
 *     others; a thread that was just counting in such a row may leave one operation in the next one's.
 *  4. Every operation is counted once in the total and at most once in its volume's and its grant's row; every
 *     compound is in one latency histogram of each of these, that of the heaviest class it had.
 *  5. metrics_tick() alone writes the samples; readers take metrics.lock with it.
 */
#ifndef VOLNFS_METRICS_METRICS_H
#define VOLNFS_METRICS_METRICS_H

#include <stdbool.h>
#include <stdint.h>

struct metrics;

#define METRICS_ROWS_MAX 1024u
#define METRICS_OPS      128u  /* operation numbers; beyond: counted as 0 */
#define METRICS_BUCKETS  104u  /* of a latency histogram: four to each power of two of microseconds */
#define METRICS_STATUS   256u  /* places for NFS statuses, see metrics_status_place */
#define METRICS_STEP     10u   /* seconds between two samples */
#define METRICS_SAMPLES  360u  /* of them: the last hour */
#define METRICS_RATE     10u   /* seconds that the present rates are taken over */

enum metrics_kind { METRICS_TOTAL, METRICS_VOLUME, METRICS_GRANT };
/* What a compound is for, by its heaviest operation; the later in this list, the heavier. */
enum metrics_class { METRICS_LOOK, METRICS_READ, METRICS_CHANGE, METRICS_WRITE, METRICS_CLASSES };
extern const char *const metrics_class_names[METRICS_CLASSES]; /* "look", "read", "change", "write" */

/* -ENOMEM. */
int metrics_new(struct metrics **out);
void metrics_free(struct metrics *m); /* NULL is nothing */

/* --- counting --- */

/* One operation: op its number; status its nfsstat4, 0 = it succeeded; rd, wr: bytes of files in its result or arguments. volume, grant:
 * where, 0: in none. m may be NULL. */
void metrics_op(struct metrics *m, uint64_t volume, uint64_t grant, uint32_t op, uint32_t status, uint64_t rd,
                uint64_t wr);
/* One compound, from its arrival to its reply. */
void metrics_compound(struct metrics *m, uint64_t volume, uint64_t grant, enum metrics_class class, uint64_t ns);

/* --- reading --- */

struct metrics_hist {
    uint64_t count, sum_us;
    uint64_t bucket[METRICS_BUCKETS];
};
struct metrics_sums {
    uint64_t ops, errors, rd, wr;
};
struct metrics_row {
    struct metrics_sums sum;
    struct {
        uint64_t count, errors;
    } op[METRICS_OPS];
    struct metrics_hist lat[METRICS_CLASSES];
    struct {
        double ops, errors, rd, wr; /* a second */
    } rate;
};
/* Of the kind and id (METRICS_TOTAL: id 0): false, and zeros, if nothing was counted. */
bool metrics_read(struct metrics *m, enum metrics_kind kind, uint64_t id, struct metrics_row *out);

struct metrics_sample {
    float ops, rd, wr;           /* a second; negative: no sample */
    float p50[METRICS_CLASSES], p99[METRICS_CLASSES]; /* milliseconds; 0: there were none. Of the total only */
};
/* The samples, oldest first, up to max, into out; returns how many. */
unsigned metrics_history(struct metrics *m, enum metrics_kind kind, uint64_t id, struct metrics_sample *out,
                         unsigned max);
/* Replies by NFS status since the start; a place to a status and back. */
void metrics_statuses(struct metrics *m, uint64_t out[METRICS_STATUS]);
unsigned metrics_status_place(uint32_t status);
uint32_t metrics_status_at(unsigned place);
uint64_t metrics_overflow(struct metrics *m);

/* A bucket's upper end in microseconds (not in it). */
uint64_t metrics_bucket_end(unsigned bucket);
/* The q-quantile (0..1) in microseconds, between the ends of its bucket; 0 without counts. */
double metrics_quantile(const struct metrics_hist *h, double q);
/* How many are below us microseconds; exact where a bucket ends there. */
uint64_t metrics_below(const struct metrics_hist *h, uint64_t us);

/* --- once a second, by one thread --- */

void metrics_tick(struct metrics *m);
/* Rows of the kind whose id exists() denies are emptied and used again. */
void metrics_keep(struct metrics *m, enum metrics_kind kind, bool (*exists)(void *arg, uint64_t id), void *arg);

#endif
