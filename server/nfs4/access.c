/* SPDX-License-Identifier: Apache-2.0
 * access: grants on the way of a request (see access.h).
 */
#include "server/nfs4/access.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "server/nfs4/attr.h"
#include "server/nfs4/compound.h"
#include "server/state/user.h"

#define DEPTH_MAX 65536u /* directories above one another; more is damage */

/* --- views --- */

/* What a connection keeps from one request to the next. */
struct conn_slot {
    struct grant_view *view; /* the loop's thread only */
    struct users *users;
    struct user *user;       /* for whom it counts as a connection; with `lock` */
    uint64_t user_id;        /* atomic */
    pthread_mutex_t lock;
};

static struct conn_slot *slot_get(struct compound *c)
{
    struct conn_slot **slot = (struct conn_slot **)request_conn_slot(c->req);

    if (!*slot && (*slot = calloc(1, sizeof **slot))) {
        pthread_mutex_init(&(*slot)->lock, NULL);
        (*slot)->users = c->srv->state ? state_users(c->srv->state) : NULL;
    }
    return *slot;
}

int access_begin(struct compound *c)
{
    struct sockaddr_storage peer;
    struct conn_slot *slot = slot_get(c);
    int err;

    if (!slot)
        return -ENOMEM;
    if (!c->srv->grants)
        return 0;
    request_peer(c->req, &peer);
    err = grant_view_renew(c->srv->grants, &peer, &slot->view);
    if (!err)
        c->view = grant_view_ref(slot->view);
    return err;
}

bool access_conn_user(struct compound *c, uint64_t user)
{
    struct conn_slot *slot = *(struct conn_slot **)request_conn_slot(c->req);
    struct user *u;
    bool ok = true;

    if (__atomic_load_n(&slot->user_id, __ATOMIC_RELAXED) == user)
        return true;
    pthread_mutex_lock(&slot->lock);
    if (slot->user_id != user && (ok = user_take(slot->users, user, USER_CONNS, &u))) {
        user_add(slot->users, slot->user, USER_CONNS, -1);
        slot->user = u;
        __atomic_store_n(&slot->user_id, user, __ATOMIC_RELAXED);
    }
    pthread_mutex_unlock(&slot->lock);
    return ok;
}

void access_end(struct compound *c)
{
    grant_view_unref(c->view);
    c->view = NULL;
}

void access_slot_free(void *p)
{
    struct conn_slot *slot = p;

    grant_view_unref(slot->view);
    user_add(slot->users, slot->user, USER_CONNS, -1);
    pthread_mutex_destroy(&slot->lock);
    free(slot);
}

/* --- folders --- */

/* The directory that the first n bytes of path lead to. -ENOENT: there is none. */
static int folder_ino(struct compound *c, struct volume *vol, const char *path, size_t n, uint64_t *ino)
{
    struct vattr a = {.ino = STORE_ROOT_INO, .type = IT_DIR};
    const char *end = path + n;

    while (path < end) {
        size_t len = strcspn(path, "/");
        int err = volume_lookup(vol, &c->call, a.ino, path, len, &a);

        if (err)
            return err == -ESTALE || err == -ENOTDIR ? -ENOENT : err;
        if (a.type != IT_DIR)
            return -ENOENT;
        path += len;
        path += path < end && *path == '/';
    }
    *ino = a.ino;
    return 0;
}

/* Is o in the folder of the rule? 0 or -EACCES. */
static int in_folder(struct compound *c, const struct vobj *o, const struct grant_rule *rule)
{
    uint64_t folder;
    struct vattr a;
    int err = folder_ino(c, o->vol, rule->path, strlen(rule->path), &folder);

    if (!err)
        err = volume_getattr(o->vol, &c->call, o->ino, o->gen, &a);
    if (err == -ENOENT)
        return -EACCES;
    if (err == -ESTALE)
        return 0; /* every operation will say so itself */
    if (err || a.type != IT_DIR || !a.nlink)
        return err;
    for (unsigned i = 0; a.ino != folder; i++) {
        if (a.ino == STORE_ROOT_INO || !a.parent || i == DEPTH_MAX)
            return -EACCES;
        err = volume_getattr(o->vol, &c->call, a.parent, 0, &a);
        if (err)
            return err == -ESTALE ? -EACCES : err;
    }
    return 0;
}

