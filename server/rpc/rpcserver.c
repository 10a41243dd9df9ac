/* SPDX-License-Identifier: Apache-2.0
 * rpcserver: puts loops, listeners and workers together and takes them down in order:
 *   1. PHASE_DRAIN: loops close the listeners and read no more; requests under way finish.
 *   2. PHASE_CLOSE: loops close their connections; requests still under way lose their reply.
 *   3. Workers run what is queued, and end.
 *   4. PHASE_QUIT: loops take their inbox a last time, and end.
 */
#include "server/rpc/rpcserver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "server/rpc/awake.h"
#include "server/rpc/rpcserver_priv.h"

#define DEFAULT_WORKERS  8u
#define DEFAULT_CONNS    10000u
#define DEFAULT_INFLIGHT 256u
#define DEFAULT_PEER_INFLIGHT 4096u
#define DEFAULT_SLOW_MS  60000u
#define DEFAULT_OUT      (8u << 20)
#define DEFAULT_MEMORY   (256u << 20)
#define LOOP_MEMORY_MIN  (32u << 20)
#define POLL_US          2000 /* how often a stop looks whether all is done */

static void store(unsigned *to, unsigned value, unsigned otherwise)
{
    __atomic_store_n(to, value ? value : otherwise, __ATOMIC_RELAXED);
}

void rpcserver_set_limits(struct rpcserver *s, const struct rpcserver_conf *c)
{
    store(&s->conf.max_conns, c->max_conns, DEFAULT_CONNS);
    store(&s->conf.max_peer_conns, c->max_peer_conns, (s->conf.max_conns + 1) / 2);
    store(&s->conf.max_inflight, c->max_inflight, DEFAULT_INFLIGHT);
    store(&s->conf.max_peer_inflight, c->max_peer_inflight, DEFAULT_PEER_INFLIGHT);
    store(&s->conf.slow_ms, c->slow_ms, DEFAULT_SLOW_MS);
    __atomic_store_n(&s->conf.max_out, c->max_out ? c->max_out : DEFAULT_OUT, __ATOMIC_RELAXED);
}

int rpcserver_new(const struct rpcserver_conf *conf, struct rpcserver **out)
{
    struct rpcserver *s = calloc(1, sizeof(*s));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    bool awake = conf->stay_awake && awake_helps();
    int err = -ENOMEM;

    if (!s)
        return -ENOMEM;
    s->reserve_fd = -1;
    s->conf = *conf;
    rpcserver_set_limits(s, conf);
    if (peer_table_init(&s->peers))
        goto fail;
    if (!s->conf.loops)
        s->conf.loops = cores > 0 ? (unsigned)cores : 1;
    if (!s->conf.workers)
        s->conf.workers = DEFAULT_WORKERS;
    if (s->conf.max_memory)
        s->loop_memory = s->conf.max_memory / s->conf.loops;
    else
        s->loop_memory = DEFAULT_MEMORY / s->conf.loops > LOOP_MEMORY_MIN ? DEFAULT_MEMORY / s->conf.loops
                                                                         : LOOP_MEMORY_MIN;
    s->loops = calloc(s->conf.loops, sizeof(*s->loops));
    if (!s->loops)
        goto fail;
    while (s->nloops < s->conf.loops) {
        err = loop_init(&s->loops[s->nloops++], s);
        if (err)
            goto fail;
        if (awake)
            s->loops[s->nloops - 1].awake = awake_new();
    }
    err = worker_pool_new(s->conf.workers, &s->workers);
    if (err)
        goto fail;
    s->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    *out = s;
    return 0;
fail:
    rpcserver_free(s);
    return err;
}

/* l, which is the next of s->listeners, is open. */
static int add_listener(struct rpcserver *s, struct listener *l, const struct oncrpc_program *prog)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = l};
    int err;

    l->server = s;
    l->prog = prog;
    if (epoll_ctl(s->loops[0].epfd, EPOLL_CTL_ADD, l->fd, &ev) != 0) {
        err = -errno;
        listener_close(l);
        return err;
    }
    s->nlisteners++;
    return 0;
}

