/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of what processes hold at the server, and the clearing up after those that were killed. */
#include "client/shim/hold.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "client/nfs/call.h"
#include "client/nfs/sys.h"

#define HOLD_LINK "/memfd:volnfs-"
#define HOLD_LINK_LEN 14
#define HOLD_AGAIN_MS 60 /* between two looks that must agree: a descriptor may be on its way to another process */

uint64_t hold_ofd_id(const char *link, long size)
{
    uint64_t id = 0;

    if (size < HOLD_LINK_LEN + 16 || memcmp(link, HOLD_LINK, HOLD_LINK_LEN) != 0)
        return 0;
    for (int i = HOLD_LINK_LEN; i < HOLD_LINK_LEN + 16; i++) {
        char c = link[i];

        if (c >= '0' && c <= '9')
            id = id << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            id = id << 4 | (uint64_t)(c - 'a' + 10);
        else
            return 0;
    }
    return id;
}

/* Which pid namespace numbers are of; 0 when /proc does not tell. */
static uint64_t hold_space(void)
{
    struct stat st;

    return sys2(SYS_stat, "/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

static void hold_raise(uint32_t *top, uint32_t value)
{
    uint32_t old = __atomic_load_n(top, __ATOMIC_RELAXED);

    while (old < value && !__atomic_compare_exchange_n(top, &old, value, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
}

/* After exec: threads that were inside a request are gone, and nobody knows how it ended. */
static void hold_adopt(struct nfs_self *self)
{
    for (int i = 0; i < NFS_OWNERS; i++) {
        if (self->owners[i].lock.word != 0)
            self->owners[i].name = 0;
        self->owners[i].lock.word = 0;
    }
}

int hold_attach(struct hold_table *table)
{
    int pid = (int)sys0(SYS_getpid);
    uint64_t start = 0, space = hold_space();
    uint32_t procs = __atomic_load_n(&table->procs, __ATOMIC_ACQUIRE);

    if (space == 0 || sys_alive(pid, &start) != 1)
        return -1;
    for (uint32_t i = 0; i < procs; i++)
        if (table->pids[i] == pid && table->proc[i].start == start && table->proc[i].space == space) {
            hold_adopt(&table->proc[i].self);
            return (int)i;
        }
    for (int i = 0; i < HOLD_PROCS; i++) {
        int zero = 0;

        if (table->pids[i] != 0 || !__atomic_compare_exchange_n(&table->pids[i], &zero, -1, false, __ATOMIC_ACQ_REL,
                                                                 __ATOMIC_RELAXED))
            continue;
        memset(&table->proc[i], 0, sizeof(table->proc[i]));
        table->proc[i].start = start;
        table->proc[i].space = space;
        hold_raise(&table->procs, (uint32_t)i + 1);
        __atomic_store_n(&table->pids[i], pid, __ATOMIC_RELEASE);
        return i;
    }
    return -1;
}

static bool hold_needs(const struct hold_table *table, int proc)
{
    uint32_t top = __atomic_load_n(&table->top, __ATOMIC_ACQUIRE);

    for (uint32_t i = 0; i < top; i++)
        if (table->rows[i].state != 0 && table->rows[i].proc == proc)
            return true;
    return false;
}

void hold_detach(struct hold_table *table, int proc)
{
    __atomic_store_n(&table->pids[proc], hold_needs(table, proc) ? -1 : 0, __ATOMIC_RELEASE);
}

struct hold *hold_new(struct hold_table *table, enum hold_kind kind, int proc, uint64_t ofd, const struct nfs_fh *fh)
{
    for (uint32_t i = 0; i < HOLD_ROWS; i++) {
        struct hold *hold = &table->rows[i];
        uint32_t zero = 0;

        if (hold->state != 0 ||
            !__atomic_compare_exchange_n(&hold->state, &zero, 2, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
            continue;
        hold->kind = kind;
        hold->proc = proc;
        hold->ofd = ofd;
        hold->fh = *fh;
        hold->seen = false;
        hold->local = 0;
        memset(&hold->locker, 0, sizeof(hold->locker));
        hold_raise(&table->top, i + 1);
        __atomic_store_n(&hold->state, 1, __ATOMIC_RELEASE);
        return hold;
    }
    return NULL;
}

uint32_t hold_owners(struct hold_table *table, int proc, const struct nfs_fh *fh)
{
    uint32_t top = __atomic_load_n(&table->top, __ATOMIC_ACQUIRE), used = (1u << HOLD_PASSING) - 1;

    for (uint32_t i = 0; i < top; i++) {
        struct hold *hold = &table->rows[i];

        if (hold->state == 1 && hold->proc == proc && hold->locker.open.valid && nfs_fh_same(&hold->fh, fh))
            used |= 1u << hold->locker.open.owner % NFS_OWNERS;
    }
    return used;
}

int hold_flock(struct hold_table *table, struct hold *hold, bool exclusive)
{
    uint32_t top = __atomic_load_n(&table->top, __ATOMIC_ACQUIRE);
    int err = 0;

    rlock_lock(&table->local);
    for (uint32_t i = 0; i < top && err == 0; i++) {
        const struct hold *other = &table->rows[i];

        if (other != hold && other->state == 1 && other->local != 0 && nfs_fh_same(&other->fh, &hold->fh) &&
            (exclusive || other->local == 2))
            err = -EAGAIN;
    }
    if (err == 0)
        hold->local = exclusive ? 2 : 1;
    rlock_unlock(&table->local);
    return err;
}

void hold_end(struct hold_table *table, struct nfs_client *client, struct hold *hold, bool dead)
{
    struct nfs_client as = *client;
    int proc = hold->proc;

    /* In the name of the process that made the open: its owners count the requests. */
    if (proc >= 0)
        as.self = &table->proc[proc].self;
    nfs_lock_end(&as, &hold->locker, &hold->fh, dead);
    __atomic_store_n(&hold->state, 0, __ATOMIC_RELEASE);
    if (proc >= 0 && table->pids[proc] == -1 && !hold_needs(table, proc))
        __atomic_store_n(&table->pids[proc], 0, __ATOMIC_RELEASE);
}

int hold_recover(struct nfs_client *client, uint64_t clientid, uint32_t epoch, void *arg)
{
    struct hold_table *table = arg;
    uint32_t top = __atomic_load_n(&table->top, __ATOMIC_ACQUIRE);
    int err = 0;

    for (uint32_t i = 0; i < top && i < HOLD_ROWS && err == 0; i++) {
        struct hold *hold = &table->rows[i];
        struct nfs_client as = *client;
        int proc = hold->proc;

        if (__atomic_load_n(&hold->state, __ATOMIC_ACQUIRE) != 1 || proc < 0 || proc >= HOLD_PROCS)
            continue;
        as.self = &table->proc[proc].self;
        err = nfs_lock_reclaim(&as, &hold->locker, &hold->fh, clientid, epoch);
    }
    return err;
}

static void hold_reap_procs(struct hold_table *table, struct nfs_client *client)
{
    uint32_t procs = __atomic_load_n(&table->procs, __ATOMIC_ACQUIRE);
    uint64_t space = hold_space();

    for (uint32_t i = 0; i < procs; i++) {
        int pid = __atomic_load_n(&table->pids[i], __ATOMIC_ACQUIRE);
        uint64_t start = 0;
        int alive;

        /* Numbers of another pid namespace tell nothing here. */
        if (pid <= 0 || space == 0 || table->proc[i].space != space)
            continue;
        alive = sys_alive(pid, &start);
        if (alive < 0 || (alive == 1 && start == table->proc[i].start))
            continue;
        table->killed++;
        for (uint32_t k = 0; k < HOLD_ROWS && k < table->top; k++) {
            struct hold *hold = &table->rows[k];

            if (hold->state == 1 && hold->kind == HOLD_PROC && hold->proc == (int)i)
                hold_end(table, client, hold, true);
        }
        hold_detach(table, (int)i);
    }
}

/* Marks the rows of descriptions that a process has a descriptor of. False: it does not let us look. */
static bool hold_look_at(struct hold_table *table, const char *pid)
{
    char path[64], buf[2048], link[64];
    size_t len = strlen(pid);
    long dir, n;

    if (len > 12)
        return true;
    memcpy(path, "/proc/", 6);
    memcpy(path + 6, pid, len);
    memcpy(path + 6 + len, "/fd", 4);
    dir = sys3(SYS_open, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (dir < 0)
        return dir == -ENOENT || dir == -ESRCH;
    while ((n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        struct sys_dirent *e;

        for (long at = 0; at < n; at += e->reclen) {
            uint64_t id;
            long size;

            e = (struct sys_dirent *)(buf + at);
            size = e->name[0] == '.' ? 0 : sys4(SYS_readlinkat, dir, e->name, link, sizeof(link));
            id = hold_ofd_id(link, size);
            for (uint32_t i = 0; id != 0 && i < HOLD_ROWS && i < table->top; i++)
                if (table->rows[i].kind == HOLD_OFD && table->rows[i].ofd == id)
                    table->rows[i].seen = true;
        }
    }
    sys1(SYS_close, dir);
    return true;
}

/* Looks at all processes. False when one of the run could not be looked at: then nothing is known. */
static bool hold_look(struct hold_table *table)
{
    char buf[4096];
    bool all = true;
    long dir = sys3(SYS_open, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0), n;

    if (dir < 0)
        return false;
    while ((n = sys3(SYS_getdents64, dir, buf, sizeof(buf))) > 0) {
        struct sys_dirent *e;

        for (long at = 0; at < n; at += e->reclen) {
            int pid = 0;

            e = (struct sys_dirent *)(buf + at);
            if (e->name[0] < '1' || e->name[0] > '9')
                continue;
            for (const char *p = e->name; *p >= '0' && *p <= '9'; p++)
                pid = pid * 10 + (*p - '0');
            if (hold_look_at(table, e->name))
                continue;
            for (uint32_t i = 0; i < table->procs; i++)
                if (table->pids[i] == pid)
                    all = false;
        }
    }
    sys1(SYS_close, dir);
    return all && n == 0;
}

static void hold_reap_ofds(struct hold_table *table, struct nfs_client *client)
{
    uint64_t missing[HOLD_ROWS]; /* whose row it was; 0: none that is missing. A row may be another's by the second look */
    uint32_t top = __atomic_load_n(&table->top, __ATOMIC_ACQUIRE), any = 0;

    /* In another pid namespace not all processes of the run are in our /proc. */
    for (uint32_t i = 0; i < table->procs; i++)
        if (table->pids[i] > 0 && table->proc[i].space != hold_space())
            return;
    for (uint32_t i = 0; i < top; i++) {
        struct hold *hold = &table->rows[i];

        missing[i] = __atomic_load_n(&hold->state, __ATOMIC_ACQUIRE) == 1 && hold->kind == HOLD_OFD ? hold->ofd : 0;
        hold->seen = false;
        any += missing[i] != 0;
    }
    if (any == 0 || !hold_look(table))
        return;
    any = 0;
    for (uint32_t i = 0; i < top; i++) {
        if (table->rows[i].seen || table->rows[i].ofd != missing[i])
            missing[i] = 0;
        any += missing[i] != 0;
    }
    if (any == 0)
        return;
    sys_sleep_ms(HOLD_AGAIN_MS);
    if (!hold_look(table))
        return;
    for (uint32_t i = 0; i < top; i++)
        if (missing[i] != 0 && !table->rows[i].seen && table->rows[i].ofd == missing[i] && table->rows[i].state == 1)
            hold_end(table, client, &table->rows[i], true);
}

void hold_reap(struct hold_table *table, struct nfs_client *client, unsigned pace)
{
    uint64_t now = sys_now_ms();

    if (now - __atomic_load_n(&table->reaped_ms, __ATOMIC_RELAXED) < pace || !rlock_try(&table->reaping)) {
        /* A reaper that was itself killed is found out by the next that has time to wait. */
        if (now - table->reaped_ms < 5000)
            return;
        rlock_lock(&table->reaping);
    }
    hold_reap_procs(table, client);
    if (table->killed != 0)
        hold_reap_ofds(table, client);
    table->reaped_ms = sys_now_ms();
    rlock_unlock(&table->reaping);
}