/* Whether the path leads through the directory o: then *rest is what is left of it behind o. 0, 1: no. */
static int through(struct compound *c, const struct vobj *o, const char *path, const char **rest)
{
    const char *p = path;

    for (;;) {
        uint64_t ino;
        int err = folder_ino(c, o->vol, path, (size_t)(p - path), &ino);

        if (err)
            return err == -ENOENT ? 1 : err;
        if (ino == o->ino) {
            *rest = p + (*p == '/');
            return **rest ? 0 : 1;
        }
        p += *p == '/';
        if (!*p)
            return 1;
        p += strcspn(p, "/");
    }
}

int access_way(struct compound *c, unsigned i, const char **name, size_t *len, const struct grant_rule **rule)
{
    const struct vobj *o = &c->cur.obj;
    const struct grant_rule *r = grant_folder(c->view, volume_id(o->vol), i);
    const char *rest;
    int err;

    if (!r)
        return -ENOENT;
    err = through(c, o, r->path, &rest);
    if (err)
        return err;
    *name = rest;
    *len = strcspn(rest, "/");
    *rule = rest[*len] ? NULL : r;
    return 0;
}

/* Does the way to any folder lead through o? 0 or -EACCES. */
static int on_way(struct compound *c, const struct vobj *o)
{
    const struct grant_rule *r;

    for (unsigned i = 0; (r = grant_folder(c->view, volume_id(o->vol), i)); i++) {
        const char *rest;
        int err = through(c, o, r->path, &rest);

        if (err <= 0)
            return err;
    }
    return -EACCES;
}

/* --- what there is at an object --- */

/* Whom the rule makes of users; "all" without a number makes them the volume's owner. */
static int squash_of(struct compound *c, const struct vobj *o, const struct grant_rule *rule, struct access *acc)
{
    struct vattr a;
    int err;

    acc->squash = rule->squash;
    acc->uid = rule->has_anon ? rule->anon_uid : GRANT_NOBODY;
    acc->gid = rule->has_anon ? rule->anon_gid : GRANT_NOBODY;
    if (rule->squash != GRANT_SQUASH_ALL || rule->has_anon)
        return 0;
    if (!o->vol) { /* what is made here belongs to who makes it */
        acc->squash = GRANT_SQUASH_NONE;
        return 0;
    }
    err = volume_getattr(o->vol, &c->call, STORE_ROOT_INO, 0, &a);
    if (!err) {
        acc->uid = a.uid;
        acc->gid = a.gid;
    }
    return err;
}

int access_of(struct compound *c, const struct vobj *o, uint64_t grant, struct access *out)
{
    uint64_t id = o->vol ? volume_id(o->vol) : 0, volume = id ? snap_base_id(id) : 0;
    int err = 0;

    *out = (struct access){.level = GRANT_WRITE, .grant = grant};
    if (!c->view || o->kind == VOBJ_TOKENS)
        return 0;
    out->level = grant_eval(c->view, grant, vobj_user(o), volume, id ? snap_id(id) : 0, &out->rule);
    if (out->level == GRANT_NOTHING)
        return 0;
    if (out->level == GRANT_WAY)
        err = o->kind == VOBJ_FILE ? on_way(c, o) : -EACCES;
    else if (out->rule && out->rule->object == GRANT_SUBPATH)
        err = o->kind == VOBJ_FILE ? in_folder(c, o, out->rule) : -EACCES;
    if (err == -EACCES) {
        out->level = GRANT_NOTHING;
        return 0;
    }
    if (!err && out->rule && out->rule->squash != GRANT_SQUASH_NONE)
        err = squash_of(c, o, out->rule, out);
    return err == -ESTALE ? 0 : err;
}

int access_from_cur(struct compound *c, const struct vobj *o, struct access *out)
{
    const struct vobj *from = &c->cur.obj;

    /* In a volume nothing changes: what was found in a directory is below it. */
    if (o->kind == VOBJ_FILE && from->kind == VOBJ_FILE && o->vol == from->vol) {
        *out = c->cur.acc;
        return 0;
    }
    return access_of(c, o, c->cur.acc.grant, out);
}

