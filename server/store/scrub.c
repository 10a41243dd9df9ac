/* SPDX-License-Identifier: Apache-2.0
 * scrub: a walk over the chunks by id, with a cursor.
 *
 * The cursor and the counters are a note in the index (key "scrub"), written every NOTE_MS and at the end; after a crash
 * a few chunks are verified twice. A chunk that cannot be read as its row says, and whose row still says so
 * afterwards, is damaged: its id is kept, up to DAMAGED_MAX, and who uses it is only looked up when somebody asks.
 * Chunks made after the start have higher ids than the cursor's end and are not waited for.
 */
#include "server/store/scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "server/store/gc.h"
#include "server/store/move.h"

#define NOTE_KEY    "scrub"
#define NOTE_MS     5000u
#define NOTE_BYTES  4096u
#define DAMAGED_MAX 64u
#define BATCH       64u
#define STEP_BYTES  (1u << 20)
#define TRIES       4

struct scrub {
    struct volume *vol;
    pthread_mutex_t lock; /* all but recompress, which is the thread's */
    struct volume_scrub st;
    uint64_t damaged[DAMAGED_MAX];
    uint64_t cursor, end; /* the last id that was verified; the first that is not of this run */
    uint64_t noted_ms;
    unsigned run; /* scrubs started since the volume was opened */
    bool recompress; /* in this step, if the volume wants it */
};

/* --- the note --- */

static void parse(struct scrub *s, const char *text)
{
    int used = 0;
    unsigned running;

    if (sscanf(text, "%u %" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNd64 " %" SCNu64 " %" SCNu64 " %" SCNu64 "%n", &running,
               &s->cursor, &s->end, &s->st.started, &s->st.finished, &s->st.chunks, &s->st.bytes, &s->st.damaged,
               &used) != 8) {
        s->st = (struct volume_scrub){0};
        return;
    }
    s->st.running = running == 1;
    for (unsigned i = 0; i < DAMAGED_MAX; i++) {
        int n = 0;
        if (sscanf(text + used, " %" SCNu64 "%n", &s->damaged[i], &n) != 1)
            break;
        used += n;
    }
}

static int note(struct scrub *s)
{
    struct index *ix = s->vol->ix;
    char text[NOTE_BYTES];
    int n, r;

    pthread_mutex_lock(&s->lock);
    n = snprintf(text, sizeof(text),
                 "%u %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
                 (unsigned)s->st.running, s->cursor, s->end, s->st.started, s->st.finished, s->st.chunks, s->st.bytes,
                 s->st.damaged);
    for (unsigned i = 0; i < DAMAGED_MAX && i < s->st.damaged; i++)
        n += snprintf(text + n, sizeof(text) - (size_t)n, " %" PRIu64, s->damaged[i]);
    s->noted_ms = clock_mono_ms();
    pthread_mutex_unlock(&s->lock);
    r = fault_point("scrub.note");
    if (r == 0)
        r = index_begin(ix);
    if (r < 0)
        return r;
    r = index_put_note(ix, NOTE_KEY, text);
    if (r < 0)
        index_rollback(ix);
    else
        r = index_commit(ix);
    return r;
}

struct scrub *scrub_new(struct volume *v)
{
    struct scrub *s = vol_alloc(sizeof(*s));
    char text[NOTE_BYTES];

    s->vol = v;
    pthread_mutex_init(&s->lock, NULL);
    if (index_get_note(v->ix, NOTE_KEY, text, sizeof(text)) == 0)
        parse(s, text);
    return s;
}

void scrub_free(struct scrub *s)
{
    if (!s)
        return;
    pthread_mutex_destroy(&s->lock);
    free(s);
}

bool scrub_running(struct scrub *s)
{
    bool running;

    pthread_mutex_lock(&s->lock);
    running = s->st.running;
    pthread_mutex_unlock(&s->lock);
    return running;
}

/* --- verifying --- */

/* Stores a chunk that was just read in a smaller form, if that pays. */
static int recompress(struct scrub *s, const struct chunk *old, uint64_t ino, uint64_t off)
{
    struct chunk c = *old;
    const void *payload;
    struct moves m;
    int r = 0;

    moves_begin(&m, s->vol);
    moves_form(&m, &c, scratch_get(), &payload);
    if (c.stored_len != old->stored_len)
        r = moves_add(&m, old, c, payload, ino, off);
    moves_end(&m, r == 0);
    return r;
}

/* 0, or what is wrong with the payload. A sound one may be compressed harder: that it cannot be written is no damage. */
static int verify(struct scrub *s, const struct chunk *c)
{
    struct volume *v = s->vol;
    unsigned char *buf = scratch_get();
    uint64_t ino, off;
    int r;

    if (c->pack) {
        r = packset_read_record(v->ps, c, buf, &ino, &off);
        if (r == 0 && s->recompress && recompress(s, c, ino, off) < 0)
            s->recompress = false;
        return r;
    }
    r = index_read_blob(v->ix, c, buf);
    if (r >= 0)
        r = XXH3_64bits(buf, c->stored_len) == c->checksum ? 0 : -EUCLEAN;
    return r;
}

