/* SPDX-License-Identifier: Apache-2.0
 * volnfsd: the server: starts the layers from the lowest to the highest, waits for a signal, and stops
 * them in the opposite order.
 *
 * steps[] is that order. A step's fini is called if and only if its init returned 0.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "config.h"
#include "server/control/control.h"
#include "server/metrics/metrics.h"
#include "server/grant/grant.h"
#include "server/nfs4/callback.h"
#include "server/nfs4/server.h"
#include "server/options.h"
#include "server/rpc/rpcserver.h"
#include "server/sandbox.h"
#include "server/state/deleg.h"
#include "server/state/state.h"
#include "server/state/user.h"
#include "server/store/snap.h"
#include "server/store/space.h"
#include "server/store/statedb.h"
#include "server/store/volume.h"
#include "server/vfs/vfs.h"
#include "server/web/web.h"

#define DRAIN_MS     5000 /* what requests in flight get to finish at the end */
#define TICK_MS      1000u
#define FORGET_TICKS 60u
#define TRIM_BYTES   (UINT64_C(8) << 20)

struct daemon {
    struct options opt;
    int argc; /* of main, for reading the options again */
    char **argv;
    char *store; /* absolute */
    int listen[OPTIONS_LISTEN_MAX]; /* sockets that are bound and not served yet; -1: none */
    sigset_t signals;
    struct statedb *db;
    struct metrics *metrics;
    struct grants *grants;
    struct engine *engine;
    struct vfs *vfs;
    struct state *state;
    struct nfs4_server nfs;
    struct oncrpc_program nfs_prog, control_prog;
    struct control control;
    struct rpcserver *rpc;
    struct web *web;
    char *addrs; /* "127.0.0.1:2049 [::1]:2049", with real ports */
    int stop_err;
    struct space_watch space;
    bool stopping; /* opens end because the server does */
};

/* --- process --- */

static int process_init(struct daemon *d)
{
    struct rlimit files;
    const char *fault = getenv("VOLNFS_FAULT");

    /* Objects move between threads all the time: a heap for each thread would only keep memory apart. */
    mallopt(M_ARENA_MAX, 4);
    mallopt(M_MMAP_THRESHOLD, 256 << 10);
    signal(SIGPIPE, SIG_IGN);
    /* Blocked before any thread starts, so that only main's sigtimedwait gets them. */
    sigemptyset(&d->signals);
    sigaddset(&d->signals, SIGTERM);
    sigaddset(&d->signals, SIGINT);
    sigaddset(&d->signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &d->signals, NULL);
    if (!getrlimit(RLIMIT_NOFILE, &files) && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &files))
            log_warn("cannot raise the limit of open files: %s", strerror(errno));
    }
    if (fault) {
#ifdef ENABLE_FAULTS
        if (fault_arm_text(fault)) {
            log_error("VOLNFS_FAULT=%s is not of the form NAME:N[:crash]", fault);
            return -EINVAL;
        }
#else
        log_warn("VOLNFS_FAULT is ignored: configure with --enable-faults");
#endif
    }
    return 0;
}

static int metrics_init(struct daemon *d)
{
    int err = metrics_new(&d->metrics);
    if (err)
        log_error("out of memory");
    return err;
}

static void metrics_fini(struct daemon *d)
{
    metrics_free(d->metrics);
}

/* --- before anything comes from outside --- */

static void close_sockets(struct daemon *d)
{
    for (unsigned i = 0; i < d->opt.nlisten; i++) {
        if (d->listen[i] >= 0)
            close(d->listen[i]);
        d->listen[i] = -1;
    }
    web_free(d->web);
    d->web = NULL;
}

static int bind_init(struct daemon *d)
{
    int err = 0;
    for (unsigned i = 0; i < d->opt.nlisten; i++)
        d->listen[i] = -1;
    for (unsigned i = 0; !err && i < d->opt.nlisten; i++) {
        d->listen[i] = rpcserver_bind(d->opt.listen[i]);
        err = d->listen[i] < 0 ? d->listen[i] : 0;
    }
    if (!err && d->opt.metrics)
        err = web_new(d->opt.metrics, &d->web);
    if (!err && d->opt.user)
        err = sandbox_user(d->opt.user, d->opt.store);
    if (err)
        close_sockets(d);
    return err;
}

