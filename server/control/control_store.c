/* SPDX-License-Identifier: Apache-2.0
 * control_store: procedures about how a volume is stored: scrub.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "server/control/control_impl.h"

static bool do_scrub(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_result r;
    say_error(&r, pc->text, vfs_scrub_start(pc->c->vfs, a->name), a->name);
    return xdr_control_result(pc->out, &r);
}

struct damage {
    control_damage d[CONTROL_DAMAGE_MAX];
    u_int n;
};

static int add_damage(void *arg, const char *path, uint64_t off)
{
    struct damage *g = arg;
    if (g->n == CONTROL_DAMAGE_MAX)
        return 1;
    g->d[g->n].path = strdup(path);
    g->d[g->n].offset = off;
    if (!g->d[g->n].path)
        return -ENOMEM;
    g->n++;
    return 0;
}

static bool do_status(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_scrub r = {0};
    struct damage g = {.n = 0};
    struct volume_scrub st = {0};
    int err = vfs_scrub_stat(pc->c->vfs, a->name, &st, add_damage, &g);
    bool ok;
    say_error(&r.result, pc->text, err > 0 ? 0 : err, a->name);
    r.running = st.running;
    r.started = st.started;
    r.finished = st.finished;
    r.chunks = st.chunks;
    r.bytes = st.bytes;
    r.total = st.total;
    r.damaged = st.damaged;
    r.files.files_len = g.n;
    r.files.files_val = g.d;
    ok = xdr_control_scrub(pc->out, &r);
    for (u_int i = 0; i < g.n; i++)
        free(g.d[i].path);
    return ok;
}

static bool refuse_status(struct proc_call *pc, control_result *r)
{
    control_scrub s = {.result = *r};
    return xdr_control_scrub(pc->out, &s);
}

const struct control_proc control_store_procs[] = {
    {CONTROL_SCRUB, false, true, do_scrub, CONTROL_ARGS(control_name_args), NULL},
    {CONTROL_SCRUB_STATUS, false, true, do_status, CONTROL_ARGS(control_name_args), refuse_status},
    {0},
};
