/* SPDX-License-Identifier: Apache-2.0
 * state_fake: a statedb in memory whose writes can fail, and short ways to make clients. One per test program.
 */
#ifndef VOLNFS_TESTS_STATE_FAKE_H
#define VOLNFS_TESTS_STATE_FAKE_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "server/state/client.h"
#include "server/state/grace.h"
#include "server/state/openstate.h"
#include "server/state/session.h"
#include "server/state/state.h"

struct fake_row {
    bool used;
    uint32_t minor;
    char owner[64], principal[64];
    size_t len;
};
static struct fake_row fake_rows[16];
static int fake_err;      /* what the next writes return */
static unsigned fake_dropped, fake_over; /* atomic */
static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER; /* of the rows */

static struct fake_row *fake_find(uint32_t minor, const void *owner, size_t len)
{
    for (int i = 0; i < 16; i++)
        if (fake_rows[i].used && fake_rows[i].minor == minor && fake_rows[i].len == len &&
            !memcmp(fake_rows[i].owner, owner, len))
            return &fake_rows[i];
    return NULL;
}
int statedb_put_client(struct statedb *db, const struct client_row *c)
{
    struct fake_row *r;

    if (fake_err)
        return fake_err;
    pthread_mutex_lock(&fake_lock);
    r = fake_find(c->minor, c->owner, c->owner_len);
    for (int i = 0; !r; i++)
        if (!fake_rows[i].used)
            r = &fake_rows[i];
    r->used = true;
    r->minor = c->minor;
    r->len = c->owner_len;
    memcpy(r->owner, c->owner, c->owner_len);
    memcpy(r->principal, c->principal, sizeof r->principal);
    pthread_mutex_unlock(&fake_lock);
    return 0;
}
int statedb_del_client(struct statedb *db, uint32_t minor, const void *owner, size_t len)
{
    struct fake_row *r;

    if (fake_err)
        return fake_err;
    pthread_mutex_lock(&fake_lock);
    r = fake_find(minor, owner, len);
    if (r)
        r->used = false;
    pthread_mutex_unlock(&fake_lock);
    return r ? 0 : -ENOENT;
}
static unsigned fake_batches;             /* successful calls of statedb_del_clients */
static void (*fake_during_del)(void); /* called in it before anything is removed; once */
int statedb_del_clients(struct statedb *db, const struct client_row *rows, unsigned n)
{
    void (*fn)(void) = fake_during_del;

    fake_during_del = NULL;
    if (fn)
        fn();
    if (fake_err)
        return fake_err;
    for (unsigned i = 0; i < n; i++)
        (void)statedb_del_client(db, rows[i].minor, rows[i].owner, rows[i].owner_len);
    fake_batches++;
    return 0;
}
int statedb_list_clients(struct statedb *db, int (*fn)(void *arg, const struct client_row *c), void *arg)
{
    for (int i = 0; i < 16; i++) {
        struct client_row row = {.minor = fake_rows[i].minor, .owner = fake_rows[i].owner,
                                 .owner_len = fake_rows[i].len};
        int err = 0;

        memcpy(row.principal, fake_rows[i].principal, sizeof row.principal);
        if (fake_rows[i].used)
            err = fn(arg, &row);
        if (err)
            return err;
    }
    return 0;
}
static void fake_drop(void *ctx, void *hold)
{
    __atomic_add_fetch(&fake_dropped, 1, __ATOMIC_RELAXED);
}
static void fake_grace_over(void *ctx)
{
    fake_over++;
}

static uint64_t fake_epoch;
static inline struct state *boot(void)
{
    struct state_conf conf = {.lease_seconds = 90, .grace_seconds = 90, .db = (struct statedb *)&fake_rows,
                              .epoch = ++fake_epoch, .drop_hold = fake_drop,
                              .grace_over = fake_grace_over};
    struct state *s;

    fake_over = fake_dropped = 0;
    assert_int_equal(state_new(&conf, &s), 0);
    return s;
}
static inline void forget_rows(void)
{
    memset(fake_rows, 0, sizeof fake_rows);
    fake_err = 0;
}

