/* SPDX-License-Identifier: Apache-2.0
 * nfs4_env: a server without sockets.
 */
#include "tests/unit/nfs4_env.h"

#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* --- librpc's place --- */

struct fake {
    struct request req; /* first */
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool completed, dropped, rejected;
    uint32_t reject_stat;
};

void request_reject(struct request *req, uint32_t accept_stat)
{
    struct fake *f = (struct fake *)req;

    f->rejected = true;
    f->reject_stat = accept_stat;
}

static void wake(struct fake *f, bool drop)
{
    pthread_mutex_lock(&f->lock);
    f->completed = true;
    f->dropped = drop;
    pthread_cond_signal(&f->cond);
    pthread_mutex_unlock(&f->lock);
}

void request_complete(struct request *req)
{
    wake((struct fake *)req, false);
}

void request_drop(struct request *req)
{
    wake((struct fake *)req, true);
}

void request_late(struct request *req, bool (*run)(struct request *req))
{
    run(req);
}

bool request_all_late(const struct request *req)
{
    return true;
}

void request_stay_awake(struct request *req, bool on)
{
}

bool request_alone(const struct request *req)
{
    return false;
}

uint64_t request_conn_id(const struct request *req)
{
    return 1;
}

void request_peer(const struct request *req, struct sockaddr_storage *ss)
{
    memset(ss, 0, sizeof(*ss));
    ss->ss_family = AF_INET;
}

/* No connection lives longer than its request here. */
static void *slot;

void **request_conn_slot(struct request *req)
{
    return &slot;
}

struct conn_ref *request_conn_ref(struct request *req)
{
    static char ref;

    return (struct conn_ref *)&ref;
}

void conn_ref_put(struct conn_ref *cr)
{
}

uint64_t conn_ref_id(const struct conn_ref *cr)
{
    return 1;
}

int conn_call(struct conn_ref *cr, struct xdrout *call, uint32_t xid, unsigned timeout_ms,
              void (*done)(void *arg, int err, const void *reply, size_t len), void *arg)
{
    xdrout_free(call);
    return -1;
}

/* --- the server --- */

static void drop_hold(void *ctx, void *hold)
{
    vfs_hold_drop(hold);
}

static void grace_over(void *ctx)
{
}