nfsstat4 access_object(struct compound *c, const struct fh_parts *p, struct compound_fh *fh)
{
    int err = 0;

    if (p->kind == VOBJ_TOKENS)
        fh->obj.kind = VOBJ_TOKENS;
    else
        err = vfs_object(c->srv->vfs, &c->call, p->user, fh_volume(p), p->ino, p->gen, &fh->obj);
    if (!err)
        err = access_of(c, &fh->obj, p->grant, &fh->acc);
    if (err) {
        vobj_release(&fh->obj);
        return nfs4_status(err);
    }
    fh->set = true;
    return NFS4_OK;
}

void access_fh_parts(const struct compound_fh *fh, struct fh_parts *out)
{
    fh_parts_of(&fh->obj, out);
    out->grant = fh->acc.grant;
}

/* --- before an operation --- */

nfsstat4 access_check(const struct compound *c)
{
    const struct access *cur = &c->cur.acc, *saved = &c->saved.acc;
    unsigned flags = c->row->flags;

    if (!c->view || !(flags & OPF_NEED_FH) || (flags & OPF_ANY_GRANT))
        return NFS4_OK;
    if (cur->level < ((flags & OPF_ON_WAY) ? GRANT_WAY : GRANT_READ))
        return NFS4ERR_ACCESS;
    if (flags & OPF_NEED_SAVED) {
        if (saved->level < GRANT_READ)
            return NFS4ERR_ACCESS;
        /* With users mapped otherwise there, this one's would be the wrong ones to ask about. */
        if (saved->grant != cur->grant || saved->squash != cur->squash ||
            (cur->squash && (saved->uid != cur->uid || saved->gid != cur->gid)))
            return NFS4ERR_XDEV;
        if ((flags & OPF_WRITES_SAVED) && saved->level < GRANT_WRITE)
            return NFS4ERR_ROFS;
    }
    return (flags & OPF_WRITES) && cur->level < GRANT_WRITE ? NFS4ERR_ROFS : NFS4_OK;
}

bool access_may_write(const struct compound *c)
{
    const struct vobj *o = &c->cur.obj;

    if (!c->view)
        return true;
    if (o->vol)
        return c->cur.acc.level == GRANT_WRITE;
    return o->kind != VOBJ_TOKENS && grant_may_create(c->view, c->cur.acc.grant, vobj_user(o));
}

/* As NFS servers do: root is nobody, and so is its group. */
static void squash_root(struct compound *c, const struct cred *raw)
{
    const struct access *a = &c->cur.acc;

    if (raw->uid == 0) {
        c->cred.uid = a->uid;
        c->cred.gid = a->gid;
        c->cred.ngroups = 0;
        return;
    }
    if (raw->gid == 0)
        c->cred.gid = a->gid;
    for (unsigned i = 0; i < c->cred.ngroups; i++)
        c->groups[i] = raw->groups[i] ? raw->groups[i] : a->gid;
    c->cred.groups = c->groups;
}

void access_cred(struct compound *c)
{
    const struct cred *raw = &c->req->cred;
    const struct access *a = &c->cur.acc;

    c->cred = (struct vcred){.uid = raw->uid,
                             .gid = raw->gid,
                             .ngroups = raw->flavor == CRED_SYS ? raw->ngroups : 0,
                             .groups = raw->groups,
                             .view = c->view,
                             .grant = a->grant};
    if (a->squash == GRANT_SQUASH_ROOT) {
        squash_root(c, raw);
    } else if (a->squash == GRANT_SQUASH_ALL) {
        c->cred.uid = a->uid;
        c->cred.gid = a->gid;
        c->cred.ngroups = 0;
    }
}

/* --- names --- */

