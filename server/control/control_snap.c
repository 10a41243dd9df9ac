/* SPDX-License-Identifier: Apache-2.0
 * control_snap: procedures about snapshots.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/fault.h"
#include "server/control/control_impl.h"
#include "server/state/deleg.h"
#include "server/store/snap.h"

/* What an errno means for a snapshot, for people. */
static void say_snap(control_result *r, char *buf, int err, const char *name)
{
    switch (err) {
    case 0:
        say(r, buf, 0, "%s", "");
        break;
    case -ENOENT:
        say(r, buf, err, "there is no '%s'; 'volnfs snapshot list' shows the snapshots there are", name);
        break;
    case -EEXIST:
        say(r, buf, err, "there is a snapshot of that name already: '%s'", name);
        break;
    case -EINVAL:
        say(r, buf, err, "'%s' cannot name a snapshot: it has to be USER/VOLUME@NAME, NAME of letters, digits, "
            "'.', '_', '-' and ':', beginning with a letter or digit, at most %u characters", name,
            STORE_SNAP_NAME_MAX);
        break;
    case -EBUSY:
        say(r, buf, err, "'%s' is just being made or cloned, or its volume goes back to a snapshot: try again when that is done", name);
        break;
    case -EXDEV:
        say(r, buf, err, "'%s' cannot become a snapshot of another volume", name);
        break;
    case -EROFS:
        say(r, buf, err, "the volume of '%s' cannot be written; the server's log says why", name);
        break;
    default:
        say(r, buf, err, "'%s': %s", name, strerror(-err));
    }
}

static bool do_create(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_result r;
    int err = vfs_snap_create(pc->c->vfs, a->name);
    if (err == -ENOENT)
        say(&r, pc->text, err, "there is no volume '%.*s'; 'volnfs list' shows those there are",
            (int)strcspn(a->name, "@"), a->name);
    else
        say_snap(&r, pc->text, err, a->name);
    return xdr_control_result(pc->out, &r);
}

static bool do_destroy(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_result r;
    say_snap(&r, pc->text, vfs_snap_destroy(pc->c->vfs, a->name), a->name);
    return xdr_control_result(pc->out, &r);
}

static bool do_rename(struct proc_call *pc, void *args)
{
    const control_pair_args *a = args;
    control_result r;
    int err = vfs_snap_rename(pc->c->vfs, a->name, a->to);
    say_snap(&r, pc->text, err, err == -EINVAL || err == -EEXIST ? a->to : a->name);
    return xdr_control_result(pc->out, &r);
}

static bool do_clone(struct proc_call *pc, void *args)
{
    const control_pair_args *a = args;
    control_result r;
    int err = vfs_snap_clone(pc->c->vfs, a->name, a->to);
    if (err == -EEXIST || err == -EINVAL)
        say_error(&r, pc->text, err, strchr(a->name, '@') ? a->to : a->name);
    else
        say_snap(&r, pc->text, err, a->name);
    return xdr_control_result(pc->out, &r);
}

/* Whoever has a file of the volume for himself gives it back: with a delegation he would not ask, and go on with what he
 * has. -EBUSY: somebody does not. */
static int recall(struct control *c, const char *name)
{
    struct volume *snap;
    int err = vfs_volume_get(c->vfs, name, false, &snap);
    if (err)
        return err;
    if (!deleg_recall_wait(c->state, snap_base_id(volume_id(snap)), snap_base_id(UINT64_MAX)))
        err = -EBUSY;
    volume_unref(snap);
    return err;
}

static bool do_rollback(struct proc_call *pc, void *args)
{
    const control_pair_args *a = args;
    control_result r;
    int err = strchr(a->name, '@') ? recall(pc->c, a->name) : -EINVAL; /* what they wrote comes before it, */
    bool kept = err == -EBUSY;
    if (!err && !(err = vfs_snap_rollback(pc->c->vfs, a->name, a->flags)))
        (void)recall(pc->c, a->name); /* and what was given out meanwhile is not kept */
    if (kept)
        say(&r, pc->text, err, "a client does not give back a file of '%s' that it has for itself; try again", a->name);
    else if (err == -EEXIST)
        say(&r, pc->text, err, "there are younger snapshots than '%s': --destroy-younger removes them, --keep-younger "
            "keeps them", a->name);
    else
        say_snap(&r, pc->text, err, a->name);
    return xdr_control_result(pc->out, &r);
}