#define ROOT "sys:0"
static const uint8_t here[CLIENT_FROM];
static const uint8_t verf1[8] = "verf 01", verf2[8] = "verf 02";

static inline nfsstat4 exchange(struct state *s, const char *who, const char *owner, const uint8_t *verf,
                                bool update, struct client_exchange *a)
{
    *a = (struct client_exchange){.verifier = verf, .owner = owner, .owner_len = strlen(owner),
                                  .update = update};
    return client_exchange(s, who, a, true);
}
static inline struct session_create session_args(uint64_t id, uint32_t seq)
{
    return (struct session_create){.clientid = id, .sequence = seq,
                                   .fore = {1 << 20, 1 << 20, 65536, 64, 200},
                                   .back = {4096, 4096, 0, 2, 1}};
}
static inline nfsstat4 create(struct state *s, const char *who, struct session_create *a)
{
    struct session_conn conn = {.id = 1};
    bool made;

    return session_create(s, who, a, &conn, &made);
}
/* A confirmed 4.1 client that has said RECLAIM_COMPLETE if `complete`. */
static inline uint64_t client41(struct state *s, const char *owner, const uint8_t *verf, bool complete)
{
    struct client_exchange x;
    struct session_create a;

    assert_int_equal(exchange(s, ROOT, owner, verf, false, &x), NFS4_OK);
    a = session_args(x.clientid, x.sequence);
    assert_int_equal(create(s, ROOT, &a), NFS4_OK);
    if (complete)
        assert_int_equal(client_reclaim_complete(s, x.clientid, true), NFS4_OK);
    return x.clientid;
}
static inline nfsstat4 set40(struct state *s, const char *who, const char *owner, const uint8_t *verf,
                             struct client_set40 *a)
{
    *a = (struct client_set40){.verifier = verf, .owner = owner, .owner_len = strlen(owner),
                               .netid = "tcp", .netid_len = 3, .addr = "127.0.0.1.8.1", .addr_len = 13};
    return client_set40(s, who, a, true);
}
static inline uint64_t client40(struct state *s, const char *owner, const uint8_t *verf)
{
    struct client_set40 a;

    assert_int_equal(set40(s, ROOT, owner, verf, &a), NFS4_OK);
    assert_int_equal(client_confirm40(s, ROOT, a.clientid, a.confirm, true), NFS4_OK);
    return a.clientid;
}
static inline nfsstat4 open41(struct state *s, uint64_t client, const char *owner, uint64_t ino,
                              uint32_t access, uint32_t deny, bool reclaim, stateid4 *sid)
{
    struct open_request r = {.minor = 1, .clientid = client, .owner = owner, .owner_len = strlen(owner),
                             .file = {1, ino}, .access = access, .deny = deny, .reclaim = reclaim,
                             .hold = (void *)1};
    nfsstat4 status = open_grant(s, &r, true);

    *sid = r.stateid;
    return status;
}
/* One whole 4.0 OPEN. */
static inline nfsstat4 open40(struct state *s, uint64_t client, const char *owner, uint32_t seqid,
                              uint64_t ino, uint32_t access, uint32_t deny, stateid4 *sid, bool *replay,
                              bool *confirm)
{
    struct open_request r = {.minor = 0, .clientid = client, .file = {1, ino}, .access = access,
                             .deny = deny, .hold = (void *)1};
    struct owner_call oc;
    nfsstat4 status = owner_begin(s, client, owner, strlen(owner), OP_OPEN, seqid, true, &oc);

    *replay = false;
    if (status)
        return status;
    *replay = oc.replay;
    *confirm = oc.fresh;
    if (oc.replay) {
        status = oc.status;
        if (oc.reply_len)
            memcpy(sid, oc.reply, sizeof *sid);
    } else {
        r.oc = &oc;
        status = open_grant(s, &r, true);
        *sid = r.stateid;
    }
    owner_end(s, &oc, status, sid, sizeof *sid);
    return status;
}

#endif