static int sandbox_init(struct daemon *d)
{
    return d->opt.sandbox ? sandbox_enter(d->store, d->opt.config) : 0;
}

/* --- store --- */

static int store_init(struct daemon *d)
{
    int err = statedb_open(d->opt.store, &d->db);
    if (err == -EBUSY)
        log_error("store %s is open in another volnfsd; stop that one first, or serve another store",
                  d->opt.store);
    else if (err == -ENOTSUP)
        log_error("store %s was written by a newer volnfs; use that release", d->opt.store);
    else if (err == -ENOENT)
        log_error("cannot make store %s: the folder it would be in is missing; make that first", d->opt.store);
    else if (err == -EACCES || err == -EPERM || err == -EROFS)
        log_error("cannot write in store %s: %s; give the folder to user id %u, or choose another", d->opt.store,
                  strerror(-err), (unsigned)geteuid());
    else if (err)
        log_error("cannot open store %s: %s", d->opt.store, strerror(-err));
    if (err)
        return err;
    d->store = realpath(d->opt.store, NULL);
    if (!d->store) {
        err = -errno;
        log_error("cannot open store %s: %s", d->opt.store, strerror(errno));
        statedb_close(d->db);
    }
    return err;
}

static void store_fini(struct daemon *d)
{
    statedb_close(d->db);
    free(d->store);
}

/* Those of the options; they hold from the next vfs_set_grants on. */
static int fix_grants(struct daemon *d)
{
    int err = 0;
    grants_drop_fixed(d->grants);
    for (unsigned i = 0; !err && i < d->opt.ngrants; i++)
        err = grants_add_fixed(d->grants, &d->opt.grants[i].row, d->opt.grants[i].object);
    return err;
}

static int grants_init(struct daemon *d)
{
    int err = grants_new(d->db, &d->grants);
    if (!err)
        err = fix_grants(d);
    if (err) {
        log_error("cannot read the grants of store %s: %s", d->store, strerror(-err));
        grants_free(d->grants);
    }
    return err;
}

static void grants_fini(struct daemon *d)
{
    grants_free(d->grants);
}

static int engine_init(struct daemon *d)
{
    struct engine_conf conf = {.cache_size = d->opt.cache_size, .journal_size = d->opt.journal_size, .epoch = statedb_epoch(d->db)};
    int err = engine_new(&conf, &d->engine);
    if (err)
        log_error("cannot set up a cache of %llu bytes: %s; try a smaller --cache-size",
                  (unsigned long long)conf.cache_size, strerror(-err));
    return err;
}

static void engine_fini(struct daemon *d)
{
    engine_free(d->engine);
}

static int vfs_init(struct daemon *d)
{
    int err = vfs_new(d->store, d->db, d->engine, &d->vfs);
    if (!err)
        vfs_set_idle(d->vfs, d->opt.idle_time, d->opt.max_open_volumes);
    if (!err && (err = vfs_set_grants(d->vfs, d->grants)))
        vfs_free(d->vfs);
    if (err)
        log_error("cannot read the volumes of store %s: %s", d->store, strerror(-err));
    return err;
}

static void vfs_fini(struct daemon *d)
{
    int err = vfs_free(d->vfs);
    if (err && !d->stop_err)
        d->stop_err = err;
}

/* --- state --- */

static void drop_hold(void *ctx, void *hold)
{
    struct daemon *d = ctx;
    if (d->stopping)
        vfs_hold_leave(hold); /* clients will reclaim their opens, of removed files too */
    else
        vfs_hold_drop(hold);
}

static void purge(void *arg)
{
    struct daemon *d = arg;
    int err = vfs_purge_orphans(d->vfs);
    if (err)
        log_warn("removing files that nobody reclaimed: %s", strerror(-err));
}

