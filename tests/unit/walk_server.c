/* SPDX-License-Identifier: Apache-2.0
 * walk_server: see walk_server.h.
 */
#include "tests/unit/walk_server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "server/rpc/rpcserver.h"
#include "server/state/state.h"
#include "tests/unit/storetest.h"

static void drop_hold(void *ctx, void *hold)
{
}

static void grace_over(void *ctx)
{
}

int walk_server_end(struct walk_server *s)
{
    int r = 0;

    if (s->rpc) {
        rpcserver_stop(s->rpc, 1000);
        rpcserver_free(s->rpc);
    }
    state_free(s->state);
    if (s->v)
        r = vfs_free(s->v);
    if (s->engine)
        engine_free(s->engine);
    if (s->db)
        statedb_close(s->db);
    return r;
}

int walk_server_begin(struct walk_server *s, const char *dir)
{
    struct engine_conf ec = {.cache_size = 16u << 20, .workers = 1, .pack_size = 1u << 20, .journal_size = 256u << 10};
    struct state_conf sc = {.lease_seconds = 90, .drop_hold = drop_hold, .grace_over = grace_over};
    struct rpcserver_conf rc = {.loops = 1, .workers = 2};
    char sock[160];
    int r;

    *s = (struct walk_server){.dir = dir};
    snprintf(s->store, sizeof(s->store), "%.100s/store", dir);
    snprintf(sock, sizeof(sock), "%s/control.sock", s->store);
    if ((r = statedb_open(s->store, &s->db)))
        goto out;
    sc.db = s->db;
    sc.epoch = ec.epoch = statedb_epoch(s->db);
    assert_int_equal(engine_new(&ec, &s->engine), 0);
    if ((r = vfs_new(s->store, s->db, s->engine, &s->v)) || (r = state_new(&sc, &s->state)))
        goto out;
    s->control = (struct control){.vfs = s->v, .engine = s->engine, .state = s->state, .store = s->store, .listen = "",
                                  .epoch = sc.epoch};
    control_program(&s->control, &s->prog);
    assert_int_equal(rpcserver_new(&rc, &s->rpc), 0);
    assert_int_equal(rpcserver_listen(s->rpc, sock, &s->prog), 0);
    assert_int_equal(rpcserver_start(s->rpc), 0);
out:
    if (r)
        walk_server_end(s);
    return r;
}

int walk_volnfs(struct walk_server *s, const char *in, const char *out, const char *said, const char *const *args)
{
    const char *argv[8] = {"volnfs", "--store", s->store}, *build = getenv("VOLNFS_BUILD");
    char program[512], path[256];
    unsigned n = 3;
    int status;
    pid_t pid;

    snprintf(program, sizeof(program), "%s/volnfs", build ? build : ".");
    while (*args && n < 7)
        argv[n++] = *args++;
    pid = fork();
    if (pid == 0) {
        int fds[3];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(path, sizeof(path), "%s/%s", in ? s->dir : "/dev", in ? in : "null");
        fds[0] = open(path, O_RDONLY);
        snprintf(path, sizeof(path), "%s/%s", out ? s->dir : "/dev", out ? out : "null");
        fds[1] = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        snprintf(path, sizeof(path), "%s/%s", s->dir, said);
        fds[2] = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        for (int i = 0; i < 3; i++)
            if (fds[i] < 0 || dup2(fds[i], i) < 0)
                _exit(111);
        execv(program, (char *const *)argv);
        _exit(111);
    }
    if (pid < 0)
        abort();
    while (waitpid(pid, &status, 0) != pid)
        if (errno != EINTR)
            abort();
    assert_true(!WIFEXITED(status) || WEXITSTATUS(status) != 111); /* 'make' has to have made it */
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}