/* --- listing --- */

struct list {
    struct proc_call *pc;
    const char *volume; /* "alice/mydata" */
    control_snapshot *s;
    u_int n, max;
    int err;
};

static int add_snap(void *arg, uint64_t volume, const struct snap_info *s)
{
    struct list *l = arg;
    control_snapshot *w;
    if (l->n == l->max) {
        u_int max = l->max ? l->max * 2 : 64;
        control_snapshot *grown = l->n < CONTROL_LIST_MAX ? realloc(l->s, max * sizeof(*grown)) : NULL;
        if (!grown)
            return l->n < CONTROL_LIST_MAX ? -ENOMEM : -E2BIG;
        l->s = grown;
        l->max = max;
    }
    w = &l->s[l->n];
    *w = (control_snapshot){.id = s->id,
                            .created = s->created,
                            .volume = volume,
                            .files = s->files,
                            .logical = s->logical,
                            .stored = s->stored};
    if (asprintf(&w->name, "%s@%s", l->volume, s->name) < 0) {
        w->name = NULL;
        return -ENOMEM;
    }
    l->n++;
    return 0;
}

static int add_volume(void *arg, const struct vfs_volume_info *info)
{
    char name[USER_NAME_MAX + VOLUME_NAME_MAX + 2];
    struct list *l = arg;
    int err;
    snprintf(name, sizeof(name), "%s/%s", info->user, info->name);
    l->volume = name;
    err = info->err ? 0 : vfs_snap_list(l->pc->c->vfs, name, add_snap, l);
    l->volume = NULL;
    return err == -ENOENT ? 0 : err; /* removed meanwhile */
}

static bool do_list(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_snapshots r = {0};
    struct list l = {.pc = pc, .volume = a->name};
    bool ok, one = strchr(a->name, '/');
    int err = one ? vfs_snap_list(pc->c->vfs, a->name, add_snap, &l)
                  : vfs_volume_list(pc->c->vfs, *a->name ? a->name : NULL, add_volume, &l);
    if (one)
        say_error(&r.result, pc->text, err, a->name);
    else if (err == -ENOENT)
        say(&r.result, pc->text, err, "there is no user '%s'", a->name);
    else
        say(&r.result, pc->text, err, "%s", err ? strerror(-err) : "");
    if (!err) {
        r.snapshots.snapshots_len = l.n;
        r.snapshots.snapshots_val = l.s;
    }
    ok = xdr_control_snapshots(pc->out, &r);
    for (u_int i = 0; i < l.n; i++)
        free(l.s[i].name);
    free(l.s);
    return ok;
}

static bool refuse_list(struct proc_call *pc, control_result *r)
{
    control_snapshots l = {.result = *r};
    return xdr_control_snapshots(pc->out, &l);
}

/* --- for programs that read the store beside the server --- */

static bool do_settle(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_settled r = {0};
    int err = vfs_volume_settle(pc->c->vfs, a->name, &r.volume);
    say_error(&r.result, pc->text, err ? err : fault_point("restore.settled"), a->name);
    return xdr_control_settled(pc->out, &r);
}

static bool refuse_settle(struct proc_call *pc, control_result *r)
{
    control_settled s = {.result = *r};
    return xdr_control_settled(pc->out, &s);
}

const struct control_proc control_snap_procs[] = {
    {CONTROL_SNAP_CREATE, false, true, do_create, CONTROL_ARGS(control_name_args), NULL},
    {CONTROL_SNAP_DESTROY, false, true, do_destroy, CONTROL_ARGS(control_name_args), NULL},
    {CONTROL_SNAP_LIST, false, true, do_list, CONTROL_ARGS(control_name_args), refuse_list},
    {CONTROL_SNAP_RENAME, false, true, do_rename, CONTROL_ARGS(control_pair_args), NULL},
    {CONTROL_SNAP_CLONE, false, true, do_clone, CONTROL_ARGS(control_pair_args), NULL},
    {CONTROL_SNAP_ROLLBACK, false, true, do_rollback, CONTROL_ARGS(control_pair_args), NULL},
    {CONTROL_SETTLE, false, true, do_settle, CONTROL_ARGS(control_name_args), refuse_settle},
    {0},
};