static void grace_over(void *ctx)
{
    struct daemon *d = ctx;
    /* Before the server runs there is no worker; state_init does it then. */
    if (d->rpc && !rpcserver_run(d->rpc, purge, d))
        return;
    purge(d);
}

/* Grants on the volume (0: on any) give less: whoever has a file for himself there does not ask the server. */
static void recall(void *arg, uint64_t volume)
{
    struct daemon *d = arg;
    deleg_recall(d->state, volume, volume ? snap_base_id(UINT64_MAX) : 0);
}

static int state_init(struct daemon *d)
{
    struct state_conf conf = {.lease_seconds = d->opt.lease_time,
                              .grace_seconds = d->opt.grace_time,
                              .db = d->db,
                              .delegations = d->opt.delegations,
                              .max_opens = d->opt.max.client_opens,
                              .max_locks = d->opt.max.client_locks,
                              .epoch = statedb_epoch(d->db),
                              .drop_hold = drop_hold,
                              .grace_over = grace_over,
                              .ctx = d};
    int err;
    memcpy(conf.max_user, d->opt.max.user, sizeof(conf.max_user));
    err = state_new(&conf, &d->state);
    if (err)
        log_error("cannot read the client records of store %s: %s", d->store, strerror(-err));
    else
        grants_tell(d->grants, recall, d);
    return err;
}

static void state_fini(struct daemon *d)
{
    d->stopping = true;
    state_stop(d->state);
    state_free(d->state);
}

/* --- network --- */

static struct rpcserver_conf limits_of(const struct options *o)
{
    return (struct rpcserver_conf){.max_conns = o->max.conns,
                                   .max_peer_conns = o->max.client_conns,
                                   .max_peer_inflight = o->max.client_requests,
                                   .slow_ms = o->slow_time * 1000,
                                   .stay_awake = o->stay_awake};
}

static int rpc_init(struct daemon *d)
{
    struct rpcserver_conf conf = limits_of(&d->opt);
    int err = rpcserver_new(&conf, &d->rpc);
    if (err)
        log_error("cannot set up the network side: %s", strerror(-err));
    return err;
}

static void rpc_fini(struct daemon *d)
{
    rpcserver_free(d->rpc);
    d->rpc = NULL;
}

/* Whoever opened the server to a network wants to let somebody in from there. */
static void say_who_may(struct daemon *d)
{
    for (unsigned i = 0; i < d->opt.nlisten; i++) {
        const char *a = d->opt.listen[i];
        if (!strncmp(a, "127.", 4) || !strncmp(a, "[::1]", 5) || !strncmp(a, "localhost:", 10))
            continue;
        if (grants_only_local(d->grants))
            log_warn("listening on %s, but no grant lets any other machine in: clients find the server empty. "
                     "'volnfs --store %s grant NETWORK /' lets a network in, 'volnfs help grant' tells more", a, d->store);
        return;
    }
}

/* Appends the address with the port it really has. */
static int add_address(struct daemon *d, unsigned n)
{
    const char *a = d->opt.listen[n];
    char *all = NULL;
    int host = (int)(strrchr(a, ':') - a);
    if (asprintf(&all, "%s%s%.*s:%d", d->addrs ? d->addrs : "", d->addrs ? " " : "", host, a,
                 rpcserver_port(d->rpc, n)) < 0)
        return -ENOMEM;
    free(d->addrs);
    d->addrs = all;
    return 0;
}

_Static_assert(OPTIONS_LISTEN_MAX < RPCSERVER_LISTENERS_MAX, "the addresses, and the control socket");

