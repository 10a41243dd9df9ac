/* SPDX-License-Identifier: Apache-2.0
 * Many threads on the same few files: opens, locks, delegations, reads and writes by stateid, recalls answered from
 * another thread, clients that come and go. For the thread sanitizer; and afterwards nothing may be left.
 */
#include <pthread.h>

#include "server/state/callback.h"
#include "server/state/deleg.h"
#include "tests/unit/state_fake.h"

#define THREADS 6
#define ROUNDS  400
#define FILES   4

/* Callbacks wait here for the thread that answers them. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t some = PTHREAD_COND_INITIALIZER;
static struct callback *queue[4096];
static unsigned queued;
static bool stop;
static int refs; /* atomic */

static void send_cb(void *ctx, struct callback *cb)
{
    pthread_mutex_lock(&lock);
    if (queued == sizeof queue / sizeof queue[0])
        abort();
    queue[queued++] = cb;
    pthread_cond_signal(&some);
    pthread_mutex_unlock(&lock);
}
static const struct callback_ops ops = {.send = send_cb};

static void put_conn(void *ref)
{
    __atomic_sub_fetch(&refs, 1, __ATOMIC_RELAXED);
}

static void *answerer(void *arg)
{
    struct state *s = arg;
    unsigned n = 0;

    pthread_mutex_lock(&lock);
    while (!stop || queued) {
        struct callback_result r = {0};
        struct callback *cb;
        struct file_key k;

        if (!queued) {
            pthread_cond_wait(&some, &lock);
            continue;
        }
        cb = queue[--queued];
        pthread_mutex_unlock(&lock);
        n++;
        if (cb->kind == CALLBACK_RECALL && n % 128) {
            memcpy(&k, cb->fh, sizeof k);
            deleg_return(s, 1, cb->clientid, &k, &cb->stateid);
        }
        r.has_attrs = cb->kind == CALLBACK_GETATTR;
        r.change = n;
        if (n % 64 == 0)
            r.err = -ETIMEDOUT;
        else if (n % 32 == 0)
            r.seq_status = NFS4ERR_DELAY;
        else if (n % 16 == 0)
            r.status = NFS4ERR_BADHANDLE;
        callback_done(s, cb, &r);
        pthread_mutex_lock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

struct worker {
    struct state *s;
    pthread_t thread;
    unsigned n;
    unsigned opens, delegs, locks;
    bool bad;
};

static uint64_t conn_ids; /* atomic */

static bool come(struct state *s, unsigned n, unsigned life, uint64_t *id, uint8_t session[SESSION_ID_SIZE])
{
    struct session_conn conn = {.ref = &refs, .put = put_conn, .back = true};
    struct client_exchange x = {.owner_len = 8};
    struct session_create a;
    char name[16];
    uint8_t verf[8] = {(uint8_t)life, (uint8_t)(life >> 8)};
    bool made;

    snprintf(name, sizeof name, "client%02u", n);
    x.owner = name;
    x.verifier = verf;
    if (client_exchange(s, ROOT, &x, true))
        return false;
    a = session_args(x.clientid, x.sequence);
    a.flags = 2;
    a.minor = 1;
    a.back.max_slots = 4;
    conn.id = __atomic_add_fetch(&conn_ids, 1, __ATOMIC_RELAXED);
    __atomic_add_fetch(&refs, 1, __ATOMIC_RELAXED);
    if (session_create(s, ROOT, &a, &conn, &made)) {
        __atomic_sub_fetch(&refs, 1, __ATOMIC_RELAXED);
        return false;
    }
    *id = x.clientid;
    memcpy(session, a.id, SESSION_ID_SIZE);
    return client_reclaim_complete(s, x.clientid, true) == NFS4_OK;
}

static void try_lock(struct worker *w, uint64_t id, const struct file_key *k, const stateid4 *open, bool write)
{
    struct lock_request r = {.minor = 1, .client = id, .file = *k, .stateid = *open, .new_owner = true,
                             .write = write, .owner = "l", .owner_len = 1, .offset = w->n,
                             .length = 3, .wait = true, .fh = (const char *)k, .fh_len = sizeof *k};

    if (lock_set(w->s, &r, true) == NFS4_OK) {
        w->locks++;
        lock_unset(w->s, &r);
    }
}

static void one_round(struct worker *w, uint64_t id, unsigned i)
{
    struct file_key k = {1, 1 + (i * 7 + w->n) % FILES};
    uint32_t access = 1 + (i + w->n) % 3;
    struct open_request r = {.minor = 1, .clientid = id, .owner = "o", .owner_len = 1, .uid = w->n,
                             .file = k, .access = access, .deny = i % 29 == 0 ? 1 : 0, .want_read = true,
                             .want_write = true, .fh = (const char *)&k, .fh_len = sizeof k,
                             .hold = (void *)1};
    struct deleg_attrs at;
    struct state_io io;
    stateid4 zero = {0}, out;
    nfsstat4 st = open_grant(w->s, &r, i % 64 == 0);

    if (deleg_any_write(w->s) && i % 5 == 0)
        deleg_getattr(w->s, id, &k, i % 100 == 0, &at);
    state_check_change(w->s, i % 50 ? id : 0, &k);
    state_check_io(w->s, 1, id, &k, &zero, STATE_READ, &io);
    if (st)
        return;
    w->opens++;
    w->delegs += r.deleg != DELEG_NONE;
    if (state_check_io(w->s, 1, id, &k, &r.stateid, access & 2 ? STATE_WRITE : STATE_READ, &io))
        w->bad = true;
    try_lock(w, id, &k, &r.stateid, access & 2);
    if (open_close(w->s, 1, id, &k, &r.stateid, &out))
        w->bad = true;
    if (r.deleg && i % 3 == 0)
        deleg_return(w->s, 1, id, &k, &r.deleg_stateid);
}

static void *work(void *arg)
{
    struct worker *w = arg;
    uint8_t session[SESSION_ID_SIZE];
    uint64_t id;

    for (unsigned life = 0; life < 4 && !w->bad; life++) {
        if (!come(w->s, w->n, life, &id, session))
            w->bad = true;
        for (unsigned i = 0; i < ROUNDS && !w->bad; i++)
            one_round(w, id, i);
        if (life % 2) /* else it comes again as one that has rebooted */
            session_destroy(w->s, session, NULL);
    }
    return NULL;
}

static void *ticker(void *arg)
{
    struct state *s = arg;

    for (;;) {
        struct timespec t = {.tv_nsec = 2000000};
        bool end;

        state_tick(s);
        nanosleep(&t, NULL);
        pthread_mutex_lock(&lock);
        end = stop;
        pthread_mutex_unlock(&lock);
        if (end)
            return NULL;
    }
}

static void test_stress(void **unused)
{
    struct state_conf conf = {.lease_seconds = 90, .epoch = 1, .drop_hold = fake_drop,
                              .delegations = true};
    struct worker w[THREADS] = {0};
    unsigned opens = 0, delegs = 0, locks = 0;
    pthread_t tick, answers;
    struct state *s;

    forget_rows();
    assert_int_equal(state_new(&conf, &s), 0);
    state_set_callbacks(s, &ops, NULL);
    assert_int_equal(pthread_create(&answers, NULL, answerer, s), 0);
    assert_int_equal(pthread_create(&tick, NULL, ticker, s), 0);
    for (unsigned i = 0; i < THREADS; i++) {
        w[i].s = s;
        w[i].n = i;
        assert_int_equal(pthread_create(&w[i].thread, NULL, work, &w[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(w[i].thread, NULL);
        assert_false(w[i].bad);
        opens += w[i].opens;
        delegs += w[i].delegs;
        locks += w[i].locks;
    }
    state_set_callbacks(s, NULL, NULL);
    pthread_mutex_lock(&lock);
    stop = true;
    pthread_cond_signal(&some);
    pthread_mutex_unlock(&lock);
    pthread_join(answers, NULL);
    pthread_join(tick, NULL);
    assert_true(opens > THREADS * ROUNDS / 4 && delegs && locks);
    state_free(s);
    assert_int_equal(refs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_stress)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