void env_open(struct env *e)
{
    const char *tmp = getenv("TMPDIR");
    struct engine_conf ec = {.cache_size = 16 << 20, .workers = 1};
    struct state_conf sc = {.lease_seconds = 90, .drop_hold = drop_hold, .grace_over = grace_over};
    struct volume_props props;

    memset(e, 0, sizeof(*e));
    snprintf(e->dir, sizeof(e->dir), "%.40s/nfs4-test-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    CHECK(mkdtemp(e->dir));
    CHECK(statedb_open(e->dir, &e->db) == 0);
    ec.epoch = statedb_epoch(e->db);
    CHECK(engine_new(&ec, &e->engine) == 0);
    CHECK(vfs_new(e->dir, e->db, e->engine, &e->srv.vfs) == 0);
    sc.db = e->db;
    sc.epoch = ec.epoch;
    CHECK(state_new(&sc, &e->srv.state) == 0);
    memcpy(e->srv.handle_key, statedb_handle_key(e->db), 16);
    e->srv.epoch = ec.epoch;
    volume_props_default(&props);
    CHECK(vfs_volume_create(e->srv.vfs, "alice/v", &props, 1000, 1000, 0755) == 0);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    return remove(path);
}

void env_close(struct env *e)
{
    nfs4_server_release(&e->srv);
    state_free(e->srv.state);
    CHECK(vfs_free(e->srv.vfs) == 0);
    engine_free(e->engine);
    statedb_close(e->db);
    CHECK(nftw(e->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0);
}

/* --- calls --- */

void call_begin(struct call_buf *b, uint32_t minor, const char *tag)
{
    COMPOUND4args_head h = {.tag = {(uint32_t)strlen(tag), tag}, .minorversion = minor};

    memset(b, 0, sizeof(*b));
    b->uid = 1000;
    b->o = xdrout_new(4 << 20);
    CHECK(b->o && xdr_COMPOUND4args_head(xdrout_xdr(b->o), &h));
    b->count_pos = xdrout_len(b->o) - 4;
}

void call_op(struct call_buf *b, uint32_t op, xdrproc_t codec, void *args)
{
    CHECK(xdr_uint32_t(xdrout_xdr(b->o), &op));
    if (codec)
        CHECK(codec(xdrout_xdr(b->o), args));
    xdrout_patch(b->o, b->count_pos, ++b->ops);
}

char *call_bytes(struct call_buf *b, size_t *len)
{
    char *p;

    *len = xdrout_len(b->o);
    p = malloc(*len);
    CHECK(p);
    xdrout_copy(b->o, p);
    return p;
}

void call_end(struct call_buf *b)
{
    xdrout_free(b->o);
    b->o = NULL;
}

static void take_reply(struct fake *f, struct reply *r)
{
    COMPOUND4res_head h;

    r->rejected = f->rejected;
    r->reject_stat = f->reject_stat;
    r->len = xdrout_len(f->req.out);
    r->bytes = malloc(r->len ? r->len : 1);
    CHECK(r->bytes);
    xdrout_copy(f->req.out, r->bytes);
    xdrin_init(&r->x, r->bytes, r->len);
    if (r->rejected || r->result == REQ_DROP)
        return;
    CHECK(xdr_COMPOUND4res_head(&r->x, &h));
    r->status = h.status;
    r->numres = h.numres;
}

void env_run(struct env *e, const char *body, size_t len, uint32_t uid, struct reply *r)
{
    static uint32_t xid;
    struct fake *f = calloc(1, sizeof(*f));
    struct request *req = &f->req;
    char *copy = malloc(len ? len : 1);

    CHECK(f && copy);
    memset(r, 0, sizeof(*r));
    memcpy(copy, body, len);
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->cond, NULL);
    req->xid = ++xid;
    req->prog = NFS4_PROGRAM_NUMBER;
    req->vers = 4;
    req->proc = 1;
    req->cred = (struct cred){.flavor = CRED_SYS, .uid = uid, .gid = uid};
    xdrin_init(&req->in, copy, len);
    req->body = copy;
    req->body_len = len;
    req->out = xdrout_new(REQUEST_REPLY_MAX);
    CHECK(req->out);
    arena_init(&req->arena, 256 << 10);

    r->result = compound_dispatch(req, &e->srv);
    if (r->result == REQ_BLOCK) {
        req->may_block = true;
        r->result = compound_dispatch(req, &e->srv);
        CHECK(r->result != REQ_BLOCK);
    }
    if (r->result == REQ_PARKED) {
        pthread_mutex_lock(&f->lock);
        while (!f->completed)
            pthread_cond_wait(&f->cond, &f->lock);
        pthread_mutex_unlock(&f->lock);
        r->result = f->dropped ? REQ_DROP : REQ_DONE;
    }
    take_reply(f, r);
    if (req->finish)
        req->finish(req);
    xdrout_free(req->out);
    arena_release(&req->arena);
    pthread_cond_destroy(&f->cond);
    pthread_mutex_destroy(&f->lock);
    free(copy);
    free(f);
}

void env_call(struct env *e, struct call_buf *b, struct reply *r)
{
    size_t len;
    char *bytes = call_bytes(b, &len);

    env_run(e, bytes, len, b->uid, r);
    free(bytes);
    call_end(b);
}

bool reply_next(struct reply *r, uint32_t *op, nfsstat4 *status)
{
    uint32_t st;

    if (!xdrin_left(&r->x))
        return false;
    CHECK(xdr_uint32_t(&r->x, op) && xdr_uint32_t(&r->x, &st));
    *status = (nfsstat4)st;
    return true;
}

void reply_release(struct reply *r)
{
    free(r->bytes);
    r->bytes = NULL;
}