static int listen_init(struct daemon *d)
{
    char *path = NULL;
    int err = 0;
    d->nfs = (struct nfs4_server){.vfs = d->vfs, .state = d->state, .grants = d->grants, .epoch = statedb_epoch(d->db), .metrics = d->metrics};
    memcpy(d->nfs.handle_key, statedb_handle_key(d->db), sizeof(d->nfs.handle_key));
    err = nfs4_callbacks_start(&d->nfs, d->rpc);
    if (err) {
        log_error("cannot set up callbacks: %s", strerror(-err));
        return err;
    }
    nfs4_program(&d->nfs, &d->nfs_prog);
    for (unsigned i = 0; i < d->opt.nlisten; i++) {
        int fd = d->listen[i];
        d->listen[i] = -1;
        if ((err = rpcserver_listen_fd(d->rpc, fd, &d->nfs_prog)) || (err = add_address(d, i)))
            goto out;
    }
    d->control = (struct control){.vfs = d->vfs,
                                  .grants = d->grants,
                                  .engine = d->engine,
                                  .state = d->state,
                                  .rpc = d->rpc,
                                  .metrics = d->metrics,
                                  .started_ms = clock_mono_ms(),
                                  .store = d->store,
                                  .listen = d->addrs,
                                  .epoch = statedb_epoch(d->db)};
    control_program(&d->control, &d->control_prog);
    say_who_may(d);
    if (asprintf(&path, "%s/control.sock", d->store) < 0) {
        path = NULL;
        err = -ENOMEM;
        goto out;
    }
    err = rpcserver_listen(d->rpc, path, &d->control_prog);
out:
    free(path);
    if (err) {
        nfs4_callbacks_stop(&d->nfs);
        nfs4_server_release(&d->nfs);
        free(d->addrs);
        d->addrs = NULL;
    }
    return err;
}

static void listen_fini(struct daemon *d)
{
    char *path = NULL;
    if (asprintf(&path, "%s/control.sock", d->store) >= 0) {
        unlink(path);
        free(path);
    }
    nfs4_callbacks_stop(&d->nfs);
    nfs4_server_release(&d->nfs);
    free(d->addrs);
    d->addrs = NULL;
}

static int serve_init(struct daemon *d)
{
    int err = rpcserver_start(d->rpc);
    if (err)
        log_error("cannot start serving: %s", strerror(-err));
    return err;
}

static void serve_fini(struct daemon *d)
{
    rpcserver_stop(d->rpc, DRAIN_MS);
}

/* --- metrics and status page --- */

static int web_init(struct daemon *d)
{
    return d->web ? web_start(d->web, &d->control) : 0;
}

static void web_fini(struct daemon *d)
{
    web_free(d->web);
    d->web = NULL;
}

/* --- the order --- */

static const struct step {
    int (*init)(struct daemon *d);
    void (*fini)(struct daemon *d); /* may be NULL */
} steps[] = {
    {process_init, NULL},       {metrics_init, metrics_fini}, {bind_init, close_sockets},
    {store_init, store_fini},   {sandbox_init, NULL},         {grants_init, grants_fini},
    {engine_init, engine_fini}, {vfs_init, vfs_fini},         {rpc_init, rpc_fini},
    {state_init, state_fini},
    {listen_init, listen_fini}, {serve_init, serve_fini},     {web_init, web_fini},
};
#define NSTEPS (sizeof(steps) / sizeof(steps[0]))

static void log_apply(const struct options *o)
{
    log_set_topics(o->debug);
    log_set_json(o->log_json);
}

/* SIGHUP. A file that is wrong changes nothing. */
static void reload(struct daemon *d)
{
    struct rpcserver_conf limits;
    unsigned fixed = d->opt.ngrants;
    if (options_reload(&d->opt, d->argc, d->argv)) {
        log_error("the configuration is wrong and was not taken over");
        return;
    }
    log_apply(&d->opt);
    limits = limits_of(&d->opt);
    rpcserver_set_limits(d->rpc, &limits);
    state_set_limits(d->state, d->opt.max.client_opens, d->opt.max.client_locks);
    vfs_set_idle(d->vfs, d->opt.idle_time, d->opt.max_open_volumes);
    users_set_limits(state_users(d->state), d->opt.max.user);
    if (fix_grants(d) || vfs_set_grants(d->vfs, d->grants))
        log_error("out of memory: not all grants of the configuration hold");
    if (fixed || d->opt.ngrants)
        recall(d, 0);
    log_info("the configuration was read again");
}

