/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Without `volnfs run` nobody keeps the lease: the first process of a run that holds something at the server starts
 * an agent, a child of a child without a name to the program, which renews, reclaims and clears up for all
 * processes of the run, as the launcher does, and ends when they have ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "client/nfs/rpc.h"
#include "client/shim/run.h"
#include "client/shim/shim.h"

#define AGENT_SOFT_MS 10000
#define AGENT_LINGER 5  /* looks, one a second, without any process before it ends */
#define AGENT_PATIENCE 60 /* and when something is still held: by a process that only inherited a descriptor */

static bool agent_needed(const struct hold_table *table, bool *held)
{
    uint32_t procs = __atomic_load_n(&table->procs, __ATOMIC_ACQUIRE), top = table->top;

    *held = false;
    for (uint32_t i = 0; i < top && i < HOLD_ROWS && !*held; i++)
        *held = table->rows[i].state == 1;
    for (uint32_t i = 0; i < procs && i < HOLD_PROCS; i++)
        if (table->pids[i] > 0)
            return true;
    return false;
}

/* Nothing of the program's is kept open: a pipe's other end may wait for it. */
static void agent_close_all(void)
{
    char buf[1024];
    long dir, n;

    if (!shim.old_kernel && sys3(SYS_close_range, 0, ~0u, 0) == 0)
        return;
    dir = sys3(SYS_open, "/proc/self/fd", O_RDONLY | O_DIRECTORY, 0); /* before Linux 5.9 */
    while (dir >= 0 && (n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        const struct sys_dirent *e;

        for (long at = 0; at < n; at += e->reclen) {
            long fd = 0;

            e = (const struct sys_dirent *)(buf + at);
            for (const char *p = e->name; *p >= '0' && *p <= '9'; p++)
                fd = fd * 10 + (*p - '0');
            if (e->name[0] != '.' && fd != dir)
                sys1(SYS_close, fd);
        }
    }
    if (dir >= 0)
        sys1(SYS_close, dir);
}

static void agent_run(void)
{
    struct hold_table *table = &shim.run->holds;
    struct nfs_client *client = NULL;
    int null;

    sys0(SYS_setsid);
    sys1(SYS_chdir, "/");
    sys5(SYS_prctl, PR_SET_NAME, "volnfs-agent", 0, 0, 0);
    agent_close_all();
    null = (int)sys3(SYS_open, "/dev/null", O_RDWR, 0);
    sys2(SYS_dup2, null, 1);
    sys2(SYS_dup2, null, 2);
    rpc_idle_hook = NULL;
    rpc_silent_hook = NULL;
    __atomic_store_n(&shim.run->agent, (int32_t)sys0(SYS_getpid), __ATOMIC_RELEASE);
    run_clean(run_parent());
    if (nfs_client_open(&client, shim.host, shim.port, AGENT_SOFT_MS, &shim.run->nfs) != 0)
        return;
    nfs_client_set_recover(client, hold_recover, table);
    for (unsigned alone = 0;;) {
        bool held;

        nfs_client_renew(client, false);
        hold_reap(table, client, 0);
        alone = agent_needed(table, &held) ? 0 : alone + 1;
        if (alone > (held ? AGENT_PATIENCE : AGENT_LINGER))
            break;
        sys_sleep_ms(1000);
    }
    __atomic_store_n(&shim.run->agent, 0, __ATOMIC_RELEASE);
}

static bool agent_lives(void)
{
    int32_t pid = __atomic_load_n(&shim.run->agent, __ATOMIC_ACQUIRE);

    return pid > 0 && sys_alive(pid, NULL) != 0;
}

void agent_start(void)
{
    long child;

    if (!shim.own_run || shim_is_vfork_child() || agent_lives())
        return;
    rlock_lock(&shim.run->agent_lock);
    if (agent_lives())
        goto out;
    heap_fork_lock();
    child = sys5(SYS_clone, 0, 0, 0, 0, 0); /* no signal when it ends: the program is not to know */
    heap_fork_unlock();
    if (child == 0) {
        /* The program's memory and the stack of this thread, copied; no other thread. */
        if (sys5(SYS_clone, 0, 0, 0, 0, 0) == 0)
            agent_run();
        sys1(SYS_exit_group, 0);
    }
    if (child < 0) {
        shim_say("cannot start the agent that keeps the lease: %s", strerror((int)-child));
        goto out;
    }
    while (sys4(SYS_wait4, child, NULL, __WALL, NULL) == -EINTR)
        ;
    for (int n = 0; n < 100 && !agent_lives(); n++)
        sys_sleep_ms(1);
out:
    rlock_unlock(&shim.run->agent_lock);
}