static void found(struct scrub *s, const struct chunk *c, int err)
{
    log_error("%s: scrub: chunk %llu in pack %u at %llu: %s", s->vol->label, (unsigned long long)c->id, c->pack,
              (unsigned long long)c->pack_off, err == -EUCLEAN ? "damaged" : strerrordesc_np(-err));
    pthread_mutex_lock(&s->lock);
    if (s->st.damaged < DAMAGED_MAX)
        s->damaged[s->st.damaged] = c->id;
    s->st.damaged++;
    pthread_mutex_unlock(&s->lock);
}

/* Chunks move and go meanwhile: only what its row still names counts. */
static int verify_one(struct scrub *s, struct chunk c)
{
    for (unsigned i = 0;; i++) {
        struct chunk now;
        int bad = verify(s, &c), r;
        if (bad == 0)
            return 0;
        r = index_find_chunk(s->vol->ix, c.id, &now);
        if (r == -ENOENT)
            return 0;
        if (r < 0)
            return r;
        if ((now.pack == c.pack && now.pack_off == c.pack_off) || i == TRIES) {
            found(s, &c, bad);
            return 0;
        }
        c = now;
    }
}

/* Takes a step's result, unless a new scrub was started meanwhile. True if the note is due. */
static bool advance(struct scrub *s, unsigned run, uint64_t cursor, uint64_t chunks, uint64_t bytes, bool done)
{
    bool due = false;

    pthread_mutex_lock(&s->lock);
    if (s->run == run) {
        s->cursor = cursor;
        s->st.bytes += bytes;
        s->st.chunks += chunks;
        if (done) {
            s->st.running = false;
            s->st.finished = clock_wall().tv_sec;
            log_info("%s: scrub: %llu chunks, %llu bytes, %llu damaged", s->vol->label, (unsigned long long)s->st.chunks,
                     (unsigned long long)s->st.bytes, (unsigned long long)s->st.damaged);
        }
        due = done || clock_mono_ms() >= s->noted_ms + NOTE_MS;
    }
    pthread_mutex_unlock(&s->lock);
    return due;
}

int scrub_step(struct scrub *s)
{
    struct volume *v = s->vol;
    struct chunk c[BATCH];
    uint64_t bytes = 0, chunks = 0, cursor, end;
    bool done;
    unsigned run;
    int n, r;

    pthread_mutex_lock(&v->lock);
    s->recompress = v->props.recompress && !v->props.readonly && !v->failed && vol_space(v, true) > v->reserve;
    pthread_mutex_unlock(&v->lock);
    pthread_mutex_lock(&s->lock);
    cursor = s->cursor;
    end = s->end;
    run = s->run;
    pthread_mutex_unlock(&s->lock);
    n = index_next_chunks(v->ix, cursor, c, BATCH);
    r = n < 0 ? n : 0;
    done = n == 0;
    for (int i = 0; i < n && r == 0 && bytes < STEP_BYTES; i++) {
        if (c[i].id >= end) {
            done = true;
            break;
        }
        r = verify_one(s, c[i]);
        if (r == 0) {
            cursor = c[i].id;
            bytes += c[i].stored_len;
            chunks++;
        }
    }
    if (advance(s, run, cursor, chunks, bytes, done) && r == 0)
        r = note(s);
    return r < 0 ? r : (int)bytes;
}

/* --- for callers --- */

int volume_scrub_start(struct volume *v)
{
    struct scrub *s;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    s = gc_scrub(v);
    if (!s) {
        vol_leave(v);
        return -EROFS;
    }
    pthread_mutex_lock(&s->lock);
    if (!s->st.running) {
        s->st = (struct volume_scrub){.running = true, .started = clock_wall().tv_sec};
        s->cursor = 0;
        s->end = v->next_chunk;
        s->noted_ms = 0; /* the first step notes that it runs */
        s->run++;
    }
    pthread_mutex_unlock(&s->lock);
    vol_leave(v);
    gc_wake(v);
    return 0;
}

int volume_scrub_stat(struct volume *v, struct volume_scrub *st)
{
    struct scrub *s;
    int r = vol_enter(v);

    memset(st, 0, sizeof(*st));
    if (r < 0)
        return r;
    s = gc_scrub(v);
    if (s) {
        pthread_mutex_lock(&s->lock);
        *st = s->st;
        pthread_mutex_unlock(&s->lock);
        st->total = v->stored + v->held;
    }
    vol_leave(v);
    return s ? 0 : -EROFS;
}

int volume_scrub_damage(struct volume *v, int (*fn)(void *arg, const char *path, uint64_t off), void *arg)
{
    uint64_t ids[DAMAGED_MAX];
    struct scrub *s;
    unsigned n = 0;
    int r = vol_enter(v);

    if (r < 0)
        return r;
    s = gc_scrub(v);
    if (s) {
        pthread_mutex_lock(&s->lock);
        n = s->st.damaged < DAMAGED_MAX ? (unsigned)s->st.damaged : DAMAGED_MAX;
        memcpy(ids, s->damaged, n * sizeof(*ids));
        pthread_mutex_unlock(&s->lock);
    }
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < n && r == 0; i++)
        r = index_chunk_users(v->ix, ids[i], fn, arg);
    pthread_mutex_lock(&v->lock);
    vol_leave(v);
    return r;
}