struct ids {
    uint64_t *id;
    size_t n, max;
};

static int note_id(void *arg, const struct vfs_volume_info *info)
{
    struct ids *ids = arg;
    if (ids->n < ids->max)
        ids->id[ids->n++] = info->id;
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_noted(void *arg, uint64_t id)
{
    const struct ids *ids = arg;
    return bsearch(&id, ids->id, ids->n, sizeof(id), by_value);
}

/* Counters of volumes that are gone make room for others. */
static void forget_gone(struct daemon *d)
{
    struct ids ids = {.max = vfs_volume_count(d->vfs) + 64u};
    ids.id = calloc(ids.max, sizeof(*ids.id));
    if (ids.id && !vfs_volume_peek(d->vfs, note_id, &ids) && ids.n < ids.max) {
        qsort(ids.id, ids.n, sizeof(*ids.id), by_value);
        metrics_keep(d->metrics, METRICS_VOLUME, is_noted, &ids);
    }
    free(ids.id);
}

/* What many clients held leaves holes in the heap when they go: their pages are given back once they are more than half
 * of what is in use, not sooner, for touching fresh pages is what costs. */
static void trim_heap(void)
{
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    struct mallinfo2 mi = mallinfo2();
    if (mi.fordblks >= TRIM_BYTES && mi.fordblks > mi.uordblks / 2)
        malloc_trim(0);
#endif
}

static void watch_space(struct daemon *d)
{
    uint64_t replies[METRICS_STATUS];
    struct engine_stat st;
    struct space now;
    if (space_read(d->store, &now))
        return;
    engine_get_stat(d->engine, &st);
    metrics_statuses(d->metrics, replies);
    if (space_watch_step(&d->space, &now, st.cache_pinned, replies[metrics_status_place(NFS4ERR_NOSPC)]))
        space_watch_log(&d->space, &now, d->store);
}

/* Until a signal says stop; state and metrics are ticked each second. */
static void run(struct daemon *d)
{
    uint64_t next = clock_mono_ms() + TICK_MS;
    for (unsigned ticks = 1;; ticks++) {
        uint64_t now = clock_mono_ms(), ms = next > now ? next - now : 0;
        struct timespec wait = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
        int sig = sigtimedwait(&d->signals, NULL, &wait);
        if (sig == SIGHUP) {
            reload(d);
            continue;
        }
        if (sig > 0) {
            log_info("stopping on signal %d", sig);
            return;
        }
        grants_tick(d->grants);
        state_tick(d->state);
        metrics_tick(d->metrics);
        watch_space(d);
        if (ticks % FORGET_TICKS == 0) {
            forget_gone(d);
            trim_heap();
        }
        now = clock_mono_ms();
        next = next + TICK_MS > now ? next + TICK_MS : now + TICK_MS;
    }
}

int main(int argc, char **argv)
{
    struct daemon d = {0};
    size_t done = 0;
    int status;
    log_set_name("volnfsd");
    status = options_parse(&d.opt, argc, argv);
    if (status == -1 && d.opt.check_config)
        status = 0;
    if (status != -1)
        goto out;
    d.argc = argc;
    d.argv = argv;
    log_apply(&d.opt);
    while (done < NSTEPS && !steps[done].init(&d))
        done++;
    status = done == NSTEPS ? 0 : 1;
    if (!status) {
        if (d.web)
            log_info("metrics and status page on port %d", web_port(d.web));
        printf("volnfsd: ready: serving %s on %s\n", d.store, d.addrs);
        fflush(stdout);
        run(&d);
    }
    while (done)
        if (steps[--done].fini)
            steps[done].fini(&d);
    if (d.stop_err) {
        log_error("stopped, but not everything could be written: %s", strerror(-d.stop_err));
        status = 1;
    }
out:
    options_release(&d.opt);
    return status;
}
