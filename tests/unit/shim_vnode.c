/* SPDX-License-Identifier: Apache-2.0
 * client/shim: write-behind against a server in here, which carries writes out in any order, forgets what is not durable when
 * it restarts, and fails.
 */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "client/nfs/call.h"
#include "client/shim/shim.h"

enum { SIZE = 4 << 20, CALLS = 4096 };

static struct {
    uint8_t durable[SIZE], seen[SIZE]; /* what is on its disk; what a read would show */
    uint64_t verf;
    unsigned restarts;
    struct rpc_call *under_way[CALLS]; /* writes not carried out yet */
    unsigned n;
    struct nfs_commit *commit; /* started */
    unsigned commits, beside;
    /* how often, in a hundred */
    unsigned restart, no_memory, cut;
    int fail; /* COMMITs from now until one fails; 0: none does */
} server;

struct nfs_commit {
    bool done;
    int err;
    uint64_t verf;
};

static struct run record;
struct shim shim;
static uint8_t model[SIZE]; /* what was written */
static uint32_t seed;

static unsigned chance(void)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 8) % 100;
}

static void put32(uint8_t **at, uint32_t value)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        *(*at)++ = (uint8_t)(value >> shift);
}

static void write_apply(struct rpc_call *call)
{
    const uint8_t *head = call->out[0].iov_base, *be = head + call->out[0].iov_len - 16;
    uint32_t count = (uint32_t)call->out[1].iov_len;
    uint8_t reply[64], *at = reply;
    uint64_t offset = 0;

    for (int i = 0; i < 8; i++)
        offset = offset << 8 | be[i];
    if (count > 1 && chance() < server.cut)
        count /= 2;
    assert_true(offset + count <= SIZE);
    memcpy(server.seen + offset, call->out[1].iov_base, count);
    put32(&at, 0); /* status, no tag, two results */
    put32(&at, 0);
    put32(&at, 2);
    put32(&at, NFS_OP_PUTFH);
    put32(&at, 0);
    put32(&at, NFS_OP_WRITE);
    put32(&at, 0);
    put32(&at, count);
    put32(&at, 0);
    put32(&at, (uint32_t)(server.verf >> 32));
    put32(&at, (uint32_t)server.verf);
    call->error = call->take(call, reply, (size_t)(at - reply));
    call->done = 1;
}

static void commit_apply(struct nfs_commit *commit)
{
    commit->err = server.fail > 0 && --server.fail == 0 ? -EIO : 0;
    commit->verf = server.verf;
    commit->done = true;
    if (commit->err == 0)
        memcpy(server.durable, server.seen, SIZE);
}

/* Something happens at the server. */
static void tick(void)
{
    if (chance() < server.restart) {
        memcpy(server.seen, server.durable, SIZE);
        server.verf++;
        server.restarts++;
    }
    if (server.n > 0 && chance() < 70) {
        unsigned i = chance() % server.n;

        write_apply(server.under_way[i]);
        server.under_way[i] = server.under_way[--server.n];
    }
    if (server.commit != NULL && !server.commit->done && chance() < 5)
        commit_apply(server.commit);
}

void rpc_submit(struct rpc_server *s, struct rpc_call *call)
{
    assert_true(server.n < CALLS);
    call->done = 0;
    server.under_way[server.n++] = call;
    tick();
}

bool rpc_poll(struct rpc_server *s, struct rpc_call *call)
{
    return call->done != 0;
}

int rpc_wait(struct rpc_server *s, struct rpc_call *call)
{
    tick();
    for (unsigned i = 0; i < server.n; i++)
        if (server.under_way[i] == call) {
            write_apply(call);
            server.under_way[i] = server.under_way[--server.n];
        }
    assert_true(call->done);
    return call->error;
}

unsigned rpc_losses(void)
{
    return server.restarts;
}

struct nfs_commit *nfs_commit_start(struct nfs_client *client, const struct nfs_fh *fh)
{
    assert_null(server.commit);
    if (chance() < server.no_memory)
        return NULL;
    server.beside++;
    server.commit = calloc(1, sizeof(*server.commit));
    return server.commit;
}

bool nfs_commit_here(struct nfs_client *client, struct nfs_commit *commit)
{
    assert_ptr_equal(commit, server.commit);
    return commit->done;
}