/* The object that a token gives. */
static int token_object(struct compound *c, const struct grant_rule *r, struct vobj *out)
{
    uint64_t ino = STORE_ROOT_INO;
    struct vattr a;
    int err;

    if (r->object == GRANT_SERVER || r->object == GRANT_USER)
        return vfs_object(c->srv->vfs, &c->call, r->user, 0, 0, 0, out);
    err = vfs_object(c->srv->vfs, &c->call, 0, snap_volume_id(r->volume, r->snapshot), ino, 0, out);
    if (!err && r->object == GRANT_SUBPATH)
        err = folder_ino(c, out->vol, r->path, strlen(r->path), &ino);
    if (!err)
        err = volume_getattr(out->vol, &c->call, ino, 0, &a);
    if (err) {
        vobj_release(out);
        return err == -ESTALE ? -ENOENT : err;
    }
    out->ino = ino;
    out->gen = a.gen;
    return 0;
}

static nfsstat4 lookup_token(struct compound *c, const xslice *name, struct vobj *out, struct access *acc)
{
    const struct grant_rule *r;
    int err = c->view ? grant_token(c->view, name->data, name->len, &r) : -ENOENT;

    if (err == -EKEYEXPIRED)
        return NFS4ERR_ACCESS; /* the secret was right: its owner may know */
    if (!err)
        err = token_object(c, r, out);
    if (!err)
        err = access_of(c, out, r->id, acc);
    if (err)
        vobj_release(out);
    return nfs4_status(err);
}

static nfsstat4 lookup_on_way(struct compound *c, const xslice *name, struct vobj *out, struct access *acc)
{
    const struct grant_rule *r, *last = NULL;
    bool leads = false;
    const char *n;
    size_t len;
    int err;

    for (unsigned i = 0; !last && (err = access_way(c, i, &n, &len, &r)) != -ENOENT; i++) {
        if (err < 0)
            return nfs4_status(err);
        if (err || len != name->len || memcmp(n, name->data, len) != 0)
            continue;
        leads = true;
        last = r;
    }
    if (!leads)
        return NFS4ERR_NOENT;
    err = vfs_lookup(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, name->data, name->len, out, NULL);
    if (!err)
        err = access_of(c, out, last ? last->id : 0, acc);
    if (!err && acc->level == GRANT_NOTHING) /* not a directory */
        err = -ENOENT;
    if (err)
        vobj_release(out);
    return nfs4_status(err);
}

nfsstat4 access_lookup(struct compound *c, const xslice *name, struct vobj *out, struct access *acc)
{
    int err;

    if (c->cur.obj.kind == VOBJ_TOKENS)
        return lookup_token(c, name, out, acc);
    if (c->view && c->cur.acc.level == GRANT_WAY)
        return lookup_on_way(c, name, out, acc);
    err = vfs_lookup(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, name->data, name->len, out, NULL);
    if (!err)
        err = access_from_cur(c, out, acc);
    if (err)
        vobj_release(out);
    return nfs4_status(err);
}

/* Is the current filehandle the object of the grant it names? 0 no, 1 yes, -EAGAIN, -errno. */
static int at_top(struct compound *c)
{
    const struct grant_rule *r = c->cur.acc.rule;
    const struct vobj *o = &c->cur.obj;
    uint64_t folder;
    int err;

    if (!c->cur.acc.grant || !r)
        return 0;
    switch (r->object) {
    case GRANT_SERVER:
        return o->kind == VOBJ_ROOT;
    case GRANT_USER:
        return o->kind == VOBJ_USER;
    case GRANT_SUBPATH:
        err = folder_ino(c, o->vol, r->path, strlen(r->path), &folder);
        return err ? err : o->ino == folder;
    case GRANT_SNAPSHOT:
        return o->ino == STORE_ROOT_INO;
    default:
        return o->ino == STORE_ROOT_INO && !snap_id(volume_id(o->vol));
    }
}

nfsstat4 access_lookup_parent(struct compound *c, struct vobj *out, struct access *acc)
{
    int err = at_top(c);

    if (err > 0)
        return NFS4ERR_NOENT;
    if (!err)
        err = vfs_lookup_parent(c->srv->vfs, &c->call, &c->cur.obj, &c->cred, out);
    if (!err)
        err = access_of(c, out, c->cur.acc.grant, acc); /* it may be moved out just now */
    if (err)
        vobj_release(out);
    return nfs4_status(err);
}