int rpcserver_listen(struct rpcserver *s, const char *addr, const struct oncrpc_program *prog)
{
    struct listener *l = &s->listeners[s->nlisteners];
    int err;

    if (s->started || s->nlisteners == RPCSERVER_LISTENERS_MAX)
        return -EBUSY;
    err = listener_open(addr, l);
    return err ? err : add_listener(s, l, prog);
}

int rpcserver_bind(const char *addr)
{
    struct listener l;
    int err = *addr == '/' ? -EINVAL : listener_open(addr, &l);

    return err ? err : l.fd;
}

int rpcserver_listen_fd(struct rpcserver *s, int fd, const struct oncrpc_program *prog)
{
    struct listener *l = &s->listeners[s->nlisteners];

    if (s->started || s->nlisteners == RPCSERVER_LISTENERS_MAX) {
        close(fd);
        return -EBUSY;
    }
    *l = (struct listener){.source = SOURCE_LISTENER, .fd = fd};
    return add_listener(s, l, prog);
}

int rpcserver_port(const struct rpcserver *s, unsigned n)
{
    return n < s->nlisteners ? listener_port(&s->listeners[n]) : -EINVAL;
}

int rpcserver_start(struct rpcserver *s)
{
    s->started = true;
    for (unsigned i = 0; i < s->nloops; i++) {
        int err = loop_start(&s->loops[i]);

        if (err) {
            log_error("cannot start a thread; raise the limit of processes (ulimit -u)");
            return err;
        }
    }
    return 0;
}

static void enter(struct rpcserver *s, enum server_phase phase)
{
    __atomic_store_n(&s->phase, phase, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < s->nloops; i++)
        if (s->loops[i].started)
            loop_wake(&s->loops[i]);
}

static bool all_done(const struct rpcserver *s)
{
    for (unsigned i = 0; i < s->nloops; i++)
        if (__atomic_load_n(&s->loops[i].requests, __ATOMIC_ACQUIRE))
            return false;
    return true;
}

static bool all_closed(const struct rpcserver *s)
{
    for (unsigned i = 0; i < s->nloops; i++)
        if (s->loops[i].started && !__atomic_load_n(&s->loops[i].closed_all, __ATOMIC_ACQUIRE))
            return false;
    return true;
}

void rpcserver_stop(struct rpcserver *s, unsigned drain_ms)
{
    uint64_t until = clock_mono_ms() + drain_ms;

    if (rpcserver_phase(s) == PHASE_QUIT)
        return;
    enter(s, PHASE_DRAIN);
    while (!all_done(s) && clock_mono_ms() < until)
        usleep(POLL_US);
    enter(s, PHASE_CLOSE);
    while (!all_closed(s))
        usleep(POLL_US);
    if (s->workers)
        worker_pool_stop(s->workers);
    enter(s, PHASE_QUIT);
    for (unsigned i = 0; i < s->nloops; i++) {
        if (s->loops[i].started)
            pthread_join(s->loops[i].thread, NULL);
        s->loops[i].started = false;
    }
    for (unsigned i = 0; i < s->nlisteners; i++)
        listener_close(&s->listeners[i]);
}

void rpcserver_free(struct rpcserver *s)
{
    if (!s)
        return;
    rpcserver_stop(s, 0);
    for (unsigned i = 0; i < s->nloops; i++)
        loop_release(&s->loops[i]);
    worker_pool_free(s->workers);
    free(s->loops);
    peer_table_release(&s->peers);
    if (s->reserve_fd >= 0)
        close(s->reserve_fd);
    free(s);
}

struct run {
    struct job job;
    void (*fn)(void *arg);
    void *arg;
};

static void run_job(struct job *job)
{
    struct run *r = container_of(job, struct run, job);

    r->fn(r->arg);
    free(r);
}

int rpcserver_run(struct rpcserver *s, void (*fn)(void *arg), void *arg)
{
    struct run *r = malloc(sizeof(*r));

    if (!r)
        return -ENOMEM;
    r->job.run = run_job;
    r->fn = fn;
    r->arg = arg;
    worker_submit(s->workers, &r->job);
    return 0;
}