int nfs_commit_finish(struct nfs_client *client, struct nfs_commit *commit, uint64_t *verf)
{
    int err;

    assert_ptr_equal(commit, server.commit);
    if (!commit->done)
        commit_apply(commit);
    *verf = commit->verf;
    err = commit->err;
    free(commit);
    server.commit = NULL;
    return err;
}

int nfs_commit(struct nfs_client *client, const struct nfs_fh *fh, uint64_t *verf)
{
    struct nfs_commit commit = {.done = false};

    server.commits++;
    tick();
    commit_apply(&commit);
    *verf = commit.verf;
    return commit.err;
}

int nfs_write(struct nfs_client *client, const struct nfs_fh *fh, const void *data, size_t size, uint64_t offset,
              bool sync, uint64_t *verf)
{
    memcpy(server.seen + offset, data, size);
    if (sync)
        memcpy(server.durable + offset, data, size);
    if (verf != NULL)
        *verf = server.verf;
    return 0;
}

ssize_t nfs_append(struct nfs_client *client, const struct nfs_fh *fh, const void *data, size_t size,
                   uint64_t *size_hint)
{
    return -EIO;
}

int lock_check(const struct ofd *ofd)
{
    return 0;
}

int call_lane(struct nfs_client *client)
{
    return 0;
}

int call_pause(unsigned n)
{
    return 0;
}

/* Writes at random and flushes; returns the first error that was told. */
static int written(unsigned writes)
{
    static uint8_t buf[1 << 20];
    static struct nfs_client client;
    struct ofd *ofd = calloc(1, sizeof(*ofd));
    int err = 0, flushed;

    assert_non_null(ofd);
    shim.run = &record;
    shim.client = &client;
    ofd->refs = 1;
    ofd->fh = (struct nfs_fh){.size = 8};
    for (unsigned i = 0; i < writes && err == 0; i++) {
        size_t size = 1 + (size_t)chance() * 10000, at = (size_t)chance() * 30000;
        struct iovec iov = {buf, size};
        uint64_t end;
        long n;

        memset(buf, (int)i, size);
        buf[0] = (uint8_t)chance();
        n = vnode_write(ofd, &iov, 1, at, false, &end);
        if (n < 0) {
            err = (int)n;
            break;
        }
        assert_true((size_t)n == size && end == at + size);
        memcpy(model + at, buf, size);
        if (chance() < 3) {
            vnode_drain(&ofd->fh);
            if (server.fail == 0)
                assert_memory_equal(server.seen, model, SIZE);
        }
    }
    flushed = vnode_flush(&ofd->fh, true);
    assert_int_equal(server.n, 0);
    assert_null(server.commit);
    assert_false(vnode_dirty(&ofd->fh));
    free(ofd);
    return err != 0 ? err : flushed;
}

static void start(uint32_t with)
{
    memset(&server, 0, sizeof(server));
    memset(model, 0, sizeof(model));
    seed = with;
}

/* While much is written, what is answered is made durable beside it: nobody waits for that but at the end. */
static void commits_beside_the_writes(void **state)
{
    start(1);
    assert_int_equal(written(300), 0);
    assert_memory_equal(server.durable, model, SIZE);
    assert_true(server.beside >= 3);
    assert_int_equal(server.commits, 1);
}

static void loses_nothing(void **state)
{
    for (uint32_t i = 0; i < 24; i++) {
        start(i);
        server.restart = i % 3;
        server.cut = i % 5;
        server.no_memory = i % 4 == 3 ? 100 : i % 4 == 2 ? 50 : 0;
        assert_int_equal(written(200), 0);
        assert_memory_equal(server.durable, model, SIZE);
        assert_true(server.no_memory < 100 || server.beside == 0);
    }
}

/* A COMMIT that failed is told of once, by a write or by the flush, and then forgotten. */
static void tells_of_errors(void **state)
{
    for (int fail = 1; fail <= 4; fail++) {
        start((uint32_t)fail);
        server.restart = fail == 3 ? 1 : 0;
        server.fail = fail;
        assert_int_equal(written(400), -EIO);
        server.fail = server.n = 0;
        memcpy(server.seen, model, SIZE);
        assert_int_equal(written(20), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_beside_the_writes),
        cmocka_unit_test(loses_nothing),
        cmocka_unit_test(tells_of_errors),
    };

    return cmocka_run_group_tests_name("shim_vnode", tests, NULL, NULL);
}
