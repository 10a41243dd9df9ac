/* SPDX-License-Identifier: Apache-2.0
 * control: serves proto/control.x (see control.h). Every call that touches volumes may wait for a disk
 * and therefore runs in a worker.
 */
#include "server/control/control_impl.h"

#include <errno.h>
#include <rpc/rpc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config.h"
#include "proto/props.h"

/* --- results --- */

void say(control_result *r, char *buf, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, CONTROL_TEXT_MAX, fmt, ap);
    va_end(ap);
    r->err = err;
    r->text = buf;
}

void say_error(control_result *r, char *buf, int err, const char *name)
{
    switch (err) {
    case 0:
        say(r, buf, 0, "%s", "");
        break;
    case -ENOENT:
        say(r, buf, err, "there is no volume '%s'; 'volnfs list' shows those there are", name);
        break;
    case -EEXIST:
        say(r, buf, err, "the volume '%s' exists already", name);
        break;
    case -EINVAL:
        if (strchr(name, '@')) {
            say(r, buf, err, "'%s' names a snapshot, not a volume: see 'volnfs help snapshot'", name);
            break;
        }
        say(r, buf, err, "'%s' cannot name a volume: it has to be USER/VOLUME, each of letters, digits, "
            "'.', '_' and '-', not beginning with '.' or '-', at most %d and %d characters", name,
            USER_NAME_MAX, VOLUME_NAME_MAX);
        break;
    case -EUCLEAN:
        say(r, buf, err, "the volume '%s' is damaged; 'volnfs check %s' says what is wrong", name, name);
        break;
    default:
        say(r, buf, err, "volume '%s': %s", name, strerror(-err));
    }
}

void props_to_wire(const struct volume_props *p, control_props *out)
{
    out->codec = p->codec == VOLUME_ZSTD;
    out->level = p->level;
    out->quota_bytes = p->quota_bytes;
    out->quota_files = p->quota_files;
    out->readonly = p->readonly;
    out->snapdir = p->snapdir;
    out->recompress = (u_int)p->recompress;
    out->dedup = p->dedup;
}

/* Changes what the wire has. -EINVAL: values that no client of ours sends. */
static int props_from_wire(const control_props *p, struct volume_props *out)
{
    if (p->codec > 1 || p->quota_bytes > INT64_MAX || p->quota_files > INT64_MAX)
        return -EINVAL;
    if (p->recompress > 19)
        return -EINVAL;
    if (p->codec && (p->level < 1 || p->level > 19))
        return -EINVAL;
    out->codec = p->codec ? VOLUME_ZSTD : VOLUME_RAW;
    if (p->codec)
        out->level = p->level;
    out->quota_bytes = p->quota_bytes;
    out->quota_files = p->quota_files;
    out->readonly = p->readonly;
    out->snapdir = p->snapdir;
    out->recompress = (int)p->recompress;
    out->dedup = p->dedup;
    return 0;
}

/* --- procedures --- */

static bool do_null(struct proc_call *pc, void *args)
{
    return true;
}

static bool do_info(struct proc_call *pc, void *args)
{
    char release[] = PACKAGE_VERSION;
    char store[CONTROL_TEXT_MAX + 1], addrs[CONTROL_TEXT_MAX + 1];
    control_info info = {.release = release,
                         .store = store,
                         .listen = addrs,
                         .epoch = pc->c->epoch,
                         .pid = (uint64_t)getpid()};
    snprintf(store, sizeof(store), "%s", pc->c->store);
    snprintf(addrs, sizeof(addrs), "%s", pc->c->listen);
    return xdr_control_info(pc->out, &info);
}

static bool do_create(struct proc_call *pc, void *args)
{
    const control_create_args *a = args;
    control_result r;
    struct volume_props props;
    volume_props_default(&props);
    if (props_from_wire(&a->props, &props))
        say(&r, pc->text, -EINVAL, "the properties of '%s' are out of range", a->name);
    else
        say_error(&r, pc->text, vfs_volume_create(pc->c->vfs, a->name, &props, a->uid, a->gid, a->mode),
                  a->name);
    return xdr_control_result(pc->out, &r);
}

static bool do_destroy(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_result r;
    say_error(&r, pc->text, vfs_volume_destroy(pc->c->vfs, a->name), a->name);
    return xdr_control_result(pc->out, &r);
}

static bool do_set(struct proc_call *pc, void *args)
{
    const control_set_args *a = args;
    control_result r;
    control_props wire;
    struct vfs_volume_info info;
    char why[512];
    int err = vfs_volume_info(pc->c->vfs, a->name, &info);
    if (!err)
        err = info.err;
    if (err) {
        say_error(&r, pc->text, err, a->name);
        goto out;
    }
    props_to_wire(&info.props, &wire);
    if (props_set(&wire, a->key, a->value, why, sizeof(why))) {
        say(&r, pc->text, -EINVAL, "%s", why);
        goto out;
    }
    if (!(err = props_from_wire(&wire, &info.props)))
        err = vfs_volume_set_props(pc->c->vfs, a->name, &info.props);
    say_error(&r, pc->text, err, a->name);
out:
    return xdr_control_result(pc->out, &r);
}

int volume_to_wire(const struct vfs_volume_info *info, control_volume *v)
{
    memset(v, 0, sizeof(*v));
    if (asprintf(&v->name, "%s/%s", info->user, info->name) < 0) {
        v->name = NULL;
        return -ENOMEM;
    }
    v->id = info->id;
    v->created = info->created;
    props_to_wire(&info->props, &v->props);
    v->files = info->stat.files;
    v->logical = info->stat.logical;
    v->unwritten = info->stat.unwritten;
    v->stored = info->stat.stored;
    v->held = info->stat.held;
    v->snapshots = info->stat.snapshots;
    v->pack_bytes = info->stat.pack_bytes;
    v->index_bytes = info->stat.index_bytes;
    v->journal_used = info->stat.journal_used;
    v->journal_size = info->stat.journal_size;
    v->journal_ms = info->stat.journal_ms;
    v->compacting = info->stat.gc_busy;
    v->err = info->err;
    return 0;
}

struct list {
    control_volume *v;
    u_int n, max;
};

static int list_add(void *arg, const struct vfs_volume_info *info)
{
    struct list *l = arg;
    if (l->n == l->max) {
        u_int max = l->max ? l->max * 2 : 64;
        control_volume *grown;
        if (l->n >= CONTROL_LIST_MAX)
            return -E2BIG;
        grown = realloc(l->v, max * sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        l->v = grown;
        l->max = max;
    }
    if (volume_to_wire(info, &l->v[l->n]))
        return -ENOMEM;
    l->n++;
    return 0;
}

static bool do_list(struct proc_call *pc, void *args)
{
    const control_name_args *a = args;
    control_list_result r = {0};
    struct list l = {0};
    struct vfs_volume_info info;
    int err;
    bool ok;
    if (strchr(a->name, '/')) {
        err = vfs_volume_info(pc->c->vfs, a->name, &info);
        if (!err)
            err = list_add(&l, &info);
        say_error(&r.result, pc->text, err, a->name);
    } else {
        err = vfs_volume_list(pc->c->vfs, *a->name ? a->name : NULL, list_add, &l);
        if (err == -ENOENT)
            say(&r.result, pc->text, err, "there is no user '%s'", a->name);
        else if (err == -E2BIG)
            say(&r.result, pc->text, err, "there are more than %d volumes; list one user's",
                CONTROL_LIST_MAX);
        else
            say(&r.result, pc->text, err, "%s", err ? strerror(-err) : "");
    }
    if (!err) {
        r.volumes.volumes_len = l.n;
        r.volumes.volumes_val = l.v;
    }
    ok = xdr_control_list_result(pc->out, &r);
    for (u_int i = 0; i < l.n; i++)
        free(l.v[i].name);
    free(l.v);
    return ok;
}

static bool refuse_list(struct proc_call *pc, control_result *r)
{
    control_list_result l = {.result = *r};
    return xdr_control_list_result(pc->out, &l);
}

static const struct control_proc volume_procs[] = {
    {.number = CONTROL_NULL, .anybody = true, .run = do_null},
    {.number = CONTROL_INFO, .anybody = true, .run = do_info},
    {CONTROL_CREATE, false, true, do_create, CONTROL_ARGS(control_create_args), NULL},
    {CONTROL_DESTROY, false, true, do_destroy, CONTROL_ARGS(control_name_args), NULL},
    {CONTROL_LIST, false, true, do_list, CONTROL_ARGS(control_name_args), refuse_list},
    {CONTROL_SET, false, true, do_set, CONTROL_ARGS(control_set_args), NULL},
    {0},
};

/* --- finding and running them --- */

static const struct control_proc *const tables[] = {volume_procs, control_snap_procs, control_grant_procs,
                                                      control_status_procs, control_store_procs,
                                                      control_dump_procs};

static const struct control_proc *find_proc(uint32_t number)
{
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
        for (const struct control_proc *p = tables[i]; p->run; p++)
            if (p->number == number)
                return p;
    return NULL;
}

static bool may_call(const struct request *req)
{
    uint32_t uid, gid;
    return !request_peer_ids(req, &uid, &gid) && (uid == 0 || uid == (uint32_t)geteuid());
}

static bool refuse(struct proc_call *pc, const struct control_proc *p)
{
    control_result r;
    say(&r, pc->text, -EPERM, "only root and the user that volnfsd runs as (uid %u) may administer this store",
        (unsigned)geteuid());
    return p->refuse ? p->refuse(pc, &r) : xdr_control_result(pc->out, &r);
}

static enum req_result dispatch(struct request *req, void *arg)
{
    char args[CONTROL_ARGS_MAX] __attribute__((aligned(16)));
    struct proc_call pc = {.c = arg, .out = xdrout_xdr(req->out)};
    const struct control_proc *p = find_proc(req->proc);
    bool ok;
    if (!p || p->args_size > sizeof(args)) {
        request_reject(req, PROC_UNAVAIL);
        return REQ_DONE;
    }
    if (p->blocks && !req->may_block)
        return REQ_BLOCK; /* before anything is decoded: the arguments are decoded in the worker */

    memset(args, 0, sizeof(args));
    if (p->args && !p->args(&req->in, args)) {
        xdr_free(p->args, args);
        request_reject(req, GARBAGE_ARGS);
        return REQ_DONE;
    }
    if (p->blocks)
        xdrout_set_limit(req->out, CONTROL_REPLY_MAX);
    ok = p->anybody || may_call(req) ? p->run(&pc, args) : refuse(&pc, p);
    if (p->args)
        xdr_free(p->args, args);
    if (!ok)
        request_reject(req, SYSTEM_ERR);
    return REQ_DONE;
}

void control_program(struct control *c, struct oncrpc_program *out)
{
    *out = (struct oncrpc_program){.prog = VOLNFS_CONTROL,
                                   .vers_min = VOLNFS_CONTROL_V1,
                                   .vers_max = VOLNFS_CONTROL_V1,
                                   .dispatch = dispatch,
                                   .arg = c};
}
